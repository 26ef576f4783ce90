/* SPDX-License-Identifier: MIT */
/* Daemons that are killed, and what the next one makes of what they held in a Redis. */
#include "config.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness.h"
#include "redis_server.h"
#include "suite.h"

static struct redis_server server;
static char sections[1024];

static void setup(void)
{
	redis_server_start(&server, false, NULL);
	snprintf(sections, sizeof(sections),
		 "[defaults]\nurl = %s\nexpiration_in_seconds = 60\n"
		 "[mutex a]\nkey = a\n[mutex b]\nkey = b\n"
		 "[mutex local]\nkey = l\nhandoff = local\n"
		 "[mutex memory]\nurl = local:\nkey = m\n[mutex fam-*]\nfence = no\n",
		 server.unix_url);
}

static void teardown(void)
{
	redis_server_stop(&server);
}

/* How many locks stand in the Redis: all keys but the counters of fences. */
static unsigned n_keys(void)
{
	const char *keys = redis_server_ask(&server, "KEYS *");
	unsigned n = 0;

	for (size_t len; *keys; keys += len + (keys[len] == ' ')) {
		len = strcspn(keys, " ");
		n += len < 6 || memcmp(keys + len - 6, ":fence", 6) != 0;
	}
	return n;
}

static void expect_no_keys_by(long long until_ms)
{
	while (n_keys() > 0) {
		ck_assert_msg(now_ms() < until_ms, "%u keys are left", n_keys());
		usleep(5000);
	}
}

/* A child that does nothing until it is killed. */
static pid_t sleeper_start(void)
{
	pid_t pid = fork();

	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (;;)
			pause();
	}
	return pid;
}

static void sleeper_kill(pid_t pid)
{
	kill(pid, SIGKILL);
	ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
}

static void crash(struct daemon *daemon)
{
	daemon_kill(daemon);
	daemon_start(daemon);
}

/* ------------------------------------------------------------------ what is held */

/* Of each store and each way of handing on. */
static const char *const mutexes[] = {"a", "local", "memory"};
enum { N_MUTEXES = sizeof(mutexes) / sizeof(mutexes[0]) };

START_TEST(a_lock_that_nobody_owns_survives_under_its_string)
	{
		const char *name = mutexes[_i];
		struct daemon *daemon = daemon_spawn("", sections);
		struct client *c = client_connect(daemon);
		char *lock = acquire(c, "%s owner=none note=mine", name);

		client_close(c);
		crash(daemon);
		c = client_connect(daemon);
		say(c, "ACQUIRE %s", name);
		expect(c, "ERR already_locked*");
		say(c, "EXISTS %s", name);
		expect(c, "OK true");
		say(c, "INFO %s", name);
		expect(c, "OK locked=true holder=here * note=mine * owner=none*");
		crash(daemon); /* once more, from what the first start has noted */
		client_close(c);
		c = client_connect(daemon);
		say(c, "EXTEND %s %s ttl=30000", name, lock);
		expect(c, "OK ttl=29*");
		say(c, "RELEASE %s %s", name, lock);
		expect(c, "OK");
		say(c, "ACQUIRE %s", name);
		expect(c, "OK *");
		say(c, "QUIT");
		expect(c, "OK");
		expect_no_keys_by(now_ms() + 1000);
		client_close(c);
		free(lock);
		ck_assert_int_eq(daemon_stop(daemon), 0);
	}
END_TEST

START_TEST(a_lock_of_a_process_survives_until_that_ends)
	{
		const char *name = mutexes[_i];
		struct daemon *daemon = daemon_spawn("", sections);
		struct client *c = client_connect(daemon);
		pid_t pid = sleeper_start();
		char *lock = acquire(c, "%s owner=pid:%d renew=yes ttl=3000", name, (int)pid);
		long long began;

		client_close(c);
		crash(daemon);
		c = client_connect(daemon);
		say(c, "ACQUIRE %s", name);
		expect(c, "ERR already_locked*");
		say(c, "EXTEND %s %s ttl=3000", name, lock);
		expect(c, "OK ttl=*");
		say(c, "@w ACQUIRE %s wait=forever", name);
		say(c, "@p PING");
		expect(c, "@p OK");
		began = now_ms();
		sleeper_kill(pid);
		expect(c, "@w OK *");
		ck_assert_int_le(now_ms() - began, 200);
		client_close(c);
		free(lock);
		ck_assert_int_eq(daemon_stop(daemon), 0);
	}
END_TEST

START_TEST(a_lock_of_a_process_that_ended_meanwhile_is_released_at_once)
	{
		const char *name = mutexes[_i];
		struct daemon *daemon = daemon_spawn("", sections);
		struct client *c = client_connect(daemon);
		pid_t pid = sleeper_start();
		long long began;

		free(acquire(c, "%s owner=pid:%d", name, (int)pid));
		client_close(c);
		daemon_kill(daemon);
		sleeper_kill(pid);
		daemon_start(daemon);
		began = now_ms();
		c = client_connect(daemon);
		say(c, "ACQUIRE %s wait=forever", name);
		expect(c, "OK *");
		ck_assert_int_le(now_ms() - began, 500);
		client_close(c);
		ck_assert_int_eq(daemon_stop(daemon), 0);
	}
