/* SPDX-License-Identifier: MIT */
#ifndef REDMUTEXD_STORE_MEMORY_H
#define REDMUTEXD_STORE_MEMORY_H
/* Locks of one host, in the memory of its daemon: the store of the url `local:`. */
#include "store/open.h"

/* Needs of @env the clock only. */
struct store *memory_open(const struct store_env *env, struct store_listener *listener);

#endif
