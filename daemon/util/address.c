/* SPDX-License-Identifier: MIT */
/* Addresses of the network as people write them. */
#include "config.h"

#include "util/address.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

static bool port_valid(const char *text)
{
	size_t len = strlen(text);
	long port;

	if (len < 1 || len > 5 || strspn(text, "0123456789") != len)
		return false;
	port = strtol(text, NULL, 10);
	return port >= 1 && port <= 65535;
}

bool address_valid(const char *text)
{
	unsigned char bytes[sizeof(struct in6_addr)];
	const char *colon = strrchr(text, ':');
	char host[INET6_ADDRSTRLEN];
	size_t len;

	if (!colon || !port_valid(colon + 1))
		return false;
	len = (size_t)(colon - text);
	if (*text == '[' && len > 2 && text[len - 1] == ']' && len - 2 < sizeof(host)) {
		memcpy(host, text + 1, len - 2);
		host[len - 2] = '\0';
		return inet_pton(AF_INET6, host, bytes) == 1;
	}
	if (len >= sizeof(host))
		return false;
	memcpy(host, text, len);
	host[len] = '\0';
	return inet_pton(AF_INET, host, bytes) == 1;
}
