/* SPDX-License-Identifier: MIT */
/*
 * What travels of a server. Things are named by numbers that count up from 1 in the order in which
 * they are written; calls follow their session, what a store keeps follows the store.
 */
#include "config.h"

#include "serve/handover_state.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "core/table_save.h"
#include "serve/command.h"
#include "serve/journal.h"
#include "serve/list.h"
#include "serve/listener.h"
#include "serve/metrics.h"
#include "serve/owner.h"
#include "serve/server_private.h"
#include "serve/session.h"
#include "util/alloc.h"
#include "util/log.h"
#include "util/record.h"

/* Users and groups that one section may name. */
enum { ACCESS_MAX = 65536 };

/* Holders: 1 is nobody, even numbers are sessions, odd ones processes. */
enum { NOBODY = 1 };

/* ------------------------------------------------------------------ saving */

struct save {
	struct table_namer namer;
	struct server *server;
	struct record_writer *w;
	struct handover_fds *fds;
	/* Those that were named: the configuration's, and older ones that something belongs to. */
	const struct section **sections;
	size_t n_sections;
};

static void keep_fd(void *arg, int fd)
{
	struct handover_fds *fds = arg;

	if (fds->n == fds->size) {
		fds->size = fds->size ? 2 * fds->size : 64;
		fds->fds = xrealloc(fds->fds, fds->size, sizeof(*fds->fds));
	}
	fds->fds[fds->n++] = fd;
}

static uint64_t name_holder(struct table_namer *namer, const struct holder *holder)
{
	(void)namer;
	switch (holder->kind) {
	case HOLDER_CONNECTION:
		return 2 * container_of(holder, const struct session, holder)->save_id;
	case HOLDER_PID:
		return 2 * container_of(holder, const struct owner, holder)->save_id + 1;
	case HOLDER_NOBODY:
		break;
	}
	return NOBODY;
}

/* The looks of a LIST are not calls: it asks them anew. */
static uint64_t name_ask(struct table_namer *namer, const struct ask *ask)
{
	(void)namer;
	return ask->done == command_done ? container_of(ask, const struct call, ask)->save_id : 0;
}

static uint64_t name_section(struct table_namer *namer, const struct section *section)
{
	struct save *save = container_of(namer, struct save, namer);
	struct section_access *mine = section->access;

	if (mine->save_id == 0) {
		save->sections =
			xrealloc(save->sections, save->n_sections + 1, sizeof(*save->sections));
		save->sections[save->n_sections++] = section;
		mine->save_id = save->n_sections;
	}
	return mine->save_id;
}

static void save_store(struct save *save, struct server_store *store, uint64_t id)
{
	struct record_writer *w = save->w;
	const struct store_stats *stats = &store->store->stats;

	store->save_id = id;
	record_begin(w, "store");
	record_put_number(w, "id", (int64_t)id);
	store_settings_save(&store->settings, w);
	record_put_number(w, "commands", (int64_t)stats->commands);
	record_put_number(w, "replies", (int64_t)stats->replies);
	record_put_number(w, "errors", (int64_t)stats->errors);
	record_put_number(w, "timeouts", (int64_t)stats->timeouts);
	record_put_number(w, "connects", (int64_t)stats->connects);
	record_put_number(w, "disconnects", (int64_t)stats->disconnects);
	record_put_number(w, "latency_us_sum", (int64_t)stats->latency_us_sum);
	record_put_numbers(w, "latency_buckets", stats->latency_buckets,
			   sizeof(stats->latency_buckets) / sizeof(*stats->latency_buckets));
	record_end(w);
	if (store->store->class->save)
		store->store->class->save(store->store, w);
}

/* Ids, one more than they are, so that none is 0. */
static void put_ids(struct record_writer *w, const char *key, const void *ids, size_t n, bool users)
{
	uint64_t *numbers = xcalloc(n + 1, sizeof(*numbers));

	for (size_t i = 0; i < n; i++)
		numbers[i] =
			1 + (uint64_t)(users ? ((const uid_t *)ids)[i] : ((const gid_t *)ids)[i]);
	record_put_numbers(w, key, numbers, n);
	free(numbers);
}

