/* SPDX-License-Identifier: MIT */
/*
 * Who holds a mutex and who is next. See mutex.h for the states.
 *
 * An attempt is made for the mutex, not for a waiter: whoever is first in the queue when the
 * store's answer comes gets the lock, so that a waiter that left meanwhile costs nobody anything.
 * At most one command that changes the holder is open at any time, and the string that it sets
 * stays the same until the store has said what became of it.
 */
#include "config.h"

#include "core/mutex.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/mutex_private.h"
#include "util/alloc.h"

/* How long another daemon that said it waits is believed to go on waiting. */
#define CONTENDER_US (3 * SECOND_US)
/* How long a daemon that had its share stays out at most. */
#define STAY_OUT_US (100 * MS_US)
/* Passes that nobody is known to wait for count a tenth: others may wait by polling. */
#define BLIND_FACTOR 10
/* Look-ups of a foreign lock: once in this time at most, unless its own time is up before. */
#define LOOK_US SECOND_US
#define LOOK_MIN_US (10 * MS_US)
/* How long a watch is kept that nobody needs at the moment. */
#define UNWATCH_US SECOND_US
/* When contenders got into each other's way: how often, and how far apart, to try at once. */
#define CONTESTED_TRIES 5
#define CONTESTED_US (40 * MS_US)
/* Who is about to ask does so in the same turn of the loop; turns are shorter. */
#define AWAIT_US MS_US
#define BACK_OFF_MIN_US (20 * MS_US)
#define BACK_OFF_MAX_US SECOND_US

static void start_replace(struct mutex *mutex);
static bool grant_next(struct mutex *mutex);
static void move_to_next_place(struct mutex *mutex);
static void wait_elsewhere(struct mutex *mutex, int64_t look_us);

static const char *const state_words[N_MUTEX_STATES] = {
	[MUTEX_FREE] = "free",		 [MUTEX_ACQUIRING] = "acquiring",
	[MUTEX_HELD] = "held",		 [MUTEX_HANDING_ON] = "handing_on",
	[MUTEX_RELEASING] = "releasing", [MUTEX_LINGERING] = "lingering",
	[MUTEX_ELSEWHERE] = "elsewhere", [MUTEX_STAYING_OUT] = "staying_out",
	[MUTEX_SETTLING] = "settling",
};

const char *mutex_state_word(enum mutex_state state)
{
	return state_words[state];
}

const char *mutex_name(const struct mutex *mutex)
{
	return mutex->name;
}

const struct section *mutex_section(const struct mutex *mutex)
{
	return mutex->section;
}

enum mutex_state mutex_state(const struct mutex *mutex)
{
	return mutex->state;
}

unsigned mutex_n_waiters(const struct mutex *mutex)
{
	return mutex->n_waiters;
}

struct store *mutex_store(const struct mutex *mutex)
{
	return mutex->place->store;
}

const struct store_key *mutex_key(const struct mutex *mutex)
{
	return &mutex->place->key;
}

int64_t mutex_now_us(const struct mutex *mutex)
{
	return clock_now_us(mutex->table->env.clock);
}

struct claim mutex_claim(const struct mutex *mutex)
{
	return (struct claim){
		.value = mutex->value,
		.lease = mutex->lease,
		.doubtful = mutex->doubtful,
		.slot = mutex->value_slot,
	};
}

int64_t mutex_lock_left_us(const struct mutex *mutex)
{
	int64_t now_us = mutex_now_us(mutex);

	if (!mutex->lock)
		return 0;
	return min_us(lease_left_us(&mutex->lock->lease, now_us),
		      lease_left_us(&mutex->lease, now_us));
}

const struct lock *mutex_lock(const struct mutex *mutex)
{
	if (!mutex->lock || mutex->lock->dead || mutex_lock_left_us(mutex) == 0)
		return NULL;
	return mutex->lock;
}

bool mutex_value_is_own(const struct mutex *mutex)
{
	const struct mutex_settings *settings = &mutex->section->settings;

	return settings->handoff == HANDOFF_LOCAL || settings->linger_ms > 0;
}

/* A random time of up to range_us, so that daemons do not march in step. */
int64_t mutex_jitter_us(struct mutex *mutex, int64_t range_us)
{
	uint32_t random;

	mutex->table->env.entropy->fill(mutex->table->env.entropy, &random, sizeof(random));
	return (int64_t)((uint64_t)range_us * random >> 32);
}

/* How long to wait before the next try of something that failed: twice as long each time. */
int64_t mutex_back_off_us(struct mutex *mutex, int64_t *backoff_us)
{
	int64_t wait_us = *backoff_us ? *backoff_us : BACK_OFF_MIN_US;

	*backoff_us = min_us(2 * wait_us, BACK_OFF_MAX_US);
	return wait_us / 2 + mutex_jitter_us(mutex, wait_us / 2 + 1);
}

void mutex_set_state(struct mutex *mutex, enum mutex_state state)
{
	enum mutex_state from = mutex->state;

	if (state == from)
		return;
	mutex->state = state;
	if (mutex->table->env.trace)
		mutex->table->env.trace(mutex, from, state);
}

/* ------------------------------------------------------------------ trouble */

static void note_trouble(struct mutex *mutex, const struct store_op *op)
{
	mutex->trouble = true;
	mutex->trouble_lasting = op->status == STORE_REFUSED && op->lasting;
	snprintf(mutex->trouble_text, sizeof(mutex->trouble_text), "%s",
		 op->text ? op->text : mutex->place->store->name);
}

static void note_answer(struct mutex *mutex)
{
	if (mutex->settling)
		mutex->table->stats.settled++;
	mutex->settling = false;
	mutex->trouble = mutex->trouble_lasting = false;
	mutex->backoff_us = 0;
}

/* ------------------------------------------------------------------ what stands in the store */

static void forget_value(struct mutex *mutex)
{
	mutex->value_slot = 0;
	mutex->value[0] = '\0';
	mutex->doubtful = mutex->prolonged = false;
	mutex->stray_ttl_ms = 0;
	mutex->settling = false;
	mutex->upkeep = NULL;
}

