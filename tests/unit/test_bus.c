/* tests/unit/test_bus.c - two buses in one process, and raw sockets that misbehave */
#include "bus_rig.h"
#include <sys/stat.h>
#include <zmq.h>

#define MAX_HELD 64

/* The receiving end: what its handlers saw and what they do. */
struct server {
	struct rig *rig;
	struct bus *bus;
	struct metrics *metrics;
	unsigned rcpt, handoff, peers;
	bool hold;                      /* keep questions instead of answering */
	struct bus_from held[MAX_HELD];
	unsigned n_held;
	struct blob *last_body;
};

/* The asking end: what came of each question. */
struct client {
	struct bus *bus;
	struct metrics *metrics;
	unsigned done, ok;
	enum err last;
	uint64_t last_id;
	bool inside;                    /* true while bus_ask() runs */
	unsigned calls_of[256];
	struct blob *last_body;
};

static struct rig rig;

static void answer_ok(struct bus *bus, const struct bus_from *from, struct blob *body)
{
	Holdfast__Verdict v = HOLDFAST__VERDICT__INIT;
	Holdfast__Frame f = HOLDFAST__FRAME__INIT;

	v.class_ = HOLDFAST__VERDICT_CLASS__VERDICT_OK;
	f.body_case = HOLDFAST__FRAME__BODY_VERDICT;
	f.verdict = &v;
	bus_answer(bus, from, &f, body);
}

static void hold_or_answer(struct server *s, const struct bus_from *from, struct blob *body)
{
	if (!s->hold) {
		answer_ok(s->bus, from, body);
		return;
	}
	assert_true(s->n_held < MAX_HELD);
	s->held[s->n_held++] = *from;
}

static void on_rcpt(void *state, const struct bus_from *from, const Holdfast__Frame *f,
                    struct blob *body)
{
	struct server *s = state;

	assert_null(body);
	s->rcpt++;
	hold_or_answer(s, from, NULL);
}

static void on_handoff(void *state, const struct bus_from *from, const Holdfast__Frame *f,
                       struct blob *body)
{
	struct server *s = state;

	s->handoff++;
	if (body != NULL) {
		blob_unref(&s->last_body);
		s->last_body = blob_ref(body);
	}
	hold_or_answer(s, from, body);
}

static void on_status(void *state, const struct bus_from *from, const Holdfast__Frame *f,
                      struct blob *body)
{
	struct server *s = state;

	bus_done(s->bus, from, HOLDFAST__DONE__RESULT__OK, "fine");
}

static void on_trace(void *state, const struct bus_from *from, const Holdfast__Frame *f,
                     struct blob *body)
{
	struct server *s = state;

	bus_refuse(s->bus, from, HOLDFAST__REFUSED__WHY__FAILED, "the store failed");
}

static const struct bus_handler handlers[] = {
	{ HOLDFAST__FRAME__BODY_RCPT_QUERY, BUS_ROLE(HOLDFAST__ROLE__ROLE_INGEST), false, on_rcpt },
	{ HOLDFAST__FRAME__BODY_HANDOFF, BUS_ROLE(HOLDFAST__ROLE__ROLE_INGEST), true, on_handoff },
	{ HOLDFAST__FRAME__BODY_STATUS_QUERY, BUS_ANY, false, on_status },
	{ HOLDFAST__FRAME__BODY_TRACE_QUERY, BUS_ANY, false, on_trace },
	{ HOLDFAST__FRAME__BODY_HELD_DECIDE, BUS_ROLE(HOLDFAST__ROLE__ROLE_REVIEWER), false,
	  on_status },
	{ 0 }
};

static void on_peer(void *state, Holdfast__Role role, const char *instance, uint64_t epoch)
{
	struct server *s = state;

	s->peers++;
}

