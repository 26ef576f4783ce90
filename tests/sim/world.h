/* SPDX-License-Identifier: MIT */
#ifndef REDMUTEXD_TESTS_SIM_WORLD_H
#define REDMUTEXD_TESTS_SIM_WORLD_H
/*
 * A world in a box: some daemons with a real table each, one store server, their connections and
 * their clients, all moved by one queue of events in simulated time. One seed makes one world, and
 * always the same. `true time` is that of the queue; daemons and the server have clocks that go
 * wrong within what leases allow for.
 */
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "core/table.h"
#include "random.h"

struct client;
struct conn;
struct daemon;
struct event;
struct sim_store;
struct world;

enum {
	MAX_DAEMONS = 4,
	MAX_CLIENTS = 12, /* a daemon */
	N_EXACT = 3,
	N_MEMBERS = 3, /* names of a family that clients use */
	N_MUTEXES = N_EXACT + N_MEMBERS,
	/* An exact mutex has a second key, to which a reload may move it. */
	N_KEYS = 2 * N_EXACT + N_MEMBERS,
	N_CONNS = 2,
	MAX_NODES = 5,
	TRACE_SIZE = 512,
	TRACE_ARGS = 5,
};

/* ------------------------------------------------------------------ events */
enum event_place { EVENT_NOWHERE, EVENT_QUEUED, EVENT_INBOX };

typedef void event_fn(struct world *world, struct event *event);

struct event {
	int64_t at_us;
	uint64_t order; /* among those of one moment */
	enum event_place place;
	size_t index;	       /* in the queue */
	struct daemon *daemon; /* in whose turn it runs; NULL: the world's */
	event_fn *run;
	TAILQ_ENTRY(event) entry; /* in the daemon's inbox */
};

struct event_queue {
	struct event **heap; /* [1..n] */
	size_t n, size;
};

/* Queues it, or moves it. A daemon's event waits in its inbox if it comes while the daemon is busy.
 */
void event_set(struct world *world, struct event *event, int64_t at_us);
void event_cancel(struct world *world, struct event *event);
/* The next of the queue, taken out; NULL: none. */
struct event *event_pop(struct world *world);

/* ------------------------------------------------------------------ trace */
struct trace_entry {
	uint64_t step;
	int64_t at_us;
	const char *format;
	int64_t args[TRACE_ARGS];
};

/*
 * Notes what happens, to be printed only if it is of interest. In `format` %d is an integer, %s a
 * string that lives for ever, %t the head of a lock string, made by trace_tag().
 */
void trace_note(struct world *world, const char *format, int64_t a, int64_t b, int64_t c, int64_t d,
		int64_t e);
int64_t trace_tag(const char *string);
void trace_dump(struct world *world);

#define TRACE_PICK(_1, _2, _3, _4, _5, _6, name, ...) name
#define TRACE0(w, f) trace_note(w, f, 0, 0, 0, 0, 0)
#define TRACE1(w, f, a) trace_note(w, f, (int64_t)(a), 0, 0, 0, 0)
#define TRACE2(w, f, a, b) trace_note(w, f, (int64_t)(a), (int64_t)(b), 0, 0, 0)
#define TRACE3(w, f, a, b, c) trace_note(w, f, (int64_t)(a), (int64_t)(b), (int64_t)(c), 0, 0)
#define TRACE4(w, f, a, b, c, d)                                                                   \
	trace_note(w, f, (int64_t)(a), (int64_t)(b), (int64_t)(c), (int64_t)(d), 0)
#define TRACE5(w, f, a, b, c, d, e)                                                                \
	trace_note(w, f, (int64_t)(a), (int64_t)(b), (int64_t)(c), (int64_t)(d), (int64_t)(e))
#define TRACE(w, ...)                                                                              \
	TRACE_PICK(__VA_ARGS__, TRACE5, TRACE4, TRACE3, TRACE2, TRACE1, TRACE0)(w, __VA_ARGS__)

/* A promise was broken: says so, prints seed, step and trace, and ends the process with 1. */
void world_fail(struct world *world, const char *format, ...)
	__attribute__((format(printf, 2, 3), noreturn));

