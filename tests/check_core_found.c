/* SPDX-License-Identifier: MIT */
/*
 * What the simulation has found: each mistake as the shortest story in which it shows. Those of
 * several servers are in check_store_quorum.c.
 */
#include "config.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/mutex_private.h"
#include "core_world.h"
#include "suite.h"

static struct client a, b, c;
static struct request ra, rb, rc, rd;

static void setup(void)
{
	client_init(&a);
	client_init(&b);
	client_init(&c);
}

static void extend(struct request *request, const char *string, int64_t ttl_ms)
{
	*request = (struct request){.ask = {.ttl_ms = ttl_ms}};
	strcpy(request->ask.string, string);
	world_ask(request, mutex_extend);
}

/* "m" is held elsewhere, and `request` waits for it. */
static void wait_elsewhere(struct request *request, struct client *client)
{
	world_acquire(request, client, CLOCK_NEVER);
	world_reply(STORE_ACQUIRE, STORE_HELD);
	world_watch_ready();
	world_reply(STORE_ACQUIRE, STORE_HELD);
	ck_assert_int_eq(mutex_state(world_mutex()), MUTEX_ELSEWHERE);
}

/* ------------------------------------------------------------------ leases */

START_TEST(a_claim_is_not_cut_down_to_the_time_of_one_of_its_holders)
	{
		world_settings.handoff = HANDOFF_LOCAL;
		world_begin();
		world_hold_ttl(&ra, &a, 10000, true);
		world_acquire_ttl(&rb, &b, CLOCK_NEVER, 100, true);
		world_release(&rd, ra.string);
		OUTCOME(rb, OUTCOME_OK);
		/* The next may come before this is answered, and counts on the whole claim. */
		while (!world_first())
			world_pass_ms(10);
		if (world_first()->verb == STORE_CHECK)
			world_reply(STORE_CHECK, STORE_OK);
		while (!world_first() || world_first()->verb == STORE_CHECK) {
			if (world_first())
				world_reply(STORE_CHECK, STORE_OK);
			world_pass_ms(10);
		}
		ck_assert_int_eq(world_expect(STORE_EXTEND)->ttl_ms, 10000);
		world_reply(STORE_EXTEND, STORE_OK);
		world_let_go(rb.string);
		world_end();
	}
END_TEST

START_TEST(a_short_lock_inside_a_long_claim_is_renewed_without_a_command)
	{
		world_settings.handoff = HANDOFF_LOCAL;
		world_begin();
		world_hold_ttl(&ra, &a, 10000, false);
		world_acquire_ttl(&rb, &b, CLOCK_NEVER, 300, true);
		world_release(&rd, ra.string);
		OUTCOME(rb, OUTCOME_OK);
		for (int i = 0; i < 200; i++) {
			world_pass_ms(10);
			if (world_first())
				world_reply(STORE_CHECK, STORE_OK);
			ck_assert_int_gt(mutex_lock_left_us(world_mutex()), 100 * MS_US);
		}
		ck_assert_uint_eq(b.n_lost + b.n_expiring, 0);
		world_let_go(rb.string);
		world_end();
	}
END_TEST

START_TEST(of_two_open_extensions_the_later_one_counts_when_it_is_shorter)
	{
		world_begin();
		world_hold_ttl(&ra, &a, 10000, false);
		extend(&rb, ra.string, 60000);
		extend(&rc, ra.string, 500);
		world_reply(STORE_EXTEND, STORE_OK);
		OUTCOME(rb, OUTCOME_OK);
		ck_assert_int_le(rb.ask.ttl_left_ms, 500);
		ck_assert_int_le(mutex_lock_left_us(world_mutex()), 500 * MS_US);
		world_reply(STORE_EXTEND, STORE_OK);
		OUTCOME(rc, OUTCOME_OK);
		ck_assert_int_le(mutex_lock_left_us(world_mutex()), 500 * MS_US);
		world_let_go(ra.string);
		world_end();
	}
END_TEST

