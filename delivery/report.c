/* delivery/report.c - see report.h
 *
 * Made in the batch that ends its recipients, so that no end goes unreported and none is
 * reported twice.
 */
#include <string.h>
#include "delivery/queue.h"
#include "delivery/report.h"
#include "lib/log.h"
#include "proto/dsn.h"
#include "proto/smtp_addr.h"

struct facts {
	struct dsn_rcpt    *rcpt;
	Holdfast__Evidence *evidence;
	Holdfast__Evidence **kept;   /* unpacked: what was remembered of earlier attempts */
	size_t              n;
};

static bool is_failure(const struct outcome *o)
{
	return o->ending == END_BOUNCED || o->ending == END_EXPIRED;
}

/* What the sender is to be told of r; NULL: nothing. */
static const char *action_of(const struct rcpt *r, const struct outcome *o)
{
	const char *action = NULL;

	if (is_failure(o))
		action = "failed";
	else if (o->ending == END_DELIVERED && !o->dsn_passed)
		action = "relayed";
	else if ((o->ending == END_DEFERRED || o->ending == END_POSTPONED) && r->delay_due)
		action = "delayed";
	return action != NULL && dsn_wanted(r->notify, action) ? action : NULL;
}

static const char *status_of(const struct outcome *o)
{
	const char *e = o->enhanced != NULL ? o->enhanced : "";

	switch (o->ending) {
	case END_DELIVERED:
		return e[0] == '2' ? e : "2.0.0";
	case END_BOUNCED:
		return e[0] == '5' ? e : "5.0.0";
	case END_EXPIRED:
		return e[0] == '4' ? e : "4.4.7";
	default:
		return e[0] == '4' ? e : "4.0.0";
	}
}

static const char *why_of(const struct outcome *o)
{
	switch (o->ending) {
	case END_DELIVERED:
		return "The message was passed on to a server that sends no report of its own.";
	case END_BOUNCED:
		return "The message was refused, and will not be sent again.";
	case END_EXPIRED:
		return "The message could not be delivered within the time allowed, "
		       "and was given up.";
	default:
		return "The message could not be delivered yet.";
	}
}

static void facts_add(struct facts *f, const struct rcpt *r, const struct outcome *o)
{
	Holdfast__Evidence *e = &f->evidence[f->n];
	struct dsn_rcpt *d = &f->rcpt[f->n];

	holdfast__evidence__init(e);
	e->stage = o->stage;
	e->code = (uint32_t)o->code;
	e->enhanced = pb_str(o->enhanced != NULL ? o->enhanced : "");
	e->text = pb_bytes(o->text, o->text_len);
	e->host = pb_str(o->host != NULL ? o->host : "");
	e->ip = pb_str(o->ip != NULL ? o->ip : "");
	d->address = r->addr;
	d->action = action_of(r, o);
	d->status = status_of(o);
	d->orcpt = r->orcpt;
	d->evidence = e;
	if (o->stage == HOLDFAST__SMTP_STAGE__STAGE_NONE && r->last_len > 0) {
		f->kept[f->n] = holdfast__evidence__unpack(NULL, r->last_len, r->last);
		d->evidence = f->kept[f->n];
	}
	d->why = why_of(o);
	f->n++;
}

static void facts_free(struct facts *f)
{
	for (size_t i = 0; i < f->n; i++)
		if (f->kept[i] != NULL)
			holdfast__evidence__free_unpacked(f->kept[i], NULL);
	xfree(f->kept);
	xfree(f->evidence);
	xfree(f->rcpt);
}

static struct blob *build(struct delivery *d, struct part *p, const struct facts *f,
                          const struct uuid *id, uint64_t now)
{
	struct buf out = BUF_INIT;
	char id_text[UUID_CHARS + 1], original[UUID_CHARS + 1];
	bool have = queue_body(d->queue, p) == ERR_OK;
	bool full = p->ret == HOLDFAST__DSN_RET__RET_FULL && !p->require_tls &&
	            p->size <= d->conf->report_message_bytes;

	uuid_text(id, id_text);
	uuid_text((const struct uuid *)p->key, original);
	dsn_build(&out, &(struct dsn_facts){
		.hostname = d->stage->worker->common->hostname, .report_id = id_text,
		.message_id = original, .to = p->mail_from, .now_ms = now,
		.arrived_ms = p->received_ms, .rcpt = f->rcpt, .n_rcpt = f->n,
		.original = have ? p->body->data : NULL,
		.original_len = have ? p->body->len : 0, .envid = p->envid, .utf8 = p->utf8,
		.full = full, .retry_until_ms = p->taken_ms + d->conf->expire_ms });
	return blob_take(&out);
}

