/* SPDX-License-Identifier: MIT */
/* Urls: what is understood, what is refused, and that no password is ever shown. */
#include "config.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "store/open.h"
#include "store/url.h"
#include "suite.h"
#include "util/alloc.h"

static const struct {
	const char *text, *name, *host;
	int port;
	const char *path;
	int db;
	const char *user, *password;
} good[] = {
	{"local:", "local:", NULL, 0, NULL, 0, NULL, NULL},
	{"redis://localhost", "redis://localhost", "localhost", 6379, NULL, 0, NULL, NULL},
	{"redis://localhost/", "redis://localhost/", "localhost", 6379, NULL, 0, NULL, NULL},
	{"redis://h:1/15", "redis://h:1/15", "h", 1, NULL, 15, NULL, NULL},
	{"redis://[::1]", "redis://[::1]", "::1", 6379, NULL, 0, NULL, NULL},
	{"redis://u:p@[fe80::1]:65535/2", "redis://[fe80::1]:65535/2", "fe80::1", 65535, NULL, 2,
	 "u", "p"},
	{"redis://[::1]:6379/3", "redis://[::1]:6379/3", "::1", 6379, NULL, 3, NULL, NULL},
	{"redis://:secret@h", "redis://h", "h", 6379, NULL, 0, NULL, "secret"},
	{"redis://u@h", "redis://h", "h", 6379, NULL, 0, "u", NULL},
	{"redis://a%40b:p%3Aq%2f%25%20@h", "redis://h", "h", 6379, NULL, 0, "a@b", "p:q/% "},
	{"redis://u:p@ss@h", "redis://h", "h", 6379, NULL, 0, "u", "p@ss"},
	{"unix:///run/redis.sock", "unix:///run/redis.sock", NULL, 0, "/run/redis.sock", 0, NULL,
	 NULL},
	{"unix:///a%20b?db=3", "unix:///a%20b?db=3", NULL, 0, "/a b", 3, NULL, NULL},
};

static void assert_text(const char *text, const char *expected)
{
	if (expected)
		ck_assert_str_eq(text, expected);
	else
		ck_assert_ptr_null(text);
}

START_TEST(a_good_url_is_taken_apart)
	{
		struct url url;
		char why[256] = "";

		ck_assert_msg(url_parse(&url, good[_i].text, why, sizeof(why)), "%s", why);
		assert_text(url.name, good[_i].name);
		assert_text(url.host, good[_i].host);
		assert_text(url.path, good[_i].path);
		assert_text(url.user, good[_i].user);
		assert_text(url.password, good[_i].password);
		ck_assert_int_eq(url.port, good[_i].port);
		ck_assert_int_eq(url.db, good[_i].db);
		url_deinit(&url);
		ck_assert_ptr_null(url.name);
	}
END_TEST

static const struct {
	const char *text, *why; /* a part of it */
} bad[] = {
	{"", "missing"},
	{"http://h", "expected local:, redis://"},
	{"local:x", "expected local:"},
	{"redis:localhost", "expected"},
	{"redis://", "host is missing"},
	{"redis://secret:secret@", "host is missing"},
	{"redis://secret:secret@:6379", "host is missing"},
	{"redis://h:0", "port"},
	{"redis://h:65536", "port"},
	{"redis://h:", "port"},
	{"redis://h:x", "port"},
	{"redis://fe80::1", "[ ]"},
	{"redis://[::1", "]"},
	{"redis://[::1]x", "port"},
	{"redis://h/x", "database"},
	{"redis://h/1/2", "database"},
	{"redis://h/-1", "database"},
	{"redis://h?db=1", "/db"},
	{"redis://h#1", "/db"},
	{"redis://u:secret%zz@h", "percent"},
	{"redis://u:secret%00@h", "percent"},
	{"redis://u:secret%4", "port"},
	{"redis://h\x01", "ASCII"},
	{"redis://h\xc3\xa9", "ASCII"},
	{"unix://path", "absolute"},
	{"unix:///p?x=1", "?db="},
	{"unix:///p?db=", "?db="},
	{"unix:///p%", "%25"},
	{"rediss://u:secret@h:x", "port"},
	{"redis-sentinel://h:1", "master's name"},
	{"redis-sentinel://h:1/", "master's name"},
	{"redis-sentinel:///m", "host is missing"},
	{"redis-sentinel://h:1,/m", "host is missing"},
	{"redis-sentinel://h:1,g:x/m", "port"},
	{"redis-sentinel://u:secret@h:1/m", "password_file"},
	{"redis-sentinel://h:1/m/x", "database"},
	{"redis://a redis-sentinel://b:1/m", "cannot be one of several"},
	{"redis-cluster://u:secret@h:1", "password_file"},
	{"redis-cluster://h:1/1", "one database"},
	{"redis-cluster://", "host is missing"},
	{"rediss-cluster://u:secret@h:1", "password_file"},
	{"rediss-sentinel://h:1", "master's name"},
	{"redisss://u:secret@h", "expected local:"},
	{"rediss-unix://u:secret@h", "expected local:"},
	{"redis://u:secret@a redis://b:x", "port"},
	{"redis://u:secret@a redis://b redis://u:secret@A:6379/1", "same server"},
	{"unix:///p unix:///q unix:///p?db=1", "same server"},
	{"redis://u:secret@a redis://b local:", "cannot be one of several"},
	{"redis://a redis-cluster://b:1", "cannot be one of several"},
	{"redis://a1 redis://a2 redis://a3 redis://a4 redis://a5 redis://a6 redis://a7 redis://a8 "
	 "redis://a9 redis://b1 redis://b2 redis://b3 redis://b4 redis://b5 redis://b6 redis://b7",
	 "at most 15"},
};

