/* SPDX-License-Identifier: MIT */
/* The command line against a real daemon: exit statuses, and what becomes of the command of `run`.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client_script.h"
#include "harness.h"
#include "suite.h"

#define SECTIONS                                                                                   \
	"[mutex m]\nkey = m\n[mutex other]\nkey = other\n[mutex renewed]\nkey = r\nrenew = yes\n"  \
	"[mutex private]\nkey = p\nallow_users = root\n"                                           \
	"[mutex broken]\nkey = b\nurl = unix:///nonexistent/redis.sock\ncommand_timeout_ms = "     \
	"100\n"
#define REDMUTEX "client/redmutex"

static struct daemon *daemon_;

static void spawn(const char *settings)
{
	daemon_ = daemon_spawn(settings, SECTIONS);
	ck_assert_int_eq(setenv("REDMUTEX_SOCKET", daemon_->socket_path, 1), 0);
}

static void setup(void)
{
	spawn("");
}

static void teardown(void)
{
	daemon_stop(daemon_);
}

/* In a child: run the shell text, with $R for the command line. */
static void exec_shell(const char *text)
{
	sigset_t none;

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	setenv("R", "exec " REDMUTEX, 1);
	setenv("X", REDMUTEX, 1);
	execl("/bin/sh", "sh", "-c", text, (char *)NULL);
	_exit(99);
}

static pid_t start(const char *text)
{
	pid_t pid = fork();

	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		exec_shell(text);
	}
	return pid;
}

/* Return: its exit status, or 1000 and the signal that killed it. */
static int status_of(pid_t pid)
{
	int status;

	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	return WIFSIGNALED(status) ? 1000 + WTERMSIG(status) : WEXITSTATUS(status);
}

static int sh(const char *text)
{
	return status_of(start(text));
}

/* What a command printed, without its last LF; borrowed until the next call. */
static const char *output_of(const char *text)
{
	static char out[65536];
	int fds[2];
	size_t len = 0;
	ssize_t n;
	pid_t pid;

	ck_assert_int_eq(pipe(fds), 0);
	pid = fork();
	if (pid == 0) {
		dup2(fds[1], 1);
		dup2(fds[1], 2);
		close(fds[0]);
		close(fds[1]);
		exec_shell(text);
	}
	close(fds[1]);
	while ((n = read(fds[0], out + len, sizeof(out) - len - 1)) > 0)
		len += (size_t)n;
	close(fds[0]);
	status_of(pid);
	out[len] = '\0';
	if (len > 0 && out[len - 1] == '\n')
		out[len - 1] = '\0';
	return out;
}

/* Waits until a mutex is locked, with n waiters. */
static void await_state(const char *name, const char *locked, int waiters)
{
	struct client *client = client_connect(daemon_);
	long long until = now_ms() + HARNESS_WAIT_MS;
	char pattern[64], count[64];
	const char *line;

	snprintf(pattern, sizeof(pattern), "locked=%s ", locked);
	snprintf(count, sizeof(count), "waiters=%d", waiters);
	do {
		say(client, "INFO %s", name);
		line = hear(client);
		ck_assert_msg(now_ms() < until, "%s has not come to %s %s: %s", name, pattern,
			      count, line);
		poll(NULL, 0, 2);
	} while (strstr(line, pattern) == NULL || strstr(line, count) == NULL);
	client_close(client);
}

/* A pid that the command wrote to a file, once it has. */
static pid_t await_pid(const char *file)
{
	long long until = now_ms() + HARNESS_WAIT_MS;
	char path[256];
	long pid = 0;
	FILE *in;

	snprintf(path, sizeof(path), "%s/%s", daemon_->dir, file);
	while (pid == 0) {
		ck_assert_msg(now_ms() < until, "the command wrote no pid");
		in = fopen(path, "r");
		if (in != NULL) {
			if (fscanf(in, "%ld\n", &pid) != 1)
				pid = 0;
			fclose(in);
		}
		poll(NULL, 0, 2);
	}
	ck_assert_int_eq(unlink(path), 0);
	return (pid_t)pid;
}

/* Is the process there, and not only waiting to be reaped? */
static bool is_alive(pid_t pid)
{
	char path[64], text[512] = "";
	const char *state;
	FILE *in;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	in = fopen(path, "r");
	if (in == NULL)
		return false;
	if (fgets(text, sizeof(text), in) == NULL)
		text[0] = '\0';
	fclose(in);
	state = strrchr(text, ')');
	return state != NULL && state[2] != 'Z' && state[2] != 'X';
}

