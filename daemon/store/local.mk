# SPDX-License-Identifier: MIT
noinst_LTLIBRARIES += daemon/store/libstore.la
daemon_store_libstore_la_CFLAGS = $(AM_CFLAGS) $(LIBEVENT_CFLAGS) $(HIREDIS_CFLAGS)
daemon_store_libstore_la_LIBADD = $(LIBEVENT_LIBS) $(HIREDIS_LIBS)
daemon_store_libstore_la_SOURCES = \
	daemon/store/memory.c \
	daemon/store/memory.h \
	daemon/store/open.c \
	daemon/store/open.h \
	daemon/store/quorum.c \
	daemon/store/quorum.h \
	daemon/store/url.c \
	daemon/store/url.h
