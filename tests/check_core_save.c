/* SPDX-License-Identifier: MIT */
/* A table that is saved in one process and goes on in the next. */
#include "config.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/table_save.h"
#include "core_world.h"
#include "suite.h"
#include "util/alloc.h"

enum { N_CLIENTS = 8, N_REQUESTS = 8 };

/* The clients and their requests, in the process of before and in that of now. */
struct generation {
	struct client clients[N_CLIENTS];
	struct request requests[N_REQUESTS];
};

static struct generation generations[8];
static struct generation *now;

/* ------------------------------------------------------------------ names */

/* 100 + i: a client; 99: nobody. */
static uint64_t name_holder(struct table_namer *namer, const struct holder *holder)
{
	(void)namer;
	if (holder->kind == HOLDER_NOBODY)
		return 99;
	for (uint64_t i = 0; i < N_CLIENTS; i++) {
		if (holder == &now->clients[i].holder)
			return 100 + i;
	}
	ck_abort_msg("an unknown holder is saved");
}

static uint64_t name_ask(struct table_namer *namer, const struct ask *ask)
{
	(void)namer;
	for (uint64_t i = 0; i < N_REQUESTS; i++) {
		if (ask == &now->requests[i].ask)
			return 1 + i;
	}
	return 0;
}

static uint64_t name_section(struct table_namer *namer, const struct section *section)
{
	(void)namer;
	ck_assert_str_eq(section->name, "m");
	return 1;
}

static struct table_namer namer = {name_holder, name_ask, name_section};

static struct holder *find_holder(struct table_finder *finder, uint64_t name)
{
	(void)finder;
	if (name == 99)
		return table_nobody(table);
	return name >= 100 && name < 100 + N_CLIENTS ? &now->clients[name - 100].holder : NULL;
}

static struct ask *find_ask(struct table_finder *finder, uint64_t name)
{
	(void)finder;
	return name >= 1 && name <= N_REQUESTS ? &now->requests[name - 1].ask : NULL;
}

static struct section *old_section;

static struct section *find_section(struct table_finder *finder, uint64_t name)
{
	(void)finder;
	return name == 1 ? old_section : NULL;
}

static struct table_finder finder = {find_holder, find_ask, find_section};

/* ------------------------------------------------------------------ from one to the next */

static void save(struct record_writer *w)
{
	*w = (struct record_writer){0};
	record_open(w, "test");
	table_save(table, w, &namer);
	record_close(w);
}

/* The process of before ends as it does by execve(2): nothing of it is answered. */
static void end_process(void)
{
	struct generation *old = now++;

	table_abandon(table);
	world_forget();
	*now = *old;
	table_deliver(table);
	table_free(table);
	for (unsigned i = 0; i < N_CLIENTS; i++) {
		client_init(&now->clients[i]);
		now->clients[i].n_expiring = old->clients[i].n_expiring;
	}
	for (unsigned i = 0; i < N_REQUESTS; i++) {
		const struct request *from = &old->requests[i];
		struct request *to = &now->requests[i];
		const ptrdiff_t owner =
			container_of(from->ask.owner, struct client, holder) - old->clients;

		*to = (struct request){.done = from->done && !from->ask.mutex};
		strcpy(to->string, from->string);
		to->ask.done = from->ask.done;
		to->ask.ttl_ms = from->ask.ttl_ms;
		strcpy(to->ask.string, from->ask.string);
		if (!from->ask.owner)
			continue;
		to->ask.owner = &now->clients[owner].holder;
		to->ask.acquirer = to->ask.owner;
		to->ask.renew = from->ask.renew;
	}
}

/* What stood in `done` before the old process's asks were thrown away. */
static void keep_done(bool done[N_REQUESTS])
{
	for (unsigned i = 0; i < N_REQUESTS; i++)
		done[i] = now->requests[i].done;
}

static bool load_text(const char *data, size_t len, char *why, size_t size)
{
	struct record_reader reader;

	if (!record_reader_init(&reader, data, len)) {
		snprintf(why, size, "%s", reader.why);
		return false;
	}
	return table_load(table, reader, &finder, why, size);
}

/* To a process whose configuration has "m" at that key. */
static void upgrade_to(const char *key)
{
	bool done[N_REQUESTS];
	struct record_writer w;
	char why[160] = "";

	save(&w);
	keep_done(done);
	end_process();
	for (unsigned i = 0; i < N_REQUESTS; i++)
		now->requests[i].done = done[i];
	table = world_table(key);
	ck_assert_msg(load_text(w.data, w.len, why, sizeof(why)), "%s", why);
	record_writer_deinit(&w);
	table_deliver(table);
	world_pass_ms(0);
	/* What is held is compared at once. */
	while (world_n_open() && world_first()->verb == STORE_CHECK)
		world_reply(STORE_CHECK, STORE_OK);
}

