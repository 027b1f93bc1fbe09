/* holdq/ask.c - HeldDecide: one question about many mails
 *
 * What the question means is found and bounded here; each mail is then an item of decide.c, and
 * the answer goes out when the last of them has ended.
 */
#include "holdq/decide.h"

#include <string.h>
#include "holdq/filter.h"

#define ASK_LIMIT  256
#define COUNT_STEP 4096 /* mails examined in one go for check_count ... */
#define COUNT_STEPS 4   /* ... and goes at most: more must be counted by the asker */
#define REASON_MAX 500

/* ---- the end of an ask */

void ask_free(struct decide *d, struct ask *a)
{
	TAILQ_REMOVE(&d->all, a, link);
	(void)idmap_remove(d->asks, a->id);
	xfree(a->by);
	xfree(a->reason);
	xfree(a->result);
	xfree(a);
}

static void ask_answer(struct decide *d, const struct ask *a)
{
	Holdfast__Frame f = HOLDFAST__FRAME__INIT;
	Holdfast__HeldDecided m = HOLDFAST__HELD_DECIDED__INIT;
	Holdfast__HeldResult *rows = xcalloc(a->n + 1, sizeof(*rows));
	Holdfast__HeldResult **ptr = xcalloc(a->n + 1, sizeof(*ptr));

	for (size_t i = 0; i < a->n; i++) {
		holdfast__held_result__init(&rows[i]);
		rows[i].message_id = pb_bytes(a->result[i].key.b, UUID_LEN);
		rows[i].result = pb_str(plan_result_names[a->result[i].result]);
		rows[i].text = pb_str(a->result[i].text);
		ptr[i] = &rows[i];
	}
	m.mail = ptr;
	m.n_mail = a->n;
	m.matched = a->n;
	m.more = a->more;
	if (a->more)
		m.next = pb_bytes(a->next.b, HELD_KEY_LEN);
	f.body_case = HOLDFAST__FRAME__BODY_HELD_DECIDED;
	f.held_decided = &m;
	bus_answer(d->hq->stage->bus, &a->from, &f, NULL);
	xfree(ptr);
	xfree(rows);
}

void ask_end(struct decide *d, struct ask *a)
{
	ask_answer(d, a);
	ask_free(d, a);
}

/* ---- an ask comes */

static bool first_mark(void *arg, const struct held_key *k)
{
	*(struct held_key *)arg = *k;
	return false;
}

/* What stands in one of the mails' way to be decided at all; NULL: nothing. */
static const char *ask_fault(const Holdfast__HeldDecide *q)
{
	if (q->filter == NULL || filter_check(q->filter) != ERR_OK)
		return "filter";
	if (q->decision != HOLDFAST__DECISION__DECISION_RELEASE &&
	    q->decision != HOLDFAST__DECISION__DECISION_REJECT)
		return "decision";
	if (q->by.len == 0 || q->by.len > HELD_BY_MAX)
		return "by";
	return q->reason.len > REASON_MAX ? "reason" : NULL;
}

/* check_count: all that match must be as many as expected. */
static enum err count_fits(struct holdq *hq, const Holdfast__HeldDecide *q, uint64_t *matched)
{
	ProtobufCBinaryData from = { 0, NULL };
	struct held_key next;
	uint64_t n = 0;
	bool more = true;

	for (int round = 0; more && round < COUNT_STEPS; round++) {
		struct page p;
		enum err err = page_find(hq, q->filter, from, COUNT_STEP, &p);

		if (err != ERR_OK)
			return err;
		n += p.n;
		more = p.more;
		next = p.next;
		from = pb_bytes(next.b, HELD_KEY_LEN);
		page_free(&p);
	}
	*matched = n;
	return more ? ERR_TOOBIG : n == q->expect ? ERR_OK : ERR_RANGE;
}

static void answer_refused(struct holdq *hq, const struct bus_from *from, uint64_t matched)
{
	Holdfast__Frame f = HOLDFAST__FRAME__INIT;
	Holdfast__HeldDecided m = HOLDFAST__HELD_DECIDED__INIT;

	m.matched = matched;
	m.refused = true;
	f.body_case = HOLDFAST__FRAME__BODY_HELD_DECIDED;
	f.held_decided = &m;
	bus_answer(hq->stage->bus, from, &f, NULL);
}

static struct ask *ask_new(struct decide *d, const struct bus_from *from,
                           const Holdfast__HeldDecide *q, const struct page *p)
{
	struct ask *a = xcalloc(1, sizeof(*a));

	a->from = *from;
	a->what = q->decision;
	a->dry_run = q->dry_run;
	a->by = pb_strdup(q->by);
	a->reason = pb_strdup(q->reason);
	a->more = p->more;
	a->next = p->next;
	a->result = xcalloc(p->n + p->n_missing + 1, sizeof(*a->result));
	a->id = idmap_add(d->asks, a);
	TAILQ_INSERT_TAIL(&d->all, a, link);
	return a;
}

static void ask_begin(struct decide *d, const struct bus_from *from,
                      const Holdfast__HeldDecide *q, struct page *p)
{
	struct ask *a = ask_new(d, from, q, p);

	for (size_t i = 0; i < p->n; i++)
		decide_item(d, a, &p->key[i]);
	for (size_t i = 0; i < p->n_missing; i++) {
		struct held_key k = p->missing[i];

		if (store_parts(d->hq->stage->kv, CF_MARK, k.b, first_mark, &k) != ERR_OK)
			k = p->missing[i]; /* the item will meet the same failure and tell */
		decide_item(d, a, &k);
	}
	if (a->n == 0) {
		ask_end(d, a);
		return;
	}
	decide_pump(d);
}

void decide_ask(void *stage, const struct bus_from *from, const Holdfast__Frame *frame,
                struct blob *body)
{
	struct holdq *hq = holdq_of(stage);
	const Holdfast__HeldDecide *q = frame->held_decide;
	const char *fault = ask_fault(q);
	uint64_t matched = 0;
	struct page p;
	enum err err = ERR_OK;

	if (fault != NULL) {
		bus_refuse(hq->stage->bus, from, HOLDFAST__REFUSED__WHY__MALFORMED, fault);
		return;
	}
	if (hq->draining || idmap_count(hq->decide->asks) >= hq->conf->decisions) {
		bus_refuse(hq->stage->bus, from, HOLDFAST__REFUSED__WHY__BUSY, "ask again");
		return;
	}
	if (q->check_count)
		err = count_fits(hq, q, &matched);
	if (err == ERR_RANGE || err == ERR_TOOBIG) {
		answer_refused(hq, from, matched);
		return;
	}
	if (err == ERR_OK)
		err = page_find(hq, q->filter, q->after,
		                q->limit == 0 || q->limit > ASK_LIMIT ? ASK_LIMIT : q->limit, &p);
	if (err != ERR_OK) {
		bus_refuse(hq->stage->bus, from, HOLDFAST__REFUSED__WHY__FAILED, err_text(err));
		return;
	}
	ask_begin(hq->decide, from, q, &p);
	page_free(&p);
}
