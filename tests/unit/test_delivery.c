/* tests/unit/test_delivery.c - a whole delivery stage against a scripted world
 *
 * Hand-offs come in as they would from the bus; outcomes are read where they leave, in
 * the outbox, or at a policy that is played here.
 */
#include "tests/unit/delivery_rig.h"
#include "tests/unit/delivery_world.h"

/* ---- the good case */

static void mail_is_delivered_from_memory_and_forgotten(void **state)
{
	struct rig *r = *state;

	rig_start(r);
	hand(r, "a@x.test");
	RIG_UNTIL(r, event_count(r, HOLDFAST__EVENT_KIND__EVENT_DELIVERED) == 1);
	RIG_UNTIL(r, tally_parts(r->d->tally) == 0);
	assert_int_equal(world.mails, 1);
	assert_string_equal(buf_str(&world.last), BODY);
	assert_int_equal(counter(r, DM_READ_BACK), 0);
	assert_int_equal(r->d->queue->n_active, 0);
	assert_int_equal(r->d->queue->active_bytes, 0);
	assert_int_equal(events_of(r).last_code, 250);
}

static void lines_that_begin_with_a_dot_arrive_stuffed(void **state)
{
	struct rig *r = *state;
	static const char body[] = ".\r\n..\r\nno end";
	struct letter l;

	rig_start(r);
	letter_make(&l, "a@x.test", strlen(body));
	rig_hand(r, &l, body);
	RIG_UNTIL(r, world.mails == 1);
	assert_string_equal(buf_str(&world.last), "..\r\n...\r\nno end\r\n");
}

static void a_repeat_after_the_end_delivers_nothing_again(void **state)
{
	struct rig *r = *state;
	struct letter l;

	rig_start(r);
	letter_make(&l, "a@x.test", strlen(BODY));
	rig_hand(r, &l, BODY);
	RIG_UNTIL(r, tally_parts(r->d->tally) == 0 && world.mails == 1);
	rig_stop(r);
	rig_start(r);
	rig_hand(r, &l, BODY);
	assert_int_equal(counter(r, DM_REPEATS), 1);
	assert_int_equal(r->d->queue->n_active, 0);
	assert_int_equal(world.mails, 1);
}

static void a_repeat_while_it_is_being_taken_delivers_once(void **state)
{
	struct rig *r = *state;
	struct letter l;

	rig_start(r);
	letter_make(&l, "a@x.test", strlen(BODY));
	rig_hand(r, &l, BODY);
	rig_hand(r, &l, BODY);
	rig_hand(r, &l, BODY);
	RIG_UNTIL(r, tally_parts(r->d->tally) == 0 && idmap_count(r->d->takes) == 0 &&
	          world.mails > 0);
	assert_int_equal(counter(r, DM_TAKEN), 1);
	assert_int_equal(counter(r, DM_REPEATS), 2);
	assert_int_equal(world.mails, 1);
}

static void uncounted_mail_is_counted_here(void **state)
{
	struct rig *r = *state;
	struct letter l;

	rig_start(r);
	letter_make(&l, "a@x.test,b@x.test", strlen(BODY));
	l.env.counted = false;
	rig_hand(r, &l, BODY);
	RIG_UNTIL(r, event_count(r, HOLDFAST__EVENT_KIND__EVENT_DELIVERED) == 2);
	assert_int_equal(event_count(r, HOLDFAST__EVENT_KIND__EVENT_ACCEPTED), 1);
	assert_int_equal(world.mails, 1); /* one transaction for both */
}

static void malformed_hand_offs_take_nothing(void **state)
{
	struct rig *r = *state;
	struct letter l;

	rig_start(r);
	letter_make(&l, "a@x.test", 7); /* is not the body's size */
	rig_hand(r, &l, BODY);
	letter_make(&l, "a@x.test\r\nDATA", strlen(BODY));
	rig_hand(r, &l, BODY);
	letter_make(&l, "a@x.test", strlen(BODY));
	l.env.n_rcpt = 0;
	rig_hand(r, &l, BODY);
	letter_make(&l, "a@x.test", strlen(BODY));
	l.env.message_id.len = 15;
	rig_hand(r, &l, BODY);
	assert_int_equal(counter(r, DM_REFUSED), 4);
	assert_int_equal(r->d->queue->n_active, 0);
}

