/* SPDX-License-Identifier: MIT */
/* The library against a daemon that follows a script: replies, faults, events, order. */
#include "config.h"

#include <check.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client/redmutex.h"
#include "client_script.h"
#include "suite.h"

#define LOCK_A "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
#define LOCK_B "BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBA="
#define STEPS(...) ((const char *const[]){__VA_ARGS__, NULL})

static struct script script;

static redmutex_t *start_with(const char *const *steps,
			      const struct redmutex_connect_options *options)
{
	redmutex_t *rm;

	script_start(&script, steps);
	ck_assert_int_eq(redmutex_connect(&rm, script.path, options), 0);
	return rm;
}

static redmutex_t *start(const char *const *steps)
{
	return start_with(steps, NULL);
}

static void finish(redmutex_t *rm)
{
	redmutex_close(rm);
	script_end(&script);
}

/* What callbacks saw. */
struct seen {
	int n;
	int error;
	char text[128];
	char name[160];
	char lock[160];
	char reason[160];
	int64_t left_ms;
	int64_t number;
	redmutex_t *close;
};

static void on_event(redmutex_t *rm, const struct redmutex_event *event, void *arg)
{
	struct seen *seen = arg;

	(void)rm;
	seen->n++;
	snprintf(seen->name, sizeof(seen->name), "%s", event->name);
	snprintf(seen->lock, sizeof(seen->lock), "%s", event->lock);
	snprintf(seen->reason, sizeof(seen->reason), "%s", event->reason);
	seen->left_ms = event->left_ms;
}

static void on_done(redmutex_t *rm, const struct redmutex_result *result, void *arg)
{
	struct seen *seen = arg;

	(void)rm;
	seen->n++;
	seen->error = result->error;
	snprintf(seen->text, sizeof(seen->text), "%s", result->text);
	snprintf(seen->name, sizeof(seen->name), "%s", result->name);
	snprintf(seen->lock, sizeof(seen->lock), "%s",
		 result->lock != NULL ? result->lock->lock : "");
	seen->number = result->ttl_ms + result->count + result->exists;
	if (seen->close != NULL)
		redmutex_close(seen->close);
}

static void dispatch_until(redmutex_t *rm, const int *n, int until)
{
	while (*n < until) {
		struct pollfd poll_fd = {.fd = redmutex_fd(rm),
					 .events = (short)redmutex_events(rm)};

		ck_assert_int_gt(poll(&poll_fd, 1, 5000), 0);
		if (redmutex_dispatch(rm) < 0)
			break;
	}
	ck_assert_int_eq(*n, until);
}

START_TEST(acquire_hands_on_the_lock_its_lease_and_its_fence)
	{
		struct redmutex_lock lock = REDMUTEX_LOCK_INIT;
		redmutex_t *rm =
			start(STEPS("< ACQUIRE a", "> $1 OK " LOCK_A " ttl=5000 fence=2048",
				    "< RELEASE a " LOCK_A, "> $1 OK"));
		int64_t left_ms;

		ck_assert_int_eq(redmutex_acquire(rm, "a", NULL, &lock), 0);
		ck_assert_str_eq(lock.lock, LOCK_A);
		ck_assert_int_eq(lock.ttl_ms, 5000);
		ck_assert_int_eq(lock.fence, 2048);
		ck_assert_int_eq(redmutex_check(rm, lock.lock, &left_ms), 0);
		ck_assert_int_gt(left_ms, 4000);
		ck_assert_int_le(left_ms, 5000);
		ck_assert_int_eq(redmutex_release(rm, "a", lock.lock), 0);
		ck_assert_int_eq(redmutex_check(rm, lock.lock, &left_ms), REDMUTEX_EUNLOCK_FAIL);
		ck_assert_int_eq(left_ms, 0);
		finish(rm);
	}
END_TEST

START_TEST(every_option_of_an_acquisition_is_sent)
	{
		struct redmutex_acquire_options options = REDMUTEX_ACQUIRE_OPTIONS_INIT;
		struct redmutex_lock lock = REDMUTEX_LOCK_INIT;
		redmutex_t *rm = start(STEPS(
			"< ACQUIRE a wait=forever ttl=1500 renew=yes owner=pid:42 note=two%20words",
			"> $1 OK " LOCK_A " ttl=1500",
			"< ACQUIRE a wait=[0-9]* renew=no owner=none", "> $1 ERR already_locked"));

		options.wait_ms = REDMUTEX_FOREVER;
		options.ttl_ms = 1500;
		options.renew = REDMUTEX_RENEW_YES;
		options.owner = REDMUTEX_OWNER_PID;
		options.owner_pid = 42;
		options.note = "two words";
		ck_assert_int_eq(redmutex_acquire(rm, "a", &options, &lock), 0);
		ck_assert_int_eq(lock.fence, 0);
		options = (struct redmutex_acquire_options)REDMUTEX_ACQUIRE_OPTIONS_INIT;
		options.deadline_us = redmutex_now_us() + 1000000;
		options.renew = REDMUTEX_RENEW_NO;
		options.owner = REDMUTEX_OWNER_NONE;
		ck_assert_int_eq(redmutex_acquire(rm, "a", &options, &lock),
				 REDMUTEX_EALREADY_LOCKED);
		finish(rm);
	}
END_TEST

