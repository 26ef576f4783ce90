/* SPDX-License-Identifier: MIT */
/* A request line, as a struct and back. */
#include "config.h"

#include "proto/request.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "proto/chars.h"
#include "proto/line.h"
#include "proto/name.h"
#include "proto/reply.h"

enum { WORDS_MAX = 2, LOCK_WORD_MAX = 128, PID_MAX = INT32_MAX };

/* A positional word of a request. */
struct word_kind {
	bool (*valid)(struct span word);
	size_t offset; /* of its span in struct request */
	const char *placeholder;
	const char *expected;
};

/*
 * Whoever names a lock that cannot be one names one that is not held: that is an answer for the
 * daemon to give, not a mistake in the line.
 */
static bool lock_word_valid(struct span word)
{
	return word.len >= 1 && word.len <= LOCK_WORD_MAX && span_is(word, CHAR_WORD);
}

static bool pattern_valid(struct span word)
{
	return word.len >= 1 && word.len <= PROTO_NAME_MAX && span_is(word, CHAR_PATTERN);
}

static const struct word_kind a_name = {
	name_valid,
	offsetof(struct request, name),
	"<name>",
	"a name is 1 to 128 characters of A-Z a-z 0-9 . _ - : /",
};

static const struct word_kind a_lock = {
	lock_word_valid,
	offsetof(struct request, lock),
	"<lock>",
	"a lock string is the word that ACQUIRE answered, at most 128 characters here",
};

static const struct word_kind a_target = {
	tag_valid,
	offsetof(struct request, target),
	"<tag>",
	"a tag is 1 to 32 characters of A-Z a-z 0-9 . _ -, here without its @",
};

static const struct word_kind a_pattern = {
	pattern_valid,
	offsetof(struct request, pattern),
	"<pattern>",
	"a pattern is 1 to 128 characters of A-Z a-z 0-9 . _ - : / and *",
};

/* What may follow each verb. */
static const struct {
	unsigned min, max; /* positional words */
	unsigned options;  /* 1 << OPTION_x */
} forms[N_VERBS] = {
#define OPT(id) (1u << OPTION_##id)
#define VERB(id, word, min, max, options) [VERB_##id] = {min, max, options},
#include "proto/verbs.def"
#undef VERB
#undef OPT
};

static const struct word_kind *const word_kinds[N_VERBS][WORDS_MAX] = {
	[VERB_ACQUIRE] = {&a_name},  [VERB_RELEASE] = {&a_name, &a_lock},
	[VERB_EXISTS] = {&a_name},   [VERB_EXTEND] = {&a_name, &a_lock},
	[VERB_INFO] = {&a_name},     [VERB_LIST] = {&a_pattern},
	[VERB_CANCEL] = {&a_target}, [VERB_BREAK] = {&a_name},
};

static bool span_equals(struct span span, const char *string)
{
	return span.len == strlen(string) && memcmp(span.at, string, span.len) == 0;
}

static bool ttl_valid(int64_t ttl_ms)
{
	return ttl_ms >= PROTO_TTL_MIN_MS && ttl_ms <= PROTO_TTL_MAX_MS;
}

/* The options: each one's value read into the request, and written from it if it is valid. */

static bool protocol_parse(struct span value, struct request *request)
{
	if (number_parse(value, 0, INT64_MAX, &request->protocol))
		return true;
	/* However large the number is, it is only another version than ours. */
	for (size_t i = 0; i < value.len; i++)
		if (value.at[i] < '0' || value.at[i] > '9')
			return false;
	request->protocol = INT64_MAX;
	return value.len > 0;
}

static bool protocol_format(const struct request *request, struct reply_writer *w)
{
	reply_option_number(w, OPTION_PROTOCOL, request->protocol);
	return request->protocol >= 0;
}

static bool wait_parse(struct span value, struct request *request)
{
	if (span_equals(value, "forever")) {
		request->wait_ms = PROTO_WAIT_FOREVER;
		return true;
	}
	return number_parse(value, 0, PROTO_TTL_MAX_MS, &request->wait_ms);
}

static bool wait_format(const struct request *request, struct reply_writer *w)
{
	if (request->wait_ms == PROTO_WAIT_FOREVER) {
		reply_option(w, OPTION_WAIT, "forever");
		return true;
	}
	reply_option_number(w, OPTION_WAIT, request->wait_ms);
	return request->wait_ms >= 0 && request->wait_ms <= PROTO_TTL_MAX_MS;
}

static bool ttl_parse(struct span value, struct request *request)
{
	return number_parse(value, PROTO_TTL_MIN_MS, PROTO_TTL_MAX_MS, &request->ttl_ms);
}

static bool ttl_format(const struct request *request, struct reply_writer *w)
{
	reply_option_number(w, OPTION_TTL, request->ttl_ms);
	return ttl_valid(request->ttl_ms);
}

