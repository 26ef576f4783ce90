/* SPDX-License-Identifier: MIT */
/* The program is replaced while it runs, and nobody notices more than a pause. */
#include "config.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "harness.h"
#include "redis_server.h"
#include "suite.h"

enum { PAUSE_MS_MAX = 1500 }; /* of a busy machine, with sanitizers */

static struct redis_server redis;
static struct daemon *daemon_;
static struct client *c, *d;
static char dir[] = "/tmp/redmutexd-upgrade-XXXXXX";
static char *program; /* a copy, so that it can be replaced */
static char sections[2048];
static const char settings[] = "socket_mode = 0666\nmax_output_bytes = 16777216";

static void copy_program(void)
{
	const char *from = getenv("REDMUTEXD_TESTED");
	char command[512];

	snprintf(command, sizeof(command), "cp %s %s.new && mv %s.new %s",
		 from ? from : "daemon/redmutexd", program, program, program);
	ck_assert_int_eq(system(command), 0);
}

/* A script in the place of the program. */
static void put_script(const char *text)
{
	char *path;
	FILE *file;

	ck_assert_int_gt(asprintf(&path, "%s.new", program), 0);
	file = fopen(path, "we");
	ck_assert_ptr_nonnull(file);
	fputs(text, file);
	ck_assert_int_eq(fclose(file), 0);
	ck_assert_int_eq(chmod(path, 0755), 0);
	ck_assert_int_eq(rename(path, program), 0);
	free(path);
}

