/* tests/unit/test_decide_hold.c - a held mail's life: taken once, decided once, handed over until
 * the receipt, across restarts at every step
 */
#include "tests/unit/holdq_rig.h"

#define RELEASE HOLDFAST__DECISION__DECISION_RELEASE
#define REJECT  HOLDFAST__DECISION__DECISION_REJECT
#define OK      HOLDFAST__VERDICT_CLASS__VERDICT_OK
#define REVIEW  HOLDFAST__VERDICT_CLASS__VERDICT_HOLD
#define CANNOT  HOLDFAST__VERDICT_CLASS__VERDICT_CANNOT_SEND
#define HANDOFF HOLDFAST__FRAME__BODY_HANDOFF
#define RECHECK HOLDFAST__FRAME__BODY_RECHECK_QUERY

static const char *const one[] = { "ann@a.test", NULL };
static const char *const two[] = { "ann@a.test", "bob@a.test", NULL };
static const char *const wide[] = { "ann@a.test", "zoe@z.test", "bob@a.test", NULL };

static void hold(struct rig *r, unsigned n, const char *const *rcpts)
{
	uint64_t call = rig_handoff(r, n, "shop", rcpts);

	assert_null(rig_answer(call)); /* never before the sync */
	rig_settle(r);
	assert_int_equal(rig_answer(call)->frame->body_case, HOLDFAST__FRAME__BODY_CUSTODY);
}

static void tick(struct rig *r)
{
	handover_tick(rig_hq(r)->handover, clock_mono_ms() + 1000);
	rig_settle(r);
}

struct tally { unsigned n[8]; unsigned accepted; };

static void add_event(void *arg, const Holdfast__Event *ev)
{
	struct tally *t = arg;

	assert_true(ev->kind < 8);
	t->n[ev->kind]++;
	t->accepted += ev->n;
}

static struct tally events(struct rig *r)
{
	struct tally t = { 0 };

	assert_int_equal(outbox_each(rig_hq(r)->outbox, add_event, &t), ERR_OK);
	return t;
}

static void assert_held(struct rig *r, unsigned mails, unsigned rcpts)
{
	assert_int_equal(count_mails(rig_hq(r)->count), mails);
	assert_int_equal(count_rcpts(rig_hq(r)->count), rcpts);
}

/* Release mail 1, answered by policy as told; the result. */
static const char *release(struct rig *r, Holdfast__VerdictClass account, unsigned listed)
{
	uint64_t call = rig_decide(r, 1, RELEASE);

	rig_recheck(account, listed);
	if (account != CANNOT)
		assert_null(rig_result(call)); /* never before the sync */
	rig_settle(r);
	return rig_result(call);
}

/* ---- custody */

static void a_part_is_taken_once_however_often_it_is_handed_over(void **state)
{
	struct rig *r = *state;
	uint64_t first = rig_handoff(r, 1, "shop", two);
	uint64_t second = rig_handoff(r, 1, "shop", two);

	rig_settle(r);
	assert_non_null(rig_answer(first)->frame);
	assert_non_null(rig_answer(second)->frame);
	hold(r, 2, one);
	first = rig_handoff(r, 1, "shop", two);
	assert_int_equal(rig_answer(first)->frame->body_case, HOLDFAST__FRAME__BODY_CUSTODY);
	assert_held(r, 2, 3);
	assert_int_equal(events(r).n[HOLDFAST__EVENT_KIND__EVENT_ACCEPTED], 2);
	assert_int_equal(events(r).accepted, 3);
	rig_restart(r);
	assert_held(r, 2, 3);
	first = rig_handoff(r, 1, "shop", two);
	assert_int_equal(rig_answer(first)->frame->body_case, HOLDFAST__FRAME__BODY_CUSTODY);
	assert_held(r, 2, 3);
}

