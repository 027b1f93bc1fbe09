/* ingest/txn_ask.c - a transaction's dialogue with policy
 *
 * Questions are steps (identify, mail, talk); the answer to each is on_...() above
 * it.  Nobody decides in policy's place: without an answer it is 451.  After
 * session_answer() or txn_run() a transaction may be gone: nothing touches it then.
 */
#include "ingest/txn_in.h"

#include <string.h>
#include "ingest/session.h"
#include "proto/verdict.h"

static enum next txn_identify(struct txn *t);
static enum next txn_mail(struct txn *t);
static enum next txn_talk(struct txn *t);

const struct step STEP_IDENTIFY = { "identify", txn_identify };
const struct step STEP_MAIL     = { "mail",     txn_mail };
const struct step STEP_TALK     = { "talk",     txn_talk };

static const char out_of_reach[] = "451 4.3.0 Policy is out of reach, try again later\r\n";

static struct bus_to policy_of(const struct txn *t)
{
	struct bus_to to = { HOLDFAST__ROLE__ROLE_POLICY, 0 };

	to.instance = bus_shard(t->in->stage->bus, to.stage, t->account, strlen(t->account));
	return to;
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

static void verdict_count(struct txn *t, const Holdfast__Verdict *v)
{
	if ((unsigned)v->class_ <= HOLDFAST__VERDICT_CLASS__VERDICT_HOLD)
		metric_add_label(t->in->stage->metrics, M_RCPTS, (unsigned)v->class_, 1);
}

/* False: refused, and t is gone. */
static bool sender_is_registered(struct txn *t)
{
	if (terms_allow_sender(&t->terms, t->from))
		return true;
	txn_refuse(t, NO_FROM, "550 5.7.1 Sender's domain is not registered for this account\r\n");
	return false;
}

/* Where the refusal is to be told by mail, the sender may be the one who gets it: nobody else's
 * address, then. */
static void mail_refused(struct txn *t, const Holdfast__Verdict *v)
{
	struct buf reply = BUF_INIT;

	verdict_count(t, v);
	log_info("mail-refused", LOGID(&t->mid), LOGS("account", t->account),
	         LOGS("verdict", verdict_name(v->class_)), LOGS("from", t->from),
	         LOGS("ip", t->peer.text), LOGU("accepted", txn_accepts_refused(t, v)));
	if (txn_accepts_refused(t, v)) {
		if (!sender_is_registered(t))
			return;
		t->exception = verdict_exception(v);
		t->refused = v->class_;
		txn_goto(t, &STEP_TALK);
		session_answer(t->in, t->session, t->q, true, NULL);
		return;
	}
	verdict_reply(&reply, v);
	txn_end(t, false, buf_str(&reply));
	buf_free(&reply);
}

static void mail_allowed(struct txn *t, const Holdfast__Verdict *v)
{
	verdict_remember(t, v);
	if (!sender_is_registered(t))
		return;
	txn_goto(t, &STEP_TALK);
	session_answer(t->in, t->session, t->q, true, NULL);
}

static void on_mail(enum err err, const Holdfast__Frame *frame, struct blob *body, void *owner,
                    uint64_t id)
{
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
	} else if (terms_take(&t->terms, frame->verdict->terms), !verdict_allows(frame->verdict)) {
		mail_refused(t, frame->verdict);
	} else {
		mail_allowed(t, frame->verdict);
	}
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
	const char *no;
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
		no = session_account(t->in, t->session, t->account);
		if (no != NULL) {
			txn_end(t, false, no);
			return;
		}
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

	aq.ip = pb_bytes(t->peer.ip, t->peer.ip_len);
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
		a.rcpt->exception = NULL; /* named before, and refused then */
	} else {
		ok = txn_accepts_refused(t, v);
		log_info("rcpt-refused", LOGID(&t->mid), LOGS("account", t->account),
		         LOGS("verdict", verdict_name(v->class_)), LOGS("rcpt", a.rcpt->addr),
		         LOGU("accepted", ok));
		if (!ok) {
			verdict_reply(&reply, v);
		} else if (!a.rcpt->ok) {
			a.rcpt->exception = verdict_exception(v);
			a.rcpt->refused = v->class_;
		}
	}
	session_answer(t->in, t->session, a.q, ok, ok ? NULL : buf_str(&reply));
	buf_free(&reply);
}

void txn_ask_rcpt(struct txn *t, struct rcpt *r, uint64_t q)
{
	Holdfast__Frame frame = HOLDFAST__FRAME__INIT;
	Holdfast__RcptQuery rq = HOLDFAST__RCPT_QUERY__INIT;
	struct ask about = { .rcpt = r, .q = q };
	enum err err;

	if (t->exception != NULL) { /* the account cannot send at all */
		r->exception = t->exception;
		r->refused = t->refused;
		session_answer(t->in, t->session, q, true, NULL);
		return;
	}
	rq.account = pb_str(t->account);
	rq.message_id = pb_bytes(t->mid.b, UUID_LEN);
	rq.index = r->index;
	rq.address = pb_str(r->addr);
	rq.key = pb_str(r->key);
	frame.body_case = HOLDFAST__FRAME__BODY_RCPT_QUERY;
	frame.rcpt_query = &rq;
	t->reserved = true;
	err = txn_ask(t, policy_of(t), &frame, &about, on_rcpt);
	if (err == ERR_OK)
		return;
	policy_failed(t, err);
	session_answer(t->in, t->session, q, false, out_of_reach);
}
