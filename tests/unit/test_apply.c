/* tests/unit/test_apply.c - events are applied once each, and what they teach */
#include "lib/clock.h"
#include "tests/unit/policy_rig.h"

#define ACTIVE HOLDFAST__ACCOUNT_STATE__ACCOUNT_ACTIVE
#define SOFT   HOLDFAST__BOUNCE_CLASS__BOUNCE_SOFT
#define HARD   HOLDFAST__BOUNCE_CLASS__BOUNCE_HARD
#define BLOCK  HOLDFAST__BOUNCE_CLASS__BOUNCE_BLOCK
#define DELIVERED HOLDFAST__EVENT_KIND__EVENT_DELIVERED
#define BOUNCED   HOLDFAST__EVENT_KIND__EVENT_BOUNCED
#define EXPIRED   HOLDFAST__EVENT_KIND__EVENT_EXPIRED
#define ACCEPTED  HOLDFAST__EVENT_KIND__EVENT_ACCEPTED

static const uint8_t source_a[16] = "source-a-------";
static const uint8_t source_b[16] = "source-b-------";

struct told {
	Holdfast__Event event;
	Holdfast__Evidence evidence;
	uint8_t id[UUID_LEN];
};

/* An event of account "shop" about x@y.test. */
static struct told *tell(struct told *t, uint64_t seq, Holdfast__EventKind kind,
                         Holdfast__BounceClass class)
{
	holdfast__event__init(&t->event);
	holdfast__evidence__init(&t->evidence);
	rig_id(t->id, (uint8_t)seq);
	t->evidence.class_ = class;
	t->evidence.stage = HOLDFAST__SMTP_STAGE__STAGE_RCPT;
	t->evidence.code = 550;
	t->event.seq = seq;
	t->event.kind = kind;
	t->event.account = pb_str("shop");
	t->event.message_id = pb_bytes(t->id, UUID_LEN);
	t->event.address = t->event.key = pb_str("x@y.test");
	t->event.time_ms = RIG_NOW;
	t->event.n = 1;
	t->event.evidence = &t->evidence;
	return t;
}

static bool apply_from(struct policy_rig *r, const uint8_t *source, struct told *t, size_t n,
                       uint64_t *last)
{
	Holdfast__Events f = HOLDFAST__EVENTS__INIT;
	struct kv_batch *b = kv_batch_new();
	Holdfast__Event *row[16];

	for (size_t i = 0; i < n; i++)
		row[i] = &t[i].event;
	f.source = pb_bytes(source, 16);
	f.event = row;
	f.n_event = n;
	if (!apply_events(&r->p, &f, b, last)) {
		kv_batch_free(&b);
		return false;
	}
	rig_write(r, &b);
	return true;
}

static uint64_t apply(struct policy_rig *r, struct told *t, size_t n)
{
	uint64_t last = 0;

	assert_true(apply_from(r, source_a, t, n, &last));
	return last;
}

static Holdfast__VerdictClass verdict(struct policy_rig *r, bool *soft)
{
	Holdfast__Verdict v = HOLDFAST__VERDICT__INIT;
	unsigned hits;
	bool remote;

	list_verdict(&r->p, accounts_find(&r->p, pb_str("shop")), pb_str("x@y.test"), &v, &hits,
	             &remote);
	*soft = v.soft;
	return v.class_;
}

static uint32_t soft_count(struct policy_rig *r)
{
	Holdfast__ListEntry *e = store_list_get(r->p.kv, HOLDFAST__LIST_NAME__LIST_BOUNCE, "shop",
	                                        "x@y.test", 8);
	uint32_t n = e == NULL ? 0 : e->soft_count;

	holdfast__list_entry__free_unpacked(e, NULL);
	return n;
}