static void export_folder(void)
{
	ck_assert_int_eq(setenv("D", daemon_->dir, 1), 0);
}

static const struct {
	const char *text;
	int status;
} statuses[] = {
	{"$R ping >/dev/null", 0},
	{"$R exists m", 1},
	{"export POSIXLY_CORRECT=1; $R exists m --json >/dev/null", 1},
	{"export POSIXLY_CORRECT=1; $R run m -- printenv POSIXLY_CORRECT >/dev/null", 0},
	{"$R run m -- true", 0},
	{"$R run m true", 0},
	{"$R run -w .5 m -- true", 0},
	{"$R run -w 5. m true", 0},
	{"$R run --timeout 0.5 m true", 0},
	{"$R run m -- sh -c 'exit 7'", 7},
	{"$R run m -c 'exit 8'", 8},
	{"$R run -c 'exit 9' m", 9},
	{"$R run m -- sh -c 'kill -9 $$'", 137},
	{"$R run m -- /nonexistent 2>/dev/null", 127},
	{"$R run m -- nonexistent 2>/dev/null", 127},
	{"$R run m -- /etc/passwd 2>/dev/null", 126},
	{"$R run m -- / 2>/dev/null", 126},
	{"$R run -n m -- $X exists m", 0},
	{"$R run m -- $X run -n m true", 1},
	{"$R run m -- $X run -w 0.02 m true", 1},
	{"$R run m -- $X run -n -E 33 m true", 33},
	{"$R run m -- $X acquire -n --detach m", 1},
	{"$R run m -- $X acquire -w 0.02 -E 34 --detach m", 34},
	{"$R release m AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA= 2>/dev/null", 1},
	{"$R release m nonsense 2>/dev/null", 1},
	{"$R extend m AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA= 2>/dev/null", 1},
	{"$R break m 2>/dev/null", 1},
	{"$R info nope 2>/dev/null", 64},
	{"$R run nope true 2>/dev/null", 64},
	{"$R info 'two words' 2>/dev/null", 64},
	{"$R 2>/dev/null", 64},
	{"$R frobnicate 2>/dev/null", 64},
	{"$R run 2>/dev/null", 64},
	{"$R run m 2>/dev/null", 64},
	{"$R run -w soon m true 2>/dev/null", 64},
	{"$R run -w . m true 2>/dev/null", 64},
	{"$R run -w -1 m true 2>/dev/null", 64},
	{"$R -s '' ping 2>/dev/null", 64},
	{"$R run -t 0.001 m true 2>/dev/null", 64},
	{"$R run -E 256 m true 2>/dev/null", 64},
	{"$R run --on-lost=panic m true 2>/dev/null", 64},
	{"$R run --frobnicate m true 2>/dev/null", 64},
	{"$R acquire m 2>/dev/null", 64},
	{"$R acquire --pid 1 --detach m 2>/dev/null", 64},
	{"$R release m 2>/dev/null", 64},
	{"$R exists 2>/dev/null", 64},
	{"$R list a b 2>/dev/null", 64},
	{"$R -s /nonexistent/sock ping 2>/dev/null", 69},
	{"$R run -n broken true 2>/dev/null", 69},
	{"$R exists broken 2>/dev/null", 69},
	{"$R run m true <&- >&- 2>&-", 0},
	{"$R list > /dev/full 2>/dev/null", 74},
	{"$R --help >/dev/null", 0},
	{"$R --version >/dev/null", 0},
	{"$R run --help >/dev/null", 0},
	{"$R info --help >/dev/null", 0},
};

START_TEST(each_outcome_has_its_exit_status)
	{
		ck_assert_msg(sh(statuses[_i].text) == statuses[_i].status, "%s",
			      statuses[_i].text);
	}
END_TEST

