/* SPDX-License-Identifier: MIT */
/* What the subcommands share: arguments, the daemon, errors that say what to do. */
#include "config.h"

#include "client/cmd.h"

#include <errno.h>
#include <getopt.h>
#include <grp.h>
#include <limits.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

const char *cmd_socket;
char *cmd_title;
size_t cmd_title_size;

/* ---- arguments ---- */

static void print_usage(FILE *to, const struct cmd *cmd)
{
	fprintf(to, "usage: redmutex [-s SOCKET] %s%s%s\n", cmd->name,
		cmd->usage[0] != '\0' ? " " : "", cmd->usage);
}

int cmd_help(const struct cmd *cmd)
{
	print_usage(stdout, cmd);
	printf("\n%s\n", cmd->summary);
	if (cmd->help != NULL)
		printf("\n%s", cmd->help);
	return cmd_finish(NULL, EXIT_DONE);
}

int cmd_usage(const struct cmd *cmd, const char *format, ...)
{
	va_list args;

	fputs("redmutex: ", stderr);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	print_usage(stderr, cmd);
	return EXIT_USAGE;
}

int cmd_bad_option(const struct cmd *cmd, int letter, char **argv)
{
	const char *word = argv[optind - 1];

	if (letter == ':')
		return cmd_usage(cmd, "%s: %s needs a value", cmd->name, word);
	/* A letter may stand in the midst of a word. */
	if (optopt > 0 && optopt <= UCHAR_MAX)
		return cmd_usage(cmd, "%s: there is no such option: -%c", cmd->name, optopt);
	return cmd_usage(cmd, "%s: there is no such option: %s", cmd->name, word);
}

int cmd_arguments(const struct cmd *cmd, int argc, char **argv, int min, int max, bool *json,
		  int *status)
{
	static const struct option options[] = {CMD_LONG_OPTIONS, {NULL, 0, NULL, 0}};
	int letter;

	opterr = 0;
	while ((letter = getopt_long(argc, argv, ":", options, NULL)) != -1) {
		if (letter == OPTION_JSON && json != NULL) {
			*json = true;
		} else if (letter == OPTION_HELP) {
			*status = cmd_help(cmd);
			return -1;
		} else {
			*status = cmd_bad_option(cmd, letter, argv);
			return -1;
		}
	}
	if (argc - optind < min || argc - optind > max) {
		*status = cmd_usage(cmd, "%s: too %s arguments", cmd->name,
				    argc - optind < min ? "few" : "many");
		return -1;
	}
	return optind;
}

/* "1.5", "2" or ".5" to milliseconds, rounded up. Return: false when it is no such time. */
static bool parse_seconds(const char *text, int64_t *ms)
{
	int64_t scale = 1000, value = 0;
	bool rest = false, dot = false, digit = false;

	for (const char *at = text; *at != '\0'; at++) {
		if (*at == '.' && !dot) {
			dot = true;
			continue;
		}
		if (*at < '0' || *at > '9' || value > CMD_MS_MAX)
			return false;
		digit = true;
		if (!dot)
			value = value * 10 + (*at - '0') * 1000;
		else if ((scale /= 10) > 0)
			value += (*at - '0') * scale;
		else
			rest = rest || *at != '0';
	}
	*ms = value + (rest ? 1 : 0);
	return digit;
}

int cmd_seconds(const struct cmd *cmd, const char *option, int64_t min_ms, int64_t max_ms,
		int64_t *ms)
{
	if (parse_seconds(optarg, ms) && *ms >= min_ms && *ms <= max_ms)
		return 0;
	return cmd_usage(cmd, "%s: %s takes %g to %.0f seconds: %s", cmd->name, option,
			 (double)min_ms / 1000, (double)max_ms / 1000, optarg);
}

int cmd_number(const struct cmd *cmd, const char *option, int64_t min, int64_t max, int64_t *number)
{
	char *end;

	errno = 0;
	*number = strtoll(optarg, &end, 10);
	if (*optarg >= '0' && *optarg <= '9' && errno == 0 && *end == '\0' && *number >= min &&
	    *number <= max)
		return 0;
	return cmd_usage(cmd, "%s: %s takes a number from %lld to %lld: %s", cmd->name, option,
			 (long long)min, (long long)max, optarg);
}