static void what_is_repeated_counts_once(void **state)
{
	struct policy_rig *r = *state;
	struct account *a = rig_account(r, "shop", ACTIVE, 0);
	struct told t[3];

	tell(&t[0], 5, ACCEPTED, 0)->event.n = 3;
	tell(&t[1], 6, DELIVERED, 0);
	tell(&t[2], 9, DELIVERED, 0);
	assert_int_equal(apply(r, t, 2), 6);
	assert_int_equal(apply(r, t, 2), 6);     /* the whole frame again */
	assert_int_equal(apply(r, t + 1, 2), 9); /* one old, one new */
	assert_int_equal(a->figures.ends[0], 3);
	assert_int_equal(a->figures.ends[1], 2);
}

static void what_was_applied_is_known_after_a_restart(void **state)
{
	struct policy_rig *r = *state;
	struct told t;

	rig_account(r, "shop", ACTIVE, 0);
	tell(&t, 7, BOUNCED, SOFT);
	apply(r, &t, 1);
	rig_reopen(r);
	assert_int_equal(apply(r, &t, 1), 7);
	assert_int_equal(soft_count(r), 1);
	assert_int_equal(accounts_find(&r->p, pb_str("shop"))->figures.ends[2], 1);
}

static void two_sources_have_numbers_of_their_own(void **state)
{
	struct policy_rig *r = *state;
	struct account *a = rig_account(r, "shop", ACTIVE, 0);
	struct told t;
	uint64_t last;

	tell(&t, 4, DELIVERED, 0);
	apply(r, &t, 1);
	assert_true(apply_from(r, source_b, &t, 1, &last));
	assert_int_equal(a->figures.ends[1], 2);
}

static void a_hard_bounce_lists_the_address(void **state)
{
	struct policy_rig *r = *state;
	struct told t;
	bool soft;

	rig_account(r, "shop", ACTIVE, 0);
	assert_int_equal(verdict(r, &soft), HOLDFAST__VERDICT_CLASS__VERDICT_OK);
	tell(&t, 1, BOUNCED, HARD);
	apply(r, &t, 1);
	assert_int_equal(verdict(r, &soft), HOLDFAST__VERDICT_CLASS__VERDICT_BOUNCE);
	assert_false(soft);
	rig_reopen(r);
	assert_int_equal(verdict(r, &soft), HOLDFAST__VERDICT_CLASS__VERDICT_BOUNCE);
}

static void the_third_soft_bounce_lists_it_and_the_limit_acts_at_once(void **state)
{
	struct policy_rig *r = *state;
	struct account *a = rig_account(r, "shop", ACTIVE, 0);
	struct told t;
	bool soft;

	for (uint64_t n = 1; n <= 3; n++) {
		assert_int_equal(verdict(r, &soft), HOLDFAST__VERDICT_CLASS__VERDICT_OK);
		tell(&t, n, n == 2 ? EXPIRED : BOUNCED, SOFT);
		apply(r, &t, 1);
	}
	assert_int_equal(verdict(r, &soft), HOLDFAST__VERDICT_CLASS__VERDICT_BOUNCE);
	assert_true(soft);
	a->soft_limit = 5;
	assert_int_equal(verdict(r, &soft), HOLDFAST__VERDICT_CLASS__VERDICT_OK);
	a->soft_limit = 1;
	assert_int_equal(verdict(r, &soft), HOLDFAST__VERDICT_CLASS__VERDICT_BOUNCE);
}

static void soft_bounces_of_one_frame_add_up(void **state)
{
	struct policy_rig *r = *state;
	struct account *a = rig_account(r, "shop", ACTIVE, 0);
	struct told t[3];
	bool soft;

	for (int i = 0; i < 3; i++)
		tell(&t[i], (uint64_t)i + 1, BOUNCED, SOFT);
	apply(r, t, 3);
	assert_int_equal(soft_count(r), 3);
	assert_int_equal(verdict(r, &soft), HOLDFAST__VERDICT_CLASS__VERDICT_BOUNCE);
	assert_int_equal(a->figures.listed[LISTED_SOFT], 1);
}

