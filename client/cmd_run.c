/* SPDX-License-Identifier: MIT */
/*
 * redmutex run: a command under a lock, in a process group of its own. The group ends before the
 * lease does; see cmd_group.h for what happens when this process is killed.
 */
#include "config.h"

#include "client/cmd.h"

#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client/cmd_group.h"

enum {
	GRACE_MS = 1000,
	DISCONNECTED_GRACE_MS = 250, /* the daemon keeps the key for 1 s; half of it is for us */
	KILL_RESERVE_MS = 20,	     /* or a fiftieth of the lease: before its end */
	EXPIRING_MS = 5000,	     /* or a third of the lease: what the daemon warns at */
	GUARDS_MAX = 3,		     /* in a row that may be killed before the command begins */
	TICK_MS = 5,		     /* between looks whether a dying group is gone */
};

struct run {
	struct cmd_wait wait; /* the connection, the mutex and the lock */
	struct guard guard;
	struct command command;
	char *shell_argv[4]; /* the command of -c */
	int64_t grace_ms;
	bool ignore_loss;

	pid_t group;	    /* 0: not started */
	bool ended;	    /* the command itself; the rest of its group may be there */
	int status;	    /* its exit status, once it has ended */
	bool announced;	    /* EXPIRING: SIGTERM was sent */
	bool lost;	    /* LOST */
	int64_t kill_us;    /* SIGKILL is due then; INT64_MAX: not */
	int64_t wake_us;    /* look at the lease again then */
	bool terminal_ours; /* it is to be taken back */
};

/* ---- the lease ---- */

/* The guard is to end the group by then, should we be stopped. INT64_MAX: it need not. */
static void tell_guard(struct run *run, int64_t until_us)
{
	run->command.until_us = until_us;
	if (run->group > 0 && run->guard.pid != 0)
		guard_watch(&run->guard, run->group, until_us);
}

/* The group is to end: gently now, by force at a time. */
static void end_group(struct run *run, int64_t kill_us)
{
	if (run->group > 0)
		group_signal(run->group, SIGTERM);
	if (kill_us < run->kill_us)
		run->kill_us = kill_us;
}

/* When the group has to be gone: before the lease is over, by what a busy machine takes to kill. */
static int64_t last_moment_us(const struct run *run, int64_t left_ms)
{
	int64_t reserve_ms = run->wait.lock.ttl_ms / 50;

	if (reserve_ms > KILL_RESERVE_MS)
		reserve_ms = KILL_RESERVE_MS;
	return redmutex_now_us() + (left_ms - reserve_ms) * 1000;
}

/* The lease runs out: whatever kept it from being renewed, nothing of ours may outlast it. */
static void announce(struct run *run, int64_t left_ms)
{
	if (run->ignore_loss || run->announced || run->lost)
		return;
	run->announced = true;
	end_group(run, last_moment_us(run, left_ms));
	run->wake_us = redmutex_now_us();
}

static void on_expiring(redmutex_t *rm, const struct redmutex_event *event, void *arg)
{
	struct run *run = arg;

	(void)rm;
	if (strcmp(event->lock, run->wait.lock.lock) == 0)
		announce(run, event->left_ms);
}

static void on_lost(redmutex_t *rm, const struct redmutex_event *event, void *arg)
{
	struct run *run = arg;
	int64_t now_us = redmutex_now_us(), grace_ms = run->grace_ms;
	bool over =
		strcmp(event->reason, "expired") == 0 || strcmp(event->reason, "unavailable") == 0;
	bool hung_up = strcmp(event->reason, "shutdown") == 0 ||
		       strcmp(event->reason, "disconnected") == 0;

	(void)rm;
	if (run->lost)
		return;
	run->lost = true;
	if (run->ignore_loss)
		return;
	if (!run->ended)
		fprintf(stderr, "redmutex: %s: the lock was lost: %s\n", event->name,
			event->reason);
	if (over || run->announced)
		grace_ms = 0;
	else if (hung_up && grace_ms > DISCONNECTED_GRACE_MS)
		grace_ms = DISCONNECTED_GRACE_MS;
	end_group(run, now_us + grace_ms * 1000);
	tell_guard(run, run->kill_us);
}

