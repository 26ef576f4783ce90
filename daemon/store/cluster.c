/* SPDX-License-Identifier: MIT */
/*
 * Locks in Redis Cluster.
 *
 * A scout asks one node after the other for the map of slots: at the start, now and then, and soon
 * after a node was lost or sent us elsewhere. An op goes to the node that serves its key's slot.
 * When that node does not carry it out but says to ask another (MOVED, ASK) or to come back
 * (TRYAGAIN), the slot is closed: the op is parked, and so is every later one for the slot. When
 * nothing of the slot is in flight any more they are sent on, in their order; when all have been
 * answered the slot is open again. So no op overtakes another of its key, wherever both go.
 */
#include "config.h"

#include "store/cluster.h"

#include <assert.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store/redis.h"
#include "store/scout.h"
#include "store/slot.h"
#include "store/tls.h"
#include "store/url.h"
#include "store/watch.h"
#include "util/alloc.h"
#include "util/log.h"

enum {
	NODES_MAX = 1024,    /* that serve slots, or did a moment ago */
	CANDIDATES_MAX = 16, /* nodes that a round of the scout tries, besides those of the url */
	REFRESH_INTERVAL_MS = 10000,
	REFRESH_SOON_MS = 100, /* no more often than this, however often it is wanted */
	ROUND_RETRY_MS = 500,  /* no node knew the map */
	PAUSE_MS = 5,	       /* before something that did not go is tried again */
	QUICK_TRIES = 6,       /* so often without such a pause */
	NAME_SHOWN = 100,      /* of the url, in texts */
	IDLE_NODE_US = 10 * 1000000,
	/* As for a connection: what can still be carried out by a node that lost the slot. */
	DOUBT_US = 60 * 1000000,
};

struct cluster;

/* A master, as far as we know. */
struct node {
	LIST_ENTRY(node) entry;
	struct cluster *cluster;
	struct store *store;
	struct store_listener listener;
	char *host;
	int port;
	unsigned n_slots; /* that it serves, by our map */
	unsigned n_ops;	  /* that it has */
	int64_t idle_since_us;
};

/* A slot where all is not as usual. */
struct detour {
	TAILQ_ENTRY(detour) entry; /* while it is closed */
	struct slot *slot;
	bool closed;
	struct link_ops parked; /* in the order of their submission */
	struct node *target;	/* of ASK; NULL: none */
	unsigned n_tries;
	int64_t not_before_us;
	char why[LINK_TEXT_SIZE]; /* it is closed */
	/*
	 * A command for it was lost with the connection to a node, and may still be carried out
	 * there; see op->settled.
	 */
	bool in_doubt;
	struct node *doubtful; /* NULL: several, or one that is gone */
	int64_t doubt_over_us;
};

struct slot {
	struct node *node;     /* NULL: not known */
	struct detour *detour; /* NULL: none */
	unsigned n_ops;	       /* that nodes have */
};

struct cluster {
	struct store store;
	const struct store_env *env;
	struct store_settings settings;
	struct url url;
	struct tls *tls; /* NULL: plain */
	LIST_HEAD(, node) nodes;
	unsigned n_nodes;
	TAILQ_HEAD(, detour) closed;
	struct watcher limbo;	 /* has what is watched while nobody knows where; never connects */
	struct event pause;	 /* something may be parked for long enough */
	bool changed;		 /* slots have other masters, and nobody was told yet */
	bool watches_are_strays; /* some may be with a node that does not serve their slot */
	bool sweep;		 /* look for nodes that are of no use any more */
	bool ending;

	/* The map: asked for in rounds, from one node after the other until one answers. */
	struct scout scout;
	struct login login;
	struct event refresh;
	struct url_host *candidates; /* of this round; NULL: none is under way */
	unsigned n_candidates, candidate, n_rounds;
	int64_t round_ended_us;
	bool known; /* there was a map */
	bool lasting;
	char failure[LINK_TEXT_SIZE];	/* of the last round; empty: it did not fail */
	char complaint[LINK_TEXT_SIZE]; /* the last in the log */
	struct slot slots[N_SLOTS];
};

/* What is kept in op->private while the op is parked. */
enum {
	PARKED_HOW_MASK = 3,	  /* enum link_how: how it is to be written next */
	PARKED_RETURNED = 1 << 2, /* it was in flight, with others of its slot perhaps behind it */
};

