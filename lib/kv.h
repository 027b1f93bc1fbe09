/* lib/kv.h - the durable key-value store of a stage
 *
 * Named column families of byte-ordered keys.  All changes go through batches:
 * kv_write() hands one to the writer thread, which joins everything that is
 * waiting into one write with one sync and then wakes the loop; each batch
 * applies completely or not at all, and batches apply in the order given.
 * Nothing of the storage library shows through this header.
 *
 * Threads: every call is made on the loop's thread.  Reads may wait for the
 * disk; they are microseconds when the block is cached.
 *
 * Failure: after one failed write or sync the store is failed for good.  Every
 * waiting and later batch completes with ERR_IO; nothing is tried again.  The
 * worker then exits (sysexits 74) and recovery is by reopening.
 */
#ifndef LIB_KV_H
#define LIB_KV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>
#include "lib/blob.h"
#include "lib/buf.h"
#include "lib/err.h"

struct kv;
struct kv_batch;
struct kv_iter;

/* What a column family is used for; chooses its layout on disk. */
enum kv_use {
	KV_RECORDS, /* small records looked up by key; misses are common (bloom filter) */
	KV_BLOBS,   /* message bytes: large values, written once, deleted soon */
	KV_QUEUE,   /* an index that is consumed from its head: compacts on deletion */
};

struct kv_cf {
	const char *name;
	enum kv_use use;
};

struct kv_conf {
	uint64_t cache_bytes;      /* block cache shared by all families */
	uint64_t write_buffer_bytes; /* memtables of all families together */
	uint64_t batch_bytes;      /* most bytes joined into one synced write */
	uint64_t pending_bytes;    /* most bytes waiting for the writer: then kv_full() */
	uint64_t idle_flush_ms;    /* without writes for so long: give space back; 0: 30 s */
};

struct kv_stats {
	uint64_t pending_batches, pending_bytes;
	uint64_t syncs, batches, records; /* since open */
	uint64_t last_sync_us;
	bool     stalled; /* the store slows or stops writes: grant no more credit */
	bool     failed;
};

/* The batch of id `id` is durable (ERR_OK) or will never be (ERR_IO).  Called
 * exactly once per kv_write(), on the loop, in the order of the writes, never
 * from inside kv_write(). */
typedef void kv_done_fn(enum err err, void *owner, uint64_t id);

/* Open the store in dir, creating dir and families when absent, and start the
 * writer thread.  BLOCKS.  Store ids: see kv_store_id().
 * ERR_IO: cannot be opened (the reason is logged); ERR_EXIST: another process
 * has it open. */
enum err kv_open(uv_loop_t *loop, const char *dir, const struct kv_cf *cfs, size_t n_cfs,
                 const struct kv_conf *conf, struct kv **out) MUST_CHECK;

/* Finish the writes that wait, stop the thread, close.  BLOCKS.  Their done
 * functions run from inside.  Sets *kv to NULL; NULL is fine. */
void kv_close(struct kv **kv);

/* 16 random bytes made when the store was created: names this store's event
 * stream to policy for ever. */
const uint8_t *kv_store_id(const struct kv *kv);

/* Append the value of key to out.  ERR_NOENT: no such key; ERR_IO. */
enum err kv_get(struct kv *kv, unsigned cf, const void *key, size_t klen,
                struct buf *out) MUST_CHECK;

/* Batches.  Keys and values are copied, except a blob, which is referenced. */
struct kv_batch *kv_batch_new(void);
void kv_batch_free(struct kv_batch **b); /* for one that is not written after all */
void kv_put(struct kv_batch *b, unsigned cf, const void *key, size_t klen,
            const void *val, size_t vlen);
void kv_put_blob(struct kv_batch *b, unsigned cf, const void *key, size_t klen,
                 struct blob *val);
void kv_del(struct kv_batch *b, unsigned cf, const void *key, size_t klen);
bool kv_batch_empty(const struct kv_batch *b);

/* Queue *b for a synced write and set *b to NULL.  done may be NULL. */
void kv_write(struct kv *kv, struct kv_batch **b, kv_done_fn *done, void *owner, uint64_t id);

/* Like kv_write() for what need not be durable soon (deletes that a repeat
 * would redo): it rides with the next synced write, or goes out unsynced
 * within the second.  Order with kv_write() is kept. */
void kv_write_lazy(struct kv *kv, struct kv_batch **b);

/* True while pending_bytes is reached: take no new work. */
bool kv_full(const struct kv *kv);

void kv_stats_get(const struct kv *kv, struct kv_stats *out);

/* Walk [from, to) of a family in key order, forwards.  A NULL `to` is the end.
 * The iterator sees the store as of its creation; it must not be kept over
 * turns of the loop for longer than a page of output. */
struct kv_iter *kv_iter_new(struct kv *kv, unsigned cf, const void *from, size_t flen,
                            const void *to, size_t tlen);
bool kv_iter_next(struct kv_iter *it); /* the first call moves to the first */
/* Borrowed until the next call on it. */
const void *kv_iter_key(const struct kv_iter *it, size_t *len);
const void *kv_iter_value(const struct kv_iter *it, size_t *len);
/* ERR_OK, or ERR_IO when the walk ended because of the disk. */
enum err kv_iter_free(struct kv_iter **it);

#endif
