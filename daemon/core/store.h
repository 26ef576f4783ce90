/* SPDX-License-Identifier: MIT */
#ifndef REDMUTEXD_CORE_STORE_H
#define REDMUTEXD_CORE_STORE_H
/*
 * What the core asks of the place where locks live. Implementations lie in daemon/store; the
 * simulation has its own. A store holds string values under keys, with an expiry in milliseconds
 * that runs on its own clock.
 *
 * Everything is asked through a struct store_op that the asker owns and that the store answers
 * exactly once, through op->done, never from inside store_submit(), and at the latest when its
 * command timeout is over (a small delay of the loop apart). Until then the op must stay where it
 * is. Commands for one key are carried out in the order in which they were submitted, also across
 * reconnections, except as `settled` says.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "core/lock_string.h"

/*
 * A key and its companions, which share its slot in a cluster: {K}:fence and so on, or K:fence if K
 * has a hash tag of its own. All in one allocation, which is `key`.
 */
struct store_key {
	char *key;
	char *fence;   /* the counter */
	char *holder;  /* who holds it, if announced */
	char *channel; /* where releases and wishes are published */
};

/* Dies when memory is out. */
void store_key_init(struct store_key *key, const char *name);
void store_key_deinit(struct store_key *key);

enum store_verb {
	/*
	 * Sets key to `value` for ttl_ms if nothing stands there. If `value` stands there already
	 * the answer is OK as well, and the expiry starts anew, so that asking again settles a lost
	 * answer. With op->plain it is the bare SET NX PX, which does not know its own value again
	 * and has no pttl_ms to tell.
	 * OK (fence) | HELD (pttl_ms, receivers).
	 */
	STORE_ACQUIRE,
	/*
	 * If `value` stands there: sets `next` in its place for ttl_ms. If `next` stands there
	 * already: OK, the expiry starts anew. OK (fence, contenders) | HELD | GONE.
	 */
	STORE_REPLACE,
	/*
	 * Deletes the key (and what was announced) if `value` stands there, and publishes that the
	 * mutex is free.
	 * OK (contenders) | HELD | GONE.
	 */
	STORE_RELEASE,
	/*
	 * Makes the key expire ttl_ms from now if `value` stands there.
	 * OK (contenders) | HELD | GONE. A quorum may set the value again on members that lost it.
	 */
	STORE_EXTEND,
	/* Does `value` stand there? OK | HELD | GONE. */
	STORE_CHECK,
	/* Does anything stand there? HELD (pttl_ms, holder, receivers) | GONE. */
	STORE_LOOK,
	/* Deletes whatever stands there and publishes that the mutex is free. OK (broken) | GONE.
	 */
	STORE_BREAK,
	/* Raises the fence counter to fence_floor if it is lower. For quorums. OK. */
	STORE_RAISE,
};

enum store_status {
	STORE_OK,
	STORE_HELD, /* another value stands there */
	STORE_GONE, /* nothing stands there */
	/*
	 * It was not carried out and will not be: never written, or the server declined it (`text`
	 * says why). With `lasting`, asking again will not help until somebody changes something:
	 * wrong password, no permission, wrong type of key.
	 */
	STORE_REFUSED,
	/* It was written and not answered: carried out or not, now or later. */
	STORE_UNKNOWN,
};

struct record;
struct record_writer;
struct store;
struct store_op;
typedef void store_done_fn(struct store_op *op);

struct store_op {
	/* Filled in by the asker; the pointers stay valid until done. */
	enum store_verb verb;
	const struct store_key *key;
	char value[LOCK_STRING_SIZE];
	char next[LOCK_STRING_SIZE]; /* REPLACE */
	int64_t ttl_ms;	      /* ACQUIRE, REPLACE, EXTEND; RELEASE: the longest it may stand */
	bool fenced;	      /* ACQUIRE, REPLACE: raise the counter and answer it */
	bool plain;	      /* ACQUIRE, not fenced, first try: the bare SET NX PX */
	bool want;	      /* publish that we want it: ACQUIRE (not plain) and LOOK if HELD, and
				 RELEASE, with the word that it is free */
	int64_t fence_floor;  /* the fence answered is larger than this; RAISE: at least this */
	bool proposed;	      /* fenced: where no counter stands leave none, RAISE will; quorums' */
	const char *announce; /* ACQUIRE, REPLACE: put this beside the lock; or NULL */
	bool unannounced;     /* RELEASE, EXTEND: nothing was put beside it, so let that be */
	store_done_fn *done;

	/* The store's while it has the op: the asker may look at `written`, and at nothing else. */
	bool written; /* it left for the server, or may have: who comes now comes too late to share
			 it */
	TAILQ_ENTRY(store_op) entry;
	int64_t deadline_us;
	int64_t submitted_us;
	void *private;

