# SPDX-License-Identifier: MIT
# A daemon of a test's own, and clients for it; other rooms' tests link it too.
check_LTLIBRARIES += tests/libharness.la
tests_libharness_la_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_libharness_la_LIBADD = $(CHECK_LIBS)
tests_libharness_la_SOURCES = \
	tests/harness.c \
	tests/harness.h

serve_tests = \
	tests/check_serve_crash \
	tests/check_serve_daemon \
	tests/check_serve_faults \
	tests/check_serve_hosts \
	tests/check_serve_handover \
	tests/check_serve_journal \
	tests/check_serve_limits \
	tests/check_serve_metrics \
	tests/check_serve_others \
	tests/check_serve_protocol \
	tests/check_serve_secrets \
	tests/check_serve_several \
	tests/check_serve_store \
	tests/check_serve_systemd
check_PROGRAMS += $(serve_tests)
TESTS += $(serve_tests)

tests_check_serve_daemon_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_check_serve_daemon_LDADD = tests/libharness.la $(CHECK_LIBS)
tests_check_serve_protocol_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_check_serve_protocol_LDADD = tests/libharness.la $(CHECK_LIBS)
tests_check_serve_secrets_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_check_serve_secrets_LDADD = tests/libharness.la tests/libredisserver.la $(CHECK_LIBS)
tests_check_serve_several_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_check_serve_several_LDADD = tests/libharness.la tests/libredisserver.la $(CHECK_LIBS)
tests_check_serve_store_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_check_serve_store_LDADD = tests/libharness.la tests/libredisserver.la $(CHECK_LIBS)

tests_check_serve_journal_SOURCES = \
	tests/check_serve_journal.c \
	tests/core_world.c \
	tests/core_world.h
tests_check_serve_journal_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_check_serve_journal_LDADD = \
	daemon/serve/libserve.la \
	daemon/core/libcore.la \
	daemon/util/libutil.la \
	proto/libproto.la \
	$(CHECK_LIBS)

tests_check_serve_crash_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_check_serve_crash_LDADD = tests/libharness.la tests/libredisserver.la $(CHECK_LIBS)

tests_check_serve_limits_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS) -pthread
tests_check_serve_limits_LDADD = tests/libharness.la tests/libredisserver.la $(CHECK_LIBS) -lpthread

tests_check_serve_metrics_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_check_serve_metrics_LDADD = tests/libharness.la $(CHECK_LIBS)

tests_check_serve_systemd_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_check_serve_systemd_LDADD = tests/libharness.la $(CHECK_LIBS)

tests_check_serve_handover_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS) -pthread
tests_check_serve_handover_LDADD = tests/libharness.la tests/libredisserver.la $(CHECK_LIBS) -lpthread

tests_check_serve_hosts_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS) $(HIREDIS_CFLAGS)
tests_check_serve_hosts_LDADD = \
	tests/libharness.la \
	tests/libredisserver.la \
	$(HIREDIS_LIBS) $(CHECK_LIBS)

tests_check_serve_faults_SOURCES = \
	tests/check_serve_faults.c \
	tests/fake_redis.c \
	tests/fake_redis.h \
	tests/proxy.c \
	tests/proxy.h
tests_check_serve_faults_CFLAGS = \
	$(AM_CFLAGS) $(CHECK_CFLAGS) $(LIBEVENT_CFLAGS) $(HIREDIS_CFLAGS)
tests_check_serve_faults_LDADD = \
	tests/libharness.la \
	tests/libredisserver.la \
	daemon/util/libutil.la \
	$(LIBEVENT_LIBS) $(HIREDIS_LIBS) $(CHECK_LIBS)

tests_check_serve_others_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_check_serve_others_LDADD = tests/libharness.la tests/libredisserver.la $(CHECK_LIBS)
