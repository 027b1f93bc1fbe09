/* lib/counts.c - how many of a thing are open now, by key
 *
 * A hash map of the keys that are over 0.
 */
#include "lib/counts.h"

#include <assert.h>
#include <limits.h>
#include <string.h>
#include "lib/keyhash.h"
#include "lib/mem.h"

#define HASH_FUNCTION(key, len, hash) ((hash) = keyhash(key, len))
#define uthash_malloc(n) xmalloc(n)
#define uthash_free(p, n) xfree(p)
#include <uthash.h>

struct count {
	UT_hash_handle hh;
	unsigned n;
	unsigned char key[];
};

struct counts {
	struct count *all;
};

struct counts *counts_new(void)
{
	return xcalloc(1, sizeof(struct counts));
}

static void forget(struct counts *c, struct count *k)
{
	HASH_DEL(c->all, k);
	xfree(k);
}

void counts_free(struct counts **c)
{
	struct count *k, *next;

	if (*c == NULL)
		return;
	HASH_ITER(hh, (*c)->all, k, next)
		forget(*c, k);
	xfree(*c);
	*c = NULL;
}

static struct count *find(const struct counts *c, const void *key, size_t len)
{
	struct count *k;

	HASH_FIND(hh, c->all, key, len, k);
	return k;
}

unsigned counts_up(struct counts *c, const void *key, size_t len)
{
	struct count *k = find(c, key, len);

	if (k == NULL) {
		k = xcalloc(1, sizeof(*k) + len);
		memcpy(k->key, key, len);
		HASH_ADD_KEYPTR(hh, c->all, k->key, len, k);
	}
	assert(k->n < UINT_MAX);
	return ++k->n;
}

unsigned counts_down(struct counts *c, const void *key, size_t len)
{
	struct count *k = find(c, key, len);

	assert(k != NULL);
	if (--k->n > 0)
		return k->n;
	forget(c, k);
	return 0;
}

unsigned counts_of(const struct counts *c, const void *key, size_t len)
{
	const struct count *k = find(c, key, len);

	return k == NULL ? 0 : k->n;
}

size_t counts_keys(const struct counts *c)
{
	return HASH_COUNT(c->all);
}
