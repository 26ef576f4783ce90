/* SPDX-License-Identifier: MIT */
/* Records, one a line, written and read. */
#include "config.h"

#include "util/record.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static const char header_type[] = "redmutexd_state";
static const char end_type[] = "end";

/* ------------------------------------------------------------------ writing */

/* Room for so many more bytes. Return: where they go; NULL: memory is out. */
static char *reserve(struct record_writer *w, size_t len)
{
	size_t size = w->size ? w->size : 65536;
	char *data;

	if (w->failed)
		return NULL;
	if (w->len + len > RECORD_SIZE_MAX) {
		w->failed = true;
		return NULL;
	}
	while (size < w->len + len)
		size *= 2;
	if (size != w->size) {
		data = realloc(w->data, size);
		if (!data) {
			w->failed = true;
			return NULL;
		}
		w->data = data;
		w->size = size;
	}
	return w->data + w->len;
}

static void put(struct record_writer *w, const char *bytes, size_t len)
{
	char *out = reserve(w, len);

	if (!out)
		return;
	memcpy(out, bytes, len);
	w->len += len;
}

static void put_key(struct record_writer *w, const char *key)
{
	put(w, " ", 1);
	put(w, key, strlen(key));
	put(w, "=", 1);
}

void record_begin(struct record_writer *w, const char *type)
{
	w->n_records++;
	put(w, type, strlen(type));
}

void record_end(struct record_writer *w)
{
	put(w, "\n", 1);
}

void record_put_number(struct record_writer *w, const char *key, int64_t value)
{
	char text[32];

	if (value == 0)
		return;
	put_key(w, key);
	put(w, text, (size_t)snprintf(text, sizeof(text), "%" PRId64, value));
}

void record_put_numbers(struct record_writer *w, const char *key, const uint64_t *values, size_t n)
{
	char text[32];

	while (n > 0 && values[n - 1] == 0)
		n--;
	if (n == 0)
		return;
	put_key(w, key);
	for (size_t i = 0; i < n; i++)
		put(w, text,
		    (size_t)snprintf(text, sizeof(text), i ? ",%" PRIu64 : "%" PRIu64, values[i]));
}

static bool is_plain(unsigned char c)
{
	return c > ' ' && c < 0x7f && c != '%';
}

void record_put_bytes(struct record_writer *w, const char *key, const void *bytes, size_t len)
{
	static const char digits[] = "0123456789ABCDEF";
	const unsigned char *in = bytes;
	char *out;

	put_key(w, key);
	out = len <= RECORD_SIZE_MAX ? reserve(w, 3 * len) : NULL;
	if (!out) {
		w->failed = true;
		return;
	}
	for (size_t i = 0; i < len; i++) {
		if (is_plain(in[i])) {
			*out++ = (char)in[i];
			continue;
		}
		*out++ = '%';
		*out++ = digits[in[i] >> 4];
		*out++ = digits[in[i] & 15];
	}
	w->len = (size_t)(out - w->data);
}

void record_put_text(struct record_writer *w, const char *key, const char *text)
{
	if (text)
		record_put_bytes(w, key, text, strlen(text));
}

void record_open(struct record_writer *w, const char *program)
{
	record_begin(w, header_type);
	record_put_number(w, "version", RECORD_VERSION);
	record_put_text(w, "program", program);
	record_end(w);
}

void record_close(struct record_writer *w)
{
	const uint64_t n = w->n_records;

	record_begin(w, end_type);
	record_put_number(w, "records", (int64_t)n);
	record_end(w);
}

void record_writer_deinit(struct record_writer *w)
{
	if (w->data) /* it may hold passwords and lock strings */
		explicit_bzero(w->data, w->len);
	free(w->data);
	*w = (struct record_writer){0};
}

int record_to_fd(const struct record_writer *w)
{
	int fd, error;

	if (w->failed)
		return -ENOMEM;
	fd = memfd_create("redmutexd_state", MFD_CLOEXEC);
	if (fd < 0)
		return -errno;
	for (size_t done = 0; done < w->len;) {
		ssize_t n = write(fd, w->data + done, w->len - done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			error = errno;
			close(fd);
			return -error;
		}
		done += (size_t)n;
	}
	return fd;
}

