/* SPDX-License-Identifier: MIT */
/* LIST: a walk through the table. */
#include "config.h"

#include "serve/list.h"

#include <stdlib.h>
#include <string.h>

#include "core/table.h"
#include "proto/name.h"
#include "serve/look.h"
#include "serve/server_private.h"
#include "serve/session.h"
#include "util/alloc.h"
#include "util/record.h"

enum {
	LIST_LOOKS = 16,	 /* questions to stores at a time */
	LIST_STEP_MUTEXES = 256, /* looked at in one step, whatever becomes of them */
};

/* A question about one mutex. */
struct look {
	struct ask ask;
	struct list *list;
	struct mutex *mutex; /* borrowed; certain while it is asked; NULL: not in use */
};

struct list {
	struct call *call;
	struct table_cursor cursor;
	bool cursor_open;
	bool cancelled;
	size_t next_section; /* families come last */
	int64_t n_items;
	char pattern[PROTO_NAME_MAX + 1];
	unsigned n_looks;
	struct look looks[LIST_LOOKS];
};

static void look_done(struct ask *ask);

bool list_open(struct call *call, struct span pattern)
{
	struct list *list = calloc(1, sizeof(*list));

	if (!list)
		return false;
	list->call = call;
	memcpy(list->pattern, pattern.at, pattern.len);
	for (unsigned i = 0; i < LIST_LOOKS; i++)
		list->looks[i].list = list;
	table_cursor_open(call->session->server->table, &list->cursor);
	list->cursor_open = true;
	call->list = list;
	TAILQ_INSERT_TAIL(&call->session->listings, call, listing_entry);
	server_mark_ready(call->session->server, call->session);
	return true;
}

static void list_close_cursor(struct list *list)
{
	if (list->cursor_open)
		table_cursor_close(&list->cursor);
	list->cursor_open = false;
}

/* Nothing of it is asked any more, and its call is answered. */
static void list_free(struct list *list)
{
	struct call *call = list->call;

	free(list);
	call->list = NULL;
	call_free(call);
}

/* It will produce nothing more. */
static void list_end(struct list *list)
{
	list_close_cursor(list);
	TAILQ_REMOVE(&list->call->session->listings, list->call, listing_entry);
}

void list_cancel(struct call *call)
{
	struct list *list = call->list;

	list_end(list);
	list->cancelled = true;
	if (list->n_looks == 0)
		list_free(list);
}

static bool list_wants(const struct list *list, const char *name)
{
	const struct span pattern = {list->pattern, strlen(list->pattern)};
	const struct span span = {name, strlen(name)};

	return pattern.len == 0 || pattern_matches(pattern, span);
}

/* Members of a family are told of when somebody holds them or waits; others are always there. */
static bool mutex_in_use(const struct mutex *mutex)
{
	return !mutex_section(mutex)->family || mutex_state(mutex) != MUTEX_FREE ||
	       mutex_n_waiters(mutex) > 0;
}

static void item_begin(struct list *list, struct reply_writer *w, const char *name)
{
	session_line_begin(list->call->session, w, call_tag(list->call), "ITEM");
	reply_word(w, name);
	list->n_items++;
}

/* Asks the store about it. There is a place left. */
static void list_look(struct list *list, struct mutex *mutex)
{
	struct look *look = list->looks;

	while (look->mutex)
		look++;
	memset(&look->ask, 0, sizeof(look->ask));
	look->ask.done = look_done;
	look->mutex = mutex;
	list->n_looks++;
	mutex_look(mutex, &look->ask);
}

static void list_mutex(struct list *list, struct mutex *mutex)
{
	struct session *session = list->call->session;
	struct reply_writer w;

	if (!list_wants(list, mutex_name(mutex)) || !mutex_in_use(mutex) ||
	    !server_allows(mutex_section(mutex), session))
		return;
	if (mutex_lock(mutex)) {
		item_begin(list, &w, mutex_name(mutex));
		look_write_here(session->server, &w, mutex);
		session_line_end(session, &w);
		return;
	}
	list_look(list, mutex);
}

static void look_done(struct ask *ask)
{
	struct look *look = container_of(ask, struct look, ask);
	struct list *list = look->list;
	struct session *session = list->call->session;
	struct mutex *mutex = look->mutex;
	struct reply_writer w;

	look->mutex = NULL;
	list->n_looks--;
	if (list->cancelled) {
		if (list->n_looks == 0)
			list_free(list);
		return;
	}
	item_begin(list, &w, mutex_name(mutex));
	look_write_answer(session->server, &w, mutex, ask);
	session_line_end(session, &w);
	server_mark_ready(session->server, session);
}

