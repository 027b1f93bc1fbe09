/* proto/smtp_line.h - lines of SMTP: ended by CR LF and by nothing else
 *
 * A bare LF or a bare CR never ends a line (RFC 5321, 2.3.8).  Pure: bytes in,
 * lines out; used by the server for commands and by the client for replies.
 */
#ifndef PROTO_SMTP_LINE_H
#define PROTO_SMTP_LINE_H

#include <stdbool.h>
#include <stddef.h>

enum smtp_line_result {
	SMTP_LINE_MORE,     /* no whole line yet; nothing consumed, unless it was skipping */
	SMTP_LINE_OK,       /* *line and *len are a line without its CRLF */
	SMTP_LINE_BAD,      /* a line that holds a bare CR, a bare LF or a NUL */
	SMTP_LINE_TOO_LONG, /* over max; consumed up to and with its CRLF, or p but for a last CR */
};

/* Take one line from [p, p+n).  max counts the CRLF (RFC 5321, 4.5.3.1.4).  *used is how
 * many bytes the caller consumes, set with every result.  After TOO_LONG with no CRLF
 * seen *skipping is set and must be handed in again: the rest of that line is then
 * swallowed without another TOO_LONG, and the line after it is returned. */
enum smtp_line_result smtp_line_take(const char *p, size_t n, size_t max, bool *skipping,
                                     const char **line, size_t *len, size_t *used);

#endif
