/* SPDX-License-Identifier: MIT */
#ifndef REDMUTEX_LIBREDMUTEX_H
#define REDMUTEX_LIBREDMUTEX_H
/*
 * The inside of the library: what its files share.
 *
 *	connection	the socket, the bytes in and out, who reads, the end of it all
 *	request		requests out, replies in: each to its call, each call to its callback
 *	lease		the locks that this connection acquired, and what is known of their leases
 *	calls		the public calls, asynchronous and blocking: thin loops over the rest
 *	error		numbers to words
 *
 * Unless it says otherwise, a function here is called with rm->mutex held and returns with it held;
 * those that call back let go of it meanwhile, so whatever they point to may have changed then.
 */
#include <pthread.h>
#include <stdbool.h>
#include <sys/types.h>

#include "client/redmutex.h"
#include "proto/proto.h"
#include "proto/reply.h"
#include "proto/request.h"

enum {
	RM_LOCK_WORD_SIZE = 129,  /* what is handed to RELEASE need not look like a lock string */
	RM_TEXT_SIZE = 1024,	  /* the daemon's words for an error, cut there */
	RM_CALLS_MAX = 65536,	  /* open at a time */
	RM_INPUT_SIZE = 16384,	  /* at least a few lines of PROTO_REPLY_MAX */
	RM_OUTPUT_MAX = 16 << 20, /* unsent bytes */
	RM_LEASE_BUCKETS = 64,
};

/* A lock that this connection acquired. */
struct rm_lease {
	struct rm_lease *next; /* in its bucket, or in the list of spare ones */
	char name[REDMUTEX_NAME_SIZE];
	char lock[REDMUTEX_LOCK_SIZE];
	int64_t fence;
	int64_t ttl_us;	       /* as long as it was when it was granted or extended */
	int64_t until_us;      /* it stands until then at least, if nothing was lost */
	int64_t next_query_us; /* not asked about before */
	bool final;	       /* acquired with renew=no: until_us is the end */
	bool bound;	       /* owner=connection */
	bool releasing;	       /* a RELEASE is on its way: dead for its holder */
	bool querying;	       /* an INFO is on its way */
};

/* Who is to be told of a call's outcome. */
enum rm_audience {
	RM_USER,    /* `done`, a callback of the user's */
	RM_BLOCKED, /* `wait`, a blocking call */
	RM_NOBODY,  /* a release that is not waited for, a question of our own, an abandoned call */
};

/* A request that is open, or a spare one. Its index is its tag. */
struct rm_call {
	struct rm_call *next_spare;
	uint32_t index;
	uint32_t generation; /* counts the uses of this slot, so that an old id does not match */
	bool open;
	enum verb verb;
	enum rm_audience audience;
	redmutex_done_fn *done;
	redmutex_info_fn *info_item;
	redmutex_stat_fn *stat_item;
	void *arg;
	struct rm_wait *wait;
	struct rm_lease *lease; /* ACQUIRE: set aside, so that a grant can't fail */
	int64_t sent_us;
	char name[REDMUTEX_NAME_SIZE];
	char lock[RM_LOCK_WORD_SIZE];
};

/* A blocking call that waits for its outcome. Lives on its thread's stack. */
struct rm_wait {
	struct rm_wait *next; /* in rm->waiting */
	pthread_cond_t cond;
	bool linked;
	bool done;
	bool gone; /* the connection was freed meanwhile: not to be touched any more */
	int error;
	char text[RM_TEXT_SIZE];
	int64_t ttl_ms;
	int exists;
	struct redmutex_lock lock;
	struct redmutex_info info;
};

struct redmutex {
	pthread_mutex_t mutex;
	pid_t pid; /* whose connection it is */
	int fd;	   /* -1: lost. Closed by who reads, and by nobody else */
	char *path;
	int64_t connect_timeout_ms, timeout_ms, reconnect_ms;

	/* One thread reads at a time. It may come back from inside a callback. */
	pthread_t reader;
	unsigned reading;	 /* how deep */
	struct rm_wait *waiting; /* blocked while another one reads */
	bool closing;		 /* redmutex_close() was called inside a callback */

	char *out;
	size_t out_len, out_size;
	bool out_broken; /* nothing can be sent any more; there may be something to read */
	char in[RM_INPUT_SIZE];
	size_t in_start, in_end;
	bool in_more; /* the last read filled its room: there may be more */

	struct rm_call **calls;
	uint32_t n_calls, calls_size;
	struct rm_call *spare_calls;
	struct rm_lease *leases[RM_LEASE_BUCKETS];
	struct rm_lease *spare_leases;

	redmutex_event_fn *on_lost, *on_expiring;
	void *on_lost_arg, *on_expiring_arg;
	redmutex_release_failed_fn *on_release_failed;
	void *on_release_failed_arg;
};

/* ---- connection ---- */

/*
 * rm_enter - take rm->mutex, unless this is another process than the one that connected: then
 * close the descriptor and return REDMUTEX_EFORKED. Called without the mutex.
 */
int rm_enter(struct redmutex *rm);
/* rm_leave - give rm->mutex back. */
void rm_leave(struct redmutex *rm);

/* rm_may_read - nobody else reads: this thread may become the reader, or is it. */
bool rm_may_read(const struct redmutex *rm);
void rm_reader_enter(struct redmutex *rm);
/* Return: false when the connection was closed by a callback and is freed now, with its mutex. */
bool rm_reader_leave(struct redmutex *rm);

