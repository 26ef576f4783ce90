/* SPDX-License-Identifier: MIT */
/*
 * What clients ask of a mutex, and the queue of those who wait for it, in the order of their
 * arrival. One that only tries stands in it as well, until an attempt that was written after it
 * came has been answered.
 */
#include "config.h"

#include <assert.h>
#include <string.h>

#include "core/mutex_private.h"
#include "util/alloc.h"

static bool is_try(const struct ask *ask)
{
	return ask->wait_us == 0;
}

/* Was an attempt answered that counts for this waiter: one written after it had come? */
static bool has_had_answer(const struct mutex *mutex, const struct ask *ask)
{
	return (int32_t)(mutex->answered_round - ask->round) >= 0;
}

/* The same, of one by which the store could tell whether it is locked. */
static bool has_been_told(const struct mutex *mutex, const struct ask *ask)
{
	return (int32_t)(mutex->told_round - ask->round) >= 0;
}

int64_t ask_ttl_ms(const struct mutex *mutex, const struct ask *ask)
{
	return ask->ttl_ms ? ask->ttl_ms : mutex->section->settings.ttl_ms;
}

void ask_answer_unavailable(struct mutex *mutex, struct ask *ask)
{
	if (mutex->trouble)
		ask_answer_text(ask, OUTCOME_UNAVAILABLE, "%s", mutex->trouble_text);
	else
		ask_answer_text(ask, OUTCOME_UNAVAILABLE, "%s: no answer in time",
				mutex->place->store->name);
}

/* ------------------------------------------------------------------ the queue */

/* A waiter that will not wait any longer, and for whom nobody has looked yet. */
static void become_try(struct mutex *mutex, struct ask *ask)
{
	ask->wait_us = 0;
	timer_set(&mutex->table->timers, &ask->timer,
		  mutex_now_us(mutex) + mutex->section->settings.command_timeout_ms * MS_US);
	if (mutex->state == MUTEX_ELSEWHERE && !mutex->patience_us)
		mutex_start_attempt(mutex);
}

/* The wait of a waiter is over, or the time that a try may take. */
static void waiter_timer_fired(struct timer *timer)
{
	struct ask *ask = container_of(timer, struct ask, timer);
	struct mutex *mutex = ask->mutex;

	if (mutex->trouble && !CORE_FAULT(trouble_called_locked)) {
		ask_answer_unavailable(mutex, ask);
	} else if (mutex->trouble || mutex->lock || mutex->state == MUTEX_LINGERING ||
		   mutex->state == MUTEX_STAYING_OUT ||
		   (mutex->state == MUTEX_HANDING_ON && TAILQ_FIRST(&mutex->waiters) != ask) ||
		   (is_try(ask) && mutex->stayed_out_us > ask->asked_us) ||
		   ((!is_try(ask) || mutex->n_contested > 0) && has_been_told(mutex, ask))) {
		/* It is, or was promised to, somebody else; or contenders were always quicker. */
		ask_answer(ask, OUTCOME_ALREADY_LOCKED);
	} else if (!is_try(ask)) {
		/* Its wait was shorter than the first answer takes: it is worth a try at least. */
		become_try(mutex, ask);
	} else {
		ask_answer_unavailable(mutex, ask);
	}
	mutex_settle_up(mutex);
}

static void enqueue(struct mutex *mutex, struct ask *ask)
{
	bool shares = mutex->state == MUTEX_ACQUIRING && mutex->op_busy &&
		      (!mutex->op.written || CORE_FAULT(try_lock_shared_late));
	int64_t wait_us = ask->wait_us;

	if (is_try(ask))
		wait_us = mutex->section->settings.command_timeout_ms * MS_US;
	if ((is_try(ask) && CORE_FAULT(timeout_not_answered)) ||
	    (!is_try(ask) && CORE_FAULT(wait_not_timed)))
		wait_us = CLOCK_NEVER;
	ask->round = mutex->round + !shares;
	ask->state = ASK_WAITING;
	if (CORE_FAULT(fifo_broken) && mutex->n_waiters > 1)
		TAILQ_INSERT_HEAD(&mutex->waiters, ask, entry);
	else
		TAILQ_INSERT_TAIL(&mutex->waiters, ask, entry);
	mutex->n_waiters++;
	timer_init(&ask->timer, waiter_timer_fired);
	timer_set(&mutex->table->timers, &ask->timer,
		  wait_us == CLOCK_NEVER ? CLOCK_NEVER : ask->asked_us + wait_us);
}

