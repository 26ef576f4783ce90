/* SPDX-License-Identifier: MIT */
/* redmutexd: options, signals, the service manager, and who is wired to whom. */
#include "config.h"

#include <errno.h>
#include <event2/event.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

#ifdef HAVE_LIBSYSTEMD
#include <systemd/sd-daemon.h>
#endif

#include "conf/conf.h"
#include "serve/handover.h"
#include "serve/journal.h"
#include "serve/server.h"
#include "util/alloc.h"
#include "util/log.h"

#define DEFAULT_CONF SYSCONFDIR "/redmutexd.ini"

/* Descriptors for what is neither a client nor a process that owns locks. */
enum { OTHER_DESCRIPTORS = 256 };

struct program {
	const char *conf_path;
	struct event_base *base;
	struct server *server;
	struct event *events[5]; /* signals and the watchdog's timer; NULL: not used */
	struct handover_env handover;
	int handover_fd; /* the state of the program before; -1: none */
};

/* ------------------------------------------------------------------ time and chance */

static int64_t boottime_now_us(struct clock *clock)
{
	struct timespec now;

	(void)clock;
	clock_gettime(CLOCK_BOOTTIME, &now);
	return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

/* Random bytes, taken from the kernel in blocks. */
struct random {
	struct entropy entropy;
	unsigned char block[256]; /* so much is never cut short by a signal */
	size_t left;
};

static void random_fill(struct entropy *entropy, void *buf, size_t size)
{
	struct random *random = container_of(entropy, struct random, entropy);
	unsigned char *out = buf;

	while (size > 0) {
		size_t n;

		if (random->left == 0) {
			if (getrandom(random->block, sizeof(random->block), 0) !=
			    sizeof(random->block)) {
				log_error("getrandom: %s", strerror(errno));
				abort();
			}
			random->left = sizeof(random->block);
		}
		n = size < random->left ? size : random->left;
		memcpy(out, random->block + sizeof(random->block) - random->left, n);
		memset(random->block + sizeof(random->block) - random->left, 0, n);
		random->left -= n;
		out += n;
		size -= n;
	}
}

static struct clock boottime = {.now_us = boottime_now_us};
static struct random chance = {.entropy = {.fill = random_fill}};

/* ------------------------------------------------------------------ the service manager */

#ifdef HAVE_LIBSYSTEMD

static void notify_ready(void)
{
	sd_notify(0, "READY=1");
}

static void notify_reloading(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%lld",
		   (long long)now.tv_sec * 1000000 + now.tv_nsec / 1000);
}

static void notify_stopping(void)
{
	sd_notify(0, "STOPPING=1");
}

static void watchdog_cb(evutil_socket_t fd, short what, void *arg)
{
	struct program *program = arg;

	(void)fd;
	(void)what;
	server_turn(program->server);
	sd_notify(0, "WATCHDOG=1");
}

static struct event *watchdog_start(struct program *program)
{
	struct event *event;
	struct timeval half;
	uint64_t us;

	if (sd_watchdog_enabled(0, &us) <= 0)
		return NULL;
	half = (struct timeval){.tv_sec = (time_t)(us / 2 / 1000000),
				.tv_usec = (suseconds_t)(us / 2 % 1000000)};
	event = event_new(program->base, -1, EV_PERSIST, watchdog_cb, program);
	event_add(event, &half);
	return event;
}

/* Return: the socket that was handed over; -1: none; -2: something else was. */
static int inherited_socket(void)
{
	int n = sd_listen_fds(1);

	if (n <= 0)
		return -1;
	if (n == 1 && sd_is_socket(SD_LISTEN_FDS_START, AF_UNIX, SOCK_STREAM, 1) > 0)
		return SD_LISTEN_FDS_START;
	log_error("%d sockets were handed over; one listening Unix stream socket is expected", n);
	return -2;
}

#else

static void notify_ready(void)
{
}

