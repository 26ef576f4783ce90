/* SPDX-License-Identifier: MIT */
#ifndef TESTS_CHECK_PROTO_H
#define TESTS_CHECK_PROTO_H
/* What the tests of proto/ share: spans of literals, and how to compare them. */
#include <check.h>
#include <string.h>

#include "proto/proto.h"
#include "suite.h"

/* A literal as a span; it may hold NUL bytes. */
#define S(text) ((struct span){(text), sizeof(text) - 1})

#define ck_assert_span(got, expected) assert_span(got, expected, #got, __FILE__, __LINE__)

static inline void assert_span(struct span got, const char *expected, const char *what,
			       const char *file, int line)
{
	ck_assert_msg(got.len == strlen(expected) && memcmp(got.at, expected, got.len) == 0,
		      "%s:%d: %s is \"%.*s\", not \"%s\"", file, line, what, (int)got.len, got.at,
		      expected);
}

/* 32 bytes in base64, once with letters only and once with all that the alphabet has. */
#define LOCK_LOWER "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopk="
#define LOCK_MIXED "q9+/q9+/q9+/q9+/q9+/q9+/q9+/q9+/q9+/q9+/q98="

static inline struct span span_of(const char *text)
{
	return (struct span){text, strlen(text)};
}

#endif
