/* SPDX-License-Identifier: MIT */
/* A daemon without sockets: a real table, a loop, a journal, and the ways in which it ends. */
#include "config.h"

#include "world.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "nodes.h"
#include "util/alloc.h"

/* ------------------------------------------------------------------ names */
static const char *const mutex_words[N_MUTEXES] = {"m0", "m1", "m2", "f-0", "f-1", "f-2"};

const char *mutex_word(int mutex)
{
	return mutex_words[mutex];
}

int mutex_index(const char *name)
{
	return name[0] == 'f' ? N_EXACT + (name[2] - '0') : name[1] - '0';
}

struct mutex *daemon_mutex(struct daemon *daemon, int mutex)
{
	return table_find(daemon->table, mutex_words[mutex], strlen(mutex_words[mutex]));
}

int daemon_key(struct daemon *daemon, int mutex)
{
	if (mutex >= N_EXACT)
		return 2 * N_EXACT + mutex - N_EXACT;
	return daemon->moved[mutex] ? N_EXACT + mutex : mutex;
}

struct sim_store *daemon_store(struct daemon *daemon, int node)
{
	return daemon->stores[node < 0 ? 0 : node];
}

bool daemon_idle(struct daemon *daemon)
{
	for (int i = 0; i < MAX_NODES; i++) {
		if (daemon->stores[i] && !sim_store_idle(daemon->stores[i]))
			return false;
	}
	return true;
}

void daemon_trouble(struct daemon *daemon)
{
	daemon->trouble_us = daemon->world->now_us;
}

/* ------------------------------------------------------------------ its clock and chance */
int64_t daemon_local_us(const struct daemon *daemon, int64_t true_us)
{
	return daemon->base_us + true_us + true_us * daemon->ppm / 1000000;
}

int64_t daemon_true_us(const struct daemon *daemon, int64_t local_us)
{
	int64_t gone = local_us - daemon->base_us;
	int64_t at = gone - gone * daemon->ppm / 1000000;

	while (daemon_local_us(daemon, at) >= local_us)
		at -= 1 + (daemon_local_us(daemon, at) - local_us);
	while (daemon_local_us(daemon, at) < local_us)
		at++;
	return at;
}

static int64_t now_us(struct clock *clock)
{
	struct daemon *daemon = container_of(clock, struct daemon, clock);

	return daemon_local_us(daemon, daemon->world->now_us);
}

static void fill(struct entropy *entropy, void *buf, size_t size)
{
	struct daemon *daemon = container_of(entropy, struct daemon, entropy);
	unsigned char *p = buf;

	for (size_t i = 0; i < size; i += 8) {
		uint64_t r = random_next(&daemon->world->random);

		memcpy(p + i, &r, size - i < 8 ? size - i : 8);
	}
}

/* ------------------------------------------------------------------ its journal */
static uint32_t journal_claim(struct journal *journal, const struct mutex *mutex, const char *value)
{
	struct daemon *daemon = container_of(journal, struct daemon, journal);
	unsigned i;

	for (i = 0; i < daemon->n_slots && daemon->slots[i].used; i++)
		;
	if (i == MAX_SLOTS)
		world_fail(daemon->world, "d%d: the journal fills up: claims are not dropped",
			   daemon->index);
	if (i == daemon->n_slots)
		daemon->n_slots++;
	daemon->slots[i] =
		(struct journal_slot){.used = true, .mutex = mutex_index(mutex_name(mutex))};
	snprintf(daemon->slots[i].value, LOCK_STRING_SIZE, "%s", value);
	snprintf(daemon->slots[i].key, sizeof(daemon->slots[i].key), "%s", mutex_key(mutex)->key);
	TRACE(daemon->world, "d%d: journal %d: claim %t", daemon->index, i + 1, trace_tag(value));
	return i + 1;
}

static struct journal_slot *slot_of(struct journal *journal, uint32_t slot)
{
	struct daemon *daemon = container_of(journal, struct daemon, journal);

	assert(slot && slot <= daemon->n_slots && daemon->slots[slot - 1].used);
	return &daemon->slots[slot - 1];
}

