/* tests/unit/test_header.c - the header section: read, cut, asked for its From domains */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>
#include "ingest/header.h"
#include "lib/mem.h"

#define B(text) text, sizeof(text) - 1

/* Messages of which all that is noted is compared. */
static const struct scan_row {
	const char *name;
	const char *msg;
	size_t len;
	struct header want; /* from_end, bcc_end and the like are tested by what uses them */
} scans[] = {
	{ "an empty message has an empty section", B(""), { 0 } },
	{ "a message that begins with a blank line has an empty section", B("\r\nX: y\r\n"),
	  { .body = 2 } },
	{ "the body begins after the blank line", B("A: b\r\n\r\nBcc: body\r\n"),
	  { .body = 8, .fields = 1 } },
	{ "a message may be only header fields", B("A: b\r\nC: d\r\n"),
	  { .body = 12, .fields = 2 } },
	{ "its last line may lack CRLF", B("A: b\r\nC: d"), { .body = 10, .fields = 2 } },
	{ "Date and Message-ID are found whatever their case", B("dATE: x\r\nmessage-id:\r\n\r\n"),
	  { .body = 24, .fields = 2, .date = true, .message_id = true } },
	{ "names that only begin like known ones are others",
	  B("Dates: x\r\nMessage-IDs: x\r\nBccx: y\r\nXBcc: z\r\nFroma: q\r\n\r\n"),
	  { .body = 56, .fields = 5 } },
	{ "Received fields are counted, their folds are not",
	  B("Received: a\r\n\tReceived: x\r\nReceived: b\r\nX-Received: c\r\n\r\n"),
	  { .body = 57, .fields = 3, .received = 2 } },
	{ "blanks before the colon hide no name", B("Bcc \t: a\r\nFrom : b\r\n\r\n"),
	  { .body = 22, .fields = 2, .from = 1, .bcc = 1, .from_at = 10, .from_end = 20,
	    .bcc_end = 10 } },
	{ "Resent-Bcc is a Bcc", B("X: y\r\nResent-Bcc: a\r\n b\r\n\r\n"),
	  { .body = 27, .fields = 2, .bcc = 1, .bcc_at = 6, .bcc_end = 25 } },
	{ "every From is counted", B("From: a\r\nX: y\r\nfrom: b\r\n\r\n"),
	  { .body = 26, .fields = 3, .from = 2, .from_end = 24 } },
	{ "a fold of white space only does not end the section", B("A: b\r\n \t\r\nBcc: c\r\n\r\n"),
	  { .body = 20, .fields = 2, .bcc = 1, .bcc_at = 10, .bcc_end = 18 } },
	{ "UTF-8 is known as such", B("Subject: gr\xc3\xbc\xc3\x9f\r\n\r\n"),
	  { .body = 19, .fields = 1, .eight_bit = true, .utf8 = true } },
	{ "C1 controls are UTF-8 as well", B("Subject: \xc2\x85 and more\r\n\r\n"),
	  { .body = 24, .fields = 1, .eight_bit = true, .utf8 = true } },
	{ "Latin-1 is not UTF-8", B("Subject: gr\xfc\xdf\r\n\r\n"),
	  { .body = 17, .fields = 1, .eight_bit = true } },
	{ "one bad byte after good UTF-8 is not UTF-8", B("A: \xc3\xbc 01234567 \xc3\r\n\r\n"),
	  { .body = 20, .fields = 1, .eight_bit = true } },
	{ "a surrogate is not UTF-8", B("A: \xed\xa0\x80\r\n\r\n"),
	  { .body = 10, .fields = 1, .eight_bit = true } },
	{ "8-bit bytes in the body are the body's business", B("A: b\r\n\r\n\xff\xfe\r\n"),
	  { .body = 8, .fields = 1 } },
	{ "a continuation as the first line", B(" A: b\r\n\r\n"),
	  { .bad_line = 1, .reason = "continuation" } },
	{ "white space as the first line", B(" \r\nA: b\r\n\r\n"),
	  { .bad_line = 1, .reason = "continuation" } },
	{ "text without a header section", B("Hello,\r\nworld\r\n"),
	  { .bad_line = 1, .reason = "no colon" } },
	{ "a line that is no field, with its number", B("A: b\r\n c\r\nBcc list\r\n\r\n"),
	  { .bad_line = 3, .reason = "no colon" } },
	{ "an mbox line", B("From a@b.test Tue Nov 24 08:31:00\r\nA: b\r\n\r\n"),
	  { .bad_line = 1, .reason = "no colon" } },
	{ "a colon alone", B("A: b\r\n: c\r\n\r\n"), { .bad_line = 2, .reason = "no field name" } },
	{ "an 8-bit field name", B("\xc3\xbc: b\r\n\r\n"),
	  { .bad_line = 1, .reason = "no field name" } },
	{ "a control character in a field name", B("Bc\x01" "c: b\r\n\r\n"),
	  { .bad_line = 1, .reason = "no colon" } },
	{ "a NUL in a field name", B("B\0cc: b\r\n\r\n"), { .bad_line = 1, .reason = "no colon" } },
	{ "a bare LF", B("A: b\nBcc: c\r\n\r\n"), { .bad_line = 1, .reason = "CR LF" } },
	{ "a bare LF in a fold, with its number", B("A: b\r\n c\r\n d\nBcc: c\r\n\r\n"),
	  { .bad_line = 3, .reason = "CR LF" } },
	{ "a bare CR", B("A: b\rBcc: c\r\n\r\n"), { .bad_line = 1, .reason = "CR LF" } },
	{ "CR CR LF", B("A: b\r\r\n\r\n"), { .bad_line = 1, .reason = "CR LF" } },
	{ "a CR as the last byte", B("A: b\r"), { .bad_line = 1, .reason = "CR LF" } },
	{ "a CR instead of a blank line", B("A: b\r\n\r"),
	  { .bad_line = 2, .reason = "no field name" } },
};

