/* SPDX-License-Identifier: MIT */
/* From a url and its settings to a store. */
#include "config.h"

#include "store/open.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store/cluster.h"
#include "store/memory.h"
#include "store/redis.h"
#include "store/servers.h"
#include "store/url.h"
#include "util/alloc.h"
#include "util/record.h"

static bool strings_equal(const char *a, const char *b)
{
	return a && b ? strcmp(a, b) == 0 : a == b;
}

bool store_settings_equal(const struct store_settings *a, const struct store_settings *b)
{
	return strings_equal(a->url, b->url) && a->pool_size == b->pool_size &&
	       a->connect_timeout_ms == b->connect_timeout_ms &&
	       a->command_timeout_ms == b->command_timeout_ms &&
	       strings_equal(a->username, b->username) &&
	       strings_equal(a->password_file, b->password_file) &&
	       strings_equal(a->sentinel_username, b->sentinel_username) &&
	       strings_equal(a->sentinel_password_file, b->sentinel_password_file);
}

void store_settings_copy(struct store_settings *to, const struct store_settings *from)
{
	*to = *from;
	to->url = from->url ? xstrdup(from->url) : NULL;
	to->username = from->username ? xstrdup(from->username) : NULL;
	to->password_file = from->password_file ? xstrdup(from->password_file) : NULL;
	to->sentinel_username = from->sentinel_username ? xstrdup(from->sentinel_username) : NULL;
	to->sentinel_password_file =
		from->sentinel_password_file ? xstrdup(from->sentinel_password_file) : NULL;
}

void store_settings_deinit(struct store_settings *settings)
{
	if (settings->url) /* may contain a password */
		explicit_bzero(settings->url, strlen(settings->url));
	free(settings->url);
	free(settings->username);
	free(settings->password_file);
	free(settings->sentinel_username);
	free(settings->sentinel_password_file);
	*settings = (struct store_settings){0};
}

void store_settings_save(const struct store_settings *settings, struct record_writer *w)
{
	record_put_text(w, "url", settings->url);
	record_put_number(w, "pool_size", settings->pool_size);
	record_put_number(w, "connect_timeout_ms", settings->connect_timeout_ms);
	record_put_number(w, "command_timeout_ms", settings->command_timeout_ms);
	record_put_text(w, "username", settings->username);
	record_put_text(w, "password_file", settings->password_file);
	record_put_text(w, "sentinel_username", settings->sentinel_username);
	record_put_text(w, "sentinel_password_file", settings->sentinel_password_file);
}

void store_settings_load(struct store_settings *settings, const struct record *record)
{
	*settings = (struct store_settings){
		.url = record_text(record, "url"),
		.pool_size = (unsigned)record_number_within(record, "pool_size", 1, INT32_MAX, 1),
		.connect_timeout_ms =
			record_number_within(record, "connect_timeout_ms", 1, INT32_MAX, 1000),
		.command_timeout_ms =
			record_number_within(record, "command_timeout_ms", 1, INT32_MAX, 1000),
		.username = record_text(record, "username"),
		.password_file = record_text(record, "password_file"),
		.sentinel_username = record_text(record, "sentinel_username"),
		.sentinel_password_file = record_text(record, "sentinel_password_file"),
	};
}

/* Kinds of url that are known by name, so that a fault can say more than "unknown". */
static const struct {
	const char *start, *what;
} unsupported[] = {
	{"rediss://", "TLS (rediss://)"},
};

static bool store_check_login(const struct store_settings *settings, const struct url *url,
			      char *why, size_t size)
{
	const char *what = NULL;

	if (url->scheme == URL_LOCAL)
		return true; /* such settings may come from what is common to all */
	if (url->user && settings->username)
		what = "the user stands both in the url and in username; leave one out";
	else if (url->password && settings->password_file)
		what = "a password stands both in the url and in password_file; leave one out";
	else if ((url->user || settings->username) && !url->password && !settings->password_file)
		what = "a user needs a password: give password_file, or user:password in the url";
	if (what)
		snprintf(why, size, "%s", what);
	return !what;
}

bool store_settings_check(const struct store_settings *settings, char *why, size_t size)
{
	struct url url;
	bool good;

	if (!settings->url || !*settings->url) {
		snprintf(why, size, "the url is missing");
		return false;
	}
	if (servers_are_several(settings->url))
		return servers_check(settings, why, size);
	for (size_t i = 0; i < sizeof(unsupported) / sizeof(unsupported[0]); i++) {
		if (strncmp(settings->url, unsupported[i].start, strlen(unsupported[i].start)) ==
		    0) {
			snprintf(why, size, "%s is not supported yet", unsupported[i].what);
			return false;
		}
	}
	if (!url_parse(&url, settings->url, why, size))
		return false;
	good = store_check_login(settings, &url, why, size);
	url_deinit(&url);
	return good;
}

struct store *store_open(const struct store_env *env, const struct store_settings *settings,
			 struct store_listener *listener)
{
	struct store *store;
	struct url url;
	char why[256];
	bool good;

	if (servers_are_several(settings->url))
		return servers_open(env, settings, listener);
	good = url_parse(&url, settings->url, why, sizeof(why));
	assert(good);
	(void)good;
	if (url.scheme == URL_LOCAL)
		store = memory_open(env, listener);
	else if (url.scheme == URL_CLUSTER)
		store = cluster_open(env, settings, &url, listener);
	else
		store = redis_open(env, settings, &url, listener);
	url_deinit(&url);
	return store;
}
