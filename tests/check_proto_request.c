/* SPDX-License-Identifier: MIT */
/* Request lines, read and written. */
#include "config.h"

#include "check_proto.h"

#include <stdio.h>

#include "proto/line.h"
#include "proto/name.h"
#include "proto/request.h"

#define TEN "abcdefghij"
#define THIRTY_TWO TEN TEN TEN "kl"
#define HUNDRED TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN
#define NAME_128 HUNDRED TEN TEN "12345678"
#define NOTE_256 HUNDRED HUNDRED TEN TEN TEN TEN TEN "123456"
/* 85 escapes and a letter: 256 bytes as sent, 86 decoded */
#define ESC_5 "%41%41%41%41%41"
#define ESC_85                                                                                     \
	ESC_5 ESC_5 ESC_5 ESC_5 ESC_5 ESC_5 ESC_5 ESC_5 ESC_5 ESC_5 ESC_5 ESC_5 ESC_5 ESC_5 ESC_5  \
		ESC_5 ESC_5

enum { WHY_SIZE = 256, WHY_MAX = 150 };

#define GIVEN(id) (1u << OPTION_##id)

/* What a line means, and the one way in which it is written. */
static const struct {
	const char *line;
	const char *canonical;	/* without its LF; NULL: the same */
	struct request request; /* tag, words and note are seen in the canonical line */
} accepted[] = {
	{"HELLO", NULL, {.verb = VERB_HELLO, .protocol = 1}},
	{"hello protocol=1",
	 "HELLO protocol=1",
	 {.verb = VERB_HELLO, .given = GIVEN(PROTOCOL), .protocol = 1}},
	{"HELLO protocol=2", NULL, {.verb = VERB_HELLO, .given = GIVEN(PROTOCOL), .protocol = 2}},
	{"HELLO protocol=0", NULL, {.verb = VERB_HELLO, .given = GIVEN(PROTOCOL), .protocol = 0}},
	{"HELLO protocol=99999999999999999999",
	 "HELLO protocol=9223372036854775807",
	 {.verb = VERB_HELLO, .given = GIVEN(PROTOCOL), .protocol = INT64_MAX}},
	{"PING", NULL, {.verb = VERB_PING}},
	{"  pInG  ", "PING", {.verb = VERB_PING}},
	{"@1 PING", NULL, {.verb = VERB_PING}},
	{"@" THIRTY_TWO "  ping", "@" THIRTY_TWO " PING", {.verb = VERB_PING}},
	{"@._-Az09 PING", NULL, {.verb = VERB_PING}},
	{"ACQUIRE a", NULL, {.verb = VERB_ACQUIRE}},
	{"ACQUIRE " NAME_128, NULL, {.verb = VERB_ACQUIRE}},
	{"acquire  A.b_c-d:e/f ", "ACQUIRE A.b_c-d:e/f", {.verb = VERB_ACQUIRE}},
	{"ACQUIRE a wait=0", NULL, {.verb = VERB_ACQUIRE, .given = GIVEN(WAIT)}},
	{"ACQUIRE a wait=315360000000",
	 NULL,
	 {.verb = VERB_ACQUIRE, .given = GIVEN(WAIT), .wait_ms = 315360000000}},
	{"ACQUIRE a wait=forever",
	 NULL,
	 {.verb = VERB_ACQUIRE, .given = GIVEN(WAIT), .wait_ms = PROTO_WAIT_FOREVER}},
	{"ACQUIRE a ttl=10", NULL, {.verb = VERB_ACQUIRE, .given = GIVEN(TTL), .ttl_ms = 10}},
	{"ACQUIRE a ttl=315360000000",
	 NULL,
	 {.verb = VERB_ACQUIRE, .given = GIVEN(TTL), .ttl_ms = 315360000000}},
	{"ACQUIRE a renew=yes", NULL, {.verb = VERB_ACQUIRE, .given = GIVEN(RENEW), .renew = true}},
	{"ACQUIRE a renew=no", NULL, {.verb = VERB_ACQUIRE, .given = GIVEN(RENEW)}},
	{"ACQUIRE a owner=connection", NULL, {.verb = VERB_ACQUIRE, .given = GIVEN(OWNER)}},
	{"ACQUIRE a owner=none",
	 NULL,
	 {.verb = VERB_ACQUIRE, .given = GIVEN(OWNER), .owner = REQUEST_OWNER_NONE}},
	{"ACQUIRE a renew=no owner=none",
	 NULL,
	 {.verb = VERB_ACQUIRE, .given = GIVEN(OWNER) | GIVEN(RENEW), .owner = REQUEST_OWNER_NONE}},
	{"ACQUIRE a owner=pid:1",
	 NULL,
	 {.verb = VERB_ACQUIRE, .given = GIVEN(OWNER), .owner = REQUEST_OWNER_PID, .owner_pid = 1}},
	{"ACQUIRE a owner=pid:2147483647",
	 NULL,
	 {.verb = VERB_ACQUIRE,
	  .given = GIVEN(OWNER),
	  .owner = REQUEST_OWNER_PID,
	  .owner_pid = 2147483647}},
	{"ACQUIRE a note=", NULL, {.verb = VERB_ACQUIRE, .given = GIVEN(NOTE)}},
	{"ACQUIRE a note=x=y==",
	 NULL,
	 {.verb = VERB_ACQUIRE, .given = GIVEN(NOTE), .note = "x=y=="}},
	{"ACQUIRE a note=a%20b%25%c3%a9%0a%41",
	 "ACQUIRE a note=a%20b%25%C3%A9%0AA",
	 {.verb = VERB_ACQUIRE, .given = GIVEN(NOTE), .note = "a b%\xc3\xa9\nA"}},
	{"ACQUIRE a note=" NOTE_256,
	 NULL,
	 {.verb = VERB_ACQUIRE, .given = GIVEN(NOTE), .note = NOTE_256}},
	{"ACQUIRE a note=" ESC_85 "B",
	 "ACQUIRE a "
	 "note="
	 "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAB",
	 {.verb = VERB_ACQUIRE,
	  .given = GIVEN(NOTE),
	  .note = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
		  "AAAAAB"}},
	{"@t acquire order-17 note=n owner=pid:007 renew=yes ttl=0030 wait=5",
	 "@t ACQUIRE order-17 wait=5 ttl=30 renew=yes owner=pid:7 note=n",
	 {.verb = VERB_ACQUIRE,
	  .given = GIVEN(NOTE) | GIVEN(OWNER) | GIVEN(RENEW) | GIVEN(TTL) | GIVEN(WAIT),
	  .wait_ms = 5,
	  .ttl_ms = 30,
	  .renew = true,
	  .owner = REQUEST_OWNER_PID,
	  .owner_pid = 7,
	  .note = "n"}},
	{"RELEASE a " LOCK_LOWER, NULL, {.verb = VERB_RELEASE}},
	{"RELEASE a " LOCK_MIXED, NULL, {.verb = VERB_RELEASE}},
	{"RELEASE a x", NULL, {.verb = VERB_RELEASE}},
	{"RELEASE a ttl=5", NULL, {.verb = VERB_RELEASE}},
	{"RELEASE a " NAME_128, NULL, {.verb = VERB_RELEASE}},
	{"EXISTS a", NULL, {.verb = VERB_EXISTS}},
	{"EXTEND a " LOCK_MIXED, NULL, {.verb = VERB_EXTEND}},
	{"EXTEND a " LOCK_LOWER " ttl=60000",
	 NULL,
	 {.verb = VERB_EXTEND, .given = GIVEN(TTL), .ttl_ms = 60000}},
	{"INFO a", NULL, {.verb = VERB_INFO}},
	{"LIST", NULL, {.verb = VERB_LIST}},
	{"LIST *", NULL, {.verb = VERB_LIST}},
	{"LIST order-*:*/x", NULL, {.verb = VERB_LIST}},
	{"LIST " NAME_128, NULL, {.verb = VERB_LIST}},
	{"STATS", NULL, {.verb = VERB_STATS}},
	{"CANCEL 17", NULL, {.verb = VERB_CANCEL}},
	{"@2 CANCEL " THIRTY_TWO, NULL, {.verb = VERB_CANCEL}},
	{"BREAK a", NULL, {.verb = VERB_BREAK}},
	{"QUIT", NULL, {.verb = VERB_QUIT}},
};