static void upgrade(void)
{
	upgrade_to("key");
}

static void begin(void)
{
	now = generations;
	memset(generations, 0, sizeof(generations));
	for (unsigned i = 0; i < N_CLIENTS; i++)
		client_init(&now->clients[i]);
	world_begin();
	old_section = world_section("m", "key", &world_settings);
	old_section->n_refs = 1;
}

static void end(void)
{
	world_forget();
	world_end();
	old_section->free(old_section);
}

/* By number, since they move. */
static struct client *c(int i)
{
	return &now->clients[i];
}

static struct request *r(int i)
{
	return &now->requests[i];
}

static void grant(int i)
{
	world_hold(r(i), c(i));
}

static void expect_done(int i, enum outcome outcome)
{
	ck_assert_msg(r(i)->done, "request %d is not answered", i);
	ck_assert_int_eq(r(i)->ask.outcome, outcome);
}

/* ------------------------------------------------------------------ what is held */

START_TEST(a_held_lock_stays_held_with_its_lease_and_fence)
	{
		char string[LOCK_STRING_SIZE];
		int64_t left_us;

		begin();
		grant(0);
		strcpy(string, r(0)->string);
		world_pass_ms(1000);
		left_us = mutex_lock_left_us(world_mutex());
		upgrade();
		ck_assert_ptr_nonnull(mutex_lock(world_mutex()));
		ck_assert_str_eq(mutex_lock(world_mutex())->string, string);
		ck_assert_int_eq(mutex_lock(world_mutex())->fence, 7 * 1024);
		ck_assert_int_eq(mutex_lock_left_us(world_mutex()), left_us);
		ck_assert_ptr_eq(mutex_lock(world_mutex())->owner, &c(0)->holder);
		ck_assert_ptr_eq(mutex_lock(world_mutex())->acquirer, &c(0)->holder);
		world_release(r(1), string);
		world_reply(STORE_RELEASE, STORE_OK);
		expect_done(1, OUTCOME_OK);
		end();
	}
END_TEST

START_TEST(renewal_goes_on)
	{
		world_settings.renew = true;
		begin();
		grant(0);
		world_pass_ms(2000);
		upgrade();
		for (int i = 0; i < 3; i++) {
			while (!world_n_open())
				world_pass_ms(100);
			world_reply(STORE_EXTEND, STORE_OK);
		}
		ck_assert_int_ge(mutex_lock_left_us(world_mutex()), 9000000);
		ck_assert_uint_eq(c(0)->n_lost, 0);
		end();
	}
END_TEST

START_TEST(a_renewal_under_way_is_sent_again)
	{
		world_settings.renew = true;
		begin();
		grant(0);
		while (!world_n_open())
			world_pass_ms(10);
		world_expect(STORE_EXTEND);
		upgrade();
		world_reply(STORE_EXTEND, STORE_OK);
		ck_assert_ptr_nonnull(mutex_lock(world_mutex()));
		end();
	}
END_TEST

START_TEST(what_is_held_is_compared_at_once)
	{
		struct record_writer w;
		char why[160];

		begin();
		grant(0);
		save(&w);
		end_process();
		table = world_table("key");
		ck_assert(load_text(w.data, w.len, why, sizeof(why)));
		record_writer_deinit(&w);
		world_pass_ms(0);
		world_reply(STORE_CHECK, STORE_GONE);
		ck_assert_uint_eq(c(0)->n_lost, 1);
		ck_assert_int_eq(c(0)->reason, LOST_REPLACED);
		end();
	}
END_TEST

START_TEST(expiring_is_told_once)
	{
		begin();
		grant(0);
		while (!c(0)->n_expiring) {
			world_pass_ms(10);
			while (world_n_open())
				world_reply(STORE_CHECK, STORE_OK);
		}
		upgrade();
		for (int i = 0; i < 100; i++) {
			world_pass_ms(10);
			while (world_n_open())
				world_reply(STORE_CHECK, STORE_OK);
		}
		ck_assert_uint_eq(c(0)->n_expiring, 1);
		end();
	}
END_TEST

START_TEST(expiring_that_was_not_told_is_told_after)
	{
		begin();
		grant(0);
		upgrade();
		for (int i = 0; i < 700; i++) {
			world_pass_ms(10);
			while (world_n_open())
				world_reply(STORE_CHECK, STORE_OK);
		}
		ck_assert_uint_eq(c(0)->n_expiring, 1);
		end();
	}
