/* SPDX-License-Identifier: MIT */
#ifndef REDMUTEXD_STORE_REDIS_H
#define REDMUTEXD_STORE_REDIS_H
/*
 * Locks in one Redis server, or in the one that Sentinel names: a pool of links for commands, and a
 * watcher for messages.
 */
#include "store/link.h"
#include "store/open.h"

struct url;
struct watcher;

/* @url: of one server; taken over, and left empty */
struct store *redis_open(const struct store_env *env, const struct store_settings *settings,
			 struct url *url, struct store_listener *listener);

/*
 * What the owner of a server hears that is a node of a cluster. The store's ops and events go to
 * it; all else is as with a server of its own. Never from inside store_submit().
 */
struct redis_owner {
	/* Hand it on to whoever asked. */
	void (*done)(void *arg, struct store_op *op);
	/*
	 * See struct link_class. @knows_all: an ASK says that not one of the command's keys is
	 * there; else one of them may be.
	 */
	void (*redirected)(void *arg, struct store_op *op, enum link_how how, bool knows_all,
			   const char *error);
	/* It could not be reached, or no longer is. */
	void (*down)(void *arg);
	void *arg;
	struct store_stats *stats; /* where to count */
	struct tls *tls;	   /* how to encrypt; borrowed; NULL: plain */
};

/* @owner: copied. The others as in redis_open(). */
struct store *redis_open_node(const struct store_env *env, const struct store_settings *settings,
			      struct url *url, struct store_listener *listener,
			      const struct redis_owner *owner);
/* See link_prepare_again(). */
void redis_submit_again(struct store *store, struct store_op *op, enum link_how how);
bool redis_is_up(const struct store *store);
/* See link_settled(). */
bool redis_is_settled(struct store *store);
/* What listens for it. */
struct watcher *redis_watcher(struct store *store);

#endif
