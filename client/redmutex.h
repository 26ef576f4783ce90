/* SPDX-License-Identifier: MIT */
#ifndef REDMUTEX_H
#define REDMUTEX_H
/*
 * libredmutex: named locks from redmutexd, the local lock broker.
 *
 *	redmutex_t *rm;
 *	struct redmutex_lock lock = REDMUTEX_LOCK_INIT;
 *
 *	if (redmutex_connect(&rm, NULL, NULL) == 0 &&
 *	    redmutex_acquire(rm, "backup", NULL, &lock) == 0) {
 *		...
 *		redmutex_release(rm, "backup", lock.lock);
 *	}
 *
 * Errors. Every call that can fail returns 0 or a negative enum redmutex_error.
 *
 * Events. The library starts no thread, so what the daemon reports (a lock is lost, or runs out) is
 * delivered inside library calls: redmutex_dispatch(), redmutex_check() and every blocking call. A
 * program that works for long while it holds a lock calls redmutex_check() now and then.
 *
 * Callbacks run without any lock of the library's held, in whichever thread is reading for the
 * connection. They may call everything here, redmutex_close() included; what is passed to them is
 * gone when they return. They must not leave by longjmp() or an exception.
 *
 * Threads. One connection may be used by several threads at once. One of those that wait reads for
 * all. redmutex_close() is the exception: no other thread may be inside a call then. A thread must
 * not be cancelled while it is inside a call.
 *
 * fork(). A child must not use its parent's connection: every call closes the child's copy of the
 * descriptor and returns REDMUTEX_EFORKED. As long as a child has neither called the library nor
 * exec'ed nor ended, its copy keeps the connection, and with it the locks, alive.
 *
 * Signals. No call raises SIGPIPE or touches a handler. Blocking calls go on after an interrupting
 * signal; who wants to end a wait from a handler uses redmutex_acquire_async() and poll(2).
 *
 * A lost connection is the loss of all locks that live with it: each is reported lost, with the
 * reason `disconnected`. See redmutex_connect_options.reconnect_ms for going on afterwards.
 *
 * Structs that the caller provides begin with their own size, set by their _INIT macro, so that
 * later versions can add fields behind the last one. Fields are never removed or moved.
 */
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define REDMUTEX_EXPORT __attribute__((visibility("default")))
#else
#define REDMUTEX_EXPORT
#endif

/* A connection to the daemon. Since: 0.1 */
typedef struct redmutex redmutex_t;

/* What calls return. The first block are the protocol's codes. Since: 0.1 */
enum redmutex_error {
	REDMUTEX_OK = 0,
	REDMUTEX_EALREADY_LOCKED = -1,	 /* somebody else holds it and the wait is over */
	REDMUTEX_EUNLOCK_FAIL = -2,	 /* that lock is not held (any more) */
	REDMUTEX_EUNKNOWN_MUTEX = -3,	 /* no section of the configuration covers the name */
	REDMUTEX_EDENIED = -4,		 /* this user may not do that, or not use the socket */
	REDMUTEX_EUNAVAILABLE = -5,	 /* the store did not answer in time */
	REDMUTEX_ELIMIT = -6,		 /* a limit, the daemon's or the library's, is reached */
	REDMUTEX_ECANCELLED = -7,	 /* redmutex_cancel() */
	REDMUTEX_ESHUTTING_DOWN = -8,	 /* the daemon is stopping */
	REDMUTEX_ESYNTAX = -9,		 /* the daemon did not understand the request */
	REDMUTEX_EUNKNOWN_COMMAND = -10, /* the daemon is older than this library */
	REDMUTEX_ELINE_TOO_LONG = -11,	 /* the request does not fit into a line */
	REDMUTEX_EUNSUPPORTED = -12,	 /* the daemon speaks another version of the protocol */
	REDMUTEX_EINTERNAL = -13,	 /* the daemon failed, or what it sent makes no sense */

	REDMUTEX_EFORKED = -101,   /* the connection belongs to the parent process */
	REDMUTEX_ECONNECT = -102,  /* no connection could be made */
	REDMUTEX_ECLOSED = -103,   /* the connection was lost */
	REDMUTEX_ETIMEDOUT = -104, /* the daemon did not answer within timeout_ms */
	REDMUTEX_EINVAL = -105,	   /* an argument is malformed */
	REDMUTEX_ENOMEM = -106,	   /* out of memory */
};

