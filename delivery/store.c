/* delivery/store.c - see store.h
 *
 * meta   id(16) part(4) 'e' -> version(1) taken_ms(8) Envelope
 *        id(16) part(4) 's' -> version(1) attempts(4) due_ms(8) n(4),
 *                              n times: flags(1) len(4) Evidence(len)
 *                              (version 1: the one flag is that it ended)
 * body   id(16) part(4)     -> message
 * due    due_ms(8) id(16) part(4) -> part_first_dest(): domain of the first that waits
 * taken  id(16) part(4)     -> ended_ms(8)
 */
#include <string.h>
#include "delivery/store.h"
#include "lib/buf.h"
#include "lib/log.h"

#define RECORD_VERSION 1
#define STATE_VERSION 2

enum { FLAG_ENDED = 1, FLAG_DELAY_TOLD = 2 };
#define META_KEY (PART_KEY + 1)

const struct kv_cf store_cfs[] = {
	[CF_META] = { "meta", KV_RECORDS },
	[CF_BODY] = { "body", KV_BLOBS },
	[CF_DUE] = { "due", KV_QUEUE },
	[CF_TAKEN] = { "taken", KV_QUEUE },
	[CF_OUTBOX] = { "outbox", KV_QUEUE },
	{ NULL, 0 }
};

static uint64_t get_be(const uint8_t *p, unsigned n)
{
	uint64_t v = 0;

	for (unsigned i = 0; i < n; i++)
		v = v << 8 | p[i];
	return v;
}

static void put_be64(uint8_t *p, uint64_t v)
{
	for (int i = 7; i >= 0; i--, v >>= 8)
		p[i] = (uint8_t)v;
}

static void meta_key(uint8_t out[META_KEY], const uint8_t part[PART_KEY], char kind)
{
	memcpy(out, part, PART_KEY);
	out[PART_KEY] = (uint8_t)kind;
}

void due_key(uint8_t out[DUE_KEY], uint64_t due_ms, const uint8_t part[PART_KEY])
{
	put_be64(out, due_ms);
	memcpy(out + 8, part, PART_KEY);
}

uint64_t due_key_ms(const uint8_t key[DUE_KEY])
{
	return get_be(key, 8);
}

const uint8_t *due_key_part(const uint8_t key[DUE_KEY])
{
	return key + 8;
}

/* ---- changes */

static void put_due(struct kv_batch *b, const struct part *p)
{
	uint8_t key[DUE_KEY];
	char dest[PART_DEST_MAX];

	part_first_dest(p, dest);
	due_key(key, p->due_ms, p->key);
	kv_put(b, CF_DUE, key, sizeof(key), dest, strlen(dest));
}

static void del_due(struct kv_batch *b, const struct part *p)
{
	uint8_t key[DUE_KEY];

	due_key(key, p->due_ms, p->key);
	kv_del(b, CF_DUE, key, sizeof(key));
}

void store_put_part(struct kv_batch *b, const struct part *p, const Holdfast__Envelope *env,
                    struct blob *body)
{
	size_t len = holdfast__envelope__get_packed_size(env);
	struct buf val = BUF_INIT;
	uint8_t key[META_KEY];

	buf_addc(&val, RECORD_VERSION);
	buf_add_u64(&val, p->taken_ms);
	holdfast__envelope__pack(env, (uint8_t *)buf_room(&val, len));
	buf_grew(&val, len);
	meta_key(key, p->key, 'e');
	kv_put(b, CF_META, key, sizeof(key), val.data, val.len);
	kv_put_blob(b, CF_BODY, p->key, PART_KEY, body);
	put_due(b, p);
	buf_free(&val);
}

void store_put_state(struct kv_batch *b, struct part *p)
{
	struct buf val = BUF_INIT;
	uint8_t key[META_KEY];

	buf_addc(&val, STATE_VERSION);
	buf_add_u32(&val, p->attempts);
	buf_add_u64(&val, p->due_ms);
	buf_add_u32(&val, p->n_rcpt);
	for (uint32_t i = 0; i < p->n_rcpt; i++) {
		buf_addc(&val, (char)((p->rcpt[i].ended ? FLAG_ENDED : 0) |
		                      (p->rcpt[i].delay_told ? FLAG_DELAY_TOLD : 0)));
		buf_add_u32(&val, p->rcpt[i].last_len);
		buf_add(&val, p->rcpt[i].last, p->rcpt[i].last_len);
	}
	meta_key(key, p->key, 's');
	kv_put(b, CF_META, key, sizeof(key), val.data, val.len);
	p->recorded = true;
	buf_free(&val);
}

void store_move_due(struct kv_batch *b, struct part *p, uint64_t due_ms)
{
	del_due(b, p);
	p->due_ms = due_ms;
	put_due(b, p);
}

