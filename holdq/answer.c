/* holdq/answer.c - what operators ask: status, ledger, trace
 *
 * Reads only.  Each answer is bounded: a page of the ledger, the first lines of a trace.
 */
#include "holdq/holdq.h"

#include <string.h>
#include "proto/trace.h"
#include "proto/verdict.h"

#define LEDGER_ROWS 256

/* ---- status */

void answer_status(void *stage, const struct bus_from *from, const Holdfast__Frame *frame,
                   struct blob *body)
{
	struct holdq *hq = holdq_of(stage);
	Holdfast__Frame f = HOLDFAST__FRAME__INIT;
	Holdfast__StatusAnswer a = HOLDFAST__STATUS_ANSWER__INIT;
	struct kv_stats st;

	kv_stats_get(hq->stage->kv, &st);
	a.stage = HOLDFAST__ROLE__ROLE_HOLDQ;
	a.instance = pb_str(hq->stage->worker->self->name);
	a.depth = count_mails(hq->count);
	a.recipients = count_rcpts(hq->count);
	a.oldest_ms = holdq_oldest(hq);
	a.in_flight = accept_in_flight(hq) + decide_in_flight(hq->decide) +
	              handover_in_flight(hq->handover);
	a.unsent_events = outbox_unsent(hq->outbox);
	a.started_ms = hq->stage->started_ms;
	a.stalled = st.stalled || st.failed;
	f.body_case = HOLDFAST__FRAME__BODY_STATUS_ANSWER;
	f.status_answer = &a;
	bus_answer(hq->stage->bus, from, &f, NULL);
}

/* ---- ledger */

struct row {
	UT_hash_handle hh;
	Holdfast__LedgerRow pb;
	char account[];
};

struct ledger {
	struct row *rows;
	ProtobufCBinaryData only, after; /* empty: all, from the start */
};

static int compare(const void *p, size_t len, ProtobufCBinaryData d)
{
	size_t n = len < d.len ? len : d.len;
	int c = n == 0 ? 0 : memcmp(p, d.data, n);

	return c != 0 ? c : len < d.len ? -1 : len > d.len;
}

/* The row of an account, or NULL where it is not asked for. */
static struct row *row_of(struct ledger *l, const void *account, size_t len)
{
	struct row *r;

	if (len == 0 || (l->only.len > 0 && compare(account, len, l->only) != 0))
		return NULL;
	if (l->after.len > 0 && compare(account, len, l->after) <= 0)
		return NULL;
	HASH_FIND(hh, l->rows, account, len, r);
	if (r != NULL)
		return r;
	r = xcalloc(1, sizeof(*r) + len + 1);
	memcpy(r->account, account, len);
	holdfast__ledger_row__init(&r->pb);
	r->pb.account = pb_bytes(r->account, len);
	HASH_ADD_KEYPTR(hh, l->rows, r->account, len, r);
	return r;
}

static void add_held(void *arg, const char *account, uint64_t rcpts)
{
	struct row *r = row_of(arg, account, strlen(account));

	if (r != NULL)
		r->pb.held += rcpts;
}

/* What policy has not heard of yet is told by us. */
static void add_event(void *arg, const Holdfast__Event *ev)
{
	struct row *r = row_of(arg, ev->account.data, ev->account.len);

	if (r == NULL)
		return;
	if (ev->kind == HOLDFAST__EVENT_KIND__EVENT_ACCEPTED)
		r->pb.accepted += ev->n;
	else if (ev->kind == HOLDFAST__EVENT_KIND__EVENT_SUPPRESSED)
		r->pb.suppressed++;
	else if (ev->kind == HOLDFAST__EVENT_KIND__EVENT_REJECTED)
		r->pb.rejected++;
}

static int by_account(struct row *a, struct row *b)
{
	return strcmp(a->account, b->account);
}

void answer_ledger(void *stage, const struct bus_from *from, const Holdfast__Frame *frame,
                   struct blob *body)
{
	struct holdq *hq = holdq_of(stage);
	struct ledger l = { NULL, frame->ledger_query->account, frame->ledger_query->after };
	Holdfast__Frame f = HOLDFAST__FRAME__INIT;
	Holdfast__LedgerAnswer a = HOLDFAST__LEDGER_ANSWER__INIT;
	Holdfast__LedgerRow *ptr[LEDGER_ROWS];
	struct row *r, *next;

