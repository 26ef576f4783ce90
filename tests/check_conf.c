/* SPDX-License-Identifier: MIT */
/* The INI file: what is refused and how it is said, what comes out, and what inih would have done.
 */
#include "config.h"

#include <check.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "conf/conf.h"
#include "conf/conf_table.h"
#include "conf/conf_url.h"
#include "suite.h"

/*
 * In place of the store's: any scheme will do here, so that these tests say nothing of which stores
 * there are.
 */
bool store_settings_check(const struct store_settings *settings, char *why, size_t size)
{
	ck_assert_ptr_nonnull(settings->url);
	ck_assert_uint_ge(settings->pool_size, 1);
	ck_assert_int_ge(settings->connect_timeout_ms, 1);
	ck_assert_int_ge(settings->command_timeout_ms, 1);
	if (!strchr(settings->url, ':'))
		snprintf(why, size, "no kind of url");
	else if (settings->username && !settings->password_file)
		snprintf(why, size, "a user needs a password");
	else if (settings->sentinel_username && !settings->sentinel_password_file)
		snprintf(why, size, "so does a sentinel's");
	else if (settings->tls_key && !settings->tls_cert)
		snprintf(why, size, "a key needs a certificate");
	else
		return true;
	return false;
}

void store_settings_deinit(struct store_settings *settings)
{
	free(settings->url);
	free(settings->username);
	free(settings->password_file);
	free(settings->sentinel_username);
	free(settings->sentinel_password_file);
	free(settings->tls_ca);
	free(settings->tls_cert);
	free(settings->tls_key);
	free(settings->tls_server_name);
}

/* ------------------------------------------------------------------ files and faults */
static char dir[] = "/tmp/check_conf.XXXXXX";
static char main_path[64];

/* All faults of a load, a line each, without the folder. */
static char faults[65536];

static void write_bytes(const char *name, const void *bytes, size_t len)
{
	char path[256];
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	file = fopen(path, "w");
	ck_assert_ptr_nonnull(file);
	ck_assert_uint_eq(fwrite(bytes, 1, len, file), len);
	ck_assert_int_eq(fclose(file), 0);
}

static void write_text(const char *name, const char *text)
{
	write_bytes(name, text, strlen(text));
}

static void note_fault(void *arg, const char *file, int line, const char *text)
{
	size_t n = strlen(faults);

	ck_assert_ptr_eq(arg, faults);
	if (strncmp(file, dir, strlen(dir)) == 0)
		file += strlen(dir) + 1;
	snprintf(faults + n, sizeof(faults) - n, "%s:%d: %s\n", file, line, text);
}

static struct conf *load_main(void)
{
	faults[0] = '\0';
	return conf_load(main_path, note_fault, faults);
}

static struct conf *load_text(const char *text)
{
	write_text("r.ini", text);
	return load_main();
}

static struct conf *load_good(const char *text)
{
	struct conf *conf = load_text(text);

	ck_assert_str_eq(faults, "");
	ck_assert_ptr_nonnull(conf);
	return conf;
}

static void expect_faults(const char *text, const char *expected)
{
	ck_assert_ptr_null(load_text(text));
	ck_assert_str_eq(faults, expected);
}

