/* SPDX-License-Identifier: MIT */
/* A daemon that follows a script. */
#include "config.h"

#include "client_script.h"

#include <check.h>
#include <fnmatch.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { TAGS = 16, PATIENCE_MS = 5000 };

/* One connection of the script's. */
struct state {
	struct script *script;
	int fd;
	char in[1 << 16];
	size_t in_len;
	char tags[TAGS][64]; /* the last ones first */
};

static void script_fail(struct state *state, const char *step, const char *what)
{
	if (state->script->failure[0] == '\0')
		snprintf(state->script->failure, sizeof(state->script->failure), "at \"%s\": %s",
			 step, what);
}

static void send_bytes(struct state *state, const char *bytes, size_t len)
{
	while (len > 0) {
		ssize_t n = send(state->fd, bytes, len, MSG_NOSIGNAL);

		if (n <= 0)
			return;
		bytes += n;
		len -= (size_t)n;
	}
}

/* Return: bytes read, 0 at the end, -1 when nothing comes. */
static ssize_t read_more(struct state *state)
{
	struct pollfd poll_fd = {.fd = state->fd, .events = POLLIN};
	ssize_t n;

	if (poll(&poll_fd, 1, PATIENCE_MS) <= 0)
		return -1;
	n = recv(state->fd, state->in + state->in_len, sizeof(state->in) - state->in_len, 0);
	if (n > 0) {
		state->in_len += (size_t)n;
		state->script->reads++;
	}
	return n < 0 ? 0 : n;
}

/* Takes one request off what was read. Return: false when there is none. */
static bool take_line(struct state *state, char *line, size_t size)
{
	char *lf = memchr(state->in, '\n', state->in_len);
	size_t len;

	if (lf == NULL)
		return false;
	len = (size_t)(lf - state->in);
	snprintf(line, size, "%.*s", (int)len, state->in);
	state->in_len -= len + 1;
	memmove(state->in, lf + 1, state->in_len);
	return true;
}

/* Notes a request's tag, and takes it off. Return: the rest. */
static char *take_tag(struct state *state, char *line)
{
	char *space = strchr(line, ' ');

	memmove(state->tags[1], state->tags[0], sizeof(state->tags[0]) * (TAGS - 1));
	state->tags[0][0] = '\0';
	if (line[0] != '@' || space == NULL)
		return line;
	*space = '\0';
	snprintf(state->tags[0], sizeof(state->tags[0]), "%.60s", line);
	return space + 1;
}

static void expect(struct state *state, const char *step)
{
	char line[2048], what[256], *request;

	for (;;) {
		while (!take_line(state, line, sizeof(line))) {
			if (read_more(state) <= 0) {
				script_fail(state, step, "no request came");
				return;
			}
		}
		if (strcmp(line, "@hello HELLO protocol=1") != 0 || strstr(step, "HELLO") != NULL)
			break;
		send_bytes(state, "@hello OK redmutexd version=0 protocol=1 pid=1\n", 47);
	}
	request = take_tag(state, line);
	if (fnmatch(step, request, 0) != 0) {
		snprintf(what, sizeof(what), "the request was \"%.200s\"", request);
		script_fail(state, step, what);
	}
}

/* Sends a line, with its tags filled in. */
static void answer(struct state *state, const char *step)
{
	char out[8192];
	size_t len = 0;

	for (; *step != '\0'; step++) {
		if (step[0] == '$' && step[1] >= '1' && step[1] <= '9') {
			len += (size_t)sprintf(out + len, "%s", state->tags[step[1] - '1']);
			step++;
		} else {
			out[len++] = *step;
		}
	}
	out[len++] = '\n';
	send_bytes(state, out, len);
}

static void next_connection(struct state *state, const char *step)
{
	struct pollfd poll_fd = {.fd = state->script->listen_fd, .events = POLLIN};

	if (state->fd >= 0)
		close(state->fd);
	state->fd = -1;
	state->in_len = 0;
	if (poll(&poll_fd, 1, PATIENCE_MS) > 0)
		state->fd = accept(state->script->listen_fd, NULL, NULL);
	if (state->fd < 0)
		script_fail(state, step, "nobody connected");
}

static void wait_for_go(struct state *state, const char *step)
{
	struct pollfd poll_fd = {.fd = state->script->go[0], .events = POLLIN};
	char byte;

	if (poll(&poll_fd, 1, PATIENCE_MS) <= 0 || read(state->script->go[0], &byte, 1) != 1)
		script_fail(state, step, "the test did not say go");
}

static void *follow(void *arg)
{
	struct script *script = arg;
	struct state *state = calloc(1, sizeof(*state));

	state->script = script;
	state->fd = -1;
	next_connection(state, "start");
	for (const char *const *step = script->steps; *step != NULL && script->failure[0] == '\0';
	     step++) {
		if (strncmp(*step, "< ", 2) == 0) {
			expect(state, *step + 2);
		} else if (strncmp(*step, "> ", 2) == 0) {
			answer(state, *step + 2);
		} else if (strncmp(*step, ">> ", 3) == 0) {
			send_bytes(state, *step + 3, strlen(*step + 3));
		} else if (strcmp(*step, "+") == 0) {
			next_connection(state, *step);
		} else if (strcmp(*step, "|") == 0) {
			wait_for_go(state, *step);
		} else if (strcmp(*step, "SLEEP") == 0) {
			poll(NULL, 0, 100);
		} else if (strcmp(*step, ".") == 0) {
			close(state->fd);
			state->fd = -1;
		} else if (strcmp(*step, "EOF") == 0) {
			ssize_t n;

			while ((n = read_more(state)) > 0)
				state->in_len = 0;
			if (n < 0)
				script_fail(state, *step, "the connection stayed open");
		} else {
			script_fail(state, *step, "there is no such step");
		}
	}
	if (state->fd >= 0)
		close(state->fd);
	free(state);
	return NULL;
}

void script_start(struct script *script, const char *const *steps)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	*script = (struct script){.steps = steps};
	strcpy(script->folder, "/tmp/redmutex-script-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(script->folder));
	snprintf(script->path, sizeof(script->path), "%s/sock", script->folder);
	strcpy(address.sun_path, script->path);
	script->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ck_assert_int_ge(script->listen_fd, 0);
	ck_assert_int_eq(bind(script->listen_fd, (struct sockaddr *)&address, sizeof(address)), 0);
	ck_assert_int_eq(listen(script->listen_fd, 16), 0);
	ck_assert_int_eq(pipe(script->go), 0);
	ck_assert_int_eq(pthread_create(&script->thread, NULL, follow, script), 0);
}

void script_go(struct script *script)
{
	ck_assert_int_eq(write(script->go[1], "", 1), 1);
}

void script_end(struct script *script)
{
	pthread_join(script->thread, NULL);
	close(script->listen_fd);
	close(script->go[0]);
	close(script->go[1]);
	unlink(script->path);
	rmdir(script->folder);
	ck_assert_msg(script->failure[0] == '\0', "%s", script->failure);
}
