/* SPDX-License-Identifier: MIT */
/* Several servers, and a quorum of them for each daemon. */
#include "config.h"

#include "nodes.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "store/quorum.h"
#include "util/alloc.h"

#define MS INT64_C(1000)
#define SECOND (1000 * MS)
/* A fence as clients see it is the counter times this, and passes inside a lease. */
#define FENCE_STEP 1024

static int majority(const struct world *world)
{
	return world->traits.n_nodes / 2 + 1;
}

static int spare(const struct world *world)
{
	return world->traits.n_nodes - majority(world);
}

/* ------------------------------------------------------------------ what stands */
static bool stands_as(const struct sim_key *key, const char *value)
{
	return key->stands && !strcmp(key->value, value);
}

struct sim_key *world_key(struct world *world, int index)
{
	struct sim_key *key = &world->server.keys[index];

	if (!world->traits.n_nodes)
		return server_key(&world->server, index);
	key->stands = false;
	for (int i = 0; i < world->traits.n_nodes; i++)
		key->stands |= server_key(&world->nodes[i], index)->stands;
	return key;
}

static int count(struct world *world, int index, const char *value)
{
	int n = 0;

	for (int i = 0; i < world->traits.n_nodes; i++)
		n += stands_as(server_key(&world->nodes[i], index), value);
	return n;
}

bool world_stands_as(struct world *world, int index, const char *value)
{
	if (!world->traits.n_nodes)
		return stands_as(world_key(world, index), value);
	return count(world, index, value) >= majority(world);
}

bool world_stood_as(struct world *world, int index, const char *value, int64_t since_us)
{
	struct sim_key *key = world_key(world, index);
	int n = 0;

	if (!world->traits.n_nodes)
		return stands_as(key, value) && key->since_us <= since_us;
	for (int i = 0; i < world->traits.n_nodes; i++) {
		key = server_key(&world->nodes[i], index);
		n += stands_as(key, value) && key->since_us <= since_us;
	}
	return n >= majority(world);
}

bool world_stands_anywhere(struct world *world, int index, const char *value)
{
	if (!world->traits.n_nodes)
		return stands_as(world_key(world, index), value);
	return count(world, index, value) > 0;
}

/* ------------------------------------------------------------------ what nodes tell */
void nodes_removed(struct sim_server *server, int index, enum remove_cause cause, int64_t at_us)
{
	struct world *world = server->world;
	struct sim_key *key = &world->server.keys[index], *here = &server->keys[index];
	int left = 0;

	if (key->last_stood_us < at_us)
		key->last_stood_us = at_us;
	if (cause == REMOVED_VANISHED) {
		oracle_vanished(world, index, here->value);
		return;
	}
	if (cause == REMOVED_LOST) {
		oracle_partly_lost(world, index, here->value);
		return;
	}
	for (int i = 0; i < world->traits.n_nodes; i++)
		left += &world->nodes[i] != server &&
			stands_as(&world->nodes[i].keys[index], here->value);
	/* The last of them to go was the one by which it lost its majority, or a later one. */
	if (left < majority(world))
		oracle_removed(world, index, here->value, cause, key->last_stood_us);
}

void nodes_lost_counter(struct sim_server *server, int index)
{
	server->lost_us = server->world->now_us;
	server->keys[index].no_counter = true;
}

/* Did it never have a counter, or lost it, and does not know the last fence since? */
static bool is_blank(struct world *world, const struct sim_key *here, int index)
{
	/* What the grant that is looked at has written may be just the last fence again. */
	return here->no_counter && here->fence <= world->server.keys[index].fence_high / FENCE_STEP;
}

static bool is_clear(struct sim_store *store, struct sim_server *server, int64_t for_us)
{
	const struct world *world = server->world;

	return store && server->state == SERVER_UP && sim_store_connected(store) &&
	       world->now_us - sim_store_trouble_us(store) > for_us &&
	       world->now_us >= server->refuse_until_us + for_us;
}

/*
 * Fences grow strictly for as long as those nodes that are down, or cannot be reached, while the
 * lock is asked for, and those that have no counter, are together a minority.
 */
static bool too_few_counters(struct daemon *daemon, int index)
{
	struct world *world = daemon->world;
	const struct traits *traits = &world->traits;
	const int64_t tried_us = traits->timeout_ms * MS + traits->slow_us;
	int n_blank = 0, n_away = 0;

	for (int i = 0; i < traits->n_nodes; i++) {
		struct sim_server *node = &world->nodes[i];

		if (is_blank(world, &node->keys[index], index))
			n_blank++;
		else if (!is_clear(daemon_store(daemon, i), node, tried_us))
			n_away++;
	}
	return n_blank > 0 && n_blank + n_away > spare(world);
}