/* How many names of the family are in use. */
static int64_t count_members(struct table *table, const struct section *section)
{
	struct table_cursor cursor;
	struct mutex *mutex;
	int64_t n = 0;

	table_cursor_open(table, &cursor);
	while ((mutex = table_cursor_next(&cursor)))
		n += mutex_section(mutex) == section && mutex_in_use(mutex);
	table_cursor_close(&cursor);
	return n;
}

static void list_family(struct list *list, const struct section *section)
{
	struct session *session = list->call->session;
	struct reply_writer w;

	if (!section->family || !list_wants(list, section->name) ||
	    !server_allows(section, session))
		return;
	item_begin(list, &w, section->name);
	reply_option(&w, OPTION_FAMILY, "yes");
	reply_option_number(&w, OPTION_MEMBERS, count_members(session->server->table, section));
	session_line_end(session, &w);
}

static void list_finish(struct list *list)
{
	struct call *call = list->call;
	struct reply_writer w;

	session_line_begin(call->session, &w, call_tag(call), "OK");
	reply_number(&w, list->n_items);
	session_line_end(call->session, &w);
	list_end(list);
	call_answered(call);
	list_free(list);
}

/* Has it come to the end of all that it goes through? */
static bool list_is_through(const struct list *list)
{
	return !list->cursor_open &&
	       list->next_section >= table_n_sections(list->call->session->server->table);
}

bool list_waits(const struct call *call)
{
	const struct list *list = call->list;

	return list->n_looks == LIST_LOOKS || (list->n_looks > 0 && list_is_through(list));
}

bool list_step(struct call *call)
{
	struct list *list = call->list;
	struct table *table = call->session->server->table;

	for (int i = 0; i < LIST_STEP_MUTEXES; i++) {
		if (list_waits(call) || session_has_enough(call->session))
			return true;
		if (list->cursor_open) {
			struct mutex *mutex = table_cursor_next(&list->cursor);

			if (mutex)
				list_mutex(list, mutex);
			else
				list_close_cursor(list);
		} else if (list_is_through(list)) {
			list_finish(list);
			return true;
		} else {
			list_family(list, table_section_at(table, list->next_section++));
			return false; /* it had to go through all mutexes */
		}
	}
	return false;
}

/* ------------------------------------------------------------------ for the process after */

void list_save(struct call *call, struct record_writer *w)
{
	const struct list *list = call->list;
	const struct mutex *next = list->cursor_open ? list->cursor.next : NULL;

	record_begin(w, "list");
	record_put_number(w, "call", (int64_t)call->save_id);
	record_put_text(w, "pattern", list->pattern);
	record_put_number(w, "items", list->n_items);
	record_put_number(w, "section", (int64_t)list->next_section);
	record_put_text(w, "next", next ? mutex_name(next) : NULL);
	record_end(w);
	for (unsigned i = 0; i < LIST_LOOKS; i++) {
		if (!list->looks[i].mutex)
			continue;
		record_begin(w, "look");
		record_put_number(w, "call", (int64_t)call->save_id);
		record_put_text(w, "mutex", mutex_name(list->looks[i].mutex));
		record_end(w);
	}
}

bool list_load(struct call *call, const struct record *record)
{
	struct table *table = call->session->server->table;
	char pattern[PROTO_NAME_MAX + 1];
	char *next = record_text(record, "next");
	struct list *list;

	if (!record_copy_text(record, "pattern", pattern, sizeof(pattern)) ||
	    !list_open(call, (struct span){pattern, strlen(pattern)})) {
		free(next);
		return false;
	}
	list = call->list;
	list->n_items = record_number(record, "items");
	list->next_section =
		(size_t)record_number_within(record, "section", 0, INT32_MAX, INT32_MAX);
	if (next)
		list->cursor.next = table_peek(table, next, strlen(next));
	if (!next || !list->cursor.next)
		list_close_cursor(list);
	free(next);
	return true;
}

void list_load_look(struct call *call, struct mutex *mutex)
{
	if (call->list->n_looks < LIST_LOOKS)
		list_look(call->list, mutex);
}
