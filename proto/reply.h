/* SPDX-License-Identifier: MIT */
#ifndef REDMUTEX_PROTO_REPLY_H
#define REDMUTEX_PROTO_REPLY_H
/*
 * Reply lines. Writing: start a line, add words and options, end it. Reading: the line is split
 * into its kind, its tag, its words and options.
 *
 *	[@tag] OK word... key=value...
 *	[@tag] ERR code text...
 *	[@tag] ITEM word... key=value...
 *	EVENT LOST|EXPIRING name lock ...
 */
#include "proto/proto.h"

/* A line being written into a buffer of the caller's. Never overflows: see reply_end(). */
struct reply_writer {
	char *out;
	size_t size; /* PROTO_REPLY_MAX is always enough */
	size_t len;
	bool overflow;
};

void reply_begin(struct reply_writer *w, char *out, size_t size, struct span tag, const char *kind);
void reply_word(struct reply_writer *w, const char *word);
void reply_span(struct reply_writer *w, struct span word);
void reply_number(struct reply_writer *w, int64_t number);
void reply_option(struct reply_writer *w, enum option option, const char *value); /* encodes */
void reply_option_number(struct reply_writer *w, enum option option, int64_t value);
/* The text after a code: control bytes become '?', what is too long is cut. Must come last. */
void reply_text(struct reply_writer *w, const char *text);
/* Writes the LF. Return: the length of the line; one too long for the buffer is cut at a word. */
size_t reply_end(struct reply_writer *w);

/* `ERR code text`, whole; text NULL: the code's own. */
size_t reply_error(char *out, size_t size, struct span tag, enum proto_error error,
		   const char *text);

enum reply_kind { REPLY_OK, REPLY_ERR, REPLY_ITEM, REPLY_EVENT };

enum { REPLY_WORDS_MAX = 8, REPLY_OPTIONS_MAX = 24 };

/*
 * A line that was read. Spans are borrowed from it. Words that look like options (their part
 * before the first `=` is lower-case letters and underscores, and it is not a lock string) are
 * options; unknown ones are kept out. Of an ERR line everything after the code is `text`.
 */
struct reply {
	enum reply_kind kind;
	struct span tag;
	enum proto_error error; /* of an ERR; one that is not known reads as PROTO_E_INTERNAL */
	struct span code;	/* of an ERR, as it stood in the line */
	struct span text;	/* of an ERR */
	struct span words[REPLY_WORDS_MAX];
	unsigned n_words;
	struct {
		enum option option;
		struct span value; /* still percent-encoded */
	} options[REPLY_OPTIONS_MAX];
	unsigned n_options;
};

/* Return: 0, or -1 when the line is none of ours. */
int reply_parse(struct span line, struct reply *reply);

/* The raw value of an option; len 0 when it is absent. */
struct span reply_find(const struct reply *reply, enum option option);
/* The same as a number. Return: false when it is absent or not a number of at least 0. */
bool reply_find_number(const struct reply *reply, enum option option, int64_t *out);

#endif
