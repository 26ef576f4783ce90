/* SPDX-License-Identifier: MIT */
/* What clients do: ask, wait, hold, let go, give up, and die at every moment. */
#include "config.h"

#include "world.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "util/alloc.h"

static void acts(struct world *world, struct event *event);
static void reaped(struct world *world, struct event *event);

static struct world *world_of(struct client *client)
{
	return client->daemon->world;
}

/* Some time around that, seldom much longer, often none. */
static int64_t some(struct world *world, int64_t us)
{
	if (chance(world, 2000))
		return 0;
	if (chance(world, 500))
		return random_below(&world->random, 20 * us);
	return random_below(&world->random, 2 * us);
}

static void act_in(struct client *client, int64_t us)
{
	client->event.run = acts;
	event_set(world_of(client), &client->event, world_of(client)->now_us + us);
}

/* ------------------------------------------------------------------ as holders */
static void session_lost(struct holder *holder, const struct lock *lock, enum lost_reason reason)
{
	oracle_lost(container_of(holder, struct client, session)->daemon, lock, reason);
}

static void session_expiring(struct holder *holder, const struct lock *lock, int64_t left_ms)
{
	struct client *client = container_of(holder, struct client, session);
	struct world *world = world_of(client);

	oracle_expiring(client->daemon, lock, left_ms);
	/* Who is told may ask for more time, at the very last moment perhaps. */
	if (client->phase == CLIENT_HOLDING && !strcmp(client->hold->string, lock->string) &&
	    !world->calm && chance(world, 3000)) {
		const int64_t left_us = left_ms * 1000, way_us = 3 * world->traits.latency_us;

		client->extends = true;
		act_in(client, chance(world, 5000) && left_us > way_us
				       ? left_us - random_below(&world->random, way_us)
				       : random_below(&world->random, left_us + 1000));
	}
}

static void process_lost(struct holder *holder, const struct lock *lock, enum lost_reason reason)
{
	(void)holder;
	(void)lock;
	(void)reason;
}

static void process_expiring(struct holder *holder, const struct lock *lock, int64_t left_ms)
{
	(void)holder;
	(void)lock;
	(void)left_ms;
}

static const struct holder_class session_class = {session_lost, session_expiring, NULL};
static const struct holder_class process_class = {process_lost, process_expiring, NULL};

/* ------------------------------------------------------------------ asking */
static void answered(struct ask *ask);

static struct sim_ask *make_ask(struct client *client, int mutex)
{
	struct sim_ask *ask = xcalloc(1, sizeof(*ask));

	ask->ask.done = answered;
	ask->daemon = client->daemon;
	ask->client = client;
	ask->mutex = mutex;
	ask->hung_up_us = ask->cancelled_us = -1;
	return ask;
}

static void hand_over(struct sim_ask *ask, enum ask_kind kind)
{
	static void (*const calls[])(struct mutex *, struct ask *) = {
		[ASK_ACQUIRE] = mutex_acquire, [ASK_RELEASE] = mutex_release,
		[ASK_EXTEND] = mutex_extend,   [ASK_EXISTS] = mutex_exists,
		[ASK_LOOK] = mutex_look,       [ASK_BREAK] = mutex_break,
	};
	struct mutex *mutex = daemon_mutex(ask->daemon, ask->mutex);
	struct hold *hold;

	if (!mutex) {
		if (ask->main)
			ask->client->acquire = NULL;
		free(ask);
		return;
	}
	ask->ask.kind = kind;
	oracle_asked(ask);
	if (kind == ASK_RELEASE && (hold = oracle_find(ask->daemon->world, ask->ask.string))) {
		if (hold->daemon == ask->daemon)
			oracle_end_and_forget(hold);
		else
			oracle_end(hold);
	}
	ask->client->n_asks++;
	TAILQ_INSERT_TAIL(&ask->daemon->asks, ask, entry);
	calls[kind](mutex, &ask->ask);
}

