/* SPDX-License-Identifier: MIT */
/* The loop, and what is done in each of its turns. */
#include "config.h"

#include "serve/server.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "serve/command.h"
#include "serve/handover.h"
#include "serve/journal.h"
#include "serve/listener.h"
#include "serve/metrics.h"
#include "serve/owner.h"
#include "serve/server_private.h"
#include "serve/session.h"
#include "serve/stats.h"
#include "util/alloc.h"
#include "util/log.h"

#define MS_US INT64_C(1000)
#define SECOND_US (1000 * MS_US)

/* After a stop: how long holders may take to let go, and when all is over whatever happens. */
#define GRACE_US SECOND_US
#define STOP_US (1800 * MS_US)

int64_t server_now_us(struct server *server)
{
	return clock_now_us(server->env.clock);
}

/* ------------------------------------------------------------------ lists of sessions */

void server_mark_ready(struct server *server, struct session *session)
{
	if (session->ready)
		return;
	session->ready = true;
	TAILQ_INSERT_TAIL(&server->ready, session, ready_entry);
}

void server_mark_later(struct server *server, struct session *session)
{
	if (session->later)
		return;
	session->later = true;
	TAILQ_INSERT_TAIL(&server->later, session, later_entry);
}

void server_mark_dirty(struct server *server, struct session *session)
{
	if (session->dirty)
		return;
	session->dirty = true;
	TAILQ_INSERT_TAIL(&server->dirty, session, dirty_entry);
}

/* ------------------------------------------------------------------ stores and sections */

bool server_allows(const struct section *section, struct session *session)
{
	const struct section_access *mine = section->access;
	const gid_t *groups = NULL;
	size_t n = 0;

	if (!mine->access.restricted || session->peer.uid == 0)
		return true;
	if (mine->access.n_groups > 0)
		groups = peer_groups(&session->peer, session->fd, &n);
	return conf_access_allows(&mine->access, session->peer.uid, groups, n);
}

static void store_event(struct store_listener *listener, struct store *store,
			enum store_event event)
{
	struct server_store *mine = container_of(listener, struct server_store, listener);

	table_store_event(mine->server->table, store, event);
}

struct server_store *server_use_store(struct server *server, const struct store_settings *settings)
{
	struct server_store *store;

	LIST_FOREACH (store, &server->stores, entry) {
		if (store_settings_equal(&store->settings, settings))
			return store;
	}
	store = xcalloc(1, sizeof(*store));
	store->server = server;
	store->listener.event = store_event;
	store_settings_copy(&store->settings, settings);
	store->store = server->env.open_store(&server->store_env, settings, &store->listener);
	LIST_INSERT_HEAD(&server->stores, store, entry);
	return store;
}

static void store_close(struct server_store *store)
{
	LIST_REMOVE(store, entry);
	store_free(store->store);
	store_settings_deinit(&store->settings);
	free(store);
}

static void stores_reap(struct server *server)
{
	struct server_store *store, *next;

	for (store = LIST_FIRST(&server->stores); store; store = next) {
		next = LIST_NEXT(store, entry);
		if (store->n_sections == 0)
			store_close(store);
	}
}

static void section_free(struct section *section)
{
	struct section_access *mine = section->access;

	mine->store->n_sections--;
	free(mine->access.users);
	free(mine->access.groups);
	free(mine);
	free(section->name);
	free(section->key);
	free(section);
}

static void *copy_of(const void *array, size_t n, size_t size)
{
	void *copy = xcalloc(n + 1, size);

	if (n > 0)
		memcpy(copy, array, n * size);
	return copy;
}

struct section *server_make_section(struct server *server, const struct conf_mutex *conf)
{
	struct section *section = xcalloc(1, sizeof(*section));
	struct section_access *mine = xcalloc(1, sizeof(*mine));

	mine->store = server_use_store(server, &conf->store);
	mine->store->n_sections++;
	mine->access = conf->access;
	mine->access.users =
		copy_of(conf->access.users, conf->access.n_users, sizeof(*conf->access.users));
	mine->access.groups =
		copy_of(conf->access.groups, conf->access.n_groups, sizeof(*conf->access.groups));
	section->name = xstrdup(conf->name);
	section->family = conf->family;
	section->key = xstrdup(conf->key);
	section->settings = conf->settings;
	section->store = mine->store->store;
	section->access = mine;
	section->free = section_free;
	return section;
}

static void server_configure(struct server *server)
{
	const struct conf *conf = server->conf;
	struct section **sections = xcalloc(conf->n_mutexes + 1, sizeof(struct section *));

	for (size_t i = 0; i < conf->n_mutexes; i++)
		sections[i] = server_make_section(server, &conf->mutexes[i]);
	table_configure(server->table, sections, conf->n_mutexes);
	free(sections);
}

