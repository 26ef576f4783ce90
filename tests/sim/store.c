/* SPDX-License-Identifier: MIT */
/*
 * The store server, and a struct store for each daemon that reaches it over connections which
 * delay, break, and may still carry out what their dead buffers hold.
 */
#include "config.h"

#include "world.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "nodes.h"
#include "util/alloc.h"

enum stage {
	STAGE_UNWRITTEN,
	STAGE_WIRE,	/* on its way to the server, or waiting there */
	STAGE_EXECUTED, /* its answer is on the way */
	STAGE_LOST,	/* it will never arrive, or its answer will not */
};

struct cmd {
	struct event event; /* arrival at the server, then of the answer */
	struct world *world;
	struct sim_server *server;
	int daemon;
	struct sim_store *store; /* valid while op is */
	struct conn *conn;
	struct store_op *op; /* NULL: answered */
	enum stage stage;
	bool in_backlog;
	enum store_verb verb;
	int key;
	char value[LOCK_STRING_SIZE], next[LOCK_STRING_SIZE], announce[16];
	int64_t ttl_ms, floor;
	unsigned born; /* which process of its daemon asks */
	bool fenced, plain, want, proposed;

	enum store_status status;
	bool lasting, settled, fence_is_new;
	uint64_t other;
	int64_t fence, pttl_ms, contenders, receivers;
	char holder[16], broken[LOCK_STRING_SIZE];
	TAILQ_ENTRY(cmd) entry; /* in the connection, or unwritten */
	TAILQ_ENTRY(cmd) backlog_entry;
};

struct conn {
	struct world *world;
	struct sim_server *server;
	struct sim_store *store; /* NULL: its process is gone */
	int daemon, slot;
	bool up;  /* usable, as far as the daemon knows */
	bool cut; /* broken, which the daemon may not know yet */
	unsigned run_id;
	bool survive; /* once cut: what was sent may still arrive */
	struct cmd_list cmds;
	int64_t last_arrival_us, last_answer_us;
	unsigned lost_keys; /* as a ghost: those of whose commands nobody knows */
	struct event event; /* up again; the loss is noticed; it is killed */
	struct event cutter;
	TAILQ_ENTRY(conn) entry;
};

TAILQ_HEAD(conn_list, conn);

struct sub {
	struct sim_store *store;
	int key;
	bool asked, ready;
	int64_t ready_us; /* since then */
	LIST_HEAD(, store_watch) watches;
	struct event event;
	bool at_server;
};

struct sim_store {
	struct store base;
	struct world *world;
	struct sim_server *server;
	struct daemon *daemon;
	int64_t trouble_us; /* the last time that the way to its server was not as it should be */
	struct conn *conns[N_CONNS];
	struct cmd_list unwritten[N_CONNS];
	TAILQ_HEAD(, store_op) open; /* as submitted, so by deadline as well */
	struct conn_list ghosts;
	struct sub subs[N_KEYS];
	struct event timeout;
	struct event subs_lost;
	unsigned run_id;
	bool refuse_fast; /* while no connection is there */
	bool was_down;
};

static const struct store_class sim_class;

/* ------------------------------------------------------------------ the server */
int key_index(const char *name)
{
	/* k<n> or kf-f-<n>, see daemon.c */
	return name[1] == 'f' ? 2 * N_EXACT + (name[5] - '0') : name[1] - '0';
}

int64_t server_us(const struct sim_server *server, int64_t true_us)
{
	return server->base_us + true_us + true_us * server->ppm / 1000000;
}

static int64_t server_ms(const struct sim_server *server)
{
	return server_us(server, server->world->now_us) / 1000;
}

struct sim_key *server_key(struct sim_server *server, int index)
{
	struct world *world = server->world;
	struct sim_key *key = &server->keys[index];

	if (key->stands && !key->forever && server_ms(server) >= key->expire_ms) {
		/* When was that? The first moment of that millisecond, in true time. */
		int64_t late = server_us(server, world->now_us) - key->expire_ms * 1000;
		int64_t at = world->now_us - late + late * server->ppm / 1000000;

		server_remove(server, index, REMOVED_EXPIRED,
			      at < key->since_us ? key->since_us : at);
	}
	return key;
}

void server_remove(struct sim_server *server, int index, enum remove_cause cause, int64_t at_us)
{
	static const char *const words[] = {"expires", "is released", "is replaced", "vanishes",
					    "is lost"};
	struct world *world = server->world;
	struct sim_key *key = &server->keys[index];

	assert(key->stands);
	TRACE(world, "server%d: k%d %t %s", server->node, index, trace_tag(key->value),
	      (intptr_t)words[cause]);
	if (server->node >= 0)
		nodes_removed(server, index, cause, at_us);
	else if (cause == REMOVED_VANISHED)
		oracle_vanished(world, index, key->value);
	else
		oracle_removed(world, index, key->value, cause, at_us);
	key->stands = false;
	key->freed_quietly = cause != REMOVED_RELEASED || key->foreign;
	key->foreign = key->forever = false;
	key->since_us = at_us;
	key->last_stood_us = at_us;
	key->announce[0] = '\0';
	if (cause != REMOVED_REPLACED)
		key->passes = 0;
	/* Nobody tells of that: whoever looks first may be the same again. */
	if (cause == REMOVED_EXPIRED)
		memset(key->streak, 0, sizeof(key->streak));
}

