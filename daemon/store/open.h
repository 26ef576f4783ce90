/* SPDX-License-Identifier: MIT */
#ifndef REDMUTEXD_STORE_OPEN_H
#define REDMUTEXD_STORE_OPEN_H
/* From a url and its settings to a store. The only header of this room that others include. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/clock.h"
#include "core/store.h"

struct event_base;
struct record;
struct record_writer;

/* What a section of the configuration says about its store. Strings are owned; NULL: not given. */
struct store_settings {
	char *url;
	unsigned pool_size;	    /* connections for commands, at least 1 */
	int64_t connect_timeout_ms; /* at least 1 */
	int64_t command_timeout_ms; /* at least 1 */
	char *username;
	char *password_file;	      /* read at every connect; its last line end does not count */
	char *sentinel_username;      /* to the sentinels, which have users of their own */
	char *sentinel_password_file; /* as password_file */
	unsigned wait_replicas;	      /* that must have a lock before it counts */
	/*
	 * TLS: with urls that begin with rediss, or if one of these is given for sentinels (then to
	 * the master alone) or a cluster. Files are read at the first connect, and again when they
	 * change.
	 */
	char *tls_ca;		  /* whom to trust; default: whom the system trusts */
	char *tls_cert, *tls_key; /* ours; both or none */
	char *tls_server_name;	  /* in the server's certificate; default: the url's host */
};

/* Are both for one and the same store? */
bool store_settings_equal(const struct store_settings *a, const struct store_settings *b);
void store_settings_copy(struct store_settings *to, const struct store_settings *from);
void store_settings_deinit(struct store_settings *settings);
/* As fields of a record, and back; the url may have a password in it. */
void store_settings_save(const struct store_settings *settings, struct record_writer *w);
void store_settings_load(struct store_settings *settings, const struct record *record);

/*
 * store_settings_check - can a store be made of this?
 * @why: on failure, what is wrong and what is expected, without any password
 *
 * Looks at nothing outside. Return: true when store_open() will take it.
 */
bool store_settings_check(const struct store_settings *settings, char *why, size_t size);

/* What every store of a process shares. Must outlive them. */
struct store_env {
	struct event_base *base;
	struct clock *clock;
	struct entropy *entropy;
	char daemon_id[33]; /* random hex; tells our own messages from those of others */
	/* Called first whenever the loop enters the store, before anything is decided; may be NULL.
	 */
	void (*turn)(void *arg);
	void *arg;
};

/*
 * store_open - a store for these settings, which it copies
 * @listener: borrowed; may be NULL
 *
 * Never fails: one that cannot be reached answers REFUSED and goes on trying. The settings must
 * have passed store_settings_check().
 */
struct store *store_open(const struct store_env *env, const struct store_settings *settings,
			 struct store_listener *listener);

#endif
