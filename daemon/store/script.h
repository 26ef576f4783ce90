/* SPDX-License-Identifier: MIT */
#ifndef REDMUTEXD_STORE_SCRIPT_H
#define REDMUTEXD_STORE_SCRIPT_H
/*
 * What each verb of a store is in Redis: the command or Lua script that carries it out, and what
 * its reply says. script.c begins with the list of all commands, keys and channels.
 */
#include <hiredis/hiredis.h>
#include <stdbool.h>

#include "core/store.h"
#include "store/resp.h"

enum script_id {
	SCRIPT_ACQUIRE,
	SCRIPT_ACQUIRE_FENCED,
	SCRIPT_REPLACE,
	SCRIPT_REPLACE_FENCED,
	SCRIPT_RELEASE,
	SCRIPT_EXTEND,
	SCRIPT_LOOK,
	SCRIPT_BREAK,
	SCRIPT_RAISE,
	N_SCRIPTS
};

enum { SCRIPT_SHA_LEN = 40 };

/* What a server calls the scripts: the answers of SCRIPT LOAD. Empty: send the whole script. */
struct script_names {
	char sha[N_SCRIPTS][SCRIPT_SHA_LEN + 1];
};

/* Writes the SCRIPT LOAD of one of them. */
void script_write_load(struct resp *out, enum script_id id);

enum script_form {
	SCRIPT_SHORT, /* EVALSHA */
	SCRIPT_WHOLE, /* EVAL with the script's text, after which EVALSHA works (again) */
	/*
	 * The same, by its first key alone: a node of a cluster that hands the key's slot over, or
	 * takes it over, lets in no command with several keys of which it has only some. A script
	 * that meets one that is elsewhere ends before its first write.
	 */
	SCRIPT_ALONE,
};

/* script_write - write the command that carries out an op */
void script_write(struct resp *out, const struct store_op *op, const struct script_names *names,
		  const char *daemon_id, enum script_form form);

/* Does an op's success count only when replicas have it? */
bool script_needs_replicas(const struct store_op *op);
/* WAIT until so many replicas have what was written before, for at most so long. */
void script_write_wait(struct resp *out, unsigned n_replicas, int64_t timeout_ms);
/* Removes the lock that an ACQUIRE or REPLACE has set, which is answered like a RELEASE. */
void script_write_take_back(struct resp *out, const struct store_op *op,
			    const struct script_names *names, const char *daemon_id,
			    enum script_form form);

/*
 * script_read - take a reply that is no error apart
 *
 * Sets status, fence, pttl_ms, contenders, receivers and holder of @op, which points into the
 * reply. Contenders and receivers count this daemon itself, if it listens.
 * Return: false when the reply is not what the command answers.
 */
bool script_read(struct store_op *op, const redisReply *reply);

#endif
