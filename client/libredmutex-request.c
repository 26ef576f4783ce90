/* SPDX-License-Identifier: MIT */
/*
 * Requests out, replies in. Each request has a tag, the index of its call, so that any number can
 * be open; a call is used again as soon as its one final reply has come.
 */
#include "config.h"

#include "client/libredmutex.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/name.h"

/* The tag of HELLO, which has no call. */
static const struct span hello_tag = {"hello", 5};

static struct span span_of(const char *string)
{
	return (struct span){string, string == NULL ? 0 : strlen(string)};
}

/* Copies as much as fits, terminated. */
static void span_copy(struct span span, char *out, size_t size)
{
	size_t len = span.len < size ? span.len : size - 1;

	memcpy(out, span.at, len);
	out[len] = '\0';
}

/* ---- calls ---- */

static struct rm_call *call_add(struct redmutex *rm)
{
	struct rm_call *call;

	if (rm->n_calls == rm->calls_size) {
		uint32_t size = rm->calls_size > 0 ? 2 * rm->calls_size : 8;
		struct rm_call **calls = realloc(rm->calls, size * sizeof(*calls));

		if (calls == NULL)
			return NULL;
		rm->calls = calls;
		rm->calls_size = size;
	}
	call = calloc(1, sizeof(*call));
	if (call == NULL)
		return NULL;
	call->index = rm->n_calls;
	rm->calls[rm->n_calls++] = call;
	return call;
}

/* Return: a call with a tag; NULL when there is none, and *error says why. */
static struct rm_call *call_open(struct redmutex *rm, enum verb verb, int *error)
{
	struct rm_call *call = rm->spare_calls;

	if (rm->fd < 0 || rm->closing) {
		*error = rm_error_note(rm, REDMUTEX_ECLOSED, "%s", "");
		return NULL;
	}
	if (call != NULL) {
		rm->spare_calls = call->next_spare;
	} else if (rm->n_calls == RM_CALLS_MAX) {
		*error = rm_error_note(rm, REDMUTEX_ELIMIT,
				       "%d requests are open on this connection", RM_CALLS_MAX);
		return NULL;
	} else if ((call = call_add(rm)) == NULL) {
		*error = rm_error_note(rm, REDMUTEX_ENOMEM, "%s", "");
		return NULL;
	}

	call->open = true;
	call->generation++;
	call->verb = verb;
	call->audience = RM_NOBODY;
	call->done = NULL;
	call->info_item = NULL;
	call->stat_item = NULL;
	call->arg = NULL;
	call->wait = NULL;
	call->lease = NULL;
	call->name[0] = call->lock[0] = '\0';
	return call;
}

static void call_close(struct redmutex *rm, struct rm_call *call)
{
	if (call->lease != NULL)
		rm_lease_spare(rm, call->lease);
	call->lease = NULL;
	call->open = false;
	call->next_spare = rm->spare_calls;
	rm->spare_calls = call;
}

/* The tag of a call, written into `out`. */
static struct span call_tag(const struct rm_call *call, char out[16])
{
	return (struct span){out, (size_t)snprintf(out, 16, "%x", call->index)};
}

static struct rm_call *call_by_tag(const struct redmutex *rm, struct span tag)
{
	uint32_t index = 0;

	if (tag.len == 0 || tag.len > 8)
		return NULL;
	for (size_t i = 0; i < tag.len; i++) {
		char c = tag.at[i];

		if (c >= '0' && c <= '9')
			index = index * 16 + (uint32_t)(c - '0');
		else if (c >= 'a' && c <= 'f')
			index = index * 16 + (uint32_t)(c - 'a') + 10;
		else
			return NULL;
	}
	return index < rm->n_calls && rm->calls[index]->open ? rm->calls[index] : NULL;
}

/* ---- requests ---- */

/* Writes a request behind what is to be sent. */
static int append(struct redmutex *rm, const struct request *request)
{
	int error, len;
	char *out = rm_output(rm, &error);

	if (out == NULL)
		return error;
	len = request_format(request, out, PROTO_LINE_MAX);
	if (len < 0)
		return rm_error_note(rm, REDMUTEX_EINVAL, "a name, a time or a note is not valid");
	rm->out_len += (size_t)len;
	return 0;
}

