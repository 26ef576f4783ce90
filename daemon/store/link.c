/* SPDX-License-Identifier: MIT */
/* A connection for commands, kept up for as long as it is there. */
#include "config.h"

#include "store/link.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "util/alloc.h"
#include "util/histogram.h"
#include "util/log.h"

enum {
	BACKOFF_FIRST_MS = 20,
	BACKOFF_MAX_MS = 1000,
	BACKOFF_LASTING_MS = 2000,
	WHERE_WAIT_MS = 5, /* until it is asked again where the server is */
	/* A connection that lasted so long was a good one: begin with short pauses again. */
	BACKOFF_FORGIVE_US = 1000000,
	/*
	 * If the server does not let us end a lost connection, its commands are taken for dead when
	 * the server has answered on the next one for so long: it reads all of its connections in
	 * every turn of its own, and we sent a reset, so only the network can still keep them.
	 */
	DOUBT_US = 60 * 1000000,
};

enum link_step {
	STEP_AUTH,
	STEP_SELECT,
	STEP_SETNAME,
	STEP_ID,
	STEP_INFO_SERVER,
	STEP_INFO_REPLICATION,
	STEP_INFO_MEMORY,
	STEP_INFO_PERSISTENCE,
	STEP_SAVE,
	STEP_KILL,
	STEP_SCRIPT, /* and up: SCRIPT LOAD */
};

static const char *const step_names[] = {
	[STEP_AUTH] = "AUTH",
	[STEP_SELECT] = "SELECT",
	[STEP_SETNAME] = "CLIENT SETNAME",
	[STEP_ID] = "CLIENT ID",
	[STEP_INFO_SERVER] = "INFO",
	[STEP_INFO_REPLICATION] = "INFO",
	[STEP_INFO_MEMORY] = "INFO",
	[STEP_INFO_PERSISTENCE] = "INFO",
	[STEP_SAVE] = "CONFIG GET",
	[STEP_KILL] = "CLIENT KILL",
	[STEP_SCRIPT] = "SCRIPT LOAD",
};

/*
 * What is kept in op->private while the op is here, from the lowest bit: whether we listened when
 * it was written, how it is written, whether the answer to its ASKING is still to come, the hash.
 */
enum {
	OP_LISTENS_MASK = 3,
	OP_HOW_SHIFT = 2,
	OP_HOW_MASK = 3,
	OP_PREFIXED = 1 << 4,
	OP_HASH_SHIFT = 5,
	OP_HASH_BITS = 24
};

static void link_connect(struct link *link);

static struct link *link_of(struct conn *conn)
{
	return container_of(conn, struct link, conn);
}

static int64_t link_now_us(const struct link *link)
{
	return clock_now_us(link->setup->env->clock);
}

static uintptr_t op_hash(const struct store_op *op)
{
	return (uintptr_t)op->private >> OP_HASH_SHIFT;
}

static enum link_how op_how(const struct store_op *op)
{
	return (enum link_how)((uintptr_t)op->private >> OP_HOW_SHIFT & OP_HOW_MASK);
}

static enum link_listens op_listens(const struct store_op *op)
{
	return (enum link_listens)((uintptr_t)op->private & OP_LISTENS_MASK);
}

/* ------------------------------------------------------------------ answers */

bool link_settled(struct link *link)
{
	if (link->doubt.open && link->doubt.over_us <= link_now_us(link))
		link->doubt.open = false;
	return !link->doubt.open;
}

static void link_answer(struct link *link, struct store_op *op)
{
	op->settled = link_settled(link);
	link->setup->class->done(link, op);
}

void link_fail_op(struct store_op *op, enum store_status status, bool lasting, const char *text)
{
	op->status = status;
	op->lasting = lasting;
	op->fence = 0;
	op->fence_is_new = false;
	op->contested = false;
	op->pttl_ms = -2;
	op->contenders = -1;
	op->receivers = -1;
	op->holder = NULL;
	op->text = text;
}

/* Answers REFUSED or UNKNOWN. */
static void link_answer_failure(struct link *link, struct store_op *op, enum store_status status,
				bool lasting, const char *why)
{
	snprintf(link->text, sizeof(link->text), "%s: %s", link->setup->name, why);
	link_fail_op(op, status, lasting, link->text);
	link_answer(link, op);
}

/* The same for a whole list, which is emptied; what done() submits meanwhile is not touched. */
static bool link_answer_all(struct link *link, struct link_ops *ops, enum store_status status,
			    bool lasting, const char *why)
{
	struct link_ops now = TAILQ_HEAD_INITIALIZER(now);
	bool any = !TAILQ_EMPTY(ops);

	TAILQ_CONCAT(&now, ops, entry);
	while (!TAILQ_EMPTY(&now)) {
		struct store_op *op = TAILQ_FIRST(&now);

		TAILQ_REMOVE(&now, op, entry);
		link_answer_failure(link, op, status, lasting, why);
	}
	return any;
}