static void notify_reloading(void)
{
}

static void notify_stopping(void)
{
}

static struct event *watchdog_start(struct program *program)
{
	(void)program;
	return NULL;
}

static int inherited_socket(void)
{
	return -1;
}

#endif

/* ------------------------------------------------------------------ configuration */

static void print_fault(void *arg, const char *file, int line, const char *text)
{
	(void)arg;
	if (line > 0)
		fprintf(stderr, "%s:%d: %s\n", file, line, text);
	else
		fprintf(stderr, "%s: %s\n", file, text);
}

static void log_fault(void *arg, const char *file, int line, const char *text)
{
	(void)arg;
	if (line > 0)
		log_error("%s:%d: %s", file, line, text);
	else
		log_error("%s: %s", file, text);
}

/* As many descriptors as clients may need. */
static void raise_limit(const struct conf *conf)
{
	const rlim_t want = (rlim_t)conf->max_clients + OTHER_DESCRIPTORS;
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur >= want)
		return;
	limit.rlim_cur = limit.rlim_max < want ? limit.rlim_max : want;
	if (setrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur < want)
		log_warning("%llu file descriptors are allowed, and max_clients = %u may need %llu",
			    (unsigned long long)limit.rlim_cur, conf->max_clients,
			    (unsigned long long)want);
}

static void reload(struct program *program)
{
	struct conf *conf;

	notify_reloading();
	conf = conf_load(program->conf_path, log_fault, NULL);
	if (conf) {
		raise_limit(conf);
		server_reload(program->server, conf);
	} else {
		log_error("%s is not taken over; the daemon goes on with what it had",
			  program->conf_path);
	}
	notify_ready();
}

/* ------------------------------------------------------------------ running */

static void signal_cb(evutil_socket_t signal_number, short what, void *arg)
{
	struct program *program = arg;

	(void)what;
	server_turn(program->server);
	if (signal_number == SIGHUP) {
		reload(program);
		return;
	}
	if (signal_number == SIGUSR2) {
		handover_start(program->server, &program->handover);
		return;
	}
	notify_stopping();
	server_stop(program->server);
}

static struct event *signal_start(struct program *program, int signal_number)
{
	struct event *event = evsignal_new(program->base, signal_number, signal_cb, program);

	event_add(event, NULL);
	return event;
}

/* Return: false when the daemon must not run. It can run without a journal. */
static bool open_journal(const struct program *program, const struct conf *conf,
			 struct journal_file **journal)
{
	struct journal_env env = {.path = conf->state_file, .clock = &boottime};
	char *path = NULL;
	int fd = -1, error;

	journal_boot_id(&chance.entropy, env.boot);
	if (program->handover_fd >= 0)
		fd = handover_journal(program->handover_fd, &path);
	if (fd >= 0) {
		env.path = path;
		error = journal_inherit(&env, fd, journal);
	} else {
		error = journal_open(&env, journal);
	}
	free(path);
	if (error < 0)
		log_error("without a state file: what is locked when this process crashes stays "
			  "locked until it expires");
	return error <= 0;
}

/* From here on they find their handlers: the program before this one may have kept them back. */
static void let_signals_come(void)
{
	sigset_t ours;

	sigemptyset(&ours);
	sigaddset(&ours, SIGHUP);
	sigaddset(&ours, SIGINT);
	sigaddset(&ours, SIGTERM);
	sigaddset(&ours, SIGUSR2);
	sigprocmask(SIG_UNBLOCK, &ours, NULL);
}

/* Begins to serve, or goes on with it. Return: whether it can. */
static bool serve(struct program *program)
{
	if (program->handover_fd >= 0)
		return handover_finish(program->server, program->handover_fd);
	return server_listen(program->server) == 0;
}

