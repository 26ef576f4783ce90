/* SPDX-License-Identifier: MIT */
/* A real redis-server of a test's own. */
#include "config.h"

#include "redis_server.h"

#include <arpa/inet.h>
#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <hiredis/hiredis.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { START_ATTEMPTS = 5, START_TIMEOUT_MS = 20000, ASK_TIMEOUT_S = 10 };

/* Of all that speak the protocol, those that are packaged where the tests run. */
const char *const redis_server_programs[] = {"redis-server", "valkey-server", NULL};

static const char *chosen;

static bool is_installed(const char *program)
{
	const char *path = getenv("PATH");
	char *copy = strdup(path ? path : "/usr/bin:/bin"), *rest = copy, *dir;
	bool found = strchr(program, '/') && access(program, X_OK) == 0;

	while (!found && (dir = strsep(&rest, ":"))) {
		char file[4096];

		snprintf(file, sizeof(file), "%s/%s", dir, program);
		found = access(file, X_OK) == 0;
	}
	free(copy);
	return found;
}

bool redis_server_choose(const char *program)
{
	chosen = is_installed(program) ? program : NULL;
	return chosen;
}

bool redis_server_is_given(void)
{
	return getenv("REDIS_SERVER");
}

bool redis_server_installed(void)
{
	if (!chosen && redis_server_is_given())
		return redis_server_choose(getenv("REDIS_SERVER"));
	for (size_t i = 0; !chosen && redis_server_programs[i]; i++)
		redis_server_choose(redis_server_programs[i]);
	return chosen;
}

static int free_port(void)
{
	struct sockaddr_in address = {.sin_family = AF_INET};
	socklen_t len = sizeof(address);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&address, len), 0);
	ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&address, &len), 0);
	close(fd);
	return ntohs(address.sin_port);
}

static void server_exec(const struct redis_server *server, pid_t parent)
{
	char port[8];
	const char *argv[REDIS_SERVER_ARGS + 32];
	size_t n = 0;
	int null;

	/* Before the look at the parent: one that has died meanwhile sends no signal. */
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != parent)
		_exit(127);
	snprintf(port, sizeof(port), "%d", server->port);
	argv[n++] = chosen;
	if (*server->config) {
		argv[n++] = server->config;
		argv[n++] = "--sentinel";
	}
	if (server->tls) {
		argv[n++] = "--port";
		argv[n++] = "0";
		argv[n++] = "--tls-port";
	} else {
		argv[n++] = "--port";
	}
	argv[n++] = port;
	argv[n++] = "--bind";
	argv[n++] = "127.0.0.1";
	argv[n++] = "--unixsocket";
	argv[n++] = server->path;
	argv[n++] = "--dir";
	argv[n++] = server->dir;
	argv[n++] = "--save";
	argv[n++] = "";
	for (size_t i = 0; i < REDIS_SERVER_ARGS && server->args[i]; i++)
		argv[n++] = server->args[i];
	argv[n] = NULL;
	null = open("/dev/null", O_RDWR);
	dup2(null, STDIN_FILENO);
	dup2(null, STDOUT_FILENO);
	execvp(argv[0], (char **)argv);
	_exit(127);
}

/* Return: whether it ended, by itself or by our signal. */
static bool server_reap(struct redis_server *server, bool wait_for_it)
{
	pid_t pid = waitpid(server->pid, NULL, wait_for_it ? 0 : WNOHANG);

	if (pid == 0)
		return false;
	server->pid = 0;
	return true;
}

/* Return: whether it answers; false when it has ended instead (somebody took the port). */
static bool server_await(struct redis_server *server)
{
	for (int waited_ms = 0; waited_ms < START_TIMEOUT_MS; waited_ms += 5) {
		redisContext *context = redisConnectUnix(server->path);
		redisReply *reply = NULL;
		bool loading = false;

		if (context && !context->err)
			reply = redisCommand(context, "PING");
		if (reply)
			loading = reply->type == REDIS_REPLY_ERROR &&
				  strncmp(reply->str, "LOADING", 7) == 0;
		if (context)
			redisFree(context);
		if (reply) {
			freeReplyObject(reply);
			if (!loading)
				return true;
		}
		if (server_reap(server, false))
			return false;
		poll(NULL, 0, 5);
	}
	ck_abort_msg("redis-server does not answer");
	return false;
}

static bool server_run(struct redis_server *server)
{
	pid_t parent = getpid();

	server->pid = fork();
	ck_assert_int_ge(server->pid, 0);
	if (server->pid == 0)
		server_exec(server, parent);
	return server_await(server);
}

static void server_make_folder(struct redis_server *server)
{
	ck_assert_msg(redis_server_installed(), "there is no redis-server");
	*server = (struct redis_server){.dir = "/tmp/redmutexd-redis-XXXXXX"};
	ck_assert_ptr_nonnull(mkdtemp(server->dir));
	snprintf(server->path, sizeof(server->path), "%s/sock", server->dir);
	snprintf(server->unix_url, sizeof(server->unix_url), "unix://%s", server->path);
}

static void server_start(struct redis_server *server, bool tcp)
{
	/* Whoever else looks for a free port may find the same one: then try another. */
	for (int attempt = 0; attempt < START_ATTEMPTS; attempt++) {
		server->port = tcp ? free_port() : 0;
		if (server_run(server)) {
			if (tcp)
				snprintf(server->tcp_url, sizeof(server->tcp_url),
					 "redis://127.0.0.1:%d", server->port);
			return;
		}
	}
	ck_abort_msg("redis-server does not start");
}

