/* ingest/txn.h - a mail transaction, from MAIL until every part is in custody
 *
 * It outlives its session: when the client goes, mail that is being handed over
 * is handed over all the same, and the quota of mail that is not is given back.
 * The session knows a transaction by its id only, and the other way round.
 */
#ifndef INGEST_TXN_H
#define INGEST_TXN_H

#include "ingest/ingest.h"
#include "ingest/peer.h"

struct txn;

struct txn_client {
	uint64_t    session;
	const char *account;  /* "": to be found by address */
	const struct peer *peer;
	const char *helo;
	const char *tls, *cipher; /* NULL: none */
	bool esmtp, authed;
};

/* MAIL was said; q is the question.  Returns the transaction's id.  The answer may come
 * from inside. */
void txn_begin(struct ingest *in, const struct txn_client *c, const struct smtp_mail *m,
               uint64_t q, uint64_t *id);
void txn_rcpt(struct ingest *in, uint64_t id, uint64_t q, const struct smtp_rcpt *r);
/* The message is complete, behind SMTP_HEADROOM octets: take msg's memory and hand it over. */
void txn_message(struct ingest *in, uint64_t id, uint64_t q, struct buf *msg,
                 const struct smtp_content *c);
/* It ends without message.  Returns at once; what is open ends by itself. */
void txn_give_up(struct ingest *in, uint64_t id, const char *why);
/* The session is gone at whatever step. */
void txn_orphan(struct ingest *in, uint64_t id);

void txns_free(struct ingest *in); /* at close: all, as they are */

#endif
