# SPDX-License-Identifier: MIT
noinst_LTLIBRARIES += daemon/util/libutil.la
daemon_util_libutil_la_SOURCES = \
	daemon/util/alloc.c \
	daemon/util/alloc.h \
	daemon/util/log.h
