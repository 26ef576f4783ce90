/* SPDX-License-Identifier: MIT */
/* One connection to one Redis server: connecting, bytes out, replies in. */
#include "config.h"

#include "store/conn.h"

#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "util/alloc.h"

enum {
	READ_SIZE = 65536,
	/* A peer that is gone without a word is noticed after 15 + 3 * 5 s, also when idle. */
	KEEPALIVE_IDLE_S = 15,
	KEEPALIVE_INTERVAL_S = 5,
	KEEPALIVE_COUNT = 3,
};

static void conn_read_cb(evutil_socket_t fd, short what, void *arg);
static void conn_write_cb(evutil_socket_t fd, short what, void *arg);
static void conn_timer_cb(evutil_socket_t fd, short what, void *arg);
static void conn_connect_next(struct conn *conn, int error);

static void conn_resolved(struct resolver *resolver, struct addrinfo *list, const char *error)
{
	struct conn *conn = container_of(resolver, struct conn, resolver);

	if (error) {
		conn_fail(conn, "%s", error);
		return;
	}
	conn->addresses = conn->next_address = list;
	for (unsigned i = 0; i < conn->skip; i++) {
		conn->next_address = conn->next_address->ai_next;
		if (!conn->next_address)
			conn->next_address = list;
	}
	conn_connect_next(conn, 0);
}

void conn_init(struct conn *conn, const struct store_env *env, const struct conn_class *class)
{
	*conn = (struct conn){.class = class, .env = env, .fd = -1};
	resolver_init(&conn->resolver, env, conn_resolved);
	event_assign(&conn->timer, env->base, -1, 0, conn_timer_cb, conn);
}

void conn_deinit(struct conn *conn)
{
	conn_close(conn);
	resolver_deinit(&conn->resolver);
	resp_deinit(&conn->out);
}

static void conn_close_fd(struct conn *conn)
{
	/* TCP: send a reset, and nothing more of what the kernel still keeps for later. */
	static const struct linger abortive = {.l_onoff = 1, .l_linger = 0};

	if (conn->fd < 0)
		return;
	event_del(&conn->read_event);
	event_del(&conn->write_event);
	setsockopt(conn->fd, SOL_SOCKET, SO_LINGER, &abortive, sizeof(abortive));
	close(conn->fd);
	conn->fd = -1;
}

void conn_close(struct conn *conn)
{
	conn_close_fd(conn);
	event_del(&conn->timer);
	resolver_cancel(&conn->resolver);
	if (conn->addresses)
		freeaddrinfo(conn->addresses);
	conn->addresses = conn->next_address = NULL;
	if (conn->reader)
		redisReaderFree(conn->reader);
	conn->reader = NULL;
	resp_clear(&conn->out);
	conn->state = CONN_CLOSED;
	conn->generation++;
}

void conn_fail(struct conn *conn, const char *format, ...)
{
	va_list ap;

	assert(conn->state != CONN_CLOSED);
	va_start(ap, format);
	vsnprintf(conn->why, sizeof(conn->why), format, ap);
	va_end(ap);
	conn_close(conn);
	conn->class->closed(conn, conn->why);
}

/* ------------------------------------------------------------------ connecting */

static void conn_set_open(struct conn *conn)
{
	conn->state = CONN_OPEN;
	conn->reader = redisReaderCreate();
	if (!conn->reader) {
		conn_fail(conn, "%s", strerror(ENOMEM));
		return;
	}
	event_add(&conn->read_event, NULL);
	conn->class->opened(conn);
}

