/* SPDX-License-Identifier: MIT */
#ifndef REDMUTEXD_STORE_RESOLVE_H
#define REDMUTEXD_STORE_RESOLVE_H
/*
 * Host names to addresses, off the loop: a name server that does not answer holds up a thread, and
 * nobody but who asked for that name. A resolver has at most one thread a name.
 */
#include <netdb.h>
#include <sys/queue.h>

#include "store/open.h"

struct lookup;
struct resolver;

/*
 * Called from the loop. Exactly one of both is given. The list is the receiver's, for
 * freeaddrinfo(3).
 */
typedef void resolver_done_fn(struct resolver *resolver, struct addrinfo *list, const char *error);

struct resolver {
	const struct store_env *env;
	resolver_done_fn *done;
	LIST_HEAD(, lookup) lookups; /* that run; a cancelled one goes on until it can end */
	struct lookup *wanted;	     /* one of them; NULL: none */
};

void resolver_init(struct resolver *resolver, const struct store_env *env, resolver_done_fn *done);
/* Cancels; a thread that still hangs ends by itself, when it can. */
void resolver_deinit(struct resolver *resolver);

/*
 * resolver_start - find the addresses of a host; done() will be called
 *
 * A numeric address needs no thread and calls done() from in here. When an earlier, cancelled
 * look-up of the same name still runs, it is joined.
 */
void resolver_start(struct resolver *resolver, const char *host, int port);
void resolver_cancel(struct resolver *resolver);

#endif
