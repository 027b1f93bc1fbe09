/* tests/unit/test_bus_raw.c - the bus against peers that misbehave or forget */
#include "tests/unit/bus_ends.h"
#include <sys/stat.h>
#include <zmq.h>

struct raw {
	void *ctx, *sock;
};

static void raw_open(struct raw *r, int type)
{
	int zero = 0;

	r->ctx = zmq_ctx_new();
	r->sock = zmq_socket(r->ctx, type);
	zmq_setsockopt(r->sock, ZMQ_LINGER, &zero, sizeof(zero));
	if (type == ZMQ_DEALER) {
		assert_int_equal(zmq_setsockopt(r->sock, ZMQ_ROUTING_ID, "raw", 3), 0);
		assert_int_equal(zmq_connect(r->sock, rig.endpoint[0]), 0);
	} else {
		assert_int_equal(zmq_bind(r->sock, rig.endpoint[0]), 0);
	}
}

static void raw_close(struct raw *r)
{
	zmq_close(r->sock);
	zmq_ctx_term(r->ctx);
}

static void raw_parts(struct raw *r, const void *p, size_t len, int parts)
{
	for (int i = 0; i < parts; i++)
		assert_int_equal(zmq_send(r->sock, p, len, i + 1 < parts ? ZMQ_SNDMORE : 0), (int)len);
}

static void raw_frame(struct raw *r, const Holdfast__Frame *f)
{
	uint8_t packed[512];
	size_t len = holdfast__frame__get_packed_size(f);

	assert_true(len <= sizeof(packed));
	holdfast__frame__pack(f, packed);
	raw_parts(r, packed, len, 1);
}

/* The next frame that comes, in parts without a routing id. */
static Holdfast__Frame *raw_next(struct raw *r)
{
	uint8_t in[1024];
	int n = -1;

	RIG_UNTIL(&rig, (n = zmq_recv(r->sock, in, sizeof(in), ZMQ_DONTWAIT)) >= 0);
	return holdfast__frame__unpack(NULL, (size_t)n, in);
}

static void raw_expect_refused(struct raw *r, Holdfast__Refused__Why why, uint64_t call)
{
	Holdfast__Frame *f = raw_next(r);

	assert_non_null(f);
	assert_int_equal(f->body_case, HOLDFAST__FRAME__BODY_REFUSED);
	assert_int_equal(f->refused->why, why);
	assert_int_equal(f->call, call);
	holdfast__frame__free_unpacked(f, NULL);
}

static void raw_hello(struct raw *r, uint32_t protocol, const char *instance)
{
	Holdfast__Hello h = HOLDFAST__HELLO__INIT;
	Holdfast__Frame f = HOLDFAST__FRAME__INIT;

	h.protocol = protocol;
	h.role = HOLDFAST__ROLE__ROLE_INGEST;
	h.instance = pb_str(instance);
	h.epoch = 42;
	f.body_case = HOLDFAST__FRAME__BODY_HELLO;
	f.hello = &h;
	raw_frame(r, &f);
}

static void raw_status(struct raw *r, uint64_t call)
{
	Holdfast__StatusQuery q = HOLDFAST__STATUS_QUERY__INIT;
	Holdfast__Frame f = HOLDFAST__FRAME__INIT;

	f.call = call;
	f.body_case = HOLDFAST__FRAME__BODY_STATUS_QUERY;
	f.status_query = &q;
	raw_frame(r, &f);
}

static void raw_expect_answered(struct raw *r, uint64_t call)
{
	Holdfast__Frame *f;

	raw_status(r, call);
	f = raw_next(r);
	assert_non_null(f);
	assert_int_equal(f->body_case, HOLDFAST__FRAME__BODY_DONE);
	assert_int_equal(f->call, call);
	holdfast__frame__free_unpacked(f, NULL);
}

