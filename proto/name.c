/* SPDX-License-Identifier: MIT */
/* What is a valid name, tag, lock string and number; percent-encoding; patterns. */
#include "config.h"

#include "proto/name.h"

#include <string.h>

#include "proto/chars.h"

#define PRINTABLE CHAR_PRINTABLE
#define WORD (PRINTABLE | CHAR_WORD)
#define PLAIN (WORD | CHAR_PLAIN)
#define NAME (PLAIN | CHAR_NAME | CHAR_PATTERN)

const uint8_t char_classes[256] = {
	[' '] = PRINTABLE,
	['!' ... '$'] = PLAIN,
	['%'] = WORD,
	['&' ... ')'] = PLAIN,
	['*'] = PLAIN | CHAR_PATTERN,
	['+'] = PLAIN | CHAR_BASE64,
	[','] = PLAIN,
	['-' ... '.'] = NAME | CHAR_TAG,
	['/'] = NAME | CHAR_BASE64,
	['0' ... '9'] = NAME | CHAR_TAG | CHAR_BASE64,
	[':'] = NAME,
	[';' ... '@'] = PLAIN,
	['A' ... 'Z'] = NAME | CHAR_TAG | CHAR_BASE64,
	['[' ... '^'] = PLAIN,
	['_'] = NAME | CHAR_TAG | CHAR_KEY,
	['`'] = PLAIN,
	['a' ... 'z'] = NAME | CHAR_TAG | CHAR_BASE64 | CHAR_KEY,
	['{' ... '~'] = PLAIN,
};

bool name_valid(struct span name)
{
	return name.len >= 1 && name.len <= PROTO_NAME_MAX && span_is(name, CHAR_NAME);
}

bool tag_valid(struct span tag)
{
	return tag.len >= 1 && tag.len <= PROTO_TAG_MAX && span_is(tag, CHAR_TAG);
}

bool lock_string_valid(struct span lock)
{
	if (lock.len != PROTO_LOCK_LEN || lock.at[PROTO_LOCK_LEN - 1] != '=')
		return false;
	if (!span_is((struct span){lock.at, PROTO_LOCK_LEN - 1}, CHAR_BASE64))
		return false;
	/* 43 characters are 258 bits: the last two are none of the 32 bytes, and zero. */
	return memchr("AEIMQUYcgkosw048", lock.at[PROTO_LOCK_LEN - 2], 16) != NULL;
}

bool number_parse(struct span word, int64_t min, int64_t max, int64_t *out)
{
	int64_t number = 0;

	if (word.len == 0)
		return false;
	for (size_t i = 0; i < word.len; i++) {
		int digit = word.at[i] - '0';

		if (digit < 0 || digit > 9 || __builtin_mul_overflow(number, 10, &number) ||
		    __builtin_add_overflow(number, digit, &number))
			return false;
	}
	if (number < min || number > max)
		return false;
	*out = number;
	return true;
}

size_t percent_encode(const char *text, size_t len, char *out, size_t size)
{
	static const char digits[16] = "0123456789ABCDEF";
	size_t n = 0;

	if (size == 0)
		return 0;
	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)text[i];

		if (char_is(text[i], CHAR_PLAIN)) {
			if (size - n < 2)
				break;
			out[n++] = text[i];
		} else {
			if (size - n < 4)
				break;
			out[n++] = '%';
			out[n++] = digits[c >> 4];
			out[n++] = digits[c & 15];
		}
	}
	out[n] = '\0';
	return n;
}

/* Return: what a hexadecimal digit stands for, or -1. */
static int hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return -1;
}

int percent_decode(struct span value, char *out, size_t size)
{
	size_t n = 0;

	if (size == 0)
		return -1;
	for (size_t i = 0; i < value.len; i++) {
		char c = value.at[i];

		if (c == '%') {
			int high, low;

			if (value.len - i < 3)
				return -1;
			high = hex_value(value.at[++i]);
			low = hex_value(value.at[++i]);
			if (high < 0 || low < 0)
				return -1;
			c = (char)(high << 4 | low);
		}
		if (c == '\0' || size - n < 2)
			return -1;
		out[n++] = c;
	}
	out[n] = '\0';
	return (int)n;
}

/*
 * Each `*` is first taken to stand for nothing; where that leads nowhere, the last `*` that was met
 * takes one character more. Earlier ones need not be tried again: what they could take instead, the
 * last one can take as well.
 */
bool pattern_matches(struct span pattern, struct span name)
{
	size_t p = 0, n = 0;
	size_t star = SIZE_MAX, taken_to = 0;

	while (n < name.len) {
		if (p < pattern.len && pattern.at[p] == '*') {
			star = p++;
			taken_to = n;
		} else if (p < pattern.len && pattern.at[p] == name.at[n]) {
			p++;
			n++;
		} else if (star != SIZE_MAX) {
			p = star + 1;
			n = ++taken_to;
		} else {
			return false;
		}
	}
	while (p < pattern.len && pattern.at[p] == '*')
		p++;
	return p == pattern.len;
}
