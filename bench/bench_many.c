/* SPDX-License-Identifier: MIT */
/*
 * Many of something on the daemon's socket, for who watches the daemon meanwhile:
 *
 *	idle N	that many connections that say nothing
 *	hold N	that many locks held over one connection in a hundred
 *	names N	that many different members of a family, acquired and released one after the other
 *
 * Says "ready" when it has come so far; idle and hold end when standard input does.
 */
#include "config.h"

#include "bench/bench.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { LOCKS_A_CONNECTION = 100, LOCK_LEN = 44 };

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

/* Sends a line and reads the one that answers it. */
static void ask(int fd, const char *line, char *reply, size_t size)
{
	size_t n = 0;

	if (write(fd, line, strlen(line)) != (ssize_t)strlen(line))
		bench_die("cannot write to the daemon");
	while (n == 0 || reply[n - 1] != '\n') {
		ssize_t got = read(fd, reply + n, size - 1 - n);

		if (got <= 0)
			bench_die("the daemon hung up");
		n += (size_t)got;
	}
	reply[n] = '\0';
	if (strncmp(reply, "OK", 2) != 0)
		bench_die("the daemon answered: %s", reply);
}

static void wait_for_end(void)
{
	puts("ready");
	fflush(stdout);
	while (getchar() != EOF)
		;
}

static void hold(const char *path, unsigned n)
{
	char line[128], reply[512];
	int fd = -1;

	for (unsigned i = 0; i < n; i++) {
		if (i % LOCKS_A_CONNECTION == 0)
			fd = daemon_open(path);
		snprintf(line, sizeof(line), "ACQUIRE hold-%u\n", i);
		ask(fd, line, reply, sizeof(reply));
	}
	wait_for_end();
}

static void names(const char *path, unsigned n)
{
	char line[128], reply[512];
	int fd = daemon_open(path);

	for (unsigned i = 0; i < n; i++) {
		snprintf(line, sizeof(line), "ACQUIRE names-%u\n", i);
		ask(fd, line, reply, sizeof(reply));
		snprintf(line, sizeof(line), "RELEASE names-%u %.*s\n", i, LOCK_LEN, reply + 3);
		ask(fd, line, reply, sizeof(reply));
	}
	puts("ready");
}

int main(int argc, char **argv)
{
	const unsigned n = argc == 4 ? (unsigned)strtoul(argv[3], NULL, 10) : 0;
	struct rlimit files;

	if (n == 0) {
		fprintf(stderr, "usage: %s SOCKET idle|hold|names N\n", argv[0]);
		return 64;
	}
	getrlimit(RLIMIT_NOFILE, &files);
	files.rlim_cur = files.rlim_max;
	setrlimit(RLIMIT_NOFILE, &files);
	if (strcmp(argv[2], "idle") == 0) {
		for (unsigned i = 0; i < n; i++)
			daemon_open(argv[1]);
		wait_for_end();
	} else if (strcmp(argv[2], "hold") == 0) {
		hold(argv[1], n);
	} else {
		names(argv[1], n);
	}
	return 0;
}
