/* SPDX-License-Identifier: MIT */
#ifndef REDMUTEXD_STORE_QUORUM_H
#define REDMUTEXD_STORE_QUORUM_H
/*
 * Several independent stores as one: a lock is held if a majority of them says so. This is Redlock
 * (https://redis.io/docs/latest/develop/clients/patterns/distributed-locks/#the-redlock-algorithm)
 * with fences. Knows core/store.h only: its members may be of any kind.
 *
 * Against what core/store.h says of a single store:
 *
 *	ACQUIRE	is never answered UNKNOWN. Whatever it left on members that failed or came too late
 *		is removed there by the quorum, so a string that was not granted must not be used
 *		again. `left` is told when that may be a majority.
 *	EXTEND, REPLACE	set the string on members that came back without it, once a majority has it.
 *	BREAK	has what stood on members that said so removed from those that did not answer.
 *	settled	is true if that of a majority is: what may still be carried out on the others is the
 *		quorum's to remove.
 */
#include "core/clock.h"
#include "core/store.h"

/* What a quorum needs from outside. */
struct quorum_env {
	struct clock *clock;
	/*
	 * How long a command may take altogether, at least 1. For one with a ttl it is a fifth of
	 * that if that is less: who waits for a member that is slow or gone must not lose much of
	 * the lease.
	 */
	int64_t timeout_ms;
	/*
	 * Have quorum_run() called at due_us, or not at all if that is CLOCK_NEVER. Later calls
	 * replace earlier ones.
	 */
	void (*arm)(void *arg, int64_t due_us);
	/* The quorum was freed and is done with `arg`; may be NULL. */
	void (*closed)(void *arg);
	void *arg;
};

enum { QUORUM_MEMBERS_MAX = 15 };

/*
 * quorum_new - a quorum without members
 * @name: for logs and errors; copied
 * @listener: told of the members' events; borrowed; may be NULL
 */
struct store *quorum_new(const struct quorum_env *env, const char *name,
			 struct store_listener *listener);

/* What its members are to be opened with. */
struct store_listener *quorum_member_listener(struct store *quorum);

/* Takes a member over. All of them before the first command; 1 to QUORUM_MEMBERS_MAX. */
void quorum_add(struct store *quorum, struct store *member);

/*
 * Time has passed: gives up on members that did not answer, and sends again what is due. May call
 * done() of commands.
 */
void quorum_run(struct store *quorum);

#endif
