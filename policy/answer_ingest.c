/* policy/answer_ingest.c - what ingest asks: who is this, may they send, to this address?
 *
 * A recipient of an unmetered account is answered at once and writes nothing.
 * A share of a quota is synced before the answer.  Where the system-wide list's
 * share of an address lies with another instance, that one is asked first; when it
 * cannot be reached the answer is Refused, never a guess.
 */
#include "policy/policy.h"

#include <string.h>
#include "lib/clock.h"
#include "lib/log.h"
#include "lib/mem.h"
#include "proto/verdict.h"

enum { KEY_MAX = 320 };

/* ---- who */

void answer_login(void *state, const struct bus_from *from, const Holdfast__Frame *f,
                  struct blob *body)
{
	struct policy *p = policy_of(state);
	Holdfast__Frame answer = HOLDFAST__FRAME__INIT;
	struct buf packed = BUF_INIT;
	bool known = credential_find(p, f->login_query->login, &packed);
	Holdfast__Principal *m =
		holdfast__principal__unpack(NULL, packed.len, (const uint8_t *)packed.data);

	buf_free(&packed);
	if (m == NULL) {
		log_error("record_unreadable", LOGS("family", "credential"));
		bus_refuse(p->bus, from, HOLDFAST__REFUSED__WHY__FAILED, "record unreadable");
		return;
	}
	m->known = known;
	if (!known)
		metric_add(p->stage->metrics, PM_LOGIN_UNKNOWN, 1);
	answer.body_case = HOLDFAST__FRAME__BODY_PRINCIPAL;
	answer.principal = m;
	bus_answer(p->bus, from, &answer, NULL);
	holdfast__principal__free_unpacked(m, NULL);
}

void answer_address(void *state, const struct bus_from *from, const Holdfast__Frame *f,
                    struct blob *body)
{
	struct policy *p = policy_of(state);
	Holdfast__Principal m = HOLDFAST__PRINCIPAL__INIT;
	Holdfast__Frame answer = HOLDFAST__FRAME__INIT;
	const char *account = sources_find(p, f->address_query->ip.data, f->address_query->ip.len);

	if (account != NULL) {
		m.known = true;
		m.account = pb_str(account);
	}
	answer.body_case = HOLDFAST__FRAME__BODY_PRINCIPAL;
	answer.principal = &m;
	bus_answer(p->bus, from, &answer, NULL);
}

/* ---- verdicts */

static void send_verdict(struct policy *p, const struct bus_from *from, Holdfast__Verdict *v)
{
	Holdfast__Frame answer = HOLDFAST__FRAME__INIT;

	metric_add_label(p->stage->metrics, PM_VERDICTS, (unsigned)v->class_, 1);
	answer.body_case = HOLDFAST__FRAME__BODY_VERDICT;
	answer.verdict = v;
	bus_answer(p->bus, from, &answer, NULL);
}

static bool refuses(const Holdfast__Verdict *v)
{
	return v->class_ != HOLDFAST__VERDICT_CLASS__VERDICT_OK &&
	       v->class_ != HOLDFAST__VERDICT_CLASS__VERDICT_HOLD;
}

/* Give a refusal its id and keep what it was: it is explained later. */
static void send_refusal(struct policy *p, const struct bus_from *from, Holdfast__Verdict *v,
                           unsigned hits, const char *account, ProtobufCBinaryData key)
{
	uint64_t now = clock_wall_ms();
	struct uuid id = uuid_new(now);
	struct kv_batch *batch = kv_batch_new();

	v->verdict_id = pb_bytes(id.b, UUID_LEN);
	store_verdict_put(batch, v, hits, now, account, key);
	kv_write_lazy(p->kv, &batch);
	send_verdict(p, from, v);
}

/* A message that ingest will take counts against the account's rate, once: also one that it takes
 * in spite of a refusal, to notify of it. */
