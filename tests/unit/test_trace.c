/* tests/unit/test_trace.c - a trace has as many lines as a frame holds, and says when it is cut */
#include "tests/unit/fake_bus.h"
#include "proto/trace.h"

enum { LINES = 1000 };

static Holdfast__TraceLine lines[LINES], *row[LINES];

/* What is answered where n lines with a detail of len bytes are known. */
static Holdfast__TraceAnswer *answered(size_t n, size_t len)
{
	static char detail[2000];
	Holdfast__TraceAnswer a = HOLDFAST__TRACE_ANSWER__INIT;
	struct bus_from from = { .call = 1 };

	memset(detail, 'd', sizeof(detail));
	for (size_t i = 0; i < n; i++) {
		holdfast__trace_line__init(&lines[i]);
		lines[i].time_ms = i + 1;
		lines[i].what = pb_str("delivered");
		lines[i].detail = pb_bytes(detail, len);
		row[i] = &lines[i];
	}
	a.line = row;
	a.n_line = n;
	trace_answer(NULL, &from, &a);
	assert_int_equal(a.n_line, n);
	for (size_t i = 0; i < n; i++)
		assert_ptr_equal(row[i], &lines[i]);
	return fake.answer[0].frame->trace_answer;
}

static void what_fits_is_answered_whole(void **state)
{
	Holdfast__TraceAnswer *a = answered(100, 160);

	assert_int_equal(a->n_line, 100);
	assert_true(pb_is(a->line[99]->what, "delivered"));
	fake_close();
}

static void what_does_not_fit_is_cut_and_a_last_line_says_so(void **state)
{
	static const size_t len[] = { 60, 100, 250, 1500 };

	for (size_t i = 0; i < sizeof(len) / sizeof(len[0]); i++) {
		Holdfast__TraceAnswer *a = answered(LINES, len[i]);
		size_t n = a->n_line;

		assert_true(n > 30 && n < LINES);
		assert_true(pb_is(a->line[n - 1]->what, "cut"));
		assert_true(pb_is(a->line[n - 2]->what, "delivered"));
		fake_close(); /* the fake refuses a frame beyond the limit */
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_fits_is_answered_whole),
		cmocka_unit_test(what_does_not_fit_is_cut_and_a_last_line_says_so),
	};

	return cmocka_run_group_tests_name("trace", tests, NULL, NULL);
}