static void assert_same(const struct request *got, const struct request *expected)
{
	ck_assert_int_eq(got->verb, expected->verb);
	ck_assert_uint_eq(got->given, expected->given);
	ck_assert_int_eq(got->wait_ms, expected->wait_ms);
	ck_assert_int_eq(got->ttl_ms, expected->ttl_ms);
	ck_assert_int_eq(got->renew, expected->renew);
	ck_assert_int_eq(got->owner, expected->owner);
	ck_assert_int_eq(got->owner_pid, expected->owner_pid);
	ck_assert_str_eq(got->note, expected->note);
}

START_TEST(a_request_is_understood_and_written_back)
	{
		const char *canonical =
			accepted[_i].canonical ? accepted[_i].canonical : accepted[_i].line;
		struct request request, again;
		char why[WHY_SIZE], out[PROTO_LINE_MAX];
		struct span bytes, line;
		int len;

		memset(&request, 0xa5, sizeof(request));
		ck_assert_msg(request_parse(span_of(accepted[_i].line), &request, why,
					    sizeof(why)) == PROTO_OK,
			      "%s: %s", accepted[_i].line, why);
		assert_same(&request, &accepted[_i].request);
		if (request.verb == VERB_HELLO)
			ck_assert_int_eq(request.protocol, accepted[_i].request.protocol);

		len = request_format(&request, out, sizeof(out));
		ck_assert_int_eq(len, strlen(canonical) + 1);
		ck_assert_int_eq(out[len - 1], '\n');
		ck_assert_span(((struct span){out, (size_t)len - 1}), canonical);

		bytes = (struct span){out, (size_t)len};
		ck_assert_int_eq(line_next(&bytes, PROTO_LINE_MAX, &line), LINE_READY);
		ck_assert_int_eq(request_parse(line, &again, why, sizeof(why)), PROTO_OK);
		assert_same(&again, &request);

		/* Room for all but the LF is no room. */
		ck_assert_int_eq(request_format(&request, out, (size_t)len), len);
		ck_assert_int_eq(request_format(&request, out, (size_t)len - 1), -1);
		ck_assert_int_eq(request_format(&request, out, 0), -1);
	}
