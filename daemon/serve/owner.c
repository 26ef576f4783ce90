/* SPDX-License-Identifier: MIT */
/* Locks bound to the life of a process, by its pidfd. */
#include "config.h"

#include "serve/owner.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "core/table.h"
#include "serve/descriptors.h"
#include "serve/server_private.h"
#include "serve/session.h"
#include "util/alloc.h"
#include "util/log.h"

static void owner_mark(struct owner *owner)
{
	if (owner->marked)
		return;
	owner->marked = true;
	LIST_INSERT_HEAD(&owner->server->idle_owners, owner, idle_entry);
}

/* The session that acquired a lock is told of it, not the process. */
static void owner_lost(struct holder *holder, const struct lock *lock, enum lost_reason reason)
{
	(void)holder;
	(void)lock;
	(void)reason;
}

static void owner_expiring(struct holder *holder, const struct lock *lock, int64_t left_ms)
{
	(void)holder;
	(void)lock;
	(void)left_ms;
}

static void owner_idle(struct holder *holder)
{
	owner_mark(container_of(holder, struct owner, holder));
}

static const struct holder_class owner_class = {
	.lost = owner_lost,
	.expiring = owner_expiring,
	.idle = owner_idle,
};

static bool pidfd_ended(int pidfd)
{
	struct pollfd poll_fd = {.fd = pidfd, .events = POLLIN};

	return poll(&poll_fd, 1, 0) != 0;
}

/* The process is gone: so are its locks, and those that it waits for. */
static void owner_end(struct owner *owner)
{
	struct server *server = owner->server;
	struct call *call;

	log_debug("process %d ended, releasing its locks", (int)owner->pid);
	event_del(&owner->event);
	close(owner->pidfd);
	owner->pidfd = -1;
	HASH_DELETE(hh, server->owners, owner);
	LIST_FOREACH (call, &owner->calls, owner_entry)
		ask_cancel(&call->ask);
	table_drop_holder(server->table, &owner->holder);
	owner_mark(owner);
}

static void owner_cb(evutil_socket_t fd, short what, void *arg)
{
	struct owner *owner = arg;

	(void)fd;
	(void)what;
	server_turn(owner->server);
	if (owner->pidfd >= 0)
		owner_end(owner);
}

static struct owner *owner_new(struct server *server, pid_t pid, int pidfd, uid_t uid,
			       uint64_t born)
{
	struct owner *owner = xcalloc(1, sizeof(*owner));

	holder_init(&owner->holder, &owner_class, HOLDER_PID);
	owner->holder.pid = pid;
	owner->holder.born = born;
	owner->server = server;
	owner->pid = pid;
	owner->uid = uid;
	owner->pidfd = pidfd;
	LIST_INIT(&owner->calls);
	event_assign(&owner->event, server->base, pidfd, EV_READ | EV_PERSIST, owner_cb, owner);
	event_add(&owner->event, NULL);
	HASH_ADD(hh, server->owners, pid, sizeof(owner->pid), owner);
	owner_mark(owner); /* if nothing comes of it */
	return owner;
}

/*
 * Opens a process for a lock. The pidfd comes first: what /proc says afterwards is about the same
 * process as long as that has not ended.
 */
static struct owner *owner_open(struct server *server, pid_t pid, enum proto_error *error,
				const char **why)
{
	int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	bool same_namespace;
	uint64_t born;
	uid_t uid;

	/* What it says of the number of a thread differs from one kernel to the next. */
	if (pidfd < 0 && errno != EMFILE && errno != ENFILE) {
		*why = "owner=pid: there is no such process";
		return NULL;
	}
	if (pidfd < 0 || descriptors_scarce(pidfd)) {
		*error = PROTO_E_LIMIT;
		*why = "RLIMIT_NOFILE: the daemon has no file descriptor left for that process";
		if (pidfd >= 0)
			close(pidfd);
		return NULL;
	}
	if (!process_status(pid, &uid, &same_namespace) || !process_born(pid, &born) ||
	    pidfd_ended(pidfd)) {
		*why = "owner=pid: there is no such process";
		close(pidfd);
		return NULL;
	}
	return owner_new(server, pid, pidfd, uid, born);
}

struct owner *owner_get(struct session *session, pid_t pid, enum proto_error *error,
			const char **why)
{
	struct server *server = session->server;
	struct owner *owner;
	bool same_namespace;
	uid_t uid;

	*error = PROTO_E_DENIED;
	/* The number means something else there, and perhaps another process here. */
	if (session->peer.pid == 0 || !process_status(session->peer.pid, &uid, &same_namespace) ||
	    !same_namespace) {
		*why = "owner=pid: you are not known to live in the daemon's pid namespace";
		return NULL;
	}
	HASH_FIND(hh, server->owners, &pid, sizeof(pid), owner);
	if (owner && pidfd_ended(owner->pidfd)) {
		owner_end(owner);
		owner = NULL;
	}
	if (!owner)
		owner = owner_open(server, pid, error, why);
	if (owner && owner->uid != session->peer.uid && session->peer.uid != 0) {
		*why = "owner=pid: that process is not yours";
		return NULL;
	}
	return owner;
}

struct owner *owner_find(struct server *server, pid_t pid, uint64_t born)
{
	struct owner *owner;
	enum proto_error error;
	const char *why;

	HASH_FIND(hh, server->owners, &pid, sizeof(pid), owner);
	if (owner && pidfd_ended(owner->pidfd)) {
		owner_end(owner);
		owner = NULL;
	}
	if (!owner)
		owner = owner_open(server, pid, &error, &why);
	return owner && owner->holder.born == born ? owner : NULL;
}

void owner_add_call(struct owner *owner, struct call *call)
{
	call->owner = owner;
	LIST_INSERT_HEAD(&owner->calls, call, owner_entry);
}

void owner_remove_call(struct owner *owner, struct call *call)
{
	call->owner = NULL;
	LIST_REMOVE(call, owner_entry);
	owner_mark(owner);
}

struct owner *owner_inherit(struct server *server, pid_t pid, uid_t uid, uint64_t born, int pidfd)
{
	return owner_new(server, pid, pidfd, uid, born);
}

unsigned owner_count_locks(struct server *server, uid_t uid)
{
	const struct lock *lock;
	struct owner *owner, *next;
	unsigned n = 0;

	TAILQ_FOREACH (lock, &table_nobody(server->table)->owned, owned_entry)
		n += lock->asker.uid == uid;
	HASH_ITER (hh, server->owners, owner, next) {
		if (owner->uid == uid)
			n += owner->holder.n_owned;
	}
	return n;
}

static void owner_free(struct owner *owner)
{
	if (owner->pidfd >= 0) {
		event_del(&owner->event);
		close(owner->pidfd);
		HASH_DELETE(hh, owner->server->owners, owner);
	}
	free(owner);
}

void owner_reap(struct server *server)
{
	struct owner *owner;

	while ((owner = LIST_FIRST(&server->idle_owners))) {
		LIST_REMOVE(owner, idle_entry);
		owner->marked = false;
		if (owner->holder.n_owned == 0 && LIST_EMPTY(&owner->calls))
			owner_free(owner);
	}
}

void owner_free_all(struct server *server)
{
	struct owner *owner, *next;

	owner_reap(server);
	HASH_ITER (hh, server->owners, owner, next)
		owner_free(owner);
}
