/* SPDX-License-Identifier: MIT */
/*
 * A table as records, and back. Those of a mutex follow it: its lock, its waiters in their order,
 * what must not stand in a store, and the requests that are under way.
 */
#include "config.h"

#include "core/table_save.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/mutex_private.h"
#include "util/alloc.h"

/* Moments and spans that can be added up a few times. */
#define TIME_MAX (INT64_MAX / 8)
#define TTL_MAX_MS INT64_C(315360000000)
#define FENCE_MAX (INT64_C(1) << 53)

unsigned table_n_commands(const struct table *table, unsigned *n_breaks)
{
	const struct mutex *mutex;
	const struct errand *errand;
	unsigned n = 0;

	*n_breaks = 0;
	TAILQ_FOREACH (mutex, &table->mutexes, entry) {
		n += mutex->op_busy;
		TAILQ_FOREACH (errand, &mutex->errands, entry) {
			n += errand->busy;
			*n_breaks += errand->kind == ERRAND_BREAK;
		}
	}
	return n;
}

/* ------------------------------------------------------------------ words */

/* Of the commands that change the holder; none else is saved. */
static const char *const verb_words[] = {
	[STORE_ACQUIRE] = "acquire",
	[STORE_REPLACE] = "replace",
	[STORE_RELEASE] = "release",
};

static const char *const kind_words[] = {
	[ASK_ACQUIRE] = "acquire", [ASK_RELEASE] = "release", [ASK_EXTEND] = "extend",
	[ASK_EXISTS] = "exists",   [ASK_LOOK] = "look",	      [ASK_BREAK] = "break",
};

/* Return: its index, or -1. */
static int word_find(const char *const *words, int n, const struct record *record, const char *key)
{
	char text[32];

	if (!record_copy_text(record, key, text, sizeof(text)))
		return -1;
	for (int i = 0; i < n; i++) {
		if (words[i] && strcmp(words[i], text) == 0)
			return i;
	}
	return -1;
}

/* ------------------------------------------------------------------ saving */

struct save {
	struct table *table;
	struct record_writer *w;
	struct table_namer *namer;
};

static void put_lease(struct record_writer *w, const struct lease *lease)
{
	record_put_number(w, "lease_ttl_us", lease->ttl_us);
	record_put_number(w, "lease_from_us", lease->from_us);
	record_put_number(w, "lease_end_us", lease->end_us);
	record_put_number(w, "lease_by_us", lease->by_us);
}

static void put_section(struct save *save, const char *key, const struct section *section)
{
	record_put_number(save->w, key, (int64_t)save->namer->section(save->namer, section));
}

/* The state as it is for somebody who has lost the main command's answer. */
static enum mutex_state unsettled_state(const struct mutex *mutex)
{
	if (mutex->state == MUTEX_ACQUIRING || mutex->state == MUTEX_HANDING_ON)
		return MUTEX_SETTLING;
	return mutex->state;
}

static bool has_main_command(enum mutex_state state)
{
	return state == MUTEX_SETTLING || state == MUTEX_RELEASING;
}

static bool is_lost_extension(const struct errand *errand)
{
	return errand_is_extension(errand) && errand->op.written;
}

static bool loses_extension(const struct mutex *mutex)
{
	const struct errand *errand;

	TAILQ_FOREACH (errand, &mutex->errands, entry) {
		if (is_lost_extension(errand))
			return true;
	}
	return false;
}

/* The command that changes the holder, and what its unknown fate means. */
static void save_main_command(struct save *save, const struct mutex *mutex)
{
	struct record_writer *w = save->w;
	const struct store_op *op = &mutex->op;
	const bool lost = mutex->op_busy && op->written;
	const bool acquire = op->verb == STORE_ACQUIRE, release = op->verb == STORE_RELEASE;

	assert(op->verb <= STORE_RELEASE);
	record_put_text(w, "verb", verb_words[op->verb]);
	record_put_number(w, "op_ttl_ms", op->ttl_ms);
	record_put_number(w, "op_fenced", op->fenced);
	record_put_number(w, "op_want", op->want);
	record_put_number(w, "op_fence_floor", op->fence_floor);
	record_put_text(w, "announce", mutex->announce);
	record_put_number(w, "settling", mutex->settling || (lost && !release));
	record_put_number(w, "retry_us", mutex->op_busy ? 0 : mutex->retry_us);
	record_put_number(w, "release_repeated", mutex->release_repeated || (lost && release));
	if (mutex->op_busy && acquire) {
		/* Whoever may stand there by now: its time is counted from here at the latest. */
		struct lease lease = lease_make(mutex_now_us(mutex), op->ttl_ms * MS_US);

		put_lease(w, &lease);
	} else {
		put_lease(w, &mutex->lease);
	}
	record_put_number(w, "doubtful", mutex->doubtful || (lost && acquire));
	record_put_number(w, "prolonged",
			  mutex->prolonged || loses_extension(mutex) ||
				  (lost && op->verb == STORE_REPLACE));
	if (mutex->release_ask)
		record_put_number(w, "release_ask",
				  (int64_t)save->namer->ask(save->namer, mutex->release_ask));
}

