# SPDX-License-Identifier: MIT
# The core a second time, with its deliberate mistakes, and a world to run it in.
check_LTLIBRARIES += tests/sim/libfaultycore.la
tests_sim_libfaultycore_la_SOURCES = $(core_sources)
tests_sim_libfaultycore_la_CPPFLAGS = $(AM_CPPFLAGS) -DCORE_FAULTS

check_PROGRAMS += tests/sim/sim
tests_sim_sim_SOURCES = \
	daemon/store/quorum.c \
	daemon/store/quorum.h \
	tests/sim/client.c \
	tests/sim/daemon.c \
	tests/sim/event.c \
	tests/sim/main.c \
	tests/sim/nodes.c \
	tests/sim/nodes.h \
	tests/sim/oracle.c \
	tests/sim/random.h \
	tests/sim/store.c \
	tests/sim/trace.c \
	tests/sim/upgrade.c \
	tests/sim/world.c \
	tests/sim/world.h
tests_sim_sim_CPPFLAGS = $(AM_CPPFLAGS) -DCORE_FAULTS -I$(srcdir)/tests/sim
tests_sim_sim_LDADD = \
	tests/sim/libfaultycore.la \
	proto/libproto.la \
	daemon/util/libutil.la \
	$(LIBSYSTEMD_LIBS)
TESTS += tests/sim/seeds.sh tests/sim/faults.sh
EXTRA_DIST += tests/sim/seeds.sh tests/sim/faults.sh