END_TEST

START_TEST(a_lease_that_ends_meanwhile_is_lost)
	{
		struct record_writer w;
		char why[160];

		begin();
		grant(0);
		save(&w);
		end_process();
		world_now_us += INT64_C(11000000);
		table = world_table("key");
		ck_assert(load_text(w.data, w.len, why, sizeof(why)));
		record_writer_deinit(&w);
		world_pass_ms(0);
		ck_assert_uint_eq(c(0)->n_lost, 1);
		ck_assert_int_eq(c(0)->reason, LOST_EXPIRED);
		end();
	}
END_TEST

START_TEST(a_lost_lock_stays_dead_as_long_as_its_key_may_stand)
	{
		begin();
		grant(0);
		while (!c(0)->n_lost) {
			world_pass_ms(10);
			while (world_n_open())
				world_reply(STORE_CHECK, STORE_OK);
		}
		upgrade();
		world_release(r(1), r(0)->string);
		expect_done(1, OUTCOME_UNLOCK_FAIL);
		ck_assert_uint_eq(world_n_open(), 0);
		end();
	}
END_TEST

START_TEST(a_claim_of_the_daemons_own_goes_on_being_passed_inside_its_lease)
	{
		int64_t fence;

		world_settings.handoff = HANDOFF_LOCAL;
		begin();
		grant(0);
		world_acquire(r(1), c(1), 5000);
		fence = r(0)->fence;
		upgrade();
		world_release(r(2), r(0)->string);
		expect_done(2, OUTCOME_OK);
		expect_done(1, OUTCOME_OK);
		ck_assert_int_eq(r(1)->fence, fence + 1);
		end();
	}
END_TEST

START_TEST(a_lock_of_nobody_stays)
	{
		begin();
		world_acquire(r(0), c(0), 0);
		world_answer_ok(STORE_ACQUIRE, 7);
		/* As if it had been asked for so. */
		world_release(r(1), r(0)->string);
		world_reply(STORE_RELEASE, STORE_OK);
		*r(0) = (struct request){
			.ask = {.owner = table_nobody(table), .acquirer = &c(0)->holder}};
		r(0)->ask.done = r(1)->ask.done;
		mutex_acquire(world_mutex(), &r(0)->ask);
		world_answer_ok(STORE_ACQUIRE, 8);
		r(0)->ask.owner = NULL;
		upgrade();
		ck_assert_ptr_eq(mutex_lock(world_mutex())->owner, table_nobody(table));
		table_drop_holder(table, &c(0)->holder);
		ck_assert_ptr_nonnull(mutex_lock(world_mutex()));
		end();
	}
END_TEST

/* ------------------------------------------------------------------ who waits */

START_TEST(waiters_keep_their_order)
	{
		begin();
		grant(0);
		for (int i = 1; i < 5; i++)
			world_acquire(r(i), c(i), i == 3 ? CLOCK_NEVER : 60000);
		upgrade();
		ck_assert_uint_eq(mutex_n_waiters(world_mutex()), 4);
		for (int i = 1; i < 5; i++) {
			world_release(r(7), r(i - 1)->string);
			world_answer_ok(STORE_REPLACE, 10 + i);
			expect_done(7, OUTCOME_OK);
			expect_done(i, OUTCOME_OK);
			for (int j = i + 1; j < 5; j++)
				ck_assert(!r(j)->done);
			if (i == 2)
				upgrade();
		}
		end();
	}
END_TEST

START_TEST(a_wait_ends_when_it_would_have_ended)
	{
		begin();
		grant(0);
		world_acquire(r(1), c(1), 2000);
		world_pass_ms(1500);
		upgrade();
		world_pass_ms(499);
		ck_assert(!r(1)->done);
		world_pass_ms(1);
		expect_done(1, OUTCOME_ALREADY_LOCKED);
		end();
	}
END_TEST

START_TEST(waiters_for_a_foreign_lock_look_when_they_can_hear)
	{
		begin();
		world_acquire(r(0), c(0), 60000);
		world_reply(STORE_ACQUIRE, STORE_HELD);
		upgrade();
		ck_assert_uint_eq(world_n_open(), 0);
		world_watch_ready();
		world_answer_ok(STORE_ACQUIRE, 7);
		expect_done(0, OUTCOME_OK);
		end();
	}
END_TEST

START_TEST(waiters_for_a_foreign_lock_look_at_its_time_anyway)
	{
		begin();
		world_acquire(r(0), c(0), 60000);
		world_reply(STORE_ACQUIRE, STORE_HELD);
		upgrade();
		world_pass_ms(1500);
		world_answer_ok(STORE_ACQUIRE, 7);
		expect_done(0, OUTCOME_OK);
		end();
	}
