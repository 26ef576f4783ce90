/* SPDX-License-Identifier: MIT */
/* Daemons and clients for the tests of serve/. */
#include "config.h"

#include "harness.h"

#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <grp.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

long long now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000LL + now.tv_nsec / 1000000;
}

long process_rss_kib(pid_t pid)
{
	char path[64], line[128];
	long kib = -1;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	file = fopen(path, "re");
	while (file && fgets(line, sizeof(line), file)) {
		if (sscanf(line, "VmRSS: %ld", &kib) == 1)
			break;
	}
	if (file)
		fclose(file);
	return kib;
}

static void nap(void)
{
	poll(NULL, 0, 5);
}

static char *format_text(const char *format, ...) __attribute__((format(printf, 1, 2)));

static char *format_text(const char *format, ...)
{
	va_list args;
	char *text;

	va_start(args, format);
	ck_assert_int_ge(vasprintf(&text, format, args), 0);
	va_end(args);
	return text;
}

/* ------------------------------------------------------------------ daemons */

void daemon_write_conf(struct daemon *daemon, const char *settings, const char *sections)
{
	FILE *file = fopen(daemon->conf_path, "we");

	ck_assert_ptr_nonnull(file);
	fprintf(file, "[redmutexd]\nsocket = %s\n%s\n", daemon->socket_path, settings);
	if (strncmp(sections, "[defaults]", strlen("[defaults]")) != 0)
		fputs("[defaults]\nurl = local:\n", file);
	fprintf(file, "%s\n", sections);
	ck_assert_int_eq(fclose(file), 0);
}

/* @listen_fd: to be handed over; -1: none */
static pid_t daemon_fork(const struct daemon *daemon, int listen_fd)
{
	const char *program = getenv("REDMUTEXD");
	pid_t pid = fork();
	int log_fd;

	ck_assert_int_ge(pid, 0);
	if (pid > 0)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	log_fd = open(daemon->log_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	dup2(log_fd, STDERR_FILENO);
	if (listen_fd >= 0) {
		char text[16];

		dup2(listen_fd, 3);
		snprintf(text, sizeof(text), "%d", (int)getpid());
		setenv("LISTEN_PID", text, 1);
		setenv("LISTEN_FDS", "1", 1);
	}
	execl(program ? program : "daemon/redmutexd", "redmutexd", "-c", daemon->conf_path,
	      (char *)NULL);
	perror("daemon/redmutexd");
	_exit(127);
}

/* Return: a connected socket, or -1. */
static int socket_connect(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	ck_assert_int_ge(fd, 0);
	strcpy(address.sun_path, path);
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0)
		return fd;
	close(fd);
	return -1;
}

static void print_log(const struct daemon *daemon)
{
	FILE *file = fopen(daemon->log_path, "re");
	char line[1024];

	while (file && fgets(line, sizeof(line), file))
		fprintf(stderr, "daemon: %s", line);
	if (file)
		fclose(file);
}

/* Waits until it answers. */
static void daemon_await_start(struct daemon *daemon)
{
	long long until_ms = now_ms() + HARNESS_WAIT_MS;
	char byte;
	int fd;

	while ((fd = socket_connect(daemon->socket_path)) < 0) {
		if (now_ms() > until_ms || waitpid(daemon->pid, NULL, WNOHANG) != 0) {
			print_log(daemon);
			ck_abort_msg("the daemon does not listen");
		}
		nap();
	}
	/* When the end is here it has been forgotten: limits count from 0. */
	ck_assert_int_eq(write(fd, "QUIT\n", 5), 5);
	while (read(fd, &byte, 1) > 0)
		;
	close(fd);
}

static struct daemon *daemon_new(const char *settings, const char *sections)
{
	struct daemon *daemon = calloc(1, sizeof(*daemon));

	daemon->dir = strdup("/tmp/redmutexd-test-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(daemon->dir));
	ck_assert_int_eq(chmod(daemon->dir, 0755), 0);
	daemon->conf_path = format_text("%s/conf.ini", daemon->dir);
	daemon->socket_path = format_text("%s/sock", daemon->dir);
	daemon->log_path = format_text("%s/log", daemon->dir);
	daemon_write_conf(daemon, settings, sections);
	return daemon;
}

void daemon_start(struct daemon *daemon)
{
	daemon->pid = daemon_fork(daemon, -1);
	daemon_await_start(daemon);
}

struct daemon *daemon_spawn(const char *settings, const char *sections)
{
	struct daemon *daemon = daemon_new(settings, sections);

