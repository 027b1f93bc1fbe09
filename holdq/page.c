/* holdq/page.c - held mail in pages: list, show, and what a filter means
 *
 * One question examines at most EXAMINE_MAX records and answers with at most
 * PAGE_BYTES, so that neither the loop nor a frame is filled by one asker; `next`
 * says where to go on.  Reading a whole message is an act: logged, synced, then answered.
 */
#include "holdq/holdq.h"

#include <string.h>
#include "holdq/filter.h"
#include "lib/log.h"

#define EXAMINE_MAX   4096
#define LIMIT_MAX     256
#define PAGE_BYTES    (48u * 1024)
#define ROW_BYTES     4096          /* recipients of one row of many */
#define ROW_BYTES_ONE (40u * 1024)  /* of the only row */
#define BODY_WAITERS  32            /* reads of whole messages that wait for their log record */

/* ---- which mail is meant */

struct finder {
	struct holdq *hq;
	const Holdfast__HeldFilter *f;
	uint64_t now_ms;
	size_t limit, examined;
	struct page *out;
};

/* Look at one; false ends the walk because the question is used up. */
static bool find_one(struct finder *fi, const struct held_key *k, const struct held *h)
{
	struct page *p = fi->out;

	if (p->n == fi->limit || fi->examined == EXAMINE_MAX) {
		p->more = true;
		return false;
	}
	fi->examined++;
	p->next = *k;
	if (h != NULL && filter_match(fi->f, h, fi->now_ms))
		p->key[p->n++] = *k;
	return true;
}

static bool on_record(void *arg, const struct held *h)
{
	struct finder *fi = arg;

	if (h == NULL) {
		metric_add(fi->hq->stage->metrics, HM_CORRUPT, 1);
		return true;
	}
	return find_one(fi, &h->key, h);
}

static bool on_key(void *arg, const struct held_key *k)
{
	struct finder *fi = arg;
	struct held *h = NULL;
	bool on;

	if (store_get(fi->hq->stage->kv, k, &h) != ERR_OK)
		h = NULL; /* find_one() counts it as examined */
	on = find_one(fi, k, h);
	held_free(&h);
	return on;
}

static bool on_any(void *arg, const struct held_key *k)
{
	*(bool *)arg = true;
	return false;
}

static enum err find_named(struct finder *fi)
{
	enum err err = ERR_OK;

	for (size_t i = 0; i < fi->f->n_message_id && err == ERR_OK; i++) {
		const uint8_t *id = fi->f->message_id[i].data;
		bool any = false;

		err = store_parts(fi->hq->stage->kv, CF_META, id, on_any, &any);
		if (err == ERR_OK && any)
			err = store_parts(fi->hq->stage->kv, CF_META, id, on_key, fi);
		else if (err == ERR_OK)
			fi->out->missing[fi->out->n_missing++] = held_key_of(id, 0);
	}
	return err;
}

static bool after_key(ProtobufCBinaryData after, struct held_key *k)
{
	if (after.len == UUID_LEN)
		*k = held_key_of(after.data, UINT32_MAX);
	else if (after.len == HELD_KEY_LEN)
		memcpy(k->b, after.data, HELD_KEY_LEN);
	else
		return false;
	return true;
}

enum err page_find(struct holdq *hq, const Holdfast__HeldFilter *f, ProtobufCBinaryData after,
                   size_t limit, struct page *out)
{
	struct page p = { 0 };
	struct finder fi = { hq, f, clock_wall_ms(), limit, 0, &p };
	struct held_key k, *from = after_key(after, &k) ? &k : NULL;
	enum err err;

	p.key = xcalloc(limit + 1, sizeof(*p.key));
	p.missing = xcalloc(f->n_message_id + 1, sizeof(*p.missing));
	if (f->n_message_id > 0)
		err = find_named(&fi);
	else if (f->account.len > 0)
		err = store_account_each(hq->stage->kv, f->account.data, f->account.len, from,
		                         on_key, &fi);
	else
		err = store_each(hq->stage->kv, from, on_record, &fi);
	if (err != ERR_OK)
		page_free(&p);
	else
		*out = p;
	return err;
}

void page_free(struct page *p)
{
	xfree(p->key);
	xfree(p->missing);
	memset(p, 0, sizeof(*p));
}

/* ---- rows of an answer */

