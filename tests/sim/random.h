/* SPDX-License-Identifier: MIT */
#ifndef REDMUTEXD_TESTS_SIM_RANDOM_H
#define REDMUTEXD_TESTS_SIM_RANDOM_H
/*
 * Chance that repeats itself: xoshiro256** 1.0, seeded by splitmix64, both by David Blackman and
 * Sebastiano Vigna, public domain (https://prng.di.unimi.it/).
 */
#include <stdbool.h>
#include <stdint.h>

struct random {
	uint64_t s[4];
};

static inline uint64_t random_rotate(uint64_t x, int k)
{
	return (x << k) | (x >> (64 - k));
}

static inline void random_seed(struct random *random, uint64_t seed)
{
	for (int i = 0; i < 4; i++) {
		uint64_t z = seed += 0x9e3779b97f4a7c15u;

		z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
		z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
		random->s[i] = z ^ (z >> 31);
	}
}

static inline uint64_t random_next(struct random *random)
{
	uint64_t *s = random->s;
	uint64_t result = random_rotate(s[1] * 5, 7) * 9;
	uint64_t t = s[1] << 17;

	s[2] ^= s[0];
	s[3] ^= s[1];
	s[1] ^= s[2];
	s[0] ^= s[3];
	s[2] ^= t;
	s[3] = random_rotate(s[3], 45);
	return result;
}

/* 0 to n - 1; n at least 1. */
static inline int64_t random_below(struct random *random, int64_t n)
{
	return (int64_t)(((unsigned __int128)random_next(random) * (uint64_t)n) >> 64);
}

/* low to high, both possible. */
static inline int64_t random_range(struct random *random, int64_t low, int64_t high)
{
	return low + random_below(random, high - low + 1);
}

/* True `n` times in 10 000. */
static inline bool random_chance(struct random *random, unsigned n)
{
	return random_below(random, 10000) < (int64_t)n;
}

#endif