	/* The answer, valid inside done(); the pointers are borrowed and gone when it returns. */
	enum store_status status;
	bool lasting; /* of REFUSED */
	/*
	 * No command submitted before this one for this key can be carried out any more. False when
	 * one was lost with its connection and nobody could make sure of that connection's end.
	 */
	bool settled;
	/*
	 * Of an ACQUIRE that was not granted, or a RELEASE: its string may stand nevertheless, or
	 * may yet. The store removes it, but forgets that with its process.
	 */
	bool left;
	/*
	 * Of an ACQUIRE that is REFUSED: the store is removing its string, whichever command has
	 * put it there. Who asked for it again might lose it to one of those removals.
	 */
	bool undone;
	/*
	 * Of an EXTEND that is OK: a lost command may yet be carried out, from when on the key
	 * stands for so long only; 0: none that the store knows of beside those that it answered
	 * UNKNOWN.
	 */
	int64_t cut_ms;
	/* Of a fenced OK; of a fenced ACQUIRE or REPLACE that failed what it would be, or 0. */
	int64_t fence;
	bool fence_is_new; /* no counter stood there before */
	/*
	 * Of a HELD ACQUIRE: perhaps nobody holds it, and contenders got into each other's way. Who
	 * tries again does so after a random moment.
	 */
	bool contested;
	uint64_t other; /* of HELD ACQUIREs: tells what stands there from other strings; 0 not known
			 */
	int64_t pttl_ms; /* of HELD: what is left of the other lock; -1 no expiry, -2 not known */
	int64_t contenders; /* others that listen on the channel; -1 not known */
	int64_t receivers;  /* who received the wish of `want`; -1 not known */
	const char *text;   /* of REFUSED and UNKNOWN: which store and why, for people; never NULL
			       there */
	const char *holder; /* of a LOOK that is HELD: what was announced, or NULL */
	const char *broken; /* of a BREAK that is OK: what stood there; NULL: no text */
};

/* store_op.other of a string, by its first 8 bytes. */
static inline uint64_t store_other(const char *value)
{
	uint64_t other = 0;

	for (int i = 0; i < 8 && value[i]; i++)
		other = other << 8 | (unsigned char)value[i];
	return other;
}

/* What comes over a key's channel, from other daemons only: a store drops what it sent itself. */
enum store_message {
	STORE_MESSAGE_FREE, /* the mutex was released */
	STORE_MESSAGE_WANT, /* somebody waits for it */
};

/*
 * Interest in a key's channel. Owned by the asker; between store_watch() and store_unwatch() the
 * store keeps a link to it. Callbacks never come from inside those two calls.
 */
struct store_watch {
	const struct store_key *key;
	/*
	 * From now on no message is missed; told again after every time that some may have been.
	 * Whoever waits looks again then.
	 */
	void (*ready)(struct store_watch *watch);
	void (*message)(struct store_watch *watch, enum store_message message);

	/* The store's. */
	LIST_ENTRY(store_watch) entry;
	void *private;
	bool is_ready; /* read only to the asker: confirmed and not interrupted since */
};

enum store_event {
	STORE_EVENT_UP,	     /* it can be reached again: what failed is worth another try now */
	STORE_EVENT_CHANGED, /* it may have lost data (restarted, another master): compare all locks
			      */
};

/* Told about a store as a whole; handed in when it is opened. Never called from inside a call. */
struct store_listener {
	void (*event)(struct store_listener *listener, struct store *store, enum store_event event);
};

/* Counters of one store, for STATS and the metrics. */
struct store_stats {
	uint64_t commands; /* written to a server */
	uint64_t replies;
	uint64_t errors;	 /* answers REFUSED by a server */
	uint64_t timeouts;	 /* answers that did not come in time */
	uint64_t connects;	 /* connections that became usable */
	uint64_t disconnects;	 /* usable connections that ended */
	uint64_t latency_us_sum; /* of replies, from submission */
	/* Replies within 2^i * 64 us of submission, not cumulated; the last takes the rest. */
	uint64_t latency_buckets[16];
};

struct store_class {
	void (*submit)(struct store *store, struct store_op *op);
	void (*watch)(struct store *store, struct store_watch *watch);
	void (*unwatch)(struct store *store, struct store_watch *watch);
	/*
	 * Called at the end of every turn of the loop: write what was submitted, complete what
	 * needs no server. May call done() and the other callbacks. Return: whether it called any.
	 */
	bool (*flush)(struct store *store);
	/* Ends it. What is still open is answered first, REFUSED or UNKNOWN; watches must be gone.
	 */
	void (*free)(struct store *store);
	/*
	 * NULL unless what it keeps would end with the process: writes that as records of the type
	 * `stored`, and takes one of them back.
	 */
	void (*save)(struct store *store, struct record_writer *w);
	void (*load)(struct store *store, const struct record *record);
};

/* The head of every implementation's own struct. */
struct store {
	const struct store_class *class;
	struct store_listener *listener; /* may be NULL */
	const char *name;		 /* for logs and errors: the url without its password */
	bool in_process;		 /* what it keeps ends with this process */
	struct store_stats stats;
};

static inline void store_submit(struct store *store, struct store_op *op)
{
	op->written = op->left = op->undone = false;
	op->cut_ms = 0;
	op->broken = NULL;
	store->class->submit(store, op);
}

static inline void store_watch(struct store *store, struct store_watch *watch)
{
	store->class->watch(store, watch);
}

static inline void store_unwatch(struct store *store, struct store_watch *watch)
{
	store->class->unwatch(store, watch);
}

static inline bool store_flush(struct store *store)
{
	return store->class->flush(store);
}

static inline void store_free(struct store *store)
{
	if (store)
		store->class->free(store);
}

#endif
