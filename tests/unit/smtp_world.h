/* tests/unit/smtp_world.h - the rest of the world: an SMTP server on the test's loop
 *
 * Answers by the local part of a recipient: hard 550 5.1.1, soft 451 4.2.1, later 250 and then
 * 451 after the data, drop closes at RCPT, dropdata closes at the end of the data;
 * all else is taken.  It offers PIPELINING and what `offers` adds, and keeps what it was given.
 */
#ifndef TESTS_UNIT_SMTP_WORLD_H
#define TESTS_UNIT_SMTP_WORLD_H

#include <netinet/in.h>
#include <stdbool.h>
#include <uv.h>
#include "lib/buf.h"
#include "lib/mem.h"

struct world {
	uv_tcp_t listener;
	unsigned port;
	unsigned connections, open, mails, mails_cut;
	unsigned limit;        /* mails on a connection, then 421; 0: none */
	struct buf rcpts;      /* of all mails taken: "a@x.test b@y.test " */
	struct buf last;       /* the last message as it came, with its dots */
	struct buf said;       /* MAIL and RCPT lines */
	const char *offers;    /* further lines of EHLO, "250-DSN\r\n"; NULL: none */
	unsigned bdats;        /* messages that came by BDAT */
};

struct world_conn {
	uv_tcp_t tcp;
	struct world *w;
	struct buf in, out, rcpts, data;
	bool in_data, closing, later, dropdata;
	unsigned mails, accepted;
	size_t chunk;          /* bytes of a BDAT that are still to come */
};

struct world_write {
	uv_write_t req;
	char *p;
};

static void world_closed(uv_handle_t *h)
{
	struct world_conn *c = h->data;

	c->w->open--;
	buf_free(&c->in);
	buf_free(&c->out);
	buf_free(&c->rcpts);
	buf_free(&c->data);
	xfree(c);
}

static void world_close(struct world_conn *c)
{
	if (!c->closing)
		uv_close((uv_handle_t *)&c->tcp, world_closed);
	c->closing = true;
}

static void world_written(uv_write_t *req, int status)
{
	struct world_write *w = (struct world_write *)req;

	xfree(w->p);
	xfree(w);
}

static void world_flush(struct world_conn *c)
{
	struct world_write *w;
	uv_buf_t b;

	if (c->out.len == 0 || c->closing)
		return;
	w = xcalloc(1, sizeof(*w));
	w->p = xmemdup(c->out.data, c->out.len);
	b = uv_buf_init(w->p, (unsigned)c->out.len);
	buf_reset(&c->out);
	if (uv_write(&w->req, (uv_stream_t *)&c->tcp, &b, 1, world_written) != 0)
		world_written(&w->req, -1);
}

static bool world_starts(const char *line, const char *word)
{
	return strncasecmp(line, word, strlen(word)) == 0;
}

static void world_rcpt(struct world_conn *c, const char *addr, size_t len)
{
	if (world_starts(addr, "hard")) {
		buf_adds(&c->out, "550 5.1.1 No such user here\r\n");
	} else if (world_starts(addr, "soft")) {
		buf_adds(&c->out, "451 4.2.1 Mailbox is busy\r\n");
	} else if (world_starts(addr, "drop") && !world_starts(addr, "dropdata")) {
		world_close(c);
	} else {
		c->later |= world_starts(addr, "later");
		c->dropdata |= world_starts(addr, "dropdata");
		c->accepted++;
		buf_add(&c->rcpts, addr, len);
		buf_addc(&c->rcpts, ' ');
		buf_adds(&c->out, "250 2.1.5 ok\r\n");
	}
}

static void world_command(struct world_conn *c, const char *line)
{
	if (world_starts(line, "MAIL") || world_starts(line, "RCPT"))
		buf_addf(&c->w->said, "%s\n", line);
	if (world_starts(line, "EHLO")) {
		buf_addf(&c->out, "250-world.test\r\n%s250-PIPELINING\r\n250 8BITMIME\r\n",
		         c->w->offers != NULL ? c->w->offers : "");
	} else if (world_starts(line, "MAIL") && c->w->limit > 0 && c->mails >= c->w->limit) {
		buf_adds(&c->out, "421 4.3.2 enough for one connection\r\n");
		world_flush(c);
		world_close(c);
	} else if (world_starts(line, "MAIL") || world_starts(line, "RSET")) {
		buf_reset(&c->rcpts);
		c->accepted = 0;
		c->later = c->dropdata = false;
		buf_adds(&c->out, "250 ok\r\n");
	} else if (world_starts(line, "RCPT TO:<")) {
		world_rcpt(c, line + 9, strcspn(line + 9, ">"));
	} else if (world_starts(line, "BDAT ")) {
		c->chunk = strtoul(line + 5, NULL, 10);
		buf_reset(&c->data);
	} else if (world_starts(line, "DATA")) {
		c->in_data = c->accepted > 0;
		buf_reset(&c->data);
		buf_adds(&c->out, c->in_data ? "354 go\r\n" : "554 5.5.1 no recipients\r\n");
	} else if (world_starts(line, "QUIT")) {
		buf_adds(&c->out, "221 bye\r\n");
		world_flush(c);
		world_close(c);
	} else {
		buf_adds(&c->out, "500 what\r\n");
	}
}