static void server_open(struct server *s)
{
	const struct bus_conf conf = {
		.common = &rig.common, .role = HOLDFAST__ROLE__ROLE_DELIVERY, .instance = "delivery-1",
		.bind = rig.endpoint[0], .handlers = handlers, .peer = on_peer, .state = s,
		.metrics = s->metrics,
	};

	assert_int_equal(bus_open(&rig.loop, &conf, &s->bus), ERR_OK);
}

static void server_new(struct server *s)
{
	*s = (struct server){ .rig = &rig, .metrics = metrics_new("delivery", "delivery-1") };
	server_open(s);
}

static void server_free(struct server *s)
{
	bus_close(&s->bus);
	uv_run(&rig.loop, UV_RUN_NOWAIT);
	uv_run(&rig.loop, UV_RUN_NOWAIT);
	blob_unref(&s->last_body);
	metrics_free(&s->metrics);
}

static void client_new(struct client *c)
{
	const struct bus_conf conf = {
		.common = &rig.common, .role = HOLDFAST__ROLE__ROLE_INGEST, .instance = "ingest-1",
		.asks = BUS_ROLE(HOLDFAST__ROLE__ROLE_DELIVERY), .state = c,
	};
	struct bus_conf with = conf;

	*c = (struct client){ .metrics = metrics_new("ingest", "ingest-1") };
	with.metrics = c->metrics;
	assert_int_equal(bus_open(&rig.loop, &with, &c->bus), ERR_OK);
}

static void client_free(struct client *c)
{
	bus_close(&c->bus);
	uv_run(&rig.loop, UV_RUN_NOWAIT);
	uv_run(&rig.loop, UV_RUN_NOWAIT);
	blob_unref(&c->last_body);
	metrics_free(&c->metrics);
}

static void on_done(enum err err, const Holdfast__Frame *f, struct blob *body, void *owner,
                    uint64_t id)
{
	struct client *c = owner;

	assert_false(c->inside);
	assert_true(id < 256);
	c->calls_of[id]++;
	c->done++;
	c->ok += err == ERR_OK;
	c->last = err;
	c->last_id = id;
	if (err == ERR_OK)
		assert_non_null(f);
	if (body != NULL) {
		blob_unref(&c->last_body);
		c->last_body = blob_ref(body);
	}
}

static const struct bus_to delivery = { HOLDFAST__ROLE__ROLE_DELIVERY, 0 };

static enum err ask_frame(struct client *c, Holdfast__Frame *f, struct blob *body, uint32_t wait,
                          uint64_t id)
{
	enum err err;

	c->inside = true;
	err = bus_ask(c->bus, delivery, f, body, wait, on_done, c, id);
	c->inside = false;
	return err;
}

static enum err ask_rcpt(struct client *c, uint32_t wait, uint64_t id)
{
	Holdfast__RcptQuery q = HOLDFAST__RCPT_QUERY__INIT;
	Holdfast__Frame f = HOLDFAST__FRAME__INIT;

	q.account = pb_str("acme");
	q.address = pb_str("joe@example.org");
	f.body_case = HOLDFAST__FRAME__BODY_RCPT_QUERY;
	f.rcpt_query = &q;
	return ask_frame(c, &f, NULL, wait, id);
}

static enum err ask_handoff(struct client *c, struct blob *body, uint32_t wait, uint64_t id)
{
	Holdfast__Envelope e = HOLDFAST__ENVELOPE__INIT;
	Holdfast__Handoff h = HOLDFAST__HANDOFF__INIT;
	Holdfast__Frame f = HOLDFAST__FRAME__INIT;

	h.envelope = &e;
	f.body_case = HOLDFAST__FRAME__BODY_HANDOFF;
	f.handoff = &h;
	return ask_frame(c, &f, body, wait, id);
}

static struct blob *bytes(size_t len)
{
	unsigned char *p = xmalloc(len + 1);
	struct blob *b;

	for (size_t i = 0; i < len; i++)
		p[i] = (unsigned char)(i * 31 + i / 251);
	b = blob_copy(p, len);
	xfree(p);
	return b;
}