END_TEST

static const struct {
	struct span line;
	enum proto_error error;
	const char *tag;
	const char *why; /* a part of the text */
} refused[] = {
	/* verbs and tags */
	{S("FOO"), PROTO_E_UNKNOWN_COMMAND, "", "\"FOO\""},
	{S("@t FOO a b c=d"), PROTO_E_UNKNOWN_COMMAND, "t", "\"FOO\""},
	{S("PINGX"), PROTO_E_UNKNOWN_COMMAND, "", "PINGX"},
	{S("PIN"), PROTO_E_UNKNOWN_COMMAND, "", "PIN"},
	{S(NAME_128), PROTO_E_UNKNOWN_COMMAND, "", "there is no command"},
	{S("@t"), PROTO_E_SYNTAX, "t", "command is missing"},
	{S("@t  "), PROTO_E_SYNTAX, "t", "command is missing"},
	{S("@ PING"), PROTO_E_SYNTAX, "", "a tag is"},
	{S("@"), PROTO_E_SYNTAX, "", "a tag is"},
	{S("@" THIRTY_TWO "m PING"), PROTO_E_SYNTAX, "", "a tag is"},
	{S("@a:b PING"), PROTO_E_SYNTAX, "", "a tag is"},
	{S("@@a PING"), PROTO_E_SYNTAX, "", "a tag is"},
	{S("@a @b PING"), PROTO_E_UNKNOWN_COMMAND, "a", "@b"},
	/* bytes */
	{S("PING\t"), PROTO_E_SYNTAX, "", "byte 5"},
	{S("PI\0NG"), PROTO_E_SYNTAX, "", "0x00"},
	{S("PING\r"), PROTO_E_SYNTAX, "", "0x0d"},
	{S("PING \x7f"), PROTO_E_SYNTAX, "", "0x7f"},
	{S("FOO \x80"), PROTO_E_SYNTAX, "", "0x80"},
	{S("@t ACQUIRE a note=\xc3\xa9"), PROTO_E_SYNTAX, "t", "0xc3"},
	{S("@t\x01 PING"), PROTO_E_SYNTAX, "", "0x01"},
	{S("ACQUIRE a\033b"), PROTO_E_SYNTAX, "", "0x1b"},
	/* words */
	{S("ACQUIRE"), PROTO_E_SYNTAX, "", "too few words; expected: ACQUIRE <name> [wait=]"},
	{S("ACQUIRE wait=1"), PROTO_E_SYNTAX, "", "a name is"},
	{S("ACQUIRE a b"), PROTO_E_SYNTAX, "", "too many words, from \"b\""},
	{S("ACQUIRE a ttl=50 b"), PROTO_E_SYNTAX, "", "too many words"},
	{S("ACQUIRE a*"), PROTO_E_SYNTAX, "", "a name is"},
	{S("ACQUIRE a%20b"), PROTO_E_SYNTAX, "", "a name is"},
	{S("ACQUIRE " NAME_128 "x"), PROTO_E_SYNTAX, "", "a name is"},
	{S("RELEASE a"), PROTO_E_SYNTAX, "", "RELEASE <name> <lock>"},
	{S("RELEASE a b c"), PROTO_E_SYNTAX, "", "too many words"},
	{S("RELEASE a b c=d"), PROTO_E_SYNTAX, "", "option not taken here: \"c\""},
	{S("RELEASE a " NAME_128 "x"), PROTO_E_SYNTAX, "", "a lock string is"},
	{S("EXTEND a"), PROTO_E_SYNTAX, "", "EXTEND <name> <lock> [ttl=]"},
	{S("EXISTS"), PROTO_E_SYNTAX, "", "EXISTS <name>"},
	{S("INFO a b"), PROTO_E_SYNTAX, "", "too many words"},
	{S("LIST a b"), PROTO_E_SYNTAX, "", "LIST [<pattern>]"},
	{S("LIST a=b"), PROTO_E_SYNTAX, "", "a pattern is"},
	{S("LIST a?"), PROTO_E_SYNTAX, "", "a pattern is"},
	{S("LIST " NAME_128 "*"), PROTO_E_SYNTAX, "", "a pattern is"},
	{S("CANCEL"), PROTO_E_SYNTAX, "", "CANCEL <tag>"},
	{S("CANCEL @1"), PROTO_E_SYNTAX, "", "without its @"},
	{S("CANCEL " THIRTY_TWO "m"), PROTO_E_SYNTAX, "", "a tag is"},
	{S("BREAK"), PROTO_E_SYNTAX, "", "BREAK <name>"},
	{S("PING x"), PROTO_E_SYNTAX, "", "too many words"},
	{S("HELLO 1"), PROTO_E_SYNTAX, "", "too many words"},
	{S("STATS x"), PROTO_E_SYNTAX, "", "too many words"},
	{S("QUIT now"), PROTO_E_SYNTAX, "", "too many words"},
	/* options */
	{S("PING a=b"), PROTO_E_SYNTAX, "", "option not taken here: \"a\"; expected: PING"},
	{S("ACQUIRE a foo=1"), PROTO_E_SYNTAX, "", "\"foo\""},
	{S("ACQUIRE a =1"), PROTO_E_SYNTAX, "", "option not taken here"},
	{S("ACQUIRE a ="), PROTO_E_SYNTAX, "", "option not taken here"},
	{S("ACQUIRE a TTL=50"), PROTO_E_SYNTAX, "", "\"TTL\""},
	{S("ACQUIRE a pid=5"), PROTO_E_SYNTAX, "", "\"pid\""},
	{S("ACQUIRE a protocol=1"), PROTO_E_SYNTAX, "", "\"protocol\""},
	{S("EXTEND a b wait=1"), PROTO_E_SYNTAX, "", "\"wait\""},
	{S("EXISTS a ttl=50"), PROTO_E_SYNTAX, "", "\"ttl\""},
	{S("ACQUIRE a ttl=50 ttl=50"), PROTO_E_SYNTAX, "", "ttl= is given twice"},
	{S("ACQUIRE a note= note="), PROTO_E_SYNTAX, "", "note= is given twice"},
	{S("ACQUIRE a " NAME_128 NAME_128 "=x"), PROTO_E_SYNTAX, "", "option not taken here"},
	/* values */
	{S("ACQUIRE a ttl=9"), PROTO_E_SYNTAX, "", "from 10 to 315360000000"},
	{S("ACQUIRE a ttl=315360000001"), PROTO_E_SYNTAX, "", "ttl= takes"},
	{S("ACQUIRE a ttl="), PROTO_E_SYNTAX, "", "ttl= takes"},
	{S("ACQUIRE a ttl=forever"), PROTO_E_SYNTAX, "", "ttl= takes"},
	{S("ACQUIRE a ttl=+50"), PROTO_E_SYNTAX, "", "ttl= takes"},
	{S("ACQUIRE a ttl=1e3"), PROTO_E_SYNTAX, "", "ttl= takes"},
	{S("EXTEND a b ttl=0"), PROTO_E_SYNTAX, "", "ttl= takes"},
	{S("ACQUIRE a wait=-1"), PROTO_E_SYNTAX, "", "or forever"},
	{S("ACQUIRE a wait=315360000001"), PROTO_E_SYNTAX, "", "wait= takes"},
	{S("ACQUIRE a wait=Forever"), PROTO_E_SYNTAX, "", "wait= takes"},
	{S("ACQUIRE a wait=9223372036854775807"), PROTO_E_SYNTAX, "", "wait= takes"},
	{S("ACQUIRE a renew=YES"), PROTO_E_SYNTAX, "", "yes or no"},
	{S("ACQUIRE a renew="), PROTO_E_SYNTAX, "", "yes or no"},
	{S("ACQUIRE a owner="), PROTO_E_SYNTAX, "", "owner= takes"},
	{S("ACQUIRE a owner=pid"), PROTO_E_SYNTAX, "", "owner= takes"},
	{S("ACQUIRE a owner=pid:"), PROTO_E_SYNTAX, "", "owner= takes"},
	{S("ACQUIRE a owner=pid:0"), PROTO_E_SYNTAX, "", "owner= takes"},
	{S("ACQUIRE a owner=pid:-1"), PROTO_E_SYNTAX, "", "owner= takes"},
	{S("ACQUIRE a owner=pid:2147483648"), PROTO_E_SYNTAX, "", "owner= takes"},
	{S("ACQUIRE a owner=nobody"), PROTO_E_SYNTAX, "", "owner= takes"},
	{S("ACQUIRE a renew=yes owner=none"), PROTO_E_SYNTAX, "", "owner=none"},
	{S("@9 ACQUIRE a owner=none renew=yes"), PROTO_E_SYNTAX, "9", "owner=none"},
	{S("ACQUIRE a note=%"), PROTO_E_SYNTAX, "", "note= takes"},
	{S("ACQUIRE a note=%4"), PROTO_E_SYNTAX, "", "note= takes"},
	{S("ACQUIRE a note=%zz"), PROTO_E_SYNTAX, "", "note= takes"},
	{S("ACQUIRE a note=x%00"), PROTO_E_SYNTAX, "", "no %00"},
	{S("ACQUIRE a note=" NOTE_256 "x"), PROTO_E_SYNTAX, "", "at most 256"},
	{S("ACQUIRE a note=" ESC_85 "BB"), PROTO_E_SYNTAX, "", "at most 256"},
	{S("HELLO protocol="), PROTO_E_SYNTAX, "", "protocol= takes"},
	{S("HELLO protocol=one"), PROTO_E_SYNTAX, "", "protocol= takes"},
	{S("HELLO protocol=99999999999999999999x"), PROTO_E_SYNTAX, "", "protocol= takes"},
};

