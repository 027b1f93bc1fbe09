/* ingest/txn.c - a transaction's dialogue with policy
 *
 * Questions are steps (identify, mail, talk); the answer to each is on_...() above
 * it.  Nobody decides in policy's place: without an answer it is 451.  After
 * session_answer() or txn_run() a transaction may be gone: nothing touches it then.
 */
#include "ingest/txn_in.h"

#include <assert.h>
#include <string.h>
#include "ingest/abandon.h"
#include "ingest/session.h"
#include "lib/clock.h"
#include "proto/verdict.h"

static enum next txn_identify(struct txn *t);
static enum next txn_mail(struct txn *t);
static enum next txn_talk(struct txn *t);
static enum next txn_drop(struct txn *t);

static const struct step STEP_IDENTIFY = { "identify", txn_identify };
static const struct step STEP_MAIL     = { "mail",     txn_mail };
static const struct step STEP_TALK     = { "talk",     txn_talk };
const struct step STEP_GIVE_UP         = { "give-up",  txn_drop };

static const char out_of_reach[] = "451 4.3.0 Policy is out of reach, try again later\r\n";

void txn_goto(struct txn *t, const struct step *to)
{
	log_debug("txn", LOGID(&t->mid), LOGS("from", t->step ? t->step->name : "new"),
	          LOGS("to", to->name));
	t->step = to;
}

void txn_run(struct txn *t)
{
	while (t->step->run(t) == NEXT_NOW)
		continue;
}

static struct txn *find(struct ingest *in, uint64_t id)
{
	return id ? idmap_get(in->txns, id) : NULL;
}

static void txn_free(struct txn *t)
{
	struct rcpt *r, *tmp;
	struct ask *a;

	while ((a = TAILQ_FIRST(&t->asks)) != NULL) {
		TAILQ_REMOVE(&t->asks, a, all);
		idmap_remove(t->in->asks, a->id);
		xfree(a);
	}
	HASH_ITER(hh, t->rcpts, r, tmp) {
		HASH_DEL(t->rcpts, r);
		xfree(r);
	}
	txn_give_free(t);
	idmap_remove(t->in->txns, t->id);
	TAILQ_REMOVE(&t->in->all_txns, t, all);
	xfree(t->from);
	xfree(t);
}

void txn_end(struct txn *t, bool ok, const char *reply)
{
	struct ingest *in = t->in;
	uint64_t session = t->session, q = t->q;

	assert(TAILQ_EMPTY(&t->asks));
	session_txn_over(in, session, ok);
	txn_free(t);
	session_answer(in, session, q, ok, reply);
}

void txns_free(struct ingest *in)
{
	struct txn *t;

	while ((t = TAILQ_FIRST(&in->all_txns)) != NULL)
		txn_free(t);
}

enum err txn_ask(struct txn *t, struct bus_to to, Holdfast__Frame *frame, struct ask *about,
                 bus_answer_fn *done)
{
	struct stage *st = t->in->stage;
	bool giving = frame->body_case == HOLDFAST__FRAME__BODY_HANDOFF;
	uint64_t wait = giving ? t->in->conf.handoff_wait : t->in->conf.policy_wait;
	struct ask *a = xmemdup(about, sizeof(*about));
	enum err err;

	a->t = t;
	a->id = idmap_add(t->in->asks, a);
	TAILQ_INSERT_TAIL(&t->asks, a, all);
	err = bus_ask(st->bus, to, frame, giving ? t->body : NULL, (uint32_t)wait, done, st, a->id);
	if (err != ERR_OK) {
		TAILQ_REMOVE(&t->asks, a, all);
		idmap_remove(t->in->asks, a->id);
		xfree(a);
	}
	return err;
}

bool txn_answered(void *owner, uint64_t id, struct ask *out)
{
	struct ingest *in = ingest_of(owner);
	struct ask *a = in ? idmap_remove(in->asks, id) : NULL;

	if (a == NULL)
		return false;
	*out = *a;
	TAILQ_REMOVE(&a->t->asks, a, all);
	xfree(a);
	return true;
}

static struct bus_to policy_of(const struct txn *t)
{
	struct bus_to to = { HOLDFAST__ROLE__ROLE_POLICY, 0 };

	to.instance = bus_shard(t->in->stage->bus, to.stage, t->account, strlen(t->account));
	return to;
}

