/* SPDX-License-Identifier: MIT */
/* Messages: what is heard, from whom, and that nothing is missed without a word. */
#include "config.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fake_redis.h"
#include "redis_server.h"
#include "store_bench.h"
#include "suite.h"
#include "util/alloc.h"

/* Two daemons at one server. */
static struct bench bench, other;
static struct redis_server server;
static struct store_key key;

struct heard {
	struct store_watch watch;
	unsigned n_ready, n_free, n_want;
};

static struct heard heard, also;

static void hear_ready(struct store_watch *watch)
{
	ck_assert(watch->is_ready);
	container_of(watch, struct heard, watch)->n_ready++;
}

static void hear_message(struct store_watch *watch, enum store_message message)
{
	struct heard *by = container_of(watch, struct heard, watch);

	if (message == STORE_MESSAGE_FREE)
		by->n_free++;
	else
		by->n_want++;
}

static void heard_init(struct heard *by, const struct store_key *of)
{
	*by = (struct heard){
		.watch = {.key = of, .ready = hear_ready, .message = hear_message},
	};
}

static void setup(void)
{
	store_key_init(&key, "k");
	redis_server_start(&server, true, NULL);
	bench_init(&bench);
	bench_open(&bench, server.unix_url, NULL);
	bench_init(&other);
	other.env.daemon_id[0] = 'f';
	bench_open(&other, server.tcp_url, NULL);
	heard_init(&heard, &key);
	heard_init(&also, &key);
}

static void teardown(void)
{
	bench_deinit(&bench);
	bench_deinit(&other);
	redis_server_stop(&server);
	store_key_deinit(&key);
}

static void listen_and_await(void)
{
	store_watch(bench.store, &heard.watch);
	bench_await_count(&bench, &heard.n_ready, 1);
}

static const struct answer *ask_wanting(struct bench *by, enum store_verb verb)
{
	static struct answer answer;

	answer_init(&answer, verb, &key, 'z');
	answer.op.want = true;
	bench_submit(by, &answer);
	bench_await(by, &answer);
	return &answer;
}

START_TEST(a_release_and_a_break_by_others_are_heard)
	{
		listen_and_await();
		ck_assert_int_eq(bench_do(&other, STORE_ACQUIRE, &key, 'a')->op.status, STORE_OK);
		ck_assert_int_eq(bench_do(&other, STORE_RELEASE, &key, 'a')->op.status, STORE_OK);
		bench_await_count(&bench, &heard.n_free, 1);
		ck_assert_int_eq(bench_do(&other, STORE_ACQUIRE, &key, 'a')->op.status, STORE_OK);
		ck_assert_int_eq(bench_do(&other, STORE_BREAK, &key, 'a')->op.status, STORE_OK);
		bench_await_count(&bench, &heard.n_free, 2);
		/* One that released nothing says nothing. */
		ck_assert_int_eq(bench_do(&other, STORE_RELEASE, &key, 'a')->op.status, STORE_GONE);
		ck_assert_int_eq(bench_do(&other, STORE_BREAK, &key, 'a')->op.status, STORE_GONE);
		bench_turn_for(&bench, 30);
		ck_assert_uint_eq(heard.n_free, 2);
		ck_assert_uint_eq(heard.n_want, 0);
		store_unwatch(bench.store, &heard.watch);
	}
END_TEST

START_TEST(a_wish_is_heard_by_others_and_they_are_counted)
	{
		listen_and_await();
		ck_assert_int_eq(bench_do(&bench, STORE_ACQUIRE, &key, 'a')->op.status, STORE_OK);
		ck_assert_int_eq(ask_wanting(&other, STORE_ACQUIRE)->op.receivers, 1);
		bench_await_count(&bench, &heard.n_want, 1);
		ck_assert_int_eq(ask_wanting(&other, STORE_LOOK)->op.receivers, 1);
		bench_await_count(&bench, &heard.n_want, 2);
		/* We do not count ourselves. */
		ck_assert_int_eq(ask_wanting(&bench, STORE_LOOK)->op.receivers, 0);
		store_unwatch(bench.store, &heard.watch);
		ck_assert_uint_eq(heard.n_free, 0);
	}
END_TEST

