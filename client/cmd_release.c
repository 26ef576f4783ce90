/* SPDX-License-Identifier: MIT */
/* redmutex release */
#include "config.h"

#include "client/cmd.h"

static int run(const struct cmd *cmd, int argc, char **argv)
{
	redmutex_t *rm;
	bool json = false;
	int error, status;
	int at = cmd_arguments(cmd, argc, argv, 2, 2, &json, &status);

	if (at < 0 || (status = cmd_connect(&rm)) != 0)
		return status;
	error = redmutex_release(rm, argv[at], argv[at + 1]);
	if (error < 0)
		return cmd_failed(rm, argv[at], error, redmutex_error_text(rm));
	if (json)
		printf("{\"released\":true}\n");
	return cmd_finish(rm, EXIT_DONE);
}

const struct cmd cmd_release = {
	.name = "release",
	.usage = "NAME LOCK [--json]",
	.summary = "give back a lock, named by the string that acquire printed",
	.help = "Exits 1 when that lock is not held: it expired, was released, or never was.\n",
	.run = run,
};
