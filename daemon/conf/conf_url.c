/* SPDX-License-Identifier: MIT */
/* Values of `url`: hiding passwords, and telling whether two are the same. */
#include "config.h"

#include "conf/conf_url.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "util/alloc.h"

/* The parts of one url, borrowed from it: scheme://userinfo@host/path */
struct parts {
	int scheme_len, userinfo_len, host_len, path_len;
	const char *scheme, *userinfo, *host, *path;
};

static struct parts url_split(const char *url, size_t len)
{
	struct parts p = {.scheme = url};
	const char *end = url + len, *start = memmem(url, len, "://", 3), *at, *slash;

	start = start ? start + 3 : end;
	p.scheme_len = (int)(start - url);
	/* A path on this host may have an @ in it; a password may have a slash. */
	at = strncmp(url, "unix:", 5) == 0 ? NULL : memrchr(start, '@', (size_t)(end - start));
	if (at) {
		p.userinfo = start;
		p.userinfo_len = (int)(at - start);
		start = at + 1;
	}
	slash = memchr(start, '/', (size_t)(end - start));
	p.host = start;
	p.path = slash ? slash : end;
	p.host_len = (int)(p.path - start);
	p.path_len = (int)(end - p.path);
	return p;
}

char *conf_url_mask(const char *urls)
{
	/* A password of one byte, or none, grows. */
	char *text = xcalloc(4 * strlen(urls) + 1, 1), *out = text;

	for (const char *at = urls; *at;) {
		size_t len = strcspn(at, " ");
		struct parts p = url_split(at, len);
		const char *colon =
			p.userinfo ? memchr(p.userinfo, ':', (size_t)p.userinfo_len) : NULL;

		if (colon) {
			out = mempcpy(out, at, (size_t)(colon + 1 - at));
			out = stpcpy(out, "***@");
			out = mempcpy(out, p.host, (size_t)(at + len - p.host));
		} else {
			out = mempcpy(out, at, len);
		}
		at += len;
		if (*at == ' ')
			*out++ = *at++;
	}
	return text;
}

static bool starts_with(const char *text, const char *start)
{
	return strncmp(text, start, strlen(start)) == 0;
}

/* Has host:port its port? An IPv6 address stands in brackets. */
static bool has_port(const char *host, size_t len)
{
	const char *bracket = memrchr(host, ']', len);
	const char *start = bracket ? bracket : host;

	return memchr(start, ':', (size_t)(host + len - start));
}

static char *url_canonical(const char *url, size_t len)
{
	struct parts p = url_split(url, len);
	char *text = xasprintf("%.*s%.*s", p.scheme_len, p.scheme, p.host_len, p.host), *whole;
	const char *port = "";

	for (char *at = text; *at; at++)
		*at = (char)tolower((unsigned char)*at);
	if (starts_with(text, "redis://") || starts_with(text, "rediss://")) {
		if (!has_port(p.host, (size_t)p.host_len))
			port = ":6379";
		if ((p.path_len == 2 && p.path[1] == '0') || p.path_len == 1)
			p.path_len = 0;
	} else if (starts_with(text, "unix://") && p.path_len > 5 &&
		   memcmp(p.path + p.path_len - 5, "?db=0", 5) == 0) {
		p.path_len -= 5;
	}
	whole = xasprintf("%s%s%.*s", text, port, p.path_len, p.path);
	free(text);
	return whole;
}

static int text_compare(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

char *conf_url_canonical(const char *urls)
{
	char **list = NULL, *text = xstrdup("");
	size_t n = 0;

	for (const char *at = urls; *at; at += strspn(at, " ")) {
		size_t len = strcspn(at, " ");

		list = xrealloc(list, n + 1, sizeof(*list));
		list[n++] = url_canonical(at, len);
		at += len;
	}
	if (n > 0)
		qsort(list, n, sizeof(*list), text_compare);
	for (size_t i = 0; i < n; i++) {
		char *joined = xasprintf("%s%s ", text, list[i]);

		free(text);
		text = joined;
		free(list[i]);
	}
	free(list);
	return text;
}
