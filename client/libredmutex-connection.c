/* SPDX-License-Identifier: MIT */
/* The connection: the socket, what goes through it, and which thread reads from it. */
#include "config.h"

#include "client/libredmutex.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "proto/line.h"

enum {
	CONNECT_TIMEOUT_MS = 10000,
	ANSWER_TIMEOUT_MS = 30000,
	RETRY_FIRST_MS = 10, /* between two tries to connect, doubled each time */
	RETRY_MAX_MS = 200,
	DRAIN_READS = 64,    /* then others get a turn: a daemon that floods us must not hold us */
	ROOM_MS = 10,	     /* between two tries to send what the reader does not know of */
	LAST_SEND_MS = 1000, /* for what is unsent at redmutex_close() */
};

int64_t redmutex_now_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_BOOTTIME, &now);
	return now.tv_sec * INT64_C(1000000) + now.tv_nsec / 1000;
}

const char *redmutex_version(void)
{
	return PACKAGE_VERSION;
}

/* ---- who may be inside ---- */

/* In a child after fork(), the mutex may be locked by a thread that is not there: leave it alone.
 */
static bool forked(struct redmutex *rm)
{
	if (rm->pid == getpid())
		return false;
	if (rm->fd >= 0)
		close(rm->fd);
	rm->fd = -1;
	return true;
}

int rm_enter(struct redmutex *rm)
{
	if (forked(rm))
		return rm_error_note(rm, REDMUTEX_EFORKED, "%s", "");
	pthread_mutex_lock(&rm->mutex);
	return 0;
}

void rm_leave(struct redmutex *rm)
{
	pthread_mutex_unlock(&rm->mutex);
}

bool rm_may_read(const struct redmutex *rm)
{
	return rm->reading == 0 || pthread_equal(rm->reader, pthread_self());
}

void rm_reader_enter(struct redmutex *rm)
{
	rm->reader = pthread_self();
	rm->reading++;
}

/* Frees what nobody is inside of any more. */
static void destroy(struct redmutex *rm)
{
	struct rm_lease *lease;

	for (uint32_t i = 0; i < rm->n_calls; i++) {
		free(rm->calls[i]->lease);
		free(rm->calls[i]);
	}
	free(rm->calls);
	for (unsigned i = 0; i < RM_LEASE_BUCKETS; i++) {
		while ((lease = rm->leases[i]) != NULL) {
			rm->leases[i] = lease->next;
			free(lease);
		}
	}
	while ((lease = rm->spare_leases) != NULL) {
		rm->spare_leases = lease->next;
		free(lease);
	}
	free(rm->out);
	free(rm->path);
	free(rm);
}

bool rm_reader_leave(struct redmutex *rm)
{
	if (--rm->reading > 0)
		return true;
	if (rm->closing) {
		pthread_mutex_unlock(&rm->mutex);
		pthread_mutex_destroy(&rm->mutex);
		destroy(rm);
		return false;
	}
	if (rm->waiting != NULL)
		pthread_cond_signal(&rm->waiting->cond);
	return true;
}

/* ---- connecting ---- */

/* A deadline for the blocking calls of a socket. */
static void set_timeout(int fd, int which, int64_t timeout_ms)
{
	struct timeval timeout = {
		.tv_sec = timeout_ms / 1000,
		.tv_usec = timeout_ms % 1000 * 1000,
	};

	if (timeout_ms != REDMUTEX_FOREVER)
		setsockopt(fd, SOL_SOCKET, which, &timeout, sizeof(timeout));
}

static int connect_failed(struct redmutex *rm, int fd)
{
	int error, saved = errno;

	if (fd >= 0)
		close(fd);
	errno = saved;
	if (saved == EAGAIN) {
		error = rm_error_note(rm, REDMUTEX_ETIMEDOUT, "cannot connect to %s: it is crowded",
				      rm->path);
	} else {
		error = saved == EACCES || saved == EPERM ? REDMUTEX_EDENIED : REDMUTEX_ECONNECT;
		rm_error_note(rm, error, "cannot connect to %s: %s", rm->path, strerror(saved));
	}
	errno = saved;
	return error;
}

int rm_connect(struct redmutex *rm)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd, rc;

	if (strlen(rm->path) >= sizeof(address.sun_path)) {
		errno = ENAMETOOLONG;
		return connect_failed(rm, -1);
	}
	strcpy(address.sun_path, rm->path);

	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return connect_failed(rm, -1);
	set_timeout(fd, SO_SNDTIMEO, rm->connect_timeout_ms);
	do
		rc = connect(fd, (struct sockaddr *)&address, sizeof(address));
	while (rc < 0 && errno == EINTR);
	if (rc < 0)
		return connect_failed(rm, fd);
	set_timeout(fd, SO_RCVTIMEO, rm->timeout_ms);

	rm->fd = fd;
	rm->out_len = rm->in_start = rm->in_end = 0;
	rm->out_broken = false;
	return rm_hello(rm);
}

