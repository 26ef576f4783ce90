/* SPDX-License-Identifier: MIT */
/* Records: what is written is what is read, and what is not well-formed is refused. */
#include "config.h"

#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "suite.h"
#include "util/record.h"

static void write_header(struct record_writer *w)
{
	*w = (struct record_writer){0};
	record_open(w, "1.2.3");
}

/* The first record of what was written. */
static void read_first(const struct record_writer *w, struct record *record)
{
	struct record_reader reader;

	ck_assert_msg(record_reader_init(&reader, w->data, w->len), "%s", reader.why);
	ck_assert(record_next(&reader, record));
}

START_TEST(what_is_written_is_what_is_read)
	{
		static const char bytes[] = {0, 1, ' ', '%', '=', '\n', (char)0xff, 'a'};
		const uint64_t numbers[4] = {1, 0, UINT64_MAX, 0};
		uint64_t got[4];
		struct record_writer w;
		struct record record;
		char *text;
		size_t len;

		write_header(&w);
		record_begin(&w, "thing");
		record_put_number(&w, "most", INT64_MAX);
		record_put_number(&w, "less", -INT64_MAX);
		record_put_number(&w, "nothing", 0);
		record_put_text(&w, "text", "a b=c");
		record_put_text(&w, "empty", "");
		record_put_text(&w, "none", NULL);
		record_put_bytes(&w, "bytes", bytes, sizeof(bytes));
		record_put_numbers(&w, "numbers", numbers, 4);
		record_end(&w);
		record_close(&w);
		read_first(&w, &record);
		ck_assert(record_is(&record, "thing"));
		ck_assert(!record_is(&record, "thin"));
		ck_assert_int_eq(record_number(&record, "most"), INT64_MAX);
		ck_assert_int_eq(record_number(&record, "less"), -INT64_MAX);
		ck_assert(!record_has(&record, "nothing"));
		ck_assert_int_eq(record_number(&record, "nothing"), 0);
		text = record_text(&record, "text");
		ck_assert_str_eq(text, "a b=c");
		free(text);
		text = record_text(&record, "empty");
		ck_assert_str_eq(text, "");
		free(text);
		ck_assert_ptr_null(record_text(&record, "none"));
		ck_assert_ptr_null(record_text(&record, "bytes"));
		text = record_bytes(&record, "bytes", &len);
		ck_assert_uint_eq(len, sizeof(bytes));
		ck_assert_mem_eq(text, bytes, len);
		free(text);
		ck_assert_uint_eq(record_numbers(&record, "numbers", got, 4), 3);
		ck_assert_mem_eq(got, numbers, sizeof(got));
		record_writer_deinit(&w);
	}
END_TEST

START_TEST(numbers_keep_within_their_limits)
	{
		struct record_writer w;
		struct record record;
		char text[4];

		write_header(&w);
		record_begin(&w, "thing");
		record_put_number(&w, "ten", 10);
		record_put_text(&w, "word", "ten");
		record_put_text(&w, "huge", "9223372036854775808");
		record_end(&w);
		record_close(&w);
		read_first(&w, &record);
		ck_assert_int_eq(record_number_within(&record, "ten", 0, 10, 3), 10);
		ck_assert_int_eq(record_number_within(&record, "ten", 0, 9, 3), 3);
		ck_assert_int_eq(record_number_within(&record, "missing", 1, 9, 3), 3);
		ck_assert_int_eq(record_number(&record, "word"), 0);
		ck_assert_int_eq(record_number(&record, "huge"), 0);
		ck_assert(record_copy_text(&record, "word", text, sizeof(text)));
		ck_assert(!record_copy_text(&record, "word", text, 3));
		ck_assert(record_copy_text(&record, "missing", text, sizeof(text)));
		ck_assert_str_eq(text, "");
		record_writer_deinit(&w);
	}
END_TEST

START_TEST(a_file_without_a_name_has_it_all)
	{
		struct record_writer w;
		size_t len;
		char *data;
		int fd;

		write_header(&w);
		record_close(&w);
		fd = record_to_fd(&w);
		ck_assert_int_ge(fd, 0);
		data = record_from_fd(fd, &len);
		ck_assert_uint_eq(len, w.len);
		ck_assert_mem_eq(data, w.data, len);
		free(data);
		close(fd);
		record_writer_deinit(&w);
	}
END_TEST

START_TEST(what_is_no_file_is_refused)
	{
		int ends[2];
		size_t len;

		ck_assert_int_eq(pipe(ends), 0);
		ck_assert_ptr_null(record_from_fd(ends[0], &len));
		close(ends[0]);
		close(ends[1]);
		ck_assert_ptr_null(record_from_fd(-1, &len));
		ck_assert_int_eq(errno, EBADF);
	}
END_TEST

