/* SPDX-License-Identifier: MIT */
/* All keys of the INI file, and the kinds of values that they have. */
#include "config.h"

#include "conf/conf_table.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <inttypes.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proto/name.h"

#include "conf/conf.h"
#include "conf/conf_url.h"
#include "util/address.h"
#include "util/alloc.h"

/* Bytes of a path that fit into a struct sockaddr_un, see unix(7). */
enum { SOCKET_PATH_MAX = 107 };

#define FIELD(type, row, base) ((type *)((char *)(base) + (row)->offset))
#define CONST_FIELD(type, row, base) ((const type *)((const char *)(base) + (row)->offset))

/* ------------------------------------------------------------------ numbers */
static bool number_read(const struct conf_row *row, const char *text, int64_t *out, char *why,
			size_t size)
{
	struct span word = {text, strlen(text)};

	if (number_parse(word, row->min, row->max, out))
		return true;
	snprintf(why, size, "expected a number from %" PRId64 " to %" PRId64 ", got \"%s\"",
		 row->min, row->max, text);
	return false;
}

static bool unsigned_parse(const struct conf_row *row, const char *text, void *base, char *why,
			   size_t size)
{
	int64_t number;

	if (!number_read(row, text, &number, why, size))
		return false;
	*FIELD(unsigned, row, base) = (unsigned)number;
	return true;
}

static char *unsigned_format(const struct conf_row *row, const void *base)
{
	return xasprintf("%u", *CONST_FIELD(unsigned, row, base));
}

static const struct conf_type type_unsigned = {unsigned_parse, unsigned_format, NULL};

static bool size_parse(const struct conf_row *row, const char *text, void *base, char *why,
		       size_t size)
{
	int64_t number;

	if (!number_read(row, text, &number, why, size))
		return false;
	*FIELD(size_t, row, base) = (size_t)number;
	return true;
}

static char *size_format(const struct conf_row *row, const void *base)
{
	return xasprintf("%zu", *CONST_FIELD(size_t, row, base));
}

static const struct conf_type type_size = {size_parse, size_format, NULL};

static bool int64_parse(const struct conf_row *row, const char *text, void *base, char *why,
			size_t size)
{
	return number_read(row, text, FIELD(int64_t, row, base), why, size);
}

static char *int64_format(const struct conf_row *row, const void *base)
{
	return xasprintf("%" PRId64, *CONST_FIELD(int64_t, row, base));
}

static const struct conf_type type_int64 = {int64_parse, int64_format, NULL};

/* Seconds with decimals, kept in milliseconds; what is finer than that is dropped. */
static bool seconds_parse(const struct conf_row *row, const char *text, void *base, char *why,
			  size_t size)
{
	const char *at = text + strspn(text, "0123456789");
	struct span whole = {text, (size_t)(at - text)};
	int64_t seconds, ms = 0;

	if (*at == '.' && isdigit((unsigned char)at[1])) {
		int unit = 100;

		for (at++; isdigit((unsigned char)*at); at++) {
			ms += (*at - '0') * unit;
			unit /= 10;
		}
	}
	/* Twenty digits are no number to number_parse(), but are clearly too many seconds. */
	if (*at || whole.len == 0) {
		seconds = -1;
	} else if (!number_parse(whole, 0, row->max / 1000, &seconds) ||
		   seconds * 1000 + ms > row->max) {
		snprintf(why, size,
			 "expected a number of seconds of at most %" PRId64 ", got \"%s\"",
			 row->max / 1000, text);
		return false;
	}
	if (seconds < 0 || seconds * 1000 + ms < row->min) {
		snprintf(why, size,
			 "expected a number of seconds of at least %" PRId64 ".%03" PRId64
			 ", got \"%s\"",
			 row->min / 1000, row->min % 1000, text);
		return false;
	}
	*FIELD(int64_t, row, base) = seconds * 1000 + ms;
	return true;
}

