/* proto/proxy.h - the PROXY protocol, versions 1 and 2: who a proxy's client is
 *
 * A proxy in front of us opens each connection with one header that names the client
 * (haproxy, doc/proxy-protocol.txt).  Whoever may send it can claim any address, so the
 * caller parses it only where configuration says so, from listed networks, and there always:
 * whether a header comes is never guessed.  It comes before everything else, TLS too.
 *
 * Pure: bytes in, a header out.  Strict: what the document does not allow is BAD.
 */
#ifndef PROTO_PROXY_H
#define PROTO_PROXY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PROXY_HEADER_MAX 4096 /* the longest version 2 header taken; version 1 has 107 bytes */

enum proxy_result {
	PROXY_MORE, /* may become a header; call again with the same bytes and more */
	PROXY_OK,
	PROXY_BAD,  /* no header, and none with more bytes either: close without a word */
};

struct proxy_header {
	/* No client is named: a check by the proxy itself (LOCAL), or one that came by something
	 * that we do not know (UNKNOWN, UNSPEC, UNIX, datagrams).  The connection's own address
	 * stays, which is the proxy's: it earns no trust as a client.  All below is 0. */
	bool     local;
	bool     tls;      /* version 2: the client came to the proxy by TLS (PP2_TYPE_SSL) */
	uint8_t  src[16];  /* the client; a mapped IPv4 address comes out as IPv4 (lib/net.h) */
	size_t   src_len;  /* 4 or 16 */
	uint16_t src_port;
	uint8_t  dst[16];  /* what the client connected to */
	size_t   dst_len;
	uint16_t dst_port;
};

/* Parse what stands at the start of [p, p+n).  With OK *out is filled and *used says how many
 * bytes the header has; what follows is the client's.  Both are untouched otherwise.
 *
 * More bytes never turn BAD or OK into something else, so bytes may be handed in as they
 * come; no more than PROXY_HEADER_MAX are needed.  BAD comes at the first byte that no header
 * has there, except that a field of version 1 is judged at its end, and the TLVs of
 * version 2 are when the header is whole: they must fit, a wrong PP2_TYPE_CRC32C is BAD, and
 * so is a second one or a second PP2_TYPE_SSL; unknown types pass.  The block of a local
 * version 2 header is skipped unread. */
enum proxy_result proxy_parse(const void *p, size_t n, struct proxy_header *out, size_t *used);

#endif
