/* SPDX-License-Identifier: MIT */
/* Several links to one server. */
#include "config.h"

#include "store/pool.h"

#include <stdlib.h>

#include "util/alloc.h"

/* FNV-1a (http://www.isthe.com/chongo/tech/comp/fnv/). */
static unsigned pool_hash(const char *key)
{
	uint32_t hash = 2166136261U;

	for (; *key; key++)
		hash = (hash ^ (unsigned char)*key) * 16777619U;
	return hash ^ hash >> 16;
}

void pool_init(struct pool *pool, const struct link_setup *setup, unsigned n_links)
{
	pool->links = xcalloc(n_links, sizeof(*pool->links));
	pool->n_links = n_links;
	for (unsigned i = 0; i < n_links; i++)
		link_init(&pool->links[i], setup);
}

void pool_deinit(struct pool *pool)
{
	for (unsigned i = 0; i < pool->n_links; i++)
		link_deinit(&pool->links[i]);
	free(pool->links);
	*pool = (struct pool){0};
}

void pool_submit(struct pool *pool, struct store_op *op)
{
	unsigned hash = pool_hash(op->key->key);

	link_submit(&pool->links[hash % pool->n_links], op, hash);
}

void pool_submit_again(struct pool *pool, struct store_op *op, enum link_how how)
{
	unsigned hash = pool_hash(op->key->key);

	link_submit_again(&pool->links[hash % pool->n_links], op, hash, how);
}

bool pool_settled(struct pool *pool)
{
	for (unsigned i = 0; i < pool->n_links; i++) {
		if (!link_settled(&pool->links[i]))
			return false;
	}
	return true;
}

bool pool_is_up(const struct pool *pool)
{
	for (unsigned i = 0; i < pool->n_links; i++) {
		if (pool->links[i].state == LINK_UP)
			return true;
	}
	return false;
}

bool pool_flush(struct pool *pool)
{
	bool any = false;

	for (unsigned i = 0; i < pool->n_links; i++)
		any = link_flush(&pool->links[i]) || any;
	return any;
}

void pool_reconnect(struct pool *pool)
{
	for (unsigned i = 0; i < pool->n_links; i++)
		link_reconnect(&pool->links[i]);
}
