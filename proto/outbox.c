/* proto/outbox.c - events from a store to policy, in order, each until it is synced there
 *
 * Key: seq, 8 bytes big-endian; value: packed Event.  One more record, key "\xff", is the
 * seq up to which numbers were handed out at most: it is written ahead of use, so
 * that a number is never used twice even when all events are acknowledged and deleted.
 * What a walk of the store finds is durable, and batches become durable in order,
 * so reading on from where an outlet stood never passes an event by.
 */
#include <inttypes.h>
#include <string.h>
#include "lib/clock.h"
#include "lib/log.h"
#include "lib/mem.h"
#include "proto/outbox.h"

#define WINDOW      256            /* events in one frame; one frame open an outlet */
#define WORTH       128            /* events that go at once ... */
#define PACE_MS     20             /* ... fewer wait so long after the frame before them: each
                                    * frame costs policy a sync */
#define SCAN        8192           /* records looked at in one go */
#define RESERVE     (1u << 20)     /* seqs reserved at a time */
#define WAIT_MS     10000
#define RETRY_MIN   2              /* ticks */
#define RETRY_MAX   50
#define FRAME_SPARE 256            /* Frame, source, lengths */
#define EVENT_SPARE 8
#define KEY_LEN     8

/* To one policy instance. */
struct outlet {
	uint64_t read;             /* all before it is acknowledged, or another's */
	uint64_t next;             /* where to read on when what is open is acknowledged */
	uint64_t last_added;       /* newest event for it: nothing to read when before `read` */
	uint64_t open[WINDOW];     /* seqs in the open frame */
	unsigned n_open;
	unsigned wait, backoff;    /* ticks */
	uint64_t sent_ms;          /* the last frame */
	uint64_t added;            /* events since, more or less */
	bool self;                 /* policy applies its own events itself */
};

struct outbox {
	struct kv *kv;
	unsigned cf;
	struct bus *bus;
	uint64_t seq, reserved;
	uint64_t unsent;
	unsigned n;
	struct outlet *outlet;
	unsigned asks;             /* open: they hold us */
	bool closed;
};

static const char reserve_key[] = "\xff";

static void put_u64(uint8_t out[KEY_LEN], uint64_t v)
{
	for (int i = 0; i < KEY_LEN; i++)
		out[i] = (uint8_t)(v >> (56 - 8 * i));
}

static uint64_t get_u64(const void *p)
{
	const uint8_t *b = p;
	uint64_t v = 0;

	for (int i = 0; i < KEY_LEN; i++)
		v = v << 8 | b[i];
	return v;
}

/* ---- numbers ---- */

static void reserve(struct outbox *o)
{
	struct kv_batch *b = kv_batch_new();
	uint8_t v[KEY_LEN];

	o->reserved = o->seq + RESERVE;
	put_u64(v, o->reserved);
	kv_put(b, o->cf, reserve_key, 1, v, sizeof(v));
	kv_write(o->kv, &b, NULL, NULL, 0); /* before every batch that uses the numbers */
}

static enum err read_reserved(struct outbox *o)
{
	struct buf b = BUF_INIT;
	enum err err = kv_get(o->kv, o->cf, reserve_key, 1, &b);

	if (err == ERR_OK && b.len == KEY_LEN)
		o->seq = get_u64(b.data);
	else if (err == ERR_OK)
		err = ERR_CORRUPT;
	else if (err == ERR_NOENT)
		err = ERR_OK;
	buf_free(&b);
	return err;
}

/* ---- reading ---- */

static struct kv_iter *walk(struct outbox *o, uint64_t from)
{
	uint8_t key[KEY_LEN];

	put_u64(key, from);
	return kv_iter_new(o->kv, o->cf, key, sizeof(key), reserve_key, 1);
}

/* The event at it, or NULL for a record that cannot be read; *seq is set. */
static Holdfast__Event *event_at(const struct kv_iter *it, uint64_t *seq)
{
	size_t klen, vlen;
	const void *key = kv_iter_key(it, &klen);
	const void *val = kv_iter_value(it, &vlen);
	Holdfast__Event *ev;

	*seq = klen == KEY_LEN ? get_u64(key) : 0;
	ev = klen == KEY_LEN ? holdfast__event__unpack(NULL, vlen, val) : NULL;
	if (ev == NULL)
		log_error("outbox-record", LOGU("seq", *seq), LOGU("bytes", vlen));
	return ev;
}

static unsigned outlet_of(const struct outbox *o, const Holdfast__Event *ev)
{
	const ProtobufCBinaryData *by = ev->kind == HOLDFAST__EVENT_KIND__EVENT_LIST_BLOCK
	                                ? &ev->key : &ev->account;

	return bus_shard(o->bus, HOLDFAST__ROLE__ROLE_POLICY, by->data, by->len);
}

