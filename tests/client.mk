# SPDX-License-Identifier: MIT
client_tests = \
	tests/check_client_command \
	tests/check_client_library \
	tests/check_client_threads
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

tests_check_client_threads_SOURCES = tests/check_client_threads.c
tests_check_client_threads_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_check_client_threads_LDADD = client/libredmutex.la tests/libharness.la $(CHECK_LIBS)

# The examples are programs that these tests run.
client_examples = \
	examples/fenced_worker \
	examples/guard \
	examples/libevent_loop \
	examples/poll_loop \
	examples/synchronize \
	examples/threads
check_PROGRAMS += $(client_examples)
examples_fenced_worker_LDADD = client/libredmutex.la
examples_guard_SOURCES = examples/guard.cc
examples_guard_CXXFLAGS = -Wall -Wextra -Wpedantic
examples_guard_LDADD = client/libredmutex.la
examples_libevent_loop_CFLAGS = $(AM_CFLAGS) $(LIBEVENT_CFLAGS)
examples_libevent_loop_LDADD = client/libredmutex.la $(LIBEVENT_LIBS)
examples_poll_loop_LDADD = client/libredmutex.la
examples_synchronize_LDADD = client/libredmutex.la
examples_threads_LDADD = client/libredmutex.la

TESTS += tests/check_client_symbols.sh
EXTRA_DIST += tests/check_client_symbols.sh
