/* tests/unit/test_repair.c - malformed messages made well-formed, rule by rule */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>
#include "ingest/header.h"
#include "ingest/repair.h"
#include "lib/err.h"

#define B(text) text, sizeof(text) - 1
#define SAME NULL, 0

static const struct row {
	const char *name;
	const char *msg;
	size_t len;
	const char *want; /* SAME: as it was */
	size_t want_len;
} rows[] = {
	{ "an empty message is left alone", B(""), SAME },
	{ "a well-formed message is left alone", B("A: b\r\n c\r\n\r\n.\r\n..\r\n\t\r\n\r\n"), SAME },
	{ "a last line without CRLF is left alone", B("A: b\r\n\r\nbody"), SAME },
	{ "a bare LF becomes CRLF", B("A: b\nC: d\n\nbody\n"), B("A: b\r\nC: d\r\n\r\nbody\r\n") },
	{ "a bare CR becomes CRLF", B("A: b\rC: d\r\rbody\r"), B("A: b\r\nC: d\r\n\r\nbody\r\n") },
	{ "CR CR LF is one line end", B("A: b\r\r\n\r\r\nbody\r\r\n"), B("A: b\r\n\r\nbody\r\n") },
	{ "any number of CRs before LF is one line end", B("A: b\r\r\r\r\nC: d\r\n"),
	  B("A: b\r\nC: d\r\n") },
	{ "LF CR is two line ends", B("A: b\n\rbody\r\n"), B("A: b\r\n\r\nbody\r\n") },
	{ "LF LF is two line ends", B("A: b\n\n\nbody\r\n"), B("A: b\r\n\r\n\r\nbody\r\n") },
	{ "a NUL goes", B("A: \0b\0\r\n\0\0c: d\r\n"), B("A: b\r\nc: d\r\n") },
	{ "a NUL within CRLF goes, too", B("A: b\r\0\nC: d\r\0\0\r\n"), B("A: b\r\nC: d\r\n") },
	{ "a NUL alone on a line leaves a blank line", B("A: b\r\n\0\r\nbody"),
	  B("A: b\r\n\r\nbody") },
	{ "CRs with a NUL and no LF are one line end each", B("A: b\r\0\rbody"),
	  B("A: b\r\n\r\nbody") },
	{ "only NULs", B("\0\0\0"), B("") },
	{ "a dot between bare line ends becomes a line of its own", B("A: b\r\n\r\nx\n.\ny\r\n"),
	  B("A: b\r\n\r\nx\r\n.\r\ny\r\n") },
	{ "8-bit bytes stay", B("A: b\r\n\r\n\xff\n\xc3\xbc\r\n"), B("A: b\r\n\r\n\xff\r\n\xc3\xbc\r\n") },
};

/* The first offset at which something stands that must not, or the length. */
static size_t first_unclean(const struct buf *b)
{
	size_t line = 0;

	for (size_t i = 0; i < b->len; i++) {
		char c = b->data[i];

		if (c == '\0' || (c == '\n' && (i == 0 || b->data[i - 1] != '\r')) ||
		    (c == '\r' && b->data[i + 1] != '\n')) /* a NUL is behind the end */
			return i;
		line = c == '\r' || c == '\n' ? 0 : line + 1;
		if (line > REPAIR_LINE_MAX)
			return i;
	}
	return b->len;
}

static void check_clean(const struct buf *b)
{
	assert_int_equal(first_unclean(b), b->len);
}

static void row_is_mended(void **state)
{
	const struct row *r = *state;
	const char *want = r->want != NULL ? r->want : r->msg;
	size_t want_len = r->want != NULL ? r->want_len : r->len;
	struct buf msg = BUF_INIT;

	buf_add(&msg, r->msg, r->len);
	repair_message(&msg, 0);
	check_clean(&msg);
	assert_int_equal(msg.len, want_len);
	assert_memory_equal(buf_str(&msg), want, want_len);
	buf_free(&msg);
}

