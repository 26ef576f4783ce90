/* SPDX-License-Identifier: MIT */
/* The promises of one mutex, with a clock turned by hand and a store that answers as told. */
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

/* ------------------------------------------------------------------ acquire and release */

START_TEST(a_free_mutex_is_granted_with_a_string_a_lease_and_a_fence)
	{
		world_begin();
		world_hold(&ra, &a);
		ck_assert_uint_eq(strlen(ra.string), LOCK_STRING_LEN);
		ck_assert_int_eq(ra.fence, 7 * 1024);
		/* 10 s less 2 ms and 1 %. */
		ck_assert_int_eq(mutex_lock_left_us(world_mutex()), 9898000);
		world_let_go(ra.string);
		ck_assert_int_eq(mutex_state(world_mutex()), MUTEX_FREE);
		world_end();
	}
END_TEST

START_TEST(a_try_on_a_lock_held_here_is_refused_without_a_command)
	{
		world_begin();
		world_hold(&ra, &a);
		world_acquire(&rb, &b, 0);
		OUTCOME(rb, OUTCOME_ALREADY_LOCKED);
		ck_assert_uint_eq(world_n_commands, 1);
		world_end();
	}
END_TEST

START_TEST(a_try_on_a_lock_held_elsewhere_is_refused_after_one_command)
	{
		world_begin();
		world_acquire(&ra, &a, 0);
		ck_assert(!ra.done);
		world_reply(STORE_ACQUIRE, STORE_HELD);
		OUTCOME(ra, OUTCOME_ALREADY_LOCKED);
		ck_assert_uint_eq(world_n_commands, 1);
		ck_assert_int_eq(mutex_state(world_mutex()), MUTEX_FREE);
		world_end();
	}
END_TEST

START_TEST(a_try_is_refused_as_locked_if_contenders_were_quicker_all_the_time)
	{
		struct store_op *op;

		world_settings.command_timeout_ms = 50;
		world_begin();
		world_acquire(&ra, &a, 0);
		op = world_expect(STORE_ACQUIRE);
		op->contested = true;
		world_answer(op, STORE_HELD);
		world_pass_ms(49);
		ck_assert(!ra.done);
		world_pass_ms(1);
		OUTCOME(ra, OUTCOME_ALREADY_LOCKED);
		world_reply(STORE_ACQUIRE, STORE_GONE);
		world_end();
	}
END_TEST

START_TEST(tries_share_a_command_only_if_they_came_before_it_was_written)
	{
		world_begin();
		world_acquire(&ra, &a, 0);
		world_acquire(&rb, &b, 0); /* not written yet: shares */
		world_expect(STORE_ACQUIRE);
		world_acquire(&rc, &c, 0); /* written: needs one of its own */
		world_reply(STORE_ACQUIRE, STORE_HELD);
		OUTCOME(ra, OUTCOME_ALREADY_LOCKED);
		OUTCOME(rb, OUTCOME_ALREADY_LOCKED);
		ck_assert(!rc.done);
		world_answer_ok(STORE_ACQUIRE, 1);
		OUTCOME(rc, OUTCOME_OK);
		ck_assert_uint_eq(world_n_commands, 2);
		world_end();
	}
END_TEST

START_TEST(release_is_answered_only_when_the_store_has_said_so)
	{
		world_begin();
		world_hold(&ra, &a);
		world_release(&rb, ra.string);
		ck_assert(!rb.done);
		world_reply(STORE_RELEASE, STORE_OK);
		OUTCOME(rb, OUTCOME_OK);
		world_release(
			&rb,
			ra.string); /* twice: the store is asked, since other daemons may hold it */
		world_reply(STORE_RELEASE, STORE_GONE);
		OUTCOME(rb, OUTCOME_UNLOCK_FAIL);
		world_end();
	}
END_TEST

START_TEST(release_of_a_lock_that_the_store_lost_is_unlock_fail)
	{
		world_begin();
		world_hold(&ra, &a);
		world_release(&rb, ra.string);
		world_reply(STORE_RELEASE, STORE_GONE);
		OUTCOME(rb, OUTCOME_UNLOCK_FAIL);
		world_end();
	}
END_TEST

START_TEST(release_that_gets_no_answer_is_unavailable_and_goes_on)
	{
		world_begin();
		world_hold(&ra, &a);
		world_release(&rb, ra.string);
		world_reply(STORE_RELEASE, STORE_UNKNOWN);
		OUTCOME(rb, OUTCOME_UNAVAILABLE);
		world_release(&rc, ra.string); /* dead for its holder from its arrival on */
		OUTCOME(rc, OUTCOME_UNLOCK_FAIL);
		world_pass_ms(50);
		world_reply(STORE_RELEASE, STORE_REFUSED);
		world_pass_ms(100);
		world_reply(STORE_RELEASE, STORE_OK);
		ck_assert_int_eq(mutex_state(world_mutex()), MUTEX_FREE);
		world_end();
	}
END_TEST

START_TEST(release_is_given_up_when_the_lease_has_surely_passed)
	{
		world_begin();
		world_hold(&ra, &a);
		world_release(&rb, ra.string);
		world_reply(STORE_RELEASE, STORE_REFUSED);
		OUTCOME(rb, OUTCOME_UNAVAILABLE);
		while (mutex_state(world_mutex()) == MUTEX_RELEASING) {
			world_pass_ms(50);
			if (world_first())
				world_reply(STORE_RELEASE, STORE_REFUSED);
		}
		ck_assert_int_gt(world_now_us, INT64_C(1000000000) + 10 * SECOND_US);
		ck_assert_int_lt(world_now_us, INT64_C(1000000000) + 13 * SECOND_US);
		world_end();
	}
END_TEST

START_TEST(a_lock_of_another_daemon_is_released_by_its_string)
	{
		char foreign[] = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

		world_begin();
		world_hold(&ra, &a);
		world_release(&rb, foreign);
		ck_assert_str_eq(world_expect(STORE_RELEASE)->value, foreign);
		world_reply(STORE_RELEASE, STORE_OK);
		OUTCOME(rb, OUTCOME_OK);
		world_release(&rb, "short");
		OUTCOME(rb, OUTCOME_UNLOCK_FAIL);
		world_end();
	}
END_TEST

START_TEST(with_local_handoff_a_foreign_string_proves_nothing)
	{
		char foreign[] = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

		world_settings.handoff = HANDOFF_LOCAL;
		world_begin();
		world_release(&rb, foreign);
		OUTCOME(rb, OUTCOME_UNLOCK_FAIL);
		ck_assert_uint_eq(world_n_commands, 0);
		world_end();
	}
END_TEST

START_TEST(without_a_fence_the_first_try_is_the_plain_set)
	{
		world_settings.fence = false;
		world_begin();
		world_acquire(&ra, &a, 0);
		ck_assert(world_expect(STORE_ACQUIRE)->plain);
		world_reply(STORE_ACQUIRE, STORE_OK);
		OUTCOME(ra, OUTCOME_OK);
		ck_assert_int_eq(ra.fence, 0);
		world_end();
	}
END_TEST

/* ------------------------------------------------------------------ the queue */

START_TEST(waiters_are_served_in_order_by_one_command_each)
	{
		world_begin();
		world_hold(&ra, &a);
		world_acquire(&rb, &b, CLOCK_NEVER);
		world_acquire(&rc, &c, CLOCK_NEVER);
		world_release(&rd, ra.string);
		ck_assert_str_eq(world_expect(STORE_REPLACE)->value, ra.string);
		world_answer_ok(STORE_REPLACE, 8);
		OUTCOME(rd, OUTCOME_OK);
		OUTCOME(rb, OUTCOME_OK);
		ck_assert(!rc.done);
		ck_assert_int_eq(rb.fence, 8 * 1024);
		world_release(&rd, rb.string);
		world_answer_ok(STORE_REPLACE, 9);
		OUTCOME(rc, OUTCOME_OK);
		ck_assert_uint_eq(world_n_commands, 3);
		world_let_go(rc.string);
		world_end();
	}
