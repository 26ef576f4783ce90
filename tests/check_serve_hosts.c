/* SPDX-License-Identifier: MIT */
/* Daemons on one Redis, as if each were on a host of its own: all that they share is the server. */
#include "config.h"

#include <hiredis/hiredis.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "harness.h"
#include "redis_server.h"
#include "suite.h"

enum { N_DAEMONS = 3, HANDOFF_LIMIT = 3, N_ROUNDS = 50, WAKE_UP_US = 20000 };

static struct redis_server redis;
static struct daemon *daemons[N_DAEMONS];
static struct client *clients[N_DAEMONS]; /* one at each */
static struct client *x, *y;		  /* the first two */

static void setup(void)
{
	char sections[600];

	redis_server_start(&redis, false, NULL);
	snprintf(sections, sizeof(sections),
		 "[defaults]\nurl = %s\n"
		 "[mutex a]\nkey = a\n"
		 "[mutex told]\nkey = told\nannounce = yes\n"
		 "[mutex few]\nkey = few\nhandoff_limit = %d\n"
		 "[mutex local]\nkey = local\nhandoff = local\nhandoff_limit = %d\n"
		 "[mutex few-linger]\nkey = few-linger\nlinger_ms = 1000\nhandoff_limit = %d\n"
		 "[mutex linger-*]\nlinger_ms = 5000\n",
		 redis.unix_url, HANDOFF_LIMIT, HANDOFF_LIMIT, HANDOFF_LIMIT);
	for (int i = 0; i < N_DAEMONS; i++) {
		daemons[i] = daemon_spawn("", sections);
		clients[i] = client_connect(daemons[i]);
	}
	x = clients[0];
	y = clients[1];
}

static void teardown(void)
{
	const char *keys;

	for (int i = 0; i < N_DAEMONS; i++) {
		client_close(clients[i]);
		ck_assert_int_eq(daemon_stop(daemons[i]), 0);
	}
	/* The counters of fences stay. */
	keys = redis_server_ask(&redis, "EVAL %s 0",
				"local left = {} for _, key in ipairs(redis.call('KEYS', '*')) do "
				"if not key:find(':fence$') then left[#left + 1] = key end end "
				"return table.concat(left, ' ')");
	ck_assert_msg(!*keys, "the daemons have left behind: %s", keys);
	redis_server_stop(&redis);
}

static int64_t now_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * INT64_C(1000000) + now.tv_nsec / 1000;
}

static int compare_us(const void *a, const void *b)
{
	int64_t left = *(const int64_t *)a, right = *(const int64_t *)b;

	return (left > right) - (left < right);
}

static int64_t median_us(int64_t *samples, size_t n)
{
	qsort(samples, n, sizeof(*samples), compare_us);
	return samples[n / 2];
}

/* Waits until so many daemons listen for messages about the mutex. */
static void await_listeners(const char *key, int at_least)
{
	long long until_ms = now_ms() + HARNESS_WAIT_MS;
	char channel[64];
	const char *count;

	snprintf(channel, sizeof(channel), "{%s}:free", key);
	do {
		ck_assert_msg(now_ms() < until_ms, "nobody listens on %s", channel);
		count = strrchr(redis_server_ask(&redis, "PUBSUB NUMSUB %s", channel), ' ');
	} while (!count || atoi(count + 1) < at_least);
}

static void release(struct client *client, const char *name, char *lock)
{
	say(client, "RELEASE %s %s", name, lock);
	expect(client, "OK");
	free(lock);
}

/* The lock string of an OK to a waiting ACQUIRE. */
static char *granted(struct client *client)
{
	const char *line = expect(client, "@w OK *") + strlen("@w OK ");

	return strndup(line, strcspn(line, " "));
}

static long long fence_of(const char *line)
{
	const char *fence = strstr(line, " fence=");

	ck_assert_msg(fence != NULL, "no fence in \"%s\"", line);
	return atoll(fence + strlen(" fence="));
}

/* ------------------------------------------------------------------ waking up */