static int some_mutex(struct world *world)
{
	int i = (int)random_below(&world->random, world->traits.n_exact + world->traits.n_members);

	return i < world->traits.n_exact ? i : N_EXACT + i - world->traits.n_exact;
}

static void acquire(struct client *client, int mutex)
{
	struct world *world = world_of(client);
	struct sim_ask *ask = make_ask(client, mutex);
	struct traits *traits = &world->traits;

	ask->main = true;
	ask->ask.acquirer = &client->session;
	ask->ask.owner = &client->session;
	if (client->process_alive && chance(world, 1000)) {
		ask->ask.owner = &client->process;
		client->process_used = true;
		ask->owner = client;
		ask->owned_by_process = true;
		/* It may end at any time, the connection of who asked for it notwithstanding. */
		if (chance(world, 3000))
			event_set(world, &client->process_event,
				  world->now_us + some(world, 3 * traits->hold_us));
	} else if (chance(world, 700)) {
		ask->ask.owner = table_nobody(client->daemon->table);
	} else {
		ask->owner = client;
	}
	if (traits->patient || chance(world, 6500))
		ask->ask.wait_us = traits->patient || chance(world, 3000)
					   ? CLOCK_NEVER
					   : some(world, 20 * traits->hold_us) + 1;
	if (traits->short_asks && chance(world, 3000))
		ask->ask.ttl_ms = random_of(world, 10, traits->ttl_ms);
	ask->ask.renew = chance(world, 5000);
	if (chance(world, 1000))
		ask->ask.note = "a note";
	if (client->daemon->settings[ask->mutex].announce)
		ask->ask.announce = "host=here";
	client->acquire = ask;
	client->phase = CLIENT_ASKING;
	client->extends = false;
	hand_over(ask, ASK_ACQUIRE);
	if (!client->acquire)
		client->phase = CLIENT_IDLE;
}

static void simple(struct client *client, enum ask_kind kind, int mutex)
{
	hand_over(make_ask(client, mutex), kind);
}

static void with_string(struct client *client, enum ask_kind kind, int mutex, const char *string)
{
	struct sim_ask *ask = make_ask(client, mutex);

	if (string) {
		memcpy(ask->ask.string, string, LOCK_STRING_SIZE);
	} else {
		ask->wrong = true;
		lock_string_make(&client->daemon->entropy, ask->ask.string);
	}
	hand_over(ask, kind);
}

void client_forget_hold(struct client *client, struct hold *hold)
{
	if (client->hold != hold)
		return;
	client->hold = NULL;
	memcpy(client->last_string, hold->string, LOCK_STRING_SIZE);
	client->last_mutex = hold->mutex;
	if (client->phase == CLIENT_HOLDING)
		client->phase = CLIENT_IDLE;
}

/* A lock that anybody may release who knows its string. */
static struct hold *some_hold(struct client *client)
{
	struct world *world = world_of(client);
	struct daemon *daemon =
		&world->daemons[random_below(&world->random, world->traits.n_daemons)];
	struct mutex *mutex;
	struct hold *hold;

	TAILQ_FOREACH (hold, &daemon->holds, daemon_entry) {
		const struct mutex_settings *here = &client->daemon->settings[hold->mutex];
		const struct mutex_settings *there = &daemon->settings[hold->mutex];

		if (!hold->live || (hold->client && chance(world, 9000)))
			continue;
		if (daemon == client->daemon)
			return hold;
		/* A lost ACQUIRE of it may still run, which no other daemon can know of. */
		if (!daemon->up || !daemon_idle(daemon))
			continue;
		if (here->handoff == HANDOFF_STORE && there->handoff == HANDOFF_STORE &&
		    !here->linger_ms && !there->linger_ms && here->max_waiters > 100 &&
		    (mutex = daemon_mutex(client->daemon, hold->mutex)) &&
		    key_index(mutex_key(mutex)->key) == hold->key)
			return hold;
	}
	return NULL;
}