void nodes_raised(struct sim_server *server, int index, int daemon)
{
	struct world *world = server->world;

	if (server->node < 0 || !is_blank(world, &server->keys[index], index))
		return;
	/* It looks from now on as if it knew. */
	if (too_few_counters(&world->daemons[daemon], index))
		world->server.keys[index].fence_is_loose = true;
}

/* ------------------------------------------------------------------ what the oracle asks */
bool nodes_are_clear(struct daemon *daemon, int64_t for_us)
{
	struct world *world = daemon->world;
	int n = 0;

	for (int i = 0; i < world->traits.n_nodes; i++)
		n += is_clear(daemon_store(daemon, i), &world->nodes[i], for_us);
	return n >= majority(world);
}

bool nodes_of_hold_are_clear(const struct hold *hold, int64_t for_us, int64_t before_us)
{
	struct world *world = hold->daemon->world;
	int n = 0;

	/* What was delayed makes others wait on the same connection. */
	for_us += 2 * world->traits.slow_us;
	for (int i = 0; i < world->traits.n_nodes; i++) {
		struct sim_server *node = &world->nodes[i];

		n += stands_as(&node->keys[hold->key], hold->value) &&
		     node->keys[hold->key].since_us < before_us &&
		     is_clear(daemon_store(hold->daemon, i), node, for_us);
	}
	return !world->traits.n_nodes || n >= majority(world);
}

bool nodes_fence_is_excused(struct daemon *daemon, int index)
{
	return daemon->world->server.keys[index].fence_is_loose || too_few_counters(daemon, index);
}

void nodes_fence_granted(struct world *world, int index, int64_t fence, int64_t asked_us)
{
	int n_told = 0;

	world->server.keys[index].fence_is_loose = false;
	for (int i = 0; i < world->traits.n_nodes; i++) {
		struct sim_server *node = &world->nodes[i];
		struct sim_key *here = &node->keys[index];
		const bool told = here->fence >= fence / FENCE_STEP;

		here->no_counter = here->no_counter && !told;
		n_told += told || node->lost_us >= asked_us;
	}
	/* Those that a pass inside a lease was granted with may have been lost since. */
	if (n_told < (world->traits.n_nodes ? majority(world) : 0) && fence % FENCE_STEP == 0)
		world_fail(world, "fence %lld of k%d is known to %d nodes only", (long long)fence,
			   index, n_told);
}

bool nodes_are_free(struct daemon *daemon, int index, int64_t for_us)
{
	struct world *world = daemon->world;
	int n = 0;

	for (int i = 0; i < world->traits.n_nodes; i++) {
		struct sim_server *node = &world->nodes[i];
		struct sim_key *here = server_key(node, index);

		n += !here->stands && world->now_us - here->since_us > for_us &&
		     is_clear(daemon_store(daemon, i), node, for_us);
	}
	return n >= majority(world);
}

bool nodes_are_haunted(struct daemon *daemon)
{
	for (int i = 0; i < daemon->world->traits.n_nodes; i++) {
		if (sim_store_haunted(daemon->stores[i]))
			return true;
	}
	return false;
}

void nodes_check_holds(struct world *world)
{
	for (int i = 0; world->traits.n_nodes && i < N_KEYS; i++) {
		struct hold *hold;

		TAILQ_FOREACH (hold, &world->server.keys[i].holds, key_entry) {
			if (oracle_relies_on(hold) &&
			    count(world, i, hold->value) < majority(world))
				world_fail(world, "%.6s of d%d is held, but k%d is that on %d only",
					   hold->string, hold->daemon->index, i,
					   count(world, i, hold->value));
		}
	}
}

/* What stands until it expires: on a minority, what a quorum was to remove when its process ended.
 */
static bool is_leftover(struct world *world, const struct sim_key *here, int index)
{
	return here->by_born != world->daemons[here->by_daemon].n_born &&
	       count(world, index, here->value) < majority(world);
}

bool nodes_at_rest(struct world *world, char *text, size_t size)
{
	for (int i = 0; i < world->traits.n_nodes; i++) {
		for (int j = 0; j < N_KEYS; j++) {
			struct sim_key *here = server_key(&world->nodes[i], j);

			if (!here->stands || oracle_nobody_holds(world, j, here->value) ||
			    is_leftover(world, here, j))
				continue;
			snprintf(text, size, "k%d of node %d is %.6s, which nobody holds", j, i,
				 here->value);
			return false;
		}
	}
	return true;
}

