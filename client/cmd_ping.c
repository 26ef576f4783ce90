/* SPDX-License-Identifier: MIT */
/* redmutex ping */
#include "config.h"

#include "client/cmd.h"

static int run(const struct cmd *cmd, int argc, char **argv)
{
	int64_t begin_us, took_us;
	redmutex_t *rm;
	bool json = false;
	int error, status;

	if (cmd_arguments(cmd, argc, argv, 0, 0, &json, &status) < 0 ||
	    (status = cmd_connect(&rm)) != 0)
		return status;
	begin_us = redmutex_now_us();
	error = redmutex_ping(rm);
	took_us = redmutex_now_us() - begin_us;
	if (error < 0)
		return cmd_failed(rm, NULL, error, redmutex_error_text(rm));
	if (json)
		printf("{\"ok\":true,\"us\":%lld}\n", (long long)took_us);
	else
		printf("redmutexd answers, after %lld us\n", (long long)took_us);
	return cmd_finish(rm, EXIT_DONE);
}

const struct cmd cmd_ping = {
	.name = "ping",
	.usage = "[--json]",
	.summary = "see whether the daemon answers",
	.run = run,
};
