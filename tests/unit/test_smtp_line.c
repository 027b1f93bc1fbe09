/* tests/unit/test_smtp_line.c - CR LF ends a line, and nothing else does */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>
#include "lib/err.h"
#include "proto/smtp_line.h"

static struct row {
	const char *name;
	const char *in;
	size_t n, max;
	enum smtp_line_result want;
	const char *line;
	size_t used;
} rows[] = {
	{ "a whole line", "NOOP\r\nX", 7, 512, SMTP_LINE_OK, "NOOP", 6 },
	{ "an empty line", "\r\n", 2, 512, SMTP_LINE_OK, "", 2 },
	{ "no end yet", "NOO", 3, 512, SMTP_LINE_MORE, NULL, 0 },
	{ "a CR may be half of the end", "NOOP\r", 5, 512, SMTP_LINE_MORE, NULL, 0 },
	{ "a bare LF ends nothing", "NO\nOP\r\n", 7, 512, SMTP_LINE_BAD, NULL, 7 },
	{ "a bare CR ends nothing", "NO\rOP\r\n", 7, 512, SMTP_LINE_BAD, NULL, 7 },
	{ "a NUL", "NO\0OP\r\n", 7, 512, SMTP_LINE_BAD, NULL, 7 },
	{ "CR CR LF", "NO\r\r\n", 5, 512, SMTP_LINE_BAD, NULL, 5 },
	{ "just as long as allowed", "12345678\r\n", 10, 10, SMTP_LINE_OK, "12345678", 10 },
	{ "one byte too long", "123456789\r\n", 11, 10, SMTP_LINE_TOO_LONG, NULL, 11 },
};

static void row_gives_line(void **state)
{
	const struct row *r = *state;
	const char *line = NULL;
	size_t len = 0, used = 0;
	bool skipping = false;

	assert_int_equal(smtp_line_take(r->in, r->n, r->max, &skipping, &line, &len, &used), r->want);
	assert_int_equal(used, r->used);
	if (r->line != NULL) {
		assert_int_equal(len, strlen(r->line));
		assert_memory_equal(line, r->line, len);
	}
}

static void the_rest_of_a_long_line_is_swallowed(void **state)
{
	const char *line = NULL, *rest = "more of it\r\nNOOP\r\n";
	size_t len = 0, used = 0, n = strlen(rest);
	bool skipping = false;

	assert_int_equal(smtp_line_take("0123456789ABCDEF", 16, 10, &skipping, &line, &len, &used),
	                 SMTP_LINE_TOO_LONG);
	assert_true(skipping);
	assert_int_equal(used, 16);
	assert_int_equal(smtp_line_take(rest, n, 20, &skipping, &line, &len, &used), SMTP_LINE_OK);
	assert_false(skipping);
	assert_int_equal(len, 4);
	assert_memory_equal(line, "NOOP", 4);
	assert_int_equal(used, n);
}

int main(void)
{
	struct CMUnitTest tests[ARRAY_LEN(rows) + 1];

	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		tests[i] = (struct CMUnitTest){
			.name = rows[i].name,
			.test_func = row_gives_line,
			.initial_state = &rows[i],
		};
	tests[ARRAY_LEN(rows)] =
		(struct CMUnitTest)cmocka_unit_test(the_rest_of_a_long_line_is_swallowed);
	return cmocka_run_group_tests_name("smtp_line", tests, NULL, NULL);
}
