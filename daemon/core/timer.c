/* SPDX-License-Identifier: MIT */
/* A binary heap of embedded timers; place 0 is left empty so that a parent is at place / 2. */
#include "config.h"

#include "core/timer.h"

#include <assert.h>
#include <stdlib.h>

#include "util/alloc.h"

void timers_init(struct timers *timers)
{
	*timers = (struct timers){0};
}

void timers_deinit(struct timers *timers)
{
	assert(timers->n == 0);
	free(timers->heap);
	timers_init(timers);
}

void timer_init(struct timer *timer, timer_fn *fire)
{
	*timer = (struct timer){.fire = fire, .due_us = CLOCK_NEVER};
}

static void put(struct timers *timers, size_t place, struct timer *timer)
{
	timers->heap[place] = timer;
	timer->place = place;
}

static void sift_up(struct timers *timers, struct timer *timer, size_t place)
{
	while (place > 1 && timers->heap[place / 2]->due_us > timer->due_us) {
		put(timers, place, timers->heap[place / 2]);
		place /= 2;
	}
	put(timers, place, timer);
}

static void sift_down(struct timers *timers, struct timer *timer, size_t place)
{
	size_t child;

	while ((child = 2 * place) <= timers->n) {
		if (child < timers->n &&
		    timers->heap[child + 1]->due_us < timers->heap[child]->due_us)
			child++;
		if (timers->heap[child]->due_us >= timer->due_us)
			break;
		put(timers, place, timers->heap[child]);
		place = child;
	}
	put(timers, place, timer);
}

void timer_stop(struct timers *timers, struct timer *timer)
{
	size_t place = timer->place;
	struct timer *last;

	timer->due_us = CLOCK_NEVER;
	if (!place)
		return;
	timer->place = 0;
	last = timers->heap[timers->n--];
	if (last == timer)
		return;
	if (place > 1 && timers->heap[place / 2]->due_us > last->due_us)
		sift_up(timers, last, place);
	else
		sift_down(timers, last, place);
}

void timer_set(struct timers *timers, struct timer *timer, int64_t due_us)
{
	if (due_us == CLOCK_NEVER) {
		timer_stop(timers, timer);
		return;
	}
	if (timer->place) {
		int64_t was_us = timer->due_us;

		timer->due_us = due_us;
		if (due_us < was_us)
			sift_up(timers, timer, timer->place);
		else if (due_us > was_us)
			sift_down(timers, timer, timer->place);
		return;
	}
	if (timers->n + 1 >= timers->size) {
		timers->size = timers->size ? 2 * timers->size : 64;
		timers->heap = xrealloc(timers->heap, timers->size, sizeof(*timers->heap));
	}
	timer->due_us = due_us;
	timers->n++;
	sift_up(timers, timer, timers->n);
}

int64_t timers_next_us(const struct timers *timers)
{
	return timers->n ? timers->heap[1]->due_us : CLOCK_NEVER;
}

void timers_run(struct timers *timers, int64_t now_us)
{
	while (timers->n && timers->heap[1]->due_us <= now_us) {
		struct timer *timer = timers->heap[1];

		timer_stop(timers, timer);
		timer->fire(timer);
	}
}