static void many_mails_share_connections(void **state)
{
	struct rig *r = *state;

	rig_start(r);
	for (int i = 0; i < 200; i++)
		hand(r, "a@x.test");
	RIG_UNTIL(r, tally_parts(r->d->tally) == 0 && world.mails == 200);
	assert_in_range(world.connections, 1, 4);
	assert_int_equal(counter(r, DM_READ_BACK), 0);
}

static void a_server_that_ends_connections_early_delays_nothing(void **state)
{
	struct rig *r = *state;

	world.limit = 3;
	rig_start(r);
	for (int i = 0; i < 50; i++)
		hand(r, "a@x.test");
	RIG_UNTIL(r, world.mails == 50);
	RIG_UNTIL(r, tally_parts(r->d->tally) == 0);
	assert_int_equal(counter(r, DM_DEFERRALS), 0);
}

static void destinations_take_turns_where_connections_are_few(void **state)
{
	struct rig *r = *state;
	struct world other;
	char other_value[32], other_key[] = "other.test", *keys[] = { route_key, other_key };
	char *values[] = { route_value, other_value };

	world_open(&other, &r->loop, 0);
	snprintf(other_value, sizeof(other_value), "127.0.0.1:%u", other.port);
	r->conf.routes = (struct conf_map){ keys, values, 2 };
	r->conf.total_connections = 1;
	r->conf.connection_messages = 5;
	r->conf.connection_idle_ms = 60000; /* room is made, not waited for */
	rig_start(r);
	for (int i = 0; i < 20; i++) {
		hand(r, "a@x.test");
		hand(r, "b@other.test");
	}
	RIG_UNTIL(r, world.mails == 20 && other.mails == 20);
	RIG_UNTIL(r, tally_parts(r->d->tally) == 0);
	hand(r, "b@other.test");
	RIG_UNTIL(r, other.mails == 21);
	hand(r, "a@x.test");
	RIG_UNTIL(r, world.mails == 21);
	world_shut(&other);
	rig_stop(r);
	assert_int_equal(other.open, 0);
}

static void accounts_take_turns_at_a_destination(void **state)
{
	struct rig *r = *state;
	struct letter l;

	r->conf.destination_connections = 1;
	rig_start(r);
	for (int i = 0; i < 200; i++)
		hand(r, "bulk@x.test");
	letter_make(&l, "single@x.test", strlen(BODY));
	l.env.account = pb_str("small");
	rig_hand(r, &l, BODY);
	RIG_UNTIL(r, strstr(buf_str(&world.rcpts), "single@x.test") != NULL);
	assert_true(world.mails < 150);
	RIG_UNTIL(r, world.mails == 201);
}

/* ---- refusals */

static void a_hard_bounce_is_told_and_reported_to_the_sender(void **state)
{
	struct rig *r = *state;

	rig_start(r);
	hand(r, "a@x.test,hard@x.test");
	RIG_UNTIL(r, world.mails == 2);
	RIG_UNTIL(r, tally_parts(r->d->tally) == 0);
	assert_int_equal(event_count(r, HOLDFAST__EVENT_KIND__EVENT_BOUNCED), 1);
	assert_int_equal(event_count(r, HOLDFAST__EVENT_KIND__EVENT_DELIVERED), 2);
	assert_int_equal(event_count(r, HOLDFAST__EVENT_KIND__EVENT_ACCEPTED), 1);
	assert_non_null(strstr(buf_str(&world.rcpts), "sender@acme.test"));
	assert_non_null(strstr(buf_str(&world.last), "hard@x.test"));
}

static void a_null_sender_gets_no_report(void **state)
{
	struct rig *r = *state;
	struct letter l;

	rig_start(r);
	letter_make(&l, "hard@x.test", strlen(BODY));
	l.env.mail_from = pb_str("");
	rig_hand(r, &l, BODY);
	RIG_UNTIL(r, event_count(r, HOLDFAST__EVENT_KIND__EVENT_BOUNCED) == 1);
	RIG_UNTIL(r, tally_parts(r->d->tally) == 0);
	assert_int_equal(counter(r, DM_REPORTS), 0);
	assert_int_equal(world.mails, 0);
}

