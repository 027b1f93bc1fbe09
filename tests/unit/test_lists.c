/* tests/unit/test_lists.c - verdicts of the lists, acts by hand, networks, logins */
#include "tests/unit/policy_rig.h"

#define ACTIVE HOLDFAST__ACCOUNT_STATE__ACCOUNT_ACTIVE
#define UNSUB  HOLDFAST__LIST_NAME__LIST_UNSUBSCRIBE
#define BOUNCE HOLDFAST__LIST_NAME__LIST_BOUNCE
#define SYSTEM HOLDFAST__LIST_NAME__LIST_SYSTEM
#define OK     HOLDFAST__DONE__RESULT__OK

static Holdfast__Done__Result put(struct policy_rig *r, Holdfast__ListName list, const char *key,
                                  const char *origin)
{
	Holdfast__ListEntry e = HOLDFAST__LIST_ENTRY__INIT;
	Holdfast__ListPut p = HOLDFAST__LIST_PUT__INIT;
	struct kv_batch *b = kv_batch_new();
	const char *text = "";
	Holdfast__Done__Result result;

	e.list = list;
	e.account = pb_str("shop");
	e.key = pb_str(key);
	e.origin = pb_str(origin);
	p.entry = &e;
	result = list_put(&r->p, &p, RIG_NOW, b, &text);
	if (kv_batch_empty(b))
		kv_batch_free(&b);
	else
		rig_write(r, &b);
	return result;
}

static Holdfast__Done__Result take_off(struct policy_rig *r, Holdfast__ListName list,
                                       const char *key)
{
	Holdfast__ListRemove rm = HOLDFAST__LIST_REMOVE__INIT;
	struct kv_batch *b = kv_batch_new();
	const char *text = "";
	Holdfast__Done__Result result;

	rm.list = list;
	rm.account = pb_str("shop");
	rm.key = pb_str(key);
	result = list_remove(&r->p, &rm, RIG_NOW, b, &text);
	if (kv_batch_empty(b))
		kv_batch_free(&b);
	else
		rig_write(r, &b);
	return result;
}

static Holdfast__VerdictClass verdict(struct policy_rig *r, const char *key, unsigned *hits)
{
	Holdfast__Verdict v = HOLDFAST__VERDICT__INIT;
	bool remote;

	list_verdict(&r->p, accounts_find(&r->p, pb_str("shop")), pb_str(key), &v, hits, &remote);
	assert_false(remote);
	return v.class_;
}

static void assert_class(struct policy_rig *r, const char *key, Holdfast__VerdictClass want)
{
	unsigned hits;

	assert_int_equal(verdict(r, key, &hits), want);
}

static void the_first_list_that_hits_is_the_answer_and_all_are_recorded(void **state)
{
	struct policy_rig *r = *state;
	unsigned hits;

	rig_account(r, "shop", ACTIVE, 0);
	assert_int_equal(put(r, SYSTEM, "a@b.test", "invalid"), OK);
	assert_class(r, "a@b.test", HOLDFAST__VERDICT_CLASS__VERDICT_BLOCK);
	assert_int_equal(put(r, UNSUB, "a@b.test", "manual"), OK);
	assert_class(r, "a@b.test", HOLDFAST__VERDICT_CLASS__VERDICT_UNSUBSCRIBE);
	assert_int_equal(put(r, BOUNCE, "a@b.test", "manual"), OK);
	assert_int_equal(verdict(r, "a@b.test", &hits), HOLDFAST__VERDICT_CLASS__VERDICT_BOUNCE);
	assert_int_equal(__builtin_popcount(hits), 3);
	assert_class(r, "c@b.test", HOLDFAST__VERDICT_CLASS__VERDICT_OK);
}

static void a_domain_entry_matches_itself_and_with_a_dot_what_is_below(void **state)
{
	struct policy_rig *r = *state;

	rig_account(r, "shop", ACTIVE, 0);
	assert_int_equal(put(r, UNSUB, "plain.test", "manual"), OK);
	assert_int_equal(put(r, UNSUB, ".dotted.test", "manual"), OK);
	assert_class(r, "x@plain.test", HOLDFAST__VERDICT_CLASS__VERDICT_UNSUBSCRIBE);
	assert_class(r, "x@sub.plain.test", HOLDFAST__VERDICT_CLASS__VERDICT_OK);
	assert_class(r, "x@notplain.test", HOLDFAST__VERDICT_CLASS__VERDICT_OK);
	assert_class(r, "x@a.b.dotted.test", HOLDFAST__VERDICT_CLASS__VERDICT_UNSUBSCRIBE);
	assert_class(r, "x@dotted.test", HOLDFAST__VERDICT_CLASS__VERDICT_OK);
}

static void domains_stand_on_the_unsubscribe_list_only(void **state)
{
	struct policy_rig *r = *state;

	rig_account(r, "shop", ACTIVE, 0);
	assert_int_equal(put(r, BOUNCE, "plain.test", "manual"), HOLDFAST__DONE__RESULT__INVALID);
	assert_int_equal(put(r, SYSTEM, "plain.test", "owner"), HOLDFAST__DONE__RESULT__INVALID);
}