static void judge_rate(struct policy *p, struct account *a, const uint8_t *message_id,
                       uint64_t now_ms, Holdfast__Verdict *v)
{
	uint64_t again_ms;

	if (a->rate_minute == 0 || (refuses(v) && !a->terms.accept_refused) ||
	    rated_has(p, message_id))
		return;
	if (rate_take(&a->rate, a->rate_minute, now_ms, &again_ms)) {
		rated_add(p, message_id, now_ms);
		return;
	}
	metric_add(p->stage->metrics, PM_RATE_LIMITED, 1);
	v->class_ = HOLDFAST__VERDICT_CLASS__VERDICT_CANNOT_SEND;
	v->cannot = HOLDFAST__CANNOT_SEND__CANNOT_RATE;
	v->hold = HOLDFAST__HOLD_REASON__HOLD_NONE;
	v->reset_ms = again_ms;
}

void answer_mail(void *state, const struct bus_from *from, const Holdfast__Frame *f,
                 struct blob *body)
{
	struct policy *p = policy_of(state);
	const Holdfast__MailQuery *q = f->mail_query;
	struct account *a = accounts_find(p, q->account);
	Holdfast__Verdict v = HOLDFAST__VERDICT__INIT;
	uint64_t now = clock_wall_ms();

	if (q->message_id.len != UUID_LEN) {
		bus_refuse(p->bus, from, HOLDFAST__REFUSED__WHY__MALFORMED, "id");
		return;
	}
	account_verdict(a, now, p->conf.quota_defer_ms, &v);
	if (a != NULL && a->exists) {
		judge_rate(p, a, q->message_id.data, now, &v);
		v.terms = &a->terms;
	}
	if (refuses(&v))
		send_refusal(p, from, &v, 0, a == NULL ? "" : a->name, q->mail_from);
	else
		send_verdict(p, from, &v);
}

static void send_later_verdict(struct later *l)
{
	send_verdict(l->p, &l->from, &l->verdict);
}

/* What the account may do.  A recipient that has its share already is not refused for the quota
 * that it is itself a part of. */
static void judge_account(struct policy *p, const struct account *a,
                          const Holdfast__RcptQuery *q, Holdfast__Verdict *v)
{
	if (a != NULL && a->reserved > 0 && reserve_has(p, q->message_id.data, q->index))
		account_state_verdict(a, v);
	else
		account_verdict(a, clock_wall_ms(), p->conf.quota_defer_ms, v);
}

/* All lists have said yes: take the share, if there is a quota, and answer. */
static void take_share(struct policy *p, struct account *a, const struct bus_from *from,
                       Holdfast__Verdict *v, const Holdfast__RcptQuery *q)
{
	struct kv_batch *batch;
	struct later *l;
	enum err err;

	if (!v->metered) {
		send_verdict(p, from, v);
		return;
	}
	if (kv_full(p->kv)) {
		bus_refuse(p->bus, from, HOLDFAST__REFUSED__WHY__BUSY, "the store is behind");
		return;
	}
	batch = kv_batch_new();
	err = reserve_take(p, a, q->message_id.data, q->index, clock_wall_ms(), batch);
	if (err == ERR_OK || err == ERR_EXIST) { /* a repeat waits for the sync of the first */
		uint64_t id = later_new(p, from, &l);

		l->verdict = *v;
		l->answer = send_later_verdict;
		later_write(p, id, &batch);
		return;
	}
	kv_batch_free(&batch);
	bus_refuse(p->bus, from, HOLDFAST__REFUSED__WHY__BUSY, "too many reservations");
}

static void on_block_answer(enum err err, const Holdfast__Frame *f, struct blob *body,
                            void *owner, uint64_t id)
{
	struct policy *p = policy_of(owner);
	struct later *l = p == NULL ? NULL : later_find(p, id);
	Holdfast__RcptQuery q = HOLDFAST__RCPT_QUERY__INIT;
	Holdfast__Verdict v = HOLDFAST__VERDICT__INIT;
	struct account *a;

	if (l == NULL)
		return;
	if (err != ERR_OK || f->body_case != HOLDFAST__FRAME__BODY_VERDICT) {
		metric_add(p->stage->metrics, PM_BLOCK_UNREACHABLE, 1);
		bus_refuse(p->bus, &l->from, HOLDFAST__REFUSED__WHY__BUSY, "lists out of reach");
		later_end(p, id);
		return;
	}
	if (l->failed) { /* a share would be nobody's */
		bus_refuse(p->bus, &l->from, HOLDFAST__REFUSED__WHY__BUSY, "given up");
		later_end(p, id);
		return;
	}
	a = accounts_find(p, pb_str(l->account));
	q.message_id = pb_bytes(l->message_id, UUID_LEN);
	q.index = l->index;
	judge_account(p, a, &q, &v); /* time has passed */
	if (!refuses(&v) && f->verdict->class_ == HOLDFAST__VERDICT_CLASS__VERDICT_BLOCK) {
		v.class_ = HOLDFAST__VERDICT_CLASS__VERDICT_BLOCK;
		l->hits |= 1u << HOLDFAST__VERDICT_CLASS__VERDICT_BLOCK;
	}
	if (refuses(&v))
		send_refusal(p, &l->from, &v, l->hits, l->account,
		               pb_bytes(l->key.data, l->key.len));
	else
		take_share(p, a, &l->from, &v, &q);
	later_end(p, id);
}

