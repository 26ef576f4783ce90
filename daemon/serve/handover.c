/* SPDX-License-Identifier: MIT */
/* The trial of the new program, the moment of silence, and its execution. */
#include "config.h"

#include "serve/handover.h"

#include <dirent.h>
#include <errno.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/table_save.h"
#include "serve/handover_state.h"
#include "serve/server_private.h"
#include "util/alloc.h"
#include "util/log.h"
#include "util/record.h"

#define MS_US INT64_C(1000)
/* What commands on their way get before they have to travel as unsettled. */
#define DRAIN_US (200 * MS_US)

enum { TRIAL_SECONDS = 5, TRIAL_FD = 3, OUTPUT_SIZE = 4096 };

/* What the new program says when it could go on; its version follows. */
static const char ready_words[] = "ready to take over: redmutexd ";

enum handover_state {
	HANDOVER_ASKED,	   /* begins when the turn is over */
	HANDOVER_TRIAL,	   /* the child runs */
	HANDOVER_AGREED,   /* it could go on: waits for a moment without a BREAK */
	HANDOVER_DRAINING, /* no client is heard */
};

struct handover {
	struct server *server;
	struct handover_env env;
	enum handover_state state;
	int64_t until_us; /* DRAINING: the longest */
	int64_t since_us;

	/* The child, while there is one. */
	pid_t pid; /* 0: none */
	int pidfd;
	int output_fd;
	struct event exit_event, output_event, limit_event;
	char output[OUTPUT_SIZE]; /* the first of what it said, terminated */
	size_t output_len;
};

/* ------------------------------------------------------------------ descriptors */

/* From here on nothing is inherited but what is named afterwards. */
static void close_all_on_exec(void)
{
	DIR *dir;
	struct dirent *entry;

#if defined(SYS_close_range)
	if (syscall(SYS_close_range, STDERR_FILENO + 1, ~0u, 1u << 2 /* CLOSE_RANGE_CLOEXEC */) ==
	    0)
		return;
#endif
	dir = opendir("/proc/self/fd");
	while (dir && (entry = readdir(dir))) {
		int fd = atoi(entry->d_name);

		if (fd > STDERR_FILENO)
			fcntl(fd, F_SETFD, FD_CLOEXEC);
	}
	if (dir)
		closedir(dir);
}

static void set_inherited(const struct handover_fds *fds, bool inherited)
{
	for (size_t i = 0; i < fds->n; i++)
		fcntl(fds->fds[i], F_SETFD, inherited ? 0 : FD_CLOEXEC);
}

/* In case that the file is faulty by the time when the next program reads it. */
static void save_conf(const struct conf *conf, struct record_writer *w)
{
	char *text = NULL;
	size_t len;
	FILE *out = open_memstream(&text, &len);

	if (!out)
		return;
	conf_save(conf, out);
	if (fclose(out) == 0) {
		record_begin(w, "conf");
		record_put_text(w, "text", text);
		record_end(w);
		explicit_bzero(text, len);
	}
	free(text);
}

/* The state as a file without a name. Return: it, or a negative errno. */
static int state_open(struct server *server, struct handover_fds *fds, int64_t since_us)
{
	struct record_writer w = {0};
	int fd;

	record_open(&w, PACKAGE_VERSION);
	record_begin(&w, "handover");
	record_put_number(&w, "since_us", since_us);
	record_end(&w);
	save_conf(server->conf, &w);
	server_save(server, &w, fds);
	record_close(&w);
	fd = record_to_fd(&w);
	record_writer_deinit(&w);
	return fd;
}

/* ------------------------------------------------------------------ the end of an attempt */

static void trial_end(struct handover *handover)
{
	if (!handover->pid)
		return;
	event_del(&handover->exit_event);
	event_del(&handover->output_event);
	event_del(&handover->limit_event);
	close(handover->pidfd);
	close(handover->output_fd);
	handover->pid = 0;
}

/* Ends it with all that it has started. */
static void trial_kill(struct handover *handover)
{
	const pid_t pid = handover->pid;

	if (!pid)
		return;
	kill(-pid, SIGKILL);
	kill(pid, SIGKILL);
	trial_end(handover);
	waitpid(pid, NULL, 0);
}

void handover_cancel(struct server *server)
{
	struct handover *handover = server->handover;

	if (!handover)
		return;
	trial_kill(handover);
	server->handover = NULL;
	if (handover->state == HANDOVER_DRAINING)
		server_drain(server, false);
	free(handover);
}

static void log_output(struct handover *handover)
{
	char *rest = handover->output, *line;

	while ((line = strsep(&rest, "\n"))) {
		if (*line)
			log_warning("upgrade: it says: %s", line);
	}
}

