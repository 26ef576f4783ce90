/* SPDX-License-Identifier: MIT */
#ifndef REDMUTEXD_STORE_REDIS_H
#define REDMUTEXD_STORE_REDIS_H
/*
 * Locks in one Redis server, or in the one that Sentinel names: a pool of links for commands, and a
 * watcher for messages.
 */
#include "store/open.h"

struct url;

/* @url: of one server; taken over, and left empty */
struct store *redis_open(const struct store_env *env, const struct store_settings *settings,
			 struct url *url, struct store_listener *listener);

#endif