START_TEST(a_refusal_says_what_is_wrong)
	{
		struct request request;
		char why[WHY_SIZE] = "";

		memset(&request, 0xa5, sizeof(request));
		ck_assert_msg(request_parse(refused[_i].line, &request, why, sizeof(why)) ==
				      refused[_i].error,
			      "%s", refused[_i].line.at);
		ck_assert_span(request.tag, refused[_i].tag);
		ck_assert_msg(strstr(why, refused[_i].why) != NULL, "\"%s\" says not \"%s\"", why,
			      refused[_i].why);
		ck_assert_uint_le(strlen(why), WHY_MAX);
		for (const char *c = why; *c != '\0'; c++)
			ck_assert_msg(*c >= ' ' && *c < 0x7f, "%s", why);
	}
END_TEST

START_TEST(a_refusal_is_cut_to_its_buffer)
	{
		struct request request;
		char why[8] = "xxxxxxx";

		ck_assert_int_eq(request_parse(S("PING x"), &request, why, 5), PROTO_E_SYNTAX);
		ck_assert_str_eq(why, "too ");
		ck_assert_int_eq(why[5], 'x');
		ck_assert_int_eq(request_parse(S("PING x"), &request, NULL, 0), PROTO_E_SYNTAX);
	}
END_TEST

