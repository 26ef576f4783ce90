/* SPDX-License-Identifier: MIT */
/* The daemon on a Redis that is cut off, hangs, dies, comes back empty, or says that it can't. */
#include "config.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fake_redis.h"
#include "harness.h"
#include "proxy.h"
#include "redis_server.h"
#include "suite.h"

/*
 * Less than the default, so that tests are short; more than a busy machine takes for an answer.
 * What is promised within a time may take LATE_MS more on such a machine.
 */
enum { COMMAND_MS = 400, LATE_MS = 300 };

static struct redis_server redis;
static struct proxy proxy;
static struct daemon *daemon_;
static struct client *c, *d;

static void setup_with(const char *const *args)
{
	char sections[400];

	redis_server_start(&redis, false, args);
	proxy_start(&proxy, redis.path);
	snprintf(sections, sizeof(sections),
		 "[defaults]\nurl = %s\ncommand_timeout_ms = %d\n"
		 "[mutex a]\nkey = a\n[mutex kept]\nkey = kept\nrenew = yes\n"
		 "[mutex bare]\nkey = bare\nfence = no\n"
		 "[mutex local]\nkey = local\nhandoff = local\n",
		 proxy.url, COMMAND_MS);
	daemon_ = daemon_spawn("", sections);
	c = client_connect(daemon_);
	d = client_connect(daemon_);
}

static void setup(void)
{
	setup_with(NULL);
}

/* A server that can't be told to end a connection: what was lost with one may come late. */
static void setup_without_kill(void)
{
	static const char *const args[] = {"--rename-command", "CLIENT", "", NULL};

	setup_with(args);
}

static void teardown(void)
{
	client_close(c);
	client_close(d);
	ck_assert_int_eq(daemon_stop(daemon_), 0);
	proxy_stop(&proxy);
	redis_server_stop(&redis);
}

/* Waits until nothing stands at the key. */
static void await_free(const char *key)
{
	long long until_ms = now_ms() + HARNESS_WAIT_MS;

	while (redis_server_ask_integer(&redis, "EXISTS %s", key)) {
		ck_assert_msg(now_ms() < until_ms, "%s is left in the store", key);
		poll(NULL, 0, 5);
	}
}

/* Its reply is OK, and the lock of it given back, or it says that the store is not available. */
static void expect_lock_or_unavailable(struct client *client, const char *name)
{
	const char *line = expect(client, "*");

	if (strncmp(line, "OK ", 3) == 0) {
		say(client, "RELEASE %s %.*s", name, (int)strcspn(line + 3, " "), line + 3);
		expect(client, "OK");
	} else {
		ck_assert_ptr_eq(strstr(line, "ERR unavailable "), line);
	}
}

static long long fence_of(const char *line)
{
	const char *fence = strstr(line, " fence=");

	ck_assert_msg(fence != NULL, "no fence in \"%s\"", line);
	return atoll(fence + strlen(" fence="));
}

/* ------------------------------------------------------------------ cuts and delays */

static const enum proxy_fault cuts[] = {PROXY_CUT_BEFORE, PROXY_CUT_AFTER};
static const char *const names[] = {"a", "bare", "local"};

enum { N_CUTS = 2, N_NAMES = 3 };

START_TEST(a_try_that_is_cut_off_leaves_no_key)
	{
		const char *name = names[_i / N_CUTS];

		for (int i = 0; i < 3; i++) {
			proxy_arm(&proxy, cuts[_i % N_CUTS], name, 0);
			say(c, "ACQUIRE %s", name);
			expect_lock_or_unavailable(c, name);
			proxy_await(&proxy);
			await_free(name);
		}
	}
END_TEST

START_TEST(a_waiter_whose_command_is_cut_off_gets_the_lock)
	{
		const char *name = names[_i / N_CUTS];
		char *lock;

		proxy_arm(&proxy, cuts[_i % N_CUTS], name, 0);
		lock = acquire(c, "%s wait=3000", name);
		proxy_await(&proxy);
		say(d, "ACQUIRE %s", name);
		expect(d, "ERR already_locked *");
		say(c, "RELEASE %s %s", name, lock);
		expect(c, "OK");
		await_free(name);
		free(lock);
	}
END_TEST

