/* SPDX-License-Identifier: MIT */
/* Lock strings: base64 (RFC 4648 section 4) of 32 random bytes. */
#include "config.h"

#include "core/lock_string.h"

#include <string.h>

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void lock_string_make(struct entropy *entropy, char out[LOCK_STRING_SIZE])
{
	uint8_t bytes[33];
	char *p = out;

	entropy->fill(entropy, bytes, 32);
	bytes[32] = 0; /* 32 bytes are ten groups of three and two that want a third */
	for (int i = 0; i < 33; i += 3) {
		uint32_t group =
			(uint32_t)bytes[i] << 16 | (uint32_t)bytes[i + 1] << 8 | bytes[i + 2];

		*p++ = alphabet[group >> 18 & 63];
		*p++ = alphabet[group >> 12 & 63];
		*p++ = alphabet[group >> 6 & 63];
		*p++ = alphabet[group & 63];
	}
	p[-1] = '=';
	*p = '\0';
}

bool lock_string_equal(const char *a, const char *b)
{
	unsigned char differs = 0;

	if (strnlen(a, LOCK_STRING_SIZE) != LOCK_STRING_LEN ||
	    strnlen(b, LOCK_STRING_SIZE) != LOCK_STRING_LEN)
		return false;
	for (int i = 0; i < LOCK_STRING_LEN; i++)
		differs |= (unsigned char)(a[i] ^ b[i]);
	return !differs;
}