/* Value of a series in the exposition, summed over labels. */
static uint64_t metric(const struct metrics *m, const char *series)
{
	struct buf b = BUF_INIT;
	uint64_t sum = 0;
	size_t len = strlen(series);

	metrics_render(m, &b);
	for (const char *p = buf_str(&b); p != NULL; p = strchr(p, '\n')) {
		p += *p == '\n';
		if (strncmp(p, series, len) == 0) {
			const char *sp = strpbrk(p, " \n");
			sum += sp != NULL && *sp == ' ' ? strtoull(sp, NULL, 10) : 0;
		}
		if (*p == '\0')
			break;
	}
	buf_free(&b);
	return sum;
}

static uint64_t dropped(const struct metrics *m, const char *why)
{
	struct buf b = BUF_INIT;
	char want[64];
	uint64_t n = 0;
	const char *line;

	snprintf(want, sizeof(want), "why=\"%s\"", why);
	metrics_render(m, &b);
	for (line = strstr(buf_str(&b), "\nholdfast_bus_dropped_total{"); line != NULL;
	     line = strstr(line + 1, "\nholdfast_bus_dropped_total{")) {
		size_t len = strcspn(line + 1, "\n") + 1;
		const char *at = memmem(line, len, want, strlen(want));

		if (at != NULL)
			n += strtoull(strchr(at, ' '), NULL, 10);
	}
	buf_free(&b);
	return n;
}

/* ---- tests ---- */

static void a_question_is_answered_once_and_later(void **state)
{
	struct server s;
	struct client c;

	server_new(&s);
	client_new(&c);
	for (uint64_t id = 0; id < 50; id++)
		assert_int_equal(ask_rcpt(&c, 10000, id), ERR_OK);
	assert_int_equal(bus_open_asks(c.bus), 50);
	assert_int_equal(c.done, 0);
	RIG_UNTIL(&rig, c.done == 50);
	for (uint64_t id = 0; id < 50; id++)
		assert_int_equal(c.calls_of[id], 1);
	assert_int_equal(c.ok, 50);
	assert_int_equal(s.rcpt, 50);
	assert_int_equal(s.peers, 1);
	assert_int_equal(bus_open_asks(c.bus), 0);
	assert_true(bus_link_up(c.bus, HOLDFAST__ROLE__ROLE_DELIVERY, 0));
	client_free(&c);
	server_free(&s);
}

static void many_questions_pass_in_windows(void **state)
{
	struct server s;
	struct client c;
	unsigned asked = 0;

	server_new(&s);
	client_new(&c);
	while (c.done < 20000) {
		while (asked < 20000 && asked - c.done < 50 &&
		       ask_rcpt(&c, 20000, asked % 256) == ERR_OK)
			asked++;
		uv_run(&rig.loop, UV_RUN_ONCE);
	}
	assert_int_equal(c.ok, 20000);
	assert_int_equal(s.rcpt, 20000);
	client_free(&c);
	server_free(&s);
}

static void a_silent_receiver_is_a_timeout_once_and_its_late_answer_is_counted(void **state)
{
	struct server s;
	struct client c;

	server_new(&s);
	client_new(&c);
	s.hold = true;
	assert_int_equal(ask_rcpt(&c, 300, 7), ERR_OK);
	RIG_UNTIL(&rig, s.n_held == 1);
	RIG_UNTIL(&rig, c.done == 1);
	assert_int_equal(c.last, ERR_TIMEOUT);
	answer_ok(s.bus, &s.held[0], NULL);
	RIG_UNTIL(&rig, metric(c.metrics, "holdfast_bus_answers_late_total") == 1);
	assert_int_equal(c.calls_of[7], 1);
	assert_int_equal(metric(c.metrics, "holdfast_bus_ask_timeouts_total"), 1);
	client_free(&c);
	server_free(&s);
}

