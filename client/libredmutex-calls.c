/* SPDX-License-Identifier: MIT */
/* The public calls: the asynchronous half, and blocking calls that wait for it. */
#include "config.h"

#include "client/libredmutex.h"

#include <string.h>
#include <time.h>

/* ---- structs of the caller's ---- */

bool rm_struct_in(void *ours, size_t known, const void *given, size_t least)
{
	size_t size;

	memcpy(&size, given, sizeof(size));
	if (size < least)
		return false;
	for (size_t i = known; i < size; i++)
		if (((const char *)given)[i] != 0)
			return false;
	memcpy(ours, given, size < known ? size : known);
	memcpy(ours, &known, sizeof(known));
	return true;
}

void rm_struct_out(void *given, const void *ours, size_t known)
{
	size_t size;

	memcpy(&size, given, sizeof(size));
	memcpy(given, ours, size < known ? size : known);
	memcpy(given, &size, sizeof(size));
}

/* ---- asynchronous ---- */

static int start_async(struct redmutex *rm, const struct rm_ask *ask, redmutex_info_fn *info_item,
		       redmutex_stat_fn *stat_item, redmutex_done_fn *fn, void *arg, uint64_t *id)
{
	struct rm_call *call;
	int error = rm_enter(rm);

	if (error < 0)
		return error;
	error = rm_start(rm, ask, &call);
	if (error == 0) {
		call->audience = RM_USER;
		call->info_item = info_item;
		call->stat_item = stat_item;
		call->done = fn;
		call->arg = arg;
		if (id != NULL)
			*id = (uint64_t)call->generation << 32 | call->index;
	}
	rm_leave(rm);
	return error;
}

int redmutex_acquire_async(redmutex_t *rm, const char *name,
			   const struct redmutex_acquire_options *options, redmutex_done_fn *fn,
			   void *arg, uint64_t *id)
{
	const struct rm_ask ask = {.verb = VERB_ACQUIRE, .name = name, .options = options};

	return start_async(rm, &ask, NULL, NULL, fn, arg, id);
}

int redmutex_release_async(redmutex_t *rm, const char *name, const char *lock, redmutex_done_fn *fn,
			   void *arg, uint64_t *id)
{
	const struct rm_ask ask = {.verb = VERB_RELEASE, .name = name, .lock = lock};

	return start_async(rm, &ask, NULL, NULL, fn, arg, id);
}

int redmutex_exists_async(redmutex_t *rm, const char *name, redmutex_done_fn *fn, void *arg,
			  uint64_t *id)
{
	const struct rm_ask ask = {.verb = VERB_EXISTS, .name = name};

	return start_async(rm, &ask, NULL, NULL, fn, arg, id);
}

int redmutex_extend_async(redmutex_t *rm, const char *name, const char *lock, int64_t ttl_ms,
			  redmutex_done_fn *fn, void *arg, uint64_t *id)
{
	const struct rm_ask ask = {
		.verb = VERB_EXTEND, .name = name, .lock = lock, .ttl_ms = ttl_ms};

	return start_async(rm, &ask, NULL, NULL, fn, arg, id);
}

int redmutex_info_async(redmutex_t *rm, const char *name, redmutex_done_fn *fn, void *arg,
			uint64_t *id)
{
	const struct rm_ask ask = {.verb = VERB_INFO, .name = name};

	return start_async(rm, &ask, NULL, NULL, fn, arg, id);
}

int redmutex_break_async(redmutex_t *rm, const char *name, redmutex_done_fn *fn, void *arg,
			 uint64_t *id)
{
	const struct rm_ask ask = {.verb = VERB_BREAK, .name = name};

	return start_async(rm, &ask, NULL, NULL, fn, arg, id);
}

int redmutex_ping_async(redmutex_t *rm, redmutex_done_fn *fn, void *arg, uint64_t *id)
{
	const struct rm_ask ask = {.verb = VERB_PING};

	return start_async(rm, &ask, NULL, NULL, fn, arg, id);
}

