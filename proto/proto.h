/* SPDX-License-Identifier: MIT */
#ifndef REDMUTEX_PROTO_H
#define REDMUTEX_PROTO_H
/*
 * What both ends of the socket agree on: sizes, verbs, options, error codes. The tables are in
 * verbs.def, options.def and errors.def; PROTOCOL.md is the same in prose. Nothing in proto/ opens
 * a socket, allocates, or remembers more than a line.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	PROTO_VERSION = 1,
	PROTO_LINE_MAX = 1024,	/* bytes of a request line, its LF counted */
	PROTO_REPLY_MAX = 4096, /* bytes of a reply line, its LF counted */
	PROTO_TAG_MAX = 32,
	PROTO_NAME_MAX = 128,
	PROTO_LOCK_LEN = 44,  /* a lock string: 32 bytes in base64 */
	PROTO_NOTE_MAX = 256, /* bytes of a note as sent, percent-encoded */
};

#define PROTO_TTL_MIN_MS INT64_C(10)
#define PROTO_TTL_MAX_MS INT64_C(315360000000) /* ten years */
#define PROTO_WAIT_FOREVER INT64_MAX

enum verb {
#define VERB(id, word, min, max, options) VERB_##id,
#include "verbs.def"
#undef VERB
	N_VERBS
};

enum option {
#define OPTION(id, word) OPTION_##id,
#include "options.def"
#undef OPTION
	N_OPTIONS
};

/* Codes of `ERR` replies. PROTO_OK is none of them: it stands for `OK`. */
enum proto_error {
	PROTO_OK = 0,
#define ERROR(id, word, text, status) PROTO_E_##id,
#include "errors.def"
#undef ERROR
	N_PROTO_ERRORS
};

/* Bytes that belong to somebody else; not terminated. An absent one has len 0. */
struct span {
	const char *at;
	size_t len;
};

/* The word of a verb ("ACQUIRE"), an option ("wait") or an error ("already_locked"). */
const char *verb_word(enum verb verb);
const char *option_word(enum option option);
const char *proto_error_word(enum proto_error error);

/* A sentence for people, for when the daemon sent none; and the exit status of the command line. */
const char *proto_error_text(enum proto_error error);
int proto_error_exit_status(enum proto_error error);

/* The way back. Return the enumerator, or -1 when there is none. Verbs match in any case. */
int verb_find(struct span word);
int option_find(struct span word);
int proto_error_find(struct span word);

#endif
