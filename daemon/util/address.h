/* SPDX-License-Identifier: MIT */
#ifndef REDMUTEXD_UTIL_ADDRESS_H
#define REDMUTEXD_UTIL_ADDRESS_H
/* Addresses of the network as people write them. */
#include <stdbool.h>

/*
 * address_valid - is it an address with a port: 127.0.0.1:9121 or [::1]:9121?
 *
 * Numbers only: nobody is asked for names.
 */
bool address_valid(const char *text);

#endif
