/* SPDX-License-Identifier: MIT */
#ifndef REDMUTEX_CMD_H
#define REDMUTEX_CMD_H
/* What the subcommands of redmutex(1) share. Each is in a file of its own, and exports its struct
 * cmd. */
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#include "client/redmutex.h"

/* Exit statuses that no error of the library stands for. */
enum {
	EXIT_DONE = 0,
	EXIT_FREE = 1, /* `exists` */
	EXIT_USAGE = 64,
	EXIT_OS = 71,
	EXIT_OUTPUT = 74,
	EXIT_LOST = 76,
	EXIT_CANNOT_EXECUTE = 126,
	EXIT_NOT_FOUND = 127,
	EXIT_SIGNAL = 128, /* and its number */
};

/* A subcommand. */
struct cmd {
	const char *name;
	const char *usage; /* what follows its name */
	const char *summary;
	const char *help; /* its options, a line each; may be NULL */
	/*
	 * argv[0] is its name.
	 * Return: the exit status.
	 */
	int (*run)(const struct cmd *cmd, int argc, char **argv);
};

extern const struct cmd cmd_run, cmd_acquire, cmd_release, cmd_exists, cmd_extend, cmd_info,
	cmd_list, cmd_stats, cmd_top, cmd_break, cmd_ping;

/* -s, or NULL */
extern const char *cmd_socket;

/* Our arguments as ps(1) shows them: writing over them changes what it shows. */
extern char *cmd_title;
extern size_t cmd_title_size;

/* ---- arguments ---- */

/* What getopt_long() returns for options without a letter, of which each command may have more of
 * its own. Every command that prints data takes --json. */
enum { OPTION_JSON = 256, OPTION_HELP, OPTION_OWN };
#define CMD_LONG_OPTIONS                                                                           \
	{"help", no_argument, NULL, OPTION_HELP},                                                  \
	{                                                                                          \
		"json", no_argument, NULL, OPTION_JSON                                             \
	}

/* cmd_arguments - the options of a command that takes none of its own but --json and --help
 * @min, @max: how many words follow
 * @json: out; NULL: it prints no data
 *
 * Return: the index of the first word, or -1 with *status set: what to exit with.
 */
int cmd_arguments(const struct cmd *cmd, int argc, char **argv, int min, int max, bool *json,
		  int *status);

