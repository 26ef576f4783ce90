/* SPDX-License-Identifier: MIT */
#ifndef REDMUTEXD_SERVE_COMMAND_H
#define REDMUTEXD_SERVE_COMMAND_H
/* What each verb does: its permission, its limits, its way into the core, its answer. */
#include "proto/request.h"

struct ask;
struct call;
struct session;

/* Carries out a well-formed request whose turn it is. It is answered now or by a call. */
void command_run(struct session *session, const struct request *request);

/* After a change of the configuration: who waits for what he may not use any more is refused. */
void command_check_access(struct session *session);

/* The ask->done of calls: answers what is open, and frees it. */
void command_done(struct ask *ask);

#endif