/* ------------------------------------------------------------------ down and up again */

static void link_retry_cb(evutil_socket_t fd, short what, void *arg)
{
	struct link *link = arg;

	(void)fd;
	(void)what;
	store_env_turn(link->setup->env);
	link_connect(link);
}

static void link_retry_in(struct link *link, int64_t ms)
{
	struct timeval delay = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};

	event_add(&link->retry_timer, &delay);
}

/* Half of the pause is certain, the other half is chance: daemons should not come all at once. */
static void link_retry_later(struct link *link)
{
	int64_t pause_ms = link->lasting ? BACKOFF_LASTING_MS : link->backoff_ms;
	uint16_t chance;

	link->setup->env->entropy->fill(link->setup->env->entropy, &chance, sizeof(chance));
	link_retry_in(link, pause_ms / 2 + chance % (pause_ms / 2 + 1));
	link->backoff_ms *= 2;
	if (link->backoff_ms > BACKOFF_MAX_MS)
		link->backoff_ms = BACKOFF_MAX_MS;
}

/* The connection ended with commands in flight: they may yet be carried out. */
static void link_doubt(struct link *link)
{
	if (link->doubt.open) {
		/* Two of them: there is no one connection any more whose end would settle it. */
		link->doubt.client_id = 0;
	} else {
		link->doubt.client_id = link->client_id;
		memcpy(link->doubt.run_id, link->run_id, sizeof(link->run_id));
	}
	link->doubt.open = true;
	link->doubt.over_us = CLOCK_NEVER;
}

/* The one way down. The connection is closed already. */
static void link_set_down(struct link *link, const char *why, bool lasting)
{
	bool was_up = link->state == LINK_UP || link->state == LINK_DRAINING;
	int64_t now_us = link_now_us(link);
	char text[LINK_TEXT_SIZE];

	assert(link->conn.state == CONN_CLOSED && link->state != LINK_DOWN);
	snprintf(text, sizeof(text), "%s", why);
	memcpy(link->last_failure, text, sizeof(text));
	link->state = LINK_DOWN;
	link->failed = true;
	link->lasting = lasting;
	if (was_up) {
		link->setup->stats->disconnects++;
		if (now_us - link->up_since_us >= BACKOFF_FORGIVE_US)
			link->backoff_ms = BACKOFF_FIRST_MS;
	}
	link_retry_later(link);
	if (link->doubt.open)
		link->doubt.over_us = CLOCK_NEVER;
	if (!TAILQ_EMPTY(&link->sent))
		link_doubt(link);
	link->phase = PHASE_COMMAND;
	/* Those were declined for want of a script: nobody has carried them out, they wait again.
	 */
	TAILQ_CONCAT(&link->again, &link->waiting, entry);
	TAILQ_CONCAT(&link->waiting, &link->again, entry);
	link->setup->class->down(link, text, lasting);
	link_answer_all(link, &link->sent, STORE_UNKNOWN, false, text);
	/* An attempt failed: that is the answer to who waited for it. */
	if (!was_up)
		link_answer_all(link, &link->waiting, STORE_REFUSED, lasting, text);
}

static void link_fail(struct link *link, const char *why, bool lasting)
{
	conn_close(&link->conn);
	link_set_down(link, why, lasting);
}

static bool link_nothing_in_flight(const struct link *link)
{
	return TAILQ_EMPTY(&link->sent) && link->phase == PHASE_COMMAND;
}

/* Lets what is in flight be answered, and writes no more. */
static void link_drain(struct link *link, const char *why)
{
	if (link->state != LINK_UP)
		return;
	link->state = LINK_DRAINING;
	snprintf(link->last_failure, sizeof(link->last_failure), "%s", why);
}

/* Closes a connection that is being drained when its last answer has come. */
static void link_end_drained(struct link *link)
{
	if (link->state == LINK_DRAINING && link_nothing_in_flight(link))
		link_fail(link, link->last_failure, false);
}

void link_reconnect(struct link *link)
{
	link_drain(link, "it is to be reached anew");
	link->lasting = false;
	link->backoff_ms = BACKOFF_FIRST_MS;
	if (link->state == LINK_DOWN)
		link_retry_in(link, 0);
}

/* ------------------------------------------------------------------ what comes first */

static void link_connect(struct link *link)
{
	const char *why = NULL;
	const struct conn_address *address = link->setup->class->where(link, &why);

	assert(link->state == LINK_DOWN);
	if (!address && !why) {
		link_retry_in(link, WHERE_WAIT_MS);
		return;
	}
	link->state = LINK_CONNECTING;
	if (address)
		conn_open(&link->conn, address, link->setup->connect_timeout_ms);
	else
		link_set_down(link, why, false);
}

