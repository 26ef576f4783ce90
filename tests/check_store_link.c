/* SPDX-License-Identifier: MIT */
/* What a link makes of a server that misbehaves: refused, unknown, settled or not. */
#include "config.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "fake_redis.h"
#include "store_bench.h"
#include "suite.h"

static struct bench bench;
static struct fake_redis fake;
static struct store_key key, other_key;
static const char *says; /* what is said to all commands but those of the beginning */

static void short_timeouts(struct store_settings *settings)
{
	settings->command_timeout_ms = 200;
	settings->connect_timeout_ms = 200;
}

static void setup(void)
{
	says = fake_usual;
	store_key_init(&key, "k");
	store_key_init(&other_key, "o");
	bench_init(&bench);
	fake_redis_start(&fake, bench.base);
	bench_open(&bench, fake.url, short_timeouts);
}

static void teardown(void)
{
	bench_close(&bench);
	fake_redis_stop(&fake);
	bench_deinit(&bench);
	store_key_deinit(&key);
	store_key_deinit(&other_key);
}

static bool is_lock_command(const redisReply *command)
{
	return fake_is(command, "EVALSHA") || fake_is(command, "EVAL") || fake_is(command, "SET") ||
	       fake_is(command, "GET");
}

static const char *say_to_locks(struct fake_redis *server, const redisReply *command)
{
	(void)server;
	return is_lock_command(command) ? says : fake_usual;
}

/* ------------------------------------------------------------------ answers */

static const struct {
	const char *says;
	enum store_status status;
	bool lasting;
} errors[] = {
	{"-LOADING Redis is loading the dataset in memory\r\n", STORE_REFUSED, false},
	{"-READONLY You can't write against a read only replica.\r\n", STORE_REFUSED, false},
	{"-MASTERDOWN Link with MASTER is down\r\n", STORE_REFUSED, false},
	{"-OOM command not allowed when used memory > 'maxmemory'.\r\n", STORE_REFUSED, false},
	{"-BUSY Redis is busy running a script.\r\n", STORE_REFUSED, false},
	{"-CLUSTERDOWN The cluster is down\r\n", STORE_REFUSED, false},
	{"-NOREPLICAS Not enough good replicas to write.\r\n", STORE_REFUSED, false},
	{"-MISCONF Redis is configured to save RDB snapshots\r\n", STORE_REFUSED, false},
	{"-TRYAGAIN Multiple keys request during rehashing of slot\r\n", STORE_REFUSED, false},
	{"-MOVED 3999 127.0.0.1:6381\r\n", STORE_REFUSED, true},
	{"-ASK 3999 127.0.0.1:6381\r\n", STORE_REFUSED, true},
	{"-ERR max number of clients reached\r\n", STORE_REFUSED, false},
	{"-NOAUTH Authentication required.\r\n", STORE_REFUSED, true},
	{"-WRONGPASS invalid username-password pair\r\n", STORE_REFUSED, true},
	{"-NOPERM this user has no permissions\r\n", STORE_REFUSED, true},
	{"-WRONGTYPE Operation against a key\r\n", STORE_REFUSED, true},
	{"-CROSSSLOT Keys in request don't hash to the same slot\r\n", STORE_REFUSED, true},
	{"-ERR unknown command 'EVALSHA'\r\n", STORE_REFUSED, true},
	/* What scripts meet, in the words of Redis 6. */
	{"-ERR Error running script (call to f_1): @user_script:2: WRONGTYPE Operation\r\n",
	 STORE_REFUSED, true},
	{"-ERR Error running script (call to f_1): @user_script: 2: -OOM command not\r\n",
	 STORE_REFUSED, false},
	{"-ERR Error running script (call to f_1): @user_script: 2: -READONLY You can't\r\n",
	 STORE_REFUSED, false},
	/* Nobody knows whether this was carried out. */
	{"-ERR something else\r\n", STORE_UNKNOWN, false},
	{":5\r\n", STORE_UNKNOWN, false},
	{"*1\r\n:9\r\n", STORE_UNKNOWN, false},
	{"*1\r\n:1\r\n", STORE_UNKNOWN, false},
};

