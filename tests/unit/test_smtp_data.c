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

/* Every way to write "line end, dot, line end" in the middle of a message, each at every split:
 * only CR LF . CR LF may end it. */
static void no_mixture_of_line_ends_smuggles(void **state)
{
	static const struct { const char *p; size_t n; } ends[] = {
		{ IN("\r\n") }, { IN("\n") }, { IN("\r") }, { IN("\r\r\n") }, { IN("\n\r") },
		{ IN("\r\0\n") }, { IN("\0") }, { IN("\205") }, { IN("\n\n") }, { IN("") },
		{ IN("\r\n\r") }, { IN("\v") }, { IN("\f") }, { IN(" ") },
	};

	for (size_t i = 0; i < ARRAY_LEN(ends) * ARRAY_LEN(ends); i++) {
		size_t a = i / ARRAY_LEN(ends), b = i % ARRAY_LEN(ends);
		struct buf in = BUF_INIT;
		const char *end;

		buf_adds(&in, "one");
		buf_add(&in, ends[a].p, ends[a].n);
		buf_addc(&in, '.');
		buf_add(&in, ends[b].p, ends[b].n);
		buf_adds(&in, "two\r\n.\r\nMAIL");
		end = memmem(in.data, in.len, "\r\n.\r\n", 5);
		for (size_t split = 0; split <= in.len; split++) {
			struct got g = decode(in.data, in.len, split);

			assert_true(g.done);
			assert_int_equal(g.used, (size_t)(end - in.data) + 5);
			buf_free(&g.out);
		}
		buf_free(&in);
	}
}

/* What we send holds no end for a receiver that takes a CR or an LF for a line end. */
static void what_is_sent_hides_no_end_from_lax_receivers(void **state)
{
	static const struct { const char *in, *want; } sent[] = {
		{ "a\n.\r\nb", "a\n..\r\nb" }, { "a\r.\r\nb", "a\r..\r\nb" },
		{ "a\n.\nb", "a\n..\nb" },       { "a\r\n.\rb", "a\r\n..\rb" },
		{ "a.\n", "a.\n" },              { "a\r\n.", "a\r\n.." },
	};

	for (size_t i = 0; i < ARRAY_LEN(sent); i++) {
		size_t n = strlen(sent[i].in);

		for (size_t split = 0; split <= n; split++) {
			struct buf wire = BUF_INIT;
			bool bol = true;

			smtp_data_stuff(&wire, sent[i].in, split, &bol);
			smtp_data_stuff(&wire, sent[i].in + split, n - split, &bol);
			assert_string_equal(buf_str(&wire), sent[i].want);
			assert_int_equal(smtp_data_needs_stuffing(sent[i].in, n), wire.len != n);
			buf_free(&wire);
		}
	}
}

/* The scan looks at 16 bytes at a time: a dot is found wherever it stands. */
static void a_leading_dot_is_found_at_every_offset(void **state)
{
	char text[1200];

	for (size_t at = 1; at < sizeof(text); at++) {
		memset(text, 'x', sizeof(text));
		assert_false(smtp_data_needs_stuffing(text, sizeof(text)));
		text[at] = '.';
		assert_false(smtp_data_needs_stuffing(text, sizeof(text)));
		text[at - 1] = '\n';
		assert_true(smtp_data_needs_stuffing(text, sizeof(text)));
		assert_false(smtp_data_needs_stuffing(text, at));
	}
}

/* ---- chunks of BDAT */

