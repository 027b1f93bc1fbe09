/* tests/unit/test_ingest_terms.c - for which domains an account may say that it writes */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include "ingest/terms.h"
#include "lib/err.h"

static const struct row {
	const char *name;
	bool check;
	const char *domains[3];
	const char *sender;
	bool allowed;
} rows[] = {
	{ "unchecked: anything", false, { NULL }, "a@other.test", true },
	{ "unchecked: even what is no address", false, { NULL }, "nonsense", true },
	{ "a domain of the account", true, { "mine.test" }, "a@mine.test", true },
	{ "the second domain", true, { "mine.test", "also.test" }, "a@also.test", true },
	{ "letters are of no case", true, { "mine.test" }, "A@MINE.Test", true },
	{ "an IDN as its key", true, { "xn--mhl-hoa.test" }, "a@m\303\274hl.test", true },
	{ "a domain of somebody else", true, { "mine.test" }, "a@other.test", false },
	{ "a domain that ends like it", true, { "mine.test" }, "a@notmine.test", false },
	{ "a domain that begins like it", true, { "mine.test" }, "a@mine.test.other", false },
	{ "below it, which was not said", true, { "mine.test" }, "a@sub.mine.test", false },
	{ "below it, as it was said", true, { ".mine.test" }, "a@sub.mine.test", true },
	{ "far below it", true, { ".mine.test" }, "a@a.b.c.mine.test", true },
	{ "the domain itself of all below it", true, { ".mine.test" }, "a@mine.test", true },
	{ "a wild domain covers whole labels only", true, { ".mine.test" }, "a@notmine.test",
	  false },
	{ "no domains: nobody", true, { NULL }, "a@mine.test", false },
	{ "the null sender is nobody's", true, { NULL }, "", true },
	{ "no domain at all", true, { "mine.test" }, "postmaster", false },
	{ "an address literal", true, { "mine.test" }, "a@[127.0.0.1]", false },
	{ "an at sign within quotes", true, { "mine.test" }, "\"a@mine.test\"@other.test", false },
};

static void take(struct terms *t, bool check, const char *const *domains)
{
	Holdfast__Terms from = HOLDFAST__TERMS__INIT;
	ProtobufCBinaryData list[3];

	from.check_from = check;
	from.from_domain = list;
	for (size_t i = 0; i < 3 && domains[i] != NULL; i++)
		list[from.n_from_domain++] =
			(ProtobufCBinaryData){ strlen(domains[i]), (uint8_t *)domains[i] };
	terms_take(t, &from);
	memset(list, 0, sizeof(list)); /* a copy was taken */
}

static void row_is_allowed(void **state)
{
	const struct row *r = *state;
	struct terms t = { 0 };

	take(&t, r->check, r->domains);
	assert_int_equal(terms_allow_sender(&t, r->sender), r->allowed);
	terms_free(&t);
	terms_free(&t);
}

static void no_terms_check_nothing_and_notify_nobody(void **state)
{
	struct terms t = { .check_from = true };

	terms_take(&t, NULL);
	assert_true(terms_allow_sender(&t, "a@b.test") && terms_allow_domain(&t, "b.test"));
	assert_false(t.accept_refused);
	assert_int_equal(t.notify, 0);
	terms_free(&t);
}

static void the_rest_is_copied(void **state)
{
	Holdfast__Terms from = HOLDFAST__TERMS__INIT;
	char manager[] = "boss@mine.test";
	struct terms t = { 0 };

	from.accept_refused = true;
	from.notify = HOLDFAST__NOTIFY_WHO__NOTIFY_MANAGER;
	from.manager = (ProtobufCBinaryData){ strlen(manager), (uint8_t *)manager };
	terms_take(&t, &from);
	manager[0] = 'x';
	assert_true(t.accept_refused);
	assert_int_equal(t.notify, HOLDFAST__NOTIFY_WHO__NOTIFY_MANAGER);
	assert_string_equal(t.manager, "boss@mine.test");
	terms_free(&t);
	assert_null(t.manager);
}

int main(void)
{
	struct CMUnitTest tests[ARRAY_LEN(rows) + 2] = {
		cmocka_unit_test(no_terms_check_nothing_and_notify_nobody),
		cmocka_unit_test(the_rest_is_copied),
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		tests[2 + i] = (struct CMUnitTest){ rows[i].name, row_is_allowed, NULL, NULL,
		                                    (void *)&rows[i] };
	return cmocka_run_group_tests_name("ingest_terms", tests, NULL, NULL);
}
