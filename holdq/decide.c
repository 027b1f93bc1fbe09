/* holdq/decide.c - release and reject: one question about many mails, each decided for itself
 *
 * An ask (HeldDecide) is split into items, one a mail.  An item is at work at most once for
 * one mail: a second one waits until the first has ended and then finds what became
 * of it.  At most conf->rechecks items are at work at once; the others stand in a line.
 * Read bottom to top in time order: start, recheck, commit, written, ended.
 */
#include "holdq/holdq.h"

#include <assert.h>
#include <string.h>
#include "holdq/filter.h"
#include "holdq/report.h"
#include "lib/log.h"
#include "proto/smtp_addr.h"

#define ASK_LIMIT    256
#define RECHECK_KEYS 200     /* recipients in one RecheckQuery: fits a frame */
#define COUNT_MAX    16384   /* records examined for check_count */
#define REASON_MAX   500

/* Where an item is and what it waits for. */
enum item_state {
	ITEM_READY,    /* in d->ready: for its turn */
	ITEM_WAITING,  /* in d->waiting: another item is at work on the same mail */
	ITEM_RECHECK,  /* at work, in d->busy: for policy's answer */
	ITEM_WRITING,  /* at work, in d->busy: for the sync */
};

struct item {
	TAILQ_ENTRY(item) link;
	UT_hash_handle hh;      /* in busy, by key */
	enum item_state state;
	uint64_t id, ask_id;
	struct held_key key;
	size_t slot;            /* of its result in the ask */
	struct held *held;      /* while at work */
	struct held *report;    /* to the sender of a rejected mail, or NULL */
	uint8_t *rcpt_class;    /* policy's answers, by recipient */
	size_t checked;
	enum plan_result planned; /* what it ends with once it is durable */
	uint64_t n_suppressed;
};
TAILQ_HEAD(item_list, item);

struct ask {
	uint64_t id;
	struct bus_from from;
	Holdfast__Decision what;
	bool dry_run, more;
	struct held_key next;
	char *by, *reason;
	size_t n, open;
	struct result { struct held_key key; enum plan_result result; char text[80]; } *result;
	TAILQ_ENTRY(ask) link;
};
TAILQ_HEAD(ask_list, ask);

struct decide {
	struct holdq *hq;
	struct idmap *asks, *items;
	struct ask_list all;
	struct item_list ready, waiting;
	struct item *busy;
	size_t n_ready, n_waiting;
};

static void recheck(struct decide *d, struct item *it);
static void pump(struct decide *d);

struct decide *decide_new(struct holdq *hq)
{
	struct decide *d = xcalloc(1, sizeof(*d));

	d->hq = hq;
	d->asks = idmap_new();
	d->items = idmap_new();
	TAILQ_INIT(&d->all);
	TAILQ_INIT(&d->ready);
	TAILQ_INIT(&d->waiting);
	return d;
}

size_t decide_in_flight(const struct decide *d)
{
	return idmap_count(d->asks);
}

/* ---- the end of an ask */

static void ask_free(struct decide *d, struct ask *a)
{
	TAILQ_REMOVE(&d->all, a, link);
	(void)idmap_remove(d->asks, a->id);
	xfree(a->by);
	xfree(a->reason);
	xfree(a->result);
	xfree(a);
}

static void ask_answer(struct decide *d, struct ask *a, uint64_t matched)
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
	m.matched = matched;
	m.more = a->more;
	if (a->more)
		m.next = pb_bytes(a->next.b, HELD_KEY_LEN);
	f.body_case = HOLDFAST__FRAME__BODY_HELD_DECIDED;
	f.held_decided = &m;
	bus_answer(d->hq->stage->bus, &a->from, &f, NULL);
	xfree(ptr);
	xfree(rows);
}

/* ---- the end of an item */

static void item_release(struct decide *d, struct item *it)
{
	(void)idmap_remove(d->items, it->id);
	held_free(&it->held);
	held_free(&it->report);
	xfree(it->rcpt_class);
	xfree(it);
}

/* The only place where an item leaves its list or enters one. */
static void item_move(struct decide *d, struct item *it, enum item_state to)
{
	if (it->state == ITEM_READY) {
		TAILQ_REMOVE(&d->ready, it, link);
		d->n_ready--;
	} else if (it->state == ITEM_WAITING) {
		TAILQ_REMOVE(&d->waiting, it, link);
		d->n_waiting--;
	}
	it->state = to;
	if (to == ITEM_READY) {
		TAILQ_INSERT_TAIL(&d->ready, it, link);
		d->n_ready++;
	} else if (to == ITEM_WAITING) {
		TAILQ_INSERT_TAIL(&d->waiting, it, link);
		d->n_waiting++;
	}
}