int cmd_acquisition_option(const struct cmd *cmd, int letter, char **argv,
			   struct cmd_acquisition *acquisition)
{
	struct redmutex_acquire_options *options = &acquisition->options;
	int status = 0;

	switch (letter) {
	case 'n':
		options->wait_ms = 0;
		break;
	case 'w':
		status = cmd_seconds(cmd, "-w", 0, CMD_MS_MAX, &options->wait_ms);
		break;
	case 't':
		status = cmd_seconds(cmd, "-t", CMD_TTL_MIN_MS, CMD_MS_MAX, &options->ttl_ms);
		break;
	case 'E':
		status = cmd_number(cmd, "-E", 0, 255, &acquisition->busy_status);
		break;
	case OPTION_HELP:
		return cmd_help(cmd);
	default:
		return cmd_bad_option(cmd, letter, argv);
	}
	return status == 0 ? -1 : status;
}

/* ---- the daemon ---- */

static const char *socket_path(void)
{
	const char *path = cmd_socket != NULL ? cmd_socket : getenv("REDMUTEX_SOCKET");

	return path != NULL && path[0] != '\0' ? path : REDMUTEX_DEFAULT_SOCKET;
}

/* The group whose members may use the socket; read without the name service, which would be slow.
 */
static void print_group(const char *path)
{
	struct stat st;
	struct group *group;
	FILE *file;

	if (stat(path, &st) < 0) {
		fprintf(stderr, "you may not enter its folder");
		return;
	}
	fprintf(stderr, "you are not in the group ");
	file = fopen("/etc/group", "re");
	while (file != NULL && (group = fgetgrent(file)) != NULL) {
		if (group->gr_gid == st.st_gid) {
			fprintf(stderr, "%s of this socket; %s%s%s", group->gr_name,
				st.st_gid == 0 ? "set socket_group in redmutexd.ini to one for its "
						 "users, and restart the daemon"
					       : "try: adduser YOU ",
				st.st_gid == 0 ? "" : group->gr_name,
				st.st_gid == 0 ? "" : ", and log in again");
			fclose(file);
			return;
		}
	}
	if (file != NULL)
		fclose(file);
	fprintf(stderr, "%ld of this socket", (long)st.st_gid);
}

int cmd_connect(redmutex_t **rm)
{
	int error = redmutex_connect(rm, cmd_socket, NULL);
	int saved = errno;

	if (error == 0)
		return 0;
	if (error == REDMUTEX_EDENIED) {
		fprintf(stderr,
			"redmutex: cannot connect to %s: permission denied: ", socket_path());
		print_group(socket_path());
		fputc('\n', stderr);
	} else if (error == REDMUTEX_ECONNECT && (saved == ENOENT || saved == ECONNREFUSED)) {
		fprintf(stderr,
			"redmutex: cannot connect to %s: %s; is redmutexd running? try: systemctl "
			"status redmutexd\n",
			socket_path(), strerror(saved));
	} else {
		fprintf(stderr, "redmutex: %s\n", redmutex_error_text(NULL));
	}
	return redmutex_exit_status(error);
}

/* What a person can do about an error, or NULL. */
static const char *advice(int error)
{
	switch (error) {
	case REDMUTEX_EUNKNOWN_MUTEX:
		return "add a section for it to redmutexd.ini, or see: redmutex list";
	case REDMUTEX_EUNSUPPORTED:
	case REDMUTEX_EUNKNOWN_COMMAND:
		return "redmutex and redmutexd are of different versions; restart the daemon";
	case REDMUTEX_ECLOSED:
	case REDMUTEX_ETIMEDOUT:
		return "try: systemctl status redmutexd";
	default:
		return NULL;
	}
}

