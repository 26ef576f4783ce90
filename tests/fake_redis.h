/* SPDX-License-Identifier: MIT */
#ifndef REDMUTEXD_TESTS_FAKE_REDIS_H
#define REDMUTEXD_TESTS_FAKE_REDIS_H
/*
 * A server that speaks Redis's protocol and says what a test wants it to say. It runs in the test's
 * own event loop, listens on a Unix socket in a temporary folder or on a port, and holds no data.
 */
#include <event2/event.h>
#include <hiredis/hiredis.h>
#include <stdbool.h>
#include <sys/queue.h>

struct fake_client;
struct fake_redis;

/* Answers of fake_answer_fn that are no bytes to send. */
extern const char fake_usual[];	  /* as a Redis would that has just been started, and is empty */
extern const char fake_silence[]; /* nothing at all */
extern const char fake_drop[];	  /* the connection is closed */

/* Return: what to answer to a command, in RESP, or one of the above. */
typedef const char *fake_answer_fn(struct fake_redis *fake, const redisReply *command);

struct fake_redis {
	struct event_base *base;
	char dir[40], path[64], url[80];
	int port; /* on 127.0.0.1; 0: it listens on the socket */
	int fd;
	int delay_ms; /* of all that it says */
	struct event *event;
	LIST_HEAD(, fake_client) clients;
	fake_answer_fn *answer; /* NULL: fake_usual for all */
	const char *run_id, *role;
	unsigned n_accepted, n_reads, n_commands, n_evalsha, n_eval, n_kill;
	char killed[32]; /* of the last CLIENT KILL ID */
};

void fake_redis_start(struct fake_redis *fake, struct event_base *base);
/* The same on a free loopback port. */
void fake_redis_start_tcp(struct fake_redis *fake, struct event_base *base);
/* Says something to all who are connected. */
void fake_redis_say(struct fake_redis *fake, const char *text);
void fake_redis_stop(struct fake_redis *fake);

/* Is this the first word of the command? */
bool fake_is(const redisReply *command, const char *verb);

#endif
