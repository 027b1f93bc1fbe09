/* tests/unit/test_smtp_server.c - the ESMTP dialogue, told by rows
 *
 * A row is a script of the client's bytes and the replies that must come of them, under a
 * policy that is part of the test.  Events are noted as short words.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>
#include "ingest/smtp_server.h"
#include "lib/err.h"

#define HELLO  "EHLO me\r\n"
#define IN_AUTH "AUTH PLAIN AHVzZXIAcGFzcw==\r\n" /* user, pass */

/* How questions are answered. */
enum policy { AT_ONCE, NEVER, REFUSE_ALL, REFUSE_ODD };

struct bench {
	struct smtp_server *s;
	enum policy policy;
	unsigned n_rcpt;
	uint64_t q[256];
	unsigned n_q;
	struct buf events, replies, message;
};

static void on_auth(void *owner, uint64_t q, const struct sasl_login *l)
{
	struct bench *b = owner;
	bool ok = strcmp(l->login, "user") == 0 && strcmp(l->password, "pass") == 0;

	buf_addf(&b->events, "auth:%s ", l->login);
	smtp_server_answer(b->s, q, ok, NULL);
}

static void answer(struct bench *b, uint64_t q, bool ok, const char *no)
{
	b->q[b->n_q++ % ARRAY_LEN(b->q)] = q;
	if (b->policy != NEVER)
		smtp_server_answer(b->s, q, ok, ok ? NULL : no);
}

static void on_mail(void *owner, uint64_t q, const struct smtp_mail *m)
{
	struct bench *b = owner;

	buf_addf(&b->events, "mail:%s/%llu%s%s%s", m->from->addr, (unsigned long long)m->size,
	         m->eight_bit ? "/8" : "", m->utf8 ? "/utf8" : "", m->require_tls ? "/tls" : "");
	if (m->ret != HOLDFAST__DSN_RET__RET_NONE)
		buf_addf(&b->events, "/ret%d", (int)m->ret);
	if (m->envid != NULL)
		buf_addf(&b->events, "/%.*s", (int)m->envid_len, m->envid);
	buf_addc(&b->events, ' ');
	b->n_rcpt = 0;
	answer(b, q, strncmp(m->from->addr, "no@", 3) != 0, "550 5.7.13 no\r\n");
}

static void on_rcpt(void *owner, uint64_t q, const struct smtp_rcpt *r)
{
	struct bench *b = owner;
	bool odd = b->n_rcpt++ % 2 == 1;
	bool ok = !(b->policy == REFUSE_ALL || (b->policy == REFUSE_ODD && odd));

	buf_addf(&b->events, "rcpt:%s", r->to->addr);
	if (r->notify != 0)
		buf_addf(&b->events, "/%u", r->notify);
	if (r->orcpt != NULL)
		buf_addf(&b->events, "/%.*s", (int)r->orcpt_len, r->orcpt);
	buf_addc(&b->events, ' ');
	answer(b, q, ok, "550 5.1.1 refused\r\n");
}

static void on_message(void *owner, uint64_t q, struct buf *msg, const struct smtp_content *c)
{
	struct bench *b = owner;

	assert_true(msg->len >= SMTP_HEADROOM);
	buf_addf(&b->events, "message:%zu%s%s ", msg->len - SMTP_HEADROOM,
	         c->eight_bit ? "/8" : "", c->damaged ? "/damaged" : "");
	buf_reset(&b->message);
	buf_add(&b->message, msg->data + SMTP_HEADROOM, msg->len - SMTP_HEADROOM);
	answer(b, q, true, NULL);
}

/* A mechanism of the test's own: "u" is challenged with "c", then "p" proves it, and "" ends it. */
static void on_scram(void *owner, uint64_t q, const struct smtp_scram *m)
{
	struct bench *b = owner;

	buf_addf(&b->events, "scram%s%s:%.*s ", m->plus ? "+" : "", m->first ? "1" : "",
	         (int)m->n, (const char *)m->p);
	if (m->first)
		smtp_server_challenge(b->s, q, "c", 1);
	else if (m->n == 1 && m->p[0] == 'p')
		smtp_server_challenge(b->s, q, "v", 1);
	else
		smtp_server_answer(b->s, q, m->n == 0, NULL);
}

static void on_scram_over(void *owner)
{
	buf_adds(&((struct bench *)owner)->events, "scram-over ");
}

static void on_xclient(void *owner, const struct smtp_xclient *x)
{
	struct bench *b = owner;

	buf_addf(&b->events, "xclient:%s/%zu ", x->helo, x->ip_len);
}

static void on_given_up(void *owner, const char *why)
{
	buf_addf(&((struct bench *)owner)->events, "given-up:%s ", why);
}

static void on_secure(void *owner)
{
	buf_adds(&((struct bench *)owner)->events, "tls ");
}

static const struct smtp_events events = {
	.auth = on_auth, .mail = on_mail, .rcpt = on_rcpt, .scram = on_scram,
	.scram_over = on_scram_over, .xclient = on_xclient, .message = on_message, .given_up = on_given_up, .secure = on_secure,
};

static const struct smtp_conf conf = {
	.hostname = "mx.test", .max_size = 1000, .max_rcpt = 3, .max_errors = 5,
};

static const struct smtp_door plain_door = { .auth_offered = true, .plain_ok = true,
                                             .tls_offered = true };

static void begin(struct bench *b, const struct smtp_door *door, enum policy policy)
{
	memset(b, 0, sizeof(*b));
	b->policy = policy;
	b->s = smtp_server_new(&conf, door, &events, b);
}

static void collect(struct bench *b)
{
	struct buf *out = smtp_server_out(b->s);

	buf_add(&b->replies, out->data, out->len);
	buf_reset(out);
}

static void say(struct bench *b, const char *p, size_t n)
{
	smtp_server_input(b->s, p, n);
	collect(b);
}

static void finish(struct bench *b)
{
	smtp_server_free(&b->s);
	buf_free(&b->events);
	buf_free(&b->replies);
	buf_free(&b->message);
}

/* The codes of all replies, "250 5.1.1" as "250/5.1.1", last lines only. */
static void codes(const struct buf *replies, char *out, size_t size)
{
	const char *p = buf_str(replies);
	size_t at = 0;

	out[0] = '\0';
	for (const char *nl; (nl = strstr(p, "\r\n")) != NULL; p = nl + 2) {
		char enh[12] = "";

		assert_true(nl - p >= 3 && nl - p <= 510);
		if (p[3] == '-')
			continue;
		if (sscanf(p + 4, "%11[0-9.]", enh) == 1 && strchr(enh, '.') == NULL)
			enh[0] = '\0';
		at += (size_t)snprintf(out + at, size - at, "%s%.3s%s%s", at ? " " : "", p,
		                       enh[0] ? "/" : "", enh);
	}
	assert_true(*p == '\0');
}

