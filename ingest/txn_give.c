/* ingest/txn_give.c - custody: every part to its next stage, or into the spool
 *
 * 250 is said when each part has its Custody or is in a synced batch of the spool, and never
 * before.  Parts whose stage is out of reach go to the spool at once.
 */
#include "ingest/txn_in.h"

#include <assert.h>
#include <string.h>
#include "ingest/spool.h"
#include "lib/clock.h"
#include "proto/smtp_addr.h"
#include "proto/verdict.h"

static enum next txn_give(struct txn *t);
static enum next txn_spool(struct txn *t);
static enum next txn_accept(struct txn *t);

const struct step STEP_GIVE         = { "give",   txn_give };
static const struct step STEP_SPOOL = { "spool",  txn_spool };
const struct step STEP_ACCEPT       = { "accept", txn_accept };

void txn_give_free(struct txn *t)
{
	if (t->body != NULL) {
		t->in->on_way -= t->body->len;
		ingest_memory(t->in, -(int64_t)t->body->len);
	}
	blob_unref(&t->body);
	xfree(t->to);
	xfree(t->parts);
	xfree(t->rs);
	xfree(t->ptrs);
	xfree(t->safe);
}

static Holdfast__Role next_stage(const struct txn *t)
{
	return t->held ? HOLDFAST__ROLE__ROLE_HOLDQ : HOLDFAST__ROLE__ROLE_DELIVERY;
}

static unsigned dest_of(const struct txn *t, const struct rcpt *r)
{
	struct bus *bus = t->in->stage->bus;
	const char *domain = smtp_key_domain(r->key);

	if (t->held)
		return bus_shard(bus, HOLDFAST__ROLE__ROLE_HOLDQ, t->account, strlen(t->account));
	return bus_shard(bus, HOLDFAST__ROLE__ROLE_DELIVERY, domain, strlen(domain));
}

static void plan(struct txn *t)
{
	struct rcpt *r, *tmp;
	size_t n = 0;

	t->to = xcalloc(t->n_ok, sizeof(*t->to));
	t->parts = xcalloc(t->n_ok, sizeof(*t->parts));
	t->rs = xcalloc(t->n_ok, sizeof(*t->rs));
	t->ptrs = xcalloc(t->n_ok, sizeof(Holdfast__Recipient *));
	HASH_ITER(hh, t->rcpts, r, tmp)
		if (r->ok)
			t->to[n++] = (struct handoff_rcpt){
				r->index, dest_of(t, r), r->addr, r->notify, r->orcpt,
			};
	assert(n == t->n_ok);
	t->n_parts = handoff_split(t->to, n, bus_frame_limit(t->in->stage->bus), t->parts);
	t->safe = xcalloc(t->n_parts, sizeof(*t->safe));
	handoff_recipients(t->to, n, t->rs, t->ptrs);
}

static void envelope_fill(struct txn *t, const struct handoff_part *p, Holdfast__Envelope *env)
{
	holdfast__envelope__init(env);
	env->message_id = pb_bytes(t->mid.b, UUID_LEN);
	env->part = p->part;
	env->account = pb_str(t->account);
	env->mail_from = pb_str(t->from);
	env->n_rcpt = p->n;
	env->rcpt = &t->ptrs[p->first];
	env->received_ms = t->received_ms;
	env->size = t->body->len;
	env->eight_bit = t->eight_bit;
	env->client_ip = pb_str(t->peer.text);
	env->version = 1;
	env->ret = t->ret;
	if (t->envid != NULL)
		env->envid = pb_str(t->envid);
	env->utf8 = t->utf8;
	env->require_tls = t->require_tls;
	if (!t->held)
		return;
	env->hold = t->hold;
	env->hold_verdict = pb_bytes(t->hold_verdict, t->hold_verdict_len);
	env->subject = handoff_subject(t->body->data, t->body->len);
}

static void log_accepted(const struct txn *t)
{
	struct metric_set *m = t->in->stage->metrics;
	enum ingest_way way = t->n_ok == 0 ? WAY_NOBODY : t->spooled ? WAY_SPOOL
	                      : t->held ? WAY_HOLD : WAY_DELIVERY;
	static const char *const names[] = { "delivery", "hold", "spool", "nobody" };

	metric_add_label(m, M_MESSAGES, way, 1);
	metric_add(m, M_BYTES, t->body->len);
	metric_observe(m, M_HANDOFF_SECONDS, (double)(clock_mono_us() - t->began_us) / 1e6);
	log_info("accepted", LOGID(&t->mid), LOGS("account", t->account), LOGS("from", t->from),
	         LOGU("rcpts", t->n_ok), LOGU("size", t->body->len), LOGU("parts", t->n_parts),
	         LOGS("to", names[way]), LOGS("ip", t->peer.text),
	         LOGS("tls", t->tls[0] ? t->tls : NULL));
}

/* Every part is in custody. */
static enum next txn_accept(struct txn *t)
{
	struct buf reply = BUF_INIT;

