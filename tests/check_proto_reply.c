/* SPDX-License-Identifier: MIT */
/* Reply lines, written and read. */
#include "config.h"

#include "check_proto.h"

#include <stdio.h>

#include "proto/line.h"
#include "proto/name.h"
#include "proto/reply.h"

#define NO_TAG ((struct span){NULL, 0})

/* Ends the line, which must be this one. */
static void assert_line(struct reply_writer *w, const char *expected)
{
	size_t len = reply_end(w);

	ck_assert_uint_gt(len, 0);
	ck_assert_int_eq(w->out[len - 1], '\n');
	ck_assert_span(((struct span){w->out, len - 1}), expected);
}

START_TEST(a_line_is_written_word_by_word)
	{
		char out[PROTO_REPLY_MAX];
		struct reply_writer w;

		reply_begin(&w, out, sizeof(out), NO_TAG, "OK");
		assert_line(&w, "OK");

		reply_begin(&w, out, sizeof(out), S("t-1"), "OK");
		reply_word(&w, LOCK_MIXED);
		reply_option_number(&w, OPTION_TTL, 29698);
		reply_option_number(&w, OPTION_FENCE, INT64_MAX);
		assert_line(&w, "@t-1 OK " LOCK_MIXED " ttl=29698 fence=9223372036854775807");

		reply_begin(&w, out, sizeof(out), NO_TAG, "EVENT");
		reply_word(&w, "EXPIRING");
		reply_span(&w, S("backup"));
		reply_word(&w, LOCK_LOWER);
		reply_number(&w, 0);
		assert_line(&w, "EVENT EXPIRING backup " LOCK_LOWER " 0");

		reply_begin(&w, out, sizeof(out), NO_TAG, "ITEM");
		reply_word(&w, "drift");
		reply_number(&w, INT64_MIN);
		assert_line(&w, "ITEM drift -9223372036854775808");

		reply_begin(&w, out, sizeof(out), NO_TAG, "OK");
		reply_option(&w, OPTION_NOTE, "a b%\n\xc3\xa9=");
		reply_option(&w, OPTION_COMM, "");
		assert_line(&w, "OK note=a%20b%25%0A%C3%A9= comm=");
	}
END_TEST

START_TEST(text_holds_no_control_bytes)
	{
		char out[PROTO_REPLY_MAX];
		struct reply_writer w;

		reply_begin(&w, out, sizeof(out), NO_TAG, "ERR");
		reply_word(&w, "unavailable");
		reply_text(&w, "redis:\nno\r\x7f route\x80 to host");
		assert_line(&w, "ERR unavailable redis:?no?? route? to host");
	}
END_TEST

START_TEST(an_error_has_a_text_of_its_own)
	{
		char out[PROTO_REPLY_MAX], expected[256];
		size_t len;

		for (int error = PROTO_OK + 1; error < N_PROTO_ERRORS; error++) {
			snprintf(expected, sizeof(expected), "@7 ERR %s %s\n",
				 proto_error_word(error), proto_error_text(error));
			len = reply_error(out, sizeof(out), S("7"), error, NULL);
			ck_assert_span(((struct span){out, len}), expected);
		}
		len = reply_error(out, sizeof(out), NO_TAG, PROTO_E_LIMIT, "max_waiters");
		ck_assert_span(((struct span){out, len}), "ERR limit max_waiters\n");
		len = reply_error(out, sizeof(out), NO_TAG, PROTO_E_LIMIT, "");
		ck_assert_span(((struct span){out, len}), "ERR limit\n");
	}
END_TEST

/* What is left of one line in buffers of each size: only whole words, in order, then the LF. */
START_TEST(a_line_too_long_is_cut_at_a_word)
	{
		static const char *const prefixes[] = {
			"",
			"@t OK",
			"@t OK one",
			"@t OK one 22",
			"@t OK one 22 note=x%20y",
			"@t OK one 22 note=x%20y ttl=10",
		};
		char out[64];
		struct reply_writer w;

		for (size_t size = 1; size < sizeof(out); size++) {
			const char *expected = "";
			size_t len;

			memset(out, '#', sizeof(out));
			reply_begin(&w, out, size, S("t"), "OK");
			reply_word(&w, "one");
			reply_number(&w, 22);
			reply_option(&w, OPTION_NOTE, "x y");
			reply_option_number(&w, OPTION_TTL, 10);
			len = reply_end(&w);

			for (size_t i = 0; i < sizeof(prefixes) / sizeof(*prefixes); i++)
				if (strlen(prefixes[i]) + 1 <= size)
					expected = prefixes[i];
			ck_assert_uint_le(len, size);
			ck_assert_int_eq(out[len - 1], '\n');
			ck_assert_span(((struct span){out, len - 1}), expected);
			ck_assert_int_eq(out[size], '#');
		}
		reply_begin(&w, out, 0, S("t"), "OK");
		ck_assert_uint_eq(reply_end(&w), 0);
	}
END_TEST

START_TEST(what_follows_a_word_left_out_is_left_out_too)
	{
		char out[16];
		struct reply_writer w;

		reply_begin(&w, out, sizeof(out), NO_TAG, "ITEM");
		reply_word(&w, "a-word-too-long-for-it");
		reply_word(&w, "b");
		reply_text(&w, "c");
		assert_line(&w, "ITEM");
	}