static void journal_grant(struct journal *journal, uint32_t slot_number, const struct lock *lock)
{
	struct daemon *daemon = container_of(journal, struct daemon, journal);
	struct journal_slot *slot = slot_of(journal, slot_number);

	TRACE(daemon->world, "d%d: journal %d: %t granted as %t", daemon->index, slot_number,
	      trace_tag(slot->value), trace_tag(lock->string));
	slot->granted = true;
	slot->claim = mutex_claim(lock->mutex);
	memcpy(slot->string, lock->string, LOCK_STRING_SIZE);
	slot->kind = lock->owner->kind;
	slot->owner =
		slot->kind == HOLDER_PID ? container_of(lock->owner, struct client, process) : NULL;
	slot->lock = *lock;
	slot->lock.note = NULL;
	slot->lock.mutex = NULL;
	slot->lock.owner = slot->lock.acquirer = NULL;
}

static void journal_drop(struct journal *journal, uint32_t slot_number)
{
	struct daemon *daemon = container_of(journal, struct daemon, journal);
	struct journal_slot *slot = slot_of(journal, slot_number);

	TRACE(daemon->world, "d%d: journal %d: drop %t", daemon->index, slot_number,
	      trace_tag(slot->value));
	slot->used = false;
}

static void journal_revoke(struct journal *journal, uint32_t slot_number)
{
	slot_of(journal, slot_number)->granted = false;
}

static const struct journal_class journal_class = {journal_claim, journal_grant, journal_drop,
						   journal_revoke};

/* ------------------------------------------------------------------ its configuration */
static void section_free(struct section *section)
{
	free(section->name);
	free(section->key);
	free(section);
}

static void configure(struct daemon *daemon)
{
	struct traits *traits = &daemon->world->traits;
	struct section *sections[N_EXACT + 1];
	size_t n = 0;

	for (int i = 0; i <= traits->n_exact; i++) {
		bool family = i == traits->n_exact;
		struct section *section;

		if (family ? !traits->n_members : daemon->removed[i])
			continue;
		section = xcalloc(1, sizeof(*section));
		section->family = family;
		section->name = family ? xstrdup("f-*") : xasprintf("m%d", i);
		section->key =
			family ? xstrdup("kf-{name}") : xasprintf("k%d", daemon_key(daemon, i));
		section->settings = daemon->settings[family ? N_EXACT : i];
		section->store = daemon->base;
		section->free = section_free;
		sections[n++] = section;
	}
	table_configure(daemon->table, sections, n);
}

void daemon_reload(struct daemon *daemon)
{
	struct world *world = daemon->world;
	int i = (int)random_below(&world->random, world->traits.n_exact);

	if (chance(world, 4000))
		daemon->moved[i] = !daemon->moved[i];
	else if (chance(world, 5000))
		daemon->removed[i] = !daemon->removed[i];
	if (daemon->removed[i]) /* and with it what it remembered */
		daemon->fence_seen[i] = daemon->fence_seen[N_EXACT + i] = 0;
	daemon->settings[i].handoff_limit = (uint32_t)random_of(world, 1, 5);
	daemon->reloads++;
	TRACE(world, "d%d: reloads: m%d is %s, at k%d", daemon->index, i,
	      (intptr_t)(daemon->removed[i] ? "gone" : "there"), daemon_key(daemon, i));
	daemon_trouble(daemon);
	table_turn(daemon->table);
	configure(daemon);
	daemon_turn(daemon);
}

/* ------------------------------------------------------------------ its loop */
static void trace_state(const struct mutex *mutex, enum mutex_state from, enum mutex_state to)
{
	const struct section *section = mutex_section(mutex);
	struct daemon *daemon = container_of(section->store->listener, struct daemon, listener);

	int index = mutex_index(mutex_name(mutex));

	if (from == MUTEX_STAYING_OUT || to == MUTEX_STAYING_OUT)
		daemon->stayed_out_us[index] =
			to == MUTEX_STAYING_OUT ? CLOCK_NEVER : daemon->world->now_us;
	TRACE(daemon->world, "d%d: %s %s -> %s", daemon->index, (intptr_t)mutex_words[index],
	      (intptr_t)mutex_state_word(from), (intptr_t)mutex_state_word(to));
}

