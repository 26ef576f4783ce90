/* SPDX-License-Identifier: MIT */
/* PROTOCOL.md and the manual name all that the tables hold, and what they show is true. */
#include "config.h"

#include "check_proto.h"

#include <limits.h>
#include <stdio.h>

#include "proto/reply.h"
#include "proto/request.h"

static char protocol_md[64 * 1024], manual[64 * 1024];

/* Reads a file of the source tree, whole. */
static void read_source(const char *path, char *out, size_t size)
{
	const char *srcdir = getenv("srcdir");
	char full[PATH_MAX];
	FILE *file;
	size_t len;

	snprintf(full, sizeof(full), "%s/%s", srcdir ? srcdir : ".", path);
	file = fopen(full, "r");
	ck_assert_msg(file != NULL, "%s can't be opened", full);
	len = fread(out, 1, size - 1, file);
	ck_assert_msg(len > 0 && len < size - 1, "%s is of an unexpected size", full);
	fclose(file);
	out[len] = '\0';
}

static void read_documents(void)
{
	read_source("proto/PROTOCOL.md", protocol_md, sizeof(protocol_md));
	read_source("proto/redmutex-protocol.7", manual, sizeof(manual));
}

/* Is there such a text, and not only as the beginning of a longer word? */
static bool names(const char *document, const char *format, const char *word)
{
	char text[64];
	size_t len = (size_t)snprintf(text, sizeof(text), format, word);

	for (const char *at = document; (at = strstr(at, text)) != NULL; at++)
		if (strchr(" \n`=", at[len]) != NULL || at[len - 1] == '=')
			return true;
	return false;
}

START_TEST(every_verb_is_named)
	{
		for (int verb = 0; verb < N_VERBS; verb++) {
			ck_assert_msg(names(protocol_md, "\n### %s", verb_word(verb)),
				      "PROTOCOL.md: %s", verb_word(verb));
			ck_assert_msg(names(manual, "\n.It Ic %s", verb_word(verb)),
				      "the manual: %s", verb_word(verb));
		}
	}
END_TEST

START_TEST(every_option_is_named)
	{
		for (int option = 0; option < N_OPTIONS; option++) {
			ck_assert_msg(names(protocol_md, "`%s=", option_word(option)),
				      "PROTOCOL.md: %s", option_word(option));
			ck_assert_msg(names(manual, "Cm %s=", option_word(option)),
				      "the manual: %s", option_word(option));
		}
	}
END_TEST

START_TEST(every_error_code_is_named)
	{
		for (int error = PROTO_OK + 1; error < N_PROTO_ERRORS; error++) {
			ck_assert_msg(names(protocol_md, "\n| `%s", proto_error_word(error)),
				      "PROTOCOL.md: %s", proto_error_word(error));
			ck_assert_msg(names(manual, "\n.It Cm %s", proto_error_word(error)),
				      "the manual: %s", proto_error_word(error));
		}
	}
END_TEST

/* The span from after `start` up to a byte of `stops`. */
static struct span word_at(const char *start, const char *stops)
{
	return (struct span){start, strcspn(start, stops)};
}

START_TEST(no_verb_is_named_that_is_none)
	{
		static const char heading[] = "\n### ", item[] = "\n.It Ic ";
		unsigned n_verbs = 0, n_events = 0;

		for (const char *at = protocol_md; (at = strstr(at, heading)) != NULL;
		     at++, n_verbs++)
			ck_assert_int_ge(verb_find(word_at(at + strlen(heading), "\n")), 0);
		ck_assert_uint_eq(n_verbs, N_VERBS);

		n_verbs = 0;
		for (const char *at = manual; (at = strstr(at, item)) != NULL; at++) {
			struct span word = word_at(at + strlen(item), " \n");

			if (word.len == 5 && memcmp(word.at, "EVENT", 5) == 0)
				n_events++;
			else if (verb_find(word) >= 0)
				n_verbs++;
			else
				ck_abort_msg("the manual: %.*s", (int)word.len, word.at);
		}
		ck_assert_uint_eq(n_verbs, N_VERBS);
		ck_assert_uint_eq(n_events, 2);
	}
END_TEST

static const struct {
	const char *text;
	unsigned n_replies, n_accepted, n_refused; /* at least */
} transcripts[] = {
	{protocol_md, 30, 20, 4},
	{manual, 5, 5, 0},
};

START_TEST(replies_in_transcripts_are_replies)
	{
		unsigned n_replies = 0;

		for (const char *at = transcripts[_i].text; (at = strstr(at, "\n< ")) != NULL;
		     at++) {
			struct span line = word_at(at + 3, "\n");
			struct reply reply;

			ck_assert_msg(reply_parse(line, &reply) == 0, "%.*s", (int)line.len,
				      line.at);
			if (reply.kind == REPLY_ERR)
				ck_assert_msg(proto_error_find(reply.code) >= 0, "%.*s",
					      (int)line.len, line.at);
			n_replies++;
		}
		ck_assert_uint_ge(n_replies, transcripts[_i].n_replies);
	}
END_TEST

/* A request that is refused is followed by the very words of the refusal. */
START_TEST(requests_in_transcripts_are_understood_or_refused_as_shown)
	{
		unsigned n_refused = 0, n_accepted = 0;

		for (const char *at = transcripts[_i].text; (at = strstr(at, "\n> ")) != NULL;
		     at++) {
			struct span line = word_at(at + 3, "\n");
			struct request request;
			char why[256], expected[PROTO_REPLY_MAX];
			enum proto_error error = request_parse(line, &request, why, sizeof(why));
			size_t len;

			if (error == PROTO_OK) {
				n_accepted++;
				continue;
			}
			n_refused++;
			len = reply_error(expected, sizeof(expected), request.tag, error, why);
			ck_assert_msg(strncmp(line.at + line.len, "\n< ", 3) == 0 &&
					      strncmp(line.at + line.len + 3, expected, len) == 0,
				      "%.*s: %.*s", (int)line.len, line.at, (int)len, expected);
		}
		ck_assert_uint_ge(n_accepted, transcripts[_i].n_accepted);
		ck_assert_uint_ge(n_refused, transcripts[_i].n_refused);
	}
END_TEST

int main(void)
{
	Suite *suite = suite_create("proto/docs");
	TCase *words = tcase_create("words");
	TCase *examples = tcase_create("transcripts");

	tcase_add_checked_fixture(words, read_documents, NULL);
	tcase_add_test(words, every_verb_is_named);
	tcase_add_test(words, every_option_is_named);
	tcase_add_test(words, every_error_code_is_named);
	tcase_add_test(words, no_verb_is_named_that_is_none);
	suite_add_tcase(suite, words);

	tcase_add_checked_fixture(examples, read_documents, NULL);
	tcase_add_loop_test(examples, replies_in_transcripts_are_replies, 0, 2);
	tcase_add_loop_test(examples, requests_in_transcripts_are_understood_or_refused_as_shown, 0,
			    2);
	suite_add_tcase(suite, examples);
	return suite_run(suite);
}
