/* ingest/spool.h - parts whose next stage did not take them in time
 *
 * Empty in good times.  A part is here from the synced batch that earned the
 * client's 250 until the receiver's Custody; it is handed over again and
 * again with the same ids, oldest first, lane by lane (a lane is one receiving
 * instance), so that a dead one holds up nobody else.  What waits lies in the
 * store; in memory are only those in flight, bounded by spool_window a lane and
 * SPOOL_FLIGHT_BYTES together.
 *
 * A receipt that comes after the asker gave up waiting is dropped by the bus; the
 * repeat from here gets it again, since receivers answer repeats alike.
 */
#ifndef INGEST_SPOOL_H
#define INGEST_SPOOL_H

#include "ingest/ingest.h"
#include "ingest/store.h"
#include "lib/blob.h"

#define SPOOL_FLIGHT_BYTES (16u << 20) /* one message may exceed it, alone */

struct spool_part {
	struct store_dest dest;
	const Holdfast__Envelope *env; /* borrowed until return */
};

struct spool_stats { uint64_t parts, recipients, bytes, oldest_ms; };

/* The batch is durable (ERR_OK) or never will be (ERR_IO).  Exactly once. */
typedef void spool_done_fn(struct stage *st, uint64_t id, enum err err);

/* Count what is there; BLOCKS in proportion to it.  ERR_IO. */
enum err spool_open(struct ingest *in, struct spool **out) MUST_CHECK;
void spool_close(struct spool **sp);

/* Write the parts of one message in one synced batch.  ERR_FULL: over spool_bytes, or the
 * writer is behind; nothing was done and done does not run. */
enum err spool_put(struct spool *sp, const struct spool_part *parts, size_t n, struct blob *body,
                   spool_done_fn *done, uint64_t id) MUST_CHECK;

void spool_run(struct spool *sp, uint64_t now_ms); /* hand over what may go; mono clock */
void spool_wake(struct spool *sp);                 /* a link came up: begin anew, now */
bool spool_busy(const struct spool *sp);           /* writes or hand-overs are open */
struct spool_stats spool_stats(struct spool *sp);

#endif