int rm_connect_until(struct redmutex *rm)
{
	int64_t deadline_us = redmutex_now_us() + rm->reconnect_ms * 1000;
	int64_t pause_ms = RETRY_FIRST_MS;
	int error;

	while ((error = rm->fd >= 0 ? 0 : rm_connect(rm)) < 0) {
		int64_t left_ms = (deadline_us - redmutex_now_us()) / 1000;
		int saved = errno;

		if (error == REDMUTEX_ENOMEM ||
		    (rm->reconnect_ms != REDMUTEX_FOREVER && left_ms <= 0))
			return error;
		if (rm->reconnect_ms != REDMUTEX_FOREVER && pause_ms > left_ms)
			pause_ms = left_ms;
		pthread_mutex_unlock(&rm->mutex);
		poll(NULL, 0, (int)pause_ms);
		pthread_mutex_lock(&rm->mutex);
		errno = saved;
		pause_ms = 2 * pause_ms < RETRY_MAX_MS ? 2 * pause_ms : RETRY_MAX_MS;
	}
	return 0;
}

/* A copy of the options; NULL: the defaults. */
static int options_copy(const struct redmutex_connect_options *given,
			struct redmutex_connect_options *options)
{
	*options = (struct redmutex_connect_options)REDMUTEX_CONNECT_OPTIONS_INIT;
	if (given != NULL &&
	    !rm_struct_in(options, sizeof(*options), given,
			  rm_size_upto(struct redmutex_connect_options, reconnect_ms)))
		return REDMUTEX_EINVAL;
	if (options->connect_timeout_ms < REDMUTEX_FOREVER ||
	    options->timeout_ms < REDMUTEX_FOREVER || options->reconnect_ms < REDMUTEX_FOREVER)
		return REDMUTEX_EINVAL;
	return 0;
}

/* Where to connect to, if the caller does not say. */
static const char *default_path(void)
{
	const char *path = secure_getenv("REDMUTEX_SOCKET");

	return path != NULL && path[0] != '\0' ? path : REDMUTEX_DEFAULT_SOCKET;
}

int redmutex_connect(redmutex_t **rmp, const char *path,
		     const struct redmutex_connect_options *given)
{
	struct redmutex_connect_options options;
	struct redmutex *rm;
	int error, saved;

	*rmp = NULL;
	if (options_copy(given, &options) < 0)
		return rm_error_note(NULL, REDMUTEX_EINVAL,
				     "the options of the connection are not valid, or not set up "
				     "with REDMUTEX_CONNECT_OPTIONS_INIT");
	rm = calloc(1, sizeof(*rm));
	if (rm == NULL || (rm->path = strdup(path != NULL ? path : default_path())) == NULL) {
		free(rm);
		return rm_error_note(NULL, REDMUTEX_ENOMEM, "%s", "");
	}
	rm->fd = -1;
	rm->pid = getpid();
	rm->connect_timeout_ms =
		options.connect_timeout_ms != 0 ? options.connect_timeout_ms : CONNECT_TIMEOUT_MS;
	rm->timeout_ms = options.timeout_ms != 0 ? options.timeout_ms : ANSWER_TIMEOUT_MS;
	rm->reconnect_ms = options.reconnect_ms;
	pthread_mutex_init(&rm->mutex, NULL);

	pthread_mutex_lock(&rm->mutex);
	error = rm_connect_until(rm);
	saved = errno;
	pthread_mutex_unlock(&rm->mutex);
	if (error < 0) {
		destroy(rm);
		errno = saved;
		return error;
	}
	*rmp = rm;
	return 0;
}

int redmutex_reconnect(redmutex_t *rm)
{
	int error = rm_enter(rm);

	if (error < 0)
		return error;
	if (rm->fd < 0)
		error = rm_connect(rm);
	rm_leave(rm);
	return error;
}

void redmutex_close(redmutex_t *rm)
{
	struct pollfd poll_fd;

	if (rm == NULL)
		return;
	if (forked(rm)) {
		destroy(rm);
		return;
	}
	pthread_mutex_lock(&rm->mutex);
	rm_flush(rm);
	poll_fd = (struct pollfd){.fd = rm->fd, .events = POLLOUT};
	while (rm->fd >= 0 && !rm->out_broken && rm->out_len > 0 &&
	       poll(&poll_fd, 1, LAST_SEND_MS) > 0)
		rm_flush(rm);
	rm->closing = true;
	rm->on_lost = rm->on_expiring = NULL;
	/* The fd is closed by whoever reads, which is this thread if anyone. */
	rm_reader_enter(rm);
	rm_lost(rm, REDMUTEX_ECLOSED, "");
	/* Inside a callback, its reader frees the connection as it leaves. */
	if (rm_reader_leave(rm))
		pthread_mutex_unlock(&rm->mutex);
}

