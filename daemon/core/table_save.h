/* SPDX-License-Identifier: MIT */
#ifndef REDMUTEXD_CORE_TABLE_SAVE_H
#define REDMUTEXD_CORE_TABLE_SAVE_H
/*
 * All that a table knows, as records for the process that comes after: who holds, who waits and in
 * which order, what stands in stores, and what has still to be removed from them.
 *
 * A command that is under way travels as one whose fate is unknown. The new process asks again with
 * the same string, or says LOOK and EXTEND anew; only BREAK can't be said twice.
 */
#include "core/table.h"
#include "util/record.h"

/*
 * The caller's things are named by numbers of its choice, larger than 0. An ask named 0 does not
 * come along: nobody waits for its answer any more.
 */
struct table_namer {
	uint64_t (*holder)(struct table_namer *namer, const struct holder *holder);
	uint64_t (*ask)(struct table_namer *namer, const struct ask *ask);
	/* Of the table, or of one from before that something still belongs to. */
	uint64_t (*section)(struct table_namer *namer, const struct section *section);
};

/* And back. All return NULL for a number that names nothing. */
struct table_finder {
	struct holder *(*holder)(struct table_finder *finder, uint64_t name);
	/* As it was handed to mutex_acquire() or the others; it is the table's from then on. */
	struct ask *(*ask)(struct table_finder *finder, uint64_t name);
	struct section *(*section)(struct table_finder *finder, uint64_t name);
};

/* How many commands are unanswered. @n_breaks: how many of them are BREAKs. */
unsigned table_n_commands(const struct table *table, unsigned *n_breaks);

/*
 * table_save - write it all down
 *
 * Everything that was answered must have been delivered. The table stays as it is, and may go on.
 */
void table_save(struct table *table, struct record_writer *w, struct table_namer *namer);

/*
 * table_load - take it all over
 * @table: configured, with nothing open; its sections may differ from those of before, as after
 *	table_configure()
 * @reader: by value: other records are skipped
 * @why: on failure, what is wrong
 *
 * Return: true; or false when the records make no sense. Then the table is good for table_abandon()
 * only, after which the asks that it got are answered.
 */
bool table_load(struct table *table, struct record_reader reader, struct table_finder *finder,
		char *why, size_t size);

#endif