/* ------------------------------------------------------------------ holds: what the oracle knows
 */
/*
 * A lock as its holder sees it, from the answer to its ACQUIRE on. It is `live` until the holder
 * has given it up or was told of its loss, and `known` while its daemon has a struct lock for it.
 */
struct hold {
	struct daemon *daemon;
	int mutex, key;
	char string[LOCK_STRING_SIZE];
	char value[LOCK_STRING_SIZE]; /* what stands in the store for it */
	struct client *client;	      /* who is told; NULL once it is gone */
	struct client *owner;	      /* whose end ends it: as a connection or a process; or NULL */
	enum holder_kind kind;
	const struct lock *lock; /* valid while known and client */
	bool live, known;
	bool partly_lost; /* a node lost it */
	bool vanished;	  /* the store lost its value through no fault of ours */
	bool renew;
	int64_t end_us; /* of its lease by the daemon's clock, when last looked at */
	int64_t fence;
	bool may_be_told_again; /* it was extended since */
	int64_t told_end_us;	/* the end that EXPIRING announced */
	int64_t notice_us;	/* how long before its end EXPIRING is due */
	int64_t changed_us;	/* when end or notice were last others; true time */
	int64_t compared_us;	/* when a command that compares it was last submitted; true time */
	int64_t granted_us;	/* true time */
	TAILQ_ENTRY(hold) key_entry;
	TAILQ_ENTRY(hold) daemon_entry;
};

/* ------------------------------------------------------------------ the server */
struct sim_key {
	bool stands, foreign, forever;
	bool freed_quietly; /* without a message */
	char value[LOCK_STRING_SIZE];
	char announce[16];
	int64_t expire_ms; /* by the server's clock */
	int64_t fence;
	unsigned subscribers; /* a bit a daemon */
	int by_daemon;	      /* whose command has set it */
	unsigned by_born;     /* ... by which of its processes */
	bool no_counter; /* a node: it never had one, or lost it, and no grant wrote it since */

	/* The oracle's, all in true time. */
	int64_t since_us;      /* it stands, or does not, since */
	int64_t last_stood_us; /* the last moment at which it stood, if it does not */
	int64_t last_free_us;  /* the last moment at which it did not stand, if it does */
	int64_t last_held_us;  /* a hold ended last */
	int64_t last_lost_us;  /* ... and not by its holder */
	int64_t last_vanished_us;
	int64_t short_us;   /* it was last given less time than the world's locks have */
	int64_t fence_high; /* of all grants since the clock was last put back */
	int64_t fence_high_us;
	bool fence_is_loose; /* nodes that lost their counter have got one that may be low */
	unsigned passes;     /* grants since the key was last removed */
	unsigned streak[MAX_DAEMONS];
	TAILQ_HEAD(, hold) holds;
};

enum server_state { SERVER_UP, SERVER_STOPPED, SERVER_DOWN };

struct cmd;
TAILQ_HEAD(cmd_list, cmd);

struct sim_server {
	struct world *world;
	int node; /* its number; -1: it is the only one */
	enum server_state state;
	unsigned run_id;
	int64_t base_us;
	int64_t ppm;
	int64_t refuse_until_us;
	bool refuse_lasting, refuse_writes_only;
	bool loses;	 /* its data, by the time that it is up again */
	int64_t lost_us; /* the last time that it did; a node's */
	struct sim_key keys[N_KEYS];
	struct cmd_list backlog; /* arrived while it was stopped */
	struct event event;	 /* the end of what it suffers */
};

/* ------------------------------------------------------------------ strings */
struct strings {
	char (*list)[LOCK_STRING_SIZE];
	size_t n;
};

void strings_add(struct strings *strings, const char *string);
bool strings_have(const struct strings *strings, const char *string);
void strings_deinit(struct strings *strings);

