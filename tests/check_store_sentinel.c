/* SPDX-License-Identifier: MIT */
/* The master that real sentinels name: at start, through a failover, and with some of them down. */
#include "config.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fake_redis.h"
#include "redis_server.h"
#include "store_bench.h"
#include "suite.h"
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

	for (;;) {
		/* A sentinel ends the connections of a server that it makes another's replica. */
		const char *answer = redis_server_try(server, command);

		if (answer && strstr(answer, text))
			return;
		ck_assert_msg(bench_now_ms() < end_ms, "no %s in the answer to %s", text, command);
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
	printf("service resumed %lld ms after the switch\n",
	       (long long)(bench_now_ms() - began_ms));
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

/* ------------------------------------------------------------------ wait_replicas */

static struct redis_server second; /* replica */

static void with_replicas(struct store_settings *settings)
{
	settings->wait_replicas = 1;
	settings->pool_size = 2;
}

static void setup_replicas(void)
{
	const int64_t end_ms = bench_now_ms() + 20000;

	setup();
	redis_server_start(&second, true, NULL);
	redis_server_ask(&second, "REPLICAOF 127.0.0.1 %d", master.port);
	bench_open(&bench, url, with_replicas);
	/* Twice: what a replica says first may stand before the stream of commands has begun. */
	for (int n = 0; n < 2; n += redis_server_ask_integer(&master, "WAIT 2 2000") == 2)
		ck_assert_msg(bench_now_ms() < end_ms, "the replicas do not come");
	for (int i = 0; i < N_SENTINELS; i++) {
		await_word(&sentinels[i], "SENTINEL MASTER mymaster", "num-slaves 2");
		await_word(&sentinels[i], "SENTINEL MASTER mymaster", "num-other-sentinels 2");
	}
}

static void teardown_replicas(void)
{
	bench_close(&bench);
	redis_server_stop(&second);
	teardown();
}

START_TEST(a_failover_keeps_what_replicas_have_and_waits_for_those_that_are_left)
	{
		struct redis_server *promoted, *left;
		const struct answer *answer;
		int64_t began_ms;

		ck_assert_int_eq(acquire('a'), STORE_OK);
		redis_server_kill(&master);
		began_ms = bench_now_ms();
		/* Renewed as soon as the new master has a replica, and never said to be gone. */
		do {
			answer = bench_do(&bench, STORE_EXTEND, &key, 'a');
			ck_assert_msg(answer->op.status == STORE_OK ||
					      answer->op.status == STORE_REFUSED ||
					      answer->op.status == STORE_UNKNOWN,
				      "%d", answer->op.status);
			ck_assert_msg(bench_now_ms() < began_ms + 30000, "%s", answer->text);
			bench_turn_for(&bench, 10);
		} while (answer->op.status != STORE_OK);
		/* Sentinels have ended these, perhaps. */
		redis_server_hang_up(&replica);
		redis_server_hang_up(&second);
		promoted =
			strstr(redis_server_ask(&replica, "ROLE"), "master") ? &replica : &second;
		left = promoted == &replica ? &second : &replica;
		ck_assert_int_eq(redis_server_ask(promoted, "GET k")[0], 'a');
		ck_assert_int_eq(redis_server_ask(left, "GET k")[0], 'a');
		/* Handed over, released and granted there as well. */
		redis_server_pause(left);
		answer = bench_do(&bench, STORE_REPLACE, &key, 'a');
		ck_assert_int_eq(answer->op.status, STORE_REFUSED);
		ck_assert_msg(strstr(answer->text, "0 of 1 replicas have it") != NULL, "%s",
			      answer->text);
		ck_assert_int_eq(acquire('c'), STORE_REFUSED);
		ck_assert_str_eq(redis_server_ask(promoted, "GET k"), "(nil)");
		redis_server_resume(left);
		/* Sentinels may have taken it for dead, and tell it anew whom to follow. */
		began_ms = bench_now_ms();
		do {
			answer = bench_acquire(&bench, &key, 'c', 60000);
			ck_assert_msg(bench_now_ms() < began_ms + 15000, "%s", answer->text);
		} while (answer->op.status != STORE_OK);
		redis_server_hang_up(left);
		ck_assert_int_eq(redis_server_ask(left, "GET k")[0], 'c');
	}
END_TEST

/* ------------------------------------------------------------------ that lie, lag and hang */

enum { N_FAKES = 3, AT_A = 0, AT_B = 1 };

/* What a sentinel of our own says to whom asks. */
static struct {
	int at;	     /* AT_A, AT_B: what it names as the master's address */
	int told_at; /* the address in all that it tells of the master; the same, usually */
	int epoch;
	unsigned n_asked;
	bool denies; /* to be listened to */
} says[N_FAKES];

static struct fake_redis fakes[N_FAKES];
static struct redis_server servers[2]; /* at A and B: neither knows of the other */
static int ports[2];

static const char *fake_answer(struct fake_redis *fake, const redisReply *command)
{
	static char text[256];
	const int i = (int)(fake - fakes);
	char port[2][8];

	for (int at = 0; at < 2; at++)
		snprintf(port[at], sizeof(port[at]), "%d", ports[at]);
	if (fake_is(command, "SUBSCRIBE") && says[i].denies)
		return "-NOPERM this user has no permissions to access the channel\r\n";
	if (!fake_is(command, "SENTINEL"))
		return fake_usual;
	if (strcmp(command->element[1]->str, "MASTER") != 0) {
		const char *named = port[says[i].at];

		snprintf(text, sizeof(text), "*2\r\n$9\r\n127.0.0.1\r\n$%zu\r\n%s\r\n",
			 strlen(named), named);
		return text;
	}
	says[i].n_asked++;
	snprintf(text, sizeof(text),
		 "*6\r\n$2\r\nip\r\n$9\r\n127.0.0.1\r\n$4\r\nport\r\n$%zu\r\n%s\r\n"
		 "$12\r\nconfig-epoch\r\n$1\r\n%d\r\n",
		 strlen(port[says[i].told_at]), port[says[i].told_at], says[i].epoch);
	return text;
}

static void fake_says(int i, int at, int epoch)
{
	says[i].at = says[i].told_at = at;
	says[i].epoch = epoch;
}

/* Sentinels of our own, the first n of which are there. */
static void open_fakes(int n, void (*more)(struct store_settings *))
{
	size_t len = (size_t)snprintf(url, sizeof(url), "redis-sentinel://");

	for (int i = 0; i < N_FAKES; i++) {
		fake_redis_start_tcp(&fakes[i], bench.base);
		fakes[i].answer = fake_answer;
		len += (size_t)snprintf(url + len, sizeof(url) - len, "%s127.0.0.1:%d",
					i ? "," : "", fakes[i].port);
	}
	snprintf(url + len, sizeof(url) - len, "/mymaster");
	for (int i = n; i < N_FAKES; i++) {
		fake_redis_stop(&fakes[i]);
		fakes[i].base = NULL;
	}
	bench_open(&bench, url, more);
}

static void stop_fake(int i)
{
	fake_redis_stop(&fakes[i]);
	fakes[i].base = NULL;
}

static void setup_fakes(void)
{
	memset(says, 0, sizeof(says));
	store_key_init(&key, "k");
	bench_init(&bench);
	for (int at = 0; at < 2; at++) {
		redis_server_start(&servers[at], true, NULL);
		ports[at] = servers[at].port;
	}
}

static void teardown_fakes(void)
{
	bench_close(&bench);
	for (int i = 0; i < N_FAKES; i++) {
		if (fakes[i].base)
			fake_redis_stop(&fakes[i]);
	}
	bench_deinit(&bench);
	for (int at = 0; at < 2; at++)
		redis_server_stop(&servers[at]);
	store_key_deinit(&key);
}

/* Locks with that value until it stands at a place. Return: how long that took. */
static int64_t await_service_at(int at, char value)
{
	const int64_t began_ms = bench_now_ms();

	while (acquire(value) != STORE_OK || redis_server_ask(&servers[at], "GET k")[0] != value) {
		ck_assert_msg(bench_now_ms() < began_ms + 15000, "no service at %d", at);
		bench_turn_for(&bench, 10);
	}
	return bench_now_ms() - began_ms;
}

START_TEST(the_latest_failover_counts_when_sentinels_disagree)
	{
		fake_says(0, AT_A, 1);
		fake_says(1, AT_B, 2);
		fake_says(2, AT_A, 1);
		open_fakes(3, NULL);
		await_service_at(AT_B, 'a');
		bench_turn_for(&bench, 2500);
		ck_assert_int_eq(acquire('a'), STORE_OK);
		ck_assert_str_eq(redis_server_ask(&servers[AT_A], "GET k"), "(nil)");
	}
END_TEST

START_TEST(a_sentinel_that_lags_does_not_lead_back)
	{
		fake_says(0, AT_B, 2);
		fake_says(1, AT_A, 1);
		open_fakes(2, NULL);
		await_service_at(AT_B, 'a');
		stop_fake(0);
		bench_turn_for(&bench, 2500);
		ck_assert_uint_ge(says[1].n_asked, 2);
		ck_assert_int_eq(acquire('a'), STORE_OK);
		ck_assert_str_eq(redis_server_ask(&servers[AT_A], "GET k"), "(nil)");
	}
END_TEST

START_TEST(sentinels_that_were_set_up_anew_are_believed_if_they_are_most)
	{
		for (int i = 0; i < 3; i++)
			fake_says(i, AT_B, 5);
		open_fakes(3, NULL);
		await_service_at(AT_B, 'a');
		for (int i = 0; i < 2; i++)
			fake_says(i, AT_A, 0);
		stop_fake(2);
		await_service_at(AT_A, 'a');
	}
END_TEST

START_TEST(a_message_is_asked_about_and_not_believed)
	{
		static const char message[] =
			"*3\r\n$7\r\nmessage\r\n$14\r\n+switch-master\r\n$43\r\n"
			"mymaster 127.0.0.1 10001 127.0.0.1 10002 xx\r\n";
		unsigned n_asked;

		fake_says(0, AT_B, 2);
		open_fakes(1, NULL);
		await_service_at(AT_B, 'a');
		n_asked = says[0].n_asked;
		fake_redis_say(&fakes[0], message);
		bench_await_count(&bench, &says[0].n_asked, n_asked + 1);
		ck_assert_int_eq(acquire('a'), STORE_OK);
		ck_assert_str_eq(redis_server_ask(&servers[AT_A], "GET k"), "(nil)");
	}
END_TEST

START_TEST(a_failover_of_which_no_message_comes_is_followed_within_3_s)
	{
		for (int i = 0; i < 3; i++)
			fake_says(i, AT_A, 1);
		open_fakes(3, NULL);
		await_service_at(AT_A, 'a');
		/* The old master lives, and would go on. */
		fake_says(1, AT_B, 2);
		ck_assert_int_le(await_service_at(AT_B, 'b'), 3000);
	}
END_TEST

START_TEST(who_leads_a_failover_is_followed_before_it_is_over)
	{
		fake_says(0, AT_A, 1);
		open_fakes(1, NULL);
		await_service_at(AT_A, 'a');
		says[0].at = AT_B; /* promoted; the other replicas are still told */
		says[0].epoch = 2;
		ck_assert_int_le(await_service_at(AT_B, 'b'), 3000);
	}
END_TEST

START_TEST(who_denies_to_be_listened_to_is_not_pestered)
	{
		fake_says(0, AT_A, 1);
		says[0].denies = true;
		open_fakes(1, NULL);
		await_service_at(AT_A, 'a');
		bench_turn_for(&bench, 1500);
		ck_assert_uint_le(fakes[0].n_accepted, 4);
		fake_says(0, AT_B, 2);
		ck_assert_int_le(await_service_at(AT_B, 'b'), 3000);
	}
END_TEST

static const char *drop_all(struct fake_redis *fake, const redisReply *command)
{
	(void)fake;
	(void)command;
	return fake_drop;
}

START_TEST(who_hangs_up_is_not_pestered)
	{
		fake_says(0, AT_A, 1);
		open_fakes(1, NULL);
		await_service_at(AT_A, 'a');
		fakes[0].answer = drop_all;
		fakes[0].n_accepted = 0;
		bench_turn_for(&bench, 3000);
		/* 50 ms, and twice as long each time. */
		ck_assert_uint_le(fakes[0].n_accepted, 30);
		fakes[0].answer = fake_answer;
		fake_says(0, AT_B, 2);
		ck_assert_int_le(await_service_at(AT_B, 'b'), 3000);
	}
END_TEST

START_TEST(a_sentinel_far_away_is_waited_for)
	{
		fake_says(0, AT_A, 1);
		open_fakes(1, NULL);
		await_service_at(AT_A, 'a');
		fakes[0].delay_ms = 250;
		redis_server_kill(&servers[AT_A]);
		bench_turn_for(&bench, 300);
		fake_says(0, AT_B, 2);
		ck_assert_int_le(await_service_at(AT_B, 'b'), 3000);
		ck_assert_uint_le(fakes[0].n_accepted, 2);
	}
END_TEST

static void with_many_links(struct store_settings *settings)
{
	settings->pool_size = 64;
}

START_TEST(many_connections_that_fail_do_not_put_the_question_off)
	{
		unsigned n_asked;

		fake_says(0, AT_A, 1);
		open_fakes(1, with_many_links);
		await_service_at(AT_A, 'a');
		redis_server_kill(&servers[AT_A]);
		n_asked = says[0].n_asked;
		bench_turn_for(&bench, 1500);
		ck_assert_uint_ge(says[0].n_asked - n_asked, 5);
		ck_assert_uint_le(says[0].n_asked - n_asked, 20);
		fake_says(0, AT_B, 2);
		ck_assert_int_le(await_service_at(AT_B, 'b'), 3000);
	}
END_TEST

static const char *say_nothing(struct fake_redis *fake, const redisReply *command)
{
	(void)fake;
	(void)command;
	return fake_silence;
}

START_TEST(a_sentinel_that_hangs_costs_nothing)
	{
		fake_says(1, AT_A, 1);
		open_fakes(2, NULL);
		fakes[0].answer = say_nothing;
		ck_assert_int_le(await_service_at(AT_A, 'a'), 500);
	}
END_TEST

static Suite *sentinel_suite(void)
{
	Suite *suite = suite_create("store/sentinel");
	TCase *tc = tcase_create("sentinel"), *fake = tcase_create("fake"),
	      *replicas = tcase_create("replicas");

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
	tcase_set_timeout(replicas, 90);
	tcase_add_checked_fixture(replicas, setup_replicas, teardown_replicas);
	tcase_add_test(replicas,
		       a_failover_keeps_what_replicas_have_and_waits_for_those_that_are_left);
	suite_add_tcase(suite, replicas);
	tcase_set_timeout(fake, 60);
	tcase_add_checked_fixture(fake, setup_fakes, teardown_fakes);
	tcase_add_test(fake, the_latest_failover_counts_when_sentinels_disagree);
	tcase_add_test(fake, a_sentinel_that_lags_does_not_lead_back);
	tcase_add_test(fake, sentinels_that_were_set_up_anew_are_believed_if_they_are_most);
	tcase_add_test(fake, a_message_is_asked_about_and_not_believed);
	tcase_add_test(fake, a_failover_of_which_no_message_comes_is_followed_within_3_s);
	tcase_add_test(fake, who_leads_a_failover_is_followed_before_it_is_over);
	tcase_add_test(fake, who_denies_to_be_listened_to_is_not_pestered);
	tcase_add_test(fake, who_hangs_up_is_not_pestered);
	tcase_add_test(fake, a_sentinel_far_away_is_waited_for);
	tcase_add_test(fake, many_connections_that_fail_do_not_put_the_question_off);
	tcase_add_test(fake, a_sentinel_that_hangs_costs_nothing);
	suite_add_tcase(suite, fake);
	return suite;
}

int main(void)
{
	if (!redis_server_installed())
		return 77;
	return suite_run(sentinel_suite());
}
