/* SPDX-License-Identifier: MIT */
/* The verbs, one function each, and their answers. */
#include "config.h"

#include "serve/command.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/table.h"
#include "proto/line.h"
#include "serve/list.h"
#include "serve/look.h"
#include "serve/owner.h"
#include "serve/server_private.h"
#include "serve/session.h"
#include "serve/stats.h"
#include "util/alloc.h"
#include "util/log.h"

#define MS_US INT64_C(1000)

/* ------------------------------------------------------------------ permission and limits */

static const char not_named[] = "allow_users and allow_groups of this mutex do not name you";

static void refuse(struct session *session, const struct request *request, enum proto_error error,
		   const char *text)
{
	session_error(session, request->tag, error, text);
}

/*
 * The mutex that a request names, if its peer may use it. One that left the configuration is still
 * found while it is held. Return: NULL when that was refused.
 */
static struct mutex *command_mutex(struct session *session, const struct request *request)
{
	struct table *table = session->server->table;
	struct mutex *mutex = table_peek(table, request->name.at, request->name.len);
	struct section *family =
		mutex ? NULL : table_section(table, request->name.at, request->name.len);
	const struct section *section = mutex ? mutex_section(mutex) : family;

	if (!section) {
		refuse(session, request, PROTO_E_UNKNOWN_MUTEX, NULL);
		return NULL;
	}
	if (!server_allows(section, session)) {
		refuse(session, request, PROTO_E_DENIED, not_named);
		return NULL;
	}
	return mutex ? mutex : table_add_member(table, family, request->name.at, request->name.len);
}

/* May it start another request that stays open? Return: NULL when that was refused. */
static struct call *command_call(struct session *session, const struct request *request)
{
	const unsigned max = session->server->conf->max_pending_per_client;
	struct call *call;
	char text[80];

	if (session->n_calls >= max) {
		snprintf(text, sizeof(text), "max_pending_per_client: %u requests are open", max);
		refuse(session, request, PROTO_E_LIMIT, text);
		return NULL;
	}
	call = call_new(session, request);
	if (!call)
		refuse(session, request, PROTO_E_INTERNAL, "the daemon is out of memory");
	return call;
}

/* A call on the mutex that the request names. Return: NULL when that was refused. */
static struct call *command_mutex_call(struct session *session, const struct request *request)
{
	struct mutex *mutex = command_mutex(session, request);
	struct call *call = mutex ? command_call(session, request) : NULL;

	if (call)
		call->mutex = mutex;
	return call;
}

/*
 * Locks of a connection are counted with it; those that outlive it with its user too, so that
 * connecting again brings no more of them.
 */
static bool may_have_another_lock(struct session *session, const struct request *request)
{
	const unsigned max = session->server->conf->max_locks_per_client;
	char text[80];

	if (session->holder.n_acquired + session->n_acquires < max &&
	    (request->owner == REQUEST_OWNER_CONNECTION ||
	     session->user->n_detached_acquires +
			     owner_count_locks(session->server, session->peer.uid) <
		     max))
		return true;
	snprintf(text, sizeof(text), "max_locks_per_client: no more than %u at a time", max);
	refuse(session, request, PROTO_E_LIMIT, text);
	return false;
}

static bool may_break(struct session *session)
{
	const struct conf *conf = session->server->conf;

	return session->peer.uid == 0 || session->peer.uid == geteuid() ||
	       (conf->admin_group_given &&
		peer_in_group(&session->peer, session->fd, conf->admin_group));
}

/* ------------------------------------------------------------------ the verbs */

static void command_hello(struct session *session, const struct request *request)
{
	struct reply_writer w;

	if (request->protocol != PROTO_VERSION) {
		refuse(session, request, PROTO_E_UNSUPPORTED, "protocol 1 is spoken here");
		return;
	}
	session_line_begin(session, &w, request->tag, "OK");
	reply_word(&w, "redmutexd");
	reply_option(&w, OPTION_VERSION, PACKAGE_VERSION);
	reply_option_number(&w, OPTION_PROTOCOL, PROTO_VERSION);
	reply_option_number(&w, OPTION_PID, getpid());
	session_line_end(session, &w);
}

