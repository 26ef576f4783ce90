# SPDX-License-Identifier: MIT
noinst_LTLIBRARIES += daemon/serve/libserve.la
daemon_serve_libserve_la_CFLAGS = $(AM_CFLAGS) $(LIBEVENT_CFLAGS) $(LIBEVENT_EXTRA_CFLAGS)
daemon_serve_libserve_la_LIBADD = $(LIBEVENT_EXTRA_LIBS) $(LIBEVENT_LIBS)
daemon_serve_libserve_la_SOURCES = \
	daemon/serve/buffer.c \
	daemon/serve/buffer.h \
	daemon/serve/command.c \
	daemon/serve/command.h \
	daemon/serve/descriptors.c \
	daemon/serve/descriptors.h \
	daemon/serve/handover.c \
	daemon/serve/handover.h \
	daemon/serve/handover_state.c \
	daemon/serve/handover_state.h \
	daemon/serve/journal.c \
	daemon/serve/journal.h \
	daemon/serve/journal_recover.c \
	daemon/serve/list.c \
	daemon/serve/list.h \
	daemon/serve/listener.c \
	daemon/serve/listener.h \
	daemon/serve/look.c \
	daemon/serve/look.h \
	daemon/serve/metrics.c \
	daemon/serve/metrics.h \
	daemon/serve/owner.c \
	daemon/serve/owner.h \
	daemon/serve/peer.c \
	daemon/serve/peer.h \
	daemon/serve/server.c \
	daemon/serve/server.h \
	daemon/serve/server_private.h \
	daemon/serve/session.c \
	daemon/serve/session.h \
	daemon/serve/stats.c \
	daemon/serve/stats.h \
	daemon/serve/user.c \
	daemon/serve/user.h
