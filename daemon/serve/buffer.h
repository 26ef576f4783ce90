/* SPDX-License-Identifier: MIT */
#ifndef REDMUTEXD_SERVE_BUFFER_H
#define REDMUTEXD_SERVE_BUFFER_H
/*
 * Bytes on their way in or out. A session that has none costs no memory for them: blocks of the
 * usual size come from a pool and go back to it when they are empty.
 */
#include <stdbool.h>
#include <stddef.h>

enum { BUFFER_BLOCK = 4096, BUFFER_POOL_MAX = 1024 };

struct buffer_pool {
	void *free; /* blocks of BUFFER_BLOCK bytes, each begins with the pointer to the next */
	unsigned n_free;
};

void buffer_pool_deinit(struct buffer_pool *pool);

/* Zeroed it is empty. */
struct buffer {
	char *data;
	size_t start, len, size;
};

static inline const char *buffer_bytes(const struct buffer *buffer)
{
	return buffer->data + buffer->start;
}

/* Return: false when memory is out; nothing was added then. */
bool buffer_append(struct buffer_pool *pool, struct buffer *buffer, const char *bytes, size_t len);
/* Takes the first len bytes off; what is empty gives its memory back. */
void buffer_consume(struct buffer_pool *pool, struct buffer *buffer, size_t len);
void buffer_clear(struct buffer_pool *pool, struct buffer *buffer);

#endif
