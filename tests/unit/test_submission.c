/* tests/unit/test_submission.c - what becomes of a message before it is handed over
 *
 * A row is what came and what leaves, after the trace field; or the reply word for word.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>
#include "ingest/header.h"
#include "ingest/smtp_server.h"
#include "ingest/submission.h"

#define NOW 1795509060000 /* 2026-11-24 08:31:00 UTC */
#define TRACE "Received: from app.test ([192.0.2.7])\r\n\tby mx.test with ESMTPA id ID26;\r\n" \
              "\tTue, 24 Nov 2026 08:31:00 +0000\r\n"
#define DATE "Date: Tue, 24 Nov 2026 08:31:00 +0000\r\n"
#define MID  "Message-ID: <ID26@mx.test>\r\n"
#define BOTH "Date: x\r\nMessage-ID: <y@z>\r\n"

static const struct row {
	const char *name, *in;
	size_t n;
	bool damaged;
	enum err err;
	const char *want; /* after the trace field, or the reply */
} rows[] = {
#define T(s) s, sizeof(s) - 1
	{ "a whole message is not touched", T(BOTH "A: b\r\n\r\nhello\r\n"), false, ERR_OK,
	  BOTH "A: b\r\n\r\nhello\r\n" },
	{ "Date is added", T("Message-ID: <y@z>\r\n\r\nx\r\n"), false, ERR_OK,
	  DATE "Message-ID: <y@z>\r\n\r\nx\r\n" },
	{ "Message-ID is added", T("Date: x\r\n\r\nx\r\n"), false, ERR_OK,
	  MID "Date: x\r\n\r\nx\r\n" },
	{ "fields are found in any letters", T("DATE: x\r\nmessage-id: <y@z>\r\n\r\n"), false,
	  ERR_OK, "DATE: x\r\nmessage-id: <y@z>\r\n\r\n" },
	{ "fields within the body are none", T("A: b\r\n\r\nDate: x\r\nBcc: c@d\r\n"), false,
	  ERR_OK, DATE MID "A: b\r\n\r\nDate: x\r\nBcc: c@d\r\n" },
	{ "Bcc goes, with its folded lines", T(BOTH "Bcc: a@b,\r\n c@d\r\nA: b\r\n\r\nx\r\n"), false,
	  ERR_OK, BOTH "A: b\r\n\r\nx\r\n" },
	{ "every Bcc goes, and Resent-Bcc", T("bcc: a@b\r\n" BOTH "BCC: c\r\nResent-Bcc: d\r\n\r\nx"),
	  false, ERR_OK, BOTH "\r\nx" },
	{ "a message of Bcc alone", T("Bcc: a@b\r\n"), false, ERR_OK, DATE MID },
	{ "an empty message", T(""), false, ERR_OK, DATE MID },
	{ "a body without header section", T("\r\nhello\r\n"), false, ERR_OK,
	  DATE MID "\r\nhello\r\n" },
	{ "a header section without blank line", T(BOTH "A: b\r\n"), false, ERR_OK,
	  BOTH "A: b\r\n" },
	{ "a header section without the last line end", T(BOTH "A: b"), false, ERR_OK, BOTH "A: b" },
	{ "a first line that would go on with our field", T(" A: b\r\n\r\nx\r\n"), false, ERR_SYNTAX,
	  "554 5.6.0 Header section cannot be parsed: line 1: " },
	{ "a line that is no field", T("A: b\r\nhello\r\n\r\nx\r\n"), false, ERR_SYNTAX,
	  "554 5.6.0 Header section cannot be parsed: line 2: " },
	{ "a bare CR is mended, and so is the Bcc that it hid",
	  T(BOTH "A: b\rBcc: c@d\r\n\r\nx\ny\r\n"), true, ERR_OK, BOTH "A: b\r\n\r\nx\r\ny\r\n" },
	{ "what mending makes of it is parsed", T("A: b\rhello\r\n\r\nx\r\n"), true, ERR_SYNTAX,
	  "554 5.6.0 Header section cannot be parsed: line 2: " },
	{ "NULs are mended", T(BOTH "A: \0b\r\n\r\nx\0\r\n"), true, ERR_OK,
	  BOTH "A: b\r\n\r\nx\r\n" },
};