/* All of a section, for the case that the next program's configuration does not have it. */
static void save_section(struct save *save, const struct section *section)
{
	struct record_writer *w = save->w;
	const struct mutex_settings *settings = &section->settings;
	const struct section_access *mine = section->access;

	record_begin(w, "section");
	record_put_number(w, "id", (int64_t)mine->save_id);
	record_put_number(w, "store", (int64_t)mine->store->save_id);
	record_put_text(w, "name", section->name);
	record_put_number(w, "family", section->family);
	record_put_text(w, "key", section->key);
	record_put_number(w, "ttl_ms", settings->ttl_ms);
	record_put_number(w, "renew", settings->renew);
	record_put_number(w, "fence", settings->fence);
	record_put_number(w, "handoff_local", settings->handoff == HANDOFF_LOCAL);
	record_put_number(w, "handoff_limit", settings->handoff_limit);
	record_put_number(w, "linger_ms", settings->linger_ms);
	record_put_number(w, "command_timeout_ms", settings->command_timeout_ms);
	record_put_number(w, "announce", settings->announce);
	record_put_number(w, "max_waiters", settings->max_waiters);
	record_put_number(w, "restricted", mine->access.restricted);
	put_ids(w, "users", mine->access.users, mine->access.n_users, true);
	put_ids(w, "groups", mine->access.groups, mine->access.n_groups, false);
	record_end(w);
}

static void save_sections(struct save *save)
{
	for (size_t i = 0; i < save->n_sections; i++)
		save_section(save, save->sections[i]);
	for (size_t i = 0; i < save->n_sections; i++)
		((struct section_access *)save->sections[i]->access)->save_id = 0;
	free(save->sections);
}

static void save_owners(struct save *save)
{
	struct record_writer *w = save->w;
	struct owner *owner, *next;
	uint64_t id = 0;

	HASH_ITER (hh, save->server->owners, owner, next) {
		owner->save_id = ++id;
		record_begin(w, "owner");
		record_put_number(w, "id", (int64_t)id);
		record_put_number(w, "pid", owner->pid);
		record_put_number(w, "uid", owner->uid);
		record_put_number(w, "born", (int64_t)owner->holder.born);
		record_put_number(w, "fd", owner->pidfd);
		record_end(w);
		keep_fd(save->fds, owner->pidfd);
	}
}

/* What nobody waits for is not needed; but QUIT waits for what it releases. */
static bool call_travels(const struct call *call)
{
	return call->open || (call->verb == VERB_RELEASE && call->session->quit);
}

static void save_call(struct save *save, struct call *call)
{
	struct record_writer *w = save->w;
	const struct ask *ask = &call->ask;

	record_begin(w, "call");
	record_put_number(w, "id", (int64_t)call->save_id);
	record_put_text(w, "verb", verb_word(call->verb));
	record_put_number(w, "open", call->open);
	record_put_bytes(w, "tag", call->tag, call->tag_len);
	record_put_text(w, "note", call->note);
	record_put_text(w, "announce", call->announce);
	if (call->verb == VERB_ACQUIRE) {
		record_put_number(w, "owner", (int64_t)name_holder(&save->namer, ask->owner));
		record_put_number(w, "waits", call->waits);
		record_put_number(w, "renew", ask->renew);
	}
	record_put_number(w, "ttl_ms", ask->ttl_ms);
	if (*ask->string)
		record_put_text(w, "string", ask->string);
	record_end(w);
	if (call->list)
		list_save(call, w);
}

static void save_session(struct save *save, struct session *session)
{
	struct record_writer *w = save->w;
	struct call *call;

	record_begin(w, "session");
	record_put_number(w, "id", (int64_t)session->save_id);
	record_put_number(w, "fd", session->fd);
	record_put_number(w, "pid", session->peer.pid);
	record_put_number(w, "uid", session->peer.uid);
	record_put_number(w, "gid", session->peer.gid);
	record_put_number(w, "closing", session->state == SESSION_CLOSING);
	record_put_number(w, "dropped", session->holder.gone);
	record_put_number(w, "hung_up", session->hung_up);
	record_put_number(w, "eof", session->eof);
	record_put_number(w, "gone", session->gone || !session_consume(session));
	record_put_number(w, "patience_over", session->patience_over);
	if (session->in.len > 0)
		record_put_bytes(w, "in", buffer_bytes(&session->in), session->in.len);
	if (session->out.len > 0)
		record_put_bytes(w, "out", buffer_bytes(&session->out), session->out.len);
	record_end(w);
	keep_fd(save->fds, session->fd);
	TAILQ_FOREACH (call, &session->calls, entry) {
		if (call->save_id != 0)
			save_call(save, call);
	}
}

