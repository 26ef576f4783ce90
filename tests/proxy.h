/* SPDX-License-Identifier: MIT */
#ifndef REDMUTEXD_TESTS_PROXY_H
#define REDMUTEXD_TESTS_PROXY_H
/*
 * What lies between a daemon and its Redis, and fails there where a test wants it to: a process of
 * its own that passes bytes on between a Unix socket in a temporary folder and the server's. It
 * ends with the test's process.
 */
#include <sys/types.h>

enum proxy_fault {
	PROXY_NONE,
	PROXY_CUT_BEFORE, /* the command is not passed on, and its connection is cut */
	PROXY_CUT_AFTER,  /* it is carried out, its answer is dropped and the connection cut */
	/*
	 * It is passed on after a while, even when who sent it has hung up meanwhile: so it comes
	 * after what he said on a new connection, unless the server has been told to forget it.
	 */
	PROXY_DELAY,
};

struct proxy_orders;

struct proxy {
	pid_t pid;
	char dir[40], path[64], url[80];
	struct proxy_orders *orders; /* shared with the process */
};

/* @server_path: the server's Unix socket */
void proxy_start(struct proxy *proxy, const char *server_path);
void proxy_stop(struct proxy *proxy);

/*
 * proxy_arm - let the next command fail
 * @text: what stands in that command's bytes
 * @delay_ms: of PROXY_DELAY
 */
void proxy_arm(struct proxy *proxy, enum proxy_fault fault, const char *text, int delay_ms);
/* Waits until it has happened: with PROXY_DELAY, until the command was passed on or forgotten. */
void proxy_await(struct proxy *proxy);

#endif
