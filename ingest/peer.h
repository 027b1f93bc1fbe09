/* ingest/peer.h - who is at the other end of a connection, by address
 *
 * Pure.  An IPv6 address that maps an IPv4 one is that IPv4 address.
 */
#ifndef INGEST_PEER_H
#define INGEST_PEER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include "lib/net.h"

struct peer {
	uint8_t ip[16];
	size_t  ip_len;   /* 4 or 16; 0: not known */
	char    text[64]; /* "192.0.2.1", "2001:db8::1", "unknown" */
	bool    loopback;
};

void peer_of_socket(const struct sockaddr_storage *ss, struct peer *out);
void peer_unknown(struct peer *out);
void peer_of_ip(const uint8_t *ip, size_t len, struct peer *out); /* len 4 or 16 */


/* What limits count an address as: a host (IPv6: its /64, which one host may have all of), and
 * its network (/24, IPv6: /48: what one customer of a provider has, and more).  Length of the
 * key; 0: the address is not known. */
size_t peer_host_key(const uint8_t *ip, size_t len, uint8_t out[NET_KEY_MAX]);
size_t peer_network_key(const uint8_t *ip, size_t len, uint8_t out[NET_KEY_MAX]);

#endif
