/* SPDX-License-Identifier: MIT */
#ifndef REDMUTEXD_UTIL_GLOB_H
#define REDMUTEXD_UTIL_GLOB_H
/* Patterns in which `*` stands for any run of characters, the empty one too. */
#include <stdbool.h>
#include <stddef.h>

/* Linear in the product of both lengths at worst, without recursion. */
bool glob_matches(const char *pattern, const char *text, size_t len);

#endif
