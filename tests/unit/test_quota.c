/* tests/unit/test_quota.c - windows, room, resets, late news */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include "policy/quota.h"

#define HOUR 3600000ull
#define DAY  (24 * HOUR)
#define NOW  1795512000000ull       /* 2026-11-24 09:20:00 UTC */
#define HOUR_END 1795514400000ull   /* 10:00 */
#define DAY_END  1795564800000ull   /* 2026-11-25 */
#define MONTH_END 1796083200000ull  /* 2026-12-01 */

static uint64_t room(const uint64_t quota[N_WINDOWS], const struct used *used, uint64_t reserved,
                     uint64_t now, uint64_t *reset)
{
	*reset = 0;
	return quota_room(quota, used, reserved, now, reset);
}

static void windows_end_where_the_calendar_says(void **state)
{
	assert_int_equal(quota_reset(WINDOW_HOUR, NOW), HOUR_END);
	assert_int_equal(quota_reset(WINDOW_DAY, NOW), DAY_END);
	assert_int_equal(quota_reset(WINDOW_MONTH, NOW), MONTH_END);
	assert_true(quota_reset(WINDOW_TOTAL, NOW) == QUOTA_NEVER);
}

static void december_is_followed_by_january(void **state)
{
	uint64_t december = MONTH_END + 14 * DAY;

	assert_int_equal(quota_reset(WINDOW_MONTH, december), MONTH_END + 31 * DAY);
	assert_int_equal(quota_window(WINDOW_MONTH, MONTH_END + 31 * DAY),
	                 quota_window(WINDOW_MONTH, december) + 1);
}

static void the_last_millisecond_belongs_to_the_window(void **state)
{
	assert_int_equal(quota_window(WINDOW_HOUR, HOUR_END - 1), quota_window(WINDOW_HOUR, NOW));
	assert_int_equal(quota_window(WINDOW_HOUR, HOUR_END), quota_window(WINDOW_HOUR, NOW) + 1);
}

static void without_quota_there_is_room_for_all(void **state)
{
	uint64_t quota[N_WINDOWS] = { 0 }, reset;
	struct used used[N_WINDOWS] = { { 0, 0 } };

	quota_count(used, NOW, 1000000);
	assert_true(room(quota, used, 0, NOW, &reset) > 1000000);
}

static void the_narrowest_quota_decides(void **state)
{
	uint64_t quota[N_WINDOWS] = { 10, 100, 0, 12 }, reset;
	struct used used[N_WINDOWS] = { { 0, 0 } };

	assert_int_equal(room(quota, used, 0, NOW, &reset), 10);
	quota_count(used, NOW, 4);
	assert_int_equal(room(quota, used, 0, NOW, &reset), 6);
	assert_int_equal(room(quota, used, 0, HOUR_END, &reset), 8); /* of the total, 12 */
}

static void open_shares_count_as_used(void **state)
{
	uint64_t quota[N_WINDOWS] = { 0, 0, 0, 5 }, reset;
	struct used used[N_WINDOWS] = { { 0, 0 } };

	quota_count(used, NOW, 2);
	assert_int_equal(room(quota, used, 2, NOW, &reset), 1);
	assert_int_equal(room(quota, used, 3, NOW, &reset), 0);
}

static void the_latest_reset_is_told_when_several_are_used_up(void **state)
{
	uint64_t quota[N_WINDOWS] = { 1, 1, 0, 0 }, reset;
	struct used used[N_WINDOWS] = { { 0, 0 } };

	quota_count(used, NOW, 1);
	assert_int_equal(room(quota, used, 0, NOW, &reset), 0);
	assert_int_equal(reset, DAY_END);
	quota[WINDOW_TOTAL] = 1;
	assert_int_equal(room(quota, used, 0, NOW, &reset), 0);
	assert_true(reset == QUOTA_NEVER);
}

static void a_new_window_begins_at_nothing(void **state)
{
	uint64_t quota[N_WINDOWS] = { 3, 0, 0, 0 }, reset;
	struct used used[N_WINDOWS] = { { 0, 0 } };

	quota_count(used, NOW, 3);
	assert_int_equal(room(quota, used, 0, NOW, &reset), 0);
	assert_int_equal(reset, HOUR_END);
	assert_int_equal(room(quota, used, 0, HOUR_END, &reset), 3);
}

static void late_news_of_a_past_window_counts_in_the_total_only(void **state)
{
	struct used used[N_WINDOWS] = { { 0, 0 } };

	quota_count(used, HOUR_END, 2);
	quota_count(used, NOW, 5); /* of the hour before */
	assert_int_equal(quota_used(&used[WINDOW_HOUR], WINDOW_HOUR, HOUR_END), 2);
	assert_int_equal(quota_used(&used[WINDOW_DAY], WINDOW_DAY, HOUR_END), 7);
	assert_int_equal(quota_used(&used[WINDOW_TOTAL], WINDOW_TOTAL, HOUR_END), 7);
}

static void a_clock_that_goes_back_opens_no_window_again(void **state)
{
	uint64_t quota[N_WINDOWS] = { 3, 0, 0, 0 }, reset;
	struct used used[N_WINDOWS] = { { 0, 0 } };

	quota_count(used, HOUR_END, 3);
	assert_int_equal(room(quota, used, 0, HOUR_END, &reset), 0);
	assert_int_equal(room(quota, used, 0, HOUR_END - 1, &reset), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(windows_end_where_the_calendar_says),
		cmocka_unit_test(december_is_followed_by_january),
		cmocka_unit_test(the_last_millisecond_belongs_to_the_window),
		cmocka_unit_test(without_quota_there_is_room_for_all),
		cmocka_unit_test(the_narrowest_quota_decides),
		cmocka_unit_test(open_shares_count_as_used),
		cmocka_unit_test(the_latest_reset_is_told_when_several_are_used_up),
		cmocka_unit_test(a_new_window_begins_at_nothing),
		cmocka_unit_test(late_news_of_a_past_window_counts_in_the_total_only),
		cmocka_unit_test(a_clock_that_goes_back_opens_no_window_again),
	};

	return cmocka_run_group_tests_name("quota", tests, NULL, NULL);
}
