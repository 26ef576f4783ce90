/* SPDX-License-Identifier: MIT */
/* Several real servers as one store, by their urls. */
#include "config.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "redis_server.h"
#include "store_bench.h"
#include "suite.h"
#include "util/alloc.h"

enum { N_SERVERS = 5, TIMEOUT_MS = 400, TTL_MS = 30000 };

static struct redis_server servers[N_SERVERS];
static struct bench bench;
static struct store_key key;

static void tune(struct store_settings *settings)
{
	settings->connect_timeout_ms = settings->command_timeout_ms = TIMEOUT_MS;
}

static void begin(void)
{
	char *urls = xstrdup("");

	for (int i = 0; i < N_SERVERS; i++) {
		char *longer;

		redis_server_start(&servers[i], false, NULL);
		longer = xasprintf("%s %s", urls, servers[i].unix_url);
		free(urls);
		urls = longer;
	}
	store_key_init(&key, "k");
	bench_init(&bench);
	bench_open(&bench, urls, tune);
	free(urls);
	for (int i = 0; bench.store->stats.connects < N_SERVERS; i++) {
		ck_assert_int_lt(i, 1000);
		bench_turn(&bench, 10);
	}
}

static void end(void)
{
	bench_deinit(&bench);
	store_key_deinit(&key);
	for (int i = 0; i < N_SERVERS; i++)
		redis_server_stop(&servers[i]);
}

static unsigned n_standing(void)
{
	unsigned n = 0;

	for (int i = 0; i < N_SERVERS; i++)
		if (servers[i].pid)
			n += (unsigned)redis_server_ask_integer(&servers[i], "EXISTS k");
	return n;
}

static const struct answer *acquire(char value, int64_t *took_ms)
{
	static struct answer answer;
	int64_t from_ms = bench_now_ms();

	answer_init(&answer, STORE_ACQUIRE, &key, value);
	answer.op.ttl_ms = TTL_MS;
	answer.op.fenced = true;
	bench_submit(&bench, &answer);
	bench_await(&bench, &answer);
	*took_ms = bench_now_ms() - from_ms;
	return &answer;
}

/* Turns until so many of the servers that run have the key. */
static void await_standing(unsigned n)
{
	for (int i = 0; n_standing() != n; i++) {
		ck_assert_int_lt(i, 1000);
		bench_turn_for(&bench, 10);
	}
}

START_TEST(a_lock_stands_on_all_and_is_removed_from_all)
	{
		const struct answer *answer;
		int64_t took_ms, fence;

		begin();
		answer = acquire('a', &took_ms);
		ck_assert_int_eq(answer->op.status, STORE_OK);
		fence = answer->op.fence;
		await_standing(N_SERVERS);
		answer = acquire('x', &took_ms);
		ck_assert_int_eq(answer->op.status, STORE_HELD);
		ck_assert(!answer->op.contested);
		answer = bench_do(&bench, STORE_RELEASE, &key, 'a');
		ck_assert_int_eq(answer->op.status, STORE_OK);
		await_standing(0);
		answer = acquire('b', &took_ms);
		ck_assert_int_eq(answer->op.status, STORE_OK);
		ck_assert_int_gt(answer->op.fence, fence);
		end();
	}
END_TEST

START_TEST(a_failed_try_leaves_nothing)
	{
		const struct answer *answer;
		int64_t took_ms;

		begin();
		for (int i = 0; i < 3; i++)
			redis_server_ask(&servers[i], "SET k another PX 60000");
		answer = acquire('a', &took_ms);
		ck_assert_int_eq(answer->op.status, STORE_HELD);
		ck_assert(!answer->op.contested);
		await_standing(3);
		/* Three who have none of it. */
		redis_server_ask(&servers[1], "SET k yet-another PX 60000");
		answer = acquire('b', &took_ms);
		ck_assert_int_eq(answer->op.status, STORE_HELD);
		ck_assert(answer->op.contested);
		await_standing(3);
		end();
	}
END_TEST

START_TEST(two_that_are_killed_cost_one_deadline_at_most)
	{
		const struct answer *answer;
		int64_t took_ms;

		begin();
		redis_server_kill(&servers[0]);
		redis_server_kill(&servers[3]);
		for (char c = 'a'; c < 'f'; c++) {
			answer = acquire(c, &took_ms);
			ck_assert_int_eq(answer->op.status, STORE_OK);
			ck_assert_int_le(took_ms, TIMEOUT_MS);
			answer = bench_do(&bench, STORE_RELEASE, &key, c);
			ck_assert_int_eq(answer->op.status, STORE_OK);
		}
		await_standing(0);
		end();
	}
END_TEST