/* When what stands has surely gone by itself, if nobody removes it. */
static int64_t removal_ends_us(const struct mutex *mutex)
{
	return mutex_may_outlast_lease(mutex) ? CLOCK_NEVER
					      : lease_gone_us(&mutex->lease) + SECOND_US;
}

void mutex_remove_value(struct mutex *mutex)
{
	errand_remove(mutex, mutex->value, 0, removal_ends_us(mutex), mutex->doubtful,
		      mutex->value_slot);
	forget_value(mutex);
}

void mutex_drop_value(struct mutex *mutex, bool gone)
{
	struct table *table = mutex->table;

	if (!*mutex->value)
		return;
	if (CORE_FAULT(stray_not_removed)) {
		mutex->value_slot = 0;
	} else if (!gone) {
		/* Not before its lease is over for the slowest: its last holder may need the rest.
		 */
		errand_remove(mutex, mutex->value, lease_gone_us(&mutex->lease),
			      removal_ends_us(mutex), mutex->doubtful, mutex->value_slot);
	} else if (mutex->doubtful) {
		errand_remove(mutex, mutex->value, mutex_now_us(mutex) + SECOND_US, CLOCK_NEVER,
			      true, mutex->value_slot);
	} else if (mutex->value_slot) {
		table->env.journal->class->drop(table->env.journal, mutex->value_slot);
	}
	forget_value(mutex);
}

/* A fence of the store's as clients see it. */
static int64_t client_fence(const struct mutex *mutex)
{
	if (!mutex->section->settings.fence)
		return 0;
	return mutex->fence * FENCE_STEP +
	       (CORE_FAULT(local_fence_repeated) ? 0 : mutex->passes_in_lease);
}

uint32_t mutex_journal_claim(struct mutex *mutex, const char *value)
{
	struct journal *journal = mutex->table->env.journal;

	return journal ? journal->class->claim(journal, mutex, value) : 0;
}

static void journal_drop(struct mutex *mutex, uint32_t *slot)
{
	if (*slot)
		mutex->table->env.journal->class->drop(mutex->table->env.journal, *slot);
	*slot = 0;
}

void mutex_journal_lock(struct mutex *mutex)
{
	struct journal *journal = mutex->table->env.journal;

	if (mutex->value_slot)
		journal->class->grant(journal, mutex->value_slot, mutex->lock);
}

void mutex_note_contender(struct mutex *mutex)
{
	mutex->contender_us = mutex_now_us(mutex) + CONTENDER_US;
}

/* Does no other daemon wait for it, as far as we have heard? */
static bool is_uncontended(const struct mutex *mutex)
{
	return !mutex->contender_us || mutex_now_us(mutex) >= mutex->contender_us;
}

/* Is it, so soon after a release, another daemon's turn? */
static bool has_to_stay_out(const struct mutex *mutex)
{
	return mutex->stay_out_us && mutex_now_us(mutex) < mutex->stay_out_us;
}

/* Did others have to wait long enough? Counts local grants in a row. */
static bool limit_is_reached(const struct mutex *mutex)
{
	uint64_t limit = mutex->section->settings.handoff_limit;

	if (CORE_FAULT(handoff_limit_ignored))
		return false;
	if (is_uncontended(mutex))
		limit *= BLIND_FACTOR;
	return mutex->passes_in_row > limit;
}

/* ------------------------------------------------------------------ watching the channel */

static void watch_ready(struct store_watch *watch)
{
	struct mutex *mutex = container_of(watch, struct mutex, watch);

	/* A message may have come before we listened: look once more. */
	if (mutex->state == MUTEX_ELSEWHERE && !CORE_FAULT(woken_before_subscribed))
		mutex_start_attempt(mutex);
	else if (mutex->state == MUTEX_ACQUIRING)
		mutex->again = true;
	else if (mutex->state == MUTEX_HELD && mutex->n_waiters > 0)
		mutex_check_now(mutex);
	mutex_settle_up(mutex);
}

/* Somebody else's lock has been released, as far as we heard. */
void mutex_note_free(struct mutex *mutex)
{
	if (mutex->state == MUTEX_ELSEWHERE) {
		mutex_start_attempt(mutex);
	} else if (mutex->state == MUTEX_STAYING_OUT) {
		/* Another had it and is done with it. */
		mutex->stay_out_us = 0;
		mutex_start_attempt(mutex);
	} else if (mutex->state == MUTEX_ACQUIRING) {
		mutex->again = true;
	}
}

static void watch_message(struct store_watch *watch, enum store_message message)
{
	struct mutex *mutex = container_of(watch, struct mutex, watch);

	if (message == STORE_MESSAGE_WANT) {
		mutex_note_contender(mutex);
		if (mutex->state == MUTEX_LINGERING && mutex_now_us(mutex) >= mutex->blocked_us &&
		    !CORE_FAULT(linger_not_given_up))
			mutex_start_release(mutex, NULL);
	} else {
		/*
		 * Whoever released it has perhaps others who wait, and a pass inside the daemon
		 * does not ask the store who listens. (One that lingered on it has nobody.)
		 */
		if (mutex->section->settings.handoff == HANDOFF_LOCAL &&
		    mutex->section->settings.linger_ms == 0)
			mutex_note_contender(mutex);
		/* Who knows its string released it elsewhere, or broke it. Or it is old news. */
		if (mutex->state == MUTEX_HELD)
			mutex_check_now(mutex);
		mutex_note_free(mutex);
	}
	mutex_settle_up(mutex);
}

void watch_start(struct mutex *mutex)
{
	if (mutex->watching)
		return;
	mutex->watch = (struct store_watch){
		.key = &mutex->place->key,
		.ready = watch_ready,
		.message = watch_message,
	};
	mutex->watching = true;
	store_watch(mutex->place->store, &mutex->watch);
}

void watch_stop(struct mutex *mutex)
{
	if (!mutex->watching)
		return;
	mutex->watching = false;
	store_unwatch(mutex->place->store, &mutex->watch);
}

