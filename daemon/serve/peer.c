/* SPDX-License-Identifier: MIT */
/* Credentials of peers, and what /proc says of processes. */
#include "config.h"

#include "serve/peer.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#ifndef SO_PEERGROUPS
#define SO_PEERGROUPS 59
#endif

int peer_init(struct peer *peer, int fd)
{
	struct ucred cred;
	socklen_t len = sizeof(cred);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0)
		return -errno;
	*peer = (struct peer){.pid = cred.pid, .uid = cred.uid, .gid = cred.gid};
	return 0;
}

void peer_deinit(struct peer *peer)
{
	free(peer->groups);
	peer->groups = NULL;
	peer->n_groups = 0;
}

const gid_t *peer_groups(struct peer *peer, int fd, size_t *n)
{
	socklen_t len = 0;
	gid_t *groups;

	*n = 1;
	if (!peer->groups) {
		/* The first call fails and says how much there is; it does not change any more. */
		getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, NULL, &len);
		groups = malloc(sizeof(*groups) + len);
		if (!groups)
			return &peer->gid;
		if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups + 1, &len) < 0)
			len = 0;
		groups[0] = peer->gid;
		peer->groups = groups;
		peer->n_groups = 1 + len / sizeof(*groups);
	}
	*n = peer->n_groups;
	return peer->groups;
}

bool peer_in_group(struct peer *peer, int fd, gid_t group)
{
	size_t n;
	const gid_t *groups = peer_groups(peer, fd, &n);

	for (size_t i = 0; i < n; i++) {
		if (groups[i] == group)
			return true;
	}
	return false;
}

/* Reads a small file under /proc. Return: its length, terminated; or -1. */
static ssize_t proc_read(pid_t pid, const char *file, char *out, size_t size)
{
	char path[64];
	ssize_t len;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, file);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	len = read(fd, out, size - 1);
	close(fd);
	if (len >= 0)
		out[len] = '\0';
	return len;
}

bool process_status(pid_t pid, uid_t *uid, bool *same_namespace)
{
	char text[4096];
	const char *field;
	char *end;

	if (proc_read(pid, "status", text, sizeof(text)) <= 0)
		return false;
	field = strstr(text, "\nUid:");
	if (!field)
		return false;
	*uid = (uid_t)strtoul(field + strlen("\nUid:"), NULL, 10);

	/* One number for each namespace from the one of this /proc down to the process's own. */
	field = strstr(text, "\nNSpid:");
	if (!field)
		return false;
	strtol(field + strlen("\nNSpid:"), &end, 10);
	*same_namespace = *end == '\n';
	return true;
}

bool process_born(pid_t pid, uint64_t *born)
{
	char text[1024];
	const char *field;

	if (proc_read(pid, "stat", text, sizeof(text)) <= 0)
		return false;
	/* The name, field 2, may hold anything, but what follows it does not; see proc(5). */
	field = strrchr(text, ')');
	for (int i = 2; field && i < 22; i++)
		field = strchr(field + 1, ' ');
	if (!field)
		return false;
	*born = strtoull(field + 1, NULL, 10);
	return true;
}

bool process_comm(pid_t pid, char *out, size_t size)
{
	ssize_t len = pid > 0 ? proc_read(pid, "comm", out, size) : -1;

	if (len <= 0)
		return false;
	if (out[len - 1] == '\n')
		out[len - 1] = '\0';
	return true;
}