void server_set(struct sim_server *server, int index, const char *value, int64_t ttl_ms,
		bool foreign)
{
	struct world *world = server->world;
	struct sim_key *key = &server->keys[index];

	assert(!key->stands);
	TRACE(world, "server%d: k%d = %t for %d ms", server->node, index, trace_tag(value), ttl_ms);
	key->stands = true;
	key->foreign = foreign;
	key->forever = !ttl_ms;
	key->expire_ms = server_ms(server) + ttl_ms;
	key->last_free_us = world->now_us;
	key->since_us = world->now_us;
	memcpy(key->value, value, LOCK_STRING_SIZE);
	if (foreign)
		memset(key->streak, 0, sizeof(key->streak));
}

static int64_t next_fence(struct sim_server *server, struct sim_key *key, int64_t floor)
{
	int64_t fence = key->fence + 1, clock = server_us(server, server->world->now_us);

	if (fence < clock)
		fence = clock;
	if (fence < floor + 1)
		fence = floor + 1;
	return fence;
}

/* Of several nodes, a daemon can do without some. */
static void way_trouble(struct sim_server *server, struct daemon *daemon)
{
	struct sim_store *store;

	if (server->node < 0)
		daemon_trouble(daemon);
	else if ((store = daemon_store(daemon, server->node)))
		store->trouble_us = server->world->now_us;
}

struct message {
	struct event event;
	int node;
	int key;
	enum store_message message;
	unsigned born;
};

static int64_t delay(struct world *world)
{
	struct traits *t = &world->traits;

	return t->latency_us / 2 + random_below(&world->random, t->latency_us);
}

/* One way between daemon and server; now and then a slow one. */
static int64_t way(struct sim_server *server, int daemon)
{
	struct world *world = server->world;
	int64_t us = delay(world);

	if (!world->calm && chance(world, world->traits.slow)) {
		us += random_below(&world->random, world->traits.slow_us);
		way_trouble(server, &world->daemons[daemon]);
	}
	return us;
}

static void message_arrives(struct world *world, struct event *event)
{
	struct message *message = container_of(event, struct message, event);
	struct daemon *daemon = event->daemon;

	if (daemon->up && daemon->n_born == message->born) {
		struct sub *sub = &daemon_store(daemon, message->node)->subs[message->key];
		struct store_watch *watch, *next;

		TRACE(world, "d%d: message %s for k%d", daemon->index,
		      (intptr_t)(message->message == STORE_MESSAGE_FREE ? "free" : "want"),
		      message->key);
		oracle_cause(daemon, message->key);
		for (watch = LIST_FIRST(&sub->watches); watch; watch = next) {
			next = LIST_NEXT(watch, entry);
			watch->message(watch, message->message);
		}
	}
	free(message);
}

static int64_t publish(struct sim_server *server, int key, enum store_message what, int from)
{
	struct world *world = server->world;
	int64_t n = 0;

	for (int i = 0; i < world->traits.n_daemons; i++) {
		struct daemon *daemon = &world->daemons[i];
		struct message *message;

		if (i == from || !(server->keys[key].subscribers & 1u << i))
			continue;
		n++;
		message = xcalloc(1, sizeof(*message));
		message->node = server->node;
		message->key = key;
		message->message = what;
		message->born = daemon->n_born;
		message->event.daemon = daemon;
		message->event.run = message_arrives;
		event_set(world, &message->event, world->now_us + way(server, i));
	}
	return n;
}

static int64_t contenders(const struct sim_key *key, int daemon)
{
	return __builtin_popcount(key->subscribers & ~(1u << daemon));
}

static void held(struct cmd *cmd, struct sim_key *key)
{
	struct sim_server *server = cmd->server;

	cmd->status = STORE_HELD;
	if (!cmd->plain) {
		cmd->other = store_other(key->value);
		cmd->pttl_ms = key->forever ? -1 : key->expire_ms - server_ms(server);
	}
	if (cmd->want)
		cmd->receivers = publish(server, cmd->key, STORE_MESSAGE_WANT, cmd->daemon);
}

static bool refuses(const struct cmd *cmd)
{
	const struct sim_server *server = cmd->server;

	if (cmd->world->now_us >= server->refuse_until_us)
		return false;
	if (!server->refuse_writes_only)
		return true;
	return cmd->verb == STORE_ACQUIRE || cmd->verb == STORE_REPLACE || cmd->verb == STORE_RAISE;
}

