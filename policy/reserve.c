/* policy/reserve.c - shares of a quota that messages in progress hold
 *
 * One record a recipient, synced before RCPT is answered, so that a killed policy
 * knows what it has promised.  A share ends when its message is accepted (ACCEPTED
 * counts it as used), when it is given up, or after reservation_ttl, in case
 * ingest died with it.
 */
#include "policy/policy.h"

#include <string.h>
#include "lib/log.h"
#include "lib/mem.h"

struct reservation {
	uint8_t  message_id[UUID_LEN];
	struct account *account;
	uint64_t at_ms;
	uint32_t *index;
	uint32_t n, cap;
	TAILQ_ENTRY(reservation) link; /* by age */
	UT_hash_handle hh;
};

struct reservations {
	struct reservation *by_id;
	TAILQ_HEAD(, reservation) by_age;
	uint64_t n; /* shares */
};

static struct reservation *find(const struct policy *p, const uint8_t message_id[16])
{
	struct reservation *r;

	HASH_FIND(hh, p->reservations->by_id, message_id, UUID_LEN, r);
	return r;
}

static struct reservation *find_or_new(struct policy *p, struct account *a,
                                       const uint8_t message_id[16], uint64_t now_ms)
{
	struct reservation *r = find(p, message_id);

	if (r != NULL)
		return r;
	r = xcalloc(1, sizeof(*r));
	memcpy(r->message_id, message_id, UUID_LEN);
	r->account = a;
	r->at_ms = now_ms;
	HASH_ADD(hh, p->reservations->by_id, message_id, UUID_LEN, r);
	TAILQ_INSERT_TAIL(&p->reservations->by_age, r, link);
	return r;
}

static void add_index(struct policy *p, struct reservation *r, uint32_t index)
{
	if (r->n == r->cap) {
		r->cap = r->cap == 0 ? 4 : r->cap * 2;
		r->index = xrealloc(r->index, r->cap * sizeof(*r->index));
	}
	r->index[r->n++] = index;
	r->account->reserved++;
	p->reservations->n++;
}

static void reservation_free(struct policy *p, struct reservation *r)
{
	HASH_DEL(p->reservations->by_id, r);
	TAILQ_REMOVE(&p->reservations->by_age, r, link);
	xfree(r->index);
	xfree(r);
}

static void drop_share(struct policy *p, struct reservation *r, struct kv_batch *batch)
{
	struct buf k = BUF_INIT;

	key_reservation(&k, r->message_id, r->index[--r->n]);
	kv_del(batch, CF_RESERVATION, k.data, k.len);
	buf_free(&k);
	r->account->reserved--;
	p->reservations->n--;
}

bool reserve_has(const struct policy *p, const uint8_t message_id[16], uint32_t index)
{
	const struct reservation *r = find(p, message_id);

	for (uint32_t i = 0; r != NULL && i < r->n; i++) {
		if (r->index[i] == index)
			return true;
	}
	return false;
}

enum err reserve_take(struct policy *p, struct account *a, const uint8_t message_id[16],
                      uint32_t index, uint64_t now_ms, struct kv_batch *batch)
{
	struct buf k = BUF_INIT, v = BUF_INIT;

	if (reserve_has(p, message_id, index))
		return ERR_EXIST;
	if (p->reservations->n >= p->conf.reservations_max)
		return ERR_FULL;
	add_index(p, find_or_new(p, a, message_id, now_ms), index);
	key_reservation(&k, message_id, index);
	buf_add_u64(&v, now_ms);
	buf_adds(&v, a->name);
	kv_put(batch, CF_RESERVATION, k.data, k.len, v.data, v.len);
	buf_free(&k);
	buf_free(&v);
	return ERR_OK;
}

void reserve_give(struct policy *p, const uint8_t message_id[16], uint64_t n,
                  struct kv_batch *batch)
{
	struct reservation *r = find(p, message_id);

	if (r == NULL)
		return;
	while (r->n > 0 && n-- > 0)
		drop_share(p, r, batch);
	if (r->n == 0)
		reservation_free(p, r);
}

void reserve_expire(struct policy *p, uint64_t now_ms)
{
	struct kv_batch *batch = NULL;
	struct reservation *r;

	while ((r = TAILQ_FIRST(&p->reservations->by_age)) != NULL &&
	       r->at_ms + p->conf.reservation_ttl_ms < now_ms) {
		if (batch == NULL)
			batch = kv_batch_new();
		metric_add(p->stage->metrics, PM_RESERVATIONS_EXPIRED, r->n);
		reserve_give(p, r->message_id, UINT64_MAX, batch);
	}
	if (batch != NULL)
		kv_write_lazy(p->kv, &batch);
}

uint64_t reserve_count(const struct policy *p)
{
	return p->reservations->n;
}

static void load_share(struct policy *p, const uint8_t *key, const char *v, size_t vlen)
{
	struct account *a = accounts_find(p, pb_bytes(v + 8, vlen - 8));

	if (a != NULL)
		add_index(p, find_or_new(p, a, key, store_read_u64(v)),
		          store_read_u32(key + UUID_LEN));
}

enum err reserve_load(struct policy *p)
{
	struct kv_iter *it;

	p->reservations = xcalloc(1, sizeof(*p->reservations));
	TAILQ_INIT(&p->reservations->by_age);
	it = kv_iter_new(p->kv, CF_RESERVATION, "", 0, NULL, 0);
	while (kv_iter_next(it)) {
		size_t klen, vlen;
		const void *key = kv_iter_key(it, &klen);
		const void *value = kv_iter_value(it, &vlen);

		if (klen == UUID_LEN + 4 && vlen > 8)
			load_share(p, key, value, vlen);
	}
	return kv_iter_free(&it);
}

void reserve_free(struct policy *p)
{
	struct reservation *r;

	if (p->reservations == NULL)
		return;
	while ((r = TAILQ_FIRST(&p->reservations->by_age)) != NULL)
		reservation_free(p, r);
	xfree(p->reservations);
	p->reservations = NULL;
}