static void a_part_that_left_gets_its_receipt_again_and_is_not_held_again(void **state)
{
	struct rig *r = *state;
	uint64_t call;

	hold(r, 1, one);
	assert_string_equal(release(r, OK, 0), "released");
	rig_custody();
	rig_settle(r);
	assert_held(r, 0, 0);
	call = rig_handoff(r, 1, "shop", one);
	assert_int_equal(rig_answer(call)->frame->body_case, HOLDFAST__FRAME__BODY_CUSTODY);
	rig_settle(r);
	assert_held(r, 0, 0);
	assert_int_equal(events(r).accepted, 1);
}

static void a_draining_stage_takes_nothing_new(void **state)
{
	struct rig *r = *state;
	uint64_t call;

	hold(r, 1, one);
	holdq_drain(&r->stage);
	call = rig_handoff(r, 2, "shop", one);
	assert_int_equal(rig_answer(call)->why, HOLDFAST__REFUSED__WHY__BUSY);
	call = rig_handoff(r, 1, "shop", one); /* known: the receipt costs nothing */
	assert_non_null(rig_answer(call)->frame);
	call = rig_decide(r, 1, RELEASE);
	assert_int_equal(rig_answer(call)->why, HOLDFAST__REFUSED__WHY__BUSY);
	assert_false(holdq_busy(&r->stage));
}

static void the_limit_of_parts_on_their_way_is_kept(void **state)
{
	struct rig *r = *state;
	uint64_t call = 0;

	for (unsigned n = 0; n <= r->conf.accepts; n++)
		call = rig_handoff(r, n, "shop", one);
	assert_int_equal(rig_answer(call)->why, HOLDFAST__REFUSED__WHY__BUSY);
	rig_settle(r);
	assert_held(r, (unsigned)r->conf.accepts, (unsigned)r->conf.accepts);
}

/* ---- release */

static void a_released_mail_goes_to_delivery_and_leaves_on_its_receipt(void **state)
{
	struct rig *r = *state;
	struct fake_ask *a;

	hold(r, 1, two);
	assert_string_equal(release(r, REVIEW, 0), "released"); /* in review is no obstacle */
	a = fake_open(HANDOFF);
	assert_non_null(a);
	assert_true(a->frame->handoff->envelope->counted);
	assert_int_equal(a->frame->handoff->envelope->n_rcpt, 2);
	assert_int_equal(a->body->len, 21);
	assert_held(r, 1, 2); /* ours until the receipt */
	rig_custody();
	rig_settle(r);
	assert_held(r, 0, 0);
	assert_null(fake_open(HANDOFF));
	rig_restart(r);
	tick(r);
	assert_held(r, 0, 0);
	assert_null(fake_open(HANDOFF));
}

static void recipients_on_a_list_are_suppressed_and_the_rest_goes(void **state)
{
	struct rig *r = *state;
	struct fake_ask *a;

	hold(r, 1, wide);
	assert_string_equal(release(r, OK, 1u << 0), "partial");
	assert_int_equal(events(r).n[HOLDFAST__EVENT_KIND__EVENT_SUPPRESSED], 1);
	assert_held(r, 1, 2);
	a = fake_open(HANDOFF); /* to one of two instances: the part's number is its lowest index */
	assert_int_equal(a->frame->handoff->envelope->n_rcpt, 1);
	assert_int_equal(a->frame->handoff->envelope->part,
	                 a->frame->handoff->envelope->rcpt[0]->index);
	rig_custody();
	rig_settle(r);
	assert_held(r, 1, 1);
	rig_custody();
	rig_settle(r);
	assert_held(r, 0, 0);
}

static void a_mail_whose_recipients_are_all_listed_ends_at_once(void **state)
{
	struct rig *r = *state;

	hold(r, 1, two);
	assert_string_equal(release(r, OK, 3), "partial");
	assert_held(r, 0, 0);
	assert_null(fake_open(HANDOFF));
	assert_int_equal(events(r).n[HOLDFAST__EVENT_KIND__EVENT_SUPPRESSED], 2);
	rig_restart(r);
	assert_held(r, 0, 0);
	assert_string_equal(rig_result(rig_decide(r, 1, RELEASE)), "already");
}

static void a_disabled_account_keeps_its_mail_held(void **state)
{
	struct rig *r = *state;

	hold(r, 1, two);
	assert_string_equal(release(r, CANNOT, 0), "refused");
	assert_held(r, 1, 2);
	assert_string_equal(release(r, OK, 0), "released"); /* once it may */
}

