/* SPDX-License-Identifier: MIT */
/* A real server that is not there, stops, comes back empty, or does not let us in. */
#include "config.h"

#include <check.h>
#include <fcntl.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "redis_server.h"
#include "store_bench.h"
#include "suite.h"
#include "util/alloc.h"

static struct bench bench;
static struct redis_server server;
static struct store_key key;

static void short_timeouts(struct store_settings *settings)
{
	settings->command_timeout_ms = 200;
	settings->connect_timeout_ms = 200;
}

static void setup(void)
{
	store_key_init(&key, "k");
	bench_init(&bench);
}

static void setup_server(void)
{
	setup();
	redis_server_start(&server, true, NULL);
}

static void teardown(void)
{
	bench_deinit(&bench);
	if (*server.dir)
		redis_server_stop(&server);
	store_key_deinit(&key);
}

static enum store_status ask(enum store_verb verb, char value)
{
	return bench_do(&bench, verb, &key, value)->op.status;
}

/* ------------------------------------------------------------------ not there */

static void assert_refused(const char *url, const char *why)
{
	const struct answer *answer;

	bench_open(&bench, url, short_timeouts);
	answer = bench_do(&bench, STORE_ACQUIRE, &key, 'a');
	ck_assert_int_eq(answer->op.status, STORE_REFUSED);
	ck_assert(!answer->op.lasting);
	ck_assert(answer->op.settled);
	ck_assert_msg(strncmp(answer->text, url, strlen(url)) == 0, "%s", answer->text);
	ck_assert_msg(strstr(answer->text, why) != NULL, "%s", answer->text);
	bench_close(&bench);
}

START_TEST(what_is_not_there_is_refused_with_the_reason)
	{
		char url[64];

		assert_refused("unix:///nonexistent/redis.sock", "No such file or directory");
		redis_server_start(&server, true, NULL);
		snprintf(url, sizeof(url), "%s", server.tcp_url);
		redis_server_stop(&server);
		assert_refused(url, "Connection refused");
		assert_refused("redis://[::1]:1", "");
		assert_refused("redis://no-such-host.invalid", "no-such-host.invalid");
	}
END_TEST

START_TEST(a_host_is_found_by_its_name)
	{
		struct addrinfo *found;
		char url[64];

		/* A bare root without /etc/hosts knows no name at all. */
		if (getaddrinfo("localhost", NULL, NULL, &found) != 0)
			return;
		freeaddrinfo(found);
		snprintf(url, sizeof(url), "redis://localhost:%d", server.port);
		bench_open(&bench, url, NULL);
		ck_assert_int_eq(ask(STORE_ACQUIRE, 'a'), STORE_OK);
	}
END_TEST

START_TEST(a_server_that_comes_later_is_found)
	{
		struct answer answer;

		redis_server_kill(&server);
		bench_open(&bench, server.unix_url, NULL);
		ck_assert_int_eq(ask(STORE_ACQUIRE, 'a'), STORE_REFUSED);
		/* Before the server is there, after an attempt: it waits for the next attempt. */
		redis_server_restart(&server);
		answer_init(&answer, STORE_ACQUIRE, &key, 'a');
		bench_submit(&bench, &answer);
		bench_await(&bench, &answer);
		ck_assert_msg(answer.op.status == STORE_OK, "%s", answer.text);
		ck_assert_uint_eq(bench.n_up, 1);
		ck_assert_uint_eq(bench.n_changed, 0);
	}
END_TEST

/* ------------------------------------------------------------------ gone and back */

START_TEST(a_killed_server_comes_back_as_another)
	{
		const struct answer *answer;

		bench_open(&bench, server.tcp_url, NULL);
		ck_assert_int_eq(ask(STORE_ACQUIRE, 'a'), STORE_OK);
		redis_server_restart(&server);
		bench_await_count(&bench, &bench.n_changed, 1);
		bench_await_count(&bench, &bench.n_up, 1);
		answer = bench_do(&bench, STORE_CHECK, &key, 'a');
		ck_assert_int_eq(answer->op.status, STORE_GONE);
		ck_assert(answer->op.settled);
	}
END_TEST

