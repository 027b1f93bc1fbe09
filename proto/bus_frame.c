/* proto/bus_frame.c - one message of the bus, in or out
 *
 * A message is [routing id on a ROUTER,] a packed Frame, and perhaps a body.  Sizes and
 * the number of parts are checked before anything is unpacked; unpacking takes its
 * memory from one arena with a fixed end, so that a small frame cannot unfold
 * into much.  Nothing here waits: all sends and receives are DONTWAIT.
 */
#include <errno.h>
#include <string.h>
#include "lib/log.h"
#include "proto/bus_private.h"

#define ARENA_MIN (1024 * 1024)

static void *arena_alloc(void *data, size_t size)
{
	struct bus_arena *a = data;
	void *p = a->p + a->used;

	if (size > a->cap - a->used)
		return NULL;
	size = (size + 15) & ~(size_t)15;
	if (size > a->cap - a->used)
		return NULL;
	a->used += size;
	return p;
}

static void arena_keep(void *data, void *p)
{
}

void frame_limits(struct bus *bus)
{
	size_t cap = bus->conf.common->bus_frame_bytes * 16;

	bus->arena.cap = cap < ARENA_MIN ? ARENA_MIN : cap;
	bus->arena.p = xmalloc(bus->arena.cap);
	bus->alloc = (ProtobufCAllocator){ arena_alloc, arena_keep, &bus->arena };
}

void frame_limits_free(struct bus *bus)
{
	xfree(bus->arena.p);
	bus->arena.p = NULL;
}

static void free_msg(void *hint)
{
	zmq_msg_close(hint);
	xfree(hint);
}

/* Small bodies are copied: a small message would pin a large buffer of libzmq. */
static struct blob *body_take(zmq_msg_t *m)
{
	size_t len = zmq_msg_size(m);
	zmq_msg_t *kept;

	if (len < BUS_ZERO_COPY)
		return blob_copy(zmq_msg_data(m), len);
	kept = xmalloc(sizeof(*kept));
	zmq_msg_init(kept);
	zmq_msg_move(kept, m);
	return blob_wrap(zmq_msg_data(kept), len, free_msg, kept);
}

/* Throw away the rest of a multipart message. */
static void drain(void *zmq)
{
	zmq_msg_t m;
	int more = 1;
	size_t len = sizeof(more);

	while (zmq_getsockopt(zmq, ZMQ_RCVMORE, &more, &len) == 0 && more) {
		zmq_msg_init(&m);
		if (zmq_msg_recv(&m, zmq, ZMQ_DONTWAIT) < 0)
			more = 0;
		zmq_msg_close(&m);
	}
}

static enum err drop(struct bus_sock *s, enum bus_drop why)
{
	drain(s->zmq);
	bus_count_label(s->bus, BUS_DROPPED, why);
	return ERR_PROTO;
}

static enum err judge(struct bus_sock *s, struct bus_in *in, zmq_msg_t *frame, zmq_msg_t *body,
                      bool has_body)
{
	struct bus *bus = s->bus;

	if (zmq_msg_size(frame) > bus->conf.common->bus_frame_bytes)
		return drop(s, DROP_OVERSIZE);
	if (has_body && zmq_msg_size(body) > bus->conf.common->bus_body_bytes)
		return drop(s, DROP_OVERSIZE);
	bus->arena.used = 0;
	in->frame = holdfast__frame__unpack(&bus->alloc, zmq_msg_size(frame), zmq_msg_data(frame));
	if (in->frame == NULL)
		return drop(s, DROP_MALFORMED);
	if (has_body)
		in->body = body_take(body);
	return ERR_OK;
}

static enum err recv_parts(struct bus_sock *s, struct bus_in *in, zmq_msg_t *frame,
                           zmq_msg_t *body)
{
	bool has_body;

	if (zmq_msg_recv(frame, s->zmq, ZMQ_DONTWAIT) < 0)
		return s->link == NULL ? drop(s, DROP_MALFORMED) : ERR_AGAIN;
	s->maybe = true;
	bus_count(s->bus, BUS_FRAMES_IN);
	has_body = zmq_msg_more(frame);
	if (has_body && zmq_msg_recv(body, s->zmq, ZMQ_DONTWAIT) < 0)
		return drop(s, DROP_MALFORMED);
	if (has_body && zmq_msg_more(body))
		return drop(s, DROP_MALFORMED);
	return judge(s, in, frame, body, has_body);
}

