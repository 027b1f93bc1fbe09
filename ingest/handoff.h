/* ingest/handoff.h - a message into parts: who gets which recipients
 *
 * Pure.  A part goes to one instance; its number is the lowest index among its
 * recipients, so that the same message is always split into the same ids.
 */
#ifndef INGEST_HANDOFF_H
#define INGEST_HANDOFF_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include "lib/blob.h"
#include "proto/holdfast.pb-c.h"

#define HANDOFF_SUBJECT_MAX 256

struct handoff_rcpt {
	uint32_t    index;
	unsigned    dest;    /* instance of the next stage */
	const char *address; /* borrowed */
	unsigned    notify;  /* as in Recipient */
	const char *orcpt;   /* borrowed; NULL: none */
};

struct handoff_part {
	uint32_t part;
	unsigned dest;
	size_t   first, n;   /* recipients, after the split */
};

/* What a recipient takes of an envelope, at most, and all else that is in one. */
#define HANDOFF_RCPT_BYTES(r) \
	(strlen((r)->address) + ((r)->orcpt ? strlen((r)->orcpt) + 4 : 0) + 24)
#define HANDOFF_FIXED_BYTES 2048
#define HANDOFF_PART_MAX 5000 /* recipients of a part; every receiver takes more */

/* Sort rcpt by (dest, index) and name the parts; parts has room for n.  A destination
 * whose recipients would not fit into an envelope of max bytes, or are more than
 * HANDOFF_PART_MAX, gets several.
 * Returns how many. */
size_t handoff_split(struct handoff_rcpt *rcpt, size_t n, size_t max, struct handoff_part *parts);

/* Point rs and ptrs (room for n each) at rcpt, for Envelope.rcpt of the parts:
 * &ptrs[part.first]. */
void handoff_recipients(const struct handoff_rcpt *rcpt, size_t n, Holdfast__Recipient *rs,
                        Holdfast__Recipient **ptrs);

/* The raw value of the first Subject field of a message's header section, unfolded as
 * it stands, cut at HANDOFF_SUBJECT_MAX; points into msg.  len 0: none. */
ProtobufCBinaryData handoff_subject(const void *msg, size_t len);

#endif
