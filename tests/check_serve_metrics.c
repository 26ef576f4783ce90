/* SPDX-License-Identifier: MIT */
/* What the daemon tells over HTTP, in the form that Prometheus reads, and to whom. */
#include "config.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness.h"
#include "suite.h"

enum { PAGE_SIZE = 1 << 18, NAMES_MAX = 64, SAMPLES_MAX = 2048 };

static const char sections[] =
	"[mutex a]\nkey = a\n[mutex b]\nkey = b\n[mutex fam-*]\nurl = local:\n";

static char place[64];	     /* the path of the metrics' socket */
static char settings[128];   /* that say so */
static char page[PAGE_SIZE]; /* the last answer, with its head */
static char *body;	     /* what follows the head */
static struct daemon *d;
static struct client *c;

static void setup(void)
{
	snprintf(place, sizeof(place), "/tmp/redmutexd-metrics-%d", (int)getpid());
	snprintf(settings, sizeof(settings), "metrics_listen = %s", place);
	unlink(place);
	d = daemon_spawn(settings, sections);
	daemon_expect_log(d, "metrics are served");
	c = client_connect(d);
}

static void teardown(void)
{
	client_close(c);
	ck_assert_int_eq(daemon_stop(d), 0);
	ck_assert_int_lt(access(place, F_OK), 0);
}

/* ------------------------------------------------------------------ asking */