static bool at_work(const struct item *it)
{
	return it->state == ITEM_RECHECK || it->state == ITEM_WRITING;
}

static void wake_waiting(struct decide *d, const struct held_key *k)
{
	struct item *it, *next;

	for (it = TAILQ_FIRST(&d->waiting); it != NULL; it = next) {
		next = TAILQ_NEXT(it, link);
		if (memcmp(&it->key, k, sizeof(*k)) == 0)
			item_move(d, it, ITEM_READY);
	}
}

static void item_end(struct decide *d, struct item *it, enum plan_result result, const char *text)
{
	struct ask *a = idmap_get(d->asks, it->ask_id);
	struct held_key key = it->key;
	struct uuid id = held_key_id(&key);
	bool worked = at_work(it);

	assert(a != NULL && a->open > 0);
	a->result[it->slot].result = result;
	(void)snprintf(a->result[it->slot].text, sizeof(a->result[0].text), "%s", text);
	if (!a->dry_run) {
		log_info("decided", LOGID(&id), LOGS("result", plan_result_names[result]),
		         LOGS("by", a->by), LOGS("why", text));
		metric_add_label(d->hq->stage->metrics, HM_DECIDED, result, 1);
	}
	if (worked)
		HASH_DEL(d->busy, it);
	else
		item_move(d, it, ITEM_RECHECK); /* leaves its line */
	item_release(d, it);
	if (worked)
		wake_waiting(d, &key);
	if (--a->open == 0) {
		ask_answer(d, a, a->n);
		ask_free(d, a);
	}
}

/* ---- the decision becomes durable */

static void on_written(enum err err, void *owner, uint64_t id)
{
	struct holdq *hq = owner;
	struct item *it;
	Holdfast__Envelope *e;
	char text[80] = "";

	if (hq->closed)
		return;
	it = idmap_get(hq->decide->items, id);
	assert(it != NULL && it->state == ITEM_WRITING);
	if (err != ERR_OK) {
		item_end(hq->decide, it, PLAN_FAILED, "the store failed");
		return;
	}
	e = it->held->env;
	count_add(hq->count, e->account.data, e->account.len,
	          it->held->state == HELD_GONE ? -1 : 0, -(int64_t)it->n_suppressed);
	if (it->held->state == HELD_RELEASING)
		handover_added(hq->handover, it->held);
	if (it->report != NULL)
		report_durable(hq, it->report);
	if (it->planned == PLAN_PARTIAL)
		(void)snprintf(text, sizeof(text), "%llu of %zu recipients are on a list",
		               (unsigned long long)it->n_suppressed, e->n_rcpt);
	outbox_kick(hq->outbox);
	item_end(hq->decide, it, it->planned, text);
	pump(hq->decide);
}

/* The normalised form of an address; the address itself where it has none. */
static void rcpt_key(ProtobufCBinaryData a, struct buf *out)
{
	if (smtp_addr_key((const char *)a.data, a.len, out) == ERR_OK)
		return;
	buf_reset(out);
	buf_add(out, a.data, a.len);
}

static void add_end(struct holdq *hq, struct kv_batch *b, const struct held *h, size_t i,
                    Holdfast__EventKind kind)
{
	Holdfast__Event ev = HOLDFAST__EVENT__INIT;
	struct buf key = BUF_INIT;

	rcpt_key(h->env->rcpt[i]->address, &key);
	ev.kind = kind;
	ev.account = h->env->account;
	ev.message_id = h->env->message_id;
	ev.index = h->env->rcpt[i]->index;
	ev.address = h->env->rcpt[i]->address;
	ev.key = pb_bytes(buf_str(&key), key.len);
	ev.time_ms = clock_wall_ms();
	outbox_add(hq->outbox, b, &ev);
	buf_free(&key);
}

static void add_trail(struct holdq *hq, struct kv_batch *b, const struct item *it,
                      const struct ask *a)
{
	char *account = pb_strdup(it->held->env->account);
	struct held_mark m = { .at_ms = clock_wall_ms(), .result = (uint8_t)a->what };
	struct audit_act act = {
		.time_ms = m.at_ms, .key = it->key, .by = a->by, .account = account,
		.what = a->what == HOLDFAST__DECISION__DECISION_RELEASE ? "release" : "reject",
		.detail = a->reason[0] != '\0' ? a->reason : plan_result_names[it->planned],
	};

	(void)snprintf(m.by, sizeof(m.by), "%s", a->by);
	store_mark(b, &it->key, &m);
	audit_add(hq->audit, b, &act);
	xfree(account);
}

static void item_write(struct decide *d, struct item *it, struct kv_batch **b)
{
	item_move(d, it, ITEM_WRITING);
	kv_write(d->hq->stage->kv, b, on_written, d->hq, it->id);
}