int redmutex_list_async(redmutex_t *rm, const char *pattern, redmutex_info_fn *item,
			redmutex_done_fn *fn, void *arg, uint64_t *id)
{
	const struct rm_ask ask = {.verb = VERB_LIST, .pattern = pattern};

	return start_async(rm, &ask, item, NULL, fn, arg, id);
}

int redmutex_stats_async(redmutex_t *rm, redmutex_stat_fn *item, redmutex_done_fn *fn, void *arg,
			 uint64_t *id)
{
	const struct rm_ask ask = {.verb = VERB_STATS};

	return start_async(rm, &ask, NULL, item, fn, arg, id);
}

int redmutex_cancel(redmutex_t *rm, uint64_t id)
{
	uint32_t index = (uint32_t)id, generation = (uint32_t)(id >> 32);
	int error = rm_enter(rm);

	if (error < 0)
		return error;
	if (index < rm->n_calls && rm->calls[index]->open &&
	    rm->calls[index]->generation == generation)
		error = rm_call_cancel(rm, rm->calls[index]);
	else
		error = rm_error_note(rm, REDMUTEX_EINVAL, "that request is not open");
	rm_leave(rm);
	return error;
}

int redmutex_release_nowait(redmutex_t *rm, const char *name, const char *lock)
{
	const struct rm_ask ask = {.verb = VERB_RELEASE, .name = name, .lock = lock};
	struct rm_call *call;
	int error = rm_enter(rm);

	if (error < 0)
		return error;
	error = rm_start(rm, &ask, &call);
	rm_leave(rm);
	return error;
}

/* ---- blocking ---- */

/* The list of those who wait for a reader to bring their answer. */
static void link_wait(struct redmutex *rm, struct rm_wait *wait)
{
	pthread_condattr_t attributes;

	pthread_condattr_init(&attributes);
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	pthread_cond_init(&wait->cond, &attributes);
	pthread_condattr_destroy(&attributes);
	wait->next = rm->waiting;
	rm->waiting = wait;
	wait->linked = true;
}

static void unlink_wait(struct redmutex *rm, struct rm_wait *wait)
{
	struct rm_wait **link = &rm->waiting;

	while (*link != wait)
		link = &(*link)->next;
	*link = wait->next;
	wait->linked = false;
	pthread_cond_destroy(&wait->cond);
}

/* Sleep until the reader has something for us, or leaves that to us, or it is too late. */
static void sleep_wait(struct redmutex *rm, struct rm_wait *wait, int64_t deadline_us)
{
	struct timespec until;
	int64_t left_us;

	link_wait(rm, wait);
	if (deadline_us == INT64_MAX) {
		pthread_cond_wait(&wait->cond, &rm->mutex);
	} else {
		left_us = deadline_us - redmutex_now_us();
		clock_gettime(CLOCK_MONOTONIC, &until);
		until.tv_nsec += left_us > 0 ? left_us % 1000000 * 1000 : 0;
		until.tv_sec += (left_us > 0 ? left_us / 1000000 : 0) + until.tv_nsec / 1000000000;
		until.tv_nsec %= 1000000000;
		pthread_cond_timedwait(&wait->cond, &rm->mutex, &until);
	}
	unlink_wait(rm, wait);
	/* Told to read, but done as well: somebody else must. */
	if (wait->done && rm->reading == 0 && rm->waiting != NULL)
		pthread_cond_signal(&rm->waiting->cond);
}

/* The call's answer will come too late for anybody to be interested. */
static void abandon(struct redmutex *rm, struct rm_call *call)
{
	call->audience = RM_NOBODY;
	call->wait = NULL;
	call->info_item = NULL;
	call->stat_item = NULL;
	if (call->verb == VERB_ACQUIRE)
		rm_call_cancel(rm, call);
	rm_flush(rm);
}

