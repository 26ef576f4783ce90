/* SPDX-License-Identifier: MIT */
/*
 * The promises, checked by one who sees everything at once: all clocks, the server's data, every
 * question and every answer.
 */
#include "config.h"

#include "world.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "nodes.h"
#include "util/alloc.h"

#define MS INT64_C(1000)
#define SECOND (1000 * MS)

/* How long after its time an answer may come: timers, a look that waits for a lingering lock. */
#define SLACK_US (40 * MS)

static int64_t local_now(struct daemon *daemon)
{
	return daemon_local_us(daemon, daemon->world->now_us);
}

/* Is it one that its holder relies on at that moment of true time? */
static bool is_valid_at(const struct hold *hold, int64_t at_us)
{
	return hold->live && daemon_local_us(hold->daemon, at_us) < hold->end_us;
}

/* ------------------------------------------------------------------ what the store lost */
void strings_add(struct strings *strings, const char *string)
{
	strings->list = xrealloc(strings->list, strings->n + 1, LOCK_STRING_SIZE);
	memcpy(strings->list[strings->n++], string, LOCK_STRING_SIZE);
}

bool strings_have(const struct strings *strings, const char *string)
{
	for (size_t i = 0; i < strings->n; i++) {
		if (!strcmp(strings->list[i], string))
			return true;
	}
	return false;
}

void strings_deinit(struct strings *strings)
{
	free(strings->list);
	*strings = (struct strings){0};
}

void oracle_vanished(struct world *world, int index, const char *value)
{
	struct sim_key *key = &world->server.keys[index];
	struct hold *hold;

	key->last_vanished_us = world->now_us;
	if (key->foreign)
		return;
	strings_add(&world->vanished, value);
	TAILQ_FOREACH (hold, &key->holds, key_entry) {
		if (!strcmp(hold->value, value))
			hold->vanished = true;
	}
}

void oracle_partly_lost(struct world *world, int index, const char *value)
{
	struct hold *hold;

	strings_add(&world->lost, value);
	TAILQ_FOREACH (hold, &world->server.keys[index].holds, key_entry)
		hold->partly_lost |= !strcmp(hold->value, value);
}

bool oracle_relies_on(const struct hold *hold)
{
	return !hold->vanished && !hold->partly_lost &&
	       is_valid_at(hold, hold->daemon->world->now_us);
}

void oracle_removed(struct world *world, int index, const char *value, enum remove_cause cause,
		    int64_t at_us)
{
	static const char *const words[] = {"expired", "was released", "was replaced"};
	struct sim_key *key = &world->server.keys[index];
	struct hold *hold;

	TAILQ_FOREACH (hold, &key->holds, key_entry) {
		if (!hold->vanished && !hold->partly_lost && is_valid_at(hold, at_us) &&
		    !strcmp(hold->value, value))
			world_fail(
				world,
				"k%d %s under its holder: %.6s of d%d, held for %lld us more",
				index, words[cause], hold->string, hold->daemon->index,
				(long long)(hold->end_us - daemon_local_us(hold->daemon, at_us)));
	}
}

/* ------------------------------------------------------------------ holds */
struct hold *oracle_find(struct world *world, const char *string)
{
	for (int i = 0; i < N_KEYS; i++) {
		struct hold *hold;

		TAILQ_FOREACH (hold, &world->server.keys[i].holds, key_entry) {
			if (!strcmp(hold->string, string))
				return hold;
		}
	}
	return NULL;
}

static void hold_free(struct hold *hold)
{
	struct world *world = hold->daemon->world;

	if (hold->client)
		client_forget_hold(hold->client, hold);
	TAILQ_REMOVE(&world->server.keys[hold->key].holds, hold, key_entry);
	TAILQ_REMOVE(&hold->daemon->holds, hold, daemon_entry);
	free(hold);
}

void oracle_end(struct hold *hold)
{
	struct world *world = hold->daemon->world;

	if (!hold->live)
		return;
	TRACE(world, "%t of d%d is over for its holder", trace_tag(hold->string),
	      hold->daemon->index);
	hold->live = false;
	world->server.keys[hold->key].last_held_us = world->now_us;
	if (hold->client)
		client_forget_hold(hold->client, hold);
	if (!hold->known)
		hold_free(hold);
}

void oracle_forget(struct hold *hold)
{
	hold->known = false;
	hold->lock = NULL;
	if (hold->daemon->up)
		oracle_cause(hold->daemon, hold->key);
	if (!hold->live)
		hold_free(hold);
}

void oracle_end_and_forget(struct hold *hold)
{
	bool known = hold->known;

	oracle_end(hold);
	if (known)
		oracle_forget(hold);
}

static void check_exclusion(struct hold *hold)
{
	struct world *world = hold->daemon->world;
	struct sim_key *key = world_key(world, hold->key);
	struct hold *other;

	TAILQ_FOREACH (other, &key->holds, key_entry) {
		if (other == hold || other->vanished || hold->vanished)
			continue;
		if (is_valid_at(other, world->now_us) && is_valid_at(hold, world->now_us))
			world_fail(world, "two hold k%d: %.6s of d%d and %.6s of d%d", hold->key,
				   other->string, other->daemon->index, hold->string,
				   hold->daemon->index);
	}
	if (oracle_relies_on(hold) && !world_stands_as(world, hold->key, hold->value))
		world_fail(world, "%.6s of d%d was granted, but k%d is %.6s and not %.6s",
			   hold->string, hold->daemon->index, hold->key,
			   key->stands ? key->value : "free", hold->value);
}

/* A lease may not last longer than what the store keeps for it. */
static void check_promised(struct hold *hold)
{
	struct daemon *daemon = hold->daemon;
	struct world *world = daemon->world;
	struct sim_key *key = &world->server.keys[hold->key];
	int64_t over_us;

	/* With nodes, that each valid lock stands on a majority of them is looked at instead. */
	if (!hold->live || hold->vanished || world->traits.n_nodes || !key->stands ||
	    strcmp(key->value, hold->value))
		return;
	over_us = server_us(&world->server, daemon_true_us(daemon, hold->end_us)) -
		  key->expire_ms * MS;
	if (over_us > 0)
		world_fail(world, "d%d: the lease of %.6s ends %lld us after its key",
			   daemon->index, hold->string, (long long)over_us);
}