static void command_ping(struct session *session, const struct request *request)
{
	session_ok(session, request->tag);
}

static void command_acquire(struct session *session, const struct request *request)
{
	struct server *server = session->server;
	struct mutex *mutex = command_mutex(session, request);
	struct owner *owner = NULL;
	enum proto_error error;
	struct call *call;
	const char *why;

	if (!mutex || !may_have_another_lock(session, request))
		return;
	if (session->gone) {
		/* Nobody would hear the lock string, so nobody could let it go. */
		refuse(session, request, PROTO_E_CANCELLED, NULL);
		return;
	}
	if (request->owner == REQUEST_OWNER_PID) {
		owner = owner_get(session, (pid_t)request->owner_pid, &error, &why);
		if (!owner) {
			refuse(session, request, error, why);
			return;
		}
	}
	call = command_call(session, request);
	if (!call)
		return;
	call->mutex = mutex;
	if (request->note[0])
		call->note = xstrdup(request->note);
	if (mutex_section(mutex)->settings.announce)
		call->announce = look_announce(session, call->note);
	call->ask.acquirer = &session->holder;
	call->ask.owner = &session->holder;
	if (owner) {
		owner_add_call(owner, call);
		call->ask.owner = &owner->holder;
	} else if (request->owner == REQUEST_OWNER_NONE) {
		call->ask.owner = table_nobody(server->table);
	}
	call->detached = call->ask.owner != &session->holder;
	call->ask.asker = (struct asker){.pid = session->peer.pid, .uid = session->peer.uid};
	call->ask.wait_us =
		request->wait_ms == PROTO_WAIT_FOREVER ? CLOCK_NEVER : request->wait_ms * MS_US;
	call->ask.ttl_ms = request->ttl_ms;
	call->ask.renew = request->given & 1u << OPTION_RENEW
				  ? request->renew
				  : mutex_section(mutex)->settings.renew;
	call->ask.note = call->note;
	call->ask.announce = call->announce;
	call->waits = request->wait_ms != 0;
	session->n_acquires++;
	session->n_waits += call->waits;
	session->user->n_detached_acquires += call->detached;
	mutex_acquire(mutex, &call->ask);
	if (session->hung_up)
		ask_hang_up(&call->ask);
}

/* Takes over the lock string; one that cannot be one stands nowhere. */
static bool take_lock_string(struct call *call, const struct request *request)
{
	if (request->lock.len != LOCK_STRING_LEN) {
		session_error(call->session, request->tag, PROTO_E_UNLOCK_FAIL, NULL);
		call_answered(call);
		call_free(call);
		return false;
	}
	memcpy(call->ask.string, request->lock.at, LOCK_STRING_LEN);
	return true;
}

/* Is the line behind it an ACQUIRE of the same mutex? Then with this ttl, or 0. */
static bool is_acquired_again(const struct session *session, const struct request *request,
			      int64_t *ttl_ms)
{
	struct span unread = session->server->unread, line;
	struct request next;
	char why[256];

	if (line_next(&unread, PROTO_LINE_MAX, &line) != LINE_READY ||
	    request_parse(line, &next, why, sizeof(why)) != PROTO_OK || next.verb != VERB_ACQUIRE ||
	    next.name.len != request->name.len ||
	    memcmp(next.name.at, request->name.at, next.name.len) != 0)
		return false;
	*ttl_ms = next.ttl_ms;
	return true;
}

static void command_release(struct session *session, const struct request *request)
{
	struct call *call = command_mutex_call(session, request);

	if (!call || !take_lock_string(call, request))
		return;
	call->ask.again = is_acquired_again(session, request, &call->ask.ttl_ms);
	mutex_release(call->mutex, &call->ask);
}

static void command_exists(struct session *session, const struct request *request)
{
	struct call *call = command_mutex_call(session, request);

	if (call)
		mutex_exists(call->mutex, &call->ask);
}

static void command_extend(struct session *session, const struct request *request)
{
	struct call *call = command_mutex_call(session, request);

	if (call && take_lock_string(call, request)) {
		call->ask.ttl_ms = request->ttl_ms;
		mutex_extend(call->mutex, &call->ask);
	}
}