START_TEST(a_command_in_flight_when_the_server_dies_is_unknown_and_settled_by_the_next)
	{
		struct answer answer;

		bench_open(&bench, server.unix_url, NULL);
		ck_assert_int_eq(ask(STORE_ACQUIRE, 'a'), STORE_OK);
		redis_server_pause(&server);
		answer_init(&answer, STORE_RELEASE, &key, 'a');
		bench_submit(&bench, &answer);
		bench_turn_for(&bench, 20);
		ck_assert(answer.op.written);
		redis_server_restart(&server);
		bench_await(&bench, &answer);
		ck_assert_int_eq(answer.op.status, STORE_UNKNOWN);
		ck_assert(!answer.op.settled);
		ck_assert_int_eq(ask(STORE_RELEASE, 'a'), STORE_GONE);
		ck_assert(bench_do(&bench, STORE_RELEASE, &key, 'a')->op.settled);
	}
END_TEST

/*
 * The acquire lies in the stopped server's buffer when its connection is given up. Once a later
 * release was answered as settled, it can't come to life again.
 */
START_TEST(what_lay_in_a_stopped_server_does_not_come_after_what_was_settled)
	{
		const char *url = _i == 0 ? server.unix_url : server.tcp_url;
		const struct answer *answer;
		struct answer lost;
		int64_t start_ms;

		bench_open(&bench, url, short_timeouts);
		ck_assert_int_eq(ask(STORE_CHECK, 'a'), STORE_GONE);
		redis_server_pause(&server);
		start_ms = bench_now_ms();
		answer_init(&lost, STORE_ACQUIRE, &key, 'a');
		bench_submit(&bench, &lost);
		bench_await(&bench, &lost);
		ck_assert_int_eq(lost.op.status, STORE_UNKNOWN);
		ck_assert_int_lt(bench_now_ms() - start_ms, 300);
		/* Connecting succeeds, the kernel does that; but nobody answers. */
		answer = bench_do(&bench, STORE_RELEASE, &key, 'a');
		ck_assert_int_eq(answer->op.status, STORE_REFUSED);
		ck_assert(!answer->op.settled);
		ck_assert_int_lt(bench_now_ms() - start_ms, 600);
		redis_server_resume(&server);
		do
			answer = bench_do(&bench, STORE_RELEASE, &key, 'a');
		while (answer->op.status == STORE_REFUSED);
		ck_assert(answer->op.status == STORE_OK || answer->op.status == STORE_GONE);
		ck_assert(answer->op.settled);
		for (int i = 0; i < 20; i++) {
			ck_assert_int_eq(redis_server_ask_integer(&server, "EXISTS k"), 0);
			bench_turn_for(&bench, 10);
		}
		ck_assert_uint_eq(bench.n_changed, 0);
	}
END_TEST

START_TEST(connections_that_an_administrator_ends_are_made_anew)
	{
		bench_open(&bench, server.unix_url, NULL);
		for (char value = 'a'; value < 'k'; value++) {
			ck_assert_int_eq(ask(STORE_ACQUIRE, value), STORE_OK);
			redis_server_ask(&server, "CLIENT KILL TYPE normal SKIPME yes");
			bench_await_count(&bench, &bench.n_up, (unsigned)(value - 'a' + 1));
			ck_assert_int_eq(ask(STORE_RELEASE, value), STORE_OK);
		}
		ck_assert_uint_eq(bench.n_changed, 0);
		ck_assert_uint_eq(bench.store->stats.disconnects, 10);
		ck_assert_uint_eq(bench.store->stats.connects, 11);
	}
END_TEST

START_TEST(scripts_may_be_flushed_at_any_time)
	{
		bench_open(&bench, server.unix_url, NULL);
		for (char value = 'a'; value < 'f'; value++) {
			redis_server_ask(&server, "SCRIPT FLUSH");
			ck_assert_int_eq(ask(STORE_ACQUIRE, value), STORE_OK);
			redis_server_ask(&server, "SCRIPT FLUSH");
			ck_assert_int_eq(ask(STORE_RELEASE, value), STORE_OK);
		}
		ck_assert_uint_eq(bench.store->stats.errors, 0);
	}
END_TEST

START_TEST(a_full_server_refuses_grants_and_takes_releases)
	{
		const struct answer *answer;

		bench_open(&bench, server.unix_url, NULL);
		ck_assert_int_eq(ask(STORE_ACQUIRE, 'a'), STORE_OK);
		redis_server_ask(&server, "CONFIG SET maxmemory 1");
		answer = bench_do(&bench, STORE_REPLACE, &key, 'a');
		ck_assert_int_eq(answer->op.status, STORE_REFUSED);
		ck_assert(!answer->op.lasting);
		ck_assert_ptr_nonnull(strstr(answer->text, "OOM"));
		ck_assert_int_eq(ask(STORE_CHECK, 'a'), STORE_OK);
		ck_assert_int_eq(ask(STORE_RELEASE, 'a'), STORE_OK);
		ck_assert_int_eq(ask(STORE_ACQUIRE, 'b'), STORE_REFUSED);
		ck_assert_int_eq(redis_server_ask_integer(&server, "EXISTS k {k}:fence"), 0);
	}
