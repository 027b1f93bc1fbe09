/* holdq/audit.h - who did what to held mail, and when: append-only, chained by SHA-256
 *
 * Each record holds the hash of the one before it, so that none can be changed,
 * removed or put in between without breaking all that follow.  A record rides in the
 * batch of the change that it tells of: there is no act without its record.
 */
#ifndef HOLDQ_AUDIT_H
#define HOLDQ_AUDIT_H

#include <stdint.h>
#include "lib/err.h"
#include "lib/kv.h"
#include "holdq/store.h"

#define AUDIT_HASH 32
#define AUDIT_TEXT_MAX 512 /* longer texts are cut */

struct audit;

struct audit_act {
	uint64_t time_ms;
	struct held_key key;  /* the mail */
	const char *what;     /* "release" "reject" "body" */
	const char *by;
	const char *account;
	const char *detail;   /* reason, result; "" for none */
};

/* Reads the head of the chain: BLOCKS.  ERR_CORRUPT: head and last record do not fit. */
enum err audit_open(struct kv *kv, struct audit **out) MUST_CHECK;
void audit_close(struct audit **a);

/* Add an act to b, which must then be written (a batch that is thrown away breaks the chain). */
void audit_add(struct audit *a, struct kv_batch *b, const struct audit_act *act);
uint64_t audit_count(const struct audit *a); /* acts ever recorded */

/* A record read back; texts are in own memory: audit_entry_free(). */
struct audit_entry {
	uint64_t seq, time_ms;
	uint8_t  before[AUDIT_HASH];
	struct held_key key;
	char *what, *by, *account, *detail;
};
enum err audit_decode(const void *p, size_t len, struct audit_entry *out) MUST_CHECK;
void audit_entry_free(struct audit_entry *e);

/* Walk the whole chain: BLOCKS.  ERR_OK: *n records, all sound.  ERR_CORRUPT: *n is the
 * number of the first that is not (or is missing). */
enum err audit_verify(struct kv *kv, uint64_t *n) MUST_CHECK;

#endif
