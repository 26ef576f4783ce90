/* SPDX-License-Identifier: MIT */
/*
 * Any bytes at all, read as the records that one process hands to the next; and behind a header,
 * with an end, as the mutexes of a table, which then has to live on for a while with a store that
 * answers anything. Records that can be read must come out the same when they are written again.
 */
#include "config.h"

#include "fuzz.h"

#include <string.h>
#include <sys/queue.h>

#include "core/table.h"
#include "core/table_save.h"
#include "util/alloc.h"
#include "util/record.h"

/* ------------------------------------------------------------------ records */

static bool same(struct record_span a, struct record_span b)
{
	return a.len == b.len && memcmp(a.at, b.at, a.len) == 0;
}

static void span_to_text(char *out, size_t size, struct record_span span)
{
	const size_t len = span.len < size ? span.len : size - 1;

	memcpy(out, span.at, len);
	out[len] = '\0';
}

/* Reads every field in every way. Return: false if one is malformed, or its key too long for us. */
static bool read_fields(const struct record *record, struct record_writer *w)
{
	char key[128], type[128], copy[16];
	uint64_t numbers[4];
	char *bytes, *text;
	size_t len;

	span_to_text(type, sizeof(type), record->type);
	CHECK(!record_is(record, "") && record->n_fields <= RECORD_FIELDS_MAX);
	record_begin(w, type);
	for (size_t i = 0; i < record->n_fields; i++) {
		span_to_text(key, sizeof(key), record->keys[i]);
		if (!record_has(record, key))
			return false;
		CHECK(record_number_within(record, key, 0, 9, 5) <= 9);
		CHECK(record_numbers(record, key, numbers, 4) <= 4);
		record_number(record, key);
		text = record_text(record, key);
		CHECK(!record_copy_text(record, key, copy, sizeof(copy)) || strlen(copy) < 16);
		free(text);
		bytes = record_bytes(record, key, &len);
		if (!bytes)
			return false;
		record_put_bytes(w, key, bytes, len);
		free(bytes);
	}
	record_end(w);
	return record->type.len < sizeof(type);
}

static void try_records(const char *data, size_t len)
{
	struct record_reader reader, again;
	struct record record, twice;
	struct record_writer w = {0};
	bool whole = true;

	if (!record_reader_init(&reader, data, len)) {
		CHECK(reader.why[0] != '\0');
		return;
	}
	CHECK(reader.version == RECORD_VERSION);
	again = reader;
	record_open(&w, "fuzz");
	while (record_next(&reader, &record))
		whole = read_fields(&record, &w) && whole;
	record_close(&w);
	CHECK(reader.why[0] == '\0');
	if (whole) {
		CHECK(record_reader_init(&reader, w.data, w.len));
		while (record_next(&again, &record)) {
			CHECK(record_next(&reader, &twice));
			CHECK(same(record.type, twice.type) && record.n_fields == twice.n_fields);
			for (size_t i = 0; i < record.n_fields; i++)
				CHECK(same(record.keys[i], twice.keys[i]));
		}
		CHECK(!record_next(&reader, &twice));
	}
	record_writer_deinit(&w);
}

/* ------------------------------------------------------------------ a world for a table */

enum { N_HOLDERS = 3, N_ASKS = 6, NOBODY = 99, N_STEPS = 60 };

static int64_t now_us;
static uint64_t random_state;
static TAILQ_HEAD(, store_op) open_ops = TAILQ_HEAD_INITIALIZER(open_ops);
static struct holder holders[N_HOLDERS];
static struct ask asks[N_ASKS];
static struct table *table;

/* splitmix64, see Steele, Lea, Flood: Fast splittable pseudorandom number generators (2014). */
static uint64_t below(uint64_t n)
{
	uint64_t z = random_state += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return (z ^ (z >> 31)) % n;
}

static int64_t clock_now(struct clock *clock)
{
	(void)clock;
	return now_us;
}

static void fill(struct entropy *entropy, void *buf, size_t size)
{
	(void)entropy;
	for (uint8_t *p = buf; size > 0; size--)
		*p++ = (uint8_t)below(256);
}

static void submit(struct store *store, struct store_op *op)
{
	(void)store;
	TAILQ_INSERT_TAIL(&open_ops, op, entry);
}

/* They hear nothing: the table looks by itself. */
static void watch(struct store *store, struct store_watch *watch)
{
	(void)store;
	watch->is_ready = false;
}

static void unwatch(struct store *store, struct store_watch *watch)
{
	(void)store;
	(void)watch;
}

static const struct store_class store_class = {
	.submit = submit, .watch = watch, .unwatch = unwatch};
static struct store store = {.class = &store_class, .name = "fuzz:"};

static void answer(struct store_op *op, enum store_status status)
{
	TAILQ_REMOVE(&open_ops, op, entry);
	op->status = status;
	op->settled = below(2) > 0;
	op->lasting = status == STORE_REFUSED && below(8) == 0;
	op->fence = op->fenced ? op->fence_floor + 1 : 0;
	op->fence_is_new = op->contested = false;
	op->other = below(3);
	op->pttl_ms = (int64_t)below(3000) - 2;
	op->contenders = (int64_t)below(3) - 1;
	op->receivers = (int64_t)below(3) - 1;
	op->text = "fuzz: no";
	op->holder = NULL;
	op->done(op);
}

/* One of the answers that the verb has. */
static enum store_status any_status(enum store_verb verb)
{
	switch (below(5)) {
	case 0:
		return STORE_REFUSED;
	case 1:
		return STORE_UNKNOWN;
	case 2:
		return verb == STORE_BREAK || verb == STORE_ACQUIRE ? STORE_OK : STORE_GONE;
	case 3:
		return verb == STORE_BREAK ? STORE_GONE : STORE_HELD;
	default:
		return verb == STORE_LOOK ? STORE_HELD : STORE_OK;
	}
}