/* For every option, on which verbs it may stand. */
START_TEST(each_verb_takes_its_options_and_no_other)
	{
		static const char *const values[N_OPTIONS] = {
			[OPTION_PROTOCOL] = "1", [OPTION_WAIT] = "1",		[OPTION_TTL] = "10",
			[OPTION_RENEW] = "no",	 [OPTION_OWNER] = "connection", [OPTION_NOTE] = "x",
		};
		static const struct {
			const char *words;
			unsigned options;
		} forms[N_VERBS] = {
			[VERB_HELLO] = {"", GIVEN(PROTOCOL)},
			[VERB_PING] = {"", 0},
			[VERB_ACQUIRE] = {" a", GIVEN(WAIT) | GIVEN(TTL) | GIVEN(RENEW) |
							GIVEN(OWNER) | GIVEN(NOTE)},
			[VERB_RELEASE] = {" a b", 0},
			[VERB_EXISTS] = {" a", 0},
			[VERB_EXTEND] = {" a b", GIVEN(TTL)},
			[VERB_INFO] = {" a", 0},
			[VERB_LIST] = {" a", 0},
			[VERB_STATS] = {"", 0},
			[VERB_CANCEL] = {" a", 0},
			[VERB_BREAK] = {" a", 0},
			[VERB_QUIT] = {"", 0},
		};

		for (int verb = 0; verb < N_VERBS; verb++) {
			ck_assert_ptr_nonnull(forms[verb].words);
			for (int option = 0; option < N_OPTIONS; option++) {
				bool taken = forms[verb].options & 1u << option;
				struct request request;
				char line[128], why[WHY_SIZE];

				snprintf(line, sizeof(line), "%s%s %s=%s", verb_word(verb),
					 forms[verb].words, option_word(option),
					 values[option] ? values[option] : "1");
				ck_assert_msg(
					request_parse(span_of(line), &request, why, sizeof(why)) ==
						(taken ? PROTO_OK : PROTO_E_SYNTAX),
					"%s", line);
			}
		}
	}
