/* SPDX-License-Identifier: MIT */
/* What the daemon says of its Redis, and that it never says the password. */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "harness.h"
#include "redis_server.h"
#include "suite.h"

#define MARK "MARKEDsecret"

static struct redis_server redis;

/* The text of a file, or of what a command prints; to be freed. */
static char *read_all(FILE *file)
{
	char *text = calloc(1, 1 << 20);

	ck_assert_ptr_nonnull(file);
	ck_assert_uint_lt(fread(text, 1, (1 << 20) - 1, file), (1 << 20) - 1);
	return text;
}

static int count_of(const char *text, const char *part)
{
	int n = 0;

	while ((text = strstr(text, part))) {
		text += strlen(part);
		n++;
	}
	return n;
}

/* Neither the log, nor the configuration that is shown, nor the process's title has it. */
static void expect_no_mark(struct daemon *daemon)
{
	const char *program = getenv("REDMUTEXD");
	char command[512];
	FILE *file = fopen(daemon->log_path, "r");
	char *text = read_all(file);

	fclose(file);
	ck_assert_msg(strstr(text, MARK) == NULL, "%s", text);
	free(text);
	snprintf(command, sizeof(command),
		 "%s --dump-config -c %s 2>&1; tr '\\0' ' ' </proc/%d/cmdline",
		 program ? program : "daemon/redmutexd", daemon->conf_path, (int)daemon->pid);
	file = popen(command, "r");
	text = read_all(file);
	pclose(file);
	ck_assert_ptr_nonnull(strstr(text, "[mutex a]"));
	ck_assert_msg(strstr(text, MARK) == NULL, "%s", text);
	free(text);
}

/* The same for what clients are told. */
static void expect_no_mark_in_answers(struct daemon *daemon)
{
	static const char *const lines[] = {"ACQUIRE a", "EXISTS a", "INFO a",
					    "BREAK a",	 "LIST",     "STATS"};
	struct client *client = client_connect(daemon);

	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		const char *line;

		say(client, "%s", lines[i]);
		do {
			line = hear(client);
			ck_assert_msg(strstr(line, MARK) == NULL, "%s", line);
		} while (strncmp(line, "ITEM", 4) == 0);
	}
	client_close(client);
}

static void expect_secret(const char *url, const char *more, const char *log_text)
{
	char sections[512];
	struct daemon *daemon;

	snprintf(sections, sizeof(sections),
		 "[defaults]\nurl = %s\ncommand_timeout_ms = 300\nconnect_timeout_ms = 300\n%s"
		 "[mutex a]\nkey = a\n",
		 url, more);
	daemon = daemon_spawn("log_level = debug", sections);
	expect_no_mark_in_answers(daemon);
	if (log_text)
		daemon_expect_log(daemon, log_text);
	expect_no_mark(daemon);
	ck_assert_int_eq(daemon_stop(daemon), 0);
}

static void write_password(char *path, size_t size, const char *text)
{
	FILE *file;

	snprintf(path, size, "%s/password", redis.dir);
	file = fopen(path, "w");
	ck_assert_ptr_nonnull(file);
	fputs(text, file);
	fclose(file);
}

START_TEST(a_password_is_never_shown_however_it_fails)
	{
		char url[160], more[160], path[96];

		redis_server_start(&redis, true,
				   (const char *[]){"--requirepass", "right" MARK, NULL});
		/* Right, wrong, and too much for the server; in the url and in a file. */
		snprintf(url, sizeof(url), "redis://:right" MARK "@127.0.0.1:%d", redis.port);
		expect_secret(url, "", NULL);
		snprintf(url, sizeof(url), "redis://:wrong" MARK "@127.0.0.1:%d", redis.port);
		expect_secret(url, "", "WRONGPASS");
		snprintf(url, sizeof(url), "redis://nobody:wrong" MARK "@127.0.0.1:%d", redis.port);
		expect_secret(url, "", "WRONGPASS");
		snprintf(url, sizeof(url), "redis://:right" MARK "@127.0.0.1:%d/9999", redis.port);
		expect_secret(url, "", "out of range");
		write_password(path, sizeof(path), "wrong" MARK "\n");
		snprintf(more, sizeof(more), "password_file = %s\n", path);
		expect_secret(redis.unix_url, more, "WRONGPASS");
		write_password(path, sizeof(path), "right" MARK "\n");
		expect_secret(redis.unix_url, more, NULL);
		/* Nobody is there. */
		redis_server_kill(&redis);
		snprintf(url, sizeof(url), "redis://:right" MARK "@127.0.0.1:%d", redis.port);
		expect_secret(url, "", "Connection refused");
		expect_secret("redis://:right" MARK "@no-such-host.invalid", "",
			      "no-such-host.invalid");
		redis_server_stop(&redis);
	}
END_TEST

START_TEST(a_server_that_repeats_what_it_does_not_know_shows_no_password)
	{
		char url[160];

		redis_server_start(&redis, true,
				   (const char *[]){"--rename-command", "AUTH", "", NULL});
		snprintf(url, sizeof(url), "redis://locker:" MARK "@127.0.0.1:%d", redis.port);
		expect_secret(url, "", "unknown command");
		redis_server_stop(&redis);
	}
END_TEST

START_TEST(a_server_that_may_drop_locks_is_warned_of)
	{
		char sections[200];
		struct daemon *daemon;

		redis_server_start(&redis, false,
				   (const char *[]){"--maxmemory", "100mb", "--maxmemory-policy",
						    "allkeys-lru", NULL});
		snprintf(sections, sizeof(sections), "[defaults]\nurl = %s\n[mutex a]\nkey = a\n",
			 redis.unix_url);
		daemon = daemon_spawn("", sections);
		daemon_expect_log(daemon, "with maxmemory-policy allkeys-lru it may drop locks");
		ck_assert_int_eq(daemon_stop(daemon), 0);
		redis_server_stop(&redis);
	}