char *record_from_fd(int fd, size_t *len)
{
	struct stat status;
	char *data;

	*len = 0;
	if (fstat(fd, &status) < 0)
		return NULL;
	if (!S_ISREG(status.st_mode) || status.st_size > RECORD_SIZE_MAX) {
		errno = EFBIG;
		return NULL;
	}
	data = malloc((size_t)status.st_size + 1);
	while (data && *len < (size_t)status.st_size) {
		ssize_t n = pread(fd, data + *len, (size_t)status.st_size - *len, (off_t)*len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			free(data);
			return NULL;
		}
		*len += (size_t)n;
	}
	return data;
}

/* ------------------------------------------------------------------ reading */

static bool span_is(struct record_span span, const char *text)
{
	return strlen(text) == span.len && memcmp(span.at, text, span.len) == 0;
}

static bool is_word(struct record_span span)
{
	for (size_t i = 0; i < span.len; i++) {
		const char c = span.at[i];

		if (!(c >= 'a' && c <= 'z') && !(c >= '0' && c <= '9') && c != '_')
			return false;
	}
	return span.len > 0;
}

static bool is_value(struct record_span span)
{
	for (size_t i = 0; i < span.len; i++) {
		if (!is_plain((unsigned char)span.at[i]) && span.at[i] != '%')
			return false;
	}
	return true;
}

/* What stands before the next space, and the space, taken off the line. */
static struct record_span take_word(struct record_span *line)
{
	const char *space = memchr(line->at, ' ', line->len);
	struct record_span word = {line->at, space ? (size_t)(space - line->at) : line->len};
	const size_t taken = word.len + (space != NULL);

	line->at += taken;
	line->len -= taken;
	return word;
}

static bool parse_line(struct record_span line, struct record *record)
{
	record->type = take_word(&line);
	record->n_fields = 0;
	if (!is_word(record->type))
		return false;
	while (line.len > 0) {
		struct record_span field = take_word(&line), key = field, value;
		const char *equals = memchr(field.at, '=', field.len);

		if (!equals || record->n_fields == RECORD_FIELDS_MAX)
			return false;
		key.len = (size_t)(equals - field.at);
		value = (struct record_span){equals + 1, field.len - key.len - 1};
		if (!is_word(key) || !is_value(value))
			return false;
		record->keys[record->n_fields] = key;
		record->values[record->n_fields++] = value;
	}
	return true;
}

/* Return: false at the end, and when the line has no end or no form; `why` tells them apart. */
static bool next_line(struct record_reader *reader, struct record *record)
{
	const char *newline;
	struct record_span line = {reader->at, 0};

	if (reader->at == reader->end)
		return false;
	newline = memchr(reader->at, '\n', (size_t)(reader->end - reader->at));
	if (!newline) {
		snprintf(reader->why, sizeof(reader->why), "the last line is cut off");
		return false;
	}
	line.len = (size_t)(newline - line.at);
	if (!parse_line(line, record)) {
		snprintf(reader->why, sizeof(reader->why), "a line is malformed: %.*s",
			 (int)(line.len < 40 ? line.len : 40), line.at);
		return false;
	}
	reader->at = newline + 1;
	return true;
}

