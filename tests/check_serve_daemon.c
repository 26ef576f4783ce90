/* SPDX-License-Identifier: MIT */
/* The daemon as a process: owners of locks, limits, access, start, reload and stop. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness.h"
#include "suite.h"

static const char sections[] =
	"[mutex a]\nkey = a\n[mutex b]\nkey = b\n[mutex fam-*]\nurl = local:\n";

/* Nobody in particular, for tests that run as root. */
enum { A_USER = 12345, ANOTHER_USER = 12346, A_GROUP = 12347 };

static bool is_root(void)
{
	return geteuid() == 0;
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

/* ------------------------------------------------------------------ owners */

START_TEST(sigkill_frees_a_lock_at_once)
	{
		struct daemon *daemon = daemon_spawn("", sections);
		struct client *waiter = client_connect(daemon), *holder = client_connect(daemon);
		int ready[2];
		long long began;
		pid_t pid;
		char byte;

		ck_assert_int_eq(pipe(ready), 0);
		pid = fork();
		if (pid == 0) {
			close(waiter->fd);
			acquire(holder, "a");
			if (write(ready[1], "x", 1) != 1)
				_exit(1);
			for (;;)
				pause();
		}
		ck_assert_int_eq(read(ready[0], &byte, 1), 1);
		client_close(holder); /* the child's is the last descriptor now */
		say(waiter, "@w ACQUIRE a wait=forever");
		say(waiter, "@p PING");
		expect(waiter, "@p OK");
		began = now_ms();
		kill(pid, SIGKILL);
		expect(waiter, "@w OK *");
		ck_assert_int_le(now_ms() - began, 100);
		waitpid(pid, NULL, 0);
		client_close(waiter);
		ck_assert_int_eq(daemon_stop(daemon), 0);
	}
END_TEST

START_TEST(a_lock_lives_until_the_last_copy_of_its_descriptor_is_closed)
	{
		struct daemon *daemon = daemon_spawn("", sections);
		struct client *c = client_connect(daemon), *d = client_connect(daemon);
		pid_t pid;

		free(acquire(c, "a"));
		pid = fork();
		ck_assert_int_ge(pid, 0);
		if (pid == 0) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			for (;;)
				pause();
		}
		client_close(c);
		say(d, "ACQUIRE a wait=100");
		expect(d, "ERR already_locked *");
		kill(pid, SIGKILL);
		ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
		free(acquire(d, "a wait=3000"));
		client_close(d);
		ck_assert_int_eq(daemon_stop(daemon), 0);
	}
END_TEST

START_TEST(a_lock_of_a_process_ends_with_that_process)
	{
		struct daemon *daemon = daemon_spawn("", sections);
		struct client *c = client_connect(daemon), *d = client_connect(daemon);
		pid_t pid = sleeper_start();
		char pattern[200];
		long long began;

		free(acquire(c, "a owner=pid:%d", (int)pid));
		free(acquire(c, "b owner=pid:%d", (int)pid));
		client_close(c);
		snprintf(pattern, sizeof(pattern), "OK locked=true * owner=pid:%d", (int)pid);
		say(d, "INFO a");
		expect(d, pattern);
		say(d, "@b ACQUIRE b wait=forever");
		say(d, "@w ACQUIRE a wait=forever owner=pid:%d", (int)getpid());
		expect_silence(d, 30);
		began = now_ms();
		sleeper_kill(pid);
		expect(d, "@* OK *");
		expect(d, "@* OK *");
		ck_assert_int_le(now_ms() - began, 100);
		client_close(d);
		ck_assert_int_eq(daemon_stop(daemon), 0);
	}
END_TEST

START_TEST(a_process_that_ends_waits_no_longer)
	{
		struct daemon *daemon = daemon_spawn("", sections);
		struct client *c = client_connect(daemon), *d = client_connect(daemon);
		pid_t pid = sleeper_start();

		free(acquire(c, "a"));
		say(d, "@w ACQUIRE a wait=forever owner=pid:%d", (int)pid);
		say(d, "@p PING");
		expect(d, "@p OK");
		sleeper_kill(pid);
		expect(d, "@w ERR cancelled *");
		say(d, "ACQUIRE b owner=pid:%d", (int)pid);
		expect(d, "ERR denied *");
		client_close(c);
		client_close(d);
		ck_assert_int_eq(daemon_stop(daemon), 0);
	}
END_TEST

