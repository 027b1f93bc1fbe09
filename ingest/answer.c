/* ingest/answer.c - what operators ask: status, ledger, trace
 *
 * Reads the spool and counters; changes nothing.  The ledger counts the spool by
 * walking it: mail that waits here is not yet counted as accepted anywhere.
 */
#include "ingest/ingest.h"

#include <stdlib.h>
#include <string.h>
#include "ingest/spool.h"
#include "lib/mem.h"
#include "proto/trace.h"
#define uthash_malloc(n) xmalloc(n)
#define uthash_free(p, n) xfree(p)
#include <uthash.h>

#define LEDGER_PAGE 256
#define TRACE_LINES 256

void ingest_answer_status(void *state, const struct bus_from *from, const Holdfast__Frame *f,
                   struct blob *body)
{
	struct stage *st = state;
	struct ingest *in = ingest_of(st);
	struct spool_stats ss = spool_stats(in->spool);
	Holdfast__Frame frame = HOLDFAST__FRAME__INIT;
	Holdfast__StatusAnswer a = HOLDFAST__STATUS_ANSWER__INIT;
	struct kv_stats ks;

	kv_stats_get(st->kv, &ks);
	a.stage = HOLDFAST__ROLE__ROLE_INGEST;
	a.instance = pb_str(st->worker->self->name);
	a.depth = ss.parts;
	a.recipients = ss.recipients;
	a.oldest_ms = ss.oldest_ms;
	a.in_flight = in->n_sessions;
	a.started_ms = st->started_ms;
	a.stalled = ks.stalled;
	frame.body_case = HOLDFAST__FRAME__BODY_STATUS_ANSWER;
	frame.status_answer = &a;
	bus_answer(st->bus, from, &frame, NULL);
}

struct row {
	UT_hash_handle hh;
	uint64_t spooled;
	size_t   len;
	char     account[];
};

static void row_count(struct row **rows, const Holdfast__Envelope *env)
{
	struct row *r;

	HASH_FIND(hh, *rows, env->account.data, env->account.len, r);
	if (r == NULL) {
		r = xcalloc(1, sizeof(*r) + env->account.len + 1);
		r->len = env->account.len;
		if (r->len > 0)
			memcpy(r->account, env->account.data, r->len);
		HASH_ADD_KEYPTR(hh, *rows, r->account, r->len, r);
	}
	r->spooled += env->n_rcpt;
}

static int by_account(const struct row *a, const struct row *b)
{
	return strcmp(a->account, b->account);
}

/* Does a ledger question want this account? */
static bool wanted(const Holdfast__LedgerQuery *q, const Holdfast__Envelope *env)
{
	size_t n = env->account.len < q->after.len ? env->account.len : q->after.len;
	int cmp;

	if (q->account.len > 0)
		return env->account.len == q->account.len &&
		       memcmp(env->account.data, q->account.data, q->account.len) == 0;
	if (q->after.len == 0)
		return true;
	cmp = n > 0 ? memcmp(env->account.data, q->after.data, n) : 0;
	return cmp > 0 || (cmp == 0 && env->account.len > q->after.len);
}

static enum err rows_collect(struct stage *st, const Holdfast__LedgerQuery *q, struct row **rows)
{
	struct kv_iter *it = kv_iter_new(st->kv, CF_PART, "", 0, NULL, 0);

	while (kv_iter_next(it)) {
		size_t len;
		const void *v = kv_iter_value(it, &len);
		struct store_dest dest;
		Holdfast__Envelope *env;

		if (store_record_parse(v, len, &dest, &env) != ERR_OK)
			continue; /* named at start and when its turn came */
		if (wanted(q, env))
			row_count(rows, env);
		holdfast__envelope__free_unpacked(env, NULL);
	}
	return kv_iter_free(&it);
}

