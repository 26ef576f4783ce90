/* SPDX-License-Identifier: MIT */
/* The numbers over HTTP. */
#include "config.h"

#include "serve/metrics.h"

#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/http.h>
#include <event2/listener.h>
#include <event2/util.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "serve/server_private.h"
#include "serve/stats.h"
#include "util/alloc.h"
#include "util/log.h"
#include "util/record.h"

enum {
	CONNECTIONS_MAX = 16,
	/* Of a request; nobody has more to say than GET /metrics. */
	HEADERS_MAX_BYTES = 8192,
	BODY_MAX_BYTES = 1,
	SILENCE_MAX_S = 5,
	/* Of a connection, from its first byte to its last. */
	LIFE_MAX_US = 10000000,
	BACKLOG = 16,
};

/* One connection. The HTTP server owns it, and tells nobody when it is through: hence the sweep. */
struct visit {
	struct bufferevent *bev; /* a reference of our own; NULL: a free place */
	int64_t until_us;
};

struct metrics {
	struct server *server;
	char *place; /* as configured; NULL: nobody listens */
	char *path;  /* of the socket, to be removed; NULL: it is none of the file system's */
	struct evhttp *http;
	struct evconnlistener *listener; /* the HTTP server's */
	struct visit visits[CONNECTIONS_MAX];
	struct event sweep_event;
};

/* ------------------------------------------------------------------ connections */

static unsigned visits_count(const struct metrics *metrics)
{
	unsigned n = 0;

	for (size_t i = 0; i < CONNECTIONS_MAX; i++)
		n += metrics->visits[i].bev != NULL;
	return n;
}

/* Has the HTTP server let go of it? Then it has taken its callbacks back. */
static bool visit_is_over(const struct visit *visit)
{
	bufferevent_event_cb event_cb;

	bufferevent_getcb(visit->bev, NULL, NULL, &event_cb, NULL);
	return !event_cb;
}

static void visit_end(struct visit *visit)
{
	/* The HTTP server, if it still has it, finds the end of the file, and lets go of it. */
	if (!visit_is_over(visit))
		shutdown(bufferevent_getfd(visit->bev), SHUT_RDWR);
	bufferevent_decref(visit->bev);
	visit->bev = NULL;
}

/*
 * Ends what is through or has taken too long. Since nobody else gives places back, this is also the
 * most that can be asked for: so many answers a second.
 */
static void sweep_cb(evutil_socket_t fd, short what, void *arg)
{
	struct metrics *metrics = arg;
	int64_t now_us = server_now_us(metrics->server);

	(void)fd;
	(void)what;
	server_turn(metrics->server);
	for (size_t i = 0; i < CONNECTIONS_MAX; i++) {
		struct visit *visit = &metrics->visits[i];

		if (visit->bev && (visit_is_over(visit) || now_us >= visit->until_us))
			visit_end(visit);
	}
	if (visits_count(metrics) == 0)
		event_del(&metrics->sweep_event);
	if (metrics->listener)
		evconnlistener_enable(metrics->listener);
}

/* Somebody was let in: the HTTP server wants what it will read from and write to. */
static struct bufferevent *visit_begin(struct event_base *base, void *arg)
{
	const struct timeval second = {1, 0};
	struct metrics *metrics = arg;
	struct bufferevent *bev = bufferevent_socket_new(base, -1, BEV_OPT_CLOSE_ON_FREE);

	/* There is a free place: nobody is let in when there is none. */
	for (size_t i = 0; bev && i < CONNECTIONS_MAX; i++) {
		struct visit *visit = &metrics->visits[i];

		if (visit->bev)
			continue;
		bufferevent_incref(bev);
		visit->bev = bev;
		visit->until_us = server_now_us(metrics->server) + LIFE_MAX_US;
		break;
	}
	if (!event_pending(&metrics->sweep_event, EV_TIMEOUT, NULL))
		event_add(&metrics->sweep_event, &second);
	if (visits_count(metrics) == CONNECTIONS_MAX)
		evconnlistener_disable(metrics->listener);
	return bev;
}

