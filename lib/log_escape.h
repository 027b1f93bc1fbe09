/* lib/log_escape.h - bytes from outside, made harmless for one line of log
 *
 * Private to the log and its tests.  Text values stay bare while they are
 * printable ASCII without space, quote, backslash or equals sign; otherwise
 * they are quoted with \" \\ \n \r \t and \xNN.  JSON strings are pure ASCII:
 * valid UTF-8 becomes \uXXXX, any other byte \ufffd.
 */
#ifndef LIB_LOG_ESCAPE_H
#define LIB_LOG_ESCAPE_H

#include "lib/buf.h"

/* Append len bytes at p; cut > 0 says that so many more were left off. */
void log_escape_text(struct buf *b, const void *p, size_t len, size_t cut);
void log_escape_json(struct buf *b, const void *p, size_t len, size_t cut);

/* Length of the valid UTF-8 sequence at p (1 to 4) and its code point, or 0. */
size_t utf8_next(const unsigned char *p, size_t len, unsigned *code);

#endif