static const struct row {
	const char *name, *input;
	const char *replies; /* codes */
	const char *events;
	enum policy policy;
	bool need_auth;
} rows[] = {
	{ "MAIL before EHLO", "MAIL FROM:<a@b.c>\r\n", "503/5.5.1", "", AT_ONCE, false },
	{ "AUTH before EHLO", IN_AUTH, "503/5.5.1", "", AT_ONCE, false },
	{ "STARTTLS before EHLO, as some clients begin", "STARTTLS\r\n", "220/2.0.0", "tls ",
	  AT_ONCE, false },
	{ "RCPT before EHLO", "RCPT TO:<a@b.c>\r\n", "503/5.5.1", "", AT_ONCE, false },
	{ "DATA before EHLO", "DATA\r\n", "503/5.5.1", "", AT_ONCE, false },
	{ "NOOP, RSET, VRFY, HELP, EXPN at any time",
	  "NOOP\r\nNOOP x\r\nRSET\r\nVRFY a\r\nHELP\r\nEXPN l\r\n",
	  "250/2.0.0 250/2.0.0 250/2.0.0 252/2.5.0 214/2.0.0 502/5.5.1", "", AT_ONCE, false },
	{ "QUIT ends, what follows is not read", "QUIT\r\nNOOP\r\n", "221/2.0.0", "",
	  AT_ONCE, false },
	{ "verbs in any case", "ehlo me\r\nmAiL fRoM:<a@b.c>\r\n", "250 250/2.1.0", "mail:a@b.c/0 ",
	  AT_ONCE, false },
	{ "HELO gets one line", "HELO me\r\n", "250", "", AT_ONCE, false },
	{ "EHLO without a name", "EHLO\r\n", "501/5.5.4", "", AT_ONCE, false },
	{ "EHLO with a name that would break a header", "EHLO a(b\r\n", "501/5.5.4", "",
	  AT_ONCE, false },
	{ "an unknown verb", "FOO\r\n", "500/5.5.2", "", AT_ONCE, false },
	{ "an empty line", "\r\n", "500/5.5.2", "", AT_ONCE, false },
	{ "a bare LF in a command", "NOOP\nNOOP\r\n", "500/5.5.2", "", AT_ONCE, false },
	{ "a bare CR in a command", "NO\rOP\r\n", "500/5.5.2", "", AT_ONCE, false },
	{ "an argument where none is allowed", HELLO "RSET x\r\nQUIT x\r\n",
	  "250 501/5.5.4 501/5.5.4", "", AT_ONCE, false },
	{ "blanks at the end are forgiven", "NOOP  \r\nRSET \r\n", "250/2.0.0 250/2.0.0", "",
	  AT_ONCE, false },

	{ "MAIL without AUTH where it is needed", HELLO "MAIL FROM:<a@b.c>\r\n", "250 530/5.7.0",
	  "", AT_ONCE, true },
	{ "MAIL after AUTH", HELLO IN_AUTH "MAIL FROM:<a@b.c>\r\n", "250 235/2.7.0 250/2.1.0",
	  "auth:user mail:a@b.c/0 ", AT_ONCE, true },
	{ "the null sender", HELLO "MAIL FROM:<>\r\n", "250 250/2.1.0", "mail:/0 ",
	  AT_ONCE, false },
	{ "MAIL with SIZE and BODY", HELLO "MAIL FROM:<a@b.c> SIZE=99 BODY=8BITMIME\r\n",
	  "250 250/2.1.0", "mail:a@b.c/99/8 ", AT_ONCE, false },
	{ "SIZE over the limit", HELLO "MAIL FROM:<a@b.c> SIZE=1001\r\n", "250 552/5.3.4", "",
	  AT_ONCE, false },
	{ "SIZE at the limit", HELLO "MAIL FROM:<a@b.c> SIZE=1000\r\n", "250 250/2.1.0",
	  "mail:a@b.c/1000 ", AT_ONCE, false },
	{ "SIZE that overflows 64 bits", HELLO "MAIL FROM:<a@b.c> SIZE=99999999999999999999\r\n",
	  "250 552/5.3.4", "", AT_ONCE, false },
	{ "SIZE that is no number", HELLO "MAIL FROM:<a@b.c> SIZE=1x\r\n", "250 501/5.5.4", "",
	  AT_ONCE, false },
	{ "a parameter that MAIL does not know", HELLO "MAIL FROM:<a@b.c> FOO=1\r\n",
	  "250 555/5.5.4", "", AT_ONCE, false },
	{ "a parameter that RCPT does not know",
	  HELLO "MAIL FROM:<a@b.c>\r\nRCPT TO:<d@e.f> SIZE=1\r\n",
	  "250 250/2.1.0 555/5.5.4", "mail:a@b.c/0 ", AT_ONCE, false },
	{ "SMTPUTF8 with addresses that need it",
	  HELLO "MAIL FROM:<\xc3\xa4@b.c> SMTPUTF8\r\nRCPT TO:<\xc3\xb6@e.f>\r\n",
	  "250 250/2.1.0 250/2.1.5", "mail:\xc3\xa4@b.c/0/utf8 rcpt:\xc3\xb6@e.f ",
	  AT_ONCE, false },
	{ "an address that needs SMTPUTF8 without it",
	  HELLO "MAIL FROM:<\xc3\xa4@b.c>\r\nMAIL FROM:<a@b.c>\r\nRCPT TO:<\xc3\xb6@e.f>\r\n",
	  "250 553/5.6.7 250/2.1.0 553/5.6.7", "mail:a@b.c/0 ", AT_ONCE, false },
	{ "SMTPUTF8 with a value", HELLO "MAIL FROM:<a@b.c> SMTPUTF8=1\r\n", "250 501/5.5.4", "",
	  AT_ONCE, false },
	{ "a parameter said twice", HELLO "MAIL FROM:<a@b.c> SIZE=1 SIZE=2\r\n", "250 501/5.5.4",
	  "", AT_ONCE, false },
	{ "the DSN parameters",
	  HELLO "MAIL FROM:<a@b.c> RET=hdrs ENVID=x+3Dy\r\n"
	  "RCPT TO:<d@e.f> NOTIFY=SUCCESS,delay ORCPT=rfc822;d+2B1@e.f\r\n"
	  "RCPT TO:<g@e.f> NOTIFY=NEVER\r\n",
	  "250 250/2.1.0 250/2.1.5 250/2.1.5",
	  "mail:a@b.c/0/ret2/x+3Dy rcpt:d@e.f/10/rfc822;d+2B1@e.f rcpt:g@e.f/1 ",
	  AT_ONCE, false },
	{ "DSN parameters that cannot be read",
	  HELLO "MAIL FROM:<a@b.c> RET=SOME\r\nMAIL FROM:<a@b.c> ENVID=x+3dy\r\n"
	  "MAIL FROM:<a@b.c> ENVID=+\r\nMAIL FROM:<a@b.c>\r\n"
	  "RCPT TO:<d@e.f> NOTIFY=NEVER,DELAY\r\n",
	  "250 501/5.5.4 501/5.5.4 501/5.5.4 250/2.1.0 501/5.5.4", "mail:a@b.c/0 ",
	  AT_ONCE, false },
	{ "ORCPT in UTF-8",
	  HELLO "MAIL FROM:<a@b.c> SMTPUTF8\r\nRCPT TO:<d@e.f> ORCPT=utf-8;\xc3\xa4@e.f\r\n",
	  "250 250/2.1.0 250/2.1.5", "mail:a@b.c/0/utf8 rcpt:d@e.f/utf-8;\xc3\xa4@e.f ", AT_ONCE,
	  false },
	{ "ORCPT in UTF-8 that is malformed, a control character, or nothing",
	  HELLO "MAIL FROM:<a@b.c> SMTPUTF8\r\nRCPT TO:<d@e.f> ORCPT=utf-8;\xc3@e.f\r\n"
	  "RCPT TO:<d@e.f> ORCPT=utf-8;a\xc2\x85@e.f\r\nRCPT TO:<d@e.f> ORCPT=utf-8;\r\n",
	  "250 250/2.1.0 501/5.5.4 501/5.5.4 501/5.5.4", "mail:a@b.c/0/utf8 ", AT_ONCE, false },
	{ "ORCPT and NOTIFY that cannot be read",
	  HELLO "MAIL FROM:<a@b.c>\r\nRCPT TO:<d@e.f> ORCPT=d@e.f\r\n"
	  "RCPT TO:<d@e.f> ORCPT=rfc822;\r\nRCPT TO:<d@e.f> NOTIFY=SUCCESS,SUCCESS\r\n",
	  "250 250/2.1.0 501/5.5.4 501/5.5.4 501/5.5.4", "mail:a@b.c/0 ", AT_ONCE, false },
	{ "REQUIRETLS without TLS", HELLO "MAIL FROM:<a@b.c> REQUIRETLS\r\n", "250 555/5.5.4", "",
	  AT_ONCE, false },

	{ "BDAT in one chunk",
	  HELLO "MAIL FROM:<a@b.c>\r\nRCPT TO:<1@e.f>\r\nBDAT 6 LAST\r\n.\r\nx\r\nNOOP\r\n",
	  "250 250/2.1.0 250/2.1.5 250/2.0.0 250/2.0.0",
	  "mail:a@b.c/0 rcpt:1@e.f message:6 ", AT_ONCE, false },
	{ "BDAT in chunks, the last one empty",
	  HELLO "MAIL FROM:<a@b.c>\r\nRCPT TO:<1@e.f>\r\nBDAT 4\r\nab\r\nBDAT 3\r\nc\r\n"
	  "BDAT 0 LAST\r\n", "250 250/2.1.0 250/2.1.5 250/2.0.0 250/2.0.0 250/2.0.0",
	  "mail:a@b.c/0 rcpt:1@e.f message:7 ", AT_ONCE, false },
	{ "BDAT without recipients takes its octets, and they are no commands",
	  HELLO "MAIL FROM:<a@b.c>\r\nBDAT 6 LAST\r\nQUIT\r\nNOOP\r\n",
	  "250 250/2.1.0 503/5.5.1 250/2.0.0", "mail:a@b.c/0 ", AT_ONCE, false },
	{ "BDAT after recipients that were all refused",
	  HELLO "MAIL FROM:<a@b.c>\r\nRCPT TO:<1@e.f>\r\nBDAT 6 LAST\r\nQUIT\r\nNOOP\r\n",
	  "250 250/2.1.0 550/5.1.1 554/5.5.1 250/2.0.0", "mail:a@b.c/0 rcpt:1@e.f ",
	  REFUSE_ALL, false },
	{ "a chunk whose size cannot be read ends the session",
	  HELLO "MAIL FROM:<a@b.c>\r\nRCPT TO:<1@e.f>\r\nBDAT 6x LAST\r\nQUIT\r\n",
	  "250 250/2.1.0 250/2.1.5 501/5.5.4", "mail:a@b.c/0 rcpt:1@e.f given-up:chunk ",
	  AT_ONCE, false },
	{ "a chunk over 64 bits ends the session",
	  HELLO "MAIL FROM:<a@b.c>\r\nRCPT TO:<1@e.f>\r\nBDAT 18446744073709551616\r\n",
	  "250 250/2.1.0 250/2.1.5 501/5.5.4", "mail:a@b.c/0 rcpt:1@e.f given-up:chunk ",
	  AT_ONCE, false },
	{ "a chunk over the size of a message ends the session",
	  HELLO "MAIL FROM:<a@b.c>\r\nRCPT TO:<1@e.f>\r\nBDAT 1001\r\nx",
	  "250 250/2.1.0 250/2.1.5 552/5.3.4", "mail:a@b.c/0 rcpt:1@e.f given-up:size ",
	  AT_ONCE, false },
	{ "between chunks there is no DATA, RCPT or MAIL",
	  HELLO "MAIL FROM:<a@b.c>\r\nRCPT TO:<1@e.f>\r\nBDAT 2\r\n\r\nDATA\r\nRCPT TO:<2@e.f>\r\n"
	  "MAIL FROM:<a@b.c>\r\nRSET\r\n",
	  "250 250/2.1.0 250/2.1.5 250/2.0.0 503/5.5.1 503/5.5.1 503/5.5.1 250/2.0.0",
	  "mail:a@b.c/0 rcpt:1@e.f given-up:rset ", AT_ONCE, false },
	{ "BDAT that ends in a bare CR",
	  HELLO "MAIL FROM:<a@b.c>\r\nRCPT TO:<1@e.f>\r\nBDAT 2 LAST\r\nx\rNOOP\r\n",
	  "250 250/2.1.0 250/2.1.5 554/5.6.11 250/2.0.0",
	  "mail:a@b.c/0 rcpt:1@e.f given-up:line-ends ", AT_ONCE, false },
	{ "a CRLF that two chunks share is one",
	  HELLO "MAIL FROM:<a@b.c>\r\nRCPT TO:<1@e.f>\r\nBDAT 2\r\nx\rBDAT 1 LAST\r\n\n",
	  "250 250/2.1.0 250/2.1.5 250/2.0.0 250/2.0.0",
	  "mail:a@b.c/0 rcpt:1@e.f message:3 ", AT_ONCE, false },

	{ "MAIL without path", HELLO "MAIL a@b.c\r\nMAIL FROM:a@b.c\r\n",
	  "250 501/5.5.4 501/5.1.7", "", AT_ONCE, false },
	{ "RCPT without a good path",
	  HELLO "MAIL FROM:<a@b.c>\r\nRCPT TO:<>\r\nRCPT FROM:<a@b>\r\n",
	  "250 250/2.1.0 501/5.1.3 501/5.5.4", "mail:a@b.c/0 ", AT_ONCE, false },
	{ "MAIL that policy refuses leaves no transaction",
	  HELLO "MAIL FROM:<no@b.c>\r\nRCPT TO:<d@e.f>\r\n", "250 550/5.7.13 503/5.5.1",
	  "mail:no@b.c/0 ", AT_ONCE, false },
	{ "MAIL inside a transaction", HELLO "MAIL FROM:<a@b.c>\r\nMAIL FROM:<a@b.c>\r\n",
	  "250 250/2.1.0 503/5.5.1", "mail:a@b.c/0 ", AT_ONCE, false },
	{ "AUTH inside a transaction", HELLO "MAIL FROM:<a@b.c>\r\n" IN_AUTH,
	  "250 250/2.1.0 503/5.5.1", "mail:a@b.c/0 ", AT_ONCE, false },
	{ "STARTTLS inside a transaction", HELLO "MAIL FROM:<a@b.c>\r\nSTARTTLS\r\n",
	  "250 250/2.1.0 503/5.5.1", "mail:a@b.c/0 ", AT_ONCE, false },
	{ "RCPT before MAIL, DATA before RCPT",
	  HELLO "RCPT TO:<d@e.f>\r\nMAIL FROM:<a@b.c>\r\nDATA\r\n",
	  "250 503/5.5.1 250/2.1.0 503/5.5.1", "mail:a@b.c/0 ", AT_ONCE, false },
	{ "more recipients than allowed",
	  HELLO "MAIL FROM:<a@b.c>\r\nRCPT TO:<1@e.f>\r\nRCPT TO:<2@e.f>\r\nRCPT TO:<3@e.f>\r\n"
	  "RCPT TO:<4@e.f>\r\n", "250 250/2.1.0 250/2.1.5 250/2.1.5 250/2.1.5 452/4.5.3",
	  "mail:a@b.c/0 rcpt:1@e.f rcpt:2@e.f rcpt:3@e.f ", AT_ONCE, false },
	{ "one refused recipient does not touch the others",
	  HELLO "MAIL FROM:<a@b.c>\r\nRCPT TO:<1@e.f>\r\nRCPT TO:<2@e.f>\r\nDATA\r\nx\r\n.\r\n",
	  "250 250/2.1.0 250/2.1.5 550/5.1.1 354 250/2.0.0",
	  "mail:a@b.c/0 rcpt:1@e.f rcpt:2@e.f message:3 ", REFUSE_ODD, false },
	{ "all recipients refused",
	  HELLO "MAIL FROM:<a@b.c>\r\nRCPT TO:<1@e.f>\r\nDATA\r\nRSET\r\n",
	  "250 250/2.1.0 550/5.1.1 554/5.5.1 250/2.0.0",
	  "mail:a@b.c/0 rcpt:1@e.f given-up:rset ", REFUSE_ALL, false },
	{ "RSET gives up", HELLO "MAIL FROM:<a@b.c>\r\nRSET\r\nRCPT TO:<a@b.c>\r\n",
	  "250 250/2.1.0 250/2.0.0 503/5.5.1", "mail:a@b.c/0 given-up:rset ", AT_ONCE, false },
	{ "EHLO gives up", HELLO "MAIL FROM:<a@b.c>\r\n" HELLO "RCPT TO:<a@b.c>\r\n",
	  "250 250/2.1.0 250 503/5.5.1", "mail:a@b.c/0 given-up:ehlo ", AT_ONCE, false },
	{ "QUIT gives up", HELLO "MAIL FROM:<a@b.c>\r\nQUIT\r\n", "250 250/2.1.0 221/2.0.0",
	  "mail:a@b.c/0 given-up:quit ", AT_ONCE, false },
	{ "two messages in one go",
	  HELLO "MAIL FROM:<a@b.c>\r\nRCPT TO:<1@e.f>\r\nDATA\r\nx\r\n.\r\n"
	  "MAIL FROM:<a@b.c>\r\nRCPT TO:<1@e.f>\r\nDATA\r\n\xe4\r\n.\r\nQUIT\r\n",
	  "250 250/2.1.0 250/2.1.5 354 250/2.0.0 250/2.1.0 250/2.1.5 354 250/2.0.0 221/2.0.0",
	  "mail:a@b.c/0 rcpt:1@e.f message:3 mail:a@b.c/0 rcpt:1@e.f message:3/8 ",
	  AT_ONCE, false },
	{ "a message with a bare LF", HELLO "MAIL FROM:<a@b.c>\r\nRCPT TO:<1@e.f>\r\nDATA\r\n"
	  "x\n.\r\ny\r\n.\r\n", "250 250/2.1.0 250/2.1.5 354 554/5.6.11",
	  "mail:a@b.c/0 rcpt:1@e.f given-up:line-ends ", AT_ONCE, false },
	{ "LF . LF does not end a message: no command is smuggled",
	  HELLO "MAIL FROM:<a@b.c>\r\nRCPT TO:<1@e.f>\r\nDATA\r\nx\n.\nMAIL FROM:<x@y.z>\r\n.\r\n",
	  "250 250/2.1.0 250/2.1.5 354 554/5.6.11",
	  "mail:a@b.c/0 rcpt:1@e.f given-up:line-ends ", AT_ONCE, false },
	{ "a message with a bare CR", HELLO "MAIL FROM:<a@b.c>\r\nRCPT TO:<1@e.f>\r\nDATA\r\n"
	  "x\ry\r\n.\r\n", "250 250/2.1.0 250/2.1.5 354 554/5.6.11",
	  "mail:a@b.c/0 rcpt:1@e.f given-up:line-ends ", AT_ONCE, false },

	{ "AUTH PLAIN without initial response", HELLO "AUTH PLAIN\r\nAHVzZXIAcGFzcw==\r\n",
	  "250 334 235/2.7.0", "auth:user ", AT_ONCE, false },
	{ "AUTH LOGIN", HELLO "AUTH LOGIN\r\ndXNlcg==\r\ncGFzcw==\r\n", "250 334 334 235/2.7.0",
	  "auth:user ", AT_ONCE, false },
	{ "AUTH LOGIN with initial response", HELLO "auth login dXNlcg==\r\ncGFzcw==\r\n",
	  "250 334 235/2.7.0", "auth:user ", AT_ONCE, false },
	{ "AUTH with a wrong password", HELLO "AUTH PLAIN AHVzZXIAeA==\r\n", "250 535/5.7.8",
	  "auth:user ", AT_ONCE, false },
	{ "AUTH cancelled", HELLO "AUTH LOGIN\r\n*\r\nNOOP\r\n", "250 334 501/5.7.0 250/2.0.0", "",
	  AT_ONCE, false },
	{ "AUTH with what is no base64", HELLO "AUTH PLAIN !!!\r\nNOOP\r\n",
	  "250 501/5.5.2 250/2.0.0", "", AT_ONCE, false },
	{ "AUTH twice", HELLO IN_AUTH IN_AUTH, "250 235/2.7.0 503/5.5.1", "auth:user ",
	  AT_ONCE, false },
	{ "AUTH by an unknown mechanism", HELLO "AUTH CRAM-MD5\r\n", "250 504/5.5.4", "",
	  AT_ONCE, false },
	{ "AUTH to act for somebody else", HELLO "AUTH PLAIN cm9vdAB1c2VyAHBhc3M=\r\n",
	  "250 535/5.7.8", "", AT_ONCE, false },
	{ "a line of AUTH with a bare LF ends the exchange", HELLO "AUTH LOGIN\r\na\nb\r\nNOOP\r\n",
	  "250 334 500/5.5.2 250/2.0.0", "", AT_ONCE, false },

	{ "SCRAM: two messages and a last empty line",
	  HELLO "AUTH SCRAM-SHA-256 dQ==\r\ncA==\r\n\r\nNOOP\r\n",
	  "250 334 334 235/2.7.0 250/2.0.0", "scram1:u scram:p scram: scram-over ",
	  AT_ONCE, false },
	{ "SCRAM without initial response", HELLO "AUTH SCRAM-SHA-256\r\ndQ==\r\neA==\r\n",
	  "250 334 334 535/5.7.8", "scram1:u scram:x scram-over ", AT_ONCE, false },
	{ "SCRAM cancelled", HELLO "AUTH SCRAM-SHA-256 dQ==\r\n*\r\nNOOP\r\n",
	  "250 334 501/5.7.0 250/2.0.0", "scram1:u scram-over ", AT_ONCE, false },
	{ "SCRAM with what is no base64", HELLO "AUTH SCRAM-SHA-256 dQ==\r\n!\r\nNOOP\r\n",
	  "250 334 501/5.5.2 250/2.0.0", "scram1:u scram-over ", AT_ONCE, false },
	{ "channel binding without a channel", HELLO "AUTH SCRAM-SHA-256-PLUS dQ==\r\n",
	  "250 538/5.7.11", "", AT_ONCE, false },
	{ "XCLIENT from who may not", HELLO "XCLIENT ADDR=192.0.2.1\r\n", "250 550/5.7.0", "",
	  AT_ONCE, false },
	{ "HTTP", "GET / HTTP/1.1\r\nHost: a\r\nMAIL FROM:<a@b.c>\r\n", "421/4.7.0", "",
	  AT_ONCE, false },

	{ "STARTTLS throws away what is behind it", HELLO "STARTTLS\r\nMAIL FROM:<a@b.c>\r\n",
	  "250 220/2.0.0", "tls ", AT_ONCE, false },
	{ "errors end the session", "A\r\nB\r\nC\r\nD\r\nE\r\nNOOP\r\n",
	  "500/5.5.2 500/5.5.2 500/5.5.2 500/5.5.2 421/4.7.0", "", AT_ONCE, false },
	{ "wrong passwords end the session, too",
	  HELLO "AUTH PLAIN AHVzZXIAeA==\r\nAUTH PLAIN AHVzZXIAeA==\r\nAUTH PLAIN AHVzZXIAeA==\r\n"
	  "AUTH PLAIN AHVzZXIAeA==\r\nAUTH PLAIN AHVzZXIAeA==\r\n" IN_AUTH,
	  "250 535/5.7.8 535/5.7.8 535/5.7.8 535/5.7.8 535/5.7.8 421/4.7.0",
	  "auth:user auth:user auth:user auth:user auth:user ", AT_ONCE, false },
	{ "a question without answer stops what follows", HELLO "MAIL FROM:<a@b.c>\r\nNOOP\r\n",
	  "250", "mail:a@b.c/0 ", NEVER, false },
};