END_TEST

START_TEST(a_waiter_that_leaves_during_the_hand_over_costs_the_next_nothing)
	{
		world_begin();
		world_hold(&ra, &a);
		world_acquire(&rb, &b, CLOCK_NEVER);
		world_acquire(&rc, &c, CLOCK_NEVER);
		world_release(&rd, ra.string);
		ask_hang_up(&rb.ask);
		ask_cancel(&rb.ask);
		table_deliver(table);
		OUTCOME(rb, OUTCOME_CANCELLED);
		world_answer_ok(STORE_REPLACE, 8);
		OUTCOME(rc, OUTCOME_OK);
		ck_assert_uint_eq(world_n_commands, 2);
		world_end();
	}
END_TEST

START_TEST(a_lock_that_nobody_wants_any_more_is_given_back)
	{
		world_begin();
		world_acquire(&ra, &a, CLOCK_NEVER);
		ask_cancel(&ra.ask);
		table_deliver(table);
		OUTCOME(ra, OUTCOME_CANCELLED);
		world_answer_ok(STORE_ACQUIRE, 1);
		world_reply(STORE_RELEASE, STORE_OK);
		ck_assert_int_eq(mutex_state(world_mutex()), MUTEX_FREE);
		world_end();
	}
END_TEST

START_TEST(a_waiter_with_another_ttl_gets_its_own)
	{
		world_begin();
		world_acquire_ttl(&ra, &a, CLOCK_NEVER, 5000, false);
		world_acquire_ttl(&rb, &b, CLOCK_NEVER, 60000, false);
		ask_cancel(&ra.ask);
		world_answer_ok(STORE_ACQUIRE, 1);
		ck_assert(!rb.done);
		ck_assert_int_eq(world_expect(STORE_REPLACE)->ttl_ms, 60000);
		world_answer_ok(STORE_REPLACE, 2);
		OUTCOME(rb, OUTCOME_OK);
		world_end();
	}
END_TEST

START_TEST(a_holder_that_goes_frees_its_locks_at_once)
	{
		world_begin();
		world_hold(&ra, &a);
		world_acquire(&rb, &b, CLOCK_NEVER);
		table_drop_holder(table, &a.holder);
		world_answer_ok(STORE_REPLACE, 8);
		OUTCOME(rb, OUTCOME_OK);
		ck_assert_uint_eq(a.n_lost, 0);
		table_drop_holder(table, &b.holder);
		world_reply(STORE_RELEASE, STORE_OK);
		world_end();
	}
END_TEST

START_TEST(the_wait_of_a_waiter_ends_in_time)
	{
		world_begin();
		world_hold(&ra, &a);
		world_acquire(&rb, &b, 500);
		world_pass_ms(499);
		ck_assert(!rb.done);
		world_pass_ms(1);
		OUTCOME(rb, OUTCOME_ALREADY_LOCKED);
		world_end();
	}
END_TEST

START_TEST(waiters_beyond_the_limit_are_refused)
	{
		world_settings.max_waiters = 1;
		world_begin();
		world_hold(&ra, &a);
		world_acquire(&rb, &b, CLOCK_NEVER);
		world_acquire(&rc, &c, CLOCK_NEVER);
		OUTCOME(rc, OUTCOME_LIMIT);
		ck_assert_ptr_nonnull(strstr(rc.ask.text, "max_waiters"));
		world_end();
	}
END_TEST

/* ------------------------------------------------------------------ asking again at once */

static void release_and_ask_again(void)
{
	rd = (struct request){.ask = {.again = true}};
	strcpy(rd.ask.string, ra.string);
	world_ask(&rd, mutex_release);
}

START_TEST(who_asks_again_behind_its_release_has_it_passed_on)
	{
		unsigned n;

		world_begin();
		world_hold(&ra, &a);
		n = world_n_commands;
		release_and_ask_again();
		world_acquire(&rb, &b, 0);
		ck_assert_str_eq(world_expect(STORE_REPLACE)->value, ra.string);
		ck_assert(!rd.done && !rb.done);
		world_answer_ok(STORE_REPLACE, 2);
		OUTCOME(rd, OUTCOME_OK);
		OUTCOME(rb, OUTCOME_OK);
		ck_assert_str_ne(rb.string, ra.string);
		ck_assert_uint_eq(world_n_commands - n, 1);
		world_end();
	}
END_TEST

START_TEST(who_asks_again_when_its_release_is_answered_finds_it_there)
	{
		unsigned n;

		world_begin();
		world_hold(&ra, &a);
		n = world_n_commands;
		release_and_ask_again();
		world_answer_ok(STORE_REPLACE, 7);
		OUTCOME(rd, OUTCOME_OK);
		world_acquire(&rb, &b, 0);
		OUTCOME(rb, OUTCOME_OK);
		ck_assert_int_eq(rb.fence, 7 * 1024);
		ck_assert_uint_eq(world_n_commands - n, 1);
		world_release(&rd, rb.string);
		world_reply(STORE_RELEASE, STORE_OK);
		OUTCOME(rd, OUTCOME_OK);
		world_end();
	}
END_TEST

START_TEST(the_lease_that_is_asked_for_again_is_that_of_the_pass)
	{
		world_begin();
		world_hold(&ra, &a);
		rd = (struct request){.ask = {.again = true, .ttl_ms = 777}};
		strcpy(rd.ask.string, ra.string);
		world_ask(&rd, mutex_release);
		ck_assert_int_eq(world_expect(STORE_REPLACE)->ttl_ms, 777);
		world_acquire_ttl(&rb, &b, 0, 777, false);
		world_answer_ok(STORE_REPLACE, 7);
		OUTCOME(rb, OUTCOME_OK);
		world_end();
	}
END_TEST

START_TEST(a_pass_to_who_does_not_come_is_a_release)
	{
		world_begin();
		world_hold(&ra, &a);
		release_and_ask_again();
		world_answer_ok(STORE_REPLACE, 7);
		OUTCOME(rd, OUTCOME_OK);
		world_pass_ms(1);
		world_reply(STORE_RELEASE, STORE_OK);
		ck_assert_int_eq(mutex_state(world_mutex()), MUTEX_FREE);
		world_end();
	}
END_TEST

START_TEST(a_pass_to_who_asks_again_that_fails_is_answered_as_a_release)
	{
		world_begin();
		world_hold(&ra, &a);
		release_and_ask_again();
		world_acquire(&rb, &b, 0);
		world_reply(STORE_REPLACE, STORE_GONE);
		OUTCOME(rd, OUTCOME_UNLOCK_FAIL);
		world_answer_ok(STORE_ACQUIRE, 2);
		OUTCOME(rb, OUTCOME_OK);
		world_end();
	}
END_TEST

START_TEST(who_asks_again_at_once_leaves_others_their_turn)
	{
		unsigned passes = 0;

		world_settings.handoff_limit = 3;
		world_begin();
		world_hold(&ra, &a);
		for (;;) {
			release_and_ask_again();
			world_acquire(&rb, &b, CLOCK_NEVER);
			if (world_first()->verb == STORE_RELEASE)
				break;
			world_expect(STORE_REPLACE)->contenders = 1;
			world_answer_ok(STORE_REPLACE, 10 + passes);
			ra = rb;
			ck_assert_uint_lt(++passes, 10);
		}
		ck_assert_uint_eq(passes, 3);
		world_reply(STORE_RELEASE, STORE_OK);
		ck_assert_int_eq(mutex_state(world_mutex()), MUTEX_STAYING_OUT);
		ask_cancel(&rb.ask);
		world_end();
	}
END_TEST

