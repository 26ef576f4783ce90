/* SPDX-License-Identifier: MIT */
/* Names, tags, lock strings, numbers, percent-encoding, patterns; the tables of words. */
#include "config.h"

#include "check_proto.h"

#include <strings.h>

#include "proto/name.h"

#define TEN "abcdefghij"
#define THIRTY_TWO TEN TEN TEN "kl"
#define HUNDRED TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN
#define NAME_128 HUNDRED TEN TEN "12345678"

START_TEST(each_byte_is_of_the_classes_that_the_grammar_says)
	{
		for (int byte = 0; byte < 256; byte++) {
			char c = (char)byte;
			struct span one = {&c, 1};
			bool alphanumeric = (byte >= '0' && byte <= '9') ||
					    (byte >= 'A' && byte <= 'Z') ||
					    (byte >= 'a' && byte <= 'z');
			bool in_tag = alphanumeric || (byte != 0 && strchr("._-", byte) != NULL);
			bool in_name = in_tag || byte == ':' || byte == '/';
			char out[4];

			ck_assert_msg(tag_valid(one) == in_tag, "byte 0x%02x in a tag", byte);
			ck_assert_msg(name_valid(one) == in_name, "byte 0x%02x in a name", byte);
			ck_assert_msg((percent_encode(&c, 1, out, sizeof(out)) == 1) ==
					      (byte > ' ' && byte < 0x7f && byte != '%'),
				      "byte 0x%02x stands for itself", byte);
		}
	}
END_TEST

START_TEST(names_and_tags_have_their_lengths)
	{
		ck_assert(!name_valid(S("")));
		ck_assert(name_valid(S(NAME_128)));
		ck_assert(!name_valid(S(NAME_128 "x")));
		ck_assert(!name_valid(S("a\0b")));
		ck_assert(!tag_valid(S("")));
		ck_assert(tag_valid(S(THIRTY_TWO)));
		ck_assert(!tag_valid(S(THIRTY_TWO "x")));
	}
END_TEST

static const struct {
	struct span lock;
	bool valid;
} locks[] = {
	{S(LOCK_LOWER), true},
	{S(LOCK_MIXED), true},
	{S("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="), true},
	{S("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAB="), false}, /* bits beyond the 32 bytes */
	{S("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"), false},
	{S("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=="), false},
	{S("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="), false},
	{S("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="), false},
	{S("AAAAAAAAAAAAAAAAAAAA-AAAAAAAAAAAAAAAAAAAAAA="), false},
	{S("AAAAAAAAAAAAAAAAAAAA AAAAAAAAAAAAAAAAAAAAAA="), false},
	{S(""), false},
};

START_TEST(a_lock_string_is_32_bytes_of_base64)
	{
		ck_assert_int_eq(lock_string_valid(locks[_i].lock), locks[_i].valid);
	}
END_TEST

static const struct {
	struct span word;
	int64_t min, max;
	bool valid;
	int64_t number;
} numbers[] = {
	{S("0"), 0, 10, true, 0},
	{S("10"), 10, 10, true, 10},
	{S("007"), 0, 10, true, 7},
	{S("00000000000000000000000000000000000009"), 0, 10, true, 9},
	{S("9"), 10, 20, false, 0},
	{S("21"), 10, 20, false, 0},
	{S(""), 0, 10, false, 0},
	{S("-1"), -5, 10, false, 0},
	{S("+1"), 0, 10, false, 0},
	{S(" 1"), 0, 10, false, 0},
	{S("1 "), 0, 10, false, 0},
	{S("0x1"), 0, 10, false, 0},
	{S("1.0"), 0, 10, false, 0},
	{S("1\0"), 0, 10, false, 0},
	{S("9223372036854775807"), 0, INT64_MAX, true, INT64_MAX},
	{S("9223372036854775808"), 0, INT64_MAX, false, 0},
	{S("18446744073709551617"), 0, INT64_MAX, false, 0},
	{S("99999999999999999999999999999999"), 0, INT64_MAX, false, 0},
};

START_TEST(a_number_is_digits_in_a_range)
	{
		int64_t number = -7;

		ck_assert_int_eq(
			number_parse(numbers[_i].word, numbers[_i].min, numbers[_i].max, &number),
			numbers[_i].valid);
		ck_assert_int_eq(number, numbers[_i].valid ? numbers[_i].number : -7);
	}
END_TEST