static void execute(struct world *world, struct cmd *cmd)
{
	struct sim_server *server = cmd->server;
	struct sim_key *key = server_key(server, cmd->key);
	bool same = key->stands && !strcmp(key->value, cmd->value);

	world->n_commands++;
	cmd->pttl_ms = -2;
	cmd->contenders = cmd->receivers = -1;
	cmd->lasting = false;
	cmd->status = key->stands ? STORE_HELD : STORE_GONE;
	if (refuses(cmd)) {
		cmd->status = STORE_REFUSED;
		cmd->lasting = server->refuse_lasting;
		return;
	}
	if (cmd->fenced) {
		cmd->fence = next_fence(server, key, cmd->floor);
		cmd->fence_is_new = !key->fence;
	}
	switch (cmd->verb) {
	case STORE_ACQUIRE:
		if (key->stands && (!same || cmd->plain)) {
			held(cmd, key);
			return;
		}
		if (!key->stands) {
			/* Whoever waits could have had it, though nobody may have seen it go. */
			key->passes = 0;
			server_set(server, cmd->key, cmd->value, cmd->ttl_ms, false);
		}
		break;
	case STORE_REPLACE:
		if (same) {
			server_remove(server, cmd->key, REMOVED_REPLACED, world->now_us);
			server_set(server, cmd->key, cmd->next, cmd->ttl_ms, false);
		} else if (!key->stands || strcmp(key->value, cmd->next)) {
			return;
		}
		cmd->contenders = contenders(key, cmd->daemon);
		break;
	case STORE_RELEASE:
		if (!same)
			return;
		oracle_found(world, cmd->daemon, cmd->value);
		server_remove(server, cmd->key, REMOVED_RELEASED, world->now_us);
		if (cmd->want)
			publish(server, cmd->key, STORE_MESSAGE_WANT, cmd->daemon);
		publish(server, cmd->key, STORE_MESSAGE_FREE, cmd->daemon);
		cmd->status = STORE_OK;
		return;
	case STORE_EXTEND:
		if (!same)
			return;
		cmd->contenders = contenders(key, cmd->daemon);
		break;
	case STORE_CHECK:
		if (same)
			cmd->status = STORE_OK;
		return;
	case STORE_LOOK:
		if (key->stands) {
			held(cmd, key);
			memcpy(cmd->holder, key->announce, sizeof(cmd->holder));
		}
		return;
	case STORE_BREAK:
		if (!key->stands)
			return;
		memcpy(cmd->broken, key->value, LOCK_STRING_SIZE);
		server_remove(server, cmd->key, REMOVED_VANISHED, world->now_us);
		publish(server, cmd->key, STORE_MESSAGE_FREE, cmd->daemon);
		cmd->status = STORE_OK;
		return;
	case STORE_RAISE:
		if (key->fence < cmd->floor)
			key->fence = cmd->floor;
		nodes_raised(server, cmd->key, cmd->daemon);
		cmd->status = STORE_OK;
		return;
	}
	cmd->status = STORE_OK;
	if (cmd->ttl_ms < world->traits.ttl_ms)
		key->short_us = world->now_us;
	key->forever = false;
	key->expire_ms = server_ms(server) + cmd->ttl_ms;
	if (cmd->verb == STORE_EXTEND)
		return;
	memcpy(key->announce, cmd->announce, sizeof(key->announce));
	key->by_daemon = cmd->daemon;
	key->by_born = cmd->born;
	if (cmd->fenced && !(cmd->proposed && cmd->fence_is_new))
		key->fence = cmd->fence;
}

/* ------------------------------------------------------------------ answers */
static const char *const verb_words[] = {"acquire", "replace", "release", "extend",
					 "check",   "look",    "break",	  "raise"};
static const char *const status_words[] = {"ok", "held", "gone", "refused", "unknown"};

static void answer(struct cmd *cmd, enum store_status status)
{
	struct store_op *op = cmd->op;
	struct daemon *daemon = &cmd->world->daemons[cmd->daemon];
	TRACE(cmd->world, "d%d: %s k%d %t: %s", cmd->daemon, (intptr_t)verb_words[cmd->verb],
	      cmd->key, trace_tag(cmd->value), (intptr_t)status_words[status]);
	TAILQ_REMOVE(&cmd->store->open, op, entry);
	if (status == STORE_REFUSED || status == STORE_UNKNOWN) {
		oracle_cause(daemon, cmd->key);
		way_trouble(cmd->server, daemon);
	}
	cmd->op = NULL;
	op->private = NULL;
	op->status = status;
	op->lasting = cmd->lasting && status == STORE_REFUSED;
	op->settled = cmd->settled && status != STORE_UNKNOWN;
	op->fence = cmd->fence;
	op->fence_is_new = cmd->fence_is_new;
	op->other = cmd->other;
	op->pttl_ms = cmd->pttl_ms;
	op->contenders = cmd->contenders;
	op->receivers = cmd->receivers;
	op->text = status == STORE_REFUSED   ? "sim: refused"
		   : status == STORE_UNKNOWN ? "sim: no answer"
					     : NULL;
	op->holder = cmd->holder[0] ? cmd->holder : NULL;
	op->broken = cmd->broken[0] ? cmd->broken : NULL;
	op->done(op);
}

/* Is every earlier command for that key over? Known only of connections that were made sure of. */
static bool is_settled(struct sim_store *store, int key)
{
	struct conn *ghost;

	TAILQ_FOREACH (ghost, &store->ghosts, entry) {
		if (ghost->lost_keys & 1u << key)
			return false;
	}
	return true;
}

static void cmd_free(struct cmd *cmd)
{
	event_cancel(cmd->world, &cmd->event);
	if (cmd->in_backlog)
		TAILQ_REMOVE(&cmd->server->backlog, cmd, backlog_entry);
	free(cmd);
}

static void answer_arrives(struct world *world, struct event *event)
{
	struct cmd *cmd = container_of(event, struct cmd, event);

	(void)world;
	TAILQ_REMOVE(&cmd->conn->cmds, cmd, entry);
	if (cmd->op)
		answer(cmd, cmd->status);
	cmd_free(cmd);
}