START_TEST(a_lock_that_was_shortened_is_compared_in_a_third_of_that)
	{
		world_settings.ttl_ms = 3600000;
		world_begin();
		world_hold(&ra, &a);
		extend(&rb, ra.string, 3000);
		world_reply(STORE_EXTEND, STORE_OK);
		OUTCOME(rb, OUTCOME_OK);
		world_pass_ms(1000);
		world_reply(STORE_CHECK, STORE_OK);
		world_let_go(ra.string);
		world_end();
	}
END_TEST

START_TEST(what_was_saved_at_the_last_moment_is_announced_again)
	{
		world_settings.renew = true;
		world_begin();
		world_hold_ttl(&ra, &a, 10000, true);
		for (unsigned i = 1; i <= 2; i++) {
			while (a.n_expiring < i) {
				world_pass_ms(10);
				if (world_first())
					world_reply(STORE_EXTEND, STORE_UNKNOWN);
			}
			ck_assert_uint_eq(a.n_lost, 0);
			while (!world_first())
				world_pass_ms(10);
			world_reply(STORE_EXTEND, STORE_OK);
			world_pass_ms(3000);
			ck_assert_uint_eq(a.n_expiring, i);
		}
		world_let_go(ra.string);
		world_end();
	}
END_TEST

START_TEST(a_late_extension_is_removed_however_long_that_takes)
	{
		world_begin();
		world_hold_ttl(&ra, &a, 1000, false);
		while (mutex_lock_left_us(world_mutex()) > 5 * MS_US) {
			world_pass_ms(1);
			if (world_first())
				world_reply(STORE_CHECK, STORE_OK);
		}
		extend(&rb, ra.string, 100000);
		world_pass_ms(6);
		ck_assert_int_eq(a.reason, LOST_EXPIRED);
		world_reply(STORE_EXTEND, STORE_OK);
		OUTCOME(rb, OUTCOME_UNLOCK_FAIL);
		for (int i = 0; i < 20; i++) {
			world_pass_ms(1000);
			world_reply(STORE_RELEASE, STORE_UNKNOWN);
		}
		world_pass_ms(1000);
		world_reply(STORE_RELEASE, STORE_OK);
		world_end();
	}
END_TEST

START_TEST(a_release_of_another_daemons_lock_is_tried_until_it_is_answered)
	{
		char string[LOCK_STRING_SIZE];

		world_settings.ttl_ms = 100;
		world_begin();
		world_hold(&ra, &a);
		strcpy(string, ra.string);
		world_let_go(ra.string);
		/* Whoever holds it may have extended it to any time. */
		string[0] = string[0] == 'x' ? 'y' : 'x';
		world_release(&rb, string);
		for (int i = 0; i < 10; i++) {
			world_reply(STORE_RELEASE, STORE_UNKNOWN);
			world_pass_ms(1000);
		}
		OUTCOME(rb, OUTCOME_UNAVAILABLE);
		world_reply(STORE_RELEASE, STORE_OK);
		world_end();
	}
END_TEST

/* The key stands for 100 s then, by a renewal, and its holder was given the 2 s he asked for. */
static void cross_extensions(void)
{
	world_hold_ttl(&ra, &a, 1000, true);
	world_pass_ms(340);
	world_reply(STORE_EXTEND, STORE_OK);
	world_pass_ms(260);
	extend(&rb, ra.string, 100000);
	world_pass_ms(600);
	extend(&rc, ra.string, 2000);
	world_reply(STORE_EXTEND, STORE_OK);
	OUTCOME(rb, OUTCOME_OK);
	/* One renewal was asked for before that answer, the other behind it. */
	ck_assert_int_eq(world_expect(STORE_EXTEND)->ttl_ms, 1000);
	world_reply(STORE_EXTEND, STORE_OK);
	ck_assert_int_eq(world_expect(STORE_EXTEND)->ttl_ms, 2000);
	world_pass_ms(1);
	world_reply(STORE_EXTEND, STORE_OK);
	OUTCOME(rc, OUTCOME_OK);
	ck_assert_int_eq(world_expect(STORE_EXTEND)->ttl_ms, 100000);
	world_reply(STORE_EXTEND, STORE_OK);
	ck_assert_int_lt(mutex_lock_left_us(world_mutex()), 2000 * MS_US);
	ck_assert_uint_eq(world_n_open(), 0);
}

