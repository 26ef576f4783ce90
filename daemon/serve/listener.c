/* SPDX-License-Identifier: MIT */
/* The listening socket, and who is let in. */
#include "config.h"

#include "serve/listener.h"

#include <errno.h>
#include <event2/event_struct.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "proto/reply.h"
#include "serve/descriptors.h"
#include "serve/peer.h"
#include "serve/server_private.h"
#include "serve/session.h"
#include "util/alloc.h"
#include "util/log.h"
#include "util/record.h"

enum { ACCEPTS_PER_TURN = 64 };

/* Refusals are logged so often at most, however many there are. */
#define COMPLAINT_US INT64_C(10000000)

struct listener {
	struct server *server;
	char *path; /* NULL: adopted */
	int fd;
	int lock_fd; /* on the lock file; -1: adopted */
	struct event event;
	struct event pause_event;
	bool paused;
	int64_t complain_us; /* a refusal is logged again from then on */
};

static void listener_pause(struct listener *listener)
{
	const struct timeval second = {1, 0};

	listener->paused = true;
	event_del(&listener->event);
	event_add(&listener->pause_event, &second);
}

void listener_resume(struct listener *listener)
{
	if (!listener->paused)
		return;
	listener->paused = false;
	event_del(&listener->pause_event);
	if (!listener->server->draining)
		event_add(&listener->event, NULL);
}

/* Logs why clients are not let in, unless that was done a moment ago. */
static void complain(struct listener *listener, const char *what, const char *why)
{
	int64_t now_us = server_now_us(listener->server);

	if (now_us < listener->complain_us)
		return;
	listener->complain_us = now_us + COMPLAINT_US;
	log_warning("%s: %s", what, why);
}

/* Tells a client why it is not served, and closes. It has asked nothing yet: there is room. */
static void turn_away(struct listener *listener, int fd, const char *text)
{
	char line[PROTO_REPLY_MAX];
	const struct span no_tag = {"", 0};
	size_t len = reply_error(line, sizeof(line), no_tag, PROTO_E_LIMIT, text);

	listener->server->stats.clients_refused++;
	complain(listener, "clients are turned away", text);
	if (send(fd, line, len, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
		log_debug("a client that was turned away did not hear why: %s", strerror(errno));
	close(fd);
}

static void serve_client(struct listener *listener, int fd)
{
	struct server *server = listener->server;
	const struct conf *conf = server->conf;
	struct peer peer;
	char text[80];

	if (descriptors_scarce(fd)) {
		turn_away(listener, fd,
			  "RLIMIT_NOFILE: the daemon has few file descriptors left; raise "
			  "LimitNOFILE= or lower max_clients");
		return;
	}
	if (server->n_sessions >= conf->max_clients) {
		snprintf(text, sizeof(text), "max_clients: %u are connected", server->n_sessions);
		turn_away(listener, fd, text);
		return;
	}
	if (peer_init(&peer, fd) < 0) {
		log_warning("can't tell who a client is: %s", strerror(errno));
		close(fd);
		return;
	}
	if (conf->max_clients_per_user > 0 && peer.uid != 0 &&
	    user_n_clients(server->users, peer.uid) >= conf->max_clients_per_user) {
		snprintf(text, sizeof(text), "max_clients_per_user: uid %u has %u connections",
			 (unsigned)peer.uid, conf->max_clients_per_user);
		turn_away(listener, fd, text);
		return;
	}
	if (session_open(server, fd, &peer) < 0)
		turn_away(listener, fd, "the daemon is out of memory");
}

static void out_of_descriptors(struct listener *listener)
{
	complain(listener, "clients have to wait to be accepted", strerror(errno));
	listener_pause(listener);
}

static void listener_cb(evutil_socket_t listen_fd, short what, void *arg)
{
	struct listener *listener = arg;

	(void)what;
	server_turn(listener->server);
	for (int i = 0; i < ACCEPTS_PER_TURN; i++) {
		int fd = accept4(listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (fd >= 0) {
			serve_client(listener, fd);
			continue;
		}
		if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
			out_of_descriptors(listener);
			return;
		}
		if (errno == EINTR || errno == ECONNABORTED)
			continue;
		if (errno != EAGAIN)
			log_warning("can't accept a client: %s", strerror(errno));
		return;
	}
}

static void listener_pause_cb(evutil_socket_t fd, short what, void *arg)
{
	struct listener *listener = arg;

	(void)fd;
	(void)what;
	server_turn(listener->server);
	listener_resume(listener);
}

static struct listener *listener_new(struct server *server, int fd)
{
	struct listener *listener = xcalloc(1, sizeof(*listener));

	listener->server = server;
	listener->fd = fd;
	listener->lock_fd = -1;
	event_assign(&listener->event, server->base, fd, EV_READ | EV_PERSIST, listener_cb,
		     listener);
	event_assign(&listener->pause_event, server->base, -1, 0, listener_pause_cb, listener);
	event_add(&listener->event, NULL);
	return listener;
}

int listener_adopt(struct server *server, int fd, struct listener **out)
{
	int flags = fcntl(fd, F_GETFL);

	if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0) {
		int error = errno;

		log_error("can't use the socket that was handed over: %s", strerror(error));
		return -error;
	}
	*out = listener_new(server, fd);
	return 0;
}

struct listener *listener_inherit(struct server *server, int fd, const char *path, int lock_fd)
{
	struct listener *listener = listener_new(server, fd);

	listener->path = path ? xstrdup(path) : NULL;
	listener->lock_fd = lock_fd;
	return listener;
}

void listener_save(struct listener *listener, struct record_writer *w,
		   void (*keep)(void *arg, int fd), void *arg)
{
	record_put_number(w, "fd", listener->fd);
	record_put_text(w, "path", listener->path);
	keep(arg, listener->fd);
	if (listener->lock_fd < 0)
		return;
	record_put_number(w, "lock_fd", listener->lock_fd);
	keep(arg, listener->lock_fd);
}

void listener_suspend(struct listener *listener, bool suspend)
{
	if (listener->paused)
		return;
	if (suspend)
		event_del(&listener->event);
	else
		event_add(&listener->event, NULL);
}

/* Return: a descriptor that holds the lock file, or a negative errno that was logged. */
static int take_lock_file(const char *socket_path)
{
	char *path = xasprintf("%s.lock", socket_path);
	int error, fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

	if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0) {
		free(path);
		return fd;
	}
	error = errno;
	if (fd >= 0)
		close(fd);
	if (error == EWOULDBLOCK)
		log_error("another daemon serves %s: it holds %s", socket_path, path);
	else
		log_error("%s: %s", path, strerror(error));
	free(path);
	return -error;
}

