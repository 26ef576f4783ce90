/* SPDX-License-Identifier: MIT */
/*
 * Which server is the master, as Redis Sentinel says.
 *
 * Each sentinel has two connections: one that asks for the master, now and then and whenever the
 * one that is known does not serve, and one that listens for the messages of a failover, so that it
 * is followed in the moment in which it happens. What a message says is not believed, but asked
 * for: it may be late, or of another master.
 *
 * Sentinels may disagree for a while; the answer with the highest configuration epoch is that of
 * the latest failover, and no lower one is followed, unless most of all sentinels say so (they may
 * have been set up anew). The sentinel that leads a failover names the new master to those who ask
 * for its address before it does so in all that it tells of the master; the epoch is the new one by
 * then. Whether the server so named is a master at all is asked of itself, by the link that
 * connects to it.
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
	RETRY_FORGIVE_US = 1000000, /* a connection that lasted so long was a good one */
	HOST_SIZE = 256,
	WHY_SIZE = 256,
};

struct peer;

/* One of the two connections to a sentinel. */
struct peer_line {
	struct peer *peer;
	struct conn conn;
	struct event timer; /* down: the next attempt; up: the next question, or its answer's end */
	int64_t retry_ms;
	int64_t up_since_us;
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
	unsigned n_answers;	  /* to a question still to come */
	int64_t asked_us;	  /* when the last question was put */
	bool wanted;		  /* another question is, as soon as it may be */
	bool tried;		  /* the first attempt has ended, one way or the other */
	bool deaf_told;		  /* that it does not let us listen */
	char complaint[WHY_SIZE]; /* the last in the log; empty: it answers */
	struct opinion answer;	  /* as far as it has come */
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
static void peer_complain(struct peer *peer, const char *text);
static void line_fail(struct peer_line *line, const char *why);

static void line_timer_in(struct peer_line *line, int64_t ms)
{
	struct timeval delay = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};

	event_add(&line->timer, &delay);
}

static int64_t sentinel_now_us(const struct sentinel *sentinel)
{
	return clock_now_us(sentinel->setup.env->clock);
}

/* ------------------------------------------------------------------ opinions */

static bool opinion_same_place(const struct opinion *a, const struct opinion *b)
{
	return a->port == b->port && strcmp(a->host, b->host) == 0;
}

static unsigned sentinel_count_for(const struct sentinel *sentinel, const struct opinion *wanted)
{
	unsigned n = 0;

	for (unsigned i = 0; i < sentinel->n_peers; i++) {
		const struct opinion *opinion = &sentinel->peers[i].opinion;

		n += opinion->valid && opinion_same_place(opinion, wanted);
	}
	return n;
}

/* May what is best now take the place of what was taken for the master until now? */
static bool sentinel_may_follow(const struct sentinel *sentinel, const struct opinion *best)
{
	const struct opinion *current = &sentinel->current;

	if (!current->valid || best->epoch > current->epoch)
		return true;
	/* Two that are equally sure: stay. */
	if (best->epoch == current->epoch)
		return sentinel_count_for(sentinel, current) == 0;
	return sentinel_count_for(sentinel, best) > sentinel->n_peers / 2;
}

/* The best opinion counts; that of a sentinel that does not answer only while no other has one. */
static void sentinel_decide(struct sentinel *sentinel)
{
	const struct opinion *best = NULL;
	struct opinion *current = &sentinel->current;

	for (unsigned i = 0; i < sentinel->n_peers; i++) {
		const struct opinion *opinion = &sentinel->peers[i].opinion;

		if (opinion->valid && (!best || opinion->epoch > best->epoch))
			best = opinion;
	}
	if (!best)
		return;
	if (current->valid && opinion_same_place(current, best)) {
		current->epoch = best->epoch;
		return;
	}
	if (!sentinel_may_follow(sentinel, best))
		return;
	if (current->valid)
		log_info("sentinel: the master %s is at %s:%d now, no longer at %s:%d",
			 sentinel->name, best->host, best->port, current->host, current->port);
	*current = *best;
	sentinel->address = (struct conn_address){
		.host = current->host,
		.port = current->port,
		.tls = sentinel->setup.master_tls,
	};
	sentinel->setup.moved(sentinel->setup.arg);
}

