/* proto/dsn.h - delivery reports to the sender (RFC 3464 in RFC 6522)
 *
 * Pure: facts in, a whole RFC 5322 message out.  The caller never reports on a
 * message whose sender is null, and decides who is reported on (NOTIFY, RFC 3461).
 * Where the message or an address is internationalised, so is the report (RFC 6533).
 */
#ifndef PROTO_DSN_H
#define PROTO_DSN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "lib/buf.h"
#include "proto/holdfast.pb-c.h"

struct dsn_rcpt {
	const char *address;
	const char *action;              /* "failed", "delayed", "relayed" */
	const char *status;              /* "5.1.1" */
	const Holdfast__Evidence *evidence; /* remote's reply; NULL when it never got there */
	const char *why;                 /* a sentence for the person */
	const char *orcpt;               /* ORCPT= as given; NULL or "": not said */
};

struct dsn_facts {
	const char *hostname;            /* Reporting-MTA */
	const char *report_id;           /* of the report itself (text of its uuid) */
	const char *message_id;          /* our id of the original */
	const char *to;                  /* the original's sender */
	uint64_t    now_ms, arrived_ms;
	const struct dsn_rcpt *rcpt;
	size_t      n_rcpt;
	const void *original;            /* the message; its header section is enclosed */
	size_t      original_len;
	const char *envid;               /* ENVID= as given; NULL or "": not said */
	bool        utf8;                /* the message was sent with SMTPUTF8 */
	bool        full;                /* enclose all of it where somebody's delivery failed */
	uint64_t    retry_until_ms;      /* delayed: when it will be given up; 0: not said */
};

/* NOTIFY= as in Recipient.notify: does it want a report of this action?  Nothing said (0) is
 * FAILURE. */
bool dsn_wanted(unsigned notify, const char *action);

/* Append the report: multipart/report with text/plain, message/delivery-status and
 * text/rfc822-headers, or message/rfc822 where it is full; message/global and its kin where
 * it is internationalised.  CRLF line ends; no value from outside can break a line. */
void dsn_build(struct buf *out, const struct dsn_facts *f);

/* "Tue, 24 Nov 2026 08:31:00 +0000" (RFC 5322, 3.3), always UTC. */
void dsn_date(uint64_t ms, char out[40]);

#endif
