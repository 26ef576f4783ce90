/* SPDX-License-Identifier: MIT */
/* From the INI file to struct conf: sections, inheritance, and what must fit together. */
#include "config.h"

#include "conf/conf.h"

#include <ctype.h>
#include <errno.h>
#include <glob.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "proto/name.h"

#include "conf/conf_file.h"
#include "conf/conf_table.h"
#include "conf/conf_url.h"
#include "util/alloc.h"

enum {
	HEADER_MAX = 49, /* bytes of a section that inih keeps; it cuts the rest */
	NAME_MAX_LEN = 40,
	KEY_MAX_LEN = 512,
	FAULT_MAX = 1024,
};

static const char include_key[] = "include";

/* What the file says of one row in one section. */
struct given {
	char *text; /* NULL: nothing */
	int line;
	bool bad; /* it has been reported */
};

/* A section while it is read. */
struct section {
	enum conf_kind kind;
	char *title; /* "[mutex backup]" */
	const char *file;
	int line;
	size_t order; /* among the mutexes */
	char *place;  /* a mutex's url and key, as one text to compare; NULL: it has none */
	bool has_keys;
	bool broken;	     /* a line of it was lost: do not complain about what is missing */
	struct given *given; /* one a row */
	struct conf_mutex mutex;
};

/* What a store is checked for, one after the other, so that each fault is told where it stands. */
enum aspect { ASPECT_LOGIN, ASPECT_SENTINEL, ASPECT_TLS, N_ASPECTS };

struct fault {
	size_t file; /* its place among the conf's files */
	int line;
	size_t order;
	char *text;
};

/* A load. */
struct load {
	struct conf *conf;
	size_t file;			/* the one being read */
	struct section *top, *defaults; /* NULL: not there */
	struct section **mutexes;
	size_t n_mutexes;
	/* Where the reader is; `current` NULL with `skip`: in a section that is none of ours. */
	struct section *current;
	bool skip;
	/* The entry that is being read, as it may go on; row NULL: none, or a faulty one. */
	const struct conf_row *row;
	bool refused;			   /* it went on and may not: told once */
	bool url_inherited;		   /* some mutex has the url from [defaults] */
	bool defaults_at_fault[N_ASPECTS]; /* and no store can be made of what it has from there */
	struct fault *faults;
	size_t n_faults;
};

/* ------------------------------------------------------------------ faults */
static size_t file_index(const struct load *load, const char *file)
{
	size_t i = 0;

	while (load->conf->files[i] != file)
		i++;
	return i;
}

/* Notes a fault. They are told at the end, in the order of their lines. */
static void __attribute__((format(printf, 4, 5)))
add_fault(struct load *load, const char *file, int line, const char *format, ...)
{
	char text[FAULT_MAX];
	struct fault *fault;
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	/* It quotes the file, and goes to a terminal. */
	for (char *at = text; *at; at++) {
		if (iscntrl((unsigned char)*at))
			*at = '?';
	}
	load->faults = xrealloc(load->faults, load->n_faults + 1, sizeof(*load->faults));
	fault = &load->faults[load->n_faults];
	fault->file = file_index(load, file);
	fault->line = line;
	fault->order = load->n_faults++;
	fault->text = xstrdup(text);
}

static int fault_compare(const void *a, const void *b)
{
	const struct fault *x = a, *y = b;

	if (x->file != y->file)
		return x->file < y->file ? -1 : 1;
	if (x->line != y->line)
		return x->line < y->line ? -1 : 1;
	return x->order < y->order ? -1 : 1;
}

static const char *current_file(const struct load *load)
{
	return load->conf->files[load->file];
}

/* ------------------------------------------------------------------ sections */
static struct section *section_new(struct load *load, enum conf_kind kind, const char *title,
				   int line)
{
	struct section *section = xcalloc(1, sizeof(*section));

	section->kind = kind;
	section->title = xasprintf("[%s]", title);
	section->file = current_file(load);
	section->line = line;
	section->given = xcalloc(conf_n_rows, sizeof(*section->given));
	return section;
}

static void mutex_deinit(struct conf_mutex *mutex)
{
	free(mutex->name);
	free(mutex->key_text);
	free(mutex->key);
	store_settings_deinit(&mutex->store);
	free(mutex->access.users);
	free(mutex->access.groups);
}

