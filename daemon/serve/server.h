/* SPDX-License-Identifier: MIT */
#ifndef REDMUTEXD_SERVE_SERVER_H
#define REDMUTEXD_SERVE_SERVER_H
/*
 * The daemon as its clients meet it: owns the configuration, the stores, the table of mutexes, the
 * listener and the sessions, and turns the loop.
 *
 * A turn of the loop reads what all clients sent, lets the core and the stores work until nothing
 * moves any more, and then writes to each client once. Nothing is freed before the turn's end.
 */
#include "conf/conf.h"

struct event_base;
struct journal_file;
struct server;

typedef struct store *server_open_store_fn(const struct store_env *env,
					   const struct store_settings *settings,
					   struct store_listener *listener);

/* What the server is handed. Everything must outlive it. */
struct server_env {
	struct clock *clock; /* must go as CLOCK_BOOTTIME does: the loop sleeps by that */
	struct entropy *entropy;
	server_open_store_fn *open_store;
	int listen_fd; /* -1: bind the configured path; else a listening socket that stays */
	struct journal_file *journal; /* NULL: what is held is not known after a crash */
};

/*
 * server_new - a server that is not listening yet
 * @env: copied
 * @base: the loop, for the events of this process
 * @conf: taken over
 *
 * Opens the stores and configures the table. Return: never NULL.
 */
struct server *server_new(const struct server_env *env, struct event_base *base, struct conf *conf);
/* Closes everything at once: see server_stop(). Accepts NULL. */
void server_free(struct server *server);

/* A loop as the server wants it; dies when there can be none. */
struct event_base *server_base_new(void);

/*
 * server_listen - look after what the last process left in the journal, and expect clients
 *
 * Return: 0, or a negative errno; the reason was logged.
 */
int server_listen(struct server *server);

/* Turns the loop until the daemon has stopped. */
void server_run(struct server *server);

/* The loop calls somebody: what is due comes first. At the start of each callback of an event. */
void server_turn(struct server *server);

/*
 * server_reload - go on with another configuration
 * @conf: taken over
 *
 * What cannot be changed in a running daemon is logged and left as it is.
 */
void server_reload(struct server *server, struct conf *conf);

/*
 * server_stop - end in good order
 *
 * Waiters are told at once; keys of locks that connections own stay in place for a second or until
 * their holders let go; after two seconds server_run() returns whatever the stores say.
 */
void server_stop(struct server *server);

#endif
