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

#include "client/cmd.h"

enum { GUARD_POLL_MS = 2, GUARD_POLL_MAX_MS = 3600000, FDS_MAX = 65536 };

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
	if (getppid() != parent || guard_watch(guard, getpid(), command->until_us) < 0) {
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

/* What it is told. Shorter than PIPE_BUF: never comes in parts. */
struct watch {
	pid_t group; /* 0: none yet */
	int64_t until_us;
};

/* Waits for news. Return: false when the group is overdue before there is any. */
static bool wait_for_news(int pipe_fd, int64_t until_us)
{
	struct pollfd poll_fd = {.fd = pipe_fd, .events = POLLIN};

	while (until_us != INT64_MAX) {
		int64_t left_us = until_us - redmutex_now_us();
		int timeout_ms = GUARD_POLL_MAX_MS;

		if (left_us < timeout_ms * INT64_C(1000))
			timeout_ms = left_us > 0 ? (int)((left_us + 999) / 1000) : 0;
		if (poll(&poll_fd, 1, timeout_ms) > 0)
			break;
		if (redmutex_now_us() >= until_us)
			return false;
	}
	return true;
}

static void be_guard(int connection_fd, int pipe_fd)
{
	struct watch watch = {.group = 0, .until_us = INT64_MAX}, news;
	ssize_t n;

	keep_only(&connection_fd, &pipe_fd);
	for (;;) {
		if (!wait_for_news(pipe_fd, watch.until_us)) {
			kill_group(watch.group);
			watch.until_us = INT64_MAX;
		}
		n = read(pipe_fd, &news, sizeof(news));
		if (n == (ssize_t)sizeof(news))
			watch = news;
		else if (n == 0)
			break;
	}
	if (watch.group > 0)
		kill_group(watch.group);
	_exit(EXIT_SUCCESS);
}

/*
 * Forks with the guard's name and title on ourselves, and puts it into a group of its own: it has
 * to be out of the way of what is meant for us from the start, not when it gets to that itself.
 */
static pid_t fork_guard(void)
{
	char *title = malloc(cmd_title_size), name[16] = "";
	pid_t pid;

	if (title == NULL)
		return -1;
	memcpy(title, cmd_title, cmd_title_size);
	prctl(PR_GET_NAME, name);
	memset(cmd_title, 0, cmd_title_size);
	snprintf(cmd_title, cmd_title_size, "%s %d", GUARD_NAME, (int)getpid());
	prctl(PR_SET_NAME, GUARD_NAME);
	pid = fork();
	if (pid != 0) {
		memcpy(cmd_title, title, cmd_title_size);
		prctl(PR_SET_NAME, name);
		if (pid > 0)
			setpgid(pid, pid);
		free(title);
	}
	return pid;
}

int guard_start(struct guard *guard, int connection_fd)
{
	int fds[2];

	if (pipe2(fds, O_CLOEXEC) < 0)
		return -1;
	guard->pid = fork_guard();
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

bool guard_lives(const struct guard *guard)
{
	return guard->pid != 0 && waitpid(guard->pid, NULL, WNOHANG) == 0;
}

int guard_watch(const struct guard *guard, pid_t group, int64_t until_us)
{
	struct watch watch = {.group = group, .until_us = until_us};

	return write(guard->pipe_fd, &watch, sizeof(watch)) == (ssize_t)sizeof(watch) ? 0 : -1;
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
