/* ingest/repair.h - a malformed message made well-formed, where that is asked for
 *
 * Bare CR, bare LF, NUL and lines over 998 octets are refused unless the operator wants
 * them mended.  Mending works on the message without its dots: whatever becomes a line of
 * its own is stuffed again on the way out, so nothing that was hidden can end a message.
 * It goes before header_scan(): a field that only mending makes visible is then seen.  Pure.
 */
#ifndef INGEST_REPAIR_H
#define INGEST_REPAIR_H

#include <stddef.h>
#include "lib/buf.h"

#define REPAIR_LINE_MAX 998 /* RFC 5322, 2.1.1; without CRLF */

/* Rewrite msg from offset from on, where its header section begins; what is before is kept.
 * Afterwards there is no NUL, no CR or LF but in CRLF, and no line over REPAIR_LINE_MAX; a
 * message that was so already is not changed.  It takes one new buffer, of up to twice the
 * size where all line ends were one octet, and linear time.  The rules:
 * - NULs are removed, as if they had never been there;
 * - any number of CRs with an LF behind is one line end, every other CR or LF is one each;
 * - a long line of the header section is folded before its last white space that fits, and
 *   white space at a fold or at either end of the line may be shortened; where there is
 *   none, it is broken at 998 octets with CRLF and a space;
 * - a long line of the body is broken at 998 octets with CRLF;
 * - no break is made within a character of UTF-8. */
void repair_message(struct buf *msg, size_t from);

#endif
