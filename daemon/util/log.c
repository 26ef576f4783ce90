/* SPDX-License-Identifier: MIT */
/* Log lines to standard error or to the journal. */
#include "config.h"

#include "util/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#ifdef HAVE_LIBSYSTEMD
#define SD_JOURNAL_SUPPRESS_LOCATION
#include <systemd/sd-journal.h>
#endif

enum {
	TEXT_MAX = 2048, /* bytes of a formatted text; what is longer is cut */
	WORD_MAX = 16,	 /* "warning: " and the LF */
};

static const char *const level_words[] = {
	[LOG_LEVEL_ERROR] = "error",
	[LOG_LEVEL_WARNING] = "warning",
	[LOG_LEVEL_INFO] = "info",
	[LOG_LEVEL_DEBUG] = "debug",
};

static enum log_level wanted_level = LOG_LEVEL_INFO;
#ifdef HAVE_LIBSYSTEMD
static bool to_journal;
#endif

void log_set_level(enum log_level level)
{
	wanted_level = level;
}

bool log_wants(enum log_level level)
{
	return level <= wanted_level;
}

void log_open(void)
{
#ifdef HAVE_LIBSYSTEMD
	/* systemd tells which stream the journal reads; ours may have been redirected since. */
	const char *stream = getenv("JOURNAL_STREAM");
	unsigned long long device, inode;
	struct stat st;

	to_journal = stream && sscanf(stream, "%llu:%llu", &device, &inode) == 2 &&
		     fstat(STDERR_FILENO, &st) == 0 && st.st_dev == device && st.st_ino == inode;
#endif
}

/*
 * Copies text with everything that is not printable ASCII as \xNN, so that no client can forge a
 * line or talk to the terminal of who reads it. `out` has room for four bytes a byte.
 */
static size_t text_escape(char *out, const char *text, size_t len)
{
	static const char digits[] = "0123456789abcdef";
	char *at = out;

	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)text[i];

		if (c >= ' ' && c <= '~') {
			*at++ = (char)c;
			continue;
		}
		*at++ = '\\';
		*at++ = 'x';
		*at++ = digits[c >> 4];
		*at++ = digits[c & 15];
	}
	return (size_t)(at - out);
}

/* One write a line, so that lines of several processes on one terminal or pipe do not mix. */
static void stderr_write(enum log_level level, const char *text, size_t len)
{
	char line[WORD_MAX + 4 * TEXT_MAX];
	size_t n = (size_t)snprintf(line, WORD_MAX, "%s: ", level_words[level]);

	n += text_escape(line + n, text, len);
	line[n++] = '\n';
	while (write(STDERR_FILENO, line, n) < 0 && errno == EINTR)
		continue;
}

#ifdef HAVE_LIBSYSTEMD
static bool journal_write(enum log_level level, const struct log_about *about, const char *text,
			  size_t len)
{
	static const char head[] = "MESSAGE=";
	char message[sizeof(head) + 4 * TEXT_MAX], priority[24], pid[24], mutex[256], store[1024];
	struct iovec fields[5];
	int n = 0, size;

	/* syslog(3)'s numbers: err, warning, info, debug. */
	static const int priorities[] = {
		[LOG_LEVEL_ERROR] = 3,
		[LOG_LEVEL_WARNING] = 4,
		[LOG_LEVEL_INFO] = 6,
		[LOG_LEVEL_DEBUG] = 7,
	};

	memcpy(message, head, sizeof(head) - 1);
	fields[n].iov_base = message;
	fields[n++].iov_len = sizeof(head) - 1 + text_escape(message + sizeof(head) - 1, text, len);
	size = snprintf(priority, sizeof(priority), "PRIORITY=%d", priorities[level]);
	fields[n].iov_base = priority;
	fields[n++].iov_len = (size_t)size;
	if (about && about->mutex) {
		size = snprintf(mutex, sizeof(mutex), "MUTEX=%s", about->mutex);
		fields[n].iov_base = mutex;
		fields[n++].iov_len = strnlen(mutex, (size_t)size);
	}
	if (about && about->store) {
		size = snprintf(store, sizeof(store), "STORE=%s", about->store);
		fields[n].iov_base = store;
		fields[n++].iov_len = strnlen(store, (size_t)size);
	}
	if (about && about->pid) {
		size = snprintf(pid, sizeof(pid), "PID=%d", about->pid);
		fields[n].iov_base = pid;
		fields[n++].iov_len = (size_t)size;
	}
	return sd_journal_sendv(fields, n) == 0;
}
#endif

void log_write(enum log_level level, const struct log_about *about, const char *format, ...)
{
	char text[TEXT_MAX + 1];
	int saved = errno;
	va_list args;
	size_t len;

	if (!log_wants(level))
		return;
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	len = strlen(text);
#ifdef HAVE_LIBSYSTEMD
	if (to_journal && journal_write(level, about, text, len)) {
		errno = saved;
		return;
	}
#else
	(void)about;
#endif
	stderr_write(level, text, len);
	errno = saved;
}
