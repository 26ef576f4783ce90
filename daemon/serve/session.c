/* SPDX-License-Identifier: MIT */
/* Sessions and their calls. */
#include "config.h"

#include "serve/session.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/table.h"
#include "proto/line.h"
#include "serve/command.h"
#include "serve/list.h"
#include "serve/listener.h"
#include "serve/owner.h"
#include "serve/server_private.h"
#include "util/alloc.h"
#include "util/log.h"

static const struct span no_tag = {"", 0};

/* ------------------------------------------------------------------ calls */

static uint32_t tag_bucket(const struct session *session, struct span tag)
{
	uint32_t hash = session->server->tag_seed ^ (uint32_t)((uintptr_t)session >> 6);

	for (size_t i = 0; i < tag.len; i++)
		hash = (hash ^ (unsigned char)tag.at[i]) * UINT32_C(16777619);
	return (hash ^ hash >> 15) % SERVER_TAG_BUCKETS;
}

struct call *call_find(struct session *session, struct span tag)
{
	struct call *call;

	LIST_FOREACH (call, &session->server->tags[tag_bucket(session, tag)], tag_entry) {
		if (call->session == session && call->tag_len == tag.len &&
		    !memcmp(call->tag, tag.at, tag.len))
			return call;
	}
	return NULL;
}

struct call *call_new(struct session *session, const struct request *request)
{
	struct server *server = session->server;
	struct call *call = TAILQ_FIRST(&server->free_calls);

	if (call) {
		TAILQ_REMOVE(&server->free_calls, call, entry);
		server->n_free_calls--;
		memset(call, 0, sizeof(*call));
	} else {
		call = calloc(1, sizeof(*call));
		if (!call)
			return NULL;
	}
	call->session = session;
	call->verb = request->verb;
	call->ask.done = command_done;
	TAILQ_INSERT_TAIL(&session->calls, call, entry);
	session->n_calls++;

	call->open = true;
	if (request->verb != VERB_QUIT)
		session->n_open++;
	if (request->tag.len > 0) {
		call->tag_len = (uint8_t)request->tag.len;
		memcpy(call->tag, request->tag.at, request->tag.len);
		LIST_INSERT_HEAD(&server->tags[tag_bucket(session, request->tag)], call, tag_entry);
	} else if (request->verb != VERB_QUIT) {
		session->barrier = call;
	}
	return call;
}

struct call *call_new_silent(struct session *session)
{
	struct request request = {.verb = VERB_RELEASE};
	struct call *barrier = session->barrier, *call = call_new(session, &request);

	if (!call)
		return NULL;
	session->barrier = barrier;
	call->open = false;
	session->n_open--;
	return call;
}

void call_answered(struct call *call)
{
	struct session *session = call->session;

	assert(call->open);
	call->open = false;
	if (call->verb != VERB_QUIT)
		session->n_open--;
	if (call->tag_len > 0)
		LIST_REMOVE(call, tag_entry);
	if (session->barrier == call)
		session->barrier = NULL;
	if (!session->barrier)
		server_mark_ready(session->server, session);
}

void call_free(struct call *call)
{
	struct session *session = call->session;
	struct server *server = session->server;

	assert(!call->open);
	if (call->owner)
		owner_remove_call(call->owner, call);
	free(call->note);
	free(call->announce);
	TAILQ_REMOVE(&session->calls, call, entry);
	session->n_calls--;
	if (session->quit)
		server_mark_ready(server, session);
	if (server->n_free_calls >= SERVER_CALLS_KEPT) {
		free(call);
		return;
	}
	TAILQ_INSERT_HEAD(&server->free_calls, call, entry);
	server->n_free_calls++;
}

/* Nobody waits for its answer any more. */
static void call_abandon(struct call *call)
{
	if (call->list)
		list_cancel(call);
	else if (call->verb == VERB_ACQUIRE)
		ask_cancel(&call->ask);
}

void call_cancel(struct call *call)
{
	if (call->verb == VERB_ACQUIRE && ask_cancel(&call->ask))
		return; /* its own outcome says so */
	session_error(call->session, call_tag(call), PROTO_E_CANCELLED, NULL);
	call_answered(call);
	call_abandon(call);
}

/* ------------------------------------------------------------------ writing */

/* Above which much output waits for the client, so that nothing more should be made for it. */
static size_t output_low(const struct session *session)
{
	size_t half = session->server->conf->max_output_bytes / 2;

	return half < SESSION_OUTPUT_LOW ? half : SESSION_OUTPUT_LOW;
}