/* Whole, and byte by byte: the same. */
static void row_gives_replies(void **state)
{
	const struct row *r = *state;
	struct smtp_door door = plain_door;
	char got[1024];

	door.need_auth = r->need_auth;
	for (int bytewise = 0; bytewise < 2; bytewise++) {
		struct bench b;

		begin(&b, &door, r->policy);
		if (bytewise) {
			for (const char *p = r->input; *p != '\0'; p++)
				say(&b, p, 1);
		} else {
			say(&b, r->input, strlen(r->input));
		}
		codes(&b.replies, got, sizeof(got));
		assert_string_equal(got, r->replies);
		assert_string_equal(buf_str(&b.events), r->events);
		finish(&b);
	}
}

static void talk(struct bench *b, const char *text)
{
	say(b, text, strlen(text));
}

static void expect(struct bench *b, const char *want)
{
	char got[1024];

	collect(b);
	codes(&b->replies, got, sizeof(got));
	assert_string_equal(got, want);
	buf_reset(&b->replies);
}

static void answers_out_of_order_leave_in_order(void **state)
{
	struct bench b;

	begin(&b, &plain_door, NEVER);
	talk(&b, HELLO "MAIL FROM:<a@b.c>\r\nRCPT TO:<1@e.f>\r\nRCPT TO:<2@e.f>\r\n"
	     "RCPT bad\r\nRCPT TO:<3@e.f>\r\nDATA\r\nhi\r\n.\r\nNOOP\r\n");
	expect(&b, "250");
	smtp_server_answer(b.s, b.q[0], true, NULL); /* MAIL */
	expect(&b, "250/2.1.0");
	assert_int_equal(b.n_q, 4);
	smtp_server_answer(b.s, b.q[3], true, NULL);
	expect(&b, "");
	smtp_server_answer(b.s, b.q[2], false, "550 5.7.1 x\r\n");
	expect(&b, "");
	assert_true(smtp_server_asking(b.s));
	smtp_server_answer(b.s, b.q[1], true, NULL);
	expect(&b, "250/2.1.5 550/5.7.1 501/5.5.4 250/2.1.5 354");
	assert_int_equal(b.n_q, 5);
	smtp_server_answer(b.s, b.q[1], false, NULL); /* twice: ignored */
	smtp_server_answer(b.s, 12345, true, NULL);   /* never asked: ignored */
	expect(&b, "");
	smtp_server_answer(b.s, b.q[4], true, "250 2.0.0 Queued as X\r\n");
	expect(&b, "250/2.0.0 250/2.0.0");
	assert_string_equal(buf_str(&b.message), "hi\r\n");
	finish(&b);
}

