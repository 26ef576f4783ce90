/* SPDX-License-Identifier: MIT */
/* The daemon on a real Redis that stops answering, comes back, and is used by others too. */
#include "config.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "harness.h"
#include "redis_server.h"
#include "suite.h"

static struct redis_server redis;
static struct daemon *daemon_;
static struct client *c, *d;

/* Less than the default, so that tests are short; more than a busy machine takes for an answer. */
enum { COMMAND_MS = 400 };

static void write_sections(char *out, size_t size)
{
	snprintf(out, size,
		 "[defaults]\nurl = %s\ncommand_timeout_ms = %d\n"
		 "[mutex a]\nkey = a\nannounce = yes\n[mutex b]\nkey = b\n"
		 "[mutex local]\nkey = local\nhandoff = local\n",
		 redis.unix_url, COMMAND_MS);
}

static void setup(void)
{
	char sections[400];

	redis_server_start(&redis, false, NULL);
	write_sections(sections, sizeof(sections));
	daemon_ = daemon_spawn("", sections);
	c = client_connect(daemon_);
	d = client_connect(daemon_);
}

static void teardown(void)
{
	client_close(c);
	client_close(d);
	ck_assert_int_eq(daemon_stop(daemon_), 0);
	redis_server_stop(&redis);
}

START_TEST(the_store_has_the_lock_string_as_long_as_it_is_held)
	{
		char *lock = acquire(c, "a");

		ck_assert_str_eq(redis_server_ask(&redis, "GET a"), lock);
		say(c, "RELEASE a %s", lock);
		expect(c, "OK");
		ck_assert_str_eq(redis_server_ask(&redis, "GET a"), "(nil)");
		free(lock);
	}
END_TEST

START_TEST(info_tells_of_a_lock_elsewhere_what_was_announced)
	{
		redis_server_ask(&redis, "SET a somebody PX 60000");
		say(c, "INFO a");
		expect(c, "OK locked=true holder=elsewhere waiters=0 ttl=*");
		/* It counts for the lock whose string has this
		 * d31186cd71477f85e425102c2cf4f03af15699cc1. */
		redis_server_ask(&redis, "SET {a}:holder %s",
				 "d31186cd71477f85e425102c2cf4f03af15699cc "
				 "host=far pid=7 colour=red user=al%20ice note=%zz uid=3");
		say(c, "INFO a");
		expect(c, "OK locked=true holder=elsewhere waiters=0 host=far pid=7 user=al%20ice "
			  "ttl=*");
		/* Anybody could write there: of each, the first that makes sense. */
		redis_server_ask(&redis, "SET {a}:holder %s",
				 "d31186cd71477f85e425102c2cf4f03af15699cc "
				 "pid=x pid=+1 host=far host=near pid=7 pid=8 host=there");
		say(c, "INFO a");
		expect(c, "OK locked=true holder=elsewhere waiters=0 host=far pid=7 ttl=*");
		redis_server_ask(&redis, "DEL a {a}:holder");
		free(acquire(c, "a note=why%%20not"));
		ck_assert_ptr_nonnull(
			strstr(redis_server_ask(&redis, "GET {a}:holder"), "note=why%20not"));
	}
END_TEST

/* Calls of scripts so far. */
static int n_scripts(void)
{
	const char *at = strstr(redis_server_ask(&redis, "INFO commandstats"), "evalsha:calls=");

	return at ? atoi(strchr(at, '=') + 1) : 0;
}

static void release_and_say(const char *lock, const char *next)
{
	char lines[300];

	snprintf(lines, sizeof(lines), "RELEASE b %s\n%s\n", lock, next);
	say_bytes(c, lines, strlen(lines));
}

START_TEST(a_release_with_the_next_acquire_behind_it_is_one_command)
	{
		char *lock = acquire(c, "b");
		int before = n_scripts();

		release_and_say(lock, "ACQUIRE b ttl=5000");
		expect(c, "OK");
		expect(c, "OK * ttl=4* fence=*");
		ck_assert_int_eq(n_scripts() - before, 1);
		ck_assert_str_ne(redis_server_ask(&redis, "GET b"), lock);
		ck_assert_int_eq(memcmp(c->line + 3, redis_server_ask(&redis, "GET b"), 44), 0);
		say(c, "RELEASE b %s", lock);
		expect(c, "ERR unlock_fail *");
		free(lock);
	}
END_TEST

