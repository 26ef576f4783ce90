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

static int64_t renewal_due_us(const struct lease *lease)
{
	return align_us(lease->from_us + lease->ttl_us / 3, lease->ttl_us / 3);
}

/*
 * When what stands is to be made to stand longer. A holder that has less of it than it was given,
 * as by extensions that crossed, has no more time than his own.
 */
static int64_t extension_due_us(const struct mutex *mutex)
{
	const int64_t due_us = renewal_due_us(&mutex->lease);

	if (!wants_extension(mutex))
		return CLOCK_NEVER;
	if (mutex_value_is_own(mutex))
		return due_us;
	return min_us(due_us, renewal_due_us(&mutex->lock->lease));
}

static int64_t command_due_us(const struct mutex *mutex)
{
	const int64_t third_us = mutex->lease.ttl_us / 3;
	const int64_t check_us = min_us(min_us(third_us, mutex->lock->lease.ttl_us / 3), CHECK_US);

	if (mutex->lock->dead || CORE_FAULT(check_skipped))
		return CLOCK_NEVER;
	/* An extension does not wait for a comparison. */
	if (mutex->upkeep)
		return mutex->upkeep->op.verb == STORE_CHECK ? extension_due_us(mutex)
							     : CLOCK_NEVER;
	if (mutex->upkeep_retry_us != CLOCK_NEVER)
		return mutex->upkeep_retry_us;
	return min_us(align_us(mutex->confirmed_us + check_us, check_us), extension_due_us(mutex));
}

/*
 * When a holder is given more time inside a claim of the daemon's own, which is kept alive beside
 * that: his lease may be much the shorter.
 */
static int64_t inner_renewal_due_us(const struct mutex *mutex)
{
	const struct lock *lock = mutex->lock;

	if (!lock->renew || lock->dead || !mutex_value_is_own(mutex) ||
	    CORE_FAULT(renewal_forgotten))
		return CLOCK_NEVER;
	return lock->lease.from_us + lock->lease.ttl_us / 3;
}

static int64_t notice_due_us(const struct mutex *mutex)
{
	if (mutex->lock->expiring_told || mutex->lock->dead || mutex->lock->unreported)
		return CLOCK_NEVER;
	return end_us(mutex) -
	       lease_notice_us(&mutex->lock->lease) / (CORE_FAULT(expiring_told_late) ? 2 : 1);
}

int64_t mutex_upkeep_due_us(const struct mutex *mutex)
{
	int64_t due_us = min_us(command_due_us(mutex), notice_due_us(mutex));

	due_us = min_us(due_us, inner_renewal_due_us(mutex));
	return min_us(due_us, end_us(mutex));
}

static void upkeep_start(struct mutex *mutex, int64_t now_us)
{
	/* Never shorter than the claim: who gets that next counts on it, before this is answered.
	 */
	const int64_t ttl_us = max_us(mutex->lock->lease.ttl_us, mutex->lease.ttl_us);
	const bool extend = now_us >= extension_due_us(mutex);

	mutex->upkeep_retry_us = CLOCK_NEVER;
	if (extend)
		mutex->table->stats.renewals++;
	else
		mutex->table->stats.checks++;
	mutex->upkeep = errand_keep(mutex, extend ? STORE_EXTEND : STORE_CHECK, ttl_us / MS_US);
}

void mutex_check_now(struct mutex *mutex)
{
	if (mutex->state != MUTEX_HELD)
		return;
	/* What is on its way may have been answered before whatever there is to look for. */
	mutex->upkeep = NULL;
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
	if (now_us >= inner_renewal_due_us(mutex)) {
		const struct lease lease = lease_make(now_us, lock->lease.ttl_us);

		mutex_set_holder_lease(mutex, &lease);
	}
	if (now_us >= notice_due_us(mutex)) {
		lock->expiring_told = true;
		if (lock->acquirer && !CORE_FAULT(expiring_not_told))
			lock->acquirer->class->expiring(lock->acquirer, lock,
							(end_us(mutex) - now_us) / MS_US);
	}
	if (now_us >= command_due_us(mutex))
		upkeep_start(mutex, now_us);
}

void mutex_set_holder_lease(struct mutex *mutex, const struct lease *lease)
{
	const int64_t old_end_us = end_us(mutex);

	mutex->lock->lease = *lease;
	if (end_us(mutex) > old_end_us)
		mutex->lock->expiring_told = false;
	mutex_journal_lock(mutex);
}

static void confirmed(struct mutex *mutex, int64_t sent_us)
{
	mutex->confirmed_us = max_us(mutex->confirmed_us, sent_us);
}

static void cap_by(struct mutex *mutex, int64_t sent_us, int64_t ttl_ms)
{
	const struct lease lease = lease_make(sent_us, ttl_ms * MS_US);

	if (lease.end_us >= mutex->lease.end_us || CORE_FAULT(shorter_extension_forgotten))
		return;
	mutex->lease = lease;
	mutex->prolonged = true;
}

bool mutex_may_outlast_lease(const struct mutex *mutex)
{
	const struct errand *errand;

	if (mutex->prolonged)
		return true;
	TAILQ_FOREACH (errand, &mutex->errands, entry)
		if (errand_is_extension(errand))
			return true;
	return false;
}