bool watch_is_needed(const struct mutex *mutex)
{
	const struct mutex_settings *settings = &mutex->section->settings;

	if (mutex->table->stopping)
		return false;
	switch (mutex->state) {
	case MUTEX_ELSEWHERE:
	case MUTEX_STAYING_OUT:
		return mutex_somebody_waits(mutex);
	case MUTEX_HELD:
	case MUTEX_LINGERING:
		/* To hear who wants it, and for those who wait if another daemon lets go of it. */
		return settings->linger_ms > 0 || mutex->n_waiters > 0 ||
		       (settings->handoff == HANDOFF_LOCAL && mutex->passes_in_lease > 0);
	default:
		return mutex->watching && mutex->n_waiters > 0;
	}
}

/* ------------------------------------------------------------------ the main command */

static void op_done(struct store_op *op);

static void op_submit(struct mutex *mutex)
{
	assert(!mutex->op_busy);
	mutex->op_busy = true;
	mutex->retry_us = CLOCK_NEVER;
	mutex->sent_us = mutex_now_us(mutex);
	mutex->op.key = &mutex->place->key;
	mutex->op.done = op_done;
	store_submit(mutex->place->store, &mutex->op);
}

/* Makes out an ACQUIRE or REPLACE to the first waiter. */
static void op_make_out(struct mutex *mutex, enum store_verb verb)
{
	const struct mutex_settings *settings = &mutex->section->settings;
	const struct ask *ask = mutex_first_waiter(mutex);
	const char *announce = NULL;

	free(mutex->announce);
	mutex->announce = NULL;
	if (settings->announce && ask && ask->announce) {
		announce = ask->announce;
		mutex->announce = xstrdup(announce);
	}
	mutex->op_ask = ask;
	if (ask)
		mutex->ttl_ms = ask_ttl_ms(mutex, ask);
	mutex->op = (struct store_op){
		.verb = verb,
		.ttl_ms = mutex->ttl_ms,
		.fenced = settings->fence,
		.fence_floor = CORE_FAULT(fence_not_raised) ? 0 : mutex->fence_seen,
		.announce = mutex->announce,
	};
}

void mutex_start_attempt(struct mutex *mutex)
{
	const struct mutex_settings *settings = &mutex->section->settings;
	bool first = mutex->state == MUTEX_FREE;

	assert(!*mutex->value && !mutex->lock);
	if (!mutex_first_waiter(mutex)) {
		mutex_next(mutex);
		return;
	}
	lock_string_make(mutex->table->env.entropy, mutex->value);
	mutex->value_slot = mutex_journal_claim(mutex, mutex->value);
	if (mutex->state == MUTEX_STAYING_OUT)
		mutex->stayed_out_us = mutex_now_us(mutex);
	mutex->settling = mutex->again = false;
	mutex->round++;
	op_make_out(mutex, STORE_ACQUIRE);
	strcpy(mutex->op.value, mutex->value);
	mutex->op.want = !first || settings->linger_ms > 0;
	mutex->op.plain = !settings->fence && !mutex->op.want && !mutex->announce;
	mutex_set_state(mutex, MUTEX_ACQUIRING);
	op_submit(mutex);
}

/* Puts a new string in the place of the one that stands, for whoever is first. */
static void start_replace(struct mutex *mutex)
{
	assert(*mutex->value && !mutex->lock);
	lock_string_make(mutex->table->env.entropy, mutex->next);
	mutex->next_slot = mutex_journal_claim(mutex, mutex->next);
	mutex->settling = mutex->awaited = false;
	op_make_out(mutex, STORE_REPLACE);
	strcpy(mutex->op.value, mutex->value);
	strcpy(mutex->op.next, mutex->next);
	mutex_set_state(mutex, MUTEX_HANDING_ON);
	op_submit(mutex);
}

/* The command was declined or lost: ask again after a while, with the same string. */
static void retry_later(struct mutex *mutex)
{
	mutex->retry_us = mutex_now_us(mutex) + mutex_back_off_us(mutex, &mutex->backoff_us);
}

void mutex_retry_now(struct mutex *mutex)
{
	struct errand *errand;

	if (!mutex->op_busy && mutex->retry_us != CLOCK_NEVER)
		mutex->retry_us = 0;
	if (mutex->state == MUTEX_ELSEWHERE && mutex->trouble)
		mutex->look_us = 0;
	if (mutex->upkeep_retry_us != CLOCK_NEVER)
		mutex->upkeep_retry_us = 0;
	TAILQ_FOREACH (errand, &mutex->errands, entry)
		errand_retry_now(errand);
	mutex_settle_up(mutex);
}

static void answer_release(struct mutex *mutex, enum outcome outcome)
{
	struct ask *ask = mutex->release_ask;

	if (!ask)
		return;
	mutex->release_ask = NULL;
	if (outcome == OUTCOME_UNAVAILABLE)
		ask_answer_unavailable(mutex, ask);
	else
		ask_answer(ask, outcome);
}

static void store_failed(struct mutex *mutex)
{
	mutex_refuse_tries(mutex, OUTCOME_UNAVAILABLE);
	if (mutex->trouble_lasting)
		mutex_refuse_waiters(mutex, OUTCOME_UNAVAILABLE);
}

