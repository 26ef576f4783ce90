/* SPDX-License-Identifier: MIT */
/* Where one store is: the words of a url, taken apart. */
#include "config.h"

#include "store/url.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "util/alloc.h"

static const char url_forms[] =
	"local:, redis://[user:password@]host[:port][/db], unix:///path[?db=n], "
	"redis-sentinel://host:port,.../master-name, redis-cluster://host:port,..., or one that "
	"begins with rediss for TLS";

void url_deinit(struct url *url)
{
	free(url->name);
	free(url->host);
	free(url->path);
	for (unsigned i = 0; i < url->n_hosts; i++)
		free(url->hosts[i].host);
	free(url->hosts);
	free(url->master);
	free(url->user);
	if (url->password)
		explicit_bzero(url->password, strlen(url->password));
	free(url->password);
	*url = (struct url){0};
}

/* A decimal number of at most `max`, all of [text, end). Return: -1 when it is none. */
static int url_number(const char *text, const char *end, int max)
{
	int number = 0;

	if (text == end)
		return -1;
	for (; text < end; text++) {
		if (!isdigit((unsigned char)*text))
			return -1;
		number = number * 10 + (*text - '0');
		if (number > max)
			return -1;
	}
	return number;
}

static int url_hex(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

/* Return: a decoded copy, or NULL where a percent sign is not followed by two digits, or by 00. */
static char *url_decode(const char *text, const char *end)
{
	char *copy = xstrndup(text, (size_t)(end - text)), *to = copy;

	for (; text < end; text++) {
		int high, low;

		if (*text != '%') {
			*to++ = *text;
			continue;
		}
		high = end - text > 2 ? url_hex(text[1]) : -1;
		low = high >= 0 ? url_hex(text[2]) : -1;
		if (low < 0 || high + low == 0) {
			free(copy);
			return NULL;
		}
		*to++ = (char)(high << 4 | low);
		text += 2;
	}
	*to = '\0';
	return copy;
}

static bool url_parse_login(struct url *url, const char *text, const char *end, char *why,
			    size_t size)
{
	const char *colon = memchr(text, ':', (size_t)(end - text));
	const char *user_end = colon ? colon : end;

	if (user_end > text && !(url->user = url_decode(text, user_end)))
		goto malformed;
	if (colon && colon + 1 < end && !(url->password = url_decode(colon + 1, end)))
		goto malformed;
	return true;

malformed:
	snprintf(why, size,
		 "a percent sign in the url's user or password is not followed by two hexadecimal "
		 "digits (write %%25 for a percent sign)");
	return false;
}

/*
 * host[:port], an IPv6 address in brackets, all of [text, end). Faults do not show the url: where
 * it is wrong, what looks like a port may be a password.
 */
static bool url_parse_host(const char *text, const char *end, int default_port, char **host,
			   int *port, char *why, size_t size)
{
	const char *host_end, *tail;

	if (*text == '[') {
		host_end = memchr(text, ']', (size_t)(end - text));
		if (!host_end) {
			snprintf(why, size, "the ] after the url's address is missing");
			return false;
		}
		text++;
		tail = host_end + 1;
	} else {
		host_end = memchr(text, ':', (size_t)(end - text));
		if (!host_end)
			host_end = end;
		tail = host_end;
	}
	if (text == host_end) {
		snprintf(why, size, "the url's host is missing; expected host[:port]");
		return false;
	}
	*port = default_port;
	if (tail < end)
		*port = *tail == ':' ? url_number(tail + 1, end, 65535) : -1;
	if (*port < 1) {
		snprintf(why, size,
			 "the url's port must be a number from 1 to 65535 (an IPv6 address stands "
			 "in [ ], a password before an @)");
		return false;
	}
	*host = xstrndup(text, (size_t)(host_end - text));
	return true;
}

/* host[:port],host[:port],... up to end */
static bool url_parse_hosts(struct url *url, const char *text, const char *end, int default_port,
			    char *why, size_t size)
{
	if (memchr(text, '@', (size_t)(end - text))) {
		snprintf(why, size,
			 "user and password do not stand in a url of several servers: give "
			 "username and password_file");
		return false;
	}
	url->hosts = xcalloc(URL_HOSTS_MAX, sizeof(*url->hosts));
	for (;;) {
		const char *comma = memchr(text, ',', (size_t)(end - text));
		struct url_host *host = &url->hosts[url->n_hosts];

		if (url->n_hosts == URL_HOSTS_MAX) {
			snprintf(why, size, "the url names more than %d servers", URL_HOSTS_MAX);
			return false;
		}
		if (!url_parse_host(text, comma ? comma : end, default_port, &host->host,
				    &host->port, why, size))
			return false;
		url->n_hosts++;
		if (!comma)
			return true;
		text = comma + 1;
	}
}

static bool url_parse_db(struct url *url, const char *text, char *why, size_t size)
{
	url->db = url_number(text, text + strlen(text), URL_DB_MAX);
	if (url->db < 0)
		snprintf(why, size, "the url's database, after the /, must be a number");
	return url->db >= 0;
}

static bool url_parse_sentinel(struct url *url, const char *text, char *why, size_t size)
{
	const char *end = text + strcspn(text, "/?#"), *name = end + (*end == '/');
	size_t len = strcspn(name, "/?#");

	url->name = xasprintf("redis%s-sentinel://%s", url->tls ? "s" : "", text);
	if (!url_parse_hosts(url, text, end, URL_SENTINEL_PORT, why, size))
		return false;
	if (len == 0 || (name[len] && name[len] != '/')) {
		snprintf(why, size,
			 "the master's name is missing; expected "
			 "redis-sentinel://host:port,host:port/master-name[/db]");
		return false;
	}
	url->master = url_decode(name, name + len);
	if (!url->master) {
		snprintf(why, size, "write %%25 for a percent sign in the master's name");
		return false;
	}
	return !name[len] || !name[len + 1] || url_parse_db(url, name + len + 1, why, size);
}

static bool url_parse_cluster(struct url *url, const char *text, char *why, size_t size)
{
	const char *end = text + strcspn(text, "/?#");

	url->name = xasprintf("redis%s-cluster://%s", url->tls ? "s" : "", text);
	if (*end && strcmp(end, "/") != 0) {
		snprintf(why, size,
			 "nothing may follow the servers of a cluster, which has one "
			 "database only");
		return false;
	}
	return url_parse_hosts(url, text, end, URL_REDIS_PORT, why, size);
}

static bool url_parse_redis(struct url *url, const char *text, char *why, size_t size)
{
	const char *end = text + strcspn(text, "/?#"),
		   *at = memrchr(text, '@', (size_t)(end - text));
	const char *host = at ? at + 1 : text;

	if (at && !url_parse_login(url, text, at, why, size))
		return false;
	url->name = xasprintf("redis%s://%s", url->tls ? "s" : "", host);
	if (!url_parse_host(host, end, URL_REDIS_PORT, &url->host, &url->port, why, size))
		return false;
	if (*end == '/' && end[1]) {
		return url_parse_db(url, end + 1, why, size);
	} else if (*end && *end != '/') {
		snprintf(why, size, "nothing may follow the url's host and port but /db");
		return false;
	}
	return true;
}

static bool url_parse_unix(struct url *url, const char *text, char *why, size_t size)
{
	const char *end = text + strcspn(text, "?");

	if (*text != '/') {
		snprintf(why, size, "a unix:// url needs an absolute path: unix:///path[?db=n]");
		return false;
	}
	url->name = xasprintf("unix://%s", text);
	url->path = url_decode(text, end);
	if (!url->path) {
		snprintf(why, size, "'%s': write %%25 for a percent sign in the path", url->name);
		return false;
	}
	if (strlen(url->path) > URL_PATH_MAX) {
		snprintf(why, size, "'%s': a socket's path has at most %d bytes", url->name,
			 URL_PATH_MAX);
		return false;
	}
	if (*end) {
		url->db = strncmp(end, "?db=", 4) == 0
				  ? url_number(end + 4, end + strlen(end), URL_DB_MAX)
				  : -1;
		if (url->db < 0) {
			snprintf(why, size, "'%s': nothing may follow the path but ?db=number",
				 url->name);
			return false;
		}
	}
	return true;
}

/*
 * What follows "redis" and the kind's mark, with an s between them where TLS is wanted.
 * Return: NULL when the url is of another kind.
 */
static const char *url_after(const char *text, const char *mark, bool *tls)
{
	if (strncmp(text, "redis", 5) != 0)
		return NULL;
	text += 5;
	*tls = *text == 's';
	text += *tls;
	return strncmp(text, mark, strlen(mark)) == 0 ? text + strlen(mark) : NULL;
}

bool url_parse(struct url *url, const char *text, char *why, size_t size)
{
	const char *rest;
	bool good = false;

	*url = (struct url){0};
	for (const char *c = text; *c; c++) {
		if (*c <= ' ' || *c > '~') {
			snprintf(why, size,
				 "a url has no spaces and nothing but ASCII in it "
				 "(percent-encode what else is needed)");
			return false;
		}
	}
	if (strcmp(text, "local:") == 0) {
		url->scheme = URL_LOCAL;
		url->name = xstrdup(text);
		good = true;
	} else if ((rest = url_after(text, "://", &url->tls))) {
		url->scheme = URL_REDIS;
		good = url_parse_redis(url, rest, why, size);
	} else if (strncmp(text, "unix://", 7) == 0) {
		url->scheme = URL_UNIX;
		good = url_parse_unix(url, text + 7, why, size);
	} else if ((rest = url_after(text, "-sentinel://", &url->tls))) {
		url->scheme = URL_SENTINEL;
		url->sentinel_tls = url->tls;
		good = url_parse_sentinel(url, rest, why, size);
	} else if ((rest = url_after(text, "-cluster://", &url->tls))) {
		url->scheme = URL_CLUSTER;
		good = url_parse_cluster(url, rest, why, size);
	} else {
		/* Not shown: it may contain a password, whatever it is. */
		snprintf(why, size, "the url is of an unknown kind; expected %s", url_forms);
	}
	if (!good)
		url_deinit(url);
	return good;
}
