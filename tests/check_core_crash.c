/* SPDX-License-Identifier: MIT */
/* What the core tells its journal, and what it does with what an earlier process has left. */
#include "config.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/mutex_private.h"
#include "core_world.h"
#include "suite.h"

/* ------------------------------------------------------------------ a journal that takes notes */

static char notes[1024];
static uint32_t last_slot;

static void note(const char *what, uint32_t slot)
{
	size_t len = strlen(notes);

	snprintf(notes + len, sizeof(notes) - len, "%s%u ", what, slot);
}

static uint32_t note_claim(struct journal *journal, const struct mutex *mutex, const char *value)
{
	(void)journal;
	(void)mutex;
	ck_assert_uint_eq(strlen(value), LOCK_STRING_LEN);
	note("claim", ++last_slot);
	return last_slot;
}

static void note_grant(struct journal *journal, uint32_t slot, const struct lock *lock)
{
	(void)journal;
	ck_assert_uint_eq(mutex_claim(lock->mutex).slot, slot);
	note("grant", slot);
}

static void note_drop(struct journal *journal, uint32_t slot)
{
	(void)journal;
	note("drop", slot);
}

static void note_revoke(struct journal *journal, uint32_t slot)
{
	(void)journal;
	note("revoke", slot);
}

static const struct journal_class noting_class = {
	.claim = note_claim,
	.grant = note_grant,
	.drop = note_drop,
	.revoke = note_revoke,
};
static struct journal noting = {.class = &noting_class};

#define NOTED(text)                                                                                \
	do {                                                                                       \
		ck_assert_str_eq(notes, text);                                                     \
		notes[0] = '\0';                                                                   \
	} while (0)

/* ------------------------------------------------------------------ */

static struct client a, b;
static struct request ra, rb, rc;

/* A string as an earlier process would have made it, and another. */
static const char left[] = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
static const char left_too[] = "BAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

static void setup(void)
{
	client_init(&a);
	client_init(&b);
	notes[0] = '\0';
	last_slot = 0;
	world_journal = &noting;
	world_store.in_process = false;
}

static void remove_left(struct mutex *mutex, const char *value, bool doubtful, int64_t after_us)
{
	const struct claim claim = {.value = value, .doubtful = doubtful, .slot = 9};

	table_remove_claim(table, mutex, &claim, after_us);
	table_deliver(table);
}

static void note_outcome(struct ask *ask)
{
	note("outcome", ask->outcome);
}

static struct lock *adopt(struct mutex *mutex, struct client *client, int64_t fence)
{
	const struct lease lease = lease_make(world_now_us - 1000000, 10000000);
	const struct claim claim = {.value = left, .lease = lease, .slot = 9};
	struct lock lock = {.fence = fence, .lease = lease, .owner = &client->holder};

	strcpy(lock.string, left);
	return table_adopt(table, mutex, &lock, &claim);
}

START_TEST(a_claim_is_noted_before_its_command_and_dropped_after_it)
	{
		world_begin();
		world_acquire(&ra, &a, 0);
		NOTED("claim1 ");
		world_answer_ok(STORE_ACQUIRE, 7);
		NOTED("grant1 ");
		world_release(&rb, ra.string);
		NOTED("revoke1 ");
		world_reply(STORE_RELEASE, STORE_OK);
		NOTED("drop1 ");
		world_end();
		NOTED("");
	}
END_TEST

START_TEST(a_hand_over_has_both_strings_noted_until_it_is_settled)
	{
		world_begin();
		world_acquire(&ra, &a, 0);
		world_answer_ok(STORE_ACQUIRE, 7);
		world_acquire(&rb, &b, CLOCK_NEVER);
		NOTED("claim1 grant1 ");
		world_release(&rc, ra.string);
		NOTED("revoke1 claim2 ");
		world_answer_ok(STORE_REPLACE, 8);
		NOTED("drop1 grant2 ");
		table_drop_holder(table, &b.holder);
		world_reply(STORE_RELEASE, STORE_OK);
		world_end();
	}
