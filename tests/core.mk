# SPDX-License-Identifier: MIT
core_tests = \
	tests/check_core_crash \
	tests/check_core_found \
	tests/check_core_mutex \
	tests/check_core_parts \
	tests/check_core_save
check_PROGRAMS += $(core_tests)
TESTS += $(core_tests)
core_tests_libs = \
	daemon/core/libcore.la \
	proto/libproto.la \
	daemon/util/libutil.la \
	$(CHECK_LIBS)

tests_check_core_crash_SOURCES = \
	tests/check_core_crash.c \
	tests/core_world.c \
	tests/core_world.h
tests_check_core_crash_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_check_core_crash_LDADD = $(core_tests_libs)

tests_check_core_found_SOURCES = \
	tests/check_core_found.c \
	tests/core_world.c \
	tests/core_world.h
tests_check_core_found_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_check_core_found_LDADD = $(core_tests_libs)

tests_check_core_mutex_SOURCES = \
	tests/check_core_mutex.c \
	tests/core_world.c \
	tests/core_world.h
tests_check_core_mutex_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_check_core_mutex_LDADD = $(core_tests_libs)

tests_check_core_parts_SOURCES = tests/check_core_parts.c
tests_check_core_parts_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_check_core_parts_LDADD = $(core_tests_libs)

tests_check_core_save_SOURCES = \
	tests/check_core_save.c \
	tests/core_world.c \
	tests/core_world.h
tests_check_core_save_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_check_core_save_LDADD = $(core_tests_libs)