END_TEST

START_TEST(a_lock_of_a_connection_stands_for_a_second)
	{
		const char *name = mutexes[_i];
		struct daemon *daemon = daemon_spawn("", sections);
		struct client *c = client_connect(daemon);
		long long killed;

		free(acquire(c, "%s", name));
		killed = now_ms();
		crash(daemon);
		client_close(c);
		c = client_connect(daemon);
		say(c, "ACQUIRE %s", name);
		expect(c, "ERR already_locked*");
		say(c, "ACQUIRE %s wait=forever", name);
		expect(c, "OK *");
		ck_assert_int_ge(now_ms() - killed, 1000);
		ck_assert_int_le(now_ms() - killed, 2000);
		client_close(c);
		ck_assert_int_eq(daemon_stop(daemon), 0);
	}
END_TEST

START_TEST(a_stop_leaves_what_outlives_it_to_the_next_start)
	{
		const char *name = mutexes[_i];
		struct daemon *daemon = daemon_spawn("", sections);
		struct client *c = client_connect(daemon);
		char *lock = acquire(c, "%s owner=none", name);

		client_close(c);
		kill(daemon->pid, SIGTERM);
		ck_assert_int_eq(waitpid(daemon->pid, NULL, 0), daemon->pid);
		daemon_start(daemon);
		c = client_connect(daemon);
		say(c, "ACQUIRE %s", name);
		expect(c, "ERR already_locked*");
		say(c, "RELEASE %s %s", name, lock);
		expect(c, "OK");
		client_close(c);
		free(lock);
		ck_assert_int_eq(daemon_stop(daemon), 0);
	}
END_TEST

START_TEST(a_key_that_is_configured_otherwise_by_now_is_removed)
	{
		struct daemon *daemon = daemon_spawn("", sections);
		struct client *c = client_connect(daemon);
		char changed[512];

		free(acquire(c, "a"));
		free(acquire(c, "b"));
		free(acquire(c, "fam-1"));
		ck_assert_uint_eq(n_keys(), 3);
		snprintf(changed, sizeof(changed), "[defaults]\nurl = %s\n[mutex a]\nkey = other\n",
			 server.unix_url);
		daemon_write_conf(daemon, "", changed);
		crash(daemon);
		expect_no_keys_by(now_ms() + 2000);
		client_close(c);
		ck_assert_int_eq(daemon_stop(daemon), 0);
	}
END_TEST

START_TEST(what_was_on_its_way_while_the_store_was_silent_is_removed)
	{
		struct daemon *daemon = daemon_spawn("", sections);
		struct client *c = client_connect(daemon);

		say(c, "ACQUIRE a"); /* so that there is a connection */
		expect(c, "OK *");
		redis_server_pause(&server);
		say(c, "ACQUIRE b");
		usleep(50000);
		crash(daemon);
		client_close(c);
		c = client_connect(daemon);
		say(c, "PING");
		expect(c, "OK"); /* it answers meanwhile */
		redis_server_resume(&server);
		expect_no_keys_by(now_ms() + 3500);
		usleep(1500000); /* the late command has come by now */
		ck_assert_uint_eq(n_keys(), 0);
		client_close(c);
		ck_assert_int_eq(daemon_stop(daemon), 0);
	}
END_TEST

/* ------------------------------------------------------------------ the file */

START_TEST(a_second_daemon_with_the_same_file_does_not_start)
	{
		char settings[128];
		struct daemon *first = daemon_spawn("", sections), *second;
		int status;

		snprintf(settings, sizeof(settings), "state_file = %s.held", first->socket_path);
		second = daemon_spawn("", sections);
		daemon_write_conf(second, settings, sections);
		status = daemon_spawn_second(second);
		ck_assert(WIFEXITED(status) && WEXITSTATUS(status) != 0);
		daemon_expect_log(second, "is in use by another daemon");
		ck_assert_int_eq(daemon_stop(second), 0);
		ck_assert_int_eq(daemon_stop(first), 0);
	}
END_TEST

START_TEST(a_damaged_file_does_not_keep_the_daemon_from_starting)
	{
		struct daemon *daemon = daemon_spawn("", sections);
		struct client *c;
		char command[256];

		daemon_kill(daemon);
		snprintf(command, sizeof(command), "echo damaged >%s.held", daemon->socket_path);
		ck_assert_int_eq(system(command), 0);
		daemon_start(daemon);
		daemon_expect_log(daemon, "held.bad");
		c = client_connect(daemon);
		free(acquire(c, "a"));
		crash(daemon); /* and the new file is good */
		expect_no_keys_by(now_ms() + 2000);
		client_close(c);
		snprintf(command, sizeof(command), "%s.held.bad", daemon->socket_path);
		ck_assert_int_eq(unlink(command), 0);
		ck_assert_int_eq(daemon_stop(daemon), 0);
	}
END_TEST

