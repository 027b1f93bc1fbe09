/* ingest/txn.c - the life of a transaction: MAIL, RCPT, message, given up
 *
 * Steps are in the files that take them (txn_in.h).  After session_answer() or txn_run() a
 * transaction may be gone: nothing touches it then.
 */
#include "ingest/txn_in.h"

#include <assert.h>
#include <string.h>
#include "ingest/abandon.h"
#include "ingest/session.h"
#include "ingest/submission.h"
#include "lib/clock.h"

#define GIVE_RATE (8u << 20) /* bytes a second that a stage which is well takes */

static enum next txn_drop(struct txn *t);

const struct step STEP_GIVE_UP = { "give-up", txn_drop };

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

struct txn *txn_find(struct ingest *in, uint64_t id)
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
		xfree(r->orcpt);
		xfree(r);
	}
	txn_give_free(t);
	idmap_remove(t->in->txns, t->id);
	TAILQ_REMOVE(&t->in->all_txns, t, all);
	terms_free(&t->terms);
	xfree(t->helo);
	xfree(t->envid);
	xfree(t->from);
	xfree(t);
}

void txn_end(struct txn *t, bool ok, const char *reply)
{
	struct ingest *in = t->in;
	uint64_t session = t->session, q = t->q, parent = t->parent;
	uint64_t bytes = t->body ? t->body->len : 0;

	assert(TAILQ_EMPTY(&t->asks));
	session_txn_over(in, session, ok, bytes);
	txn_free(t);
	if (parent != 0)
		txn_notified(in, parent, ok);
	else
		session_answer(in, session, q, ok, reply);
}

