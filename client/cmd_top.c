/* SPDX-License-Identifier: MIT */
/* redmutex top */
#include "config.h"

#include "client/cmd.h"

#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <termios.h>
#include <unistd.h>

enum { ROWS_MAX = 1000 }; /* nobody reads more at a glance */

/* What one look brought. */
struct rows {
	struct redmutex_info *info;
	int n, used, waiting;
	long seen;
};

static bool in_use(const struct redmutex_info *info)
{
	return info->locked != REDMUTEX_FREE || info->waiters > 0;
}

static void add(redmutex_t *rm, const struct redmutex_info *info, void *arg)
{
	struct rows *rows = arg;

	(void)rm;
	rows->seen++;
	rows->used += in_use(info);
	rows->waiting += info->waiters > 0 ? (int)info->waiters : 0;
	if (rows->n < ROWS_MAX && info->members < 0)
		rows->info[rows->n++] = *info;
}

/* The most contended first, then the longest held. */
static int compare(const void *a, const void *b)
{
	const struct redmutex_info *x = a, *y = b;

	if (x->waiters != y->waiters)
		return x->waiters < y->waiters ? 1 : -1;
	if (in_use(x) != in_use(y))
		return in_use(x) ? -1 : 1;
	return (x->held_ms < y->held_ms) - (x->held_ms > y->held_ms);
}

/* ---- rates ---- */

/* The counters of the daemon whose growth is shown. */
static const struct {
	const char *metric, *word;
} counters[] = {
	{"redmutexd_grants_total", "granted"},
	{"redmutexd_passes_total", "passed on"},
	{"redmutexd_releases_total", "released"},
};
enum { N_COUNTERS = sizeof(counters) / sizeof(*counters) };

struct rates {
	double value[N_COUNTERS], per_second[N_COUNTERS];
	int64_t at_us; /* 0: there was no look before */
};

static void take_counter(redmutex_t *rm, const char *metric, const char *value, void *arg)
{
	double *values = arg;

	(void)rm;
	for (int i = 0; i < N_COUNTERS; i++)
		if (strcmp(metric, counters[i].metric) == 0)
			values[i] = strtod(value, NULL);
}

static int look_at_rates(redmutex_t *rm, struct rates *rates)
{
	double values[N_COUNTERS] = {0};
	int error = redmutex_stats(rm, take_counter, values);
	int64_t now_us = redmutex_now_us();

	if (error < 0)
		return error;
	for (int i = 0; i < N_COUNTERS; i++) {
		if (rates->at_us != 0 && now_us > rates->at_us)
			rates->per_second[i] = (values[i] - rates->value[i]) * 1e6 /
					       (double)(now_us - rates->at_us);
		/* Another daemon took over. */
		if (rates->per_second[i] < 0)
			rates->per_second[i] = 0;
		rates->value[i] = values[i];
	}
	rates->at_us = now_us;
	return 0;
}

/* ---- the screen ---- */

/* A live screen takes the terminal, and must give it back however it ends. */
struct screen {
	bool live, taken, keys;
	int signal_fd;
	struct termios before;
};

static void screen_take(struct screen *screen)
{
	struct termios raw;

	screen->keys = isatty(STDIN_FILENO) && tcgetattr(STDIN_FILENO, &screen->before) == 0 &&
		       tcgetpgrp(STDIN_FILENO) == getpgrp();
	if (screen->keys) {
		raw = screen->before;
		raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
		tcsetattr(STDIN_FILENO, TCSADRAIN, &raw);
	}
	/* The other page, without a cursor. */
	fputs("\033[?1049h\033[?25l", stdout);
	fflush(stdout);
	screen->taken = true;
}

static void screen_give_back(struct screen *screen)
{
	if (!screen->taken)
		return;
	fputs("\033[?25h\033[?1049l", stdout);
	fflush(stdout);
	if (screen->keys)
		tcsetattr(STDIN_FILENO, TCSADRAIN, &screen->before);
	screen->taken = false;
}

