/* SPDX-License-Identifier: MIT */
#ifndef REDMUTEXD_CORE_CLOCK_H
#define REDMUTEXD_CORE_CLOCK_H
/*
 * What the core needs to know of time and chance. The daemon gives it CLOCK_BOOTTIME and
 * getrandom(2); the tests give it a clock that they turn by hand and a seeded generator.
 */
#include <stddef.h>
#include <stdint.h>

/* Never: a deadline that does not come. */
#define CLOCK_NEVER INT64_MAX

struct clock {
	/* Microseconds since an arbitrary start; never goes back, goes on through a suspend. */
	int64_t (*now_us)(struct clock *clock);
};

struct entropy {
	/* Fills buf with unguessable bytes. Cannot fail. */
	void (*fill)(struct entropy *entropy, void *buf, size_t size);
};

/* The earlier of two moments, or the shorter of two spans; and the other way round. */
static inline int64_t min_us(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

static inline int64_t max_us(int64_t a, int64_t b)
{
	return a > b ? a : b;
}

static inline int64_t clock_now_us(struct clock *clock)
{
	return clock->now_us(clock);
}

#endif