	daemon_start(daemon);
	return daemon;
}

struct daemon *daemon_spawn_activated(const char *settings, const char *sections)
{
	struct daemon *daemon = daemon_new(settings, sections);
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	strcpy(address.sun_path, daemon->socket_path);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	ck_assert_int_eq(listen(fd, 16), 0);
	daemon->pid = daemon_fork(daemon, fd);
	close(fd);
	daemon_await_start(daemon);
	return daemon;
}

void daemon_kill(struct daemon *daemon)
{
	kill(daemon->pid, SIGKILL);
	ck_assert_int_eq(waitpid(daemon->pid, NULL, 0), daemon->pid);
}

int daemon_spawn_second(struct daemon *daemon)
{
	int status;
	pid_t pid = daemon_fork(daemon, -1);

	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	return status;
}

void daemon_expect_log(struct daemon *daemon, const char *text)
{
	long long until_ms = now_ms() + HARNESS_WAIT_MS;

	for (;;) {
		FILE *file = fopen(daemon->log_path, "re");
		char line[1024];

		while (file && fgets(line, sizeof(line), file)) {
			if (strstr(line, text)) {
				fclose(file);
				return;
			}
		}
		if (file)
			fclose(file);
		if (now_ms() > until_ms) {
			print_log(daemon);
			ck_abort_msg("the daemon does not log: %s", text);
		}
		nap();
	}
}

void daemon_reload(struct daemon *daemon, const char *settings, const char *sections,
		   const char *log_text)
{
	ck_assert_int_eq(truncate(daemon->log_path, 0), 0);
	daemon_write_conf(daemon, settings, sections);
	kill(daemon->pid, SIGHUP);
	daemon_expect_log(daemon, log_text);
}

int daemon_await(struct daemon *daemon)
{
	long long until_ms = now_ms() + HARNESS_WAIT_MS;
	char *lock_path = format_text("%s.lock", daemon->socket_path);
	char *held_path = format_text("%s.held", daemon->socket_path);
	int status;

	while (waitpid(daemon->pid, &status, WNOHANG) == 0) {
		if (now_ms() > until_ms) {
			print_log(daemon);
			kill(daemon->pid, SIGKILL);
			ck_abort_msg("the daemon does not end");
		}
		nap();
	}
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
		print_log(daemon);
	unlink(daemon->conf_path);
	unlink(daemon->log_path);
	unlink(lock_path);
	unlink(held_path);
	ck_assert_msg(access(daemon->socket_path, F_OK) < 0 || !WIFEXITED(status),
		      "the socket file is left behind");
	unlink(daemon->socket_path);
	rmdir(daemon->dir);
	free(lock_path);
	free(held_path);
	free(daemon->conf_path);
	free(daemon->log_path);
	free(daemon->socket_path);
	free(daemon->dir);
	free(daemon);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int daemon_stop(struct daemon *daemon)
{
	kill(daemon->pid, SIGTERM);
	return daemon_await(daemon);
}

/* ------------------------------------------------------------------ clients */

struct client *client_connect(struct daemon *daemon)
{
	struct client *client = calloc(1, sizeof(*client));

	client->fd = socket_connect(daemon->socket_path);
	ck_assert_int_ge(client->fd, 0);
	return client;
}

struct client *client_connect_as(struct daemon *daemon, uid_t uid, gid_t gid, gid_t group)
{
	struct client *client;

	/* What counts is who connects; the process can be root again afterwards. */
	ck_assert_int_eq(setgroups(1, &group), 0);
	ck_assert_int_eq(setegid(gid), 0);
	ck_assert_int_eq(seteuid(uid), 0);
	client = client_connect(daemon);
	ck_assert_int_eq(seteuid(0), 0);
	ck_assert_int_eq(setegid(0), 0);
	return client;
}

void client_close(struct client *client)
{
	close(client->fd);
	free(client);
}

void say_bytes(struct client *client, const char *bytes, size_t len)
{
	ck_assert_int_eq(send(client->fd, bytes, len, MSG_NOSIGNAL), (ssize_t)len);
}

void say(struct client *client, const char *format, ...)
{
	va_list args;
	char *line;
	int len;

	va_start(args, format);
	len = vasprintf(&line, format, args);
	va_end(args);
	ck_assert_int_ge(len, 0);
	line[len] = '\n'; /* in the place of the terminator */
	say_bytes(client, line, (size_t)len + 1);
	free(line);
}

/* Reads once. Return: false at the end, or when nothing comes for that long. */
static bool client_read(struct client *client, int timeout_ms, bool *eof)
{
	struct pollfd poll_fd = {.fd = client->fd, .events = POLLIN};
	ssize_t n;

	*eof = false;
	if (poll(&poll_fd, 1, timeout_ms) <= 0)
		return false;
	n = read(client->fd, client->bytes + client->len, sizeof(client->bytes) - client->len);
	*eof = n <= 0;
	if (n > 0)
		client->len += (size_t)n;
	return n > 0;
}

const char *hear(struct client *client)
{
	char *end;
	size_t len;
	bool eof;

	while (!(end = memchr(client->bytes, '\n', client->len))) {
		if (!client_read(client, HARNESS_WAIT_MS, &eof))
			ck_abort_msg(eof ? "the daemon has closed the connection"
					 : "no line comes");
	}
	len = (size_t)(end - client->bytes);
	ck_assert_uint_lt(len, sizeof(client->line));
	memcpy(client->line, client->bytes, len);
	client->line[len] = '\0';
	client->len -= len + 1;
	memmove(client->bytes, end + 1, client->len);
	return client->line;
}

const char *expect(struct client *client, const char *pattern)
{
	const char *line = hear(client);

	ck_assert_msg(fnmatch(pattern, line, 0) == 0, "heard \"%s\", expected \"%s\"", line,
		      pattern);
	return line;
}

void expect_silence(struct client *client, int ms)
{
	bool eof;

	if (client->len == 0)
		client_read(client, ms, &eof);
	ck_assert_msg(client->len == 0, "heard \"%.*s\", expected nothing", (int)client->len,
		      client->bytes);
}

void expect_eof(struct client *client)
{
	bool eof;

	ck_assert_msg(client->len == 0, "heard \"%.*s\", expected the end", (int)client->len,
		      client->bytes);
	ck_assert_msg(!client_read(client, HARNESS_WAIT_MS, &eof), "heard \"%.*s\", not the end",
		      (int)client->len, client->bytes);
	ck_assert_msg(eof, "the connection stays open");
}

char *acquire(struct client *client, const char *format, ...)
{
	const char *reply;
	va_list args;
	char *words;

	va_start(args, format);
	ck_assert_int_ge(vasprintf(&words, format, args), 0);
	va_end(args);
	say(client, "ACQUIRE %s", words);
	free(words);
	reply = expect(client, "OK * ttl=*");
	return strndup(reply + 3, strcspn(reply + 3, " "));
}
