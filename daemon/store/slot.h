/* SPDX-License-Identifier: MIT */
#ifndef REDMUTEXD_STORE_SLOT_H
#define REDMUTEXD_STORE_SLOT_H
/* Which of a cluster's slots a key lies in. */

enum { N_SLOTS = 16384 };

/*
 * slot_of_key - CRC16 (XMODEM) of the key, or of its hash tag if it has one, modulo N_SLOTS
 *
 * As in
 * https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/#key-distribution-model
 */
unsigned slot_of_key(const char *key);

#endif