void txn_refuse(struct txn *t, enum ingest_no no, const char *reply)
{
	static const char *const why[] = {
		[NO_CONTENT] = "content", [NO_ROOM] = "no room", [NO_STORE] = "store",
		[NO_FROM] = "from",
	};

	metric_add_label(t->in->stage->metrics, M_MESSAGES_REFUSED, no, 1);
	log_warn("not-taken", LOGID(&t->mid), LOGS("account", t->account), LOGS("why", why[no]),
	         LOGS("from", t->from), LOGS("ip", t->peer.text), LOGS("reply", reply));
	if (t->metered && t->reserved && t->n_safe == 0)
		abandon_send(t->in->abandon, t->account, &t->mid);
	txn_end(t, false, reply);
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
	/* What is on its way before it goes first: the receiver takes GIVE_RATE at the least. */
	uint64_t wait = giving ? t->in->conf.handoff_wait + t->in->on_way * 1000 / GIVE_RATE
	                       : t->in->conf.policy_wait;
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

struct txn *txn_new(struct ingest *in, const struct peer *peer)
{
	struct txn *t = xcalloc(1, sizeof(*t));

	t->in = in;
	t->received_ms = clock_wall_ms();
	t->mid = uuid_new(t->received_ms);
	uuid_text(&t->mid, t->idtext);
	t->peer = *peer;
	TAILQ_INIT(&t->asks);
	t->id = idmap_add(in->txns, t);
	TAILQ_INSERT_TAIL(&in->all_txns, t, all);
	return t;
}

static void text_keep(char *to, size_t size, const char *text)
{
	if (text != NULL)
		memcpy(to, text, strnlen(text, size - 1));
}

void txn_begin(struct ingest *in, const struct txn_client *c, const struct smtp_mail *m,
               uint64_t q, uint64_t *id)
{
	struct txn *t = txn_new(in, c->peer);

	t->session = c->session;
	text_keep(t->account, sizeof(t->account), c->account);
	text_keep(t->tls, sizeof(t->tls), c->tls);
	text_keep(t->cipher, sizeof(t->cipher), c->cipher);
	t->helo = xstrdup(c->helo);
	t->esmtp = c->esmtp;
	t->authed = c->authed;
	t->from = xstrndup(m->from->addr, m->from->len);
	t->size_said = m->size;
	t->eight_bit = m->eight_bit;
	t->utf8 = m->utf8;
	t->utf8_address = m->from->utf8;
	t->require_tls = m->require_tls;
	t->ret = m->ret;
	t->envid = m->envid ? xstrndup(m->envid, m->envid_len) : NULL;
	t->q = q;
	*id = t->id;
	txn_goto(t, t->account[0] != '\0' ? &STEP_MAIL : &STEP_IDENTIFY);
	txn_run(t);
}

struct rcpt *txn_rcpt_take(struct txn *t, const struct smtp_path *to, const char *key,
                           size_t key_len)
{
	struct rcpt *r;

	HASH_FIND(hh, t->rcpts, key, key_len, r);
	if (r != NULL)
		return r;
	r = xcalloc(1, sizeof(*r) + to->len + 1 + key_len + 1);
	memcpy(r->addr, to->addr, to->len);
	memcpy(r->addr + to->len + 1, key, key_len);
	r->key = r->addr + to->len + 1;
	r->index = t->n_asked++;
	t->utf8_address |= to->utf8;
	HASH_ADD_KEYPTR(hh, t->rcpts, r->key, key_len, r);
	return r;
}

void txn_rcpt(struct ingest *in, uint64_t id, uint64_t q, const struct smtp_rcpt *said)
{
	struct txn *t = txn_find(in, id);
	const struct smtp_path *to = said->to;
	struct buf key = BUF_INIT;
	struct rcpt *r;

	assert(t != NULL && t->step == &STEP_TALK);
	if (smtp_addr_key(to->addr, to->len, &key) != ERR_OK || to->at == to->len) {
		session_answer(in, t->session, q, false,
		               "550 5.1.2 Domain of the recipient is none\r\n");
	} else {
		r = txn_rcpt_take(t, to, key.data, key.len);
		r->notify = said->notify;
		xfree(r->orcpt);
		r->orcpt = said->orcpt ? xstrndup(said->orcpt, said->orcpt_len) : NULL;
		txn_ask_rcpt(t, r, q);
	}
	buf_free(&key);
}

/* The only recipient, for the trace field; NULL: there are more. */
static const char *only_rcpt(const struct txn *t)
{
	struct rcpt *r, *tmp;

	if (t->n_ok == 1)
		HASH_ITER(hh, t->rcpts, r, tmp)
			if (r->ok)
				return r->addr;
	return NULL;
}

/* Make of what came what is to be sent; false: it was refused, and t is gone. */
static bool prepare(struct txn *t, struct buf *msg, bool damaged)
{
	struct buf no = BUF_INIT;
	struct submission s = {
		.received = {
			.helo = t->helo, .ip = t->peer.text,
			.hostname = t->in->stage->worker->common->hostname, .id = t->idtext,
			.for_addr = only_rcpt(t), .tls = t->tls[0] ? t->tls : NULL,
			.cipher = t->cipher[0] ? t->cipher : NULL, .esmtp = t->esmtp,
			.authed = t->authed, .utf8 = t->utf8, .now_ms = t->received_ms,
		},
		.terms = &t->terms, .max_hops = t->in->conf.max_hops,
		.max_size = t->in->conf.max_message_size, .damaged = damaged,
	};
	enum err err = submission_prepare(msg, SMTP_HEADROOM, &s, &no);

	/* Said, but not needed: it can go to servers that know nothing of it (RFC 6531, 3.1). */
	t->utf8 = t->utf8 && (t->utf8_address || s.eight_bit_header);
	if (err != ERR_OK)
		txn_refuse(t, err == ERR_PERM ? NO_FROM : NO_CONTENT, buf_str(&no));
	buf_free(&no);
	return err == ERR_OK;
}

void txn_message(struct ingest *in, uint64_t id, uint64_t q, struct buf *msg,
                 const struct smtp_content *c)
{
	struct txn *t = txn_find(in, id);

	assert(t != NULL && t->step == &STEP_TALK);
	t->q = q;
	t->eight_bit |= c->eight_bit;
	t->received_ms = clock_wall_ms();
	if (!prepare(t, msg, c->damaged))
		return;
	t->body = blob_take(msg);
	in->on_way += t->body->len;
	ingest_memory(in, (int64_t)t->body->len);
	txn_goto(t, txn_must_notify(t) ? &STEP_NOTIFY : &STEP_GIVE);
	txn_run(t);
}

void txn_give_up(struct ingest *in, uint64_t id, const char *why)
{
	struct txn *t = txn_find(in, id);

	if (t == NULL)
		return;
	assert(t->step != &STEP_GIVE_UP && t->body == NULL);
	session_txn_over(in, t->session, false, 0);
	t->session = 0;
	t->why = why;
	txn_goto(t, &STEP_GIVE_UP);
	txn_run(t);
}

void txn_orphan(struct ingest *in, uint64_t id)
{
	struct txn *t = txn_find(in, id);

	if (t == NULL)
		return;
	if (t->body == NULL) {
		txn_give_up(in, id, "connection lost");
		return;
	}
	metric_add(in->stage->metrics, M_CLIENT_GONE, 1);
	t->session = 0; /* it is being handed over: that goes on */
}