START_TEST(denied_is_77_and_a_limit_75)
	{
		pid_t holder, waiter;

		if (getuid() != 0)
			return;
		daemon_stop(daemon_);
		spawn("max_waiters = 1\n");
		ck_assert_int_eq(chmod(daemon_->dir, 0755), 0);
		ck_assert_int_eq(chmod(daemon_->socket_path, 0600), 0);
		ck_assert_int_eq(sh("setpriv --reuid 65534 --clear-groups $X ping 2>/dev/null"),
				 77);
		ck_assert_int_eq(chmod(daemon_->socket_path, 0666), 0);
		ck_assert_int_eq(sh("setpriv --reuid 65534 --clear-groups $X run private true "
				    "2>/dev/null"),
				 77);
		holder = start("$R run m sleep 20");
		await_state("m", "true", 0);
		waiter = start("$R run m true");
		await_state("m", "true", 1);
		ck_assert_int_eq(sh("$R run m true 2>/dev/null"), 75);
		kill(waiter, SIGTERM);
		ck_assert_int_eq(status_of(waiter), 128 + SIGTERM);
		kill(holder, SIGTERM);
		ck_assert_int_eq(status_of(holder), 128 + SIGTERM);
	}
END_TEST

START_TEST(a_daemon_that_is_not_understood_is_70)
	{
		static const char *const steps[] = {
			"< HELLO *", "> @hello ERR unsupported this speaks 2", "EOF", NULL};
		struct script script;

		script_start(&script, steps);
		ck_assert_int_eq(setenv("S", script.path, 1), 0);
		ck_assert_int_eq(sh("$R -s $S ping 2>/dev/null"), 70);
		script_end(&script);
	}
END_TEST

START_TEST(errors_say_what_to_do)
	{
		ck_assert_str_eq(
			output_of("$R -s /nonexistent/sock ping"),
			"redmutex: cannot connect to /nonexistent/sock: No such file or directory; "
			"is redmutexd running? try: systemctl status redmutexd");
		ck_assert_ptr_nonnull(strstr(output_of("$R acquire m"), "--pid $$"));
		ck_assert_ptr_nonnull(strstr(output_of("$R run m nonexistent"),
					     "cannot execute nonexistent: No such file"));
		ck_assert_ptr_nonnull(strstr(output_of("$R info nope"), "redmutexd.ini"));
		ck_assert_ptr_nonnull(strstr(output_of("$R run m nonexistent"), "PATH"));
		ck_assert_ptr_nonnull(strstr(output_of("$R run m -n true"), "before the name"));
		ck_assert_ptr_nonnull(strstr(output_of("$R run -w"), "-w needs a value"));
		ck_assert_ptr_nonnull(strstr(output_of("$R run -nq m true"), "no such option: -q"));
		ck_assert_ptr_nonnull(strstr(output_of("$R list --jsn"), "no such option: --jsn"));
		ck_assert_ptr_nonnull(strstr(output_of("$R list 'a b'"), "a pattern is"));
		ck_assert_str_eq(output_of("$R break m"), "redmutex: m: nobody holds it");
		ck_assert_str_eq(output_of("$R frob"),
				 "redmutex: there is no command frob; try: redmutex --help");
	}
END_TEST

START_TEST(the_command_knows_its_lock)
	{
		ck_assert_str_eq(
			output_of("$R run m -- sh -c 'echo $REDMUTEX_NAME ${#REDMUTEX_LOCK}; "
				  "test $REDMUTEX_FENCE -gt 0 && echo fence'"),
			"m 44\nfence");
		ck_assert_str_eq(output_of("echo in | $X run m cat"), "in");
	}
END_TEST

START_TEST(a_lock_can_outlive_its_command)
	{
		ck_assert_int_eq(sh("l=$($X acquire --detach -t 60 m) && $X exists m && "
				    "$X extend m $l -t 90 && $X release m $l && ! $X exists m"),
				 0);
		ck_assert_int_eq(sh("$X acquire --pid $$ m >/dev/null && $X exists m"), 0);
		await_state("m", "false", 0);
	}
END_TEST

