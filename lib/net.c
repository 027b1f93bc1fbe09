/* lib/net.c - networks of IP addresses, as text and as masks
 *
 * Addresses are unmapped first and then compared within their family only.
 */
#include "lib/net.h"

#include <arpa/inet.h>
#include <assert.h>
#include <string.h>

enum { MAPPED_BYTES = 12, MAPPED_BITS = MAPPED_BYTES * 8 };

static const uint8_t mapped[MAPPED_BYTES] = { [10] = 0xff, [11] = 0xff };

static bool is_mapped(const uint8_t *ip, size_t len)
{
	return len == 16 && memcmp(ip, mapped, sizeof(mapped)) == 0;
}

size_t net_unmap(uint8_t *ip, size_t len)
{
	if (!is_mapped(ip, len))
		return len;
	memmove(ip, ip + MAPPED_BYTES, 4);
	memset(ip + 4, 0, MAPPED_BYTES);
	return 4;
}

void net_mask(uint8_t *ip, size_t len, unsigned prefix)
{
	size_t whole = prefix / 8;

	assert(prefix <= len * 8);
	if (whole == len)
		return;
	ip[whole] &= (uint8_t)(0xff00 >> prefix % 8);
	memset(ip + whole + 1, 0, len - whole - 1);
}

/* 1 to 3 digits, no leading zero, at most max. */
static bool parse_prefix(const char *s, unsigned max, unsigned *out)
{
	size_t n = strspn(s, "0123456789");
	unsigned v = 0;

	if (n == 0 || n > 3 || s[n] != '\0' || (n > 1 && s[0] == '0'))
		return false;
	for (size_t i = 0; i < n; i++)
		v = v * 10 + (unsigned)(s[i] - '0');
	*out = v;
	return v <= max;
}

enum err net_parse(const char *text, struct net *out)
{
	char host[INET6_ADDRSTRLEN];
	size_t n = strcspn(text, "/");
	struct net net = { .len = 4 }, masked;
	unsigned prefix;

	if (n >= sizeof(host))
		return ERR_SYNTAX;
	memcpy(host, text, n);
	host[n] = '\0';
	if (inet_pton(AF_INET, host, net.addr) != 1) {
		if (inet_pton(AF_INET6, host, net.addr) != 1)
			return ERR_SYNTAX;
		net.len = 16;
	}
	prefix = net.len * 8U;
	if (text[n] == '/' && !parse_prefix(text + n + 1, prefix, &prefix))
		return ERR_SYNTAX;
	masked = net;
	net_mask(masked.addr, masked.len, prefix);
	if (memcmp(masked.addr, net.addr, sizeof(net.addr)) != 0)
		return ERR_SYNTAX;
	if (prefix >= MAPPED_BITS && is_mapped(net.addr, net.len)) {
		net.len = (uint8_t)net_unmap(net.addr, net.len);
		prefix -= MAPPED_BITS;
	}
	net.prefix = (uint8_t)prefix;
	*out = net;
	return ERR_OK;
}

static bool shares_prefix(const uint8_t *a, const uint8_t *b, unsigned prefix)
{
	size_t whole = prefix / 8;

	if (memcmp(a, b, whole) != 0)
		return false;
	return prefix % 8 == 0 || ((a[whole] ^ b[whole]) & (0xff00 >> prefix % 8) & 0xff) == 0;
}

bool net_has(const struct net *nets, size_t n, const uint8_t *ip, size_t len)
{
	if (is_mapped(ip, len)) {
		ip += MAPPED_BYTES;
		len = 4;
	}
	for (size_t i = 0; i < n; i++)
		if (nets[i].len == len && shares_prefix(nets[i].addr, ip, nets[i].prefix))
			return true;
	return false;
}

size_t net_key(const uint8_t *ip, size_t len, unsigned v4_prefix, unsigned v6_prefix,
               uint8_t out[NET_KEY_MAX])
{
	if (len != 4 && len != 16)
		return 0;
	memcpy(out + 1, ip, len);
	len = net_unmap(out + 1, len);
	net_mask(out + 1, len, len == 4 ? v4_prefix : v6_prefix);
	out[0] = (uint8_t)len;
	return 1 + len;
}