static struct cluster *cluster_of(struct store *store)
{
	return container_of(store, struct cluster, store);
}

static int64_t cluster_now_us(const struct cluster *cluster)
{
	return clock_now_us(cluster->env->clock);
}

static struct slot *cluster_slot(struct cluster *cluster, const struct store_key *key)
{
	return &cluster->slots[slot_of_key(key->key)];
}

static void cluster_tell(struct cluster *cluster, enum store_event event)
{
	struct store_listener *listener = cluster->store.listener;

	if (listener && !cluster->ending)
		listener->event(listener, &cluster->store, event);
}

static void timer_in(struct event *timer, int64_t ms)
{
	struct timeval delay = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};

	event_add(timer, &delay);
}

/* Asks for the map, as soon as that is not too soon after the last time. */
static void cluster_refresh(struct cluster *cluster)
{
	int64_t ms = REFRESH_SOON_MS - (cluster_now_us(cluster) - cluster->round_ended_us) / 1000;

	if (!cluster->candidates && !cluster->ending)
		timer_in(&cluster->refresh, ms > 0 ? ms : 0);
}

/* ------------------------------------------------------------------ slots */

static struct detour *slot_detour(struct slot *slot)
{
	if (!slot->detour) {
		slot->detour = xcalloc(1, sizeof(*slot->detour));
		slot->detour->slot = slot;
		TAILQ_INIT(&slot->detour->parked);
	}
	return slot->detour;
}

/* From now on what is submitted is parked. */
static struct detour *slot_close(struct cluster *cluster, struct slot *slot)
{
	struct detour *detour = slot_detour(slot);

	if (!detour->closed) {
		detour->closed = true;
		detour->n_tries = 0;
		detour->not_before_us = 0;
		TAILQ_INSERT_TAIL(&cluster->closed, detour, entry);
	}
	return detour;
}

static void slot_drop_detour(struct slot *slot)
{
	struct detour *detour = slot->detour;

	if (detour && !detour->closed && !detour->in_doubt) {
		free(detour);
		slot->detour = NULL;
	}
}

static void slot_assign(struct cluster *cluster, struct slot *slot, struct node *node)
{
	if (slot->node == node)
		return;
	if (slot->node) {
		slot->node->n_slots--;
		slot->node->idle_since_us = cluster_now_us(cluster);
		cluster->changed = true;
	}
	if (node)
		node->n_slots++;
	slot->node = node;
	cluster->watches_are_strays = true;
	cluster->sweep = true;
	/* What the old one has must be answered before the new one gets any. */
	if (slot->n_ops > 0)
		slot_close(cluster, slot);
}

/* A command was lost with a connection to this node. */
static void slot_doubt(struct cluster *cluster, struct slot *slot, struct node *node)
{
	struct detour *detour = slot_detour(slot);

	detour->doubtful = detour->in_doubt && detour->doubtful != node ? NULL : node;
	if (cluster->ending)
		detour->doubtful = NULL;
	detour->in_doubt = true;
	detour->doubt_over_us = cluster_now_us(cluster) + DOUBT_US;
}

/*
 * A node has answered, or nobody (NULL). If the doubt is about itself, its link knows better.
 * Another node may carry out what it was sent until we have made sure of it there, or for as long
 * as it may take. That would be to data that count no more; but slots can come back.
 */
static bool slot_is_settled(struct cluster *cluster, struct slot *slot, const struct node *node)
{
	struct detour *detour = slot->detour;

	if (!detour || !detour->in_doubt)
		return true;
	if (detour->doubt_over_us <= cluster_now_us(cluster) ||
	    (detour->doubtful && redis_is_settled(detour->doubtful->store))) {
		detour->in_doubt = false;
		slot_drop_detour(slot);
		return true;
	}
	return node && detour->doubtful == node;
}

/* ------------------------------------------------------------------ parking */

static void op_mark(struct store_op *op, enum link_how how, bool returned)
{
	op->private = (void *)((uintptr_t)how | (returned ? PARKED_RETURNED : 0));
}

static enum link_how op_how(const struct store_op *op)
{
	return (enum link_how)((uintptr_t)op->private & PARKED_HOW_MASK);
}

static bool op_has_returned(const struct store_op *op)
{
	return (uintptr_t)op->private & PARKED_RETURNED;
}