/* Another daemon released it, or it vanished, and this one has not compared it since. */
static bool is_outdated(struct daemon *daemon, int key)
{
	int64_t vanished_us = daemon->world->server.keys[key].last_vanished_us;
	struct hold *hold;

	if (vanished_us >= 0 && daemon->world->now_us - vanished_us < 15 * SECOND)
		return true;
	TAILQ_FOREACH (hold, &daemon->holds, daemon_entry) {
		if (hold->key == key && hold->known && (!hold->live || hold->vanished) &&
		    local_now(daemon) < hold->end_us)
			return true;
	}
	return false;
}

/* Does that daemon wait, and has it for long enough for everybody to know? */
static bool contends(struct daemon *daemon, int key)
{
	struct world *world = daemon->world;
	const int64_t known = 300 * MS;
	struct sim_ask *ask;

	if (!daemon->up || daemon->stopping || daemon->frozen || is_outdated(daemon, key) ||
	    !sim_store_connected(daemon->stores[0]) ||
	    world->now_us - sim_store_watching_since_us(daemon->stores[0], key) < known ||
	    /* An answer that is late holds up what comes behind it. */
	    world->now_us - daemon->trouble_us < known + 2 * world->traits.slow_us ||
	    world->now_us - daemon->granted_us[key] < known)
		return false;
	TAILQ_FOREACH (ask, &daemon->asks, entry) {
		/* Where locks linger, who waits is known when he has looked. */
		if (ask->key == key && daemon->settings[ask->mutex].linger_ms > 0 &&
		    (daemon->stayed_out_us[ask->mutex] == CLOCK_NEVER ||
		     world->now_us - daemon->stayed_out_us[ask->mutex] < known))
			return false;
		if (ask->key == key && ask->ask.kind == ASK_ACQUIRE &&
		    ask->ask.state == ASK_WAITING && ask->wait_us > 0)
			return world->now_us - ask->asked_us > known;
	}
	return false;
}

static void check_fairness(struct daemon *daemon, int index, const struct mutex_settings *settings)
{
	struct world *world = daemon->world;
	struct sim_key *key = &world->server.keys[index];
	bool others = false;

	/* Who is the first at a majority of nodes is left to chance. */
	if (world->traits.n_nodes)
		return;
	key->passes++;
	if (key->passes > 10 * settings->handoff_limit + 20 && !daemon->reloads)
		world_fail(world, "k%d was passed on %u times without a pause", index, key->passes);
	for (int i = 0; i < world->traits.n_daemons; i++) {
		if (i == daemon->index)
			continue;
		key->streak[i] = 0;
		others = others || contends(&world->daemons[i], index);
	}
	if (!others || world->now_us - daemon->trouble_us < SECOND) {
		key->streak[daemon->index] = 0;
		return;
	}
	key->streak[daemon->index]++;
	if (key->streak[daemon->index] > 3 * settings->handoff_limit + 10 && !daemon->reloads)
		world_fail(world, "d%d got k%d %u times in a row while others wait", daemon->index,
			   index, key->streak[daemon->index]);
}

/*
 * With nodes that lost their data there are conditions; one of them is that the last grant was
 * there when the lock was asked for, unless the nodes stay away for long enough.
 */
static bool is_fence_excused(const struct hold *hold, const struct sim_ask *ask)
{
	struct world *world = hold->daemon->world;

	return world->traits.n_nodes &&
	       (nodes_fence_is_excused(hold->daemon, hold->key) ||
		(world->traits.prompt_loss &&
		 world->server.keys[hold->key].fence_high_us >= ask->asked_us));
}

static void check_fence(struct hold *hold, const struct sim_ask *ask, bool fenced)
{
	struct daemon *daemon = hold->daemon;
	struct world *world = daemon->world;
	struct sim_key *key = &world->server.keys[hold->key];

	if (!fenced) {
		if (hold->fence)
			world_fail(world, "d%d: a fence where there is none", daemon->index);
		return;
	}
	if (hold->fence <= 0)
		world_fail(world, "d%d: a lock without a fence", daemon->index);
	if (hold->fence <= daemon->fence_seen[hold->key])
		world_fail(world, "d%d: fence %lld of k%d after it had granted %lld", daemon->index,
			   (long long)hold->fence, hold->key,
			   (long long)daemon->fence_seen[hold->key]);
	daemon->fence_seen[hold->key] = hold->fence;
	if (hold->vanished)
		return;
	if (hold->fence <= key->fence_high && !is_fence_excused(hold, ask))
		world_fail(world, "fence %lld of k%d after %lld", (long long)hold->fence, hold->key,
			   (long long)key->fence_high);
	key->fence_high = hold->fence;
	key->fence_high_us = world->now_us;
	nodes_fence_granted(world, hold->key, hold->fence, ask->asked_us);
}

static const struct journal_slot *slot_of(struct daemon *daemon, const char *string)
{
	for (unsigned i = 0; i < daemon->n_slots; i++) {
		if (daemon->slots[i].used && daemon->slots[i].granted &&
		    !strcmp(daemon->slots[i].string, string))
			return &daemon->slots[i];
	}
	return NULL;
}

struct hold *oracle_granted(struct sim_ask *ask)
{
	struct daemon *daemon = ask->daemon;
	struct world *world = daemon->world;
	const struct lock *lock = ask->ask.lock;
	const struct journal_slot *slot = slot_of(daemon, lock->string);
	const struct section *section = mutex_section(lock->mutex);
	struct hold *hold = xcalloc(1, sizeof(*hold));
	int64_t ttl_ms;

