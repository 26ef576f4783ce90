/* SPDX-License-Identifier: MIT */
/* The table of what is counted, and how it is told. */
#include "config.h"

#include "serve/stats.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "core/table.h"
#include "serve/server_private.h"
#include "util/histogram.h"

#define SECOND_US 1e6

/* ------------------------------------------------------------------ where the numbers are */

/* A getter for a number that lies in a struct. */
#define GETTER(function, expression)                                                               \
	static double function(struct server *server, const struct server_store *store,            \
			       unsigned value)                                                     \
	{                                                                                          \
		(void)server, (void)store, (void)value;                                            \
		return (double)(expression);                                                       \
	}

GETTER(get_uptime, (server_now_us(server) - server->stats.started_us) / SECOND_US)
GETTER(get_clients, server->n_sessions)
GETTER(get_clients_accepted, server->stats.clients_accepted)
GETTER(get_clients_refused, server->stats.clients_refused)
GETTER(get_clients_dropped, server->stats.clients_dropped)
GETTER(get_requests, server->stats.requests[value])
GETTER(get_errors, server->stats.errors[value + 1])
GETTER(get_turns, server->stats.turns)
GETTER(get_reloads, server->stats.reloads)
GETTER(get_upgrades, server->stats.upgrades)
GETTER(get_grants, table_stats(server->table)->grants)
GETTER(get_passes, table_stats(server->table)->passes)
GETTER(get_releases, table_stats(server->table)->releases)
/* Why an ACQUIRE may not get its lock. */
static const enum outcome refusals[] = {
	OUTCOME_ALREADY_LOCKED, OUTCOME_UNAVAILABLE,   OUTCOME_LIMIT,
	OUTCOME_CANCELLED,	OUTCOME_UNKNOWN_MUTEX, OUTCOME_SHUTTING_DOWN,
};
enum { N_REFUSALS = sizeof(refusals) / sizeof(*refusals) };

GETTER(get_refused, table_stats(server->table)->refused[refusals[value]])
GETTER(get_lost, table_stats(server->table)->lost[value])
GETTER(get_renewals, table_stats(server->table)->renewals)
GETTER(get_checks, table_stats(server->table)->checks)
GETTER(get_settled, table_stats(server->table)->settled)
GETTER(get_store_commands, store->store->stats.commands)
GETTER(get_store_replies, store->store->stats.replies)
GETTER(get_store_errors, store->store->stats.errors)
GETTER(get_store_timeouts, store->store->stats.timeouts)
GETTER(get_store_connects, store->store->stats.connects)
GETTER(get_store_disconnects, store->store->stats.disconnects)

GETTER(get_store_connections, store->store->stats.connects - store->store->stats.disconnects)
GETTER(get_mutexes, server->stats.mutexes)
GETTER(get_held, server->stats.held)
GETTER(get_waiters, server->stats.waiters)
GETTER(get_longest_queue, server->stats.longest_queue)
GETTER(get_one, 1)

/* Bytes of the process that are in memory; see proc(5). 0: it can't be told. */
static double get_resident_memory(struct server *server, const struct server_store *store,
				  unsigned value)
{
	FILE *file = fopen("/proc/self/statm", "re");
	unsigned long pages = 0;

	(void)server, (void)store, (void)value;
	if (!file)
		return 0;
	if (fscanf(file, "%*u %lu", &pages) != 1)
		pages = 0;
	fclose(file);
	return (double)pages * (double)sysconf(_SC_PAGESIZE);
}

