/* policy/policy.h - what the parts of policy share
 *
 * One struct policy a process, reached through stage->state.  One thread, the
 * loop's.  State in memory is changed when its batch is handed to the store: batches
 * become durable in that order, and a store that fails ends the process, so
 * memory never says what the disk does not.  Nobody is told before the sync.
 */
#ifndef POLICY_POLICY_H
#define POLICY_POLICY_H

#include <sys/queue.h>
#include "lib/idmap.h"
#include "lib/uuid.h"
#include "policy/account.h"
#include "policy/store.h"
#include "proto/outbox.h"
#include "proto/stage.h"

struct policy_conf {
	uint64_t quota_defer_ms, soft_limit, reservation_ttl_ms, reservations_max;
	uint64_t accounts_max, sources_max, block_wait_ms;
	uint64_t verdict_retention_ms, trace_retention_ms;
};

enum policy_metric {
	PM_VERDICTS, PM_EVENTS, PM_EVENTS_REPEATED, PM_BOUNCES, PM_LISTED, PM_LOGIN_UNKNOWN,
	PM_ACCOUNTS, PM_RESERVATIONS, PM_RESERVATIONS_EXPIRED, PM_BLOCK_UNREACHABLE,
	PM_SYSTEM_ENTRIES, PM_UNSENT, PM_IN_FLIGHT, PM_RATE_LIMITED,
};

struct applied;
struct rated;
struct reservations;
struct sources;
struct unsynced;

struct policy {
	struct stage *stage;
	struct kv *kv;
	struct bus *bus;
	struct outbox *outbox;
	struct policy_conf conf;
	struct account *accounts;          /* uthash by name */
	unsigned n_accounts;               /* that exist */
	struct reservations *reservations;
	struct rated *rated;               /* uthash by message id: see rated.c */
	TAILQ_HEAD(, rated) rated_by_age;
	struct sources *sources;
	struct applied *applied;           /* uthash by source: last seq */
	struct idmap *laters;              /* answers that wait for a sync or another instance */
	TAILQ_HEAD(, later) all_laters;
	struct unsynced *unsynced;         /* uthash by key: see unsynced.c */
	TAILQ_HEAD(, unsynced) unsynced_by_batch;
	uint64_t batches, durable;         /* written by later_write(), and synced of them */
	uint64_t system_entries;           /* on this instance's share of the system-wide list */
	uint8_t  secret[32];               /* makes up keys of unknown logins */
	uint32_t serial;                   /* keeps keys of one millisecond apart */
	uint64_t ticks;                    /* of 100 ms */
	struct buf verdict_at, trace_at;   /* where the sweep of old records reads on */
};

static inline struct policy *policy_of(struct stage *st)
{
	return st->state;
}

/* ---- accounts.c: the cache of all accounts */
enum err accounts_load(struct policy *p) MUST_CHECK; /* BLOCKS */
void accounts_free(struct policy *p);
struct account *accounts_find(const struct policy *p, ProtobufCBinaryData name); /* or NULL */
/* Find, or make one that only has figures ("" is our own reports). */
struct account *accounts_ledger(struct policy *p, ProtobufCBinaryData name);
/* Create or change by put.  Adds to *batch; text says why not. */
Holdfast__Done__Result accounts_put(struct policy *p, const Holdfast__AccountPut *put,
                                    uint64_t now_ms, struct kv_batch *batch,
                                    const char **text);
/* Fill a message from an account; its bytes are borrowed from a. */
void accounts_message(const struct account *a, uint64_t now_ms, Holdfast__Account *out);

/* ---- list.c: entries of the three lists */
/* Which list stops key for this account; bits of 1 << VerdictClass in *hits.  remote: the
 * system-wide list is another instance's and was not asked. */
void list_verdict(struct policy *p, const struct account *a, ProtobufCBinaryData key,
                  Holdfast__Verdict *out, unsigned *hits, bool *remote);
bool list_blocked(struct policy *p, ProtobufCBinaryData key); /* here, on the system-wide list */
/* Is key's share of the system-wide list ours?  Without a bus (tests) it is. */
bool list_system_is_here(const struct policy *p, ProtobufCBinaryData key);
bool list_entry_stands(const struct account *a, const Holdfast__ListEntry *e);
/* What an outcome teaches.  All add to batch. */
void list_hard(struct policy *p, struct account *a, const Holdfast__Event *ev,
               struct kv_batch *batch);
void list_soft(struct policy *p, struct account *a, const Holdfast__Event *ev,
               struct kv_batch *batch);
void list_delivered(struct policy *p, struct account *a, const Holdfast__Event *ev,
                    struct kv_batch *batch);
void list_block_invalid(struct policy *p, const Holdfast__Event *ev, struct kv_batch *batch);
/* By hand.  text says why not. */
Holdfast__Done__Result list_put(struct policy *p, const Holdfast__ListPut *put, uint64_t now_ms,
                                struct kv_batch *batch, const char **text);
Holdfast__Done__Result list_remove(struct policy *p, const Holdfast__ListRemove *rm,
                                   uint64_t now_ms, struct kv_batch *batch, const char **text);

/* ---- unsynced.c: list entries as the batches that are still being synced leave them */
/* The entry as the last event or act left it, or NULL; the caller frees it. */
Holdfast__ListEntry *unsynced_get(const struct policy *p, Holdfast__ListName list,
                                  const char *account, const void *key, size_t len);