/* What comes back from a node stands before what was submitted since, and never left. */
static void detour_park_returned(struct detour *detour, struct store_op *op, enum link_how how)
{
	struct store_op *next;

	op_mark(op, how, true);
	op->written = false;
	TAILQ_FOREACH (next, &detour->parked, entry) {
		if (!op_has_returned(next)) {
			TAILQ_INSERT_BEFORE(next, op, entry);
			return;
		}
	}
	TAILQ_INSERT_TAIL(&detour->parked, op, entry);
}

/* Answers what no node has. It was not carried out. */
static void cluster_refuse(struct cluster *cluster, struct store_op *op, const char *why,
			   bool lasting)
{
	char text[LINK_TEXT_SIZE];
	struct slot *slot = cluster_slot(cluster, op->key);

	snprintf(text, sizeof(text), "%.*s: %s", NAME_SHOWN, cluster->store.name, why);
	link_fail_op(op, STORE_REFUSED, lasting, text);
	op->settled = slot_is_settled(cluster, slot, NULL);
	op->done(op);
}

/* The same for all that are parked in a slot, but not for what done() submits meanwhile. */
static void detour_refuse_all(struct cluster *cluster, struct detour *detour, const char *why,
			      bool lasting)
{
	struct link_ops now = TAILQ_HEAD_INITIALIZER(now);
	struct store_op *op;

	TAILQ_CONCAT(&now, &detour->parked, entry);
	while ((op = TAILQ_FIRST(&now))) {
		TAILQ_REMOVE(&now, op, entry);
		cluster_refuse(cluster, op, why, lasting);
	}
}

/*
 * Time enough for an answer must be left, because a node that does not give one in time is taken
 * for dead. The others of a slot are later.
 */
static bool detour_refuse_late(struct cluster *cluster, struct detour *detour)
{
	int64_t enough_us = cluster->settings.command_timeout_ms * 1000 / 4;
	struct store_op *op;
	bool any = false;
	char why[LINK_TEXT_SIZE];

	while ((op = TAILQ_FIRST(&detour->parked)) &&
	       op->deadline_us - enough_us <= cluster_now_us(cluster)) {
		TAILQ_REMOVE(&detour->parked, op, entry);
		cluster->store.stats.timeouts++;
		if (*detour->why)
			snprintf(why, sizeof(why), "%s", detour->why);
		else if (*cluster->failure)
			snprintf(why, sizeof(why), "%s", cluster->failure);
		else
			snprintf(why, sizeof(why), "the node of slot %u does not answer in time",
				 (unsigned)(detour->slot - cluster->slots));
		cluster_refuse(cluster, op, why, false);
		any = true;
	}
	return any;
}

/*
 * Sends on the first of those that are parked, and those behind it that go the same way. What stays
 * is later than all of these: nothing that returns from now on was behind it.
 */
static void detour_send(struct detour *detour)
{
	struct slot *slot = detour->slot;
	struct store_op *op = TAILQ_FIRST(&detour->parked);
	enum link_how how = op_how(op);
	struct node *node = how == LINK_ASKING ? detour->target : slot->node;

	detour->n_tries++;
	while ((op = TAILQ_FIRST(&detour->parked)) && op_how(op) == how) {
		TAILQ_REMOVE(&detour->parked, op, entry);
		slot->n_ops++;
		node->n_ops++;
		redis_submit_again(node->store, op, how);
	}
	TAILQ_FOREACH (op, &detour->parked, entry)
		op_mark(op, op_how(op), false);
}

/* The detour may be gone on return. */
static void detour_go_on(struct cluster *cluster, struct detour *detour)
{
	struct slot *slot = detour->slot;
	struct store_op *op = TAILQ_FIRST(&detour->parked);

	if (slot->n_ops > 0)
		return;
	if (!op) {
		detour->closed = false;
		detour->target = NULL;
		detour->why[0] = '\0';
		TAILQ_REMOVE(&cluster->closed, detour, entry);
		slot_drop_detour(slot);
	} else if (detour->not_before_us <= cluster_now_us(cluster)) {
		/* The target may be gone meanwhile. */
		if (op_how(op) == LINK_ASKING && !detour->target)
			op_mark(op, LINK_PLAINLY, op_has_returned(op));
		if (op_how(op) == LINK_ASKING || slot->node)
			detour_send(detour);
	}
}