static void row_scans(void **state)
{
	const struct scan_row *r = *state;
	struct header h;
	enum err err = header_scan(r->msg, r->len, &h);

	assert_int_equal(err, r->want.reason != NULL ? ERR_SYNTAX : ERR_OK);
	assert_int_equal(h.bad_line, r->want.bad_line);
	if (r->want.reason != NULL)
		assert_non_null(strstr(h.reason, r->want.reason));
	else
		assert_null(h.reason);
	assert_int_equal(h.body, r->want.body);
	assert_int_equal(h.fields, r->want.fields);
	assert_int_equal(h.received, r->want.received);
	assert_int_equal(h.from, r->want.from);
	assert_int_equal(h.from_at, r->want.from_at);
	assert_int_equal(h.from_end, r->want.from_end);
	assert_int_equal(h.bcc, r->want.bcc);
	assert_int_equal(h.bcc_at, r->want.bcc_at);
	assert_int_equal(h.bcc_end, r->want.bcc_end);
	assert_int_equal(h.date, r->want.date);
	assert_int_equal(h.message_id, r->want.message_id);
	assert_int_equal(h.eight_bit, r->want.eight_bit);
	assert_int_equal(h.utf8, r->want.utf8);
}

static const struct cut_row {
	const char *name, *msg, *want;
} cuts[] = {
	{ "nothing to cut", "A: b\r\n\r\nBcc: x\r\n", "A: b\r\n\r\nBcc: x\r\n" },
	{ "the first field", "Bcc: x\r\nA: b\r\n\r\nbody", "A: b\r\n\r\nbody" },
	{ "the last field", "A: b\r\nBcc: x\r\n\r\nbody", "A: b\r\n\r\nbody" },
	{ "a field in the middle with its folded lines",
	  "A: b\r\nBcc: x,\r\n\ty,\r\n \r\n z\r\nC: d\r\n e\r\n\r\nbody",
	  "A: b\r\nC: d\r\n e\r\n\r\nbody" },
	{ "many, apart and side by side",
	  "Bcc: 1\r\nbcc: 2\r\nA: b\r\n c\r\nBCC:\r\n 3\r\nresent-bcc: 4\r\nFrom: x\r\nBcc : 5\r\n"
	  "D: e\r\n\r\nBcc: stays\r\n",
	  "A: b\r\n c\r\nFrom: x\r\nD: e\r\n\r\nBcc: stays\r\n" },
	{ "a section of nothing but Bcc", "Bcc: 1\r\nBcc: 2\r\n\r\nbody", "\r\nbody" },
	{ "a message of nothing but Bcc", "Bcc: 1\r\nBcc: 2\r\n", "" },
	{ "a last line without CRLF", "A: b\r\nBcc: 1\r\n 2", "A: b\r\n" },
	{ "what looks like Bcc in a fold stays", "A: b\r\n Bcc: 1\r\nBcc: 2\r\n\tBcc: 3\r\n\r\n",
	  "A: b\r\n Bcc: 1\r\n\r\n" },
	{ "an empty Bcc goes too", "From: a\r\nBcc:\r\nFrom: b\r\n\r\n",
	  "From: a\r\nFrom: b\r\n\r\n" },
};