	log_accepted(t);
	if (t->held)
		verdict_held_reply(&reply, t->idtext);
	else
		buf_addf(&reply, "250 2.0.0 Queued as %s\r\n", t->idtext);
	txn_end(t, true, buf_str(&reply));
	buf_free(&reply);
	return NEXT_DONE;
}

static void on_spooled(struct stage *st, uint64_t id, enum err err)
{
	struct txn *t = idmap_get(ingest_of(st)->txns, id);

	if (t == NULL)
		return;
	if (err != ERR_OK) {
		txn_refuse(t, NO_STORE, "451 4.3.0 Message cannot be stored, try again later\r\n");
		return;
	}
	t->spooled = true;
	txn_goto(t, &STEP_ACCEPT);
	txn_run(t);
}

/* A part was sent, nothing was heard, and its receiver may have it: a refusal now would make the
 * client send again what goes out all the same.  So it is asked for its receipt again. */
static bool may_go_on(const struct txn *t)
{
	return t->in_doubt &&
	       clock_mono_us() - t->began_us < t->in->conf.custody_wait * 1000;
}

/* Write the parts that have no receipt into our own store.  Resumes in on_spooled(). */
static enum next txn_spool(struct txn *t)
{
	size_t missing = t->n_parts - t->n_safe, n = 0;
	struct spool_part *sp = xcalloc(missing, sizeof(*sp));
	Holdfast__Envelope *env = xcalloc(missing, sizeof(*env));
	enum err err;

	for (size_t i = 0; i < t->n_parts; i++) {
		if (t->safe[i])
			continue;
		envelope_fill(t, &t->parts[i], &env[n]);
		sp[n].env = &env[n];
		sp[n].dest.stage = next_stage(t);
		memcpy(sp[n].dest.name,
		       bus_instance_name(t->in->stage->bus, next_stage(t), t->parts[i].dest),
		       strnlen(bus_instance_name(t->in->stage->bus, next_stage(t),
		                                 t->parts[i].dest), STORE_NAME_MAX));
		n++;
	}
	err = spool_put(t->in->spool, sp, n, t->body, on_spooled, t->id);
	xfree(sp);
	xfree(env);
	if (err == ERR_OK)
		return NEXT_WAIT;
	if (may_go_on(t)) {
		t->again = true;
		txn_goto(t, &STEP_GIVE);
		return NEXT_NOW;
	}
	txn_refuse(t, NO_ROOM, "452 4.3.1 No room for the message now, try again later\r\n");
	return NEXT_DONE;
}

static void on_custody(enum err err, const Holdfast__Frame *frame, struct blob *body, void *owner,
                       uint64_t id)
{
	struct ask a;
	struct txn *t;

	if (!txn_answered(owner, id, &a))
		return;
	t = a.t;
	if (err == ERR_OK && frame->body_case == HOLDFAST__FRAME__BODY_CUSTODY) {
		t->safe[a.part] = true;
		t->n_safe++;
	} else {
		t->in_doubt |= err == ERR_TIMEOUT || err == ERR_LINK;
		log_debug("no-receipt", LOGID(&t->mid), LOGU("part", t->parts[a.part].part),
		          LOGE(err));
	}
	txn_run(t);
}

static void give_part(struct txn *t, size_t i)
{
	struct bus_to to = { next_stage(t), t->parts[i].dest };
	Holdfast__Frame frame = HOLDFAST__FRAME__INIT;
	Holdfast__Handoff h = HOLDFAST__HANDOFF__INIT;
	Holdfast__Envelope env;
	struct ask about = { .part = i };

	if (!bus_link_up(t->in->stage->bus, to.stage, to.instance))
		return;
	envelope_fill(t, &t->parts[i], &env);
	h.envelope = &env;
	frame.body_case = HOLDFAST__FRAME__BODY_HANDOFF;
	frame.handoff = &h;
	/* What cannot be asked, since too many wait already, is for the spool. */
	(void)txn_ask(t, to, &frame, &about, on_custody);
}

/* Hand all parts that have no receipt over side by side.  Resumes in on_custody(), once a part. */
static enum next txn_give(struct txn *t)
{
	if (t->parts != NULL && !t->again) {
		if (!TAILQ_EMPTY(&t->asks))
			return NEXT_WAIT;
		txn_goto(t, t->n_safe == t->n_parts ? &STEP_ACCEPT : &STEP_SPOOL);
		return NEXT_NOW;
	}
	if (t->parts == NULL) {
		t->began_us = clock_mono_us();
		if (t->n_ok == 0) { /* all were refused, and accepted all the same */
			txn_goto(t, &STEP_ACCEPT);
			return NEXT_NOW;
		}
		plan(t);
	}
	t->again = false;
	t->in_doubt = false;
	for (size_t i = 0; i < t->n_parts; i++)
		if (!t->safe[i])
			give_part(t, i);
	return NEXT_NOW;
}
