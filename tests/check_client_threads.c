/* SPDX-License-Identifier: MIT */
/*
 * The library in programs of several threads, against a real daemon: one connection for all, every
 * kind of call at once, and daemons that go and come. Meant for the thread sanitizer too.
 */
#include "config.h"

#include <check.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "client/redmutex.h"
#include "harness.h"
#include "suite.h"

#define SECTIONS "[mutex m]\nkey = m\n[mutex order-*]\nrenew = no\n"

enum { THREADS = 8, TURNS = 60 }; /* divisible by 3 */

static struct daemon *daemon_;
static redmutex_t *rm;

/* Not atomic: right in the end only if the lock keeps the threads apart. */
static long counter;
static atomic_int released, inside, n_done, n_started, n_lost, n_expiring;
static atomic_int has_read, may_read;

static void connect_with(int64_t reconnect_ms)
{
	struct redmutex_connect_options options = REDMUTEX_CONNECT_OPTIONS_INIT;

	options.reconnect_ms = reconnect_ms;
	ck_assert_int_eq(redmutex_connect(&rm, daemon_->socket_path, &options), 0);
}

static void setup(void)
{
	counter = 0;
	released = inside = n_done = n_started = n_lost = n_expiring = has_read = may_read = 0;
	daemon_ = daemon_spawn("", SECTIONS);
	connect_with(0);
}

static void teardown(void)
{
	redmutex_close(rm);
	daemon_stop(daemon_);
}

static void run_threads(void *(*work)(void *), int n)
{
	pthread_t threads[64];

	for (int i = 0; i < n; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, work, (void *)(intptr_t)i), 0);
	for (int i = 0; i < n; i++)
		pthread_join(threads[i], NULL);
}

static struct redmutex_acquire_options waiting(int64_t wait_ms)
{
	struct redmutex_acquire_options options = REDMUTEX_ACQUIRE_OPTIONS_INIT;

	options.wait_ms = wait_ms;
	return options;
}

static void on_released(redmutex_t *connection, const struct redmutex_result *result, void *arg)
{
	(void)connection;
	(void)arg;
	ck_assert_int_eq(result->error, 0);
	released++;
}

static void *take_turns(void *arg)
{
	struct redmutex_acquire_options options = waiting(REDMUTEX_FOREVER);

	(void)arg;
	for (int i = 0; i < TURNS; i++) {
		struct redmutex_lock lock = REDMUTEX_LOCK_INIT;

		ck_assert_int_eq(redmutex_acquire(rm, "m", &options, &lock), 0);
		ck_assert_int_eq(inside++, 0);
		counter++;
		ck_assert_int_eq(redmutex_check(rm, lock.lock, NULL), 0);
		inside--;
		if (i % 3 == 0)
			ck_assert_int_eq(redmutex_release(rm, "m", lock.lock), 0);
		else if (i % 3 == 1)
			ck_assert_int_eq(redmutex_release_nowait(rm, "m", lock.lock), 0);
		else
			ck_assert_int_eq(
				redmutex_release_async(rm, "m", lock.lock, on_released, NULL, NULL),
				0);
	}
	redmutex_flush(rm);
	return NULL;
}

START_TEST(threads_take_turns_over_one_connection)
	{
		run_threads(take_turns, THREADS);
		ck_assert_int_eq(counter, THREADS * TURNS);
		ck_assert_int_eq(redmutex_ping(rm), 0);
		ck_assert_int_eq(released, THREADS * (TURNS / 3));
	}
END_TEST

/* ---- everything at once ---- */

static void on_done(redmutex_t *connection, const struct redmutex_result *result, void *arg)
{
	char lock[REDMUTEX_LOCK_SIZE];

	(void)arg;
	n_done++;
	if (result->lock == NULL)
		return;
	/* A callback may call, also what blocks. */
	strcpy(lock, result->lock->lock);
	if (n_done % 2 == 0)
		redmutex_release(connection, result->name, lock);
	else
		redmutex_release_nowait(connection, result->name, lock);
}

