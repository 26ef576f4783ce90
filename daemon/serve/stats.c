/* SPDX-License-Identifier: MIT */
/* The table of what is counted, and how it is told. */
#include "config.h"

#include "serve/stats.h"

#include <stdio.h>

#include "core/table.h"
#include "serve/server_private.h"

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
GETTER(get_grants, table_stats(server->table)->grants)
GETTER(get_passes, table_stats(server->table)->passes)
GETTER(get_releases, table_stats(server->table)->releases)
GETTER(get_refused, table_stats(server->table)->refused[value])
GETTER(get_lost, table_stats(server->table)->lost[value])
GETTER(get_renewals, table_stats(server->table)->renewals)
GETTER(get_checks, table_stats(server->table)->checks)
GETTER(get_settled, table_stats(server->table)->settled)
GETTER(get_wait_sum, (double)table_stats(server->table)->wait_us_sum / SECOND_US)
GETTER(get_hold_sum, (double)table_stats(server->table)->hold_us_sum / SECOND_US)
GETTER(get_store_commands, store->store->stats.commands)
GETTER(get_store_replies, store->store->stats.replies)
GETTER(get_store_errors, store->store->stats.errors)
GETTER(get_store_timeouts, store->store->stats.timeouts)
GETTER(get_store_connects, store->store->stats.connects)
GETTER(get_store_disconnects, store->store->stats.disconnects)
GETTER(get_store_latency_sum, (double)store->store->stats.latency_us_sum / SECOND_US)

enum { COUNT_MUTEXES, COUNT_HELD, COUNT_WAITERS };

static double count_mutexes(struct server *server, int what)
{
	struct table_cursor cursor;
	struct mutex *mutex;
	double n = 0;

	table_cursor_open(server->table, &cursor);
	while ((mutex = table_cursor_next(&cursor))) {
		if (what == COUNT_WAITERS)
			n += mutex_n_waiters(mutex);
		else
			n += what == COUNT_MUTEXES || mutex_lock(mutex);
	}
	table_cursor_close(&cursor);
	return n;
}

GETTER(get_mutexes, count_mutexes(server, COUNT_MUTEXES))
GETTER(get_held, count_mutexes(server, COUNT_HELD))
GETTER(get_waiters, count_mutexes(server, COUNT_WAITERS))

/* ------------------------------------------------------------------ words of labels */

static const char *verb_label(unsigned value)
{
	return verb_word((enum verb)value);
}

static const char *error_label(unsigned value)
{
	return proto_error_word((enum proto_error)(value + 1));
}