static void questions_open_at_once_are_bounded(void **state)
{
	static const struct smtp_conf many = { .hostname = "mx.test", .max_size = 1000,
	                                       .max_rcpt = 1000, .max_errors = 5 };
	struct bench b = { .policy = NEVER };
	struct buf in = BUF_INIT;

	b.s = smtp_server_new(&many, &plain_door, &events, &b);
	talk(&b, HELLO "MAIL FROM:<a@b.c>\r\n");
	smtp_server_answer(b.s, b.q[0], true, NULL);
	for (int i = 0; i < 200; i++)
		buf_addf(&in, "RCPT TO:<%d@e.f>\r\n", i);
	say(&b, in.data, in.len);
	assert_int_equal(b.n_q, 1 + SMTP_OPEN_MAX);
	smtp_server_answer(b.s, b.q[1], true, NULL);
	assert_int_equal(b.n_q, 2 + SMTP_OPEN_MAX);
	assert_false(smtp_server_full(b.s));
	for (int i = 0; i < 20; i++)
		say(&b, in.data, in.len);
	assert_true(smtp_server_full(b.s));
	buf_free(&in);
	finish(&b);
}

static void commands_wait_for_replies_that_have_not_gone(void **state)
{
	struct bench b;
	struct buf in = BUF_INIT;
	size_t rounds = 0;

	begin(&b, &plain_door, AT_ONCE);
	for (int i = 0; i < 1000; i++)
		buf_adds(&in, "HELP\r\n");
	buf_adds(&in, "QUIT\r\n");
	smtp_server_input(b.s, in.data, in.len);
	do {
		size_t waiting = smtp_server_out(b.s)->len;

		assert_in_range(waiting, 1, SMTP_OUTPUT_MAX + 512);
		assert_true(smtp_server_full(b.s));
		smtp_server_input(b.s, "x", 1); /* behind QUIT: never run */
		assert_int_equal(smtp_server_out(b.s)->len, waiting);
		collect(&b);
		rounds++;
	} while (smtp_server_drained(b.s));
	assert_in_range(rounds, 3, 50);
	assert_int_equal(smtp_server_commands(b.s), 1001);
	assert_string_equal(buf_str(&b.replies) + b.replies.len - 15, "221 2.0.0 Bye\r\n");
	assert_false(smtp_server_drained(b.s));
	buf_free(&in);
	finish(&b);
}