/* Ask the instance that owns the address's share of the system-wide list. */
static void ask_other(struct policy *p, const struct bus_from *from,
                      const Holdfast__RcptQuery *q, const struct account *a, unsigned hits)
{
	Holdfast__BlockQuery block = HOLDFAST__BLOCK_QUERY__INIT;
	Holdfast__Frame frame = HOLDFAST__FRAME__INIT;
	struct bus_to to = {
		HOLDFAST__ROLE__ROLE_POLICY,
		bus_shard(p->bus, HOLDFAST__ROLE__ROLE_POLICY, q->key.data, q->key.len),
	};
	struct later *l;
	uint64_t id = later_new(p, from, &l);

	memcpy(l->account, a->name, sizeof(l->account));
	memcpy(l->message_id, q->message_id.data, UUID_LEN);
	l->index = q->index;
	l->hits = hits;
	buf_add(&l->key, q->key.data, q->key.len);
	block.key = q->key;
	frame.body_case = HOLDFAST__FRAME__BODY_BLOCK_QUERY;
	frame.block_query = &block;
	if (bus_ask(p->bus, to, &frame, NULL, (uint32_t)p->conf.block_wait_ms, on_block_answer,
	            p->stage, id) == ERR_OK)
		return;
	bus_refuse(p->bus, from, HOLDFAST__REFUSED__WHY__BUSY, "lists out of reach");
	later_end(p, id);
}

void answer_rcpt(void *state, const struct bus_from *from, const Holdfast__Frame *f,
                 struct blob *body)
{
	struct policy *p = policy_of(state);
	const Holdfast__RcptQuery *q = f->rcpt_query;
	struct account *a = accounts_find(p, q->account);
	Holdfast__Verdict v = HOLDFAST__VERDICT__INIT;
	unsigned hits = 0;
	bool remote = false;

	if (q->message_id.len != UUID_LEN || q->key.len == 0 || q->key.len > KEY_MAX) {
		bus_refuse(p->bus, from, HOLDFAST__REFUSED__WHY__MALFORMED, "id or address");
		return;
	}
	judge_account(p, a, q, &v);
	if (!refuses(&v))
		list_verdict(p, a, q->key, &v, &hits, &remote);
	if (refuses(&v))
		send_refusal(p, from, &v, hits, a == NULL ? "" : a->name, q->key);
	else if (remote)
		ask_other(p, from, q, a, hits);
	else
		take_share(p, a, from, &v, q);
}

/* Recipients of the message whose system-wide entry is still asked for must take no share. */
static void give_up(struct policy *p, const uint8_t message_id[UUID_LEN])
{
	struct later *l;

	TAILQ_FOREACH(l, &p->all_laters, link) {
		if (l->key.len > 0 && memcmp(l->message_id, message_id, UUID_LEN) == 0)
			l->failed = true;
	}
}

void answer_abandon(void *state, const struct bus_from *from, const Holdfast__Frame *f,
                    struct blob *body)
{
	struct policy *p = policy_of(state);
	struct kv_batch *batch;

	if (f->abandon->message_id.len != UUID_LEN) {
		bus_refuse(p->bus, from, HOLDFAST__REFUSED__WHY__MALFORMED, "id");
		return;
	}
	give_up(p, f->abandon->message_id.data);
	batch = kv_batch_new();
	reserve_give(p, f->abandon->message_id.data, UINT64_MAX, batch);
	later_act(p, from, HOLDFAST__DONE__RESULT__OK, "", &batch);
}
