/* SPDX-License-Identifier: MIT */
/* The queue of events: a binary heap by time, and by lot among those of one moment. */
#include "config.h"

#include "world.h"

#include "util/alloc.h"

static bool before(const struct event *a, const struct event *b)
{
	return a->at_us < b->at_us || (a->at_us == b->at_us && a->order < b->order);
}

static void put(struct event_queue *queue, size_t index, struct event *event)
{
	queue->heap[index] = event;
	event->index = index;
}

static void rise(struct event_queue *queue, size_t index, struct event *event)
{
	while (index > 1 && before(event, queue->heap[index / 2])) {
		put(queue, index, queue->heap[index / 2]);
		index /= 2;
	}
	put(queue, index, event);
}

static void sink(struct event_queue *queue, size_t index, struct event *event)
{
	for (;;) {
		size_t child = 2 * index;

		if (child > queue->n)
			break;
		if (child < queue->n && before(queue->heap[child + 1], queue->heap[child]))
			child++;
		if (!before(queue->heap[child], event))
			break;
		put(queue, index, queue->heap[child]);
		index = child;
	}
	put(queue, index, event);
}

static void take(struct event_queue *queue, struct event *event)
{
	size_t index = event->index;
	struct event *last = queue->heap[queue->n--];

	event->place = EVENT_NOWHERE;
	if (last == event)
		return;
	if (index > 1 && before(last, queue->heap[index / 2]))
		rise(queue, index, last);
	else
		sink(queue, index, last);
}

void event_set(struct world *world, struct event *event, int64_t at_us)
{
	struct event_queue *queue = &world->queue;

	event_cancel(world, event);
	event->at_us = at_us < world->now_us ? world->now_us : at_us;
	event->order = random_next(&world->random);
	event->place = EVENT_QUEUED;
	if (queue->n + 1 >= queue->size) {
		queue->size = queue->size ? 2 * queue->size : 256;
		queue->heap = xrealloc(queue->heap, queue->size, sizeof(*queue->heap));
	}
	queue->n++;
	rise(queue, queue->n, event);
}

void event_cancel(struct world *world, struct event *event)
{
	if (event->place == EVENT_QUEUED)
		take(&world->queue, event);
	else if (event->place == EVENT_INBOX)
		TAILQ_REMOVE(&event->daemon->inbox, event, entry);
	event->place = EVENT_NOWHERE;
}

struct event *event_pop(struct world *world)
{
	struct event *event;

	if (!world->queue.n)
		return NULL;
	event = world->queue.heap[1];
	take(&world->queue, event);
	return event;
}