END_TEST

START_TEST(long_text_is_cut_to_the_line)
	{
		char text[2 * PROTO_REPLY_MAX], out[PROTO_REPLY_MAX + 1];
		size_t len;

		memset(text, 'x', sizeof(text));
		text[sizeof(text) - 1] = '\0';
		out[PROTO_REPLY_MAX] = '#';
		len = reply_error(out, PROTO_REPLY_MAX, NO_TAG, PROTO_E_INTERNAL, text);
		ck_assert_uint_eq(len, PROTO_REPLY_MAX);
		ck_assert_int_eq(out[len - 1], '\n');
		ck_assert_int_eq(out[len], '#');
	}
END_TEST

/* The longest that INFO can have to say. */
START_TEST(the_longest_answer_fits_into_a_line)
	{
		char out[PROTO_REPLY_MAX], text[PROTO_NOTE_MAX + 1];
		struct reply_writer w;
		struct reply reply;
		struct span bytes, line;

		memset(text, ' ', sizeof(text) - 1);
		text[sizeof(text) - 1] = '\0';
		reply_begin(&w, out, sizeof(out), S("abcdefghijabcdefghijabcdefghijab"), "ITEM");
		text[PROTO_NAME_MAX] = '\0';
		memset(text, 'n', PROTO_NAME_MAX);
		reply_word(&w, text);
		memset(text, ' ', sizeof(text) - 1);
		for (int option = 0; option < N_OPTIONS; option++) {
			if (option == OPTION_NOTE || option == OPTION_HOST ||
			    option == OPTION_USER || option == OPTION_COMM)
				reply_option(&w, option, text);
			else
				reply_option_number(&w, option, INT64_MAX);
		}
		ck_assert(!w.overflow);
		bytes = (struct span){out, reply_end(&w)};
		ck_assert_int_eq(line_next(&bytes, PROTO_REPLY_MAX, &line), LINE_READY);
		ck_assert_int_eq(reply_parse(line, &reply), 0);
		ck_assert_uint_eq(reply.n_options, N_OPTIONS);
	}
END_TEST

START_TEST(what_was_written_is_read)
	{
		char out[PROTO_REPLY_MAX], note[64];
		struct reply_writer w;
		struct reply reply;
		struct span bytes, line, value;
		int64_t number = 0;

		reply_begin(&w, out, sizeof(out), S("t"), "OK");
		reply_word(&w, LOCK_LOWER);
		reply_option_number(&w, OPTION_TTL, 29698);
		reply_option(&w, OPTION_NOTE, "a=b c%");
		reply_option(&w, OPTION_HOLDER, "here");
		bytes = (struct span){out, reply_end(&w)};
		ck_assert_int_eq(line_next(&bytes, PROTO_REPLY_MAX, &line), LINE_READY);

		memset(&reply, 0xa5, sizeof(reply));
		ck_assert_int_eq(reply_parse(line, &reply), 0);
		ck_assert_int_eq(reply.kind, REPLY_OK);
		ck_assert_int_eq(reply.error, PROTO_OK);
		ck_assert_span(reply.tag, "t");
		ck_assert_uint_eq(reply.n_words, 1);
		ck_assert_span(reply.words[0], LOCK_LOWER);
		ck_assert_uint_eq(reply.n_options, 3);
		ck_assert_span(reply_find(&reply, OPTION_HOLDER), "here");
		value = reply_find(&reply, OPTION_NOTE);
		ck_assert_int_ge(percent_decode(value, note, sizeof(note)), 0);
		ck_assert_str_eq(note, "a=b c%");
		ck_assert(reply_find_number(&reply, OPTION_TTL, &number));
		ck_assert_int_eq(number, 29698);
		ck_assert(!reply_find_number(&reply, OPTION_FENCE, &number));
		ck_assert(!reply_find_number(&reply, OPTION_HOLDER, &number));
		ck_assert_int_eq(number, 29698);
		ck_assert_uint_eq(reply_find(&reply, OPTION_FENCE).len, 0);
	}
END_TEST

START_TEST(an_error_is_read)
	{
		struct reply reply;

		ck_assert_int_eq(
			reply_parse(S("@t ERR unavailable  backup: a=b, no route"), &reply), 0);
		ck_assert_int_eq(reply.kind, REPLY_ERR);
		ck_assert_int_eq(reply.error, PROTO_E_UNAVAILABLE);
		ck_assert_span(reply.tag, "t");
		ck_assert_span(reply.code, "unavailable");
		ck_assert_span(reply.text, "backup: a=b, no route");
		ck_assert_uint_eq(reply.n_words, 0);
		ck_assert_uint_eq(reply.n_options, 0);

		ck_assert_int_eq(reply_parse(S("ERR on_fire the house burns"), &reply), 0);
		ck_assert_int_eq(reply.error, PROTO_E_INTERNAL);
		ck_assert_span(reply.code, "on_fire");
		ck_assert_span(reply.text, "the house burns");

		ck_assert_int_eq(reply_parse(S("ERR limit"), &reply), 0);
		ck_assert_int_eq(reply.error, PROTO_E_LIMIT);
		ck_assert_uint_eq(reply.text.len, 0);
	}