	if (!slot)
		world_fail(world, "d%d: granted without a word to the journal", daemon->index);
	world->n_grants++;
	hold->daemon = daemon;
	hold->mutex = ask->mutex;
	hold->key = key_index(mutex_key(lock->mutex)->key);
	memcpy(hold->string, lock->string, LOCK_STRING_SIZE);
	memcpy(hold->value, slot->value, LOCK_STRING_SIZE);
	hold->client = ask->client;
	hold->kind = lock->owner->kind;
	hold->owner = hold->kind == HOLDER_NOBODY ? NULL : ask->client;
	hold->lock = lock;
	hold->live = hold->known = true;
	hold->vanished = strings_have(&world->vanished, hold->value);
	hold->partly_lost = strings_have(&world->lost, hold->value);
	hold->renew = lock->renew;
	hold->end_us = local_now(daemon) + mutex_lock_left_us(lock->mutex);
	hold->fence = lock->fence;
	hold->told_end_us = -1;
	hold->granted_us = hold->changed_us = world->now_us;
	/* The command that got it was sent when the store's lease began, or later. */
	hold->compared_us = world->now_us;
	TRACE(world, "d%d: %t granted, it stands as %t, fence %d, %d us left", daemon->index,
	      trace_tag(hold->string), trace_tag(hold->value), hold->fence,
	      hold->end_us - local_now(daemon));
	ttl_ms = ask->ask.ttl_ms ? ask->ask.ttl_ms : section->settings.ttl_ms;
	if (lock->lease.ttl_us != ttl_ms * MS || lock->owner != ask->ask.owner ||
	    lock->acquirer != ask->ask.acquirer ||
	    lock->renew != (ask->ask.renew && hold->kind != HOLDER_NOBODY))
		world_fail(world, "d%d: %.6s is not what was asked for", daemon->index,
			   hold->string);
	if (hold->end_us <= local_now(daemon))
		world_fail(world, "d%d: a lock was granted whose lease is over", daemon->index);
	/* Where passes need no command, what stands is a string that no client has. */
	if (!strcmp(hold->string, hold->value) ==
	    (section->settings.handoff == HANDOFF_LOCAL || section->settings.linger_ms > 0))
		world_fail(world, "d%d: %.6s stands as %.6s", daemon->index, hold->string,
			   hold->value);
	TAILQ_INSERT_TAIL(&world->server.keys[hold->key].holds, hold, key_entry);
	TAILQ_INSERT_TAIL(&daemon->holds, hold, daemon_entry);
	check_exclusion(hold);
	check_promised(hold);
	check_fence(hold, ask, section->settings.fence);
	check_fairness(daemon, hold->key, &section->settings);
	daemon->granted_us[hold->key] = world->now_us;
	return hold;
}

/* ------------------------------------------------------------------ what holders are told */
/* Has the way to the store been as it should, for so long? */
static bool is_clear(struct daemon *daemon, int64_t for_us)
{
	struct world *world = daemon->world;

	/* What was delayed makes others wait on the same connection. */
	for_us += 2 * world->traits.slow_us;
	return daemon->up && !daemon->frozen &&
	       (world->traits.n_nodes ? nodes_are_clear(daemon, for_us)
				      : sim_store_connected(daemon->stores[0])) &&
	       !daemon->stopping && world->server.state == SERVER_UP &&
	       world->now_us - daemon->trouble_us > for_us &&
	       world->now_us - daemon->resumed_us > for_us &&
	       world->now_us >= world->server.refuse_until_us + for_us;
}

void oracle_lost(struct daemon *daemon, const struct lock *lock, enum lost_reason reason)
{
	static const char *const words[] = {"expired", "replaced", "unavailable", "broken",
					    "shutdown"};
	struct world *world = daemon->world;
	struct hold *hold = oracle_find(world, lock->string);
	int64_t now = local_now(daemon);

	TRACE(world, "d%d: LOST %t %s", daemon->index, trace_tag(lock->string),
	      (intptr_t)words[reason]);
	if (!hold || hold->daemon != daemon || !hold->known)
		world_fail(world, "d%d: LOST of a lock that nobody has", daemon->index);
	world->n_lost++;
	world->server.keys[hold->key].last_lost_us = world->now_us;
	if (reason == LOST_EXPIRED || reason == LOST_UNAVAILABLE)
		strings_add(&daemon->dead, hold->string);
	switch (reason) {
	case LOST_EXPIRED:
	case LOST_UNAVAILABLE:
		if (now < hold->end_us)
			world_fail(world, "d%d: %.6s was lost %lld us before its end",
				   daemon->index, lock->string, (long long)(hold->end_us - now));
		/* Its holder may have shortened it since. */
		if (hold->live && hold->told_end_us < hold->end_us &&
		    world->now_us - daemon->resumed_us > 0)
			world_fail(world, "d%d: %.6s was lost without EXPIRING", daemon->index,
				   lock->string);
		/* What is to be renewed is, if the store answers and there is time for it. */
		if (hold->live && (hold->renew || reason == LOST_UNAVAILABLE) &&
		    lock->lease.ttl_us >= 50 * MS && is_clear(daemon, 2 * lock->lease.ttl_us) &&
		    nodes_of_hold_are_clear(hold, 2 * lock->lease.ttl_us, CLOCK_NEVER))
			world_fail(world, "d%d: %.6s was not renewed", daemon->index, lock->string);
		break;
	case LOST_REPLACED:
		/* What it was lost from may get it back from an acquire that was slow. */
		if (!hold->vanished && !hold->partly_lost &&
		    world_stands_as(world, hold->key, hold->value))
			world_fail(world, "d%d: %.6s is not replaced", daemon->index, lock->string);
		break;
	case LOST_BROKEN:
		if (!world->traits.breaks)
			world_fail(world, "d%d: nobody broke %.6s", daemon->index, lock->string);
		break;
	case LOST_SHUTDOWN:
		if (!daemon->stopping)
			world_fail(world, "d%d: does not stop, but tells so", daemon->index);
	}
	oracle_end_and_forget(hold);
}

