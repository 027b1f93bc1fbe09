/* delivery/answer.c - see answer.h
 *
 * Reads only.  A ledger or trace walks the store, so these are for people and not for
 * every message; pages and lines are bounded.
 */
#include <stdio.h>
#include <string.h>
#include "delivery/answer.h"
#include "delivery/pool.h"
#include "delivery/queue.h"
#include "delivery/tally.h"
#include "lib/log.h"
#include "proto/trace.h"

#define LEDGER_PAGE 256
#define TRACE_LINES 1000

void answer_status(void *state, const struct bus_from *from, const Holdfast__Frame *frame,
                   struct blob *body)
{
	struct stage *s = state;
	struct delivery *d = s->state;
	Holdfast__Frame f = HOLDFAST__FRAME__INIT;
	Holdfast__StatusAnswer a = HOLDFAST__STATUS_ANSWER__INIT;

	a.stage = HOLDFAST__ROLE__ROLE_DELIVERY;
	a.instance = pb_str(s->worker->self->name);
	a.depth = tally_parts(d->tally);
	a.recipients = tally_recipients(d->tally);
	a.oldest_ms = a.depth > 0 ? store_oldest(s->kv, d->queue->oldest) : 0;
	a.in_flight = d->pool->in_flight;
	a.unsent_events = outbox_unsent(d->outbox);
	a.started_ms = s->started_ms;
	a.stalled = d->stalled;
	f.body_case = HOLDFAST__FRAME__BODY_STATUS_ANSWER;
	f.status_answer = &a;
	bus_answer(s->bus, from, &f, NULL);
}

/* ---- ledger */

/* Counts of one account, gathered from the tally and the outbox. */
struct count {
	UT_hash_handle hh;
	Holdfast__LedgerRow row;
	char account[];
};

struct gather {
	struct count *by_account;
	const char *only;  /* this account, or all */
	const char *after; /* accounts behind this one */
};

static Holdfast__LedgerRow *row_of(struct gather *g, const char *account, size_t len)
{
	struct count *c;

	HASH_FIND(hh, g->by_account, account, len, c);
	if (c == NULL) {
		c = xcalloc(1, sizeof(*c) + len + 1);
		memcpy(c->account, account, len);
		holdfast__ledger_row__init(&c->row);
		c->row.account = pb_bytes(c->account, len);
		HASH_ADD_KEYPTR(hh, g->by_account, c->account, len, c);
	}
	return &c->row;
}

static bool wanted(const struct gather *g, const char *account)
{
	if (*g->only != '\0')
		return strcmp(account, g->only) == 0;
	return *g->after == '\0' || strcmp(account, g->after) > 0;
}

static void gather_queued(void *arg, const char *account, uint64_t recipients)
{
	struct gather *g = arg;

	if (wanted(g, account))
		row_of(g, account, strlen(account))->queued = recipients;
}

static void gather_event(void *arg, const Holdfast__Event *ev)
{
	struct gather *g = arg;
	Holdfast__LedgerRow *row;
	char account[80];

	if (ev->account.len >= sizeof(account))
		return;
	if (ev->account.len > 0)
		memcpy(account, ev->account.data, ev->account.len);
	account[ev->account.len] = '\0';
	if (!wanted(g, account))
		return;
	row = row_of(g, account, ev->account.len);
	switch (ev->kind) {
	case HOLDFAST__EVENT_KIND__EVENT_ACCEPTED:
		row->accepted += ev->n;
		break;
	case HOLDFAST__EVENT_KIND__EVENT_DELIVERED:
		row->delivered++;
		break;
	case HOLDFAST__EVENT_KIND__EVENT_BOUNCED:
		row->bounced++;
		break;
	case HOLDFAST__EVENT_KIND__EVENT_EXPIRED:
		row->expired++;
		break;
	case HOLDFAST__EVENT_KIND__EVENT_SUPPRESSED:
		row->suppressed++;
		break;
	default:
		break;
	}
}

static int by_name(const struct count *a, const struct count *b)
{
	return strcmp(a->account, b->account);
}

static void send_ledger(struct stage *s, const struct bus_from *from, struct gather *g)
{
	Holdfast__Frame f = HOLDFAST__FRAME__INIT;
	Holdfast__LedgerAnswer a = HOLDFAST__LEDGER_ANSWER__INIT;
	Holdfast__LedgerRow *rows[LEDGER_PAGE];
	struct count *c, *next;

	HASH_SORT(g->by_account, by_name);
	a.row = rows;
	HASH_ITER(hh, g->by_account, c, next) {
		a.more = a.n_row == LEDGER_PAGE;
		if (a.more)
			break;
		rows[a.n_row++] = &c->row;
	}
	f.body_case = HOLDFAST__FRAME__BODY_LEDGER_ANSWER;
	f.ledger_answer = &a;
	bus_answer(s->bus, from, &f, NULL);
	HASH_ITER(hh, g->by_account, c, next) {
		HASH_DEL(g->by_account, c);
		xfree(c);
	}
}

