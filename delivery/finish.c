/* delivery/finish.c - see finish.h
 *
 * What a batch promises is done when it is durable: on_written() settles the tally, forgets
 * the part, starts a report, and lets the outbox send.
 */
#include <string.h>
#include "delivery/classify.h"
#include "delivery/finish.h"
#include "delivery/queue.h"
#include "delivery/report.h"
#include "delivery/schedule.h"
#include "delivery/tally.h"
#include "lib/clock.h"
#include "lib/idmap.h"
#include "lib/log.h"
#include "proto/dsn.h"
#include "proto/smtp_addr.h"

#define TEXT_MAX 1024 /* of a reply, in evidence */

/* A batch that is being written, and what is to be done when it is durable. */
struct note {
	uint8_t  part[PART_KEY], report[PART_KEY];
	bool     leaving, has_report;
	unsigned ended;
};

static struct schedule schedule_of(const struct delivery *d)
{
	const struct delivery_conf *c = d->conf;

	return (struct schedule){ c->retry_min_ms, c->retry_factor, c->retry_max_ms,
	                          c->retry_jitter, c->expire_ms };
}

static ProtobufCBinaryData text_or_none(const char *s)
{
	return pb_str(s != NULL ? s : "");
}

static void evidence_fill(Holdfast__Evidence *e, const struct outcome *o)
{
	holdfast__evidence__init(e);
	e->class_ = o->class;
	e->stage = o->stage;
	e->code = (uint32_t)o->code;
	e->enhanced = text_or_none(o->enhanced);
	e->text = pb_bytes(o->text, o->text_len < TEXT_MAX ? o->text_len : TEXT_MAX);
	e->host = text_or_none(o->host);
	e->ip = text_or_none(o->ip);
	e->rule = text_or_none(o->rule);
	e->own_mx = o->own_mx;
}

/* ---- judging */

/* A refusal is for good where it is of this mail: at MAIL or later, or when its domain
 * is known not to take any.  What a server says before that is about us. */
static bool for_good(const struct outcome *o)
{
	return o->code / 100 == 5 && (o->stage >= HOLDFAST__SMTP_STAGE__STAGE_MAIL ||
	                              o->stage == HOLDFAST__SMTP_STAGE__STAGE_DNS);
}

/* The last way for our own report is not this one: see part_is_strict(). */
static bool has_other_way(const struct part *p)
{
	return p->mail_from[0] == '\0' && part_is_strict(p);
}

static void judge(const struct delivery *d, struct part *p, struct outcome *o, uint64_t now)
{
	struct schedule s = schedule_of(d);

	if (o->ending == END_POSTPONED) {
		if (schedule_expired(&s, p->taken_ms, now))
			o->ending = END_EXPIRED;
		return;
	}
	if (o->ending != END_NONE)
		return;
	p->tried = true;
	if (o->stage == HOLDFAST__SMTP_STAGE__STAGE_END_OF_DATA && o->code / 100 == 2) {
		o->ending = END_DELIVERED;
		return;
	}
	classify_outcome(o);
	if ((for_good(o) || o->own_end) && !(o->own_end && has_other_way(p)))
		o->ending = END_BOUNCED;
	else
		o->ending = schedule_expired(&s, p->taken_ms, now) ? END_EXPIRED : END_DEFERRED;
}

static bool is_end(enum ending e)
{
	return e >= END_DELIVERED && e <= END_SUPPRESSED;
}

static void tell(struct delivery *d, const struct part *p, const struct rcpt *r,
                 const struct outcome *o, uint64_t now)
{
	char relay[336];

	snprintf(relay, sizeof(relay), "%s[%s]", o->host != NULL ? o->host : "none",
	         o->ip != NULL ? o->ip : "");
	log_info("outcome", LOGID((const struct uuid *)p->key), LOGS("to", r->addr),
	         LOGS("relay", relay), LOGU("delay_ms", now - p->received_ms),
	         LOGU("attempt", p->attempts + 1), LOGU("code", o->code),
	         LOGS("dsn", o->enhanced), LOGS("status", ending_names[o->ending]),
	         LOGS("rule", o->rule), LOGB("reply", o->text, o->text_len));
	metric_add_label(d->stage->metrics, DM_OUTCOMES, o->ending, 1);
	if (o->ending == END_DELIVERED)
		metric_observe(d->stage->metrics, DM_DELAY, (double)(now - p->received_ms) / 1e3);
	if (o->ending == END_DEFERRED)
		metric_add(d->stage->metrics, DM_DEFERRALS, 1);
}