static void held_elsewhere(struct mutex *mutex)
{
	const struct store_op *op = &mutex->op;
	const int64_t now_us = mutex_now_us(mutex);
	int64_t look_us;

	mutex->passes_in_row = 0; /* somebody else has it */
	if (mutex->section->settings.linger_ms > 0 && op->receivers != 0 &&
	    mutex_somebody_tries(mutex) && (!mutex->patience_us || now_us < mutex->patience_us)) {
		/* Whoever lingers on it was asked for it, and has a moment to let go. Waiters hear
		 * of that by a message. */
		if (!mutex->patience_us)
			mutex->patience_us = now_us + PATIENCE_US;
		look_us = (PATIENCE_US - (mutex->patience_us - now_us)) + PATIENCE_US / 8;
		wait_elsewhere(mutex, min_us(now_us + look_us, mutex->patience_us));
		return;
	}
	if (op->contested && mutex->n_contested++ < CONTESTED_TRIES) {
		/* Perhaps nobody holds it: that is no answer yet. */
		mutex->patience_us = now_us + CONTESTED_US;
		wait_elsewhere(mutex, now_us + mutex_jitter_us(mutex, CONTESTED_US));
		return;
	}
	mutex->n_contested = 0;
	mutex->patience_us = 0;
	mutex_refuse_tries(mutex, OUTCOME_ALREADY_LOCKED);
	/* Who has it was not told that we wait; as a rule that is done when a watch is ready. */
	if (!op->want && mutex->watching && mutex->watch.is_ready)
		mutex->again = true;
	look_us = LOOK_US + mutex_jitter_us(mutex, LOOK_US / 4);
	if (CORE_FAULT(lookup_too_often))
		look_us = LOOK_MIN_US;
	if (op->pttl_ms >= 0 && op->pttl_ms * MS_US < look_us) {
		look_us = op->pttl_ms * MS_US + MS_US + mutex_jitter_us(mutex, LOOK_MIN_US);
		if (look_us < LOOK_MIN_US)
			look_us = LOOK_MIN_US;
	}
	wait_elsewhere(mutex, now_us + look_us);
}

/* Others have it, or nobody can say: wait for a message, or until it is time to look. */
static void wait_elsewhere(struct mutex *mutex, int64_t look_us)
{
	if (TAILQ_EMPTY(&mutex->waiters)) {
		mutex_next(mutex);
		return;
	}
	mutex_set_state(mutex, MUTEX_ELSEWHERE);
	mutex->look_us = look_us;
	/* A try that came after the last attempt was written was not answered by it. */
	if (!mutex->trouble && !mutex->patience_us && (mutex->again || mutex_somebody_tries(mutex)))
		mutex_start_attempt(mutex);
}

static void acquire_done(struct mutex *mutex)
{
	struct store_op *op = &mutex->op;
	int64_t from_us = mutex->sent_us;

	if (op->left) {
		/* A lost command may put it there; its time is counted from here at the latest. */
		mutex->doubtful = true;
		mutex->doubtful_us = mutex_now_us(mutex);
		mutex->lease = lease_make(mutex_now_us(mutex), op->ttl_ms * MS_US);
	}
	mutex->answered_round = mutex->round;
	if (op->status != STORE_REFUSED && op->status != STORE_UNKNOWN)
		mutex->told_round = mutex->round;
	switch (op->status) {
	case STORE_OK:
		note_answer(mutex);
		mutex->patience_us = 0;
		mutex->n_contested = 0;
		if (CORE_FAULT(lease_from_reply))
			from_us = mutex_now_us(mutex);
		mutex->lease = lease_answered(from_us, mutex_now_us(mutex), op->ttl_ms * MS_US);
		mutex->confirmed_us = from_us;
		mutex->fence = op->fence;
		mutex->passes_in_lease = 0;
		if (op->fence > mutex->fence_seen)
			mutex->fence_seen = op->fence;
		if (lease_left_us(&mutex->lease, mutex_now_us(mutex)) == 0 &&
		    !CORE_FAULT(late_reply_granted)) {
			/* A reply that comes after the lease that it grants is no grant. */
			mutex_refuse_tries(mutex, OUTCOME_UNAVAILABLE);
			mutex_start_release(mutex, NULL);
		} else if (!grant_next(mutex)) {
			mutex_start_release(mutex, NULL);
		}
		return;
	case STORE_HELD:
	case STORE_GONE:
		note_answer(mutex);
		if (op->left)
			mutex_remove_value(mutex);
		else
			mutex_drop_value(mutex, true);
		held_elsewhere(mutex);
		return;
	case STORE_REFUSED:
		note_trouble(mutex, op);
		store_failed(mutex);
		if (mutex->settling && !op->undone) {
			retry_later(mutex);
			return;
		}
		if (mutex->settling || op->left) {
			/* Not to be left there by a crash; and no other is asked for before. */
			mutex_start_release(mutex, NULL);
			return;
		}
		mutex_drop_value(mutex, true);
		wait_elsewhere(mutex,
			       mutex_now_us(mutex) + mutex_back_off_us(mutex, &mutex->backoff_us));
		return;
	case STORE_UNKNOWN:
		note_trouble(mutex, op);
		store_failed(mutex);
		if (CORE_FAULT(settle_skipped)) {
			mutex_drop_value(mutex, true);
			wait_elsewhere(mutex, mutex_now_us(mutex) + LOOK_US);
			return;
		}
		mutex->settling = true;
		mutex_note_stray(mutex, op->ttl_ms);
		mutex->doubtful = true;
		mutex->doubtful_us = mutex_now_us(mutex);
		/* Whoever may stand there by now: its time is counted from here at the latest. */
		mutex->lease = lease_make(mutex_now_us(mutex), op->ttl_ms * MS_US);
		mutex_set_state(mutex, MUTEX_SETTLING);
		retry_later(mutex);
		return;
	}
}

/* The string that was to follow became the one that stands. */
static void take_next_value(struct mutex *mutex)
{
	mutex->prolonged = false;
	journal_drop(mutex, &mutex->value_slot);
	strcpy(mutex->value, mutex->next);
	mutex->value_slot = mutex->next_slot;
	mutex->next_slot = 0;
	mutex->next[0] = '\0';
}

static void drop_next_value(struct mutex *mutex, bool may_follow)
{
	if (may_follow)
		errand_remove(mutex, mutex->next, mutex_now_us(mutex) + SECOND_US, CLOCK_NEVER,
			      true, mutex->next_slot);
	else
		journal_drop(mutex, &mutex->next_slot);
	mutex->next_slot = 0;
	mutex->next[0] = '\0';
}

/* Nobody holds it now; the next local client gets it, if it comes in time. */
static void linger(struct mutex *mutex, int64_t us)
{
	mutex->blocked_us = 0;
	mutex->linger_us = mutex_now_us(mutex) + us;
	mutex_set_state(mutex, MUTEX_LINGERING);
}