END_TEST

START_TEST(what_a_failed_acquire_may_have_left_stays_noted_until_it_is_gone)
	{
		struct store_op *op;

		world_begin();
		world_acquire(&ra, &a, CLOCK_NEVER);
		NOTED("claim1 ");
		op = world_expect(STORE_ACQUIRE);
		op->left = true;
		world_answer(op, STORE_REFUSED);
		NOTED("");
		world_reply(STORE_RELEASE, STORE_UNKNOWN);
		world_pass_ms(20);
		NOTED("");
		world_reply(STORE_RELEASE, STORE_GONE);
		NOTED("drop1 claim2 ");
		/* Others hold it, or so they say. */
		op = world_expect(STORE_ACQUIRE);
		op->left = true;
		world_answer(op, STORE_HELD);
		NOTED("");
		world_reply(STORE_RELEASE, STORE_HELD);
		NOTED("drop2 ");
		ck_assert(!ra.done);
		world_end();
	}
END_TEST

START_TEST(a_released_string_that_a_lost_command_may_bring_back_stays_noted)
	{
		struct store_op *op;

		world_begin();
		world_acquire(&ra, &a, 0);
		world_answer_ok(STORE_ACQUIRE, 7);
		world_release(&rb, ra.string);
		NOTED("claim1 grant1 revoke1 ");
		op = world_expect(STORE_RELEASE);
		op->left = true;
		op->settled = false;
		world_answer(op, STORE_OK);
		OUTCOME(rb, OUTCOME_OK);
		NOTED("");
		world_pass_ms(1000);
		world_reply(STORE_RELEASE, STORE_GONE);
		NOTED("drop1 ");
		world_end();
	}
END_TEST

START_TEST(a_release_of_another_daemons_lock_is_noted_until_it_has_happened)
	{
		world_begin();
		world_release(&ra, left);
		NOTED("claim1 ");
		world_reply(STORE_RELEASE, STORE_UNKNOWN);
		OUTCOME(ra, OUTCOME_UNAVAILABLE);
		world_pass_ms(20);
		NOTED("");
		world_reply(STORE_RELEASE, STORE_OK);
		NOTED("drop1 ");
		world_end();
	}
END_TEST

START_TEST(a_broken_lock_stays_noted_until_it_is_gone)
	{
		world_begin();
		world_acquire(&ra, &a, 0);
		world_answer_ok(STORE_ACQUIRE, 7);
		rb = (struct request){0};
		world_ask(&rb, mutex_break);
		world_reply(STORE_BREAK, STORE_OK);
		NOTED("claim1 grant1 revoke1 ");
		world_reply(STORE_RELEASE, STORE_GONE);
		NOTED("drop1 ");
		world_end();
	}
END_TEST

START_TEST(a_local_pass_notes_the_next_holder_in_the_same_slot)
	{
		world_settings.handoff = HANDOFF_LOCAL;
		world_begin();
		world_acquire(&ra, &a, 0);
		world_answer_ok(STORE_ACQUIRE, 7);
		world_acquire(&rb, &b, CLOCK_NEVER);
		world_release(&rc, ra.string);
		NOTED("claim1 grant1 revoke1 grant1 ");
		table_drop_holder(table, &b.holder);
		world_reply(STORE_RELEASE, STORE_OK);
		world_end();
	}
END_TEST

START_TEST(a_lease_that_changes_is_noted)
	{
		struct store_op *op;

		world_settings.renew = true;
		world_begin();
		world_acquire(&ra, &a, 0);
		world_answer_ok(STORE_ACQUIRE, 7);
		NOTED("claim1 grant1 ");
		world_pass_ms(3400);
		op = world_expect(STORE_EXTEND);
		world_answer(op, STORE_OK);
		NOTED("grant1 ");
		rb = (struct request){.ask.ttl_ms = 5000};
		strcpy(rb.ask.string, ra.string);
		world_ask(&rb, mutex_extend);
		NOTED("grant1 "); /* shorter: at once */
		world_reply(STORE_EXTEND, STORE_OK);
		NOTED("grant1 ");
		table_drop_holder(table, &a.holder);
		world_reply(STORE_RELEASE, STORE_OK);
		world_end();
	}