START_TEST(malformed_arguments_are_refused_before_they_are_sent)
	{
		struct redmutex_acquire_options options = REDMUTEX_ACQUIRE_OPTIONS_INIT;
		struct redmutex_lock lock = REDMUTEX_LOCK_INIT, unset = {.size = 0};
		struct redmutex_info info = {.size = 0};
		redmutex_t *rm = start(STEPS("< PING", "> $1 OK"));

		ck_assert_int_eq(redmutex_acquire(rm, "two words", NULL, &lock), REDMUTEX_EINVAL);
		ck_assert_str_ne(redmutex_error_text(rm), "");
		ck_assert_int_eq(redmutex_acquire(rm, "", NULL, &lock), REDMUTEX_EINVAL);
		ck_assert_int_eq(redmutex_acquire(rm, "a", NULL, &unset), REDMUTEX_EINVAL);
		ck_assert_int_eq(redmutex_info(rm, "a", &info), REDMUTEX_EINVAL);
		options.ttl_ms = 9;
		ck_assert_int_eq(redmutex_acquire(rm, "a", &options, &lock), REDMUTEX_EINVAL);
		options.ttl_ms = 0;
		options.wait_ms = 5;
		options.deadline_us = 5;
		ck_assert_int_eq(redmutex_acquire(rm, "a", &options, &lock), REDMUTEX_EINVAL);
		options.deadline_us = 0;
		options.wait_ms = -2;
		ck_assert_int_eq(redmutex_acquire(rm, "a", &options, &lock), REDMUTEX_EINVAL);
		options.size = 0;
		ck_assert_int_eq(redmutex_acquire(rm, "a", &options, &lock), REDMUTEX_EINVAL);
		ck_assert_int_eq(redmutex_release(rm, "a", "no lock\nPING"), REDMUTEX_EINVAL);
		ck_assert_int_eq(redmutex_ping(rm), 0);
		finish(rm);
	}
END_TEST

/* Programs that were compiled with a later redmutex.h, whose structs are longer. */
START_TEST(structs_of_a_later_version_are_taken_unless_they_ask_for_more)
	{
		struct {
			struct redmutex_acquire_options known;
			int64_t later;
		} options = {REDMUTEX_ACQUIRE_OPTIONS_INIT, 0};
		struct {
			struct redmutex_lock known;
			int64_t later;
		} lock = {REDMUTEX_LOCK_INIT, 42};
		redmutex_t *rm = start(
			STEPS("< ACQUIRE a ttl=900", "> $1 OK " LOCK_A " ttl=900 fence=1024"));

		options.known.size = sizeof(options);
		options.known.ttl_ms = 900;
		lock.known.size = sizeof(lock);
		options.later = 1;
		ck_assert_int_eq(redmutex_acquire(rm, "a", &options.known, &lock.known),
				 REDMUTEX_EINVAL);
		options.later = 0;
		ck_assert_int_eq(redmutex_acquire(rm, "a", &options.known, &lock.known), 0);
		ck_assert_int_eq(lock.known.fence, 1024);
		ck_assert_int_eq(lock.known.size, sizeof(lock));
		ck_assert_int_eq(lock.later, 42);
		finish(rm);
	}
END_TEST

START_TEST(an_error_brings_the_daemons_own_words)
	{
		struct redmutex_lock lock = REDMUTEX_LOCK_INIT;
		redmutex_t *rm =
			start(STEPS("< ACQUIRE a", "> $1 ERR unavailable store b says: no, thanks",
				    "< BREAK a", "> $1 ERR of_a_later_version what"));

		ck_assert_int_eq(redmutex_acquire(rm, "a", NULL, &lock), REDMUTEX_EUNAVAILABLE);
		ck_assert_str_eq(redmutex_error_text(rm), "store b says: no, thanks");
		ck_assert_int_eq(redmutex_break(rm, "a"), REDMUTEX_EINTERNAL);
		finish(rm);
	}
END_TEST

static void count_info(redmutex_t *rm, const struct redmutex_info *info, void *arg)
{
	struct seen *seen = arg;

	(void)rm;
	seen->n++;
	snprintf(seen->name, sizeof(seen->name), "%s", info->name);
	seen->number += info->waiters;
}

static void count_stat(redmutex_t *rm, const char *metric, const char *value, void *arg)
{
	struct seen *seen = arg;

	(void)rm;
	seen->n++;
	snprintf(seen->name, sizeof(seen->name), "%s", metric);
	seen->number += atoi(value);
}