static void on_lost(redmutex_t *connection, const struct redmutex_event *event, void *arg)
{
	(void)connection;
	(void)event;
	(void)arg;
	n_lost++;
}

static void on_expiring(redmutex_t *connection, const struct redmutex_event *event, void *arg)
{
	(void)connection;
	(void)event;
	(void)arg;
	n_expiring++;
}

static void start_and_cancel(const char *name)
{
	struct redmutex_acquire_options options = waiting(REDMUTEX_FOREVER);
	uint64_t id;

	ck_assert_int_eq(redmutex_acquire_async(rm, name, &options, on_done, NULL, &id), 0);
	n_started++;
	redmutex_flush(rm);
	if (n_started % 3 != 0)
		redmutex_cancel(rm, id);
}

static void hold_for_long(const char *name)
{
	struct redmutex_acquire_options options = waiting(50);
	struct redmutex_lock lock = REDMUTEX_LOCK_INIT;

	options.ttl_ms = 30;
	if (redmutex_acquire(rm, name, &options, &lock) < 0)
		return;
	for (int i = 0; i < 20 && redmutex_check(rm, lock.lock, NULL) == 0; i++)
		poll(NULL, 0, 3);
	redmutex_extend(rm, name, lock.lock, 100, NULL);
	redmutex_release(rm, name, lock.lock);
}

static void on_item(redmutex_t *connection, const struct redmutex_info *info, void *arg)
{
	(void)connection;
	(void)info;
	++*(int *)arg;
}

static void ask(const char *name)
{
	struct redmutex_info info = REDMUTEX_INFO_INIT;
	int n = 0, exists;

	ck_assert_int_eq(redmutex_list(rm, NULL, on_item, &n), 0);
	ck_assert_int_ge(n, 2);
	ck_assert_int_eq(redmutex_info(rm, name, &info), 0);
	ck_assert_int_eq(redmutex_exists(rm, name, &exists), 0);
	redmutex_break(rm, name);
	ck_assert_int_eq(redmutex_info(rm, "no such name", &info), REDMUTEX_EINVAL);
	ck_assert_str_ne(redmutex_error_text(rm), "");
}

static int body(redmutex_t *connection, const struct redmutex_lock *lock, void *arg)
{
	(void)arg;
	return redmutex_check(connection, lock->lock, NULL) == 0;
}

static void *do_anything(void *arg)
{
	struct redmutex_acquire_options options = waiting(20);
	int self = (int)(intptr_t)arg, result;
	char name[32];

	for (int i = 0; i < TURNS; i++) {
		snprintf(name, sizeof(name), "order-%d", (self + i) % 3);
		if (self % 4 == 0)
			start_and_cancel(name);
		else if (self % 4 == 1)
			ask(name);
		else if (self % 4 == 2)
			hold_for_long(name);
		else
			redmutex_synchronize(rm, name, &options, body, NULL, &result);
		redmutex_dispatch(rm);
	}
	return NULL;
}

START_TEST(any_call_may_be_made_by_any_thread_at_any_time)
	{
		redmutex_on_lost(rm, on_lost, NULL);
		redmutex_on_expiring(rm, on_expiring, NULL);
		run_threads(do_anything, THREADS);
		/* Each request has its outcome, once. */
		for (int64_t until_us = redmutex_now_us() + 10000000; n_done < n_started;) {
			struct pollfd poll_fd = {.fd = redmutex_fd(rm), .events = POLLIN};

			ck_assert_msg(redmutex_now_us() < until_us, "%d of %d", n_done, n_started);
			poll(&poll_fd, 1, 10);
			redmutex_dispatch(rm);
		}
		ck_assert_int_eq(n_done, n_started);
		ck_assert_int_gt(n_expiring, 0);
	}
