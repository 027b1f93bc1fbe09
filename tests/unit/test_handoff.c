/* tests/unit/test_handoff.c - a message into parts, and the subject of held mail */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>
#include "ingest/handoff.h"
#include "lib/err.h"
#include "lib/mem.h"

#define R(i, d, a) { .index = i, .dest = d, .address = a }

static const struct split_row {
	const char *name;
	const char *dests;   /* dest of recipient 0, 1, 2 ... */
	size_t max;
	const char *want;    /* part@dest:indexes ... */
} split_rows[] = {
	{ "one recipient, one part", "0", 65536, "0@0:0 " },
	{ "one destination, one part", "000", 65536, "0@0:0,1,2 " },
	{ "a part is named by its lowest index", "100", 65536, "1@0:1,2 0@1:0 " },
	{ "destinations in turns", "01212", 65536, "0@0:0 1@1:1,3 2@2:2,4 " },
	{ "a destination too large for an envelope gets several", "0000",
	  HANDOFF_FIXED_BYTES + 2 * (5 + 24), "0@0:0,1 2@0:2,3 " },
	{ "the limit counts for each destination", "0101",
	  HANDOFF_FIXED_BYTES + 2 * (5 + 24), "0@0:0,2 1@1:1,3 " },
	{ "no limit is so small that nothing fits", "00", 1, "0@0:0 1@0:1 " },
};

static void row_splits(void **state)
{
	const struct split_row *r = *state;
	size_t n = strlen(r->dests), at = 0, n_parts;
	struct handoff_rcpt rcpt[16];
	struct handoff_part parts[16];
	char got[256] = "";

	for (size_t i = 0; i < n; i++)
		rcpt[i] = (struct handoff_rcpt){
			.index = (uint32_t)i, .dest = (unsigned)(r->dests[i] - '0'),
			.address = "a@b.c",
		};
	n_parts = handoff_split(rcpt, n, r->max, parts);
	for (size_t i = 0; i < n_parts; i++) {
		at += (size_t)snprintf(got + at, sizeof(got) - at, "%u@%u:", parts[i].part,
		                       parts[i].dest);
		for (size_t j = 0; j < parts[i].n; j++)
			at += (size_t)snprintf(got + at, sizeof(got) - at, "%u%s",
			                       rcpt[parts[i].first + j].index,
			                       j + 1 < parts[i].n ? "," : " ");
	}
	assert_string_equal(got, r->want);
}

static void a_repeat_has_the_same_parts_whatever_the_order(void **state)
{
	struct handoff_rcpt a[] = { R(0, 1, "a"), R(1, 0, "b"), R(2, 1, "c") };
	struct handoff_rcpt b[] = { R(2, 1, "c"), R(0, 1, "a"), R(1, 0, "b") };
	struct handoff_part pa[3], pb[3];

	assert_int_equal(handoff_split(a, 3, 65536, pa), 2);
	assert_int_equal(handoff_split(b, 3, 65536, pb), 2);
	assert_memory_equal(a, b, sizeof(a));
	for (int i = 0; i < 2; i++)
		assert_int_equal(pa[i].part, pb[i].part);
}

static void a_part_has_a_limit_whatever_a_frame_takes(void **state)
{
	size_t n = HANDOFF_PART_MAX + 1;
	struct handoff_rcpt *r = xcalloc(n, sizeof(*r));
	struct handoff_part *p = xcalloc(n, sizeof(*p));

	for (size_t i = 0; i < n; i++)
		r[i] = (struct handoff_rcpt){ .index = (uint32_t)i, .address = "a@b.c" };
	assert_int_equal(handoff_split(r, n, SIZE_MAX / 2, p), 2);
	assert_int_equal(p[0].n, HANDOFF_PART_MAX);
	assert_int_equal(p[1].part, HANDOFF_PART_MAX);
	xfree(r);
	xfree(p);
}

static void recipients_of_a_part_are_its_own(void **state)
{
	struct handoff_rcpt r[] = { R(0, 1, "zero@x"), R(1, 0, "one@x"), R(2, 1, "two@x") };
	struct handoff_part p[3];
	Holdfast__Recipient rs[3], *ptrs[3];

	handoff_split(r, 3, 65536, p);
	handoff_recipients(r, 3, rs, ptrs);
	assert_int_equal(ptrs[p[1].first]->index, 0);
	assert_memory_equal(ptrs[p[1].first]->address.data, "zero@x", 6);
	assert_int_equal(ptrs[p[1].first + 1]->index, 2);
	assert_int_equal(ptrs[p[1].first + 1]->address.len, 5);
}

static const struct subject_row {
	const char *name, *message, *want;
} subject_rows[] = {
	{ "among other fields", "From: a\r\nSubject: hello\r\nTo: b\r\n\r\nbody", "hello" },
	{ "in any case, without blank", "SUBJECT:x\r\n\r\n", "x" },
	{ "folded lines belong to it", "Subject: a\r\n b\r\n\tc\r\nTo: d\r\n\r\n",
	  "a\r\n b\r\n\tc" },
	{ "the first one counts", "Subject: 1\r\nSubject: 2\r\n\r\n", "1" },
	{ "not in the body", "To: a\r\n\r\nSubject: no\r\n", "" },
	{ "not inside another field", "X: y\r\n Subject: no\r\n\r\n", "" },
	{ "not a longer name", "Subject-X: no\r\n\r\n", "" },
	{ "no header section at all", "\r\nSubject: no\r\n", "" },
	{ "an empty message", "", "" },
	{ "cut off after the name", "Subject:", "" },
	{ "cut off in the value", "Subject: ab", "ab" },
};

static void row_finds_subject(void **state)
{
	const struct subject_row *r = *state;
	ProtobufCBinaryData s = handoff_subject(r->message, strlen(r->message));

	assert_int_equal(s.len, strlen(r->want));
	if (s.len > 0)
		assert_memory_equal(s.data, r->want, s.len);
}

static void a_long_subject_is_cut(void **state)
{
	char msg[1000] = "Subject: ";

	memset(msg + 9, 'x', sizeof(msg) - 9);
	assert_int_equal(handoff_subject(msg, sizeof(msg)).len, HANDOFF_SUBJECT_MAX);
}

int main(void)
{
	struct CMUnitTest tests[ARRAY_LEN(split_rows) + ARRAY_LEN(subject_rows) + 4];
	size_t n = 0;

	for (size_t i = 0; i < ARRAY_LEN(split_rows); i++)
		tests[n++] = (struct CMUnitTest){ split_rows[i].name, row_splits, NULL, NULL,
		                                  (void *)&split_rows[i] };
	for (size_t i = 0; i < ARRAY_LEN(subject_rows); i++)
		tests[n++] = (struct CMUnitTest){ subject_rows[i].name, row_finds_subject, NULL,
		                                  NULL, (void *)&subject_rows[i] };
	tests[n++] = (struct CMUnitTest)
		cmocka_unit_test(a_repeat_has_the_same_parts_whatever_the_order);
	tests[n++] = (struct CMUnitTest)cmocka_unit_test(recipients_of_a_part_are_its_own);
	tests[n++] = (struct CMUnitTest)cmocka_unit_test(a_long_subject_is_cut);
	tests[n++] = (struct CMUnitTest)
		cmocka_unit_test(a_part_has_a_limit_whatever_a_frame_takes);
	return cmocka_run_group_tests_name("handoff", tests, NULL, NULL);
}