static void setup(void)
{
	strcpy(dir + strlen(dir) - 6, "XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	snprintf(main_path, sizeof(main_path), "%s/r.ini", dir);
}

static void teardown(void)
{
	char command[128];

	snprintf(command, sizeof(command), "rm -rf '%s'", dir);
	ck_assert_int_eq(system(command), 0);
}

/* ------------------------------------------------------------------ what is refused */
/* `text` is put into a section of its own kind by the test; the fault's line is that of the file.
 */
static const struct {
	const char *text, *expected;
} faulty[] = {
	/* values, at the top */
	{"[redmutexd]\nsocket_mode = 888\n",
	 "r.ini:2: socket_mode: expected a file mode from 0000 to 0777, got \"888\"\n"},
	{"[redmutexd]\nmetrics_listen = localhost:9121\n",
	 "r.ini:2: metrics_listen: expected an address such as 127.0.0.1:9121 or [::1]:9121, the "
	 "path of a socket, or off; got \"localhost:9121\"\n"},
	{"[redmutexd]\nmetrics_listen = 127.0.0.1:0\n",
	 "r.ini:2: metrics_listen: expected an address such as 127.0.0.1:9121 or [::1]:9121, the "
	 "path of a socket, or off; got \"127.0.0.1:0\"\n"},
	{"[redmutexd]\nsocket_mode = 1777\n",
	 "r.ini:2: socket_mode: expected a file mode from 0000 to 0777, got \"1777\"\n"},
	{"[redmutexd]\nsocket =\n", "r.ini:2: socket: expected a value, got nothing\n"},
	{"[redmutexd]\nsocket_group = nosuchgroup\n",
	 "r.ini:2: socket_group: expected a group: there is no \"nosuchgroup\"\n"},
	{"[redmutexd]\nadmin_group = 4294967295\n",
	 "r.ini:2: admin_group: expected a group: there is no \"4294967295\"\n"},
	{"[redmutexd]\nlog_level = loud\n",
	 "r.ini:2: log_level: expected error, warning, info or debug, got \"loud\"\n"},
	{"[redmutexd]\nmax_clients = 0\n",
	 "r.ini:2: max_clients: expected a number from 1 to 1000000, got \"0\"\n"},
	{"[redmutexd]\nmax_clients = -1\nmax_waiters = 1e3\nbusy_poll_us=\n",
	 "r.ini:2: max_clients: expected a number from 1 to 1000000, got \"-1\"\n"
	 "r.ini:3: max_waiters: expected a number from 1 to 1000000, got \"1e3\"\n"
	 "r.ini:4: busy_poll_us: expected a number from 0 to 1000000, got \"\"\n"},
	/* values, of a mutex */
	{"[mutex a]\nurl = local:\nexpiration_in_seconds = 1h\n",
	 "r.ini:3: expiration_in_seconds: expected a number of seconds of at least 0.010, got "
	 "\"1h\"\n"},
	{"[mutex a]\nurl = local:\nexpiration_in_seconds = 0.009\n",
	 "r.ini:3: expiration_in_seconds: expected a number of seconds of at least 0.010, got "
	 "\"0.009\"\n"},
	{"[mutex a]\nurl = local:\nexpiration_in_seconds = .5\n",
	 "r.ini:3: expiration_in_seconds: expected a number of seconds of at least 0.010, got "
	 "\".5\"\n"},
	{"[mutex a]\nurl = local:\nexpiration_in_seconds = 5.\n",
	 "r.ini:3: expiration_in_seconds: expected a number of seconds of at least 0.010, got "
	 "\"5.\"\n"},
	{"[mutex a]\nurl = local:\nexpiration_in_seconds = 315360000.001\n",
	 "r.ini:3: expiration_in_seconds: expected a number of seconds of at most 315360000, got "
	 "\"315360000.001\"\n"},
	{"[mutex a]\nurl = local:\nexpiration_in_seconds = 99999999999999999999\n",
	 "r.ini:3: expiration_in_seconds: expected a number of seconds of at most 315360000, got "
	 "\"99999999999999999999\"\n"},
	{"[mutex a]\nurl = local:\nrenew = maybe\nfence = YES\nhandoff = none\n",
	 "r.ini:3: renew: expected no or yes, got \"maybe\"\n"
	 "r.ini:4: fence: expected no or yes, got \"YES\"\n"
	 "r.ini:5: handoff: expected store or local, got \"none\"\n"},
	{"[mutex a]\nurl = local:\nallow_users = root, nosuchuser\nallow_groups = ,\n",
	 "r.ini:3: allow_users: expected a user: there is no \"nosuchuser\"\n"
	 "r.ini:4: allow_groups: expected a list of groups, got nothing\n"},
	{"[mutex a]\nurl = local:\npassword_file = /nonexistent/x\n",
	 "r.ini:3: password_file: expected a file that can be read: /nonexistent/x: No such file "
	 "or "
	 "directory\n"},
	{"[mutex a]\nurl = local:\npassword_file = /tmp\n",
	 "r.ini:3: password_file: expected a file that can be read: /tmp: Is a directory\n"},
	{"[mutex a]\nurl = nothing\n", "r.ini:2: url: no kind of url\n"},
	{"[mutex a]\nurl =\n", "r.ini:2: url: expected a value, got nothing\n"},
	/* sections and keys */
	{"socket = /x\n", "r.ini:1: socket: expected a [section] before the first key\n"},
	{"[rdmutexd]\nsocket = /x\n", "r.ini:1: [rdmutexd]: unknown section: expected [redmutexd], "
				      "[defaults] or [mutex NAME]\n"},
	{"[mutex]\nurl = local:\n",
	 "r.ini:1: [mutex]: unknown section: expected [redmutexd], [defaults] or [mutex NAME]\n"},
	{"[mutex a b]\nurl = local:\n",
	 "r.ini:1: [mutex]: expected a name of A-Z a-z 0-9 . _ - : / and, for a family, *, got "
	 "\"a b\"\n"},
	{"[mutex a]\nurl = local:\nexpiration = 3\n",
	 "r.ini:3: expiration: unknown key in [mutex a]: see redmutexd.ini(5) for those that there "
	 "are\n"},
	{"[redmutexd]\nrenew = yes\n[mutex a]\nurl = local:\nlog_level = info\n",
	 "r.ini:2: renew: unknown key in [redmutexd]: it belongs into [defaults] or [mutex NAME]\n"
	 "r.ini:5: log_level: unknown key in [mutex a]: it belongs into [redmutexd]\n"},
	{"[mutex a]\nurl = local:\nfence = no\nurl = local:\n",
	 "r.ini:4: url: given twice in [mutex a]: expected only the one at line 2\n"},
	{"[redmutexd]\nlog_level = info\n[defaults]\nfence = no\n[redmutexd]\nsocket = /x\n"
	 "[defaults]\nfence = no\n",
	 "r.ini:5: [redmutexd]: given twice: expected all of its keys in the one at line 1\n"
	 "r.ini:7: [defaults]: given twice: expected all of its keys in the one at line 3\n"},
	{"[mutex a]\nurl = local:\n[mutex b]\nurl = local:b\n[mutex a]\nurl = local:\n",
	 "r.ini:5: [mutex a]: given twice: expected all of its keys in the one at {}/r.ini:1\n"},
	/* an empty section makes no call of inih's handler */
	{"[redmutexd]\n[defaults]\n; nothing\n[mutex a]\n\n[mutex b]\nurl = local:\n[mutex c]",
	 "r.ini:1: [redmutexd]: empty section: expected at least one key\n"
	 "r.ini:2: [defaults]: empty section: expected at least one key\n"
	 "r.ini:4: [mutex a]: empty section: expected at least one key\n"
	 "r.ini:4: [mutex a]: expected a url, here or in [defaults]\n"
	 "r.ini:8: [mutex c]: empty section: expected at least one key\n"
	 "r.ini:8: [mutex c]: expected a url, here or in [defaults]\n"},
	/* required, and not asked for twice when it was there but wrong */
	{"[mutex a]\nfence = no\n", "r.ini:1: [mutex a]: expected a url, here or in [defaults]\n"},
	{"[defaults]\nurl = nothing\n[mutex a]\nkey = a\n[mutex b]\nkey = b\n",
	 "r.ini:2: url: no kind of url\n"},
	{"[defaults]\nurl =\n[mutex a]\nkey = a\n",
	 "r.ini:2: url: expected a value, got nothing\n"},
	{"[defaults]\nurl = nothing\n", "r.ini:2: url: no kind of url\n"},
	{"[defaults]\nurl = x:\n[mutex a]\nkey = a\nusername = u\n",
	 "r.ini:5: username: a user needs a password\n"},
	{"[defaults]\nurl = x:\nusername = u\n[mutex a]\nkey = a\n[mutex b]\nkey = b\n",
	 "r.ini:3: username: a user needs a password\n"},
	{"[defaults]\nusername = u\n[mutex a]\nurl = x:\n",
	 "r.ini:4: url: a user needs a password\n"},
	/* one section, several faults */
	{"[mutex a]\nurl = x:\nsentinel_username = s\ntls_key = /dev/null\n",
	 "r.ini:3: sentinel_username: so does a sentinel's\n"
	 "r.ini:4: tls_key: a key needs a certificate\n"},
	{"[defaults]\nurl = nothing\nusername = u\n[mutex a]\nusername = v\n[mutex b]\nkey = b\n",
	 "r.ini:2: url: no kind of url\n"},
	{"[mutex a]\nurl = x:\nusername = u\npassword_file = /nonexistent/x\n",
	 "r.ini:4: password_file: expected a file that can be read: /nonexistent/x: No such file "
	 "or "
	 "directory\n"},
	/* keys in the store */
	{"[mutex a-*]\nurl = local:\nkey = all\n",
	 "r.ini:3: key: expected {name} in the key of the family a-*, or all of its mutexes would "
	 "be one, got \"all\"\n"},
	{"[defaults]\nurl = local:\nkey = all\n[mutex a-*]\nfence = no\n",
	 "r.ini:4: key: expected {name} in the key of the family a-*, or all of its mutexes would "
	 "be one, got \"all\"\n"},
	{"[mutex a]\nurl = redis-cluster://h:1\nkey = a}b\n[mutex b-*]\nurl = "
	 "rediss-cluster://h:1\n"
	 "key = {}{name}\n",
	 "r.ini:3: key: expected no } in the key of a mutex in a cluster, except as the end of a "
	 "hash tag {...}, got \"a}b\"\n"
	 "r.ini:6: key: expected no } in the key of a mutex in a cluster, except as the end of a "
	 "hash tag {...}, got \"{}{name}\"\n"},
	{"[mutex a]\nurl = redis://h\n[mutex b]\nurl = redis://u:p@H:6379/0\n",
	 "r.ini:3: [mutex b]: expected another url or key than [mutex a] has at {}/r.ini:1: both "
	 "come out at the key \"red_mutex_lock\" of the same store\n"},
	{"[defaults]\nurl = x:\nkey = k-{name}\n[mutex a]\nfence = no\n[mutex b]\nkey = k-a\n"
	 "[mutex c]\nkey = k-a\n",
	 "r.ini:6: [mutex b]: expected another url or key than [mutex a] has at {}/r.ini:4: both "
	 "come out at the key \"k-a\" of the same store\n"
	 "r.ini:8: [mutex c]: expected another url or key than [mutex a] has at {}/r.ini:4: both "
	 "come out at the key \"k-a\" of the same store\n"},
	/* lines */
	{"[mutex a]\nurl local\nurl = local:\n   \nhm\n",
	 "r.ini:2: expected key = value, a [section] or a comment\n"
	 "r.ini:5: expected key = value, a [section] or a comment\n"},
	{"[mutex a]\n= local:\nurl = local:\n", "r.ini:2: expected a key before the =\n"},
	{"[mutex a\nurl = local:\nnonsense = 1\n[mutex b]\nurl = local:\n",
	 "r.ini:1: expected a ] at the end of the section's name\n"},
	{"[mutex a] url = local:\nurl = local:\n",
	 "r.ini:1: expected nothing but a comment after the section's ]\n"},
	{"[mutex a]\nurl = local:\n [mutex b]\nurl = x:\n",
	 "r.ini:3: expected the section to begin at the start of the line\n"},
	{"[mutex a]\n  url = local:\n",
	 "r.ini:2: expected a key at the start of the line; an indented line goes on with the key "
	 "before it, and there is none in this section\n"},
	{"[mutex a]\nurl = local:\nkey = a\n  b\n  c\nfence = no\n  x\n",
	 "r.ini:4: key: expected its value on one line; only url, allow_users, allow_groups and "
	 "include go on over indented lines\n"
	 "r.ini:7: fence: expected its value on one line; only url, allow_users, allow_groups and "
	 "include go on over indented lines\n"},
	{"[mutex a]\nurl = local:\nkey = a\rfence = no\n",
	 "r.ini:3: expected a line end after the carriage return\n"},
	{"[mutex a]\nurl = local:\nkey = a\x1b[2J\nfence = \x1b[2J\n",
	 "r.ini:4: fence: expected no or yes, got \"?[2J\"\n"},
};

/* `{}` stands for the folder. */
static void with_folder(const char *text, char *out)
{
	for (; *text; text++) {
		/* An empty pair of braces is a key in one of them, and that one has no slash. */
		if (strncmp(text, "{}/", 3) == 0) {
			out = stpcpy(out, dir);
			text++;
		} else {
			*out++ = *text;
		}
	}
	*out = '\0';
}

START_TEST(faulty_files_are_refused_with_line_and_expectation)
	{
		char expected[4096];

		with_folder(faulty[_i].expected, expected);
		expect_faults(faulty[_i].text, expected);
	}
END_TEST

START_TEST(names_that_inih_would_cut_are_refused)
	{
		char text[256], expected[512];

		/* 40 characters are fine, 41 are not, and inih would take 50 for another name's 49.
		 */
		snprintf(text, sizeof(text), "[mutex %040d]\nurl = local:\n", 7);
		conf_free(load_good(text));
		snprintf(text, sizeof(text), "[mutex %041d]\nurl = local:\n", 7);
		snprintf(expected, sizeof(expected),
			 "r.ini:1: [mutex]: expected a name of at most 40 characters, got 41: "
			 "\"%041d\"\n",
			 7);
		expect_faults(text, expected);
		snprintf(text, sizeof(text), "[mutex %042d*]\nurl = local:\n", 7);
		conf_free(load_good(text));
		snprintf(text, sizeof(text), "[mutex %043d*]\nurl = local:\n", 7);
		snprintf(expected, sizeof(expected),
			 "r.ini:1: [mutex %043d*]: expected at most 49 characters between the "
			 "brackets, "
			 "got 50\n",
			 7);
		expect_faults(text, expected);
		snprintf(text, sizeof(text), "[redmutexd]\nsocket%060d = /x\n", 7);
		snprintf(expected, sizeof(expected),
			 "r.ini:2: socket%060d: unknown key in [redmutexd]: see redmutexd.ini(5) "
			 "for those "
			 "that there are\n",
			 7);
		expect_faults(text, expected);
	}
END_TEST

/* inih keeps 199 bytes of a line: what is longer must not be cut, nor read as two lines. */
START_TEST(a_line_that_inih_would_cut_is_refused)
	{
		char text[1024];
		int pad = 199 - 1 - (int)strlen("key = ");

		snprintf(text, sizeof(text), "[mutex a]\nurl = local:\nkey = %0*d\n", pad, 7);
		conf_free(load_good(text));
		snprintf(text, sizeof(text), "[mutex a]\nurl = local:\nkey = %0*d\nhm = 1\n",
			 pad + 1, 7);
		expect_faults(
			text,
			"r.ini:3: expected at most 199 bytes with the line's end, got 200\n"
			"r.ini:4: hm: unknown key in [mutex a]: see redmutexd.ini(5) for those "
			"that there are\n");
		/* The url is lost, but was not forgotten: no complaint about that. */
		snprintf(text, sizeof(text),
			 "[mutex a]\nfence = no\nurl = local:%0600d\n[mutex b]\nurl=x:", 7);
		expect_faults(text,
			      "r.ini:3: expected at most 199 bytes with the line's end, got 613\n");
		/* A last line of 199 bytes without its end. */
		snprintf(text, sizeof(text), "[mutex a]\nurl = local:\nkey = %0*d", pad + 1, 7);
		conf_free(load_good(text));
	}
END_TEST

START_TEST(bytes_that_are_no_text_are_refused)
	{
		static const char nul[] = "[mutex a]\nurl = local:\nkey = a\0b\nfence = no\n";

		write_bytes("r.ini", nul, sizeof(nul) - 1);
		ck_assert_ptr_null(load_main());
		ck_assert_str_eq(faults, "r.ini:3: expected text, found a NUL byte\n");
	}
END_TEST

START_TEST(what_is_no_file_is_refused)
	{
		ck_assert_ptr_null(load_main());
		ck_assert_str_eq(faults, "r.ini:0: cannot be opened: No such file or directory\n");
		ck_assert_int_eq(mkdir(main_path, 0700), 0);
		ck_assert_ptr_null(load_main());
		ck_assert_str_eq(faults, "r.ini:0: expected a file, found a folder\n");
		ck_assert_int_eq(rmdir(main_path), 0);
		ck_assert_int_eq(symlink("/dev/zero", main_path), 0);
		ck_assert_ptr_null(load_main());
		ck_assert_str_eq(faults, "r.ini:0: expected a file, found something else\n");
		if (geteuid() != 0) {
			ck_assert_int_eq(unlink(main_path), 0);
			write_text("r.ini", "");
			ck_assert_int_eq(chmod(main_path, 0), 0);
			ck_assert_ptr_null(load_main());
			ck_assert_str_eq(faults, "r.ini:0: cannot be opened: Permission denied\n");
		}
	}
END_TEST

/* ------------------------------------------------------------------ what comes out */
START_TEST(an_empty_file_gives_the_defaults)
	{
		struct conf *conf = load_good("");

		ck_assert_str_eq(conf->path, main_path);
		ck_assert_str_eq(conf->socket_path, "/run/redmutexd/redmutexd.sock");
		ck_assert_uint_eq(conf->socket_mode, 0660);
		ck_assert(!conf->socket_group_given);
		ck_assert(!conf->admin_group_given);
		ck_assert_int_eq(conf->log_level, LOG_LEVEL_INFO);
		ck_assert_uint_eq(conf->max_clients, 10000);
		ck_assert_uint_eq(conf->max_clients_per_user, 0);
		ck_assert_uint_eq(conf->max_locks_per_client, 1024);
		ck_assert_uint_eq(conf->max_pending_per_client, 1024);
		ck_assert_uint_eq(conf->max_waiters, 10000);
		ck_assert_uint_eq(conf->max_output_bytes, 1048576);
		ck_assert_int_eq(conf->busy_poll_us, 0);
		ck_assert_str_eq(conf->state_file, "/run/redmutexd/redmutexd.sock.held");
		ck_assert_ptr_null(conf->include);
		ck_assert_uint_eq(conf->n_mutexes, 0);
		conf_free(conf);
	}
END_TEST

START_TEST(a_mutex_with_nothing_but_a_url_gets_the_defaults)
	{
		struct conf *conf = load_good("[mutex backup]\nurl = redis://localhost:6379\n");
		const struct conf_mutex *m = conf->mutexes;

		ck_assert_uint_eq(conf->n_mutexes, 1);
		ck_assert_str_eq(m->name, "backup");
		ck_assert(!m->family);
		ck_assert_str_eq(m->key, "red_mutex_lock");
		ck_assert_int_eq(m->line, 1);
		ck_assert_str_eq(m->file, main_path);
		ck_assert_int_eq(m->settings.ttl_ms, 3600000);
		ck_assert(!m->settings.renew);
		ck_assert(m->settings.fence);
		ck_assert_int_eq(m->settings.handoff, HANDOFF_STORE);
		ck_assert_uint_eq(m->settings.handoff_limit, 100);
		ck_assert_int_eq(m->settings.linger_ms, 0);
		ck_assert_int_eq(m->settings.command_timeout_ms, 1000);
		ck_assert(!m->settings.announce);
		ck_assert_uint_eq(m->settings.max_waiters, 10000);
		ck_assert_str_eq(m->store.url, "redis://localhost:6379");
		ck_assert_uint_eq(m->store.pool_size, 2);
		ck_assert_int_eq(m->store.connect_timeout_ms, 1000);
		ck_assert_int_eq(m->store.command_timeout_ms, 1000);
		ck_assert_ptr_null(m->store.username);
		ck_assert_ptr_null(m->store.password_file);
		ck_assert(!m->access.restricted);
		conf_free(conf);
	}
END_TEST

START_TEST(every_key_is_taken_over)
	{
		char text[2048];
		struct conf *conf;
		const struct conf_mutex *m;

		write_text("pass", "secret\n");
		snprintf(text, sizeof(text),
			 "[redmutexd]\nsocket = /tmp/s\nsocket_mode = 600\nsocket_group = root\n"
			 "admin_group = 77\nlog_level = debug\nmax_clients = "
			 "1\nmax_clients_per_user = 2\n"
			 "max_locks_per_client = 3\nmax_pending_per_client = 4\nmax_waiters = 5\n"
			 "max_output_bytes = 65536\nbusy_poll_us = 7\nstate_file = /tmp/h\n"
			 "metrics_listen = [::1]:9121\n"
			 "[mutex order-*]\nurl = x:\nkey = orders:{name}\nexpiration_in_seconds = "
			 "0.0109\n"
			 "renew = yes\nfence = no\nhandoff = local\nhandoff_limit = 9\nlinger_ms = "
			 "10\n"
			 "allow_users = root, 1234\nallow_groups = root 5,6\npool_size = 3\n"
			 "connect_timeout_ms = 11\ncommand_timeout_ms = 12\nannounce = yes\n"
			 "username = locker\npassword_file = %s/pass\nwait_replicas = 13\n"
			 "tls_ca = %s/pass\ntls_cert = %s/pass\ntls_key = %s/pass\n"
			 "tls_server_name = redis.test\n",
			 dir, dir, dir, dir);
		conf = load_good(text);
		ck_assert_str_eq(conf->socket_path, "/tmp/s");
		ck_assert_uint_eq(conf->socket_mode, 0600);
		ck_assert(conf->socket_group_given);
		ck_assert_uint_eq(conf->socket_group, 0);
		ck_assert(conf->admin_group_given);
		ck_assert_uint_eq(conf->admin_group, 77);
		ck_assert_int_eq(conf->log_level, LOG_LEVEL_DEBUG);
		ck_assert_uint_eq(conf->max_clients, 1);
		ck_assert_uint_eq(conf->max_clients_per_user, 2);
		ck_assert_uint_eq(conf->max_locks_per_client, 3);
		ck_assert_uint_eq(conf->max_pending_per_client, 4);
		ck_assert_uint_eq(conf->max_waiters, 5);
		ck_assert_uint_eq(conf->max_output_bytes, 65536);
		ck_assert_int_eq(conf->busy_poll_us, 7);
		ck_assert_str_eq(conf->state_file, "/tmp/h");
		ck_assert_str_eq(conf->metrics_listen, "[::1]:9121");
		m = conf->mutexes;
		ck_assert(m->family);
		ck_assert_str_eq(m->key, "orders:{name}");
		ck_assert_int_eq(m->settings.ttl_ms, 10);
		ck_assert(m->settings.renew);
		ck_assert(!m->settings.fence);
		ck_assert_int_eq(m->settings.handoff, HANDOFF_LOCAL);
		ck_assert_uint_eq(m->settings.handoff_limit, 9);
		ck_assert_int_eq(m->settings.linger_ms, 10);
		ck_assert(m->access.restricted);
		ck_assert_uint_eq(m->access.n_users, 2);
		ck_assert_uint_eq(m->access.users[1], 1234);
		ck_assert_uint_eq(m->access.n_groups, 3);
		ck_assert_uint_eq(m->access.groups[2], 6);
		ck_assert_uint_eq(m->store.pool_size, 3);
		ck_assert_int_eq(m->store.connect_timeout_ms, 11);
		ck_assert_int_eq(m->store.command_timeout_ms, 12);
		ck_assert_int_eq(m->settings.command_timeout_ms, 12);
		ck_assert_uint_eq(m->settings.max_waiters, 5);
		ck_assert(m->settings.announce);
		ck_assert_str_eq(m->store.username, "locker");
		ck_assert_uint_eq(m->store.wait_replicas, 13);
		ck_assert_str_eq(m->store.tls_server_name, "redis.test");
		ck_assert_str_eq(m->store.tls_ca, m->store.password_file);
		ck_assert_str_eq(m->store.tls_cert, m->store.password_file);
		ck_assert_str_eq(m->store.tls_key, m->store.password_file);
		conf_free(conf);
	}
END_TEST

START_TEST(a_path_may_begin_with_the_credentials_of_systemd)
	{
		static const char text[] = "[mutex a]\nurl = x:\n"
					   "password_file = ${CREDENTIALS_DIRECTORY}/pass\n";
		char path[64];
		struct conf *conf;

		write_text("pass", "secret\n");
		unsetenv("CREDENTIALS_DIRECTORY");
		ck_assert_ptr_null(load_text(text));
		ck_assert_ptr_nonnull(strstr(faults, "systemd has given no credentials"));
		setenv("CREDENTIALS_DIRECTORY", dir, 1);
		conf = load_good(text);
		snprintf(path, sizeof(path), "%s/pass", dir);
		ck_assert_str_eq(conf->mutexes[0].store.password_file, path);
		conf_free(conf);
		setenv("CREDENTIALS_DIRECTORY", "/nowhere", 1);
		ck_assert_ptr_null(load_text(text));
		ck_assert_ptr_nonnull(strstr(faults, "/nowhere/pass: No such file"));
	}
END_TEST

START_TEST(defaults_apply_wherever_they_stand_and_are_overridden)
	{
		struct conf *conf =
			load_good("[mutex a]\nfence = no\n"
				  "[mutex b-*]\nurl = y:\nallow_users = 5\n"
				  "[defaults]\nurl = x:\nkey = k:{name}\nallow_users = 6\n"
				  "allow_groups = 7\nexpiration_in_seconds = 1.5\n"
				  "[redmutexd]\nmax_waiters = 3\n");
		const struct conf_mutex *m = conf->mutexes;

		ck_assert_str_eq(m[0].store.url, "x:");
		ck_assert_str_eq(m[0].key, "k:a");
		ck_assert_int_eq(m[0].settings.ttl_ms, 1500);
		ck_assert(!m[0].settings.fence);
		ck_assert_uint_eq(m[0].settings.max_waiters, 3);
		ck_assert_uint_eq(m[0].access.users[0], 6);
		ck_assert_str_eq(m[1].store.url, "y:");
		ck_assert_str_eq(m[1].key, "k:{name}");
		ck_assert(m[1].settings.fence);
		ck_assert_uint_eq(m[1].access.n_users, 1);
		ck_assert_uint_eq(m[1].access.users[0], 5);
		ck_assert_uint_eq(m[1].access.groups[0], 7);
		conf_free(conf);
	}
END_TEST

START_TEST(names_stand_in_for_themselves_in_keys)
	{
		struct conf *conf = load_good("[defaults]\nurl = redis-cluster://h:1\n"
					      "[mutex a]\nkey = {name}/{name}.\n"
					      "[mutex f-*]\nfence = no\n"
					      "[mutex g]\nkey = {tag}}\n"
					      "[mutex h-*]\nkey = {tag}{name}\n");

		ck_assert_str_eq(conf->mutexes[0].key, "a/a.");
		ck_assert_str_eq(conf->mutexes[1].key, "red_mutex_lock:{name}");
		ck_assert_str_eq(conf->mutexes[2].key, "{tag}}");
		ck_assert_str_eq(conf->mutexes[3].key, "{tag}{name}");
		conf_free(conf);
	}
END_TEST

START_TEST(comments_byte_order_marks_and_line_ends_are_understood)
	{
		struct conf *conf = load_good("\xef\xbb\xbf[mutex a] ; a mutex\r\n"
					      "# a comment\r\n; another\r\n  ; a third\r\n"
					      "url=redis://h:1;x ; the ; store\r\n"
					      "  ; in between\r\n"
					      "\tredis://h:2 ; the second\r\n"
					      "\r\n"
					      " redis://h:3\r\n"
					      "allow_users =\r\n 1,\r\n 2\r\n"
					      "[ mutex\tb ]#\r\nkey : k#1\r\n"
					      "url = x:");
		const struct conf_mutex *m = conf->mutexes;

		ck_assert_str_eq(m[0].store.url, "redis://h:1;x redis://h:2 redis://h:3");
		ck_assert_uint_eq(m[0].access.n_users, 2);
		ck_assert_uint_eq(m[0].access.users[1], 2);
		ck_assert_str_eq(m[1].name, "b");
		ck_assert_str_eq(m[1].key, "k#1");
		ck_assert_str_eq(m[1].store.url, "x:");
		conf_free(conf);
	}
END_TEST

/* ------------------------------------------------------------------ include */
START_TEST(included_files_add_mutexes_in_order)
	{
		struct conf *conf;
		char path[128];

		snprintf(path, sizeof(path), "%s/d", dir);
		ck_assert_int_eq(mkdir(path, 0700), 0);
		write_text("d/2.ini", "[mutex two]\nkey = 2\n");
		write_text("d/1.ini", "[mutex one]\nkey = 1\n");
		write_text("d/x.txt", "nonsense");
		/* Overlapping patterns, the file itself, and patterns that match nothing. */
		conf = load_good("[redmutexd]\ninclude = d/*.ini\n\td/2.ini *.ini nothing*\n"
				 "[defaults]\nurl = x:\n[mutex zero]\nkey = 0\n");
		ck_assert_uint_eq(conf->n_files, 3);
		ck_assert_uint_eq(conf->n_mutexes, 3);
		ck_assert_str_eq(conf->mutexes[0].name, "zero");
		ck_assert_str_eq(conf->mutexes[1].name, "one");
		ck_assert_str_eq(conf->mutexes[1].store.url, "x:");
		ck_assert_str_eq(conf->mutexes[2].name, "two");
		ck_assert_str_eq(conf->mutexes[2].file + strlen(dir), "/d/2.ini");
		conf_free(conf);
	}
END_TEST

START_TEST(faults_of_included_files_are_told_with_their_name)
	{
		char expected[1024];

		write_text("1.inc",
			   "[redmutexd]\nsocket = /x\n[defaults]\nurl = x:\n[mutex a]\nurl = y:\n"
			   "fence = 2\n");
		write_text("2.inc", "key = 1\n[mutex a]\nurl = z:\n[mutex b]\nurl = z:\n");
		ck_assert_int_eq(mkdir(strcat(strcpy(expected, dir), "/3.inc"), 0700), 0);
		with_folder(
			"r.ini:2: include: expected a file that exists, or a pattern: none.inc\n"
			"1.inc:1: [redmutexd]: expected [mutex NAME] only: this file is included\n"
			"1.inc:3: [defaults]: expected [mutex NAME] only: this file is included\n"
			"1.inc:7: fence: expected no or yes, got \"2\"\n"
			"2.inc:1: key: expected a [section] before the first key\n"
			"2.inc:2: [mutex a]: given twice: expected all of its keys in the one at "
			"{}/1.inc:5\n"
			"3.inc:0: expected a file, found a folder\n",
			expected);
		expect_faults("[redmutexd]\ninclude = *.inc none.inc\n", expected);
	}
END_TEST

START_TEST(wild_characters_in_the_folder_are_no_pattern)
	{
		char path[128];
		struct conf *conf;

		snprintf(path, sizeof(path), "%s/[a]*", dir);
		ck_assert_int_eq(mkdir(path, 0700), 0);
		write_text("[a]*/m.ini", "[mutex one]\nurl = x:\n");
		write_text("[a]*/main", "[redmutexd]\ninclude = *.ini\n");
		snprintf(path, sizeof(path), "%s/[a]*/main", dir);
		faults[0] = '\0';
		conf = conf_load(path, note_fault, faults);
		ck_assert_str_eq(faults, "");
		ck_assert_uint_eq(conf->n_mutexes, 1);
		conf_free(conf);
	}
END_TEST

/* ------------------------------------------------------------------ dump */
static char *dump(const struct conf *conf)
{
	char *text = NULL;
	size_t size = 0;
	FILE *out = open_memstream(&text, &size);

	ck_assert_ptr_nonnull(out);
	conf_dump(conf, out);
	ck_assert_int_eq(fclose(out), 0);
	return text;
}

START_TEST(a_dump_loads_to_the_same)
	{
		char text[4096], *first, *second;
		struct conf *conf;

		write_text("pass", "");
		write_text("m.ini", "[mutex included]\nurl = y:\nkey =;a\n");
		snprintf(
			text, sizeof(text),
			"[redmutexd]\nsocket = /tmp/s\nsocket_group = 5\nlog_level = warning\n"
			"include = m.ini\n"
			"[defaults]\nurl = x:\nkey = k:{name}\n"
			"[mutex a]\nallow_groups = root, 5\npassword_file = %s/pass\nusername = u\n"
			"[mutex long]\nkey=%0194d\nurl = redis://%0150d\n "
			"redis://%0188d\n\tredis://%0d\n"
			"[mutex f-*]\nexpiration_in_seconds = 0.25\nhandoff = local\nlinger_ms = "
			"5\n",
			dir, 1, 2, 3, 4);
		conf = load_good(text);
		first = dump(conf);
		conf_free(conf);
		ck_assert_ptr_nonnull(strstr(first, "[mutex included]\n"));
		ck_assert_ptr_nonnull(strstr(first, "\nexpiration_in_seconds = 0.250\n"));
		conf = load_good(first);
		second = dump(conf);
		conf_free(conf);
		/* But for the lines that tell where a mutex comes from. */
		for (char *a = first, *b = second; *a || *b;) {
			size_t n = strcspn(a, "\n") + 1, m = strcspn(b, "\n") + 1;

			if (a[0] != ';' || a[2] != '/')
				ck_assert_msg(n == m && memcmp(a, b, n) == 0, "%.*s%.*s", (int)n, a,
					      (int)m, b);
			a += n;
			b += m;
		}
		free(first);
		free(second);
	}
END_TEST

START_TEST(a_dump_shows_no_password)
	{
		struct conf *conf =
			load_good("[mutex a]\nurl = redis://u:secret@h redis://:secret@[::1]:1\n"
				  "\trediss://u:sec/ret@x@h/1 unix:///run/a:b@c unix:///x\n"
				  "[mutex b]\nurl = redis://u@h:1/2\n");
		char *text = dump(conf);
		size_t len;
		FILE *out;

		ck_assert_ptr_null(strstr(text, "secret"));
		ck_assert_ptr_null(strstr(text, "ret@"));
		ck_assert_ptr_nonnull(strstr(text,
					     "url = redis://u:***@h redis://:***@[::1]:1 "
					     "rediss://u:***@h/1 unix:///run/a:b@c unix:///x\n"));
		ck_assert_ptr_nonnull(strstr(text, "url = redis://u@h:1/2\n"));
		free(text);
		/* But for the program that takes over it is whole. */
		out = open_memstream(&text, &len);
		conf_save(conf, out);
		fclose(out);
		ck_assert_ptr_nonnull(strstr(text, "url = redis://u:secret@h redis://:secret@"));
		free(text);
		conf_free(conf);
	}
END_TEST

/* ------------------------------------------------------------------ the rest */
static const struct {
	const char *a, *b;
	bool same;
} urls[] = {
	{"redis://h", "redis://H:6379/0", true},
	{"redis://u:p@h/", "redis://h", true},
	{"redis://h/1", "redis://h", false},
	{"redis://h:1", "redis://h:2", false},
	{"redis://[::1]", "redis://[::1]:6379", true},
	{"redis://h", "rediss://h", false},
	{"unix:///a?db=0", "unix:///a", true},
	{"unix:///a?db=1", "unix:///a", false},
	{"unix:///a", "unix:///A", false},
	{"redis://a redis://b", "redis://b:6379 redis://A", true},
	{"redis://a redis://b", "redis://a", false},
	{"local:", "local:", true},
	{"redis-cluster://a,b:7", "rediss-cluster://b:7,a", true},
	{"redis-cluster://a", "redis-cluster://a:1", false},
	{"redis-sentinel://a,b:1/m", "redis-sentinel://b:1,A:26379/m/0", true},
	{"redis-sentinel://a/m", "rediss-sentinel://a/m", true},
	{"redis://h:06379/01", "redis://h/1", true},
	{"redis://h/10", "redis://h/1", false},
	{"unix:///a?db=00", "unix:///a", true},
	{"redis-sentinel://a:26379,B/m", "redis-sentinel://b:26379,a/m/0", true},
	{"redis-sentinel://a,b/m", "redis-sentinel://a,b/M", false},
	{"redis-sentinel://a,b/m/1", "redis-sentinel://a,b/m", false},
	{"redis-sentinel://a/0", "redis-sentinel://a/1", false},
	{"redis-sentinel://a,b/m", "redis-sentinel://a,b:6379/m", false},
	{"redis-cluster://a,b:7000", "redis-cluster://B:7000,A:6379/", true},
	{"redis-cluster://a", "redis-cluster://b", false},
	{"redis-cluster://a", "redis://a", false},
};

START_TEST(urls_of_one_place_are_the_same)
	{
		char *a = conf_url_canonical(urls[_i].a), *b = conf_url_canonical(urls[_i].b);

		ck_assert_msg((strcmp(a, b) == 0) == urls[_i].same, "%s: %s", a, b);
		free(a);
		free(b);
	}
END_TEST

START_TEST(access_follows_users_and_groups)
	{
		struct conf *conf =
			load_good("[defaults]\nurl = x:\n[mutex a]\nkey = a\n"
				  "[mutex b]\nkey = b\nallow_users = 5\n"
				  "[mutex c]\nkey = c\nallow_users = 5\nallow_groups = 8, 9\n");
		const struct conf_mutex *m = conf->mutexes;
		static const gid_t groups[] = {7, 9};

		ck_assert(conf_access_allows(&m[0].access, 1000, NULL, 0));
		ck_assert(conf_access_allows(&m[1].access, 0, NULL, 0));
		ck_assert(conf_access_allows(&m[1].access, 5, NULL, 0));
		ck_assert(!conf_access_allows(&m[1].access, 6, groups, 2));
		ck_assert(conf_access_allows(&m[2].access, 6, groups, 2));
		ck_assert(!conf_access_allows(&m[2].access, 6, groups, 1));
		conf_free(conf);
	}
END_TEST

static void note_change(void *arg, const char *key)
{
	strcat(strcat(arg, key), " ");
}

START_TEST(changes_that_need_a_restart_are_named)
	{
		struct conf *old = load_good("[redmutexd]\nsocket = /a\nlog_level = info\n");
		struct conf *new = load_good("[redmutexd]\nsocket = /b\nsocket_group = 5\n"
					     "log_level = debug\nsocket_mode = 660\n");
		char changes[128] = "";

		conf_frozen_changes(old, new, note_change, changes);
		ck_assert_str_eq(changes, "socket socket_group state_file ");
		changes[0] = '\0';
		conf_frozen_changes(old, old, note_change, changes);
		ck_assert_str_eq(changes, "");
		conf_free(old);
		conf_free(new);
	}
END_TEST

/* ------------------------------------------------------------------ documents */
static char *read_source(const char *name)
{
	const char *srcdir = getenv("srcdir");
	char path[512], *text = calloc(1, 1 << 20);
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s", srcdir ? srcdir : ".", name);
	file = fopen(path, "r");
	ck_assert_msg(file != NULL, "%s", path);
	ck_assert_uint_gt(fread(text, 1, (1 << 20) - 1, file), 0);
	fclose(file);
	return text;
}

START_TEST(the_manual_names_every_key_and_its_default)
	{
		char *page = read_source("daemon/conf/redmutexd.ini.5");

		for (size_t i = 0; i < conf_n_rows; i++) {
			const struct conf_row *row = &conf_rows[i];
			char item[128], *at, *end;

			snprintf(item, sizeof(item), "\n.It Ic %s\n", row->key);
			at = strstr(page, item);
			ck_assert_msg(at != NULL, "%s is not in the manual", row->key);
			end = strstr(at + 1, "\n.It ");
			*end = '\0';
			ck_assert_msg(!row->default_text || strstr(at, row->default_text),
				      "the manual does not tell the default of %s", row->key);
			ck_assert_msg(!row->frozen == !strstr(at, "next start"),
				      "is %s read again while the daemon runs?", row->key);
			*end = '\n';
		}
		free(page);
	}
END_TEST

/* A default stands in the sample as a line that has only to lose its comment. */
START_TEST(the_sample_shows_every_key_and_its_default)
	{
		char *sample = read_source("etc/redmutexd.ini");

		for (size_t i = 0; i < conf_n_rows; i++) {
			const struct conf_row *row = &conf_rows[i];
			char line[128];

			snprintf(line, sizeof(line), "\n;%s = %s", row->key,
				 row->default_text ? row->default_text : "");
			ck_assert_msg(strstr(sample, line) != NULL, "the sample has no line %s",
				      line + 1);
			ck_assert_uint_le(strlen(row->help), 80);
		}
		free(sample);
	}
END_TEST

START_TEST(the_sample_loads_and_so_does_every_line_in_it)
	{
		char *sample = read_source("etc/redmutexd.ini"), *at = sample;
		struct conf *conf = load_good(sample);

		ck_assert_uint_eq(conf->n_mutexes, 1);
		ck_assert_str_eq(conf->mutexes[0].name, "backup");
		ck_assert_str_eq(conf->mutexes[0].store.url, "redis://localhost:6379");
		conf_free(conf);

		/* Take the comments off what is key = value or a section; prose has a space there.
		 */
		while ((at = strstr(at, "\n;"))) {
			if (at[2] != ' ' && at[2] != '\n')
				memmove(at + 1, at + 2, strlen(at + 2) + 1);
			at++;
		}
		load_text(sample);
		/* What names people and files of another host is all that may be wrong. */
		for (char *line = strtok(faults, "\n"); line; line = strtok(NULL, "\n"))
			ck_assert_msg(strstr(line, "there is no \"") ||
					      strstr(line, "No such file"),
				      "%s", line);
		free(sample);
	}
END_TEST

static Suite *conf_suite(void)
{
	Suite *suite = suite_create("conf");
	TCase *tcase = tcase_create("faults");

	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_loop_test(tcase, faulty_files_are_refused_with_line_and_expectation, 0,
			    sizeof(faulty) / sizeof(faulty[0]));
	tcase_add_test(tcase, names_that_inih_would_cut_are_refused);
	tcase_add_test(tcase, a_line_that_inih_would_cut_is_refused);
	tcase_add_test(tcase, bytes_that_are_no_text_are_refused);
	tcase_add_test(tcase, what_is_no_file_is_refused);
	suite_add_tcase(suite, tcase);

	tcase = tcase_create("values");
	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, an_empty_file_gives_the_defaults);
	tcase_add_test(tcase, a_mutex_with_nothing_but_a_url_gets_the_defaults);
	tcase_add_test(tcase, every_key_is_taken_over);
	tcase_add_test(tcase, a_path_may_begin_with_the_credentials_of_systemd);
	tcase_add_test(tcase, defaults_apply_wherever_they_stand_and_are_overridden);
	tcase_add_test(tcase, names_stand_in_for_themselves_in_keys);
	tcase_add_test(tcase, comments_byte_order_marks_and_line_ends_are_understood);
	suite_add_tcase(suite, tcase);

	tcase = tcase_create("include");
	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, included_files_add_mutexes_in_order);
	tcase_add_test(tcase, faults_of_included_files_are_told_with_their_name);
	tcase_add_test(tcase, wild_characters_in_the_folder_are_no_pattern);
	suite_add_tcase(suite, tcase);

	tcase = tcase_create("dump");
	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, a_dump_loads_to_the_same);
	tcase_add_test(tcase, a_dump_shows_no_password);
	suite_add_tcase(suite, tcase);

	tcase = tcase_create("rest");
	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_loop_test(tcase, urls_of_one_place_are_the_same, 0,
			    sizeof(urls) / sizeof(urls[0]));
	tcase_add_test(tcase, access_follows_users_and_groups);
	tcase_add_test(tcase, changes_that_need_a_restart_are_named);
	suite_add_tcase(suite, tcase);

	tcase = tcase_create("documents");
	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, the_manual_names_every_key_and_its_default);
	tcase_add_test(tcase, the_sample_shows_every_key_and_its_default);
	tcase_add_test(tcase, the_sample_loads_and_so_does_every_line_in_it);
	suite_add_tcase(suite, tcase);
	return suite;
}

int main(void)
{
	return suite_run(conf_suite());
}