static bool renew_parse(struct span value, struct request *request)
{
	request->renew = span_equals(value, "yes");
	return request->renew || span_equals(value, "no");
}

static bool renew_format(const struct request *request, struct reply_writer *w)
{
	reply_option(w, OPTION_RENEW, request->renew ? "yes" : "no");
	return true;
}

static bool owner_parse(struct span value, struct request *request)
{
	if (span_equals(value, "connection")) {
		request->owner = REQUEST_OWNER_CONNECTION;
		return true;
	}
	if (span_equals(value, "none")) {
		request->owner = REQUEST_OWNER_NONE;
		return true;
	}
	if (value.len < 4 || memcmp(value.at, "pid:", 4) != 0)
		return false;
	request->owner = REQUEST_OWNER_PID;
	return number_parse((struct span){value.at + 4, value.len - 4}, 1, PID_MAX,
			    &request->owner_pid);
}

static bool owner_format(const struct request *request, struct reply_writer *w)
{
	char value[32];

	switch (request->owner) {
	case REQUEST_OWNER_CONNECTION:
		reply_option(w, OPTION_OWNER, "connection");
		return true;
	case REQUEST_OWNER_NONE:
		reply_option(w, OPTION_OWNER, "none");
		return true;
	case REQUEST_OWNER_PID:
		snprintf(value, sizeof(value), "pid:%lld", (long long)request->owner_pid);
		reply_option(w, OPTION_OWNER, value);
		return request->owner_pid >= 1 && request->owner_pid <= PID_MAX;
	}
	return false;
}

static bool note_parse(struct span value, struct request *request)
{
	return value.len <= PROTO_NOTE_MAX &&
	       percent_decode(value, request->note, sizeof(request->note)) >= 0;
}

static bool note_format(const struct request *request, struct reply_writer *w)
{
	size_t start = w->len;

	reply_option(w, OPTION_NOTE, request->note);
	return w->len - start <= strlen(" note=") + PROTO_NOTE_MAX;
}

/* Options that only replies carry have no row. */
static const struct {
	bool (*parse)(struct span value, struct request *request);
	bool (*format)(const struct request *request, struct reply_writer *w);
	const char *expected;
} option_rules[N_OPTIONS] = {
	[OPTION_PROTOCOL] = {protocol_parse, protocol_format, "a number"},
	[OPTION_WAIT] = {wait_parse, wait_format,
			 "milliseconds from 0 to 315360000000, or forever"},
	[OPTION_TTL] = {ttl_parse, ttl_format, "milliseconds from 10 to 315360000000"},
	[OPTION_RENEW] = {renew_parse, renew_format, "yes or no"},
	[OPTION_OWNER] = {owner_parse, owner_format,
			  "connection, none or pid:<n>, where n is a process id"},
	[OPTION_NOTE] = {note_parse, note_format,
			 "at most 256 bytes, in which what is not printable ASCII, the space and "
			 "% are written as %XX, and no %00"},
};

/* Where the text of a refusal goes. */
struct refusal {
	char *why;
	size_t size;
};