/* Return: the signal that ends us, or 0. */
static int screen_signals(struct screen *screen)
{
	struct signalfd_siginfo info;

	while (read(screen->signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
		switch (info.ssi_signo) {
		case SIGCHLD:
		case SIGCONT:
		case SIGURG:
		case SIGWINCH:
			break;
		case SIGTSTP:
		case SIGTTIN:
		case SIGTTOU:
			screen_give_back(screen);
			raise(SIGSTOP);
			screen_take(screen);
			break;
		default:
			return (int)info.ssi_signo;
		}
	}
	return 0;
}

/* Sleeps, unless a key, a signal or a changed window is there first.
 * Return: -1 to go on, or what to exit with. */
static int screen_sleep(struct screen *screen, int64_t delay_ms)
{
	struct pollfd fds[2] = {{.fd = screen->live ? screen->signal_fd : -1, .events = POLLIN},
				{.fd = screen->keys ? STDIN_FILENO : -1, .events = POLLIN}};
	int signo;
	char key;

	if (poll(fds, 2, (int)delay_ms) <= 0)
		return -1;
	if (fds[0].revents != 0 && (signo = screen_signals(screen)) != 0)
		return EXIT_SIGNAL + signo;
	if (fds[1].revents != 0 && (read(STDIN_FILENO, &key, 1) <= 0 || key == 'q' || key == 'Q'))
		return EXIT_DONE;
	return -1;
}

/* ---- what is shown ---- */

static void show_json(const struct rows *rows, const struct rates *rates)
{
	printf("{\"mutexes\":%ld,\"in_use\":%d,\"waiting\":%d,\"granted_per_s\":%.1f,"
	       "\"passed_on_per_s\":%.1f,\"released_per_s\":%.1f,\"top\":[",
	       rows->seen, rows->used, rows->waiting, rates->per_second[0], rates->per_second[1],
	       rates->per_second[2]);
	for (int i = 0; i < rows->n; i++) {
		if (i > 0)
			putchar(',');
		json_info(&rows->info[i]);
	}
	puts("]}");
}

/* The lines of a live screen, or of one look after the other. */
static void show_text(const struct rows *rows, const struct rates *rates, bool first, bool live)
{
	struct winsize window = {.ws_row = 0};
	int n = rows->n;
	/* Line by line over what was there before: clearing all of it first would flicker. */
	const char *clear = live ? "\033[K" : "";

	if (live && ioctl(STDOUT_FILENO, TIOCGWINSZ, &window) == 0 && window.ws_row > 5 &&
	    n > window.ws_row - 5)
		n = window.ws_row - 5;
	printf("%s%s%ld mutexes, %d in use, %d waiting\n%s", live ? "\033[H" : "", clear,
	       rows->seen, rows->used, rows->waiting, clear);
	for (int i = 0; i < N_COUNTERS && !first; i++)
		printf("%s%.1f/s %s", i > 0 ? ", " : "", rates->per_second[i], counters[i].word);
	printf("%s%s\n%s", live || !first ? "\n" : "", clear, clear);
	table_head(window.ws_col);
	for (int i = 0; i < n; i++) {
		fputs(clear, stdout);
		table_row(&rows->info[i], window.ws_col);
	}
	fputs(live ? "\033[J" : "", stdout);
}

/* Looks again and again. Return: what to exit with; *error: of the library. */
static int watch(redmutex_t *rm, struct screen *screen, bool json, int64_t delay_ms, int64_t count,
		 int *error)
{
	struct rows rows = {.info = calloc(ROWS_MAX, sizeof(*rows.info))};
	struct rates rates = {.at_us = 0};
	int status = -1;

	*error = rows.info == NULL ? REDMUTEX_ENOMEM : 0;
	for (int64_t i = 0; *error == 0 && (count == 0 || i < count); i++) {
		if (i > 0 && (status = screen_sleep(screen, delay_ms)) >= 0)
			break;
		rows.n = rows.used = rows.waiting = 0;
		rows.seen = 0;
		*error = redmutex_list(rm, NULL, add, &rows);
		if (*error == 0)
			*error = look_at_rates(rm, &rates);
		if (*error < 0)
			break;
		qsort(rows.info, (size_t)rows.n, sizeof(*rows.info), compare);
		if (json)
			show_json(&rows, &rates);
		else
			show_text(&rows, &rates, i == 0, screen->live);
		if (fflush(stdout) != 0)
			break;
	}
	free(rows.info);
	return status < 0 ? EXIT_DONE : status;
}

static int run(const struct cmd *cmd, int argc, char **argv)
{
	static const struct option options[] = {{"delay", required_argument, NULL, 'd'},
						{"count", required_argument, NULL, 'n'},
						CMD_LONG_OPTIONS,
						{NULL, 0, NULL, 0}};
	bool json = false, terminal = isatty(STDOUT_FILENO);
	int64_t delay_ms = 1000, count = 0;
	struct screen screen = {.signal_fd = -1};
	sigset_t old;
	redmutex_t *rm;
	int letter, error, status;

	opterr = 0;
	while ((letter = getopt_long(argc, argv, ":d:n:", options, NULL)) != -1) {
		switch (letter) {
		case 'd':
			if (cmd_seconds(cmd, "-d", 100, 86400000, &delay_ms) != 0)
				return EXIT_USAGE;
			break;
		case 'n':
			if (cmd_number(cmd, "-n", 1, 1000000000, &count) != 0)
				return EXIT_USAGE;
			break;
		case OPTION_JSON:
			json = true;
			break;
		case OPTION_HELP:
			return cmd_help(cmd);
		default:
			return cmd_bad_option(cmd, letter, argv);
		}
	}
	if (optind != argc)
		return cmd_usage(cmd, "top: too many arguments");
	if (count == 0 && !terminal)
		count = 1;
	if ((status = cmd_connect(&rm)) != 0)
		return status;
	screen.live = terminal && !json && count == 0;
	if (screen.live) {
		screen.signal_fd = cmd_signals_block(&old);
		if (screen.signal_fd < 0) {
			redmutex_close(rm);
			fprintf(stderr, "redmutex: signalfd: %s\n", strerror(errno));
			return EXIT_OS;
		}
		screen_take(&screen);
	}
	status = watch(rm, &screen, json, delay_ms, count, &error);
	screen_give_back(&screen);
	if (error < 0)
		return cmd_failed(rm, NULL, error, redmutex_error_text(rm));
	return cmd_finish(rm, status);
}

const struct cmd cmd_top = {
	.name = "top",
	.usage = "[-d SECONDS] [-n COUNT] [--json]",
	.summary = "watch the mutexes, the most contended first",
	.help = "  -d, --delay SECONDS  between two looks; 1\n"
		"  -n, --count COUNT    looks; without end on a terminal, else 1\n"
		"On a terminal it is a live screen; q ends it.\n",
	.run = run,
};
