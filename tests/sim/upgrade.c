/* SPDX-License-Identifier: MIT */
/* A daemon's program is replaced while it runs: what it knows goes on in another table. */
#include "config.h"

#include "world.h"

#include <stdlib.h>
#include <string.h>

#include "core/table_save.h"
#include "nodes.h"
#include "util/alloc.h"
#include "util/record.h"

enum { MAX_SECTIONS = 1024, NAME_OF_NOBODY = 1 };

/* What one process calls by its address, and the next by another. */
struct names {
	struct table_namer namer;
	struct table_finder finder;
	struct daemon *daemon;
	TAILQ_HEAD(, sim_ask) asks; /* those to come */
	const struct section *old[MAX_SECTIONS];
	struct section *sections[MAX_SECTIONS];
	unsigned n_sections;
};

/* ------------------------------------------------------------------ names */
static uint64_t name_holder(struct table_namer *namer, const struct holder *holder)
{
	(void)namer;
	return holder->kind == HOLDER_NOBODY ? NAME_OF_NOBODY : (uintptr_t)holder;
}

static struct holder *find_holder(struct table_finder *finder, uint64_t name)
{
	struct names *names = container_of(finder, struct names, finder);

	/* Sessions and processes are the same; nobody is the table's. */
	return name == NAME_OF_NOBODY ? table_nobody(names->daemon->table)
				      : (struct holder *)(uintptr_t)name;
}

static uint64_t name_ask(struct table_namer *namer, const struct ask *ask)
{
	(void)namer;
	return (uintptr_t)ask;
}

static struct ask *find_ask(struct table_finder *finder, uint64_t name)
{
	struct names *names = container_of(finder, struct names, finder);
	struct sim_ask *ask;

	TAILQ_FOREACH (ask, &names->asks, entry) {
		if (ask->was == name)
			return &ask->ask;
	}
	return NULL;
}

static void section_free(struct section *section)
{
	free(section->name);
	free(section->key);
	free(section);
}

/* As it was, to be moved to the next process's store. */
static uint64_t name_section(struct table_namer *namer, const struct section *section)
{
	struct names *names = container_of(namer, struct names, namer);
	struct section *copy;
	unsigned i;

	for (i = 0; i < names->n_sections && names->old[i] != section; i++)
		;
	if (i < names->n_sections)
		return i + 1;
	if (i == MAX_SECTIONS)
		world_fail(names->daemon->world, "too many sections");
	copy = xcalloc(1, sizeof(*copy));
	copy->name = xstrdup(section->name);
	copy->key = xstrdup(section->key);
	copy->family = section->family;
	copy->settings = section->settings;
	copy->free = section_free;
	names->old[i] = section;
	names->sections[i] = section_ref(copy);
	names->n_sections++;
	return i + 1;
}

static struct section *find_section(struct table_finder *finder, uint64_t name)
{
	struct names *names = container_of(finder, struct names, finder);

	return name >= 1 && name <= names->n_sections ? names->sections[name - 1] : NULL;
}

/* ------------------------------------------------------------------ from one to the next */
/* The same question, to be handed to the next table. */
static void ask_again(struct names *names, struct sim_ask *old)
{
	struct sim_ask *ask = xcalloc(1, sizeof(*ask));
	const struct ask *base = &old->ask;

	*ask = *old;
	ask->was = (uintptr_t)base;
	ask->ask = (struct ask){
		.done = base->done,
		.owner = base->owner,
		.acquirer = base->acquirer,
		.asker = base->asker,
		.wait_us = base->wait_us,
		.ttl_ms = base->ttl_ms,
		.renew = base->renew,
		.note = base->note,
		.announce = base->announce,
		.again = base->again,
	};
	memcpy(ask->ask.string, base->string, LOCK_STRING_SIZE);
	if (base->owner && base->owner->kind == HOLDER_NOBODY)
		ask->of_nobody = true;
	if (old->client && old->client->acquire == old)
		old->client->acquire = ask;
	TAILQ_INSERT_TAIL(&names->asks, ask, entry);
}

/* What was held is held, by those who held it. */
static void find_locks(struct daemon *daemon)
{
	struct hold *hold;

	TAILQ_FOREACH (hold, &daemon->holds, daemon_entry) {
		const char *word = mutex_word(hold->mutex);
		struct mutex *mutex = table_peek(daemon->table, word, strlen(word));
		const struct lock *lock = mutex ? mutex_lock(mutex) : NULL;

		if (!hold->known)
			continue;
		if (!lock || strcmp(lock->string, hold->string) != 0)
			world_fail(daemon->world, "d%d: %.6s was lost over an upgrade",
				   daemon->index, hold->string);
		if (hold->lock)
			hold->lock = lock;
	}
}

static void take_over(struct daemon *daemon, struct names *names, const struct record_writer *w)
{
	struct record_reader reader;
	struct sim_ask *ask;
	char why[160] = "";

	for (unsigned i = 0; i < names->n_sections; i++)
		names->sections[i]->store = daemon->base;
	TAILQ_FOREACH (ask, &names->asks, entry) {
		if (ask->of_nobody)
			ask->ask.owner = table_nobody(daemon->table);
	}
	if (!record_reader_init(&reader, w->data, w->len) ||
	    !table_load(daemon->table, reader, &names->finder, why, sizeof(why)))
		world_fail(daemon->world, "d%d: can't go on: %s", daemon->index, why);
	while ((ask = TAILQ_FIRST(&names->asks))) {
		TAILQ_REMOVE(&names->asks, ask, entry);
		TAILQ_INSERT_TAIL(&daemon->asks, ask, entry);
		if (ask->ask.state == ASK_IDLE)
			world_fail(daemon->world, "d%d: an ask of kind %d was lost over an upgrade",
				   daemon->index, (int)ask->ask.kind);
	}
	for (unsigned i = 0; i < names->n_sections; i++)
		section_unref(names->sections[i]);
}

void daemon_upgrade(struct daemon *daemon)
{
	struct world *world = daemon->world;
	struct record_writer w = {0};
	struct names names = {
		.namer = {name_holder, name_ask, name_section},
		.finder = {find_holder, find_ask, find_section},
		.daemon = daemon,
	};
	struct sim_ask *ask;
	unsigned n_breaks;

	daemon_turn(daemon);
	/* A BREAK is waited for. */
	table_n_commands(daemon->table, &n_breaks);
	if (n_breaks > 0 || !TAILQ_EMPTY(&daemon->inbox))
		return;
	TRACE(world, "d%d: is replaced", daemon->index);
	TAILQ_INIT(&names.asks);
	record_open(&w, "sim");
	table_save(daemon->table, &w, &names.namer);
	record_close(&w);
	TAILQ_FOREACH (ask, &daemon->asks, entry)
		ask_again(&names, ask);
	daemon_forget(daemon);
	daemon_open(daemon);
	daemon->upgraded_us = world->now_us;
	take_over(daemon, &names, &w);
	record_writer_deinit(&w);
	find_locks(daemon);
	for (int i = 0; i < N_KEYS; i++)
		oracle_cause(daemon, i);
	daemon_turn(daemon);
}
