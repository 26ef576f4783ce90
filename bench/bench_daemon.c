/* SPDX-License-Identifier: MIT */
/*
 * Load on the daemon's socket. With a thread a client each thread blocks in read(2), as a program
 * with one lock would; with fewer, each has its share of the clients in an epoll(7) loop.
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

#include "proto/line.h"
#include "proto/reply.h"

struct client {
	unsigned id;
	int fd;
	bool stopped;	   /* holds nothing and asks for nothing any more */
	unsigned expected; /* answers that are still to come */
	bool held;	   /* the next answer is that of a RELEASE */
	uint64_t begin_ns; /* of the pair */
	char lock[PROTO_LOCK_LEN];
	size_t n_in;
	char in[1024];
};

static void client_write(struct client *client, const char *bytes, size_t n)
{
	if (write(client->fd, bytes, n) != (ssize_t)n)
		bench_die("cannot write to the daemon: %s", strerror(errno));
}

static void client_open(struct client *client, const struct bench_options *options, unsigned id)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	if (strlen(options->socket) >= sizeof(address.sun_path))
		bench_die("the path of the socket is too long");
	strcpy(address.sun_path, options->socket);
	client->id = options->one ? 0 : id;
	client->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (client->fd < 0 ||
	    connect(client->fd, (struct sockaddr *)&address, sizeof(address)) != 0)
		bench_die("cannot connect to %s: %s", options->socket, strerror(errno));
}

static int acquire_format(const struct client *client, const struct bench_options *options,
			  char *out, size_t size)
{
	return snprintf(out, size, "%sACQUIRE %s-%u%s\n", options->ahead ? "@a " : "",
			options->prefix, client->id, options->one ? " wait=forever" : "");
}

static void client_acquire(struct client *client, const struct bench_options *options)
{
	char out[256];
	int n = acquire_format(client, options, out, sizeof(out));

	client->begin_ns = bench_now_ns();
	client->expected = 1;
	client_write(client, out, (size_t)n);
}

/*
 * Releases; with `ahead` the next acquire goes with it while the time runs, each with a tag: so
 * the library does it.
 */
static void client_release(struct client *client, const struct bench_options *options)
{
	char out[512];
	int n = snprintf(out, sizeof(out), "%sRELEASE %s-%u %.*s\n", options->ahead ? "@r " : "",
			 options->prefix, client->id, PROTO_LOCK_LEN, client->lock);

	client->expected = 1;
	if (options->ahead && bench_goes_on()) {
		n += acquire_format(client, options, out + n, sizeof(out) - (size_t)n);
		client->expected = 2;
	}
	client_write(client, out, (size_t)n);
}

/* An answer has come: take it in, and when it was the last that was waited for, go on. */
static void client_answered(struct client *client, struct bench_thread *thread, struct span line)
{
	const struct bench_options *options = thread->options;
	struct reply reply;

	if (reply_parse(line, &reply) != 0 || reply.kind != REPLY_OK)
		bench_die("the daemon answered: %.*s", (int)line.len, line.at);
	client->expected--;
	if (client->held) {
		client->held = false;
		bench_count(thread, client->begin_ns);
		if (client->expected) {
			client->begin_ns = bench_now_ns();
			return;
		}
		if (bench_goes_on())
			client_acquire(client, options);
		else
			client->stopped = true;
		return;
	}
	if (reply.n_words != 1 || reply.words[0].len != PROTO_LOCK_LEN)
		bench_die("that is no lock: %.*s", (int)line.len, line.at);
	memcpy(client->lock, reply.words[0].at, PROTO_LOCK_LEN);
	client->held = true;
	client_release(client, options);
}

/* Reads once, and takes in every line that is whole. */
static void client_read(struct client *client, struct bench_thread *thread)
{
	struct span bytes, line;
	ssize_t n;

	n = read(client->fd, client->in + client->n_in, sizeof(client->in) - client->n_in);
	if (n <= 0)
		bench_die("the daemon hung up");
	client->n_in += (size_t)n;
	bytes = (struct span){client->in, client->n_in};
	while (line_next(&bytes, sizeof(client->in), &line) == LINE_READY)
		client_answered(client, thread, line);
	memmove(client->in, bytes.at, bytes.len);
	client->n_in = bytes.len;
}

static void run_blocking(struct client *client, struct bench_thread *thread)
{
	client_acquire(client, thread->options);
	while (!client->stopped)
		client_read(client, thread);
}

static void run_epoll(struct client *clients, struct bench_thread *thread)
{
	struct epoll_event events[64];
	unsigned working = thread->n;
	int epoll = epoll_create1(EPOLL_CLOEXEC);

	for (unsigned i = 0; i < thread->n; i++) {
		struct epoll_event event = {.events = EPOLLIN, .data.ptr = &clients[i]};

		if (epoll_ctl(epoll, EPOLL_CTL_ADD, clients[i].fd, &event) != 0)
			bench_die("epoll: %s", strerror(errno));
		client_acquire(&clients[i], thread->options);
	}
	while (working) {
		int n = epoll_wait(epoll, events, 64, -1);

		if (n < 0)
			bench_die("epoll: %s", strerror(errno));
		for (int i = 0; i < n; i++) {
			struct client *client = events[i].data.ptr;

			client_read(client, thread);
			if (client->stopped)
				working--;
		}
	}
	close(epoll);
}

static void run(struct bench_thread *thread)
{
	struct client *clients = calloc(thread->n, sizeof(*clients));

	if (!clients)
		bench_die("out of memory");
	for (unsigned i = 0; i < thread->n; i++)
		client_open(&clients[i], thread->options, thread->first + i);
	bench_go();
	if (thread->n == 1)
		run_blocking(clients, thread);
	else
		run_epoll(clients, thread);
	for (unsigned i = 0; i < thread->n; i++)
		close(clients[i].fd);
	free(clients);
}

int main(int argc, char **argv)
{
	return bench_main(argc, argv, run);
}
