/* SPDX-License-Identifier: MIT */
/* The life of one world: how its seed makes it, what happens to it, and how it comes to rest. */
#include "config.h"

#include "world.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "nodes.h"
#include "util/alloc.h"

#define MS INT64_C(1000)
#define SECOND (1000 * MS)

/* ------------------------------------------------------------------ mishaps */
static struct daemon *some_daemon(struct world *world)
{
	struct daemon *daemon =
		&world->daemons[random_below(&world->random, world->traits.n_daemons)];

	return daemon->up && !daemon->frozen && !daemon->stopping ? daemon : NULL;
}

static struct sim_store *some_store(struct daemon *daemon)
{
	const int n = daemon->world->traits.n_nodes;

	return daemon_store(daemon, n ? (int)random_below(&daemon->world->random, n) : -1);
}

static void server_mends(struct world *world, struct event *event)
{
	struct sim_server *server = container_of(event, struct sim_server, event);
	bool loses = server->node >= 0 ? server->loses : world->traits.data_loss;

	if (server->state == SERVER_STOPPED)
		server_continue(server);
	else if (server->state == SERVER_DOWN)
		server_up(server,
			  !world->calm && loses && (server->node >= 0 || chance(world, 5000)));
}

static void server_suffers(struct world *world)
{
	const struct traits *traits = &world->traits;
	struct sim_server *server =
		traits->n_nodes ? &world->nodes[random_below(&world->random, traits->n_nodes)]
				: &world->server;
	int64_t us = random_below(&world->random,
				  traits->forgetful ? 500 * MS : 3 * traits->timeout_ms * MS);

	if (server->state != SERVER_UP)
		return;
	switch (traits->forgetful ? 1 : random_below(&world->random, 3)) {
	case 0:
		server_stop(server);
		break;
	case 1:
		server_down(server);
		server->loses = server->node >= 0 && traits->data_loss && chance(world, 5000);
		/* Extending doubles a lease at most. */
		if (server->loses && !traits->prompt_loss)
			us += 2 * traits->ttl_ms * MS + traits->ttl_ms * 40 + 100 * MS;
		break;
	default:
		TRACE(world, "server%d: refuses for %d us", server->node, us);
		server->refuse_until_us = world->now_us + us;
		server->refuse_lasting = chance(world, 3000);
		server->refuse_writes_only = chance(world, 3000);
		return;
	}
	event_set(world, &server->event, world->now_us + us);
}

static void mishap(struct world *world, struct event *event)
{
	struct traits *traits = &world->traits;
	struct daemon *daemon = some_daemon(world);
	int64_t lot = random_below(&world->random, 100);

	if (world->calm)
		return;
	/* What happens to counters shows in the first grant after it: let there be many. */
	if (traits->n_nodes && traits->data_loss)
		lot /= 3;
	event_set(world, event,
		  world->now_us +
			  random_below(&world->random, traits->forgetful
							       ? SECOND
							       : 40 * traits->hold_us + 100 * MS));
	if (lot < 20 && traits->server_faults) {
		server_suffers(world);
	} else if (!daemon) {
		return;
	} else if (lot < 35 && traits->freezes) {
		daemon_freeze(daemon,
			      random_below(&world->random,
					   chance(world, 5000)
						   ? 2 * traits->timeout_ms * MS
						   : 2 * traits->ttl_ms * MS % (10 * SECOND) + 1));
	} else if (lot < 50 && traits->crashes) {
		daemon_crash(daemon);
	} else if (lot < 60 && traits->stops) {
		daemon_stop(daemon);
	} else if (lot < 75 && traits->reloads) {
		daemon_reload(daemon);
	} else if (lot < 85 && traits->cut) {
		sim_store_cut(some_store(daemon));
	} else if (lot < 90 && traits->sub_cut) {
		sim_store_cut_watches(some_store(daemon));
	} else if (lot >= 90 && traits->upgrades) {
		daemon_upgrade(daemon);
	}
}

/* Programs that use the same keys without a daemon. */
static void foreigner(struct world *world, struct event *event)
{
	struct traits *traits = &world->traits;
	int index = (int)random_below(&world->random, traits->n_exact);
	struct sim_key *key;
	char value[LOCK_STRING_SIZE];

	if (world->calm && !world->ending) {
		/* It leaves, and takes with it what is its own. */
		for (int i = 0; i < N_KEYS && world->server.state == SERVER_UP; i++) {
			key = server_key(&world->server, i);
			if (key->stands && key->foreign)
				server_remove(&world->server, i, REMOVED_RELEASED, world->now_us);
		}
		if (world->server.state != SERVER_UP)
			event_set(world, event, world->now_us + 10 * MS);
		return;
	}
	event_set(world, event, world->now_us + random_below(&world->random, 6 * traits->hold_us));
	if (world->server.state != SERVER_UP)
		return;
	key = server_key(&world->server, index);
	if (key->stands && key->foreign && chance(world, 5000)) {
		server_remove(&world->server, index, REMOVED_RELEASED, world->now_us);
	} else if (key->stands && traits->rude && chance(world, 300)) {
		server_remove(&world->server, index, REMOVED_VANISHED, world->now_us);
	} else if (!key->stands) {
		lock_string_make(&world->daemons[0].entropy, value);
		value[0] = '!';
		server_set(&world->server, index, value,
			   traits->rude && chance(world, 1000)
				   ? 0
				   : random_of(world, 10, 4 * traits->hold_us / MS + 20),
			   true);
	}
}

