/* SPDX-License-Identifier: MIT */
/* redmutex break */
#include "config.h"

#include "client/cmd.h"

static int run(const struct cmd *cmd, int argc, char **argv)
{
	redmutex_t *rm;
	bool json = false;
	int error, status;
	int at = cmd_arguments(cmd, argc, argv, 1, 1, &json, &status);

	if (at < 0 || (status = cmd_connect(&rm)) != 0)
		return status;
	error = redmutex_break(rm, argv[at]);
	if (error == REDMUTEX_EUNLOCK_FAIL)
		return cmd_failed(rm, argv[at], error, "nobody holds it");
	if (error < 0)
		return cmd_failed(rm, argv[at], error, redmutex_error_text(rm));
	if (json)
		printf("{\"broken\":true}\n");
	return cmd_finish(rm, EXIT_DONE);
}

const struct cmd cmd_break = {
	.name = "break",
	.usage = "NAME [--json]",
	.summary = "take a lock away from whoever holds it; for administrators",
	.help = "Its holder is told, but may still be at work: only fences keep it out.\n",
	.run = run,
};
