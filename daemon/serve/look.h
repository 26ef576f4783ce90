/* SPDX-License-Identifier: MIT */
#ifndef REDMUTEXD_SERVE_LOOK_H
#define REDMUTEXD_SERVE_LOOK_H
/* What INFO and LIST say about a mutex, and what is announced to other hosts. */
#include "core/mutex.h"
#include "proto/reply.h"

struct server;
struct session;

/* The fields of a mutex that is held here. */
void look_write_here(struct server *server, struct reply_writer *w, const struct mutex *mutex);

/* The fields from a look at the mutex, in its done(): OK or UNAVAILABLE. */
void look_write_answer(struct server *server, struct reply_writer *w, const struct mutex *mutex,
		       const struct ask *ask);

/*
 * look_announce - who asks, in words for other hosts
 * @note: decoded; NULL: none
 *
 * Return: to be freed; percent-encoded options as in a reply.
 */
char *look_announce(struct session *session, const char *note);

#endif