enum err frame_recv(struct bus_sock *s, struct bus_in *in)
{
	zmq_msg_t frame, body;
	enum err err;
	int n = 0;

	*in = (struct bus_in){ .rid_len = 0 };
	if (s->link == NULL) {
		n = zmq_recv(s->zmq, in->rid, sizeof(in->rid), ZMQ_DONTWAIT);
		if (n < 0)
			return ERR_AGAIN;
		if (n == 0 || (size_t)n > sizeof(in->rid))
			return drop(s, DROP_MALFORMED);
	}
	in->rid_len = (size_t)n;
	zmq_msg_init(&frame);
	zmq_msg_init(&body);
	err = recv_parts(s, in, &frame, &body);
	zmq_msg_close(&body);
	zmq_msg_close(&frame);
	return err;
}

void frame_in_free(struct bus_in *in)
{
	blob_unref(&in->body);
	in->frame = NULL;
}

/* Runs on libzmq's thread. */
static void release_blob(void *data, void *hint)
{
	struct blob *b = hint;

	blob_unref(&b);
}

static void body_msg(zmq_msg_t *m, struct blob *body)
{
	int rc;

	if (body->len < BUS_ZERO_COPY) {
		rc = zmq_msg_init_size(m, body->len);
		if (rc == 0 && body->len > 0)
			memcpy(zmq_msg_data(m), body->data, body->len);
	} else {
		rc = zmq_msg_init_data(m, (void *)(uintptr_t)body->data, body->len, release_blob,
		                       blob_ref(body));
	}
	if (rc != 0)
		die_bug("zmq_msg_init");
}

/* The first part decides: what follows it is taken or dropped with it. */
static enum err send_parts(struct bus_sock *s, zmq_msg_t *frame, struct blob *body)
{
	zmq_msg_t m;

	s->maybe = true;
	if (zmq_msg_send(frame, s->zmq, ZMQ_DONTWAIT | (body != NULL ? ZMQ_SNDMORE : 0)) < 0) {
		zmq_msg_close(frame);
		return ERR_AGAIN;
	}
	if (body != NULL) {
		body_msg(&m, body);
		if (zmq_msg_send(&m, s->zmq, ZMQ_DONTWAIT) < 0) {
			zmq_msg_close(&m);
			return ERR_AGAIN;
		}
	}
	bus_count(s->bus, BUS_FRAMES_OUT);
	return ERR_OK;
}

enum err frame_send(struct bus_sock *s, const void *packed, size_t len, struct blob *body)
{
	zmq_msg_t m;

	if (zmq_msg_init_size(&m, len) != 0)
		die_bug("zmq_msg_init_size");
	memcpy(zmq_msg_data(&m), packed, len);
	return send_parts(s, &m, body);
}

enum err frame_answer(struct bus *bus, const uint8_t *rid, size_t rid_len,
                      const Holdfast__Frame *frame, struct blob *body)
{
	size_t len = holdfast__frame__get_packed_size(frame);
	zmq_msg_t m;
	enum err err;

	if (bus->router.zmq == NULL)
		return ERR_LINK;
	if (len > bus->conf.common->bus_frame_bytes ||
	    (body != NULL && body->len > bus->conf.common->bus_body_bytes)) {
		bus_count_label(bus, BUS_DROPPED, DROP_OVERSIZE);
		return ERR_TOOBIG;
	}
	bus->router.maybe = true;
	if (zmq_send(bus->router.zmq, rid, rid_len, ZMQ_DONTWAIT | ZMQ_SNDMORE) < 0) {
		err = errno == EHOSTUNREACH ? ERR_LINK : ERR_AGAIN;
		bus_count(bus, err == ERR_LINK ? BUS_GONE : BUS_FULL);
		return err;
	}
	if (zmq_msg_init_size(&m, len) != 0)
		die_bug("zmq_msg_init_size");
	holdfast__frame__pack(frame, zmq_msg_data(&m));
	err = send_parts(&bus->router, &m, body);
	if (err != ERR_OK)
		bus_count(bus, BUS_FULL);
	return err;
}