enum {
	REDMUTEX_LOCK_SIZE = 45,  /* a lock string and its terminator */
	REDMUTEX_NAME_SIZE = 129, /* the longest name and its terminator */
	REDMUTEX_NOTE_SIZE = 257, /* the longest note and its terminator */
};

/* A time without end, for the fields that say so. */
#define REDMUTEX_FOREVER INT64_C(-1)

/* Where the daemon listens unless it was told otherwise. */
#define REDMUTEX_DEFAULT_SOCKET "/run/redmutexd/redmutexd.sock"

/* How to connect. Since: 0.1 */
struct redmutex_connect_options {
	size_t size;
	/*
	 * How long to wait for a place at the daemon's socket when it is crowded, in ms;
	 * 0: 10000; REDMUTEX_FOREVER.
	 */
	int64_t connect_timeout_ms;
	/*
	 * How long a blocking call waits for the daemon's answer, on top of the wait that it asked
	 * for itself, in ms; 0: 30000; REDMUTEX_FOREVER. Only a daemon that hangs is caught by
	 * this: a store that does not answer is its own business, told as REDMUTEX_EUNAVAILABLE.
	 */
	int64_t timeout_ms;
	/*
	 * After the connection was lost: how long a blocking call tries to connect again before it
	 * gives up, in ms; 0: never, every call then returns REDMUTEX_ECLOSED until
	 * redmutex_reconnect(). Locks of the old connection are gone and stay so. A
	 * redmutex_acquire() that was waiting when the connection went asks again and goes to the
	 * end of the queue. It applies to redmutex_connect() too.
	 */
	int64_t reconnect_ms;
};
#define REDMUTEX_CONNECT_OPTIONS_INIT                                                              \
	{                                                                                          \
		sizeof(struct redmutex_connect_options), 0, 0, 0                                   \
	}

/* Whether the daemon keeps a lock beyond its first lease. Since: 0.1 */
enum redmutex_renew {
	REDMUTEX_RENEW_CONFIGURED = 0, /* as the configuration of the mutex says */
	REDMUTEX_RENEW_YES = 1,	       /* for as long as its owner lives */
	REDMUTEX_RENEW_NO = 2,	       /* the expiry is final */
};

/* Whose life a lock is bound to. Since: 0.1 */
enum redmutex_owner {
	REDMUTEX_OWNER_CONNECTION = 0, /* released when this connection ends */
	REDMUTEX_OWNER_NONE = 1,       /* only a release or its expiry ends it */
	REDMUTEX_OWNER_PID = 2,	       /* released when the process owner_pid ends */
};

/* How to acquire. Since: 0.1 */
struct redmutex_acquire_options {
	size_t size;
	/* How long to wait for the lock, in ms; 0: not at all; REDMUTEX_FOREVER. */
	int64_t wait_ms;
	/*
	 * Until when to wait, in microseconds as redmutex_now_us() counts; 0: wait_ms says it. Only
	 * one of the two may be set.
	 */
	int64_t deadline_us;
	/* The lease, 10 to 315360000000 ms; 0: expiration_in_seconds of the mutex. */
	int64_t ttl_ms;
	/* enum redmutex_renew */
	int renew;
	/* enum redmutex_owner */
	int owner;
	/* REDMUTEX_OWNER_PID: a process of the same user. */
	int64_t owner_pid;
	/* What to show to those who ask who holds it; NULL: nothing. */
	const char *note;
};
#define REDMUTEX_ACQUIRE_OPTIONS_INIT                                                              \
	{                                                                                          \
		sizeof(struct redmutex_acquire_options), 0, 0, 0, 0, 0, 0, NULL                    \
	}

