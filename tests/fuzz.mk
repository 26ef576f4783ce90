# SPDX-License-Identifier: MIT
# The fuzzing targets: all that reads bytes from outside. Linked so that they need no libFuzzer;
# scripts/fuzz links them with it.
fuzz_targets = \
	tests/fuzz/fuzz_conf \
	tests/fuzz/fuzz_proto \
	tests/fuzz/fuzz_reply \
	tests/fuzz/fuzz_state
check_PROGRAMS += $(fuzz_targets)
TESTS += tests/fuzz/run.sh
EXTRA_DIST += tests/fuzz/corpus tests/fuzz/run.sh

fuzz_main = tests/fuzz/fuzz.h tests/fuzz/replay_main.c

tests_fuzz_fuzz_conf_SOURCES = tests/fuzz/fuzz_conf.c daemon/store/url.c $(fuzz_main)
tests_fuzz_fuzz_conf_CFLAGS = $(AM_CFLAGS)
tests_fuzz_fuzz_conf_LDADD = daemon/conf/libconf.la proto/libproto.la daemon/util/libutil.la
tests_fuzz_fuzz_proto_SOURCES = tests/fuzz/fuzz_proto.c $(fuzz_main)
tests_fuzz_fuzz_proto_LDADD = proto/libproto.la
tests_fuzz_fuzz_reply_SOURCES = tests/fuzz/fuzz_reply.c $(fuzz_main)
tests_fuzz_fuzz_reply_CFLAGS = $(AM_CFLAGS) $(HIREDIS_CFLAGS)
tests_fuzz_fuzz_reply_LDADD = \
	daemon/store/libstore.la \
	daemon/core/libcore.la \
	daemon/util/libutil.la \
	$(LIBEVENT_LIBS) $(HIREDIS_LIBS)
tests_fuzz_fuzz_state_SOURCES = tests/fuzz/fuzz_state.c $(fuzz_main)
tests_fuzz_fuzz_state_LDADD = daemon/core/libcore.la daemon/util/libutil.la proto/libproto.la