/* ------------------------------------------------------------------ birth and end */
void nodes_init(struct world *world)
{
	struct traits *t = &world->traits;

	if (!t->n_nodes)
		return;
	/* Programs without a daemon would be quorums of their own. */
	t->foreign = t->rude = false;
	t->server_faults = !t->faultless && chance(world, 7500);
	t->data_loss = t->server_faults && chance(world, 5000);
	t->prompt_loss = t->data_loss && chance(world, 3000);
	/* What a loss does to counters shows when it hits the right ones between two grants. */
	t->forgetful = !t->faultless && chance(world, 2000);
	if (t->forgetful) {
		t->server_faults = t->data_loss = t->prompt_loss = true;
		t->think_us = SECOND;
		t->hold_us = 1000;
		t->timeout_ms = 50;
		t->slow = t->cut = 0;
		t->n_clients = 2;
		if (t->n_daemons == 1)
			t->n_daemons = 2;
	}
	/* A node that lost its data stays away for as long as the longest lease. */
	if (t->data_loss && !t->prompt_loss)
		t->ttl_ms = chance(world, 5000) ? 1000 : 300;
	for (int d = 0; d < MAX_DAEMONS; d++) {
		for (int m = 0; m < N_MUTEXES; m++) {
			world->daemons[d].settings[m].ttl_ms = t->ttl_ms;
			world->daemons[d].settings[m].command_timeout_ms = t->timeout_ms;
		}
	}
	for (int i = 0; i < t->n_nodes; i++) {
		const int64_t ppm = world->server.ppm < 0 ? -world->server.ppm : world->server.ppm;

		server_init(world, &world->nodes[i], i);
		for (int k = 0; k < N_KEYS; k++)
			world->nodes[i].keys[k].no_counter = true;
		world->nodes[i].ppm = random_of(world, -ppm, ppm);
	}
}

void nodes_deinit(struct world *world)
{
	for (int i = 0; i < world->traits.n_nodes; i++)
		server_deinit(&world->nodes[i]);
}

static void arm(void *arg, int64_t due_us)
{
	struct daemon *daemon = arg;

	if (due_us == CLOCK_NEVER)
		event_cancel(daemon->world, &daemon->quorum_wake);
	else
		event_set(daemon->world, &daemon->quorum_wake, daemon_true_us(daemon, due_us));
}

static void wake_comes(struct world *world, struct event *event)
{
	struct daemon *daemon = container_of(event, struct daemon, quorum_wake);

	(void)world;
	quorum_run(daemon->base);
}

void daemon_open_store(struct daemon *daemon)
{
	struct world *world = daemon->world;
	const struct quorum_env env = {
		.clock = &daemon->clock,
		.timeout_ms = world->traits.timeout_ms,
		.arm = arm,
		.arg = daemon,
	};

	if (!world->traits.n_nodes) {
		daemon->stores[0] = sim_store_new(daemon, &world->server, &daemon->listener);
		daemon->base = sim_store_base(daemon->stores[0]);
		return;
	}
	daemon->quorum_wake.daemon = daemon;
	daemon->quorum_wake.run = wake_comes;
	daemon->base = quorum_new(&env, "sim", &daemon->listener);
	for (int i = 0; i < world->traits.n_nodes; i++) {
		daemon->stores[i] = sim_store_new(daemon, &world->nodes[i],
						  quorum_member_listener(daemon->base));
		quorum_add(daemon->base, sim_store_base(daemon->stores[i]));
	}
}

void daemon_abandon_store(struct daemon *daemon)
{
	if (daemon->world->traits.n_nodes)
		store_free(daemon->base);
	else
		sim_store_abandon(daemon->stores[0]);
}

void daemon_close_store(struct daemon *daemon)
{
	struct world *world = daemon->world;

	if (!world->traits.n_nodes)
		sim_store_crash(daemon->stores[0]);
	daemon->base = NULL;
	memset(daemon->stores, 0, sizeof(daemon->stores));
	for (int i = 0; i < N_KEYS; i++) {
		world->server.keys[i].subscribers &= ~(1u << daemon->index);
		for (int j = 0; j < world->traits.n_nodes; j++)
			world->nodes[j].keys[i].subscribers &= ~(1u << daemon->index);
	}
}