static void nobody_there_is_a_timeout(void **state)
{
	struct client c;

	client_new(&c);
	assert_int_equal(ask_rcpt(&c, 100, 1), ERR_OK);
	RIG_UNTIL(&rig, c.done == 1);
	assert_int_equal(c.last, ERR_TIMEOUT);
	client_free(&c);
}

static void a_question_waits_for_a_receiver_that_comes_later(void **state)
{
	struct server s;
	struct client c;

	client_new(&c);
	assert_int_equal(ask_rcpt(&c, 15000, 1), ERR_OK);
	for (int i = 0; i < 20; i++)
		uv_run(&rig.loop, UV_RUN_ONCE);
	server_new(&s);
	RIG_UNTIL(&rig, c.done == 1);
	assert_int_equal(c.last, ERR_OK);
	client_free(&c);
	server_free(&s);
}

static void a_restarted_receiver_is_asked_again(void **state)
{
	struct server s;
	struct client c;

	server_new(&s);
	client_new(&c);
	s.hold = true;
	for (uint64_t id = 0; id < 5; id++)
		assert_int_equal(ask_rcpt(&c, 20000, id), ERR_OK);
	RIG_UNTIL(&rig, s.n_held == 5);
	bus_close(&s.bus);
	RIG_UNTIL(&rig, !bus_link_up(c.bus, HOLDFAST__ROLE__ROLE_DELIVERY, 0));
	s.hold = false;
	metrics_free(&s.metrics);
	s.metrics = metrics_new("delivery", "delivery-1");
	server_open(&s);
	RIG_UNTIL(&rig, c.done == 5);
	assert_int_equal(c.ok, 5);
	assert_int_equal(metric(c.metrics, "holdfast_bus_asks_resent_total"), 5);
	client_free(&c);
	server_free(&s);
}

static void bodies_keep_within_the_credit(void **state)
{
	struct server s;
	struct client c;
	struct blob *b = bytes(1000);

	server_new(&s);
	client_new(&c);
	s.hold = true;
	for (uint64_t id = 0; id < 10; id++)
		assert_int_equal(ask_handoff(&c, b, 20000, id), ERR_OK);
	RIG_UNTIL(&rig, s.n_held == 4);
	/* A later question without a body passes those that wait for credit. */
	assert_int_equal(ask_rcpt(&c, 20000, 100), ERR_OK);
	RIG_UNTIL(&rig, s.rcpt == 1);
	assert_int_equal(s.handoff, 4);
	answer_ok(s.bus, &s.held[0], NULL);
	RIG_UNTIL(&rig, s.handoff == 5);
	assert_int_equal(ask_rcpt(&c, 20000, 101), ERR_OK);
	RIG_UNTIL(&rig, s.rcpt == 2);
	assert_int_equal(s.handoff, 5);
	blob_unref(&b);
	client_free(&c);
	assert_int_equal(c.done, 12); /* the rest ended with ERR_CLOSED */
	assert_int_equal(c.last, ERR_CLOSED);
	server_free(&s);
}

static void a_body_over_all_credit_goes_alone(void **state)
{
	struct server s;
	struct client c;
	struct blob *big = bytes(3 << 20), *small = bytes(10);

	server_new(&s);
	client_new(&c);
	s.hold = true;
	assert_int_equal(ask_handoff(&c, big, 20000, 0), ERR_OK);
	assert_int_equal(ask_handoff(&c, small, 20000, 1), ERR_OK);
	RIG_UNTIL(&rig, s.handoff == 1);
	assert_int_equal(ask_rcpt(&c, 20000, 2), ERR_OK);
	RIG_UNTIL(&rig, s.rcpt == 1);
	assert_int_equal(s.handoff, 1);
	assert_int_equal(s.last_body->len, big->len);
	answer_ok(s.bus, &s.held[0], NULL);
	RIG_UNTIL(&rig, s.handoff == 2);
	blob_unref(&big);
	blob_unref(&small);
	client_free(&c);
	server_free(&s);
}

