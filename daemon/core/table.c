/* SPDX-License-Identifier: MIT */
/* All mutexes by name, their timers, and the answers that wait to be delivered. */
#include "config.h"

#include "core/table.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/name.h"

#include "core/mutex_private.h"
#include "util/alloc.h"
#include "util/histogram.h"

/* So many members of families are kept that nobody uses, for those who use them again soon. */
enum { IDLE_MAX = 256 };

/* ------------------------------------------------------------------ counting */

static void count(uint64_t *buckets, size_t n_buckets, uint64_t *sum, int64_t us)
{
	*sum += (uint64_t)us;
	buckets[histogram_bucket(us, n_buckets)]++;
}

void stats_count_wait(struct table_stats *stats, int64_t us)
{
	stats->grants++;
	count(stats->wait_buckets, sizeof(stats->wait_buckets) / sizeof(*stats->wait_buckets),
	      &stats->wait_us_sum, us);
}

void stats_count_hold(struct table_stats *stats, int64_t us)
{
	count(stats->hold_buckets, sizeof(stats->hold_buckets) / sizeof(*stats->hold_buckets),
	      &stats->hold_us_sum, us);
}

const struct table_stats *table_stats(const struct table *table)
{
	return &table->stats;
}

struct clock *table_clock(const struct table *table)
{
	return table->env.clock;
}

/* ------------------------------------------------------------------ answers */

/* Answers it: from here on it belongs to the table, until table_deliver() hands it back. */
void ask_answer(struct ask *ask, enum outcome outcome)
{
	struct mutex *mutex = ask->mutex;
	struct table *table = mutex->table;

	assert(ask->state == ASK_WAITING || ask->state == ASK_WORKING);
	if (ask->state == ASK_WAITING) {
		if (CORE_FAULT(queue_leak) && outcome == OUTCOME_CANCELLED && !ask->owner->gone)
			return;
		TAILQ_REMOVE(&mutex->waiters, ask, entry);
		mutex->n_waiters--;
		if (mutex->op_ask == ask)
			mutex->op_ask = NULL; /* the next ask may get its address */
	}
	timer_stop(&table->timers, &ask->timer);
	if (ask->kind == ASK_ACQUIRE && outcome != OUTCOME_OK)
		table->stats.refused[outcome]++;
	ask->outcome = outcome;
	ask->state = ASK_ANSWERED;
	TAILQ_INSERT_TAIL(&table->answers, ask, entry);
}

void ask_answer_text(struct ask *ask, enum outcome outcome, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(ask->text, sizeof(ask->text), format, args);
	va_end(args);
	ask_answer(ask, outcome);
}

static void deliver(struct ask *ask)
{
	char *holder = ask->holder;

	if (ask->kind == ASK_ACQUIRE && ask->outcome == OUTCOME_OK) {
		if (ask->lock) {
			ask->lock->unreported = NULL;
			/* From now on its holder can be told of its end, which may be near. */
			mutex_settle_up(ask->lock->mutex);
		} else {
			ask->outcome = OUTCOME_UNAVAILABLE;
			snprintf(ask->text, sizeof(ask->text),
				 "the lease was over before it could be reported");
		}
	}
	ask->state = ASK_IDLE;
	ask->mutex = NULL;
	ask->done(ask);
	free(holder); /* the ask itself may be gone */
}

static void forget(struct table *table, struct mutex *mutex);

static void take_off_idle(struct table *table, struct mutex *mutex)
{
	if (!mutex->is_idle)
		return;
	TAILQ_REMOVE(&table->idle, mutex, idle_entry);
	mutex->is_idle = false;
	table->n_idle--;
}

bool table_deliver(struct table *table)
{
	struct ask *ask;
	struct mutex *mutex;
	bool any = false;

	while ((ask = TAILQ_FIRST(&table->answers))) {
		TAILQ_REMOVE(&table->answers, ask, entry);
		deliver(ask);
		any = true;
	}
	/*
	 * A lease that is short, or whose answer came late, may be due to be announced as soon as
	 * it has been told of, and may be over by the next turn.
	 */
	if (timers_next_us(&table->timers) <= table->turned_us) {
		timers_run(&table->timers, table->turned_us);
		any = true;
	}
	/* Nobody has a pointer to a mutex any more that nothing is open on. */
	while ((mutex = TAILQ_FIRST(&table->idle)) &&
	       (table->n_idle > IDLE_MAX || mutex->leaving)) {
		take_off_idle(table, mutex);
		if (mutex_is_idle(mutex))
			forget(table, mutex);
	}
	return any;
}

