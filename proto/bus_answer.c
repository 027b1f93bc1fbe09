/* proto/bus_answer.c - the answering side of the bus
 *
 * Knows each peer by its routing id from its Hello on, for as long as Hellos come.
 * A handler runs only for a question whose sender is known, whose role may ask it and
 * whose body, if any, fits what was granted.  Nothing here trusts a peer: what is wrong
 * is refused and counted.
 */
#include <string.h>
#include "lib/log.h"
#include "proto/bus_private.h"

#define TELL_MS 10000 /* between log lines that a peer can cause */

/* refuse() texts are short and static, so the frame always fits. */
static void refuse(struct bus *bus, const struct bus_in *in, Holdfast__Refused__Why why,
                   const char *text)
{
	Holdfast__Refused refused = HOLDFAST__REFUSED__INIT;
	Holdfast__Frame frame = HOLDFAST__FRAME__INIT;

	bus_count_label(bus, BUS_REFUSED, why);
	if (in->frame->call == 0 && in->frame->body_case != HOLDFAST__FRAME__BODY_HELLO)
		return;
	refused.why = why;
	refused.text = pb_str(text);
	frame.call = in->frame->call;
	frame.body_case = HOLDFAST__FRAME__BODY_REFUSED;
	frame.refused = &refused;
	(void)frame_answer(bus, in->rid, in->rid_len, &frame, NULL); /* counted there */
}

/* ---- peers ---- */

static struct bus_peer *peer_find(struct bus *bus, const uint8_t *rid, size_t len)
{
	struct bus_peer *p;

	HASH_FIND(hh, bus->peers, rid, len, p);
	return p;
}

static void peer_free(struct bus *bus, struct bus_peer *p)
{
	HASH_DEL(bus->peers, p);
	xfree(p);
}

static bool hello_fits(const Holdfast__Hello *h)
{
	if (h->role <= HOLDFAST__ROLE__ROLE_NONE || h->role > HOLDFAST__ROLE__ROLE_REVIEWER)
		return false;
	if (h->instance.len == 0 || h->instance.len > 32 || h->epoch == 0)
		return false;
	for (size_t i = 0; i < h->instance.len; i++)
		if (h->instance.data[i] <= ' ' || h->instance.data[i] > '~')
			return false;
	return true;
}

static void grant_now(const struct bus *bus, uint32_t *messages, uint64_t *bytes)
{
	*messages = bus->granting ? (uint32_t)bus->conf.common->bus_credit_messages : 0;
	*bytes = bus->granting ? bus->conf.common->bus_credit_bytes : 0;
}

static void welcome(struct bus *bus, const struct bus_in *in)
{
	Holdfast__Welcome w = HOLDFAST__WELCOME__INIT;
	Holdfast__Frame frame = HOLDFAST__FRAME__INIT;

	w.epoch = bus->epoch;
	grant_now(bus, &w.credit_messages, &w.credit_bytes);
	frame.call = in->frame->call;
	frame.body_case = HOLDFAST__FRAME__BODY_WELCOME;
	frame.welcome = &w;
	(void)frame_answer(bus, in->rid, in->rid_len, &frame, NULL); /* counted there */
}

static void other_protocol(struct bus *bus, const struct bus_in *in)
{
	const Holdfast__Hello *h = in->frame->hello;
	uint64_t now = uv_now(bus->loop);

	refuse(bus, in, HOLDFAST__REFUSED__WHY__PROTOCOL, "protocol is not spoken here");
	if (bus->told_ms != 0 && now < bus->told_ms + TELL_MS)
		return;
	bus->told_ms = now;
	log_warn("bus-protocol", LOGB("peer", h->instance.data, h->instance.len),
	         LOGU("theirs", h->protocol), LOGU("ours", BUS_PROTOCOL));
}

static struct bus_peer *peer_new(struct bus *bus, const struct bus_in *in)
{
	struct bus_peer *p = xcalloc(1, sizeof(*p));

	memcpy(p->rid, in->rid, in->rid_len);
	p->rid_len = in->rid_len;
	HASH_ADD(hh, bus->peers, rid, p->rid_len, p);
	return p;
}

