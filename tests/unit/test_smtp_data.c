/* tests/unit/test_smtp_data.c - where a message ends, at every split of its bytes */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>
#include "lib/err.h"
#include "proto/smtp_data.h"

struct got {
	struct buf out;
	struct smtp_data_in in;
	size_t used;
	bool done, over;
};

/* Decode [p, p+n) in two pieces. */
static struct got decode(const char *p, size_t n, size_t split)
{
	struct got g = { .out = BUF_INIT };

	g.used = smtp_data_decode(&g.in, p, split, &g.out, 1 << 20, &g.over, &g.done);
	if (!g.done)
		g.used += smtp_data_decode(&g.in, p + split, n - split, &g.out, 1 << 20, &g.over,
		                           &g.done);
	return g;
}

static struct row {
	const char *name, *in;
	size_t n;
	bool done;
	const char *want;
	size_t want_n, used;
} rows[] = {
#define IN(s) s, sizeof(s) - 1
	{ "a plain message", IN("a\r\nb\r\n.\r\n"), true, IN("a\r\nb\r\n"), 9 },
	{ "an empty message", IN(".\r\n"), true, IN(""), 3 },
	{ "a doubled dot", IN("..a\r\n.\r\n"), true, IN(".a\r\n"), 8 },
	{ "a line of two dots", IN("a\r\n..\r\n.\r\n"), true, IN("a\r\n.\r\n"), 10 },
	{ "what follows the end is left", IN("a\r\n.\r\nQUIT\r\n"), true, IN("a\r\n"), 6 },
	{ "a dot within a line", IN("a.\r\n.\r\n"), true, IN("a.\r\n"), 7 },
	{ "LF . LF ends nothing", IN("a\n.\nb\r\n.\r\n"), true, IN("a\n.\nb\r\n"), 10 },
	{ "LF . CRLF ends nothing", IN("a\n.\r\nb\r\n.\r\n"), true, IN("a\n.\r\nb\r\n"), 11 },
	{ "CRLF . LF ends nothing", IN("a\r\n.\nb\r\n.\r\n"), true, IN("a\r\n\nb\r\n"), 11 },
	{ "CR . CR ends nothing", IN("a\r.\rb\r\n.\r\n"), true, IN("a\r.\rb\r\n"), 10 },
	{ "CR . CRLF ends nothing", IN("a\r.\r\nb\r\n.\r\n"), true, IN("a\r.\r\nb\r\n"), 11 },
	{ "no end yet", IN("a\r\n."), false, NULL, 0, 0 },
};

static void row_ends_there_at_every_split(void **state)
{
	const struct row *r = *state;

	for (size_t split = 0; split <= r->n; split++) {
		struct got g = decode(r->in, r->n, split);

		assert_int_equal(g.done, r->done);
		if (r->done) {
			assert_int_equal(g.used, r->used);
			assert_int_equal(g.out.len, r->want_n);
			assert_memory_equal(buf_str(&g.out), r->want, r->want_n);
		}
		buf_free(&g.out);
	}
}

static void what_is_malformed_is_seen(void **state)
{
	struct got g = decode(IN("a\rb\nc\0d\374\r\n.\r\n"), 3);

	assert_true(g.in.bare_cr && g.in.bare_lf && g.in.nul && g.in.eight_bit);
	buf_free(&g.out);
	g = decode(IN("plain\r\n.\r\n"), 2);
	assert_false(g.in.bare_cr || g.in.bare_lf || g.in.nul || g.in.eight_bit);
	assert_int_equal(g.in.longest, 5);
	buf_free(&g.out);
}

static void over_the_limit_the_end_is_still_found(void **state)
{
	struct smtp_data_in in = { 0 };
	struct buf out = BUF_INIT;
	bool over = false, done = false;

	assert_int_equal(smtp_data_decode(&in, IN("0123456789\r\n.\r\nX"), &out, 4, &over, &done), 15);
	assert_true(over && done);
	assert_int_equal(out.len, 4);
	buf_free(&out);
}

static void what_is_stuffed_is_unstuffed_to_the_same(void **state)
{
	static const char in[] = ".a\r\n..\r\n.\r\nb.\r\n\r\n.";
	struct buf wire = BUF_INIT;
	bool bol = true;

	assert_true(smtp_data_needs_stuffing(in, sizeof(in) - 1));
	assert_false(smtp_data_needs_stuffing("a.b\r\nc\r\n", 8));
	smtp_data_stuff(&wire, in, 5, &bol);
	smtp_data_stuff(&wire, in + 5, sizeof(in) - 1 - 5, &bol);
	buf_adds(&wire, "\r\n.\r\n");
	for (size_t split = 0; split <= wire.len; split++) {
		struct got g = decode(wire.data, wire.len, split);

		assert_true(g.done);
		assert_int_equal(g.used, wire.len);
		assert_int_equal(g.out.len, sizeof(in) - 1 + 2);
		assert_memory_equal(g.out.data, in, sizeof(in) - 1);
		buf_free(&g.out);
	}
	buf_free(&wire);
}

int main(void)
{
	struct CMUnitTest tests[ARRAY_LEN(rows) + 3] = {
		cmocka_unit_test(what_is_malformed_is_seen),
		cmocka_unit_test(over_the_limit_the_end_is_still_found),
		cmocka_unit_test(what_is_stuffed_is_unstuffed_to_the_same),
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		tests[3 + i] = (struct CMUnitTest){ .name = rows[i].name,
			.test_func = row_ends_there_at_every_split, .initial_state = &rows[i] };
	return cmocka_run_group_tests_name("smtp_data", tests, NULL, NULL);
}
