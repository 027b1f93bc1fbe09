/* ingest/store.h - the spool's keys and records
 *
 * The only file that knows how the spool is laid out:
 *   part  message_id(16) part(4)                     -> version, stage, instance, Envelope
 *   lane  stage(1) name_len(1) name message_id part  -> ""  (order of age within a lane)
 *   body  message_id(16)                             -> message bytes, once a message
 * Pure: builds and parses bytes, reads no store.
 */
#ifndef INGEST_STORE_H
#define INGEST_STORE_H

#include <stddef.h>
#include <stdint.h>
#include "lib/buf.h"
#include "lib/err.h"
#include "lib/uuid.h"
#include "proto/holdfast.pb-c.h"

enum ingest_cf { CF_PART, CF_LANE, CF_BODY };

#define STORE_VERSION  1
#define STORE_NAME_MAX 32 /* of an instance */
#define STORE_PART_KEY (UUID_LEN + 4)
#define STORE_LANE_MAX (2 + STORE_NAME_MAX)
#define STORE_LANE_KEY (STORE_LANE_MAX + STORE_PART_KEY)

struct store_id { struct uuid message; uint32_t part; };

/* Where a part goes: stage is HOLDQ or DELIVERY. */
struct store_dest { Holdfast__Role stage; char name[STORE_NAME_MAX + 1]; };

void store_part_key(const struct store_id *id, uint8_t out[STORE_PART_KEY]);
enum err store_part_key_parse(const void *p, size_t n, struct store_id *out) MUST_CHECK;

/* A lane's prefix, and the key of a part in it; returns the length. */
size_t store_lane_prefix(const struct store_dest *d, uint8_t out[STORE_LANE_KEY]);
size_t store_lane_key(const struct store_dest *d, const struct store_id *id,
                      uint8_t out[STORE_LANE_KEY]);
enum err store_lane_key_parse(const void *p, size_t n, struct store_dest *d,
                              struct store_id *id) MUST_CHECK;
/* The least key behind all that begin with [p, p+n), into out (same length).
 * n is not 0 and the first byte is no 0xff. */
void store_after(const uint8_t *p, size_t n, uint8_t *out);

void store_record_add(struct buf *out, const struct store_dest *d, const Holdfast__Envelope *env);
/* *env is released with holdfast__envelope__free_unpacked(). */
enum err store_record_parse(const void *p, size_t n, struct store_dest *d,
                            Holdfast__Envelope **env) MUST_CHECK;

#endif