/* What was to be passed on has nobody to go to. */
static void keep_or_release(struct mutex *mutex)
{
	if (mutex->awaited)
		linger(mutex, AWAIT_US);
	else
		mutex_start_release(mutex, NULL);
}

static void replace_done(struct mutex *mutex)
{
	struct store_op *op = &mutex->op;
	/* Where the old string comes back, an earlier send of this puts the new one there. */
	const bool may_follow = mutex->doubtful && mutex->settling;

	if (CORE_FAULT(replace_unchecked) && op->status == STORE_HELD)
		op->status = STORE_OK;
	switch (op->status) {
	case STORE_OK:
		/* What may be lost yet of the old string is over; of the new one only sends of
		 * this. */
		if (mutex->stray_ttl_ms)
			mutex->stray_ttl_ms = mutex->settling ? op->ttl_ms : 0;
		note_answer(mutex);
		if (mutex->doubtful)
			/* The old one may come back, once the new one has gone. */
			errand_remove(mutex, mutex->value, mutex_now_us(mutex) + SECOND_US,
				      CLOCK_NEVER, true, mutex->value_slot);
		else
			journal_drop(mutex, &mutex->value_slot);
		mutex->value_slot = 0;
		take_next_value(mutex);
		mutex->doubtful = may_follow;
		mutex->lease =
			lease_answered(mutex->sent_us, mutex_now_us(mutex), op->ttl_ms * MS_US);
		mutex->confirmed_us = mutex->sent_us;
		mutex->fence = op->fence;
		mutex->passes_in_lease = 0;
		if (op->fence > mutex->fence_seen)
			mutex->fence_seen = op->fence;
		if (op->contenders > 0 && mutex->section->settings.linger_ms == 0)
			mutex_note_contender(mutex);
		answer_release(mutex, OUTCOME_OK);
		if (lease_left_us(&mutex->lease, mutex_now_us(mutex)) == 0)
			mutex_start_release(mutex, NULL);
		else if (!grant_next(mutex))
			keep_or_release(mutex);
		return;
	case STORE_HELD:
	case STORE_GONE:
		/* It was lost before it could be passed on. */
		note_answer(mutex);
		answer_release(mutex, OUTCOME_UNLOCK_FAIL);
		drop_next_value(mutex, may_follow);
		mutex_drop_value(mutex, true);
		mutex_next(mutex);
		return;
	case STORE_REFUSED:
	case STORE_UNKNOWN:
		note_trouble(mutex, op);
		answer_release(mutex, OUTCOME_UNAVAILABLE);
		store_failed(mutex);
		if (op->status == STORE_UNKNOWN) {
			mutex->settling = mutex->prolonged = true;
			mutex_note_stray(mutex, op->ttl_ms);
		}
		if (!mutex->settling) {
			/* The old string still stands: give it back, whoever waits. */
			drop_next_value(mutex, false);
			mutex_start_release(mutex, NULL);
			return;
		}
		mutex_set_state(mutex, MUTEX_SETTLING);
		retry_later(mutex);
		return;
	}
}

static void release_done(struct mutex *mutex)
{
	struct store_op *op = &mutex->op;

	switch (op->status) {
	case STORE_OK:
	case STORE_HELD:
	case STORE_GONE:
		note_answer(mutex);
		if (op->status == STORE_OK && op->contenders > 0 &&
		    mutex->section->settings.linger_ms == 0)
			mutex_note_contender(mutex);
		/* If an earlier send was lost, that one may have done it. */
		answer_release(mutex, op->status == STORE_OK || mutex->release_repeated
					      ? OUTCOME_OK
					      : OUTCOME_UNLOCK_FAIL);
		mutex->doubtful |= op->left;
		mutex_drop_value(mutex, true);
		if (!mutex->stay_out && is_uncontended(mutex))
			mutex->passes_in_row = 0; /* whoever polls could have had it */
		if (mutex->stay_out) {
			mutex->stay_out = false;
			mutex->passes_in_row = 0;
			if (!CORE_FAULT(stay_out_skipped))
				mutex->stay_out_us = mutex_now_us(mutex) + STAY_OUT_US;
		}
		mutex_next(mutex);
		return;
	case STORE_REFUSED:
	case STORE_UNKNOWN:
		note_trouble(mutex, op);
		if (op->status == STORE_UNKNOWN)
			mutex->release_repeated = true;
		answer_release(mutex, OUTCOME_UNAVAILABLE);
		store_failed(mutex);
		if ((mutex_now_us(mutex) >= lease_gone_us(&mutex->lease) && !mutex->doubtful &&
		     !mutex_may_outlast_lease(mutex)) ||
		    CORE_FAULT(release_given_up)) {
			/* It has surely expired meanwhile. */
			mutex_drop_value(mutex, true);
			mutex_next(mutex);
			return;
		}
		retry_later(mutex);
		return;
	}
}

void mutex_note_stray(struct mutex *mutex, int64_t ttl_ms)
{
	if (!mutex->stray_ttl_ms || ttl_ms < mutex->stray_ttl_ms)
		mutex->stray_ttl_ms = ttl_ms;
	mutex->stray_us = mutex_now_us(mutex);
}

void mutex_note_settled(struct mutex *mutex, const struct store_op *op, int64_t sent_us)
{
	if (!mutex->stray_ttl_ms && !mutex->doubtful)
		return;
	if (op->settled && table_trusts_settled(mutex->table) && sent_us >= mutex->stray_us)
		mutex->stray_ttl_ms = 0;
	if (((op->settled && table_trusts_settled(mutex->table)) ||
	     CORE_FAULT(unsettled_trusted)) &&
	    sent_us >= mutex->doubtful_us)
		mutex->doubtful = false;
}

static void op_done(struct store_op *op)
{
	struct mutex *mutex = container_of(op, struct mutex, op);

	assert(mutex->op_busy);
	mutex->op_busy = false;
	if (mutex->table->abandoned)
		return;
	mutex_note_settled(mutex, op, mutex->sent_us);
	switch (op->verb) {
	case STORE_ACQUIRE:
		acquire_done(mutex);
		break;
	case STORE_REPLACE:
		replace_done(mutex);
		break;
	case STORE_RELEASE:
		release_done(mutex);
		break;
	default:
		assert(!"a verb that the main command never has");
	}
	mutex_settle_up(mutex);
}