START_TEST(a_release_whose_acquire_comes_to_nothing_leaves_no_key)
	{
		static const char *const next[] = {"ACQUIRE b owner=pid:999999999", "ACQUIRE a",
						   "ACQUIRE b wait=1x", "ACQUIRE", ""};

		for (size_t i = 0; i < sizeof(next) / sizeof(next[0]); i++) {
			char *lock = acquire(d, "b");

			release_and_say(lock, next[i]);
			expect(c, "OK");
			say(d, "ACQUIRE b wait=%d", HARNESS_WAIT_MS);
			say(d, "RELEASE b %.44s", expect(d, "OK *") + 3);
			expect(d, "OK");
			ck_assert_str_eq(redis_server_ask(&redis, "GET b"), "(nil)");
			if (*next[i])
				hear(c);
			free(lock);
		}
	}
END_TEST

START_TEST(break_removes_what_others_put_there)
	{
		redis_server_ask(&redis, "SET b somebody");
		say(c, "ACQUIRE b");
		expect(c, "ERR already_locked *");
		say(c, "BREAK b");
		expect(c, "OK");
		ck_assert_str_eq(redis_server_ask(&redis, "GET b"), "(nil)");
	}
END_TEST

START_TEST(a_value_of_somebody_else_is_told_as_replaced)
	{
		free(acquire(c, "a ttl=600"));
		redis_server_ask(&redis, "SET a somebody");
		expect(c, "EVENT LOST a * replaced");
	}
END_TEST

START_TEST(a_store_that_does_not_answer_is_unavailable_in_time)
	{
		long long began;

		say(c, "EXISTS a");
		expect(c, "OK false");
		redis_server_pause(&redis);
		began = now_ms();
		say(c, "@1 ACQUIRE a");
		say(c, "@2 EXISTS a");
		say(c, "@3 INFO b");
		say(d, "@4 LIST");
		for (int i = 0; i < 3; i++) {
			const char *line = expect(c, "@*");

			if (line[1] == '3')
				ck_assert_str_eq(line,
						 "@3 OK locked=unknown holder=none waiters=0");
			else
				ck_assert_ptr_nonnull(strstr(line, "ERR unavailable "));
		}
		expect(d, "@4 ITEM * locked=unknown *");
		expect(d, "@4 ITEM * locked=unknown *");
		expect(d, "@4 ITEM * locked=unknown *");
		expect(d, "@4 OK 3");
		ck_assert_int_le(now_ms() - began, COMMAND_MS + 300);
		redis_server_resume(&redis);
	}
END_TEST

START_TEST(any_open_request_can_be_cancelled)
	{
		say(c, "EXISTS a");
		expect(c, "OK false");
		redis_server_pause(&redis);
		say(c, "@e EXISTS a");
		say(c, "@l LIST");
		say(c, "@a ACQUIRE b owner=none");
		say(c, "CANCEL e");
		expect(c, "@e ERR cancelled *");
		expect(c, "OK");
		say(c, "CANCEL l");
		expect(c, "@l ERR cancelled *");
		expect(c, "OK");
		say(c, "CANCEL a");
		expect(c, "@a ERR cancelled *");
		expect(c, "OK");
		redis_server_resume(&redis);
		/* What it may have brought all the same is given back. */
		say(c, "ACQUIRE b wait=2000");
		expect(c, "OK *");
	}
END_TEST

START_TEST(quit_does_not_wait_for_long)
	{
		long long began;

		free(acquire(c, "a"));
		redis_server_pause(&redis);
		began = now_ms();
		say(c, "QUIT");
		expect(c, "OK");
		expect_eof(c);
		ck_assert_int_le(now_ms() - began, COMMAND_MS + 300);
		redis_server_resume(&redis);
		say(d, "ACQUIRE a wait=3000");
		expect(d, "OK *");
	}
END_TEST

START_TEST(a_client_that_dies_while_the_store_is_silent_leaves_nothing)
	{
		struct client *e = client_connect(daemon_);

		say(e, "PING");
		expect(e, "OK");
		redis_server_pause(&redis);
		say(e, "@a ACQUIRE a");
		say(e, "@b ACQUIRE b wait=forever owner=none");
		client_close(e);
		say(c, "PING");
		expect(c, "OK");
		redis_server_resume(&redis);
		say(c, "@1 ACQUIRE a wait=3000");
		say(c, "@2 ACQUIRE b wait=3000");
		expect(c, "@* OK *");
		expect(c, "@* OK *");
	}
END_TEST

START_TEST(a_dead_client_holds_nothing_while_its_requests_are_open)
	{
		struct client *e = client_connect(daemon_);

		free(acquire(e, "local"));
		say(d, "@w ACQUIRE local wait=forever");
		say(d, "@p PING");
		expect(d, "@p OK");
		redis_server_pause(&redis);
		say(e, "EXISTS b");
		say(e, "PING");
		shutdown(e->fd, SHUT_WR);
		/* Half closed it still hears its answers, and holds what it holds. */
		expect_silence(d, 50);
		client_close(e);
		/* No command is needed to pass it on, and none would be answered. */
		expect(d, "@w OK *");
		redis_server_resume(&redis);
	}