static void link_ask(struct link *link, unsigned step, size_t n_words, const char *const words[])
{
	struct resp *out = &link->conn.out;

	link->steps[link->n_steps++] = (uint8_t)step;
	if (step >= STEP_SCRIPT) {
		script_write_load(out, step - STEP_SCRIPT);
		return;
	}
	resp_command(out, n_words);
	for (size_t i = 0; i < n_words; i++)
		resp_text(out, words[i]);
}

#define LINK_ASK(link, step, ...)                                                                  \
	link_ask(link, step, sizeof((const char *[]){__VA_ARGS__}) / sizeof(const char *),         \
		 (const char *[]){__VA_ARGS__})

static void link_opened(struct conn *conn)
{
	struct link *link = link_of(conn);
	unsigned n_auth;
	char text[LINK_TEXT_SIZE];

	link->n_steps = link->step = 0;
	link->client_id = 0;
	link->run_id[0] = link->history[0] = '\0';
	link->is_replica = false;
	link->maxmemory = 0;
	link->maxmemory_policy[0] = '\0';
	link->has_log = link->has_snapshots = true;
	link->version = 0;
	link->missing = 0;
	memset(&link->names, 0, sizeof(link->names));
	if (!login_write(&link->setup->login, &conn->out, &n_auth, text, sizeof(text))) {
		link_fail(link, text, true);
		return;
	}
	if (n_auth)
		link->steps[link->n_steps++] = STEP_AUTH;
	if (link->setup->db > 0) {
		snprintf(text, sizeof(text), "%d", link->setup->db);
		LINK_ASK(link, STEP_SELECT, "SELECT", text);
	}
	LINK_ASK(link, STEP_SETNAME, "CLIENT", "SETNAME", "redmutexd");
	LINK_ASK(link, STEP_ID, "CLIENT", "ID");
	LINK_ASK(link, STEP_INFO_SERVER, "INFO", "server");
	LINK_ASK(link, STEP_INFO_REPLICATION, "INFO", "replication");
	LINK_ASK(link, STEP_INFO_MEMORY, "INFO", "memory");
	LINK_ASK(link, STEP_INFO_PERSISTENCE, "INFO", "persistence");
	LINK_ASK(link, STEP_SAVE, "CONFIG", "GET", "save");
	for (unsigned id = 0; id < N_SCRIPTS; id++)
		link_ask(link, STEP_SCRIPT + id, 0, NULL);
	conn_flush(conn);
}

/* The value of "field:value\r\n" in what INFO says; cut to size, empty if it is not there. */
static void info_field(const char *info, const char *field, char *value, size_t size)
{
	size_t len = strlen(field);
	const char *line = info;

	value[0] = '\0';
	while (line && !(strncmp(line, field, len) == 0 && line[len] == ':')) {
		line = strchr(line, '\n');
		if (line)
			line++;
	}
	if (line)
		snprintf(value, size, "%.*s", (int)strcspn(line + len + 1, "\r\n"), line + len + 1);
}

static void link_read_info(struct link *link, unsigned step, const char *info)
{
	char value[32];

	switch (step) {
	case STEP_INFO_SERVER:
		info_field(info, "run_id", link->run_id, sizeof(link->run_id));
		info_field(info, "redis_version", value, sizeof(value));
		link->version = atoi(value);
		break;
	case STEP_INFO_REPLICATION:
		info_field(info, "role", value, sizeof(value));
		link->is_replica = strcmp(value, "slave") == 0;
		info_field(info, "master_replid", link->history, sizeof(link->history));
		break;
	case STEP_INFO_MEMORY:
		info_field(info, "maxmemory", value, sizeof(value));
		link->maxmemory = atoll(value);
		info_field(info, "maxmemory_policy", link->maxmemory_policy,
			   sizeof(link->maxmemory_policy));
		break;
	case STEP_INFO_PERSISTENCE:
		info_field(info, "aof_enabled", value, sizeof(value));
		link->has_log = strcmp(value, "0") != 0;
		break;
	}
}

/* CONFIG GET save: when snapshots are made; never, if that is empty. */
static void link_read_save(struct link *link, const redisReply *reply)
{
	if (reply->type == REDIS_REPLY_ARRAY && reply->elements == 2 &&
	    reply->element[1]->type == REDIS_REPLY_STRING)
		link->has_snapshots = reply->element[1]->len > 0;
}

/* Can we do without what this step asked for? Then locks work, with less certainty or speed. */
static bool link_step_may_be_denied(unsigned step)
{
	return step != STEP_AUTH && step != STEP_SELECT;
}

