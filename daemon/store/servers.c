/* SPDX-License-Identifier: MIT */
/* Several urls of servers in one setting: the quorum of them, in the daemon's loop. */
#include "config.h"

#include "store/servers.h"

#include <assert.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "store/quorum.h"
#include "store/url.h"
#include "util/alloc.h"

#define SPACES " \t\r\n"

/* The words of a text. */
struct words {
	char *text; /* owned; may contain passwords */
	char *words[QUORUM_MEMBERS_MAX + 1];
	unsigned n; /* one more than there may be: too many */
};

static void words_init(struct words *words, const char *text)
{
	char *save = NULL, *word;

	*words = (struct words){.text = xstrdup(text)};
	for (word = strtok_r(words->text, SPACES, &save); word && words->n <= QUORUM_MEMBERS_MAX;
	     word = strtok_r(NULL, SPACES, &save))
		words->words[words->n++] = word;
}

static void words_deinit(struct words *words, size_t size)
{
	explicit_bzero(words->text, size);
	free(words->text);
}

bool servers_are_several(const char *urls)
{
	urls += strspn(urls, SPACES);
	urls += strcspn(urls, SPACES);
	return urls[strspn(urls, SPACES)] != '\0';
}

/* ------------------------------------------------------------------ checking */

/* Are both on one server? Two databases of one server fail together, so they count as the same. */
static bool same_server(const struct url *a, const struct url *b)
{
	if (a->scheme != b->scheme)
		return false;
	if (a->scheme == URL_UNIX)
		return strcmp(a->path, b->path) == 0;
	return a->port == b->port && strcasecmp(a->host, b->host) == 0;
}

/* One of the urls by itself, and as one of several. */
static bool check_one(const struct store_settings *settings, char *word, struct url *url, char *why,
		      size_t size)
{
	struct store_settings one = *settings; /* borrows its strings */

	one.url = word;
	if (!store_settings_check(&one, why, size))
		return false;
	if (!url_parse(url, word, why, size))
		return false;
	if (url->scheme == URL_REDIS || url->scheme == URL_UNIX)
		return true;
	snprintf(why, size,
		 "'%s' cannot be one of several: expected redis://, rediss:// and unix:// urls of "
		 "independent "
		 "servers",
		 url->name);
	url_deinit(url);
	return false;
}

bool servers_check(const struct store_settings *settings, char *why, size_t size)
{
	struct words words;
	struct url urls[QUORUM_MEMBERS_MAX];
	unsigned n = 0;
	bool good;

	words_init(&words, settings->url);
	good = words.n <= QUORUM_MEMBERS_MAX;
	if (!good)
		snprintf(why, size, "expected at most %d urls", QUORUM_MEMBERS_MAX);
	while (good && n < words.n) {
		good = check_one(settings, words.words[n], &urls[n], why, size);
		for (unsigned i = 0; good && i < n; i++) {
			if (!same_server(&urls[i], &urls[n]))
				continue;
			snprintf(why, size,
				 "'%s' and '%s' are the same server: expected independent ones",
				 urls[i].name, urls[n].name);
			url_deinit(&urls[n]);
			good = false;
		}
		n += good;
	}
	while (n > 0)
		url_deinit(&urls[--n]);
	words_deinit(&words, strlen(settings->url));
	return good;
}

/* ------------------------------------------------------------------ opening */

/* What lies between a quorum and the loop. */
struct servers {
	const struct store_env *env;
	struct store *quorum;
	struct event timer;
};

static void servers_timer_cb(evutil_socket_t fd, short what, void *arg)
{
	struct servers *servers = arg;

	(void)fd;
	(void)what;
	if (servers->env->turn)
		servers->env->turn(servers->env->arg);
	quorum_run(servers->quorum);
}

static void servers_arm(void *arg, int64_t due_us)
{
	struct servers *servers = arg;
	struct timeval in = {0};
	int64_t left_us;

	if (due_us == CLOCK_NEVER) {
		evtimer_del(&servers->timer);
		return;
	}
	left_us = due_us - clock_now_us(servers->env->clock);
	if (left_us > 0)
		in = (struct timeval){left_us / 1000000, left_us % 1000000};
	evtimer_add(&servers->timer, &in);
}

static void servers_closed(void *arg)
{
	struct servers *servers = arg;

	evtimer_del(&servers->timer);
	free(servers);
}

/* The urls without their passwords. Return: to be freed. */
static char *servers_name(const struct words *words)
{
	char *name = xstrdup(""), why[256];
	struct url url;

	for (unsigned i = 0; i < words->n; i++) {
		char *longer;
		bool good = url_parse(&url, words->words[i], why, sizeof(why));

		assert(good);
		(void)good;
		longer = xasprintf("%s%s%s", name, i > 0 ? " " : "", url.name);
		url_deinit(&url);
		free(name);
		name = longer;
	}
	return name;
}

struct store *servers_open(const struct store_env *env, const struct store_settings *settings,
			   struct store_listener *listener)
{
	struct servers *servers = xcalloc(1, sizeof(*servers));
	struct store_settings one = *settings; /* borrows its strings */
	const struct quorum_env quorum_env = {
		.clock = env->clock,
		.timeout_ms = settings->command_timeout_ms,
		.arm = servers_arm,
		.closed = servers_closed,
		.arg = servers,
	};
	struct words words;
	char *name;

	words_init(&words, settings->url);
	name = servers_name(&words);
	servers->env = env;
	evtimer_assign(&servers->timer, env->base, servers_timer_cb, servers);
	servers->quorum = quorum_new(&quorum_env, name, listener);
	for (unsigned i = 0; i < words.n; i++) {
		one.url = words.words[i];
		quorum_add(servers->quorum,
			   store_open(env, &one, quorum_member_listener(servers->quorum)));
	}
	free(name);
	words_deinit(&words, strlen(settings->url));
	return servers->quorum;
}