START_TEST(a_hand_over_that_is_cut_off_reaches_the_next)
	{
		char *lock = acquire(c, "a");
		const char *line;

		say(d, "@w ACQUIRE a wait=3000");
		say(d, "@p PING");
		expect(d, "@p OK");
		proxy_arm(&proxy, cuts[_i], "a", 0);
		say(c, "RELEASE a %s", lock);
		expect(d, "@w OK *");
		proxy_await(&proxy);
		/* The store names the new holder. */
		ck_assert_ptr_eq(strstr(d->line, redis_server_ask(&redis, "GET a")), d->line + 6);
		ck_assert_ptr_null(strstr(d->line, lock));
		/* A RELEASE can't be taken back, whatever is said of it. */
		line = hear(c);
		ck_assert(strcmp(line, "OK") == 0 || strncmp(line, "ERR unavailable ", 16) == 0);
		say(c, "RELEASE a %s", lock);
		expect(c, "ERR unlock_fail *");
		free(lock);
	}
END_TEST

START_TEST(a_release_that_is_cut_off_happens)
	{
		char *lock = acquire(c, "a");

		proxy_arm(&proxy, cuts[_i], "a", 0);
		say(c, "RELEASE a %s", lock);
		expect(c, "*");
		ck_assert(strcmp(c->line, "OK") == 0 ||
			  strncmp(c->line, "ERR unavailable ", 16) == 0);
		proxy_await(&proxy);
		await_free("a");
		free(lock);
	}
END_TEST

START_TEST(a_renewal_that_is_cut_off_is_repeated)
	{
		char *lock = acquire(c, "kept ttl=900");

		proxy_arm(&proxy, cuts[_i], "kept", 0);
		proxy_await(&proxy);
		expect_silence(c, 1000);
		ck_assert_str_eq(redis_server_ask(&redis, "GET kept"), lock);
		free(lock);
	}
END_TEST

START_TEST(what_is_delayed_is_unavailable_in_time_and_leaves_no_key)
	{
		long long began;

		/* Not for the first time: connected, and with the scripts there. */
		free(acquire(c, "kept"));
		proxy_arm(&proxy, PROXY_DELAY, "a", 2 * COMMAND_MS);
		began = now_ms();
		say(c, "ACQUIRE a");
		expect(c, "ERR unavailable *");
		ck_assert_int_le(now_ms() - began, COMMAND_MS + LATE_MS);
		proxy_await(&proxy);
		await_free("a");
		say(c, "ACQUIRE a wait=3000");
		expect_lock_or_unavailable(c, "a");
		await_free("a");
	}
END_TEST

/* ------------------------------------------------------------------ the server's life */

START_TEST(a_waiter_keeps_its_place_until_its_wait_is_over)
	{
		long long began;

		say(c, "EXISTS a");
		expect(c, "OK false");
		redis_server_pause(&redis);
		began = now_ms();
		say(c, "@short ACQUIRE a wait=700");
		say(c, "@long ACQUIRE a wait=10000");
		expect(c, "@short ERR unavailable *");
		ck_assert_int_ge(now_ms() - began, 700);
		ck_assert_int_le(now_ms() - began, 700 + LATE_MS);
		redis_server_resume(&redis);
		expect(c, "@long OK *");
	}
END_TEST

START_TEST(holders_are_told_before_and_when_a_dead_store_costs_them_the_lock)
	{
		free(acquire(c, "a ttl=900"));
		free(acquire(d, "kept ttl=900"));
		redis_server_kill(&redis);
		expect(c, "EVENT EXPIRING a *");
		expect(c, "EVENT LOST a * expired");
		expect(d, "EVENT EXPIRING kept *");
		expect(d, "EVENT LOST kept * unavailable");
		redis_server_restart(&redis);
		say(c, "ACQUIRE a wait=3000");
		expect(c, "OK *");
	}
END_TEST

START_TEST(what_a_server_forgot_is_told_as_replaced_when_it_is_back)
	{
		char *lock = acquire(c, "a");
		long long began, fence = fence_of(c->line);

		redis_server_restart(&redis);
		began = now_ms();
		expect(c, "EVENT LOST a * replaced");
		ck_assert_int_lt(now_ms() - began, 2000);
		say(c, "RELEASE a %s", lock);
		expect(c, "ERR unlock_fail *");
		free(lock);
		free(acquire(d, "a"));
		ck_assert_int_gt(fence_of(d->line), fence);
	}
END_TEST

