/* SPDX-License-Identifier: MIT */
/*
 * Each limit is filled by a client that means no good, while another one, which acquires and
 * releases a mutex of its own all the time, must be served within 100 ms.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness.h"
#include "redis_server.h"
#include "suite.h"

enum {
	SERVED_MS = 100,
	/* A machine that is busy with something else makes everybody wait: then it is tried anew.
	 */
	ATTEMPTS = 4,
	A_USER = 12345,
	ANOTHER_USER = 12346,
	A_GROUP = 12347,
	MANY = 1000,
};

/* The sanitizer keeps what was freed. */
#ifdef __SANITIZE_ADDRESS__
enum { MEMORY_IS_REAL = false };
#else
enum { MEMORY_IS_REAL = true };
#endif

static struct redis_server redis; /* of those that need one */

/* ------------------------------------------------------------------ the other client */
struct other {
	pthread_t thread;
	pid_t daemon;
	int fd;
	atomic_bool stop;
	long long worst_us;
	unsigned n_served;
	char heard[256]; /* what was not expected; empty: nothing */
};

static long long now_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000LL + now.tv_nsec / 1000;
}

/* Says a line and hears one. Return: false when that was no OK. */
static bool other_ask(struct other *other, const char *line)
{
	size_t len = 0;
	ssize_t n;

	if (write(other->fd, line, strlen(line)) < 0)
		return false;
	do {
		n = read(other->fd, other->heard + len, sizeof(other->heard) - 1 - len);
		if (n <= 0)
			return false;
		len += (size_t)n;
		other->heard[len] = '\0';
	} while (other->heard[len - 1] != '\n');
	return strncmp(other->heard, "OK", 2) == 0;
}

/* For how long a thread or process could have run, and was not let, since it began; see proc(5). */
static long long queued_us(int schedstat_fd)
{
	char text[128];
	ssize_t len = pread(schedstat_fd, text, sizeof(text) - 1, 0);
	long long ns = 0;

	text[len > 0 ? len : 0] = '\0';
	sscanf(text, "%*s %lld", &ns);
	return ns / 1000;
}

/* What the machine is too busy for is not the daemon's fault. */
static void *other_run(void *arg)
{
	struct other *other = arg;
	char line[80];
	int mine, daemons;

	snprintf(line, sizeof(line), "/proc/%d/schedstat", (int)other->daemon);
	daemons = open(line, O_RDONLY | O_CLOEXEC);
	mine = open("/proc/thread-self/schedstat", O_RDONLY | O_CLOEXEC);
	while (!other->stop) {
		const long long from_us = now_us() - queued_us(mine) - queued_us(daemons);
		long long us;

		if (!other_ask(other, "ACQUIRE other\n"))
			return NULL;
		snprintf(line, sizeof(line), "RELEASE other %.44s\n", other->heard + 3);
		if (!other_ask(other, line))
			return NULL;
		us = now_us() - queued_us(mine) - queued_us(daemons) - from_us;
		if (us > other->worst_us)
			other->worst_us = us;
		other->n_served++;
		usleep(500);
	}
	other->heard[0] = '\0';
	close(mine);
	close(daemons);
	return NULL;
}

/* ------------------------------------------------------------------ what fills a limit */
/* Says many lines at once, of which each has its number in two places at most. */
static void say_many(struct client *client, const char *format, int from, int n)
{
	char *text = malloc((size_t)n * 600), *end = text;

	for (int i = from; i < from + n; i++) {
		end += sprintf(end, format, i, i); /* NOLINT: the formats are those below */
		*end++ = '\n';
	}
	say_bytes(client, text, (size_t)(end - text));
	free(text);
}

/* Hears that many replies; return: how many of them name that limit. */
static int hear_many(struct client *client, int n, const char *limit)
{
	int n_refused = 0;

	while (n-- > 0) {
		const char *line = hear(client);

		if (strstr(line, "ERR limit ") && strstr(line, limit))
			n_refused++;
	}
	return n_refused;
}