START_TEST(each_error_has_its_meaning)
	{
		const struct answer *answer;

		fake.answer = say_to_locks;
		says = errors[_i].says;
		answer = bench_do(&bench, STORE_ACQUIRE, &key, 'a');
		ck_assert_int_eq(answer->op.status, errors[_i].status);
		ck_assert_int_eq(answer->op.lasting, errors[_i].lasting);
		/* What makes no sense may be the answer to another command. */
		ck_assert_int_eq(answer->op.settled, *says == '-');
		/* Which store, and why. */
		ck_assert_ptr_nonnull(strstr(answer->text, fake.url));
		if (*says == '-')
			ck_assert_mem_eq(strrchr(answer->text, ' '), strrchr(says, ' '),
					 strlen(strrchr(answer->text, ' ')));
		/* It goes on. */
		says = fake_usual;
		ck_assert_int_eq(bench_do(&bench, STORE_RELEASE, &key, 'a')->op.status, STORE_OK);
	}
END_TEST

START_TEST(what_a_server_repeats_of_a_command_is_not_shown)
	{
		const struct answer *answer;

		fake.answer = say_to_locks;
		says = "-ERR unknown command 'EVALSHA', with args beginning with: 'sha' 'secret' "
		       "\r\n";
		answer = bench_do(&bench, STORE_RELEASE, &key, 'a');
		ck_assert_int_eq(answer->op.status, STORE_REFUSED);
		ck_assert_ptr_nonnull(strstr(answer->text, "unknown command 'EVALSHA'"));
		ck_assert_msg(!strstr(answer->text, "secret"), "%s", answer->text);
	}
END_TEST

START_TEST(an_answer_that_is_no_redis_ends_the_connection)
	{
		const struct answer *answer;

		fake.answer = say_to_locks;
		says = "HTTP/1.1 400 Bad Request\r\n\r\n";
		answer = bench_do(&bench, STORE_ACQUIRE, &key, 'a');
		ck_assert_int_eq(answer->op.status, STORE_UNKNOWN);
		ck_assert_ptr_nonnull(strstr(answer->text, "no Redis"));
		ck_assert_uint_eq(bench.store->stats.disconnects, 1);
	}
END_TEST

START_TEST(a_replica_is_left_for_another_look)
	{
		fake.answer = say_to_locks;
		says = "-READONLY You can't write against a read only replica.\r\n";
		ck_assert_int_eq(bench_do(&bench, STORE_ACQUIRE, &key, 'a')->op.status,
				 STORE_REFUSED);
		says = fake_usual;
		ck_assert_int_eq(bench_do(&bench, STORE_ACQUIRE, &key, 'a')->op.status, STORE_OK);
		ck_assert_uint_eq(fake.n_accepted, 2);
		ck_assert_uint_eq(bench.n_up, 1);
		/* Nothing was in flight when it was left, and so there was nothing to make sure of.
		 */
		ck_assert_uint_eq(fake.n_kill, 0);
	}
END_TEST

START_TEST(a_replica_is_not_used)
	{
		const struct answer *answer;

		fake.role = "slave";
		answer = bench_do(&bench, STORE_ACQUIRE, &key, 'a');
		ck_assert_int_eq(answer->op.status, STORE_REFUSED);
		ck_assert(!answer->op.lasting);
		ck_assert_ptr_nonnull(strstr(answer->text, "replica"));
		ck_assert_uint_eq(fake.n_evalsha, 0);
		fake.role = "master";
		bench_await_count(&bench, &bench.n_up, 1);
		ck_assert_int_eq(bench_do(&bench, STORE_ACQUIRE, &key, 'a')->op.status, STORE_OK);
	}
END_TEST

static const char *loading(struct fake_redis *server, const redisReply *command)
{
	(void)server;
	return fake_is(command, "SCRIPT") ? "-LOADING Redis is loading\r\n" : fake_usual;
}

START_TEST(a_server_that_loads_is_refused_until_it_has)
	{
		const struct answer *answer;

		fake.answer = loading;
		answer = bench_do(&bench, STORE_ACQUIRE, &key, 'a');
		ck_assert_int_eq(answer->op.status, STORE_REFUSED);
		ck_assert(!answer->op.lasting);
		ck_assert_ptr_nonnull(strstr(answer->text, "LOADING"));
		fake.answer = NULL;
		bench_await_count(&bench, &bench.n_up, 1);
		ck_assert_int_eq(bench_do(&bench, STORE_ACQUIRE, &key, 'a')->op.status, STORE_OK);
	}
END_TEST

static const char *wants_password(struct fake_redis *server, const redisReply *command)
{
	(void)server;
	(void)command;
	return "-NOAUTH Authentication required.\r\n";
}

