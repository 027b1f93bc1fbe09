/* ingest/submission.h - what a submission server does to a message (RFC 6409, 8)
 *
 * Between its end on the wire and its hand-over: mend its lines where that is asked for, parse
 * its header section, refuse loops and From domains that are not the account's, take out Bcc, and
 * put in front the trace field and what is missing of Date and Message-ID.  The body is not
 * moved.  Pure.
 */
#ifndef INGEST_SUBMISSION_H
#define INGEST_SUBMISSION_H

#include "ingest/received.h"
#include "ingest/terms.h"
#include "lib/buf.h"
#include "lib/err.h"

struct submission {
	struct received_facts received;
	const struct terms *terms;
	size_t max_hops;   /* Received fields */
	size_t max_size;   /* octets, lines that were mended included */
	bool   damaged;    /* its lines are to be mended */
	bool   eight_bit_header; /* out: the header section holds bytes over 127 */
};

/* Work on msg, which begins with room (at least SMTP_HEADROOM) octets that mean nothing; afterwards
 * it begins with the trace field.  ERR_OK; else the whole reply is appended to no and msg is of no
 * use: ERR_SYNTAX (554 5.6.0), ERR_TOOBIG (552 5.3.4, larger once mended; 554 5.4.6, a loop),
 * ERR_PERM (550 5.7.1, From). */
enum err submission_prepare(struct buf *msg, size_t room, struct submission *s,
                            struct buf *no) MUST_CHECK;

#endif