static int visit_path(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	strcpy(address.sun_path, path);
	ck_assert_int_eq(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	return fd;
}

/* Reads to the end, which must come in time. */
static void read_page(int fd, int wait_ms)
{
	struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
	long long until_ms = now_ms() + wait_ms;
	size_t len = 0;
	ssize_t n = 1;

	while (n > 0) {
		long long left_ms = until_ms - now_ms();

		ck_assert_msg(left_ms > 0 && poll(&poll_fd, 1, (int)left_ms) == 1,
			      "no end comes after %zu bytes", len);
		n = read(fd, page + len, sizeof(page) - 1 - len);
		len += n > 0 ? (size_t)n : 0;
	}
	close(fd);
	page[len] = '\0';
	body = strstr(page, "\r\n\r\n");
	body = body ? body + 4 : page + len;
}

/* Return: the status of the answer. */
static int ask(int fd, const char *request)
{
	int status = 0;

	ck_assert_int_eq(send(fd, request, strlen(request), MSG_NOSIGNAL), (int)strlen(request));
	read_page(fd, HARNESS_WAIT_MS);
	sscanf(page, "HTTP/1.%*d %d", &status);
	return status;
}

static void scrape(void)
{
	ck_assert_int_eq(ask(visit_path(place), "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"), 200);
}

/* ------------------------------------------------------------------ the form */

/* Of text format 0.0.4, and of the naming rules that promtool knows. */
struct metric {
	char name[80], type[16];
	int n_samples;
};

static struct metric metrics[NAMES_MAX];
static int n_metrics;
static char samples[SAMPLES_MAX][512]; /* names with their labels */
static int n_samples;

static bool ends_in(const char *text, const char *end)
{
	size_t len = strlen(text), end_len = strlen(end);

	return len >= end_len && strcmp(text + len - end_len, end) == 0;
}

static void check_name(const char *name, const char *type)
{
	static const char *const units[] = {"_ms",  "_milliseconds", "_us",	 "_minutes",
					    "_kb",  "_megabytes",    "_percent", "_bucket",
					    "_sum", "_count"};

	ck_assert_msg(strspn(name, "abcdefghijklmnopqrstuvwxyz_") == strlen(name), "%s", name);
	ck_assert_msg(strncmp(name, "redmutexd_", 10) == 0 || strncmp(name, "process_", 8) == 0,
		      "%s has no prefix", name);
	ck_assert_msg(ends_in(name, "_total") == (strcmp(type, "counter") == 0),
		      "%s is a %s: counters, and nothing else, end in _total", name, type);
	for (size_t i = 0; i < sizeof(units) / sizeof(*units); i++)
		ck_assert_msg(!ends_in(name, units[i]), "%s ends in %s", name, units[i]);
	if (strcmp(type, "histogram") == 0)
		ck_assert_msg(ends_in(name, "_seconds") || ends_in(name, "_bytes"),
			      "%s has no base unit", name);
}

/* Labels: name="value" with commas between, `"`, `\` and line ends escaped. Return: what follows.
 */
static const char *check_labels(const char *at)
{
	for (;;) {
		size_t len = strspn(at, "abcdefghijklmnopqrstuvwxyz_");

		ck_assert_msg(len > 0 && strncmp(at + len, "=\"", 2) == 0, "bad label: %s", at);
		for (at += len + 2; *at != '"'; at++) {
			ck_assert_msg(*at >= ' ' && *at < 127, "bad value: %s", at);
			if (*at == '\\') {
				at++;
				ck_assert(*at == '\\' || *at == '"' || *at == 'n');
			}
		}
		at++;
		if (*at == '}')
			return at + 1;
		ck_assert_msg(*at == ',', "bad labels: %s", at);
		at++;
	}
}

static void check_sample(const char *line)
{
	struct metric *metric = &metrics[n_metrics - 1];
	size_t len = strcspn(line, "{ "), own = strlen(metric->name);
	const char *at = line + len;
	char *end;

	ck_assert_msg(n_metrics > 0 && strncmp(line, metric->name, own) == 0, "%s stands under %s",
		      line, metric->name);
	if (strcmp(metric->type, "histogram") == 0)
		ck_assert_msg(strncmp(line + own, "_bucket", len - own) == 0 ||
				      strncmp(line + own, "_sum", len - own) == 0 ||
				      strncmp(line + own, "_count", len - own) == 0,
			      "%s is no sample of a histogram", line);
	else
		ck_assert_msg(len == own, "%s stands under %s", line, metric->name);
	if (*at == '{')
		at = check_labels(at + 1);
	ck_assert_msg(*at == ' ', "no space after the name: %s", line);
	len = (size_t)(at - line);
	ck_assert_uint_lt(len, sizeof(samples[0]));
	ck_assert_int_lt(n_samples, SAMPLES_MAX);
	snprintf(samples[n_samples], sizeof(samples[0]), "%.*s", (int)len, line);
	for (int i = 0; i < n_samples; i++)
		ck_assert_msg(strcmp(samples[i], samples[n_samples]) != 0, "%s comes twice",
			      samples[i]);
	n_samples++;
	metric->n_samples++;
	errno = 0;
	strtod(at + 1, &end);
	ck_assert_msg(errno == 0 && end > at + 1 && *end == '\0', "no number: %s", line);
}

/* The whole body: HELP, then TYPE, then the samples, each metric once. */
static void check_form(void)
{
	char *copy = strdup(body), *rest, *line, name[80], type[16];
	size_t len = strlen(body);

	n_metrics = n_samples = 0;
	ck_assert(len > 0 && body[len - 1] == '\n');
	for (line = strtok_r(copy, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
		if (line[0] != '#') {
			check_sample(line);
			continue;
		}
		ck_assert_msg(sscanf(line, "# HELP %79s %*s", name) == 1 &&
				      strlen(line) > strlen(name) + 8,
			      "expected HELP: %s", line);
		ck_assert_ptr_null(strchr(line, '\\'));
		line = strtok_r(NULL, "\n", &rest);
		ck_assert_int_lt(n_metrics, NAMES_MAX);
		ck_assert_msg(line && sscanf(line, "# TYPE %79s %15s", metrics[n_metrics].name,
					     type) == 2,
			      "expected TYPE: %s", line);
		ck_assert_str_eq(metrics[n_metrics].name, name);
		ck_assert(!strcmp(type, "counter") || !strcmp(type, "gauge") ||
			  !strcmp(type, "histogram"));
		for (int i = 0; i < n_metrics; i++)
			ck_assert_str_ne(metrics[i].name, name);
		strcpy(metrics[n_metrics].type, type);
		metrics[n_metrics++].n_samples = 0;
		check_name(name, type);
	}
	for (int i = 0; i < n_metrics; i++)
		ck_assert_msg(metrics[i].n_samples > 0, "%s has no samples", metrics[i].name);
	free(copy);
}

/* The value of one sample in the last page. */
static double value_of(const char *sample)
{
	size_t len = strlen(sample);
	const char *at = body;

	while ((at = strstr(at, sample))) {
		if (at[len] == ' ' && (at == body || at[-1] == '\n'))
			return strtod(at + len, NULL);
		at += len;
	}
	ck_abort_msg("there is no %s", sample);
}

static bool is_installed(const char *program)
{
	char command[128];

	snprintf(command, sizeof(command), "command -v %s >/dev/null", program);
	return system(command) == 0;
}

/* What promtool has to say of the last page. */
static void check_promtool(void)
{
	FILE *promtool;

	if (!is_installed("promtool"))
		return;
	promtool = popen("promtool check metrics", "we");
	ck_assert_ptr_nonnull(promtool);
	fputs(body, promtool);
	ck_assert_int_eq(pclose(promtool), 0);
}

START_TEST(metrics_are_in_the_form_that_prometheus_reads)
	{
		char *lock = acquire(c, "a");

		say(c, "RELEASE a %s", lock);
		expect(c, "OK");
		free(lock);
		lock = acquire(c, "b note=private");
		say(c, "ACQUIRE b");
		expect(c, "ERR already_locked *");
		scrape();
		check_form();
		check_promtool();
		ck_assert_ptr_nonnull(strstr(page, "\nContent-Type: text/plain; version=0.0.4"));
		ck_assert(value_of("redmutexd_build_info{version=\"" PACKAGE_VERSION "\"}") == 1);
		ck_assert(value_of("redmutexd_grants_total") == 2);
		ck_assert(value_of("redmutexd_held") == 1);
		ck_assert(value_of("redmutexd_waiters") == 0);
		ck_assert(value_of("redmutexd_refused_total{reason=\"already_locked\"}") == 1);
		ck_assert(value_of("redmutexd_wait_seconds_count") == 2);
		ck_assert(value_of("redmutexd_wait_seconds_bucket{le=\"+Inf\"}") == 2);
		ck_assert(value_of("redmutexd_hold_seconds_count") == 1);
		ck_assert(value_of("redmutexd_loop_lag_seconds_count") > 0);
		ck_assert(value_of("redmutexd_clients") == 1);
		ck_assert(value_of("process_resident_memory_bytes") > 1e5);
		ck_assert_ptr_null(strstr(page, lock));
		ck_assert_ptr_null(strstr(page, "private"));
		ck_assert_ptr_null(strstr(page, "reason=\"ok\""));
		free(lock);
	}
END_TEST

START_TEST(buckets_of_a_histogram_are_cumulated)
	{
		double last = 0, bound = 0;
		const char *at;
		int n = 0;

		for (int i = 0; i < 50; i++) {
			char *lock = acquire(c, "a");

			say(c, "RELEASE a %s", lock);
			expect(c, "OK");
			free(lock);
		}
		free(acquire(c, "a"));
		say(c, "ACQUIRE a wait=20");
		expect(c, "ERR already_locked *");
		scrape();
		for (at = body; (at = strstr(at, "\nredmutexd_hold_seconds_bucket{le=\"")); n++) {
			double le, value;

			at += strlen("\nredmutexd_hold_seconds_bucket{le=\"");
			le = strncmp(at, "+Inf", 4) == 0 ? 1e300 : strtod(at, NULL);
			value = strtod(strchr(at, ' '), NULL);
			ck_assert(le > bound);
			ck_assert(value >= last);
			bound = le;
			last = value;
		}
		ck_assert_int_eq(n, 24);
		ck_assert(bound > 1e299);
		ck_assert(last == 50);
		ck_assert(value_of("redmutexd_hold_seconds_sum") > 0);
	}
END_TEST

START_TEST(a_queue_is_told)
	{
		free(acquire(c, "a"));
		free(acquire(c, "b"));
		say(c, "@1 ACQUIRE a wait=forever");
		say(c, "@2 ACQUIRE a wait=forever");
		say(c, "@3 ACQUIRE b wait=forever");
		say(c, "@p PING");
		expect(c, "@p OK");
		scrape();
		ck_assert(value_of("redmutexd_waiters") == 3);
		ck_assert(value_of("redmutexd_longest_queue") == 2);
		ck_assert(value_of("redmutexd_held") == 2);
	}
END_TEST

/* Does it go on by itself, or by being asked? */
static bool moves(const char *sample)
{
	static const char *const moving[] = {
		"process_",
		"redmutexd_uptime_",
		"redmutexd_loop_lag_",
		"redmutexd_turns_",
		"redmutexd_requests_total{verb=\"STATS\"}",
	};

	for (size_t i = 0; i < sizeof(moving) / sizeof(*moving); i++) {
		if (strncmp(sample, moving[i], strlen(moving[i])) == 0)
			return true;
	}
	return false;
}

START_TEST(stats_tell_the_same_numbers)
	{
		char *lock = acquire(c, "a");
		const char *line;
		int n = 0, n_told = 0;

		say(c, "RELEASE a %s", lock);
		expect(c, "OK");
		free(lock);
		free(acquire(c, "b"));
		say(c, "ACQUIRE b");
		expect(c, "ERR already_locked *");
		scrape();
		check_form();
		say(c, "STATS");
		while (strncmp(line = hear(c), "ITEM ", 5) == 0) {
			size_t len = strcspn(line + 5, " ");

			ck_assert_int_lt(n, n_samples);
			ck_assert_msg(strlen(samples[n]) == len &&
					      strncmp(samples[n], line + 5, len) == 0,
				      "STATS has %s where metrics have %s", line, samples[n]);
			if (!moves(samples[n])) {
				double told = strtod(line + 5 + len, NULL);

				ck_assert_msg(told == value_of(samples[n]),
					      "STATS has %s, and metrics have %f", line,
					      value_of(samples[n]));
				n_told += told != 0;
			}
			n++;
		}
		ck_assert_int_eq(n, n_samples);
		ck_assert_int_gt(n_told, 20);
	}
END_TEST

START_TEST(urls_are_escaped_and_have_no_passwords)
	{
		daemon_reload(d, settings,
			      "[mutex q]\nurl = unix:///nowhere/a\"b\\c\n"
			      "[mutex p]\nurl = redis://me:hunter2@127.0.0.1:1\n"
			      "[mutex one]\nkey = 1\n[mutex two]\nkey = 2\npool_size = 3\n",
			      "read again");
		scrape();
		check_form(); /* the last two come out at one url: no sample comes twice */
		check_promtool();
		ck_assert_ptr_null(strstr(page, "hunter2"));
		ck_assert_ptr_nonnull(strstr(page, "{store=\"unix:///nowhere/a\\\"b\\\\c\"}"));
		ck_assert(value_of("redmutexd_store_commands_total{store=\"local:\"}") == 0);
		ck_assert(value_of("redmutexd_reloads_total") == 1);
		daemon_reload(d, settings, sections, "read again");
	}
END_TEST

/* ------------------------------------------------------------------ who asks, and how */

static const struct {
	const char *request;
	int status;
} requests[] = {
	{"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", 200},
	{"GET /metrics?x=y HTTP/1.0\r\n\r\n", 200},
	{"GET / HTTP/1.1\r\nHost: x\r\n\r\n", 404},
	{"GET /metrics/ HTTP/1.1\r\nHost: x\r\n\r\n", 404},
	{"GET /../metrics HTTP/1.1\r\nHost: x\r\n\r\n", 404},
	{"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", 404},
	{"HEAD /metrics HTTP/1.1\r\nHost: x\r\n\r\n", 405},
	{"POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", 405},
	{"DELETE /metrics HTTP/1.1\r\nHost: x\r\n\r\n", 405},
	{"OPTIONS /metrics HTTP/1.1\r\nHost: x\r\n\r\n", 405},
	{"POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 9999\r\n\r\n", 413},
	{"nonsense\r\n\r\n", 400},
};

START_TEST(only_get_of_metrics_is_answered)
	{
		int status = ask(visit_path(place), requests[_i].request);

		ck_assert_msg(status == requests[_i].status, "%s: %d", requests[_i].request,
			      status);
		if (status == 405)
			ck_assert_ptr_nonnull(strstr(page, "\nAllow: GET\r\n"));
	}
END_TEST

START_TEST(a_head_without_end_is_refused)
	{
		int fd = visit_path(place);
		char line[1024];

		memset(line, 'x', sizeof(line));
		memcpy(line, "GET /metrics?", 13);
		for (int i = 0; i < 64; i++) {
			if (send(fd, line, sizeof(line), MSG_NOSIGNAL) < 0)
				break;
		}
		read_page(fd, HARNESS_WAIT_MS);
		ck_assert_ptr_null(strstr(page, " 200 "));
		scrape();
	}
END_TEST

START_TEST(those_who_say_nothing_hold_up_nobody)
	{
		enum { VISITORS = 64 };
		int fds[VISITORS];
		long long began;

		/* More than are let in: the rest waits in the kernel. */
		for (int i = 0; i < VISITORS / 2; i++) {
			fds[i] = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
			struct sockaddr_un address = {.sun_family = AF_UNIX};

			strcpy(address.sun_path, place);
			if (connect(fds[i], (struct sockaddr *)&address, sizeof(address)) < 0)
				ck_assert_int_eq(errno, EAGAIN);
		}
		began = now_ms();
		for (int i = 0; i < 100; i++) {
			char *lock = acquire(c, "a");

			say(c, "RELEASE a %s", lock);
			expect(c, "OK");
			free(lock);
		}
		ck_assert_int_lt(now_ms() - began, 1000);
		for (int i = 0; i < VISITORS / 2; i++)
			close(fds[i]);
		scrape(); /* their places are free again */
	}
END_TEST

START_TEST(who_does_not_finish_is_shown_out)
	{
		int fd = visit_path(place);

		ck_assert_int_eq(send(fd, "GET /metrics HT", 15, MSG_NOSIGNAL), 15);
		read_page(fd, 8000);
		ck_assert_str_eq(body, "");
	}
END_TEST

START_TEST(who_dribbles_is_shown_out)
	{
		char byte = 'G';
		struct pollfd poll_fd = {.fd = visit_path(place), .events = POLLHUP};
		long long began = now_ms();

		/* A byte a while, so that it is never silent. */
		while (poll(&poll_fd, 1, 500) == 0) {
			ck_assert_int_lt(now_ms() - began, 13000);
			if (send(poll_fd.fd, &byte, 1, MSG_NOSIGNAL) < 0)
				break;
		}
		ck_assert_int_gt(now_ms() - began, 5000);
		close(poll_fd.fd);
	}
END_TEST

/* ------------------------------------------------------------------ where it listens */

/* A port of that family that is free, or 0. */
static int free_port(int family)
{
	union {
		struct sockaddr any;
		struct sockaddr_in in;
		struct sockaddr_in6 in6;
	} address = {.any.sa_family = (sa_family_t)family};
	socklen_t len = family == AF_INET ? sizeof(address.in) : sizeof(address.in6);
	int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0), port = 0;

	if (family == AF_INET)
		address.in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	else
		address.in6.sin6_addr = in6addr_loopback;
	if (fd >= 0 && bind(fd, &address.any, len) == 0 && getsockname(fd, &address.any, &len) == 0)
		port = ntohs(family == AF_INET ? address.in.sin_port : address.in6.sin6_port);
	close(fd);
	return port;
}

static int visit_port(int family, int port)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
	struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port)};
	int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0), error;

	in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	in6.sin6_addr = in6addr_loopback;
	error = family == AF_INET ? connect(fd, (struct sockaddr *)&in, sizeof(in))
				  : connect(fd, (struct sockaddr *)&in6, sizeof(in6));
	ck_assert_int_eq(error, 0);
	return fd;
}