static void a_receiver_may_close_and_open_its_credit(void **state)
{
	struct server s;
	struct client c;
	struct blob *b = bytes(100);

	server_new(&s);
	client_new(&c);
	assert_int_equal(ask_rcpt(&c, 20000, 0), ERR_OK);
	RIG_UNTIL(&rig, c.done == 1);
	bus_grant(s.bus, false);
	assert_int_equal(ask_rcpt(&c, 20000, 1), ERR_OK);
	RIG_UNTIL(&rig, c.done == 2); /* the answer came after the Credit */
	assert_int_equal(ask_handoff(&c, b, 20000, 2), ERR_OK);
	assert_int_equal(ask_rcpt(&c, 20000, 3), ERR_OK);
	RIG_UNTIL(&rig, c.done == 3);
	assert_int_equal(s.handoff, 0);
	bus_grant(s.bus, true);
	RIG_UNTIL(&rig, c.done == 4);
	assert_int_equal(s.handoff, 1);
	blob_unref(&b);
	client_free(&c);
	server_free(&s);
}

static void what_waits_is_bounded(void **state)
{
	struct client c;
	struct blob *over;
	unsigned n = 0;

	client_new(&c);
	while (ask_rcpt(&c, 10000, n) == ERR_OK)
		n++;
	assert_int_equal(n, rig.common.bus_waiting_asks);
	assert_int_equal(ask_rcpt(&c, 10000, 200), ERR_FULL);
	over = bytes(rig.common.bus_body_bytes + 1);
	blob_unref(&over);
	client_free(&c);
	assert_int_equal(c.done, n);
	assert_int_equal(c.last, ERR_CLOSED);
	assert_int_equal(c.calls_of[200], 0);
}

static void too_large_is_not_asked(void **state)
{
	struct client c;
	struct blob *over = bytes(rig.common.bus_body_bytes + 1);
	Holdfast__LoginQuery q = HOLDFAST__LOGIN_QUERY__INIT;
	Holdfast__Frame f = HOLDFAST__FRAME__INIT;

	client_new(&c);
	assert_int_equal(ask_handoff(&c, over, 1000, 0), ERR_TOOBIG);
	q.login = pb_bytes(over->data, rig.common.bus_frame_bytes);
	f.body_case = HOLDFAST__FRAME__BODY_LOGIN_QUERY;
	f.login_query = &q;
	assert_int_equal(ask_frame(&c, &f, NULL, 1000, 1), ERR_TOOBIG);
	blob_unref(&over);
	client_free(&c);
	assert_int_equal(c.done, 0);
}

static void ask_empty(struct client *c, Holdfast__Frame__BodyCase what, struct blob *body,
                      enum err want)
{
	Holdfast__StatusQuery status = HOLDFAST__STATUS_QUERY__INIT;
	Holdfast__TraceQuery trace = HOLDFAST__TRACE_QUERY__INIT;
	Holdfast__HeldDecide decide = HOLDFAST__HELD_DECIDE__INIT;
	Holdfast__LoginQuery login = HOLDFAST__LOGIN_QUERY__INIT;
	Holdfast__Frame f = HOLDFAST__FRAME__INIT;
	unsigned before = c->done;

	f.body_case = what;
	if (what == HOLDFAST__FRAME__BODY_STATUS_QUERY)
		f.status_query = &status;
	else if (what == HOLDFAST__FRAME__BODY_TRACE_QUERY)
		f.trace_query = &trace;
	else if (what == HOLDFAST__FRAME__BODY_HELD_DECIDE)
		f.held_decide = &decide;
	else
		f.login_query = &login;
	assert_int_equal(ask_frame(c, &f, body, 20000, 0), ERR_OK);
	RIG_UNTIL(&rig, c->done == before + 1);
	assert_int_equal(c->last, want);
}

