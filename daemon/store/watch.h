/* SPDX-License-Identifier: MIT */
#ifndef REDMUTEXD_STORE_WATCH_H
#define REDMUTEXD_STORE_WATCH_H
/*
 * The messages of a store: one connection that listens on the channels of all keys that somebody
 * watches. It is opened when there is something to listen to, and closed a while after the last.
 */
#include <stdbool.h>
#include <stdint.h>

#include "store/conn.h"
#include "store/login.h"

struct watcher;
struct watcher_channel;
struct watcher_reply;

/* How the owner says where the server is, and hears how it goes. */
struct watcher_class {
	/* As in struct link_class. */
	const struct conn_address *(*where)(struct watcher *watcher, const char **why);
	/* The server does not let us listen; the locks go on, by looking now and then. */
	void (*denied)(struct watcher *watcher, const char *text);
};

TAILQ_HEAD(watcher_channels, watcher_channel);

struct watcher {
	const struct watcher_class *class;
	const struct store_env *env;
	struct login login;
	int64_t connect_timeout_ms;
	struct conn conn;
	struct event timer; /* down: the next attempt; up: is it still alive? */
	bool retrying, up, heard, pinged;
	int64_t up_since_us;
	int64_t backoff_ms;
	int64_t idle_since_us; /* from when on nobody watches; CLOCK_NEVER: somebody does */

	struct watcher_channel *channels; /* a hash by name */
	struct watcher_channels dirty;	  /* to be looked at by watcher_flush() */
	size_t n_watched;		  /* channels that somebody watches */
	/* Who gets the next replies, in order: a ring of a power of two. */
	struct watcher_reply *replies;
	size_t replies_size, replies_first, n_replies;
};

void watcher_init(struct watcher *watcher, const struct store_env *env,
		  const struct watcher_class *class, const struct login *login,
		  int64_t connect_timeout_ms);
/* All watches must be gone. */
void watcher_deinit(struct watcher *watcher);

void watcher_watch(struct watcher *watcher, struct store_watch *watch);
void watcher_unwatch(struct watcher *watcher, struct store_watch *watch);
/* With which watcher it is. */
struct watcher *watcher_with(const struct store_watch *watch);
/*
 * watcher_hand_over - move watches to where they belong
 * @where: with which watcher a watch should be
 *
 * They are told that they are ready there when they are. Not from inside a callback of a watch.
 */
void watcher_hand_over(struct watcher *watcher,
		       struct watcher *(*where)(void *arg, const struct store_watch *watch),
		       void *arg);
/* Asks for what was watched and unwatched. Return: whether a callback of a watch was called. */
bool watcher_flush(struct watcher *watcher);

enum watcher_listens { WATCHER_DEAF, WATCHER_LISTENS, WATCHER_UNSURE };

/* Are we among the channel's subscribers in the server? */
enum watcher_listens watcher_listens(const struct watcher *watcher, const char *channel);
/* The server is another one now: listen there. */
void watcher_reconnect(struct watcher *watcher);

#endif
