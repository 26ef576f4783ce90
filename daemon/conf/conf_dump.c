/* SPDX-License-Identifier: MIT */
/* A configuration as the INI file that it would be if nothing were left to defaults. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "conf/conf.h"
#include "conf/conf_table.h"

/* inih reads 199 bytes of a line; longer values go on over indented lines. */
enum { LINE_MAX_LEN = 198 };

static void dump_value(const struct conf_row *row, const char *text, FILE *out)
{
	const char *glue = " = ";

	if (row->goes_on && strlen(row->key) + 3 + strlen(text) > LINE_MAX_LEN) {
		fprintf(out, "%s =\n", row->key);
		for (const char *at = text; *at; at += strspn(at, " ")) {
			int len = (int)strcspn(at, " ");

			fprintf(out, "\t%.*s\n", len, at);
			at += len;
		}
		return;
	}
	/* Written as tightly as it may have been read; a `;` after a space begins a comment. */
	if (*text == ';' || strlen(row->key) + 3 + strlen(text) > LINE_MAX_LEN)
		glue = "=";
	fprintf(out, "%s%s%s\n", row->key, glue, text);
}

/* All keys of a section; with a comment above each if it is the first of its kind. */
static void dump_rows(enum conf_kind kind, const void *base, bool is_first, bool secrets, FILE *out)
{
	for (size_t i = 0; i < conf_n_rows; i++) {
		const struct conf_row *row = &conf_rows[i];
		char *text;

		if (row->kind != kind || row->included)
			continue;
		if (is_first)
			fprintf(out, "; %s: %s\n", row->key, row->help);
		if (secrets && row->type->format_secret)
			text = row->type->format_secret(row, base);
		else
			text = row->type->format(row, base);
		if (text)
			dump_value(row, text, out);
		free(text);
	}
}

static void dump(const struct conf *conf, bool secrets, FILE *out)
{
	fprintf(out, "[redmutexd]\n");
	dump_rows(CONF_REDMUTEXD, conf, true, secrets, out);
	for (size_t i = 0; i < conf->n_mutexes; i++) {
		const struct conf_mutex *mutex = &conf->mutexes[i];

		fprintf(out, "\n; %s:%d\n[mutex %s]\n", mutex->file, mutex->line, mutex->name);
		dump_rows(CONF_MUTEX, mutex, i == 0, secrets, out);
	}
}

void conf_dump(const struct conf *conf, FILE *out)
{
	dump(conf, false, out);
}

void conf_save(const struct conf *conf, FILE *out)
{
	dump(conf, true, out);
}