static char *seconds_format(const struct conf_row *row, const void *base)
{
	int64_t ms = *CONST_FIELD(int64_t, row, base);

	return ms % 1000 ? xasprintf("%" PRId64 ".%03" PRId64, ms / 1000, ms % 1000)
			 : xasprintf("%" PRId64, ms / 1000);
}

static const struct conf_type type_seconds = {seconds_parse, seconds_format, NULL};

static bool mode_parse(const struct conf_row *row, const char *text, void *base, char *why,
		       size_t size)
{
	size_t len = strlen(text);

	if (len < 3 || len > 4 || strspn(text, "01234567") != len || (len == 4 && *text != '0')) {
		snprintf(why, size, "expected a file mode from 0000 to 0777, got \"%s\"", text);
		return false;
	}
	*FIELD(mode_t, row, base) = (mode_t)strtoul(text, NULL, 8);
	return true;
}

static char *mode_format(const struct conf_row *row, const void *base)
{
	return xasprintf("%04o", (unsigned)*CONST_FIELD(mode_t, row, base));
}

static const struct conf_type type_mode = {mode_parse, mode_format, NULL};

/* ------------------------------------------------------------------ words */
static const char *const bool_words[] = {"no", "yes", NULL};
static const char *const handoff_words[] = {
	[HANDOFF_STORE] = "store",
	[HANDOFF_LOCAL] = "local",
	[HANDOFF_LOCAL + 1] = NULL,
};
static const char *const log_level_words[] = {
	[LOG_LEVEL_ERROR] = "error", [LOG_LEVEL_WARNING] = "warning", [LOG_LEVEL_INFO] = "info",
	[LOG_LEVEL_DEBUG] = "debug", [LOG_LEVEL_DEBUG + 1] = NULL,
};

/* Return: which of the words it is, or -1. */
static int word_read(const char *const *words, const char *text, char *why, size_t size)
{
	size_t n = 0;

	for (; words[n]; n++) {
		if (strcmp(words[n], text) == 0)
			return (int)n;
	}
	n = (size_t)snprintf(why, size, "expected");
	for (size_t i = 0; words[i]; i++) {
		const char *glue = i == 0 ? " " : words[i + 1] ? ", " : " or ";

		n += (size_t)snprintf(why + n, size - n, "%s%s", glue, words[i]);
	}
	snprintf(why + n, size - n, ", got \"%s\"", text);
	return -1;
}

static bool bool_parse(const struct conf_row *row, const char *text, void *base, char *why,
		       size_t size)
{
	int word = word_read(bool_words, text, why, size);

	if (word < 0)
		return false;
	*FIELD(bool, row, base) = word;
	return true;
}

static char *bool_format(const struct conf_row *row, const void *base)
{
	return xstrdup(bool_words[*CONST_FIELD(bool, row, base)]);
}

static const struct conf_type type_bool = {bool_parse, bool_format, NULL};

static bool enum_parse(const struct conf_row *row, const char *text, void *base, char *why,
		       size_t size)
{
	int word = word_read(row->words, text, why, size);

	if (word < 0)
		return false;
	*FIELD(unsigned, row, base) = (unsigned)word;
	return true;
}

static char *enum_format(const struct conf_row *row, const void *base)
{
	return xstrdup(row->words[*CONST_FIELD(unsigned, row, base)]);
}

static const struct conf_type type_enum = {enum_parse, enum_format, NULL};
_Static_assert(sizeof(enum handoff) == sizeof(unsigned) &&
		       sizeof(enum log_level) == sizeof(unsigned) &&
		       sizeof(uint32_t) == sizeof(unsigned),
	       "fields of type_enum and type_unsigned are read and written as unsigned");

/* ------------------------------------------------------------------ texts */
static bool text_parse(const struct conf_row *row, const char *text, void *base, char *why,
		       size_t size)
{
	char **field = FIELD(char *, row, base);
	size_t len = strlen(text);

	if (len == 0) {
		snprintf(why, size, "expected a value, got nothing");
		return false;
	}
	if (len > (size_t)row->max) {
		snprintf(why, size, "expected at most %" PRId64 " bytes, got %zu", row->max, len);
		return false;
	}
	free(*field);
	*field = xstrdup(text);
	return true;
}

