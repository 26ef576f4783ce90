/* SPDX-License-Identifier: MIT */
#ifndef REDMUTEXD_TESTS_HARNESS_H
#define REDMUTEXD_TESTS_HARNESS_H
/*
 * A real daemon on a socket in a temporary folder, and clients that say lines to it and expect
 * lines of it. Whatever does not come in time fails the test; daemons end with the test's process.
 */
#include <check.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* How long to wait for what must come. */
enum { HARNESS_WAIT_MS = 3000 };

struct daemon {
	pid_t pid;
	char *dir; /* ends with the daemon */
	char *conf_path, *socket_path, *log_path;
};

/*
 * daemon_spawn - start one, and wait until it listens
 * @settings: lines for [redmutexd]; the socket's path is put there
 * @sections: the sections after that, the first of which is [defaults] with `url = local:` unless
 *	the text begins with one of its own
 */
struct daemon *daemon_spawn(const char *settings, const char *sections);
/* The same, with the listening socket handed over as the service manager does it. */
struct daemon *daemon_spawn_activated(const char *settings, const char *sections);
/* Starts it again, with the same configuration, after it has ended. */
void daemon_start(struct daemon *daemon);
/* SIGKILL, and the end of the process; all else stays as it is for daemon_start(). */
void daemon_kill(struct daemon *daemon);
/* Writes another configuration; SIGHUP and the wait for the log to say so. */
void daemon_reload(struct daemon *daemon, const char *settings, const char *sections,
		   const char *log_text);
/* Writes the configuration only. */
void daemon_write_conf(struct daemon *daemon, const char *settings, const char *sections);
/* Waits until the log has that text. */
void daemon_expect_log(struct daemon *daemon, const char *text);
/* Starts another daemon with the same configuration. Return: its wait status when it has ended. */
int daemon_spawn_second(struct daemon *daemon);
/* SIGTERM, and the end. Return: the exit status; it must be gone in 3 s. Frees everything. */
int daemon_stop(struct daemon *daemon);
/* Waits for the end after a signal of the caller's own, as daemon_stop(). */
int daemon_await(struct daemon *daemon);

struct client {
	int fd;
	size_t len; /* unread in `bytes` */
	char bytes[65536];
	char line[4097];
};

struct client *client_connect(struct daemon *daemon);
/* With that effective uid, gid and one supplementary group; the caller must be root. */
struct client *client_connect_as(struct daemon *daemon, uid_t uid, gid_t gid, gid_t group);
void client_close(struct client *client);

/* Says a line; the LF is added. */
void say(struct client *client, const char *format, ...) __attribute__((format(printf, 2, 3)));
void say_bytes(struct client *client, const char *bytes, size_t len);
/* The next line, without its LF; borrowed until the next call. */
const char *hear(struct client *client);
/* The next line must match the pattern, in which `*` stands for any run of characters. */
const char *expect(struct client *client, const char *pattern);
void expect_silence(struct client *client, int ms);
void expect_eof(struct client *client);

/* An ACQUIRE that must succeed: say it, and the lock string of its reply; to be freed. */
char *acquire(struct client *client, const char *format, ...) __attribute__((format(printf, 2, 3)));

long long now_ms(void);
/* How much of its memory is in use; -1: there is no such process. */
long process_rss_kib(pid_t pid);

#endif
