/* ingest/smtp_server.c - the dialogue: input, the order of replies, the phases
 *
 * Owns the session's buffers and its place in the dialogue.  Never waits, reads no clock
 * and sends nothing.  All that can go wrong is the peer's fault and is a reply.
 */
#include "ingest/smtp_engine.h"

#include <assert.h>
#include <string.h>
#include "lib/mem.h"
#include "proto/smtp_line.h"
#include "proto/smtp_reply.h"

#define ARRAY_SLOTS (SMTP_OPEN_MAX + 1) /* one more for the reply of what follows */

struct smtp_server *smtp_server_new(const struct smtp_conf *conf, const struct smtp_door *door,
                                    const struct smtp_events *ev, void *owner)
{
	struct smtp_server *s = xcalloc(1, sizeof(*s));

	s->conf = conf;
	s->door = *door;
	s->ev = ev;
	s->owner = owner;
	s->phase = PH_NEW;
	return s;
}

void smtp_server_free(struct smtp_server **sp)
{
	struct smtp_server *s = *sp;

	if (s == NULL)
		return;
	for (size_t i = 0; i < ARRAY_LEN(s->slot); i++)
		buf_free(&s->slot[i].reply);
	buf_free(&s->in);
	buf_free(&s->out);
	buf_free(&s->msg);
	smtp_auth_end(s);
	xfree(s);
	*sp = NULL;
}

/* What may follow what. */
static const struct { enum smtp_phase from; unsigned to; } legal[] = {
	{ PH_NEW,   PH_NEW | PH_READY | PH_ENDED },
	{ PH_READY, PH_READY | PH_MAIL | PH_AUTH | PH_NEW | PH_ENDED },
	{ PH_AUTH,  PH_READY | PH_ENDED },
	{ PH_MAIL,  PH_RCPT | PH_READY | PH_NEW | PH_ENDED },
	{ PH_RCPT,  PH_DATA | PH_CHUNK | PH_READY | PH_NEW | PH_ENDED },
	{ PH_DATA,  PH_READY | PH_ENDED },
	{ PH_CHUNK, PH_BDAT | PH_READY | PH_ENDED },
	{ PH_BDAT,  PH_CHUNK | PH_READY | PH_ENDED },
	{ PH_ENDED, PH_ENDED },
};

void smtp_goto(struct smtp_server *s, enum smtp_phase to)
{
	for (size_t i = 0; i < ARRAY_LEN(legal); i++)
		assert(legal[i].from != s->phase || (legal[i].to & to));
	s->phase = to;
}

struct buf *smtp_reply_to(struct smtp_server *s)
{
	struct slot *slot;

	if (s->head == s->tail)
		return &s->out;
	assert(s->tail - s->head < ARRAY_SLOTS);
	slot = &s->slot[s->tail++ % ARRAY_SLOTS];
	slot->ready = true;
	slot->is_rcpt = false;
	buf_reset(&slot->reply);
	return &slot->reply;
}

void smtp_say(struct smtp_server *s, int code, const char *enhanced, const char *text)
{
	smtp_reply_add(smtp_reply_to(s), code, enhanced, text);
}

void smtp_finish(struct smtp_server *s, int code, const char *enhanced, const char *text,
                 const char *why)
{
	smtp_auth_end(s);
	smtp_forget_mail(s, why);
	smtp_say(s, code, enhanced, text);
	smtp_goto(s, PH_ENDED);
}

void smtp_deny(struct smtp_server *s, int code, const char *enhanced, const char *text)
{
	if (++s->errors < s->conf->max_errors || s->tail - s->head > 0)
		smtp_say(s, code, enhanced, text);
	else
		smtp_finish(s, 421, "4.7.0", "Too many errors, closing the connection", "errors");
}

uint64_t smtp_question(struct smtp_server *s, enum smtp_wait wait)
{
	struct slot *slot = &s->slot[s->tail % ARRAY_SLOTS];

	assert(s->tail - s->head < ARRAY_SLOTS && s->wait == WAIT_NOTHING);
	slot->ready = false;
	slot->is_rcpt = wait == WAIT_NOTHING;
	buf_reset(&slot->reply);
	s->wait = wait;
	return s->tail++;
}

void smtp_forget_mail(struct smtp_server *s, const char *why)
{
	if ((s->phase & (PH_MAIL | PH_RCPT | PH_DATA | PH_CHUNK | PH_BDAT)) &&
	    s->wait != WAIT_MESSAGE) /* the message is the owner's */
		s->ev->given_up(s->owner, why);
	s->n_asked = s->n_ok = 0;
	buf_free(&s->msg);
}

static void flush(struct smtp_server *s)
{
	while (s->head < s->tail && s->slot[s->head % ARRAY_SLOTS].ready) {
		struct slot *slot = &s->slot[s->head++ % ARRAY_SLOTS];

		buf_add(&s->out, slot->reply.data, slot->reply.len);
	}
}