/* A lock that was acquired. Since: 0.1 */
struct redmutex_lock {
	size_t size;
	char lock[REDMUTEX_LOCK_SIZE]; /* the proof of it: whoever knows it can release it */
	int64_t ttl_ms;		       /* what was left of its lease when the daemon answered */
	/*
	 * A number that only ever grows from one lock of this mutex to the next. Hand it to what
	 * the lock protects, and have a smaller one than the highest seen refused there: this
	 * keeps out a holder that was paused for longer than its lease. 0: fence = no.
	 */
	int64_t fence;
};
#define REDMUTEX_LOCK_INIT                                                                         \
	{                                                                                          \
		sizeof(struct redmutex_lock), "", 0, 0                                             \
	}

enum redmutex_locked {
	REDMUTEX_FREE = 0,
	REDMUTEX_LOCKED = 1,
	REDMUTEX_LOCKED_UNKNOWN = 2, /* the store does not answer */
};

enum redmutex_holder {
	REDMUTEX_HOLDER_NONE = 0,
	REDMUTEX_HOLDER_HERE = 1,      /* a client of this daemon */
	REDMUTEX_HOLDER_ELSEWHERE = 2, /* another host, or another program */
};

/* What is known of a mutex. Numbers that are not known are -1, words "". Since: 0.1 */
struct redmutex_info {
	size_t size;
	char name[REDMUTEX_NAME_SIZE];
	int locked; /* enum redmutex_locked */
	int holder; /* enum redmutex_holder */
	int64_t waiters;
	int64_t pid;
	int64_t uid;
	char comm[64]; /* what the holder's process calls itself */
	char note[REDMUTEX_NOTE_SIZE];
	int64_t held_ms;
	int64_t ttl_ms;
	int64_t fence;
	char owner[32]; /* connection, none or pid:N */
	char host[256];
	char user[64];
	int64_t members; /* of a family that redmutex_list() shows, else -1 */
};
#define REDMUTEX_INFO_INIT                                                                         \
	{                                                                                          \
		sizeof(struct redmutex_info), "", 0, 0, -1, -1, -1, "", "", -1, -1, -1, "", "",    \
			"", -1                                                                     \
	}

/* The outcome of a request, for its callback. Since: 0.1 */
struct redmutex_result {
	size_t size;
	int error;			  /* 0 or an enum redmutex_error */
	const char *text;		  /* the daemon's own words for an error, or "" */
	const char *name;		  /* the mutex, or "" */
	const struct redmutex_lock *lock; /* acquire, when error is 0; else NULL */
	const struct redmutex_info *info; /* info, when error is 0; else NULL */
	int64_t ttl_ms;			  /* extend: what is left of the lease now */
	int64_t count;			  /* list, stats: how many there were */
	int exists;			  /* exists: 1 locked, 0 free */
};

/* An event about a lock. Since: 0.1 */
struct redmutex_event {
	size_t size;
	const char *name;
	const char *lock;
	/*
	 * Lost: `expired`, `replaced`, `unavailable`, `broken`, `shutdown`, or `disconnected` when
	 * it went with the connection. Running out: "".
	 */
	const char *reason;
	int64_t left_ms; /* running out: what is left of the lease */
};

/*
 * redmutex_done_fn - a request has its outcome
 * @rm: the connection
 * @result: gone on return
 * @arg: what the request was started with
 *
 * Called once for each request that was started, also when the connection is lost or closed
 * (REDMUTEX_ECLOSED). Since: 0.1
 */
typedef void redmutex_done_fn(redmutex_t *rm, const struct redmutex_result *result, void *arg);

/* redmutex_info_fn - one mutex of a list. Since: 0.1 */
typedef void redmutex_info_fn(redmutex_t *rm, const struct redmutex_info *info, void *arg);

/* redmutex_stat_fn - one line of the statistics. Since: 0.1 */
typedef void redmutex_stat_fn(redmutex_t *rm, const char *metric, const char *value, void *arg);

/* redmutex_event_fn - a lock was lost, or runs out. Since: 0.1 */
typedef void redmutex_event_fn(redmutex_t *rm, const struct redmutex_event *event, void *arg);

/* redmutex_release_failed_fn - a release that was not waited for has failed. Since: 0.1 */
typedef void redmutex_release_failed_fn(redmutex_t *rm, const char *name, const char *lock,
					int error, const char *text, void *arg);

/*
 * redmutex_body_fn - what to do under a lock
 * @rm: the connection; redmutex_check() tells whether the lock still stands
 * @lock: the lock, for its fence
 * @arg: what redmutex_synchronize() was called with
 *
 * Return: what redmutex_synchronize() is to hand on. Since: 0.1
 */