void mutex_restore_waiter(struct mutex *mutex, struct ask *ask, uint32_t round, int64_t due_us)
{
	ask->round = round;
	ask->state = ASK_WAITING;
	TAILQ_INSERT_TAIL(&mutex->waiters, ask, entry);
	mutex->n_waiters++;
	timer_set(&mutex->table->timers, &ask->timer, due_us);
}

void mutex_refuse_tries(struct mutex *mutex, enum outcome outcome)
{
	struct ask *ask, *next;

	for (ask = TAILQ_FIRST(&mutex->waiters); ask; ask = next) {
		next = TAILQ_NEXT(ask, entry);
		if (!is_try(ask) || !has_had_answer(mutex, ask))
			continue;
		if (outcome == OUTCOME_UNAVAILABLE)
			ask_answer_unavailable(mutex, ask);
		else
			ask_answer(ask, outcome);
	}
}

void mutex_refuse_all_tries(struct mutex *mutex)
{
	struct ask *ask, *next;

	for (ask = TAILQ_FIRST(&mutex->waiters); ask; ask = next) {
		next = TAILQ_NEXT(ask, entry);
		if (is_try(ask))
			ask_answer(ask, OUTCOME_ALREADY_LOCKED);
	}
}

void mutex_refuse_waiters(struct mutex *mutex, enum outcome outcome)
{
	struct ask *ask;

	while ((ask = TAILQ_FIRST(&mutex->waiters))) {
		if (outcome == OUTCOME_UNAVAILABLE)
			ask_answer_unavailable(mutex, ask);
		else
			ask_answer(ask, outcome);
	}
}

struct ask *mutex_first_waiter(struct mutex *mutex)
{
	struct ask *ask;

	while ((ask = TAILQ_FIRST(&mutex->waiters))) {
		if (!ask->owner->gone || CORE_FAULT(dead_waiter_granted))
			return ask;
		ask_answer(ask, OUTCOME_CANCELLED);
	}
	return NULL;
}

bool mutex_somebody_waits(const struct mutex *mutex)
{
	const struct ask *ask;

	TAILQ_FOREACH (ask, &mutex->waiters, entry)
		if (!is_try(ask))
			return true;
	return false;
}

bool mutex_somebody_tries(const struct mutex *mutex)
{
	const struct ask *ask;

	TAILQ_FOREACH (ask, &mutex->waiters, entry)
		if (is_try(ask))
			return true;
	return false;
}

/* ------------------------------------------------------------------ asking */

void ask_init(struct mutex *mutex, struct ask *ask, enum ask_kind kind)
{
	assert(ask->state == ASK_IDLE && ask->done);
	ask->kind = kind;
	ask->mutex = mutex;
	ask->state = ASK_WORKING;
	ask->asked_us = mutex_now_us(mutex);
	ask->lock = NULL;
	ask->holder = NULL;
	ask->text[0] = '\0';
	ask->ttl_left_ms = -1;
	timer_init(&ask->timer, waiter_timer_fired);
}

void mutex_acquire(struct mutex *mutex, struct ask *ask)
{
	const struct mutex_settings *settings = &mutex->section->settings;

	ask_init(mutex, ask, ASK_ACQUIRE);
	if (mutex->table->stopping) {
		ask_answer(ask, OUTCOME_SHUTTING_DOWN);
	} else if (mutex->leaving) {
		ask_answer(ask, OUTCOME_UNKNOWN_MUTEX);
	} else if (is_try(ask) && mutex_lock(mutex)) {
		/* Held here and valid: no need to ask anybody. */
		ask_answer(ask, OUTCOME_ALREADY_LOCKED);
	} else if (mutex->n_waiters >= settings->max_waiters) {
		ask_answer_text(ask, OUTCOME_LIMIT, "max_waiters: %u already wait for %s",
				mutex->n_waiters, mutex->name);
	} else {
		enqueue(mutex, ask);
		if (mutex->state == MUTEX_FREE)
			mutex_next(mutex);
		else if (mutex->state == MUTEX_LINGERING)
			mutex_use_lingering(mutex);
		else if (mutex->state == MUTEX_ELSEWHERE && is_try(ask) && !mutex->patience_us)
			mutex_start_attempt(mutex);
		else if (mutex->state == MUTEX_ELSEWHERE && watch_is_needed(mutex))
			watch_start(mutex);
	}
	mutex_settle_up(mutex);
}