/*
 * Look at the lease by our own clock too: a daemon that hangs warns of nothing. Half of what is
 * left is slept through; redmutex_check() asks the daemon whether there is more by now. There may
 * be even after a warning, so that the command gets more time to end in.
 */
static void check_lease(struct run *run)
{
	int64_t margin_ms =
		run->wait.lock.ttl_ms / 3 < EXPIRING_MS ? run->wait.lock.ttl_ms / 3 : EXPIRING_MS;
	int64_t left_ms, now_us, until_us;

	run->wake_us = INT64_MAX;
	if (run->lost || run->ignore_loss)
		return;
	if (redmutex_check(run->wait.rm, run->wait.lock.lock, &left_ms) < 0)
		left_ms = 0;
	if (run->lost)
		return;
	now_us = redmutex_now_us();
	until_us = last_moment_us(run, left_ms);
	if (left_ms <= margin_ms)
		announce(run, left_ms);
	if (run->announced) {
		/* What a command that has ended left behind has until then, or less. */
		if (!run->ended || until_us < run->kill_us)
			run->kill_us = until_us;
		run->wake_us =
			until_us > now_us ? now_us + (until_us - now_us) / 2 + 500 : INT64_MAX;
	} else {
		run->wake_us = now_us + (left_ms - margin_ms) * 500 + 1000;
	}
	tell_guard(run, until_us);
}

/* SIGKILL is due. */
static void kill_due(struct run *run)
{
	run->kill_us = INT64_MAX;
	if (run->group <= 0)
		return;
	kill(-run->group, SIGKILL);
	/* Once more at the next turn: it may have forked meanwhile. */
	run->kill_us = redmutex_now_us() + TICK_MS * 1000;
}

/* ---- the terminal ---- */

/* Standard input and output are one terminal, and we are in its foreground. */
static bool in_foreground(void)
{
	struct stat in, out;

	return isatty(STDIN_FILENO) && isatty(STDOUT_FILENO) && fstat(STDIN_FILENO, &in) == 0 &&
	       fstat(STDOUT_FILENO, &out) == 0 && in.st_rdev == out.st_rdev &&
	       tcgetpgrp(STDIN_FILENO) == getpgrp();
}

static void take_terminal(struct run *run)
{
	if (run->terminal_ours && tcgetpgrp(STDIN_FILENO) == run->group)
		tcsetpgrp(STDIN_FILENO, getpgrp());
}

static void hand_terminal(struct run *run)
{
	if (run->terminal_ours && in_foreground())
		tcsetpgrp(STDIN_FILENO, run->group);
}

/*
 * The command was stopped from its terminal: so are we, for the shell to see it. As we go on, what
 * has happened to the lock meanwhile comes first: a group that must end is not set to work again.
 */
static void stop_too(struct run *run, int signo)
{
	bool by_terminal = signo == SIGTSTP || signo == SIGTTIN || signo == SIGTTOU;

	if (!by_terminal && !run->terminal_ours)
		return;
	take_terminal(run);
	tell_guard(run, INT64_MAX);
	raise(SIGSTOP);
	redmutex_dispatch(run->wait.rm);
	check_lease(run);
	hand_terminal(run);
	kill(-run->group, SIGCONT);
}

/* ---- the command ---- */

/* While the daemon looks for the lock, there is time for this. */
static void start_guard(void *arg)
{
	struct run *run = arg;

	/* Without it the command is not started; see start(). */
	if (redmutex_fd(run->wait.rm) >= 0 &&
	    guard_start(&run->guard, redmutex_fd(run->wait.rm)) < 0)
		fprintf(stderr, "redmutex: cannot fork: %s\n", strerror(errno));
}

/* It was killed by somebody: without one there would be nobody to stand in for us. */
static void replace_guard(struct run *run)
{
	if (run->guard.pid != 0)
		close(run->guard.pipe_fd);
	run->guard = (struct guard){.pid = 0, .pipe_fd = -1};
	start_guard(run);
}