void store_end_part(struct kv_batch *b, const struct part *p, uint64_t now_ms)
{
	uint8_t key[META_KEY], ended[8];

	meta_key(key, p->key, 'e');
	kv_del(b, CF_META, key, sizeof(key));
	if (p->recorded) {
		meta_key(key, p->key, 's');
		kv_del(b, CF_META, key, sizeof(key));
	}
	kv_del(b, CF_BODY, p->key, PART_KEY);
	del_due(b, p);
	put_be64(ended, now_ms);
	kv_put(b, CF_TAKEN, p->key, PART_KEY, ended, sizeof(ended));
}

void store_drop_due(struct kv_batch *b, const uint8_t key[DUE_KEY])
{
	kv_del(b, CF_DUE, key, DUE_KEY);
}

/* ---- records back into parts */

static enum err parse_envelope(const uint8_t *v, size_t n, struct part **out)
{
	Holdfast__Envelope *env;
	struct part *p;

	if (n < 9 || v[0] != RECORD_VERSION)
		return ERR_CORRUPT;
	env = holdfast__envelope__unpack(NULL, n - 9, v + 9);
	if (env == NULL)
		return ERR_CORRUPT;
	if (envelope_check(env, env->size) != NULL) {
		holdfast__envelope__free_unpacked(env, NULL);
		return ERR_CORRUPT;
	}
	p = part_new(env);
	p->taken_ms = p->due_ms = p->checked_ms = get_be(v + 1, 8);
	holdfast__envelope__free_unpacked(env, NULL);
	*out = p;
	return ERR_OK;
}

static enum err parse_state(const uint8_t *v, size_t n, struct part *p)
{
	const uint8_t *end = v + n;

	if (n < 17 || v[0] == 0 || v[0] > STATE_VERSION || get_be(v + 13, 4) != p->n_rcpt)
		return ERR_CORRUPT;
	p->attempts = (uint32_t)get_be(v + 1, 4);
	p->due_ms = get_be(v + 5, 8);
	v += 17;
	for (uint32_t i = 0; i < p->n_rcpt; i++) {
		struct rcpt *r = &p->rcpt[i];
		size_t len;

		if (end - v < 5 || (size_t)(end - v - 5) < get_be(v + 1, 4))
			return ERR_CORRUPT;
		len = get_be(v + 1, 4);
		r->ended = (v[0] & FLAG_ENDED) != 0;
		r->delay_told = (v[0] & FLAG_DELAY_TOLD) != 0;
		p->n_waiting -= r->ended;
		rcpt_remember(r, v + 5, len);
		v += 5 + len;
	}
	p->recorded = true;
	if (p->attempts > 0)
		p->checked_ms = 0;
	return ERR_OK;
}

enum err store_knows(struct kv *kv, const uint8_t key[PART_KEY])
{
	struct buf val = BUF_INIT;
	uint8_t meta[META_KEY];
	enum err err;

	meta_key(meta, key, 'e');
	err = kv_get(kv, CF_META, meta, sizeof(meta), &val);
	if (err == ERR_NOENT)
		err = kv_get(kv, CF_TAKEN, key, PART_KEY, &val);
	buf_free(&val);
	return err;
}

enum err store_load(struct kv *kv, const uint8_t key[PART_KEY], struct part **out)
{
	struct buf val = BUF_INIT;
	struct part *p = NULL;
	uint8_t meta[META_KEY];
	enum err err;

	meta_key(meta, key, 'e');
	err = kv_get(kv, CF_META, meta, sizeof(meta), &val);
	if (err != ERR_OK)
		goto out;
	err = parse_envelope((const uint8_t *)val.data, val.len, &p);
	if (err != ERR_OK)
		goto out;
	buf_reset(&val);
	meta_key(meta, key, 's');
	err = kv_get(kv, CF_META, meta, sizeof(meta), &val);
	if (err == ERR_OK)
		err = parse_state((const uint8_t *)val.data, val.len, p);
	else if (err == ERR_NOENT)
		err = ERR_OK;
	if (err == ERR_OK) {
		*out = p;
		p = NULL;
	}
out:
	part_free(&p);
	buf_free(&val);
	return err;
}

enum err store_body(struct kv *kv, const uint8_t key[PART_KEY], struct blob **out)
{
	struct buf val = BUF_INIT;
	enum err err = kv_get(kv, CF_BODY, key, PART_KEY, &val);

	if (err == ERR_OK)
		*out = blob_take(&val);
	buf_free(&val);
	return err;
}

/* ---- walks */

