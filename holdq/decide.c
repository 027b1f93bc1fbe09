/* holdq/decide.c - release and reject of one mail, from its turn to its end
 *
 * An item is at work at most once for one mail: a second one waits until the first has ended
 * and then finds what became of it.  At most conf->rechecks items are at work at once; the others
 * stand in a line.  Read bottom to top in time order: start, recheck, commit, written, ended.
 */
#include "holdq/decide.h"

#include <assert.h>
#include <string.h>
#include "holdq/report.h"
#include "lib/log.h"
#include "proto/smtp_addr.h"

#define RECHECK_KEYS 200 /* recipients in one RecheckQuery: fits a frame */

static void recheck(struct decide *d, struct item *it);

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
	if (--a->open == 0)
		ask_end(d, a);
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
	decide_pump(hq->decide);
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
	decide_pump(hq->decide);
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

void decide_pump(struct decide *d)
{
	struct item *it;

	while (HASH_COUNT(d->busy) < d->hq->conf->rechecks && !kv_full(d->hq->stage->kv) &&
	       (it = TAILQ_FIRST(&d->ready)) != NULL)
		item_start(d, it);
}

void decide_item(struct decide *d, struct ask *a, const struct held_key *k)
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
