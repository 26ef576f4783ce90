# SPDX-License-Identifier: MIT
noinst_LTLIBRARIES += daemon/util/libutil.la
daemon_util_libutil_la_CFLAGS = $(AM_CFLAGS) $(LIBSYSTEMD_CFLAGS)
daemon_util_libutil_la_LIBADD = $(LIBSYSTEMD_LIBS)
daemon_util_libutil_la_SOURCES = \
	daemon/util/address.c \
	daemon/util/address.h \
	daemon/util/alloc.c \
	daemon/util/alloc.h \
	daemon/util/histogram.h \
	daemon/util/log.c \
	daemon/util/log.h \
	daemon/util/record.c \
	daemon/util/record.h