END_TEST

static struct daemon *daemon_at_redis(void)
{
	char sections[200];

	snprintf(sections, sizeof(sections), "[defaults]\nurl = %s\n[mutex a]\nkey = a\n",
		 redis.unix_url);
	return daemon_spawn("", sections);
}

static const struct {
	const char *args[5];
	const char *level, *text; /* NULL: nothing is said of it */
} disks[] = {
	{{NULL}, "warning", "it keeps nothing on disk"},
	{{"--save", "3600 1"}, "info", "it keeps no more than snapshots on disk"},
	{{"--appendonly", "yes"}, NULL, NULL},
	/* Who may not ask is not told what he does not know. */
	{{"--rename-command", "CONFIG", ""}, "info", "it keeps no more than snapshots on disk"},
};

START_TEST(a_server_that_forgets_when_it_restarts_is_warned_of)
	{
		struct daemon *daemon;
		struct client *client;
		char expected[80];
		FILE *file;
		char *text;

		redis_server_start(&redis, false, disks[_i].args);
		daemon = daemon_at_redis();
		client = client_connect(daemon);
		free(acquire(client, "a"));
		client_close(client);
		if (disks[_i].text) {
			snprintf(expected, sizeof(expected), "%s: %s: %s", disks[_i].level,
				 redis.unix_url, disks[_i].text);
			daemon_expect_log(daemon, expected);
		}
		file = fopen(daemon->log_path, "r");
		text = read_all(file);
		fclose(file);
		/* Once, though there are several connections. */
		ck_assert_int_eq(count_of(text, "on disk"), disks[_i].text != NULL);
		free(text);
		ck_assert_int_eq(daemon_stop(daemon), 0);
		redis_server_stop(&redis);
	}
END_TEST

START_TEST(a_key_that_stands_for_ever_is_told_once)
	{
		struct daemon *daemon;
		struct client *client;
		FILE *file;
		char *text;

		redis_server_start(&redis, false, NULL);
		redis_server_ask(&redis, "SET a forever");
		daemon = daemon_at_redis();
		client = client_connect(daemon);
		for (int i = 0; i < 3; i++) {
			say(client, "ACQUIRE a");
			expect(client, "ERR already_locked*");
		}
		daemon_expect_log(daemon, "what stands at the key a has no expiry");
		redis_server_ask(&redis, "PEXPIRE a 1");
		say(client, "ACQUIRE a wait=5000");
		expect(client, "OK *");
		file = fopen(daemon->log_path, "r");
		text = read_all(file);
		fclose(file);
		ck_assert_int_eq(count_of(text, "has no expiry"), 1);
		free(text);
		client_close(client);
		ck_assert_int_eq(daemon_stop(daemon), 0);
		redis_server_stop(&redis);
	}
END_TEST

START_TEST(a_sentinel_that_is_not_there_is_told_once)
	{
		struct daemon *daemon =
			daemon_spawn("", "[defaults]\nurl = redis-sentinel://127.0.0.1:1/m\n"
					 "connect_timeout_ms = 300\ncommand_timeout_ms = 300\n"
					 "[mutex a]\nkey = a\n");
		struct client *client = client_connect(daemon);
		FILE *file;
		char *text;

		for (int i = 0; i < 3; i++) {
			say(client, "ACQUIRE a wait=300");
			expect(client, "ERR unavailable *no sentinel has named the master m*");
		}
		daemon_expect_log(daemon, "sentinel 127.0.0.1:1: Connection refused");
		file = fopen(daemon->log_path, "r");
		text = read_all(file);
		fclose(file);
		ck_assert_int_eq(count_of(text, "sentinel 127.0.0.1:1: Conn"), 1);
		free(text);
		client_close(client);
		ck_assert_int_eq(daemon_stop(daemon), 0);
	}
END_TEST

START_TEST(a_replica_is_not_used_and_said_to_be_one)
	{
		char sections[200];
		struct daemon *daemon;

		redis_server_start(&redis, true,
				   (const char *[]){"--replicaof", "127.0.0.1", "1", NULL});
		snprintf(sections, sizeof(sections), "[defaults]\nurl = %s\n[mutex a]\nkey = a\n",
			 redis.unix_url);
		daemon = daemon_spawn("", sections);
		daemon_expect_log(daemon, "it is a replica, not a master");
		ck_assert_int_eq(daemon_stop(daemon), 0);
		redis_server_stop(&redis);
	}
END_TEST

int main(void)
{
	Suite *suite = suite_create("serve_secrets");
	TCase *tcase = tcase_create("secrets");

	if (!redis_server_installed())
		return 77;
	tcase_set_timeout(tcase, 60);
	tcase_add_test(tcase, a_password_is_never_shown_however_it_fails);
	tcase_add_test(tcase, a_server_that_repeats_what_it_does_not_know_shows_no_password);
	tcase_add_test(tcase, a_server_that_may_drop_locks_is_warned_of);
	tcase_add_loop_test(tcase, a_server_that_forgets_when_it_restarts_is_warned_of, 0,
			    sizeof(disks) / sizeof(disks[0]));
	tcase_add_test(tcase, a_key_that_stands_for_ever_is_told_once);
	tcase_add_test(tcase, a_sentinel_that_is_not_there_is_told_once);
	tcase_add_test(tcase, a_replica_is_not_used_and_said_to_be_one);
	suite_add_tcase(suite, tcase);
	return suite_run(suite);
}
