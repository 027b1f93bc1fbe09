/* delivery/dest.h - a destination: its ready jobs, account by account, and what is known of it
 *
 * Destination: a recipient domain, or a configured route's target, which all
 * domains on that route share.  Accounts take turns within it.  Destinations are found by
 * key; pool.c owns them and their connections.  Mail with REQUIRETLS has destinations of its
 * own (strict), so that it never shares a connection with mail that may go anyhow.
 */
#ifndef DELIVERY_DEST_H
#define DELIVERY_DEST_H

#include "delivery/part.h"
#include "delivery/resolve.h"
#include "delivery/route.h"
#include "delivery/store.h"
#include "lib/buf.h"

/* The jobs of one account at one destination; exists while there are any. */
struct ready {
	UT_hash_handle hh;
	TAILQ_ENTRY(ready) turn;
	struct job_list jobs;
	char account[];
};

struct session;
TAILQ_HEAD(session_list, session);

struct dest {
	UT_hash_handle hh;
	uint64_t id;                   /* in pool->dests, for the resolver's answer */
	bool     routed;
	bool     strict;               /* verified TLS and REQUIRETLS, or not at all */
	struct route_target target;    /* routed: where to */
	struct ready *by_account;
	TAILQ_HEAD(, ready) turns;
	unsigned n_ready;
	unsigned n_jobs;               /* ready and working */
	unsigned n_refs;               /* all jobs that name it, those policy is asked about too */
	uint64_t crowded_until_ms;     /* mono: it took no further connection beside those it has */

	TAILQ_ENTRY(dest) hungry_link; /* in pool->hungry: wants a connection */
	bool     hungry;
	struct session_list idle;      /* connections without work */
	unsigned n_sessions, n_connecting, n_up;

	struct address *address;       /* NULL: not known (any more) */
	unsigned n_address, good;      /* good: the one that worked last */
	uint64_t known_until_ms;       /* mono */
	bool     resolving;
	bool     no_tls;               /* its TLS is broken: opportunistic means without */

	uint64_t paused_until_ms;      /* mono: out of reach; jobs are put off with `why` */
	struct outcome why;            /* texts are in why_buf and why_host/why_ip */
	struct buf why_text;
	char     why_enhanced[12], why_host[256], why_ip[64];
	uint64_t used_ms;              /* mono: when it last had a job */

	TAILQ_ENTRY(dest) lagging_link; /* queue.c: parts were passed over because of n_jobs */
	bool     lagging;
	uint8_t  lagging_from[DUE_KEY];
	char     key[];
};

/* Write the key of the destination for a name of part_dest(): the domain's route, or itself in
 * lower case. */
void dest_key(const struct conf_map *routes, const char *name, char out[320],
              const char **route);
/* The domain of a destination that is not routed, in lower case. */
const char *dest_domain(const struct dest *d);

struct dest *dest_new(const char *key);
void dest_free(struct dest **d); /* no job, no session */

/* JOB_NEW or JOB_CHECKING becomes JOB_READY, behind the others of its account. */
void dest_push(struct dest *d, struct job *j);
/* Take the next in turn: JOB_READY becomes JOB_WORKING.  NULL: none. */
struct job *dest_pop(struct dest *d);
/* Take j out of the queue: it is JOB_NEW again. */
void dest_unready(struct dest *d, struct job *j);
/* The next in turn, left where it is. */
struct job *dest_peek(const struct dest *d);

/* Remember why d is out of reach; texts are copied. */
void dest_blame(struct dest *d, const struct outcome *why);

#endif
