/* SPDX-License-Identifier: MIT */
/* The command's process group, and its guard. */
#include "config.h"

#include "client/cmd_group.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { GUARD_POLL_MS = 2, FDS_MAX = 65536 };

/* ---- the group ---- */

/* Does a line of /proc/N/stat tell of a living member? Its second field may hold anything. */
static bool is_member(const char *stat, pid_t group)
{
	const char *rest = strrchr(stat, ')');
	char state;
	int parent, its_group;

	return rest != NULL && sscanf(rest, ") %c %d %d", &state, &parent, &its_group) == 3 &&
	       its_group == group && state != 'Z' && state != 'X';
}

static bool process_is_member(const char *pid, pid_t group)
{
	char path[64], stat[512];
	ssize_t len;
	int fd;

	snprintf(path, sizeof(path), "/proc/%.20s/stat", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	len = read(fd, stat, sizeof(stat) - 1);
	close(fd);
	if (len <= 0)
		return false;
	stat[len] = '\0';
	return is_member(stat, group);
}

bool group_gone(pid_t group)
{
	struct dirent *entry;
	bool gone = true;
	DIR *proc;

	if (kill(-group, 0) < 0 && errno == ESRCH)
		return true;
	/* It may be that only the dead are left, and that nobody reaps them: a container's pid 1.
	 */
	proc = opendir("/proc");
	if (proc == NULL)
		return false;
	while (gone && (entry = readdir(proc)) != NULL)
		if (entry->d_name[0] >= '1' && entry->d_name[0] <= '9')
			gone = !process_is_member(entry->d_name, group);
	closedir(proc);
	return gone;
}

void group_signal(pid_t group, int signo)
{
	kill(-group, signo);
	if (signo == SIGTERM || signo == SIGHUP)
		kill(-group, SIGCONT);
}

/* In the child of vfork(): shares our memory, and must only call what a signal handler may. */
static void become_command(const struct command *command, const struct guard *guard, pid_t parent)
{
	setpgid(0, 0);
	if (command->terminal)
		tcsetpgrp(STDIN_FILENO, getpid());
	/* Should both `run` and its guard be killed, the command itself goes all the same. */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent || guard_watch(guard, getpid()) < 0) {
		errno = EOWNERDEAD;
		return;
	}
	sigprocmask(SIG_SETMASK, &command->signals, NULL);
	execvp(command->argv[0], command->argv);
}

int group_start(const struct command *command, const struct guard *guard, pid_t *group)
{
	volatile int failure = 0;
	pid_t parent = getpid();
	pid_t pid = vfork();

	if (pid == 0) {
		become_command(command, guard, parent);
		failure = errno;
		_exit(EXIT_FAILURE);
	}
	*group = pid;
	return pid < 0 ? errno : failure;
}

/* ---- the guard ---- */

/* Keep two descriptors, and let go of all the rest: pipes of others must not be kept open. */
static void keep_only(int *connection_fd, int *pipe_fd)
{
	int connection = fcntl(*connection_fd, F_DUPFD_CLOEXEC, 10);
	int pipe = fcntl(*pipe_fd, F_DUPFD_CLOEXEC, 10);

	dup2(connection, 0);
	dup2(pipe, 1);
	*connection_fd = 0;
	*pipe_fd = 1;
	if (syscall(SYS_close_range, 2U, ~0U, 0U) == 0)
		return;
	for (int fd = 2; fd < FDS_MAX; fd++)
		close(fd);
}

/* Kill it again until it is gone: it may fork while it dies. */
static void kill_group(pid_t group)
{
	while (!group_gone(group)) {
		kill(-group, SIGKILL);
		poll(NULL, 0, GUARD_POLL_MS);
	}
}

static void be_guard(int connection_fd, int pipe_fd)
{
	int32_t group = 0, message;
	ssize_t n;

	/* Out of the way of signals to our group or from our terminal. */
	setsid();
	prctl(PR_SET_NAME, "redmutex-guard");
	keep_only(&connection_fd, &pipe_fd);
	while ((n = read(pipe_fd, &message, sizeof(message))) != 0) {
		if (n == (ssize_t)sizeof(message))
			group = message;
	}
	if (group > 0)
		kill_group(group);
	_exit(EXIT_SUCCESS);
}

int guard_start(struct guard *guard, int connection_fd)
{
	int fds[2];

	if (pipe2(fds, O_CLOEXEC) < 0)
		return -1;
	guard->pid = fork();
	if (guard->pid == 0) {
		close(fds[1]);
		be_guard(connection_fd, fds[0]);
	}
	close(fds[0]);
	if (guard->pid < 0) {
		close(fds[1]);
		guard->pid = 0;
		return -1;
	}
	guard->pipe_fd = fds[1];
	return 0;
}

int guard_watch(const struct guard *guard, pid_t group)
{
	int32_t message = group;

	return write(guard->pipe_fd, &message, sizeof(message)) == (ssize_t)sizeof(message) ? 0
											    : -1;
}

void guard_stop(struct guard *guard)
{
	if (guard->pid == 0)
		return;
	/* By force: it could have been stopped by somebody. */
	kill(guard->pid, SIGKILL);
	close(guard->pipe_fd);
}

void guard_reap(struct guard *guard)
{
	if (guard->pid != 0)
		waitpid(guard->pid, NULL, 0);
	guard->pid = 0;
}