/* Sends the same bytes over and over until they are not taken, or the connection is gone. */
static void flood(struct client *client, const char *bytes, size_t len, int ms)
{
	const long long until_ms = now_ms() + ms;

	while (now_ms() < until_ms) {
		if (send(client->fd, bytes, len, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0)
			continue;
		if (errno != EAGAIN)
			return;
		usleep(1000);
	}
}

/* Connects again and again, and is refused each time. */
static void knock(struct daemon *daemon, uid_t uid, const char *limit, int ms)
{
	const long long until_ms = now_ms() + ms;
	char pattern[80];

	snprintf(pattern, sizeof(pattern), "ERR limit %s*", limit);
	while (now_ms() < until_ms) {
		struct client *c = uid ? client_connect_as(daemon, uid, A_USER, A_GROUP)
				       : client_connect(daemon);

		expect(c, pattern);
		expect_eof(c);
		client_close(c);
	}
}

static struct client *connect_many(struct daemon *daemon, struct client **clients, int n)
{
	for (int i = 0; i < n; i++) {
		clients[i] = client_connect(daemon);
		say(clients[i], "PING");
		expect(clients[i], "OK");
	}
	return clients[0];
}

static void close_many(struct client **clients, int n)
{
	while (n > 0)
		client_close(clients[--n]);
}

static void fill_clients(struct daemon *daemon)
{
	struct client *clients[20];

	connect_many(daemon, clients, 19); /* and the other one */
	knock(daemon, 0, "max_clients: 20", 200);
	close_many(clients, 19);
}

static void fill_clients_of_user(struct daemon *daemon)
{
	struct client *c, *d;

	if (geteuid() != 0)
		return;
	c = client_connect_as(daemon, A_USER, A_USER, A_GROUP);
	say(c, "PING");
	expect(c, "OK");
	knock(daemon, A_USER, "max_clients_per_user", 200);
	/* It is his limit: somebody else is let in. */
	d = client_connect_as(daemon, ANOTHER_USER, A_USER, A_GROUP);
	say(d, "PING");
	expect(d, "OK");
	client_close(c);
	client_close(d);
}

static void fill_locks(struct daemon *daemon)
{
	struct client *c = client_connect(daemon);

	say_many(c, "@%d ACQUIRE fam-%d", 0, 2 * MANY);
	ck_assert_int_eq(hear_many(c, 2 * MANY, "max_locks_per_client"), 2 * MANY - 1024);
	client_close(c);
}

/* They count for a user, since they outlive the connection. */
static void fill_locks_of_nobody(struct daemon *daemon)
{
	int n_refused = 0;

	for (int i = 0; i < 4; i++) {
		struct client *c = client_connect(daemon);

		say_many(c, "@%d ACQUIRE fam-%d owner=none ttl=1000", i * MANY, MANY);
		n_refused += hear_many(c, MANY, "max_locks_per_client");
		client_close(c);
	}
	ck_assert_int_eq(n_refused, 4 * MANY - 1024);
}

static void fill_notes(struct daemon *daemon)
{
	struct client *c = client_connect(daemon);
	char format[400], note[257];

	memset(note, 'n', 256);
	note[256] = '\0';
	snprintf(format, sizeof(format), "@%%d ACQUIRE fam-%%d note=%s", note);
	say_many(c, format, 0, 2 * MANY);
	ck_assert_int_eq(hear_many(c, 2 * MANY, "max_locks_per_client"), 2 * MANY - 1024);
	client_close(c);
}

static void fill_pending(struct daemon *daemon)
{
	struct client *c = client_connect(daemon), *d = client_connect(daemon);

	free(acquire(c, "fam-0"));
	say_many(d, "@%d ACQUIRE fam-0 wait=forever", 0, 2 * MANY);
	ck_assert_int_eq(hear_many(d, 2 * MANY - 500, "max_pending_per_client"), 2 * MANY - 500);
	client_close(d);
	client_close(c);
}

static void fill_waiters(struct daemon *daemon)
{
	struct client *c = client_connect(daemon), *waiters[10], *late = client_connect(daemon);

	free(acquire(c, "fam-0"));
	connect_many(daemon, waiters, 10);
	for (int i = 0; i < 10; i++) {
		/* The last one is refused, and tells that all before are in the queue. */
		say_many(waiters[i], "@%d ACQUIRE fam-0 wait=forever", 0, MANY);
		say(waiters[i], "@x EXTEND fam-0 x");
		expect(waiters[i], "@x ERR *");
	}
	say_many(late, "@%d ACQUIRE fam-0 wait=forever", 0, MANY);
	ck_assert_int_eq(hear_many(late, MANY, "max_waiters"), MANY);
	/* So many are gone at once. */
	close_many(waiters, 10);
	client_close(late);
	client_close(c);
}

static void fill_output(struct daemon *daemon)
{
	static const char line[] = "INFO fam-0\n";
	char batch[100 * (sizeof(line) - 1)];

	for (size_t i = 0; i < sizeof(batch); i++)
		batch[i] = line[i % (sizeof(line) - 1)];
	for (int i = 0; i < 2; i++) {
		struct client *c = client_connect(daemon);

		free(acquire(c, "fam-%d", i));
		flood(c, batch, sizeof(batch), HARNESS_WAIT_MS);
		client_close(c);
	}
	daemon_expect_log(daemon, "max_output_bytes");
}

static void fill_line(struct daemon *daemon)
{
	static char much[1 << 20];

	memset(much, 'x', sizeof(much));
	for (int i = 0; i < 20; i++) {
		struct client *c = client_connect(daemon);

		flood(c, much, sizeof(much), 100);
		client_close(c);
	}
}

/* What waits behind a request is not read: it fills the sockets' buffers, not the daemon. */
static void fill_input(struct daemon *daemon)
{
	static char much[1 << 16];
	struct client *c = client_connect(daemon), *d = client_connect(daemon);

	for (size_t i = 0; i + 5 < sizeof(much); i += 5)
		memcpy(much + i, "PING\n", 5);
	free(acquire(c, "fam-0"));
	say(d, "ACQUIRE fam-0 wait=forever");
	flood(d, much, sizeof(much) / 5 * 5, 300);
	client_close(d);
	client_close(c);
}

static void fill_descriptors(struct daemon *daemon)
{
	struct client *clients[64], *e;
	struct rlimit few;
	int n = 0;

	ck_assert_int_eq(prlimit(daemon->pid, RLIMIT_NOFILE, NULL, &few), 0);
	few.rlim_cur = 40;
	ck_assert_int_eq(prlimit(daemon->pid, RLIMIT_NOFILE, &few, NULL), 0);
	for (n = 0; n < 64; n++) {
		clients[n] = client_connect(daemon);
		/* One that is refused may be so before it has said anything. */
		send(clients[n]->fd, "PING\n", 5, MSG_NOSIGNAL);
		if (strncmp(hear(clients[n]), "OK", 2) != 0)
			break;
	}
	ck_assert_int_lt(n, 64);
	/* Each of them hears at once why, however many there are. */
	knock(daemon, 0, "RLIMIT_NOFILE", 200);
	/* What is left is for a store that is connected to only now. */
	say(clients[0], "ACQUIRE redis");
	expect(clients[0], "OK *");
	client_close(clients[n]);
	say(clients[--n], "QUIT");
	expect(clients[n], "OK");
	expect_eof(clients[n]);
	client_close(clients[n]);
	e = client_connect(daemon);
	say(e, "PING");
	expect(e, "OK");
	client_close(e);
	close_many(clients, n);
}

/* Processes that own locks cost a descriptor each. */
static void fill_processes(struct daemon *daemon)
{
	struct client *c = client_connect(daemon);
	struct rlimit few;
	pid_t pids[64];
	int n;

	ck_assert_int_eq(prlimit(daemon->pid, RLIMIT_NOFILE, NULL, &few), 0);
	few.rlim_cur = 40;
	ck_assert_int_eq(prlimit(daemon->pid, RLIMIT_NOFILE, &few, NULL), 0);
	for (n = 0; n < 64; n++) {
		pids[n] = fork();
		if (pids[n] == 0) {
			for (;;)
				pause();
		}
		say(c, "ACQUIRE fam-%d owner=pid:%d", n, (int)pids[n]);
		if (strncmp(hear(c), "OK", 2) != 0)
			break;
	}
	ck_assert_int_lt(n, 64);
	ck_assert_msg(strncmp(c->line, "ERR limit RLIMIT_NOFILE", 23) == 0, "%s", c->line);
	say(c, "ACQUIRE redis");
	expect(c, "OK *");
	for (; n >= 0; n--) {
		kill(pids[n], SIGKILL);
		waitpid(pids[n], NULL, 0);
	}
	client_close(c);
}

/* Some thousand names in use, for LISTs to go through. */
static void use_names(struct daemon *daemon, struct client **clients, int n)
{
	connect_many(daemon, clients, n);
	for (int i = 0; i < n; i++) {
		say_many(clients[i], "@%d ACQUIRE fam-%d", i * MANY, MANY);
		ck_assert_int_eq(hear_many(clients[i], MANY, "x"), 0);
	}
}

static void list_without_reading(struct daemon *daemon)
{
	struct client *clients[10], *c = client_connect(daemon);

	use_names(daemon, clients, 10);
	say_many(c, "@%d LIST", 0, MANY);
	usleep(300000); /* for as long as it is not read */
	client_close(c);
	close_many(clients, 10);
}

/* There is nothing to write, which would set a limit to what is done. */
static void list_what_is_not_there(struct daemon *daemon)
{
	struct client *clients[10], *c = client_connect(daemon);

	use_names(daemon, clients, 10);
	say_many(c, "@%d LIST *x", 0, MANY);
	for (int i = 0; i < MANY; i++)
		expect(c, "@* OK 0");
	client_close(c);
	close_many(clients, 10);
}

/* Names that nobody uses any more are forgotten. */
static void ask_for_many_names(struct daemon *daemon)
{
	struct client *c = client_connect(daemon);

	for (int i = 0; i < 40; i++) {
		say_many(c, "@%d EXISTS fam-%d", i * MANY, MANY);
		ck_assert_int_eq(hear_many(c, MANY, "x"), 0);
	}
	client_close(c);
}

/* What a store does not answer has to be put in order later; more is not begun meanwhile. */
static void leave_errands(struct daemon *daemon)
{
	struct client *c = client_connect(daemon);
	const long long until_ms = now_ms() + 2000;
	int n = 0;

	free(acquire(c, "redis"));
	redis_server_pause(&redis);
	while (now_ms() < until_ms) {
		say_many(c, "@%d ACQUIRE hung-%d", n, MANY);
		for (int i = 0; i < MANY; i++)
			expect(c, "@* ERR unavailable *");
		n += MANY;
	}
	redis_server_resume(&redis);
	client_close(c);
	/* It is put in order. */
	while (redis_server_ask_integer(&redis, "EVAL %s 0",
					"return #redis.call('KEYS', 'red_mutex_lock*[0-9]')") > 0)
		usleep(10000);
}

static void come_and_go(struct daemon *daemon)
{
	const long long until_ms = now_ms() + 300;

	while (now_ms() < until_ms) {
		struct client *c = client_connect(daemon);

		say(c, "ACQUIRE fam-0 wait=forever");
		client_close(c);
	}
}

static void ask_for_stats(struct daemon *daemon)
{
	static const char line[] = "STATS\n";
	char batch[100 * (sizeof(line) - 1)];
	struct client *clients[10], *c = client_connect(daemon);

	use_names(daemon, clients, 10);
	for (size_t i = 0; i < sizeof(batch); i++)
		batch[i] = line[i % (sizeof(line) - 1)];
	flood(c, batch, sizeof(batch), 300);
	client_close(c);
	close_many(clients, 10);
}

static const struct limit {
	const char *name, *settings;
	void (*fill)(struct daemon *daemon);
	long grows_kib; /* the daemon may, by so much */
	bool redis;	/* needs one */
} limits[] = {
	{"max_clients", "max_clients = 20", fill_clients, 1000, false},
	{"max_clients_per_user", "max_clients_per_user = 1\nsocket_mode = 0666",
	 fill_clients_of_user, 1000, false},
	{"max_locks_per_client", "", fill_locks, 8000, false},
	{"max_locks_per_client, owner=none", "", fill_locks_of_nobody, 8000, false},
	{"max_locks_per_client, notes", "", fill_notes, 8000, false},
	{"max_pending_per_client", "max_pending_per_client = 500", fill_pending, 4000, false},
	{"max_waiters", "", fill_waiters, 16000, false},
	{"max_output_bytes", "", fill_output, 4000, false},
	{"line length", "", fill_line, 1000, false},
	{"lines unread", "", fill_input, 1000, false},
	{"descriptors", "", fill_descriptors, 1000, true},
	{"descriptors, owner=pid", "", fill_processes, 1000, true},
	{"LIST unread", "", list_without_reading, 64000, false},
	{"LIST of nothing", "", list_what_is_not_there, 64000, false},
	{"STATS", "", ask_for_stats, 64000, false},
	{"names", "", ask_for_many_names, 4000, false},
	{"errands", "", leave_errands, 64000, true},
	{"connections that come and go", "", come_and_go, 4000, false},
};

/* ------------------------------------------------------------------ the test */
/* Fills a limit. Return: the longest that the other client had to wait. */
static long long attempt_us(const struct limit *limit, const char *sections)
{
	struct daemon *daemon = daemon_spawn(limit->settings, sections);
	struct client *mine = client_connect(daemon);
	struct other other = {.fd = mine->fd, .daemon = daemon->pid};
	long before_kib, grown_kib;

	say(mine, "PING");
	expect(mine, "OK");
	before_kib = process_rss_kib(daemon->pid);
	ck_assert_int_eq(pthread_create(&other.thread, NULL, other_run, &other), 0);
	limit->fill(daemon);
	usleep(50000); /* the end of it all costs something, too */
	other.stop = true;
	ck_assert_int_eq(pthread_join(other.thread, NULL), 0);
	ck_assert_msg(other.heard[0] == '\0', "%s: the other client heard %s", limit->name,
		      other.heard);
	ck_assert_uint_gt(other.n_served, 0);
	grown_kib = process_rss_kib(daemon->pid) - before_kib;
	ck_assert_msg(!MEMORY_IS_REAL || grown_kib <= limit->grows_kib,
		      "%s: the daemon grew by %ld KiB", limit->name, grown_kib);
	client_close(mine);
	ck_assert_int_eq(daemon_stop(daemon), 0);
	return other.worst_us;
}

START_TEST(filling_a_limit_costs_others_nothing)
	{
		const struct limit *limit = &limits[_i];
		char sections[300] = "[mutex other]\nkey = o\n[mutex fam-*]\nfence = no\n";
		long long worst_us = 0;

		if (limit->redis) {
			if (!redis_server_installed())
				return;
			redis_server_start(&redis, false, NULL);
			snprintf(sections + strlen(sections), sizeof(sections) - strlen(sections),
				 "[mutex redis]\nurl = %s\nkey = {name}\n[mutex hung-*]\n"
				 "url = %s\n",
				 redis.unix_url, redis.unix_url);
		}
		for (int i = 0; i < ATTEMPTS; i++) {
			worst_us = attempt_us(limit, sections);
			printf("%s: %lld us\n", limit->name, worst_us);
			if (worst_us < SERVED_MS * 1000)
				break;
		}
		if (limit->redis)
			redis_server_stop(&redis);
		ck_assert_msg(worst_us < SERVED_MS * 1000,
			      "%s: the other client waited for %lld us", limit->name, worst_us);
	}
END_TEST

static long long cpu_us(pid_t pid)
{
	struct timespec used;
	clockid_t clock;

	ck_assert_int_eq(clock_getcpuclockid(pid, &clock), 0);
	ck_assert_int_eq(clock_gettime(clock, &used), 0);
	return used.tv_sec * 1000000LL + used.tv_nsec / 1000;
}

/* Nobody would read the answers. */
START_TEST(nothing_is_looked_up_for_who_is_gone)
	{
		struct daemon *daemon = daemon_spawn("", "[mutex fam-*]\nfence = no\n");
		struct client *clients[10], *c = client_connect(daemon);
		long long before_us;

		use_names(daemon, clients, 10);
		say_many(c, "@%d LIST", 0, MANY);
		say_many(c, _i ? "@s%d STATS" : "LIST", 0, MANY);
		usleep(100000);
		client_close(c);
		usleep(200000);
		before_us = cpu_us(daemon->pid);
		usleep(300000);
		ck_assert_int_lt(cpu_us(daemon->pid) - before_us, 30000);
		close_many(clients, 10);
		ck_assert_int_eq(daemon_stop(daemon), 0);
	}
END_TEST

int main(void)
{
	Suite *suite = suite_create("serve_limits");
	TCase *tc = tcase_create("limits");

	tcase_add_loop_test(tc, filling_a_limit_costs_others_nothing, 0,
			    sizeof(limits) / sizeof(*limits));
	tcase_add_loop_test(tc, nothing_is_looked_up_for_who_is_gone, 0, 2);
	tcase_set_timeout(tc, 60);
	suite_add_tcase(suite, tc);
	return suite_run(suite);
}
