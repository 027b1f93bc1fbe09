/* ingest/submission.c - the steps of RFC 6409, in their order
 *
 * Owns nothing.  Fields of our own are written backwards into the room in front of the message,
 * so that nothing behind them moves.
 */
#include "ingest/submission.h"

#include <assert.h>
#include <string.h>
#include "ingest/header.h"
#include "ingest/repair.h"
#include "proto/smtp_reply.h"

static enum err refuse_syntax(const struct header *h, struct buf *no)
{
	struct buf text = BUF_INIT;

	buf_addf(&text, "Header section cannot be parsed: line %zu: %s", h->bad_line, h->reason);
	smtp_reply_add(no, 554, "5.6.0", buf_str(&text));
	buf_free(&text);
	return ERR_SYNTAX;
}

/* A line end that was one octet is two now. */
static enum err refuse_size(struct buf *no)
{
	smtp_reply_add(no, 552, "5.3.4",
	               "Message is larger than this server takes, once its lines are mended");
	return ERR_TOOBIG;
}

static enum err refuse_loop(const struct header *h, struct buf *no)
{
	struct buf text = BUF_INIT;

	buf_addf(&text, "Message loops: it has %zu Received fields", h->received);
	smtp_reply_add(no, 554, "5.4.6", buf_str(&text));
	buf_free(&text);
	return ERR_TOOBIG;
}

struct from_check {
	const struct terms *terms;
	struct buf bad; /* the first domain that is not the account's */
};

static void check_domain(void *owner, const char *domain)
{
	struct from_check *c = owner;

	if (c->bad.len == 0 && !terms_allow_domain(c->terms, domain))
		buf_adds(&c->bad, domain);
}

static enum err from_check(const char *msg, size_t len, const struct header *h,
                           const struct terms *terms, struct buf *no)
{
	struct from_check c = { .terms = terms };
	struct buf text = BUF_INIT;
	enum err err;

	if (!terms->check_from)
		return ERR_OK;
	err = header_from_domains(msg, len, h, check_domain, &c);
	if (err == ERR_NOENT)
		buf_adds(&text, "Message has no From address, and this account's are checked");
	else if (err != ERR_OK)
		buf_adds(&text, "From cannot be read, and this account's is checked");
	else if (c.bad.len > 0)
		buf_addf(&text, "From domain %s is not registered for this account",
		         buf_str(&c.bad));
	if (text.len > 0)
		smtp_reply_add(no, 550, "5.7.1", buf_str(&text));
	err = text.len > 0 ? ERR_PERM : ERR_OK;
	buf_free(&text);
	buf_free(&c.bad);
	return err;
}

static void write_front(struct buf *msg, size_t room, const struct submission *s,
                        const struct header *h)
{
	struct buf front = BUF_INIT;

	received_add(&front, &s->received);
	header_add_missing(&front, h, s->received.id, s->received.hostname, s->received.now_ms);
	assert(front.len <= room);
	memcpy(msg->data + room - front.len, front.data, front.len);
	buf_consume(msg, room - front.len);
	buf_free(&front);
}

enum err submission_prepare(struct buf *msg, size_t room, struct submission *s, struct buf *no)
{
	struct header h;
	enum err err;

	if (s->damaged)
		repair_message(msg, room);
	if (msg->len - room > s->max_size)
		return refuse_size(no);
	if (header_scan(msg->data + room, msg->len - room, &h) != ERR_OK)
		return refuse_syntax(&h, no);
	if (h.received > s->max_hops)
		return refuse_loop(&h, no);
	err = from_check(msg->data + room, msg->len - room, &h, s->terms, no);
	if (err != ERR_OK)
		return err;
	s->eight_bit_header = h.eight_bit;
	room += header_cut(msg->data + room, msg->len - room, &h);
	write_front(msg, room, s, &h);
	return ERR_OK;
}