START_TEST(a_process_of_somebody_else_is_denied)
	{
		struct daemon *daemon;
		struct client *c, *r;
		pid_t pid;

		if (!is_root())
			return;
		daemon = daemon_spawn("socket_mode = 0666", sections);
		c = client_connect_as(daemon, A_USER, A_USER, A_GROUP);
		r = client_connect(daemon);
		pid = fork();
		if (pid == 0) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			if (setuid(A_USER) < 0)
				_exit(1);
			for (;;)
				pause();
		}
		say(c, "ACQUIRE a owner=pid:%d", (int)getpid());
		expect(c, "ERR denied *");
		/* Not before the child has become that user. */
		say(c, "ACQUIRE a owner=pid:%d", (int)pid);
		while (strncmp(hear(c), "OK ", 3) != 0)
			say(c, "ACQUIRE a owner=pid:%d", (int)pid);
		say(r, "ACQUIRE b owner=pid:%d", (int)pid);
		expect(r, "OK *");
		sleeper_kill(pid);
		client_close(c);
		client_close(r);
		ck_assert_int_eq(daemon_stop(daemon), 0);
	}
END_TEST

static void *thread_idle(void *arg)
{
	*(pid_t *)arg = gettid();
	for (;;)
		pause();
	return NULL;
}

START_TEST(what_is_no_process_is_denied)
	{
		struct daemon *daemon = daemon_spawn("", sections);
		struct client *c = client_connect(daemon);
		pid_t ended = sleeper_start();
		volatile pid_t thread_id = 0;
		pthread_t thread;

		sleeper_kill(ended);
		say(c, "ACQUIRE a owner=pid:%d", (int)ended);
		expect(c, "ERR denied *");
		say(c, "ACQUIRE a owner=pid:2147483647");
		expect(c, "ERR denied *");
		/* The number of a thread: what the kernel calls that differs from one to the next.
		 */
		ck_assert_int_eq(pthread_create(&thread, NULL, thread_idle, (void *)&thread_id), 0);
		while (thread_id == 0)
			sched_yield();
		say(c, "ACQUIRE a owner=pid:%d", (int)thread_id);
		expect(c, "ERR denied *");
		client_close(c);
		ck_assert_int_eq(daemon_stop(daemon), 0);
	}
END_TEST

START_TEST(a_peer_in_another_pid_namespace_is_denied)
	{
		struct daemon *daemon;
		struct client *c;
		int status;
		pid_t pid;

		if (!is_root())
			return;
		daemon = daemon_spawn("", sections);
		pid = fork();
		if (pid == 0) {
			pid_t inner;

			/* 77: the kernel does not let us try. */
			if (unshare(CLONE_NEWPID) < 0)
				_exit(77);
			inner = fork();
			if (inner == 0) {
				c = client_connect(daemon);
				say(c, "ACQUIRE a owner=pid:1");
				expect(c, "ERR denied *");
				say(c, "ACQUIRE a");
				expect(c, "OK *");
				_exit(0);
			}
			waitpid(inner, &status, 0);
			_exit(WIFEXITED(status) ? WEXITSTATUS(status) : 1);
		}
		ck_assert_int_eq(waitpid(pid, &status, 0), pid);
		ck_assert(WIFEXITED(status));
		ck_assert(WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == 77);
		ck_assert_int_eq(daemon_stop(daemon), 0);
	}
END_TEST

START_TEST(a_lock_of_nobody_outlives_its_connection)
	{
		struct daemon *daemon = daemon_spawn("max_locks_per_client = 2", sections);
		struct client *c = client_connect(daemon), *d;
		char *lock = acquire(c, "a owner=none");

		say(c, "QUIT");
		expect(c, "OK");
		expect_eof(c);
		client_close(c);
		c = client_connect(daemon);
		d = client_connect(daemon);
		say(c, "INFO a");
		expect(c, "OK locked=true holder=here * owner=none");
		/* Connecting again brings no more of them. */
		free(acquire(c, "b owner=none"));
		say(d, "ACQUIRE fam-1 owner=none");
		expect(d, "ERR limit max_locks_per_client*");
		say(d, "ACQUIRE fam-1");
		expect(d, "OK *");
		say(c, "RELEASE a %s", lock);
		expect(c, "OK");
		free(lock);
		client_close(c);
		client_close(d);
		ck_assert_int_eq(daemon_stop(daemon), 0);
	}
END_TEST

