/* tests/unit/test_idmap.c - ids against a plain array of what should be there
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>
#include "lib/clock.h"
#include "lib/idmap.h"
#include "lib/mem.h"

static int objects[8];

static void an_id_finds_its_object_until_removed(void **state)
{
	struct idmap *m = idmap_new();
	uint64_t a = idmap_add(m, &objects[0]), b = idmap_add(m, &objects[1]);

	assert_true(a != 0 && b != 0 && a != b);
	assert_ptr_equal(idmap_get(m, a), &objects[0]);
	assert_ptr_equal(idmap_remove(m, a), &objects[0]);
	assert_null(idmap_get(m, a));
	assert_null(idmap_remove(m, a));
	assert_ptr_equal(idmap_get(m, b), &objects[1]);
	assert_int_equal(idmap_count(m), 1);
	assert_ptr_equal(idmap_remove(m, b), &objects[1]);
	idmap_free(&m);
	assert_null(m);
	idmap_free(&m);
}

static void ids_that_never_were_are_missing(void **state)
{
	struct idmap *m = idmap_new();
	static const uint64_t ids[] = { 0, 1, 77, UINT64_MAX };

	for (size_t i = 0; i < sizeof(ids) / sizeof(ids[0]); i++) {
		assert_null(idmap_get(m, ids[i]));
		assert_null(idmap_remove(m, ids[i]));
	}
	idmap_free(&m);
}

static void an_id_is_not_used_again(void **state)
{
	struct idmap *m = idmap_new();
	uint64_t last = 0;

	for (int i = 0; i < 1000; i++) {
		uint64_t id = idmap_add(m, &objects[0]);

		assert_true(id > last);
		assert_non_null(idmap_remove(m, id));
		last = id;
	}
	idmap_free(&m);
}

static unsigned next_random(unsigned *seed)
{
	*seed = *seed * 1103515245 + 12345;
	return *seed >> 8;
}

enum { SLOTS = 5000, STEPS = 300000 };

/* Grows to thousands and shrinks again several times; all are checked at the turns. */
static void random_steps_match_the_model(void **state)
{
	struct idmap *m = idmap_new();
	uint64_t *id = xcalloc(SLOTS, sizeof(*id));
	unsigned seed = 3, size = SLOTS;
	size_t count = 0;

	for (int step = 0; step < STEPS; step++) {
		unsigned i = next_random(&seed) % size;

		if (id[i] == 0) {
			id[i] = idmap_add(m, &id[i]);
			count++;
		} else {
			assert_ptr_equal(idmap_remove(m, id[i]), &id[i]);
			id[i] = 0;
			count--;
		}
		assert_int_equal(idmap_count(m), count);
		if (step % 10000 != 0)
			continue;
		for (unsigned k = 0; k < SLOTS; k++)
			assert_true(id[k] == 0 || idmap_get(m, id[k]) == &id[k]);
	}
	for (unsigned k = 0; k < SLOTS; k++)
		if (id[k] != 0)
			assert_ptr_equal(idmap_remove(m, id[k]), &id[k]);
	idmap_free(&m);
	xfree(id);
}

/* Long-lived ids among millions that come and go: no tombstones, no long probes. */
static void old_and_new_ids_together_stay_fast(void **state)
{
	struct idmap *m = idmap_new();
	uint64_t old[100], began = clock_mono_ms();

	for (int i = 0; i < 100; i++)
		old[i] = idmap_add(m, &objects[i % 8]);
	for (int i = 0; i < 2000000; i++)
		assert_ptr_equal(idmap_remove(m, idmap_add(m, &objects[1])), &objects[1]);
	for (int i = 0; i < 100; i++)
		assert_ptr_equal(idmap_remove(m, old[i]), &objects[i % 8]);
	assert_true(clock_mono_ms() - began < 20000);
	idmap_free(&m);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_id_finds_its_object_until_removed),
		cmocka_unit_test(ids_that_never_were_are_missing),
		cmocka_unit_test(an_id_is_not_used_again),
		cmocka_unit_test(random_steps_match_the_model),
		cmocka_unit_test(old_and_new_ids_together_stay_fast),
	};

	return cmocka_run_group_tests_name("idmap", tests, NULL, NULL);
}
