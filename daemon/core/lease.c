/* SPDX-License-Identifier: MIT */
/* The arithmetic of leases. */
#include "config.h"

#include "core/lease.h"

#include "core/clock.h"

#define MS INT64_C(1000)
#define SECOND (1000 * MS)

int64_t lease_drift_us(int64_t ttl_us)
{
	return 2 * MS + max_us(min_us(ttl_us / 100, 2 * SECOND), ttl_us / 2000);
}

struct lease lease_make(int64_t from_us, int64_t ttl_us)
{
	return (struct lease){
		.ttl_us = ttl_us,
		.from_us = from_us,
		.end_us = from_us + ttl_us - lease_drift_us(ttl_us),
		.by_us = from_us,
	};
}

struct lease lease_answered(int64_t from_us, int64_t by_us, int64_t ttl_us)
{
	struct lease lease = lease_make(from_us, ttl_us);

	lease.by_us = by_us;
	return lease;
}

int64_t lease_left_us(const struct lease *lease, int64_t now_us)
{
	return max_us(0, lease->end_us - now_us);
}

int64_t lease_gone_us(const struct lease *lease)
{
	return lease->by_us + lease->ttl_us + lease_drift_us(lease->ttl_us);
}

int64_t lease_notice_us(const struct lease *lease)
{
	return min_us(lease->ttl_us / 3, 5 * SECOND);
}
