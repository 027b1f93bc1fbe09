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

static const char *status_of(const struct outcome *o)
{
	if (o->ending == END_EXPIRED)
		return o->enhanced != NULL && o->enhanced[0] == '4' ? o->enhanced : "4.4.7";
	return o->enhanced != NULL && o->enhanced[0] == '5' ? o->enhanced : "5.0.0";
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
	d->action = "failed";
	d->status = status_of(o);
	d->evidence = e;
	if (o->stage == HOLDFAST__SMTP_STAGE__STAGE_NONE && r->last_len > 0) {
		f->kept[f->n] = holdfast__evidence__unpack(NULL, r->last_len, r->last);
		d->evidence = f->kept[f->n];
	}
	d->why = o->ending == END_EXPIRED
	         ? "The message could not be delivered within the time allowed, and was given up."
	         : "The message was refused, and will not be sent again.";
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

	uuid_text(id, id_text);
	uuid_text((const struct uuid *)p->key, original);
	dsn_build(&out, &(struct dsn_facts){
		.hostname = d->stage->worker->common->hostname, .report_id = id_text,
		.message_id = original, .to = p->mail_from, .now_ms = now,
		.arrived_ms = p->received_ms, .rcpt = f->rcpt, .n_rcpt = f->n,
		.original = have ? p->body->data : NULL,
		.original_len = have ? p->body->len : 0 });
	return blob_take(&out);
}

static bool has_eight_bit(const struct blob *b)
{
	for (size_t i = 0; i < b->len; i++)
		if (b->data[i] > 127)
			return true;
	return false;
}

/* A part of our own like one that was handed over, with its event of acceptance. */
static void put(struct delivery *d, struct kv_batch *b, const char *to, const struct uuid *id,
                struct blob *body, uint64_t now)
{
	Holdfast__Envelope env = HOLDFAST__ENVELOPE__INIT;
	Holdfast__Recipient rcpt = HOLDFAST__RECIPIENT__INIT, *list = &rcpt;
	Holdfast__Event ev = HOLDFAST__EVENT__INIT;
	struct part *p;

	rcpt.address = pb_str(to);
	env.message_id = pb_bytes(id->b, UUID_LEN);
	env.rcpt = &list;
	env.n_rcpt = 1;
	env.received_ms = now;
	env.size = body->len;
	env.eight_bit = has_eight_bit(body);
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

bool report_add(struct delivery *d, struct kv_batch *b, const struct job *j,
                const struct outcome *o, uint64_t now, uint8_t key_out[PART_KEY])
{
	struct facts f = { 0 };
	struct part *p = j->part;
	struct uuid id;
	struct blob *body;
	size_t n = 0;

	for (unsigned i = 0; i < j->n; i++)
		n += is_failure(&o[i]);
	if (n == 0 || p->mail_from[0] == '\0')
		return false;
	f.rcpt = xcalloc(n, sizeof(*f.rcpt));
	f.evidence = xcalloc(n, sizeof(*f.evidence));
	f.kept = xcalloc(n, sizeof(*f.kept));
	for (unsigned i = 0; i < j->n; i++)
		if (is_failure(&o[i]))
			facts_add(&f, &p->rcpt[j->rcpt[i]], &o[i]);
	id = uuid_new(now);
	body = build(d, p, &f, &id, now);
	put(d, b, p->mail_from, &id, body, now);
	part_key(key_out, id.b, 0);
	log_info("report", LOGID(&id), LOGS("to", p->mail_from), LOGU("recipients", n));
	metric_add(d->stage->metrics, DM_REPORTS, 1);
	blob_unref(&body);
	facts_free(&f);
	return true;
}