END_TEST

/* Fields that don't make a valid line. */
static const struct request unwritable[] = {
	{.verb = VERB_PING, .tag = S("a b")},
	{.verb = VERB_PING, .tag = S(THIRTY_TWO "m")},
	{.verb = VERB_PING, .given = GIVEN(TTL), .ttl_ms = 10},
	{.verb = VERB_HELLO, .given = GIVEN(PROTOCOL), .protocol = -1},
	{.verb = VERB_HELLO, .given = GIVEN(PID)},
	{.verb = VERB_ACQUIRE},
	{.verb = VERB_ACQUIRE, .name = S("a b")},
	{.verb = VERB_ACQUIRE, .name = S("a\nQUIT")},
	{.verb = VERB_ACQUIRE, .name = S(NAME_128 "x")},
	{.verb = VERB_ACQUIRE, .name = S("a"), .given = GIVEN(TTL), .ttl_ms = 9},
	{.verb = VERB_ACQUIRE, .name = S("a"), .given = GIVEN(TTL), .ttl_ms = 315360000001},
	{.verb = VERB_ACQUIRE, .name = S("a"), .given = GIVEN(WAIT), .wait_ms = -1},
	{.verb = VERB_ACQUIRE, .name = S("a"), .given = GIVEN(WAIT), .wait_ms = 315360000001},
	{.verb = VERB_ACQUIRE,
	 .name = S("a"),
	 .given = GIVEN(OWNER),
	 .owner = REQUEST_OWNER_PID,
	 .owner_pid = 0},
	{.verb = VERB_ACQUIRE,
	 .name = S("a"),
	 .given = GIVEN(OWNER) | GIVEN(RENEW),
	 .owner = REQUEST_OWNER_NONE,
	 .renew = true},
	{.verb = VERB_ACQUIRE,
	 .name = S("a"),
	 .given = GIVEN(NOTE),
	 .note = TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN
		 TEN TEN TEN TEN "1234 "}, /* 255 bytes, 257 when encoded */
	{.verb = VERB_RELEASE, .name = S("a")},
	{.verb = VERB_RELEASE, .name = S("a"), .lock = S("b c")},
	{.verb = VERB_RELEASE, .name = S("a"), .lock = S("b\n")},
	{.verb = VERB_RELEASE, .name = S("a"), .lock = S(NAME_128 "x")},
	{.verb = VERB_CANCEL, .target = S("@a")},
	{.verb = VERB_LIST, .pattern = S("a=b")},
};

