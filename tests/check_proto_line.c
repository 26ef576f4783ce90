/* SPDX-License-Identifier: MIT */
/* Bytes in, lines and words out. */
#include "config.h"

#include "check_proto.h"

#include "proto/line.h"

static const struct {
	struct span bytes;
	const char *line;
	const char *rest;
} lines[] = {
	{S("PING\n"), "PING", ""},
	{S("PING\r\n"), "PING", ""},
	{S("PING\n\n"), "PING", "\n"},
	{S("\n"), "", ""},
	{S("\r\n"), "", ""},
	{S("   \n"), "", ""},
	{S("  \r\n"), "", ""},
	{S("  PING  \nQUIT"), "PING", "QUIT"},
	{S(" A  B \r\nC\n"), "A  B", "C\n"},
	{S("PING\r\r\n"), "PING\r", ""},
	{S("PING\r \n"), "PING\r", ""},
	{S("\tPING\n"), "\tPING", ""},
};

START_TEST(a_line_loses_its_end_and_outer_spaces)
	{
		struct span bytes = lines[_i].bytes, line = {NULL, 0};

		ck_assert_int_eq(line_next(&bytes, PROTO_LINE_MAX, &line), LINE_READY);
		ck_assert_span(line, lines[_i].line);
		ck_assert_span(bytes, lines[_i].rest);
	}
END_TEST

START_TEST(without_an_end_there_is_no_line_yet)
	{
		struct span bytes = S("PING\r"), line = {NULL, 0};

		ck_assert_int_eq(line_next(&bytes, PROTO_LINE_MAX, &line), LINE_PARTIAL);
		ck_assert_span(bytes, "PING\r");
		bytes = (struct span){NULL, 0};
		ck_assert_int_eq(line_next(&bytes, PROTO_LINE_MAX, &line), LINE_PARTIAL);
		ck_assert_ptr_null(line.at);
	}
END_TEST

START_TEST(the_limit_counts_the_end_of_the_line)
	{
		static const size_t limits[] = {PROTO_LINE_MAX, PROTO_REPLY_MAX};
		char buffer[PROTO_REPLY_MAX + 1];
		size_t limit = limits[_i];
		struct span bytes, line;

		memset(buffer, 'x', sizeof(buffer));

		buffer[limit - 1] = '\n';
		bytes = (struct span){buffer, limit + 1};
		ck_assert_int_eq(line_next(&bytes, limit, &line), LINE_READY);
		ck_assert_uint_eq(line.len, limit - 1);
		ck_assert_uint_eq(bytes.len, 1);

		buffer[limit - 1] = 'x';
		buffer[limit] = '\n';
		bytes = (struct span){buffer, limit + 1};
		ck_assert_int_eq(line_next(&bytes, limit, &line), LINE_TOO_LONG);
		ck_assert_uint_eq(bytes.len, limit + 1);

		bytes = (struct span){buffer, limit};
		ck_assert_int_eq(line_next(&bytes, limit, &line), LINE_TOO_LONG);
		bytes = (struct span){buffer, limit - 1};
		ck_assert_int_eq(line_next(&bytes, limit, &line), LINE_PARTIAL);

		/* Outer spaces and a CR are counted as well. */
		memset(buffer, ' ', limit);
		buffer[limit - 1] = '\r';
		bytes = (struct span){buffer, limit + 1};
		ck_assert_int_eq(line_next(&bytes, limit, &line), LINE_TOO_LONG);
	}
END_TEST

START_TEST(bytes_that_come_one_by_one_make_the_same_lines)
	{
		static const char input[] = "PING\r\n\n @1 ACQUIRE a wait=0 \nQUIT\n";
		static const char *const expected[] = {"PING", "", "@1 ACQUIRE a wait=0", "QUIT"};
		char buffer[PROTO_LINE_MAX];
		size_t len = 0, n_lines = 0;

		for (size_t i = 0; i < sizeof(input) - 1; i++) {
			struct span bytes, line;

			buffer[len++] = input[i];
			bytes = (struct span){buffer, len};
			if (input[i] != '\n') {
				ck_assert_int_eq(line_next(&bytes, sizeof(buffer), &line),
						 LINE_PARTIAL);
				continue;
			}
			ck_assert_int_eq(line_next(&bytes, sizeof(buffer), &line), LINE_READY);
			ck_assert_uint_lt(n_lines, 4);
			ck_assert_span(line, expected[n_lines++]);
			ck_assert_uint_eq(bytes.len, 0);
			len = 0;
		}
		ck_assert_uint_eq(n_lines, 4);
	}
END_TEST

START_TEST(words_stand_between_spaces)
	{
		struct span line = S("  one two   three= ");

		ck_assert_span(word_next(&line), "one");
		ck_assert_span(word_next(&line), "two");
		ck_assert_span(line, "   three= ");
		ck_assert_span(word_next(&line), "three=");
		ck_assert_uint_eq(word_next(&line).len, 0);
		ck_assert_uint_eq(line.len, 0);
		ck_assert_uint_eq(word_next(&line).len, 0);
	}
END_TEST

START_TEST(a_tab_is_no_space)
	{
		struct span line = S("one\ttwo");

		ck_assert_span(word_next(&line), "one\ttwo");
	}
END_TEST

int main(void)
{
	Suite *suite = suite_create("proto/line");
	TCase *cutting = tcase_create("lines");
	TCase *words = tcase_create("words");

	tcase_add_loop_test(cutting, a_line_loses_its_end_and_outer_spaces, 0,
			    sizeof(lines) / sizeof(*lines));
	tcase_add_test(cutting, without_an_end_there_is_no_line_yet);
	tcase_add_loop_test(cutting, the_limit_counts_the_end_of_the_line, 0, 2);
	tcase_add_test(cutting, bytes_that_come_one_by_one_make_the_same_lines);
	suite_add_tcase(suite, cutting);

	tcase_add_test(words, words_stand_between_spaces);
	tcase_add_test(words, a_tab_is_no_space);
	suite_add_tcase(suite, words);
	return suite_run(suite);
}