START_TEST(questions_bring_their_answers)
	{
		struct redmutex_info info = REDMUTEX_INFO_INIT;
		struct seen list = {.n = 0}, stats = {.n = 0};
		redmutex_t *rm = start(
			STEPS("< EXISTS a", "> $1 OK true", "< EXISTS a", "> $1 OK false",
			      "< EXTEND a x ttl=70", "> $1 OK ttl=69", "< INFO a",
			      "> $1 OK locked=true holder=here waiters=3 pid=7 uid=8 comm=a%20b "
			      "note=n held=9 "
			      "ttl=10 fence=11 owner=pid:7 color=red",
			      "< LIST a*", "> $1 ITEM aa locked=false holder=none waiters=1",
			      "> $1 ITEM ab locked=unknown holder=none waiters=2", "> $1 OK 2",
			      "< STATS", "> $1 ITEM m 40", "> $1 ITEM n 2", "> $1 OK 2"));
		int64_t left_ms;
		int exists;

		ck_assert_int_eq(redmutex_exists(rm, "a", &exists), 0);
		ck_assert_int_eq(exists, 1);
		ck_assert_int_eq(redmutex_exists(rm, "a", &exists), 0);
		ck_assert_int_eq(exists, 0);
		ck_assert_int_eq(redmutex_extend(rm, "a", "x", 70, &left_ms), 0);
		ck_assert_int_eq(left_ms, 69);
		ck_assert_int_eq(redmutex_info(rm, "a", &info), 0);
		ck_assert_str_eq(info.name, "a");
		ck_assert_int_eq(info.locked, REDMUTEX_LOCKED);
		ck_assert_int_eq(info.holder, REDMUTEX_HOLDER_HERE);
		ck_assert_int_eq(info.waiters, 3);
		ck_assert_int_eq(info.pid, 7);
		ck_assert_int_eq(info.uid, 8);
		ck_assert_str_eq(info.comm, "a b");
		ck_assert_str_eq(info.note, "n");
		ck_assert_int_eq(info.held_ms, 9);
		ck_assert_int_eq(info.ttl_ms, 10);
		ck_assert_int_eq(info.fence, 11);
		ck_assert_str_eq(info.owner, "pid:7");
		ck_assert_int_eq(info.members, -1);
		ck_assert_int_eq(redmutex_list(rm, "a*", count_info, &list), 0);
		ck_assert_int_eq(list.n, 2);
		ck_assert_str_eq(list.name, "ab");
		ck_assert_int_eq(list.number, 3);
		ck_assert_int_eq(redmutex_stats(rm, count_stat, &stats), 0);
		ck_assert_int_eq(stats.n, 2);
		ck_assert_str_eq(stats.name, "n");
		ck_assert_int_eq(stats.number, 42);
		finish(rm);
	}
END_TEST

START_TEST(many_requests_are_open_at_once_and_answered_in_any_order)
	{
		struct seen a = {.n = 0}, b = {.n = 0}, c = {.n = 0};
		redmutex_t *rm =
			start(STEPS("< ACQUIRE a wait=forever", "< EXISTS b", "< PING", "> $1 OK",
				    "> $2 OK true", "> $3 OK " LOCK_A " ttl=100", "|"));
		struct redmutex_acquire_options options = REDMUTEX_ACQUIRE_OPTIONS_INIT;

		options.wait_ms = REDMUTEX_FOREVER;
		ck_assert_int_eq(redmutex_acquire_async(rm, "a", &options, on_done, &a, NULL), 0);
		ck_assert_int_eq(redmutex_exists_async(rm, "b", on_done, &b, NULL), 0);
		ck_assert_int_eq(redmutex_ping_async(rm, on_done, &c, NULL), 0);
		ck_assert_int_eq(redmutex_events(rm), POLLIN | POLLOUT);
		dispatch_until(rm, &a.n, 1);
		ck_assert_int_eq(redmutex_events(rm), POLLIN);
		ck_assert_str_eq(a.lock, LOCK_A);
		ck_assert_int_eq(b.n, 1);
		ck_assert_int_eq(b.number, 1);
		ck_assert_str_eq(b.name, "b");
		ck_assert_int_eq(c.n, 1);
		/* The three requests and HELLO went out together. */
		ck_assert_uint_eq(script.reads, 1);
		script_go(&script);
		finish(rm);
	}
END_TEST

START_TEST(a_request_can_be_cancelled)
	{
		struct seen a = {.n = 0};
		struct redmutex_acquire_options options = REDMUTEX_ACQUIRE_OPTIONS_INIT;
		redmutex_t *rm = start(STEPS("< ACQUIRE a wait=forever", "< CANCEL ?",
					     "> $2 ERR cancelled", "> $1 OK"));
		uint64_t id;

		options.wait_ms = REDMUTEX_FOREVER;
		ck_assert_int_eq(redmutex_acquire_async(rm, "a", &options, on_done, &a, &id), 0);
		ck_assert_int_eq(redmutex_cancel(rm, id), 0);
		dispatch_until(rm, &a.n, 1);
		ck_assert_int_eq(a.error, REDMUTEX_ECANCELLED);
		ck_assert_int_eq(redmutex_cancel(rm, id), REDMUTEX_EINVAL);
		finish(rm);
	}
END_TEST

START_TEST(a_lost_lock_is_reported_once_and_dead)
	{
		struct redmutex_lock lock = REDMUTEX_LOCK_INIT;
		struct seen lost = {.n = 0}, expiring = {.n = 0};
		redmutex_t *rm = start(STEPS(
			"< ACQUIRE a", "> $1 OK " LOCK_A " ttl=9000",
			"> EVENT EXPIRING a " LOCK_A " 3000", "> EVENT OF_A_LATER_VERSION a b c",
			"> EVENT LOST a " LOCK_A " expired", "> EVENT LOST a " LOCK_A " expired",
			"< PING", "> $1 OK"));

		redmutex_on_lost(rm, on_event, &lost);
		redmutex_on_expiring(rm, on_event, &expiring);
		ck_assert_int_eq(redmutex_acquire(rm, "a", NULL, &lock), 0);
		ck_assert_int_eq(redmutex_ping(rm), 0);
		ck_assert_int_eq(expiring.n, 1);
		ck_assert_int_eq(expiring.left_ms, 3000);
		ck_assert_int_eq(lost.n, 1);
		ck_assert_str_eq(lost.name, "a");
		ck_assert_str_eq(lost.lock, LOCK_A);
		ck_assert_str_eq(lost.reason, "expired");
		ck_assert_int_eq(redmutex_check(rm, lock.lock, NULL), REDMUTEX_EUNLOCK_FAIL);
		finish(rm);
	}
