/* SPDX-License-Identifier: MIT */
#ifndef REDMUTEXD_CORE_HOLDER_H
#define REDMUTEXD_CORE_HOLDER_H
/*
 * Locks, and those to whom they belong. A lock has up to two ties: to the holder whose life it is
 * bound to (a session, a process, or nobody), and to the session that acquired it, which is told
 * when it is lost. They are often the same.
 */
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>
#include <sys/types.h>

#include "core/lease.h"
#include "core/lock_string.h"

struct ask;
struct holder;
struct lock;
struct mutex;

/* Why a lock was lost. The words of the protocol are the caller's business. */
enum lost_reason {
	LOST_EXPIRED,	  /* its time is over and it is not renewed */
	LOST_REPLACED,	  /* the store holds another value, or none */
	LOST_UNAVAILABLE, /* the store could not be reached before the lease ran out */
	LOST_BROKEN,	  /* somebody broke it by order */
	LOST_SHUTDOWN,	  /* the daemon stops */
};

/* How a holder hears of its locks. These must not call back into the core. */
struct holder_class {
	/* The lock is dead, and freed when this returns. */
	void (*lost)(struct holder *holder, const struct lock *lock, enum lost_reason reason);
	void (*expiring)(struct holder *holder, const struct lock *lock, int64_t left_ms);
	/* The last lock bound to it is gone. May be NULL. */
	void (*idle)(struct holder *holder);
};

enum holder_kind {
	HOLDER_CONNECTION,
	HOLDER_PID,
	HOLDER_NOBODY, /* only a release or the expiry ends the lock */
};

/* Embedded in a session, in what watches a process, and once in the table for nobody. */
struct holder {
	const struct holder_class *class;
	enum holder_kind kind;
	pid_t pid;		  /* HOLDER_PID */
	uint64_t born;		  /* HOLDER_PID: tells it from others of that number, see proc(5) */
	TAILQ_HEAD(, lock) owned; /* bound to its life */
	TAILQ_HEAD(, lock) acquired; /* to be told of */
	unsigned n_owned, n_acquired;
	bool gone; /* it was dropped: nothing is granted to it any more */
};

void holder_init(struct holder *holder, const struct holder_class *class, enum holder_kind kind);

/* Who asked, as far as INFO tells it. Plain data, copied about. */
struct asker {
	pid_t pid;
	uid_t uid;
};

/* One successful acquisition. Owned by its mutex; gone when it is released or lost. */
struct lock {
	struct mutex *mutex;
	char string[LOCK_STRING_SIZE];
	int64_t fence;	    /* as clients see it; 0: the mutex has no fences */
	struct lease lease; /* the holder's; the store's may be longer */
	bool renew;
	bool expiring_told; /* EXPIRING was sent and no renewal succeeded since */
	int64_t granted_us;
	struct asker asker;
	char *note;		 /* owned; NULL: none */
	struct holder *owner;	 /* never NULL */
	struct holder *acquirer; /* NULL once that session is gone */
	struct ask *unreported;	 /* its ACQUIRE, until that was delivered */
	bool dead; /* LOST_SHUTDOWN was told; the key is left in place for a moment of grace */
	TAILQ_ENTRY(lock) owned_entry;
	TAILQ_ENTRY(lock) acquired_entry;
};

/* For the core: bind a lock to its owner and, if not NULL, its acquirer; and the ways back. */
void lock_tie(struct lock *lock, struct holder *owner, struct holder *acquirer);
void lock_forget_acquirer(struct lock *lock);
void lock_untie(struct lock *lock); /* may call the owner's idle() */

#endif
