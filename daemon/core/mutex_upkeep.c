/* SPDX-License-Identifier: MIT */
/*
 * Keeping what is held: renewing its lease, comparing it with the store, telling its holder when it
 * is about to end and when it has.
 */
#include "config.h"

#include <assert.h>
#include <string.h>

#include "core/mutex_private.h"
#include "util/alloc.h"

/* A held lock is compared with the store in this time at the latest. */
#define CHECK_US (10 * SECOND_US)
/* Upkeep that is due within the same step of time goes out in one write. */
#define GRID_US (50 * MS_US)

static int64_t min_us(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

/* When its holder may not rely on it any more. */
static int64_t end_us(const struct mutex *mutex)
{
	return min_us(mutex->lock->lease.end_us, mutex->lease.end_us);
}

/* Must what stands in the store be made to stand longer? */
static bool wants_extension(const struct mutex *mutex)
{
	const struct lock *lock = mutex->lock;

	if (CORE_FAULT(renewal_forgotten))
		return false;
	if (lock->renew)
		return true;
	/* Inside a claim of the daemon's own: for the holder's time, and for who comes after it. */
	return mutex_value_is_own(mutex) &&
	       (lock->lease.end_us > mutex->lease.end_us || mutex->n_waiters > 0);
}

/* On the grid, so that many mutexes share a write; never later than it should be. */
static int64_t align_us(int64_t due_us, int64_t interval_us)
{
	return interval_us >= 20 * GRID_US ? due_us - due_us % GRID_US : due_us;
}

static int64_t command_due_us(const struct mutex *mutex)
{
	const int64_t third_us = mutex->lease.ttl_us / 3;
	const int64_t check_us = min_us(third_us, CHECK_US);
	int64_t due_us = align_us(mutex->confirmed_us + check_us, check_us);

	if (mutex->upkeep_busy || mutex->lock->dead || CORE_FAULT(check_skipped))
		return CLOCK_NEVER;
	if (mutex->upkeep_retry_us != CLOCK_NEVER)
		return mutex->upkeep_retry_us;
	if (wants_extension(mutex))
		due_us = min_us(due_us, align_us(mutex->lease.from_us + third_us, third_us));
	return due_us;
}

static int64_t notice_due_us(const struct mutex *mutex)
{
	if (mutex->lock->expiring_told || mutex->lock->dead)
		return CLOCK_NEVER;
	return end_us(mutex) - lease_notice_us(&mutex->lock->lease);
}

int64_t mutex_upkeep_due_us(const struct mutex *mutex)
{
	int64_t due_us = min_us(command_due_us(mutex), notice_due_us(mutex));

	return min_us(due_us, end_us(mutex));
}

static void upkeep_start(struct mutex *mutex, int64_t now_us)
{
	const bool extend = wants_extension(mutex) &&
			    now_us >= align_us(mutex->lease.from_us + mutex->lease.ttl_us / 3,
					       mutex->lease.ttl_us / 3);

	mutex->upkeep = (struct store_op){
		.verb = extend ? STORE_EXTEND : STORE_CHECK,
		.key = &mutex->place->key,
		.ttl_ms = mutex->lock->lease.ttl_us / MS_US,
		.done = mutex_upkeep_done,
	};
	strcpy(mutex->upkeep.value, mutex->value);
	mutex->upkeep_busy = true;
	mutex->upkeep_generation = mutex->generation;
	mutex->upkeep_sent_us = now_us;
	mutex->upkeep_retry_us = CLOCK_NEVER;
	if (extend)
		mutex->table->stats.renewals++;
	else
		mutex->table->stats.checks++;
	store_submit(mutex->place->store, &mutex->upkeep);
}

void mutex_check_now(struct mutex *mutex)
{
	if (mutex->state != MUTEX_HELD || mutex->upkeep_busy)
		return;
	mutex->upkeep_retry_us = mutex_now_us(mutex);
	mutex_settle_up(mutex);
}

void mutex_run_upkeep(struct mutex *mutex, int64_t now_us)
{
	struct lock *lock = mutex->lock;

	if (now_us >= end_us(mutex)) {
		/* Over by its own time, or because nobody could prolong it. */
		mutex_lose(mutex, !lock->renew && now_us >= lock->lease.end_us ? LOST_EXPIRED
									       : LOST_UNAVAILABLE);
		return;
	}
	if (now_us >= notice_due_us(mutex)) {
		lock->expiring_told = true;
		if (lock->acquirer && !lock->unreported && !CORE_FAULT(expiring_not_told))
			lock->acquirer->class->expiring(lock->acquirer, lock,
							(end_us(mutex) - now_us) / MS_US);
	}
	if (now_us >= command_due_us(mutex))
		upkeep_start(mutex, now_us);
}

void mutex_prolonged(struct mutex *mutex, int64_t sent_us, int64_t ttl_us, bool holder_too)
{
	struct lock *lock = mutex->lock;

	mutex->confirmed_us = sent_us;
	if (sent_us < mutex->lease.from_us)
		return;
	mutex->prolonged = false;
	mutex->lease = lease_make(sent_us, ttl_us);
	if (holder_too) {
		lock->lease = mutex->lease;
		lock->expiring_told = false;
	}
	mutex_journal_lock(mutex);
}

void mutex_upkeep_done(struct store_op *op)
{
	struct mutex *mutex = container_of(op, struct mutex, upkeep);

	mutex->upkeep_busy = false;
	if (mutex->table->abandoned)
		return;
	mutex_note_settled(mutex, op, mutex->upkeep_sent_us);
	if (mutex->upkeep_generation != mutex->generation || !mutex->lock) {
		/* About an earlier holder or value. */
		mutex_settle_up(mutex);
		return;
	}
	switch (op->status) {
	case STORE_OK:
		mutex->upkeep_backoff_us = 0;
		if (op->contenders > 0 && mutex->section->settings.linger_ms == 0 &&
		    op->verb == STORE_EXTEND)
			mutex_note_contender(mutex);
		if (op->verb == STORE_EXTEND)
			mutex_prolonged(mutex, mutex->upkeep_sent_us, op->ttl_ms * MS_US,
					mutex->lock->renew);
		else
			mutex->confirmed_us = mutex->upkeep_sent_us;
		break;
	case STORE_HELD:
	case STORE_GONE:
		mutex_lose(mutex, LOST_REPLACED);
		break;
	case STORE_UNKNOWN:
		if (op->verb == STORE_EXTEND)
			mutex->prolonged = true;
		/* fall through */
	case STORE_REFUSED:
		mutex->upkeep_retry_us =
			mutex_now_us(mutex) + mutex_back_off_us(mutex, &mutex->upkeep_backoff_us);
		break;
	}
	mutex_settle_up(mutex);
}

/*
 * mutex_lose - the daemon can't vouch for the lock any more: tell its holder, look after what
 * stands in the store, and go on to whoever waits
 */
void mutex_lose(struct mutex *mutex, enum lost_reason reason)
{
	struct lock *lock = mutex->lock;
	const int64_t free_us = lock->lease.from_us + lock->lease.ttl_us;
	const bool reported = !lock->unreported;

	if (!lock->dead)
		mutex->table->stats.lost[reason]++;
	if (lock->acquirer && reported && !lock->dead && !CORE_FAULT(lost_not_told))
		lock->acquirer->class->lost(lock->acquirer, lock, reason);
	/* Its string proves nothing any more, though the key may stand for a moment yet. */
	strcpy(mutex->dead, lock->string);
	mutex->dead_us = lease_gone_us(&mutex->lease);
	mutex_end_lock(mutex);
	switch (reason) {
	case LOST_REPLACED:
	case LOST_BROKEN:
		mutex_drop_value(mutex, true);
		break;
	default:
		if (mutex_value_is_own(mutex) && lease_left_us(&mutex->lease, free_us) > 0) {
			/* The claim outlives its holder, who has the drift for letting go. */
			mutex->blocked_us = free_us;
			mutex->linger_us = 0;
			mutex_set_state(mutex, MUTEX_LINGERING);
			return;
		}
		/* A key that nobody prolonged expires by itself. */
		mutex_drop_value(mutex,
				 !mutex->upkeep_busy && !mutex->prolonged && !mutex->doubtful);
	}
	mutex_next(mutex);
}