/* Change an entry in batch, which later_write() is given before anything else is. */
void unsynced_put(struct policy *p, struct kv_batch *batch, const Holdfast__ListEntry *e);
void unsynced_del(struct policy *p, struct kv_batch *batch, const Holdfast__ListEntry *e);
void unsynced_durable(struct policy *p); /* the next of later_write()'s batches is */
void unsynced_free(struct policy *p);

/* ---- reserve.c: shares of quotas that sessions hold */
enum err reserve_load(struct policy *p) MUST_CHECK; /* BLOCKS */
void reserve_free(struct policy *p);
bool reserve_has(const struct policy *p, const uint8_t message_id[16], uint32_t index);
/* Take one share for (message_id, index).  ERR_FULL: too many are open; ERR_EXIST: it is taken
 * already (a repeat).  The quota was checked by the caller. */
enum err reserve_take(struct policy *p, struct account *a, const uint8_t message_id[16],
                      uint32_t index, uint64_t now_ms, struct kv_batch *batch) MUST_CHECK;
/* Give back up to n shares of a message. */
void reserve_give(struct policy *p, const uint8_t message_id[16], uint64_t n,
                  struct kv_batch *batch);
void reserve_expire(struct policy *p, uint64_t now_ms);
uint64_t reserve_count(const struct policy *p);

/* ---- rated.c: messages that were counted against a rate lately */
bool rated_has(const struct policy *p, const uint8_t message_id[UUID_LEN]);
void rated_add(struct policy *p, const uint8_t message_id[UUID_LEN], uint64_t now_ms);
void rated_expire(struct policy *p, uint64_t now_ms);
void rated_free(struct policy *p);

/* ---- source.c: registered addresses and networks */
enum err sources_load(struct policy *p) MUST_CHECK; /* BLOCKS */
void sources_free(struct policy *p);
const char *sources_find(const struct policy *p, const uint8_t *ip, size_t len); /* or NULL */
Holdfast__Done__Result sources_put(struct policy *p, const Holdfast__SourcePut *put,
                                   struct kv_batch *batch, const char **text);

/* ---- credential.c */
enum err credential_open(struct policy *p) MUST_CHECK; /* the secret; BLOCKS */
/* Append a packed Principal: the one of login, or one made up. */
bool credential_find(struct policy *p, ProtobufCBinaryData login, struct buf *out);
Holdfast__Done__Result credential_put(struct policy *p, const Holdfast__CredentialPut *put,
                                      struct kv_batch *batch, const char **text);

/* ---- apply.c: events of other stages, once each */
/* Apply what is new in f; false when the frame is malformed (nothing was changed).
 * *last is the seq that is durable when batch is. */
bool apply_events(struct policy *p, const Holdfast__Events *f, struct kv_batch *batch,
                  uint64_t *last);
void apply_free(struct policy *p);

/* ---- later.c: answers that wait.  Callbacks of store and bus are given the stage, never p: they
 * may run after policy_close(), when the stage's state is NULL. */
struct later {
	TAILQ_ENTRY(later) link;
	uint64_t id;
	struct policy *p;
	struct bus_from from;
	Holdfast__Verdict verdict;       /* RcptQuery */
	uint8_t verdict_id[UUID_LEN];
	char account[ACCOUNT_NAME_MAX + 1];
	uint8_t message_id[UUID_LEN];
	uint32_t index;
	struct buf key;
	unsigned hits;
	/* RecheckQuery */
	Holdfast__Verdict *rcpt;
	size_t n_rcpt, waiting;
	bool failed;                     /* also RcptQuery: its message was given up meanwhile */
	/* EventsAck */
	uint8_t source[16];
	uint64_t seq;
	/* which answer, once the batch is durable */
	void (*answer)(struct later *l);
};
uint64_t later_new(struct policy *p, const struct bus_from *from, struct later **out);
struct later *later_find(struct policy *p, uint64_t id);
void later_end(struct policy *p, uint64_t id);
void later_end_all(struct policy *p); /* unanswered: the process is ending */
/* Write batch; then l->answer (or Refused FAILED), then later_end(). */
void later_write(struct policy *p, uint64_t id, struct kv_batch **batch);
void later_answer_done(struct later *l);
/* An act: Done now when nothing is to be written, else after the sync. */
void later_act(struct policy *p, const struct bus_from *from, Holdfast__Done__Result result,
               const char *text, struct kv_batch **batch);

/* ---- answer_*.c: handlers */
bus_handler_fn answer_login, answer_address, answer_mail, answer_rcpt, answer_abandon;
bus_handler_fn answer_block, answer_recheck;
bus_handler_fn answer_events, answer_status, answer_ledger, answer_trace;
bus_handler_fn answer_account_put, answer_account_get, answer_credential_put, answer_source_put;
bus_handler_fn answer_list_put, answer_list_remove, answer_list_get;

/* ---- sweep.c: records that are old enough to go */
void sweep(struct policy *p, uint64_t now_ms);

/* ---- life.c */
enum err policy_open(struct stage *st) MUST_CHECK;
bool policy_busy(struct stage *st);
void policy_close(struct stage *st);
void policy_tick(struct stage *st, uint64_t wall_ms);
void policy_collect(struct stage *st);
enum err policy_reload(struct stage *st, const void *conf) MUST_CHECK;

#endif