static void without_policy_a_release_is_later_and_changes_nothing(void **state)
{
	struct rig *r = *state;
	uint64_t call;

	hold(r, 1, two);
	call = rig_decide(r, 1, RELEASE);
	fake_reply(fake_open(RECHECK), ERR_TIMEOUT, NULL);
	assert_string_equal(rig_result(call), "later");
	fake.full = true;
	assert_string_equal(rig_result(rig_decide(r, 1, RELEASE)), "later");
	fake.full = false;
	assert_held(r, 1, 2);
	assert_string_equal(release(r, OK, 0), "released");
}

static void two_reviewers_at_once_make_one_delivery(void **state)
{
	struct rig *r = *state;
	uint64_t first, second, third;

	hold(r, 1, one);
	first = rig_decide(r, 1, RELEASE);
	second = rig_decide(r, 1, RELEASE);
	third = rig_decide(r, 1, REJECT);
	rig_recheck(OK, 0);
	assert_null(fake_open(RECHECK)); /* the others wait, they do not ask */
	rig_settle(r);
	assert_string_equal(rig_result(first), "released");
	assert_string_equal(rig_result(second), "already");
	assert_string_equal(rig_result(third), "already");
	rig_custody();
	rig_settle(r);
	assert_null(fake_open(HANDOFF));
	assert_string_equal(rig_result(rig_decide(r, 1, RELEASE)), "already");
	assert_int_equal(events(r).n[HOLDFAST__EVENT_KIND__EVENT_REJECTED], 0);
}

static void a_refused_first_release_lets_the_second_try_for_itself(void **state)
{
	struct rig *r = *state;
	uint64_t first, second;

	hold(r, 1, one);
	first = rig_decide(r, 1, RELEASE);
	second = rig_decide(r, 1, RELEASE);
	rig_recheck(CANNOT, 0);
	assert_string_equal(rig_result(first), "refused");
	rig_recheck(OK, 0);
	rig_settle(r);
	assert_string_equal(rig_result(second), "released");
}

static void an_unknown_mail_is_no_such(void **state)
{
	assert_string_equal(rig_result(rig_decide(*state, 99, RELEASE)), "no-such");
}

/* ---- restarts in the middle */

static void a_restart_before_the_decision_leaves_the_mail_held(void **state)
{
	struct rig *r = *state;

	hold(r, 1, two);
	(void)rig_decide(r, 1, RELEASE);
	rig_restart(r);
	assert_held(r, 1, 2);
	assert_string_equal(release(r, OK, 0), "released");
}

static void a_restart_after_the_decision_hands_over_the_same_parts(void **state)
{
	struct rig *r = *state;
	uint32_t part[2];

	hold(r, 1, wide);
	assert_string_equal(release(r, OK, 0), "released");
	part[0] = fake.ask[fake.n_ask - 1].frame->handoff->envelope->part;
	rig_restart(r);
	assert_held(r, 1, 3);
	assert_string_equal(rig_result(rig_decide(r, 1, RELEASE)), "already");
	tick(r);
	part[1] = fake_open(HANDOFF)->frame->handoff->envelope->part;
	assert_true(part[0] <= 1 && part[1] <= 1);
	rig_custody();
	rig_settle(r);
	rig_restart(r); /* with one of two receipts */
	assert_int_equal(count_mails(rig_hq(r)->count), 1);
	tick(r);
	rig_custody();
	rig_settle(r);
	assert_null(fake_open(HANDOFF)); /* the other has been told and is not told again */
	assert_held(r, 0, 0);
}

static void a_restart_behind_the_last_receipt_forgets_the_mail(void **state)
{
	struct rig *r = *state;

	hold(r, 1, wide);
	assert_string_equal(release(r, OK, 0), "released");
	rig_custody();
	rig_custody();
	rig_restart(r); /* both sub-parts are cleared, the record is not */
	assert_held(r, 0, 0);
	rig_restart(r);
	assert_held(r, 0, 0);
}

