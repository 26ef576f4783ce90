/* SPDX-License-Identifier: MIT */
#ifndef REDMUTEXD_STORE_LINK_H
#define REDMUTEXD_STORE_LINK_H
/*
 * A connection for commands, kept up for as long as it is there: connecting, who we are, which
 * server answers, what is in flight, deadlines, connecting anew.
 *
 * Answers every op exactly once: with what the server said, REFUSED if it was never written (or the
 * server declined it), UNKNOWN if it was written and not answered. Ops are carried out in the order
 * of their submission, also over reconnections.
 */
#include <stdbool.h>
#include <stdint.h>

#include "store/conn.h"
#include "store/login.h"
#include "store/script.h"
#include "store/server_error.h"

struct link;

TAILQ_HEAD(link_ops, store_op);

enum { LINK_ID_SIZE = 41, LINK_TEXT_SIZE = 256, LINK_STEPS_MAX = 10 + N_SCRIPTS };

/* How an op is written when a cluster has sent it on. */
enum link_how {
	LINK_PLAINLY,
	/* By its first key alone, whatever becomes of the companions. */
	LINK_ALONE,
	/* The same behind ASKING: the node takes the key's slot over, and does not have it yet. */
	LINK_ASKING,
};

/* Does this daemon listen on a channel, so that it counts among its subscribers? */
enum link_listens { LINK_DEAF, LINK_LISTENS, LINK_UNSURE };

/* What its owner hears and is asked. Never from inside link_submit(). */
struct link_class {
	/* An op is answered, all its fields are filled in: hand it back to whoever asked. */
	void (*done)(struct link *link, struct store_op *op);
	/*
	 * Where to connect now; asked at every attempt.
	 * Return: borrowed until link_deinit() or the next call; NULL and @why: not known; NULL
	 * and @why left as it is: it will be in a moment.
	 */
	const struct conn_address *(*where)(struct link *link, const char **why);
	/* It is usable, or is again; link->run_id and link->history say which server's. */
	void (*up)(struct link *link);
	/* An attempt failed, or what was usable ended. */
	void (*down)(struct link *link, const char *text, bool lasting);
	/* The server refused an op for good; the link goes on. */
	void (*denied)(struct link *link, const char *text);
	enum link_listens (*listens)(struct link *link, const char *channel);
	/*
	 * The server did not carry the op out, and says to ask another (MOVED, ASK) or to come back
	 * (TRYAGAIN): it is the owner's again, to be submitted once more or answered. @how it was
	 * written. NULL: the server should not be one of a cluster.
	 */
	void (*redirected)(struct link *link, struct store_op *op, enum link_how how,
			   const char *error);
};

/* What all links of a store have in common. Borrowed by the links. */
struct link_setup {
	const struct store_env *env;
	const struct link_class *class;
	const char *name; /* of the store, for texts */
	struct login login;
	int db;
	unsigned wait_replicas; /* that must have a lock before it counts */
	int64_t connect_timeout_ms, command_timeout_ms;
	struct store_stats *stats;
};

enum link_state {
	LINK_DOWN,	 /* waiting for the next attempt */
	LINK_CONNECTING, /* on the way up; ops wait */
	LINK_UP,	 /* ops are written */
	LINK_DRAINING,	 /* what is in flight is still answered, then it is closed */
};

/*
 * With wait_replicas there is one op at a time in flight, since WAIT holds up whatever follows it
 * on a connection. What the next reply is to:
 */
enum link_phase {
	PHASE_COMMAND,	 /* an op's command */
	PHASE_WAIT,	 /* the WAIT behind it; the op is still the first of `sent`, or answered */
	PHASE_TAKE_BACK, /* the removal of a lock that too few replicas have */
};

struct link {
	const struct link_setup *setup;
	struct conn conn;
	enum link_state state;
	struct link_ops waiting; /* not written yet */
	struct link_ops again;	 /* NOSCRIPT: to be written whole, before those that wait */
	struct link_ops sent;	 /* in flight, in the order of the replies to come */
	enum link_phase phase;
	char too_few[LINK_TEXT_SIZE]; /* PHASE_TAKE_BACK: why, for the answer */
	struct event retry_timer, deadline_timer;
	int64_t wake_us; /* when deadline_timer comes, if it is set */
	int64_t backoff_ms;
	int64_t up_since_us;
	bool failed;  /* since it was up last */
	bool lasting; /* so does the reason */

	/* What the server said at connect. */
	uint8_t steps[LINK_STEPS_MAX]; /* what is asked, in the order of the replies to come */
	unsigned n_steps, step;
	struct script_names names;
	int64_t client_id;	    /* of this connection; 0: not known */
	char run_id[LINK_ID_SIZE];  /* of the server's process; empty: not known */
	char history[LINK_ID_SIZE]; /* of its data (master_replid); empty: not known */
	bool is_replica;
	int64_t maxmemory;
	char maxmemory_policy[32];
	/* What it keeps on disk, for all that it says. */
	bool has_log, has_snapshots;
	int version;	  /* the first number of it; 0: not known */
	uint32_t missing; /* bits of steps that the server does not know or allow */

	/*
	 * Commands of an earlier connection may still be carried out, because it ended while they
	 * were in flight, and the server has not confirmed its end.
	 */
	struct {
		bool open;
		int64_t client_id;
		char run_id[LINK_ID_SIZE];
		int64_t over_us; /* when it can be taken for settled all the same */
	} doubt;

	char text[LINK_TEXT_SIZE]; /* of answers; changes with each */
	char last_failure[LINK_TEXT_SIZE];
};

void link_init(struct link *link, const struct link_setup *setup);
/* Answers what is open. Nobody may submit any more. */
void link_deinit(struct link *link);

/* @hash: of the key, the same for the same key; only its 24 low bits count. */
void link_prepare(const struct link *link, struct store_op *op, unsigned hash);
/* Takes over an op that was prepared, by this link or another of its setup. */
void link_submit(struct link *link, struct store_op *op);
/* Answers an op that was prepared, and not submitted, because it is too late. */
void link_refuse(struct link *link, struct store_op *op, const char *why);
/* Is there nothing under way, so that what is submitted would be written at once? */
bool link_is_quiet(const struct link *link);
/* Does it have an op with this hash? */
bool link_has(const struct link *link, unsigned hash);
/*
 * link_prepare_again - prepare what was submitted before, to whatever link
 *
 * Its deadline stays what it was.
 */
void link_prepare_again(struct store_op *op, unsigned hash, enum link_how how);
/* Puts an op into a list that is in the order of deadlines, as late as that allows. */
void link_ops_insert(struct link_ops *ops, struct store_op *op);
/*
 * link_fail_op - fill in the answer to an op that no link has: REFUSED or UNKNOWN, and @text
 *
 * The owner sets `settled` and calls done().
 */
void link_fail_op(struct store_op *op, enum store_status status, bool lasting, const char *text);
/* Is the end of every connection that was lost with commands in flight made sure of? */
bool link_settled(struct link *link);
/* Writes what was submitted. May call done(). Return: whether it called any. */
bool link_flush(struct link *link);
/* The commands that the server did not let us use at connect, "CLIENT ID, INFO", or empty. */
void link_missing(const struct link *link, char *text, size_t size);
/*
 * link_reconnect - the server is another one now, or should be asked again who it is
 *
 * What is in flight is still answered if that comes in time. Harmless when it is down.
 */
void link_reconnect(struct link *link);

#endif