struct rows {
	struct held **held;         /* what the rows point into */
	Holdfast__HeldMail *mail;
	Holdfast__HeldMail **ptr;
	size_t n, bytes;
};

static void rows_init(struct rows *r, size_t max)
{
	memset(r, 0, sizeof(*r));
	r->held = xcalloc(max + 1, sizeof(*r->held));
	r->mail = xcalloc(max + 1, sizeof(*r->mail));
	r->ptr = xcalloc(max + 1, sizeof(*r->ptr));
}

static void rows_free(struct rows *r)
{
	for (size_t i = 0; i < r->n; i++)
		held_free(&r->held[i]);
	xfree(r->held);
	xfree(r->mail);
	xfree(r->ptr);
}

/* Takes *h. */
static void rows_add(struct rows *r, struct held **h, size_t rcpt_bytes)
{
	const Holdfast__Envelope *e = (*h)->env;
	Holdfast__HeldMail *m = &r->mail[r->n];
	size_t used = 0;

	holdfast__held_mail__init(m);
	m->message_id = e->message_id;
	m->part = e->part;
	m->account = e->account;
	m->mail_from = e->mail_from;
	m->rcpt = e->rcpt;
	m->rcpt_count = (uint32_t)e->n_rcpt;
	while (m->n_rcpt < e->n_rcpt && used < rcpt_bytes)
		used += e->rcpt[m->n_rcpt++]->address.len + 16;
	m->subject = e->subject;
	m->size = e->size;
	m->received_ms = e->received_ms;
	m->reason = e->hold;
	m->verdict_id = e->hold_verdict;
	m->state = pb_str(held_state_name((*h)->state));
	r->bytes += holdfast__held_mail__get_packed_size(m) + 8;
	r->held[r->n] = *h;
	r->ptr[r->n++] = m;
	*h = NULL;
}

/* Fill rows from the keys of p; where a page is full by bytes, p->more and p->next say so. */
static void fill_rows(struct holdq *hq, struct page *p, struct rows *r)
{
	size_t each = p->n == 1 ? ROW_BYTES_ONE : ROW_BYTES;

	for (size_t i = 0; i < p->n; i++) {
		struct held *h = NULL;

		if (r->n > 0 && r->bytes + ROW_BYTES + 1024 > PAGE_BYTES) {
			p->more = true;
			p->next = p->key[i - 1];
			return;
		}
		if (store_get(hq->stage->kv, &p->key[i], &h) == ERR_OK)
			rows_add(r, &h, each);
	}
}

static void answer_page(struct holdq *hq, const struct bus_from *from, struct rows *r,
                        Holdfast__HeldPage *page, struct blob *body)
{
	Holdfast__Frame f = HOLDFAST__FRAME__INIT;

	page->mail = r->ptr;
	page->n_mail = r->n;
	f.body_case = HOLDFAST__FRAME__BODY_HELD_PAGE;
	f.held_page = page;
	bus_answer(hq->stage->bus, from, &f, body);
}

void page_query(void *stage, const struct bus_from *from, const Holdfast__Frame *frame,
                struct blob *body)
{
	static const Holdfast__HeldFilter all = HOLDFAST__HELD_FILTER__INIT;
	struct holdq *hq = holdq_of(stage);
	const Holdfast__HeldQuery *q = frame->held_query;
	const Holdfast__HeldFilter *f = q->filter != NULL ? q->filter : &all;
	Holdfast__HeldPage answer = HOLDFAST__HELD_PAGE__INIT;
	size_t limit = q->limit == 0 || q->limit > LIMIT_MAX ? LIMIT_MAX : q->limit;
	struct rows r;
	struct page p;

	if (filter_check(f) != ERR_OK) {
		bus_refuse(hq->stage->bus, from, HOLDFAST__REFUSED__WHY__MALFORMED, "filter");
		return;
	}
	if (page_find(hq, f, q->after, q->count_only ? EXAMINE_MAX : limit, &p) != ERR_OK) {
		bus_refuse(hq->stage->bus, from, HOLDFAST__REFUSED__WHY__FAILED, "store");
		return;
	}
	answer.count = p.n;
	rows_init(&r, p.n);
	if (!q->count_only)
		fill_rows(hq, &p, &r);
	answer.more = p.more;
	if (p.more)
		answer.next = pb_bytes(p.next.b, HELD_KEY_LEN);
	answer_page(hq, from, &r, &answer, NULL);
	rows_free(&r);
	page_free(&p);
}