typedef int redmutex_body_fn(redmutex_t *rm, const struct redmutex_lock *lock, void *arg);

/* ---- the library itself ---- */

/* redmutex_version - the library's version, as "0.1.0". Since: 0.1 */
REDMUTEX_EXPORT const char *redmutex_version(void);

/*
 * redmutex_strerror - a sentence for an error
 * @error: what a call returned
 *
 * Return: a string that is never NULL and lives for ever. Since: 0.1
 */
REDMUTEX_EXPORT const char *redmutex_strerror(int error);

/*
 * redmutex_error_name - the name of an error as the protocol spells it
 * @error: what a call returned
 *
 * Return: `already_locked` for REDMUTEX_EALREADY_LOCKED and so on. Since: 0.1
 */
REDMUTEX_EXPORT const char *redmutex_error_name(int error);

/*
 * redmutex_error_text - the daemon's own words for the last blocking call that failed
 * @rm: the connection, or NULL for whatever failed last, redmutex_connect() above all
 *
 * It says which store, which limit and why. The string belongs to the calling thread and stands
 * until that thread's next call; "" when there are no words, then redmutex_strerror() must do.
 * Since: 0.1
 */
REDMUTEX_EXPORT const char *redmutex_error_text(const redmutex_t *rm);

/*
 * redmutex_exit_status - the status with which a command should exit for an error
 * @error: what a call returned
 *
 * Return: 0 for 0; 1, 64, 69, 70, 71, 75 or 77, as redmutex(1) lists them. Since: 0.1
 */
REDMUTEX_EXPORT int redmutex_exit_status(int error);

/*
 * redmutex_now_us - the clock of all deadlines here: CLOCK_BOOTTIME in microseconds
 *
 * It goes on while the machine sleeps, as leases do. Since: 0.1
 */
REDMUTEX_EXPORT int64_t redmutex_now_us(void);

/* ---- connections ---- */

/*
 * redmutex_connect - connect to the daemon
 * @rm: out: the connection, for redmutex_close(); NULL on failure
 * @path: its socket; NULL: REDMUTEX_SOCKET of the environment, or REDMUTEX_DEFAULT_SOCKET
 * @options: NULL: the defaults
 *
 * Nothing is exchanged yet: that the daemon refuses this client (REDMUTEX_ELIMIT) or speaks another
 * protocol (REDMUTEX_EUNSUPPORTED) shows in the first request.
 * Return: 0, REDMUTEX_ECONNECT (errno says why), REDMUTEX_EDENIED (no permission for the socket),
 * REDMUTEX_ETIMEDOUT, REDMUTEX_EINVAL or REDMUTEX_ENOMEM. Since: 0.1
 */
REDMUTEX_EXPORT int redmutex_connect(redmutex_t **rm, const char *path,
				     const struct redmutex_connect_options *options);

/*
 * redmutex_reconnect - connect again after the connection was lost
 * @rm: the connection; its callbacks stay as they are
 *
 * One try, without waiting; 0 at once when the connection stands.
 * Return: as redmutex_connect(), or REDMUTEX_EFORKED. Since: 0.1
 */
REDMUTEX_EXPORT int redmutex_reconnect(redmutex_t *rm);

/*
 * redmutex_close - end a connection and free it
 * @rm: may be NULL
 *
 * The daemon releases the locks that live with the connection, as soon as it sees the end of it;
 * who needs them free on return calls redmutex_release() first. Requests that are open end with
 * REDMUTEX_ECLOSED; no loss is reported. Since: 0.1
 */
REDMUTEX_EXPORT void redmutex_close(redmutex_t *rm);

/*
 * redmutex_on_lost - say who is to be told when a lock is lost
 * @rm: the connection
 * @fn: called once for each lock that is lost, at which its lock string is dead; NULL: nobody
 * @arg: for fn
 *
 * Not called for a lock whose release has been asked for. Since: 0.1
 */
REDMUTEX_EXPORT void redmutex_on_lost(redmutex_t *rm, redmutex_event_fn *fn, void *arg);

