# SPDX-License-Identifier: MIT
check_PROGRAMS += tests/check_conf
TESTS += tests/check_conf
tests_check_conf_SOURCES = tests/check_conf.c
tests_check_conf_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_check_conf_LDADD = daemon/conf/libconf.la proto/libproto.la daemon/util/libutil.la $(CHECK_LIBS)