END_TEST

START_TEST(a_release_is_dead_at_once_and_carried_out_when_the_store_is_back)
	{
		char *lock = acquire(c, "a");

		redis_server_pause(&redis);
		say(c, "RELEASE a %s", lock);
		expect(c, "ERR unavailable *");
		say(c, "RELEASE a %s", lock);
		expect(c, "ERR unlock_fail *");
		redis_server_resume(&redis);
		say(d, "ACQUIRE a wait=3000");
		expect(d, "OK *");
		free(lock);
	}
END_TEST

START_TEST(a_stop_releases_what_connections_own_and_keeps_the_rest)
	{
		struct client *e = client_connect(daemon_);
		char sections[400], *kept;

		free(acquire(e, "a"));
		kept = acquire(e, "b owner=none");
		kill(daemon_->pid, SIGTERM);
		expect(e, "EVENT LOST a * shutdown");
		ck_assert_str_ne(redis_server_ask(&redis, "GET a"), "(nil)");
		client_close(e);
		expect_eof(d);
		ck_assert_int_eq(daemon_await(daemon_), 0);
		ck_assert_str_eq(redis_server_ask(&redis, "GET a"), "(nil)");
		ck_assert_str_eq(redis_server_ask(&redis, "GET b"), kept);
		free(kept);
		write_sections(sections, sizeof(sections));
		daemon_ = daemon_spawn("", sections);
	}
END_TEST

START_TEST(a_stop_ends_as_soon_as_all_holders_have_let_go)
	{
		char sections[400], *lock = acquire(c, "a");
		long long began = now_ms();

		free(acquire(d, "b"));
		kill(daemon_->pid, SIGTERM);
		expect(c, "EVENT LOST a * shutdown");
		expect(d, "EVENT LOST b * shutdown");
		say(c, "ACQUIRE local");
		expect(c, "ERR shutting_down *");
		say(c, "RELEASE a %s", lock);
		expect(c, "OK");
		ck_assert_str_eq(redis_server_ask(&redis, "GET a"), "(nil)");
		client_close(d);
		expect_eof(c);
		ck_assert_int_eq(daemon_await(daemon_), 0);
		ck_assert_int_le(now_ms() - began, 900);
		ck_assert_str_eq(redis_server_ask(&redis, "GET b"), "(nil)");
		write_sections(sections, sizeof(sections));
		daemon_ = daemon_spawn("", sections);
		d = client_connect(daemon_);
		free(lock);
	}
END_TEST

START_TEST(expiring_is_told_again_after_a_renewal_that_came_at_last)
	{
		char *lock = acquire(c, "a ttl=3000 renew=yes");

		for (int i = 0; i < 2; i++) {
			redis_server_pause(&redis);
			expect(c, "EVENT EXPIRING a *");
			redis_server_resume(&redis);
			/* It is renewed now, or the next line would be a loss. */
			expect_silence(c, 1500);
		}
		say(c, "RELEASE a %s", lock);
		expect(c, "OK");
		free(lock);
	}
END_TEST

START_TEST(a_stop_ends_in_two_seconds_without_a_store)
	{
		char sections[400];
		long long began;

		free(acquire(c, "a"));
		redis_server_pause(&redis);
		say(d, "@w ACQUIRE b wait=forever");
		began = now_ms();
		ck_assert_int_eq(daemon_stop(daemon_), 0);
		ck_assert_int_le(now_ms() - began, 2000);
		expect(d, "@w ERR shutting_down *");
		redis_server_resume(&redis);
		write_sections(sections, sizeof(sections));
		daemon_ = daemon_spawn("", sections);
	}
END_TEST

START_TEST(the_daemon_starts_without_its_store)
	{
		char sections[400];

		ck_assert_int_eq(daemon_stop(daemon_), 0);
		redis_server_kill(&redis);
		write_sections(sections, sizeof(sections));
		daemon_ = daemon_spawn("", sections);
		client_close(c);
		c = client_connect(daemon_);
		say(c, "ACQUIRE a");
		expect(c, "ERR unavailable *");
		redis_server_restart(&redis);
		say(c, "ACQUIRE a wait=3000");
		expect(c, "OK *");
	}
END_TEST