/* Return: false when the link went down. */
static bool link_step_error(struct link *link, unsigned step, const char *error)
{
	enum server_error class = server_error_classify(error);
	char text[LINK_TEXT_SIZE];

	/* Few users may ask for that, and locks lose nothing by it. */
	if (step == STEP_SAVE && class != SERVER_ERROR_LOGIN)
		return true;
	switch (class) {
	case SERVER_ERROR_NO_COMMAND:
	case SERVER_ERROR_DENIED:
		if (link_step_may_be_denied(step) && strncmp(error, "DENIED", 6) != 0) {
			link->missing |= 1U << (step < STEP_SCRIPT ? step : STEP_SCRIPT);
			return true;
		}
		/* fall through */
	case SERVER_ERROR_LOGIN:
		link_fail(link, error, true);
		return false;
	case SERVER_ERROR_OTHER:
		if (step == STEP_KILL) /* "ERR No such client" */
			link->doubt.open = false;
		if (step == STEP_KILL || step == STEP_SETNAME)
			return true;
		snprintf(text, sizeof(text), "while connecting: %s", error);
		link_fail(link, text, step == STEP_AUTH || step == STEP_SELECT);
		return false;
	default:
		link_fail(link, error, false);
		return false;
	}
}

static void link_set_up(struct link *link)
{
	conn_established(&link->conn);
	link->state = LINK_UP;
	link->up_since_us = link_now_us(link);
	link->lasting = false;
	link->setup->stats->connects++;
	if (link->doubt.open)
		link->doubt.over_us = link->up_since_us + DOUBT_US;
	link->setup->class->up(link);
	link->failed = false;
}

/* Everything was answered. Makes sure of an earlier connection's end first, if that is open. */
static void link_steps_done(struct link *link)
{
	char id[24];

	if (link->doubt.open && link->doubt.run_id[0] && link->run_id[0]) {
		if (strcmp(link->doubt.run_id, link->run_id) != 0) {
			link->doubt.open = false; /* that process is no more */
		} else if (link->doubt.client_id > 0 && link->steps[link->step - 1] != STEP_KILL) {
			snprintf(id, sizeof(id), "%lld", (long long)link->doubt.client_id);
			link->n_steps = link->step = 0;
			LINK_ASK(link, STEP_KILL, "CLIENT", "KILL", "ID", id);
			conn_flush(&link->conn);
			return;
		}
	}
	if (link->is_replica) {
		link_fail(link, "it is a replica, not a master", false);
		return;
	}
	link_set_up(link);
}

static void link_step_reply(struct link *link, const redisReply *reply)
{
	unsigned step = link->steps[link->step++];
	bool is_text = reply->type == REDIS_REPLY_STRING || reply->type == REDIS_REPLY_STATUS;

	if (reply->type == REDIS_REPLY_ERROR) {
		if (!link_step_error(link, step, reply->str))
			return;
	} else if (step == STEP_ID && reply->type == REDIS_REPLY_INTEGER) {
		link->client_id = reply->integer;
	} else if (step == STEP_SAVE) {
		link_read_save(link, reply);
	} else if (step == STEP_KILL) {
		link->doubt.open = false; /* ended now, or gone before */
	} else if (step >= STEP_SCRIPT && is_text && reply->len == SCRIPT_SHA_LEN) {
		memcpy(link->names.sha[step - STEP_SCRIPT], reply->str, SCRIPT_SHA_LEN);
	} else if (is_text) {
		link_read_info(link, step, reply->str);
	}
	if (link->step == link->n_steps)
		link_steps_done(link);
}

/* ------------------------------------------------------------------ commands */

static void link_deadline_cb(evutil_socket_t fd, short what, void *arg);

/* The first deadline of a list. What a cluster has sent on stands behind later ones. */
static int64_t link_first_deadline_us(const struct link_ops *ops)
{
	const struct store_op *op;
	int64_t first_us = CLOCK_NEVER;

	TAILQ_FOREACH (op, ops, entry) {
		if (op->deadline_us < first_us)
			first_us = op->deadline_us;
	}
	return first_us;
}

static void link_wake_at(struct link *link, int64_t deadline_us, int64_t now_us)
{
	int64_t left_us = deadline_us > now_us ? deadline_us - now_us : 0;
	struct timeval delay = {.tv_sec = left_us / 1000000, .tv_usec = left_us % 1000000};

	link->wake_us = deadline_us;
	event_add(&link->deadline_timer, &delay);
}

