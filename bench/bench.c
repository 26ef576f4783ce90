/* SPDX-License-Identifier: MIT */
/* The common part of the load generators. */
#include "config.h"

#include "bench/bench.h"

#include <getopt.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

static pthread_barrier_t ready;
static atomic_bool over;
static _Atomic(const struct bench_thread *) last_holder;
static bench_fn *run;

void bench_die(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	exit(1);
}

uint64_t bench_now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

void bench_go(void)
{
	pthread_barrier_wait(&ready);
}

bool bench_goes_on(void)
{
	return !atomic_load_explicit(&over, memory_order_relaxed);
}

static unsigned bucket_of(uint64_t ns)
{
	unsigned power, bucket;

	if (ns < BENCH_SUB_BUCKETS)
		return (unsigned)ns;
	power = 63 - (unsigned)__builtin_clzll(ns); /* at least 5 */
	bucket =
		(power - 4) * BENCH_SUB_BUCKETS + (unsigned)(ns >> (power - 5)) - BENCH_SUB_BUCKETS;
	return bucket < BENCH_BUCKETS ? bucket : BENCH_BUCKETS - 1;
}

/* The least number of nanoseconds that falls into a bucket. */
static uint64_t bucket_ns(unsigned bucket)
{
	unsigned power = bucket / BENCH_SUB_BUCKETS;

	if (power == 0)
		return bucket;
	return (uint64_t)(BENCH_SUB_BUCKETS + bucket % BENCH_SUB_BUCKETS) << (power - 1);
}

void bench_count(struct bench_thread *thread, uint64_t begin_ns)
{
	/* Who gets it again at once has not been passed it. */
	if (thread->options->one && atomic_exchange(&last_holder, thread) == thread)
		return;
	thread->pairs++;
	thread->buckets[bucket_of(bench_now_ns() - begin_ns)]++;
}

static double quantile_us(const uint64_t *buckets, uint64_t n, double quantile)
{
	uint64_t seen = 0, wanted = (uint64_t)((double)n * quantile);

	for (unsigned i = 0; i < BENCH_BUCKETS; i++) {
		seen += buckets[i];
		if (seen > wanted)
			return (double)bucket_ns(i) / 1e3;
	}
	return 0;
}

/* Jain's index of fairness: 1 when all have had as much, 1/n when one has had it all. */
static double fairness(const struct bench_thread *threads, unsigned n)
{
	double sum = 0, squares = 0;

	for (unsigned i = 0; i < n; i++) {
		sum += (double)threads[i].pairs;
		squares += (double)threads[i].pairs * (double)threads[i].pairs;
	}
	return squares > 0 ? sum * sum / (n * squares) : 0;
}

static void *thread_main(void *arg)
{
	run(arg);
	return NULL;
}

static void usage(const char *name)
{
	fprintf(stderr,
		"usage: %s -s SOCKET [-n PREFIX] [-c CLIENTS] [-T THREADS] [-d SECONDS] [-f] "
		"[-a] [-o]\n",
		name);
	exit(64);
}

static void options_parse(struct bench_options *options, int argc, char **argv)
{
	int c;

	while ((c = getopt(argc, argv, "s:n:c:T:d:fao")) != -1) {
		switch (c) {
		case 's':
			options->socket = optarg;
			break;
		case 'n':
			options->prefix = optarg;
			break;
		case 'c':
			options->clients = (unsigned)strtoul(optarg, NULL, 10);
			break;
		case 'T':
			options->threads = (unsigned)strtoul(optarg, NULL, 10);
			break;
		case 'd':
			options->seconds = strtod(optarg, NULL);
			break;
		case 'f':
			options->fence = true;
			break;
		case 'a':
			options->ahead = true;
			break;
		case 'o':
			options->one = true;
			break;
		default:
			usage(argv[0]);
		}
	}
	if (!options->threads || options->threads > options->clients)
		options->threads = options->clients;
	if (optind != argc || !options->socket || !options->clients || !(options->seconds > 0))
		usage(argv[0]);
}

int bench_main(int argc, char **argv, bench_fn *fn)
{
	struct bench_options options = {.prefix = "bench", .clients = 1, .seconds = 2};
	static uint64_t buckets[BENCH_BUCKETS];
	struct bench_thread *threads;
	struct timespec pause;
	uint64_t begin, pairs = 0;
	struct rusage usage_end;
	pthread_attr_t attr;
	pthread_t *ids;
	double seconds, cpu;

	options_parse(&options, argc, argv);
	run = fn;
	threads = calloc(options.threads, sizeof(*threads));
	ids = calloc(options.threads, sizeof(*ids));
	if (!threads || !ids)
		bench_die("out of memory");
	pthread_barrier_init(&ready, NULL, options.threads + 1);
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, 256 * 1024);
	for (unsigned i = 0, first = 0; i < options.threads; i++) {
		struct bench_thread *thread = &threads[i];

		thread->options = &options;
		thread->first = first;
		thread->n = options.clients / options.threads +
			    (i < options.clients % options.threads ? 1 : 0);
		first += thread->n;
		if (pthread_create(&ids[i], &attr, thread_main, thread))
			bench_die("cannot start thread %u", i);
	}
	bench_go();
	begin = bench_now_ns();
	pause.tv_sec = (time_t)options.seconds;
	pause.tv_nsec = (long)((options.seconds - (double)pause.tv_sec) * 1e9);
	nanosleep(&pause, NULL);
	atomic_store(&over, true);
	seconds = (double)(bench_now_ns() - begin) / 1e9;
	for (unsigned i = 0; i < options.threads; i++) {
		pthread_join(ids[i], NULL);
		pairs += threads[i].pairs;
		for (unsigned j = 0; j < BENCH_BUCKETS; j++)
			buckets[j] += threads[i].buckets[j];
	}
	getrusage(RUSAGE_SELF, &usage_end);
	cpu = (double)(usage_end.ru_utime.tv_sec + usage_end.ru_stime.tv_sec) * 1e6 +
	      (double)(usage_end.ru_utime.tv_usec + usage_end.ru_stime.tv_usec);
	printf("pairs=%llu per_second=%.0f p50_us=%.1f p99_us=%.1f own_cpu_us=%.2f "
	       "jain=%.4f\n",
	       (unsigned long long)pairs, (double)pairs / seconds, quantile_us(buckets, pairs, 0.5),
	       quantile_us(buckets, pairs, 0.99), pairs ? cpu / (double)pairs : 0,
	       fairness(threads, options.threads));
	free(threads);
	free(ids);
	pthread_attr_destroy(&attr);
	pthread_barrier_destroy(&ready);
	return pairs ? 0 : 1;
}