/* Accepts NULL. */
static void section_free(struct section *section)
{
	if (!section)
		return;
	mutex_deinit(&section->mutex);
	for (size_t i = 0; i < conf_n_rows; i++)
		free(section->given[i].text);
	free(section->given);
	free(section->place);
	free(section->title);
	free(section);
}

/* The struct that a section's rows point into. */
static void *section_base(struct load *load, struct section *section)
{
	return section->kind == CONF_REDMUTEXD ? (void *)load->conf : &section->mutex;
}

/* The entry is complete: take its value over. */
static void end_entry(struct load *load)
{
	struct section *section = load->current;
	const struct conf_row *row = load->row;
	char why[FAULT_MAX];
	struct given *given;

	load->row = NULL;
	load->refused = false;
	if (!row)
		return;
	given = &section->given[row - conf_rows];
	if (row->type->parse(row, given->text, section_base(load, section), why, sizeof(why)))
		return;
	given->bad = true;
	add_fault(load, section->file, given->line, "%s: %s", row->key, why);
}

static void end_section(struct load *load)
{
	struct section *section = load->current;

	end_entry(load);
	if (section && !section->has_keys && !section->broken)
		add_fault(load, section->file, section->line,
			  "%s: empty section: expected at least one key", section->title);
	load->current = NULL;
	load->skip = true;
}

/* A name, or a pattern: the same with `*` in it. */
static bool mutex_name_check(const char *name, char *why, size_t size)
{
	char plain[HEADER_MAX + 1];
	size_t len = strlen(name);

	memcpy(plain, name, len + 1);
	for (char *at = plain; (at = strchr(at, '*'));)
		*at = 'x';
	if (!name_valid((struct span){plain, len})) {
		snprintf(why, size,
			 "expected a name of A-Z a-z 0-9 . _ - : / and, for a family, *, "
			 "got \"%s\"",
			 name);
		return false;
	}
	if (len > NAME_MAX_LEN && !strchr(name, '*')) {
		snprintf(why, size, "expected a name of at most %d characters, got %zu: \"%s\"",
			 NAME_MAX_LEN, len, name);
		return false;
	}
	return true;
}

static void begin_mutex(struct load *load, const char *name, int line)
{
	struct section *section;
	char why[FAULT_MAX], *title;

	if (!mutex_name_check(name, why, sizeof(why))) {
		add_fault(load, current_file(load), line, "[mutex]: %s", why);
		return;
	}
	title = xasprintf("mutex %s", name);
	section = section_new(load, CONF_MUTEX, title, line);
	free(title);
	section->mutex.name = xstrdup(name);
	section->mutex.family = strchr(name, '*');
	section->mutex.line = line;
	section->mutex.file = section->file;
	load->mutexes = xrealloc(load->mutexes, load->n_mutexes + 1, sizeof(struct section *));
	section->order = load->n_mutexes;
	load->mutexes[load->n_mutexes++] = section;
	load->current = section;
}

/* [redmutexd] and [defaults], of which there is one each. */
static void begin_single(struct load *load, struct section **single, enum conf_kind kind,
			 const char *title, int line)
{
	if (load->file > 0) {
		add_fault(load, current_file(load), line,
			  "[%s]: expected [mutex NAME] only: this file is included", title);
		return;
	}
	if (*single) {
		add_fault(load, current_file(load), line,
			  "[%s]: given twice: expected all of its keys in the one at line %d",
			  title, (*single)->line);
		return;
	}
	*single = section_new(load, kind, title, line);
	load->current = *single;
}

static void on_section(void *arg, const char *header, int line)
{
	struct load *load = arg;
	char title[HEADER_MAX + 1];
	size_t len;

	end_section(load);
	if (!header)
		return;
	if (strlen(header) > HEADER_MAX) {
		add_fault(load, current_file(load), line,
			  "[%s]: expected at most %d characters between the brackets, got %zu",
			  header, HEADER_MAX, strlen(header));
		return;
	}
	header += strspn(header, " \t");
	len = strlen(header);
	memcpy(title, header, len + 1);
	while (len > 0 && isspace((unsigned char)title[len - 1]))
		title[--len] = '\0';
	if (strcmp(title, "redmutexd") == 0)
		begin_single(load, &load->top, CONF_REDMUTEXD, title, line);
	else if (strcmp(title, "defaults") == 0)
		begin_single(load, &load->defaults, CONF_MUTEX, title, line);
	else if (strncmp(title, "mutex", 5) == 0 && isspace((unsigned char)title[5]))
		begin_mutex(load, title + 5 + strspn(title + 5, " \t"), line);
	else
		add_fault(load, current_file(load), line,
			  "[%s]: unknown section: expected [redmutexd], [defaults] or [mutex NAME]",
			  title);
}