static void a_message_counts_one_soft_bounce_of_an_address(void **state)
{
	struct policy_rig *r = *state;
	struct told t[3];

	rig_account(r, "shop", ACTIVE, 0);
	for (int i = 0; i < 3; i++) {
		tell(&t[i], (uint64_t)i + 1, BOUNCED, SOFT);
		rig_id(t[i].id, 1); /* the address is in one message three times */
	}
	apply(r, t, 3);
	assert_int_equal(soft_count(r), 1);
}

static void a_text_of_that_class_blocks_for_everyone_like_the_code(void **state)
{
	struct policy_rig *r = *state;
	struct told t;

	rig_account(r, "shop", ACTIVE, 0);
	tell(&t, 1, BOUNCED, HARD)->evidence.rule = pb_str("text-null-mx");
	t.evidence.own_mx = true;
	apply(r, &t, 1);
	assert_false(list_blocked(&r->p, pb_str("x@y.test")));
	tell(&t, 2, BOUNCED, HARD)->evidence.rule = pb_str("text-no-such-mailbox");
	t.evidence.own_mx = true;
	apply(r, &t, 1);
	assert_true(list_blocked(&r->p, pb_str("x@y.test")));
}

static void a_source_whose_clock_is_ahead_opens_no_new_window(void **state)
{
	struct policy_rig *r = *state;
	struct account *a = rig_account(r, "shop", ACTIVE, 0);
	uint64_t now = clock_wall_ms();
	struct told t[2];

	tell(&t[0], 1, ACCEPTED, 0)->event.n = 3;
	t[0].event.time_ms = now;
	tell(&t[1], 2, ACCEPTED, 0)->event.n = 2;
	t[1].event.time_ms = now + 40ull * 24 * HOUR_MS;
	apply(r, t, 2);
	assert_int_equal(quota_used(&a->figures.used[WINDOW_MONTH], WINDOW_MONTH, now), 5);
}

static void a_hard_bounce_is_not_undone_by_a_soft_one_of_the_same_frame(void **state)
{
	struct policy_rig *r = *state;
	struct account *a = rig_account(r, "shop", ACTIVE, 0);
	struct told t[2];
	bool soft;

	tell(&t[0], 1, BOUNCED, HARD);
	tell(&t[1], 2, EXPIRED, SOFT);
	apply(r, t, 2);
	rig_reopen(r);
	assert_int_equal(verdict(r, &soft), HOLDFAST__VERDICT_CLASS__VERDICT_BOUNCE);
	assert_false(soft);
	a = accounts_find(&r->p, pb_str("shop"));
	assert_int_equal(a->figures.listed[LISTED_BOUNCE], 1);
	assert_int_equal(a->figures.listed[LISTED_SOFT], 0);
}

static void a_delivery_clears_the_soft_count(void **state)
{
	struct policy_rig *r = *state;
	struct told t;

	rig_account(r, "shop", ACTIVE, 0);
	tell(&t, 1, BOUNCED, SOFT);
	apply(r, &t, 1);
	assert_int_equal(soft_count(r), 1);
	tell(&t, 2, DELIVERED, 0);
	apply(r, &t, 1);
	assert_int_equal(soft_count(r), 0);
}

static void a_block_teaches_nothing(void **state)
{
	struct policy_rig *r = *state;
	struct told t;
	bool soft;

	rig_account(r, "shop", ACTIVE, 0);
	for (uint64_t n = 1; n <= 9; n++) {
		tell(&t, n, BOUNCED, BLOCK);
		apply(r, &t, 1);
	}
	assert_int_equal(verdict(r, &soft), HOLDFAST__VERDICT_CLASS__VERDICT_OK);
}

static void only_the_domains_own_server_at_rcpt_blocks_for_everyone(void **state)
{
	struct policy_rig *r = *state;
	struct told t;

	rig_account(r, "shop", ACTIVE, 0);
	tell(&t, 1, BOUNCED, HARD)->evidence.enhanced = pb_str("5.1.1");
	apply(r, &t, 1);
	assert_false(list_blocked(&r->p, pb_str("x@y.test")));
	tell(&t, 2, BOUNCED, HARD)->evidence.enhanced = pb_str("5.1.1");
	t.evidence.own_mx = true;
	t.evidence.stage = HOLDFAST__SMTP_STAGE__STAGE_END_OF_DATA;
	apply(r, &t, 1);
	assert_false(list_blocked(&r->p, pb_str("x@y.test")));
	tell(&t, 3, BOUNCED, HARD)->evidence.enhanced = pb_str("5.1.1");
	t.evidence.own_mx = true;
	apply(r, &t, 1);
	assert_true(list_blocked(&r->p, pb_str("x@y.test")));
	rig_reopen(r);
	assert_true(list_blocked(&r->p, pb_str("x@y.test")));
}

