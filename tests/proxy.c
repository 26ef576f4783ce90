/* SPDX-License-Identifier: MIT */
/* What lies between a daemon and its Redis, and fails there. */
#include "config.h"

#include "proxy.h"

#include <check.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness.h"

enum { MAX_RELAYS = 64, CHUNK_SIZE = 1 << 16, ANSWER_MS = 2000 };

struct proxy_orders {
	char text[64]; /* written while `fault` is PROXY_NONE */
	int delay_ms;
	atomic_int fault; /* what is to be done to the next command; PROXY_NONE once it is begun */
	atomic_bool done; /* it has been done */
};

/* A connection of the daemon's and ours to the server for it. */
struct relay {
	int client_fd, server_fd; /* -1: no relay, or its client has hung up */
	char *held;		  /* bytes of the client's for the server; NULL: none */
	size_t held_len;
	long long due_ms; /* when they are passed on */
};

static struct relay relays[MAX_RELAYS];

static void relay_close(struct relay *relay, struct proxy_orders *orders)
{
	if (relay->held)
		orders->done = true; /* nobody waits for it any more */
	if (relay->client_fd >= 0)
		close(relay->client_fd);
	if (relay->server_fd >= 0)
		close(relay->server_fd);
	free(relay->held);
	*relay = (struct relay){.client_fd = -1, .server_fd = -1};
}

static void relay_open(int client_fd, const char *server_path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int server_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	strcpy(address.sun_path, server_path);
	if (connect(server_fd, (struct sockaddr *)&address, sizeof(address)) == 0) {
		for (int i = 0; i < MAX_RELAYS; i++) {
			if (relays[i].server_fd >= 0)
				continue;
			relays[i].client_fd = client_fd;
			relays[i].server_fd = server_fd;
			return;
		}
	}
	close(client_fd);
	close(server_fd);
}

static bool send_all(int fd, const char *bytes, size_t len)
{
	while (len > 0) {
		ssize_t n = send(fd, bytes, len, MSG_NOSIGNAL);

		if (n <= 0)
			return false;
		bytes += n;
		len -= (size_t)n;
	}
	return true;
}

/* The client says something. Return: false when the connection ends. */
static bool relay_forth(struct relay *relay, struct proxy_orders *orders)
{
	static char bytes[CHUNK_SIZE];
	struct pollfd answer = {.fd = relay->server_fd, .events = POLLIN};
	ssize_t n = read(relay->client_fd, bytes, sizeof(bytes));
	enum proxy_fault fault = orders->fault;

	if (n <= 0)
		return false;
	if (fault == PROXY_NONE || !memmem(bytes, (size_t)n, orders->text, strlen(orders->text)))
		return send_all(relay->server_fd, bytes, (size_t)n);
	orders->fault = PROXY_NONE;
	switch (fault) {
	case PROXY_DELAY:
		relay->held = malloc((size_t)n);
		memcpy(relay->held, bytes, (size_t)n);
		relay->held_len = (size_t)n;
		relay->due_ms = now_ms() + orders->delay_ms;
		return true;
	case PROXY_CUT_AFTER:
		if (!send_all(relay->server_fd, bytes, (size_t)n))
			return false;
		/* Once it answers, it has carried out what it read. */
		poll(&answer, 1, ANSWER_MS);
		break;
	default:
		break;
	}
	orders->done = true;
	return false;
}

static bool relay_back(struct relay *relay)
{
	static char bytes[CHUNK_SIZE];
	ssize_t n = read(relay->server_fd, bytes, sizeof(bytes));

	if (n <= 0)
		return false;
	/* What is delayed is passed on though nobody will hear its answer. */
	return send_all(relay->client_fd, bytes, (size_t)n) || relay->held;
}

static bool relay_pass_on_late(struct relay *relay, struct proxy_orders *orders)
{
	bool sent = send_all(relay->server_fd, relay->held, relay->held_len);

	free(relay->held);
	relay->held = NULL;
	orders->done = true;
	return sent;
}

