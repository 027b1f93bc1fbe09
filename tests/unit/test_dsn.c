/* tests/unit/test_dsn.c - delivery reports: their parts, and values that try to break them */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>
#include "lib/err.h"
#include "proto/bus.h"
#include "proto/dsn.h"

static void build(struct buf *out, const char *text, const char *original)
{
	Holdfast__Evidence e = HOLDFAST__EVIDENCE__INIT;
	struct dsn_rcpt rcpt = { "bob@world.test", "failed", "5.1.1", &e,
	                         "The address does not exist." };
	struct dsn_facts f = {
		.hostname = "relay.test", .report_id = "01REPORT", .message_id = "01MESSAGE",
		.to = "anna@shop.test", .now_ms = 1795512000000ull, .arrived_ms = 1795511000000ull,
		.rcpt = &rcpt, .n_rcpt = 1, .original = original, .original_len = strlen(original),
	};

	e.code = 550;
	e.enhanced = pb_str("5.1.1");
	e.text = pb_str(text);
	e.host = pb_str("mx.world.test");
	dsn_build(out, &f);
}

static void assert_has(const struct buf *out, const char *part)
{
	if (strstr(buf_str(out), part) == NULL)
		fail_msg("not in the report: %s", part);
}

static void a_report_has_its_parts(void **state)
{
	struct buf out = BUF_INIT;

	build(&out, "No such user", "Subject: hi\r\nTo: x\r\n\r\nsecret body\r\n");
	assert_has(&out, "multipart/report; report-type=delivery-status");
	assert_has(&out, "To: <anna@shop.test>\r\n");
	assert_has(&out, "Auto-Submitted: auto-replied\r\n");
	assert_has(&out, "Reporting-MTA: dns; relay.test\r\n");
	assert_has(&out, "Final-Recipient: rfc822; bob@world.test\r\nAction: failed\r\n"
	                 "Status: 5.1.1\r\nRemote-MTA: dns; mx.world.test\r\n"
	                 "Diagnostic-Code: smtp; 550 5.1.1 No such user\r\n");
	assert_has(&out, "text/rfc822-headers\r\n\r\nSubject: hi\r\nTo: x\r\n");
	assert_null(strstr(buf_str(&out), "secret body"));
	buf_free(&out);
}

static void every_line_ends_with_crlf_and_is_short(void **state)
{
	struct buf out = BUF_INIT;
	char text[3000];
	size_t line = 0;

	memset(text, 'y', sizeof(text) - 1);
	for (size_t i = 40; i < sizeof(text) - 1; i += 41)
		text[i] = ' ';
	text[sizeof(text) - 1] = '\0';
	build(&out, text, "Subject: hi\r\n\r\n");
	for (size_t i = 0; i < out.len; i++) {
		line++;
		if (out.data[i] != '\n')
			continue;
		assert_int_equal(out.data[i - 1], '\r');
		assert_true(line <= 1000);
		line = 0;
	}
	buf_free(&out);
}

static void a_reply_cannot_add_a_field(void **state)
{
	struct buf out = BUF_INIT;

	build(&out, "no\r\nFinal-Recipient: rfc822; evil@world.test\nX-Evil: 1", "A: b\r\n\r\n");
	assert_null(strstr(buf_str(&out), "\nX-Evil"));
	assert_null(strstr(buf_str(&out), "\nFinal-Recipient: rfc822; evil"));
	buf_free(&out);
}

static void a_date_is_in_utc(void **state)
{
	char date[40];

	dsn_date(1795512000000ull, date);
	assert_string_equal(date, "Tue, 24 Nov 2026 09:20:00 +0000");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_report_has_its_parts),
		cmocka_unit_test(every_line_ends_with_crlf_and_is_short),
		cmocka_unit_test(a_reply_cannot_add_a_field),
		cmocka_unit_test(a_date_is_in_utc),
	};

	return cmocka_run_group_tests_name("dsn", tests, NULL, NULL);
}
