/* SPDX-License-Identifier: MIT */
#ifndef REDMUTEXD_SERVE_OWNER_H
#define REDMUTEXD_SERVE_OWNER_H
/*
 * Processes that locks are bound to. One owner a process, shared by all its locks: it holds a pidfd
 * in the loop, and lives while there is a lock or an ACQUIRE of it.
 */
#include <event2/event_struct.h>
#include <stdbool.h>
#include <sys/queue.h>
#include <sys/types.h>
#include <uthash.h>

#include "proto/proto.h"

#include "core/holder.h"

struct call;
struct server;
struct session;

struct owner {
	struct holder holder; /* HOLDER_PID */
	struct server *server;
	pid_t pid;
	uid_t uid; /* its real one */
	int pidfd; /* -1 once it has ended */
	struct event event;
	LIST_HEAD(, call) calls; /* ACQUIREs under way */
	uint64_t save_id;	 /* while the server is saved */
	bool marked;		 /* on server->idle_owners */
	LIST_ENTRY(owner) idle_entry;
	UT_hash_handle hh; /* by pid; not in it once it has ended */
};

/*
 * owner_get - the owner for a process, for a session that wants to bind a lock to it
 * @error, @why: on failure, why it may not
 *
 * Return: borrowed, certain until the end of the turn unless a call is added; or NULL.
 */
struct owner *owner_get(struct session *session, pid_t pid, enum proto_error *error,
			const char **why);

/*
 * owner_find - the owner for a process of that number that was born then, see process_born()
 *
 * Return: borrowed, certain until the end of the turn; NULL when there is no such process (any
 * more), or it can't be watched.
 */
struct owner *owner_find(struct server *server, pid_t pid, uint64_t born);

/* The owner of the process before; its pidfd is taken over. */
struct owner *owner_inherit(struct server *server, pid_t pid, uid_t uid, uint64_t born, int pidfd);

void owner_add_call(struct owner *owner, struct call *call);
void owner_remove_call(struct owner *owner, struct call *call);

/* How many locks the user has that outlive a connection: bound to processes, or to nobody. */
unsigned owner_count_locks(struct server *server, uid_t uid);

/* Frees those that nobody needs any more; or all of them, at the very end. */
void owner_reap(struct server *server);
void owner_free_all(struct server *server);

#endif