END_TEST

START_TEST(a_daemon_that_stays_out_goes_on_staying_out)
	{
		world_settings.handoff_limit = 1;
		begin();
		grant(0);
		world_acquire(r(1), c(1), 60000);
		world_release(r(2), r(0)->string);
		world_expect(STORE_REPLACE)->contenders = 1;
		world_answer_ok(STORE_REPLACE, 8);
		world_acquire(r(3), c(3), 60000);
		world_release(r(2), r(1)->string);
		world_reply(STORE_RELEASE, STORE_OK);
		ck_assert_int_eq(mutex_state(world_mutex()), MUTEX_STAYING_OUT);
		upgrade();
		ck_assert_int_eq(mutex_state(world_mutex()), MUTEX_STAYING_OUT);
		ck_assert_uint_eq(world_n_open(), 0);
		world_pass_ms(100);
		world_answer_ok(STORE_ACQUIRE, 9);
		expect_done(3, OUTCOME_OK);
		end();
	}
END_TEST

/* ------------------------------------------------------------------ what is under way */

START_TEST(an_acquire_under_way_is_settled_with_its_own_string)
	{
		char string[LOCK_STRING_SIZE];

		begin();
		world_acquire(r(0), c(0), 5000);
		strcpy(string, world_expect(STORE_ACQUIRE)->value);
		upgrade();
		ck_assert_str_eq(world_expect(STORE_ACQUIRE)->value, string);
		ck_assert(!world_first()->plain);
		world_answer_ok(STORE_ACQUIRE, 7);
		expect_done(0, OUTCOME_OK);
		ck_assert_str_eq(r(0)->string, string);
		end();
	}
END_TEST

START_TEST(a_string_that_may_come_late_is_removed_again_and_again)
	{
		char string[LOCK_STRING_SIZE];

		begin();
		world_acquire(r(0), c(0), 0);
		strcpy(string, world_expect(STORE_ACQUIRE)->value);
		upgrade();
		world_reply(STORE_ACQUIRE, STORE_HELD);
		expect_done(0, OUTCOME_ALREADY_LOCKED);
		/* The command of before may be carried out later, whatever the store says of its
		 * own. */
		for (int i = 0; i < 3; i++) {
			world_pass_ms(1000);
			ck_assert_str_eq(world_expect(STORE_RELEASE)->value, string);
			world_reply(STORE_RELEASE, STORE_HELD);
			if (i == 1)
				upgrade();
		}
		end();
	}
END_TEST

START_TEST(what_was_lost_before_may_come_late_although_nothing_is_open)
	{
		char string[LOCK_STRING_SIZE];
		struct store_op *op;

		begin();
		world_acquire(r(0), c(0), 0);
		op = world_expect(STORE_ACQUIRE);
		strcpy(string, op->value);
		op->settled = false;
		world_answer(op, STORE_UNKNOWN);
		expect_done(0, OUTCOME_UNAVAILABLE);
		ck_assert_uint_eq(world_n_open(), 0);
		upgrade();
		/* The stores of this process know of no lost connection. */
		for (int i = 0; i < 3; i++) {
			world_pass_ms(1100);
			ck_assert_str_eq(world_expect(STORE_RELEASE)->value, string);
			world_reply(STORE_RELEASE, STORE_GONE);
		}
		end();
	}
END_TEST

START_TEST(who_waits_for_a_string_that_came_late_gets_it_when_it_is_removed)
	{
		begin();
		world_acquire(r(0), c(0), 0);
		world_expect(STORE_ACQUIRE)->settled = false;
		world_reply(STORE_ACQUIRE, STORE_UNKNOWN);
		expect_done(0, OUTCOME_UNAVAILABLE);
		world_pass_ms(30);
		world_expect(STORE_RELEASE)->settled = false;
		world_reply(STORE_RELEASE, STORE_GONE);
		upgrade();
		world_acquire(r(1), c(1), CLOCK_NEVER);
		world_reply(STORE_ACQUIRE, STORE_HELD);
		world_watch_ready();
		world_reply(STORE_ACQUIRE, STORE_HELD);
		world_pass_ms(1000);
		world_reply(STORE_RELEASE, STORE_OK);
		/* Nobody else tells of what we release. */
		world_answer_ok(STORE_ACQUIRE, 7);
		expect_done(1, OUTCOME_OK);
		end();
	}
END_TEST

