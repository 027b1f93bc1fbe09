/* tests/unit/test_shard.c - who owns a key, and that few keys move */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>
#include "lib/err.h"
#include "proto/shard.h"

#define KEYS 100000

static const char *const names[] = { "policy-1", "policy-2", "policy-3", "policy-4" };

static unsigned pick(unsigned n, unsigned i)
{
	char key[32];
	int len = snprintf(key, sizeof(key), "account-%u", i);

	return shard_pick(names, n, key, (size_t)len);
}

static void one_instance_owns_all(void **state)
{
	assert_int_equal(shard_pick(names, 1, "x", 1), 0);
	assert_int_equal(shard_pick(names, 1, NULL, 0), 0);
}

static void keys_spread_evenly(void **state)
{
	unsigned count[4] = { 0 };

	for (unsigned i = 0; i < KEYS; i++)
		count[pick(4, i)]++;
	for (unsigned i = 0; i < 4; i++) {
		assert_true(count[i] > KEYS / 4 * 97 / 100);
		assert_true(count[i] < KEYS / 4 * 103 / 100);
	}
}

static void a_new_instance_only_gains_keys(void **state)
{
	unsigned moved = 0;

	for (unsigned i = 0; i < KEYS; i++) {
		unsigned before = pick(3, i), after = pick(4, i);

		if (before == after)
			continue;
		assert_int_equal(after, 3);
		moved++;
	}
	assert_true(moved > KEYS / 4 * 97 / 100 && moved < KEYS / 4 * 103 / 100);
}

static void the_order_of_names_does_not_matter(void **state)
{
	static const char *const other[] = { "policy-4", "policy-2", "policy-1", "policy-3" };

	for (unsigned i = 0; i < 1000; i++) {
		char key[32];
		int len = snprintf(key, sizeof(key), "account-%u", i);

		assert_string_equal(names[pick(4, i)],
		                    other[shard_pick(other, 4, key, (size_t)len)]);
	}
}

/* A change of these moves accounts between stores that hold their lists. */
static void golden_owners(void **state)
{
	static const struct { const char *key; unsigned owner; } rows[] = {
		{ "acme", 3 }, { "example.org", 3 }, { "", 2 }, { "joe@example.net", 1 },
		{ "a", 0 }, { "b", 1 }, { "c", 3 }, { "d", 2 },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		assert_int_equal(shard_pick(names, 4, rows[i].key, strlen(rows[i].key)), rows[i].owner);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_instance_owns_all),
		cmocka_unit_test(keys_spread_evenly),
		cmocka_unit_test(a_new_instance_only_gains_keys),
		cmocka_unit_test(the_order_of_names_does_not_matter),
		cmocka_unit_test(golden_owners),
	};

	return cmocka_run_group_tests_name("shard", tests, NULL, NULL);
}
