/* SPDX-License-Identifier: MIT */
#ifndef REDMUTEXD_TESTS_CORE_WORLD_H
#define REDMUTEXD_TESTS_CORE_WORLD_H
/*
 * A world for one table of the core: a clock that the test turns by hand, and a store whose
 * commands pile up until the test answers them, one by one, as it likes.
 */
#include <check.h>

#include "core/table.h"

struct client {
	struct holder holder;
	unsigned n_lost, n_expiring;
	enum lost_reason reason;
	char lost[LOCK_STRING_SIZE];
	int64_t left_ms;
};

struct request {
	struct ask ask;
	bool done;
	char string[LOCK_STRING_SIZE]; /* of the lock granted */
	int64_t fence;
};

extern struct table *table;
extern struct store world_store;
extern int64_t world_now_us;

/* What the first section of the next world_begin() is like: change it before. */
extern struct mutex_settings world_settings;
/* What the table of the next world_begin() notes claims in; or NULL. */
extern struct journal *world_journal;

void world_begin(void);
/* Asserts that nothing is left: answers what is open, drops nobody. */
void world_end(void);

/* Another table in the same world, with "m" and these settings; the caller's. */
struct table *world_table(const char *key);
/* What is open will never be answered: the process that asked is gone. */
void world_forget(void);

struct section *world_section(const char *name, const char *key,
			      const struct mutex_settings *settings);
struct mutex *world_mutex(void); /* "m" of the first section */

/* Time passes, in steps small enough that every timer is run at its time. */
void world_pass_ms(int64_t ms);
/* Time passes at once, as if the process had been stopped. */
void world_jump_ms(int64_t ms);

void client_init(struct client *client);

/* Asks are delivered within these calls. */
void world_acquire(struct request *request, struct client *client, int64_t wait_ms);
void world_acquire_ttl(struct request *request, struct client *client, int64_t wait_ms,
		       int64_t ttl_ms, bool renew);
void world_release(struct request *request, const char *string);
void world_ask(struct request *request, void (*how)(struct mutex *, struct ask *));

/* The request is answered, and so. */
#define OUTCOME(request, expected)                                                                 \
	do {                                                                                       \
		ck_assert((request).done);                                                         \
		ck_assert_int_eq((request).ask.outcome, expected);                                 \
	} while (0)
/* Acquires the free mutex, with 7 as its fence; releases it. The store says yes at once. */
void world_hold(struct request *request, struct client *client);
void world_hold_ttl(struct request *request, struct client *client, int64_t ttl_ms, bool renew);
void world_let_go(const char *string);

/* How many commands are unanswered, and the first of them (NULL: none). */
unsigned world_n_open(void);
struct store_op *world_first(void);
/* The first unanswered one has this verb; asserts it. Marks it as written. */
struct store_op *world_expect(enum store_verb verb);
/* Answers it; the result fields that matter may be set before. */
void world_answer(struct store_op *op, enum store_status status);
void world_answer_ok(enum store_verb verb, int64_t fence);
/* world_expect() and world_answer() in one. */
void world_reply(enum store_verb verb, enum store_status status);

/* The watch that the core has open, or NULL. */
struct store_watch *world_watch(void);
void world_watch_ready(void);
void world_message(enum store_message message);

/* All that was submitted so far. */
extern unsigned world_n_commands;

#endif
