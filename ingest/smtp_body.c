/* ingest/smtp_body.c - the octets of a message: DATA (RFC 5321, 4.1.1.4) and BDAT (RFC 3030)
 *
 * Whatever is refused, the octets that belong to a message are read as such and never as commands.
 */
#include "ingest/smtp_engine.h"

#include <string.h>
#include <strings.h>

#define RESERVE_MAX (64 << 10) /* room made for a message before its first octet comes */
#define DIGITS_MAX  20         /* of a chunk's size (RFC 3030, 2) */

static void body_begin(struct smtp_server *s)
{
	uint64_t room = s->size_said < RESERVE_MAX ? s->size_said + 1 : RESERVE_MAX;

	memset(&s->din, 0, sizeof(s->din));
	s->over = false;
	buf_reset(&s->msg);
	(void)buf_room(&s->msg, SMTP_HEADROOM + room);
	buf_grew(&s->msg, SMTP_HEADROOM);
	s->msg_max = SMTP_HEADROOM + s->conf->max_size;
}

/* What is wrong with the lines of the message; NULL: nothing. */
static const char *fault(const struct smtp_data_in *d)
{
	if (d->nul)
		return "Message holds a NUL octet";
	if (d->bare_lf)
		return "Message holds a bare LF (a line feed without carriage return)";
	if (d->bare_cr)
		return "Message holds a bare CR (a carriage return without line feed)";
	if (d->longest > SMTP_TEXT_MAX)
		return "Message holds a line of more than 998 octets";
	return NULL;
}

static void refuse(struct smtp_server *s, int code, const char *enhanced, const char *text,
                   const char *why)
{
	smtp_forget_mail(s, why);
	smtp_goto(s, PH_READY);
	smtp_deny(s, code, enhanced, text);
}

/* The message has ended on the wire. */
static void body_end(struct smtp_server *s)
{
	const char *wrong = fault(&s->din);
	struct smtp_content c = {
		.eight_bit = s->eight_bit || s->din.eight_bit, .damaged = wrong != NULL,
	};
	uint64_t q;

	if (s->over) {
		refuse(s, 552, "5.3.4", "Message is larger than this server takes", "size");
		return;
	}
	if (wrong != NULL && !s->conf->repair) {
		refuse(s, 554, "5.6.11", wrong, "line-ends");
		return;
	}
	s->messages++;
	q = smtp_question(s, WAIT_MESSAGE);
	s->ev->message(s->owner, q, &s->msg, &c);
	buf_free(&s->msg);
}

void smtp_data_begin(struct smtp_server *s)
{
	if (s->n_ok == 0) {
		s->idle++;
		smtp_say(s, 554, "5.5.1", "No valid recipients");
		return;
	}
	smtp_goto(s, PH_DATA);
	body_begin(s);
	buf_adds(smtp_reply_to(s), "354 End data with <CR><LF>.<CR><LF>\r\n");
}

/* What is too large will be refused: nothing of it is kept, nor what is still to come. */
static void drop_if_over(struct smtp_server *s)
{
	if (!s->over || s->msg_max == 0)
		return;
	buf_free(&s->msg);
	s->msg_max = 0;
}

static bool data_step(struct smtp_server *s)
{
	bool done = false;
	size_t used;

	if (s->view_n == 0)
		return false;
	used = smtp_data_decode(&s->din, s->view, s->view_n, &s->msg, s->msg_max, &s->over, &done);
	smtp_eat(s, used);
	drop_if_over(s);
	if (done)
		body_end(s);
	return done;
}

/* "SIZE" or "SIZE LAST". */
static bool chunk_read(const char *p, size_t n, uint64_t *size, bool *last)
{
	size_t at = 0;

	*size = 0;
	for (; at < n && p[at] >= '0' && p[at] <= '9' && at < DIGITS_MAX; at++)
		if (__builtin_mul_overflow(*size, 10, size) ||
		    __builtin_add_overflow(*size, (uint64_t)(p[at] - '0'), size))
			return false;
	*last = n == at + 5 && strncasecmp(p + at, " LAST", 5) == 0;
	return at > 0 && (at == n || *last);
}

void smtp_chunk_begin(struct smtp_server *s, const char *arg, size_t n)
{
	uint64_t size;
	bool last;

	if (!chunk_read(arg, n, &size, &last)) {
		smtp_finish(s, 501, "5.5.4",
		            "Size of the chunk cannot be read, closing the connection", "chunk");
		return;
	}
	if (size > s->conf->max_size) { /* not worth the wait for its end */
		smtp_finish(s, 552, "5.3.4",
		            "Message is larger than this server takes, closing the connection",
		            "size");
		return;
	}
	s->chunk = size;
	s->chunk_last = last;
	s->chunk_lost = !(s->phase & (PH_RCPT | PH_BDAT)) || s->n_ok == 0;
	if (s->chunk_lost)
		return;
	if (s->phase == PH_RCPT)
		body_begin(s);
	smtp_goto(s, PH_CHUNK);
}

/* Its octets are dropped: now comes the reply. */
static void chunk_refuse(struct smtp_server *s)
{
	s->chunk_lost = false;
	if (s->phase == PH_RCPT) {
		s->idle++;
		smtp_say(s, 554, "5.5.1", "No valid recipients");
	} else {
		smtp_deny(s, 503, "5.5.1",
		          s->phase == PH_MAIL ? "Say RCPT first" : "Say MAIL first");
	}
}

static void chunk_end(struct smtp_server *s)
{
	if (s->chunk_last) {
		smtp_data_chunks_end(&s->din);
		body_end(s);
	} else if (s->over) {
		refuse(s, 552, "5.3.4", "Message is larger than this server takes", "size");
	} else {
		smtp_goto(s, PH_BDAT);
		smtp_say(s, 250, "2.0.0", "Chunk taken");
	}
}

static bool chunk_step(struct smtp_server *s)
{
	size_t n = s->view_n < s->chunk ? s->view_n : s->chunk;

	if (n > 0 && !s->chunk_lost)
		smtp_data_chunk(&s->din, s->view, n, &s->msg, s->msg_max, &s->over);
	drop_if_over(s);
	s->chunk -= n;
	smtp_eat(s, n);
	if (s->chunk > 0)
		return false;
	if (s->chunk_lost)
		chunk_refuse(s);
	else
		chunk_end(s);
	return true;
}

bool smtp_body_wants(const struct smtp_server *s)
{
	return s->chunk_lost || (s->phase & (PH_DATA | PH_CHUNK)) != 0;
}

bool smtp_body_step(struct smtp_server *s)
{
	return s->phase == PH_DATA ? data_step(s) : chunk_step(s);
}