/* Writes a call's request; verb, tag and name are filled in here. On failure the call is closed. */
static int call_send(struct redmutex *rm, struct rm_call *call, const char *name,
		     struct request *request)
{
	char tag[16];
	int error;

	if (name != NULL && !name_valid(span_of(name))) {
		error = rm_error_note(rm, REDMUTEX_EINVAL,
				      "a name is 1 to 128 characters of A-Z a-z 0-9 . _ - : /");
	} else {
		if (name != NULL)
			strcpy(call->name, name);
		request->verb = call->verb;
		request->tag = call_tag(call, tag);
		request->name = span_of(call->name);
		error = append(rm, request);
	}
	if (error < 0)
		call_close(rm, call);
	else
		call->sent_us = redmutex_now_us();
	return error;
}

int rm_call_cancel(struct redmutex *rm, const struct rm_call *call)
{
	struct request request = {.given = 0};
	struct rm_call *cancel;
	char target[16];
	int error;

	cancel = call_open(rm, VERB_CANCEL, &error);
	if (cancel == NULL)
		return error;
	request.target = call_tag(call, target);
	return call_send(rm, cancel, NULL, &request);
}

int rm_hello(struct redmutex *rm)
{
	struct request request = {
		.verb = VERB_HELLO,
		.tag = hello_tag,
		.given = 1u << OPTION_PROTOCOL,
		.protocol = PROTO_VERSION,
	};

	return append(rm, &request);
}

int rm_acquire_options(const struct redmutex_acquire_options *given,
		       struct redmutex_acquire_options *options)
{
	*options = (struct redmutex_acquire_options)REDMUTEX_ACQUIRE_OPTIONS_INIT;
	return given == NULL || rm_struct_in(options, sizeof(*options), given,
					     rm_size_upto(struct redmutex_acquire_options, note))
		       ? 0
		       : REDMUTEX_EINVAL;
}

/* How long to wait, from a deadline. */
static int64_t wait_until(int64_t deadline_us)
{
	int64_t left_us = deadline_us - redmutex_now_us();

	if (left_us <= 0)
		return 0;
	return left_us / 1000 < PROTO_TTL_MAX_MS ? (left_us + 999) / 1000 : PROTO_TTL_MAX_MS;
}

static bool options_valid(const struct redmutex_acquire_options *options)
{
	return (options->deadline_us == 0 || options->wait_ms == 0) && options->deadline_us >= 0 &&
	       options->wait_ms >= REDMUTEX_FOREVER && options->wait_ms <= PROTO_TTL_MAX_MS &&
	       options->renew >= 0 && options->renew <= REDMUTEX_RENEW_NO && options->owner >= 0 &&
	       options->owner <= REDMUTEX_OWNER_PID &&
	       (options->note == NULL || strlen(options->note) <= PROTO_NOTE_MAX);
}

static int acquire_request(const struct redmutex_acquire_options *given, struct request *request)
{
	static const enum request_owner owners[] = {
		[REDMUTEX_OWNER_CONNECTION] = REQUEST_OWNER_CONNECTION,
		[REDMUTEX_OWNER_NONE] = REQUEST_OWNER_NONE,
		[REDMUTEX_OWNER_PID] = REQUEST_OWNER_PID,
	};
	struct redmutex_acquire_options options;
	int64_t wait_ms;

	if (rm_acquire_options(given, &options) < 0 || !options_valid(&options))
		return REDMUTEX_EINVAL;
	wait_ms = options.deadline_us > 0 ? wait_until(options.deadline_us) : options.wait_ms;
	if (wait_ms != 0)
		request->given |= 1u << OPTION_WAIT;
	request->wait_ms = wait_ms == REDMUTEX_FOREVER ? PROTO_WAIT_FOREVER : wait_ms;
	if (options.ttl_ms != 0)
		request->given |= 1u << OPTION_TTL;
	request->ttl_ms = options.ttl_ms;
	if (options.renew != REDMUTEX_RENEW_CONFIGURED)
		request->given |= 1u << OPTION_RENEW;
	request->renew = options.renew == REDMUTEX_RENEW_YES;
	if (options.owner != REDMUTEX_OWNER_CONNECTION)
		request->given |= 1u << OPTION_OWNER;
	request->owner = owners[options.owner];
	request->owner_pid = options.owner_pid;
	if (options.note != NULL && options.note[0] != '\0') {
		request->given |= 1u << OPTION_NOTE;
		strcpy(request->note, options.note);
	}
	return 0;
}

