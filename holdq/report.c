/* holdq/report.c - the delivery report on a rejected mail; see report.h
 *
 * It goes out where NOTIFY (RFC 3461) leaves somebody of whom it may tell.  Of the message only
 * headers are enclosed, whatever RET says: staff has found that it is not to be passed on.
 * proto/dsn.h writes the text; here are the facts, and the record that carries it to delivery.
 */
#include "holdq/report.h"

#include <string.h>
#include "lib/log.h"
#include "proto/dsn.h"
#include "proto/smtp_addr.h"

#define WHY_MAX 600

static bool is_wanted(const Holdfast__Recipient *r)
{
	return dsn_wanted(r->notify, "failed");
}

/* The recipients whose failure is to be told: their number, and their facts in rcpt. */
static size_t fill(const Holdfast__Envelope *e, const char *why, struct dsn_rcpt *rcpt)
{
	size_t n = 0;

	for (size_t i = 0; i < e->n_rcpt; i++)
		if (is_wanted(e->rcpt[i]))
			rcpt[n++] = (struct dsn_rcpt){
				.address = pb_strdup(e->rcpt[i]->address), .action = "failed",
				.status = "5.7.1", .why = why,
				.orcpt = pb_strdup(e->rcpt[i]->orcpt) };
	return n;
}

static void build(struct holdq *hq, const struct held *h, const char *reason,
                  const struct uuid *report_id, struct buf *out)
{
	const Holdfast__Envelope *e = h->env;
	struct dsn_rcpt *rcpt = xcalloc(e->n_rcpt, sizeof(*rcpt));
	char rid[UUID_CHARS + 1], mid[UUID_CHARS + 1], why[WHY_MAX];
	char *to = pb_strdup(e->mail_from), *envid = pb_strdup(e->envid);
	struct uuid id = held_key_id(&h->key);
	struct blob *body = NULL;
	struct dsn_facts f = {
		.hostname = hq->stage->worker->common->hostname, .report_id = rid,
		.message_id = mid, .to = to, .now_ms = clock_wall_ms(),
		.arrived_ms = e->received_ms, .rcpt = rcpt, .envid = envid, .utf8 = e->utf8,
	};

	uuid_text(report_id, rid);
	uuid_text(&id, mid);
	(void)snprintf(why, sizeof(why), "The message was reviewed and rejected%s%s",
	               reason[0] != '\0' ? ": " : ".", reason);
	f.n_rcpt = fill(e, why, rcpt);
	if (store_body(hq->stage->kv, &h->key, &body) == ERR_OK) {
		f.original = body->data;
		f.original_len = body->len;
	}
	dsn_build(out, &f);
	blob_unref(&body);
	for (size_t i = 0; i < f.n_rcpt; i++) {
		xfree((char *)rcpt[i].address);
		xfree((char *)rcpt[i].orcpt);
	}
	xfree(envid);
	xfree(rcpt);
	xfree(to);
}

static struct held *report_held(struct holdq *hq, const struct held *h, const struct uuid *id,
                                size_t size)
{
	Holdfast__Envelope e = HOLDFAST__ENVELOPE__INIT;
	Holdfast__Recipient r = HOLDFAST__RECIPIENT__INIT, *rcpt = &r;
	ProtobufCBinaryData to = h->env->mail_from;
	struct held *report;
	struct held_sub *s;

	r.address = to;
	e.message_id = pb_bytes(id->b, UUID_LEN);
	e.rcpt = &rcpt;
	e.n_rcpt = 1;
	e.received_ms = clock_wall_ms();
	e.size = size;
	e.eight_bit = true; /* the enclosed header section may hold anything */
	e.utf8 = h->env->utf8;
	e.require_tls = h->env->require_tls;
	report = held_new(&e, HELD_REPORT, e.received_ms);
	s = held_sub_add(report, handover_route(hq, (const char *)to.data, to.len));
	s->at = xcalloc(1, sizeof(*s->at));
	s->n = 1;
	return report;
}

struct held *report_add(struct holdq *hq, struct kv_batch *b, const struct held *h,
                        const char *reason)
{
	ProtobufCBinaryData to = h->env->mail_from;
	struct uuid id = uuid_new(clock_wall_ms());
	struct smtp_path path;
	struct buf text = BUF_INIT;
	struct blob *body;
	struct held *report;
	bool wanted = false;

	for (size_t i = 0; i < h->env->n_rcpt; i++)
		wanted |= is_wanted(h->env->rcpt[i]);
	if (!wanted || to.len == 0 ||
	    smtp_addr_parse((const char *)to.data, to.len, &path) != ERR_OK)
		return NULL;
	build(hq, h, reason, &id, &text);
	report = report_held(hq, h, &id, text.len);
	body = blob_take(&text);
	store_add(b, report, body);
	blob_unref(&body);
	return report;
}

void report_durable(struct holdq *hq, const struct held *report)
{
	count_add(hq->count, "", 0, 1, 1);
	handover_added(hq->handover, report);
}
