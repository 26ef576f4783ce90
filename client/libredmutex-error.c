/* SPDX-License-Identifier: MIT */
/* Errors: numbers to names, sentences and exit statuses, and the last words of each thread. */
#include "config.h"

#include "client/libredmutex.h"

#include <stdarg.h>
#include <stdio.h>

/* The numbers are the ABI: a code that proto/errors.def gains goes to its end, and gets the next.
 */
#define ERROR(id, word, text, status)                                                              \
	_Static_assert(REDMUTEX_E##id == -(int)PROTO_E_##id, "redmutex.h and errors.def "          \
							     "disagree");
#include "proto/errors.def"
#undef ERROR
_Static_assert(N_PROTO_ERRORS == 14, "redmutex.h lacks a code of errors.def");

/* Errors that no daemon sends. */
static const struct {
	int error;
	const char *name;
	const char *text;
	int exit_status;
} local_errors[] = {
	{REDMUTEX_OK, "ok", "success", 0},
	{REDMUTEX_EFORKED, "forked", "the connection belongs to the parent process", 70},
	{REDMUTEX_ECONNECT, "connect", "cannot connect to the daemon", 69},
	{REDMUTEX_ECLOSED, "closed", "the connection to the daemon was lost", 69},
	{REDMUTEX_ETIMEDOUT, "timed_out", "the daemon did not answer in time", 69},
	{REDMUTEX_EINVAL, "invalid", "an argument is malformed", 64},
	{REDMUTEX_ENOMEM, "no_memory", "out of memory", 71},
};

static _Thread_local struct {
	const struct redmutex *rm;
	char text[RM_TEXT_SIZE];
} last;

int rm_error_from_proto(enum proto_error error)
{
	return -(int)error;
}

static bool from_proto(int error)
{
	return error < 0 && error > -(int)N_PROTO_ERRORS;
}

/* Return: the row of a local error; of one that is not known, -1. */
static int local_find(int error)
{
	for (size_t i = 0; i < sizeof(local_errors) / sizeof(*local_errors); i++)
		if (local_errors[i].error == error)
			return (int)i;
	return -1;
}

const char *redmutex_strerror(int error)
{
	int row = local_find(error);

	if (from_proto(error))
		return proto_error_text((enum proto_error) - error);
	return row < 0 ? "unknown error" : local_errors[row].text;
}

const char *redmutex_error_name(int error)
{
	int row = local_find(error);

	if (from_proto(error))
		return proto_error_word((enum proto_error) - error);
	return row < 0 ? "unknown" : local_errors[row].name;
}

int redmutex_exit_status(int error)
{
	int row = local_find(error);

	if (from_proto(error))
		return proto_error_exit_status((enum proto_error) - error);
	return row < 0 ? 70 : local_errors[row].exit_status;
}

int rm_error_note(const struct redmutex *rm, int error, const char *format, ...)
{
	va_list args;

	last.rm = rm;
	va_start(args, format);
	vsnprintf(last.text, sizeof(last.text), format, args);
	va_end(args);
	return error;
}

const char *redmutex_error_text(const redmutex_t *rm)
{
	return rm == NULL || rm == last.rm ? last.text : "";
}