static void a_share_is_turned_into_use_by_acceptance(void **state)
{
	struct policy_rig *r = *state;
	struct account *a = rig_account(r, "shop", ACTIVE, 10);
	struct kv_batch *b = kv_batch_new();
	struct told t;

	tell(&t, 1, ACCEPTED, 0)->event.n = 2;
	for (uint32_t i = 0; i < 3; i++)
		assert_int_equal(reserve_take(&r->p, a, t.id, i, RIG_NOW, b), ERR_OK);
	assert_int_equal(reserve_take(&r->p, a, t.id, 1, RIG_NOW, b), ERR_EXIST);
	rig_write(r, &b);
	assert_int_equal(a->reserved, 3);
	rig_reopen(r);
	a = accounts_find(&r->p, pb_str("shop"));
	assert_int_equal(a->reserved, 3); /* a killed policy forgets no promise */
	apply(r, &t, 1);
	assert_int_equal(a->reserved, 1);
	assert_int_equal(quota_used(&a->figures.used[WINDOW_TOTAL], WINDOW_TOTAL, RIG_NOW), 2);
	b = kv_batch_new();
	reserve_give(&r->p, t.id, UINT64_MAX, b);
	rig_write(r, &b);
	rig_reopen(r);
	assert_int_equal(reserve_count(&r->p), 0);
}

static void frames_that_are_not_sound_change_nothing(void **state)
{
	struct policy_rig *r = *state;
	struct account *a = rig_account(r, "shop", ACTIVE, 0);
	struct told t[2];
	uint64_t last;

	tell(&t[0], 2, DELIVERED, 0);
	tell(&t[1], 2, DELIVERED, 0); /* does not rise */
	assert_false(apply_from(r, source_a, t, 2, &last));
	tell(&t[0], 1, (Holdfast__EventKind)99, 0);
	assert_false(apply_from(r, source_a, t, 1, &last));
	tell(&t[0], 1, DELIVERED, 0)->event.message_id.len = 15;
	assert_false(apply_from(r, source_a, t, 1, &last));
	tell(&t[0], 1, ACCEPTED, 0)->event.n = 0;
	assert_false(apply_from(r, source_a, t, 1, &last));
	assert_false(apply_from(r, source_a, t, 0, &last));
	assert_int_equal(a->figures.ends[0] + a->figures.ends[1], 0);
}

#define T(f) cmocka_unit_test_setup_teardown(f, rig_setup, rig_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(what_is_repeated_counts_once),
		T(what_was_applied_is_known_after_a_restart),
		T(two_sources_have_numbers_of_their_own),
		T(a_hard_bounce_lists_the_address),
		T(the_third_soft_bounce_lists_it_and_the_limit_acts_at_once),
		T(soft_bounces_of_one_frame_add_up),
		T(a_message_counts_one_soft_bounce_of_an_address),
		T(a_text_of_that_class_blocks_for_everyone_like_the_code),
		T(a_source_whose_clock_is_ahead_opens_no_new_window),
		T(a_hard_bounce_is_not_undone_by_a_soft_one_of_the_same_frame),
		T(a_delivery_clears_the_soft_count),
		T(a_block_teaches_nothing),
		T(only_the_domains_own_server_at_rcpt_blocks_for_everyone),
		T(a_share_is_turned_into_use_by_acceptance),
		T(frames_that_are_not_sound_change_nothing),
	};

	return cmocka_run_group_tests_name("apply", tests, NULL, NULL);
}