static int run(struct program *program, struct conf *conf)
{
	struct server_env env = {
		.clock = &boottime,
		.entropy = &chance.entropy,
		.open_store = store_open,
		.listen_fd = program->handover_fd >= 0 ? -1 : inherited_socket(),
	};
	int status = EXIT_FAILURE;

	if (env.listen_fd < -1) {
		conf_free(conf);
		return EX_CONFIG;
	}
	if (!open_journal(program, conf, &env.journal)) {
		conf_free(conf);
		return EXIT_FAILURE;
	}
	signal(SIGPIPE, SIG_IGN);
	raise_limit(conf);
	program->base = server_base_new();
	program->server = server_new(&env, program->base, conf);
	program->events[0] = signal_start(program, SIGTERM);
	program->events[1] = signal_start(program, SIGINT);
	program->events[2] = signal_start(program, SIGHUP);
	program->events[3] = signal_start(program, SIGUSR2);
	let_signals_come();
	if (serve(program)) {
		program->events[4] = watchdog_start(program);
		if (program->handover_fd < 0)
			log_info("redmutexd %s serves %s", PACKAGE_VERSION,
				 env.listen_fd >= 0 ? "the socket that was handed over"
						    : conf->socket_path);
		notify_ready();
		server_run(program->server);
		status = EXIT_SUCCESS;
	} else if (program->handover_fd >= 0) {
		_exit(EXIT_FAILURE); /* touching nothing: the next start finds it as after a crash
				      */
	}
	server_free(program->server);
	journal_close(env.journal);
	for (size_t i = 0; i < sizeof(program->events) / sizeof(*program->events); i++) {
		if (program->events[i])
			event_free(program->events[i]);
	}
	event_base_free(program->base);
	libevent_global_shutdown();
	return status;
}

/* ------------------------------------------------------------------ being replaced */

static void tell_leaving(void *arg, bool leaves)
{
	(void)arg;
	if (leaves)
		notify_reloading();
	else
		notify_ready();
}

/* Is this the file that is running? Return: its absolute path, to be freed, or NULL. */
static char *running_path(const char *path)
{
	struct stat mine, other;
	char *cwd, *absolute;

	if (!path || !strchr(path, '/') || stat(path, &other) < 0 ||
	    stat("/proc/self/exe", &mine) < 0 || mine.st_dev != other.st_dev ||
	    mine.st_ino != other.st_ino)
		return NULL;
	if (*path == '/')
		return xstrdup(path);
	cwd = getcwd(NULL, 0);
	absolute = cwd ? xasprintf("%s/%s", cwd, path) : NULL;
	free(cwd);
	return absolute;
}

/*
 * Where the program is on disk, as it was started, so that a symbolic link is followed anew when
 * it is replaced; or where the kernel has it from.
 */
static char *program_path(const char *name)
{
	static const char deleted[] = " (deleted)";
	char *path = running_path(name), link[4096];
	ssize_t len;

	if (!path)
		path = running_path((const char *)getauxval(AT_EXECFN));
	if (path)
		return path;
	len = readlink("/proc/self/exe", link, sizeof(link) - 1);
	if (len < 0)
		return xstrdup(name);
	link[len] = '\0';
	if ((size_t)len > strlen(deleted) &&
	    strcmp(link + (size_t)len - strlen(deleted), deleted) == 0)
		link[(size_t)len - strlen(deleted)] = '\0';
	return xstrdup(link);
}

/* The state that the program before this one, or the one that tries it, has left. -1: none. */
static int inherited_state(void)
{
	const char *text = getenv(HANDOVER_VARIABLE);
	int fd = text && *text ? atoi(text) : -1;

	unsetenv(HANDOVER_VARIABLE);
	return fd > STDERR_FILENO ? fd : -1;
}

/*
 * The configuration was good when this program was tried, a moment ago. If it is not any more, the
 * one of the program before goes on: locks are held.
 */
static struct conf *inherit_conf(const struct program *program)
{
	char *text = handover_conf(program->handover_fd), path[32];
	struct conf *conf = NULL;
	size_t len;
	int fd;

