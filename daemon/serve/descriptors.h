/* SPDX-License-Identifier: MIT */
#ifndef REDMUTEXD_SERVE_DESCRIPTORS_H
#define REDMUTEXD_SERVE_DESCRIPTORS_H
/* File descriptors, of which clients must not have the last. */
#include <stdbool.h>

/*
 * descriptors_scarce - is this one of the last that the process may have?
 * @fd: just opened on behalf of a client
 *
 * Then it is to be closed again, and the client refused: what is left is for stores that connect
 * again, for files, and for the program that takes over.
 */
bool descriptors_scarce(int fd);

#endif
