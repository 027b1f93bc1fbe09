/* lib/buf.c - the growing byte buffer
 *
 * One allocation: head consumed bytes, len bytes of content, a NUL, room.  The
 * consumed part is reclaimed by moving the content down when room is wanted
 * and at least as much is consumed as is left, so consuming stays cheap.
 */
#include <assert.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include "lib/buf.h"
#include "lib/mem.h"

#define BUF_MIN 64

static void move_down(struct buf *b)
{
	char *base = b->data - b->head;

	memmove(base, b->data, b->len + 1);
	b->data = base;
	b->head = 0;
}

char *buf_room(struct buf *b, size_t len)
{
	size_t want, cap;

	assert(len < SIZE_MAX / 4 && b->len < SIZE_MAX / 4);
	if (b->data != NULL && b->head + b->len + len < b->cap)
		return b->data + b->len;
	if (b->head > 0 && b->head >= b->len)
		move_down(b);
	want = b->head + b->len + len + 1;
	if (want > b->cap) {
		cap = b->cap * 2;
		if (cap < want)
			cap = want < BUF_MIN ? BUF_MIN : want;
		b->data = (char *)xrealloc(b->data == NULL ? NULL : b->data - b->head, cap)
		        + b->head;
		b->cap = cap;
		b->data[b->len] = '\0';
	}
	return b->data + b->len;
}

void buf_grew(struct buf *b, size_t len)
{
	if (b->data == NULL) {
		assert(len == 0);
		return;
	}
	assert(b->head + b->len + len < b->cap);
	b->len += len;
	b->data[b->len] = '\0';
}

void buf_add(struct buf *b, const void *p, size_t len)
{
	char *to = buf_room(b, len);

	if (len > 0)
		memcpy(to, p, len);
	buf_grew(b, len);
}

void buf_adds(struct buf *b, const char *s)
{
	buf_add(b, s, strlen(s));
}

void buf_addc(struct buf *b, char c)
{
	buf_add(b, &c, 1);
}

void buf_addv(struct buf *b, const char *fmt, va_list ap)
{
	va_list again;
	char *to = buf_room(b, BUF_MIN);
	int n;

	va_copy(again, ap);
	n = vsnprintf(to, BUF_MIN + 1, fmt, ap);
	assert(n >= 0);
	if (n > BUF_MIN) {
		to = buf_room(b, (size_t)n);
		(void)vsnprintf(to, (size_t)n + 1, fmt, again); /* same length as before */
	}
	va_end(again);
	buf_grew(b, (size_t)n);
}

void buf_addf(struct buf *b, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	buf_addv(b, fmt, ap);
	va_end(ap);
}

static void add_be(struct buf *b, unsigned long long v, size_t bytes)
{
	unsigned char be[8];

	for (size_t i = 0; i < bytes; i++)
		be[i] = (unsigned char)(v >> (8 * (bytes - 1 - i)));
	buf_add(b, be, bytes);
}

void buf_add_u16(struct buf *b, unsigned v)
{
	add_be(b, v, 2);
}

void buf_add_u32(struct buf *b, unsigned v)
{
	add_be(b, v, 4);
}

void buf_add_u64(struct buf *b, unsigned long long v)
{
	add_be(b, v, 8);
}

void buf_consume(struct buf *b, size_t len)
{
	assert(len <= b->len);
	if (b->data == NULL)
		return;
	b->data += len;
	b->head += len;
	b->len -= len;
	if (b->len == 0)
		buf_reset(b);
}

void buf_reset(struct buf *b)
{
	if (b->data == NULL)
		return;
	b->data -= b->head;
	b->head = 0;
	b->len = 0;
	b->data[0] = '\0';
}

void buf_free(struct buf *b)
{
	if (b->data != NULL)
		xfree(b->data - b->head);
	*b = (struct buf)BUF_INIT;
}

const char *buf_str(const struct buf *b)
{
	return b->data != NULL ? b->data : "";
}
