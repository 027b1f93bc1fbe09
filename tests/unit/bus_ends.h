/* tests/unit/bus_ends.h - the two ends of a link in tests of the bus
 *
 * A server whose handlers answer, keep or refuse, and a client that notes what came of
 * each question.  Included by one .c file per program.
 */
#ifndef TESTS_UNIT_BUS_ENDS_H
#define TESTS_UNIT_BUS_ENDS_H

#include "tests/unit/bus_rig.h"

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

static inline enum err ask_rcpt(struct client *c, uint32_t wait, uint64_t id)
{
	Holdfast__RcptQuery q = HOLDFAST__RCPT_QUERY__INIT;
	Holdfast__Frame f = HOLDFAST__FRAME__INIT;

	q.account = pb_str("acme");
	q.address = pb_str("joe@example.org");
	f.body_case = HOLDFAST__FRAME__BODY_RCPT_QUERY;
	f.rcpt_query = &q;
	return ask_frame(c, &f, NULL, wait, id);
}

static inline enum err ask_handoff(struct client *c, struct blob *body, uint32_t wait, uint64_t id)
{
	Holdfast__Envelope e = HOLDFAST__ENVELOPE__INIT;
	Holdfast__Handoff h = HOLDFAST__HANDOFF__INIT;
	Holdfast__Frame f = HOLDFAST__FRAME__INIT;

	h.envelope = &e;
	f.body_case = HOLDFAST__FRAME__BODY_HANDOFF;
	f.handoff = &h;
	return ask_frame(c, &f, body, wait, id);
}

static inline struct blob *bytes(size_t len)
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
static inline uint64_t metric(const struct metrics *m, const char *series)
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

static inline uint64_t dropped(const struct metrics *m, const char *why)
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

#endif