START_TEST(sentinels_are_taken_apart)
	{
		struct url url;
		char why[256] = "";

		ck_assert_msg(url_parse(&url, "redis-sentinel://a:1,[::1],b/my%20master/3", why,
					sizeof(why)),
			      "%s", why);
		ck_assert_uint_eq(url.n_hosts, 3);
		ck_assert_str_eq(url.hosts[0].host, "a");
		ck_assert_int_eq(url.hosts[0].port, 1);
		ck_assert_str_eq(url.hosts[1].host, "::1");
		ck_assert_int_eq(url.hosts[1].port, URL_SENTINEL_PORT);
		ck_assert_str_eq(url.hosts[2].host, "b");
		ck_assert_str_eq(url.master, "my master");
		ck_assert_int_eq(url.db, 3);
		url_deinit(&url);
	}
END_TEST

static const struct {
	const char *text, *name;
	enum url_scheme scheme;
	bool tls, sentinel_tls;
} ways[] = {
	{"redis://h", "redis://h", URL_REDIS, false, false},
	{"rediss://u:p@h/1", "rediss://h/1", URL_REDIS, true, false},
	{"redis-sentinel://h/m", "redis-sentinel://h/m", URL_SENTINEL, false, false},
	{"rediss-sentinel://h/m", "rediss-sentinel://h/m", URL_SENTINEL, true, true},
	{"redis-cluster://h", "redis-cluster://h", URL_CLUSTER, false, false},
	{"rediss-cluster://h,[::1]:1", "rediss-cluster://h,[::1]:1", URL_CLUSTER, true, false},
	{"unix:///rediss", "unix:///rediss", URL_UNIX, false, false},
};

START_TEST(a_scheme_that_begins_with_rediss_means_tls)
	{
		struct url url;
		char why[256] = "";

		ck_assert_msg(url_parse(&url, ways[_i].text, why, sizeof(why)), "%s", why);
		ck_assert_str_eq(url.name, ways[_i].name);
		ck_assert_int_eq(url.scheme, ways[_i].scheme);
		ck_assert_int_eq(url.tls, ways[_i].tls);
		ck_assert_int_eq(url.sentinel_tls, ways[_i].sentinel_tls);
		url_deinit(&url);
	}
END_TEST

START_TEST(several_servers_are_taken)
	{
		struct store_settings settings = {
			.url = xstrdup("redis://u:p@a  redis://a:6380/1\n\tunix:///a redis://b")};
		char why[256] = "";

		ck_assert_msg(store_settings_check(&settings, why, sizeof(why)), "%s", why);
		store_settings_deinit(&settings);
	}
END_TEST

START_TEST(a_bad_url_is_refused_with_a_reason_and_no_password)
	{
		struct store_settings settings = {.url = xstrdup(bad[_i].text)};
		char why[256] = "";

		ck_assert(!store_settings_check(&settings, why, sizeof(why)));
		ck_assert_msg(strstr(why, bad[_i].why) != NULL, "'%s': %s", bad[_i].text, why);
		ck_assert_msg(strstr(why, "secret") == NULL, "%s", why);
		store_settings_deinit(&settings);
	}
