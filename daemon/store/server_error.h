/* SPDX-License-Identifier: MIT */
#ifndef REDMUTEXD_STORE_SERVER_ERROR_H
#define REDMUTEXD_STORE_SERVER_ERROR_H
/* What the error replies of a Redis server mean for a command. */

enum server_error {
	SERVER_ERROR_OTHER,	 /* it may have been carried out, in part at least */
	SERVER_ERROR_BUSY,	 /* not carried out, but another time it may be */
	SERVER_ERROR_REPLICA,	 /* not carried out: this is not the master (any more) */
	SERVER_ERROR_LOGIN,	 /* not carried out: we are not who we should be */
	SERVER_ERROR_DENIED,	 /* not carried out, and it will not be until somebody acts */
	SERVER_ERROR_NO_COMMAND, /* the same: there is no such command */
	SERVER_ERROR_NO_SCRIPT,	 /* EVALSHA of what the server does not have (any more) */
	SERVER_ERROR_REDIRECT,	 /* not carried out: a cluster has the key elsewhere, or moves it */
};

/*
 * server_error_classify - what kind of error is this?
 * @text: as it came, without the minus sign
 *
 * Errors that a script met are found behind the "ERR Error running script" of Redis before 7, too.
 */
enum server_error server_error_classify(const char *text);

/*
 * server_error_trim - cut off what the server repeats of the command
 *
 * Of one that it does not know it shows the arguments: a password, or a lock's string.
 */
void server_error_trim(char *text);

#endif