static bool cluster_go_on(struct cluster *cluster)
{
	struct detour *detour, *next;
	bool any = false;

	for (detour = TAILQ_FIRST(&cluster->closed); detour; detour = next) {
		/* Answers may close slots, at the end of the list, but free no detour. */
		any = detour_refuse_late(cluster, detour) || any;
		next = TAILQ_NEXT(detour, entry);
		detour_go_on(cluster, detour);
	}
	return any;
}

static void cluster_pause_cb(evutil_socket_t fd, short what, void *arg)
{
	struct cluster *cluster = arg;

	(void)fd;
	(void)what;
	/* The flush at the end of this turn goes on. */
	store_env_turn(cluster->env);
}

/* ------------------------------------------------------------------ nodes */

static void node_event(struct store_listener *listener, struct store *store, enum store_event event)
{
	struct node *node = container_of(listener, struct node, listener);

	(void)store;
	cluster_tell(node->cluster, event);
}

static void node_down(void *arg)
{
	struct node *node = arg;

	if (node->n_slots > 0)
		cluster_refresh(node->cluster);
}

/* Gives up those that an op which was carried out has overtaken. */
static void detour_refuse_overtaken(struct cluster *cluster, struct detour *detour,
				    const struct store_key *key)
{
	struct store_op *op, *next;

	for (op = TAILQ_FIRST(&detour->parked); op && op_has_returned(op); op = next) {
		next = TAILQ_NEXT(op, entry);
		if (strcmp(op->key->key, key->key) != 0)
			continue;
		TAILQ_REMOVE(&detour->parked, op, entry);
		cluster_refuse(cluster, op, "its slot moved, and another command was faster",
			       false);
		next = TAILQ_FIRST(&detour->parked);
	}
}

static void node_done(void *arg, struct store_op *op)
{
	struct node *node = arg;
	struct cluster *cluster = node->cluster;
	struct slot *slot = cluster_slot(cluster, op->key);

	assert(slot->n_ops > 0 && node->n_ops > 0);
	slot->n_ops--;
	node->n_ops--;
	switch (op->status) {
	case STORE_REFUSED:
		if (strstr(op->text, "CLUSTERDOWN"))
			cluster_refresh(cluster);
		break;
	case STORE_UNKNOWN:
		slot_doubt(cluster, slot, node);
		/* fall through */
	default:
		if (slot->detour)
			detour_refuse_overtaken(cluster, slot->detour, op->key);
		break;
	}
	if (!slot_is_settled(cluster, slot, node))
		op->settled = false;
	op->done(op);
}

static struct node *cluster_find_node(struct cluster *cluster, const char *host, int port)
{
	struct node *node;

	LIST_FOREACH (node, &cluster->nodes, entry) {
		if (node->port == port && strcmp(node->host, host) == 0)
			return node;
	}
	return NULL;
}

static void node_redirected(void *arg, struct store_op *op, enum link_how how, bool knows_all,
			    const char *error);

static struct node *node_open(struct cluster *cluster, const char *host, int port)
{
	struct node *node = xcalloc(1, sizeof(*node));
	struct url url = {.scheme = URL_REDIS, .port = port};
	struct store_settings settings = cluster->settings;
	const struct redis_owner owner = {
		.done = node_done,
		.redirected = node_redirected,
		.down = node_down,
		.arg = node,
		.stats = &cluster->store.stats,
		.tls = cluster->tls,
	};

	node->cluster = cluster;
	node->host = xstrdup(host);
	node->port = port;
	node->listener.event = node_event;
	node->idle_since_us = cluster_now_us(cluster);
	url.host = xstrdup(host);
	url.name = xasprintf(strchr(host, ':') ? "%.*s, node [%s]:%d" : "%.*s, node %s:%d",
			     NAME_SHOWN, cluster->store.name, host, port);
	node->store = redis_open_node(cluster->env, &settings, &url, &node->listener, &owner);
	LIST_INSERT_HEAD(&cluster->nodes, node, entry);
	cluster->n_nodes++;
	return node;
}

/* Return: NULL if there are too many. */
static struct node *cluster_node(struct cluster *cluster, const char *host, int port)
{
	struct node *node = cluster_find_node(cluster, host, port);

	if (!node && cluster->n_nodes < NODES_MAX)
		node = node_open(cluster, host, port);
	return node;
}

