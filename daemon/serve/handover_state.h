/* SPDX-License-Identifier: MIT */
#ifndef REDMUTEXD_SERVE_HANDOVER_STATE_H
#define REDMUTEXD_SERVE_HANDOVER_STATE_H
/* A server as records, and back: all that the program after this one has to know. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct record_writer;
struct server;

/* Descriptors that are named in the records, and have to be open for who reads them. */
struct handover_fds {
	int *fds; /* owned */
	size_t n, size;
};

/*
 * server_save - write all of it
 * @fds: empty
 *
 * To be called when a turn is over: everything that was answered has been delivered.
 */
void server_save(struct server *server, struct record_writer *w, struct handover_fds *fds);

/*
 * server_load - take it over
 * @server: new, and not listening
 * @rehearse: there are no descriptors; others take their place, and nobody is served
 * @why: on failure, what is wrong
 *
 * Return: false when the records make no sense; nothing can be done with the server then.
 */
bool server_load(struct server *server, const char *data, size_t len, bool rehearse, char *why,
		 size_t size);

#endif
