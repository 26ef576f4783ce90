/* SPDX-License-Identifier: MIT */
#ifndef REDMUTEXD_CORE_LEASE_H
#define REDMUTEXD_CORE_LEASE_H
/*
 * The time for which a store has promised a lock, as seen from here: counted from before the
 * request was written, less the drift that two clocks may have against one another.
 */
#include <stdbool.h>
#include <stdint.h>

struct lease {
	int64_t ttl_us;	 /* as asked of the store */
	int64_t from_us; /* when the request that got it was submitted */
	int64_t end_us;	 /* from + ttl - drift: nobody may rely on it from here on */
	int64_t by_us;	 /* when that was answered: the store counts from before this moment */
};

/*
 * lease_drift_us - what is taken off a lease: 2 ms and 1 % of it, where the 1 % is at most 2 s,
 * or 0.05 % if that is more
 *
 * The 1 % and 2 ms are those of the Redlock page
 * (https://redis.io/docs/latest/develop/clients/patterns/distributed-locks/); the cap keeps
 * day-long leases from losing a quarter of an hour, and 0.05 % (500 ppm) is what a disciplined
 * quartz clock can be off at the very worst.
 */
int64_t lease_drift_us(int64_t ttl_us);

/* A lease of ttl_us, asked for at from_us, and carried out there and then as far as is known. */
struct lease lease_make(int64_t from_us, int64_t ttl_us);

/* The same, answered at by_us. */
struct lease lease_answered(int64_t from_us, int64_t by_us, int64_t ttl_us);

/* What is left of it at now_us; 0 when it is over. */
int64_t lease_left_us(const struct lease *lease, int64_t now_us);

/*
 * lease_gone_us - from when on the store itself must have dropped the key, if nothing prolonged it
 *
 * Later than end_us by twice the drift, of which one half is for a store whose clock is slow, and
 * by as long as the command was on its way.
 */
int64_t lease_gone_us(const struct lease *lease);

/* How long before its end a lease that will not be renewed is announced: a third of it, or 5 s. */
int64_t lease_notice_us(const struct lease *lease);

#endif
