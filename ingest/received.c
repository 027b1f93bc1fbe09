/* ingest/received.c - builds the Received header
 *
 * Pure text; the lines are folded so that none comes near 998 octets.
 */
#include "ingest/received.h"

#include <string.h>
#include "proto/dsn.h"

/* The value for "with" (RFC 3848; RFC 6531, 4.3). */
static const char *protocol(const struct received_facts *f)
{
	static const char *const names[2][2][2] = {
		{ { "ESMTP", "ESMTPA" }, { "ESMTPS", "ESMTPSA" } },
		{ { "UTF8SMTP", "UTF8SMTPA" }, { "UTF8SMTPS", "UTF8SMTPSA" } },
	};

	return f->esmtp ? names[f->utf8][f->tls != NULL][f->authed] : "SMTP";
}

/* An address that can stand in <> as it is. */
static bool printable(const char *s, bool utf8)
{
	for (; *s != '\0'; s++)
		if ((unsigned char)*s <= ' ' || *s == 127 || (!utf8 && (unsigned char)*s > 127))
			return false;
	return true;
}

void received_add(struct buf *out, const struct received_facts *f)
{
	bool v6 = strchr(f->ip, ':') != NULL;
	char date[40];

	dsn_date(f->now_ms, date);
	buf_addf(out, "Received: from %s ([%s%s])\r\n\tby %s with %s id %s", f->helo,
	         v6 ? "IPv6:" : "", f->ip, f->hostname, protocol(f), f->id);
	if (f->tls != NULL)
		buf_addf(out, "\r\n\t(%s%s%s)", f->tls, f->cipher ? " " : "",
		         f->cipher ? f->cipher : "");
	if (f->for_addr != NULL && printable(f->for_addr, f->utf8))
		buf_addf(out, "\r\n\tfor <%s>", f->for_addr);
	buf_addf(out, ";\r\n\t%s\r\n", date);
}
