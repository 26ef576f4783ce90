/* SPDX-License-Identifier: MIT */
#ifndef REDMUTEX_PROTO_REQUEST_H
#define REDMUTEX_PROTO_REQUEST_H
/* A request line, as a struct and back. */
#include "proto/proto.h"

enum request_owner {
	REQUEST_OWNER_CONNECTION, /* the default */
	REQUEST_OWNER_NONE,
	REQUEST_OWNER_PID,
};

/*
 * One request. The spans are borrowed from the line that was parsed, or from whoever fills the
 * struct to have it written.
 */
struct request {
	enum verb verb;
	struct span tag;     /* empty: none, the request is a barrier */
	struct span name;    /* ACQUIRE, RELEASE, EXISTS, EXTEND, INFO, BREAK */
	struct span lock;    /* RELEASE, EXTEND */
	struct span target;  /* CANCEL: the tag to cancel */
	struct span pattern; /* LIST; empty: all */
	unsigned given;	     /* 1 << OPTION_x for each option that stood in the line */
	int64_t protocol;    /* HELLO */
	int64_t wait_ms;     /* ACQUIRE: 0 by default, or PROTO_WAIT_FOREVER */
	int64_t ttl_ms;	     /* ACQUIRE, EXTEND: 0 when not given */
	bool renew;	     /* meaningful only if given */
	enum request_owner owner;
	int64_t owner_pid;	       /* REQUEST_OWNER_PID: at least 1 */
	char note[PROTO_NOTE_MAX + 1]; /* decoded, terminated; empty when not given */
};

/*
 * request_parse - a line to a request
 * @line: from line_next(), not empty
 * @request: out; on failure only `tag` is set, so that the refusal can echo it (it stays empty
 *	when the line had none, or one that is malformed)
 * @why, @why_size: on failure, what is wrong and what is expected, for the text of the refusal;
 *	printable ASCII
 *
 * Return: PROTO_OK, PROTO_E_SYNTAX or PROTO_E_UNKNOWN_COMMAND. A HELLO with another protocol number
 * is well-formed; refusing it (PROTO_E_UNSUPPORTED) is the daemon's business.
 */
enum proto_error request_parse(struct span line, struct request *request, char *why,
			       size_t why_size);

/*
 * request_format - a request to a line, its LF included
 * @request: options are written if their bit is set in `given`
 *
 * Return: the length, or -1 when it does not fit into size or into PROTO_LINE_MAX, or when a field
 * is not valid (name_valid() and so on).
 */
int request_format(const struct request *request, char *out, size_t size);

#endif
