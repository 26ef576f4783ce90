/* SPDX-License-Identifier: MIT */
/* The messages of a store. */
#include "config.h"

#include "store/watch.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uthash.h>

#include "store/server_error.h"
#include "util/alloc.h"

enum {
	/* Nothing heard for so long: ask; nothing heard for as long again: it is gone. */
	PING_INTERVAL_MS = 2000,
	IDLE_CLOSE_US = 30 * 1000000,
	BACKOFF_FIRST_MS = 20,
	BACKOFF_MAX_MS = 1000,
	/* A connection that lasted so long was a good one: begin with short pauses again. */
	BACKOFF_FORGIVE_US = 1000000,
};

struct watcher_channel {
	UT_hash_handle hh;
	struct watcher *watcher;
	TAILQ_ENTRY(watcher_channel) dirty_entry;
	LIST_HEAD(, store_watch) watches;
	struct store_watch *cursor; /* the next to be called, while they are called */
	bool is_dirty, this_round;
	bool asked;	    /* SUBSCRIBE was the last that was written */
	bool confirmed;	    /* and it was answered */
	bool denied;	    /* or refused: not asked again over this connection */
	unsigned n_pending; /* replies to come */
	char name[];
};

enum reply_kind { REPLY_AUTH, REPLY_SETNAME, REPLY_PING, REPLY_SUBSCRIBE, REPLY_UNSUBSCRIBE };

struct watcher_reply {
	enum reply_kind kind;
	struct watcher_channel *channel; /* of SUBSCRIBE and UNSUBSCRIBE */
};

static void watcher_connect(struct watcher *watcher);

static struct watcher *watcher_of(struct conn *conn)
{
	return container_of(conn, struct watcher, conn);
}

/* ------------------------------------------------------------------ channels */

static struct watcher_channel *watcher_find(const struct watcher *watcher, const char *name)
{
	struct watcher_channel *channel;

	HASH_FIND_STR(watcher->channels, name, channel);
	return channel;
}

static struct watcher_channel *watcher_add(struct watcher *watcher, const char *name)
{
	size_t len = strlen(name);
	struct watcher_channel *channel = xcalloc(1, sizeof(*channel) + len + 1);

	channel->watcher = watcher;
	memcpy(channel->name, name, len + 1);
	LIST_INIT(&channel->watches);
	HASH_ADD_KEYPTR(hh, watcher->channels, channel->name, len, channel);
	return channel;
}

static void watcher_mark(struct watcher *watcher, struct watcher_channel *channel)
{
	if (channel->is_dirty)
		return;
	channel->is_dirty = true;
	TAILQ_INSERT_TAIL(&watcher->dirty, channel, dirty_entry);
}

static void watcher_unmark(struct watcher *watcher, struct watcher_channel *channel)
{
	if (channel->is_dirty)
		TAILQ_REMOVE(&watcher->dirty, channel, dirty_entry);
	channel->is_dirty = false;
}

/* Frees a channel that nobody needs: only from where no callback is under way. */
static void watcher_drop_unused(struct watcher *watcher, struct watcher_channel *channel)
{
	if (!LIST_EMPTY(&channel->watches) || channel->asked || channel->n_pending > 0)
		return;
	watcher_unmark(watcher, channel);
	HASH_DEL(watcher->channels, channel);
	free(channel);
}

/*
 * Calls each watch of a channel, which may unwatch itself and others meanwhile: the cursor stands
 * on the next, and moves on when that goes. @fresh: those that were not ready, to say that they
 * are.
 */
static bool watcher_call(struct watcher_channel *channel, bool fresh, enum store_message message)
{
	struct store_watch *watch;
	bool any = false;

	channel->cursor = LIST_FIRST(&channel->watches);
	while ((watch = channel->cursor)) {
		channel->cursor = LIST_NEXT(watch, entry);
		if (fresh && watch->is_ready)
			continue;
		any = true;
		if (fresh) {
			watch->is_ready = true;
			watch->ready(watch);
		} else {
			watch->message(watch, message);
		}
	}
	return any;
}

void watcher_watch(struct watcher *watcher, struct store_watch *watch)
{
	struct watcher_channel *channel = watcher_find(watcher, watch->key->channel);

	if (!channel)
		channel = watcher_add(watcher, watch->key->channel);
	if (LIST_EMPTY(&channel->watches))
		watcher->n_watched++;
	watch->is_ready = false;
	watch->private = channel;
	LIST_INSERT_HEAD(&channel->watches, watch, entry);
	watcher_mark(watcher, channel);
}

