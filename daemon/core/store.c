/* SPDX-License-Identifier: MIT */
/* Keys and their companions. */
#include "config.h"

#include "core/store.h"

#include <stdlib.h>
#include <string.h>

#include "util/alloc.h"

/*
 * Does Redis Cluster hash only a part of this key? It does if there is a `}` with something between
 * it and the first `{`
 * (https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/#hash-tags).
 */
static bool has_hash_tag(const char *key)
{
	const char *open = strchr(key, '{');
	const char *close = open ? strchr(open, '}') : NULL;

	return close && close > open + 1;
}

void store_key_init(struct store_key *key, const char *name)
{
	static const char *const suffixes[] = {":fence", ":holder", ":free"};
	const bool tagged = has_hash_tag(name);
	const size_t len = strlen(name);
	char **companions[] = {&key->fence, &key->holder, &key->channel};
	char *p;

	p = xcalloc(4, len + sizeof("{}:holder"));
	key->key = p;
	memcpy(p, name, len + 1);
	p += len + 1;
	for (size_t i = 0; i < 3; i++) {
		*companions[i] = p;
		if (!tagged)
			*p++ = '{';
		memcpy(p, name, len);
		p += len;
		if (!tagged)
			*p++ = '}';
		p = stpcpy(p, suffixes[i]) + 1;
	}
}

void store_key_deinit(struct store_key *key)
{
	free(key->key);
	*key = (struct store_key){0};
}