/* Sends again what was declined or lost. */
static void op_retry(struct mutex *mutex)
{
	if (mutex->state == MUTEX_SETTLING && mutex->op.verb == STORE_ACQUIRE) {
		if (!mutex_first_waiter(mutex)) {
			/* Nobody wants it any more: make sure that it does not stand. */
			mutex->release_repeated = true;
			mutex_start_release(mutex, NULL);
			return;
		}
		if (CORE_FAULT(acquire_string_renewed)) {
			lock_string_make(mutex->table->env.entropy, mutex->value);
			strcpy(mutex->op.value, mutex->value);
		}
		mutex->op.plain = false;
		mutex->round++;
	} else if (mutex->state == MUTEX_SETTLING &&
		   mutex_now_us(mutex) >= lease_gone_us(&mutex->lease) + DOUBT_US) {
		/* Neither string can still be alive as ours; what may come late is removed. */
		answer_release(mutex, OUTCOME_UNAVAILABLE);
		errand_remove(mutex, mutex->next, 0, CLOCK_NEVER, true, mutex->next_slot);
		mutex->next_slot = 0;
		mutex->next[0] = '\0';
		mutex_drop_value(mutex, false);
		mutex_next(mutex);
		return;
	}
	op_submit(mutex);
}

void mutex_start_release(struct mutex *mutex, struct ask *ask)
{
	assert(!mutex->lock && !mutex->release_ask);
	if (!*mutex->value) {
		mutex_next(mutex);
		return;
	}
	mutex->release_ask = ask;
	if (mutex->state != MUTEX_SETTLING)
		mutex->release_repeated = false;
	mutex->settling = false;
	mutex->op = (struct store_op){
		.verb = STORE_RELEASE,
		.ttl_ms = mutex->ttl_ms,
		/* Whoever has it next hears that it is used here: who waits already, or comes while
		 * it stays out, does not ask before that is over. */
		.want = mutex->stay_out,
		.unannounced = !mutex->section->settings.announce,
	};
	strcpy(mutex->op.value, mutex->value);
	mutex_set_state(mutex, MUTEX_RELEASING);
	if (CORE_FAULT(release_answered_early))
		answer_release(mutex, OUTCOME_OK);
	if (CORE_FAULT(claim_dropped_early))
		journal_drop(mutex, &mutex->value_slot);
	op_submit(mutex);
}

/* ------------------------------------------------------------------ granting and passing on */

static void grant(struct mutex *mutex, struct ask *ask, const struct lease *lease)
{
	struct table *table = mutex->table;
	const int64_t now_us = mutex_now_us(mutex);
	struct lock *lock = xcalloc(1, sizeof(*lock));

	lock->mutex = mutex;
	if (mutex_value_is_own(mutex))
		lock_string_make(table->env.entropy, lock->string);
	else
		strcpy(lock->string, mutex->value);
	lock->fence = client_fence(mutex);
	lock->lease = *lease;
	lock->renew = ask->renew && ask->owner->kind != HOLDER_NOBODY;
	lock->granted_us = now_us;
	lock->asker = ask->asker;
	lock->note = ask->note && *ask->note ? xstrdup(ask->note) : NULL;
	lock->unreported = ask;
	lock_tie(lock, ask->owner, ask->acquirer);
	mutex->lock = lock;
	mutex->upkeep_retry_us = CLOCK_NEVER;
	mutex->passes_in_row++;
	mutex_set_state(mutex, MUTEX_HELD);
	mutex_journal_lock(mutex);
	stats_count_wait(&table->stats, now_us - ask->asked_us);
	ask->lock = lock;
	ask_answer(ask, OUTCOME_OK);
	mutex_refuse_all_tries(mutex);
}

/*
 * What stands in the store has just been set, or stands for a while yet: gives it to the first in
 * the queue. Return: false when nobody is left who wants it.
 */
static bool grant_next(struct mutex *mutex)
{
	struct ask *ask = mutex_first_waiter(mutex);
	const int64_t now_us = mutex_now_us(mutex);
	struct lease lease;

	if (!ask)
		return false;
	if (mutex_value_is_own(mutex)) {
		/* The holder's own time; the store's follows it in the background. */
		lease = ask == mutex->op_ask && mutex->passes_in_lease == 0
				? mutex->lease
				: lease_make(now_us, ask_ttl_ms(mutex, ask) * MS_US);
	} else if (ask != mutex->op_ask &&
		   (ask_ttl_ms(mutex, ask) != mutex->ttl_ms || mutex->section->settings.announce)) {
		/* It was made out to somebody who left, and other terms were asked for. */
		start_replace(mutex);
		return true;
	} else {
		lease = mutex->lease;
	}
	grant(mutex, ask, &lease);
	return true;
}

void mutex_end_lock(struct mutex *mutex)
{
	struct lock *lock = mutex->lock;

	mutex->lock = NULL;
	if (mutex->value_slot && !mutex->table->abandoned)
		mutex->table->env.journal->class->revoke(mutex->table->env.journal,
							 mutex->value_slot);
	if (lock->unreported)
		lock->unreported->lock = NULL;
	stats_count_hold(&mutex->table->stats, mutex_now_us(mutex) - lock->granted_us);
	lock_untie(lock);
	free(lock->note);
	free(lock);
}

/* May the claim be used for another local holder, its age considered? */
static bool claim_is_fresh(const struct mutex *mutex)
{
	return lease_left_us(&mutex->lease, mutex_now_us(mutex)) > mutex->lease.ttl_us / 3;
}

/*
 * Who lets go of it is about to ask for it again: as if he had asked before, which saves a command,
 * and an answer to wait for.
 */
static void pass_on_to_come(struct mutex *mutex, struct ask *ask)
{
	mutex->table->stats.passes++;
	if (mutex_value_is_own(mutex)) {
		ask_answer(ask, OUTCOME_OK);
		linger(mutex, AWAIT_US);
		return;
	}
	mutex->ttl_ms = ask_ttl_ms(mutex, ask);
	mutex->release_ask = ask;
	start_replace(mutex);
	mutex->awaited = true;
}

