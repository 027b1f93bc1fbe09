/* holdq/holdq.h - what the parts of the stage share: its state, configuration, counters
 *
 * Private to holdq/.  One struct holdq a process, in static memory of life.c: what
 * the store or the bus calls late finds it, closed.  Each group of fields belongs to the
 * file that is named; the others only read it.
 */
#ifndef HOLDQ_HOLDQ_H
#define HOLDQ_HOLDQ_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>
#include "holdq/audit.h"
#include "holdq/count.h"
#include "holdq/plan.h"
#include "holdq/store.h"
#include "lib/clock.h"
#include "lib/idmap.h"
#include "lib/mem.h"
#include "proto/outbox.h"
#include "proto/stage.h"

/* One uthash.h for the stage, on our allocator. */
#define uthash_malloc(n) xmalloc(n)
#define uthash_free(p, n) xfree(p)
#include <uthash.h>

struct holdq_conf {
	uint64_t recheck_wait_ms, rechecks;
	uint64_t handover_wait_ms, handovers, handover_bytes;
	uint64_t retry_min_ms, retry_max_ms;
	uint64_t decisions, accepts;
	uint64_t mark_keep_ms;
};

/* Rows of holdq_metrics (main.c). */
enum holdq_metric {
	HM_HELD, HM_REPEATED, HM_REFUSED, HM_DECIDED, HM_HANDED_OVER, HM_HANDOVER_RETRIES,
	HM_DEPTH, HM_RECIPIENTS, HM_OLDEST, HM_UNSENT, HM_IN_FLIGHT, HM_CORRUPT
};

struct decide;
struct handover;
struct accept;

struct holdq {
	struct stage *stage;
	const struct holdq_conf *conf;
	struct audit  *audit;
	struct outbox *outbox;
	struct count  *count;         /* of what is durable */
	bool draining;
	bool closed;                  /* after holdq_close(): late callbacks do nothing */
	bool granted;                 /* life.c: askers have credit */
	uint64_t oldest_from_ms;      /* life.c: nothing in custody is older */
	struct store_cursor swept;    /* life.c */
	uint64_t sweep_due_ms;        /* life.c */

	struct accept   *accepts;     /* accept.c: parts whose sync is awaited, by key */
	struct decide   *decide;      /* decide.c */
	struct handover *handover;    /* handover.c */
};

/* The stage's state from a handler's first argument. */
static inline struct holdq *holdq_of(void *stage)
{
	return ((struct stage *)stage)->state;
}

/* accept.c: Handoff.  Custody is answered after the sync, for a repeat at once. */
bus_handler_fn accept_handoff;
void accept_close(struct holdq *hq);
size_t accept_in_flight(const struct holdq *hq);

/* ask.c: HeldDecide.  Answered after the sync of all its decisions. */
bus_handler_fn decide_ask;
/* decide.c */
struct decide *decide_new(struct holdq *hq);
void decide_free(struct decide **d);
void decide_pump(struct decide *d); /* items whose turn it is begin */
size_t decide_in_flight(const struct decide *d);

/* page.c: HeldQuery, HeldBody. */
bus_handler_fn page_query;
bus_handler_fn page_body;
/* What a filter matches after `after`, at most `limit`: an array of keys that the caller frees.
 * Examines a bounded number of records; *more says that it did not see all, *next where to
 * go on. */
struct page {
	struct held_key *key;
	size_t n;
	bool more;
	struct held_key next;
	struct held_key *missing; /* part 0 of ids that were named and have no record */
	size_t n_missing;
};
enum err page_find(struct holdq *hq, const Holdfast__HeldFilter *f, ProtobufCBinaryData after,
                   size_t limit, struct page *out) MUST_CHECK;
void page_free(struct page *p);

/* answer.c: StatusQuery, LedgerQuery, TraceQuery. */
bus_handler_fn answer_status;
bus_handler_fn answer_ledger;
bus_handler_fn answer_trace;

/* handover.c: what was decided goes to delivery, again and again until its receipt. */
struct handover *handover_new(struct holdq *hq);
/* Reads the names of the lanes: BLOCKS. */
enum err handover_start(struct handover *h) MUST_CHECK;
void handover_free(struct handover **h);
void handover_added(struct handover *h, const struct held *held); /* after its sync */
void handover_tick(struct handover *h, uint64_t now_mono_ms);
size_t handover_in_flight(const struct handover *h);
plan_route_fn handover_route; /* arg: struct holdq * */

/* life.c */
uint64_t holdq_oldest(struct holdq *hq); /* held_ms of the oldest in custody, 0: none */
enum err holdq_open(struct stage *s);
void holdq_drain(struct stage *s);
bool holdq_busy(struct stage *s);
void holdq_close(struct stage *s);
void holdq_tick(struct stage *s, uint64_t wall_ms);
void holdq_collect(struct stage *s);
bool holdq_ready(struct stage *s);
enum err holdq_reload(struct stage *s, const void *conf) MUST_CHECK;

#endif