/* ------------------------------------------------------------------ daemons and clients */
struct sim_ask {
	struct ask ask;
	uint64_t was;	 /* its address in the process before */
	bool of_nobody;	 /* its lock will be; then */
	bool comes_back; /* acquires when its release is answered */
	struct daemon *daemon;
	struct client *client; /* NULL: it is gone and this is only waited for */
	struct client *owner;
	int mutex, key;
	int64_t asked_us; /* true time */
	int64_t wait_us;  /* as asked; the core changes its own */
	unsigned reloads;
	bool queued_behind; /* other ACQUIREs were open when it came */
	bool stood;	    /* RELEASE: its string stood in the store when it came */
	bool dead;	    /* RELEASE: its daemon had told its holder that it is over */
	bool found;	    /* RELEASE: a server has found it there since, and removed it */
	bool found_here;    /* ... for this daemon */
	bool was_live;	    /* RELEASE, EXTEND: it was held when it came */
	bool wrong;	    /* RELEASE, EXTEND: the string was made up */
	bool moved;	    /* a reload is to move it, or has */
	bool outdated;	    /* when it came, its daemon believed in what was over */
	bool owned_by_process;
	bool main; /* the ACQUIRE that the client is after */
	bool answered;
	int64_t hung_up_us, cancelled_us; /* -1: not */
	unsigned others;		  /* RELEASE: others open for that string */
	TAILQ_ENTRY(sim_ask) entry;
};

enum client_phase { CLIENT_IDLE, CLIENT_ASKING, CLIENT_HOLDING, CLIENT_DYING };

/* A connection and the process behind it, which may live longer than the connection. */
struct client {
	struct daemon *daemon;
	struct holder session, process;
	bool session_open, process_alive;
	bool extends;	   /* its lock, next */
	bool process_used; /* it was named as an owner: its end has to be told */
	enum client_phase phase;
	unsigned n_asks; /* open, that name session or process */
	struct sim_ask *acquire;
	struct hold *hold;
	char last_string[LOCK_STRING_SIZE];
	int last_mutex;
	struct event event;
	struct event process_event;
	TAILQ_ENTRY(client) entry;
};

struct journal_slot {
	bool used, granted;
	char value[LOCK_STRING_SIZE];
	char string[LOCK_STRING_SIZE];
	int mutex;
	enum holder_kind kind;
	struct client *owner;
	struct lock lock; /* plain members only */
	char key[16];
	struct claim claim;
};

enum { MAX_SLOTS = 1024 };

struct key_watch_counts {
	int64_t window_us;
	unsigned lookups, causes;
};

struct daemon {
	struct world *world;
	int index;
	bool up, stopping, released, frozen;
	struct clock clock;
	struct entropy entropy;
	struct journal journal;
	struct store_listener listener;
	struct table *table;
	struct sim_store *stores[MAX_NODES]; /* one a node; only the first if there are none */
	struct store *base;		     /* what the table knows of them */
	struct event quorum_wake;
	int64_t base_us, ppm;
	int64_t busy_until_us;
	int64_t resumed_us;  /* the last time that it came back from a longer stop */
	int64_t upgraded_us; /* the last time that its program was replaced */
	int64_t trouble_us;  /* the last time that its way to the store was not as it should be */
	unsigned n_born;     /* processes so far */
	struct strings dead; /* that its holders were told are over; since it was born */
	TAILQ_HEAD(, event) inbox;
	struct event turn, wake, life;
	int64_t wake_local_us; /* what the wake-up is set for */
	unsigned spins;	       /* turns in one moment */
	int64_t spin_us;
	unsigned stop_polls;
	TAILQ_HEAD(, client) clients;
	TAILQ_HEAD(, sim_ask) asks; /* open, as they came */
	TAILQ_HEAD(, sim_ask) done; /* answered, freed at the end of the turn */
	TAILQ_HEAD(, hold) holds;
	struct journal_slot slots[MAX_SLOTS];
	unsigned n_slots; /* the highest that was ever used */
	unsigned reloads;
	bool moved[N_EXACT], removed[N_EXACT];
	int64_t granted_us[N_KEYS];	  /* last */
	int64_t stayed_out_us[N_MUTEXES]; /* last; CLOCK_NEVER: it does */
	int64_t outdated_us[N_KEYS];	  /* when it last believed in a lock that was over */
	int64_t fence_seen[N_KEYS];	  /* the highest that this process was given */
	struct key_watch_counts counts[N_KEYS];
	struct mutex_settings settings[N_MUTEXES];
};

