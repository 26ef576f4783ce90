/* SPDX-License-Identifier: MIT */
/* Waiting for a lock, as run and acquire do: signals are obeyed, and a person sees who is in the
 * way. */
#include "config.h"

#include "client/cmd.h"

#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <termios.h>
#include <unistd.h>

enum {
	SHOW_MS = 1000, /* until the wait is shown, and then between two looks */
	SHOW_ELSEWHERE_LOOKS =
		5, /* of which so many make one where a look costs the store something */
	CANCEL_MS = 5000,
};

int cmd_signals_block(sigset_t *old)
{
	sigset_t all;

	/* Ignored by whoever started us, it would keep from us that a child has ended. */
	signal(SIGCHLD, SIG_DFL);
	sigfillset(&all);
	if (sigprocmask(SIG_BLOCK, &all, old) < 0)
		return -1;
	return signalfd(-1, &all, SFD_CLOEXEC | SFD_NONBLOCK);
}

static void on_acquired(redmutex_t *rm, const struct redmutex_result *result, void *arg)
{
	struct cmd_wait *wait = arg;

	(void)rm;
	wait->done = true;
	wait->error = result->error;
	snprintf(wait->text, sizeof(wait->text), "%s", result->text);
	if (result->lock != NULL)
		wait->lock = *result->lock;
}

/* ---- the line ---- */

static void view_erase(struct cmd_view *view)
{
	if (view->drawn)
		fputs("\r\033[K", stderr);
	view->drawn = false;
}

static void view_text(const struct cmd_wait *wait, char *text, size_t size)
{
	const struct cmd_view *view = &wait->view;
	struct redmutex_info info = view->info;
	char holder[512], place[64] = "";

	if (view->ahead >= 0 && info.waiters > view->ahead)
		snprintf(place, sizeof(place), ", place %lld of %lld", (long long)view->ahead + 1,
			 (long long)info.waiters);
	if (info.held_ms >= 0)
		info.held_ms += (redmutex_now_us() - view->seen_us) / 1000;
	info_holder(&info, holder, sizeof(holder));
	snprintf(text, size, "waiting for %s%s: %s", wait->name, place,
		 view->asked ? "redmutexd does not answer" : holder);
}

static void view_draw(struct cmd_wait *wait)
{
	struct winsize window = {.ws_col = 0};
	char text[1024];

	if (tcgetpgrp(STDERR_FILENO) != getpgrp())
		return;
	view_text(wait, text, sizeof(text));
	/* The last column is left alone, for a terminal may go on to the next line behind it. */
	if (ioctl(STDERR_FILENO, TIOCGWINSZ, &window) < 0 || window.ws_col < 2)
		window.ws_col = 80;
	fprintf(stderr, "\r%.*s\033[K", (int)columns_cut(text, window.ws_col - 1, 2), text);
	wait->view.drawn = true;
}

/* Asked in front of the acquisition: whoever waits then is ahead of us. */
static void on_queue(redmutex_t *rm, const struct redmutex_result *result, void *arg)
{
	struct cmd_wait *wait = arg;

	(void)rm;
	wait->view.ahead = result->info != NULL ? result->info->waiters : -1;
}

/* The place is what is certain: others ahead may have had their turn, or given up, unseen. */
static void on_look(redmutex_t *rm, const struct redmutex_result *result, void *arg)
{
	struct cmd_wait *wait = arg;
	struct cmd_view *view = &wait->view;
	const struct redmutex_info *info = result->info;

	(void)rm;
	view->asked = false;
	if (wait->done || info == NULL)
		return;
	if (view->seen_us != 0 && info->fence != view->info.fence && view->ahead > 0)
		view->ahead--;
	if (view->ahead >= info->waiters && info->waiters > 0)
		view->ahead = info->waiters - 1;
	view->info = *info;
	view->seen_us = redmutex_now_us();
	view_draw(wait);
}

