/* lib/stream_out.c - what waits to be sent, and sending it
 *
 * Bytes are collected in chunks; blobs are referenced, so a message's bytes go
 * from where they are into one writev().  Sending happens once a turn of the
 * loop.  What the kernel does not take at once is libuv's until it has.
 */
#include "lib/stream_private.h"

#include <assert.h>
#include <string.h>
#include "lib/mem.h"

enum {
	CHUNK_BYTES = 2048,          /* least size of a chunk of our own */
	IOVECS = 64,
	CIPHER_BYTES = 256 * 1024,   /* most that is encrypted ahead of the kernel */
};

void out_init(struct out *o)
{
	TAILQ_INIT(&o->chunks);
	o->bytes = 0;
}

static void drop(struct out *o, struct chunk *c)
{
	TAILQ_REMOVE(&o->chunks, c, link);
	blob_unref(&c->blob);
	xfree(c);
}

void out_add(struct out *o, const void *p, size_t len)
{
	struct chunk *tail = TAILQ_LAST(&o->chunks, chunks);
	const char *from = p;
	size_t n;

	o->bytes += len;
	if (tail != NULL && tail->room > 0) {
		n = len < tail->room ? len : tail->room;
		memcpy((char *)tail->p + tail->len, from, n);
		tail->len += n;
		tail->room -= n;
		from += n;
		len -= n;
	}
	if (len == 0)
		return;
	n = len < CHUNK_BYTES ? CHUNK_BYTES : len;
	tail = xmalloc(sizeof(*tail) + n);
	tail->blob = NULL;
	tail->p = tail->own;
	tail->len = len;
	tail->room = n - len;
	memcpy(tail->own, from, len);
	TAILQ_INSERT_TAIL(&o->chunks, tail, link);
}

void out_add_blob(struct out *o, struct blob *b, size_t from, size_t len)
{
	struct chunk *c;

	assert(from <= b->len && len <= b->len - from);
	if (len == 0)
		return;
	c = xmalloc(sizeof(*c));
	c->blob = blob_ref(b);
	c->p = (const char *)b->data + from;
	c->len = len;
	c->room = 0;
	o->bytes += len;
	TAILQ_INSERT_TAIL(&o->chunks, c, link);
}

void out_consume(struct out *o, size_t len)
{
	struct chunk *c;

	assert(len <= o->bytes);
	o->bytes -= len;
	while (len > 0) {
		c = TAILQ_FIRST(&o->chunks);
		if (len < c->len) {
			c->p += len;
			c->len -= len;
			return;
		}
		len -= c->len;
		drop(o, c);
	}
}

void out_clear(struct out *o)
{
	struct chunk *c;

	while ((c = TAILQ_FIRST(&o->chunks)) != NULL)
		drop(o, c);
	o->bytes = 0;
}

static unsigned fill_iov(const struct out *o, uv_buf_t *iov, size_t *bytes)
{
	const struct chunk *c;
	unsigned n = 0;

	*bytes = 0;
	TAILQ_FOREACH(c, &o->chunks, link) {
		if (n == IOVECS)
			break;
		iov[n++] = uv_buf_init((char *)c->p, (unsigned)c->len);
		*bytes += c->len;
	}
	return n;
}

static void on_write(uv_write_t *req, int status)
{
	struct stream *s = req->data;

	s->writing = false;
	if (s->state == STREAM_CLOSED)
		return;
	if (status != 0) {
		stream_fail(s, ERR_IO);
		return;
	}
	out_consume(&s->wire, s->writing_bytes);
	stream_flush(s);
}

/* The kernel is full: leave the head of wire to libuv. */
static void write_later(struct stream *s, const uv_buf_t *iov, unsigned n, size_t bytes)
{
	s->req.write.data = s;
	s->writing_bytes = bytes;
	if (uv_write(&s->req.write, (uv_stream_t *)&s->tcp, iov, n, on_write) != 0) {
		stream_fail(s, ERR_IO);
		return;
	}
	s->writing = true;
	if (s->state == STREAM_CLOSING)
		stream_linger(s);
}

/* True when all of wire went out. */
static bool send_wire(struct stream *s)
{
	uv_buf_t iov[IOVECS];
	size_t bytes;
	unsigned n;
	int sent;

	while (s->wire.bytes > 0) {
		n = fill_iov(&s->wire, iov, &bytes);
		sent = uv_try_write((uv_stream_t *)&s->tcp, iov, n);
		if (sent == UV_EAGAIN) {
			write_later(s, iov, n, bytes);
			return false;
		}
		if (sent < 0) {
			stream_fail(s, ERR_IO);
			return false;
		}
		out_consume(&s->wire, (size_t)sent);
	}
	return true;
}

void stream_flush(struct stream *s)
{
	if (s->writing || s->sent_all || s->state == STREAM_CONNECTING || s->state == STREAM_CLOSED)
		return;
	do {
		tls_encrypt(s, CIPHER_BYTES);
		if (s->state == STREAM_CLOSING && s->plain.bytes == 0)
			tls_say_goodbye(s);
		if (!send_wire(s))
			return;
	} while (s->plain.bytes > 0 && s->tls == TLS_OPEN);
	if (s->state == STREAM_CLOSING) {
		stream_end_sending(s);
	} else if (s->plain.bytes == 0 && !s->told_drained) {
		s->told_drained = true;
		if (s->ev->drained != NULL)
			s->ev->drained(s->owner);
	}
}

/* --- calls of the owner --- */

static bool takes_writes(const struct stream *s)
{
	return s->state == STREAM_CONNECTING || s->state == STREAM_OPEN;
}

static struct out *entrance(struct stream *s)
{
	s->told_drained = false;
	stream_make_ready(s);
	return s->tls == TLS_NONE ? &s->wire : &s->plain;
}

void stream_write(struct stream *s, const void *p, size_t len)
{
	if (takes_writes(s) && len > 0)
		out_add(entrance(s), p, len);
}

void stream_write_blob(struct stream *s, struct blob *b, size_t from, size_t len)
{
	if (takes_writes(s) && len > 0)
		out_add_blob(entrance(s), b, from, len);
}

size_t stream_unsent(const struct stream *s)
{
	return s->wire.bytes + s->plain.bytes;
}