static const struct {
	const char *text, *why;
} malformed[] = {
	{"", "it does not begin with redmutexd_state"},
	{"thing a=b\n", "it does not begin with redmutexd_state"},
	{"redmutexd_state\nend records=1\n", "it is of version 0, and only up to 1 is understood"},
	{"redmutexd_state version=99\nend records=1\n",
	 "it is of version 99, and only up to 1 is understood"},
	{"redmutexd_state version=1\n", "its end is missing"},
	{"redmutexd_state version=1\nthing\nend records=1\n", "records are missing"},
	{"redmutexd_state version=1\nend records=1\nthing\n", "something follows its end"},
	{"redmutexd_state version=1\nend records=1", "the last line is cut off"},
	{"redmutexd_state version=1\nthing  a=b\nend records=2\n",
	 "a line is malformed: thing  a=b"},
	{"redmutexd_state version=1\nthing a\nend records=2\n", "a line is malformed: thing a"},
	{"redmutexd_state version=1\nthing =b\nend records=2\n", "a line is malformed: thing =b"},
	{"redmutexd_state version=1\nthing a=\tb\nend records=2\n",
	 "a line is malformed: thing a=\tb"},
	{"redmutexd_state version=1\n\nend records=2\n", "a line is malformed: "},
};

START_TEST(what_is_malformed_is_refused)
	{
		struct record_reader reader;
		const char *text = malformed[_i].text;

		ck_assert(!record_reader_init(&reader, text, strlen(text)));
		ck_assert_str_eq(reader.why, malformed[_i].why);
	}
END_TEST

START_TEST(a_record_has_so_many_fields_and_no_more)
	{
		for (int n = RECORD_FIELDS_MAX; n <= RECORD_FIELDS_MAX + 1; n++) {
			struct record_writer w;
			struct record_reader reader;

			write_header(&w);
			record_begin(&w, "thing");
			for (int i = 0; i < n; i++)
				record_put_number(&w, "a", 1);
			record_end(&w);
			record_close(&w);
			ck_assert(record_reader_init(&reader, w.data, w.len) ==
				  (n <= RECORD_FIELDS_MAX));
			record_writer_deinit(&w);
		}
	}
END_TEST

START_TEST(malformed_escapes_are_no_text)
	{
		static const char text[] = "redmutexd_state version=1\n"
					   "thing a=%4 b=%zz c=% d=%00 e=%41\nend records=2\n";
		struct record_reader reader;
		struct record record;
		char *good;

		ck_assert(record_reader_init(&reader, text, strlen(text)));
		ck_assert(record_next(&reader, &record));
		for (const char *key = "a\0b\0c\0d\0"; *key; key += 2)
			ck_assert_ptr_null(record_text(&record, key));
		good = record_text(&record, "e");
		ck_assert_str_eq(good, "A");
		free(good);
		ck_assert(!record_next(&reader, &record));
	}
END_TEST

/* xorshift64*, https://vigna.di.unimi.it/ftp/papers/xorshift.pdf */
static uint64_t random_next(uint64_t *state)
{
	*state ^= *state >> 12;
	*state ^= *state << 25;
	*state ^= *state >> 27;
	return *state * UINT64_C(2685821657736338717);
}

START_TEST(no_bytes_harm_the_reader)
	{
		static const char alphabet[] = "redmutx_state vion=1%\n, end0\xff";
		uint64_t state = 42;

		for (int i = 0; i < 50000; i++) {
			const size_t len = random_next(&state) % 200;
			const size_t from =
				random_next(&state) % 2 * strlen("redmutexd_state version=1\n");
			char *text = malloc(from + len + 1);
			struct record_reader reader;
			struct record record;
			uint64_t numbers[4];

			memcpy(text, "redmutexd_state version=1\n", from);
			for (size_t j = 0; j < len; j++)
				text[from + j] =
					alphabet[random_next(&state) % (sizeof(alphabet) - 1)];
			if (!record_reader_init(&reader, text, from + len))
				reader = (struct record_reader){.at = text,
								.end = text + from + len};
			while (record_next(&reader, &record)) {
				free(record_text(&record, "e"));
				record_number(&record, "e");
				record_numbers(&record, "e", numbers, 4);
			}
			free(text);
		}
	}
END_TEST

static Suite *suite(void)
{
	Suite *suite = suite_create("util record");
	TCase *tcase = tcase_create("record");

	tcase_set_timeout(tcase, 60);
	tcase_add_test(tcase, what_is_written_is_what_is_read);
	tcase_add_test(tcase, numbers_keep_within_their_limits);
	tcase_add_test(tcase, a_file_without_a_name_has_it_all);
	tcase_add_test(tcase, what_is_no_file_is_refused);
	tcase_add_loop_test(tcase, what_is_malformed_is_refused, 0,
			    sizeof(malformed) / sizeof(*malformed));
	tcase_add_test(tcase, a_record_has_so_many_fields_and_no_more);
	tcase_add_test(tcase, malformed_escapes_are_no_text);
	tcase_add_test(tcase, no_bytes_harm_the_reader);
	suite_add_tcase(suite, tcase);
	return suite;
}

int main(void)
{
	return suite_run(suite());
}