START_TEST(what_a_server_kept_is_held_on)
	{
		char *lock = acquire(c, "a"), *kept = acquire(d, "kept ttl=2000");

		ck_assert_str_eq(redis_server_ask(&redis, "SAVE"), "OK");
		redis_server_restart(&redis);
		expect_silence(d, 2000);
		ck_assert_str_eq(redis_server_ask(&redis, "GET kept"), kept);
		expect_silence(c, 0);
		say(c, "RELEASE a %s", lock);
		expect(c, "OK");
		await_free("a");
		say(d, "RELEASE kept %s", kept);
		expect(d, "OK");
		free(lock);
		free(kept);
	}
END_TEST

START_TEST(scripts_may_be_flushed_between_any_two_commands)
	{
		char *lock, *next;

		for (int i = 0; i < 5; i++) {
			redis_server_ask(&redis, "SCRIPT FLUSH");
			lock = acquire(c, "a");
			say(d, "@w ACQUIRE a wait=3000");
			say(d, "@p PING");
			expect(d, "@p OK");
			redis_server_ask(&redis, "SCRIPT FLUSH");
			say(c, "RELEASE a %s", lock);
			expect(c, "OK");
			expect(d, "@w OK *");
			next = strndup(d->line + 6, strcspn(d->line + 6, " "));
			redis_server_ask(&redis, "SCRIPT FLUSH");
			say(d, "EXTEND a %s", next);
			expect(d, "OK ttl=*");
			redis_server_ask(&redis, "SCRIPT FLUSH");
			say(d, "RELEASE a %s", next);
			expect(d, "OK");
			await_free("a");
			free(lock);
			free(next);
		}
		lock = acquire(c, "kept ttl=600");
		redis_server_ask(&redis, "SCRIPT FLUSH");
		expect_silence(c, 800);
		free(lock);
	}
END_TEST

START_TEST(a_daemon_that_slept_touches_nothing_of_who_holds_it_now)
	{
		char *lock = acquire(c, "a ttl=300");

		say(c, "PING");
		expect(c, "OK");
		kill(daemon_->pid, SIGSTOP);
		say(c, "PING");
		say(c, "RELEASE a %s", lock);
		await_free("a");
		redis_server_ask(&redis, "SET a foreign");
		kill(daemon_->pid, SIGCONT);
		expect(c, "EVENT LOST a * expired");
		expect(c, "OK");
		expect(c, "ERR unlock_fail *");
		/* Whatever it has to tidy up, it has told Redis by now. */
		say(c, "EXISTS a");
		expect(c, "OK true");
		ck_assert_str_eq(redis_server_ask(&redis, "GET a"), "foreign");
		redis_server_ask(&redis, "DEL a");
		free(lock);
	}
END_TEST

/* ------------------------------------------------------------------ what it says it can't do */

struct complaint {
	const char *word, *line;
	bool lasting; /* waiting is of no use */
};

static const struct complaint complaints[] = {
	{"LOADING", "-LOADING Redis is loading the dataset in memory\r\n", false},
	{"READONLY", "-READONLY You can't write against a read only replica.\r\n", false},
	{"OOM", "-OOM command not allowed when used memory > 'maxmemory'.\r\n", false},
	{"BUSY", "-BUSY Redis is busy running a script.\r\n", false},
	{"MISCONF", "-MISCONF Redis is configured to save RDB snapshots.\r\n", false},
	{"NOAUTH", "-NOAUTH Authentication required.\r\n", true},
	{"NOPERM", "-NOPERM this user has no permissions.\r\n", true},
};

enum { N_COMPLAINTS = sizeof(complaints) / sizeof(complaints[0]) };

/* A server that complains of every command for a lock as long as it is told to. */
struct complainer {
	pid_t pid;
	char url[80], path[64], dir[40];
	atomic_int complains;
	const struct complaint *complaint;
};

static struct complainer *complainer;

static const char *complain(struct fake_redis *fake, const redisReply *command)
{
	/* Done: with a fence, of a counter that was there; or one listens. */
	static const char granted[] = ":1\r\n";

	(void)fake;
	if (!fake_is(command, "EVALSHA") && !fake_is(command, "EVAL"))
		return fake_usual;
	return complainer->complains ? complainer->complaint->line : granted;
}

