/* policy/store.h - the keys and records of policy, in one place
 *
 * No other file builds or parses a key.  Records that other programs may read
 * one day are packed messages of holdfast.proto with a version in them; the
 * account's figures are a fixed row of integers with a version.
 */
#ifndef POLICY_STORE_H
#define POLICY_STORE_H

#include <stdbool.h>
#include <stdint.h>
#include "lib/kv.h"
#include "policy/account.h"
#include "proto/holdfast.pb-c.h"

enum policy_cf {
	CF_ACCOUNT,     /* name -> Account */
	CF_FIGURES,     /* name -> struct figures */
	CF_CREDENTIAL,  /* login -> Principal */
	CF_SOURCE,      /* ip (4 or 16) prefix(1) -> account */
	CF_LIST,        /* list(1) account 0 key -> ListEntry that stands or counts */
	CF_HISTORY,     /* list(1) account 0 key 0 removed_ms(8) -> ListEntry that ended */
	CF_AUDIT,       /* account 0 time(8) seq(4) -> "state by: reason" */
	CF_RESERVATION, /* message_id(16) index(4) -> time(8) account */
	CF_APPLIED,     /* source(16) -> last seq(8) */
	CF_VERDICT,     /* verdict_id(16) -> refusal, see store_verdict_put() */
	CF_TRACE,       /* message_id(16) time(8) n(4) -> Event */
	CF_OUTBOX,      /* proto/outbox.h */
	CF_SYS,         /* "secret", "system_entries" */
};
extern const struct kv_cf policy_cfs[];

/* Keys.  Each appends to an empty buf. */
void key_list(struct buf *k, Holdfast__ListName list, const char *account, const void *key,
              size_t len);
void key_list_entry(struct buf *k, const Holdfast__ListEntry *e); /* its key_list() */
void key_history(struct buf *k, Holdfast__ListName list, const char *account, const void *key,
                 size_t len, uint64_t removed_ms);
void key_audit(struct buf *k, const char *account, uint64_t now_ms, uint32_t n);
void key_reservation(struct buf *k, const uint8_t message_id[16], uint32_t index);
void key_trace(struct buf *k, const uint8_t message_id[16], uint64_t time_ms, uint32_t n);
/* The first key behind all keys that begin with k: makes an upper bound of it. */
void key_end(struct buf *k);

/* Put a packed message under key. */
void store_put_message(struct kv_batch *b, unsigned cf, const void *key, size_t klen,
                       const ProtobufCMessage *m);

/* An entry of CF_LIST; NULL when there is none or it cannot be read (logged).
 * Freed with holdfast__list_entry__free_unpacked(e, NULL). */
Holdfast__ListEntry *store_list_get(struct kv *kv, Holdfast__ListName list,
                                    const char *account, const void *key, size_t len);
void store_list_put(struct kv_batch *b, const Holdfast__ListEntry *e);
void store_list_del(struct kv_batch *b, const Holdfast__ListEntry *e);
void store_history_put(struct kv_batch *b, const Holdfast__ListEntry *e);

void store_figures_put(struct kv_batch *b, const char *account, const struct figures *f);
/* ERR_CORRUPT: not such a record. */
enum err store_figures_parse(const void *p, size_t len, struct figures *out) MUST_CHECK;

/* Read a number under key in cf; 0 where there is none. */
uint64_t store_u64_get(struct kv *kv, unsigned cf, const void *key, size_t klen);
void     store_u64_put(struct kv_batch *b, unsigned cf, const void *key, size_t klen, uint64_t n);

/* What was refused: class, all lists that hit (bits of enum hit), when, whose, which. */
void store_verdict_put(struct kv_batch *b, const Holdfast__Verdict *v, unsigned hits,
                       uint64_t now_ms, const char *account, ProtobufCBinaryData key);

uint64_t store_read_u64(const void *p);
uint32_t store_read_u32(const void *p);

#endif
