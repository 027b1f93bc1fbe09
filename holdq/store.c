/* holdq/store.c - held mail on disk; see store.h
 *
 * Keys are big-endian, so that byte order is the order of time and number.  An
 * account or lane name ends with NUL in a key: neither can hold one.
 */
#include "holdq/store.h"

#include <assert.h>
#include <string.h>
#include "lib/log.h"
#include "lib/mem.h"

#define MARK_VERSION 1

const struct kv_cf held_cfs[] = {
	[CF_META]     = { "meta", KV_RECORDS },
	[CF_BODY]     = { "body", KV_BLOBS },
	[CF_ACCOUNT]  = { "account", KV_QUEUE },
	[CF_AGE]      = { "age", KV_QUEUE },
	[CF_LANE]     = { "lane", KV_QUEUE },
	[CF_MARK]     = { "mark", KV_RECORDS },
	[CF_MARK_AGE] = { "mark_age", KV_QUEUE },
	[CF_AUDIT]    = { "audit", KV_RECORDS },
	[CF_SYS]      = { "sys", KV_RECORDS },
	[CF_OUTBOX]   = { "outbox", KV_QUEUE },
	{ NULL, KV_RECORDS },
};

static void put_be(uint8_t *p, uint64_t v, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		p[i] = (uint8_t)(v >> (8 * (n - 1 - i)));
}

static uint64_t get_be(const uint8_t *p, unsigned n)
{
	uint64_t v = 0;

	for (unsigned i = 0; i < n; i++)
		v = v << 8 | p[i];
	return v;
}

struct held_key held_key_of(const uint8_t id[UUID_LEN], uint32_t part)
{
	struct held_key k;

	memcpy(k.b, id, UUID_LEN);
	put_be(k.b + UUID_LEN, part, 4);
	return k;
}

struct uuid held_key_id(const struct held_key *k)
{
	struct uuid u;

	memcpy(u.b, k->b, UUID_LEN);
	return u;
}

uint32_t held_key_part(const struct held_key *k)
{
	return (uint32_t)get_be(k->b + UUID_LEN, 4);
}

/* ---- keys of the indexes */

static void account_key(struct buf *out, const struct held *h)
{
	buf_add(out, h->env->account.data, h->env->account.len);
	buf_addc(out, '\0');
	buf_add(out, h->key.b, HELD_KEY_LEN);
}

static void age_key(struct buf *out, uint64_t ms, const struct held_key *k)
{
	buf_add_u64(out, ms);
	buf_add(out, k->b, HELD_KEY_LEN);
}

static void lane_key(struct buf *out, const char *instance, const struct held_key *k, uint32_t sub)
{
	buf_add(out, instance, strlen(instance) + 1);
	buf_add(out, k->b, HELD_KEY_LEN);
	buf_add_u32(out, sub);
}

/* ---- changes */

static void put_meta(struct kv_batch *b, const struct held *h)
{
	struct buf v = BUF_INIT;

	held_encode(h, &v);
	kv_put(b, CF_META, h->key.b, HELD_KEY_LEN, v.data, v.len);
	buf_free(&v);
}

static void put_lanes(struct kv_batch *b, const struct held *h)
{
	struct buf k = BUF_INIT;

	for (size_t i = 0; i < h->n_sub; i++) {
		buf_reset(&k);
		lane_key(&k, h->sub[i].instance, &h->key, (uint32_t)i);
		kv_put(b, CF_LANE, k.data, k.len, "", 0);
	}
	buf_free(&k);
}

void store_add(struct kv_batch *b, const struct held *h, struct blob *body)
{
	struct buf k = BUF_INIT;

	put_meta(b, h);
	kv_put_blob(b, CF_BODY, h->key.b, HELD_KEY_LEN, body);
	if (h->state != HELD_REPORT) {
		account_key(&k, h);
		kv_put(b, CF_ACCOUNT, k.data, k.len, "", 0);
		buf_reset(&k);
	}
	age_key(&k, h->held_ms, &h->key);
	kv_put(b, CF_AGE, k.data, k.len, "", 0);
	put_lanes(b, h);
	buf_free(&k);
}

void store_change(struct kv_batch *b, const struct held *h)
{
	put_meta(b, h);
	put_lanes(b, h);
}

void store_sub_del(struct kv_batch *b, const struct held *h, size_t sub)
{
	struct buf k = BUF_INIT;

	lane_key(&k, h->sub[sub].instance, &h->key, (uint32_t)sub);
	kv_del(b, CF_LANE, k.data, k.len);
	buf_free(&k);
}