static void proxy_turn(int listen_fd, const char *server_path, struct proxy_orders *orders)
{
	struct pollfd fds[1 + 2 * MAX_RELAYS];
	int timeout_ms = -1;

	fds[0] = (struct pollfd){.fd = listen_fd, .events = POLLIN};
	for (int i = 0; i < MAX_RELAYS; i++) {
		struct relay *relay = &relays[i];

		/* Not even its end is looked at before what it said last was passed on. */
		fds[1 + 2 * i] = (struct pollfd){
			.fd = relay->held ? -1 : relay->client_fd,
			.events = POLLIN,
		};
		fds[2 + 2 * i] = (struct pollfd){.fd = relay->server_fd, .events = POLLIN};
		if (relay->held) {
			long long left_ms = relay->due_ms - now_ms();

			left_ms = left_ms < 0 ? 0 : left_ms;
			if (timeout_ms < 0 || left_ms < timeout_ms)
				timeout_ms = (int)left_ms;
		}
	}
	poll(fds, 1 + 2 * MAX_RELAYS, timeout_ms);
	for (int i = 0; i < MAX_RELAYS; i++) {
		struct relay *relay = &relays[i];
		bool open = true;

		if (relay->held && now_ms() >= relay->due_ms)
			open = relay_pass_on_late(relay, orders);
		if (open && fds[1 + 2 * i].revents)
			open = relay_forth(relay, orders);
		if (open && fds[2 + 2 * i].revents)
			open = relay_back(relay);
		if (!open)
			relay_close(relay, orders);
	}
	if (fds[0].revents)
		relay_open(accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC), server_path);
}

void proxy_start(struct proxy *proxy, const char *server_path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	pid_t parent = getpid();
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	*proxy = (struct proxy){.dir = "/tmp/redmutexd-proxy-XXXXXX"};
	ck_assert_ptr_nonnull(mkdtemp(proxy->dir));
	snprintf(proxy->path, sizeof(proxy->path), "%s/sock", proxy->dir);
	snprintf(proxy->url, sizeof(proxy->url), "unix://%s", proxy->path);
	strcpy(address.sun_path, proxy->path);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	ck_assert_int_eq(listen(fd, MAX_RELAYS), 0);
	proxy->orders = mmap(NULL, sizeof(*proxy->orders), PROT_READ | PROT_WRITE,
			     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ck_assert_ptr_ne(proxy->orders, MAP_FAILED);
	proxy->pid = fork();
	ck_assert_int_ge(proxy->pid, 0);
	if (proxy->pid > 0) {
		close(fd);
		return;
	}
	/* Before the look at the parent: one that has died meanwhile sends no signal. */
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != parent)
		_exit(127);
	for (int i = 0; i < MAX_RELAYS; i++)
		relays[i] = (struct relay){.client_fd = -1, .server_fd = -1};
	for (;;)
		proxy_turn(fd, server_path, proxy->orders);
}

void proxy_stop(struct proxy *proxy)
{
	kill(proxy->pid, SIGKILL);
	ck_assert_int_eq(waitpid(proxy->pid, NULL, 0), proxy->pid);
	munmap(proxy->orders, sizeof(*proxy->orders));
	unlink(proxy->path);
	rmdir(proxy->dir);
}

void proxy_arm(struct proxy *proxy, enum proxy_fault fault, const char *text, int delay_ms)
{
	struct proxy_orders *orders = proxy->orders;

	ck_assert_int_eq(orders->fault, PROXY_NONE);
	snprintf(orders->text, sizeof(orders->text), "%s", text);
	orders->delay_ms = delay_ms;
	orders->done = false;
	orders->fault = (int)fault;
}

void proxy_await(struct proxy *proxy)
{
	long long until_ms = now_ms() + HARNESS_WAIT_MS;

	while (!proxy->orders->done) {
		ck_assert_msg(now_ms() < until_ms, "no such command has come by the proxy");
		poll(NULL, 0, 2);
	}
}
