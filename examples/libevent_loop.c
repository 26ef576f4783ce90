/* SPDX-License-Identifier: MIT */
/*
 * The same in libevent: many mutexes are acquired at once over one connection.
 *
 *	libevent_loop MUTEX...
 */
#include <event2/event.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

#include <client/redmutex.h> /* installed: <redmutex.h> */

struct program {
	struct event_base *base;
	struct event *event;
	redmutex_t *rm;
	int open, failed;
};

static void on_ready(evutil_socket_t fd, short events, void *arg);

/* What to wait for changes with what there is to send. */
static void watch(struct program *program)
{
	int events = redmutex_events(program->rm);

	if (events < 0 || program->open == 0) {
		event_base_loopbreak(program->base);
		return;
	}
	event_del(program->event);
	event_assign(program->event, program->base, redmutex_fd(program->rm),
		     (short)(EV_READ | (events & POLLOUT ? EV_WRITE : 0)), on_ready, program);
	event_add(program->event, NULL);
}

static void on_ready(evutil_socket_t fd, short events, void *arg)
{
	struct program *program = arg;

	(void)fd;
	(void)events;
	redmutex_dispatch(program->rm);
	watch(program);
}

static void on_released(redmutex_t *rm, const struct redmutex_result *result, void *arg)
{
	struct program *program = arg;

	(void)rm;
	program->failed += result->error < 0;
	program->open--;
}

static void on_acquired(redmutex_t *rm, const struct redmutex_result *result, void *arg)
{
	struct program *program = arg;

	if (result->error < 0) {
		fprintf(stderr, "%s: %s\n", result->name, redmutex_strerror(result->error));
		program->failed++;
		program->open--;
		return;
	}
	printf("%s: fence %lld\n", result->name, (long long)result->lock->fence);
	if (redmutex_release_async(rm, result->name, result->lock->lock, on_released, program,
				   NULL) < 0) {
		program->failed++;
		program->open--;
	}
}

int main(int argc, char **argv)
{
	struct redmutex_acquire_options options = REDMUTEX_ACQUIRE_OPTIONS_INIT;
	struct program program = {.base = event_base_new()};

	if (program.base == NULL || redmutex_connect(&program.rm, NULL, NULL) < 0) {
		fprintf(stderr, "%s\n", redmutex_error_text(NULL));
		return EXIT_FAILURE;
	}
	program.event =
		event_new(program.base, redmutex_fd(program.rm), EV_READ, on_ready, &program);
	options.wait_ms = 5000;
	for (int i = 1; i < argc; i++)
		if (redmutex_acquire_async(program.rm, argv[i], &options, on_acquired, &program,
					   NULL) == 0)
			program.open++;
	watch(&program);
	event_base_dispatch(program.base);
	program.failed += program.open;
	redmutex_close(program.rm);
	event_free(program.event);
	event_base_free(program.base);
	return program.failed > 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
