/* SPDX-License-Identifier: MIT */
/* Locks of one host, in the memory of its daemon: the store of the url `local:`. */
#include "config.h"

#include "store/memory.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <uthash.h>

#include "util/alloc.h"
#include "util/record.h"

struct memory_key {
	UT_hash_handle hh;
	char value[LOCK_STRING_SIZE];
	char *announced; /* or NULL */
	int64_t expires_us;
	char name[];
};

TAILQ_HEAD(memory_ops, store_op);

struct memory {
	struct store store;
	struct clock *clock;
	struct memory_key *keys;  /* a hash */
	struct memory_key *swept; /* the next for memory_sweep(), or NULL: begin anew */
	/*
	 * The last fence of any key. One for all is enough, since fences need only grow, and so
	 * keys leave nothing behind.
	 */
	int64_t fence;
	char broken[LOCK_STRING_SIZE]; /* by the BREAK that is being answered */
	struct memory_ops submitted;
	LIST_HEAD(, store_watch) new_watches; /* to be told that they are ready */
	LIST_HEAD(, store_watch) watches;
};

static struct memory *memory_of(struct store *store)
{
	return container_of(store, struct memory, store);
}

static void memory_drop(struct memory *memory, struct memory_key *entry)
{
	if (memory->swept == entry)
		memory->swept = entry->hh.next;
	HASH_DEL(memory->keys, entry);
	free(entry->announced);
	free(entry);
}

/*
 * Looks at two keys, and drops those whose time is over: as each new key pays for a look at two
 * old ones, what has expired never outnumbers what has not by much.
 */
static void memory_sweep(struct memory *memory, int64_t now_us)
{
	for (int i = 0; i < 2; i++) {
		struct memory_key *entry = memory->swept ? memory->swept : memory->keys;

		if (!entry)
			return;
		memory->swept = entry->hh.next;
		if (entry->expires_us <= now_us)
			memory_drop(memory, entry);
	}
}

static struct memory_key *memory_find(struct memory *memory, const char *name, int64_t now_us)
{
	struct memory_key *entry;

	HASH_FIND_STR(memory->keys, name, entry);
	if (entry && entry->expires_us <= now_us) {
		memory_drop(memory, entry);
		entry = NULL;
	}
	return entry;
}

static struct memory_key *memory_add(struct memory *memory, const char *name)
{
	size_t len = strlen(name);
	struct memory_key *entry = xcalloc(1, sizeof(*entry) + len + 1);

	memcpy(entry->name, name, len + 1);
	HASH_ADD_KEYPTR(hh, memory->keys, entry->name, len, entry);
	return entry;
}

/*
 * The same rule as in a server, so that fences go on growing when a mutex moves from one kind of
 * store to the other, and over a restart: the wall clock in microseconds, unless that would not be
 * larger.
 */
