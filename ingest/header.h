/* ingest/header.h - the header section of a message at submission (RFC 5322, RFC 6409)
 *
 * Says whether it can be parsed, what it lacks, what must not leave, and for which domains
 * it speaks.  Pure and without copies: everything is an offset into the caller's message.
 * Time is linear in the header section, whatever it holds.  Bare CR, bare LF and NUL in
 * the body are not this module's business: see ingest/repair.h, which goes first.
 */
#ifndef INGEST_HEADER_H
#define INGEST_HEADER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "lib/buf.h"
#include "lib/err.h"

#define HEADER_FROM_MAX 100     /* mailboxes in From; with more it is not read */
#define HEADER_COMMENT_DEPTH 16 /* comments within comments */

/* Offsets count from the first byte of the message. */
struct header {
	size_t   body;       /* after the blank line; the message's length when there is none */
	size_t   fields;     /* fields in all */
	size_t   received;   /* of these: Received, */
	size_t   from;       /* From, */
	size_t   bcc;        /* Bcc and Resent-Bcc */
	size_t   from_at, from_end; /* first From field up to and with the last one */
	size_t   bcc_at, bcc_end;   /* the same for Bcc */
	bool     date, message_id;  /* there is one, whatever it says */
	bool     eight_bit;  /* a byte over 127 is in the header section */
	bool     utf8;       /* and all of these are well-formed UTF-8 (false without eight_bit) */
	size_t   bad_line;   /* only with ERR_SYNTAX: the line, from 1, */
	const char *reason;  /* and what is wrong with it, in words; static */
};

/* Read the header section of [msg, msg+len).  A message that is only a header section is
 * fine (it lacks the blank line), and so is an empty section.  The last line may lack its
 * CRLF.  ERR_SYNTAX: a line is neither field nor continuation, or is ended by something
 * else than CRLF; then only bad_line and reason of *out are set, the rest is zero. */
enum err header_scan(const char *msg, size_t len, struct header *out) MUST_CHECK;

/* One field as it stands in the message. */
struct header_field {
	const char *name;
	size_t      name_len;
	const char *value;   /* after the colon: folded lines and the last CRLF included */
	size_t      value_len;
	size_t      lines;
};

/* Step through the fields of a section that header_scan() took: the one at *at, which moves
 * behind it.  False at end (h->body, or less), and at the blank line. */
bool header_next(const char *msg, size_t end, size_t *at, struct header_field *out);

/* Take all Bcc and Resent-Bcc fields out (RFC 6409, 8; RFC 5322, 3.6.3) by moving what stands
 * in front of them towards the end; the body stays where it is.  h is as header_scan() of
 * this very message left it, and describes the message without them afterwards, but
 * for eight_bit and utf8.  Returns by how much the message's start has moved: the
 * caller consumes so many bytes. */
size_t header_cut(char *msg, size_t len, struct header *h);

/* domain: as a list key (smtp_domain_key()), valid during the call only. */
typedef void header_domain_fn(void *owner, const char *domain);

/* Call each for every mailbox of every From field, in their order, with its domain.
 * ERR_NOENT: no From, or no mailbox in it.  ERR_SYNTAX: not readable for certain, that is
 * such that another reader could see another domain; each may have been called before that is
 * noticed.  Read are display names of any bytes, quoted strings, comments, groups and
 * routes; not read are white space, comments or encoded words within an address, address
 * literals, control characters, and a backslash beside 8-bit text that is not UTF-8. */
enum err header_from_domains(const char *msg, size_t len, const struct header *h,
                             header_domain_fn *each, void *owner) MUST_CHECK;

/* Append the Date and the Message-ID that h lacks.  id and hostname are our own. */
void header_add_missing(struct buf *out, const struct header *h, const char *id,
                        const char *hostname, uint64_t now_ms);

/* Length of the well-formed UTF-8 character beyond ASCII at p (RFC 3629), or 0.  Unlike
 * smtp_utf8_read() it takes C1 controls, which RFC 6532 does not forbid in text. */
size_t header_utf8_len(const char *p, size_t n);

#endif
