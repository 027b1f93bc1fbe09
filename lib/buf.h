/* lib/buf.h - a growing byte buffer with a read end
 *
 * Bytes are added at the tail and consumed from the head.  The content is always followed
 * by a NUL that is not counted, so that text can be used as a C string.  A zeroed
 * struct (BUF_INIT) is an empty buffer that owns nothing.
 */
#ifndef LIB_BUF_H
#define LIB_BUF_H

#include <stdarg.h>
#include <stddef.h>

struct buf {
	char  *data; /* first unconsumed byte; "" semantics: see buf_str() */
	size_t len;  /* unconsumed bytes */
	size_t cap;  /* private: bytes allocated */
	size_t head; /* private: bytes consumed before data */
};

#define BUF_INIT { 0 }

void buf_add(struct buf *b, const void *p, size_t len);
void buf_adds(struct buf *b, const char *s);
void buf_addc(struct buf *b, char c);
void buf_addf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void buf_addv(struct buf *b, const char *fmt, va_list ap);

/* Big-endian integers, as store keys want them. */
void buf_add_u16(struct buf *b, unsigned v);
void buf_add_u32(struct buf *b, unsigned v);
void buf_add_u64(struct buf *b, unsigned long long v);

/* Room for len more bytes at the tail; the caller fills it and calls buf_grew(). */
char *buf_room(struct buf *b, size_t len);
void  buf_grew(struct buf *b, size_t len);

void buf_consume(struct buf *b, size_t len); /* len <= b->len */
void buf_reset(struct buf *b);               /* len = 0, memory kept */
void buf_free(struct buf *b);                /* back to BUF_INIT */
const char *buf_str(const struct buf *b);    /* never NULL; valid until b changes */

#endif