static void row_cuts(void **state)
{
	const struct cut_row *r = *state;
	size_t len = strlen(r->msg), n;
	char *msg = xmalloc(len + 1);
	struct header h, after;

	memcpy(msg, r->msg, len + 1);
	assert_int_equal(header_scan(msg, len, &h), ERR_OK);
	n = header_cut(msg, len, &h);
	assert_string_equal(msg + n, r->want);
	assert_int_equal(header_scan(msg + n, len - n, &after), ERR_OK);
	assert_memory_equal(&h, &after, sizeof(h));
	xfree(msg);
}

static void hundred_thousand_bcc_fields_are_cut_in_linear_time(void **state)
{
	struct buf msg = BUF_INIT;
	struct header h;
	clock_t start;
	size_t n;

	(void)state;
	for (int i = 0; i < 100000; i++)
		buf_adds(&msg, "Bcc: x@y.test\r\nX-Between: the fields, something that stays there\r\n");
	buf_adds(&msg, "\r\nbody\r\n");
	start = clock();
	assert_int_equal(header_scan(msg.data, msg.len, &h), ERR_OK);
	assert_int_equal(h.bcc, 100000);
	n = header_cut(msg.data, msg.len, &h);
	assert_true(clock() - start < CLOCKS_PER_SEC); /* quadratic: minutes; linear: 20 ms */
	buf_consume(&msg, n);
	assert_int_equal(n, 100000 * strlen("Bcc: x@y.test\r\n"));
	assert_int_equal(header_scan(msg.data, msg.len, &h), ERR_OK);
	assert_int_equal(h.bcc, 0);
	assert_int_equal(h.fields, 100000);
	assert_string_equal(msg.data + h.body, "body\r\n");
	buf_free(&msg);
}

#define NONE ERR_NOENT, ""
#define BAD ERR_SYNTAX, NULL /* what was told before does not matter */
#define OK(domains) ERR_OK, domains

