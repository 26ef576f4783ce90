# SPDX-License-Identifier: MIT
noinst_LTLIBRARIES += daemon/conf/libconf.la
daemon_conf_libconf_la_CFLAGS = $(AM_CFLAGS) $(INIH_CFLAGS)
daemon_conf_libconf_la_LIBADD = $(INIH_LIBS)
daemon_conf_libconf_la_SOURCES = \
	daemon/conf/conf.c \
	daemon/conf/conf.h \
	daemon/conf/conf_dump.c \
	daemon/conf/conf_file.c \
	daemon/conf/conf_file.h \
	daemon/conf/conf_table.c \
	daemon/conf/conf_table.h \
	daemon/conf/conf_url.c \
	daemon/conf/conf_url.h

man_MANS += daemon/conf/redmutexd.ini.5
EXTRA_DIST += daemon/conf/redmutexd.ini.5