void watcher_unwatch(struct watcher *watcher, struct store_watch *watch)
{
	struct watcher_channel *channel = watch->private;

	if (channel->cursor == watch)
		channel->cursor = LIST_NEXT(watch, entry);
	LIST_REMOVE(watch, entry);
	watch->is_ready = false;
	watch->private = NULL;
	if (LIST_EMPTY(&channel->watches)) {
		watcher->n_watched--;
		watcher_mark(watcher, channel);
	}
}

struct watcher *watcher_with(const struct store_watch *watch)
{
	const struct watcher_channel *channel = watch->private;

	return channel->watcher;
}

void watcher_hand_over(struct watcher *watcher,
		       struct watcher *(*where)(void *arg, const struct store_watch *watch),
		       void *arg)
{
	struct watcher_channel *channel, *next_channel;

	HASH_ITER (hh, watcher->channels, channel, next_channel) {
		struct store_watch *watch, *next;

		for (watch = LIST_FIRST(&channel->watches); watch; watch = next) {
			struct watcher *to = where(arg, watch);

			next = LIST_NEXT(watch, entry);
			if (to != watcher) {
				watcher_unwatch(watcher, watch);
				watcher_watch(to, watch);
			}
		}
	}
}

enum watcher_listens watcher_listens(const struct watcher *watcher, const char *name)
{
	const struct watcher_channel *channel = watcher_find(watcher, name);

	if (!channel || (!channel->asked && channel->n_pending == 0))
		return WATCHER_DEAF;
	return channel->n_pending > 0 ? WATCHER_UNSURE : WATCHER_LISTENS;
}

/* ------------------------------------------------------------------ asking */

static void watcher_expect(struct watcher *watcher, enum reply_kind kind,
			   struct watcher_channel *channel)
{
	size_t at;

	if (watcher->n_replies == watcher->replies_size) {
		size_t size = watcher->replies_size ? 2 * watcher->replies_size : 16;
		struct watcher_reply *replies = xcalloc(size, sizeof(*replies));

		for (size_t i = 0; i < watcher->n_replies; i++)
			replies[i] = watcher->replies[(watcher->replies_first + i) &
						      (watcher->replies_size - 1)];
		free(watcher->replies);
		watcher->replies = replies;
		watcher->replies_size = size;
		watcher->replies_first = 0;
	}
	at = (watcher->replies_first + watcher->n_replies++) & (watcher->replies_size - 1);
	watcher->replies[at] = (struct watcher_reply){.kind = kind, .channel = channel};
}

static void watcher_ask(struct watcher *watcher, enum reply_kind kind, const char *verb,
			struct watcher_channel *channel)
{
	resp_command(&watcher->conn.out, channel ? 2 : 1);
	resp_text(&watcher->conn.out, verb);
	if (channel) {
		resp_text(&watcher->conn.out, channel->name);
		channel->n_pending++;
		channel->confirmed = false;
	}
	watcher_expect(watcher, kind, channel);
}

/*
 * Each channel has a command of its own: were one of many in a command not allowed, none would be
 * listened to.
 */
static bool watcher_settle(struct watcher *watcher, struct watcher_channel *channel)
{
	bool wanted = !LIST_EMPTY(&channel->watches);

	watcher_unmark(watcher, channel);
	if (watcher->up && wanted && !channel->asked && !channel->denied) {
		channel->asked = true;
		watcher_ask(watcher, REPLY_SUBSCRIBE, "SUBSCRIBE", channel);
	} else if (watcher->up && !wanted && channel->asked) {
		channel->asked = false;
		watcher_ask(watcher, REPLY_UNSUBSCRIBE, "UNSUBSCRIBE", channel);
	}
	if (wanted && channel->confirmed)
		return watcher_call(channel, true, STORE_MESSAGE_FREE);
	watcher_drop_unused(watcher, channel);
	return false;
}

bool watcher_flush(struct watcher *watcher)
{
	struct watcher_channel *channel;
	bool any = false;

	if (watcher->n_watched > 0) {
		watcher->idle_since_us = CLOCK_NEVER;
		if (watcher->conn.state == CONN_CLOSED && !watcher->retrying)
			watcher_connect(watcher);
	} else if (watcher->idle_since_us == CLOCK_NEVER) {
		watcher->idle_since_us = clock_now_us(watcher->env->clock);
	}
	/* What the callbacks mark meanwhile is for the next round. */
	TAILQ_FOREACH (channel, &watcher->dirty, dirty_entry)
		channel->this_round = true;
	while ((channel = TAILQ_FIRST(&watcher->dirty)) && channel->this_round) {
		channel->this_round = false;
		any = watcher_settle(watcher, channel) || any;
	}
	conn_flush(&watcher->conn);
	return any;
}

/* ------------------------------------------------------------------ connecting */

static void watcher_timer_in(struct watcher *watcher, int64_t ms)
{
	struct timeval delay = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};

	event_add(&watcher->timer, &delay);
}