void mutex_pass_on(struct mutex *mutex, struct ask *ask)
{
	const struct mutex_settings *settings = &mutex->section->settings;
	const bool own = mutex_value_is_own(mutex);
	const bool stays = !mutex->leaving && !mutex->next_place && !mutex->table->stopping;

	if (lease_left_us(&mutex->lease, mutex_now_us(mutex)) == 0 || !stays) {
		mutex_start_release(mutex, ask);
		return;
	}
	if (limit_is_reached(mutex)) {
		/* With nobody to pass it to, a release is what any poller gets its chance by. */
		mutex->stay_out = mutex_first_waiter(mutex) || !is_uncontended(mutex);
		mutex_start_release(mutex, ask);
		return;
	}
	if (mutex_first_waiter(mutex)) {
		if (own && ask) {
			/* The claim in the store is nobody's: the holder's string is dead already.
			 */
			ask_answer(ask, OUTCOME_OK);
			ask = NULL;
		}
		mutex->table->stats.passes++;
		if (settings->handoff == HANDOFF_LOCAL && claim_is_fresh(mutex) &&
		    mutex->passes_in_lease < FENCE_STEP - 1) {
			mutex->passes_in_lease++;
			grant_next(mutex);
			return;
		}
		mutex->release_ask = ask;
		start_replace(mutex);
		return;
	}
	if (settings->linger_ms > 0 && mutex->watching && mutex->watch.is_ready &&
	    is_uncontended(mutex)) {
		if (ask)
			ask_answer(ask, OUTCOME_OK);
		linger(mutex, settings->linger_ms * MS_US);
		return;
	}
	if (ask && ask->again && !settings->announce) {
		pass_on_to_come(mutex, ask);
		return;
	}
	mutex_start_release(mutex, ask);
}

void mutex_let_go(struct mutex *mutex, struct ask *ask)
{
	mutex->table->stats.releases++;
	mutex_end_lock(mutex);
	mutex_pass_on(mutex, ask);
}

void mutex_use_lingering(struct mutex *mutex)
{
	if (mutex_now_us(mutex) < mutex->blocked_us)
		return;
	if (!mutex_first_waiter(mutex)) {
		if (mutex_now_us(mutex) >= mutex->linger_us)
			mutex_start_release(mutex, NULL);
		return;
	}
	if (claim_is_fresh(mutex) && mutex->passes_in_lease < FENCE_STEP - 1 &&
	    !limit_is_reached(mutex)) {
		if (mutex_value_is_own(mutex))
			mutex->passes_in_lease++;
		grant_next(mutex);
	} else {
		mutex_pass_on(mutex, NULL);
	}
}

void mutex_next(struct mutex *mutex)
{
	assert(!mutex->op_busy && !*mutex->value);
	mutex->patience_us = 0;
	mutex_set_state(mutex, MUTEX_FREE);
	move_to_next_place(mutex);
	if (!mutex_first_waiter(mutex)) {
		mutex->again = false;
		mutex->trouble = false;
		return;
	}
	if (has_to_stay_out(mutex)) {
		mutex_set_state(mutex, MUTEX_STAYING_OUT);
		watch_start(mutex);
		return;
	}
	if (CORE_FAULT(wait_forever_on_free) && mutex->n_waiters > 1) {
		wait_elsewhere(mutex, CLOCK_NEVER);
		return;
	}
	mutex_start_attempt(mutex);
}

/* ------------------------------------------------------------------ time */

static int64_t next_due_us(const struct mutex *mutex)
{
	int64_t due_us = mutex->unwatch_us;

	if (!mutex->op_busy)
		due_us = min_us(due_us, mutex->retry_us);
	switch (mutex->state) {
	case MUTEX_HELD:
		due_us = min_us(due_us, mutex_upkeep_due_us(mutex));
		break;
	case MUTEX_LINGERING:
		due_us = min_us(due_us, mutex->blocked_us ? mutex->blocked_us : mutex->linger_us);
		due_us = min_us(due_us, mutex->lease.end_us);
		break;
	case MUTEX_ELSEWHERE:
		due_us = min_us(due_us, mutex->look_us);
		break;
	case MUTEX_STAYING_OUT:
		due_us = min_us(due_us, mutex->stay_out_us);
		break;
	case MUTEX_FREE:
		/* A member is remembered for as long as it owes others their turn. */
		if (mutex->section->family && has_to_stay_out(mutex))
			due_us = min_us(due_us, mutex->stay_out_us);
		break;
	default:
		break;
	}
	return due_us;
}

static void mutex_timer_fired(struct timer *timer)
{
	struct mutex *mutex = container_of(timer, struct mutex, timer);
	const int64_t now_us = mutex_now_us(mutex);

	if (now_us >= mutex->unwatch_us) {
		mutex->unwatch_us = CLOCK_NEVER;
		if (!watch_is_needed(mutex))
			watch_stop(mutex);
	}
	if (!mutex->op_busy && now_us >= mutex->retry_us) {
		mutex->retry_us = CLOCK_NEVER;
		op_retry(mutex);
	}
	switch (mutex->state) {
	case MUTEX_HELD:
		mutex_run_upkeep(mutex, now_us);
		break;
	case MUTEX_LINGERING:
		mutex->blocked_us = now_us >= mutex->blocked_us ? 0 : mutex->blocked_us;
		if (now_us >= mutex->lease.end_us) {
			mutex_drop_value(mutex, false);
			mutex_next(mutex);
		} else {
			mutex_use_lingering(mutex);
		}
		break;
	case MUTEX_ELSEWHERE:
		if (now_us >= mutex->look_us)
			mutex_start_attempt(mutex);
		break;
	case MUTEX_STAYING_OUT:
		if (now_us >= mutex->stay_out_us)
			mutex_start_attempt(mutex);
		break;
	default:
		break;
	}
	mutex_settle_up(mutex);
}