/* ------------------------------------------------------------------ asking */

static void peer_write_question(struct peer *peer, const char *about)
{
	struct resp *out = &peer->ask.conn.out;

	resp_command(out, 3);
	resp_text(out, "SENTINEL");
	resp_text(out, about);
	resp_text(out, peer->sentinel->name);
	peer->n_answers++;
}

static void peer_ask(struct peer *peer)
{
	peer->wanted = false;
	peer->asked_us = sentinel_now_us(peer->sentinel);
	peer->answer = (struct opinion){0};
	peer_write_question(peer, "GET-MASTER-ADDR-BY-NAME");
	peer_write_question(peer, "MASTER");
	line_timer_in(&peer->ask, peer->sentinel->setup.connect_timeout_ms);
	conn_flush(&peer->ask.conn);
}

/* The next question: when it is time for it again, or soon, if it is wanted. */
static void peer_ask_later(struct peer *peer)
{
	int64_t ms = peer->wanted ? ASK_SOON_MS : ASK_INTERVAL_MS;

	ms -= (sentinel_now_us(peer->sentinel) - peer->asked_us) / 1000;
	line_timer_in(&peer->ask, ms > 0 ? ms : 0);
}

void sentinel_ask(struct sentinel *sentinel)
{
	for (unsigned i = 0; i < sentinel->n_peers; i++) {
		struct peer *peer = &sentinel->peers[i];

		if (peer->wanted || !peer->ask.up)
			continue;
		peer->wanted = true;
		if (peer->n_answers == 0)
			peer_ask_later(peer);
	}
}

static const char *text_of(const redisReply *reply)
{
	return reply->type == REDIS_REPLY_STRING || reply->type == REDIS_REPLY_STATUS ? reply->str
										      : "";
}

/* GET-MASTER-ADDR-BY-NAME: host and port, or nil. */
static void peer_read_address(struct peer *peer, const redisReply *reply)
{
	struct opinion *answer = &peer->answer;
	const char *host;

	if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 2)
		return;
	host = text_of(reply->element[0]);
	answer->port = atoi(text_of(reply->element[1]));
	if (!*host || strlen(host) >= sizeof(answer->host) || answer->port < 1 ||
	    answer->port > 65535)
		return;
	strcpy(answer->host, host);
	answer->valid = true;
}

/* MASTER: a flat list of names and values. */
static void peer_read_epoch(struct peer *peer, const redisReply *reply)
{
	for (size_t i = 0; reply->type == REDIS_REPLY_ARRAY && i + 1 < reply->elements; i += 2) {
		if (strcmp(text_of(reply->element[i]), "config-epoch") == 0)
			peer->answer.epoch = atoll(text_of(reply->element[i + 1]));
	}
}

static void peer_answered(struct peer *peer, const redisReply *reply)
{
	if (peer->n_answers == 0) {
		line_fail(&peer->ask, "an answer to nothing that was asked");
		return;
	}
	/* "-ERR No such master with that name" */
	if (reply->type == REDIS_REPLY_ERROR)
		peer_complain(peer, reply->str);
	if (--peer->n_answers > 0) {
		peer_read_address(peer, reply);
		return;
	}
	peer_read_epoch(peer, reply);
	peer->tried = true;
	if (peer->answer.valid && *peer->complaint) {
		log_info("sentinel %s:%d: it is there again", peer->address.host,
			 peer->address.port);
		peer->complaint[0] = '\0';
	}
	peer->opinion = peer->answer;
	peer_ask_later(peer);
	sentinel_decide(peer->sentinel);
}

/* ------------------------------------------------------------------ listening */

/* What is said when a failover has got so far that there is another master to be told of. */
static const char *const channels[] = {"+switch-master", "+promoted-slave"};

enum { N_CHANNELS = sizeof(channels) / sizeof(channels[0]) };

