/* delivery/client.c - the connection: greeting, EHLO, STARTTLS, replies in, QUIT
 *
 * Lines come from proto/smtp_line.h and replies from proto/smtp_reply.h; what either cannot read
 * ends the connection.  Replies to mails are judged in client_txn.c.
 */
#include <string.h>
#include <strings.h>
#include "delivery/client_private.h"
#include "lib/log.h"
#include "lib/mem.h"
#include "proto/smtp_line.h"

void client_goto(struct client *c, enum conn_state to)
{
	static const uint16_t legal[] = {
		[CS_GREETING] = 1u << CS_EHLO | 1u << CS_OVER,
		[CS_EHLO] = 1u << CS_HELO | 1u << CS_STARTTLS | 1u << CS_UP | 1u << CS_OVER,
		[CS_HELO] = 1u << CS_UP | 1u << CS_OVER,
		[CS_STARTTLS] = 1u << CS_HANDSHAKE | 1u << CS_UP | 1u << CS_OVER,
		[CS_HANDSHAKE] = 1u << CS_TLS | 1u << CS_OVER,
		[CS_TLS] = 1u << CS_EHLO | 1u << CS_OVER,
		[CS_UP] = 1u << CS_QUIT | 1u << CS_OVER,
		[CS_QUIT] = 1u << CS_OVER,
		[CS_OVER] = 0,
	};

	if (!(legal[c->state] & (1u << to)))
		die_bug("an SMTP client takes a step that is not legal");
	c->state = to;
}

struct client *client_new(const struct client_conf *conf)
{
	struct client *c = xcalloc(1, sizeof(*c));

	c->conf = *conf;
	return c;
}

void client_free(struct client **cp)
{
	struct client *c = *cp;

	if (c == NULL)
		return;
	mails_free(c);
	smtp_reply_free(&c->reply);
	buf_free(&c->in);
	buf_free(&c->out);
	buf_free(&c->why_text);
	xfree(c);
	*cp = NULL;
}

void client_over(struct client *c, Holdfast__SmtpStage stage, int code, const char *enhanced,
                 const char *text)
{
	if (c->state == CS_OVER)
		return;
	c->why = (struct client_result){ .code = code, .stage = stage };
	memcpy(c->why.enhanced, enhanced, strlen(enhanced) + 1);
	buf_adds(&c->why_text, text);
	c->why.text_len = (uint32_t)c->why_text.len;
	mails_fail(c, code, enhanced, text);
	client_goto(c, CS_OVER);
}

static void over_by_reply(struct client *c, Holdfast__SmtpStage stage)
{
	client_over(c, stage, c->reply.code, c->reply.enhanced, buf_str(&c->reply.text));
}

/* Where in the dialogue we are, for evidence. */
static Holdfast__SmtpStage stage_now(const struct client *c)
{
	switch (c->state) {
	case CS_GREETING:
		return HOLDFAST__SMTP_STAGE__STAGE_GREETING;
	case CS_EHLO:
	case CS_HELO:
		return HOLDFAST__SMTP_STAGE__STAGE_EHLO;
	case CS_STARTTLS:
	case CS_HANDSHAKE:
	case CS_TLS:
		return HOLDFAST__SMTP_STAGE__STAGE_TLS;
	default:
		return mails_stage(c);
	}
}

static void over_by_nonsense(struct client *c, const char *what)
{
	c->protocol_error = true;
	client_over(c, stage_now(c), 0, "", what);
}

static void say_hello(struct client *c, const char *verb)
{
	buf_addf(&c->out, "%s %s\r\n", verb, c->conf.hostname);
}

static bool word_is(const char *line, size_t len, const char *word)
{
	size_t n = strlen(word);

	return len >= n && strncasecmp(line, word, n) == 0 && (len == n || line[n] == ' ');
}

static uint64_t number_at(const char *p, const char *end)
{
	uint64_t v = 0;

	for (; p < end && *p >= '0' && *p <= '9'; p++) {
		if (v > (UINT64_MAX - 9) / 10)
			return UINT64_MAX;
		v = v * 10 + (unsigned)(*p - '0');
	}
	return v;
}

