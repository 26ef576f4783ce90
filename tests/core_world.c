/* SPDX-License-Identifier: MIT */
/* A world for one table of the core. */
#include "config.h"

#include "core_world.h"

#include <stdlib.h>
#include <string.h>

#include "util/alloc.h"

struct table *table;
int64_t world_now_us;
unsigned world_n_commands;

static TAILQ_HEAD(, store_op) open_ops = TAILQ_HEAD_INITIALIZER(open_ops);
static struct store_watch *open_watch;
static uint64_t random_state;

static const struct mutex_settings default_settings = {
	.ttl_ms = 10000,
	.fence = true,
	.handoff = HANDOFF_STORE,
	.handoff_limit = 100,
	.command_timeout_ms = 1000,
	.max_waiters = 100,
};
struct mutex_settings world_settings;
struct journal *world_journal;

static int64_t now_us(struct clock *clock)
{
	(void)clock;
	return world_now_us;
}

static void fill(struct entropy *entropy, void *buf, size_t size)
{
	uint8_t *p = buf;

	(void)entropy;
	/* splitmix64, https://prng.di.unimi.it/splitmix64.c */
	while (size--) {
		uint64_t z = random_state += UINT64_C(0x9e3779b97f4a7c15);

		z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
		z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
		*p++ = (uint8_t)(z >> 31);
	}
}

static struct clock world_clock = {now_us};
static struct entropy world_entropy = {fill};

static void submit(struct store *store, struct store_op *op)
{
	(void)store;
	world_n_commands++;
	op->fence = 0;
	op->settled = true;
	op->lasting = false;
	op->pttl_ms = -2;
	op->contenders = op->receivers = -1;
	op->text = "scripted: no";
	op->holder = NULL;
	TAILQ_INSERT_TAIL(&open_ops, op, entry);
}

static void watch(struct store *store, struct store_watch *w)
{
	(void)store;
	ck_assert_ptr_null(open_watch);
	w->is_ready = false;
	open_watch = w;
}

static void unwatch(struct store *store, struct store_watch *w)
{
	(void)store;
	ck_assert_ptr_eq(open_watch, w);
	open_watch = NULL;
}

static bool flush(struct store *store)
{
	(void)store;
	return false;
}

static void free_store(struct store *store)
{
	(void)store;
}

static const struct store_class class = {
	.submit = submit,
	.watch = watch,
	.unwatch = unwatch,
	.flush = flush,
	.free = free_store,
};
struct store world_store = {.class = &class, .name = "scripted:"};

static void section_free(struct section *section)
{
	free(section->name);
	free(section->key);
	free(section);
}

struct section *world_section(const char *name, const char *key,
			      const struct mutex_settings *settings)
{
	struct section *section = xcalloc(1, sizeof(*section));

	section->name = xstrdup(name);
	section->family = strchr(name, '*') != NULL;
	section->key = xstrdup(key);
	section->settings = *settings;
	section->store = &world_store;
	section->free = section_free;
	return section;
}

__attribute__((constructor)) static void world_reset(void)
{
	world_settings = default_settings;
}

struct table *world_table(const char *key)
{
	struct table_env env = {
		.clock = &world_clock,
		.entropy = &world_entropy,
		.journal = world_journal,
	};
	struct table *made = table_new(&env);
	struct section *section = world_section("m", key, &world_settings);

	table_configure(made, &section, 1);
	return made;
}

void world_forget(void)
{
	struct store_op *op;

	while ((op = TAILQ_FIRST(&open_ops))) {
		TAILQ_REMOVE(&open_ops, op, entry);
		op->status = STORE_UNKNOWN;
		op->done(op);
	}
}

void world_begin(void)
{
	world_now_us = INT64_C(1000000000);
	world_n_commands = 0;
	random_state = 1;
	table = world_table("key");
}

void world_end(void)
{
	ck_assert_ptr_null(TAILQ_FIRST(&open_ops));
	table_abandon(table);
	table_deliver(table);
	ck_assert_ptr_null(open_watch);
	table_free(table);
	table = NULL;
	world_reset();
}

struct mutex *world_mutex(void)
{
	return table_find(table, "m", 1);
}

static void turn(void)
{
	table_turn(table);
	table_deliver(table);
}

void world_pass_ms(int64_t ms)
{
	const int64_t end_us = world_now_us + ms * 1000;

	while (table_next_us(table) <= end_us) {
		if (table_next_us(table) > world_now_us)
			world_now_us = table_next_us(table);
		turn();
	}
	world_now_us = end_us;
	turn();
}