int cmd_failed(redmutex_t *rm, const char *subject, int error, const char *text)
{
	fflush(stdout);
	fprintf(stderr, "redmutex: ");
	if (subject != NULL)
		fprintf(stderr, "%s: ", subject);
	fprintf(stderr, "%s", text[0] != '\0' ? text : redmutex_strerror(error));
	if (advice(error) != NULL)
		fprintf(stderr, "; %s", advice(error));
	fputc('\n', stderr);
	redmutex_close(rm);
	return redmutex_exit_status(error);
}

int cmd_finish(redmutex_t *rm, int status)
{
	redmutex_close(rm);
	if (fflush(stdout) != 0 || ferror(stdout)) {
		fprintf(stderr, "redmutex: cannot write the output: %s\n", strerror(errno));
		return EXIT_OUTPUT;
	}
	return status;
}

/* ---- output ---- */

/* The length of the UTF-8 sequence that begins here, or 0 when there is none. */
static size_t utf8_length(const unsigned char *at)
{
	size_t len = at[0] >= 0xf0 && at[0] < 0xf5   ? 4
		     : at[0] >= 0xe0 && at[0] < 0xf0 ? 3
		     : at[0] >= 0xc2 && at[0] < 0xe0 ? 2
						     : 0;

	for (size_t i = 1; i < len; i++)
		if ((at[i] & 0xc0) != 0x80)
			return 0;
	if ((at[0] == 0xe0 && at[1] < 0xa0) || (at[0] == 0xed && at[1] > 0x9f) ||
	    (at[0] == 0xf0 && at[1] < 0x90) || (at[0] == 0xf4 && at[1] > 0x8f))
		return 0;
	return len;
}

void json_string(const char *text)
{
	const unsigned char *at = (const unsigned char *)text;
	size_t len;

	putchar('"');
	while (*at != '\0') {
		if (*at == '"' || *at == '\\') {
			printf("\\%c", *at++);
		} else if (*at < 0x20 || *at == 0x7f) {
			printf("\\u%04x", *at++);
		} else if (*at < 0x80) {
			putchar(*at++);
		} else if ((len = utf8_length(at)) > 0) {
			fwrite(at, 1, len, stdout);
			at += len;
		} else {
			fputs("\\ufffd", stdout);
			at++;
		}
	}
	putchar('"');
}

static void json_number(const char *key, int64_t number)
{
	if (number >= 0)
		printf(",\"%s\":%lld", key, (long long)number);
}

static void json_text(const char *key, const char *text)
{
	if (text[0] == '\0')
		return;
	printf(",\"%s\":", key);
	json_string(text);
}

static const char *holder_word(int holder)
{
	return holder == REDMUTEX_HOLDER_HERE	     ? "here"
	       : holder == REDMUTEX_HOLDER_ELSEWHERE ? "elsewhere"
						     : "none";
}

void json_info(const struct redmutex_info *info)
{
	printf("{\"name\":");
	json_string(info->name);
	printf(",\"locked\":%s,\"holder\":\"%s\"",
	       info->locked == REDMUTEX_LOCKED		 ? "true"
	       : info->locked == REDMUTEX_LOCKED_UNKNOWN ? "null"
							 : "false",
	       holder_word(info->holder));
	json_number("waiters", info->waiters);
	json_number("pid", info->pid);
	json_number("uid", info->uid);
	json_text("comm", info->comm);
	json_text("note", info->note);
	json_number("held_ms", info->held_ms);
	json_number("ttl_ms", info->ttl_ms);
	json_number("fence", info->fence);
	json_text("owner", info->owner);
	json_text("host", info->host);
	json_text("user", info->user);
	json_number("members", info->members);
	putchar('}');
}

/* Text that somebody else chose, without what a terminal would obey. */
static void put_plain(FILE *to, const char *text)
{
	for (; *text != '\0'; text++)
		fputc((unsigned char)*text < 0x20 || *text == 0x7f ? '?' : *text, to);
}

