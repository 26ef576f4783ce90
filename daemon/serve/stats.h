/* SPDX-License-Identifier: MIT */
#ifndef REDMUTEXD_SERVE_STATS_H
#define REDMUTEXD_SERVE_STATS_H
/* What the daemon counts, named once: for STATS, and for the metrics. */
#include <stddef.h>
#include <stdint.h>

struct server;
struct server_store;

enum stats_type { STATS_COUNTER, STATS_GAUGE, STATS_HISTOGRAM };

enum { STATS_BUCKETS_MAX = 24 };

/* How long something took, so far; the buckets are those of util/histogram.h. */
struct stats_histogram {
	size_t n_buckets;
	uint64_t buckets[STATS_BUCKETS_MAX]; /* not cumulated */
	uint64_t sum_us;
};

/*
 * Numbers with one name, which a label tells apart: there are `n` for its values 0 to n - 1. The
 * base units are seconds and bytes; counters, and nothing else, end in _total.
 */
struct stats_metric {
	const char *name;
	const char *help; /* one line without a backslash */
	enum stats_type type;
	unsigned n;
	const char *label;		     /* NULL if there is only one */
	const char *(*word)(unsigned value); /* of the label */
	/* `store` is NULL except for the numbers of a store. One of these two, by the type. */
	double (*get)(struct server *server, const struct server_store *store, unsigned value);
	void (*add)(struct server *server, const struct server_store *store,
		    struct stats_histogram *histogram);
	int of_store; /* there is one for each store, with its name as the label */
};

extern const struct stats_metric stats_metrics[];
extern const size_t n_stats_metrics;

/* A turn of the loop, in which nobody else was heard, has taken so long. */
void stats_count_turn(struct server *server, int64_t us);

/* Told of one number: its name with its labels, as Prometheus writes it, without a space. */
typedef void stats_fn(void *arg, const char *name, const char *value);

/* Looks at what is counted only when somebody asks. Before stats_walk_metric(). */
void stats_look(struct server *server);
/* All numbers of one metric. Return: how many. */
size_t stats_walk_metric(struct server *server, const struct stats_metric *metric, stats_fn *tell,
			 void *arg);
/* All numbers of all of them, in their order, looked at anew. Return: how many. */
size_t stats_walk(struct server *server, stats_fn *tell, void *arg);

#endif
