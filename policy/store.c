/* policy/store.c - see policy/store.h
 *
 * Big-endian integers, so that keys order by time; a NUL ends an account's name.
 */
#include "policy/store.h"

#include <string.h>
#include <sysexits.h>
#include "lib/log.h"
#include "lib/mem.h"

enum { FIGURES_VERSION = 1, N_FIGURES = 22 };

const struct kv_cf policy_cfs[] = {
	[CF_ACCOUNT] = { "account", KV_RECORDS },
	[CF_FIGURES] = { "figures", KV_RECORDS },
	[CF_CREDENTIAL] = { "credential", KV_RECORDS },
	[CF_SOURCE] = { "source", KV_RECORDS },
	[CF_LIST] = { "list", KV_RECORDS },
	[CF_HISTORY] = { "history", KV_RECORDS },
	[CF_AUDIT] = { "audit", KV_RECORDS },
	[CF_RESERVATION] = { "reservation", KV_QUEUE },
	[CF_APPLIED] = { "applied", KV_RECORDS },
	[CF_VERDICT] = { "verdict", KV_QUEUE },
	[CF_TRACE] = { "trace", KV_QUEUE },
	[CF_OUTBOX] = { "outbox", KV_QUEUE },
	[CF_SYS] = { "sys", KV_RECORDS },
	{ .name = NULL },
};

/* ---- keys */

void key_list(struct buf *k, Holdfast__ListName list, const char *account, const void *key,
              size_t len)
{
	buf_addc(k, (char)list);
	buf_add(k, account, strlen(account) + 1);
	buf_add(k, key, len);
}

void key_history(struct buf *k, Holdfast__ListName list, const char *account, const void *key,
                 size_t len, uint64_t removed_ms)
{
	key_list(k, list, account, key, len);
	buf_addc(k, '\0');
	if (removed_ms != 0)
		buf_add_u64(k, removed_ms);
}

void key_audit(struct buf *k, const char *account, uint64_t now_ms, uint32_t n)
{
	buf_add(k, account, strlen(account) + 1);
	buf_add_u64(k, now_ms);
	buf_add_u32(k, n);
}

void key_reservation(struct buf *k, const uint8_t message_id[16], uint32_t index)
{
	buf_add(k, message_id, 16);
	buf_add_u32(k, index);
}

void key_trace(struct buf *k, const uint8_t message_id[16], uint64_t time_ms, uint32_t n)
{
	buf_add(k, message_id, 16);
	buf_add_u64(k, time_ms);
	buf_add_u32(k, n);
}

void key_end(struct buf *k)
{
	buf_add(k, "\xff\xff\xff\xff", 4);
}

/* ---- records */

uint64_t store_read_u64(const void *p)
{
	const unsigned char *b = p;
	uint64_t n = 0;

	for (int i = 0; i < 8; i++)
		n = n << 8 | b[i];
	return n;
}

