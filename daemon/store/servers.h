/* SPDX-License-Identifier: MIT */
#ifndef REDMUTEXD_STORE_SERVERS_H
#define REDMUTEXD_STORE_SERVERS_H
/* Several urls of servers in one setting: the quorum of them, in the daemon's loop. */
#include "store/open.h"

/* Is there more than one url in this text? */
bool servers_are_several(const char *urls);

/* store_settings_check() for several urls. Return: whether they can be opened. */
bool servers_check(const struct store_settings *settings, char *why, size_t size);

/* store_open() for several urls. */
struct store *servers_open(const struct store_env *env, const struct store_settings *settings,
			   struct store_listener *listener);

#endif
