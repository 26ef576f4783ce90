/* SPDX-License-Identifier: MIT */
#ifndef REDMUTEXD_STORE_SCOUT_H
#define REDMUTEXD_STORE_SCOUT_H
/*
 * Asks a node of a cluster which node serves which slots, over a connection of its own that lives
 * for one question: it must neither wait behind locks nor hold them up.
 */
#include <stdbool.h>

#include "store/conn.h"
#include "store/login.h"

struct scout;

/*
 * The answer: that of CLUSTER SLOTS, which is gone when this returns, or @error (then @slots is
 * NULL). The scout is free again, but is to be sent out from a later turn of the loop only.
 */
typedef void scout_done_fn(struct scout *scout, const redisReply *slots, const char *error,
			   bool lasting);

struct scout {
	const struct login *login;
	scout_done_fn *done;
	struct conn conn;
	unsigned n_auth; /* replies to AUTH still to come */
};

/* @login: borrowed */
void scout_init(struct scout *scout, const struct store_env *env, const struct login *login,
		scout_done_fn *done);
/* Without an answer to what it was asked. */
void scout_deinit(struct scout *scout);

/* @timeout_ms: from now until the answer */
void scout_ask(struct scout *scout, const struct conn_address *address, int64_t timeout_ms);
bool scout_is_busy(const struct scout *scout);

#endif