START_TEST(who_asks_again_and_again_all_alone_is_released_now_and_then)
	{
		unsigned passes = 0;

		world_settings.handoff_limit = 3;
		world_begin();
		world_hold(&ra, &a);
		for (;;) {
			release_and_ask_again();
			if (world_first()->verb == STORE_RELEASE)
				break;
			world_answer_ok(STORE_REPLACE, 10 + passes);
			world_acquire(&rb, &b, 0);
			OUTCOME(rb, OUTCOME_OK);
			ra = rb;
			ck_assert_uint_lt(++passes, 100);
		}
		ck_assert_uint_eq(passes, 30);
		/* Who polls could have it now; there is nobody to stay out for. */
		world_reply(STORE_RELEASE, STORE_OK);
		world_acquire(&rb, &b, 0);
		world_answer_ok(STORE_ACQUIRE, 99);
		OUTCOME(rb, OUTCOME_OK);
		world_end();
	}
END_TEST

START_TEST(a_local_pass_to_who_asks_again_costs_no_command)
	{
		unsigned n;

		world_settings.handoff = HANDOFF_LOCAL;
		world_begin();
		world_hold(&ra, &a);
		n = world_n_commands;
		release_and_ask_again();
		OUTCOME(rd, OUTCOME_OK);
		world_acquire(&rb, &b, 0);
		OUTCOME(rb, OUTCOME_OK);
		ck_assert_int_gt(rb.fence, ra.fence);
		ck_assert_uint_eq(world_n_commands, n);
		world_end();
	}
END_TEST

/* ------------------------------------------------------------------ other hosts */

START_TEST(a_waiter_subscribes_looks_again_and_then_once_a_second)
	{
		unsigned n;

		world_begin();
		world_acquire(&ra, &a, CLOCK_NEVER);
		world_expect(STORE_ACQUIRE)->pttl_ms = 60000;
		world_reply(STORE_ACQUIRE, STORE_HELD);
		ck_assert_ptr_nonnull(world_watch());
		ck_assert_uint_eq(world_n_open(), 0);
		world_watch_ready();
		ck_assert(world_expect(STORE_ACQUIRE)->want);
		world_expect(STORE_ACQUIRE)->pttl_ms = 60000;
		world_reply(STORE_ACQUIRE, STORE_HELD);
		n = world_n_commands;
		for (int i = 0; i < 100; i++) {
			world_pass_ms(100);
			if (world_first()) {
				world_first()->pttl_ms = 60000;
				world_reply(STORE_ACQUIRE, STORE_HELD);
			}
		}
		ck_assert_uint_ge(world_n_commands - n, 7);
		ck_assert_uint_le(world_n_commands - n, 10);
		world_message(STORE_MESSAGE_FREE);
		world_answer_ok(STORE_ACQUIRE, 3);
		OUTCOME(ra, OUTCOME_OK);
		world_end();
	}
END_TEST

START_TEST(a_waiter_looks_when_the_foreign_lock_is_due_to_expire)
	{
		world_begin();
		world_acquire(&ra, &a, CLOCK_NEVER);
		world_expect(STORE_ACQUIRE)->pttl_ms = 300;
		world_reply(STORE_ACQUIRE, STORE_HELD);
		world_pass_ms(299);
		ck_assert_uint_eq(world_n_open(), 0);
		world_pass_ms(30);
		world_answer_ok(STORE_ACQUIRE, 3);
		OUTCOME(ra, OUTCOME_OK);
		world_end();
	}
END_TEST

START_TEST(many_waiters_cost_what_one_costs)
	{
		static struct request many[50];

		world_begin();
		for (int i = 0; i < 50; i++)
			world_acquire(&many[i], &a, CLOCK_NEVER);
		world_reply(STORE_ACQUIRE, STORE_HELD);
		world_watch_ready();
		world_reply(STORE_ACQUIRE, STORE_HELD);
		world_pass_ms(900);
		ck_assert_uint_eq(world_n_commands, 2);
		world_end();
	}
END_TEST

START_TEST(others_get_their_turn_after_the_limit)
	{
		unsigned passes = 0;

		world_settings.handoff_limit = 3;
		world_begin();
		world_hold(&ra, &a);
		world_acquire(&rb, &b, CLOCK_NEVER);
		for (;;) {
			world_release(&rd, ra.string);
			if (world_first()->verb == STORE_RELEASE)
				break;
			world_expect(STORE_REPLACE)->contenders = 1;
			world_answer_ok(STORE_REPLACE, 10 + passes);
			passes++;
			OUTCOME(rb, OUTCOME_OK);
			ra = rb;
			world_acquire(&rb, &b, CLOCK_NEVER);
			ck_assert_uint_lt(passes, 10);
		}
		ck_assert_uint_eq(passes, 3);
		world_reply(STORE_RELEASE, STORE_OK);
		ck_assert_int_eq(mutex_state(world_mutex()), MUTEX_STAYING_OUT);
		world_pass_ms(99);
		ck_assert_uint_eq(world_n_open(), 0);
		world_pass_ms(1);
		world_answer_ok(STORE_ACQUIRE, 99);
		OUTCOME(rb, OUTCOME_OK);
		world_end();
	}
END_TEST

/* ------------------------------------------------------------------ leases */

START_TEST(a_lease_is_counted_from_before_the_request)
	{
		world_begin();
		world_acquire(&ra, &a, 0);
		world_jump_ms(400);
		world_answer_ok(STORE_ACQUIRE, 1);
		OUTCOME(ra, OUTCOME_OK);
		ck_assert_int_eq(mutex_lock_left_us(world_mutex()), 9898000 - 400000);
		world_end();
	}
END_TEST

START_TEST(a_reply_after_its_lease_is_no_grant)
	{
		world_begin();
		world_acquire_ttl(&ra, &a, CLOCK_NEVER, 100, false);
		world_jump_ms(98);
		world_answer_ok(STORE_ACQUIRE, 1);
		ck_assert(!ra.done);
		world_reply(STORE_RELEASE, STORE_OK);
		world_answer_ok(STORE_ACQUIRE, 2);
		OUTCOME(ra, OUTCOME_OK);
		world_end();
	}
END_TEST

START_TEST(an_unrenewed_lock_is_announced_and_lost)
	{
		world_begin();
		world_hold(&ra, &a);
		for (int i = 0; i < 4; i++) {
			if (world_first())
				world_reply(STORE_CHECK, STORE_OK);
			world_pass_ms(1220);
		}
		world_pass_ms(20);
		ck_assert_uint_eq(a.n_expiring, 0);
		world_pass_ms(1700);
		ck_assert_uint_eq(a.n_expiring, 1); /* a third of 10 s before the end */
		ck_assert_int_le(a.left_ms, 3334);
		while (!a.n_lost) {
			if (world_first())
				world_reply(STORE_CHECK, STORE_OK);
			world_pass_ms(10);
		}
		ck_assert_int_eq(a.reason, LOST_EXPIRED);
		ck_assert_str_eq(a.lost, ra.string);
		ck_assert_uint_eq(a.n_expiring, 1);
		ck_assert_int_le(world_now_us - INT64_C(1000000000), 9908000);
		if (world_first())
			world_reply(STORE_CHECK, STORE_OK);
		world_end();
	}
END_TEST

START_TEST(a_lock_granted_near_its_end_is_announced_right_behind_its_answer)
	{
		world_begin();
		world_acquire_ttl(&ra, &a, 0, 100, false);
		world_jump_ms(96);
		world_answer_ok(STORE_ACQUIRE, 1);
		OUTCOME(ra, OUTCOME_OK);
		/* The next turn of the loop may come too late for it. */
		ck_assert_uint_eq(a.n_expiring, 1);
		ck_assert_int_eq(a.left_ms, 1);
		world_jump_ms(1);
		ck_assert_int_eq(a.reason, LOST_EXPIRED);
		ck_assert_uint_eq(a.n_lost, 1);
		world_reply(STORE_CHECK, STORE_GONE);
		world_end();
	}
END_TEST

