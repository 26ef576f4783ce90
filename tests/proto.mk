# SPDX-License-Identifier: MIT
proto_tests = \
	tests/check_proto_docs \
	tests/check_proto_line \
	tests/check_proto_name \
	tests/check_proto_reply \
	tests/check_proto_request
check_PROGRAMS += $(proto_tests)
TESTS += $(proto_tests)

tests_check_proto_docs_SOURCES = tests/check_proto.h tests/check_proto_docs.c
tests_check_proto_docs_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_check_proto_docs_LDADD = proto/libproto.la $(CHECK_LIBS)

tests_check_proto_line_SOURCES = tests/check_proto.h tests/check_proto_line.c
tests_check_proto_line_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_check_proto_line_LDADD = proto/libproto.la $(CHECK_LIBS)

tests_check_proto_name_SOURCES = tests/check_proto.h tests/check_proto_name.c
tests_check_proto_name_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_check_proto_name_LDADD = proto/libproto.la $(CHECK_LIBS)

tests_check_proto_reply_SOURCES = tests/check_proto.h tests/check_proto_reply.c
tests_check_proto_reply_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_check_proto_reply_LDADD = proto/libproto.la $(CHECK_LIBS)

tests_check_proto_request_SOURCES = tests/check_proto.h tests/check_proto_request.c
tests_check_proto_request_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_check_proto_request_LDADD = proto/libproto.la $(CHECK_LIBS)