static void refusals_say_why(void **state)
{
	struct server s;
	struct client c;
	struct blob *b = bytes(3);

	server_new(&s);
	client_new(&c);
	ask_empty(&c, HOLDFAST__FRAME__BODY_STATUS_QUERY, NULL, ERR_OK);
	ask_empty(&c, HOLDFAST__FRAME__BODY_STATUS_QUERY, b, ERR_PROTO);   /* takes no body */
	ask_empty(&c, HOLDFAST__FRAME__BODY_HELD_DECIDE, NULL, ERR_PERM);  /* not our role */
	ask_empty(&c, HOLDFAST__FRAME__BODY_LOGIN_QUERY, NULL, ERR_PROTO); /* no handler */
	ask_empty(&c, HOLDFAST__FRAME__BODY_TRACE_QUERY, NULL, ERR_IO);    /* FAILED */
	ask_empty(&c, HOLDFAST__FRAME__BODY_STATUS_QUERY, NULL, ERR_OK);
	blob_unref(&b);
	client_free(&c);
	server_free(&s);
}

static void large_bodies_arrive_intact_both_ways(void **state)
{
	static const size_t lens[] = { 0, 1, 16383, 16384, 65536, 1 << 20, 4 << 20 };
	struct server s;
	struct client c;

	server_new(&s);
	client_new(&c);
	for (size_t i = 0; i < ARRAY_LEN(lens); i++) {
		struct blob *b = bytes(lens[i]);

		assert_int_equal(ask_handoff(&c, b, 20000, i), ERR_OK);
		RIG_UNTIL(&rig, c.done == i + 1);
		assert_int_equal(c.last, ERR_OK);
		assert_non_null(c.last_body);
		assert_int_equal(c.last_body->len, lens[i]);
		assert_int_equal(s.last_body->len, lens[i]);
		assert_memory_equal(c.last_body->data, b->data, lens[i]);
		assert_memory_equal(s.last_body->data, b->data, lens[i]);
		blob_unref(&b);
	}
	client_free(&c);
	server_free(&s);
}

/* ---- raw peers ---- */

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

