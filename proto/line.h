/* SPDX-License-Identifier: MIT */
#ifndef REDMUTEX_PROTO_LINE_H
#define REDMUTEX_PROTO_LINE_H
/*
 * Bytes in, lines out. Keeps nothing: the caller owns the bytes, and carries what is left of them
 * over to the next call together with what it has read since.
 */
#include "proto/proto.h"

enum line_status {
	LINE_READY,    /* *line is a line, without its LF, CR and outer spaces; it may be empty */
	LINE_PARTIAL,  /* no LF yet: read more */
	LINE_TOO_LONG, /* the limit is passed: no line can be had from these bytes any more */
};

/*
 * line_next - take the first line off some bytes
 * @bytes: in: all that is unread; out: what follows the line (untouched unless LINE_READY)
 * @limit: the longest line allowed, its LF counted: PROTO_LINE_MAX or PROTO_REPLY_MAX
 * @line: out: borrowed from bytes
 */
enum line_status line_next(struct span *bytes, size_t limit, struct span *line);

/*
 * word_next - take the first space-separated word off a line
 * @line: in and out
 *
 * Return: the word; len 0 when there is none left.
 */
struct span word_next(struct span *line);

#endif