/* ------------------------------------------------------------------ ends */
void client_hang_up(struct client *client)
{
	struct daemon *daemon = client->daemon;
	struct world *world = world_of(client);
	struct sim_ask *ask, *next;
	struct hold *hold;

	if (!client->session_open)
		return;
	TRACE(world, "d%d: a client hangs up, asks open: %d", daemon->index, client->n_asks);
	client->session_open = false;
	client->phase = CLIENT_DYING;
	TAILQ_FOREACH (hold, &daemon->holds, daemon_entry) {
		if (hold->client == client && hold->kind == HOLDER_CONNECTION)
			oracle_end(hold);
	}
	for (ask = TAILQ_FIRST(&daemon->asks); ask; ask = next) {
		next = TAILQ_NEXT(ask, entry);
		if (ask->client == client && ask->hung_up_us < 0) {
			ask->hung_up_us = world->now_us;
			ask_hang_up(&ask->ask);
		}
	}
	client->event.run = reaped;
	if (!client->n_asks)
		event_set(world, &client->event, world->now_us);
	else
		event_cancel(world, &client->event);
	if (client->process_used && client->process_alive) {
		/* The process outlives its connection, for a while. */
		event_set(world, &client->process_event,
			  world->now_us +
				  (world->calm ? 0 : some(world, 5 * world->traits.hold_us)));
	}
}

/* Nothing is asked any more for the session: the daemon drops it. */
static void reaped(struct world *world, struct event *event)
{
	struct client *client = container_of(event, struct client, event);
	struct daemon *daemon = client->daemon;
	struct hold *hold, *next;

	assert(!client->session_open && !client->n_asks);
	TRACE(world, "d%d: drops a session, locks owned: %d", daemon->index,
	      client->session.n_owned);
	for (hold = TAILQ_FIRST(&daemon->holds); hold; hold = next) {
		next = TAILQ_NEXT(hold, daemon_entry);
		if (hold->client != client)
			continue;
		client_forget_hold(client, hold);
		if (hold->kind == HOLDER_CONNECTION) {
			oracle_end_and_forget(hold);
		} else {
			hold->client = NULL;
			hold->lock = NULL;
		}
	}
	table_drop_holder(daemon->table, &client->session);
	if (client->session.n_owned || client->session.n_acquired)
		world_fail(world, "d%d: a dropped session still has locks", daemon->index);
	client->phase = CLIENT_IDLE;
	if (!client->process_used)
		client->process_alive = false;
	if (!client->process_alive && !world->calm)
		client_start(client, world->now_us + some(world, world->traits.think_us));
}

static void process_ends(struct world *world, struct event *event)
{
	struct client *client = container_of(event, struct client, process_event);
	struct daemon *daemon = client->daemon;
	struct hold *hold, *next;

	TRACE(world, "d%d: a process ends, locks owned: %d", daemon->index,
	      client->process.n_owned);
	for (hold = TAILQ_FIRST(&daemon->holds); hold; hold = next) {
		next = TAILQ_NEXT(hold, daemon_entry);
		if (hold->owner != client || hold->kind != HOLDER_PID)
			continue;
		oracle_end_and_forget(hold);
	}
	client->process_alive = false;
	if (!daemon->up)
		return;
	table_drop_holder(daemon->table, &client->process);
	if (client->process.n_owned || client->process.n_acquired)
		world_fail(world, "d%d: an ended process still has locks", daemon->index);
	if (!world->calm && !client->session_open && !client->n_asks &&
	    client->event.place == EVENT_NOWHERE)
		client_start(client, world->now_us + some(world, world->traits.think_us));
}

