/* ingest/spool_in.h - the inside of the spool
 *
 * Shared by spool.c (what is stored) and spool_lane.c (handing it over).
 */
#ifndef INGEST_SPOOL_IN_H
#define INGEST_SPOOL_IN_H

#include "ingest/spool.h"

struct lane {
	TAILQ_ENTRY(lane) all;
	struct store_dest dest;
	uint8_t  cursor[STORE_LANE_KEY + 1]; /* the next key is at or behind it */
	size_t   cursor_len;
	uint64_t not_before_ms;          /* back-off, mono */
	unsigned n_flight;
	bool     drained;                /* nothing is behind the cursor */
};

/* A part on its way, from the ask until its deletion is durable. */
struct flight {
	TAILQ_ENTRY(flight) all;
	uint64_t id;         /* in spool->ids */
	struct lane *lane;   /* lanes live as long as the spool */
	struct store_id part;
	size_t   bytes, recipients;
	uint64_t asked_ms;
	bool     removed;    /* Custody came; its deletion is being written */
	bool     body_removed; /* with the message's bytes */
};

struct spool {
	struct ingest *in;
	TAILQ_HEAD(, lane) lanes;
	TAILQ_HEAD(, flight) flights;
	struct idmap *ids;
	uint64_t flight_bytes;
	uint64_t writing;    /* spool_put() batches that are not durable yet */
	struct spool_stats stats; /* without oldest_ms */
	uint64_t now_ms;
};

struct lane *lane_find(struct spool *sp, const struct store_dest *d); /* made when absent */
/* A part was stored: its lane must come to it. */
void lane_added(struct lane *l, const struct store_id *id);
void flight_free(struct spool *sp, struct flight *f);

#endif