static void node_close(struct node *node)
{
	struct cluster *cluster = node->cluster;

	LIST_REMOVE(node, entry);
	cluster->n_nodes--;
	for (unsigned i = 0; i < N_SLOTS; i++) {
		struct slot *slot = &cluster->slots[i];

		if (slot->node == node)
			slot->node = NULL;
		if (slot->detour && slot->detour->target == node)
			slot->detour->target = NULL;
		if (slot->detour && slot->detour->doubtful == node)
			slot->detour->doubtful = NULL;
	}
	store_free(node->store);
	free(node->host);
	free(node);
}

/* Closes the connections to nodes that have served nothing for a while. */
static void cluster_sweep(struct cluster *cluster)
{
	int64_t now_us = cluster_now_us(cluster), keep_us;
	struct node *node, *next;

	for (node = LIST_FIRST(&cluster->nodes); node; node = next) {
		next = LIST_NEXT(node, entry);
		if (node->n_slots > 0 || node->n_ops > 0 ||
		    redis_watcher(node->store)->n_watched > 0)
			continue;
		/* One that comes back may let us make sure of what was lost. */
		keep_us = redis_is_settled(node->store) ? IDLE_NODE_US : DOUBT_US;
		if (now_us - node->idle_since_us >= keep_us)
			node_close(node);
	}
}

/* ------------------------------------------------------------------ redirections */

/*
 * Where "MOVED 3999 host:port" leads. A host that is left out is that of the node that says so
 * (https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/#moved-redirection).
 */
static struct node *node_of_redirection(struct node *from, const char *error)
{
	const char *space = strrchr(error, ' '), *colon = strrchr(error, ':');
	char host[256];
	int port;

	if (!space || !colon || colon < space ||
	    (size_t)(colon - space) > sizeof(host)) /* with the space, without a zero */
		return NULL;
	snprintf(host, sizeof(host), "%.*s", (int)(colon - space - 1), space + 1);
	port = atoi(colon + 1);
	if (port < 1 || port > 65535 || strcmp(host, "?") == 0)
		return NULL;
	return cluster_node(from->cluster, *host ? host : from->host, port);
}

/* Has its command only one key anyway? */
static bool op_is_alone(const struct store_op *op)
{
	return op->verb == STORE_CHECK || op->verb == STORE_RAISE ||
	       (op->verb == STORE_ACQUIRE && op->plain);
}

/* May it write a companion of its key that was not there? */
static bool op_makes_companions(const struct store_op *op)
{
	return (op->verb == STORE_ACQUIRE || op->verb == STORE_REPLACE) &&
	       (op->fenced || op->announce);
}

/*
 * How an op is to be written next when its slot is on its way from one node to another. A command
 * with several keys is let in nowhere if only some of them are there, and those that do not exist
 * are nowhere. So it goes in by its first key, the lock: where that is, it is decided. It must not
 * make a companion at the one node that the other has already: that would stop the slot on its way.
 * @how: as it was written
 * @asked: the answer was an ASK, else a TRYAGAIN
 * @pause: set if nothing can be done but to wait
 */
static enum link_how next_how(const struct store_op *op, enum link_how how, bool asked,
			      bool knows_all, bool *pause)
{
	bool companions = op_makes_companions(op);

	*pause = false;
	if (asked && (op_is_alone(op) || (how == LINK_PLAINLY && knows_all) ||
		      (how == LINK_ALONE && !companions)))
		return LINK_ASKING;
	/* Of what is announced the last part could fail after the first was written. */
	if (how == LINK_PLAINLY && !op_is_alone(op) && !op->announce)
		return LINK_ALONE;
	*pause = true;
	return LINK_PLAINLY;
}

static void node_redirected(void *arg, struct store_op *op, enum link_how how, bool knows_all,
			    const char *error)
{
	struct node *node = arg, *target = NULL;
	struct cluster *cluster = node->cluster;
	struct slot *slot = cluster_slot(cluster, op->key);
	struct detour *detour = slot_close(cluster, slot);
	bool moved = strncmp(error, "MOVED ", 6) == 0, asked = strncmp(error, "ASK ", 4) == 0;
	bool pause = false;

	assert(slot->n_ops > 0 && node->n_ops > 0);
	slot->n_ops--;
	node->n_ops--;
	snprintf(detour->why, sizeof(detour->why), "node %s:%d says: %.200s", node->host,
		 node->port, error);
	log_debug("%s: %s", cluster->store.name, detour->why);
	if (moved || asked)
		target = node_of_redirection(node, error);
	if (moved) {
		if (target && slot->node == node)
			slot_assign(cluster, slot, target);
		how = LINK_PLAINLY;
		cluster_refresh(cluster);
	} else {
		how = next_how(op, how, asked, knows_all, &pause);
		if (how == LINK_ASKING && !target) {
			how = LINK_PLAINLY;
			pause = true;
		}
		if (target)
			detour->target = target;
	}
	if (target)
		target->idle_since_us = cluster_now_us(cluster);
	detour_park_returned(detour, op, how);
	if (pause || detour->n_tries > QUICK_TRIES)
		detour->not_before_us = cluster_now_us(cluster) + PAUSE_MS * 1000;
}

