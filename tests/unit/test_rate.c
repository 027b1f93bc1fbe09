/* tests/unit/test_rate.c - the bucket of a rate, and messages that are asked for twice */
#include "tests/unit/policy_rig.h"

#define NOW    RIG_NOW
#define SECOND 1000ull
#define MINUTE (60 * SECOND)

/* Take n at now; how many of them there were. */
static unsigned take(struct rate *r, uint64_t per_minute, uint64_t now, unsigned n)
{
	unsigned got = 0;
	uint64_t again;

	while (n-- > 0)
		got += rate_take(r, per_minute, now, &again);
	return got;
}

static struct row {
	const char *name;
	uint64_t rate;
	unsigned first;       /* taken at NOW */
	int64_t later_ms;     /* then this goes by */
	uint64_t then_rate;   /* and the rate is this */
	unsigned want;        /* of what is asked for then, which is more than there can be */
} rows[] = {
	{ "a new account has a whole minute's messages", 3, 0, 0, 3, 3 },
	{ "then there are none", 3, 3, 0, 3, 0 },
	{ "a share of the minute later there is one", 3, 3, 20 * SECOND, 3, 1 },
	{ "one millisecond before there is none", 3, 3, 20 * SECOND - 1, 3, 0 },
	{ "a minute later there are all", 3, 3, MINUTE, 3, 3 },
	{ "never more than a minute's are saved up", 3, 3, 600 * MINUTE, 3, 3 },
	{ "what was not taken stays", 3, 1, 0, 3, 2 },
	{ "a share that is no whole number of ms is kept exactly", 7, 7, 8572, 7, 1 },
	{ "and is not there a millisecond early", 7, 7, 8571, 7, 0 },
	{ "a rate of more than one a ms is kept exactly", 120000, 120000, 1, 120000, 2 },
	{ "a rate that is raised gives the difference at once", 3, 3, 0, 10, 7 },
	{ "a rate that is lowered takes what is too much", 10, 5, 0, 2, 0 },
	{ "and is as new in a minute at most", 1000, 1000, MINUTE, 1, 1 },
	{ "a clock that is set back by a day gives none", 3, 3, -1440 * (int64_t)MINUTE, 3, 0 },
	{ "and leaves what there was", 3, 1, -1440 * (int64_t)MINUTE, 3, 2 },
	{ "the highest rate does not overflow", RATE_MINUTE_MAX, 5, 600 * MINUTE,
	  RATE_MINUTE_MAX, 100 },
};

static void row_has_so_many(void **state)
{
	const struct row *w = *state;
	struct rate r = { 0, 0 };
	uint64_t then = (uint64_t)((int64_t)NOW + w->later_ms);

	assert_int_equal(take(&r, w->rate, NOW, w->first), w->first);
	assert_int_equal(take(&r, w->then_rate, then, w->want < 100 ? w->want + 5 : 100), w->want);
}

static void the_time_that_is_told_is_the_first_that_succeeds(void **state)
{
	static const uint64_t rates[] = { 1, 3, 7, 59, 60, 61, 1001, 11999 };

	for (size_t i = 0; i < ARRAY_LEN(rates); i++) {
		struct rate r = { 0, 0 }, before;
		uint64_t again = 0, ignored;

		assert_int_equal(take(&r, rates[i], NOW, (unsigned)rates[i]), rates[i]);
		assert_false(rate_take(&r, rates[i], NOW + 5, &again));
		assert_true(again > NOW + 5 && again <= NOW + MINUTE);
		before = r;
		assert_false(rate_take(&before, rates[i], again - 1, &ignored));
		assert_true(rate_take(&r, rates[i], again, &ignored));
	}
}

static void after_a_clock_was_set_back_messages_come_at_the_rate(void **state)
{
	struct rate r = { 0, 0 };
	uint64_t past = NOW - 1440 * MINUTE, again = 0;

	assert_int_equal(take(&r, 3, NOW, 3), 3);
	assert_false(rate_take(&r, 3, past, &again));
	assert_int_equal(again, past + 20 * SECOND);
	assert_true(rate_take(&r, 3, again, &again));
	assert_int_equal(take(&r, 3, past + 2 * MINUTE, 5), 3);
}

static void over_an_hour_it_is_the_rate_and_one_minute_more(void **state)
{
	struct rate r = { 0, 0 };
	unsigned got = 0;

	for (uint64_t ms = 0; ms < 60 * MINUTE; ms += 97)
		got += take(&r, 7, NOW + ms, 3);
	assert_int_equal(got, 7 + 60 * 7 - 1); /* the last of them is due when the hour is over */
}

static void a_message_is_remembered_for_a_minute(void **state)
{
	struct policy_rig *r = *state;
	uint8_t a[UUID_LEN], b[UUID_LEN];

	rig_id(a, 1);
	rig_id(b, 2);
	rated_add(&r->p, a, NOW);
	rated_add(&r->p, b, NOW + 30 * SECOND);
	rated_expire(&r->p, NOW + MINUTE);
	assert_true(rated_has(&r->p, a) && rated_has(&r->p, b));
	rated_expire(&r->p, NOW + MINUTE + 1);
	assert_false(rated_has(&r->p, a));
	assert_true(rated_has(&r->p, b));
}

static void a_clock_that_is_set_back_lets_go_of_what_lies_ahead(void **state)
{
	struct policy_rig *r = *state;
	uint8_t a[UUID_LEN], b[UUID_LEN];

	rig_id(a, 1);
	rig_id(b, 2);
	rated_add(&r->p, a, NOW);
	rated_expire(&r->p, NOW - MINUTE);
	assert_true(rated_has(&r->p, a));
	rated_add(&r->p, b, NOW - 60 * MINUTE);
	rated_expire(&r->p, NOW - 60 * MINUTE);
	assert_false(rated_has(&r->p, a));
	assert_true(rated_has(&r->p, b));
}

static void no_more_messages_are_remembered_than_there_is_room_for(void **state)
{
	struct policy_rig *r = *state;
	uint8_t first[UUID_LEN] = { 0 }, id[UUID_LEN] = { 0 };

	for (uint32_t i = 0; i < 200001; i++) {
		memcpy(id, &i, sizeof(i));
		rated_add(&r->p, id, NOW);
	}
	assert_false(rated_has(&r->p, first));
	assert_true(rated_has(&r->p, id));
	first[0] = 1;
	assert_true(rated_has(&r->p, first));
}

enum { PLAIN = 6 };

int main(void)
{
	struct CMUnitTest tests[PLAIN + ARRAY_LEN(rows)] = {
		cmocka_unit_test(the_time_that_is_told_is_the_first_that_succeeds),
		cmocka_unit_test(after_a_clock_was_set_back_messages_come_at_the_rate),
		cmocka_unit_test(over_an_hour_it_is_the_rate_and_one_minute_more),
		cmocka_unit_test_setup_teardown(a_message_is_remembered_for_a_minute, rig_setup,
		                                rig_teardown),
		cmocka_unit_test_setup_teardown(
			a_clock_that_is_set_back_lets_go_of_what_lies_ahead, rig_setup,
			rig_teardown),
		cmocka_unit_test_setup_teardown(
			no_more_messages_are_remembered_than_there_is_room_for, rig_setup,
			rig_teardown),
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		tests[PLAIN + i] = (struct CMUnitTest){
			.name = rows[i].name,
			.test_func = row_has_so_many,
			.initial_state = &rows[i],
		};
	return cmocka_run_group_tests_name("rate", tests, NULL, NULL);
}
