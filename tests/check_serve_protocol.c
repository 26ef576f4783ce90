/* SPDX-License-Identifier: MIT */
/* The protocol as its clients meet it: each verb, order, hanging up, malformed lines. */
#include "config.h"

#include <linux/sockios.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness.h"
#include "suite.h"

static struct daemon *daemon_;
static struct client *c, *d;

static const char sections[] = "[mutex a]\nkey = a\n"
			       "[mutex b]\nkey = b\n"
			       "[mutex nofence]\nkey = nofence\nfence = no\n"
			       "[mutex fam-*]\nexpiration_in_seconds = 60\n";

static void setup(void)
{
	daemon_ = daemon_spawn("max_locks_per_client = 3\n", sections);
	c = client_connect(daemon_);
	d = client_connect(daemon_);
}

static void teardown(void)
{
	client_close(c);
	client_close(d);
	ck_assert_int_eq(daemon_stop(daemon_), 0);
}

/* ------------------------------------------------------------------ verbs */

START_TEST(hello_tells_version_protocol_and_pid)
	{
		char pattern[64];

		snprintf(pattern, sizeof(pattern), "OK redmutexd version=* protocol=1 pid=%d",
			 (int)daemon_->pid);
		say(c, "HELLO");
		expect(c, pattern);
		say(c, "HELLO protocol=1");
		expect(c, pattern);
		say(c, "HELLO protocol=2");
		expect(c, "ERR unsupported *");
	}
END_TEST

START_TEST(ping_is_answered)
	{
		say(c, "PING");
		expect(c, "OK");
		say(c, "@t.1 ping");
		expect(c, "@t.1 OK");
	}
END_TEST

START_TEST(a_lock_is_acquired_refused_to_others_and_released)
	{
		char *lock = acquire(c, "a");

		ck_assert_uint_eq(strlen(lock), 44);
		say(d, "ACQUIRE a");
		expect(d, "ERR already_locked *");
		say(d, "EXISTS a");
		expect(d, "OK true");
		say(c, "RELEASE a %s", lock);
		expect(c, "OK");
		say(c, "RELEASE a %s", lock);
		expect(c, "ERR unlock_fail *");
		say(d, "EXISTS a");
		expect(d, "OK false");
		free(lock);
	}
END_TEST

START_TEST(any_connection_that_knows_the_lock_may_release_it)
	{
		char *lock = acquire(c, "a");

		say(d, "RELEASE a %s", lock);
		expect(d, "OK");
		say(d, "ACQUIRE a");
		expect(d, "OK *");
		free(lock);
	}
END_TEST

START_TEST(ttl_and_fence_are_as_promised)
	{
		long long ttl, first, second;
		const char *reply;
		char *lock;

		say(c, "ACQUIRE a ttl=10000");
		reply = expect(c, "OK * ttl=* fence=*");
		ck_assert_int_eq(sscanf(strstr(reply, "ttl="), "ttl=%lld fence=%lld", &ttl, &first),
				 2);
		/* 2 ms and 1 % for the drift */
		ck_assert_int_le(ttl, 10000 - 102);
		ck_assert_int_gt(ttl, 10000 - 102 - 2000);
		lock = strndup(reply + 3, 44);
		say(c, "RELEASE a %s", lock);
		expect(c, "OK");
		free(lock);
		say(c, "ACQUIRE a");
		reply = expect(c, "OK * ttl=* fence=*");
		ck_assert_int_eq(
			sscanf(strstr(reply, "ttl="), "ttl=%lld fence=%lld", &ttl, &second), 2);
		ck_assert_int_gt(second, first);
		/* An hour by default, of which the drift is 0.05 % or 2 s. */
		ck_assert_int_le(ttl, 3600000 - 2002);

		say(c, "ACQUIRE nofence");
		reply = expect(c, "OK * ttl=*");
		ck_assert_ptr_null(strstr(reply, "fence="));
	}
END_TEST

