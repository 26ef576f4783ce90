/* SPDX-License-Identifier: MIT */
/* One daemon and several Redis servers: what befalls some of them costs the others nothing. */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "harness.h"
#include "redis_server.h"
#include "suite.h"

enum { N_SERVERS = 5, COMMAND_MS = 500, ROUNDS = 20 };

static struct redis_server servers[N_SERVERS];
static struct daemon *daemon;
static struct client *c;

static void start_servers(int n)
{
	for (int i = 0; i < n; i++)
		redis_server_start(&servers[i], false, NULL);
}

static void teardown(void)
{
	client_close(c);
	ck_assert_int_eq(daemon_stop(daemon), 0);
	for (int i = 0; i < N_SERVERS; i++) {
		if (*servers[i].dir)
			redis_server_stop(&servers[i]);
	}
}

/* ------------------------------------------------------------------ a store that hangs */

static void setup_two(void)
{
	char sections[512];

	start_servers(2);
	snprintf(sections, sizeof(sections),
		 "[defaults]\ncommand_timeout_ms = %d\n[mutex bad-*]\nurl = %s\nkey = {name}\n"
		 "[mutex good]\nurl = %s\nkey = good\n",
		 COMMAND_MS, servers[0].unix_url, servers[1].unix_url);
	daemon = daemon_spawn("", sections);
	c = client_connect(daemon);
}

/* Locks and unlocks for a while. Return: the longest that a pair took. */
static long long slowest_pair_ms(long long for_ms, unsigned *n)
{
	const long long end_ms = now_ms() + for_ms;
	long long worst_ms = 0;

	for (*n = 0; now_ms() < end_ms; ++*n) {
		long long began_ms = now_ms(), took_ms;
		char *lock = acquire(c, "good");

		say(c, "RELEASE good %s", lock);
		expect(c, "OK");
		free(lock);
		took_ms = now_ms() - began_ms;
		if (took_ms > worst_ms)
			worst_ms = took_ms;
	}
	return worst_ms;
}

START_TEST(a_store_that_hangs_costs_the_clients_of_another_nothing)
	{
		enum { N_WAITING = 50 };
		struct client *waiting[N_WAITING];
		long long alone_ms, beside_ms;
		unsigned n_alone, n_beside;

		/* Held, so that renewals and looks hang as well. */
		free(acquire(c, "bad-held"));
		alone_ms = slowest_pair_ms(1000, &n_alone);
		redis_server_pause(&servers[0]);
		for (int i = 0; i < N_WAITING; i++) {
			waiting[i] = client_connect(daemon);
			say(waiting[i], "ACQUIRE bad-%d wait=1500", i % 5);
			say(waiting[i], "ACQUIRE bad-x%d", i);
		}
		beside_ms = slowest_pair_ms(2500, &n_beside);
		printf("a pair took %.3f ms, %lld ms the slowest; beside a store that hangs %.3f "
		       "ms, %lld ms\n",
		       1000.0 / n_alone, alone_ms, 2500.0 / n_beside, beside_ms);
		ck_assert_int_lt(beside_ms, COMMAND_MS / 2);
		for (int i = 0; i < N_WAITING; i++) {
			expect(waiting[i], "ERR unavailable *");
			expect(waiting[i], "ERR unavailable *");
			client_close(waiting[i]);
		}
		redis_server_resume(&servers[0]);
	}
END_TEST

/* ------------------------------------------------------------------ a majority of five */

static void setup_five(void)
{
	char sections[1024];

	start_servers(N_SERVERS);
	snprintf(sections, sizeof(sections),
		 "[defaults]\ncommand_timeout_ms = %d\nurl = %s %s\n %s %s\n %s\n"
		 "[mutex q-*]\nkey = {name}\n",
		 COMMAND_MS, servers[0].unix_url, servers[1].unix_url, servers[2].unix_url,
		 servers[3].unix_url, servers[4].unix_url);
	daemon = daemon_spawn("", sections);
	c = client_connect(daemon);
}

