/* tests/unit/test_filter.c - which held mail a reviewer's filter means */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>
#include "holdq/filter.h"
#include "proto/bus.h"

#define NOW 1000000u
#define HELD_MS 900000u

static struct row {
	const char *name;
	const char *account, *sender, *domain, *subject;
	uint64_t older_ms;
	enum held_state state;
	bool want;
} rows[] = {
	{ "no condition means all", "", "", "", "", 0, HELD_WAITING, true },
	{ "our own reports are never meant", "", "", "", "", 0, HELD_REPORT, false },
	{ "released mail is still shown until it left", "", "", "", "", 0, HELD_RELEASING, true },
	{ "the account", "shop", "", "", "", 0, HELD_WAITING, true },
	{ "a part of the account's name is another account", "sho", "", "", "", 0, HELD_WAITING,
	  false },
	{ "a longer name is another account", "shopx", "", "", "", 0, HELD_WAITING, false },
	{ "the sender, in any case", "", "BOSS@Shop.Test", "", "", 0, HELD_WAITING, true },
	{ "another sender", "", "boss@shop.tes", "", "", 0, HELD_WAITING, false },
	{ "the domain of the last recipient", "", "", "z.test", "", 0, HELD_WAITING, true },
	{ "a domain in any case", "", "", "A.TEST", "", 0, HELD_WAITING, true },
	{ "a parent of a recipient's domain", "", "", "test", "", 0, HELD_WAITING, false },
	{ "a domain that only ends alike", "", "", "xz.test", "", 0, HELD_WAITING, false },
	{ "an address is no domain", "", "", "ann@a.test", "", 0, HELD_WAITING, false },
	{ "text at the start of the subject", "", "", "", "autumn", 0, HELD_WAITING, true },
	{ "text at the end of the subject", "", "", "", "OFFER", 0, HELD_WAITING, true },
	{ "the whole subject", "", "", "", "Autumn offer", 0, HELD_WAITING, true },
	{ "more than the subject", "", "", "", "Autumn offers", 0, HELD_WAITING, false },
	{ "text that is not there", "", "", "", "spring", 0, HELD_WAITING, false },
	{ "older than the time it was held", "", "", "", "", 99999, HELD_WAITING, true },
	{ "exactly as old is not older", "", "", "", "", 100000, HELD_WAITING, false },
	{ "all conditions fit", "shop", "boss@shop.test", "a.test", "offer", 1, HELD_WAITING,
	  true },
	{ "one of many does not fit", "shop", "boss@shop.test", "b.test", "offer", 1, HELD_WAITING,
	  false },
};

static void row_matches(void **state)
{
	const struct row *r = *state;
	Holdfast__Recipient rc[2] = { HOLDFAST__RECIPIENT__INIT, HOLDFAST__RECIPIENT__INIT };
	Holdfast__Recipient *ptr[2] = { &rc[0], &rc[1] };
	Holdfast__Envelope e = HOLDFAST__ENVELOPE__INIT;
	Holdfast__HeldFilter f = HOLDFAST__HELD_FILTER__INIT;
	struct held h = { .state = r->state, .held_ms = HELD_MS, .env = &e };

	rc[0].address = pb_str("ann@a.test");
	rc[1].address = pb_str("zoe@z.test");
	e.account = pb_str("shop");
	e.mail_from = pb_str("boss@shop.test");
	e.subject = pb_str("Autumn offer");
	e.rcpt = ptr;
	e.n_rcpt = 2;
	f.account = pb_str(r->account);
	f.sender = pb_str(r->sender);
	f.domain = pb_str(r->domain);
	f.subject = pb_str(r->subject);
	f.older_than_ms = r->older_ms;
	assert_int_equal(filter_check(&f), ERR_OK);
	assert_int_equal(filter_match(&f, &h, NOW), r->want);
}

static void a_clock_that_was_set_back_makes_nothing_older(void **state)
{
	Holdfast__Envelope e = HOLDFAST__ENVELOPE__INIT;
	Holdfast__HeldFilter f = HOLDFAST__HELD_FILTER__INIT;
	struct held h = { .state = HELD_WAITING, .held_ms = NOW + 1, .env = &e };

	f.older_than_ms = 1;
	assert_false(filter_match(&f, &h, NOW));
}

static void fields_out_of_bounds_are_refused(void **state)
{
	static uint8_t text[257];
	static ProtobufCBinaryData id[FILTER_IDS_MAX + 1];
	Holdfast__HeldFilter f = HOLDFAST__HELD_FILTER__INIT;

	f.subject = pb_bytes(text, sizeof(text));
	assert_int_equal(filter_check(&f), ERR_RANGE);
	f.subject.len--;
	assert_int_equal(filter_check(&f), ERR_OK);
	for (size_t i = 0; i < FILTER_IDS_MAX + 1; i++)
		id[i] = pb_bytes(text, UUID_LEN);
	f.message_id = id;
	f.n_message_id = FILTER_IDS_MAX;
	assert_int_equal(filter_check(&f), ERR_OK);
	f.n_message_id++;
	assert_int_equal(filter_check(&f), ERR_RANGE);
	f.n_message_id = 2;
	id[1].len = UUID_LEN - 1;
	assert_int_equal(filter_check(&f), ERR_RANGE);
}

int main(void)
{
	struct CMUnitTest tests[ARRAY_LEN(rows) + 2];
	size_t n = 0;

	for (; n < ARRAY_LEN(rows); n++)
		tests[n] = (struct CMUnitTest){ .name = rows[n].name, .test_func = row_matches,
		                                .initial_state = &rows[n] };
	tests[n++] = (struct CMUnitTest)cmocka_unit_test(
	        a_clock_that_was_set_back_makes_nothing_older);
	tests[n++] = (struct CMUnitTest)cmocka_unit_test(fields_out_of_bounds_are_refused);
	return cmocka_run_group_tests_name("filter", tests, NULL, NULL);
}
