/* SPDX-License-Identifier: MIT */
#ifndef REDMUTEXD_CORE_LOCK_STRING_H
#define REDMUTEXD_CORE_LOCK_STRING_H
/* The unguessable string that names a lock: 32 random bytes in base64, as RedMutex makes them. */
#include <stdbool.h>

#include "core/clock.h"

enum { LOCK_STRING_LEN = 44, LOCK_STRING_SIZE = LOCK_STRING_LEN + 1 };

/* Writes a new one, terminated. */
void lock_string_make(struct entropy *entropy, char out[LOCK_STRING_SIZE]);

/* Are both the same? In constant time: a lock string is a proof, and clients may probe. */
bool lock_string_equal(const char *a, const char *b);

#endif