static char *text_format(const struct conf_row *row, const void *base)
{
	const char *text = *CONST_FIELD(char *const, row, base);

	return text ? xstrdup(text) : NULL;
}

static const struct conf_type type_text = {text_parse, text_format, NULL};

/*
 * A file that must be there and readable, now. systemd says in the environment where the
 * credentials of a unit are (systemd.exec(5)), so a path may begin with that.
 */
static bool file_parse(const struct conf_row *row, const char *text, void *base, char *why,
		       size_t size)
{
	static const char variable[] = "${CREDENTIALS_DIRECTORY}/";
	const char *dir = "";
	char *path, byte;
	int fd;
	bool is_ok;

	if (!*text)
		return text_parse(row, text, base, why, size);
	if (strncmp(text, variable, sizeof(variable) - 1) == 0) {
		dir = getenv("CREDENTIALS_DIRECTORY");
		if (!dir) {
			snprintf(why, size,
				 "expected a file that can be read: %s: systemd has given no "
				 "credentials (LoadCredential= in the unit)",
				 text);
			return false;
		}
		text += sizeof(variable) - 2;
	}
	path = xasprintf("%s%s", dir, text);
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	is_ok = fd >= 0 && read(fd, &byte, 1) >= 0;
	if (!is_ok)
		snprintf(why, size, "expected a file that can be read: %s: %s", path,
			 strerror(errno));
	if (fd >= 0)
		close(fd);
	is_ok = is_ok && text_parse(row, path, base, why, size);
	free(path);
	return is_ok;
}

static const struct conf_type type_file = {file_parse, text_format, NULL};

/* Where to listen: an address with a port, or the path of a socket; or that nobody shall. */
static bool place_parse(const struct conf_row *row, const char *text, void *base, char *why,
			size_t size)
{
	char **field = FIELD(char *, row, base);

	if (strcmp(text, "off") == 0) {
		free(*field);
		*field = NULL;
		return true;
	}
	if (*text == '/' || address_valid(text))
		return text_parse(row, text, base, why, size);
	snprintf(why, size,
		 "expected an address such as 127.0.0.1:9121 or [::1]:9121, the path of a socket, "
		 "or off; got \"%s\"",
		 text);
	return false;
}

static const struct conf_type type_place = {place_parse, text_format, NULL};

/* Several words with single spaces between them, as they come from one line or many. */
static bool words_parse(const struct conf_row *row, const char *text, void *base, char *why,
			size_t size)
{
	char *joined = xcalloc(strlen(text) + 1, 1), *out = joined;
	bool is_ok;

	for (const char *at = text; *at; at++) {
		if (!isspace((unsigned char)*at))
			*out++ = *at;
		else if (out > joined && out[-1] != ' ')
			*out++ = ' ';
	}
	if (out > joined && out[-1] == ' ')
		out[-1] = '\0';
	is_ok = text_parse(row, joined, base, why, size);
	free(joined);
	return is_ok;
}

static const struct conf_type type_words = {words_parse, text_format, NULL};

/* Urls are written without their passwords. */
static char *url_format(const struct conf_row *row, const void *base)
{
	const char *url = *CONST_FIELD(char *const, row, base);

	return url ? conf_url_mask(url) : NULL;
}

static const struct conf_type type_url = {words_parse, url_format, text_format};

/* ------------------------------------------------------------------ users and groups */
/* Did a look-up fail for another reason than that there is no such entry? See getpwnam(3). */
static bool lookup_failed(int error)
{
	return error != 0 && error != ENOENT && error != ESRCH && error != EBADF && error != EPERM;
}

static bool user_find(const char *name, int64_t *id)
{
	const struct passwd *user = getpwnam(name);

	if (user)
		*id = user->pw_uid;
	return user;
}

static bool group_find(const char *name, int64_t *id)
{
	const struct group *group = getgrnam(name);

	if (group)
		*id = group->gr_gid;
	return group;
}