START_TEST(it_listens_at_an_address)
	{
		int family = _i ? AF_INET6 : AF_INET, port = free_port(family);
		char line[64];

		if (port == 0)
			return; /* this machine has no such addresses */
		snprintf(line, sizeof(line), "metrics_listen = %s:%d", _i ? "[::1]" : "127.0.0.1",
			 port);
		daemon_reload(d, line, sections, "read again");
		ck_assert_int_lt(access(place, F_OK), 0);
		ck_assert_int_eq(
			ask(visit_port(family, port), "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"),
			200);
		daemon_reload(d, settings, sections, "read again");
		scrape();
	}
END_TEST

START_TEST(a_reload_turns_it_off_and_on)
	{
		daemon_reload(d, "metrics_listen = off", sections, "read again");
		ck_assert_int_lt(access(place, F_OK), 0);
		daemon_reload(d, "", sections, "read again");
		ck_assert_int_lt(access(place, F_OK), 0);
		daemon_reload(d, settings, sections, "read again");
		scrape();
	}
END_TEST

START_TEST(what_can_not_be_had_leaves_the_rest_alone)
	{
		char file[80], line[128];
		int fd;

		snprintf(file, sizeof(file), "%s.file", place);
		snprintf(line, sizeof(line), "metrics_listen = %s", file);
		fd = open(file, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
		ck_assert_int_ge(fd, 0);
		close(fd);
		daemon_reload(d, line, sections, "going on where it was");
		scrape();
		ck_assert_int_eq(access(file, F_OK), 0);
		/* At the start too. */
		daemon_kill(d);
		daemon_start(d);
		daemon_expect_log(d, "going on without metrics");
		client_close(c);
		c = client_connect(d);
		free(acquire(c, "a"));
		/* The one that was killed left its socket behind. */
		ck_assert_int_eq(access(place, F_OK), 0);
		daemon_reload(d, settings, sections, "read again");
		scrape();
		ck_assert_int_eq(unlink(file), 0);
	}
END_TEST

START_TEST(an_upgrade_serves_them_on)
	{
		free(acquire(c, "a"));
		ck_assert_int_eq(kill(d->pid, SIGUSR2), 0);
		daemon_expect_log(d, "goes on for");
		say(c, "PING");
		expect(c, "OK");
		scrape();
		check_form();
		ck_assert(value_of("redmutexd_held") == 1);
	}
END_TEST

START_TEST(a_place_that_is_in_use_is_left_alone)
	{
		struct daemon *other = daemon_spawn(settings, sections);

		daemon_expect_log(other, "Address already in use");
		scrape();
		ck_assert_int_eq(daemon_stop(other), 0);
		scrape();
	}
END_TEST

/* ------------------------------------------------------------------ what goes with it */

static char *read_source(const char *name)
{
	const char *srcdir = getenv("srcdir");
	char path[512], *text = calloc(1, PAGE_SIZE);
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s", srcdir ? srcdir : ".", name);
	file = fopen(path, "re");
	ck_assert_msg(file != NULL, "%s: %s", path, strerror(errno));
	ck_assert_uint_gt(fread(text, 1, PAGE_SIZE - 1, file), 0);
	fclose(file);
	return text;
}

static bool is_metric(const char *name, size_t len)
{
	static const char *const suffixes[] = {"", "_bucket", "_sum", "_count"};
	char whole[128];

	for (int i = 0; i < n_metrics; i++) {
		for (size_t k = 0; k < sizeof(suffixes) / sizeof(*suffixes); k++) {
			snprintf(whole, sizeof(whole), "%s%s", metrics[i].name, suffixes[k]);
			if (strlen(whole) == len && strncmp(whole, name, len) == 0)
				return true;
		}
	}
	return false;
}

START_TEST(alerts_and_dashboard_ask_for_metrics_that_are_there)
	{
		static const char *const files[] = {"etc/redmutexd-alerts.yml",
						    "etc/redmutexd-dashboard.json"};
		char *text = read_source(files[_i]);
		int n = 0;

		scrape();
		check_form();
		for (const char *at = text; (at = strstr(at, "redmutexd_")); n++) {
			size_t len = strspn(at, "abcdefghijklmnopqrstuvwxyz_");

			ck_assert_msg(is_metric(at, len), "%s: there is no %.*s", files[_i],
				      (int)len, at);
			at += len;
		}
		ck_assert_int_gt(n, 5);
		free(text);
	}
END_TEST

START_TEST(promtool_takes_the_alerts)
	{
		const char *srcdir = getenv("srcdir");
		char command[512];

		if (!is_installed("promtool"))
			return;
		snprintf(command, sizeof(command),
			 "promtool check rules %s/etc/redmutexd-alerts.yml", srcdir ? srcdir : ".");
		ck_assert_int_eq(system(command), 0);
	}
END_TEST

START_TEST(the_manual_names_every_metric)
	{
		char *text = read_source("daemon/redmutexd.8");

		scrape();
		check_form();
		for (int i = 0; i < n_metrics; i++) {
			char item[128];

			snprintf(item, sizeof(item), ".It Li %s\n", metrics[i].name);
			ck_assert_msg(strstr(text, item) != NULL, "the manual lacks %s",
				      metrics[i].name);
		}
		free(text);
	}
END_TEST

static Suite *metrics_suite(void)
{
	Suite *suite = suite_create("serve/metrics");
	TCase *form = tcase_create("form"), *visitors = tcase_create("visitors");
	TCase *places = tcase_create("places"), *files = tcase_create("files");

	tcase_add_checked_fixture(form, setup, teardown);
	tcase_set_timeout(form, 20);
	tcase_add_test(form, metrics_are_in_the_form_that_prometheus_reads);
	tcase_add_test(form, buckets_of_a_histogram_are_cumulated);
	tcase_add_test(form, a_queue_is_told);
	tcase_add_test(form, stats_tell_the_same_numbers);
	tcase_add_test(form, urls_are_escaped_and_have_no_passwords);
	suite_add_tcase(suite, form);

	tcase_add_checked_fixture(visitors, setup, teardown);
	tcase_set_timeout(visitors, 30);
	tcase_add_loop_test(visitors, only_get_of_metrics_is_answered, 0,
			    sizeof(requests) / sizeof(*requests));
	tcase_add_test(visitors, a_head_without_end_is_refused);
	tcase_add_test(visitors, those_who_say_nothing_hold_up_nobody);
	tcase_add_test(visitors, who_does_not_finish_is_shown_out);
	tcase_add_test(visitors, who_dribbles_is_shown_out);
	suite_add_tcase(suite, visitors);

	tcase_add_checked_fixture(places, setup, teardown);
	tcase_set_timeout(places, 20);
	tcase_add_loop_test(places, it_listens_at_an_address, 0, 2);
	tcase_add_test(places, a_reload_turns_it_off_and_on);
	tcase_add_test(places, what_can_not_be_had_leaves_the_rest_alone);
	tcase_add_test(places, an_upgrade_serves_them_on);
	tcase_add_test(places, a_place_that_is_in_use_is_left_alone);
	suite_add_tcase(suite, places);

	tcase_add_checked_fixture(files, setup, teardown);
	tcase_set_timeout(files, 20);
	tcase_add_loop_test(files, alerts_and_dashboard_ask_for_metrics_that_are_there, 0, 2);
	tcase_add_test(files, promtool_takes_the_alerts);
	tcase_add_test(files, the_manual_names_every_metric);
	suite_add_tcase(suite, files);
	return suite;
}

int main(void)
{
	return suite_run(metrics_suite());
}