START_TEST(a_lost_lock_is_dead_while_its_key_stands_for_a_little_longer)
	{
		char lost[LOCK_STRING_SIZE];

		world_begin();
		world_hold(&ra, &a);
		while (!a.n_lost) {
			if (world_first())
				world_reply(STORE_CHECK, STORE_OK);
			world_pass_ms(10);
		}
		strcpy(lost, ra.string);
		world_release(&rb, lost);
		ck_assert_uint_eq(world_n_open(),
				  0); /* its holder is told, and the store not asked */
		OUTCOME(rb, OUTCOME_UNLOCK_FAIL);
		world_acquire(&ra, &a, CLOCK_NEVER);
		world_answer_ok(STORE_ACQUIRE, 2);
		OUTCOME(ra, OUTCOME_OK);
		world_release(&rb, lost);
		OUTCOME(rb, OUTCOME_UNLOCK_FAIL);
		/* It is remembered for no longer than it can stand. */
		world_pass_ms(300);
		world_release(&rb, lost);
		world_reply(STORE_RELEASE, STORE_GONE);
		OUTCOME(rb, OUTCOME_UNLOCK_FAIL);
		world_let_go(ra.string);
		world_end();
	}
END_TEST

START_TEST(a_renewed_lock_lives_as_long_as_the_store_says_so)
	{
		world_settings.renew = true;
		world_begin();
		world_hold(&ra, &a);
		for (int i = 0; i < 100; i++) {
			world_pass_ms(500);
			if (world_first())
				world_reply(STORE_EXTEND, STORE_OK);
		}
		ck_assert_uint_eq(a.n_lost + a.n_expiring, 0);
		ck_assert_uint_ge(table_stats(table)->renewals, 14);
		ck_assert_uint_le(table_stats(table)->renewals, 16);
		world_let_go(ra.string);
		world_end();
	}
END_TEST

START_TEST(a_renewal_that_gets_no_answer_ends_in_expiring_then_lost_unavailable)
	{
		world_settings.renew = true;
		world_begin();
		world_hold(&ra, &a);
		while (!a.n_lost) {
			world_pass_ms(10);
			if (world_first())
				world_reply(STORE_EXTEND, STORE_UNKNOWN);
			ck_assert_int_lt(world_now_us, INT64_C(1000000000) + 11 * SECOND_US);
		}
		ck_assert_uint_eq(a.n_expiring, 1);
		ck_assert_int_eq(a.reason, LOST_UNAVAILABLE);
		/* The key may have been prolonged by one of them: it is removed, but not too early.
		 */
		world_pass_ms(50);
		ck_assert_uint_eq(world_n_open(), 0);
		world_pass_ms(400);
		world_reply(STORE_RELEASE, STORE_OK);
		world_end();
	}
END_TEST

START_TEST(a_lock_that_the_store_has_lost_is_lost_at_the_next_check)
	{
		world_begin();
		world_hold(&ra, &a);
		table_store_event(table, &world_store, STORE_EVENT_CHANGED);
		world_pass_ms(0);
		world_reply(STORE_CHECK, STORE_GONE);
		ck_assert_uint_eq(a.n_lost, 1);
		ck_assert_int_eq(a.reason, LOST_REPLACED);
		world_release(&rb, ra.string);
		world_reply(STORE_RELEASE, STORE_GONE);
		OUTCOME(rb, OUTCOME_UNLOCK_FAIL);
		world_end();
	}
END_TEST

START_TEST(a_long_lease_is_compared_every_ten_seconds)
	{
		world_settings.ttl_ms = 3600000;
		world_begin();
		world_hold(&ra, &a);
		for (int i = 0; i < 600; i++) {
			world_pass_ms(100);
			if (world_first())
				world_reply(STORE_CHECK, STORE_OK);
		}
		ck_assert_uint_ge(table_stats(table)->checks, 5);
		ck_assert_uint_le(table_stats(table)->checks, 6);
		world_end();
	}
END_TEST

START_TEST(after_a_stop_leases_are_looked_at_first)
	{
		world_begin();
		world_hold(&ra, &a);
		world_jump_ms(20000);
		ck_assert_uint_eq(a.n_lost, 1);
		world_release(&rb, ra.string);
		world_reply(STORE_RELEASE, STORE_GONE);
		OUTCOME(rb, OUTCOME_UNLOCK_FAIL);
		world_end();
	}
END_TEST

START_TEST(extend_gives_a_fresh_lease)
	{
		world_begin();
		world_hold(&ra, &a);
		world_pass_ms(1000);
		rb = (struct request){.ask = {.ttl_ms = 30000}};
		strcpy(rb.ask.string, ra.string);
		world_ask(&rb, mutex_extend);
		world_jump_ms(100);
		world_reply(STORE_EXTEND, STORE_OK);
		OUTCOME(rb, OUTCOME_OK);
		ck_assert_int_eq(rb.ask.ttl_left_ms, 30000 - 302 - 100);
		world_let_go(ra.string);
		world_end();
	}
END_TEST

START_TEST(a_shorter_lease_counts_from_when_it_was_asked_for)
	{
		world_begin();
		world_hold(&ra, &a);
		rb = (struct request){.ask = {.ttl_ms = 1000}};
		strcpy(rb.ask.string, ra.string);
		world_ask(&rb, mutex_extend);
		ck_assert_int_eq(mutex_lock_left_us(world_mutex()), 988000);
		world_reply(STORE_EXTEND, STORE_OK);
		OUTCOME(rb, OUTCOME_OK);
		world_let_go(ra.string);
		world_end();
	}
END_TEST

START_TEST(an_extension_that_comes_after_the_end_of_its_lock_is_removed)
	{
		world_begin();
		world_hold(&ra, &a);
		for (int i = 0; i < 2; i++) {
			world_pass_ms(3350);
			world_reply(STORE_CHECK, STORE_OK);
		}
		world_pass_ms(3000);
		rb = (struct request){.ask = {.ttl_ms = 3600000}};
		strcpy(rb.ask.string, ra.string);
		world_ask(&rb, mutex_extend);
		world_pass_ms(200);
		ck_assert_int_eq(a.reason, LOST_EXPIRED);
		ck_assert_uint_eq(a.n_lost, 1);
		/* It reached the key in time, which stands for an hour now. */
		world_reply(STORE_EXTEND, STORE_OK);
		OUTCOME(rb, OUTCOME_UNLOCK_FAIL);
		world_pass_ms(300);
		ck_assert_str_eq(world_expect(STORE_RELEASE)->value, ra.string);
		/* However long nobody knows whether it was removed. */
		for (int i = 0; i < 10; i++) {
			world_reply(STORE_RELEASE, STORE_UNKNOWN);
			world_pass_ms(1100);
		}
		world_reply(STORE_RELEASE, STORE_OK);
		world_end();
	}
END_TEST

START_TEST(a_new_lock_is_renewed_while_the_comparison_of_the_last_one_hangs)
	{
		struct store_op *old;

		world_settings.renew = true;
		world_begin();
		world_hold(&ra, &a);
		table_store_event(table, &world_store, STORE_EVENT_CHANGED);
		world_pass_ms(0);
		old = world_expect(STORE_CHECK);
		world_release(&rd, ra.string);
		/* A store made of stores may be certain of the one and not yet of the other. */
		world_answer(TAILQ_NEXT(old, entry), STORE_OK);
		world_acquire(&rb, &b, 0);
		world_answer(TAILQ_NEXT(old, entry), STORE_OK);
		OUTCOME(rb, OUTCOME_OK);
		world_pass_ms(3400);
		ck_assert_ptr_nonnull(TAILQ_NEXT(old, entry));
		ck_assert_int_eq(TAILQ_NEXT(old, entry)->verb, STORE_EXTEND);
		ck_assert_str_eq(TAILQ_NEXT(old, entry)->value, rb.string);
		/* What it says at last is about the other one. */
		world_answer(old, STORE_GONE);
		world_reply(STORE_EXTEND, STORE_OK);
		ck_assert_uint_eq(b.n_lost, 0);
		world_let_go(rb.string);
		world_end();
	}
END_TEST

