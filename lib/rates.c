/* lib/rates.c - two counters a key, in a hash map and a list by last use
 *
 * The list's head is the key added to last.  Windows are moved on when a key is looked at;
 * nothing runs by itself.
 */
#include "lib/rates.h"

#include <assert.h>
#include <limits.h>
#include <string.h>
#include <sys/queue.h>
#include "lib/keyhash.h"
#include "lib/mem.h"

#define HASH_FUNCTION(key, len, hash) ((hash) = keyhash(key, len))
#define uthash_malloc(n) xmalloc(n)
#define uthash_free(p, n) xfree(p)
#include <uthash.h>

enum { SWEEP = 2 }; /* keys let go with an add: more than it brings, so the old ones go */

struct windows {
	uint64_t start_ms;  /* of the window under way */
	unsigned now, before; /* events in it and in the one before it */
};

struct rate {
	UT_hash_handle hh;
	TAILQ_ENTRY(rate) used;
	struct windows w;
	unsigned char key[];
};

TAILQ_HEAD(rate_list, rate);

struct rates {
	struct rate *all;
	struct rate_list used;
	size_t max_keys;
	uint64_t window_ms;
};

struct rates *rates_new(size_t max_keys, uint64_t window_ms)
{
	struct rates *r = xcalloc(1, sizeof(*r));

	assert(max_keys > 0 && window_ms > 0 && window_ms <= RATES_WINDOW_MAX_MS);
	TAILQ_INIT(&r->used);
	r->max_keys = max_keys;
	r->window_ms = window_ms;
	return r;
}

static void forget(struct rates *r, struct rate *k)
{
	TAILQ_REMOVE(&r->used, k, used);
	HASH_DEL(r->all, k);
	xfree(k);
}

void rates_free(struct rates **r)
{
	if (*r == NULL)
		return;
	while (!TAILQ_EMPTY(&(*r)->used))
		forget(*r, TAILQ_FIRST(&(*r)->used));
	xfree(*r);
	*r = NULL;
}

static size_t cut(size_t len)
{
	return len > RATES_KEY_MAX ? RATES_KEY_MAX : len;
}

static struct rate *find(const struct rates *r, const void *key, size_t len)
{
	struct rate *k;

	HASH_FIND(hh, r->all, key, cut(len), k);
	return k;
}

static uint64_t elapsed(const struct windows *w, uint64_t now_ms)
{
	return now_ms > w->start_ms ? now_ms - w->start_ms : 0;
}

/* w as it is at now_ms: start_ms is then at most one window ago. */
static struct windows at(struct windows w, uint64_t window_ms, uint64_t now_ms)
{
	uint64_t gone = elapsed(&w, now_ms) / window_ms;

	if (gone == 0)
		return w;
	if (gone == 1)
		return (struct windows){ w.start_ms + window_ms, 0, w.now };
	return (struct windows){ now_ms, 0, 0 };
}

/* Products fit: counters and windows have 32 bits each. */
static unsigned estimate(const struct windows *w, uint64_t window_ms, uint64_t now_ms)
{
	uint64_t covered = window_ms - elapsed(w, now_ms);
	uint64_t before = w->before * covered;
	uint64_t sum = w->now + before / window_ms + (before % window_ms > 0);

	return sum > UINT_MAX ? UINT_MAX : (unsigned)sum;
}

/* Those least recently added to, as far as they say nothing any more. */
static void sweep(struct rates *r, uint64_t now_ms)
{
	for (int i = 0; i < SWEEP; i++) {
		struct rate *k = TAILQ_LAST(&r->used, rate_list);

		if (k == NULL || elapsed(&k->w, now_ms) / r->window_ms < 2)
			return;
		forget(r, k);
	}
}

static struct rate *insert(struct rates *r, const void *key, size_t len, uint64_t now_ms)
{
	struct rate *k;

	if (HASH_COUNT(r->all) >= r->max_keys)
		forget(r, TAILQ_LAST(&r->used, rate_list));
	len = cut(len);
	k = xcalloc(1, sizeof(*k) + len);
	memcpy(k->key, key, len);
	k->w.start_ms = now_ms;
	HASH_ADD_KEYPTR(hh, r->all, k->key, len, k);
	TAILQ_INSERT_HEAD(&r->used, k, used);
	return k;
}

unsigned rates_add(struct rates *r, const void *key, size_t len, uint64_t now_ms)
{
	struct rate *k;

	sweep(r, now_ms);
	k = find(r, key, len);
	if (k == NULL)
		k = insert(r, key, len, now_ms);
	TAILQ_REMOVE(&r->used, k, used);
	TAILQ_INSERT_HEAD(&r->used, k, used);
	k->w = at(k->w, r->window_ms, now_ms);
	if (k->w.now < UINT_MAX)
		k->w.now++;
	return estimate(&k->w, r->window_ms, now_ms);
}

unsigned rates_of(const struct rates *r, const void *key, size_t len, uint64_t now_ms)
{
	const struct rate *k = find(r, key, len);
	struct windows w;

	if (k == NULL)
		return 0;
	w = at(k->w, r->window_ms, now_ms);
	return estimate(&w, r->window_ms, now_ms);
}

/* How far into a window the share of n events of the one before is at most most. */
static uint64_t fades_at(unsigned n, unsigned most, uint64_t window_ms)
{
	return n <= most ? 0 : window_ms - most * window_ms / n;
}

uint64_t rates_clear_ms(const struct rates *r, const void *key, size_t len, unsigned limit,
                        uint64_t now_ms)
{
	const struct rate *k = find(r, key, len);
	struct windows w;
	uint64_t gone;

	if (limit == 0)
		return UINT64_MAX;
	if (k == NULL)
		return 0;
	w = at(k->w, r->window_ms, now_ms);
	if (estimate(&w, r->window_ms, now_ms) < limit)
		return 0;
	gone = elapsed(&w, now_ms);
	if (w.now < limit)
		return fades_at(w.before, limit - 1 - w.now, r->window_ms) - gone;
	return r->window_ms - gone + fades_at(w.now, limit - 1, r->window_ms);
}

void rates_forget(struct rates *r, const void *key, size_t len)
{
	struct rate *k = find(r, key, len);

	if (k != NULL)
		forget(r, k);
}

size_t rates_keys(const struct rates *r)
{
	return HASH_COUNT(r->all);
}
