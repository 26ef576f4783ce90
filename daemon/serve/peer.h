/* SPDX-License-Identifier: MIT */
#ifndef REDMUTEXD_SERVE_PEER_H
#define REDMUTEXD_SERVE_PEER_H
/*
 * Who is at the other end of a socket, as the kernel noted it when it connected, and what /proc
 * tells of processes.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct peer {
	pid_t pid; /* 0: it lives in a pid namespace that we cannot see */
	uid_t uid;
	gid_t gid;
	gid_t *groups;	 /* owned; NULL until they were needed */
	size_t n_groups; /* its own, gid, is the first of them */
};

/* Return: 0, or a negative errno. */
int peer_init(struct peer *peer, int fd);
void peer_deinit(struct peer *peer);

/*
 * peer_groups - all groups of the peer, its own and the supplementary ones
 *
 * As the kernel noted them when it connected; asked for once. Only its own if memory is out.
 * Return: borrowed, *n of them.
 */
const gid_t *peer_groups(struct peer *peer, int fd, size_t *n);
bool peer_in_group(struct peer *peer, int fd, gid_t group);

/*
 * process_status - a process's real uid and whether it lives in the daemon's own pid namespace
 *
 * Return: false when there is no such process, or /proc does not show it.
 */
bool process_status(pid_t pid, uid_t *uid, bool *same_namespace);

/*
 * process_born - when it was started, in the kernel's own unit since boot: with its number this
 * tells it from all others of this boot
 *
 * Return: false when there is no such process, or /proc does not show it.
 */
bool process_born(pid_t pid, uint64_t *born);

/* The command's name, terminated. Return: false when it is not known. */
bool process_comm(pid_t pid, char *out, size_t size);

#endif