static void on_hello(struct bus *bus, const struct bus_in *in)
{
	const Holdfast__Hello *h = in->frame->hello;
	struct bus_peer *p;
	bool is_new;

	if (h->protocol != BUS_PROTOCOL) {
		other_protocol(bus, in);
		return;
	}
	if (!hello_fits(h)) {
		refuse(bus, in, HOLDFAST__REFUSED__WHY__MALFORMED, "Hello is out of bounds");
		return;
	}
	p = peer_find(bus, in->rid, in->rid_len);
	if (p == NULL && HASH_COUNT(bus->peers) >= BUS_PEERS) {
		refuse(bus, in, HOLDFAST__REFUSED__WHY__BUSY, "too many peers");
		return;
	}
	if (p == NULL)
		p = peer_new(bus, in);
	is_new = p->epoch != h->epoch;
	if (is_new) {
		p->open_bodies = 0;
		p->open_bytes = 0;
	}
	p->role = h->role;
	memcpy(p->instance, h->instance.data, h->instance.len);
	p->instance[h->instance.len] = '\0';
	p->epoch = h->epoch;
	p->heard_ms = uv_now(bus->loop);
	welcome(bus, in);
	if (is_new && bus->conf.peer != NULL)
		bus->conf.peer(bus->conf.state, p->role, p->instance, p->epoch);
}

static void peer_credit(struct bus *bus, struct bus_peer *p)
{
	Holdfast__Credit c = HOLDFAST__CREDIT__INIT;
	Holdfast__Frame frame = HOLDFAST__FRAME__INIT;

	grant_now(bus, &c.messages, &c.bytes);
	frame.body_case = HOLDFAST__FRAME__BODY_CREDIT;
	frame.credit = &c;
	(void)frame_answer(bus, p->rid, p->rid_len, &frame, NULL); /* counted there */
}

void bus_grant(struct bus *bus, bool open)
{
	if (bus->granting == open)
		return;
	bus->granting = open;
	for (struct bus_peer *p = bus->peers; p != NULL; p = p->hh.next)
		peer_credit(bus, p);
}

void answer_tick(struct bus *bus, uint64_t now)
{
	struct bus_peer *p, *next;
	uint64_t silence = 10 * bus->conf.common->bus_hello_interval_ms;

	if (silence < BUS_PEER_MS)
		silence = BUS_PEER_MS;
	if (now < bus->sweep_ms)
		return;
	bus->sweep_ms = now + 1000;
	HASH_ITER(hh, bus->peers, p, next)
		if (now > p->heard_ms + silence)
			peer_free(bus, p);
}

void answer_free(struct bus *bus)
{
	struct bus_peer *p, *next;

	HASH_ITER(hh, bus->peers, p, next)
		peer_free(bus, p);
}

/* ---- questions ---- */

/* Credit is the asker's to keep.  One that timed out there and is asked again may still be
 * at work here, so refuse only what goes beyond twice the grant. */
static bool over_credit(const struct bus *bus, const struct bus_peer *p, uint64_t bytes)
{
	const struct common_conf *c = bus->conf.common;

	if (p->open_bodies == 0)
		return false;
	return p->open_bodies >= 2 * c->bus_credit_messages ||
	       p->open_bytes + bytes > 2 * c->bus_credit_bytes;
}

struct judgement {
	Holdfast__Refused__Why why;
	const char *text; /* NULL: go on */
};

static struct judgement judge(const struct bus *bus, const struct bus_peer *p,
                              const struct bus_handler *h, const struct bus_in *in)
{
	if (p == NULL)
		return (struct judgement){ HOLDFAST__REFUSED__WHY__NO_HELLO, "Hello first" };
	if (h == NULL)
		return (struct judgement){ HOLDFAST__REFUSED__WHY__UNKNOWN, "no handler" };
	if (!(h->roles & BUS_ROLE(p->role)))
		return (struct judgement){ HOLDFAST__REFUSED__WHY__ROLE, "not for this role" };
	if (in->body != NULL && (!h->takes_body || in->frame->call == 0))
		return (struct judgement){ HOLDFAST__REFUSED__WHY__MALFORMED, "takes no body" };
	if (in->body != NULL && over_credit(bus, p, in->body->len))
		return (struct judgement){ HOLDFAST__REFUSED__WHY__BUSY, "over credit" };
	return (struct judgement){ 0, NULL };
}

