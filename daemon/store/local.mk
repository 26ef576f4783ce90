# SPDX-License-Identifier: MIT
noinst_LTLIBRARIES += daemon/store/libstore.la
daemon_store_libstore_la_CFLAGS = $(AM_CFLAGS) $(LIBEVENT_CFLAGS) $(HIREDIS_CFLAGS) $(TLS_CFLAGS)
# Names are looked up in threads.
daemon_store_libstore_la_LIBADD = $(LIBEVENT_LIBS) $(TLS_LIBS) $(HIREDIS_LIBS) -lpthread
daemon_store_libstore_la_SOURCES = \
	daemon/store/cluster.c \
	daemon/store/cluster.h \
	daemon/store/conn.c \
	daemon/store/conn.h \
	daemon/store/link.c \
	daemon/store/link.h \
	daemon/store/login.c \
	daemon/store/login.h \
	daemon/store/memory.c \
	daemon/store/memory.h \
	daemon/store/open.c \
	daemon/store/open.h \
	daemon/store/pool.c \
	daemon/store/pool.h \
	daemon/store/quorum.c \
	daemon/store/quorum.h \
	daemon/store/redis.c \
	daemon/store/redis.h \
	daemon/store/resolve.c \
	daemon/store/resolve.h \
	daemon/store/resp.c \
	daemon/store/resp.h \
	daemon/store/scout.c \
	daemon/store/scout.h \
	daemon/store/script.c \
	daemon/store/script.h \
	daemon/store/server_error.c \
	daemon/store/server_error.h \
	daemon/store/sentinel.c \
	daemon/store/sentinel.h \
	daemon/store/servers.c \
	daemon/store/servers.h \
	daemon/store/tls.h \
	daemon/store/slot.c \
	daemon/store/slot.h \
	daemon/store/url.c \
	daemon/store/url.h \
	daemon/store/watch.c \
	daemon/store/watch.h
if HAVE_TLS
daemon_store_libstore_la_SOURCES += daemon/store/tls.c
else
daemon_store_libstore_la_SOURCES += daemon/store/tls_none.c
endif
