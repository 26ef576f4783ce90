/* SPDX-License-Identifier: MIT */
#ifndef REDMUTEX_PROTO_NAME_H
#define REDMUTEX_PROTO_NAME_H
/* What is a valid name, tag, lock string and number; percent-encoding. Pure functions. */
#include "proto/proto.h"

/* 1 to PROTO_NAME_MAX of A-Z a-z 0-9 . _ - : / */
bool name_valid(struct span name);

/* 1 to PROTO_TAG_MAX of A-Z a-z 0-9 . _ - */
bool tag_valid(struct span tag);

/* PROTO_LOCK_LEN characters of standard base64 that decode to 32 bytes. */
bool lock_string_valid(struct span lock);

/*
 * number_parse - an unsigned decimal number, digits only, no sign, no space
 * @word: the digits
 * @min, @max: inclusive range
 * @out: set only on success
 *
 * Return: true when word is such a number in the range.
 */
bool number_parse(struct span word, int64_t min, int64_t max, int64_t *out);

/*
 * percent_encode - text as an option value: what is not printable ASCII, the space and `%` become
 * %XX
 * @out, @size: where to; always terminated when size > 0
 *
 * Whole characters only: an escape is never cut in half.
 * Return: bytes written without the terminator; what did not fit is left out.
 */
size_t percent_encode(const char *text, size_t len, char *out, size_t size);

/*
 * percent_decode - the way back; `out` is terminated
 *
 * Return: bytes written without the terminator, or -1 when an escape is malformed, the result
 * would hold a NUL byte, or it does not fit.
 */
int percent_decode(struct span value, char *out, size_t size);

/*
 * pattern_matches - does a name match a pattern in which `*` stands for any run of characters?
 *
 * Linear in len(pattern) * len(name) at worst, without recursion.
 */
bool pattern_matches(struct span pattern, struct span name);

#endif