static void bad_frames_are_dropped_and_counted(void **state)
{
	struct server s;
	struct raw r;
	Holdfast__Frame *f;
	size_t big = rig.common.bus_frame_bytes + 1;
	uint8_t *junk = xcalloc(1, big);
	/* 60 kB of empty Events unfold into megabytes: over the arena. */
	uint8_t *bomb = xcalloc(1, 60000);

	server_new(&s);
	raw_open(&r, ZMQ_DEALER);
	raw_status(&r, 5);
	raw_expect_refused(&r, HOLDFAST__REFUSED__WHY__NO_HELLO, 5);
	raw_hello(&r, BUS_PROTOCOL + 1, "old");
	raw_expect_refused(&r, HOLDFAST__REFUSED__WHY__PROTOCOL, 0);
	raw_hello(&r, BUS_PROTOCOL, "");
	raw_expect_refused(&r, HOLDFAST__REFUSED__WHY__MALFORMED, 0);
	raw_hello(&r, BUS_PROTOCOL, "name with spaces");
	raw_expect_refused(&r, HOLDFAST__REFUSED__WHY__MALFORMED, 0);
	raw_hello(&r, BUS_PROTOCOL, "raw-1");
	f = raw_next(&r);
	assert_int_equal(f->body_case, HOLDFAST__FRAME__BODY_WELCOME);
	assert_int_equal(f->welcome->credit_messages, rig.common.bus_credit_messages);
	holdfast__frame__free_unpacked(f, NULL);
	raw_expect_answered(&r, 6);

	raw_parts(&r, "\xff\xff\xff", 3, 1);
	raw_parts(&r, "x", 1, 3);
	raw_parts(&r, junk, big, 1);
	memcpy(bomb, "\x92\x03\xda\xd4\x03", 5); /* field 50, length 59994 */
	for (size_t i = 5; i < 59999; i += 2)
		bomb[i] = 0x12;
	raw_parts(&r, bomb, 59999, 1);
	raw_parts(&r, "", 0, 1);
	raw_parts(&r, "\x08\x09", 2, 1); /* a call and no body that we know */
	raw_expect_refused(&r, HOLDFAST__REFUSED__WHY__UNKNOWN, 9);
	raw_expect_answered(&r, 7);
	assert_int_equal(dropped(s.metrics, "oversize"), 1);
	assert_int_equal(dropped(s.metrics, "malformed"), 3);
	xfree(junk);
	xfree(bomb);
	raw_close(&r);
	server_free(&s);
}

/* A raw ROUTER in the receiver's place. */
static size_t raw_question(struct raw *r, uint8_t rid[64], Holdfast__Frame **f)
{
	int n = -1;

	RIG_UNTIL(&rig, (n = zmq_recv(r->sock, rid, 64, ZMQ_DONTWAIT)) >= 0);
	*f = raw_next(r);
	assert_non_null(*f);
	return (size_t)n;
}

static void raw_answer(struct raw *r, const uint8_t *rid, size_t rid_len, const Holdfast__Frame *f)
{
	assert_int_equal(zmq_send(r->sock, rid, rid_len, ZMQ_SNDMORE), (int)rid_len);
	raw_frame(r, f);
}

/* Read up to the next Hello and answer it. */
static size_t raw_welcome(struct raw *r, uint8_t rid[64])
{
	Holdfast__Welcome w = HOLDFAST__WELCOME__INIT;
	Holdfast__Frame out = HOLDFAST__FRAME__INIT;
	Holdfast__Frame *f;
	size_t len = raw_question(r, rid, &f);

	assert_int_equal(f->body_case, HOLDFAST__FRAME__BODY_HELLO);
	holdfast__frame__free_unpacked(f, NULL);
	w.epoch = 1;
	w.credit_messages = 1;
	w.credit_bytes = 1000;
	out.body_case = HOLDFAST__FRAME__BODY_WELCOME;
	out.welcome = &w;
	raw_answer(r, rid, len, &out);
	return len;
}

static void make_run_folder(void)
{
	char path[160];

	snprintf(path, sizeof(path), "%s/run", rig.dir);
	assert_int_equal(mkdir(path, 0700), 0);
}

static void a_silent_receiver_is_down_and_asked_again_when_it_speaks(void **state)
{
	struct client c;
	struct raw r;
	uint8_t rid[64];
	uint64_t call, again = 0;
	Holdfast__Frame *f;

	rig.common.bus_hello_interval_ms = 50;
	make_run_folder();
	client_new(&c);
	raw_open(&r, ZMQ_ROUTER);
	assert_int_equal(ask_rcpt(&c, 20000, 9), ERR_OK);
	raw_welcome(&r, rid);
	do {
		raw_question(&r, rid, &f);
		call = f->call;
		holdfast__frame__free_unpacked(f, NULL);
	} while (call == 0);
	assert_true(bus_link_up(c.bus, HOLDFAST__ROLE__ROLE_DELIVERY, 0));
	RIG_UNTIL(&rig, !bus_link_up(c.bus, HOLDFAST__ROLE__ROLE_DELIVERY, 0));
	assert_int_equal(c.done, 0);
	raw_welcome(&r, rid);
	while (again == 0) {
		raw_question(&r, rid, &f);
		again = f->call;
		holdfast__frame__free_unpacked(f, NULL);
	}
	assert_int_equal(again, call);
	client_free(&c);
	raw_close(&r);
}