/* Who is used again soon is found again; who left the configuration is not to be. */
void table_note_idle(struct table *table, struct mutex *mutex)
{
	take_off_idle(table, mutex);
	mutex->is_idle = true;
	table->n_idle++;
	if (mutex->leaving)
		TAILQ_INSERT_HEAD(&table->idle, mutex, idle_entry);
	else
		TAILQ_INSERT_TAIL(&table->idle, mutex, idle_entry);
}

/* ------------------------------------------------------------------ names */

struct section *section_ref(struct section *section)
{
	section->n_refs++;
	return section;
}

void section_unref(struct section *section)
{
	if (--section->n_refs == 0)
		section->free(section);
}

bool table_trusts_settled(const struct table *table)
{
	return !table->unsettled_us || clock_now_us(table->env.clock) >= table->unsettled_us;
}

static struct mutex *find(const struct table *table, const char *name, size_t len)
{
	struct mutex *mutex;

	HASH_FIND(hh, table->by_name, name, len, mutex);
	return mutex;
}

struct mutex *table_give_birth(struct table *table, struct section *section, const char *name,
			       size_t len)
{
	struct mutex *mutex = mutex_new(table, section, name, len);

	HASH_ADD_KEYPTR(hh, table->by_name, mutex->name, len, mutex);
	TAILQ_INSERT_TAIL(&table->mutexes, mutex, entry);
	return mutex;
}

static void forget(struct table *table, struct mutex *mutex)
{
	struct table_cursor *cursor;

	TAILQ_FOREACH (cursor, &table->cursors, entry)
		if (cursor->next == mutex)
			cursor->next = TAILQ_NEXT(mutex, entry);
	take_off_idle(table, mutex);
	HASH_DELETE(hh, table->by_name, mutex);
	TAILQ_REMOVE(&table->mutexes, mutex, entry);
	mutex_free(mutex);
}

struct section *table_section(struct table *table, const char *name, size_t len)
{
	struct section *best = NULL, *section;

	HASH_FIND(hh, table->exact, name, len, section);
	if (section)
		return section;
	for (size_t i = 0; i < table->n_families; i++) {
		section = table->families[i];
		if ((!best || section->specificity > best->specificity) &&
		    pattern_matches((struct span){section->name, strlen(section->name)},
				    (struct span){name, len}))
			best = section;
	}
	return best;
}

struct mutex *table_peek(struct table *table, const char *name, size_t len)
{
	return find(table, name, len);
}

struct mutex *table_find(struct table *table, const char *name, size_t len)
{
	struct mutex *mutex = find(table, name, len);
	struct section *section;

	if (mutex)
		return mutex;
	section = table_section(table, name, len);
	return section ? table_add_member(table, section, name, len) : NULL;
}

struct mutex *table_add_member(struct table *table, struct section *section, const char *name,
			       size_t len)
{
	struct mutex *mutex = table_give_birth(table, section, name, len);

	table_note_idle(table, mutex);
	return mutex;
}

size_t table_n_sections(const struct table *table)
{
	return table->n_sections;
}

const struct section *table_section_at(const struct table *table, size_t index)
{
	return table->sections[index];
}

/* ------------------------------------------------------------------ configuration */

static void take_sections(struct table *table, struct section **sections, size_t n_sections)
{
	HASH_CLEAR(hh, table->exact);
	free(table->families);
	table->n_families = 0;
	table->families = xcalloc(n_sections + 1, sizeof(*table->families));
	table->n_sections = n_sections;
	table->sections = xcalloc(n_sections + 1, sizeof(*table->sections));
	for (size_t i = 0; i < n_sections; i++) {
		struct section *section = sections[i];

		section->specificity = 0;
		for (const char *p = section->name; *p; p++)
			section->specificity += *p != '*';
		table->sections[i] = section_ref(section);
		if (section->family)
			table->families[table->n_families++] = section;
		else
			HASH_ADD_KEYPTR(hh, table->exact, section->name, strlen(section->name),
					section);
	}
}