/* ------------------------------------------------------------------ the trial */

static void trial_read(struct handover *handover)
{
	char bytes[OUTPUT_SIZE];
	ssize_t n;

	while ((n = read(handover->output_fd, bytes, sizeof(bytes))) > 0) {
		size_t room = OUTPUT_SIZE - 1 - handover->output_len;
		size_t len = (size_t)n < room ? (size_t)n : room;

		memcpy(handover->output + handover->output_len, bytes, len);
		handover->output_len += len;
		handover->output[handover->output_len] = '\0';
	}
	if (n == 0) /* the end: or the loop would call for ever */
		event_del(&handover->output_event);
}

static void trial_output_cb(evutil_socket_t fd, short what, void *arg)
{
	struct handover *handover = arg;

	(void)fd;
	(void)what;
	server_turn(handover->server);
	trial_read(handover);
}

static void trial_exit_cb(evutil_socket_t fd, short what, void *arg)
{
	struct handover *handover = arg;
	const char *words;
	int status = 0;

	(void)fd;
	(void)what;
	server_turn(handover->server);
	trial_read(handover);
	while (waitpid(handover->pid, &status, 0) < 0 && errno == EINTR)
		;
	trial_end(handover);
	words = strstr(handover->output, ready_words);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0 && words) {
		words += strlen(ready_words);
		log_info("upgrade: from redmutexd " PACKAGE_VERSION " to %.*s",
			 (int)strcspn(words, "\n"), words);
		handover->state = HANDOVER_AGREED;
		return;
	}
	if (WIFSIGNALED(status))
		log_error("upgrade: %s was ended by signal %d when it was tried; going on with "
			  "redmutexd " PACKAGE_VERSION,
			  handover->env.path, WTERMSIG(status));
	else
		log_error("upgrade: %s can't take over, it exited with status %d when it was "
			  "tried; going on with redmutexd " PACKAGE_VERSION,
			  handover->env.path, WEXITSTATUS(status));
	log_output(handover);
	handover_cancel(handover->server);
}

static void trial_limit_cb(evutil_socket_t fd, short what, void *arg)
{
	struct handover *handover = arg;

	(void)fd;
	(void)what;
	server_turn(handover->server);
	log_error("upgrade: %s did not say within %d s whether it can take over; going on with "
		  "redmutexd " PACKAGE_VERSION,
		  handover->env.path, TRIAL_SECONDS);
	log_output(handover);
	handover_cancel(handover->server);
}

/* argv with the option behind the program's name. */
static char **trial_argv(char *const *argv)
{
	static char option[] = "--" HANDOVER_OPTION;
	size_t n = 0;
	char **out;

	while (argv[n])
		n++;
	out = xcalloc(n + 2, sizeof(*out));
	out[0] = argv[0];
	out[1] = option;
	for (size_t i = 1; i < n; i++)
		out[i + 1] = argv[i];
	return out;
}

/* In the child. Nothing of the parent's reaches the program but its output and the state. */
static void trial_exec(const struct handover *handover, char **argv, int state_fd, int output_fd)
{
	struct sigaction action = {.sa_handler = SIG_DFL};
	sigset_t none;
	char text[16];

	for (int i = 1; i < NSIG; i++)
		sigaction(i, &action, NULL);
	setpgid(0, 0);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	dup2(output_fd, STDOUT_FILENO);
	dup2(output_fd, STDERR_FILENO);
	close_all_on_exec();
	if (state_fd == TRIAL_FD)
		fcntl(TRIAL_FD, F_SETFD, 0);
	else
		dup2(state_fd, TRIAL_FD);
	snprintf(text, sizeof(text), "%d", TRIAL_FD);
	setenv(HANDOVER_VARIABLE, text, 1);
	/* Its log is what it says: it is not the service. */
	unsetenv("JOURNAL_STREAM");
	unsetenv("NOTIFY_SOCKET");
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	execv(handover->env.path, argv);
	fprintf(stderr, "%s: %s\n", handover->env.path, strerror(errno));
	_exit(127);
}

/* Return: the child; or -1, `errno` says why. Signals must not find it with our handlers. */
static pid_t trial_fork(const struct handover *handover, int state_fd, int output_fd)
{
	char **argv = trial_argv(handover->env.argv);
	sigset_t all, before;
	pid_t pid;
	int error;

	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, &before);
	pid = fork();
	if (pid == 0)
		trial_exec(handover, argv, state_fd, output_fd);
	error = errno;
	sigprocmask(SIG_SETMASK, &before, NULL);
	free(argv);
	errno = error;
	return pid;
}

