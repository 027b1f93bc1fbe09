/* lib/kv_read.c - reading the store: one key, or a range in order
 *
 * Runs on the loop's thread and may wait for the disk.  What was queued but
 * not yet written is not seen.  Read errors are reported and logged; they do
 * not make the store fail, for nothing was promised on them.
 */
#include "lib/kv_private.h"

#include <assert.h>
#include "lib/mem.h"

enum err kv_get(struct kv *kv, unsigned cf, const void *key, size_t klen, struct buf *out)
{
	rocksdb_pinnableslice_t *slice;
	const char *val;
	char *said = NULL;
	size_t len = 0;

	assert(cf < kv->n_cfs);
	slice = rocksdb_get_pinned_cf(kv->db, kv->ropts, kv->handles[cf + 1], key, klen, &said);
	if (said != NULL) {
		kv_log_failure(kv, "kv_read_failed", said);
		return ERR_IO;
	}
	if (slice == NULL)
		return ERR_NOENT;
	val = rocksdb_pinnableslice_value(slice, &len);
	buf_add(out, val, len);
	rocksdb_pinnableslice_destroy(slice);
	return ERR_OK;
}

struct kv_iter {
	struct kv *kv;
	rocksdb_iterator_t *it;
	rocksdb_readoptions_t *ropts;
	struct buf from, to; /* RocksDB borrows the upper bound */
	bool started;
};

struct kv_iter *kv_iter_new(struct kv *kv, unsigned cf, const void *from, size_t flen,
                            const void *to, size_t tlen)
{
	struct kv_iter *it = xcalloc(1, sizeof(*it));

	assert(cf < kv->n_cfs);
	it->kv = kv;
	it->ropts = rocksdb_readoptions_create();
	if (from != NULL)
		buf_add(&it->from, from, flen);
	if (to != NULL) {
		buf_add(&it->to, to, tlen);
		rocksdb_readoptions_set_iterate_upper_bound(it->ropts, buf_str(&it->to), tlen);
	}
	it->it = rocksdb_create_iterator_cf(kv->db, it->ropts, kv->handles[cf + 1]);
	return it;
}

bool kv_iter_next(struct kv_iter *it)
{
	if (!it->started)
		rocksdb_iter_seek(it->it, buf_str(&it->from), it->from.len);
	else if (rocksdb_iter_valid(it->it))
		rocksdb_iter_next(it->it);
	it->started = true;
	return rocksdb_iter_valid(it->it);
}

const void *kv_iter_key(const struct kv_iter *it, size_t *len)
{
	return rocksdb_iter_key(it->it, len);
}

const void *kv_iter_value(const struct kv_iter *it, size_t *len)
{
	return rocksdb_iter_value(it->it, len);
}

enum err kv_iter_free(struct kv_iter **itp)
{
	struct kv_iter *it = *itp;
	char *said = NULL;

	if (it == NULL)
		return ERR_OK;
	rocksdb_iter_get_error(it->it, &said);
	if (said != NULL)
		kv_log_failure(it->kv, "kv_read_failed", said);
	rocksdb_iter_destroy(it->it);
	rocksdb_readoptions_destroy(it->ropts);
	buf_free(&it->from);
	buf_free(&it->to);
	xfree(it);
	*itp = NULL;
	return said == NULL ? ERR_OK : ERR_IO;
}