static void rows_answer(struct stage *st, const struct bus_from *from, struct row *rows)
{
	Holdfast__Frame frame = HOLDFAST__FRAME__INIT;
	Holdfast__LedgerAnswer a = HOLDFAST__LEDGER_ANSWER__INIT;
	Holdfast__LedgerRow *lr = xcalloc(LEDGER_PAGE, sizeof(*lr));
	Holdfast__LedgerRow *ptr[LEDGER_PAGE];
	struct row *r, *tmp;

	HASH_ITER(hh, rows, r, tmp) {
		if (a.n_row == LEDGER_PAGE) {
			a.more = true;
			break;
		}
		holdfast__ledger_row__init(&lr[a.n_row]);
		lr[a.n_row].account = pb_bytes(r->account, r->len);
		lr[a.n_row].spooled = r->spooled;
		ptr[a.n_row] = &lr[a.n_row];
		a.n_row++;
	}
	a.row = ptr;
	frame.body_case = HOLDFAST__FRAME__BODY_LEDGER_ANSWER;
	frame.ledger_answer = &a;
	bus_answer(st->bus, from, &frame, NULL);
	xfree(lr);
}

void ingest_answer_ledger(void *state, const struct bus_from *from, const Holdfast__Frame *f,
                   struct blob *body)
{
	struct stage *st = state;
	struct row *rows = NULL, *r, *tmp;
	enum err err = rows_collect(st, f->ledger_query, &rows);

	HASH_SORT(rows, by_account);
	if (err == ERR_OK)
		rows_answer(st, from, rows);
	else
		bus_refuse(st->bus, from, HOLDFAST__REFUSED__WHY__FAILED, err_text(err));
	HASH_ITER(hh, rows, r, tmp) {
		HASH_DEL(rows, r);
		xfree(r);
	}
}

/* Add a line for each recipient of a spooled part. */
static void trace_part(Holdfast__TraceAnswer *a, const struct store_dest *dest,
                       const Holdfast__Envelope *env)
{
	for (size_t i = 0; i < env->n_rcpt && a->n_line < TRACE_LINES; i++) {
		Holdfast__TraceLine *l = xmalloc(sizeof(*l));

		holdfast__trace_line__init(l);
		l->time_ms = env->received_ms;
		l->what = pb_str("spooled");
		l->recipient.len = env->rcpt[i]->address.len;
		l->recipient.data = xmemdup(env->rcpt[i]->address.data, l->recipient.len);
		l->detail.len = strlen(dest->name);
		l->detail.data = xmemdup(dest->name, l->detail.len);
		a->line[a->n_line++] = l;
	}
}

void ingest_answer_trace(void *state, const struct bus_from *from, const Holdfast__Frame *f,
                  struct blob *body)
{
	struct stage *st = state;
	Holdfast__TraceAnswer a = HOLDFAST__TRACE_ANSWER__INIT;
	Holdfast__TraceLine *lines[TRACE_LINES];
	uint8_t lo[STORE_PART_KEY], hi[UUID_LEN];
	struct kv_iter *it;
	struct store_id id = { 0 };

	if (f->trace_query->message_id.len != UUID_LEN) {
		bus_refuse(st->bus, from, HOLDFAST__REFUSED__WHY__MALFORMED, "message_id");
		return;
	}
	memcpy(id.message.b, f->trace_query->message_id.data, UUID_LEN);
	store_part_key(&id, lo);
	store_after(id.message.b, UUID_LEN, hi);
	a.line = lines;
	it = kv_iter_new(st->kv, CF_PART, lo, sizeof(lo), hi, sizeof(hi));
	while (kv_iter_next(it)) {
		size_t len;
		const void *v = kv_iter_value(it, &len);
		struct store_dest dest;
		Holdfast__Envelope *env;

		if (store_record_parse(v, len, &dest, &env) != ERR_OK)
			continue;
		trace_part(&a, &dest, env);
		holdfast__envelope__free_unpacked(env, NULL);
	}
	if (kv_iter_free(&it) == ERR_OK)
		trace_answer(st->bus, from, &a);
	else
		bus_refuse(st->bus, from, HOLDFAST__REFUSED__WHY__FAILED, "store");
	for (size_t i = 0; i < a.n_line; i++) {
		xfree(lines[i]->recipient.data);
		xfree(lines[i]->detail.data);
		xfree(lines[i]);
	}
}