void client_crash(struct client *client)
{
	struct world *world = world_of(client);

	client->n_asks = 0;
	client->acquire = NULL;
	client->hold = NULL;
	client->session_open = false;
	client->phase = CLIENT_IDLE;
	event_cancel(world, &client->event);
	if (!client->process_used)
		client->process_alive = false;
	/* The process may end before the daemon's next life, or be met by it. */
	if (client->process_alive)
		event_set(world, &client->process_event,
			  world->now_us +
				  (world->calm ? 0 : some(world, 20 * world->traits.hold_us)));
}

/* ------------------------------------------------------------------ answers */
static void answered(struct ask *base)
{
	struct sim_ask *ask = container_of(base, struct sim_ask, ask);
	struct client *client = ask->client;
	struct daemon *daemon = ask->daemon;
	struct world *world = daemon->world;
	struct hold *hold = NULL;

	if (!daemon->up) {
		/* Its process is gone, and so is who would have heard. */
		TAILQ_REMOVE(&daemon->asks, ask, entry);
		TAILQ_INSERT_TAIL(&daemon->done, ask, entry);
		return;
	}
	if (ask->answered)
		world_fail(world, "d%d: an ask was answered twice", daemon->index);
	ask->answered = true;
	oracle_answered(ask);
	TAILQ_REMOVE(&daemon->asks, ask, entry);
	TAILQ_INSERT_TAIL(&daemon->done, ask, entry);
	client->n_asks--;
	if (ask->main) {
		client->acquire = NULL;
		if (client->phase == CLIENT_ASKING)
			client->phase = CLIENT_IDLE;
		if (base->outcome == OUTCOME_OK && base->lock)
			hold = oracle_granted(ask);
	}
	if (hold) {
		if (client->session_open) {
			client->phase = CLIENT_HOLDING;
			client->hold = hold;
			if (chance(world, 500))
				with_string(client, ASK_RELEASE, hold->mutex, hold->string);
			else
				act_in(client, some(world, world->traits.hold_us));
		} else if (hold->kind == HOLDER_CONNECTION) {
			oracle_end(hold);
		}
	} else if (ask->comes_back && client->session_open && client->phase == CLIENT_IDLE) {
		acquire(client, ask->mutex);
	} else if (ask->main && client->session_open) {
		act_in(client, some(world, world->traits.think_us));
	}
	if (!client->session_open && !client->n_asks)
		event_set(world, &client->event, world->now_us);
}

/* ------------------------------------------------------------------ acting */
static void act_idle(struct client *client)
{
	struct world *world = world_of(client);
	struct hold *hold;
	int64_t lot = random_below(&world->random, 100);

	if (lot < 72)
		acquire(client, some_mutex(world));
	else if (lot < 80)
		simple(client, ASK_EXISTS, some_mutex(world));
	else if (lot < 83)
		simple(client, ASK_LOOK, some_mutex(world));
	else if (lot < 84)
		with_string(client, ASK_RELEASE, some_mutex(world), NULL);
	else if (lot < 85)
		with_string(client, ASK_EXTEND, some_mutex(world), NULL);
	else if (lot < 87 && client->last_string[0])
		with_string(client, ASK_RELEASE, client->last_mutex, client->last_string);
	else if (lot < 88 && world->traits.breaks)
		simple(client, ASK_BREAK, some_mutex(world));
	else if (lot < 97 && (hold = some_hold(client)))
		with_string(client, ASK_RELEASE, hold->mutex, hold->string);
	else if (lot >= 97)
		client_hang_up(client);
}

static void act_asking(struct client *client)
{
	struct world *world = world_of(client);
	int64_t lot = random_below(&world->random, 100);

	if (lot < 15 && !world->traits.patient) {
		struct sim_ask *ask = client->acquire;

		if (ask_cancel(&ask->ask)) {
			TRACE(world, "d%d: a client cancels", client->daemon->index);
			ask->cancelled_us = world->now_us;
		}
	} else if (lot < 25 && !world->traits.patient) {
		client_hang_up(client);
	} else if (lot < 40) {
		simple(client, ASK_EXISTS, some_mutex(world));
	}
}