static const struct terms free_terms;

static struct submission plain(const struct terms *t)
{
	return (struct submission){
		.received = { .helo = "app.test", .ip = "192.0.2.7", .hostname = "mx.test",
		              .id = "ID26", .esmtp = true, .authed = true, .now_ms = NOW },
		.terms = t, .max_hops = 5, .max_size = 100000,
	};
}

/* The message as the engine hands it over: behind the room, which holds anything. */
static enum err prepare(struct buf *msg, const char *text, size_t n, struct submission *s,
                        struct buf *no)
{
	enum err err;

	for (size_t i = 0; i < SMTP_HEADROOM; i++)
		buf_addc(msg, "\r\nX: "[i % 5]);
	buf_add(msg, text, n);
	err = submission_prepare(msg, SMTP_HEADROOM, s, no);
	assert_int_equal(err == ERR_OK, no->len == 0);
	return err;
}

static void row_becomes(void **state)
{
	const struct row *r = *state;
	struct submission s = plain(&free_terms);
	struct buf msg = BUF_INIT, no = BUF_INIT;

	s.damaged = r->damaged;
	assert_int_equal(prepare(&msg, r->in, r->n, &s, &no), r->err);
	if (r->err == ERR_OK) {
		assert_int_equal(msg.len, strlen(TRACE) + strlen(r->want));
		assert_memory_equal(msg.data, TRACE, strlen(TRACE));
		assert_string_equal(buf_str(&msg) + strlen(TRACE), r->want);
	} else {
		assert_memory_equal(buf_str(&no), r->want, strlen(r->want));
		assert_string_equal(buf_str(&no) + no.len - 2, "\r\n");
		assert_ptr_equal(strchr(buf_str(&no), '\n'), no.data + no.len - 1);
	}
	buf_free(&msg);
	buf_free(&no);
}

static void a_loop_is_refused_at_one_hop_more_than_allowed(void **state)
{
	for (unsigned hops = 5; hops <= 6; hops++) {
		struct submission s = plain(&free_terms);
		struct buf text = BUF_INIT, msg = BUF_INIT, no = BUF_INIT;

		for (unsigned i = 0; i < hops; i++)
			buf_adds(&text, i % 2 ? "RECEIVED: x\r\n y\r\n" : "Received: x\r\n");
		buf_adds(&text, "\r\nReceived: in the body\r\n");
		assert_int_equal(prepare(&msg, text.data, text.len, &s, &no),
		                 hops == 5 ? ERR_OK : ERR_TOOBIG);
		assert_string_equal(buf_str(&no), hops == 5 ? "" :
		                    "554 5.4.6 Message loops: it has 6 Received fields\r\n");
		buf_free(&text);
		buf_free(&msg);
		buf_free(&no);
	}
}

static const struct from_row {
	const char *name, *header, *reply; /* "": taken */
} from_rows[] = {
	{ "From of the account", "From: A <a@mine.test>\r\n", "" },
	{ "From below a wild domain", "From: a@x.wild.test\r\n", "" },
	{ "From of somebody else", "From: a@other.test\r\n",
	  "550 5.7.1 From domain other.test is not registered for this account\r\n" },
	{ "a second mailbox of somebody else", "From: a@mine.test, b@other.test\r\n",
	  "550 5.7.1 From domain other.test is not registered for this account\r\n" },
	{ "a second From of somebody else", "From: a@mine.test\r\nX: y\r\nFrom: b@other.test\r\n",
	  "550 5.7.1 From domain other.test is not registered for this account\r\n" },
	{ "the first of two strangers is named", "From: a@one.test, b@two.test\r\n",
	  "550 5.7.1 From domain one.test is not registered for this account\r\n" },
	{ "From hidden in a display name", "From: \"a@mine.test\" <b@other.test>\r\n",
	  "550 5.7.1 From domain other.test is not registered for this account\r\n" },
	{ "an IDN is told in ASCII", "From: a@m\303\274hl.test\r\n",
	  "550 5.7.1 From domain xn--mhl-hoa.test is not registered for this account\r\n" },
	{ "no From", "To: a@mine.test\r\n",
	  "550 5.7.1 Message has no From address, and this account's are checked\r\n" },
	{ "an empty From", "From: \r\n",
	  "550 5.7.1 Message has no From address, and this account's are checked\r\n" },
	{ "From that cannot be read", "From: a@mine.test <\r\n",
	  "550 5.7.1 From cannot be read, and this account's is checked\r\n" },
};

