/* SPDX-License-Identifier: MIT */
#ifndef REDMUTEXD_CORE_MUTEX_H
#define REDMUTEXD_CORE_MUTEX_H
/*
 * A named mutex: who holds it, who waits, until when, and what the store knows of it. Pure rules:
 * no sockets, no Redis, no protocol; time and store come in through interfaces.
 *
 * What clients want is asked with a struct ask, which belongs to the caller and is answered exactly
 * once, by ask->done from table_deliver(), never from inside the call that asked.
 */
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "core/holder.h"
#include "core/store.h"
#include "core/timer.h"

struct ask;
struct mutex;
struct section;
struct table;

enum handoff {
	HANDOFF_STORE, /* each pass is one command that replaces the value */
	HANDOFF_LOCAL, /* passes happen inside the daemon's own lease */
};

/* How a mutex behaves. Part of a section; see table.h. */
struct mutex_settings {
	int64_t ttl_ms; /* of a lock that asks for none; at least 10 */
	bool renew;
	bool fence;
	enum handoff handoff;
	uint32_t handoff_limit; /* passes in a row while others wait; at least 1 */
	int64_t linger_ms;
	int64_t command_timeout_ms; /* after which who does not wait hears `unavailable` */
	bool announce;
	uint32_t max_waiters;
};

/*
 * The states. One enum, changed in mutex_set_state() only, which logs it.
 *
 *	FREE -> ACQUIRING -> HELD -> HANDING_ON -> HELD ...	local waiters
 *		|	     |  \-> RELEASING -> FREE		no local waiter
 *		|	     \----> LINGERING -> HELD | RELEASING
 *		\-> ELSEWHERE -> ACQUIRING ...			another host holds it
 *	RELEASING -> STAYING_OUT -> ACQUIRING			others had to get a chance
 *	ACQUIRING, HANDING_ON, RELEASING -> SETTLING -> ...	the fate of a command is unknown
 */
enum mutex_state {
	MUTEX_FREE,	   /* nothing of ours stands in the store, nobody waits */
	MUTEX_ACQUIRING,   /* an ACQUIRE is on its way */
	MUTEX_HELD,	   /* granted to a local holder */
	MUTEX_HANDING_ON,  /* a REPLACE is on its way; nobody holds it */
	MUTEX_RELEASING,   /* a RELEASE is on its way or will be tried again */
	MUTEX_LINGERING,   /* the claim stands, nobody holds it; the next local client gets it */
	MUTEX_ELSEWHERE,   /* waiters, and it is held elsewhere or the store does not answer */
	MUTEX_STAYING_OUT, /* waiters, and it is another daemon's turn */
	MUTEX_SETTLING,	   /* the last command's fate is unknown; it will be asked again */
	N_MUTEX_STATES
};

const char *mutex_state_word(enum mutex_state state);

enum outcome {
	OUTCOME_OK,
	OUTCOME_ALREADY_LOCKED,
	OUTCOME_UNLOCK_FAIL,
	OUTCOME_UNAVAILABLE, /* ask->text says why */
	OUTCOME_LIMIT,	     /* ask->text names it */
	OUTCOME_CANCELLED,
	OUTCOME_UNKNOWN_MUTEX, /* the mutex left the configuration while the ask waited */
	OUTCOME_SHUTTING_DOWN,
};

enum ask_kind { ASK_ACQUIRE, ASK_RELEASE, ASK_EXTEND, ASK_EXISTS, ASK_LOOK, ASK_BREAK };

enum { ASK_TEXT_SIZE = 160 };

/* Where an ask stands, for whoever looks at it. The core moves it. */
enum ask_state {
	ASK_IDLE,     /* not asked, or answered */
	ASK_WAITING,  /* an ACQUIRE in the queue: may be cancelled */
	ASK_WORKING,  /* anything else on its way: will be answered by itself */
	ASK_ANSWERED, /* done() comes with the next table_deliver() */
};

typedef void ask_done_fn(struct ask *ask);

