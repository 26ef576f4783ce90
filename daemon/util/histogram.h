/* SPDX-License-Identifier: MIT */
#ifndef REDMUTEXD_UTIL_HISTOGRAM_H
#define REDMUTEXD_UTIL_HISTOGRAM_H
/*
 * How long things took, in buckets that double: bucket i takes what took 2^i * 64 us or less and
 * fits no earlier one, the last takes all the rest.
 */
#include <stddef.h>
#include <stdint.h>

/* The most that a bucket takes, in microseconds. */
static inline uint64_t histogram_limit_us(size_t bucket)
{
	return UINT64_C(64) << bucket;
}

/* Return: which of the buckets takes so many microseconds. */
static inline size_t histogram_bucket(int64_t us, size_t n_buckets)
{
	size_t bucket = 0;

	while (bucket + 1 < n_buckets && us > (int64_t)histogram_limit_us(bucket))
		bucket++;
	return bucket;
}

#endif