END_TEST

START_TEST(at_the_very_end_what_is_held_stays_noted)
	{
		world_begin();
		a.holder.kind = HOLDER_PID;
		world_acquire(&ra, &a, 0);
		world_answer_ok(STORE_ACQUIRE, 7);
		notes[0] = '\0';
		world_end();
		NOTED("");
	}
END_TEST

START_TEST(an_adopted_lock_is_compared_at_once_and_released_by_its_string)
	{
		struct lock *lock;

		world_begin();
		lock = adopt(world_mutex(), &a, 7 * 1024 + 3);
		ck_assert_ptr_nonnull(lock);
		ck_assert_int_eq(mutex_lock_left_us(world_mutex()), 8898000);
		world_pass_ms(0);
		world_reply(STORE_CHECK, STORE_OK);
		ck_assert_ptr_eq(mutex_lock(world_mutex()), lock);
		world_release(&ra, left);
		ck_assert_str_eq(world_expect(STORE_RELEASE)->value, left);
		world_reply(STORE_RELEASE, STORE_OK);
		OUTCOME(ra, OUTCOME_OK);
		NOTED("grant9 revoke9 drop9 ");
		world_end();
	}
END_TEST

START_TEST(an_adopted_lock_that_the_store_lost_is_lost)
	{
		world_begin();
		adopt(world_mutex(), &a, 0);
		world_pass_ms(0);
		world_reply(STORE_CHECK, STORE_GONE);
		ck_assert_ptr_null(mutex_lock(world_mutex()));
		ck_assert_uint_eq(a.holder.n_owned, 0);
		NOTED("grant9 revoke9 drop9 ");
		world_end();
	}
END_TEST

START_TEST(fences_go_on_where_an_adopted_lock_was)
	{
		world_settings.handoff = HANDOFF_LOCAL;
		world_begin();
		adopt(world_mutex(), &a, 7 * 1024 + 3);
		world_pass_ms(0);
		world_reply(STORE_CHECK, STORE_OK);
		world_acquire(&rb, &b, CLOCK_NEVER);
		world_release(&rc, left);
		ck_assert_int_eq(rb.fence, 7 * 1024 + 4);
		table_drop_holder(table, &b.holder);
		world_reply(STORE_RELEASE, STORE_OK);
		world_end();
	}
END_TEST

START_TEST(what_was_left_is_removed_after_its_grace_and_whoever_waits_gets_it)
	{
		world_begin();
		remove_left(world_mutex(), left, false, world_now_us + 1000000);
		world_acquire(&ra, &a, CLOCK_NEVER);
		world_expect(STORE_ACQUIRE)->pttl_ms = 3600000;
		world_reply(STORE_ACQUIRE, STORE_HELD);
		world_watch_ready();
		world_expect(STORE_ACQUIRE)->pttl_ms = 3600000;
		world_reply(STORE_ACQUIRE, STORE_HELD);
		world_pass_ms(999);
		ck_assert_uint_eq(world_n_open(), 0);
		world_pass_ms(1);
		ck_assert_str_eq(world_expect(STORE_RELEASE)->value, left);
		notes[0] = '\0';
		world_reply(STORE_RELEASE, STORE_OK);
		NOTED("claim3 drop9 ");
		world_answer_ok(STORE_ACQUIRE, 7);
		OUTCOME(ra, OUTCOME_OK);
		table_drop_holder(table, &a.holder);
		world_reply(STORE_RELEASE, STORE_OK);
		world_pass_ms(2000);
		world_end();
	}
END_TEST

