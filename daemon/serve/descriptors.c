/* SPDX-License-Identifier: MIT */
#include "config.h"

#include "serve/descriptors.h"

#include <sys/resource.h>

/* So many are kept back, or this part of all if that is less. */
enum { RESERVE = 64, RESERVE_PART = 8 };

bool descriptors_scarce(int fd)
{
	struct rlimit limit;
	rlim_t reserve;

	/* Asked each time, since it may be changed from outside, see prlimit(2). */
	if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur == RLIM_INFINITY)
		return false;
	reserve = limit.rlim_cur / RESERVE_PART;
	if (reserve > RESERVE)
		reserve = RESERVE;
	/* The kernel gives the lowest number that is free. */
	return (rlim_t)fd >= limit.rlim_cur - reserve;
}
