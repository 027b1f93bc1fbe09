/* tests/unit/test_tls_tickets.c - which ticket key seals and which opens, and until when */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>
#include "lib/tls_tickets.h"

#define T0 1000ull

static const struct ticket_key *seal(struct tickets *t, uint64_t now)
{
	const struct ticket_key *k = NULL;

	assert_int_equal(tickets_seal(t, now, &k), ERR_OK);
	return k;
}

static void key_stays_while_it_is_fresh(void **state)
{
	struct tickets *t = tickets_new();
	struct ticket_key k = *seal(t, T0);
	bool renew = true;

	assert_memory_equal(seal(t, T0 + KEY_USE_MS - 1), &k, sizeof(k));
	assert_non_null(tickets_open(t, k.name, T0 + KEY_USE_MS - 1, &renew));
	assert_false(renew);
	tickets_unref(&t);
	assert_null(t);
}

static void old_key_opens_and_renews_until_its_tickets_run_out(void **state)
{
	struct tickets *t = tickets_new();
	struct ticket_key old = *seal(t, T0);
	const struct ticket_key *k = seal(t, T0 + KEY_USE_MS);
	bool renew = false;

	assert_memory_not_equal(k->name, old.name, sizeof(old.name));
	assert_memory_not_equal(k->cipher, old.cipher, sizeof(old.cipher));
	assert_memory_not_equal(k->mac, old.mac, sizeof(old.mac));
	k = tickets_open(t, old.name, T0 + KEY_USE_MS + TICKET_LIFE_MS - 1, &renew);
	assert_memory_equal(k, &old, sizeof(old));
	assert_true(renew);
	assert_null(tickets_open(t, old.name, T0 + KEY_USE_MS + TICKET_LIFE_MS, &renew));
	tickets_unref(&t);
}

/* Nobody came for long: the key in use is too old to seal, and later to open. */
static void key_in_use_ages_too(void **state)
{
	struct tickets *t = tickets_new();
	struct ticket_key k = *seal(t, T0);
	bool renew = false;

	assert_non_null(tickets_open(t, k.name, T0 + KEY_USE_MS, &renew));
	assert_true(renew);
	assert_null(tickets_open(t, k.name, T0 + KEY_USE_MS + TICKET_LIFE_MS, &renew));
	assert_memory_not_equal(seal(t, T0 + KEY_USE_MS + TICKET_LIFE_MS)->name, k.name,
	                        sizeof(k.name));
	tickets_unref(&t);
}

static void unknown_names_open_nothing(void **state)
{
	static const uint8_t zeros[TICKET_NAME_BYTES];
	struct tickets *t = tickets_new(), *other = tickets_new();
	bool renew;

	assert_null(tickets_open(t, zeros, T0, &renew)); /* no key was made yet */
	assert_null(tickets_open(t, seal(other, T0)->name, T0, &renew));
	seal(t, T0);
	assert_null(tickets_open(t, seal(other, T0)->name, T0, &renew));
	assert_null(tickets_open(t, zeros, T0, &renew));
	tickets_unref(&other);
	tickets_unref(&t);
}

static void ring_lives_with_its_last_holder(void **state)
{
	struct tickets *t = tickets_new(), *second = tickets_ref(t);
	struct ticket_key k = *seal(t, T0);
	bool renew;

	tickets_unref(&t);
	tickets_unref(&t);
	assert_non_null(tickets_open(second, k.name, T0, &renew));
	tickets_unref(&second);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(key_stays_while_it_is_fresh),
		cmocka_unit_test(old_key_opens_and_renews_until_its_tickets_run_out),
		cmocka_unit_test(key_in_use_ages_too),
		cmocka_unit_test(unknown_names_open_nothing),
		cmocka_unit_test(ring_lives_with_its_last_holder),
	};

	return cmocka_run_group_tests_name("tls tickets", tests, NULL, NULL);
}