START_TEST(an_acquire_that_never_left_is_not_in_doubt)
	{
		begin();
		world_acquire(r(0), c(0), 0);
		ck_assert(!world_first()->written);
		upgrade();
		world_reply(STORE_ACQUIRE, STORE_HELD);
		expect_done(0, OUTCOME_ALREADY_LOCKED);
		world_pass_ms(5000);
		ck_assert_uint_eq(world_n_open(), 0);
		end();
	}
END_TEST

START_TEST(a_hand_over_under_way_is_settled_with_the_same_strings)
	{
		char value[LOCK_STRING_SIZE], next[LOCK_STRING_SIZE];

		begin();
		grant(0);
		world_acquire(r(1), c(1), 5000);
		world_release(r(2), r(0)->string);
		strcpy(value, world_expect(STORE_REPLACE)->value);
		strcpy(next, world_first()->next);
		upgrade();
		ck_assert_str_eq(world_expect(STORE_REPLACE)->value, value);
		ck_assert_str_eq(world_first()->next, next);
		ck_assert(!r(2)->done);
		world_answer_ok(STORE_REPLACE, 8);
		expect_done(2, OUTCOME_OK);
		expect_done(1, OUTCOME_OK);
		ck_assert_str_eq(r(1)->string, next);
		end();
	}
END_TEST

START_TEST(a_hand_over_that_is_long_over_is_given_up_and_its_release_answered)
	{
		struct record_writer w;
		char why[160];

		begin();
		grant(0);
		world_acquire(r(1), c(1), 500000);
		world_release(r(2), r(0)->string);
		world_expect(STORE_REPLACE);
		save(&w);
		end_process();
		now->requests[1].done = now->requests[2].done = false;
		world_now_us += INT64_C(80000000); /* the machine slept */
		table = world_table("key");
		ck_assert(load_text(w.data, w.len, why, sizeof(why)));
		record_writer_deinit(&w);
		world_pass_ms(0);
		expect_done(2, OUTCOME_UNAVAILABLE);
		while (!r(1)->done) {
			if (world_first()->verb == STORE_ACQUIRE)
				world_answer_ok(STORE_ACQUIRE, 9);
			else
				world_reply(STORE_RELEASE, STORE_GONE);
		}
		expect_done(1, OUTCOME_OK);
		end();
	}
END_TEST

START_TEST(a_release_under_way_is_sent_again_and_may_have_happened)
	{
		begin();
		grant(0);
		world_release(r(1), r(0)->string);
		world_expect(STORE_RELEASE);
		upgrade();
		ck_assert(!r(1)->done);
		ck_assert_str_eq(world_expect(STORE_RELEASE)->value, r(0)->string);
		world_reply(STORE_RELEASE, STORE_GONE);
		expect_done(1, OUTCOME_OK);
		ck_assert_int_eq(mutex_state(world_mutex()), MUTEX_FREE);
		end();
	}
END_TEST

START_TEST(a_release_behind_an_extension_is_sent_until_it_is_answered)
	{
		begin();
		grant(0);
		strcpy(r(1)->ask.string, r(0)->string);
		r(1)->ask.ttl_ms = 100000;
		world_ask(r(1), mutex_extend);
		world_expect(STORE_EXTEND);
		world_release(r(2), r(0)->string);
		upgrade();
		/* The extension may have been carried out: 10 s were the lock's own time. */
		for (int i = 0; i < 20; i++) {
			world_reply(STORE_RELEASE, STORE_UNKNOWN);
			world_pass_ms(1000);
		}
		world_reply(STORE_RELEASE, STORE_OK);
		end();
	}
END_TEST

START_TEST(a_release_that_nobody_hears_of_goes_on)
	{
		begin();
		grant(0);
		table_drop_holder(table, &c(0)->holder);
		world_reply(STORE_RELEASE, STORE_REFUSED);
		upgrade();
		world_pass_ms(1000);
		world_reply(STORE_RELEASE, STORE_OK);
		ck_assert_int_eq(mutex_state(world_mutex()), MUTEX_FREE);
		end();
	}
END_TEST

START_TEST(a_release_of_another_daemons_lock_is_sent_again)
	{
		static const char foreign[] = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

		begin();
		world_release(r(0), foreign);
		world_expect(STORE_RELEASE);
		upgrade();
		ck_assert(!r(0)->done);
		ck_assert_str_eq(world_expect(STORE_RELEASE)->value, foreign);
		world_reply(STORE_RELEASE, STORE_GONE);
		expect_done(0, OUTCOME_OK);
		end();
	}
END_TEST