bool session_consume(struct session *session)
{
	char bytes[SESSION_PEEKED_MAX];

	while (session->n_peeked > 0) {
		ssize_t n = recv(session->fd, bytes, session->n_peeked, MSG_DONTWAIT);

		if (n <= 0)
			return false;
		session->n_peeked -= (unsigned)n;
	}
	return true;
}

/* Writes what it can. Calls nothing of the core: a failure is noted in `broken`. */
static void session_write(struct session *session)
{
	struct server *server = session->server;
	ssize_t n;

	do
		n = send(session->fd, buffer_bytes(&session->out), session->out.len, MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	if (n < 0 && errno != EAGAIN) {
		session->broken = true;
		return;
	}
	if (n > 0) {
		buffer_consume(&server->buffers, &session->out, (size_t)n);
		session->broken = !session_consume(session);
		if (session->stalled) {
			session->stalled_us = server_now_us(server);
			TAILQ_REMOVE(&server->stalled, session, stalled_entry);
			TAILQ_INSERT_TAIL(&server->stalled, session, stalled_entry);
		}
	}
	if (session->out.len > 0 && session->writable) {
		session->writable = false;
		event_add(&session->write_event, NULL);
	}
}

static void session_output(struct session *session, const char *bytes, size_t len)
{
	const struct log_about about = {.pid = (int)session->peer.pid};
	struct server *server = session->server;

	if (session->state == SESSION_DEAD || session->gone || session->broken || session->doomed)
		return;
	server_mark_dirty(server, session);
	if (!buffer_append(&server->buffers, &session->out, bytes, len)) {
		log_write(LOG_LEVEL_WARNING, &about,
			  "out of memory for the replies to process %d, dropping it", about.pid);
		session->doomed = true;
		return;
	}
	if (session->out.len <= server->conf->max_output_bytes)
		return;
	if (session->writable) /* what was never written is not unread */
		session_write(session);
	if (session->broken || session->out.len <= server->conf->max_output_bytes)
		return;
	log_write(LOG_LEVEL_WARNING, &about,
		  "process %d (uid %u) leaves more than max_output_bytes unread, dropping it",
		  about.pid, (unsigned)session->peer.uid);
	server->stats.clients_dropped++;
	session->doomed = true;
}

void session_line_begin(struct session *session, struct reply_writer *w, struct span tag,
			const char *kind)
{
	reply_begin(w, session->server->line, sizeof(session->server->line), tag, kind);
}

void session_line_end(struct session *session, struct reply_writer *w)
{
	session_output(session, session->server->line, reply_end(w));
}

void session_ok(struct session *session, struct span tag)
{
	struct reply_writer w;

	session_line_begin(session, &w, tag, "OK");
	session_line_end(session, &w);
}

void session_error(struct session *session, struct span tag, enum proto_error error,
		   const char *text)
{
	struct server *server = session->server;

	server->stats.errors[error]++;
	session_output(session, server->line,
		       reply_error(server->line, sizeof(server->line), tag, error, text));
}

/* ------------------------------------------------------------------ being told of locks */

static const char *lost_word(enum lost_reason reason)
{
	switch (reason) {
	case LOST_EXPIRED:
		return "expired";
	case LOST_REPLACED:
		return "replaced";
	case LOST_UNAVAILABLE:
		return "unavailable";
	case LOST_BROKEN:
		return "broken";
	case LOST_SHUTDOWN:
		break;
	}
	return "shutdown";
}

/* So many losses are logged a second: a store that is gone takes all its locks with it. */
enum { LOSSES_LOGGED = 20 };

static bool loss_is_worth_a_line(struct server *server)
{
	int64_t now_us = server_now_us(server);

	if (now_us - server->losses_from_us >= 1000000) {
		server->losses_from_us = now_us;
		server->n_losses = 0;
	}
	return server->n_losses++ < LOSSES_LOGGED;
}

/* What somebody should look into: not what its holder knew before, or somebody ordered. */
static void log_lost(const struct session *session, const struct lock *lock,
		     enum lost_reason reason)
{
	const struct log_about about = {
		.mutex = mutex_name(lock->mutex),
		.store = mutex_store(lock->mutex)->name,
		.pid = (int)session->peer.pid,
	};

	if ((reason == LOST_REPLACED || reason == LOST_UNAVAILABLE) &&
	    loss_is_worth_a_line(session->server))
		log_write(LOG_LEVEL_WARNING, &about, "%s: process %d (uid %u) has lost it: %s",
			  about.mutex, about.pid, (unsigned)session->peer.uid, lost_word(reason));
}

static void session_lost(struct holder *holder, const struct lock *lock, enum lost_reason reason)
{
	struct session *session = container_of(holder, struct session, holder);
	struct reply_writer w;

	log_lost(session, lock, reason);
	session_line_begin(session, &w, no_tag, "EVENT");
	reply_word(&w, "LOST");
	reply_word(&w, mutex_name(lock->mutex));
	reply_word(&w, lock->string);
	reply_word(&w, lost_word(reason));
	session_line_end(session, &w);
}

static void session_expiring(struct holder *holder, const struct lock *lock, int64_t left_ms)
{
	struct session *session = container_of(holder, struct session, holder);
	struct reply_writer w;

	session_line_begin(session, &w, no_tag, "EVENT");
	reply_word(&w, "EXPIRING");
	reply_word(&w, mutex_name(lock->mutex));
	reply_word(&w, lock->string);
	reply_number(&w, left_ms);
	session_line_end(session, &w);
}

static const struct holder_class session_class = {
	.lost = session_lost,
	.expiring = session_expiring,
};

/* ------------------------------------------------------------------ the end */

/* Closes the socket; the rest is freed later. */
static void session_close(struct session *session)
{
	struct server *server = session->server;

	/* Unread bytes would turn the client's end of file into an error. */
	session_consume(session);
	for (int i = 0; i < 16 && session->hung_up && !session->gone; i++) {
		if (recv(session->fd, server->input, sizeof(server->input), MSG_DONTWAIT) <= 0)
			break;
	}
	event_del(&session->read_event);
	event_del(&session->write_event);
	close(session->fd);
	session->fd = -1;
	buffer_clear(&server->buffers, &session->in);
	buffer_clear(&server->buffers, &session->out);
	if (session->stalled)
		TAILQ_REMOVE(&server->stalled, session, stalled_entry);
	session->stalled = false;
	session->state = SESSION_DEAD;
	TAILQ_REMOVE(&server->sessions, session, entry);
	TAILQ_INSERT_TAIL(&server->dead, session, entry);
	session->user->n_clients--;
	server->n_sessions--;
	if (server->listener)
		listener_resume(server->listener);
}

void session_kill(struct session *session)
{
	struct call *call, *next;

	if (session->state == SESSION_DEAD)
		return;
	for (call = TAILQ_FIRST(&session->calls); call; call = next) {
		next = TAILQ_NEXT(call, entry);
		if (!call->open)
			continue;
		call_answered(call); /* by the end of the connection */
		call_abandon(call);
	}
	table_drop_holder(session->server->table, &session->holder);
	session_close(session);
}

bool session_reap(struct session *session)
{
	struct server *server = session->server;

	/* A QUIT that was not answered has no way into the core, and so none back. */
	if (session->quit && !session->quit->open) {
		struct call *quit = session->quit;

		session->quit = NULL;
		call_free(quit);
	}
	if (session->n_calls > 0)
		return false;
	assert(session->n_open == 0 && TAILQ_EMPTY(&session->calls));
	/* A cancelled ACQUIRE may have brought a lock since. */
	table_drop_holder(server->table, &session->holder);
	if (session->ready)
		TAILQ_REMOVE(&server->ready, session, ready_entry);
	if (session->later)
		TAILQ_REMOVE(&server->later, session, later_entry);
	if (session->dirty)
		TAILQ_REMOVE(&server->dirty, session, dirty_entry);
	TAILQ_REMOVE(&server->dead, session, entry);
	user_leave(&server->users, session->user);
	peer_deinit(&session->peer);
	free(session);
	return true;
}

/* All is answered: its locks go, and when the last reply is written so does the connection. */
static void session_finish(struct session *session)
{
	table_drop_holder(session->server->table, &session->holder);
	session->state = SESSION_CLOSING;
	server_mark_dirty(session->server, session);
}

/* No more requests will come than those that are there; what waits, waits no longer. */
static void session_hang_up(struct session *session)
{
	struct call *call;

	if (session->hung_up)
		return;
	session->hung_up = true;
	TAILQ_FOREACH (call, &session->calls, entry) {
		if (call->open && call->verb == VERB_ACQUIRE)
			ask_hang_up(&call->ask);
	}
}

/*
 * Nobody is there any more: its locks are free at once, not when its last request is through. Nor
 * is a lock taken that it could not hear of.
 */
static void session_gone(struct session *session)
{
	struct call *call, *next;

	session->hung_up = true;
	if (session->gone)
		return;
	session->gone = true;
	session->readable = !session->eof; /* up to the end of what it sent */
	buffer_clear(&session->server->buffers, &session->out);
	for (call = TAILQ_FIRST(&session->calls); call; call = next) {
		next = TAILQ_NEXT(call, entry);
		if (call->open && call->verb == VERB_ACQUIRE)
			ask_cancel(&call->ask);
		else if (call->open && call->verb == VERB_LIST)
			call_cancel(call);
	}
	table_drop_holder(session->server->table, &session->holder);
	server_mark_dirty(session->server, session);
	server_mark_ready(session->server, session);
}

/* Asks the socket what became of its other end. */
static void session_look_for_hang_up(struct session *session)
{
	struct pollfd poll_fd = {.fd = session->fd, .events = POLLRDHUP};

	if (poll(&poll_fd, 1, 0) <= 0)
		return;
	if (poll_fd.revents & (POLLHUP | POLLERR)) {
		session_gone(session);
	} else {
		session_hang_up(session);
		session->readable = true; /* up to the end of what it sent */
	}
}

void session_quit(struct session *session, struct call *quit)
{
	struct server *server = session->server;
	struct call *call, *next_call;
	struct lock *lock, *next;

	session->quit = quit;
	/* What is known already is told first. */
	table_deliver(server->table);
	for (call = TAILQ_FIRST(&session->calls); call; call = next_call) {
		next_call = TAILQ_NEXT(call, entry);
		if (call->open && (call->verb == VERB_ACQUIRE || call->verb == VERB_LIST))
			call_cancel(call);
	}
	table_deliver(server->table);
	for (lock = TAILQ_FIRST(&session->holder.owned); lock; lock = next) {
		next = TAILQ_NEXT(lock, owned_entry);
		call = call_new_silent(session);
		if (!call)
			break; /* the end of the connection releases it, unheard */
		memcpy(call->ask.string, lock->string, sizeof(call->ask.string));
		mutex_release(lock->mutex, &call->ask);
	}
	server_mark_ready(server, session);
}

/* ------------------------------------------------------------------ reading */

bool session_has_enough(struct session *session)
{
	session->paused =
		session->out.len > output_low(session) && !session->patience_over && !session->gone;
	return session->paused;
}

/* Takes one of what a session gets in a turn, or has it wait for the next one. */
static bool session_had_share(struct session *session, unsigned *count, unsigned share)
{
	struct server *server = session->server;

	if (session->share_turn != server->stats.turns) {
		session->share_turn = server->stats.turns;
		session->lines = session->steps = 0;
	}
	if (*count < share) {
		++*count;
		return false;
	}
	server_mark_later(server, session);
	return true;
}

static void session_line_too_long(struct session *session)
{
	session_error(session, no_tag, PROTO_E_LINE_TOO_LONG, NULL);
	session->eof = true;
	session->readable = false;
	session_hang_up(session);
}

/* Does carrying it out change nothing but what its client knows? */
static bool only_asks(enum verb verb)
{
	switch (verb) {
	case VERB_HELLO:
	case VERB_PING:
	case VERB_EXISTS:
	case VERB_INFO:
	case VERB_LIST:
	case VERB_STATS:
		return true;
	default:
		return false;
	}
}

/* Return: false when the line has to wait for what is open. */
static bool session_line(struct session *session, struct span line)
{
	struct server *server = session->server;
	struct request request;
	char why[256];
	enum proto_error error = request_parse(line, &request, why, sizeof(why));
	bool passes =
		error == PROTO_OK && (request.verb == VERB_CANCEL || request.verb == VERB_QUIT);

	if (request.tag.len == 0 && !passes && session->n_open > 0)
		return false;
	if (error != PROTO_OK) {
		session_error(session, request.tag, error, why);
		return true;
	}
	if (session->gone && only_asks(request.verb))
		return true; /* work for nobody */
	/* It looks at every mutex. */
	if (request.verb == VERB_STATS &&
	    session_had_share(session, &session->steps, SESSION_STEPS_PER_TURN))
		return false;
	server->stats.requests[request.verb]++;
	if (request.tag.len > 0 && call_find(session, request.tag))
		session_error(session, request.tag, PROTO_E_SYNTAX,
			      "a request with this tag is still open; choose another");
	else
		command_run(session, &request);
	return true;
}

/* Return: whether all lines were taken that are there, so that more can be read. */
static bool session_lines(struct session *session, struct span *bytes)
{
	for (;;) {
		struct span before = *bytes, line;
		enum line_status status;

		if (session->barrier || session->quit || session->doomed ||
		    session_has_enough(session))
			return false;
		status = line_next(bytes, PROTO_LINE_MAX, &line);
		if (status == LINE_PARTIAL)
			return true;
		if (status == LINE_TOO_LONG) {
			session_line_too_long(session);
			bytes->at += bytes->len;
			bytes->len = 0;
			return true;
		}
		session->server->unread = *bytes;
		if (session_had_share(session, &session->lines, SESSION_LINES_PER_TURN) ||
		    (line.len > 0 && !session_line(session, line))) {
			*bytes = before;
			return false;
		}
	}
}

/* Takes the lines that were read before. Return: as session_lines(). */
static bool session_buffered_lines(struct session *session)
{
	struct span bytes = {session->in.data ? buffer_bytes(&session->in) : "", session->in.len};
	size_t len = session->in.len;
	bool hungry;

	hungry = session_lines(session, &bytes);
	buffer_consume(&session->server->buffers, &session->in, len - bytes.len);
	return hungry;
}

/*
 * Leaves what has come in server->input. Taking bytes out of a Unix socket wakes up whoever sleeps
 * at its other end, who might want to write: a client that blocks in read(2) is woken up by that
 * and goes to sleep again, for its reply is still to come. So short requests are only looked at
 * here, and taken out when there is more to read, or by session_settle(). When there are few, and
 * answered at once, it does no harm: a core that was idle is awake for the reply.
 * Return: as recv(2).
 */
static ssize_t session_peek(struct session *session)
{
	struct server *server = session->server;
	const int how = server->crowded || server->n_asking > 0 ? MSG_PEEK : 0;
	ssize_t n;

	do
		n = recv(session->fd, server->input, SERVER_INPUT_SIZE, how);
	while (n < 0 && errno == EINTR);
	if (how != MSG_PEEK || n <= 0)
		return n;
	if (n > SESSION_PEEKED_MAX)
		return recv(session->fd, server->input, (size_t)n, 0);
	session->n_peeked = (unsigned)n;
	server_mark_dirty(server, session);
	return n;
}

/* Reads once. Return: whether more bytes are there than before, or the end was found. */
static bool session_read(struct session *session)
{
	struct server *server = session->server;
	struct span bytes = {server->input, 0};
	ssize_t n;

	n = session_consume(session) ? session_peek(session) : 0;
	if (n < 0 && errno == EAGAIN) {
		session->readable = false;
		return false;
	}
	if (n <= 0) {
		session->readable = false;
		session->eof = true;
		if (n < 0)
			session_gone(session);
		else
			session_hang_up(session);
		return true;
	}
	/* Whatever comes after a short read makes the loop call again; the end does not. */
	if ((size_t)n < sizeof(server->input) && !session->hung_up)
		session->readable = false;
	bytes.len = (size_t)n;
	if (session->in.len == 0)
		session_lines(session, &bytes);
	if (!buffer_append(&server->buffers, &session->in, bytes.at, bytes.len)) {
		log_warning("out of memory for the requests of process %d, dropping it",
			    (int)session->peer.pid);
		session->doomed = true;
		server_mark_dirty(server, session);
		return false;
	}
	return true;
}

/* Goes on with the LISTs that have room for more. */
static void session_list_on(struct session *session)
{
	struct call *call = TAILQ_FIRST(&session->listings), *next;

	for (; call; call = next) {
		next = TAILQ_NEXT(call, listing_entry);
		if (list_waits(call))
			continue;
		if (session_has_enough(session) ||
		    session_had_share(session, &session->steps, SESSION_STEPS_PER_TURN))
			return;
		if (!list_step(call))
			server_mark_later(session->server, session);
	}
}

void session_run(struct session *session)
{
	bool hungry;

	if (session->state != SESSION_LIVE)
		return;
	session_list_on(session);
	do
		hungry = session_buffered_lines(session);
	while (hungry && session->readable && !session->eof && session_read(session));

	if (session->quit) {
		if (session->n_calls > 1)
			return;
		session_ok(session, call_tag(session->quit));
		call_answered(session->quit);
		session_finish(session);
	} else if (hungry && session->eof && session->n_open == 0) {
		session_finish(session);
	}
}

void session_lose_patience(struct session *session)
{
	TAILQ_REMOVE(&session->server->stalled, session, stalled_entry);
	session->stalled = false;
	session->patience_over = true;
	server_mark_ready(session->server, session);
}

void session_settle(struct session *session)
{
	struct server *server = session->server;
	bool much;

	if (session->state == SESSION_DEAD)
		return;
	if (session->doomed) {
		session_kill(session);
		return;
	}
	/*
	 * With many clients, half of all context switches would be for waking up those whose
	 * replies are still to come: that waits until it is a reply that wakes them. With few it
	 * does no harm now that the stores have their commands.
	 */
	if (!server->crowded)
		session->broken |= !session_consume(session);
	if (session->out.len > 0 && session->writable && !session->broken)
		session_write(session);
	if (session->broken)
		session_gone(session);
	if (session->state == SESSION_CLOSING && session->out.len == 0) {
		session_close(session);
		return;
	}
	much = session->out.len > output_low(session);
	if (!much)
		session->patience_over = false;
	if (much && !session->stalled && !session->patience_over) {
		session->stalled = true;
		session->stalled_us = server_now_us(server);
		TAILQ_INSERT_TAIL(&server->stalled, session, stalled_entry);
	} else if (!much && session->stalled) {
		session->stalled = false;
		TAILQ_REMOVE(&server->stalled, session, stalled_entry);
	}
	if (session->paused && !much) {
		session->paused = false;
		server_mark_later(server, session);
	}
}

/* ------------------------------------------------------------------ events */

/*
 * Would nobody notice if the client had gone with the lines that were just read? The loop tells of
 * an error, which a client that left replies unread makes, as of something to read, and after a
 * short read nothing more is read. But a reply that can't be written shows it too, so only those
 * have to ask to whom none will be written soon.
 */
static bool session_may_be_gone(const struct session *session)
{
	return session->state == SESSION_LIVE && !session->hung_up && session->out.len == 0 &&
	       (session->n_open == 0 || session->n_waits > 0);
}

static void session_read_cb(evutil_socket_t fd, short what, void *arg)
{
	struct session *session = arg;

	(void)fd;
	server_turn(session->server);
	if (session->state == SESSION_DEAD)
		return;
	session->readable = true;
	if (session->server->draining)
		return; /* session_resume() looks, in this process or the next */
	if (what & EV_CLOSED)
		session_look_for_hang_up(session);
	session_run(session);
	/* Or it was an error while nothing was read, since something has to be answered first. */
	if (session_may_be_gone(session) || session->readable) {
		session_look_for_hang_up(session);
		session_run(session);
	}
	server_heard(session->server);
}

void session_resume(struct session *session)
{
	if (session->state == SESSION_DEAD)
		return;
	session->readable = true;
	session_look_for_hang_up(session);
	server_mark_ready(session->server, session);
	server_mark_dirty(session->server, session);
}

static void session_write_cb(evutil_socket_t fd, short what, void *arg)
{
	struct session *session = arg;

	(void)fd;
	(void)what;
	server_turn(session->server);
	session->writable = true;
	server_mark_dirty(session->server, session);
}

int session_open(struct server *server, int fd, const struct peer *peer)
{
	struct session *session = calloc(1, sizeof(*session));

	if (!session)
		return -ENOMEM;
	session->server = server;
	session->peer = *peer;
	session->fd = fd;
	session->writable = true;
	holder_init(&session->holder, &session_class, HOLDER_CONNECTION);
	TAILQ_INIT(&session->calls);
	TAILQ_INIT(&session->listings);

	/*
	 * Edge-triggered: the socket is looked at when something happened to it, not for as long
	 * as something is there. So a client whose requests have to wait costs no wake-ups, and its
	 * end is noticed all the same, also after it had closed one direction.
	 */
	event_assign(&session->read_event, server->base, fd,
		     EV_READ | EV_CLOSED | EV_ET | EV_PERSIST, session_read_cb, session);
	event_assign(&session->write_event, server->base, fd, EV_WRITE | EV_ET, session_write_cb,
		     session);
	if (event_add(&session->read_event, NULL) < 0) {
		free(session);
		return -ENOMEM;
	}
	session->user = user_enter(&server->users, peer->uid);
	TAILQ_INSERT_TAIL(&server->sessions, session, entry);
	server->n_sessions++;
	server->stats.clients_accepted++;
	return 0;
}
