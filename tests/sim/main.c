/* SPDX-License-Identifier: MIT */
/* sim: lives through seeded worlds until a promise is broken, or enough steps were taken. */
#include "config.h"

#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "core/fault.h"
#include "world.h"

enum core_fault core_fault_on = CORE_FAULT_none;

static const struct {
	const char *name, *text;
} faults[] = {
	{"none", "nothing is done wrong"},
#define FAULT(name, text) {#name, text},
#include "core/faults.def"
#undef FAULT
};

static struct world world;

/* An assertion of the core, a crash, an endless loop: all say where they happened. */
static void crashed(int number)
{
	signal(SIGABRT, SIG_DFL);
	world_fail(&world, "%s",
		   number == SIGPROF ? "one world takes for ever" : strsignal(number));
}

static void usage(FILE *to)
{
	fputs("usage: sim [--seed N | --seeds A-B] [--steps N] [--minutes N] [--fault NAME]\n"
	      "           [--nodes N] [--trace] [--list-faults]\n"
	      "  --seed N       live through one world\n"
	      "  --seeds A-B    live through these (default 1-400)\n"
	      "  --steps N      the length of each before it is to come to rest (default 10000)\n"
	      "  --minutes N    from the first seed on for so long\n"
	      "  --fault NAME   with a deliberate mistake, which must be noticed\n"
	      "  --nodes N      with a quorum of 3 or 5 servers instead of one\n"
	      "  --trace        tell everything that happens\n",
	      to);
}

static uint64_t number(const char *text)
{
	char *end;
	uint64_t n = strtoull(text, &end, 10);

	if (end == text || (*end && *end != '-')) {
		usage(stderr);
		exit(64);
	}
	return n;
}

static void set_fault(const char *name)
{
	for (size_t i = 0; i < N_CORE_FAULTS; i++) {
		if (!strcmp(faults[i].name, name)) {
			core_fault_on = (enum core_fault)i;
			return;
		}
	}
	fprintf(stderr, "sim: no such fault: %s\n", name);
	exit(64);
}

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{"seed", required_argument, NULL, 's'},	 {"seeds", required_argument, NULL, 'S'},
		{"steps", required_argument, NULL, 'n'}, {"minutes", required_argument, NULL, 'm'},
		{"fault", required_argument, NULL, 'f'}, {"nodes", required_argument, NULL, 'N'},
		{"trace", no_argument, NULL, 't'},	 {"list-faults", no_argument, NULL, 'l'},
		{"help", no_argument, NULL, 'h'},	 {0},
	};
	uint64_t from = 1, to = 400, steps = 10000, taken = 0, worlds = 0;
	uint64_t grants = 0, refused = 0, lost = 0, unavailable = 0, commands = 0;
	double minutes = 0, start = now(), took;
	int option, nodes = 0;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (option) {
		case 's':
			from = to = number(optarg);
			break;
		case 'S':
			from = number(optarg);
			to = strchr(optarg, '-') ? number(strchr(optarg, '-') + 1) : from;
			break;
		case 'n':
			steps = number(optarg);
			break;
		case 'm':
			minutes = atof(optarg);
			to = UINT64_MAX;
			break;
		case 'f':
			set_fault(optarg);
			break;
		case 'N':
			nodes = (int)number(optarg);
			if (nodes != 3 && nodes != MAX_NODES) {
				usage(stderr);
				return 64;
			}
			break;
		case 't':
			world.verbose = true;
			break;
		case 'l':
			for (size_t i = 1; i < N_CORE_FAULTS; i++)
				printf("%-24s %s\n", faults[i].name, faults[i].text);
			return 0;
		case 'h':
			usage(stdout);
			return 0;
		default:
			usage(stderr);
			return 64;
		}
	}
	signal(SIGABRT, crashed);
	signal(SIGSEGV, crashed);
	signal(SIGPROF, crashed);
	for (uint64_t seed = from; seed <= to; seed++) {
		/* Of its own time: the process may be stopped for a while. */
		setitimer(ITIMER_PROF, &(struct itimerval){.it_value = {.tv_sec = 60}}, NULL);
		taken += world_run(&world, seed, steps, nodes);
		worlds++;
		grants += world.n_grants;
		refused += world.n_refused;
		lost += world.n_lost;
		unavailable += world.n_unavailable;
		commands += world.n_commands;
		if (minutes > 0 && now() - start > minutes * 60)
			break;
	}
	took = now() - start;
	printf("%" PRIu64 " worlds, %" PRIu64 " steps in %.1f s (%.2f M/s): %" PRIu64
	       " grants, %" PRIu64 " refusals, %" PRIu64 " lost, %" PRIu64 " unavailable, %" PRIu64
	       " commands\n",
	       worlds, taken, took, (double)taken / 1e6 / took, grants, refused, lost, unavailable,
	       commands);
	free(world.queue.heap);
	return 0;
}
