/* SPDX-License-Identifier: MIT */
/*
 * How long a waiter on one daemon sleeps on after the holder on another has asked for the release:
 * the lock goes to and fro between two daemons; and since the holder has its answer. And what it is
 * measured with: from a PUBLISH until a subscriber has read the message, over two connections to
 * Redis.
 */
#include "config.h"

#include "bench/bench.h"

#include <errno.h>
#include <hiredis/hiredis.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { ROUNDS_MAX = 100000, LOCK_LEN = 44 };

static double times_us[ROUNDS_MAX];
static double after_ok_us[ROUNDS_MAX]; /* counted from the answer to the release */

static int by_size(const void *a, const void *b)
{
	const double *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

static double quantile_us(double *us, unsigned n, unsigned percent)
{
	qsort(us, n, sizeof(*us), by_size);
	return us[n * percent / 100];
}

static void result(unsigned n)
{
	printf("rounds=%u p50_us=%.1f p99_us=%.1f", n, quantile_us(times_us, n, 50),
	       quantile_us(times_us, n, 99));
}

/* ------------------------------------------------------------------ two daemons */

static int daemon_open(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (strlen(path) >= sizeof(address.sun_path))
		bench_die("the path of the socket is too long");
	strcpy(address.sun_path, path);
	if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)) != 0)
		bench_die("cannot connect to %s: %s", path, strerror(errno));
	return fd;
}

static void say(int fd, const char *line)
{
	if (write(fd, line, strlen(line)) != (ssize_t)strlen(line))
		bench_die("cannot write to the daemon");
}

/* Reads one line, which has to begin with OK. */
static void hear(int fd, char *line, size_t size)
{
	size_t n = 0;

	while (n == 0 || line[n - 1] != '\n') {
		ssize_t got = read(fd, line + n, size - 1 - n);

		if (got <= 0)
			bench_die("the daemon hung up");
		n += (size_t)got;
	}
	line[n] = '\0';
	if (strncmp(line, "OK", 2) != 0)
		bench_die("the daemon answered: %s", line);
}

/* Both answers, as they come: that to the release, and that to who waits. */
static void hear_both(int released, int waits, char *line, size_t size, uint64_t *ok_ns,
		      uint64_t *granted_ns)
{
	struct pollfd fds[] = {{.fd = released, .events = POLLIN}, {.fd = waits, .events = POLLIN}};

	*ok_ns = *granted_ns = 0;
	while (!*ok_ns || !*granted_ns) {
		if (poll(fds, 2, -1) < 0)
			bench_die("poll: %s", strerror(errno));
		if (fds[1].revents) {
			hear(waits, line, size);
			*granted_ns = bench_now_ns();
			fds[1].fd = -1;
		}
		if (fds[0].revents) {
			hear(released, (char[512]){0}, 512);
			*ok_ns = bench_now_ns();
			fds[0].fd = -1;
		}
	}
}

static void run_daemons(const char *const paths[2], unsigned rounds)
{
	char line[512], lock[LOCK_LEN + 1] = "";
	int fds[2] = {daemon_open(paths[0]), daemon_open(paths[1])};
	unsigned holder = 0;

	say(fds[0], "ACQUIRE wake-0 wait=forever\n");
	hear(fds[0], line, sizeof(line));
	for (unsigned i = 0; i < rounds; i++) {
		uint64_t begin_ns, ok_ns, granted_ns;

		memcpy(lock, line + strlen("OK "), LOCK_LEN);
		say(fds[!holder], "ACQUIRE wake-0 wait=forever\n");
		usleep(2000); /* until it has looked, subscribed and sleeps */
		snprintf(line, sizeof(line), "RELEASE wake-0 %s\n", lock);
		begin_ns = bench_now_ns();
		say(fds[holder], line);
		hear_both(fds[holder], fds[!holder], line, sizeof(line), &ok_ns, &granted_ns);
		times_us[i] = (double)(granted_ns - begin_ns) / 1e3;
		after_ok_us[i] = ((double)granted_ns - (double)ok_ns) / 1e3;
		holder = !holder;
	}
	result(rounds);
	printf(" after_ok_p50_us=%.1f\n", quantile_us(after_ok_us, rounds, 50));
}

/* ------------------------------------------------------------------ PUBLISH */

static void reply_wait(redisContext *redis)
{
	void *reply;

	if (redisGetReply(redis, &reply) != REDIS_OK)
		bench_die("Redis: %s", redis->errstr);
	freeReplyObject(reply);
}

static void run_publish(const char *path, unsigned rounds)
{
	redisContext *from = redisConnectUnix(path), *to = redisConnectUnix(path);
	int done;

	if (!from || !to || from->err || to->err)
		bench_die("cannot connect to %s", path);
	redisAppendCommand(to, "SUBSCRIBE wake");
	reply_wait(to);
	for (unsigned i = 0; i < rounds; i++) {
		uint64_t begin_ns;

		usleep(2000);
		begin_ns = bench_now_ns();
		redisAppendCommand(from, "PUBLISH wake up");
		do
			redisBufferWrite(from, &done);
		while (!done);
		reply_wait(to);
		times_us[i] = (double)(bench_now_ns() - begin_ns) / 1e3;
		reply_wait(from);
	}
	redisFree(from);
	redisFree(to);
	result(rounds);
	printf("\n");
}

int main(int argc, char **argv)
{
	const unsigned rounds = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : 0;

	if (argc < 3 || argc > 4 || rounds == 0 || rounds > ROUNDS_MAX) {
		fprintf(stderr, "usage: %s ROUNDS DAEMON DAEMON | ROUNDS REDIS\n", argv[0]);
		return 64;
	}
	if (argc == 4)
		run_daemons((const char *const[]){argv[2], argv[3]}, rounds);
	else
		run_publish(argv[2], rounds);
	return 0;
}