static void check(struct world *world, struct event *event)
{
	oracle_check(world);
	event_set(world, event, world->now_us + 97 * MS);
}

/* ------------------------------------------------------------------ birth */
static int64_t pick(struct world *world, const int64_t *of, size_t n)
{
	return of[random_below(&world->random, (int64_t)n)];
}

#define PICK(world, ...)                                                                           \
	pick(world, (const int64_t[]){__VA_ARGS__},                                                \
	     sizeof((const int64_t[]){__VA_ARGS__}) / sizeof(int64_t))

static void choose_settings(struct world *world)
{
	struct traits *traits = &world->traits;
	int64_t linger = chance(world, 3000) ? PICK(world, 5, 50, 500) : 0;
	bool local = chance(world, 3500), fence = chance(world, 7500);
	bool announce = chance(world, 2000), mixed = chance(world, 2000);
	uint32_t max_waiters = chance(world, 2000) ? 2 : 1000;
	bool renew = chance(world, 3000);

	for (int m = 0; m < N_MUTEXES; m++) {
		uint32_t limit = (uint32_t)PICK(world, 1, 2, 5, 100);

		for (int d = 0; d < MAX_DAEMONS; d++) {
			struct mutex_settings *settings = &world->daemons[d].settings[m];

			if (m > N_EXACT) {
				*settings = world->daemons[d].settings[N_EXACT];
				continue;
			}
			settings->ttl_ms = traits->ttl_ms;
			settings->renew = renew;
			settings->fence = fence;
			settings->handoff = (mixed ? chance(world, 5000) : local) ? HANDOFF_LOCAL
										  : HANDOFF_STORE;
			settings->handoff_limit = limit;
			settings->linger_ms = linger;
			settings->command_timeout_ms = traits->timeout_ms;
			settings->announce = announce;
			settings->max_waiters = max_waiters;
		}
	}
}

static void choose_traits(struct world *world)
{
	struct traits *t = &world->traits;
	int64_t fast_ppm = 200;

	t->n_daemons = (int)PICK(world, 1, 2, 2, 3, 4);
	t->n_clients = (int)random_of(world, 1, MAX_CLIENTS);
	t->n_exact = (int)random_of(world, 1, N_EXACT);
	t->n_members = chance(world, 4000) ? (int)random_of(world, 1, N_MEMBERS) : 0;
	t->latency_us = PICK(world, 50, 200, 1000);
	t->timeout_ms = PICK(world, 50, 200, 1000);
	t->ttl_ms = PICK(world, 3600000, 3600000, 60000, 5000, 1000, 300, 50);
	t->hold_us = PICK(world, 100, 1000, 10000, 100000);
	t->think_us = PICK(world, 10, 1000, 20000);
	t->busy = (unsigned)PICK(world, 0, 500, 3000);
	t->short_asks = chance(world, 3000);
	t->breaks = chance(world, 2000);
	t->patient = chance(world, 2000);
	t->foreign = chance(world, 3000);
	t->freezes = chance(world, 4000);
	t->faultless = chance(world, 2500);
	if (t->faultless)
		t->freezes = t->breaks = false;
	if (!t->faultless) {
		t->slow = (unsigned)PICK(world, 0, 20, 300);
		t->slow_us = PICK(world, 5 * MS, t->timeout_ms * MS, 2 * t->timeout_ms * MS);
		t->cut = (unsigned)PICK(world, 0, 10, 100);
		t->sub_cut = (unsigned)PICK(world, 0, 1);
		t->ghost_us = PICK(world, 100, 10 * MS, SECOND);
		t->server_faults = chance(world, 4000);
		t->data_loss = t->server_faults && chance(world, 4000);
		t->crashes = chance(world, 4000);
		t->stops = chance(world, 3000);
		/* A claim of before a crash is found by its mutex's section: that must be there. */
		t->reloads = !t->crashes && !t->stops && chance(world, 3000);
		t->rude = t->foreign && chance(world, 4000);
		t->upgrades = chance(world, 3000);
	}
	if (t->ttl_ms <= 5000)
		fast_ppm = PICK(world, 200, 4000);
	world->server.ppm = random_of(world, -fast_ppm, fast_ppm);
	for (int i = 0; i < t->n_daemons; i++)
		world->daemons[i].ppm = random_of(world, -fast_ppm, fast_ppm);
}