/*
 * Extensions that are still open were sent after the one that has just been answered, so they
 * are carried out after it, and one for a shorter time makes the key expire sooner.
 */
static void cap_by_pending(struct mutex *mutex)
{
	const struct errand *errand;

	TAILQ_FOREACH (errand, &mutex->errands, entry)
		if (errand_is_extension(errand))
			cap_by(mutex, errand->sent_us, errand->op.ttl_ms);
}

static void prolonged(struct mutex *mutex, const struct errand *errand, int64_t holder_ttl_us)
{
	const int64_t sent_us = errand->sent_us;
	const struct lease old = mutex->lease;
	struct lock *lock = mutex->lock;
	const int64_t old_end_us = end_us(mutex);

	confirmed(mutex, sent_us);
	if (sent_us < mutex->lease.from_us)
		return;
	mutex->prolonged = false;
	mutex->lease = lease_answered(sent_us, mutex_now_us(mutex), errand->op.ttl_ms * MS_US);
	cap_by_pending(mutex);
	if (mutex->stray_ttl_ms)
		cap_by(mutex, sent_us, mutex->stray_ttl_ms);
	if (errand->op.cut_ms)
		cap_by(mutex, sent_us, errand->op.cut_ms);
	/* What was promised before still holds. */
	if (mutex->lease.end_us < old.end_us)
		mutex->lease = old;
	if (holder_ttl_us) {
		/* Inside a claim he may have been given more since this was sent. */
		const struct lease lease = lease_make(sent_us, holder_ttl_us);

		if (!mutex_value_is_own(mutex) || lease.end_us > lock->lease.end_us)
			lock->lease = lease;
		/* He is told what is certain, and that is all there is if it is not renewed. */
		if (!mutex_value_is_own(mutex))
			lock->lease.end_us = min_us(lock->lease.end_us, mutex->lease.end_us);
	}
	if (end_us(mutex) != old_end_us)
		lock->expiring_told = false;
	mutex_journal_lock(mutex);
}

void mutex_note_extension(struct mutex *mutex, const struct errand *errand, int64_t holder_ttl_us)
{
	const struct store_op *op = &errand->op;

	if (op->status == STORE_UNKNOWN)
		mutex_note_stray(mutex, op->ttl_ms);
	if (op->status == STORE_UNKNOWN || (op->status == STORE_OK && !mutex->lock))
		mutex->prolonged = true;
	else if (op->status == STORE_OK)
		prolonged(mutex, errand, holder_ttl_us);
}

void mutex_upkeep_done(struct errand *errand)
{
	struct mutex *mutex = errand->mutex;
	const struct store_op *op = &errand->op;
	const struct lock *lock = mutex->lock;

	if (mutex->upkeep == errand)
		mutex->upkeep = NULL;
	if (!errand_is_about_value(errand))
		return;
	if (CORE_FAULT(renewal_counted_twice))
		errand->sent_us = mutex_now_us(mutex);
	if (op->verb == STORE_EXTEND)
		mutex_note_extension(mutex, errand, lock && lock->renew ? lock->lease.ttl_us : 0);
	if (!lock)
		return;
	switch (op->status) {
	case STORE_OK:
		mutex->upkeep_backoff_us = 0;
		confirmed(mutex, errand->sent_us);
		if (op->contenders > 0 && mutex->section->settings.linger_ms == 0)
			mutex_note_contender(mutex);
		break;
	case STORE_HELD:
	case STORE_GONE:
		mutex_lose(mutex, LOST_REPLACED);
		break;
	case STORE_REFUSED:
	case STORE_UNKNOWN:
		mutex->upkeep_retry_us =
			mutex_now_us(mutex) + mutex_back_off_us(mutex, &mutex->upkeep_backoff_us);
		break;
	}
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

	if (!mutex_value_is_own(mutex) && lease_left_us(&mutex->lease, free_us) > 0 &&
	    (reason == LOST_EXPIRED || reason == LOST_UNAVAILABLE)) {
		/* It stands for longer than its holder had it: that is not waited for. */
		mutex->lease = lock->lease;
		mutex->prolonged = true;
	}
	if (!lock->dead)
		mutex->table->stats.lost[reason]++;
	if (lock->acquirer && reported && !lock->dead && !CORE_FAULT(lost_not_told))
		lock->acquirer->class->lost(lock->acquirer, lock, reason);
	mutex_end_lock(mutex);
	switch (reason) {
	case LOST_REPLACED:
		mutex_drop_value(mutex, true);
		break;
	case LOST_BROKEN:
		mutex_remove_value(mutex);
		break;
	default:
		if (mutex_value_is_own(mutex) && lease_left_us(&mutex->lease, free_us) > 0) {
			/* The claim outlives its holder, who has the drift for letting go. */
			mutex->blocked_us = free_us;
			mutex->linger_us = 0;
			mutex_set_state(mutex, MUTEX_LINGERING);
			return;
		}
		if (!mutex_value_is_own(mutex))
			errand_note_dead(mutex, mutex->value, lease_gone_us(&mutex->lease));
		/* A key that nobody prolonged expires by itself. */
		mutex_drop_value(mutex, (!mutex_may_outlast_lease(mutex) && !mutex->doubtful) ||
						CORE_FAULT(prolonged_key_left));
	}
	mutex_next(mutex);
}