/* What is closed has no name: nothing that travels belongs to it. */
static void name_sessions(struct server *server)
{
	uint64_t session_id = 0, call_id = 0;
	struct session *session;
	struct call *call;

	TAILQ_FOREACH (session, &server->sessions, entry) {
		session->save_id = ++session_id;
		TAILQ_FOREACH (call, &session->calls, entry)
			call->save_id = call_travels(call) ? ++call_id : 0;
	}
	TAILQ_FOREACH (session, &server->dead, entry) {
		session->save_id = 0;
		TAILQ_FOREACH (call, &session->calls, entry)
			call->save_id = 0;
	}
}

static void save_count(struct record_writer *w, const char *type, const char *word, uint64_t n)
{
	if (n == 0)
		return;
	record_begin(w, type);
	record_put_text(w, "word", word);
	record_put_number(w, "n", (int64_t)n);
	record_end(w);
}

static void save_counters(struct save *save)
{
	struct record_writer *w = save->w;
	const struct server_stats *stats = &save->server->stats;

	record_begin(w, "server");
	record_put_number(w, "clients_accepted", (int64_t)stats->clients_accepted);
	record_put_number(w, "clients_refused", (int64_t)stats->clients_refused);
	record_put_number(w, "clients_dropped", (int64_t)stats->clients_dropped);
	record_put_number(w, "turns", (int64_t)stats->turns);
	record_put_number(w, "reloads", (int64_t)stats->reloads);
	record_put_number(w, "upgrades", (int64_t)stats->upgrades);
	record_put_number(w, "started_us", stats->started_us);
	record_put_number(w, "turn_us_sum", (int64_t)stats->turn_us_sum);
	record_put_numbers(w, "turn_buckets", stats->turn_buckets,
			   sizeof(stats->turn_buckets) / sizeof(*stats->turn_buckets));
	record_end(w);
	for (int i = 0; i < N_VERBS; i++)
		save_count(w, "requests", verb_word((enum verb)i), stats->requests[i]);
	for (int i = 1; i < N_PROTO_ERRORS; i++)
		save_count(w, "errors", proto_error_word((enum proto_error)i), stats->errors[i]);
}

void server_save(struct server *server, struct record_writer *w, struct handover_fds *fds)
{
	struct save save = {
		.namer = {.holder = name_holder, .ask = name_ask, .section = name_section},
		.server = server,
		.w = w,
		.fds = fds,
	};
	struct server_store *store;
	struct session *session;
	uint64_t id = 0;

	save_counters(&save);
	record_begin(w, "listener");
	listener_save(server->listener, w, keep_fd, fds);
	record_end(w);
	record_begin(w, "metrics");
	metrics_save(server->metrics, w, keep_fd, fds);
	record_end(w);
	if (server->env.journal) {
		record_begin(w, "journal");
		record_put_number(w, "fd", journal_fd(server->env.journal));
		record_put_text(w, "path", journal_path(server->env.journal));
		record_end(w);
		keep_fd(fds, journal_fd(server->env.journal));
	}
	LIST_FOREACH (store, &server->stores, entry)
		save_store(&save, store, ++id);
	save_owners(&save);
	name_sessions(server);
	TAILQ_FOREACH (session, &server->sessions, entry)
		save_session(&save, session);
	table_save(server->table, w, &save.namer);
	save_sections(&save);
}

/* ------------------------------------------------------------------ loading */

/* Things by their numbers, 1 to n. */
struct names {
	void **things;
	size_t n;
};

struct load {
	struct table_finder finder;
	struct server *server;
	const struct record *record;
	bool rehearse;
	struct names stores, sections, owners, sessions, calls;
	struct server_store *store; /* whose content comes */
	struct session *session;    /* whose calls come */
	char *why;
	size_t size;
};

