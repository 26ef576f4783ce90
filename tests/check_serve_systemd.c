/* SPDX-License-Identifier: MIT */
/* What the daemon tells the service manager, with a socket that stands in for it. */
#include "config.h"

#ifdef HAVE_LIBSYSTEMD

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness.h"
#include "suite.h"

static const char sections[] = "[mutex a]\nkey = a\n";

static char path[64];
static int fd; /* where the service manager hears */
static char message[512];

static void setup(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	snprintf(path, sizeof(path), "/tmp/redmutexd-notify-%d", (int)getpid());
	unlink(path);
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	strcpy(address.sun_path, path);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	setenv("NOTIFY_SOCKET", path, 1);
	unsetenv("WATCHDOG_USEC");
	unsetenv("WATCHDOG_PID");
}

static void teardown(void)
{
	close(fd);
	unlink(path);
	unsetenv("NOTIFY_SOCKET");
	unsetenv("WATCHDOG_USEC");
}

/* The next message, or NULL if none comes for so long. */
static const char *told(int wait_ms)
{
	struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
	ssize_t n;

	if (poll(&poll_fd, 1, wait_ms) <= 0)
		return NULL;
	n = recv(fd, message, sizeof(message) - 1, 0);
	ck_assert_int_gt(n, 0);
	message[n] = '\0';
	return message;
}

/* The next message must begin with this. */
static const char *expect_told(const char *text)
{
	const char *heard = told(HARNESS_WAIT_MS);

	ck_assert_msg(heard && strncmp(heard, text, strlen(text)) == 0,
		      "told \"%s\", expected \"%s\"", heard ? heard : "nothing", text);
	return heard;
}

static void expect_untold(int ms)
{
	const char *heard = told(ms);

	ck_assert_msg(!heard, "told \"%s\", expected nothing", heard);
}

START_TEST(it_is_ready_when_it_serves)
	{
		struct daemon *d = daemon_spawn("", sections);
		int status;
		pid_t pid;

		expect_told("READY=1");
		daemon_kill(d);
		/* Again, with somebody who connects the moment he hears of it. */
		pid = fork();
		ck_assert_int_ge(pid, 0);
		if (pid == 0) {
			struct client *c;

			expect_told("READY=1");
			c = client_connect(d);
			free(acquire(c, "a"));
			_exit(0);
		}
		daemon_start(d);
		ck_assert_int_eq(waitpid(pid, &status, 0), pid);
		ck_assert_int_eq(status, 0);
		ck_assert_int_eq(daemon_stop(d), 0);
	}
END_TEST

START_TEST(it_is_never_ready_if_it_can_not_serve)
	{
		struct daemon *d = daemon_spawn("", sections);

		expect_told("READY=1");
		ck_assert_int_ne(daemon_spawn_second(d), 0);
		daemon_write_conf(d, "max_clients = none", sections);
		ck_assert_int_eq(WEXITSTATUS(daemon_spawn_second(d)), 78);
		expect_untold(0);
		ck_assert_int_eq(daemon_stop(d), 0);
	}
END_TEST

START_TEST(a_reload_begins_and_ends)
	{
		struct daemon *d = daemon_spawn("", sections);
		long long usec, before = now_ms();

		expect_told("READY=1");
		daemon_reload(d, "", "[mutex b]\nkey = b\n", "read again");
		ck_assert_int_eq(sscanf(expect_told("RELOADING=1\n"),
					"RELOADING=1\nMONOTONIC_USEC=%lld", &usec),
				 1);
		ck_assert_int_ge(usec / 1000, before);
		ck_assert_int_le(usec / 1000, now_ms());
		expect_told("READY=1");
		/* One that is refused is over as well. */
		daemon_reload(d, "nonsense = 1", sections, "is not taken over");
		expect_told("RELOADING=1\n");
		expect_told("READY=1");
		expect_untold(0);
		ck_assert_int_eq(daemon_stop(d), 0);
	}
END_TEST

START_TEST(a_stop_is_told_when_it_begins)
	{
		struct daemon *d = daemon_spawn("", sections);
		struct client *c = client_connect(d);

		expect_told("READY=1");
		free(acquire(c, "a"));
		kill(d->pid, SIGTERM);
		expect_told("STOPPING=1");
		/* It waits for the holder, so it can't have ended. */
		ck_assert_int_eq(waitpid(d->pid, NULL, WNOHANG), 0);
		client_close(c);
		ck_assert_int_eq(daemon_await(d), 0);
		expect_untold(0);
	}
END_TEST

START_TEST(the_watchdog_is_fed_by_the_loop_that_serves)
	{
		struct daemon *d;

		setenv("WATCHDOG_USEC", "200000", 1);
		d = daemon_spawn("", sections);
		expect_told("READY=1");
		for (int i = 0; i < 4; i++) {
			const char *heard = told(200);

			ck_assert_msg(heard && strcmp(heard, "WATCHDOG=1") == 0,
				      "no watchdog in time");
		}
		ck_assert_int_eq(kill(d->pid, SIGSTOP), 0);
		ck_assert_int_eq(waitpid(d->pid, NULL, WUNTRACED), d->pid);
		while (told(0))
			;
		expect_untold(400);
		ck_assert_int_eq(kill(d->pid, SIGCONT), 0);
		expect_told("WATCHDOG=1");
		expect_told("WATCHDOG=1");
		ck_assert_int_eq(daemon_stop(d), 0);
	}
END_TEST

START_TEST(without_a_watchdog_nobody_is_told_of_one)
	{
		struct daemon *d = daemon_spawn("", sections);

		expect_told("READY=1");
		expect_untold(300);
		ck_assert_int_eq(daemon_stop(d), 0);
		expect_told("STOPPING=1");
	}
END_TEST

static Suite *systemd_suite(void)
{
	Suite *suite = suite_create("serve/systemd");
	TCase *notify = tcase_create("notify");

	tcase_add_checked_fixture(notify, setup, teardown);
	tcase_set_timeout(notify, 20);
	tcase_add_test(notify, it_is_ready_when_it_serves);
	tcase_add_test(notify, it_is_never_ready_if_it_can_not_serve);
	tcase_add_test(notify, a_reload_begins_and_ends);
	tcase_add_test(notify, a_stop_is_told_when_it_begins);
	tcase_add_test(notify, the_watchdog_is_fed_by_the_loop_that_serves);
	tcase_add_test(notify, without_a_watchdog_nobody_is_told_of_one);
	suite_add_tcase(suite, notify);
	return suite;
}

int main(void)
{
	return suite_run(systemd_suite());
}

#else

#include <stdio.h>

int main(void)
{
	puts("built without libsystemd: nobody is told anything");
	return 77;
}

#endif
