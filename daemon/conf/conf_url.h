/* SPDX-License-Identifier: MIT */
#ifndef REDMUTEXD_CONF_CONF_URL_H
#define REDMUTEXD_CONF_CONF_URL_H
/* Values of `url` as texts. Whether a store can be made of one is not known here. */
#include <stdbool.h>

/* The urls (separated by single spaces) with `***` for every password. Return: to be freed. */
char *conf_url_mask(const char *urls);

/*
 * conf_url_canonical - the same text for different spellings of the same place
 *
 * No user and password, small letters in hosts, the default port, no database 0, no zeros before
 * numbers; several hosts of a url, and several urls, in order. For comparing only. Return: to be
 * freed.
 */
char *conf_url_canonical(const char *urls);

/* Is it that of a cluster, whose slots tell where a key lies? */
bool conf_url_is_cluster(const char *url);

#endif
