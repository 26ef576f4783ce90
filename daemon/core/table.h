/* SPDX-License-Identifier: MIT */
#ifndef REDMUTEXD_CORE_TABLE_H
#define REDMUTEXD_CORE_TABLE_H
/*
 * All mutexes by name: the exact ones, and the members of families, which are born when somebody
 * asks for them and end some time after nobody has anything to do with them any more: a bounded
 * number of them is kept for who asks again. Walking passes those over.
 *
 * Owns the mutexes and the timers. The loop drives it: table_turn() before anything else that
 * happens in a turn, table_deliver() after, and a wake-up at table_next_us().
 */
#include <uthash.h>

#include "core/clock.h"
#include "core/journal.h"
#include "core/mutex.h"

/*
 * One section of the configuration. Made by whoever reads that, handed over to the table, which
 * frees it through `free` when the last mutex has left it.
 */
struct section {
	char *name; /* a mutex's name, or a family's pattern with `*` */
	bool family;
	char *key; /* with {name} in it if a family */
	struct mutex_settings settings;
	struct store *store; /* borrowed; outlives the section */
	void *access;	     /* the server's: who may use it; not looked at here */
	void (*free)(struct section *section);

	/* The table's. */
	unsigned n_refs;    /* the table's own, its mutexes', their commands' */
	size_t specificity; /* characters other than `*` */
	int64_t fence_seen; /* the highest that any mutex of it saw before it ended */
	UT_hash_handle hh;  /* among the exact ones */
};

/* For who keeps a section beside the table; the last reference frees it. */
struct section *section_ref(struct section *section);
void section_unref(struct section *section);

struct table_env {
	struct clock *clock;
	struct entropy *entropy;
	struct journal *journal; /* NULL: none is kept */
	/* A state changed, for the debug log; may be NULL. */
	void (*trace)(const struct mutex *mutex, enum mutex_state from, enum mutex_state to);
};

/* What happened so far, for STATS and the metrics. Times in microseconds. */
struct table_stats {
	uint64_t grants, passes; /* grants include passes from one local holder to the next */
	uint64_t releases;
	uint64_t refused[OUTCOME_SHUTTING_DOWN + 1]; /* ACQUIREs not granted, by outcome */
	uint64_t lost[LOST_SHUTDOWN + 1];
	uint64_t renewals, checks;
	uint64_t settled; /* commands whose fate was unknown and became known */
	/* 2^i * 64 us and less, not cumulated; the last takes the rest. */
	uint64_t wait_buckets[24], hold_buckets[24];
	uint64_t wait_us_sum, hold_us_sum;
};

struct table *table_new(const struct table_env *env);
/* Asserts that nobody holds, waits or is being asked: see table_stop(). Accepts NULL. */
void table_free(struct table *table);

/*
 * table_configure - use these sections from now on
 * @sections: in the order of the file; the pointers are taken over, the array is not
 *
 * A mutex whose section is gone ends at its next release, its waiters hear UNKNOWN_MUTEX; one whose
 * store or key changed moves over at its next release; other settings hold from the next lock on.
 */
void table_configure(struct table *table, struct section **sections, size_t n_sections);

/*
 * table_find - the mutex of that name, born now if a family covers it
 *
 * Borrowed, and certain only until the next table_deliver() unless an ask is open on it.
 * Return: NULL when no section covers the name.
 */
struct mutex *table_find(struct table *table, const char *name, size_t len);
/* The same for a name that table_peek() did not find, and the section that covers it. */
struct mutex *table_add_member(struct table *table, struct section *section, const char *name,
			       size_t len);
/* Only one that is there already; NULL otherwise. */
struct mutex *table_peek(struct table *table, const char *name, size_t len);
/* The section that covers the name, or NULL; without giving birth to anything. */
struct section *table_section(struct table *table, const char *name, size_t len);

/* The time has come, or may have: runs all that is due. First thing in a turn, before sockets. */
void table_turn(struct table *table);
/*
 * Calls done() of all that was answered, in order, until none is left; and runs what those answers
 * have made due before this turn. Return: whether there was any of it.
 */
bool table_deliver(struct table *table);
/* When table_turn() is needed next, or CLOCK_NEVER. */
int64_t table_next_us(struct table *table);

/* To be called by whoever opened a store, when its listener hears of it. */
void table_store_event(struct table *table, struct store *store, enum store_event event);

/* A holder is gone: releases what is bound to it, forgets what it was to be told of. */
void table_drop_holder(struct table *table, struct holder *holder);
/* The holder of locks that only a release or their expiry ends. */
struct holder *table_nobody(struct table *table);

/* ------------------------------------------------------------------ after a crash */
/*
 * What an earlier process of this daemon left in the stores, as its journal says, is either removed
 * or adopted, before the first client is served. A claim's slot, unless it is 0, stays the one that
 * it has in the journal.
 */

/*
 * table_recall - the mutex of that name, as it was when its key was that one in that store
 * @store: one that a section has
 *
 * If it is configured otherwise by now it goes over to that as after table_configure(): when what
 * is adopted was released, or as soon as what is to be removed is on its way. A name that is not
 * configured any more is that of a removed mutex.
 *
 * Return: borrowed, for one of the next two functions; NULL when no section has the store, or the
 * mutex has taken something over already that stands elsewhere.
 */
struct mutex *table_recall(struct table *table, const char *name, size_t len,
			   const struct store *store, const char *key);

/*
 * table_remove_claim - see to it that this does not stand in the store (any more)
 * @after_us: not before then; 0: at once
 *
 * Tried again until the store has said so, and for a while after that if it is doubtful.
 */
void table_remove_claim(struct table *table, struct mutex *mutex, const struct claim *claim,
			int64_t after_us);

/*
 * table_adopt - take over a lock that an earlier process was granted
 * @lock: a description, copied; its strings are the caller's
 * @claim: what stands in the store for it
 *
 * It is compared with the store at once. Return: the lock, or NULL when the mutex is taken already.
 */
struct lock *table_adopt(struct table *table, struct mutex *mutex, const struct lock *lock,
			 const struct claim *claim);

/*
 * table_stop - the daemon ends
 *
 * Every waiter is answered SHUTTING_DOWN, as is every later ACQUIRE. Locks that are bound to
 * connections are told LOST_SHUTDOWN and stay in the store until table_stop_release() or until
 * their holder is dropped; the others stay as they are.
 */
void table_stop(struct table *table);
/* The time of grace is over: release in the store what connections still own. */
void table_stop_release(struct table *table);
/* Has the store been told everything? */
bool table_stopped(const struct table *table);
/* Forget all that is left, whatever the store says; for the very end. */
void table_abandon(struct table *table);

const struct table_stats *table_stats(const struct table *table);
/* The table's clock, for those who have to measure by the same. */
struct clock *table_clock(const struct table *table);

/* ------------------------------------------------------------------ walking */
/*
 * Goes through the mutexes that are there while others come and go. A member of a family that
 * comes meanwhile may be missed; none is seen twice.
 */
struct table_cursor {
	struct table *table;
	struct mutex *next;
	TAILQ_ENTRY(table_cursor) entry;
};

void table_cursor_open(struct table *table, struct table_cursor *cursor);
/* Return: the next mutex, borrowed until the next call; NULL: that was all. */
struct mutex *table_cursor_next(struct table_cursor *cursor);
void table_cursor_close(struct table_cursor *cursor);

/* The sections in the order of the file. */
size_t table_n_sections(const struct table *table);
const struct section *table_section_at(const struct table *table, size_t index);

#endif