static void a_report_that_fails_just_ends(void **state)
{
	struct rig *r = *state;
	struct letter l;

	rig_start(r);
	letter_make(&l, "hard@x.test", strlen(BODY));
	l.env.mail_from = pb_str("hardsender@acme.test");
	rig_hand(r, &l, BODY);
	RIG_UNTIL(r, event_count(r, HOLDFAST__EVENT_KIND__EVENT_BOUNCED) == 2);
	RIG_UNTIL(r, tally_parts(r->d->tally) == 0);
	assert_int_equal(counter(r, DM_REPORTS), 1);
}

static void a_soft_bounce_waits_with_its_evidence_over_a_restart(void **state)
{
	struct rig *r = *state;
	struct letter l;
	struct part *p;
	uint64_t now = clock_wall_ms();

	rig_start(r);
	letter_make(&l, "soft@x.test,a@x.test", strlen(BODY));
	rig_hand(r, &l, BODY);
	RIG_UNTIL(r, counter(r, DM_DEFERRALS) == 1 && finish_pending(r->d) == 0);
	assert_int_equal(r->d->queue->n_active, 0);
	rig_stop(r);
	rig_start(r);
	assert_int_equal(tally_parts(r->d->tally), 1);
	assert_int_equal(tally_recipients(r->d->tally), 1);
	p = load_only(r, &l);
	assert_int_equal(p->attempts, 1);
	assert_true(p->due_ms >= now + r->conf.retry_min_ms * 9 / 10);
	assert_true(p->rcpt[1].ended && !p->rcpt[0].ended);
	assert_true(p->rcpt[0].last_len > 0);
	part_free(&p);
	assert_int_equal(event_count(r, HOLDFAST__EVENT_KIND__EVENT_DELIVERED), 1);
}

static void what_was_lost_after_the_data_is_counted_as_a_possible_duplicate(void **state)
{
	struct rig *r = *state;

	rig_start(r);
	hand(r, "dropdata@x.test");
	RIG_UNTIL(r, counter(r, DM_DEFERRALS) == 1 && finish_pending(r->d) == 0);
	assert_int_equal(counter(r, DM_DUPLICATES), 1);
	assert_int_equal(world.mails_cut, 1);
}

static void a_connection_lost_at_rcpt_is_no_duplicate(void **state)
{
	struct rig *r = *state;

	rig_start(r);
	hand(r, "drop@x.test");
	RIG_UNTIL(r, counter(r, DM_DEFERRALS) == 1 && finish_pending(r->d) == 0);
	assert_int_equal(counter(r, DM_DUPLICATES), 0);
}

static void mail_that_is_too_old_is_given_up_and_reported(void **state)
{
	struct rig *r = *state;

	r->conf.expire_ms = 0;
	rig_start(r);
	hand(r, "soft@x.test");
	RIG_UNTIL(r, world.mails == 1);
	RIG_UNTIL(r, tally_parts(r->d->tally) == 0);
	assert_int_equal(event_count(r, HOLDFAST__EVENT_KIND__EVENT_EXPIRED), 1);
	assert_non_null(strstr(buf_str(&world.rcpts), "sender@acme.test"));
}

static void nobody_there_puts_all_off_without_an_attempt_each(void **state)
{
	struct rig *r = *state;

	snprintf(route_value, sizeof(route_value), "127.0.0.1:1");
	rig_start(r);
	for (int i = 0; i < 30; i++)
		hand(r, "a@x.test");
	RIG_UNTIL(r, counter(r, DM_DEFERRALS) == 30 && finish_pending(r->d) == 0);
	assert_in_range(counter(r, DM_CONNECT_FAILURES), 1, 4);
	assert_int_equal(tally_parts(r->d->tally), 30);
	assert_int_equal(r->d->queue->n_active, 0);
}

/* ---- memory is bounded, and nothing is passed over */