void rm_lost(struct redmutex *rm, int error, const char *text)
{
	if (rm->fd < 0)
		return;
	close(rm->fd);
	rm->fd = -1;
	rm->out_len = rm->in_start = rm->in_end = 0;
	rm_calls_fail(rm, error, text);
	rm_leases_lost(rm);
}

/* ---- sending ---- */

char *rm_output(struct redmutex *rm, int *error)
{
	if (rm->out_size - rm->out_len < PROTO_LINE_MAX) {
		size_t size = rm->out_size > 0 ? 2 * rm->out_size : 2 * PROTO_LINE_MAX;
		char *out;

		if (size > RM_OUTPUT_MAX) {
			*error = rm_error_note(rm, REDMUTEX_ELIMIT,
					       "%zu bytes of requests wait for the daemon to read "
					       "them",
					       rm->out_len);
			return NULL;
		}
		out = realloc(rm->out, size);
		if (out == NULL) {
			*error = rm_error_note(rm, REDMUTEX_ENOMEM, "%s", "");
			return NULL;
		}
		rm->out = out;
		rm->out_size = size;
	}
	return rm->out + rm->out_len;
}

/*
 * A daemon that hung up may have said why before: that is still to be read. So a failure here is
 * only noted, and the end of the connection is found by who reads.
 */
void rm_flush(struct redmutex *rm)
{
	size_t sent = 0;

	if (rm->fd < 0 || rm->out_broken)
		rm->out_len = 0;
	while (sent < rm->out_len) {
		ssize_t n = send(rm->fd, rm->out + sent, rm->out_len - sent,
				 MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n >= 0) {
			sent += (size_t)n;
		} else if (errno == EAGAIN || errno == ENOBUFS) {
			break;
		} else if (errno != EINTR) {
			rm->out_broken = true;
			sent = rm->out_len;
		}
	}
	if (sent == 0)
		return;
	memmove(rm->out, rm->out + sent, rm->out_len - sent);
	rm->out_len -= sent;
}

/* ---- receiving ---- */

/* Takes every whole line off the input. Calls back. */
static int consume(struct redmutex *rm)
{
	while (rm->fd >= 0 && rm->in_start < rm->in_end) {
		struct span bytes = {rm->in + rm->in_start, rm->in_end - rm->in_start};
		struct span line;
		enum line_status status = line_next(&bytes, PROTO_REPLY_MAX, &line);

		if (status == LINE_PARTIAL)
			return 0;
		/* Before the line is handled: a callback may read on. */
		rm->in_start = rm->in_end - bytes.len;
		if (status == LINE_TOO_LONG || rm_line(rm, line) < 0) {
			rm_lost(rm, REDMUTEX_EINTERNAL,
				"the daemon sent a line that makes no sense");
			return REDMUTEX_ECLOSED;
		}
	}
	return rm->fd >= 0 ? 0 : REDMUTEX_ECLOSED;
}

void rm_await_room(struct redmutex *rm)
{
	struct pollfd poll_fd = {.fd = rm->fd, .events = POLLOUT};

	pthread_mutex_unlock(&rm->mutex);
	poll(&poll_fd, 1, ROOM_MS);
	pthread_mutex_lock(&rm->mutex);
	rm_flush(rm);
}

/* Waits until something can be sent or read. Return: false when nothing can in time. */
static bool wait_for_room(struct redmutex *rm, int fd)
{
	struct pollfd poll_fd = {.fd = fd, .events = POLLIN | POLLOUT};
	int timeout_ms = rm->timeout_ms < 0 || rm->timeout_ms > 60000 ? 60000 : (int)rm->timeout_ms;
	int n;

	pthread_mutex_unlock(&rm->mutex);
	n = poll(&poll_fd, 1, timeout_ms);
	pthread_mutex_lock(&rm->mutex);
	return n > 0;
}

/*
 * recv() itself gives up after timeout_ms, which saves a system call; only a deadline that is well
 * before that takes one. Return: false when nothing came in time.
 */
static bool await_input(struct redmutex *rm, int fd, int64_t deadline_us)
{
	struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
	int64_t left_ms;
	int n;

	if (deadline_us == INT64_MAX)
		return true;
	left_ms = (deadline_us - redmutex_now_us() + 999) / 1000;
	if (left_ms > rm->timeout_ms / 16 * 15)
		return true;
	if (left_ms < 0)
		left_ms = 0;
	pthread_mutex_unlock(&rm->mutex);
	n = poll(&poll_fd, 1, left_ms > 60000 ? 60000 : (int)left_ms);
	pthread_mutex_lock(&rm->mutex);
	return n != 0;
}