struct gather {
	Holdfast__Event *event[WINDOW];
	unsigned n;
	size_t bytes;
	uint64_t next;
	bool more; /* the walk ended before the store did */
};

static void gather_free(struct gather *g)
{
	for (unsigned i = 0; i < g->n; i++)
		holdfast__event__free_unpacked(g->event[i], NULL);
	g->n = 0;
}

/* False: no room for it. */
static bool gather_add(struct outbox *o, struct gather *g, Holdfast__Event *ev, size_t len)
{
	len += EVENT_SPARE;
	if (g->n == WINDOW || g->bytes + len + FRAME_SPARE > bus_frame_limit(o->bus))
		return false;
	g->event[g->n++] = ev;
	g->bytes += len;
	return true;
}

static enum err gather(struct outbox *o, unsigned at, struct gather *g)
{
	struct kv_iter *it = walk(o, o->outlet[at].read);
	unsigned looked = 0;

	g->next = o->outlet[at].read;
	while (!g->more && kv_iter_next(it)) {
		uint64_t seq;
		size_t len;
		Holdfast__Event *ev = event_at(it, &seq);

		kv_iter_value(it, &len);
		if (ev != NULL && outlet_of(o, ev) == at && !gather_add(o, g, ev, len)) {
			holdfast__event__free_unpacked(ev, NULL);
			g->more = true;
			if (g->n == 0) {
				log_error("outbox-too-big", LOGU("seq", seq), LOGU("bytes", len));
				g->next = seq + 1;
			}
			break;
		}
		if (ev != NULL && (g->n == 0 || g->event[g->n - 1] != ev))
			holdfast__event__free_unpacked(ev, NULL);
		g->next = seq + 1;
		g->more = ++looked == SCAN;
	}
	return kv_iter_free(&it);
}

/* ---- sending ---- */

static void send_next(struct outbox *o, unsigned at);

static void later(struct outlet *t)
{
	t->backoff = t->backoff == 0 ? RETRY_MIN : t->backoff * 2;
	if (t->backoff > RETRY_MAX)
		t->backoff = RETRY_MAX;
	t->wait = t->backoff;
}

static void outbox_free(struct outbox *o)
{
	xfree(o->outlet);
	xfree(o);
}

/* Everything up to seq is durable in policy: forget it here. */
static void acknowledged(struct outbox *o, struct outlet *t, uint64_t seq)
{
	struct kv_batch *b = kv_batch_new();
	uint8_t key[KEY_LEN];
	unsigned n = 0;

	for (; n < t->n_open && t->open[n] <= seq; n++) {
		put_u64(key, t->open[n]);
		kv_del(b, o->cf, key, sizeof(key));
	}
	o->unsent -= n < o->unsent ? n : o->unsent;
	if (n == t->n_open)
		t->read = t->next;
	else if (n > 0)
		t->read = t->open[n - 1] + 1;
	if (kv_batch_empty(b))
		kv_batch_free(&b);
	else
		kv_write_lazy(o->kv, &b);
}

static bool ack_fits(const struct outbox *o, const Holdfast__Frame *f)
{
	return f->body_case == HOLDFAST__FRAME__BODY_EVENTS_ACK &&
	       f->events_ack->source.len == 16 &&
	       memcmp(f->events_ack->source.data, kv_store_id(o->kv), 16) == 0;
}

static void on_ack(enum err err, const Holdfast__Frame *frame, struct blob *body, void *owner,
                   uint64_t at)
{
	struct outbox *o = owner;
	struct outlet *t = &o->outlet[at];
	bool all;

	o->asks--;
	if (o->closed) {
		if (o->asks == 0)
			outbox_free(o);
		return;
	}
	if (err == ERR_OK && !ack_fits(o, frame))
		err = ERR_PROTO;
	if (err == ERR_OK) {
		all = frame->events_ack->seq >= t->open[t->n_open - 1];
		acknowledged(o, t, frame->events_ack->seq);
		t->n_open = 0;
		t->backoff = 0;
		if (all)
			send_next(o, (unsigned)at);
		else
			later(t);
		return;
	}
	t->n_open = 0;
	later(t);
	if (err != ERR_CLOSED)
		log_debug("outbox-retry", LOGE(err), LOGU("outlet", at));
}

static enum err ask(struct outbox *o, unsigned at, struct gather *g)
{
	Holdfast__Events events = HOLDFAST__EVENTS__INIT;
	Holdfast__Frame frame = HOLDFAST__FRAME__INIT;
	struct bus_to to = { HOLDFAST__ROLE__ROLE_POLICY, at };

	events.source = pb_bytes(kv_store_id(o->kv), 16);
	events.n_event = g->n;
	events.event = g->event;
	frame.body_case = HOLDFAST__FRAME__BODY_EVENTS;
	frame.events = &events;
	return bus_ask(o->bus, to, &frame, NULL, WAIT_MS, on_ack, o, at);
}

