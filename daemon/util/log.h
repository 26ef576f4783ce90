/* SPDX-License-Identifier: MIT */
#ifndef REDMUTEXD_UTIL_LOG_H
#define REDMUTEXD_UTIL_LOG_H
/*
 * Log lines: events worth waking somebody for, to standard error, or to the journal when that is
 * where standard error goes. Control bytes that came from outside are made harmless.
 */
#include <stdbool.h>
#include <stddef.h>

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARNING, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

/* Call once at start: finds out whether standard error is the journal. */
void log_open(void);
void log_set_level(enum log_level level);
bool log_wants(enum log_level level);

/* What a line is about, for the journal's fields; any member may be NULL. */
struct log_about {
	const char *mutex;
	const char *store;
	int pid; /* of the client; 0: none */
};

void log_write(enum log_level level, const struct log_about *about, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

#define log_error(...) log_write(LOG_LEVEL_ERROR, NULL, __VA_ARGS__)
#define log_warning(...) log_write(LOG_LEVEL_WARNING, NULL, __VA_ARGS__)
#define log_info(...) log_write(LOG_LEVEL_INFO, NULL, __VA_ARGS__)
#define log_debug(...)                                                                             \
	do {                                                                                       \
		if (log_wants(LOG_LEVEL_DEBUG))                                                    \
			log_write(LOG_LEVEL_DEBUG, NULL, __VA_ARGS__);                             \
	} while (0)

#endif