void daemon_turn(struct daemon *daemon)
{
	struct world *world = daemon->world;
	struct event *event;
	struct sim_ask *ask;
	int64_t next;

	event_cancel(world, &daemon->turn);
	if (daemon->spin_us != world->now_us) {
		daemon->spin_us = world->now_us;
		daemon->spins = 0;
	}
	if (daemon->spins++ > 10000)
		world_fail(world, "d%d turns for ever in one moment", daemon->index);
	table_turn(daemon->table);
	oracle_leases(daemon, false);
	while ((event = TAILQ_FIRST(&daemon->inbox))) {
		TAILQ_REMOVE(&daemon->inbox, event, entry);
		event->place = EVENT_NOWHERE;
		event->run(world, event);
	}
	for (unsigned i = 0; table_deliver(daemon->table) + store_flush(daemon->base); i++) {
		if (i > 1000)
			world_fail(world, "d%d: one turn has no end", daemon->index);
	}
	while ((ask = TAILQ_FIRST(&daemon->done))) {
		TAILQ_REMOVE(&daemon->done, ask, entry);
		free(ask);
	}
	oracle_leases(daemon, true);

	next = table_next_us(daemon->table);
	if (next == CLOCK_NEVER) {
		event_cancel(world, &daemon->wake);
	} else if (daemon->wake.place != EVENT_QUEUED || daemon->wake_local_us != next) {
		int64_t late = chance(world, 2000) ? random_below(&world->random, 1000) : 0;

		daemon->wake_local_us = next;
		event_set(world, &daemon->wake, daemon_true_us(daemon, next) + late);
	}
	if (chance(world, world->traits.busy))
		daemon->busy_until_us = world->now_us + random_below(&world->random, 500);
}

void daemon_receive(struct daemon *daemon, struct event *event)
{
	struct world *world = daemon->world;

	if (!daemon->up) {
		/* Only messages find nobody there, and they know what to do. */
		event->run(world, event);
		return;
	}
	TAILQ_INSERT_TAIL(&daemon->inbox, event, entry);
	event->place = EVENT_INBOX;
	if (daemon->busy_until_us <= world->now_us)
		daemon_turn(daemon);
	else if (daemon->turn.place == EVENT_NOWHERE)
		event_set(world, &daemon->turn, daemon->busy_until_us);
}

static void turn_comes(struct world *world, struct event *event)
{
	struct daemon *daemon = container_of(event, struct daemon, turn);

	if (daemon->busy_until_us > world->now_us)
		event_set(world, event, daemon->busy_until_us);
	else
		daemon_turn(daemon);
}

static void wake_comes(struct world *world, struct event *event)
{
	/* table_turn() has run already. */
	(void)world;
	(void)event;
}

static void thaws(struct world *world, struct event *event);

void daemon_freeze(struct daemon *daemon, int64_t for_us)
{
	struct world *world = daemon->world;

	TRACE(world, "d%d: stands still for %d us", daemon->index, for_us);
	daemon->busy_until_us = world->now_us + for_us;
	daemon->resumed_us = daemon->busy_until_us;
	daemon->frozen = true;
	daemon_trouble(daemon);
	daemon->life.run = thaws;
	event_set(world, &daemon->life, daemon->busy_until_us);
}

static void thaws(struct world *world, struct event *event)
{
	struct daemon *daemon = container_of(event, struct daemon, life);

	TRACE(world, "d%d: goes on", daemon->index);
	daemon->frozen = false;
	daemon_trouble(daemon);
	daemon_turn(daemon);
}

static void store_event(struct store_listener *listener, struct store *store,
			enum store_event event)
{
	struct daemon *daemon = container_of(listener, struct daemon, listener);