/* Something that a client wants of a mutex. Zeroed by the caller, then filled in. */
struct ask {
	/* The caller's. Pointers stay valid until done. */
	ask_done_fn *done;
	struct holder *owner;	       /* ACQUIRE: whose life the lock will be bound to */
	struct holder *acquirer;       /* ACQUIRE: who is told of its loss */
	struct asker asker;	       /* ACQUIRE */
	int64_t wait_us;	       /* ACQUIRE: how long to queue; 0: try once; CLOCK_NEVER */
	int64_t ttl_ms;		       /* ACQUIRE, EXTEND, see `again`; 0: the mutex's own */
	bool renew;		       /* ACQUIRE; ignored when the owner is nobody */
	const char *note;	       /* ACQUIRE; NULL: none */
	const char *announce;	       /* ACQUIRE: for other hosts; NULL: nothing */
	char string[LOCK_STRING_SIZE]; /* RELEASE, EXTEND */
	/*
	 * RELEASE: an ACQUIRE of the same mutex is at hand, which comes in the same turn as this
	 * or as its answer; with ttl_ms, as there.
	 */
	bool again;

	/* The answer. */
	enum outcome outcome;
	char text[ASK_TEXT_SIZE]; /* of UNAVAILABLE and LIMIT */
	struct lock *lock;	  /* ACQUIRE OK: borrowed; NULL if it was lost before done() */
	bool locked;		  /* EXISTS, LOOK */
	int64_t ttl_left_ms;	  /* EXTEND; LOOK of a lock elsewhere, -1 not known */
	char *holder;		  /* LOOK: as announced elsewhere, owned by the ask until done
				   * returns; NULL: not known */

	/* The core's. */
	enum ask_kind kind;
	enum ask_state state;
	struct mutex *mutex; /* NULL when not asked */
	uint32_t round;	     /* the first attempt or look whose answer counts for it */
	int64_t asked_us;
	struct timer timer;
	TAILQ_ENTRY(ask) entry; /* mutex's queue or list, then table's answers */
};

/* ------------------------------------------------------------------ asking */
/*
 * All of these hand the ask over to the core until its done(). Mutexes are found with table_find().
 *
 * mutex_acquire() answers ALREADY_LOCKED, UNAVAILABLE, LIMIT or OK. mutex_release() takes any lock
 * string, of a lock granted here or, with handoff in the store, elsewhere: UNLOCK_FAIL if it does
 * not stand. From the call on, the string is dead for its holder, whatever the answer will be.
 */
void mutex_acquire(struct mutex *mutex, struct ask *ask);
void mutex_release(struct mutex *mutex, struct ask *ask);
void mutex_extend(struct mutex *mutex, struct ask *ask);
void mutex_exists(struct mutex *mutex, struct ask *ask);
void mutex_look(struct mutex *mutex, struct ask *ask);
void mutex_break(struct mutex *mutex, struct ask *ask);

/* Answers a waiting ACQUIRE with CANCELLED. Return: false when it was not ASK_WAITING any more. */
bool ask_cancel(struct ask *ask);

/*
 * ask_hang_up - its client is gone, or will send no more: don't wait any longer
 *
 * A waiter is answered CANCELLED, except one whose very first attempt is still on its way: that one
 * becomes a try, so that a request sent by a client that half-closed at once is carried out.
 */
void ask_hang_up(struct ask *ask);

/*
 * What stands in the store because of this daemon. The same as a holder's lock, or, with handoff
 * inside the daemon, a string of its own under which one holder follows the other.
 */
struct claim {
	const char *value;
	struct lease lease; /* the store's */
	bool doubtful;	    /* a command may be alive yet that puts it there (again) */
	uint32_t slot;	    /* in the journal; 0: none */
};

/* ------------------------------------------------------------------ looking */
const char *mutex_name(const struct mutex *mutex);
const struct section *mutex_section(const struct mutex *mutex);
enum mutex_state mutex_state(const struct mutex *mutex);
/* The lock that is held here and valid, or NULL. */
const struct lock *mutex_lock(const struct mutex *mutex);
/* How long its holder may still rely on a lock, in microseconds; 0: it is over. */
int64_t mutex_lock_left_us(const struct mutex *mutex);
unsigned mutex_n_waiters(const struct mutex *mutex);
struct store *mutex_store(const struct mutex *mutex);
const struct store_key *mutex_key(const struct mutex *mutex);
/* Return: what stands in the store, or may stand there; its value is empty if that is nothing. */
struct claim mutex_claim(const struct mutex *mutex);

#endif