static void complainer_start(const struct complaint *complaint)
{
	pid_t parent = getpid(), pid;
	int ready[2];
	char byte;

	complainer = mmap(NULL, sizeof(*complainer), PROT_READ | PROT_WRITE,
			  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ck_assert_ptr_ne(complainer, MAP_FAILED);
	complainer->complaint = complaint;
	complainer->complains = 1;
	ck_assert_int_eq(pipe2(ready, O_CLOEXEC), 0);
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		struct event_base *base;
		struct fake_redis fake;

		if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != parent)
			_exit(127);
		base = event_base_new();
		fake_redis_start(&fake, base);
		fake.answer = complain;
		strcpy(complainer->url, fake.url);
		strcpy(complainer->path, fake.path);
		strcpy(complainer->dir, fake.dir);
		if (write(ready[1], "", 1) == 1)
			event_base_dispatch(base);
		_exit(1);
	}
	complainer->pid = pid;
	ck_assert_int_eq(read(ready[0], &byte, 1), 1);
	close(ready[0]);
	close(ready[1]);
}

static void complainer_stop(void)
{
	kill(complainer->pid, SIGKILL);
	ck_assert_int_eq(waitpid(complainer->pid, NULL, 0), complainer->pid);
	unlink(complainer->path);
	rmdir(complainer->dir);
	munmap(complainer, sizeof(*complainer));
}

START_TEST(a_server_that_says_it_can_not_is_unavailable_and_not_locked)
	{
		const struct complaint *complaint = &complaints[_i];
		char sections[300], pattern[64];
		struct daemon *daemon;
		struct client *client;

		complainer_start(complaint);
		snprintf(sections, sizeof(sections),
			 "[defaults]\nurl = %s\ncommand_timeout_ms = %d\n[mutex a]\nkey = a\n",
			 complainer->url, COMMAND_MS);
		daemon = daemon_spawn("", sections);
		client = client_connect(daemon);
		snprintf(pattern, sizeof(pattern), "*ERR unavailable *%s*", complaint->word);
		say(client, "ACQUIRE a");
		expect(client, pattern);
		say(client, "@w ACQUIRE a wait=20000");
		if (complaint->lasting) {
			/* At once, as waiting would not help. */
			expect(client, pattern);
		} else {
			say(client, "@s ACQUIRE a wait=200");
			expect(client, "@s ERR unavailable *");
			complainer->complains = 0;
			expect(client, "@w OK *");
		}
		client_close(client);
		ck_assert_int_eq(daemon_stop(daemon), 0);
		complainer_stop();
	}
END_TEST

/* ------------------------------------------------------------------ one store and another */

enum { AT_ONCE_MS = 100, N_AT_ONCE = 20 };

/* Locks of the second store are to be had, again and again, while the first one hangs. */
static void expect_second_store_serves(struct client *client)
{
	for (int i = 0; i < N_AT_ONCE; i++) {
		long long began = now_ms();
		char *lock = acquire(client, "well");

		say(client, "RELEASE well %s", lock);
		expect(client, "OK");
		ck_assert_int_lt(now_ms() - began, AT_ONCE_MS);
		free(lock);
	}
}

START_TEST(a_store_that_hangs_does_not_delay_another)
	{
		struct redis_server other;
		struct daemon *daemon;
		struct client *client, *e;
		char sections[300];

		redis_server_start(&other, false, NULL);
		snprintf(sections, sizeof(sections),
			 "[mutex ill]\nurl = %s\n[mutex well]\nurl = %s\n", redis.unix_url,
			 other.unix_url);
		daemon = daemon_spawn("", sections);
		client = client_connect(daemon);
		e = client_connect(daemon);
		say(client, "EXISTS ill");
		expect(client, "OK false");
		expect_second_store_serves(client);
		redis_server_pause(&redis);
		for (int i = 0; i < 100; i++)
			say(e, "@%d ACQUIRE ill wait=%d", i, i % 2 ? 0 : 10000);
		expect_second_store_serves(client);
		redis_server_resume(&redis);
		client_close(client);
		client_close(e);
		ck_assert_int_eq(daemon_stop(daemon), 0);
		redis_server_stop(&other);
	}
END_TEST

/*
 * Makes this process one whose name server never answers: a network and a resolv.conf of its own,
 * and a socket at port 53 that nobody reads. Return: false when it may not.
 */
static bool enter_a_world_without_names(void)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(53)};
	struct ifreq loopback = {.ifr_name = "lo", .ifr_flags = IFF_UP};
	static const char conf[] = "nameserver 127.0.0.1\noptions timeout:5 attempts:5\n";
	char path[] = "/tmp/redmutexd-resolv-XXXXXX";
	bool good;
	int fd;

	if (unshare(CLONE_NEWNS | CLONE_NEWNET) < 0)
		return false;
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	ck_assert_int_eq(ioctl(fd, SIOCSIFFLAGS, &loopback), 0);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	/* Both stay until the test's process ends. */
	fd = mkstemp(path);
	ck_assert_int_eq(write(fd, conf, sizeof(conf) - 1), sizeof(conf) - 1);
	close(fd);
	/* In a changed root, / is no mount, and there may be nothing to put the file over. */
	good = mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
	       mount(path, "/etc/resolv.conf", NULL, MS_BIND, NULL) == 0;
	unlink(path);
	return good;
}