void info_holder(const struct redmutex_info *info, char *out, size_t size)
{
	FILE *to = fmemopen(out, size, "w");

	out[0] = '\0';
	if (to == NULL)
		return;
	if (info->locked == REDMUTEX_LOCKED_UNKNOWN)
		fputs("its store does not answer", to);
	else if (info->locked == REDMUTEX_FREE)
		fputs("free", to);
	else
		fputs(info->holder == REDMUTEX_HOLDER_HERE ? "held here" : "held elsewhere", to);
	if (info->host[0] != '\0') {
		fputs(" on ", to);
		put_plain(to, info->host);
	}
	if (info->pid >= 0)
		fprintf(to, " by pid %lld", (long long)info->pid);
	if (info->comm[0] != '\0') {
		fputs(" (", to);
		put_plain(to, info->comm);
		fputc(')', to);
	}
	if (info->user[0] != '\0') {
		fputs(" of ", to);
		put_plain(to, info->user);
	} else if (info->uid >= 0) {
		fprintf(to, " of uid %lld", (long long)info->uid);
	}
	if (info->held_ms >= 0)
		fprintf(to, " for %lld.%lld s", (long long)info->held_ms / 1000,
			(long long)info->held_ms % 1000 / 100);
	if (info->note[0] != '\0') {
		fputs(": ", to);
		put_plain(to, info->note);
	}
	fclose(to);
	out[size - 1] = '\0';
}

bool is_screen(int fd)
{
	const char *term = getenv("TERM");

	return isatty(fd) && term != NULL && term[0] != '\0' && strcmp(term, "dumb") != 0;
}

bool has_colours(void)
{
	const char *no_color = getenv("NO_COLOR");

	return is_screen(STDOUT_FILENO) && (no_color == NULL || no_color[0] == '\0');
}

size_t columns_cut(const char *text, int columns, int wide)
{
	size_t len = 0;

	for (; text[len] != '\0'; len++) {
		if (((unsigned char)text[len] & 0xc0) == 0x80)
			continue;
		columns -= (unsigned char)text[len] < 0x80 ? 1 : wide;
		if (columns < 0)
			break;
	}
	return len;
}

/* A line in a colour, cut to as many columns, if that is not 0. */
static void put_line(const char *line, const char *colour, int width)
{
	int len = (int)(width > 0 ? columns_cut(line, width, 1) : strlen(line));

	if (colour[0] == '\0' || !has_colours())
		printf("%.*s", len, line);
	else
		printf("\033[%sm%.*s\033[m", colour, len, line);
	putchar('\n');
}

void table_head(int width)
{
	char line[128];

	snprintf(line, sizeof(line), "%-32s %-9s %7s %8s  %s", "NAME", "LOCKED", "WAITING", "LEFT",
		 "HOLDER");
	put_line(line, "1", width);
}

/* Waited for: yellow; not known: red; nothing to see: dim. */
static const char *row_colour(const struct redmutex_info *info)
{
	if (info->members >= 0)
		return "2";
	if (info->locked == REDMUTEX_LOCKED_UNKNOWN)
		return "31";
	if (info->waiters > 0)
		return "33";
	return info->locked == REDMUTEX_FREE ? "2" : "";
}

void table_row(const struct redmutex_info *info, int width)
{
	char holder[512], left[32] = "-", line[1024], *by;
	bool locked = info->locked != REDMUTEX_FREE;

	if (info->ttl_ms >= 0)
		snprintf(left, sizeof(left), "%lld s", (long long)info->ttl_ms / 1000);
	info_holder(info, holder, sizeof(holder));
	/* Where it is held has a column of its own. */
	if (strncmp(holder, "held ", 5) == 0 && (by = strchr(holder + 5, ' ')) != NULL)
		memmove(holder, by + 1, strlen(by));
	if (info->members >= 0)
		snprintf(holder, sizeof(holder), "a family, %lld in use", (long long)info->members);
	snprintf(line, sizeof(line), "%-32s %-9s %7lld %8s  %s", info->name,
		 info->members >= 0			   ? "-"
		 : info->locked == REDMUTEX_LOCKED	   ? holder_word(info->holder)
		 : info->locked == REDMUTEX_LOCKED_UNKNOWN ? "unknown"
							   : "no",
		 (long long)(info->waiters < 0 ? 0 : info->waiters), left,
		 locked || info->members >= 0 ? holder : "-");
	put_line(line, row_colour(info), width);
}