/* Wakes up for the first deadline of all, if any: at most one timer a timeout's length. */
static void link_arm_deadline(struct link *link, int64_t now_us)
{
	const struct link_ops *lists[] = {&link->sent, &link->again, &link->waiting};
	int64_t first_us = CLOCK_NEVER;

	for (size_t i = 0; i < 3; i++) {
		int64_t deadline_us = link_first_deadline_us(lists[i]);

		if (deadline_us < first_us)
			first_us = deadline_us;
	}
	if (first_us != CLOCK_NEVER)
		link_wake_at(link, first_us, now_us);
}

/* An op has come. A wake-up that is set serves, unless it is later than the op's deadline. */
static void link_arm_for(struct link *link, const struct store_op *op, int64_t now_us)
{
	if (!event_pending(&link->deadline_timer, EV_TIMEOUT, NULL) ||
	    link->wake_us > op->deadline_us)
		link_wake_at(link, op->deadline_us, now_us);
}

static void *op_kept(unsigned hash, enum link_how how)
{
	uintptr_t kept = hash & ((1U << OP_HASH_BITS) - 1);

	return (void *)(kept << OP_HASH_SHIFT | (uintptr_t)how << OP_HOW_SHIFT);
}

void link_prepare(const struct link *link, struct store_op *op, unsigned hash)
{
	op->private = op_kept(hash, LINK_PLAINLY);
	op->submitted_us = link_now_us(link);
	op->deadline_us = op->submitted_us + link->setup->command_timeout_ms * 1000;
}

void link_prepare_again(struct store_op *op, unsigned hash, enum link_how how)
{
	op->private = op_kept(hash, how);
	op->written = false;
}

void link_ops_insert(struct link_ops *ops, struct store_op *op)
{
	struct store_op *before = TAILQ_LAST(ops, link_ops);

	while (before && before->deadline_us > op->deadline_us)
		before = TAILQ_PREV(before, link_ops, entry);
	if (before)
		TAILQ_INSERT_AFTER(ops, before, op, entry);
	else
		TAILQ_INSERT_HEAD(ops, op, entry);
}

void link_submit(struct link *link, struct store_op *op)
{
	link_ops_insert(&link->waiting, op);
	link_arm_for(link, op, link_now_us(link));
}

bool link_is_quiet(const struct link *link)
{
	return link_nothing_in_flight(link) && TAILQ_EMPTY(&link->waiting) &&
	       TAILQ_EMPTY(&link->again);
}

bool link_has(const struct link *link, unsigned hash)
{
	const struct link_ops *const lists[] = {&link->sent, &link->again, &link->waiting};
	const struct store_op *op;

	for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
		TAILQ_FOREACH (op, lists[i], entry) {
			if (op_hash(op) == (hash & ((1U << OP_HASH_BITS) - 1)))
				return true;
		}
	}
	return false;
}

void link_refuse(struct link *link, struct store_op *op, const char *why)
{
	link->setup->stats->timeouts++;
	link_answer_failure(link, op, STORE_REFUSED, link->lasting,
			    link->failed ? link->last_failure : why);
}

static bool link_is_late(const struct link_ops *ops, int64_t now_us)
{
	return !TAILQ_EMPTY(ops) && TAILQ_FIRST(ops)->deadline_us <= now_us;
}

/* The deadlines of those that are not written, of which none is earlier than that before it. */
static void link_refuse_late(struct link *link, struct link_ops *ops, int64_t now_us)
{
	char text[64];

	snprintf(text, sizeof(text), "not connected within %lld ms",
		 (long long)link->setup->command_timeout_ms);
	while (link_is_late(ops, now_us)) {
		struct store_op *op = TAILQ_FIRST(ops);

		TAILQ_REMOVE(ops, op, entry);
		link_refuse(link, op, text);
	}
}

static void link_deadline_cb(evutil_socket_t fd, short what, void *arg)
{
	struct link *link = arg;
	char text[LINK_TEXT_SIZE];
	int64_t now_us;

	(void)fd;
	(void)what;
	store_env_turn(link->setup->env);
	/* Perhaps it is we who are late: what has arrived has arrived. */
	if (link_first_deadline_us(&link->sent) <= link_now_us(link))
		conn_poll(&link->conn);
	now_us = link_now_us(link);
	if (link_first_deadline_us(&link->sent) <= now_us) {
		link->setup->stats->timeouts++;
		snprintf(text, sizeof(text), "no answer within %lld ms",
			 (long long)link->setup->command_timeout_ms);
		link_fail(link, text, false);
	}
	link_refuse_late(link, &link->again, now_us);
	link_refuse_late(link, &link->waiting, now_us);
	link_arm_deadline(link, now_us);
}

/* Notes whether the server will count us among the channel's listeners, for when it answers. */
static void link_note_listens(struct link *link, struct store_op *op)
{
	uintptr_t kept = (uintptr_t)op->private & ~(uintptr_t)OP_LISTENS_MASK;

	if (op->verb == STORE_REPLACE || op->verb == STORE_EXTEND || op->verb == STORE_RELEASE ||
	    op->want)
		kept |= link->setup->class->listens(link, op->key->channel);
	op->private = (void *)kept;
}

