/* ingest/smtp_cmd.c - the verbs of SMTP
 *
 * One row a verb; the dispatcher knows sequence and arguments, so that a
 * function here may assume that the phase is right and that no reply before it
 * is open (RCPT: other than of RCPT).  It judges only its own argument.
 */
#include "ingest/smtp_engine.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include "proto/smtp_reply.h"

#define ANY (PH_NEW | PH_READY | PH_MAIL | PH_RCPT | PH_BDAT)

enum {
	ARG_NONE = 1,
	ARG_SOME = 2,
	IDLE     = 4, /* brings no message nearer: max_commands counts it */
};

typedef void cmd_fn(struct smtp_server *s, const char *arg, size_t n);

bool smtp_command_is(const char *line, size_t n, const char *verb)
{
	size_t len = strlen(verb);

	return n >= len && strncasecmp(line, verb, len) == 0 && (n == len || line[len] == ' ');
}

bool smtp_helo_fits(const char *p, size_t n)
{
	if (n == 0 || n > SMTP_HELO_MAX)
		return false;
	for (size_t i = 0; i < n; i++)
		if (p[i] <= ' ' || p[i] > '~' || strchr("()<>\\\"", p[i]) != NULL)
			return false;
	return true;
}

static bool greet_take(struct smtp_server *s, const char *arg, size_t n, bool esmtp)
{
	if (!smtp_helo_fits(arg, n)) {
		smtp_deny(s, 501, "5.5.4", "Name yourself: EHLO host");
		return false;
	}
	smtp_forget_mail(s, "ehlo");
	memcpy(s->helo, arg, n);
	s->helo[n] = '\0';
	s->esmtp = esmtp;
	smtp_goto(s, PH_READY);
	return true;
}

/* RFC 9422. */
static void limits_offer(const struct smtp_server *s, struct buf *out)
{
	buf_adds(out, "250-LIMITS");
	if (s->conf->max_messages > 0)
		buf_addf(out, " MAILMAX=%u", s->conf->max_messages);
	buf_addf(out, " RCPTMAX=%u\r\n", s->conf->max_rcpt);
}

static void cmd_ehlo(struct smtp_server *s, const char *arg, size_t n)
{
	struct buf *out;

	if (!greet_take(s, arg, n, true))
		return;
	out = smtp_reply_to(s);
	buf_addf(out, "250-%s\r\n250-PIPELINING\r\n250-SIZE %llu\r\n250-8BITMIME\r\n",
	         s->conf->hostname, (unsigned long long)s->conf->max_size);
	buf_adds(out, "250-SMTPUTF8\r\n250-CHUNKING\r\n250-DSN\r\n");
	limits_offer(s, out);
	if (s->door.tls_offered && !s->door.secure)
		buf_adds(out, "250-STARTTLS\r\n");
	if (s->door.requiretls && s->door.secure)
		buf_adds(out, "250-REQUIRETLS\r\n");
	if (smtp_auth_allowed(s))
		smtp_auth_offer(s, out);
	if (s->door.xclient)
		buf_adds(out, "250-XCLIENT NAME ADDR PORT PROTO HELO\r\n");
	buf_adds(out, "250 ENHANCEDSTATUSCODES\r\n");
}

static void cmd_helo(struct smtp_server *s, const char *arg, size_t n)
{
	if (greet_take(s, arg, n, false))
		buf_addf(smtp_reply_to(s), "250 %s\r\n", s->conf->hostname);
}

static void cmd_starttls(struct smtp_server *s, const char *arg, size_t n)
{
	if (!s->door.tls_offered) {
		smtp_deny(s, 502, "5.5.1", "STARTTLS is not offered here");
		return;
	}
	if (s->door.secure) {
		smtp_deny(s, 503, "5.5.1", "TLS is on already");
		return;
	}
	smtp_say(s, 220, "2.0.0", "Begin TLS");
	smtp_eat(s, s->view_n); /* sent before TLS, maybe by somebody else (RFC 3207, 4.2) */
	s->wait = WAIT_TLS;
	s->ev->secure(s->owner);
}

static void cmd_auth(struct smtp_server *s, const char *arg, size_t n)
{
	smtp_auth_begin(s, arg, n);
}

