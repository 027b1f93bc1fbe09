/* lib/kv_writer.c - the store's writer thread, and the way to it and back
 *
 * The thread takes everything that is queued (up to batch_bytes), writes it as
 * one RocksDB batch with one sync, and wakes the loop once.  Groups form by
 * themselves while the sync before them runs; nothing waits on purpose, except
 * lazy batches.  After one failed write nothing is written any more.
 *
 * The lock is held for list operations only, never over a write.
 */
#include "lib/kv_private.h"

#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <time.h>
#include "lib/clock.h"
#include "lib/log.h"
#include "lib/mem.h"

enum {
	LAZY_MS = 800,            /* what stays below the second that kv.h promises */
	IDLE_FLUSH_MS = 30 * 1000, /* where the configuration does not say */
	STALL_POLL_MS = 200,
};

/* --- the writer's thread --- */

static struct timespec in_ms(uint64_t ms)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	t.tv_sec += (time_t)(ms / 1000);
	t.tv_nsec += (long)(ms % 1000) * 1000000L;
	if (t.tv_nsec >= 1000000000L) {
		t.tv_sec++;
		t.tv_nsec -= 1000000000L;
	}
	return t;
}

/* Tombstones give their space back only from a file, and a log that is flushed
 * need not be read at the next start.  Failure shows at the next write. */
static void flush_families(struct kv *kv)
{
	char *said = NULL;

	for (size_t i = 0; i <= kv->n_cfs; i++) {
		rocksdb_flush_cf(kv->db, kv->fopts, kv->handles[i], &said);
		if (said != NULL)
			kv_log_failure(kv, "kv_flush_failed", said);
		said = NULL;
	}
}

/* With the lock: nothing is queued, and nothing was for a while. */
static void sleep_idle(struct kv *kv)
{
	struct timespec until = in_ms(kv->conf.idle_flush_ms);

	kv->asleep = true;
	while (TAILQ_EMPTY(&kv->queue) && !kv->stop) {
		if (!kv->unflushed) {
			pthread_cond_wait(&kv->wake, &kv->lock);
			continue;
		}
		if (pthread_cond_timedwait(&kv->wake, &kv->lock, &until) != ETIMEDOUT)
			continue;
		kv->unflushed = false;
		pthread_mutex_unlock(&kv->lock);
		flush_families(kv);
		pthread_mutex_lock(&kv->lock);
	}
	kv->asleep = false;
}

/* With the lock: wait until something must be written.  The first wait has a
 * limit even when nothing is queued, so that a lazy batch that comes within it
 * need not wake us; false: stop, and nothing is left. */
static bool wait_for_work(struct kv *kv)
{
	struct timespec until = in_ms(LAZY_MS);

	while (kv->n_urgent == 0 && !kv->stop && kv->lazy_bytes < kv->conf.batch_bytes / 2) {
		if (pthread_cond_timedwait(&kv->wake, &kv->lock, &until) != ETIMEDOUT)
			continue;
		if (!TAILQ_EMPTY(&kv->queue))
			break;
		sleep_idle(kv);
		until = in_ms(LAZY_MS);
	}
	return !TAILQ_EMPTY(&kv->queue);
}

/* With the lock: move the next group to `group`; true when one of it wants a sync. */
static bool take_group(struct kv *kv, struct kv_batches *group)
{
	struct kv_batch *b;
	size_t bytes = 0;
	bool sync = false;

	while ((b = TAILQ_FIRST(&kv->queue)) != NULL) {
		if (bytes > 0 && bytes + b->bytes > kv->conf.batch_bytes)
			break;
		TAILQ_REMOVE(&kv->queue, b, link);
		TAILQ_INSERT_TAIL(group, b, link);
		bytes += b->bytes;
		if (b->lazy) {
			kv->lazy_bytes -= b->bytes;
		} else {
			kv->n_urgent--;
			sync = true;
		}
	}
	return sync;
}

