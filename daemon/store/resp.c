/* SPDX-License-Identifier: MIT */
/* Commands in Redis's protocol, written into a buffer. */
#include "config.h"

#include "store/resp.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "util/alloc.h"

enum { RESP_FIRST_SIZE = 4096, RESP_KEEP_SIZE = 1 << 20, DIGITS_MAX = 20 };

void resp_deinit(struct resp *resp)
{
	resp_clear(resp);
	free(resp->data);
	*resp = (struct resp){0};
}

void resp_clear(struct resp *resp)
{
	if (resp->data)
		explicit_bzero(resp->data, resp->size);
	resp->start = resp->end = 0;
}

void resp_wipe(struct resp *resp)
{
	if (!resp->data)
		return;
	explicit_bzero(resp->data, resp->start);
	explicit_bzero(resp->data + resp->end, resp->size - resp->end);
}

void resp_consume(struct resp *resp, size_t n)
{
	assert(n <= resp_len(resp));
	resp->start += n;
	if (resp->start < resp->end)
		return;
	resp->start = resp->end = 0;
	if (resp->size > RESP_KEEP_SIZE)
		resp_deinit(resp);
}

/* Room for n more bytes at the end. */
static void resp_make_room(struct resp *resp, size_t n)
{
	size_t len = resp_len(resp), size = resp->size > 0 ? resp->size : RESP_FIRST_SIZE;
	char *data = resp->data;

	while (size - len < n)
		size *= 2;
	if (size != resp->size)
		data = xcalloc(size, 1);
	if (len > 0)
		memmove(data, resp->data + resp->start, len);
	if (data != resp->data)
		resp_deinit(resp); /* not realloc(3), which may leave a password behind */
	*resp = (struct resp){.data = data, .end = len, .size = size};
}

static inline char *resp_room(struct resp *resp, size_t n)
{
	if (resp->size - resp->end < n)
		resp_make_room(resp, n);
	return resp->data + resp->end;
}

/* Return: how many bytes were written to `to`. */
static size_t print_number(char *to, uint64_t number)
{
	char digits[DIGITS_MAX];
	size_t n = 0;

	if (number < 100) { /* nearly every length */
		if (number >= 10)
			to[n++] = (char)('0' + number / 10);
		to[n++] = (char)('0' + number % 10);
		return n;
	}
	do {
		digits[n++] = (char)('0' + number % 10);
		number /= 10;
	} while (number > 0);
	for (size_t i = 0; i < n; i++)
		to[i] = digits[n - 1 - i];
	return n;
}

/* "*3\r\n", "$5\r\n". Return: one past the end. */
static char *print_head(char *to, char kind, size_t number)
{
	*to++ = kind;
	to += print_number(to, number);
	*to++ = '\r';
	*to++ = '\n';
	return to;
}

void resp_command(struct resp *resp, size_t n)
{
	char *to = resp_room(resp, DIGITS_MAX + 3);

	resp->end += (size_t)(print_head(to, '*', n) - to);
}

void resp_bytes(struct resp *resp, const void *bytes, size_t len)
{
	char *start = resp_room(resp, DIGITS_MAX + 3 + len + 2);
	char *to = print_head(start, '$', len);

	memcpy(to, bytes, len);
	to += len;
	*to++ = '\r';
	*to++ = '\n';
	resp->end += (size_t)(to - start);
}

void resp_text(struct resp *resp, const char *text)
{
	resp_bytes(resp, text, strlen(text));
}

void resp_integer(struct resp *resp, int64_t number)
{
	char text[DIGITS_MAX + 1];
	size_t len = 0;

	if (number < 0)
		text[len++] = '-';
	len += print_number(text + len, number < 0 ? -(uint64_t)number : (uint64_t)number);
	resp_bytes(resp, text, len);
}
