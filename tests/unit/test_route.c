/* tests/unit/test_route.c - which domains go by a configured route, and where to */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include "delivery/route.h"

/* The configuration owns its texts, so they are not constant. */
#define TEXT(s) ((char[]){ s })

static char *keys[] = { TEXT("*"), TEXT(".example.org"), TEXT("example.org"),
                        TEXT(".deep.example.org"), TEXT("Big.Test") };
static char *values[] = { TEXT("all:1"), TEXT("below:2"), TEXT("itself:3"), TEXT("deep:4"),
                          TEXT("big:5") };
static const struct conf_map all = { keys, values, 5 };
static const struct conf_map some = { keys + 1, values + 1, 4 };

static struct find_row {
	const char *name;
	const struct conf_map *map;
	const char *domain, *want;
} finds[] = {
	{ "exactly that domain", &all, "example.org", "itself:3" },
	{ "a subdomain by the dotted key", &all, "a.example.org", "below:2" },
	{ "the longest dotted key wins", &all, "a.deep.example.org", "deep:4" },
	{ "a domain that only ends alike is another", &all, "badexample.org", "all:1" },
	{ "case does not matter", &all, "bIG.tEST", "big:5" },
	{ "all others by the star", &all, "other.test", "all:1" },
	{ "no star, no route", &some, "other.test", NULL },
	{ "no domain, the star", &all, "", "all:1" },
	{ "no domain, no star", &some, "", NULL },
	{ "no routes at all", &(const struct conf_map){ NULL, NULL, 0 }, "example.org", NULL },
};

static struct parse_row {
	const char *name, *value;
	enum err want;
	const char *host;
	unsigned port;
} parses[] = {
	{ "name and port", "mx.test:2525", ERR_OK, "mx.test", 2525 },
	{ "name alone has the default port", "mx.test", ERR_OK, "mx.test", 25 },
	{ "address and port", "127.0.0.1:2525", ERR_OK, "127.0.0.1", 2525 },
	{ "IPv6 in brackets", "[::1]:26", ERR_OK, "::1", 26 },
	{ "IPv6 without port", "[2001:db8::1]", ERR_OK, "2001:db8::1", 25 },
	{ "empty", "", ERR_SYNTAX, NULL, 0 },
	{ "port only", ":25", ERR_SYNTAX, NULL, 0 },
	{ "colon without port", "mx.test:", ERR_SYNTAX, NULL, 0 },
	{ "port 0", "mx.test:0", ERR_SYNTAX, NULL, 0 },
	{ "port too large", "mx.test:65536", ERR_SYNTAX, NULL, 0 },
	{ "port with more behind", "mx.test:25x", ERR_SYNTAX, NULL, 0 },
	{ "port far too large", "mx.test:99999999999999999999", ERR_SYNTAX, NULL, 0 },
	{ "bracket that does not close", "[::1", ERR_SYNTAX, NULL, 0 },
	{ "something behind the bracket", "[::1]25", ERR_SYNTAX, NULL, 0 },
	{ "a byte that is in no name", "mx test:25", ERR_SYNTAX, NULL, 0 },
};

static void find_gives(void **state)
{
	const struct find_row *r = *state;
	const char *got = route_find(r->map, r->domain);

	if (r->want == NULL)
		assert_null(got);
	else
		assert_string_equal(got, r->want);
}

static void parse_gives(void **state)
{
	const struct parse_row *r = *state;
	struct route_target t = { .host = "untouched", .port = 7 };

	assert_int_equal(route_parse(r->value, 25, &t), r->want);
	assert_string_equal(t.host, r->want == ERR_OK ? r->host : "untouched");
	assert_int_equal(t.port, r->want == ERR_OK ? r->port : 7);
}

static void check_names_the_first_bad_route(void **state)
{
	char *k[] = { TEXT("a"), TEXT("b") }, *v[] = { TEXT("ok:25"), TEXT("bad:") };

	assert_null(route_check(&all));
	assert_string_equal(route_check(&(struct conf_map){ k, v, 2 }), "bad:");
}

int main(void)
{
	struct CMUnitTest tests[ARRAY_LEN(finds) + ARRAY_LEN(parses) + 1];
	size_t n = 0;

	for (size_t i = 0; i < ARRAY_LEN(finds); i++)
		tests[n++] = (struct CMUnitTest){ .name = finds[i].name, .test_func = find_gives,
		                                  .initial_state = &finds[i] };
	for (size_t i = 0; i < ARRAY_LEN(parses); i++)
		tests[n++] = (struct CMUnitTest){ .name = parses[i].name, .test_func = parse_gives,
		                                  .initial_state = &parses[i] };
	tests[n++] = (struct CMUnitTest)cmocka_unit_test(check_names_the_first_bad_route);
	return cmocka_run_group_tests_name("route", tests, NULL, NULL);
}
