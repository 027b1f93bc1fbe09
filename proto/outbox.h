/* proto/outbox.h - events for policy that cannot be lost or counted twice
 *
 * A stage puts an event into the same batch as the change that it tells of;
 * the outbox sends it, in order, to the policy instance that owns its account, and
 * deletes it when policy has synced it.  At most one frame of them is open
 * to each policy instance.  After a restart it goes on where it was: policy
 * ignores what it has applied.  Memory is bounded: it remembers where to
 * read on, not what is unsent.
 */
#ifndef PROTO_OUTBOX_H
#define PROTO_OUTBOX_H

#include "lib/err.h"
#include "lib/kv.h"
#include "proto/bus.h"

struct outbox;

/* The family `cf` of kv (use KV_QUEUE) holds the events.  Reads the last seq: BLOCKS. */
enum err outbox_open(struct kv *kv, unsigned cf, struct bus *bus, struct outbox **out) MUST_CHECK;
void outbox_close(struct outbox **o);

/* Add ev (its seq is set) to batch.  Hand the batch to kv_write() before adding to
 * another one and before the turn ends: numbers must become durable in their order, or
 * policy takes the later ones for repeats.  After it is durable call outbox_kick().
 * In policy itself an event that this instance owns is left out. */
void outbox_add(struct outbox *o, struct kv_batch *batch, Holdfast__Event *ev);
void outbox_kick(struct outbox *o);   /* send what is durable; cheap when nothing is; NULL is fine,
                                       * since batches may complete after the stage closed it */
void outbox_tick(struct outbox *o);   /* call every 100 ms: retries, and what waited to gather */

uint64_t outbox_unsent(const struct outbox *o);

/* Add the unsent events to ledger counts, account by account: for LedgerQuery. */
typedef void outbox_event_fn(void *arg, const Holdfast__Event *ev);
enum err outbox_each(struct outbox *o, outbox_event_fn *fn, void *arg) MUST_CHECK;

#endif