static void begin(const char *url)
{
	strcpy(dir + strlen(dir) - 6, "XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	ck_assert_int_gt(asprintf(&program, "%s/redmutexd", dir), 0);
	copy_program();
	setenv("REDMUTEXD", program, 1);
	snprintf(sections, sizeof(sections),
		 "[defaults]\nurl = %s\nexpiration_in_seconds = 60\ncommand_timeout_ms = 1000\n"
		 "[mutex a]\nkey = a\n[mutex b]\nkey = b\nannounce = yes\n"
		 "[mutex local]\nkey = local\nhandoff = local\n"
		 "[mutex linger]\nkey = linger\nlinger_ms = 500\n"
		 "[mutex short]\nkey = short\nexpiration_in_seconds = 3\n"
		 "[mutex renewed]\nkey = renewed\nexpiration_in_seconds = 1\nrenew = yes\n"
		 "[mutex q]\nkey = q\n[mutex fam-*]\nfence = yes\n",
		 url);
	daemon_ = daemon_spawn(settings, sections);
	c = client_connect(daemon_);
	d = client_connect(daemon_);
}

static void setup(void)
{
	redis_server_start(&redis, false, NULL);
	begin(redis.unix_url);
}

static void remove_program(void)
{
	unlink(program);
	rmdir(dir);
	free(program);
}

static void teardown(void)
{
	client_close(c);
	client_close(d);
	ck_assert_int_eq(daemon_stop(daemon_), 0);
	remove_program();
	redis_server_stop(&redis);
}

/* ------------------------------------------------------------------ upgrading */

/* How many lines of the log have that text; the sum and the most of the numbers after it. */
static unsigned count_log(const char *text, long *most)
{
	FILE *file = fopen(daemon_->log_path, "re");
	char line[1024];
	unsigned n = 0;

	*most = 0;
	while (file && fgets(line, sizeof(line), file)) {
		const char *at = strstr(line, text);
		long number;

		if (!at)
			continue;
		n++;
		number = strtol(at + strlen(text), NULL, 10);
		if (number > *most)
			*most = number;
	}
	if (file)
		fclose(file);
	return n;
}

static void await_log_count(const char *text, unsigned n)
{
	const long long until_ms = now_ms() + 10000;
	long most;

	while (count_log(text, &most) < n) {
		ck_assert_msg(now_ms() < until_ms, "the log does not say %u times: %s", n, text);
		ck_assert_msg(kill(daemon_->pid, 0) == 0 &&
				      waitpid(daemon_->pid, NULL, WNOHANG) == 0,
			      "the daemon has ended");
		poll(NULL, 0, 2);
	}
}

static const char pause_text[] = "after a pause of ";

static void upgrade(void)
{
	long most;
	const unsigned n = count_log(pause_text, &most);

	kill(daemon_->pid, SIGUSR2);
	await_log_count(pause_text, n + 1);
}

/* The one on disk is no good: it says so and goes on. */
static void upgrade_fails(const char *text)
{
	kill(daemon_->pid, SIGUSR2);
	await_log_count(text, 1);
	say(c, "PING");
	expect(c, "OK");
}

static void await_waiters(struct client *client, const char *name, unsigned n)
{
	const long long until_ms = now_ms() + HARNESS_WAIT_MS;
	char words[32];

	snprintf(words, sizeof(words), "waiters=%u ", n);
	for (;;) {
		say(client, "INFO %s", name);
		if (strstr(hear(client), words))
			return;
		ck_assert_msg(now_ms() < until_ms, "%s never had %s", name, words);
		poll(NULL, 0, 2);
	}
}

/* ------------------------------------------------------------------ what stays */

START_TEST(a_lock_stays_held_and_known_to_its_holder)
	{
		char *lock = acquire(c, "a note=work");

		upgrade();
		ck_assert_str_eq(redis_server_ask(&redis, "GET a"), lock);
		say(d, "ACQUIRE a");
		expect(d, "ERR already_locked*");
		say(d, "INFO a");
		expect(d, "OK locked=true holder=here * note=work *owner=connection");
		say(c, "EXTEND a %s ttl=30000", lock);
		expect(c, "OK ttl=*");
		say(c, "RELEASE a %s", lock);
		expect(c, "OK");
		ck_assert_str_eq(redis_server_ask(&redis, "GET a"), "(nil)");
		free(lock);
	}
END_TEST

START_TEST(the_process_keeps_its_number)
	{
		char pattern[64];

		snprintf(pattern, sizeof(pattern), "OK redmutexd version=* protocol=1 pid=%d",
			 (int)daemon_->pid);
		upgrade();
		say(c, "HELLO");
		expect(c, pattern);
		upgrade();
		say(d, "HELLO");
		expect(d, pattern);
		say(d, "STATS");
		for (const char *line = hear(d); strncmp(line, "OK", 2) != 0; line = hear(d)) {
			if (strstr(line, "upgrades_total"))
				ck_assert_str_eq(line, "ITEM redmutexd_upgrades_total 2");
		}
	}
END_TEST

START_TEST(the_end_of_a_connection_releases_its_lock_afterwards)
	{
		free(acquire(c, "a"));
		say(d, "ACQUIRE a wait=10000");
		await_waiters(c, "a", 1);
		upgrade();
		client_close(c);
		expect(d, "OK * ttl=*");
		c = client_connect(daemon_);
	}
END_TEST

START_TEST(waiters_keep_their_order)
	{
		struct client *waiters[10];
		char *lock = acquire(c, "a");

		for (int i = 0; i < 10; i++) {
			waiters[i] = client_connect(daemon_);
			say(waiters[i], "@w%d ACQUIRE a wait=forever", i);
			await_waiters(c, "a", (unsigned)i + 1);
		}
		upgrade();
		say(c, "RELEASE a %s", lock);
		expect(c, "OK");
		for (int i = 0; i < 10; i++) {
			expect(waiters[i], "@w* OK * ttl=*");
			client_close(waiters[i]);
		}
		free(lock);
	}
END_TEST

START_TEST(a_waiter_can_be_cancelled_afterwards_and_one_that_hung_up_delays_nobody)
	{
		struct client *gone = client_connect(daemon_);
		char *lock = acquire(c, "a");

		say(gone, "ACQUIRE a wait=forever");
		await_waiters(c, "a", 1);
		say(d, "@x ACQUIRE a wait=forever");
		await_waiters(c, "a", 2);
		say(d, "@y ACQUIRE a wait=forever");
		await_waiters(c, "a", 3);
		kill(daemon_->pid, SIGUSR2);
		client_close(gone);
		await_log_count(pause_text, 1);
		say(d, "CANCEL x");
		expect(d, "@x ERR cancelled*");
		expect(d, "OK");
		say(c, "RELEASE a %s", lock);
		expect(c, "OK");
		expect(d, "@y OK * ttl=*");
		free(lock);
	}
END_TEST

START_TEST(a_wait_ends_at_its_time)
	{
		long long start_ms;

		free(acquire(c, "a"));
		start_ms = now_ms();
		say(d, "ACQUIRE a wait=2500");
		await_waiters(c, "a", 1);
		upgrade();
		expect(d, "ERR already_locked*");
		ck_assert_int_ge(now_ms() - start_ms, 2490);
		ck_assert_int_le(now_ms() - start_ms, 2500 + PAUSE_MS_MAX);
	}
END_TEST

START_TEST(half_a_line_goes_on)
	{
		say_bytes(c, "PI", 2);
		say_bytes(d, "@one ACQUIRE a\n@two ACQ", 23);
		expect(d, "@one OK*");
		upgrade();
		say_bytes(c, "NG\n", 3);
		expect(c, "OK");
		say_bytes(d, "UIRE a\n", 7);
		expect(d, "@two ERR already_locked*");
	}
END_TEST

START_TEST(requests_that_wait_for_their_turn_are_carried_out)
	{
		char *lock = acquire(c, "a");

		/* PING waits for ACQUIRE, and is read already. */
		say_bytes(d, "ACQUIRE a wait=forever\nPING\nACQUIRE b\n", 38);
		await_waiters(c, "a", 1);
		upgrade();
		expect_silence(d, 20);
		say(c, "RELEASE a %s", lock);
		expect(d, "OK * ttl=*");
		expect(d, "OK");
		expect(d, "OK * ttl=*");
		free(lock);
	}
END_TEST

START_TEST(replies_that_nobody_has_read_yet_come_whole_and_once)
	{
		enum { N = 400 };
		unsigned n_items = 0, n_ends = 0;

		for (int i = 0; i < N; i++)
			say(c, "STATS");
		poll(NULL, 0, 100);
		upgrade();
		upgrade();
		while (n_ends < N) {
			const char *line = hear(c);

			if (strncmp(line, "ITEM ", 5) == 0) {
				n_items++;
				continue;
			}
			ck_assert_uint_eq((unsigned)strtoul(line + 3, NULL, 10), n_items);
			n_items = 0;
			n_ends++;
		}
		say(c, "PING");
		expect(c, "OK");
	}
END_TEST

START_TEST(a_list_goes_on_where_it_was)
	{
		enum { N = 700 };
		static bool seen[N];
		unsigned n = 0;
		int number;

		for (int i = 0; i < N; i++)
			free(acquire(d, "fam-%d note=%0100d", i, i));
		/* More than the socket takes, so that it pauses. */
		for (int i = 0; i < 8; i++)
			say(c, "@l%d LIST fam-*", i);
		poll(NULL, 0, 200);
		upgrade();
		for (int n_ends = 0; n_ends < 8;) {
			const char *line = hear(c);

			if (sscanf(line, "@l0 ITEM fam-%d ", &number) == 1) {
				ck_assert_int_lt(number, N);
				ck_assert_msg(!seen[number], "fam-%d is told twice", number);
				seen[number] = true;
				n++;
			}
			n_ends += strstr(line, " OK ") != NULL;
		}
		ck_assert_uint_eq(n, N);
	}
END_TEST

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

START_TEST(locks_of_processes_end_with_them_and_locks_of_nobody_do_not)
	{
		struct client *other = client_connect(daemon_);
		const pid_t first = sleeper_start(), second = sleeper_start();
		char *lock = acquire(other, "b owner=none");

		free(acquire(other, "a owner=pid:%d", (int)first));
		say(d, "ACQUIRE local wait=forever owner=pid:%d", (int)second);
		expect(d, "OK * ttl=*");
		say(d, "ACQUIRE a wait=forever");
		upgrade();
		client_close(other);
		await_waiters(c, "a", 1);
		kill(first, SIGKILL);
		expect(d, "OK * ttl=*");
		kill(second, SIGKILL);
		free(acquire(c, "local wait=3000"));
		say(c, "RELEASE b %s", lock);
		expect(c, "OK");
		waitpid(first, NULL, 0);
		waitpid(second, NULL, 0);
		free(lock);
	}
END_TEST

START_TEST(a_process_that_ends_during_it_is_noticed)
	{
		const pid_t pid = sleeper_start();

		free(acquire(c, "a owner=pid:%d", (int)pid));
		kill(daemon_->pid, SIGUSR2);
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
		await_log_count(pause_text, 1);
		free(acquire(d, "a wait=3000"));
	}
END_TEST

START_TEST(renewal_goes_on)
	{
		char *lock = acquire(c, "renewed");

		for (int i = 0; i < 4; i++) {
			upgrade();
			poll(NULL, 0, 600);
		}
		ck_assert_str_eq(redis_server_ask(&redis, "GET renewed"), lock);
		say(c, "RELEASE renewed %s", lock);
		expect(c, "OK");
		free(lock);
	}
END_TEST

START_TEST(what_expires_is_announced_and_lost_at_its_time)
	{
		const long long start_ms = now_ms();

		free(acquire(c, "short"));
		upgrade();
		expect(c, "EVENT EXPIRING short *");
		upgrade();
		expect(c, "EVENT LOST short * expired");
		ck_assert_int_ge(now_ms() - start_ms, 2900);
		ck_assert_int_le(now_ms() - start_ms, 3000 + PAUSE_MS_MAX);
	}
END_TEST

START_TEST(a_claim_inside_the_daemon_goes_on)
	{
		char *lock = acquire(c, "local");
		char *value = strdup(redis_server_ask(&redis, "GET local"));

		ck_assert_str_ne(value, lock);
		say(d, "ACQUIRE local wait=forever");
		await_waiters(c, "local", 1);
		upgrade();
		say(c, "RELEASE local %s", lock);
		expect(c, "OK");
		expect(d, "OK * ttl=*");
		/* The very same claim: it was passed on without a command. */
		ck_assert_str_eq(redis_server_ask(&redis, "GET local"), value);
		free(value);
		free(lock);
	}
END_TEST

START_TEST(credentials_come_along)
	{
		struct client *other;

		if (geteuid() != 0)
			return;
		other = client_connect_as(daemon_, 65534, 65534, 65534);
		upgrade();
		say(other, "BREAK a");
		expect(other, "ERR denied*");
		free(acquire(other, "a"));
		say(c, "INFO a");
		expect(c, "OK * uid=65534 *");
		client_close(other);
	}
END_TEST

START_TEST(a_client_that_half_closed_gets_its_answers)
	{
		char *lock = acquire(c, "a");

		say(d, "ACQUIRE b\n@t STATS");
		shutdown(d->fd, SHUT_WR);
		kill(daemon_->pid, SIGUSR2);
		await_log_count(pause_text, 1);
		expect(d, "OK * ttl=*");
		while (strncmp(hear(d), "@t OK", 5) != 0)
			;
		expect_eof(d);
		free(acquire(c, "b wait=3000"));
		free(lock);
	}
END_TEST

/* ------------------------------------------------------------------ what is under way */

static void await_store_busy(struct client *client)
{
	/* Its request was read, and Redis says nothing. */
	expect_silence(client, 100);
}

START_TEST(an_acquire_that_the_store_has_not_answered_is_settled)
	{
		redis_server_pause(&redis);
		say(d, "ACQUIRE a wait=10000");
		await_store_busy(d);
		upgrade();
		redis_server_resume(&redis);
		expect(d, "OK * ttl=*");
		say(c, "ACQUIRE a");
		expect(c, "ERR already_locked*");
	}
END_TEST

START_TEST(a_release_that_the_store_has_not_answered_is_carried_out)
	{
		char *lock = acquire(c, "a");

		redis_server_pause(&redis);
		say(c, "RELEASE a %s", lock);
		await_store_busy(c);
		kill(daemon_->pid, SIGUSR2);
		await_log_count(pause_text, 1);
		redis_server_resume(&redis);
		/* In time, or it was told that it would be done later. */
		ck_assert_ptr_nonnull(strpbrk(hear(c), "OE"));
		free(acquire(d, "a wait=5000"));
		free(lock);
	}
END_TEST

START_TEST(a_hand_over_that_the_store_has_not_answered_is_settled)
	{
		char *lock = acquire(c, "a");

		say(d, "ACQUIRE a wait=10000");
		await_waiters(c, "a", 1);
		redis_server_pause(&redis);
		say(c, "RELEASE a %s", lock);
		await_store_busy(c);
		upgrade();
		redis_server_resume(&redis);
		expect(d, "OK * ttl=*");
		free(lock);
	}
END_TEST

START_TEST(a_break_is_answered_before_anything_is_replaced)
	{
		free(acquire(c, "a"));
		redis_server_pause(&redis);
		say(d, "BREAK a");
		await_store_busy(d);
		kill(daemon_->pid, SIGUSR2);
		expect_silence(d, 200);
		redis_server_resume(&redis);
		expect(d, "OK");
		expect(c, "EVENT LOST a * broken");
		await_log_count(pause_text, 1);
	}
END_TEST

START_TEST(a_store_that_is_gone_stops_nobody)
	{
		char *lock = acquire(c, "a");

		redis_server_kill(&redis);
		upgrade();
		say(d, "ACQUIRE b");
		expect(d, "ERR unavailable*");
		redis_server_restart(&redis);
		expect(c, "EVENT LOST a * replaced");
		free(lock);
	}
END_TEST

/* ------------------------------------------------------------------ programs that are no good */

START_TEST(a_program_that_fails_its_trial_is_not_executed)
	{
		static const struct {
			const char *script, *log;
		} cases[] = {
			{"#!/bin/sh\necho it will not do >&2\nexit 1\n", "it says: it will not do"},
			{"#!/bin/sh\nexit 0\n", "can't take over, it exited with status 0"},
			{"#!/bin/sh\nkill -SEGV $$\n", "was ended by signal 11"},
			{"#!/nowhere/to/be/found\n", "it says: "},
		};
		char *lock = acquire(c, "a");

		for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
			put_script(cases[i].script);
			ck_assert_int_eq(truncate(daemon_->log_path, 0), 0);
			upgrade_fails(cases[i].log);
		}
		unlink(program);
		ck_assert_int_eq(truncate(daemon_->log_path, 0), 0);
		upgrade_fails("No such file or directory");
		/* And a good one again. */
		copy_program();
		upgrade();
		say(c, "RELEASE a %s", lock);
		expect(c, "OK");
		free(lock);
	}