static enum script_form op_form(const struct store_op *op, bool whole)
{
	if (op_how(op) != LINK_PLAINLY)
		return SCRIPT_ALONE;
	return whole ? SCRIPT_WHOLE : SCRIPT_SHORT;
}

/* A node that takes a slot over lets in who says first that he knows. */
static void link_write_prefix(struct link *link, struct store_op *op)
{
	if (op_how(op) != LINK_ASKING)
		return;
	resp_command(&link->conn.out, 1);
	resp_text(&link->conn.out, "ASKING");
	op->private = (void *)((uintptr_t)op->private | OP_PREFIXED);
}

/* Is this the reply to that? Whether it was accepted is seen by what follows. */
static bool op_takes_prefix_reply(struct store_op *op)
{
	bool is_prefixed = (uintptr_t)op->private & OP_PREFIXED;

	op->private = (void *)((uintptr_t)op->private & ~(uintptr_t)OP_PREFIXED);
	return is_prefixed;
}

static void link_write_first(struct link *link, struct link_ops *ops, bool whole)
{
	struct store_op *op = TAILQ_FIRST(ops);

	TAILQ_REMOVE(ops, op, entry);
	link_note_listens(link, op);
	link_write_prefix(link, op);
	script_write(&link->conn.out, op, &link->names, link->setup->env->daemon_id,
		     op_form(op, whole));
	op->written = true;
	TAILQ_INSERT_TAIL(&link->sent, op, entry);
	link->setup->stats->commands++;
}

static bool link_waits_for_replicas(const struct link *link, const struct store_op *op)
{
	return link->setup->wait_replicas > 0 && script_needs_replicas(op);
}

/* One op, and the WAIT behind it. What is left of its time after that is for taking it back. */
static void link_write_one(struct link *link)
{
	bool whole = !TAILQ_EMPTY(&link->again);
	struct store_op *op;

	if (!link_nothing_in_flight(link))
		return;
	link_write_first(link, whole ? &link->again : &link->waiting, whole);
	op = TAILQ_FIRST(&link->sent);
	if (link_waits_for_replicas(link, op)) {
		script_write_wait(&link->conn.out, link->setup->wait_replicas,
				  (op->deadline_us - link_now_us(link)) / 2000);
		link->setup->stats->commands++;
	}
}

static void link_write(struct link *link)
{
	if (link->setup->wait_replicas > 0) {
		link_write_one(link);
		return;
	}
	while (!TAILQ_EMPTY(&link->again))
		link_write_first(link, &link->again, true);
	while (!TAILQ_EMPTY(&link->waiting))
		link_write_first(link, &link->waiting, false);
}

bool link_flush(struct link *link)
{
	if (link->state == LINK_UP &&
	    (!TAILQ_EMPTY(&link->again) || !TAILQ_EMPTY(&link->waiting))) {
		uint64_t disconnects = link->setup->stats->disconnects;

		link_write(link);
		conn_flush(&link->conn);
		return link->setup->stats->disconnects != disconnects;
	}
	if (link->state == LINK_DRAINING && link_nothing_in_flight(link)) {
		link_end_drained(link);
		return true;
	}
	/* It will not be better soon: waiting is of no use. */
	if (link->state == LINK_DOWN && link->lasting)
		return link_answer_all(link, &link->waiting, STORE_REFUSED, true,
				       link->last_failure);
	return false;
}

static void link_count_reply(struct link *link, const struct store_op *op)
{
	struct store_stats *stats = link->setup->stats;
	int64_t latency_us = link_now_us(link) - op->submitted_us;
	const size_t n_buckets = sizeof(stats->latency_buckets) / sizeof(uint64_t);

	stats->latency_buckets[histogram_bucket(latency_us, n_buckets)]++;
	stats->latency_us_sum += (uint64_t)latency_us;
	stats->replies++;
}

/*
 * The script is not there. Written once more, whole: nothing has been carried out. But if there are
 * others for the same key in flight behind it, they may have overtaken it, and so it is not. (The
 * same hash is enough to be careful.)
 */
static void link_no_script(struct link *link, struct store_op *op, const char *error)
{
	struct store_op *other;

	TAILQ_FOREACH (other, &link->sent, entry) {
		if (op_hash(other) == op_hash(op)) {
			link_answer_failure(link, op, STORE_REFUSED, false, error);
			return;
		}
	}
	op->written = false;
	TAILQ_INSERT_TAIL(&link->again, op, entry);
}

