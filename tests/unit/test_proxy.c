/* tests/unit/test_proxy.c - every rule of the PROXY protocol that is obeyed, and each break of one
 *
 * Each row is parsed whole, and each start of it, from memory that ends where the bytes end.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>
#include <arpa/inet.h>
#include "lib/err.h"
#include "lib/mem.h"
#include "proto/proxy.h"

#define BYTES(s) s, sizeof(s) - 1
#define SIG "\r\n\r\n\0\r\nQUIT\n"
#define FROM_TO_4 "\300\0\002\001\306\063\144\001"
#define INET SIG "\x21\x11"
#define PORTS "\xdc\x04\0\x19"
#define SIXTEEN "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0"
#define A13 "aaaaaaaaaaaaa"
#define A91 A13 A13 A13 A13 A13 A13 A13

/* used: where the header ends (OK), or how many bytes are needed to know (BAD). */
static struct row {
	const char *name, *in;
	size_t n;
	enum proxy_result want;
	size_t used;
	const char *src, *dst; /* NULL: local */
	unsigned src_port, dst_port;
	bool tls;
} rows[] = {
	{ "nothing", BYTES(""), PROXY_MORE, 0, NULL, NULL, 0, 0, false },
	{ "neither version", BYTES("EHLO x\r\n"), PROXY_BAD, 1, NULL, NULL, 0, 0, false },
	{ "a TLS record", BYTES("\x16\x03\x01"), PROXY_BAD, 1, NULL, NULL, 0, 0, false },
	/* version 1 */
	{ "IPv4", BYTES("PROXY TCP4 192.0.2.1 198.51.100.1 56324 25\r\nEHLO x\r\n"),
	  PROXY_OK, 44, "192.0.2.1", "198.51.100.1", 56324, 25, false },
	{ "IPv6", BYTES("PROXY TCP6 2001:db8::1 2001:DB8::2 1 65535\r\n"),
	  PROXY_OK, 44, "2001:db8::1", "2001:db8::2", 1, 65535, false },
	{ "the longest IPv6", BYTES("PROXY TCP6 2001:0db8:1111:2222:3333:4444:5555:6666 "
	  "2001:0db8:1111:2222:3333:4444:5555:7777 65535 65535\r\n"), PROXY_OK, 104,
	  "2001:db8:1111:2222:3333:4444:5555:6666", "2001:db8:1111:2222:3333:4444:5555:7777",
	  65535, 65535, false },
	{ "a mapped address is IPv4", BYTES("PROXY TCP6 ::ffff:192.0.2.1 2001:db8::2 0 25\r\n"),
	  PROXY_OK, 46, "192.0.2.1", "2001:db8::2", 0, 25, false },
	{ "unknown, short", BYTES("PROXY UNKNOWN\r\nEHLO"), PROXY_OK, 15, NULL, NULL, 0, 0, false },
	{ "unknown, with addresses", BYTES("PROXY UNKNOWN ffff::1 ffff::2 65535 65535\r\n"),
	  PROXY_OK, 43, NULL, NULL, 0, 0, false },
	{ "unknown, of 107 bytes", BYTES("PROXY UNKNOWN " A91 "\r\n"),
	  PROXY_OK, 107, NULL, NULL, 0, 0, false },
	{ "unknown, of 108 bytes", BYTES("PROXY UNKNOWN " A91 "a\r\n"),
	  PROXY_BAD, 106, NULL, NULL, 0, 0, false },
	{ "unknown, with another word", BYTES("PROXY UNKNOWNS\r\n"),
	  PROXY_BAD, 14, NULL, NULL, 0, 0, false },
	{ "unknown, ended by a bare LF", BYTES("PROXY UNKNOWN\n"),
	  PROXY_BAD, 14, NULL, NULL, 0, 0, false },
	{ "unknown, ended by a bare CR", BYTES("PROXY UNKNOWN\rEHLO\r\n"),
	  PROXY_BAD, 15, NULL, NULL, 0, 0, false },
	{ "unknown, with a NUL", BYTES("PROXY UNKNOWN a\0b\r\n"),
	  PROXY_BAD, 16, NULL, NULL, 0, 0, false },
	{ "unknown, with a byte over 127", BYTES("PROXY UNKNOWN \303\244\r\n"),
	  PROXY_BAD, 15, NULL, NULL, 0, 0, false },
	{ "cut short", BYTES("PROXY TCP4 192.0.2.1 198.51."), PROXY_MORE, 0, NULL, NULL, 0, 0, false },
	{ "cut before the LF", BYTES("PROXY TCP4 192.0.2.1 198.51.100.1 56324 25\r"),
	  PROXY_MORE, 0, NULL, NULL, 0, 0, false },
	{ "small letters", BYTES("proxy TCP4 192.0.2.1 198.51.100.1 56324 25\r\n"),
	  PROXY_BAD, 1, NULL, NULL, 0, 0, false },
	{ "another protocol", BYTES("PROXY UDP4 192.0.2.1 198.51.100.1 56324 25\r\n"),
	  PROXY_BAD, 8, NULL, NULL, 0, 0, false },
	{ "another family", BYTES("PROXY TCP5 192.0.2.1"), PROXY_BAD, 10, NULL, NULL, 0, 0, false },
	{ "a bare LF", BYTES("PROXY TCP4 192.0.2.1 198.51.100.1 56324 25\n"),
	  PROXY_BAD, 43, NULL, NULL, 0, 0, false },
	{ "a bare CR", BYTES("PROXY TCP4 192.0.2.1 198.51.100.1 56324 25\rX"),
	  PROXY_BAD, 44, NULL, NULL, 0, 0, false },
	{ "a second blank", BYTES("PROXY TCP4 192.0.2.1  198.51.100.1 56324 25\r\n"),
	  PROXY_BAD, 22, NULL, NULL, 0, 0, false },
	{ "a second blank at the start", BYTES("PROXY  TCP4 192.0.2.1"),
	  PROXY_BAD, 7, NULL, NULL, 0, 0, false },
	{ "a blank at the end", BYTES("PROXY TCP4 192.0.2.1 198.51.100.1 56324 25 \r\n"),
	  PROXY_BAD, 43, NULL, NULL, 0, 0, false },
	{ "a tab", BYTES("PROXY TCP4 192.0.2.1\t198.51.100.1 56324 25\r\n"),
	  PROXY_BAD, 21, NULL, NULL, 0, 0, false },
	{ "a NUL in an address", BYTES("PROXY TCP4 192.0.2.1\0 198.51.100.1 56324 25\r\n"),
	  PROXY_BAD, 21, NULL, NULL, 0, 0, false },
	{ "a number with a leading zero", BYTES("PROXY TCP4 192.0.02.1 198.51.100.1 1 25\r\n"),
	  PROXY_BAD, 22, NULL, NULL, 0, 0, false },
	{ "a number over 255", BYTES("PROXY TCP4 192.0.2.256 198.51.100.1 1 25\r\n"),
	  PROXY_BAD, 23, NULL, NULL, 0, 0, false },
	{ "a bad second address", BYTES("PROXY TCP4 192.0.2.1 198.51.100 1 25\r\n"),
	  PROXY_BAD, 32, NULL, NULL, 0, 0, false },
	{ "an IPv6 address as TCP4", BYTES("PROXY TCP4 ::1 ::1 1 25\r\n"),
	  PROXY_BAD, 12, NULL, NULL, 0, 0, false },
	{ "an IPv4 address as TCP6", BYTES("PROXY TCP6 192.0.2.1 198.51.100.1 1 25\r\n"),
	  PROXY_BAD, 21, NULL, NULL, 0, 0, false },
	{ "too long an address", BYTES("PROXY TCP6 0000:0000:0000:0000:0000:0000:192.100.100.100 "),
	  PROXY_BAD, 51, NULL, NULL, 0, 0, false },
	{ "a port over 65535", BYTES("PROXY TCP4 192.0.2.1 198.51.100.1 65536 25\r\n"),
	  PROXY_BAD, 40, NULL, NULL, 0, 0, false },
	{ "a port with a leading zero", BYTES("PROXY TCP4 192.0.2.1 198.51.100.1 056 25\r\n"),
	  PROXY_BAD, 38, NULL, NULL, 0, 0, false },
	{ "a port of six digits", BYTES("PROXY TCP4 192.0.2.1 198.51.100.1 1 000025\r\n"),
	  PROXY_BAD, 42, NULL, NULL, 0, 0, false },
	{ "a signed port", BYTES("PROXY TCP4 192.0.2.1 198.51.100.1 +1 25\r\n"),
	  PROXY_BAD, 35, NULL, NULL, 0, 0, false },
	{ "no port", BYTES("PROXY TCP4 192.0.2.1 198.51.100.1 56324\r\n"),
	  PROXY_BAD, 40, NULL, NULL, 0, 0, false },
	{ "no last port", BYTES("PROXY TCP4 192.0.2.1 198.51.100.1 56324 \r\n"),
	  PROXY_BAD, 41, NULL, NULL, 0, 0, false },
	/* version 2 */
	{ "2: IPv4", BYTES(INET "\0\x0c" FROM_TO_4 PORTS "EHLO"),
	  PROXY_OK, 28, "192.0.2.1", "198.51.100.1", 56324, 25, false },
	{ "2: IPv6", BYTES(SIG "\x21\x21\0\x24" SIXTEEN "\1" SIXTEEN "\2" PORTS "EHLO"),
	  PROXY_OK, 52, "2001:db8::1", "2001:db8::2", 56324, 25, false },
	{ "2: a mapped address is IPv4", BYTES(SIG "\x21\x21\0\x24"
	  "\0\0\0\0\0\0\0\0\0\0\xff\xff\300\0\002\001" SIXTEEN "\2" PORTS),
	  PROXY_OK, 52, "192.0.2.1", "2001:db8::2", 56324, 25, false },
	{ "2: LOCAL", BYTES(SIG "\x20\0\0\0EHLO"), PROXY_OK, 16, NULL, NULL, 0, 0, false },
	{ "2: LOCAL with a block, and any family", BYTES(SIG "\x20\xff\0\x03" "abcEHLO"),
	  PROXY_OK, 19, NULL, NULL, 0, 0, false },
	{ "2: LOCAL with addresses is local still", BYTES(SIG "\x20\x11\0\x0c" FROM_TO_4 PORTS),
	  PROXY_OK, 28, NULL, NULL, 0, 0, false },
	{ "2: UNSPEC", BYTES(SIG "\x21\0\0\x02" "xyz"), PROXY_OK, 18, NULL, NULL, 0, 0, false },
	{ "2: datagrams name no client", BYTES(SIG "\x21\x12\0\x0c" FROM_TO_4 PORTS),
	  PROXY_OK, 28, NULL, NULL, 0, 0, false },
	{ "2: UNIX", BYTES(SIG "\x21\x31\0\x01" "x"), PROXY_OK, 17, NULL, NULL, 0, 0, false },
	{ "2: a family that is none", BYTES(SIG "\x21\x41\0\0"), PROXY_BAD, 14, NULL, NULL, 0, 0, false },
	{ "2: a transport that is none", BYTES(SIG "\x21\x13\0\0"), PROXY_BAD, 14, NULL, NULL, 0, 0, false },
	{ "2: version 1", BYTES(SIG "\x11\x11\0\0"), PROXY_BAD, 13, NULL, NULL, 0, 0, false },
	{ "2: version 3", BYTES(SIG "\x31\x11\0\0"), PROXY_BAD, 13, NULL, NULL, 0, 0, false },
	{ "2: another command", BYTES(SIG "\x22\x11\0\0"), PROXY_BAD, 13, NULL, NULL, 0, 0, false },
	{ "2: a broken signature", BYTES("\r\n\r\n\0\r\nQUIX\n"), PROXY_BAD, 11, NULL, NULL, 0, 0, false },
	{ "2: empty lines are no signature", BYTES("\r\n\r\n\r\n"), PROXY_BAD, 5, NULL, NULL, 0, 0, false },
	{ "2: too short for IPv4", BYTES(INET "\0\x0b" FROM_TO_4 PORTS),
	  PROXY_BAD, 16, NULL, NULL, 0, 0, false },
	{ "2: too short for IPv6", BYTES(SIG "\x21\x21\0\x23" SIXTEEN "\1" SIXTEEN "\2" PORTS),
	  PROXY_BAD, 16, NULL, NULL, 0, 0, false },
	{ "2: too long by its first byte", BYTES(INET "\x10"), PROXY_BAD, 15, NULL, NULL, 0, 0, false },
	{ "2: too long by one", BYTES(INET "\x0f\xf1"), PROXY_BAD, 16, NULL, NULL, 0, 0, false },
	{ "2: a LOCAL that is too long", BYTES(SIG "\x20\0\x0f\xf1"),
	  PROXY_BAD, 16, NULL, NULL, 0, 0, false },
	{ "2: as long as may be, and not there yet", BYTES(INET "\x0f\xf0" FROM_TO_4 PORTS),
	  PROXY_MORE, 0, NULL, NULL, 0, 0, false },
	{ "2: an unknown type passes", BYTES(INET "\0\x11" FROM_TO_4 PORTS "\xe5\0\2abEHLO"),
	  PROXY_OK, 33, "192.0.2.1", "198.51.100.1", 56324, 25, false },
	{ "2: an empty TLV", BYTES(INET "\0\x0f" FROM_TO_4 PORTS "\x04\0\0"),
	  PROXY_OK, 31, "192.0.2.1", "198.51.100.1", 56324, 25, false },
	{ "2: a TLV that does not fit", BYTES(INET "\0\x11" FROM_TO_4 PORTS "\x04\0\3abEHLO"),
	  PROXY_BAD, 33, NULL, NULL, 0, 0, false },
	{ "2: half a TLV", BYTES(INET "\0\x0e" FROM_TO_4 PORTS "\x04\0EHLO"),
	  PROXY_BAD, 30, NULL, NULL, 0, 0, false },
	{ "2: by TLS", BYTES(INET "\0\x14" FROM_TO_4 PORTS "\x20\0\5\1\0\0\0\1"),
	  PROXY_OK, 36, "192.0.2.1", "198.51.100.1", 56324, 25, true },
	{ "2: by TLS, with its version", BYTES(INET "\0\x1e" FROM_TO_4 PORTS
	  "\x20\0\x0f\7\0\0\0\0\x21\0\7TLSv1.3"),
	  PROXY_OK, 46, "192.0.2.1", "198.51.100.1", 56324, 25, true },
	{ "2: an SSL TLV that says no", BYTES(INET "\0\x14" FROM_TO_4 PORTS "\x20\0\5\6\0\0\0\1"),
	  PROXY_OK, 36, "192.0.2.1", "198.51.100.1", 56324, 25, false },
	{ "2: too short an SSL TLV", BYTES(INET "\0\x13" FROM_TO_4 PORTS "\x20\0\4\1\0\0\0"),
	  PROXY_BAD, 35, NULL, NULL, 0, 0, false },
	{ "2: a TLV in SSL that does not fit", BYTES(INET "\0\x1e" FROM_TO_4 PORTS
	  "\x20\0\x0f\7\0\0\0\0\x21\0\x08TLSv1.3"), PROXY_BAD, 46, NULL, NULL, 0, 0, false },
	{ "2: SSL twice", BYTES(INET "\0\x1c" FROM_TO_4 PORTS "\x20\0\5\1\0\0\0\1\x20\0\5\0\0\0\0\1"),
	  PROXY_BAD, 44, NULL, NULL, 0, 0, false },
	{ "2: the right checksum", BYTES(INET "\0\x17" FROM_TO_4 PORTS
	  "\x03\0\4\xaa\x6f\xa0\xb5\x04\0\1zEHLO"),
	  PROXY_OK, 39, "192.0.2.1", "198.51.100.1", 56324, 25, false },
	{ "2: a wrong checksum", BYTES(INET "\0\x17" FROM_TO_4 PORTS
	  "\x03\0\4\xaa\x6f\xa0\xb4\x04\0\1zEHLO"), PROXY_BAD, 39, NULL, NULL, 0, 0, false },
	{ "2: a changed byte behind the checksum", BYTES(INET "\0\x17" FROM_TO_4 PORTS
	  "\x03\0\4\xaa\x6f\xa0\xb5\x04\0\1yEHLO"), PROXY_BAD, 39, NULL, NULL, 0, 0, false },
	{ "2: a changed port before the checksum", BYTES(INET "\0\x17" FROM_TO_4 "\xdc\x04\0\x18"
	  "\x03\0\4\xaa\x6f\xa0\xb5\x04\0\1zEHLO"), PROXY_BAD, 39, NULL, NULL, 0, 0, false },
	{ "2: a checksum of three bytes", BYTES(INET "\0\x12" FROM_TO_4 PORTS "\x03\0\3\xaa\x6f\xa0"),
	  PROXY_BAD, 34, NULL, NULL, 0, 0, false },
};