/* Does nobody listen there? The service manager may, who takes no lock file. */
static bool socket_is_free(const struct sockaddr_un *address)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	bool is_free = fd >= 0 &&
		       connect(fd, (const struct sockaddr *)address, sizeof(*address)) < 0 &&
		       (errno == ECONNREFUSED || errno == ENOENT);

	if (fd >= 0)
		close(fd);
	return is_free;
}

/* Return: a descriptor, or a negative errno; EADDRINUSE: somebody listens there. */
static int socket_bind(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct stat status;
	mode_t mask;
	int fd, error;

	if (strlen(path) >= sizeof(address.sun_path))
		return -ENAMETOOLONG;
	strcpy(address.sun_path, path);
	if (lstat(path, &status) == 0 && !S_ISSOCK(status.st_mode))
		return -EEXIST; /* somebody's file, not an old socket of ours */
	if (!socket_is_free(&address))
		return -EADDRINUSE;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	if (unlink(path) < 0 && errno != ENOENT) {
		error = errno;
		close(fd);
		return -error;
	}
	mask = umask(0177); /* nobody else, until mode and group are right */
	error = bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 ? errno : 0;
	umask(mask);
	if (error) {
		close(fd);
		return -error;
	}
	return fd;
}

/* The mode and group of the configuration. */
static int socket_apply(const char *path, const struct conf *conf)
{
	if (conf->socket_group_given && lchown(path, (uid_t)-1, conf->socket_group) < 0) {
		int error = errno;

		log_error("%s: can't give it to group %u: %s", path, (unsigned)conf->socket_group,
			  strerror(error));
		return -error;
	}
	if (chmod(path, conf->socket_mode) < 0) {
		int error = errno;

		log_error("%s: can't set its mode: %s", path, strerror(error));
		return -error;
	}
	return 0;
}

int listener_bind(struct server *server, const struct conf *conf, struct listener **out)
{
	const char *path = conf->socket_path;
	int lock_fd = take_lock_file(path), fd, error;

	if (lock_fd < 0)
		return lock_fd;
	fd = socket_bind(path);
	if (fd < 0) {
		log_error("%s: can't bind a socket there: %s", path,
			  fd == -EADDRINUSE ? "somebody listens there" : strerror(-fd));
		close(lock_fd);
		return fd;
	}
	error = socket_apply(path, conf);
	if (!error && listen(fd, SOMAXCONN) < 0) {
		error = -errno;
		log_error("%s: can't listen: %s", path, strerror(-error));
	}
	if (error) {
		unlink(path);
		close(fd);
		close(lock_fd);
		return error;
	}
	*out = listener_new(server, fd);
	(*out)->path = xstrdup(path);
	(*out)->lock_fd = lock_fd;
	return 0;
}

void listener_close(struct listener *listener)
{
	if (!listener)
		return;
	event_del(&listener->event);
	event_del(&listener->pause_event);
	if (listener->path)
		unlink(listener->path);
	close(listener->fd);
	if (listener->lock_fd >= 0)
		close(listener->lock_fd);
	free(listener->path);
	free(listener);
}