START_TEST(a_lock_of_nobody_ends_in_time_though_the_section_renews)
	{
		struct daemon *daemon = daemon_spawn("", "[mutex a]\nrenew = yes\n");
		struct client *c = client_connect(daemon);

		free(acquire(c, "a owner=none ttl=100"));
		expect(c, "EVENT EXPIRING a *");
		expect(c, "EVENT LOST a * expired");
		client_close(c);
		ck_assert_int_eq(daemon_stop(daemon), 0);
	}
END_TEST

/* ------------------------------------------------------------------ limits */

START_TEST(a_client_too_many_hears_why)
	{
		struct daemon *daemon = daemon_spawn("max_clients = 2", sections);
		struct client *c = client_connect(daemon), *d = client_connect(daemon), *e;

		say(c, "PING");
		expect(c, "OK");
		say(d, "PING");
		expect(d, "OK");
		e = client_connect(daemon);
		expect(e, "ERR limit max_clients*");
		expect_eof(e);
		client_close(e);
		say(c, "QUIT");
		expect(c, "OK");
		expect_eof(c);
		e = client_connect(daemon);
		say(e, "PING");
		expect(e, "OK");
		client_close(e);
		client_close(c);
		client_close(d);
		ck_assert_int_eq(daemon_stop(daemon), 0);
	}
END_TEST

START_TEST(a_user_too_often_hears_why_and_root_is_not_counted)
	{
		struct daemon *daemon;
		struct client *c, *d, *r[3];

		if (!is_root())
			return;
		daemon = daemon_spawn("max_clients_per_user = 1\nsocket_mode = 0666", sections);
		c = client_connect_as(daemon, A_USER, A_USER, A_GROUP);
		d = client_connect_as(daemon, A_USER, A_USER, A_GROUP);
		expect(d, "ERR limit max_clients_per_user*");
		expect_eof(d);
		client_close(d);
		d = client_connect_as(daemon, ANOTHER_USER, A_USER, A_GROUP);
		say(d, "PING");
		expect(d, "OK");
		for (int i = 0; i < 3; i++) {
			r[i] = client_connect(daemon);
			say(r[i], "PING");
			expect(r[i], "OK");
		}
		for (int i = 0; i < 3; i++)
			client_close(r[i]);
		client_close(c);
		client_close(d);
		ck_assert_int_eq(daemon_stop(daemon), 0);
	}
END_TEST

START_TEST(max_pending_per_client_counts_what_was_started)
	{
		struct daemon *daemon = daemon_spawn("max_pending_per_client = 3", sections);
		struct client *c = client_connect(daemon), *d = client_connect(daemon);

		free(acquire(c, "a"));
		for (int i = 0; i < 3; i++)
			say(d, "@%d ACQUIRE a wait=forever", i);
		say(d, "@3 EXISTS b");
		expect(d, "@3 ERR limit max_pending_per_client*");
		say(d, "@p PING");
		expect(d, "@p OK");
		say(d, "CANCEL 1");
		expect(d, "@1 ERR cancelled*");
		expect(d, "OK");
		say(d, "@3 EXISTS b");
		expect(d, "@3 OK false");
		/* Lines that are not started yet don't count. */
		say(c, "ACQUIRE a wait=50");
		for (int i = 0; i < 10; i++)
			say(c, "EXISTS b");
		expect(c, "ERR already_locked*");
		for (int i = 0; i < 10; i++)
			expect(c, "OK false");
		client_close(c);
		client_close(d);
		ck_assert_int_eq(daemon_stop(daemon), 0);
	}
END_TEST

START_TEST(max_waiters_limits_a_queue)
	{
		struct daemon *daemon = daemon_spawn("max_waiters = 1", sections);
		struct client *c = client_connect(daemon), *d = client_connect(daemon);

		free(acquire(c, "a"));
		say(d, "@1 ACQUIRE a wait=forever");
		say(d, "@2 ACQUIRE a wait=forever");
		expect(d, "@2 ERR limit max_waiters*");
		client_close(c);
		expect(d, "@1 OK *");
		client_close(d);
		ck_assert_int_eq(daemon_stop(daemon), 0);
	}
END_TEST