static void command_info(struct session *session, const struct request *request)
{
	struct mutex *mutex = command_mutex(session, request);
	struct reply_writer w;
	struct call *call;

	if (!mutex)
		return;
	if (mutex_lock(mutex)) {
		session_line_begin(session, &w, request->tag, "OK");
		look_write_here(session->server, &w, mutex);
		session_line_end(session, &w);
		return;
	}
	call = command_call(session, request);
	if (!call)
		return;
	call->mutex = mutex;
	mutex_look(mutex, &call->ask);
}

static void command_list(struct session *session, const struct request *request)
{
	struct call *call = command_call(session, request);

	if (!call)
		return;
	if (list_open(call, request->pattern))
		return;
	refuse(session, request, PROTO_E_INTERNAL, "the daemon is out of memory");
	call_answered(call);
	call_free(call);
}

/* Whom stats_walk() tells. */
struct stats_reader {
	struct session *session;
	struct span tag;
};

static void write_metric(void *arg, const char *name, const char *value)
{
	const struct stats_reader *reader = arg;
	struct reply_writer w;

	session_line_begin(reader->session, &w, reader->tag, "ITEM");
	reply_word(&w, name);
	reply_word(&w, value);
	session_line_end(reader->session, &w);
}

static void command_stats(struct session *session, const struct request *request)
{
	struct stats_reader reader = {session, request->tag};
	struct reply_writer w;
	size_t n = stats_walk(session->server, write_metric, &reader);

	session_line_begin(session, &w, request->tag, "OK");
	reply_number(&w, (int64_t)n);
	session_line_end(session, &w);
}

static void command_cancel(struct session *session, const struct request *request)
{
	struct table *table = session->server->table;
	struct call *call;

	/* What has an outcome is told that, and is open no more. */
	table_deliver(table);
	call = call_find(session, request->target);
	if (!call) {
		refuse(session, request, PROTO_E_SYNTAX, "no request with that tag is open");
		return;
	}
	call_cancel(call);
	table_deliver(table);
	session_ok(session, request->tag);
}

static void command_break(struct session *session, const struct request *request)
{
	struct mutex *mutex = command_mutex(session, request);
	struct log_about about;
	struct call *call;

	if (!mutex)
		return;
	if (!may_break(session)) {
		refuse(session, request, PROTO_E_DENIED,
		       "BREAK is for root, the daemon's own user and admin_group");
		return;
	}
	call = command_call(session, request);
	if (!call)
		return;
	call->mutex = mutex;
	about = (struct log_about){
		.mutex = mutex_name(mutex),
		.store = mutex_store(mutex)->name,
		.pid = (int)session->peer.pid,
	};
	log_write(LOG_LEVEL_INFO, &about, "%s: process %d (uid %u) breaks it", about.mutex,
		  about.pid, (unsigned)session->peer.uid);
	mutex_break(mutex, &call->ask);
}

static void command_quit(struct session *session, const struct request *request)
{
	struct call *call = call_new(session, request);

	if (call)
		session_quit(session, call);
	else
		refuse(session, request, PROTO_E_INTERNAL, "the daemon is out of memory");
}

void command_run(struct session *session, const struct request *request)
{
	static void (*const handlers[N_VERBS])(struct session *, const struct request *) = {
		[VERB_HELLO] = command_hello,	  [VERB_PING] = command_ping,
		[VERB_ACQUIRE] = command_acquire, [VERB_RELEASE] = command_release,
		[VERB_EXISTS] = command_exists,	  [VERB_EXTEND] = command_extend,
		[VERB_INFO] = command_info,	  [VERB_LIST] = command_list,
		[VERB_STATS] = command_stats,	  [VERB_CANCEL] = command_cancel,
		[VERB_BREAK] = command_break,	  [VERB_QUIT] = command_quit,
	};

	handlers[request->verb](session, request);
}

/* ------------------------------------------------------------------ answers */