/* ---- one recipient */

static void add_event(struct delivery *d, struct kv_batch *b, const struct part *p,
                      const struct rcpt *r, const struct outcome *o, uint64_t now)
{
	static const Holdfast__EventKind kinds[] = {
		[END_DELIVERED] = HOLDFAST__EVENT_KIND__EVENT_DELIVERED,
		[END_BOUNCED] = HOLDFAST__EVENT_KIND__EVENT_BOUNCED,
		[END_EXPIRED] = HOLDFAST__EVENT_KIND__EVENT_EXPIRED,
		[END_SUPPRESSED] = HOLDFAST__EVENT_KIND__EVENT_SUPPRESSED,
	};
	Holdfast__Event ev = HOLDFAST__EVENT__INIT;
	Holdfast__Evidence e;
	Holdfast__Evidence *last = NULL;
	struct buf key = BUF_INIT;

	if (smtp_addr_key(r->addr, r->addr_len, &key) != ERR_OK) {
		buf_reset(&key);
		buf_add(&key, r->addr, r->addr_len);
	}
	evidence_fill(&e, o);
	if (o->stage == HOLDFAST__SMTP_STAGE__STAGE_NONE && o->ending == END_EXPIRED)
		last = holdfast__evidence__unpack(NULL, r->last_len, r->last);
	ev.kind = kinds[o->ending];
	ev.account = pb_str(p->account);
	ev.message_id = pb_bytes(p->key, 16);
	ev.index = r->index;
	ev.address = pb_bytes(r->addr, r->addr_len);
	ev.key = pb_bytes(key.data, key.len);
	ev.time_ms = now;
	ev.evidence = last != NULL ? last : &e;
	outbox_add(d->outbox, b, &ev);
	if (last != NULL)
		holdfast__evidence__free_unpacked(last, NULL);
	buf_free(&key);
}

static void remember(struct rcpt *r, const struct outcome *o)
{
	Holdfast__Evidence e;
	uint8_t packed[TEXT_MAX + 1024];
	size_t len;

	evidence_fill(&e, o);
	len = holdfast__evidence__get_packed_size(&e);
	if (len > sizeof(packed))
		return;
	holdfast__evidence__pack(&e, packed);
	rcpt_remember(r, packed, len);
}

/* ---- notices of delay */

static uint64_t notice_at(const struct delivery *d, const struct part *p)
{
	return d->conf->delay_notice_ms > 0 ? p->received_ms + d->conf->delay_notice_ms
	                                    : UINT64_MAX;
}

static bool wants_notice(const struct part *p, const struct rcpt *r)
{
	return !r->ended && !r->delay_told && p->mail_from[0] != '\0' &&
	       dsn_wanted(r->notify, "delayed");
}

/* Mark who is to be told now; the report goes into the same batch.  True: somebody. */
static bool mark_delayed(const struct delivery *d, const struct job *j, uint64_t now)
{
	bool any = false;

	if (now < notice_at(d, j->part))
		return false;
	for (unsigned i = 0; i < j->n; i++) {
		struct rcpt *r = &j->part->rcpt[j->rcpt[i]];

		r->delay_due = wants_notice(j->part, r);
		r->delay_told |= r->delay_due;
		any |= r->delay_due;
	}
	return any;
}

/* The next attempt is not left to the schedule where somebody is to hear of the delay before. */
static uint64_t next_time(const struct delivery *d, const struct part *p, uint64_t at,
                          uint64_t now)
{
	uint64_t notice = notice_at(d, p);

	if (notice <= now || notice >= at)
		return at;
	for (uint32_t i = 0; i < p->n_rcpt; i++)
		if (wants_notice(p, &p->rcpt[i]))
			return notice;
	return at;
}

