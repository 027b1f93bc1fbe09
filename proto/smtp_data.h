/* proto/smtp_data.h - the message on the wire: dot-stuffing both ways (RFC 5321, 4.5.2)
 *
 * DATA is decoded by smtp_data_decode(), the chunks of BDAT (RFC 3030) by smtp_data_chunk(): both
 * note the same faults of the lines. The end is CR LF . CR LF and nothing else: no other mixture
 * of line endings ends a message or hides an end, whatever either side believes (SMTP smuggling).
 * Pure.
 */
#ifndef PROTO_SMTP_DATA_H
#define PROTO_SMTP_DATA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "lib/buf.h"

/* Decoder state; zeroed is the start of a message. */
struct smtp_data_in {
	uint8_t  state;      /* private */
	bool     bare_cr;    /* a CR without LF was seen */
	bool     bare_lf;    /* an LF without CR was seen */
	bool     nul;        /* a NUL was seen */
	bool     eight_bit;  /* a byte over 127 was seen */
	size_t   line;       /* length of the line so far */
	size_t   longest;    /* longest line, without CRLF */
};

/* Decode from [p, p+n) into out, dots removed.  Returns bytes consumed; *done is set
 * when the end was consumed (it never consumes beyond it).  When out->len
 * reaches max nothing more is stored, but decoding goes on to the end
 * (*over is set): the caller answers 552 after it. */
size_t smtp_data_decode(struct smtp_data_in *d, const char *p, size_t n, struct buf *out,
                        size_t max, bool *over, bool *done);

/* Take [p, p+n), all of it bytes of a chunk: no dots are removed and no end is looked for.
 * Storing stops at max as above.  Chunks of one message share d. */
void smtp_data_chunk(struct smtp_data_in *d, const char *p, size_t n, struct buf *out,
                     size_t max, bool *over);
/* The last chunk was taken: a CR or a line that it ended in counts now. */
void smtp_data_chunks_end(struct smtp_data_in *d);

/* Does a message need stuffing at all?  Most do not: then it is sent as it is. */
bool smtp_data_needs_stuffing(const void *p, size_t n);
/* Append p with leading dots doubled.  at_bol: p begins at the start of a line;
 * updated to the state after p.  A dot after a bare CR or a bare LF is doubled too: a
 * receiver that takes those for line ends then still sees no end inside the message,
 * and a strict one sees one dot more in a message that was malformed before. */
void smtp_data_stuff(struct buf *out, const void *p, size_t n, bool *at_bol);

#endif
