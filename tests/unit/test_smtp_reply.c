/* tests/unit/test_smtp_reply.c - replies of every shape, read and written */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>
#include "lib/err.h"
#include "proto/smtp_reply.h"

static enum err feed(struct smtp_reply *r, const char *line)
{
	return smtp_reply_line(r, line, strlen(line));
}

static void a_single_line_is_a_reply(void **state)
{
	struct smtp_reply r = SMTP_REPLY_INIT;

	assert_int_equal(feed(&r, "550 5.1.1 No such user"), ERR_OK);
	assert_int_equal(r.code, 550);
	assert_string_equal(r.enhanced, "5.1.1");
	assert_string_equal(buf_str(&r.text), "No such user");
	smtp_reply_free(&r);
}

static void lines_are_joined_and_codes_cut_off(void **state)
{
	struct smtp_reply r = SMTP_REPLY_INIT;

	assert_int_equal(feed(&r, "550-5.1.1 one"), ERR_AGAIN);
	assert_int_equal(feed(&r, "550-5.1.1 two"), ERR_AGAIN);
	assert_int_equal(feed(&r, "550 5.1.1 three"), ERR_OK);
	assert_string_equal(buf_str(&r.text), "one\ntwo\nthree");
	assert_int_equal(r.lines, 3);
	smtp_reply_free(&r);
}

static void a_code_alone_is_a_reply(void **state)
{
	struct smtp_reply r = SMTP_REPLY_INIT;

	assert_int_equal(feed(&r, "354"), ERR_OK);
	assert_int_equal(r.code, 354);
	assert_string_equal(r.enhanced, "");
	smtp_reply_free(&r);
}

static void what_is_no_reply_is_told(void **state)
{
	static const char *const bads[] = { "", "2", "25", "25x ok", "150 early", "650 late",
	                                    "250_ok", "SSH-2.0-x", "250" "\t" "x" };

	for (size_t i = 0; i < ARRAY_LEN(bads); i++) {
		struct smtp_reply r = SMTP_REPLY_INIT;

		if (feed(&r, bads[i]) != ERR_PROTO)
			fail_msg("taken as a reply: \"%s\"", bads[i]);
		smtp_reply_free(&r);
	}
}

static void codes_may_not_change_within_a_reply(void **state)
{
	struct smtp_reply r = SMTP_REPLY_INIT;

	assert_int_equal(feed(&r, "250-one"), ERR_AGAIN);
	assert_int_equal(feed(&r, "550 two"), ERR_PROTO);
	smtp_reply_free(&r);
}

static void a_reply_without_end_ends(void **state)
{
	struct smtp_reply r = SMTP_REPLY_INIT;
	enum err err = ERR_AGAIN;
	unsigned n = 0;

	while (err == ERR_AGAIN && n < 100000) {
		err = feed(&r, "250-again and again and again and again");
		n++;
	}
	assert_int_equal(err, ERR_PROTO);
	assert_true(n <= SMTP_REPLY_LINES_MAX + 1);
	assert_true(r.text.len <= SMTP_REPLY_TEXT_MAX);
	smtp_reply_free(&r);
}

static void both_failing_classes_fit_both_failing_codes(void **state)
{
	char e[12];

	assert_int_equal(smtp_enhanced_take(550, "4.2.1 x", 7, e), 6);
	assert_string_equal(e, "4.2.1");
	assert_int_equal(smtp_enhanced_take(250, "5.1.1 x", 7, e), 0);
	assert_string_equal(e, "");
	assert_int_equal(smtp_enhanced_take(550, "5.1 x", 5, e), 0);
	assert_int_equal(smtp_enhanced_take(550, "5.1234.1 x", 10, e), 0);
}

static void what_is_written_has_codes_on_each_line(void **state)
{
	struct buf out = BUF_INIT;

	smtp_reply_add(&out, 550, "5.7.1", "one\ntwo");
	assert_string_equal(buf_str(&out), "550-5.7.1 one\r\n550 5.7.1 two\r\n");
	buf_reset(&out);
	smtp_reply_add(&out, 354, NULL, "go");
	assert_string_equal(buf_str(&out), "354 go\r\n");
	buf_free(&out);
}

static void nothing_written_can_break_a_line_or_pass_512_bytes(void **state)
{
	struct buf out = BUF_INIT;
	char text[2000];
	size_t at = 0;

	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	text[10] = '\r';
	smtp_reply_add(&out, 550, "5.7.1", text);
	while (at < out.len) {
		const char *end = memmem(out.data + at, out.len - at, "\r\n", 2);
		size_t len = (size_t)(end - out.data) + 2 - at;

		assert_non_null(end);
		assert_true(len <= 512);
		assert_null(memchr(out.data + at, '\r', len - 2));
		at += len;
	}
	buf_free(&out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_single_line_is_a_reply),
		cmocka_unit_test(lines_are_joined_and_codes_cut_off),
		cmocka_unit_test(a_code_alone_is_a_reply),
		cmocka_unit_test(what_is_no_reply_is_told),
		cmocka_unit_test(codes_may_not_change_within_a_reply),
		cmocka_unit_test(a_reply_without_end_ends),
		cmocka_unit_test(both_failing_classes_fit_both_failing_codes),
		cmocka_unit_test(what_is_written_has_codes_on_each_line),
		cmocka_unit_test(nothing_written_can_break_a_line_or_pass_512_bytes),
	};

	return cmocka_run_group_tests_name("smtp_reply", tests, NULL, NULL);
}
