/* SPDX-License-Identifier: MIT */
#ifndef REDMUTEXD_STORE_TLS_H
#define REDMUTEXD_STORE_TLS_H
/*
 * TLS for connections, through hiredis_ssl. A build without it has the same functions, of which
 * tls_supported() says no and the others are never reached.
 *
 * hiredis_ssl checks who signed a server's certificate, but not for whom it is. So the contexts and
 * sessions of OpenSSL are made here, with the check of the name or address in them, and hiredis is
 * given the session.
 */
#include <hiredis/hiredis.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct store_settings;

/* What a store wants of its connections. */
struct tls;
/* One connection's. */
struct tls_session;

bool tls_supported(void);

/*
 * tls_new - rules for connections; looks at no file yet
 * @settings: whose tls_ members are copied. The files that they name are read at the first
 *	connection, and again when they have changed.
 */
struct tls *tls_new(const struct store_settings *settings);
void tls_free(struct tls *tls); /* accepts NULL */

/*
 * tls_begin - encrypt a connection that is just connected
 * @host: name or numeric address of the server
 * @why: on failure, which file is wrong and why, or why the server is
 * @lasting: on failure, set to whether trying again will not help
 *
 * Return: NULL on failure.
 */
struct tls_session *tls_begin(struct tls *tls, redisContext *context, const char *host, char *why,
			      size_t size, bool *lasting);
/* Before the context is freed. Accepts NULL. */
void tls_end(struct tls_session *session);

enum tls_progress { TLS_DONE, TLS_WANTS_READ, TLS_WANTS_WRITE, TLS_FAILED };

enum tls_progress tls_handshake(struct tls_session *session);

/* Call before every read and write of the context. Accepts NULL. */
void tls_prepare(struct tls_session *session);
/* Return: how many bytes were taken, perhaps none for now, or -1. */
ssize_t tls_write(struct tls_session *session, const char *bytes, size_t len);
/* Is there something decrypted that was not read yet? Accepts NULL. */
bool tls_pending(const struct tls_session *session);

/*
 * tls_failure - why did the last handshake, read or write fail?
 * @lasting: set to whether trying again will not help
 *
 * Return: false when it was none of TLS's doing.
 */
bool tls_failure(const struct tls_session *session, char *why, size_t size, bool *lasting);

#endif