static void watcher_connect(struct watcher *watcher)
{
	const char *why = "";
	const struct conn_address *address = watcher->class->where(watcher, &why);

	watcher->retrying = false;
	if (address) {
		conn_open(&watcher->conn, address, watcher->connect_timeout_ms);
	} else {
		watcher->retrying = true;
		watcher_timer_in(watcher, BACKOFF_MAX_MS);
	}
}

static void watcher_set_down(struct watcher *watcher)
{
	struct watcher_channel *channel, *next;
	uint16_t chance;

	if (watcher->up &&
	    clock_now_us(watcher->env->clock) - watcher->up_since_us >= BACKOFF_FORGIVE_US)
		watcher->backoff_ms = BACKOFF_FIRST_MS;
	watcher->up = watcher->pinged = false;
	watcher->n_replies = 0;
	event_del(&watcher->timer);
	HASH_ITER (hh, watcher->channels, channel, next) {
		struct store_watch *watch;

		channel->asked = channel->confirmed = channel->denied = false;
		channel->n_pending = 0;
		LIST_FOREACH (watch, &channel->watches, entry)
			watch->is_ready = false;
		watcher_mark(watcher, channel);
	}
	if (watcher->n_watched == 0)
		return;
	watcher->env->entropy->fill(watcher->env->entropy, &chance, sizeof(chance));
	watcher->retrying = true;
	watcher_timer_in(watcher, watcher->backoff_ms / 2 + chance % (watcher->backoff_ms / 2 + 1));
	watcher->backoff_ms *= 2;
	if (watcher->backoff_ms > BACKOFF_MAX_MS)
		watcher->backoff_ms = BACKOFF_MAX_MS;
}

static void watcher_close(struct watcher *watcher)
{
	conn_close(&watcher->conn);
	watcher_set_down(watcher);
}

void watcher_reconnect(struct watcher *watcher)
{
	watcher->backoff_ms = BACKOFF_FIRST_MS;
	if (watcher->conn.state != CONN_CLOSED)
		watcher_close(watcher);
}

static void watcher_set_up(struct watcher *watcher)
{
	struct watcher_channel *channel, *next;

	conn_established(&watcher->conn);
	watcher->up = watcher->heard = true;
	watcher->up_since_us = clock_now_us(watcher->env->clock);
	watcher_timer_in(watcher, PING_INTERVAL_MS);
	HASH_ITER (hh, watcher->channels, channel, next)
		watcher_mark(watcher, channel);
	/* The subscriptions are written by the flush at this turn's end. */
}

static void watcher_opened(struct conn *conn)
{
	struct watcher *watcher = watcher_of(conn);
	char why[256];
	unsigned n_auth;

	if (!login_write(&watcher->login, &conn->out, &n_auth, why, sizeof(why))) {
		watcher_close(watcher); /* the links tell of it */
		return;
	}
	if (n_auth)
		watcher_expect(watcher, REPLY_AUTH, NULL);
	resp_command(&conn->out, 3);
	resp_text(&conn->out, "CLIENT");
	resp_text(&conn->out, "SETNAME");
	resp_text(&conn->out, "redmutexd-watch");
	watcher_expect(watcher, REPLY_SETNAME, NULL);
	conn_flush(conn);
}

static void watcher_timer_cb(evutil_socket_t fd, short what, void *arg)
{
	struct watcher *watcher = arg;
	int64_t now_us;

	(void)fd;
	(void)what;
	store_env_turn(watcher->env);
	if (watcher->retrying) {
		watcher->retrying = false;
		if (watcher->n_watched > 0)
			watcher_connect(watcher);
		return;
	}
	now_us = clock_now_us(watcher->env->clock);
	if (watcher->idle_since_us != CLOCK_NEVER && watcher->n_watched == 0 &&
	    now_us - watcher->idle_since_us >= IDLE_CLOSE_US) {
		watcher_close(watcher);
		return;
	}
	if (!watcher->heard) {
		if (watcher->pinged) {
			unsigned generation = watcher->conn.generation;

			/* It may have been this process that was held up. */
			conn_poll(&watcher->conn);
			if (generation != watcher->conn.generation)
				return;
			if (!watcher->heard) {
				watcher_close(watcher);
				return;
			}
		} else {
			watcher->pinged = true;
			watcher_ask(watcher, REPLY_PING, "PING", NULL);
			conn_flush(&watcher->conn);
			if (!watcher->up)
				return;
		}
	}
	watcher->heard = false;
	watcher_timer_in(watcher, PING_INTERVAL_MS);
}

/* ------------------------------------------------------------------ listening */

