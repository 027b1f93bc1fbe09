/* tests/unit/test_notify.c - the mail that tells of refusals, read back as its reader reads it */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <strings.h>
#include <cmocka.h>
#include "ingest/header.h"
#include "ingest/notify.h"
#include "proto/verdict.h"

#define NOW 1795509060000 /* 2026-11-24 08:31:00 UTC */

/* The value of a field without its line ends; exactly one there must be. */
static void field(const struct buf *msg, const struct header *h, const char *name,
                  struct buf *out)
{
	struct header_field f;
	size_t at = 0, n = 0;

	buf_reset(out);
	while (header_next(msg->data, h->body, &at, &f)) {
		if (f.name_len != strlen(name) || strncasecmp(f.name, name, f.name_len) != 0)
			continue;
		n++;
		for (size_t i = 0; i < f.value_len; i++)
			if (f.value[i] != '\r' && f.value[i] != '\n')
				buf_addc(out, f.value[i] == '\t' ? ' ' : f.value[i]);
	}
	assert_int_equal(n, 1);
}

static void check_lines(const struct buf *msg)
{
	for (const char *p = msg->data, *nl; p < msg->data + msg->len; p = nl + 2) {
		nl = strstr(p, "\r\n");
		assert_non_null(nl);
		assert_true(nl - p <= 998);
		assert_ptr_equal(strpbrk(p, "\r\n"), nl);
	}
}

#define TEXT_BOUNCE "Email address is on account's Bounce list."
#define TEXT_BLOCK  "Email address is on system-wide domain block list."

static const struct row {
	const char *name;
	const char *from;
	const char *to[2];
	size_t n_to;
	struct notify_refusal refusal[2];
	size_t n;
	bool eight_bit;
	const char *to_field, *subject, *body;
} rows[] = {
	{ "one refusal, told to one", "app@mine.test", { "boss@mine.test" }, 1,
	  { { "BouncedEmailAddressException", TEXT_BOUNCE, "a@b.test" } }, 1, false,
	  " <boss@mine.test>", " Web Service Exception BouncedEmailAddressException: " TEXT_BOUNCE,
	  "Message ABOUT from <app@mine.test> was accepted, but:\r\n\r\n"
	  "Web Service Exception BouncedEmailAddressException: " TEXT_BOUNCE "\r\n"
	  "    recipient: <a@b.test>\r\n" },
	{ "two refusals, told to two: the first names the mail", "app@mine.test",
	  { "boss@mine.test", "app@mine.test" }, 2,
	  { { "BlockedEmailAddressException", TEXT_BLOCK, "a@b.test" },
	    { "BouncedEmailAddressException", TEXT_BOUNCE, "c@d.test" } }, 2, false,
	  " <boss@mine.test>,  <app@mine.test>",
	  " Web Service Exception BlockedEmailAddressException: " TEXT_BLOCK,
	  "Message ABOUT from <app@mine.test> was accepted, but:\r\n\r\n"
	  "Web Service Exception BlockedEmailAddressException: " TEXT_BLOCK "\r\n"
	  "    recipient: <a@b.test>\r\n"
	  "Web Service Exception BouncedEmailAddressException: " TEXT_BOUNCE "\r\n"
	  "    recipient: <c@d.test>\r\n" },
	{ "of the whole message, from nobody", "", { "boss@mine.test" }, 1,
	  { { "MessageHeldException", "Held.", NULL } }, 1, false, " <boss@mine.test>",
	  " Web Service Exception MessageHeldException: Held.",
	  "Message ABOUT was accepted, but:\r\n\r\nWeb Service Exception MessageHeldException: "
	  "Held.\r\n" },
	{ "a recipient beyond ASCII", "app@mine.test", { "boss@mine.test" }, 1,
	  { { "BouncedEmailAddressException", TEXT_BOUNCE, "\303\251@b.test" } }, 1, true,
	  " <boss@mine.test>", " Web Service Exception BouncedEmailAddressException: " TEXT_BOUNCE,
	  "Message ABOUT from <app@mine.test> was accepted, but:\r\n\r\n"
	  "Web Service Exception BouncedEmailAddressException: " TEXT_BOUNCE "\r\n"
	  "    recipient: <\303\251@b.test>\r\n" },
	{ "told to an address beyond ASCII", "\303\251@mine.test", { "\303\251@mine.test" }, 1,
	  { { "MessageHeldException", "Held.", NULL } }, 1, true, " <\303\251@mine.test>",
	  " Web Service Exception MessageHeldException: Held.",
	  "Message ABOUT from <\303\251@mine.test> was accepted, but:\r\n\r\n"
	  "Web Service Exception MessageHeldException: Held.\r\n" },
};

