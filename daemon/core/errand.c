/* SPDX-License-Identifier: MIT */
/*
 * Commands that go beside the one that changes the holder: looks, upkeep, extensions, breaks, and
 * strings that must not stand in the store. An errand outlives the asks that wait for it, and its
 * mutex stays for as long as it has any.
 */
#include "config.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "core/mutex_private.h"
#include "util/alloc.h"

static void errand_op_done(struct store_op *op);
static void errand_timer_fired(struct timer *timer);
static void look_is_over(struct errand *errand);

static struct errand *errand_new(struct mutex *mutex, enum errand_kind kind, enum store_verb verb)
{
	struct errand *errand = xcalloc(1, sizeof(*errand));

	errand->kind = kind;
	errand->mutex = mutex;
	errand->place = place_ref(mutex->place);
	errand->op.verb = verb;
	errand->op.key = &errand->place->key;
	errand->op.unannounced = !mutex->section->settings.announce;
	errand->op.done = errand_op_done;
	TAILQ_INIT(&errand->asks);
	timer_init(&errand->timer, errand_timer_fired);
	TAILQ_INSERT_TAIL(&mutex->errands, errand, entry);
	mutex->n_errands += kind != ERRAND_KEEP;
	return errand;
}

void errand_free(struct errand *errand)
{
	struct mutex *mutex = errand->mutex;

	assert(!errand->busy && TAILQ_EMPTY(&errand->asks));
	if (mutex->look == errand)
		mutex->look = NULL;
	if (mutex->upkeep == errand)
		mutex->upkeep = NULL;
	timer_stop(&mutex->table->timers, &errand->timer);
	TAILQ_REMOVE(&mutex->errands, errand, entry);
	mutex->n_errands -= errand->kind != ERRAND_KEEP;
	if (errand->slot && !mutex->table->abandoned)
		mutex->table->env.journal->class->drop(mutex->table->env.journal, errand->slot);
	place_unref(errand->place);
	free(errand);
}

static void errand_submit(struct errand *errand)
{
	errand->busy = true;
	errand->sent_us = mutex_now_us(errand->mutex);
	store_submit(errand->place->store, &errand->op);
}

static void errand_submit_at(struct errand *errand, int64_t when_us)
{
	if (when_us <= mutex_now_us(errand->mutex))
		errand_submit(errand);
	else
		timer_set(&errand->mutex->table->timers, &errand->timer, when_us);
}

static void errand_timer_fired(struct timer *timer)
{
	struct errand *errand = container_of(timer, struct errand, timer);

	if (errand->busy) {
		look_is_over(errand);
		return;
	}
	if (errand->kind == ERRAND_DEAD) {
		struct mutex *mutex = errand->mutex;

		errand_free(errand);
		mutex_settle_up(mutex);
		return;
	}
	errand_submit(errand);
	if (errand->patience_us)
		timer_set(&errand->mutex->table->timers, timer, errand->patience_us);
}

void errand_retry_now(struct errand *errand)
{
	if (!errand->busy && errand->backoff_us)
		timer_set(&errand->mutex->table->timers, &errand->timer,
			  mutex_now_us(errand->mutex));
}

/* Answers all asks that wait for it. */
static void answer_all(struct errand *errand, enum outcome outcome)
{
	struct ask *ask;

	while ((ask = TAILQ_FIRST(&errand->asks))) {
		TAILQ_REMOVE(&errand->asks, ask, entry);
		if (outcome == OUTCOME_UNAVAILABLE)
			ask_answer_text(ask, outcome, "%s",
					errand->op.text ? errand->op.text
							: errand->place->store->name);
		else
			ask_answer(ask, outcome);
	}
}

static bool is_answered(const struct store_op *op)
{
	return op->status != STORE_REFUSED && op->status != STORE_UNKNOWN;
}

/* Is its key the mutex's at present, whose place may be a new one since, at the same key? */
static bool is_at_home(const struct errand *errand)
{
	const struct place *place = errand->place;

	return place == errand->mutex->place ||
	       mutex_is_at(errand->mutex, place->store, place->key.key);
}