/* How this world is; chosen by its seed. */
struct traits {
	int n_nodes; /* 0: one server, and no quorum */
	int n_daemons, n_clients, n_exact, n_members;
	int64_t latency_us;
	unsigned slow, cut, sub_cut, busy; /* in 10 000, an occasion each */
	int64_t slow_us;
	int64_t ghost_us; /* how long a dead connection's commands may live */
	int64_t think_us, hold_us;
	bool prompt_loss; /* nodes that lost their data are back before all leases are over */
	bool forgetful;	  /* ... and little else happens, between the few locks asked for */
	bool upgrades;
	bool server_faults, data_loss, crashes, stops, reloads, freezes, foreign, rude, breaks;
	int64_t timeout_ms;
	int64_t ttl_ms;
	bool short_asks; /* clients ask for ttls of their own */
	bool patient;	 /* who asks waits for ever */
	bool faultless;	 /* nothing at all goes wrong */
};

struct world {
	uint64_t seed, step, steps;
	int64_t now_us;
	struct random random;
	struct traits traits;
	struct event_queue queue;
	struct sim_server server;
	struct sim_server nodes[MAX_NODES];
	struct daemon daemons[MAX_DAEMONS];
	TAILQ_HEAD(, conn) orphans; /* connections of processes that are gone */
	struct event check, mishap, foreigner;
	bool calm;		 /* the faults are over: all must come to rest */
	bool ending;		 /* daemons that stop stay down */
	struct strings vanished; /* deleted by others than their owners, on any server */
	struct strings lost;	 /* by a node */
	uint64_t n_grants, n_refused, n_lost, n_unavailable, n_commands;
	struct trace_entry trace[TRACE_SIZE];
	uint64_t n_trace;
	bool verbose;
};

/*
 * Lives through one world; nodes: 0 for a single server, or how many make a quorum.
 * Return: the steps that it took.
 */
uint64_t world_run(struct world *world, uint64_t seed, uint64_t steps, int nodes);

static inline int64_t random_of(struct world *world, int64_t low, int64_t high)
{
	return random_range(&world->random, low, high);
}

static inline bool chance(struct world *world, unsigned in_10000)
{
	return random_chance(&world->random, in_10000);
}

/* ------------------------------------------------------------------ store.c */
struct sim_store *sim_store_new(struct daemon *daemon, struct sim_server *server,
				struct store_listener *listener);
struct store *sim_store_base(struct sim_store *store);
/* The process is gone: no answers any more; what is on its way may still arrive. */
void sim_store_crash(struct sim_store *store);
/* Its process ends: what is open is answered, so that the table can be freed. */
void sim_store_abandon(struct sim_store *store);
/* The commands of earlier processes of this daemon, or to this server, are over. NULL: of all. */
void sim_store_forget_ghosts(struct world *world, struct daemon *daemon, struct sim_server *server);
void sim_store_cut(struct sim_store *store);
void sim_store_cut_watches(struct sim_store *store);
/* Since when no message of a key is missed; CLOCK_NEVER: some may be. */
int64_t sim_store_watching_since_us(struct sim_store *store, int key);
/* The last time that its way to its server was not as it should be. Kept for nodes only. */
int64_t sim_store_trouble_us(struct sim_store *store);
/* Are all connections there, whatever the daemon knows of it? */
bool sim_store_connected(struct sim_store *store);
/* Is a dead connection's command alive, for all that is known? */
bool sim_store_haunted(struct sim_store *store);
/* Is nothing asked that is not answered, and no dead connection's command alive? */
bool sim_store_idle(struct sim_store *store);

void server_init(struct world *world, struct sim_server *server, int node);
void server_deinit(struct sim_server *server);
int64_t server_us(const struct sim_server *server, int64_t true_us);
/* A key, after what has expired is gone. */
struct sim_key *server_key(struct sim_server *server, int key);
void server_set(struct sim_server *server, int key, const char *value, int64_t ttl_ms,
		bool foreign);
enum remove_cause {
	REMOVED_EXPIRED,
	REMOVED_RELEASED,
	REMOVED_REPLACED,
	REMOVED_VANISHED,
	REMOVED_LOST
};
void server_remove(struct sim_server *server, int key, enum remove_cause cause, int64_t at_us);
void server_down(struct sim_server *server);
void server_up(struct sim_server *server, bool lose);
void server_stop(struct sim_server *server);
void server_continue(struct sim_server *server);
int key_index(const char *name);