static void world_message(struct world_conn *c)
{
	struct world *w = c->w;

	c->in_data = false;
	if (c->dropdata) {
		w->mails_cut++;
		world_close(c);
		return;
	}
	if (c->later) {
		buf_adds(&c->out, "451 4.3.0 later\r\n");
		return;
	}
	c->mails++;
	w->mails++;
	buf_add(&w->rcpts, c->rcpts.data, c->rcpts.len);
	buf_reset(&w->last);
	buf_add(&w->last, c->data.data, c->data.len);
	buf_adds(&c->out, "250 2.0.0 taken\r\n");
}

/* Bytes of a BDAT; it is always the last one. */
static void world_chunk(struct world_conn *c)
{
	size_t n = c->in.len < c->chunk ? c->in.len : c->chunk;

	buf_add(&c->data, c->in.data, n);
	buf_consume(&c->in, n);
	c->chunk -= n;
	if (c->chunk > 0)
		return;
	c->w->bdats++;
	world_message(c);
}

static void world_lines(struct world_conn *c)
{
	char *end;

	if (c->chunk > 0)
		world_chunk(c);
	while (!c->closing && c->chunk == 0 && (end = strstr(buf_str(&c->in), "\r\n")) != NULL) {
		size_t len = (size_t)(end - c->in.data);

		*end = '\0';
		if (!c->in_data) {
			world_command(c, c->in.data);
		} else if (strcmp(c->in.data, ".") == 0) {
			world_message(c);
		} else {
			buf_add(&c->data, c->in.data, len);
			buf_adds(&c->data, "\r\n");
		}
		buf_consume(&c->in, len + 2);
		if (c->chunk > 0)
			world_chunk(c);
	}
}

static void world_alloc(uv_handle_t *h, size_t want, uv_buf_t *out)
{
	*out = uv_buf_init(xmalloc(65536), 65536);
}

static void world_read(uv_stream_t *s, ssize_t n, const uv_buf_t *b)
{
	struct world_conn *c = s->data;

	if (n > 0) {
		buf_add(&c->in, b->base, (size_t)n);
		world_lines(c);
		world_flush(c);
	}
	xfree(b->base);
	if (n < 0)
		world_close(c);
}

static void world_connection(uv_stream_t *listener, int status)
{
	struct world *w = listener->data;
	struct world_conn *c = xcalloc(1, sizeof(*c));

	c->w = w;
	uv_tcp_init(listener->loop, &c->tcp);
	c->tcp.data = c;
	uv_unref((uv_handle_t *)&c->tcp);
	w->open++;
	if (uv_accept(listener, (uv_stream_t *)&c->tcp) != 0) {
		world_close(c);
		return;
	}
	w->connections++;
	uv_read_start((uv_stream_t *)&c->tcp, world_alloc, world_read);
	buf_adds(&c->out, "220 world.test ESMTP\r\n");
	world_flush(c);
}

/* Listen on 127.0.0.1, on port or, where that is 0, a free one. */
static inline void world_open(struct world *w, uv_loop_t *loop, unsigned port)
{
	struct sockaddr_in sa;
	int len = sizeof(sa);

	*w = (struct world){ 0 };
	uv_ip4_addr("127.0.0.1", (int)port, &sa);
	uv_tcp_init(loop, &w->listener);
	uv_unref((uv_handle_t *)&w->listener); /* the loop ends with the stage */
	w->listener.data = w;
	assert_int_equal(uv_tcp_bind(&w->listener, (struct sockaddr *)&sa, 0), 0);
	assert_int_equal(uv_listen((uv_stream_t *)&w->listener, 64, world_connection), 0);
	uv_tcp_getsockname(&w->listener, (struct sockaddr *)&sa, &len);
	w->port = ntohs(sa.sin_port);
}

/* No more connections; w lives until the loop has ended. */
static inline void world_shut(struct world *w)
{
	uv_close((uv_handle_t *)&w->listener, NULL);
	buf_free(&w->rcpts);
	buf_free(&w->last);
	buf_free(&w->said);
}

#endif