static void note_end(struct hold *hold, int64_t end_us)
{
	const int64_t notice_us = lease_notice_us(&hold->lock->lease);

	if (hold->end_us == end_us && hold->notice_us == notice_us)
		return;
	hold->end_us = end_us;
	hold->notice_us = notice_us;
	hold->changed_us = hold->daemon->world->now_us;
}

/* EXPIRING is told, or was not told so far: is it too late? */
static void check_notice(struct hold *hold, int64_t left_us)
{
	struct daemon *daemon = hold->daemon;
	struct world *world = daemon->world;
	const int64_t late_us = hold->notice_us - left_us, slack_us = 5 * MS;

	if (late_us > slack_us && world->now_us - hold->changed_us > slack_us &&
	    world->now_us - daemon->resumed_us > slack_us && !daemon->frozen)
		world_fail(world, "d%d: EXPIRING %.6s is %lld us late", daemon->index, hold->string,
			   (long long)late_us);
}

void oracle_expiring(struct daemon *daemon, const struct lock *lock, int64_t left_ms)
{
	struct world *world = daemon->world;
	struct hold *hold = oracle_find(world, lock->string);
	int64_t left;

	TRACE(world, "d%d: EXPIRING %t in %d ms", daemon->index, trace_tag(lock->string), left_ms);
	if (!hold || hold->daemon != daemon || !hold->known)
		world_fail(world, "d%d: EXPIRING of a lock that nobody has", daemon->index);
	note_end(hold, local_now(daemon) + mutex_lock_left_us(lock->mutex));
	left = hold->end_us - local_now(daemon);
	if (left > lease_notice_us(&lock->lease) + MS)
		world_fail(world, "d%d: EXPIRING %.6s, and %lld us are left", daemon->index,
			   lock->string, (long long)left);
	check_notice(hold, left);
	if (hold->told_end_us == hold->end_us && !hold->may_be_told_again)
		world_fail(world, "d%d: EXPIRING %.6s twice", daemon->index, lock->string);
	hold->told_end_us = hold->end_us;
	hold->may_be_told_again = false;
	if (left_ms > left / MS || left_ms < left / MS - 1 || left_ms < 0)
		world_fail(world, "d%d: EXPIRING says %lld ms of %lld us", daemon->index,
			   (long long)left_ms, (long long)left);
}

/* Its daemon has it no more, and nobody was there to be told. */
static bool is_gone_quietly(struct hold *hold)
{
	struct mutex *mutex = table_peek(hold->daemon->table, mutex_word(hold->mutex),
					 strlen(mutex_word(hold->mutex)));
	const struct lock *lock = mutex ? mutex_lock(mutex) : NULL;

	if (!lock || strcmp(lock->string, hold->string))
		return true;
	hold->end_us = local_now(hold->daemon) + mutex_lock_left_us(mutex);
	return false;
}

void oracle_leases(struct daemon *daemon, bool end_of_turn)
{
	struct world *world = daemon->world;
	const int64_t now = local_now(daemon);
	struct hold *hold, *next;

	for (hold = TAILQ_FIRST(&daemon->holds); hold; hold = next) {
		next = TAILQ_NEXT(hold, daemon_entry);
		if (!hold->known)
			continue;
		if (!hold->lock) {
			if (end_of_turn && is_gone_quietly(hold)) {
				world->server.keys[hold->key].last_lost_us = world->now_us;
				oracle_end_and_forget(hold);
			}
			continue;
		}
		if (end_of_turn && hold->lock->lease.end_us >= 0) {
			int64_t left = mutex_lock_left_us(hold->lock->mutex);

			if (left > 0) {
				note_end(hold, now + left);
				check_promised(hold);
			}
		}
		if (now >= hold->end_us && (hold->live || hold->client))
			world_fail(world, "d%d: %.6s ended %lld us ago and nobody was told",
				   daemon->index, hold->string, (long long)(now - hold->end_us));
	}
}

void oracle_crashed(struct daemon *daemon)
{
	struct hold *hold, *next;

	for (hold = TAILQ_FIRST(&daemon->holds); hold; hold = next) {
		bool stays;

		next = TAILQ_NEXT(hold, daemon_entry);
		stays = hold->live && hold->kind != HOLDER_CONNECTION;
		if (hold->client)
			client_forget_hold(hold->client, hold);
		hold->client = NULL;
		hold->lock = NULL;
		hold->known = false;
		if (stays)
			continue;
		if (hold->live)
			oracle_end(hold);
		else
			hold_free(hold);
	}
}

/* ------------------------------------------------------------------ questions and answers */
static bool has_live_hold(struct world *world, int key, int64_t since_us)
{
	struct hold *hold;

	TAILQ_FOREACH (hold, &world->server.keys[key].holds, key_entry) {
		if (is_valid_at(hold, world->now_us) && hold->granted_us <= since_us)
			return true;
	}
	return false;
}

void oracle_asked(struct sim_ask *ask)
{
	static const char *const words[] = {"acquire", "release", "extend",
					    "exists",  "look",	  "break"};
	struct daemon *daemon = ask->daemon;
	struct world *world = daemon->world;
	struct sim_ask *other;
	struct hold *hold;

	ask->asked_us = world->now_us;
	ask->wait_us = ask->ask.wait_us;
	ask->reloads = daemon->reloads;
	ask->key = key_index(mutex_key(daemon_mutex(daemon, ask->mutex))->key);
	ask->moved = ask->key != daemon_key(daemon, ask->mutex) ||
		     (ask->mutex < N_EXACT && daemon->removed[ask->mutex]);
	ask->outdated = is_outdated(daemon, ask->key);
	oracle_cause(daemon, ask->key);
	TAILQ_FOREACH (other, &daemon->asks, entry) {
		if (other->mutex != ask->mutex)
			continue;
		ask->queued_behind |= other->ask.kind == ASK_ACQUIRE;
		ask->others += other->ask.kind == ASK_RELEASE &&
			       !strcmp(other->ask.string, ask->ask.string);
	}
	if (ask->ask.string[0]) {
		ask->dead = strings_have(&daemon->dead, ask->ask.string);
		ask->stood = world_stands_anywhere(world, ask->key, ask->ask.string);
		hold = oracle_find(world, ask->ask.string);
		ask->was_live = hold && is_valid_at(hold, world->now_us);
	}
	TRACE(world, "d%d: asked to %s %s %t, wait %d", daemon->index,
	      (intptr_t)words[ask->ask.kind], (intptr_t)mutex_word(ask->mutex),
	      trace_tag(ask->ask.string), ask->ask.wait_us);
}