/* Every command in every phase: what it gets there.  A line of AUTH or of a message is no command. */
enum { IN_NEW, IN_READY, IN_MAIL, IN_RCPT, IN_BDAT, IN_AUTH_LINE, IN_DATA_LINE, N_PLACES };

static const char *const places[N_PLACES] = {
	[IN_NEW] = "",
	[IN_READY] = HELLO,
	[IN_MAIL] = HELLO "MAIL FROM:<a@b.c>\r\n",
	[IN_RCPT] = HELLO "MAIL FROM:<a@b.c>\r\nRCPT TO:<1@e.f>\r\n",
	[IN_BDAT] = HELLO "MAIL FROM:<a@b.c>\r\nRCPT TO:<1@e.f>\r\nBDAT 2\r\n\r\n",
	[IN_AUTH_LINE] = HELLO "AUTH LOGIN\r\n",
	[IN_DATA_LINE] = HELLO "MAIL FROM:<a@b.c>\r\nRCPT TO:<1@e.f>\r\nDATA\r\n",
};

static const struct verb_row {
	const char *line;
	int code[N_PLACES]; /* 0: no reply */
} verb_rows[] = {
	/*                           new  ready mail rcpt bdat auth data */
	{ "EHLO me",               { 250, 250, 250, 250, 250, 501, 0 } },
	{ "HELO me",               { 250, 250, 250, 250, 250, 501, 0 } },
	{ "STARTTLS",              { 220, 220, 503, 503, 503, 334, 0 } },
	{ "AUTH PLAIN",            { 503, 334, 503, 503, 503, 501, 0 } },
	{ "MAIL FROM:<x@y.z>",     { 503, 250, 503, 503, 503, 501, 0 } },
	{ "RCPT TO:<2@e.f>",       { 503, 503, 250, 250, 503, 501, 0 } },
	{ "DATA",                  { 503, 503, 503, 354, 503, 334, 0 } },
	{ "BDAT 0 LAST",           { 503, 503, 503, 250, 250, 501, 0 } },
	{ "RSET",                  { 250, 250, 250, 250, 250, 334, 0 } },
	{ "NOOP",                  { 250, 250, 250, 250, 250, 334, 0 } },
	{ "VRFY a",                { 252, 252, 252, 252, 252, 501, 0 } },
	{ "EXPN a",                { 502, 502, 502, 502, 502, 501, 0 } },
	{ "HELP",                  { 214, 214, 214, 214, 214, 334, 0 } },
	{ "XCLIENT ADDR=192.0.2.1", { 550, 550, 503, 503, 503, 501, 0 } },
	{ "QUIT",                  { 221, 221, 221, 221, 221, 334, 0 } },
	{ "GET / HTTP/1.1",        { 421, 421, 421, 421, 421, 501, 0 } },
	{ "FOO",                   { 500, 500, 500, 500, 500, 501, 0 } },
};