/* A key that another kind of section has: say so, it is the commonest mistake. */
static const char *hint_elsewhere(enum conf_kind kind, const char *key)
{
	if (kind == CONF_REDMUTEXD && conf_row_find(CONF_MUTEX, key))
		return ": it belongs into [defaults] or [mutex NAME]";
	if (kind == CONF_MUTEX && conf_row_find(CONF_REDMUTEXD, key))
		return ": it belongs into [redmutexd]";
	return ": see redmutexd.ini(5) for those that there are";
}

static void on_entry(void *arg, const char *key, const char *value, int line)
{
	struct load *load = arg;
	struct section *section = load->current;
	const struct conf_row *row;
	struct given *given;

	end_entry(load);
	if (!section) {
		if (!load->skip)
			add_fault(load, current_file(load), line,
				  "%s: expected a [section] before the first key", key);
		return;
	}
	section->has_keys = true;
	row = conf_row_find(section->kind, key);
	if (!row) {
		add_fault(load, section->file, line, "%s: unknown key in %s%s", key, section->title,
			  hint_elsewhere(section->kind, key));
		return;
	}
	given = &section->given[row - conf_rows];
	if (given->text) {
		add_fault(load, section->file, line,
			  "%s: given twice in %s: expected only the one at line %d", key,
			  section->title, given->line);
		return;
	}
	given->text = xstrdup(value);
	given->line = line;
	load->row = row;
}

static void on_more(void *arg, const char *text, int line)
{
	struct load *load = arg;
	char *joined;
	struct given *given;

	if (!load->row)
		return;
	if (!load->row->goes_on) {
		if (!load->refused)
			add_fault(load, current_file(load), line,
				  "%s: expected its value on one line; only url, allow_users, "
				  "allow_groups and include go on over indented lines",
				  load->row->key);
		load->refused = true;
		return;
	}
	given = &load->current->given[load->row - conf_rows];
	joined = xasprintf("%s %s", given->text, text);
	free(given->text);
	given->text = joined;
}

static void on_fault(void *arg, const char *text, int line)
{
	struct load *load = arg;

	/* Whatever the line was to be, it is lost. */
	if (load->current)
		load->current->broken = true;
	add_fault(load, current_file(load), line, "%s", text);
}

/* ------------------------------------------------------------------ files */
static FILE *file_open(const char *path, char *why, size_t size)
{
	FILE *file = fopen(path, "re");
	struct stat st;

	if (!file) {
		snprintf(why, size, "cannot be opened: %s", strerror(errno));
		return NULL;
	}
	if (fstat(fileno(file), &st) == 0 && (S_ISREG(st.st_mode) || S_ISFIFO(st.st_mode)))
		return file;
	snprintf(why, size, "expected a file, found %s",
		 S_ISDIR(st.st_mode) ? "a folder" : "something else");
	fclose(file);
	return NULL;
}

/* Reads what conf->files[load->file] names. */
static void read_file(struct load *load)
{
	static const struct conf_file_events events = {
		.section = on_section,
		.entry = on_entry,
		.more = on_more,
		.fault = on_fault,
	};
	const char *path = current_file(load);
	char why[FAULT_MAX];
	FILE *file = file_open(path, why, sizeof(why));
	int error;

	if (!file) {
		add_fault(load, path, 0, "%s", why);
		return;
	}
	load->skip = false;
	error = conf_file_read(file, &events, load);
	end_section(load);
	if (error)
		add_fault(load, path, 0, "cannot be read: %s", strerror(error));
	fclose(file);
}

static void files_add(struct conf *conf, const char *path)
{
	conf->files = xrealloc(conf->files, conf->n_files + 1, sizeof(char *));
	conf->files[conf->n_files++] = xstrdup(path);
}