END_TEST

START_TEST(check_reads_what_has_come_without_blocking)
	{
		struct redmutex_lock lock = REDMUTEX_LOCK_INIT;
		redmutex_t *rm = start(STEPS("< ACQUIRE a", "> $1 OK " LOCK_A " ttl=9000", "|",
					     "> EVENT LOST a " LOCK_A " broken", "|"));
		struct pollfd poll_fd = {.events = POLLIN};

		ck_assert_int_eq(redmutex_acquire(rm, "a", NULL, &lock), 0);
		ck_assert_int_eq(redmutex_check(rm, lock.lock, NULL), 0);
		script_go(&script);
		poll_fd.fd = redmutex_fd(rm);
		ck_assert_int_eq(poll(&poll_fd, 1, 5000), 1);
		ck_assert_int_eq(redmutex_check(rm, lock.lock, NULL), REDMUTEX_EUNLOCK_FAIL);
		script_go(&script);
		finish(rm);
	}
END_TEST

START_TEST(a_lease_whose_daemon_is_silent_is_seen_to_run_out)
	{
		struct redmutex_acquire_options options = REDMUTEX_ACQUIRE_OPTIONS_INIT;
		struct redmutex_lock lock = REDMUTEX_LOCK_INIT;
		redmutex_t *rm =
			start(STEPS("< ACQUIRE a*", "> $1 OK " LOCK_A " ttl=50 fence=7",
				    "< ACQUIRE b*", "> $1 OK " LOCK_B " ttl=50 fence=7", "|"));
		int64_t left_ms;

		ck_assert_int_eq(redmutex_acquire(rm, "a", NULL, &lock), 0);
		options.renew = REDMUTEX_RENEW_NO;
		ck_assert_int_eq(redmutex_acquire(rm, "b", &options, &lock), 0);
		poll(NULL, 0, 60);
		/* This one may have been renewed: not known to be lost, but nothing vouches for it.
		 */
		ck_assert_int_eq(redmutex_check(rm, LOCK_A, &left_ms), 0);
		ck_assert_int_eq(left_ms, 0);
		/* This one can't. */
		ck_assert_int_eq(redmutex_check(rm, LOCK_B, &left_ms), REDMUTEX_EUNLOCK_FAIL);
		script_go(&script);
		finish(rm);
	}
END_TEST

START_TEST(a_lease_that_the_daemon_renews_is_seen_to_go_on)
	{
		struct redmutex_lock lock = REDMUTEX_LOCK_INIT;
		redmutex_t *rm = start(
			STEPS("< ACQUIRE a*", "> $1 OK " LOCK_A " ttl=50 fence=7", "< INFO a",
			      "> $1 OK locked=true holder=here waiters=0 ttl=40000 fence=7", "|"));
		struct pollfd poll_fd = {.events = POLLIN};
		int64_t left_ms;

		ck_assert_int_eq(redmutex_acquire(rm, "a", NULL, &lock), 0);
		poll(NULL, 0, 60);
		ck_assert_int_eq(redmutex_check(rm, LOCK_A, &left_ms), 0);
		poll_fd.fd = redmutex_fd(rm);
		ck_assert_int_eq(poll(&poll_fd, 1, 5000), 1);
		ck_assert_int_eq(redmutex_check(rm, LOCK_A, &left_ms), 0);
		ck_assert_int_gt(left_ms, 30000);
		script_go(&script);
		finish(rm);
	}
END_TEST

START_TEST(another_holders_lease_does_not_count_for_ours)
	{
		struct redmutex_lock lock = REDMUTEX_LOCK_INIT;
		redmutex_t *rm = start(
			STEPS("< ACQUIRE a*", "> $1 OK " LOCK_A " ttl=50 fence=7", "< INFO a",
			      "> $1 OK locked=true holder=here waiters=0 ttl=40000 fence=8", "|"));
		struct pollfd poll_fd = {.events = POLLIN};
		int64_t left_ms;

		ck_assert_int_eq(redmutex_acquire(rm, "a", NULL, &lock), 0);
		poll(NULL, 0, 60);
		ck_assert_int_eq(redmutex_check(rm, LOCK_A, &left_ms), 0);
		poll_fd.fd = redmutex_fd(rm);
		ck_assert_int_eq(poll(&poll_fd, 1, 5000), 1);
		ck_assert_int_eq(redmutex_check(rm, LOCK_A, &left_ms), 0);
		ck_assert_int_eq(left_ms, 0);
		script_go(&script);
		finish(rm);
	}
END_TEST

