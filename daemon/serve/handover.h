/* SPDX-License-Identifier: MIT */
#ifndef REDMUTEXD_SERVE_HANDOVER_H
#define REDMUTEXD_SERVE_HANDOVER_H
/*
 * Replacing the program while it runs, without a lock, a waiter or a connection being lost.
 *
 * The new program is first run as a child, with --handover-check, and a copy of the state. If it
 * says within five seconds that it could go on with that, no client is heard any more, commands on
 * their way get a moment to be answered, and it is executed in place: the same process, with the
 * same descriptors, and all the rest as records in a file without a name.
 */
#include <stdbool.h>
#include <stdint.h>

#include "serve/server.h"

/* In which the new program finds the number of the descriptor with the records. */
#define HANDOVER_VARIABLE "REDMUTEXD_HANDOVER_FD"
/* The option with which it only tries, put in front of the others. */
#define HANDOVER_OPTION "handover-check"

/* How this program was started, and will be again. Everything must outlive the server. */
struct handover_env {
	const char *path; /* of the file to execute, absolute */
	char *const *argv;
	/* It happens now; or with false: it did not come to that after all. May be NULL. */
	void (*leaving)(void *arg, bool leaves);
	void *arg;
};

/* Begins it. What becomes of it is logged. */
void handover_start(struct server *server, const struct handover_env *env);
/* Goes on as if nothing had been begun. */
void handover_cancel(struct server *server);

/* For the loop: the next step, when a turn is over. Return: whether there is work after it. */
bool handover_step(struct server *server);
int64_t handover_due_us(const struct server *server);

/* ------------------------------------------------------------------ in the new program */

/*
 * handover_check - could this program go on with the state in fd?
 * @env: its stores are not opened, its socket is not touched
 * @conf: taken over
 *
 * Says so on standard output, or why not on standard error. Return: the exit status; the process
 * has to _exit(2) with it, since nothing is put back in order.
 */
int handover_check(const struct server_env *env, struct conf *conf, int fd);

/*
 * handover_journal - the state file that the program before had open
 * @path: its path, to be freed
 *
 * Return: its descriptor, or -1.
 */
int handover_journal(int fd, char **path);
/* The configuration of the program before, as a file's text with its secrets; to be freed. */
char *handover_conf(int fd);

/*
 * handover_finish - go on where the program before this one was
 * @server: new; instead of server_listen()
 * @fd: closed
 *
 * Return: false when that is not possible; the reason was logged.
 */
bool handover_finish(struct server *server, int fd);

#endif