	count_each(hq->count, add_held, &l);
	if (outbox_each(hq->outbox, add_event, &l) != ERR_OK) {
		bus_refuse(hq->stage->bus, from, HOLDFAST__REFUSED__WHY__FAILED, "store");
	} else {
		HASH_SORT(l.rows, by_account);
		for (r = l.rows; r != NULL && a.n_row < LEDGER_ROWS; r = r->hh.next)
			ptr[a.n_row++] = &r->pb;
		a.row = ptr;
		a.more = r != NULL;
		f.body_case = HOLDFAST__FRAME__BODY_LEDGER_ANSWER;
		f.ledger_answer = &a;
		bus_answer(hq->stage->bus, from, &f, NULL);
	}
	HASH_ITER(hh, l.rows, r, next) {
		HASH_DEL(l.rows, r);
		xfree(r);
	}
}

/* ---- trace */

#define TRACE_LINES 64

struct trace {
	struct holdq *hq;
	Holdfast__TraceLine line[TRACE_LINES];
	char detail[TRACE_LINES][160];
	size_t n;
};

/* The detail of the next line is filled already. */
static void add_line(struct trace *t, uint64_t ms, const char *what)
{
	Holdfast__TraceLine *l = &t->line[t->n];

	holdfast__trace_line__init(l);
	l->time_ms = ms;
	l->what = pb_str(what);
	l->detail = pb_str(t->detail[t->n++]);
}

static bool trace_record(void *arg, const struct held_key *k)
{
	struct trace *t = arg;
	struct held *h = NULL;

	if (t->n + 1 >= TRACE_LINES)
		return false;
	if (store_get(t->hq->stage->kv, k, &h) != ERR_OK)
		return true;
	(void)snprintf(t->detail[t->n], sizeof(t->detail[0]), "part %u, %zu recipients, %s, now %s",
	               (unsigned)h->env->part, h->env->n_rcpt, hold_reason_name(h->env->hold),
	               held_state_name(h->state));
	add_line(t, h->held_ms, h->state == HELD_REPORT ? "report" : "held");
	held_free(&h);
	return true;
}

static bool trace_mark(void *arg, const struct held_key *k)
{
	struct trace *t = arg;
	struct held_mark m;
	bool released;

	if (t->n + 1 >= TRACE_LINES)
		return false;
	if (store_mark_get(t->hq->stage->kv, k, &m) != ERR_OK)
		return true;
	released = m.result == HOLDFAST__DECISION__DECISION_RELEASE;
	(void)snprintf(t->detail[t->n], sizeof(t->detail[0]), "part %u, by %s",
	               (unsigned)held_key_part(k), m.by);
	add_line(t, m.at_ms, released ? "released" : "rejected");
	return true;
}

void answer_trace(void *stage, const struct bus_from *from, const Holdfast__Frame *frame,
                  struct blob *body)
{
	struct holdq *hq = holdq_of(stage);
	ProtobufCBinaryData id = frame->trace_query->message_id;
	Holdfast__TraceAnswer a = HOLDFAST__TRACE_ANSWER__INIT;
	Holdfast__TraceLine *ptr[TRACE_LINES];
	struct trace t = { .hq = hq };

	if (id.len != UUID_LEN) {
		bus_refuse(hq->stage->bus, from, HOLDFAST__REFUSED__WHY__MALFORMED, "message_id");
		return;
	}
	if (store_parts(hq->stage->kv, CF_META, id.data, trace_record, &t) != ERR_OK ||
	    store_parts(hq->stage->kv, CF_MARK, id.data, trace_mark, &t) != ERR_OK) {
		bus_refuse(hq->stage->bus, from, HOLDFAST__REFUSED__WHY__FAILED, "store");
		return;
	}
	for (size_t i = 0; i < t.n; i++)
		ptr[i] = &t.line[i];
	a.line = ptr;
	a.n_line = t.n;
	trace_answer(hq->stage->bus, from, &a);
}