/* Sets aside what a grant will need. */
static int prepare_acquire(struct redmutex *rm, struct rm_call *call, const struct request *request)
{
	call->lease = rm_lease_new(rm);
	if (call->lease == NULL)
		return rm_error_note(rm, REDMUTEX_ENOMEM, "%s", "");
	call->lease->final = request->owner == REQUEST_OWNER_NONE ||
			     (request->given & 1u << OPTION_RENEW && !request->renew);
	call->lease->bound = request->owner == REQUEST_OWNER_CONNECTION;
	return 0;
}

int rm_start(struct redmutex *rm, const struct rm_ask *ask, struct rm_call **callp)
{
	struct request request = {.given = 0, .pattern = span_of(ask->pattern)};
	struct rm_lease *lease;
	struct rm_call *call;
	int error = 0;

	if (ask->verb == VERB_ACQUIRE && acquire_request(ask->options, &request) < 0)
		return rm_error_note(rm, REDMUTEX_EINVAL,
				     "the options of the acquisition are not valid, or not set up "
				     "with REDMUTEX_ACQUIRE_OPTIONS_INIT");
	if (ask->lock != NULL && strlen(ask->lock) >= RM_LOCK_WORD_SIZE)
		return rm_error_note(rm, REDMUTEX_EINVAL, "that is no lock string: it is too long");
	if (ask->verb == VERB_EXTEND && ask->ttl_ms != 0) {
		request.given |= 1u << OPTION_TTL;
		request.ttl_ms = ask->ttl_ms;
	}

	call = call_open(rm, ask->verb, &error);
	if (call == NULL)
		return error;
	if (ask->lock != NULL)
		strcpy(call->lock, ask->lock);
	request.lock = span_of(call->lock);
	if (ask->verb == VERB_ACQUIRE)
		error = prepare_acquire(rm, call, &request);
	if (error < 0) {
		call_close(rm, call);
		return error;
	}
	error = call_send(rm, call, ask->name, &request);
	if (error == 0 && ask->verb == VERB_RELEASE) {
		lease = rm_lease_find(rm, ask->lock);
		if (lease != NULL)
			lease->releasing = true;
	}
	*callp = call;
	return error;
}

/* ---- replies ---- */

static int64_t number_or(const struct reply *reply, enum option option, int64_t otherwise)
{
	int64_t number;

	return reply_find_number(reply, option, &number) ? number : otherwise;
}

/* A time of a reply, bounded so that it can be reckoned with. */
static int64_t time_or(const struct reply *reply, enum option option, int64_t otherwise)
{
	int64_t time_ms = number_or(reply, option, otherwise);

	return time_ms < PROTO_TTL_MAX_MS ? time_ms : PROTO_TTL_MAX_MS;
}

static bool span_equals(struct span span, const char *string)
{
	return span.len == strlen(string) && memcmp(span.at, string, span.len) == 0;
}

/* An option's value, decoded; what is malformed or too long for its field is left out. */
static void text_of(const struct reply *reply, enum option option, char *out, size_t size)
{
	struct span value = reply_find(reply, option);

	if (value.len == 0 || percent_decode(value, out, size) < 0)
		out[0] = '\0';
}

static void read_info(const struct reply *reply, struct redmutex_info *info)
{
	struct span locked = reply_find(reply, OPTION_LOCKED);
	struct span holder = reply_find(reply, OPTION_HOLDER);

	*info = (struct redmutex_info)REDMUTEX_INFO_INIT;
	info->locked = span_equals(locked, "true")	? REDMUTEX_LOCKED
		       : span_equals(locked, "unknown") ? REDMUTEX_LOCKED_UNKNOWN
							: REDMUTEX_FREE;
	info->holder = span_equals(holder, "here")	  ? REDMUTEX_HOLDER_HERE
		       : span_equals(holder, "elsewhere") ? REDMUTEX_HOLDER_ELSEWHERE
							  : REDMUTEX_HOLDER_NONE;
	info->waiters = number_or(reply, OPTION_WAITERS, -1);
	info->pid = number_or(reply, OPTION_PID, -1);
	info->uid = number_or(reply, OPTION_UID, -1);
	info->held_ms = time_or(reply, OPTION_HELD, -1);
	info->ttl_ms = time_or(reply, OPTION_TTL, -1);
	info->fence = number_or(reply, OPTION_FENCE, -1);
	info->members = number_or(reply, OPTION_MEMBERS, -1);
	text_of(reply, OPTION_COMM, info->comm, sizeof(info->comm));
	text_of(reply, OPTION_NOTE, info->note, sizeof(info->note));
	text_of(reply, OPTION_OWNER, info->owner, sizeof(info->owner));
	text_of(reply, OPTION_HOST, info->host, sizeof(info->host));
	text_of(reply, OPTION_USER, info->user, sizeof(info->user));
}

