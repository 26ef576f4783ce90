/* SPDX-License-Identifier: MIT */
#ifndef REDMUTEXD_STORE_POOL_H
#define REDMUTEXD_STORE_POOL_H
/*
 * Several links to one server. All ops for one key are carried out in order.
 *
 * Usually each key has its link. With wait_replicas a command holds up what follows it on its
 * connection until replicas have it: so there an op is given a link that has nothing else to do,
 * and stays here until there is one.
 */
#include "store/link.h"

struct pool {
	const struct link_setup *setup;
	struct link *links;
	unsigned n_links;
	struct link_ops queue; /* with wait_replicas: those that have no link yet */
	struct event timer;    /* of their deadlines */
};

/* @setup: borrowed */
void pool_init(struct pool *pool, const struct link_setup *setup, unsigned n_links);
/* Answers what is open. */
void pool_deinit(struct pool *pool);

void pool_submit(struct pool *pool, struct store_op *op);
/* See link_prepare_again(). */
void pool_submit_again(struct pool *pool, struct store_op *op, enum link_how how);
/* See link_settled(). */
bool pool_settled(struct pool *pool);
/* Is any of the links usable? */
bool pool_is_up(const struct pool *pool);
/* Return: whether any op was answered from in here. */
bool pool_flush(struct pool *pool);
/* See link_reconnect(). */
void pool_reconnect(struct pool *pool);

#endif
