/* SPDX-License-Identifier: MIT */
/* Host names to addresses, off the loop. */
#include "config.h"

#include "store/resolve.h"

#include <assert.h>
#include <errno.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "store/conn.h"
#include "util/alloc.h"

/* Shared by the loop and the thread; whoever lets go of it last frees it. */
struct lookup {
	atomic_int n_refs;
	int done_fd; /* an eventfd: readable when the answer is there */
	char *host;
	char port[8];
	/* The thread's until done_fd is readable, the loop's from then on. */
	struct addrinfo *list;
	int error, system_errno;
	/* The loop's. */
	LIST_ENTRY(lookup) entry;
	struct resolver *resolver;
	struct event event;
};

static const struct addrinfo hints = {
	.ai_family = AF_UNSPEC,
	.ai_socktype = SOCK_STREAM,
	.ai_flags = AI_NUMERICSERV,
};

static void lookup_unref(struct lookup *lookup)
{
	if (atomic_fetch_sub(&lookup->n_refs, 1) > 1)
		return;
	if (lookup->list)
		freeaddrinfo(lookup->list);
	close(lookup->done_fd);
	free(lookup->host);
	free(lookup);
}

static void *lookup_run(void *arg)
{
	struct lookup *lookup = arg;

	lookup->error = getaddrinfo(lookup->host, lookup->port, &hints, &lookup->list);
	lookup->system_errno = errno;
	if (lookup->error)
		lookup->list = NULL;
	/* Cannot fail: the counter is far from full, and the loop's reference is not the fd's. */
	eventfd_write(lookup->done_fd, 1);
	lookup_unref(lookup);
	return NULL;
}

/* Return: 0, or an errno. */
static int lookup_start_thread(struct lookup *lookup)
{
	pthread_attr_t attr;
	pthread_t thread;
	sigset_t all, before;
	int error;

	/* Signals are for the loop's thread. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	error = pthread_create(&thread, &attr, lookup_run, lookup);
	pthread_attr_destroy(&attr);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return error;
}

/* The thread's part of it stays until it ends. */
static void lookup_forget(struct lookup *lookup)
{
	event_del(&lookup->event);
	LIST_REMOVE(lookup, entry);
	lookup_unref(lookup);
}

static void lookup_cb(evutil_socket_t fd, short what, void *arg)
{
	struct lookup *lookup = arg;
	struct resolver *resolver = lookup->resolver;
	struct addrinfo *list = lookup->list;
	bool is_wanted;
	char error[256];

	(void)fd;
	(void)what;
	store_env_turn(resolver->env);
	is_wanted = resolver->wanted == lookup;
	snprintf(error, sizeof(error), "the host '%s' is not found: %s", lookup->host,
		 lookup->error == EAI_SYSTEM ? strerror(lookup->system_errno)
					     : gai_strerror(lookup->error));
	if (is_wanted)
		lookup->list = NULL;
	lookup_forget(lookup);
	if (!is_wanted)
		return;
	resolver->wanted = NULL;
	resolver->done(resolver, list, list ? NULL : error);
}

void resolver_init(struct resolver *resolver, const struct store_env *env, resolver_done_fn *done)
{
	*resolver = (struct resolver){.env = env, .done = done};
	LIST_INIT(&resolver->lookups);
}

void resolver_deinit(struct resolver *resolver)
{
	while (!LIST_EMPTY(&resolver->lookups))
		lookup_forget(LIST_FIRST(&resolver->lookups));
	resolver->wanted = NULL;
}

void resolver_cancel(struct resolver *resolver)
{
	resolver->wanted = NULL;
}

void resolver_start(struct resolver *resolver, const char *host, int port)
{
	struct addrinfo numeric = hints, *list;
	struct lookup *lookup;
	char service[8];
	int error;

	assert(!resolver->wanted);
	snprintf(service, sizeof(service), "%d", port);
	numeric.ai_flags |= AI_NUMERICHOST;
	if (getaddrinfo(host, service, &numeric, &list) == 0) {
		resolver->done(resolver, list, NULL);
		return;
	}
	LIST_FOREACH (lookup, &resolver->lookups, entry) {
		if (strcmp(lookup->host, host) == 0 && strcmp(lookup->port, service) == 0) {
			resolver->wanted = lookup;
			return;
		}
	}
	lookup = xcalloc(1, sizeof(*lookup));
	lookup->done_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	lookup->host = xstrdup(host);
	memcpy(lookup->port, service, sizeof(service));
	atomic_init(&lookup->n_refs, 2);
	error = lookup->done_fd < 0 ? errno : lookup_start_thread(lookup);
	if (error) {
		char text[128];

		lookup_unref(lookup);
		lookup_unref(lookup);
		snprintf(text, sizeof(text), "looking up the host is not possible: %s",
			 strerror(error));
		resolver->done(resolver, NULL, text);
		return;
	}
	lookup->resolver = resolver;
	LIST_INSERT_HEAD(&resolver->lookups, lookup, entry);
	resolver->wanted = lookup;
	event_assign(&lookup->event, resolver->env->base, lookup->done_fd, EV_READ, lookup_cb,
		     lookup);
	event_add(&lookup->event, NULL);
}
