/* SPDX-License-Identifier: MIT */
/* Where one store is: the words of a url, taken apart. */
#include "config.h"

#include "store/url.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "util/alloc.h"

static const char url_forms[] = "local:, redis://[user:password@]host[:port][/db] or "
				"unix:///path[?db=n]";

void url_deinit(struct url *url)
{
	free(url->name);
	free(url->host);
	free(url->path);
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

/* Faults do not show the url: where it is wrong, what looks like a port may be a password. */
static bool url_parse_redis(struct url *url, const char *text, char *why, size_t size)
{
	const char *end = text + strcspn(text, "/?#"),
		   *at = memrchr(text, '@', (size_t)(end - text));
	const char *host = at ? at + 1 : text, *host_end, *tail;

	if (at && !url_parse_login(url, text, at, why, size))
		return false;
	url->name = xasprintf("redis://%s", host);
	if (*host == '[') {
		host_end = memchr(host, ']', (size_t)(end - host));
		if (!host_end) {
			snprintf(why, size, "the ] after the url's address is missing");
			return false;
		}
		host++;
		tail = host_end + 1;
	} else {
		host_end = host + strcspn(host, ":/?#");
		tail = host_end;
	}
	if (host == host_end) {
		snprintf(why, size, "the url's host is missing; expected redis://host[:port][/db]");
		return false;
	}
	url->host = xstrndup(host, (size_t)(host_end - host));
	url->port = URL_REDIS_PORT;
	if (tail < end)
		url->port = *tail == ':' ? url_number(tail + 1, end, 65535) : -1;
	if (url->port < 1) {
		snprintf(why, size,
			 "the url's port must be a number from 1 to 65535 (an IPv6 address stands "
			 "in [ ], a password before an @)");
		return false;
	}
	if (*end == '/' && end[1]) {
		url->db = url_number(end + 1, end + strlen(end), URL_DB_MAX);
		if (url->db < 0) {
			snprintf(why, size, "the url's database, after the /, must be a number");
			return false;
		}
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

bool url_parse(struct url *url, const char *text, char *why, size_t size)
{
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
	} else if (strncmp(text, "redis://", 8) == 0) {
		url->scheme = URL_REDIS;
		good = url_parse_redis(url, text + 8, why, size);
	} else if (strncmp(text, "unix://", 7) == 0) {
		url->scheme = URL_UNIX;
		good = url_parse_unix(url, text + 7, why, size);
	} else {
		/* Not shown: it may contain a password, whatever it is. */
		snprintf(why, size, "the url is of an unknown kind; expected %s", url_forms);
	}
	if (!good)
		url_deinit(url);
	return good;
}