/* ------------------------------------------------------------------ the map */

static void cluster_complain(struct cluster *cluster, const char *text)
{
	struct log_about about = {.store = cluster->store.name};

	if (strcmp(cluster->complaint, text) == 0)
		return;
	snprintf(cluster->complaint, sizeof(cluster->complaint), "%s", text);
	log_write(cluster->lasting ? LOG_LEVEL_ERROR : LOG_LEVEL_WARNING, &about, "%s: %s",
		  cluster->store.name, text);
}

static void cluster_add_candidate(struct cluster *cluster, const char *host, int port)
{
	struct url_host *candidate;

	for (unsigned i = 0; i < cluster->n_candidates; i++) {
		candidate = &cluster->candidates[i];
		if (candidate->port == port && strcmp(candidate->host, host) == 0)
			return;
	}
	candidate = &cluster->candidates[cluster->n_candidates++];
	candidate->host = xstrdup(host);
	candidate->port = port;
}

/* Nodes that answer us, beginning with another each time, then those of the url. */
static void cluster_start_round(struct cluster *cluster)
{
	unsigned skip = cluster->n_nodes > 0 ? cluster->n_rounds++ % cluster->n_nodes : 0;
	struct node *node = LIST_FIRST(&cluster->nodes);

	cluster->candidates =
		xcalloc(CANDIDATES_MAX + cluster->url.n_hosts, sizeof(*cluster->candidates));
	while (skip-- > 0)
		node = LIST_NEXT(node, entry);
	for (unsigned i = 0; i < cluster->n_nodes && cluster->n_candidates < CANDIDATES_MAX; i++) {
		if (redis_is_up(node->store))
			cluster_add_candidate(cluster, node->host, node->port);
		node = LIST_NEXT(node, entry);
		if (!node)
			node = LIST_FIRST(&cluster->nodes);
	}
	for (unsigned i = 0; i < cluster->url.n_hosts; i++)
		cluster_add_candidate(cluster, cluster->url.hosts[i].host,
				      cluster->url.hosts[i].port);
	cluster->candidate = 0;
}

static void cluster_forget_candidates(struct cluster *cluster)
{
	for (unsigned i = 0; i < cluster->n_candidates; i++)
		free(cluster->candidates[i].host);
	free(cluster->candidates);
	cluster->candidates = NULL;
	cluster->n_candidates = 0;
}

/* Those whose slot nobody serves have waited for this. */
static void cluster_refuse_homeless(struct cluster *cluster)
{
	struct detour *detour;

	/* Answers may close more slots, at the end of the list, but free no detour. */
	TAILQ_FOREACH (detour, &cluster->closed, entry) {
		char why[LINK_TEXT_SIZE];

		if (detour->slot->node || detour->slot->n_ops > 0)
			continue;
		if (*cluster->failure)
			snprintf(why, sizeof(why), "%s", cluster->failure);
		else
			snprintf(why, sizeof(why), "slot %u is served by no node (CLUSTERDOWN)",
				 (unsigned)(detour->slot - cluster->slots));
		detour_refuse_all(cluster, detour, why, cluster->lasting);
	}
}

/* The round is over, with a map or without. */
static void cluster_end_round(struct cluster *cluster)
{
	bool changed = cluster->changed;

	cluster_forget_candidates(cluster);
	cluster->round_ended_us = cluster_now_us(cluster);
	timer_in(&cluster->refresh, *cluster->failure ? ROUND_RETRY_MS : REFRESH_INTERVAL_MS);
	if (*cluster->failure)
		cluster_complain(cluster, cluster->failure);
	else
		cluster->complaint[0] = '\0';
	cluster->sweep = true;
	cluster->changed = false;
	cluster_refuse_homeless(cluster);
	if (changed) {
		log_info("%s: some slots have another master", cluster->store.name);
		cluster_tell(cluster, STORE_EVENT_CHANGED);
		cluster_tell(cluster, STORE_EVENT_UP);
	}
}