/* The commands that are lost now, and make the key stand for some time: see mutex_note_stray(). */
static void save_strays(struct save *save, const struct mutex *mutex)
{
	const struct store_op *op = &mutex->op;
	const struct errand *errand;
	int64_t ttl_ms = 0;

	if (mutex->op_busy && op->written && op->verb != STORE_RELEASE)
		ttl_ms = op->ttl_ms;
	TAILQ_FOREACH (errand, &mutex->errands, entry) {
		if (is_lost_extension(errand) && (!ttl_ms || errand->op.ttl_ms < ttl_ms))
			ttl_ms = errand->op.ttl_ms;
	}
	record_put_number(save->w, "stray_us", ttl_ms ? mutex_now_us(mutex) : mutex->stray_us);
	if (mutex->stray_ttl_ms && (!ttl_ms || mutex->stray_ttl_ms < ttl_ms))
		ttl_ms = mutex->stray_ttl_ms;
	record_put_number(save->w, "stray_ttl_ms", ttl_ms);
}

static void save_mutex(struct save *save, const struct mutex *mutex)
{
	struct record_writer *w = save->w;
	const enum mutex_state state = unsettled_state(mutex);

	record_begin(w, "mutex");
	record_put_text(w, "name", mutex->name);
	put_section(save, "section", mutex->section);
	put_section(save, "place", mutex->place->section);
	record_put_text(w, "state", mutex_state_word(state));
	if (*mutex->value)
		record_put_text(w, "value", mutex->value);
	if (*mutex->next)
		record_put_text(w, "next", mutex->next);
	record_put_number(w, "value_slot", mutex->value_slot);
	record_put_number(w, "next_slot", mutex->next_slot);
	record_put_number(w, "ttl_ms", mutex->ttl_ms);
	record_put_number(w, "fence", mutex->fence);
	record_put_number(w, "passes_in_lease", mutex->passes_in_lease);
	record_put_number(w, "fence_seen", mutex->fence_seen);
	record_put_number(w, "doubtful_us", mutex->doubtful_us);
	save_strays(save, mutex);
	if (has_main_command(state)) {
		save_main_command(save, mutex);
	} else {
		put_lease(w, &mutex->lease);
		record_put_number(w, "doubtful", mutex->doubtful);
		record_put_number(w, "prolonged", mutex->prolonged || loses_extension(mutex));
	}
	record_put_number(w, "backoff_us", mutex->backoff_us);
	record_put_number(w, "round", mutex->round);
	record_put_number(w, "answered_round", mutex->answered_round);
	record_put_number(w, "told_round", mutex->told_round);
	record_put_number(w, "again", mutex->again);
	record_put_number(w, "upkeep_retry_us", mutex->upkeep ? 0 : mutex->upkeep_retry_us);
	record_put_number(w, "upkeep_backoff_us", mutex->upkeep_backoff_us);
	record_put_number(w, "confirmed_us", mutex->confirmed_us);
	record_put_number(w, "contender_us", mutex->contender_us);
	record_put_number(w, "passes_in_row", mutex->passes_in_row);
	record_put_number(w, "stay_out", mutex->stay_out);
	record_put_number(w, "stay_out_us", mutex->stay_out_us);
	record_put_number(w, "stayed_out_us", mutex->stayed_out_us);
	record_put_number(w, "look_us", mutex->look_us);
	record_put_number(w, "patience_us", mutex->patience_us);
	record_put_number(w, "n_contested", mutex->n_contested);
	record_put_number(w, "blocked_us", mutex->blocked_us);
	record_put_number(w, "trouble", mutex->trouble);
	record_put_number(w, "trouble_lasting", mutex->trouble_lasting);
	if (mutex->trouble)
		record_put_text(w, "trouble_text", mutex->trouble_text);
	record_end(w);
}

