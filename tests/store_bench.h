/* SPDX-License-Identifier: MIT */
#ifndef REDMUTEXD_TESTS_STORE_BENCH_H
#define REDMUTEXD_TESTS_STORE_BENCH_H
/* A store on a test's bench: opened, turned by hand, asked, and what it answers written down. */
#include <event2/event.h>
#include <stdbool.h>

#include "store/open.h"

/* What an answer said, kept when the op is gone. */
struct answer {
	struct store_op op; /* its pointers are dead; see text and holder below */
	bool done;
	unsigned order; /* among all answers of the bench, from 1 */
	char text[256], holder[128], broken[128];
};

struct bench {
	struct event_base *base;
	struct clock clock;
	struct entropy entropy;
	struct store_env env;
	struct store_listener listener;
	struct store *store;
	unsigned n_up, n_changed, n_answers, n_turns;
};

void bench_init(struct bench *bench);
void bench_deinit(struct bench *bench);
/* Timeouts of 1000 ms, one link, unless `tune` says otherwise. */
void bench_open(struct bench *bench, const char *url, void (*tune)(struct store_settings *));
void bench_close(struct bench *bench);
int64_t bench_now_ms(void);

/* Prepares an op with an unmistakable value: 44 times the character, or the next one. */
void answer_init(struct answer *answer, enum store_verb verb, const struct store_key *key,
		 char value);
void bench_submit(struct bench *bench, struct answer *answer);
/* One turn of the loop, with the flush at its end; waits for events for so long at most. */
void bench_turn(struct bench *bench, int64_t wait_ms);
/* Turns until the answer is there; fails the test after 20 s. */
void bench_await(struct bench *bench, const struct answer *answer);
/* Turns until *counter is at least n. */
void bench_await_count(struct bench *bench, const unsigned *counter, unsigned n);
/* Turns for so long, whatever happens. */
void bench_turn_for(struct bench *bench, int64_t ms);

/* Prepare, submit and await in one; the answer is valid until the next of these. */
const struct answer *bench_do(struct bench *bench, enum store_verb verb,
			      const struct store_key *key, char value);
const struct answer *bench_acquire(struct bench *bench, const struct store_key *key, char value,
				   int64_t ttl_ms);

#endif