static void arrives(struct world *world, struct event *event)
{
	struct cmd *cmd = container_of(event, struct cmd, event);
	struct conn *conn = cmd->conn;

	if (cmd->server->state == SERVER_STOPPED) {
		TAILQ_INSERT_TAIL(&cmd->server->backlog, cmd, backlog_entry);
		cmd->in_backlog = true;
		return;
	}
	assert(cmd->server->state == SERVER_UP);
	cmd->settled = conn->store && !conn->cut && is_settled(conn->store, cmd->key);
	execute(world, cmd);
	TRACE(world, "server%d: %s k%d %t: %s", cmd->server->node, (intptr_t)verb_words[cmd->verb],
	      cmd->key, trace_tag(cmd->value), (intptr_t)status_words[cmd->status]);
	if (conn->cut) {
		cmd->stage = STAGE_LOST;
		return;
	}
	cmd->stage = STAGE_EXECUTED;
	conn->last_answer_us =
		conn->last_answer_us > world->now_us ? conn->last_answer_us : world->now_us;
	cmd->event.daemon = &world->daemons[cmd->daemon];
	cmd->event.run = answer_arrives;
	int64_t at = world->now_us + way(cmd->server, cmd->daemon);

	if (at <= conn->last_answer_us)
		at = conn->last_answer_us + 1;
	conn->last_answer_us = at;
	event_set(world, &cmd->event, at);
}

/* ------------------------------------------------------------------ connections */
static void conn_reconnects(struct world *world, struct event *event);
static void conn_loss_noticed(struct world *world, struct event *event);
static void conn_cutter(struct world *world, struct event *event);

static void conn_new(struct sim_store *store, int slot, int64_t up_in_us)
{
	struct conn *conn = xcalloc(1, sizeof(*conn));

	conn->world = store->world;
	conn->server = store->server;
	conn->store = store;
	conn->daemon = store->daemon->index;
	conn->slot = slot;
	TAILQ_INIT(&conn->cmds);
	conn->event.daemon = store->daemon;
	conn->event.run = conn_reconnects;
	conn->cutter.run = conn_cutter;
	store->conns[slot] = conn;
	event_set(store->world, &conn->event, store->world->now_us + up_in_us);
}

static void conn_free(struct conn *conn)
{
	struct cmd *cmd;

	while ((cmd = TAILQ_FIRST(&conn->cmds))) {
		assert(!cmd->op);
		TAILQ_REMOVE(&conn->cmds, cmd, entry);
		cmd_free(cmd);
	}
	event_cancel(conn->world, &conn->event);
	event_cancel(conn->world, &conn->cutter);
	free(conn);
}

static void ghost_end(struct conn *conn)
{
	TRACE(conn->world, "d%d: the end of its dead connection %d is certain", conn->daemon,
	      conn->slot);
	TAILQ_REMOVE(&conn->store->ghosts, conn, entry);
	way_trouble(conn->server, conn->store->daemon);
	conn_free(conn);
}

static void ghost_killed(struct world *world, struct event *event)
{
	struct conn *conn = container_of(event, struct conn, event);

	if (conn->server->state == SERVER_STOPPED)
		event_set(world, event, world->now_us + 50000);
	else
		ghost_end(conn);
}

static void conn_reconnects(struct world *world, struct event *event)
{
	struct conn *conn = container_of(event, struct conn, event), *ghost, *next;
	struct sim_store *store = conn->store;
	bool changed = false;

	if (conn->server->state != SERVER_UP) {
		event_set(world, event, world->now_us + random_of(world, 10000, 100000));
		return;
	}
	TRACE(world, "d%d: connection %d is up", conn->daemon, conn->slot);
	conn->up = true;
	conn->run_id = conn->server->run_id;
	way_trouble(conn->server, store->daemon);
	if (store->run_id != conn->run_id) {
		changed = store->run_id != 0;
		store->run_id = conn->run_id;
	}
	for (ghost = TAILQ_FIRST(&store->ghosts); ghost; ghost = next) {
		next = TAILQ_NEXT(ghost, entry);
		/* A server that was started anew has no connections of old. */
		if (ghost->run_id != conn->run_id)
			ghost_end(ghost);
		else if (ghost->slot == conn->slot && ghost->event.place == EVENT_NOWHERE)
			event_set(world, &ghost->event,
				  world->now_us +
					  random_below(&world->random, 1 + world->traits.ghost_us));
	}
	if (changed && store->base.listener)
		store->base.listener->event(store->base.listener, &store->base,
					    STORE_EVENT_CHANGED);
	if (store->was_down && store->base.listener)
		store->base.listener->event(store->base.listener, &store->base, STORE_EVENT_UP);
	store->was_down = false;
}

/* The connection breaks. What is under way is lost, or arrives when nobody counts on it. */
static void conn_cut(struct conn *conn, bool noticed)
{
	struct world *world = conn->world;
	int64_t late = random_below(&world->random, 1 + world->traits.ghost_us);
	struct cmd *cmd;

	if (conn->cut)
		return;
	conn->cut = true;
	conn->survive = conn->server->state != SERVER_DOWN && chance(world, 5000);
	TRACE(world, "connection %d of d%d breaks%s", conn->slot, conn->daemon,
	      (intptr_t)(conn->survive ? ", its buffer lives on" : ""));
	if (conn->store)
		way_trouble(conn->server, conn->store->daemon);
	TAILQ_FOREACH (cmd, &conn->cmds, entry) {
		if (cmd->stage == STAGE_WIRE) {
			if (cmd->in_backlog && conn->survive)
				continue; /* it has arrived already, as far as the kernels know */
			if (conn->survive) {
				event_set(world, &cmd->event, cmd->event.at_us + late);
				conn->last_arrival_us = cmd->event.at_us;
				continue;
			}
			if (cmd->in_backlog) {
				TAILQ_REMOVE(&conn->server->backlog, cmd, backlog_entry);
				cmd->in_backlog = false;
			}
		} else if (cmd->stage == STAGE_EXECUTED && cmd->event.place == EVENT_INBOX) {
			continue;
		}
		event_cancel(world, &cmd->event);
		cmd->stage = STAGE_LOST;
	}
	event_cancel(world, &conn->cutter);
	if (!conn->store || noticed)
		return;
	conn->event.run = conn_loss_noticed;
	/* Some losses show by timeouts only. */
	if (!chance(world, 2000))
		event_set(world, &conn->event, world->now_us + random_of(world, 0, 3000));
}