/* Waits for the outcome of a call. Sets wait->gone when a callback closed the connection. */
static int await(struct redmutex *rm, struct rm_call *call, struct rm_wait *wait,
		 int64_t deadline_us)
{
	call->audience = RM_BLOCKED;
	call->wait = wait;
	rm_flush(rm);
	while (!wait->done) {
		if (rm_may_read(rm)) {
			rm_reader_enter(rm);
			rm_receive(rm, true, deadline_us);
			wait->gone = !rm_reader_leave(rm);
			if (wait->gone)
				return REDMUTEX_ECLOSED;
		} else if (rm->out_len > 0) {
			rm_await_room(rm);
		} else {
			sleep_wait(rm, wait, deadline_us);
		}
		if (!wait->done && redmutex_now_us() >= deadline_us) {
			abandon(rm, call);
			return rm_error_note(rm, REDMUTEX_ETIMEDOUT,
					     "the daemon has not answered for %lld ms",
					     (long long)rm->timeout_ms);
		}
	}
	return wait->error < 0 ? rm_error_note(rm, wait->error, "%s", wait->text) : 0;
}

/* What a blocking call wants beside its request. */
struct blocking {
	struct rm_ask ask;
	int64_t wait_ms; /* what the daemon was told to wait; REDMUTEX_FOREVER */
	bool once;	 /* not to be repeated on a new connection */
	redmutex_info_fn *info_item;
	redmutex_stat_fn *stat_item;
	void *arg;
};

/* One try. Enters, and leaves unless the connection is gone. */
static int ask_once(struct redmutex *rm, const struct blocking *blocking, struct rm_wait *wait)
{
	int64_t deadline_us = INT64_MAX;
	struct rm_call *call;
	int error = rm_enter(rm);

	if (error < 0)
		return error;
	if (rm->fd < 0 && rm->reconnect_ms != 0)
		error = rm_connect_until(rm);
	if (error == 0)
		error = rm_start(rm, &blocking->ask, &call);
	if (error == 0) {
		if (rm->timeout_ms != REDMUTEX_FOREVER && blocking->wait_ms != REDMUTEX_FOREVER)
			deadline_us =
				redmutex_now_us() + (rm->timeout_ms + blocking->wait_ms) * 1000;
		call->info_item = blocking->info_item;
		call->stat_item = blocking->stat_item;
		call->arg = blocking->arg;
		error = await(rm, call, wait, deadline_us);
	}
	if (!wait->gone)
		rm_leave(rm);
	return error;
}

/*
 * Asks and waits. What may be asked twice is asked again on a new connection: once, but as often as
 * it takes where a wait is to be gone on with.
 */
static int ask(struct redmutex *rm, const struct blocking *blocking, struct rm_wait *wait)
{
	for (int tries = 1;; tries++) {
		int error;

		*wait = (struct rm_wait){.done = false};
		error = ask_once(rm, blocking, wait);
		if (error != REDMUTEX_ECLOSED || wait->gone || blocking->once ||
		    rm->reconnect_ms == 0 || (tries > 1 && blocking->wait_ms == 0))
			return error;
	}
}

int redmutex_acquire(redmutex_t *rm, const char *name, const struct redmutex_acquire_options *given,
		     struct redmutex_lock *lock)
{
	struct redmutex_acquire_options options;
	struct blocking blocking = {.ask = {.verb = VERB_ACQUIRE, .name = name}};
	struct rm_wait wait;
	int error;

	if (lock->size < rm_size_upto(struct redmutex_lock, fence))
		return rm_error_note(rm, REDMUTEX_EINVAL,
				     "the lock was not set up with REDMUTEX_LOCK_INIT");
	if (rm_acquire_options(given, &options) < 0)
		return rm_error_note(
			rm, REDMUTEX_EINVAL,
			"the options were not set up with REDMUTEX_ACQUIRE_OPTIONS_INIT");
	/* A wait that has to be begun again is not to become longer by that. */
	blocking.wait_ms = options.wait_ms;
	if (options.wait_ms > 0 && options.deadline_us == 0) {
		options.deadline_us = redmutex_now_us() + options.wait_ms * 1000;
		options.wait_ms = 0;
	} else if (options.deadline_us > 0) {
		blocking.wait_ms = (options.deadline_us - redmutex_now_us()) / 1000;
		if (blocking.wait_ms < 0)
			blocking.wait_ms = 0;
	}
	blocking.ask.options = &options;
	error = ask(rm, &blocking, &wait);
	if (error == 0)
		rm_struct_out(lock, &wait.lock, sizeof(wait.lock));
	return error;
}

