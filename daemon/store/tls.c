/* SPDX-License-Identifier: MIT */
/* TLS for connections, through hiredis_ssl. */
#include "config.h"

#include "store/tls.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <hiredis/hiredis_ssl.h>
#include <limits.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "store/open.h"
#include "util/alloc.h"
#include "util/log.h"

enum { N_FILES = 3 };

/* What tells whether a file is still the one that was read. */
struct stamp {
	dev_t dev;
	ino_t ino;
	off_t size;
	struct timespec mtime;
};

struct tls {
	char *ca;	   /* certificates of whom to trust; NULL: those of the system */
	char *cert, *key;  /* ours, and what leads from it to one that the server trusts; or NULL */
	char *server_name; /* expected in its certificate, and sent as SNI; NULL: the host */
	SSL_CTX *ctx;	   /* NULL: not made yet */
	struct stamp stamps[N_FILES];
};

struct tls_session {
	SSL *ssl; /* the redisContext's, which frees it */
	char *name;
};

bool tls_supported(void)
{
	return true;
}

static char *copy_or_null(const char *text)
{
	return text ? xstrdup(text) : NULL;
}

struct tls *tls_new(const struct store_settings *settings)
{
	struct tls *tls = xcalloc(1, sizeof(*tls));

	tls->ca = copy_or_null(settings->tls_ca);
	tls->cert = copy_or_null(settings->tls_cert);
	tls->key = copy_or_null(settings->tls_key);
	tls->server_name = copy_or_null(settings->tls_server_name);
	return tls;
}

void tls_free(struct tls *tls)
{
	if (!tls)
		return;
	SSL_CTX_free(tls->ctx);
	free(tls->ca);
	free(tls->cert);
	free(tls->key);
	free(tls->server_name);
	free(tls);
}

/* ------------------------------------------------------------------ files */

static void tls_look_at_files(const struct tls *tls, struct stamp stamps[N_FILES])
{
	const char *const paths[N_FILES] = {tls->ca, tls->cert, tls->key};

	memset(stamps, 0, N_FILES * sizeof(*stamps));
	for (unsigned i = 0; i < N_FILES; i++) {
		struct stat st;

		if (!paths[i] || stat(paths[i], &st) < 0)
			continue;
		stamps[i].dev = st.st_dev;
		stamps[i].ino = st.st_ino;
		stamps[i].size = st.st_size;
		stamps[i].mtime = st.st_mtim;
	}
}

static const char *last_reason(void)
{
	unsigned long error = ERR_peek_last_error();
	const char *reason = NULL;

	/* What the system said has no text there. */
	if (error && ERR_GET_LIB(error) == ERR_LIB_SYS)
		return strerror(ERR_GET_REASON(error));
	if (error)
		reason = ERR_reason_error_string(error);
	return reason ? reason : "no reason given";
}

/* A key with a passphrase is an error: nobody is there to be asked. */
static int no_passphrase(char *buf, int size, int rwflag, void *arg)
{
	(void)buf;
	(void)size;
	(void)rwflag;
	(void)arg;
	return -1;
}

/* Return: NULL, and which file is wrong and why. */
static SSL_CTX *tls_make_context(const struct tls *tls, char *why, size_t size)
{
	SSL_CTX *ctx;
	const char *what = NULL, *path = NULL;

	ERR_clear_error();
	ctx = SSL_CTX_new(TLS_client_method());
	if (!ctx) {
		snprintf(why, size, "TLS is not possible: %s", last_reason());
		return NULL;
	}
	SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION);
	SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
	/* What was not taken is offered again, perhaps from elsewhere and with more behind it. */
	SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
#ifdef SSL_OP_IGNORE_UNEXPECTED_EOF
	/* Servers just leave; that nothing is cut off is seen by the answers. */
	SSL_CTX_set_options(ctx, SSL_OP_IGNORE_UNEXPECTED_EOF);
#endif
	SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
	SSL_CTX_set_default_passwd_cb(ctx, no_passphrase);
	if (tls->ca) {
		if (!SSL_CTX_load_verify_locations(ctx, tls->ca, NULL))
			what = "tls_ca", path = tls->ca;
	} else if (!SSL_CTX_set_default_verify_paths(ctx)) {
		what = "the system's certificates", path = "";
	}
	if (!what && tls->cert && SSL_CTX_use_certificate_chain_file(ctx, tls->cert) != 1)
		what = "tls_cert", path = tls->cert;
	if (!what && tls->key && SSL_CTX_use_PrivateKey_file(ctx, tls->key, SSL_FILETYPE_PEM) != 1)
		what = "tls_key", path = tls->key;
	if (!what && tls->key && SSL_CTX_check_private_key(ctx) != 1)
		what = "tls_key", path = tls->key;
	if (!what)
		return ctx;
	snprintf(why, size, "%s '%s' can't be used: %s", what, path, last_reason());
	SSL_CTX_free(ctx);
	ERR_clear_error();
	return NULL;
}

