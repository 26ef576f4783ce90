/* SPDX-License-Identifier: MIT */
/*
 * Programs that know nothing of us use the same key: what RedMutex does, by redis-cli, and the
 * Lock of Python's redis module. Each must exclude the daemon, and be excluded by it.
 */
#include "config.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "harness.h"
#include "redis_server.h"
#include "suite.h"

static struct redis_server redis;
static struct daemon *daemon_;
static struct client *c;

/* RedMutex's way to release: compare and delete. */
#define COMPARE_AND_DELETE                                                                         \
	"EVAL \"if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) "  \
	"else return 0 end\" 1 shop "

static void setup(void)
{
	char sections[300];

	redis_server_start(&redis, false, NULL);
	snprintf(sections, sizeof(sections),
		 "[defaults]\nurl = %s\n[mutex shop]\nkey = shop\n"
		 "[mutex plain]\nkey = plain\nfence = no\n",
		 redis.unix_url);
	daemon_ = daemon_spawn("", sections);
	c = client_connect(daemon_);
	setenv("S", redis.path, 1);
}

static void teardown(void)
{
	client_close(c);
	ck_assert_int_eq(daemon_stop(daemon_), 0);
	redis_server_stop(&redis);
}

/* Runs a shell command. Return: what it printed, without the last newline; freed by the next. */
static const char *output_of(const char *format, ...) __attribute__((format(printf, 1, 2)));

static const char *output_of(const char *format, ...)
{
	static char text[1024];
	char *command;
	va_list args;
	FILE *pipe;
	size_t len;

	va_start(args, format);
	ck_assert_int_ge(vasprintf(&command, format, args), 0);
	va_end(args);
	pipe = popen(command, "re");
	ck_assert_ptr_nonnull(pipe);
	len = fread(text, 1, sizeof(text) - 1, pipe);
	ck_assert_msg(pclose(pipe) == 0, "failed: %s", command);
	free(command);
	if (len > 0 && text[len - 1] == '\n')
		len--;
	text[len] = '\0';
	return text;
}

#define CLI "redis-cli -s \"$S\" "

START_TEST(what_stands_in_redis_is_what_redmutex_puts_there)
	{
		static const char *const names[] = {"shop", "plain"};
		const char *name = names[_i];
		char *lock = acquire(c, "%s ttl=50000", name);
		int left_ms;

		ck_assert_str_eq(output_of(CLI "TYPE %s", name), "string");
		ck_assert_str_eq(output_of(CLI "GET %s", name), lock);
		ck_assert_uint_eq(strlen(lock), 44);
		left_ms = atoi(output_of(CLI "PTTL %s", name));
		ck_assert(left_ms > 40000 && left_ms <= 50000);
		free(lock);
	}
END_TEST

START_TEST(redis_cli_is_excluded_and_excludes)
	{
		char *lock = acquire(c, "shop");

		ck_assert_str_eq(output_of(CLI "SET shop mine NX EX 60"), "");
		ck_assert_str_eq(output_of(CLI COMPARE_AND_DELETE "mine"), "0");
		ck_assert_str_eq(output_of(CLI "GET shop"), lock);
		say(c, "RELEASE shop %s", lock);
		expect(c, "OK");
		ck_assert_str_eq(output_of(CLI "SET shop mine NX EX 60"), "OK");
		say(c, "ACQUIRE shop");
		expect(c, "ERR already_locked *");
		say(c, "EXISTS shop");
		expect(c, "OK true");
		say(c, "RELEASE shop %s", lock);
		expect(c, "ERR unlock_fail *");
		say(c, "RELEASE shop mine");
		expect(c, "ERR unlock_fail *");
		ck_assert_str_eq(output_of(CLI "GET shop"), "mine");
		say(c, "@w ACQUIRE shop wait=10000");
		ck_assert_str_eq(output_of(CLI COMPARE_AND_DELETE "mine"), "1");
		expect(c, "@w OK *");
		free(lock);
	}
END_TEST

START_TEST(who_knows_the_string_may_release_it_from_outside)
	{
		char *lock = acquire(c, "shop ttl=900");

		ck_assert_str_eq(output_of(CLI COMPARE_AND_DELETE "%s", lock), "1");
		expect(c, "EVENT LOST shop * replaced");
		free(lock);
	}
END_TEST

/* ------------------------------------------------------------------ python3-redis */

