/* SPDX-License-Identifier: MIT */
/* One connection to one Redis server: connecting, bytes out, replies in. */
#include "config.h"

#include "store/conn.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "store/server_error.h"
#include "store/tls.h"
#include "util/alloc.h"

enum {
	ADDRESS_SIZE = 64,   /* of the longest IPv6 address with its interface */
	REPLY_MAX = 1 << 24, /* what we ask for is smaller, unless somebody wants to fill us up */
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
	*conn = (struct conn){.class = class, .env = env};
	resolver_init(&conn->resolver, env, conn_resolved);
	event_assign(&conn->timer, env->base, -1, 0, conn_timer_cb, conn);
}

void conn_deinit(struct conn *conn)
{
	conn_close(conn);
	resolver_deinit(&conn->resolver);
	resp_deinit(&conn->out);
}

static void conn_free_context(struct conn *conn)
{
	/* TCP: send a reset, and nothing more of what the kernel still keeps for later. */
	static const struct linger abortive = {.l_onoff = 1, .l_linger = 0};

	if (!conn->context)
		return;
	if (event_initialized(&conn->read_event)) {
		event_del(&conn->read_event);
		event_del(&conn->write_event);
	}
	if (conn->context->fd >= 0)
		setsockopt(conn->context->fd, SOL_SOCKET, SO_LINGER, &abortive, sizeof(abortive));
	tls_end(conn->session);
	conn->session = NULL;
	redisFree(conn->context);
	conn->context = NULL;
}