START_TEST(who_does_not_read_is_dropped_and_others_are_served)
	{
		struct daemon *daemon = daemon_spawn("max_output_bytes = 100000", sections);
		struct client *c = client_connect(daemon), *d = client_connect(daemon);
		char batch[2000];
		long long until_ms = now_ms() + HARNESS_WAIT_MS;
		size_t len = 0;
		ssize_t n;

		free(acquire(c, "a"));
		while (len + 10 < sizeof(batch))
			len += (size_t)sprintf(batch + len, "INFO a\n");
		do {
			n = send(c->fd, batch, len, MSG_DONTWAIT | MSG_NOSIGNAL);
			if (n < 0 && errno == EAGAIN)
				usleep(1000);
			say(d, "PING");
			expect(d, "OK");
			ck_assert_int_lt(now_ms(), until_ms);
		} while (n > 0 || errno == EAGAIN);
		say(d, "ACQUIRE a wait=1000");
		expect(d, "OK *");
		daemon_expect_log(daemon, "max_output_bytes");
		client_close(c);
		client_close(d);
		ck_assert_int_eq(daemon_stop(daemon), 0);
	}
END_TEST

START_TEST(a_long_list_is_produced_as_it_is_read)
	{
		enum { N = 3000 };
		struct daemon *daemon = daemon_spawn(
			"max_output_bytes = 20000\nmax_locks_per_client = 5000", sections);
		struct client *c = client_connect(daemon), *d = client_connect(daemon);
		char note[200];

		memset(note, 'n', sizeof(note) - 1);
		note[sizeof(note) - 1] = '\0';
		for (int i = 0; i < N; i++)
			free(acquire(c, "fam-%d note=%s", i, note));
		say(d, "LIST");
		usleep(200000); /* so that all that fits is written, and more waits */
		for (int i = 0; i < N; i++)
			ck_assert_int_eq(strncmp(hear(d), "ITEM ", 5), 0);
		for (int i = 0; i < 3; i++)
			expect(d, "ITEM *");
		expect(d, "OK 3003");
		client_close(c);
		client_close(d);
		ck_assert_int_eq(daemon_stop(daemon), 0);
	}
END_TEST

/* User and system time of a process, in clock ticks, and its voluntary context switches. */
static void process_use(pid_t pid, long *ticks, long *switches)
{
	char path[64], line[512];
	long user, system;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	file = fopen(path, "re");
	ck_assert_ptr_nonnull(fgets(line, sizeof(line), file));
	fclose(file);
	ck_assert_int_eq(sscanf(strrchr(line, ')') + 2,
				"%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %ld %ld", &user,
				&system),
			 2);
	*ticks = user + system;
	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	file = fopen(path, "re");
	while (fgets(line, sizeof(line), file)) {
		if (sscanf(line, "voluntary_ctxt_switches: %ld", switches) == 1)
			break;
	}
	fclose(file);
}

START_TEST(idle_connections_cost_little_memory_and_no_time)
	{
		enum { N = 900 };
		struct rlimit limit = {4096, 4096};
		struct daemon *daemon = daemon_spawn("", sections);
		struct client *c = client_connect(daemon);
		long before, ticks, ticks_after, switches, switches_after;
		int fds[N];

		setrlimit(RLIMIT_NOFILE, &limit);
		say(c, "PING");
		expect(c, "OK");
		before = process_rss_kib(daemon->pid);
		for (int i = 0; i < N; i++) {
			struct client *one = client_connect(daemon);

			say(one, "PING");
			expect(one, "OK");
			fds[i] = one->fd;
			free(one);
		}
		ck_assert_int_le(process_rss_kib(daemon->pid) - before, 2 * N);
		usleep(50000);
		process_use(daemon->pid, &ticks, &switches);
		usleep(500000);
		process_use(daemon->pid, &ticks_after, &switches_after);
		ck_assert_int_eq(ticks_after, ticks);
		ck_assert_int_le(switches_after - switches, 1);
		for (int i = 0; i < N; i++)
			close(fds[i]);
		client_close(c);
		ck_assert_int_eq(daemon_stop(daemon), 0);
	}
END_TEST