START_TEST(who_is_not_let_in_hears_it_at_once_and_for_good)
	{
		const struct answer *answer;
		int64_t start_ms;

		fake.answer = wants_password;
		answer = bench_do(&bench, STORE_ACQUIRE, &key, 'a');
		ck_assert_int_eq(answer->op.status, STORE_REFUSED);
		ck_assert(answer->op.lasting);
		start_ms = bench_now_ms();
		answer = bench_do(&bench, STORE_ACQUIRE, &key, 'a');
		ck_assert_int_eq(answer->op.status, STORE_REFUSED);
		ck_assert(answer->op.lasting);
		ck_assert_int_lt(bench_now_ms() - start_ms, 100);
		ck_assert_uint_eq(fake.n_accepted, 1);
		fake.answer = NULL;
		bench_await_count(&bench, &bench.n_up, 1);
		ck_assert_int_eq(bench_do(&bench, STORE_ACQUIRE, &key, 'a')->op.status, STORE_OK);
	}
END_TEST

/* CLIENT, INFO and SCRIPT as an ACL may refuse them. */
static const char *strict(struct fake_redis *server, const redisReply *command)
{
	(void)server;
	if (is_lock_command(command))
		return says;
	return "-NOPERM this user has no permissions to run this command\r\n";
}

START_TEST(a_server_that_tells_nothing_of_itself_is_used_all_the_same)
	{
		fake.answer = strict;
		ck_assert_int_eq(bench_do(&bench, STORE_ACQUIRE, &key, 'a')->op.status, STORE_OK);
		ck_assert_uint_eq(fake.n_evalsha, 0);
		ck_assert_uint_eq(fake.n_eval, 1);
	}
END_TEST

/* ------------------------------------------------------------------ fates */

START_TEST(a_dropped_command_is_unknown_and_its_connection_is_made_sure_of)
	{
		const struct answer *answer;

		fake.answer = say_to_locks;
		says = fake_drop;
		answer = bench_do(&bench, STORE_ACQUIRE, &key, 'a');
		ck_assert_int_eq(answer->op.status, STORE_UNKNOWN);
		ck_assert(!answer->op.settled);
		says = fake_usual;
		answer = bench_do(&bench, STORE_RELEASE, &key, 'a');
		ck_assert_int_eq(answer->op.status, STORE_OK);
		ck_assert(answer->op.settled);
		ck_assert_uint_eq(fake.n_kill, 1);
		ck_assert_str_eq(fake.killed, "1");
		ck_assert_uint_eq(bench.n_up, 1);
		ck_assert_uint_eq(bench.n_changed, 0);
	}
END_TEST

START_TEST(another_process_has_nothing_of_the_old_one)
	{
		const struct answer *answer;

		fake.answer = say_to_locks;
		says = fake_drop;
		bench_do(&bench, STORE_ACQUIRE, &key, 'a');
		says = fake_usual;
		fake.run_id = "2222222222222222222222222222222222222222";
		answer = bench_do(&bench, STORE_RELEASE, &key, 'a');
		ck_assert_int_eq(answer->op.status, STORE_OK);
		ck_assert(answer->op.settled);
		ck_assert_uint_eq(fake.n_kill, 0);
		ck_assert_uint_eq(bench.n_changed, 1);
	}
END_TEST

static const char *no_kill(struct fake_redis *server, const redisReply *command)
{
	(void)server;
	if (fake_is(command, "CLIENT") && strcmp(command->element[1]->str, "KILL") == 0)
		return "-NOPERM no\r\n";
	return is_lock_command(command) ? says : fake_usual;
}

START_TEST(nothing_is_settled_while_a_lost_connection_may_live)
	{
		const struct answer *answer;

		fake.answer = no_kill;
		says = fake_drop;
		bench_do(&bench, STORE_ACQUIRE, &key, 'a');
		says = fake_usual;
		for (int i = 0; i < 2; i++) {
			answer = bench_do(&bench, STORE_RELEASE, &key, 'a');
			ck_assert_int_eq(answer->op.status, STORE_OK);
			ck_assert(!answer->op.settled);
		}
		ck_assert_uint_eq(fake.n_kill, 1);
		/* The same when it is not known which server answers. */
		fake.answer = strict;
		says = fake_drop;
		bench_do(&bench, STORE_ACQUIRE, &key, 'a');
		says = fake_usual;
		ck_assert(!bench_do(&bench, STORE_RELEASE, &key, 'a')->op.settled);
	}