static bool fail(struct record_reader *reader, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

static bool fail(struct record_reader *reader, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(reader->why, sizeof(reader->why), format, args);
	va_end(args);
	return false;
}

bool record_reader_init(struct record_reader *reader, const char *data, size_t len)
{
	struct record_reader walk;
	struct record record;
	const char *end = NULL;
	int64_t n = 1;

	*reader = (struct record_reader){.at = data, .end = data + len};
	if (!next_line(reader, &record) || !record_is(&record, header_type))
		return fail(reader, "it does not begin with %s", header_type);
	reader->version = record_number(&record, "version");
	if (reader->version < 1 || reader->version > RECORD_VERSION)
		return fail(reader, "it is of version %" PRId64 ", and only up to %d is understood",
			    reader->version, RECORD_VERSION);
	if (!record_copy_text(&record, "program", reader->program, sizeof(reader->program)))
		return fail(reader, "its header is malformed");
	walk = *reader;
	while (next_line(&walk, &record)) {
		if (end)
			return fail(reader, "something follows its end");
		if (record_is(&record, end_type)) {
			end = walk.at;
			if (record_number(&record, "records") != n)
				return fail(reader, "records are missing");
		}
		n++;
	}
	if (*walk.why)
		return fail(reader, "%s", walk.why);
	if (!end)
		return fail(reader, "its end is missing");
	return true;
}

bool record_next(struct record_reader *reader, struct record *record)
{
	return next_line(reader, record) && !record_is(record, end_type);
}

bool record_is(const struct record *record, const char *type)
{
	return span_is(record->type, type);
}

static const struct record_span *find(const struct record *record, const char *key)
{
	for (size_t i = 0; i < record->n_fields; i++) {
		if (span_is(record->keys[i], key))
			return &record->values[i];
	}
	return NULL;
}

bool record_has(const struct record *record, const char *key)
{
	return find(record, key) != NULL;
}

/* Digits, of a number that fits in 64 bits without its sign. */
static bool parse_digits(struct record_span span, uint64_t max, uint64_t *out)
{
	uint64_t value = 0;

	for (size_t i = 0; i < span.len; i++) {
		const unsigned digit = (unsigned)(span.at[i] - '0');

		if (digit > 9 || value > (max - digit) / 10)
			return false;
		value = 10 * value + digit;
	}
	*out = value;
	return span.len > 0;
}

int64_t record_number(const struct record *record, const char *key)
{
	return record_number_within(record, key, INT64_MIN, INT64_MAX, 0);
}

int64_t record_number_within(const struct record *record, const char *key, int64_t min, int64_t max,
			     int64_t fallback)
{
	const struct record_span *value = find(record, key);
	struct record_span digits;
	bool negative;
	uint64_t number;
	int64_t result = 0;

	if (value) {
		negative = value->len > 0 && *value->at == '-';
		digits = (struct record_span){value->at + negative, value->len - negative};
		if (!parse_digits(digits, INT64_MAX, &number))
			return fallback;
		result = negative ? -(int64_t)number : (int64_t)number;
	}
	return result < min || result > max ? fallback : result;
}

size_t record_numbers(const struct record *record, const char *key, uint64_t *values, size_t n)
{
	const struct record_span *value = find(record, key);
	struct record_span rest = value ? *value : (struct record_span){0};
	size_t i = 0;

	memset(values, 0, n * sizeof(*values));
	while (i < n && rest.len > 0) {
		const char *comma = memchr(rest.at, ',', rest.len);
		struct record_span digits = {rest.at, comma ? (size_t)(comma - rest.at) : rest.len};
		const size_t taken = digits.len + (comma != NULL);

		if (!parse_digits(digits, UINT64_MAX, &values[i]))
			break;
		i++;
		rest.at += taken;
		rest.len -= taken;
	}
	return i;
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return -1;
}

char *record_bytes(const struct record *record, const char *key, size_t *len)
{
	const struct record_span *value = find(record, key);
	char *out = value ? malloc(value->len + 1) : NULL;

	*len = 0;
	if (!out)
		return NULL;
	for (size_t i = 0; i < value->len; i++) {
		char c = value->at[i];

		if (c == '%') {
			int high = i + 1 < value->len ? hex_digit(value->at[i + 1]) : -1;
			int low = i + 2 < value->len ? hex_digit(value->at[i + 2]) : -1;

			if (high < 0 || low < 0) {
				free(out);
				*len = 0;
				return NULL;
			}
			c = (char)(high << 4 | low);
			i += 2;
		}
		out[(*len)++] = c;
	}
	out[*len] = '\0';
	return out;
}

char *record_text(const struct record *record, const char *key)
{
	size_t len;
	char *text = record_bytes(record, key, &len);

	if (text && strlen(text) != len) {
		free(text);
		return NULL;
	}
	return text;
}

bool record_copy_text(const struct record *record, const char *key, char *out, size_t size)
{
	char *text = record_text(record, key);
	bool good = text ? strlen(text) < size : !record_has(record, key);

	snprintf(out, size, "%s", good && text ? text : "");
	free(text);
	return good;
}
