/* tests/unit/test_shares.c - RCPT of an account with a quota: shares, repeats, giving up */
#include "tests/unit/policy_rig.h"
#include "tests/unit/fake_bus.h"

#define ACTIVE HOLDFAST__ACCOUNT_STATE__ACCOUNT_ACTIVE
#define REVIEW HOLDFAST__ACCOUNT_STATE__ACCOUNT_REVIEW
#define OK     HOLDFAST__VERDICT_CLASS__VERDICT_OK
#define HOLD   HOLDFAST__VERDICT_CLASS__VERDICT_HOLD
#define CANNOT HOLDFAST__VERDICT_CLASS__VERDICT_CANNOT_SEND

static uint64_t last_call;

static int open_rig(void **state)
{
	struct policy_rig *r;

	assert_int_equal(rig_setup(state), 0);
	r = *state;
	r->p.bus = (struct bus *)&fake; /* never looked into */
	r->p.laters = idmap_new();
	r->p.conf.block_wait_ms = 1000;
	TAILQ_INIT(&r->p.all_laters);
	r->stage.state = &r->p;
	fake.self = true;
	last_call = 0;
	return 0;
}

static int close_rig(void **state)
{
	struct policy_rig *r = *state;

	fake_close();
	later_end_all(&r->p);
	idmap_free(&r->p.laters);
	r->stage.state = NULL; /* writes may complete after this */
	return rig_teardown(state);
}

static struct bus_from caller(void)
{
	return (struct bus_from){ .role = HOLDFAST__ROLE__ROLE_INGEST, .call = ++last_call };
}

/* Ask for recipient `index` of message `id`; returns the number of the question. */
static uint64_t ask_rcpt(struct policy_rig *r, uint8_t id, uint32_t index, const char *key)
{
	Holdfast__RcptQuery q = HOLDFAST__RCPT_QUERY__INIT;
	Holdfast__Frame f = HOLDFAST__FRAME__INIT;
	struct bus_from from = caller();
	uint8_t message[UUID_LEN];

	rig_id(message, id);
	q.account = pb_str("shop");
	q.message_id = pb_bytes(message, UUID_LEN);
	q.index = index;
	q.address = q.key = pb_str(key);
	f.body_case = HOLDFAST__FRAME__BODY_RCPT_QUERY;
	f.rcpt_query = &q;
	answer_rcpt(&r->stage, &from, &f, NULL);
	return from.call;
}

static void abandon(struct policy_rig *r, uint8_t id)
{
	Holdfast__Abandon q = HOLDFAST__ABANDON__INIT;
	Holdfast__Frame f = HOLDFAST__FRAME__INIT;
	struct bus_from from = caller();
	uint8_t message[UUID_LEN];

	rig_id(message, id);
	q.account = pb_str("shop");
	q.message_id = pb_bytes(message, UUID_LEN);
	f.body_case = HOLDFAST__FRAME__BODY_ABANDON;
	f.abandon = &q;
	answer_abandon(&r->stage, &from, &f, NULL);
}

static const struct fake_answer *answer_to(uint64_t call)
{
	for (size_t i = 0; i < fake.n_answer; i++) {
		if (fake.answer[i].call == call)
			return &fake.answer[i];
	}
	return NULL;
}

static void settle(struct policy_rig *r)
{
	uv_run(&r->loop, UV_RUN_DEFAULT); /* the store keeps it alive just while writes wait */
}

static Holdfast__Verdict *verdict_to(struct policy_rig *r, uint64_t call)
{
	settle(r);
	assert_non_null(answer_to(call));
	assert_non_null(answer_to(call)->frame);
	return answer_to(call)->frame->verdict;
}

static void a_quota_is_given_out_to_the_last_and_no_further(void **state)
{
	struct policy_rig *r = *state;
	uint64_t call[5];

	rig_account(r, "shop", ACTIVE, 3);
	for (uint32_t i = 0; i < 5; i++)
		call[i] = ask_rcpt(r, (uint8_t)(i + 1), 0, "x@y.test");
	for (uint32_t i = 0; i < 5; i++)
		assert_int_equal(verdict_to(r, call[i])->class_, i < 3 ? OK : CANNOT);
	assert_int_equal(reserve_count(&r->p), 3);
}