END_TEST

static void *come_and_go(void *arg)
{
	struct redmutex_acquire_options options = waiting(REDMUTEX_FOREVER);

	(void)arg;
	for (int i = 0; i < TURNS / 3; i++) {
		struct redmutex_lock lock = REDMUTEX_LOCK_INIT;
		redmutex_t *own;

		ck_assert_int_eq(redmutex_connect(&own, daemon_->socket_path, NULL), 0);
		ck_assert_int_eq(redmutex_acquire(own, "m", &options, &lock), 0);
		ck_assert_int_eq(inside++, 0);
		released++;
		inside--;
		redmutex_close(own); /* releases it */
	}
	return NULL;
}

START_TEST(each_thread_may_have_a_connection_of_its_own)
	{
		run_threads(come_and_go, THREADS);
		ck_assert_int_eq(released, THREADS * (TURNS / 3));
	}
END_TEST

/* ---- deadlines ---- */

static void *wait_until_deadline(void *arg)
{
	struct redmutex_acquire_options options = REDMUTEX_ACQUIRE_OPTIONS_INIT;
	struct redmutex_lock lock = REDMUTEX_LOCK_INIT;
	int64_t late_us;

	options.deadline_us = redmutex_now_us() + 50000 * (1 + (int)(intptr_t)arg);
	ck_assert_int_eq(redmutex_acquire(rm, "m", &options, &lock), REDMUTEX_EALREADY_LOCKED);
	late_us = redmutex_now_us() - options.deadline_us;
	ck_assert_int_ge(late_us, 0);
	ck_assert_int_lt(late_us, 1500000);
	return NULL;
}

START_TEST(each_waits_until_a_deadline_of_its_own)
	{
		struct client *holder = client_connect(daemon_);

		free(acquire(holder, "m"));
		run_threads(wait_until_deadline, THREADS);
		client_close(holder);
	}
END_TEST

/* ---- a daemon that starts again ---- */

static char reason[32];

static void on_disconnected(redmutex_t *connection, const struct redmutex_event *event, void *arg)
{
	(void)connection;
	(void)arg;
	snprintf(reason, sizeof(reason), "%s %s", event->name, event->reason);
}

static void *wait_for_m(void *arg)
{
	struct redmutex_acquire_options options = waiting(REDMUTEX_FOREVER);
	struct redmutex_lock *lock = arg;

	ck_assert_int_eq(redmutex_acquire(rm, "m", &options, lock), 0);
	return NULL;
}

START_TEST(a_wait_goes_on_when_the_daemon_starts_again)
	{
		struct redmutex_lock lock = REDMUTEX_LOCK_INIT, waited_for = REDMUTEX_LOCK_INIT;
		struct client *holder = client_connect(daemon_), *asker;
		int64_t until_us = redmutex_now_us() + 5000000;
		pthread_t thread;

		redmutex_close(rm);
		connect_with(10000);
		redmutex_on_lost(rm, on_disconnected, NULL);
		ck_assert_int_eq(redmutex_acquire(rm, "order-1", NULL, &lock), 0);
		free(acquire(holder, "m"));
		pthread_create(&thread, NULL, wait_for_m, &waited_for);
		asker = client_connect(daemon_);
		do {
			ck_assert(redmutex_now_us() < until_us);
			say(asker, "INFO m");
		} while (strstr(hear(asker), "waiters=1") == NULL);

		daemon_kill(daemon_);
		daemon_start(daemon_);
		pthread_join(thread, NULL);
		ck_assert_str_eq(reason, "order-1 disconnected");
		ck_assert_int_eq(redmutex_check(rm, lock.lock, NULL), REDMUTEX_EUNLOCK_FAIL);
		ck_assert_int_eq(redmutex_release(rm, "m", waited_for.lock), 0);
		client_close(holder);
		client_close(asker);
	}
END_TEST

/* ---- a daemon that is slow to read ---- */