static void trial_watch(struct handover *handover)
{
	const struct timeval limit = {TRIAL_SECONDS, 0};
	struct event_base *base = handover->server->base;

	event_assign(&handover->exit_event, base, handover->pidfd, EV_READ, trial_exit_cb,
		     handover);
	event_assign(&handover->output_event, base, handover->output_fd, EV_READ | EV_PERSIST,
		     trial_output_cb, handover);
	event_assign(&handover->limit_event, base, -1, 0, trial_limit_cb, handover);
	event_add(&handover->exit_event, NULL);
	event_add(&handover->output_event, NULL);
	event_add(&handover->limit_event, &limit);
	handover->state = HANDOVER_TRIAL;
}

static bool trial_start(struct handover *handover)
{
	struct handover_fds fds = {0};
	int state_fd = state_open(handover->server, &fds, 0), ends[2] = {-1, -1};
	pid_t pid = -1;

	free(fds.fds);
	if (state_fd < 0)
		errno = -state_fd;
	else if (pipe2(ends, O_CLOEXEC) == 0)
		pid = trial_fork(handover, state_fd, ends[1]);
	if (pid > 0) {
		handover->pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
		if (handover->pidfd >= 0) {
			fcntl(ends[0], F_SETFL, O_NONBLOCK);
			handover->pid = pid;
			handover->output_fd = ends[0];
			close(ends[1]);
			close(state_fd);
			trial_watch(handover);
			return true;
		}
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
	}
	log_error("upgrade: can't try %s: %s; going on with redmutexd " PACKAGE_VERSION,
		  handover->env.path, strerror(errno));
	if (ends[0] >= 0) {
		close(ends[0]);
		close(ends[1]);
	}
	if (state_fd >= 0)
		close(state_fd);
	return false;
}

/* ------------------------------------------------------------------ its execution */

/* Signals of ours that come between the two programs wait for the handlers of the second. */
static void block_signals(sigset_t *before)
{
	sigset_t ours;

	sigemptyset(&ours);
	sigaddset(&ours, SIGHUP);
	sigaddset(&ours, SIGINT);
	sigaddset(&ours, SIGTERM);
	sigaddset(&ours, SIGUSR2);
	sigprocmask(SIG_BLOCK, &ours, before);
}

/* Returns when it can't be done, and then all is as it was. */
static void execute(struct handover *handover)
{
	struct handover_fds fds = {0};
	int state_fd = state_open(handover->server, &fds, handover->since_us), error;
	sigset_t before;
	char text[16];

	if (state_fd < 0) {
		log_error("upgrade: can't write the state: %s; going on with "
			  "redmutexd " PACKAGE_VERSION,
			  strerror(-state_fd));
		free(fds.fds);
		return;
	}
	if (handover->env.leaving)
		handover->env.leaving(handover->env.arg, true);
	block_signals(&before);
	close_all_on_exec();
	set_inherited(&fds, true);
	fcntl(state_fd, F_SETFD, 0);
	snprintf(text, sizeof(text), "%d", state_fd);
	setenv(HANDOVER_VARIABLE, text, 1);
	execv(handover->env.path, handover->env.argv);
	error = errno;
	unsetenv(HANDOVER_VARIABLE);
	set_inherited(&fds, false);
	close(state_fd);
	free(fds.fds);
	sigprocmask(SIG_SETMASK, &before, NULL);
	if (handover->env.leaving)
		handover->env.leaving(handover->env.arg, false);
	log_error("upgrade: can't execute %s: %s; going on with redmutexd " PACKAGE_VERSION,
		  handover->env.path, strerror(error));
}

void handover_start(struct server *server, const struct handover_env *env)
{
	struct handover *handover;

	if (server->phase != SERVER_RUNNING) {
		log_warning("upgrade: the daemon stops; nothing is replaced");
		return;
	}
	if (server->handover) {
		log_warning("upgrade: one is under way already");
		return;
	}
	handover = xcalloc(1, sizeof(*handover));
	handover->server = server;
	handover->env = *env;
	handover->state = HANDOVER_ASKED;
	server->handover = handover;
	log_debug("upgrade: trying %s", env->path);
}

bool handover_step(struct server *server)
{
	struct handover *handover = server->handover;
	unsigned n_breaks, n_commands;

	if (handover->state == HANDOVER_ASKED && !trial_start(handover))
		handover_cancel(server);
	if (handover != server->handover || handover->state == HANDOVER_TRIAL)
		return false;

	n_commands = table_n_commands(server->table, &n_breaks);
	if (handover->state == HANDOVER_AGREED) {
		/* A BREAK can't be said twice, so it has to be answered here. */
		if (n_breaks > 0)
			return false;
		handover->state = HANDOVER_DRAINING;
		handover->since_us = server_now_us(server);
		handover->until_us = handover->since_us + DRAIN_US;
		server_drain(server, true);
	}
	if (n_commands > 0 && server_now_us(server) < handover->until_us)
		return false;
	execute(handover);
	handover_cancel(server);
	return true;
}

