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

static void build_for(struct buf *out, const char *address, const char *action,
                      const char *text, const char *original)
{
	Holdfast__Evidence e = HOLDFAST__EVIDENCE__INIT;
	struct dsn_rcpt rcpt = { address, action, "5.1.1", text != NULL ? &e : NULL,
	                         "The address does not exist.", NULL };
	struct dsn_facts f = {
		.hostname = "relay.test", .report_id = "01REPORT", .message_id = "01MESSAGE",
		.to = "anna@shop.test", .now_ms = 1795512000000ull, .arrived_ms = 1795511000000ull,
		.rcpt = &rcpt, .n_rcpt = 1, .original = original,
		.original_len = original != NULL ? strlen(original) : 0,
	};

	e.code = 550;
	e.enhanced = pb_str("5.1.1");
	e.text = pb_str(text != NULL ? text : "");
	e.host = pb_str("mx.world.test");
	dsn_build(out, &f);
}

static void build(struct buf *out, const char *text, const char *original)
{
	build_for(out, "bob@world.test", "failed", text, original);
}

/* As sent with DSN parameters; the recipient failed. */
static void build_dsn(struct buf *out, const char *orcpt, struct dsn_facts f)
{
	struct dsn_rcpt rcpt = { .address = "bob@world.test", .action = "failed",
		.status = "5.1.1", .why = "No.", .orcpt = orcpt };

	f.hostname = "relay.test";
	f.report_id = "01REPORT";
	f.message_id = "01MESSAGE";
	f.to = f.to != NULL ? f.to : "anna@shop.test";
	f.rcpt = &rcpt;
	f.n_rcpt = 1;
	f.original_len = f.original != NULL ? strlen(f.original) : 0;
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
	for (size_t i = 1700; i < sizeof(text) - 1; i += 41)
		text[i] = ' ';
	text[sizeof(text) - 1] = '\0';
	build(&out, text, text);
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

static void the_body_stays_out_where_there_is_no_header(void **state)
{
	static const char *const originals[] = { "\r\nsecret body\r\n\r\nmore\r\n",
	                                         "A: b\n\nsecret body\r\n\r\n" };

	for (size_t i = 0; i < ARRAY_LEN(originals); i++) {
		struct buf out = BUF_INIT;

		build(&out, "no", originals[i]);
		assert_null(strstr(buf_str(&out), "secret body"));
		buf_free(&out);
	}
}

static void a_message_that_is_gone_is_reported_without_it(void **state)
{
	struct buf out = BUF_INIT;

	build_for(&out, "bob@world.test", "failed", NULL, NULL);
	assert_has(&out, "Diagnostic-Code: x-holdfast; The address does not exist.\r\n");
	assert_has(&out, "Content-Type: text/rfc822-headers\r\n\r\n\r\n--=_holdfast_01REPORT--\r\n");
	buf_free(&out);
}

static void a_utf8_recipient_makes_an_internationalised_report(void **state)
{
	struct buf out = BUF_INIT;

	build_for(&out, "b\303\266b@world.test", "failed", "nein \303\274 \377", "A: \303\274\r\n\r\n");
	assert_has(&out, "report-type=global-delivery-status;");
	assert_has(&out, "Content-Transfer-Encoding: 8bit\r\n"
	                 "Content-Type: message/global-delivery-status\r\n");
	assert_has(&out, "Final-Recipient: utf-8; b\303\266b@world.test\r\n");
	assert_has(&out, "Diagnostic-Code: smtp; 550 5.1.1 nein \303\274 ?\r\n");
	assert_has(&out, "Content-Type: message/global-headers\r\n");
	buf_free(&out);
}

static void the_status_of_an_ascii_recipient_is_ascii(void **state)
{
	struct buf out = BUF_INIT;

	build(&out, "nein \303\274", "A: b\r\n\r\n");
	assert_has(&out, "Diagnostic-Code: smtp; 550 5.1.1 nein ??\r\n");
	assert_has(&out, "mx.world.test said: 550 5.1.1 nein \303\274\r\n");
	assert_has(&out, "Content-Description: Delivery report\r\n"
	                 "Content-Type: message/delivery-status\r\n");
	buf_free(&out);
}

static void parameters_of_the_sender_come_back_decoded(void **state)
{
	static const struct { const char *orcpt, *envid, *want; } rows[] = {
		{ "rfc822;a+2Bb@z.test", "", "Original-Recipient: rfc822; a+b@z.test\r\n" },
		{ "RFC822;a@z.test", "", "Original-Recipient: RFC822; a@z.test\r\n" },
		{ "rfc822;a+0D+0AX-Evil:+201", "", "Original-Recipient: rfc822; a X-Evil: 1\r\n" },
		{ "rfc822;a+2b+2", "", "Original-Recipient: rfc822; a+2b+2\r\n" },
		{ "utf-8;\\x{F6}@z.test", "", "Original-Recipient: utf-8; \\x{F6}@z.test\r\n" },
		{ NULL, "QQ+2B1", "Original-Envelope-Id: QQ+1\r\nReporting-MTA" },
		{ NULL, "a+0D+0AX-Evil:1", "Original-Envelope-Id: a X-Evil:1\r\nReporting-MTA" },
		{ "no type", "", "\r\n\r\nFinal-Recipient: rfc822; bob@world.test\r\n" },
		{ "x<y;a", "", "\r\n\r\nFinal-Recipient: rfc822; bob@world.test\r\n" },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct buf out = BUF_INIT;

		build_dsn(&out, rows[i].orcpt, (struct dsn_facts){ .envid = rows[i].envid });
		assert_has(&out, rows[i].want);
		assert_null(strstr(buf_str(&out), "\nX-Evil"));
		buf_free(&out);
	}
}

static void the_whole_message_is_enclosed_where_it_is_wanted(void **state)
{
	static const char *const originals[] = { "A: b\r\n\r\nbody\r\n", "A: b\n\nb\303\266dy\n" };
	static const char *const wants[] = {
		"Content-Type: message/rfc822\r\n\r\nA: b\r\n\r\nbody\r\n\r\n--=_",
		"Content-Transfer-Encoding: 8bit\r\nContent-Type: message/rfc822\r\n\r\n"
		"A: b\r\n\r\nb\303\266dy\r\n\r\n--=_",
	};

	for (size_t i = 0; i < ARRAY_LEN(wants); i++) {
		struct buf out = BUF_INIT;

		build_dsn(&out, NULL, (struct dsn_facts){ .full = true, .original = originals[i] });
		assert_has(&out, wants[i]);
		assert_has(&out, "It is enclosed.\r\n");
		buf_free(&out);
	}
}

static void an_internationalised_message_makes_its_report_one(void **state)
{
	struct buf out = BUF_INIT;

	build_dsn(&out, NULL, (struct dsn_facts){ .full = true, .utf8 = true,
		.original = "Subject: \303\274\r\n\r\nbody\r\n" });
	assert_has(&out, "report-type=global-delivery-status;");
	assert_has(&out, "Content-Type: message/global\r\n");
	buf_reset(&out);
	build_dsn(&out, "utf-8;b\303\266b@z.test", (struct dsn_facts){ .original = "A: b\r\n" });
	assert_has(&out, "Original-Recipient: utf-8; b\303\266b@z.test\r\n");
	assert_has(&out, "Content-Type: message/global-delivery-status\r\n");
	buf_free(&out);
}

static void only_the_domain_of_the_sender_beyond_ascii_goes_as_a_label(void **state)
{
	struct buf out = BUF_INIT;

	build_dsn(&out, NULL, (struct dsn_facts){ .to = "anna@b\303\274cher.test" });
	assert_has(&out, "\r\nTo: <anna@xn--bcher-kva.test>\r\n");
	buf_reset(&out);
	build_dsn(&out, NULL, (struct dsn_facts){ .to = "\303\244nna@b\303\274cher.test" });
	assert_has(&out, "\r\nTo: <\303\244nna@b\303\274cher.test>\r\n");
	buf_free(&out);
}

static void a_relayed_mail_is_called_one_and_never_returned_whole(void **state)
{
	Holdfast__Evidence e = HOLDFAST__EVIDENCE__INIT;
	struct dsn_rcpt rcpt[] = {
		{ .address = "a@world.test", .action = "relayed", .status = "2.0.0", .why = "w" },
		{ .address = "b@world.test", .action = "relayed", .status = "2.0.0", .why = "w",
		  .evidence = &e },
	};
	struct dsn_facts f = { .hostname = "relay.test", .report_id = "01R", .message_id = "01M",
		.to = "anna@shop.test", .rcpt = rcpt, .n_rcpt = 2, .full = true,
		.original = "A: b\r\n\r\nbody\r\n", .original_len = 14 };
	struct buf out = BUF_INIT;

	dsn_build(&out, &f);
	assert_has(&out, "Subject: Relayed mail: no further reports will come\r\n");
	assert_null(strstr(buf_str(&out), "body\r\n"));
	buf_reset(&out);
	rcpt[1].action = "failed";
	dsn_build(&out, &f);
	assert_has(&out, "Subject: Mail delivery report\r\n");
	assert_has(&out, "body\r\n");
	buf_free(&out);
}

static void notify_says_who_wants_a_report(void **state)
{
	static const struct { unsigned notify; bool failed, delayed, relayed; } rows[] = {
		{ 0, true, false, false }, { 1, false, false, false }, { 2, false, false, true },
		{ 4, true, false, false }, { 8, false, true, false }, { 14, true, true, true },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		assert_int_equal(dsn_wanted(rows[i].notify, "failed"), rows[i].failed);
		assert_int_equal(dsn_wanted(rows[i].notify, "delayed"), rows[i].delayed);
		assert_int_equal(dsn_wanted(rows[i].notify, "relayed"), rows[i].relayed);
	}
	assert_false(dsn_wanted(14, "delivered"));
}

static void a_delay_is_called_one(void **state)
{
	struct buf out = BUF_INIT;

	build_for(&out, "bob@world.test", "delayed", "later", "A: b\r\n\r\n");
	assert_has(&out, "Subject: Delayed mail: still being tried\r\n");
	assert_has(&out, "Action: delayed\r\n");
	assert_has(&out, "you need not send it again");
	buf_free(&out);
}

static void bare_line_ends_of_the_original_are_mended(void **state)
{
	struct buf out = BUF_INIT;

	build(&out, "no", "A: b\nC: d\re\r\n--=_holdfast_x\r\n\r\n");
	assert_has(&out, "\r\n\r\nA: b\r\nC: d e\r\n--=_holdfast_x\r\n");
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
		cmocka_unit_test(the_body_stays_out_where_there_is_no_header),
		cmocka_unit_test(a_message_that_is_gone_is_reported_without_it),
		cmocka_unit_test(a_utf8_recipient_makes_an_internationalised_report),
		cmocka_unit_test(the_status_of_an_ascii_recipient_is_ascii),
		cmocka_unit_test(parameters_of_the_sender_come_back_decoded),
		cmocka_unit_test(the_whole_message_is_enclosed_where_it_is_wanted),
		cmocka_unit_test(an_internationalised_message_makes_its_report_one),
		cmocka_unit_test(only_the_domain_of_the_sender_beyond_ascii_goes_as_a_label),
		cmocka_unit_test(a_relayed_mail_is_called_one_and_never_returned_whole),
		cmocka_unit_test(notify_says_who_wants_a_report),
		cmocka_unit_test(a_delay_is_called_one),
		cmocka_unit_test(bare_line_ends_of_the_original_are_mended),
		cmocka_unit_test(a_date_is_in_utc),
	};

	return cmocka_run_group_tests_name("dsn", tests, NULL, NULL);
}