/* Long lines are written as text in which {NxC} stands for N times C. */
static const struct long_row {
	const char *name, *msg, *want;
} longs[] = {
	{ "a header line of 998 is left alone", "A: {995xb}\r\n\r\n", "A: {995xb}\r\n\r\n" },
	{ "a body line of 998 is left alone", "\r\n{998xb}\r\n", "\r\n{998xb}\r\n" },
	{ "a body line of 999 is broken after 998", "\r\n{999xb}\r\n", "\r\n{998xb}\r\nb\r\n" },
	{ "a long body line is broken as often as it needs", "\r\n{2500xb}",
	  "\r\n{998xb}\r\n{998xb}\r\n{504xb}" },
	{ "white space in the body is no better place", "\r\n{500xb} {600xb}\r\n",
	  "\r\n{500xb} {497xb}\r\n{103xb}\r\n" },
	{ "a body line is not broken in a character of two octets", "\r\n{997xb}\xc3\xbc" "b\r\n",
	  "\r\n{997xb}\r\n\xc3\xbc" "b\r\n" },
	{ "of three octets", "\r\n{996xb}\xe2\x82\xac\r\n", "\r\n{996xb}\r\n\xe2\x82\xac\r\n" },
	{ "of four octets", "\r\n{995xb}\xf0\x9f\x98\x80\r\n", "\r\n{995xb}\r\n\xf0\x9f\x98\x80\r\n" },
	{ "a character that ends at 998 stays whole", "\r\n{995xb}\xe2\x82\xac" "b\r\n",
	  "\r\n{995xb}\xe2\x82\xac\r\nb\r\n" },
	{ "bytes that are no character are broken anywhere", "\r\n{1000x\xbc}\r\n",
	  "\r\n{998x\xbc}\r\n{2x\xbc}\r\n" },
	{ "a header line is folded before its last white space",
	  "A: {400xb} {400xc} {400xd}\r\n\r\n", "A: {400xb} {400xc}\r\n {400xd}\r\n\r\n" },
	{ "a tab is white space", "A: {400xb}\t{800xd}\r\n\r\n", "A: {400xb}\r\n\t{800xd}\r\n\r\n" },
	{ "white space right after 998 is the place", "A: {995xb} c\r\n\r\n",
	  "A: {995xb}\r\n c\r\n\r\n" },
	{ "white space at the fold is shortened", "A: {995xb}{5000x }c\r\n\r\n",
	  "A: {995xb}\r\n c\r\n\r\n" },
	{ "a header line without white space is broken hard", "A:{1200xb}\r\n\r\n",
	  "A:{996xb}\r\n {204xb}\r\n\r\n" },
	{ "hard breaks go on in the continuation", "A:{3000xb}\r\n\r\n",
	  "A:{996xb}\r\n {997xb}\r\n {997xb}\r\n {10xb}\r\n\r\n" },
	{ "a long word after white space is folded, then broken", "A: {1200xb}\r\n\r\n",
	  "A:\r\n {997xb}\r\n {203xb}\r\n\r\n" },
	{ "a header line is not broken in a character", "A:{995xb}\xc3\xbc\r\n\r\n",
	  "A:{995xb}\r\n \xc3\xbc\r\n\r\n" },
	{ "white space at the end of a line is dropped, not folded", "A: {990xb}{3000x }\r\nC: d\r\n",
	  "A: {990xb}{5x }\r\nC: d\r\n" },
	{ "white space in front of a continuation is shortened", "A: b\r\n{5000x }c\r\n\r\n",
	  "A: b\r\n c\r\n\r\n" },
	{ "a continuation is not broken where less white space will do",
	  "A: b\r\n{500x }{700xc}\r\n\r\n", "A: b\r\n {700xc}\r\n\r\n" },
	{ "a line of white space does not become a blank line", "A: b\r\n{3000x }\r\nC: d\r\n",
	  "A: b\r\n{998x }\r\nC: d\r\n" },
	{ "white space before the colon is no place", "A :{1000xb}\r\n\r\n",
	  "A :{995xb}\r\n {5xb}\r\n\r\n" },
	{ "a break makes no field out of the rest of a line", "A: {996xb}Bcc: x@y.test\r\n\r\n",
	  "A:\r\n {996xb}B\r\n cc: x@y.test\r\n\r\n" },
	{ "a long line is broken where NULs were taken out, too",
	  "\r\n{600xb}{9x@}{600xb}\r\n", "\r\n{998xb}\r\n{202xb}\r\n" },
};