/* ------------------------------------------------------------------ removals */

static struct errand *removal_new(struct mutex *mutex, const char *string, int64_t until_us,
				  bool doubtful, uint32_t slot)
{
	struct errand *errand = errand_new(mutex, ERRAND_REMOVE, STORE_RELEASE);

	strcpy(errand->op.value, string);
	errand->op.ttl_ms = mutex->ttl_ms ? mutex->ttl_ms : mutex->section->settings.ttl_ms;
	errand->until_us = until_us;
	errand->doubt_us = doubtful ? mutex_now_us(mutex) + DOUBT_US : 0;
	errand->slot = slot;
	return errand;
}

struct errand *errand_remove(struct mutex *mutex, const char *string, int64_t not_before_us,
			     int64_t until_us, bool doubtful, uint32_t slot)
{
	struct errand *errand = removal_new(mutex, string, until_us, doubtful, slot);

	errand_submit_at(errand, not_before_us);
	return errand;
}

void errand_remove_inherited(struct mutex *mutex, const struct claim *claim, int64_t not_before_us)
{
	struct errand *errand =
		removal_new(mutex, claim->value, CLOCK_NEVER, claim->doubtful, claim->slot);

	errand->inherited = true;
	errand_submit_at(errand, not_before_us);
}

static void remove_done(struct errand *errand)
{
	struct mutex *mutex = errand->mutex;
	const int64_t now_us = mutex_now_us(mutex);

	if (is_answered(&errand->op)) {
		/* If an earlier send was lost, that one may have done it. */
		answer_all(errand, errand->op.status == STORE_OK || errand->repeated
					   ? OUTCOME_OK
					   : OUTCOME_UNLOCK_FAIL);
		errand->answered = true;
		if (errand->op.left && !errand->doubt_us)
			errand->doubt_us = now_us + DOUBT_US;
		/* What we publish ourselves is not told to us. */
		if (errand->op.status == STORE_OK && is_at_home(errand))
			mutex_note_free(mutex);
		if ((errand->op.settled && !errand->inherited &&
		     table_trusts_settled(mutex->table)) ||
		    now_us >= errand->doubt_us) {
			errand_free(errand);
			return;
		}
		/* It does not stand now, but a command may be alive that puts it there. */
		timer_set(&mutex->table->timers, &errand->timer, now_us + SECOND_US);
		return;
	}
	errand->repeated |= errand->op.status == STORE_UNKNOWN;
	answer_all(errand, OUTCOME_UNAVAILABLE);
	if (now_us >= errand->until_us && !errand->doubt_us) {
		errand_free(errand);
		return;
	}
	timer_set(&mutex->table->timers, &errand->timer,
		  now_us + mutex_back_off_us(mutex, &errand->backoff_us));
}

/* ------------------------------------------------------------------ dead strings */

void errand_note_dead(struct mutex *mutex, const char *string, int64_t until_us)
{
	struct errand *errand = errand_new(mutex, ERRAND_DEAD, STORE_RELEASE);

	strcpy(errand->op.value, string);
	errand->until_us = until_us;
	timer_set(&mutex->table->timers, &errand->timer, until_us);
}

bool errand_knows_dead(const struct mutex *mutex, const char *string)
{
	const struct errand *errand;

	TAILQ_FOREACH (errand, &mutex->errands, entry) {
		if ((errand->kind == ERRAND_DEAD ||
		     (errand->kind == ERRAND_REMOVE && TAILQ_EMPTY(&errand->asks))) &&
		    lock_string_equal(errand->op.value, string))
			return true;
	}
	return false;
}

/* ------------------------------------------------------------------ restoring */

void errand_restore(struct mutex *mutex, const char *string, int64_t ttl_ms)
{
	struct errand *errand = errand_new(mutex, ERRAND_RESTORE, STORE_ACQUIRE);

	strcpy(errand->op.value, string);
	errand->op.ttl_ms = ttl_ms;
	errand_submit(errand);
}

/* ------------------------------------------------------------------ looks */