static void drop_sections(struct section **sections, size_t n_sections)
{
	for (size_t i = 0; i < n_sections; i++)
		section_unref(sections[i]);
	free(sections);
}

/* What a family's members saw before they ended holds for those to come. */
static void inherit_fences(struct table *table, struct section **old, size_t n_old)
{
	for (size_t i = 0; i < n_old; i++) {
		if (!old[i]->family || !old[i]->fence_seen)
			continue;
		for (size_t j = 0; j < table->n_sections; j++) {
			struct section *section = table->sections[j];

			if (section->family && strcmp(section->name, old[i]->name) == 0 &&
			    section->fence_seen < old[i]->fence_seen)
				section->fence_seen = old[i]->fence_seen;
		}
	}
}

void table_configure(struct table *table, struct section **sections, size_t n_sections)
{
	struct section **old = table->sections;
	const size_t n_old = table->n_sections;
	struct mutex *mutex;

	take_sections(table, sections, n_sections);
	inherit_fences(table, old, n_old);
	TAILQ_FOREACH (mutex, &table->mutexes, entry) {
		struct section *section = table_section(table, mutex->name, strlen(mutex->name));

		mutex->leaving = section == NULL;
		if (section)
			mutex_set_section(mutex, section);
		else
			mutex_refuse_waiters(mutex, OUTCOME_UNKNOWN_MUTEX);
		mutex_settle_up(mutex);
	}
	for (size_t i = 0; i < n_sections; i++) {
		struct section *section = table->sections[i];
		const size_t len = strlen(section->name);

		if (!section->family && !find(table, section->name, len))
			table_give_birth(table, section, section->name, len);
	}
	drop_sections(old, n_old);
}

/* ------------------------------------------------------------------ time and events */

void table_turn(struct table *table)
{
	const int64_t now_us = clock_now_us(table->env.clock);
	const int64_t last_us = table->turned_us;

	table->turned_us = now_us;
	if (CORE_FAULT(stopped_clock_trusted) && now_us > last_us + SECOND_US)
		return;
	timers_run(&table->timers, now_us);
}

int64_t table_next_us(struct table *table)
{
	return timers_next_us(&table->timers);
}

void table_store_event(struct table *table, struct store *store, enum store_event event)
{
	struct mutex *mutex;

	TAILQ_FOREACH (mutex, &table->mutexes, entry) {
		if (mutex->place->store != store)
			continue;
		if (event == STORE_EVENT_CHANGED)
			mutex_check_now(mutex);
		else
			mutex_retry_now(mutex);
	}
}

/* ------------------------------------------------------------------ holders */

static void release_owned(struct lock *lock)
{
	struct mutex *mutex = lock->mutex;

	mutex_let_go(mutex, NULL);
	mutex_settle_up(mutex);
}

void table_drop_holder(struct table *table, struct holder *holder)
{
	struct lock *lock;

	assert(holder != &table->nobody);
	holder->gone = true;
	while ((lock = TAILQ_FIRST(&holder->acquired)))
		lock_forget_acquirer(lock);
	if (CORE_FAULT(drop_forgets_lock))
		return;
	while ((lock = TAILQ_FIRST(&holder->owned)))
		release_owned(lock);
}

struct holder *table_nobody(struct table *table)
{
	return &table->nobody;
}

/* ------------------------------------------------------------------ after a crash */

static struct section *section_with_store(const struct table *table, const struct store *store)
{
	for (size_t i = 0; i < table->n_sections; i++)
		if (table->sections[i]->store == store)
			return table->sections[i];
	return NULL;
}