static void commit_release(struct decide *d, struct item *it)
{
	struct ask *a = idmap_get(d->asks, it->ask_id);
	struct held *h = it->held;
	struct kv_batch *b = kv_batch_new();

	it->planned = plan_release(h, it->rcpt_class, handover_route, d->hq);
	for (size_t i = 0; i < h->env->n_rcpt; i++) {
		if (it->rcpt_class[i] == HOLDFAST__VERDICT_CLASS__VERDICT_OK)
			continue;
		add_end(d->hq, b, h, i, HOLDFAST__EVENT_KIND__EVENT_SUPPRESSED);
		it->n_suppressed++;
	}
	if (h->state == HELD_GONE)
		store_del(b, h);
	else
		store_change(b, h);
	add_trail(d->hq, b, it, a);
	item_write(d, it, &b);
}

static void commit_reject(struct decide *d, struct item *it)
{
	struct ask *a = idmap_get(d->asks, it->ask_id);
	struct held *h = it->held;
	struct kv_batch *b = kv_batch_new();

	it->planned = PLAN_REJECTED;
	it->n_suppressed = h->env->n_rcpt;
	for (size_t i = 0; i < h->env->n_rcpt; i++)
		add_end(d->hq, b, h, i, HOLDFAST__EVENT_KIND__EVENT_REJECTED);
	it->report = report_add(d->hq, b, h, a->reason);
	plan_become(h, HELD_GONE);
	store_del(b, h);
	add_trail(d->hq, b, it, a);
	item_write(d, it, &b);
}

/* ---- what policy says now */

static const char *const cannot_texts[] = {
	[HOLDFAST__CANNOT_SEND__CANNOT_NONE] = "the account cannot send",
	[HOLDFAST__CANNOT_SEND__CANNOT_PENDING] = "the account is not activated",
	[HOLDFAST__CANNOT_SEND__CANNOT_DISABLED] = "the account is disabled",
	[HOLDFAST__CANNOT_SEND__CANNOT_QUOTA_SOON] = "the account's quota is used up",
	[HOLDFAST__CANNOT_SEND__CANNOT_QUOTA] = "the account's quota is used up",
	[HOLDFAST__CANNOT_SEND__CANNOT_UNKNOWN] = "the account does not exist",
};

/* Take one answer; the result that ends the item, or PLAN_GO. */
static enum plan_result take_answer(struct item *it, const Holdfast__RecheckAnswer *a,
                                    const char **text)
{
	size_t left = it->held->env->n_rcpt - it->checked;
	size_t n = left < RECHECK_KEYS ? left : RECHECK_KEYS;

	*text = "policy's answer does not fit";
	if (a->account == NULL || a->n_rcpt != n)
		return PLAN_LATER;
	if (a->account->class_ == HOLDFAST__VERDICT_CLASS__VERDICT_CANNOT_SEND) {
		size_t why = (size_t)a->account->cannot;

		*text = cannot_texts[why < ARRAY_LEN(cannot_texts) ? why : 0];
		return PLAN_REFUSED;
	}
	for (size_t i = 0; i < n; i++)
		it->rcpt_class[it->checked + i] = (uint8_t)a->rcpt[i]->class_;
	it->checked += n;
	return PLAN_GO;
}

static void on_recheck(enum err err, const Holdfast__Frame *frame, struct blob *body, void *owner,
                       uint64_t id)
{
	struct holdq *hq = owner;
	struct item *it = hq->closed ? NULL : idmap_get(hq->decide->items, id);
	const char *text = "policy is out of reach";
	enum plan_result r = PLAN_LATER;

	if (it == NULL)
		return;
	if (err == ERR_OK && frame->body_case == HOLDFAST__FRAME__BODY_RECHECK_ANSWER)
		r = take_answer(it, frame->recheck_answer, &text);
	if (r != PLAN_GO)
		item_end(hq->decide, it, r, text);
	else if (it->checked < it->held->env->n_rcpt)
		recheck(hq->decide, it);
	else
		commit_release(hq->decide, it);
	pump(hq->decide);
}

