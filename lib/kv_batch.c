/* lib/kv_batch.c - collecting changes for one atomic write
 *
 * A batch is one growing buffer of operations with their keys and values, plus
 * references to blobs.  It knows nothing of a store: families are numbers until
 * the writer thread turns it into RocksDB's form.  Never blocks, never fails.
 */
#include "lib/kv_private.h"

#include <string.h>
#include "lib/mem.h"

enum { FIRST_ROOM = 512 }; /* fits what most batches hold besides blobs */

struct kv_batch *kv_batch_new(void)
{
	struct kv_batch *b = xcalloc(1, sizeof(*b));

	(void)buf_room(&b->ops, FIRST_ROOM);
	return b;
}

void kv_batch_free(struct kv_batch **b)
{
	if (*b == NULL)
		return;
	kv_batch_drop_blobs(*b);
	buf_free(&(*b)->ops);
	xfree(*b);
	*b = NULL;
}

void kv_batch_drop_blobs(struct kv_batch *b)
{
	const char *p = b->ops.data;
	const char *end = p + b->ops.len;
	struct kv_op op;

	if (b->n_blobs == 0)
		return;
	for (; p < end; p += sizeof(op) + op.klen + (op.blob == NULL ? op.vlen : 0)) {
		memcpy(&op, p, sizeof(op));
		if (op.blob != NULL) {
			struct blob *blob = op.blob;

			blob_unref(&blob);
		}
	}
	b->n_blobs = 0;
	buf_reset(&b->ops);
}

static void add(struct kv_batch *b, const struct kv_op *op, const void *key, const void *val)
{
	buf_add(&b->ops, op, sizeof(*op));
	buf_add(&b->ops, key, op->klen);
	if (op->blob == NULL && op->vlen > 0)
		buf_add(&b->ops, val, op->vlen);
	b->bytes += op->klen + op->vlen;
	b->n_ops++;
	if (op->cf > b->max_cf)
		b->max_cf = op->cf;
}

void kv_put(struct kv_batch *b, unsigned cf, const void *key, size_t klen,
            const void *val, size_t vlen)
{
	struct kv_op op = { .cf = cf, .klen = klen, .vlen = vlen };

	add(b, &op, key, val);
}

void kv_put_blob(struct kv_batch *b, unsigned cf, const void *key, size_t klen,
                 struct blob *val)
{
	struct kv_op op = { .cf = cf, .klen = klen, .vlen = val->len, .blob = blob_ref(val) };

	add(b, &op, key, NULL);
	b->n_blobs++;
}

void kv_del(struct kv_batch *b, unsigned cf, const void *key, size_t klen)
{
	struct kv_op op = { .cf = cf, .klen = klen, .is_delete = true };

	add(b, &op, key, NULL);
}

bool kv_batch_empty(const struct kv_batch *b)
{
	return b->n_ops == 0;
}