/* ------------------------------------------------------------------ answers */

static const char *type_word(enum stats_type type)
{
	switch (type) {
	case STATS_COUNTER:
		return "counter";
	case STATS_HISTOGRAM:
		return "histogram";
	default:
		return "gauge";
	}
}

static void write_number(void *arg, const char *name, const char *value)
{
	evbuffer_add_printf(arg, "%s %s\n", name, value);
}

static void write_all(struct server *server, struct evbuffer *out)
{
	stats_look(server);
	for (size_t i = 0; i < n_stats_metrics; i++) {
		const struct stats_metric *metric = &stats_metrics[i];

		evbuffer_add_printf(out, "# HELP %s %s\n# TYPE %s %s\n", metric->name, metric->help,
				    metric->name, type_word(metric->type));
		stats_walk_metric(server, metric, write_number, out);
	}
}

static void answer_text(struct evhttp_request *request, int status, const char *reason,
			const char *text)
{
	evhttp_add_header(evhttp_request_get_output_headers(request), "Content-Type",
			  "text/plain; charset=utf-8");
	evbuffer_add_printf(evhttp_request_get_output_buffer(request), "%s\n", text);
	evhttp_send_reply(request, status, reason, NULL);
}

static void request_cb(struct evhttp_request *request, void *arg)
{
	struct metrics *metrics = arg;
	struct evkeyvalq *headers = evhttp_request_get_output_headers(request);
	const char *path = evhttp_uri_get_path(evhttp_request_get_evhttp_uri(request));

	server_turn(metrics->server);
	evhttp_add_header(headers, "Connection", "close");
	if (!path || strcmp(path, "/metrics") != 0) {
		answer_text(request, HTTP_NOTFOUND, "Not Found", "There is only /metrics here.");
		return;
	}
	if (evhttp_request_get_command(request) != EVHTTP_REQ_GET) {
		evhttp_add_header(headers, "Allow", "GET");
		answer_text(request, HTTP_BADMETHOD, "Method Not Allowed", "There is only GET.");
		return;
	}
	evhttp_add_header(headers, "Content-Type", "text/plain; version=0.0.4; charset=utf-8");
	write_all(metrics->server, evhttp_request_get_output_buffer(request));
	evhttp_send_reply(request, HTTP_OK, "OK", NULL);
}

/* ------------------------------------------------------------------ listening */

/* A socket file that nobody listens at any more is removed. Return: 0, or an errno. */
static int remove_stale(const struct sockaddr_un *address)
{
	struct stat status;
	int fd, error = 0;

	if (lstat(address->sun_path, &status) < 0)
		return errno == ENOENT ? 0 : errno;
	if (!S_ISSOCK(status.st_mode))
		return EEXIST;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return errno;
	if (connect(fd, (const struct sockaddr *)address, sizeof(*address)) == 0 ||
	    errno != ECONNREFUSED)
		error = EADDRINUSE;
	close(fd);
	if (!error && unlink(address->sun_path) < 0)
		error = errno;
	return error;
}