enum err store_each_due(struct kv *kv, const struct store_span *span, store_due_fn *fn,
                        void *arg, bool *more)
{
	uint8_t to[8];
	struct kv_iter *it;
	bool going = true;
	unsigned n = 0;

	put_be64(to, span->until_ms + 1);
	it = kv_iter_new(kv, CF_DUE, span->from, DUE_KEY, to, sizeof(to));
	*more = false;
	while (going && kv_iter_next(it)) {
		size_t klen, vlen;
		const uint8_t *key = kv_iter_key(it, &klen);
		const char *val = kv_iter_value(it, &vlen);

		if (klen != DUE_KEY)
			continue;
		*more = n == span->max;
		going = n++ < span->max && fn(arg, key, val, vlen);
	}
	*more |= !going;
	return kv_iter_free(&it);
}

static void each_finish(struct part **p, bool broken, store_part_fn *fn, void *arg)
{
	if (*p != NULL || broken)
		fn(arg, broken ? NULL : *p);
	part_free(p);
}

enum err store_each_part(struct kv *kv, const uint8_t id[16], bool one, store_part_fn *fn,
                         void *arg)
{
	static const uint8_t zero[16];
	struct kv_iter *it = kv_iter_new(kv, CF_META, id != NULL ? id : zero, 16, NULL, 0);
	struct part *p = NULL;
	bool broken = false;

	while (kv_iter_next(it)) {
		size_t klen, vlen;
		const uint8_t *key = kv_iter_key(it, &klen);
		const uint8_t *val = kv_iter_value(it, &vlen);

		if (one && (klen < 16 || memcmp(key, id, 16) != 0))
			break;
		if (klen == META_KEY && key[PART_KEY] == 's') {
			if (p != NULL && memcmp(p->key, key, PART_KEY) == 0)
				broken = parse_state(val, vlen, p) != ERR_OK;
			continue;
		}
		each_finish(&p, broken, fn, arg);
		broken = klen != META_KEY || parse_envelope(val, vlen, &p) != ERR_OK;
	}
	each_finish(&p, broken, fn, arg);
	return kv_iter_free(&it);
}

uint64_t store_oldest(struct kv *kv, uint8_t from[PART_KEY])
{
	struct kv_iter *it = kv_iter_new(kv, CF_META, from, PART_KEY, NULL, 0);
	struct part *p = NULL;
	uint64_t ms = 0;

	while (ms == 0 && kv_iter_next(it)) {
		size_t klen, vlen;
		const uint8_t *key = kv_iter_key(it, &klen);
		const uint8_t *val = kv_iter_value(it, &vlen);

		if (klen != META_KEY || key[PART_KEY] != 'e')
			continue;
		memcpy(from, key, PART_KEY);
		if (parse_envelope(val, vlen, &p) == ERR_OK)
			ms = p->received_ms;
		part_free(&p);
	}
	if (kv_iter_free(&it) != ERR_OK)
		return 0; /* the next batch meets the same disk and ends the process */
	return ms;
}

enum err store_each_taken(struct kv *kv, const uint8_t id[16], store_taken_fn *fn, void *arg)
{
	struct kv_iter *it = kv_iter_new(kv, CF_TAKEN, id, 16, NULL, 0);

	while (kv_iter_next(it)) {
		size_t klen, vlen;
		const uint8_t *key = kv_iter_key(it, &klen);
		const uint8_t *val = kv_iter_value(it, &vlen);

		if (klen != PART_KEY || memcmp(key, id, 16) != 0)
			break;
		if (vlen == 8)
			fn(arg, (uint32_t)get_be(key + 16, 4), get_be(val, 8));
	}
	return kv_iter_free(&it);
}

/* Ids order by time of creation, so that the walk can end where an id is younger
 * than what is swept: its end is younger still. */
unsigned store_sweep_taken(struct kv *kv, uint8_t cursor[PART_KEY], uint64_t before_ms,
                           unsigned max)
{
	struct kv_iter *it = kv_iter_new(kv, CF_TAKEN, cursor, PART_KEY, NULL, 0);
	struct kv_batch *b = kv_batch_new();
	uint8_t stays[PART_KEY];
	bool have_stays = false, at_end = false;
	unsigned n = 0;

	while (n < max && (at_end = !kv_iter_next(it)) == false) {
		size_t klen, vlen;
		const uint8_t *key = kv_iter_key(it, &klen);
		const uint8_t *val = kv_iter_value(it, &vlen);

		if (klen != PART_KEY || get_be(key, 6) >= before_ms)
			break;
		memcpy(cursor, key, PART_KEY);
		if (vlen == 8 && get_be(val, 8) >= before_ms) {
			if (!have_stays)
				memcpy(stays, key, PART_KEY);
			have_stays = true;
			continue;
		}
		kv_del(b, CF_TAKEN, key, klen);
		n++;
	}
	if (have_stays)
		memcpy(cursor, stays, PART_KEY);
	if (kv_iter_free(&it) != ERR_OK || n == 0)
		kv_batch_free(&b);
	else
		kv_write_lazy(kv, &b);
	return n;
}
