/* SPDX-License-Identifier: MIT */
/* Holders and the ties of a lock to them. */
#include "config.h"

#include "core/holder.h"

void holder_init(struct holder *holder, const struct holder_class *class, enum holder_kind kind)
{
	*holder = (struct holder){.class = class, .kind = kind};
	TAILQ_INIT(&holder->owned);
	TAILQ_INIT(&holder->acquired);
}

void lock_tie(struct lock *lock, struct holder *owner, struct holder *acquirer)
{
	lock->owner = owner;
	TAILQ_INSERT_TAIL(&owner->owned, lock, owned_entry);
	owner->n_owned++;
	lock->acquirer = acquirer;
	if (acquirer) {
		TAILQ_INSERT_TAIL(&acquirer->acquired, lock, acquired_entry);
		acquirer->n_acquired++;
	}
}

void lock_forget_acquirer(struct lock *lock)
{
	if (!lock->acquirer)
		return;
	TAILQ_REMOVE(&lock->acquirer->acquired, lock, acquired_entry);
	lock->acquirer->n_acquired--;
	lock->acquirer = NULL;
}

void lock_untie(struct lock *lock)
{
	struct holder *owner = lock->owner;

	lock_forget_acquirer(lock);
	if (!owner)
		return;
	lock->owner = NULL;
	TAILQ_REMOVE(&owner->owned, lock, owned_entry);
	if (--owner->n_owned == 0 && owner->class && owner->class->idle)
		owner->class->idle(owner);
}
