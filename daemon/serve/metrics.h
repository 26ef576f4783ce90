/* SPDX-License-Identifier: MIT */
#ifndef REDMUTEXD_SERVE_METRICS_H
#define REDMUTEXD_SERVE_METRICS_H
/*
 * What stats.h counts, for Prometheus: GET /metrics over HTTP, in its text format 0.0.4, where
 * `metrics_listen` says. It is served by the daemon's own loop, so it gives who asks little: a few
 * connections at a time, one answer on each, and not for long.
 */
struct metrics;
struct record_writer;
struct server;

/*
 * metrics_open - listen where the server's configuration says, if it does
 *
 * The daemon is there for locks: one whose metrics can't be had goes on without, and says so.
 * Return: never NULL.
 */
struct metrics *metrics_open(struct server *server);
/* The configuration may say something else. What could not be opened before is tried again. */
void metrics_reload(struct metrics *metrics);
/*
 * For the program that comes after: where it listens, as fields of a record; and on with that.
 * @place: as it was configured
 */
void metrics_save(struct metrics *metrics, struct record_writer *w, void (*keep)(void *arg, int fd),
		  void *arg);
struct metrics *metrics_inherit(struct server *server, const char *place, int fd);
void metrics_close(struct metrics *metrics); /* accepts NULL */

#endif