/* ---- show one message */

/* One reader of a whole message: waits until the act is in the log. */
struct reading {
	struct holdq *hq;
	struct bus_from from;
	struct held_key key;
};
static unsigned readings;

/* The header section with the empty line that ends it. */
static size_t header_length(const unsigned char *p, size_t len)
{
	const unsigned char *end = memmem(p, len, "\r\n\r\n", 4);

	if (len >= 2 && memcmp(p, "\r\n", 2) == 0)
		return 2;
	return end == NULL ? len : (size_t)(end - p) + 4;
}

static void answer_body(struct holdq *hq, const struct bus_from *from, const struct held_key *k,
                        bool whole)
{
	Holdfast__HeldPage answer = HOLDFAST__HELD_PAGE__INIT;
	struct blob *body = NULL;
	struct held *h = NULL;
	struct rows r;

	rows_init(&r, 1);
	if (store_get(hq->stage->kv, k, &h) == ERR_OK &&
	    store_body(hq->stage->kv, k, &body) == ERR_OK) {
		if (!whole) {
			struct blob *head = blob_copy(body->data,
			                              header_length(body->data, body->len));

			blob_unref(&body);
			body = head;
		}
		rows_add(&r, &h, ROW_BYTES_ONE);
	}
	answer.count = r.n;
	answer_page(hq, from, &r, &answer, body);
	blob_unref(&body);
	held_free(&h);
	rows_free(&r);
}

static void on_logged(enum err err, void *owner, uint64_t id)
{
	struct reading *rd = owner;

	readings--;
	if (err == ERR_OK && !rd->hq->closed)
		answer_body(rd->hq, &rd->from, &rd->key, true);
	else if (!rd->hq->closed)
		bus_refuse(rd->hq->stage->bus, &rd->from, HOLDFAST__REFUSED__WHY__FAILED, "store");
	xfree(rd);
}

static void log_reading(struct holdq *hq, const struct bus_from *from, const struct held *h,
                        ProtobufCBinaryData by)
{
	struct kv_batch *b = kv_batch_new();
	struct reading *rd = xcalloc(1, sizeof(*rd));
	char *who = pb_strdup(by), *account = pb_strdup(h->env->account);
	struct uuid id = held_key_id(&h->key);
	struct audit_act act = {
		.time_ms = clock_wall_ms(), .key = h->key, .what = "body", .by = who,
		.account = account, .detail = "",
	};

	*rd = (struct reading){ hq, *from, h->key };
	readings++;
	audit_add(hq->audit, b, &act);
	log_info("body-read", LOGID(&id), LOGS("by", who));
	kv_write(hq->stage->kv, &b, on_logged, rd, 0);
	xfree(account);
	xfree(who);
}

static bool first_key(void *arg, const struct held_key *k)
{
	*(struct held_key *)arg = *k;
	return false;
}

void page_body(void *stage, const struct bus_from *from, const Holdfast__Frame *frame,
               struct blob *body)
{
	struct holdq *hq = holdq_of(stage);
	const Holdfast__HeldBody *q = frame->held_body;
	struct held_key k;
	struct held *h = NULL;

	if (q->message_id.len != UUID_LEN || q->by.len > HELD_BY_MAX) {
		bus_refuse(hq->stage->bus, from, HOLDFAST__REFUSED__WHY__MALFORMED, "id, by");
		return;
	}
	k = held_key_of(q->message_id.data, 0);
	if (store_parts(hq->stage->kv, CF_META, q->message_id.data, first_key, &k) != ERR_OK) {
		bus_refuse(hq->stage->bus, from, HOLDFAST__REFUSED__WHY__FAILED, "store");
		return;
	}
	if (!q->whole || store_get(hq->stage->kv, &k, &h) != ERR_OK)
		answer_body(hq, from, &k, false); /* an unknown one: an empty page */
	else if (readings >= BODY_WAITERS || kv_full(hq->stage->kv))
		bus_refuse(hq->stage->bus, from, HOLDFAST__REFUSED__WHY__BUSY, "ask again");
	else
		log_reading(hq, from, h, q->by);
	held_free(&h);
}
