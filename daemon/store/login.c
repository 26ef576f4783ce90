/* SPDX-License-Identifier: MIT */
/* Who we are to a server: the AUTH that begins a connection. */
#include "config.h"

#include "store/login.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { PASSWORD_MAX = 4096 };

/* Return: the password's length, or -1 and why not. */
static ssize_t login_read_file(const char *path, char *password, char *why, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	ssize_t len = fd < 0 ? -1 : read(fd, password, PASSWORD_MAX + 1);
	int error = errno;

	if (fd >= 0)
		close(fd);
	if (len < 0) {
		snprintf(why, size, "password_file '%s' can't be read: %s", path, strerror(error));
		return -1;
	}
	if (len > PASSWORD_MAX) {
		snprintf(why, size, "password_file '%s' is longer than %d bytes", path,
			 PASSWORD_MAX);
		return -1;
	}
	if (len > 0 && password[len - 1] == '\n')
		len--;
	if (len > 0 && password[len - 1] == '\r')
		len--;
	return len;
}

bool login_write(const struct login *login, struct resp *out, unsigned *n_replies, char *why,
		 size_t size)
{
	char from_file[PASSWORD_MAX + 1];
	const char *password = login->password;
	ssize_t len = password ? (ssize_t)strlen(password) : 0;

	*n_replies = 0;
	if (login->password_file) {
		password = from_file;
		len = login_read_file(login->password_file, from_file, why, size);
	}
	if (password && len >= 0) {
		resp_command(out, login->user ? 3 : 2);
		resp_text(out, "AUTH");
		if (login->user)
			resp_text(out, login->user);
		resp_bytes(out, password, (size_t)len);
		*n_replies = 1;
	}
	explicit_bzero(from_file, sizeof(from_file));
	return len >= 0;
}