START_TEST(settling_goes_on_at_its_time)
	{
		begin();
		world_acquire(r(0), c(0), 60000);
		world_reply(STORE_ACQUIRE, STORE_UNKNOWN);
		ck_assert_int_eq(mutex_state(world_mutex()), MUTEX_SETTLING);
		upgrade();
		ck_assert_int_eq(mutex_state(world_mutex()), MUTEX_SETTLING);
		world_pass_ms(100);
		world_answer_ok(STORE_ACQUIRE, 7);
		expect_done(0, OUTCOME_OK);
		ck_assert_uint_eq(table_stats(table)->settled, 1);
		end();
	}
END_TEST

START_TEST(looks_and_extensions_are_asked_anew)
	{
		begin();
		world_ask(r(0), mutex_exists);
		world_expect(STORE_LOOK);
		upgrade();
		world_reply(STORE_LOOK, STORE_HELD);
		expect_done(0, OUTCOME_OK);
		ck_assert(r(0)->ask.locked);
		grant(1);
		strcpy(r(2)->ask.string, r(1)->string);
		r(2)->ask.ttl_ms = 30000;
		world_ask(r(2), mutex_extend);
		world_expect(STORE_EXTEND);
		upgrade();
		ck_assert_int_eq(world_expect(STORE_EXTEND)->ttl_ms, 30000);
		world_reply(STORE_EXTEND, STORE_OK);
		expect_done(2, OUTCOME_OK);
		ck_assert_int_ge(mutex_lock_left_us(world_mutex()), 29000000);
		end();
	}
END_TEST

START_TEST(a_break_is_not_said_twice)
	{
		unsigned n_breaks;

		begin();
		world_ask(r(0), mutex_break);
		world_expect(STORE_BREAK);
		ck_assert_uint_eq(table_n_commands(table, &n_breaks), 1);
		ck_assert_uint_eq(n_breaks, 1);
		upgrade();
		expect_done(0, OUTCOME_UNAVAILABLE);
		ck_assert_uint_eq(world_n_open(), 0);
		end();
	}
END_TEST

START_TEST(a_lingering_claim_is_given_back)
	{
		world_settings.linger_ms = 1000;
		begin();
		world_acquire(r(0), c(0), 0);
		world_answer_ok(STORE_ACQUIRE, 7);
		world_watch_ready();
		world_release(r(1), r(0)->string);
		ck_assert_int_eq(mutex_state(world_mutex()), MUTEX_LINGERING);
		upgrade();
		world_reply(STORE_RELEASE, STORE_OK);
		ck_assert_int_eq(mutex_state(world_mutex()), MUTEX_FREE);
		end();
	}
END_TEST

START_TEST(fences_grow_over_it)
	{
		begin();
		grant(0);
		world_release(r(1), r(0)->string);
		world_reply(STORE_RELEASE, STORE_OK);
		upgrade();
		world_acquire(r(2), c(2), 0);
		ck_assert_int_eq(world_expect(STORE_ACQUIRE)->fence_floor, 7);
		end();
	}
END_TEST

START_TEST(counters_go_on)
	{
		begin();
		grant(0);
		upgrade();
		ck_assert_uint_eq(table_stats(table)->grants, 1);
		world_release(r(1), r(0)->string);
		world_reply(STORE_RELEASE, STORE_OK);
		ck_assert_uint_eq(table_stats(table)->releases, 1);
		end();
	}
END_TEST

/* ------------------------------------------------------------------ another configuration */

START_TEST(a_changed_key_takes_effect_at_the_release)
	{
		begin();
		grant(0);
		world_acquire(r(1), c(1), 60000);
		upgrade_to("other");
		ck_assert_str_eq(mutex_key(world_mutex())->key, "key");
		world_release(r(2), r(0)->string);
		ck_assert_str_eq(world_expect(STORE_RELEASE)->key->key, "key");
		world_reply(STORE_RELEASE, STORE_OK);
		ck_assert_str_eq(world_expect(STORE_ACQUIRE)->key->key, "other");
		world_answer_ok(STORE_ACQUIRE, 8);
		expect_done(1, OUTCOME_OK);
		end();
	}
END_TEST

START_TEST(a_mutex_that_is_configured_no_more_ends_with_its_lock)
	{
		struct record_writer w;
		char why[160];

		begin();
		grant(0);
		world_acquire(r(1), c(1), 60000);
		save(&w);
		end_process();
		r(1)->done = false;
		table = world_table("key");
		table_configure(table, NULL, 0);
		table_deliver(table);
		ck_assert_ptr_null(table_peek(table, "m", 1));
		ck_assert(load_text(w.data, w.len, why, sizeof(why)));
		record_writer_deinit(&w);
		table_deliver(table);
		expect_done(1, OUTCOME_UNKNOWN_MUTEX);
		ck_assert_ptr_nonnull(mutex_lock(world_mutex()));
		world_reply(STORE_CHECK, STORE_OK);
		world_release(r(2), r(0)->string);
		world_reply(STORE_RELEASE, STORE_OK);
		ck_assert_ptr_null(table_peek(table, "m", 1));
		end();
	}
