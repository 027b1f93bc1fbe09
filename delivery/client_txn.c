/* delivery/client_txn.c - the open mails: their commands out, their replies in
 *
 * The commands of a mail are numbered: RSET where the server still has an old
 * envelope, MAIL, one RCPT a recipient, DATA.  Replies come in that order,
 * pipelined or not.  BDAT is no command of the envelope: it goes with the body, when
 * all replies are there and say that somebody wants it.
 */
#include <string.h>
#include "delivery/client_private.h"
#include "lib/log.h"
#include "lib/mem.h"

enum command { CMD_RSET, CMD_MAIL, CMD_RCPT, CMD_DATA };

static enum command command_at(const struct mail *m, unsigned i, unsigned *rcpt)
{
	if (m->rset && i == 0)
		return CMD_RSET;
	i -= m->rset;
	if (i == 0)
		return CMD_MAIL;
	*rcpt = i - 1;
	return i <= m->m.n_rcpt ? CMD_RCPT : CMD_DATA;
}

static unsigned commands_of(const struct mail *m)
{
	return m->m.n_rcpt + 1 + !m->bdat + m->rset;
}

struct mail *mails_head(struct client *c)
{
	return c->n > 0 ? &c->mail[c->head] : NULL;
}

void mails_free(struct client *c)
{
	for (unsigned i = 0; i < CLIENT_MAILS; i++) {
		xfree(c->mail[i].result);
		buf_free(&c->mail[i].text);
	}
}

Holdfast__SmtpStage mails_stage(const struct client *c)
{
	const struct mail *m = &c->mail[c->head];
	unsigned rcpt;

	if (c->n == 0)
		return HOLDFAST__SMTP_STAGE__STAGE_MAIL;
	if (m->phase != MP_COMMANDS)
		return HOLDFAST__SMTP_STAGE__STAGE_END_OF_DATA;
	switch (command_at(m, m->step, &rcpt)) {
	case CMD_RCPT:
		return HOLDFAST__SMTP_STAGE__STAGE_RCPT;
	case CMD_DATA:
		return HOLDFAST__SMTP_STAGE__STAGE_DATA;
	default:
		return HOLDFAST__SMTP_STAGE__STAGE_MAIL;
	}
}

/* ---- results */

static bool pending(const struct client_result *r)
{
	return r->stage == HOLDFAST__SMTP_STAGE__STAGE_NONE;
}

static struct client_result result_make(struct mail *m, Holdfast__SmtpStage stage, int code,
                                        const char *enhanced, const char *text)
{
	struct client_result r = { .code = code, .stage = stage, .text = (uint32_t)m->text.len };

	memcpy(r.enhanced, enhanced, strlen(enhanced) + 1);
	buf_adds(&m->text, text);
	r.text_len = (uint32_t)m->text.len - r.text;
	buf_addc(&m->text, '\0');
	return r;
}

/* All that have no result yet get this one. */
static void settle(struct mail *m, Holdfast__SmtpStage stage, int code, const char *enhanced,
                   const char *text)
{
	struct client_result r = result_make(m, stage, code, enhanced, text);

	for (unsigned i = 0; i < m->m.n_rcpt; i++)
		if (pending(&m->result[i]))
			m->result[i] = r;
}

static void settle_by_reply(struct client *c, struct mail *m, Holdfast__SmtpStage stage)
{
	settle(m, stage, c->reply.code, c->reply.enhanced, buf_str(&c->reply.text));
}

void mails_fail(struct client *c, int code, const char *enhanced, const char *text)
{
	Holdfast__SmtpStage stage = mails_stage(c);

	for (unsigned i = 0; i < c->n; i++) {
		struct mail *m = &c->mail[(c->head + i) % CLIENT_MAILS];

		if (m->phase == MP_DONE)
			continue;
		m->unsure = m->phase == MP_END && code == 0;
		settle(m, stage, code, enhanced, text);
		m->phase = MP_DONE;
		stage = HOLDFAST__SMTP_STAGE__STAGE_MAIL;
	}
}

