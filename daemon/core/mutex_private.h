/* SPDX-License-Identifier: MIT */
#ifndef REDMUTEXD_CORE_MUTEX_PRIVATE_H
#define REDMUTEXD_CORE_MUTEX_PRIVATE_H
/*
 * What the files of the core that make up a mutex share among themselves, and with the table:
 *
 *	mutex.c		who holds it and who is next: attempts, grants, hand-over, release
 *	ask.c		what clients ask of it, and the queue of those who wait
 *	mutex_upkeep.c	keeping what is held: renewal, comparison, EXPIRING, LOST
 *	errand.c	the commands beside that which changes the holder
 *	table_save.c	all of it as records, for the process that comes after
 */
#include <uthash.h>

#include "core/fault.h"
#include "core/lease.h"
#include "core/mutex.h"
#include "core/table.h"

#define MS_US INT64_C(1000)
#define SECOND_US (1000 * MS_US)
/* A fence as clients see it is F * FENCE_STEP + n, see mutex.passes_in_lease. */
#define FENCE_STEP 1024

/*
 * For how long a command may still be executed that was lost with its connection, when nobody could
 * make sure of that connection's end: until then its string is removed again and again.
 */
#define DOUBT_US (60 * SECOND_US)

/* How long a daemon that lingers on a lock has to give it to one that asks. */
#define PATIENCE_US (20 * MS_US)

TAILQ_HEAD(ask_list, ask);
TAILQ_HEAD(errand_list, errand);
TAILQ_HEAD(mutex_list, mutex);
TAILQ_HEAD(cursor_list, table_cursor);

/*
 * A key in a store. Counted, since commands may still be open there when its mutex has moved on; it
 * keeps the section that named the store, and so the store, alive.
 */
struct place {
	struct section *section; /* counted */
	struct store *store;
	struct store_key key;
	unsigned n_refs;
};

struct mutex {
	struct table *table;
	struct section *section;  /* its settings; counted */
	struct place *place;	  /* its key; counted */
	struct place *next_place; /* another one: it moves there when it is free; or NULL */
	bool leaving;		  /* no section covers it any more: it ends when it is free */
	char *name;
	UT_hash_handle hh;
	TAILQ_ENTRY(mutex) entry;      /* in table->mutexes */
	TAILQ_ENTRY(mutex) idle_entry; /* in table->idle, if is_idle */
	bool is_idle;		       /* it was, at least, when it was put there */

	enum mutex_state state;
	struct ask_list waiters; /* ACQUIREs, in the order of arrival */
	unsigned n_waiters;
	struct lock *lock; /* granted and not ended; owned */

	/* What stands, or may stand, in the store because of us. */
	char value[LOCK_STRING_SIZE];	/* empty: nothing */
	char next[LOCK_STRING_SIZE];	/* while a REPLACE is open */
	uint32_t value_slot, next_slot; /* in the journal */
	struct lease lease;		/* of value */
	int64_t ttl_ms;			/* that value was, or is to be, given */
	int64_t fence;			/* from the store, for value */
	unsigned passes_in_lease;	/* n of promise 9 */
	int64_t fence_seen;		/* the highest from the store */
	bool doubtful;	     /* a lost command may yet put value there, later than its removal */
	int64_t doubtful_us; /* since then: only a later command's answer can settle it */
	bool prolonged;	     /* the key may outlive its lease: an extension is unanswered or was cut
				short */
	/*
	 * The shortest time that a command asked for whose fate is unknown and which may run yet:
	 * whenever that is, the key stands for so long from then on, and perhaps no longer. 0: none
	 */
	int64_t stray_ttl_ms;
	int64_t stray_us; /* since then, see doubtful_us */

	/* The one command that changes who holds: ACQUIRE, REPLACE, RELEASE. */
	struct store_op op;
	bool op_busy;
	int64_t sent_us;
	const struct ask *op_ask;     /* whom it was made out to; NULL: it does not wait any more */
	char *announce;		      /* owned, for op */
	bool settling;		      /* an earlier send of this command is unanswered */
	int64_t retry_us, backoff_us; /* retry_us: when to send it again; CLOCK_NEVER */
	uint32_t round, answered_round; /* of attempts: see ask->round */
	uint32_t told_round; /* the last one of which the store said whether it is locked */
	bool again;	     /* something happened meanwhile: try once more at once */