static const struct bus_handler *handler_of(const struct bus *bus, const Holdfast__Frame *f)
{
	unsigned at = (unsigned)f->body_case;

	return at > 0 && at < BUS_BODY_CASES ? bus->handler[at] : NULL;
}

static void run(struct bus *bus, struct bus_peer *p, const struct bus_handler *h,
                struct bus_in *in)
{
	struct bus_from from = {
		.rid_len = (uint8_t)in->rid_len, .role = (uint8_t)p->role,
		.call = in->frame->call, .epoch = p->epoch,
	};

	memcpy(from.rid, in->rid, in->rid_len);
	memcpy(from.instance, p->instance, sizeof(from.instance));
	if (in->body != NULL) {
		/* An empty body counts as one byte, so that 0 says "none". */
		from.body_bytes = in->body->len > 0 ? in->body->len : 1;
		p->open_bodies++;
		p->open_bytes += from.body_bytes;
	}
	h->run(bus->conf.state, &from, in->frame, in->body);
}

void answer_receive(struct bus *bus, struct bus_in *in)
{
	const struct bus_handler *h;
	struct bus_peer *p;
	struct judgement j;

	if (in->frame->body_case == HOLDFAST__FRAME__BODY_HELLO) {
		on_hello(bus, in);
		return;
	}
	p = peer_find(bus, in->rid, in->rid_len);
	h = handler_of(bus, in->frame);
	j = judge(bus, p, h, in);
	if (j.text == NULL)
		run(bus, p, h, in);
	else
		refuse(bus, in, j.why, j.text);
}

/* ---- answers ---- */

static void give_back(struct bus *bus, const struct bus_from *from)
{
	struct bus_peer *p;

	if (from->body_bytes == 0)
		return;
	p = peer_find(bus, from->rid, from->rid_len);
	if (p == NULL || p->epoch != from->epoch || p->open_bodies == 0 ||
	    p->open_bytes < from->body_bytes)
		return;
	p->open_bodies--;
	p->open_bytes -= from->body_bytes;
}

static enum err answer(struct bus *bus, const struct bus_from *from, Holdfast__Frame *frame,
                       struct blob *body)
{
	if (from->call == 0)
		return ERR_OK;
	frame->call = from->call;
	return frame_answer(bus, from->rid, from->rid_len, frame, body);
}

static enum err answer_refused(struct bus *bus, const struct bus_from *from,
                               Holdfast__Refused__Why why, const char *text)
{
	Holdfast__Refused refused = HOLDFAST__REFUSED__INIT;
	Holdfast__Frame frame = HOLDFAST__FRAME__INIT;

	bus_count_label(bus, BUS_REFUSED, why);
	refused.why = why;
	refused.text = pb_str(text);
	frame.body_case = HOLDFAST__FRAME__BODY_REFUSED;
	frame.refused = &refused;
	return answer(bus, from, &frame, NULL);
}

void bus_answer(struct bus *bus, const struct bus_from *from, Holdfast__Frame *frame,
                struct blob *body)
{
	give_back(bus, from);
	if (answer(bus, from, frame, body) != ERR_TOOBIG)
		return; /* anything else is counted, and the asker's deadline deals with it */
	log_error("bus-answer-too-big", LOGU("message", frame->body_case),
	          LOGS("peer", from->instance));
	(void)answer_refused(bus, from, HOLDFAST__REFUSED__WHY__FAILED, "answer is too big");
}

void bus_refuse(struct bus *bus, const struct bus_from *from, Holdfast__Refused__Why why,
                const char *text)
{
	give_back(bus, from);
	(void)answer_refused(bus, from, why, text); /* counted in frame_answer() */
}

void bus_done(struct bus *bus, const struct bus_from *from, Holdfast__Done__Result result,
              const char *text)
{
	Holdfast__Done done = HOLDFAST__DONE__INIT;
	Holdfast__Frame frame = HOLDFAST__FRAME__INIT;

	done.result = result;
	done.text = pb_str(text != NULL ? text : "");
	frame.body_case = HOLDFAST__FRAME__BODY_DONE;
	frame.done = &done;
	bus_answer(bus, from, &frame, NULL);
}