/* A range: first slot, last slot, the master (host, port, ...), replicas. */
static void map_range(struct cluster *cluster, struct node **map, const redisReply *range)
{
	const struct url_host *asked = &cluster->candidates[cluster->candidate];
	const redisReply *master;
	const char *host;
	struct node *node;

	if (range->type != REDIS_REPLY_ARRAY || range->elements < 3 ||
	    range->element[0]->type != REDIS_REPLY_INTEGER ||
	    range->element[1]->type != REDIS_REPLY_INTEGER || range->element[0]->integer < 0 ||
	    range->element[1]->integer >= N_SLOTS)
		return;
	master = range->element[2];
	if (master->type != REDIS_REPLY_ARRAY || master->elements < 2 ||
	    master->element[1]->type != REDIS_REPLY_INTEGER || master->element[1]->integer < 1 ||
	    master->element[1]->integer > 65535)
		return;
	/* No host: that which was asked. A question mark: one that the node does not know. */
	host = master->element[0]->type == REDIS_REPLY_STRING ? master->element[0]->str : "";
	if (strcmp(host, "?") == 0)
		return;
	node = cluster_node(cluster, *host ? host : asked->host, (int)master->element[1]->integer);
	for (long long i = range->element[0]->integer; i <= range->element[1]->integer; i++)
		map[i] = node;
}

static void cluster_map(struct cluster *cluster, const redisReply *slots)
{
	struct node **map = xcalloc(N_SLOTS, sizeof(struct node *));

	for (size_t i = 0; i < slots->elements; i++)
		map_range(cluster, map, slots->element[i]);
	for (unsigned i = 0; i < N_SLOTS; i++)
		slot_assign(cluster, &cluster->slots[i], map[i]);
	free(map);
	if (!cluster->known)
		log_info("%s: a cluster of %u masters", cluster->store.name, cluster->n_nodes);
	cluster->known = true;
}

static void cluster_scout_done(struct scout *scout, const redisReply *slots, const char *error,
			       bool lasting)
{
	struct cluster *cluster = container_of(scout, struct cluster, scout);
	const struct url_host *asked = &cluster->candidates[cluster->candidate];

	if (slots) {
		cluster->failure[0] = '\0';
		cluster->lasting = false;
		cluster_map(cluster, slots);
		cluster_end_round(cluster);
		return;
	}
	snprintf(cluster->failure, sizeof(cluster->failure),
		 "its slots are not known: node %.100s:%d: %.120s", asked->host, asked->port,
		 error);
	cluster->lasting = lasting;
	if (++cluster->candidate < cluster->n_candidates)
		timer_in(&cluster->refresh, 0);
	else
		cluster_end_round(cluster);
}

static void cluster_refresh_cb(evutil_socket_t fd, short what, void *arg)
{
	struct cluster *cluster = arg;
	struct conn_address address = {.tls = cluster->tls};

	(void)fd;
	(void)what;
	store_env_turn(cluster->env);
	if (scout_is_busy(&cluster->scout))
		return;
	if (!cluster->candidates)
		cluster_start_round(cluster);
	address.host = cluster->candidates[cluster->candidate].host;
	address.port = cluster->candidates[cluster->candidate].port;
	scout_ask(&cluster->scout, &address, cluster->settings.connect_timeout_ms);
}

/* ------------------------------------------------------------------ the store */

static void cluster_submit(struct store *store, struct store_op *op)
{
	struct cluster *cluster = cluster_of(store);
	struct slot *slot = cluster_slot(cluster, op->key);

	if (slot->node && !(slot->detour && slot->detour->closed)) {
		slot->n_ops++;
		slot->node->n_ops++;
		store_submit(slot->node->store, op);
		return;
	}
	op->submitted_us = cluster_now_us(cluster);
	op->deadline_us = op->submitted_us + cluster->settings.command_timeout_ms * 1000;
	op_mark(op, LINK_PLAINLY, false);
	TAILQ_INSERT_TAIL(&slot_close(cluster, slot)->parked, op, entry);
	if (!slot->node)
		cluster_refresh(cluster);
}

static struct watcher *cluster_watcher(void *arg, const struct store_watch *watch)
{
	struct cluster *cluster = arg;
	const struct slot *slot = cluster_slot(cluster, watch->key);

	return slot->node ? redis_watcher(slot->node->store) : &cluster->limbo;
}

