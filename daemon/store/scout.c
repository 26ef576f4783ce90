/* SPDX-License-Identifier: MIT */
/* Asks a node of a cluster which node serves which slots. */
#include "config.h"

#include "store/scout.h"

#include "store/server_error.h"
#include "util/alloc.h"

static struct scout *scout_of(struct conn *conn)
{
	return container_of(conn, struct scout, conn);
}

static void scout_fail(struct scout *scout, const char *error, bool lasting)
{
	conn_close(&scout->conn);
	scout->done(scout, NULL, error, lasting);
}

static void scout_opened(struct conn *conn)
{
	struct scout *scout = scout_of(conn);
	char why[256];

	if (!login_write(scout->login, &conn->out, &scout->n_auth, why, sizeof(why))) {
		scout_fail(scout, why, true);
		return;
	}
	resp_command(&conn->out, 2);
	resp_text(&conn->out, "CLUSTER");
	resp_text(&conn->out, "SLOTS");
	conn_flush(conn);
}

static void scout_failed(struct scout *scout, const char *error)
{
	switch (server_error_classify(error)) {
	case SERVER_ERROR_LOGIN:
	case SERVER_ERROR_DENIED:
	case SERVER_ERROR_NO_COMMAND:
	case SERVER_ERROR_OTHER: /* "ERR This instance has cluster support disabled" */
		scout_fail(scout, error, true);
		break;
	default:
		scout_fail(scout, error, false);
		break;
	}
}

static void scout_reply(struct conn *conn, const redisReply *reply)
{
	struct scout *scout = scout_of(conn);

	if (reply->type == REDIS_REPLY_ERROR) {
		scout_failed(scout, reply->str);
	} else if (scout->n_auth > 0) {
		scout->n_auth--;
	} else if (reply->type != REDIS_REPLY_ARRAY) {
		scout_fail(scout, "an answer to CLUSTER SLOTS that makes no sense", false);
	} else if (reply->elements == 0) {
		scout_fail(scout, "it knows of no slots: it is in no cluster (yet)", false);
	} else {
		conn_close(conn);
		scout->done(scout, reply, NULL, false);
	}
}

static void scout_closed(struct conn *conn, const char *why)
{
	struct scout *scout = scout_of(conn);

	scout->done(scout, NULL, why, conn->lasting);
}

static const struct conn_class scout_conn_class = {
	.opened = scout_opened,
	.reply = scout_reply,
	.closed = scout_closed,
};

void scout_init(struct scout *scout, const struct store_env *env, const struct login *login,
		scout_done_fn *done)
{
	*scout = (struct scout){.login = login, .done = done};
	conn_init(&scout->conn, env, &scout_conn_class);
}

void scout_deinit(struct scout *scout)
{
	conn_deinit(&scout->conn);
}

void scout_ask(struct scout *scout, const struct conn_address *address, int64_t timeout_ms)
{
	scout->n_auth = 0;
	conn_open(&scout->conn, address, timeout_ms);
}

bool scout_is_busy(const struct scout *scout)
{
	return scout->conn.state != CONN_CLOSED;
}
