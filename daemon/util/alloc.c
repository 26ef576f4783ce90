/* SPDX-License-Identifier: MIT */
/* Allocation that ends the process when memory is out. */
#include "config.h"

#include "util/alloc.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What that cache takes. */
enum { SMALL_MAX = 1024 };

static void *check(void *p)
{
	if (!p) {
		static const char text[] = "redmutexd: out of memory\n";

		/* No log_error() here: it may want memory. */
		fputs(text, stderr);
		abort();
	}
	return p;
}

/*
 * What is small is not had from calloc(3), which passes the thread's cache of freed blocks by until
 * glibc 2.41, and so takes several times as long. Nor from malloc(3): with the memset() after it
 * the compiler would make a calloc() of it again.
 */
void *xcalloc(size_t n, size_t size)
{
	if (n == 0 || size == 0)
		n = size = 1; /* nothing is asked for, but never NULL is promised */
	if (size > SMALL_MAX || n > SMALL_MAX / size)
		return check(calloc(n, size));
	return memset(check(reallocarray(NULL, n, size)), 0, n * size);
}

void *xrealloc(void *old, size_t n, size_t size)
{
	return check(reallocarray(old, n, size));
}

char *xstrdup(const char *text)
{
	return check(strdup(text));
}

char *xstrndup(const char *text, size_t len)
{
	return check(strndup(text, len));
}

char *xasprintf(const char *format, ...)
{
	va_list args;
	char *text = NULL;
	int len;

	va_start(args, format);
	len = vasprintf(&text, format, args);
	va_end(args);
	return check(len < 0 ? NULL : text);
}