START_TEST(a_holder_of_less_time_than_its_key_is_renewed_in_his)
	{
		world_begin();
		cross_extensions();
		world_pass_ms(700);
		world_reply(STORE_EXTEND, STORE_OK);
		ck_assert_int_gt(mutex_lock_left_us(world_mutex()), 1500 * MS_US);
		world_let_go(ra.string);
		world_end();
	}
END_TEST

START_TEST(a_key_that_outlasts_its_holder_is_removed)
	{
		world_begin();
		cross_extensions();
		while (!a.n_lost)
			world_pass_ms(10);
		ck_assert_int_eq(a.reason, LOST_UNAVAILABLE);
		world_reply(STORE_EXTEND, STORE_UNKNOWN);
		world_pass_ms(200);
		ck_assert_str_eq(world_expect(STORE_RELEASE)->value, ra.string);
		world_reply(STORE_RELEASE, STORE_OK);
		world_end();
	}
END_TEST

START_TEST(an_extension_does_not_wait_for_a_comparison)
	{
		world_settings.handoff = HANDOFF_LOCAL;
		world_begin();
		world_hold_ttl(&ra, &a, 1000, false);
		world_pass_ms(340);
		world_expect(STORE_CHECK);
		/* Whoever comes next counts on the claim. */
		world_acquire(&rb, &b, CLOCK_NEVER);
		world_pass_ms(1);
		ck_assert_uint_eq(world_n_open(), 2);
		ck_assert_int_eq(TAILQ_NEXT(world_first(), entry)->verb, STORE_EXTEND);
		world_reply(STORE_CHECK, STORE_OK);
		world_reply(STORE_EXTEND, STORE_OK);
		ask_cancel(&rb.ask);
		world_let_go(ra.string);
		world_end();
	}
END_TEST

/* ------------------------------------------------------------------ waiters and tries */

START_TEST(a_lock_is_not_granted_on_the_terms_of_an_ask_that_had_the_same_address)
	{
		world_begin();
		world_acquire_ttl(&ra, &a, CLOCK_NEVER, 1000, false);
		world_expect(STORE_ACQUIRE);
		ck_assert(ask_cancel(&ra.ask));
		table_deliver(table);
		OUTCOME(ra, OUTCOME_CANCELLED);
		world_acquire_ttl(&ra, &b, CLOCK_NEVER, 60000, false);
		world_answer_ok(STORE_ACQUIRE, 1);
		ck_assert(!ra.done);
		ck_assert_int_eq(world_expect(STORE_REPLACE)->ttl_ms, 60000);
		world_answer_ok(STORE_REPLACE, 2);
		OUTCOME(ra, OUTCOME_OK);
		ck_assert_int_gt(mutex_lock_left_us(world_mutex()), 50 * SECOND_US);
		world_let_go(ra.string);
		world_end();
	}
END_TEST

START_TEST(a_waiter_for_whom_nobody_has_looked_when_its_wait_ends_gets_a_look)
	{
		world_begin();
		wait_elsewhere(&ra, &a);
		world_acquire(&rb, &b, 5);
		ck_assert_uint_eq(world_n_open(), 0);
		world_pass_ms(5);
		ck_assert(!rb.done);
		world_reply(STORE_ACQUIRE, STORE_HELD);
		OUTCOME(rb, OUTCOME_ALREADY_LOCKED);
		world_end();
	}
END_TEST

START_TEST(a_try_that_comes_in_the_turn_of_others_is_refused_as_locked)
	{
		world_settings.handoff_limit = 1;
		world_settings.command_timeout_ms = 50;
		world_begin();
		world_hold(&ra, &a);
		for (unsigned i = 0;; i++) {
			ck_assert_uint_lt(i, 5);
			world_acquire(&rb, &b, CLOCK_NEVER);
			world_release(&rd, ra.string);
			if (world_first()->verb == STORE_RELEASE)
				break;
			world_first()->contenders = 1;
			world_answer_ok(STORE_REPLACE, 8 + i);
			OUTCOME(rb, OUTCOME_OK);
			ra = rb;
		}
		world_reply(STORE_RELEASE, STORE_OK);
		ck_assert_int_eq(mutex_state(world_mutex()), MUTEX_STAYING_OUT);
		world_acquire(&rc, &c, 0);
		world_pass_ms(50);
		OUTCOME(rc, OUTCOME_ALREADY_LOCKED);
		world_end();
	}