END_TEST

START_TEST(a_program_that_says_nothing_for_five_seconds_is_killed)
	{
		const long long start_ms = now_ms();
		char *lock = acquire(c, "a");

		put_script("#!/bin/sh\nsleep 1000\n");
		kill(daemon_->pid, SIGUSR2);
		poll(NULL, 0, 1000);
		/* It goes on serving meanwhile. */
		say(c, "RELEASE a %s", lock);
		expect(c, "OK");
		kill(daemon_->pid, SIGUSR2);
		await_log_count("one is under way already", 1);
		await_log_count("did not say within 5 s", 1);
		ck_assert_int_ge(now_ms() - start_ms, 5000);
		ck_assert_int_le(now_ms() - start_ms, 7000);
		copy_program();
		upgrade();
		free(lock);
	}
END_TEST

START_TEST(a_faulty_configuration_stops_it)
	{
		char *lock = acquire(c, "a");

		daemon_write_conf(daemon_, "colour = blue", sections);
		upgrade_fails("conf.ini:3:");
		daemon_write_conf(daemon_, settings, sections);
		upgrade();
		say(c, "RELEASE a %s", lock);
		expect(c, "OK");
		free(lock);
	}
END_TEST

START_TEST(another_configuration_takes_effect_with_it)
	{
		char *lock = acquire(c, "a"), changed[sizeof(sections) + 64];

		snprintf(changed, sizeof(changed), "%s[mutex new]\nkey = new\n", sections);
		memcpy(strstr(changed, "key = a\n"), "key = A", 7);
		daemon_write_conf(daemon_, settings, changed);
		say(d, "ACQUIRE a wait=forever");
		await_waiters(c, "a", 1);
		upgrade();
		say(c, "RELEASE a %s", lock);
		expect(c, "OK");
		expect(d, "OK * ttl=*");
		/* The new key is used from the release on. */
		ck_assert_str_eq(redis_server_ask(&redis, "GET a"), "(nil)");
		ck_assert_str_ne(redis_server_ask(&redis, "GET A"), "(nil)");
		free(acquire(c, "new"));
		free(lock);
	}
