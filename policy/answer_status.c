/* policy/answer_status.c - status, ledger and trace
 */
#include "policy/policy.h"

#include <stdio.h>
#include <string.h>
#include "lib/mem.h"
#include "proto/trace.h"

enum { LEDGER_PAGE = 256, TRACE_MAX = 400, DETAIL_MAX = 160 };

void answer_status(void *state, const struct bus_from *from, const Holdfast__Frame *f,
                   struct blob *body)
{
	struct stage *st = state;
	struct policy *p = policy_of(st);
	Holdfast__StatusAnswer m = HOLDFAST__STATUS_ANSWER__INIT;
	Holdfast__Frame answer = HOLDFAST__FRAME__INIT;
	struct kv_stats stats;

	kv_stats_get(p->kv, &stats);
	m.stage = HOLDFAST__ROLE__ROLE_POLICY;
	m.instance = pb_str(st->worker->self->name);
	m.in_flight = idmap_count(p->laters);
	m.unsent_events = outbox_unsent(p->outbox);
	m.started_ms = st->started_ms;
	m.stalled = stats.stalled;
	answer.body_case = HOLDFAST__FRAME__BODY_STATUS_ANSWER;
	answer.status_answer = &m;
	bus_answer(p->bus, from, &answer, NULL);
}

/* ---- ledger */

static void ledger_row(const struct account *a, Holdfast__LedgerRow *r)
{
	const uint64_t *e = a->figures.ends;

	holdfast__ledger_row__init(r);
	r->account = pb_str(a->name);
	r->accepted = e[0];
	r->delivered = e[1];
	r->bounced = e[2];
	r->expired = e[3];
	r->suppressed = e[4];
	r->rejected = e[5];
	r->cancelled = e[6];
}

static void send_ledger(struct policy *p, const struct bus_from *from,
                        Holdfast__LedgerRow *rows, size_t n, bool more)
{
	Holdfast__LedgerAnswer m = HOLDFAST__LEDGER_ANSWER__INIT;
	Holdfast__Frame answer = HOLDFAST__FRAME__INIT;
	Holdfast__LedgerRow *row[LEDGER_PAGE];

	for (size_t i = 0; i < n; i++)
		row[i] = &rows[i];
	m.row = row;
	m.n_row = n;
	m.more = more;
	answer.body_case = HOLDFAST__FRAME__BODY_LEDGER_ANSWER;
	answer.ledger_answer = &m;
	bus_answer(p->bus, from, &answer, NULL);
}

/* Names in order from the store; figures from memory, which is never behind. */
void answer_ledger(void *state, const struct bus_from *from, const Holdfast__Frame *f,
                   struct blob *body)
{
	struct policy *p = policy_of(state);
	const Holdfast__LedgerQuery *q = f->ledger_query;
	Holdfast__LedgerRow rows[LEDGER_PAGE];
	const struct account *a;
	struct kv_iter *it;
	bool more = false;
	size_t n = 0;

	if (q->account.len > 0) {
		a = accounts_find(p, q->account);
		if (a != NULL)
			ledger_row(a, &rows[n++]);
		send_ledger(p, from, rows, n, false);
		return;
	}
	it = kv_iter_new(p->kv, CF_FIGURES, q->after.data, q->after.len, NULL, 0);
	while (!more && kv_iter_next(it)) {
		size_t klen;
		const uint8_t *key = kv_iter_key(it, &klen);

		a = accounts_find(p, pb_bytes(key, klen));
		if (a == NULL || (q->after.len > 0 && pb_is(q->after, a->name)))
			continue;
		more = n == LEDGER_PAGE;
		if (!more)
			ledger_row(a, &rows[n++]);
	}
	(void)kv_iter_free(&it); /* a short page is seen by the sum that does not balance */
	send_ledger(p, from, rows, n, more);
}

/* ---- trace */

static const char *const kind_names[] = {
	"?", "accepted", "delivered", "bounced", "expired", "suppressed", "rejected", "cancelled",
};

static void trace_line(const Holdfast__Event *ev, Holdfast__TraceLine *l, char *detail)
{
	const Holdfast__Evidence *e = ev->evidence;
	int n = 0;

	holdfast__trace_line__init(l);
	l->time_ms = ev->time_ms;
	l->what = pb_str((unsigned)ev->kind < ARRAY_LEN(kind_names) ? kind_names[ev->kind] : "?");
	l->recipient = ev->address;
	detail[0] = '\0';
	if (ev->kind == HOLDFAST__EVENT_KIND__EVENT_ACCEPTED)
		n = snprintf(detail, DETAIL_MAX, "%u recipients", ev->n);
	else if (e != NULL)
		n = snprintf(detail, DETAIL_MAX, "%.*s %u %.*s", (int)e->host.len,
		             (const char *)e->host.data, e->code, (int)e->text.len,
		             (const char *)e->text.data);
	l->detail = pb_bytes(detail, n < DETAIL_MAX ? (size_t)n : DETAIL_MAX - 1);
}

struct trace {
	Holdfast__Event *event[TRACE_MAX];
	Holdfast__TraceLine line[TRACE_MAX], *row[TRACE_MAX];
	char detail[TRACE_MAX][DETAIL_MAX];
	size_t n;
};

static void read_trace(struct policy *p, const uint8_t *id, struct trace *t)
{
	struct buf end = BUF_INIT;
	struct kv_iter *it;

	buf_add(&end, id, UUID_LEN);
	key_end(&end);
	buf_add(&end, "\xff\xff\xff\xff\xff\xff\xff\xff\xff", 9);
	it = kv_iter_new(p->kv, CF_TRACE, id, UUID_LEN, end.data, end.len);
	while (t->n < TRACE_MAX && kv_iter_next(it)) {
		size_t len;
		const void *v = kv_iter_value(it, &len);
		Holdfast__Event *ev = holdfast__event__unpack(NULL, len, v);

		if (ev == NULL)
			continue;
		t->event[t->n] = ev;
		trace_line(ev, &t->line[t->n], t->detail[t->n]);
		t->row[t->n] = &t->line[t->n];
		t->n++;
	}
	(void)kv_iter_free(&it); /* a trace tells what can be read */
	buf_free(&end);
}

void answer_trace(void *state, const struct bus_from *from, const Holdfast__Frame *f,
                  struct blob *body)
{
	struct policy *p = policy_of(state);
	Holdfast__TraceAnswer m = HOLDFAST__TRACE_ANSWER__INIT;
	struct trace *t;

	if (f->trace_query->message_id.len != UUID_LEN) {
		bus_refuse(p->bus, from, HOLDFAST__REFUSED__WHY__MALFORMED, "id");
		return;
	}
	t = xcalloc(1, sizeof(*t));
	read_trace(p, f->trace_query->message_id.data, t);
	m.line = t->row;
	m.n_line = t->n;
	trace_answer(p->bus, from, &m);
	for (size_t i = 0; i < t->n; i++)
		holdfast__event__free_unpacked(t->event[i], NULL);
	xfree(t);
}