static void save_lock(struct save *save, const struct lock *lock)
{
	struct record_writer *w = save->w;

	assert(!lock->unreported);
	record_begin(w, "lock");
	record_put_text(w, "string", lock->string);
	record_put_number(w, "fence", lock->fence);
	put_lease(w, &lock->lease);
	record_put_number(w, "renew", lock->renew);
	record_put_number(w, "expiring_told", lock->expiring_told);
	record_put_number(w, "granted_us", lock->granted_us);
	record_put_number(w, "pid", lock->asker.pid);
	record_put_number(w, "uid", lock->asker.uid);
	record_put_text(w, "note", lock->note);
	record_put_number(w, "owner", (int64_t)save->namer->holder(save->namer, lock->owner));
	if (lock->acquirer)
		record_put_number(w, "acquirer",
				  (int64_t)save->namer->holder(save->namer, lock->acquirer));
	record_end(w);
}

static void save_waiter(struct save *save, const struct ask *ask)
{
	struct record_writer *w = save->w;
	const uint64_t name = save->namer->ask(save->namer, ask);

	if (!name)
		return;
	record_begin(w, "waiter");
	record_put_number(w, "ask", (int64_t)name);
	record_put_number(w, "round", ask->round);
	record_put_number(w, "asked_us", ask->asked_us);
	record_put_number(w, "wait_us", ask->wait_us);
	record_put_number(w, "due_us", ask->timer.due_us);
	record_put_number(w, "made_out", ask->mutex->op_ask == ask);
	record_end(w);
}

static void save_removal(struct save *save, const struct errand *errand)
{
	struct record_writer *w = save->w;
	const struct ask *ask = TAILQ_FIRST(&errand->asks);

	record_begin(w, "removal");
	put_section(save, "place", errand->place->section);
	record_put_text(w, "value", errand->op.value);
	record_put_number(w, "op_ttl_ms", errand->op.ttl_ms);
	record_put_number(w, "at_us", errand->busy ? 0 : errand->timer.due_us);
	record_put_number(w, "until_us", errand->until_us);
	record_put_number(w, "doubt_us", errand->doubt_us);
	record_put_number(w, "repeated", errand->repeated || (errand->busy && errand->op.written));
	record_put_number(w, "inherited", errand->inherited);
	record_put_number(w, "answered", errand->answered);
	record_put_number(w, "backoff_us", errand->backoff_us);
	record_put_number(w, "slot", errand->slot);
	if (ask)
		record_put_number(w, "ask", (int64_t)save->namer->ask(save->namer, ask));
	record_end(w);
}

static void save_dead(struct save *save, const struct errand *errand)
{
	record_begin(save->w, "dead");
	record_put_text(save->w, "value", errand->op.value);
	record_put_number(save->w, "until_us", errand->until_us);
	record_end(save->w);
}

/* Those who wait for an answer that can be asked for anew. */
static void save_requests(struct save *save, const struct errand *errand)
{
	struct record_writer *w = save->w;
	const struct ask *ask;

	TAILQ_FOREACH (ask, &errand->asks, entry) {
		const uint64_t name = save->namer->ask(save->namer, ask);

		if (!name)
			continue;
		record_begin(w, "request");
		record_put_number(w, "ask", (int64_t)name);
		record_put_text(w, "kind", kind_words[ask->kind]);
		record_put_number(w, "asked_us", ask->asked_us);
		record_end(w);
	}
}

