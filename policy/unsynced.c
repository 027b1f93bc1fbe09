/* policy/unsynced.c - list entries as they will be when the open batches are durable
 *
 * The store shows a batch once it is synced.  An event or act that follows before then
 * must build on the one before it: two soft bounces in one frame are two, and an
 * entry that is taken off twice is counted off once.  Bounded by what the store
 * lets wait; an entry goes when the batch that last changed it is durable.
 */
#include "policy/policy.h"

#include <string.h>
#include "lib/mem.h"

struct unsynced {
	UT_hash_handle hh;
	TAILQ_ENTRY(unsynced) link; /* by batch */
	uint64_t batch;
	uint8_t *value;             /* packed; NULL: taken off */
	size_t len;
	struct buf key;
};

static void drop(struct policy *p, struct unsynced *u)
{
	HASH_DEL(p->unsynced, u);
	TAILQ_REMOVE(&p->unsynced_by_batch, u, link);
	buf_free(&u->key);
	xfree(u->value);
	xfree(u);
}

static struct unsynced *find(const struct policy *p, const struct buf *key)
{
	struct unsynced *u;

	HASH_FIND(hh, p->unsynced, key->data, key->len, u);
	return u;
}

/* e, or its absence, is what the batch being made leaves. */
static void remember(struct policy *p, const Holdfast__ListEntry *e, bool stays)
{
	struct buf key = BUF_INIT;
	struct unsynced *u, *old;

	key_list_entry(&key, e);
	old = find(p, &key);
	u = xcalloc(1, sizeof(*u));
	u->key = key;
	u->batch = p->batches + 1;
	if (stays) {
		u->len = holdfast__list_entry__get_packed_size(e);
		u->value = xmalloc(u->len + 1);
		holdfast__list_entry__pack(e, u->value);
	}
	if (old != NULL)
		drop(p, old);
	HASH_ADD_KEYPTR(hh, p->unsynced, u->key.data, u->key.len, u);
	TAILQ_INSERT_TAIL(&p->unsynced_by_batch, u, link);
}

void unsynced_put(struct policy *p, struct kv_batch *batch, const Holdfast__ListEntry *e)
{
	store_list_put(batch, e);
	remember(p, e, true);
}

void unsynced_del(struct policy *p, struct kv_batch *batch, const Holdfast__ListEntry *e)
{
	store_list_del(batch, e);
	remember(p, e, false);
}

Holdfast__ListEntry *unsynced_get(const struct policy *p, Holdfast__ListName list,
                                  const char *account, const void *key, size_t len)
{
	struct unsynced *u = NULL;
	struct buf k = BUF_INIT;

	if (p->unsynced != NULL) {
		key_list(&k, list, account, key, len);
		u = find(p, &k);
		buf_free(&k);
	}
	if (u == NULL)
		return store_list_get(p->kv, list, account, key, len);
	return u->value == NULL ? NULL : holdfast__list_entry__unpack(NULL, u->len, u->value);
}

void unsynced_durable(struct policy *p)
{
	struct unsynced *u;

	p->durable++;
	while ((u = TAILQ_FIRST(&p->unsynced_by_batch)) != NULL && u->batch <= p->durable)
		drop(p, u);
}

void unsynced_free(struct policy *p)
{
	struct unsynced *u, *next;

	HASH_ITER(hh, p->unsynced, u, next)
		drop(p, u);
}