bool mutex_is_idle(const struct mutex *mutex)
{
	return mutex->state == MUTEX_FREE && !mutex->n_waiters && !mutex->lock && !mutex->op_busy &&
	       TAILQ_EMPTY(&mutex->errands) && !mutex->watching &&
	       (mutex->section->family || mutex->leaving) && !has_to_stay_out(mutex);
}

void mutex_settle_up(struct mutex *mutex)
{
	if (mutex->n_waiters == 0 &&
	    (mutex->state == MUTEX_ELSEWHERE || mutex->state == MUTEX_STAYING_OUT))
		mutex_next(mutex);
	if (watch_is_needed(mutex)) {
		watch_start(mutex);
		mutex->unwatch_us = CLOCK_NEVER;
	} else if (mutex->leaving && mutex->state == MUTEX_FREE) {
		watch_stop(mutex);
	} else if (mutex->watching && mutex->unwatch_us == CLOCK_NEVER) {
		mutex->unwatch_us = mutex_now_us(mutex) + UNWATCH_US;
	}
	move_to_next_place(mutex);
	timer_set(&mutex->table->timers, &mutex->timer, next_due_us(mutex));
	if (mutex_is_idle(mutex))
		table_note_idle(mutex->table, mutex);
}

/* ------------------------------------------------------------------ birth and end */

/* A section's key with the mutex's name in the place of {name}. */
static char *expand_key(const char *key, const char *name)
{
	static const char placeholder[] = "{name}";
	const size_t placeholder_len = sizeof(placeholder) - 1, name_len = strlen(name);
	size_t size = strlen(key) + 1;
	const char *hit;
	char *whole, *to;

	for (hit = strstr(key, placeholder); hit; hit = strstr(hit + 1, placeholder))
		size += name_len;
	whole = to = xcalloc(1, size);
	while ((hit = strstr(key, placeholder))) {
		to = mempcpy(to, key, (size_t)(hit - key));
		to = mempcpy(to, name, name_len);
		key = hit + placeholder_len;
	}
	strcpy(to, key);
	return whole;
}

/* The place of that very key in the store of the section. */
static struct place *place_new_at(struct section *section, const char *key)
{
	struct place *place = xcalloc(1, sizeof(*place));

	place->section = section_ref(section);
	place->store = section->store;
	place->n_refs = 1;
	store_key_init(&place->key, key);
	return place;
}

/* Where the section puts the mutex of that name. */
struct place *place_new(struct section *section, const char *name)
{
	char *key = expand_key(section->key, name);
	struct place *place = place_new_at(section, key);

	free(key);
	return place;
}

struct place *place_ref(struct place *place)
{
	place->n_refs++;
	return place;
}

void place_unref(struct place *place)
{
	if (--place->n_refs)
		return;
	store_key_deinit(&place->key);
	section_unref(place->section);
	free(place);
}

static void remember_fence(struct section *section, int64_t fence)
{
	if (fence > section->fence_seen)
		section->fence_seen = fence;
}

struct mutex *mutex_new(struct table *table, struct section *section, const char *name, size_t len)
{
	struct mutex *mutex = xcalloc(1, sizeof(*mutex));

	mutex->table = table;
	mutex->name = xstrndup(name, len);
	mutex->section = section_ref(section);
	mutex->place = place_new(section, mutex->name);
	mutex->fence_seen = section->fence_seen;
	TAILQ_INIT(&mutex->waiters);
	TAILQ_INIT(&mutex->errands);
	timer_init(&mutex->timer, mutex_timer_fired);
	mutex->retry_us = mutex->upkeep_retry_us = mutex->unwatch_us = CLOCK_NEVER;
	return mutex;
}

void mutex_free(struct mutex *mutex)
{
	assert(!mutex->lock && !mutex->n_waiters && !mutex->op_busy && !mutex->release_ask &&
	       TAILQ_EMPTY(&mutex->errands));
	watch_stop(mutex);
	timer_stop(&mutex->table->timers, &mutex->timer);
	remember_fence(mutex->section, mutex->fence_seen);
	if (mutex->next_place)
		place_unref(mutex->next_place);
	place_unref(mutex->place);
	section_unref(mutex->section);
	free(mutex->announce);
	free(mutex->name);
	free(mutex);
}

/* Another key or store, as soon as nothing of the mutex stands or is on its way there. */
static void move_to_next_place(struct mutex *mutex)
{
	if (!mutex->next_place || mutex->state != MUTEX_FREE || mutex->op_busy)
		return;
	watch_stop(mutex);
	mutex->look = NULL;
	place_unref(mutex->place);
	mutex->place = mutex->next_place;
	mutex->next_place = NULL;
	mutex->contender_us = mutex->stay_out_us = 0;
}

bool mutex_is_at(const struct mutex *mutex, const struct store *store, const char *key)
{
	return mutex->place->store == store && strcmp(mutex->place->key.key, key) == 0;
}

bool mutex_put_back(struct mutex *mutex, struct section *section, const char *key)
{
	if (mutex->state != MUTEX_FREE || mutex->op_busy || mutex->next_place)
		return false;
	watch_stop(mutex);
	mutex->look = NULL;
	if (mutex->leaving)
		place_unref(mutex->place);
	else
		mutex->next_place = mutex->place;
	mutex->place = place_new_at(section, key);
	return true;
}

/*
 * mutex_set_section - a reload put another section in the place of the mutex's own
 *
 * Its settings hold from the next lock on, its key and store from when the present lock is
 * released.
 */
void mutex_set_section(struct mutex *mutex, struct section *section)
{
	struct section *old = mutex->section;
	struct place *place;

	remember_fence(section, mutex->fence_seen);
	mutex->section = section_ref(section);
	section_unref(old);
	if (mutex->next_place)
		place_unref(mutex->next_place);
	mutex->next_place = NULL;
	place = place_new(section, mutex->name);
	if (place->store == mutex->place->store &&
	    strcmp(place->key.key, mutex->place->key.key) == 0) {
		place_unref(place);
		return;
	}
	mutex->next_place = place;
	move_to_next_place(mutex);
}