END_TEST

START_TEST(a_path_that_no_socket_can_have_is_refused)
	{
		char text[256] = "unix:///", why[256];
		struct url url;

		memset(text + 8, 'x', URL_PATH_MAX);
		ck_assert(!url_parse(&url, text, why, sizeof(why)));
		text[7 + URL_PATH_MAX] = '\0';
		ck_assert(url_parse(&url, text, why, sizeof(why)));
		url_deinit(&url);
	}
END_TEST

static bool check(const char *url, const char *username, const char *password_file)
{
	struct store_settings settings = {
		.url = xstrdup(url),
		.username = username ? xstrdup(username) : NULL,
		.password_file = password_file ? xstrdup(password_file) : NULL,
	};
	char why[256];
	bool is_good = store_settings_check(&settings, why, sizeof(why));

	store_settings_deinit(&settings);
	return is_good;
}

START_TEST(who_we_are_is_said_in_one_place)
	{
		ck_assert(check("redis://h", NULL, NULL));
		ck_assert(check("redis://h", NULL, "/f"));
		ck_assert(check("redis://h", "u", "/f"));
		ck_assert(check("redis://u@h", NULL, "/f"));
		ck_assert(!check("redis://u:p@h", NULL, "/f"));
		ck_assert(!check("redis://u:p@h", "v", NULL));
		ck_assert(!check("redis://u@h", NULL, NULL));
		ck_assert(!check("redis://h", "u", NULL));
		ck_assert(check("local:", "u", "/f"));
	}
END_TEST

START_TEST(a_user_to_the_sentinels_needs_a_password)
	{
		struct store_settings settings = {
			.url = xstrdup("redis-sentinel://h/m"),
			.sentinel_username = xstrdup("watcher"),
		};
		char why[256] = "";

		ck_assert(!store_settings_check(&settings, why, sizeof(why)));
		ck_assert_msg(strstr(why, "give sentinel_password_file") != NULL, "%s", why);
		settings.sentinel_password_file = xstrdup("/f");
		ck_assert(store_settings_check(&settings, why, sizeof(why)));
		store_settings_deinit(&settings);
		/* Where there are none it may come from what is common to all. */
		settings.url = xstrdup("redis://h");
		settings.sentinel_username = xstrdup("watcher");
		ck_assert(store_settings_check(&settings, why, sizeof(why)));
		store_settings_deinit(&settings);
	}
END_TEST

START_TEST(settings_are_the_same_only_if_all_of_them_are)
	{
		struct store_settings a = {.url = xstrdup("redis://h"), .pool_size = 2}, b;

		store_settings_copy(&b, &a);
		ck_assert(store_settings_equal(&a, &b));
		b.password_file = xstrdup("/f");
		ck_assert(!store_settings_equal(&a, &b));
		store_settings_deinit(&b);
		store_settings_copy(&b, &a);
		b.pool_size++;
		ck_assert(!store_settings_equal(&a, &b));
		store_settings_deinit(&b);
		store_settings_deinit(&a);
	}
END_TEST

int main(void)
{
	Suite *suite = suite_create("store_url");
	TCase *tcase = tcase_create("url");

	tcase_add_loop_test(tcase, a_good_url_is_taken_apart, 0, sizeof(good) / sizeof(good[0]));
	tcase_add_test(tcase, sentinels_are_taken_apart);
	tcase_add_loop_test(tcase, a_scheme_that_begins_with_rediss_means_tls, 0,
			    sizeof(ways) / sizeof(ways[0]));
	tcase_add_test(tcase, several_servers_are_taken);
	tcase_add_loop_test(tcase, a_bad_url_is_refused_with_a_reason_and_no_password, 0,
			    sizeof(bad) / sizeof(bad[0]));
	tcase_add_test(tcase, a_path_that_no_socket_can_have_is_refused);
	tcase_add_test(tcase, who_we_are_is_said_in_one_place);
	tcase_add_test(tcase, a_user_to_the_sentinels_needs_a_password);
	tcase_add_test(tcase, settings_are_the_same_only_if_all_of_them_are);
	suite_add_tcase(suite, tcase);
	return suite_run(suite);
}