void mutex_release(struct mutex *mutex, struct ask *ask)
{
	const struct mutex_settings *settings = &mutex->section->settings;

	ask_init(mutex, ask, ASK_RELEASE);
	if (mutex->lock && lock_string_equal(mutex->lock->string, ask->string)) {
		if (mutex_lock_left_us(mutex) == 0 && !mutex->lock->dead) {
			mutex_run_upkeep(mutex, mutex_now_us(mutex));
			ask_answer(ask, OUTCOME_UNLOCK_FAIL);
		} else {
			mutex_let_go(mutex, ask);
		}
	} else if (mutex_value_is_own(mutex) || strlen(ask->string) != LOCK_STRING_LEN ||
		   lock_string_equal(mutex->value, ask->string) ||
		   lock_string_equal(mutex->next, ask->string) ||
		   errand_knows_dead(mutex, ask->string)) {
		/* Proof to another daemon at most; or dead for its holder already. */
		ask_answer(ask, OUTCOME_UNLOCK_FAIL);
	} else if (mutex->n_errands >= settings->max_waiters) {
		ask_answer_text(ask, OUTCOME_LIMIT,
				"max_waiters: too many commands are open for %s", mutex->name);
	} else {
		/* How long it stands is not known, so it is tried until the store has answered. */
		struct errand *errand = errand_remove(mutex, ask->string, 0, CLOCK_NEVER, false,
						      mutex_journal_claim(mutex, ask->string));

		TAILQ_INSERT_TAIL(&errand->asks, ask, entry);
	}
	mutex_settle_up(mutex);
}

void mutex_extend(struct mutex *mutex, struct ask *ask)
{
	int64_t ttl_ms;

	ask_init(mutex, ask, ASK_EXTEND);
	if (!mutex_lock(mutex) || !lock_string_equal(mutex->lock->string, ask->string)) {
		ask_answer(ask, OUTCOME_UNLOCK_FAIL);
	} else {
		ttl_ms = ask->ttl_ms ? ask->ttl_ms : mutex->lock->lease.ttl_us / MS_US;
		errand_extend(mutex, ask, ttl_ms);
	}
	mutex_settle_up(mutex);
}

void mutex_exists(struct mutex *mutex, struct ask *ask)
{
	ask_init(mutex, ask, ASK_EXISTS);
	errand_look(mutex, ask);
	mutex_settle_up(mutex);
}

void mutex_look(struct mutex *mutex, struct ask *ask)
{
	ask_init(mutex, ask, ASK_LOOK);
	errand_look(mutex, ask);
	mutex_settle_up(mutex);
}

void mutex_break(struct mutex *mutex, struct ask *ask)
{
	ask_init(mutex, ask, ASK_BREAK);
	errand_break(mutex, ask);
	mutex_settle_up(mutex);
}

bool ask_cancel(struct ask *ask)
{
	struct mutex *mutex = ask->mutex;

	if (ask->state != ASK_WAITING)
		return false;
	ask_answer(ask, OUTCOME_CANCELLED);
	mutex_settle_up(mutex);
	return true;
}

void ask_hang_up(struct ask *ask)
{
	struct mutex *mutex = ask->mutex;
	const int64_t try_us = ask->asked_us + mutex->section->settings.command_timeout_ms * MS_US;

	if (ask->state != ASK_WAITING || is_try(ask))
		return;
	if (mutex->lock || has_had_answer(mutex, ask) || mutex_now_us(mutex) >= try_us) {
		ask_cancel(ask);
		return;
	}
	/* Nobody has looked for it yet. */
	become_try(mutex, ask);
	mutex_settle_up(mutex);
}
