/* SPDX-License-Identifier: MIT */
/*
 * The shortest way: a function that runs while a lock is held.
 *
 *	synchronize MUTEX
 */
#include <stdio.h>
#include <stdlib.h>

#include <client/redmutex.h> /* installed: <redmutex.h> */

static int body(redmutex_t *rm, const struct redmutex_lock *lock, void *arg)
{
	int64_t left_ms;

	for (int step = 1; step <= 3; step++) {
		if (redmutex_check(rm, lock->lock, &left_ms) < 0 || left_ms == 0)
			return -1; /* stop: somebody else may be at it */
		printf("%s: step %d\n", (const char *)arg, step);
	}
	return 0;
}

int main(int argc, char **argv)
{
	struct redmutex_acquire_options options = REDMUTEX_ACQUIRE_OPTIONS_INIT;
	int error, outcome = -1;
	redmutex_t *rm;

	if (argc != 2 || redmutex_connect(&rm, NULL, NULL) < 0) {
		fprintf(stderr, "%s\n", argc != 2 ? "which mutex?" : redmutex_error_text(NULL));
		return EXIT_FAILURE;
	}
	options.wait_ms = 5000;
	options.note = "synchronize example";
	error = redmutex_synchronize(rm, argv[1], &options, body, argv[1], &outcome);
	if (error < 0)
		fprintf(stderr, "%s: %s\n", argv[1], redmutex_strerror(error));
	redmutex_close(rm);
	return error < 0 || outcome < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
