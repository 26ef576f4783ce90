/* SPDX-License-Identifier: MIT */
/* Reply lines, written and read. Requests are written with the same writer. */
#include "config.h"

#include "proto/reply.h"

#include <string.h>

#include "proto/chars.h"
#include "proto/line.h"
#include "proto/name.h"

/* How many bytes can still be written; one is kept for the LF. */
static size_t room(const struct reply_writer *w)
{
	return w->overflow || w->size <= w->len ? 0 : w->size - w->len - 1;
}

static void put(struct reply_writer *w, const char *bytes, size_t len)
{
	if (len > room(w)) {
		w->overflow = true;
		return;
	}
	memcpy(w->out + w->len, bytes, len);
	w->len += len;
}

static void put_string(struct reply_writer *w, const char *string)
{
	put(w, string, strlen(string));
}

static void put_number(struct reply_writer *w, int64_t number)
{
	char digits[20]; /* a sign and 19 digits */
	size_t at = sizeof(digits);
	uint64_t rest = number < 0 ? -(uint64_t)number : (uint64_t)number;

	do {
		digits[--at] = (char)('0' + rest % 10);
		rest /= 10;
	} while (rest > 0);
	if (number < 0)
		digits[--at] = '-';
	put(w, digits + at, sizeof(digits) - at);
}

static void put_encoded(struct reply_writer *w, const char *text)
{
	char escape[4];

	for (; *text != '\0' && !w->overflow; text++) {
		if (char_is(*text, CHAR_PLAIN))
			put(w, text, 1);
		else
			put(w, escape, percent_encode(text, 1, escape, sizeof(escape)));
	}
}

static void put_key(struct reply_writer *w, enum option option)
{
	put(w, " ", 1);
	put_string(w, option_word(option));
	put(w, "=", 1);
}

/* Ends a word that began at `start`: whole, or not at all. */
static void end_word(struct reply_writer *w, size_t start)
{
	if (w->overflow)
		w->len = start;
}

void reply_begin(struct reply_writer *w, char *out, size_t size, struct span tag, const char *kind)
{
	*w = (struct reply_writer){.out = out, .size = size};
	if (tag.len > 0) {
		put(w, "@", 1);
		put(w, tag.at, tag.len);
		put(w, " ", 1);
	}
	put_string(w, kind);
	end_word(w, 0);
}

void reply_word(struct reply_writer *w, const char *word)
{
	reply_span(w, (struct span){word, strlen(word)});
}

void reply_span(struct reply_writer *w, struct span word)
{
	size_t start = w->len;

	put(w, " ", 1);
	put(w, word.at, word.len);
	end_word(w, start);
}

void reply_number(struct reply_writer *w, int64_t number)
{
	size_t start = w->len;

	put(w, " ", 1);
	put_number(w, number);
	end_word(w, start);
}

void reply_option(struct reply_writer *w, enum option option, const char *value)
{
	size_t start = w->len;

	put_key(w, option);
	put_encoded(w, value);
	end_word(w, start);
}

void reply_option_number(struct reply_writer *w, enum option option, int64_t value)
{
	size_t start = w->len;

	put_key(w, option);
	put_number(w, value);
	end_word(w, start);
}

void reply_text(struct reply_writer *w, const char *text)
{
	if (*text == '\0')
		return;
	put(w, " ", 1);
	for (; *text != '\0' && room(w) > 0; text++)
		put(w, char_is(*text, CHAR_PRINTABLE) ? text : "?", 1);
}

size_t reply_end(struct reply_writer *w)
{
	if (w->len < w->size)
		w->out[w->len++] = '\n';
	return w->len;
}

size_t reply_error(char *out, size_t size, struct span tag, enum proto_error error,
		   const char *text)
{
	struct reply_writer w;

	reply_begin(&w, out, size, tag, "ERR");
	reply_word(&w, proto_error_word(error));
	reply_text(&w, text != NULL ? text : proto_error_text(error));
	return reply_end(&w);
}

/* Return: the enum reply_kind of a word, or -1. */
static int kind_find(struct span word)
{
	static const struct span kinds[] = {
		[REPLY_OK] = {"OK", 2},
		[REPLY_ERR] = {"ERR", 3},
		[REPLY_ITEM] = {"ITEM", 4},
		[REPLY_EVENT] = {"EVENT", 5},
	};

	for (int kind = REPLY_OK; kind <= REPLY_EVENT; kind++)
		if (word.len == kinds[kind].len && memcmp(word.at, kinds[kind].at, word.len) == 0)
			return kind;
	return -1;
}

/* Return: the length of the key, if the word looks like an option; else 0. */
static size_t option_key_len(struct span word)
{
	size_t len = 0;

	while (len < word.len && char_is(word.at[len], CHAR_KEY))
		len++;
	/* A lock string can be 43 lower-case letters and a `=`. */
	return len < word.len && word.at[len] == '=' && !lock_string_valid(word) ? len : 0;
}

static int parse_words(struct span rest, struct reply *reply)
{
	struct span word;

	while ((word = word_next(&rest)).len > 0) {
		size_t key_len = option_key_len(word);
		int option;

		if (key_len == 0) {
			if (reply->n_words == REPLY_WORDS_MAX)
				return -1;
			reply->words[reply->n_words++] = word;
			continue;
		}
		option = option_find((struct span){word.at, key_len});
		if (option < 0)
			continue;
		if (reply->n_options == REPLY_OPTIONS_MAX)
			return -1;
		reply->options[reply->n_options].option = (enum option)option;
		reply->options[reply->n_options].value.at = word.at + key_len + 1;
		reply->options[reply->n_options++].value.len = word.len - key_len - 1;
	}
	return 0;
}

static int parse_error(struct span rest, struct reply *reply)
{
	int error;

	reply->code = word_next(&rest);
	if (reply->code.len == 0)
		return -1;
	while (rest.len > 0 && *rest.at == ' ') {
		rest.at++;
		rest.len--;
	}
	reply->text = rest;
	error = proto_error_find(reply->code);
	reply->error = error < 0 ? PROTO_E_INTERNAL : (enum proto_error)error;
	return 0;
}

int reply_parse(struct span line, struct reply *reply)
{
	struct span word;
	int kind;

	reply->tag = reply->code = reply->text = (struct span){line.at, 0};
	reply->error = PROTO_OK;
	reply->n_words = reply->n_options = 0;

	if (!span_is(line, CHAR_PRINTABLE))
		return -1;
	word = word_next(&line);
	if (word.len > 0 && *word.at == '@') {
		reply->tag = (struct span){word.at + 1, word.len - 1};
		if (!tag_valid(reply->tag))
			return -1;
		word = word_next(&line);
	}
	kind = kind_find(word);
	if (kind < 0)
		return -1;
	reply->kind = (enum reply_kind)kind;
	if (reply->kind == REPLY_ERR)
		return parse_error(line, reply);
	if (parse_words(line, reply) < 0)
		return -1;

	/* An item and an event are about something, and no request asked for an event. */
	if (reply->kind == REPLY_ITEM)
		return reply->n_words > 0 ? 0 : -1;
	if (reply->kind == REPLY_EVENT)
		return reply->n_words > 0 && reply->tag.len == 0 ? 0 : -1;
	return 0;
}

struct span reply_find(const struct reply *reply, enum option option)
{
	for (unsigned i = 0; i < reply->n_options; i++)
		if (reply->options[i].option == option)
			return reply->options[i].value;
	return (struct span){NULL, 0};
}

bool reply_find_number(const struct reply *reply, enum option option, int64_t *out)
{
	return number_parse(reply_find(reply, option), 0, INT64_MAX, out);
}
