/* SPDX-License-Identifier: MIT */
#ifndef REDMUTEXD_SERVE_SESSION_H
#define REDMUTEXD_SERVE_SESSION_H
/*
 * One client's connection: lines in, lines out, in the order that the protocol promises.
 *
 * A line that cannot be answered at once becomes a call, which is answered exactly once. A session
 * lives on after its client until the last of its calls has come back from the core.
 */
#include <event2/event_struct.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "core/mutex.h"
#include "proto/reply.h"
#include "proto/request.h"
#include "serve/buffer.h"
#include "serve/peer.h"

struct list;
struct owner;
struct server;
struct user;

enum {
	SESSION_LINES_PER_TURN = 256,
	SESSION_STEPS_PER_TURN = 4, /* of its LISTs, and STATS */
	/* Up to here what was read may stay in the socket for a while: see session_peek(). */
	SESSION_PEEKED_MAX = 256,
	/* Unwritten output above which no further request is read, and LIST pauses. */
	SESSION_OUTPUT_LOW = 65536,
};

/* Since when a client has not read a byte of what waits for it, before requests are read again. */
#define SESSION_STALL_US INT64_C(500000)

enum session_state {
	SESSION_LIVE,	 /* reads requests */
	SESSION_CLOSING, /* all is answered and its locks are released: only output is left */
	SESSION_DEAD,	 /* closed; waits for its calls, then for the reaper */
};

struct session {
	struct server *server;
	TAILQ_ENTRY(session) entry; /* server->sessions, or server->dead */
	TAILQ_ENTRY(session) ready_entry, later_entry, dirty_entry, stalled_entry;
	struct holder holder; /* HOLDER_CONNECTION */
	struct peer peer;
	struct user *user;
	struct buffer in, out;
	TAILQ_HEAD(, call) calls;    /* not back from the core yet, answered or not */
	TAILQ_HEAD(, call) listings; /* of these, the LISTs that go on */
	struct call *barrier;	     /* the open one without a tag */
	struct call *quit;	     /* QUIT was read; no further line is */
	struct event read_event, write_event;
	int64_t stalled_us;  /* since when its client has not read */
	uint64_t share_turn; /* the turn that `lines` and `steps` are about */
	unsigned lines, steps;
	unsigned n_calls;    /* on `calls` */
	unsigned n_open;     /* of these, not answered, QUIT not counted */
	unsigned n_acquires; /* ACQUIREs under way */
	unsigned n_waits;    /* of these, that may wait in a queue */
	unsigned n_peeked;   /* bytes that were taken in and are still in the socket */
	uint64_t save_id;    /* while the server is saved */
	int fd;
	enum session_state state : 8;
	bool ready : 1, later : 1, dirty : 1, stalled : 1; /* on which lists it is */
	bool readable : 1;				   /* there may be something to read */
	bool writable : 1;	/* the socket took all of the last write */
	bool paused : 1;	/* more output is to be made when there is room again */
	bool patience_over : 1; /* its client does not read: stop sparing it */
	bool hung_up : 1;	/* it sends no more; nothing waits for it */
	bool eof : 1;		/* all it sent is in `in` */
	bool gone : 1;		/* nobody is there to read a reply */
	bool broken : 1;	/* writing failed: gone from the end of the turn on */
	bool doomed : 1;	/* to be closed at the end of the turn */
};

/* A request under way. */
struct call {
	struct session *session;
	TAILQ_ENTRY(call) entry;      /* session->calls, or server->free_calls */
	LIST_ENTRY(call) tag_entry;   /* while it is open and has a tag */
	LIST_ENTRY(call) owner_entry; /* ACQUIRE with owner=pid */
	TAILQ_ENTRY(call) listing_entry;
	struct owner *owner;
	struct mutex *mutex;   /* borrowed; certain while it is asked, and in done() */
	struct list *list;     /* LIST */
	char *note, *announce; /* owned; ACQUIRE */
	enum verb verb;
	bool open;	  /* not answered yet */
	bool detached;	  /* ACQUIRE whose lock would outlive the connection */
	bool waits;	  /* ACQUIRE with a wait */
	uint64_t save_id; /* while the server is saved; 0: it does not come along */
	uint8_t tag_len;
	char tag[PROTO_TAG_MAX];
	struct ask ask;
};

static inline struct span call_tag(const struct call *call)
{
	return (struct span){call->tag, call->tag_len};
}

/*
 * session_open - serve a client
 * @fd: taken over; not blocking
 *
 * Return: 0, or a negative errno: the fd is still the caller's then.
 */
int session_open(struct server *server, int fd, const struct peer *peer);

/*
 * Takes out of the socket what was read, and left in it.
 * Return: false when nothing is there, which can't be.
 */
bool session_consume(struct session *session);
/* Goes on with what was read, and reads more. */
void session_run(struct session *session);
/* The end of the turn: one write, and the next step of its end. */
void session_settle(struct session *session);
/* The client has not read for too long: take its requests until it is over its limit. */
void session_lose_patience(struct session *session);
/* Is so much on its way to the client that no more should be made? It goes on when it has read. */
bool session_has_enough(struct session *session);
/* Nothing was read for a while: see what has happened since. */
void session_resume(struct session *session);
/* Close it now, whatever is open. Not from inside the core. */
void session_kill(struct session *session);
/* Frees a dead one that nothing is open of. Return: false when something still is. */
bool session_reap(struct session *session);

/* ------------------------------------------------------------------ replies */
/*
 * Start a line, add to it, end it. The writer is the server's: only one line at a time. The end
 * counts against the session's limit of unread output.
 */
void session_line_begin(struct session *session, struct reply_writer *w, struct span tag,
			const char *kind);
void session_line_end(struct session *session, struct reply_writer *w);
void session_ok(struct session *session, struct span tag);
void session_error(struct session *session, struct span tag, enum proto_error error,
		   const char *text);

/* ------------------------------------------------------------------ calls */
/* A new one for this request, open, as the barrier if it has no tag. NULL: memory is out. */
struct call *call_new(struct session *session, const struct request *request);
/* What the session waits for itself: not open, nobody is told. NULL: memory is out. */
struct call *call_new_silent(struct session *session);
/* Its one answer has been written: what it held up may go on. */
void call_answered(struct call *call);
/* It is back from the core, and answered: it goes to the pool. */
void call_free(struct call *call);
/* The open one with that tag, or NULL. */
struct call *call_find(struct session *session, struct span tag);
/* Answers it, and lets go of it as soon as the core does: what it still brings is thrown away. */
void call_cancel(struct call *call);
/*
 * session_quit - release what the connection owns, answer, close
 * @call: the QUIT
 */
void session_quit(struct session *session, struct call *call);

#endif