static void save_table(struct save *save)
{
	struct record_writer *w = save->w;
	const struct table *table = save->table;
	const struct table_stats *stats = &table->stats;
	const int64_t now_us = clock_now_us(table->env.clock);
	record_begin(w, "table");
	/* What is open now, or was lost before, is known to none of the stores that come after. */
	record_put_number(w, "unsettled_us", now_us + DOUBT_US);
	record_put_number(w, "grants", (int64_t)stats->grants);
	record_put_number(w, "passes", (int64_t)stats->passes);
	record_put_number(w, "releases", (int64_t)stats->releases);
	record_put_number(w, "renewals", (int64_t)stats->renewals);
	record_put_number(w, "checks", (int64_t)stats->checks);
	record_put_number(w, "settled", (int64_t)stats->settled);
	record_put_number(w, "wait_us_sum", (int64_t)stats->wait_us_sum);
	record_put_number(w, "hold_us_sum", (int64_t)stats->hold_us_sum);
#define PUT(key) record_put_numbers(w, #key, stats->key, sizeof(stats->key) / sizeof(*stats->key))
	PUT(refused);
	PUT(lost);
	PUT(wait_buckets);
	PUT(hold_buckets);
#undef PUT
	record_end(w);
	for (size_t i = 0; i < table->n_sections; i++) {
		if (table->sections[i]->fence_seen == 0)
			continue;
		record_begin(w, "fence_seen");
		record_put_text(w, "section", table->sections[i]->name);
		record_put_number(w, "fence", table->sections[i]->fence_seen);
		record_end(w);
	}
}

/* Does a LIST go on from here? */
static bool is_pointed_at(const struct table *table, const struct mutex *mutex)
{
	const struct table_cursor *cursor;

	TAILQ_FOREACH (cursor, &table->cursors, entry) {
		if (cursor->next == mutex)
			return true;
	}
	return false;
}

void table_save(struct table *table, struct record_writer *w, struct table_namer *namer)
{
	struct save save = {table, w, namer};
	const struct mutex *mutex;
	const struct errand *errand;
	const struct ask *ask;

	assert(TAILQ_EMPTY(&table->answers));
	save_table(&save);
	TAILQ_FOREACH (mutex, &table->mutexes, entry) {
		if (mutex_is_idle(mutex) && mutex->fence_seen == 0 && !is_pointed_at(table, mutex))
			continue;
		save_mutex(&save, mutex);
		if (mutex->lock)
			save_lock(&save, mutex->lock);
		TAILQ_FOREACH (ask, &mutex->waiters, entry)
			save_waiter(&save, ask);
		TAILQ_FOREACH (errand, &mutex->errands, entry) {
			if (errand->kind == ERRAND_REMOVE)
				save_removal(&save, errand);
			else if (errand->kind == ERRAND_DEAD)
				save_dead(&save, errand);
			else
				save_requests(&save, errand);
		}
	}
}

/* ------------------------------------------------------------------ loading */

struct load {
	struct table *table;
	struct table_finder *finder;
	const struct record *record;
	struct mutex *mutex; /* to which the records belong that come; NULL: none came yet */
	/* Of it, as soon as all of it is there. */
	enum mutex_state state;
	struct place *next_place;
	char *why;
	size_t size;
};

