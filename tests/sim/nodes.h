/* SPDX-License-Identifier: MIT */
#ifndef REDMUTEXD_TESTS_SIM_NODES_H
#define REDMUTEXD_TESTS_SIM_NODES_H
/*
 * Worlds with several servers, the nodes: each daemon has a quorum of them, and they fail one by
 * one. What the oracle keeps of a key lies in world->server all the same; what stands, and where,
 * is asked here. All of it also answers for a world with one server.
 */
#include "world.h"

/* ------------------------------------------------------------------ what stands */
/* The oracle's key. With nodes: it stands if anything stands on any of them. */
struct sim_key *world_key(struct world *world, int key);
/* Does this value stand, with nodes: on a majority? */
bool world_stands_as(struct world *world, int key, const char *value);
/* The same, all the time since that moment. */
bool world_stood_as(struct world *world, int key, const char *value, int64_t since_us);
/* Does it stand, with nodes: on any? */
bool world_stands_anywhere(struct world *world, int key, const char *value);

/* ------------------------------------------------------------------ what nodes tell */
/* It is about to go from a node. */
void nodes_removed(struct sim_server *server, int key, enum remove_cause cause, int64_t at_us);
void nodes_lost_counter(struct sim_server *server, int key);
/* A daemon has written a counter back. */
void nodes_raised(struct sim_server *server, int key, int daemon);

/* ------------------------------------------------------------------ what the oracle asks */
/* Has the way of a daemon to a majority of the nodes been as it should, for so long? */
bool nodes_are_clear(struct daemon *daemon, int64_t for_us);
/*
 * The same of nodes on which that lock has stood since before that moment of true time, or did
 * until now; or there is one server.
 */
bool nodes_of_hold_are_clear(const struct hold *hold, int64_t for_us, int64_t before_us);
/* May a fence be lower than the last? See there. */
bool nodes_fence_is_excused(struct daemon *daemon, int key);
/*
 * A grant with this fence, asked for at asked_us: a majority must have been told of it, and those
 * nodes know enough again.
 */
void nodes_fence_granted(struct world *world, int key, int64_t fence, int64_t asked_us);
/* Is nothing of that key left on a majority of nodes that the daemon reaches, for so long? */
bool nodes_are_free(struct daemon *daemon, int key, int64_t for_us);
/*
 * May commands of dead connections be alive? That others are open is normal for a long time: what
 * such a command may have set is removed again every second.
 */
bool nodes_are_haunted(struct daemon *daemon);
/* Every valid lock stands on a majority. */
void nodes_check_holds(struct world *world);
/* Return: no string is left on a node that nobody sees to, or else which in `text`. */
bool nodes_at_rest(struct world *world, char *text, size_t size);

/* ------------------------------------------------------------------ birth and end */
/* After traits were chosen as for one server: those that nodes change, and the nodes. */
void nodes_init(struct world *world);
void nodes_deinit(struct world *world);
/* Gives a daemon that starts its stores, one or a quorum of them. */
void daemon_open_store(struct daemon *daemon);
/* Its process is gone, or ends; between the two parts the table is freed. */
void daemon_abandon_store(struct daemon *daemon);
void daemon_close_store(struct daemon *daemon);

#endif