static void lost(struct holder *holder, const struct lock *lock, enum lost_reason reason)
{
	(void)reason;
	CHECK(lock->acquirer == holder);
}

static void expiring(struct holder *holder, const struct lock *lock, int64_t left_ms)
{
	(void)left_ms;
	CHECK(lock->acquirer == holder);
}

static const struct holder_class holder_class = {.lost = lost, .expiring = expiring};

static void ask_done(struct ask *ask)
{
	CHECK(ask->outcome <= OUTCOME_SHUTTING_DOWN);
	free(ask->holder);
}

static void free_section(struct section *section)
{
	free(section->name);
	free(section->key);
	free(section);
}

static struct section *section_new(const char *name, const char *key, enum handoff handoff)
{
	struct section *section = xcalloc(1, sizeof(*section));

	section->name = xstrdup(name);
	section->family = strchr(name, '*') != NULL;
	section->key = xstrdup(key);
	section->store = &store;
	section->free = free_section;
	section->settings = (struct mutex_settings){
		.ttl_ms = 10000,
		.fence = true,
		.handoff = handoff,
		.handoff_limit = 100,
		.linger_ms = handoff == HANDOFF_LOCAL ? 50 : 0,
		.command_timeout_ms = 1000,
		.max_waiters = 100,
	};
	return section;
}

static struct holder *find_holder(struct table_finder *finder, uint64_t name)
{
	(void)finder;
	if (name == NOBODY)
		return table_nobody(table);
	return name >= 1 && name <= N_HOLDERS ? &holders[name - 1] : NULL;
}

static struct ask *find_ask(struct table_finder *finder, uint64_t name)
{
	(void)finder;
	return name >= 1 && name <= N_ASKS ? &asks[name - 1] : NULL;
}

static struct section *find_section(struct table_finder *finder, uint64_t name)
{
	(void)finder;
	return name >= 1 && name <= table_n_sections(table)
		       ? (struct section *)table_section_at(table, name - 1)
		       : NULL;
}

static uint64_t name_holder(struct table_namer *namer, const struct holder *holder)
{
	(void)namer;
	return holder->kind == HOLDER_NOBODY ? NOBODY : (uint64_t)(holder - holders) + 1;
}

static uint64_t name_ask(struct table_namer *namer, const struct ask *ask)
{
	(void)namer;
	return (uint64_t)(ask - asks) + 1;
}

static uint64_t name_section(struct table_namer *namer, const struct section *section)
{
	(void)namer;
	for (size_t i = 0; i < table_n_sections(table); i++) {
		if (table_section_at(table, i) == section)
			return i + 1;
	}
	return 0;
}

static void world_begin(void)
{
	static struct clock clock = {clock_now};
	static struct entropy entropy = {fill};
	const struct table_env env = {.clock = &clock, .entropy = &entropy};
	struct section *sections[] = {
		section_new("m", "key", HANDOFF_STORE),
		section_new("own", "own", HANDOFF_LOCAL),
		section_new("f-*", "f:{name}", HANDOFF_STORE),
	};

	now_us = INT64_C(1000000000);
	table = table_new(&env);
	table_configure(table, sections, 3);
	for (int i = 0; i < N_HOLDERS; i++)
		holder_init(&holders[i], &holder_class, HOLDER_CONNECTION);
	for (int i = 0; i < N_ASKS; i++) {
		asks[i] = (struct ask){
			.done = ask_done,
			.owner = &holders[i % N_HOLDERS],
			.acquirer = &holders[i % N_HOLDERS],
			.renew = i % 2,
		};
		memset(asks[i].string, 'a' + i, LOCK_STRING_LEN);
	}
}

static void deliver(void)
{
	while (table_deliver(table))
		;
}

static void world_live_on(void)
{
	for (int i = 0; i < N_STEPS; i++) {
		struct store_op *op = TAILQ_FIRST(&open_ops);
		const int64_t next_us = table_next_us(table);

		if (op && below(4) > 0) {
			op->written = true;
			answer(op, any_status(op->verb));
		} else {
			now_us = next_us > now_us && next_us < now_us + 100000000
					 ? next_us
					 : now_us + (int64_t)below(1000000);
			table_turn(table);
		}
		deliver();
	}
	table_drop_holder(table, &holders[0]);
	deliver();
}

static void world_end(void)
{
	struct store_op *op;

	table_abandon(table);
	while ((op = TAILQ_FIRST(&open_ops)))
		answer(op, STORE_UNKNOWN);
	deliver();
	table_free(table);
}

static void try_table(const char *data, size_t len)
{
	struct table_finder finder = {find_holder, find_ask, find_section};
	struct table_namer namer = {name_holder, name_ask, name_section};
	struct record_writer w = {0};
	struct record_reader reader;
	char why[160] = "";
	int64_t n = 1;
	char *text;

	random_state = len;
	for (size_t i = 0; i < len; i++) {
		random_state = random_state * 31 + (unsigned char)data[i];
		n += data[i] == '\n';
	}
	text = xasprintf("redmutexd_state version=1\n%.*s\nend records=%d\n", (int)len, data,
			 (int)n + 1);
	world_begin();
	if (record_reader_init(&reader, text, strlen(text))) {
		if (table_load(table, reader, &finder, why, sizeof(why))) {
			deliver();
			table_save(table, &w, &namer);
			record_writer_deinit(&w);
			world_live_on();
		} else {
			CHECK(why[0] != '\0');
		}
	}
	world_end();
	free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	try_records((const char *)data, size);
	try_table((const char *)data, size);
	return 0;
}