static enum proto_error outcome_error(enum outcome outcome)
{
	switch (outcome) {
	case OUTCOME_ALREADY_LOCKED:
		return PROTO_E_ALREADY_LOCKED;
	case OUTCOME_UNLOCK_FAIL:
		return PROTO_E_UNLOCK_FAIL;
	case OUTCOME_UNAVAILABLE:
		return PROTO_E_UNAVAILABLE;
	case OUTCOME_LIMIT:
		return PROTO_E_LIMIT;
	case OUTCOME_CANCELLED:
		return PROTO_E_CANCELLED;
	case OUTCOME_UNKNOWN_MUTEX:
		return PROTO_E_UNKNOWN_MUTEX;
	case OUTCOME_SHUTTING_DOWN:
		return PROTO_E_SHUTTING_DOWN;
	case OUTCOME_OK:
		break;
	}
	return PROTO_OK;
}

static void answer_acquire(struct call *call, struct reply_writer *w)
{
	const struct lock *lock = call->ask.lock;

	reply_word(w, lock->string);
	reply_option_number(w, OPTION_TTL, mutex_lock_left_us(lock->mutex) / MS_US);
	if (lock->fence)
		reply_option_number(w, OPTION_FENCE, lock->fence);
}

static void answer_ok(struct call *call)
{
	struct session *session = call->session;
	struct reply_writer w;

	session_line_begin(session, &w, call_tag(call), "OK");
	switch (call->verb) {
	case VERB_ACQUIRE:
		answer_acquire(call, &w);
		break;
	case VERB_EXISTS:
		reply_word(&w, call->ask.locked ? "true" : "false");
		break;
	case VERB_EXTEND:
		reply_option_number(&w, OPTION_TTL, call->ask.ttl_left_ms);
		break;
	case VERB_INFO:
		look_write_answer(session->server, &w, call->mutex, &call->ask);
		break;
	default:
		break;
	}
	session_line_end(session, &w);
}

static void answer_error(struct call *call)
{
	const struct ask *ask = &call->ask;
	const char *text = ask->text[0] ? ask->text : NULL;

	if (ask->outcome == OUTCOME_CANCELLED && call->owner && call->owner->pidfd < 0)
		text = "the process that the lock was to be bound to has ended";
	session_error(call->session, call_tag(call), outcome_error(ask->outcome), text);
}

/* A lock that nobody was told of: nobody can release it, so it goes back. */
static bool give_back(struct call *call)
{
	struct lock *lock = call->ask.lock;

	if (call->verb != VERB_ACQUIRE || call->ask.outcome != OUTCOME_OK)
		return false;
	memset(&call->ask, 0, sizeof(call->ask));
	memcpy(call->ask.string, lock->string, sizeof(call->ask.string));
	call->ask.done = command_done;
	call->verb = VERB_RELEASE;
	mutex_release(lock->mutex, &call->ask);
	return true;
}

void command_check_access(struct session *session)
{
	struct call *call, *next;

	for (call = TAILQ_FIRST(&session->calls); call; call = next) {
		next = TAILQ_NEXT(call, entry);
		if (!call->open || call->verb != VERB_ACQUIRE ||
		    server_allows(mutex_section(call->mutex), session))
			continue;
		session_error(session, call_tag(call), PROTO_E_DENIED, not_named);
		call_answered(call);
		ask_cancel(&call->ask);
	}
}

void command_done(struct ask *ask)
{
	struct call *call = container_of(ask, struct call, ask);
	struct session *session = call->session;
	bool unheard = !call->open || session->gone || session->doomed;

	if (call->verb == VERB_ACQUIRE) {
		session->n_acquires--;
		session->n_waits -= call->waits;
		session->user->n_detached_acquires -= call->detached;
		/* The daemon stopped between the grant and now. */
		if (ask->outcome == OUTCOME_OK && ask->lock->dead)
			ask->outcome = OUTCOME_SHUTTING_DOWN;
	}
	if (call->open) {
		/* INFO tells of a store that does not answer, rather than not to answer either. */
		if (ask->outcome == OUTCOME_OK ||
		    (call->verb == VERB_INFO && ask->outcome == OUTCOME_UNAVAILABLE))
			answer_ok(call);
		else
			answer_error(call);
		call_answered(call);
	}
	if (!(unheard && give_back(call)))
		call_free(call);
}
