/* SPDX-License-Identifier: MIT */
/* Pooled byte buffers. */
#include "config.h"

#include "serve/buffer.h"

#include <stdlib.h>
#include <string.h>

static char *block_get(struct buffer_pool *pool)
{
	void *block = pool->free;

	if (!block)
		return malloc(BUFFER_BLOCK);
	memcpy(&pool->free, block, sizeof(pool->free));
	pool->n_free--;
	return block;
}

static void block_put(struct buffer_pool *pool, char *block, size_t size)
{
	if (size != BUFFER_BLOCK || pool->n_free >= BUFFER_POOL_MAX) {
		free(block);
		return;
	}
	memcpy(block, &pool->free, sizeof(pool->free));
	pool->free = block;
	pool->n_free++;
}

void buffer_pool_deinit(struct buffer_pool *pool)
{
	while (pool->free)
		free(block_get(pool));
}

/* Room for len more bytes behind what is there. */
static bool buffer_grow(struct buffer_pool *pool, struct buffer *buffer, size_t len)
{
	size_t need = buffer->len + len, size = BUFFER_BLOCK;
	char *data;

	if (buffer->start + need <= buffer->size)
		return true;
	if (need <= buffer->size) {
		memmove(buffer->data, buffer_bytes(buffer), buffer->len);
		buffer->start = 0;
		return true;
	}
	while (size < need)
		size *= 2;
	data = size == BUFFER_BLOCK ? block_get(pool) : malloc(size);
	if (!data)
		return false;
	if (buffer->data) {
		memcpy(data, buffer_bytes(buffer), buffer->len);
		block_put(pool, buffer->data, buffer->size);
	}
	buffer->data = data;
	buffer->start = 0;
	buffer->size = size;
	return true;
}

bool buffer_append(struct buffer_pool *pool, struct buffer *buffer, const char *bytes, size_t len)
{
	if (len == 0)
		return true;
	if (!buffer_grow(pool, buffer, len))
		return false;
	memcpy(buffer->data + buffer->start + buffer->len, bytes, len);
	buffer->len += len;
	return true;
}

void buffer_consume(struct buffer_pool *pool, struct buffer *buffer, size_t len)
{
	buffer->start += len;
	buffer->len -= len;
	if (buffer->len == 0)
		buffer_clear(pool, buffer);
}

void buffer_clear(struct buffer_pool *pool, struct buffer *buffer)
{
	if (buffer->data)
		block_put(pool, buffer->data, buffer->size);
	*buffer = (struct buffer){0};
}