START_TEST(machines_can_read_what_is_printed)
	{
		ck_assert_str_eq(
			output_of("$R info m --json"),
			"{\"name\":\"m\",\"locked\":false,\"holder\":\"none\",\"waiters\":0}");
		ck_assert_ptr_nonnull(strstr(output_of("$R run m -- $X info --json m"),
					     "\"locked\":true,\"holder\":\"here\",\"waiters\":0,"
					     "\"pid\":"));
		/* Whoever is not root is not told of what only root may use. */
		ck_assert_int_eq(sh("$X list --json | python3 -c 'import json,os,sys; "
				    "assert len(json.load(sys.stdin)) == 4 + (os.geteuid() == 0)' "
				    "|| exit 1"),
				 0);
		ck_assert_int_eq(sh("$X stats --json | python3 -c 'import json,sys; "
				    "assert json.load(sys.stdin)'"),
				 0);
		ck_assert_int_eq(
			sh("$X top --json | python3 -c 'import json,os,sys; "
			   "assert json.load(sys.stdin)[\"mutexes\"] == 4 + (os.geteuid() == 0)'"),
			0);
		ck_assert_int_eq(sh("$X acquire --detach --json m | python3 -c 'import json,sys; "
				    "assert len(json.load(sys.stdin)[\"lock\"]) == 44'"),
				 0);
		ck_assert_int_eq(sh("$X break m --json | grep -q true && "
				    "$X exists m --json | grep -q false"),
				 0);
	}
END_TEST

START_TEST(run_waits_its_turn)
	{
		pid_t first = start("$R run m -- sh -c 'sleep 0.2; exit 3'"), second;

		await_state("m", "true", 0);
		second = start("$R run m -- sh -c 'exit 4'");
		ck_assert_int_eq(status_of(first), 3);
		ck_assert_int_eq(status_of(second), 4);
	}
END_TEST

START_TEST(a_daemon_that_stops_or_dies_ends_the_wait)
	{
		pid_t holder = start("$R run m sleep 20 2>/dev/null"), waiter;

		await_state("m", "true", 0);
		export_folder();
		waiter = start("$R run m true 2>$D/said");
		await_state("m", "true", 1);
		kill(daemon_->pid, _i == 0 ? SIGTERM : SIGKILL);
		ck_assert_int_eq(status_of(waiter), _i == 0 ? 75 : 69);
		ck_assert_int_eq(status_of(holder), 76);
		ck_assert_int_eq(sh(_i == 0 ? "grep -q 'is stopping' $D/said"
					    : "grep -q 'try: systemctl status' $D/said"),
				 0);
		daemon_await(daemon_);
		setup();
	}
END_TEST

START_TEST(a_signal_ends_the_wait_and_leaves_the_queue)
	{
		static const int signals[] = {SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGALRM, SIGPIPE};
		pid_t holder = start("$R run m sleep 20"), waiter;

		await_state("m", "true", 0);
		for (size_t i = 0; i < sizeof(signals) / sizeof(*signals); i++) {
			waiter = start(i % 2 ? "$R run m true" : "$R acquire --detach m");
			await_state("m", "true", 1);
			kill(waiter, signals[i]);
			ck_assert_int_eq(status_of(waiter), 128 + signals[i]);
			await_state("m", "true", 0);
		}
		/* What was ignored from the start stays so. */
		waiter = start("trap '' HUP; $R run m true");
		await_state("m", "true", 1);
		kill(waiter, SIGHUP);
		kill(holder, SIGTERM);
		ck_assert_int_eq(status_of(holder), 128 + SIGTERM);
		ck_assert_int_eq(status_of(waiter), 0);
	}
END_TEST

static const int passed_on[] = {SIGHUP,	 SIGINT,  SIGQUIT, SIGABRT, SIGUSR1, SIGSEGV,
				SIGPIPE, SIGALRM, SIGTERM, SIGUSR2, SIGWINCH};

START_TEST(signals_reach_the_group)
	{
		char text[256];
		pid_t run;

		export_folder();
		snprintf(text, sizeof(text),
			 "$R run m -- sh -c 'trap \"exit 40\" %d; echo $$ > $D/pid; "
			 "while :; do sleep 0.01; done'",
			 passed_on[_i]);
		run = start(text);
		await_pid("pid");
		kill(run, passed_on[_i]);
		ck_assert_int_eq(status_of(run), 40);
	}
END_TEST

START_TEST(who_starts_it_may_ignore_its_children)
	{
		pid_t pid = fork();

		if (pid == 0) {
			signal(SIGCHLD, SIG_IGN);
			execl(REDMUTEX, "redmutex", "run", "m", "sh", "-c", "exit 3", (char *)NULL);
			_exit(99);
		}
		ck_assert_int_eq(status_of(pid), 3);
	}
END_TEST

