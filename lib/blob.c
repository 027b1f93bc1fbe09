/* lib/blob.c - reference-counted bytes
 *
 * The public struct heads a private one that holds the count and the way to
 * release.  Only the count is written after creation, and it is atomic.
 */
#include <assert.h>
#include <stdatomic.h>
#include <string.h>
#include "lib/blob.h"
#include "lib/mem.h"

struct blob_full {
	struct blob   pub;
	atomic_uint   refs;
	blob_free_fn *free; /* NULL: the bytes follow in the same allocation */
	void         *hint;
	unsigned char bytes[];
};

static struct blob *blob_make(size_t room, blob_free_fn *fn, void *hint)
{
	struct blob_full *f = xmalloc(sizeof(*f) + room);

	atomic_init(&f->refs, 1);
	f->free = fn;
	f->hint = hint;
	f->pub.data = f->bytes;
	f->pub.len = room;
	return &f->pub;
}

static struct blob_full *full_of(struct blob *b)
{
	return (struct blob_full *)b; /* pub is its first member */
}

struct blob *blob_copy(const void *p, size_t len)
{
	struct blob *b = blob_make(len, NULL, NULL);

	if (len > 0)
		memcpy(full_of(b)->bytes, p, len);
	return b;
}

struct blob *blob_take(struct buf *from)
{
	struct blob *b;

	if (from->data == NULL)
		return blob_copy("", 0);
	b = blob_wrap(from->data, from->len, xfree, from->data - from->head);
	*from = (struct buf)BUF_INIT;
	return b;
}

struct blob *blob_wrap(const void *p, size_t len, blob_free_fn *fn, void *hint)
{
	struct blob *b;

	assert(fn != NULL && (p != NULL || len == 0));
	b = blob_make(0, fn, hint);
	b->data = p;
	b->len = len;
	return b;
}

struct blob *blob_ref(struct blob *b)
{
	unsigned before = atomic_fetch_add_explicit(&full_of(b)->refs, 1, memory_order_relaxed);

	assert(before > 0);
	return b;
}

void blob_unref(struct blob **b)
{
	struct blob_full *f;
	unsigned before;

	if (*b == NULL)
		return;
	f = full_of(*b);
	*b = NULL;
	before = atomic_fetch_sub_explicit(&f->refs, 1, memory_order_acq_rel);
	assert(before > 0);
	if (before > 1)
		return;
	if (f->free != NULL)
		f->free(f->hint);
	xfree(f);
}