/* What the server itself takes from a PUBLISH to its subscriber, both in this process. */
static int64_t echo_of_publish_us(void)
{
	redisContext *subscriber = redisConnectUnix(redis.path);
	int64_t samples[N_ROUNDS];
	void *reply;

	ck_assert(subscriber && !subscriber->err);
	freeReplyObject(redisCommand(subscriber, "SUBSCRIBE echo"));
	for (int i = 0; i < N_ROUNDS; i++) {
		int64_t began_us = now_us();

		redis_server_ask(&redis, "PUBLISH echo x");
		ck_assert_int_eq(redisGetReply(subscriber, &reply), REDIS_OK);
		samples[i] = now_us() - began_us;
		freeReplyObject(reply);
	}
	redisFree(subscriber);
	return median_us(samples, N_ROUNDS);
}

START_TEST(a_release_wakes_a_waiter_of_another_daemon_by_message)
	{
		int64_t samples[N_ROUNDS], wake_us, echo_us = echo_of_publish_us(), limit_us;
		char *lock = acquire(x, "a");

		for (int i = 0; i < N_ROUNDS; i++) {
			struct client *from = i % 2 ? y : x, *to = i % 2 ? x : y;
			int64_t began_us;

			say(to, "@w ACQUIRE a wait=10000");
			say(to, "@i INFO a");
			expect(to, "@i OK locked=true * waiters=1*");
			await_listeners("a", 1);
			began_us = now_us();
			say(from, "RELEASE a %s", lock);
			free(lock);
			lock = granted(to);
			samples[i] = now_us() - began_us;
			expect(from, "OK");
		}
		release(x, "a", lock);
		wake_us = median_us(samples, N_ROUNDS);
		/* A machine on which the echo alone takes long can't do better. */
		limit_us = 10 * echo_us > WAKE_UP_US ? 10 * echo_us : WAKE_UP_US;
		printf("wake-up: median %lld us; echo of PUBLISH: %lld us\n", (long long)wake_us,
		       (long long)echo_us);
		ck_assert_int_lt(wake_us, limit_us);
	}
END_TEST

START_TEST(who_dies_with_a_lock_wakes_other_daemons_too)
	{
		struct client *dying = client_connect(daemons[0]);
		long long began;

		free(acquire(dying, "a"));
		say(y, "@w ACQUIRE a wait=10000");
		say(y, "@i INFO a");
		expect(y, "@i OK *");
		await_listeners("a", 1);
		began = now_ms();
		client_close(dying);
		release(y, "a", granted(y));
		ck_assert_int_lt(now_ms() - began, 500);
	}
END_TEST

START_TEST(what_others_delete_is_noticed_within_about_a_second)
	{
		long long began;

		/* It would stand for ever, so nothing but a look can find it gone. */
		redis_server_ask(&redis, "SET a foreign");
		say(x, "@w ACQUIRE a wait=10000");
		say(x, "@i INFO a");
		expect(x, "@i OK locked=true holder=elsewhere waiters=1");
		began = now_ms();
		redis_server_ask(&redis, "DEL a");
		release(x, "a", granted(x));
		ck_assert_int_lt(now_ms() - began, 2000);
	}
END_TEST

START_TEST(what_expires_is_noticed_when_its_time_is_up)
	{
		long long began = now_ms();

		redis_server_ask(&redis, "SET a foreign PX 300");
		say(x, "@w ACQUIRE a wait=10000");
		release(x, "a", granted(x));
		ck_assert_int_ge(now_ms() - began, 299);
		ck_assert_int_lt(now_ms() - began, 600);
	}
END_TEST

/* Calls of all commands but INFO, those in scripts included. */
static long long count_calls(void)
{
	const char *at = redis_server_ask(&redis, "INFO commandstats");
	long long calls = 0;

	for (; (at = strstr(at, "cmdstat_")); at++) {
		if (strncmp(at, "cmdstat_info", strlen("cmdstat_info")) != 0)
			calls += atoll(strstr(at, "calls=") + strlen("calls="));
	}
	return calls;
}

