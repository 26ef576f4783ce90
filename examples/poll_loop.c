/* SPDX-License-Identifier: MIT */
/*
 * A program with a poll(2) loop of its own: it asks for a lock, goes on with other work while it
 * waits for it, and keeps an eye on it while it works under it.
 *
 *	poll_loop MUTEX
 */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <client/redmutex.h> /* installed: <redmutex.h> */

struct work {
	struct redmutex_lock lock;
	int granted, lost, failed;
	int steps_left;
};

static void on_acquired(redmutex_t *rm, const struct redmutex_result *result, void *arg)
{
	struct work *work = arg;

	(void)rm;
	if (result->error < 0) {
		fprintf(stderr, "acquire: %s\n",
			result->text[0] ? result->text : redmutex_strerror(result->error));
		work->failed = 1;
		return;
	}
	work->lock = *result->lock;
	work->granted = 1;
	printf("acquired\n");
}

static void on_lost(redmutex_t *rm, const struct redmutex_event *event, void *arg)
{
	struct work *work = arg;

	(void)rm;
	fprintf(stderr, "the lock of %s is lost: %s\n", event->name, event->reason);
	work->lost = 1;
}

int main(int argc, char **argv)
{
	struct redmutex_acquire_options options = REDMUTEX_ACQUIRE_OPTIONS_INIT;
	struct work work = {.lock = REDMUTEX_LOCK_INIT, .steps_left = 5};
	redmutex_t *rm;

	if (argc != 2 || redmutex_connect(&rm, NULL, NULL) < 0) {
		fprintf(stderr, "%s\n", argc != 2 ? "which mutex?" : redmutex_error_text(NULL));
		return EXIT_FAILURE;
	}
	options.wait_ms = REDMUTEX_FOREVER;
	redmutex_on_lost(rm, on_lost, &work);
	if (redmutex_acquire_async(rm, argv[1], &options, on_acquired, &work, NULL) < 0)
		return EXIT_FAILURE;

	while (work.steps_left > 0 && !work.lost && !work.failed) {
		/* Ask each time: what to poll for depends on what there is to send. */
		struct pollfd poll_fd = {.fd = redmutex_fd(rm),
					 .events = (short)redmutex_events(rm)};
		/* While the lock is held there is a step of work to do at each timeout. */
		int n = poll(&poll_fd, 1, work.granted ? 10 : -1);

		if (n > 0 && redmutex_dispatch(rm) < 0)
			break;
		if (n == 0 && redmutex_check(rm, work.lock.lock, NULL) == 0)
			printf("step %d\n", work.steps_left--);
	}
	if (work.granted && !work.lost && redmutex_release(rm, argv[1], work.lock.lock) < 0)
		work.failed = 1;
	redmutex_close(rm);
	return work.steps_left > 0 || work.failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
