/* tests/unit/test_net.c - networks as text, as sets and as keys */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include <arpa/inet.h>
#include "lib/net.h"

static struct row {
	const char *name, *text;
	const char *addr; /* NULL: refused */
	unsigned len, prefix;
} rows[] = {
	{ "an IPv4 network", "192.0.2.0/24", "192.0.2.0", 4, 24 },
	{ "an IPv6 network", "2001:db8::/32", "2001:db8::", 16, 32 },
	{ "an IPv4 host", "192.0.2.1", "192.0.2.1", 4, 32 },
	{ "an IPv6 host", "2001:db8::1", "2001:db8::1", 16, 128 },
	{ "a host by its prefix", "192.0.2.1/32", "192.0.2.1", 4, 32 },
	{ "all of IPv4", "0.0.0.0/0", "0.0.0.0", 4, 0 },
	{ "all of IPv6", "::/0", "::", 16, 0 },
	{ "a prefix within a byte", "192.0.2.128/25", "192.0.2.128", 4, 25 },
	{ "a mapped host is an IPv4 host", "::ffff:192.0.2.1", "192.0.2.1", 4, 32 },
	{ "a mapped network is an IPv4 network", "::ffff:192.0.2.0/120", "192.0.2.0", 4, 24 },
	{ "all that is mapped is all of IPv4", "::ffff:0:0/96", "0.0.0.0", 4, 0 },
	{ "a host bit set", "192.0.2.1/24", NULL, 0, 0 },
	{ "the bit just behind the prefix set", "192.0.2.128/24", NULL, 0, 0 },
	{ "an IPv6 host bit set", "2001:db8::1/64", NULL, 0, 0 },
	{ "too long a prefix", "192.0.2.0/33", NULL, 0, 0 },
	{ "too long a prefix of IPv6", "2001:db8::/129", NULL, 0, 0 },
	{ "a huge prefix", "192.0.2.0/4294967320", NULL, 0, 0 },
	{ "no prefix behind the slash", "192.0.2.0/", NULL, 0, 0 },
	{ "a prefix with leading zeros", "192.0.2.0/024", NULL, 0, 0 },
	{ "a signed prefix", "192.0.2.0/+24", NULL, 0, 0 },
	{ "a prefix with a blank", "192.0.2.0/ 24", NULL, 0, 0 },
	{ "two slashes", "192.0.2.0/24/24", NULL, 0, 0 },
	{ "a netmask", "192.0.2.0/255.255.255.0", NULL, 0, 0 },
	{ "three numbers", "192.0.2/24", NULL, 0, 0 },
	{ "a number with a leading zero", "192.0.02.1", NULL, 0, 0 },
	{ "a scope", "fe80::1%lo", NULL, 0, 0 },
	{ "brackets", "[2001:db8::1]", NULL, 0, 0 },
	{ "a blank before it", " 192.0.2.1", NULL, 0, 0 },
	{ "a name", "localhost", NULL, 0, 0 },
	{ "nothing", "", NULL, 0, 0 },
	{ "more text than any address has",
	  "0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0000/64", NULL, 0, 0 },
};

static size_t ip_of(const char *text, uint8_t ip[NET_IP_MAX])
{
	if (inet_pton(AF_INET, text, ip) == 1)
		return 4;
	assert_int_equal(inet_pton(AF_INET6, text, ip), 1);
	return 16;
}

static void row_parses(void **state)
{
	const struct row *r = *state;
	uint8_t want[NET_IP_MAX] = { 0 };
	struct net net, before;

	memset(&net, 0x5a, sizeof(net));
	before = net;
	if (r->addr == NULL) {
		assert_int_equal(net_parse(r->text, &net), ERR_SYNTAX);
		assert_memory_equal(&net, &before, sizeof(net));
		return;
	}
	assert_int_equal(net_parse(r->text, &net), ERR_OK);
	assert_int_equal(ip_of(r->addr, want), r->len);
	assert_int_equal(net.len, r->len);
	assert_int_equal(net.prefix, r->prefix);
	assert_memory_equal(net.addr, want, sizeof(want));
}