START_TEST(out_of_descriptors_is_not_the_end)
	{
		struct daemon *daemon = daemon_spawn("", sections);
		struct client *c = client_connect(daemon), *e;
		struct rlimit few;
		int fds[64], n = 0;
		char batch[64];

		say(c, "PING");
		expect(c, "OK");
		ck_assert_int_eq(prlimit(daemon->pid, RLIMIT_NOFILE, NULL, &few), 0);
		few.rlim_cur = 20;
		ck_assert_int_eq(prlimit(daemon->pid, RLIMIT_NOFILE, &few, NULL), 0);
		for (n = 0; n < 64; n++) {
			e = client_connect(daemon);
			/* The one that is refused may be so before it has said anything. */
			send(e->fd, "PING\n", 5, MSG_NOSIGNAL);
			if (strncmp(hear(e), "OK", 2) != 0)
				break;
			fds[n] = e->fd;
			free(e);
		}
		ck_assert_int_lt(n, 64);
		expect_eof(e);
		client_close(e);
		say(c, "PING");
		expect(c, "OK");
		ck_assert_int_eq(write(fds[--n], "QUIT\n", 5), 5);
		while (read(fds[n], batch, sizeof(batch)) > 0)
			;
		close(fds[n]);
		e = client_connect(daemon);
		say(e, "PING");
		expect(e, "OK");
		client_close(e);
		while (n > 0)
			close(fds[--n]);
		client_close(c);
		ck_assert_int_eq(daemon_stop(daemon), 0);
	}
END_TEST

/* ------------------------------------------------------------------ access */

START_TEST(only_allowed_users_and_groups_may_use_a_mutex)
	{
		struct daemon *daemon;
		struct client *user, *member, *other, *root;
		char text[300];

		if (!is_root())
			return;
		snprintf(text, sizeof(text),
			 "[mutex users]\nkey = u\nallow_users = %d\n"
			 "[mutex groups]\nkey = g\nallow_groups = %d\n[mutex all]\nkey = all\n",
			 A_USER, A_GROUP);
		daemon = daemon_spawn("socket_mode = 0666", text);
		user = client_connect_as(daemon, A_USER, A_USER, A_USER);
		member = client_connect_as(daemon, ANOTHER_USER, ANOTHER_USER, A_GROUP);
		other = client_connect_as(daemon, ANOTHER_USER, ANOTHER_USER, ANOTHER_USER);
		root = client_connect(daemon);

		say(user, "EXISTS users");
		expect(user, "OK false");
		say(user, "ACQUIRE groups");
		expect(user, "ERR denied *");
		say(member, "ACQUIRE groups");
		expect(member, "OK *");
		say(member, "INFO users");
		expect(member, "ERR denied *");
		say(other, "ACQUIRE users");
		expect(other, "ERR denied *");
		say(other, "RELEASE groups AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=");
		expect(other, "ERR denied *");
		say(other, "LIST");
		expect(other, "ITEM all *");
		expect(other, "OK 1");
		say(other, "BREAK all");
		expect(other, "ERR denied *");
		say(root, "ACQUIRE users");
		expect(root, "OK *");
		say(root, "BREAK groups");
		expect(root, "OK");
		expect(member, "EVENT LOST groups * broken");
		client_close(user);
		client_close(member);
		client_close(other);
		client_close(root);
		ck_assert_int_eq(daemon_stop(daemon), 0);
	}
END_TEST

START_TEST(a_reload_refuses_waiters_who_may_not_any_more)
	{
		struct daemon *daemon;
		struct client *c, *user, *other;
		char text[200];

		if (!is_root())
			return;
		daemon = daemon_spawn("socket_mode = 0666", "[mutex a]\nkey = a\n");
		c = client_connect(daemon);
		user = client_connect_as(daemon, A_USER, A_USER, A_USER);
		other = client_connect_as(daemon, ANOTHER_USER, ANOTHER_USER, A_GROUP);
		free(acquire(c, "a"));
		say(user, "@1 ACQUIRE a wait=forever");
		say(user, "@p PING");
		expect(user, "@p OK");
		say(other, "@2 ACQUIRE a wait=forever");
		say(other, "@p PING");
		expect(other, "@p OK");
		snprintf(text, sizeof(text), "[mutex a]\nkey = a\nallow_groups = %d\n", A_GROUP);
		daemon_reload(daemon, "socket_mode = 0666", text, "read again");
		expect(user, "@1 ERR denied *");
		client_close(c);
		expect(other, "@2 OK *");
		client_close(user);
		client_close(other);
		ck_assert_int_eq(daemon_stop(daemon), 0);
	}
END_TEST