/* "{5xb}" becomes "bbbbb"; "@" in braces stands for NUL. */
static void unfold_text(struct buf *out, const char *text)
{
	while (*text != '\0') {
		int n = 0, used = 0;
		char c;

		if (sscanf(text, "{%dx%c}%n", &n, &c, &used) < 2 || used == 0) {
			buf_addc(out, *text++);
			continue;
		}
		while (n-- > 0)
			buf_addc(out, c == '@' ? '\0' : c);
		text += used;
	}
}

static void long_row_is_mended(void **state)
{
	const struct long_row *r = *state;
	struct buf msg = BUF_INIT, want = BUF_INIT;

	unfold_text(&msg, r->msg);
	unfold_text(&want, r->want);
	repair_message(&msg, 0);
	check_clean(&msg);
	assert_string_equal(buf_str(&msg), buf_str(&want));
	buf_free(&msg);
	buf_free(&want);
}

static void what_is_before_the_message_stays(void **state)
{
	struct buf msg = BUF_INIT;

	(void)state;
	buf_adds(&msg, "gone");
	buf_consume(&msg, 4);
	buf_adds(&msg, "Received: x\n\ny\r\nA: b\nc");
	repair_message(&msg, strlen("Received: x\n\ny\r\n"));
	assert_string_equal(buf_str(&msg), "Received: x\n\ny\r\nA: b\r\nc");
	buf_free(&msg);
}

static void a_field_that_mending_shows_is_seen_and_cut(void **state)
{
	struct buf msg = BUF_INIT;
	struct header h;

	(void)state;
	buf_adds(&msg, "A: b\rBcc: secret@x.test\n\nbody");
	repair_message(&msg, 0);
	assert_int_equal(header_scan(msg.data, msg.len, &h), ERR_OK);
	buf_consume(&msg, header_cut(msg.data, msg.len, &h));
	assert_string_equal(buf_str(&msg), "A: b\r\n\r\nbody");
	buf_free(&msg);
}

/* Each is written over and over again up to 4 MiB; what is not linear takes minutes. */
static const struct row floods[] = {
	{ "4 MiB of CR", B("\r"), SAME },
	{ "4 MiB of LF", B("\n"), SAME },
	{ "4 MiB of NUL", B("\0"), SAME },
	{ "4 MiB of CR and NUL", B("\r\0"), SAME },
	{ "4 MiB of one header line without white space", B("x"), SAME },
	{ "4 MiB of one header line with white space", B("ab "), SAME },
	{ "4 MiB of white space and NUL", B(" \0"), SAME },
	{ "4 MiB of white space", B(" "), SAME },
	{ "4 MiB of UTF-8", B("\xf0\x9f\x98\x80"), SAME },
};

static void flood_takes_linear_time(void **state)
{
	const struct row *r = *state;
	struct buf msg = BUF_INIT;
	clock_t start;

	buf_adds(&msg, "X: y");
	while (msg.len < 4 << 20)
		buf_add(&msg, r->msg, r->len);
	buf_adds(&msg, "end\r\n");
	start = clock();
	repair_message(&msg, 0);
	assert_true(clock() - start < 5 * CLOCKS_PER_SEC);
	check_clean(&msg);
	buf_free(&msg);
}

#define ROWS(array, test)                                                         \
	for (size_t i = 0; i < ARRAY_LEN(array); i++)                             \
		tests[n++] = (struct CMUnitTest){ (array)[i].name, test, NULL, NULL, \
		                                  (void *)&(array)[i] }

int main(void)
{
	static const struct CMUnitTest more[] = {
		cmocka_unit_test(what_is_before_the_message_stays),
		cmocka_unit_test(a_field_that_mending_shows_is_seen_and_cut),
	};
	struct CMUnitTest tests[ARRAY_LEN(rows) + ARRAY_LEN(longs) +
	                        ARRAY_LEN(floods) + ARRAY_LEN(more)];
	size_t n = 0;

	ROWS(rows, row_is_mended);
	ROWS(longs, long_row_is_mended);
	ROWS(floods, flood_takes_linear_time);
	memcpy(tests + n, more, sizeof(more));
	return cmocka_run_group_tests_name("repair", tests, NULL, NULL);
}