static void conn_cutter(struct world *world, struct event *event)
{
	struct conn *conn = container_of(event, struct conn, cutter);

	if (!world->calm)
		conn_cut(conn, false);
}

/* The daemon gives the connection up: all that was written to it is answered, and it becomes a
 * ghost until its end is certain. */
static void conn_give_up(struct conn *conn)
{
	struct world *world = conn->world;
	struct sim_store *store = conn->store;
	struct cmd *cmd, *next;
	int others = 0;

	event_cancel(world, &conn->event);
	conn_cut(conn, true);
	conn->up = false;
	TAILQ_FOREACH (cmd, &conn->cmds, entry) {
		if (cmd->op)
			conn->lost_keys |= 1u << cmd->key;
	}
	conn_new(store, conn->slot, random_of(world, 500, world->calm ? 5000 : 50000));
	for (int i = 0; i < N_CONNS; i++)
		others += store->conns[i]->up;
	if (!others) {
		store->was_down = true;
		store->refuse_fast = chance(world, 5000);
	}
	TAILQ_INSERT_TAIL(&store->ghosts, conn, entry);
	conn->event.run = ghost_killed;
	conn->event.daemon = NULL;
	for (cmd = TAILQ_FIRST(&conn->cmds); cmd; cmd = next) {
		next = TAILQ_NEXT(cmd, entry);
		if (cmd->op)
			answer(cmd, STORE_UNKNOWN);
		if (cmd->stage != STAGE_WIRE) {
			TAILQ_REMOVE(&conn->cmds, cmd, entry);
			cmd_free(cmd);
		}
	}
	if (!conn->lost_keys || (TAILQ_EMPTY(&conn->cmds) && chance(world, 3000)))
		ghost_end(conn);
}

static void conn_loss_noticed(struct world *world, struct event *event)
{
	struct conn *conn = container_of(event, struct conn, event);

	TRACE(world, "d%d: sees that connection %d is broken", conn->daemon, conn->slot);
	conn_give_up(conn);
}

static void cmd_write(struct conn *conn, struct cmd *cmd)
{
	struct world *world = conn->world;
	int64_t at = world->now_us + way(conn->server, conn->daemon);

	cmd->conn = conn;
	TAILQ_INSERT_TAIL(&conn->cmds, cmd, entry);
	cmd->op->written = true;
	conn->store->base.stats.commands++;
	if (at <= conn->last_arrival_us)
		at = conn->last_arrival_us + 1;
	conn->last_arrival_us = at;
	if (conn->cut && !conn->survive) {
		cmd->stage = STAGE_LOST;
		return;
	}
	cmd->stage = STAGE_WIRE;
	cmd->event.daemon = NULL;
	cmd->event.run = arrives;
	event_set(world, &cmd->event, at);
	if (!world->calm && !conn->cut && chance(world, world->traits.cut) &&
	    conn->cutter.place == EVENT_NOWHERE)
		event_set(world, &conn->cutter,
			  world->now_us +
				  random_below(&world->random, 3 * world->traits.latency_us));
}

/* ------------------------------------------------------------------ struct store */
static void set_timeout(struct sim_store *store)
{
	struct store_op *op = TAILQ_FIRST(&store->open);

	if (!op)
		event_cancel(store->world, &store->timeout);
	else if (store->timeout.place == EVENT_NOWHERE)
		event_set(store->world, &store->timeout,
			  daemon_true_us(store->daemon, op->deadline_us));
}

static void timeout_comes(struct world *world, struct event *event)
{
	struct sim_store *store = container_of(event, struct sim_store, timeout);
	int64_t now = daemon_local_us(store->daemon, world->now_us);
	struct store_op *op;

	while ((op = TAILQ_FIRST(&store->open)) && op->deadline_us <= now) {
		struct cmd *cmd = op->private;

		TRACE(world, "d%d: k%d %t timed out", store->daemon->index, cmd->key,
		      trace_tag(cmd->value));
		if (cmd->conn) {
			conn_give_up(cmd->conn);
			continue;
		}
		TAILQ_REMOVE(&store->unwritten[cmd->key % N_CONNS], cmd, entry);
		cmd->settled = is_settled(store, cmd->key);
		answer(cmd, STORE_REFUSED);
		cmd_free(cmd);
	}
	set_timeout(store);
}

