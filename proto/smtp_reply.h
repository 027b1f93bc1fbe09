/* proto/smtp_reply.h - replies (RFC 5321, 4.2) with enhanced codes (RFC 2034, 3463)
 *
 * Pure.  The parser is fed lines without CRLF by the client.
 */
#ifndef PROTO_SMTP_REPLY_H
#define PROTO_SMTP_REPLY_H

#include <stdbool.h>
#include <stddef.h>
#include "lib/buf.h"
#include "lib/err.h"

#define SMTP_REPLY_LINES_MAX 128
#define SMTP_REPLY_TEXT_MAX  4096

struct smtp_reply {
	int  code;            /* 200..599 */
	char enhanced[12];    /* "5.1.1", or "" */
	struct buf text;      /* lines joined by '\n', without codes; cut at SMTP_REPLY_TEXT_MAX */
	unsigned lines;
};

#define SMTP_REPLY_INIT { .text = BUF_INIT }

/* Add a line.  ERR_OK: the reply is complete; ERR_AGAIN: more lines follow;
 * ERR_PROTO: not a reply line, codes differ, or too many lines. */
enum err smtp_reply_line(struct smtp_reply *r, const char *line, size_t len) MUST_CHECK;
void smtp_reply_reset(struct smtp_reply *r);
void smtp_reply_free(struct smtp_reply *r);

/* Split "5.1.1 text": copies a valid enhanced code whose class fits code into out
 * and returns the length of it with the space; 0 and "" where there is none.  Classes 4
 * and 5 both fit 4xx and 5xx: "550 4.2.1" is said in the world, and means something. */
size_t smtp_enhanced_take(int code, const char *text, size_t len, char out[12]);

/* Append one reply, text split at '\n' into lines "550-5.1.1 text"; enhanced NULL or "": none.
 * A line that would pass 512 bytes goes on in another one; control bytes become '?'. */
void smtp_reply_add(struct buf *out, int code, const char *enhanced, const char *text);

#endif