static void the_bypass_never_covers_a_complaint(void **state)
{
	struct policy_rig *r = *state;
	struct account *a = rig_account(r, "shop", ACTIVE, 0);

	put(r, UNSUB, "a@b.test", "manual");
	put(r, UNSUB, "c@b.test", "complaint");
	a->bypass_unsubscribe = true;
	assert_class(r, "a@b.test", HOLDFAST__VERDICT_CLASS__VERDICT_OK);
	assert_class(r, "c@b.test", HOLDFAST__VERDICT_CLASS__VERDICT_UNSUBSCRIBE);
}

static void what_is_removed_lets_mail_through_and_leaves_history(void **state)
{
	struct policy_rig *r = *state;
	struct kv_iter *it;
	struct account *a = rig_account(r, "shop", ACTIVE, 0);

	put(r, UNSUB, "a@b.test", "manual");
	assert_int_equal(put(r, UNSUB, "a@b.test", "manual"), HOLDFAST__DONE__RESULT__NO_CHANGE);
	assert_int_equal(a->figures.listed[LISTED_UNSUBSCRIBE], 1);
	assert_int_equal(take_off(r, UNSUB, "a@b.test"), OK);
	assert_int_equal(take_off(r, UNSUB, "a@b.test"), HOLDFAST__DONE__RESULT__NO_SUCH);
	assert_int_equal(a->figures.listed[LISTED_UNSUBSCRIBE], 0);
	assert_class(r, "a@b.test", HOLDFAST__VERDICT_CLASS__VERDICT_OK);
	it = kv_iter_new(r->p.kv, CF_HISTORY, "", 0, NULL, 0);
	assert_true(kv_iter_next(it));
	assert_false(kv_iter_next(it));
	assert_int_equal(kv_iter_free(&it), ERR_OK);
}

static void an_entry_taken_off_twice_before_the_sync_is_counted_off_once(void **state)
{
	struct policy_rig *r = *state;
	struct account *a = rig_account(r, "shop", ACTIVE, 0);
	Holdfast__ListRemove rm = HOLDFAST__LIST_REMOVE__INIT;
	struct kv_batch *b[2] = { kv_batch_new(), kv_batch_new() };
	const char *text = "";

	put(r, UNSUB, "a@b.test", "manual");
	put(r, UNSUB, "c@b.test", "manual");
	rm.list = UNSUB;
	rm.account = pb_str("shop");
	rm.key = pb_str("a@b.test");
	assert_int_equal(list_remove(&r->p, &rm, RIG_NOW, b[0], &text), OK);
	assert_int_equal(list_remove(&r->p, &rm, RIG_NOW, b[1], &text),
	                 HOLDFAST__DONE__RESULT__NO_SUCH);
	assert_true(kv_batch_empty(b[1]));
	kv_batch_free(&b[1]);
	rig_write(r, &b[0]);
	assert_int_equal(a->figures.listed[LISTED_UNSUBSCRIBE], 1);
	assert_class(r, "a@b.test", HOLDFAST__VERDICT_CLASS__VERDICT_OK);
	assert_class(r, "c@b.test", HOLDFAST__VERDICT_CLASS__VERDICT_UNSUBSCRIBE);
}

static void a_stronger_origin_takes_the_place_of_a_weaker_one(void **state)
{
	struct policy_rig *r = *state;
	struct account *a = rig_account(r, "shop", ACTIVE, 0);
	Holdfast__ListEntry *e;
	struct kv_iter *it;

	assert_int_equal(put(r, UNSUB, "a@b.test", "manual"), OK);
	assert_int_equal(put(r, UNSUB, "a@b.test", "complaint"), OK);
	assert_int_equal(put(r, UNSUB, "a@b.test", "manual"), HOLDFAST__DONE__RESULT__NO_CHANGE);
	a->bypass_unsubscribe = true;
	assert_class(r, "a@b.test", HOLDFAST__VERDICT_CLASS__VERDICT_UNSUBSCRIBE);
	assert_int_equal(a->figures.listed[LISTED_UNSUBSCRIBE], 1);
	assert_int_equal(put(r, SYSTEM, "s@b.test", "invalid"), OK);
	assert_int_equal(put(r, SYSTEM, "s@b.test", "owner"), OK);
	assert_int_equal(put(r, SYSTEM, "s@b.test", "invalid"), HOLDFAST__DONE__RESULT__NO_CHANGE);
	e = store_list_get(r->p.kv, SYSTEM, "", "s@b.test", 8);
	assert_true(pb_is(e->origin, "owner"));
	holdfast__list_entry__free_unpacked(e, NULL);
	assert_int_equal(r->p.system_entries, 1);
	it = kv_iter_new(r->p.kv, CF_HISTORY, "", 0, NULL, 0); /* both weaker ones are kept */
	assert_true(kv_iter_next(it) && kv_iter_next(it));
	assert_false(kv_iter_next(it));
	assert_int_equal(kv_iter_free(&it), ERR_OK);
}

