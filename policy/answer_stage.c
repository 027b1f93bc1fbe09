/* policy/answer_stage.c - what the other stages ask: events, the system-wide list, re-checks
 *
 * Events are answered after their sync, re-checks when every list has answered.
 */
#include "policy/policy.h"

#include <string.h>
#include "lib/mem.h"

enum { RECHECK_MAX = 1000, KEY_MAX = 320 };

/* ---- events */

static void send_ack(struct later *l)
{
	Holdfast__EventsAck ack = HOLDFAST__EVENTS_ACK__INIT;
	Holdfast__Frame answer = HOLDFAST__FRAME__INIT;

	ack.source = pb_bytes(l->source, sizeof(l->source));
	ack.seq = l->seq;
	answer.body_case = HOLDFAST__FRAME__BODY_EVENTS_ACK;
	answer.events_ack = &ack;
	bus_answer(l->p->bus, &l->from, &answer, NULL);
}

void answer_events(void *state, const struct bus_from *from, const Holdfast__Frame *f,
                   struct blob *body)
{
	struct policy *p = policy_of(state);
	struct kv_batch *batch = kv_batch_new();
	struct later *l;
	uint64_t id, seq;

	if (kv_full(p->kv)) {
		kv_batch_free(&batch);
		bus_refuse(p->bus, from, HOLDFAST__REFUSED__WHY__BUSY, "the store is behind");
		return;
	}
	if (!apply_events(p, f->events, batch, &seq)) {
		kv_batch_free(&batch);
		bus_refuse(p->bus, from, HOLDFAST__REFUSED__WHY__MALFORMED, "events");
		return;
	}
	id = later_new(p, from, &l);
	memcpy(l->source, f->events->source.data, sizeof(l->source));
	l->seq = seq;
	l->answer = send_ack;
	later_write(p, id, &batch); /* also for a repeat: what it repeats may not be synced yet */
}

/* ---- the system-wide list */

void answer_block(void *state, const struct bus_from *from, const Holdfast__Frame *f,
                  struct blob *body)
{
	struct policy *p = policy_of(state);
	Holdfast__Verdict v = HOLDFAST__VERDICT__INIT;
	Holdfast__Frame answer = HOLDFAST__FRAME__INIT;

	if (f->block_query->key.len == 0 || f->block_query->key.len > KEY_MAX) {
		bus_refuse(p->bus, from, HOLDFAST__REFUSED__WHY__MALFORMED, "address");
		return;
	}
	if (list_blocked(p, f->block_query->key))
		v.class_ = HOLDFAST__VERDICT_CLASS__VERDICT_BLOCK;
	answer.body_case = HOLDFAST__FRAME__BODY_VERDICT;
	answer.verdict = &v;
	bus_answer(p->bus, from, &answer, NULL);
}

/* ---- re-checks */

/* All answers are in: tell, unless a list could not be asked. */
static void recheck_finish(struct later *l, uint64_t id)
{
	Holdfast__RecheckAnswer m = HOLDFAST__RECHECK_ANSWER__INIT;
	Holdfast__Frame answer = HOLDFAST__FRAME__INIT;
	Holdfast__Verdict **rows;

	if (l->failed) {
		bus_refuse(l->p->bus, &l->from, HOLDFAST__REFUSED__WHY__BUSY, "lists out of reach");
		later_end(l->p, id);
		return;
	}
	rows = xcalloc(l->n_rcpt + 1, sizeof(*rows));
	for (size_t i = 0; i < l->n_rcpt; i++)
		rows[i] = &l->rcpt[i];
	m.account = &l->verdict;
	m.rcpt = rows;
	m.n_rcpt = l->n_rcpt;
	answer.body_case = HOLDFAST__FRAME__BODY_RECHECK_ANSWER;
	answer.recheck_answer = &m;
	bus_answer(l->p->bus, &l->from, &answer, NULL);
	xfree(rows);
	later_end(l->p, id);
}

/* One recipient's answer from another instance.  id of the question carries which. */
struct recheck_one {
	struct stage *stage;
	uint64_t later;
	size_t i;
};

static void on_recheck_block(enum err err, const Holdfast__Frame *f, struct blob *body,
                             void *owner, uint64_t unused)
{
	struct recheck_one *one = owner; /* lives until this call, which comes exactly once */
	struct policy *p = policy_of(one->stage);
	struct later *l = p == NULL ? NULL : later_find(p, one->later);

	if (l != NULL) {
		if (err != ERR_OK || f->body_case != HOLDFAST__FRAME__BODY_VERDICT)
			l->failed = true;
		else
			l->rcpt[one->i].class_ = f->verdict->class_;
		if (--l->waiting == 0)
			recheck_finish(l, one->later);
	}
	xfree(one);
}

static void recheck_other(struct policy *p, struct later *l, uint64_t id, size_t i,
                          ProtobufCBinaryData key)
{
	Holdfast__BlockQuery block = HOLDFAST__BLOCK_QUERY__INIT;
	Holdfast__Frame frame = HOLDFAST__FRAME__INIT;
	struct recheck_one *one = xcalloc(1, sizeof(*one));
	struct bus_to to = {
		HOLDFAST__ROLE__ROLE_POLICY,
		bus_shard(p->bus, HOLDFAST__ROLE__ROLE_POLICY, key.data, key.len),
	};

	*one = (struct recheck_one){ p->stage, id, i };
	block.key = key;
	frame.body_case = HOLDFAST__FRAME__BODY_BLOCK_QUERY;
	frame.block_query = &block;
	l->waiting++;
	if (bus_ask(p->bus, to, &frame, NULL, (uint32_t)p->conf.block_wait_ms, on_recheck_block,
	            one, 0) == ERR_OK)
		return;
	l->waiting--;
	l->failed = true;
	xfree(one);
}

void answer_recheck(void *state, const struct bus_from *from, const Holdfast__Frame *f,
                    struct blob *body)
{
	struct policy *p = policy_of(state);
	const Holdfast__RecheckQuery *q = f->recheck_query;
	const struct account *a = accounts_find(p, q->account);
	struct later *l;
	uint64_t id;

	if (q->n_key > RECHECK_MAX) {
		bus_refuse(p->bus, from, HOLDFAST__REFUSED__WHY__MALFORMED, "too many recipients");
		return;
	}
	id = later_new(p, from, &l);
	holdfast__verdict__init(&l->verdict);
	account_state_verdict(a, &l->verdict); /* the recipients were counted at their RCPT */
	l->n_rcpt = q->n_key;
	l->rcpt = xcalloc(q->n_key + 1, sizeof(*l->rcpt));
	l->waiting = 1;
	for (size_t i = 0; i < q->n_key; i++) {
		unsigned hits;
		bool remote = false;

		holdfast__verdict__init(&l->rcpt[i]);
		if (a != NULL && a->exists && q->key[i].len > 0 && q->key[i].len <= KEY_MAX)
			list_verdict(p, a, q->key[i], &l->rcpt[i], &hits, &remote);
		if (remote && l->rcpt[i].class_ == HOLDFAST__VERDICT_CLASS__VERDICT_OK)
			recheck_other(p, l, id, i, q->key[i]);
	}
	if (--l->waiting == 0)
		recheck_finish(l, id);
}