START_TEST(extend_sets_the_time_that_is_left)
	{
		char *lock = acquire(c, "a ttl=5000");
		long long ttl;

		say(d, "EXTEND a %s ttl=60000", lock);
		ck_assert_int_eq(sscanf(expect(d, "OK ttl=*"), "OK ttl=%lld", &ttl), 1);
		ck_assert_int_gt(ttl, 50000);
		say(d, "EXTEND a %s ttl=20000", lock);
		ck_assert_int_eq(sscanf(expect(d, "OK ttl=*"), "OK ttl=%lld", &ttl), 1);
		ck_assert_int_le(ttl, 20000 - 202);
		say(d, "EXTEND a %s", lock); /* as long as the last time */
		ck_assert_int_eq(sscanf(expect(d, "OK ttl=*"), "OK ttl=%lld", &ttl), 1);
		ck_assert_int_le(ttl, 20000 - 202);
		ck_assert_int_gt(ttl, 10000);
		say(c, "EXTEND a %s", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=");
		expect(c, "ERR unlock_fail *");
		say(c, "EXTEND a short");
		expect(c, "ERR unlock_fail *");
		say(c, "RELEASE a short");
		expect(c, "ERR unlock_fail *");
		free(lock);
	}
END_TEST

START_TEST(info_tells_all_but_the_lock_string)
	{
		char *lock = acquire(c, "a note=it%%27s%%20me ttl=60000");
		char pattern[200];
		const char *reply;

		say(d, "@w ACQUIRE a wait=forever");
		say(d, "@i INFO a");
		snprintf(pattern, sizeof(pattern),
			 "@i OK locked=true holder=here waiters=1 pid=%d uid=%d comm=check_serve* "
			 "note=it's%%20me held=* ttl=* fence=* owner=connection",
			 (int)getpid(), (int)getuid());
		reply = expect(d, pattern);
		ck_assert_ptr_null(strstr(reply, lock));
		say(d, "@i INFO b");
		expect(d, "@i OK locked=false holder=none waiters=0");
		say(d, "@i INFO fam-x");
		expect(d, "@i OK locked=false holder=none waiters=0");
		say(d, "@i INFO other");
		expect(d, "@i ERR unknown_mutex *");
		free(lock);
	}
END_TEST

START_TEST(list_shows_exact_mutexes_members_in_use_and_families)
	{
		char *lock = acquire(c, "fam-1");

		say(d, "EXISTS fam-2");
		expect(d, "OK false");
		say(d, "@l LIST");
		expect(d, "@l ITEM fam-1 locked=true holder=here waiters=0 *");
		expect(d, "@l ITEM a locked=false holder=none waiters=0");
		expect(d, "@l ITEM b locked=false holder=none waiters=0");
		expect(d, "@l ITEM nofence locked=false holder=none waiters=0");
		expect(d, "@l ITEM fam-[*] family=yes members=1");
		expect(d, "@l OK 5");
		say(d, "LIST f*");
		expect(d, "ITEM fam-1 *");
		expect(d, "ITEM fam-[*] family=yes members=1");
		expect(d, "OK 2");
		say(d, "LIST none");
		expect(d, "OK 0");
		free(lock);
	}
END_TEST

START_TEST(stats_count_what_they_say)
	{
		const char *line;
		int n = 0, told;

		free(acquire(c, "a"));
		say(c, "STATS");
		for (;; n++) {
			line = hear(c);
			if (strncmp(line, "ITEM ", 5) != 0)
				break;
			if (!strncmp(line, "ITEM redmutexd_grants_total ", 28))
				ck_assert_str_eq(line, "ITEM redmutexd_grants_total 1");
			if (!strncmp(line, "ITEM redmutexd_held ", 20))
				ck_assert_str_eq(line, "ITEM redmutexd_held 1");
		}
		ck_assert_int_eq(sscanf(line, "OK %d", &told), 1);
		ck_assert_int_eq(told, n);
		ck_assert_int_gt(n, 40);
	}
END_TEST

START_TEST(break_removes_whatever_stands)
	{
		char *lock = acquire(c, "a");
		char event[100];

		say(d, "BREAK a");
		expect(d, "OK");
		snprintf(event, sizeof(event), "EVENT LOST a %s broken", lock);
		expect(c, event);
		say(c, "RELEASE a %s", lock);
		expect(c, "ERR unlock_fail *");
		say(d, "BREAK a");
		expect(d, "ERR unlock_fail *");
		free(lock);
	}
END_TEST

START_TEST(quit_releases_answers_and_closes)
	{
		free(acquire(c, "a"));
		say(d, "@a ACQUIRE a wait=forever");
		say(c, "@b ACQUIRE a wait=forever");
		say(c, "@q QUIT");
		expect(c, "@b ERR cancelled *");
		expect(c, "@q OK");
		expect_eof(c);
		expect(d, "@a OK *");
		say(d, "QUIT");
		expect(d, "OK");
		expect_eof(d);
	}
END_TEST

START_TEST(cancel_answers_the_request_first)
	{
		free(acquire(c, "a"));
		say(d, "@w ACQUIRE a wait=forever");
		say(d, "CANCEL w");
		expect(d, "@w ERR cancelled *");
		expect(d, "OK");
		say(d, "@c CANCEL w");
		expect(d, "@c ERR syntax *");
	}
END_TEST

START_TEST(a_wait_ends_in_time)
	{
		long long began = now_ms();

		free(acquire(c, "a"));
		say(d, "ACQUIRE a wait=200");
		expect(d, "ERR already_locked *");
		ck_assert_int_ge(now_ms() - began, 199);
		ck_assert_int_le(now_ms() - began, 600);
	}
END_TEST

START_TEST(waiters_are_served_in_their_order)
	{
		char *lock = acquire(c, "a");

		say(d, "@1 ACQUIRE a wait=forever");
		say(d, "@2 ACQUIRE a wait=forever");
		say(d, "@p PING");
		expect(d, "@p OK");
		say(c, "RELEASE a %s", lock);
		expect(c, "OK");
		expect(d, "@1 OK *");
		expect_silence(d, 50);
		free(lock);
	}
END_TEST

START_TEST(a_lock_that_is_not_renewed_is_announced_and_lost)
	{
		char *lock = acquire(c, "a ttl=300");
		char pattern[120];
		long long began = now_ms();

		snprintf(pattern, sizeof(pattern), "EVENT EXPIRING a %s *", lock);
		expect(c, pattern);
		snprintf(pattern, sizeof(pattern), "EVENT LOST a %s expired", lock);
		expect(c, pattern);
		ck_assert_int_le(now_ms() - began, 1000); /* of a busy machine */
		say(c, "RELEASE a %s", lock);
		expect(c, "ERR unlock_fail *");
		free(lock);
	}
END_TEST

START_TEST(a_renewed_lock_outlives_its_time)
	{
		char *lock = acquire(c, "a ttl=200 renew=yes");

		expect_silence(c, 600);
		say(c, "RELEASE a %s", lock);
		expect(c, "OK");
		free(lock);
	}
END_TEST

/* ------------------------------------------------------------------ order */

START_TEST(a_request_without_a_tag_is_a_barrier)
	{
		char *lock = acquire(c, "a");

		say(d, "@w ACQUIRE a wait=forever");
		say(d, "PING");
		say(d, "@t PING");
		expect_silence(d, 50);
		say(c, "RELEASE a %s", lock);
		expect(d, "@w OK *");
		expect(d, "OK");
		expect(d, "@t OK");
		free(lock);
	}
END_TEST

START_TEST(what_follows_an_open_barrier_waits_cancel_too)
	{
		free(acquire(c, "a"));
		say(d, "ACQUIRE a wait=150");
		say(d, "@t PING");
		say(d, "CANCEL t");
		expect_silence(d, 50);
		expect(d, "ERR already_locked *");
		expect(d, "@t OK");
		expect(d, "ERR syntax *");
	}
END_TEST

START_TEST(cancel_and_quit_wait_for_no_tagged_request)
	{
		free(acquire(c, "a"));
		say(d, "@1 ACQUIRE a wait=forever");
		say(d, "@2 ACQUIRE a wait=forever");
		say(d, "CANCEL 1");
		expect(d, "@1 ERR cancelled *");
		expect(d, "OK");
		say(d, "QUIT");
		expect(d, "@2 ERR cancelled *");
		expect(d, "OK");
		expect_eof(d);
	}
END_TEST

START_TEST(what_is_refused_is_answered_in_its_turn)
	{
		free(acquire(c, "a"));
		say(d, "@w ACQUIRE a wait=200");
		say(d, "NONSENSE");
		say(d, "@n NONSENSE");
		expect(d, "@w ERR already_locked *");
		expect(d, "ERR unknown_command *");
		expect(d, "@n ERR unknown_command *");
		say(d, "@w ACQUIRE a wait=200");
		say(d, "@n NONSENSE");
		say(d, "@/ PING");
		expect(d, "@n ERR unknown_command *");
		expect(d, "@w ERR already_locked *");
		expect(d, "ERR syntax *");
	}
END_TEST

START_TEST(a_wait_begins_when_its_request_does)
	{
		long long began = now_ms();

		free(acquire(c, "a"));
		say(d, "ACQUIRE a wait=200");
		say(d, "ACQUIRE a wait=200");
		expect(d, "ERR already_locked *");
		ck_assert_int_le(now_ms() - began, 390);
		expect(d, "ERR already_locked *");
		ck_assert_int_ge(now_ms() - began, 398);
	}
END_TEST

START_TEST(what_follows_quit_is_not_read)
	{
		say(c, "QUIT\nQUIT\nACQUIRE b owner=none");
		expect(c, "OK");
		expect_eof(c);
		say(d, "EXISTS b");
		expect(d, "OK false");
	}
END_TEST

START_TEST(many_lines_at_once_are_answered_in_order)
	{
		enum { N = 5000 };
		char *all = malloc(N * 32), *p = all;
		char reply[32];

		for (int i = 0; i < N; i++)
			p += sprintf(p, "@%d PING\n", i);
		say_bytes(c, all, (size_t)(p - all));
		for (int i = 0; i < N; i++) {
			snprintf(reply, sizeof(reply), "@%d OK", i);
			ck_assert_str_eq(hear(c), reply);
		}
		free(all);
	}
END_TEST

/* Has the daemon read what all of them say in one turn of its loop. */
static void say_at_once(struct client *clients[], unsigned n, const char *request)
{
	ck_assert_int_eq(kill(daemon_->pid, SIGSTOP), 0);
	ck_assert_int_eq(waitpid(daemon_->pid, NULL, WUNTRACED), daemon_->pid);
	for (unsigned i = 0; i < n; i++)
		say(clients[i], "%s", request);
	ck_assert_int_eq(kill(daemon_->pid, SIGCONT), 0);
}

/* Are there bytes that the daemon has not taken out of the socket yet? */
static bool has_unread(const struct client *client)
{
	int unread;

	ck_assert_int_eq(ioctl(client->fd, SIOCOUTQ, &unread), 0);
	return unread > 0;
}

/* Since taking them out would wake them up. */
START_TEST(requests_of_a_crowd_stay_in_their_sockets_until_they_are_answered)
	{
		struct client *crowd[8];
		char *lock = acquire(c, "a");
		const unsigned n = sizeof(crowd) / sizeof(*crowd);

		for (unsigned i = 0; i < n; i++) {
			crowd[i] = client_connect(daemon_);
			say(crowd[i], "PING"); /* it is served from here on */
			expect(crowd[i], "OK");
		}
		say_at_once(crowd, n, "PING");
		for (unsigned i = 0; i < n; i++)
			expect(crowd[i], "OK");
		say_at_once(crowd, n, "@w ACQUIRE a wait=forever");
		do
			say(c, "INFO a");
		while (!strstr(expect(c, "OK *"), "waiters=8"));
		for (unsigned i = 0; i < n; i++)
			ck_assert(has_unread(crowd[i]));
		say(crowd[1], "@p PING"); /* what was read is read once only */
		expect(crowd[1], "@p OK");
		say(c, "RELEASE a %s", lock);
		expect(c, "OK");
		for (unsigned i = 0; i < n; i++) {
			free(lock);
			lock = strndup(expect(crowd[i], "@w OK *") + 6, 44);
			say(crowd[i], "RELEASE a %s", lock);
			expect(crowd[i], "OK");
			while (has_unread(crowd[i]))
				poll(NULL, 0, 1);
			client_close(crowd[i]);
		}
		free(lock);
	}
END_TEST

START_TEST(one_that_sends_without_end_starves_nobody)
	{
		enum { N = 20000 };
		char *all = malloc(N * 16);
		size_t len = 0, sent = 0;
		long long began;

		for (int i = 0; i < N; i++)
			len += (size_t)sprintf(all + len, "EXISTS a\n");
		while (sent < len) {
			ssize_t n =
				send(c->fd, all + sent, len - sent, MSG_DONTWAIT | MSG_NOSIGNAL);

			if (n <= 0)
				break;
			sent += (size_t)n;
		}
		began = now_ms();
		say(d, "PING");
		expect(d, "OK");
		ck_assert_int_le(now_ms() - began, 100);
		free(all);
	}
END_TEST

/* ------------------------------------------------------------------ lines */

START_TEST(lines_may_come_byte_by_byte_with_cr_and_spaces)
	{
		static const char text[] = "  @t   ping  \r\n\n \r\nPING\n";

		for (size_t i = 0; i < strlen(text); i++) {
			say_bytes(c, text + i, 1);
			usleep(500);
		}
		expect(c, "@t OK");
		expect(c, "OK");
		expect_silence(c, 20);
	}
END_TEST

static const struct {
	const char *line, *reply;
} refusals[] = {
	{"FROB", "ERR unknown_command *"},
	{"@x FROB", "@x ERR unknown_command *"},
	{"@ PING", "ERR syntax *"},
	{"@bad! PING", "ERR syntax *"},
	{"PING now", "ERR syntax *"},
	{"ACQUIRE", "ERR syntax *"},
	{"@q ACQUIRE bad!name", "@q ERR syntax *"},
	{"ACQUIRE a b", "ERR syntax *"},
	{"ACQUIRE a ttl=9", "ERR syntax *"},
	{"ACQUIRE a ttl=315360000001", "ERR syntax *"},
	{"ACQUIRE a ttl=+10", "ERR syntax *"},
	{"ACQUIRE a wait=-1", "ERR syntax *"},
	{"ACQUIRE a wait=1 wait=1", "ERR syntax *"},
	{"ACQUIRE a colour=red", "ERR syntax *"},
	{"ACQUIRE a owner=none renew=yes", "ERR syntax *"},
	{"ACQUIRE a owner=pid:0", "ERR syntax *"},
	{"ACQUIRE a note=%zz", "ERR syntax *"},
	{"ACQUIRE a note=\x01", "ERR syntax *"},
	{"PING \x80", "ERR syntax *"},
	{"ACQUIRE other", "ERR unknown_mutex *"},
	{"RELEASE a", "ERR syntax *"},
	{"CANCEL none", "ERR syntax *"},
	{"HELLO protocol=one", "ERR syntax *"},
};

START_TEST(malformed_lines_are_refused)
	{
		say(c, "%s", refusals[_i].line);
		expect(c, refusals[_i].reply);
		say(c, "PING");
		expect(c, "OK");
	}
END_TEST

START_TEST(a_tag_that_is_still_open_is_refused)
	{
		free(acquire(c, "a"));
		say(d, "@t ACQUIRE a wait=forever");
		say(d, "@t PING");
		expect(d, "@t ERR syntax *");
		say(d, "CANCEL t");
		expect(d, "@t ERR cancelled *");
		expect(d, "OK");
	}
END_TEST

START_TEST(the_longest_line_is_taken_and_a_longer_one_ends_the_connection)
	{
		char line[1025];

		memset(line, ' ', sizeof(line));
		memcpy(line, "PING", 4);
		line[1023] = '\n';
		say_bytes(c, line, 1024);
		expect(c, "OK");
		free(acquire(c, "a"));
		line[1023] = ' ';
		line[1024] = '\n';
		say_bytes(c, line, 1025);
		expect(c, "ERR line_too_long *");
		expect_eof(c);
		say(d, "ACQUIRE a wait=1000");
		expect(d, "OK *");
	}
END_TEST

START_TEST(a_long_line_is_refused_before_its_end)
	{
		char line[1024];

		memset(line, 'x', sizeof(line));
		say_bytes(c, line, sizeof(line));
		expect(c, "ERR line_too_long *");
		expect_eof(c);
	}
END_TEST

/* ------------------------------------------------------------------ hanging up */

START_TEST(what_arrived_whole_is_carried_out_after_half_a_close)
	{
		say_bytes(c, "ACQUIRE a wait=5000\nEXISTS a\nPING\nPI", 36);
		shutdown(c->fd, SHUT_WR);
		expect(c, "OK * ttl=*");
		expect(c, "OK true");
		expect(c, "OK");
		expect_eof(c);
		say(d, "EXISTS a");
		expect(d, "OK false");
	}
END_TEST

START_TEST(a_waiter_that_half_closes_leaves_the_queue_at_once)
	{
		char *lock = acquire(c, "a");
		struct client *e = client_connect(daemon_);

		say(d, "ACQUIRE a wait=forever");
		for (int i = 0; i < 100; i++)
			say(d, "PING");
		say(e, "@e ACQUIRE a wait=forever");
		shutdown(d->fd, SHUT_WR);
		expect(d, "ERR cancelled *");
		for (int i = 0; i < 100; i++)
			expect(d, "OK");
		expect_eof(d);
		say(c, "RELEASE a %s", lock);
		expect(e, "@e OK *");
		client_close(e);
		free(lock);
	}
END_TEST

START_TEST(locks_are_released_when_the_connection_closes)
	{
		struct client *e = client_connect(daemon_);

		free(acquire(e, "a"));
		say(d, "@d ACQUIRE a wait=forever");
		say(e, "@w ACQUIRE a wait=forever");
		say(e, "PING"); /* unread behind a barrier */
		client_close(e);
		expect(d, "@d OK *");
	}
END_TEST

START_TEST(a_close_after_half_a_close_is_noticed_behind_a_barrier)
	{
		struct client *e = client_connect(daemon_);
		char *lock = acquire(c, "b");

		free(acquire(e, "a"));
		/* Something that takes its time, though its client sends no more. */
		say(e, "RELEASE b %s", lock);
		shutdown(e->fd, SHUT_WR);
		client_close(e);
		say(d, "ACQUIRE a wait=1000");
		expect(d, "OK *");
		free(lock);
	}
END_TEST

START_TEST(who_leaves_with_replies_unread_is_noticed_too)
	{
		struct client *e = client_connect(daemon_);
		struct pollfd poll_fd = {.fd = e->fd, .events = POLLIN};

		free(acquire(c, "a"));
		free(acquire(e, "b"));
		say(e, "PING");
		ck_assert_int_eq(poll(&poll_fd, 1, HARNESS_WAIT_MS), 1);
		/* The daemon is to find the request and the end at the same time. */
		kill(daemon_->pid, SIGSTOP);
		if (_i == 0)
			say(e, "ACQUIRE a wait=forever");
		else
			say_bytes(e, "PIN", 3);
		client_close(e);
		kill(daemon_->pid, SIGCONT);
		say(d, "@b ACQUIRE b wait=1000");
		expect(d, "@b OK *");
		say(d, "INFO a");
		expect(d, "OK locked=true holder=here waiters=0 *");
	}
END_TEST

/* ------------------------------------------------------------------ limits */

START_TEST(max_locks_per_client_counts_held_and_pending)
	{
		char *lock = acquire(c, "a");

		free(acquire(c, "b"));
		free(acquire(c, "nofence"));
		say(c, "ACQUIRE fam-1");
		expect(c, "ERR limit max_locks_per_client*");
		say(c, "RELEASE a %s", lock);
		expect(c, "OK");
		say(c, "ACQUIRE fam-1");
		expect(c, "OK *");
		free(lock);
	}
END_TEST

static Suite *protocol_suite(void)
{
	Suite *suite = suite_create("serve_protocol");
	TCase *verbs = tcase_create("verbs"), *order = tcase_create("order"),
	      *lines = tcase_create("lines"), *hang_up = tcase_create("hanging up"),
	      *limits = tcase_create("limits");

	tcase_add_checked_fixture(verbs, setup, teardown);
	tcase_add_test(verbs, hello_tells_version_protocol_and_pid);
	tcase_add_test(verbs, ping_is_answered);
	tcase_add_test(verbs, a_lock_is_acquired_refused_to_others_and_released);
	tcase_add_test(verbs, any_connection_that_knows_the_lock_may_release_it);
	tcase_add_test(verbs, ttl_and_fence_are_as_promised);
	tcase_add_test(verbs, extend_sets_the_time_that_is_left);
	tcase_add_test(verbs, info_tells_all_but_the_lock_string);
	tcase_add_test(verbs, list_shows_exact_mutexes_members_in_use_and_families);
	tcase_add_test(verbs, stats_count_what_they_say);
	tcase_add_test(verbs, break_removes_whatever_stands);
	tcase_add_test(verbs, quit_releases_answers_and_closes);
	tcase_add_test(verbs, cancel_answers_the_request_first);
	tcase_add_test(verbs, a_wait_ends_in_time);
	tcase_add_test(verbs, waiters_are_served_in_their_order);
	tcase_add_test(verbs, a_lock_that_is_not_renewed_is_announced_and_lost);
	tcase_add_test(verbs, a_renewed_lock_outlives_its_time);
	suite_add_tcase(suite, verbs);

	tcase_add_checked_fixture(order, setup, teardown);
	tcase_add_test(order, a_request_without_a_tag_is_a_barrier);
	tcase_add_test(order, what_follows_an_open_barrier_waits_cancel_too);
	tcase_add_test(order, cancel_and_quit_wait_for_no_tagged_request);
	tcase_add_test(order, what_is_refused_is_answered_in_its_turn);
	tcase_add_test(order, a_wait_begins_when_its_request_does);
	tcase_add_test(order, what_follows_quit_is_not_read);
	tcase_add_test(order, many_lines_at_once_are_answered_in_order);
	tcase_add_test(order, one_that_sends_without_end_starves_nobody);
	tcase_add_test(order, requests_of_a_crowd_stay_in_their_sockets_until_they_are_answered);
	suite_add_tcase(suite, order);

	tcase_add_checked_fixture(lines, setup, teardown);
	tcase_add_test(lines, lines_may_come_byte_by_byte_with_cr_and_spaces);
	tcase_add_loop_test(lines, malformed_lines_are_refused, 0,
			    sizeof(refusals) / sizeof(*refusals));
	tcase_add_test(lines, a_tag_that_is_still_open_is_refused);
	tcase_add_test(lines, the_longest_line_is_taken_and_a_longer_one_ends_the_connection);
	tcase_add_test(lines, a_long_line_is_refused_before_its_end);
	suite_add_tcase(suite, lines);

	tcase_add_checked_fixture(hang_up, setup, teardown);
	tcase_add_test(hang_up, what_arrived_whole_is_carried_out_after_half_a_close);
	tcase_add_test(hang_up, a_waiter_that_half_closes_leaves_the_queue_at_once);
	tcase_add_test(hang_up, locks_are_released_when_the_connection_closes);
	tcase_add_test(hang_up, a_close_after_half_a_close_is_noticed_behind_a_barrier);
	tcase_add_loop_test(hang_up, who_leaves_with_replies_unread_is_noticed_too, 0, 2);
	suite_add_tcase(suite, hang_up);

	tcase_add_checked_fixture(limits, setup, teardown);
	tcase_add_test(limits, max_locks_per_client_counts_held_and_pending);
	suite_add_tcase(suite, limits);
	return suite;
}

int main(void)
{
	return suite_run(protocol_suite());
}