START_TEST(a_removal_is_tried_until_the_store_answers)
	{
		world_begin();
		remove_left(world_mutex(), left, false, 0);
		world_reply(STORE_RELEASE, STORE_REFUSED);
		world_pass_ms(100);
		world_reply(STORE_RELEASE, STORE_UNKNOWN);
		world_pass_ms(100);
		NOTED("");
		world_reply(STORE_RELEASE, STORE_GONE);
		NOTED("drop9 ");
		world_end();
	}
END_TEST

START_TEST(a_command_of_the_last_process_may_come_late_whatever_a_connection_says)
	{
		unsigned n;

		world_begin();
		remove_left(world_mutex(), left, true, 0);
		for (n = 0; !*notes; n++) {
			ck_assert(!table_stopped(table) == (n == 0));
			world_reply(STORE_RELEASE, STORE_GONE); /* settled, it says */
			world_pass_ms(1000);
		}
		ck_assert_uint_ge(n, 60);
		ck_assert_uint_le(n, 62);
		NOTED("drop9 ");
		world_end();
	}
END_TEST

START_TEST(what_stands_under_a_former_key_is_removed_there)
	{
		struct mutex *mutex;

		world_begin();
		mutex = table_recall(table, "m", 1, &world_store, "former");
		ck_assert_ptr_eq(mutex, world_mutex());
		remove_left(mutex, left, false, 0);
		mutex = table_recall(table, "m", 1, &world_store, "key");
		remove_left(mutex, left_too, false, 0);
		ck_assert_str_eq(mutex_key(world_mutex())->key, "key");
		ck_assert_str_eq(world_expect(STORE_RELEASE)->key->key, "former");
		world_reply(STORE_RELEASE, STORE_OK);
		ck_assert_str_eq(world_expect(STORE_RELEASE)->key->key, "key");
		world_reply(STORE_RELEASE, STORE_OK);
		NOTED("drop9 drop9 ");
		world_end();
	}
END_TEST

START_TEST(a_lock_under_a_former_key_is_adopted_there_until_its_release)
	{
		struct mutex *mutex;

		world_begin();
		mutex = table_recall(table, "m", 1, &world_store, "former");
		ck_assert_ptr_nonnull(adopt(mutex, &a, 0));
		ck_assert_ptr_null(table_recall(table, "m", 1, &world_store, "key"));
		world_pass_ms(0);
		ck_assert_str_eq(world_expect(STORE_CHECK)->key->key, "former");
		world_reply(STORE_CHECK, STORE_OK);
		world_acquire(&rb, &b, CLOCK_NEVER);
		table_drop_holder(table, &a.holder);
		ck_assert_str_eq(world_expect(STORE_RELEASE)->key->key, "former");
		world_reply(STORE_RELEASE, STORE_OK);
		ck_assert_str_eq(world_expect(STORE_ACQUIRE)->key->key, "key");
		world_answer_ok(STORE_ACQUIRE, 8);
		table_drop_holder(table, &b.holder);
		world_reply(STORE_RELEASE, STORE_OK);
		world_end();
	}
END_TEST

START_TEST(a_mutex_that_is_not_configured_any_more_ends_with_what_was_left)
	{
		struct mutex *mutex;

		world_begin();
		mutex = table_recall(table, "gone", 4, &world_store, "former");
		ck_assert_ptr_nonnull(mutex);
		remove_left(mutex, left, false, 0);
		ck_assert_ptr_eq(table_peek(table, "gone", 4), mutex);
		ra = (struct request){.ask = {.owner = &a.holder, .done = note_outcome}};
		mutex_acquire(mutex, &ra.ask);
		table_deliver(table);
		NOTED("outcome6 ");
		world_reply(STORE_RELEASE, STORE_OK);
		ck_assert_ptr_null(table_peek(table, "gone", 4));
		NOTED("drop9 ");
		world_end();
	}
END_TEST