START_TEST(a_lost_extension_of_the_last_lock_does_not_cut_the_next_one_short)
	{
		world_begin();
		world_acquire_ttl(&ra, &a, 0, 1000, false);
		world_answer_ok(STORE_ACQUIRE, 1);
		rc = (struct request){.ask = {.ttl_ms = 1500}};
		strcpy(rc.ask.string, ra.string);
		world_ask(&rc, mutex_extend);
		world_first()->settled = false;
		world_reply(STORE_EXTEND, STORE_UNKNOWN);
		world_acquire(&rb, &b, CLOCK_NEVER);
		world_release(&rd, ra.string);
		world_first()->settled = false;
		world_answer_ok(STORE_REPLACE, 2);
		OUTCOME(rb, OUTCOME_OK);
		rc = (struct request){.ask = {.ttl_ms = 20000}};
		strcpy(rc.ask.string, rb.string);
		world_ask(&rc, mutex_extend);
		world_first()->settled = false;
		world_reply(STORE_EXTEND, STORE_OK);
		ck_assert_int_gt(rc.ask.ttl_left_ms, 19000);
		world_let_go(rb.string);
		world_end();
	}
END_TEST

START_TEST(a_look_for_what_has_changed_does_not_wait_for_one_that_was_sent_before)
	{
		struct store_op *old;

		world_begin();
		world_hold(&ra, &a);
		table_store_event(table, &world_store, STORE_EVENT_CHANGED);
		world_pass_ms(0);
		old = world_expect(STORE_CHECK);
		table_store_event(table, &world_store, STORE_EVENT_CHANGED);
		world_pass_ms(0);
		world_answer(old, STORE_OK);
		world_reply(STORE_CHECK, STORE_GONE);
		ck_assert_int_eq(a.reason, LOST_REPLACED);
		ck_assert_uint_eq(a.n_lost, 1);
		world_end();
	}
END_TEST

/* ------------------------------------------------------------------ fates left open */

START_TEST(an_acquire_without_an_answer_is_asked_again_by_its_own_string)
	{
		char string[LOCK_STRING_SIZE];

		world_begin();
		world_acquire(&ra, &a, CLOCK_NEVER);
		strcpy(string, world_expect(STORE_ACQUIRE)->value);
		world_reply(STORE_ACQUIRE, STORE_UNKNOWN);
		ck_assert_int_eq(mutex_state(world_mutex()), MUTEX_SETTLING);
		world_pass_ms(30);
		ck_assert_str_eq(world_expect(STORE_ACQUIRE)->value, string);
		world_answer_ok(STORE_ACQUIRE, 5);
		OUTCOME(ra, OUTCOME_OK);
		ck_assert_str_eq(ra.string, string);
		world_end();
	}
END_TEST

START_TEST(an_acquire_without_an_answer_is_removed_when_nobody_wants_it)
	{
		char string[LOCK_STRING_SIZE];

		world_begin();
		world_acquire(&ra, &a, 0);
		strcpy(string, world_expect(STORE_ACQUIRE)->value);
		world_pass_ms(1000);
		OUTCOME(ra, OUTCOME_UNAVAILABLE);
		world_reply(STORE_ACQUIRE, STORE_UNKNOWN);
		world_pass_ms(30);
		ck_assert_str_eq(world_expect(STORE_RELEASE)->value, string);
		world_reply(STORE_RELEASE, STORE_UNKNOWN);
		world_pass_ms(100);
		ck_assert_str_eq(world_expect(STORE_RELEASE)->value, string);
		world_reply(STORE_RELEASE, STORE_OK);
		ck_assert_int_eq(mutex_state(world_mutex()), MUTEX_FREE);
		world_end();
	}
END_TEST

START_TEST(a_string_that_may_come_late_is_removed_until_it_cannot)
	{
		world_begin();
		world_acquire(&ra, &a, 0);
		world_reply(STORE_ACQUIRE, STORE_UNKNOWN);
		OUTCOME(ra, OUTCOME_UNAVAILABLE);
		world_pass_ms(30);
		world_expect(STORE_RELEASE)->settled = false;
		world_reply(STORE_RELEASE, STORE_GONE);
		world_pass_ms(1100);
		world_expect(STORE_RELEASE)->settled = false;
		world_reply(STORE_RELEASE, STORE_OK); /* there it was */
		world_pass_ms(1100);
		world_reply(STORE_RELEASE, STORE_GONE); /* settled */
		world_pass_ms(5000);
		ck_assert_uint_eq(world_n_open(), 0);
		world_end();
	}
END_TEST

START_TEST(a_hand_over_without_an_answer_is_asked_again)
	{
		world_begin();
		world_hold(&ra, &a);
		world_acquire(&rb, &b, CLOCK_NEVER);
		world_release(&rd, ra.string);
		world_reply(STORE_REPLACE, STORE_UNKNOWN);
		OUTCOME(rd, OUTCOME_UNAVAILABLE);
		world_pass_ms(30);
		world_answer_ok(STORE_REPLACE, 9);
		OUTCOME(rb, OUTCOME_OK);
		world_end();
	}
END_TEST

START_TEST(waiters_keep_their_place_while_the_store_is_away)
	{
		world_begin();
		world_acquire(&ra, &a, 3000);
		world_acquire(&rb, &b, CLOCK_NEVER);
		world_reply(STORE_ACQUIRE, STORE_REFUSED);
		for (int i = 0; i < 300 && !ra.done; i++) {
			world_pass_ms(10);
			if (world_first())
				world_reply(STORE_ACQUIRE, STORE_REFUSED);
		}
		OUTCOME(ra, OUTCOME_UNAVAILABLE);
		ck_assert(!rb.done);
		table_store_event(table, &world_store, STORE_EVENT_UP);
		world_pass_ms(0);
		if (world_first()) {
			world_answer_ok(STORE_ACQUIRE, 1);
			OUTCOME(rb, OUTCOME_OK);
		}
		ck_assert(rb.done);
		world_end();
	}
END_TEST

START_TEST(a_waiter_is_not_told_that_it_is_locked_if_the_store_never_said_so)
	{
		struct store_op *op;

		world_begin();
		world_acquire(&ra, &a, 100);
		op = world_expect(STORE_ACQUIRE);
		op->left = true;
		world_answer(op, STORE_REFUSED);
		world_reply(STORE_RELEASE, STORE_GONE);
		world_expect(STORE_ACQUIRE);
		world_pass_ms(100);
		ck_assert(!ra.done);
		world_reply(STORE_ACQUIRE, STORE_REFUSED);
		OUTCOME(ra, OUTCOME_UNAVAILABLE);
		world_end();
	}
END_TEST

START_TEST(a_lasting_refusal_is_told_to_waiters_at_once)
	{
		world_begin();
		world_acquire(&ra, &a, CLOCK_NEVER);
		world_expect(STORE_ACQUIRE)->lasting = true;
		world_reply(STORE_ACQUIRE, STORE_REFUSED);
		OUTCOME(ra, OUTCOME_UNAVAILABLE);
		ck_assert_str_eq(ra.ask.text, "scripted: no");
		world_end();
	}
END_TEST

/* ------------------------------------------------------------------ local hand-over, lingering */

START_TEST(local_passes_need_no_command_and_fences_grow)
	{
		int64_t fence;

		world_settings.handoff = HANDOFF_LOCAL;
		world_begin();
		world_hold(&ra, &a);
		ck_assert_str_ne(ra.string, world_mutex()->value);
		for (int i = 0; i < 50; i++) {
			fence = ra.fence;
			world_acquire(&rb, &b, CLOCK_NEVER);
			world_release(&rd, ra.string);
			OUTCOME(rd, OUTCOME_OK);
			OUTCOME(rb, OUTCOME_OK);
			ck_assert_int_gt(rb.fence, fence);
			ck_assert_str_ne(ra.string, rb.string);
			ra = rb;
		}
		ck_assert_uint_eq(world_n_commands, 1);
		world_let_go(ra.string);
		world_end();
	}
END_TEST

