/* SPDX-License-Identifier: MIT */
/* redmutex stats */
#include "config.h"

#include "client/cmd.h"

#include <string.h>

/* How far the output has got. */
struct stats {
	bool json;
	bool begun;
};

/* Is it written as JSON writes a number? */
static bool is_number(const char *value)
{
	size_t digits = strspn(value, "0123456789");

	if (digits == 0 || (value[0] == '0' && digits > 1))
		return false;
	value += digits;
	if (*value != '.')
		return *value == '\0';
	digits = strspn(value + 1, "0123456789");
	return digits > 0 && value[1 + digits] == '\0';
}

static void print(redmutex_t *rm, const char *metric, const char *value, void *arg)
{
	struct stats *stats = arg;

	(void)rm;
	if (!stats->json) {
		printf("%s %s\n", metric, value);
		return;
	}
	putchar(stats->begun ? ',' : '{');
	stats->begun = true;
	json_string(metric);
	putchar(':');
	if (is_number(value))
		fputs(value, stdout);
	else
		json_string(value);
}

static int run(const struct cmd *cmd, int argc, char **argv)
{
	struct stats stats = {.json = false};
	redmutex_t *rm;
	int error, status;
	int at = cmd_arguments(cmd, argc, argv, 0, 0, &stats.json, &status);

	if (at < 0 || (status = cmd_connect(&rm)) != 0)
		return status;
	error = redmutex_stats(rm, print, &stats);
	if (error < 0)
		return cmd_failed(rm, NULL, error, redmutex_error_text(rm));
	if (stats.json)
		puts(stats.begun ? "}" : "{}");
	return cmd_finish(rm, EXIT_DONE);
}

const struct cmd cmd_stats = {
	.name = "stats",
	.usage = "[--json]",
	.summary = "show the daemon's statistics",
	.run = run,
};