END_TEST

START_TEST(a_lock_of_a_mutex_that_is_gone_from_the_configuration_can_be_released)
	{
		char *lock = acquire(c, "a");

		daemon_write_conf(daemon_, settings, "[mutex other]\nkey = other\n");
		upgrade();
		ck_assert_str_eq(redis_server_ask(&redis, "GET a"), lock);
		say(c, "RELEASE a %s", lock);
		expect(c, "OK");
		ck_assert_str_eq(redis_server_ask(&redis, "GET a"), "(nil)");
		say(c, "ACQUIRE a");
		expect(c, "ERR unknown_mutex*");
		free(lock);
	}
END_TEST

START_TEST(a_stop_during_the_trial_is_a_stop)
	{
		put_script("#!/bin/sh\nsleep 1000\n");
		kill(daemon_->pid, SIGUSR2);
		poll(NULL, 0, 200);
		ck_assert_int_eq(daemon_stop(daemon_), 0);
		copy_program();
		daemon_ = daemon_spawn(settings, sections);
	}
END_TEST

START_TEST(the_option_of_the_trial_alone_does_nothing)
	{
		char command[512];
		int status;

		snprintf(command, sizeof(command), "%s --handover-check -c %s 2>%s/said", program,
			 daemon_->conf_path, dir);
		status = system(command);
		ck_assert_int_eq(WEXITSTATUS(status), 64);
		snprintf(command, sizeof(command), "%s/said", dir);
		unlink(command);
		say(c, "PING");
		expect(c, "OK");
	}
END_TEST

/* Between its trial and its execution: it is too late to go on with the old program. */
START_TEST(a_configuration_that_is_spoilt_in_the_last_moment_costs_nothing)
	{
		char *lock = acquire(c, "a"), *real, *script;

		real = realpath(getenv("REDMUTEXD_TESTED") ? getenv("REDMUTEXD_TESTED")
							   : "daemon/redmutexd",
				NULL);
		ck_assert_ptr_nonnull(real);
		ck_assert_int_gt(asprintf(&script,
					  "#!/bin/sh\n"
					  "case \"$*\" in\n"
					  "*handover-check*) ;;\n"
					  "*) echo 'colour = blue' >>%s ;;\n"
					  "esac\n"
					  "exec %s \"$@\"\n",
					  daemon_->conf_path, real),
				 0);
		put_script(script);
		upgrade();
		daemon_expect_log(daemon_, "colour: unknown key");
		daemon_expect_log(daemon_, "going on with the configuration of before");
		say(c, "RELEASE a %s", lock);
		expect(c, "OK");
		free(acquire(d, "fam-1"));
		daemon_reload(daemon_, settings, "[mutex other]\nkey = other\n", "read again");
		free(acquire(c, "other"));
		copy_program();
		free(script);
		free(real);
		free(lock);
	}
