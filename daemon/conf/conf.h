/* SPDX-License-Identifier: MIT */
#ifndef REDMUTEXD_CONF_CONF_H
#define REDMUTEXD_CONF_CONF_H
/*
 * The INI file as a struct. Immutable once loaded: a reload makes a new one, and throws it away
 * when it has a fault.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#include "core/mutex.h"
#include "store/open.h"
#include "util/log.h"

/* Who may use a mutex. Both lists empty: whoever can reach the socket. */
struct conf_access {
	uid_t *users;
	size_t n_users;
	gid_t *groups;
	size_t n_groups;
	bool restricted; /* allow_users or allow_groups was given */
};

/* One [mutex ...] section, [defaults] filled in. */
struct conf_mutex {
	char *name;
	bool family;
	char *key_text; /* as written; NULL: not given */
	char *key;	/* of a family with {name} in it, otherwise ready for use */
	struct mutex_settings settings;
	struct store_settings store;
	struct conf_access access;
	int line;	  /* where its section begins */
	const char *file; /* borrowed from the conf */
};

struct conf {
	char *path;
	char *socket_path;
	mode_t socket_mode;
	bool socket_group_given;
	gid_t socket_group;
	bool admin_group_given;
	gid_t admin_group;
	enum log_level log_level;
	unsigned max_clients;
	unsigned max_clients_per_user; /* 0: no limit of its own */
	unsigned max_locks_per_client;
	unsigned max_pending_per_client;
	unsigned max_waiters;
	size_t max_output_bytes;
	int64_t busy_poll_us;
	char *state_file;
	char *metrics_listen;	    /* NULL: off */
	char *include;		    /* the patterns as written; NULL: none */
	struct conf_mutex *mutexes; /* in the order of the file */
	size_t n_mutexes;
	char **files; /* all that were read, the main one first */
	size_t n_files;
};

/* Told of each fault: `file:line: what is wrong and what is expected`; line 0: of the file as a
 * whole. */
typedef void conf_fault_fn(void *arg, const char *file, int line, const char *text);

/*
 * conf_load - read a file, all of it, and report every fault in it
 *
 * Return: the configuration, to be freed; NULL when there was any fault.
 */
struct conf *conf_load(const char *path, conf_fault_fn *fault, void *arg);
void conf_free(struct conf *conf); /* accepts NULL */

/*
 * conf_dump - write the effective configuration as an INI file, defaults filled in
 *
 * It loads to an equal configuration, except that passwords in urls are replaced by `***`, and that
 * what was included stands in the file itself.
 */
void conf_dump(const struct conf *conf, FILE *out);
/* The same with the passwords, for the program that takes over. */
void conf_save(const struct conf *conf, FILE *out);

/*
 * conf_frozen_changes - which keys differ that a running daemon cannot change?
 * @changed: called with each of them
 */
void conf_frozen_changes(const struct conf *old, const struct conf *new,
			 void (*changed)(void *arg, const char *key), void *arg);

/*
 * conf_access_allows - may this peer use the mutex?
 * @groups: all of the peer's groups, the primary one among them
 *
 * Root always may.
 */
bool conf_access_allows(const struct conf_access *access, uid_t uid, const gid_t *groups,
			size_t n_groups);

#endif