START_TEST(what_the_command_leaves_in_its_group_ends_before_the_lock_does)
	{
		pid_t left;

		export_folder();
		ck_assert_int_eq(sh("$R run m -- sh -c 'sleep 30 & echo $! > $D/pid; exit 5'"), 5);
		left = await_pid("pid");
		ck_assert(!is_alive(left));
		ck_assert_int_eq(sh("$R run --grace 0.1 m -- sh -c 'trap \"\" TERM; sleep 30 & "
				    "echo $! > $D/pid; exit 6'"),
				 6);
		left = await_pid("pid");
		ck_assert(!is_alive(left));
	}
END_TEST

START_TEST(a_lease_that_runs_out_ends_the_command_first)
	{
		long long begin = now_ms();

		ck_assert_int_eq(sh("$R run -t 0.6 m sleep 20"), 76);
		ck_assert_int_ge(now_ms() - begin, 250);
		ck_assert_int_lt(now_ms() - begin, 600);
		begin = now_ms();
		ck_assert_int_eq(sh("$R run -t 0.6 m -- sh -c 'trap \"\" TERM; "
				    "while :; do sleep 0.01; done' 2>/dev/null"),
				 76);
		ck_assert_int_ge(now_ms() - begin, 450);
		ck_assert_int_lt(now_ms() - begin, 900);
		/* However it ends. */
		ck_assert_int_eq(sh("$R run -t 0.3 m -- sh -c 'trap \"exit 0\" TERM; while :; do "
				    "sleep 0.01; done'"),
				 76);
	}
END_TEST

START_TEST(nobody_else_has_the_lock_before_the_command_is_dead)
	{
		struct client *client = client_connect(daemon_);
		pid_t run, command;

		export_folder();
		run = start("$R run -t 2 m -- sh -c 'trap \"\" TERM; echo $$ > $D/pid; "
			    "while :; do sleep 0.01; done' 2>/dev/null");
		command = await_pid("pid");
		free(acquire(client, "m wait=3000"));
		ck_assert(!is_alive(command));
		ck_assert_int_eq(status_of(run), 76);
		client_close(client);
	}
END_TEST

START_TEST(a_daemon_that_hangs_does_not_keep_the_command_alive)
	{
		long long begin = now_ms();
		pid_t run = start("$R run -t 0.6 m -- sh -c 'trap \"\" TERM; "
				  "while :; do sleep 0.01; done' 2>/dev/null");

		await_state("m", "true", 0);
		kill(daemon_->pid, SIGSTOP);
		/* It could not release at the end either; the lease is over all the same. */
		poll(NULL, 0, 900);
		kill(daemon_->pid, SIGCONT);
		ck_assert_int_eq(status_of(run), 76);
		ck_assert_int_lt(now_ms() - begin, 2000);
	}
END_TEST

START_TEST(renewed_it_goes_on)
	{
		/* Each outlives its lease; a third of that is what a busy machine may take. */
		pid_t asked = start("$R run --renew -t 3 m sleep 4");
		pid_t configured = start("$R run -t 3 renewed sleep 4");
		pid_t ignored = start("$R run --on-lost=ignore -t 1.5 other -- sh -c 'sleep 2; "
				      "exit 3'");

		ck_assert_int_eq(status_of(asked), 0);
		ck_assert_int_eq(status_of(configured), 0);
		ck_assert_int_eq(status_of(ignored), 3);
	}
END_TEST

START_TEST(a_broken_lock_brings_sigterm_and_after_a_grace_sigkill)
	{
		pid_t run;
		long long begin;

		export_folder();
		run = start("$R run m -- sh -c 'trap \"echo 1 > $D/term; exit 3\" TERM; "
			    "echo $$ > $D/pid; while :; do sleep 0.01; done' 2>/dev/null");
		await_pid("pid");
		ck_assert_int_eq(sh("$R break m"), 0);
		ck_assert_int_eq(status_of(run), 76);
		await_pid("term");
		run = start("$R run --grace 0.3 m -- sh -c 'trap \"\" TERM; echo $$ > $D/pid; "
			    "while :; do sleep 0.01; done' 2>/dev/null");
		await_pid("pid");
		begin = now_ms();
		ck_assert_int_eq(sh("$R break m"), 0);
		ck_assert_int_eq(status_of(run), 76);
		ck_assert_int_ge(now_ms() - begin, 290);
		ck_assert_int_lt(now_ms() - begin, 1000);
	}
END_TEST