END_TEST

/* What a later release has added to the state is no reason to fail, should it be replaced by this.
 */
START_TEST(what_another_release_has_added_is_ignored)
	{
		char *lock = acquire(c, "a note=mine"), *real, *script;

		real = realpath(getenv("REDMUTEXD_TESTED") ? getenv("REDMUTEXD_TESTED")
							   : "daemon/redmutexd",
				NULL);
		ck_assert_ptr_nonnull(real);
		ck_assert_int_gt(
			asprintf(&script,
				 "#!/bin/sh -e\n"
				 "state=/proc/self/fd/$REDMUTEXD_HANDOVER_FD\n"
				 "more=$(awk '$1 == \"end\" { print \"novelty is=%%20new\"\n"
				 "	print \"end records=\" NR; next }\n"
				 "	{ print $0 \" novelty=%%FF\" }' $state)\n"
				 "echo \"$more\" >$state\n"
				 "exec %s \"$@\"\n",
				 real),
			0);
		put_script(script);
		say(d, "@1 ACQUIRE a wait=forever");
		await_waiters(c, "a", 1);
		say_bytes(d, "@2 EXI", 6);
		upgrade();
		say(d, "STS b");
		expect(d, "@2 OK false");
		say(c, "INFO a");
		expect(c, "OK locked=true holder=here waiters=1 * note=mine *");
		say(c, "RELEASE a %s", lock);
		expect(c, "OK");
		expect(d, "@1 OK * ttl=*");
		copy_program();
		free(script);
		free(real);
		free(lock);
	}
END_TEST

/* ------------------------------------------------------------------ afterwards */

START_TEST(a_crash_afterwards_leaves_a_good_state_file)
	{
		char *none = acquire(c, "b owner=none");

		free(acquire(c, "a"));
		upgrade();
		free(acquire(d, "local"));
		upgrade();
		kill(daemon_->pid, SIGKILL);
		waitpid(daemon_->pid, NULL, 0);
		client_close(c);
		client_close(d);
		daemon_start(daemon_);
		c = client_connect(daemon_);
		d = client_connect(daemon_);
		ck_assert_str_eq(redis_server_ask(&redis, "GET b"), none);
		free(acquire(c, "a wait=5000"));
		free(acquire(c, "local wait=5000"));
		say(d, "RELEASE b %s", none);
		expect(d, "OK");
		free(none);
	}
END_TEST

START_TEST(a_reload_afterwards_works)
	{
		upgrade();
		daemon_reload(daemon_, settings, "[mutex other]\nkey = other\n", "read again");
		free(acquire(c, "other"));
	}
END_TEST

/* Whichever comes first, what is served in the end is the file, and what was held is held. */
START_TEST(a_reload_may_come_at_any_moment_of_an_upgrade)
	{
		char changed[sizeof(sections) + 64], *lock = acquire(c, "a");
		long most;

		for (int i = 0; i < 10; i++) {
			const unsigned n = count_log(pause_text, &most);

			snprintf(changed, sizeof(changed), "%s[mutex new%d]\nkey = new\n", sections,
				 i);
			daemon_write_conf(daemon_, settings, changed);
			kill(daemon_->pid, i % 2 ? SIGHUP : SIGUSR2);
			poll(NULL, 0, i);
			kill(daemon_->pid, i % 2 ? SIGUSR2 : SIGHUP);
			kill(daemon_->pid, SIGUSR2);
			await_log_count(pause_text, n + 1);
			/* A second one that came late enough has another go. */
			say(c, "ACQUIRE new%d", i);
			if (i > 0)
				say(c, "ACQUIRE new%d", i - 1);
			expect(c, "OK * ttl=*");
			if (i > 0)
				expect(c, "ERR unknown_mutex*");
			say(d, "BREAK new%d", i);
			expect(d, "OK");
			expect(c, "EVENT LOST new* broken");
		}
		say(c, "RELEASE a %s", lock);
		expect(c, "OK");
		free(lock);
	}
END_TEST

START_TEST(a_socket_that_was_handed_over_stays_open)
	{
		struct daemon *first = daemon_;
		struct client *client;
		char *path;

		daemon_ = daemon_spawn_activated(settings, sections);
		upgrade();
		client = client_connect(daemon_);
		say(client, "PING");
		expect(client, "OK");
		client_close(client);
		path = strdup(daemon_->socket_path);
		kill(daemon_->pid, SIGTERM);
		waitpid(daemon_->pid, NULL, 0);
		ck_assert_int_eq(access(path, F_OK), 0); /* its owner's */
		unlink(path);
		free(path);
		daemon_start(daemon_);
		ck_assert_int_eq(daemon_stop(daemon_), 0);
		daemon_ = first;
	}
END_TEST

/* Connects to the metrics, and asks. Return: whether they came. */
static bool metrics_come(const char *path)
{
	static const char request[] = "GET /metrics HTTP/1.0\r\n\r\n";
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	char reply[64] = "";
	bool came = false;

	strcpy(address.sun_path, path);
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0 &&
	    send(fd, request, strlen(request), MSG_NOSIGNAL) > 0 &&
	    read(fd, reply, sizeof(reply) - 1) > 0)
		came = strstr(reply, " 200 ") != NULL;
	close(fd);
	return came;
}