static void sim_submit(struct store *base, struct store_op *op)
{
	struct sim_store *store = container_of(base, struct sim_store, base);
	struct world *world = store->world;
	struct cmd *cmd = xcalloc(1, sizeof(*cmd));

	assert(op->done && op->key);
	cmd->world = world;
	cmd->server = store->server;
	cmd->store = store;
	cmd->born = store->daemon->n_born;
	cmd->daemon = store->daemon->index;
	cmd->op = op;
	cmd->verb = op->verb;
	cmd->key = key_index(op->key->key);
	cmd->pttl_ms = -2;
	cmd->contenders = cmd->receivers = -1;
	memcpy(cmd->value, op->value, LOCK_STRING_SIZE);
	memcpy(cmd->next, op->next, LOCK_STRING_SIZE);
	if (op->announce)
		snprintf(cmd->announce, sizeof(cmd->announce), "%s", op->announce);
	cmd->ttl_ms = op->ttl_ms;
	cmd->floor = op->fence_floor;
	cmd->fenced = op->fenced;
	cmd->proposed = op->proposed;
	cmd->plain = op->plain;
	cmd->want = op->want;
	assert(!op->plain || (op->verb == STORE_ACQUIRE && !op->fenced && !op->want));
	if (op->verb == STORE_ACQUIRE || op->verb == STORE_REPLACE || op->verb == STORE_EXTEND)
		assert(op->ttl_ms > 0);
	op->private = cmd;
	op->submitted_us = daemon_local_us(store->daemon, world->now_us);
	op->deadline_us = op->submitted_us + world->traits.timeout_ms * 1000;
	TAILQ_INSERT_TAIL(&store->open, op, entry);
	TAILQ_INSERT_TAIL(&store->unwritten[cmd->key % N_CONNS], cmd, entry);
	TRACE(world, "d%d: submits %s k%d %t %t", store->daemon->index,
	      (intptr_t)verb_words[cmd->verb], cmd->key, trace_tag(cmd->value),
	      trace_tag(cmd->verb == STORE_REPLACE ? cmd->next : ""));
	oracle_submitted(store->daemon, op, cmd->key);
}

static bool sim_flush(struct store *base)
{
	struct sim_store *store = container_of(base, struct sim_store, base);
	bool called = false;

	for (int i = 0; i < N_CONNS; i++) {
		struct conn *conn = store->conns[i];
		struct cmd_list now;
		struct cmd *cmd;

		if (TAILQ_EMPTY(&store->unwritten[i]) || (!conn->up && !store->refuse_fast))
			continue;
		TAILQ_INIT(&now);
		TAILQ_CONCAT(&now, &store->unwritten[i], entry);
		while ((cmd = TAILQ_FIRST(&now))) {
			TAILQ_REMOVE(&now, cmd, entry);
			if (conn->up) {
				cmd_write(conn, cmd);
				continue;
			}
			cmd->settled = is_settled(store, cmd->key);
			answer(cmd, STORE_REFUSED);
			cmd_free(cmd);
			called = true;
		}
	}
	set_timeout(store);
	return called;
}

/* ------------------------------------------------------------------ watches */
static void sub_confirmed(struct world *world, struct event *event)
{
	struct sub *sub = container_of(event, struct sub, event);
	struct store_watch *watch, *next;

	TRACE(world, "d%d: watches k%d", sub->store->daemon->index, sub->key);
	sub->ready = true;
	sub->ready_us = world->now_us;
	oracle_cause(sub->store->daemon, sub->key);
	for (watch = LIST_FIRST(&sub->watches); watch; watch = next) {
		next = LIST_NEXT(watch, entry);
		if (!watch->is_ready) {
			watch->is_ready = true;
			watch->ready(watch);
		}
	}
}

static void sub_arrives(struct world *world, struct event *event)
{
	struct sub *sub = container_of(event, struct sub, event);
	struct daemon *daemon = sub->store->daemon;
	struct sim_server *server = sub->store->server;

	if (server->state != SERVER_UP) {
		event_set(world, event, world->now_us + random_of(world, 10000, 60000));
		return;
	}
	server->keys[sub->key].subscribers |= 1u << daemon->index;
	event->daemon = daemon;
	event->run = sub_confirmed;
	event_set(world, event, world->now_us + way(server, daemon->index));
}

static void sub_ask(struct sub *sub, int64_t in_us)
{
	struct world *world = sub->store->world;

	sub->asked = true;
	event_cancel(world, &sub->event);
	sub->event.daemon = NULL;
	sub->event.run = sub_arrives;
	event_set(world, &sub->event, world->now_us + in_us);
}

static void sim_watch(struct store *base, struct store_watch *watch)
{
	struct sim_store *store = container_of(base, struct sim_store, base);
	struct sub *sub = &store->subs[key_index(watch->key->key)];

	watch->is_ready = false;
	watch->private = sub;
	LIST_INSERT_HEAD(&sub->watches, watch, entry);
	if (!sub->asked) {
		sub_ask(sub, way(store->server, store->daemon->index));
	} else if (sub->ready && sub->event.place == EVENT_NOWHERE) {
		sub->event.daemon = store->daemon;
		sub->event.run = sub_confirmed;
		event_set(store->world, &sub->event, store->world->now_us);
	}
}

static void sim_unwatch(struct store *base, struct store_watch *watch)
{
	struct sim_store *store = container_of(base, struct sim_store, base);
	struct sub *sub = watch->private;

	LIST_REMOVE(watch, entry);
	watch->is_ready = false;
	if (!LIST_EMPTY(&sub->watches))
		return;
	event_cancel(store->world, &sub->event);
	sub->asked = sub->ready = false;
	store->server->keys[sub->key].subscribers &= ~(1u << store->daemon->index);
}

