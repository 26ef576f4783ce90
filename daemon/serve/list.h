/* SPDX-License-Identifier: MIT */
#ifndef REDMUTEXD_SERVE_LIST_H
#define REDMUTEXD_SERVE_LIST_H
/*
 * LIST, produced as it is read: it walks the table with a cursor, asks the store about a few
 * mutexes at a time, and pauses while its client has enough to read.
 */
#include "proto/proto.h"

struct call;
struct list;
struct mutex;
struct record;
struct record_writer;

/* Attaches a walk to the call. Return: false when memory is out. */
bool list_open(struct call *call, struct span pattern);
/*
 * list_step - a few items further
 *
 * Answers the call when all is told. Return: true when it did, or when only its looks in the store
 * or its client can bring it further; false when it is worth another step.
 */
bool list_step(struct call *call);
/* Would a step do nothing before a look in the store is answered? */
bool list_waits(const struct call *call);
/* Ends it without an answer; it frees itself, and its call, when its looks are back. */
void list_cancel(struct call *call);

/*
 * As records, for the process that comes after: `list` says where it is, and a `look` each which
 * mutexes it has asked about.
 */
void list_save(struct call *call, struct record_writer *w);
/* A call's walk as that record has it. Return: false when memory is out. */
bool list_load(struct call *call, const struct record *record);
void list_load_look(struct call *call, struct mutex *mutex);

#endif
