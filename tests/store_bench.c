/* SPDX-License-Identifier: MIT */
/* A store on a test's bench. */
#include "config.h"

#include "store_bench.h"

#include <check.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "util/alloc.h"

enum { AWAIT_MS = 20000 };

int64_t bench_now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static int64_t bench_now_us(struct clock *clock)
{
	struct timespec now;

	(void)clock;
	clock_gettime(CLOCK_BOOTTIME, &now);
	return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static void bench_fill(struct entropy *entropy, void *buf, size_t size)
{
	(void)entropy;
	ck_assert_int_eq(getrandom(buf, size, 0), (ssize_t)size);
}

static void bench_event(struct store_listener *listener, struct store *store,
			enum store_event event)
{
	struct bench *bench = container_of(listener, struct bench, listener);

	ck_assert_ptr_eq(store, bench->store);
	if (event == STORE_EVENT_UP)
		bench->n_up++;
	else
		bench->n_changed++;
}

static void bench_env_turn(void *arg)
{
	((struct bench *)arg)->n_turns++;
}

void bench_init(struct bench *bench)
{
	signal(SIGPIPE, SIG_IGN); /* as the daemon does */
	*bench = (struct bench){0};
	bench->base = event_base_new();
	bench->clock.now_us = bench_now_us;
	bench->entropy.fill = bench_fill;
	bench->env = (struct store_env){
		.base = bench->base,
		.clock = &bench->clock,
		.entropy = &bench->entropy,
		.daemon_id = "00000000000000000000000000000001",
		.turn = bench_env_turn,
		.arg = bench,
	};
	bench->listener.event = bench_event;
}

void bench_deinit(struct bench *bench)
{
	bench_close(bench);
	event_base_free(bench->base);
}

void bench_open(struct bench *bench, const char *url, void (*tune)(struct store_settings *))
{
	struct store_settings settings = {
		.url = xstrdup(url),
		.pool_size = 1,
		.connect_timeout_ms = 1000,
		.command_timeout_ms = 1000,
	};
	char why[256];

	if (tune)
		tune(&settings);
	ck_assert_msg(store_settings_check(&settings, why, sizeof(why)), "%s", why);
	bench->store = store_open(&bench->env, &settings, &bench->listener);
	store_settings_deinit(&settings);
}

void bench_close(struct bench *bench)
{
	store_free(bench->store);
	bench->store = NULL;
}

/* ------------------------------------------------------------------ asking */

static struct bench *bench_in_use; /* for answer_done(), which has no other way to it */
static bool submitting;

static void answer_done(struct store_op *op)
{
	struct answer *answer = container_of(op, struct answer, op);

	ck_assert_msg(!submitting, "answered from inside store_submit()");
	ck_assert_msg(!answer->done, "answered twice");
	answer->done = true;
	answer->order = ++bench_in_use->n_answers;
	if (op->status == STORE_REFUSED || op->status == STORE_UNKNOWN)
		snprintf(answer->text, sizeof(answer->text), "%s", op->text);
	if (op->status == STORE_OK && op->broken)
		snprintf(answer->broken, sizeof(answer->broken), "%s", op->broken);
	if (op->status == STORE_HELD && op->holder)
		snprintf(answer->holder, sizeof(answer->holder), "%s", op->holder);
}

void answer_init(struct answer *answer, enum store_verb verb, const struct store_key *key,
		 char value)
{
	*answer = (struct answer){0};
	answer->op.verb = verb;
	answer->op.key = key;
	memset(answer->op.value, value, LOCK_STRING_LEN);
	memset(answer->op.next, value + 1, LOCK_STRING_LEN);
	answer->op.ttl_ms = 60000;
	answer->op.done = answer_done;
}

void bench_submit(struct bench *bench, struct answer *answer)
{
	bench_in_use = bench;
	submitting = true;
	store_submit(bench->store, &answer->op);
	submitting = false;
}

void bench_turn(struct bench *bench, int64_t wait_ms)
{
	struct timeval wait = {.tv_sec = wait_ms / 1000, .tv_usec = wait_ms % 1000 * 1000};

	bench_in_use = bench;
	while (store_flush(bench->store))
		;
	event_base_loopexit(bench->base, &wait);
	event_base_loop(bench->base, EVLOOP_ONCE);
	while (store_flush(bench->store))
		;
}

void bench_await(struct bench *bench, const struct answer *answer)
{
	int64_t end_ms = bench_now_ms() + AWAIT_MS;

	while (!answer->done) {
		ck_assert_msg(bench_now_ms() < end_ms, "no answer");
		bench_turn(bench, 20);
	}
}

void bench_await_count(struct bench *bench, const unsigned *counter, unsigned n)
{
	int64_t end_ms = bench_now_ms() + AWAIT_MS;

	while (*counter < n) {
		ck_assert_msg(bench_now_ms() < end_ms, "it did not come: %u of %u", *counter, n);
		bench_turn(bench, 20);
	}
}

void bench_turn_for(struct bench *bench, int64_t ms)
{
	int64_t end_ms = bench_now_ms() + ms;

	while (bench_now_ms() < end_ms)
		bench_turn(bench, end_ms - bench_now_ms());
}

static struct answer latest;

const struct answer *bench_do(struct bench *bench, enum store_verb verb,
			      const struct store_key *key, char value)
{
	answer_init(&latest, verb, key, value);
	bench_submit(bench, &latest);
	bench_await(bench, &latest);
	return &latest;
}

const struct answer *bench_acquire(struct bench *bench, const struct store_key *key, char value,
				   int64_t ttl_ms)
{
	answer_init(&latest, STORE_ACQUIRE, key, value);
	latest.op.ttl_ms = ttl_ms;
	bench_submit(bench, &latest);
	bench_await(bench, &latest);
	return &latest;
}