/* Given up: what is open is waited for, then the account gets its shares back. */
static enum next txn_drop(struct txn *t)
{
	if (!TAILQ_EMPTY(&t->asks))
		return NEXT_WAIT;
	if (t->metered && t->reserved)
		abandon_send(t->in->abandon, t->account, &t->mid);
	if (t->reserved)
		log_info("given-up", LOGID(&t->mid), LOGS("account", t->account),
		         LOGS("why", t->why));
	txn_free(t);
	return NEXT_DONE;
}

/* The client talks: RCPT comes by txn_rcpt(), the rest by the calls of txn.h. */
static enum next txn_talk(struct txn *t)
{
	return NEXT_WAIT;
}

static void policy_failed(struct txn *t, enum err err)
{
	metric_add(t->in->stage->metrics, M_POLICY_FAILURES, 1);
	log_warn("policy-failed", LOGID(&t->mid), LOGS("account", t->account), LOGE(err));
}

static void verdict_remember(struct txn *t, const Holdfast__Verdict *v)
{
	t->metered |= v->metered;
	if (v->class_ != HOLDFAST__VERDICT_CLASS__VERDICT_HOLD || t->held)
		return;
	t->held = true;
	t->hold = v->hold;
	t->hold_verdict_len = v->verdict_id.len <= UUID_LEN ? v->verdict_id.len : 0;
	if (t->hold_verdict_len > 0)
		memcpy(t->hold_verdict, v->verdict_id.data, t->hold_verdict_len);
}

static bool verdict_allows(const Holdfast__Verdict *v)
{
	return v->class_ == HOLDFAST__VERDICT_CLASS__VERDICT_OK ||
	       v->class_ == HOLDFAST__VERDICT_CLASS__VERDICT_HOLD;
}

/* Refuse by verdict; the reply is built before anything may go. */
static void verdict_count(struct txn *t, const Holdfast__Verdict *v)
{
	if ((unsigned)v->class_ <= HOLDFAST__VERDICT_CLASS__VERDICT_HOLD)
		metric_add_label(t->in->stage->metrics, M_RCPTS, (unsigned)v->class_, 1);
}

static void on_mail(enum err err, const Holdfast__Frame *frame, struct blob *body, void *owner,
                    uint64_t id)
{
	struct buf reply = BUF_INIT;
	struct ask a;
	struct txn *t;

	if (!txn_answered(owner, id, &a))
		return;
	t = a.t;
	if (t->step == &STEP_GIVE_UP) {
		txn_run(t);
	} else if (err != ERR_OK || frame->body_case != HOLDFAST__FRAME__BODY_VERDICT) {
		policy_failed(t, err);
		txn_end(t, false, out_of_reach);
	} else if (!verdict_allows(frame->verdict)) {
		verdict_count(t, frame->verdict);
		log_info("mail-refused", LOGID(&t->mid), LOGS("account", t->account),
		         LOGS("verdict", verdict_name(frame->verdict->class_)),
		         LOGS("from", t->from), LOGS("ip", t->ip));
		verdict_reply(&reply, frame->verdict);
		txn_end(t, false, buf_str(&reply));
	} else {
		verdict_remember(t, frame->verdict);
		txn_goto(t, &STEP_TALK);
		session_answer(t->in, t->session, t->q, true, NULL);
	}
	buf_free(&reply);
}

/* May this account send now?  Resumes in on_mail(). */
static enum next txn_mail(struct txn *t)
{
	Holdfast__Frame frame = HOLDFAST__FRAME__INIT;
	Holdfast__MailQuery mq = HOLDFAST__MAIL_QUERY__INIT;
	struct ask about = { 0 };
	enum err err;

	if (!TAILQ_EMPTY(&t->asks))
		return NEXT_WAIT;
	mq.account = pb_str(t->account);
	mq.message_id = pb_bytes(t->mid.b, UUID_LEN);
	mq.mail_from = pb_str(t->from);
	mq.size = t->size_said;
	frame.body_case = HOLDFAST__FRAME__BODY_MAIL_QUERY;
	frame.mail_query = &mq;
	err = txn_ask(t, policy_of(t), &frame, &about, on_mail);
	if (err == ERR_OK)
		return NEXT_WAIT;
	policy_failed(t, err);
	txn_end(t, false, out_of_reach);
	return NEXT_DONE;
}