static void cmd_mail(struct smtp_server *s, const char *arg, size_t n)
{
	struct smtp_path from;
	struct smtp_mail m = { 0 };

	if (s->door.need_auth && !s->authed) {
		smtp_deny(s, 530, "5.7.0", "Authentication required");
		return;
	}
	if (s->conf->max_messages > 0 && s->messages >= s->conf->max_messages) {
		smtp_finish(s, 421, "4.7.0", "Enough messages on one connection, connect again",
		            "messages");
		return;
	}
	if (!smtp_mail_read(s, arg, n, &from, &m))
		return;
	s->n_asked = s->n_ok = 0;
	s->eight_bit = m.eight_bit;
	s->utf8 = m.utf8;
	s->size_said = m.size;
	s->ev->mail(s->owner, smtp_question(s, WAIT_MAIL), &m);
}

static void cmd_rcpt(struct smtp_server *s, const char *arg, size_t n)
{
	struct smtp_path to;
	struct smtp_rcpt r = { 0 };

	if (!smtp_rcpt_read(s, arg, n, &to, &r))
		return;
	if (s->n_asked >= s->conf->max_rcpt) {
		/* A list that is too long is not held against it, but what goes on for ever is. */
		s->idle += ++s->n_asked > 2 * (uint64_t)s->conf->max_rcpt;
		smtp_say(s, 452, "4.5.3", "Too many recipients");
		return;
	}
	if (s->phase == PH_MAIL)
		smtp_goto(s, PH_RCPT);
	s->n_asked++;
	s->ev->rcpt(s->owner, smtp_question(s, WAIT_NOTHING), &r);
}

static void cmd_data(struct smtp_server *s, const char *arg, size_t n)
{
	smtp_data_begin(s);
}

static void cmd_bdat(struct smtp_server *s, const char *arg, size_t n)
{
	smtp_chunk_begin(s, arg, n);
}

static void cmd_rset(struct smtp_server *s, const char *arg, size_t n)
{
	smtp_forget_mail(s, "rset");
	if (s->phase & (PH_MAIL | PH_RCPT | PH_BDAT))
		smtp_goto(s, PH_READY);
	smtp_say(s, 250, "2.0.0", "Ok");
}

static void cmd_noop(struct smtp_server *s, const char *arg, size_t n)
{
	smtp_say(s, 250, "2.0.0", "Ok");
}

static void cmd_vrfy(struct smtp_server *s, const char *arg, size_t n)
{
	smtp_say(s, 252, "2.5.0", "Cannot verify, but send to it and see");
}

static void cmd_expn(struct smtp_server *s, const char *arg, size_t n)
{
	smtp_deny(s, 502, "5.5.1", "Lists are not expanded here");
}

static void cmd_help(struct smtp_server *s, const char *arg, size_t n)
{
	smtp_say(s, 214, "2.0.0",
	         "EHLO HELO STARTTLS AUTH MAIL RCPT DATA BDAT RSET NOOP VRFY QUIT");
}

static void cmd_xclient(struct smtp_server *s, const char *arg, size_t n)
{
	smtp_xclient(s, arg, n);
}

/* A browser that was sent here (RFC 5321 has no such words): nothing it says is read on. */
static void cmd_foreign(struct smtp_server *s, const char *arg, size_t n)
{
	smtp_finish(s, 421, "4.7.0", "This is an SMTP server, closing the connection", "foreign");
}

static void cmd_quit(struct smtp_server *s, const char *arg, size_t n)
{
	smtp_forget_mail(s, "quit");
	smtp_say(s, 221, "2.0.0", "Bye");
	smtp_goto(s, PH_ENDED);
}

