/* SPDX-License-Identifier: MIT */
#ifndef REDMUTEXD_UTIL_RECORD_H
#define REDMUTEXD_UTIL_RECORD_H
/*
 * State as text that describes itself, for another process of this program or the next release of
 * it. One record a line: a type, then fields `key=value` separated by single spaces. In values
 * what is not printable ASCII, the space and `%` are percent-encoded. The first record is the
 * header with the format's version, the last one says how many there were.
 *
 * Readers ignore types and keys that they do not know, and what is missing is 0 or empty; so a
 * release may add both without another version. Nothing that is read is trusted.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Rises when what is written cannot be understood by a reader of before. */
enum { RECORD_VERSION = 1 };

enum { RECORD_FIELDS_MAX = 64, RECORD_SIZE_MAX = 1 << 30 };

/* ------------------------------------------------------------------ writing */
/* Zeroed it is empty. */
struct record_writer {
	char *data;
	size_t len, size;
	uint64_t n_records;
	bool failed; /* memory is out: nothing of it is of use */
};

/* The header. @program: the version of the program that writes, for people. */
void record_open(struct record_writer *w, const char *program);
/* The record that ends it. */
void record_close(struct record_writer *w);
void record_writer_deinit(struct record_writer *w);

/* One record: its type, its fields, its end. Keys and types are words of a-z, 0-9 and `_`. */
void record_begin(struct record_writer *w, const char *type);
void record_put_number(struct record_writer *w, const char *key, int64_t value);  /* not if 0 */
void record_put_text(struct record_writer *w, const char *key, const char *text); /* not if NULL */
void record_put_bytes(struct record_writer *w, const char *key, const void *bytes, size_t len);
/* Several numbers, separated by commas; those at the end that are 0 are left out. */
void record_put_numbers(struct record_writer *w, const char *key, const uint64_t *values, size_t n);
void record_end(struct record_writer *w);

/* What was written, in a file without a name, closed on exec. Return: it; or a negative errno. */
int record_to_fd(const struct record_writer *w);
/* What such a file has, to be freed; NULL: `errno` says why. Reads from its start. */
char *record_from_fd(int fd, size_t *len);

/* ------------------------------------------------------------------ reading */
struct record_span {
	const char *at;
	size_t len;
};

struct record {
	struct record_span type;
	struct record_span keys[RECORD_FIELDS_MAX], values[RECORD_FIELDS_MAX]; /* encoded */
	size_t n_fields;
};

/* Copied, it goes on from the same place: so several readers each take the records of theirs. */
struct record_reader {
	const char *at, *end;
	int64_t version;
	char why[160]; /* what is wrong, after a failure */
	char program[64];
};

/*
 * record_reader_init - look at the text as a whole: its header, each line's form, and its end
 * @data: borrowed while it is read
 *
 * Return: whether it can be read.
 */
bool record_reader_init(struct record_reader *reader, const char *data, size_t len);
/* The next record; its members point into the text. Return: false at the end. */
bool record_next(struct record_reader *reader, struct record *record);

bool record_is(const struct record *record, const char *type);
bool record_has(const struct record *record, const char *key);
/* Return: 0 when it is missing, or not a decimal number that fits. */
int64_t record_number(const struct record *record, const char *key);
/* The same, and `fallback` when it is not within the limits. */
int64_t record_number_within(const struct record *record, const char *key, int64_t min, int64_t max,
			     int64_t fallback);
/* How many of the n numbers are there; the others are set to 0. */
size_t record_numbers(const struct record *record, const char *key, uint64_t *values, size_t n);
/*
 * Decoded, with a NUL behind it, to be freed. Return: NULL when it is missing or malformed, or when
 * memory is out.
 */
char *record_bytes(const struct record *record, const char *key, size_t *len);
/* As record_bytes(); what holds a NUL byte is malformed. */
char *record_text(const struct record *record, const char *key);
/* Into a buffer of that size; empty when it is missing. Return: false when it does not fit. */
bool record_copy_text(const struct record *record, const char *key, char *out, size_t size);

#endif
