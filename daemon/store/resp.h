/* SPDX-License-Identifier: MIT */
#ifndef REDMUTEXD_STORE_RESP_H
#define REDMUTEXD_STORE_RESP_H
/*
 * Commands in Redis's protocol (RESP2), written one after the other into a buffer that is used
 * again and again, so that a command costs no allocation. Answers are read with hiredis.
 */
#include <stddef.h>
#include <stdint.h>

/* Bytes on their way out: [start, end) of data is not written yet. */
struct resp {
	char *data;
	size_t start, end, size;
};

void resp_deinit(struct resp *resp);
/* Forgets what is in it, with the bytes themselves: they may be a password. */
void resp_clear(struct resp *resp);
/* Overwrites what lies around the bytes that are still to go out: they may be a password. */
void resp_wipe(struct resp *resp);
/* The first n bytes are done with. Gives a large buffer back when it is empty. */
void resp_consume(struct resp *resp, size_t n);

static inline size_t resp_len(const struct resp *resp)
{
	return resp->end - resp->start;
}

/* A command of n words; exactly so many of the others follow. */
void resp_command(struct resp *resp, size_t n);
void resp_bytes(struct resp *resp, const void *bytes, size_t len);
void resp_text(struct resp *resp, const char *text);
void resp_integer(struct resp *resp, int64_t number);

#endif