struct mutex *table_recall(struct table *table, const char *name, size_t len,
			   const struct store *store, const char *key)
{
	struct mutex *mutex = table_find(table, name, len);
	struct section *section = section_with_store(table, store);

	if (mutex && mutex_is_at(mutex, store, key))
		return mutex;
	if (!section)
		return NULL;
	if (!mutex) {
		mutex = table_give_birth(table, section, name, len);
		mutex->leaving = true;
		table_note_idle(table, mutex);
	}
	return mutex_put_back(mutex, section, key) ? mutex : NULL;
}

/* The slot of a claim that is taken over: its own, or a new one. */
static uint32_t claim_slot(struct table *table, const struct mutex *mutex,
			   const struct claim *claim)
{
	struct journal *journal = table->env.journal;

	if (claim->slot || !journal)
		return claim->slot;
	return journal->class->claim(journal, mutex, claim->value);
}

void table_remove_claim(struct table *table, struct mutex *mutex, const struct claim *claim,
			int64_t after_us)
{
	const int64_t left_us = after_us - mutex_now_us(mutex);
	struct claim mine = *claim;

	mine.slot = claim_slot(table, mutex, claim);
	if (mutex->place->store->in_process) {
		/* It went with its process; who is to be kept waiting needs it once more. */
		mine.doubtful = false;
		if (left_us > 0)
			errand_restore(mutex, mine.value, left_us / MS_US + SECOND_US / MS_US);
	}
	errand_remove_inherited(mutex, &mine, after_us);
	mutex_settle_up(mutex);
}

struct lock *table_adopt(struct table *table, struct mutex *mutex, const struct lock *lock,
			 const struct claim *claim)
{
	const int64_t fence = lock->fence / FENCE_STEP;
	struct lock *copy;

	if (mutex->state != MUTEX_FREE || *mutex->value)
		return NULL;
	copy = xcalloc(1, sizeof(*copy));
	strcpy(copy->string, lock->string);
	copy->mutex = mutex;
	copy->fence = lock->fence;
	copy->lease = lock->lease;
	copy->renew = lock->renew;
	copy->expiring_told = lock->expiring_told;
	copy->granted_us = lock->granted_us;
	copy->asker = lock->asker;
	copy->note = lock->note ? xstrdup(lock->note) : NULL;
	lock_tie(copy, lock->owner, lock->acquirer);
	strcpy(mutex->value, claim->value);
	mutex->value_slot = claim_slot(table, mutex, claim);
	mutex->lock = copy;
	mutex->lease = claim->lease;
	if (CORE_FAULT(adopted_counted_anew))
		mutex->lease = copy->lease = lease_make(mutex_now_us(mutex), copy->lease.ttl_us);
	mutex->doubtful = claim->doubtful;
	mutex->prolonged = true; /* the last renewal may have gone unrecorded */
	mutex->ttl_ms = claim->lease.ttl_us / MS_US;
	mutex->fence = fence;
	mutex->passes_in_lease = lock->fence > 0 ? lock->fence % FENCE_STEP : 0;
	mutex->confirmed_us = claim->lease.from_us;
	if (fence > mutex->fence_seen)
		mutex->fence_seen = fence;
	mutex_set_state(mutex, MUTEX_HELD);
	mutex_journal_lock(mutex);
	if (mutex->place->store->in_process)
		errand_restore(mutex, mutex->value,
			       (lease_left_us(&mutex->lease, mutex_now_us(mutex)) +
				lease_drift_us(mutex->lease.ttl_us)) /
				       MS_US);
	mutex_check_now(mutex);
	mutex_settle_up(mutex);
	return copy;
}

/* ------------------------------------------------------------------ the end */

void table_stop(struct table *table)
{
	struct mutex *mutex;

	table->stopping = true;
	TAILQ_FOREACH (mutex, &table->mutexes, entry) {
		struct lock *lock = mutex->lock;

		mutex_refuse_waiters(mutex, OUTCOME_SHUTTING_DOWN);
		if (lock && lock->owner->kind == HOLDER_CONNECTION) {
			if (lock->acquirer && !lock->unreported)
				lock->acquirer->class->lost(lock->acquirer, lock, LOST_SHUTDOWN);
			table->stats.lost[LOST_SHUTDOWN]++;
			lock->dead = true;
		}
		if (mutex->state == MUTEX_LINGERING && !mutex->blocked_us)
			mutex_start_release(mutex, NULL);
		mutex_settle_up(mutex);
	}
}