static void a_lost_receipt_is_asked_for_again(void **state)
{
	struct rig *r = *state;

	hold(r, 1, one);
	assert_string_equal(release(r, OK, 0), "released");
	for (int i = 0; i < 3; i++) {
		fake_reply(fake_open(HANDOFF), ERR_TIMEOUT, NULL);
		assert_null(fake_open(HANDOFF));
		tick(r);
	}
	assert_held(r, 1, 1);
	rig_custody();
	rig_settle(r);
	assert_held(r, 0, 0);
}

static void a_dead_delivery_instance_holds_up_only_its_own(void **state)
{
	static const char *const dead[] = { "zoe@z.test", NULL };
	struct rig *r = *state;

	for (unsigned n = 0; n < 12; n++)
		hold(r, n, n < 10 ? dead : one);
	for (unsigned n = 0; n < 12; n++) {
		(void)rig_decide(r, n, RELEASE);
		rig_recheck(OK, 0);
		rig_settle(r);
	}
	for (size_t i = 0; i < fake.n_ask; i++) {
		struct fake_ask *a = &fake.ask[i];

		if (a->frame != NULL && a->frame->body_case == HANDOFF && a->to.instance == 1)
			fake_reply(a, ERR_TIMEOUT, NULL);
	}
	for (int i = 0; i < 2; i++)
		rig_custody();
	rig_settle(r);
	assert_held(r, 10, 10);
	for (int i = 0; i < 10; i++) {
		tick(r);
		rig_custody();
		rig_settle(r);
	}
	assert_held(r, 0, 0);
}

static void hand_overs_at_once_are_bounded(void **state)
{
	struct rig *r = *state;

	fake.link_down = true;
	for (unsigned n = 0; n < 12; n++) {
		hold(r, n, one);
		(void)rig_decide(r, n, RELEASE);
		rig_recheck(OK, 0);
		rig_settle(r);
	}
	assert_null(fake_open(HANDOFF)); /* nobody is there to take it */
	fake.link_down = false;
	for (unsigned done = 0; done < 12; done++) {
		tick(r);
		assert_true(handover_in_flight(rig_hq(r)->handover) <= r->conf.handovers);
		rig_custody();
		rig_settle(r);
	}
	assert_held(r, 0, 0);
}

/* ---- reject */

static void a_rejected_mail_ends_with_a_report_that_survives_a_restart(void **state)
{
	struct rig *r = *state;
	const Holdfast__Envelope *e;
	uint64_t call;

	hold(r, 1, two);
	call = rig_decide(r, 1, REJECT);
	assert_null(rig_result(call));
	rig_settle(r);
	assert_string_equal(rig_result(call), "rejected");
	assert_int_equal(events(r).n[HOLDFAST__EVENT_KIND__EVENT_REJECTED], 2);
	assert_int_equal(count_of(rig_hq(r)->count, "shop"), 0);
	rig_restart(r);
	tick(r);
	e = fake_open(HANDOFF)->frame->handoff->envelope;
	assert_true(pb_is(e->rcpt[0]->address, "boss@shop.test"));
	assert_int_equal(e->account.len, 0);
	assert_int_equal(e->mail_from.len, 0);
	assert_false(e->counted);
	assert_non_null(memmem(fake_open(HANDOFF)->body->data, fake_open(HANDOFF)->body->len,
	                       "looks bad", 9));
	rig_custody();
	rig_settle(r);
	assert_held(r, 0, 0);
	assert_string_equal(rig_result(rig_decide(r, 1, REJECT)), "already");
	assert_int_equal(events(r).n[HOLDFAST__EVENT_KIND__EVENT_REJECTED], 2);
}

static void a_rejection_is_not_reported_where_nobody_wants_it(void **state)
{
	struct rig *r = *state;

	r->notify = 1; /* NEVER */
	hold(r, 1, two);
	(void)rig_decide(r, 1, REJECT);
	rig_settle(r);
	tick(r);
	assert_null(fake_open(HANDOFF));
	assert_held(r, 0, 0);
	assert_int_equal(events(r).n[HOLDFAST__EVENT_KIND__EVENT_REJECTED], 2);
}

