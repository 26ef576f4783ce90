# SPDX-License-Identifier: MIT
noinst_LTLIBRARIES += proto/libproto.la
proto_libproto_la_SOURCES = \
	proto/chars.h \
	proto/errors.def \
	proto/line.c \
	proto/line.h \
	proto/name.c \
	proto/name.h \
	proto/options.def \
	proto/proto.c \
	proto/proto.h \
	proto/reply.c \
	proto/reply.h \
	proto/request.c \
	proto/request.h \
	proto/verbs.def

man_MANS += proto/redmutex-protocol.7
EXTRA_DIST += proto/PROTOCOL.md proto/redmutex-protocol.7