/*
 * rm_receive - send what is waiting, read once, handle each line. For the reader.
 * @block: wait until there is something
 * @deadline_us: with block: until then; INT64_MAX: without end
 *
 * Return: 0 when something was read, REDMUTEX_ETIMEDOUT when nothing came, REDMUTEX_ECLOSED when
 * the connection is lost; all is told to whom it concerns by then.
 */
int rm_receive(struct redmutex *rm, bool block, int64_t deadline_us);

/* rm_drain - the same for all that has come, without blocking. */
int rm_drain(struct redmutex *rm);

/* rm_await_room - wait a little until there is room to send, for who can't leave that to the
 * reader: it may have begun to read before there was anything to send. */
void rm_await_room(struct redmutex *rm);

/* rm_flush - send what is waiting, as far as that goes without blocking. */
void rm_flush(struct redmutex *rm);

/*
 * rm_output - room for a request line at the end of what is to be sent
 *
 * Return: PROTO_LINE_MAX bytes, to be counted into rm->out_len; NULL: none, *error says why.
 */
char *rm_output(struct redmutex *rm, int *error);

/* rm_connect - one try. Return: 0 or an error. Keeps errno. */
int rm_connect(struct redmutex *rm);
/* rm_connect_until - try until there is a daemon, or for reconnect_ms. */
int rm_connect_until(struct redmutex *rm);

/* rm_lost - the connection is of no use any more: close it, end its calls, report its locks. */
void rm_lost(struct redmutex *rm, int error, const char *text);

/* ---- request ---- */

/* rm_call_cancel - send CANCEL for an open call. */
int rm_call_cancel(struct redmutex *rm, const struct rm_call *call);

/* rm_hello - say which protocol is spoken, in front of the first request. */
int rm_hello(struct redmutex *rm);

/* rm_line - handle a line from the daemon. Calls back. Return: 0, -1: it makes no sense. */
int rm_line(struct redmutex *rm, struct span line);

/* rm_calls_fail - end every open call with an error. Calls back. */
void rm_calls_fail(struct redmutex *rm, int error, const char *text);

/* What to ask the daemon for: as many of the fields as the verb takes. */
struct rm_ask {
	enum verb verb;
	const char *name;
	const char *lock;    /* RELEASE, EXTEND */
	const char *pattern; /* LIST; NULL: all */
	int64_t ttl_ms;	     /* EXTEND; 0: none given */
	const struct redmutex_acquire_options *options;
};

/*
 * rm_start - check what is asked for, and put the request behind what is to be sent
 * @callp: out: the call; its audience is nobody, until the caller says otherwise
 *
 * Return: 0 or an error.
 */
int rm_start(struct redmutex *rm, const struct rm_ask *ask, struct rm_call **callp);

/* rm_acquire_options - a copy of the options of an ACQUIRE; NULL: the defaults. */
int rm_acquire_options(const struct redmutex_acquire_options *given,
		       struct redmutex_acquire_options *options);

/* ---- structs of the caller's, which begin with their size; it may be older or newer than ours
 * ---- */

/*
 * rm_struct_in - copy what is given over defaults
 * @known: the size of our struct
 * @least: the size that it had when it was made public
 *
 * Return: false when it is smaller than that, or asks for something that we do not know.
 */
bool rm_struct_in(void *ours, size_t known, const void *given, size_t least);
/* rm_struct_out - hand out as much as fits; what we do not know is left as it is. */
void rm_struct_out(void *given, const void *ours, size_t known);
/* rm_size_upto - the size of a struct whose last field that is */
#define rm_size_upto(type, field) (offsetof(type, field) + sizeof(((type *)0)->field))

/* ---- lease ---- */

struct rm_lease *rm_lease_new(struct redmutex *rm);
void rm_lease_spare(struct redmutex *rm, struct rm_lease *lease);
void rm_lease_insert(struct redmutex *rm, struct rm_lease *lease);
struct rm_lease *rm_lease_find(struct redmutex *rm, const char *lock);
void rm_lease_remove(struct redmutex *rm, struct rm_lease *lease);

/* rm_lease_granted - note what an ACQUIRE brought; `lease` goes into the table. */
void rm_lease_granted(struct redmutex *rm, struct rm_lease *lease, const struct redmutex_lock *lock,
		      const char *name, int64_t sent_us);
/* rm_lease_extended - note what an EXTEND brought. */
void rm_lease_extended(struct redmutex *rm, const char *lock, int64_t ttl_ms, int64_t sent_us);
/* rm_lease_answered - note what a question of ours, about `lock`, brought. */
void rm_lease_answered(struct redmutex *rm, const char *lock, const struct redmutex_info *info,
		       int64_t sent_us);
/* rm_lease_event - EVENT LOST or EXPIRING. Calls back. Return: 0, -1: it makes no sense. */
int rm_lease_event(struct redmutex *rm, const struct reply *reply);
/* rm_leases_lost - the connection has gone, and what lived with it. Calls back. */
void rm_leases_lost(struct redmutex *rm);

/* ---- error ---- */

int rm_error_from_proto(enum proto_error error);
/* rm_error_note - keep words for redmutex_error_text() in this thread. Return: error. */
int rm_error_note(const struct redmutex *rm, int error, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

#endif