static void a_report_on_a_rejection_says_what_the_sender_calls_it(void **state)
{
	struct rig *r = *state;
	const char *text;

	r->notify = 4; /* FAILURE */
	hold(r, 1, one);
	(void)rig_decide(r, 1, REJECT);
	rig_settle(r);
	tick(r);
	assert_true(fake_open(HANDOFF)->frame->handoff->envelope->require_tls);
	text = (const char *)fake_open(HANDOFF)->body->data;
	assert_non_null(memmem(text, fake_open(HANDOFF)->body->len,
	                       "Original-Envelope-Id: QQ1\r\n", 27));
	assert_non_null(memmem(text, fake_open(HANDOFF)->body->len,
	                       "Original-Recipient: rfc822; o@z.test\r\n", 38));
	rig_custody();
	rig_settle(r);
}

static void a_release_hands_over_what_submission_asked_for(void **state)
{
	struct rig *r = *state;
	const Holdfast__Envelope *e;

	r->notify = 10; /* SUCCESS, DELAY */
	hold(r, 1, one);
	rig_restart(r);
	assert_string_equal(release(r, OK, 0), "released");
	e = fake_open(HANDOFF)->frame->handoff->envelope;
	assert_int_equal(e->rcpt[0]->notify, 10);
	assert_true(pb_is(e->rcpt[0]->orcpt, "rfc822;o@z.test"));
	assert_true(pb_is(e->envid, "QQ1"));
	assert_int_equal(e->ret, HOLDFAST__DSN_RET__RET_FULL);
	assert_true(e->utf8 && e->require_tls);
	rig_custody();
	rig_settle(r);
}

static void every_decision_is_in_the_chain_of_acts(void **state)
{
	struct rig *r = *state;
	uint64_t n = 0;

	hold(r, 1, one);
	hold(r, 2, one);
	assert_string_equal(release(r, OK, 0), "released");
	(void)rig_decide(r, 2, REJECT);
	rig_settle(r);
	assert_string_equal(rig_result(rig_decide(r, 2, REJECT)), "already"); /* no act */
	rig_restart(r);
	assert_int_equal(audit_verify(r->stage.kv, &n), ERR_OK);
	assert_int_equal(n, 2);
	assert_int_equal(audit_count(rig_hq(r)->audit), 2);
}

#define T(f) cmocka_unit_test_setup_teardown(f, rig_setup, rig_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(a_part_is_taken_once_however_often_it_is_handed_over),
		T(a_part_that_left_gets_its_receipt_again_and_is_not_held_again),
		T(a_draining_stage_takes_nothing_new),
		T(the_limit_of_parts_on_their_way_is_kept),
		T(a_released_mail_goes_to_delivery_and_leaves_on_its_receipt),
		T(recipients_on_a_list_are_suppressed_and_the_rest_goes),
		T(a_mail_whose_recipients_are_all_listed_ends_at_once),
		T(a_disabled_account_keeps_its_mail_held),
		T(without_policy_a_release_is_later_and_changes_nothing),
		T(two_reviewers_at_once_make_one_delivery),
		T(a_refused_first_release_lets_the_second_try_for_itself),
		T(an_unknown_mail_is_no_such),
		T(a_restart_before_the_decision_leaves_the_mail_held),
		T(a_restart_after_the_decision_hands_over_the_same_parts),
		T(a_restart_behind_the_last_receipt_forgets_the_mail),
		T(a_lost_receipt_is_asked_for_again),
		T(a_dead_delivery_instance_holds_up_only_its_own),
		T(hand_overs_at_once_are_bounded),
		T(a_rejected_mail_ends_with_a_report_that_survives_a_restart),
		T(a_rejection_is_not_reported_where_nobody_wants_it),
		T(a_report_on_a_rejection_says_what_the_sender_calls_it),
		T(a_release_hands_over_what_submission_asked_for),
		T(every_decision_is_in_the_chain_of_acts),
	};

	return cmocka_run_group_tests_name("decide_hold", tests, NULL, NULL);
}