/* Reads a request, then nothing for a while; then all, of which only PING is answered. */
static void *slow_daemon(void *arg)
{
	int listen_fd = *(int *)arg, fd = accept(listen_fd, NULL, NULL);
	char line[512];
	FILE *in = fdopen(fd, "r");

	while (fgets(line, sizeof(line), in) != NULL && strstr(line, "ACQUIRE") == NULL)
		;
	has_read = 1;
	while (!may_read)
		poll(NULL, 0, 1);
	while (fgets(line, sizeof(line), in) != NULL && strstr(line, "PING") == NULL)
		;
	strcpy(strchr(line, ' '), " OK\n");
	ck_assert_int_gt(send(fd, line, strlen(line), MSG_NOSIGNAL), 0);
	while (fgets(line, sizeof(line), in) != NULL)
		;
	fclose(in);
	return NULL;
}

static void *wait_in_vain(void *arg)
{
	struct redmutex_acquire_options options = waiting(REDMUTEX_FOREVER);
	struct redmutex_lock lock = REDMUTEX_LOCK_INIT;

	(void)arg;
	ck_assert_int_lt(redmutex_acquire(rm, "m", &options, &lock), 0);
	return NULL;
}

static void *ping(void *arg)
{
	(void)arg;
	ck_assert_int_eq(redmutex_ping(rm), 0);
	inside = 1;
	return NULL;
}

START_TEST(what_does_not_fit_at_once_is_sent_though_another_reads)
	{
		enum { REQUESTS = 6000 };
		struct sockaddr_un address = {.sun_family = AF_UNIX};
		int listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
		pthread_t server, reader, sender;
		char name[REDMUTEX_NAME_SIZE] = "";

		memset(name, 'n', sizeof(name) - 1);
		snprintf(address.sun_path, sizeof(address.sun_path), "%s/slow", daemon_->dir);
		ck_assert_int_eq(bind(listen_fd, (struct sockaddr *)&address, sizeof(address)), 0);
		ck_assert_int_eq(listen(listen_fd, 1), 0);
		redmutex_close(rm);
		ck_assert_int_eq(redmutex_connect(&rm, address.sun_path, NULL), 0);
		pthread_create(&server, NULL, slow_daemon, &listen_fd);
		pthread_create(&reader, NULL, wait_in_vain, NULL);
		while (!has_read)
			poll(NULL, 0, 1);
		for (int i = 0; i < REQUESTS; i++)
			ck_assert_int_eq(redmutex_info_async(rm, name, NULL, NULL, NULL), 0);
		pthread_create(&sender, NULL, ping, NULL);
		poll(NULL, 0, 20);
		may_read = 1;
		for (int i = 0; i < 500 && !inside; i++)
			poll(NULL, 0, 10);
		ck_assert_int_eq(inside, 1);
		pthread_join(sender, NULL);
		shutdown(redmutex_fd(rm), SHUT_RDWR);
		pthread_join(reader, NULL);
		pthread_join(server, NULL);
		close(listen_fd);
		unlink(address.sun_path);
	}
END_TEST

int main(void)
{
	Suite *suite = suite_create("client/threads");
	TCase *threads = tcase_create("threads");

	tcase_add_checked_fixture(threads, setup, teardown);
	tcase_set_timeout(threads, 60);
	tcase_add_test(threads, threads_take_turns_over_one_connection);
	tcase_add_test(threads, any_call_may_be_made_by_any_thread_at_any_time);
	tcase_add_test(threads, each_thread_may_have_a_connection_of_its_own);
	tcase_add_test(threads, each_waits_until_a_deadline_of_its_own);
	tcase_add_test(threads, a_wait_goes_on_when_the_daemon_starts_again);
	tcase_add_test(threads, what_does_not_fit_at_once_is_sent_though_another_reads);
	suite_add_tcase(suite, threads);

	return suite_run(suite);
}
