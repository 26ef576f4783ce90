/* SPDX-License-Identifier: MIT */
/* A server that speaks Redis's protocol and says what a test wants it to say. */
#include "config.h"

#include "fake_redis.h"

#include <arpa/inet.h>
#include <check.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "util/alloc.h"

const char fake_usual[] = "usual";
const char fake_silence[] = "";
const char fake_drop[] = "drop";

struct fake_client {
	LIST_ENTRY(fake_client) entry;
	struct fake_redis *fake;
	int fd;
	unsigned id;
	struct event *event;
	redisReader *reader; /* a command is an array of strings, as replies may be */
	char *held;	     /* what is to be said after the delay; NULL: nothing */
	struct event *timer;
};

bool fake_is(const redisReply *command, const char *verb)
{
	return strcasecmp(command->element[0]->str, verb) == 0;
}

static void fake_client_free(struct fake_client *client)
{
	LIST_REMOVE(client, entry);
	event_free(client->event);
	event_free(client->timer);
	close(client->fd);
	redisReaderFree(client->reader);
	free(client->held);
	free(client);
}

static void fake_say_now(struct fake_client *client, const char *text)
{
	size_t len = strlen(text);
	ssize_t n = send(client->fd, text, len, MSG_NOSIGNAL);

	/* Whom it was meant for may have left. */
	ck_assert(n == (ssize_t)len || (n < 0 && (errno == EPIPE || errno == ECONNRESET)));
}

static void fake_timer_cb(evutil_socket_t fd, short what, void *arg)
{
	struct fake_client *client = arg;
	char *held = client->held;

	(void)fd;
	(void)what;
	client->held = NULL;
	fake_say_now(client, held);
	free(held);
}

static void fake_say(struct fake_client *client, const char *text)
{
	const int delay_ms = client->fake->delay_ms;
	struct timeval delay = {.tv_sec = delay_ms / 1000, .tv_usec = delay_ms % 1000 * 1000};
	char *held = client->held;

	if (delay_ms == 0) {
		fake_say_now(client, text);
		return;
	}
	client->held = xasprintf("%s%s", held ? held : "", text);
	if (!held)
		event_add(client->timer, &delay);
	free(held);
}

void fake_redis_say(struct fake_redis *fake, const char *text)
{
	struct fake_client *client;

	LIST_FOREACH (client, &fake->clients, entry)
		fake_say(client, text);
}

static void fake_say_bulk(struct fake_client *client, const char *text)
{
	char head[32];

	snprintf(head, sizeof(head), "$%zu\r\n", strlen(text));
	fake_say(client, head);
	fake_say(client, text);
	fake_say(client, "\r\n");
}

static void fake_say_usual(struct fake_client *client, const redisReply *command)
{
	struct fake_redis *fake = client->fake;
	const char *second = command->elements > 1 ? command->element[1]->str : "";
	char text[256];

	if (fake_is(command, "CLIENT") && strcasecmp(second, "ID") == 0) {
		snprintf(text, sizeof(text), ":%u\r\n", client->id);
		fake_say(client, text);
	} else if (fake_is(command, "CLIENT") && strcasecmp(second, "KILL") == 0) {
		fake_say(client, ":1\r\n");
	} else if (fake_is(command, "INFO")) {
		snprintf(text, sizeof(text),
			 "# %s\r\nredis_version:7.0.0\r\nrun_id:%s\r\nrole:%s\r\nmaxmemory:0\r\n",
			 second, fake->run_id, fake->role);
		fake_say_bulk(client, text);
	} else if (fake_is(command, "SCRIPT")) {
		fake_say_bulk(client, "0123456789012345678901234567890123456789");
	} else if (fake_is(command, "EVALSHA") || fake_is(command, "EVAL")) {
		fake_say(client, ":0\r\n");
	} else if (fake_is(command, "GET")) {
		fake_say(client, "$-1\r\n");
	} else {
		fake_say(client, "+OK\r\n");
	}
}

static void fake_count(struct fake_redis *fake, const redisReply *command)
{
	fake->n_commands++;
	fake->n_evalsha += fake_is(command, "EVALSHA");
	fake->n_eval += fake_is(command, "EVAL");
	if (fake_is(command, "CLIENT") && strcasecmp(command->element[1]->str, "KILL") == 0) {
		fake->n_kill++;
		snprintf(fake->killed, sizeof(fake->killed), "%s", command->element[3]->str);
	}
}