void answer_ledger(void *state, const struct bus_from *from, const Holdfast__Frame *frame,
                   struct blob *body)
{
	struct stage *s = state;
	struct delivery *d = s->state;
	char *only = pb_strdup(frame->ledger_query->account);
	char *after = pb_strdup(frame->ledger_query->after);
	struct gather g = { .only = only, .after = after };

	tally_each(d->tally, gather_queued, &g);
	if (outbox_each(d->outbox, gather_event, &g) != ERR_OK)
		log_warn("ledger", LOGS("what", "outbox cannot be read"));
	send_ledger(s, from, &g);
	xfree(after);
	xfree(only);
}

/* ---- trace */

struct trace {
	struct delivery *d;
	Holdfast__TraceLine **line;
	size_t n;
};

/* Add a line; recipient and detail are copied, what is static. */
static void trace_add(struct trace *t, uint64_t ms, const char *what, const char *recipient,
                      char *detail)
{
	Holdfast__TraceLine *l;

	if (t->n == TRACE_LINES) {
		xfree(detail);
		return;
	}
	l = xmalloc(sizeof(*l));
	holdfast__trace_line__init(l);
	l->time_ms = ms;
	l->what = pb_str(what);
	l->recipient = pb_str(xstrdup(recipient));
	l->detail = pb_str(detail);
	t->line[t->n++] = l;
}

static char *last_reply(const struct rcpt *r, uint32_t attempts)
{
	Holdfast__Evidence *e = r->last_len > 0
	    ? holdfast__evidence__unpack(NULL, r->last_len, r->last) : NULL;
	char *s;

	if (e == NULL)
		return xasprintf("attempts %u", attempts);
	s = xasprintf("attempts %u, last: %u %.*s from %.*s[%.*s]", attempts, e->code,
	              (int)e->text.len, (const char *)e->text.data, (int)e->host.len,
	              (const char *)e->host.data, (int)e->ip.len, (const char *)e->ip.data);
	holdfast__evidence__free_unpacked(e, NULL);
	return s;
}

static void trace_part(void *arg, const struct part *p)
{
	struct trace *t = arg;
	bool active;

	if (p == NULL)
		return;
	active = queue_find(t->d->queue, p->key) != NULL;
	trace_add(t, p->taken_ms, "queued", "",
	          xasprintf("part %u, %llu bytes, sender <%s>", part_number(p),
	                    (unsigned long long)p->size, p->mail_from));
	for (uint32_t i = 0; i < p->n_rcpt; i++) {
		const struct rcpt *r = &p->rcpt[i];

		if (r->ended)
			continue;
		trace_add(t, active ? p->taken_ms : p->due_ms, active ? "active" : "retry",
		          r->addr, last_reply(r, p->attempts));
	}
}

static void trace_ended(void *arg, uint32_t part, uint64_t ended_ms)
{
	trace_add(arg, ended_ms, "ended", "", xasprintf("part %u", part));
}

void answer_trace(void *state, const struct bus_from *from, const Holdfast__Frame *frame,
                  struct blob *body)
{
	struct stage *s = state;
	struct trace t = { .d = s->state };
	Holdfast__TraceAnswer a = HOLDFAST__TRACE_ANSWER__INIT;
	const ProtobufCBinaryData id = frame->trace_query->message_id;

	if (id.len != 16) {
		bus_refuse(s->bus, from, HOLDFAST__REFUSED__WHY__MALFORMED, "message id");
		return;
	}
	t.line = xcalloc(TRACE_LINES, sizeof(*t.line));
	if (store_each_part(s->kv, id.data, true, trace_part, &t) != ERR_OK ||
	    store_each_taken(s->kv, id.data, trace_ended, &t) != ERR_OK)
		log_warn("trace", LOGS("what", "store cannot be read"));
	a.line = t.line;
	a.n_line = t.n;
	trace_answer(s->bus, from, &a);
	for (size_t i = 0; i < t.n; i++) {
		xfree(t.line[i]->recipient.data);
		xfree(t.line[i]->detail.data);
		xfree(t.line[i]);
	}
	xfree(t.line);
}