END_TEST

START_TEST(a_key_of_another_kind_is_refused_for_good)
	{
		const struct answer *answer;

		bench_open(&bench, server.unix_url, NULL);
		redis_server_ask(&server, "LPUSH k x");
		answer = bench_do(&bench, STORE_ACQUIRE, &key, 'a');
		ck_assert_int_eq(answer->op.status, STORE_REFUSED);
		ck_assert(answer->op.lasting);
		ck_assert_int_eq(ask(STORE_LOOK, 'a'), STORE_REFUSED);
		ck_assert_int_eq(ask(STORE_BREAK, 'a'), STORE_OK);
		ck_assert_int_eq(ask(STORE_ACQUIRE, 'a'), STORE_OK);
	}
END_TEST

START_TEST(an_answer_that_would_fill_the_memory_ends_the_connection)
	{
		const struct answer *answer;

		bench_open(&bench, server.unix_url, NULL);
		redis_server_ask(&server, "SETRANGE k 40000000 x");
		answer = bench_do(&bench, STORE_CHECK, &key, 'a');
		ck_assert_int_eq(answer->op.status, STORE_UNKNOWN);
		ck_assert_msg(strstr(answer->text, "an answer of more than") != NULL, "%s",
			      answer->text);
		/* Whoever only wants to know that somebody has it is told. */
		ck_assert_int_eq(ask(STORE_LOOK, 'a'), STORE_HELD);
		ck_assert_int_eq(ask(STORE_ACQUIRE, 'a'), STORE_HELD);
	}
END_TEST

START_TEST(a_counter_that_is_out_of_range_grants_nothing)
	{
		struct answer answer;

		bench_open(&bench, server.unix_url, NULL);
		redis_server_ask(&server, "SET {k}:fence 9007199254740992");
		answer_init(&answer, STORE_ACQUIRE, &key, 'a');
		answer.op.fenced = true;
		bench_submit(&bench, &answer);
		bench_await(&bench, &answer);
		ck_assert_int_eq(answer.op.status, STORE_REFUSED);
		ck_assert(answer.op.lasting);
		ck_assert_ptr_nonnull(strstr(answer.text, "{k}:fence"));
		ck_assert_int_eq(ask(STORE_CHECK, 'a'), STORE_GONE);
		/* What is no number at all is written over. */
		redis_server_ask(&server, "SET {k}:fence rubbish");
		answer_init(&answer, STORE_ACQUIRE, &key, 'a');
		answer.op.fenced = true;
		bench_submit(&bench, &answer);
		bench_await(&bench, &answer);
		ck_assert_int_eq(answer.op.status, STORE_OK);
		ck_assert_int_gt(answer.op.fence, 0);
		ck_assert_int_gt(redis_server_ask_integer(&server, "TTL {k}:fence"), 6 * 24 * 3600);
	}
END_TEST

START_TEST(a_replica_is_refused_and_its_promotion_is_a_change)
	{
		bench_open(&bench, server.unix_url, NULL);
		ck_assert_int_eq(ask(STORE_ACQUIRE, 'a'), STORE_OK);
		redis_server_ask(&server, "REPLICAOF 127.0.0.1 1");
		ck_assert_int_eq(ask(STORE_EXTEND, 'a'), STORE_REFUSED);
		ck_assert_int_eq(ask(STORE_ACQUIRE, 'a'), STORE_REFUSED);
		redis_server_ask(&server, "REPLICAOF NO ONE");
		bench_await_count(&bench, &bench.n_changed, 1);
		bench_await_count(&bench, &bench.n_up, 1);
		ck_assert_int_eq(ask(STORE_EXTEND, 'a'), STORE_OK);
	}
END_TEST

/* ------------------------------------------------------------------ who we are */

static char password_path[64];

static void write_password(const char *text)
{
	FILE *file = fopen(password_path, "w");

	ck_assert_ptr_nonnull(file);
	fputs(text, file);
	fclose(file);
}

static unsigned n_ready;

