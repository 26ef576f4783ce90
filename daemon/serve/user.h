/* SPDX-License-Identifier: MIT */
#ifndef REDMUTEXD_SERVE_USER_H
#define REDMUTEXD_SERVE_USER_H
/* What is counted for each user over all of their connections. */
#include <sys/types.h>
#include <uthash.h>

/* There while any session of the user is. */
struct user {
	uid_t uid;
	unsigned n_sessions; /* not freed yet */
	unsigned n_clients;  /* of these, connected */
	/* ACQUIREs under way whose lock would outlive its connection. */
	unsigned n_detached_acquires;
	char *name; /* owned; from the passwd file, or the number; NULL until it was needed */
	UT_hash_handle hh;
};

/* The user's entry with one session more, connected, or less; the last takes the entry with it. */
struct user *user_enter(struct user **users, uid_t uid);
void user_leave(struct user **users, struct user *user);

/* Of how many connections the user has now. */
unsigned user_n_clients(struct user *users, uid_t uid);

/*
 * user_name - what the host calls the user
 *
 * From /etc/passwd alone: a directory service could keep the whole daemon waiting.
 */
const char *user_name(struct user *user);

#endif