/* Takes and gives back. Return: how long the slowest ACQUIRE took. */
static long long slowest_acquire_ms(int round)
{
	long long worst_ms = 0;

	for (int i = 0; i < ROUNDS; i++) {
		long long began_ms = now_ms(), took_ms;
		char *lock = acquire(c, "q-%d-%d", round, i);

		took_ms = now_ms() - began_ms;
		if (took_ms > worst_ms)
			worst_ms = took_ms;
		say(c, "RELEASE q-%d-%d %s", round, i, lock);
		expect(c, "OK");
		free(lock);
	}
	return worst_ms;
}

START_TEST(two_of_five_that_are_killed_cost_no_acquire_more_than_a_deadline)
	{
		long long worst_ms;

		ck_assert_int_lt(slowest_acquire_ms(0), COMMAND_MS);
		redis_server_kill(&servers[1]);
		redis_server_kill(&servers[3]);
		worst_ms = slowest_acquire_ms(1);
		printf("with two of five killed the slowest ACQUIRE took %lld ms\n", worst_ms);
		ck_assert_int_le(worst_ms, COMMAND_MS);
	}
END_TEST

START_TEST(two_of_five_that_hang_cost_no_acquire_more_than_a_deadline)
	{
		long long worst_ms;

		ck_assert_int_lt(slowest_acquire_ms(0), COMMAND_MS);
		redis_server_pause(&servers[1]);
		redis_server_pause(&servers[3]);
		worst_ms = slowest_acquire_ms(1);
		printf("with two of five hanging the slowest ACQUIRE took %lld ms\n", worst_ms);
		ck_assert_int_le(worst_ms, COMMAND_MS);
		redis_server_resume(&servers[1]);
		redis_server_resume(&servers[3]);
	}
END_TEST

START_TEST(three_of_five_that_are_killed_make_it_unavailable_and_nothing_is_left)
	{
		static const int left[] = {0, 4};
		long long began_ms, worst_ms = 0;

		ck_assert_int_lt(slowest_acquire_ms(0), COMMAND_MS);
		for (int i = 1; i < 4; i++)
			redis_server_kill(&servers[i]);
		for (int i = 0; i < ROUNDS; i++) {
			began_ms = now_ms();
			say(c, "ACQUIRE q-none-%d", i);
			expect(c, "ERR unavailable *");
			if (now_ms() - began_ms > worst_ms)
				worst_ms = now_ms() - began_ms;
		}
		printf("with three of five killed the slowest ACQUIRE took %lld ms\n", worst_ms);
		/* What was tried is taken back as soon as it can be. */
		for (int i = 0; i < 2; i++) {
			const long long end_ms = now_ms() + HARNESS_WAIT_MS;

			while (*redis_server_ask(&servers[left[i]], "KEYS *q-none*")) {
				ck_assert_msg(now_ms() < end_ms, "left: %s",
					      redis_server_ask(&servers[left[i]], "KEYS *q-none*"));
			}
		}
		ck_assert_int_le(worst_ms, COMMAND_MS + 100);
	}
END_TEST

int main(void)
{
	Suite *suite = suite_create("serve_several");
	TCase *two = tcase_create("two"), *five = tcase_create("five");

	if (!redis_server_installed())
		return 77;
	tcase_set_timeout(two, 60);
	tcase_add_checked_fixture(two, setup_two, teardown);
	tcase_add_test(two, a_store_that_hangs_costs_the_clients_of_another_nothing);
	suite_add_tcase(suite, two);
	tcase_set_timeout(five, 60);
	tcase_add_checked_fixture(five, setup_five, teardown);
	tcase_add_test(five, two_of_five_that_are_killed_cost_no_acquire_more_than_a_deadline);
	tcase_add_test(five, two_of_five_that_hang_cost_no_acquire_more_than_a_deadline);
	tcase_add_test(five, three_of_five_that_are_killed_make_it_unavailable_and_nothing_is_left);
	suite_add_tcase(suite, five);
	return suite_run(suite);
}
