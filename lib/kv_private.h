/* lib/kv_private.h - what the files of the store share; included by lib/kv*.c only
 *
 * kv.c opens and closes, kv_batch.c collects changes, kv_writer.c writes them,
 * kv_read.c reads.  A batch belongs to the loop until kv_write(), then to the
 * writer thread until it is on `written`, then to the loop again.
 */
#ifndef LIB_KV_PRIVATE_H
#define LIB_KV_PRIVATE_H

#include <pthread.h>
#include <rocksdb/c.h>
#include <sys/queue.h>
#include "lib/kv.h"

/* One change, in a batch's `ops` in front of its key and (without a blob) its
 * value.  Copied out with memcpy() before use: it is not aligned there. */
struct kv_op {
	struct blob *blob; /* the value, referenced; NULL: it follows the key */
	size_t       klen, vlen;
	unsigned     cf;
	bool         is_delete;
};

struct kv_batch {
	TAILQ_ENTRY(kv_batch) link; /* queue, then written, then finished */
	struct buf  ops;
	size_t      bytes;          /* keys, values and blobs; what backpressure counts */
	unsigned    n_ops, n_blobs;
	unsigned    max_cf;
	bool        lazy;
	enum err    result;         /* set by the writer */
	kv_done_fn *done;
	void       *owner;
	uint64_t    id;
};

TAILQ_HEAD(kv_batches, kv_batch);

struct kv {
	/* Fixed after kv_open(). */
	struct kv_conf conf;
	char   *dir;
	size_t  n_cfs;
	rocksdb_t *db;
	rocksdb_options_t **options;                /* [0] is of the default family */
	rocksdb_column_family_handle_t **handles;   /* [0] default, then as given */
	rocksdb_block_based_table_options_t **tables;
	rocksdb_cache_t *cache;
	rocksdb_readoptions_t *ropts;
	uint8_t store_id[16];

	/* The loop's. */
	uv_async_t async;
	struct kv_batches finished;   /* done functions still to run */
	uint64_t pending_batches, pending_bytes;
	bool     in_done;
	bool     closed;              /* the writer is gone: what comes now ends in ERR_IO */
	bool     stalled;             /* as of stall_read_ms */
	uint64_t stall_read_ms;

	/* Under lock: both threads'. */
	pthread_mutex_t lock;
	pthread_cond_t  wake;
	struct kv_batches queue, written;
	unsigned n_urgent;            /* batches in queue that are not lazy */
	size_t   lazy_bytes;          /* in queue */
	bool     stop, asleep;        /* asleep: a lazy batch must wake the writer */
	struct kv_stats stats;        /* syncs, batches, records, last_sync_us, failed */

	/* The writer's. */
	pthread_t thread;
	rocksdb_writebatch_t   *wbatch;
	rocksdb_writeoptions_t *wopts_sync, *wopts_nosync;
	rocksdb_flushoptions_t *fopts;
	bool unflushed;               /* written to since the last flush of all families */
};

/* kv_options.c: the families' layouts.  Fills options, tables, cache. */
void kv_options_make(struct kv *kv, const struct kv_cf *cfs);
void kv_options_free(struct kv *kv);

/* kv_writer.c */
enum err kv_writer_start(struct kv *kv, uv_loop_t *loop) MUST_CHECK;
/* Write what is queued, end the thread, run the done functions that wait. */
void kv_writer_stop(struct kv *kv);

/* kv_batch.c: drop the blobs, which may be done on either thread. */
void kv_batch_drop_blobs(struct kv_batch *b);

/* Log what RocksDB said as `event` and free it. */
void kv_log_failure(const struct kv *kv, const char *event, char *said);

#endif