END_TEST

START_TEST(waiters_do_not_look_for_a_lingering_lock_but_hear_of_it)
	{
		struct store_op *op;

		world_settings.linger_ms = 50;
		world_begin();
		world_acquire(&ra, &a, CLOCK_NEVER);
		op = world_expect(STORE_ACQUIRE);
		ck_assert(op->want);
		op->receivers = 1;
		world_answer(op, STORE_HELD);
		world_watch_ready();
		op = world_expect(STORE_ACQUIRE);
		op->receivers = 1;
		world_answer(op, STORE_HELD);
		world_pass_ms(900);
		ck_assert_uint_eq(world_n_open(), 0);
		world_message(STORE_MESSAGE_FREE);
		world_answer_ok(STORE_ACQUIRE, 1);
		OUTCOME(ra, OUTCOME_OK);
		world_release(&rd, ra.string);
		OUTCOME(rd, OUTCOME_OK); /* it lingers here now */
		world_pass_ms(50);
		world_reply(STORE_RELEASE, STORE_OK);
		world_end();
	}
END_TEST

START_TEST(a_look_for_a_lingering_lock_ends_in_20_ms_whatever_the_store_does)
	{
		struct store_op *op;

		world_settings.linger_ms = 50;
		world_begin();
		ra = rb = (struct request){0};
		world_ask(&ra, mutex_exists);
		op = world_expect(STORE_LOOK);
		op->receivers = 1;
		world_answer(op, STORE_HELD);
		ck_assert(!ra.done);
		/* Who comes meanwhile is not told what was found before he came. */
		world_ask(&rb, mutex_exists);
		world_reply(STORE_LOOK, STORE_GONE);
		OUTCOME(rb, OUTCOME_OK);
		ck_assert(!rb.ask.locked);
		world_pass_ms(20);
		world_expect(STORE_LOOK);
		OUTCOME(ra, OUTCOME_OK);
		ck_assert(ra.ask.locked);
		world_reply(STORE_LOOK, STORE_GONE);
		world_end();
	}
END_TEST

START_TEST(who_breaks_a_lock_need_not_wait_for_a_message_about_it)
	{
		world_begin();
		wait_elsewhere(&ra, &a);
		rb = (struct request){0};
		world_ask(&rb, mutex_break);
		world_reply(STORE_BREAK, STORE_OK);
		OUTCOME(rb, OUTCOME_OK);
		world_answer_ok(STORE_ACQUIRE, 1);
		OUTCOME(ra, OUTCOME_OK);
		world_let_go(ra.string);
		world_end();
	}
END_TEST

START_TEST(who_waits_already_when_another_daemon_is_quicker_tells_it_at_once)
	{
		world_settings.fence = false;
		world_begin();
		world_hold(&ra, &a);
		world_acquire(&rb, &b, CLOCK_NEVER);
		world_watch_ready();
		world_pass_ms(0);
		world_reply(STORE_CHECK, STORE_GONE);
		ck_assert_uint_eq(a.n_lost, 1);
		ck_assert(world_expect(STORE_ACQUIRE)->plain);
		world_reply(STORE_ACQUIRE, STORE_HELD);
		/* No watch will become ready on which it would ask again. */
		ck_assert(world_expect(STORE_ACQUIRE)->want);
		world_reply(STORE_ACQUIRE, STORE_HELD);
		ck_assert_uint_eq(world_n_open(), 0);
		world_end();
	}
END_TEST

/* ------------------------------------------------------------------ fences */

static void configure_family(void)
{
	struct section *section = world_section("order-*", "orders:{name}", &world_settings);

	table_configure(table, &section, 1);
	table_deliver(table);
}

