/* SPDX-License-Identifier: MIT */
/* The words of the protocol, from its tables. */
#include "config.h"

#include "proto/proto.h"

#include <string.h>

#define WORD(text)                                                                                 \
	{                                                                                          \
		(text), sizeof(text) - 1                                                           \
	}

static const struct span verb_words[N_VERBS] = {
#define VERB(id, word, min, max, options) [VERB_##id] = WORD(word),
#include "proto/verbs.def"
#undef VERB
};

static const struct span option_words[N_OPTIONS] = {
#define OPTION(id, word) [OPTION_##id] = WORD(word),
#include "proto/options.def"
#undef OPTION
};

static const struct {
	struct span word;
	const char *text;
	int exit_status;
} errors[N_PROTO_ERRORS] = {
	[PROTO_OK] = {WORD("OK"), "done", 0},
#define ERROR(id, word, text, status) [PROTO_E_##id] = {WORD(word), text, status},
#include "proto/errors.def"
#undef ERROR
};

const char *verb_word(enum verb verb)
{
	return verb_words[verb].at;
}

const char *option_word(enum option option)
{
	return option_words[option].at;
}

const char *proto_error_word(enum proto_error error)
{
	return errors[error].word.at;
}

const char *proto_error_text(enum proto_error error)
{
	return errors[error].text;
}

int proto_error_exit_status(enum proto_error error)
{
	return errors[error].exit_status;
}

static bool same(struct span a, struct span b)
{
	return a.len == b.len && memcmp(a.at, b.at, a.len) == 0;
}

/* Is it this word of capital letters, written in any case? */
static bool same_in_any_case(struct span word, struct span capitals)
{
	if (word.len != capitals.len)
		return false;
	/* Nothing but a letter becomes a capital letter without this bit. */
	for (size_t i = 0; i < word.len; i++)
		if ((word.at[i] & ~0x20) != capitals.at[i])
			return false;
	return true;
}

int verb_find(struct span word)
{
	for (int verb = 0; verb < N_VERBS; verb++)
		if (same_in_any_case(word, verb_words[verb]))
			return verb;
	return -1;
}

int option_find(struct span word)
{
	for (int option = 0; option < N_OPTIONS; option++)
		if (same(word, option_words[option]))
			return option;
	return -1;
}

int proto_error_find(struct span word)
{
	for (int error = PROTO_OK + 1; error < N_PROTO_ERRORS; error++)
		if (same(word, errors[error].word))
			return error;
	return -1;
}