static bool refuse(struct load *load, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* Return: false. */
static bool refuse(struct load *load, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(load->why, load->size, format, args);
	va_end(args);
	return false;
}

static int64_t get(const struct load *load, const char *key, int64_t max)
{
	return record_number_within(load->record, key, 0, max, 0);
}

static bool flag(const struct load *load, const char *key)
{
	return record_number(load->record, key) != 0;
}

/* Return: false when its number is not the next one. */
static bool names_add(struct load *load, struct names *names, void *thing)
{
	if ((uint64_t)record_number(load->record, "id") != names->n + 1)
		return refuse(load, "a %.*s is out of order", (int)load->record->type.len,
			      load->record->type.at);
	if ((names->n & (names->n + 1)) == 0) /* as often as its size doubles */
		names->things = xrealloc(names->things, 2 * names->n + 2, sizeof(*names->things));
	names->things[names->n++] = thing;
	return true;
}

static void *names_find(const struct names *names, uint64_t name)
{
	return name >= 1 && name <= names->n ? names->things[name - 1] : NULL;
}

static struct holder *find_holder(struct table_finder *finder, uint64_t name)
{
	struct load *load = container_of(finder, struct load, finder);
	struct session *session;
	struct owner *owner;

	if (name == NOBODY)
		return table_nobody(load->server->table);
	if (name % 2) {
		owner = names_find(&load->owners, name / 2);
		return owner ? &owner->holder : NULL;
	}
	session = names_find(&load->sessions, name / 2);
	return session ? &session->holder : NULL;
}

static struct ask *find_ask(struct table_finder *finder, uint64_t name)
{
	struct load *load = container_of(finder, struct load, finder);
	struct call *call = names_find(&load->calls, name);

	return call ? &call->ask : NULL;
}

static struct section *find_section(struct table_finder *finder, uint64_t name)
{
	return names_find(&container_of(finder, struct load, finder)->sections, name);
}

/* The descriptor that a field names. Return: -1 when there is none. */
static int load_fd(struct load *load, const char *key)
{
	int fd = (int)get(load, key, INT32_MAX);

	if (!record_has(load->record, key))
		return -1;
	if (load->rehearse)
		return eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	return fd > STDERR_FILENO && fcntl(fd, F_SETFD, FD_CLOEXEC) == 0 ? fd : -1;
}

static bool load_listener(struct load *load)
{
	struct server *server = load->server;
	const int fd = load_fd(load, "fd"), lock_fd = load_fd(load, "lock_fd");
	char *path;

	if (server->listener || fd < 0)
		return refuse(load, "the listening socket is missing");
	path = record_text(load->record, "path");
	server->listener = listener_inherit(server, fd, path, lock_fd);
	if (path && strcmp(path, server->conf->socket_path) != 0)
		log_warning("socket has changed, which takes effect when the daemon is started "
			    "again");
	free(path);
	return true;
}

/* Without it the metrics are merely gone for a moment. */
static bool load_metrics(struct load *load)
{
	struct server *server = load->server;
	char *place = load->rehearse ? NULL : record_text(load->record, "place");
	const int fd = place && *place ? load_fd(load, "fd") : -1;

	if (fd >= 0 && !server->metrics)
		server->metrics = metrics_inherit(server, place, fd);
	free(place);
	return true;
}

static bool load_store(struct load *load)
{
	struct store_settings settings;
	struct store_stats *stats;
	char text[256];
	bool good;

	store_settings_load(&settings, load->record);
	good = store_settings_check(&settings, text, sizeof(text));
	load->store = good ? server_use_store(load->server, &settings) : NULL;
	store_settings_deinit(&settings);
	if (!good)
		return refuse(load, "a store of before can't be opened: %s", text);
	stats = &load->store->store->stats;
	stats->commands += (uint64_t)get(load, "commands", INT64_MAX);
	stats->replies += (uint64_t)get(load, "replies", INT64_MAX);
	stats->errors += (uint64_t)get(load, "errors", INT64_MAX);
	stats->timeouts += (uint64_t)get(load, "timeouts", INT64_MAX);
	stats->connects += (uint64_t)get(load, "connects", INT64_MAX);
	stats->disconnects += (uint64_t)get(load, "disconnects", INT64_MAX);
	stats->latency_us_sum += (uint64_t)get(load, "latency_us_sum", INT64_MAX);
	record_numbers(load->record, "latency_buckets", stats->latency_buckets,
		       sizeof(stats->latency_buckets) / sizeof(*stats->latency_buckets));
	return names_add(load, &load->stores, load->store);
}

static bool load_stored(struct load *load)
{
	if (load->store && load->store->store->class->load)
		load->store->store->class->load(load->store->store, load->record);
	return true;
}

/* Users or groups: both are numbers of one size. Return: owned, *n of them. */
static uint32_t *load_ids(const struct load *load, const char *key, size_t *n)
{
	uint64_t *numbers = xcalloc(ACCESS_MAX, sizeof(*numbers));
	uint32_t *ids;

	*n = record_numbers(load->record, key, numbers, ACCESS_MAX);
	ids = xcalloc(*n + 1, sizeof(*ids));
	for (size_t i = 0; i < *n; i++)
		ids[i] = (uint32_t)(numbers[i] - 1);
	free(numbers);
	return ids;
}

_Static_assert(sizeof(uid_t) == sizeof(uint32_t) && sizeof(gid_t) == sizeof(uint32_t),
	       "users and groups are 32-bit numbers");

static void load_settings(const struct load *load, struct mutex_settings *settings)
{
	const struct record *record = load->record;

	*settings = (struct mutex_settings){
		.ttl_ms = record_number_within(record, "ttl_ms", 10, PROTO_TTL_MAX_MS, 10),
		.renew = flag(load, "renew"),
		.fence = flag(load, "fence"),
		.handoff = flag(load, "handoff_local") ? HANDOFF_LOCAL : HANDOFF_STORE,
		.handoff_limit =
			(uint32_t)record_number_within(record, "handoff_limit", 1, UINT32_MAX, 1),
		.linger_ms = get(load, "linger_ms", PROTO_TTL_MAX_MS),
		.command_timeout_ms =
			record_number_within(record, "command_timeout_ms", 1, INT32_MAX, 1000),
		.announce = flag(load, "announce"),
		.max_waiters = (uint32_t)get(load, "max_waiters", UINT32_MAX),
	};
}

static bool load_section(struct load *load)
{
	const struct server_store *store =
		names_find(&load->stores, (uint64_t)get(load, "store", INT64_MAX));
	struct conf_mutex conf = {
		.name = record_text(load->record, "name"),
		.family = flag(load, "family"),
		.key = record_text(load->record, "key"),
		.access = {.restricted = flag(load, "restricted")},
	};
	const bool good = store && conf.name && *conf.name && conf.key && *conf.key;
	struct section *section;

	if (good) {
		load_settings(load, &conf.settings);
		conf.store = store->settings;
		conf.access.users = load_ids(load, "users", &conf.access.n_users);
		conf.access.groups = load_ids(load, "groups", &conf.access.n_groups);
		section = section_ref(server_make_section(load->server, &conf));
		free(conf.access.users);
		free(conf.access.groups);
	}
	free(conf.name);
	free(conf.key);
	return good ? names_add(load, &load->sections, section)
		    : refuse(load, "a section of before is incomplete");
}

static bool load_owner(struct load *load)
{
	const pid_t pid = (pid_t)get(load, "pid", INT32_MAX);
	const uid_t uid = (uid_t)get(load, "uid", UINT32_MAX);
	const int fd = load_fd(load, "fd");
	struct owner *owner;

	HASH_FIND(hh, load->server->owners, &pid, sizeof(pid), owner);
	if (fd < 0 || pid == 0 || owner)
		return refuse(load, "a process that owns locks is not known");
	owner = owner_inherit(load->server, pid, uid, (uint64_t)get(load, "born", INT64_MAX), fd);
	return names_add(load, &load->owners, owner);
}

static bool load_buffer(struct load *load, const char *key, struct buffer *buffer)
{
	size_t len;
	char *bytes = record_bytes(load->record, key, &len);
	bool good = bytes ? buffer_append(&load->server->buffers, buffer, bytes, len)
			  : !record_has(load->record, key);

	free(bytes);
	return good || refuse(load, "what a client sent, or was to read, is incomplete");
}

static bool load_session(struct load *load)
{
	struct server *server = load->server;
	const struct peer peer = {
		.pid = (pid_t)get(load, "pid", INT32_MAX),
		.uid = (uid_t)get(load, "uid", UINT32_MAX),
		.gid = (gid_t)get(load, "gid", UINT32_MAX),
	};
	const int fd = load_fd(load, "fd");
	struct session *session;

	if (fd < 0 || session_open(server, fd, &peer) < 0)
		return refuse(load, "the connection of process %d can't be taken over: %s",
			      (int)peer.pid, fd < 0 ? "it is closed" : strerror(errno));
	session = TAILQ_LAST(&server->sessions, session_list);
	session->state = flag(load, "closing") ? SESSION_CLOSING : SESSION_LIVE;
	session->holder.gone = flag(load, "dropped");
	session->hung_up = flag(load, "hung_up");
	session->eof = flag(load, "eof");
	session->gone = flag(load, "gone");
	session->patience_over = flag(load, "patience_over");
	load->session = session;
	return load_buffer(load, "in", &session->in) && load_buffer(load, "out", &session->out) &&
	       names_add(load, &load->sessions, session);
}

/* Whose lock it will be, as command_acquire() has it. */
static bool load_acquire(struct load *load, struct call *call)
{
	struct session *session = call->session;
	struct holder *owner = find_holder(&load->finder, (uint64_t)get(load, "owner", INT64_MAX));

	if (!owner || (owner->kind == HOLDER_CONNECTION && owner != &session->holder))
		return refuse(load, "who is to own a lock is not known");
	call->ask.owner = owner;
	call->ask.acquirer = &session->holder;
	call->ask.asker = (struct asker){.pid = session->peer.pid, .uid = session->peer.uid};
	call->ask.renew = flag(load, "renew");
	call->ask.note = call->note;
	call->ask.announce = call->announce;
	if (owner->kind == HOLDER_PID)
		owner_add_call(container_of(owner, struct owner, holder), call);
	call->detached = owner != &session->holder;
	call->waits = flag(load, "waits");
	session->n_acquires++;
	session->n_waits += call->waits;
	session->user->n_detached_acquires += call->detached;
	return true;
}

static bool load_call(struct load *load)
{
	struct session *session = load->session;
	struct request request = {0};
	char verb[32], tag[PROTO_TAG_MAX + 1];
	struct call *call;
	int found = -1;

	if (record_copy_text(load->record, "verb", verb, sizeof(verb)))
		found = verb_find((struct span){verb, strlen(verb)});
	if (found < 0 || !session || !record_copy_text(load->record, "tag", tag, sizeof(tag)))
		return refuse(load, "a request of before is not known: %s", verb);
	request.verb = (enum verb)found;
	request.tag = (struct span){tag, strlen(tag)};
	if (request.tag.len > 0 && call_find(session, request.tag))
		return refuse(load, "two requests have one tag");
	if (flag(load, "open"))
		call = call_new(session, &request);
	else
		call = request.verb == VERB_RELEASE ? call_new_silent(session) : NULL;
	if (!call)
		return refuse(load, "a request of before can't be taken over");
	if (request.verb == VERB_QUIT)
		session->quit = call;
	call->note = record_text(load->record, "note");
	call->announce = record_text(load->record, "announce");
	call->ask.ttl_ms = get(load, "ttl_ms", PROTO_TTL_MAX_MS);
	if (!record_copy_text(load->record, "string", call->ask.string, sizeof(call->ask.string)))
		return refuse(load, "a lock string is too long");
	return names_add(load, &load->calls, call) &&
	       (request.verb != VERB_ACQUIRE || load_acquire(load, call));
}

static bool load_server(struct load *load)
{
	struct server_stats *stats = &load->server->stats;

	stats->clients_accepted = (uint64_t)get(load, "clients_accepted", INT64_MAX);
	stats->clients_refused = (uint64_t)get(load, "clients_refused", INT64_MAX);
	stats->clients_dropped = (uint64_t)get(load, "clients_dropped", INT64_MAX);
	stats->turns = (uint64_t)get(load, "turns", INT64_MAX);
	stats->reloads = (uint64_t)get(load, "reloads", INT64_MAX);
	stats->upgrades = (uint64_t)get(load, "upgrades", INT64_MAX) + 1;
	stats->started_us = get(load, "started_us", INT64_MAX);
	stats->turn_us_sum = (uint64_t)get(load, "turn_us_sum", INT64_MAX);
	record_numbers(load->record, "turn_buckets", stats->turn_buckets,
		       sizeof(stats->turn_buckets) / sizeof(*stats->turn_buckets));
	return true;
}

static bool load_requests(struct load *load)
{
	for (int i = 0; i < N_VERBS; i++) {
		char word[64];

		if (record_copy_text(load->record, "word", word, sizeof(word)) &&
		    strcmp(word, verb_word((enum verb)i)) == 0)
			load->server->stats.requests[i] = (uint64_t)get(load, "n", INT64_MAX);
	}
	return true;
}

static bool load_errors(struct load *load)
{
	for (int i = 1; i < N_PROTO_ERRORS; i++) {
		char word[64];

		if (record_copy_text(load->record, "word", word, sizeof(word)) &&
		    strcmp(word, proto_error_word((enum proto_error)i)) == 0)
			load->server->stats.errors[i] = (uint64_t)get(load, "n", INT64_MAX);
	}
	return true;
}

/* LISTs go on, when the mutexes are there that they were at. */
static bool load_list(struct load *load)
{
	struct call *call = names_find(&load->calls, (uint64_t)get(load, "call", INT64_MAX));

	if (!call || call->verb != VERB_LIST || call->list || !list_load(call, load->record))
		return refuse(load, "a LIST can't be taken over");
	return true;
}

static bool load_look(struct load *load)
{
	struct call *call = names_find(&load->calls, (uint64_t)get(load, "call", INT64_MAX));
	char *name = record_text(load->record, "mutex");
	struct mutex *mutex = name ? table_find(load->server->table, name, strlen(name)) : NULL;

	free(name);
	if (!call || !call->list)
		return refuse(load, "a LIST can't be taken over");
	if (mutex) /* or it left the configuration */
		list_load_look(call, mutex);
	return true;
}

struct part {
	const char *type;
	bool (*load)(struct load *load);
};

/* What is needed before sessions; then those; and what needs the table. */
static const struct part first_parts[] = {
	{"listener", load_listener}, {"store", load_store}, {"stored", load_stored},
	{"section", load_section},   {"owner", load_owner}, {NULL, NULL},
};
static const struct part session_parts[] = {
	{"session", load_session},
	{"call", load_call},
	{NULL, NULL},
};
static const struct part last_parts[] = {
	{"list", load_list},
	{"look", load_look},
	{"server", load_server},
	{"requests", load_requests},
	{"errors", load_errors},
	{"metrics", load_metrics},
	{NULL, NULL},
};

static bool load_parts(struct load *load, struct record_reader reader, const struct part *parts)
{
	struct record record;
	bool good = true;

	/* cppcheck-suppress autoVariables ; it is taken out again below */
	load->record = &record;
	while (good && record_next(&reader, &record)) {
		for (const struct part *part = parts; good && part->type; part++) {
			if (record_is(&record, part->type) && !part->load(load))
				good = false;
		}
	}
	load->record = NULL;
	return good;
}

/* Does the table, or a LIST, have what every request waits for? */
static bool check_calls(struct load *load)
{
	for (size_t i = 0; i < load->calls.n; i++) {
		struct call *call = load->calls.things[i];

		if (call->verb == VERB_QUIT)
			continue;
		if (call->verb == VERB_LIST ? !call->list : call->ask.state == ASK_IDLE)
			return refuse(load, "nobody answers a request: %s", verb_word(call->verb));
		call->mutex = call->ask.mutex;
	}
	return true;
}

static bool load_all(struct load *load, struct record_reader reader)
{
	struct session *session;

	if (!load_parts(load, reader, first_parts) || !load_parts(load, reader, session_parts) ||
	    !table_load(load->server->table, reader, &load->finder, load->why, load->size) ||
	    !load_parts(load, reader, last_parts) || !check_calls(load))
		return false;
	if (!load->server->listener)
		return refuse(load, "the listening socket is missing");
	TAILQ_FOREACH (session, &load->server->sessions, entry) {
		if (load->rehearse)
			continue;
		command_check_access(session); /* it may be another configuration */
		session_resume(session);
	}
	return true;
}

bool server_load(struct server *server, const char *data, size_t len, bool rehearse, char *why,
		 size_t size)
{
	struct record_reader reader;
	struct load load = {
		.finder = {.holder = find_holder, .ask = find_ask, .section = find_section},
		.server = server,
		.rehearse = rehearse,
		.why = why,
		.size = size,
	};
	bool good = record_reader_init(&reader, data, len);

	if (!good)
		refuse(&load, "%s", reader.why);
	good = good && load_all(&load, reader);
	for (size_t i = 0; i < load.sections.n; i++)
		section_unref(load.sections.things[i]);
	free(load.stores.things);
	free(load.sections.things);
	free(load.owners.things);
	free(load.sessions.things);
	free(load.calls.things);
	return good;
}
