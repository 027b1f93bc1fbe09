/* ingest/notify.h - the mail that tells of refusals which were accepted at RCPT
 *
 * For accounts with on_refusal: accept (the behaviour of older relays).  One mail for a message,
 * one line a refusal: "Web Service Exception <Name>: <text>".  It is mail of our own: null
 * sender, no account, so nothing is ever told of it.  Pure.
 */
#ifndef INGEST_NOTIFY_H
#define INGEST_NOTIFY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "lib/buf.h"

struct notify_refusal {
	const char *exception; /* verdict_exception() */
	const char *text;      /* verdict_text() */
	const char *rcpt;      /* NULL: of the whole message */
};

struct notify_facts {
	const char *hostname, *id;   /* of the notification */
	const char *about;           /* id of the message */
	const char *from;            /* its sender, "" for none */
	const char *const *to;       /* who is told */
	size_t n_to;
	const struct notify_refusal *refusal;
	size_t n;                    /* at least 1 */
	uint64_t now_ms;
};

/* Append the whole message.  eight_bit: an address is not ASCII. */
void notify_build(struct buf *out, const struct notify_facts *f, bool *eight_bit);

#endif