START_TEST(two_hundred_waiters_cost_the_store_next_to_nothing)
	{
		enum { N_WAITERS = 200, SECONDS = 2, CALLS_A_SECOND = 15 };
		long long calls;

		redis_server_ask(&redis, "SET a foreign PX 60000");
		for (int i = 0; i < N_WAITERS; i++)
			say(x, "@%d ACQUIRE a wait=10000", i);
		say(x, "@i INFO a");
		expect(x, "@i OK locked=true holder=elsewhere waiters=200 *");
		await_listeners("a", 1);
		calls = count_calls();
		expect_silence(x, SECONDS * 1000);
		calls = count_calls() - calls;
		printf("200 waiters: %lld commands in %d s\n", calls, SECONDS);
		ck_assert_int_lt(calls, SECONDS * CALLS_A_SECOND);
		redis_server_ask(&redis, "DEL a");
		/* All of them get it, in their order. */
		for (int i = 0; i < N_WAITERS;) {
			const char *line = hear(x), *lock = strstr(line, " OK ");

			if (strcmp(line, "@r OK") == 0)
				continue;
			ck_assert_int_eq(atoi(line + 1), i++);
			ck_assert_ptr_nonnull(lock);
			lock += strlen(" OK ");
			say(x, "@r RELEASE a %.*s", (int)strcspn(lock, " "), lock);
		}
		expect(x, "@r OK");
	}
END_TEST

/* ------------------------------------------------------------------ taking turns */

/* The client among all for which a line is there. */
static int await_any(void)
{
	struct pollfd fds[N_DAEMONS];

	for (int i = 0; i < N_DAEMONS; i++) {
		fds[i] = (struct pollfd){.fd = clients[i]->fd, .events = POLLIN};
		if (memchr(clients[i]->bytes, '\n', clients[i]->len))
			return i;
	}
	ck_assert_msg(poll(fds, N_DAEMONS, HARNESS_WAIT_MS) > 0, "nobody gets the lock");
	for (int i = 0; i < N_DAEMONS; i++) {
		if (fds[i].revents)
			return i;
	}
	return -1;
}

struct turns {
	int granted[N_DAEMONS]; /* how often each daemon got it */
	int longest;		/* run of one daemon while another one waited */
};

/*
 * Queues at the first so many daemons, with so many waiters each, until all had the lock. At no
 * moment may two have it, and the fences must grow.
 * @from_first: the first daemon has it at the beginning, and nobody asks it for a lock that another
 *	daemon has; otherwise a foreign lock stands there, which all have asked for
 */
static struct turns take_turns(const char *name, int n_daemons, int n_waiters, bool from_first)
{
	struct turns turns = {.longest = 0};
	int last = -1, run = 0;
	long long fence = 0;

	char *lock = NULL;

	/* All queue up and listen while it is somebody else's. */
	if (from_first) {
		lock = acquire(clients[0], "%s", name);
		await_listeners(name, 1); /* it hears of the others then */
	} else {
		redis_server_ask(&redis, "SET %s foreign PX 60000", name);
	}
	for (int i = 0; i < n_daemons; i++) {
		for (int j = 0; j < n_waiters; j++)
			say(clients[i], "@w%d ACQUIRE %s wait=20000", j, name);
	}
	await_listeners(name, n_daemons);
	if (from_first)
		say(clients[0], "@r RELEASE %s %s", name, lock);
	else
		say(clients[N_DAEMONS - 1], "@b BREAK %s", name);
	free(lock);
	for (int left = n_daemons * n_waiters; left > 0; left--) {
		const char *line;
		int i;

		do {
			i = await_any();
			line = hear(clients[i]);
		} while (strcmp(line, "@r OK") == 0 || strcmp(line, "@b OK") == 0);
		line = strstr(line, " OK ");
		ck_assert_ptr_nonnull(line);
		line += strlen(" OK ");
		/* Whoever is granted it while another has it has a fence out of order, too. */
		ck_assert_int_gt(fence_of(line), fence);
		fence = fence_of(line);
		turns.granted[i]++;
		run = i == last ? run + 1 : 1;
		last = i;
		for (int j = 0; j < n_daemons; j++) {
			if (j != i && turns.granted[j] < n_waiters && run > turns.longest)
				turns.longest = run;
		}
		for (int j = 0; j < n_daemons; j++)
			ck_assert_msg(clients[j]->len == 0 || clients[j]->bytes[1] != 'w',
				      "two hold it at once: \"%.*s\"", (int)clients[j]->len,
				      clients[j]->bytes);
		say(clients[i], "@r RELEASE %s %.*s", name, (int)strcspn(line, " "), line);
	}
	expect(clients[last], "@r OK");
	return turns;
}

