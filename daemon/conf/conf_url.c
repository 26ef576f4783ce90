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

/* What is different in the parts of a url from one scheme to the next. */
static const struct scheme {
	const char *start; /* NULL: any other */
	const char *as;	   /* TLS is a way to the same servers, which a port can't well tell */
	const char *port;  /* the default; NULL: there are no ports */
	const char *db;	   /* stands before the database's number; NULL: there are none */
	bool master;	   /* before that comes a master's name */
} schemes[] = {
	{"redis://", "redis://", "6379", "/", false},
	{"rediss://", "rediss://", "6379", "/", false},
	{"redis-sentinel://", "redis-sentinel://", "26379", "/", true},
	{"rediss-sentinel://", "redis-sentinel://", "26379", "/", true},
	{"redis-cluster://", "redis-cluster://", "6379", "/", false},
	{"rediss-cluster://", "redis-cluster://", "6379", "/", false},
	{"unix://", "unix://", NULL, "?db=", false},
	{NULL, NULL, NULL, NULL, false},
};

static const struct scheme *scheme_find(const struct parts *p)
{
	const struct scheme *scheme = schemes;

	while (scheme->start && (strlen(scheme->start) != (size_t)p->scheme_len ||
				 strncmp(scheme->start, p->scheme, (size_t)p->scheme_len) != 0))
		scheme++;
	return scheme;
}

static const char *skip_zeros(const char *at, const char *end)
{
	while (at < end && *at == '0')
		at++;
	return at;
}

/* host[:port]; an IPv6 address stands in brackets. */
static char *host_canonical(const char *host, size_t len, const char *default_port)
{
	const char *end = host + len, *bracket = memrchr(host, ']', len);
	const char *start = bracket ? bracket : host;
	const char *colon = memchr(start, ':', (size_t)(end - start));
	const char *port = colon ? skip_zeros(colon + 1, end) : end;
	char *text;

	text = xasprintf("%.*s:%.*s", (int)((colon ? colon : end) - host), host, (int)(end - port),
			 port);
	for (char *at = text; *at; at++)
		*at = (char)tolower((unsigned char)*at);
	if (!colon && default_port) {
		char *whole = xasprintf("%s%s", text, default_port);

		free(text);
		text = whole;
	}
	return text;
}

static int text_compare(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The parts of a text between separators, each made canonical, in order, each with `mark` behind.
 */
static char *list_canonical(const char *text, size_t len, char separator, char mark,
			    char *(*canonical)(const char *at, size_t len, const char *arg),
			    const char *arg)
{
	const char *end = text + len;
	char **list = NULL, *joined = xstrdup("");
	size_t n = 0;

	while (text < end) {
		const char *stop = memchr(text, separator, (size_t)(end - text));

		if (!stop)
			stop = end;
		if (stop > text) {
			list = xrealloc(list, n + 1, sizeof(*list));
			list[n++] = canonical(text, (size_t)(stop - text), arg);
		}
		text = stop + 1;
	}
	if (n > 0)
		qsort(list, n, sizeof(*list), text_compare);
	for (size_t i = 0; i < n; i++) {
		char *more = xasprintf("%s%s%c", joined, list[i], mark);

		free(joined);
		joined = more;
		free(list[i]);
	}
	free(list);
	return joined;
}

static char *url_canonical(const char *url, size_t len, const char *arg)
{
	struct parts p = url_split(url, len);
	const struct scheme *scheme = scheme_find(&p);
	const char *path = p.path, *end = p.path + p.path_len, *db = NULL;
	char *hosts, *text;

	(void)arg;
	if (scheme->db) {
		/* The number is behind the first mark, or behind the first that follows the name.
		 */
		const char *from = scheme->master && path < end ? path + 1 : path;

		db = memmem(from, (size_t)(end - from), scheme->db, strlen(scheme->db));
	}
	p.path_len = (int)((db ? db : end) - path);
	db = db ? skip_zeros(db + strlen(scheme->db), end) : end;
	hosts = list_canonical(p.host, (size_t)p.host_len, ',', ',', host_canonical, scheme->port);
	text = xasprintf("%.*s%s%.*s %.*s", scheme->as ? (int)strlen(scheme->as) : p.scheme_len,
			 scheme->as ? scheme->as : p.scheme, hosts, p.path_len, path,
			 (int)(end - db), db);
	free(hosts);
	return text;
}

bool conf_url_is_cluster(const char *url)
{
	return strncmp(url, "redis-cluster:", 14) == 0 || strncmp(url, "rediss-cluster:", 15) == 0;
}

char *conf_url_canonical(const char *urls)
{
	return list_canonical(urls, strlen(urls), ' ', ' ', url_canonical, NULL);
}