	if (!text)
		return NULL;
	len = strlen(text);
	fd = memfd_create("redmutexd.ini", MFD_CLOEXEC);
	if (fd >= 0 && write(fd, text, len) == (ssize_t)len) {
		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
		conf = conf_load(path, log_fault, NULL);
	}
	if (fd >= 0)
		close(fd);
	explicit_bzero(text, len);
	free(text);
	if (conf)
		log_error("upgrade: going on with the configuration of before; mend %s and reload "
			  "it",
			  program->conf_path);
	return conf;
}

static int check_handover(const struct program *program, struct conf *conf)
{
	struct server_env env = {.clock = &boottime, .entropy = &chance.entropy, .listen_fd = -1};

	if (program->handover_fd < 0) {
		fprintf(stderr,
			"--" HANDOVER_OPTION ": there is no state in $" HANDOVER_VARIABLE "\n");
		return EX_USAGE;
	}
	raise_limit(conf);
	return handover_check(&env, conf, program->handover_fd);
}

static void print_usage(FILE *out)
{
	fprintf(out,
		"usage: redmutexd [-t] [-c FILE]\n"
		"       redmutexd --dump-config [-c FILE]\n"
		"\n"
		"  -c, --config=FILE   the configuration (%s)\n"
		"  -t, --test          only check it: exit 0, or 78 and name every fault\n"
		"      --dump-config   print what it comes out at, defaults filled in\n"
		"  -h, --help          print this\n"
		"  -V, --version       print the version\n",
		DEFAULT_CONF);
}

int main(int argc, char **argv)
{
	enum { OPTION_DUMP = 256, OPTION_HANDOVER };
	static const struct option options[] = {
		{"config", required_argument, NULL, 'c'},
		{"test", no_argument, NULL, 't'},
		{"dump-config", no_argument, NULL, OPTION_DUMP},
		{HANDOVER_OPTION, no_argument, NULL, OPTION_HANDOVER},
		{"help", no_argument, NULL, 'h'},
		{"version", no_argument, NULL, 'V'},
		{0},
	};
	struct program program = {.conf_path = DEFAULT_CONF, .handover_fd = inherited_state()};
	bool test = false, dump = false, handover = false;
	struct conf *conf;
	char *path;
	int c, status;

	while ((c = getopt_long(argc, argv, "c:thV", options, NULL)) != -1) {
		switch (c) {
		case 'c':
			program.conf_path = optarg;
			break;
		case 't':
			test = true;
			break;
		case OPTION_DUMP:
			dump = true;
			break;
		case OPTION_HANDOVER:
			handover = true;
			break;
		case 'h':
			print_usage(stdout);
			return EXIT_SUCCESS;
		case 'V':
			printf("redmutexd %s\n", PACKAGE_VERSION);
			return EXIT_SUCCESS;
		default:
			print_usage(stderr);
			return EX_USAGE;
		}
	}
	if (optind < argc) {
		fprintf(stderr, "redmutexd: %s: no such argument is expected\n", argv[optind]);
		print_usage(stderr);
		return EX_USAGE;
	}

	log_open();
	conf = conf_load(program.conf_path, test || dump || handover ? print_fault : log_fault,
			 NULL);
	if (!conf && program.handover_fd >= 0 && !handover)
		conf = inherit_conf(&program);
	if (!conf)
		return EX_CONFIG;
	if (handover)
		_exit(check_handover(&program, conf));
	if (dump)
		conf_dump(conf, stdout);
	if (test || dump) {
		conf_free(conf);
		return EXIT_SUCCESS;
	}
	log_set_level(conf->log_level);
	path = program_path(argv[0]);
	program.handover = (struct handover_env){
		.path = path,
		.argv = argv,
		.leaving = tell_leaving,
	};
	status = run(&program, conf);
	free(path);
	return status;
}