uint32_t store_read_u32(const void *p)
{
	const unsigned char *b = p;

	return (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
}

void store_put_message(struct kv_batch *b, unsigned cf, const void *key, size_t klen,
                       const ProtobufCMessage *m)
{
	size_t len = protobuf_c_message_get_packed_size(m);
	uint8_t small[1024];
	uint8_t *p = len <= sizeof(small) ? small : xmalloc(len);

	protobuf_c_message_pack(m, p);
	kv_put(b, cf, key, klen, p, len);
	if (p != small)
		xfree(p);
}

/* What cannot be read is no answer: a verdict is never a guess, so we end and are
 * started again. */
static bool read_value(struct kv *kv, unsigned cf, const void *key, size_t klen, struct buf *v)
{
	enum err err = kv_get(kv, cf, key, klen, v);

	if (err != ERR_OK && err != ERR_NOENT)
		log_fatal(EX_IOERR, "store_read_failed",
		          LOG_PAIRS(LOGS("family", policy_cfs[cf].name), LOGE(err)));
	return err == ERR_OK;
}

Holdfast__ListEntry *store_list_get(struct kv *kv, Holdfast__ListName list,
                                    const char *account, const void *key, size_t len)
{
	struct buf k = BUF_INIT, v = BUF_INIT;
	Holdfast__ListEntry *e = NULL;

	key_list(&k, list, account, key, len);
	if (read_value(kv, CF_LIST, k.data, k.len, &v)) {
		e = holdfast__list_entry__unpack(NULL, v.len, (const uint8_t *)v.data);
		if (e == NULL)
			log_error("record_unreadable", LOGS("family", "list"),
			          LOGS("account", account), LOGB("key", key, len));
	}
	buf_free(&k);
	buf_free(&v);
	return e;
}

void key_list_entry(struct buf *k, const Holdfast__ListEntry *e)
{
	char *account = xstrndup((const char *)e->account.data, e->account.len);

	key_list(k, e->list, account, e->key.data, e->key.len);
	xfree(account);
}

void store_list_put(struct kv_batch *b, const Holdfast__ListEntry *e)
{
	struct buf k = BUF_INIT;

	key_list_entry(&k, e);
	store_put_message(b, CF_LIST, k.data, k.len, &e->base);
	buf_free(&k);
}

void store_list_del(struct kv_batch *b, const Holdfast__ListEntry *e)
{
	struct buf k = BUF_INIT;

	key_list_entry(&k, e);
	kv_del(b, CF_LIST, k.data, k.len);
	buf_free(&k);
}

void store_history_put(struct kv_batch *b, const Holdfast__ListEntry *e)
{
	struct buf k = BUF_INIT;

	key_list_entry(&k, e);
	buf_addc(&k, '\0');
	buf_add_u64(&k, e->removed_ms);
	store_put_message(b, CF_HISTORY, k.data, k.len, &e->base);
	buf_free(&k);
}

/* The figures in the order of their record; new ones are added at the end. */
static void figures_row(const struct figures *f, uint64_t row[N_FIGURES])
{
	size_t n = 0;

	for (int i = 0; i < N_ENDS; i++)
		row[n++] = f->ends[i];
	for (int i = 0; i < N_WINDOWS; i++) {
		row[n++] = f->used[i].window;
		row[n++] = f->used[i].n;
	}
	for (int i = 0; i < N_LISTED; i++)
		row[n++] = f->listed[i];
	while (n < N_FIGURES)
		row[n++] = 0;
}

static void figures_from_row(const uint64_t row[N_FIGURES], struct figures *f)
{
	size_t n = 0;

	for (int i = 0; i < N_ENDS; i++)
		f->ends[i] = row[n++];
	for (int i = 0; i < N_WINDOWS; i++) {
		f->used[i].window = row[n++];
		f->used[i].n = row[n++];
	}
	for (int i = 0; i < N_LISTED; i++)
		f->listed[i] = row[n++];
}

void store_figures_put(struct kv_batch *b, const char *account, const struct figures *f)
{
	uint64_t row[N_FIGURES];
	struct buf v = BUF_INIT;

	figures_row(f, row);
	buf_addc(&v, FIGURES_VERSION);
	for (int i = 0; i < N_FIGURES; i++)
		buf_add_u64(&v, row[i]);
	kv_put(b, CF_FIGURES, account, strlen(account), v.data, v.len);
	buf_free(&v);
}

enum err store_figures_parse(const void *p, size_t len, struct figures *out)
{
	const unsigned char *b = p;
	uint64_t row[N_FIGURES];

	if (len != 1 + 8 * N_FIGURES || b[0] != FIGURES_VERSION)
		return ERR_CORRUPT;
	for (int i = 0; i < N_FIGURES; i++)
		row[i] = store_read_u64(b + 1 + 8 * i);
	figures_from_row(row, out);
	return ERR_OK;
}

uint64_t store_u64_get(struct kv *kv, unsigned cf, const void *key, size_t klen)
{
	struct buf v = BUF_INIT;
	uint64_t n = 0;

	if (read_value(kv, cf, key, klen, &v) && v.len == 8)
		n = store_read_u64(v.data);
	buf_free(&v);
	return n;
}

void store_u64_put(struct kv_batch *b, unsigned cf, const void *key, size_t klen, uint64_t n)
{
	struct buf v = BUF_INIT;

	buf_add_u64(&v, n);
	kv_put(b, cf, key, klen, v.data, v.len);
	buf_free(&v);
}

void store_verdict_put(struct kv_batch *b, const Holdfast__Verdict *v, unsigned hits,
                       uint64_t now_ms, const char *account, ProtobufCBinaryData key)
{
	struct buf r = BUF_INIT;

	buf_addc(&r, 1); /* version */
	buf_addc(&r, (char)v->class_);
	buf_addc(&r, (char)hits);
	buf_add_u64(&r, now_ms);
	buf_add(&r, account, strlen(account) + 1);
	buf_add(&r, key.data, key.len);
	kv_put(b, CF_VERDICT, v->verdict_id.data, v->verdict_id.len, r.data, r.len);
	buf_free(&r);
}