/*
 * Makes the context, or makes it anew when a file has changed. If one cannot be used, because it is
 * just being written, say, the last good ones are kept. Return: whether there is a context.
 */
static bool tls_refresh(struct tls *tls, char *why, size_t size)
{
	struct stamp stamps[N_FILES];
	SSL_CTX *ctx;

	tls_look_at_files(tls, stamps);
	if (tls->ctx && memcmp(stamps, tls->stamps, sizeof(stamps)) == 0)
		return true;
	memcpy(tls->stamps, stamps, sizeof(stamps));
	ctx = tls_make_context(tls, why, size);
	if (ctx) {
		SSL_CTX_free(tls->ctx);
		tls->ctx = ctx;
	} else if (tls->ctx) {
		log_warning("%s; what was there before is used on", why);
	}
	return tls->ctx;
}

/* ------------------------------------------------------------------ sessions */

/* Who the server must be, and whom we ask for. A name is sent as SNI, an address may not be. */
static bool tls_expect(SSL *ssl, const char *name)
{
	unsigned char address[sizeof(struct in6_addr)];

	if (inet_pton(AF_INET, name, address) == 1 || inet_pton(AF_INET6, name, address) == 1)
		return X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), name) == 1;
	SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
	return SSL_set1_host(ssl, name) == 1 && SSL_set_tlsext_host_name(ssl, name) == 1;
}

struct tls_session *tls_begin(struct tls *tls, redisContext *context, const char *host, char *why,
			      size_t size, bool *lasting)
{
	const char *name = tls->server_name ? tls->server_name : host;
	struct tls_session *session;
	SSL *ssl;

	*lasting = true;
	if (!tls_refresh(tls, why, size))
		return NULL;
	ERR_clear_error();
	ssl = SSL_new(tls->ctx);
	if (!ssl || !tls_expect(ssl, name)) {
		snprintf(why, size, "TLS with '%s' is not possible: %s", name, last_reason());
		SSL_free(ssl);
		return NULL;
	}
	session = xcalloc(1, sizeof(*session));
	session->ssl = ssl;
	session->name = xstrdup(name);
	errno = 0;
	*lasting = false;
	/*
	 * It sends the first message; the rest of the handshake is tls_handshake()'s, if the server
	 * was not so quick that all is over, well or not.
	 */
	if (redisInitiateSSL(context, ssl) != REDIS_OK) {
		if (!tls_failure(session, why, size, lasting))
			snprintf(why, size, "TLS with '%s': %s", name, context->errstr);
		tls_end(session);
		SSL_free(ssl);
		return NULL;
	}
	return session;
}

void tls_end(struct tls_session *session)
{
	if (!session)
		return;
	free(session->name);
	free(session);
}

void tls_prepare(struct tls_session *session)
{
	if (!session)
		return;
	/* SSL_get_error(), which hiredis relies on, takes older errors for this call's. */
	ERR_clear_error();
	errno = 0;
}

enum tls_progress tls_handshake(struct tls_session *session)
{
	int result;

	tls_prepare(session);
	result = SSL_do_handshake(session->ssl);
	if (result == 1)
		return TLS_DONE;
	switch (SSL_get_error(session->ssl, result)) {
	case SSL_ERROR_WANT_READ:
		return TLS_WANTS_READ;
	case SSL_ERROR_WANT_WRITE:
		return TLS_WANTS_WRITE;
	default:
		return TLS_FAILED;
	}
}

ssize_t tls_write(struct tls_session *session, const char *bytes, size_t len)
{
	size_t done = 0;

	/* A record at a time. */
	while (done < len) {
		size_t left = len - done;
		int n = SSL_write(session->ssl, bytes + done, left < INT_MAX ? (int)left : INT_MAX);

		if (n <= 0) {
			int error = SSL_get_error(session->ssl, n);

			if (error != SSL_ERROR_WANT_WRITE && error != SSL_ERROR_WANT_READ)
				return -1;
			break;
		}
		done += (size_t)n;
	}
	return (ssize_t)done;
}

bool tls_pending(const struct tls_session *session)
{
	return session && SSL_pending(session->ssl) > 0;
}

bool tls_failure(const struct tls_session *session, char *why, size_t size, bool *lasting)
{
	long verified = SSL_get_verify_result(session->ssl);
	int system_error = errno;

	if (verified != X509_V_OK) {
		*lasting = true;
		snprintf(why, size, "the certificate of '%s' is not accepted: %s", session->name,
			 X509_verify_cert_error_string(verified));
		return true;
	}
	if (ERR_peek_last_error()) {
		int reason = ERR_GET_REASON(ERR_peek_last_error());

		/* An alert: the server does not want us. */
		*lasting = reason > SSL_AD_REASON_OFFSET;
		snprintf(why, size, "TLS with '%s': %s", session->name, last_reason());
		return true;
	}
	if (SSL_is_init_finished(session->ssl))
		return false;
	snprintf(why, size, "TLS with '%s': %s", session->name,
		 system_error ? strerror(system_error) : "the server closed the connection");
	return true;
}
