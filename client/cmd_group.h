/* SPDX-License-Identifier: MIT */
#ifndef REDMUTEX_CMD_GROUP_H
#define REDMUTEX_CMD_GROUP_H
/* For `redmutex run`: the command's process group, and the guard that kills it if we can't. */
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/*
 * The guard: a process with a copy of the connection, in a group of its own. When `run` ends
 * without having said so (SIGKILL), it kills the command's group and ends when that is gone; only
 * then does the daemon see the connection end, and release the lock. It kills the group as well
 * when `run` lets a time pass by which the group should have ended: `run` was stopped then.
 *
 * It does not have our name, nor our arguments: who kills by those kills `run`, and must leave the
 * one that cleans up behind it.
 */
struct guard {
	pid_t pid;   /* 0: there is none */
	int pipe_fd; /* to it; its end is what it takes for our death */
};
#define GUARD_NAME "rmx-guard"

/*
 * guard_start - fork the guard
 * @connection_fd: of which it keeps a copy
 *
 * All signals must be blocked. Return: 0, or -1 with errno.
 */
int guard_start(struct guard *guard, int connection_fd);
/* guard_lives - is it there? If not, it is reaped. */
bool guard_lives(const struct guard *guard);
/*
 * guard_watch - tell it which group to kill
 * @until_us: the group must be gone then, as redmutex_now_us() counts; INT64_MAX: for now it need
 *	not
 *
 * Async-signal-safe. Return: 0, or -1: it is dead.
 */
int guard_watch(const struct guard *guard, pid_t group, int64_t until_us);
/* guard_stop - there is nothing left to guard: end it. It may take its time until guard_reap(). */
void guard_stop(struct guard *guard);
void guard_reap(struct guard *guard);

/* What to start. */
struct command {
	char **argv;
	sigset_t signals; /* blocked in the command: those that were blocked in us */
	bool terminal;	  /* hand the terminal over to it */
	int64_t until_us; /* for guard_watch() */
};

/*
 * group_start - start the command as the leader of a new process group
 *
 * It is known to the guard before it runs. Return: 0, or an errno when it could not be executed.
 */
int group_start(const struct command *command, const struct guard *guard, pid_t *group);
/* group_signal - to all of it; it is continued if it is stopped and the signal is to end it */
void group_signal(pid_t group, int signo);
/*
 * group_gone - has it no living member? The dead ones that nobody has reaped yet do not count.
 */
bool group_gone(pid_t group);

#endif