	/* Upkeep of what is held. */
	struct errand *upkeep; /* that is waited for, about value; or NULL */
	int64_t upkeep_retry_us, upkeep_backoff_us;
	int64_t confirmed_us; /* the store was last seen to hold value by a command of then */

	/* A release on its way. */
	struct ask *release_ask;
	bool release_repeated; /* an earlier send is unanswered: it may have done it */

	/* Others. */
	struct store_watch watch;
	bool watching;
	int64_t unwatch_us;	/* when a watch nobody needs is given up */
	int64_t contender_us;	/* until then another daemon is believed to wait */
	unsigned passes_in_row; /* local grants since another daemon had its chance */
	bool awaited;		/* who releases it is about to ask for it again */
	bool stay_out;		/* after this release, it is another's turn */
	int64_t stay_out_us;	/* until then */
	int64_t stayed_out_us;	/* until then it did, the last time */
	int64_t look_us;	/* ELSEWHERE: when to look again */
	int64_t patience_us;	/* until then a lingering lock elsewhere may be given to us; 0 */
	unsigned n_contested;	/* attempts in a row that were contested */
	int64_t linger_us;	/* LINGERING: until then */
	int64_t blocked_us;	/* LINGERING: not before then, its last holder may still work */

	/* Why nothing can be said at the moment; empty: the store answers. */
	bool trouble, trouble_lasting;
	char trouble_text[ASK_TEXT_SIZE];

	struct errand_list errands;
	unsigned n_errands;  /* of those that clients can cause */
	struct errand *look; /* one that may still be shared */

	struct timer timer; /* the earliest of all that is to be done by time */
};

enum errand_kind {
	ERRAND_REMOVE,	/* a string must not stand: asked again until the store has said so */
	ERRAND_DEAD,	/* its holder was told that it is lost, and it may stand for a while yet */
	ERRAND_RESTORE, /* a string must stand, in a store that has forgotten it with its process */
	ERRAND_KEEP,	/* what is held is renewed or compared, see mutex_upkeep.c */
	ERRAND_LOOK,
	ERRAND_EXTEND,
	ERRAND_BREAK,
};

/* A command beside the main one, with the asks that wait for it. */
struct errand {
	enum errand_kind kind;
	struct mutex *mutex;
	struct place *place; /* counted */
	struct store_op op;
	bool busy;
	bool repeated; /* an earlier send is unanswered */
	struct ask_list asks;
	struct timer timer;
	int64_t sent_us;
	int64_t backoff_us;
	int64_t until_us; /* REMOVE: the string has surely expired by then */
	int64_t doubt_us; /* REMOVE: until then it may appear again; 0: it can't */
	bool inherited;	  /* REMOVE: that command is another process's, so no answer settles it */
	bool answered;	  /* REMOVE: it was seen not to stand */
	int64_t patience_us; /* LOOK: it stood; until then it may still be given up; 0 */
	int64_t pttl_ms;     /* LOOK: what was left of it */
	uint32_t slot;	     /* REMOVE: in the journal */
	TAILQ_ENTRY(errand) entry;
};

struct table {
	struct table_env env;
	struct timers timers;
	struct mutex *by_name; /* uthash */
	struct mutex_list mutexes;
	struct mutex_list idle; /* the one that has been so for the longest first */
	unsigned n_idle;
	struct cursor_list cursors;
	struct section **sections; /* counted, in the order of the file */
	size_t n_sections;
	struct section *exact;	   /* of these, by name: uthash */
	struct section **families; /* and the others */
	size_t n_families;
	struct ask_list answers;
	struct holder nobody;
	bool stopping;
	bool abandoned;
	int64_t turned_us; /* the last table_turn() */
	/*
	 * Commands of the process before may still be carried out until then, of which the stores
	 * of this one know nothing when they say `settled`.
	 */
	int64_t unsettled_us;
	struct table_stats stats;
};