static void add_ops(const struct kv *kv, const struct kv_batch *b)
{
	const char *p = b->ops.data;
	const char *end = p + b->ops.len;
	struct kv_op op;

	while (p < end) {
		rocksdb_column_family_handle_t *cf;
		const char *key = p + sizeof(op);

		memcpy(&op, p, sizeof(op));
		cf = kv->handles[op.cf + 1];
		p = key + op.klen;
		if (op.is_delete) {
			rocksdb_writebatch_delete_cf(kv->wbatch, cf, key, op.klen);
		} else if (op.blob != NULL) {
			rocksdb_writebatch_put_cf(kv->wbatch, cf, key, op.klen,
			                          (const char *)op.blob->data, op.vlen);
		} else {
			rocksdb_writebatch_put_cf(kv->wbatch, cf, key, op.klen, p, op.vlen);
			p += op.vlen;
		}
	}
}

/* Without the lock: one write for the whole group. */
static enum err write_group(struct kv *kv, struct kv_batches *group, bool sync)
{
	struct kv_batch *b;
	char *said = NULL;

	kv->unflushed = true;
	rocksdb_writebatch_clear(kv->wbatch);
	TAILQ_FOREACH(b, group, link)
		add_ops(kv, b);
	rocksdb_write(kv->db, sync ? kv->wopts_sync : kv->wopts_nosync, kv->wbatch, &said);
	if (said == NULL)
		return ERR_OK;
	kv_log_failure(kv, "kv_write_failed", said);
	return ERR_IO;
}

static void finish_group(struct kv *kv, struct kv_batches *group, enum err result)
{
	struct kv_batch *b;

	TAILQ_FOREACH(b, group, link) {
		b->result = result;
		kv_batch_drop_blobs(b);
		if (result == ERR_OK) {
			kv->stats.batches++;
			kv->stats.records += b->n_ops;
		}
	}
	TAILQ_CONCAT(&kv->written, group, link);
}

static void *writer_main(void *arg)
{
	struct kv *kv = arg;
	struct kv_batches group = TAILQ_HEAD_INITIALIZER(group);
	enum err result = ERR_OK;

	pthread_mutex_lock(&kv->lock);
	while (wait_for_work(kv)) {
		bool sync = take_group(kv, &group);
		uint64_t began = clock_mono_us();

		pthread_mutex_unlock(&kv->lock);
		if (result == ERR_OK)
			result = write_group(kv, &group, sync);
		pthread_mutex_lock(&kv->lock);
		if (result != ERR_OK) {
			kv->stats.failed = true;
		} else if (sync) {
			kv->stats.syncs++;
			kv->stats.last_sync_us = clock_mono_us() - began;
		}
		finish_group(kv, &group, result);
		uv_async_send(&kv->async);
	}
	pthread_mutex_unlock(&kv->lock);
	return NULL;
}

/* --- the loop's side --- */

static void run_done(struct kv *kv)
{
	struct kv_batch *b;

	pthread_mutex_lock(&kv->lock);
	TAILQ_CONCAT(&kv->finished, &kv->written, link);
	pthread_mutex_unlock(&kv->lock);
	kv->in_done = true;
	while ((b = TAILQ_FIRST(&kv->finished)) != NULL) {
		TAILQ_REMOVE(&kv->finished, b, link);
		kv->pending_batches--;
		kv->pending_bytes -= b->bytes;
		if (b->done != NULL)
			b->done(b->result, b->owner, b->id);
		kv_batch_free(&b);
	}
	kv->in_done = false;
	if (kv->pending_batches == 0 && !kv->closed)
		uv_unref((uv_handle_t *)&kv->async);
}

static void on_async(uv_async_t *async)
{
	run_done(async->data);
}

static void enqueue(struct kv *kv, struct kv_batch *b)
{
	bool wake;

	assert(b->n_ops == 0 || b->max_cf < kv->n_cfs);
	if (kv->pending_batches++ == 0 && !kv->closed)
		uv_ref((uv_handle_t *)&kv->async);
	kv->pending_bytes += b->bytes;
	pthread_mutex_lock(&kv->lock);
	if (kv->closed) {
		b->result = ERR_IO;
		TAILQ_INSERT_TAIL(&kv->written, b, link);
		pthread_mutex_unlock(&kv->lock);
		return;
	}
	TAILQ_INSERT_TAIL(&kv->queue, b, link);
	if (b->lazy) {
		kv->lazy_bytes += b->bytes;
		wake = kv->asleep || kv->lazy_bytes >= kv->conf.batch_bytes / 2;
	} else {
		/* Only the first one: the writer is awake, or woken, until it took all. */
		wake = kv->n_urgent++ == 0;
	}
	pthread_mutex_unlock(&kv->lock);
	if (wake)
		pthread_cond_signal(&kv->wake);
}