/* A node of a cluster sends us elsewhere, or away for the moment. */
static void link_redirected(struct link *link, struct store_op *op, const char *error)
{
	char text[LINK_TEXT_SIZE];

	if (link->setup->class->redirected) {
		link->setup->class->redirected(link, op, op_how(op), error);
		return;
	}
	if (strncmp(error, "MOVED ", 6) != 0 && strncmp(error, "ASK ", 4) != 0) {
		link_answer_failure(link, op, STORE_REFUSED, false, error);
		return;
	}
	snprintf(text, sizeof(text), "a node of a cluster, which needs redis-cluster://: %s",
		 error);
	link->setup->class->denied(link, text);
	link_answer_failure(link, op, STORE_REFUSED, true, text);
}

/* What a server says before it names the line of a script, which is of no use to people. */
static int link_error_len(const char *whole)
{
	static const char mark[] = " script: ";
	const char *tail = strstr(whole, mark);

	while (tail && strspn(tail + sizeof(mark) - 1, "0123456789abcdef") < SCRIPT_SHA_LEN)
		tail = strstr(tail + 1, mark);
	return tail ? (int)(tail - whole) : (int)strlen(whole);
}

static void link_op_error(struct link *link, struct store_op *op, const char *whole)
{
	char error[LINK_TEXT_SIZE];

	snprintf(error, sizeof(error), "%.*s", link_error_len(whole), whole);
	link->setup->stats->errors++;
	switch (server_error_classify(error)) {
	case SERVER_ERROR_NO_SCRIPT:
		link->setup->stats->errors--;
		link_no_script(link, op, error);
		break;
	case SERVER_ERROR_BUSY:
		link_answer_failure(link, op, STORE_REFUSED, false, error);
		break;
	case SERVER_ERROR_REPLICA:
		link_drain(link, error);
		link_answer_failure(link, op, STORE_REFUSED, false, error);
		break;
	case SERVER_ERROR_LOGIN:
		link_drain(link, error); /* the password file may have a new one */
					 /* fall through */
	case SERVER_ERROR_DENIED:
	case SERVER_ERROR_NO_COMMAND:
		link->setup->class->denied(link, error);
		link_answer_failure(link, op, STORE_REFUSED, true, error);
		break;
	case SERVER_ERROR_REDIRECT:
		link->setup->stats->errors--;
		link_redirected(link, op, error);
		break;
	case SERVER_ERROR_OTHER:
		log_warning("%s: unexpected error: %s", link->setup->name, error);
		link_answer_failure(link, op, STORE_UNKNOWN, false, error);
		break;
	}
}

/* Takes ourselves out of a number of listeners. Return: -1 when that can't be done. */
static int64_t link_others(int64_t n, enum link_listens before, enum link_listens now)
{
	if (n <= 0)
		return n;
	if (before == LINK_UNSURE || before != now)
		return n > 1 ? n - 1 : -1;
	return before == LINK_LISTENS ? n - 1 : n;
}

static void link_count_others(struct link *link, struct store_op *op, enum link_listens before)
{
	enum link_listens now;

	if (op->contenders <= 0 && op->receivers <= 0)
		return;
	now = link->setup->class->listens(link, op->key->channel);
	op->contenders = link_others(op->contenders, before, now);
	op->receivers = link_others(op->receivers, before, now);
}

static void link_op_reply(struct link *link, const redisReply *reply)
{
	struct store_op *op = TAILQ_FIRST(&link->sent);
	bool waits = link_waits_for_replicas(link, op), is_error = reply->type == REDIS_REPLY_ERROR,
	     is_read;

	if (op_takes_prefix_reply(op))
		return;
	op->lasting = false;
	op->text = NULL;
	is_read = !is_error && script_read(op, reply);
	if (is_read)
		link_count_others(link, op, op_listens(op));
	if (waits)
		link->phase = PHASE_WAIT;
	/* Its success is told when replicas have it; anything else at once. */
	if (waits && is_read && op->status == STORE_OK)
		return;
	TAILQ_REMOVE(&link->sent, op, entry);
	link_count_reply(link, op);
	if (is_error) {
		link_op_error(link, op, reply->str);
	} else if (is_read) {
		link_answer(link, op);
	} else {
		/* It may be that of another command, and so may all that come behind it. */
		log_warning("%s: an answer that makes no sense to a command of kind %d",
			    link->setup->name, op->verb);
		TAILQ_INSERT_HEAD(&link->sent, op, entry);
		link_fail(link, "it answered what makes no sense", false);
	}
}

/* ------------------------------------------------------------------ replicas */

/* The op that waits is done with. */
static struct store_op *link_take_waiting(struct link *link)
{
	struct store_op *op = TAILQ_FIRST(&link->sent);

