/* holdq/handover.c - hands released mail and reports over to delivery until the receipt comes
 *
 * What must go is in the store's lanes, one for each delivery instance, written in the batch of
 * the decision: after a restart the lanes tell what is left.  Memory holds a
 * cursor a lane and at most conf->handovers hand-offs of it.  Delivery knows a repeat, so in
 * doubt it is sent again.  The record goes when the last sub-part has its receipt.
 */
#include "holdq/holdq.h"

#include <assert.h>
#include <string.h>
#include "lib/log.h"
#include "proto/smtp_addr.h"

enum handing_state {
	HANDING_ASKED,    /* for delivery's receipt */
	HANDING_CLEARING, /* for the sync that forgets the sub-part */
	HANDING_CLOSING,  /* for the sync that forgets the mail */
};

struct handing_key { struct held_key mail; uint32_t sub; };

struct handing {
	UT_hash_handle hh;
	struct handing_key key;
	uint64_t id;
	enum handing_state state;
	struct lane *lane;
	struct held *held;
	size_t bytes;
};

struct lane {
	char name[HELD_LANE_MAX + 1];
	int  instance;             /* of delivery; -1: no longer configured */
	struct lane_cursor at;
	struct lane_cursor back;   /* where to begin anew at the end, when .again */
	unsigned active;
	uint64_t retry_at_ms, wait_ms;
	bool at_end;
	struct lane *next;         /* lanes live as long as the process */
};

struct handover {
	struct holdq *hq;
	struct lane *lanes;
	struct idmap *ids;
	struct handing *active;
	size_t bytes;
};

struct handover *handover_new(struct holdq *hq)
{
	struct handover *h = xcalloc(1, sizeof(*h));

	h->hq = hq;
	h->ids = idmap_new();
	return h;
}

size_t handover_in_flight(const struct handover *h)
{
	return HASH_COUNT(h->active);
}

/* ---- lanes */

static struct lane *lane_of(struct handover *h, const char *name)
{
	struct bus *bus = h->hq->stage->bus;
	struct lane *l;

	for (l = h->lanes; l != NULL; l = l->next)
		if (strcmp(l->name, name) == 0)
			return l;
	l = xcalloc(1, sizeof(*l));
	(void)snprintf(l->name, sizeof(l->name), "%s", name);
	l->instance = -1;
	for (unsigned i = 0; i < bus_instances(bus, HOLDFAST__ROLE__ROLE_DELIVERY); i++)
		if (strcmp(bus_instance_name(bus, HOLDFAST__ROLE__ROLE_DELIVERY, i), name) == 0)
			l->instance = (int)i;
	l->next = h->lanes;
	h->lanes = l;
	return l;
}

enum err handover_start(struct handover *h)
{
	char name[HELD_LANE_MAX + 1] = "";
	char found[HELD_LANE_MAX + 1];
	enum err err;

	while ((err = store_lane_name(h->hq->stage->kv, name, found)) == ERR_OK) {
		(void)lane_of(h, found);
		memcpy(name, found, sizeof(name));
	}
	return err == ERR_NOENT ? ERR_OK : err;
}

static int order(const struct held_key *a, uint32_t asub, const struct lane_cursor *b)
{
	int c = memcmp(a, &b->key, sizeof(*a));

	return c != 0 ? c : asub < b->sub ? -1 : asub > b->sub;
}

/* An entry that the cursor may have passed is wanted (again). */
static void lane_want(struct lane *l, const struct held_key *k, uint32_t sub)
{
	l->at_end = false;
	if (!l->at.started || order(k, sub, &l->at) > 0)
		return;
	if (l->back.again && order(k, sub, &l->back) >= 0)
		return;
	l->back = (struct lane_cursor){ .key = *k, .sub = sub, .started = true, .again = true };
}

static unsigned domain_instance(struct holdq *hq, const char *address, size_t len)
{
	struct buf key = BUF_INIT;
	const char *domain;
	unsigned i;

	if (smtp_addr_key(address, len, &key) != ERR_OK) {
		buf_reset(&key);
		buf_add(&key, address, len);
	}
	domain = smtp_key_domain(buf_str(&key));
	i = bus_shard(hq->stage->bus, HOLDFAST__ROLE__ROLE_DELIVERY, domain, strlen(domain));
	buf_free(&key);
	return i;
}

const char *handover_route(void *arg, const char *address, size_t len)
{
	struct holdq *hq = arg;

	return bus_instance_name(hq->stage->bus, HOLDFAST__ROLE__ROLE_DELIVERY,
	                         domain_instance(hq, address, len));
}

static struct bus_to lane_target(struct handover *h, const struct lane *l, const struct held *m,
                                 size_t sub)
{
	ProtobufCBinaryData a = m->env->rcpt[m->sub[sub].at[0]]->address;
	struct bus_to to = { HOLDFAST__ROLE__ROLE_DELIVERY, (unsigned)l->instance };

	if (l->instance < 0)
		to.instance = domain_instance(h->hq, (const char *)a.data, a.len);
	return to;
}