static struct chunk_row {
	const char *name, *in;
	size_t n;
	bool cr, lf, nul, eight_bit;
	size_t longest;
} chunk_rows[] = {
	{ "chunks: nothing", IN(""), false, false, false, false, 0 },
	{ "chunks: whole lines", IN("ab\r\nc\r\n"), false, false, false, false, 2 },
	{ "chunks: no line end at the end", IN("a\r\nbcd"), false, false, false, false, 3 },
	{ "chunks: dots are text", IN(".\r\n..\r\n.\r\n"), false, false, false, false, 2 },
	{ "chunks: an end of DATA is text", IN("a\r\n.\r\nb\r\n"), false, false, false, false, 1 },
	{ "chunks: a bare CR", IN("a\rb\r\n"), true, false, false, false, 3 },
	{ "chunks: a bare CR at the end", IN("a\r\nbc\r"), true, false, false, false, 3 },
	{ "chunks: a CR before CRLF", IN("a\r\r\n"), true, false, false, false, 2 },
	{ "chunks: a bare LF", IN("a\nb\r\n"), false, true, false, false, 3 },
	{ "chunks: a bare LF at the start", IN("\na\r\n"), false, true, false, false, 2 },
	{ "chunks: LF CR", IN("a\n\rb"), true, true, false, false, 4 },
	{ "chunks: a NUL between CR and LF", IN("a\r\0\n"), true, true, true, false, 4 },
	{ "chunks: 8-bit", IN("a\374\r\n"), false, false, false, true, 2 },
	{ "chunks: the longest line is the last, without end", IN("a\r\nb\r\nlong"), false, false,
	  false, false, 4 },
};

/* In three chunks, at every two splits: the second may be empty. */
static void row_of_chunks_is_taken_whole(void **state)
{
	const struct chunk_row *r = *state;

	for (size_t i = 0; i < (r->n + 1) * (r->n + 1); i++) {
		size_t a = i / (r->n + 1), b = i % (r->n + 1);
		struct smtp_data_in in = { 0 };
		struct buf out = BUF_INIT;
		bool over = false;

		if (b < a)
			continue;
		smtp_data_chunk(&in, r->in, a, &out, 1 << 20, &over);
		smtp_data_chunk(&in, r->in + a, b - a, &out, 1 << 20, &over);
		smtp_data_chunk(&in, r->in + b, r->n - b, &out, 1 << 20, &over);
		smtp_data_chunks_end(&in);
		assert_false(over);
		assert_int_equal(out.len, r->n);
		assert_memory_equal(buf_str(&out), r->in, r->n);
		assert_int_equal(in.bare_cr, r->cr);
		assert_int_equal(in.bare_lf, r->lf);
		assert_int_equal(in.nul, r->nul);
		assert_int_equal(in.eight_bit, r->eight_bit);
		assert_int_equal(in.longest, r->longest);
		buf_free(&out);
	}
}

static void chunks_over_the_limit_are_looked_at_and_not_stored(void **state)
{
	struct smtp_data_in in = { 0 };
	struct buf out = BUF_INIT;
	bool over = false;

	smtp_data_chunk(&in, IN("0123"), &out, 6, &over);
	assert_false(over);
	smtp_data_chunk(&in, IN("45"), &out, 6, &over);
	assert_false(over);
	smtp_data_chunk(&in, IN("67\0"), &out, 6, &over);
	assert_true(over && in.nul);
	over = false;
	smtp_data_chunk(&in, IN("8"), &out, 6, &over);
	assert_true(over);
	assert_int_equal(out.len, 6);
	assert_memory_equal(out.data, "012345", 6);
	buf_free(&out);
}

int main(void)
{
	struct CMUnitTest tests[ARRAY_LEN(rows) + ARRAY_LEN(chunk_rows) + 7] = {
		cmocka_unit_test(what_is_malformed_is_seen),
		cmocka_unit_test(over_the_limit_the_end_is_still_found),
		cmocka_unit_test(what_is_stuffed_is_unstuffed_to_the_same),
		cmocka_unit_test(no_mixture_of_line_ends_smuggles),
		cmocka_unit_test(what_is_sent_hides_no_end_from_lax_receivers),
		cmocka_unit_test(a_leading_dot_is_found_at_every_offset),
		cmocka_unit_test(chunks_over_the_limit_are_looked_at_and_not_stored),
	};
	struct CMUnitTest *chunks = tests + 7 + ARRAY_LEN(rows);

	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		tests[7 + i] = (struct CMUnitTest){ .name = rows[i].name,
			.test_func = row_ends_there_at_every_split, .initial_state = &rows[i] };
	for (size_t i = 0; i < ARRAY_LEN(chunk_rows); i++)
		chunks[i] = (struct CMUnitTest){ .name = chunk_rows[i].name,
			.test_func = row_of_chunks_is_taken_whole,
			.initial_state = &chunk_rows[i] };
	return cmocka_run_group_tests_name("smtp_data", tests, NULL, NULL);
}
