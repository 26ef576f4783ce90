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
	SCRIPT_REPLACE,
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

/*
 * script_write - write the command that carries out an op
 * @whole: EVAL with the script's text in place of EVALSHA, after which EVALSHA works (again)
 */
void script_write(struct resp *out, const struct store_op *op, const struct script_names *names,
		  const char *daemon_id, bool whole);

/*
 * script_read - take a reply that is no error apart
 *
 * Sets status, fence, pttl_ms, contenders, receivers and holder of @op, which points into the
 * reply. Contenders and receivers count this daemon itself, if it listens.
 * Return: false when the reply is not what the command answers.
 */
bool script_read(struct store_op *op, const redisReply *reply);

#endif
