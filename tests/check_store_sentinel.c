/* SPDX-License-Identifier: MIT */
/* The master that real sentinels name: at start, through a failover, and with some of them down. */
#include "config.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "redis_server.h"
#include "store_bench.h"
#include "util/alloc.h"

enum { N_SENTINELS = 3 };

static struct bench bench;
static struct redis_server master, replica, sentinels[N_SENTINELS];
static struct store_key key;
static char url[256];
static char password_file[] = "/tmp/redmutexd-sentinel-XXXXXX";

static void sentinel_watch(struct redis_server *sentinel)
{
	redis_server_ask(sentinel, "SENTINEL MONITOR mymaster 127.0.0.1 %d 2", master.port);
	redis_server_ask(sentinel, "SENTINEL SET mymaster down-after-milliseconds 500");
	redis_server_ask(sentinel, "SENTINEL SET mymaster failover-timeout 2000");
}

/* Turns the bench until `text` stands in the answer to a question, for 30 s at most. */
static void await_word(struct redis_server *server, const char *command, const char *text)
{
	const int64_t end_ms = bench_now_ms() + 30000;

	while (!strstr(redis_server_ask(server, command), text)) {
		ck_assert_msg(bench_now_ms() < end_ms, "no %s in the answer to %s", text, command);
		/* A sentinel ends the connections of a server that it makes another's replica. */
		redis_server_hang_up(server);
		bench_turn_for(&bench, 20);
	}
}

static void setup(void)
{
	size_t len = (size_t)snprintf(url, sizeof(url), "redis-sentinel://");

	store_key_init(&key, "k");
	bench_init(&bench);
	redis_server_start(&master, true, NULL);
	redis_server_start(&replica, true, NULL);
	redis_server_ask(&replica, "REPLICAOF 127.0.0.1 %d", master.port);
	for (int i = 0; i < N_SENTINELS; i++) {
		redis_server_start_sentinel(&sentinels[i], false, NULL);
		sentinel_watch(&sentinels[i]);
		len += (size_t)snprintf(url + len, sizeof(url) - len, "%s127.0.0.1:%d",
					i ? "," : "", sentinels[i].port);
	}
	snprintf(url + len, sizeof(url) - len, "/mymaster");
}

static void teardown(void)
{
	bench_deinit(&bench);
	for (int i = 0; i < N_SENTINELS; i++)
		redis_server_stop(&sentinels[i]);
	redis_server_stop(&replica);
	redis_server_stop(&master);
	store_key_deinit(&key);
}

static enum store_status acquire(char value)
{
	return bench_acquire(&bench, &key, value, 60000)->op.status;
}

START_TEST(the_first_command_waits_until_the_master_is_named)
	{
		bench_open(&bench, url, NULL);
		ck_assert_int_eq(acquire('a'), STORE_OK);
		ck_assert_int_eq(redis_server_ask_integer(&master, "EXISTS k"), 1);
	}
END_TEST

START_TEST(one_sentinel_of_three_is_enough)
	{
		redis_server_kill(&sentinels[0]);
		redis_server_kill(&sentinels[1]);
		bench_open(&bench, url, NULL);
		ck_assert_int_eq(acquire('a'), STORE_OK);
	}
END_TEST

START_TEST(a_name_that_no_sentinel_knows_is_told)
	{
		const struct answer *answer;

		strcpy(strrchr(url, '/'), "/other");
		bench_open(&bench, url, NULL);
		answer = bench_acquire(&bench, &key, 'a', 60000);
		ck_assert_int_eq(answer->op.status, STORE_REFUSED);
		ck_assert_msg(strstr(answer->text, "no sentinel has named the master other") &&
				      strstr(answer->text, "No such master"),
			      "%s", answer->text);
	}
END_TEST

START_TEST(without_any_sentinel_the_master_is_not_known)
	{
		const struct answer *answer;

		for (int i = 0; i < N_SENTINELS; i++)
			redis_server_kill(&sentinels[i]);
		bench_open(&bench, url, NULL);
		answer = bench_acquire(&bench, &key, 'a', 60000);
		ck_assert_int_eq(answer->op.status, STORE_REFUSED);
		ck_assert_msg(strstr(answer->text, "Connection refused"), "%s", answer->text);
	}
END_TEST

START_TEST(a_master_that_is_known_serves_on_without_sentinels)
	{
		bench_open(&bench, url, NULL);
		ck_assert_int_eq(acquire('a'), STORE_OK);
		for (int i = 0; i < N_SENTINELS; i++)
			redis_server_kill(&sentinels[i]);
		bench_turn_for(&bench, 300);
		ck_assert_int_eq(bench_do(&bench, STORE_RELEASE, &key, 'a')->op.status, STORE_OK);
	}