START_TEST(a_lost_connection_loses_the_locks_that_live_with_it)
	{
		struct redmutex_acquire_options options = REDMUTEX_ACQUIRE_OPTIONS_INIT;
		struct redmutex_lock lock = REDMUTEX_LOCK_INIT;
		struct seen lost = {.n = 0}, open = {.n = 0};
		redmutex_t *rm = start(STEPS("< ACQUIRE a", "> $1 OK " LOCK_A " ttl=9000",
					     "< ACQUIRE b owner=none",
					     "> $1 OK " LOCK_B " ttl=9000", "< PING", "."));

		redmutex_on_lost(rm, on_event, &lost);
		ck_assert_int_eq(redmutex_acquire(rm, "a", NULL, &lock), 0);
		options.owner = REDMUTEX_OWNER_NONE;
		ck_assert_int_eq(redmutex_acquire(rm, "b", &options, &lock), 0);
		ck_assert_int_eq(redmutex_ping_async(rm, on_done, &open, NULL), 0);
		dispatch_until(rm, &open.n, 1);
		ck_assert_int_eq(open.error, REDMUTEX_ECLOSED);
		ck_assert_int_eq(lost.n, 1);
		ck_assert_str_eq(lost.lock, LOCK_A);
		ck_assert_str_eq(lost.reason, "disconnected");
		ck_assert_int_eq(redmutex_ping(rm), REDMUTEX_ECLOSED);
		ck_assert_int_eq(redmutex_fd(rm), REDMUTEX_ECLOSED);
		ck_assert_int_eq(redmutex_events(rm), REDMUTEX_ECLOSED);
		ck_assert_int_eq(redmutex_dispatch(rm), REDMUTEX_ECLOSED);
		ck_assert_int_eq(redmutex_ping_async(rm, on_done, &open, NULL), REDMUTEX_ECLOSED);
		ck_assert_int_eq(open.n, 1);
		finish(rm);
	}
END_TEST

START_TEST(a_refused_connection_says_why)
	{
		redmutex_t *rm = start(STEPS("> ERR limit max_clients = 1 is reached", "."));

		poll(NULL, 0, 20);
		ck_assert_int_eq(redmutex_ping(rm), REDMUTEX_ELIMIT);
		ck_assert_str_eq(redmutex_error_text(rm), "max_clients = 1 is reached");
		finish(rm);
		rm = start(
			STEPS("< HELLO protocol=1", "> @hello ERR unsupported only 2 here", "EOF"));
		ck_assert_int_eq(redmutex_ping(rm), REDMUTEX_EUNSUPPORTED);
		finish(rm);
	}
END_TEST

START_TEST(nonsense_ends_the_connection)
	{
		static const char *const nonsense[] = {
			">> \x01\n",
			"> HOW ARE YOU",
			"> @zzz OK",
			"> @9999 OK",
			"> $1 OK",
			"> EVENT LOST",
			"> EVENT EXPIRING a " LOCK_A " soon",
		};
		struct redmutex_lock lock = REDMUTEX_LOCK_INIT;
		redmutex_t *rm;
		int exists;

		for (size_t i = 0; i < sizeof(nonsense) / sizeof(*nonsense); i++) {
			rm = start(STEPS("< ACQUIRE a", "> $1 OK " LOCK_A " ttl=1", "< EXISTS a",
					 nonsense[i], "EOF"));
			ck_assert_int_eq(redmutex_acquire(rm, "a", NULL, &lock), 0);
			ck_assert_int_eq(redmutex_exists(rm, "a", &exists), REDMUTEX_EINTERNAL);
			ck_assert_int_eq(redmutex_ping(rm), REDMUTEX_ECLOSED);
			finish(rm);
		}
	}
END_TEST

START_TEST(a_line_without_end_ends_the_connection)
	{
		static char line[6000] = ">> ";
		redmutex_t *rm;

		memset(line + 3, 'x', sizeof(line) - 4);
		rm = start(STEPS("< PING", line, "EOF"));
		ck_assert_int_eq(redmutex_ping(rm), REDMUTEX_EINTERNAL);
		finish(rm);
	}
END_TEST

START_TEST(replies_may_come_in_single_bytes)
	{
		redmutex_t *rm =
			start(STEPS("< EXISTS a", ">> @", ">> 0", ">> \x20OK t", "SLEEP",
				    ">> rue\r", "SLEEP", ">> \n@hello OK\n", "< PING", "> $1 OK"));
		int exists = 0;

		ck_assert_int_eq(redmutex_exists(rm, "a", &exists), 0);
		ck_assert_int_eq(exists, 1);
		ck_assert_int_eq(redmutex_ping(rm), 0);
		finish(rm);
	}
END_TEST

START_TEST(a_release_that_is_not_waited_for_goes_out_with_the_next_request)
	{
		struct redmutex_lock lock = REDMUTEX_LOCK_INIT;
		redmutex_t *rm = start(STEPS("< ACQUIRE a", "> $1 OK " LOCK_A " ttl=9000",
					     "< RELEASE a " LOCK_A, "< ACQUIRE a", "> $2 OK",
					     "> $1 OK " LOCK_B " ttl=9000"));

		ck_assert_int_eq(redmutex_acquire(rm, "a", NULL, &lock), 0);
		ck_assert_int_eq(redmutex_release_nowait(rm, "a", lock.lock), 0);
		ck_assert_int_eq(redmutex_check(rm, LOCK_A, NULL), REDMUTEX_EUNLOCK_FAIL);
		ck_assert_int_eq(redmutex_acquire(rm, "a", NULL, &lock), 0);
		ck_assert_str_eq(lock.lock, LOCK_B);
		finish(rm);
	}
END_TEST

static void on_failed(redmutex_t *rm, const char *name, const char *lock, int error,
		      const char *text, void *arg)
{
	struct seen *seen = arg;

	(void)rm;
	seen->n++;
	seen->error = error;
	snprintf(seen->name, sizeof(seen->name), "%s", name);
	snprintf(seen->lock, sizeof(seen->lock), "%s", lock);
	snprintf(seen->text, sizeof(seen->text), "%s", text);
}