static enum proto_error refuse(struct refusal refusal, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

static enum proto_error refuse(struct refusal refusal, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(refusal.why, refusal.size, format, args);
	va_end(args);
	return PROTO_E_SYNTAX;
}

/* What is wrong, and what a request with this verb looks like. */
static enum proto_error refuse_form(struct refusal refusal, enum verb verb, const char *fault,
				    struct span culprit)
{
	char form[128];
	int len = snprintf(form, sizeof(form), "%s", verb_word(verb));

	for (unsigned i = 0; i < forms[verb].max; i++)
		len += snprintf(form + len, sizeof(form) - (size_t)len,
				i < forms[verb].min ? " %s" : " [%s]",
				word_kinds[verb][i]->placeholder);
	for (unsigned option = 0; option < N_OPTIONS; option++)
		if (forms[verb].options & 1u << option)
			len += snprintf(form + len, sizeof(form) - (size_t)len, " [%s=]",
					option_word((enum option)option));

	if (culprit.len == 0)
		return refuse(refusal, "%s; expected: %s", fault, form);
	return refuse(refusal, "%s \"%.*s\"; expected: %s", fault,
		      culprit.len < 32 ? (int)culprit.len : 32, culprit.at, form);
}

/* Takes the words by position: a lock string ends in `=`, and is no option for it. */
static enum proto_error parse_words(struct span *line, struct request *request,
				    struct refusal refusal)
{
	for (unsigned i = 0; i < forms[request->verb].max; i++) {
		const struct word_kind *kind = word_kinds[request->verb][i];
		struct span word = word_next(line);

		if (word.len == 0 && i >= forms[request->verb].min)
			break;
		if (word.len == 0)
			return refuse_form(refusal, request->verb, "too few words", word);
		if (!kind->valid(word))
			return refuse(refusal, "%s", kind->expected);
		*(struct span *)((char *)request + kind->offset) = word;
	}
	return PROTO_OK;
}

static enum proto_error parse_options(struct span *line, struct request *request,
				      struct refusal refusal)
{
	struct span word;

	while ((word = word_next(line)).len > 0) {
		const char *equals = memchr(word.at, '=', word.len);
		struct span key, value;
		int option;

		if (equals == NULL)
			return refuse_form(refusal, request->verb, "too many words, from", word);
		key = (struct span){word.at, (size_t)(equals - word.at)};
		value = (struct span){equals + 1, word.len - key.len - 1};
		option = option_find(key);
		if (option < 0 || !(forms[request->verb].options & 1u << option))
			return refuse_form(refusal, request->verb, "option not taken here:", key);
		if (request->given & 1u << option)
			return refuse(refusal, "%s= is given twice", option_word(option));
		if (!option_rules[option].parse(value, request))
			return refuse(refusal, "%s= takes %s", option_word(option),
				      option_rules[option].expected);
		request->given |= 1u << option;
	}
	return PROTO_OK;
}

static enum proto_error check_printable(struct span line, struct refusal refusal)
{
	for (size_t i = 0; i < line.len; i++)
		if (!char_is(line.at[i], CHAR_PRINTABLE))
			return refuse(refusal,
				      "byte %zu of the line is 0x%02x: a line is printable ASCII, "
				      "and other bytes of a note are written as %%XX",
				      i + 1, (unsigned char)line.at[i]);
	return PROTO_OK;
}

/* `renew=yes` with `owner=none`: nobody's life would end the renewals. */
static bool options_agree(const struct request *request)
{
	return !(request->given & 1u << OPTION_RENEW && request->renew &&
		 request->given & 1u << OPTION_OWNER && request->owner == REQUEST_OWNER_NONE);
}

enum proto_error request_parse(struct span line, struct request *request, char *why,
			       size_t why_size)
{
	const struct span none = {line.at, 0};
	struct refusal refusal = {why, why_size};
	struct span rest = line;
	struct span word = word_next(&rest);
	enum proto_error error;
	bool tagged = word.len > 0 && *word.at == '@';
	int verb;

	request->tag = none;
	if (tagged) {
		struct span tag = {word.at + 1, word.len - 1};

		if (tag_valid(tag))
			request->tag = tag;
		word = word_next(&rest);
	}

	error = check_printable(line, refusal);
	if (error != PROTO_OK)
		return error;
	if (tagged && request->tag.len == 0)
		return refuse(refusal, "a tag is @ and 1 to 32 characters of A-Z a-z 0-9 . _ -");
	if (word.len == 0)
		return refuse(refusal, "a command is missing: after its tag, a line goes on with a "
				       "verb such as PING");
	verb = verb_find(word);
	if (verb < 0) {
		refuse(refusal, "there is no command \"%.*s\"", word.len < 32 ? (int)word.len : 32,
		       word.at);
		return PROTO_E_UNKNOWN_COMMAND;
	}

	request->verb = (enum verb)verb;
	request->name = request->lock = request->target = request->pattern = none;
	request->given = 0;
	request->protocol = PROTO_VERSION;
	request->wait_ms = 0;
	request->ttl_ms = 0;
	request->renew = false;
	request->owner = REQUEST_OWNER_CONNECTION;
	request->owner_pid = 0;
	request->note[0] = '\0';

	error = parse_words(&rest, request, refusal);
	if (error == PROTO_OK)
		error = parse_options(&rest, request, refusal);
	if (error == PROTO_OK && !options_agree(request))
		return refuse(refusal, "renew=yes needs an owner whose end ends the renewals: it "
				       "can't stand with owner=none");
	return error;
}

int request_format(const struct request *request, char *out, size_t size)
{
	struct reply_writer w;

	if (request->tag.len > 0 && !tag_valid(request->tag))
		return -1;
	reply_begin(&w, out, size < PROTO_LINE_MAX ? size : PROTO_LINE_MAX, request->tag,
		    verb_word(request->verb));

	for (unsigned i = 0; i < forms[request->verb].max; i++) {
		const struct word_kind *kind = word_kinds[request->verb][i];
		struct span word = *(const struct span *)((const char *)request + kind->offset);

		if (word.len == 0 && i >= forms[request->verb].min)
			break;
		if (!kind->valid(word))
			return -1;
		reply_span(&w, word);
	}

	if (request->given & ~forms[request->verb].options || !options_agree(request))
		return -1;
	for (unsigned option = 0; option < N_OPTIONS; option++)
		if (request->given & 1u << option && !option_rules[option].format(request, &w))
			return -1;

	return w.overflow || size == 0 ? -1 : (int)reply_end(&w);
}