void smtp_eat(struct smtp_server *s, size_t n)
{
	s->view += n;
	s->view_n -= n;
}

/* A line that is no command; an AUTH that waits for its response is over. */
static void bad_line(struct smtp_server *s, enum smtp_line_result r, bool auth)
{
	smtp_auth_end(s);
	if (r == SMTP_LINE_BAD)
		smtp_deny(s, 500, "5.5.2", "Line holds a bare CR, a bare LF or a NUL");
	else
		smtp_deny(s, 500, auth ? "5.5.6" : "5.5.2", "Line too long");
}

static size_t line_max(const struct smtp_server *s)
{
	return s->conf->max_line > 0 ? s->conf->max_line : SMTP_LINE_MAX;
}

/* Take one line and run it; false when none can be taken now. */
static bool step_line(struct smtp_server *s)
{
	bool auth = s->phase == PH_AUTH || smtp_command_is(s->view, s->view_n, "AUTH");
	bool open = s->head < s->tail;
	bool skipping = s->skipping;
	const char *line = NULL;
	size_t len = 0, used = 0;
	enum smtp_line_result r;

	if (s->tail - s->head >= SMTP_OPEN_MAX)
		return false;
	r = smtp_line_take(s->view, s->view_n, auth ? SMTP_AUTH_MAX : line_max(s), &skipping,
	                   &line, &len, &used);
	if (r == SMTP_LINE_MORE) {
		smtp_eat(s, used); /* of a line that is too long */
		s->skipping = skipping;
		return false;
	}
	if (open && !(r == SMTP_LINE_OK && smtp_command_is(line, len, "RCPT")))
		return false;
	smtp_eat(s, used);
	if (r != SMTP_LINE_OK) {
		bad_line(s, r, auth);
		s->skipping = r == SMTP_LINE_TOO_LONG && skipping;
		return used > 0;
	}
	s->skipping = false;
	s->commands++;
	if (s->phase == PH_AUTH)
		smtp_auth_line(s, line, len);
	else
		smtp_command(s, line, len);
	return true;
}

static bool step(struct smtp_server *s)
{
	if (s->wait != WAIT_NOTHING || s->phase == PH_ENDED)
		return false;
	if (smtp_body_wants(s))
		return smtp_body_step(s);
	if (s->leaving && s->head == s->tail && (s->phase & (PH_NEW | PH_READY | PH_AUTH))) {
		smtp_finish(s, 421, "4.3.2", "Service is shutting down", "shutdown");
		return false;
	}
	s->stuffed |= s->out.len >= SMTP_OUTPUT_MAX;
	return !s->stuffed && step_line(s);
}

static void run(struct smtp_server *s)
{
	if (s->running)
		return;
	s->running = true;
	if (!s->borrowed) {
		s->view = buf_str(&s->in);
		s->view_n = s->in.len;
	}
	while (step(s))
		continue;
	if (s->phase == PH_ENDED || s->wait == WAIT_TLS)
		s->view_n = 0; /* nobody reads it, or nobody may (RFC 3207, 4.2) */
	if (s->borrowed)
		buf_add(&s->in, s->view, s->view_n);
	else
		buf_consume(&s->in, s->in.len - s->view_n);
	s->borrowed = false;
	s->running = false;
}

void smtp_server_input(struct smtp_server *s, const char *p, size_t n)
{
	if (s->phase == PH_ENDED || s->wait == WAIT_TLS)
		return;
	if (s->in.len > 0) {
		buf_add(&s->in, p, n);
	} else {
		s->view = p;
		s->view_n = n;
		s->borrowed = true;
	}
	run(s);
}

/* The usual words, by what was asked and whether it went well. */
static const struct { int code; const char *enhanced, *text; } usual[2][5] = {
	[false] = {
		[WAIT_NOTHING] = { 451, "4.3.0",
		                   "Recipient cannot be checked now, try again later" },
		[WAIT_AUTH]    = { 535, "5.7.8", "Authentication credentials invalid" },
		[WAIT_MAIL]    = { 451, "4.3.0", "Sender cannot be checked now, try again later" },
		[WAIT_MESSAGE] = { 451, "4.3.0", "Message cannot be taken now, try again later" },
	},
	[true] = {
		[WAIT_NOTHING] = { 250, "2.1.5", "Recipient ok" },
		[WAIT_AUTH]    = { 235, "2.7.0", "Authentication successful" },
		[WAIT_MAIL]    = { 250, "2.1.0", "Sender ok" },
		[WAIT_MESSAGE] = { 250, "2.0.0", "Message accepted" },
	},
};

static void settle(struct smtp_server *s, enum smtp_wait asked, bool ok)
{
	s->wait = WAIT_NOTHING;
	switch (asked) {
	case WAIT_AUTH:
		smtp_auth_end(s);
		s->authed = ok;
		s->errors += !ok;
		break;
	case WAIT_MAIL:
		s->idle += !ok;
		if (ok)
			smtp_goto(s, PH_MAIL);
		break;
	case WAIT_MESSAGE:
		s->n_asked = s->n_ok = s->idle = 0;
		smtp_goto(s, PH_READY);
		break;
	default:
		break;
	}
}

