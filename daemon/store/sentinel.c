/* SPDX-License-Identifier: MIT */
/*
 * Which server is the master, as Redis Sentinel says.
 *
 * Each sentinel has two connections: one that asks for the master, now and then and whenever the
 * one that is known does not serve, and one that listens for +switch-master, so that a failover is
 * followed in the moment in which it happens. Sentinels may disagree for a while; the answer with
 * the highest configuration epoch is that of the latest failover. Whether the server so named is a
 * master at all is asked of itself, by the link that connects to it.
 */
#include "config.h"

#include "store/sentinel.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "util/alloc.h"
#include "util/log.h"

enum {
	ASK_INTERVAL_MS = 2000, /* also finds out whether the sentinel still answers */
	ASK_SOON_MS = 100,	/* no more often than this, however often it is wanted */
	RETRY_MIN_MS = 50,
	RETRY_MAX_MS = 2000,
	HOST_SIZE = 256,
	WHY_SIZE = 256,
};

struct peer;

/* One of the two connections to a sentinel. */
struct peer_line {
	struct peer *peer;
	struct conn conn;
	struct event timer; /* down: the next attempt; up: the next question */
	int64_t retry_ms;
	unsigned n_auth; /* replies to AUTH still to come */
	bool up;
};

/* Where a sentinel says that the master is. */
struct opinion {
	bool valid;
	char host[HOST_SIZE];
	int port;
	int64_t epoch;
};

/* One sentinel. */
struct peer {
	struct sentinel *sentinel;
	struct conn_address address;
	struct peer_line ask, ear;
	bool asked; /* a question is unanswered */
	bool tried; /* the first attempt has ended, one way or the other */
	struct opinion opinion;
};

struct sentinel {
	struct sentinel_setup setup;
	const char *name;
	struct opinion current;
	struct conn_address address; /* of current */
	char why[WHY_SIZE];
	unsigned n_peers;
	struct peer peers[];
};

static void line_connect(struct peer_line *line);
static void line_complain(struct peer_line *line, const char *text);

static void line_timer_in(struct peer_line *line, int64_t ms)
{
	struct timeval delay = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};

	event_add(&line->timer, &delay);
}

/* ------------------------------------------------------------------ opinions */

/* The best opinion counts; that of a sentinel that does not answer only while no other has one. */
static void sentinel_decide(struct sentinel *sentinel)
{
	const struct opinion *best = NULL;
	struct opinion *current = &sentinel->current;
	bool moved;

	for (unsigned i = 0; i < sentinel->n_peers; i++) {
		const struct opinion *opinion = &sentinel->peers[i].opinion;

		if (opinion->valid && (!best || opinion->epoch > best->epoch))
			best = opinion;
	}
	if (!best)
		return;
	moved = !current->valid || current->port != best->port ||
		strcmp(current->host, best->host) != 0;
	/* Two that are equally sure: stay. */
	if (moved && current->valid && best->epoch == current->epoch) {
		for (unsigned i = 0; i < sentinel->n_peers; i++) {
			const struct opinion *opinion = &sentinel->peers[i].opinion;

			if (opinion->valid && opinion->epoch == current->epoch &&
			    opinion->port == current->port &&
			    strcmp(opinion->host, current->host) == 0)
				return;
		}
	}
	if (moved && current->valid)
		log_info("sentinel: the master %s is at %s:%d now, no longer at %s:%d",
			 sentinel->name, best->host, best->port, current->host, current->port);
	*current = *best;
	sentinel->address = (struct conn_address){
		.host = current->host,
		.port = current->port,
		.tls = sentinel->setup.master_tls,
	};
	if (moved)
		sentinel->setup.moved(sentinel->setup.arg);
}

static void peer_note(struct peer *peer, const char *host, const char *port, int64_t epoch)
{
	struct opinion *opinion = &peer->opinion;
	int number = atoi(port);

	if (!*host || strlen(host) >= sizeof(opinion->host) || number < 1 || number > 65535)
		return;
	opinion->valid = true;
	strcpy(opinion->host, host);
	opinion->port = number;
	opinion->epoch = epoch;
	sentinel_decide(peer->sentinel);
}

/* ------------------------------------------------------------------ asking */