/*
 * redmutex_on_expiring - say who is to be told when a lock runs out
 * @rm: the connection
 * @fn: called when a third of a lease or 5 s is left, whichever is less, and nothing is going to
 *	prolong it, or has managed to so far; NULL: nobody
 * @arg: for fn
 *
 * Since: 0.1
 */
REDMUTEX_EXPORT void redmutex_on_expiring(redmutex_t *rm, redmutex_event_fn *fn, void *arg);

/*
 * redmutex_on_release_failed - say who is to be told of failures of redmutex_release_nowait()
 * @rm: the connection
 * @fn: NULL: nobody
 * @arg: for fn
 *
 * Since: 0.1
 */
REDMUTEX_EXPORT void redmutex_on_release_failed(redmutex_t *rm, redmutex_release_failed_fn *fn,
						void *arg);

/* ---- blocking calls ---- */

/*
 * redmutex_acquire - acquire a lock of a mutex
 * @rm: the connection
 * @name: the mutex: 1 to 128 of A-Z a-z 0-9 . _ - : /
 * @options: NULL: the defaults; by default it does not wait
 * @lock: out; size must be set, by REDMUTEX_LOCK_INIT
 *
 * When REDMUTEX_ETIMEDOUT is returned, a lock that is granted later all the same goes back at once.
 * Return: 0, REDMUTEX_EALREADY_LOCKED once the wait is over, or another error. Since: 0.1
 */
REDMUTEX_EXPORT int redmutex_acquire(redmutex_t *rm, const char *name,
				     const struct redmutex_acquire_options *options,
				     struct redmutex_lock *lock);

/*
 * redmutex_release - release a lock, and wait until that has happened
 * @rm: any connection to the daemon that granted it
 * @name: the mutex
 * @lock: the lock string
 *
 * Return: 0; REDMUTEX_EUNLOCK_FAIL: it was not held any more; REDMUTEX_EUNAVAILABLE: the daemon
 * releases it as soon as it reaches the store. In each of these cases the lock string is dead.
 * Since: 0.1
 */
REDMUTEX_EXPORT int redmutex_release(redmutex_t *rm, const char *name, const char *lock);

/*
 * redmutex_release_nowait - release a lock without waiting for the answer
 * @rm: any connection to the daemon that granted it
 * @name: the mutex
 * @lock: the lock string
 *
 * It is sent together with the connection's next request, or by redmutex_flush(),
 * redmutex_dispatch(), redmutex_check() or redmutex_close(), whichever comes first, and others wait
 * for that long. A loop of acquire and release_nowait of one mutex wakes its caller once a turn
 * rather than twice, and costs the store one command rather than two.
 * Failures go to redmutex_on_release_failed().
 * Return: 0 when it is on its way. Since: 0.1
 */
REDMUTEX_EXPORT int redmutex_release_nowait(redmutex_t *rm, const char *name, const char *lock);

/*
 * redmutex_exists - is a mutex locked, by whomever, on whatever host?
 * @rm: the connection
 * @name: the mutex
 * @exists: out: 1 or 0
 *
 * Return: 0 or an error. Since: 0.1
 */
REDMUTEX_EXPORT int redmutex_exists(redmutex_t *rm, const char *name, int *exists);

/*
 * redmutex_extend - give a lock a new lease
 * @rm: any connection to the daemon that granted it
 * @name: the mutex
 * @lock: the lock string
 * @ttl_ms: the new lease from now on, 10 to 315360000000 ms; 0: as long as the last one
 * @left_ms: out: what is left of it at the daemon's answer; NULL: not asked for
 *
 * Return: 0, REDMUTEX_EUNLOCK_FAIL or another error. Since: 0.1
 */
REDMUTEX_EXPORT int redmutex_extend(redmutex_t *rm, const char *name, const char *lock,
				    int64_t ttl_ms, int64_t *left_ms);

/*
 * redmutex_info - what is known of a mutex and its holder
 * @rm: the connection
 * @name: the mutex
 * @info: out; size must be set, by REDMUTEX_INFO_INIT
 *
 * Return: 0 or an error. Since: 0.1
 */
REDMUTEX_EXPORT int redmutex_info(redmutex_t *rm, const char *name, struct redmutex_info *info);