/* Look at the mutex again, and draw what has been known meanwhile. */
static void view_look(struct cmd_wait *wait)
{
	struct cmd_view *view = &wait->view;
	bool here = view->seen_us == 0 || view->info.holder == REDMUTEX_HOLDER_HERE;

	view->next_us = redmutex_now_us() + SHOW_MS * 1000;
	if (view->asked || (!here && ++view->looks % SHOW_ELSEWHERE_LOOKS != 0)) {
		view_draw(wait);
		return;
	}
	view->asked = redmutex_info_async(wait->rm, wait->name, on_look, wait, NULL) == 0;
}

/* ---- signals ---- */

/* Was it ignored when we were started, as nohup(1) does with SIGHUP? */
static bool is_ignored(int signo)
{
	struct sigaction action;

	return sigaction(signo, NULL, &action) == 0 && action.sa_handler == SIG_IGN;
}

/* Does what a signal would do if it were not held. Return: the signal if it ends us, else 0. */
static int obey(struct cmd_view *view, int signo)
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
		if (!is_ignored(signo)) {
			view_erase(view);
			raise(SIGSTOP);
		}
		return 0;
	default:
		return is_ignored(signo) ? 0 : signo;
	}
}

static int take_signals(struct cmd_view *view, int signal_fd)
{
	struct signalfd_siginfo info;
	int signo = 0;

	while (signo == 0 && read(signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info))
		signo = obey(view, (int)info.ssi_signo);
	return signo;
}

/* Takes the request back; a lock that was faster goes back too. */
static void give_up(struct cmd_wait *wait, uint64_t id)
{
	redmutex_t *rm = wait->rm;
	int64_t until_us = redmutex_now_us() + CANCEL_MS * INT64_C(1000);
	struct pollfd poll_fd = {.fd = redmutex_fd(rm), .events = POLLIN};

	if (redmutex_cancel(rm, id) < 0)
		return;
	while (!wait->done && redmutex_dispatch(rm) == 0 && !wait->done &&
	       redmutex_now_us() < until_us)
		poll(&poll_fd, 1, CANCEL_MS);
	if (wait->done && wait->error == 0)
		redmutex_release(rm, wait->name, wait->lock.lock);
}

static int wait_timeout(const struct cmd_view *view)
{
	int64_t left_us = view->next_us - redmutex_now_us();

	if (!view->wanted)
		return -1;
	return left_us > 0 ? (int)((left_us + 999) / 1000) : 0;
}

/* Waits for the outcome. Return: the signal that ended the wait, or 0. */
static int wait_done(struct cmd_wait *wait, uint64_t id)
{
	redmutex_t *rm = wait->rm;
	struct cmd_view *view = &wait->view;
	struct pollfd fds[2] = {
		{.fd = redmutex_fd(rm), .events = POLLIN},
		{.fd = wait->signal_fd, .events = POLLIN},
	};

	while (!wait->done) {
		int signo;

		fds[0].events = (short)redmutex_events(rm);
		if (poll(fds, 2, wait_timeout(view)) < 0)
			continue;
		if (fds[1].revents != 0) {
			signo = take_signals(view, wait->signal_fd);
			if (signo != 0) {
				give_up(wait, id);
				return signo;
			}
		}
		if (view->wanted && redmutex_now_us() >= view->next_us)
			view_look(wait);
		redmutex_dispatch(rm);
	}
	return 0;
}

void cmd_wait(struct cmd_wait *wait)
{
	uint64_t id = 0;

	wait->view.wanted = wait->acquisition.options.wait_ms != 0 && is_screen(STDERR_FILENO);
	wait->view.next_us = redmutex_now_us() + SHOW_MS * 1000;
	wait->view.ahead = -1;
	if (wait->view.wanted)
		wait->error = redmutex_info_async(wait->rm, wait->name, on_queue, wait, NULL);
	if (wait->error == 0)
		wait->error = redmutex_acquire_async(
			wait->rm, wait->name, &wait->acquisition.options, on_acquired, wait, &id);
	if (wait->error < 0) {
		snprintf(wait->text, sizeof(wait->text), "%s", redmutex_error_text(wait->rm));
		return;
	}
	redmutex_flush(wait->rm);
	if (wait->meanwhile != NULL)
		wait->meanwhile(wait->arg);
	wait->signo = wait_done(wait, id);
	view_erase(&wait->view);
}
