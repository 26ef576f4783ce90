/* SPDX-License-Identifier: MIT */
/* Waiting for a lock, as run and acquire do: signals are obeyed, and a person sees who is in the
 * way. */
#include "config.h"

#include "client/cmd.h"

#include <poll.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

enum { SHOW_AFTER_MS = 1000, CANCEL_MS = 5000 };

/* A wait that is under way. */
struct waiting {
	const struct cmd_wait *wait;
	struct redmutex_lock *lock;
	char *text;
	size_t text_size;
	int error;
	bool done;
	int64_t ahead; /* in the queue when we came; -1: not known */
};

int cmd_signals_block(sigset_t *old)
{
	static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS, SIGABRT};
	sigset_t all;

	sigfillset(&all);
	for (size_t i = 0; i < sizeof(faults) / sizeof(*faults); i++)
		sigdelset(&all, faults[i]);
	if (sigprocmask(SIG_BLOCK, &all, old) < 0)
		return -1;
	return signalfd(-1, &all, SFD_CLOEXEC | SFD_NONBLOCK);
}

static void on_acquired(redmutex_t *rm, const struct redmutex_result *result, void *arg)
{
	struct waiting *waiting = arg;

	(void)rm;
	waiting->done = true;
	waiting->error = result->error;
	snprintf(waiting->text, waiting->text_size, "%s", result->text);
	if (result->lock != NULL)
		*waiting->lock = *result->lock;
}

/* Asked in front of the acquisition: whoever waits then is ahead of us. */
static void on_queue(redmutex_t *rm, const struct redmutex_result *result, void *arg)
{
	struct waiting *waiting = arg;

	(void)rm;
	waiting->ahead = result->info != NULL ? result->info->waiters : -1;
}

static void on_holder(redmutex_t *rm, const struct redmutex_result *result, void *arg)
{
	struct waiting *waiting = arg;
	char holder[512];

	(void)rm;
	if (waiting->done || result->info == NULL)
		return;
	info_holder(result->info, holder, sizeof(holder));
	fprintf(stderr, "redmutex: waiting for %s, %s", waiting->wait->name, holder);
	if (waiting->ahead > 0)
		fprintf(stderr, "; place %lld in the queue when it began",
			(long long)waiting->ahead + 1);
	if (result->info->waiters > 1)
		fprintf(stderr, "; %lld wait here", (long long)result->info->waiters);
	fputc('\n', stderr);
}

/* Was it ignored when we were started, as nohup(1) does with SIGHUP? */
static bool is_ignored(int signo)
{
	struct sigaction action;

	return sigaction(signo, NULL, &action) == 0 && action.sa_handler == SIG_IGN;
}

/* Does what a signal would do if it were not held. Return: the signal if it ends us, else 0. */
static int obey(int signo)
{
	switch (signo) {
	case SIGCHLD:
	case SIGCONT:
	case SIGURG:
	case SIGWINCH:
		return 0;
	case SIGTSTP:
	case SIGTTIN:
	case SIGTTOU:
		if (!is_ignored(signo))
			raise(SIGSTOP);
		return 0;
	default:
		return is_ignored(signo) ? 0 : signo;
	}
}

static int take_signals(int signal_fd)
{
	struct signalfd_siginfo info;
	int signo = 0;

	while (signo == 0 && read(signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info))
		signo = obey((int)info.ssi_signo);
	return signo;
}

/* Takes the request back; a lock that was faster goes back too. */
static void give_up(struct waiting *waiting, uint64_t id)
{
	redmutex_t *rm = waiting->wait->rm;
	int64_t until_us = redmutex_now_us() + CANCEL_MS * INT64_C(1000);
	struct pollfd poll_fd = {.fd = redmutex_fd(rm), .events = POLLIN};

	if (redmutex_cancel(rm, id) < 0)
		return;
	while (!waiting->done && redmutex_dispatch(rm) == 0 && !waiting->done &&
	       redmutex_now_us() < until_us)
		poll(&poll_fd, 1, CANCEL_MS);
	if (waiting->done && waiting->error == 0)
		redmutex_release(rm, waiting->wait->name, waiting->lock->lock);
}

/* Waits for the outcome. Return: the signal that ended the wait, or 0. */
static int wait_done(struct waiting *waiting, bool show, uint64_t id)
{
	redmutex_t *rm = waiting->wait->rm;
	int timeout_ms = show ? SHOW_AFTER_MS : -1;
	struct pollfd fds[2] = {
		{.fd = redmutex_fd(rm), .events = POLLIN},
		{.fd = waiting->wait->signal_fd, .events = POLLIN},
	};

	while (!waiting->done) {
		int n, signo;

		fds[0].events = (short)redmutex_events(rm);
		n = poll(fds, 2, timeout_ms);
		if (n == 0) {
			timeout_ms = -1;
			redmutex_info_async(rm, waiting->wait->name, on_holder, waiting, NULL);
		}
		if (n > 0 && fds[1].revents != 0) {
			signo = take_signals(waiting->wait->signal_fd);
			if (signo != 0) {
				give_up(waiting, id);
				return signo;
			}
		}
		if (n == 0 || fds[0].revents != 0)
			redmutex_dispatch(rm);
	}
	return 0;
}

int cmd_wait(const struct cmd_wait *wait, struct redmutex_lock *lock, char *text, size_t text_size,
	     int *signo)
{
	struct waiting waiting = {
		.wait = wait, .lock = lock, .text = text, .text_size = text_size, .ahead = -1};
	bool show = wait->options->wait_ms != 0 && isatty(STDERR_FILENO);
	uint64_t id = 0;
	int error = 0;

	*signo = 0;
	text[0] = '\0';
	if (show)
		error = redmutex_info_async(wait->rm, wait->name, on_queue, &waiting, NULL);
	if (error == 0)
		error = redmutex_acquire_async(wait->rm, wait->name, wait->options, on_acquired,
					       &waiting, &id);
	if (error < 0) {
		snprintf(text, text_size, "%s", redmutex_error_text(wait->rm));
		return error;
	}
	redmutex_flush(wait->rm);
	if (wait->meanwhile != NULL)
		wait->meanwhile(wait->arg);
	*signo = wait_done(&waiting, show, id);
	return *signo != 0 ? 0 : waiting.error;
}