static void row_answers_in_every_phase(void **state)
{
	const struct verb_row *r = *state;

	for (int i = 0; i < N_PLACES; i++) {
		struct bench b;
		int code = 0;

		begin(&b, &plain_door, AT_ONCE);
		talk(&b, places[i]);
		buf_reset(&b.replies);
		talk(&b, r->line);
		talk(&b, "\r\n");
		(void)sscanf(buf_str(&b.replies), "%d", &code);
		if (code != r->code[i])
			print_error("after \"%s\"\n", places[i]);
		assert_int_equal(code, r->code[i]);
		finish(&b);
	}
}

static const struct smtp_conf small = {
	.hostname = "mx.test", .max_size = 1000, .max_rcpt = 3, .max_errors = 50, .max_unknown = 3,
	.max_commands = 4, .max_messages = 2, .max_line = 600, .repair = true,
};

#define ONE_MAIL "MAIL FROM:<a@b.c>\r\nRCPT TO:<1@e.f>\r\nDATA\r\nx\r\n.\r\n"

static const struct limit_row {
	const char *name, *input, *replies;
} limit_rows[] = {
	{ "unknown commands end the session", "A\r\nB\r\nC\r\nNOOP\r\n",
	  "500/5.5.2 500/5.5.2 421/4.7.0" },
	{ "commands without a message end the session",
	  "NOOP\r\nNOOP\r\nNOOP\r\nNOOP\r\nNOOP\r\nNOOP\r\n",
	  "250/2.0.0 250/2.0.0 250/2.0.0 250/2.0.0 421/4.7.0" },
	{ "a message makes room for more commands", HELLO "NOOP\r\nNOOP\r\n" ONE_MAIL
	  "NOOP\r\nNOOP\r\nNOOP\r\nNOOP\r\nNOOP\r\n",
	  "250 250/2.0.0 250/2.0.0 250/2.1.0 250/2.1.5 354 250/2.0.0 250/2.0.0 250/2.0.0 "
	  "250/2.0.0 250/2.0.0 421/4.7.0" },
	{ "messages of a session are counted", HELLO ONE_MAIL ONE_MAIL ONE_MAIL,
	  "250 250/2.1.0 250/2.1.5 354 250/2.0.0 250/2.1.0 250/2.1.5 354 250/2.0.0 421/4.7.0" },
	{ "a damaged message goes to who mends it", HELLO
	  "MAIL FROM:<a@b.c>\r\nRCPT TO:<1@e.f>\r\nDATA\r\nx\ny\r\n.\r\n",
	  "250 250/2.1.0 250/2.1.5 354 250/2.0.0" },
};

