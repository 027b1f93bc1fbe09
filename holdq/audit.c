/* holdq/audit.c - the chain of acts; see audit.h
 *
 * Record: version, number, time, hash before, key of the mail, four texts with
 * their lengths.  Its hash is the SHA-256 of all these bytes.  sys/audit-head holds number and
 * hash of the last, written in the same batch.
 */
#include "holdq/audit.h"

#include <openssl/sha.h>
#include <string.h>
#include "lib/log.h"
#include "lib/mem.h"

#define AUDIT_VERSION 1
#define HEAD_KEY "audit-head"
#define FIXED_LEN (1 + 8 + 8 + AUDIT_HASH + HELD_KEY_LEN)

struct audit {
	uint64_t seq;              /* of the last record; 0: none */
	uint8_t  hash[AUDIT_HASH]; /* of the last record; zeroes: none */
};

static uint64_t be64(const uint8_t *p)
{
	uint64_t v = 0;

	for (int i = 0; i < 8; i++)
		v = v << 8 | p[i];
	return v;
}

static void add_text(struct buf *b, const char *s)
{
	size_t len = strnlen(s, AUDIT_TEXT_MAX);

	buf_add_u16(b, (unsigned)len);
	buf_add(b, s, len);
}

void audit_add(struct audit *a, struct kv_batch *b, const struct audit_act *act)
{
	struct buf rec = BUF_INIT;
	struct buf key = BUF_INIT;
	struct buf head = BUF_INIT;

	a->seq++;
	buf_addc(&rec, AUDIT_VERSION);
	buf_add_u64(&rec, a->seq);
	buf_add_u64(&rec, act->time_ms);
	buf_add(&rec, a->hash, AUDIT_HASH);
	buf_add(&rec, act->key.b, HELD_KEY_LEN);
	add_text(&rec, act->what);
	add_text(&rec, act->by);
	add_text(&rec, act->account);
	add_text(&rec, act->detail);
	SHA256((const uint8_t *)rec.data, rec.len, a->hash);

	buf_add_u64(&key, a->seq);
	kv_put(b, CF_AUDIT, key.data, key.len, rec.data, rec.len);
	buf_add_u64(&head, a->seq);
	buf_add(&head, a->hash, AUDIT_HASH);
	kv_put(b, CF_SYS, HEAD_KEY, strlen(HEAD_KEY), head.data, head.len);
	buf_free(&head);
	buf_free(&key);
	buf_free(&rec);
}

uint64_t audit_count(const struct audit *a)
{
	return a->seq;
}

static enum err read_head(struct kv *kv, struct audit *a)
{
	struct buf v = BUF_INIT;
	enum err err = kv_get(kv, CF_SYS, HEAD_KEY, strlen(HEAD_KEY), &v);

	memset(a, 0, sizeof(*a));
	if (err == ERR_OK && v.len != 8 + AUDIT_HASH)
		err = ERR_CORRUPT;
	if (err == ERR_OK) {
		a->seq = be64((const uint8_t *)v.data);
		memcpy(a->hash, v.data + 8, AUDIT_HASH);
	}
	buf_free(&v);
	return err == ERR_NOENT ? ERR_OK : err;
}

/* Does the last record hash to what the head says? */
static enum err check_last(struct kv *kv, const struct audit *a)
{
	struct buf key = BUF_INIT;
	struct buf rec = BUF_INIT;
	uint8_t hash[AUDIT_HASH];
	enum err err;

	if (a->seq == 0)
		return ERR_OK;
	buf_add_u64(&key, a->seq);
	err = kv_get(kv, CF_AUDIT, key.data, key.len, &rec);
	if (err == ERR_OK) {
		SHA256((const uint8_t *)rec.data, rec.len, hash);
		if (memcmp(hash, a->hash, AUDIT_HASH) != 0)
			err = ERR_CORRUPT;
	} else if (err == ERR_NOENT) {
		err = ERR_CORRUPT;
	}
	buf_free(&rec);
	buf_free(&key);
	return err;
}

enum err audit_open(struct kv *kv, struct audit **out)
{
	struct audit *a = xcalloc(1, sizeof(*a));
	enum err err = read_head(kv, a);

	if (err == ERR_OK)
		err = check_last(kv, a);
	if (err != ERR_OK) {
		xfree(a);
		return err;
	}
	*out = a;
	return ERR_OK;
}

void audit_close(struct audit **a)
{
	xfree(*a);
	*a = NULL;
}

/* One text at *at of [p, p+len); NULL when it does not fit. */
static char *take_text(const uint8_t *p, size_t len, size_t *at)
{
	size_t n;
	char *s;

	if (len - *at < 2)
		return NULL;
	n = (size_t)p[*at] << 8 | p[*at + 1];
	if (len - *at - 2 < n)
		return NULL;
	s = xstrndup((const char *)p + *at + 2, n);
	*at += 2 + n;
	return s;
}

enum err audit_decode(const void *rec, size_t len, struct audit_entry *out)
{
	const uint8_t *p = rec;
	struct audit_entry e = { 0 };
	char **texts[] = { &e.what, &e.by, &e.account, &e.detail };
	size_t at = FIXED_LEN;

	if (len < FIXED_LEN || p[0] != AUDIT_VERSION)
		return ERR_CORRUPT;
	e.seq = be64(p + 1);
	e.time_ms = be64(p + 9);
	memcpy(e.before, p + 17, AUDIT_HASH);
	memcpy(e.key.b, p + 17 + AUDIT_HASH, HELD_KEY_LEN);
	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		*texts[i] = take_text(p, len, &at);
		if (*texts[i] == NULL)
			break;
	}
	if (e.detail == NULL || at != len) {
		audit_entry_free(&e);
		return ERR_CORRUPT;
	}
	*out = e;
	return ERR_OK;
}

void audit_entry_free(struct audit_entry *e)
{
	xfree(e->what);
	xfree(e->by);
	xfree(e->account);
	xfree(e->detail);
	memset(e, 0, sizeof(*e));
}

/* One record of the walk: is it number n, and does it name the hash before? */
static bool follows(const uint8_t *p, size_t len, uint64_t n, uint8_t hash[AUDIT_HASH])
{
	struct audit_entry e;
	bool ok;

	if (audit_decode(p, len, &e) != ERR_OK)
		return false;
	ok = e.seq == n && memcmp(e.before, hash, AUDIT_HASH) == 0;
	SHA256(p, len, hash);
	audit_entry_free(&e);
	return ok;
}

enum err audit_verify(struct kv *kv, uint64_t *n)
{
	uint8_t hash[AUDIT_HASH] = { 0 };
	struct audit head;
	struct kv_iter *it;
	enum err err = read_head(kv, &head), walk;
	uint64_t seq = 0;

	if (err != ERR_OK)
		return err;
	it = kv_iter_new(kv, CF_AUDIT, "", 0, NULL, 0);
	while (err == ERR_OK && kv_iter_next(it)) {
		size_t len;
		const uint8_t *p = kv_iter_value(it, &len);

		if (!follows(p, len, ++seq, hash))
			err = ERR_CORRUPT;
	}
	walk = kv_iter_free(&it);
	if (walk != ERR_OK)
		return walk;
	if (err == ERR_OK && (seq != head.seq || memcmp(hash, head.hash, AUDIT_HASH) != 0)) {
		err = ERR_CORRUPT;
		seq++;
	}
	*n = seq;
	return err;
}
