/* delivery/pool.h - destinations and their connections
 *
 * Owns every destination and every session.  Opens a connection when jobs are ready
 * and none is idle, up to destination_connections and total_connections; keeps it
 * for connection_idle_ms.  A destination that cannot be reached at any of its addresses
 * is paused, and its jobs are put off with the reason.
 */
#ifndef DELIVERY_POOL_H
#define DELIVERY_POOL_H

#include "delivery/delivery.h"
#include "delivery/dest.h"
#include "lib/idmap.h"

struct pool {
	struct delivery *d;
	struct dest  *by_key;
	struct idmap *dests;
	TAILQ_HEAD(dest_list, dest) hungry;     /* want a connection; there are too many */
	struct session_list idle;      /* all idle sessions, the longest first */
	struct session_list all;
	unsigned n_sessions, in_flight;
};

struct pool *pool_new(struct delivery *d);
/* Quit what is idle, take no new job. */
void pool_drain(struct pool *p);
/* Break what is left; sessions die in the next turns.  Then pool_free(). */
void pool_abort(struct pool *p);
void pool_free(struct pool **p);

/* By a name of part_dest(). */
struct dest *pool_dest(struct pool *p, const char *name);      /* made when absent */
struct dest *pool_dest_find(struct pool *p, const char *name); /* or NULL */

/* A job is ready: find or open a connection for it. */
void pool_push(struct pool *p, struct job *j);
/* The next job for a session of dest, with its body in memory, JOB_WORKING; NULL: none. */
struct job *pool_next(struct pool *p, struct dest *dest);

/* Do others wait for the connection of a session that has no work? */
bool pool_is_short(struct pool *p);

/* What a session tells: it is up; it is over.  why: it never came up, at any
 * address (NULL: it was up). */
void pool_session_up(struct pool *p, struct dest *dest);
void pool_session_over(struct pool *p, struct dest *dest, bool was_up,
                       const struct outcome *why);

/* Every 100 ms: idle connections, paused and unused destinations. */
void pool_tick(struct pool *p, uint64_t mono_ms);

#endif
