/* SPDX-License-Identifier: MIT */
/* Counts for each user. */
#include "config.h"

#include "serve/user.h"

#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>

#include "util/alloc.h"

struct user *user_enter(struct user **users, uid_t uid)
{
	struct user *user;

	HASH_FIND(hh, *users, &uid, sizeof(uid), user);
	if (!user) {
		user = xcalloc(1, sizeof(*user));
		user->uid = uid;
		HASH_ADD(hh, *users, uid, sizeof(uid), user);
	}
	user->n_sessions++;
	user->n_clients++;
	return user;
}

void user_leave(struct user **users, struct user *user)
{
	if (--user->n_sessions > 0)
		return;
	HASH_DELETE(hh, *users, user);
	free(user->name);
	free(user);
}

unsigned user_n_clients(struct user *users, uid_t uid)
{
	struct user *user;

	HASH_FIND(hh, users, &uid, sizeof(uid), user);
	return user ? user->n_clients : 0;
}

const char *user_name(struct user *user)
{
	struct passwd *entry;
	FILE *file;

	if (user->name)
		return user->name;
	file = fopen("/etc/passwd", "re");
	while (file && (entry = fgetpwent(file))) {
		if (entry->pw_uid == user->uid) {
			user->name = xstrdup(entry->pw_name);
			break;
		}
	}
	if (file)
		fclose(file);
	if (!user->name)
		user->name = xasprintf("%u", (unsigned)user->uid);
	return user->name;
}
