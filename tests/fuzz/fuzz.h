/* SPDX-License-Identifier: MIT */
#ifndef REDMUTEXD_TESTS_FUZZ_H
#define REDMUTEXD_TESTS_FUZZ_H
/*
 * What the fuzzing targets share. Each is one function of libFuzzer's name, linked either with
 * libFuzzer (scripts/fuzz) or with replay_main.c.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define CHECK(condition)                                                                           \
	do {                                                                                       \
		if (!(condition)) {                                                                \
			fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition);    \
			abort();                                                                   \
		}                                                                                  \
	} while (0)

#endif
