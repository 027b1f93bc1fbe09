/* tests/unit/test_auth_guard.c - after how many failures whose AUTH is refused, and for how long */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <arpa/inet.h>
#include <cmocka.h>
#include "ingest/auth_guard.h"
#include "lib/err.h"

#define WINDOW 1000

struct try { const char *ip, *login; };

/* So many failures of `failed` at 0, with one success of `proved` before: may `asks` try? */
static const struct row {
	const char *name;
	struct auth_limits limits;
	struct try proved, failed;
	unsigned n;
	uint64_t at_ms;
	struct try asks;
	bool allowed;
} rows[] = {
#define HOST { .ip = 3 }
#define NET { .network = 3 }
#define LOGIN { .login = 3 }
#define NOBODY { NULL, NULL }
	{ "one failure less than the limit", HOST, NOBODY, { "192.0.2.1", "a" }, 2, 0,
	  { "192.0.2.1", "a" }, true },
	{ "as many failures as the limit", HOST, NOBODY, { "192.0.2.1", "a" }, 3, 0,
	  { "192.0.2.1", "b" }, false },
	{ "another address is not meant", HOST, NOBODY, { "192.0.2.1", "a" }, 3, 0,
	  { "192.0.2.2", "a" }, true },
	{ "the limit ends with the window after", HOST, NOBODY, { "192.0.2.1", "a" }, 3,
	  2 * WINDOW + 1, { "192.0.2.1", "a" }, true },
	{ "the limit holds till the window's end", HOST, NOBODY, { "192.0.2.1", "a" }, 3,
	  WINDOW - 1, { "192.0.2.1", "a" }, false },
	{ "no limit is no limit", { 0 }, NOBODY, { "192.0.2.1", "a" }, 1000, 0,
	  { "192.0.2.1", "a" }, true },
	{ "a /64 of IPv6 is one host", HOST, NOBODY, { "2001:db8::1", "a" }, 3, 0,
	  { "2001:db8::ffff:1", "a" }, false },
	{ "the next /64 is another", HOST, NOBODY, { "2001:db8::1", "a" }, 3, 0,
	  { "2001:db8:0:1::1", "a" }, true },
	{ "IPv4 in IPv6's clothes is the same", HOST, NOBODY, { "::ffff:192.0.2.1", "a" }, 3, 0,
	  { "192.0.2.1", "a" }, false },
	{ "a neighbour in the /24", NET, NOBODY, { "192.0.2.1", "a" }, 3, 0, { "192.0.2.99", "b" },
	  false },
	{ "beyond the /24", NET, NOBODY, { "192.0.2.1", "a" }, 3, 0, { "192.0.3.1", "a" }, true },
	{ "a neighbour in the /48", NET, NOBODY, { "2001:db8:1::1", "a" }, 3, 0,
	  { "2001:db8:1:ff::1", "b" }, false },
	{ "beyond the /48", NET, NOBODY, { "2001:db8:1::1", "a" }, 3, 0, { "2001:db8:2::1", "a" },
	  true },
	{ "a login, from everywhere", LOGIN, NOBODY, { "192.0.2.1", "a" }, 3, 0,
	  { "198.51.100.1", "a" }, false },
	{ "another login is not meant", LOGIN, NOBODY, { "192.0.2.1", "a" }, 3, 0,
	  { "192.0.2.1", "ab" }, true },
	{ "the owner's address is not locked out", LOGIN, { "198.51.100.1", "a" },
	  { "192.0.2.1", "a" }, 3, 0, { "198.51.100.1", "a" }, true },
	{ "the owner of another login is", LOGIN, { "198.51.100.1", "b" }, { "192.0.2.1", "a" }, 3,
	  0, { "198.51.100.1", "a" }, false },
	{ "a success does not lift the address's own limit", HOST, { "192.0.2.1", "a" },
	  { "192.0.2.1", "a" }, 3, 0, { "192.0.2.1", "a" }, false },
	{ "an address that is none counts for its login only", { .ip = 3, .login = 4 }, NOBODY,
	  { NULL, "a" }, 3, 0, { NULL, "a" }, false },
};

static size_t ip_of(const char *text, uint8_t out[16])
{
	if (text == NULL)
		return 0;
	if (inet_pton(AF_INET, text, out) == 1)
		return 4;
	assert_int_equal(inet_pton(AF_INET6, text, out), 1);
	return 16;
}

static void row_is_allowed(void **state)
{
	const struct row *r = *state;
	struct auth_guard *g = auth_guard_new(WINDOW);
	uint8_t ip[16];
	size_t n;

	if (r->proved.login != NULL) {
		n = ip_of(r->proved.ip, ip);
		auth_guard_proved(g, ip, n, r->proved.login, 0);
	}
	n = ip_of(r->failed.ip, ip);
	for (unsigned i = 0; i < r->n; i++)
		auth_guard_failed(g, ip, n, r->failed.login, 0);
	n = ip_of(r->asks.ip, ip);
	assert_int_equal(auth_guard_allows(g, &r->limits, ip, n, r->asks.login, r->at_ms),
	                 r->allowed);
	auth_guard_free(&g);
	auth_guard_free(&g);
}

/* Asking counts for nothing: a client that asks on is let in when the window is over. */
static void asking_does_not_count(void **state)
{
	const struct auth_limits limits = { 1, 1, 1 };
	struct auth_guard *g = auth_guard_new(WINDOW);
	const uint8_t ip[4] = { 192, 0, 2, 1 };

	auth_guard_failed(g, ip, 4, "a", 0);
	for (unsigned i = 0; i < 100; i++)
		assert_false(auth_guard_allows(g, &limits, ip, 4, "a", WINDOW - 1));
	assert_true(auth_guard_allows(g, &limits, ip, 4, "a", 2 * WINDOW));
	auth_guard_free(&g);
}

int main(void)
{
	struct CMUnitTest tests[ARRAY_LEN(rows) + 1] = { cmocka_unit_test(asking_does_not_count) };

	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		tests[1 + i] = (struct CMUnitTest){ rows[i].name, row_is_allowed, NULL, NULL,
		                                    (void *)&rows[i] };
	return cmocka_run_group_tests_name("auth_guard", tests, NULL, NULL);
}
