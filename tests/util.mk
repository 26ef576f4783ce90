# SPDX-License-Identifier: MIT
util_tests = \
	tests/check_util_record
check_PROGRAMS += $(util_tests)
TESTS += $(util_tests)

tests_check_util_record_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_check_util_record_LDADD = daemon/util/libutil.la $(CHECK_LIBS)
