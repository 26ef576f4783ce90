/* SPDX-License-Identifier: MIT */
#ifndef REDMUTEXD_STORE_URL_H
#define REDMUTEXD_STORE_URL_H
/* Where one store is: the words of a url, taken apart. */
#include <stdbool.h>
#include <stddef.h>

enum url_scheme {
	URL_LOCAL,    /* local: */
	URL_REDIS,    /* redis://[user:pass@]host[:port][/db], or rediss:// */
	URL_UNIX,     /* unix:///path[?db=n] */
	URL_SENTINEL, /* redis-sentinel://host:port,host:port/master-name[/db], or rediss-... */
	URL_CLUSTER,  /* redis-cluster://host:port,host:port, or rediss-cluster:// */
};

enum {
	URL_REDIS_PORT = 6379,
	URL_SENTINEL_PORT = 26379,
	URL_HOSTS_MAX = 64,
	URL_PATH_MAX = 107,
	URL_DB_MAX = 1000000
};

/* One of several servers. */
struct url_host {
	char *host;
	int port;
};

/* Strings are owned, and NULL where the url says nothing. */
struct url {
	enum url_scheme scheme;
	char *name;		/* the url without user and password, for people */
	char *host;		/* URL_REDIS: a name or a numeric address, without brackets */
	int port;		/* URL_REDIS */
	bool tls;		/* rediss...: the servers that keep the locks speak TLS */
	bool sentinel_tls;	/* rediss-sentinel://: so do the sentinels */
	char *path;		/* URL_UNIX */
	struct url_host *hosts; /* URL_SENTINEL, URL_CLUSTER: at least one */
	unsigned n_hosts;
	char *master; /* URL_SENTINEL: what the sentinels call it */
	int db;
	char *user;
	char *password;
};

/*
 * url_parse - take one url apart; user, password and path are percent-decoded
 * @why: on failure, what is wrong and what is expected; never shows a password
 *
 * Return: false on a fault; @url is empty then and needs no url_deinit().
 */
bool url_parse(struct url *url, const char *text, char *why, size_t size);
void url_deinit(struct url *url);

#endif
