/* SPDX-License-Identifier: MIT */
/* The fields of INFO and LIST. */
#include "config.h"

#include "serve/look.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/table.h"
#include "proto/line.h"
#include "proto/name.h"
#include "serve/server_private.h"
#include "serve/session.h"
#include "util/alloc.h"

#define MS_US INT64_C(1000)

static void write_head(struct reply_writer *w, const char *locked, const char *holder,
		       const struct mutex *mutex)
{
	reply_option(w, OPTION_LOCKED, locked);
	reply_option(w, OPTION_HOLDER, holder);
	reply_option_number(w, OPTION_WAITERS, mutex_n_waiters(mutex));
}

static void write_owner(struct reply_writer *w, const struct holder *owner)
{
	char text[32];

	switch (owner->kind) {
	case HOLDER_CONNECTION:
		reply_option(w, OPTION_OWNER, "connection");
		break;
	case HOLDER_PID:
		snprintf(text, sizeof(text), "pid:%d", (int)owner->pid);
		reply_option(w, OPTION_OWNER, text);
		break;
	case HOLDER_NOBODY:
		reply_option(w, OPTION_OWNER, "none");
		break;
	}
}

void look_write_here(struct server *server, struct reply_writer *w, const struct mutex *mutex)
{
	const struct lock *lock = mutex_lock(mutex);
	char comm[64];

	write_head(w, "true", "here", mutex);
	reply_option_number(w, OPTION_PID, lock->asker.pid);
	reply_option_number(w, OPTION_UID, lock->asker.uid);
	/* Once its connection is closed the number may be another process's. */
	if (lock->acquirer && process_comm(lock->asker.pid, comm, sizeof(comm)))
		reply_option(w, OPTION_COMM, comm);
	if (lock->note)
		reply_option(w, OPTION_NOTE, lock->note);
	reply_option_number(w, OPTION_HELD, (server_now_us(server) - lock->granted_us) / MS_US);
	reply_option_number(w, OPTION_TTL, mutex_lock_left_us(mutex) / MS_US);
	if (lock->fence)
		reply_option_number(w, OPTION_FENCE, lock->fence);
	write_owner(w, lock->owner);
}

/*
 * What another daemon announced: the options that we know, each once. It comes from outside:
 * anything goes.
 */
static void write_announced(struct reply_writer *w, const char *text)
{
	struct span line = {text, strlen(text)}, word;
	unsigned wanted =
		1u << OPTION_HOST | 1u << OPTION_PID | 1u << OPTION_USER | 1u << OPTION_NOTE;
	char value[PROTO_NOTE_MAX + 1];
	int64_t pid;

	while ((word = word_next(&line)).len > 0) {
		const char *equals = memchr(word.at, '=', word.len);
		struct span key, encoded;
		int option;

		if (!equals)
			continue;
		key = (struct span){word.at, (size_t)(equals - word.at)};
		encoded = (struct span){equals + 1, word.len - key.len - 1};
		option = option_find(key);
		if (option < 0 || !(wanted & 1u << option) ||
		    percent_decode(encoded, value, sizeof(value)) <= 0 ||
		    (option == OPTION_PID && !number_parse(encoded, 1, INT32_MAX, &pid)))
			continue;
		reply_option(w, (enum option)option, value);
		wanted &= ~(1u << option);
	}
}

void look_write_answer(struct server *server, struct reply_writer *w, const struct mutex *mutex,
		       const struct ask *ask)
{
	if (mutex_lock(mutex)) {
		look_write_here(server, w, mutex);
		return;
	}
	if (ask->outcome != OUTCOME_OK) {
		write_head(w, "unknown", "none", mutex);
		return;
	}
	if (!ask->locked) {
		write_head(w, "false", "none", mutex);
		return;
	}
	write_head(w, "true", "elsewhere", mutex);
	if (ask->holder)
		write_announced(w, ask->holder);
	if (ask->ttl_left_ms >= 0)
		reply_option_number(w, OPTION_TTL, ask->ttl_left_ms);
}

char *look_announce(struct session *session, const char *note)
{
	struct reply_writer w;
	char line[PROTO_REPLY_MAX];
	const struct span no_tag = {"", 0};

	reply_begin(&w, line, sizeof(line), no_tag, "");
	reply_option(&w, OPTION_HOST, session->server->host);
	reply_option_number(&w, OPTION_PID, session->peer.pid);
	reply_option(&w, OPTION_USER, user_name(session->user));
	if (note)
		reply_option(&w, OPTION_NOTE, note);
	return xstrndup(line + 1, w.len - 1); /* without the space in front */
}