void oracle_found(struct world *world, int daemon, const char *value)
{
	struct sim_ask *ask;

	for (int i = 0; i < world->traits.n_daemons; i++) {
		TAILQ_FOREACH (ask, &world->daemons[i].asks, entry) {
			if (strcmp(ask->ask.string, value) != 0)
				continue;
			ask->found = true;
			ask->found_here |= i == daemon;
		}
	}
}

static void check_latency(struct sim_ask *ask, bool answered)
{
	struct daemon *daemon = ask->daemon;
	struct world *world = daemon->world;
	int64_t by = ask->asked_us;

	if (ask->cancelled_us >= 0) {
		if (world->now_us > ask->cancelled_us)
			world_fail(world, "d%d: a cancelled ask was not answered at once",
				   daemon->index);
		return;
	}
	if (ask->hung_up_us >= 0) {
		by = ask->hung_up_us;
	} else if (ask->ask.kind == ASK_ACQUIRE && ask->wait_us) {
		if (ask->wait_us == CLOCK_NEVER)
			return;
		by += ask->wait_us;
	}
	/* A daemon that stood still finds out late, and may ask the store only then. */
	if (by < daemon->resumed_us)
		by = daemon->resumed_us;
	/* What was asked of the store before an upgrade is asked anew. */
	if (by < daemon->upgraded_us)
		by = daemon->upgraded_us;
	by += daemon->settings[ask->mutex].command_timeout_ms * MS;
	by += (by - ask->asked_us) / 100;
	if (world->now_us > by + SLACK_US)
		world_fail(world, "d%d: an ask of kind %d for %s was %s %lld ms after it was due",
			   daemon->index, (int)ask->ask.kind, mutex_word(ask->mutex),
			   answered ? "answered" : "still open",
			   (long long)((world->now_us - by) / MS));
}

/*
 * Did it only linger all the time? Whoever tries then is told that it is locked if it was not given
 * up within 20 ms, but where all works it is.
 */
static bool only_lingered(struct sim_ask *ask)
{
	struct world *world = ask->daemon->world;
	struct sim_key *key = world_key(world, ask->key);
	const int64_t a_while_us = 10 * MS;
	bool lingers = false;

	for (int i = 0; i < world->traits.n_daemons; i++) {
		struct daemon *daemon = &world->daemons[i];
		const char *word = mutex_word(ask->mutex);
		struct mutex *mutex =
			daemon->up ? table_peek(daemon->table, word, strlen(word)) : NULL;

		/* Or it is kept for the rest of a lease that ran out. */
		lingers |= mutex && mutex_state(mutex) == MUTEX_LINGERING &&
			   mutex_section(mutex)->settings.linger_ms > 0;
	}
	return lingers && world->traits.faultless && !world->traits.foreign &&
	       !world->traits.n_nodes && !world->traits.short_asks &&
	       world->traits.ttl_ms >= 1000 && key->stands &&
	       key->since_us < ask->asked_us - a_while_us &&
	       key->last_held_us < ask->asked_us - a_while_us &&
	       key->last_lost_us < ask->asked_us - SECOND &&
	       ask->daemon->stayed_out_us[ask->mutex] < ask->asked_us && !ask->queued_behind;
}

/* Had the mutex a holder at a moment while it was asked for, as far as anybody could tell? */
static bool was_locked(struct sim_ask *ask)
{
	struct world *world = ask->daemon->world;
	struct sim_key *key = world_key(world, ask->key);

	return key->stands || key->last_stood_us >= ask->asked_us ||
	       key->last_held_us >= ask->asked_us ||
	       has_live_hold(world, ask->key, world->now_us) || ask->outdated ||
	       is_outdated(ask->daemon, ask->key) ||
	       /* It was others' turn. */
	       ask->daemon->stayed_out_us[ask->mutex] >= ask->asked_us;
}

/* The same, of one that no node has lost. */
static bool has_sure_hold(struct world *world, int key, int64_t since_us)
{
	struct hold *hold;

	TAILQ_FOREACH (hold, &world->server.keys[key].holds, key_entry) {
		if (oracle_relies_on(hold) && hold->granted_us <= since_us)
			return true;
	}
	return false;
}

static bool was_free(struct sim_ask *ask)
{
	struct world *world = ask->daemon->world;
	struct sim_key *key = world_key(world, ask->key);

	if (!key->stands || key->since_us >= ask->asked_us || ask->outdated ||
	    is_outdated(ask->daemon, ask->key))
		return true;
	if (world->traits.n_nodes && !has_sure_hold(world, ask->key, ask->asked_us))
		return true;
	/* It may stand without a holder: lingering, or to be removed. */
	return !key->foreign && !has_live_hold(world, ask->key, ask->asked_us);
}

static void check_fifo(struct sim_ask *ask)
{
	struct sim_ask *other;

	for (other = TAILQ_FIRST(&ask->daemon->asks); other != ask;
	     other = TAILQ_NEXT(other, entry)) {
		if (other->mutex == ask->mutex && other->ask.kind == ASK_ACQUIRE &&
		    other->ask.state == ASK_WAITING)
			world_fail(ask->daemon->world,
				   "d%d: %s was granted to one who came %lld us after another that "
				   "waits",
				   ask->daemon->index, mutex_word(ask->mutex),
				   (long long)(ask->asked_us - other->asked_us));
	}
}

