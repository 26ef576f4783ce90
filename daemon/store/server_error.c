/* SPDX-License-Identifier: MIT */
/* What the error replies of a Redis server mean for a command. */
#include "config.h"

#include "store/server_error.h"

#include <stddef.h>
#include <string.h>

/* First words (https://redis.io/docs/latest/develop/reference/protocol-spec/#simple-errors). */
static const struct {
	const char *word;
	enum server_error class;
} words[] = {
	{"LOADING", SERVER_ERROR_BUSY},	      {"OOM", SERVER_ERROR_BUSY},
	{"BUSY", SERVER_ERROR_BUSY},	      {"CLUSTERDOWN", SERVER_ERROR_BUSY},
	{"NOREPLICAS", SERVER_ERROR_BUSY},    {"MISCONF", SERVER_ERROR_BUSY},
	{"TRYAGAIN", SERVER_ERROR_REDIRECT},  {"READONLY", SERVER_ERROR_REPLICA},
	{"MASTERDOWN", SERVER_ERROR_REPLICA}, {"NOAUTH", SERVER_ERROR_LOGIN},
	{"WRONGPASS", SERVER_ERROR_LOGIN},    {"NOPERM", SERVER_ERROR_DENIED},
	{"WRONGTYPE", SERVER_ERROR_DENIED},   {"DENIED", SERVER_ERROR_DENIED},
	{"CROSSSLOT", SERVER_ERROR_DENIED},   {"FENCE", SERVER_ERROR_DENIED}, /* our own scripts' */
	{"NOSCRIPT", SERVER_ERROR_NO_SCRIPT}, {"MOVED", SERVER_ERROR_REDIRECT},
	{"ASK", SERVER_ERROR_REDIRECT},
};

/* What is told apart only by the text after ERR. */
static const struct {
	const char *part;
	enum server_error class;
} phrases[] = {
	{"invalid password", SERVER_ERROR_LOGIN},
	{"ERR AUTH ", SERVER_ERROR_LOGIN},
	{"no password is set", SERVER_ERROR_LOGIN},
	{"max number of clients", SERVER_ERROR_BUSY},
	{"unknown command", SERVER_ERROR_NO_COMMAND},
	{"nknown subcommand", SERVER_ERROR_NO_COMMAND},
	{"DB index is out of range", SERVER_ERROR_DENIED},
	/* Permissions that a script lacks: Redis 7, then Redis 6. */
	{"ACL failure in script", SERVER_ERROR_DENIED},
	{"can't run this command", SERVER_ERROR_DENIED},
	{"can't access at least one of the keys", SERVER_ERROR_DENIED},
	/* Of a script that was let in by its first key: the others have moved already, or not yet.
	 */
	{"attempted to access a non local key", SERVER_ERROR_REDIRECT},
};

void server_error_trim(char *text)
{
	char *repeated = strstr(text, ", with args beginning");

	if (repeated)
		explicit_bzero(repeated, strlen(repeated));
}

enum server_error server_error_classify(const char *text)
{
	static const char wrapper[] = "ERR Error running script";
	size_t len = strcspn(text, " ");

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		if (strlen(words[i].word) == len && strncmp(text, words[i].word, len) == 0)
			return words[i].class;
	}
	for (size_t i = 0; i < sizeof(phrases) / sizeof(phrases[0]); i++) {
		if (strstr(text, phrases[i].part))
			return phrases[i].class;
	}
	if (strncmp(text, wrapper, sizeof(wrapper) - 1) == 0) {
		for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
			const char *at = strstr(text, words[i].word);

			/* "...: -OOM command not allowed", "...: WRONGTYPE Operation" */
			if (at && (at[-1] == ' ' || at[-1] == '-') &&
			    at[strlen(words[i].word)] == ' ')
				return words[i].class;
		}
	}
	return SERVER_ERROR_OTHER;
}
