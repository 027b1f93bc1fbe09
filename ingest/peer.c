/* ingest/peer.c - addresses into what the rest of ingest asks of them
 *
 * Owns nothing.
 */
#include "ingest/peer.h"

#include <arpa/inet.h>
#include <string.h>

void peer_of_ip(const uint8_t *ip, size_t len, struct peer *out)
{
	memset(out, 0, sizeof(*out));
	memcpy(out->ip, ip, len);
	out->ip_len = net_unmap(out->ip, len);
	if (out->ip_len == 4) {
		out->loopback = out->ip[0] == 127;
		(void)inet_ntop(AF_INET, out->ip, out->text, sizeof(out->text));
	} else {
		out->loopback = IN6_IS_ADDR_LOOPBACK((const struct in6_addr *)out->ip);
		(void)inet_ntop(AF_INET6, out->ip, out->text, sizeof(out->text));
	}
}

void peer_unknown(struct peer *out)
{
	*out = (struct peer){ .text = "unknown" };
}

void peer_of_socket(const struct sockaddr_storage *ss, struct peer *out)
{
	if (ss->ss_family == AF_INET)
		peer_of_ip((const uint8_t *)&((const struct sockaddr_in *)ss)->sin_addr, 4, out);
	else
		peer_of_ip((const uint8_t *)&((const struct sockaddr_in6 *)ss)->sin6_addr, 16, out);
}

size_t peer_host_key(const uint8_t *ip, size_t len, uint8_t out[NET_KEY_MAX])
{
	return net_key(ip, len, 32, 64, out);
}

size_t peer_network_key(const uint8_t *ip, size_t len, uint8_t out[NET_KEY_MAX])
{
	return net_key(ip, len, 24, 48, out);
}
