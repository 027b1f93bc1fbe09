/* delivery/store.h - the outgoing queue on disk: the one file that knows its keys
 *
 * Families: meta (key e: the envelope, written once; key s: the state, written when
 * an attempt changes it), body, due (an index by time, its value the domain),
 * taken (ids of parts that have ended, for repeats of their hand-off), outbox.
 * Functions that build add to a batch and never write; the caller joins what
 * belongs together and writes it once.  Reads may wait for the disk.
 */
#ifndef DELIVERY_STORE_H
#define DELIVERY_STORE_H

#include <stdbool.h>
#include <stdint.h>
#include "delivery/part.h"
#include "lib/err.h"
#include "lib/kv.h"

enum store_cf { CF_META, CF_BODY, CF_DUE, CF_TAKEN, CF_OUTBOX };
extern const struct kv_cf store_cfs[]; /* for the stage's table, ended by NULL */

#define DUE_KEY (8 + PART_KEY)

/* ---- changes, added to a batch */

/* A new part: envelope, body and due entry (p->due_ms).  env is p's envelope. */
void store_put_part(struct kv_batch *b, const struct part *p, const Holdfast__Envelope *env,
                    struct blob *body);
/* The state of p as it is now; sets p->recorded. */
void store_put_state(struct kv_batch *b, struct part *p);
/* Move p in the index from p->due_ms to due_ms, and set it. */
void store_move_due(struct kv_batch *b, struct part *p, uint64_t due_ms);
/* Everything of p goes; a marker that it was taken stays behind. */
void store_end_part(struct kv_batch *b, const struct part *p, uint64_t now_ms);
/* A due entry that leads nowhere goes. */
void store_drop_due(struct kv_batch *b, const uint8_t key[DUE_KEY]);

/* ---- reads */

/* Is the part here, or was it here lately?  ERR_NOENT: never seen; ERR_IO. */
enum err store_knows(struct kv *kv, const uint8_t key[PART_KEY]) MUST_CHECK;
/* The part as it was last written, without its body.  ERR_NOENT, ERR_CORRUPT, ERR_IO. */
enum err store_load(struct kv *kv, const uint8_t key[PART_KEY], struct part **out) MUST_CHECK;
/* The body; the caller owns the reference.  ERR_NOENT, ERR_IO. */
enum err store_body(struct kv *kv, const uint8_t key[PART_KEY], struct blob **out) MUST_CHECK;

void     due_key(uint8_t out[DUE_KEY], uint64_t due_ms, const uint8_t part[PART_KEY]);
uint64_t due_key_ms(const uint8_t key[DUE_KEY]);
const uint8_t *due_key_part(const uint8_t key[DUE_KEY]);

/* A stretch of the index: due at or after the key `from`, up to until_ms, at most max. */
struct store_span { const uint8_t *from; uint64_t until_ms; unsigned max; };

/* Call fn for the entries of span, in order, while it says true.  ERR_OK: *more says whether
 * entries are left before until_ms. */
typedef bool store_due_fn(void *arg, const uint8_t key[DUE_KEY], const char *domain,
                          size_t domain_len);
enum err store_each_due(struct kv *kv, const struct store_span *span, store_due_fn *fn,
                        void *arg, bool *more) MUST_CHECK;

/* Call fn for each part (borrowed), in order of id, from `id` on (NULL: all) and, where one is
 * true, of that message only.  What cannot be read is handed as NULL. */
typedef void store_part_fn(void *arg, const struct part *p);
enum err store_each_part(struct kv *kv, const uint8_t id[16], bool one, store_part_fn *fn,
                         void *arg) MUST_CHECK;

/* Arrival of the first part at or after the key in from, which is moved to it;
 * 0 where there is none. */
uint64_t store_oldest(struct kv *kv, uint8_t from[PART_KEY]);

/* When each ended part of a message ended. */
typedef void store_taken_fn(void *arg, uint32_t part, uint64_t ended_ms);
enum err store_each_taken(struct kv *kv, const uint8_t id[16], store_taken_fn *fn,
                          void *arg) MUST_CHECK;

/* Delete up to max markers that ended before before_ms, from the cursor (zeroed at first),
 * which is moved.  Markers of mail that was held for long stay behind for the next
 * round.  Returns the number deleted. */
unsigned store_sweep_taken(struct kv *kv, uint8_t cursor[PART_KEY], uint64_t before_ms,
                           unsigned max);

#endif