START_TEST(a_daemon_that_stops_or_dies_has_the_group_dead_in_half_a_second)
	{
		static const int signals[] = {SIGTERM, SIGKILL};
		long long begin;
		pid_t run, command;

		export_folder();
		run = start("$R run --grace 9 m -- sh -c 'trap \"\" TERM; echo $$ > $D/pid; "
			    "while :; do sleep 0.01; done' 2>/dev/null");
		command = await_pid("pid");
		begin = now_ms();
		kill(daemon_->pid, signals[_i]);
		while (is_alive(command))
			poll(NULL, 0, 1);
		ck_assert_int_lt(now_ms() - begin, 500);
		ck_assert_int_eq(status_of(run), 76);
		daemon_await(daemon_);
		setup();
	}
END_TEST

START_TEST(a_command_is_never_started_without_its_lock)
	{
		pid_t holder = start("$R run m sleep 20"), waiter;

		await_state("m", "true", 0);
		export_folder();
		waiter = start("$R run -t 0.1 m -- touch $D/started 2>/dev/null");
		await_state("m", "true", 1);
		/* The lease comes and goes while the waiter can't look. */
		kill(waiter, SIGSTOP);
		kill(holder, SIGTERM);
		ck_assert_int_eq(status_of(holder), 128 + SIGTERM);
		await_state("m", "true", 0);
		await_state("m", "false", 0);
		kill(waiter, SIGCONT);
		ck_assert_int_eq(status_of(waiter), 76);
		ck_assert_int_ne(sh("test -e $D/started"), 0);
	}
END_TEST

START_TEST(killing_run_never_leaves_its_group_without_the_lock)
	{
		enum { TIMES = 40 };
		struct client *client = client_connect(daemon_);

		export_folder();
		for (int i = 0; i < TIMES; i++) {
			pid_t run = start("$R run m -- sh -c 'trap \"\" TERM; "
					  "sh -c \"echo \\$\\$ > $D/child; sleep 30\" & "
					  "echo $$ > $D/pid; wait'");
			pid_t command = await_pid("pid"), child = await_pid("child");
			char *lock;

			kill(run, SIGKILL);
			lock = acquire(client, "m wait=3000");
			ck_assert(!is_alive(command));
			ck_assert(!is_alive(child));
			say(client, "RELEASE m %s", lock);
			expect(client, "OK");
			free(lock);
			ck_assert_int_eq(status_of(run), 1000 + SIGKILL);
		}
		client_close(client);
	}
END_TEST

START_TEST(killing_by_the_name_of_run_spares_the_guard)
	{
		struct client *client = client_connect(daemon_);
		pid_t run, command, child;
		char *lock;

		export_folder();
		run = start("$X run m -- sh -c 'sh -c \"echo \\$\\$ > $D/child; sleep 30\" & "
			    "echo $$ > $D/pid; wait' $D");
		command = await_pid("pid");
		child = await_pid("child");
		/* As `pkill redmutex` does it, but for those of other tests. */
		ck_assert_int_eq(sh("exec pkill -KILL -f \"^$X run .*$D\""), 0);
		lock = acquire(client, "m wait=3000");
		ck_assert(!is_alive(command));
		ck_assert(!is_alive(child));
		free(lock);
		status_of(run);
		client_close(client);
	}
END_TEST

START_TEST(a_run_that_is_stopped_does_not_outlast_its_lease)
	{
		pid_t run, command;
		long long begin;

		export_folder();
		run = start("$R run -t 0.8 m -- sh -c 'trap \"\" TERM; echo $$ > $D/pid; "
			    "while :; do sleep 0.01; done' 2>/dev/null");
		command = await_pid("pid");
		kill(run, SIGSTOP);
		/* The guard ends it, as soon as a busy machine lets it. */
		begin = now_ms();
		while (is_alive(command))
			poll(NULL, 0, 1);
		ck_assert_int_lt(now_ms() - begin, 1500);
		kill(run, SIGCONT);
		ck_assert_int_eq(status_of(run), 76);
	}
END_TEST

