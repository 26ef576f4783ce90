# SPDX-License-Identifier: MIT
noinst_LTLIBRARIES += daemon/core/libcore.la
core_sources = \
	daemon/core/ask.c \
	daemon/core/clock.h \
	daemon/core/errand.c \
	daemon/core/fault.h \
	daemon/core/faults.def \
	daemon/core/holder.c \
	daemon/core/holder.h \
	daemon/core/journal.h \
	daemon/core/lease.c \
	daemon/core/lease.h \
	daemon/core/lock_string.c \
	daemon/core/lock_string.h \
	daemon/core/mutex.c \
	daemon/core/mutex.h \
	daemon/core/mutex_private.h \
	daemon/core/mutex_upkeep.c \
	daemon/core/store.c \
	daemon/core/store.h \
	daemon/core/table.c \
	daemon/core/table.h \
	daemon/core/table_save.c \
	daemon/core/table_save.h \
	daemon/core/timer.c \
	daemon/core/timer.h
daemon_core_libcore_la_SOURCES = $(core_sources)