	TAILQ_REMOVE(&link->sent, op, entry);
	link_count_reply(link, op);
	return op;
}

/* How many replicas have what was written. */
static void link_wait_reply(struct link *link, const redisReply *reply)
{
	bool is_number = reply->type == REDIS_REPLY_INTEGER;
	struct store_op *op = TAILQ_FIRST(&link->sent);

	link->phase = PHASE_COMMAND;
	if (!op)
		return; /* it was answered without */
	if (is_number && reply->integer >= (long long)link->setup->wait_replicas) {
		link_answer(link, link_take_waiting(link));
		return;
	}
	if (is_number)
		snprintf(link->too_few, sizeof(link->too_few), "%lld of %u replicas have it",
			 reply->integer, link->setup->wait_replicas);
	else
		snprintf(link->too_few, sizeof(link->too_few), "it does not wait for replicas: %s",
			 reply->type == REDIS_REPLY_ERROR ? reply->str : "no number");
	link->setup->stats->errors++;
	if (op->verb == STORE_EXTEND) {
		/* It stands for longer, which does no harm, and is tried again. */
		link_answer_failure(link, link_take_waiting(link), STORE_UNKNOWN, false,
				    link->too_few);
		return;
	}
	link->phase = PHASE_TAKE_BACK;
	link_write_prefix(link, op);
	script_write_take_back(&link->conn.out, op, &link->names, link->setup->env->daemon_id,
			       op_form(op, true));
	link->setup->stats->commands++;
	conn_flush(&link->conn);
}

/* What became of a lock that too few replicas have. */
static void link_take_back_reply(struct link *link, const redisReply *reply)
{
	bool is_gone = reply->type != REDIS_REPLY_ERROR;

	if (op_takes_prefix_reply(TAILQ_FIRST(&link->sent)))
		return;
	link->phase = PHASE_COMMAND;
	link_answer_failure(link, link_take_waiting(link), is_gone ? STORE_REFUSED : STORE_UNKNOWN,
			    false, link->too_few);
}

static void link_reply(struct conn *conn, const redisReply *reply)
{
	struct link *link = link_of(conn);

	if (link->state == LINK_CONNECTING) {
		link_step_reply(link, reply);
	} else if (link_nothing_in_flight(link)) {
		link_fail(link,
			  reply->type == REDIS_REPLY_ERROR ? reply->str
							   : "an answer to nothing that was asked",
			  false);
	} else {
		switch (link->phase) {
		case PHASE_COMMAND:
			link_op_reply(link, reply);
			break;
		case PHASE_WAIT:
			link_wait_reply(link, reply);
			break;
		case PHASE_TAKE_BACK:
			link_take_back_reply(link, reply);
			break;
		}
		link_end_drained(link);
	}
}

static void link_closed(struct conn *conn, const char *why)
{
	link_set_down(link_of(conn), why, conn->lasting);
}

static const struct conn_class link_conn_class = {
	.opened = link_opened,
	.reply = link_reply,
	.closed = link_closed,
};

/* ------------------------------------------------------------------ birth and end */

void link_missing(const struct link *link, char *text, size_t size)
{
	const char *last = "";

	text[0] = '\0';
	for (unsigned step = 0; step <= STEP_SCRIPT; step++) {
		size_t len = strlen(text);

		if (!(link->missing & 1U << step) || strcmp(step_names[step], last) == 0)
			continue;
		last = step_names[step];
		snprintf(text + len, size - len, "%s%s", len > 0 ? ", " : "", last);
	}
}

void link_init(struct link *link, const struct link_setup *setup)
{
	*link = (struct link){.setup = setup, .backoff_ms = BACKOFF_FIRST_MS};
	TAILQ_INIT(&link->waiting);
	TAILQ_INIT(&link->again);
	TAILQ_INIT(&link->sent);
	conn_init(&link->conn, setup->env, &link_conn_class);
	event_assign(&link->retry_timer, setup->env->base, -1, 0, link_retry_cb, link);
	event_assign(&link->deadline_timer, setup->env->base, -1, 0, link_deadline_cb, link);
	link_retry_in(link, 0);
}

void link_deinit(struct link *link)
{
	static const char why[] = "no longer used";

	conn_deinit(&link->conn);
	event_del(&link->retry_timer);
	event_del(&link->deadline_timer);
	if (!TAILQ_EMPTY(&link->sent))
		link_doubt(link);
	link_answer_all(link, &link->sent, STORE_UNKNOWN, false, why);
	link_answer_all(link, &link->again, STORE_REFUSED, false, why);
	link_answer_all(link, &link->waiting, STORE_REFUSED, false, why);
	event_del(&link->deadline_timer); /* set again by what was submitted meanwhile */
	assert(TAILQ_EMPTY(&link->waiting));
}