void store_del(struct kv_batch *b, const struct held *h)
{
	struct buf k = BUF_INIT;

	kv_del(b, CF_META, h->key.b, HELD_KEY_LEN);
	kv_del(b, CF_BODY, h->key.b, HELD_KEY_LEN);
	if (h->state != HELD_REPORT) {
		account_key(&k, h);
		kv_del(b, CF_ACCOUNT, k.data, k.len);
		buf_reset(&k);
	}
	age_key(&k, h->held_ms, &h->key);
	kv_del(b, CF_AGE, k.data, k.len);
	for (size_t i = 0; i < h->n_sub; i++)
		store_sub_del(b, h, i);
	buf_free(&k);
}

/* ---- reads */

enum err store_get(struct kv *kv, const struct held_key *k, struct held **out)
{
	struct buf v = BUF_INIT;
	enum err err = kv_get(kv, CF_META, k->b, HELD_KEY_LEN, &v);

	if (err == ERR_OK)
		err = held_decode(k, v.data, v.len, out);
	buf_free(&v);
	return err;
}

enum err store_body(struct kv *kv, const struct held_key *k, struct blob **out)
{
	struct buf v = BUF_INIT;
	enum err err = kv_get(kv, CF_BODY, k->b, HELD_KEY_LEN, &v);

	if (err == ERR_OK)
		*out = blob_take(&v);
	buf_free(&v);
	return err;
}

bool store_sub_waits(struct kv *kv, const struct held *h, size_t sub)
{
	struct buf k = BUF_INIT;
	struct buf v = BUF_INIT;
	enum err err;

	lane_key(&k, h->sub[sub].instance, &h->key, (uint32_t)sub);
	err = kv_get(kv, CF_LANE, k.data, k.len, &v);
	buf_free(&k);
	buf_free(&v);
	return err != ERR_NOENT; /* unreadable: hand over once more rather than forget */
}

void store_mark(struct kv_batch *b, const struct held_key *k, const struct held_mark *m)
{
	struct buf v = BUF_INIT;
	struct buf a = BUF_INIT;

	buf_addc(&v, MARK_VERSION);
	buf_add_u64(&v, m->at_ms);
	buf_addc(&v, (char)m->result);
	buf_adds(&v, m->by);
	kv_put(b, CF_MARK, k->b, HELD_KEY_LEN, v.data, v.len);
	age_key(&a, m->at_ms, k);
	kv_put(b, CF_MARK_AGE, a.data, a.len, "", 0);
	buf_free(&a);
	buf_free(&v);
}

enum err store_mark_get(struct kv *kv, const struct held_key *k, struct held_mark *out)
{
	struct buf v = BUF_INIT;
	enum err err = kv_get(kv, CF_MARK, k->b, HELD_KEY_LEN, &v);

	if (err == ERR_OK && (v.len < 10 || v.len > 10 + HELD_BY_MAX || v.data[0] != MARK_VERSION))
		err = ERR_CORRUPT;
	if (err == ERR_OK) {
		out->at_ms = get_be((const uint8_t *)v.data + 1, 8);
		out->result = (uint8_t)v.data[9];
		memcpy(out->by, v.data + 10, v.len - 10);
		out->by[v.len - 10] = '\0';
	}
	buf_free(&v);
	return err;
}

size_t store_mark_sweep(struct kv *kv, struct kv_batch *b, uint64_t before_ms, size_t max,
                        struct store_cursor *cursor)
{
	uint8_t to[8];
	struct kv_iter *it;
	const uint8_t *k;
	size_t n = 0, len;

	put_be(to, before_ms, 8);
	it = kv_iter_new(kv, CF_MARK_AGE, cursor->b, cursor->len, to, sizeof(to));
	while (n < max && kv_iter_next(it)) {
		k = kv_iter_key(it, &len);
		if (len != sizeof(cursor->b))
			continue;
		kv_del(b, CF_MARK, k + 8, HELD_KEY_LEN);
		kv_del(b, CF_MARK_AGE, k, len);
		memcpy(cursor->b, k, len);
		cursor->len = len;
		n++;
	}
	(void)kv_iter_free(&it); /* a failed walk is walked again at the next sweep */
	return n;
}

enum err store_known(struct kv *kv, const struct held_key *k, bool *out)
{
	struct buf v = BUF_INIT;
	enum err err = kv_get(kv, CF_META, k->b, HELD_KEY_LEN, &v);

	if (err == ERR_NOENT)
		err = kv_get(kv, CF_MARK, k->b, HELD_KEY_LEN, &v);
	buf_free(&v);
	if (err != ERR_OK && err != ERR_NOENT)
		return err;
	*out = err == ERR_OK;
	return ERR_OK;
}
