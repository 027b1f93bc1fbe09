/* proto/proxy.c - the PROXY protocol, versions 1 and 2
 *
 * Both parsers start anew with each call: headers are short and come at once as a rule.
 */
#include "proto/proxy.h"

#include <arpa/inet.h>
#include <assert.h>
#include <string.h>
#include "lib/err.h"
#include "lib/net.h"

/* ---- version 1: "PROXY TCP4 192.0.2.1 198.51.100.1 56324 25\r\n" */

enum { V1_MAX = 107, IP_TEXT_MAX = 39, PORT_TEXT_MAX = 5 };

static bool take_ip(const char *s, int family, uint8_t ip[16], size_t *len)
{
	if (inet_pton(family, s, ip) != 1)
		return false;
	*len = net_unmap(ip, family == AF_INET ? 4 : 16);
	return true;
}

static bool take_src(const char *s, int family, struct proxy_header *h)
{
	return take_ip(s, family, h->src, &h->src_len);
}

static bool take_dst(const char *s, int family, struct proxy_header *h)
{
	return take_ip(s, family, h->dst, &h->dst_len);
}

static bool take_port(const char *s, uint16_t *port)
{
	size_t n = strlen(s);
	unsigned v = 0;

	if (n == 0 || n > PORT_TEXT_MAX || (n > 1 && s[0] == '0'))
		return false;
	for (; *s != '\0'; s++)
		v = v * 10 + (unsigned)(*s - '0');
	*port = (uint16_t)v;
	return v <= UINT16_MAX;
}

static bool take_src_port(const char *s, int family, struct proxy_header *h)
{
	(void)family;
	return take_port(s, &h->src_port);
}

static bool take_dst_port(const char *s, int family, struct proxy_header *h)
{
	(void)family;
	return take_port(s, &h->dst_port);
}

#define DIGITS "0123456789"

/* The fields in their order: the bytes that they are of, which are all that the functions
 * get to see, and what ends them. */
static const struct v1_field {
	const char *v4_bytes, *v6_bytes;
	size_t max;
	char end;
	bool (*take)(const char *s, int family, struct proxy_header *h);
} v1_fields[] = {
	{ DIGITS ".", DIGITS "abcdefABCDEF:.", IP_TEXT_MAX,   ' ',  take_src },
	{ DIGITS ".", DIGITS "abcdefABCDEF:.", IP_TEXT_MAX,   ' ',  take_dst },
	{ DIGITS,     DIGITS,                  PORT_TEXT_MAX, ' ',  take_src_port },
	{ DIGITS,     DIGITS,                  PORT_TEXT_MAX, '\r', take_dst_port },
};

/* As far as both go, are the bytes those of word? */
static bool starts(const char *p, size_t n, const char *word, size_t len)
{
	return memcmp(p, word, n < len ? n : len) == 0;
}

static size_t run_of(const char *p, size_t n, const char *bytes)
{
	size_t i = 0;

	while (i < n && p[i] != '\0' && strchr(bytes, p[i]) != NULL)
		i++;
	return i;
}

/* The end of the line at p[at], behind the CR. */
static enum proxy_result v1_end(const char *p, size_t n, size_t at, size_t *used)
{
	if (at >= V1_MAX)
		return PROXY_BAD;
	if (at == n)
		return PROXY_MORE;
	*used = at + 1;
	return p[at] == '\n' ? PROXY_OK : PROXY_BAD;
}

static enum proxy_result v1_addresses(const char *p, size_t n, size_t at, int family,
                                      struct proxy_header *h, size_t *used)
{
	for (size_t i = 0; i < ARRAY_LEN(v1_fields); i++) {
		const struct v1_field *f = &v1_fields[i];
		char text[IP_TEXT_MAX + 1];
		size_t len = run_of(p + at, n - at, family == AF_INET ? f->v4_bytes : f->v6_bytes);

		if (len > f->max)
			return PROXY_BAD;
		if (at + len == n)
			return PROXY_MORE;
		memcpy(text, p + at, len);
		text[len] = '\0';
		at += len;
		if (p[at++] != f->end || !f->take(text, family, h))
			return PROXY_BAD;
	}
	return v1_end(p, n, at, used);
}