static void acquire_member(struct request *request, struct client *client)
{
	*request = (struct request){.ask = {.owner = &client->holder, .acquirer = &client->holder}};
	request->ask.done = ra.ask.done;
	mutex_acquire(table_find(table, "order-1", 7), &request->ask);
	table_deliver(table);
}

START_TEST(what_a_member_saw_of_fences_outlives_it_and_a_reload)
	{
		world_begin();
		world_acquire(&ra, &a, 0); /* for its done() */
		world_reply(STORE_ACQUIRE, STORE_HELD);
		configure_family();
		acquire_member(&rb, &b);
		world_answer_ok(STORE_ACQUIRE, 4711);
		OUTCOME(rb, OUTCOME_OK);
		table_drop_holder(table, &b.holder);
		world_reply(STORE_RELEASE, STORE_OK);
		for (unsigned i = 0; i < 1000; i++) {
			char name[20];

			snprintf(name, sizeof(name), "order-x%u", i);
			table_find(table, name, strlen(name));
			table_deliver(table);
		}
		ck_assert_ptr_null(table_peek(table, "order-1", 7));
		configure_family();
		acquire_member(&rc, &c);
		ck_assert_int_eq(world_expect(STORE_ACQUIRE)->fence_floor, 4711);
		world_reply(STORE_ACQUIRE, STORE_HELD);
		world_end();
	}
END_TEST

/* ------------------------------------------------------------------ strings that come back */

/*
 * `old` is held, and an ACQUIRE of it may run yet; as may a REPLACE by `next`, which was lost on
 * the way to rb and has just been sent again.
 */
static void lose_acquire_and_replace(char *old, char *next)
{
	world_acquire(&ra, &a, CLOCK_NEVER);
	world_reply(STORE_ACQUIRE, STORE_UNKNOWN);
	world_pass_ms(20);
	strcpy(old, world_expect(STORE_ACQUIRE)->value);
	world_first()->settled = false;
	world_answer_ok(STORE_ACQUIRE, 7);
	OUTCOME(ra, OUTCOME_OK);
	world_acquire(&rb, &b, CLOCK_NEVER);
	world_release(&rd, ra.string);
	strcpy(next, world_expect(STORE_REPLACE)->next);
	world_first()->settled = false;
	world_reply(STORE_REPLACE, STORE_UNKNOWN);
	world_pass_ms(20);
	world_expect(STORE_REPLACE)->settled = false;
}

/* Within the next two seconds both strings are removed, for the last time. */
static void expect_removals(const char *old, const char *next)
{
	unsigned n_old = 0, n_next = 0;

	for (int i = 0; i < 200; i++) {
		world_pass_ms(10);
		while (world_first()) {
			n_old += !strcmp(world_expect(STORE_RELEASE)->value, old);
			n_next += !strcmp(world_first()->value, next);
			world_reply(STORE_RELEASE, STORE_GONE);
		}
	}
	ck_assert_uint_eq(n_old, 1);
	ck_assert_uint_eq(n_next, 1);
}

START_TEST(a_lost_replace_may_follow_the_string_that_comes_back)
	{
		char old[LOCK_STRING_SIZE], next[LOCK_STRING_SIZE];

		world_begin();
		lose_acquire_and_replace(old, next);
		world_answer_ok(STORE_REPLACE, 8);
		OUTCOME(rb, OUTCOME_OK);
		world_release(&rd, rb.string);
		world_expect(STORE_RELEASE)->settled = false;
		world_reply(STORE_RELEASE, STORE_OK);
		OUTCOME(rd, OUTCOME_OK);
		expect_removals(old, next);
		world_end();
	}
END_TEST

START_TEST(a_replace_that_found_nothing_may_follow_the_string_that_comes_back)
	{
		char old[LOCK_STRING_SIZE], next[LOCK_STRING_SIZE];

		world_begin();
		lose_acquire_and_replace(old, next);
		table_drop_holder(table, &b.holder);
		world_reply(STORE_REPLACE, STORE_GONE);
		OUTCOME(rb, OUTCOME_CANCELLED);
		expect_removals(old, next);
		world_end();
	}
END_TEST

/* ------------------------------------------------------------------ fates left open */

