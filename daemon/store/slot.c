/* SPDX-License-Identifier: MIT */
/* Which of a cluster's slots a key lies in. */
#include "config.h"

#include "store/slot.h"

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Polynomial 0x1021, most significant bit first, starts at 0; four bits at a time. */
static uint16_t crc16(const char *bytes, size_t len)
{
	static const uint16_t table[16] = {
		0x0000, 0x1021, 0x2042, 0x3063, 0x4084, 0x50a5, 0x60c6, 0x70e7,
		0x8108, 0x9129, 0xa14a, 0xb16b, 0xc18c, 0xd1ad, 0xe1ce, 0xf1ef,
	};
	uint16_t crc = 0;

	for (size_t i = 0; i < len; i++) {
		unsigned byte = (unsigned char)bytes[i];

		crc = (uint16_t)(crc << 4 ^ table[crc >> 12 ^ byte >> 4]);
		crc = (uint16_t)(crc << 4 ^ table[crc >> 12 ^ (byte & 15)]);
	}
	return crc;
}

unsigned slot_of_key(const char *key)
{
	const char *open = strchr(key, '{');
	const char *close = open ? strchr(open, '}') : NULL;

	if (close && close > open + 1)
		return crc16(open + 1, (size_t)(close - open - 1)) % N_SLOTS;
	return crc16(key, strlen(key)) % N_SLOTS;
}
