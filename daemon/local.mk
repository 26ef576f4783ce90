# SPDX-License-Identifier: MIT
sbin_PROGRAMS += daemon/redmutexd
daemon_redmutexd_SOURCES = daemon/main.c
daemon_redmutexd_CPPFLAGS = $(AM_CPPFLAGS) -DSYSCONFDIR='"$(sysconfdir)"'
daemon_redmutexd_CFLAGS = $(AM_CFLAGS) $(LIBEVENT_CFLAGS) $(LIBSYSTEMD_CFLAGS)
daemon_redmutexd_LDADD = \
	daemon/serve/libserve.la \
	daemon/conf/libconf.la \
	daemon/store/libstore.la \
	daemon/core/libcore.la \
	daemon/util/libutil.la \
	proto/libproto.la \
	$(LIBEVENT_LIBS) $(LIBSYSTEMD_LIBS)

man_MANS += daemon/redmutexd.8
EXTRA_DIST += daemon/redmutexd.8