START_TEST(its_failure_is_told_to_a_callback)
	{
		struct seen failed = {.n = 0};
		redmutex_t *rm = start(STEPS("< RELEASE a x", "> $1 ERR unlock_fail gone", "|"));

		redmutex_on_release_failed(rm, on_failed, &failed);
		ck_assert_int_eq(redmutex_release_nowait(rm, "a", "x"), 0);
		dispatch_until(rm, &failed.n, 1);
		ck_assert_int_eq(failed.error, REDMUTEX_EUNLOCK_FAIL);
		ck_assert_str_eq(failed.name, "a");
		ck_assert_str_eq(failed.lock, "x");
		ck_assert_str_eq(failed.text, "gone");
		script_go(&script);
		finish(rm);
	}
END_TEST

START_TEST(close_sends_what_is_unsent)
	{
		redmutex_t *rm = start(STEPS("< RELEASE a x", "EOF"));

		ck_assert_int_eq(redmutex_release_nowait(rm, "a", "x"), 0);
		finish(rm);
	}
END_TEST

START_TEST(a_refused_release_leaves_the_lock_standing)
	{
		struct redmutex_lock lock = REDMUTEX_LOCK_INIT;
		redmutex_t *rm =
			start(STEPS("< ACQUIRE a", "> $1 OK " LOCK_A " ttl=9000", "< RELEASE *",
				    "> $1 ERR limit max_pending_per_client", "|"));

		ck_assert_int_eq(redmutex_acquire(rm, "a", NULL, &lock), 0);
		ck_assert_int_eq(redmutex_release(rm, "a", lock.lock), REDMUTEX_ELIMIT);
		ck_assert_int_eq(redmutex_check(rm, lock.lock, NULL), 0);
		script_go(&script);
		finish(rm);
	}
END_TEST

START_TEST(a_daemon_that_hangs_is_given_up_and_its_late_lock_goes_back)
	{
		struct redmutex_connect_options options = REDMUTEX_CONNECT_OPTIONS_INIT;
		struct redmutex_lock lock = REDMUTEX_LOCK_INIT;
		redmutex_t *rm;

		options.timeout_ms = 50;
		rm = start_with(STEPS("< ACQUIRE a", "< CANCEL 0", "> $2 OK " LOCK_A " ttl=900",
				      "> $1 ERR syntax none is open", "< PING", "> $1 OK",
				      "< RELEASE a " LOCK_A, "> $1 OK"),
				&options);
		ck_assert_int_eq(redmutex_acquire(rm, "a", NULL, &lock), REDMUTEX_ETIMEDOUT);
		ck_assert_int_eq(redmutex_ping(rm), 0);
		ck_assert_int_eq(redmutex_check(rm, LOCK_A, NULL), REDMUTEX_EUNLOCK_FAIL);
		finish(rm);
	}
END_TEST

START_TEST(and_no_later_than_asked_for)
	{
		struct redmutex_connect_options options = REDMUTEX_CONNECT_OPTIONS_INIT;
		struct redmutex_acquire_options wait = REDMUTEX_ACQUIRE_OPTIONS_INIT;
		struct redmutex_lock lock = REDMUTEX_LOCK_INIT;
		int64_t begin_us, took_ms;
		redmutex_t *rm;

		options.timeout_ms = 1000;
		wait.wait_ms = 100;
		rm = start_with(STEPS("< ACQUIRE a wait=*", "EOF"), &options);
		begin_us = redmutex_now_us();
		ck_assert_int_eq(redmutex_acquire(rm, "a", &wait, &lock), REDMUTEX_ETIMEDOUT);
		took_ms = (redmutex_now_us() - begin_us) / 1000;
		ck_assert_int_ge(took_ms, 1100);
		ck_assert_int_lt(took_ms, 1900);
		finish(rm);
	}
END_TEST

START_TEST(a_connection_can_be_made_again_and_a_wait_gone_on_with)
	{
		struct redmutex_connect_options options = REDMUTEX_CONNECT_OPTIONS_INIT;
		struct redmutex_acquire_options wait = REDMUTEX_ACQUIRE_OPTIONS_INIT;
		struct redmutex_lock lock = REDMUTEX_LOCK_INIT;
		redmutex_t *rm;

		options.reconnect_ms = 2000;
		wait.wait_ms = REDMUTEX_FOREVER;
		rm = start_with(STEPS("< ACQUIRE a wait=forever", ".", "+",
				      "< ACQUIRE a wait=forever", ".", "+",
				      "< ACQUIRE a wait=forever", "> $1 OK " LOCK_A " ttl=900"),
				&options);
		ck_assert_int_eq(redmutex_acquire(rm, "a", &wait, &lock), 0);
		finish(rm);
	}
END_TEST

START_TEST(without_that_option_it_is_made_again_when_asked_for)
	{
		redmutex_t *rm = start(STEPS("< PING", ".", "+", "< PING", "> $1 OK"));

		ck_assert_int_eq(redmutex_ping(rm), REDMUTEX_ECLOSED);
		ck_assert_int_eq(redmutex_ping(rm), REDMUTEX_ECLOSED);
		ck_assert_int_eq(redmutex_reconnect(rm), 0);
		ck_assert_int_eq(redmutex_ping(rm), 0);
		finish(rm);
	}
END_TEST