static void a_receiver_that_forgot_us_hears_hello_and_the_question_again(void **state)
{
	struct client c;
	struct raw r;
	uint8_t rid[64];
	char path[160];
	size_t len;
	uint64_t call;
	Holdfast__Frame *f;
	Holdfast__Refused no = HOLDFAST__REFUSED__INIT;
	Holdfast__Done done = HOLDFAST__DONE__INIT;
	Holdfast__Frame out = HOLDFAST__FRAME__INIT;

	rig.common.bus_hello_interval_ms = 60000;
	client_new(&c);
	snprintf(path, sizeof(path), "%s/run", rig.dir);
	assert_int_equal(mkdir(path, 0700), 0); /* the receiver makes it, which is us */
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

static void an_asker_that_is_gone_is_counted(void **state)
{
	struct server s;
	struct client c;

	server_new(&s);
	client_new(&c);
	s.hold = true;
	assert_int_equal(ask_rcpt(&c, 20000, 1), ERR_OK);
	RIG_UNTIL(&rig, s.n_held == 1);
	client_free(&c);
	RIG_UNTIL(&rig, (answer_ok(s.bus, &s.held[0], NULL),
	                 metric(s.metrics, "holdfast_bus_peers_gone_total") > 0));
	server_free(&s);
}

static void sockets_are_private_and_paths_are_checked(void **state)
{
	struct server s;
	struct stat st;
	char path[160];
	char longer[200];
	struct bus *bus = NULL;
	struct bus_conf conf = { .common = &rig.common, .role = HOLDFAST__ROLE__ROLE_DELIVERY,
	                         .instance = "delivery-1" };

	server_new(&s);
	snprintf(path, sizeof(path), "%s/run", rig.dir);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0700);
	assert_int_equal(stat(rig.endpoint[0] + 6, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	snprintf(longer, sizeof(longer), "ipc://%s/%0100d", rig.dir, 1);
	conf.bind = longer;
	assert_int_equal(bus_open(&rig.loop, &conf, &bus), ERR_IO);
	conf.bind = "ipc:///nowhere/at/all/x.bus";
	assert_int_equal(bus_open(&rig.loop, &conf, &bus), ERR_IO);
	assert_null(bus);
	server_free(&s);
}

static void a_stage_does_not_ask_itself(void **state)
{
	struct bus *bus;
	const struct bus_conf conf = {
		.common = &rig.common, .role = HOLDFAST__ROLE__ROLE_POLICY, .instance = "policy-2",
		.bind = rig.endpoint[2], .asks = BUS_ROLE(HOLDFAST__ROLE__ROLE_POLICY),
	};
	Holdfast__StatusQuery q = HOLDFAST__STATUS_QUERY__INIT;
	Holdfast__Frame f = HOLDFAST__FRAME__INIT;
	struct bus_to to = { HOLDFAST__ROLE__ROLE_POLICY, 1 };

	f.body_case = HOLDFAST__FRAME__BODY_STATUS_QUERY;
	f.status_query = &q;
	assert_int_equal(bus_open(&rig.loop, &conf, &bus), ERR_OK);
	assert_int_equal(bus_instances(bus, HOLDFAST__ROLE__ROLE_POLICY), 2);
	assert_string_equal(bus_instance_name(bus, HOLDFAST__ROLE__ROLE_POLICY, 0), "policy-1");
	assert_false(bus_is_self(bus, HOLDFAST__ROLE__ROLE_POLICY, 0));
	assert_true(bus_is_self(bus, HOLDFAST__ROLE__ROLE_POLICY, 1));
	assert_int_equal(bus_ask(bus, to, &f, NULL, 100, on_done, NULL, 0), ERR_BADSTATE);
	to.instance = 2;
	assert_int_equal(bus_ask(bus, to, &f, NULL, 100, on_done, NULL, 0), ERR_NOENT);
	to = delivery;
	assert_int_equal(bus_ask(bus, to, &f, NULL, 100, on_done, NULL, 0), ERR_NOENT);
	bus_close(&bus);
}

static void bytes_of_messages(void **state)
{
	char *s = pb_strdup(pb_bytes("a\0b", 3));

	assert_string_equal(s, "a?b");
	xfree(s);
	assert_true(pb_is(pb_str("abc"), "abc"));
	assert_false(pb_is(pb_bytes("abc\0", 4), "abc"));
	assert_true(pb_is(pb_bytes(NULL, 0), ""));
	assert_false(pb_is(pb_bytes(NULL, 0), "a"));
}

static int setup(void **state)
{
	rig_open(&rig);
	return 0;
}

static int teardown(void **state)
{
	rig_close(&rig);
	return 0;
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(a_question_is_answered_once_and_later),
		T(many_questions_pass_in_windows),
		T(a_silent_receiver_is_a_timeout_once_and_its_late_answer_is_counted),
		T(nobody_there_is_a_timeout),
		T(a_question_waits_for_a_receiver_that_comes_later),
		T(a_restarted_receiver_is_asked_again),
		T(bodies_keep_within_the_credit),
		T(a_body_over_all_credit_goes_alone),
		T(a_receiver_may_close_and_open_its_credit),
		T(what_waits_is_bounded),
		T(too_large_is_not_asked),
		T(refusals_say_why),
		T(large_bodies_arrive_intact_both_ways),
		T(bad_frames_are_dropped_and_counted),
		T(a_receiver_that_forgot_us_hears_hello_and_the_question_again),
		T(an_asker_that_is_gone_is_counted),
		T(sockets_are_private_and_paths_are_checked),
		T(a_stage_does_not_ask_itself),
		T(bytes_of_messages),
	};

	return cmocka_run_group_tests_name("bus", tests, NULL, NULL);
}
