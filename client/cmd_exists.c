/* SPDX-License-Identifier: MIT */
/* redmutex exists */
#include "config.h"

#include "client/cmd.h"

static int run(const struct cmd *cmd, int argc, char **argv)
{
	redmutex_t *rm;
	bool json = false;
	int error, exists, status;
	int at = cmd_arguments(cmd, argc, argv, 1, 1, &json, &status);

	if (at < 0 || (status = cmd_connect(&rm)) != 0)
		return status;
	error = redmutex_exists(rm, argv[at], &exists);
	if (error < 0)
		return cmd_failed(rm, argv[at], error, redmutex_error_text(rm));
	if (json)
		printf("{\"exists\":%s}\n", exists ? "true" : "false");
	return cmd_finish(rm, exists ? EXIT_DONE : EXIT_FREE);
}

const struct cmd cmd_exists = {
	.name = "exists",
	.usage = "NAME [--json]",
	.summary = "exit 0 when somebody holds a lock of the mutex, on whatever host; else 1",
	.run = run,
};
