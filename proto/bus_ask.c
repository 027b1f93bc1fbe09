/* proto/bus_ask.c - the asking side of the bus
 *
 * A link per instance asked; a question waits in its link until it may go, then is
 * open until its answer, its deadline or the end of the bus.  It keeps its packed bytes so
 * that a receiver that restarted can be asked again.  A peer's frame never stops
 * anything here: what fits no open question is counted.
 */
#include <assert.h>
#include <string.h>
#include "lib/log.h"
#include "proto/bus_private.h"

/* ---- one question ---- */

static struct ask *ask_new(struct bus *bus)
{
	struct ask *a = TAILQ_FIRST(&bus->pool);

	if (a == NULL)
		return xmalloc(sizeof(*a));
	TAILQ_REMOVE(&bus->pool, a, in_list);
	bus->n_pool--;
	return a;
}

static void ask_free(struct bus *bus, struct ask *a)
{
	blob_unref(&a->body);
	if (a->packed != a->small)
		xfree(a->packed);
	if (bus->n_pool >= BUS_POOL) {
		xfree(a);
		return;
	}
	TAILQ_INSERT_HEAD(&bus->pool, a, in_list);
	bus->n_pool++;
}

void ask_free_pool(struct bus *bus)
{
	struct ask *a;

	while ((a = TAILQ_FIRST(&bus->pool)) != NULL) {
		TAILQ_REMOVE(&bus->pool, a, in_list);
		xfree(a);
	}
}

static struct ask_list *wait_list(struct ask *a)
{
	return &a->link->wait[a->body != NULL];
}

static void ask_wait(struct ask *a, bool first)
{
	a->sent = false;
	a->link->n_wait++;
	if (first)
		TAILQ_INSERT_HEAD(wait_list(a), a, in_list);
	else
		TAILQ_INSERT_TAIL(wait_list(a), a, in_list);
}

static void ask_unlink(struct ask *a)
{
	struct bus_link *link = a->link;

	if (!a->sent) {
		TAILQ_REMOVE(wait_list(a), a, in_list);
		link->n_wait--;
		return;
	}
	TAILQ_REMOVE(&link->open, a, in_list);
	link->n_open--;
	if (a->body != NULL) {
		link->open_bodies--;
		link->open_bytes -= a->body->len;
	}
}

/* The one end of a question. */
static void ask_done(struct bus *bus, struct ask *a, enum err err,
                     const Holdfast__Frame *frame, struct blob *body)
{
	bus_answer_fn *done = a->done;
	void *owner = a->owner;
	uint64_t id = a->id;

	ask_unlink(a);
	TAILQ_REMOVE(&bus->wheel[a->due % BUS_WHEEL], a, in_wheel);
	idmap_remove(bus->asks, a->call);
	ask_free(bus, a);
	done(err, frame, body, owner, id);
}

/* ---- sending ---- */

static bool has_credit(const struct bus_link *link, const struct blob *body)
{
	if (link->n_open >= link->sock.bus->conf.common->bus_waiting_asks)
		return false;
	if (body == NULL)
		return true;
	if (link->open_bodies >= link->credit_messages)
		return false;
	/* One that is larger than all credit may go alone. */
	return link->open_bodies == 0 || (body->len <= link->credit_bytes &&
	                                  link->open_bytes <= link->credit_bytes - body->len);
}

static bool send_one(struct ask *a)
{
	struct bus_link *link = a->link;

	if (frame_send(&link->sock, a->packed, a->packed_len, a->body) != ERR_OK) {
		bus_count(link->sock.bus, BUS_FULL);
		link->blocked = true;
		return false;
	}
	ask_unlink(a);
	a->sent = true;
	TAILQ_INSERT_TAIL(&link->open, a, in_list);
	link->n_open++;
	if (a->body != NULL) {
		link->open_bodies++;
		link->open_bytes += a->body->len;
	}
	return true;
}

static void send_hello(struct bus_link *link)
{
	struct bus *bus = link->sock.bus;
	Holdfast__Hello hello = HOLDFAST__HELLO__INIT;
	Holdfast__Frame frame = HOLDFAST__FRAME__INIT;
	uint8_t packed[128];
	size_t len;
	uint64_t now = uv_now(bus->loop);

	/* A peer that knows us never in spite of Hello is not asked in a tight loop. */
	if (now < link->hello_sent_ms + BUS_TICK_MS)
		return;
	hello.protocol = BUS_PROTOCOL;
	hello.role = bus->conf.role;
	hello.instance = pb_str(bus->instance);
	hello.epoch = bus->epoch;
	frame.body_case = HOLDFAST__FRAME__BODY_HELLO;
	frame.hello = &hello;
	assert(holdfast__frame__get_packed_size(&frame) <= sizeof(packed));
	len = holdfast__frame__pack(&frame, packed);
	if (frame_send(&link->sock, packed, len, NULL) != ERR_OK) {
		link->blocked = true;
		return;
	}
	link->connected = true;
	link->hello_sent_ms = now;
	link->hello_due = false;
}