/* Ask policy about the next recipients.  Resumes in on_recheck(). */
static void recheck(struct decide *d, struct item *it)
{
	const Holdfast__Envelope *e = it->held->env;
	size_t left = e->n_rcpt - it->checked;
	size_t n = left < RECHECK_KEYS ? left : RECHECK_KEYS;
	struct buf key[RECHECK_KEYS] = { BUF_INIT };
	ProtobufCBinaryData ptr[RECHECK_KEYS];
	Holdfast__Frame f = HOLDFAST__FRAME__INIT;
	Holdfast__RecheckQuery q = HOLDFAST__RECHECK_QUERY__INIT;
	struct bus_to to = { HOLDFAST__ROLE__ROLE_POLICY, 0 };
	enum err err;

	for (size_t i = 0; i < n; i++) {
		rcpt_key(e->rcpt[it->checked + i]->address, &key[i]);
		ptr[i] = pb_bytes(buf_str(&key[i]), key[i].len);
	}
	q.account = e->account;
	q.key = ptr;
	q.n_key = n;
	f.body_case = HOLDFAST__FRAME__BODY_RECHECK_QUERY;
	f.recheck_query = &q;
	to.instance = bus_shard(d->hq->stage->bus, to.stage, e->account.data, e->account.len);
	err = bus_ask(d->hq->stage->bus, to, &f, NULL, (uint32_t)d->hq->conf->recheck_wait_ms,
	              on_recheck, d->hq, it->id);
	for (size_t i = 0; i < n; i++)
		buf_free(&key[i]);
	if (err != ERR_OK)
		item_end(d, it, PLAN_LATER, "too many questions wait for policy");
}

/* ---- an item's turn */

static void item_start(struct decide *d, struct item *it)
{
	struct ask *a = idmap_get(d->asks, it->ask_id);
	struct item *other;
	struct held_mark mark;
	struct held *h = NULL;
	enum plan_result r;
	enum err err;

	HASH_FIND(hh, d->busy, &it->key, sizeof(it->key), other);
	if (other != NULL) {
		item_move(d, it, ITEM_WAITING);
		return;
	}
	err = store_get(d->hq->stage->kv, &it->key, &h);
	if (err != ERR_OK && err != ERR_NOENT) {
		item_end(d, it, PLAN_FAILED, err_text(err));
		return;
	}
	r = plan_start(h == NULL ? HELD_GONE : h->state,
	               store_mark_get(d->hq->stage->kv, &it->key, &mark) == ERR_OK, a->what,
	               a->dry_run);
	if (r != PLAN_GO) {
		held_free(&h);
		item_end(d, it, r, "");
		return;
	}
	it->held = h;
	it->rcpt_class = xcalloc(h->env->n_rcpt, 1);
	item_move(d, it, ITEM_RECHECK);
	HASH_ADD(hh, d->busy, key, sizeof(it->key), it);
	if (a->what == HOLDFAST__DECISION__DECISION_RELEASE)
		recheck(d, it);
	else
		commit_reject(d, it);
}

static void pump(struct decide *d)
{
	struct item *it;

	while (HASH_COUNT(d->busy) < d->hq->conf->rechecks && !kv_full(d->hq->stage->kv) &&
	       (it = TAILQ_FIRST(&d->ready)) != NULL)
		item_start(d, it);
}

void decide_tick(struct decide *d)
{
	pump(d); /* what a full store had stopped */
}

/* ---- an ask comes */

static bool first_mark(void *arg, const struct held_key *k)
{
	*(struct held_key *)arg = *k;
	return false;
}

static void ask_item(struct decide *d, struct ask *a, const struct held_key *k)
{
	struct item *it = xcalloc(1, sizeof(*it));

	it->key = *k;
	it->ask_id = a->id;
	it->slot = a->n++;
	a->result[it->slot].key = *k;
	a->open++;
	it->id = idmap_add(d->items, it);
	it->state = ITEM_RECHECK; /* in no line yet */
	item_move(d, it, ITEM_READY);
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

	for (int round = 0; more && round < COUNT_MAX / 4096; round++) {
		struct page p;
		enum err err = page_find(hq, q->filter, from, 4096, &p);

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
		ask_item(d, a, &p->key[i]);
	for (size_t i = 0; i < p->n_missing; i++) {
		struct held_key k = p->missing[i];

		(void)store_parts(d->hq->stage->kv, CF_MARK, k.b, first_mark, &k);
		ask_item(d, a, &k);
	}
	if (a->n == 0) {
		ask_answer(d, a, 0);
		ask_free(d, a);
		return;
	}
	pump(d);
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

void decide_free(struct decide **dp)
{
	struct decide *d = *dp;
	struct item *it, *next;
	struct ask *a;

	if (d == NULL)
		return;
	HASH_ITER(hh, d->busy, it, next) {
		HASH_DEL(d->busy, it);
		item_release(d, it);
	}
	TAILQ_CONCAT(&d->ready, &d->waiting, link);
	while ((it = TAILQ_FIRST(&d->ready)) != NULL) {
		TAILQ_REMOVE(&d->ready, it, link);
		item_release(d, it);
	}
	while ((a = TAILQ_FIRST(&d->all)) != NULL)
		ask_free(d, a);
	idmap_free(&d->asks);
	idmap_free(&d->items);
	xfree(d);
	*dp = NULL;
}