static void on_address(enum err err, const Holdfast__Frame *frame, struct blob *body, void *owner,
                       uint64_t id)
{
	const Holdfast__Principal *p;
	struct ask a;
	struct txn *t;

	if (!txn_answered(owner, id, &a))
		return;
	t = a.t;
	if (t->step == &STEP_GIVE_UP) {
		txn_run(t);
		return;
	}
	p = err == ERR_OK && frame->body_case == HOLDFAST__FRAME__BODY_PRINCIPAL ? frame->principal
	                                                                         : NULL;
	if (p != NULL && !p->known) {
		txn_end(t, false, "530 5.7.0 Authentication required\r\n");
		return;
	}
	if (p != NULL && p->account.len > 0 && p->account.len <= INGEST_ACCOUNT_MAX) {
		memcpy(t->account, p->account.data, p->account.len);
		txn_goto(t, &STEP_MAIL);
	} else {
		t->policy_next++; /* this instance does not answer: the next */
	}
	txn_run(t);
}

/* Whose is the client's address?  Every instance knows all of them: ask the first one
 * that answers.  Resumes in on_address(). */
static enum next txn_identify(struct txn *t)
{
	struct bus *bus = t->in->stage->bus;
	unsigned n = bus_instances(bus, HOLDFAST__ROLE__ROLE_POLICY);
	Holdfast__Frame frame = HOLDFAST__FRAME__INIT;
	Holdfast__AddressQuery aq = HOLDFAST__ADDRESS_QUERY__INIT;
	struct ask about = { 0 };

	aq.ip = pb_bytes(t->ip_raw, t->ip_len);
	frame.body_case = HOLDFAST__FRAME__BODY_ADDRESS_QUERY;
	frame.address_query = &aq;
	for (; t->policy_next < n; t->policy_next++) {
		struct bus_to to = { HOLDFAST__ROLE__ROLE_POLICY, t->policy_next };

		if (bus_link_up(bus, to.stage, to.instance) &&
		    txn_ask(t, to, &frame, &about, on_address) == ERR_OK)
			return NEXT_WAIT;
	}
	policy_failed(t, ERR_LINK);
	txn_end(t, false, out_of_reach);
	return NEXT_DONE;
}

void txn_begin(struct ingest *in, const struct txn_client *c, const struct smtp_mail *m,
               uint64_t q, uint64_t *id)
{
	struct txn *t = xcalloc(1, sizeof(*t));
	uint64_t now = clock_wall_ms();

	t->in = in;
	t->session = c->session;
	t->mid = uuid_new(now);
	uuid_text(&t->mid, t->idtext);
	t->received_ms = now;
	memcpy(t->account, c->account, strnlen(c->account, INGEST_ACCOUNT_MAX));
	memcpy(t->ip, c->ip, strnlen(c->ip, sizeof(t->ip) - 1));
	if (c->tls != NULL)
		memcpy(t->tls, c->tls, strnlen(c->tls, sizeof(t->tls) - 1));
	memcpy(t->ip_raw, c->ip_raw, c->ip_len);
	t->ip_len = c->ip_len;
	t->from = xstrndup(m->from->addr, m->from->len);
	t->size_said = m->size;
	t->eight_bit = m->eight_bit;
	t->q = q;
	TAILQ_INIT(&t->asks);
	t->id = idmap_add(in->txns, t);
	TAILQ_INSERT_TAIL(&in->all_txns, t, all);
	*id = t->id;
	txn_goto(t, t->account[0] != '\0' ? &STEP_MAIL : &STEP_IDENTIFY);
	txn_run(t);
}

static void on_rcpt(enum err err, const Holdfast__Frame *frame, struct blob *body, void *owner,
                    uint64_t id)
{
	const Holdfast__Verdict *v;
	struct buf reply = BUF_INIT;
	struct ask a;
	struct txn *t;
	bool ok = false;

	if (!txn_answered(owner, id, &a))
		return;
	t = a.t;
	v = err == ERR_OK && frame->body_case == HOLDFAST__FRAME__BODY_VERDICT ? frame->verdict
	                                                                     : NULL;
	if (v != NULL) {
		verdict_remember(t, v);
		verdict_count(t, v);
	}
	if (t->step == &STEP_GIVE_UP) {
		metric_add(t->in->stage->metrics, M_LATE_ANSWERS, 1);
		txn_run(t);
		return;
	}
	if (v == NULL) {
		policy_failed(t, err);
		buf_adds(&reply, out_of_reach);
	} else if (verdict_allows(v)) {
		ok = true;
		t->n_ok += !a.rcpt->ok;
		a.rcpt->ok = true;
	} else {
		log_info("rcpt-refused", LOGID(&t->mid), LOGS("account", t->account),
		         LOGS("verdict", verdict_name(v->class_)), LOGS("rcpt", a.rcpt->addr));
		verdict_reply(&reply, v);
	}
	session_answer(t->in, t->session, a.q, ok, ok ? NULL : buf_str(&reply));
	buf_free(&reply);
}