static void check_release(struct sim_ask *ask)
{
	struct daemon *daemon = ask->daemon;
	struct world *world = daemon->world;
	bool stands = world_stands_as(world, ask->key, ask->ask.string);

	if (ask->ask.outcome == OUTCOME_OK) {
		/* A lost command may have put it there anew, which is seen to. */
		if (world_stood_as(world, ask->key, ask->ask.string, ask->asked_us))
			world_fail(world, "d%d: RELEASE %.6s was answered OK and it stands",
				   daemon->index, ask->ask.string);
		/* One that was sent before an upgrade may have been carried out, for all we know.
		 */
		if (ask->was)
			return;
		/* Of several servers, one may have got it late. */
		if (ask->dead && !world->traits.cut && !world->traits.server_faults &&
		    !world->traits.n_nodes)
			world_fail(world, "d%d: RELEASE %.6s was answered OK after its loss",
				   daemon->index, ask->ask.string);
		if (ask->wrong || (!ask->was_live && !ask->stood && !ask->found && !ask->others))
			world_fail(world, "d%d: RELEASE %.6s was answered OK and was not held",
				   daemon->index, ask->ask.string);
	} else if (ask->ask.outcome == OUTCOME_UNLOCK_FAIL) {
		if (stands && ask->was_live)
			world_fail(world, "d%d: RELEASE %.6s failed and it stands", daemon->index,
				   ask->ask.string);
		if (ask->found_here && ask->was_live && !ask->others && !world->traits.n_nodes)
			world_fail(world, "d%d: RELEASE %.6s failed, but has removed it",
				   daemon->index, ask->ask.string);
	}
}

static void check_extend(struct sim_ask *ask)
{
	struct daemon *daemon = ask->daemon;
	struct world *world = daemon->world;
	struct hold *hold = oracle_find(world, ask->ask.string);

	if (ask->ask.outcome == OUTCOME_OK) {
		/* It may have been released since, before the answer was delivered. */
		if (!ask->was_live || ask->ask.ttl_left_ms < 0)
			world_fail(world, "d%d: EXTEND %.6s was answered OK and was not held",
				   daemon->index, ask->ask.string);
		if (hold)
			hold->may_be_told_again = true;
	} else if (ask->ask.outcome == OUTCOME_UNLOCK_FAIL) {
		if (hold && hold->live && hold->known && ask->was_live && hold->daemon == daemon)
			world_fail(world, "d%d: EXTEND %.6s failed and it is held", daemon->index,
				   ask->ask.string);
	}
}

/* Who holds what was broken through his own daemon is told before BREAK is answered. */
static void check_broken(struct sim_ask *ask)
{
	struct hold *hold;

	TAILQ_FOREACH (hold, &ask->daemon->holds, daemon_entry) {
		if (hold->key == ask->key && hold->live && hold->known && hold->lock &&
		    hold->vanished)
			world_fail(ask->daemon->world, "d%d: %.6s was broken, and is held on",
				   ask->daemon->index, hold->string);
	}
}

/* A quorum spends a fifth of a lease on getting it, which may not be enough for two rounds. */
static bool is_short_of_time(const struct world *world)
{
	return world->traits.n_nodes && (world->traits.short_asks || world->traits.ttl_ms < 100);
}

void oracle_answered(struct sim_ask *ask)
{
	static const char *const words[] = {
		"ok",	 "already locked", "unlock fail",   "unavailable",
		"limit", "cancelled",	   "unknown mutex", "shutting down"};
	struct daemon *daemon = ask->daemon;
	struct world *world = daemon->world;
	const struct ask *base = &ask->ask;
	/* For so long its first attempt may be on the way, the one at the end of its wait too. */
	const int64_t try_us =
		world->traits.timeout_ms * MS + (ask->wait_us == CLOCK_NEVER ? 0 : ask->wait_us);
	bool moved = ask->moved || ask->reloads != daemon->reloads;

	TRACE(world, "d%d: answers kind %d for %s: %s %t", daemon->index, base->kind,
	      (intptr_t)mutex_word(ask->mutex), (intptr_t)words[base->outcome],
	      trace_tag(base->kind == ASK_ACQUIRE && base->lock && base->outcome == OUTCOME_OK
				? base->lock->string
				: base->string));
	check_latency(ask, true);
	switch (base->outcome) {
	case OUTCOME_OK:
		if (ask->cancelled_us >= 0)
			world_fail(world, "d%d: a cancelled ask was granted", daemon->index);
		if (base->kind == ASK_ACQUIRE) {
			if (!base->lock)
				world_fail(world, "d%d: OK without a lock", daemon->index);
			if (ask->hung_up_us >= 0 && ask->hung_up_us < world->now_us &&
			    ask->hung_up_us - ask->asked_us > try_us + SLACK_US &&
			    world->now_us - daemon->resumed_us > try_us)
				world_fail(world, "d%d: granted to one that was long gone",
					   daemon->index);
			if (ask->owned_by_process && !ask->client->process_alive)
				world_fail(world, "d%d: granted to one whose owner is dead",
					   daemon->index);
			check_fifo(ask);
		}
		if (base->kind == ASK_BREAK && !moved && !was_locked(ask))
			world_fail(world, "d%d: BREAK of nothing was OK", daemon->index);
		if (base->kind == ASK_BREAK && !moved)
			check_broken(ask);
		if (base->holder && strcmp(base->holder, "host=here"))
			world_fail(world, "d%d: the holder of %s is said to be %s", daemon->index,
				   mutex_word(ask->mutex), base->holder);
		if ((base->kind == ASK_EXISTS || base->kind == ASK_LOOK) && !moved &&
		    !(base->locked ? was_locked(ask) : was_free(ask)))
			world_fail(world, "d%d: says that %s is %s, which it never was",
				   daemon->index, mutex_word(ask->mutex),
				   base->locked ? "locked" : "free");
		break;
	case OUTCOME_ALREADY_LOCKED:
		world->n_refused++;
		if (base->kind != ASK_ACQUIRE)
			world_fail(world, "d%d: already locked? kind %d", daemon->index,
				   base->kind);
		if (!moved && !ask->queued_behind && !was_locked(ask))
			world_fail(world, "d%d: %s was refused as locked and was not",
				   daemon->index, mutex_word(ask->mutex));
		if (!moved && !ask->wait_us && only_lingered(ask))
			world_fail(world, "d%d: %s was refused as locked and only lingered",
				   daemon->index, mutex_word(ask->mutex));
		break;
	case OUTCOME_UNLOCK_FAIL:
		break;
	case OUTCOME_UNAVAILABLE:
		world->n_unavailable++;
		if (!base->text[0])
			world_fail(world, "d%d: unavailable, and does not say why", daemon->index);
		if (world->traits.faultless && !moved && !is_short_of_time(world) &&
		    !(ask->owned_by_process && !ask->client->process_alive))
			world_fail(world, "d%d: says unavailable, but nothing is wrong: %s",
				   daemon->index, base->text);
		break;
	case OUTCOME_LIMIT:
		if (!base->text[0])
			world_fail(world, "d%d: limit, and does not say which", daemon->index);
		break;
	case OUTCOME_CANCELLED:
		if (ask->cancelled_us < 0 && ask->hung_up_us < 0 &&
		    !(ask->owned_by_process && !ask->client->process_alive))
			world_fail(world, "d%d: cancelled what nobody cancelled", daemon->index);
		break;
	case OUTCOME_UNKNOWN_MUTEX:
		if (!world->traits.reloads)
			world_fail(world, "d%d: does not know %s", daemon->index,
				   mutex_word(ask->mutex));
		break;
	case OUTCOME_SHUTTING_DOWN:
		if (!daemon->stopping)
			world_fail(world, "d%d: shutting down, but it is not", daemon->index);
	}
	if (moved)
		return;
	if (base->kind == ASK_EXISTS && base->outcome == OUTCOME_OK && base->locked &&
	    only_lingered(ask))
		world_fail(world, "d%d: says that %s is locked, and it only lingers", daemon->index,
			   mutex_word(ask->mutex));
	if (base->kind == ASK_RELEASE)
		check_release(ask);
	else if (base->kind == ASK_EXTEND)
		check_extend(ask);
}