/* A name, or a number. */
static bool id_read(const char *text, const char *what, bool (*find)(const char *, int64_t *),
		    int64_t *id, char *why, size_t size)
{
	struct span word = {text, strlen(text)};

	errno = 0;
	/* All ones are what chown(2) takes for "leave it", so no id. */
	if (find(text, id) || number_parse(word, 0, UINT32_MAX - INT64_C(1), id))
		return true;
	if (lookup_failed(errno))
		snprintf(why, size, "expected a %s: looking up \"%s\" failed: %s", what, text,
			 strerror(errno));
	else
		snprintf(why, size, "expected a %s: there is no \"%s\"", what, text);
	return false;
}

static bool group_parse(const struct conf_row *row, const char *text, void *base, char *why,
			size_t size)
{
	int64_t id;

	if (!id_read(text, "group", group_find, &id, why, size))
		return false;
	*FIELD(gid_t, row, base) = (gid_t)id;
	*(bool *)((char *)base + row->given_offset) = true;
	return true;
}

static char *group_format(const struct conf_row *row, const void *base)
{
	if (!*(const bool *)((const char *)base + row->given_offset))
		return NULL;
	return xasprintf("%" PRIu32, (uint32_t)*CONST_FIELD(gid_t, row, base));
}

static const struct conf_type type_group = {group_parse, group_format, NULL};

_Static_assert(sizeof(uid_t) == sizeof(uint32_t) && sizeof(gid_t) == sizeof(uint32_t),
	       "lists of users and of groups are both lists of uint32_t");

/* Names or numbers between commas or spaces. Return: false when one of them is none. */
static bool ids_read(const char *text, const char *what, bool (*find)(const char *, int64_t *),
		     uint32_t **ids, size_t *n_ids, char *why, size_t size)
{
	static const char separators[] = ", \t";
	char *copy = xstrdup(text), *rest;
	uint32_t *list = NULL;
	size_t n = 0;

	for (char *word = strtok_r(copy, separators, &rest); word;
	     word = strtok_r(NULL, separators, &rest)) {
		int64_t id;

		if (!id_read(word, what, find, &id, why, size)) {
			free(list);
			free(copy);
			return false;
		}
		list = xrealloc(list, n + 1, sizeof(*list));
		list[n++] = (uint32_t)id;
	}
	free(copy);
	if (n == 0) {
		snprintf(why, size, "expected a list of %ss, got nothing", what);
		return false;
	}
	free(*ids);
	*ids = list;
	*n_ids = n;
	return true;
}

static char *ids_format(const uint32_t *ids, size_t n_ids)
{
	char *text, *out;

	if (n_ids == 0)
		return NULL;
	text = out = xcalloc(n_ids, sizeof("4294967295, "));
	for (size_t i = 0; i < n_ids; i++)
		out += sprintf(out, "%s%" PRIu32, i ? ", " : "", ids[i]);
	return text;
}

static bool users_parse(const struct conf_row *row, const char *text, void *base, char *why,
			size_t size)
{
	struct conf_access *access = FIELD(struct conf_access, row, base);

	if (!ids_read(text, "user", user_find, &access->users, &access->n_users, why, size))
		return false;
	access->restricted = true;
	return true;
}

static char *users_format(const struct conf_row *row, const void *base)
{
	const struct conf_access *access = CONST_FIELD(struct conf_access, row, base);

	return ids_format(access->users, access->n_users);
}

static const struct conf_type type_users = {users_parse, users_format, NULL};

static bool groups_parse(const struct conf_row *row, const char *text, void *base, char *why,
			 size_t size)
{
	struct conf_access *access = FIELD(struct conf_access, row, base);

	if (!ids_read(text, "group", group_find, &access->groups, &access->n_groups, why, size))
		return false;
	access->restricted = true;
	return true;
}

static char *groups_format(const struct conf_row *row, const void *base)
{
	const struct conf_access *access = CONST_FIELD(struct conf_access, row, base);

	return ids_format(access->groups, access->n_groups);
}