END_TEST

static const struct {
	struct span line;
	int kind; /* -1: none of ours */
	unsigned n_words, n_options;
} readable[] = {
	{S("OK"), REPLY_OK, 0, 0},
	{S("@a OK"), REPLY_OK, 0, 0},
	{S("OK true"), REPLY_OK, 1, 0},
	{S("OK redmutexd version=0.1.0 protocol=1 pid=7"), REPLY_OK, 1, 3},
	{S("OK ttl=1 colour=red ttl_in_years=1"), REPLY_OK, 0, 1}, /* unknown: kept out */
	{S("OK " LOCK_LOWER " ttl=1"), REPLY_OK, 1, 1},
	{S("OK " LOCK_MIXED), REPLY_OK, 1, 0},
	{S("OK TTL=1 =x a-b=c"), REPLY_OK, 3, 0}, /* these don't look like options */
	{S("OK 1 2 3 4 5 6 7 8"), REPLY_OK, 8, 0},
	{S("OK 1 2 3 4 5 6 7 8 9"), -1, 0, 0},
	{S("OK ttl=1 ttl=1 ttl=1 ttl=1 ttl=1 ttl=1 ttl=1 ttl=1 ttl=1 ttl=1 ttl=1 ttl=1 ttl=1 "
	   "ttl=1 ttl=1 ttl=1 ttl=1 ttl=1 ttl=1 ttl=1 ttl=1 ttl=1 ttl=1 ttl=1"),
	 REPLY_OK, 0, 24},
	{S("OK ttl=1 ttl=1 ttl=1 ttl=1 ttl=1 ttl=1 ttl=1 ttl=1 ttl=1 ttl=1 ttl=1 ttl=1 ttl=1 "
	   "ttl=1 ttl=1 ttl=1 ttl=1 ttl=1 ttl=1 ttl=1 ttl=1 ttl=1 ttl=1 ttl=1 ttl=1"),
	 -1, 0, 0},
	{S("@1 ITEM order-* family=yes members=3"), REPLY_ITEM, 1, 2},
	{S("ITEM grants 17"), REPLY_ITEM, 2, 0},
	{S("ITEM"), -1, 0, 0},
	{S("EVENT LOST backup " LOCK_LOWER " expired"), REPLY_EVENT, 4, 0},
	{S("EVENT EXPIRING backup " LOCK_MIXED " 5000"), REPLY_EVENT, 4, 0},
	{S("EVENT"), -1, 0, 0},
	{S("@t EVENT LOST a b c"), -1, 0, 0},
	{S("ERR"), -1, 0, 0},
	{S(""), -1, 0, 0},
	{S("@t"), -1, 0, 0},
	{S("@ OK"), -1, 0, 0},
	{S("@a:b OK"), -1, 0, 0},
	{S("ok"), -1, 0, 0},
	{S("OKAY"), -1, 0, 0},
	{S("HTTP/1.1 200 OK"), -1, 0, 0},
	{S("OK a\tb"), -1, 0, 0},
	{S("OK \x80"), -1, 0, 0},
	{S("ERR limit \x1b[2J"), -1, 0, 0},
	{S("OK a\0b"), -1, 0, 0},
};

START_TEST(a_reply_is_split_into_words_and_options)
	{
		struct reply reply;

		memset(&reply, 0xa5, sizeof(reply));
		if (readable[_i].kind < 0) {
			ck_assert_msg(reply_parse(readable[_i].line, &reply) == -1, "%s",
				      readable[_i].line.at);
			return;
		}
		ck_assert_msg(reply_parse(readable[_i].line, &reply) == 0, "%s",
			      readable[_i].line.at);
		ck_assert_int_eq((int)reply.kind, readable[_i].kind);
		ck_assert_uint_eq(reply.n_words, readable[_i].n_words);
		ck_assert_uint_eq(reply.n_options, readable[_i].n_options);
	}
END_TEST

int main(void)
{
	Suite *suite = suite_create("proto/reply");
	TCase *writing = tcase_create("writing");
	TCase *reading = tcase_create("reading");

	tcase_add_test(writing, a_line_is_written_word_by_word);
	tcase_add_test(writing, text_holds_no_control_bytes);
	tcase_add_test(writing, an_error_has_a_text_of_its_own);
	tcase_add_test(writing, a_line_too_long_is_cut_at_a_word);
	tcase_add_test(writing, what_follows_a_word_left_out_is_left_out_too);
	tcase_add_test(writing, long_text_is_cut_to_the_line);
	tcase_add_test(writing, the_longest_answer_fits_into_a_line);
	suite_add_tcase(suite, writing);

	tcase_add_test(reading, what_was_written_is_read);
	tcase_add_test(reading, an_error_is_read);
	tcase_add_loop_test(reading, a_reply_is_split_into_words_and_options, 0,
			    sizeof(readable) / sizeof(*readable));
	suite_add_tcase(suite, reading);
	return suite_run(suite);
}
