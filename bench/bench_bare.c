/* SPDX-License-Identifier: MIT */
/*
 * What the daemon is compared with where Redis is no measure: a server that does nothing but
 *answer.
 *
 *	echo	each line with what looks like a lock, at once: what sockets and wake-ups cost
 *	fifo	ACQUIRE when all before it have released: the least that any queue for one lock does
 *
 * One thread, epoll(7), no libraries, a write an answer. bench_daemon talks to it as to the daemon.
 */
#include "config.h"

#include "bench/bench.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { CLIENTS_MAX = 4096 };

static const char granted[] = "OK AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA= ttl=3600000\n";
static const char released[] = "OK\n";

static bool fifo;
/* Those that wait for the lock, a ring; whoever is first in it has the lock. */
static int queue[CLIENTS_MAX];
static unsigned head, n_queued;

static void answer(int fd, const char *line)
{
	if (write(fd, line, strlen(line)) < 0 && errno != EPIPE && errno != ECONNRESET)
		bench_die("cannot answer: %s", strerror(errno));
}

static void enter(int fd)
{
	if (n_queued == CLIENTS_MAX)
		bench_die("too many clients");
	queue[(head + n_queued++) % CLIENTS_MAX] = fd;
	if (n_queued == 1)
		answer(fd, granted);
}

static void leave(int fd)
{
	answer(fd, released);
	head = (head + 1) % CLIENTS_MAX;
	if (--n_queued > 0)
		answer(queue[head], granted);
}

static void line_read(int fd, const char *line)
{
	if (*line == 'A' && fifo)
		enter(fd);
	else if (*line == 'A')
		answer(fd, granted);
	else if (fifo)
		leave(fd);
	else
		answer(fd, released);
}

/* Lines are never cut: a client sends one or two short ones and waits. */
static void serve(int epoll, int fd)
{
	char in[4096];
	ssize_t n = read(fd, in, sizeof(in) - 1);

	if (n <= 0) {
		epoll_ctl(epoll, EPOLL_CTL_DEL, fd, NULL);
		close(fd);
		return;
	}
	in[n] = '\0';
	for (char *line = in, *end; (end = strchr(line, '\n')); line = end + 1)
		line_read(fd, line);
}

static int listen_at(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (strlen(path) >= sizeof(address.sun_path))
		bench_die("the path of the socket is too long");
	strcpy(address.sun_path, path);
	unlink(path);
	if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) != 0 ||
	    listen(fd, CLIENTS_MAX) != 0)
		bench_die("cannot listen at %s: %s", path, strerror(errno));
	return fd;
}

int main(int argc, char **argv)
{
	struct epoll_event events[64], event = {.events = EPOLLIN};
	int epoll = epoll_create1(EPOLL_CLOEXEC), listener;

	if (argc != 3 || (strcmp(argv[1], "echo") != 0 && strcmp(argv[1], "fifo") != 0)) {
		fprintf(stderr, "usage: %s echo|fifo SOCKET\n", argv[0]);
		return 64;
	}
	fifo = strcmp(argv[1], "fifo") == 0;
	listener = listen_at(argv[2]);
	event.data.fd = listener;
	epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event);
	for (;;) {
		int n = epoll_wait(epoll, events, 64, -1);

		for (int i = 0; i < n; i++) {
			if (events[i].data.fd != listener) {
				serve(epoll, events[i].data.fd);
				continue;
			}
			event.data.fd = accept(listener, NULL, NULL);
			if (event.data.fd >= 0)
				epoll_ctl(epoll, EPOLL_CTL_ADD, event.data.fd, &event);
		}
	}
}
