/* SPDX-License-Identifier: MIT */
/* redmutex list */
#include "config.h"

#include "client/cmd.h"

/* How far the output has got. */
struct list {
	bool json;
	bool begun;
};

static void print(redmutex_t *rm, const struct redmutex_info *info, void *arg)
{
	struct list *list = arg;

	(void)rm;
	if (list->json) {
		fputs(list->begun ? ",\n " : "[", stdout);
		json_info(info);
	} else {
		if (!list->begun)
			table_head(0);
		table_row(info, 0);
	}
	list->begun = true;
}

static int run(const struct cmd *cmd, int argc, char **argv)
{
	struct list list = {.json = false};
	redmutex_t *rm;
	int error, status;
	int at = cmd_arguments(cmd, argc, argv, 0, 1, &list.json, &status);

	if (at < 0 || (status = cmd_connect(&rm)) != 0)
		return status;
	error = redmutex_list(rm, at < argc ? argv[at] : NULL, print, &list);
	if (error == REDMUTEX_EINVAL)
		return cmd_failed(rm, argv[at], error,
				  "a pattern is 1 to 128 characters of A-Z a-z 0-9 . _ - : / *");
	if (error < 0)
		return cmd_failed(rm, NULL, error, redmutex_error_text(rm));
	if (list.json)
		puts(list.begun ? "]" : "[]");
	return cmd_finish(rm, EXIT_DONE);
}

const struct cmd cmd_list = {
	.name = "list",
	.usage = "[PATTERN] [--json]",
	.summary = "show the mutexes that are configured or in use, and who holds them",
	.help = "In PATTERN, * stands for any run of characters.\n",
	.run = run,
};