static const struct from_row {
	const char *name;
	const char *msg;
	size_t len;
	enum err err;
	const char *want; /* each domain with a blank after it */
} froms[] = {
	{ "a bare address", B("From: b@Evil.TEST\r\n"), OK("evil.test ") },
	{ "an address in brackets", B("From: B <b@evil.test>\r\n"), OK("evil.test ") },
	{ "brackets without a name", B("From:<b@evil.test>\r\n"), OK("evil.test ") },
	{ "an address in a display name is no address",
	  B("From: \"a@good.test\" <b@evil.test>\r\n"), OK("evil.test ") },
	{ "an address with brackets in a display name is none",
	  B("From: \"x <a@good.test>\" <b@evil.test>\r\n"), OK("evil.test ") },
	{ "a quoted quote does not end the display name",
	  B("From: \"x\\\" <a@good.test>\" <b@evil.test>\r\n"), OK("evil.test ") },
	{ "a comment in front", B("From: (good) b@evil.test\r\n"), OK("evil.test ") },
	{ "a comment with an address", B("From: (a@good.test) b@evil.test (c@good.test)\r\n"),
	  OK("evil.test ") },
	{ "nested comments with quoted parentheses",
	  B("From: ((a) \\) (b@good.test)) b@evil.test\r\n"), OK("evil.test ") },
	{ "two mailboxes", B("From: a@good.test, b@evil.test\r\n"), OK("good.test evil.test ") },
	{ "two From fields", B("From: a@good.test\r\nTo: x@y.test\r\nfrom : b@evil.test\r\n"),
	  OK("good.test evil.test ") },
	{ "two From fields, one empty", B("From: a@good.test\r\nFrom:\r\n"), OK("good.test ") },
	{ "folded before the address", B("From: Some\r\n Body\r\n\t<b@evil.test>\r\n\r\n"),
	  OK("evil.test ") },
	{ "folded within a display name", B("From: \"Some\r\n Body\" <b@evil.test>\r\n"),
	  OK("evil.test ") },
	{ "a quoted local part with an address", B("From: \"a@good.test\"@evil.test\r\n"),
	  OK("evil.test ") },
	{ "an encoded word is text", B("From: =?utf-8?q?a=40good.test?= <b@evil.test>\r\n"),
	  OK("evil.test ") },
	{ "a display name in UTF-8", B("From: J\xc3\xbcrgen \"\xc3\x9f\" <b@evil.test>\r\n"),
	  OK("evil.test ") },
	{ "a display name in Latin-1", B("From: J\xfcrgen <b@evil.test>\r\n"), OK("evil.test ") },
	{ "dots in a display name", B("From: J. R. Ewing Jr. <b@evil.test>\r\n"),
	  OK("evil.test ") },
	{ "an international domain is its A-label", B("From: <a@b\xc3\xbc" "cher.test>\r\n"),
	  OK("xn--bcher-kva.test ") },
	{ "a fullwidth dot is a dot", B("From: a@evil\xe3\x80\x82" "good.test\r\n"),
	  OK("evil.good.test ") },
	{ "a group", B("From: Us: a@good.test, B <b@evil.test>;\r\n"), OK("good.test evil.test ") },
	{ "a group and what comes after it", B("From: \"Us\" (x) :a@good.test;, b@evil.test\r\n"),
	  OK("good.test evil.test ") },
	{ "an obsolete route is not the address", B("From: <@good.test,@x.test:b@evil.test>\r\n"),
	  OK("evil.test ") },
	{ "empty elements of a list", B("From: , a@good.test ,,(x), <b@evil.test>,\r\n"),
	  OK("good.test evil.test ") },
	{ "a comment beside the address in brackets", B("From: <(x) b@evil.test (y)>\r\n"),
	  OK("evil.test ") },
	{ "no CRLF at the end", B("From: a@good.test"), OK("good.test ") },
	{ "comments as deep as allowed",
	  B("From: ((((((((((((((((x)))))))))))))))) b@evil.test\r\n"), OK("evil.test ") },
	{ "no From", B("Sender: b@evil.test\r\n\r\nFrom: a@good.test\r\n"), NONE },
	{ "an empty message", B(""), NONE },
	{ "an empty From", B("From:\r\n"), NONE },
	{ "a From of white space and comments", B("From: \r\n\t (a@good.test) \r\n"), NONE },
	{ "an empty group", B("From: Undisclosed:;\r\n"), NONE },
	{ "comments deeper than allowed",
	  B("From: (((((((((((((((((x))))))))))))))))) b@evil.test\r\n"), BAD },
	{ "a comment that is not closed", B("From: b@evil.test (a@good.test\r\n"), BAD },
	{ "a comment closed by a quoted parenthesis", B("From: (x\\) b@evil.test\r\n"), BAD },
	{ "a quoted string that is not closed", B("From: \"x <b@evil.test>\r\n"), BAD },
	{ "an address as an unquoted display name", B("From: a@good.test <b@evil.test>\r\n"), BAD },
	{ "two addresses without a comma", B("From: a@good.test b@evil.test\r\n"), BAD },
	{ "two addresses in brackets without a comma",
	  B("From: <a@good.test> <b@evil.test>\r\n"), BAD },
	{ "a semicolon between addresses", B("From: a@good.test; b@evil.test\r\n"), BAD },
	{ "two addresses in one pair of brackets", B("From: <a@good.test,b@evil.test>\r\n"), BAD },
	{ "brackets in brackets", B("From: <a@good.test <b@evil.test>>\r\n"), BAD },
	{ "two at signs", B("From: b@evil.test@good.test\r\n"), BAD },
	{ "a domain with a comment in it", B("From: b@evil.test(x).good.test\r\n"), BAD },
	{ "a domain with white space in it", B("From: b@evil.test .good.test\r\n"), BAD },
	{ "a folded domain", B("From: b@evil.test\r\n .good.test\r\n"), BAD },
	{ "white space before the at sign", B("From: b @evil.test\r\n"), BAD },
	{ "white space after the at sign", B("From: b@ evil.test\r\n"), BAD },
	{ "words before an at sign", B("From: a b@evil.test\r\n"), BAD },
	{ "an address without a domain", B("From: root\r\n"), BAD },
	{ "an empty domain", B("From: root@\r\n"), BAD },
	{ "an empty local part", B("From: <@evil.test>\r\n"), BAD },
	{ "empty brackets", B("From: Nobody <>\r\n"), BAD },
	{ "a domain with a dot in front", B("From: a@.good.test\r\n"), BAD },
	{ "a domain with a dot at the end", B("From: a@good.test.\r\n"), BAD },
	{ "an address literal", B("From: a@[192.0.2.1]\r\n"), BAD },
	{ "a group without an end", B("From: Us: a@good.test\r\n"), BAD },
	{ "a group in a group", B("From: A: B: a@good.test;;\r\n"), BAD },
	{ "a group without a name", B("From: : a@good.test;\r\n"), BAD },
	{ "an address after a group without a comma", B("From: A:; a@good.test\r\n"), BAD },
	{ "an encoded word as a domain", B("From: a@=?utf-8?q?good.test?=\r\n"), BAD },
	{ "an encoded word as a local part",
	  B("From: =?utf-8?q?b=40evil.test=3e?=@good.test\r\n"), BAD },
	{ "an encoded word as a quoted local part",
	  B("From: <\"=?utf-8?q?b=40evil.test=3e?=\"@good.test>\r\n"), BAD },
	{ "a display name that begins with a dot", B("From: . <b@evil.test>\r\n"), BAD },
	{ "a NUL", B("From: a@good.test\0 <b@evil.test>\r\n"), BAD },
	{ "an escape character, which may switch the character set",
	  B("From: \x1b$B\"x <a@good.test>\r\n"), BAD },
	{ "a backslash that may be half of a character",
	  B("From: \"\x83\\\" <b@evil.test>,\" <a@good.test>\r\n"), BAD },
	{ "a backslash beside UTF-8 is a backslash",
	  B("From: \"\xc3\xbc\\\" x\" <b@evil.test>\r\n"), OK("evil.test ") },
	{ "a quoted line end", B("From: \"x\\\r\n y\" <b@evil.test>\r\n"), BAD },
	{ "a domain that is not UTF-8", B("From: a@b\xfc" "cher.test\r\n"), BAD },
	{ "a good From field before a bad one", B("From: a@good.test\r\nFrom: b\r\n"), BAD },
};

