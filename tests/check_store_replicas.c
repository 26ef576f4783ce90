/* SPDX-License-Identifier: MIT */
/* wait_replicas, with a real master and two replicas of which some stop. */
#include "config.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "redis_server.h"
#include "store_bench.h"
#include "suite.h"
#include "util/alloc.h"

enum { N_REPLICAS = 2, COMMAND_MS = 1000 };

static struct redis_server master, replicas[N_REPLICAS];
static struct bench bench;
static struct store_key key, other_key;
static unsigned wait_replicas, pool_size;

static void tune(struct store_settings *settings)
{
	settings->wait_replicas = wait_replicas;
	settings->pool_size = pool_size;
	settings->command_timeout_ms = COMMAND_MS;
}

static void open_store(unsigned n_replicas, unsigned n_links)
{
	wait_replicas = n_replicas;
	pool_size = n_links;
	bench_open(&bench, master.unix_url, tune);
}

static void setup(void)
{
	char port[8];
	int64_t end_ms = bench_now_ms() + 20000;

	store_key_init(&key, "k");
	store_key_init(&other_key, "other");
	bench_init(&bench);
	redis_server_start(&master, true,
			   (const char *[]){"--repl-diskless-sync-delay", "0", NULL});
	snprintf(port, sizeof(port), "%d", master.port);
	for (int i = 0; i < N_REPLICAS; i++)
		redis_server_start(&replicas[i], true,
				   (const char *[]){"--replicaof", "127.0.0.1", port, NULL});
	/* Twice: what a replica says first may stand before the stream of commands has begun. */
	for (int n_heard = 0; n_heard < 2;) {
		ck_assert_msg(bench_now_ms() < end_ms, "the replicas do not come");
		redis_server_ask(&master, "SET probe 1 PX 1");
		if (redis_server_ask_integer(&master, "WAIT 2 2000") == N_REPLICAS)
			n_heard++;
	}
}

static void teardown(void)
{
	bench_deinit(&bench);
	for (int i = 0; i < N_REPLICAS; i++)
		redis_server_stop(&replicas[i]);
	redis_server_stop(&master);
	store_key_deinit(&key);
	store_key_deinit(&other_key);
}

#define ASK(verb, value) bench_do(&bench, verb, &key, value)->op.status

static void expect_ok(enum store_verb verb, char value)
{
	int64_t began_ms = bench_now_ms();
	const struct answer *answer = bench_do(&bench, verb, &key, value);

	ck_assert_msg(answer->op.status == STORE_OK, "status %d after %lld ms: %s",
		      answer->op.status, (long long)(bench_now_ms() - began_ms), answer->text);
}

START_TEST(what_is_granted_passed_on_and_renewed_is_on_the_replicas)
	{
		open_store(2, 2);
		expect_ok(STORE_ACQUIRE, 'a');
		ck_assert_int_eq(redis_server_ask(&replicas[0], "GET k")[0], 'a');
		ck_assert_int_eq(redis_server_ask(&replicas[1], "GET k")[0], 'a');
		expect_ok(STORE_REPLACE, 'a');
		ck_assert_int_eq(redis_server_ask(&replicas[0], "GET k")[0], 'b');
		ck_assert_int_eq(redis_server_ask(&replicas[1], "GET k")[0], 'b');
		expect_ok(STORE_EXTEND, 'b');
		expect_ok(STORE_CHECK, 'b');
		ck_assert_int_eq(ASK(STORE_ACQUIRE, 'c'), STORE_HELD);
		expect_ok(STORE_RELEASE, 'b');
		ck_assert_ptr_nonnull(strstr(redis_server_ask(&master, "INFO commandstats"),
					     "cmdstat_wait:calls="));
	}
END_TEST

static void refused_and_taken_back(enum store_verb verb, const char *text)
{
	int64_t began_ms = bench_now_ms();
	const struct answer *answer = bench_do(&bench, verb, &key, 'a');
	int64_t took_ms = bench_now_ms() - began_ms;

	ck_assert_int_eq(answer->op.status, STORE_REFUSED);
	ck_assert(!answer->op.lasting);
	ck_assert_msg(strstr(answer->text, text) != NULL, "%s", answer->text);
	ck_assert_str_eq(redis_server_ask(&master, "GET k"), "(nil)");
	/* Half of the time for an answer, and nothing that comes close to all of it. */
	ck_assert_int_ge(took_ms, COMMAND_MS / 2 - 20);
	ck_assert_int_lt(took_ms, COMMAND_MS);
}