static void peer_ask(struct peer *peer)
{
	struct resp *out = &peer->ask.conn.out;

	if (!peer->ask.up || peer->asked)
		return;
	peer->asked = true;
	resp_command(out, 3);
	resp_text(out, "SENTINEL");
	resp_text(out, "MASTER");
	resp_text(out, peer->sentinel->name);
	conn_flush(&peer->ask.conn);
}

static const char *text_of(const redisReply *reply)
{
	return reply->type == REDIS_REPLY_STRING || reply->type == REDIS_REPLY_STATUS ? reply->str
										      : "";
}

/* A flat list of names and values. */
static void peer_answered(struct peer *peer, const redisReply *reply)
{
	const char *host = "", *port = "", *epoch = "0";

	peer->asked = false;
	if (reply->type == REDIS_REPLY_ERROR) {
		/* "-ERR No such master with that name": it is not for this one to say. */
		peer->opinion.valid = false;
		line_complain(&peer->ask, reply->str);
		return;
	}
	for (size_t i = 0; reply->type == REDIS_REPLY_ARRAY && i + 1 < reply->elements; i += 2) {
		const char *name = text_of(reply->element[i]);
		const char *value = text_of(reply->element[i + 1]);

		if (strcmp(name, "ip") == 0)
			host = value;
		else if (strcmp(name, "port") == 0)
			port = value;
		else if (strcmp(name, "config-epoch") == 0)
			epoch = value;
	}
	peer_note(peer, host, port, atoll(epoch));
}

void sentinel_ask(struct sentinel *sentinel)
{
	for (unsigned i = 0; i < sentinel->n_peers; i++) {
		struct peer_line *line = &sentinel->peers[i].ask;

		if (line->up)
			line_timer_in(line, ASK_SOON_MS);
	}
}

/* ------------------------------------------------------------------ listening */

/* "+switch-master": name, old host, old port, new host, new port. */
static void peer_heard(struct peer *peer, const redisReply *reply)
{
	char name[HOST_SIZE], host[HOST_SIZE], port[8];

	if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 3 ||
	    strcmp(text_of(reply->element[0]), "message") != 0)
		return;
	if (sscanf(text_of(reply->element[2]), "%255s %*s %*s %255s %7s", name, host, port) != 3 ||
	    strcmp(name, peer->sentinel->name) != 0)
		return;
	/* A failover has a higher epoch than all before it; which one, it will say when asked. */
	peer_note(peer, host, port,
		  (peer->sentinel->current.epoch > peer->opinion.epoch
			   ? peer->sentinel->current.epoch
			   : peer->opinion.epoch) +
			  1);
	peer_ask(peer);
}

/* ------------------------------------------------------------------ connections */

static struct peer_line *line_of(struct conn *conn)
{
	return container_of(conn, struct peer_line, conn);
}

static bool line_is_ear(const struct peer_line *line)
{
	return line == &line->peer->ear;
}

static void line_complain(struct peer_line *line, const char *text)
{
	struct sentinel *sentinel = line->peer->sentinel;

	line->peer->tried = true;
	snprintf(sentinel->why, sizeof(sentinel->why),
		 "no sentinel has named the master %.64s; %.64s:%d: %.100s", sentinel->name,
		 line->peer->address.host, line->peer->address.port, text);
}

static void line_down(struct peer_line *line, const char *why)
{
	struct peer *peer = line->peer;
	bool was_up = line->up;

	line->up = false;
	if (!line_is_ear(line)) {
		peer->asked = false;
		peer->opinion.valid = false; /* until it can be asked again */
		line_complain(line, why);
	}
	if (was_up)
		line->retry_ms = RETRY_MIN_MS;
	line_timer_in(line, line->retry_ms);
	if (line->retry_ms < RETRY_MAX_MS)
		line->retry_ms *= 2;
}

static void line_fail(struct peer_line *line, const char *why)
{
	conn_close(&line->conn);
	line_down(line, why);
}

static void line_up(struct peer_line *line)
{
	struct resp *out = &line->conn.out;

	line->up = true;
	line->retry_ms = RETRY_MIN_MS;
	conn_established(&line->conn);
	if (!line_is_ear(line)) {
		peer_ask(line->peer);
		line_timer_in(line, ASK_INTERVAL_MS);
		return;
	}
	resp_command(out, 2);
	resp_text(out, "SUBSCRIBE");
	resp_text(out, "+switch-master");
	conn_flush(&line->conn);
}