/* The reply that was given is 421: it is the last. */
static void close_after(struct smtp_server *s)
{
	smtp_forget_mail(s, "421");
	smtp_goto(s, PH_ENDED);
}

void smtp_server_answer(struct smtp_server *s, uint64_t q, bool ok, const char *reply)
{
	struct slot *slot = &s->slot[q % ARRAY_SLOTS];
	enum smtp_wait asked;

	if (q < s->head || q >= s->tail || slot->ready || s->phase == PH_ENDED)
		return;
	asked = slot->is_rcpt ? WAIT_NOTHING : s->wait;
	slot->ready = true;
	if (reply != NULL)
		buf_adds(&slot->reply, reply);
	else
		smtp_reply_add(&slot->reply, usual[ok][asked].code, usual[ok][asked].enhanced,
		               usual[ok][asked].text);
	if (slot->is_rcpt)
		s->n_ok += ok;
	else
		settle(s, asked, ok);
	flush(s);
	if (reply != NULL && strncmp(reply, "421", 3) == 0)
		close_after(s);
	else if (asked == WAIT_AUTH && s->errors >= s->conf->max_errors && s->phase == PH_READY)
		smtp_finish(s, 421, "4.7.0", "Too many errors, closing the connection", "errors");
	run(s);
}

void smtp_server_challenge(struct smtp_server *s, uint64_t q, const void *p, size_t n)
{
	struct slot *slot = &s->slot[q % ARRAY_SLOTS];

	if (q < s->head || q >= s->tail || slot->ready || s->wait != WAIT_AUTH)
		return;
	slot->ready = true;
	buf_adds(&slot->reply, "334 ");
	sasl_base64_add(&slot->reply, p, n);
	buf_adds(&slot->reply, "\r\n");
	s->wait = WAIT_NOTHING;
	flush(s);
	run(s);
}

void smtp_restart(struct smtp_server *s)
{
	smtp_forget_mail(s, "restart");
	s->esmtp = s->authed = false;
	s->helo[0] = '\0';
	smtp_goto(s, PH_NEW);
}

void smtp_server_secured(struct smtp_server *s)
{
	if (s->wait == WAIT_TLS)
		s->wait = WAIT_NOTHING;
	s->door.secure = true;
	if (s->phase != PH_ENDED)
		smtp_restart(s);
	run(s);
}

void smtp_server_plain_ok(struct smtp_server *s, bool ok)
{
	s->door.plain_ok = ok;
}

void smtp_server_greet(struct smtp_server *s)
{
	buf_addf(&s->out, "220 %s ESMTP\r\n", s->conf->hostname);
}

void smtp_server_timeout(struct smtp_server *s)
{
	smtp_server_end(s, 421, "4.4.2", "Timeout, closing the connection", "timeout");
}

void smtp_server_end(struct smtp_server *s, int code, const char *enhanced, const char *text,
                     const char *why)
{
	if (s->phase == PH_ENDED)
		return;
	smtp_auth_end(s);
	smtp_forget_mail(s, why);
	smtp_reply_add(&s->out, code, enhanced, text);
	smtp_goto(s, PH_ENDED);
}

void smtp_server_shutdown(struct smtp_server *s)
{
	s->leaving = true;
	if (s->wait == WAIT_TLS) /* between 220 and TLS there is nothing to say it in */
		smtp_goto(s, PH_ENDED);
	run(s);
}

bool smtp_server_drained(struct smtp_server *s)
{
	if (!s->stuffed)
		return false;
	s->stuffed = false;
	run(s);
	return true;
}

struct buf *smtp_server_out(struct smtp_server *s)
{
	return &s->out;
}

bool smtp_server_full(const struct smtp_server *s)
{
	return s->in.len >= SMTP_INPUT_MAX || s->stuffed || s->phase == PH_ENDED;
}

enum smtp_phase smtp_server_phase(const struct smtp_server *s)
{
	return s->phase;
}

bool smtp_server_asking(const struct smtp_server *s)
{
	return (s->wait != WAIT_NOTHING && s->wait != WAIT_TLS) || s->head < s->tail;
}

bool smtp_server_receiving(const struct smtp_server *s)
{
	return (s->phase & (PH_DATA | PH_CHUNK | PH_BDAT)) && s->wait == WAIT_NOTHING;
}

size_t smtp_server_message_bytes(const struct smtp_server *s)
{
	return s->msg.len;
}

uint64_t smtp_server_commands(const struct smtp_server *s)
{
	return s->commands;
}

const char *smtp_server_helo(const struct smtp_server *s)
{
	return s->helo;
}

bool smtp_server_esmtp(const struct smtp_server *s)
{
	return s->esmtp;
}

bool smtp_server_authed(const struct smtp_server *s)
{
	return s->authed;
}
