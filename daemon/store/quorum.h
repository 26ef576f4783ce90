/* SPDX-License-Identifier: MIT */
#ifndef REDMUTEXD_STORE_QUORUM_H
#define REDMUTEXD_STORE_QUORUM_H
/*
 * Several independent stores as one: a lock is held if a majority of them says so. This is Redlock
 * (https://redis.io/docs/latest/develop/clients/patterns/distributed-locks/#the-redlock-algorithm)
 * with fences. Knows core/store.h only: its members may be of any kind.
 */
#include "core/clock.h"
#include "core/store.h"

/* What a quorum needs from outside. */
struct quorum_env {
	struct clock *clock;
	/* Have quorum_run() called at due_us, or not at all any more if that is CLOCK_NEVER. */
	void (*arm)(void *arg, int64_t due_us);
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

/* Sends again what is due: strings that a member did not confirm to be gone. */
void quorum_run(struct store *quorum);

#endif