/* Parse the first n bytes of in, copied so that a read behind them is found. */
static enum proxy_result parse(const char *in, size_t n, struct proxy_header *h, size_t *used)
{
	char *p = xmemdup(in, n);
	enum proxy_result r;

	r = proxy_parse(p, n, h, used);
	xfree(p);
	return r;
}

static void check_ip(const char *want, const uint8_t *ip, size_t len)
{
	char text[INET6_ADDRSTRLEN];
	uint8_t zeros[16] = { 0 };

	if (want == NULL) {
		assert_int_equal(len, 0);
		assert_memory_equal(ip, zeros, sizeof(zeros));
		return;
	}
	assert_true(len == 4 || len == 16);
	assert_non_null(inet_ntop(len == 4 ? AF_INET : AF_INET6, ip, text, sizeof(text)));
	assert_string_equal(text, want);
}

static void row_parses(void **state)
{
	const struct row *r = *state;
	struct proxy_header h, before;
	size_t used = 4711, known = r->want == PROXY_MORE ? r->n + 1 : r->used;

	memset(&h, 0x5a, sizeof(h));
	before = h;
	for (size_t n = 0; n < known && n <= r->n; n++)
		assert_int_equal(parse(r->in, n, &h, &used), PROXY_MORE);
	for (size_t n = known; r->want == PROXY_BAD && n <= r->n; n++)
		assert_int_equal(parse(r->in, n, &h, &used), PROXY_BAD);
	assert_int_equal(used, 4711);
	assert_memory_equal(&h, &before, sizeof(h));
	if (r->want != PROXY_OK)
		return;
	for (size_t n = known; n <= r->n; n++) {
		assert_int_equal(parse(r->in, n, &h, &used), PROXY_OK);
		assert_int_equal(used, r->used);
		assert_int_equal(h.local, r->src == NULL);
		check_ip(r->src, h.src, h.src_len);
		check_ip(r->dst, h.dst, h.dst_len);
		assert_int_equal(h.src_port, r->src_port);
		assert_int_equal(h.dst_port, r->dst_port);
		assert_int_equal(h.tls, r->tls);
	}
}

static void the_longest_version_2_header_is_taken(void **state)
{
	static char in[PROXY_HEADER_MAX + 1] = INET "\x0f\xf0" FROM_TO_4 PORTS "\x04\x0f\xe1";
	struct proxy_header h;
	size_t used = 0;

	(void)state;
	assert_int_equal(parse(in, sizeof(in) - 2, &h, &used), PROXY_MORE);
	assert_int_equal(parse(in, sizeof(in), &h, &used), PROXY_OK);
	assert_int_equal(used, PROXY_HEADER_MAX);
	in[30]++;
	assert_int_equal(parse(in, sizeof(in), &h, &used), PROXY_BAD);
}

int main(void)
{
	struct CMUnitTest tests[ARRAY_LEN(rows)];
	const struct CMUnitTest more[] = {
		cmocka_unit_test(the_longest_version_2_header_is_taken),
	};
	int failed;

	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		tests[i] = (struct CMUnitTest){
			.name = rows[i].name,
			.test_func = row_parses,
			.initial_state = &rows[i],
		};
	failed = cmocka_run_group_tests_name("proxy_parse", tests, NULL, NULL);
	return cmocka_run_group_tests_name("proxy", more, NULL, NULL) + failed;
}