END_TEST

static void await_replication(void)
{
	await_word(&replica, "INFO replication", "master_link_status:up");
	for (int i = 0; i < N_SENTINELS; i++) {
		await_word(&sentinels[i], "SENTINEL MASTER mymaster", "num-slaves 1");
		await_word(&sentinels[i], "SENTINEL MASTER mymaster", "num-other-sentinels 2");
	}
}

/* How long until an acquire works, from the moment in which the replica has become the master. */
static int64_t service_resumes_in_ms(void)
{
	const struct answer *answer;
	int64_t began_ms;

	redis_server_hang_up(&replica);
	await_word(&replica, "ROLE", "master");
	redis_server_hang_up(&replica);
	began_ms = bench_now_ms();
	do {
		answer = bench_acquire(&bench, &key, 'b', 60000);
		ck_assert_msg(bench_now_ms() < began_ms + 20000, "%s", answer->text);
		if (answer->op.status != STORE_OK)
			bench_turn_for(&bench, 5);
	} while (answer->op.status != STORE_OK);
	return bench_now_ms() - began_ms;
}

START_TEST(a_failover_is_followed_when_the_master_dies)
	{
		bench_open(&bench, url, NULL);
		await_replication();
		ck_assert_int_eq(acquire('a'), STORE_OK);
		ck_assert_int_eq(bench_do(&bench, STORE_RELEASE, &key, 'a')->op.status, STORE_OK);
		redis_server_kill(&master);
		ck_assert_int_le(service_resumes_in_ms(), 3000);
		ck_assert_str_ne(redis_server_ask(&replica, "GET k"), "(nil)");
		ck_assert_uint_ge(bench.n_changed, 1);
	}
END_TEST

START_TEST(a_failover_by_order_is_followed_while_the_old_master_lives)
	{
		bench_open(&bench, url, NULL);
		await_replication();
		ck_assert_int_eq(acquire('a'), STORE_OK);
		ck_assert_int_eq(bench_do(&bench, STORE_RELEASE, &key, 'a')->op.status, STORE_OK);
		redis_server_ask(&sentinels[0], "SENTINEL FAILOVER mymaster");
		/* Until the old master has been told, it may go on serving. */
		await_word(&master, "ROLE", "slave");
		ck_assert_int_le(service_resumes_in_ms(), 3000);
		ck_assert_str_ne(redis_server_ask(&replica, "GET k"), "(nil)");
	}
END_TEST

static void with_sentinel_password(struct store_settings *settings)
{
	settings->sentinel_password_file = xstrdup(password_file);
}

START_TEST(sentinels_may_ask_for_a_password_of_their_own)
	{
		int fd = mkstemp(password_file);

		ck_assert_int_ge(fd, 0);
		ck_assert_int_eq(write(fd, "hush\n", 5), 5);
		close(fd);
		for (int i = 0; i < N_SENTINELS; i++)
			redis_server_ask(&sentinels[i], "CONFIG SET requirepass hush");
		for (int i = 0; i < N_SENTINELS; i++)
			redis_server_ask(&sentinels[i], "ACL SETUSER default >hush");
		bench_open(&bench, url, NULL);
		ck_assert_int_eq(acquire('a'), STORE_REFUSED);
		bench_close(&bench);
		bench_open(&bench, url, with_sentinel_password);
		ck_assert_int_eq(acquire('a'), STORE_OK);
		unlink(password_file);
	}
END_TEST

static Suite *sentinel_suite(void)
{
	Suite *suite = suite_create("store/sentinel");
	TCase *tc = tcase_create("sentinel");

	tcase_set_timeout(tc, 90);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, the_first_command_waits_until_the_master_is_named);
	tcase_add_test(tc, one_sentinel_of_three_is_enough);
	tcase_add_test(tc, a_name_that_no_sentinel_knows_is_told);
	tcase_add_test(tc, without_any_sentinel_the_master_is_not_known);
	tcase_add_test(tc, a_master_that_is_known_serves_on_without_sentinels);
	tcase_add_test(tc, a_failover_is_followed_when_the_master_dies);
	tcase_add_test(tc, a_failover_by_order_is_followed_while_the_old_master_lives);
	tcase_add_test(tc, sentinels_may_ask_for_a_password_of_their_own);
	suite_add_tcase(suite, tc);
	return suite;
}

int main(void)
{
	SRunner *runner;
	int n_failed;

	if (!redis_server_installed())
		return 77;
	runner = srunner_create(sentinel_suite());
	srunner_run_all(runner, CK_ENV);
	n_failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return n_failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