static void more_than_memory_holds_goes_out_from_the_store(void **state)
{
	struct rig *r = *state;

	r->conf.active_messages = 5;
	r->conf.active_bytes = 60;
	rig_start(r);
	for (int i = 0; i < 100; i++)
		hand(r, "a@x.test");
	RIG_UNTIL(r, world.mails == 100);
	RIG_UNTIL(r, tally_parts(r->d->tally) == 0);
	assert_true(counter(r, DM_READ_BACK) > 0);
	assert_int_equal(r->d->queue->active_bytes, 0);
}

static void a_restart_goes_on_with_what_is_in_the_store(void **state)
{
	struct rig *r = *state;

	rig_start(r);
	r->d->draining = true; /* nothing is started: all stays in the store */
	for (int i = 0; i < 20; i++) {
		struct letter l;
		struct part *p;
		struct kv_batch *b = kv_batch_new();
		struct blob *body = blob_copy(BODY, strlen(BODY));

		letter_make(&l, "a@x.test", strlen(BODY));
		p = part_new(&l.env);
		p->taken_ms = p->due_ms = clock_wall_ms();
		store_put_part(b, p, &l.env, body);
		kv_write(r->stage.kv, &b, NULL, NULL, 0);
		blob_unref(&body);
		part_free(&p);
	}
	rig_stop(r);
	rig_start(r);
	assert_int_equal(tally_parts(r->d->tally), 20);
	RIG_UNTIL(r, world.mails == 20 && tally_parts(r->d->tally) == 0);
}

/* ---- policy, played here */

struct policy {
	struct bus *bus;
	unsigned asked;
	Holdfast__VerdictClass account, rcpt;
};

static void policy_recheck(void *state, const struct bus_from *from, const Holdfast__Frame *f,
                           struct blob *body)
{
	struct policy *p = state;
	Holdfast__Frame out = HOLDFAST__FRAME__INIT;
	Holdfast__RecheckAnswer a = HOLDFAST__RECHECK_ANSWER__INIT;
	Holdfast__Verdict account = HOLDFAST__VERDICT__INIT, v[8], *list[8];

	p->asked++;
	account.class_ = p->account;
	account.cannot = HOLDFAST__CANNOT_SEND__CANNOT_DISABLED;
	a.account = &account;
	a.n_rcpt = f->recheck_query->n_key;
	a.rcpt = list;
	for (size_t i = 0; i < a.n_rcpt; i++) {
		holdfast__verdict__init(&v[i]);
		list[i] = &v[i];
	}
	v[0].class_ = p->rcpt;
	out.body_case = HOLDFAST__FRAME__BODY_RECHECK_ANSWER;
	out.recheck_answer = &a;
	bus_answer(p->bus, from, &out, NULL);
}

static const struct bus_handler policy_handlers[] = {
	{ HOLDFAST__FRAME__BODY_RECHECK_QUERY, BUS_ANY, false, policy_recheck },
	{ 0, 0, false, NULL }
};

static void policy_open(struct policy *p, struct rig *r)
{
	struct bus_conf bc = { .common = &r->common, .role = HOLDFAST__ROLE__ROLE_POLICY,
		.instance = "policy-1", .bind = r->policy_bind, .handlers = policy_handlers,
		.state = p };

	assert_int_equal(bus_open(&r->loop, &bc, &p->bus), ERR_OK);
}

static void recipients_that_are_on_a_list_by_now_end_as_suppressed(void **state)
{
	struct rig *r = *state;
	struct policy p = { .rcpt = HOLDFAST__VERDICT_CLASS__VERDICT_BOUNCE };

	r->conf.recheck_age_ms = 0;
	rig_start(r);
	policy_open(&p, r);
	clock_wall_ms();
	hand(r, "a@x.test,b@x.test");
	RIG_UNTIL(r, world.mails == 1 && tally_parts(r->d->tally) == 0);
	assert_string_equal(buf_str(&world.rcpts), "b@x.test ");
	assert_int_equal(event_count(r, HOLDFAST__EVENT_KIND__EVENT_SUPPRESSED), 1);
	assert_int_equal(event_count(r, HOLDFAST__EVENT_KIND__EVENT_DELIVERED), 1);
	assert_int_equal(p.asked, 1);
	bus_close(&p.bus);
}

