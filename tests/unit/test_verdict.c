/* tests/unit/test_verdict.c - the five answers, letter for letter */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>
#include "lib/err.h"
#include "lib/uuid.h"
#include "proto/verdict.h"

#define CLASS(c) HOLDFAST__VERDICT_CLASS__VERDICT_##c
#define CANNOT(c) HOLDFAST__CANNOT_SEND__CANNOT_##c

static struct row {
	const char *name;
	Holdfast__VerdictClass class;
	bool soft;
	Holdfast__CannotSend cannot;
	const char *first; /* line of the reply */
} rows[] = {
	{ "E1 after a hard bounce", CLASS(BOUNCE), false, 0,
	  "550-5.1.1 Email address is on account's Bounce list.\r\n" },
	{ "E1 after soft bounces", CLASS(BOUNCE), true, 0,
	  "550-5.2.1 Email address is on account's Bounce list.\r\n" },
	{ "E2", CLASS(UNSUBSCRIBE), false, 0,
	  "550-5.7.1 Email address is on account's Unsubscribe list.\r\n" },
	{ "E3", CLASS(BLOCK), false, 0,
	  "550-5.7.1 Email address is on system-wide domain block list.\r\n" },
	{ "E4 of a disabled account", CLASS(CANNOT_SEND), false, CANNOT(DISABLED),
	  "550-5.7.13 This account cannot currently send emails.\r\n" },
	{ "E4 of a quota that resets soon", CLASS(CANNOT_SEND), false, CANNOT(QUOTA_SOON),
	  "451-4.7.1 This account cannot currently send emails.\r\n" },
	{ "E4 of a quota that does not", CLASS(CANNOT_SEND), false, CANNOT(QUOTA),
	  "550-5.7.1 This account cannot currently send emails.\r\n" },
	{ "a rate is none of the five", CLASS(CANNOT_SEND), false, CANNOT(RATE),
	  "451-4.7.1 Too many messages from this account now, try again later.\r\n" },
	{ "a cause of a later version is E4", CLASS(CANNOT_SEND), false, (Holdfast__CannotSend)77,
	  "550-5.7.13 This account cannot currently send emails.\r\n" },
	{ "a class of a later version is E4", (Holdfast__VerdictClass)77, false, 0,
	  "550-5.7.13 This account cannot currently send emails.\r\n" },
};

static void row_is_said_so(void **state)
{
	const struct row *r = *state;
	Holdfast__Verdict v = HOLDFAST__VERDICT__INIT;
	uint8_t id[16] = { 1, 2, 3 };
	struct buf out = BUF_INIT;
	const char *line, *end;

	v.class_ = r->class;
	v.soft = r->soft;
	v.cannot = r->cannot;
	v.reset_ms = 1795514400000ull;
	v.verdict_id.data = id;
	v.verdict_id.len = sizeof(id);
	verdict_reply(&out, &v);
	assert_memory_equal(buf_str(&out), r->first, strlen(r->first));
	/* code and enhanced code on each line, the last with a space, none over 512 */
	for (line = out.data; line < out.data + out.len; line = end + 2) {
		end = strstr(line, "\r\n");
		assert_non_null(end);
		assert_true(end - line + 2 <= 512);
		assert_memory_equal(line, r->first, 3);
		assert_int_equal(line[3], end + 2 == out.data + out.len ? ' ' : '-');
	}
	if (r->cannot == CANNOT(QUOTA_SOON))
		assert_non_null(strstr(buf_str(&out), "10:00:00"));
	if (r->cannot == CANNOT(RATE))
		assert_string_equal(verdict_name(v.class_), "cannot-send");
	buf_free(&out);
}

static void a_rate_says_when_to_try_again_and_never_too_early(void **state)
{
	Holdfast__Verdict v = HOLDFAST__VERDICT__INIT;
	struct uuid id = { { 1, 2, 3 } };
	char id_text[UUID_CHARS + 1], want[256];
	struct buf out = BUF_INIT;

	uuid_text(&id, id_text);
	v.class_ = CLASS(CANNOT_SEND);
	v.cannot = CANNOT(RATE);
	v.reset_ms = 1795514400001ull;
	v.verdict_id.data = id.b;
	v.verdict_id.len = sizeof(id.b);
	verdict_reply(&out, &v);
	snprintf(want, sizeof(want),
	         "451-4.7.1 Too many messages from this account now, try again later.\r\n"
	         "451 4.7.1 The account's messages a minute are used up. It may try again after "
	         "2026-11-24 10:00:01 UTC. verdict %s\r\n", id_text);
	assert_string_equal(buf_str(&out), want);
	buf_free(&out);
}

static void each_refusal_has_the_name_of_its_notification(void **state)
{
	static const struct { Holdfast__VerdictClass class; const char *want; } names[] = {
		{ CLASS(BOUNCE), "BouncedEmailAddressException" },
		{ CLASS(UNSUBSCRIBE), "UnsubscribedEmailAddressException" },
		{ CLASS(BLOCK), "BlockedEmailAddressException" },
		{ CLASS(CANNOT_SEND), "CannotSendException" },
		{ CLASS(HOLD), "MessageHeldException" },
		{ (Holdfast__VerdictClass)77, "CannotSendException" },
	};
	Holdfast__Verdict v = HOLDFAST__VERDICT__INIT;

	assert_null(verdict_exception(&v));
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		v.class_ = names[i].class;
		assert_string_equal(verdict_exception(&v), names[i].want);
	}
}

static void a_refusal_tells_its_verdict_and_that_only_the_address_is_blocked(void **state)
{
	Holdfast__Verdict v = HOLDFAST__VERDICT__INIT;
	struct uuid id = { { 1, 2, 3 } };
	char id_text[UUID_CHARS + 1];
	struct buf out = BUF_INIT;

	uuid_text(&id, id_text);
	v.class_ = CLASS(BLOCK);
	v.verdict_id.data = id.b;
	v.verdict_id.len = sizeof(id.b);
	verdict_reply(&out, &v);
	assert_non_null(strstr(buf_str(&out), "\r\n550 5.7.1 Only this address is blocked, the "
	                                      "domain is not."));
	assert_non_null(strstr(buf_str(&out), " verdict "));
	assert_non_null(strstr(buf_str(&out), id_text));
	buf_reset(&out);
	v.verdict_id.len = 0;
	verdict_reply(&out, &v);
	assert_null(strstr(buf_str(&out), "verdict"));
	buf_free(&out);
}

static void held_mail_is_said_to_be_held(void **state)
{
	struct buf out = BUF_INIT;

	verdict_held_reply(&out, "01ABC");
	assert_string_equal(buf_str(&out),
		"250 2.0.0 This email message has been placed in a holding area until your account "
		"can be manually reviewed by our support staff. After review, the email message will "
		"be released and delivered. Queued as 01ABC\r\n");
	buf_free(&out);
}

enum { PLAIN = 4 };

int main(void)
{
	struct CMUnitTest tests[PLAIN + ARRAY_LEN(rows)] = {
		cmocka_unit_test(a_refusal_tells_its_verdict_and_that_only_the_address_is_blocked),
		cmocka_unit_test(held_mail_is_said_to_be_held),
		cmocka_unit_test(a_rate_says_when_to_try_again_and_never_too_early),
		cmocka_unit_test(each_refusal_has_the_name_of_its_notification),
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		tests[PLAIN + i] = (struct CMUnitTest){ .name = rows[i].name,
			.test_func = row_is_said_so, .initial_state = &rows[i] };
	return cmocka_run_group_tests_name("verdict", tests, NULL, NULL);
}