/* A lock that was granted to nobody: its call timed out, so nobody would ever release it. */
static void give_back(struct redmutex *rm, const char *name, const char *lock)
{
	const struct rm_ask ask = {.verb = VERB_RELEASE, .name = name, .lock = lock};
	struct rm_call *call;

	if (rm_start(rm, &ask, &call) == 0)
		rm_flush(rm);
}

static int read_grant(struct redmutex *rm, struct rm_call *call, const struct reply *reply,
		      struct redmutex_lock *lock)
{
	if (reply->n_words < 1 || reply->words[0].len >= sizeof(lock->lock))
		return -1;
	*lock = (struct redmutex_lock)REDMUTEX_LOCK_INIT;
	span_copy(reply->words[0], lock->lock, sizeof(lock->lock));
	lock->ttl_ms = time_or(reply, OPTION_TTL, 0);
	lock->fence = number_or(reply, OPTION_FENCE, 0);
	rm_lease_granted(rm, call->lease, lock, call->name, call->sent_us);
	call->lease = NULL;
	if (call->audience == RM_NOBODY)
		give_back(rm, call->name, lock->lock);
	return 0;
}

/* What a RELEASE means for the lease: only when it was not understood does the lock still stand. */
static void after_release(struct redmutex *rm, const char *lock, int error)
{
	struct rm_lease *lease = rm_lease_find(rm, lock);

	if (lease == NULL)
		return;
	if (error == 0 || error == REDMUTEX_EUNLOCK_FAIL || error == REDMUTEX_EUNAVAILABLE)
		rm_lease_remove(rm, lease);
	else
		lease->releasing = false;
}

/* Fills in what a final reply says. Return: 0, -1: it makes no sense. */
static int read_result(struct redmutex *rm, struct rm_call *call, const struct reply *reply,
		       struct redmutex_result *result, struct redmutex_lock *lock,
		       struct redmutex_info *info)
{
	int64_t count;

	if (call->verb == VERB_RELEASE)
		after_release(rm, call->lock, result->error);
	if (result->error < 0)
		return 0;
	switch (call->verb) {
	case VERB_ACQUIRE:
		result->lock = lock;
		return read_grant(rm, call, reply, lock);
	case VERB_EXISTS:
		result->exists = reply->n_words > 0 && span_equals(reply->words[0], "true");
		return reply->n_words > 0 ? 0 : -1;
	case VERB_EXTEND:
		result->ttl_ms = time_or(reply, OPTION_TTL, 0);
		rm_lease_extended(rm, call->lock, result->ttl_ms, call->sent_us);
		return 0;
	case VERB_INFO:
		read_info(reply, info);
		strcpy(info->name, call->name);
		result->info = info;
		return 0;
	case VERB_LIST:
	case VERB_STATS:
		if (reply->n_words < 1 || !number_parse(reply->words[0], 0, INT64_MAX, &count))
			return -1;
		result->count = count;
		return 0;
	default:
		return 0;
	}
}

/* The outcome for a blocking call. */
static void wake(struct rm_wait *wait, const struct redmutex_result *result)
{
	wait->done = true;
	wait->error = result->error;
	snprintf(wait->text, sizeof(wait->text), "%s", result->text);
	wait->ttl_ms = result->ttl_ms;
	wait->exists = result->exists;
	if (result->lock != NULL)
		wait->lock = *result->lock;
	if (result->info != NULL)
		wait->info = *result->info;
	if (wait->linked)
		pthread_cond_signal(&wait->cond);
}