/* ---- commands out */

static void write_command(struct client *c, struct mail *m)
{
	unsigned rcpt = 0;

	switch (command_at(m, m->sent++, &rcpt)) {
	case CMD_RSET:
		buf_adds(&c->out, "RSET\r\n");
		break;
	case CMD_MAIL:
		say_mail(c, &m->m);
		break;
	case CMD_RCPT:
		say_rcpt(c, &m->m.rcpt[rcpt]);
		break;
	case CMD_DATA:
		buf_adds(&c->out, "DATA\r\n");
		break;
	}
}

bool client_can_start(const struct client *c)
{
	if (c->state != CS_UP || c->quit_wanted)
		return false;
	return c->n == 0 || (c->n == 1 && c->pipelining && c->mail[c->head].phase == MP_END);
}

static void mail_reset(struct mail *m, const struct client_mail *mail)
{
	if (mail->n_rcpt > m->result_cap) {
		m->result = xrealloc(m->result, mail->n_rcpt * sizeof(m->result[0]));
		m->result_cap = mail->n_rcpt;
	}
	memset(m->result, 0, mail->n_rcpt * sizeof(m->result[0]));
	buf_reset(&m->text);
	m->m = *mail;
	m->phase = MP_COMMANDS;
	m->rset = m->bdat = m->mail_failed = m->unsure = false;
	m->sent = m->step = m->accepted = m->said_yes = 0;
}

void client_start(struct client *c, const struct client_mail *mail)
{
	struct mail *m = &c->mail[(c->head + c->n) % CLIENT_MAILS];

	if (!client_can_start(c) || mail->n_rcpt == 0)
		die_bug("a mail is started where none may be");
	mail_reset(m, mail);
	c->n++;
	if (c->has_size && c->size_max > 0 && mail->size > c->size_max) {
		settle(m, HOLDFAST__SMTP_STAGE__STAGE_MAIL, 552, "5.3.4",
		       "message is larger than the server takes");
		m->phase = MP_DONE;
		return;
	}
	if (!c->utf8 && say_needs_utf8(mail)) {
		settle(m, HOLDFAST__SMTP_STAGE__STAGE_MAIL, 550, "5.6.7",
		       "the server does not take internationalised addresses");
		m->phase = MP_DONE;
		return;
	}
	m->bdat = c->conf.chunking && c->chunking;
	m->rset = c->need_rset || (m->bdat && c->n > 1);
	c->need_rset = false;
	do
		write_command(c, m);
	while (c->pipelining && m->sent < commands_of(m));
}

bool client_body_is_raw(const struct client *c)
{
	return c->mail[c->head].bdat;
}

void client_body_sent(struct client *c)
{
	struct mail *m = mails_head(c);

	if (m == NULL || m->phase != MP_BODY)
		die_bug("a body was sent that nothing asked for");
	if (!m->m.ends_in_crlf)
		buf_adds(&c->out, "\r\n");
	if (!m->bdat)
		buf_adds(&c->out, ".\r\n");
	m->phase = MP_END;
}

/* ---- replies in */

static void nonsense(struct client *c, const char *what)
{
	c->protocol_error = true;
	client_over(c, mails_stage(c), 0, "", what);
}

static void reply_to_mail(struct client *c, struct mail *m)
{
	if (c->reply.code / 100 == 2)
		return;
	m->mail_failed = true;
	settle_by_reply(c, m, HOLDFAST__SMTP_STAGE__STAGE_MAIL);
	if (m->sent < commands_of(m))
		m->phase = MP_DONE;
}

static void reply_to_rcpt(struct client *c, struct mail *m, unsigned rcpt)
{
	bool yes = c->reply.code / 100 == 2;

	m->said_yes += yes;
	if (m->mail_failed)
		return;
	if (yes)
		m->accepted++;
	else
		m->result[rcpt] = result_make(m, HOLDFAST__SMTP_STAGE__STAGE_RCPT, c->reply.code,
		                              c->reply.enhanced, buf_str(&c->reply.text));
	if (rcpt + 1 == m->m.n_rcpt && m->accepted == 0 && m->sent < commands_of(m)) {
		m->phase = MP_DONE;
		c->need_rset = true;
	}
}

