/* SPDX-License-Identifier: MIT */
/* redmutex: the command line. Finds the subcommand and runs it. */
#include "config.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/cmd.h"

static const struct cmd *const commands[] = {
	&cmd_run,  &cmd_acquire, &cmd_release, &cmd_exists, &cmd_extend, &cmd_info,
	&cmd_list, &cmd_stats,	 &cmd_top,     &cmd_break,  &cmd_ping,
};
enum { N_COMMANDS = sizeof(commands) / sizeof(*commands) };

static void print_commands(FILE *to)
{
	fprintf(to, "usage: redmutex [-s SOCKET] COMMAND ...\n\n");
	for (int i = 0; i < N_COMMANDS; i++)
		fprintf(to, "  %-8s %s\n", commands[i]->name, commands[i]->summary);
	fprintf(to,
		"\nredmutex COMMAND --help says more about each. The socket is that of -s, of "
		"REDMUTEX_SOCKET\nin the environment, or %s.\n",
		REDMUTEX_DEFAULT_SOCKET);
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{"socket", required_argument, NULL, 's'},
		{"help", no_argument, NULL, 'h'},
		{"version", no_argument, NULL, 'V'},
		{NULL, 0, NULL, 0},
	};
	int letter;

	cmd_title = argv[0];
	cmd_title_size = (size_t)(argv[argc - 1] - argv[0]) + strlen(argv[argc - 1]);
	opterr = 0;
	while ((letter = getopt_long(argc, argv, "+:s:hV", options, NULL)) != -1) {
		switch (letter) {
		case 's':
			cmd_socket = optarg;
			if (cmd_socket[0] != '\0')
				break;
			fprintf(stderr, "redmutex: -s needs the path of a socket\n");
			return EXIT_USAGE;
		case 'h':
			print_commands(stdout);
			return cmd_finish(NULL, EXIT_DONE);
		case 'V':
			printf("redmutex %s\n", redmutex_version());
			return cmd_finish(NULL, EXIT_DONE);
		case ':':
			fprintf(stderr, "redmutex: %s needs a value\n", argv[optind - 1]);
			return EXIT_USAGE;
		default:
			fprintf(stderr,
				"redmutex: there is no such option: %s; try: redmutex --help\n",
				argv[optind - 1]);
			return EXIT_USAGE;
		}
	}
	if (optind == argc) {
		print_commands(stderr);
		return EXIT_USAGE;
	}
	for (int i = 0; i < N_COMMANDS; i++) {
		if (strcmp(argv[optind], commands[i]->name) == 0) {
			int at = optind;

			/* Options may stand anywhere; the command of `run` keeps its environment.
			 */
			if (commands[i] != &cmd_run)
				unsetenv("POSIXLY_CORRECT");
			optind = 0; /* glibc: begin anew */
			return commands[i]->run(commands[i], argc - at, argv + at);
		}
	}
	fprintf(stderr, "redmutex: there is no command %s; try: redmutex --help\n", argv[optind]);
	return EXIT_USAGE;
}
