# SPDX-License-Identifier: MIT
client_tests = \
	tests/check_client_command \
	tests/check_client_library
check_PROGRAMS += $(client_tests)
TESTS += $(client_tests)

tests_check_client_command_SOURCES = \
	tests/check_client_command.c \
	tests/client_script.c \
	tests/client_script.h
tests_check_client_command_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_check_client_command_LDADD = tests/libharness.la $(CHECK_LIBS) -lutil

tests_check_client_library_SOURCES = \
	tests/check_client_library.c \
	tests/client_script.c \
	tests/client_script.h
tests_check_client_library_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_check_client_library_LDADD = client/libredmutex.la $(CHECK_LIBS)