START_TEST(the_metrics_are_served_where_they_were)
	{
		char path[64], lines[512];
		struct stat before, after;

		snprintf(path, sizeof(path), "%s/metrics", dir);
		snprintf(lines, sizeof(lines), "%s\nmetrics_listen = %s", settings, path);
		daemon_reload(daemon_, lines, sections, "metrics are served at");
		ck_assert(metrics_come(path));
		ck_assert_int_eq(stat(path, &before), 0);
		upgrade();
		ck_assert(metrics_come(path));
		ck_assert_int_eq(stat(path, &after), 0);
		ck_assert_uint_eq(before.st_ino, after.st_ino);
		daemon_reload(daemon_, settings, sections, "read again");
		ck_assert_int_lt(access(path, F_OK), 0);
	}
END_TEST

START_TEST(no_descriptor_is_left_behind)
	{
		char command[128];
		int before, after;
		FILE *pipe;

		snprintf(command, sizeof(command), "ls /proc/%d/fd | wc -l", (int)daemon_->pid);
		say(c, "EXISTS a");
		expect(c, "OK false");
		upgrade();
		say(c, "EXISTS a");
		expect(c, "OK false");
		pipe = popen(command, "re");
		ck_assert_int_eq(fscanf(pipe, "%d", &before), 1);
		pclose(pipe);
		for (int i = 0; i < 3; i++)
			upgrade();
		say(c, "EXISTS a");
		expect(c, "OK false");
		pipe = popen(command, "re");
		ck_assert_int_eq(fscanf(pipe, "%d", &after), 1);
		pclose(pipe);
		ck_assert_int_eq(before, after);
	}
END_TEST

START_TEST(the_memory_of_the_daemon_comes_along)
	{
		char *lock;

		begin("local:");
		lock = acquire(c, "a");
		say(d, "ACQUIRE a wait=forever");
		await_waiters(c, "a", 1);
		upgrade();
		say(c, "RELEASE a %s", lock);
		expect(c, "OK");
		expect(d, "OK * ttl=*");
		client_close(d);
		say(c, "ACQUIRE a wait=3000");
		expect(c, "OK * ttl=*");
		free(lock);
		client_close(c);
		ck_assert_int_eq(daemon_stop(daemon_), 0);
		remove_program();
	}
END_TEST

/* ------------------------------------------------------------------ under load */

enum { N_LOADERS = 64, N_MUTEXES = 16, N_UPGRADES = 20, N_QUEUE = N_UPGRADES };

static struct load {
	atomic_bool stop;
	atomic_int holders[N_MUTEXES];
	atomic_llong fences[N_MUTEXES];
	atomic_ulong n_pairs, n_connects;
	atomic_long most_us; /* the longest that an answer took which nobody had to wait for */
	pthread_mutex_t lock;
	char failure[256]; /* the first */
} load;

static void load_fail(const char *what, const char *line)
{
	pthread_mutex_lock(&load.lock);
	if (!*load.failure)
		snprintf(load.failure, sizeof(load.failure), "%s: %.150s", what, line);
	pthread_mutex_unlock(&load.lock);
	load.stop = true;
}

static int load_connect(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	strcpy(address.sun_path, daemon_->socket_path);
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
		load_fail("connect", strerror(errno));
		close(fd);
		return -1;
	}
	return fd;
}

/* Says a line and hears one. Return: false when the connection has ended. */
static bool load_ask(int fd, const char *request, char *reply, size_t size)
{
	struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
	const size_t len = strlen(request);
	size_t n = 0;

	if (send(fd, request, len, MSG_NOSIGNAL) != (ssize_t)len)
		return false;
	while (n == 0 || reply[n - 1] != '\n') {
		ssize_t got = poll(&poll_fd, 1, 20000) > 0 ? read(fd, reply + n, size - 1 - n) : -1;

		if (got <= 0)
			return false;
		n += (size_t)got;
	}
	reply[n - 1] = '\0';
	return true;
}

static long long now_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000LL + now.tv_nsec / 1000;
}

static bool load_pair(int fd, int mutex)
{
	char request[128], reply[512], lock[64];
	long long fence;
	long us;

	snprintf(request, sizeof(request), "ACQUIRE fam-%d wait=20000\n", mutex);
	if (!load_ask(fd, request, reply, sizeof(reply)) ||
	    sscanf(reply, "OK %63s ttl=%*d fence=%lld", lock, &fence) != 2) {
		load_fail("ACQUIRE", reply);
		return false;
	}
	if (atomic_fetch_add(&load.holders[mutex], 1) != 0)
		load_fail("two hold it", reply);
	if (fence <= load.fences[mutex])
		load_fail("the fence does not grow", reply);
	load.fences[mutex] = fence;
	atomic_fetch_sub(&load.holders[mutex], 1);
	snprintf(request, sizeof(request), "RELEASE fam-%d %s\n", mutex, lock);
	us = -(long)now_us();
	if (!load_ask(fd, request, reply, sizeof(reply)) || strcmp(reply, "OK") != 0) {
		load_fail("RELEASE", reply);
		return false;
	}
	us += (long)now_us();
	if (us > load.most_us)
		load.most_us = us;
	load.n_pairs++;
	return true;
}

static void *loader(void *arg)
{
	const int mutex = (int)(intptr_t)arg % N_MUTEXES, fd = load_connect();

	while (!load.stop && fd >= 0 && load_pair(fd, mutex))
		;
	close(fd);
	return NULL;
}

/* Comes anew again and again. */
static void *connector(void *arg)
{
	char reply[512];

	while (!load.stop) {
		int fd = load_connect();

		if (fd >= 0 &&
		    (!load_ask(fd, "PING\n", reply, sizeof(reply)) || strcmp(reply, "OK") != 0))
			load_fail("PING", "no answer");
		close(fd);
		load.n_connects++;
		poll(NULL, 0, 1);
	}
	return arg;
}

