/* SPDX-License-Identifier: MIT */
#ifndef REDMUTEXD_UTIL_ALLOC_H
#define REDMUTEXD_UTIL_ALLOC_H
/*
 * Allocation for what is small and bounded: these end the process when memory is out. What a client
 * can make large is allocated with malloc(3) where it is refused politely.
 */
#include <stddef.h>

void *xcalloc(size_t n, size_t size) __attribute__((malloc, returns_nonnull));
void *xrealloc(void *old, size_t n, size_t size) __attribute__((returns_nonnull));
char *xstrdup(const char *text) __attribute__((malloc, returns_nonnull));
char *xstrndup(const char *text, size_t len) __attribute__((malloc, returns_nonnull));
char *xasprintf(const char *format, ...) __attribute__((format(printf, 1, 2), returns_nonnull));

/* The struct that has `member` at `pointer`. */
#define container_of(pointer, type, member) ((type *)((char *)(pointer)-offsetof(type, member)))

#endif
