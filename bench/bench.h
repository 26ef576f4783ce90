/* SPDX-License-Identifier: MIT */
#ifndef REDMUTEXD_BENCH_H
#define REDMUTEXD_BENCH_H
/*
 * What both load generators share: the command line, the threads, the measuring. A client is a loop
 * that acquires a lock that nobody else wants (or, with -o, that all want), waits for the answer,
 * releases it, waits for the answer, and starts anew.
 */
#include <stdbool.h>
#include <stdint.h>

struct bench_options {
	const char *socket; /* of the daemon, or of Redis */
	const char *prefix; /* client i locks PREFIX-i */
	unsigned clients;
	unsigned threads; /* that the clients are spread over; as many: each blocks by itself */
	double seconds;
	bool fence; /* bench_direct: get a fence as well; the daemon is configured to */
	bool one;   /* all clients want the same lock, and wait for it */
	bool ahead; /* release and the next acquire in one write, and wait for both answers */
};

enum {
	BENCH_SUB_BUCKETS = 32, /* a power of two of nanoseconds, so buckets are 3 % wide */
	BENCH_BUCKETS = 40 * BENCH_SUB_BUCKETS,
};

/* One thread of the load. */
struct bench_thread {
	const struct bench_options *options;
	unsigned first, n; /* its clients */
	uint64_t pairs;	   /* done while the time ran; with -o those after another thread's */
	uint64_t buckets[BENCH_BUCKETS];
};

/* Connects what it needs, then bench_go(), then works while bench_goes_on(). */
typedef void bench_fn(struct bench_thread *thread);

/*
 * bench_main - read the command line, run the threads, print the result in one line
 *
 * Return: the exit status of the process.
 */
int bench_main(int argc, char **argv, bench_fn *run);

/* Waits until all threads are ready. */
void bench_go(void);
bool bench_goes_on(void);

uint64_t bench_now_ns(void);
/* A pair is done that was begun at begin_ns. */
void bench_count(struct bench_thread *thread, uint64_t begin_ns);

/* Prints why, and ends the process with 1. */
void bench_die(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));

#endif