void world_jump_ms(int64_t ms)
{
	world_now_us += ms * 1000;
	turn();
}

static void lost(struct holder *holder, const struct lock *lock, enum lost_reason reason)
{
	struct client *client = container_of(holder, struct client, holder);

	client->n_lost++;
	client->reason = reason;
	strcpy(client->lost, lock->string);
}

static void expiring(struct holder *holder, const struct lock *lock, int64_t left_ms)
{
	struct client *client = container_of(holder, struct client, holder);

	(void)lock;
	client->n_expiring++;
	client->left_ms = left_ms;
}

static const struct holder_class holder_class = {.lost = lost, .expiring = expiring};

void client_init(struct client *client)
{
	*client = (struct client){0};
	holder_init(&client->holder, &holder_class, HOLDER_CONNECTION);
}

static void request_done(struct ask *ask)
{
	struct request *request = container_of(ask, struct request, ask);

	ck_assert(!request->done);
	request->done = true;
	if (ask->outcome == OUTCOME_OK && ask->lock) {
		strcpy(request->string, ask->lock->string);
		request->fence = ask->lock->fence;
	}
}

void world_acquire_ttl(struct request *request, struct client *client, int64_t wait_ms,
		       int64_t ttl_ms, bool renew)
{
	*request = (struct request){
		.ask =
			{
				.done = request_done,
				.owner = &client->holder,
				.acquirer = &client->holder,
				.wait_us = wait_ms == CLOCK_NEVER ? CLOCK_NEVER : wait_ms * 1000,
				.ttl_ms = ttl_ms,
				.renew = renew,
			},
	};
	mutex_acquire(world_mutex(), &request->ask);
	table_deliver(table);
}

void world_acquire(struct request *request, struct client *client, int64_t wait_ms)
{
	world_acquire_ttl(request, client, wait_ms, 0, world_settings.renew);
}

void world_release(struct request *request, const char *string)
{
	*request = (struct request){.ask = {.done = request_done}};
	strcpy(request->ask.string, string);
	mutex_release(world_mutex(), &request->ask);
	table_deliver(table);
}

void world_ask(struct request *request, void (*how)(struct mutex *, struct ask *))
{
	request->done = false;
	request->ask.done = request_done;
	how(world_mutex(), &request->ask);
	table_deliver(table);
}

unsigned world_n_open(void)
{
	struct store_op *op;
	unsigned n = 0;

	TAILQ_FOREACH (op, &open_ops, entry)
		n++;
	return n;
}

struct store_op *world_first(void)
{
	return TAILQ_FIRST(&open_ops);
}

struct store_op *world_expect(enum store_verb verb)
{
	struct store_op *op = world_first();

	ck_assert_ptr_nonnull(op);
	ck_assert_int_eq(op->verb, verb);
	op->written = true;
	return op;
}

void world_answer(struct store_op *op, enum store_status status)
{
	TAILQ_REMOVE(&open_ops, op, entry);
	op->status = status;
	op->done(op);
	table_deliver(table);
}

void world_answer_ok(enum store_verb verb, int64_t fence)
{
	struct store_op *op = world_expect(verb);

	op->fence = fence;
	world_answer(op, STORE_OK);
}

void world_reply(enum store_verb verb, enum store_status status)
{
	world_answer(world_expect(verb), status);
}

void world_hold_ttl(struct request *request, struct client *client, int64_t ttl_ms, bool renew)
{
	world_acquire_ttl(request, client, 0, ttl_ms, renew);
	world_answer_ok(STORE_ACQUIRE, 7);
	OUTCOME(*request, OUTCOME_OK);
}

void world_hold(struct request *request, struct client *client)
{
	world_hold_ttl(request, client, 0, world_settings.renew);
}

void world_let_go(const char *string)
{
	struct request request;

	world_release(&request, string);
	world_reply(STORE_RELEASE, STORE_OK);
	OUTCOME(request, OUTCOME_OK);
}

struct store_watch *world_watch(void)
{
	return open_watch;
}

void world_watch_ready(void)
{
	ck_assert_ptr_nonnull(open_watch);
	open_watch->is_ready = true;
	open_watch->ready(open_watch);
	table_deliver(table);
}

void world_message(enum store_message message)
{
	ck_assert_ptr_nonnull(open_watch);
	open_watch->message(open_watch, message);
	table_deliver(table);
}