/* Is it one of the words before the sender's id? They stand between commas. */
static bool message_says(const char *text, const char *id, const char *word)
{
	const size_t len = strlen(word);

	while (text < id) {
		const size_t n = strcspn(text, ", ");

		if (n == len && memcmp(text, word, len) == 0)
			return true;
		text += n + 1;
	}
	return false;
}

static void watcher_message(struct watcher *watcher, const redisReply *reply)
{
	const char *name = reply->element[1]->str, *text = reply->element[2]->str;
	const char *id = text ? strchr(text, ' ') : NULL;
	struct watcher_channel *channel;
	bool free, want;

	if (!name || !id)
		return;
	free = message_says(text, id, "free");
	want = message_says(text, id, "want");
	channel = watcher_find(watcher, name);
	if (!channel || strcmp(id + 1, watcher->env->daemon_id) == 0)
		return;
	/* In this order: who takes it now has heard of the other. */
	if (want)
		watcher_call(channel, false, STORE_MESSAGE_WANT);
	if (free)
		watcher_call(channel, false, STORE_MESSAGE_FREE);
}

static struct watcher_reply watcher_next_reply(struct watcher *watcher)
{
	struct watcher_reply next = watcher->replies[watcher->replies_first];

	watcher->replies_first = (watcher->replies_first + 1) & (watcher->replies_size - 1);
	watcher->n_replies--;
	return next;
}

static void watcher_answered(struct watcher *watcher, struct watcher_channel *channel,
			     enum reply_kind kind, const redisReply *reply)
{
	channel->n_pending--;
	if (reply->type == REDIS_REPLY_ERROR) {
		watcher->class->denied(watcher, reply->str);
		if (kind == REPLY_SUBSCRIBE && channel->n_pending == 0) {
			channel->asked = false;
			channel->denied = true;
		}
	} else if (channel->asked && channel->n_pending == 0) {
		channel->confirmed = true;
		watcher_call(channel, true, STORE_MESSAGE_FREE);
		return;
	}
	watcher_mark(watcher, channel); /* dropped by the next flush, if that is all */
}

static void watcher_reply(struct conn *conn, const redisReply *reply)
{
	struct watcher *watcher = watcher_of(conn);
	struct watcher_reply next;

	watcher->heard = true;
	if (reply->type == REDIS_REPLY_ARRAY && reply->elements == 3 &&
	    reply->element[0]->type == REDIS_REPLY_STRING &&
	    strcmp(reply->element[0]->str, "message") == 0) {
		watcher_message(watcher, reply);
		return;
	}
	if (watcher->n_replies == 0) {
		watcher_close(watcher); /* an answer to nothing that was asked */
		return;
	}
	next = watcher_next_reply(watcher);
	switch (next.kind) {
	case REPLY_AUTH:
		if (reply->type == REDIS_REPLY_ERROR)
			watcher_close(watcher); /* the links tell of it */
		break;
	case REPLY_SETNAME: /* may be refused */
		if (reply->type == REDIS_REPLY_ERROR &&
		    server_error_classify(reply->str) == SERVER_ERROR_LOGIN)
			watcher_close(watcher);
		else
			watcher_set_up(watcher);
		break;
	case REPLY_PING:
		watcher->pinged = false;
		break;
	case REPLY_SUBSCRIBE:
	case REPLY_UNSUBSCRIBE:
		watcher_answered(watcher, next.channel, next.kind, reply);
		break;
	}
}

static void watcher_closed(struct conn *conn, const char *why)
{
	(void)why; /* the links tell of it */
	watcher_set_down(watcher_of(conn));
}

static const struct conn_class watcher_conn_class = {
	.opened = watcher_opened,
	.reply = watcher_reply,
	.closed = watcher_closed,
};

void watcher_init(struct watcher *watcher, const struct store_env *env,
		  const struct watcher_class *class, const struct login *login,
		  int64_t connect_timeout_ms)
{
	*watcher = (struct watcher){
		.class = class,
		.env = env,
		.login = *login,
		.connect_timeout_ms = connect_timeout_ms,
		.backoff_ms = BACKOFF_FIRST_MS,
		.idle_since_us = CLOCK_NEVER,
	};
	TAILQ_INIT(&watcher->dirty);
	conn_init(&watcher->conn, env, &watcher_conn_class);
	event_assign(&watcher->timer, env->base, -1, 0, watcher_timer_cb, watcher);
}

void watcher_deinit(struct watcher *watcher)
{
	struct watcher_channel *channel, *next;

	assert(watcher->n_watched == 0);
	conn_deinit(&watcher->conn);
	event_del(&watcher->timer);
	HASH_ITER (hh, watcher->channels, channel, next) {
		HASH_DEL(watcher->channels, channel);
		free(channel);
	}
	free(watcher->replies);
}