static void row_keeps_limit(void **state)
{
	const struct limit_row *r = *state;
	struct bench b = { 0 };
	char got[1024];

	b.s = smtp_server_new(&small, &plain_door, &events, &b);
	say(&b, r->input, strlen(r->input));
	codes(&b.replies, got, sizeof(got));
	assert_string_equal(got, r->replies);
	finish(&b);
}

static void a_proxy_may_say_who_its_client_is(void **state)
{
	struct smtp_door door = plain_door;
	struct bench b;

	door.xclient = true;
	begin(&b, &door, AT_ONCE);
	talk(&b, HELLO IN_AUTH "XCLIENT ADDR=IPV6:2001:db8::1 HELO=a.test NAME=[UNAVAILABLE]\r\n");
	expect(&b, "250 235/2.7.0 220");
	assert_string_equal(buf_str(&b.events), "auth:user xclient:a.test/16 ");
	assert_false(smtp_server_authed(b.s));
	talk(&b, "MAIL FROM:<a@b.c>\r\n" HELLO "XCLIENT ADDR=192.0.2.1\r\n");
	expect(&b, "503/5.5.1 250 550/5.7.0"); /* only once */
	finish(&b);
	begin(&b, &door, AT_ONCE);
	talk(&b, HELLO "XCLIENT ADDR=x\r\nXCLIENT FOO=1\r\nXCLIENT HELO=a+20b\r\nXCLIENT ADDR=+31\r\n");
	expect(&b, "250 501/5.5.4 501/5.5.4 501/5.5.4 501/5.5.4");
	finish(&b);
}

/* The only one that is asked of a session with questions open. */
static void a_421_in_an_answer_ends_the_session(void **state)
{
	struct bench b;

	begin(&b, &plain_door, NEVER);
	talk(&b, HELLO "MAIL FROM:<a@b.c>\r\n");
	smtp_server_answer(b.s, b.q[0], false, "421 4.7.0 enough\r\n");
	expect(&b, "250 421/4.7.0");
	assert_int_equal(smtp_server_phase(b.s), PH_ENDED);
	finish(&b);
}

static void what_the_owner_ends_is_not_given_up_twice(void **state)
{
	struct bench b;

	begin(&b, &plain_door, NEVER);
	talk(&b, HELLO "MAIL FROM:<a@b.c>\r\n");
	smtp_server_answer(b.s, b.q[0], true, NULL);
	talk(&b, "RCPT TO:<1@e.f>\r\n");
	smtp_server_answer(b.s, b.q[1], true, NULL);
	talk(&b, "DATA\r\nx\r\n.\r\n");
	smtp_server_end(b.s, 421, "4.3.0", "enough", "test");
	smtp_server_answer(b.s, b.q[2], true, NULL);
	expect(&b, "250 250/2.1.0 250/2.1.5 354 421/4.3.0");
	assert_null(strstr(buf_str(&b.events), "given-up"));
	finish(&b);
}

static void too_long_lines_in_a_row_get_a_reply_each(void **state)
{
	struct bench b;
	char line[700];

	b = (struct bench){ 0 };
	b.s = smtp_server_new(&small, &plain_door, &events, &b);
	memset(line, 'x', sizeof(line));
	memcpy(line + sizeof(line) - 2, "\r\n", 2);
	for (int i = 0; i < 3; i++)
		for (size_t at = 0; at < sizeof(line); at += 350)
			say(&b, line + at, 350);
	expect(&b, "500/5.5.2 500/5.5.2 500/5.5.2");
	finish(&b);
}

static void long_lines_are_refused_once(void **state)
{
	struct bench b;
	char line[5000];

	memset(line, 'x', sizeof(line));
	begin(&b, &plain_door, AT_ONCE);
	say(&b, line, sizeof(line));
	say(&b, line, sizeof(line));
	expect(&b, "500/5.5.2");
	talk(&b, "tail\r\nNOOP\r\n");
	expect(&b, "250/2.0.0");
	finish(&b);
}

static void a_line_without_end_is_not_kept(void **state)
{
	static char as[4096];
	char got[64];
	struct bench b;

	begin(&b, &plain_door, AT_ONCE);
	memset(as, 'A', sizeof(as));
	for (size_t n = 0; n < 4 * SMTP_INPUT_MAX; n += sizeof(as)) {
		say(&b, as, sizeof(as));
		assert_false(smtp_server_full(b.s));
	}
	say(&b, "A\r", 2);
	say(&b, "\nNOOP\r\n", 7);
	codes(&b.replies, got, sizeof(got));
	assert_string_equal(got, "500/5.5.2 250/2.0.0");
	finish(&b);
}

static void auth_lines_may_be_long(void **state)
{
	struct bench b;
	char line[4000];

	memset(line, 'A', sizeof(line));
	memcpy(line, "AUTH PLAIN ", 11);
	memcpy(line + sizeof(line) - 2, "\r\n", 2);
	begin(&b, &plain_door, AT_ONCE);
	talk(&b, HELLO);
	say(&b, line, sizeof(line));
	expect(&b, "250 501/5.5.2");
	finish(&b);
}

static void a_nul_is_refused_in_lines_and_messages(void **state)
{
	struct bench b;

	begin(&b, &plain_door, AT_ONCE);
	talk(&b, HELLO);
	say(&b, "NO\0P\r\n", 6);
	talk(&b, "MAIL FROM:<a@b.c>\r\nRCPT TO:<1@e.f>\r\nDATA\r\n");
	say(&b, "a\0b\r\n.\r\n", 8);
	expect(&b, "250 500/5.5.2 250/2.1.0 250/2.1.5 354 554/5.6.11");
	finish(&b);
}

static void size_limit_is_kept_by_bytes(void **state)
{
	static const struct { size_t n; const char *want; } sizes[] = {
		{ 998, "250/2.0.0" }, { 999, "552/5.3.4" }, { 5000, "552/5.3.4" },
	};

	for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
		struct bench b;
		char body[5000];

		memset(body, 'x', sizeof(body));
		begin(&b, &plain_door, AT_ONCE);
		talk(&b, HELLO "MAIL FROM:<a@b.c>\r\nRCPT TO:<1@e.f>\r\nDATA\r\n");
		buf_reset(&b.replies);
		say(&b, body, sizes[i].n);
		assert_true(smtp_server_message_bytes(b.s) <= SMTP_HEADROOM + 1000);
		talk(&b, "\r\n.\r\n");
		expect(&b, sizes[i].want);
		talk(&b, "MAIL FROM:<a@b.c>\r\n");
		expect(&b, "250/2.1.0");
		finish(&b);
	}
}