void errand_look(struct mutex *mutex, struct ask *ask)
{
	struct errand *errand = mutex->look;

	if (mutex_lock(mutex) || mutex->state == MUTEX_LINGERING) {
		ask->locked = mutex_lock(mutex) != NULL;
		ask->ttl_left_ms = mutex_lock_left_us(mutex) / MS_US;
		ask_answer(ask, OUTCOME_OK);
		return;
	}
	/* One answer serves all who came before its command was written. */
	if (!errand || errand->op.written || !errand->busy || errand->patience_us) {
		errand = errand_new(mutex, ERRAND_LOOK, STORE_LOOK);
		errand->op.want = mutex->section->settings.linger_ms > 0;
		mutex->look = errand;
		errand_submit(errand);
	}
	TAILQ_INSERT_TAIL(&errand->asks, ask, entry);
}

static void answer_look(struct errand *errand, bool locked, int64_t pttl_ms)
{
	struct ask *ask;

	TAILQ_FOREACH (ask, &errand->asks, entry) {
		ask->locked = locked;
		ask->ttl_left_ms = locked ? pttl_ms : -1;
	}
	answer_all(errand, OUTCOME_OK);
}

static void look_done(struct errand *errand)
{
	struct mutex *mutex = errand->mutex;
	const struct store_op *op = &errand->op;
	const int64_t now_us = mutex_now_us(mutex);
	struct ask *ask;

	if (TAILQ_EMPTY(&errand->asks)) {
		/* Its time was over before this answer came. */
		errand_free(errand);
		return;
	}
	if (op->status == STORE_HELD && op->want && op->receivers != 0 &&
	    (!errand->patience_us || now_us < errand->patience_us)) {
		/* Somebody may only linger on it, and was asked to let go. */
		if (!errand->patience_us)
			errand->patience_us = now_us + PATIENCE_US;
		errand->pttl_ms = op->pttl_ms;
		timer_set(&mutex->table->timers, &errand->timer,
			  min_us(now_us + PATIENCE_US / 4, errand->patience_us));
		return;
	}
	if (is_answered(op)) {
		if (op->status == STORE_HELD && op->holder) {
			TAILQ_FOREACH (ask, &errand->asks, entry)
				if (ask->kind == ASK_LOOK)
					ask->holder = strdup(op->holder); /* NULL: not known */
		}
		answer_look(errand, op->status == STORE_HELD, op->pttl_ms);
	} else {
		answer_all(errand, OUTCOME_UNAVAILABLE);
	}
	errand_free(errand);
}

/* Nobody let go of it in time, and that is known whatever the store answers, and when. */
static void look_is_over(struct errand *errand)
{
	answer_look(errand, true, errand->pttl_ms);
}

/* ------------------------------------------------------------------ upkeep and extensions */

bool errand_is_about_value(const struct errand *errand)
{
	return is_at_home(errand) && lock_string_equal(errand->op.value, errand->mutex->value);
}

bool errand_is_extension(const struct errand *errand)
{
	return errand->op.verb == STORE_EXTEND && errand->busy && errand_is_about_value(errand);
}

struct errand *errand_keep(struct mutex *mutex, enum store_verb verb, int64_t ttl_ms)
{
	struct errand *errand = errand_new(mutex, ERRAND_KEEP, verb);

	errand->op.ttl_ms = ttl_ms;
	strcpy(errand->op.value, mutex->value);
	errand_submit(errand);
	return errand;
}

void errand_extend(struct mutex *mutex, struct ask *ask, int64_t ttl_ms)
{
	const int64_t now_us = mutex_now_us(mutex);
	const struct lease lease = lease_make(now_us, ttl_ms * MS_US);
	struct errand *errand;

	if (mutex_value_is_own(mutex) && mutex->lease.end_us >= lease.end_us) {
		mutex_set_holder_lease(mutex, &lease);
		mutex->lock->expiring_told = false;
		ask->ttl_left_ms = mutex_lock_left_us(mutex) / MS_US;
		ask_answer(ask, OUTCOME_OK);
		return;
	}
	if (lease.end_us < mutex->lease.end_us) {
		/* Shorter: that may be true from now on, whenever the answer comes. */
		mutex->lease = lease;
		mutex->lock->lease = lease;
		mutex->lock->expiring_told = false;
		mutex->prolonged = true;
		mutex_journal_lock(mutex);
	}
	errand = errand_new(mutex, ERRAND_EXTEND, STORE_EXTEND);
	errand->op.ttl_ms = ttl_ms;
	strcpy(errand->op.value, mutex->value);
	TAILQ_INSERT_TAIL(&errand->asks, ask, entry);
	errand_submit(errand);
}

