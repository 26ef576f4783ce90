# SPDX-License-Identifier: MIT

# A redis-server of a test's own; other rooms' tests link it too.
check_LTLIBRARIES += tests/libredisserver.la
tests_libredisserver_la_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS) $(HIREDIS_CFLAGS)
tests_libredisserver_la_LIBADD = $(CHECK_LIBS) $(HIREDIS_LIBS)
tests_libredisserver_la_SOURCES = \
	tests/redis_server.c \
	tests/redis_server.h

check_LTLIBRARIES += tests/libstorebench.la
tests_libstorebench_la_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS) $(LIBEVENT_CFLAGS) $(HIREDIS_CFLAGS)
tests_libstorebench_la_LIBADD = \
	daemon/store/libstore.la \
	daemon/core/libcore.la \
	proto/libproto.la \
	daemon/util/libutil.la \
	tests/libredisserver.la \
	$(LIBEVENT_LIBS) $(HIREDIS_LIBS) $(CHECK_LIBS)
tests_libstorebench_la_SOURCES = \
	tests/fake_redis.c \
	tests/fake_redis.h \
	tests/store_bench.c \
	tests/store_bench.h

store_tests = \
	tests/check_store_cluster \
	tests/check_store_link \
	tests/check_store_redis \
	tests/check_store_replicas \
	tests/check_store_resolve \
	tests/check_store_sentinel \
	tests/check_store_server \
	tests/check_store_tls \
	tests/check_store_url \
	tests/check_store_verbs \
	tests/check_store_watch
check_PROGRAMS += $(store_tests)
TESTS += $(store_tests)

tests_check_store_cluster_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS) $(LIBEVENT_CFLAGS) $(HIREDIS_CFLAGS)
tests_check_store_cluster_LDADD = tests/libstorebench.la
tests_check_store_link_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS) $(LIBEVENT_CFLAGS) $(HIREDIS_CFLAGS)
tests_check_store_link_LDADD = tests/libstorebench.la
tests_check_store_redis_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS) $(LIBEVENT_CFLAGS) $(HIREDIS_CFLAGS)
tests_check_store_redis_LDADD = tests/libstorebench.la
tests_check_store_server_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS) $(LIBEVENT_CFLAGS) $(HIREDIS_CFLAGS)
tests_check_store_server_LDADD = tests/libstorebench.la
tests_check_store_url_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS) $(LIBEVENT_CFLAGS) $(HIREDIS_CFLAGS)
tests_check_store_url_LDADD = tests/libstorebench.la
tests_check_store_verbs_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS) $(LIBEVENT_CFLAGS) $(HIREDIS_CFLAGS)
tests_check_store_verbs_LDADD = tests/libstorebench.la
tests_check_store_watch_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS) $(LIBEVENT_CFLAGS) $(HIREDIS_CFLAGS)
tests_check_store_watch_LDADD = tests/libstorebench.la
tests_check_store_replicas_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS) $(LIBEVENT_CFLAGS) $(HIREDIS_CFLAGS)
tests_check_store_replicas_LDADD = tests/libstorebench.la
tests_check_store_resolve_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS) $(LIBEVENT_CFLAGS) $(HIREDIS_CFLAGS)
tests_check_store_resolve_LDADD = tests/libstorebench.la -ldl
tests_check_store_tls_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS) $(LIBEVENT_CFLAGS) $(HIREDIS_CFLAGS)
tests_check_store_tls_LDADD = tests/libstorebench.la
tests_check_store_sentinel_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS) $(LIBEVENT_CFLAGS) $(HIREDIS_CFLAGS)
tests_check_store_sentinel_LDADD = tests/libstorebench.la

quorum_tests = \
	tests/check_store_fences \
	tests/check_store_majority \
	tests/check_store_quorum
check_PROGRAMS += $(quorum_tests)
TESTS += $(quorum_tests)

tests_check_store_quorum_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_check_store_quorum_LDADD = \
	daemon/store/libstore.la \
	daemon/core/libcore.la \
	proto/libproto.la \
	daemon/util/libutil.la \
	$(CHECK_LIBS)
tests_check_store_fences_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_check_store_fences_LDADD = $(tests_check_store_quorum_LDADD)
tests_check_store_majority_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS) $(LIBEVENT_CFLAGS) $(HIREDIS_CFLAGS)
tests_check_store_majority_LDADD = tests/libstorebench.la

TESTS += tests/check_store_redlock.sh
EXTRA_DIST += tests/check_store_redlock.sh tests/redlock_peer.js

clean-local: clean-redlock-peer
clean-redlock-peer:
	rm -rf tests/redlock_peer
