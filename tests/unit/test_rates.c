/* tests/unit/test_rates.c - sliding windows, their edges, and that memory stays bounded */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include "lib/err.h"
#include "lib/rates.h"

enum { WINDOW = 1000, START = 5000 };

/* n events at START + first, m at START + second; then the estimate at START + then. */
static struct row {
	const char *name;
	unsigned n, first, m, second, then, want;
} rows[] = {
	{ "one event counts", 1, 0, 0, 0, 0, 1 },
	{ "events of one window add up", 3, 0, 4, 999, 999, 7 },
	{ "at the edge the whole window before counts", 10, 0, 0, 0, 1000, 10 },
	{ "a tenth in, nine tenths of it", 10, 0, 0, 0, 1100, 9 },
	{ "half in, half of it", 10, 0, 0, 0, 1500, 5 },
	{ "what is left is rounded up", 10, 0, 0, 0, 1501, 5 },
	{ "one event is one till the end", 1, 0, 0, 0, 1999, 1 },
	{ "after two windows it is gone", 10, 0, 0, 0, 2000, 0 },
	{ "and long after", 10, 0, 0, 0, 4000000, 0 },
	{ "new events come on top of the share of the old ones", 10, 0, 2, 1500, 1500, 7 },
	{ "as the old ones fade the new ones stay", 10, 0, 2, 1500, 1900, 3 },
	{ "then the new ones are the window before", 10, 0, 2, 1500, 2000, 2 },
	{ "after a pause of two windows a new one begins", 10, 0, 3, 2700, 3699, 3 },
	{ "whose edge is where it began", 10, 0, 4, 2700, 4200, 2 },
};

static void row_estimates(void **state)
{
	const struct row *r = *state;
	struct rates *rates = rates_new(4, WINDOW);
	unsigned got = 0;

	for (unsigned i = 0; i < r->n; i++)
		got = rates_add(rates, "k", 1, START + r->first);
	assert_int_equal(got, r->n);
	for (unsigned i = 0; i < r->m; i++)
		got = rates_add(rates, "k", 1, START + r->second);
	assert_int_equal(rates_of(rates, "k", 1, START + (r->m ? r->second : r->first)), got);
	assert_int_equal(rates_of(rates, "k", 1, START + r->then), r->want);
	assert_int_equal(rates_of(rates, "other", 5, START + r->then), 0);
	rates_free(&rates);
	assert_null(rates);
}

/* What rates_clear_ms() says is the first millisecond at which the estimate is below. */
static void clear_time_is_exact(void **state)
{
	(void)state;
	for (unsigned step = 1; step < 700; step += 37) {
		struct rates *r = rates_new(4, WINDOW);

		for (uint64_t t = START; t < START + 1800; t += step)
			rates_add(r, "k", 1, t);
		for (unsigned limit = 1; limit < 1200; limit += 1 + limit / 3) {
			uint64_t wait = rates_clear_ms(r, "k", 1, limit, START + 1800);
			uint64_t then = START + 1800 + wait;

			assert_true(wait <= 2 * WINDOW);
			assert_true(rates_of(r, "k", 1, then) < limit);
			if (wait > 0)
				assert_true(rates_of(r, "k", 1, then - 1) >= limit);
		}
		rates_free(&r);
	}
}

static void clear_time_of_nothing(void **state)
{
	struct rates *r = rates_new(4, WINDOW);

	(void)state;
	assert_int_equal(rates_clear_ms(r, "k", 1, 1, START), 0);
	assert_true(rates_clear_ms(r, "k", 1, 0, START) == UINT64_MAX);
	rates_add(r, "k", 1, START);
	assert_int_equal(rates_clear_ms(r, "k", 1, 2, START), 0);
	assert_int_equal(rates_clear_ms(r, "k", 1, 1, START), 2 * WINDOW);
	assert_int_equal(rates_clear_ms(r, "k", 1, 1, START + 2 * WINDOW), 0);
	rates_free(&r);
}

static void the_least_recently_added_to_makes_room(void **state)
{
	struct rates *r = rates_new(3, WINDOW);

	(void)state;
	rates_add(r, "a", 1, START);
	rates_add(r, "b", 1, START);
	rates_add(r, "c", 1, START);
	rates_add(r, "a", 1, START + 1);
	assert_int_equal(rates_of(r, "b", 1, START + 1), 1); /* looking does not keep it */
	rates_add(r, "d", 1, START + 2);
	assert_int_equal(rates_keys(r), 3);
	assert_int_equal(rates_of(r, "a", 1, START + 2), 2);
	assert_int_equal(rates_of(r, "b", 1, START + 2), 0);
	assert_int_equal(rates_of(r, "c", 1, START + 2), 1);
	assert_int_equal(rates_of(r, "d", 1, START + 2), 1);
	rates_free(&r);
}

