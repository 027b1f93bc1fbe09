/* delivery/recheck.c - see recheck.h
 *
 * The bus holds the ids of jobs that are asked about; a job stays JOB_CHECKING until the
 * answer or the deadline, one of which always comes.
 */
#include <string.h>
#include "delivery/finish.h"
#include "delivery/pool.h"
#include "delivery/recheck.h"
#include "lib/clock.h"
#include "lib/log.h"
#include "proto/smtp_addr.h"
#include "proto/verdict.h"

#define YES_HOLDS_MS 30000 /* at least: a job that was asked about is sent or asked again after */

bool recheck_is_due(const struct delivery *d, const struct job *j)
{
	uint64_t now = clock_wall_ms(), age = d->conf->recheck_age_ms;

	if (j->asked && age < YES_HOLDS_MS)
		age = YES_HOLDS_MS;
	return j->part->account[0] != '\0' &&
	       (now < j->checked_ms || now - j->checked_ms >= age);
}

static void suppress(struct delivery *d, struct part *p, struct dest *dest,
                     const uint16_t *rcpt, const Holdfast__Verdict *const *verdict, unsigned n)
{
	struct outcome *o = xcalloc(n, sizeof(*o));

	for (unsigned i = 0; i < n; i++) {
		const char *text = verdict_text(verdict[i]->class_);

		o[i].ending = END_SUPPRESSED;
		o[i].text = text;
		o[i].text_len = strlen(text);
		o[i].rule = verdict_name(verdict[i]->class_);
	}
	finish_job(d, job_new(p, dest, rcpt, n), o);
	xfree(o);
}

/* Take the recipients that are on a list out of j and end them.  j may be left with none. */
static void split(struct delivery *d, struct job *j, const Holdfast__RecheckAnswer *a)
{
	uint16_t *listed = xmalloc(j->n * sizeof(*listed));
	const Holdfast__Verdict **verdict = xmalloc(j->n * sizeof(*verdict));
	unsigned n = 0, kept = 0, total = j->n;

	for (unsigned i = 0; i < total; i++) {
		if (verdict_text(a->rcpt[i]->class_) == NULL) {
			j->rcpt[kept++] = j->rcpt[i];
			continue;
		}
		verdict[n] = a->rcpt[i];
		listed[n++] = j->rcpt[i];
	}
	j->n = (uint16_t)kept;
	if (n > 0) {
		struct part *p = j->part;
		struct dest *dest = j->dest;

		if (kept == 0)
			job_free(&j);
		suppress(d, p, dest, listed, verdict, n);
	}
	xfree(verdict);
	xfree(listed);
}

/* Mail was let in within the quota; what the account used since is not its fault. */
static bool may_send(const Holdfast__Verdict *v)
{
	if (v == NULL || v->class_ != HOLDFAST__VERDICT_CLASS__VERDICT_CANNOT_SEND)
		return true;
	return v->cannot == HOLDFAST__CANNOT_SEND__CANNOT_QUOTA ||
	       v->cannot == HOLDFAST__CANNOT_SEND__CANNOT_QUOTA_SOON;
}

static void on_recheck(enum err err, const Holdfast__Frame *frame, struct blob *body,
                       void *owner, uint64_t id)
{
	struct delivery *d = owner;
	struct job *j = idmap_remove(d->jobs, id);
	const Holdfast__RecheckAnswer *a;
	bool some;

	if (j == NULL || err == ERR_CLOSED)
		return;
	a = err == ERR_OK && frame->body_case == HOLDFAST__FRAME__BODY_RECHECK_ANSWER
	    ? frame->recheck_answer : NULL;
	if (a == NULL || a->n_rcpt != j->n) {
		log_warn("recheck", LOGE(err != ERR_OK ? err : ERR_PROTO),
		         LOGS("account", j->part->account));
		job_goto(j, JOB_NEW);
		finish_postponed(d, j, d->conf->recheck_later_ms);
		return;
	}
	if (!may_send(a->account)) {
		job_goto(j, JOB_NEW);
		finish_postponed(d, j, d->conf->account_later_ms);
		return;
	}
	some = false;
	for (unsigned i = 0; i < j->n; i++)
		some |= verdict_text(a->rcpt[i]->class_) == NULL;
	j->checked_ms = clock_wall_ms();
	j->asked = true;
	split(d, j, a);
	if (some && !d->draining)
		pool_push(d->pool, j);
}

static bool ask(struct delivery *d, struct job *j)
{
	Holdfast__Frame f = HOLDFAST__FRAME__INIT;
	Holdfast__RecheckQuery q = HOLDFAST__RECHECK_QUERY__INIT;
	struct bus_to to = { HOLDFAST__ROLE__ROLE_POLICY, 0 };
	struct buf *key = xcalloc(j->n, sizeof(*key));
	struct bus *bus = d->stage->bus;
	enum err err;
	uint64_t id;

	q.account = pb_str(j->part->account);
	q.n_key = j->n;
	q.key = xcalloc(j->n, sizeof(*q.key));
	for (unsigned i = 0; i < j->n; i++) {
		const struct rcpt *r = &j->part->rcpt[j->rcpt[i]];

		if (smtp_addr_key(r->addr, r->addr_len, &key[i]) != ERR_OK)
			buf_add(&key[i], r->addr, r->addr_len);
		q.key[i] = pb_bytes(key[i].data, key[i].len);
	}
	f.body_case = HOLDFAST__FRAME__BODY_RECHECK_QUERY;
	f.recheck_query = &q;
	if (bus_instances(bus, to.stage) > 0)
		to.instance = bus_shard(bus, to.stage, q.account.data, q.account.len);
	id = idmap_add(d->jobs, j);
	err = bus_instances(bus, to.stage) == 0 ? ERR_LINK
	      : bus_ask(bus, to, &f, NULL, (uint32_t)d->conf->recheck_wait_ms, on_recheck, d, id);
	if (err != ERR_OK)
		idmap_remove(d->jobs, id);
	for (unsigned i = 0; i < j->n; i++)
		buf_free(&key[i]);
	xfree(q.key);
	xfree(key);
	return err == ERR_OK;
}

void recheck_or_push(struct delivery *d, struct job *j)
{
	if (!recheck_is_due(d, j))
		pool_push(d->pool, j);
	else if (ask(d, j))
		job_goto(j, JOB_CHECKING);
	else
		finish_postponed(d, j, d->conf->recheck_later_ms);
}