void table_stop_release(struct table *table)
{
	struct mutex *mutex;

	TAILQ_FOREACH (mutex, &table->mutexes, entry)
		if (mutex->lock && mutex->lock->dead)
			release_owned(mutex->lock);
}

bool table_stopped(const struct table *table)
{
	const struct mutex *mutex;
	const struct errand *errand;

	TAILQ_FOREACH (mutex, &table->mutexes, entry) {
		if (mutex->op_busy || (mutex->state != MUTEX_FREE && mutex->state != MUTEX_HELD))
			return false;
		if (mutex->lock && mutex->lock->dead)
			return false;
		TAILQ_FOREACH (errand, &mutex->errands, entry)
			/* What may only come late is for the journal, and the next start. */
			if (errand->kind == ERRAND_REMOVE && !(errand->answered && errand->slot))
				return false;
	}
	return true;
}

void table_abandon(struct table *table)
{
	struct mutex *mutex;
	struct errand *errand;
	struct ask *ask;

	table->stopping = table->abandoned = true;
	TAILQ_FOREACH (mutex, &table->mutexes, entry) {
		mutex_refuse_waiters(mutex, OUTCOME_SHUTTING_DOWN);
		if (mutex->release_ask)
			ask_answer(mutex->release_ask, OUTCOME_SHUTTING_DOWN);
		mutex->release_ask = NULL;
		TAILQ_FOREACH (errand, &mutex->errands, entry) {
			while ((ask = TAILQ_FIRST(&errand->asks))) {
				TAILQ_REMOVE(&errand->asks, ask, entry);
				ask_answer(ask, OUTCOME_SHUTTING_DOWN);
			}
			timer_stop(&table->timers, &errand->timer);
		}
		if (mutex->lock)
			mutex_end_lock(mutex);
		mutex_set_state(mutex, MUTEX_FREE);
		watch_stop(mutex);
		mutex->unwatch_us = mutex->retry_us = CLOCK_NEVER;
		timer_stop(&table->timers, &mutex->timer);
	}
}

struct table *table_new(const struct table_env *env)
{
	struct table *table = xcalloc(1, sizeof(*table));

	table->env = *env;
	timers_init(&table->timers);
	TAILQ_INIT(&table->mutexes);
	TAILQ_INIT(&table->idle);
	TAILQ_INIT(&table->cursors);
	TAILQ_INIT(&table->answers);
	holder_init(&table->nobody, NULL, HOLDER_NOBODY);
	table->turned_us = clock_now_us(env->clock);
	return table;
}

void table_free(struct table *table)
{
	struct mutex *mutex;
	struct errand *errand;

	if (!table)
		return;
	assert(TAILQ_EMPTY(&table->answers) && TAILQ_EMPTY(&table->cursors));
	while ((mutex = TAILQ_FIRST(&table->mutexes))) {
		/* After table_abandon() errands may be left that no store will answer. */
		while (table->abandoned && (errand = TAILQ_FIRST(&mutex->errands)))
			errand_free(errand);
		forget(table, mutex);
	}
	HASH_CLEAR(hh, table->exact);
	free(table->families);
	drop_sections(table->sections, table->n_sections);
	timers_deinit(&table->timers);
	free(table);
}

/* ------------------------------------------------------------------ walking */

void table_cursor_open(struct table *table, struct table_cursor *cursor)
{
	cursor->table = table;
	cursor->next = TAILQ_FIRST(&table->mutexes);
	TAILQ_INSERT_TAIL(&table->cursors, cursor, entry);
}

struct mutex *table_cursor_next(struct table_cursor *cursor)
{
	struct mutex *mutex;

	do {
		mutex = cursor->next;
		if (mutex)
			cursor->next = TAILQ_NEXT(mutex, entry);
	} while (mutex && mutex_is_idle(mutex));
	return mutex;
}

void table_cursor_close(struct table_cursor *cursor)
{
	TAILQ_REMOVE(&cursor->table->cursors, cursor, entry);
}