START_TEST(each_daemon_has_its_turn_after_handoff_limit_passes)
	{
		struct turns turns = take_turns("few", 2, 12, false);

		ck_assert_int_le(turns.longest, HANDOFF_LIMIT + 1);
	}
END_TEST

START_TEST(passes_without_a_command_are_limited_too)
	{
		struct turns turns = take_turns("local", 2, 12, false);

		ck_assert_int_le(turns.longest, HANDOFF_LIMIT + 1);
	}
END_TEST

START_TEST(passes_of_a_lingering_lock_are_limited_too)
	{
		struct turns turns = take_turns("few-linger", 2, 12, true);

		ck_assert_int_le(turns.longest, HANDOFF_LIMIT + 1);
	}
END_TEST

START_TEST(three_daemons_never_hold_it_at_once_and_fences_grow)
	{
		struct turns turns = take_turns("few", N_DAEMONS, 30, false);

		for (int i = 0; i < N_DAEMONS; i++)
			ck_assert_int_eq(turns.granted[i], 30);
	}
END_TEST

START_TEST(fences_grow_from_daemon_to_daemon)
	{
		static const char *const names[] = {"a", "local", "linger-0"};
		long long fence = 0;

		for (int i = 0; i < 30; i++) {
			struct client *client = clients[i % N_DAEMONS];
			const char *name = names[i / 10], *line;
			char *lock;

			fence = i % 10 ? fence : 0;
			say(client, "ACQUIRE %s wait=3000", name);
			line = expect(client, "OK *") + 3;
			ck_assert_int_gt(fence_of(line), fence);
			fence = fence_of(line);
			lock = strndup(line, strcspn(line, " "));
			release(client, name, lock);
		}
	}
END_TEST

/* ------------------------------------------------------------------ lingering */

/*
 * Lets x linger on a mutex of its own: it stands in the store and nobody holds it. A mutex is good
 * for one time: after somebody else has asked for it x does not linger on it for a while.
 */
static void linger(int i)
{
	long long until_ms = now_ms() + HARNESS_WAIT_MS;
	char name[16], key[64], *lock;

	snprintf(name, sizeof(name), "linger-%d", i);
	snprintf(key, sizeof(key), "red_mutex_lock:%s", name);
	do {
		/* Not before x listens, lest it miss who asks: the first time may be too early. */
		ck_assert_msg(now_ms() < until_ms, "%s is not kept", name);
		lock = acquire(x, "%s", name);
		await_listeners(key, 1);
		release(x, name, lock);
	} while (redis_server_ask_integer(&redis, "EXISTS %s", key) == 0);
}

enum { N_LINGERING = 9 };

/* A busy machine may need longer than the moment that a try waits: so not each must succeed. */
START_TEST(a_lingering_lock_is_given_to_another_daemon_that_tries)
	{
		int n_granted = 0;

		for (int i = 0; i < N_LINGERING; i++) {
			linger(i);
			say(y, "ACQUIRE linger-%d", i);
			n_granted += strncmp(hear(y), "OK ", 3) == 0;
		}
		ck_assert_int_gt(n_granted, N_LINGERING / 2);
	}
END_TEST

START_TEST(a_waiter_gets_a_lingering_lock_within_twenty_milliseconds)
	{
		int64_t samples[N_LINGERING];

		for (int i = 0; i < N_LINGERING; i++) {
			int64_t began_us;

			linger(i);
			began_us = now_us();
			say(y, "ACQUIRE linger-%d wait=3000", i);
			expect(y, "OK *");
			samples[i] = now_us() - began_us;
		}
		ck_assert_int_lt(median_us(samples, N_LINGERING), WAKE_UP_US);
	}
END_TEST

START_TEST(a_lingering_lock_does_not_exist_for_other_daemons)
	{
		int n_free = 0;

		for (int i = 0; i < N_LINGERING; i++) {
			linger(i);
			say(y, "EXISTS linger-%d", i);
			n_free += strcmp(expect(y, "OK *"), "OK false") == 0;
		}
		ck_assert_int_gt(n_free, N_LINGERING / 2);
	}
END_TEST

/* ------------------------------------------------------------------ seeing and breaking */