int64_t handover_due_us(const struct server *server)
{
	const struct handover *handover = server->handover;

	return handover->state == HANDOVER_DRAINING ? handover->until_us : CLOCK_NEVER;
}

/* ------------------------------------------------------------------ in the new program */

/* A store that is not there: nothing is asked of any while the program is only tried. */
static void absent_submit(struct store *store, struct store_op *op)
{
	(void)store;
	(void)op;
}

static void absent_watch(struct store *store, struct store_watch *watch)
{
	(void)store;
	watch->is_ready = false;
}

static void absent_unwatch(struct store *store, struct store_watch *watch)
{
	(void)store;
	(void)watch;
}

static bool absent_flush(struct store *store)
{
	(void)store;
	return false;
}

static void absent_free(struct store *store)
{
	free(store);
}

static struct store *absent_open(const struct store_env *env, const struct store_settings *settings,
				 struct store_listener *listener)
{
	static const struct store_class class = {
		.submit = absent_submit,
		.watch = absent_watch,
		.unwatch = absent_unwatch,
		.flush = absent_flush,
		.free = absent_free,
	};
	struct store *store = xcalloc(1, sizeof(*store));

	(void)env;
	(void)settings;
	store->class = &class;
	store->listener = listener;
	store->name = "tried";
	return store;
}

/* There are passwords in it. Accepts NULL. */
static void text_free(char *data, size_t len)
{
	if (data)
		explicit_bzero(data, len);
	free(data);
}

static bool load(struct server *server, int fd, bool rehearse, char *why, size_t size)
{
	size_t len;
	char *data = record_from_fd(fd, &len);
	bool good;

	if (!data) {
		snprintf(why, size, "the state can't be read: %s", strerror(errno));
		return false;
	}
	good = server_load(server, data, len, rehearse, why, size);
	text_free(data, len);
	return good;
}

int handover_check(const struct server_env *env, struct conf *conf, int fd)
{
	struct server_env alone = *env;
	char why[256] = "";
	struct server *server;

	alone.open_store = absent_open;
	server = server_new(&alone, server_base_new(), conf);
	if (!load(server, fd, true, why, sizeof(why))) {
		fprintf(stderr, "%s\n", why);
		return EXIT_FAILURE;
	}
	printf("%s%s\n", ready_words, PACKAGE_VERSION);
	return fflush(stdout) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

/*
 * The first record of a type in the state. Return: the text that it points into, for text_free();
 * NULL: there is none.
 */
static char *find_record(int fd, const char *type, struct record_reader *reader,
			 struct record *record, size_t *len)
{
	char *data = record_from_fd(fd, len);

	if (data && record_reader_init(reader, data, *len)) {
		while (record_next(reader, record)) {
			if (record_is(record, type))
				return data;
		}
	}
	text_free(data, data ? *len : 0);
	return NULL;
}

/* How long nobody has been served, and who did until then. */
static void log_pause(struct server *server, int fd)
{
	struct record_reader reader;
	struct record record;
	size_t len;
	char *data = find_record(fd, "handover", &reader, &record, &len);

	if (!data)
		return;
	log_info("redmutexd " PACKAGE_VERSION
		 " goes on for redmutexd %s with %u clients, after a pause of %lld us",
		 reader.program, server->n_sessions,
		 (long long)(server_now_us(server) - record_number(&record, "since_us")));
	text_free(data, len);
}

int handover_journal(int fd, char **path)
{
	struct record_reader reader;
	struct record record;
	size_t len;
	char *data = find_record(fd, "journal", &reader, &record, &len);
	int journal_fd = -1;

	*path = NULL;
	if (!data)
		return -1;
	journal_fd = (int)record_number_within(&record, "fd", STDERR_FILENO + 1, INT32_MAX, -1);
	*path = record_text(&record, "path");
	text_free(data, len);
	return *path ? journal_fd : -1;
}

char *handover_conf(int fd)
{
	struct record_reader reader;
	struct record record;
	size_t len;
	char *data = find_record(fd, "conf", &reader, &record, &len), *text;

	if (!data)
		return NULL;
	text = record_text(&record, "text");
	text_free(data, len);
	return text;
}

bool handover_finish(struct server *server, int fd)
{
	char why[256] = "";

	if (!load(server, fd, false, why, sizeof(why))) {
		log_error("upgrade: can't go on with the state of the program before: %s", why);
		return false;
	}
	log_pause(server, fd);
	close(fd);
	return true;
}