START_TEST(local_passes_count_against_whoever_released_it_last)
	{
		unsigned passes = 0;

		world_settings.handoff = HANDOFF_LOCAL;
		world_settings.handoff_limit = 3;
		world_begin();
		world_acquire(&ra, &a, CLOCK_NEVER);
		world_reply(STORE_ACQUIRE, STORE_HELD);
		world_watch_ready();
		world_reply(STORE_ACQUIRE, STORE_HELD);
		/* Another daemon has had its share, and others wait there, for all we know. */
		world_message(STORE_MESSAGE_FREE);
		world_answer_ok(STORE_ACQUIRE, 1);
		OUTCOME(ra, OUTCOME_OK);
		for (;;) {
			world_acquire(&rb, &b, CLOCK_NEVER);
			world_release(&rd, ra.string);
			if (world_first())
				break;
			OUTCOME(rb, OUTCOME_OK);
			ra = rb;
			ck_assert_uint_lt(++passes, 10);
		}
		ck_assert_uint_eq(passes, 3);
		world_reply(STORE_RELEASE, STORE_OK);
		ck_assert_int_eq(mutex_state(world_mutex()), MUTEX_STAYING_OUT);
		world_pass_ms(100);
		world_answer_ok(STORE_ACQUIRE, 9);
		OUTCOME(rb, OUTCOME_OK);
		world_end();
	}
END_TEST

START_TEST(a_local_queue_is_reason_enough_to_listen_for_others)
	{
		world_settings.handoff = HANDOFF_LOCAL;
		world_begin();
		world_hold(&ra, &a);
		ck_assert_ptr_null(world_watch());
		world_acquire(&rb, &b, CLOCK_NEVER);
		ck_assert_ptr_nonnull(world_watch());
		world_release(&rd, ra.string);
		OUTCOME(rb, OUTCOME_OK);
		world_end();
	}
END_TEST

START_TEST(a_lock_that_another_daemon_releases_is_missed_at_once_if_somebody_waits)
	{
		world_begin();
		world_hold(&ra, &a);
		ck_assert_ptr_null(world_watch());
		world_acquire(&rb, &b, CLOCK_NEVER);
		ck_assert_ptr_nonnull(world_watch());
		world_watch_ready(); /* it may have been before that */
		world_pass_ms(0);
		world_reply(STORE_CHECK, STORE_OK);
		ck_assert_uint_eq(a.n_lost, 0);
		world_message(STORE_MESSAGE_FREE);
		world_pass_ms(0);
		world_reply(STORE_CHECK, STORE_GONE);
		ck_assert_int_eq(a.reason, LOST_REPLACED);
		world_answer_ok(STORE_ACQUIRE, 2);
		OUTCOME(rb, OUTCOME_OK);
		world_end();
	}
END_TEST

START_TEST(a_short_claim_is_extended_in_the_background)
	{
		world_settings.handoff = HANDOFF_LOCAL;
		world_begin();
		world_hold(&ra, &a);
		world_pass_ms(3000);
		world_acquire(&rb, &b, CLOCK_NEVER);
		world_release(&rd, ra.string);
		OUTCOME(rb, OUTCOME_OK);
		world_pass_ms(400);
		world_reply(STORE_EXTEND, STORE_OK);
		/* The second holder has its own ten seconds. */
		world_pass_ms(1);
		ck_assert_int_gt(mutex_lock_left_us(world_mutex()), 9 * SECOND_US);
		world_let_go(rb.string);
		world_end();
	}
END_TEST

START_TEST(an_extension_counts_for_whoever_holds_the_claim_by_then)
	{
		world_settings.handoff = HANDOFF_LOCAL;
		world_settings.renew = true;
		world_begin();
		world_hold(&ra, &a);
		world_acquire(&rb, &b, CLOCK_NEVER);
		world_pass_ms(3300);
		world_expect(STORE_EXTEND);
		world_release(&rd, ra.string);
		OUTCOME(rb, OUTCOME_OK);
		world_reply(STORE_EXTEND, STORE_OK);
		ck_assert_int_gt(mutex_lock_left_us(world_mutex()), 9 * SECOND_US);
		ck_assert_uint_eq(world_n_open(), 0);
		/* So does the news that it is gone. */
		world_acquire(&rc, &c, CLOCK_NEVER);
		world_pass_ms(3400);
		world_expect(STORE_EXTEND);
		world_release(&rd, rb.string);
		OUTCOME(rc, OUTCOME_OK);
		world_reply(STORE_EXTEND, STORE_GONE);
		ck_assert_int_eq(c.reason, LOST_REPLACED);
		ck_assert_uint_eq(c.n_lost, 1);
		world_end();
	}
END_TEST

START_TEST(an_extension_that_is_lost_over_a_pass_may_cut_the_claim_short)
	{
		world_settings.handoff = HANDOFF_LOCAL;
		world_settings.renew = true;
		world_settings.ttl_ms = 1000;
		world_begin();
		world_hold(&ra, &a);
		world_acquire_ttl(&rb, &b, CLOCK_NEVER, 100000, true);
		world_pass_ms(400);
		world_expect(STORE_EXTEND);
		world_release(&rd, ra.string);
		OUTCOME(rb, OUTCOME_OK);
		world_reply(STORE_EXTEND, STORE_UNKNOWN);
		world_pass_ms(20);
		ck_assert_int_eq(world_expect(STORE_EXTEND)->ttl_ms, 100000);
		world_first()->settled = false;
		world_reply(STORE_EXTEND, STORE_OK);
		/* It may still be carried out, and then the key stands for a second. */
		ck_assert_int_lt(mutex_lock_left_us(world_mutex()), SECOND_US);
		world_let_go(rb.string);
		world_end();
	}
END_TEST

START_TEST(at_the_end_of_the_counter_the_store_is_asked_again)
	{
		unsigned n = 0;

		world_settings.handoff = HANDOFF_LOCAL;
		world_settings.handoff_limit = 1000000;
		world_begin();
		world_hold(&ra, &a);
		while (world_n_commands == 1) {
			world_acquire(&rb, &b, CLOCK_NEVER);
			world_release(&rd, ra.string);
			if (rb.done)
				ra = rb;
			ck_assert_uint_le(++n, 1024);
		}
		ck_assert_uint_eq(n, 1024);
		world_answer_ok(STORE_REPLACE, 8);
		OUTCOME(rb, OUTCOME_OK);
		ck_assert_int_eq(rb.fence, 8 * 1024);
		world_end();
	}
END_TEST

START_TEST(a_lingering_lease_serves_the_next_local_client)
	{
		world_settings.linger_ms = 200;
		world_begin();
		world_hold(&ra, &a);
		world_watch_ready();
		world_release(&rd, ra.string);
		OUTCOME(rd, OUTCOME_OK);
		rc = (struct request){0};
		world_ask(&rc, mutex_exists);
		OUTCOME(rc, OUTCOME_OK);
		ck_assert(!rc.ask.locked);
		world_acquire(&rb, &b, 0);
		OUTCOME(rb, OUTCOME_OK);
		ck_assert_int_gt(rb.fence, ra.fence);
		world_release(&rd, rb.string);
		OUTCOME(rd, OUTCOME_OK);
		ck_assert_uint_eq(world_n_commands, 1);
		world_message(STORE_MESSAGE_WANT);
		world_reply(STORE_RELEASE, STORE_OK);
		world_end();
	}
END_TEST

START_TEST(a_try_waits_a_moment_for_a_lock_that_may_only_linger)
	{
		world_settings.linger_ms = 200;
		world_begin();
		world_acquire(&ra, &a, 0);
		world_expect(STORE_ACQUIRE)->receivers = 1;
		world_reply(STORE_ACQUIRE, STORE_HELD);
		ck_assert(!ra.done);
		world_pass_ms(5);
		world_answer_ok(STORE_ACQUIRE, 4);
		OUTCOME(ra, OUTCOME_OK);
		world_end();
	}
END_TEST