static const struct {
	const char *net, *ip;
	bool has;
} members[] = {
	{ "192.0.2.0/24", "192.0.2.0", true },
	{ "192.0.2.0/24", "192.0.2.255", true },
	{ "192.0.2.0/24", "192.0.3.0", false },
	{ "192.0.2.128/25", "192.0.2.127", false },
	{ "192.0.2.128/25", "192.0.2.128", true },
	{ "192.0.2.1", "192.0.2.1", true },
	{ "192.0.2.1", "192.0.2.0", false },
	{ "0.0.0.0/0", "255.255.255.255", true },
	{ "128.0.0.0/1", "127.255.255.255", false },
	{ "192.0.2.0/24", "::ffff:192.0.2.7", true },
	{ "::ffff:192.0.2.0/120", "192.0.2.7", true },
	{ "::ffff:192.0.2.0/120", "::ffff:192.0.2.7", true },
	{ "192.0.2.0/24", "::192.0.2.7", false },
	{ "192.0.2.0/24", "c000:200::", false },
	{ "::/0", "2001:db8::1", true },
	{ "::/0", "192.0.2.1", false },
	{ "::/0", "::ffff:192.0.2.1", false },
	{ "0.0.0.0/0", "2001:db8::1", false },
	{ "2001:db8::/32", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", true },
	{ "2001:db8::/32", "2001:db9::", false },
	{ "2001:db8::/127", "2001:db8::1", true },
	{ "2001:db8::/127", "2001:db8::2", false },
};

static void a_network_has_its_addresses_and_no_other(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(members); i++) {
		uint8_t ip[NET_IP_MAX];
		size_t len = ip_of(members[i].ip, ip);
		struct net net;

		assert_int_equal(net_parse(members[i].net, &net), ERR_OK);
		if (net_has(&net, 1, ip, len) != members[i].has)
			fail_msg("%s and %s", members[i].net, members[i].ip);
	}
}

static void any_of_several_networks_will_do(void **state)
{
	struct net nets[3];
	uint8_t ip[NET_IP_MAX] = { 203, 0, 113, 9 };

	(void)state;
	assert_int_equal(net_parse("192.0.2.0/24", &nets[0]), ERR_OK);
	assert_int_equal(net_parse("2001:db8::/32", &nets[1]), ERR_OK);
	assert_int_equal(net_parse("203.0.113.0/24", &nets[2]), ERR_OK);
	assert_true(net_has(nets, 3, ip, 4));
	assert_false(net_has(nets, 2, ip, 4));
	assert_false(net_has(nets, 0, ip, 4));
	assert_false(net_has(NULL, 0, ip, 4));
	assert_false(net_has(nets, 3, ip, 0));
}

static void a_key_is_the_network(void **state)
{
	uint8_t a[NET_KEY_MAX], b[NET_KEY_MAX], ip[NET_IP_MAX];

	(void)state;
	assert_int_equal(net_key(ip, ip_of("192.0.2.1", ip), 24, 64, a), 5);
	assert_int_equal(net_key(ip, ip_of("::ffff:192.0.2.254", ip), 24, 64, b), 5);
	assert_memory_equal(a, b, 5);
	assert_int_equal(net_key(ip, ip_of("192.0.3.1", ip), 24, 64, b), 5);
	assert_memory_not_equal(a, b, 5);
	assert_int_equal(net_key(ip, ip_of("2001:db8::1", ip), 24, 64, a), 17);
	assert_int_equal(net_key(ip, ip_of("2001:db8:0:0:ffff::", ip), 24, 64, b), 17);
	assert_memory_equal(a, b, 17);
	assert_int_equal(net_key(ip, ip_of("2001:db8:0:1::1", ip), 24, 64, b), 17);
	assert_memory_not_equal(a, b, 17);
	assert_int_equal(net_key(ip, ip_of("192.0.2.1", ip), 32, 128, a), 5);
	assert_memory_equal(a, "\004\300\000\002\001", 5);
	assert_int_equal(net_key(ip, 0, 24, 64, a), 0);
}

static void every_prefix_masks_its_bits(void **state)
{
	(void)state;
	for (unsigned prefix = 0; prefix <= 128; prefix++) {
		uint8_t ip[NET_IP_MAX];

		memset(ip, 0xff, sizeof(ip));
		net_mask(ip, sizeof(ip), prefix);
		for (unsigned bit = 0; bit < 128; bit++)
			assert_int_equal(ip[bit / 8] >> (7 - bit % 8) & 1, bit < prefix);
	}
}

int main(void)
{
	struct CMUnitTest tests[ARRAY_LEN(rows)];
	const struct CMUnitTest more[] = {
		cmocka_unit_test(a_network_has_its_addresses_and_no_other),
		cmocka_unit_test(any_of_several_networks_will_do),
		cmocka_unit_test(a_key_is_the_network),
		cmocka_unit_test(every_prefix_masks_its_bits),
	};
	int failed;

	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		tests[i] = (struct CMUnitTest){
			.name = rows[i].name,
			.test_func = row_parses,
			.initial_state = &rows[i],
		};
	failed = cmocka_run_group_tests_name("net_parse", tests, NULL, NULL);
	return cmocka_run_group_tests_name("net", more, NULL, NULL) + failed;
}