static void extend_done(struct errand *errand)
{
	struct mutex *mutex = errand->mutex;
	const struct store_op *op = &errand->op;
	struct ask *ask = TAILQ_FIRST(&errand->asks);
	/* The lock may have ended meanwhile, and what stands have been given to another holder. */
	const bool held = mutex->lock && lock_string_equal(mutex->lock->string, ask->string);

	if (errand_is_about_value(errand))
		mutex_note_extension(mutex, errand, held ? op->ttl_ms * MS_US : 0);
	if (!held) {
		answer_all(errand, OUTCOME_UNLOCK_FAIL);
	} else if (op->status == STORE_OK) {
		ask->ttl_left_ms = mutex_lock_left_us(mutex) / MS_US;
		answer_all(errand, OUTCOME_OK);
	} else if (is_answered(op)) {
		answer_all(errand, OUTCOME_UNLOCK_FAIL);
		mutex_lose(mutex, LOST_REPLACED);
	} else {
		answer_all(errand, OUTCOME_UNAVAILABLE);
	}
	errand_free(errand);
}

/* ------------------------------------------------------------------ breaks */

void errand_break(struct mutex *mutex, struct ask *ask)
{
	struct errand *errand = errand_new(mutex, ERRAND_BREAK, STORE_BREAK);

	TAILQ_INSERT_TAIL(&errand->asks, ask, entry);
	errand_submit(errand);
}

static void break_done(struct errand *errand)
{
	struct mutex *mutex = errand->mutex;
	const bool same_place = is_at_home(errand);

	if (!is_answered(&errand->op)) {
		answer_all(errand, OUTCOME_UNAVAILABLE);
	} else {
		answer_all(errand,
			   errand->op.status == STORE_OK ? OUTCOME_OK : OUTCOME_UNLOCK_FAIL);
		/*
		 * What is held now was granted by an answer that came before this one, so its
		 * command was carried out before this one too: it is what was broken.
		 */
		if (same_place && mutex->state == MUTEX_HELD && errand->op.status == STORE_GONE) {
			/* Nothing was broken, but of several servers some may have had it: look. */
			mutex_check_now(mutex);
		} else if (same_place && mutex->state == MUTEX_HELD) {
			if (!CORE_FAULT(break_not_told))
				mutex_lose(mutex, LOST_BROKEN);
		} else if (same_place && mutex->state == MUTEX_LINGERING) {
			mutex_remove_value(mutex);
			mutex_next(mutex);
		} else if (same_place) {
			mutex_note_free(mutex);
		}
	}
	errand_free(errand);
}

static void errand_op_done(struct store_op *op)
{
	struct errand *errand = container_of(op, struct errand, op);
	struct mutex *mutex = errand->mutex;

	errand->busy = false;
	if (mutex->table->abandoned)
		return;
	if (is_at_home(errand))
		mutex_note_settled(mutex, op, errand->sent_us);
	switch (errand->kind) {
	case ERRAND_DEAD:
		assert(!"it has no command");
		break;
	case ERRAND_REMOVE:
		remove_done(errand);
		break;
	case ERRAND_RESTORE:
		/* If that failed, the first comparison of the lock says so. */
		errand_free(errand);
		break;
	case ERRAND_LOOK:
		look_done(errand);
		break;
	case ERRAND_KEEP:
		mutex_upkeep_done(errand);
		errand_free(errand);
		break;
	case ERRAND_EXTEND:
		extend_done(errand);
		break;
	case ERRAND_BREAK:
		break_done(errand);
		break;
	}
	mutex_settle_up(mutex);
}