END_TEST

/* ------------------------------------------------------------------ what cannot be trusted */

/* A state with some of everything. */
static void begin_with_much(struct record_writer *w)
{
	world_settings.announce = true;
	begin();
	grant(0);
	world_acquire(r(1), c(1), 5000);
	world_acquire(r(2), c(2), 60000);
	r(2)->ask.announce = "host=here";
	world_release(r(3), r(0)->string);
	world_ask(r(4), mutex_exists);
	world_release(r(5), "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=");
	save(w);
}

START_TEST(what_makes_no_sense_is_refused)
	{
		static const struct {
			const char *text, *why;
		} cases[] = {
			{"lock string=x\n", "a lock belongs to no mutex"},
			{"mutex name=m section=1 place=1 state=dancing\n",
			 "m: its state is not known"},
			{"mutex name=m section=1 place=1 state=acquiring\n",
			 "m: its state is not known"},
			{"mutex name=m section=1 place=7 state=free\n",
			 "a mutex has no name, or no section"},
			{"mutex section=1 place=1 state=free\n",
			 "a mutex has no name, or no section"},
			{"mutex name=m section=1 place=1 state=held\n",
			 "m: it is held, which does not fit the rest"},
			{"mutex name=m section=1 place=1 state=free value=short\n",
			 "m: what stands in its store is no lock string"},
			{"mutex name=m section=1 place=1 state=settling\n",
			 "m: its command is not known"},
			{"mutex name=m section=1 place=1 state=elsewhere\nwaiter ask=77\n",
			 "m: who waits for it is not known"},
			{"mutex name=m section=1 place=1 state=free\nremoval place=1\n",
			 "m: what is to be removed from its store is not known"},
			{"mutex name=m section=1 place=1 state=free\ndead value=short\n",
			 "m: what is dead of it is no lock string"},
		};

		for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
			int lines = 1;
			char *text, why[160] = "";

			begin();
			for (const char *p = cases[i].text; *p; p++)
				lines += *p == '\n';
			text = xasprintf("redmutexd_state version=1\n%send records=%d\n",
					 cases[i].text, lines);
			ck_assert(!load_text(text, strlen(text), why, sizeof(why)));
			ck_assert_str_eq(why, cases[i].why);
			free(text);
			end();
		}
	}
END_TEST

START_TEST(what_is_unknown_is_ignored)
	{
		static const char text[] = "redmutexd_state version=1 colour=blue\n"
					   "weather rain=yes\n"
					   "mutex name=m section=1 place=1 state=free taste=sweet\n"
					   "end records=3 mood=good\n";
		char why[160] = "";

		begin();
		ck_assert_msg(load_text(text, strlen(text), why, sizeof(why)), "%s", why);
		end();
	}
END_TEST

/* xorshift64*, https://vigna.di.unimi.it/ftp/papers/xorshift.pdf */
static uint64_t random_next(uint64_t *state)
{
	*state ^= *state >> 12;
	*state ^= *state << 25;
	*state ^= *state >> 27;
	return *state * UINT64_C(2685821657736338717);
}

/* Swaps bytes, numbers, lines: what is left is often well-formed and makes no sense. */
static void mutate(char *data, size_t *len, uint64_t *state)
{
	for (uint64_t n = 1 + random_next(state) % 4; n > 0; n--) {
		const size_t at = random_next(state) % *len;
		char *line = memchr(data + at, '\n', *len - at), *next;

		switch (random_next(state) % 5) {
		case 0:
			data[at] = (char)random_next(state);
			break;
		case 1:
			data[at] = (char)('0' + random_next(state) % 10);
			break;
		case 2: /* a field that nobody knows */
			next = memchr(data + at, '=', *len - at);
			if (next)
				next[-1] = 'x';
			break;
		case 3: /* a line twice as long, or one less */
			if (line)
				*line = ' ';
			break;
		default: /* another record's type */
			if (line && line + 1 < data + *len)
				line[1] = "mlwrtf"[random_next(state) % 6];
			break;
		}
	}
}

