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

#define RESERVE_MAX (64 << 10) /* room made for a message before its first byte comes */
#define ANY (PH_NEW | PH_READY | PH_MAIL | PH_RCPT)

enum { ARG_NONE = 1, ARG_SOME = 2 };

typedef void cmd_fn(struct smtp_server *s, const char *arg, size_t n);

bool smtp_command_is(const char *line, size_t n, const char *verb)
{
	size_t len = strlen(verb);

	return n >= len && strncasecmp(line, verb, len) == 0 && (n == len || line[len] == ' ');
}

/* A name that can stand in a trace header. */
static bool helo_fits(const char *p, size_t n)
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
	if (!helo_fits(arg, n)) {
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

static bool auth_allowed(const struct smtp_server *s)
{
	return s->door.auth_offered && (s->door.secure || s->door.plain_ok);
}

static void cmd_ehlo(struct smtp_server *s, const char *arg, size_t n)
{
	struct buf *out;

	if (!greet_take(s, arg, n, true))
		return;
	out = smtp_reply_to(s);
	buf_addf(out, "250-%s\r\n250-PIPELINING\r\n250-SIZE %llu\r\n250-8BITMIME\r\n",
	         s->conf->hostname, (unsigned long long)s->conf->max_size);
	if (s->door.tls_offered && !s->door.secure)
		buf_adds(out, "250-STARTTLS\r\n");
	if (auth_allowed(s))
		buf_adds(out, "250-AUTH PLAIN LOGIN\r\n");
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
	s->wait = WAIT_TLS;
	s->ev->secure(s->owner);
}

/* Everything of the exchange is there: ask who this is. */
static void auth_ask(struct smtp_server *s)
{
	uint64_t q = smtp_question(s, WAIT_AUTH);

	if (s->phase == PH_AUTH)
		smtp_goto(s, PH_READY);
	s->ev->auth(s->owner, q, &s->login);
	sasl_wipe(&s->login);
}

static void auth_refuse(struct smtp_server *s, enum err err)
{
	if (s->phase == PH_AUTH)
		smtp_goto(s, PH_READY);
	sasl_wipe(&s->login);
	if (err == ERR_PERM)
		smtp_deny(s, 535, "5.7.8", "Authentication credentials invalid");
	else
		smtp_deny(s, 501, "5.5.2", "Response cannot be decoded");
}

void smtp_auth_line(struct smtp_server *s, const char *line, size_t n)
{
	enum err err;

	if (n == 1 && line[0] == '*') {
		smtp_goto(s, PH_READY);
		sasl_wipe(&s->login);
		smtp_deny(s, 501, "5.7.0", "Authentication cancelled");
		return;
	}
	if (s->sasl_step == SASL_LOGIN_USER) {
		err = sasl_login_user(line, n, &s->login);
		if (err != ERR_OK) {
			auth_refuse(s, err);
			return;
		}
		s->sasl_step = SASL_LOGIN_PASS;
		buf_adds(smtp_reply_to(s), "334 UGFzc3dvcmQ6\r\n");
		if (s->phase != PH_AUTH)
			smtp_goto(s, PH_AUTH);
		return;
	}
	err = s->sasl_step == SASL_PLAIN ? sasl_plain(line, n, &s->login)
	                                 : sasl_login_pass(line, n, &s->login);
	if (err == ERR_OK)
		auth_ask(s);
	else
		auth_refuse(s, err);
}

static void cmd_auth(struct smtp_server *s, const char *arg, size_t n)
{
	const char *sp = memchr(arg, ' ', n);
	size_t mech = sp ? (size_t)(sp - arg) : n;
	bool plain = mech == 5 && strncasecmp(arg, "PLAIN", 5) == 0;

	if (!s->door.auth_offered)
		smtp_deny(s, 502, "5.5.1", "AUTH is not offered here");
	else if (s->authed)
		smtp_deny(s, 503, "5.5.1", "Authenticated already");
	else if (!plain && !(mech == 5 && strncasecmp(arg, "LOGIN", 5) == 0))
		smtp_deny(s, 504, "5.5.4", "Mechanism is not known");
	else if (!auth_allowed(s))
		smtp_deny(s, 538, "5.7.11", "Encryption is required: STARTTLS first");
	else if (sp != NULL) {
		s->sasl_step = plain ? SASL_PLAIN : SASL_LOGIN_USER;
		smtp_auth_line(s, sp + 1, n - mech - 1);
	} else {
		s->sasl_step = plain ? SASL_PLAIN : SASL_LOGIN_USER;
		smtp_goto(s, PH_AUTH);
		buf_adds(smtp_reply_to(s), plain ? "334 \r\n" : "334 VXNlcm5hbWU6\r\n");
	}
}

static bool param_is(const struct smtp_param *p, const char *name)
{
	return p->name_len == strlen(name) && strncasecmp(p->name, name, p->name_len) == 0;
}

static bool value_is(const struct smtp_param *p, const char *v)
{
	return p->value_len == strlen(v) && strncasecmp(p->value, v, p->value_len) == 0;
}

/* SIZE= of at most 20 digits (RFC 1870, 4); false: not that. */
static bool size_take(const struct smtp_param *p, uint64_t *out)
{
	uint64_t v = 0;

	if (p->value_len == 0 || p->value_len > 20)
		return false;
	for (size_t i = 0; i < p->value_len; i++) {
		unsigned d = (unsigned)(unsigned char)p->value[i] - '0';

		if (d > 9)
			return false;
		if (__builtin_mul_overflow(v, 10, &v) || __builtin_add_overflow(v, d, &v))
			v = UINT64_MAX / 10; /* larger than any limit */
	}
	*out = v;
	return true;
}

/* Read the parameters of MAIL; false: refused with a reply. */
static bool mail_params(struct smtp_server *s, const char *p, const char *end, struct smtp_mail *m)
{
	struct smtp_param par;
	bool bad = false, fine = true;

	while (fine && smtp_param_next(&p, end, &par, &bad)) {
		if (param_is(&par, "SIZE"))
			fine = size_take(&par, &m->size);
		else if (param_is(&par, "BODY") && value_is(&par, "8BITMIME"))
			m->eight_bit = true;
		else if (param_is(&par, "BODY") && value_is(&par, "7BIT"))
			m->eight_bit = false;
		else if (!(param_is(&par, "AUTH") && s->door.auth_offered && par.value_len > 0)) {
			smtp_deny(s, 555, "5.5.4", "Parameter is not known");
			return false;
		}
	}
	if (bad || !fine) {
		smtp_deny(s, 501, "5.5.4", "Parameter cannot be read");
		return false;
	}
	if (m->size > s->conf->max_size) {
		smtp_deny(s, 552, "5.3.4", "Message is larger than this server takes");
		return false;
	}
	return true;
}

/* "FROM:<path>" or "TO:<path>" at the start of [p, p+n), a blank after the colon is
 * forgiven; *rest is what follows.  False: refused with a reply. */
static bool path_take(struct smtp_server *s, const char *p, size_t n, const char *word,
                      struct smtp_path *out, const char **rest)
{
	bool from = word[0] == 'F';
	size_t len = strlen(word), used = 0;
	enum err err;

	if (n < len || strncasecmp(p, word, len) != 0) {
		smtp_deny(s, 501, "5.5.4",
		          from ? "Say MAIL FROM:<address>" : "Say RCPT TO:<address>");
		return false;
	}
	if (n > len && p[len] == ' ')
		len++;
	err = smtp_path_parse(p + len, n - len, from, out, &used);
	if (err != ERR_OK) {
		smtp_deny(s, 501, from ? "5.1.7" : "5.1.3",
		          err == ERR_TOOBIG ? "Address is too long" : "Address cannot be read");
		return false;
	}
	if (out->utf8) {
		smtp_deny(s, 553, "5.6.7", "Address needs SMTPUTF8, which is not offered");
		return false;
	}
	*rest = p + len + used;
	return true;
}

static void cmd_mail(struct smtp_server *s, const char *arg, size_t n)
{
	struct smtp_path path;
	struct smtp_mail m = { .from = &path };
	const char *rest;

	if (s->door.need_auth && !s->authed) {
		smtp_deny(s, 530, "5.7.0", "Authentication required");
		return;
	}
	if (!path_take(s, arg, n, "FROM:", &path, &rest) || !mail_params(s, rest, arg + n, &m))
		return;
	s->n_asked = s->n_ok = 0;
	s->eight_bit = m.eight_bit;
	s->size_said = m.size;
	s->ev->mail(s->owner, smtp_question(s, WAIT_MAIL), &m);
}

static void cmd_rcpt(struct smtp_server *s, const char *arg, size_t n)
{
	struct smtp_path path;
	struct smtp_param par;
	const char *rest;
	bool bad = false;

	if (!path_take(s, arg, n, "TO:", &path, &rest))
		return;
	if (smtp_param_next(&rest, arg + n, &par, &bad) || bad) {
		smtp_deny(s, 555, "5.5.4", "Parameter is not known");
		return;
	}
	if (s->n_asked >= s->conf->max_rcpt) {
		smtp_say(s, 452, "4.5.3", "Too many recipients");
		return;
	}
	if (s->phase == PH_MAIL)
		smtp_goto(s, PH_RCPT);
	s->n_asked++;
	s->ev->rcpt(s->owner, smtp_question(s, WAIT_NOTHING), &path);
}

static void cmd_data(struct smtp_server *s, const char *arg, size_t n)
{
	if (s->n_ok == 0) {
		smtp_say(s, 554, "5.5.1", "No valid recipients");
		return;
	}
	smtp_goto(s, PH_DATA);
	memset(&s->din, 0, sizeof(s->din));
	s->over = false;
	buf_reset(&s->msg);
	s->ev->begin(s->owner, &s->msg);
	(void)buf_room(&s->msg, s->size_said < RESERVE_MAX ? s->size_said + 1 : RESERVE_MAX);
	s->msg_max = s->msg.len + s->conf->max_size;
	buf_adds(smtp_reply_to(s), "354 End data with <CR><LF>.<CR><LF>\r\n");
}

static void cmd_rset(struct smtp_server *s, const char *arg, size_t n)
{
	smtp_forget_mail(s, "rset");
	if (s->phase & (PH_MAIL | PH_RCPT))
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
	smtp_say(s, 214, "2.0.0", "EHLO HELO STARTTLS AUTH MAIL RCPT DATA RSET NOOP VRFY QUIT");
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
	{ "MAIL",     PH_READY,          ARG_SOME, cmd_mail },
	{ "RCPT",     PH_MAIL | PH_RCPT, ARG_SOME, cmd_rcpt },
	{ "DATA",     PH_RCPT,           ARG_NONE, cmd_data },
	{ "EHLO",     ANY,               ARG_SOME, cmd_ehlo },
	{ "HELO",     ANY,               ARG_SOME, cmd_helo },
	{ "AUTH",     PH_READY,          ARG_SOME, cmd_auth },
	{ "STARTTLS", PH_READY,          ARG_NONE, cmd_starttls },
	{ "RSET",     ANY,               ARG_NONE, cmd_rset },
	{ "NOOP",     ANY,               0,        cmd_noop },
	{ "QUIT",     ANY,               ARG_NONE, cmd_quit },
	{ "VRFY",     ANY,               ARG_SOME, cmd_vrfy },
	{ "EXPN",     ANY,               0,        cmd_expn },
	{ "HELP",     ANY,               0,        cmd_help },
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
	else if (c->legal_in & PH_RCPT)
		smtp_deny(s, 503, "5.5.1",
		          s->phase == PH_MAIL ? "Say RCPT first" : "Say MAIL first");
	else
		smtp_deny(s, 503, "5.5.1", "Not inside a transaction");
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
		smtp_deny(s, 500, "5.5.2", "Command is not known");
	else if (!(c->legal_in & s->phase))
		out_of_order(s, c);
	else if ((c->flags & ARG_NONE) && arg_n > 0)
		smtp_deny(s, 501, "5.5.4", "No argument allowed");
	else if ((c->flags & ARG_SOME) && arg_n == 0)
		smtp_deny(s, 501, "5.5.4", "Argument is missing");
	else
		c->run(s, arg, arg_n);
}