/* ------------------------------------------------------------------ commands */
void oracle_cause(struct daemon *daemon, int key)
{
	daemon->counts[key].causes++;
}

void oracle_submitted(struct daemon *daemon, const struct store_op *op, int key)
{
	struct hold *hold;

	if (op->verb == STORE_ACQUIRE || op->verb == STORE_LOOK)
		daemon->counts[key].lookups++;
	if (op->verb != STORE_CHECK && op->verb != STORE_EXTEND)
		return;
	TAILQ_FOREACH (hold, &daemon->holds, daemon_entry) {
		if (!strcmp(hold->value, op->value))
			hold->compared_us = daemon->world->now_us;
	}
}

/* Those that still have look-ups to come: a lock that may only linger is looked at again. */
static unsigned n_open_causes(struct daemon *daemon, int key)
{
	struct sim_ask *ask;
	unsigned n = 0;

	TAILQ_FOREACH (ask, &daemon->asks, entry)
		n += ask->key == key && (ask->ask.kind != ASK_ACQUIRE || !ask->wait_us);
	return n;
}

static void check_budget(struct daemon *daemon, int key)
{
	struct world *world = daemon->world;
	struct key_watch_counts *counts = &daemon->counts[key];
	int64_t span = world->now_us - counts->window_us, each = SECOND;

	/* Contenders at a quorum try again soon. */
	if (span < 2 * SECOND || world->traits.n_nodes)
		return;
	if (world->traits.ttl_ms * MS / 2 < each)
		each = world->traits.ttl_ms * MS / 2;
	/* A short lock that is renewed elsewhere is looked at when its time would be up. */
	if (world->traits.short_asks || world->traits.foreign ||
	    world->server.keys[key].short_us >= counts->window_us)
		each = 10 * MS;
	if (counts->lookups > 5 * counts->causes + 3 * span / (2 * each) + 8)
		world_fail(world, "d%d: %u look-ups of k%d in %lld ms for %u reasons",
			   daemon->index, counts->lookups, key, (long long)(span / MS),
			   counts->causes);
	*counts = (struct key_watch_counts){.window_us = world->now_us,
					    .causes = n_open_causes(daemon, key)};
}

/* ------------------------------------------------------------------ now and then */
static bool believes_in_lock(struct daemon *daemon, int key)
{
	struct hold *hold;

	TAILQ_FOREACH (hold, &daemon->holds, daemon_entry) {
		if (hold->key == key && hold->known)
			return true;
	}
	return false;
}

/* Contenders at a quorum get into each other's way for a while. */
static void check_waiter_of_nodes(struct sim_ask *ask)
{
	struct daemon *daemon = ask->daemon;
	struct world *world = daemon->world;
	const int64_t bound = 3 * SECOND + 4 * world->traits.timeout_ms * MS;

	if (world->now_us - ask->asked_us > bound && is_clear(daemon, bound) &&
	    nodes_are_free(daemon, ask->key, bound) && !believes_in_lock(daemon, ask->key))
		world_fail(world, "d%d: a waiter for %s sleeps, and a majority is free",
			   daemon->index, mutex_word(ask->mutex));
}