static void server_start_with(struct redis_server *server, bool tcp, const char *const *args)
{
	for (size_t i = 0; args && args[i]; i++) {
		ck_assert_uint_lt(i, REDIS_SERVER_ARGS);
		server->args[i] = strdup(args[i]);
	}
	server_start(server, tcp);
}

void redis_server_start(struct redis_server *server, bool tcp, const char *const *args)
{
	server_make_folder(server);
	server_start_with(server, tcp, args);
}

void redis_server_start_tls(struct redis_server *server, const char *const *args)
{
	server_make_folder(server);
	server->tls = true;
	server_start_with(server, true, args);
}

void redis_server_start_sentinel(struct redis_server *server, bool tls, const char *const *args)
{
	int fd;

	server_make_folder(server);
	server->tls = tls;
	/* A sentinel will not go without a file to keep its state in. */
	snprintf(server->config, sizeof(server->config), "%s/sentinel.conf", server->dir);
	fd = open(server->config, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	ck_assert_int_ge(fd, 0);
	close(fd);
	server_start_with(server, true, args);
}

void redis_server_hang_up(struct redis_server *server)
{
	if (server->context)
		redisFree(server->context);
	server->context = NULL;
}

void redis_server_kill(struct redis_server *server)
{
	redis_server_hang_up(server);
	if (server->pid) {
		kill(server->pid, SIGKILL);
		server_reap(server, true);
	}
}

static void remove_folder(const char *path)
{
	DIR *dir = opendir(path);
	struct dirent *file;

	while (dir && (file = readdir(dir))) {
		if (strcmp(file->d_name, ".") != 0 && strcmp(file->d_name, "..") != 0)
			unlinkat(dirfd(dir), file->d_name, 0);
	}
	if (dir)
		closedir(dir);
	rmdir(path);
}

void redis_server_stop(struct redis_server *server)
{
	redis_server_kill(server);
	remove_folder(server->dir);
	for (size_t i = 0; i < REDIS_SERVER_ARGS; i++)
		free(server->args[i]);
	*server = (struct redis_server){0};
}

void redis_server_restart(struct redis_server *server)
{
	redis_server_kill(server);
	/* What the killed one left in the folder would be taken for an answer. */
	unlink(server->path);
	ck_assert_msg(server_run(server), "redis-server does not start again");
}

void redis_server_pause(struct redis_server *server)
{
	int status;

	ck_assert_int_eq(kill(server->pid, SIGSTOP), 0);
	/* The signal is on its way only: wait until it has been obeyed. */
	ck_assert_int_eq(waitpid(server->pid, &status, WUNTRACED), server->pid);
	ck_assert(WIFSTOPPED(status));
}

void redis_server_resume(struct redis_server *server)
{
	ck_assert_int_eq(kill(server->pid, SIGCONT), 0);
}

/* ------------------------------------------------------------------ asking */

/* Return: NULL when the connection is cut, or nothing comes. */
static redisReply *server_command(struct redis_server *server, const char *format, va_list ap)
{
	if (!server->context || server->context->err) {
		struct timeval timeout = {.tv_sec = ASK_TIMEOUT_S};

		redis_server_hang_up(server);
		server->context = redisConnectUnix(server->path);
		ck_assert(server->context && !server->context->err);
		redisSetTimeout(server->context, timeout);
	}
	return redisvCommand(server->context, format, ap);
}

static void print_reply(FILE *out, const redisReply *reply)
{
	switch (reply->type) {
	case REDIS_REPLY_NIL:
		fputs("(nil)", out);
		break;
	case REDIS_REPLY_INTEGER:
		fprintf(out, "%lld", reply->integer);
		break;
	case REDIS_REPLY_ARRAY:
		for (size_t i = 0; i < reply->elements; i++) {
			if (i > 0)
				fputc(' ', out);
			print_reply(out, reply->element[i]);
		}
		break;
	case REDIS_REPLY_ERROR:
		fputs("(error) ", out);
		/* fall through */
	default:
		fwrite(reply->str, 1, (size_t)reply->len, out);
		break;
	}
}

/* Takes the reply over. */
static const char *reply_text(redisReply *reply)
{
	static char *text;
	size_t size;
	FILE *out;

	free(text);
	out = open_memstream(&text, &size);
	print_reply(out, reply);
	fclose(out);
	freeReplyObject(reply);
	return text;
}

const char *redis_server_ask(struct redis_server *server, const char *format, ...)
{
	va_list ap;
	redisReply *reply;

	va_start(ap, format);
	reply = server_command(server, format, ap);
	va_end(ap);
	ck_assert_msg(reply != NULL, "redis-server did not answer '%s'", format);
	return reply_text(reply);
}

const char *redis_server_try(struct redis_server *server, const char *format, ...)
{
	va_list ap;
	redisReply *reply;

	va_start(ap, format);
	reply = server_command(server, format, ap);
	va_end(ap);
	return reply ? reply_text(reply) : NULL;
}

int64_t redis_server_ask_integer(struct redis_server *server, const char *format, ...)
{
	va_list ap;
	redisReply *reply;
	int64_t integer;

	va_start(ap, format);
	reply = server_command(server, format, ap);
	va_end(ap);
	ck_assert_msg(reply != NULL, "redis-server did not answer '%s'", format);
	ck_assert_msg(reply->type == REDIS_REPLY_INTEGER, "'%s' did not answer an integer: %s",
		      format, reply->str ? reply->str : "");
	integer = reply->integer;
	freeReplyObject(reply);
	return integer;
}