static void peer_listen(struct peer *peer)
{
	for (unsigned i = 0; i < N_CHANNELS; i++) {
		resp_command(&peer->ear.conn.out, 2);
		resp_text(&peer->ear.conn.out, "SUBSCRIBE");
		resp_text(&peer->ear.conn.out, channels[i]);
	}
	conn_flush(&peer->ear.conn);
}

/* Others may know of it by now, too. */
static void peer_heard(struct peer *peer, const redisReply *reply)
{
	if (reply->type == REDIS_REPLY_ERROR && !peer->deaf_told) {
		/* The connection stays, so that nothing is tried again and again. */
		peer->deaf_told = true;
		log_warning("sentinel %s:%d does not let us listen to it, so that a failover is "
			    "noticed up to %d s later: %s",
			    peer->address.host, peer->address.port, ASK_INTERVAL_MS / 1000,
			    reply->str);
	} else if (reply->type == REDIS_REPLY_ARRAY && reply->elements == 3 &&
		   strcmp(text_of(reply->element[0]), "message") == 0) {
		sentinel_ask(peer->sentinel);
	}
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

/* It does not say where the master is; that is told once. */
static void peer_complain(struct peer *peer, const char *text)
{
	struct sentinel *sentinel = peer->sentinel;

	peer->tried = true;
	snprintf(sentinel->why, sizeof(sentinel->why),
		 "no sentinel has named the master %.64s; %.64s:%d: %.100s", sentinel->name,
		 peer->address.host, peer->address.port, text);
	if (strncmp(peer->complaint, text, sizeof(peer->complaint) - 1) == 0)
		return;
	snprintf(peer->complaint, sizeof(peer->complaint), "%s", text);
	log_warning("sentinel %s:%d: %s", peer->address.host, peer->address.port, text);
}

/* Half of the pause is certain, the other half is chance: daemons should not come all at once. */
static void line_retry(struct peer_line *line)
{
	struct entropy *entropy = line->peer->sentinel->setup.env->entropy;
	uint16_t chance;

	entropy->fill(entropy, &chance, sizeof(chance));
	line_timer_in(line, line->retry_ms / 2 + chance % (line->retry_ms / 2 + 1));
	line->retry_ms *= 2;
	if (line->retry_ms > RETRY_MAX_MS)
		line->retry_ms = RETRY_MAX_MS;
}

static void line_down(struct peer_line *line, const char *why)
{
	struct peer *peer = line->peer;
	bool was_up = line->up;

	line->up = false;
	if (!line_is_ear(line)) {
		peer->n_answers = 0;
		peer->wanted = false;
		peer->opinion.valid = false; /* until it can be asked again */
		peer_complain(peer, why);
	}
	if (was_up && sentinel_now_us(peer->sentinel) - line->up_since_us >= RETRY_FORGIVE_US)
		line->retry_ms = RETRY_MIN_MS;
	line_retry(line);
}

static void line_fail(struct peer_line *line, const char *why)
{
	conn_close(&line->conn);
	line_down(line, why);
}

static void line_up(struct peer_line *line)
{
	line->up = true;
	line->up_since_us = sentinel_now_us(line->peer->sentinel);
	conn_established(&line->conn);
	if (line_is_ear(line))
		peer_listen(line->peer);
	else
		peer_ask(line->peer);
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
		peer_heard(line->peer, reply);
	} else {
		peer_answered(line->peer, reply);
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

/* An answer did not come in time. */
static void peer_is_gone(struct peer *peer)
{
	unsigned generation = peer->ask.conn.generation;

	/* It may have been this process that was held up. */
	conn_poll(&peer->ask.conn);
	if (generation != peer->ask.conn.generation || peer->n_answers == 0)
		return;
	line_fail(&peer->ask, "it does not answer");
	/* What is gone there is likely gone for the other, which would not notice by itself. */
	if (peer->ear.up)
		line_fail(&peer->ear, "it does not answer");
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
	if (line->peer->n_answers > 0)
		peer_is_gone(line->peer);
	else
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
