/* SPDX-License-Identifier: MIT */
/* The locks that a connection acquired: how long they stand, and the events about them. */
#include "config.h"

#include "client/libredmutex.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/name.h"

/* Lock strings are random: a few of their characters are a good hash. */
static struct rm_lease **bucket(struct redmutex *rm, const char *lock)
{
	unsigned hash = (unsigned char)lock[0];

	if (hash != '\0')
		hash = hash * 31 + (unsigned char)lock[1];
	return &rm->leases[hash % RM_LEASE_BUCKETS];
}

struct rm_lease *rm_lease_new(struct redmutex *rm)
{
	struct rm_lease *lease = rm->spare_leases;

	if (lease == NULL)
		return calloc(1, sizeof(*lease));
	rm->spare_leases = lease->next;
	return lease;
}

void rm_lease_spare(struct redmutex *rm, struct rm_lease *lease)
{
	lease->next = rm->spare_leases;
	rm->spare_leases = lease;
}

void rm_lease_insert(struct redmutex *rm, struct rm_lease *lease)
{
	struct rm_lease **head = bucket(rm, lease->lock);

	lease->next = *head;
	*head = lease;
}

struct rm_lease *rm_lease_find(struct redmutex *rm, const char *lock)
{
	struct rm_lease *lease = *bucket(rm, lock);

	while (lease != NULL && strcmp(lease->lock, lock) != 0)
		lease = lease->next;
	return lease;
}

void rm_lease_remove(struct redmutex *rm, struct rm_lease *lease)
{
	struct rm_lease **link = bucket(rm, lease->lock);

	while (*link != lease)
		link = &(*link)->next;
	*link = lease->next;
	rm_lease_spare(rm, lease);
}

/*
 * A lease is counted from before its request was sent. That says nothing about a request that
 * waited in a queue: its lease began when it was granted, so it is counted from when the answer
 * was seen, and redmutex_check() asks for a better number at once.
 */
void rm_lease_granted(struct redmutex *rm, struct rm_lease *lease, const struct redmutex_lock *lock,
		      const char *name, int64_t sent_us)
{
	int64_t now_us = redmutex_now_us();
	bool waited;

	strcpy(lease->name, name);
	strcpy(lease->lock, lock->lock);
	lease->fence = lock->fence;
	lease->ttl_us = lock->ttl_ms * 1000;
	lease->releasing = lease->querying = false;
	waited = now_us - sent_us > lease->ttl_us / 16;
	lease->until_us = (waited ? now_us : sent_us) + lease->ttl_us;
	lease->next_query_us = waited ? now_us : lease->until_us - lease->ttl_us / 2;
	rm_lease_insert(rm, lease);
}

/* A new lease is known to stand until then. */
static void prolong(struct rm_lease *lease, int64_t until_us)
{
	lease->until_us = until_us;
	lease->next_query_us = until_us - lease->ttl_us / 2;
}

void rm_lease_extended(struct redmutex *rm, const char *lock, int64_t ttl_ms, int64_t sent_us)
{
	struct rm_lease *lease = rm_lease_find(rm, lock);

	if (lease == NULL)
		return;
	lease->ttl_us = ttl_ms * 1000;
	prolong(lease, sent_us + lease->ttl_us);
}

void rm_lease_answered(struct redmutex *rm, const char *lock, const struct redmutex_info *info,
		       int64_t sent_us)
{
	struct rm_lease *lease = rm_lease_find(rm, lock);
	bool same;

	if (lease == NULL)
		return;
	lease->querying = false;
	if (info == NULL || info->holder != REDMUTEX_HOLDER_HERE || info->ttl_ms < 0)
		return;
	/* Without fences, the holder of our name in our process can only be we. */
	same = lease->fence > 0 ? info->fence == lease->fence
				: info->fence <= 0 && info->pid == rm->pid;
	if (same && sent_us + info->ttl_ms * 1000 > lease->until_us)
		prolong(lease, sent_us + info->ttl_ms * 1000);
}

/* Ask how long the lease is now; the answer goes to rm_lease_answered(). */
static void query(struct redmutex *rm, struct rm_lease *lease, int64_t now_us)
{
	const struct rm_ask ask = {.verb = VERB_INFO, .name = lease->name};
	struct rm_call *call;

	lease->next_query_us = now_us + lease->ttl_us / 16;
	if (rm_start(rm, &ask, &call) < 0)
		return;
	strcpy(call->lock, lease->lock);
	lease->querying = true;
	rm_flush(rm);
}

