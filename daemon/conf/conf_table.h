/* SPDX-License-Identifier: MIT */
#ifndef REDMUTEXD_CONF_CONF_TABLE_H
#define REDMUTEXD_CONF_CONF_TABLE_H
/*
 * All keys of the INI file, one row each. Reading, defaults, dumping, reloading and a test of the
 * manual walk the same table: to add a key, add a field and a row, and a paragraph to the manual.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum conf_kind {
	CONF_REDMUTEXD, /* [redmutexd]; fields of a struct conf */
	CONF_MUTEX,	/* [defaults] and [mutex NAME]; fields of a struct conf_mutex */
};

struct conf_row;

/* What kind of value a key has. */
struct conf_type {
	/*
	 * Text to field, replacing what was there. On failure `why` says what was expected and what
	 * was found, and the field is as it was.
	 */
	bool (*parse)(const struct conf_row *row, const char *text, void *base, char *why,
		      size_t size);
	/* The way back. Return: a text to be freed; NULL: not given. */
	char *(*format)(const struct conf_row *row, const void *base);
	/* The same with the secrets that are left out there; NULL: there are none. */
	char *(*format_secret)(const struct conf_row *row, const void *base);
};

struct conf_row {
	enum conf_kind kind;
	const char *key;
	const struct conf_type *type;
	size_t offset;		  /* of the field */
	size_t given_offset;	  /* groups: of a bool that tells that there is one */
	int64_t min, max;	  /* numbers, inclusive; texts: bytes */
	const char *const *words; /* enumerations: by number, NULL at the end */
	const char *default_text; /* NULL: none */
	bool goes_on;		  /* may go on over indented lines */
	bool frozen;		  /* a running daemon cannot change it */
	bool included;		  /* what it names stands in a dump instead of itself */
	const char *help;	  /* one line, at most 80 characters */
};

extern const struct conf_row conf_rows[];
extern const size_t conf_n_rows;

/* Return: the row of a key, or NULL. */
const struct conf_row *conf_row_find(enum conf_kind kind, const char *key);

#endif