/* The last reply to the envelope of a mail that goes by BDAT. */
static void envelope_over(struct client *c, struct mail *m)
{
	if (m->accepted == 0) {
		m->phase = MP_DONE;
		c->need_rset = !m->mail_failed || m->said_yes > 0;
		return;
	}
	buf_addf(&c->out, "BDAT %llu LAST\r\n",
	         (unsigned long long)m->m.size + (m->m.ends_in_crlf ? 0 : 2));
	m->phase = MP_BODY;
}

/* A server that says 354 when we have nothing to send gets a lone dot (RFC 2920, 3.1),
 * but not where it took recipients that we gave up: they would get an empty mail. */
static void reply_to_data(struct client *c, struct mail *m)
{
	if (c->reply.code == 354 && m->accepted > 0) {
		m->phase = MP_BODY;
	} else if (c->reply.code == 354 && m->said_yes > 0) {
		nonsense(c, "recipients were accepted after the sender was refused");
	} else if (c->reply.code == 354) {
		buf_adds(&c->out, ".\r\n");
		m->phase = MP_LONE_DOT;
	} else if (c->reply.code / 100 <= 3) {
		nonsense(c, "DATA was answered neither by 354 nor by a refusal");
	} else {
		settle_by_reply(c, m, HOLDFAST__SMTP_STAGE__STAGE_DATA);
		m->phase = MP_DONE;
		c->need_rset = !m->mail_failed;
	}
}

static void reply_to_command(struct client *c, struct mail *m)
{
	unsigned rcpt = 0;
	enum command cmd = command_at(m, m->step, &rcpt);

	if (cmd != CMD_DATA && c->reply.code / 100 == 3) {
		nonsense(c, "a 3xx reply where none is possible");
		return;
	}
	if (cmd == CMD_MAIL)
		reply_to_mail(c, m);
	else if (cmd == CMD_RCPT)
		reply_to_rcpt(c, m, rcpt);
	else if (cmd == CMD_DATA)
		reply_to_data(c, m);
	if (m->phase != MP_COMMANDS)
		return;
	m->step++;
	if (m->sent < commands_of(m))
		write_command(c, m);
	else if (m->bdat && m->step == commands_of(m))
		envelope_over(c, m);
}

void mails_reply(struct client *c)
{
	struct mail *m = mails_head(c);

	if (c->reply.code == 421) {
		client_over(c, mails_stage(c), 421, c->reply.enhanced,
		            buf_str(&c->reply.text));
		return;
	}
	switch (m->phase) {
	case MP_COMMANDS:
		reply_to_command(c, m);
		break;
	case MP_END:
		if (c->reply.code / 100 == 3) {
			nonsense(c, "a 3xx reply to the end of the message");
			break;
		}
		settle_by_reply(c, m, HOLDFAST__SMTP_STAGE__STAGE_END_OF_DATA);
		m->phase = MP_DONE;
		/* What a failed BDAT leaves behind is not certain (RFC 3030, 2). */
		c->need_rset |= m->bdat && c->reply.code / 100 != 2;
		break;
	case MP_LONE_DOT:
		m->phase = MP_DONE;
		break;
	default:
		nonsense(c, "a reply came that nothing asked for");
	}
}

/* ---- for the owner */

const struct client_result *client_results(const struct client *c)
{
	return c->mail[c->head].result;
}

const char *client_text(const struct client *c, const struct client_result *r)
{
	return buf_str(&c->mail[c->head].text) + r->text;
}

bool client_unsure(const struct client *c)
{
	return c->mail[c->head].unsure;
}

void client_next(struct client *c)
{
	if (c->n == 0 || c->mail[c->head].phase != MP_DONE)
		die_bug("a mail is passed that is not over");
	c->head = (c->head + 1) % CLIENT_MAILS;
	c->n--;
}

unsigned client_open(const struct client *c)
{
	return c->n;
}