START_TEST(the_admin_group_may_break)
	{
		struct daemon *daemon;
		struct client *admin, *other;
		char text[100];

		if (!is_root())
			return;
		snprintf(text, sizeof(text), "admin_group = %d\nsocket_mode = 0666", A_GROUP);
		daemon = daemon_spawn(text, sections);
		admin = client_connect_as(daemon, A_USER, A_USER, A_GROUP);
		other = client_connect_as(daemon, A_USER, A_USER, A_USER);
		say(other, "BREAK a");
		expect(other, "ERR denied *");
		say(admin, "BREAK a");
		expect(admin, "ERR unlock_fail *");
		client_close(admin);
		client_close(other);
		ck_assert_int_eq(daemon_stop(daemon), 0);
	}
END_TEST

/* ------------------------------------------------------------------ start, reload, stop */

START_TEST(the_socket_has_the_configured_mode)
	{
		struct daemon *daemon = daemon_spawn("socket_mode = 0640", sections);
		struct stat status;

		ck_assert_int_eq(stat(daemon->socket_path, &status), 0);
		ck_assert_int_eq(status.st_mode & 07777, 0640);
		ck_assert_int_eq(daemon_stop(daemon), 0);
	}
END_TEST

START_TEST(a_stale_socket_is_replaced_and_another_file_is_not)
	{
		struct daemon *daemon = daemon_spawn("", sections);
		struct client *c;
		char *path = strdup(daemon->socket_path);
		int fd, status;

		kill(daemon->pid, SIGKILL);
		waitpid(daemon->pid, NULL, 0);
		ck_assert_int_eq(access(path, F_OK), 0);
		daemon_start(daemon);
		c = client_connect(daemon);
		say(c, "PING");
		expect(c, "OK");
		client_close(c);
		kill(daemon->pid, SIGKILL);
		waitpid(daemon->pid, NULL, 0);

		ck_assert_int_eq(unlink(path), 0);
		fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
		close(fd);
		status = daemon_spawn_second(daemon);
		ck_assert(WIFEXITED(status) && WEXITSTATUS(status) != 0);
		ck_assert_int_eq(unlink(path), 0);
		daemon_start(daemon);
		ck_assert_int_eq(daemon_stop(daemon), 0);
		free(path);
	}
END_TEST

#ifdef HAVE_LIBSYSTEMD
START_TEST(a_socket_that_was_handed_over_is_used_and_left)
	{
		struct daemon *daemon = daemon_spawn_activated("", sections);
		struct client *c = client_connect(daemon);
		char *path = strdup(daemon->socket_path);

		say(c, "PING");
		expect(c, "OK");
		client_close(c);
		kill(daemon->pid, SIGTERM);
		waitpid(daemon->pid, NULL, 0);
		ck_assert_int_eq(access(path, F_OK), 0);
		ck_assert_int_eq(unlink(path), 0);
		daemon_start(daemon);
		ck_assert_int_eq(daemon_stop(daemon), 0);
		free(path);
	}
END_TEST
#endif

START_TEST(busy_polling_serves_as_well)
	{
		struct daemon *daemon = daemon_spawn("busy_poll_us = 2000", sections);
		struct client *c = client_connect(daemon);

		free(acquire(c, "a ttl=100"));
		expect(c, "EVENT EXPIRING a *");
		expect(c, "EVENT LOST a * expired");
		say(c, "PING");
		expect(c, "OK");
		client_close(c);
		ck_assert_int_eq(daemon_stop(daemon), 0);
	}
END_TEST

START_TEST(checking_names_every_fault_and_starts_nothing)
	{
		struct daemon *daemon = daemon_spawn("", sections);
		const char *program = getenv("REDMUTEXD");
		char command[400], line[400];
		int n = 0, status;
		FILE *pipe_;

		snprintf(command, sizeof(command), "%s -t -c %s 2>&1",
			 program ? program : "daemon/redmutexd", daemon->conf_path);
		ck_assert_int_eq(system(command), 0);
		daemon_write_conf(daemon, "colour = red",
				  "[mutex x]\nkey = x\nrenew = perhaps\n[odd]\na = b\n");
		pipe_ = popen(command, "r");
		while (fgets(line, sizeof(line), pipe_)) {
			char *rest = line + strlen(daemon->conf_path);

			ck_assert_int_eq(
				strncmp(line, daemon->conf_path, strlen(daemon->conf_path)), 0);
			ck_assert_int_eq(*rest, ':');
			ck_assert_int_gt(strtol(rest + 1, &rest, 10), 0);
			ck_assert_int_eq(strncmp(rest, ": ", 2), 0);
			n++;
		}
		status = pclose(pipe_);
		ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 78);
		ck_assert_int_eq(n, 3);
		ck_assert_int_eq(daemon_stop(daemon), 0);
	}