/* A python3 that has the module, or NULL. */
static const char *python(void)
{
	static const char *const candidates[] = {"python3", "/usr/bin/python3"};
	char command[80];

	for (size_t i = 0; i < sizeof(candidates) / sizeof(candidates[0]); i++) {
		snprintf(command, sizeof(command), "%s -c 'import redis' 2>/dev/null",
			 candidates[i]);
		if (system(command) == 0)
			return candidates[i];
	}
	return NULL;
}

/* Each script begins with a Lock for the key, whose token is always the same. */
static FILE *python_start(const char *script)
{
	char command[1024];
	FILE *pipe;

	snprintf(command, sizeof(command),
		 "%s -c 'import os, redis\n"
		 "lock = redis.Redis(unix_socket_path=os.environ[\"S\"]).lock(\"shop\", "
		 "timeout=60)\n"
		 "%s'",
		 python(), script);
	pipe = popen(command, "re");
	ck_assert_ptr_nonnull(pipe);
	return pipe;
}

static void python_run(const char *script)
{
	ck_assert_msg(pclose(python_start(script)) == 0, "failed: %s", script);
}

START_TEST(the_lock_of_python_is_excluded)
	{
		char *lock = acquire(c, "shop");
		char line[16];
		FILE *waiting;

		python_run("assert not lock.acquire(blocking=False)\n"
			   "assert lock.locked()\n");
		ck_assert_str_eq(redis_server_ask(&redis, "GET shop"), lock);
		/* It waits, by looking, and gets it when we let go. */
		waiting = python_start("print(\"waiting\", flush=True)\n"
				       "assert lock.acquire(blocking_timeout=10)\n"
				       "lock.release()\n");
		ck_assert_ptr_nonnull(fgets(line, sizeof(line), waiting));
		say(c, "RELEASE shop %s", lock);
		expect(c, "OK");
		ck_assert_int_eq(pclose(waiting), 0);
		free(lock);
		free(acquire(c, "shop"));
	}
END_TEST

START_TEST(the_lock_of_python_excludes)
	{
		python_run("assert lock.acquire(blocking=False, token=\"snake\")\n");
		say(c, "ACQUIRE shop");
		expect(c, "ERR already_locked *");
		say(c, "INFO shop");
		expect(c, "OK locked=true holder=elsewhere *");
		say(c, "RELEASE shop snake");
		expect(c, "ERR unlock_fail *");
		say(c, "@w ACQUIRE shop wait=10000");
		python_run("lock.local.token = b\"snake\"\n"
			   "assert lock.owned()\n"
			   "lock.extend(30)\n"
			   "lock.release()\n");
		expect(c, "@w OK *");
		python_run("assert not lock.acquire(blocking=False)\n");
	}
END_TEST

START_TEST(the_lock_of_python_notices_that_it_was_broken)
	{
		python_run("assert lock.acquire(blocking=False, token=\"snake\")\n");
		say(c, "BREAK shop");
		expect(c, "OK");
		free(acquire(c, "shop"));
		python_run("lock.local.token = b\"snake\"\n"
			   "try:\n"
			   "    lock.release()\n"
			   "    raise SystemExit(1)\n"
			   "except redis.exceptions.LockNotOwnedError:\n"
			   "    pass\n");
		say(c, "EXISTS shop");
		expect(c, "OK true");
	}
END_TEST

static Suite *others_suite(void)
{
	Suite *suite = suite_create("serve_others");
	TCase *cli = tcase_create("redis-cli"), *snake;

	tcase_set_timeout(cli, 20);
	tcase_add_checked_fixture(cli, setup, teardown);
	tcase_add_loop_test(cli, what_stands_in_redis_is_what_redmutex_puts_there, 0, 2);
	tcase_add_test(cli, redis_cli_is_excluded_and_excludes);
	tcase_add_test(cli, who_knows_the_string_may_release_it_from_outside);
	suite_add_tcase(suite, cli);

	if (!python()) {
		fputs("not tried, there is no python3 with the module redis\n", stderr);
		return suite;
	}
	snake = tcase_create("python3-redis");
	tcase_set_timeout(snake, 20);
	tcase_add_checked_fixture(snake, setup, teardown);
	tcase_add_test(snake, the_lock_of_python_is_excluded);
	tcase_add_test(snake, the_lock_of_python_excludes);
	tcase_add_test(snake, the_lock_of_python_notices_that_it_was_broken);
	suite_add_tcase(suite, snake);
	return suite;
}

int main(void)
{
	if (!redis_server_installed() || system("redis-cli --version >/dev/null 2>&1") != 0) {
		fputs("there is no redis-server or no redis-cli to run\n", stderr);
		return 77;
	}
	return suite_run(others_suite());
}