/* cmd_help - print how a command is used. Return: the exit status. */
int cmd_help(const struct cmd *cmd);
/* cmd_usage - say what is wrong with the arguments, and how it is used. Return: EXIT_USAGE. */
int cmd_usage(const struct cmd *cmd, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* cmd_bad_option - say what getopt_long() stumbled over: `?`, or `:` for a value that is missing.
 * The texts of options begin with ":". Return: EXIT_USAGE. */
int cmd_bad_option(const struct cmd *cmd, int letter, char **argv);

/* The longest wait, lease or grace, and the shortest lease. */
#define CMD_MS_MAX INT64_C(315360000000)
enum { CMD_TTL_MIN_MS = 10 };

/*
 * cmd_seconds - the value of an option that takes seconds, with fractions
 * @option: as it is written, for who gave it a wrong value
 * @ms: out: in milliseconds, rounded up
 *
 * Return: 0, or EXIT_USAGE: said what is wrong.
 */
int cmd_seconds(const struct cmd *cmd, const char *option, int64_t min_ms, int64_t max_ms,
		int64_t *ms);
/* cmd_number - the same for a whole number */
int cmd_number(const struct cmd *cmd, const char *option, int64_t min, int64_t max,
	       int64_t *number);

/* What run and acquire have in common: for struct cmd_wait, and for their options and --help. */
struct cmd_acquisition {
	struct redmutex_acquire_options options;
	int64_t busy_status; /* what to exit with when somebody else holds it */
};
#define CMD_ACQUISITION_INIT                                                                       \
	{                                                                                          \
		REDMUTEX_ACQUIRE_OPTIONS_INIT, 1                                                   \
	}
#define CMD_ACQUISITION_OPTIONS                                                                    \
	{"nonblock", no_argument, NULL, 'n'}, {"wait", required_argument, NULL, 'w'},              \
		{"timeout", required_argument, NULL, 'w'}, {"ttl", required_argument, NULL, 't'},  \
	{                                                                                          \
		"conflict-exit-code", required_argument, NULL, 'E'                                 \
	}
#define CMD_ACQUISITION_LETTERS "nw:t:E:"
#define CMD_ACQUISITION_HELP                                                                       \
	"  -n, --nonblock       exit 1 at once when it is locked\n"                                \
	"  -w, --wait SECONDS   exit 1 when it is still locked then\n"                             \
	"  -t, --ttl SECONDS    the lease; by default as configured\n"                             \
	"  -E, --conflict-exit-code CODE  exit with that instead of 1\n"

/*
 * cmd_acquisition_option - take one of those options, or --help, or say that there is none such
 * @letter: from getopt_long()
 *
 * Return: -1 when it was taken, or what to exit with.
 */
int cmd_acquisition_option(const struct cmd *cmd, int letter, char **argv,
			   struct cmd_acquisition *acquisition);

/* ---- the daemon ---- */

/* cmd_connect - connect, or say why not. Return: 0, or the exit status. */
int cmd_connect(redmutex_t **rm);
/*
 * cmd_failed - say that something failed, and close the connection
 * @subject: the mutex, or NULL
 * @text: the daemon's words; "": the error's own
 *
 * Return: the exit status.
 */
int cmd_failed(redmutex_t *rm, const char *subject, int error, const char *text);
/* cmd_finish - close the connection, and see that all output was written. Return: exit status. */
int cmd_finish(redmutex_t *rm, int status);

/* ---- waiting for a lock (run, acquire) ---- */

/*
 * cmd_signals_block - hold all signals that can be held; a fault of our own ends us all the same
 * @old: out: which were held before
 *
 * Return: a signalfd for them, or -1.
 */
int cmd_signals_block(sigset_t *old);

/*
 * What a person sees of a wait: one line on the terminal, drawn anew each second, and gone when the
 * wait is over. Only in the foreground: elsewhere it would spoil what others write.
 */
struct cmd_view {
	bool wanted;
	bool drawn; /* it is there now */
	bool asked; /* a look has not been answered yet */
	unsigned looks;
	int64_t next_us; /* the next look */
	int64_t ahead;	 /* waiters in front of us, at most; -1: not known */
	int64_t seen_us; /* when `info` was so; 0: never */
	struct redmutex_info info;
};

/* A wait. It must be there until the connection is closed, for answers that come late. */
struct cmd_wait {
	redmutex_t *rm;
	const char *name;
	struct cmd_acquisition acquisition;
	int signal_fd;
	/* Called once after the request was sent, to do what there is to do meanwhile; or NULL. */
	void (*meanwhile)(void *arg);
	void *arg;

	/* How it has come out. */
	bool done;
	int error;		   /* of the library */
	int signo;		   /* the signal that ended it, or 0; then nothing is held */
	struct redmutex_lock lock; /* if neither */
	char text[1024];	   /* the daemon's words for an error */

	struct cmd_view view;
};

/* cmd_wait - acquire a lock, while signals are obeyed */
void cmd_wait(struct cmd_wait *wait);

/* ---- output ---- */

void json_string(const char *text);
/* json_info - an object of what is known of a mutex, without its LF */
void json_info(const struct redmutex_info *info);
/* info_holder - a sentence about who holds it; for people */
void info_holder(const struct redmutex_info *info, char *out, size_t size);
/* is_screen - is the descriptor a terminal that understands ECMA-48? */
bool is_screen(int fd);
/* has_colours - may output have colours: on a terminal that can, unless NO_COLOR is set */
bool has_colours(void);
/* columns_cut - how many bytes of UTF-8 text fit into so many columns; `wide`: of what is not
 * ASCII, to be on the safe side. */
size_t columns_cut(const char *text, int columns, int wide);
/* table_head, table_row - mutexes as a table, for people; width: columns at most, or 0 */
void table_head(int width);
void table_row(const struct redmutex_info *info, int width);

#endif
