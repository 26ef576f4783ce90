/* SPDX-License-Identifier: MIT */
/* redmutex extend */
#include "config.h"

#include "client/cmd.h"

#include <getopt.h>

static int run(const struct cmd *cmd, int argc, char **argv)
{
	static const struct option options[] = {
		{"ttl", required_argument, NULL, 't'}, CMD_LONG_OPTIONS, {NULL, 0, NULL, 0}};
	int64_t ttl_ms = 0, left_ms;
	bool json = false;
	redmutex_t *rm;
	int letter, error, status;

	opterr = 0;
	while ((letter = getopt_long(argc, argv, ":t:", options, NULL)) != -1) {
		switch (letter) {
		case 't':
			if (cmd_seconds(cmd, "-t", CMD_TTL_MIN_MS, CMD_MS_MAX, &ttl_ms) != 0)
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
	if (argc - optind != 2)
		return cmd_usage(cmd, "extend: a mutex and a lock string are needed");
	if ((status = cmd_connect(&rm)) != 0)
		return status;
	error = redmutex_extend(rm, argv[optind], argv[optind + 1], ttl_ms, &left_ms);
	if (error < 0)
		return cmd_failed(rm, argv[optind], error, redmutex_error_text(rm));
	if (json)
		printf("{\"ttl_ms\":%lld}\n", (long long)left_ms);
	return cmd_finish(rm, EXIT_DONE);
}

const struct cmd cmd_extend = {
	.name = "extend",
	.usage = "[-t SECONDS] [--json] NAME LOCK",
	.summary = "give a lock a new lease",
	.help = "  -t, --ttl SECONDS  the new lease from now on; by default as long as the first\n",
	.run = run,
};