START_TEST(encoding_keeps_escapes_whole)
	{
		char out[8];

		ck_assert_uint_eq(percent_encode("a b", 3, out, 6), 5);
		ck_assert_str_eq(out, "a%20b");
		ck_assert_uint_eq(percent_encode("a b", 3, out, 5), 4);
		ck_assert_str_eq(out, "a%20");
		ck_assert_uint_eq(percent_encode("a b", 3, out, 4), 1);
		ck_assert_str_eq(out, "a");
		ck_assert_uint_eq(percent_encode("a", 1, out, 1), 0);
		ck_assert_str_eq(out, "");
		ck_assert_uint_eq(percent_encode("%\n", 2, out, sizeof(out)), 6);
		ck_assert_str_eq(out, "%25%0A");
		memset(out, 'x', sizeof(out));
		ck_assert_uint_eq(percent_encode("a", 1, out, 0), 0);
		ck_assert_int_eq(out[0], 'x');
	}
END_TEST

static const struct {
	struct span value;
	size_t size;
	const char *decoded; /* NULL: malformed */
} values[] = {
	{S(""), 1, ""},		{S("abc"), 4, "abc"},	      {S("abc"), 3, NULL},
	{S("a%20b"), 4, "a b"}, {S("%c3%A9"), 8, "\xc3\xa9"}, {S("%25%0a"), 8, "%\n"},
	{S("%00"), 8, NULL},	{S("a\0"), 8, NULL},	      {S("%"), 8, NULL},
	{S("%4"), 8, NULL},	{S("%4g"), 8, NULL},	      {S("%g4"), 8, NULL},
	{S("%%41"), 8, NULL},	{S("%+1"), 8, NULL},	      {S("abc"), 0, NULL},
};

START_TEST(decoding_refuses_what_is_malformed)
	{
		char out[8];
		int len = percent_decode(values[_i].value, out, values[_i].size);

		if (values[_i].decoded == NULL) {
			ck_assert_int_eq(len, -1);
		} else {
			ck_assert_int_eq(len, strlen(values[_i].decoded));
			ck_assert_str_eq(out, values[_i].decoded);
		}
	}
END_TEST

START_TEST(what_is_encoded_decodes_to_itself)
	{
		char text[256], encoded[3 * sizeof(text)], decoded[sizeof(text)];
		size_t len;

		for (int i = 0; i < 255; i++)
			text[i] = (char)(i + 1);
		text[255] = '\0';
		len = percent_encode(text, 255, encoded, sizeof(encoded));
		ck_assert_uint_eq(len, strlen(encoded));
		ck_assert_int_eq(
			percent_decode((struct span){encoded, len}, decoded, sizeof(decoded)), 255);
		ck_assert_str_eq(decoded, text);
	}
END_TEST

static const struct {
	const char *pattern, *name;
	bool matches;
} patterns[] = {
	{"", "", true},
	{"", "a", false},
	{"a", "", false},
	{"*", "", true},
	{"*", "anything", true},
	{"**", "x", true},
	{"order-*", "order-", true},
	{"order-*", "order-17", true},
	{"order-*", "order", false},
	{"order-*", "Order-1", false},
	{"*-a", "b-a", true},
	{"*-a", "b-a-a", true},
	{"*-a", "b-a-b", false},
	{"a*b*c", "abc", true},
	{"a*b*c", "a.b.b.c.c", true},
	{"a*b*c", "acb", false},
	{"a*a", "a", false},
	{"*ab*", "aab", true},
	{"a**", "a", true},
	{"exact", "exact", true},
	{"exact", "exactly", false},
	{"a.c", "abc", false},
};

START_TEST(a_star_stands_for_any_run)
	{
		ck_assert_msg(pattern_matches(span_of(patterns[_i].pattern),
					      span_of(patterns[_i].name)) == patterns[_i].matches,
			      "\"%s\" and \"%s\"", patterns[_i].pattern, patterns[_i].name);
	}
END_TEST

START_TEST(many_stars_take_no_exponential_time)
	{
		const char *pattern = "*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*ab";
		char name[2000];

		memset(name, 'a', sizeof(name));
		ck_assert(!pattern_matches(span_of(pattern), (struct span){name, sizeof(name)}));
	}
END_TEST

/* The definition, word for word; exponential. */
static bool matches_by_definition(const char *pattern, const char *name)
{
	if (*pattern == '\0')
		return *name == '\0';
	if (*pattern == '*')
		return matches_by_definition(pattern + 1, name) ||
		       (*name != '\0' && matches_by_definition(pattern, name + 1));
	return *pattern == *name && matches_by_definition(pattern + 1, name + 1);
}

/* The i-th string over an alphabet of three; the empty one is 0. */
static const char *nth_string(unsigned i, const char *alphabet, char out[8])
{
	unsigned len = 0;

	for (; i > 0; i = (i - 1) / 3)
		out[len++] = alphabet[(i - 1) % 3];
	out[len] = '\0';
	return out;
}

