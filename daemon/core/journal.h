/* SPDX-License-Identifier: MIT */
#ifndef REDMUTEXD_CORE_JOURNAL_H
#define REDMUTEXD_CORE_JOURNAL_H
/*
 * What the core reports so that a later start can clean up after a crash: every string that may
 * stand in a store because of us, from before the command that puts it there is submitted until the
 * store has said that it is gone.
 */
#include "core/holder.h"

struct journal;

struct journal_class {
	/*
	 * `value` may stand in the store from now on. Return: a slot for the other calls, at least
	 * 1; 0: not recorded (memory or disk is out), which stops nobody.
	 */
	uint32_t (*claim)(struct journal *journal, const struct mutex *mutex, const char *value);
	/*
	 * The lock that stands in the store as this claim was granted to, or moved to, this holder,
	 * or its lease has changed. More about the claim is told by mutex_claim().
	 */
	void (*grant)(struct journal *journal, uint32_t slot, const struct lock *lock);
	/* The string does not stand in the store any more. */
	void (*drop)(struct journal *journal, uint32_t slot);
	/* Nobody holds the lock any more, though the string may still stand in the store. */
	void (*revoke)(struct journal *journal, uint32_t slot);
};

/* The head of the implementation's own struct. */
struct journal {
	const struct journal_class *class;
};

#endif
