/* SPDX-License-Identifier: MIT */
/* redmutex acquire */
#include "config.h"

#include "client/cmd.h"

#include <errno.h>
#include <getopt.h>
#include <string.h>

/* What was asked for. */
struct arguments {
	struct cmd_wait wait;
	bool json, pid, detach;
};

/* Return: -1 to go on, or the exit status. */
static int parse(const struct cmd *cmd, int argc, char **argv, struct arguments *arguments)
{
	enum { OPTION_PID = OPTION_OWN, OPTION_DETACH };
	static const struct option options[] = {
		CMD_ACQUISITION_OPTIONS,
		{"pid", required_argument, NULL, OPTION_PID},
		{"detach", no_argument, NULL, OPTION_DETACH},
		CMD_LONG_OPTIONS,
		{NULL, 0, NULL, 0},
	};
	struct redmutex_acquire_options *o = &arguments->wait.acquisition.options;
	int letter, status;

	o->wait_ms = REDMUTEX_FOREVER;
	opterr = 0;
	while ((letter = getopt_long(argc, argv, ":" CMD_ACQUISITION_LETTERS, options, NULL)) !=
	       -1) {
		switch (letter) {
		case OPTION_PID:
			if (cmd_number(cmd, "--pid", 1, INT32_MAX, &o->owner_pid) != 0)
				return EXIT_USAGE;
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
		default:
			status = cmd_acquisition_option(cmd, letter, argv,
							&arguments->wait.acquisition);
			if (status >= 0)
				return status;
		}
	}
	if (argc - optind != 1)
		return cmd_usage(cmd, "acquire: one mutex is needed");
	arguments->wait.name = argv[optind];
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

static void print(const struct arguments *arguments)
{
	const struct redmutex_lock *lock = &arguments->wait.lock;

	if (!arguments->json) {
		puts(lock->lock);
		return;
	}
	printf("{\"name\":");
	json_string(arguments->wait.name);
	printf(",\"lock\":\"%s\",\"ttl_ms\":%lld", lock->lock, (long long)lock->ttl_ms);
	if (lock->fence > 0)
		printf(",\"fence\":%lld", (long long)lock->fence);
	puts("}");
}

static int run(const struct cmd *cmd, int argc, char **argv)
{
	struct arguments arguments = {.wait.acquisition = CMD_ACQUISITION_INIT};
	struct cmd_wait *wait = &arguments.wait;
	int status = parse(cmd, argc, argv, &arguments);
	sigset_t old;

	if (status >= 0)
		return status;
	status = cmd_connect(&wait->rm);
	if (status != 0)
		return status;
	wait->signal_fd = cmd_signals_block(&old);
	if (wait->signal_fd < 0) {
		fprintf(stderr, "redmutex: signalfd: %s\n", strerror(errno));
		redmutex_close(wait->rm);
		return EXIT_OS;
	}
	cmd_wait(wait);
	if (wait->signo != 0)
		return cmd_finish(wait->rm, EXIT_SIGNAL + wait->signo);
	if (wait->error == REDMUTEX_EALREADY_LOCKED)
		return cmd_finish(wait->rm, (int)wait->acquisition.busy_status);
	if (wait->error < 0)
		return cmd_failed(wait->rm, wait->name, wait->error, wait->text);
	print(&arguments);
	/* Nobody got the string: then nobody could release it. */
	if (fflush(stdout) != 0)
		redmutex_release(wait->rm, wait->name, wait->lock.lock);
	return cmd_finish(wait->rm, EXIT_DONE);
}

const struct cmd cmd_acquire = {
	.name = "acquire",
	.usage = "[-n | -w SECONDS] [-t SECONDS] [-E CODE] [--json] --pid PID | --detach NAME",
	.summary = "acquire a lock for a process, or for no one, and print its string",
	.help = CMD_ACQUISITION_HELP
	"      --pid PID        the lock ends with that process: --pid $$ in a script\n"
	"      --detach         the lock ends by release or expiry only\n",
	.run = run,
};