static void subs_loss_noticed(struct world *world, struct event *event)
{
	struct sim_store *store = container_of(event, struct sim_store, subs_lost);
	int64_t again = random_of(world, 500, world->calm ? 2000 : 100000);

	TRACE(world, "d%d: sees that its watches are lost", store->daemon->index);
	way_trouble(store->server, store->daemon);
	for (int i = 0; i < N_KEYS; i++) {
		struct sub *sub = &store->subs[i];
		struct store_watch *watch;

		store->server->keys[i].subscribers &= ~(1u << store->daemon->index);
		if (!sub->asked)
			continue;
		sub->ready = false;
		LIST_FOREACH (watch, &sub->watches, entry)
			watch->is_ready = false;
		sub_ask(sub, again);
	}
}

void sim_store_cut_watches(struct sim_store *store)
{
	struct world *world = store->world;

	TRACE(world, "the watches of d%d break", store->daemon->index);
	way_trouble(store->server, store->daemon);
	for (int i = 0; i < N_KEYS; i++)
		store->server->keys[i].subscribers &= ~(1u << store->daemon->index);
	event_set(world, &store->subs_lost, world->now_us + random_of(world, 0, 20000));
}

int64_t sim_store_watching_since_us(struct sim_store *store, int key)
{
	const struct sub *sub = &store->subs[key];

	return sub->ready && store->subs_lost.place == EVENT_NOWHERE ? sub->ready_us : CLOCK_NEVER;
}

/* ------------------------------------------------------------------ birth and end */
struct sim_store *sim_store_new(struct daemon *daemon, struct sim_server *server,
				struct store_listener *listener)
{
	struct sim_store *store = xcalloc(1, sizeof(*store));

	store->base.class = &sim_class;
	store->base.listener = listener;
	store->base.name = "sim";
	store->world = daemon->world;
	store->server = server;
	store->trouble_us = daemon->world->now_us;
	store->daemon = daemon;
	store->was_down = true;
	TAILQ_INIT(&store->open);
	TAILQ_INIT(&store->ghosts);
	for (int i = 0; i < N_CONNS; i++) {
		TAILQ_INIT(&store->unwritten[i]);
		conn_new(store, i, random_of(daemon->world, 100, 2000));
	}
	for (int i = 0; i < N_KEYS; i++) {
		store->subs[i].store = store;
		store->subs[i].key = i;
		LIST_INIT(&store->subs[i].watches);
	}
	store->timeout.daemon = daemon;
	store->timeout.run = timeout_comes;
	store->subs_lost.daemon = daemon;
	store->subs_lost.run = subs_loss_noticed;
	return store;
}

struct store *sim_store_base(struct sim_store *store)
{
	return &store->base;
}

static void orphan(struct conn *conn)
{
	struct world *world = conn->world;
	struct cmd *cmd, *next;

	conn_cut(conn, true);
	for (cmd = TAILQ_FIRST(&conn->cmds); cmd; cmd = next) {
		next = TAILQ_NEXT(cmd, entry);
		cmd->op = NULL;
		if (cmd->stage != STAGE_WIRE) {
			TAILQ_REMOVE(&conn->cmds, cmd, entry);
			cmd_free(cmd);
		}
	}
	event_cancel(world, &conn->event);
	conn->store = NULL;
	TAILQ_INSERT_TAIL(&world->orphans, conn, entry);
}

void sim_store_abandon(struct sim_store *store)
{
	struct store_op *op;

	while ((op = TAILQ_FIRST(&store->open))) {
		struct cmd *cmd = op->private;

		TAILQ_REMOVE(&store->open, op, entry);
		cmd->op = NULL;
		op->status = STORE_UNKNOWN;
		op->settled = false;
		op->text = "sim: the end";
		op->done(op);
	}
}

void sim_store_crash(struct sim_store *store)
{
	struct world *world = store->world;
	struct conn *conn;

	assert(TAILQ_EMPTY(&store->open));
	for (int i = 0; i < N_CONNS; i++) {
		struct cmd *cmd;

		while ((cmd = TAILQ_FIRST(&store->unwritten[i]))) {
			TAILQ_REMOVE(&store->unwritten[i], cmd, entry);
			cmd_free(cmd);
		}
		orphan(store->conns[i]);
	}
	while ((conn = TAILQ_FIRST(&store->ghosts))) {
		TAILQ_REMOVE(&store->ghosts, conn, entry);
		orphan(conn);
	}
	for (int i = 0; i < N_KEYS; i++) {
		assert(LIST_EMPTY(&store->subs[i].watches));
		event_cancel(world, &store->subs[i].event);
	}
	event_cancel(world, &store->timeout);
	event_cancel(world, &store->subs_lost);
	free(store);
}

void sim_store_forget_ghosts(struct world *world, struct daemon *daemon, struct sim_server *server)
{
	struct conn *conn, *next;

	for (conn = TAILQ_FIRST(&world->orphans); conn; conn = next) {
		next = TAILQ_NEXT(conn, entry);
		if ((daemon && conn->daemon != daemon->index) || (server && conn->server != server))
			continue;
		TAILQ_REMOVE(&world->orphans, conn, entry);
		conn_free(conn);
	}
}

void sim_store_cut(struct sim_store *store)
{
	for (int i = 0; i < N_CONNS; i++) {
		if (store->conns[i]->up)
			conn_cut(store->conns[i], false);
	}
}