/* What follows UNKNOWN is skipped, but has to be a line still. */
static enum proxy_result v1_unknown(const char *p, size_t n, size_t at,
                                    struct proxy_header *h, size_t *used)
{
	if (at < n && p[at] != ' ' && p[at] != '\r')
		return PROXY_BAD;
	while (at < n && p[at] >= ' ' && p[at] <= '~')
		at++;
	if (at + 1 >= V1_MAX || (at < n && p[at] != '\r'))
		return PROXY_BAD;
	if (at == n)
		return PROXY_MORE;
	h->local = true;
	return v1_end(p, n, at + 1, used);
}

static enum proxy_result v1_parse(const char *p, size_t n, struct proxy_header *h, size_t *used)
{
	static const struct {
		const char *start;
		size_t len;
		int family;
	} kinds[] = {
		{ "PROXY TCP4 ",   11, AF_INET },
		{ "PROXY TCP6 ",   11, AF_INET6 },
		{ "PROXY UNKNOWN", 13, AF_UNSPEC },
	};

	for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
		if (!starts(p, n, kinds[i].start, kinds[i].len))
			continue;
		if (n <= kinds[i].len)
			return PROXY_MORE;
		if (kinds[i].family == AF_UNSPEC)
			return v1_unknown(p, n, kinds[i].len, h, used);
		return v1_addresses(p, n, kinds[i].len, kinds[i].family, h, used);
	}
	return PROXY_BAD;
}

/* ---- version 2 */

enum {
	SIGNATURE_LEN = 12, V2_LEN = 16,
	AT_COMMAND = 12, AT_FAMILY, AT_LENGTH,
	V2_LOCAL = 0x20, V2_PROXY = 0x21, /* the version, and the command */
	INET_STREAM = 0x11, INET6_STREAM = 0x21,
	FAMILY_LAST = 3, TRANSPORT_LAST = 2, /* UNIX, datagrams */
	TLV_LEN = 3, TYPE_CRC32C = 0x03, CRC_LEN = 4,
	TYPE_SSL = 0x20, SSL_LEN = 5, CLIENT_SSL = 0x01,
};

static const char signature[SIGNATURE_LEN] = "\r\n\r\n\0\r\nQUIT\n";

static unsigned be16(const uint8_t *p)
{
	return (unsigned)p[0] << 8 | p[1];
}

static uint32_t be32(const uint8_t *p)
{
	return (uint32_t)be16(p) << 16 | be16(p + 2);
}

/* Castagnoli's polynomial, four bits a step: a header is short. */
static uint32_t crc32c(uint32_t crc, const uint8_t *p, size_t n)
{
	static const uint32_t step[16] = {
		0x00000000, 0x105ec76f, 0x20bd8ede, 0x30e349b1,
		0x417b1dbc, 0x5125dad3, 0x61c69362, 0x7198540d,
		0x82f63b78, 0x92a8fc17, 0xa24bb5a6, 0xb21572c9,
		0xc38d26c4, 0xd3d3e1ab, 0xe330a81a, 0xf36e6f75,
	};

	for (size_t i = 0; i < n; i++) {
		crc ^= p[i];
		crc = crc >> 4 ^ step[crc & 15];
		crc = crc >> 4 ^ step[crc & 15];
	}
	return crc;
}

/* The sum of the whole header is taken with zeros in place of the sum at p[at]. */
static bool crc_is_good(const uint8_t *p, size_t n, size_t at)
{
	static const uint8_t zeros[CRC_LEN];
	uint32_t crc = crc32c(UINT32_MAX, p, at);

	crc = crc32c(crc, zeros, CRC_LEN);
	crc = crc32c(crc, p + at + CRC_LEN, n - at - CRC_LEN);
	return (crc ^ UINT32_MAX) == be32(p + at);
}

/* Step over the TLV at p[*at]; false when it does not fit into [p, p+n). */
static bool next_tlv(const uint8_t *p, size_t n, size_t *at, const uint8_t **value, size_t *len)
{
	if (n - *at < TLV_LEN)
		return false;
	*len = be16(p + *at + 1);
	if (n - *at - TLV_LEN < *len)
		return false;
	*value = p + *at + TLV_LEN;
	*at += TLV_LEN + *len;
	return true;
}