static bool refuse(struct load *load, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* Return: false. */
static bool refuse(struct load *load, const char *format, ...)
{
	char text[160];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	if (load->mutex)
		snprintf(load->why, load->size, "%s: %s", load->mutex->name, text);
	else
		snprintf(load->why, load->size, "%s", text);
	return false;
}

static int64_t get(const struct load *load, const char *key, int64_t max)
{
	return record_number_within(load->record, key, 0, max, 0);
}

static bool flag(const struct load *load, const char *key)
{
	return record_number(load->record, key) != 0;
}

/* A moment; or CLOCK_NEVER. */
static int64_t get_moment(const struct load *load, const char *key)
{
	if (record_number(load->record, key) == CLOCK_NEVER)
		return CLOCK_NEVER;
	return get(load, key, TIME_MAX);
}

static struct lease get_lease(const struct load *load)
{
	const int64_t from_us = get(load, "lease_from_us", TIME_MAX);

	return (struct lease){
		.ttl_us = get(load, "lease_ttl_us", TTL_MAX_MS * MS_US),
		.from_us = from_us,
		.end_us = get(load, "lease_end_us", TIME_MAX),
		/* Older releases do not tell. */
		.by_us = record_number_within(load->record, "lease_by_us", from_us, TIME_MAX,
					      from_us),
	};
}

/* A lock string. Return: false when it is something else; a missing one is empty. */
static bool get_string(const struct load *load, const char *key, char out[LOCK_STRING_SIZE])
{
	return record_copy_text(load->record, key, out, LOCK_STRING_SIZE) &&
	       (!*out || strlen(out) == LOCK_STRING_LEN);
}

static uint32_t get_slot(const struct load *load, const char *key)
{
	return load->table->env.journal ? (uint32_t)get(load, key, UINT32_MAX) : 0;
}

static struct section *get_section(const struct load *load, const char *key)
{
	return load->finder->section(load->finder, (uint64_t)get(load, key, INT64_MAX));
}

static struct holder *get_holder(const struct load *load, const char *key)
{
	return load->finder->holder(load->finder, (uint64_t)get(load, key, INT64_MAX));
}

/* An ask that may be opened now, or NULL. */
static struct ask *get_ask(const struct load *load, const char *key)
{
	struct ask *ask = load->finder->ask(load->finder, (uint64_t)get(load, key, INT64_MAX));

	return ask && ask->state == ASK_IDLE && ask->done ? ask : NULL;
}

/* Opens it, as of when it was opened before. */
static void open_ask(struct load *load, struct ask *ask, enum ask_kind kind, int64_t asked_us)
{
	ask_init(load->mutex, ask, kind);
	if (asked_us > 0 && asked_us < ask->asked_us)
		ask->asked_us = asked_us;
}

static bool load_main_command(struct load *load)
{
	struct mutex *mutex = load->mutex;
	const int verb = word_find(verb_words, STORE_RELEASE + 1, load->record, "verb");
	struct ask *ask;

	if (verb < 0)
		return refuse(load, "its command is not known");
	if ((verb == STORE_RELEASE) != (load->state == MUTEX_RELEASING) ||
	    (verb == STORE_REPLACE) != (*mutex->next != '\0'))
		return refuse(load, "its command does not fit its state");
	mutex->announce = record_text(load->record, "announce");
	mutex->op = (struct store_op){
		.verb = (enum store_verb)verb,
		.ttl_ms = get(load, "op_ttl_ms", TTL_MAX_MS),
		.fenced = flag(load, "op_fenced"),
		.want = flag(load, "op_want"),
		.fence_floor = get(load, "op_fence_floor", FENCE_MAX),
		.announce = verb == STORE_RELEASE ? NULL : mutex->announce,
		.unannounced = !mutex->section->settings.announce,
	};
	if (mutex->op.ttl_ms == 0)
		return refuse(load, "its command has no ttl");
	strcpy(mutex->op.value, mutex->value);
	strcpy(mutex->op.next, mutex->next);
	mutex->settling = flag(load, "settling");
	mutex->release_repeated = flag(load, "release_repeated");
	mutex->retry_us = get(load, "retry_us", TIME_MAX);
	if (record_has(load->record, "release_ask")) {
		ask = get_ask(load, "release_ask");
		if (!ask || verb == STORE_ACQUIRE)
			return refuse(load, "who releases it is not known");
		open_ask(load, ask, ASK_RELEASE, 0);
		mutex->release_ask = ask;
	}
	return true;
}

static bool load_fields(struct load *load)
{
	struct mutex *mutex = load->mutex;

	if (!get_string(load, "value", mutex->value) || !get_string(load, "next", mutex->next))
		return refuse(load, "what stands in its store is no lock string");
	mutex->value_slot = *mutex->value ? get_slot(load, "value_slot") : 0;
	mutex->next_slot = *mutex->next ? get_slot(load, "next_slot") : 0;
	mutex->lease = get_lease(load);
	mutex->ttl_ms = get(load, "ttl_ms", TTL_MAX_MS);
	mutex->fence = get(load, "fence", FENCE_MAX);
	mutex->passes_in_lease = (unsigned)get(load, "passes_in_lease", FENCE_STEP - 1);
	mutex->fence_seen = get(load, "fence_seen", FENCE_MAX);
	if (mutex->section->fence_seen > mutex->fence_seen)
		mutex->fence_seen = mutex->section->fence_seen;
	mutex->doubtful = flag(load, "doubtful");
	mutex->doubtful_us = get(load, "doubtful_us", TIME_MAX);
	mutex->prolonged = flag(load, "prolonged");
	mutex->stray_ttl_ms = get(load, "stray_ttl_ms", TTL_MAX_MS);
	mutex->stray_us = get(load, "stray_us", TIME_MAX);
	mutex->backoff_us = get(load, "backoff_us", SECOND_US);
	mutex->round = (uint32_t)get(load, "round", UINT32_MAX);
	mutex->answered_round = (uint32_t)get(load, "answered_round", UINT32_MAX);
	mutex->told_round = (uint32_t)get(load, "told_round", UINT32_MAX);
	mutex->again = flag(load, "again");
	mutex->upkeep_retry_us = get_moment(load, "upkeep_retry_us");
	mutex->upkeep_backoff_us = get(load, "upkeep_backoff_us", SECOND_US);
	mutex->confirmed_us = get(load, "confirmed_us", TIME_MAX);
	mutex->contender_us = get(load, "contender_us", TIME_MAX);
	mutex->passes_in_row = (unsigned)get(load, "passes_in_row", UINT32_MAX);
	mutex->stay_out = flag(load, "stay_out");
	mutex->stay_out_us = get(load, "stay_out_us", TIME_MAX);
	mutex->stayed_out_us = get(load, "stayed_out_us", TIME_MAX);
	mutex->look_us = get_moment(load, "look_us");
	mutex->patience_us = get(load, "patience_us", TIME_MAX);
	mutex->n_contested = (unsigned)get(load, "n_contested", UINT16_MAX);
	mutex->blocked_us = get(load, "blocked_us", TIME_MAX);
	mutex->trouble = flag(load, "trouble");
	mutex->trouble_lasting = flag(load, "trouble_lasting");
	if (!record_copy_text(load->record, "trouble_text", mutex->trouble_text,
			      sizeof(mutex->trouble_text)))
		return refuse(load, "what troubles its store is too long");
	return true;
}

static bool is_untouched(const struct mutex *mutex)
{
	return mutex->state == MUTEX_FREE && !*mutex->value && !mutex->lock && !mutex->n_waiters &&
	       TAILQ_EMPTY(&mutex->errands);
}

/*
 * What stands, stands where it was put: when that is not where the configuration wants it now, the
 * mutex moves when it is free, as after a reload.
 */
static void set_place(struct load *load, struct section *section)
{
	struct mutex *mutex = load->mutex;
	struct place *place = place_new(section, mutex->name);

	if (load->state == MUTEX_FREE || (place->store == mutex->place->store &&
					  strcmp(place->key.key, mutex->place->key.key) == 0)) {
		place_unref(place);
		return;
	}
	load->next_place = mutex->place;
	mutex->place = place;
}

static bool load_mutex(struct load *load)
{
	struct table *table = load->table;
	char *name = record_text(load->record, "name");
	const size_t len = name ? strlen(name) : 0;
	struct section *covers = len ? table_section(table, name, len) : NULL;
	struct section *section = covers ? covers : get_section(load, "section");
	struct section *place_section = get_section(load, "place");
	const char *words[N_MUTEX_STATES];
	int state;

	load->mutex = NULL;
	if (!section || !place_section || !len) {
		free(name);
		return refuse(load, "a mutex has no name, or no section");
	}
	load->mutex = table_peek(table, name, len);
	if (!load->mutex)
		load->mutex = table_give_birth(table, section, name, len);
	free(name);
	for (int i = 0; i < N_MUTEX_STATES; i++)
		words[i] = mutex_state_word((enum mutex_state)i);
	state = word_find(words, N_MUTEX_STATES, load->record, "state");
	if (state < 0 || state == MUTEX_ACQUIRING || state == MUTEX_HANDING_ON)
		return refuse(load, "its state is not known");
	if (!is_untouched(load->mutex))
		return refuse(load, "it is there twice");
	load->state = (enum mutex_state)state;
	load->mutex->leaving = !covers;
	/* In the order of before, so that a LIST goes on where it was. */
	TAILQ_REMOVE(&table->mutexes, load->mutex, entry);
	TAILQ_INSERT_TAIL(&table->mutexes, load->mutex, entry);
	set_place(load, place_section);
	return load_fields(load) && (!has_main_command(load->state) || load_main_command(load));
}

static bool load_lock(struct load *load)
{
	struct mutex *mutex = load->mutex;
	struct holder *owner = get_holder(load, "owner");
	struct holder *acquirer =
		record_has(load->record, "acquirer") ? get_holder(load, "acquirer") : NULL;
	struct lock *lock;
	char string[LOCK_STRING_SIZE];

	if (mutex->lock || load->state != MUTEX_HELD)
		return refuse(load, "a lock does not fit its state");
	if (!get_string(load, "string", string) || !*string)
		return refuse(load, "its lock has no string");
	if (!owner || (record_has(load->record, "acquirer") && !acquirer))
		return refuse(load, "who holds it is not known");
	lock = xcalloc(1, sizeof(*lock));
	lock->mutex = mutex;
	strcpy(lock->string, string);
	lock->fence = get(load, "fence", INT64_MAX);
	lock->lease = get_lease(load);
	lock->renew = flag(load, "renew") && owner->kind != HOLDER_NOBODY;
	lock->expiring_told = flag(load, "expiring_told");
	lock->granted_us = get(load, "granted_us", TIME_MAX);
	lock->asker.pid = (pid_t)get(load, "pid", INT32_MAX);
	lock->asker.uid = (uid_t)get(load, "uid", UINT32_MAX);
	lock->note = record_text(load->record, "note");
	lock_tie(lock, owner, acquirer);
	mutex->lock = lock;
	return true;
}

static bool load_waiter(struct load *load)
{
	struct mutex *mutex = load->mutex;
	struct ask *ask = get_ask(load, "ask");

	if (!ask || !ask->owner)
		return refuse(load, "who waits for it is not known");
	open_ask(load, ask, ASK_ACQUIRE, get(load, "asked_us", TIME_MAX));
	ask->wait_us = get_moment(load, "wait_us");
	mutex_restore_waiter(mutex, ask, (uint32_t)get(load, "round", UINT32_MAX),
			     get_moment(load, "due_us"));
	if (flag(load, "made_out"))
		mutex->op_ask = ask;
	return true;
}

static bool load_removal(struct load *load)
{
	struct mutex *mutex = load->mutex;
	struct section *section = get_section(load, "place");
	int64_t at_us = get_moment(load, "at_us");
	char string[LOCK_STRING_SIZE];
	struct errand *errand;
	struct place *place;
	struct ask *ask = NULL;

	if (!section || !get_string(load, "value", string) || !*string)
		return refuse(load, "what is to be removed from its store is not known");
	if (record_has(load->record, "ask")) {
		ask = get_ask(load, "ask");
		if (!ask)
			return refuse(load, "who releases it is not known");
	}
	if (at_us == CLOCK_NEVER)
		at_us = 0;
	place = place_new(section, mutex->name);
	errand = errand_remove(mutex, string, CLOCK_NEVER, get_moment(load, "until_us"), false,
			       get_slot(load, "slot"));
	place_unref(errand->place);
	errand->place = place;
	errand->op.key = &place->key;
	errand->op.ttl_ms = get(load, "op_ttl_ms", TTL_MAX_MS);
	errand->doubt_us = get(load, "doubt_us", TIME_MAX);
	errand->repeated = flag(load, "repeated");
	errand->inherited = flag(load, "inherited");
	errand->answered = flag(load, "answered");
	errand->backoff_us = get(load, "backoff_us", SECOND_US);
	timer_set(&load->table->timers, &errand->timer, at_us);
	if (ask) {
		open_ask(load, ask, ASK_RELEASE, 0);
		TAILQ_INSERT_TAIL(&errand->asks, ask, entry);
	}
	return true;
}

static bool load_dead(struct load *load)
{
	char string[LOCK_STRING_SIZE];

	if (!get_string(load, "value", string) || !*string)
		return refuse(load, "what is dead of it is no lock string");
	errand_note_dead(load->mutex, string, get(load, "until_us", TIME_MAX));
	return true;
}

static bool load_request(struct load *load)
{
	struct mutex *mutex = load->mutex;
	const int kind = word_find(kind_words, ASK_BREAK + 1, load->record, "kind");
	struct ask *ask = get_ask(load, "ask");

	if (!ask)
		return refuse(load, "who asked about it is not known");
	switch (kind) {
	case ASK_EXTEND:
		mutex_extend(mutex, ask);
		return true;
	case ASK_EXISTS:
		mutex_exists(mutex, ask);
		return true;
	case ASK_LOOK:
		mutex_look(mutex, ask);
		return true;
	case ASK_BREAK:
		/* Said again it might break what was locked since. */
		ask_init(mutex, ask, ASK_BREAK);
		ask_answer_text(ask, OUTCOME_UNAVAILABLE,
				"%s: the daemon was replaced before this was answered",
				mutex->place->store->name);
		return true;
	default:
		return refuse(load, "what is asked about it is not known");
	}
}

/* Does what is known of the mutex make sense together? */
static bool state_fits(const struct load *load)
{
	const struct mutex *mutex = load->mutex;
	const bool stands = *mutex->value != '\0';

	switch (load->state) {
	case MUTEX_HELD:
		return stands && mutex->lock && mutex->lease.ttl_us > 0 &&
		       mutex->lock->lease.ttl_us > 0;
	case MUTEX_RELEASING:
	case MUTEX_LINGERING:
	case MUTEX_SETTLING:
		return stands && mutex->lease.ttl_us > 0;
	default:
		return !stands;
	}
}

/* All records of the mutex were there: it comes to life. */
static bool finish_mutex(struct load *load)
{
	struct mutex *mutex = load->mutex;

	if (!mutex)
		return true;
	if (!state_fits(load))
		return refuse(load, "it is %s, which does not fit the rest",
			      mutex_state_word(load->state));
	mutex_set_state(mutex, load->state);
	mutex->next_place = load->next_place;
	load->next_place = NULL;
	if (mutex->leaving)
		mutex_refuse_waiters(mutex, OUTCOME_UNKNOWN_MUTEX);
	if (load->state == MUTEX_FREE && mutex->n_waiters > 0)
		mutex_next(mutex);
	/* The store may have lost it while nobody was connected. */
	mutex_check_now(mutex);
	/* LINGERING: nobody has listened meanwhile for who wants it, so linger_us is over. */
	mutex_settle_up(mutex);
	load->mutex = NULL;
	return true;
}

static void load_table(struct load *load)
{
	struct table *table = load->table;
	struct table_stats *stats = &table->stats;

	table->unsettled_us = get(load, "unsettled_us", TIME_MAX);
	stats->grants = (uint64_t)get(load, "grants", INT64_MAX);
	stats->passes = (uint64_t)get(load, "passes", INT64_MAX);
	stats->releases = (uint64_t)get(load, "releases", INT64_MAX);
	stats->renewals = (uint64_t)get(load, "renewals", INT64_MAX);
	stats->checks = (uint64_t)get(load, "checks", INT64_MAX);
	stats->settled = (uint64_t)get(load, "settled", INT64_MAX);
	stats->wait_us_sum = (uint64_t)get(load, "wait_us_sum", INT64_MAX);
	stats->hold_us_sum = (uint64_t)get(load, "hold_us_sum", INT64_MAX);
#define GET(key)                                                                                   \
	record_numbers(load->record, #key, stats->key, sizeof(stats->key) / sizeof(*stats->key))
	GET(refused);
	GET(lost);
	GET(wait_buckets);
	GET(hold_buckets);
#undef GET
}

static void load_fence_seen(struct load *load)
{
	char *name = record_text(load->record, "section");
	const int64_t fence = get(load, "fence", FENCE_MAX);

	for (size_t i = 0; name && i < load->table->n_sections; i++) {
		struct section *section = load->table->sections[i];

		if (strcmp(section->name, name) == 0 && section->fence_seen < fence)
			section->fence_seen = fence;
	}
	free(name);
}

static bool load_record(struct load *load)
{
	static const struct {
		const char *type;
		bool (*load)(struct load *load);
	} parts[] = {
		{"lock", load_lock}, {"waiter", load_waiter},	{"removal", load_removal},
		{"dead", load_dead}, {"request", load_request},
	};

	if (record_is(load->record, "mutex"))
		return finish_mutex(load) && load_mutex(load);
	if (record_is(load->record, "table"))
		load_table(load);
	else if (record_is(load->record, "fence_seen"))
		load_fence_seen(load);
	for (size_t i = 0; i < sizeof(parts) / sizeof(*parts); i++) {
		if (!record_is(load->record, parts[i].type))
			continue;
		return load->mutex ? parts[i].load(load)
				   : refuse(load, "a %s belongs to no mutex", parts[i].type);
	}
	return true;
}

bool table_load(struct table *table, struct record_reader reader, struct table_finder *finder,
		char *why, size_t size)
{
	struct record record;
	struct load load = {
		.table = table,
		.finder = finder,
		.record = &record,
		.why = why,
		.size = size,
	};

	bool good = true;

	while (good && record_next(&reader, &record))
		good = load_record(&load);
	good = good && finish_mutex(&load);
	if (load.next_place)
		place_unref(load.next_place);
	return good;
}