void kv_write(struct kv *kv, struct kv_batch **b, kv_done_fn *done, void *owner, uint64_t id)
{
	(*b)->done = done;
	(*b)->owner = owner;
	(*b)->id = id;
	enqueue(kv, *b);
	*b = NULL;
}

void kv_write_lazy(struct kv *kv, struct kv_batch **b)
{
	(*b)->lazy = true;
	enqueue(kv, *b);
	*b = NULL;
}

bool kv_full(const struct kv *kv)
{
	return kv->pending_bytes >= kv->conf.pending_bytes;
}

/* Asking takes the store's own mutex, hence not at every call. */
static bool stalled(struct kv *kv)
{
	uint64_t now = clock_mono_ms();
	uint64_t stopped = 0, rate = 0;

	if (kv->stall_read_ms != 0 && now - kv->stall_read_ms < STALL_POLL_MS)
		return kv->stalled;
	(void)rocksdb_property_int(kv->db, "rocksdb.is-write-stopped", &stopped);
	(void)rocksdb_property_int(kv->db, "rocksdb.actual-delayed-write-rate", &rate);
	kv->stalled = stopped != 0 || rate != 0;
	kv->stall_read_ms = now;
	return kv->stalled;
}

void kv_stats_get(const struct kv *kv, struct kv_stats *out)
{
	struct kv *mut = (struct kv *)kv; /* only its lock and cached state change */

	pthread_mutex_lock(&mut->lock);
	*out = kv->stats;
	pthread_mutex_unlock(&mut->lock);
	out->pending_batches = kv->pending_batches;
	out->pending_bytes = kv->pending_bytes;
	out->stalled = stalled(mut);
}

/* Signals are for the loop's thread. */
static int start_thread(struct kv *kv)
{
	sigset_t all, before;
	int rc;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	rc = pthread_create(&kv->thread, NULL, writer_main, kv);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (rc == 0)
		pthread_setname_np(kv->thread, "kv-writer");
	return rc;
}

enum err kv_writer_start(struct kv *kv, uv_loop_t *loop)
{
	pthread_condattr_t attr;

	TAILQ_INIT(&kv->finished);
	TAILQ_INIT(&kv->queue);
	TAILQ_INIT(&kv->written);
	if (uv_async_init(loop, &kv->async, on_async) != 0)
		return ERR_IO;
	kv->async.data = kv;
	uv_unref((uv_handle_t *)&kv->async); /* only waiting writes keep a loop running */
	pthread_mutex_init(&kv->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&kv->wake, &attr);
	pthread_condattr_destroy(&attr);
	kv->wbatch = rocksdb_writebatch_create();
	kv->wopts_sync = rocksdb_writeoptions_create();
	rocksdb_writeoptions_set_sync(kv->wopts_sync, 1);
	kv->wopts_nosync = rocksdb_writeoptions_create();
	kv->fopts = rocksdb_flushoptions_create();
	rocksdb_flushoptions_set_wait(kv->fopts, 0);
	if (kv->conf.idle_flush_ms == 0)
		kv->conf.idle_flush_ms = IDLE_FLUSH_MS;
	if (start_thread(kv) != 0)
		log_fatal(71, "kv_thread_failed", LOG_PAIRS(LOGS("dir", kv->dir)));
	return ERR_OK;
}

void kv_writer_stop(struct kv *kv)
{
	assert(!kv->in_done);
	pthread_mutex_lock(&kv->lock);
	kv->stop = true;
	pthread_mutex_unlock(&kv->lock);
	pthread_cond_signal(&kv->wake);
	pthread_join(kv->thread, NULL);
	kv->closed = true;
	while (kv->pending_batches > 0)
		run_done(kv);
	rocksdb_writebatch_destroy(kv->wbatch);
	rocksdb_writeoptions_destroy(kv->wopts_sync);
	rocksdb_writeoptions_destroy(kv->wopts_nosync);
	rocksdb_flushoptions_destroy(kv->fopts);
	pthread_cond_destroy(&kv->wake);
	pthread_mutex_destroy(&kv->lock);
}
