/* SPDX-License-Identifier: MIT */
#ifndef REDMUTEXD_STORE_CONN_H
#define REDMUTEXD_STORE_CONN_H
/*
 * One connection to one Redis server: connecting, bytes out, replies in. Knows nothing of what is
 * said over it; link.h and watch.h do.
 *
 * It is a non-blocking redisContext of hiredis, which owns the socket, the encryption (tls.h) and
 * the parser, driven by libevent's events on its descriptor. hiredis' own asynchronous half is not
 * used: it would own the queue of what is in flight too, by rules that differ between the versions
 * that are about; here it is needed in our own hands: one write a turn, a deadline for every
 * answer, and to know what was written when a connection ends. And hiredis is never given a host's
 * name, only addresses: it would look it up right there, and hold up the loop.
 *
 * What goes out is written from our own buffer: hiredis would keep a copy of it, passwords
 * included, in memory that it frees. OpenSSL writes so that SIGPIPE may be raised: the process has
 * to ignore it.
 */
#include <event2/event.h>
#include <event2/event_struct.h>
#include <hiredis/hiredis.h>
#include <stdbool.h>
#include <stdint.h>

#include "store/open.h"
#include "store/resolve.h"
#include "store/resp.h"

struct conn;
struct tls;
struct tls_session;

/* Where a server listens: a Unix socket's path, or a host (name or number) and a port. */
struct conn_address {
	const char *path; /* NULL: TCP */
	const char *host;
	int port;
	struct tls *tls; /* encrypt by these rules; outlives the conn; NULL: plain */
};

/* What its owner hears. Each may call conn_close() and what else there is, but conn_deinit(). */
struct conn_class {
	/* The server can be written to. */
	void (*opened)(struct conn *conn);
	/* One reply, which is freed when this returns. */
	void (*reply)(struct conn *conn, const redisReply *reply);
	/* It ended by itself, or never began; nothing is open any more. See conn->lasting. */
	void (*closed)(struct conn *conn, const char *why);
};

enum conn_state {
	CONN_CLOSED,
	CONN_RESOLVING,
	CONN_CONNECTING,
	CONN_SECURING, /* the handshake of TLS is under way */
	CONN_OPEN,
};

struct conn {
	const struct conn_class *class;
	const struct store_env *env;
	enum conn_state state;
	redisContext *context; /* NULL while there is no socket */
	struct tls *tls;
	struct tls_session *session; /* part of the context; NULL: plain, or not there yet */
	char *host;		     /* whose certificate is expected; owned, NULL: plain */
	unsigned generation;	     /* counts openings, to notice an end from below */
	bool established;	     /* the owner is content: no connect timeout any more */
	int64_t timeout_ms;
	struct resolver resolver;
	struct addrinfo *addresses, *next_address; /* of the host; owned */
	unsigned skip;				   /* begin with a later one: the first hung */
	struct event read_event, write_event, timer;
	/* The owner appends to it and calls conn_flush(), which leaves what the kernel won't take.
	 */
	struct resp out;
	uint64_t n_writes; /* calls of write(2), for the tests */
	bool lasting;	   /* for closed(): trying again will not help */
	char why[256];
};

void conn_init(struct conn *conn, const struct store_env *env, const struct conn_class *class);
/* Closes it without a word to its owner. */
void conn_deinit(struct conn *conn);

/*
 * conn_open - connect
 * @timeout_ms: from now until conn_established()
 *
 * The answer is opened() or closed(), possibly from in here. The address is not kept.
 */
void conn_open(struct conn *conn, const struct conn_address *address, int64_t timeout_ms);
/* Whatever has to be said first has been said and answered: the timeout of conn_open() is off. */
void conn_established(struct conn *conn);
/* Writes what is in conn->out, in one write(2) if the kernel takes it. May call closed(). */
void conn_flush(struct conn *conn);
/* Reads what has arrived already. May call reply() and closed(). */
void conn_poll(struct conn *conn);
/*
 * Ends it without a word to its owner. What was not sent yet never will be; what has arrived at the
 * server may still be carried out.
 */
void conn_close(struct conn *conn);
/* Ends it and calls closed(). */
void conn_fail(struct conn *conn, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Time may have passed: whoever has to know is told before anything is decided. */
static inline void store_env_turn(const struct store_env *env)
{
	if (env->turn)
		env->turn(env->arg);
}

#endif