START_TEST(contenders_are_others_that_listen)
	{
		struct heard theirs;

		ck_assert_int_eq(bench_do(&bench, STORE_ACQUIRE, &key, 'a')->op.status, STORE_OK);
		ck_assert_int_eq(bench_do(&bench, STORE_EXTEND, &key, 'a')->op.contenders, 0);
		listen_and_await();
		ck_assert_int_eq(bench_do(&bench, STORE_EXTEND, &key, 'a')->op.contenders, 0);
		heard_init(&theirs, &key);
		store_watch(other.store, &theirs.watch);
		bench_await_count(&other, &theirs.n_ready, 1);
		ck_assert_int_eq(bench_do(&bench, STORE_EXTEND, &key, 'a')->op.contenders, 1);
		ck_assert_int_eq(bench_do(&bench, STORE_REPLACE, &key, 'a')->op.contenders, 1);
		store_unwatch(bench.store, &heard.watch);
		bench_turn_for(&bench, 50);
		ck_assert_int_eq(bench_do(&bench, STORE_RELEASE, &key, 'b')->op.contenders, 1);
		ck_assert_int_eq(bench_do(&bench, STORE_ACQUIRE, &key, 'b')->op.status, STORE_OK);
		store_unwatch(other.store, &theirs.watch);
		bench_turn_for(&other, 50);
		ck_assert_int_eq(bench_do(&bench, STORE_EXTEND, &key, 'b')->op.contenders, 0);
	}
END_TEST

START_TEST(while_it_is_not_sure_whether_we_listen_nobody_counts_wrongly)
	{
		struct answer answer;

		ck_assert_int_eq(bench_do(&bench, STORE_ACQUIRE, &key, 'a')->op.status, STORE_OK);
		listen_and_await();
		store_unwatch(bench.store, &heard.watch);
		answer_init(&answer, STORE_EXTEND, &key, 'a');
		bench_submit(&bench, &answer);
		bench_await(&bench, &answer);
		ck_assert(answer.op.contenders == -1 || answer.op.contenders == 0);
	}
END_TEST

START_TEST(two_watches_share_a_channel)
	{
		listen_and_await();
		store_watch(bench.store, &also.watch);
		bench_await_count(&bench, &also.n_ready, 1);
		ck_assert_uint_eq(heard.n_ready, 1);
		redis_server_ask(&server, "PUBLISH {k}:free %s", "free somebody");
		bench_await_count(&bench, &also.n_free, 1);
		bench_await_count(&bench, &heard.n_free, 1);
		store_unwatch(bench.store, &heard.watch);
		redis_server_ask(&server, "PUBLISH {k}:free %s", "free somebody");
		bench_await_count(&bench, &also.n_free, 2);
		ck_assert_uint_eq(heard.n_free, 1);
		store_unwatch(bench.store, &also.watch);
		bench_turn_for(&bench, 50);
		ck_assert_str_eq(redis_server_ask(&server, "PUBSUB NUMSUB {k}:free"), "{k}:free 0");
	}
END_TEST

static void unwatch_both(struct store_watch *watch, enum store_message message)
{
	hear_message(watch, message);
	store_unwatch(bench.store, &heard.watch);
	store_unwatch(bench.store, &also.watch);
}

START_TEST(a_message_may_end_all_watches_of_its_channel)
	{
		heard.watch.message = also.watch.message = unwatch_both;
		store_watch(bench.store, &heard.watch);
		store_watch(bench.store, &also.watch);
		bench_await_count(&bench, &heard.n_ready, 1);
		bench_await_count(&bench, &also.n_ready, 1);
		redis_server_ask(&server, "PUBLISH {k}:free %s", "free somebody");
		while (heard.n_free + also.n_free == 0)
			bench_turn(&bench, 20);
		bench_turn_for(&bench, 30);
		ck_assert_uint_eq(heard.n_free + also.n_free, 1);
	}
END_TEST

START_TEST(what_is_no_message_of_ours_is_let_pass)
	{
		listen_and_await();
		redis_server_ask(&server, "PUBLISH {k}:free %s", "");
		redis_server_ask(&server, "PUBLISH {k}:free %s", "later version");
		redis_server_ask(&server, "PUBLISH {k}:free %s", "free");
		redis_server_ask(&server, "PUBLISH {k}:free %s", "want somebody");
		bench_await_count(&bench, &heard.n_want, 1);
		ck_assert_uint_eq(heard.n_free, 0);
		store_unwatch(bench.store, &heard.watch);
	}
END_TEST

START_TEST(a_watch_that_comes_and_goes_is_told_once_more)
	{
		for (unsigned i = 1; i < 20; i++) {
			store_watch(bench.store, &heard.watch);
			if (i % 3 == 0)
				bench_turn(&bench, 0);
			store_unwatch(bench.store, &heard.watch);
			if (i % 2 == 0)
				bench_turn(&bench, 0);
		}
		heard.n_ready = 0;
		listen_and_await();
		redis_server_ask(&server, "PUBLISH {k}:free %s", "free somebody");
		bench_await_count(&bench, &heard.n_free, 1);
		ck_assert_uint_eq(heard.n_ready, 1);
		store_unwatch(bench.store, &heard.watch);
	}
END_TEST