START_TEST(a_store_that_is_not_configured_any_more_is_out_of_reach)
	{
		struct store other = world_store;

		world_begin();
		ck_assert_ptr_null(table_recall(table, "m", 1, &other, "key"));
		ck_assert_ptr_null(table_recall(table, "gone", 4, &other, "key"));
		world_end();
	}
END_TEST

START_TEST(a_store_that_ended_with_its_process_gets_back_what_it_had)
	{
		world_store.in_process = true;
		world_begin();
		adopt(world_mutex(), &a, 0);
		ck_assert_str_eq(world_expect(STORE_ACQUIRE)->value, left);
		ck_assert_int_eq(world_first()->ttl_ms, 9000);
		world_answer_ok(STORE_ACQUIRE, 0);
		world_pass_ms(0);
		world_reply(STORE_CHECK, STORE_OK);
		ck_assert_ptr_nonnull(mutex_lock(world_mutex()));
		table_drop_holder(table, &a.holder);
		world_reply(STORE_RELEASE, STORE_OK);
		notes[0] = '\0';

		/* What is to stand for its time of grace, too. */
		remove_left(world_mutex(), left_too, true, world_now_us + 1000000);
		ck_assert_str_eq(world_expect(STORE_ACQUIRE)->value, left_too);
		world_answer_ok(STORE_ACQUIRE, 0);
		world_pass_ms(1000);
		world_reply(STORE_RELEASE, STORE_OK);
		NOTED("drop9 ");
		world_end();
	}
END_TEST

static Suite *crash_suite(void)
{
	Suite *suite = suite_create("core/crash");
	TCase *tc;

#define CASE(name)                                                                                 \
	tc = tcase_create(name);                                                                   \
	tcase_add_checked_fixture(tc, setup, NULL);                                                \
	suite_add_tcase(suite, tc)

	CASE("journal");
	tcase_add_test(tc, a_claim_is_noted_before_its_command_and_dropped_after_it);
	tcase_add_test(tc, a_hand_over_has_both_strings_noted_until_it_is_settled);
	tcase_add_test(tc, what_a_failed_acquire_may_have_left_stays_noted_until_it_is_gone);
	tcase_add_test(tc, a_released_string_that_a_lost_command_may_bring_back_stays_noted);
	tcase_add_test(tc, a_release_of_another_daemons_lock_is_noted_until_it_has_happened);
	tcase_add_test(tc, a_broken_lock_stays_noted_until_it_is_gone);
	tcase_add_test(tc, a_local_pass_notes_the_next_holder_in_the_same_slot);
	tcase_add_test(tc, a_lease_that_changes_is_noted);
	tcase_add_test(tc, at_the_very_end_what_is_held_stays_noted);
	CASE("adoption");
	tcase_add_test(tc, an_adopted_lock_is_compared_at_once_and_released_by_its_string);
	tcase_add_test(tc, an_adopted_lock_that_the_store_lost_is_lost);
	tcase_add_test(tc, fences_go_on_where_an_adopted_lock_was);
	CASE("removal");
	tcase_add_test(tc, what_was_left_is_removed_after_its_grace_and_whoever_waits_gets_it);
	tcase_add_test(tc, a_removal_is_tried_until_the_store_answers);
	tcase_add_test(tc, a_command_of_the_last_process_may_come_late_whatever_a_connection_says);
	CASE("another configuration");
	tcase_add_test(tc, what_stands_under_a_former_key_is_removed_there);
	tcase_add_test(tc, a_lock_under_a_former_key_is_adopted_there_until_its_release);
	tcase_add_test(tc, a_mutex_that_is_not_configured_any_more_ends_with_what_was_left);
	tcase_add_test(tc, a_store_that_is_not_configured_any_more_is_out_of_reach);
	tcase_add_test(tc, a_store_that_ended_with_its_process_gets_back_what_it_had);
	return suite;
}

int main(void)
{
	return suite_run(crash_suite());
}