static bool walk_ssl(const uint8_t *p, size_t n, bool *tls)
{
	const uint8_t *value;
	size_t at = SSL_LEN, len;

	if (n < SSL_LEN)
		return false;
	*tls = p[0] & CLIENT_SSL;
	while (at < n)
		if (!next_tlv(p, n, &at, &value, &len))
			return false;
	return true;
}

/* Walk the TLVs of the header [p, p+n), which begin at p[at]. */
static bool walk_tlvs(const uint8_t *p, size_t n, size_t at, struct proxy_header *h)
{
	bool sum_seen = false, ssl_seen = false;

	while (at < n) {
		uint8_t type = p[at];
		const uint8_t *value;
		size_t len;

		if (!next_tlv(p, n, &at, &value, &len))
			return false;
		if (type == TYPE_CRC32C) {
			if (sum_seen || len != CRC_LEN || !crc_is_good(p, n, (size_t)(value - p)))
				return false;
			sum_seen = true;
		} else if (type == TYPE_SSL) {
			if (ssl_seen || !walk_ssl(value, len, &h->tls))
				return false;
			ssl_seen = true;
		}
	}
	return true;
}

/* Bytes of one address when the header names a client that we can use; 0 when not. */
static size_t v2_ip_len(const uint8_t *p)
{
	if (p[AT_COMMAND] == V2_LOCAL)
		return 0;
	return p[AT_FAMILY] == INET_STREAM ? 4 : p[AT_FAMILY] == INET6_STREAM ? 16 : 0;
}

static bool v2_client(const uint8_t *p, size_t n, size_t ip_len, struct proxy_header *h)
{
	const uint8_t *src = p + V2_LEN, *dst = src + ip_len, *ports = dst + ip_len;

	memcpy(h->src, src, ip_len);
	memcpy(h->dst, dst, ip_len);
	h->src_len = net_unmap(h->src, ip_len);
	h->dst_len = net_unmap(h->dst, ip_len);
	h->src_port = (uint16_t)be16(ports);
	h->dst_port = (uint16_t)be16(ports + 2);
	return walk_tlvs(p, n, V2_LEN + 2 * ip_len + 4, h);
}

/* May these n bytes be the start of the fixed part?  A LOCAL's family is not looked at. */
static bool v2_starts_well(const uint8_t *p, size_t n)
{
	if (!starts((const char *)p, n, signature, SIGNATURE_LEN))
		return false;
	if (n > AT_COMMAND && p[AT_COMMAND] != V2_LOCAL && p[AT_COMMAND] != V2_PROXY)
		return false;
	if (n > AT_FAMILY && p[AT_COMMAND] == V2_PROXY &&
	    (p[AT_FAMILY] >> 4 > FAMILY_LAST || (p[AT_FAMILY] & 15) > TRANSPORT_LAST))
		return false;
	return n <= AT_LENGTH || p[AT_LENGTH] < PROXY_HEADER_MAX >> 8;
}

static enum proxy_result v2_parse(const uint8_t *p, size_t n, struct proxy_header *h,
                                  size_t *used)
{
	size_t len, ip_len;

	if (!v2_starts_well(p, n))
		return PROXY_BAD;
	if (n < V2_LEN)
		return PROXY_MORE;
	len = V2_LEN + be16(p + AT_LENGTH);
	ip_len = v2_ip_len(p);
	if (len > PROXY_HEADER_MAX || (ip_len > 0 && len < V2_LEN + 2 * ip_len + 4))
		return PROXY_BAD;
	if (n < len)
		return PROXY_MORE;
	*used = len;
	if (ip_len > 0)
		return v2_client(p, len, ip_len, h) ? PROXY_OK : PROXY_BAD;
	h->local = true;
	return PROXY_OK;
}

enum proxy_result proxy_parse(const void *p, size_t n, struct proxy_header *out, size_t *used)
{
	struct proxy_header h = { 0 };
	enum proxy_result r;
	size_t len = 0;

	if (n == 0)
		return PROXY_MORE;
	r = *(const char *)p == 'P' ? v1_parse(p, n, &h, &len) : v2_parse(p, n, &h, &len);
	if (r != PROXY_OK)
		return r;
	assert(len > 0 && len <= n);
	*out = h;
	*used = len;
	return PROXY_OK;
}
