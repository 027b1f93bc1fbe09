/* tests/unit/test_counts.c - open things by key, and the hash under it */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include "lib/counts.h"
#include "lib/err.h"
#include "lib/keyhash.h"

static void up_and_down_count_by_key(void **state)
{
	struct counts *c = counts_new();

	(void)state;
	assert_int_equal(counts_of(c, "a", 1), 0);
	assert_int_equal(counts_up(c, "a", 1), 1);
	assert_int_equal(counts_up(c, "a", 1), 2);
	assert_int_equal(counts_up(c, "b", 1), 1);
	assert_int_equal(counts_of(c, "a", 1), 2);
	assert_int_equal(counts_down(c, "a", 1), 1);
	assert_int_equal(counts_of(c, "a", 1), 1);
	assert_int_equal(counts_of(c, "b", 1), 1);
	assert_int_equal(counts_keys(c), 2);
	assert_int_equal(counts_down(c, "a", 1), 0);
	assert_int_equal(counts_of(c, "a", 1), 0);
	assert_int_equal(counts_keys(c), 1);
	assert_int_equal(counts_up(c, "a", 1), 1);
	counts_free(&c);
	assert_null(c);
	counts_free(&c);
}

static void keys_are_bytes_with_a_length(void **state)
{
	struct counts *c = counts_new();
	static const char long_key[5000] = "x";

	(void)state;
	assert_int_equal(counts_up(c, "a\0b", 3), 1);
	assert_int_equal(counts_of(c, "a\0c", 3), 0);
	assert_int_equal(counts_of(c, "a", 1), 0);
	assert_int_equal(counts_up(c, "", 0), 1);
	assert_int_equal(counts_up(c, "", 0), 2);
	assert_int_equal(counts_up(c, long_key, sizeof(long_key)), 1);
	assert_int_equal(counts_of(c, long_key, sizeof(long_key) - 1), 0);
	assert_int_equal(counts_down(c, "", 0), 1);
	assert_int_equal(counts_down(c, "", 0), 0);
	counts_free(&c);
}

static void the_key_is_copied(void **state)
{
	struct counts *c = counts_new();
	char key[] = "key";

	(void)state;
	counts_up(c, key, 3);
	key[0] = 'K';
	assert_int_equal(counts_of(c, "key", 3), 1);
	assert_int_equal(counts_of(c, "Key", 3), 0);
	counts_free(&c);
}

static void many_keys_come_and_go(void **state)
{
	enum { N = 20000 };
	struct counts *c = counts_new();

	(void)state;
	for (uint32_t i = 0; i < N; i++)
		for (uint32_t n = 0; n <= i % 3; n++)
			assert_int_equal(counts_up(c, &i, sizeof(i)), n + 1);
	assert_int_equal(counts_keys(c), N);
	for (uint32_t i = 0; i < N; i++) {
		assert_int_equal(counts_of(c, &i, sizeof(i)), i % 3 + 1);
		while (counts_down(c, &i, sizeof(i)) > 0)
			continue;
	}
	assert_int_equal(counts_keys(c), 0);
	counts_free(&c);
}

/* 2^16 keys that count up, in 2^10 buckets of the low bits: a hash that is as good as chance
 * puts 64 +- 8 into each; 64 +- 64 is eight deviations. */
static void the_hash_spreads_keys_that_are_alike(void **state)
{
	static unsigned bucket[1024];
	unsigned again;

	(void)state;
	for (uint32_t i = 0; i < 65536; i++)
		bucket[keyhash(&i, sizeof(i)) % ARRAY_LEN(bucket)]++;
	for (size_t i = 0; i < ARRAY_LEN(bucket); i++)
		assert_in_range(bucket[i], 1, 128);
	again = keyhash("holdfast", 8);
	assert_int_equal(keyhash("holdfast", 8), again);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(up_and_down_count_by_key),
		cmocka_unit_test(keys_are_bytes_with_a_length),
		cmocka_unit_test(the_key_is_copied),
		cmocka_unit_test(many_keys_come_and_go),
		cmocka_unit_test(the_hash_spreads_keys_that_are_alike),
	};

	return cmocka_run_group_tests_name("counts", tests, NULL, NULL);
}
