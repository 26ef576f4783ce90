/* SPDX-License-Identifier: MIT */
#ifndef REDMUTEX_PROTO_CHARS_H
#define REDMUTEX_PROTO_CHARS_H
/*
 * What a byte may be part of, as a table: each byte of each request is looked at, so it is one load
 * and one AND. For the inside of proto/ only.
 */
#include "proto/proto.h"

enum {
	CHAR_PRINTABLE = 1 << 0, /* 0x20 to 0x7e: may stand in a line */
	CHAR_WORD = 1 << 1,	 /* printable, and not the space */
	CHAR_PLAIN = 1 << 2,	 /* stands for itself in an option value: a word's, and not `%` */
	CHAR_TAG = 1 << 3,
	CHAR_NAME = 1 << 4,
	CHAR_PATTERN = 1 << 5, /* a name's, or `*` */
	CHAR_BASE64 = 1 << 6,  /* of the standard alphabet, without its `=` */
	CHAR_KEY = 1 << 7,     /* of the key of an option */
};

extern const uint8_t char_classes[256];

static inline bool char_is(char c, unsigned classes)
{
	return char_classes[(unsigned char)c] & classes;
}

/* Are all bytes of it (there may be none) of one of these classes? */
static inline bool span_is(struct span span, unsigned classes)
{
	for (size_t i = 0; i < span.len; i++)
		if (!char_is(span.at[i], classes))
			return false;
	return true;
}

#endif