/* Return: 0 when it is connected, EINPROGRESS, or why not. */
static int conn_connect(struct conn *conn, const struct sockaddr *address, socklen_t len)
{
	int on = 1, idle = KEEPALIVE_IDLE_S, interval = KEEPALIVE_INTERVAL_S,
	    count = KEEPALIVE_COUNT;

	conn->fd = socket(address->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (conn->fd < 0)
		return errno;
	event_assign(&conn->read_event, conn->env->base, conn->fd, EV_READ | EV_PERSIST,
		     conn_read_cb, conn);
	event_assign(&conn->write_event, conn->env->base, conn->fd, EV_WRITE, conn_write_cb, conn);
	if (address->sa_family != AF_UNIX) {
		setsockopt(conn->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
		setsockopt(conn->fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
		setsockopt(conn->fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof(idle));
		setsockopt(conn->fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval, sizeof(interval));
		setsockopt(conn->fd, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof(count));
	}
	return connect(conn->fd, address, len) == 0 ? 0 : errno;
}

/* Tries the host's addresses one after the other. @error: why the one before did not do. */
static void conn_connect_next(struct conn *conn, int error)
{
	conn->state = CONN_CONNECTING;
	while (conn->next_address) {
		const struct addrinfo *address = conn->next_address;

		conn->next_address = address->ai_next;
		error = conn_connect(conn, address->ai_addr, address->ai_addrlen);
		if (error == 0) {
			conn_set_open(conn);
			return;
		}
		if (error == EINPROGRESS) {
			event_add(&conn->write_event, NULL);
			return;
		}
		conn_close_fd(conn);
	}
	conn_fail(conn, "%s", strerror(error));
}

static void conn_connect_unix(struct conn *conn, const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int error;

	assert(strlen(path) < sizeof(address.sun_path));
	strcpy(address.sun_path, path);
	conn->state = CONN_CONNECTING;
	error = conn_connect(conn, (struct sockaddr *)&address, sizeof(address));
	if (error)
		conn_fail(conn, "%s", strerror(error));
	else
		conn_set_open(conn);
}

void conn_open(struct conn *conn, const struct conn_address *address, int64_t timeout_ms)
{
	struct timeval timeout = {.tv_sec = timeout_ms / 1000, .tv_usec = timeout_ms % 1000 * 1000};

	assert(conn->state == CONN_CLOSED);
	conn->timeout_ms = timeout_ms;
	conn->established = false;
	event_add(&conn->timer, &timeout);
	if (address->path) {
		conn_connect_unix(conn, address->path);
		return;
	}
	conn->state = CONN_RESOLVING;
	resolver_start(&conn->resolver, address->host, address->port);
}

void conn_established(struct conn *conn)
{
	conn->established = true;
	conn->skip = 0;
	event_del(&conn->timer);
}

static void conn_timer_cb(evutil_socket_t fd, short what, void *arg)
{
	struct conn *conn = arg;
	long long ms = (long long)conn->timeout_ms;
	unsigned generation;

	(void)fd;
	(void)what;
	store_env_turn(conn->env);
	switch (conn->state) {
	case CONN_RESOLVING:
		conn_fail(conn, "the host's address was not found within %lld ms", ms);
		break;
	case CONN_CONNECTING:
		/* The next attempt begins with another of the host's addresses. */
		conn->skip++;
		conn_fail(conn, "no connection within %lld ms", ms);
		break;
	case CONN_OPEN:
		/* It may have been this process that was held up. */
		generation = conn->generation;
		conn_poll(conn);
		if (generation == conn->generation && !conn->established)
			conn_fail(conn, "connected, but not answered within %lld ms", ms);
		break;
	case CONN_CLOSED:
		break;
	}
}

/* ------------------------------------------------------------------ bytes */

void conn_flush(struct conn *conn)
{
	ssize_t n;
	unsigned generation = conn->generation;

	if (conn->state != CONN_OPEN || resp_len(&conn->out) == 0 ||
	    event_pending(&conn->write_event, EV_WRITE, NULL))
		return;
	conn->n_writes++;
	do
		n = send(conn->fd, conn->out.data + conn->out.start, resp_len(&conn->out),
			 MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	if (n < 0 && errno != EAGAIN && errno != EWOULDBLOCK) {
		int error = errno;

		/* The server may have answered before it left. */
		conn_poll(conn);
		if (generation == conn->generation)
			conn_fail(conn, "%s", strerror(error));
		return;
	}
	if (n > 0)
		resp_consume(&conn->out, (size_t)n);
	if (resp_len(&conn->out) > 0)
		event_add(&conn->write_event, NULL);
}

static void conn_write_cb(evutil_socket_t fd, short what, void *arg)
{
	struct conn *conn = arg;
	int error = 0;
	socklen_t len = sizeof(error);

	(void)what;
	store_env_turn(conn->env);
	if (conn->state == CONN_OPEN) {
		conn_flush(conn);
		return;
	}
	getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len);
	if (error) {
		conn_close_fd(conn);
		conn_connect_next(conn, error);
	} else {
		conn_set_open(conn);
	}
}

/* Return: whether there may be more to read. */
static bool conn_read(struct conn *conn)
{
	static char bytes[READ_SIZE];
	unsigned generation = conn->generation;
	void *reply;
	ssize_t n;

	do
		n = recv(conn->fd, bytes, sizeof(bytes), 0);
	while (n < 0 && errno == EINTR);
	if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
		return false;
	if (n <= 0) {
		conn_fail(conn, "%s", n < 0 ? strerror(errno) : "the server closed the connection");
		return false;
	}
	if (redisReaderFeed(conn->reader, bytes, (size_t)n) != REDIS_OK) {
		conn_fail(conn, "%s", conn->reader->errstr);
		return false;
	}
	/* The reader is gone as soon as the generation is another. */
	while (generation == conn->generation) {
		if (redisReaderGetReply(conn->reader, &reply) != REDIS_OK) {
			conn_fail(conn, "this is no Redis: %s", conn->reader->errstr);
			return false;
		}
		if (!reply)
			return true;
		conn->class->reply(conn, reply);
		freeReplyObject(reply);
	}
	return false;
}

void conn_poll(struct conn *conn)
{
	unsigned generation = conn->generation;

	while (conn->state == CONN_OPEN && generation == conn->generation && conn_read(conn))
		;
}

static void conn_read_cb(evutil_socket_t fd, short what, void *arg)
{
	struct conn *conn = arg;

	(void)fd;
	(void)what;
	store_env_turn(conn->env);
	/* One read only: the loop comes back when there is more, after the others had their turn.
	 */
	conn_read(conn);
}
