/* SPDX-License-Identifier: MIT */
#ifndef REDMUTEXD_STORE_LOGIN_H
#define REDMUTEXD_STORE_LOGIN_H
/* Who we are to a server: the AUTH that begins a connection. */
#include <stdbool.h>
#include <stddef.h>

#include "store/resp.h"

/* All borrowed; NULL: not given. At most one of the passwords is. */
struct login {
	const char *user;
	const char *password;
	const char *password_file; /* read at every connect, so that a password can be changed */
};

/*
 * login_write - write the AUTH
 * @n_replies: set to the number of replies to it, 0 or 1
 * @why: on failure, what is wrong with the password file
 *
 * Return: false when the password cannot be read.
 */
bool login_write(const struct login *login, struct resp *out, unsigned *n_replies, char *why,
		 size_t size);

#endif