static double get_cpu(struct server *server, const struct server_store *store, unsigned value)
{
	struct rusage usage;

	(void)server, (void)store, (void)value;
	if (getrusage(RUSAGE_SELF, &usage) < 0)
		return 0;
	return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
	       (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / SECOND_US;
}

/* ------------------------------------------------------------------ how long things took */

static void histogram_add(struct stats_histogram *histogram, const uint64_t *buckets,
			  size_t n_buckets, uint64_t sum_us)
{
	assert(n_buckets <= STATS_BUCKETS_MAX);
	histogram->n_buckets = n_buckets;
	histogram->sum_us += sum_us;
	for (size_t i = 0; i < n_buckets; i++)
		histogram->buckets[i] += buckets[i];
}

/* Adds a histogram that lies in a struct. */
#define ADDER(function, from, of, sum)                                                             \
	static void function(struct server *server, const struct server_store *store,              \
			     struct stats_histogram *histogram)                                    \
	{                                                                                          \
		(void)server, (void)store;                                                         \
		histogram_add(histogram, (from)->of, sizeof((from)->of) / sizeof(*(from)->of),     \
			      (from)->sum);                                                        \
	}

ADDER(add_waits, table_stats(server->table), wait_buckets, wait_us_sum)
ADDER(add_holds, table_stats(server->table), hold_buckets, hold_us_sum)
ADDER(add_turns, &server->stats, turn_buckets, turn_us_sum)
ADDER(add_latencies, &store->store->stats, latency_buckets, latency_us_sum)

void stats_count_turn(struct server *server, int64_t us)
{
	struct server_stats *stats = &server->stats;
	const size_t n_buckets = sizeof(stats->turn_buckets) / sizeof(*stats->turn_buckets);

	stats->turn_buckets[histogram_bucket(us, n_buckets)]++;
	stats->turn_us_sum += (uint64_t)us;
}

/* ------------------------------------------------------------------ looking */

void stats_look(struct server *server)
{
	struct server_stats *stats = &server->stats;
	struct table_cursor cursor;
	struct mutex *mutex;

	stats->mutexes = stats->held = stats->waiters = stats->longest_queue = 0;
	table_cursor_open(server->table, &cursor);
	while ((mutex = table_cursor_next(&cursor))) {
		unsigned waiters = mutex_n_waiters(mutex);

		stats->mutexes++;
		stats->held += mutex_lock(mutex) != NULL;
		stats->waiters += waiters;
		if (waiters > stats->longest_queue)
			stats->longest_queue = waiters;
	}
	table_cursor_close(&cursor);
}

/* ------------------------------------------------------------------ words of labels */

static const char *verb_label(unsigned value)
{
	return verb_word((enum verb)value);
}

static const char *error_label(unsigned value)
{
	return proto_error_word((enum proto_error)(value + 1));
}

static const char *refusal_label(unsigned value)
{
	switch (refusals[value]) {
	case OUTCOME_UNAVAILABLE:
		return "unavailable";
	case OUTCOME_LIMIT:
		return "limit";
	case OUTCOME_CANCELLED:
		return "cancelled";
	case OUTCOME_UNKNOWN_MUTEX:
		return "unknown_mutex";
	case OUTCOME_SHUTTING_DOWN:
		return "shutting_down";
	default:
		return "already_locked";
	}
}

static const char *version_label(unsigned value)
{
	(void)value;
	return PACKAGE_VERSION;
}

static const char *lost_label(unsigned value)
{
	static const char *const words[] = {
		[LOST_EXPIRED] = "expired",	    [LOST_REPLACED] = "replaced",
		[LOST_UNAVAILABLE] = "unavailable", [LOST_BROKEN] = "broken",
		[LOST_SHUTDOWN] = "shutdown",
	};

	return words[value];
}

/* ------------------------------------------------------------------ the table */

/* A number, one for each value of a label, and one for each store. */
#define ONE(a_name, a_type, a_getter, a_help)                                                      \
	{                                                                                          \
		.name = (a_name), .type = STATS_##a_type, .n = 1, .get = (a_getter),               \
		.help = (a_help)                                                                   \
	}
#define EACH(a_name, a_type, a_count, a_label, a_word, a_getter, a_help)                           \
	{                                                                                          \
		.name = (a_name), .type = STATS_##a_type, .n = (a_count), .label = (a_label),      \
		.word = (a_word), .get = (a_getter), .help = (a_help)                              \
	}
#define STORE(a_name, a_type, a_getter, a_help)                                                    \
	{                                                                                          \
		.name = (a_name), .type = STATS_##a_type, .n = 1, .of_store = 1,                   \
		.get = (a_getter), .help = (a_help)                                                \
	}
/* How long something took: here, and in each store. */
#define TIME(a_name, a_adder, a_help)                                                              \
	{                                                                                          \
		.name = (a_name), .type = STATS_HISTOGRAM, .n = 1, .add = (a_adder),               \
		.help = (a_help)                                                                   \
	}
#define STORE_TIME(a_name, a_adder, a_help)                                                        \
	{                                                                                          \
		.name = (a_name), .type = STATS_HISTOGRAM, .n = 1, .of_store = 1,                  \
		.add = (a_adder), .help = (a_help)                                                 \
	}

const struct stats_metric stats_metrics[] = {
	EACH("redmutexd_build_info", GAUGE, 1, "version", version_label, get_one,
	     "The version of the daemon; always 1."),
	ONE("redmutexd_uptime_seconds", GAUGE, get_uptime, "Time since the daemon started."),
	ONE("redmutexd_clients", GAUGE, get_clients, "Connections that are open."),
	ONE("redmutexd_clients_accepted_total", COUNTER, get_clients_accepted,
	    "Connections that were taken."),
	ONE("redmutexd_clients_refused_total", COUNTER, get_clients_refused,
	    "Connections that were closed at once because of a limit."),
	ONE("redmutexd_clients_dropped_total", COUNTER, get_clients_dropped,
	    "Connections that were closed because their client did not read."),
	EACH("redmutexd_requests_total", COUNTER, N_VERBS, "verb", verb_label, get_requests,
	     "Requests by verb."),
	EACH("redmutexd_errors_total", COUNTER, N_PROTO_ERRORS - 1, "code", error_label, get_errors,
	     "ERR replies by code."),
	ONE("redmutexd_mutexes", GAUGE, get_mutexes, "Mutexes that are configured or in use."),
	ONE("redmutexd_held", GAUGE, get_held, "Locks that are held through this daemon."),
	ONE("redmutexd_waiters", GAUGE, get_waiters, "Requests that wait for a lock."),
	ONE("redmutexd_longest_queue", GAUGE, get_longest_queue,
	    "Requests that wait for the mutex for which most do."),
	ONE("redmutexd_grants_total", COUNTER, get_grants, "Locks that were granted."),
	ONE("redmutexd_passes_total", COUNTER, get_passes,
	    "Of these, passed on from one local holder to the next."),
	ONE("redmutexd_releases_total", COUNTER, get_releases, "Locks that their holders let go."),
	EACH("redmutexd_refused_total", COUNTER, N_REFUSALS, "reason", refusal_label, get_refused,
	     "Requests for a lock that did not get it, by reason."),
	EACH("redmutexd_lost_total", COUNTER, LOST_SHUTDOWN + 1, "reason", lost_label, get_lost,
	     "Locks that were lost, by reason."),
	ONE("redmutexd_renewals_total", COUNTER, get_renewals, "Commands that prolonged a lease."),
	ONE("redmutexd_checks_total", COUNTER, get_checks,
	    "Commands that compared a held lock with its store."),
	ONE("redmutexd_settled_total", COUNTER, get_settled,
	    "Commands whose fate was unknown and became known."),
	TIME("redmutexd_wait_seconds", add_waits, "How long granted locks were waited for."),
	TIME("redmutexd_hold_seconds", add_holds, "How long locks were held."),
	TIME("redmutexd_loop_lag_seconds", add_turns,
	     "How long a turn of the event loop kept everybody else waiting."),
	ONE("redmutexd_turns_total", COUNTER, get_turns, "Turns of the event loop."),
	ONE("redmutexd_reloads_total", COUNTER, get_reloads,
	    "Configurations that were read again."),
	ONE("redmutexd_upgrades_total", COUNTER, get_upgrades,
	    "Times that the program was replaced while it ran."),
	STORE("redmutexd_store_commands_total", COUNTER, get_store_commands,
	      "Commands that were written to the store."),
	STORE("redmutexd_store_replies_total", COUNTER, get_store_replies, "Answers that came."),
	STORE("redmutexd_store_errors_total", COUNTER, get_store_errors,
	      "Answers that were refusals."),
	STORE("redmutexd_store_timeouts_total", COUNTER, get_store_timeouts,
	      "Answers that did not come in time."),
	STORE("redmutexd_store_connects_total", COUNTER, get_store_connects,
	      "Connections that became usable."),
	STORE("redmutexd_store_disconnects_total", COUNTER, get_store_disconnects,
	      "Usable connections that ended."),
	STORE("redmutexd_store_connections", GAUGE, get_store_connections,
	      "Connections that are usable."),
	STORE_TIME("redmutexd_store_latency_seconds", add_latencies,
		   "How long the store took to answer."),
	ONE("process_resident_memory_bytes", GAUGE, get_resident_memory,
	    "Memory that the daemon has."),
	ONE("process_cpu_seconds_total", COUNTER, get_cpu, "Processor time that it used."),
};
const size_t n_stats_metrics = sizeof(stats_metrics) / sizeof(*stats_metrics);

/* ------------------------------------------------------------------ telling */

/* Bytes of a label's value; longer ones are told apart by a number at their end. */
enum { WORD_MAX = 400, WORD_SIZE = 2 * WORD_MAX + 16, LABELS_SIZE = WORD_SIZE + 80 };

/* A number that is the same for the same text: FNV-1a, 32 bits. */
static uint32_t text_hash(const char *text)
{
	uint32_t hash = 2166136261u;

	for (; *text; text++)
		hash = (hash ^ (unsigned char)*text) * 16777619u;
	return hash;
}

/*
 * A label's value as Prometheus writes it, except that spaces, and what can't be printed, become
 * commas: STATS tells words. Several urls of one store are told as such a list.
 */
static void word_escape(const char *text, char out[WORD_SIZE])
{
	size_t n = 0;

	for (size_t i = 0; i < WORD_MAX && text[i]; i++) {
		if (text[i] == '"' || text[i] == '\\')
			out[n++] = '\\';
		out[n++] = text[i] > ' ' && text[i] < 127 ? text[i] : ',';
	}
	out[n] = '\0';
	if (strlen(text) > WORD_MAX)
		snprintf(out + n, WORD_SIZE - n, "...#%08x", (unsigned)text_hash(text));
}

/* A walk through the numbers of one metric. */
struct teller {
	const struct stats_metric *metric;
	stats_fn *tell;
	void *arg;
	size_t n; /* told so far */
};

static void tell_number(struct teller *teller, const char *suffix, const char *labels,
			double number)
{
	char name[LABELS_SIZE + 128], value[64];

	snprintf(name, sizeof(name), *labels ? "%s%s{%s}" : "%s%s%s", teller->metric->name, suffix,
		 labels);
	if (number == (double)(int64_t)number)
		snprintf(value, sizeof(value), "%.0f", number);
	else
		snprintf(value, sizeof(value), "%.6f", number);
	teller->tell(teller->arg, name, value);
	teller->n++;
}

/* @label: the one that all have; empty: none */
static void tell_histogram(struct teller *teller, const char *label,
			   const struct stats_histogram *histogram)
{
	char labels[LABELS_SIZE];
	uint64_t n = 0;

	for (size_t i = 0; i < histogram->n_buckets; i++) {
		n += histogram->buckets[i];
		if (i + 1 < histogram->n_buckets)
			snprintf(labels, sizeof(labels), "%s%sle=\"%.6f\"", label,
				 *label ? "," : "", (double)histogram_limit_us(i) / SECOND_US);
		else
			snprintf(labels, sizeof(labels), "%s%sle=\"+Inf\"", label,
				 *label ? "," : "");
		tell_number(teller, "_bucket", labels, (double)n);
	}
	tell_number(teller, "_sum", label, (double)histogram->sum_us / SECOND_US);
	tell_number(teller, "_count", label, (double)n);
}

static bool same_name(const struct server_store *a, const struct server_store *b)
{
	return strcmp(a->store->name, b->store->name) == 0;
}

/*
 * The numbers of all stores with that url: sections that reach it in different ways have one each,
 * but no two numbers may have the same labels. Nothing unless this is the first of them.
 */
static void tell_store(struct teller *teller, struct server *server, struct server_store *first)
{
	const struct stats_metric *metric = teller->metric;
	struct stats_histogram histogram = {0};
	char word[WORD_SIZE], label[LABELS_SIZE];
	struct server_store *store;
	double number = 0;

	LIST_FOREACH (store, &server->stores, entry) {
		if (same_name(store, first))
			break;
	}
	if (store != first)
		return;
	for (; store; store = LIST_NEXT(store, entry)) {
		if (!same_name(store, first))
			continue;
		if (metric->type == STATS_HISTOGRAM)
			metric->add(server, store, &histogram);
		else
			number += metric->get(server, store, 0);
	}
	word_escape(first->store->name, word);
	snprintf(label, sizeof(label), "store=\"%s\"", word);
	if (metric->type == STATS_HISTOGRAM)
		tell_histogram(teller, label, &histogram);
	else
		tell_number(teller, "", label, number);
}

size_t stats_walk_metric(struct server *server, const struct stats_metric *metric, stats_fn *tell,
			 void *arg)
{
	struct teller teller = {metric, tell, arg, 0};
	char word[WORD_SIZE], label[LABELS_SIZE] = "";
	struct server_store *store;

	if (metric->of_store) {
		LIST_FOREACH (store, &server->stores, entry)
			tell_store(&teller, server, store);
		return teller.n;
	}
	if (metric->type == STATS_HISTOGRAM) {
		struct stats_histogram histogram = {0};

		metric->add(server, NULL, &histogram);
		tell_histogram(&teller, label, &histogram);
		return teller.n;
	}
	for (unsigned value = 0; value < metric->n; value++) {
		if (metric->label) {
			word_escape(metric->word(value), word);
			snprintf(label, sizeof(label), "%s=\"%s\"", metric->label, word);
		}
		tell_number(&teller, "", label, metric->get(server, NULL, value));
	}
	return teller.n;
}

size_t stats_walk(struct server *server, stats_fn *tell, void *arg)
{
	size_t n = 0;

	stats_look(server);
	for (size_t i = 0; i < n_stats_metrics; i++)
		n += stats_walk_metric(server, &stats_metrics[i], tell, arg);
	return n;
}
