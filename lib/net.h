/* lib/net.h - networks of IP addresses: "192.0.2.0/24", "2001:db8::/32"
 *
 * An address is 4 or 16 bytes in network order.  An IPv6 address that maps an IPv4 one
 * (::ffff:192.0.2.1, as a socket for both families gives it) counts as that IPv4 address
 * everywhere here, so that no rule is passed by naming the other form; and a network whose
 * prefix lies within ::ffff:0:0/96 is an IPv4 network.  ::/0 and its like hold no IPv4
 * address.  Pure: nothing is looked up, nothing allocated.
 */
#ifndef LIB_NET_H
#define LIB_NET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "lib/err.h"

#define NET_IP_MAX  16 /* bytes of the longest address */
#define NET_KEY_MAX 17

struct net {
	uint8_t addr[NET_IP_MAX]; /* bits behind the prefix, and bytes behind len, are 0 */
	uint8_t len;              /* 4 or 16 */
	uint8_t prefix;           /* 0..32 or 0..128 */
};

/* Parse "ADDRESS/PREFIX" or "ADDRESS" (which is a network of that one host).
 * ERR_SYNTAX: anything else, also a prefix with leading zeros or too long a one, a scope
 * (%eth0), brackets, and bits set behind the prefix: that is more often a slip than a wish. */
MUST_CHECK enum err net_parse(const char *text, struct net *out);

/* Is ip in one of the n networks?  An ip of no length (a Unix socket's) is in none. */
bool net_has(const struct net *nets, size_t n, const uint8_t *ip, size_t len);

/* The IPv4 address that ip maps, in place; returns the new length.  Others are left alone. */
size_t net_unmap(uint8_t *ip, size_t len);

/* Clear the bits of ip behind prefix, which may be at most len * 8 (asserted). */
void net_mask(uint8_t *ip, size_t len, unsigned prefix);

/* The network that ip belongs to when IPv4 networks have v4_prefix bits and IPv6 ones
 * v6_prefix (32 and 128: each host is its own), as a key for counts, rates and the like:
 * its family and its address.  Returns the key's length, 0 when ip is no IP address.
 * Keys made with different prefixes may be equal: one table, one pair of prefixes. */
size_t net_key(const uint8_t *ip, size_t len, unsigned v4_prefix, unsigned v6_prefix,
               uint8_t out[NET_KEY_MAX]);

#endif
