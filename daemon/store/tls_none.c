/* SPDX-License-Identifier: MIT */
/* TLS for connections, in a build that has none. */
#include "config.h"

#include <assert.h>

#include "store/tls.h"

bool tls_supported(void)
{
	return false;
}

/* Settings that ask for TLS are refused, so nobody gets here. */
struct tls *tls_new(const struct store_settings *settings)
{
	(void)settings;
	assert(false);
	return NULL;
}

void tls_free(struct tls *tls)
{
	assert(!tls);
	(void)tls;
}

struct tls_session *tls_begin(struct tls *tls, redisContext *context, const char *host, char *why,
			      size_t size, bool *lasting)
{
	(void)tls;
	(void)context;
	(void)host;
	(void)why;
	(void)size;
	(void)lasting;
	assert(false);
	return NULL;
}

void tls_end(struct tls_session *session)
{
	(void)session;
}

enum tls_progress tls_handshake(struct tls_session *session)
{
	(void)session;
	assert(false);
	return TLS_FAILED;
}

void tls_prepare(struct tls_session *session)
{
	(void)session;
}

ssize_t tls_write(struct tls_session *session, const char *bytes, size_t len)
{
	(void)session;
	(void)bytes;
	(void)len;
	assert(false);
	return -1;
}

bool tls_pending(const struct tls_session *session)
{
	(void)session;
	return false;
}

bool tls_failure(const struct tls_session *session, char *why, size_t size, bool *lasting)
{
	(void)session;
	(void)why;
	(void)size;
	(void)lasting;
	return false;
}
