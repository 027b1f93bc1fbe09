/* tests/unit/test_account.c - names, transitions, what an account may do */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include "policy/account.h"

#define NEW      HOLDFAST__ACCOUNT_STATE__ACCOUNT_NONE
#define PENDING  HOLDFAST__ACCOUNT_STATE__ACCOUNT_PENDING
#define REVIEW   HOLDFAST__ACCOUNT_STATE__ACCOUNT_REVIEW
#define ACTIVE   HOLDFAST__ACCOUNT_STATE__ACCOUNT_ACTIVE
#define DISABLED HOLDFAST__ACCOUNT_STATE__ACCOUNT_DISABLED
#define NOW 1795512000000ull
#define DAY 86400000ull

static void every_pair_of_states_is_legal_or_refused(void **state)
{
	static const char legal[5][5] = { /* from NEW PENDING REVIEW ACTIVE DISABLED, to the same */
		{ 0, 1, 1, 1, 0 }, { 0, 0, 1, 1, 1 }, { 0, 0, 0, 1, 1 }, { 0, 0, 1, 0, 1 },
		{ 0, 0, 1, 0, 0 },
	};

	for (int from = NEW; from <= DISABLED; from++) {
		for (int to = NEW; to <= DISABLED; to++) {
			Holdfast__HoldReason hold;
			enum err err = account_transition((Holdfast__AccountState)from,
			                                  (Holdfast__AccountState)to, &hold);

			assert_int_equal(err == ERR_OK, legal[from][to]);
		}
	}
}

static void review_says_why_mail_is_held(void **state)
{
	Holdfast__HoldReason hold;

	assert_int_equal(account_transition(NEW, REVIEW, &hold), ERR_OK);
	assert_int_equal(hold, HOLDFAST__HOLD_REASON__HOLD_NEW_ACCOUNT);
	assert_int_equal(account_transition(DISABLED, REVIEW, &hold), ERR_OK);
	assert_int_equal(hold, HOLDFAST__HOLD_REASON__HOLD_REACTIVATION);
}

static void names_are_plain_words(void **state)
{
	assert_true(account_name_good("shop-1.eu_x", 11));
	assert_false(account_name_good("", 0));
	assert_false(account_name_good("-a", 2));
	assert_false(account_name_good("Shop", 4));
	assert_false(account_name_good("a b", 3));
	assert_false(account_name_good("a\0b", 3));
	assert_false(account_name_good("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
	                               65));
}

static struct row {
	const char *name;
	Holdfast__AccountState state;
	uint64_t quota_day, quota_total, used;
	Holdfast__VerdictClass want;
	Holdfast__CannotSend cannot;
} rows[] = {
	{ "an active account may send", ACTIVE, 0, 0, 0, HOLDFAST__VERDICT_CLASS__VERDICT_OK, 0 },
	{ "mail of an account in review is held", REVIEW, 0, 0, 0,
	  HOLDFAST__VERDICT_CLASS__VERDICT_HOLD, 0 },
	{ "a pending account cannot send", PENDING, 0, 0, 0,
	  HOLDFAST__VERDICT_CLASS__VERDICT_CANNOT_SEND, HOLDFAST__CANNOT_SEND__CANNOT_PENDING },
	{ "a disabled account cannot send", DISABLED, 0, 0, 0,
	  HOLDFAST__VERDICT_CLASS__VERDICT_CANNOT_SEND, HOLDFAST__CANNOT_SEND__CANNOT_DISABLED },
	{ "a day's quota that is used up resets soon", ACTIVE, 5, 0, 5,
	  HOLDFAST__VERDICT_CLASS__VERDICT_CANNOT_SEND, HOLDFAST__CANNOT_SEND__CANNOT_QUOTA_SOON },
	{ "a total that is used up never resets", ACTIVE, 0, 5, 5,
	  HOLDFAST__VERDICT_CLASS__VERDICT_CANNOT_SEND, HOLDFAST__CANNOT_SEND__CANNOT_QUOTA },
	{ "one below the quota may send", ACTIVE, 5, 5, 4, HOLDFAST__VERDICT_CLASS__VERDICT_OK, 0 },
	{ "the quota is asked for mail in review too", REVIEW, 0, 5, 5,
	  HOLDFAST__VERDICT_CLASS__VERDICT_CANNOT_SEND, HOLDFAST__CANNOT_SEND__CANNOT_QUOTA },
};

static void row_gives_verdict(void **state)
{
	const struct row *r = *state;
	struct account a = { .exists = true, .state = r->state };
	Holdfast__Verdict v = HOLDFAST__VERDICT__INIT;

	a.quota[WINDOW_DAY] = r->quota_day;
	a.quota[WINDOW_TOTAL] = r->quota_total;
	quota_count(a.figures.used, NOW, r->used);
	account_verdict(&a, NOW, DAY, &v);
	assert_int_equal(v.class_, r->want);
	assert_int_equal(v.cannot, r->cannot);
	assert_int_equal(v.metered && r->want == HOLDFAST__VERDICT_CLASS__VERDICT_OK,
	                 (r->quota_day || r->quota_total) &&
	                 r->want == HOLDFAST__VERDICT_CLASS__VERDICT_OK);
}

static void an_unknown_account_cannot_send(void **state)
{
	Holdfast__Verdict v = HOLDFAST__VERDICT__INIT;

	account_verdict(NULL, NOW, DAY, &v);
	assert_int_equal(v.cannot, HOLDFAST__CANNOT_SEND__CANNOT_UNKNOWN);
}

enum { PLAIN = 4 };

int main(void)
{
	struct CMUnitTest tests[PLAIN + ARRAY_LEN(rows)] = {
		cmocka_unit_test(every_pair_of_states_is_legal_or_refused),
		cmocka_unit_test(review_says_why_mail_is_held),
		cmocka_unit_test(names_are_plain_words),
		cmocka_unit_test(an_unknown_account_cannot_send),
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		tests[PLAIN + i] = (struct CMUnitTest){
			.name = rows[i].name,
			.test_func = row_gives_verdict,
			.initial_state = &rows[i],
		};
	return cmocka_run_group_tests_name("account", tests, NULL, NULL);
}