/* @when: it asks again: at once, when the answer has come, or, although it said so, never */
static void release_and_come_back(struct client *client, int mutex, const char *string, int when)
{
	struct sim_ask *ask = make_ask(client, mutex);

	memcpy(ask->ask.string, string, LOCK_STRING_SIZE);
	ask->ask.again = true;
	ask->comes_back = when == 1;
	hand_over(ask, ASK_RELEASE);
	if (when == 0 && client->phase == CLIENT_IDLE)
		acquire(client, mutex);
}

static void act_holding(struct client *client)
{
	struct world *world = world_of(client);
	struct hold *hold = client->hold;
	const bool extends = client->extends;
	int64_t lot = extends ? 70 : random_below(&world->random, 100);

	client->extends = false;
	if (lot < 65) {
		char string[LOCK_STRING_SIZE];
		int mutex = hold->mutex;

		memcpy(string, hold->string, sizeof(string));
		if (lot >= 4 && lot < 20) {
			release_and_come_back(client, mutex, string,
					      lot < 12	 ? 0
					      : lot < 18 ? 1
							 : 2);
			return;
		}
		with_string(client, ASK_RELEASE, mutex, string);
		if (lot < 4)
			with_string(client, ASK_RELEASE, mutex, string);
	} else if (lot < 75) {
		struct sim_ask *ask = make_ask(client, hold->mutex);

		memcpy(ask->ask.string, hold->string, LOCK_STRING_SIZE);
		if (chance(world, 5000))
			ask->ask.ttl_ms = random_of(world, 10, 2 * world->traits.ttl_ms);
		else if (extends && !world->traits.n_nodes)
			ask->ask.ttl_ms = 100000; /* for which all clocks are good enough */
		hand_over(ask, ASK_EXTEND);
	} else if (lot < 82) {
		client_hang_up(client);
	} else if (lot < 87) {
		simple(client, ASK_EXISTS, hold->mutex);
	} else if (lot < 89) {
		simple(client, ASK_LOOK, hold->mutex);
	} else if (lot < 90 && world->traits.breaks) {
		simple(client, ASK_BREAK, hold->mutex);
	}
}

static void acts(struct world *world, struct event *event)
{
	struct client *client = container_of(event, struct client, event);
	struct traits *traits = &world->traits;

	if (world->calm || client->daemon->stopping) {
		client_hang_up(client);
		return;
	}
	switch (client->phase) {
	case CLIENT_IDLE:
		act_idle(client);
		break;
	case CLIENT_ASKING:
		act_asking(client);
		break;
	case CLIENT_HOLDING:
		act_holding(client);
		break;
	case CLIENT_DYING:
		assert(!"dead clients do not act");
	}
	if (!client->session_open || client->event.place != EVENT_NOWHERE)
		return;
	act_in(client, client->phase == CLIENT_IDLE	 ? some(world, traits->think_us)
		       : client->phase == CLIENT_HOLDING ? some(world, traits->hold_us)
							 : some(world, 10 * traits->hold_us));
}

void client_start(struct client *client, int64_t at_us)
{
	assert(!client->n_asks && !client->session_open && !client->process_alive);
	holder_init(&client->session, &session_class, HOLDER_CONNECTION);
	holder_init(&client->process, &process_class, HOLDER_PID);
	client->session_open = client->process_alive = true;
	client->process_used = false;
	client->phase = CLIENT_IDLE;
	client->event.run = acts;
	event_set(world_of(client), &client->event, at_us);
}

struct client *client_new(struct daemon *daemon)
{
	struct client *client = xcalloc(1, sizeof(*client));

	client->daemon = daemon;
	client->event.daemon = daemon;
	client->process_event.daemon = daemon;
	client->process_event.run = process_ends;
	holder_init(&client->session, &session_class, HOLDER_CONNECTION);
	holder_init(&client->process, &process_class, HOLDER_PID);
	TAILQ_INSERT_TAIL(&daemon->clients, client, entry);
	return client;
}