/* The events lie safe here; they may gather a little. */
static bool too_soon(const struct outlet *t)
{
	return t->added < WORTH && clock_mono_ms() - t->sent_ms < PACE_MS;
}

static void send_next(struct outbox *o, unsigned at)
{
	struct outlet *t = &o->outlet[at];
	struct gather g = { .n = 0 };

	if (t->n_open > 0 || t->wait > 0 || t->self || t->last_added < t->read || too_soon(t))
		return;
	if (gather(o, at, &g) != ERR_OK) {
		gather_free(&g);
		later(t);
		return;
	}
	if (g.n == 0) {
		t->read = g.next; /* others' events only */
		t->wait = g.more ? 1 : 0;
		return;
	}
	for (unsigned i = 0; i < g.n; i++)
		t->open[i] = g.event[i]->seq;
	t->next = g.next;
	if (ask(o, at, &g) == ERR_OK) {
		t->n_open = g.n;
		t->added -= g.n < t->added ? g.n : t->added;
		t->sent_ms = clock_mono_ms();
		o->asks++;
	} else {
		later(t);
	}
	gather_free(&g);
}

/* ---- the outside ---- */

/* Count what is there and find the highest number. */
static enum err survey(struct outbox *o)
{
	struct kv_iter *it = walk(o, 0);
	uint64_t last = 0;

	while (kv_iter_next(it)) {
		size_t len;
		const void *key = kv_iter_key(it, &len);

		if (len == KEY_LEN)
			last = get_u64(key);
		o->unsent++;
	}
	if (o->seq <= last)
		o->seq = last + 1;
	for (unsigned i = 0; i < o->n; i++)
		o->outlet[i].last_added = last;
	return kv_iter_free(&it);
}

enum err outbox_open(struct kv *kv, unsigned cf, struct bus *bus, struct outbox **out)
{
	struct outbox *o = xcalloc(1, sizeof(*o));
	enum err err;

	o->kv = kv;
	o->cf = cf;
	o->bus = bus;
	o->seq = 1;
	o->n = bus_instances(bus, HOLDFAST__ROLE__ROLE_POLICY);
	o->outlet = xcalloc(o->n > 0 ? o->n : 1, sizeof(*o->outlet));
	for (unsigned i = 0; i < o->n; i++) {
		o->outlet[i].read = 1;
		o->outlet[i].self = bus_is_self(bus, HOLDFAST__ROLE__ROLE_POLICY, i);
	}
	err = read_reserved(o);
	if (err == ERR_OK)
		err = survey(o);
	if (err != ERR_OK) {
		outbox_free(o);
		return err;
	}
	reserve(o);
	*out = o;
	return ERR_OK;
}

void outbox_close(struct outbox **po)
{
	struct outbox *o = *po;

	if (o == NULL)
		return;
	*po = NULL;
	o->closed = true;
	if (o->asks == 0)
		outbox_free(o);
}

void outbox_add(struct outbox *o, struct kv_batch *batch, Holdfast__Event *ev)
{
	unsigned at = outlet_of(o, ev);
	uint8_t key[KEY_LEN];
	uint8_t *val;
	size_t len;

	if (at < o->n && o->outlet[at].self)
		return;
	ev->seq = o->seq++;
	if (o->seq + RESERVE / 2 > o->reserved)
		reserve(o);
	len = holdfast__event__get_packed_size(ev);
	val = xmalloc(len);
	holdfast__event__pack(ev, val);
	put_u64(key, ev->seq);
	kv_put(batch, o->cf, key, sizeof(key), val, len);
	xfree(val);
	o->unsent++;
	if (at < o->n) {
		o->outlet[at].last_added = ev->seq;
		o->outlet[at].added++;
	}
}

void outbox_kick(struct outbox *o)
{
	if (o == NULL)
		return;
	for (unsigned i = 0; i < o->n; i++)
		send_next(o, i);
}

void outbox_tick(struct outbox *o)
{
	for (unsigned i = 0; i < o->n; i++)
		if (o->outlet[i].wait > 0)
			o->outlet[i].wait--;
	outbox_kick(o);
}

uint64_t outbox_unsent(const struct outbox *o)
{
	return o->unsent;
}

enum err outbox_each(struct outbox *o, outbox_event_fn *fn, void *arg)
{
	struct kv_iter *it = walk(o, 0);

	while (kv_iter_next(it)) {
		uint64_t seq;
		Holdfast__Event *ev = event_at(it, &seq);

		if (ev == NULL)
			continue;
		/* What is acknowledged may lie here until its lazy delete is written. */
		if (seq >= o->outlet[outlet_of(o, ev)].read)
			fn(arg, ev);
		holdfast__event__free_unpacked(ev, NULL);
	}
	return kv_iter_free(&it);
}