static void add_domain(void *owner, const char *domain)
{
	buf_addf(owner, "%s ", domain);
}

static void row_gives_domains(void **state)
{
	const struct from_row *r = *state;
	struct buf got = BUF_INIT;
	struct header h;
	enum err err;

	assert_int_equal(header_scan(r->msg, r->len, &h), ERR_OK);
	err = header_from_domains(r->msg, r->len, &h, add_domain, &got);
	assert_int_equal(err, r->err);
	if (r->want != NULL)
		assert_string_equal(buf_str(&got), r->want);
	buf_free(&got);
}

static void count_domain(void *owner, const char *domain)
{
	(void)domain;
	++*(int *)owner;
}

/* n mailboxes over two From fields. */
static enum err from_of(int n, int *count)
{
	struct buf msg = BUF_INIT;
	struct header h;
	enum err err;

	buf_adds(&msg, "From: x@y.test\r\nFrom: ");
	for (int i = 1; i < n; i++)
		buf_addf(&msg, "%sx@y.test", i > 1 ? ",\r\n " : "");
	buf_adds(&msg, "\r\n");
	assert_int_equal(header_scan(msg.data, msg.len, &h), ERR_OK);
	*count = 0;
	err = header_from_domains(msg.data, msg.len, &h, count_domain, count);
	buf_free(&msg);
	return err;
}

