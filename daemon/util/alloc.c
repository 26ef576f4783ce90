/* SPDX-License-Identifier: MIT */
/* Allocation that ends the process when memory is out. */
#include "config.h"

#include "util/alloc.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

void *xcalloc(size_t n, size_t size)
{
	return check(calloc(n, size));
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