/* Only the local part of an address needs SMTPUTF8: see add_to() in proto/dsn.c. */
static bool local_beyond_ascii(const char *addr)
{
	const char *at = strrchr(addr, '@');

	return !smtp_is_ascii(addr, at != NULL ? (size_t)(at - addr) : strlen(addr));
}

/* A part of our own like one that was handed over, with its event of acceptance.  What the
 * original asked of the way to go is asked for its report too (RFC 8689, 5). */
static void put(struct delivery *d, struct kv_batch *b, const struct part *on,
                const struct uuid *id, struct blob *body, uint64_t now)
{
	Holdfast__Envelope env = HOLDFAST__ENVELOPE__INIT;
	Holdfast__Recipient rcpt = HOLDFAST__RECIPIENT__INIT, *list = &rcpt;
	Holdfast__Event ev = HOLDFAST__EVENT__INIT;
	struct part *p;

	rcpt.address = pb_str(on->mail_from);
	env.message_id = pb_bytes(id->b, UUID_LEN);
	env.rcpt = &list;
	env.n_rcpt = 1;
	env.received_ms = now;
	env.size = body->len;
	env.eight_bit = !smtp_is_ascii(body->data, body->len);
	env.utf8 = env.eight_bit && (on->utf8 || local_beyond_ascii(on->mail_from));
	env.require_tls = on->require_tls;
	env.counted = true;
	env.version = 1;
	p = part_new(&env);
	p->taken_ms = p->due_ms = p->checked_ms = now;
	store_put_part(b, p, &env, body);
	ev.kind = HOLDFAST__EVENT_KIND__EVENT_ACCEPTED;
	ev.message_id = env.message_id;
	ev.time_ms = now;
	ev.n = 1;
	outbox_add(d->outbox, b, &ev);
	queue_add(d->queue, p, body);
}

static void count(struct delivery *d, const struct facts *f)
{
	static const struct { const char *action; enum delivery_metric metric; } counters[] = {
		{ "delayed", DM_REPORTS_DELAYED }, { "relayed", DM_REPORTS_RELAYED },
	};

	metric_add(d->stage->metrics, DM_REPORTS, 1);
	for (size_t c = 0; c < ARRAY_LEN(counters); c++) {
		size_t n = 0;

		for (size_t i = 0; i < f->n; i++)
			n += strcmp(f->rcpt[i].action, counters[c].action) == 0;
		metric_add(d->stage->metrics, counters[c].metric, n > 0);
	}
}

bool report_add(struct delivery *d, struct kv_batch *b, const struct job *j,
                const struct outcome *o, uint64_t now, uint8_t key_out[PART_KEY])
{
	struct facts f = { 0 };
	struct part *p = j->part;
	struct uuid id;
	struct blob *body;
	size_t n = 0;

	for (unsigned i = 0; i < j->n; i++)
		n += action_of(&p->rcpt[j->rcpt[i]], &o[i]) != NULL;
	if (n == 0 || p->mail_from[0] == '\0')
		return false;
	f.rcpt = xcalloc(n, sizeof(*f.rcpt));
	f.evidence = xcalloc(n, sizeof(*f.evidence));
	f.kept = xcalloc(n, sizeof(*f.kept));
	for (unsigned i = 0; i < j->n; i++)
		if (action_of(&p->rcpt[j->rcpt[i]], &o[i]) != NULL)
			facts_add(&f, &p->rcpt[j->rcpt[i]], &o[i]);
	id = uuid_new(now);
	body = build(d, p, &f, &id, now);
	put(d, b, p, &id, body, now);
	part_key(key_out, id.b, 0);
	log_info("report", LOGID(&id), LOGS("to", p->mail_from), LOGU("recipients", n));
	count(d, &f);
	blob_unref(&body);
	facts_free(&f);
	return true;
}