START_TEST(a_reload_moves_to_another_store_at_the_next_release)
	{
		struct redis_server other;
		char *lock = acquire(c, "a"), sections[300];

		redis_server_start(&other, false, NULL);
		snprintf(sections, sizeof(sections), "[defaults]\nurl = %s\n[mutex a]\nkey = a\n",
			 other.unix_url);
		say(d, "@w ACQUIRE a wait=forever");
		daemon_reload(daemon_, "", sections, "read again");
		ck_assert_str_eq(redis_server_ask(&redis, "GET a"), lock);
		say(c, "RELEASE a %s", lock);
		expect(c, "OK");
		expect(d, "@w OK *");
		ck_assert_str_eq(redis_server_ask(&redis, "GET a"), "(nil)");
		ck_assert_str_ne(redis_server_ask(&other, "GET a"), "(nil)");
		free(lock);
		client_close(d);
		d = client_connect(daemon_);
		ck_assert_int_eq(daemon_stop(daemon_), 0);
		redis_server_stop(&other);
		write_sections(sections, sizeof(sections));
		daemon_ = daemon_spawn("", sections);
	}
END_TEST

/* How many connections the server has ever had. The one of redis_server_ask() stays open. */
static int64_t n_connections(struct redis_server *server)
{
	const char *info = redis_server_ask(server, "INFO stats");
	const char *at = strstr(info, "total_connections_received:");

	ck_assert_ptr_nonnull(at);
	return strtoll(strchr(at, ':') + 1, NULL, 10);
}

START_TEST(a_reload_connects_anew_only_where_settings_have_changed)
	{
		char sections[400];
		int64_t before;

		free(acquire(c, "a"));
		before = n_connections(&redis);
		/* Another mutex, other settings of a mutex, another order: it is the same store. */
		snprintf(sections, sizeof(sections),
			 "[defaults]\nurl = %s\ncommand_timeout_ms = %d\n[mutex new]\nkey = new\n"
			 "[mutex a]\nkey = a\nrenew = yes\nexpiration_in_seconds = 7\n",
			 redis.unix_url, COMMAND_MS);
		daemon_reload(daemon_, "", sections, "read again");
		free(acquire(d, "new"));
		say(c, "INFO a");
		expect(c, "OK locked=true holder=here *");
		ck_assert_int_eq(n_connections(&redis), before);
		/* One connection more is other settings. */
		snprintf(sections, sizeof(sections),
			 "[defaults]\nurl = %s\npool_size = 3\n[mutex a]\nkey = a\n",
			 redis.unix_url);
		daemon_reload(daemon_, "", sections, "read again");
		say(d, "ACQUIRE a wait=forever");
		client_close(c);
		expect(d, "OK *");
		ck_assert_int_gt(n_connections(&redis), before);
		c = client_connect(daemon_);
	}
END_TEST

static Suite *store_suite(void)
{
	Suite *suite = suite_create("serve_store");
	TCase *tcase = tcase_create("redis");

	tcase_set_timeout(tcase, 20);
	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, the_store_has_the_lock_string_as_long_as_it_is_held);
	tcase_add_test(tcase, info_tells_of_a_lock_elsewhere_what_was_announced);
	tcase_add_test(tcase, a_release_with_the_next_acquire_behind_it_is_one_command);
	tcase_add_test(tcase, a_release_whose_acquire_comes_to_nothing_leaves_no_key);
	tcase_add_test(tcase, break_removes_what_others_put_there);
	tcase_add_test(tcase, a_value_of_somebody_else_is_told_as_replaced);
	tcase_add_test(tcase, a_store_that_does_not_answer_is_unavailable_in_time);
	tcase_add_test(tcase, any_open_request_can_be_cancelled);
	tcase_add_test(tcase, quit_does_not_wait_for_long);
	tcase_add_test(tcase, a_client_that_dies_while_the_store_is_silent_leaves_nothing);
	tcase_add_test(tcase, a_dead_client_holds_nothing_while_its_requests_are_open);
	tcase_add_test(tcase, a_release_is_dead_at_once_and_carried_out_when_the_store_is_back);
	tcase_add_test(tcase, a_stop_releases_what_connections_own_and_keeps_the_rest);
	tcase_add_test(tcase, expiring_is_told_again_after_a_renewal_that_came_at_last);
	tcase_add_test(tcase, a_stop_ends_as_soon_as_all_holders_have_let_go);
	tcase_add_test(tcase, a_stop_ends_in_two_seconds_without_a_store);
	tcase_add_test(tcase, the_daemon_starts_without_its_store);
	tcase_add_test(tcase, a_reload_moves_to_another_store_at_the_next_release);
	tcase_add_test(tcase, a_reload_connects_anew_only_where_settings_have_changed);
	suite_add_tcase(suite, tcase);
	return suite;
}

int main(void)
{
	if (!redis_server_installed()) {
		fputs("there is no redis-server to run\n", stderr);
		return 77;
	}
	return suite_run(store_suite());
}
