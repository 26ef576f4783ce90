# SPDX-License-Identifier: MIT
# Compiled by `make check`, so that they do not rot; run by `make bench`.
bench_programs = \
	bench/bench_bare \
	bench/bench_daemon \
	bench/bench_direct \
	bench/bench_many \
	bench/bench_wake
check_PROGRAMS += $(bench_programs)

bench_bench_bare_SOURCES = \
	bench/bench.c \
	bench/bench.h \
	bench/bench_bare.c
bench_bench_bare_CFLAGS = $(AM_CFLAGS) -pthread
bench_bench_bare_LDADD =

bench_bench_daemon_SOURCES = \
	bench/bench.c \
	bench/bench.h \
	bench/bench_daemon.c
bench_bench_daemon_CFLAGS = $(AM_CFLAGS) -pthread
bench_bench_daemon_LDADD = proto/libproto.la

bench_bench_direct_SOURCES = \
	bench/bench.c \
	bench/bench.h \
	bench/bench_direct.c
bench_bench_direct_CFLAGS = $(AM_CFLAGS) $(HIREDIS_CFLAGS) -pthread
bench_bench_direct_LDADD = $(HIREDIS_LIBS)

bench_bench_many_SOURCES = \
	bench/bench.c \
	bench/bench.h \
	bench/bench_many.c
bench_bench_many_CFLAGS = $(AM_CFLAGS) -pthread
bench_bench_many_LDADD =

bench_bench_wake_SOURCES = \
	bench/bench.c \
	bench/bench.h \
	bench/bench_wake.c
bench_bench_wake_CFLAGS = $(AM_CFLAGS) $(HIREDIS_CFLAGS) -pthread
bench_bench_wake_LDADD = $(HIREDIS_LIBS)

EXTRA_DIST += bench/RESULTS.md bench/rows bench/run

bench: all-am $(bench_programs)
	BUILD_DIR=$(abs_builddir) $(srcdir)/bench/run $(BENCH_FLAGS)
	BUILD_DIR=$(abs_builddir) $(srcdir)/bench/rows
.PHONY: bench