/* ---- the batch */

static void on_written(enum err err, void *owner, uint64_t id)
{
	struct delivery *d = owner;
	struct note *n = idmap_remove(d->notes, id);
	struct part *p, *report;

	if (n == NULL)
		return;
	p = queue_find(d->queue, n->part);
	if (err == ERR_OK && p != NULL) {
		tally_part(d->tally, p->account, n->leaving && p->n_waiting == 0 ? -1 : 0,
		           -(int64_t)n->ended);
		if (n->leaving)
			queue_forget(d->queue, p);
	}
	report = n->has_report ? queue_find(d->queue, n->report) : NULL;
	if (err == ERR_OK && report != NULL) {
		tally_part(d->tally, "", 1, 1);
		queue_taken(d->queue, report);
	}
	if (err == ERR_OK && d->outbox != NULL)
		outbox_kick(d->outbox);
	xfree(n);
}

/* The last job of the attempt is over: the part ends, or gets its next time. */
static void end_attempt(struct delivery *d, struct kv_batch *b, struct part *p, uint64_t now)
{
	struct schedule s = schedule_of(d);
	uint32_t random;
	uint64_t at;

	part_goto(p, PART_LEAVING);
	if (p->n_waiting == 0) {
		store_end_part(b, p, now);
		return;
	}
	if (p->tried) {
		struct uuid u = uuid_new(now);

		memcpy(&random, u.b + 12, sizeof(random));
		p->attempts++;
		at = schedule_next(&s, p->attempts, p->taken_ms, now, random);
	} else {
		at = now + p->postpone_ms;
	}
	store_move_due(b, p, next_time(d, p, at, now));
	store_put_state(b, p);
}

static void write_batch(struct delivery *d, struct kv_batch *b, struct note *n)
{
	kv_write(d->stage->kv, &b, on_written, d, idmap_add(d->notes, n));
}

void finish_job(struct delivery *d, struct job *j, struct outcome *o)
{
	struct kv_batch *b = kv_batch_new();
	struct note *n = xcalloc(1, sizeof(*n));
	struct part *p = j->part;
	uint64_t now = clock_wall_ms();
	bool tried = p->tried, told;

	for (unsigned i = 0; i < j->n; i++) {
		struct rcpt *r = &p->rcpt[j->rcpt[i]];

		judge(d, p, &o[i], now);
		tell(d, p, r, &o[i], now);
		if (is_end(o[i].ending)) {
			add_event(d, b, p, r, &o[i], now);
			r->ended = true;
			p->n_waiting--;
			n->ended++;
		} else if (o[i].ending == END_DEFERRED) {
			remember(r, &o[i]);
		}
	}
	metric_add(d->stage->metrics, DM_ATTEMPTS, p->tried && !tried);
	told = mark_delayed(d, j, now);
	n->has_report = report_add(d, b, j, o, now, n->report);
	job_free(&j);
	memcpy(n->part, p->key, PART_KEY);
	n->leaving = p->n_jobs == 0;
	if (n->leaving)
		end_attempt(d, b, p, now);
	else if (n->ended > 0 || told)
		store_put_state(b, p);
	if (kv_batch_empty(b)) {
		kv_batch_free(&b);
		xfree(n);
		return;
	}
	write_batch(d, b, n);
}

void finish_postponed(struct delivery *d, struct job *j, uint64_t later_ms)
{
	static const char text[] = "not tried: the account may not send now, or nobody could say";
	struct outcome *o = xcalloc(j->n, sizeof(*o));

	if (later_ms < j->part->postpone_ms)
		j->part->postpone_ms = later_ms;
	for (unsigned i = 0; i < j->n; i++) {
		o[i].ending = END_POSTPONED;
		o[i].text = text;
		o[i].text_len = sizeof(text) - 1;
	}
	finish_job(d, j, o);
	xfree(o);
}

size_t finish_pending(const struct delivery *d)
{
	return idmap_count(d->notes);
}