/* ------------------------------------------------------------------ mutex.c */
struct mutex *mutex_new(struct table *table, struct section *section, const char *name, size_t len);
void mutex_free(struct mutex *mutex);
/* Nothing keeps it alive but its name. */
bool mutex_is_idle(const struct mutex *mutex);
int64_t mutex_now_us(const struct mutex *mutex);
void mutex_set_state(struct mutex *mutex, enum mutex_state state);
/* An answer came to a command submitted at sent_us: see store_op.settled. */
void mutex_note_settled(struct mutex *mutex, const struct store_op *op, int64_t sent_us);
/* Nobody knows what became of a command that gives the key ttl_ms. */
void mutex_note_stray(struct mutex *mutex, int64_t ttl_ms);
/* Return: the slot in the journal of a string that may come to stand; 0: no journal is kept. */
uint32_t mutex_journal_claim(struct mutex *mutex, const char *value);
/* Its lock, or the lease of that, has changed. */
void mutex_journal_lock(struct mutex *mutex);
/* Is this where it stands at present? */
bool mutex_is_at(const struct mutex *mutex, const struct store *store, const char *key);
/*
 * Puts a free mutex to another key in the section's store, as if that had been configured until
 * now: it goes back to its own with the next mutex_settle_up() that finds it free. Return: false
 * when it isn't free.
 */
bool mutex_put_back(struct mutex *mutex, struct section *section, const char *key);
/* Looks after the timer and the idle list; the last thing every way into a mutex does. */
void mutex_settle_up(struct mutex *mutex);
/* Is what stands in the store a string that no client knows? */
bool mutex_value_is_own(const struct mutex *mutex);
/* Its lock is let go of by its holder; `ask`, if not NULL, is answered when that has happened. */
void mutex_let_go(struct mutex *mutex, struct ask *ask);
/* The lock ends; tells nobody. */
void mutex_end_lock(struct mutex *mutex);
/* Nothing of ours is needed in the store any more: takes value out of the mutex. */
void mutex_drop_value(struct mutex *mutex, bool gone);
/* The same when nobody relies on it any more, and it may stand: it is removed at once. */
void mutex_remove_value(struct mutex *mutex);
/* Tries to get it for whoever will be first in the queue when the answer comes. */
void mutex_start_attempt(struct mutex *mutex);
/* A claim that nobody holds, and somebody has come, or its last holder's time is over at last. */
void mutex_use_lingering(struct mutex *mutex);
/* Nothing of ours stands in the store: on to whoever waits. */
void mutex_next(struct mutex *mutex);
/* Gives back what stands in the store. */
void mutex_start_release(struct mutex *mutex, struct ask *ask);
/* The claim stands and nobody holds it any more: on to the next. */
void mutex_pass_on(struct mutex *mutex, struct ask *ask);
void mutex_note_contender(struct mutex *mutex);
void mutex_note_free(struct mutex *mutex);
void mutex_retry_now(struct mutex *mutex);
void mutex_set_section(struct mutex *mutex, struct section *section);
/* Is there a reason to listen to its channel? */
bool watch_is_needed(const struct mutex *mutex);
void watch_start(struct mutex *mutex);
void watch_stop(struct mutex *mutex);
/* The key of a mutex of that name in that section. */
struct place *place_new(struct section *section, const char *name);
struct place *place_ref(struct place *place);
void place_unref(struct place *place);
int64_t mutex_jitter_us(struct mutex *mutex, int64_t range_us);
int64_t mutex_back_off_us(struct mutex *mutex, int64_t *backoff_us);