int redmutex_check(redmutex_t *rm, const char *lock, int64_t *left_ms)
{
	struct rm_lease *lease;
	int64_t now_us, left_us = 0;
	int error = rm_enter(rm);

	if (left_ms != NULL)
		*left_ms = 0;
	if (error < 0)
		return error;
	if (rm_may_read(rm)) {
		rm_reader_enter(rm);
		rm_drain(rm);
		if (!rm_reader_leave(rm))
			return REDMUTEX_ECLOSED;
	} else {
		rm_flush(rm);
	}

	lease = rm_lease_find(rm, lock);
	now_us = redmutex_now_us();
	if (lease != NULL && !lease->releasing)
		left_us = lease->until_us > now_us ? lease->until_us - now_us : 0;
	if (lease == NULL || lease->releasing || (lease->final && left_us == 0)) {
		error = rm_error_note(rm, REDMUTEX_EUNLOCK_FAIL,
				      "this connection does not hold that lock any more");
	} else if (!lease->final && !lease->querying && now_us >= lease->next_query_us) {
		query(rm, lease, now_us);
	}
	rm_leave(rm);
	if (left_ms != NULL)
		*left_ms = left_us / 1000;
	return error;
}

/* Tell the user of an event. Calls back. */
static void tell(struct redmutex *rm, redmutex_event_fn *fn, void *arg, const char *name,
		 const char *lock, const char *reason, int64_t left_ms)
{
	struct redmutex_event event = {sizeof(event), name, lock, reason, left_ms};

	if (fn == NULL)
		return;
	pthread_mutex_unlock(&rm->mutex);
	fn(rm, &event, arg);
	pthread_mutex_lock(&rm->mutex);
}

static void lost(struct redmutex *rm, struct rm_lease *lease, const char *reason)
{
	char name[sizeof(lease->name)], lock[sizeof(lease->lock)];
	bool expected = lease->releasing;

	strcpy(name, lease->name);
	strcpy(lock, lease->lock);
	rm_lease_remove(rm, lease);
	if (!expected)
		tell(rm, rm->on_lost, rm->on_lost_arg, name, lock, reason, 0);
}

static void expiring(struct redmutex *rm, struct rm_lease *lease, int64_t left_ms)
{
	char name[sizeof(lease->name)], lock[sizeof(lease->lock)];

	strcpy(name, lease->name);
	strcpy(lock, lease->lock);
	/* The daemon may have renewed it meanwhile: then this is the first that we hear of it. */
	if (!lease->final)
		prolong(lease, redmutex_now_us() + left_ms * 1000);
	if (!lease->releasing)
		tell(rm, rm->on_expiring, rm->on_expiring_arg, name, lock, "", left_ms);
}

int rm_lease_event(struct redmutex *rm, const struct reply *reply)
{
	char lock[REDMUTEX_LOCK_SIZE], reason[32];
	struct rm_lease *lease;
	struct span kind = reply->words[0];
	bool is_lost = kind.len == 4 && memcmp(kind.at, "LOST", 4) == 0;
	bool is_expiring = kind.len == 8 && memcmp(kind.at, "EXPIRING", 8) == 0;
	int64_t left_ms;

	if (!is_lost && !is_expiring)
		return 0; /* of a later version */
	if (reply->n_words < 4 || reply->words[2].len >= sizeof(lock) ||
	    reply->words[3].len >= sizeof(reason))
		return -1;
	memcpy(lock, reply->words[2].at, reply->words[2].len);
	lock[reply->words[2].len] = '\0';
	memcpy(reason, reply->words[3].at, reply->words[3].len);
	reason[reply->words[3].len] = '\0';

	lease = rm_lease_find(rm, lock);
	if (lease == NULL)
		return 0; /* released while the event was on its way */
	if (is_lost) {
		lost(rm, lease, reason);
		return 0;
	}
	if (!number_parse(reply->words[3], 0, INT64_MAX / 1000000, &left_ms))
		return -1;
	expiring(rm, lease, left_ms);
	return 0;
}

/* Takes all of them out first: a callback may connect again and acquire new ones. */
void rm_leases_lost(struct redmutex *rm)
{
	struct rm_lease *gone = NULL, *lease;

	for (unsigned i = 0; i < RM_LEASE_BUCKETS; i++) {
		while ((lease = rm->leases[i]) != NULL) {
			rm->leases[i] = lease->next;
			lease->next = gone;
			gone = lease;
		}
	}
	while ((lease = gone) != NULL) {
		bool is_loss = lease->bound && !lease->releasing;
		char name[sizeof(lease->name)], lock[sizeof(lease->lock)];

		gone = lease->next;
		strcpy(name, lease->name);
		strcpy(lock, lease->lock);
		rm_lease_spare(rm, lease);
		if (is_loss)
			tell(rm, rm->on_lost, rm->on_lost_arg, name, lock, "disconnected", 0);
	}
}