END_TEST

START_TEST(a_second_daemon_leaves_the_first_its_socket)
	{
		struct daemon *daemon = daemon_spawn("", sections);
		int status = daemon_spawn_second(daemon);
		struct client *c;

		ck_assert(WIFEXITED(status) && WEXITSTATUS(status) != 0);
		daemon_expect_log(daemon, "another daemon");
		c = client_connect(daemon);
		say(c, "PING");
		expect(c, "OK");
		client_close(c);
		ck_assert_int_eq(daemon_stop(daemon), 0);
	}
END_TEST

/* As the service manager does, before the daemon is started; or where files are tidied up. */
START_TEST(a_socket_on_which_somebody_listens_is_left_alone_without_lock_files_too)
	{
		struct daemon *daemon = daemon_spawn("", sections);
		char command[300];
		struct client *c;
		int status;

		snprintf(command, sizeof(command), "rm %s.lock %s.held", daemon->socket_path,
			 daemon->socket_path);
		ck_assert_int_eq(system(command), 0);
		status = daemon_spawn_second(daemon);
		ck_assert(WIFEXITED(status) && WEXITSTATUS(status) != 0);
		daemon_expect_log(daemon, "somebody listens there");
		c = client_connect(daemon);
		say(c, "HELLO");
		expect(c, "OK redmutexd *");
		client_close(c);
		ck_assert_int_eq(daemon_stop(daemon), 0);
	}
END_TEST

START_TEST(a_reload_brings_mutexes_and_takes_them_away)
	{
		struct daemon *daemon = daemon_spawn("", sections);
		struct client *c = client_connect(daemon), *d = client_connect(daemon);
		char *lock = acquire(c, "a");

		say(d, "@w ACQUIRE a wait=forever");
		say(d, "@p PING");
		expect(d, "@p OK");
		daemon_reload(daemon, "", "[mutex c]\nkey = c\n", "read again");
		expect(d, "@w ERR unknown_mutex *");
		say(d, "ACQUIRE c");
		expect(d, "OK *");
		say(d, "ACQUIRE b");
		expect(d, "ERR unknown_mutex *");
		say(c, "EXTEND a %s", lock);
		expect(c, "OK ttl=*");
		say(c, "RELEASE a %s", lock);
		expect(c, "OK");
		say(c, "ACQUIRE a");
		expect(c, "ERR unknown_mutex *");
		free(lock);
		client_close(c);
		client_close(d);
		ck_assert_int_eq(daemon_stop(daemon), 0);
	}
END_TEST

START_TEST(a_faulty_reload_changes_nothing)
	{
		struct daemon *daemon = daemon_spawn("", sections);
		struct client *c = client_connect(daemon);

		daemon_reload(daemon, "", "[mutex c]\nkey = c\ncolour = red\n",
			      "goes on with what it had");
		say(c, "ACQUIRE a");
		expect(c, "OK *");
		say(c, "ACQUIRE c");
		expect(c, "ERR unknown_mutex *");
		client_close(c);
		ck_assert_int_eq(daemon_stop(daemon), 0);
	}
END_TEST

START_TEST(a_stop_tells_holders_and_waiters_and_ends_when_they_let_go)
	{
		struct daemon *daemon = daemon_spawn("", sections);
		struct client *c = client_connect(daemon), *d = client_connect(daemon);
		long long began;

		free(acquire(c, "a"));
		free(acquire(d, "b owner=none"));
		say(d, "@w ACQUIRE a wait=forever");
		say(d, "@p PING");
		expect(d, "@p OK");
		began = now_ms();
		kill(daemon->pid, SIGTERM);
		expect(c, "EVENT LOST a * shutdown");
		expect(d, "@w ERR shutting_down *");
		say(d, "@x ACQUIRE a wait=forever");
		expect(d, "@x ERR shutting_down *");
		expect_silence(c, 100); /* the key stays in place for a moment */
		client_close(c);
		expect_eof(d);
		client_close(d);
		ck_assert_int_eq(daemon_await(daemon), 0);
		ck_assert_int_le(now_ms() - began, 600);
	}
END_TEST