/* ------------------------------------------------------------------ ask.c */
/* From now on the ask is the mutex's, to be answered. */
void ask_init(struct mutex *mutex, struct ask *ask, enum ask_kind kind);
/* For how long it wants the lock. */
int64_t ask_ttl_ms(const struct mutex *mutex, const struct ask *ask);
/* Answers it with what is known of why the store does not. */
void ask_answer_unavailable(struct mutex *mutex, struct ask *ask);
/* Puts an ask that waited in another process at the end of the queue. @round: as it had there */
void mutex_restore_waiter(struct mutex *mutex, struct ask *ask, uint32_t round, int64_t due_us);
/* The first waiter whose owner still lives, or NULL; answers those before it. */
struct ask *mutex_first_waiter(struct mutex *mutex);
/* Is there one in the queue that waits, or one that only tries? */
bool mutex_somebody_waits(const struct mutex *mutex);
bool mutex_somebody_tries(const struct mutex *mutex);
/* Answers those who only tried, and for whom the attempt answered last counts. */
void mutex_refuse_tries(struct mutex *mutex, enum outcome outcome);
/* It is held here now: that answers every try, whenever it came. */
void mutex_refuse_all_tries(struct mutex *mutex);
void mutex_refuse_waiters(struct mutex *mutex, enum outcome outcome);

/* ------------------------------------------------------------------ mutex_upkeep.c */
void mutex_lose(struct mutex *mutex, enum lost_reason reason);
/* Runs what is due for a held lock; may end it. */
void mutex_run_upkeep(struct mutex *mutex, int64_t now_us);
/* When that is needed next. */
int64_t mutex_upkeep_due_us(const struct mutex *mutex);
void mutex_upkeep_done(struct errand *errand);
void mutex_check_now(struct mutex *mutex);
/*
 * What an EXTEND of a string that stands, or may stand, says of it, whoever has it by now; with OK
 * its holder gets holder_ttl_us of that, or with 0 what he had.
 */
void mutex_note_extension(struct mutex *mutex, const struct errand *errand, int64_t holder_ttl_us);
/* May what stands do so for longer than its lease, by an extension unanswered or cut short? */
bool mutex_may_outlast_lease(const struct mutex *mutex);
/* The holder's own time, inside what the store has promised. */
void mutex_set_holder_lease(struct mutex *mutex, const struct lease *lease);

/* ------------------------------------------------------------------ errand.c */
/* See to it that `string` does not stand. */
struct errand *errand_remove(struct mutex *mutex, const char *string, int64_t not_before_us,
			     int64_t until_us, bool doubtful, uint32_t slot);
/* The same for what an earlier process of this daemon has left. */
void errand_remove_inherited(struct mutex *mutex, const struct claim *claim, int64_t not_before_us);
/* Until then the string is nobody's proof, although the store may still have it. */
void errand_note_dead(struct mutex *mutex, const char *string, int64_t until_us);
/* Is it such a string, or one that is removed without anybody waiting for that? */
bool errand_knows_dead(const struct mutex *mutex, const char *string);
/* Puts a claim that an earlier process had into a store that kept nothing, for ttl_ms. */
void errand_restore(struct mutex *mutex, const char *string, int64_t ttl_ms);
void errand_look(struct mutex *mutex, struct ask *ask);
/* EXTENDs what stands to ttl_ms, or CHECKs it. Return: the errand, until mutex_upkeep_done(). */
struct errand *errand_keep(struct mutex *mutex, enum store_verb verb, int64_t ttl_ms);
/* Is it about what stands, or may stand, there because of us at present? */
bool errand_is_about_value(const struct errand *errand);
/* Does it extend that, and has not been answered yet? */
bool errand_is_extension(const struct errand *errand);
void errand_extend(struct mutex *mutex, struct ask *ask, int64_t ttl_ms);
void errand_break(struct mutex *mutex, struct ask *ask);
void errand_retry_now(struct errand *errand);
void errand_free(struct errand *errand);

/* ------------------------------------------------------------------ table.c */
void ask_answer(struct ask *ask, enum outcome outcome);
void ask_answer_text(struct ask *ask, enum outcome outcome, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
void table_note_idle(struct table *table, struct mutex *mutex);
struct mutex *table_give_birth(struct table *table, struct section *section, const char *name,
			       size_t len);
/* Does `settled` of an answer mean what it says? */
bool table_trusts_settled(const struct table *table);
void stats_count_wait(struct table_stats *stats, int64_t us);
void stats_count_hold(struct table_stats *stats, int64_t us);

#endif
