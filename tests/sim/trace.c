/* SPDX-License-Identifier: MIT */
/* What happened last, kept cheaply and put into words only when somebody wants to read it. */
#include "config.h"

#include "world.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int64_t trace_tag(const char *string)
{
	int64_t tag = 0;

	memcpy(&tag, string, strnlen(string, 6));
	return tag;
}

static void print(const struct trace_entry *entry)
{
	const int64_t *arg = entry->args;

	printf("%8" PRIu64 " %11.3f ms  ", entry->step, (double)entry->at_us / 1000);
	for (const char *p = entry->format; *p; p++) {
		char tag[9] = "";

		if (*p != '%') {
			putchar(*p);
			continue;
		}
		switch (*++p) {
		case 'd':
			printf("%" PRId64, *arg++);
			break;
		case 's':
			fputs(*arg ? (const char *)(intptr_t)*arg : "-", stdout);
			arg++;
			break;
		case 't':
			memcpy(tag, arg++, 8);
			fputs(*tag ? tag : "-", stdout);
			break;
		default:
			abort();
		}
	}
	putchar('\n');
}

void trace_note(struct world *world, const char *format, int64_t a, int64_t b, int64_t c, int64_t d,
		int64_t e)
{
	struct trace_entry *entry = &world->trace[world->n_trace++ % TRACE_SIZE];

	*entry = (struct trace_entry){world->step, world->now_us, format, {a, b, c, d, e}};
	if (world->verbose)
		print(entry);
}

void trace_dump(struct world *world)
{
	uint64_t n = world->n_trace;

	if (world->verbose)
		return;
	for (uint64_t i = n > TRACE_SIZE ? n - TRACE_SIZE : 0; i < n; i++)
		print(&world->trace[i % TRACE_SIZE]);
}

void world_fail(struct world *world, const char *format, ...)
{
	va_list args;

	trace_dump(world);
	printf("FAIL seed %" PRIu64 " step %" PRIu64 " at %.3f ms: ", world->seed, world->step,
	       (double)world->now_us / 1000);
	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	printf("\nagain: tests/sim/sim --seed %" PRIu64 " --steps %" PRIu64, world->seed,
	       world->steps);
	if (world->traits.n_nodes)
		printf(" --nodes %d", world->traits.n_nodes);
	puts(" --trace");
	fflush(stdout);
	_Exit(1);
}
