/* SPDX-License-Identifier: MIT */
/* redmutex info */
#include "config.h"

#include "client/cmd.h"

static void print(const struct redmutex_info *info)
{
	char holder[512];

	info_holder(info, holder, sizeof(holder));
	printf("%s: %s\n", info->name, holder);
	if (info->waiters >= 0)
		printf("waiting here: %lld\n", (long long)info->waiters);
	if (info->ttl_ms >= 0)
		printf("left of its lease: %lld.%03lld s\n", (long long)info->ttl_ms / 1000,
		       (long long)info->ttl_ms % 1000);
	if (info->fence >= 0)
		printf("fence: %lld\n", (long long)info->fence);
	if (info->owner[0] != '\0')
		printf("owner: %s\n", info->owner);
}

static int run(const struct cmd *cmd, int argc, char **argv)
{
	struct redmutex_info info = REDMUTEX_INFO_INIT;
	redmutex_t *rm;
	bool json = false;
	int error, status;
	int at = cmd_arguments(cmd, argc, argv, 1, 1, &json, &status);

	if (at < 0 || (status = cmd_connect(&rm)) != 0)
		return status;
	error = redmutex_info(rm, argv[at], &info);
	if (error < 0)
		return cmd_failed(rm, argv[at], error, redmutex_error_text(rm));
	if (json) {
		json_info(&info);
		putchar('\n');
	} else {
		print(&info);
	}
	return cmd_finish(rm, EXIT_DONE);
}

const struct cmd cmd_info = {
	.name = "info",
	.usage = "NAME [--json]",
	.summary = "say who holds a mutex, for how long, and how many wait",
	.run = run,
};
