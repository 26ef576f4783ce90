/* SPDX-License-Identifier: MIT */
#ifndef REDMUTEXD_SERVE_LISTENER_H
#define REDMUTEXD_SERVE_LISTENER_H
/*
 * The socket that clients connect to. Bound under a lock file beside it, so that no second daemon
 * takes the path away from one that lives.
 */
#include "conf/conf.h"

struct listener;
struct record_writer;
struct server;

/*
 * listener_bind - take the configured path
 *
 * A socket that is there is replaced, if no daemon holds the lock file and nobody listens on it.
 * Return: 0; or a negative errno, and the reason was logged.
 */
int listener_bind(struct server *server, const struct conf *conf, struct listener **out);
/* Takes a listening socket over that somebody else made; its path is not touched. */
int listener_adopt(struct server *server, int fd, struct listener **out);

/*
 * listener_inherit - take over the listener of the process before
 * @path: the socket's, to be removed in the end; NULL: it is somebody else's
 * @lock_fd: on the lock file; -1: there is none
 */
struct listener *listener_inherit(struct server *server, int fd, const char *path, int lock_fd);
/* Writes it as fields of a record for that; tells which descriptors must stay open. */
void listener_save(struct listener *listener, struct record_writer *w,
		   void (*keep)(void *arg, int fd), void *arg);

/* For a moment: whoever connects has to wait. */
void listener_suspend(struct listener *listener, bool suspend);

/* After a pause for want of descriptors: a client has left. */
void listener_resume(struct listener *listener);

/* Accepts nothing any more. Removes the socket file, unless it was adopted. Accepts NULL. */
void listener_close(struct listener *listener);

#endif