static const char *outcome_label(unsigned value)
{
	static const char *const words[] = {
		[OUTCOME_OK] = "ok",
		[OUTCOME_ALREADY_LOCKED] = "already_locked",
		[OUTCOME_UNLOCK_FAIL] = "unlock_fail",
		[OUTCOME_UNAVAILABLE] = "unavailable",
		[OUTCOME_LIMIT] = "limit",
		[OUTCOME_CANCELLED] = "cancelled",
		[OUTCOME_UNKNOWN_MUTEX] = "unknown_mutex",
		[OUTCOME_SHUTTING_DOWN] = "shutting_down",
	};

	return words[value];
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

#define ONE(name, type, get, help)                                                                 \
	{                                                                                          \
		"redmutexd_" name, help, type, 1, NULL, NULL, get, 0                               \
	}
#define EACH(name, type, n, label, word, get, help)                                                \
	{                                                                                          \
		"redmutexd_" name, help, type, n, label, word, get, 0                              \
	}
#define STORE(name, type, get, help)                                                               \
	{                                                                                          \
		"redmutexd_store_" name, help, type, 1, NULL, NULL, get, 1                         \
	}

const struct stats_metric stats_metrics[] = {
	ONE("uptime_seconds", STATS_GAUGE, get_uptime, "Time since the daemon started."),
	ONE("clients", STATS_GAUGE, get_clients, "Connections that are open."),
	ONE("clients_accepted_total", STATS_COUNTER, get_clients_accepted,
	    "Connections that were taken."),
	ONE("clients_refused_total", STATS_COUNTER, get_clients_refused,
	    "Connections that were closed at once because of a limit."),
	ONE("clients_dropped_total", STATS_COUNTER, get_clients_dropped,
	    "Connections that were closed because their client did not read."),
	EACH("requests_total", STATS_COUNTER, N_VERBS, "verb", verb_label, get_requests,
	     "Requests by verb."),
	EACH("errors_total", STATS_COUNTER, N_PROTO_ERRORS - 1, "code", error_label, get_errors,
	     "ERR replies by code."),
	ONE("mutexes", STATS_GAUGE, get_mutexes, "Mutexes that are configured or in use."),
	ONE("held", STATS_GAUGE, get_held, "Locks that are held through this daemon."),
	ONE("waiters", STATS_GAUGE, get_waiters, "Requests that wait for a lock."),
	ONE("grants_total", STATS_COUNTER, get_grants, "Locks that were granted."),
	ONE("passes_total", STATS_COUNTER, get_passes,
	    "Of these, passed on from one local holder to the next."),
	ONE("releases_total", STATS_COUNTER, get_releases, "Locks that their holders let go."),
	EACH("refused_total", STATS_COUNTER, OUTCOME_SHUTTING_DOWN + 1, "reason", outcome_label,
	     get_refused, "Requests for a lock that did not get it, by reason."),
	EACH("lost_total", STATS_COUNTER, LOST_SHUTDOWN + 1, "reason", lost_label, get_lost,
	     "Locks that were lost, by reason."),
	ONE("renewals_total", STATS_COUNTER, get_renewals, "Commands that prolonged a lease."),
	ONE("checks_total", STATS_COUNTER, get_checks,
	    "Commands that compared a held lock with its store."),
	ONE("settled_total", STATS_COUNTER, get_settled,
	    "Commands whose fate was unknown and became known."),
	ONE("wait_seconds_sum", STATS_COUNTER, get_wait_sum,
	    "Time that granted locks were waited for."),
	ONE("hold_seconds_sum", STATS_COUNTER, get_hold_sum, "Time that locks were held."),
	ONE("turns_total", STATS_COUNTER, get_turns, "Turns of the event loop."),
	ONE("reloads_total", STATS_COUNTER, get_reloads, "Configurations that were read again."),
	STORE("commands_total", STATS_COUNTER, get_store_commands,
	      "Commands that were written to the store."),
	STORE("replies_total", STATS_COUNTER, get_store_replies, "Answers that came."),
	STORE("errors_total", STATS_COUNTER, get_store_errors, "Answers that were refusals."),
	STORE("timeouts_total", STATS_COUNTER, get_store_timeouts,
	      "Answers that did not come in time."),
	STORE("connects_total", STATS_COUNTER, get_store_connects,
	      "Connections that became usable."),
	STORE("disconnects_total", STATS_COUNTER, get_store_disconnects,
	      "Usable connections that ended."),
	STORE("latency_seconds_sum", STATS_COUNTER, get_store_latency_sum,
	      "Time from a command to its answer."),
};
const size_t n_stats_metrics = sizeof(stats_metrics) / sizeof(*stats_metrics);

/* ------------------------------------------------------------------ telling */

/* A label's value without what would end it, or the word. */
static void label_value(const char *text, char *out, size_t size)
{
	size_t i;

	for (i = 0; text[i] && i + 1 < size; i++)
		out[i] = text[i] <= ' ' || text[i] == '"' || text[i] == '\\' ? ',' : text[i];
	out[i] = '\0';
}

static void tell_number(const struct stats_metric *metric, const char *label, const char *word,
			double number, stats_fn *tell, void *arg)
{
	char name[512], value[64], clean[256];

	if (label) {
		label_value(word, clean, sizeof(clean));
		snprintf(name, sizeof(name), "%s{%s=\"%s\"}", metric->name, label, clean);
	} else {
		snprintf(name, sizeof(name), "%s", metric->name);
	}
	if (number == (double)(int64_t)number)
		snprintf(value, sizeof(value), "%.0f", number);
	else
		snprintf(value, sizeof(value), "%.6f", number);
	tell(arg, name, value);
}

size_t stats_walk_metric(struct server *server, const struct stats_metric *metric, stats_fn *tell,
			 void *arg)
{
	struct server_store *store;
	size_t n = 0;

	if (metric->of_store) {
		LIST_FOREACH (store, &server->stores, entry) {
			tell_number(metric, "store", store->store->name,
				    metric->get(server, store, 0), tell, arg);
			n++;
		}
		return n;
	}
	for (unsigned value = 0; value < metric->n; value++)
		tell_number(metric, metric->label, metric->label ? metric->word(value) : NULL,
			    metric->get(server, NULL, value), tell, arg);
	return metric->n;
}

size_t stats_walk(struct server *server, stats_fn *tell, void *arg)
{
	size_t n = 0;

	for (size_t i = 0; i < n_stats_metrics; i++)
		n += stats_walk_metric(server, &stats_metrics[i], tell, arg);
	return n;
}