START_TEST(a_name_server_that_hangs_does_not_delay_another_store)
	{
		struct daemon *daemon;
		struct client *client, *e;
		char sections[400];
		long long began;

		if (!enter_a_world_without_names()) {
			fprintf(stderr, "not tried, a world without names: %s\n", strerror(errno));
			return;
		}
		snprintf(sections, sizeof(sections),
			 "[mutex ill]\nurl = redis://nowhere.example.com\nconnect_timeout_ms = %d\n"
			 "command_timeout_ms = %d\n[mutex well]\nurl = %s\n",
			 COMMAND_MS, COMMAND_MS, redis.unix_url);
		daemon = daemon_spawn("", sections);
		client = client_connect(daemon);
		e = client_connect(daemon);
		say(e, "@w ACQUIRE ill wait=forever");
		began = now_ms();
		say(e, "@t ACQUIRE ill");
		expect_second_store_serves(client);
		expect(e, "@t ERR unavailable *");
		ck_assert_int_le(now_ms() - began, COMMAND_MS + LATE_MS);
		expect_second_store_serves(client);
		client_close(client);
		client_close(e);
		ck_assert_int_eq(daemon_stop(daemon), 0);
	}
END_TEST

static Suite *faults_suite(void)
{
	Suite *suite = suite_create("serve_faults");
	TCase *cuts_case = tcase_create("cuts and delays"), *late = tcase_create("late commands"),
	      *life = tcase_create("the server's life"), *says = tcase_create("complaints"),
	      *stores = tcase_create("stores");

	tcase_add_checked_fixture(cuts_case, setup, teardown);
	tcase_add_loop_test(cuts_case, a_try_that_is_cut_off_leaves_no_key, 0, N_NAMES * N_CUTS);
	tcase_add_loop_test(cuts_case, a_waiter_whose_command_is_cut_off_gets_the_lock, 0,
			    N_NAMES * N_CUTS);
	tcase_add_loop_test(cuts_case, a_hand_over_that_is_cut_off_reaches_the_next, 0, N_CUTS);
	tcase_add_loop_test(cuts_case, a_release_that_is_cut_off_happens, 0, N_CUTS);
	tcase_add_loop_test(cuts_case, a_renewal_that_is_cut_off_is_repeated, 0, N_CUTS);
	tcase_add_test(cuts_case, what_is_delayed_is_unavailable_in_time_and_leaves_no_key);
	suite_add_tcase(suite, cuts_case);

	tcase_add_checked_fixture(late, setup_without_kill, teardown);
	tcase_add_test(late, what_is_delayed_is_unavailable_in_time_and_leaves_no_key);
	suite_add_tcase(suite, late);

	tcase_add_checked_fixture(life, setup, teardown);
	tcase_add_test(life, a_waiter_keeps_its_place_until_its_wait_is_over);
	tcase_add_test(life, holders_are_told_before_and_when_a_dead_store_costs_them_the_lock);
	tcase_add_test(life, what_a_server_forgot_is_told_as_replaced_when_it_is_back);
	tcase_add_test(life, what_a_server_kept_is_held_on);
	tcase_add_test(life, scripts_may_be_flushed_between_any_two_commands);
	tcase_add_test(life, a_daemon_that_slept_touches_nothing_of_who_holds_it_now);
	suite_add_tcase(suite, life);

	tcase_add_loop_test(says, a_server_that_says_it_can_not_is_unavailable_and_not_locked, 0,
			    N_COMPLAINTS);
	suite_add_tcase(suite, says);

	tcase_add_checked_fixture(stores, setup, teardown);
	tcase_add_test(stores, a_store_that_hangs_does_not_delay_another);
	tcase_add_test(stores, a_name_server_that_hangs_does_not_delay_another_store);
	suite_add_tcase(suite, stores);

	for (size_t i = 0; i < 5; i++)
		tcase_set_timeout((TCase *[]){cuts_case, late, life, says, stores}[i], 20);
	return suite;
}

int main(void)
{
	if (!redis_server_installed()) {
		fputs("there is no redis-server to run\n", stderr);
		return 77;
	}
	return suite_run(faults_suite());
}