static void counts_of_entries_survive_a_restart(void **state)
{
	struct policy_rig *r = *state;

	rig_account(r, "shop", ACTIVE, 0);
	put(r, UNSUB, "a@b.test", "manual");
	put(r, SYSTEM, "s@b.test", "owner");
	rig_reopen(r);
	assert_class(r, "a@b.test", HOLDFAST__VERDICT_CLASS__VERDICT_UNSUBSCRIBE);
	assert_class(r, "s@b.test", HOLDFAST__VERDICT_CLASS__VERDICT_BLOCK);
	assert_int_equal(take_off(r, SYSTEM, "s@b.test"), OK);
	assert_int_equal(r->p.system_entries, 0);
}

static Holdfast__Done__Result source(struct policy_rig *r, const char *account, const uint8_t *ip,
                                     uint32_t prefix, bool remove)
{
	Holdfast__SourcePut p = HOLDFAST__SOURCE_PUT__INIT;
	struct kv_batch *b = kv_batch_new();
	const char *text = "";
	Holdfast__Done__Result result;

	p.account = pb_str(account);
	p.ip = pb_bytes(ip, 4);
	p.prefix = prefix;
	p.remove = remove;
	result = sources_put(&r->p, &p, b, &text);
	if (kv_batch_empty(b))
		kv_batch_free(&b);
	else
		rig_write(r, &b);
	return result;
}

static void the_longest_network_wins(void **state)
{
	static const uint8_t net[4] = { 10, 0, 0, 0 }, host[4] = { 10, 0, 0, 7 },
	                     other[4] = { 10, 9, 9, 9 }, outside[4] = { 11, 0, 0, 1 };
	struct policy_rig *r = *state;

	assert_int_equal(source(r, "wide", net, 8, false), OK);
	assert_int_equal(source(r, "narrow", host, 32, false), OK);
	assert_int_equal(source(r, "thief", host, 32, false), HOLDFAST__DONE__RESULT__EXISTS);
	rig_reopen(r);
	assert_string_equal(sources_find(&r->p, host, 4), "narrow");
	assert_string_equal(sources_find(&r->p, other, 4), "wide");
	assert_null(sources_find(&r->p, outside, 4));
	assert_int_equal(source(r, "narrow", host, 32, true), OK);
	assert_string_equal(sources_find(&r->p, host, 4), "wide");
	assert_int_equal(source(r, "x", net, 33, false), HOLDFAST__DONE__RESULT__INVALID);
}

static void an_unknown_login_gets_the_same_keys_each_time(void **state)
{
	struct policy_rig *r = *state;
	struct buf a = BUF_INIT, b = BUF_INIT, c = BUF_INIT;

	assert_false(credential_find(&r->p, pb_str("nobody"), &a));
	rig_reopen(r);
	assert_false(credential_find(&r->p, pb_str("nobody"), &b));
	assert_false(credential_find(&r->p, pb_str("nobody2"), &c));
	assert_int_equal(a.len, b.len);
	assert_memory_equal(a.data, b.data, a.len);
	assert_int_equal(a.len, c.len);
	assert_memory_not_equal(a.data, c.data, a.len);
	buf_free(&a);
	buf_free(&b);
	buf_free(&c);
}

static void no_more_accounts_than_the_limit(void **state)
{
	struct policy_rig *r = *state;
	Holdfast__Account a = HOLDFAST__ACCOUNT__INIT;
	Holdfast__AccountPut p = HOLDFAST__ACCOUNT_PUT__INIT;
	struct kv_batch *b = kv_batch_new();
	const char *text = "";
	char name[16];

	for (int i = 0; i < 10; i++) {
		snprintf(name, sizeof(name), "a%d", i);
		rig_account(r, name, ACTIVE, 0);
	}
	a.name = pb_str("one-more");
	p.account = &a;
	p.create = true;
	assert_int_equal(accounts_put(&r->p, &p, RIG_NOW, b, &text), HOLDFAST__DONE__RESULT__INVALID);
	kv_batch_free(&b);
}

#define T(f) cmocka_unit_test_setup_teardown(f, rig_setup, rig_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(the_first_list_that_hits_is_the_answer_and_all_are_recorded),
		T(a_domain_entry_matches_itself_and_with_a_dot_what_is_below),
		T(domains_stand_on_the_unsubscribe_list_only),
		T(the_bypass_never_covers_a_complaint),
		T(what_is_removed_lets_mail_through_and_leaves_history),
		T(an_entry_taken_off_twice_before_the_sync_is_counted_off_once),
		T(a_stronger_origin_takes_the_place_of_a_weaker_one),
		T(counts_of_entries_survive_a_restart),
		T(the_longest_network_wins),
		T(an_unknown_login_gets_the_same_keys_each_time),
		T(no_more_accounts_than_the_limit),
	};

	return cmocka_run_group_tests_name("lists", tests, NULL, NULL);
}