START_TEST(no_daemon_no_connection)
	{
		redmutex_t *rm;

		ck_assert_int_eq(redmutex_connect(&rm, "/nonexistent/socket", NULL),
				 REDMUTEX_ECONNECT);
		ck_assert_int_eq(errno, ENOENT);
		ck_assert_ptr_null(rm);
		ck_assert_str_eq(
			redmutex_error_text(NULL),
			"cannot connect to /nonexistent/socket: No such file or directory");
		ck_assert_int_eq(setenv("REDMUTEX_SOCKET", "/nonexistent/other", 1), 0);
		ck_assert_int_eq(redmutex_connect(&rm, NULL, NULL), REDMUTEX_ECONNECT);
		ck_assert_str_eq(redmutex_error_text(NULL),
				 "cannot connect to /nonexistent/other: No such file or directory");
	}
END_TEST

START_TEST(a_callback_may_close_the_connection)
	{
		struct seen done = {.n = 0}, other = {.n = 0};
		redmutex_t *rm = start(STEPS("< PING", "< PING", "> $2 OK", "EOF"));
		struct pollfd poll_fd = {.fd = redmutex_fd(rm), .events = POLLIN};

		done.close = rm;
		ck_assert_int_eq(redmutex_ping_async(rm, on_done, &done, NULL), 0);
		ck_assert_int_eq(redmutex_ping_async(rm, on_done, &other, NULL), 0);
		ck_assert_int_eq(redmutex_flush(rm), 0);
		ck_assert_int_eq(poll(&poll_fd, 1, 5000), 1);
		while (redmutex_dispatch(rm) == 0 && done.n == 0)
			;
		ck_assert_int_eq(done.n, 1);
		ck_assert_int_eq(other.error, REDMUTEX_ECLOSED);
		script_end(&script);
	}
END_TEST

static void call_again(redmutex_t *rm, const struct redmutex_result *result, void *arg)
{
	ck_assert_int_eq(result->error, 0);
	*(int *)arg = redmutex_exists(rm, "a", &(int){0}) + 2;
}

START_TEST(a_callback_may_make_a_blocking_call)
	{
		redmutex_t *rm = start(STEPS("< PING", "> $1 OK", "< EXISTS a", "> $1 OK true"));
		int outcome = 0;

		ck_assert_int_eq(redmutex_ping_async(rm, call_again, &outcome, NULL), 0);
		dispatch_until(rm, &outcome, 2);
		finish(rm);
	}
END_TEST

START_TEST(a_child_closes_its_copy_and_is_told_so)
	{
		struct redmutex_lock lock = REDMUTEX_LOCK_INIT;
		redmutex_t *rm = start(
			STEPS("< ACQUIRE a", "> $1 OK " LOCK_A " ttl=9000", "< PING", "> $1 OK"));
		int status;
		pid_t child;

		ck_assert_int_eq(redmutex_acquire(rm, "a", NULL, &lock), 0);
		child = fork();
		ck_assert_int_ge(child, 0);
		if (child == 0) {
			int fd = redmutex_fd(rm);

			if (fd != REDMUTEX_EFORKED || redmutex_ping(rm) != REDMUTEX_EFORKED ||
			    redmutex_check(rm, lock.lock, NULL) != REDMUTEX_EFORKED ||
			    redmutex_dispatch(rm) != REDMUTEX_EFORKED ||
			    redmutex_ping_async(rm, NULL, NULL, NULL) != REDMUTEX_EFORKED)
				_exit(1);
			redmutex_close(rm);
			/* Not _exit(): valgrind would look for what the script's thread has. */
			execl("/bin/true", "true", (char *)NULL);
			_exit(1);
		}
		ck_assert_int_eq(waitpid(child, &status, 0), child);
		ck_assert_int_eq(status, 0);
		ck_assert_int_eq(redmutex_ping(rm), 0);
		finish(rm);
	}
END_TEST

START_TEST(a_dead_daemon_raises_no_sigpipe)
	{
		redmutex_t *rm = start(STEPS("< PING", "> $1 OK", "."));
		struct pollfd poll_fd = {.fd = redmutex_fd(rm), .events = POLLIN};

		ck_assert_ptr_ne(signal(SIGPIPE, SIG_DFL), SIG_ERR);
		ck_assert_int_eq(redmutex_ping(rm), 0);
		ck_assert_int_eq(poll(&poll_fd, 1, 5000), 1);
		ck_assert_int_eq(redmutex_ping(rm), REDMUTEX_ECLOSED);
		finish(rm);
	}
END_TEST

static int body(redmutex_t *rm, const struct redmutex_lock *lock, void *arg)
{
	ck_assert_int_eq(redmutex_check(rm, lock->lock, NULL), 0);
	*(int64_t *)arg = lock->fence;
	return 17;
}

START_TEST(synchronize_runs_releases_and_hands_on)
	{
		redmutex_t *rm = start(STEPS("< ACQUIRE a", "> $1 OK " LOCK_A " ttl=9000 fence=4",
					     "< RELEASE a " LOCK_A, "> $1 OK", "< ACQUIRE a",
					     "> $1 OK " LOCK_B " ttl=9000 fence=5",
					     "< RELEASE a " LOCK_B, "> $1 ERR unlock_fail",
					     "< ACQUIRE a", "> $1 ERR already_locked"));
		int64_t fence = 0;
		int outcome = 0;

		ck_assert_int_eq(redmutex_synchronize(rm, "a", NULL, body, &fence, &outcome), 0);
		ck_assert_int_eq(outcome, 17);
		ck_assert_int_eq(fence, 4);
		outcome = 0;
		ck_assert_int_eq(redmutex_synchronize(rm, "a", NULL, body, &fence, &outcome),
				 REDMUTEX_EUNLOCK_FAIL);
		ck_assert_int_eq(outcome, 17);
		outcome = 0;
		ck_assert_int_eq(redmutex_synchronize(rm, "a", NULL, body, &fence, &outcome),
				 REDMUTEX_EALREADY_LOCKED);
		ck_assert_int_eq(outcome, 0);
		ck_assert_int_eq(fence, 5);
		finish(rm);
	}