static void note_ready(struct store_watch *watch)
{
	(void)watch;
	n_ready++;
}

static void with_file(struct store_settings *settings)
{
	settings->password_file = xstrdup(password_path);
}

static void with_user(struct store_settings *settings)
{
	with_file(settings);
	settings->username = xstrdup("locker");
}

#define PASSWORD "p@ss:w/o%20 #?rd"
#define PASSWORD_IN_URL "p%40ss%3Aw%2Fo%2520%20%23%3Frd"

static void setup_password(void)
{
	setup();
	redis_server_start(&server, true, (const char *[]){"--requirepass", PASSWORD, NULL});
	ck_assert_str_eq(redis_server_ask(&server, "AUTH %s", PASSWORD), "OK");
	snprintf(password_path, sizeof(password_path), "%s/password", server.dir);
}

START_TEST(a_password_may_have_any_character)
	{
		char url[128];

		snprintf(url, sizeof(url), "redis://:%s@127.0.0.1:%d/3", PASSWORD_IN_URL,
			 server.port);
		bench_open(&bench, url, NULL);
		ck_assert_ptr_null(strstr(bench.store->name, "rd@"));
		ck_assert_int_eq(ask(STORE_ACQUIRE, 'a'), STORE_OK);
		ck_assert_str_eq(redis_server_ask(&server, "SELECT 3"), "OK");
		ck_assert_int_eq(redis_server_ask_integer(&server, "EXISTS k"), 1);
		bench_close(&bench);
		/* With the name of the user that there always is, and one line end in a file. */
		snprintf(url, sizeof(url), "redis://default:%s@127.0.0.1:%d/2", PASSWORD_IN_URL,
			 server.port);
		bench_open(&bench, url, NULL);
		ck_assert_int_eq(ask(STORE_ACQUIRE, 'a'), STORE_OK);
		bench_close(&bench);
		write_password(PASSWORD "\n");
		bench_open(&bench, server.unix_url, with_file);
		ck_assert_int_eq(ask(STORE_ACQUIRE, 'a'), STORE_OK);
	}
END_TEST

enum { SECRET_LEN = 24 };

/* A letter of a password that nothing in this process may contain but in passing. */
static char secret_letter(int i)
{
	return (char)('a' + (i * i + 5 * i + 3) % 26);
}

/* In a process of its own: what it has in its memory does not count. */
static void write_secret(const char *path, const char *before)
{
	pid_t child = fork();
	int status;

	ck_assert_int_ge(child, 0);
	if (child == 0) {
		FILE *file = fopen(path, "w");

		if (!file)
			_exit(1);
		fputs(before, file);
		for (int i = 0; i < SECRET_LEN; i++)
			fputc(secret_letter(i), file);
		fputc('\n', file);
		_exit(fclose(file) != 0);
	}
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert_int_eq(status, 0);
}

static bool is_secret(const char *at)
{
	int i = 0;

	while (i < SECRET_LEN && at[i] == secret_letter(i))
		i++;
	return i == SECRET_LEN;
}

/* How often the password stands in all memory that can be written. */
static unsigned count_secrets(void)
{
	FILE *maps = fopen("/proc/self/maps", "r");
	char line[512];
	unsigned n = 0;

	ck_assert_ptr_nonnull(maps);
	while (fgets(line, sizeof(line), maps)) {
		unsigned long start, end;
		char rights[8];

		ck_assert_int_eq(sscanf(line, "%lx-%lx %7s", &start, &end, rights), 3);
		if (strncmp(rights, "rw", 2) != 0 || strstr(line, "[v"))
			continue;
		for (const char *at = (const char *)start; at + SECRET_LEN <= (const char *)end;
		     at++) {
			if (*at == secret_letter(0) && is_secret(at))
				n++;
		}
	}
	fclose(maps);
	return n;
}

static void start_with_secret(void)
{
	char conf[96];

	/* Where it is before it is started its folder is not yet. */
	redis_server_start(&server, false, NULL);
	snprintf(password_path, sizeof(password_path), "%s/password", server.dir);
	snprintf(conf, sizeof(conf), "%s/secret.conf", server.dir);
	write_secret(password_path, "");
	write_secret(conf, "requirepass ");
	server.args[0] = strdup("--include");
	server.args[1] = strdup(conf);
	redis_server_restart(&server);
}

