/* holdq/store.h - held mail on disk: all keys and records of the stage
 *
 * The only module that builds or parses a key or a record.  Functions with a
 * batch only add to it; nothing is durable before kv_write() of that batch says
 * so.  Reads see what was written and not what waits for the writer: who
 * changes a mail keeps others away from it meanwhile (decide.c, accept.c).
 *
 * Families: meta (key: id, part -> record), body (the same key -> message),
 * account (account, id, part), age (time, id, part), lane (delivery instance, id,
 * part, sub-part: what is to be handed over), mark (key -> what became of it),
 * mark_age (time, key), audit (number -> act), sys (head of the audit chain),
 * outbox (proto/outbox.h).
 */
#ifndef HOLDQ_STORE_H
#define HOLDQ_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "lib/blob.h"
#include "lib/err.h"
#include "lib/kv.h"
#include "lib/uuid.h"
#include "proto/holdfast.pb-c.h"

enum held_cf {
	CF_META, CF_BODY, CF_ACCOUNT, CF_AGE, CF_LANE, CF_MARK, CF_MARK_AGE, CF_AUDIT, CF_SYS,
	CF_OUTBOX
};
extern const struct kv_cf held_cfs[]; /* ended by .name == NULL */

#define HELD_KEY_LEN  20
#define HELD_LANE_MAX 32 /* longest name of an instance */
#define HELD_BY_MAX   64

struct held_key { uint8_t b[HELD_KEY_LEN]; }; /* message id, part (big-endian) */

struct held_key held_key_of(const uint8_t id[UUID_LEN], uint32_t part);
struct uuid     held_key_id(const struct held_key *k);
uint32_t        held_key_part(const struct held_key *k);

/* What a record waits for.  The legal changes are in plan.c. */
enum held_state {
	HELD_GONE = 0,      /* no record: never held, or a mark tells what became of it */
	HELD_WAITING = 1,   /* for a decision; in account and age */
	HELD_RELEASING = 2, /* for delivery's receipts; also in lane */
	HELD_REPORT = 3,    /* our own report to a sender, for delivery's receipt; age and lane */
};
const char *held_state_name(enum held_state s); /* "held" "releasing" ... */

/* Recipients that one delivery instance gets; at[] are positions in env->rcpt. */
struct held_sub {
	char      instance[HELD_LANE_MAX + 1];
	uint32_t  n;
	uint32_t *at;
};

struct held {
	struct held_key key;
	enum held_state state;
	uint64_t held_ms;
	Holdfast__Envelope *env; /* owned */
	size_t n_sub;
	struct held_sub *sub;    /* owned; empty while HELD_WAITING */
};

/* A copy of env, which has a valid id. */
struct held *held_new(const Holdfast__Envelope *env, enum held_state state, uint64_t held_ms);
void held_free(struct held **h); /* NULL is fine */
/* Adds a sub-part without recipients; borrowed until the next call. */
struct held_sub *held_sub_add(struct held *h, const char *instance);

/* Records as bytes.  ERR_CORRUPT: cannot be read, or of a newer version. */
void held_encode(const struct held *h, struct buf *out);
enum err held_decode(const struct held_key *k, const void *p, size_t len,
                     struct held **out) MUST_CHECK;

/* A new record with its body and indexes. */
void store_add(struct kv_batch *b, const struct held *h, struct blob *body);
/* h after a decision: the record is replaced, its lane entries are made. */
void store_change(struct kv_batch *b, const struct held *h);
/* Record, body, all indexes.  Deleting twice is harmless. */
void store_del(struct kv_batch *b, const struct held *h);
void store_sub_del(struct kv_batch *b, const struct held *h, size_t sub);

/* ERR_NOENT, ERR_CORRUPT, ERR_IO. */
enum err store_get(struct kv *kv, const struct held_key *k, struct held **out) MUST_CHECK;
enum err store_body(struct kv *kv, const struct held_key *k, struct blob **out) MUST_CHECK;
/* Is that sub-part still to be handed over? */
bool store_sub_waits(struct kv *kv, const struct held *h, size_t sub);

/* What became of a mail that left: kept so that a repeated hand-off is known. */
struct held_mark {
	uint64_t at_ms;
	uint8_t  result;            /* Holdfast__Decision; NONE: it left as it came */
	char     by[HELD_BY_MAX + 1];
};
void store_mark(struct kv_batch *b, const struct held_key *k, const struct held_mark *m);
enum err store_mark_get(struct kv *kv, const struct held_key *k, struct held_mark *out) MUST_CHECK;
/* Delete marks set before before_ms, at most max; *cursor (zeroed at first, for ever)
 * remembers where the swept ones ended.  Returns how many. */
struct store_cursor { uint8_t b[8 + HELD_KEY_LEN]; size_t len; };
size_t store_mark_sweep(struct kv *kv, struct kv_batch *b, uint64_t before_ms, size_t max,
                        struct store_cursor *cursor);

/* Was this part ever taken (and not so long ago that its mark was swept)? */
enum err store_known(struct kv *kv, const struct held_key *k, bool *out) MUST_CHECK;

/* Walks.  The function returns false to stop; keys are borrowed. */
typedef bool store_key_fn(void *arg, const struct held_key *k);
typedef bool store_held_fn(void *arg, const struct held *h); /* h may be NULL: corrupt */
/* All parts of a message, of records or of marks. */
enum err store_parts(struct kv *kv, enum held_cf cf, const uint8_t id[UUID_LEN],
                     store_key_fn *fn, void *arg) MUST_CHECK;
/* Records after *after (NULL: from the start) in order of key. */
enum err store_each(struct kv *kv, const struct held_key *after, store_held_fn *fn,
                    void *arg) MUST_CHECK;
/* Keys of one account after *after. */
enum err store_account_each(struct kv *kv, const void *account, size_t len,
                            const struct held_key *after, store_key_fn *fn, void *arg) MUST_CHECK;
/* held_ms of the oldest record at or after from_ms; 0: none. */
uint64_t store_oldest(struct kv *kv, uint64_t from_ms);

/* Lanes: the entry of one instance after a cursor (zeroed: from the start), which moves to it. */
struct lane_cursor {
	struct held_key key;
	uint32_t sub;
	bool started;
	bool again; /* the entry of key and sub itself is wanted once more */
};
enum err store_lane_next(struct kv *kv, const char *instance, struct lane_cursor *c) MUST_CHECK;
/* The first lane whose name is after `name` ("" at first).  ERR_NOENT: no more. */
enum err store_lane_name(struct kv *kv, const char *name, char out[HELD_LANE_MAX + 1]) MUST_CHECK;

#endif