END_TEST

START_TEST(each_error_has_a_name_a_sentence_and_a_status)
	{
		for (int error = REDMUTEX_EINTERNAL; error < 0; error++) {
			ck_assert_str_ne(redmutex_strerror(error), redmutex_strerror(-99));
			ck_assert_str_ne(redmutex_error_name(error), redmutex_error_name(-99));
			ck_assert_int_gt(redmutex_exit_status(error), 0);
		}
		for (int error = REDMUTEX_ENOMEM; error <= REDMUTEX_EFORKED; error++) {
			ck_assert_str_ne(redmutex_strerror(error), redmutex_strerror(-99));
			ck_assert_str_ne(redmutex_error_name(error), redmutex_error_name(-99));
			ck_assert_int_gt(redmutex_exit_status(error), 0);
		}
		ck_assert_str_eq(redmutex_error_name(REDMUTEX_EALREADY_LOCKED), "already_locked");
		ck_assert_int_eq(redmutex_exit_status(0), 0);
		ck_assert_int_eq(redmutex_exit_status(REDMUTEX_EALREADY_LOCKED), 1);
		ck_assert_int_eq(redmutex_exit_status(REDMUTEX_EUNKNOWN_MUTEX), 64);
		ck_assert_int_eq(redmutex_exit_status(REDMUTEX_ECLOSED), 69);
		ck_assert_int_eq(redmutex_exit_status(REDMUTEX_EUNSUPPORTED), 70);
		ck_assert_int_eq(redmutex_exit_status(REDMUTEX_ELIMIT), 75);
		ck_assert_int_eq(redmutex_exit_status(REDMUTEX_EDENIED), 77);
		ck_assert_str_eq(redmutex_version(), PACKAGE_VERSION);
	}
END_TEST

int main(void)
{
	Suite *suite = suite_create("client/library");
	TCase *calls = tcase_create("calls");
	TCase *leases = tcase_create("leases");
	TCase *faults = tcase_create("faults");

	tcase_add_test(calls, acquire_hands_on_the_lock_its_lease_and_its_fence);
	tcase_add_test(calls, every_option_of_an_acquisition_is_sent);
	tcase_add_test(calls, malformed_arguments_are_refused_before_they_are_sent);
	tcase_add_test(calls, structs_of_a_later_version_are_taken_unless_they_ask_for_more);
	tcase_add_test(calls, an_error_brings_the_daemons_own_words);
	tcase_add_test(calls, questions_bring_their_answers);
	tcase_add_test(calls, many_requests_are_open_at_once_and_answered_in_any_order);
	tcase_add_test(calls, a_request_can_be_cancelled);
	tcase_add_test(calls, a_release_that_is_not_waited_for_goes_out_with_the_next_request);
	tcase_add_test(calls, its_failure_is_told_to_a_callback);
	tcase_add_test(calls, close_sends_what_is_unsent);
	tcase_add_test(calls, synchronize_runs_releases_and_hands_on);
	tcase_add_test(calls, a_callback_may_close_the_connection);
	tcase_add_test(calls, a_callback_may_make_a_blocking_call);
	tcase_add_test(calls, each_error_has_a_name_a_sentence_and_a_status);
	suite_add_tcase(suite, calls);

	tcase_add_test(leases, a_lost_lock_is_reported_once_and_dead);
	tcase_add_test(leases, check_reads_what_has_come_without_blocking);
	tcase_add_test(leases, a_lease_whose_daemon_is_silent_is_seen_to_run_out);
	tcase_add_test(leases, a_lease_that_the_daemon_renews_is_seen_to_go_on);
	tcase_add_test(leases, another_holders_lease_does_not_count_for_ours);
	tcase_add_test(leases, a_lost_connection_loses_the_locks_that_live_with_it);
	tcase_add_test(leases, a_refused_release_leaves_the_lock_standing);
	suite_add_tcase(suite, leases);

	tcase_add_test(faults, a_refused_connection_says_why);
	tcase_add_test(faults, nonsense_ends_the_connection);
	tcase_add_test(faults, a_line_without_end_ends_the_connection);
	tcase_add_test(faults, replies_may_come_in_single_bytes);
	tcase_add_test(faults, a_daemon_that_hangs_is_given_up_and_its_late_lock_goes_back);
	tcase_add_test(faults, and_no_later_than_asked_for);
	tcase_add_test(faults, a_connection_can_be_made_again_and_a_wait_gone_on_with);
	tcase_add_test(faults, without_that_option_it_is_made_again_when_asked_for);
	tcase_add_test(faults, no_daemon_no_connection);
	tcase_add_test(faults, a_child_closes_its_copy_and_is_told_so);
	tcase_add_test(faults, a_dead_daemon_raises_no_sigpipe);
	suite_add_tcase(suite, faults);

	return suite_run(suite);
}
