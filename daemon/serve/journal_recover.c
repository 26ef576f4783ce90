/* SPDX-License-Identifier: MIT */
/* What is done at start with what the last process left in the state file. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "serve/journal.h"
#include "util/alloc.h"
#include "util/log.h"

/* How long what connections held is left in place, so that those can learn that they lost it. */
#define GRACE_US INT64_C(1000000)

struct recovery {
	struct journal_file *file;
	struct table *table;
	journal_heir_fn *heir;
	void *arg;
	int64_t now_us;
	uint32_t *adoptable; /* slots */
	uint32_t n_adoptable;
	unsigned n_adopted, n_removed, n_left;
};

/* The store that the entry is about: the mutex's own, or that of any section. */
static const struct store *find_store(struct recovery *recovery, const struct mutex *mutex,
				      uint64_t hash)
{
	if (mutex && journal_hash(mutex_store(mutex)->name) == hash)
		return mutex_store(mutex);
	for (size_t i = 0; i < table_n_sections(recovery->table); i++) {
		const struct section *section = table_section_at(recovery->table, i);

		if (journal_hash(section->store->name) == hash)
			return section->store;
	}
	return NULL;
}

/* The mutex, with the key and store that it had then. NULL: that store is not known any more. */
static struct mutex *recall(struct recovery *recovery, const struct journal_entry *entry)
{
	const size_t len = strlen(entry->name);
	struct mutex *mutex = table_find(recovery->table, entry->name, len);
	const struct store *store = find_store(recovery, mutex, entry->store_hash);
	const char *key = entry->key;

	if (!store)
		return NULL;
	if (!*key) {
		/* Too long to be written down: only what is configured can tell. */
		if (!mutex || journal_hash(mutex_key(mutex)->key) != entry->key_hash)
			return NULL;
		key = mutex_key(mutex)->key;
	}
	return table_recall(recovery->table, entry->name, len, store, key);
}

static void leave(struct recovery *recovery, uint32_t slot, const struct journal_entry *entry,
		  const char *why)
{
	struct journal *journal = journal_interface(recovery->file);

	log_warning("%s: a lock of the last run is left to expire: %s", entry->name, why);
	journal->class->drop(journal, slot);
	recovery->n_left++;
}

static void remove_entry(struct recovery *recovery, uint32_t slot,
			 const struct journal_entry *entry)
{
	const struct claim claim = {
		.value = entry->value,
		.doubtful = entry->doubtful,
		.slot = slot,
	};
	const bool grace = entry->state == JOURNAL_GRANTED && entry->kind == HOLDER_CONNECTION;
	struct mutex *mutex = recall(recovery, entry);

	if (!mutex) {
		leave(recovery, slot, entry, "its store or key is not configured any more");
		return;
	}
	table_remove_claim(recovery->table, mutex, &claim, grace ? recovery->now_us + GRACE_US : 0);
	recovery->n_removed++;
}

static bool lease_is_over(const struct recovery *recovery, const struct journal_entry *entry)
{
	return lease_left_us(&entry->lock.lease, recovery->now_us) == 0 ||
	       lease_left_us(&entry->lease, recovery->now_us) == 0;
}

static void adopt_entry(struct recovery *recovery, uint32_t slot, struct journal_entry *entry)
{
	const struct claim claim = {
		.value = entry->value,
		.lease = entry->lease,
		.doubtful = entry->doubtful,
		.slot = slot,
	};
	struct holder *owner = recovery->heir(recovery->arg, entry);
	struct mutex *mutex;

	if (!owner || (entry->lease_known && lease_is_over(recovery, entry))) {
		remove_entry(recovery, slot, entry);
		return;
	}
	if (!entry->lease_known) {
		leave(recovery, slot, entry, "the clock was set back since");
		return;
	}
	mutex = recall(recovery, entry);
	if (!mutex) {
		leave(recovery, slot, entry, "its store or key is not configured any more");
		return;
	}
	entry->lock.owner = owner;
	entry->lock.note = *entry->note ? entry->note : NULL;
	if (table_adopt(recovery->table, mutex, &entry->lock, &claim))
		recovery->n_adopted++;
	else
		remove_entry(recovery, slot, entry);
}

void journal_recover(struct journal_file *file, struct table *table, journal_heir_fn *heir,
		     void *arg)
{
	struct recovery recovery = {
		.file = file,
		.table = table,
		.heir = heir,
		.arg = arg,
		.now_us = clock_now_us(table_clock(table)),
	};
	struct journal_entry entry;

	/* Removals first: a mutex stays where it was for as long as it has something adopted. */
	for (uint32_t slot = 1; slot <= journal_n_slots(file); slot++) {
		if (!journal_read(file, slot, &entry))
			continue;
		if (entry.state == JOURNAL_GRANTED && heir(arg, &entry)) {
			recovery.adoptable = xrealloc(recovery.adoptable, recovery.n_adoptable + 1,
						      sizeof(*recovery.adoptable));
			recovery.adoptable[recovery.n_adoptable++] = slot;
		} else {
			remove_entry(&recovery, slot, &entry);
		}
	}
	for (uint32_t i = 0; i < recovery.n_adoptable; i++) {
		if (journal_read(file, recovery.adoptable[i], &entry))
			adopt_entry(&recovery, recovery.adoptable[i], &entry);
	}
	free(recovery.adoptable);
	if (recovery.n_adopted + recovery.n_removed + recovery.n_left > 0)
		log_info("of the last run: %u locks are still held, %u are being removed, %u are "
			 "left to expire",
			 recovery.n_adopted, recovery.n_removed, recovery.n_left);
}
