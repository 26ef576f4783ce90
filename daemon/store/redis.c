/* SPDX-License-Identifier: MIT */
/* Locks in one Redis server: a pool of links for commands, and a watcher for messages. */
#include "config.h"

#include "store/redis.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store/pool.h"
#include "store/sentinel.h"
#include "store/tls.h"
#include "store/url.h"
#include "store/watch.h"
#include "util/alloc.h"
#include "util/log.h"

enum { ENDLESS_TOLD_MAX = 256 };

struct redis {
	struct store store;
	const struct store_env *env;
	struct store_settings settings;
	struct url url;
	struct conn_address address;
	struct tls *own_tls;	   /* NULL: plain, or the owner's */
	struct redis_owner owner;  /* if it is a node of a cluster; else all NULL */
	struct sentinel *sentinel; /* says where it is; NULL: at `address` */
	struct link_setup setup;
	struct pool pool;
	struct watcher watcher;
	/* The server, and its data, that answered last; empty: not known. */
	char run_id[LINK_ID_SIZE], history[LINK_ID_SIZE];
	/* The keys without expiry that were told of: at most ENDLESS_TOLD_MAX, owned. */
	char **endless;
	unsigned n_endless;
	bool was_up;
	bool down_told;
	char complaint[LINK_TEXT_SIZE]; /* the last in the log, which is not said again and again */
};

static struct redis *redis_of(struct store *store)
{
	return container_of(store, struct redis, store);
}

static struct redis *redis_of_link(struct link *link)
{
	return container_of(link->setup, struct redis, setup);
}

static struct redis *redis_of_watcher(struct watcher *watcher)
{
	return container_of(watcher, struct redis, watcher);
}

/* ------------------------------------------------------------------ what the connections tell */

static const struct conn_address *redis_where(const struct redis *redis, const char **why)
{
	return redis->sentinel ? sentinel_where(redis->sentinel, why) : &redis->address;
}

static const struct conn_address *redis_link_where(struct link *link, const char **why)
{
	return redis_where(redis_of_link(link), why);
}

static const struct conn_address *redis_watcher_where(struct watcher *watcher, const char **why)
{
	return redis_where(redis_of_watcher(watcher), why);
}

/* The sentinels name another master. */
static void redis_moved(void *arg)
{
	struct redis *redis = arg;

	pool_reconnect(&redis->pool);
	watcher_reconnect(&redis->watcher);
}

/* What stands at a key for ever keeps everybody waiting for ever: once a key, somebody is told. */
static void redis_note_endless(struct redis *redis, const char *key)
{
	struct log_about about = {.store = redis->store.name};

	for (unsigned i = 0; i < redis->n_endless; i++) {
		if (strcmp(redis->endless[i], key) == 0)
			return;
	}
	if (redis->n_endless == ENDLESS_TOLD_MAX)
		return;
	redis->endless = xrealloc(redis->endless, redis->n_endless + 1, sizeof(*redis->endless));
	redis->endless[redis->n_endless++] = xstrdup(key);
	log_write(LOG_LEVEL_WARNING, &about,
		  "%s: what stands at the key %s has no expiry, and was set by another program: "
		  "nobody gets the lock until it is deleted%s",
		  redis->store.name, key,
		  redis->n_endless == ENDLESS_TOLD_MAX ? "; further ones are not told" : "");
}

static void redis_forget_endless(struct redis *redis)
{
	while (redis->n_endless > 0)
		free(redis->endless[--redis->n_endless]);
	free(redis->endless);
	redis->endless = NULL;
}

static void redis_done(struct link *link, struct store_op *op)
{
	struct redis *redis = redis_of_link(link);

	if (op->status == STORE_HELD && op->pttl_ms == -1)
		redis_note_endless(redis, op->key->key);
	/* Each of a key's ops may have been on another connection. */
	if (redis->settings.wait_replicas > 0 && !pool_settled(&redis->pool))
		op->settled = false;
	if (redis->owner.done)
		redis->owner.done(redis->owner.arg, op);
	else
		op->done(op);
}

/* From Redis 7 on ASK is only said if none of several keys is there, else TRYAGAIN. */
static void redis_redirected(struct link *link, struct store_op *op, enum link_how how,
			     const char *error)
{
	struct redis_owner *owner = &redis_of_link(link)->owner;

	owner->redirected(owner->arg, op, how, link->version >= 7, error);
}