static void reap(struct run *run)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG | WUNTRACED)) > 0) {
		if (pid == run->group && WIFSTOPPED(status)) {
			stop_too(run, WSTOPSIG(status));
		} else if (pid == run->group) {
			run->ended = true;
			run->status = WIFSIGNALED(status) ? EXIT_SIGNAL + WTERMSIG(status)
							  : WEXITSTATUS(status);
		} else if (pid == run->guard.pid) {
			replace_guard(run);
			tell_guard(run, run->command.until_us);
		}
	}
}

static void take_signals(struct run *run)
{
	struct signalfd_siginfo info;

	while (read(run->wait.signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
		if (info.ssi_signo == SIGCHLD)
			reap(run);
		else if (!run->ended || !group_gone(run->group))
			kill(-run->group, (int)info.ssi_signo);
	}
}

/* How long to sleep, in ms for poll(). */
static int next_timeout(const struct run *run, int64_t now_us)
{
	int64_t next_us = run->kill_us < run->wake_us ? run->kill_us : run->wake_us;

	/* The rest of a group are not our children: nobody tells when they end. */
	if (run->ended && next_us > now_us + TICK_MS * 1000)
		next_us = now_us + TICK_MS * 1000;
	if (next_us == INT64_MAX)
		return -1;
	if (next_us <= now_us)
		return 0;
	return next_us - now_us > INT64_C(3600000000) ? 3600000
						      : (int)((next_us - now_us + 999) / 1000);
}

/* Has all ended? What the command left behind in its group must not go on without the lock. */
static bool all_ended(struct run *run)
{
	if (!run->ended)
		return false;
	if (group_gone(run->group))
		return true;
	if (run->kill_us == INT64_MAX)
		end_group(run, redmutex_now_us() + run->grace_ms * 1000);
	return false;
}

static void supervise(struct run *run)
{
	struct pollfd fds[2] = {{.events = POLLIN}, {.fd = run->wait.signal_fd, .events = POLLIN}};

	while (!all_ended(run)) {
		int n;

		fds[0].fd = redmutex_fd(run->wait.rm);
		fds[0].events = (short)(fds[0].fd >= 0 ? redmutex_events(run->wait.rm) : 0);
		n = poll(fds, 2, next_timeout(run, redmutex_now_us()));
		/* The lock first: what is lost is not to be worked under. */
		if (n > 0 && fds[0].fd >= 0 && fds[0].revents != 0)
			redmutex_dispatch(run->wait.rm);
		if (redmutex_now_us() >= run->wake_us)
			check_lease(run);
		if (redmutex_now_us() >= run->kill_us)
			kill_due(run);
		if (n > 0 && fds[1].revents != 0)
			take_signals(run);
	}
}

/* ---- all of it ---- */

static int set_environment(const struct run *run)
{
	char fence[32];

	snprintf(fence, sizeof(fence), "%lld", (long long)run->wait.lock.fence);
	if (setenv("REDMUTEX_NAME", run->wait.name, 1) < 0 ||
	    setenv("REDMUTEX_LOCK", run->wait.lock.lock, 1) < 0)
		return -1;
	return run->wait.lock.fence > 0 ? setenv("REDMUTEX_FENCE", fence, 1)
					: unsetenv("REDMUTEX_FENCE");
}

static void tell_failure(const char *command, int failure)
{
	const char *hint = "";

	if (command[0] == '-')
		hint = "; options of run stand before the name of the mutex";
	else if (failure == ENOENT && strchr(command, '/') == NULL)
		hint = "; it is in no folder of PATH";
	else if (failure == EACCES)
		hint = "; try: chmod +x, or run it by its interpreter";
	fprintf(stderr, "redmutex: cannot execute %s: %s%s\n", command, strerror(failure), hint);
}

/* Starts the command, under a guard. Return: 0 or an errno. */
static int start_group(struct run *run)
{
	int failure = EOWNERDEAD;

	/* A guard that was being killed meanwhile: the command did not begin, and gets another. */
	for (int i = 0; failure == EOWNERDEAD && i < GUARDS_MAX; i++) {
		if (!guard_lives(&run->guard))
			replace_guard(run);
		if (!guard_lives(&run->guard))
			return ENOMEM;
		failure = group_start(&run->command, &run->guard, &run->group);
		if (failure == EOWNERDEAD) {
			waitpid(run->group, NULL, 0);
			waitpid(run->guard.pid, NULL, 0);
		}
	}
	return failure;
}

/* Starts the command, unless it is too late. Return: 0, or the exit status. */
static int start(struct run *run)
{
	int failure;

	check_lease(run);
	if (run->lost || run->announced) {
		if (run->announced)
			fprintf(stderr,
				"redmutex: %s: the lease is over before the command began\n",
				run->wait.name);
		return EXIT_LOST;
	}
	if (set_environment(run) < 0) {
		fprintf(stderr, "redmutex: out of memory\n");
		return EXIT_OS;
	}
	run->command.terminal = run->terminal_ours = in_foreground();
	failure = start_group(run);
	if (failure == 0)
		return 0;
	take_terminal(run);
	tell_failure(run->command.argv[0], failure);
	if (run->group <= 0 || failure == EOWNERDEAD)
		return EXIT_OS;
	waitpid(run->group, NULL, 0);
	return failure == ENOENT ? EXIT_NOT_FOUND : EXIT_CANNOT_EXECUTE;
}

/* Gives the lock back. Return: what to exit with, if status is what there is to hand on. */
static int finish(struct run *run, int status)
{
	int error = 0;

	run->group = 0; /* it is gone: its number may be somebody else's soon */
	/* It may end while the daemon answers. */
	guard_stop(&run->guard);
	if (!run->lost)
		error = redmutex_release(run->wait.rm, run->wait.name, run->wait.lock.lock);
	guard_reap(&run->guard);
	redmutex_close(run->wait.rm);
	if (run->ignore_loss)
		return status;
	return run->announced || run->lost || error == REDMUTEX_EUNLOCK_FAIL ? EXIT_LOST : status;
}

static int acquire_and_run(struct run *run)
{
	const struct cmd_wait *wait = &run->wait;
	int status;

	run->wait.meanwhile = start_guard;
	run->wait.arg = run;
	cmd_wait(&run->wait);
	if (wait->error < 0 || wait->signo != 0) {
		guard_stop(&run->guard);
		guard_reap(&run->guard);
		if (wait->signo == 0 && wait->error != REDMUTEX_EALREADY_LOCKED)
			return cmd_failed(wait->rm, wait->name, wait->error, wait->text);
		redmutex_close(wait->rm);
		return wait->signo != 0 ? EXIT_SIGNAL + wait->signo
					: (int)wait->acquisition.busy_status;
	}
	status = start(run);
	if (status != 0)
		return finish(run, status);
	supervise(run);
	take_terminal(run);
	return finish(run, run->status);
}

/* `-c COMMAND`, as the shell is given it. */
static void shell_command(struct run *run, char *text)
{
	char *shell = getenv("SHELL");

	run->shell_argv[0] = shell != NULL && shell[0] != '\0' ? shell : (char *)"/bin/sh";
	run->shell_argv[1] = (char *)"-c";
	run->shell_argv[2] = text;
	run->shell_argv[3] = NULL;
	run->command.argv = run->shell_argv;
}

/* Return: -1 to go on, or the exit status. */
static int parse(const struct cmd *cmd, int argc, char **argv, struct run *run)
{
	enum { OPTION_RENEW = OPTION_OWN, OPTION_ON_LOST, OPTION_GRACE };
	static const struct option options[] = {
		CMD_ACQUISITION_OPTIONS,
		{"command", required_argument, NULL, 'c'},
		{"renew", no_argument, NULL, OPTION_RENEW},
		{"on-lost", required_argument, NULL, OPTION_ON_LOST},
		{"grace", required_argument, NULL, OPTION_GRACE},
		{"help", no_argument, NULL, OPTION_HELP},
		{NULL, 0, NULL, 0},
	};
	char *shell_text = NULL;
	int letter, status;

	run->wait.acquisition.options.wait_ms = REDMUTEX_FOREVER;
	opterr = 0;
	while ((letter = getopt_long(argc, argv, "+:c:" CMD_ACQUISITION_LETTERS, options, NULL)) !=
	       -1) {
		switch (letter) {
		case 'c':
			shell_text = optarg;
			break;
		case OPTION_RENEW:
			run->wait.acquisition.options.renew = REDMUTEX_RENEW_YES;
			break;
		case OPTION_ON_LOST:
			if (strcmp(optarg, "kill") != 0 && strcmp(optarg, "ignore") != 0)
				return cmd_usage(cmd, "run: --on-lost takes kill or ignore: %s",
						 optarg);
			run->ignore_loss = strcmp(optarg, "ignore") == 0;
			break;
		case OPTION_GRACE:
			if (cmd_seconds(cmd, "--grace", 0, CMD_MS_MAX, &run->grace_ms) != 0)
				return EXIT_USAGE;
			break;
		default:
			status = cmd_acquisition_option(cmd, letter, argv, &run->wait.acquisition);
			if (status >= 0)
				return status;
		}
	}
	if (optind == argc)
		return cmd_usage(cmd, "run: a mutex is needed");
	run->wait.name = argv[optind++];
	if (optind < argc && strcmp(argv[optind], "--") == 0) {
		optind++;
	} else if (optind + 1 < argc && shell_text == NULL &&
		   (strcmp(argv[optind], "-c") == 0 || strcmp(argv[optind], "--command") == 0)) {
		shell_text = argv[optind + 1];
		optind += 2;
	}
	if ((shell_text != NULL) == (optind < argc))
		return cmd_usage(cmd, shell_text != NULL ? "run: either -c or a command"
							 : "run: a command is needed");
	run->command.argv = argv + optind;
	if (shell_text != NULL)
		shell_command(run, shell_text);
	return -1;
}

static int run_command(const struct cmd *cmd, int argc, char **argv)
{
	struct run run = {
		.wait.acquisition = CMD_ACQUISITION_INIT,
		.grace_ms = GRACE_MS,
		.kill_us = INT64_MAX,
		.wake_us = INT64_MAX,
		.command.until_us = INT64_MAX,
	};
	int status = parse(cmd, argc, argv, &run);

	if (status >= 0)
		return status;
	status = cmd_connect(&run.wait.rm);
	if (status != 0)
		return status;
	redmutex_on_lost(run.wait.rm, on_lost, &run);
	redmutex_on_expiring(run.wait.rm, on_expiring, &run);
	run.wait.signal_fd = cmd_signals_block(&run.command.signals);
	if (run.wait.signal_fd < 0) {
		fprintf(stderr, "redmutex: signalfd: %s\n", strerror(errno));
		redmutex_close(run.wait.rm);
		return EXIT_OS;
	}
	return acquire_and_run(&run);
}

const struct cmd cmd_run = {
	.name = "run",
	.usage = "[-n | -w SECONDS] [-t SECONDS] [-E CODE] [--renew] [--on-lost=kill|ignore] "
		 "[--grace SECONDS] NAME -- COMMAND [ARG ...]",
	.summary = "run a command while holding a lock",
	.help = CMD_ACQUISITION_HELP
	"  -c, --command TEXT   run TEXT by $SHELL instead of COMMAND\n"
	"      --renew          keep the lock for as long as the command runs\n"
	"      --on-lost=kill   end the command when the lock is lost, and exit 76: "
	"default\n"
	"      --on-lost=ignore let it go on\n"
	"      --grace SECONDS  between SIGTERM and SIGKILL at a sudden loss; 1\n"
	"The command gets REDMUTEX_NAME, REDMUTEX_LOCK and REDMUTEX_FENCE, and a process "
	"group of its own.\nIts exit status is handed on, 128+n after signal n.\n",
	.run = run_command,
};
