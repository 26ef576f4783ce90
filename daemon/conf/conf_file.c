/* SPDX-License-Identifier: MIT */
/* An INI file as a row of events: a reader of our own in front of inih. */
#include "config.h"

#include "conf/conf_file.h"

#include <ctype.h>
#include <errno.h>
#include <ini.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

/*
 * inih calls the reader once a line and, if there is something in the line, the handler before it
 * reads the next: so the reader's line is the handler's. What inih does differently from one build
 * to the next (sections, indented lines, long lines) is done in the reader, and inih sees a
 * harmless line instead.
 */
struct reader {
	FILE *file;
	const struct conf_file_events *events;
	void *arg;
	char *line; /* getline(3)'s */
	size_t size;
	int number;
	bool has_key; /* an entry stood in this section, so that an indented line can go on with it
		       */
	bool pending; /* inih got an entry's line and has not called the handler yet */
	int error;
};

static void reader_fault(struct reader *r, const char *text)
{
	r->events->fault(r->arg, text, r->number);
}

/* Cuts an inline comment (a `;` after a space) and trailing spaces. */
static void text_trim(char *text)
{
	size_t len;

	for (char *at = text; *at; at++) {
		if (*at == ';' && at > text && isspace((unsigned char)at[-1])) {
			*at = '\0';
			break;
		}
	}
	len = strlen(text);
	while (len > 0 && isspace((unsigned char)text[len - 1]))
		text[--len] = '\0';
}

static void read_section(struct reader *r, char *header)
{
	char *end = strchr(header, ']');
	const char *rest;

	r->has_key = false;
	if (!end) {
		reader_fault(r, "expected a ] at the end of the section's name");
		r->events->section(r->arg, NULL, r->number);
		return;
	}
	*end = '\0';
	rest = end + 1 + strspn(end + 1, " \t");
	if (*rest && *rest != ';' && *rest != '#')
		reader_fault(r, "expected nothing but a comment after the section's ]");
	r->events->section(r->arg, header, r->number);
}

/* Does what is ours to do with a line. Return: whether inih is to see it. */
static bool read_line(struct reader *r, char *line)
{
	char *text = line;

	while (isspace((unsigned char)*text))
		text++;
	if (!*text || *text == ';' || *text == '#')
		return false;
	if (*text == '[') {
		if (text > line)
			reader_fault(r, "expected the section to begin at the start of the line");
		read_section(r, text + 1);
		return false;
	}
	if (text == line) {
		r->pending = true;
		return true;
	}
	if (!r->has_key) {
		reader_fault(r, "expected a key at the start of the line; an indented line goes on "
				"with the key before it, and there is none in this section");
		return false;
	}
	text_trim(text);
	r->events->more(r->arg, text, r->number);
	return false;
}

static void check_taken(struct reader *r)
{
	if (r->pending)
		reader_fault(r, "expected key = value, a [section] or a comment");
	r->pending = false;
}

/* inih's reader, which has fgets(3)'s contract: out[size] is inih's line buffer. */
static char *read_next(char *out, int size, void *stream)
{
	static const char bom[] = "\xef\xbb\xbf";
	struct reader *r = stream;
	ssize_t got;
	size_t len;
	char *line;

	errno = 0;
	got = getline(&r->line, &r->size, r->file);
	if (got < 0) {
		if (ferror(r->file))
			r->error = errno ? errno : EIO;
		return NULL;
	}
	check_taken(r);
	r->number++;
	line = r->line;
	len = (size_t)got;

	strcpy(out, "\n");
	if (memchr(line, '\0', len)) {
		reader_fault(r, "expected text, found a NUL byte");
		return out;
	}
	if (len > (size_t)size - 1) {
		char text[128];

		snprintf(text, sizeof(text),
			 "expected at most %d bytes with the line's end, got %zu", size - 1, len);
		reader_fault(r, text);
		return out;
	}
	if (r->number == 1 && strncmp(line, bom, sizeof(bom) - 1) == 0)
		line += sizeof(bom) - 1;
	len = strcspn(line, "\n");
	if (len > 0 && line[len - 1] == '\r')
		len--;
	line[len] = '\0';
	if (strchr(line, '\r')) {
		reader_fault(r, "expected a line end after the carriage return");
		return out;
	}
	if (read_line(r, line)) {
		memcpy(out, line, len + 1);
		if (len + 1 < (size_t)size)
			strcpy(out + len, "\n");
	}
	return out;
}

static int handle_entry(void *arg, const char *section, const char *key, const char *value)
{
	struct reader *r = arg;

	(void)section;
	/* Some builds call for sections and for lines without a value, too. */
	if (!key || !value)
		return 1;
	r->pending = false;
	r->has_key = *key;
	if (*key)
		r->events->entry(r->arg, key, value, r->number);
	else
		reader_fault(r, "expected a key before the =");
	return 1;
}

int conf_file_read(FILE *file, const struct conf_file_events *events, void *arg)
{
	struct reader r = {.file = file, .events = events, .arg = arg};

	if (ini_parse_stream(read_next, &r, handle_entry, &r) == -2)
		r.error = ENOMEM;
	check_taken(&r);
	free(r.line);
	return r.error;
}