static void upgrade_under_load(void)
{
	struct client *queue[N_QUEUE + 1];
	pthread_t threads[N_LOADERS + 1];
	char *lock;
	long most_us;

	memset(&load, 0, sizeof(load));
	pthread_mutex_init(&load.lock, NULL);
	for (int i = 0; i <= N_QUEUE; i++) {
		queue[i] = client_connect(daemon_);
		say(queue[i], "ACQUIRE q wait=forever");
		if (i > 0)
			await_waiters(c, "q", (unsigned)i);
	}
	for (int i = 0; i < N_LOADERS; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, loader, (void *)(intptr_t)i), 0);
	ck_assert_int_eq(pthread_create(&threads[N_LOADERS], NULL, connector, NULL), 0);
	for (int i = 0; i < N_UPGRADES && !load.stop; i++) {
		const char *reply = expect(queue[i], "OK * ttl=*");

		/* The next in the queue gets it while the program is replaced. */
		lock = strndup(reply + 3, strcspn(reply + 3, " "));
		kill(daemon_->pid, SIGUSR2);
		poll(NULL, 0, i * 3);
		say(queue[i], "RELEASE q %s", lock);
		expect(queue[i], "OK");
		free(lock);
		await_log_count(pause_text, (unsigned)i + 1);
	}
	load.stop = true;
	for (int i = 0; i <= N_LOADERS; i++)
		pthread_join(threads[i], NULL);
	ck_assert_msg(!*load.failure, "%s", load.failure);
	expect(queue[N_QUEUE], "OK * ttl=*");
	for (int i = 0; i <= N_QUEUE; i++)
		client_close(queue[i]);
	ck_assert_uint_eq(count_log(pause_text, &most_us), N_UPGRADES);
	fprintf(stderr,
		"%d upgrades: %lu pairs, %lu new connections; the longest pause %ld us, the "
		"slowest RELEASE %ld us\n",
		N_UPGRADES, load.n_pairs, load.n_connects, most_us, load.most_us);
	ck_assert_uint_gt(load.n_pairs, 100);
}

START_TEST(twenty_upgrades_under_load_lose_nothing)
	{
		upgrade_under_load();
	}
END_TEST

START_TEST(twenty_upgrades_under_load_lose_nothing_in_memory)
	{
		begin("local:");
		upgrade_under_load();
		client_close(c);
		client_close(d);
		ck_assert_int_eq(daemon_stop(daemon_), 0);
		remove_program();
	}
END_TEST

/* ------------------------------------------------------------------ with many clients */

/* As many as the default of max_clients, if this process may have so many descriptors. */
static int many_clients(void)
{
	struct rlimit limit;
	int n = 9900;

	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
	limit.rlim_cur = limit.rlim_max;
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
#ifdef __SANITIZE_ADDRESS__
	n = 2000; /* or the trial takes more than its five seconds */
#endif
	return limit.rlim_max - 300 < (rlim_t)n ? (int)limit.rlim_max - 300 : n;
}

START_TEST(ten_thousand_clients_keep_what_they_have)
	{
		const int n = many_clients();
		char **locks = calloc((size_t)n, sizeof(*locks));
		struct client **clients = calloc((size_t)n, sizeof(*clients));
		long most_us;

		begin("local:");
		for (int i = 0; i < n; i++) {
			clients[i] = client_connect(daemon_);
			locks[i] = acquire(clients[i], "fam-%d", i);
		}
		/* One waits for another, and of the third half a line is there. */
		for (int i = 0; i + 2 < n; i += 3) {
			say(clients[i + 1], "ACQUIRE fam-%d wait=forever", i);
			say_bytes(clients[i + 2], "EXIST", 5);
		}
		await_waiters(c, "fam-0", 1);
		upgrade();
		for (int i = 0; i + 2 < n; i += 3) {
			say(clients[i + 2], "S fam-%d", i + 2);
			expect(clients[i + 2], "OK true");
			say(clients[i], "RELEASE fam-%d %s", i, locks[i]);
			expect(clients[i], "OK");
			expect(clients[i + 1], "OK * ttl=*");
			say(clients[i + 2], "RELEASE fam-%d %s", i + 2, locks[i + 2]);
			expect(clients[i + 2], "OK");
		}
		count_log(pause_text, &most_us);
		fprintf(stderr, "an upgrade with %d clients: a pause of %ld us\n", n, most_us);
		for (int i = 0; i < n; i++) {
			client_close(clients[i]);
			free(locks[i]);
		}
		free(clients);
		free(locks);
		client_close(c);
		client_close(d);
		ck_assert_int_eq(daemon_stop(daemon_), 0);
		remove_program();
	}
END_TEST

/* ------------------------------------------------------------------ over stores of many servers */

enum { N_SERVERS = 3 };

static struct redis_server servers[N_SERVERS], sentinel;
static char url[256];

static void servers_start(const char *const *args)
{
	for (int i = 0; i < N_SERVERS; i++)
		redis_server_start(&servers[i], args != NULL, args);
}

static void start_quorum(void)
{
	servers_start(NULL);
	snprintf(url, sizeof(url), "%s\n\t%s\n\t%s", servers[0].unix_url, servers[1].unix_url,
		 servers[2].unix_url);
}

static void start_sentinel(void)
{
	servers_start((const char *[]){NULL});
	redis_server_start_sentinel(&sentinel, false, NULL);
	redis_server_ask(&sentinel, "SENTINEL MONITOR mymaster 127.0.0.1 %d 1", servers[0].port);
	snprintf(url, sizeof(url), "redis-sentinel://127.0.0.1:%d/mymaster", sentinel.port);
}