static void the_number_of_mailboxes_is_limited(void **state)
{
	int count;

	(void)state;
	assert_int_equal(from_of(HEADER_FROM_MAX, &count), ERR_OK);
	assert_int_equal(count, HEADER_FROM_MAX);
	assert_int_equal(from_of(HEADER_FROM_MAX + 1, &count), ERR_SYNTAX);
	assert_int_equal(count, HEADER_FROM_MAX);
}

static void domains_are_found_after_a_cut(void **state)
{
	char msg[] = "Bcc: 1\r\nFrom: a@good.test\r\nBcc: 2\r\nFrom: b@evil.test\r\nBcc: 3\r\n\r\n";
	size_t len = sizeof(msg) - 1, n;
	struct buf got = BUF_INIT;
	struct header h;

	(void)state;
	assert_int_equal(header_scan(msg, len, &h), ERR_OK);
	n = header_cut(msg, len, &h);
	assert_int_equal(header_from_domains(msg + n, len - n, &h, add_domain, &got), ERR_OK);
	assert_string_equal(buf_str(&got), "good.test evil.test ");
	buf_free(&got);
}

static void what_is_missing_is_added(void **state)
{
	static const char date[] = "Date: Tue, 24 Nov 2026 08:31:00 +0000\r\n";
	static const char id[] = "Message-ID: <ID26@mx.test>\r\n";
	struct header h = { 0 };
	struct buf out = BUF_INIT;

	(void)state;
	header_add_missing(&out, &h, "ID26", "mx.test", 1795509060000);
	assert_memory_equal(out.data, date, strlen(date));
	assert_string_equal(out.data + strlen(date), id);
	buf_reset(&out);
	h.date = true;
	header_add_missing(&out, &h, "ID26", "mx.test", 1795509060000);
	assert_string_equal(out.data, id);
	buf_reset(&out);
	h.message_id = true;
	header_add_missing(&out, &h, "ID26", "mx.test", 1795509060000);
	assert_int_equal(out.len, 0);
	buf_free(&out);
}

#define ROWS(array, test)                                                         \
	for (size_t i = 0; i < ARRAY_LEN(array); i++)                             \
		tests[n++] = (struct CMUnitTest){ (array)[i].name, test, NULL, NULL, \
		                                  (void *)&(array)[i] }

int main(void)
{
	static const struct CMUnitTest more[] = {
		cmocka_unit_test(hundred_thousand_bcc_fields_are_cut_in_linear_time),
		cmocka_unit_test(the_number_of_mailboxes_is_limited),
		cmocka_unit_test(domains_are_found_after_a_cut),
		cmocka_unit_test(what_is_missing_is_added),
	};
	struct CMUnitTest tests[ARRAY_LEN(scans) + ARRAY_LEN(cuts) + ARRAY_LEN(froms) +
	                        ARRAY_LEN(more)];
	size_t n = 0;

	ROWS(scans, row_scans);
	ROWS(cuts, row_cuts);
	ROWS(froms, row_gives_domains);
	memcpy(tests + n, more, sizeof(more));
	return cmocka_run_group_tests_name("header", tests, NULL, NULL);
}
