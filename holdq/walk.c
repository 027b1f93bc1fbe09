/* holdq/walk.c - walks over the families of the store; see store.h
 *
 * No iterator outlives the call that made it.
 */
#include "holdq/store.h"

#include <string.h>

/* The key that follows k and everything that begins with it. */
static void key_after(struct buf *out, const void *k, size_t len)
{
	buf_add(out, k, len);
	buf_addc(out, '\0');
}

enum err store_parts(struct kv *kv, enum held_cf cf, const uint8_t id[UUID_LEN], store_key_fn *fn,
                     void *arg)
{
	struct held_key from = held_key_of(id, 0);
	struct held_key last = held_key_of(id, UINT32_MAX);
	struct buf to = BUF_INIT;
	struct held_key k;
	struct kv_iter *it;
	const void *p;
	size_t len;
	bool on = true;

	key_after(&to, last.b, HELD_KEY_LEN);
	it = kv_iter_new(kv, cf, from.b, HELD_KEY_LEN, to.data, to.len);
	while (on && kv_iter_next(it)) {
		p = kv_iter_key(it, &len);
		if (len != HELD_KEY_LEN)
			continue;
		memcpy(k.b, p, len);
		on = fn(arg, &k);
	}
	buf_free(&to);
	return kv_iter_free(&it);
}

enum err store_each(struct kv *kv, const struct held_key *after, store_held_fn *fn, void *arg)
{
	struct buf from = BUF_INIT;
	struct held_key k;
	struct kv_iter *it;
	const void *p;
	size_t len;
	bool on = true;

	if (after != NULL)
		key_after(&from, after->b, HELD_KEY_LEN);
	it = kv_iter_new(kv, CF_META, buf_str(&from), from.len, NULL, 0);
	while (on && kv_iter_next(it)) {
		struct held *h = NULL;

		p = kv_iter_key(it, &len);
		if (len != HELD_KEY_LEN)
			continue;
		memcpy(k.b, p, len);
		p = kv_iter_value(it, &len);
		if (held_decode(&k, p, len, &h) != ERR_OK)
			h = NULL;
		on = fn(arg, h);
		held_free(&h);
	}
	buf_free(&from);
	return kv_iter_free(&it);
}

enum err store_account_each(struct kv *kv, const void *account, size_t len,
                            const struct held_key *after, store_key_fn *fn, void *arg)
{
	struct buf from = BUF_INIT;
	struct buf to = BUF_INIT;
	struct held_key k;
	struct kv_iter *it;
	const uint8_t *p;
	size_t klen;
	bool on = true;

	buf_add(&from, account, len);
	buf_add(&to, account, len);
	buf_addc(&from, '\0');
	buf_addc(&to, '\1');
	if (after != NULL)
		key_after(&from, after->b, HELD_KEY_LEN);
	it = kv_iter_new(kv, CF_ACCOUNT, from.data, from.len, to.data, to.len);
	while (on && kv_iter_next(it)) {
		p = kv_iter_key(it, &klen);
		if (klen != len + 1 + HELD_KEY_LEN)
			continue;
		memcpy(k.b, p + len + 1, HELD_KEY_LEN);
		on = fn(arg, &k);
	}
	buf_free(&to);
	buf_free(&from);
	return kv_iter_free(&it);
}

static uint64_t be64(const uint8_t *p)
{
	uint64_t v = 0;

	for (int i = 0; i < 8; i++)
		v = v << 8 | p[i];
	return v;
}

uint64_t store_oldest(struct kv *kv, uint64_t from_ms)
{
	struct buf from = BUF_INIT;
	struct kv_iter *it;
	const uint8_t *p;
	uint64_t ms = 0;
	size_t len;

	buf_add_u64(&from, from_ms);
	it = kv_iter_new(kv, CF_AGE, from.data, from.len, NULL, 0);
	if (kv_iter_next(it)) {
		p = kv_iter_key(it, &len);
		ms = len >= 8 ? be64(p) : 0;
	}
	buf_free(&from);
	(void)kv_iter_free(&it); /* for show only */
	return ms;
}

enum err store_lane_next(struct kv *kv, const char *instance, struct lane_cursor *c)
{
	size_t nlen = strlen(instance) + 1;
	struct buf from = BUF_INIT;
	struct buf to = BUF_INIT;
	struct kv_iter *it;
	const uint8_t *p;
	enum err err, found = ERR_NOENT;
	size_t len;

	buf_add(&from, instance, nlen);
	if (c->started) {
		buf_add(&from, c->key.b, HELD_KEY_LEN);
		buf_add_u32(&from, c->sub);
		if (!c->again)
			buf_addc(&from, '\0');
	}
	buf_add(&to, instance, nlen - 1);
	buf_addc(&to, '\1');
	it = kv_iter_new(kv, CF_LANE, from.data, from.len, to.data, to.len);
	while (found == ERR_NOENT && kv_iter_next(it)) {
		p = kv_iter_key(it, &len);
		if (len != nlen + HELD_KEY_LEN + 4)
			continue;
		p += nlen;
		memcpy(c->key.b, p, HELD_KEY_LEN);
		p += HELD_KEY_LEN;
		c->sub = (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
		c->started = true;
		c->again = false;
		found = ERR_OK;
	}
	buf_free(&to);
	buf_free(&from);
	err = kv_iter_free(&it);
	return err != ERR_OK ? err : found;
}

enum err store_lane_name(struct kv *kv, const char *name, char out[HELD_LANE_MAX + 1])
{
	struct buf from = BUF_INIT;
	struct kv_iter *it;
	const char *p;
	enum err err, found = ERR_NOENT;
	size_t len;

	if (*name != '\0') {
		buf_adds(&from, name);
		buf_addc(&from, '\1');
	}
	it = kv_iter_new(kv, CF_LANE, buf_str(&from), from.len, NULL, 0);
	while (found == ERR_NOENT && kv_iter_next(it)) {
		p = kv_iter_key(it, &len);
		if (memchr(p, '\0', len) == NULL || strlen(p) > HELD_LANE_MAX)
			continue;
		memcpy(out, p, strlen(p) + 1);
		found = ERR_OK;
	}
	buf_free(&from);
	err = kv_iter_free(&it);
	return err != ERR_OK ? err : found;
}