START_TEST(patterns_match_as_defined_for_all_short_strings)
	{
		char pattern[8], name[8];
		unsigned n_matches = 0;

		for (unsigned p = 0; p < 364; p++) { /* all of at most five characters */
			nth_string(p, "ab*", pattern);
			for (unsigned n = 0; n < 364; n++) {
				nth_string(n, "abc", name);
				ck_assert_msg(pattern_matches(span_of(pattern), span_of(name)) ==
						      matches_by_definition(pattern, name),
					      "\"%s\" and \"%s\"", pattern, name);
				n_matches += matches_by_definition(pattern, name);
			}
		}
		ck_assert_uint_gt(n_matches, 364);
	}
END_TEST

START_TEST(verbs_are_found_in_any_case)
	{
		for (int verb = 0; verb < N_VERBS; verb++) {
			char word[16];

			ck_assert_int_eq(verb_find(span_of(verb_word(verb))), verb);
			strcpy(word, verb_word(verb));
			for (char *c = word; *c != '\0'; c++)
				*c |= 0x20;
			ck_assert_int_eq(strcasecmp(word, verb_word(verb)), 0);
			ck_assert_int_eq(verb_find(span_of(word)), verb);
			word[0] &= ~0x20;
			ck_assert_int_eq(verb_find(span_of(word)), verb);
			ck_assert_int_eq(verb_find((struct span){word, strlen(word) - 1}), -1);
			strcat(word, "S");
			ck_assert_int_eq(verb_find(span_of(word)), -1);
		}
		ck_assert_int_eq(verb_find(S("")), -1);
		ck_assert_int_eq(verb_find(S("PIN\x07")), -1);
		ck_assert_int_eq(verb_find(S("0UIT")), -1);
	}
END_TEST

START_TEST(options_are_found_to_the_letter)
	{
		for (int option = 0; option < N_OPTIONS; option++)
			ck_assert_int_eq(option_find(span_of(option_word(option))), option);
		ck_assert_int_eq(option_find(S("")), -1);
		ck_assert_int_eq(option_find(S("TTL")), -1);
		ck_assert_int_eq(option_find(S("tt")), -1);
		ck_assert_int_eq(option_find(S("ttls")), -1);
	}
END_TEST

START_TEST(error_codes_are_found_and_say_something)
	{
		for (int error = PROTO_OK + 1; error < N_PROTO_ERRORS; error++) {
			ck_assert_int_eq(proto_error_find(span_of(proto_error_word(error))), error);
			ck_assert_uint_gt(strlen(proto_error_text(error)), 8);
			ck_assert_int_gt(proto_error_exit_status(error), 0);
			ck_assert_int_lt(proto_error_exit_status(error), 126);
		}
		ck_assert_int_eq(proto_error_exit_status(PROTO_OK), 0);
		ck_assert_int_eq(proto_error_find(S("OK")), -1);
		ck_assert_int_eq(proto_error_find(S("")), -1);
		ck_assert_int_eq(proto_error_find(S("Syntax")), -1);
	}
END_TEST

int main(void)
{
	Suite *suite = suite_create("proto/name");
	TCase *names = tcase_create("names");
	TCase *encoding = tcase_create("encoding");
	TCase *matching = tcase_create("patterns");
	TCase *tables = tcase_create("tables");

	tcase_add_test(names, each_byte_is_of_the_classes_that_the_grammar_says);
	tcase_add_test(names, names_and_tags_have_their_lengths);
	tcase_add_loop_test(names, a_lock_string_is_32_bytes_of_base64, 0,
			    sizeof(locks) / sizeof(*locks));
	tcase_add_loop_test(names, a_number_is_digits_in_a_range, 0,
			    sizeof(numbers) / sizeof(*numbers));
	suite_add_tcase(suite, names);

	tcase_add_test(encoding, encoding_keeps_escapes_whole);
	tcase_add_loop_test(encoding, decoding_refuses_what_is_malformed, 0,
			    sizeof(values) / sizeof(*values));
	tcase_add_test(encoding, what_is_encoded_decodes_to_itself);
	suite_add_tcase(suite, encoding);

	tcase_add_loop_test(matching, a_star_stands_for_any_run, 0,
			    sizeof(patterns) / sizeof(*patterns));
	tcase_add_test(matching, many_stars_take_no_exponential_time);
	tcase_add_test(matching, patterns_match_as_defined_for_all_short_strings);
	suite_add_tcase(suite, matching);

	tcase_add_test(tables, verbs_are_found_in_any_case);
	tcase_add_test(tables, options_are_found_to_the_letter);
	tcase_add_test(tables, error_codes_are_found_and_say_something);
	suite_add_tcase(suite, tables);
	return suite_run(suite);
}
