/* SPDX-License-Identifier: MIT */
#ifndef REDMUTEXD_SERVE_SERVER_PRIVATE_H
#define REDMUTEXD_SERVE_SERVER_PRIVATE_H
/* What the files of this room share: the server's insides. */
#include <event2/event.h>
#include <event2/event_struct.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "core/table.h"
#include "proto/proto.h"
#include "serve/buffer.h"
#include "serve/server.h"
#include "serve/user.h"

struct call;
struct conf_mutex;
struct handover;
struct list;
struct listener;
struct metrics;
struct owner;
struct section;
struct session;

enum {
	SERVER_INPUT_SIZE = 65536,
	SERVER_TAG_BUCKETS = 4096,
	/* So many sessions that have read in one turn are a crowd. */
	SERVER_CROWD = 3,
	/* So many turns in which sessions read, and no store was asked, and none will be. */
	SERVER_ASKING_TURNS = 8,
	/* After so many sessions the stores begin to write. */
	SERVER_HEARD_AHEAD = 32,
	/* Calls that are kept for the next request rather than freed. */
	SERVER_CALLS_KEPT = 4096,
};

/* What happened so far, for STATS and the metrics. */
struct server_stats {
	uint64_t requests[N_VERBS];
	uint64_t errors[N_PROTO_ERRORS]; /* answers ERR, by code */
	uint64_t clients_accepted, clients_refused;
	uint64_t clients_dropped; /* for what they did not read */
	uint64_t turns;
	uint64_t reloads;
	uint64_t upgrades;
	int64_t started_us;
	uint64_t turn_buckets[16], turn_us_sum; /* as in util/histogram.h */
	/* As stats_look() found them. */
	unsigned mutexes, held, waiters, longest_queue;
};

/* One store that is open, shared by all sections with the same settings. */
struct server_store {
	struct server *server;
	struct store_listener listener;
	struct store_settings settings;
	struct store *store;
	unsigned n_sections; /* freed at the end of the turn in which it falls to 0 */
	uint64_t save_id;    /* while the server is saved */
	LIST_ENTRY(server_store) entry;
};

/* What is the server's in a section: its `access`. */
struct section_access {
	struct conf_access access;
	struct server_store *store;
	uint64_t save_id; /* while the server is saved */
};

enum server_phase { SERVER_RUNNING, SERVER_GRACE, SERVER_RELEASING, SERVER_STOPPED };

struct server {
	struct server_env env;
	struct event_base *base;
	struct conf *conf;
	struct table *table;
	struct store_env store_env;
	LIST_HEAD(, server_store) stores;
	struct listener *listener; /* NULL once the daemon stops */
	struct server_stats stats;

	enum server_phase phase;
	int64_t phase_end_us; /* when the next phase begins at the latest */

	struct handover *handover; /* NULL: the program is not being replaced */
	bool draining;		   /* no client is heard: what is under way is to end */

	TAILQ_HEAD(session_list, session) sessions; /* all of them */
	unsigned n_sessions;			    /* with a client at the other end */
	struct session_list ready;   /* may be able to go on with what they have read */
	struct session_list later;   /* had their share of this turn */
	struct session_list dirty;   /* have something to write, or to be closed */
	struct session_list stalled; /* don't read their replies, in the order of since when */
	struct session_list dead;    /* closed; freed when nothing of theirs is open */

	struct user *users;			/* by uid */
	struct owner *owners;			/* by pid */
	LIST_HEAD(, owner) idle_owners;		/* looked at when the turn ends */
	TAILQ_HEAD(call_list, call) free_calls; /* zeroed when they are taken */
	unsigned n_free_calls;
	LIST_HEAD(, call) tags[SERVER_TAG_BUCKETS]; /* open calls that have a tag */
	uint32_t tag_seed;

	struct buffer_pool buffers;
	char input[SERVER_INPUT_SIZE]; /* what is just being read */
	char line[PROTO_REPLY_MAX];    /* what is just being written */
	struct span unread;	       /* what is behind the line that is being carried out */

	struct event timer_event;
	int timer_fd;
	int64_t timer_due_us;	/* what it is set to; CLOCK_NEVER: nothing */
	uint64_t n_entries;	/* how often the loop has called us */
	unsigned n_heard;	/* sessions that have read in this turn */
	bool crowded;		/* those of the last turn in which any have were many */
	unsigned n_asking;	/* above 0: what they want is mostly asked of a store */
	uint64_t n_written;	/* commands to all stores, up to the last turn */
	int64_t turn_from_us;	/* when it did so first in this turn; 0: it has not yet */
	int64_t losses_from_us; /* since when losses of locks are counted, to log a few */
	unsigned n_losses;
	struct metrics *metrics; /* NULL: nobody listens for who wants to read them */
	char host[65];		 /* the machine's name */
};

int64_t server_now_us(struct server *server);
/*
 * A session has read, and its requests are carried out. When there are many in one turn, the stores
 * write what they have so far: else a server would sleep while we read, and we while it works, and
 * with as many clients as that there is no one left to do anything meanwhile.
 */
void server_heard(struct server *server);
/* On which of the lists above a session is, is marked in it: these may be called twice. */
void server_mark_ready(struct server *server, struct session *session);
void server_mark_later(struct server *server, struct session *session);
void server_mark_dirty(struct server *server, struct session *session);

/* The open store with these settings, or a new one; it stays while a section uses it. */
struct server_store *server_use_store(struct server *server, const struct store_settings *settings);
/* A section as the configuration has it, with nobody's reference yet. */
struct section *server_make_section(struct server *server, const struct conf_mutex *conf);

/* No client is heard from now on, or all of them are again. */
void server_drain(struct server *server, bool drain);

/* May the peer of that session use the mutexes of that section? */
bool server_allows(const struct section *section, struct session *session);

#endif
