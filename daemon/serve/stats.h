/* SPDX-License-Identifier: MIT */
#ifndef REDMUTEXD_SERVE_STATS_H
#define REDMUTEXD_SERVE_STATS_H
/* What the daemon counts, named once: for STATS, and for whoever else wants to tell. */
#include <stddef.h>
#include <stdint.h>

struct server;
struct server_store;

enum stats_type { STATS_COUNTER, STATS_GAUGE };

/* Numbers with one name, which a label tells apart: there are `n` for its values 0 to n - 1. */
struct stats_metric {
	const char *name;
	const char *help;
	enum stats_type type;
	unsigned n;
	const char *label;		     /* NULL if there is only one */
	const char *(*word)(unsigned value); /* of the label */
	/* `store` is NULL except for the numbers of a store. */
	double (*get)(struct server *server, const struct server_store *store, unsigned value);
	int of_store; /* there is one for each store, with its name as the label */
};

extern const struct stats_metric stats_metrics[];
extern const size_t n_stats_metrics;

/* Told of one number: its name with its labels, as Prometheus writes it, without a space. */
typedef void stats_fn(void *arg, const char *name, const char *value);

/* All numbers of one metric, or of all in their order. Return: how many. */
size_t stats_walk_metric(struct server *server, const struct stats_metric *metric, stats_fn *tell,
			 void *arg);
size_t stats_walk(struct server *server, stats_fn *tell, void *arg);

#endif