/*
 * redmutex_list - the mutexes that are configured or in use and that this user may use
 * @rm: the connection
 * @pattern: `*` stands for any run of characters; NULL: all
 * @fn: called for each
 * @arg: for fn
 *
 * Return: 0 or an error; fn may have been called before an error. Since: 0.1
 */
REDMUTEX_EXPORT int redmutex_list(redmutex_t *rm, const char *pattern, redmutex_info_fn *fn,
				  void *arg);

/*
 * redmutex_stats - the daemon's statistics
 * @rm: the connection
 * @fn: called for each
 * @arg: for fn
 *
 * Return: 0 or an error; fn may have been called before an error. Since: 0.1
 */
REDMUTEX_EXPORT int redmutex_stats(redmutex_t *rm, redmutex_stat_fn *fn, void *arg);

/*
 * redmutex_break - remove whatever lock stands in the store
 * @rm: the connection of root, the daemon's own user or a member of its admin_group
 * @name: the mutex
 *
 * Return: 0, REDMUTEX_EUNLOCK_FAIL when none stood, REDMUTEX_EDENIED or another error. Since: 0.1
 */
REDMUTEX_EXPORT int redmutex_break(redmutex_t *rm, const char *name);

/*
 * redmutex_ping - does the daemon answer?
 * @rm: the connection
 *
 * Return: 0 or an error. Since: 0.1
 */
REDMUTEX_EXPORT int redmutex_ping(redmutex_t *rm);

/*
 * redmutex_synchronize - acquire a lock, run a function, release the lock
 * @rm: the connection
 * @name: the mutex
 * @options: as for redmutex_acquire()
 * @body: called once, while the lock is held; not called when it was not obtained
 * @arg: for body
 * @result: out: what body returned; untouched when it was not called; may be NULL
 *
 * The lock is released also when body ends its thread by pthread_exit(). It must not leave by
 * longjmp() or an exception: C++ programs acquire in a constructor and release in a destructor.
 * Return: 0; REDMUTEX_EUNLOCK_FAIL when the lock was lost while body ran (it has run, and *result
 * is set); what redmutex_acquire() returned when body was not called; or what redmutex_release()
 * returned. Since: 0.1
 */
REDMUTEX_EXPORT int redmutex_synchronize(redmutex_t *rm, const char *name,
					 const struct redmutex_acquire_options *options,
					 redmutex_body_fn *body, void *arg, int *result);

/*
 * redmutex_check - does a lock of this connection still stand, and for how long?
 * @rm: the connection that acquired it
 * @lock: the lock string
 * @left_ms: out: what is left of its lease by this machine's clock, counted from before the request
 *	was sent; 0 when it is lost; may be NULL
 *
 * Reads what has come, delivers events, and does not block. When half of a lease is over, it also
 * asks the daemon for the state of the lease, without waiting; a later check knows the answer. So
 * a lock that the daemon renews is seen to go on, and one whose daemon hangs is seen to run out.
 * Return: 0 while nothing says that it is lost: with *left_ms above 0 the lock stands; with 0 its
 * last known lease is over and the daemon has not told of a new one (ask with redmutex_extend()).
 * REDMUTEX_EUNLOCK_FAIL: it is lost, released, or was not acquired here. REDMUTEX_EFORKED. Since:
 * 0.1
 */
REDMUTEX_EXPORT int redmutex_check(redmutex_t *rm, const char *lock, int64_t *left_ms);

/* ---- for event loops ---- */

/*
 * redmutex_fd - the descriptor to poll
 * @rm: the connection
 *
 * It changes when the connection is made anew. Return: a descriptor, REDMUTEX_ECLOSED or
 * REDMUTEX_EFORKED. Since: 0.1
 */
REDMUTEX_EXPORT int redmutex_fd(redmutex_t *rm);

/*
 * redmutex_events - what to poll for
 * @rm: the connection
 *
 * Ask before each poll(2): it changes as requests are started.
 * Return: POLLIN, with POLLOUT when there is something to send, REDMUTEX_ECLOSED or
 * REDMUTEX_EFORKED. Since: 0.1
 */
REDMUTEX_EXPORT int redmutex_events(redmutex_t *rm);

