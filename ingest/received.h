/* ingest/received.h - the trace header (RFC 5321, 4.4) that goes in front of a message
 *
 * Pure.  What comes from the peer (helo) is checked by the engine before; nothing
 * here can break a line.
 */
#ifndef INGEST_RECEIVED_H
#define INGEST_RECEIVED_H

#include <stdbool.h>
#include <stdint.h>
#include "lib/buf.h"

struct received_facts {
	const char *helo;
	const char *ip;         /* as text, without brackets */
	const char *hostname;   /* ours */
	const char *id;         /* the message's */
	const char *for_addr;   /* the only recipient, or NULL */
	const char *tls;        /* "TLS1.3", or NULL */
	const char *cipher;     /* or NULL */
	bool esmtp, authed;
	bool utf8;              /* SMTPUTF8: addresses may hold any UTF-8 */
	uint64_t now_ms;
};

void received_add(struct buf *out, const struct received_facts *f);

#endif