	TRACE(daemon->world, "d%d: the store %s", daemon->index,
	      (intptr_t)(event == STORE_EVENT_UP ? "is up" : "may have changed"));
	for (int i = 0; i < N_KEYS; i++)
		oracle_cause(daemon, i);
	table_store_event(daemon->table, store, event);
}

/* ------------------------------------------------------------------ its life */
static void recover(struct daemon *daemon)
{
	struct world *world = daemon->world;
	unsigned n = daemon->n_slots;

	for (unsigned i = 0; i < n; i++) {
		struct journal_slot *slot = &daemon->slots[i];
		const char *name = mutex_words[slot->mutex];
		struct claim claim = {.value = slot->value, .slot = i + 1};
		struct mutex *mutex;
		struct hold *hold;

		if (!slot->used)
			continue;
		mutex = table_recall(daemon->table, name, strlen(name), daemon->base, slot->key);
		if (!mutex)
			world_fail(world, "d%d: can't recall %s at %s", daemon->index, name,
				   slot->key);
		hold = slot->granted ? oracle_find(world, slot->string) : NULL;
		if (slot->granted && slot->kind != HOLDER_CONNECTION && hold && hold->live &&
		    (slot->kind == HOLDER_NOBODY ||
		     (slot->owner == hold->owner && slot->owner->process_alive))) {
			struct lock lock = slot->lock;

			lock.owner = slot->kind == HOLDER_PID ? &slot->owner->process
							      : table_nobody(daemon->table);
			claim.lease = slot->claim.lease;
			claim.doubtful = slot->claim.doubtful;
			TRACE(world, "d%d: adopts %t", daemon->index, trace_tag(slot->string));
			hold->known = true;
			hold->compared_us = world->now_us;
			if (!table_adopt(daemon->table, mutex, &lock, &claim))
				world_fail(world, "d%d: could not adopt %.6s", daemon->index,
					   slot->string);
			continue;
		}
		TRACE(world, "d%d: removes %t of its last life", daemon->index,
		      trace_tag(slot->value));
		table_remove_claim(daemon->table, mutex, &claim, 0);
	}
}

void daemon_open(struct daemon *daemon)
{
	struct table_env env = {&daemon->clock, &daemon->entropy, &daemon->journal, trace_state};

	daemon->up = true;
	daemon->n_born++;
	daemon_trouble(daemon);
	daemon_open_store(daemon);
	daemon->table = table_new(&env);
	configure(daemon);
}

void daemon_start(struct daemon *daemon)
{
	struct world *world = daemon->world;
	struct client *client;

	TRACE(world, "d%d: starts", daemon->index);
	sim_store_forget_ghosts(world, daemon, NULL);
	daemon->stopping = daemon->released = daemon->frozen = false;
	daemon->busy_until_us = 0;
	daemon->resumed_us = world->now_us;
	memset(daemon->fence_seen, 0, sizeof(daemon->fence_seen));
	strings_deinit(&daemon->dead);
	for (int i = 0; i < N_KEYS; i++) {
		daemon->counts[i] = (struct key_watch_counts){.window_us = world->now_us};
		/* It does not know how often it was passed on before. */
		world->server.keys[i].passes = 0;
	}
	daemon_open(daemon);
	TAILQ_FOREACH (client, &daemon->clients, entry) {
		holder_init(&client->process, client->process.class, HOLDER_PID);
		if (!client->process_alive)
			client_start(client, world->now_us + random_below(&world->random, 20000));
	}
	recover(daemon);
	daemon_turn(daemon);
}

static void starts(struct world *world, struct event *event)
{
	(void)world;
	daemon_start(container_of(event, struct daemon, life));
}

void daemon_forget(struct daemon *daemon)
{
	struct world *world = daemon->world;
	struct sim_ask *ask;

	daemon->up = false;
	event_cancel(world, &daemon->turn);
	event_cancel(world, &daemon->wake);
	/* As a daemon ends, except that nothing of it reaches anybody any more. */
	table_abandon(daemon->table);
	table_deliver(daemon->table);
	daemon_abandon_store(daemon);
	table_deliver(daemon->table);
	table_free(daemon->table);
	daemon->table = NULL;
	if (!TAILQ_EMPTY(&daemon->asks))
		world_fail(world, "d%d: asks are left over at its end", daemon->index);
	while ((ask = TAILQ_FIRST(&daemon->done))) {
		TAILQ_REMOVE(&daemon->done, ask, entry);
		free(ask);
	}
	daemon_close_store(daemon);
}

