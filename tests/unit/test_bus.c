/* tests/unit/test_bus.c - two buses in one process */
#include "tests/unit/bus_ends.h"
#include <sys/stat.h>

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
		T(an_asker_that_is_gone_is_counted),
		T(sockets_are_private_and_paths_are_checked),
		T(a_stage_does_not_ask_itself),
		T(bytes_of_messages),
	};

	return cmocka_run_group_tests_name("bus", tests, NULL, NULL);
}