static void line_opened(struct conn *conn)
{
	struct peer_line *line = line_of(conn);
	char why[WHY_SIZE];

	if (!login_write(&line->peer->sentinel->setup.login, &conn->out, &line->n_auth, why,
			 sizeof(why))) {
		line_fail(line, why);
		return;
	}
	if (line->n_auth > 0)
		conn_flush(conn);
	else
		line_up(line);
}

static void line_reply(struct conn *conn, const redisReply *reply)
{
	struct peer_line *line = line_of(conn);

	if (line->n_auth > 0) {
		line->n_auth--;
		if (reply->type == REDIS_REPLY_ERROR)
			line_fail(line, reply->str);
		else
			line_up(line);
	} else if (line_is_ear(line)) {
		if (reply->type == REDIS_REPLY_ERROR)
			line_fail(line, reply->str);
		else
			peer_heard(line->peer, reply);
	} else {
		peer_answered(line->peer, reply);
		line->peer->tried = true;
	}
}

static void line_closed(struct conn *conn, const char *why)
{
	line_down(line_of(conn), why);
}

static const struct conn_class line_class = {
	.opened = line_opened,
	.reply = line_reply,
	.closed = line_closed,
};

static void line_connect(struct peer_line *line)
{
	const struct peer *peer = line->peer;

	conn_open(&line->conn, &peer->address, peer->sentinel->setup.connect_timeout_ms);
}

static void line_timer_cb(evutil_socket_t fd, short what, void *arg)
{
	struct peer_line *line = arg;

	(void)fd;
	(void)what;
	store_env_turn(line->peer->sentinel->setup.env);
	if (!line->up) {
		if (line->conn.state == CONN_CLOSED)
			line_connect(line);
		return;
	}
	if (line->peer->asked) {
		line_fail(line, "it does not answer");
		return;
	}
	line_timer_in(line, ASK_INTERVAL_MS);
	peer_ask(line->peer);
}

static void line_init(struct peer_line *line, struct peer *peer)
{
	const struct store_env *env = peer->sentinel->setup.env;

	line->peer = peer;
	line->retry_ms = RETRY_MIN_MS;
	conn_init(&line->conn, env, &line_class);
	event_assign(&line->timer, env->base, -1, 0, line_timer_cb, line);
	line_timer_in(line, 0);
}

static void line_deinit(struct peer_line *line)
{
	event_del(&line->timer);
	conn_deinit(&line->conn);
}

/* ------------------------------------------------------------------ the whole */

const struct conn_address *sentinel_where(const struct sentinel *sentinel, const char **why)
{
	bool all_tried = true;

	if (sentinel->current.valid)
		return &sentinel->address;
	for (unsigned i = 0; i < sentinel->n_peers; i++)
		all_tried = all_tried && sentinel->peers[i].tried;
	*why = all_tried ? sentinel->why : NULL;
	return NULL;
}

struct sentinel *sentinel_new(const struct sentinel_setup *setup)
{
	const struct url *url = setup->url;
	struct sentinel *sentinel =
		xcalloc(1, sizeof(*sentinel) + url->n_hosts * sizeof(*sentinel->peers));

	sentinel->setup = *setup;
	sentinel->name = url->master;
	sentinel->n_peers = url->n_hosts;
	for (unsigned i = 0; i < sentinel->n_peers; i++) {
		struct peer *peer = &sentinel->peers[i];

		peer->sentinel = sentinel;
		peer->address = (struct conn_address){
			.host = url->hosts[i].host,
			.port = url->hosts[i].port,
			.tls = setup->tls,
		};
		line_init(&peer->ask, peer);
		line_init(&peer->ear, peer);
	}
	return sentinel;
}

void sentinel_free(struct sentinel *sentinel)
{
	if (!sentinel)
		return;
	for (unsigned i = 0; i < sentinel->n_peers; i++) {
		line_deinit(&sentinel->peers[i].ask);
		line_deinit(&sentinel->peers[i].ear);
	}
	free(sentinel);
}