/* The process is gone, and all that it knew. */
static void vanish(struct daemon *daemon)
{
	struct world *world = daemon->world;
	struct client *client;
	struct event *event;

	oracle_crashed(daemon);
	event_cancel(world, &daemon->life);
	daemon_forget(daemon);
	TAILQ_FOREACH (client, &daemon->clients, entry)
		client_crash(client);
	while ((event = TAILQ_FIRST(&daemon->inbox))) {
		TAILQ_REMOVE(&daemon->inbox, event, entry);
		event->place = EVENT_NOWHERE;
		event->run(world, event);
	}
	daemon->life.run = starts;
}

void daemon_crash(struct daemon *daemon)
{
	struct world *world = daemon->world;

	TRACE(world, "d%d: crashes", daemon->index);
	vanish(daemon);
	event_set(world, &daemon->life, world->now_us + random_of(world, 10000, 500000));
}

static void stop_goes_on(struct world *world, struct event *event)
{
	struct daemon *daemon = container_of(event, struct daemon, life);

	if (!daemon->released) {
		TRACE(world, "d%d: the time of grace is over", daemon->index);
		daemon->released = true;
		table_turn(daemon->table);
		table_stop_release(daemon->table);
		daemon_turn(daemon);
	}
	if (daemon->stop_polls++ < 200 &&
	    !(table_stopped(daemon->table) && TAILQ_EMPTY(&daemon->asks))) {
		event_set(world, event, world->now_us + 20000);
		return;
	}
	if (world->calm && daemon->stop_polls >= 200)
		world_fail(world, "d%d: does not come to its end", daemon->index);
	daemon_end(daemon);
	if (!world->ending)
		event_set(world, &daemon->life, world->now_us + random_of(world, 1000, 200000));
}

void daemon_stop(struct daemon *daemon)
{
	struct world *world = daemon->world;

	TRACE(world, "d%d: is to stop", daemon->index);
	daemon->stopping = true;
	daemon->stop_polls = 0;
	daemon->life.run = stop_goes_on;
	table_turn(daemon->table);
	table_stop(daemon->table);
	daemon_turn(daemon);
	event_set(world, &daemon->life, world->now_us + random_of(world, 0, 300000));
}

void daemon_end(struct daemon *daemon)
{
	TRACE(daemon->world, "d%d: ends", daemon->index);
	vanish(daemon);
}

void daemon_init(struct world *world, int index)
{
	struct daemon *daemon = &world->daemons[index];

	daemon->world = world;
	daemon->index = index;
	daemon->clock.now_us = now_us;
	daemon->entropy.fill = fill;
	daemon->journal.class = &journal_class;
	daemon->listener.event = store_event;
	daemon->base_us = random_below(&world->random, 1000000000);
	TAILQ_INIT(&daemon->inbox);
	TAILQ_INIT(&daemon->clients);
	TAILQ_INIT(&daemon->asks);
	TAILQ_INIT(&daemon->done);
	TAILQ_INIT(&daemon->holds);
	daemon->turn.run = turn_comes;
	daemon->wake.run = wake_comes;
	daemon->wake.daemon = daemon;
	daemon->life.run = starts;
}

void daemon_deinit(struct daemon *daemon)
{
	struct client *client;

	assert(!daemon->up && TAILQ_EMPTY(&daemon->inbox) && TAILQ_EMPTY(&daemon->asks));
	strings_deinit(&daemon->dead);
	while ((client = TAILQ_FIRST(&daemon->clients))) {
		TAILQ_REMOVE(&daemon->clients, client, entry);
		event_cancel(daemon->world, &client->event);
		event_cancel(daemon->world, &client->process_event);
		free(client);
	}
}