static void check_waiters(struct daemon *daemon)
{
	struct world *world = daemon->world;
	const int64_t bound = 1500 * MS + world->traits.timeout_ms * MS;
	int64_t ready_us, free_us;
	struct sim_ask *ask;

	TAILQ_FOREACH (ask, &daemon->asks, entry) {
		struct sim_key *key = world_key(world, ask->key);

		if (!daemon->frozen && daemon->busy_until_us <= world->now_us)
			check_latency(ask, false);
		if (ask->ask.kind != ASK_ACQUIRE || ask->ask.state != ASK_WAITING || ask->moved ||
		    ask->reloads != daemon->reloads || !is_clear(daemon, bound))
			continue;
		/* Who believes that it is held learns otherwise with the next comparison. */
		if (is_outdated(daemon, ask->key))
			daemon->outdated_us[ask->key] = world->now_us;
		if (world->now_us - daemon->outdated_us[ask->key] < bound)
			continue;
		if (world->traits.n_nodes) {
			check_waiter_of_nodes(ask);
			continue;
		}
		/* With a message, or a look when none could be missed any more, it is quicker. */
		ready_us = sim_store_watching_since_us(daemon->stores[0], ask->key);
		free_us = key->freed_quietly && key->since_us < ready_us ? ready_us : key->since_us;
		if (!key->stands && ready_us <= world->now_us &&
		    !(key->freed_quietly && key->since_us >= ready_us) &&
		    world->now_us - free_us > 400 * MS && world->now_us - ready_us > 400 * MS &&
		    world->now_us - ask->asked_us > 400 * MS)
			world_fail(world, "d%d: a waiter for %s was not woken, and it is free",
				   daemon->index, mutex_word(ask->mutex));
		if (!key->stands && world->now_us - key->since_us > bound &&
		    world->now_us - ask->asked_us > bound)
			world_fail(world, "d%d: a waiter for %s sleeps, and it is free",
				   daemon->index, mutex_word(ask->mutex));
	}
}

static void check_comparisons(struct daemon *daemon)
{
	struct world *world = daemon->world;
	struct hold *hold;

	TAILQ_FOREACH (hold, &daemon->holds, daemon_entry) {
		int64_t by = 10 * SECOND;

		if (!hold->known || !hold->lock)
			continue;
		if (hold->live && hold->client && !daemon->stopping &&
		    hold->told_end_us != hold->end_us)
			check_notice(hold, hold->end_us - local_now(daemon));
		if (hold->lock->lease.ttl_us / 3 < by)
			by = hold->lock->lease.ttl_us / 3;
		by += by / 100 + 20 * MS;
		if (is_clear(daemon, 2 * SECOND) &&
		    nodes_of_hold_are_clear(hold, 2 * SECOND, hold->compared_us) &&
		    world->now_us - hold->compared_us > by)
			world_fail(world, "d%d: %.6s was last compared %lld ms ago", daemon->index,
				   hold->string,
				   (long long)((world->now_us - hold->compared_us) / MS));
	}
}

void oracle_check(struct world *world)
{
	for (int i = 0; i < N_KEYS; i++) {
		struct sim_key *key = world_key(world, i);
		struct hold *hold, *next;

		for (hold = TAILQ_FIRST(&key->holds); hold; hold = next) {
			next = TAILQ_NEXT(hold, key_entry);
			/* What no daemon remembers ends by its own time. */
			if (hold->live && !hold->known && !is_valid_at(hold, world->now_us))
				oracle_end(hold);
		}
	}
	nodes_check_holds(world);
	for (int i = 0; i < world->traits.n_daemons; i++) {
		struct daemon *daemon = &world->daemons[i];

		if (!daemon->up)
			continue;
		check_waiters(daemon);
		check_comparisons(daemon);
		for (int j = 0; j < N_KEYS; j++)
			check_budget(daemon, j);
	}
}

bool oracle_nobody_holds(struct world *world, int key, const char *value)
{
	struct hold *hold;

	TAILQ_FOREACH (hold, &world->server.keys[key].holds, key_entry) {
		if (hold->live && hold->kind == HOLDER_NOBODY && !strcmp(hold->value, value))
			return true;
	}
	return false;
}

bool oracle_at_rest(struct world *world, const char **why)
{
	static char text[160];

	*why = text;
	for (int i = 0; i < world->traits.n_daemons; i++) {
		struct daemon *daemon = &world->daemons[i];
		struct client *client;
		struct table_cursor cursor;
		struct mutex *mutex;
		bool rest = true;

		snprintf(text, sizeof(text), "d%d is down, frozen or stopping", i);
		if (!daemon->up || daemon->frozen || daemon->stopping)
			return false;
		snprintf(text, sizeof(text), "d%d has open asks", i);
		if (!TAILQ_EMPTY(&daemon->asks))
			return false;
		snprintf(text, sizeof(text), "d%d has commands open", i);
		if (world->traits.n_nodes ? nodes_are_haunted(daemon) : !daemon_idle(daemon))
			return false;
		TAILQ_FOREACH (client, &daemon->clients, entry) {
			snprintf(text, sizeof(text),
				 "d%d has a client: session %d, process %d, phase %d", i,
				 client->session_open, client->process_alive, client->phase);
			if (client->session_open || client->process_alive ||
			    client->phase != CLIENT_IDLE)
				return false;
		}
		table_cursor_open(daemon->table, &cursor);
		while ((mutex = table_cursor_next(&cursor))) {
			bool member = mutex_index(mutex_name(mutex)) >= N_EXACT;
			bool held = mutex_lock(mutex) != NULL;

			if (held || (!member && mutex_state(mutex) == MUTEX_FREE) || !rest)
				continue;
			snprintf(text, sizeof(text), "d%d still has %s, which is %s", i,
				 mutex_name(mutex), mutex_state_word(mutex_state(mutex)));
			rest = false;
		}
		table_cursor_close(&cursor);
		if (!rest)
			return false;
	}
	if (world->traits.n_nodes)
		return nodes_at_rest(world, text, sizeof(text));
	for (int i = 0; i < N_KEYS; i++) {
		struct sim_key *key = world_key(world, i);

		if (!key->stands || key->foreign)
			continue;
		if (!oracle_nobody_holds(world, i, key->value)) {
			snprintf(text, sizeof(text), "k%d is %.6s, which nobody holds", i,
				 key->value);
			return false;
		}
	}
	return true;
}
