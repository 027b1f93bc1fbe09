/* tests/unit/test_smtp_addr.c - paths, parameters, and the key of a list */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>
#include "lib/err.h"
#include "proto/smtp_addr.h"

static struct path_row {
	const char *name, *in;
	bool empty_ok;
	enum err want;
	const char *addr;
} paths[] = {
	{ "a plain path", "<anna@world.test>", false, ERR_OK, "anna@world.test" },
	{ "the null sender where it is allowed", "<>", true, ERR_OK, "" },
	{ "the null sender where it is not", "<>", false, ERR_SYNTAX, NULL },
	{ "postmaster without a domain", "<postmaster>", false, ERR_OK, "postmaster" },
	{ "no angle brackets", "anna@world.test", false, ERR_SYNTAX, NULL },
	{ "no end", "<anna@world.test", false, ERR_SYNTAX, NULL },
	{ "no domain", "<anna>", false, ERR_SYNTAX, NULL },
	{ "no local part", "<@world.test>", false, ERR_SYNTAX, NULL },
	{ "a source route is skipped", "<@a.test,@b.test:anna@world.test>", false, ERR_OK,
	  "anna@world.test" },
	{ "a quoted local part", "<\"a b\"@world.test>", false, ERR_OK, "\"a b\"@world.test" },
	{ "a space outside quotes", "<a b@world.test>", false, ERR_SYNTAX, NULL },
	{ "an address literal", "<anna@[192.0.2.1]>", false, ERR_OK, "anna@[192.0.2.1]" },
	{ "an IPv6 literal", "<anna@[IPv6:2001:db8::1]>", false, ERR_OK,
	  "anna@[IPv6:2001:db8::1]" },
	{ "two dots in a row", "<a..b@world.test>", false, ERR_SYNTAX, NULL },
	{ "a dot at the end of the local part", "<a.@world.test>", false, ERR_SYNTAX, NULL },
	{ "a control byte", "<a\001b@world.test>", false, ERR_SYNTAX, NULL },
	{ "an empty label", "<a@world..test>", false, ERR_SYNTAX, NULL },
	{ "tags are part of it", "<mary-jane+tag@world.test>", false, ERR_OK,
	  "mary-jane+tag@world.test" },
	{ "UTF-8", "<b\303\274cher@b\303\274cher.test>", false, ERR_OK,
	  "b\303\274cher@b\303\274cher.test" },
	{ "bytes that are no UTF-8", "<b\374cher@world.test>", false, ERR_SYNTAX, NULL },
};

static void row_gives_path(void **state)
{
	const struct path_row *r = *state;
	struct smtp_path p;
	size_t used = 0;

	assert_int_equal(smtp_path_parse(r->in, strlen(r->in), r->empty_ok, &p, &used), r->want);
	if (r->want != ERR_OK)
		return;
	assert_string_equal(p.addr, r->addr);
	assert_int_equal(p.len, strlen(r->addr));
	assert_int_equal(used, strlen(r->in));
}

static void limits_are_those_of_the_standard(void **state)
{
	char in[400];
	struct smtp_path p;
	size_t used;

	snprintf(in, sizeof(in), "<%.64s@w.test>",
	         "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa");
	assert_int_equal(smtp_path_parse(in, strlen(in), false, &p, &used), ERR_OK);
	snprintf(in, sizeof(in), "<%.65s@w.test>",
	         "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa");
	assert_int_equal(smtp_path_parse(in, strlen(in), false, &p, &used), ERR_TOOBIG);
}