START_TEST(a_try_is_refused_when_nobody_lets_go_within_20_ms)
	{
		world_settings.linger_ms = 200;
		world_begin();
		world_acquire(&ra, &a, 0);
		for (int i = 0; i <= 21; i++) {
			if (world_first()) {
				world_expect(STORE_ACQUIRE)->receivers = 1;
				world_reply(STORE_ACQUIRE, STORE_HELD);
			}
			if (ra.done)
				break;
			world_pass_ms(1);
		}
		OUTCOME(ra, OUTCOME_ALREADY_LOCKED);
		ck_assert_uint_le(world_n_commands, 8);
		world_end();
	}
END_TEST

/* ------------------------------------------------------------------ the rest */

START_TEST(exists_is_answered_from_here_or_by_one_shared_look)
	{
		world_begin();
		ra = rb = rc = (struct request){0};
		world_ask(&ra, mutex_exists);
		world_ask(&rb, mutex_exists);
		world_expect(STORE_LOOK);
		world_ask(&rc, mutex_exists); /* too late for that one */
		world_reply(STORE_LOOK, STORE_HELD);
		OUTCOME(ra, OUTCOME_OK);
		OUTCOME(rb, OUTCOME_OK);
		ck_assert(ra.ask.locked && rb.ask.locked && !rc.done);
		world_reply(STORE_LOOK, STORE_GONE);
		OUTCOME(rc, OUTCOME_OK);
		ck_assert(!rc.ask.locked);
		world_hold(&ra, &a);
		rd = (struct request){0};
		world_ask(&rd, mutex_exists);
		OUTCOME(rd, OUTCOME_OK);
		ck_assert(rd.ask.locked);
		ck_assert_uint_eq(world_n_commands, 3);
		world_end();
	}
END_TEST

START_TEST(a_broken_lock_is_lost)
	{
		world_begin();
		world_hold(&ra, &a);
		rb = (struct request){0};
		world_ask(&rb, mutex_break);
		world_reply(STORE_BREAK, STORE_OK);
		OUTCOME(rb, OUTCOME_OK);
		ck_assert_uint_eq(a.n_lost, 1);
		ck_assert_int_eq(a.reason, LOST_BROKEN);
		/* Of several servers some may still have it. */
		ck_assert_str_eq(world_expect(STORE_RELEASE)->value, ra.string);
		world_reply(STORE_RELEASE, STORE_GONE);
		rb = (struct request){0};
		world_ask(&rb, mutex_break);
		world_reply(STORE_BREAK, STORE_GONE);
		OUTCOME(rb, OUTCOME_UNLOCK_FAIL);
		world_end();
	}
END_TEST

START_TEST(a_break_that_found_nothing_ends_no_lock_without_a_look)
	{
		world_begin();
		world_hold(&ra, &a);
		rb = (struct request){0};
		world_ask(&rb, mutex_break);
		world_reply(STORE_BREAK, STORE_GONE);
		OUTCOME(rb, OUTCOME_UNLOCK_FAIL);
		world_pass_ms(0);
		world_reply(STORE_CHECK, STORE_OK);
		ck_assert_uint_eq(a.n_lost, 0);
		world_let_go(ra.string);
		world_end();
	}
END_TEST

START_TEST(a_client_that_half_closes_at_once_is_served_if_it_is_free)
	{
		world_begin();
		world_acquire(&ra, &a, CLOCK_NEVER);
		ask_hang_up(&ra.ask);
		world_answer_ok(STORE_ACQUIRE, 1);
		OUTCOME(ra, OUTCOME_OK);
		world_acquire(&rb, &b, CLOCK_NEVER);
		ask_hang_up(&rb.ask);
		table_deliver(table);
		OUTCOME(rb, OUTCOME_CANCELLED);
		world_end();
	}
END_TEST

START_TEST(a_stop_tells_holders_and_leaves_the_key_for_a_moment)
	{
		world_begin();
		world_hold(&ra, &a);
		world_acquire(&rb, &b, CLOCK_NEVER);
		table_stop(table);
		table_deliver(table);
		OUTCOME(rb, OUTCOME_SHUTTING_DOWN);
		ck_assert_uint_eq(a.n_lost, 1);
		ck_assert_int_eq(a.reason, LOST_SHUTDOWN);
		ck_assert_uint_eq(world_n_open(), 0);
		ck_assert(!table_stopped(table));
		table_stop_release(table);
		world_reply(STORE_RELEASE, STORE_OK);
		ck_assert(table_stopped(table));
		world_acquire(&rb, &b, 0);
		OUTCOME(rb, OUTCOME_SHUTTING_DOWN);
		world_end();
	}
END_TEST

START_TEST(a_changed_key_takes_effect_at_the_next_release)
	{
		struct section *section;

		world_begin();
		world_hold(&ra, &a);
		world_acquire(&rb, &b, CLOCK_NEVER);
		section = world_section("m", "other", &world_settings);
		table_configure(table, &section, 1);
		ck_assert_str_eq(mutex_key(world_mutex())->key, "key");
		world_release(&rd, ra.string);
		world_reply(STORE_RELEASE, STORE_OK); /* no local pass */
		ck_assert_str_eq(world_expect(STORE_ACQUIRE)->key->key, "other");
		world_answer_ok(STORE_ACQUIRE, 8);
		OUTCOME(rb, OUTCOME_OK);
		world_let_go(rb.string);
		world_end();
	}
END_TEST

START_TEST(a_removed_mutex_ends_at_its_release)
	{
		world_begin();
		world_hold(&ra, &a);
		world_acquire(&rb, &b, CLOCK_NEVER);
		table_configure(table, NULL, 0);
		table_deliver(table);
		OUTCOME(rb, OUTCOME_UNKNOWN_MUTEX);
		world_release(&rd, ra.string);
		world_reply(STORE_RELEASE, STORE_OK);
		OUTCOME(rd, OUTCOME_OK);
		ck_assert_ptr_null(table_peek(table, "m", 1));
		ck_assert_ptr_null(table_find(table, "m", 1));
		world_end();
	}
END_TEST

START_TEST(members_of_a_family_end_when_nobody_needs_them)
	{
		struct section *sections[3];
		struct table_cursor cursor;
		struct mutex *mutex;

		world_begin();
		sections[0] = world_section("order-*", "orders:{name}", &world_settings);
		sections[1] = world_section("*", "any:{name}:{name}", &world_settings);
		sections[2] = world_section("order-7", "seven", &world_settings);
		table_configure(table, sections, 3);
		table_deliver(table);
		mutex = table_find(table, "order-12", 8);
		ck_assert_str_eq(mutex_key(mutex)->key, "orders:order-12");
		ck_assert_str_eq(mutex_key(mutex)->fence, "{orders:order-12}:fence");
		ck_assert_str_eq(mutex_key(table_find(table, "x", 1))->key, "any:x:x");
		ck_assert_str_eq(mutex_key(table_find(table, "order-7", 7))->key, "seven");
		table_deliver(table);
		/* Whoever goes through them does not meet those that are only kept for later. */
		table_cursor_open(table, &cursor);
		ck_assert_str_eq(mutex_name(table_cursor_next(&cursor)), "order-7");
		ck_assert_ptr_null(table_cursor_next(&cursor));
		table_cursor_close(&cursor);
		/* Many others push it out. */
		for (unsigned i = 0; i < 1000; i++) {
			char name[16];

			snprintf(name, sizeof(name), "other-%u", i);
			table_find(table, name, strlen(name));
			table_deliver(table);
		}
		ck_assert_ptr_null(table_peek(table, "order-12", 8));
		ck_assert_ptr_null(table_peek(table, "other-500", 9));
		ck_assert_ptr_nonnull(table_peek(table, "order-7", 7));
		world_end();
	}
END_TEST

