/* delivery/queue.h - the parts that are in memory, and the way from the store to there
 *
 * A part that was just taken goes straight to its destination with its body still in
 * memory.  When memory is full, or its destination has its share, it stays in the
 * store and is found again through the due index.  The index is read from a
 * remembered cursor: what lies before it is in memory, or belongs to a destination that
 * is lagging and has a cursor of its own.  A due time before the cursor pulls
 * it back.  At start it is 0.
 *
 * Bounds: active_messages parts, active_bytes of bodies, destination_active jobs a
 * destination.
 */
#ifndef DELIVERY_QUEUE_H
#define DELIVERY_QUEUE_H

#include "delivery/delivery.h"
#include "delivery/dest.h"

struct queue {
	struct delivery *d;
	struct part *by_key;
	unsigned n_active;
	uint64_t active_bytes;
	uint8_t  cursor[DUE_KEY];
	bool     behind;               /* the last scan ended because memory is full */
	TAILQ_HEAD(, dest) lagging;
	uint8_t  oldest[PART_KEY];
	uint64_t oldest_ms;            /* arrival of the oldest part, 0: none */
	uint8_t  swept[PART_KEY];      /* cursor of the sweep over ended parts */
};

struct queue *queue_new(struct delivery *d);
void queue_free(struct queue **q); /* drops what is in memory; the store has it */

/* Count what the store holds (tally, oldest).  BLOCKS, once, at start. */
enum err queue_count(struct queue *q) MUST_CHECK;

struct part *queue_find(struct queue *q, const uint8_t key[PART_KEY]);

/* Put a part that is being written into memory (PART_TAKING), with its body. */
void queue_add(struct queue *q, struct part *p, struct blob *body);
/* Its batch is durable: work on it, or leave it in the store and forget it. */
void queue_taken(struct queue *q, struct part *p);
/* Forget a part; one that waits was written with due time p->due_ms. */
void queue_forget(struct queue *q, struct part *p);

/* See to it that p->body is there.  ERR_NOENT: the store has none; ERR_IO. */
enum err queue_body(struct queue *q, struct part *p) MUST_CHECK;

/* Load what is due; a bounded amount a call.  Every 100 ms, and when work ran out. */
void queue_scan(struct queue *q, uint64_t now_ms);
/* Once a second: the oldest, and old markers. */
void queue_sweep(struct queue *q, uint64_t now_ms);

#endif
