/* SPDX-License-Identifier: MIT */
#ifndef REDMUTEXD_CORE_TIMER_H
#define REDMUTEXD_CORE_TIMER_H
/*
 * Deadlines in order: a binary heap of timers that are embedded in what they belong to. Setting
 * and stopping cost O(log n), looking at the first costs nothing.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/clock.h"

struct timer;
typedef void timer_fn(struct timer *timer);

struct timer {
	timer_fn *fire;
	int64_t due_us; /* CLOCK_NEVER: not set */
	size_t place;	/* in the heap, from 1; 0: not in it */
};

struct timers {
	struct timer **heap; /* [1..n] */
	size_t n, size;
};

void timers_init(struct timers *timers);
void timers_deinit(struct timers *timers); /* asserts that none is set */

void timer_init(struct timer *timer, timer_fn *fire);
/* Sets, moves, or with CLOCK_NEVER stops it. Dies when memory is out: the heap grows by doubling.
 */
void timer_set(struct timers *timers, struct timer *timer, int64_t due_us);
void timer_stop(struct timers *timers, struct timer *timer);

/* When the first is due, or CLOCK_NEVER. */
int64_t timers_next_us(const struct timers *timers);

/*
 * timers_run - fire all that are due at now_us, earliest first
 *
 * A timer is stopped before it is fired; fire() may set, stop or free any timer, its own too.
 */
void timers_run(struct timers *timers, int64_t now_us);

#endif
