/* SPDX-License-Identifier: MIT */
#ifndef REDMUTEXD_CONF_CONF_FILE_H
#define REDMUTEXD_CONF_CONF_FILE_H
/*
 * An INI file as a row of events, with the number of the line to each. Around inih, which by itself
 * cuts long lines and names without a word, ignores what follows a section's bracket, tells no line
 * numbers, reports one fault at most, and treats indented lines otherwise in every release.
 */
#include <stdio.h>

/* What comes out, in the order of the file. Texts are borrowed for the call. */
struct conf_file_events {
	/* [header]: what stands between the brackets. NULL: the line was faulty, and told so. */
	void (*section)(void *arg, const char *header, int line);
	/* key = value, without comment and outer spaces; key is not empty, value may be. */
	void (*entry)(void *arg, const char *key, const char *value, int line);
	/* An indented line that goes on with the entry before; not empty. */
	void (*more)(void *arg, const char *text, int line);
	/* A line that is none of these; it makes no other event (but see section). */
	void (*fault)(void *arg, const char *text, int line);
};

/* Reads to the end. Return: 0, or an errno of the stream. */
int conf_file_read(FILE *file, const struct conf_file_events *events, void *arg);

#endif