/* Return: a socket that listens, or a negative errno. */
static int place_listen(const char *place)
{
	struct sockaddr_storage address = {0};
	struct sockaddr_un *local = (struct sockaddr_un *)&address;
	int len = sizeof(address), on = 1, fd, error;

	if (*place == '/') {
		if (strlen(place) >= sizeof(local->sun_path))
			return -ENAMETOOLONG;
		local->sun_family = AF_UNIX;
		strcpy(local->sun_path, place);
		len = sizeof(*local);
		error = remove_stale(local);
		if (error)
			return -error;
	} else if (evutil_parse_sockaddr_port(place, (struct sockaddr *)&address, &len) < 0) {
		return -EINVAL;
	}
	fd = socket(address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	if (*place != '/')
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	/* Whoever may enter the folder may ask: there are no secrets, as on an address. */
	if (bind(fd, (struct sockaddr *)&address, (socklen_t)len) < 0 ||
	    (*place == '/' && chmod(place, 0666) < 0) || listen(fd, BACKLOG) < 0) {
		error = errno;
		close(fd);
		return -error;
	}
	return fd;
}

/* Serves what comes in at a socket that listens there. */
static void serve(struct metrics *metrics, const char *place, int fd)
{
	const struct timeval silence = {SILENCE_MAX_S, 0};
	struct evhttp_bound_socket *bound;

	metrics->http = evhttp_new(metrics->server->base);
	bound = metrics->http ? evhttp_accept_socket_with_handle(metrics->http, fd) : NULL;
	if (!bound) {
		log_error("metrics: out of memory");
		abort();
	}
	metrics->listener = evhttp_bound_socket_get_listener(bound);
	evhttp_set_timeout_tv(metrics->http, &silence);
	evhttp_set_max_headers_size(metrics->http, HEADERS_MAX_BYTES);
	evhttp_set_max_body_size(metrics->http, BODY_MAX_BYTES);
	evhttp_set_allowed_methods(
		metrics->http, EVHTTP_REQ_GET | EVHTTP_REQ_POST | EVHTTP_REQ_HEAD | EVHTTP_REQ_PUT |
				       EVHTTP_REQ_DELETE | EVHTTP_REQ_OPTIONS | EVHTTP_REQ_TRACE |
				       EVHTTP_REQ_CONNECT | EVHTTP_REQ_PATCH);
	evhttp_set_bevcb(metrics->http, visit_begin, metrics);
	evhttp_set_gencb(metrics->http, request_cb, metrics);
	metrics->place = xstrdup(place);
	metrics->path = *place == '/' ? xstrdup(place) : NULL;
}

static void stop_serving(struct metrics *metrics)
{
	for (size_t i = 0; i < CONNECTIONS_MAX; i++) {
		if (metrics->visits[i].bev)
			visit_end(&metrics->visits[i]);
	}
	event_del(&metrics->sweep_event);
	if (metrics->http)
		evhttp_free(metrics->http);
	if (metrics->path)
		unlink(metrics->path);
	free(metrics->path);
	free(metrics->place);
	metrics->http = NULL;
	metrics->listener = NULL;
	metrics->path = metrics->place = NULL;
}

void metrics_reload(struct metrics *metrics)
{
	const char *place = metrics->server->conf->metrics_listen;
	int fd;

	if (place && metrics->place && strcmp(place, metrics->place) == 0)
		return;
	/* First the new, so that the old is kept if there can't be a new one. */
	fd = place ? place_listen(place) : -1;
	if (place && fd < 0) {
		log_error("metrics_listen = %s: %s; going on %s", place, strerror(-fd),
			  metrics->place ? "where it was" : "without metrics");
		return;
	}
	stop_serving(metrics);
	if (!place)
		return;
	serve(metrics, place, fd);
	log_info("metrics are served at %s%s", place, *place == '/' ? "" : "/metrics");
}

static struct metrics *metrics_new(struct server *server)
{
	struct metrics *metrics = xcalloc(1, sizeof(*metrics));

	metrics->server = server;
	event_assign(&metrics->sweep_event, server->base, -1, EV_PERSIST, sweep_cb, metrics);
	return metrics;
}

struct metrics *metrics_open(struct server *server)
{
	struct metrics *metrics = metrics_new(server);

	metrics_reload(metrics);
	return metrics;
}

void metrics_save(struct metrics *metrics, struct record_writer *w, void (*keep)(void *arg, int fd),
		  void *arg)
{
	if (!metrics->listener)
		return;
	record_put_text(w, "place", metrics->place);
	record_put_number(w, "fd", evconnlistener_get_fd(metrics->listener));
	keep(arg, evconnlistener_get_fd(metrics->listener));
}

struct metrics *metrics_inherit(struct server *server, const char *place, int fd)
{
	struct metrics *metrics = metrics_new(server);

	serve(metrics, place, fd);
	metrics_reload(metrics); /* it may be configured otherwise by now */
	return metrics;
}

void metrics_close(struct metrics *metrics)
{
	if (!metrics)
		return;
	stop_serving(metrics);
	free(metrics);
}