static void learn_one(struct client *c, const char *line, size_t len)
{
	const struct { const char *word; bool *flag; } ext[] = {
		{ "PIPELINING", &c->pipelining }, { "8BITMIME", &c->eight_bit },
		{ "SMTPUTF8", &c->utf8 }, { "STARTTLS", &c->can_tls }, { "DSN", &c->dsn },
		{ "CHUNKING", &c->chunking }, { "REQUIRETLS", &c->requiretls },
		{ "SIZE", &c->has_size },
	};

	for (size_t i = 0; i < ARRAY_LEN(ext); i++)
		*ext[i].flag |= word_is(line, len, ext[i].word);
	if (word_is(line, len, "SIZE"))
		c->size_max = len > 5 ? number_at(line + 5, line + len) : 0;
}

/* The first line greets; each other names an extension (RFC 5321, 4.1.1.1). */
static void learn_extensions(struct client *c)
{
	const char *p = buf_str(&c->reply.text);

	c->pipelining = c->has_size = c->eight_bit = c->utf8 = c->can_tls = false;
	c->dsn = c->chunking = c->requiretls = false;
	for (p = strchr(p, '\n'); p != NULL; p = strchr(p, '\n')) {
		p++;
		learn_one(c, p, strcspn(p, "\n"));
	}
}

static void on_greeting(struct client *c)
{
	if (c->reply.code / 100 != 2) {
		over_by_reply(c, HOLDFAST__SMTP_STAGE__STAGE_GREETING);
		return;
	}
	say_hello(c, "EHLO");
	client_goto(c, CS_EHLO);
}

static void on_ehlo(struct client *c)
{
	if (c->reply.code / 100 == 5) {
		say_hello(c, "HELO");
		client_goto(c, CS_HELO);
	} else if (c->reply.code / 100 != 2) {
		over_by_reply(c, HOLDFAST__SMTP_STAGE__STAGE_EHLO);
	} else {
		learn_extensions(c);
		if (c->can_tls && c->conf.starttls && !c->tls_tried) {
			c->tls_tried = true;
			buf_adds(&c->out, "STARTTLS\r\n");
			client_goto(c, CS_STARTTLS);
		} else {
			client_goto(c, CS_UP);
		}
	}
}

static void on_helo(struct client *c)
{
	if (c->reply.code / 100 == 2)
		client_goto(c, CS_UP);
	else
		over_by_reply(c, HOLDFAST__SMTP_STAGE__STAGE_EHLO);
}

/* Refused STARTTLS: opportunistic means to go on without.  Bytes behind the 220 were put
 * there by somebody in the middle (RFC 3207, 6). */
static void on_starttls(struct client *c)
{
	if (c->reply.code == 421)
		over_by_reply(c, HOLDFAST__SMTP_STAGE__STAGE_TLS);
	else if (c->reply.code != 220)
		client_goto(c, CS_UP);
	else if (c->in.len > 0)
		over_by_nonsense(c, "replies were sent ahead of the TLS handshake");
	else
		client_goto(c, CS_HANDSHAKE);
}

static void on_up(struct client *c)
{
	if (c->n > 0)
		mails_reply(c);
	else if (c->reply.code == 421)
		over_by_reply(c, HOLDFAST__SMTP_STAGE__STAGE_MAIL);
	else
		over_by_nonsense(c, "a reply came that nothing asked for");
}

static void on_quit(struct client *c)
{
	client_over(c, HOLDFAST__SMTP_STAGE__STAGE_NONE, c->reply.code, "", "quit");
}

static void on_too_early(struct client *c)
{
	over_by_nonsense(c, "a reply came in the middle of the TLS handshake");
}

static void (*const on_reply[])(struct client *) = {
	[CS_GREETING] = on_greeting, [CS_EHLO] = on_ehlo,         [CS_HELO] = on_helo,
	[CS_STARTTLS] = on_starttls, [CS_HANDSHAKE] = on_too_early, [CS_TLS] = on_too_early,
	[CS_UP] = on_up,             [CS_QUIT] = on_quit,
};