START_TEST(a_lock_that_one_replica_lacks_is_taken_back)
	{
		open_store(2, 2);
		expect_ok(STORE_ACQUIRE, 'a');
		redis_server_pause(&replicas[0]);
		refused_and_taken_back(STORE_REPLACE, "1 of 2 replicas have it");
		refused_and_taken_back(STORE_ACQUIRE, "1 of 2 replicas have it");
		redis_server_resume(&replicas[0]);
		expect_ok(STORE_ACQUIRE, 'a');
	}
END_TEST

START_TEST(a_lock_that_no_replica_has_is_taken_back)
	{
		open_store(2, 2);
		redis_server_pause(&replicas[0]);
		redis_server_pause(&replicas[1]);
		refused_and_taken_back(STORE_ACQUIRE, "0 of 2 replicas have it");
	}
END_TEST

START_TEST(one_of_two_is_enough_when_one_is_asked_for)
	{
		open_store(1, 2);
		redis_server_pause(&replicas[0]);
		expect_ok(STORE_ACQUIRE, 'a');
		expect_ok(STORE_EXTEND, 'a');
	}
END_TEST

START_TEST(a_renewal_that_replicas_lack_is_not_known_and_may_be_tried_again)
	{
		const struct answer *answer;

		open_store(2, 2);
		expect_ok(STORE_ACQUIRE, 'a');
		redis_server_pause(&replicas[1]);
		answer = bench_do(&bench, STORE_EXTEND, &key, 'a');
		ck_assert_int_eq(answer->op.status, STORE_UNKNOWN);
		ck_assert_ptr_nonnull(strstr(answer->text, "1 of 2 replicas have it"));
		expect_ok(STORE_CHECK, 'a');
		redis_server_resume(&replicas[1]);
		expect_ok(STORE_EXTEND, 'a');
	}
END_TEST

START_TEST(who_waits_for_replicas_holds_up_nobody_else)
	{
		struct answer waits, looks, held;
		int64_t began_ms;

		open_store(2, 2);
		ck_assert_int_eq(ASK(STORE_CHECK, 'a'), STORE_GONE);
		redis_server_ask(&master, "SET other x");
		redis_server_pause(&replicas[0]);
		answer_init(&waits, STORE_ACQUIRE, &key, 'a');
		answer_init(&looks, STORE_LOOK, &other_key, 'b');
		answer_init(&held, STORE_ACQUIRE, &other_key, 'b');
		began_ms = bench_now_ms();
		bench_submit(&bench, &waits);
		bench_submit(&bench, &looks);
		bench_await(&bench, &looks);
		bench_submit(&bench, &held);
		bench_await(&bench, &held);
		/* That somebody has it needs no replica to be known. */
		ck_assert_int_eq(held.op.status, STORE_HELD);
		ck_assert_int_lt(bench_now_ms() - began_ms, COMMAND_MS / 2 - 20);
		ck_assert(!waits.done);
		bench_await(&bench, &waits);
		ck_assert_int_eq(waits.op.status, STORE_REFUSED);
	}
END_TEST

START_TEST(the_commands_for_one_key_stay_in_order)
	{
		static const enum store_verb verbs[] = {STORE_ACQUIRE, STORE_EXTEND, STORE_CHECK,
							STORE_RELEASE};
		enum { ROUNDS = 50, N = 4 * ROUNDS };
		static struct answer answers[N], others[N];

		open_store(2, 4);
		for (int i = 0; i < N; i++) {
			answer_init(&answers[i], verbs[i % 4], &key, 'a');
			answer_init(&others[i], verbs[i % 4], &other_key, 'a');
			bench_submit(&bench, &answers[i]);
			bench_submit(&bench, &others[i]);
		}
		for (int i = 0; i < N; i++) {
			bench_await(&bench, &answers[i]);
			bench_await(&bench, &others[i]);
			ck_assert_msg(answers[i].op.status == STORE_OK, "%d: %s", i,
				      answers[i].text);
			ck_assert_int_eq(others[i].op.status, STORE_OK);
			ck_assert(answers[i].op.settled);
			ck_assert(i == 0 || answers[i].order > answers[i - 1].order);
		}
	}