static void tls_resets_the_session(void **state)
{
	struct smtp_door door = { .auth_offered = true, .tls_offered = true, .need_auth = true };
	struct bench b;

	begin(&b, &door, AT_ONCE);
	talk(&b, HELLO);
	assert_non_null(strstr(buf_str(&b.replies), "250-AUTH SCRAM-SHA-256\r\n"));
	assert_non_null(strstr(buf_str(&b.replies), "250-STARTTLS\r\n"));
	buf_reset(&b.replies);
	talk(&b, IN_AUTH);
	expect(&b, "538/5.7.11");
	talk(&b, "STARTTLS\r\nNOOP\r\n");
	assert_false(smtp_server_asking(b.s)); /* the client's deadline runs */
	expect(&b, "220/2.0.0");
	talk(&b, "NOOP\r\n"); /* before the handshake: nobody hears it */
	expect(&b, "");
	smtp_server_secured(b.s);
	assert_string_equal(smtp_server_helo(b.s), "");
	talk(&b, IN_AUTH HELLO);
	assert_non_null(strstr(buf_str(&b.replies), "250-AUTH PLAIN LOGIN SCRAM-SHA-256 SCRAM-SHA-256-PLUS\r\n"));
	assert_null(strstr(buf_str(&b.replies), "STARTTLS"));
	expect(&b, "503/5.5.1 250");
	talk(&b, "STARTTLS\r\n" IN_AUTH);
	expect(&b, "503/5.5.1 235/2.7.0");
	finish(&b);
}

static void nothing_is_offered_that_is_not_there(void **state)
{
	struct smtp_door door = { 0 };
	struct bench b;

	begin(&b, &door, AT_ONCE);
	talk(&b, HELLO);
	assert_null(strstr(buf_str(&b.replies), "STARTTLS"));
	assert_null(strstr(buf_str(&b.replies), "AUTH"));
	talk(&b, "STARTTLS\r\n" IN_AUTH);
	expect(&b, "250 502/5.5.1 502/5.5.1");
	finish(&b);
}

static void timeout_ends_and_gives_up(void **state)
{
	struct bench b;

	begin(&b, &plain_door, AT_ONCE);
	talk(&b, HELLO "MAIL FROM:<a@b.c>\r\nRCPT TO:<1@e.f>\r\nDATA\r\nhalf");
	buf_reset(&b.replies);
	smtp_server_timeout(b.s);
	expect(&b, "421/4.4.2");
	assert_int_equal(smtp_server_phase(b.s), PH_ENDED);
	assert_string_equal(buf_str(&b.events), "mail:a@b.c/0 rcpt:1@e.f given-up:timeout ");
	finish(&b);
}

static void shutdown_waits_for_the_transaction(void **state)
{
	struct bench b;

	begin(&b, &plain_door, AT_ONCE);
	talk(&b, HELLO "MAIL FROM:<a@b.c>\r\nRCPT TO:<1@e.f>\r\n");
	buf_reset(&b.replies);
	smtp_server_shutdown(b.s);
	expect(&b, "");
	talk(&b, "DATA\r\nx\r\n.\r\nMAIL FROM:<a@b.c>\r\n");
	expect(&b, "354 250/2.0.0 421/4.3.2");
	finish(&b);
	begin(&b, &plain_door, AT_ONCE);
	smtp_server_shutdown(b.s);
	expect(&b, "421/4.3.2");
	finish(&b);
}

static void shutdown_waits_for_no_login_and_no_handshake(void **state)
{
	struct bench b;

	begin(&b, &plain_door, AT_ONCE);
	talk(&b, HELLO "AUTH SCRAM-SHA-256 dQ==\r\n");
	buf_reset(&b.replies);
	smtp_server_shutdown(b.s);
	expect(&b, "421/4.3.2");
	assert_non_null(strstr(buf_str(&b.events), "scram-over "));
	finish(&b);
	begin(&b, &plain_door, AT_ONCE);
	talk(&b, HELLO "STARTTLS\r\n");
	buf_reset(&b.replies);
	smtp_server_shutdown(b.s);
	expect(&b, "");
	assert_int_equal(smtp_server_phase(b.s), PH_ENDED);
	finish(&b);
}

static void freed_with_questions_open(void **state)
{
	static const char *const inputs[] = {
		HELLO "MAIL FROM:<a@b.c>\r\nRCPT TO:<1@e.f>\r\n", HELLO "STARTTLS\r\nx",
		HELLO "AUTH LOGIN\r\n",
	};

	for (size_t i = 0; i < ARRAY_LEN(inputs); i++) {
		struct bench b;

		begin(&b, &plain_door, NEVER);
		talk(&b, inputs[i]);
		finish(&b);
		assert_null(b.s);
	}
}

#define CASE(f) { .name = #f, .test_func = f }

int main(void)
{
	static const struct CMUnitTest cases[] = {
		CASE(answers_out_of_order_leave_in_order), CASE(questions_open_at_once_are_bounded),
		CASE(commands_wait_for_replies_that_have_not_gone),
		CASE(long_lines_are_refused_once), CASE(auth_lines_may_be_long),
		CASE(a_line_without_end_is_not_kept),
		CASE(a_nul_is_refused_in_lines_and_messages), CASE(size_limit_is_kept_by_bytes),
		CASE(tls_resets_the_session), CASE(nothing_is_offered_that_is_not_there),
		CASE(timeout_ends_and_gives_up), CASE(shutdown_waits_for_the_transaction),
		CASE(shutdown_waits_for_no_login_and_no_handshake),
		CASE(freed_with_questions_open), CASE(a_proxy_may_say_who_its_client_is),
		CASE(a_421_in_an_answer_ends_the_session),
		CASE(what_the_owner_ends_is_not_given_up_twice),
		CASE(too_long_lines_in_a_row_get_a_reply_each),
	};
	struct CMUnitTest tests[ARRAY_LEN(rows) + ARRAY_LEN(limit_rows) + ARRAY_LEN(cases) +
	                        ARRAY_LEN(verb_rows)];

	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		tests[i] = (struct CMUnitTest){
			.name = rows[i].name,
			.test_func = row_gives_replies,
			.initial_state = (void *)&rows[i],
		};
	for (size_t i = 0; i < ARRAY_LEN(limit_rows); i++)
		tests[ARRAY_LEN(rows) + i] = (struct CMUnitTest){
			.name = limit_rows[i].name,
			.test_func = row_keeps_limit,
			.initial_state = (void *)&limit_rows[i],
		};
	memcpy(tests + ARRAY_LEN(rows) + ARRAY_LEN(limit_rows), cases, sizeof(cases));
	for (size_t i = 0; i < ARRAY_LEN(verb_rows); i++)
		tests[ARRAY_LEN(tests) - ARRAY_LEN(verb_rows) + i] = (struct CMUnitTest){
			.name = verb_rows[i].line,
			.test_func = row_answers_in_every_phase,
			.initial_state = (void *)&verb_rows[i],
		};
	return cmocka_run_group_tests_name("smtp_server", tests, NULL, NULL);
}