static void redis_complain(struct redis *redis, enum log_level level, const char *text)
{
	struct log_about about = {.store = redis->store.name};

	if (strncmp(redis->complaint, text, sizeof(redis->complaint) - 1) == 0)
		return;
	snprintf(redis->complaint, sizeof(redis->complaint), "%s", text);
	log_write(level, &about, "%s: %s", redis->store.name, text);
}

/* A Redis that forgets keys forgets locks, which somebody else gets then. */
static void redis_warn(struct redis *redis, const struct link *link)
{
	struct log_about about = {.store = redis->store.name};
	char missing[LINK_TEXT_SIZE];

	if (link->maxmemory > 0 && *link->maxmemory_policy &&
	    strcmp(link->maxmemory_policy, "noeviction") != 0)
		log_write(LOG_LEVEL_WARNING, &about,
			  "%s: with maxmemory-policy %s it may drop locks that are held; set it to "
			  "noeviction",
			  redis->store.name, link->maxmemory_policy);
	if (!link->has_log && !link->has_snapshots)
		log_write(LOG_LEVEL_WARNING, &about,
			  "%s: it keeps nothing on disk, so that locks that are held are forgotten "
			  "when it is restarted; set appendonly to yes",
			  redis->store.name);
	else if (!link->has_log)
		log_write(LOG_LEVEL_INFO, &about,
			  "%s: it keeps no more than snapshots on disk, so that it forgets the "
			  "latest "
			  "locks when it crashes; set appendonly to yes",
			  redis->store.name);
	if (link->version > 0 && link->version < 6)
		log_write(LOG_LEVEL_WARNING, &about,
			  "%s: it is older than Redis 6.0, with which nothing here was tried",
			  redis->store.name);
	link_missing(link, missing, sizeof(missing));
	if (*missing)
		log_write(LOG_LEVEL_WARNING, &about,
			  "%s: it does not know or allow %s; locks work, but not at their best",
			  redis->store.name, missing);
}

/* Is it, for all that we know, another server than before, or has it other data? */
static bool redis_changed(const struct redis *redis, const struct link *link)
{
	if (!*link->run_id)
		return link->failed;
	return strcmp(redis->run_id, link->run_id) != 0 ||
	       strcmp(redis->history, link->history) != 0;
}

static void redis_tell(struct redis *redis, enum store_event event)
{
	struct store_listener *listener = redis->store.listener;

	if (listener)
		listener->event(listener, &redis->store, event);
}

static void redis_up(struct link *link)
{
	struct redis *redis = redis_of_link(link);
	bool changed = redis_changed(redis, link), first = !redis->was_up;
	bool failed = link->failed, warn = first || changed;

	memcpy(redis->run_id, link->run_id, sizeof(redis->run_id));
	memcpy(redis->history, link->history, sizeof(redis->history));
	redis->was_up = true;
	if (redis->down_told)
		log_info("%s: it is there again", redis->store.name);
	redis->down_told = false;
	redis->complaint[0] = '\0';
	if (warn) {
		redis_warn(redis, link);
		redis_forget_endless(redis);
	}
	if (changed && !first)
		redis_tell(redis, STORE_EVENT_CHANGED);
	if (failed)
		redis_tell(redis, STORE_EVENT_UP);
}

static void redis_down(struct link *link, const char *text, bool lasting)
{
	struct redis *redis = redis_of_link(link);

	if (redis->sentinel)
		sentinel_ask(redis->sentinel);
	redis->down_told = true;
	redis_complain(redis, lasting ? LOG_LEVEL_ERROR : LOG_LEVEL_WARNING, text);
	if (redis->owner.down)
		redis->owner.down(redis->owner.arg);
}

static void redis_denied(struct link *link, const char *text)
{
	redis_complain(redis_of_link(link), LOG_LEVEL_ERROR, text);
}

static enum link_listens redis_listens(struct link *link, const char *channel)
{
	switch (watcher_listens(&redis_of_link(link)->watcher, channel)) {
	case WATCHER_LISTENS:
		return LINK_LISTENS;
	case WATCHER_UNSURE:
		return LINK_UNSURE;
	default:
		return LINK_DEAF;
	}
}

static const struct link_class redis_link_class = {
	.done = redis_done,
	.where = redis_link_where,
	.up = redis_up,
	.down = redis_down,
	.denied = redis_denied,
	.listens = redis_listens,
};

static const struct link_class redis_node_link_class = {
	.done = redis_done,
	.where = redis_link_where,
	.up = redis_up,
	.down = redis_down,
	.denied = redis_denied,
	.listens = redis_listens,
	.redirected = redis_redirected,
};