static void cluster_watch(struct store *store, struct store_watch *watch)
{
	watcher_watch(cluster_watcher(cluster_of(store), watch), watch);
}

static void cluster_unwatch(struct store *store, struct store_watch *watch)
{
	(void)store;
	watcher_unwatch(watcher_with(watch), watch);
}

/* Every node hears what is published at any; but only that of the slot counts us as listeners. */
static void cluster_gather_watches(struct cluster *cluster)
{
	struct node *node;

	cluster->watches_are_strays = false;
	watcher_hand_over(&cluster->limbo, cluster_watcher, cluster);
	LIST_FOREACH (node, &cluster->nodes, entry)
		watcher_hand_over(redis_watcher(node->store), cluster_watcher, cluster);
}

static bool cluster_flush(struct store *store)
{
	struct cluster *cluster = cluster_of(store);
	bool any = cluster_go_on(cluster);
	struct node *node;

	if (cluster->watches_are_strays)
		cluster_gather_watches(cluster);
	LIST_FOREACH (node, &cluster->nodes, entry)
		any = store_flush(node->store) || any;
	if (cluster->sweep) {
		cluster->sweep = false;
		cluster_sweep(cluster);
	}
	if (!TAILQ_EMPTY(&cluster->closed) && !event_pending(&cluster->pause, EV_TIMEOUT, NULL))
		timer_in(&cluster->pause, PAUSE_MS);
	return any;
}

static void cluster_free(struct store *store)
{
	struct cluster *cluster = cluster_of(store);
	struct detour *detour;

	cluster->ending = true;
	event_del(&cluster->pause);
	event_del(&cluster->refresh);
	scout_deinit(&cluster->scout);
	cluster_forget_candidates(cluster);
	while (!LIST_EMPTY(&cluster->nodes))
		node_close(LIST_FIRST(&cluster->nodes));
	while ((detour = TAILQ_FIRST(&cluster->closed))) {
		detour_refuse_all(cluster, detour, "no longer used", false);
		if (!TAILQ_EMPTY(&detour->parked))
			continue;
		TAILQ_REMOVE(&cluster->closed, detour, entry);
		detour->closed = false;
	}
	for (unsigned i = 0; i < N_SLOTS; i++)
		free(cluster->slots[i].detour);
	watcher_deinit(&cluster->limbo);
	tls_free(cluster->tls);
	store_settings_deinit(&cluster->settings);
	url_deinit(&cluster->url);
	free(cluster);
}

static const struct store_class cluster_class = {
	.submit = cluster_submit,
	.watch = cluster_watch,
	.unwatch = cluster_unwatch,
	.flush = cluster_flush,
	.free = cluster_free,
};

static const struct conn_address *limbo_where(struct watcher *watcher, const char **why)
{
	(void)watcher;
	(void)why;
	return NULL;
}

static void limbo_denied(struct watcher *watcher, const char *text)
{
	(void)watcher;
	(void)text;
}

static const struct watcher_class limbo_class = {
	.where = limbo_where,
	.denied = limbo_denied,
};

struct store *cluster_open(const struct store_env *env, const struct store_settings *settings,
			   struct url *url, struct store_listener *listener)
{
	struct cluster *cluster = xcalloc(1, sizeof(*cluster));

	cluster->env = env;
	store_settings_copy(&cluster->settings, settings);
	cluster->url = *url;
	*url = (struct url){0};
	if (cluster->url.tls)
		cluster->tls = tls_new(&cluster->settings);
	cluster->store = (struct store){
		.class = &cluster_class,
		.listener = listener,
		.name = cluster->url.name,
	};
	cluster->login = (struct login){
		.user = cluster->settings.username,
		.password_file = cluster->settings.password_file,
	};
	LIST_INIT(&cluster->nodes);
	TAILQ_INIT(&cluster->closed);
	watcher_init(&cluster->limbo, env, &limbo_class, &cluster->login,
		     settings->connect_timeout_ms);
	scout_init(&cluster->scout, env, &cluster->login, cluster_scout_done);
	event_assign(&cluster->pause, env->base, -1, 0, cluster_pause_cb, cluster);
	event_assign(&cluster->refresh, env->base, -1, 0, cluster_refresh_cb, cluster);
	cluster->round_ended_us = cluster_now_us(cluster);
	timer_in(&cluster->refresh, 0);
	return &cluster->store;
}