START_TEST(a_string_that_the_store_is_removing_is_not_asked_for_again)
	{
		char string[LOCK_STRING_SIZE];
		struct store_op *op;

		world_begin();
		world_acquire(&ra, &a, CLOCK_NEVER);
		strcpy(string, world_expect(STORE_ACQUIRE)->value);
		world_reply(STORE_ACQUIRE, STORE_UNKNOWN);
		world_pass_ms(30);
		op = world_expect(STORE_ACQUIRE);
		ck_assert_str_eq(op->value, string);
		op->undone = true;
		world_answer(op, STORE_REFUSED);
		ck_assert_str_eq(world_expect(STORE_RELEASE)->value, string);
		world_reply(STORE_RELEASE, STORE_GONE);
		op = world_expect(STORE_ACQUIRE);
		ck_assert_str_ne(op->value, string);
		world_answer_ok(STORE_ACQUIRE, 5);
		OUTCOME(ra, OUTCOME_OK);
		ck_assert_str_ne(ra.string, string);
		world_end();
	}
END_TEST

static Suite *found_suite(void)
{
	Suite *suite = suite_create("core/found");
	TCase *tc = tcase_create("leases");

	tcase_add_checked_fixture(tc, setup, NULL);
	suite_add_tcase(suite, tc);
	tcase_add_test(tc, a_claim_is_not_cut_down_to_the_time_of_one_of_its_holders);
	tcase_add_test(tc, a_short_lock_inside_a_long_claim_is_renewed_without_a_command);
	tcase_add_test(tc, of_two_open_extensions_the_later_one_counts_when_it_is_shorter);
	tcase_add_test(tc, a_lock_that_was_shortened_is_compared_in_a_third_of_that);
	tcase_add_test(tc, what_was_saved_at_the_last_moment_is_announced_again);
	tcase_add_test(tc, a_late_extension_is_removed_however_long_that_takes);
	tcase_add_test(tc, a_holder_of_less_time_than_its_key_is_renewed_in_his);
	tcase_add_test(tc, an_extension_does_not_wait_for_a_comparison);
	tcase_add_test(tc, a_key_that_outlasts_its_holder_is_removed);
	tcase_add_test(tc, a_release_of_another_daemons_lock_is_tried_until_it_is_answered);

	tc = tcase_create("waiters and tries");
	tcase_add_checked_fixture(tc, setup, NULL);
	suite_add_tcase(suite, tc);
	tcase_add_test(tc, a_lock_is_not_granted_on_the_terms_of_an_ask_that_had_the_same_address);
	tcase_add_test(tc, a_waiter_for_whom_nobody_has_looked_when_its_wait_ends_gets_a_look);
	tcase_add_test(tc, a_try_that_comes_in_the_turn_of_others_is_refused_as_locked);
	tcase_add_test(tc, waiters_do_not_look_for_a_lingering_lock_but_hear_of_it);
	tcase_add_test(tc, a_look_for_a_lingering_lock_ends_in_20_ms_whatever_the_store_does);
	tcase_add_test(tc, who_breaks_a_lock_need_not_wait_for_a_message_about_it);
	tcase_add_test(tc, who_waits_already_when_another_daemon_is_quicker_tells_it_at_once);

	tc = tcase_create("fences");
	tcase_add_checked_fixture(tc, setup, NULL);
	suite_add_tcase(suite, tc);
	tcase_add_test(tc, what_a_member_saw_of_fences_outlives_it_and_a_reload);

	tc = tcase_create("strings that come back");
	tcase_add_checked_fixture(tc, setup, NULL);
	suite_add_tcase(suite, tc);
	tcase_add_test(tc, a_lost_replace_may_follow_the_string_that_comes_back);
	tcase_add_test(tc, a_replace_that_found_nothing_may_follow_the_string_that_comes_back);

	tc = tcase_create("fates left open");
	tcase_add_checked_fixture(tc, setup, NULL);
	suite_add_tcase(suite, tc);
	tcase_add_test(tc, a_string_that_the_store_is_removing_is_not_asked_for_again);
	return suite;
}

int main(void)
{
	return suite_run(found_suite());
}