static void redis_watcher_denied(struct watcher *watcher, const char *text)
{
	redis_complain(redis_of_watcher(watcher), LOG_LEVEL_WARNING, text);
}

static const struct watcher_class redis_watcher_class = {
	.where = redis_watcher_where,
	.denied = redis_watcher_denied,
};

/* ------------------------------------------------------------------ the store */

static void redis_submit(struct store *store, struct store_op *op)
{
	pool_submit(&redis_of(store)->pool, op);
}

static void redis_watch(struct store *store, struct store_watch *watch)
{
	watcher_watch(&redis_of(store)->watcher, watch);
}

static void redis_unwatch(struct store *store, struct store_watch *watch)
{
	watcher_unwatch(&redis_of(store)->watcher, watch);
}

static bool redis_flush(struct store *store)
{
	struct redis *redis = redis_of(store);
	bool any = pool_flush(&redis->pool);

	return watcher_flush(&redis->watcher) || any;
}

static void redis_free(struct store *store)
{
	struct redis *redis = redis_of(store);

	sentinel_free(redis->sentinel);
	redis->sentinel = NULL;
	pool_deinit(&redis->pool);
	watcher_deinit(&redis->watcher);
	tls_free(redis->own_tls);
	redis_forget_endless(redis);
	store_settings_deinit(&redis->settings);
	url_deinit(&redis->url);
	free(redis);
}

static const struct store_class redis_class = {
	.submit = redis_submit,
	.watch = redis_watch,
	.unwatch = redis_unwatch,
	.flush = redis_flush,
	.free = redis_free,
};

void redis_submit_again(struct store *store, struct store_op *op, enum link_how how)
{
	pool_submit_again(&redis_of(store)->pool, op, how);
}

bool redis_is_up(const struct store *store)
{
	return pool_is_up(&container_of(store, const struct redis, store)->pool);
}

bool redis_is_settled(struct store *store)
{
	return pool_settled(&redis_of(store)->pool);
}

struct watcher *redis_watcher(struct store *store)
{
	return &redis_of(store)->watcher;
}

struct store *redis_open(const struct store_env *env, const struct store_settings *settings,
			 struct url *url, struct store_listener *listener)
{
	return redis_open_node(env, settings, url, listener, &(struct redis_owner){0});
}

struct store *redis_open_node(const struct store_env *env, const struct store_settings *settings,
			      struct url *url, struct store_listener *listener,
			      const struct redis_owner *owner)
{
	struct redis *redis = xcalloc(1, sizeof(*redis));

	redis->owner = *owner;

	redis->env = env;
	store_settings_copy(&redis->settings, settings);
	redis->url = *url;
	*url = (struct url){0};
	if (redis->url.tls && !owner->tls)
		redis->own_tls = tls_new(&redis->settings);
	redis->address = (struct conn_address){
		.path = redis->url.path,
		.host = redis->url.host,
		.port = redis->url.port,
		.tls = owner->tls ? owner->tls : redis->own_tls,
	};
	redis->store = (struct store){
		.class = &redis_class,
		.listener = listener,
		.name = redis->url.name,
	};
	redis->setup = (struct link_setup){
		.env = redis->env,
		.class = owner->redirected ? &redis_node_link_class : &redis_link_class,
		.name = redis->url.name,
		.login =
			{
				.user = redis->url.user ? redis->url.user
							: redis->settings.username,
				.password = redis->url.password,
				.password_file = redis->settings.password_file,
			},
		.db = redis->url.db,
		.wait_replicas = settings->wait_replicas,
		.connect_timeout_ms = settings->connect_timeout_ms,
		.command_timeout_ms = settings->command_timeout_ms,
		.stats = owner->stats ? owner->stats : &redis->store.stats,
	};
	if (redis->url.scheme == URL_SENTINEL)
		redis->sentinel = sentinel_new(&(struct sentinel_setup){
			.env = env,
			.url = &redis->url,
			.login =
				{
					.user = redis->settings.sentinel_username,
					.password_file = redis->settings.sentinel_password_file,
				},
			.tls = redis->url.sentinel_tls ? redis->own_tls : NULL,
			.master_tls = redis->own_tls,
			.connect_timeout_ms = settings->connect_timeout_ms,
			.moved = redis_moved,
			.arg = redis,
		});
	watcher_init(&redis->watcher, redis->env, &redis_watcher_class, &redis->setup.login,
		     settings->connect_timeout_ms);
	pool_init(&redis->pool, &redis->setup, settings->pool_size);
	return &redis->store;
}