static void world_init(struct world *world, uint64_t seed, uint64_t steps, int nodes)
{
	struct event_queue queue = world->queue;
	bool verbose = world->verbose;

	memset(world, 0, sizeof(*world));
	world->queue = queue;
	world->verbose = verbose;
	world->seed = seed;
	world->steps = steps;
	random_seed(&world->random, seed);
	world->now_us = 10 * SECOND;
	TAILQ_INIT(&world->orphans);
	server_init(world, &world->server, -1);
	for (int i = 0; i < MAX_DAEMONS; i++)
		daemon_init(world, i);
	choose_traits(world);
	choose_settings(world);
	world->traits.n_nodes = nodes;
	nodes_init(world);
	world->server.event.run = server_mends;
	for (int i = 0; i < nodes; i++)
		world->nodes[i].event.run = server_mends;
	world->check.run = check;
	world->mishap.run = mishap;
	world->foreigner.run = foreigner;
	for (int i = 0; i < world->traits.n_daemons; i++) {
		for (int j = 0; j < world->traits.n_clients; j++)
			client_new(&world->daemons[i]);
		daemon_start(&world->daemons[i]);
	}
	event_set(world, &world->check, world->now_us);
	if (!world->traits.faultless)
		event_set(world, &world->mishap, world->now_us);
	if (world->traits.foreign)
		event_set(world, &world->foreigner, world->now_us);
}

/* ------------------------------------------------------------------ life */
static void step(struct world *world)
{
	struct event *event = event_pop(world);

	assert(event && event->at_us >= world->now_us);
	world->step++;
	world->now_us = event->at_us;
	if (event->daemon)
		daemon_receive(event->daemon, event);
	else
		event->run(world, event);
}

static void server_recovers(struct sim_server *server)
{
	server->refuse_until_us = 0;
	if (server->state != SERVER_UP)
		event_set(server->world, &server->event, server->world->now_us);
}

/* The faults are over and the clients leave: within bounded time nothing of ours may be left. */
static void come_to_rest(struct world *world)
{
	struct traits *traits = &world->traits;
	const char *why = "";
	int64_t until, look = 0;

	TRACE(world, "calm");
	world->calm = true;
	server_recovers(&world->server);
	for (int i = 0; i < traits->n_nodes; i++)
		server_recovers(&world->nodes[i]);
	for (int i = 0; i < traits->n_daemons; i++) {
		struct client *client;

		world->daemons[i].stop_polls = 0;
		if (world->daemons[i].life.place != EVENT_NOWHERE)
			event_set(world, &world->daemons[i].life, world->now_us);
		TAILQ_FOREACH (client, &world->daemons[i].clients, entry) {
			if (client->session_open)
				event_set(world, &client->event, world->now_us);
			else if (client->process_event.place == EVENT_QUEUED)
				event_set(world, &client->process_event, world->now_us);
		}
	}
	until = world->now_us + 12 * SECOND + 6 * traits->timeout_ms * MS + 2 * traits->ghost_us;
	/* What the process before has lost may come for a minute. */
	if (traits->upgrades)
		until += 60 * SECOND;
	while (world->now_us < look || !oracle_at_rest(world, &why)) {
		if (world->now_us >= until)
			world_fail(world, "does not come to rest: %s", why);
		look = world->now_us + 50 * MS;
		while (world->now_us < look)
			step(world);
	}
	TRACE(world, "at rest");
	world->ending = true;
	for (int i = 0; i < traits->n_daemons; i++)
		daemon_stop(&world->daemons[i]);
	for (bool any = true; any;) {
		any = false;
		for (int i = 0; i < traits->n_daemons; i++)
			any = any || world->daemons[i].up;
		if (any)
			step(world);
	}
}

static void world_deinit(struct world *world)
{
	event_cancel(world, &world->check);
	event_cancel(world, &world->mishap);
	event_cancel(world, &world->foreigner);
	for (int i = 0; i < N_KEYS; i++) {
		struct hold *hold;

		while ((hold = TAILQ_FIRST(&world->server.keys[i].holds)))
			oracle_end(hold);
	}
	server_deinit(&world->server);
	nodes_deinit(world);
	for (int i = 0; i < MAX_DAEMONS; i++)
		daemon_deinit(&world->daemons[i]);
	for (struct event *event; (event = event_pop(world));) {
		/* Messages that are still under way, which free themselves. */
		event->run(world, event);
	}
	strings_deinit(&world->vanished);
	strings_deinit(&world->lost);
}

uint64_t world_run(struct world *world, uint64_t seed, uint64_t steps, int nodes)
{
	world_init(world, seed, steps, nodes);
	while (world->step < steps)
		step(world);
	come_to_rest(world);
	world_deinit(world);
	return world->step;
}