END_TEST

START_TEST(who_gets_no_connection_in_time_is_refused)
	{
		enum { N = 100 };
		static struct answer answers[N];
		struct store_key keys[N];
		int64_t began_ms = bench_now_ms();
		int n_queued = 0;

		open_store(2, 1);
		ck_assert_int_eq(ASK(STORE_CHECK, 'a'), STORE_GONE);
		redis_server_pause(&replicas[0]);
		for (int i = 0; i < N; i++) {
			char name[16];

			snprintf(name, sizeof(name), "key%d", i);
			store_key_init(&keys[i], name);
			answer_init(&answers[i], STORE_ACQUIRE, &keys[i], 'a');
			bench_submit(&bench, &answers[i]);
		}
		for (int i = 0; i < N; i++) {
			bench_await(&bench, &answers[i]);
			ck_assert(answers[i].op.status == STORE_REFUSED ||
				  answers[i].op.status == STORE_UNKNOWN);
			n_queued += strstr(answers[i].text, "pool_size = 1") != NULL;
		}
		ck_assert_int_gt(n_queued, 0);
		ck_assert_int_lt(bench_now_ms() - began_ms, COMMAND_MS + 500);
		for (int i = 0; i < N; i++)
			store_key_deinit(&keys[i]);
	}
END_TEST

START_TEST(a_connection_that_ends_while_waiting_leaves_it_open_and_it_is_settled)
	{
		struct answer waits;

		open_store(2, 2);
		ck_assert_int_eq(ASK(STORE_CHECK, 'a'), STORE_GONE);
		redis_server_pause(&replicas[0]);
		answer_init(&waits, STORE_ACQUIRE, &key, 'a');
		bench_submit(&bench, &waits);
		while (strncmp(redis_server_ask(&master, "GET k"), "aaa", 3) != 0)
			bench_turn(&bench, 5);
		redis_server_ask(&master, "CLIENT KILL TYPE normal SKIPME yes");
		bench_await(&bench, &waits);
		ck_assert_int_eq(waits.op.status, STORE_UNKNOWN);
		redis_server_resume(&replicas[0]);
		expect_ok(STORE_ACQUIRE, 'a');
	}
END_TEST

START_TEST(a_server_that_is_down_refuses_all_and_serves_when_it_is_back)
	{
		enum { N = 20 };
		static struct answer answers[N];

		open_store(0, 2);
		bench_close(&bench);
		redis_server_kill(&master);
		open_store(1, 2);
		for (int i = 0; i < N; i++) {
			answer_init(&answers[i], STORE_ACQUIRE, i % 2 ? &key : &other_key, 'a');
			bench_submit(&bench, &answers[i]);
		}
		for (int i = 0; i < N; i++) {
			bench_await(&bench, &answers[i]);
			ck_assert_int_eq(answers[i].op.status, STORE_REFUSED);
		}
		redis_server_restart(&master);
		bench_await_count(&bench, &bench.n_up, 1);
		ck_assert_int_eq(ASK(STORE_CHECK, 'a'), STORE_GONE);
	}
END_TEST

int main(void)
{
	Suite *suite = suite_create("store_replicas");
	TCase *tcase = tcase_create("replicas");

	if (!redis_server_installed())
		return 77;
	tcase_set_timeout(tcase, 60);
	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, what_is_granted_passed_on_and_renewed_is_on_the_replicas);
	tcase_add_test(tcase, a_lock_that_one_replica_lacks_is_taken_back);
	tcase_add_test(tcase, a_lock_that_no_replica_has_is_taken_back);
	tcase_add_test(tcase, one_of_two_is_enough_when_one_is_asked_for);
	tcase_add_test(tcase, a_renewal_that_replicas_lack_is_not_known_and_may_be_tried_again);
	tcase_add_test(tcase, who_waits_for_replicas_holds_up_nobody_else);
	tcase_add_test(tcase, the_commands_for_one_key_stay_in_order);
	tcase_add_test(tcase, who_gets_no_connection_in_time_is_refused);
	tcase_add_test(tcase,
		       a_connection_that_ends_while_waiting_leaves_it_open_and_it_is_settled);
	tcase_add_test(tcase, a_server_that_is_down_refuses_all_and_serves_when_it_is_back);
	suite_add_tcase(suite, tcase);
	return suite_run(suite);
}