/* Return: false when the connection is closed. */
static bool fake_command(struct fake_client *client, const redisReply *command)
{
	struct fake_redis *fake = client->fake;
	const char *answer = fake_usual;

	fake_count(fake, command);
	if (fake->answer)
		answer = fake->answer(fake, command);
	if (answer == fake_drop) {
		fake_client_free(client);
		return false;
	}
	if (answer == fake_usual)
		fake_say_usual(client, command);
	else
		fake_say(client, answer);
	return true;
}

static void fake_read_cb(evutil_socket_t fd, short what, void *arg)
{
	static char bytes[1 << 20];
	struct fake_client *client = arg;
	ssize_t n = recv(fd, bytes, sizeof(bytes), 0);
	void *command;

	(void)what;
	if (n <= 0) {
		fake_client_free(client);
		return;
	}
	client->fake->n_reads++;
	ck_assert_int_eq(redisReaderFeed(client->reader, bytes, (size_t)n), REDIS_OK);
	for (;;) {
		bool open;

		ck_assert_int_eq(redisReaderGetReply(client->reader, &command), REDIS_OK);
		if (!command)
			return;
		open = fake_command(client, command);
		freeReplyObject(command);
		if (!open)
			return;
	}
}

static void fake_accept_cb(evutil_socket_t fd, short what, void *arg)
{
	struct fake_redis *fake = arg;
	struct fake_client *client = calloc(1, sizeof(*client));

	(void)what;
	client->fake = fake;
	client->fd = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	ck_assert_int_ge(client->fd, 0);
	client->id = ++fake->n_accepted;
	client->reader = redisReaderCreate();
	client->event =
		event_new(fake->base, client->fd, EV_READ | EV_PERSIST, fake_read_cb, client);
	event_add(client->event, NULL);
	client->timer = evtimer_new(fake->base, fake_timer_cb, client);
	LIST_INSERT_HEAD(&fake->clients, client, entry);
}

static void fake_init(struct fake_redis *fake, struct event_base *base)
{
	*fake = (struct fake_redis){
		.base = base,
		.run_id = "1111111111111111111111111111111111111111",
		.role = "master",
	};
	LIST_INIT(&fake->clients);
}

static void fake_listen(struct fake_redis *fake, const struct sockaddr *address, socklen_t len)
{
	fake->fd = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	ck_assert_int_ge(fake->fd, 0);
	ck_assert_int_eq(bind(fake->fd, address, len), 0);
	ck_assert_int_eq(listen(fake->fd, 64), 0);
	fake->event = event_new(fake->base, fake->fd, EV_READ | EV_PERSIST, fake_accept_cb, fake);
	event_add(fake->event, NULL);
}

void fake_redis_start_tcp(struct fake_redis *fake, struct event_base *base)
{
	struct sockaddr_in address = {.sin_family = AF_INET};
	socklen_t len = sizeof(address);

	fake_init(fake, base);
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	fake_listen(fake, (struct sockaddr *)&address, len);
	ck_assert_int_eq(getsockname(fake->fd, (struct sockaddr *)&address, &len), 0);
	fake->port = ntohs(address.sin_port);
	snprintf(fake->url, sizeof(fake->url), "redis://127.0.0.1:%d", fake->port);
}

void fake_redis_start(struct fake_redis *fake, struct event_base *base)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	fake_init(fake, base);
	strcpy(fake->dir, "/tmp/redmutexd-fake-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(fake->dir));
	snprintf(fake->path, sizeof(fake->path), "%s/sock", fake->dir);
	snprintf(fake->url, sizeof(fake->url), "unix://%s", fake->path);
	strcpy(address.sun_path, fake->path);
	fake_listen(fake, (struct sockaddr *)&address, sizeof(address));
}

void fake_redis_stop(struct fake_redis *fake)
{
	while (!LIST_EMPTY(&fake->clients))
		fake_client_free(LIST_FIRST(&fake->clients));
	event_free(fake->event);
	close(fake->fd);
	if (*fake->dir) {
		unlink(fake->path);
		rmdir(fake->dir);
	}
}