static void start_cluster(void)
{
	char command[256];

	servers_start((const char *[]){"--cluster-enabled", "yes", NULL});
	snprintf(command, sizeof(command),
		 "redis-cli --cluster create 127.0.0.1:%d 127.0.0.1:%d 127.0.0.1:%d --cluster-yes "
		 ">/dev/null",
		 servers[0].port, servers[1].port, servers[2].port);
	ck_assert_int_eq(system(command), 0);
	snprintf(url, sizeof(url), "redis-cluster://127.0.0.1:%d,127.0.0.1:%d", servers[0].port,
		 servers[1].port);
}

static void (*const starts[])(void) = {start_quorum, start_sentinel, start_cluster};

START_TEST(twenty_upgrades_under_load_lose_nothing_over_many_servers)
	{
		starts[_i]();
		begin(url);
		/* It may have to find out who is there. */
		free(acquire(c, "a wait=10000"));
		upgrade_under_load();
		client_close(c);
		client_close(d);
		ck_assert_int_eq(daemon_stop(daemon_), 0);
		remove_program();
		for (int i = 0; i < N_SERVERS; i++)
			redis_server_stop(&servers[i]);
		if (*sentinel.dir)
			redis_server_stop(&sentinel);
	}
END_TEST

static Suite *suite(void)
{
	Suite *suite = suite_create("serve handover");
	TCase *tcase;

	tcase = tcase_create("memory");
	tcase_set_timeout(tcase, 120);
	tcase_add_test(tcase, the_memory_of_the_daemon_comes_along);
	tcase_add_test(tcase, twenty_upgrades_under_load_lose_nothing_in_memory);
	tcase_add_test(tcase, ten_thousand_clients_keep_what_they_have);
	suite_add_tcase(suite, tcase);
	if (!redis_server_installed())
		return suite;

	tcase = tcase_create("stays");
	tcase_set_timeout(tcase, 60);
	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, a_lock_stays_held_and_known_to_its_holder);
	tcase_add_test(tcase, the_process_keeps_its_number);
	tcase_add_test(tcase, the_end_of_a_connection_releases_its_lock_afterwards);
	tcase_add_test(tcase, waiters_keep_their_order);
	tcase_add_test(tcase,
		       a_waiter_can_be_cancelled_afterwards_and_one_that_hung_up_delays_nobody);
	tcase_add_test(tcase, a_wait_ends_at_its_time);
	tcase_add_test(tcase, half_a_line_goes_on);
	tcase_add_test(tcase, requests_that_wait_for_their_turn_are_carried_out);
	tcase_add_test(tcase, replies_that_nobody_has_read_yet_come_whole_and_once);
	tcase_add_test(tcase, a_list_goes_on_where_it_was);
	tcase_add_test(tcase, locks_of_processes_end_with_them_and_locks_of_nobody_do_not);
	tcase_add_test(tcase, a_process_that_ends_during_it_is_noticed);
	tcase_add_test(tcase, renewal_goes_on);
	tcase_add_test(tcase, what_expires_is_announced_and_lost_at_its_time);
	tcase_add_test(tcase, a_claim_inside_the_daemon_goes_on);
	tcase_add_test(tcase, credentials_come_along);
	tcase_add_test(tcase, a_client_that_half_closed_gets_its_answers);
	suite_add_tcase(suite, tcase);

	tcase = tcase_create("under way");
	tcase_set_timeout(tcase, 60);
	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, an_acquire_that_the_store_has_not_answered_is_settled);
	tcase_add_test(tcase, a_release_that_the_store_has_not_answered_is_carried_out);
	tcase_add_test(tcase, a_hand_over_that_the_store_has_not_answered_is_settled);
	tcase_add_test(tcase, a_break_is_answered_before_anything_is_replaced);
	tcase_add_test(tcase, a_store_that_is_gone_stops_nobody);
	suite_add_tcase(suite, tcase);

	tcase = tcase_create("no good");
	tcase_set_timeout(tcase, 60);
	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, a_program_that_fails_its_trial_is_not_executed);
	tcase_add_test(tcase, a_program_that_says_nothing_for_five_seconds_is_killed);
	tcase_add_test(tcase, a_faulty_configuration_stops_it);
	tcase_add_test(tcase, another_configuration_takes_effect_with_it);
	tcase_add_test(tcase,
		       a_lock_of_a_mutex_that_is_gone_from_the_configuration_can_be_released);
	tcase_add_test(tcase, a_stop_during_the_trial_is_a_stop);
	tcase_add_test(tcase, the_option_of_the_trial_alone_does_nothing);
	tcase_add_test(tcase, a_configuration_that_is_spoilt_in_the_last_moment_costs_nothing);
	tcase_add_test(tcase, what_another_release_has_added_is_ignored);
	suite_add_tcase(suite, tcase);

	tcase = tcase_create("afterwards");
	tcase_set_timeout(tcase, 60);
	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, a_crash_afterwards_leaves_a_good_state_file);
	tcase_add_test(tcase, a_reload_afterwards_works);
	tcase_add_test(tcase, a_reload_may_come_at_any_moment_of_an_upgrade);
	tcase_add_test(tcase, a_socket_that_was_handed_over_stays_open);
	tcase_add_test(tcase, the_metrics_are_served_where_they_were);
	tcase_add_test(tcase, no_descriptor_is_left_behind);
	suite_add_tcase(suite, tcase);

	tcase = tcase_create("load");
	tcase_set_timeout(tcase, 180);
	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, twenty_upgrades_under_load_lose_nothing);
	suite_add_tcase(suite, tcase);

	tcase = tcase_create("many servers");
	tcase_set_timeout(tcase, 180);
	tcase_add_loop_test(tcase, twenty_upgrades_under_load_lose_nothing_over_many_servers, 0,
			    sizeof(starts) / sizeof(*starts));
	suite_add_tcase(suite, tcase);
	return suite;
}

int main(void)
{
	return suite_run(suite());
}