int redmutex_release(redmutex_t *rm, const char *name, const char *lock)
{
	const struct blocking blocking = {
		.ask = {.verb = VERB_RELEASE, .name = name, .lock = lock}};
	struct rm_wait wait;

	return ask(rm, &blocking, &wait);
}

int redmutex_exists(redmutex_t *rm, const char *name, int *exists)
{
	const struct blocking blocking = {.ask = {.verb = VERB_EXISTS, .name = name}};
	struct rm_wait wait;
	int error = ask(rm, &blocking, &wait);

	if (error == 0)
		*exists = wait.exists;
	return error;
}

int redmutex_extend(redmutex_t *rm, const char *name, const char *lock, int64_t ttl_ms,
		    int64_t *left_ms)
{
	const struct blocking blocking = {
		.ask = {.verb = VERB_EXTEND, .name = name, .lock = lock, .ttl_ms = ttl_ms}};
	struct rm_wait wait;
	int error = ask(rm, &blocking, &wait);

	if (error == 0 && left_ms != NULL)
		*left_ms = wait.ttl_ms;
	return error;
}

int redmutex_info(redmutex_t *rm, const char *name, struct redmutex_info *info)
{
	const struct blocking blocking = {.ask = {.verb = VERB_INFO, .name = name}};
	struct rm_wait wait;
	int error;

	if (info->size < rm_size_upto(struct redmutex_info, members))
		return rm_error_note(rm, REDMUTEX_EINVAL,
				     "the info was not set up with REDMUTEX_INFO_INIT");
	error = ask(rm, &blocking, &wait);
	if (error == 0)
		rm_struct_out(info, &wait.info, sizeof(wait.info));
	return error;
}

int redmutex_list(redmutex_t *rm, const char *pattern, redmutex_info_fn *fn, void *arg)
{
	const struct blocking blocking = {
		.ask = {.verb = VERB_LIST, .pattern = pattern},
		.once = true,
		.info_item = fn,
		.arg = arg,
	};
	struct rm_wait wait;

	return ask(rm, &blocking, &wait);
}

int redmutex_stats(redmutex_t *rm, redmutex_stat_fn *fn, void *arg)
{
	const struct blocking blocking = {
		.ask = {.verb = VERB_STATS},
		.once = true,
		.stat_item = fn,
		.arg = arg,
	};
	struct rm_wait wait;

	return ask(rm, &blocking, &wait);
}

int redmutex_break(redmutex_t *rm, const char *name)
{
	const struct blocking blocking = {.ask = {.verb = VERB_BREAK, .name = name}, .once = true};
	struct rm_wait wait;

	return ask(rm, &blocking, &wait);
}

int redmutex_ping(redmutex_t *rm)
{
	const struct blocking blocking = {.ask = {.verb = VERB_PING}};
	struct rm_wait wait;

	return ask(rm, &blocking, &wait);
}

/* ---- under a lock ---- */

/* What must go back, however the body is left. */
struct held {
	struct redmutex *rm;
	const char *name;
	const char *lock;
	int error; /* out: of its release */
};

static void give_back(void *arg)
{
	struct held *held = arg;

	held->error = redmutex_release(held->rm, held->name, held->lock);
}

int redmutex_synchronize(redmutex_t *rm, const char *name,
			 const struct redmutex_acquire_options *options, redmutex_body_fn *body,
			 void *arg, int *result)
{
	struct redmutex_lock lock = REDMUTEX_LOCK_INIT;
	struct held held = {rm, name, lock.lock, 0};
	int error = redmutex_acquire(rm, name, options, &lock);
	int outcome;

	if (error < 0)
		return error;
	pthread_cleanup_push(give_back, &held);
	outcome = body(rm, &lock, arg);
	pthread_cleanup_pop(1);
	if (result != NULL)
		*result = outcome;
	return held.error;
}