static struct key_row {
	const char *name, *in, *want; /* NULL: ERR_SYNTAX */
} keys[] = {
	{ "the domain is lower-cased", "anna@World.TEST", "anna@world.test" },
	{ "the local part is folded", "Anna.B@world.test", "anna.b@world.test" },
	{ "dots and tags are kept", "a.b+c@world.test", "a.b+c@world.test" },
	{ "needless quotes go", "\"anna\"@world.test", "anna@world.test" },
	{ "needed quotes stay", "\"a b\"@world.test", "\"a b\"@world.test" },
	{ "a U-label becomes an A-label", "x@b\303\274cher.test", "x@xn--bcher-kva.test" },
	{ "an A-label stays", "x@XN--BCHER-KVA.test", "x@xn--bcher-kva.test" },
	{ "an upper-case U-label is the same domain", "x@B\303\234CHER.test", "x@xn--bcher-kva.test" },
	{ "a decomposed U-label is the same domain", "x@bu\314\210cher.test", "x@xn--bcher-kva.test" },
	{ "sharp s stays itself (not transitional)", "x@fa\303\237.test", "x@xn--fa-hia.test" },
	{ "a Latin local part is folded", "\303\204\305\201@w.test", "\303\244\305\202@w.test" },
	{ "a Greek local part is folded", "\316\221\316\251@w.test", "\316\261\317\211@w.test" },
	{ "a Cyrillic local part is folded", "\320\220\320\251\320\201@w.test",
	  "\320\260\321\211\321\221@w.test" },
	{ "a Chinese local part stays", "\347\224\250@w.test", "\347\224\250@w.test" },
	{ "needless backslashes go", "\"\\a\\n\\na\"@w.test", "anna@w.test" },
	{ "needed backslashes stay", "\"A\\\\ \\\"B\"@w.test", "\"a\\\\ \\\"b\"@w.test" },
	{ "an @ within quotes", "\"a@b\"@w.test", "\"a@b\"@w.test" },
	{ "an empty quoted local part", "\"\"@w.test", "\"\"@w.test" },
	{ "a literal is lower-cased", "a@[IPv6:2001:DB8::1]", "a@[ipv6:2001:db8::1]" },
	{ "no domain, no key", "postmaster", NULL },
	{ "a domain that IDNA refuses", "a@\342\200\256b.test", NULL },
	{ "a label that maps to a dot", "a@b\342\200\244c.test", NULL },
	/* found by the fuzzer: the key was longer than an address may be */
	{ "U-labels whose A-labels are too long",
	  "x@\303\274aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	  ".\303\274aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	  ".\303\274aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	  ".\303\274aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.test", NULL },
};

static void row_gives_key(void **state)
{
	const struct key_row *r = *state;
	struct buf k = BUF_INIT;

	if (r->want == NULL) {
		assert_int_equal(smtp_addr_key(r->in, strlen(r->in), &k), ERR_SYNTAX);
		assert_int_equal(k.len, 0);
		buf_free(&k);
		return;
	}
	assert_int_equal(smtp_addr_key(r->in, strlen(r->in), &k), ERR_OK);
	assert_string_equal(buf_str(&k), r->want);
	assert_string_equal(smtp_key_domain(buf_str(&k)), strrchr(r->want, '@') + 1);
	buf_free(&k);
}

static void a_domain_entry_keeps_its_dot(void **state)
{
	struct buf k = BUF_INIT;

	assert_int_equal(smtp_domain_key(".Example.ORG", 12, &k), ERR_OK);
	assert_string_equal(buf_str(&k), ".example.org");
	buf_reset(&k);
	assert_int_equal(smtp_domain_key("not a domain", 12, &k), ERR_SYNTAX);
	assert_int_equal(k.len, 0);
	buf_free(&k);
}

static void parameters_are_read_one_by_one(void **state)
{
	const char *in = " SIZE=1000 BODY=8BITMIME FLAG", *p = in, *end = in + strlen(in);
	struct smtp_param q;
	bool bad = false;

	assert_true(smtp_param_next(&p, end, &q, &bad));
	assert_memory_equal(q.name, "SIZE", q.name_len);
	assert_memory_equal(q.value, "1000", q.value_len);
	assert_true(smtp_param_next(&p, end, &q, &bad));
	assert_int_equal(q.value_len, 8);
	assert_true(smtp_param_next(&p, end, &q, &bad));
	assert_int_equal(q.name_len, 4);
	assert_false(smtp_param_next(&p, end, &q, &bad));
	assert_false(bad);
}

static void parameters_that_are_none_are_told(void **state)
{
	static const char *const bads[] = { " =x", " -A=1", "SIZE=1", " A=", " A=b=c" };

	for (size_t i = 0; i < ARRAY_LEN(bads); i++) {
		const char *p = bads[i], *end = p + strlen(p);
		struct smtp_param q;
		bool bad = false;

		while (smtp_param_next(&p, end, &q, &bad))
			continue;
		if (!bad)
			fail_msg("taken as a parameter: \"%s\"", bads[i]);
	}
}

enum { PLAIN = 4 };

int main(void)
{
	struct CMUnitTest tests[PLAIN + ARRAY_LEN(paths) + ARRAY_LEN(keys)] = {
		cmocka_unit_test(limits_are_those_of_the_standard),
		cmocka_unit_test(a_domain_entry_keeps_its_dot),
		cmocka_unit_test(parameters_are_read_one_by_one),
		cmocka_unit_test(parameters_that_are_none_are_told),
	};
	size_t n = PLAIN;

	for (size_t i = 0; i < ARRAY_LEN(paths); i++)
		tests[n++] = (struct CMUnitTest){ .name = paths[i].name,
			.test_func = row_gives_path, .initial_state = &paths[i] };
	for (size_t i = 0; i < ARRAY_LEN(keys); i++)
		tests[n++] = (struct CMUnitTest){ .name = keys[i].name,
			.test_func = row_gives_key, .initial_state = &keys[i] };
	return cmocka_run_group_tests_name("smtp_addr", tests, NULL, NULL);
}