static void from_row(void **state)
{
	static char mine[] = "mine.test", wild[] = ".wild.test";
	static char *domains[] = { mine, wild };
	const struct from_row *r = *state;
	const struct terms checked = { .check_from = true, .from_domain = domains,
	                               .n_from_domain = 2 };
	struct submission s = plain(&checked);
	struct buf text = BUF_INIT, msg = BUF_INIT, no = BUF_INIT;
	enum err err;

	buf_addf(&text, "%s\r\nhello\r\n", r->header);
	err = prepare(&msg, text.data, text.len, &s, &no);
	assert_string_equal(buf_str(&no), r->reply);
	assert_int_equal(err, r->reply[0] == '\0' ? ERR_OK : ERR_PERM);
	buf_reset(&msg);
	buf_reset(&no);
	s = plain(&free_terms); /* whom nobody checks, it passes */
	assert_int_equal(prepare(&msg, text.data, text.len, &s, &no), ERR_OK);
	buf_free(&text);
	buf_free(&msg);
	buf_free(&no);
}

/* Everything at its longest, as the parsers let it in: it fits into the room, and each line of
 * ours into 998 octets. */
static void the_longest_of_all_facts_fit_into_the_room(void **state)
{
	char helo[SMTP_HELO_MAX + 1], hostname[256], addr[SMTP_ADDR_MAX + 1], tls[16], cipher[64];
	struct submission s = plain(&free_terms);
	struct buf msg = BUF_INIT, no = BUF_INIT;

	memset(helo, 'h', sizeof(helo));
	memset(hostname, 'n', sizeof(hostname));
	memset(addr, 'a', sizeof(addr));
	memset(tls, 't', sizeof(tls));
	memset(cipher, 'c', sizeof(cipher));
	helo[sizeof(helo) - 1] = hostname[sizeof(hostname) - 1] = addr[sizeof(addr) - 1] =
		tls[sizeof(tls) - 1] = cipher[sizeof(cipher) - 1] = '\0';
	s.received = (struct received_facts){
		.helo = helo, .ip = "2001:db8:ffff:ffff:ffff:ffff:255.255.255.255",
		.hostname = hostname, .id = "01234567890123456789012345678901234567", .for_addr = addr,
		.tls = tls, .cipher = cipher, .esmtp = true, .authed = true, .utf8 = true,
		.now_ms = NOW,
	};
	assert_int_equal(prepare(&msg, "\r\nx\r\n", 5, &s, &no), ERR_OK);
	for (const char *p = buf_str(&msg), *nl; *p != '\0'; p = nl + 2) {
		nl = strstr(p, "\r\n");
		assert_non_null(nl);
		assert_true(nl - p <= 998);
	}
	buf_free(&msg);
	buf_free(&no);
}

/* The fields in front of the message are ours, whatever the client said. */
static void nothing_is_injected_into_our_fields(void **state)
{
	static const char *const addrs[] = {
		"\"a\r\nX: y\"@b.test", "\"a\nX: y\"@b.test", "\"a>;b\"@c.test", "a\tb@c.test",
		"\"a\\\" b\"@c.test", "\303\251@b.test",
	};

	for (size_t i = 0; i < sizeof(addrs) / sizeof(addrs[0]); i++) {
		struct submission s = plain(&free_terms);
		struct buf msg = BUF_INIT, no = BUF_INIT;
		struct header h;

		s.received.for_addr = addrs[i];
		assert_int_equal(prepare(&msg, BOTH "\r\n", strlen(BOTH) + 2, &s, &no), ERR_OK);
		assert_int_equal(header_scan(msg.data, msg.len, &h), ERR_OK);
		assert_int_equal(h.fields, 3);
		assert_int_equal(h.received, 1);
		assert_false(h.eight_bit);
		buf_free(&msg);
		buf_free(&no);
	}
}