/* ------------------------------------------------------------------ time */

/* When the server has something to do of itself. */
static int64_t next_due_us(struct server *server)
{
	const struct session *stalled = TAILQ_FIRST(&server->stalled);
	int64_t due_us = table_next_us(server->table);

	if (stalled && stalled->stalled_us + SESSION_STALL_US < due_us)
		due_us = stalled->stalled_us + SESSION_STALL_US;
	if (server->phase != SERVER_RUNNING && server->phase_end_us < due_us)
		due_us = server->phase_end_us;
	if (server->handover && handover_due_us(server) < due_us)
		due_us = handover_due_us(server);
	return due_us;
}

/*
 * Sets the timer for what is due next. It is a timerfd since the loop's own timers stand still
 * while the machine sleeps. One that is set too early is left as it is: it costs a turn, which is
 * less than setting it anew for each lock that comes and goes.
 * Return: whether something is due already.
 */
static bool timer_arm(struct server *server)
{
	int64_t due_us = next_due_us(server), left_us;
	struct itimerspec when = {0};

	if (due_us == CLOCK_NEVER)
		return false;
	left_us = due_us - server_now_us(server);
	if (left_us <= 0)
		return true;
	if (due_us >= server->timer_due_us)
		return false;
	when.it_value.tv_sec = left_us / SECOND_US;
	when.it_value.tv_nsec = left_us % SECOND_US * 1000;
	if (timerfd_settime(server->timer_fd, 0, &when, NULL) < 0) {
		log_error("can't set a timer: %s", strerror(errno));
		return true;
	}
	server->timer_due_us = due_us;
	return false;
}

static void timer_cb(evutil_socket_t fd, short what, void *arg)
{
	struct server *server = arg;
	uint64_t n;

	(void)what;
	server_turn(server);
	if (read(fd, &n, sizeof(n)) == sizeof(n))
		server->timer_due_us = CLOCK_NEVER;
}

static void timer_open(struct server *server)
{
	server->timer_fd = timerfd_create(CLOCK_BOOTTIME, TFD_NONBLOCK | TFD_CLOEXEC);
	if (server->timer_fd < 0) {
		log_error("can't have a timer: %s", strerror(errno));
		abort();
	}
	server->timer_due_us = CLOCK_NEVER;
	event_assign(&server->timer_event, server->base, server->timer_fd, EV_READ | EV_PERSIST,
		     timer_cb, server);
	event_add(&server->timer_event, NULL);
}

/* ------------------------------------------------------------------ stopping */

static bool sessions_own_locks(struct server *server)
{
	const struct session *session;

	TAILQ_FOREACH (session, &server->sessions, entry) {
		if (session->holder.n_owned > 0)
			return true;
	}
	return false;
}

static bool sessions_wait(struct server *server)
{
	const struct session *session;

	TAILQ_FOREACH (session, &server->sessions, entry) {
		if (session->n_open > 0)
			return true;
	}
	return false;
}

/* Goes on to the next phase of a stop if its time has come. Return: whether it has. */
static bool stop_step(struct server *server)
{
	bool over = server_now_us(server) >= server->phase_end_us;

	if (server->phase == SERVER_GRACE && (over || !sessions_own_locks(server))) {
		table_stop_release(server->table);
		server->phase = SERVER_RELEASING;
		server->phase_end_us += STOP_US - GRACE_US;
		return true;
	}
	if (server->phase == SERVER_RELEASING &&
	    (over || (table_stopped(server->table) && !sessions_wait(server)))) {
		if (!table_stopped(server->table))
			log_warning("stopping before every store was told: what is left there is "
				    "removed at the next start, or expires");
		table_abandon(server->table);
		server->phase = SERVER_STOPPED;
		return true;
	}
	return false;
}

void server_stop(struct server *server)
{
	if (server->phase != SERVER_RUNNING)
		return;
	log_info("stopping");
	handover_cancel(server);
	listener_close(server->listener);
	server->listener = NULL;
	table_stop(server->table);
	server->phase = SERVER_GRACE;
	server->phase_end_us = server_now_us(server) + GRACE_US;
}

/* ------------------------------------------------------------------ draining */

void server_drain(struct server *server, bool drain)
{
	struct session *session;

	server->draining = drain;
	listener_suspend(server->listener, drain);
	if (drain)
		return;
	TAILQ_FOREACH (session, &server->sessions, entry)
		session_resume(session);
}

/* ------------------------------------------------------------------ the turn */

void server_turn(struct server *server)
{
	server->n_entries++;
	if (server->turn_from_us == 0)
		server->turn_from_us = server_now_us(server);
	table_turn(server->table);
}

void server_heard(struct server *server)
{
	struct server_store *store;

	if (++server->n_heard % SERVER_HEARD_AHEAD != 0)
		return;
	LIST_FOREACH (store, &server->stores, entry)
		store_flush(store->store);
}

