/* tests/unit/test_limits.c - how many connections may come, and that all are let go again */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <arpa/inet.h>
#include <cmocka.h>
#include "ingest/limits.h"

#define TOO_MANY "421 4.7.0 Too many connections from your address\r\n"
#define TOO_FAST \
	"421 4.7.0 Too many new connections from your network, try again later\r\n"

/* Connections that come at 0, and what the last one, which comes later, is told. */
static const struct row {
	const char *name;
	struct limits_conf conf;
	const char *first[4];
	const char *last;
	uint64_t at_ms;
	const char *told;
} rows[] = {
	{ "no limits", { 0 }, { "192.0.2.1", "192.0.2.1", "192.0.2.1" }, "192.0.2.1", 0, NULL },
	{ "as many as an address may have", { .ip = 3 }, { "192.0.2.1", "192.0.2.1" }, "192.0.2.1",
	  0, NULL },
	{ "one more than an address may have", { .ip = 2 }, { "192.0.2.1", "192.0.2.1" },
	  "192.0.2.1", 0, TOO_MANY },
	{ "that they are old does not help: they are open", { .ip = 2 },
	  { "192.0.2.1", "192.0.2.1" }, "192.0.2.1", 600000, TOO_MANY },
	{ "another address has room", { .ip = 2 }, { "192.0.2.1", "192.0.2.1" }, "192.0.2.2", 0,
	  NULL },
	{ "IPv4 in IPv6's clothes is the same", { .ip = 2 },
	  { "192.0.2.1", "::ffff:192.0.2.1" }, "192.0.2.1", 0, TOO_MANY },
	{ "a /64 of IPv6 is one address", { .ip = 2 }, { "2001:db8::1", "2001:db8::2" },
	  "2001:db8::3", 0, TOO_MANY },
	{ "the next /64 is another", { .ip = 2 }, { "2001:db8::1", "2001:db8::2" },
	  "2001:db8:0:1::", 0, NULL },
	{ "a /24 comes too fast", { .network = 2 }, { "192.0.2.1", "192.0.2.2" }, "192.0.2.3", 0,
	  TOO_FAST },
	{ "and may come again later", { .network = 2 }, { "192.0.2.1", "192.0.2.2" }, "192.0.2.3",
	  120001, NULL },
	{ "another /24", { .network = 2 }, { "192.0.2.1", "192.0.2.2" }, "192.0.3.1", 0, NULL },
	{ "a /48 of IPv6 comes too fast", { .network = 2 }, { "2001:db8:1::", "2001:db8:1:1::" },
	  "2001:db8:1:2::", 0, TOO_FAST },
	{ "another /48", { .network = 2 }, { "2001:db8:1::", "2001:db8:1:1::" }, "2001:db8:2::", 0,
	  NULL },
	{ "who is not known is not counted", { .ip = 1, .network = 1 }, { "-", "-" }, "-", 0,
	  NULL },
};

static size_t ip_of(const char *text, uint8_t out[16])
{
	if (inet_pton(AF_INET, text, out) == 1)
		return 4;
	return inet_pton(AF_INET6, text, out) == 1 ? 16 : 0;
}

static const char *enter(struct limits *l, const struct limits_conf *c, const char *text,
                         struct limits_place *p, uint64_t at_ms)
{
	uint8_t ip[16];
	size_t n = ip_of(text, ip);

	return limits_enter(l, c, ip, n, p, at_ms);
}

static void check_told(const char *got, const char *want)
{
	if (want == NULL)
		assert_null(got);
	else
		assert_string_equal(got, want);
}

static void row_is_told(void **state)
{
	const struct row *r = *state;
	struct limits *l = limits_new();
	struct limits_place places[5] = { 0 };
	size_t n = 0;

	for (; r->first[n] != NULL; n++)
		assert_null(enter(l, &r->conf, r->first[n], &places[n], 0));
	check_told(enter(l, &r->conf, r->last, &places[n], r->at_ms), r->told);
	for (size_t i = 0; i <= n; i++) {
		limits_leave(l, &places[i]);
		limits_leave(l, &places[i]); /* once is enough */
	}
	limits_free(&l);
	limits_free(&l);
}

/* Who was told 421 is open until it has gone, like any other. */
static void the_refused_count_until_they_leave(void **state)
{
	const struct limits_conf c = { .ip = 1 };
	struct limits *l = limits_new();
	struct limits_place a = { 0 }, b = { 0 };

	assert_null(enter(l, &c, "192.0.2.1", &a, 0));
	check_told(enter(l, &c, "192.0.2.1", &b, 0), TOO_MANY);
	limits_leave(l, &a);
	check_told(enter(l, &c, "192.0.2.1", &a, 0), TOO_MANY);
	limits_leave(l, &a);
	limits_leave(l, &b);
	assert_null(enter(l, &c, "192.0.2.1", &a, 0));
	limits_leave(l, &a);
	limits_free(&l);
}

static void accounts_are_counted_while_they_are_open(void **state)
{
	const struct limits_conf c = { .account = 2 };
	struct limits *l = limits_new();
	struct limits_place p[4] = { 0 };

	assert_null(limits_enter_account(l, &c, "a", &p[0]));
	assert_null(limits_enter_account(l, &c, "a", &p[1]));
	check_told(limits_enter_account(l, &c, "a", &p[2]),
	           "421 4.7.0 Too many connections of this account\r\n");
	assert_null(limits_enter_account(l, &c, "b", &p[3]));
	limits_leave_account(l, "a", &p[2]);
	limits_leave_account(l, "a", &p[2]);
	limits_leave_account(l, "a", &p[0]);
	assert_null(limits_enter_account(l, &c, "a", &p[0]));
	limits_leave_account(l, "a", &p[0]);
	limits_leave_account(l, "a", &p[1]);
	limits_leave_account(l, "b", &p[3]);
	limits_free(&l);
}

int main(void)
{
	struct CMUnitTest tests[sizeof(rows) / sizeof(rows[0]) + 2] = {
		cmocka_unit_test(the_refused_count_until_they_leave),
		cmocka_unit_test(accounts_are_counted_while_they_are_open),
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		tests[2 + i] = (struct CMUnitTest){ rows[i].name, row_is_told, NULL, NULL,
		                                    (void *)&rows[i] };
	return cmocka_run_group_tests_name("limits", tests, NULL, NULL);
}