static int64_t memory_next_fence(const struct memory *memory, int64_t floor)
{
	struct timespec now;
	int64_t fence;

	clock_gettime(CLOCK_REALTIME, &now);
	fence = (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
	if (fence <= memory->fence)
		fence = memory->fence + 1;
	if (fence <= floor)
		fence = floor + 1;
	return fence;
}

static void memory_put(struct memory *memory, struct memory_key *entry, struct store_op *op,
		       const char *value, int64_t now_us)
{
	memcpy(entry->value, value, LOCK_STRING_SIZE);
	entry->expires_us = now_us + op->ttl_ms * 1000;
	free(entry->announced);
	entry->announced = op->announce ? xstrdup(op->announce) : NULL;
	op->fence_is_new = op->fenced && memory->fence == 0;
	if (op->fenced)
		op->fence = memory_next_fence(memory, op->fence_floor);
	if (op->fenced && !(op->proposed && op->fence_is_new))
		memory->fence = op->fence;
	op->contenders = 0;
	op->status = STORE_OK;
}

static void memory_hold(struct store_op *op, const struct memory_key *entry, int64_t now_us)
{
	op->status = STORE_HELD;
	op->other = store_other(entry->value);
	op->pttl_ms = (entry->expires_us - now_us + 999) / 1000;
	if (op->want)
		op->receivers = 0;
}

static void memory_carry_out(struct memory *memory, struct store_op *op, int64_t now_us)
{
	struct memory_key *entry = memory_find(memory, op->key->key, now_us);
	bool ours = entry && strcmp(entry->value, op->value) == 0;

	switch (op->verb) {
	case STORE_ACQUIRE:
		if (entry && (op->plain || !ours)) {
			memory_hold(op, entry, now_us);
			break;
		}
		if (!entry)
			entry = memory_add(memory, op->key->key);
		memory_put(memory, entry, op, op->value, now_us);
		break;
	case STORE_REPLACE:
		if (entry && (ours || strcmp(entry->value, op->next) == 0))
			memory_put(memory, entry, op, op->next, now_us);
		else
			op->status = entry ? STORE_HELD : STORE_GONE;
		break;
	case STORE_RELEASE:
		op->status = ours ? STORE_OK : entry ? STORE_HELD : STORE_GONE;
		op->contenders = 0;
		if (ours)
			memory_drop(memory, entry);
		break;
	case STORE_EXTEND:
		op->status = ours ? STORE_OK : entry ? STORE_HELD : STORE_GONE;
		op->contenders = 0;
		if (ours)
			entry->expires_us = now_us + op->ttl_ms * 1000;
		break;
	case STORE_CHECK:
		op->status = ours ? STORE_OK : entry ? STORE_HELD : STORE_GONE;
		break;
	case STORE_LOOK:
		op->status = STORE_GONE;
		if (entry) {
			memory_hold(op, entry, now_us);
			op->holder = entry->announced;
		}
		break;
	case STORE_BREAK:
		op->status = entry ? STORE_OK : STORE_GONE;
		if (entry) {
			strcpy(memory->broken, entry->value);
			op->broken = memory->broken;
			memory_drop(memory, entry);
		}
		break;
	case STORE_RAISE:
		if (memory->fence < op->fence_floor)
			memory->fence = op->fence_floor;
		op->status = STORE_OK;
		break;
	}
}

static void memory_submit(struct store *store, struct store_op *op)
{
	TAILQ_INSERT_TAIL(&memory_of(store)->submitted, op, entry);
}

static void memory_watch(struct store *store, struct store_watch *watch)
{
	watch->is_ready = false;
	LIST_INSERT_HEAD(&memory_of(store)->new_watches, watch, entry);
}

static void memory_unwatch(struct store *store, struct store_watch *watch)
{
	(void)store;
	LIST_REMOVE(watch, entry);
	watch->is_ready = false;
}

static void memory_answer(struct memory *memory, struct store_op *op, int64_t now_us)
{
	op->written = true;
	op->lasting = false;
	op->settled = true;
	op->fence = 0;
	op->fence_is_new = false;
	op->contested = false;
	op->other = 0;
	op->pttl_ms = -2;
	op->contenders = -1;
	op->receivers = -1;
	op->text = NULL;
	op->holder = NULL;
	memory_carry_out(memory, op, now_us);
	memory->store.stats.commands++;
	memory->store.stats.replies++;
	op->done(op);
}

static bool memory_flush(struct store *store)
{
	struct memory *memory = memory_of(store);
	struct memory_ops turn = TAILQ_HEAD_INITIALIZER(turn);
	bool called = false;

	/* What done() submits is for the next round, in which the caller gets a word in first. */
	TAILQ_CONCAT(&turn, &memory->submitted, entry);
	while (!TAILQ_EMPTY(&turn)) {
		struct store_op *op = TAILQ_FIRST(&turn);
		int64_t now_us = clock_now_us(memory->clock);

		TAILQ_REMOVE(&turn, op, entry);
		memory_sweep(memory, now_us);
		memory_answer(memory, op, now_us);
		called = true;
	}
	while (!LIST_EMPTY(&memory->new_watches)) {
		struct store_watch *watch = LIST_FIRST(&memory->new_watches);

		LIST_REMOVE(watch, entry);
		LIST_INSERT_HEAD(&memory->watches, watch, entry);
		watch->is_ready = true;
		watch->ready(watch);
		called = true;
	}
	return called;
}

static void memory_free(struct store *store)
{
	struct memory *memory = memory_of(store);

	while (memory_flush(store))
		;
	assert(LIST_EMPTY(&memory->watches));
	while (memory->keys)
		memory_drop(memory, memory->keys);
	free(memory);
}

static void memory_save(struct store *store, struct record_writer *w)
{
	struct memory *memory = memory_of(store);

	record_begin(w, "stored");
	record_put_number(w, "last_fence", memory->fence);
	record_end(w);
	for (struct memory_key *entry = memory->keys; entry; entry = entry->hh.next) {
		record_begin(w, "stored");
		record_put_text(w, "key", entry->name);
		record_put_text(w, "value", entry->value);
		record_put_text(w, "announced", entry->announced);
		record_put_number(w, "expires_us", entry->expires_us);
		record_end(w);
	}
}

static void memory_load(struct store *store, const struct record *record)
{
	struct memory *memory = memory_of(store);
	const int64_t fence = record_number(record, "last_fence");
	char *name = record_text(record, "key");
	char value[LOCK_STRING_SIZE];
	struct memory_key *entry = NULL;

	if (fence > memory->fence)
		memory->fence = fence;
	if (name)
		HASH_FIND_STR(memory->keys, name, entry);
	if (name && !entry && record_copy_text(record, "value", value, sizeof(value))) {
		entry = memory_add(memory, name);
		memcpy(entry->value, value, sizeof(value));
		entry->announced = record_text(record, "announced");
		entry->expires_us = record_number(record, "expires_us");
	}
	free(name);
}

static const struct store_class memory_class = {
	.submit = memory_submit,
	.watch = memory_watch,
	.unwatch = memory_unwatch,
	.flush = memory_flush,
	.free = memory_free,
	.save = memory_save,
	.load = memory_load,
};

struct store *memory_open(const struct store_env *env, struct store_listener *listener)
{
	struct memory *memory = xcalloc(1, sizeof(*memory));

	memory->store.class = &memory_class;
	memory->store.listener = listener;
	memory->store.name = "local:";
	memory->store.in_process = true;
	memory->clock = env->clock;
	TAILQ_INIT(&memory->submitted);
	LIST_INIT(&memory->new_watches);
	LIST_INIT(&memory->watches);
	return &memory->store;
}