static void bodies_far_over_the_grant_are_refused(void **state)
{
	Holdfast__Envelope e = HOLDFAST__ENVELOPE__INIT;
	Holdfast__Handoff h = HOLDFAST__HANDOFF__INIT;
	Holdfast__Frame f = HOLDFAST__FRAME__INIT;
	struct server s;
	struct raw r;
	uint8_t packed[64];
	unsigned granted = 2 * (unsigned)rig.common.bus_credit_messages;

	server_new(&s);
	s.hold = true;
	raw_open(&r, ZMQ_DEALER);
	raw_hello(&r, BUS_PROTOCOL, "raw-1");
	holdfast__frame__free_unpacked(raw_next(&r), NULL);
	h.envelope = &e;
	f.body_case = HOLDFAST__FRAME__BODY_HANDOFF;
	f.handoff = &h;
	for (unsigned i = 1; i <= granted + 1; i++) {
		f.call = i;
		assert_true(holdfast__frame__get_packed_size(&f) <= sizeof(packed));
		size_t len = holdfast__frame__pack(&f, packed);
		assert_int_equal(zmq_send(r.sock, packed, len, ZMQ_SNDMORE), (int)len);
		raw_parts(&r, "body", 4, 1);
	}
	raw_expect_refused(&r, HOLDFAST__REFUSED__WHY__BUSY, granted + 1);
	assert_int_equal(s.handoff, granted);
	/* An answer gives the room back. */
	answer_ok(s.bus, &s.held[0], NULL);
	holdfast__frame__free_unpacked(raw_next(&r), NULL);
	size_t len = holdfast__frame__pack(&f, packed);
	assert_int_equal(zmq_send(r.sock, packed, len, ZMQ_SNDMORE), (int)len);
	raw_parts(&r, "body", 4, 1);
	RIG_UNTIL(&rig, s.handoff == granted + 1);
	raw_close(&r);
	server_free(&s);
}

static void a_receiver_that_forgot_us_hears_hello_and_the_question_again(void **state)
{
	struct client c;
	struct raw r;
	uint8_t rid[64];
	size_t len;
	uint64_t call;
	Holdfast__Frame *f;
	Holdfast__Refused no = HOLDFAST__REFUSED__INIT;
	Holdfast__Done done = HOLDFAST__DONE__INIT;
	Holdfast__Frame out = HOLDFAST__FRAME__INIT;

	rig.common.bus_hello_interval_ms = 60000;
	client_new(&c);
	make_run_folder(); /* the receiver makes it, which is us */
	raw_open(&r, ZMQ_ROUTER);
	assert_int_equal(ask_rcpt(&c, 20000, 9), ERR_OK);
	len = raw_welcome(&r, rid);
	len = raw_question(&r, rid, &f);
	assert_int_equal(f->body_case, HOLDFAST__FRAME__BODY_RCPT_QUERY);
	call = f->call;
	holdfast__frame__free_unpacked(f, NULL);

	no.why = HOLDFAST__REFUSED__WHY__NO_HELLO;
	out.call = call;
	out.body_case = HOLDFAST__FRAME__BODY_REFUSED;
	out.refused = &no;
	raw_answer(&r, rid, len, &out);
	raw_welcome(&r, rid);
	raw_question(&r, rid, &f);
	assert_int_equal(f->body_case, HOLDFAST__FRAME__BODY_RCPT_QUERY);
	assert_int_equal(f->call, call);
	holdfast__frame__free_unpacked(f, NULL);

	/* What fits no open question is counted, and the answer comes through. */
	out.call = call + 1000;
	out.body_case = HOLDFAST__FRAME__BODY_DONE;
	out.done = &done;
	raw_answer(&r, rid, len, &out);
	assert_int_equal(zmq_send(r.sock, rid, len, ZMQ_SNDMORE), (int)len);
	raw_parts(&r, "\xff\xff", 2, 1);
	out.call = call;
	raw_answer(&r, rid, len, &out);
	RIG_UNTIL(&rig, c.done == 1);
	assert_int_equal(c.last, ERR_OK);
	assert_int_equal(metric(c.metrics, "holdfast_bus_answers_late_total"), 1);
	assert_int_equal(dropped(c.metrics, "malformed"), 1);
	client_free(&c);
	raw_close(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(bad_frames_are_dropped_and_counted),
		T(a_silent_receiver_is_down_and_asked_again_when_it_speaks),
		T(bodies_far_over_the_grant_are_refused),
		T(a_receiver_that_forgot_us_hears_hello_and_the_question_again),
	};

	return cmocka_run_group_tests_name("bus_raw", tests, NULL, NULL);
}