START_TEST(no_mutation_of_it_harms)
	{
		struct record_writer w;
		uint64_t state = 88172645463325252u;
		unsigned good = 0;
		char why[160];

		begin_with_much(&w);
		end_process();
		for (int i = 0; i < 20000; i++) {
			size_t len = w.len;
			char *copy = malloc(len);

			memcpy(copy, w.data, len);
			mutate(copy, &len, &state);
			for (int j = 0; j < N_REQUESTS; j++) {
				r(j)->done = false;
				r(j)->ask.state = ASK_IDLE;
			}
			table = world_table("key");
			if (load_text(copy, len, why, sizeof(why))) {
				good++;
				world_pass_ms(i % 3);
			}
			table_abandon(table);
			world_forget();
			table_deliver(table);
			table_free(table);
			free(copy);
		}
		ck_assert_uint_gt(good, 100);
		record_writer_deinit(&w);
		table = world_table("key");
		end();
	}
END_TEST

static Suite *suite(void)
{
	Suite *suite = suite_create("core save");
	TCase *tcase;

	tcase = tcase_create("held");
	tcase_add_test(tcase, a_held_lock_stays_held_with_its_lease_and_fence);
	tcase_add_test(tcase, renewal_goes_on);
	tcase_add_test(tcase, a_renewal_under_way_is_sent_again);
	tcase_add_test(tcase, what_is_held_is_compared_at_once);
	tcase_add_test(tcase, expiring_is_told_once);
	tcase_add_test(tcase, expiring_that_was_not_told_is_told_after);
	tcase_add_test(tcase, a_lease_that_ends_meanwhile_is_lost);
	tcase_add_test(tcase, a_lost_lock_stays_dead_as_long_as_its_key_may_stand);
	tcase_add_test(tcase, a_claim_of_the_daemons_own_goes_on_being_passed_inside_its_lease);
	tcase_add_test(tcase, a_lock_of_nobody_stays);
	suite_add_tcase(suite, tcase);

	tcase = tcase_create("waiters");
	tcase_add_test(tcase, waiters_keep_their_order);
	tcase_add_test(tcase, a_wait_ends_when_it_would_have_ended);
	tcase_add_test(tcase, waiters_for_a_foreign_lock_look_when_they_can_hear);
	tcase_add_test(tcase, waiters_for_a_foreign_lock_look_at_its_time_anyway);
	tcase_add_test(tcase, a_daemon_that_stays_out_goes_on_staying_out);
	suite_add_tcase(suite, tcase);

	tcase = tcase_create("under way");
	tcase_add_test(tcase, an_acquire_under_way_is_settled_with_its_own_string);
	tcase_add_test(tcase, a_string_that_may_come_late_is_removed_again_and_again);
	tcase_add_test(tcase, what_was_lost_before_may_come_late_although_nothing_is_open);
	tcase_add_test(tcase, who_waits_for_a_string_that_came_late_gets_it_when_it_is_removed);
	tcase_add_test(tcase, an_acquire_that_never_left_is_not_in_doubt);
	tcase_add_test(tcase, a_hand_over_under_way_is_settled_with_the_same_strings);
	tcase_add_test(tcase, a_hand_over_that_is_long_over_is_given_up_and_its_release_answered);
	tcase_add_test(tcase, a_release_under_way_is_sent_again_and_may_have_happened);
	tcase_add_test(tcase, a_release_behind_an_extension_is_sent_until_it_is_answered);
	tcase_add_test(tcase, a_release_that_nobody_hears_of_goes_on);
	tcase_add_test(tcase, a_release_of_another_daemons_lock_is_sent_again);
	tcase_add_test(tcase, settling_goes_on_at_its_time);
	tcase_add_test(tcase, looks_and_extensions_are_asked_anew);
	tcase_add_test(tcase, a_break_is_not_said_twice);
	tcase_add_test(tcase, a_lingering_claim_is_given_back);
	tcase_add_test(tcase, fences_grow_over_it);
	tcase_add_test(tcase, counters_go_on);
	suite_add_tcase(suite, tcase);

	tcase = tcase_create("configuration");
	tcase_add_test(tcase, a_changed_key_takes_effect_at_the_release);
	tcase_add_test(tcase, a_mutex_that_is_configured_no_more_ends_with_its_lock);
	suite_add_tcase(suite, tcase);

	tcase = tcase_create("trust");
	tcase_set_timeout(tcase, 60);
	tcase_add_test(tcase, what_makes_no_sense_is_refused);
	tcase_add_test(tcase, what_is_unknown_is_ignored);
	tcase_add_test(tcase, no_mutation_of_it_harms);
	suite_add_tcase(suite, tcase);
	return suite;
}

int main(void)
{
	return suite_run(suite());
}