/* The recipient of this key, new when it was not named before. */
static struct rcpt *rcpt_take(struct txn *t, const struct smtp_path *to, const struct buf *key)
{
	struct rcpt *r;

	HASH_FIND(hh, t->rcpts, key->data, key->len, r);
	if (r != NULL)
		return r;
	r = xcalloc(1, sizeof(*r) + to->len + 1 + key->len + 1);
	memcpy(r->addr, to->addr, to->len);
	memcpy(r->addr + to->len + 1, key->data, key->len);
	r->key = r->addr + to->len + 1;
	r->index = t->n_asked++;
	HASH_ADD_KEYPTR(hh, t->rcpts, r->key, key->len, r);
	return r;
}

/* Ask for the verdict on one recipient.  Resumes in on_rcpt(). */
static enum err rcpt_ask(struct txn *t, struct rcpt *r, uint64_t q)
{
	Holdfast__Frame frame = HOLDFAST__FRAME__INIT;
	Holdfast__RcptQuery rq = HOLDFAST__RCPT_QUERY__INIT;
	struct ask about = { .rcpt = r, .q = q };

	rq.account = pb_str(t->account);
	rq.message_id = pb_bytes(t->mid.b, UUID_LEN);
	rq.index = r->index;
	rq.address = pb_str(r->addr);
	rq.key = pb_str(r->key);
	frame.body_case = HOLDFAST__FRAME__BODY_RCPT_QUERY;
	frame.rcpt_query = &rq;
	t->reserved = true;
	return txn_ask(t, policy_of(t), &frame, &about, on_rcpt);
}

void txn_rcpt(struct ingest *in, uint64_t id, uint64_t q, const struct smtp_path *to)
{
	struct txn *t = find(in, id);
	struct buf key = BUF_INIT;
	enum err err;

	assert(t != NULL && t->step == &STEP_TALK);
	err = smtp_addr_key(to->addr, to->len, &key);
	if (err != ERR_OK || to->at == to->len) {
		session_answer(in, t->session, q, false,
		               "550 5.1.2 Domain of the recipient is none\r\n");
	} else {
		err = rcpt_ask(t, rcpt_take(t, to, &key), q);
		if (err != ERR_OK) {
			policy_failed(t, err);
			session_answer(in, t->session, q, false, out_of_reach);
		}
	}
	buf_free(&key);
}

void txn_trace(struct ingest *in, uint64_t id, struct received_facts *f, struct buf *out)
{
	struct txn *t = find(in, id);
	struct rcpt *r, *tmp;

	assert(t != NULL && t->step == &STEP_TALK);
	f->id = t->idtext;
	f->now_ms = clock_wall_ms();
	f->for_addr = NULL;
	if (t->n_ok == 1)
		HASH_ITER(hh, t->rcpts, r, tmp)
			if (r->ok)
				f->for_addr = r->addr;
	received_add(out, f);
}

void txn_message(struct ingest *in, uint64_t id, uint64_t q, struct buf *msg, bool eight_bit)
{
	struct txn *t = find(in, id);

	assert(t != NULL && t->step == &STEP_TALK);
	t->q = q;
	t->eight_bit |= eight_bit;
	t->received_ms = clock_wall_ms();
	t->body = blob_take(msg);
	ingest_memory(in, (int64_t)t->body->len);
	txn_goto(t, &STEP_GIVE);
	txn_run(t);
}

void txn_give_up(struct ingest *in, uint64_t id, const char *why)
{
	struct txn *t = find(in, id);

	if (t == NULL)
		return;
	assert(t->step != &STEP_GIVE_UP && t->body == NULL);
	session_txn_over(in, t->session, false);
	t->session = 0;
	t->why = why;
	txn_goto(t, &STEP_GIVE_UP);
	txn_run(t);
}

void txn_orphan(struct ingest *in, uint64_t id)
{
	struct txn *t = find(in, id);

	if (t == NULL)
		return;
	if (t->body == NULL) {
		txn_give_up(in, id, "connection lost");
		return;
	}
	metric_add(in->stage->metrics, M_CLIENT_GONE, 1);
	t->session = 0; /* it is being handed over: that goes on */
}