void conn_close(struct conn *conn)
{
	conn_free_context(conn);
	event_del(&conn->timer);
	resolver_cancel(&conn->resolver);
	if (conn->addresses)
		freeaddrinfo(conn->addresses);
	conn->addresses = conn->next_address = NULL;
	free(conn->host);
	conn->host = NULL;
	conn->tls = NULL;
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

/* What hiredis says of a connection's end, or a handshake's. */
static void conn_fail_by_context(struct conn *conn)
{
	const redisContext *context = conn->context;
	char why[sizeof(conn->why)];

	if (conn->session && tls_failure(conn->session, why, sizeof(why), &conn->lasting))
		conn_fail(conn, "%s", why);
	else if (context->err == REDIS_ERR_EOF)
		conn_fail(conn, "the server closed the connection");
	else if (context->err == REDIS_ERR_PROTOCOL)
		conn_fail(conn, "this is no Redis: %s", context->errstr);
	else
		conn_fail(conn, "%s", context->errstr);
}

/* ------------------------------------------------------------------ connecting */

static void conn_set_open(struct conn *conn)
{
	conn->state = CONN_OPEN;
	event_add(&conn->read_event, NULL);
	conn->class->opened(conn);
}

/* The handshake goes on, until it wants to read or write what it can't yet. */
static void conn_secure(struct conn *conn)
{
	switch (tls_handshake(conn->session)) {
	case TLS_DONE:
		event_del(&conn->read_event);
		event_del(&conn->write_event);
		conn_set_open(conn);
		break;
	case TLS_WANTS_READ:
		event_add(&conn->read_event, NULL);
		break;
	case TLS_WANTS_WRITE:
		event_add(&conn->write_event, NULL);
		break;
	case TLS_FAILED:
		conn_fail_by_context(conn);
		break;
	}
}

/* The socket is connected. */
static void conn_connected(struct conn *conn)
{
	char why[sizeof(conn->why)];

	if (!conn->tls) {
		conn_set_open(conn);
		return;
	}
	conn->state = CONN_SECURING;
	conn->session =
		tls_begin(conn->tls, conn->context, conn->host, why, sizeof(why), &conn->lasting);
	if (conn->session)
		conn_secure(conn);
	else
		conn_fail(conn, "%s", why);
}

/* Takes what hiredis made of an attempt to connect. Return: 0, or why it is none. */
static int conn_take_context(struct conn *conn, redisContext *context)
{
	int error = context && context->err ? errno : 0, on = 1;

	if (!context)
		return ENOMEM;
	conn->context = context;
	if (context->err)
		return error ? error : EIO;
	/* None of the versions that are about does so by itself. */
	if (fcntl(context->fd, F_SETFD, FD_CLOEXEC) < 0)
		return errno;
	event_assign(&conn->read_event, conn->env->base, context->fd, EV_READ | EV_PERSIST,
		     conn_read_cb, conn);
	event_assign(&conn->write_event, conn->env->base, context->fd, EV_WRITE, conn_write_cb,
		     conn);
	if (context->connection_type == REDIS_CONN_TCP) {
		setsockopt(context->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
		/* A peer that is gone without a word is noticed after 15 + 3 * 5 s, also idle. */
		redisEnableKeepAlive(context);
	}
	return 0;
}

/* Tries the host's addresses one after the other. @error: why the one before did not do. */
static void conn_connect_next(struct conn *conn, int error)
{
	conn->state = CONN_CONNECTING;
	while (conn->next_address) {
		const struct addrinfo *address = conn->next_address;
		char number[ADDRESS_SIZE], port[8];

		conn->next_address = address->ai_next;
		if (getnameinfo(address->ai_addr, address->ai_addrlen, number, sizeof(number), port,
				sizeof(port), NI_NUMERICHOST | NI_NUMERICSERV) != 0) {
			error = EAFNOSUPPORT;
			continue;
		}
		errno = 0;
		error = conn_take_context(conn, redisConnectNonBlock(number, atoi(port)));
		if (error == 0) {
			event_add(&conn->write_event, NULL);
			return;
		}
		conn_free_context(conn);
	}
	conn_fail(conn, "%s", strerror(error));
}

static void conn_connect_unix(struct conn *conn, const char *path)
{
	struct sockaddr_storage peer;
	socklen_t len = sizeof(peer);
	int error;

	conn->state = CONN_CONNECTING;
	errno = 0;
	error = conn_take_context(conn, redisConnectUnixNonBlock(path));
	/*
	 * A Unix socket is connected at once or not at all; hiredis 1.x takes a full backlog for a
	 * connection on its way.
	 */
	if (!error && getpeername(conn->context->fd, (struct sockaddr *)&peer, &len) < 0)
		error = errno == ENOTCONN ? EAGAIN : errno;
	if (error)
		conn_fail(conn, "%s", strerror(error));
	else
		conn_connected(conn);
}

void conn_open(struct conn *conn, const struct conn_address *address, int64_t timeout_ms)
{
	struct timeval timeout = {.tv_sec = timeout_ms / 1000, .tv_usec = timeout_ms % 1000 * 1000};

	assert(conn->state == CONN_CLOSED);
	conn->timeout_ms = timeout_ms;
	conn->established = conn->lasting = false;
	conn->tls = address->tls;
	conn->host = address->tls ? xstrdup(address->host) : NULL;
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
	resp_wipe(&conn->out); /* who we are has been said */
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
	case CONN_SECURING:
		conn_fail(conn, "connected, but no TLS within %lld ms", ms);
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

/* Return: how many bytes were taken, or -1 and why not. */
static ssize_t conn_write(struct conn *conn, char *why, size_t size)
{
	const char *bytes = conn->out.data + conn->out.start;
	size_t len = resp_len(&conn->out);
	bool lasting;
	ssize_t n;

	conn->n_writes++;
	tls_prepare(conn->session);
	if (conn->session)
		n = tls_write(conn->session, bytes, len);
	else
		n = send(conn->context->fd, bytes, len, MSG_NOSIGNAL);
	if (n >= 0)
		return n;
	if (!conn->session && (errno == EAGAIN || errno == EINTR))
		return 0;
	snprintf(why, size, "%s", errno ? strerror(errno) : "the server closed the connection");
	if (conn->session)
		tls_failure(conn->session, why, size, &lasting);
	return -1;
}

void conn_flush(struct conn *conn)
{
	unsigned generation = conn->generation;
	char why[sizeof(conn->why)];
	ssize_t n;

	if (conn->state != CONN_OPEN || resp_len(&conn->out) == 0 ||
	    event_pending(&conn->write_event, EV_WRITE, NULL))
		return;
	n = conn_write(conn, why, sizeof(why));
	if (n < 0) {
		/* The server may have answered before it left: why it did, perhaps. */
		conn_poll(conn);
		if (generation == conn->generation)
			conn_fail(conn, "%s", why);
		return;
	}
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
	if (conn->state == CONN_SECURING) {
		conn_secure(conn);
		return;
	}
	getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len);
	if (error) {
		conn_free_context(conn);
		conn_connect_next(conn, error);
	} else {
		conn_connected(conn);
	}
}

/* How much has come that is no whole answer yet. */
static size_t reader_has(const redisReader *reader)
{
	return reader->len - reader->pos;
}

/* Return: whether there may be more to read. */
static bool conn_read(struct conn *conn)
{
	unsigned generation = conn->generation;
	redisContext *context = conn->context;
	size_t before = context->reader->len;
	bool any;
	redisReply *reply;

	tls_prepare(conn->session);
	if (redisBufferRead(context) != REDIS_OK) {
		conn_fail_by_context(conn);
		return false;
	}
	any = context->reader->len != before;
	/* The context is gone as soon as the generation is another. */
	while (any && generation == conn->generation) {
		if (redisGetReplyFromReader(context, (void **)&reply) != REDIS_OK) {
			conn_fail_by_context(conn);
			return false;
		}
		if (!reply && reader_has(context->reader) > REPLY_MAX)
			conn_fail(conn, "an answer of more than %d bytes", REPLY_MAX);
		if (!reply)
			return generation == conn->generation;
		if (reply->type == REDIS_REPLY_ERROR)
			server_error_trim(reply->str);
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
	unsigned generation = conn->generation;
	bool more;

	(void)fd;
	(void)what;
	store_env_turn(conn->env);
	if (conn->state == CONN_SECURING) {
		conn_secure(conn);
		return;
	}
	/*
	 * One read only: the loop comes back when there is more, after the others had their turn.
	 * But of what is decrypted already it knows nothing.
	 */
	do
		more = conn_read(conn);
	while (more && generation == conn->generation && tls_pending(conn->session));
}
