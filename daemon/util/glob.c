/* SPDX-License-Identifier: MIT */
/* Patterns with `*`, matched greedily: only the last star ever has to be tried again. */
#include "config.h"

#include "util/glob.h"

bool glob_matches(const char *pattern, const char *text, size_t len)
{
	const char *const end = text + len;
	const char *star = NULL;   /* behind the last star */
	const char *resume = NULL; /* where the text goes on if that star takes one more */

	while (text < end) {
		if (*pattern == '*') {
			star = ++pattern;
			resume = text;
		} else if (*pattern && *pattern == *text) {
			pattern++;
			text++;
		} else if (star) {
			pattern = star;
			text = ++resume;
		} else {
			return false;
		}
	}
	while (*pattern == '*')
		pattern++;
	return *pattern == '\0';
}