static void what_is_over_is_let_go(void **state)
{
	struct rates *r = rates_new(1000, WINDOW);

	(void)state;
	for (unsigned i = 0; i < 100; i++)
		rates_add(r, &i, sizeof(i), START);
	assert_int_equal(rates_keys(r), 100);
	for (unsigned i = 0; i < 50; i++)
		rates_add(r, "k", 1, START + 2 * WINDOW - 1);
	assert_int_equal(rates_keys(r), 101);
	for (unsigned i = 0; i < 50; i++)
		rates_add(r, "k", 1, START + 2 * WINDOW);
	assert_int_equal(rates_keys(r), 1);
	rates_free(&r);
}

static void a_forgotten_key_is_new(void **state)
{
	struct rates *r = rates_new(2, WINDOW);

	(void)state;
	rates_forget(r, "k", 1);
	rates_add(r, "k", 1, START);
	rates_add(r, "k", 1, START);
	rates_add(r, "l", 1, START);
	rates_forget(r, "k", 1);
	assert_int_equal(rates_of(r, "k", 1, START), 0);
	assert_int_equal(rates_of(r, "l", 1, START), 1);
	assert_int_equal(rates_keys(r), 1);
	assert_int_equal(rates_add(r, "k", 1, START), 1);
	rates_free(&r);
}

static void a_clock_that_goes_back_does_no_harm(void **state)
{
	struct rates *r = rates_new(2, WINDOW);

	(void)state;
	rates_add(r, "k", 1, START);
	assert_int_equal(rates_add(r, "k", 1, START - 3000), 2);
	assert_int_equal(rates_of(r, "k", 1, 0), 2);
	assert_int_equal(rates_clear_ms(r, "k", 1, 3, 0), 0);
	rates_free(&r);
}

static void long_keys_count_by_their_start(void **state)
{
	struct rates *r = rates_new(2, WINDOW);
	char key[RATES_KEY_MAX + 10] = { 0 };

	(void)state;
	rates_add(r, key, sizeof(key), START);
	key[RATES_KEY_MAX] = 'x';
	assert_int_equal(rates_of(r, key, sizeof(key), START), 1);
	key[RATES_KEY_MAX - 1] = 'x';
	assert_int_equal(rates_of(r, key, sizeof(key), START), 0);
	assert_int_equal(rates_of(r, key, RATES_KEY_MAX - 1, START), 0);
	assert_int_equal(rates_add(r, "", 0, START), 1);
	rates_forget(r, key, 0);
	assert_int_equal(rates_keys(r), 1);
	rates_free(&r);
}

static void the_longest_window_and_the_highest_time(void **state)
{
	struct rates *r = rates_new(2, RATES_WINDOW_MAX_MS);
	uint64_t t = UINT64_MAX - 1;

	(void)state;
	for (int i = 0; i < 1000; i++)
		rates_add(r, "k", 1, t - RATES_WINDOW_MAX_MS - 1);
	assert_int_equal(rates_add(r, "k", 1, t), 1001);
	assert_int_equal(rates_of(r, "k", 1, t), 1001);
	assert_true(rates_clear_ms(r, "k", 1, 501, t) > RATES_WINDOW_MAX_MS / 2 - 10);
	rates_free(&r);
}

static uint64_t next(uint64_t *x)
{
	*x ^= *x << 13;
	*x ^= *x >> 7;
	*x ^= *x << 17;
	return *x;
}

static void a_million_keys_stay_within_the_bound(void **state)
{
	enum { MAX = 1000 };
	struct rates *r = rates_new(MAX, 60000);
	uint64_t x = 88172645463325252, seen = 0;

	(void)state;
	for (uint64_t i = 0; i < 1000000; i++) {
		uint64_t key = next(&x);

		assert_true(rates_add(r, &key, sizeof(key), i / 100) >= 1);
		seen = rates_keys(r) > seen ? rates_keys(r) : seen;
	}
	assert_int_equal(seen, MAX);
	assert_int_equal(rates_keys(r), MAX);
	rates_free(&r);
}

int main(void)
{
	struct CMUnitTest tests[ARRAY_LEN(rows)];
	const struct CMUnitTest more[] = {
		cmocka_unit_test(clear_time_is_exact),
		cmocka_unit_test(clear_time_of_nothing),
		cmocka_unit_test(the_least_recently_added_to_makes_room),
		cmocka_unit_test(what_is_over_is_let_go),
		cmocka_unit_test(a_forgotten_key_is_new),
		cmocka_unit_test(a_clock_that_goes_back_does_no_harm),
		cmocka_unit_test(long_keys_count_by_their_start),
		cmocka_unit_test(the_longest_window_and_the_highest_time),
		cmocka_unit_test(a_million_keys_stay_within_the_bound),
	};
	int failed;

	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		tests[i] = (struct CMUnitTest){
			.name = rows[i].name,
			.test_func = row_estimates,
			.initial_state = &rows[i],
		};
	failed = cmocka_run_group_tests_name("rates_of", tests, NULL, NULL);
	return cmocka_run_group_tests_name("rates", more, NULL, NULL) + failed;
}