void ask_flush(struct bus_link *link)
{
	struct ask *a;

	link->blocked = false;
	if (link->hello_due)
		send_hello(link);
	for (int i = 0; i < 2 && link->state == LINK_UP; i++) {
		while (!link->blocked && (a = TAILQ_FIRST(&link->wait[i])) != NULL) {
			if (!has_credit(link, a->body) || !send_one(a))
				break;
		}
	}
}

/* ---- links ---- */

/* Everything open goes again, in its order, before what has never gone. */
static void resend_open(struct bus_link *link)
{
	struct ask *a;

	while ((a = TAILQ_LAST(&link->open, ask_list)) != NULL) {
		ask_unlink(a);
		ask_wait(a, true);
		bus_count(link->sock.bus, BUS_RESENT);
	}
}

/* The only place where a link changes state. */
static void link_state(struct bus_link *link, enum link_state to, const char *why)
{
	if (link->state == to)
		return;
	link->state = to;
	log_debug("link", LOGS("peer", link->name), LOGS("state", to == LINK_UP ? "up" : "down"),
	          LOGS("why", why));
	if (to == LINK_DOWN)
		return;
	resend_open(link);
}

void ask_events(struct bus_link *link, int events)
{
	bool connected = (events & ZMQ_POLLOUT) != 0;

	if (connected == link->connected)
		return;
	link->connected = connected;
	if (connected) {
		link->hello_due = true;
		link->hello_sent_ms = 0;
		link->missed = 0;
	} else {
		link_state(link, LINK_DOWN, "disconnected");
	}
}

static void on_welcome(struct bus_link *link, const Holdfast__Welcome *w)
{
	link->missed = 0;
	link->credit_messages = w->credit_messages;
	link->credit_bytes = w->credit_bytes;
	if (link->state == LINK_UP && w->epoch != link->epoch)
		link_state(link, LINK_DOWN, "new epoch");
	link->epoch = w->epoch;
	link_state(link, LINK_UP, "welcome");
	ask_flush(link);
}

static void on_credit(struct bus_link *link, const Holdfast__Credit *c)
{
	link->credit_messages = c->messages;
	link->credit_bytes = c->bytes;
	ask_flush(link);
}

/* Refused to Hello has no call number. */
static void on_refused_link(struct bus_link *link, const Holdfast__Refused *r)
{
	link_state(link, LINK_DOWN, "refused");
	if (link->missed++ == 0)
		log_warn("link-refused", LOGS("peer", link->name), LOGU("why", r->why),
		         LOGB("text", r->text.data, r->text.len));
}

