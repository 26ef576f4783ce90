# SPDX-License-Identifier: MIT
# Compiled by `make check`, so that they do not rot; run by `make bench`.
check_PROGRAMS += \
	bench/bench_daemon \
	bench/bench_direct

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

EXTRA_DIST += bench/run

bench: all-am bench/bench_daemon$(EXEEXT) bench/bench_direct$(EXEEXT)
	BUILD_DIR=$(abs_builddir) $(srcdir)/bench/run $(BENCH_FLAGS)
.PHONY: bench