bool client_feed(struct client *c, const char *p, size_t len)
{
	if (c->state == CS_OVER)
		return true;
	if (c->in.len + len > CLIENT_INPUT_MAX)
		return false;
	buf_add(&c->in, p, len);
	return true;
}

/* Take one line and, when it completes a reply, act on it.  False: no whole line. */
static bool read_line(struct client *c)
{
	const char *line;
	size_t len, used;
	enum smtp_line_result r = smtp_line_take(buf_str(&c->in), c->in.len, CLIENT_LINE_MAX,
	                                         &c->skipping, &line, &len, &used);
	enum err err;

	if (r == SMTP_LINE_MORE)
		return false;
	if (r != SMTP_LINE_OK) {
		over_by_nonsense(c, "a reply line is too long or holds a bare CR, LF or NUL");
		return true;
	}
	err = smtp_reply_line(&c->reply, line, len);
	buf_consume(&c->in, used);
	if (err == ERR_AGAIN)
		return true;
	if (err != ERR_OK)
		over_by_nonsense(c, "what came is no SMTP reply");
	else
		on_reply[c->state](c);
	smtp_reply_reset(&c->reply);
	return true;
}

enum client_act client_step(struct client *c)
{
	do {
		struct mail *m = mails_head(c);

		if (m != NULL && m->phase == MP_DONE)
			return CL_DONE;
		if (c->state == CS_OVER)
			return CL_CLOSE;
		if (m != NULL && m->phase == MP_BODY)
			return CL_BODY;
		if (c->state == CS_HANDSHAKE) {
			client_goto(c, CS_TLS);
			return CL_SECURE;
		}
		if (c->state == CS_UP && !c->ready_told) {
			c->ready_told = true;
			return CL_READY;
		}
		if (c->state == CS_UP && c->n == 0 && c->quit_wanted) {
			buf_adds(&c->out, "QUIT\r\n");
			client_goto(c, CS_QUIT);
		}
	} while (read_line(c));
	return CL_WAIT;
}

struct buf *client_out(struct client *c)
{
	return &c->out;
}

void client_secured(struct client *c, bool ok, const char *why)
{
	if (c->state != CS_TLS)
		return; /* it was lost meanwhile */
	if (!ok) {
		client_over(c, HOLDFAST__SMTP_STAGE__STAGE_TLS, 0, "", why);
		return;
	}
	buf_reset(&c->in);
	c->secure = true;
	say_hello(c, "EHLO");
	client_goto(c, CS_EHLO);
}

void client_quit(struct client *c)
{
	c->quit_wanted = true;
}

void client_lost(struct client *c, const char *why)
{
	client_over(c, stage_now(c), 0, "", why);
}

enum client_wait client_waits(const struct client *c)
{
	static const enum client_wait waits[] = {
		[CS_GREETING] = CLW_GREETING, [CS_EHLO] = CLW_HELLO, [CS_HELO] = CLW_HELLO,
		[CS_STARTTLS] = CLW_HELLO, [CS_HANDSHAKE] = CLW_TLS, [CS_TLS] = CLW_TLS,
		[CS_UP] = CLW_IDLE, [CS_QUIT] = CLW_QUIT, [CS_OVER] = CLW_QUIT,
	};
	const struct mail *m = &c->mail[c->head];

	if (c->state != CS_UP || c->n == 0)
		return waits[c->state];
	switch (m->phase) {
	case MP_COMMANDS:
		return m->step == m->m.n_rcpt + 1u + m->rset ? CLW_DATA : CLW_COMMAND;
	case MP_BODY:
		return CLW_BODY;
	default:
		return CLW_END;
	}
}

bool client_offers(const struct client *c, enum client_ext x)
{
	return x == CLX_DSN ? c->dsn : c->requiretls;
}

bool client_is_secure(const struct client *c)
{
	return c->secure;
}

bool client_protocol_error(const struct client *c)
{
	return c->protocol_error;
}

const struct client_result *client_why(const struct client *c)
{
	return &c->why;
}

const char *client_why_text(const struct client *c)
{
	return buf_str(&c->why_text);
}
