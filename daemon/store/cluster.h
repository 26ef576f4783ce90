/* SPDX-License-Identifier: MIT */
#ifndef REDMUTEXD_STORE_CLUSTER_H
#define REDMUTEXD_STORE_CLUSTER_H
/*
 * Locks in Redis Cluster
 * (https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/): a store a master,
 * and the map of which of them serves which slot.
 */
#include "store/open.h"

struct url;

/* @url: of a cluster; taken over, and left empty */
struct store *cluster_open(const struct store_env *env, const struct store_settings *settings,
			   struct url *url, struct store_listener *listener);

#endif