START_TEST(info_tells_who_holds_it_on_another_host)
	{
		char *lock = acquire(x, "told note=night%%20run");
		char host[256], pattern[600];

		ck_assert_int_eq(gethostname(host, sizeof(host)), 0);
		snprintf(pattern, sizeof(pattern),
			 "OK locked=true holder=elsewhere waiters=0 host=%s pid=%d *"
			 "note=night%%20run*ttl=*",
			 host, (int)getpid());
		say(y, "INFO told");
		expect(y, pattern);
		ck_assert_ptr_null(strstr(y->line, lock));
		release(x, "told", lock);
		say(y, "INFO told");
		expect(y, "OK locked=false holder=none waiters=0");
	}
END_TEST

START_TEST(any_daemon_releases_a_lock_whose_string_it_is_told)
	{
		char *lock = acquire(x, "a ttl=900");

		say(y, "RELEASE a %s", lock);
		expect(y, "OK");
		release(y, "a", acquire(y, "a"));
		expect(x, "EVENT LOST a * replaced");
		free(lock);
	}
END_TEST

START_TEST(what_another_daemon_releases_or_breaks_goes_to_the_local_waiters_at_once)
	{
		struct client *w = client_connect(daemons[0]);
		char *lock = acquire(x, "a");
		long long began;

		for (int i = 0; i < 2; i++) {
			say(w, "@w ACQUIRE a wait=8000");
			await_listeners("a", 1);
			began = now_ms();
			if (i == 0)
				say(y, "RELEASE a %s", lock);
			else
				say(y, "BREAK a");
			expect(y, "OK");
			free(lock);
			expect(x, "EVENT LOST a * replaced");
			lock = granted(w);
			ck_assert_int_le(now_ms() - began, 1000);
			release(w, "a", lock);
			lock = acquire(x, "a");
		}
		free(lock);
		client_close(w);
	}
END_TEST

START_TEST(a_break_is_told_at_once_here_and_at_the_next_comparison_elsewhere)
	{
		long long began;

		free(acquire(x, "a ttl=900"));
		began = now_ms();
		say(y, "BREAK a");
		expect(y, "OK");
		expect(x, "EVENT LOST a * replaced");
		ck_assert_int_lt(now_ms() - began, 300 + 200);

		free(acquire(y, "a"));
		say(y, "@b BREAK a");
		expect(y, "EVENT LOST a * broken");
		expect(y, "@b OK");
	}
END_TEST

static Suite *hosts_suite(void)
{
	Suite *suite = suite_create("serve_hosts");
	TCase *tcase = tcase_create("daemons on one redis");

	tcase_set_timeout(tcase, 30);
	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, a_release_wakes_a_waiter_of_another_daemon_by_message);
	tcase_add_test(tcase, who_dies_with_a_lock_wakes_other_daemons_too);
	tcase_add_test(tcase, what_others_delete_is_noticed_within_about_a_second);
	tcase_add_test(tcase, what_expires_is_noticed_when_its_time_is_up);
	tcase_add_test(tcase, two_hundred_waiters_cost_the_store_next_to_nothing);
	tcase_add_test(tcase, each_daemon_has_its_turn_after_handoff_limit_passes);
	tcase_add_test(tcase, passes_without_a_command_are_limited_too);
	tcase_add_test(tcase, passes_of_a_lingering_lock_are_limited_too);
	tcase_add_test(tcase, three_daemons_never_hold_it_at_once_and_fences_grow);
	tcase_add_test(tcase, fences_grow_from_daemon_to_daemon);
	tcase_add_test(tcase, a_lingering_lock_is_given_to_another_daemon_that_tries);
	tcase_add_test(tcase, a_waiter_gets_a_lingering_lock_within_twenty_milliseconds);
	tcase_add_test(tcase, a_lingering_lock_does_not_exist_for_other_daemons);
	tcase_add_test(tcase, info_tells_who_holds_it_on_another_host);
	tcase_add_test(tcase, any_daemon_releases_a_lock_whose_string_it_is_told);
	tcase_add_test(tcase,
		       what_another_daemon_releases_or_breaks_goes_to_the_local_waiters_at_once);
	tcase_add_test(tcase, a_break_is_told_at_once_here_and_at_the_next_comparison_elsewhere);
	suite_add_tcase(suite, tcase);
	return suite;
}

int main(void)
{
	if (!redis_server_installed()) {
		fputs("there is no redis-server to run\n", stderr);
		return 77;
	}
	return suite_run(hosts_suite());
}