START_TEST(without_a_file_the_daemon_serves_and_says_what_that_means)
	{
		struct daemon *daemon = daemon_spawn("state_file = /nonexistent/held", sections);
		struct client *c = client_connect(daemon);

		daemon_expect_log(daemon, "/nonexistent/held: No such file or directory");
		daemon_expect_log(daemon, "without a state file");
		free(acquire(c, "a"));
		say(c, "QUIT");
		expect(c, "OK");
		client_close(c);
		ck_assert_int_eq(daemon_stop(daemon), 0);
	}
END_TEST

/* ------------------------------------------------------------------ under load */

enum { N_LOADERS = 64, N_NAMES = 40 };

static int loader_connect(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	strcpy(address.sun_path, path);
	while (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		usleep(2000);
	return fd;
}

/*
 * Takes locks as fast as they are given, waits for others, and hangs up with all of them, again and
 * again.
 */
static void load(const char *path, unsigned seed)
{
	char text[4096];

	signal(SIGPIPE, SIG_IGN);
	for (;;) {
		int fd = loader_connect(path);
		size_t len = 0;

		for (unsigned i = 0; i < 30; i++)
			len += (size_t)snprintf(text + len, sizeof(text) - len,
						"@%u ACQUIRE %s-%u wait=%u\n", i,
						i % 3 ? "fam" : "fam-x",
						(unsigned)rand_r(&seed) % N_NAMES, i % 5 * 10);
		if (write(fd, text, len) == (ssize_t)len)
			for (unsigned i = 0; i < 5; i++)
				if (read(fd, text, sizeof(text)) <= 0)
					break;
		usleep((unsigned)rand_r(&seed) % 5000);
		close(fd);
	}
}

static pid_t loader_start(const char *path, unsigned seed)
{
	pid_t pid = fork();

	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		load(path, seed);
	}
	return pid;
}

START_TEST(however_often_it_is_killed_no_key_is_left)
	{
		const char *often = getenv("CRASH_KILLS");
		const int n = often ? atoi(often) : 8;
		struct daemon *daemon = daemon_spawn("", sections);
		long long started, slowest_ms = 0;
		pid_t pids[N_LOADERS];
		unsigned n_left = 0;

		for (int round = 0; round < n; round++) {
			for (unsigned i = 0; i < N_LOADERS; i++)
				pids[i] = loader_start(daemon->socket_path,
						       (unsigned)(round * N_LOADERS) + i);
			/* A few times in between, without a rest. */
			for (int i = 0; i < 3; i++) {
				usleep(50000 + round * 1003 % 20000);
				if (i < 2)
					crash(daemon);
			}
			daemon_kill(daemon);
			for (unsigned i = 0; i < N_LOADERS; i++)
				sleeper_kill(pids[i]);
			n_left += n_keys();
			started = now_ms();
			daemon_start(daemon);
			expect_no_keys_by(started + 2000);
			if (now_ms() - started > slowest_ms)
				slowest_ms = now_ms() - started;
		}
		printf("%d kills and twice as many in between: %u keys were left, the last was "
		       "gone after %lld ms\n",
		       n, n_left, slowest_ms);
		ck_assert_uint_gt(n_left, 0);
		ck_assert_int_eq(daemon_stop(daemon), 0);
	}
END_TEST

static Suite *crash_suite(void)
{
	Suite *suite = suite_create("serve/crash");
	TCase *tc;

#define CASE(name)                                                                                 \
	tc = tcase_create(name);                                                                   \
	tcase_add_checked_fixture(tc, setup, teardown);                                            \
	tcase_set_timeout(tc, 600);                                                                \
	suite_add_tcase(suite, tc)

	CASE("held");
	tcase_add_loop_test(tc, a_lock_that_nobody_owns_survives_under_its_string, 0, N_MUTEXES);
	tcase_add_loop_test(tc, a_lock_of_a_process_survives_until_that_ends, 0, N_MUTEXES);
	tcase_add_loop_test(tc, a_lock_of_a_process_that_ended_meanwhile_is_released_at_once, 0,
			    N_MUTEXES);
	tcase_add_loop_test(tc, a_lock_of_a_connection_stands_for_a_second, 0, N_MUTEXES);
	tcase_add_loop_test(tc, a_stop_leaves_what_outlives_it_to_the_next_start, 0, N_MUTEXES);
	tcase_add_test(tc, a_key_that_is_configured_otherwise_by_now_is_removed);
	tcase_add_test(tc, what_was_on_its_way_while_the_store_was_silent_is_removed);
	CASE("file");
	tcase_add_test(tc, a_second_daemon_with_the_same_file_does_not_start);
	tcase_add_test(tc, a_damaged_file_does_not_keep_the_daemon_from_starting);
	tcase_add_test(tc, without_a_file_the_daemon_serves_and_says_what_that_means);
	CASE("load");
	tcase_add_test(tc, however_often_it_is_killed_no_key_is_left);
	return suite;
}

int main(void)
{
	if (!redis_server_installed())
		return 77;
	return suite_run(crash_suite());
}