/* At any moment: the kill comes while run connects, waits, starts its command, or ends. */
START_TEST(killing_run_at_any_moment_leaves_nothing_behind)
	{
		enum { TIMES = 150 };
		struct client *client = client_connect(daemon_);

		export_folder();
		for (int i = 0; i < TIMES; i++) {
			pid_t run = start("$R run m -- sh -c 'echo $$ > $D/pid; sleep 30'");
			char path[256], *lock;
			FILE *in;
			int pid;

			poll(NULL, 0, 0);
			usleep((unsigned)(i * 40));
			kill(run, SIGKILL);
			status_of(run);
			lock = acquire(client, "m wait=3000");
			snprintf(path, sizeof(path), "%s/pid", daemon_->dir);
			in = fopen(path, "r");
			if (in != NULL) {
				if (fscanf(in, "%d", &pid) == 1)
					ck_assert_msg(!is_alive(pid), "round %d", i);
				fclose(in);
				unlink(path);
			}
			say(client, "RELEASE m %s", lock);
			expect(client, "OK");
			free(lock);
		}
		client_close(client);
	}
END_TEST

START_TEST(a_guard_that_is_killed_is_replaced)
	{
		struct client *client = client_connect(daemon_);
		pid_t run, command;
		char text[256], *lock;

		export_folder();
		run = start("$R run m -- sh -c 'echo $$ > $D/pid; sleep 30'");
		command = await_pid("pid");
		snprintf(text, sizeof(text), "pkill -KILL -P %d rmx-guard", (int)run);
		ck_assert_int_eq(sh(text), 0);
		snprintf(text, sizeof(text),
			 "while ! pgrep -P %d rmx-guard >/dev/null; do sleep 0.01; done", (int)run);
		ck_assert_int_eq(sh(text), 0);
		poll(NULL, 0, 20);
		kill(run, SIGKILL);
		lock = acquire(client, "m wait=3000");
		ck_assert(!is_alive(command));
		free(lock);
		status_of(run);
		client_close(client);
	}
END_TEST

START_TEST(a_guard_that_is_killed_during_the_wait_is_replaced)
	{
		pid_t holder = start("$R run m sleep 20"), waiter;
		char text[256];

		await_state("m", "true", 0);
		waiter = start("$R run m -- sh -c 'exit 5'");
		await_state("m", "true", 1);
		snprintf(text, sizeof(text),
			 "while ! pkill -KILL -P %d rmx-guard; do sleep 0.01; done", (int)waiter);
		ck_assert_int_eq(sh(text), 0);
		kill(holder, SIGTERM);
		ck_assert_int_eq(status_of(holder), 128 + SIGTERM);
		ck_assert_int_eq(status_of(waiter), 5);
	}
END_TEST

START_TEST(it_keeps_no_stream_open)
	{
		/* The guard must not hold the pipe that the reader waits for the end of. */
		ck_assert_str_eq(
			output_of("$X run m -- sh -c 'echo a; exec >&- 2>&-; sleep 0.1' | cat"),
			"a");
	}
END_TEST

/* Reads from the terminal until a text has come. */
static void await_text(int fd, const char *text)
{
	struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
	char seen[4096] = "";
	size_t len = 0;

	while (strstr(seen, text) == NULL) {
		ssize_t n;

		ck_assert_msg(poll(&poll_fd, 1, HARNESS_WAIT_MS) > 0, "%s did not come: %s", text,
			      seen);
		n = read(fd, seen + len, sizeof(seen) - len - 1);
		ck_assert_int_gt(n, 0);
		len += (size_t)n;
		seen[len] = '\0';
	}
}

START_TEST(the_terminal_goes_with_the_command)
	{
		int fd, status;
		pid_t pid = forkpty(&fd, NULL, NULL, NULL);

		if (pid == 0)
			exec_shell("$R run m -- sh -c 'trap \"echo got int; exit 41\" INT; echo "
				   "ready; "
				   "read x; echo read $x; read y'");
		await_text(fd, "ready");
		ck_assert_int_eq(write(fd, "word\n", 5), 5);
		await_text(fd, "read word");
		/* ^Z stops the command, and `run` for the shell to see. */
		ck_assert_int_eq(write(fd, "\x1a", 1), 1);
		ck_assert_int_eq(waitpid(pid, &status, WUNTRACED), pid);
		ck_assert(WIFSTOPPED(status));
		kill(pid, SIGCONT);
		poll(NULL, 0, 50);
		ck_assert_int_eq(write(fd, "\x03", 1), 1);
		await_text(fd, "got int");
		ck_assert_int_eq(status_of(pid), 41);
		close(fd);
	}