/* ---- the end of a hand-off */

static void forget(struct handover *h, struct handing *g)
{
	(void)idmap_remove(h->ids, g->id);
	HASH_DEL(h->active, g);
	g->lane->active--;
	h->bytes -= g->bytes;
	held_free(&g->held);
	xfree(g);
}

static void failed(struct handover *h, struct handing *g, enum err err)
{
	const struct holdq_conf *conf = h->hq->conf;
	struct lane *l = g->lane;
	struct uuid id = held_key_id(&g->key.mail);

	metric_add(h->hq->stage->metrics, HM_HANDOVER_RETRIES, 1);
	if (err == ERR_PROTO || err == ERR_PERM)
		log_error("handover-refused", LOGID(&id), LOGS("to", l->name), LOGE(err));
	else
		log_debug("handover-retry", LOGID(&id), LOGS("to", l->name), LOGE(err));
	lane_want(l, &g->key.mail, g->key.sub);
	l->wait_ms = l->wait_ms == 0 ? conf->retry_min_ms : l->wait_ms * 2;
	if (l->wait_ms > conf->retry_max_ms)
		l->wait_ms = conf->retry_max_ms;
	l->retry_at_ms = clock_mono_ms() + l->wait_ms;
	forget(h, g);
}

/* ---- receipts become durable */

static void on_closed(enum err err, void *owner, uint64_t id)
{
	struct holdq *hq = owner;
	struct handing *g = hq->closed ? NULL : idmap_get(hq->handover->ids, id);
	const struct held *m;
	bool single;

	if (g == NULL)
		return;
	m = g->held;
	single = m->n_sub == 1;
	if (err == ERR_OK)
		count_add(hq->count, m->env->account.data, m->env->account.len, -1,
		          single ? -(int64_t)m->sub[0].n : 0);
	forget(hq->handover, g);
}

static void close_mail(struct handover *h, struct handing *g)
{
	struct kv_batch *b = kv_batch_new();

	g->state = HANDING_CLOSING;
	store_del(b, g->held);
	kv_write(h->hq->stage->kv, &b, on_closed, h->hq, g->id);
}

/* Is any sub-part still due, or another hand-off of this mail about to close it? */
static bool mail_is_open(struct handover *h, const struct handing *g)
{
	for (struct handing *o = h->active; o != NULL; o = o->hh.next)
		if (o != g && o->state == HANDING_CLOSING &&
		    memcmp(&o->key.mail, &g->key.mail, sizeof(g->key.mail)) == 0)
			return true;
	for (size_t i = 0; i < g->held->n_sub; i++)
		if (store_sub_waits(h->hq->stage->kv, g->held, i))
			return true;
	return false;
}

static void on_cleared(enum err err, void *owner, uint64_t id)
{
	struct holdq *hq = owner;
	struct handing *g = hq->closed ? NULL : idmap_get(hq->handover->ids, id);
	struct held *m;

	if (g == NULL)
		return;
	m = g->held;
	if (err == ERR_OK)
		count_add(hq->count, m->env->account.data, m->env->account.len, 0,
		          -(int64_t)m->sub[g->key.sub].n);
	if (err != ERR_OK || mail_is_open(hq->handover, g))
		forget(hq->handover, g);
	else
		close_mail(hq->handover, g);
}

static void receipt(struct handover *h, struct handing *g)
{
	struct uuid id = held_key_id(&g->key.mail);
	struct kv_batch *b;

	g->lane->wait_ms = 0;
	metric_add(h->hq->stage->metrics, HM_HANDED_OVER, 1);
	log_info("handed-over", LOGID(&id), LOGS("to", g->lane->name),
	         LOGU("rcpts", g->held->sub[g->key.sub].n));
	if (g->held->n_sub == 1) {
		close_mail(h, g);
		return;
	}
	b = kv_batch_new();
	g->state = HANDING_CLEARING;
	store_sub_del(b, g->held, g->key.sub);
	kv_write(h->hq->stage->kv, &b, on_cleared, h->hq, g->id);
}

static bool is_receipt_of(const Holdfast__Frame *f, const struct handing *g)
{
	Holdfast__Envelope env;
	bool same;

	if (f->body_case != HOLDFAST__FRAME__BODY_CUSTODY)
		return false;
	plan_envelope(g->held, g->key.sub, &env);
	xfree(env.rcpt);
	same = f->custody->message_id.len == UUID_LEN && f->custody->part == env.part;
	return same && memcmp(f->custody->message_id.data, g->key.mail.b, UUID_LEN) == 0;
}