static void a_share_is_synced_before_its_answer(void **state)
{
	struct policy_rig *r = *state;
	uint64_t first, repeat;

	rig_account(r, "shop", ACTIVE, 3);
	first = ask_rcpt(r, 1, 0, "x@y.test");
	repeat = ask_rcpt(r, 1, 0, "x@y.test");
	assert_null(answer_to(first));
	assert_null(answer_to(repeat)); /* the repeat may not overtake the sync either */
	assert_int_equal(verdict_to(r, first)->class_, OK);
	assert_int_equal(verdict_to(r, repeat)->class_, OK);
	assert_int_equal(reserve_count(&r->p), 1);
}

static void who_has_the_last_share_is_told_so_again_when_it_asks_again(void **state)
{
	struct policy_rig *r = *state;

	rig_account(r, "shop", ACTIVE, 1);
	assert_int_equal(verdict_to(r, ask_rcpt(r, 1, 0, "x@y.test"))->class_, OK);
	assert_int_equal(verdict_to(r, ask_rcpt(r, 1, 0, "x@y.test"))->class_, OK);
	assert_int_equal(verdict_to(r, ask_rcpt(r, 1, 1, "z@y.test"))->class_, CANNOT);
	assert_int_equal(reserve_count(&r->p), 1);
}

static void a_repeat_of_an_account_in_review_is_still_held(void **state)
{
	struct policy_rig *r = *state;

	rig_account(r, "shop", REVIEW, 1);
	assert_int_equal(verdict_to(r, ask_rcpt(r, 1, 0, "x@y.test"))->class_, HOLD);
	assert_int_equal(verdict_to(r, ask_rcpt(r, 1, 0, "x@y.test"))->class_, HOLD);
}

static void what_is_given_up_while_another_instance_is_asked_takes_no_share(void **state)
{
	struct policy_rig *r = *state;
	Holdfast__Frame reply = HOLDFAST__FRAME__INIT;
	Holdfast__Verdict v = HOLDFAST__VERDICT__INIT;
	uint64_t call;

	rig_account(r, "shop", ACTIVE, 1);
	fake.self = false;
	call = ask_rcpt(r, 1, 0, "x@y.test");
	abandon(r, 1);
	reply.body_case = HOLDFAST__FRAME__BODY_VERDICT;
	reply.verdict = &v;
	fake_reply(fake_open(HOLDFAST__FRAME__BODY_BLOCK_QUERY), ERR_OK, &reply);
	settle(r);
	assert_non_null(answer_to(call));
	assert_null(answer_to(call)->frame);
	assert_int_equal(reserve_count(&r->p), 0);
}

static void another_instance_that_fails_is_busy_and_never_a_guess(void **state)
{
	struct policy_rig *r = *state;
	uint64_t call;

	rig_account(r, "shop", ACTIVE, 0);
	fake.self = false;
	call = ask_rcpt(r, 1, 0, "x@y.test");
	fake_reply(fake_open(HOLDFAST__FRAME__BODY_BLOCK_QUERY), ERR_TIMEOUT, NULL);
	assert_null(answer_to(call)->frame);
	assert_int_equal(answer_to(call)->why, HOLDFAST__REFUSED__WHY__BUSY);
	assert_int_equal(idmap_count(r->p.laters), 0);
}

static void a_recheck_does_not_take_an_account_out_of_review(void **state)
{
	struct policy_rig *r = *state;
	Holdfast__RecheckQuery q = HOLDFAST__RECHECK_QUERY__INIT;
	Holdfast__Frame f = HOLDFAST__FRAME__INIT;
	struct bus_from from = caller();

	rig_account(r, "shop", REVIEW, 1);
	verdict_to(r, ask_rcpt(r, 1, 0, "x@y.test")); /* the quota is used up */
	q.account = pb_str("shop");
	f.body_case = HOLDFAST__FRAME__BODY_RECHECK_QUERY;
	f.recheck_query = &q;
	answer_recheck(&r->stage, &from, &f, NULL);
	assert_int_equal(answer_to(from.call)->frame->recheck_answer->account->class_, HOLD);
}

#define T(f) cmocka_unit_test_setup_teardown(f, open_rig, close_rig)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(a_quota_is_given_out_to_the_last_and_no_further),
		T(a_share_is_synced_before_its_answer),
		T(who_has_the_last_share_is_told_so_again_when_it_asks_again),
		T(a_repeat_of_an_account_in_review_is_still_held),
		T(what_is_given_up_while_another_instance_is_asked_takes_no_share),
		T(another_instance_that_fails_is_busy_and_never_a_guess),
		T(a_recheck_does_not_take_an_account_out_of_review),
	};

	return cmocka_run_group_tests_name("shares", tests, NULL, NULL);
}