START_TEST(a_password_out_of_a_file_is_in_no_memory_once_it_was_said)
	{
		struct store_watch watch = {.key = &key, .ready = note_ready};
		static char copy[SECRET_LEN];
		int fd;

#ifdef __SANITIZE_ADDRESS__
		return; /* it keeps what was freed, and has more memory than can be read */
#endif
		start_with_secret();
		bench_open(&bench, server.unix_url, with_file);
		store_watch(bench.store, &watch);
		ck_assert_int_eq(ask(STORE_ACQUIRE, 'a'), STORE_OK);
		bench_await_count(&bench, &n_ready, 1);
		ck_assert_uint_eq(count_secrets(), 0);
		store_unwatch(bench.store, &watch);
		/* It would have been found. */
		fd = open(password_path, O_RDONLY | O_CLOEXEC);
		ck_assert_int_eq(read(fd, copy, SECRET_LEN), SECRET_LEN);
		close(fd);
		ck_assert_uint_eq(count_secrets(), 1);
	}
END_TEST

START_TEST(a_wrong_password_is_refused_for_good_until_it_is_changed)
	{
		const struct answer *answer;

		bench_open(&bench, server.unix_url, NULL);
		answer = bench_do(&bench, STORE_ACQUIRE, &key, 'a');
		ck_assert_int_eq(answer->op.status, STORE_REFUSED);
		ck_assert(answer->op.lasting);
		ck_assert_ptr_nonnull(strstr(answer->text, "NOAUTH"));
		bench_close(&bench);
		bench_open(&bench, server.unix_url, with_file);
		answer = bench_do(&bench, STORE_ACQUIRE, &key, 'a');
		ck_assert_int_eq(answer->op.status, STORE_REFUSED);
		ck_assert(answer->op.lasting);
		ck_assert_ptr_nonnull(strstr(answer->text, "No such file"));
		bench_close(&bench);
		write_password("wrong");
		bench_open(&bench, server.unix_url, with_file);
		answer = bench_do(&bench, STORE_ACQUIRE, &key, 'a');
		ck_assert_int_eq(answer->op.status, STORE_REFUSED);
		ck_assert(answer->op.lasting);
		ck_assert_ptr_nonnull(strstr(answer->text, "WRONGPASS"));
		ck_assert_ptr_null(strstr(answer->text, "wrong"));
		write_password(PASSWORD "\r\n");
		bench_await_count(&bench, &bench.n_up, 1);
		ck_assert_int_eq(ask(STORE_ACQUIRE, 'a'), STORE_OK);
	}
END_TEST

START_TEST(a_user_of_few_rights_has_what_script_c_lists)
	{
		const struct answer *answer;
		struct answer fenced;

		redis_server_ask(&server,
				 "ACL SETUSER locker on >secret ~k ~{k}:* &{k}:* +auth +select "
				 "+client|setname +client|id +client|kill +info +script|load "
				 "+evalsha +eval +get +set +del +pttl +pexpire +time +publish "
				 "+pubsub|numsub +subscribe +unsubscribe +ping");
		write_password("secret");
		bench_open(&bench, server.unix_url, with_user);
		answer_init(&fenced, STORE_ACQUIRE, &key, 'a');
		fenced.op.fenced = true;
		fenced.op.announce = "text";
		bench_submit(&bench, &fenced);
		bench_await(&bench, &fenced);
		ck_assert_msg(fenced.op.status == STORE_OK, "%s", fenced.text);
		ck_assert_str_eq(bench_do(&bench, STORE_LOOK, &key, 'a')->holder, "text");
		ck_assert_int_eq(bench_do(&bench, STORE_REPLACE, &key, 'a')->op.contenders, 0);
		ck_assert_int_eq(bench_do(&bench, STORE_EXTEND, &key, 'b')->op.contenders, 0);
		ck_assert_int_eq(ask(STORE_CHECK, 'b'), STORE_OK);
		ck_assert_int_eq(ask(STORE_RELEASE, 'b'), STORE_OK);
		ck_assert_int_eq(ask(STORE_BREAK, 'b'), STORE_GONE);
		ck_assert_uint_eq(bench.store->stats.errors, 0);
		/* Without messages it goes on, and says what it does not know. */
		redis_server_ask(&server, "ACL SETUSER locker -publish -pubsub resetchannels");
		bench_await_count(&bench, &bench.n_up, 0);
		ck_assert_int_eq(ask(STORE_ACQUIRE, 'a'), STORE_OK);
		answer = bench_do(&bench, STORE_REPLACE, &key, 'a');
		ck_assert_int_eq(answer->op.status, STORE_OK);
		ck_assert_int_eq(answer->op.contenders, -1);
		ck_assert_int_eq(ask(STORE_RELEASE, 'b'), STORE_OK);
		/* Without a right to the lock it does not, and nothing is changed half-way. */
		redis_server_ask(&server, "ACL SETUSER locker -time");
		answer_init(&fenced, STORE_ACQUIRE, &key, 'a');
		fenced.op.fenced = true;
		bench_submit(&bench, &fenced);
		bench_await(&bench, &fenced);
		ck_assert_int_eq(fenced.op.status, STORE_REFUSED);
		ck_assert(fenced.op.lasting);
		ck_assert_int_eq(redis_server_ask_integer(&server, "EXISTS k"), 0);
		redis_server_ask(&server, "ACL SETUSER locker resetkeys");
		answer = bench_do(&bench, STORE_RELEASE, &key, 'a');
		ck_assert_int_eq(answer->op.status, STORE_REFUSED);
		ck_assert(answer->op.lasting);
		/* The connection is as good as before. */
		redis_server_ask(&server, "ACL SETUSER locker ~k ~{k}:*");
		ck_assert_int_eq(ask(STORE_RELEASE, 'a'), STORE_GONE);
	}