bool sim_store_connected(struct sim_store *store)
{
	for (int i = 0; i < N_CONNS; i++) {
		if (!store->conns[i]->up || store->conns[i]->cut)
			return false;
	}
	return true;
}

int64_t sim_store_trouble_us(struct sim_store *store)
{
	return store->trouble_us;
}

bool sim_store_haunted(struct sim_store *store)
{
	return !TAILQ_EMPTY(&store->ghosts);
}

bool sim_store_idle(struct sim_store *store)
{
	return TAILQ_EMPTY(&store->open) && TAILQ_EMPTY(&store->ghosts);
}

static void sim_free(struct store *base)
{
	struct sim_store *store = container_of(base, struct sim_store, base);

	/* A quorum owns its members. One alone is ended by daemon.c; the core only borrows it. */
	assert(store->server->node >= 0);
	sim_store_abandon(store);
	sim_store_crash(store);
}

static const struct store_class sim_class = {
	.submit = sim_submit,
	.watch = sim_watch,
	.unwatch = sim_unwatch,
	.flush = sim_flush,
	.free = sim_free,
};

/* ------------------------------------------------------------------ what the server suffers */
void server_init(struct world *world, struct sim_server *server, int node)
{
	server->world = world;
	server->node = node;
	server->run_id = 1;
	server->base_us = 1700000000000000 + random_below(&world->random, 1000000000);
	TAILQ_INIT(&server->backlog);
	for (int i = 0; i < N_KEYS; i++) {
		TAILQ_INIT(&server->keys[i].holds);
		server->keys[i].last_stood_us = -1;
		server->keys[i].last_held_us = server->keys[i].last_lost_us = -1;
		server->keys[i].last_vanished_us = server->keys[i].short_us = -1;
	}
}

void server_stop(struct sim_server *server)
{
	struct world *world = server->world;

	TRACE(world, "server%d: stopped", server->node);
	server->state = SERVER_STOPPED;
	for (int i = 0; i < world->traits.n_daemons; i++)
		way_trouble(server, &world->daemons[i]);
}

void server_continue(struct sim_server *server)
{
	struct world *world = server->world;
	struct cmd *cmd;

	TRACE(world, "server%d: goes on", server->node);
	server->state = SERVER_UP;
	for (int i = 0; i < world->traits.n_daemons; i++)
		way_trouble(server, &world->daemons[i]);
	while ((cmd = TAILQ_FIRST(&server->backlog))) {
		TAILQ_REMOVE(&server->backlog, cmd, backlog_entry);
		cmd->in_backlog = false;
		arrives(world, &cmd->event);
	}
}

void server_down(struct sim_server *server)
{
	struct world *world = server->world;

	TRACE(world, "server%d: down", server->node);
	server->state = SERVER_DOWN;
	for (int i = 0; i < world->traits.n_daemons; i++) {
		struct daemon *daemon = &world->daemons[i];
		struct sim_store *store = daemon_store(daemon, server->node);
		struct conn *ghost;
		struct cmd *cmd, *next;

		way_trouble(server, daemon);
		if (!daemon->up)
			continue;
		sim_store_cut(store);
		sim_store_cut_watches(store);
		/* What dead connections still held has nowhere to go. */
		TAILQ_FOREACH (ghost, &store->ghosts, entry) {
			for (cmd = TAILQ_FIRST(&ghost->cmds); cmd; cmd = next) {
				next = TAILQ_NEXT(cmd, entry);
				TAILQ_REMOVE(&ghost->cmds, cmd, entry);
				cmd_free(cmd);
			}
		}
		for (int j = 0; j < N_CONNS; j++) {
			struct conn *conn = store->conns[j];

			conn->survive = false;
			TAILQ_FOREACH (cmd, &conn->cmds, entry) {
				if (cmd->stage != STAGE_WIRE)
					continue;
				event_cancel(world, &cmd->event);
				if (cmd->in_backlog)
					TAILQ_REMOVE(&server->backlog, cmd, backlog_entry);
				cmd->in_backlog = false;
				cmd->stage = STAGE_LOST;
			}
		}
	}
	sim_store_forget_ghosts(world, NULL, server);
	assert(TAILQ_EMPTY(&server->backlog));
}

void server_up(struct sim_server *server, bool lose)
{
	struct world *world = server->world;

	TRACE(world, "server%d: up again%s", server->node,
	      (intptr_t)(lose ? ", without its data" : ""));
	server->state = SERVER_UP;
	server->run_id++;
	for (int i = 0; i < N_KEYS && lose; i++) {
		struct sim_key *key = server_key(server, i);

		if (key->stands)
			server_remove(server, i,
				      server->node >= 0 && !world->traits.prompt_loss
					      ? REMOVED_LOST
					      : REMOVED_VANISHED,
				      world->now_us);
		nodes_lost_counter(server, i);
		key->fence = 0;
	}
	if (lose && chance(world, 5000)) {
		/* Another machine, whose clock is behind. */
		server->base_us -= random_below(&world->random, 5000000);
	}
	for (int i = 0; i < N_KEYS && lose; i++) {
		if (server->keys[i].fence_high > server_us(server, world->now_us) * 1024)
			server->keys[i].fence_high = 0;
	}
}

void server_deinit(struct sim_server *server)
{
	sim_store_forget_ghosts(server->world, NULL, server);
	assert(TAILQ_EMPTY(&server->backlog));
	event_cancel(server->world, &server->event);
}
