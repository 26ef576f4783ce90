/* SPDX-License-Identifier: MIT */
/* Bytes in, lines and words out. */
#include "config.h"

#include "proto/line.h"

#include <string.h>

enum line_status line_next(struct span *bytes, size_t limit, struct span *line)
{
	size_t within = bytes->len < limit ? bytes->len : limit;
	const char *start = bytes->at;
	const char *end = within > 0 ? memchr(start, '\n', within) : NULL;

	if (end == NULL)
		return bytes->len < limit ? LINE_PARTIAL : LINE_TOO_LONG;

	bytes->len -= (size_t)(end + 1 - start);
	bytes->at = end + 1;

	if (end > start && end[-1] == '\r')
		end--;
	while (end > start && end[-1] == ' ')
		end--;
	while (start < end && *start == ' ')
		start++;
	line->at = start;
	line->len = (size_t)(end - start);
	return LINE_READY;
}

struct span word_next(struct span *line)
{
	const char *start = line->at;
	const char *end = start + line->len;
	const char *stop;

	while (start < end && *start == ' ')
		start++;
	stop = start < end ? memchr(start, ' ', (size_t)(end - start)) : NULL;
	if (stop == NULL)
		stop = end;
	line->at = stop;
	line->len = (size_t)(end - stop);
	return (struct span){start, (size_t)(stop - start)};
}