/* All that is known about a verb before its function runs. */
static const struct smtp_cmd {
	const char *verb;
	unsigned legal_in; /* phases, else 503 */
	unsigned flags;
	cmd_fn  *run;
} smtp_cmds[] = {
	{ "MAIL",     PH_READY,          ARG_SOME,        cmd_mail },
	{ "RCPT",     PH_MAIL | PH_RCPT, ARG_SOME,        cmd_rcpt },
	{ "DATA",     PH_RCPT,           ARG_NONE,        cmd_data },
	{ "BDAT",     ANY,               ARG_SOME,        cmd_bdat },
	{ "EHLO",     ANY,               ARG_SOME | IDLE, cmd_ehlo },
	{ "HELO",     ANY,               ARG_SOME | IDLE, cmd_helo },
	{ "AUTH",     PH_READY,          ARG_SOME | IDLE, cmd_auth },
	{ "STARTTLS", PH_NEW | PH_READY, ARG_NONE | IDLE, cmd_starttls },
	{ "RSET",     ANY,               ARG_NONE | IDLE, cmd_rset },
	{ "NOOP",     ANY,               IDLE,            cmd_noop },
	{ "QUIT",     ANY,               ARG_NONE,        cmd_quit },
	{ "VRFY",     ANY,               ARG_SOME | IDLE, cmd_vrfy },
	{ "EXPN",     ANY,               IDLE,            cmd_expn },
	{ "HELP",     ANY,               IDLE,            cmd_help },
	{ "XCLIENT",  PH_NEW | PH_READY, ARG_SOME | IDLE, cmd_xclient },
	{ "GET",      ANY,               0,               cmd_foreign },
	{ "POST",     ANY,               0,               cmd_foreign },
	{ "PUT",      ANY,               0,               cmd_foreign },
	{ "CONNECT",  ANY,               0,               cmd_foreign },
	{ "OPTIONS",  ANY,               0,               cmd_foreign },
};

static const struct smtp_cmd *find(const char *verb, size_t n)
{
	for (size_t i = 0; i < ARRAY_LEN(smtp_cmds); i++)
		if (strlen(smtp_cmds[i].verb) == n &&
		    strncasecmp(smtp_cmds[i].verb, verb, n) == 0)
			return &smtp_cmds[i];
	return NULL;
}

/* The phase does not fit: say what would. */
static void out_of_order(struct smtp_server *s, const struct smtp_cmd *c)
{
	if (s->phase == PH_NEW)
		smtp_deny(s, 503, "5.5.1", "Say EHLO first");
	else if (s->phase == PH_BDAT)
		smtp_deny(s, 503, "5.5.1", "The message has begun: go on with BDAT, or RSET");
	else if (c->legal_in & PH_RCPT)
		smtp_deny(s, 503, "5.5.1",
		          s->phase == PH_MAIL ? "Say RCPT first" : "Say MAIL first");
	else
		smtp_deny(s, 503, "5.5.1", "Not inside a transaction");
}

static void unknown(struct smtp_server *s)
{
	if (s->conf->max_unknown > 0 && ++s->unknown >= s->conf->max_unknown)
		smtp_finish(s, 421, "4.7.0", "Too many unknown commands, closing the connection",
		            "unknown commands");
	else
		smtp_deny(s, 500, "5.5.2", "Command is not known");
}

/* Has the session said enough that brings no message nearer?  While replies are open there is no
 * end: they would be lost with it. */
static bool idles(struct smtp_server *s, const struct smtp_cmd *c)
{
	s->idle += (c->flags & IDLE) != 0;
	if (s->conf->max_commands == 0 || s->idle <= s->conf->max_commands || s->head < s->tail)
		return false;
	smtp_finish(s, 421, "4.7.0", "Too many commands without a message, closing the connection",
	            "commands");
	return true;
}

void smtp_command(struct smtp_server *s, const char *line, size_t n)
{
	const char *sp, *arg;
	const struct smtp_cmd *c;
	size_t arg_n;

	while (n > 0 && (line[n - 1] == ' ' || line[n - 1] == '\t'))
		n--;
	sp = memchr(line, ' ', n);
	arg = sp ? sp + 1 : line + n;
	arg_n = (size_t)(line + n - arg);
	c = find(line, sp ? (size_t)(sp - line) : n);
	if (c == NULL)
		unknown(s);
	else if (idles(s, c))
		return;
	else if (!(c->legal_in & s->phase))
		out_of_order(s, c);
	else if ((c->flags & ARG_NONE) && arg_n > 0)
		smtp_deny(s, 501, "5.5.4", "No argument allowed");
	else if ((c->flags & ARG_SOME) && arg_n == 0)
		smtp_deny(s, 501, "5.5.4", "Argument is missing");
	else
		c->run(s, arg, arg_n);
}
