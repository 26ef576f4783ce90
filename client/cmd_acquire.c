/* SPDX-License-Identifier: MIT */
/* redmutex acquire */
#include "config.h"

#include "client/cmd.h"

#include <errno.h>
#include <getopt.h>
#include <string.h>

/* What was asked for. */
struct arguments {
	struct redmutex_acquire_options options;
	int64_t busy_status;
	bool json, pid, detach;
	const char *name;
};

/* Return: -1 to go on, or the exit status. */
static int parse(const struct cmd *cmd, int argc, char **argv, struct arguments *arguments)
{
	enum { OPTION_PID = 512, OPTION_DETACH };
	static const struct option options[] = {
		{"nonblock", no_argument, NULL, 'n'},
		{"wait", required_argument, NULL, 'w'},
		{"ttl", required_argument, NULL, 't'},
		{"conflict-exit-code", required_argument, NULL, 'E'},
		{"pid", required_argument, NULL, OPTION_PID},
		{"detach", no_argument, NULL, OPTION_DETACH},
		CMD_LONG_OPTIONS,
		{NULL, 0, NULL, 0},
	};
	struct redmutex_acquire_options *o = &arguments->options;
	int letter;

	o->wait_ms = REDMUTEX_FOREVER;
	opterr = 0;
	while ((letter = getopt_long(argc, argv, ":nw:t:E:", options, NULL)) != -1) {
		switch (letter) {
		case 'n':
			o->wait_ms = 0;
			break;
		case 'w':
			if (!cmd_seconds(optarg, &o->wait_ms))
				return cmd_usage(cmd, "acquire: -w takes seconds: %s", optarg);
			break;
		case 't':
			if (!cmd_seconds(optarg, &o->ttl_ms) || o->ttl_ms < 10)
				return cmd_usage(cmd, "acquire: -t takes seconds, from 0.01 on: %s",
						 optarg);
			break;
		case 'E':
			if (!cmd_number(optarg, 0, 255, &arguments->busy_status))
				return cmd_usage(cmd, "acquire: -E takes 0 to 255: %s", optarg);
			break;
		case OPTION_PID:
			if (!cmd_number(optarg, 1, INT32_MAX, &o->owner_pid))
				return cmd_usage(cmd, "acquire: --pid takes a process id: %s",
						 optarg);
			o->owner = REDMUTEX_OWNER_PID;
			arguments->pid = true;
			break;
		case OPTION_DETACH:
			o->owner = REDMUTEX_OWNER_NONE;
			arguments->detach = true;
			break;
		case OPTION_JSON:
			arguments->json = true;
			break;
		case OPTION_HELP:
			return cmd_help(cmd);
		default:
			return cmd_bad_option(cmd, letter, argv);
		}
	}
	if (argc - optind != 1)
		return cmd_usage(cmd, "acquire: one mutex is needed");
	arguments->name = argv[optind];
	if (arguments->pid == arguments->detach)
		return cmd_usage(
			cmd,
			"acquire: a lock can't outlive its owner, and this command ends at "
			"once: give %s of --pid PID (the lock ends with that process: "
			"--pid $$ in a script) and --detach (it ends by release or "
			"expiry), or use: redmutex run",
			arguments->pid ? "only one" : "one");
	return -1;
}

static void print(const struct arguments *arguments, const struct redmutex_lock *lock)
{
	if (!arguments->json) {
		puts(lock->lock);
		return;
	}
	printf("{\"name\":");
	json_string(arguments->name);
	printf(",\"lock\":\"%s\",\"ttl_ms\":%lld", lock->lock, (long long)lock->ttl_ms);
	if (lock->fence > 0)
		printf(",\"fence\":%lld", (long long)lock->fence);
	puts("}");
}

static int run(const struct cmd *cmd, int argc, char **argv)
{
	struct arguments arguments = {.options = REDMUTEX_ACQUIRE_OPTIONS_INIT, .busy_status = 1};
	struct redmutex_lock lock = REDMUTEX_LOCK_INIT;
	struct cmd_wait wait = {.options = &arguments.options};
	char text[1024];
	sigset_t old;
	int status = parse(cmd, argc, argv, &arguments);
	int error, signo;

	if (status >= 0)
		return status;
	status = cmd_connect(&wait.rm);
	if (status != 0)
		return status;
	wait.name = arguments.name;
	wait.signal_fd = cmd_signals_block(&old);
	if (wait.signal_fd < 0) {
		fprintf(stderr, "redmutex: signalfd: %s\n", strerror(errno));
		redmutex_close(wait.rm);
		return EXIT_OS;
	}
	error = cmd_wait(&wait, &lock, text, sizeof(text), &signo);
	if (signo != 0)
		return cmd_finish(wait.rm, EXIT_SIGNAL + signo);
	if (error == REDMUTEX_EALREADY_LOCKED)
		return cmd_finish(wait.rm, (int)arguments.busy_status);
	if (error < 0)
		return cmd_failed(wait.rm, arguments.name, error, text);
	print(&arguments, &lock);
	/* Nobody got the string: then nobody could release it. */
	if (fflush(stdout) != 0)
		redmutex_release(wait.rm, arguments.name, lock.lock);
	return cmd_finish(wait.rm, EXIT_DONE);
}

const struct cmd cmd_acquire = {
	.name = "acquire",
	.usage = "[-n | -w SECONDS] [-t SECONDS] [-E CODE] [--json] --pid PID | --detach NAME",
	.summary = "acquire a lock for a process, or for no one, and print its string",
	.help = "  -n, --nonblock      exit 1 at once when it is locked\n"
		"  -w, --wait SECONDS  exit 1 when it is still locked then\n"
		"  -t, --ttl SECONDS   the lease; by default as configured\n"
		"  -E, --conflict-exit-code CODE  exit with that instead of 1\n"
		"      --pid PID       the lock ends with that process: --pid $$ in a script\n"
		"      --detach        the lock ends by release or expiry only\n",
	.run = run,
};