/* Hands an outcome to whom it concerns, after which the call is a spare one. Calls back. */
static void finish(struct redmutex *rm, struct rm_call *call, struct redmutex_result *result)
{
	redmutex_done_fn *done = call->done;
	redmutex_release_failed_fn *failed = rm->on_release_failed;
	void *arg = call->arg, *failed_arg = rm->on_release_failed_arg;
	char name[REDMUTEX_NAME_SIZE], lock[RM_LOCK_WORD_SIZE];
	enum rm_audience audience = call->audience;
	enum verb verb = call->verb;

	strcpy(name, call->name);
	strcpy(lock, call->lock);
	result->size = sizeof(*result);
	result->name = name;
	if (call->wait != NULL)
		wake(call->wait, result);
	if (audience == RM_NOBODY && verb == VERB_INFO)
		rm_lease_answered(rm, lock, result->info, call->sent_us);
	call_close(rm, call);

	if (audience == RM_USER && done != NULL) {
		pthread_mutex_unlock(&rm->mutex);
		done(rm, result, arg);
		pthread_mutex_lock(&rm->mutex);
	} else if (audience == RM_NOBODY && verb == VERB_RELEASE && result->error < 0 &&
		   failed != NULL) {
		pthread_mutex_unlock(&rm->mutex);
		failed(rm, name, lock, result->error, result->text, failed_arg);
		pthread_mutex_lock(&rm->mutex);
	}
	result->name = ""; /* what it was ends here */
}

/* One of several lines of an answer. Calls back. */
static void item(struct redmutex *rm, struct rm_call *call, const struct reply *reply)
{
	redmutex_info_fn *info_item = call->info_item;
	redmutex_stat_fn *stat_item = call->stat_item;
	void *arg = call->arg;
	char metric[256], value[256];
	struct redmutex_info info;

	if (info_item != NULL) {
		read_info(reply, &info);
		span_copy(reply->words[0], info.name, sizeof(info.name));
	} else if (stat_item != NULL) {
		span_copy(reply->words[0], metric, sizeof(metric));
		value[0] = '\0';
		if (reply->n_words > 1)
			span_copy(reply->words[1], value, sizeof(value));
	} else {
		return;
	}
	pthread_mutex_unlock(&rm->mutex);
	if (info_item != NULL)
		info_item(rm, &info, arg);
	else
		stat_item(rm, metric, value, arg);
	pthread_mutex_lock(&rm->mutex);
}

int rm_line(struct redmutex *rm, struct span line)
{
	struct redmutex_result result = {.size = sizeof(result)};
	struct redmutex_lock lock;
	struct redmutex_info info;
	struct reply reply;
	struct rm_call *call;
	char text[RM_TEXT_SIZE];

	if (line.len == 0)
		return 0;
	if (reply_parse(line, &reply) < 0)
		return -1;
	if (reply.kind == REPLY_EVENT)
		return rm_lease_event(rm, &reply);

	span_copy(reply.text, text, sizeof(text));
	result.text = text;
	result.error = reply.kind == REPLY_ERR ? rm_error_from_proto(reply.error) : 0;
	if (reply.tag.len == 0 || span_equals(reply.tag, hello_tag.at)) {
		/* Said to the connection as a whole: it is refused, or spoke too long a line. */
		if (reply.kind == REPLY_ERR)
			rm_lost(rm, result.error, text);
		return 0;
	}

	call = call_by_tag(rm, reply.tag);
	if (call == NULL)
		return -1;
	if (reply.kind == REPLY_ITEM) {
		item(rm, call, &reply);
		return 0;
	}
	if (read_result(rm, call, &reply, &result, &lock, &info) < 0)
		return -1;
	finish(rm, call, &result);
	return 0;
}

/* Takes all of them out first: a callback may connect again and start new ones. */
void rm_calls_fail(struct redmutex *rm, int error, const char *text)
{
	struct rm_call *open = NULL, *call;

	for (uint32_t i = rm->n_calls; i > 0; i--) {
		call = rm->calls[i - 1];
		if (!call->open)
			continue;
		call->open = false;
		call->next_spare = open;
		open = call;
	}
	while ((call = open) != NULL) {
		struct redmutex_result result = {.error = error, .text = text};

		open = call->next_spare;
		finish(rm, call, &result);
	}
}
