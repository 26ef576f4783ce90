/* SPDX-License-Identifier: MIT */
#ifndef REDMUTEX_TESTS_CLIENT_SCRIPT_H
#define REDMUTEX_TESTS_CLIENT_SCRIPT_H
/*
 * A daemon that follows a script, for what a real one can't be made to do. It runs in a thread of
 * the test's process, on a socket in a temporary folder. A script is a list of steps:
 *
 *	"< PATTERN"	read a request, which without its tag must match the fnmatch(3) pattern
 *	"> LINE"	send a line; in it $1 is the tag of the last request, $2 of the one before …
 *	">> BYTES"	send bytes as they are, with \n for LF
 *	"."		hang up
 *	"+"		accept the next connection (the first one is accepted anyway)
 *	"|"		wait until the test says script_go()
 *	"EOF"		read the end of the connection
 *	"SLEEP"		say nothing for 100 ms: long enough for a timeout of the test's to pass
 *
 * HELLO is answered by itself, unless the step at hand is one that expects it.
 */
#include <pthread.h>

struct script {
	pthread_t thread;
	const char *const *steps;
	int listen_fd;
	int go[2]; /* a pipe */
	char folder[64];
	char path[96];
	char failure[512]; /* what went wrong, or "" */
	unsigned reads;	   /* read(2) calls that brought something: how many batches were sent */
};

/* script_start - begin to follow some steps, of which the last one is NULL */
void script_start(struct script *script, const char *const *steps);

/* script_go - let the script go on behind "|" */
void script_go(struct script *script);

/* script_end - wait until it was followed to its end; fails the test if it was not */
void script_end(struct script *script);

#endif
