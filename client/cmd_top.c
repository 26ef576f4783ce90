/* SPDX-License-Identifier: MIT */
/* redmutex top */
#include "config.h"

#include "client/cmd.h"

#include <getopt.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/ioctl.h>
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

static void show(const struct rows *rows, bool json, bool terminal)
{
	struct winsize window = {.ws_row = 0};
	int n = rows->n;

	if (json) {
		printf("{\"mutexes\":%ld,\"in_use\":%d,\"waiting\":%d,\"top\":[", rows->seen,
		       rows->used, rows->waiting);
		for (int i = 0; i < n; i++) {
			if (i > 0)
				putchar(',');
			json_info(&rows->info[i]);
		}
		puts("]}");
		return;
	}
	if (terminal)
		fputs("\033[H\033[2J", stdout);
	if (terminal && ioctl(STDOUT_FILENO, TIOCGWINSZ, &window) == 0 && window.ws_row > 4 &&
	    n > window.ws_row - 4)
		n = window.ws_row - 4;
	printf("%ld mutexes, %d in use, %d waiting\n\n", rows->seen, rows->used, rows->waiting);
	table_head();
	for (int i = 0; i < n; i++)
		table_row(&rows->info[i]);
}

static int run(const struct cmd *cmd, int argc, char **argv)
{
	static const struct option options[] = {{"delay", required_argument, NULL, 'd'},
						{"count", required_argument, NULL, 'n'},
						CMD_LONG_OPTIONS,
						{NULL, 0, NULL, 0}};
	bool json = false, terminal = isatty(STDOUT_FILENO);
	int64_t delay_ms = 1000, count = 0;
	struct rows rows = {.n = 0};
	redmutex_t *rm;
	int letter, error = 0, status;

	opterr = 0;
	while ((letter = getopt_long(argc, argv, "d:n:", options, NULL)) != -1) {
		switch (letter) {
		case 'd':
			if (!cmd_seconds(optarg, &delay_ms) || delay_ms < 100 ||
			    delay_ms > 86400000)
				return cmd_usage(cmd, "top: -d takes seconds from 0.1 to 86400: %s",
						 optarg);
			break;
		case 'n':
			if (!cmd_number(optarg, 1, 1000000000, &count))
				return cmd_usage(cmd, "top: -n takes a number from 1 on: %s",
						 optarg);
			break;
		case OPTION_JSON:
			json = true;
			break;
		case OPTION_HELP:
			return cmd_help(cmd);
		default:
			return cmd_usage(cmd, "top: there is no such option: %s", argv[optind - 1]);
		}
	}
	if (optind != argc)
		return cmd_usage(cmd, "top: too many arguments");
	if (count == 0 && !terminal)
		count = 1;
	if ((status = cmd_connect(&rm)) != 0)
		return status;
	rows.info = calloc(ROWS_MAX, sizeof(*rows.info));
	if (rows.info == NULL)
		return cmd_failed(rm, NULL, REDMUTEX_ENOMEM, "");
	for (int64_t i = 0; count == 0 || i < count; i++) {
		if (i > 0)
			poll(NULL, 0, (int)delay_ms);
		rows.n = rows.used = rows.waiting = 0;
		rows.seen = 0;
		error = redmutex_list(rm, NULL, add, &rows);
		if (error < 0)
			break;
		qsort(rows.info, (size_t)rows.n, sizeof(*rows.info), compare);
		show(&rows, json, terminal && count == 0);
		if (fflush(stdout) != 0)
			break;
	}
	free(rows.info);
	if (error < 0)
		return cmd_failed(rm, NULL, error, redmutex_error_text(rm));
	return cmd_finish(rm, EXIT_DONE);
}

const struct cmd cmd_top = {
	.name = "top",
	.usage = "[-d SECONDS] [-n COUNT] [--json]",
	.summary = "watch the mutexes, the most contended first",
	.help = "  -d, --delay SECONDS  between two looks; 1\n"
		"  -n, --count COUNT    looks; without end on a terminal, else 1\n",
	.run = run,
};