/* ------------------------------------------------------------------ daemon.c */
void daemon_init(struct world *world, int index);
void daemon_deinit(struct daemon *daemon);
int64_t daemon_local_us(const struct daemon *daemon, int64_t true_us);
int64_t daemon_true_us(const struct daemon *daemon, int64_t local_us);
void daemon_start(struct daemon *daemon);
/* The two halves of an upgrade: the process and its table end, and the next begin. */
void daemon_forget(struct daemon *daemon);
void daemon_open(struct daemon *daemon);
void daemon_crash(struct daemon *daemon);
void daemon_stop(struct daemon *daemon);
void daemon_reload(struct daemon *daemon);
/* An event of its inbox has come. */
void daemon_receive(struct daemon *daemon, struct event *event);
/* One turn of its loop with all that is in its inbox. */
void daemon_turn(struct daemon *daemon);
void daemon_freeze(struct daemon *daemon, int64_t for_us);
void daemon_end(struct daemon *daemon);
const char *mutex_word(int mutex);
int mutex_index(const char *name);
struct mutex *daemon_mutex(struct daemon *daemon, int mutex);
int daemon_key(struct daemon *daemon, int mutex);
void daemon_trouble(struct daemon *daemon);
/* Its store of that node, or of the only server: -1. NULL while it is down. */
struct sim_store *daemon_store(struct daemon *daemon, int node);
/* Are all of them idle? */
bool daemon_idle(struct daemon *daemon);

/* ------------------------------------------------------------------ upgrade.c */
/* Replaces the program, unless that has to wait. */
void daemon_upgrade(struct daemon *daemon);

/* ------------------------------------------------------------------ client.c */
struct client *client_new(struct daemon *daemon);
/* Its daemon is gone. */
void client_crash(struct client *client);
void client_forget_hold(struct client *client, struct hold *hold);
void client_hang_up(struct client *client);
void client_start(struct client *client, int64_t at_us);

/* ------------------------------------------------------------------ oracle.c */
void oracle_removed(struct world *world, int key, const char *value, enum remove_cause cause,
		    int64_t at_us);
void oracle_vanished(struct world *world, int key, const char *value);
/* One node of several has lost it. */
void oracle_partly_lost(struct world *world, int key, const char *value);
/* Is it valid, and must stand? */
bool oracle_relies_on(const struct hold *hold);
/* Is it a lock that is nobody's but somebody's to release? */
bool oracle_nobody_holds(struct world *world, int key, const char *value);
struct hold *oracle_granted(struct sim_ask *ask);
struct hold *oracle_adopted(struct daemon *daemon, const struct lock *lock, int mutex, int key,
			    const char *value);
void oracle_answered(struct sim_ask *ask);
void oracle_asked(struct sim_ask *ask);
/* A RELEASE of that daemon has met that value on a server, where it may have come late. */
void oracle_found(struct world *world, int daemon, const char *value);
/* Its holder has given it up, or is told that it is over. Frees it if no daemon knows it. */
void oracle_end(struct hold *hold);
/* Its daemon has no struct lock for it any more. */
void oracle_forget(struct hold *hold);
/* Both, where it is known. */
void oracle_end_and_forget(struct hold *hold);
struct hold *oracle_find(struct world *world, const char *string);
void oracle_lost(struct daemon *daemon, const struct lock *lock, enum lost_reason reason);
void oracle_expiring(struct daemon *daemon, const struct lock *lock, int64_t left_ms);
/* After table_turn(), and at the end of a turn. */
void oracle_leases(struct daemon *daemon, bool end_of_turn);
void oracle_crashed(struct daemon *daemon);
/* Every now and then. */
void oracle_check(struct world *world);
/* Is all at rest? With `why` not NULL, where it is not. */
bool oracle_at_rest(struct world *world, const char **why);
void oracle_submitted(struct daemon *daemon, const struct store_op *op, int key);
void oracle_cause(struct daemon *daemon, int key);

#endif
