/* SPDX-License-Identifier: MIT */
#ifndef REDMUTEXD_STORE_SENTINEL_H
#define REDMUTEXD_STORE_SENTINEL_H
/*
 * Which server is the master, as Redis Sentinel says
 * (https://redis.io/docs/latest/develop/reference/sentinel-clients/). All sentinels are asked, and
 * listened to, at once: some of them may be down, or behind the others.
 */
#include "store/conn.h"
#include "store/login.h"
#include "store/url.h"

struct sentinel;

struct sentinel_setup {
	const struct store_env *env;
	const struct url *url; /* URL_SENTINEL: the sentinels, and the master's name */
	struct login login;    /* to the sentinels; not to the master */
	struct tls *tls;       /* the same; borrowed; NULL: plain */
	struct tls *master_tls;
	int64_t connect_timeout_ms;
	/* The master is another one than before. Never from inside a call of this header. */
	void (*moved)(void *arg);
	void *arg;
};

/* @setup: copied; what it points to is borrowed until sentinel_free() */
struct sentinel *sentinel_new(const struct sentinel_setup *setup);
void sentinel_free(struct sentinel *sentinel);

/*
 * sentinel_where - where the master is
 *
 * Return: borrowed until the next turn of the loop. NULL: no sentinel has named it, and *why says
 * what is the matter, or is NULL when that is only a matter of moments.
 */
const struct conn_address *sentinel_where(const struct sentinel *sentinel, const char **why);

/* Whom they named does not serve: ask again, now. */
void sentinel_ask(struct sentinel *sentinel);

#endif
