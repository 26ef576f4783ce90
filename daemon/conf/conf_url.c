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

static int text_compare(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Texts in the order of the alphabet. */
struct sorted {
	char **texts;
	size_t n;
};

/* @text: taken over */
static void sorted_add(struct sorted *sorted, char *text)
{
	sorted->texts = xrealloc(sorted->texts, sorted->n + 1, sizeof(*sorted->texts));
	sorted->texts[sorted->n++] = text;
}

/* Return: all of them, each with that character behind it; to be freed. Nothing else is left. */
static char *sorted_join(struct sorted *sorted, char separator)
{
	char *text = xstrdup("");

	if (sorted->n > 0)
		qsort(sorted->texts, sorted->n, sizeof(*sorted->texts), text_compare);
	for (size_t i = 0; i < sorted->n; i++) {
		char *joined = xasprintf("%s%s%c", text, sorted->texts[i], separator);

		free(text);
		text = joined;
		free(sorted->texts[i]);
	}
	free(sorted->texts);
	return text;
}

/* One host or several, with commas between them. */
static char *hosts_canonical(const char *hosts, size_t len, const char *port)
{
	const char *end = hosts + len;
	struct sorted sorted = {0};

	while (hosts < end) {
		const char *comma = memchr(hosts, ',', (size_t)(end - hosts));
		size_t n = (size_t)((comma ? comma : end) - hosts);
		char *host = xasprintf("%.*s%s", (int)n, hosts, has_port(hosts, n) ? "" : port);

		for (char *at = host; *at; at++)
			*at = (char)tolower((unsigned char)*at);
		sorted_add(&sorted, host);
		hosts += n + (comma != NULL);
	}
	return sorted_join(&sorted, ',');
}

/* The ends of urls that say no more than is said without them. */
static int path_canonical_len(const char *kind, const char *path, int len)
{
	bool is_unix = strcmp(kind, "unix") == 0;
	const char *tail = is_unix ? "?db=0" : "/0";
	int tail_len = (int)strlen(tail);

	/* The master's name stands before the database of a sentinel's, and is no end. */
	if (len > tail_len || (len == tail_len && strcmp(kind, "redis-sentinel") != 0))
		len -= memcmp(path + len - tail_len, tail, (size_t)tail_len) == 0 ? tail_len : 0;
	if (!is_unix && len > 0 && path[len - 1] == '/')
		len--;
	return len;
}

static char *url_canonical(const char *url, size_t len)
{
	static const struct {
		const char *kind, *port;
	} kinds[] = {
		{"redis", ":6379"},	    {"rediss", ":6379"}, {"redis-sentinel", ":26379"},
		{"redis-cluster", ":6379"}, {"unix", NULL},
	};
	struct parts p = url_split(url, len);
	char *kind = xasprintf("%.*s", (int)strcspn(url, ":"), url), *whole = NULL;

	for (char *at = kind; *at; at++)
		*at = (char)tolower((unsigned char)*at);
	/* TLS is a way to the same place, which cannot well be told from a port. */
	if (strncmp(kind, "rediss-", 7) == 0)
		memmove(kind + 5, kind + 6, strlen(kind + 6) + 1);
	for (size_t i = 0; !whole && i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		char *hosts;

		if (strcmp(kind, kinds[i].kind) != 0)
			continue;
		hosts = hosts_canonical(p.host, (size_t)p.host_len, kinds[i].port);
		whole = xasprintf("%s://%s%.*s", kind, hosts,
				  path_canonical_len(kind, p.path, p.path_len), p.path);
		free(hosts);
	}
	if (!whole)
		whole = xstrndup(url, len);
	free(kind);
	return whole;
}

char *conf_url_canonical(const char *urls)
{
	struct sorted sorted = {0};

	for (const char *at = urls; *at; at += strspn(at, " ")) {
		size_t len = strcspn(at, " ");

		sorted_add(&sorted, url_canonical(at, len));
		at += len;
	}
	return sorted_join(&sorted, ' ');
}

bool conf_url_is_cluster(const char *url)
{
	return starts_with(url, "redis-cluster:") || starts_with(url, "rediss-cluster:");
}
