# SPDX-License-Identifier: MIT
# The library and the command line on top of its public header.

include_HEADERS += client/redmutex.h
lib_LTLIBRARIES += client/libredmutex.la

# CURRENT:REVISION:AGE, at each release:
#   1. The code changed at all since the last one: REVISION + 1.
#   2. Something was added to, removed from or changed in redmutex.h: CURRENT + 1, REVISION = 0.
#   3. Something was added, and nothing else: AGE + 1.
#   4. Something was removed or changed: AGE = 0, and a new section in libredmutex.sym.
# release	libredmutex	soname
# 0.1.0		0:0:0		libredmutex.so.0
REDMUTEX_VERSION_INFO = 0:0:0

client_libredmutex_la_SOURCES = \
	client/libredmutex.h \
	client/libredmutex-calls.c \
	client/libredmutex-connection.c \
	client/libredmutex-error.c \
	client/libredmutex-lease.c \
	client/libredmutex-request.c
client_libredmutex_la_LIBADD = proto/libproto.la
client_libredmutex_la_LDFLAGS = -no-undefined -version-info $(REDMUTEX_VERSION_INFO) \
	-Wl,--version-script=$(top_srcdir)/client/libredmutex.sym
client_libredmutex_la_DEPENDENCIES = proto/libproto.la $(top_srcdir)/client/libredmutex.sym
EXTRA_DIST += client/libredmutex.sym

client/redmutex.pc: $(top_srcdir)/client/redmutex.pc.in config.status
	$(AM_V_GEN)$(MKDIR_P) client && cd $(top_builddir) && ./config.status --file=$@:$<
pkgconfig_DATA += client/redmutex.pc
EXTRA_DIST += client/redmutex.pc.in
CLEANFILES += client/redmutex.pc

# Against the static library, so that the program in the build tree is the real one and starts fast.
bin_PROGRAMS += client/redmutex
client_redmutex_SOURCES = \
	client/cmd.h \
	client/cmd_acquire.c \
	client/cmd_break.c \
	client/cmd_common.c \
	client/cmd_exists.c \
	client/cmd_extend.c \
	client/cmd_group.c \
	client/cmd_group.h \
	client/cmd_info.c \
	client/cmd_list.c \
	client/cmd_ping.c \
	client/cmd_release.c \
	client/cmd_run.c \
	client/cmd_stats.c \
	client/cmd_top.c \
	client/cmd_wait.c \
	client/redmutex.c
client_redmutex_LDADD = client/libredmutex.la
client_redmutex_LDFLAGS = -static

man_MANS += client/redmutex.1 client/libredmutex.3
EXTRA_DIST += client/redmutex.1 client/libredmutex.3

# bash loads a completion by the name of its command.
bashcompletiondir = $(datadir)/bash-completion/completions
zshcompletiondir = $(datadir)/zsh/site-functions
fishcompletiondir = $(datadir)/fish/vendor_completions.d
nodist_bashcompletion_DATA = client/completion/redmutex
dist_zshcompletion_DATA = client/completion/_redmutex
dist_fishcompletion_DATA = client/completion/redmutex.fish
client/completion/redmutex: client/completion/redmutex.bash
	$(AM_V_GEN)$(MKDIR_P) client/completion && cp $(srcdir)/client/completion/redmutex.bash $@
EXTRA_DIST += client/completion/redmutex.bash
CLEANFILES += client/completion/redmutex