START_TEST(what_is_not_valid_is_not_written)
	{
		char out[PROTO_LINE_MAX];

		ck_assert_int_eq(request_format(&unwritable[_i], out, sizeof(out)), -1);
	}
END_TEST

START_TEST(the_longest_line_is_accepted_and_one_byte_more_is_not)
	{
		char bytes[PROTO_LINE_MAX + 1], why[WHY_SIZE];
		struct span all, line;
		struct request request;

		memset(bytes, ' ', sizeof(bytes));
		memcpy(bytes, "EXISTS", 6);
		bytes[PROTO_LINE_MAX - 2] = 'a';
		bytes[PROTO_LINE_MAX - 1] = '\n';
		all = (struct span){bytes, sizeof(bytes)};
		ck_assert_int_eq(line_next(&all, PROTO_LINE_MAX, &line), LINE_READY);
		ck_assert_uint_eq(line.len, PROTO_LINE_MAX - 1);
		ck_assert_int_eq(request_parse(line, &request, why, sizeof(why)), PROTO_OK);
		ck_assert_span(request.name, "a");

		bytes[PROTO_LINE_MAX - 1] = 'a';
		bytes[PROTO_LINE_MAX] = '\n';
		all = (struct span){bytes, sizeof(bytes)};
		ck_assert_int_eq(line_next(&all, PROTO_LINE_MAX, &line), LINE_TOO_LONG);
	}
END_TEST

START_TEST(the_largest_request_fits_into_a_line)
	{
		struct request request = {
			.verb = VERB_ACQUIRE,
			.tag = S(THIRTY_TWO),
			.name = S(NAME_128),
			.given = GIVEN(WAIT) | GIVEN(TTL) | GIVEN(RENEW) | GIVEN(OWNER) |
				 GIVEN(NOTE),
			.wait_ms = PROTO_TTL_MAX_MS,
			.ttl_ms = PROTO_TTL_MAX_MS,
			.renew = true,
			.owner = REQUEST_OWNER_PID,
			.owner_pid = INT32_MAX,
			.note = NOTE_256,
		};
		char out[PROTO_LINE_MAX];

		ck_assert_int_gt(request_format(&request, out, sizeof(out)), 0);
	}
END_TEST

int main(void)
{
	Suite *suite = suite_create("proto/request");
	TCase *reading = tcase_create("reading");
	TCase *writing = tcase_create("writing");

	tcase_add_loop_test(reading, a_request_is_understood_and_written_back, 0,
			    sizeof(accepted) / sizeof(*accepted));
	tcase_add_loop_test(reading, a_refusal_says_what_is_wrong, 0,
			    sizeof(refused) / sizeof(*refused));
	tcase_add_test(reading, a_refusal_is_cut_to_its_buffer);
	tcase_add_test(reading, each_verb_takes_its_options_and_no_other);
	tcase_add_test(reading, the_longest_line_is_accepted_and_one_byte_more_is_not);
	suite_add_tcase(suite, reading);

	tcase_add_loop_test(writing, what_is_not_valid_is_not_written, 0,
			    sizeof(unwritable) / sizeof(*unwritable));
	tcase_add_test(writing, the_largest_request_fits_into_a_line);
	suite_add_tcase(suite, writing);
	return suite_run(suite);
}