END_TEST

START_TEST(silence_is_unknown_when_the_timeout_is_over)
	{
		struct answer first, second;
		int64_t start_ms;

		fake.answer = say_to_locks;
		ck_assert_int_eq(bench_do(&bench, STORE_ACQUIRE, &key, 'a')->op.status, STORE_OK);
		says = fake_silence;
		start_ms = bench_now_ms();
		answer_init(&first, STORE_ACQUIRE, &key, 'a');
		bench_submit(&bench, &first);
		bench_turn_for(&bench, 100);
		answer_init(&second, STORE_CHECK, &other_key, 'a');
		bench_submit(&bench, &second);
		ck_assert(!second.op.written);
		bench_turn(&bench, 0);
		ck_assert(second.op.written);
		bench_await(&bench, &second);
		ck_assert_int_ge(bench_now_ms() - start_ms, 200);
		ck_assert_int_lt(bench_now_ms() - start_ms, 300);
		ck_assert_int_eq(first.op.status, STORE_UNKNOWN);
		ck_assert_int_eq(second.op.status, STORE_UNKNOWN);
		ck_assert_ptr_nonnull(strstr(first.text, "no answer within 200 ms"));
		ck_assert_uint_eq(bench.store->stats.timeouts, 1);
	}
END_TEST

static const char *silent(struct fake_redis *server, const redisReply *command)
{
	(void)server;
	(void)command;
	return fake_silence;
}

START_TEST(who_waits_for_a_connection_is_refused_in_time)
	{
		const struct answer *answer;
		int64_t start_ms = bench_now_ms();

		fake.answer = silent;
		answer = bench_do(&bench, STORE_ACQUIRE, &key, 'a');
		ck_assert_int_eq(answer->op.status, STORE_REFUSED);
		ck_assert(!answer->op.written);
		ck_assert(answer->op.settled);
		ck_assert_int_ge(bench_now_ms() - start_ms, 190);
		ck_assert_int_lt(bench_now_ms() - start_ms, 300);
	}
END_TEST

START_TEST(what_waits_keeps_its_order_over_a_reconnection)
	{
		struct answer answers[20];

		ck_assert_int_eq(bench_do(&bench, STORE_CHECK, &key, 'a')->op.status, STORE_GONE);
		fake.answer = say_to_locks;
		says = fake_drop;
		answer_init(&answers[0], STORE_CHECK, &key, 'a');
		bench_submit(&bench, &answers[0]);
		bench_await(&bench, &answers[0]);
		says = fake_usual;
		for (int i = 1; i < 20; i++) {
			answer_init(&answers[i], STORE_CHECK, i % 2 ? &key : &other_key, 'a');
			bench_submit(&bench, &answers[i]);
		}
		bench_await(&bench, &answers[19]);
		for (int i = 1; i < 20; i++) {
			ck_assert_int_eq(answers[i].op.status, STORE_GONE);
			ck_assert_uint_eq(answers[i].order, answers[i - 1].order + 1);
		}
	}
END_TEST

START_TEST(a_store_that_is_closed_answers_what_is_open)
	{
		struct answer sent, waiting;

		fake.answer = say_to_locks;
		ck_assert_int_eq(bench_do(&bench, STORE_CHECK, &key, 'a')->op.status, STORE_GONE);
		says = fake_silence;
		answer_init(&sent, STORE_ACQUIRE, &key, 'a');
		bench_submit(&bench, &sent);
		bench_turn(&bench, 0);
		answer_init(&waiting, STORE_ACQUIRE, &key, 'a');
		bench_submit(&bench, &waiting);
		bench_close(&bench);
		ck_assert_int_eq(sent.op.status, STORE_UNKNOWN);
		ck_assert(!sent.op.settled);
		ck_assert_int_eq(waiting.op.status, STORE_REFUSED);
		ck_assert(!waiting.op.settled);
	}
END_TEST

/* ------------------------------------------------------------------ scripts and writes */

static const char *forgetful(struct fake_redis *server, const redisReply *command)
{
	(void)server;
	return fake_is(command, "EVALSHA") ? "-NOSCRIPT No matching script.\r\n" : fake_usual;
}