static const struct conf_type type_groups = {groups_parse, groups_format, NULL};

/* ------------------------------------------------------------------ the table */
#define TOP(member) CONF_REDMUTEXD, .offset = offsetof(struct conf, member)
#define MUTEX(member) CONF_MUTEX, .offset = offsetof(struct conf_mutex, member)

/* In the order in which the manual, the sample and a dump show them. */
const struct conf_row conf_rows[] = {
	{TOP(socket_path), .key = "socket", .type = &type_text, .max = SOCKET_PATH_MAX,
	 .default_text = "/run/redmutexd/redmutexd.sock", .frozen = true,
	 .help = "where clients connect; sockets from systemd come before it"},
	{TOP(socket_mode), .key = "socket_mode", .type = &type_mode, .default_text = "0660",
	 .frozen = true, .help = "mode of the socket"},
	{TOP(socket_group), .key = "socket_group", .type = &type_group,
	 .given_offset = offsetof(struct conf, socket_group_given), .frozen = true,
	 .help = "group of the socket; default: the daemon's own"},
	{TOP(admin_group), .key = "admin_group", .type = &type_group,
	 .given_offset = offsetof(struct conf, admin_group_given),
	 .help = "may BREAK locks, beside root and the daemon's own user; default: none"},
	{TOP(log_level), .key = "log_level", .type = &type_enum, .words = log_level_words,
	 .default_text = "info", .help = "error, warning, info or debug"},
	{TOP(max_clients), .key = "max_clients", .type = &type_unsigned, .min = 1, .max = 1000000,
	 .default_text = "10000", .help = "connections at a time"},
	{TOP(max_clients_per_user), .key = "max_clients_per_user", .type = &type_unsigned,
	 .max = 1000000, .default_text = "0",
	 .help = "connections of one user; 0: no limit of its own; root is not counted"},
	{TOP(max_locks_per_client), .key = "max_locks_per_client", .type = &type_unsigned, .min = 1,
	 .max = 1000000, .default_text = "1024", .help = "locks of one connection"},
	{TOP(max_pending_per_client), .key = "max_pending_per_client", .type = &type_unsigned,
	 .min = 1, .max = 1000000, .default_text = "1024",
	 .help = "requests of one connection that are started and not answered"},
	{TOP(max_waiters), .key = "max_waiters", .type = &type_unsigned, .min = 1, .max = 1000000,
	 .default_text = "10000", .help = "requests that wait for one mutex"},
	{TOP(max_output_bytes), .key = "max_output_bytes", .type = &type_size,
	 .min = PROTO_REPLY_MAX, .max = INT64_C(1) << 30, .default_text = "1048576",
	 .help = "unread by a client, after which it is dropped"},
	{TOP(busy_poll_us), .key = "busy_poll_us", .type = &type_int64, .max = 1000000,
	 .default_text = "0", .help = "microseconds to look again before sleeping"},
	{TOP(state_file), .key = "state_file", .type = &type_text, .max = 4096, .frozen = true,
	 .help = "what is held, for the start after a crash; default: the socket and .held"},
	{TOP(metrics_listen), .key = "metrics_listen", .type = &type_place, .max = SOCKET_PATH_MAX,
	 .help = "numbers for Prometheus: an address, or the path of a socket; default: off"},
	{TOP(include), .key = "include", .type = &type_words, .max = 65536, .goes_on = true,
	 .included = true, .help = "patterns of files with more [mutex] sections; default: none"},

	{MUTEX(store.url), .key = "url", .type = &type_url, .max = 65536, .goes_on = true,
	 .help = "the store; required, here or in [defaults]"},
	{MUTEX(key_text), .key = "key", .type = &type_text, .max = 512,
	 .help = "the key in the store; {name} stands for the name"},
	{MUTEX(settings.ttl_ms), .key = "expiration_in_seconds", .type = &type_seconds,
	 .min = PROTO_TTL_MIN_MS, .max = PROTO_TTL_MAX_MS, .default_text = "3600",
	 .help = "the lease of a lock that asks for none; decimals allowed"},
	{MUTEX(settings.renew), .key = "renew", .type = &type_bool, .default_text = "no",
	 .help = "yes: keep a lock while its owner lives; no: the expiry is final"},
	{MUTEX(settings.fence), .key = "fence", .type = &type_bool, .default_text = "yes",
	 .help = "number the locks, so that what they protect can tell old from new"},
	{MUTEX(settings.handoff), .key = "handoff", .type = &type_enum, .words = handoff_words,
	 .default_text = "store", .help = "where a pass to the next local waiter happens"},
	{MUTEX(settings.handoff_limit), .key = "handoff_limit", .type = &type_unsigned, .min = 1,
	 .max = 1000000, .default_text = "100",
	 .help = "local passes in a row while other daemons wait"},
	{MUTEX(settings.linger_ms), .key = "linger_ms", .type = &type_int64,
	 .max = PROTO_TTL_MAX_MS, .default_text = "0",
	 .help = "keep a released lease so long for the next local client"},
	{MUTEX(access), .key = "allow_users", .type = &type_users, .goes_on = true,
	 .help = "who may use it, beside root; default: whoever can reach the socket"},
	{MUTEX(access), .key = "allow_groups", .type = &type_groups, .goes_on = true,
	 .help = "whose members may use it, supplementary groups counted"},
	{MUTEX(store.pool_size), .key = "pool_size", .type = &type_unsigned, .min = 1, .max = 1024,
	 .default_text = "2", .help = "connections to this url"},
	{MUTEX(store.connect_timeout_ms), .key = "connect_timeout_ms", .type = &type_int64,
	 .min = 1, .max = 3600000, .default_text = "1000",
	 .help = "to look up, connect and authenticate"},
	{MUTEX(store.command_timeout_ms), .key = "command_timeout_ms", .type = &type_int64,
	 .min = 1, .max = 3600000, .default_text = "1000",
	 .help = "for an answer, after which the store counts as unavailable"},
	{MUTEX(store.wait_replicas), .key = "wait_replicas", .type = &type_unsigned, .max = 1000,
	 .default_text = "0", .help = "replicas that must have a lock before it counts"},
	{MUTEX(settings.announce), .key = "announce", .type = &type_bool, .default_text = "no",
	 .help = "yes: write beside the lock who holds it, for INFO on other hosts"},
	{MUTEX(store.username), .key = "username", .type = &type_text, .max = 512,
	 .help = "user to authenticate as; default: the store's default user"},
	{MUTEX(store.password_file), .key = "password_file", .type = &type_file, .max = 4096,
	 .help = "file with the password, read at every connect"},
	{MUTEX(store.sentinel_username), .key = "sentinel_username", .type = &type_text, .max = 512,
	 .help = "user to authenticate as to the sentinels"},
	{MUTEX(store.sentinel_password_file), .key = "sentinel_password_file", .type = &type_file,
	 .max = 4096, .help = "file with the password for the sentinels, read at every connect"},
	{MUTEX(store.tls_ca), .key = "tls_ca", .type = &type_file, .max = 4096,
	 .help = "file with the certificates to trust; default: the system's"},
	{MUTEX(store.tls_cert), .key = "tls_cert", .type = &type_file, .max = 4096,
	 .help = "file with the daemon's own certificate; needs tls_key"},
	{MUTEX(store.tls_key), .key = "tls_key", .type = &type_file, .max = 4096,
	 .help = "file with the key of tls_cert"},
	{MUTEX(store.tls_server_name), .key = "tls_server_name", .type = &type_text, .max = 253,
	 .help = "name in the server's certificate; default: the url's host"},
};
const size_t conf_n_rows = sizeof(conf_rows) / sizeof(conf_rows[0]);

const struct conf_row *conf_row_find(enum conf_kind kind, const char *key)
{
	for (size_t i = 0; i < conf_n_rows; i++) {
		if (conf_rows[i].kind == kind && strcmp(conf_rows[i].key, key) == 0)
			return &conf_rows[i];
	}
	return NULL;
}