START_TEST(without_a_majority_it_is_unavailable_and_nothing_stays)
	{
		const struct answer *answer;
		int64_t took_ms;

		begin();
		for (int i = 0; i < 3; i++)
			redis_server_kill(&servers[i]);
		answer = acquire('a', &took_ms);
		ck_assert_int_eq(answer->op.status, STORE_REFUSED);
		ck_assert_int_le(took_ms, TIMEOUT_MS + 100);
		ck_assert_msg(strstr(answer->text, "of 5 servers answered, 3 are needed; unix://"),
			      "%s", answer->text);
		await_standing(0);
		/* They are back: it goes on. */
		for (int i = 0; i < 3; i++)
			redis_server_restart(&servers[i]);
		bench_await_count(&bench, &bench.n_up, 3);
		answer = acquire('b', &took_ms);
		ck_assert_int_eq(answer->op.status, STORE_OK);
		end();
	}
END_TEST

START_TEST(a_stopped_minority_delays_nobody)
	{
		const struct answer *answer;
		int64_t took_ms, all_ms = 0;

		begin();
		redis_server_pause(&servers[1]);
		redis_server_pause(&servers[4]);
		for (char c = 'a'; c < 'k'; c++) {
			answer = acquire(c, &took_ms);
			ck_assert_int_eq(answer->op.status, STORE_OK);
			all_ms += took_ms;
			answer = bench_do(&bench, STORE_RELEASE, &key, c);
			ck_assert_int_eq(answer->op.status, STORE_OK);
		}
		/* Ten pairs together: far less than one deadline each. */
		ck_assert_int_lt(all_ms, TIMEOUT_MS);
		/* What they carry out when they go on is removed again. */
		redis_server_resume(&servers[1]);
		redis_server_resume(&servers[4]);
		await_standing(0);
		bench_turn_for(&bench, 2 * TIMEOUT_MS);
		ck_assert_uint_eq(n_standing(), 0);
		end();
	}
END_TEST

START_TEST(a_server_that_comes_back_empty_is_filled_by_an_extension)
	{
		const struct answer *answer;
		int64_t took_ms;

		begin();
		answer = acquire('a', &took_ms);
		ck_assert_int_eq(answer->op.status, STORE_OK);
		await_standing(N_SERVERS);
		redis_server_kill(&servers[2]);
		redis_server_restart(&servers[2]);
		bench_await_count(&bench, &bench.n_up, 1);
		ck_assert_uint_eq(n_standing(), N_SERVERS - 1);
		answer = bench_do(&bench, STORE_EXTEND, &key, 'a');
		ck_assert_int_eq(answer->op.status, STORE_OK);
		await_standing(N_SERVERS);
		ck_assert_int_gt(redis_server_ask_integer(&servers[2], "PTTL k"), 0);
		answer = bench_do(&bench, STORE_RELEASE, &key, 'a');
		ck_assert_int_eq(answer->op.status, STORE_OK);
		await_standing(0);
		end();
	}
END_TEST

START_TEST(a_counter_is_made_by_a_grant_only)
	{
		const struct answer *answer;
		int64_t took_ms;

		begin();
		for (int i = 0; i < 3; i++)
			redis_server_ask(&servers[i], "SET k another PX 60000");
		answer = acquire('a', &took_ms);
		ck_assert_int_eq(answer->op.status, STORE_HELD);
		for (int i = 0; i < N_SERVERS; i++)
			ck_assert_int_eq(redis_server_ask_integer(&servers[i], "EXISTS {k}:fence"),
					 0);
		for (int i = 0; i < 3; i++)
			redis_server_ask(&servers[i], "DEL k");
		answer = acquire('b', &took_ms);
		ck_assert_int_eq(answer->op.status, STORE_OK);
		bench_turn_for(&bench, 50);
		for (int i = 0; i < N_SERVERS; i++)
			ck_assert_int_ge(
				strtoll(redis_server_ask(&servers[i], "GET {k}:fence"), NULL, 10),
				answer->op.fence);
		end();
	}
END_TEST

START_TEST(the_name_has_no_password)
	{
		bench_init(&bench);
		bench_open(&bench, "redis://u:secret@127.0.0.1:1 redis://u:secret@127.0.0.1:2",
			   tune);
		ck_assert_str_eq(bench.store->name, "redis://127.0.0.1:1 redis://127.0.0.1:2");
		bench_deinit(&bench);
	}
END_TEST

static Suite *majority_suite(void)
{
	Suite *suite = suite_create("store_majority");
	TCase *tcase = tcase_create("servers");

	tcase_set_timeout(tcase, 60);
	tcase_add_test(tcase, the_name_has_no_password);
	if (redis_server_installed()) {
		tcase_add_test(tcase, a_lock_stands_on_all_and_is_removed_from_all);
		tcase_add_test(tcase, a_failed_try_leaves_nothing);
		tcase_add_test(tcase, two_that_are_killed_cost_one_deadline_at_most);
		tcase_add_test(tcase, without_a_majority_it_is_unavailable_and_nothing_stays);
		tcase_add_test(tcase, a_stopped_minority_delays_nobody);
		tcase_add_test(tcase, a_server_that_comes_back_empty_is_filled_by_an_extension);
		tcase_add_test(tcase, a_counter_is_made_by_a_grant_only);
	}
	suite_add_tcase(suite, tcase);
	return suite;
}

int main(void)
{
	return suite_run(majority_suite());
}