static void eight_bit_in_the_header_section_is_told(void **state)
{
	static const struct { const char *text; bool eight; } in[] = {
		{ "A: b\r\n\r\nc\r\n", false }, { "A: \303\251\r\n\r\nc\r\n", true },
		{ "A: b\r\n\r\n\303\251\r\n", false }, { "A: \351\r\n\r\nc\r\n", true },
	};

	for (size_t i = 0; i < sizeof(in) / sizeof(in[0]); i++) {
		struct submission s = plain(&free_terms);
		struct buf msg = BUF_INIT, no = BUF_INIT;

		assert_int_equal(prepare(&msg, in[i].text, strlen(in[i].text), &s, &no), ERR_OK);
		assert_int_equal(s.eight_bit_header, in[i].eight);
		buf_free(&msg);
		buf_free(&no);
	}
}

static void mending_makes_lines_that_fit(void **state)
{
	struct submission s = plain(&free_terms);
	struct buf text = BUF_INIT, msg = BUF_INIT, no = BUF_INIT;

	buf_adds(&text, BOTH "A: ");
	for (int i = 0; i < 5000; i++)
		buf_addc(&text, i % 70 == 69 ? ' ' : 'x');
	buf_adds(&text, "\r\n\r\n");
	for (int i = 0; i < 5000; i++)
		buf_addc(&text, 'y');
	buf_adds(&text, "\r\n");
	s.damaged = true;
	assert_int_equal(prepare(&msg, text.data, text.len, &s, &no), ERR_OK);
	assert_memory_equal(msg.data, TRACE, strlen(TRACE));
	for (const char *p = buf_str(&msg), *nl; *p != '\0'; p = nl + 2) {
		nl = strstr(p, "\r\n");
		assert_non_null(nl);
		assert_true(nl - p <= 998);
	}
	buf_free(&text);
	buf_free(&msg);
	buf_free(&no);
}

static void mending_keeps_to_the_size(void **state)
{
	static const struct { size_t lfs; enum err err; } in[] = {
		{ 50, ERR_OK }, { 51, ERR_TOOBIG },
	};

	for (size_t i = 0; i < sizeof(in) / sizeof(in[0]); i++) {
		struct submission s = plain(&free_terms);
		struct buf text = BUF_INIT, msg = BUF_INIT, no = BUF_INIT;

		buf_adds(&text, BOTH "\r\n");
		s.max_size = text.len + 100;
		for (size_t n = 0; n < in[i].lfs; n++)
			buf_addc(&text, '\n');
		s.damaged = true;
		assert_int_equal(prepare(&msg, text.data, text.len, &s, &no), in[i].err);
		if (in[i].err != ERR_OK)
			assert_memory_equal(buf_str(&no), "552 5.3.4 ", 10);
		buf_free(&text);
		buf_free(&msg);
		buf_free(&no);
	}
}

int main(void)
{
	static const struct CMUnitTest cases[] = {
		cmocka_unit_test(a_loop_is_refused_at_one_hop_more_than_allowed),
		cmocka_unit_test(the_longest_of_all_facts_fit_into_the_room),
		cmocka_unit_test(nothing_is_injected_into_our_fields),
		cmocka_unit_test(eight_bit_in_the_header_section_is_told),
		cmocka_unit_test(mending_makes_lines_that_fit),
		cmocka_unit_test(mending_keeps_to_the_size),
	};
	struct CMUnitTest tests[ARRAY_LEN(rows) + ARRAY_LEN(from_rows) + ARRAY_LEN(cases)];
	size_t n = 0;

	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		tests[n++] = (struct CMUnitTest){ rows[i].name, row_becomes, NULL, NULL,
		                                  (void *)&rows[i] };
	for (size_t i = 0; i < ARRAY_LEN(from_rows); i++)
		tests[n++] = (struct CMUnitTest){ from_rows[i].name, from_row, NULL, NULL,
		                                  (void *)&from_rows[i] };
	memcpy(tests + n, cases, sizeof(cases));
	return cmocka_run_group_tests_name("submission", tests, NULL, NULL);
}
