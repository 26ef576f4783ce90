/* SPDX-License-Identifier: MIT */
/*
 * An order is worked on under a lock of its own, in steps, and none is begun once the lock is lost.
 *
 *	cc order.c $(pkg-config --cflags --libs redmutex) -o order
 *	./order order-42
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <redmutex.h>

/* What this program knows of its lock. */
struct order {
	struct redmutex_lock lock;
	int lost;
};

/* Called inside calls of the library, such as redmutex_check(). */
static void on_lost(redmutex_t *rm, const struct redmutex_event *event, void *arg)
{
	struct order *order = (struct order *)arg;

	(void)rm;
	order->lost = strcmp(event->lock, order->lock.lock) == 0;
	fprintf(stderr, "%s: the lock was lost: %s\n", event->name, event->reason);
}

/* One step. What it writes should carry the fence, and its target refuse smaller ones. */
static void work(const char *step, const struct redmutex_lock *lock, int64_t left_ms)
{
	printf("%s under fence %lld, %s\n", step, (long long)lock->fence,
	       left_ms > 1000 ? "with time left" : "in a hurry");
}

int main(int argc, char **argv)
{
	static const char *const steps[] = {"pack", "charge", "ship"};
	struct redmutex_acquire_options options = REDMUTEX_ACQUIRE_OPTIONS_INIT;
	struct redmutex_lock none = REDMUTEX_LOCK_INIT;
	struct order order = {none, 0};
	const char *name = argc > 1 ? argv[1] : "order-42";
	redmutex_t *rm;
	int64_t left_ms;
	int error;

	error = redmutex_connect(&rm, NULL, NULL);
	if (error < 0) {
		fprintf(stderr, "%s\n", redmutex_error_text(NULL));
		return redmutex_exit_status(error);
	}
	redmutex_on_lost(rm, on_lost, &order);

	options.wait_ms = 5000; /* in the queue, first come, first served */
	options.ttl_ms = 30000; /* the lease */
	options.renew = REDMUTEX_RENEW_YES;
	options.note = "works on an order";
	error = redmutex_acquire(rm, name, &options, &order.lock);
	if (error < 0) {
		fprintf(stderr, "%s: %s\n", name, redmutex_error_text(rm));
		redmutex_close(rm);
		return redmutex_exit_status(error);
	}

	for (size_t i = 0; i < sizeof(steps) / sizeof(*steps); i++) {
		/* Reads what the daemon has said meanwhile; never blocks. */
		error = redmutex_check(rm, order.lock.lock, &left_ms);
		if (error < 0 || order.lost)
			break;
		work(steps[i], &order.lock, left_ms);
	}

	if (error == 0 && !order.lost)
		error = redmutex_release(rm, name, order.lock.lock);
	redmutex_close(rm); /* would release it too, and so does the end of the process */
	if (error < 0)
		fprintf(stderr, "%s: %s\n", name, redmutex_strerror(error));
	return error < 0 || order.lost ? EXIT_FAILURE : EXIT_SUCCESS;
}
