/* SPDX-License-Identifier: MIT */
/* Several links to one server. */
#include "config.h"

#include "store/pool.h"

#include <stdio.h>
#include <stdlib.h>

#include "util/alloc.h"

enum { LATE_PART = 8 };

/* FNV-1a (http://www.isthe.com/chongo/tech/comp/fnv/). */
static unsigned pool_hash(const char *key)
{
	uint32_t hash = 2166136261U;

	for (; *key; key++)
		hash = (hash ^ (unsigned char)*key) * 16777619U;
	return hash ^ hash >> 16;
}

static void pool_timer_cb(evutil_socket_t fd, short what, void *arg);

void pool_init(struct pool *pool, const struct link_setup *setup, unsigned n_links)
{
	*pool = (struct pool){.setup = setup, .n_links = n_links};
	TAILQ_INIT(&pool->queue);
	pool->links = xcalloc(n_links, sizeof(*pool->links));
	for (unsigned i = 0; i < n_links; i++)
		link_init(&pool->links[i], setup);
	event_assign(&pool->timer, setup->env->base, -1, 0, pool_timer_cb, pool);
}

/* ------------------------------------------------------------------ one op a link */

/* Return: a link that can write at once, NULL: none. */
static struct link *pool_find_quiet(const struct pool *pool)
{
	for (unsigned i = 0; i < pool->n_links; i++) {
		struct link *link = &pool->links[i];

		if (link->state == LINK_UP && link_is_quiet(link))
			return link;
	}
	return NULL;
}

static bool pool_has(const struct pool *pool, unsigned hash)
{
	for (unsigned i = 0; i < pool->n_links; i++) {
		if (link_has(&pool->links[i], hash))
			return true;
	}
	return false;
}

/*
 * Gives links to those that wait for one. The first of a key's comes first: a later one sees that
 * its key is at work.
 */
static void pool_lease(struct pool *pool)
{
	struct store_op *op, *next;
	struct link *link = NULL;
	int64_t now_us = clock_now_us(pool->setup->env->clock);

	if (!pool_is_up(pool)) {
		/* None will be quiet soon: they wait for the connections, and share their fate. */
		while ((op = TAILQ_FIRST(&pool->queue))) {
			TAILQ_REMOVE(&pool->queue, op, entry);
			link_submit(&pool->links[pool_hash(op->key->key) % pool->n_links], op);
		}
		return;
	}
	for (op = TAILQ_FIRST(&pool->queue); op; op = next) {
		next = TAILQ_NEXT(op, entry);
		if (!link && !(link = pool_find_quiet(pool)))
			return;
		if (pool_has(pool, pool_hash(op->key->key)))
			continue;
		/* Too late for replicas to answer: it stays, for its own deadline and not the
		 * link's. */
		if (op->deadline_us - now_us < pool->setup->command_timeout_ms * 1000 / LATE_PART)
			continue;
		TAILQ_REMOVE(&pool->queue, op, entry);
		link_submit(link, op);
		link = NULL;
	}
}

/* Answers those whose deadline is at that time or earlier. Return: whether there were any. */
static bool pool_answer_queue(struct pool *pool, int64_t late_us, const char *why)
{
	struct store_op *op;
	bool any = false;

	while ((op = TAILQ_FIRST(&pool->queue)) && op->deadline_us <= late_us) {
		TAILQ_REMOVE(&pool->queue, op, entry);
		link_refuse(&pool->links[0], op, why);
		any = true;
	}
	return any;
}

/* Wakes up for the first deadline of the queue. */
static void pool_arm(struct pool *pool)
{
	const struct store_op *first = TAILQ_FIRST(&pool->queue);
	struct timeval delay;
	int64_t left_us;

	if (!first)
		return;
	left_us = first->deadline_us - clock_now_us(pool->setup->env->clock);
	if (left_us < 0)
		left_us = 0;
	delay = (struct timeval){.tv_sec = left_us / 1000000, .tv_usec = left_us % 1000000};
	event_add(&pool->timer, &delay);
}

static void pool_timer_cb(evutil_socket_t fd, short what, void *arg)
{
	struct pool *pool = arg;
	char why[LINK_TEXT_SIZE];

	(void)fd;
	(void)what;
	store_env_turn(pool->setup->env);
	snprintf(why, sizeof(why),
		 "all connections wait for replicas (pool_size = %u) for longer than %lld ms",
		 pool->n_links, (long long)pool->setup->command_timeout_ms);
	pool_answer_queue(pool, clock_now_us(pool->setup->env->clock), why);
	pool_arm(pool);
}

/* ------------------------------------------------------------------ all of them */

void pool_deinit(struct pool *pool)
{
	for (unsigned i = 0; i < pool->n_links; i++)
		link_deinit(&pool->links[i]);
	pool_answer_queue(pool, CLOCK_NEVER, "no longer used");
	event_del(&pool->timer);
	free(pool->links);
	*pool = (struct pool){0};
}

/* @link: its key's */
static void pool_take(struct pool *pool, struct link *link, struct store_op *op)
{
	if (pool->setup->wait_replicas == 0) {
		link_submit(link, op);
		return;
	}
	link_ops_insert(&pool->queue, op);
	if (TAILQ_FIRST(&pool->queue) == op)
		pool_arm(pool);
}

void pool_submit(struct pool *pool, struct store_op *op)
{
	unsigned hash = pool_hash(op->key->key);
	struct link *link = &pool->links[hash % pool->n_links];

	link_prepare(link, op, hash);
	pool_take(pool, link, op);
}

void pool_submit_again(struct pool *pool, struct store_op *op, enum link_how how)
{
	unsigned hash = pool_hash(op->key->key);

	link_prepare_again(op, hash, how);
	pool_take(pool, &pool->links[hash % pool->n_links], op);
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

	if (!TAILQ_EMPTY(&pool->queue))
		pool_lease(pool);
	for (unsigned i = 0; i < pool->n_links; i++)
		any = link_flush(&pool->links[i]) || any;
	return any;
}

void pool_reconnect(struct pool *pool)
{
	for (unsigned i = 0; i < pool->n_links; i++)
		link_reconnect(&pool->links[i]);
}
