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
#include "store/tls.h"
#include "store/url.h"
#include "util/alloc.h"
#include "util/record.h"

/* The members that are strings: owned, or NULL. */
static const size_t strings[] = {
	offsetof(struct store_settings, url),
	offsetof(struct store_settings, username),
	offsetof(struct store_settings, password_file),
	offsetof(struct store_settings, sentinel_username),
	offsetof(struct store_settings, sentinel_password_file),
	offsetof(struct store_settings, tls_ca),
	offsetof(struct store_settings, tls_cert),
	offsetof(struct store_settings, tls_key),
	offsetof(struct store_settings, tls_server_name),
};

enum { N_STRINGS = sizeof(strings) / sizeof(strings[0]) };

static char **string_at(const struct store_settings *settings, unsigned i)
{
	return (char **)((char *)settings + strings[i]);
}

bool store_settings_equal(const struct store_settings *a, const struct store_settings *b)
{
	for (unsigned i = 0; i < N_STRINGS; i++) {
		const char *x = *string_at(a, i), *y = *string_at(b, i);

		if (x && y ? strcmp(x, y) != 0 : x != y)
			return false;
	}
	return a->pool_size == b->pool_size && a->connect_timeout_ms == b->connect_timeout_ms &&
	       a->command_timeout_ms == b->command_timeout_ms &&
	       a->wait_replicas == b->wait_replicas;
}

void store_settings_copy(struct store_settings *to, const struct store_settings *from)
{
	*to = *from;
	for (unsigned i = 0; i < N_STRINGS; i++) {
		const char *text = *string_at(from, i);

		*string_at(to, i) = text ? xstrdup(text) : NULL;
	}
}

void store_settings_deinit(struct store_settings *settings)
{
	if (settings->url) /* may contain a password */
		explicit_bzero(settings->url, strlen(settings->url));
	for (unsigned i = 0; i < N_STRINGS; i++)
		free(*string_at(settings, i));
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
	record_put_number(w, "wait_replicas", settings->wait_replicas);
	record_put_text(w, "tls_ca", settings->tls_ca);
	record_put_text(w, "tls_cert", settings->tls_cert);
	record_put_text(w, "tls_key", settings->tls_key);
	record_put_text(w, "tls_server_name", settings->tls_server_name);
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
		.wait_replicas =
			(unsigned)record_number_within(record, "wait_replicas", 0, INT32_MAX, 0),
		.tls_ca = record_text(record, "tls_ca"),
		.tls_cert = record_text(record, "tls_cert"),
		.tls_key = record_text(record, "tls_key"),
		.tls_server_name = record_text(record, "tls_server_name"),
	};
}

static bool store_check_login(const struct store_settings *settings, const struct url *url,
			      char *why, size_t size)
{
	const char *what = NULL;

	if (url->scheme == URL_LOCAL)
		return true; /* such settings may come from what is common to all */
	if (url->scheme == URL_SENTINEL && settings->sentinel_username &&
	    !settings->sentinel_password_file)
		what = "sentinel_username needs a password: give sentinel_password_file";
	else if (url->user && settings->username)
		what = "the user stands both in the url and in username; leave one out";
	else if (url->password && settings->password_file)
		what = "a password stands both in the url and in password_file; leave one out";
	else if ((url->user || settings->username) && !url->password && !settings->password_file)
		what = "a user needs a password: give password_file, or user:password in the url";
	if (what)
		snprintf(why, size, "%s", what);
	return !what;
}

static bool store_check_tls(const struct store_settings *settings, const struct url *url, char *why,
			    size_t size)
{
	const char *what = NULL;

	if (!url->tls)
		return true; /* as above */
	if (!tls_supported())
		what = "TLS (rediss..., or tls_ keys for sentinels or a cluster) is not possible: "
		       "this redmutexd was built with a hiredis that has none; build it with "
		       "hiredis 1.0 or later and its hiredis_ssl (libhiredis-dev and libssl-dev of "
		       "Debian 13)";
	else if (!settings->tls_cert != !settings->tls_key)
		what = "tls_cert and tls_key need each other: give both, or none";
	if (what)
		snprintf(why, size, "%s", what);
	return !what;
}

/*
 * With one server the url alone says whether it speaks TLS. For those that are only told by others
 * the tls_ keys say so, too: sentinels may well do without.
 */
static bool store_parse_url(const struct store_settings *settings, struct url *url, char *why,
			    size_t size)
{
	if (!url_parse(url, settings->url, why, size))
		return false;
	if (url->scheme == URL_SENTINEL || url->scheme == URL_CLUSTER)
		url->tls = url->tls || settings->tls_ca || settings->tls_cert ||
			   settings->tls_key || settings->tls_server_name;
	return true;
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
	if (!store_parse_url(settings, &url, why, size))
		return false;
	good = store_check_login(settings, &url, why, size) &&
	       store_check_tls(settings, &url, why, size);
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
	good = store_parse_url(settings, &url, why, sizeof(why));
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
