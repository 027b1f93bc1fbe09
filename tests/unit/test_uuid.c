/* tests/unit/test_uuid.c - ids that order by time, and their 26 characters
 *
 * The fixed pairs were computed by hand from RFC 9562 (A.6) and by converting the
 * number to base 32 with other software.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include "lib/uuid.h"

static const struct uuid rfc = { { 0x01, 0x7f, 0x22, 0xe2, 0x79, 0xb0, 0x7c, 0xc3,
                                   0x98, 0xc4, 0xdc, 0x0c, 0x0c, 0x07, 0x39, 0x8f } };

static struct row {
	const char *name, *text, *canonical; /* canonical NULL: refused */
} rows[] = {
	{ "the example of the RFC", "01FWHE4YDGFK1SHH6W1G60EECF", "01FWHE4YDGFK1SHH6W1G60EECF" },
	{ "lower case", "01fwhe4ydgfk1shh6w1g60eecf", "01FWHE4YDGFK1SHH6W1G60EECF" },
	{ "letters that look like digits", "OiFWHE4YDGFKLSHH6WIG6oEECF",
	  "01FWHE4YDGFK1SHH6W1G60EECF" },
	{ "all zero", "00000000000000000000000000", "00000000000000000000000000" },
	{ "all ones", "7ZZZZZZZZZZZZZZZZZZZZZZZZZ", "7ZZZZZZZZZZZZZZZZZZZZZZZZZ" },
	{ "one more than 128 bits", "80000000000000000000000000", NULL },
	{ "too short", "01FWHE4YDGFK1SHH6W1G60EEC", NULL },
	{ "too long", "01FWHE4YDGFK1SHH6W1G60EECF0", NULL },
	{ "empty", "", NULL },
	{ "the letter U", "01FWHE4YDGFK1SHH6W1G60EECU", NULL },
	{ "a hyphen", "01FWHE4YDGFK1SHH6W1G60-ECF", NULL },
	{ "a byte over 127", "01FWHE4YDGFK1SHH6W1G60\xc9" "ECF", NULL },
};

static void row_is_parsed(void **state)
{
	const struct row *r = *state;
	struct uuid u, before;
	char text[UUID_CHARS + 1];

	memset(&u, 0xa5, sizeof(u));
	before = u;
	if (r->canonical == NULL) {
		assert_int_equal(uuid_parse(r->text, &u), ERR_SYNTAX);
		assert_memory_equal(&u, &before, sizeof(u));
		return;
	}
	assert_int_equal(uuid_parse(r->text, &u), ERR_OK);
	uuid_text(&u, text);
	assert_string_equal(text, r->canonical);
}

static void the_example_has_the_bytes_of_the_rfc(void **state)
{
	struct uuid u;
	char text[UUID_CHARS + 1];

	assert_int_equal(uuid_parse(rows[0].text, &u), ERR_OK);
	assert_memory_equal(&u, &rfc, sizeof(u));
	uuid_text(&rfc, text);
	assert_string_equal(text, rows[0].text);
	assert_int_equal(uuid_time_ms(&rfc), 0x017f22e279b0);
}

static void a_new_id_has_time_version_and_variant(void **state)
{
	struct uuid u = uuid_new(1800000000000);

	assert_int_equal(uuid_time_ms(&u), 1800000000000);
	assert_int_equal(u.b[6] >> 4, 7);
	assert_int_equal(u.b[8] >> 6, 2);
}

/* Also in one millisecond, and while the clock goes back; as bytes and as text. */
static void ids_strictly_increase(void **state)
{
	struct uuid last = uuid_new(1800000000001);
	char was[UUID_CHARS + 1], is[UUID_CHARS + 1];

	uuid_text(&last, was);
	for (int i = 0; i < 200000; i++) {
		uint64_t now = 1800000000001 + (uint64_t)i / 1000 - (i % 7 == 0 ? 5000 : 0);
		struct uuid u = uuid_new(now);

		assert_true(memcmp(&u, &last, sizeof(u)) > 0);
		uuid_text(&u, is);
		assert_true(strcmp(is, was) > 0);
		assert_int_equal(u.b[6] >> 4, 7);
		assert_int_equal(u.b[8] >> 6, 2);
		memcpy(was, is, sizeof(was));
		last = u;
	}
}

/* Bits of ids of different milliseconds are set about half of the time. */
static void random_bits_are_not_constant(void **state)
{
	int set[128] = { 0 };

	for (int i = 0; i < 2000; i++) {
		struct uuid u = uuid_new(1900000000000 + (uint64_t)i);

		for (int bit = 0; bit < 128; bit++)
			set[bit] += u.b[bit / 8] >> (7 - bit % 8) & 1;
	}
	for (int bit = 52; bit < 128; bit++)
		if (bit != 64 && bit != 65)
			assert_in_range(set[bit], 800, 1200);
}

int main(void)
{
	static const struct CMUnitTest more[] = {
		cmocka_unit_test(the_example_has_the_bytes_of_the_rfc),
		cmocka_unit_test(a_new_id_has_time_version_and_variant),
		cmocka_unit_test(ids_strictly_increase),
		cmocka_unit_test(random_bits_are_not_constant),
	};
	struct CMUnitTest tests[ARRAY_LEN(rows) + ARRAY_LEN(more)];

	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		tests[i] = (struct CMUnitTest){
			.name = rows[i].name, .test_func = row_is_parsed,
			.initial_state = &rows[i],
		};
	memcpy(&tests[ARRAY_LEN(rows)], more, sizeof(more));
	return cmocka_run_group_tests_name("uuid", tests, NULL, NULL);
}