/*
 * redmutex_dispatch - send what is waiting, read what has come, call the callbacks
 * @rm: the connection
 *
 * Does not block. While another thread reads for the connection, it only sends.
 * Return: 0; REDMUTEX_ECLOSED when the connection is lost: open requests have ended and losses
 * have been reported by then; REDMUTEX_EFORKED. Since: 0.1
 */
REDMUTEX_EXPORT int redmutex_dispatch(redmutex_t *rm);

/*
 * redmutex_flush - send what is waiting, as far as that goes without blocking
 * @rm: the connection
 *
 * Requests that were started, but not waited for, are sent together: by this, redmutex_dispatch()
 * or the next blocking call.
 * Return: 0, REDMUTEX_ECLOSED or REDMUTEX_EFORKED. Since: 0.1
 */
REDMUTEX_EXPORT int redmutex_flush(redmutex_t *rm);

/*
 * The asynchronous half of the calls above. Each starts a request and returns at once; what it
 * returned has the same meaning in the result that fn gets. Any number may be open; they are
 * answered in the order in which their outcomes are known.
 * @fn: called once with the outcome, never from inside the call that starts it; NULL: not asked for
 * @arg: for fn
 * @id: out: for redmutex_cancel(); may be NULL
 *
 * Return: 0 when it was started: fn will be called. Otherwise REDMUTEX_EINVAL, REDMUTEX_ENOMEM,
 * REDMUTEX_ELIMIT, REDMUTEX_ELINE_TOO_LONG, REDMUTEX_ECLOSED or REDMUTEX_EFORKED, and fn will not
 * be called. Since: 0.1
 */
REDMUTEX_EXPORT int redmutex_acquire_async(redmutex_t *rm, const char *name,
					   const struct redmutex_acquire_options *options,
					   redmutex_done_fn *fn, void *arg, uint64_t *id);
REDMUTEX_EXPORT int redmutex_release_async(redmutex_t *rm, const char *name, const char *lock,
					   redmutex_done_fn *fn, void *arg, uint64_t *id);
REDMUTEX_EXPORT int redmutex_exists_async(redmutex_t *rm, const char *name, redmutex_done_fn *fn,
					  void *arg, uint64_t *id);
REDMUTEX_EXPORT int redmutex_extend_async(redmutex_t *rm, const char *name, const char *lock,
					  int64_t ttl_ms, redmutex_done_fn *fn, void *arg,
					  uint64_t *id);
REDMUTEX_EXPORT int redmutex_info_async(redmutex_t *rm, const char *name, redmutex_done_fn *fn,
					void *arg, uint64_t *id);
REDMUTEX_EXPORT int redmutex_break_async(redmutex_t *rm, const char *name, redmutex_done_fn *fn,
					 void *arg, uint64_t *id);
REDMUTEX_EXPORT int redmutex_ping_async(redmutex_t *rm, redmutex_done_fn *fn, void *arg,
					uint64_t *id);

/*
 * redmutex_list_async, redmutex_stats_async - the same for lists
 * @item: called for each, before fn
 *
 * Since: 0.1
 */
REDMUTEX_EXPORT int redmutex_list_async(redmutex_t *rm, const char *pattern, redmutex_info_fn *item,
					redmutex_done_fn *fn, void *arg, uint64_t *id);
REDMUTEX_EXPORT int redmutex_stats_async(redmutex_t *rm, redmutex_stat_fn *item,
					 redmutex_done_fn *fn, void *arg, uint64_t *id);

/*
 * redmutex_cancel - give up a request that is open
 * @rm: the connection
 * @id: what the call that started it stored
 *
 * Its callback is still called: with REDMUTEX_ECANCELLED, or with its outcome if that was faster.
 * May be called from any thread that uses the connection; a blocking call has no id.
 * Return: 0 when the request was open; REDMUTEX_EINVAL when it was not; REDMUTEX_ENOMEM,
 * REDMUTEX_ELIMIT, REDMUTEX_ECLOSED or REDMUTEX_EFORKED. Since: 0.1
 */
REDMUTEX_EXPORT int redmutex_cancel(redmutex_t *rm, uint64_t id);

#ifdef __cplusplus
}
#endif

#endif