START_TEST(a_member_that_no_section_covers_any_more_ends_at_once)
	{
		struct section *sections[2];

		world_begin();
		sections[0] = world_section("order-*", "orders:{name}", &world_settings);
		sections[1] = world_section("order-7", "seven", &world_settings);
		table_configure(table, sections, 2);
		table_find(table, "order-12", 8);
		table_deliver(table);
		sections[0] = world_section("order-7", "seven", &world_settings);
		table_configure(table, sections, 1);
		table_deliver(table);
		ck_assert_ptr_null(table_peek(table, "order-12", 8));
		ck_assert_ptr_null(table_find(table, "order-12", 8));
		world_end();
	}
END_TEST

static Suite *mutex_suite(void)
{
	Suite *suite = suite_create("core/mutex");
	TCase *tc;

#define CASE(name)                                                                                 \
	tc = tcase_create(name);                                                                   \
	tcase_add_checked_fixture(tc, setup, NULL);                                                \
	suite_add_tcase(suite, tc)

	CASE("acquire and release");
	tcase_add_test(tc, a_free_mutex_is_granted_with_a_string_a_lease_and_a_fence);
	tcase_add_test(tc, a_try_on_a_lock_held_here_is_refused_without_a_command);
	tcase_add_test(tc, a_try_on_a_lock_held_elsewhere_is_refused_after_one_command);
	tcase_add_test(tc, a_try_is_refused_as_locked_if_contenders_were_quicker_all_the_time);
	tcase_add_test(tc, tries_share_a_command_only_if_they_came_before_it_was_written);
	tcase_add_test(tc, release_is_answered_only_when_the_store_has_said_so);
	tcase_add_test(tc, release_of_a_lock_that_the_store_lost_is_unlock_fail);
	tcase_add_test(tc, release_that_gets_no_answer_is_unavailable_and_goes_on);
	tcase_add_test(tc, release_is_given_up_when_the_lease_has_surely_passed);
	tcase_add_test(tc, a_lock_of_another_daemon_is_released_by_its_string);
	tcase_add_test(tc, with_local_handoff_a_foreign_string_proves_nothing);
	tcase_add_test(tc, without_a_fence_the_first_try_is_the_plain_set);
	CASE("queue");
	tcase_add_test(tc, waiters_are_served_in_order_by_one_command_each);
	tcase_add_test(tc, a_waiter_that_leaves_during_the_hand_over_costs_the_next_nothing);
	tcase_add_test(tc, a_lock_that_nobody_wants_any_more_is_given_back);
	tcase_add_test(tc, a_waiter_with_another_ttl_gets_its_own);
	tcase_add_test(tc, a_holder_that_goes_frees_its_locks_at_once);
	tcase_add_test(tc, the_wait_of_a_waiter_ends_in_time);
	tcase_add_test(tc, waiters_beyond_the_limit_are_refused);
	tcase_add_test(tc, who_asks_again_behind_its_release_has_it_passed_on);
	tcase_add_test(tc, who_asks_again_when_its_release_is_answered_finds_it_there);
	tcase_add_test(tc, the_lease_that_is_asked_for_again_is_that_of_the_pass);
	tcase_add_test(tc, a_pass_to_who_does_not_come_is_a_release);
	tcase_add_test(tc, a_pass_to_who_asks_again_that_fails_is_answered_as_a_release);
	tcase_add_test(tc, who_asks_again_at_once_leaves_others_their_turn);
	tcase_add_test(tc, who_asks_again_and_again_all_alone_is_released_now_and_then);
	tcase_add_test(tc, a_local_pass_to_who_asks_again_costs_no_command);
	CASE("other hosts");
	tcase_add_test(tc, a_waiter_subscribes_looks_again_and_then_once_a_second);
	tcase_add_test(tc, a_waiter_looks_when_the_foreign_lock_is_due_to_expire);
	tcase_add_test(tc, many_waiters_cost_what_one_costs);
	tcase_add_test(tc, others_get_their_turn_after_the_limit);
	CASE("leases");
	tcase_add_test(tc, a_lease_is_counted_from_before_the_request);
	tcase_add_test(tc, a_reply_after_its_lease_is_no_grant);
	tcase_add_test(tc, an_unrenewed_lock_is_announced_and_lost);
	tcase_add_test(tc, a_lock_granted_near_its_end_is_announced_right_behind_its_answer);
	tcase_add_test(tc, a_lost_lock_is_dead_while_its_key_stands_for_a_little_longer);
	tcase_add_test(tc, a_renewed_lock_lives_as_long_as_the_store_says_so);
	tcase_add_test(tc, a_renewal_that_gets_no_answer_ends_in_expiring_then_lost_unavailable);
	tcase_add_test(tc, a_lock_that_the_store_has_lost_is_lost_at_the_next_check);
	tcase_add_test(tc, a_long_lease_is_compared_every_ten_seconds);
	tcase_add_test(tc, after_a_stop_leases_are_looked_at_first);
	tcase_add_test(tc, extend_gives_a_fresh_lease);
	tcase_add_test(tc, a_shorter_lease_counts_from_when_it_was_asked_for);
	tcase_add_test(tc, a_lost_extension_of_the_last_lock_does_not_cut_the_next_one_short);
	tcase_add_test(tc, a_look_for_what_has_changed_does_not_wait_for_one_that_was_sent_before);
	tcase_add_test(tc, a_new_lock_is_renewed_while_the_comparison_of_the_last_one_hangs);
	tcase_add_test(tc, an_extension_that_comes_after_the_end_of_its_lock_is_removed);
	CASE("fates left open");
	tcase_add_test(tc, an_acquire_without_an_answer_is_asked_again_by_its_own_string);
	tcase_add_test(tc, an_acquire_without_an_answer_is_removed_when_nobody_wants_it);
	tcase_add_test(tc, a_string_that_may_come_late_is_removed_until_it_cannot);
	tcase_add_test(tc, a_hand_over_without_an_answer_is_asked_again);
	tcase_add_test(tc, waiters_keep_their_place_while_the_store_is_away);
	tcase_add_test(tc, a_waiter_is_not_told_that_it_is_locked_if_the_store_never_said_so);
	tcase_add_test(tc, a_lasting_refusal_is_told_to_waiters_at_once);
	CASE("own claims");
	tcase_add_test(tc, local_passes_need_no_command_and_fences_grow);
	tcase_add_test(tc, local_passes_count_against_whoever_released_it_last);
	tcase_add_test(tc, a_local_queue_is_reason_enough_to_listen_for_others);
	tcase_add_test(tc, a_lock_that_another_daemon_releases_is_missed_at_once_if_somebody_waits);
	tcase_add_test(tc, a_short_claim_is_extended_in_the_background);
	tcase_add_test(tc, an_extension_that_is_lost_over_a_pass_may_cut_the_claim_short);
	tcase_add_test(tc, an_extension_counts_for_whoever_holds_the_claim_by_then);
	tcase_add_test(tc, at_the_end_of_the_counter_the_store_is_asked_again);
	tcase_add_test(tc, a_lingering_lease_serves_the_next_local_client);
	tcase_add_test(tc, a_try_waits_a_moment_for_a_lock_that_may_only_linger);
	tcase_add_test(tc, a_try_is_refused_when_nobody_lets_go_within_20_ms);
	CASE("the rest");
	tcase_add_test(tc, exists_is_answered_from_here_or_by_one_shared_look);
	tcase_add_test(tc, a_broken_lock_is_lost);
	tcase_add_test(tc, a_break_that_found_nothing_ends_no_lock_without_a_look);
	tcase_add_test(tc, a_client_that_half_closes_at_once_is_served_if_it_is_free);
	tcase_add_test(tc, a_stop_tells_holders_and_leaves_the_key_for_a_moment);
	tcase_add_test(tc, a_changed_key_takes_effect_at_the_next_release);
	tcase_add_test(tc, a_removed_mutex_ends_at_its_release);
	tcase_add_test(tc, members_of_a_family_end_when_nobody_needs_them);
	tcase_add_test(tc, a_member_that_no_section_covers_any_more_ends_at_once);
	return suite;
}

int main(void)
{
	return suite_run(mutex_suite());
}