START_TEST(a_forgotten_script_is_sent_whole)
	{
		fake.answer = forgetful;
		ck_assert_int_eq(bench_do(&bench, STORE_ACQUIRE, &key, 'a')->op.status, STORE_OK);
		ck_assert_uint_eq(fake.n_evalsha, 1);
		ck_assert_uint_eq(fake.n_eval, 1);
		ck_assert_uint_eq(bench.store->stats.errors, 0);
	}
END_TEST

START_TEST(a_forgotten_script_never_comes_after_what_was_submitted_later)
	{
		struct answer first, second, other;

		fake.answer = forgetful;
		answer_init(&first, STORE_ACQUIRE, &key, 'a');
		answer_init(&other, STORE_ACQUIRE, &other_key, 'a');
		answer_init(&second, STORE_CHECK, &key, 'a');
		bench_submit(&bench, &first);
		bench_submit(&bench, &other);
		bench_submit(&bench, &second);
		bench_await(&bench, &other);
		bench_await(&bench, &second);
		/* The check was carried out already: the acquire must not be any more. */
		ck_assert_int_eq(first.op.status, STORE_REFUSED);
		ck_assert(!first.op.lasting);
		ck_assert_int_eq(other.op.status, STORE_OK);
		ck_assert_int_eq(second.op.status, STORE_GONE);
		ck_assert_uint_eq(fake.n_eval, 1);
	}
END_TEST

START_TEST(all_that_is_submitted_in_a_turn_leaves_in_one_write)
	{
		struct answer answers[200];
		unsigned n_reads;

		ck_assert_int_eq(bench_do(&bench, STORE_CHECK, &key, 'a')->op.status, STORE_GONE);
		n_reads = fake.n_reads;
		for (int i = 0; i < 200; i++) {
			answer_init(&answers[i], STORE_ACQUIRE, &key, 'a');
			bench_submit(&bench, &answers[i]);
		}
		bench_await(&bench, &answers[199]);
		ck_assert_uint_eq(fake.n_reads, n_reads + 1);
		ck_assert_uint_eq(bench.store->stats.commands, 201);
		ck_assert_uint_gt(bench.n_turns, 0);
	}
END_TEST

int main(void)
{
	Suite *suite = suite_create("store_link");
	TCase *answers = tcase_create("answers"), *fates = tcase_create("fates"),
	      *writes = tcase_create("writes");

	tcase_add_checked_fixture(answers, setup, teardown);
	tcase_add_checked_fixture(fates, setup, teardown);
	tcase_add_checked_fixture(writes, setup, teardown);
	tcase_set_timeout(answers, 30);
	tcase_set_timeout(fates, 30);
	tcase_set_timeout(writes, 30);
	tcase_add_loop_test(answers, each_error_has_its_meaning, 0,
			    sizeof(errors) / sizeof(errors[0]));
	tcase_add_test(answers, what_a_server_repeats_of_a_command_is_not_shown);
	tcase_add_test(answers, an_answer_that_is_no_redis_ends_the_connection);
	tcase_add_test(answers, a_replica_is_left_for_another_look);
	tcase_add_test(answers, a_replica_is_not_used);
	tcase_add_test(answers, a_server_that_loads_is_refused_until_it_has);
	tcase_add_test(answers, who_is_not_let_in_hears_it_at_once_and_for_good);
	tcase_add_test(answers, a_server_that_tells_nothing_of_itself_is_used_all_the_same);
	tcase_add_test(fates, a_dropped_command_is_unknown_and_its_connection_is_made_sure_of);
	tcase_add_test(fates, another_process_has_nothing_of_the_old_one);
	tcase_add_test(fates, nothing_is_settled_while_a_lost_connection_may_live);
	tcase_add_test(fates, silence_is_unknown_when_the_timeout_is_over);
	tcase_add_test(fates, who_waits_for_a_connection_is_refused_in_time);
	tcase_add_test(fates, what_waits_keeps_its_order_over_a_reconnection);
	tcase_add_test(fates, a_store_that_is_closed_answers_what_is_open);
	tcase_add_test(writes, a_forgotten_script_is_sent_whole);
	tcase_add_test(writes, a_forgotten_script_never_comes_after_what_was_submitted_later);
	tcase_add_test(writes, all_that_is_submitted_in_a_turn_leaves_in_one_write);
	suite_add_tcase(suite, answers);
	suite_add_tcase(suite, fates);
	suite_add_tcase(suite, writes);
	return suite_run(suite);
}