static void on_custody(enum err err, const Holdfast__Frame *frame, struct blob *body, void *owner,
                       uint64_t id)
{
	struct holdq *hq = owner;
	struct handing *g = hq->closed ? NULL : idmap_get(hq->handover->ids, id);

	if (g == NULL)
		return;
	if (err == ERR_OK && !is_receipt_of(frame, g))
		err = ERR_PROTO;
	if (err == ERR_OK)
		receipt(hq->handover, g);
	else
		failed(hq->handover, g, err);
}

/* ---- hand-offs begin */

static enum err ask(struct handover *h, struct handing *g, struct blob *body)
{
	Holdfast__Frame f = HOLDFAST__FRAME__INIT;
	Holdfast__Handoff ho = HOLDFAST__HANDOFF__INIT;
	Holdfast__Envelope env;
	enum err err;

	plan_envelope(g->held, g->key.sub, &env);
	ho.envelope = &env;
	f.body_case = HOLDFAST__FRAME__BODY_HANDOFF;
	f.handoff = &ho;
	err = bus_ask(h->hq->stage->bus, lane_target(h, g->lane, g->held, g->key.sub), &f, body,
	              (uint32_t)h->hq->conf->handover_wait_ms, on_custody, h->hq, g->id);
	xfree(env.rcpt);
	return err;
}

/* An entry without its mail is left over from a write that was repeated; one whose
 * body cannot be read is kept, and told of, each time it is met. */
static void broken(struct handover *h, struct lane *l, struct handing_key *k, enum err err)
{
	struct uuid id = held_key_id(&k->mail);

	metric_add(h->hq->stage->metrics, HM_CORRUPT, 1);
	log_error("handover-unreadable", LOGID(&id), LOGS("lane", l->name), LOGE(err));
}

static void begin(struct handover *h, struct lane *l, struct handing_key *k)
{
	struct handing *g;
	struct held *m = NULL;
	struct blob *body = NULL;
	enum err err = store_get(h->hq->stage->kv, &k->mail, &m);

	if (err == ERR_OK)
		err = k->sub < m->n_sub ? store_body(h->hq->stage->kv, &k->mail, &body)
		                        : ERR_CORRUPT;
	if (err != ERR_OK) {
		broken(h, l, k, err);
		held_free(&m);
		return;
	}
	g = xcalloc(1, sizeof(*g));
	g->key.mail = k->mail;
	g->key.sub = k->sub;
	g->lane = l;
	g->held = m;
	g->bytes = body->len;
	g->id = idmap_add(h->ids, g);
	l->active++;
	h->bytes += g->bytes;
	HASH_ADD(hh, h->active, key, sizeof(g->key), g);
	err = ask(h, g, body);
	blob_unref(&body);
	if (err != ERR_OK)
		failed(h, g, err);
}

static bool may_begin(const struct handover *h, const struct lane *l, uint64_t now_ms)
{
	const struct holdq *hq = h->hq;

	if (hq->draining || l->at_end || now_ms < l->retry_at_ms)
		return false;
	if (l->active >= hq->conf->handovers || kv_full(hq->stage->kv))
		return false;
	if (h->bytes > 0 && h->bytes >= hq->conf->handover_bytes)
		return false;
	return l->instance < 0 ||
	       bus_link_up(hq->stage->bus, HOLDFAST__ROLE__ROLE_DELIVERY, (unsigned)l->instance);
}

static void lane_pump(struct handover *h, struct lane *l, uint64_t now_ms)
{
	while (may_begin(h, l, now_ms)) {
		struct handing_key k = { 0 };
		struct handing *g;
		enum err err = store_lane_next(h->hq->stage->kv, l->name, &l->at);

		if (err == ERR_NOENT && l->back.again) {
			l->at = l->back;
			l->back.again = false;
			continue;
		}
		if (err != ERR_OK) {
			l->at_end = true;
			return;
		}
		k.mail = l->at.key;
		k.sub = l->at.sub;
		HASH_FIND(hh, h->active, &k, sizeof(k), g);
		if (g == NULL)
			begin(h, l, &k);
	}
}

void handover_tick(struct handover *h, uint64_t now_mono_ms)
{
	for (struct lane *l = h->lanes; l != NULL; l = l->next)
		lane_pump(h, l, now_mono_ms);
}

void handover_added(struct handover *h, const struct held *held)
{
	for (size_t i = 0; i < held->n_sub; i++) {
		struct lane *l = lane_of(h, held->sub[i].instance);

		lane_want(l, &held->key, (uint32_t)i);
		lane_pump(h, l, clock_mono_ms());
	}
}

void handover_free(struct handover **hp)
{
	struct handover *h = *hp;
	struct handing *g, *next;

	if (h == NULL)
		return;
	HASH_ITER(hh, h->active, g, next)
		forget(h, g);
	while (h->lanes != NULL) {
		struct lane *l = h->lanes;

		h->lanes = l->next;
		xfree(l);
	}
	idmap_free(&h->ids);
	xfree(h);
	*hp = NULL;
}
