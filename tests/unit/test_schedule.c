/* tests/unit/test_schedule.c - when a part is tried again */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include "delivery/schedule.h"
#include "lib/err.h"

#define MIN 60000u
#define HOUR (60 * MIN)
#define DAY (24ull * HOUR)

static const struct schedule plain = { 5 * MIN, 2, 8 * HOUR, 0, 5 * DAY };

static struct row {
	const char *name;
	uint32_t attempts;
	uint64_t want_ms;
} rows[] = {
	{ "five minutes after the first attempt", 1, 5 * MIN },
	{ "twice as long after the second", 2, 10 * MIN },
	{ "and again", 3, 20 * MIN },
	{ "two hours and forty minutes after the sixth", 6, 160 * MIN },
	{ "the longest wait is the limit", 7, 320 * MIN },
	{ "eight hours at most", 8, 8 * HOUR },
	{ "eight hours at most, after any number", 4000000000u, 8 * HOUR },
};

static void row_gives_wait(void **state)
{
	const struct row *r = *state;

	assert_int_equal(schedule_next(&plain, r->attempts, 1000, 2000, 77), 2000 + r->want_ms);
}

static void jitter_stays_within_its_percent_and_reaches_both_ends(void **state)
{
	struct schedule s = plain;
	uint64_t low = UINT64_MAX, high = 0, span = 30000;

	s.jitter = 10;
	for (uint32_t random = 0; random < 200000; random += 7) {
		uint64_t at = schedule_next(&s, 1, 0, 0, random);

		low = at < low ? at : low;
		high = at > high ? at : high;
	}
	assert_in_range(low, 5 * MIN - span, 5 * MIN - span + 100);
	assert_in_range(high, 5 * MIN + span - 100, 5 * MIN + span);
}

static void last_attempt_is_at_the_end_of_life(void **state)
{
	uint64_t taken = 1000, end = taken + 5 * DAY;

	assert_int_equal(schedule_next(&plain, 20, taken, end - HOUR, 0), end);
}

static void after_the_end_of_life_it_is_never_in_the_past(void **state)
{
	assert_true(schedule_next(&plain, 1, 0, 9 * DAY, 0) > 9 * DAY);
}

static void a_part_expires_at_its_age_and_not_before(void **state)
{
	assert_false(schedule_expired(&plain, 1000, 1000 + 5 * DAY - 1));
	assert_true(schedule_expired(&plain, 1000, 1000 + 5 * DAY));
}

static void a_clock_that_went_back_expires_nothing(void **state)
{
	assert_false(schedule_expired(&plain, 9 * DAY, 1000));
}

int main(void)
{
	struct CMUnitTest tests[ARRAY_LEN(rows) + 5];
	size_t n = ARRAY_LEN(rows);

	for (size_t i = 0; i < n; i++)
		tests[i] = (struct CMUnitTest){ .name = rows[i].name, .test_func = row_gives_wait,
		                                .initial_state = &rows[i] };
	tests[n++] = (struct CMUnitTest)cmocka_unit_test(
		jitter_stays_within_its_percent_and_reaches_both_ends);
	tests[n++] = (struct CMUnitTest)cmocka_unit_test(last_attempt_is_at_the_end_of_life);
	tests[n++] = (struct CMUnitTest)cmocka_unit_test(
		after_the_end_of_life_it_is_never_in_the_past);
	tests[n++] = (struct CMUnitTest)cmocka_unit_test(a_part_expires_at_its_age_and_not_before);
	tests[n++] = (struct CMUnitTest)cmocka_unit_test(a_clock_that_went_back_expires_nothing);
	return cmocka_run_group_tests_name("schedule", tests, NULL, NULL);
}