static void turn_cb(void *arg)
{
	server_turn(arg);
}

/* Lets everybody work on what the others did. Return: whether there was anything. */
static bool work_round(struct server *server)
{
	bool worked = table_deliver(server->table);
	struct server_store *store;
	struct session *session;

	while (!server->draining && (session = TAILQ_FIRST(&server->ready))) {
		TAILQ_REMOVE(&server->ready, session, ready_entry);
		session->ready = false;
		session_run(session);
		worked = true;
	}
	LIST_FOREACH (store, &server->stores, entry)
		worked |= store_flush(store->store);
	return worked;
}

/* Writes to the clients; closes those that are through. */
static void settle_sessions(struct server *server)
{
	struct session *session;

	while ((session = TAILQ_FIRST(&server->dirty))) {
		TAILQ_REMOVE(&server->dirty, session, dirty_entry);
		session->dirty = false;
		session_settle(session);
	}
}

static void reap(struct server *server)
{
	struct session *session, *next;

	for (session = TAILQ_FIRST(&server->dead); session; session = next) {
		next = TAILQ_NEXT(session, entry);
		session_reap(session);
	}
	owner_reap(server);
	stores_reap(server);
}

static void hear_stalled(struct server *server)
{
	const int64_t since_us = server_now_us(server) - SESSION_STALL_US;
	struct session *session;

	while ((session = TAILQ_FIRST(&server->stalled)) && session->stalled_us <= since_us)
		session_lose_patience(session);
}

/* Sees what this turn was like, which says how requests are best read: see session_peek(). */
static void note_turn(struct server *server)
{
	const struct server_store *store;
	uint64_t n_written = 0;

	LIST_FOREACH (store, &server->stores, entry)
		n_written += store->store->stats.commands;
	if (server->n_heard > 0) {
		server->crowded = server->n_heard >= SERVER_CROWD;
		if (n_written != server->n_written)
			server->n_asking = SERVER_ASKING_TURNS;
		else if (server->n_asking > 0)
			server->n_asking--;
	}
	server->n_written = n_written;
	server->n_heard = 0;
}

/* All that follows from what the loop has brought. Return: whether there is more to do at once. */
static bool end_turn(struct server *server)
{
	struct session *session;

	table_turn(server->table);
	if (!TAILQ_EMPTY(&server->stalled))
		hear_stalled(server);
	do {
		do {
			while (work_round(server))
				;
		} while (stop_step(server));
		note_turn(server);
		settle_sessions(server);
	} while (!TAILQ_EMPTY(&server->ready) && !server->draining);
	reap(server);

	server->stats.turns++;
	if (server->handover && handover_step(server))
		return true;
	if (TAILQ_EMPTY(&server->later) || server->draining)
		return timer_arm(server);
	while ((session = TAILQ_FIRST(&server->later))) {
		TAILQ_REMOVE(&server->later, session, later_entry);
		session->later = false;
		server_mark_ready(server, session);
	}
	return true;
}

/* Looks again and again for a while before the loop goes to sleep. Return: whether anything came.
 */
static bool poll_busily(struct server *server)
{
	const int64_t until_us = server_now_us(server) + server->conf->busy_poll_us;
	const uint64_t before = server->n_entries;

	do {
		event_base_loop(server->base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
		if (server->n_entries != before)
			return true;
	} while (server_now_us(server) < until_us);
	return false;
}

/* Notes how long the turn took. With more to do at once the next one begins here. */
static void measure_turn(struct server *server, bool busy)
{
	int64_t now_us;

	if (server->turn_from_us == 0 && !busy)
		return;
	now_us = server_now_us(server);
	if (server->turn_from_us != 0)
		stats_count_turn(server, now_us - server->turn_from_us);
	server->turn_from_us = busy ? now_us : 0;
}

void server_run(struct server *server)
{
	if (!server->metrics)
		server->metrics = metrics_open(server);
	for (;;) {
		bool busy = end_turn(server);

		measure_turn(server, busy);
		if (server->phase == SERVER_STOPPED)
			return;
		if (!busy && server->conf->busy_poll_us > 0 && poll_busily(server))
			continue;
		event_base_loop(server->base, EVLOOP_ONCE | (busy ? EVLOOP_NONBLOCK : 0));
	}
}

/* ------------------------------------------------------------------ configuration */

static void log_frozen(void *arg, const char *key)
{
	(void)arg;
	log_warning("%s has changed, which takes effect when the daemon is started again", key);
}

void server_reload(struct server *server, struct conf *conf)
{
	struct conf *old = server->conf;
	struct session *session;

	if (server->phase != SERVER_RUNNING) {
		conf_free(conf); /* what is left to do is done by the old one */
		return;
	}
	conf_frozen_changes(old, conf, log_frozen, NULL);
	server->conf = conf;
	log_set_level(conf->log_level);
	server_configure(server);
	TAILQ_FOREACH (session, &server->sessions, entry)
		command_check_access(session);
	metrics_reload(server->metrics);
	server->stats.reloads++;
	conf_free(old);
	log_info("%s: read again, %zu sections", conf->path, conf->n_mutexes);
}

/* ------------------------------------------------------------------ birth and end */

static void trace(const struct mutex *mutex, enum mutex_state from, enum mutex_state to)
{
	log_debug("%s: %s -> %s", mutex_name(mutex), mutex_state_word(from), mutex_state_word(to));
}

struct event_base *server_base_new(void)
{
	struct event_config *config = event_config_new();
	struct event_base *base = NULL;

	/* Sessions need both features of epoll: see session_open(). One thread needs no locks. */
	if (config &&
	    !event_config_require_features(config, EV_FEATURE_ET | EV_FEATURE_EARLY_CLOSE) &&
	    !event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK))
		base = event_base_new_with_config(config);
	if (!base) {
		log_error("can't have an event loop: %s", strerror(errno));
		abort();
	}
	event_config_free(config);
	return base;
}