static void an_account_that_may_not_send_makes_its_mail_wait(void **state)
{
	struct rig *r = *state;
	struct policy p = { .account = HOLDFAST__VERDICT_CLASS__VERDICT_CANNOT_SEND };
	struct letter l;
	struct part *part;

	r->conf.recheck_age_ms = 0;
	rig_start(r);
	policy_open(&p, r);
	letter_make(&l, "a@x.test", strlen(BODY));
	rig_hand(r, &l, BODY);
	RIG_UNTIL(r, p.asked == 1 && tally_parts(r->d->tally) == 1 &&
	          r->d->queue->n_active == 0);
	part = load_only(r, &l);
	assert_int_equal(part->attempts, 0);
	assert_true(part->due_ms > clock_wall_ms() + r->conf.account_later_ms / 2);
	part_free(&part);
	assert_int_equal(world.mails, 0);
	bus_close(&p.bus);
}

static void without_policy_nothing_is_sent(void **state)
{
	struct rig *r = *state;

	r->conf.recheck_age_ms = 0;
	r->conf.recheck_wait_ms = 100;
	rig_start(r);
	hand(r, "a@x.test");
	RIG_UNTIL(r, tally_parts(r->d->tally) == 1 && r->d->queue->n_active == 0);
	assert_int_equal(world.mails, 0);
	assert_int_equal(counter(r, DM_ATTEMPTS), 0);
}

/* ---- stopping */

static void a_drain_lets_what_is_under_way_finish(void **state)
{
	struct rig *r = *state;
	unsigned sent;

	rig_start(r);
	for (int i = 0; i < 50; i++)
		hand(r, "a@x.test");
	RIG_UNTIL(r, world.mails > 0);
	delivery_drain(&r->stage);
	RIG_UNTIL(r, !delivery_busy(&r->stage));
	sent = world.mails;
	assert_int_equal(event_count(r, HOLDFAST__EVENT_KIND__EVENT_DELIVERED), sent);
	hand(r, "a@x.test");
	assert_int_equal(counter(r, DM_REFUSED), 1);
	rig_stop(r);
	rig_start(r);
	RIG_UNTIL(r, world.mails == 50 && tally_parts(r->d->tally) == 0);
	assert_int_equal(counter(r, DM_DUPLICATES), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		IN_WORLD(mail_is_delivered_from_memory_and_forgotten),
		IN_WORLD(lines_that_begin_with_a_dot_arrive_stuffed),
		IN_WORLD(a_repeat_after_the_end_delivers_nothing_again),
		IN_WORLD(a_repeat_while_it_is_being_taken_delivers_once),
		IN_WORLD(uncounted_mail_is_counted_here),
		IN_WORLD(malformed_hand_offs_take_nothing),
		IN_WORLD(many_mails_share_connections),
		IN_WORLD(a_server_that_ends_connections_early_delays_nothing),
		IN_WORLD(destinations_take_turns_where_connections_are_few),
		IN_WORLD(accounts_take_turns_at_a_destination),
		IN_WORLD(a_hard_bounce_is_told_and_reported_to_the_sender),
		IN_WORLD(a_null_sender_gets_no_report),
		IN_WORLD(a_report_that_fails_just_ends),
		IN_WORLD(a_soft_bounce_waits_with_its_evidence_over_a_restart),
		IN_WORLD(what_was_lost_after_the_data_is_counted_as_a_possible_duplicate),
		IN_WORLD(a_connection_lost_at_rcpt_is_no_duplicate),
		IN_WORLD(mail_that_is_too_old_is_given_up_and_reported),
		IN_WORLD(nobody_there_puts_all_off_without_an_attempt_each),
		IN_WORLD(more_than_memory_holds_goes_out_from_the_store),
		IN_WORLD(a_restart_goes_on_with_what_is_in_the_store),
		IN_WORLD(recipients_that_are_on_a_list_by_now_end_as_suppressed),
		IN_WORLD(an_account_that_may_not_send_makes_its_mail_wait),
		IN_WORLD(without_policy_nothing_is_sent),
		IN_WORLD(a_drain_lets_what_is_under_way_finish),
	};

	return cmocka_run_group_tests_name("delivery", tests, NULL, NULL);
}