static enum err refused_err(Holdfast__Refused__Why why)
{
	static const struct { Holdfast__Refused__Why why; enum err err; } rows[] = {
		{ HOLDFAST__REFUSED__WHY__ROLE,      ERR_PERM },
		{ HOLDFAST__REFUSED__WHY__MALFORMED, ERR_PROTO },
		{ HOLDFAST__REFUSED__WHY__UNKNOWN,   ERR_PROTO },
		{ HOLDFAST__REFUSED__WHY__PROTOCOL,  ERR_PROTO },
		{ HOLDFAST__REFUSED__WHY__BUSY,      ERR_AGAIN },
		{ HOLDFAST__REFUSED__WHY__FAILED,    ERR_IO },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		if (rows[i].why == why)
			return rows[i].err;
	return ERR_REFUSED;
}

static void on_answer(struct bus_link *link, struct bus_in *in)
{
	struct bus *bus = link->sock.bus;
	struct ask *a = idmap_get(bus->asks, in->frame->call);
	enum err err = ERR_OK;

	if (a == NULL || a->link != link) {
		bus_count(bus, BUS_LATE);
		return;
	}
	if (in->frame->body_case == HOLDFAST__FRAME__BODY_REFUSED) {
		if (in->frame->refused->why == HOLDFAST__REFUSED__WHY__NO_HELLO) {
			/* It restarted or forgot us: Hello, and on its Welcome all again. */
			link_state(link, LINK_DOWN, "no hello");
			link->hello_due = true;
			ask_flush(link);
			return;
		}
		err = refused_err(in->frame->refused->why);
	}
	if (bus->metrics != NULL)
		metric_observe(bus->metrics, BUS_ANSWER_TIME,
		               (double)(uv_now(bus->loop) - a->asked_ms) / 1000.0);
	ask_done(bus, a, err, in->frame, in->body);
	if (!bus->closing && link->n_wait > 0)
		ask_flush(link);
}

void ask_receive(struct bus_link *link, struct bus_in *in)
{
	const Holdfast__Frame *f = in->frame;

	switch ((int)f->body_case) {
	case HOLDFAST__FRAME__BODY_WELCOME:
		on_welcome(link, f->welcome);
		return;
	case HOLDFAST__FRAME__BODY_CREDIT:
		on_credit(link, f->credit);
		return;
	case HOLDFAST__FRAME__BODY__NOT_SET:
		bus_count_label(link->sock.bus, BUS_DROPPED, DROP_UNKNOWN);
		return;
	case HOLDFAST__FRAME__BODY_REFUSED:
		if (f->call == 0) {
			on_refused_link(link, f->refused);
			return;
		}
		break;
	}
	on_answer(link, in);
}

/* ---- time ---- */

static void sweep_slot(struct bus *bus, uint64_t slot, uint64_t tick)
{
	struct ask *a, *next;

	for (a = TAILQ_FIRST(&bus->wheel[slot]); a != NULL; a = next) {
		next = TAILQ_NEXT(a, in_wheel);
		if (a->due > tick)
			continue;
		bus_count(bus, BUS_TIMEOUTS);
		ask_done(bus, a, ERR_TIMEOUT, NULL, NULL);
		if (bus->closing)
			return;
	}
}

static void link_tick(struct bus_link *link, uint64_t now)
{
	int events = bus_sock_events(&link->sock);

	/* Asking may have swallowed an edge. */
	link->sock.maybe = true;
	ask_events(link, events);
	if (now >= link->hello_ms) {
		link->hello_ms = now + link->sock.bus->conf.common->bus_hello_interval_ms;
		link->hello_due = true;
		if (link->state == LINK_UP && ++link->missed > BUS_MISSED)
			link_state(link, LINK_DOWN, "silent");
	}
	ask_flush(link);
}

void ask_tick(struct bus *bus, uint64_t now)
{
	uint64_t tick = now / BUS_TICK_MS;

	for (unsigned i = 0; i < bus->n_socks; i++)
		if (bus->socks[i]->link != NULL)
			link_tick(bus->socks[i]->link, now);
	if (tick > bus->tick + BUS_WHEEL)
		bus->tick = tick - BUS_WHEEL;
	while (bus->tick < tick && !bus->closing)
		sweep_slot(bus, ++bus->tick % BUS_WHEEL, tick);
}

void ask_close_all(struct bus *bus)
{
	struct ask *a;

	for (unsigned i = 0; i < BUS_WHEEL; i++)
		while ((a = TAILQ_FIRST(&bus->wheel[i])) != NULL)
			ask_done(bus, a, ERR_CLOSED, NULL, NULL);
}

/* ---- asking ---- */

static void ask_pack(struct ask *a, Holdfast__Frame *frame, size_t len)
{
	a->packed_len = len;
	a->packed = len <= sizeof(a->small) ? a->small : xmalloc(len);
	holdfast__frame__pack(frame, a->packed);
}

static void ask_due(struct bus *bus, struct ask *a, uint32_t wait_ms)
{
	uint64_t now = uv_now(bus->loop);

	a->asked_ms = now;
	a->due = (now + wait_ms + BUS_TICK_MS - 1) / BUS_TICK_MS;
	if (a->due <= bus->tick)
		a->due = bus->tick + 1;
	TAILQ_INSERT_TAIL(&bus->wheel[a->due % BUS_WHEEL], a, in_wheel);
}

enum err bus_ask(struct bus *bus, struct bus_to to, Holdfast__Frame *frame, struct blob *body,
                 uint32_t wait_ms, bus_answer_fn *done, void *owner, uint64_t id)
{
	const struct common_conf *common = bus->conf.common;
	struct bus_link *link;
	struct ask *a;
	size_t len;

	if (bus->closing)
		return ERR_CLOSED;
	if (to.stage >= BUS_STAGES || to.instance >= bus->stage[to.stage].n ||
	    bus->stage[to.stage].links == NULL)
		return ERR_NOENT;
	link = &bus->stage[to.stage].links[to.instance];
	if (link->sock.zmq == NULL)
		return ERR_BADSTATE; /* this is ourselves */
	if (link->n_wait >= common->bus_waiting_asks)
		return ERR_FULL;
	frame->call = UINT64_MAX; /* the longest that it can be */
	len = holdfast__frame__get_packed_size(frame);
	if (len > common->bus_frame_bytes || (body != NULL && body->len > common->bus_body_bytes))
		return ERR_TOOBIG;

	a = ask_new(bus);
	a->link = link;
	a->done = done;
	a->owner = owner;
	a->id = id;
	a->body = body != NULL ? blob_ref(body) : NULL;
	frame->call = a->call = idmap_add(bus->asks, a);
	ask_pack(a, frame, holdfast__frame__get_packed_size(frame));
	ask_due(bus, a, wait_ms);
	bus_count(bus, BUS_ASKS);
	ask_wait(a, false);
	if (link->state == LINK_UP && !link->blocked)
		ask_flush(link);
	return ERR_OK;
}

size_t bus_open_asks(const struct bus *bus)
{
	return idmap_count(bus->asks);
}