static void make_id(struct server *server)
{
	unsigned char bytes[16];

	server->env.entropy->fill(server->env.entropy, bytes, sizeof(bytes));
	for (size_t i = 0; i < sizeof(bytes); i++)
		snprintf(server->store_env.daemon_id + 2 * i, 3, "%02x", bytes[i]);
	server->env.entropy->fill(server->env.entropy, &server->tag_seed, sizeof(server->tag_seed));
}

struct server *server_new(const struct server_env *env, struct event_base *base, struct conf *conf)
{
	struct server *server = xcalloc(1, sizeof(*server));
	struct table_env table_env = {
		.clock = env->clock,
		.entropy = env->entropy,
		.journal = env->journal ? journal_interface(env->journal) : NULL,
		.trace = trace,
	};

	server->env = *env;
	server->base = base;
	server->conf = conf;
	server->store_env = (struct store_env){
		.base = base,
		.clock = env->clock,
		.entropy = env->entropy,
		.turn = turn_cb,
		.arg = server,
	};
	make_id(server);
	gethostname(server->host, sizeof(server->host) - 1);
	TAILQ_INIT(&server->sessions);
	TAILQ_INIT(&server->ready);
	TAILQ_INIT(&server->later);
	TAILQ_INIT(&server->dirty);
	TAILQ_INIT(&server->stalled);
	TAILQ_INIT(&server->dead);
	TAILQ_INIT(&server->free_calls);
	server->stats.started_us = server_now_us(server);
	timer_open(server);
	server->table = table_new(&table_env);
	server_configure(server);
	return server;
}

/* Who holds a lock of the last process: a connection can't any more. */
static struct holder *find_heir(void *arg, const struct journal_entry *entry)
{
	struct server *server = arg;
	struct owner *owner;

	switch (entry->kind) {
	case HOLDER_NOBODY:
		return table_nobody(server->table);
	case HOLDER_PID:
		owner = entry->same_boot ? owner_find(server, entry->pid, entry->born) : NULL;
		return owner ? &owner->holder : NULL;
	default:
		return NULL;
	}
}

int server_listen(struct server *server)
{
	int error;

	if (server->env.listen_fd >= 0)
		error = listener_adopt(server, server->env.listen_fd, &server->listener);
	else
		error = listener_bind(server, server->conf, &server->listener);
	/* Whoever connects now is not served before the loop turns. */
	if (!error && server->env.journal)
		journal_recover(server->env.journal, server->table, find_heir, server);
	return error;
}

void server_free(struct server *server)
{
	struct server_store *store;
	struct session *session;
	struct call *call;

	if (!server)
		return;
	handover_cancel(server);
	metrics_close(server->metrics);
	server->metrics = NULL;
	listener_close(server->listener);
	server->listener = NULL;
	table_abandon(server->table);
	while ((session = TAILQ_FIRST(&server->sessions)))
		session_kill(session);
	table_deliver(server->table);
	reap(server);
	assert(TAILQ_EMPTY(&server->dead));
	owner_free_all(server);

	/* Stores first: their last answers go to the mutexes. Sections point to their entries. */
	LIST_FOREACH (store, &server->stores, entry) {
		store_free(store->store);
		store->store = NULL;
	}
	table_free(server->table);
	stores_reap(server);
	while ((call = TAILQ_FIRST(&server->free_calls))) {
		TAILQ_REMOVE(&server->free_calls, call, entry);
		free(call);
	}
	buffer_pool_deinit(&server->buffers);
	event_del(&server->timer_event);
	close(server->timer_fd);
	conf_free(server->conf);
	free(server);
}