END_TEST

START_TEST(a_wait_is_shown_on_a_terminal_after_a_second)
	{
		pid_t holder = start("$R run m sleep 20"), pid;
		int fd;

		await_state("m", "true", 0);
		pid = forkpty(&fd, NULL, NULL, NULL);
		if (pid == 0)
			exec_shell("TERM=xterm $R run m true");
		await_text(fd, "waiting for m, place 1 of 1: held here by pid ");
		kill(pid, SIGTERM);
		ck_assert_int_eq(status_of(pid), 128 + SIGTERM);
		kill(holder, SIGTERM);
		status_of(holder);
		close(fd);
	}
END_TEST

static const char *const examples[] = {
	"examples/poll_loop m", "examples/libevent_loop m other renewed m",
	"examples/threads m",	"examples/synchronize m",
	"examples/guard m",	"examples/fenced_worker m $D/store",
};

START_TEST(the_examples_do_what_they_say)
	{
		char text[256];

		export_folder();
		snprintf(text, sizeof(text), "%s >/dev/null", examples[_i]);
		ck_assert_msg(sh(text) == 0, "%s", examples[_i]);
		await_state("m", "false", 0);
	}
END_TEST

int main(void)
{
	Suite *suite = suite_create("client/command");
	TCase *outcomes = tcase_create("outcomes");
	TCase *run = tcase_create("run");

	tcase_add_unchecked_fixture(outcomes, setup, teardown);
	tcase_add_loop_test(outcomes, each_outcome_has_its_exit_status, 0,
			    sizeof(statuses) / sizeof(*statuses));
	tcase_add_test(outcomes, a_daemon_that_is_not_understood_is_70);
	tcase_add_test(outcomes, errors_say_what_to_do);
	tcase_add_test(outcomes, the_command_knows_its_lock);
	tcase_add_test(outcomes, a_lock_can_outlive_its_command);
	tcase_add_test(outcomes, machines_can_read_what_is_printed);
	tcase_add_loop_test(outcomes, the_examples_do_what_they_say, 0,
			    sizeof(examples) / sizeof(*examples));
	suite_add_tcase(suite, outcomes);

	tcase_add_checked_fixture(run, setup, teardown);
	tcase_set_timeout(run, 60);
	tcase_add_test(run, denied_is_77_and_a_limit_75);
	tcase_add_test(run, run_waits_its_turn);
	tcase_add_loop_test(run, a_daemon_that_stops_or_dies_ends_the_wait, 0, 2);
	tcase_add_test(run, a_signal_ends_the_wait_and_leaves_the_queue);
	tcase_add_loop_test(run, signals_reach_the_group, 0,
			    sizeof(passed_on) / sizeof(*passed_on));
	tcase_add_test(run, who_starts_it_may_ignore_its_children);
	tcase_add_test(run, what_the_command_leaves_in_its_group_ends_before_the_lock_does);
	tcase_add_test(run, a_lease_that_runs_out_ends_the_command_first);
	tcase_add_test(run, nobody_else_has_the_lock_before_the_command_is_dead);
	tcase_add_test(run, a_daemon_that_hangs_does_not_keep_the_command_alive);
	tcase_add_test(run, renewed_it_goes_on);
	tcase_add_test(run, a_broken_lock_brings_sigterm_and_after_a_grace_sigkill);
	tcase_add_loop_test(run, a_daemon_that_stops_or_dies_has_the_group_dead_in_half_a_second, 0,
			    2);
	tcase_add_test(run, a_command_is_never_started_without_its_lock);
	tcase_add_test(run, killing_run_never_leaves_its_group_without_the_lock);
	tcase_add_test(run, killing_by_the_name_of_run_spares_the_guard);
	tcase_add_test(run, a_run_that_is_stopped_does_not_outlast_its_lease);
	tcase_add_test(run, killing_run_at_any_moment_leaves_nothing_behind);
	tcase_add_test(run, a_guard_that_is_killed_is_replaced);
	tcase_add_test(run, a_guard_that_is_killed_during_the_wait_is_replaced);
	tcase_add_test(run, it_keeps_no_stream_open);
	tcase_add_test(run, the_terminal_goes_with_the_command);
	tcase_add_test(run, a_wait_is_shown_on_a_terminal_after_a_second);
	suite_add_tcase(suite, run);

	return suite_run(suite);
}
