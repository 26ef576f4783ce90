/* SPDX-License-Identifier: MIT */
/*
 * Several threads share one connection. A counter that is not atomic is right in the end only if
 * the lock keeps them apart.
 *
 *	threads MUTEX
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include <client/redmutex.h> /* installed: <redmutex.h> */

enum { THREADS = 8, TURNS = 200 };

static redmutex_t *rm;
static const char *name;
static volatile long counter;
static int64_t highest_fence;

static void *work(void *arg)
{
	struct redmutex_acquire_options options = REDMUTEX_ACQUIRE_OPTIONS_INIT;
	int *failed = arg;

	options.wait_ms = REDMUTEX_FOREVER;
	for (int i = 0; i < TURNS; i++) {
		struct redmutex_lock lock = REDMUTEX_LOCK_INIT;

		if (redmutex_acquire(rm, name, &options, &lock) < 0) {
			fprintf(stderr, "acquire: %s\n", redmutex_error_text(rm));
			(*failed)++;
			break;
		}
		counter = counter + 1;
		*failed += lock.fence <= highest_fence;
		highest_fence = lock.fence;
		/* Every other one does not wait: it goes out with the next request. */
		if ((i % 2 ? redmutex_release : redmutex_release_nowait)(rm, name, lock.lock) < 0)
			(*failed)++;
	}
	/* A release that waits for another request must not keep the others waiting. */
	redmutex_flush(rm);
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_t threads[THREADS];
	int failed[THREADS] = {0}, failures = 0;

	if (argc != 2 || redmutex_connect(&rm, NULL, NULL) < 0) {
		fprintf(stderr, "%s\n", argc != 2 ? "which mutex?" : redmutex_error_text(NULL));
		return EXIT_FAILURE;
	}
	name = argv[1];
	for (int i = 0; i < THREADS; i++)
		if (pthread_create(&threads[i], NULL, work, &failed[i]) != 0)
			return EXIT_FAILURE;
	for (int i = 0; i < THREADS; i++) {
		pthread_join(threads[i], NULL);
		failures += failed[i];
	}
	redmutex_close(rm);
	printf("%ld of %d\n", counter, THREADS * TURNS);
	return counter == THREADS * TURNS && failures == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