int rm_receive(struct redmutex *rm, bool block, int64_t deadline_us)
{
	ssize_t n;
	int fd, saved;

	rm_flush(rm);
	if (rm->fd < 0)
		return REDMUTEX_ECLOSED;
	fd = rm->fd;
	if (block && deadline_us != INT64_MAX && redmutex_now_us() >= deadline_us)
		return REDMUTEX_ETIMEDOUT;
	if (block && rm->out_len > 0) {
		if (!wait_for_room(rm, fd))
			return 0;
		rm_flush(rm);
		block = false;
	}
	if (block && !await_input(rm, fd, deadline_us))
		return REDMUTEX_ETIMEDOUT;

	if (rm->in_start > 0) {
		memmove(rm->in, rm->in + rm->in_start, rm->in_end - rm->in_start);
		rm->in_end -= rm->in_start;
		rm->in_start = 0;
	}
	pthread_mutex_unlock(&rm->mutex);
	n = recv(fd, rm->in + rm->in_end, sizeof(rm->in) - rm->in_end, block ? 0 : MSG_DONTWAIT);
	saved = errno;
	pthread_mutex_lock(&rm->mutex);

	rm->in_more = n == (ssize_t)(sizeof(rm->in) - rm->in_end);
	if (n > 0) {
		rm->in_end += (size_t)n;
		return consume(rm);
	}
	if (n < 0 && (saved == EAGAIN || saved == EINTR))
		return REDMUTEX_ETIMEDOUT;
	rm_lost(rm, REDMUTEX_ECLOSED, "");
	return REDMUTEX_ECLOSED;
}

int rm_drain(struct redmutex *rm)
{
	int error = rm_receive(rm, false, INT64_MAX);

	/* What came in less than it had room for was all that there was. */
	for (int i = 1; i < DRAIN_READS && error == 0 && rm->in_more; i++)
		error = rm_receive(rm, false, INT64_MAX);
	rm_flush(rm);
	return error == REDMUTEX_ETIMEDOUT ? 0 : error;
}

/* ---- for event loops ---- */

int redmutex_fd(redmutex_t *rm)
{
	int fd = rm_enter(rm);

	if (fd < 0)
		return fd;
	fd = rm->fd >= 0 ? rm->fd : REDMUTEX_ECLOSED;
	rm_leave(rm);
	return fd;
}

int redmutex_events(redmutex_t *rm)
{
	int events = rm_enter(rm);

	if (events < 0)
		return events;
	if (rm->fd < 0)
		events = REDMUTEX_ECLOSED;
	else
		events = rm->out_len > 0 && !rm->out_broken ? POLLIN | POLLOUT : POLLIN;
	rm_leave(rm);
	return events;
}

int redmutex_flush(redmutex_t *rm)
{
	int error = rm_enter(rm);

	if (error < 0)
		return error;
	rm_flush(rm);
	if (rm->fd < 0)
		error = REDMUTEX_ECLOSED;
	rm_leave(rm);
	return error;
}

int redmutex_dispatch(redmutex_t *rm)
{
	int error = rm_enter(rm);

	if (error < 0)
		return error;
	if (rm_may_read(rm)) {
		rm_reader_enter(rm);
		error = rm_drain(rm);
		if (!rm_reader_leave(rm))
			return REDMUTEX_ECLOSED;
	} else {
		rm_flush(rm);
	}
	rm_leave(rm);
	return error;
}

/* ---- callbacks ---- */

static void set_event(redmutex_t *rm, redmutex_event_fn **fnp, void **argp, redmutex_event_fn *fn,
		      void *arg)
{
	if (rm_enter(rm) < 0)
		return;
	*fnp = fn;
	*argp = arg;
	rm_leave(rm);
}

void redmutex_on_lost(redmutex_t *rm, redmutex_event_fn *fn, void *arg)
{
	set_event(rm, &rm->on_lost, &rm->on_lost_arg, fn, arg);
}

void redmutex_on_expiring(redmutex_t *rm, redmutex_event_fn *fn, void *arg)
{
	set_event(rm, &rm->on_expiring, &rm->on_expiring_arg, fn, arg);
}

void redmutex_on_release_failed(redmutex_t *rm, redmutex_release_failed_fn *fn, void *arg)
{
	if (rm_enter(rm) < 0)
		return;
	rm->on_release_failed = fn;
	rm->on_release_failed_arg = arg;
	rm_leave(rm);
}