START_TEST(a_stop_waits_a_second_for_holders_and_no_longer)
	{
		struct daemon *daemon = daemon_spawn("", sections);
		struct client *c = client_connect(daemon);
		long long began = now_ms();

		free(acquire(c, "a"));
		ck_assert_int_eq(daemon_stop(daemon), 0);
		ck_assert_int_ge(now_ms() - began, 990);
		ck_assert_int_le(now_ms() - began, 1500);
		expect(c, "EVENT LOST a * shutdown");
		expect_eof(c);
		client_close(c);
	}
END_TEST

START_TEST(after_a_sleep_losses_are_told_before_anything_else)
	{
		struct daemon *daemon = daemon_spawn("", sections);
		struct client *c = client_connect(daemon);
		char *lock = acquire(c, "a ttl=200");

		kill(daemon->pid, SIGSTOP);
		say(c, "PING");
		say(c, "RELEASE a %s", lock);
		usleep(300000);
		kill(daemon->pid, SIGCONT);
		expect(c, "EVENT LOST a * expired");
		expect(c, "OK");
		expect(c, "ERR unlock_fail *");
		free(lock);
		client_close(c);
		ck_assert_int_eq(daemon_stop(daemon), 0);
	}
END_TEST

static Suite *daemon_suite(void)
{
	Suite *suite = suite_create("serve_daemon");
	TCase *owners = tcase_create("owners"), *limits = tcase_create("limits"),
	      *access_case = tcase_create("access"), *life = tcase_create("start, reload, stop");

	tcase_add_test(owners, sigkill_frees_a_lock_at_once);
	tcase_add_test(owners, a_lock_lives_until_the_last_copy_of_its_descriptor_is_closed);
	tcase_add_test(owners, a_lock_of_a_process_ends_with_that_process);
	tcase_add_test(owners, a_process_that_ends_waits_no_longer);
	tcase_add_test(owners, a_process_of_somebody_else_is_denied);
	tcase_add_test(owners, what_is_no_process_is_denied);
	tcase_add_test(owners, a_peer_in_another_pid_namespace_is_denied);
	tcase_add_test(owners, a_lock_of_nobody_outlives_its_connection);
	tcase_add_test(owners, a_lock_of_nobody_ends_in_time_though_the_section_renews);
	suite_add_tcase(suite, owners);

	tcase_set_timeout(limits, 10);
	tcase_add_test(limits, a_client_too_many_hears_why);
	tcase_add_test(limits, a_user_too_often_hears_why_and_root_is_not_counted);
	tcase_add_test(limits, max_pending_per_client_counts_what_was_started);
	tcase_add_test(limits, max_waiters_limits_a_queue);
	tcase_add_test(limits, who_does_not_read_is_dropped_and_others_are_served);
	tcase_add_test(limits, a_long_list_is_produced_as_it_is_read);
	tcase_add_test(limits, idle_connections_cost_little_memory_and_no_time);
	tcase_add_test(limits, out_of_descriptors_is_not_the_end);
	suite_add_tcase(suite, limits);

	tcase_add_test(access_case, only_allowed_users_and_groups_may_use_a_mutex);
	tcase_add_test(access_case, a_reload_refuses_waiters_who_may_not_any_more);
	tcase_add_test(access_case, the_admin_group_may_break);
	suite_add_tcase(suite, access_case);

	tcase_add_test(life, the_socket_has_the_configured_mode);
	tcase_add_test(life, a_stale_socket_is_replaced_and_another_file_is_not);
#ifdef HAVE_LIBSYSTEMD
	tcase_add_test(life, a_socket_that_was_handed_over_is_used_and_left);
#endif
	tcase_add_test(life, busy_polling_serves_as_well);
	tcase_add_test(life, checking_names_every_fault_and_starts_nothing);
	tcase_add_test(life, a_second_daemon_leaves_the_first_its_socket);
	tcase_add_test(life,
		       a_socket_on_which_somebody_listens_is_left_alone_without_lock_files_too);
	tcase_add_test(life, a_reload_brings_mutexes_and_takes_them_away);
	tcase_add_test(life, a_faulty_reload_changes_nothing);
	tcase_add_test(life, a_stop_tells_holders_and_waiters_and_ends_when_they_let_go);
	tcase_add_test(life, a_stop_waits_a_second_for_holders_and_no_longer);
	tcase_add_test(life, after_a_sleep_losses_are_told_before_anything_else);
	suite_add_tcase(suite, life);
	return suite;
}

int main(void)
{
	return suite_run(daemon_suite());
}