/* Two paths of one file? */
static bool same_file(const char *a, const char *b)
{
	struct stat x, y;

	return stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

static int glob_refuse(const char *path, int error)
{
	(void)path;
	return error != ENOENT && error != ENOTDIR;
}

/* A pattern of `include`, relative to the folder of the main file, as a path for glob(3). */
static char *include_path(const struct conf *conf, const char *pattern)
{
	const char *slash = strrchr(conf->path, '/');
	char *path, *out;

	if (*pattern == '/' || !slash)
		return xstrdup(pattern);
	/* The folder's own name is no pattern. */
	path = out = xcalloc(2 * (size_t)(slash + 1 - conf->path) + strlen(pattern) + 1, 1);
	for (const char *at = conf->path; at <= slash; at++) {
		if (strchr("*?[\\", *at))
			*out++ = '\\';
		*out++ = *at;
	}
	strcpy(out, pattern);
	return path;
}

static void include_pattern(struct load *load, const char *pattern)
{
	struct conf *conf = load->conf;
	const struct given *given =
		&load->top->given[conf_row_find(CONF_REDMUTEXD, include_key) - conf_rows];
	char *path = include_path(conf, pattern);
	glob_t found;
	int result = glob(path, 0, glob_refuse, &found);

	if (result == GLOB_NOSPACE)
		abort();
	if (result == GLOB_ABORTED)
		add_fault(load, conf->files[0], given->line,
			  "include: expected folders that can be read: %s", pattern);
	if (result == GLOB_NOMATCH && !strpbrk(pattern, "*?["))
		add_fault(load, conf->files[0], given->line,
			  "include: expected a file that exists, or a pattern: %s", pattern);
	for (size_t i = 0; result == 0 && i < found.gl_pathc; i++) {
		bool is_known = false;

		/* Overlapping patterns, and those that cover the main file, are no mistake. */
		for (size_t j = 0; j < conf->n_files && !is_known; j++)
			is_known = same_file(conf->files[j], found.gl_pathv[i]);
		if (is_known)
			continue;
		files_add(conf, found.gl_pathv[i]);
		load->file = conf->n_files - 1;
		read_file(load);
	}
	globfree(&found);
	free(path);
}

static void read_included(struct load *load)
{
	char *patterns, *rest;

	if (!load->conf->include)
		return;
	patterns = xstrdup(load->conf->include);
	for (char *pattern = strtok_r(patterns, " ", &rest); pattern;
	     pattern = strtok_r(NULL, " ", &rest))
		include_pattern(load, pattern);
	free(patterns);
}

/* ------------------------------------------------------------------ inheritance */
/*
 * Fills in what a section leaves open, or has wrong: from another section if there is one,
 * otherwise the default of the table. What was wrong has been told; filling it in keeps the checks
 * that follow from complaining about it again.
 */
static void inherit(struct load *load, enum conf_kind kind, struct section *section,
		    const struct section *from)
{
	void *base = kind == CONF_REDMUTEXD ? (void *)load->conf : &section->mutex;
	char why[FAULT_MAX];

	for (size_t i = 0; i < conf_n_rows; i++) {
		const struct conf_row *row = &conf_rows[i];
		const char *text = row->default_text;

		if (row->kind != kind)
			continue;
		if (section && section->given[i].text && !section->given[i].bad)
			continue;
		if (from && from->given[i].text && !from->given[i].bad)
			text = from->given[i].text;
		if (text)
			row->type->parse(row, text, base, why, sizeof(why));
	}
}

static const struct given *given_find(const struct section *section, const char *key)
{
	return &section->given[conf_row_find(CONF_MUTEX, key) - conf_rows];
}

/* The line of a key of the section, or of the section if it has it from elsewhere. */
static int line_of(const struct section *section, const char *key)
{
	const struct given *given = given_find(section, key);

	return given->text ? given->line : section->line;
}

/* ------------------------------------------------------------------ checks across keys */
/* The template with each {name} replaced. */
static char *key_expand(const char *template, const char *name)
{
	static const char mark[] = "{name}";
	size_t n = 0;
	char *key, *out;

	for (const char *at = template; (at = strstr(at, mark)); at += sizeof(mark) - 1)
		n++;
	key = out = xcalloc(strlen(template) + n * strlen(name) + 1, 1);
	for (const char *at = template, *next;; at = next + sizeof(mark) - 1) {
		next = strstr(at, mark);
		if (!next) {
			strcpy(out, at);
			return key;
		}
		memcpy(out, at, (size_t)(next - at));
		out = stpcpy(out + (next - at), name);
	}
}

/* Has the key a part that alone decides its slot? See the Redis Cluster specification, hash tags.
 */
static bool key_has_hash_tag(const char *key)
{
	const char *open = strchr(key, '{');
	const char *close = open ? strchr(open, '}') : NULL;

	return close && close > open + 1;
}

static void check_key(struct load *load, struct section *section)
{
	struct conf_mutex *mutex = &section->mutex;
	const char *template = mutex->key_text;
	int line = line_of(section, "key");
	char *key;

	if (!template)
		template = mutex->family ? "red_mutex_lock:{name}" : "red_mutex_lock";
	key = key_expand(template, mutex->family ? "x" : mutex->name);
	mutex->key = mutex->family ? xstrdup(template) : xstrdup(key);
	if (mutex->family && !strstr(template, "{name}"))
		add_fault(load, section->file, line,
			  "key: expected {name} in the key of the family %s, or all of its mutexes "
			  "would be one, got \"%s\"",
			  mutex->name, template);
	if (strlen(key) > KEY_MAX_LEN)
		add_fault(load, section->file, line, "key: expected at most %d bytes, got %zu",
			  KEY_MAX_LEN, strlen(key));
	if (mutex->store.url && conf_url_is_cluster(mutex->store.url) && strchr(key, '}') &&
	    !key_has_hash_tag(key))
		add_fault(load, section->file, line,
			  "key: expected no } in the key of a mutex in a cluster, except as the "
			  "end of "
			  "a hash tag {...}, got \"%s\"",
			  template);
	free(key);
}

/* Is the value of a key, here or inherited, one that has been refused already? */
static bool is_bad(const struct load *load, const struct section *section, const char *key)
{
	const struct given *given = given_find(section, key);

	if (!given->text && load->defaults)
		given = given_find(load->defaults, key);
	return given->bad;
}

/* The keys that say how to talk to the store that a url names. */
static const char *const aspect_keys[N_ASPECTS][4] = {
	[ASPECT_LOGIN] = {"username", "password_file"},
	[ASPECT_SENTINEL] = {"sentinel_username", "sentinel_password_file"},
	[ASPECT_TLS] = {"tls_cert", "tls_key", "tls_ca", "tls_server_name"},
};

static bool aspect_has(enum aspect aspect, unsigned i)
{
	return i < sizeof(aspect_keys[0]) / sizeof(aspect_keys[0][0]) && aspect_keys[aspect][i];
}

/* Has the aspect a key whose value is refused, here or where it is inherited from? */
static bool aspect_is_bad(const struct load *load, const struct section *section,
			  enum aspect aspect)
{
	bool bad = false;

	for (unsigned i = 0; !bad && aspect_has(aspect, i); i++)
		bad = is_bad(load, section, aspect_keys[aspect][i]);
	return bad;
}

/*
 * Can a store be made of the section's url, login, and one aspect more? What has been refused is
 * left out, for complaints would follow from it.
 */
static bool store_check(const struct load *load, const struct section *section, enum aspect aspect,
			char *why, size_t size)
{
	struct store_settings store = section->mutex.store; /* borrows its strings */

	if (aspect_is_bad(load, section, ASPECT_LOGIN))
		store.username = store.password_file = NULL;
	if (aspect != ASPECT_SENTINEL || aspect_is_bad(load, section, aspect))
		store.sentinel_username = store.sentinel_password_file = NULL;
	if (aspect != ASPECT_TLS || aspect_is_bad(load, section, aspect))
		store.tls_ca = store.tls_cert = store.tls_key = store.tls_server_name = NULL;
	return store_settings_check(&store, why, size);
}

/* Is it the url by itself that no store can be made of? */
static bool url_is_at_fault(const struct section *section)
{
	struct store_settings store = section->mutex.store; /* borrows its strings */
	char why[FAULT_MAX];

	store.username = store.password_file = NULL;
	store.sentinel_username = store.sentinel_password_file = NULL;
	store.tls_ca = store.tls_cert = store.tls_key = store.tls_server_name = NULL;
	return !store_settings_check(&store, why, sizeof(why));
}

/* Which of the keys that stand in the section a fault of that aspect is told of. */
static const char *key_at_fault(const struct section *section, enum aspect aspect)
{
	if (aspect == ASPECT_LOGIN && url_is_at_fault(section))
		return "url";
	for (unsigned i = 0; aspect_has(aspect, i); i++) {
		if (given_find(section, aspect_keys[aspect][i])->text)
			return aspect_keys[aspect][i];
	}
	return "url";
}

/* Has the section anything of its own that a fault of that aspect can be about? */
static bool aspect_is_own(const struct section *section, enum aspect aspect)
{
	return given_find(section, "url")->text ||
	       strcmp(key_at_fault(section, aspect), "url") != 0;
}

static void store_fault(struct load *load, const struct section *section, enum aspect aspect,
			const char *why)
{
	const char *key = key_at_fault(section, aspect);

	add_fault(load, section->file, line_of(section, key), "%s: %s", key, why);
}

/*
 * Can a store be made of it? [defaults] need not make one by themselves: what a mutex has all from
 * there is their fault, and told once.
 */
static void check_store(struct load *load, const struct section *section)
{
	char why[FAULT_MAX];

	if (!given_find(section, "url")->text)
		load->url_inherited = true;
	for (enum aspect aspect = 0; aspect < N_ASPECTS; aspect++) {
		if (store_check(load, section, aspect, why, sizeof(why)))
			continue;
		if (aspect_is_own(section, aspect))
			store_fault(load, section, aspect, why);
		else
			load->defaults_at_fault[aspect] = true;
		if (aspect == ASPECT_LOGIN)
			return; /* it may be the url that is wrong: nothing else is known */
	}
}

static void check_defaults(struct load *load)
{
	const struct section *defaults = load->defaults;
	char why[FAULT_MAX];

	for (enum aspect aspect = 0; defaults->mutex.store.url && aspect < N_ASPECTS; aspect++) {
		if (store_check(load, defaults, aspect, why, sizeof(why)))
			continue;
		if (load->defaults_at_fault[aspect] || !load->url_inherited)
			store_fault(load, defaults, aspect, why);
		if (aspect == ASPECT_LOGIN)
			return;
	}
}

static void check_mutex(struct load *load, struct section *section)
{
	const struct section *defaults = load->defaults;
	struct conf_mutex *mutex = &section->mutex;

	mutex->settings.command_timeout_ms = mutex->store.command_timeout_ms;
	mutex->settings.max_waiters = load->conf->max_waiters;
	check_key(load, section);
	if (mutex->store.url) {
		check_store(load, section);
		if (!mutex->family) {
			char *url = conf_url_canonical(mutex->store.url);

			section->place = xasprintf("%s %s", url, mutex->key);
			free(url);
		}
	} else if (!is_bad(load, section, "url") && !section->broken &&
		   !(defaults && defaults->broken)) {
		add_fault(load, section->file, section->line,
			  "%s: expected a url, here or in [defaults]", section->title);
	}
}

/* Sorting brings those together that collide, in the order of the file. */
static int name_compare(const void *a, const void *b)
{
	const struct section *x = *(struct section *const *)a, *y = *(struct section *const *)b;
	int result = strcmp(x->mutex.name, y->mutex.name);

	if (result)
		return result;
	return x->order < y->order ? -1 : 1;
}

static int place_compare(const void *a, const void *b)
{
	const struct section *x = *(struct section *const *)a, *y = *(struct section *const *)b;
	int result = strcmp(x->place ? x->place : "", y->place ? y->place : "");

	if (result)
		return result;
	return x->order < y->order ? -1 : 1;
}

/* No two sections of one name, no two mutexes in one place. */
static void check_collisions(struct load *load)
{
	struct section **sorted, *first;
	size_t n = load->n_mutexes;

	if (n == 0)
		return;
	sorted = xcalloc(n, sizeof(struct section *));
	memcpy(sorted, load->mutexes, n * sizeof(struct section *));
	qsort(sorted, n, sizeof(struct section *), name_compare);
	first = sorted[0];
	for (size_t i = 1; i < n; i++) {
		struct section *section = sorted[i];

		if (strcmp(section->mutex.name, first->mutex.name) != 0) {
			first = section;
			continue;
		}
		add_fault(load, section->file, section->line,
			  "%s: given twice: expected all of its keys in the one at %s:%d",
			  section->title, first->file, first->line);
		/* They need not be told that they share their key, too. */
		free(section->place);
		section->place = NULL;
	}
	qsort(sorted, n, sizeof(struct section *), place_compare);
	first = sorted[0];
	for (size_t i = 1; i < n; i++) {
		struct section *section = sorted[i];

		if (!section->place || !first->place || strcmp(section->place, first->place) != 0) {
			first = section;
			continue;
		}
		add_fault(load, section->file, section->line,
			  "%s: expected another url or key than %s has at %s:%d: both come out at "
			  "the key \"%s\" of the same store",
			  section->title, first->title, first->file, first->line,
			  section->mutex.key);
	}
	free(sorted);
}

static void check_sections(struct load *load)
{
	struct section *defaults = load->defaults;

	inherit(load, CONF_REDMUTEXD, load->top, NULL);
	if (!load->conf->state_file && load->conf->socket_path)
		load->conf->state_file = xasprintf("%s.held", load->conf->socket_path);
	if (defaults)
		inherit(load, CONF_MUTEX, defaults, NULL);
	for (size_t i = 0; i < load->n_mutexes; i++) {
		inherit(load, CONF_MUTEX, load->mutexes[i], defaults);
		check_mutex(load, load->mutexes[i]);
	}
	if (defaults)
		check_defaults(load);
	check_collisions(load);
}

/* ------------------------------------------------------------------ a whole load */
/* Tells the faults, and forgets them. */
static void tell_faults(struct load *load, conf_fault_fn *fault, void *arg)
{
	if (load->n_faults > 0)
		qsort(load->faults, load->n_faults, sizeof(*load->faults), fault_compare);
	for (size_t i = 0; i < load->n_faults; i++) {
		struct fault *f = &load->faults[i];

		fault(arg, load->conf->files[f->file], f->line, f->text);
		free(f->text);
	}
	free(load->faults);
}

/* Moves the mutexes out of the sections. */
static void hand_over(struct load *load)
{
	struct conf *conf = load->conf;

	if (load->n_mutexes == 0)
		return;
	conf->mutexes = xcalloc(load->n_mutexes, sizeof(*conf->mutexes));
	conf->n_mutexes = load->n_mutexes;
	for (size_t i = 0; i < load->n_mutexes; i++) {
		conf->mutexes[i] = load->mutexes[i]->mutex;
		memset(&load->mutexes[i]->mutex, 0, sizeof(struct conf_mutex));
	}
}

struct conf *conf_load(const char *path, conf_fault_fn *fault, void *arg)
{
	struct load load = {.conf = xcalloc(1, sizeof(struct conf))};
	struct conf *conf = load.conf;

	conf->path = xstrdup(path);
	files_add(conf, path);
	read_file(&load);
	read_included(&load);
	check_sections(&load);
	hand_over(&load);
	if (load.n_faults > 0) {
		tell_faults(&load, fault, arg);
		conf_free(conf);
		conf = NULL;
	}
	for (size_t i = 0; i < load.n_mutexes; i++)
		section_free(load.mutexes[i]);
	free(load.mutexes);
	section_free(load.top);
	section_free(load.defaults);
	return conf;
}

void conf_free(struct conf *conf)
{
	if (!conf)
		return;
	for (size_t i = 0; i < conf->n_mutexes; i++)
		mutex_deinit(&conf->mutexes[i]);
	free(conf->mutexes);
	for (size_t i = 0; i < conf->n_files; i++)
		free(conf->files[i]);
	free(conf->files);
	free(conf->state_file);
	free(conf->metrics_listen);
	free(conf->include);
	free(conf->socket_path);
	free(conf->path);
	free(conf);
}

void conf_frozen_changes(const struct conf *old, const struct conf *new,
			 void (*changed)(void *arg, const char *key), void *arg)
{
	for (size_t i = 0; i < conf_n_rows; i++) {
		const struct conf_row *row = &conf_rows[i];
		char *before, *after;

		if (row->kind != CONF_REDMUTEXD || !row->frozen)
			continue;
		before = row->type->format(row, old);
		after = row->type->format(row, new);
		if (!before != !after || (before && strcmp(before, after) != 0))
			changed(arg, row->key);
		free(before);
		free(after);
	}
}

bool conf_access_allows(const struct conf_access *access, uid_t uid, const gid_t *groups,
			size_t n_groups)
{
	if (uid == 0 || !access->restricted)
		return true;
	for (size_t i = 0; i < access->n_users; i++) {
		if (access->users[i] == uid)
			return true;
	}
	for (size_t i = 0; i < access->n_groups; i++) {
		for (size_t j = 0; j < n_groups; j++) {
			if (access->groups[i] == groups[j])
				return true;
		}
	}
	return false;
}