END_TEST

START_TEST(a_database_that_is_not_there_is_refused_for_good)
	{
		char url[128];
		const struct answer *answer;

		snprintf(url, sizeof(url), "%s?db=99", server.unix_url);
		write_password(PASSWORD);
		bench_open(&bench, url, with_file);
		answer = bench_do(&bench, STORE_ACQUIRE, &key, 'a');
		ck_assert_int_eq(answer->op.status, STORE_REFUSED);
		ck_assert(answer->op.lasting);
		ck_assert_ptr_nonnull(strstr(answer->text, "DB index"));
	}
END_TEST

int main(void)
{
	Suite *suite = suite_create("store_redis");
	TCase *absent = tcase_create("absent"), *faults = tcase_create("faults"),
	      *secrets = tcase_create("secrets"), *login = tcase_create("login");

	if (!redis_server_installed())
		return 77;
	tcase_set_timeout(absent, 60);
	tcase_add_checked_fixture(absent, setup, teardown);
	tcase_add_test(absent, what_is_not_there_is_refused_with_the_reason);
	tcase_set_timeout(faults, 60);
	tcase_add_checked_fixture(faults, setup_server, teardown);
	tcase_add_test(faults, a_host_is_found_by_its_name);
	tcase_add_test(faults, a_server_that_comes_later_is_found);
	tcase_add_test(faults, a_killed_server_comes_back_as_another);
	tcase_add_test(faults,
		       a_command_in_flight_when_the_server_dies_is_unknown_and_settled_by_the_next);
	tcase_add_loop_test(
		faults, what_lay_in_a_stopped_server_does_not_come_after_what_was_settled, 0, 2);
	tcase_add_test(faults, connections_that_an_administrator_ends_are_made_anew);
	tcase_add_test(faults, scripts_may_be_flushed_at_any_time);
	tcase_add_test(faults, a_full_server_refuses_grants_and_takes_releases);
	tcase_add_test(faults, a_key_of_another_kind_is_refused_for_good);
	tcase_add_test(faults, an_answer_that_would_fill_the_memory_ends_the_connection);
	tcase_add_test(faults, a_counter_that_is_out_of_range_grants_nothing);
	tcase_add_test(faults, a_replica_is_refused_and_its_promotion_is_a_change);
	tcase_set_timeout(secrets, 60);
	tcase_add_checked_fixture(secrets, setup, teardown);
	tcase_add_test(secrets, a_password_out_of_a_file_is_in_no_memory_once_it_was_said);
	suite_add_tcase(suite, secrets);
	tcase_set_timeout(login, 60);
	tcase_add_checked_fixture(login, setup_password, teardown);
	tcase_add_test(login, a_password_may_have_any_character);
	tcase_add_test(login, a_wrong_password_is_refused_for_good_until_it_is_changed);
	tcase_add_test(login, a_user_of_few_rights_has_what_script_c_lists);
	tcase_add_test(login, a_database_that_is_not_there_is_refused_for_good);
	suite_add_tcase(suite, absent);
	suite_add_tcase(suite, faults);
	suite_add_tcase(suite, login);
	return suite_run(suite);
}
