/* SPDX-License-Identifier: MIT */
#ifndef REDMUTEXD_TESTS_REDIS_SERVER_H
#define REDMUTEXD_TESTS_REDIS_SERVER_H
/*
 * A real redis-server of a test's own, in a temporary folder. It dies with the test's process,
 * however that ends. Whatever goes wrong in here fails the test.
 */
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct redisContext;

enum { REDIS_SERVER_ARGS = 32 };

struct redis_server {
	pid_t pid;	   /* 0: not running */
	char dir[40];	   /* the temporary folder */
	char path[64];	   /* the Unix socket in it */
	char unix_url[80]; /* unix:///... */
	int port;	   /* on 127.0.0.1; 0: none */
	char tcp_url[40];  /* redis://127.0.0.1:port, or empty */
	bool tls;	   /* on its port */
	char config[64];   /* a configuration file in the folder; empty: none */
	char *args[REDIS_SERVER_ARGS];
	struct redisContext *context; /* of redis_server_ask() */
};

/*
 * The programs that speak the protocol well enough, up to NULL; not all are installed. Used is the
 * one that was chosen, or that REDIS_SERVER in the environment names, or the first that is there.
 */
extern const char *const redis_server_programs[];
/* Use another one from now on. Return: whether it is installed. */
bool redis_server_choose(const char *program);
/* Did the environment say which? */
bool redis_server_is_given(void);

/* Is there a redis-server to run? Without one the tests that need it are skipped. */
bool redis_server_installed(void);

/*
 * redis_server_start - start one and wait until it answers
 * @tcp: listen on a free loopback port too
 * @args: more of the command line ("--requirepass", "secret"), up to NULL; or NULL
 */
void redis_server_start(struct redis_server *server, bool tcp, const char *const *args);
/* The same, as a sentinel that watches nothing yet, on a free loopback port. */
void redis_server_start_sentinel(struct redis_server *server, bool tls, const char *const *args);
/* With TLS on its port, by the certificates that are named in @args; without on its socket. */
void redis_server_start_tls(struct redis_server *server, const char *const *args);
/* Ends it, if it runs, and removes its folder. */
void redis_server_stop(struct redis_server *server);

/* SIGKILL: gone at once, with its data. */
void redis_server_kill(struct redis_server *server);
/* Starts it again, on the same socket and port, after a kill or instead of the one that runs. */
void redis_server_restart(struct redis_server *server);
/* SIGSTOP: it accepts connections and commands but carries out nothing until resumed. */
void redis_server_pause(struct redis_server *server);
void redis_server_resume(struct redis_server *server);

/*
 * redis_server_ask - send a command, as redisCommand(3) does, over a connection of its own
 *
 * Return: the answer in words: a string or status as it is, an integer in digits, "(nil)", an error
 * as "(error) ...", arrays as their members with spaces between. Valid until the next call.
 */
const char *redis_server_ask(struct redis_server *server, const char *format, ...);
/* The same where somebody may cut that connection meanwhile: NULL then. */
const char *redis_server_try(struct redis_server *server, const char *format, ...);
/* Ends that connection: the next question makes a new one. */
void redis_server_hang_up(struct redis_server *server);
/* The answer must be an integer. */
int64_t redis_server_ask_integer(struct redis_server *server, const char *format, ...);

#endif