static bool build(const struct row *r, struct buf *msg)
{
	bool eight_bit = !r->eight_bit;

	notify_build(msg, &(struct notify_facts){
		.hostname = "mx.test", .id = "ID26", .about = "ABOUT", .from = r->from, .to = r->to,
		.n_to = r->n_to, .refusal = r->refusal, .n = r->n, .now_ms = NOW }, &eight_bit);
	return eight_bit;
}

static void row_is_read_back(void **state)
{
	const struct row *r = *state;
	struct buf msg = BUF_INIT, value = BUF_INIT;
	struct header h;

	assert_int_equal(build(r, &msg), r->eight_bit);
	check_lines(&msg);
	assert_int_equal(header_scan(msg.data, msg.len, &h), ERR_OK);
	assert_int_equal(h.fields, 9);
	field(&msg, &h, "From", &value);
	assert_string_equal(buf_str(&value), " Mail relay <postmaster@mx.test>");
	field(&msg, &h, "To", &value);
	assert_string_equal(buf_str(&value), r->to_field);
	field(&msg, &h, "Subject", &value);
	assert_string_equal(buf_str(&value), r->subject);
	field(&msg, &h, "Date", &value);
	assert_string_equal(buf_str(&value), " Tue, 24 Nov 2026 08:31:00 +0000");
	field(&msg, &h, "Message-ID", &value);
	assert_string_equal(buf_str(&value), " <ID26@mx.test>");
	field(&msg, &h, "Auto-Submitted", &value); /* nobody answers it by himself (RFC 3834) */
	assert_string_equal(buf_str(&value), " auto-generated");
	field(&msg, &h, "MIME-Version", &value);
	assert_string_equal(buf_str(&value), " 1.0");
	field(&msg, &h, "Content-Type", &value);
	assert_string_equal(buf_str(&value), r->eight_bit ? " text/plain; charset=utf-8"
	                                                  : " text/plain; charset=us-ascii");
	field(&msg, &h, "Content-Transfer-Encoding", &value);
	assert_string_equal(buf_str(&value), r->eight_bit ? " 8bit" : " 7bit");
	assert_string_equal(msg.data + h.body, r->body);
	buf_free(&msg);
	buf_free(&value);
}

/* The texts that policy can make it say, to the longest addresses, of the longest ones. */
static void the_longest_lines_fit(void **state)
{
	char addr[255];
	const char *to[] = { addr, addr };
	struct notify_refusal refusal[HOLDFAST__VERDICT_CLASS__VERDICT_HOLD];
	struct buf msg = BUF_INIT;
	size_t n = 0;
	bool eight_bit;

	memset(addr, 'a', sizeof(addr) - 1);
	addr[sizeof(addr) - 1] = '\0';
	for (int c = 1; c <= HOLDFAST__VERDICT_CLASS__VERDICT_HOLD; c++) {
		Holdfast__Verdict v = HOLDFAST__VERDICT__INIT;

		v.class_ = c;
		refusal[n++] = (struct notify_refusal){ verdict_exception(&v), verdict_text(c),
			                                addr };
	}
	for (size_t first = 0; first < n; first++) {
		buf_reset(&msg);
		notify_build(&msg, &(struct notify_facts){
			.hostname = addr, .id = "ID26", .about = "ABOUT", .from = addr, .to = to,
			.n_to = 2, .refusal = refusal + first, .n = n - first, .now_ms = NOW },
			&eight_bit);
		check_lines(&msg);
	}
	buf_free(&msg);
}

int main(void)
{
	struct CMUnitTest tests[sizeof(rows) / sizeof(rows[0]) + 1] = {
		cmocka_unit_test(the_longest_lines_fit),
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		tests[1 + i] = (struct CMUnitTest){ rows[i].name, row_is_read_back, NULL, NULL,
		                                    (void *)&rows[i] };
	return cmocka_run_group_tests_name("notify", tests, NULL, NULL);
}