START_TEST(a_lost_connection_is_told_by_being_ready_again)
	{
		listen_and_await();
		redis_server_ask(&server, "CLIENT KILL TYPE pubsub");
		bench_await_count(&bench, &heard.n_ready, 2);
		redis_server_restart(&server);
		bench_await_count(&bench, &heard.n_ready, 3);
		redis_server_ask(&server, "PUBLISH {k}:free %s", "free somebody");
		bench_await_count(&bench, &heard.n_free, 1);
		store_unwatch(bench.store, &heard.watch);
	}
END_TEST

START_TEST(a_server_that_hangs_is_noticed_though_nothing_is_asked)
	{
		int64_t start_ms;

		listen_and_await();
		redis_server_pause(&server);
		start_ms = bench_now_ms();
		while (heard.watch.is_ready)
			bench_turn(&bench, 20);
		ck_assert_int_lt(bench_now_ms() - start_ms, 7000);
		redis_server_resume(&server);
		bench_await_count(&bench, &heard.n_ready, 2);
		store_unwatch(bench.store, &heard.watch);
	}
END_TEST

static const char *drop_subscribers(struct fake_redis *fake, const redisReply *command)
{
	(void)fake;
	return fake_is(command, "SUBSCRIBE") ? fake_drop : fake_usual;
}

START_TEST(a_server_that_hangs_up_on_subscribers_is_not_pestered)
	{
		struct fake_redis fake;

		bench_close(&bench);
		fake_redis_start(&fake, bench.base);
		fake.answer = drop_subscribers;
		bench_open(&bench, fake.url, NULL);
		store_watch(bench.store, &heard.watch);
		bench_turn_for(&bench, 2000);
		/* 20 ms, and twice as long each time; one connection more is for commands. */
		ck_assert_uint_ge(fake.n_accepted, 4);
		ck_assert_uint_le(fake.n_accepted, 14);
		store_unwatch(bench.store, &heard.watch);
		bench_close(&bench);
		fake_redis_stop(&fake);
	}
END_TEST

enum { MANY = 5000 };

START_TEST(thousands_of_channels_are_heard)
	{
		struct heard *all = calloc(MANY, sizeof(*all));
		struct store_key *keys = calloc(MANY, sizeof(*keys));

		for (int i = 0; i < MANY; i++) {
			char name[32];

			snprintf(name, sizeof(name), "key-%d", i);
			store_key_init(&keys[i], name);
			heard_init(&all[i], &keys[i]);
			store_watch(bench.store, &all[i].watch);
		}
		for (int i = 0; i < MANY; i++)
			bench_await_count(&bench, &all[i].n_ready, 1);
		redis_server_ask(&server, "PUBLISH {key-%d}:free %s", MANY / 2, "free somebody");
		bench_await_count(&bench, &all[MANY / 2].n_free, 1);
		redis_server_ask(&server, "CLIENT KILL TYPE pubsub");
		for (int i = 0; i < MANY; i++)
			bench_await_count(&bench, &all[i].n_ready, 2);
		for (int i = 0; i < MANY; i++)
			store_unwatch(bench.store, &all[i].watch);
		bench_turn_for(&bench, 100);
		ck_assert_str_eq(redis_server_ask(&server, "PUBSUB CHANNELS"), "");
		for (int i = 0; i < MANY; i++)
			store_key_deinit(&keys[i]);
		free(all);
		free(keys);
	}
END_TEST

int main(void)
{
	Suite *suite = suite_create("store_watch");
	TCase *tcase = tcase_create("watch");

	if (!redis_server_installed())
		return 77;
	tcase_set_timeout(tcase, 60);
	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, a_release_and_a_break_by_others_are_heard);
	tcase_add_test(tcase, a_wish_is_heard_by_others_and_they_are_counted);
	tcase_add_test(tcase, contenders_are_others_that_listen);
	tcase_add_test(tcase, while_it_is_not_sure_whether_we_listen_nobody_counts_wrongly);
	tcase_add_test(tcase, two_watches_share_a_channel);
	tcase_add_test(tcase, a_message_may_end_all_watches_of_its_channel);
	tcase_add_test(tcase, what_is_no_message_of_ours_is_let_pass);
	tcase_add_test(tcase, a_watch_that_comes_and_goes_is_told_once_more);
	tcase_add_test(tcase, a_lost_connection_is_told_by_being_ready_again);
	tcase_add_test(tcase, a_server_that_hangs_is_noticed_though_nothing_is_asked);
	tcase_add_test(tcase, a_server_that_hangs_up_on_subscribers_is_not_pestered);
	tcase_add_test(tcase, thousands_of_channels_are_heard);
	suite_add_tcase(suite, tcase);
	return suite_run(suite);
}
