/* tests/fuzz/fuzz_smtp_server.c - the SMTP server engine under any bytes and any answers
 *
 * The input is a script: a byte says what happens (bytes of the client, an answer to one
 * of the open questions, TLS, a timeout, a shutdown).  What must hold: every
 * reply is whole lines, replies leave in order, no more than the allowed
 * questions are open, a message is within its limit, and a transaction that was
 * begun ends once.
 */
#include <assert.h>
#include <ctype.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include "ingest/smtp_server.h"
#include "lib/err.h"

#define MAX_SIZE 300
#define MAX_OPEN 128

struct world {
	struct smtp_server *s;
	uint64_t open[MAX_OPEN];
	unsigned n_open;
	bool in_mail;      /* MAIL was asked or accepted, and has not ended */
	uint64_t mail_q;
	bool tls_asked, in_scram, repairs;
	uint64_t scram_q;
};

static void question(struct world *w, uint64_t q)
{
	assert(w->n_open <= SMTP_OPEN_MAX && w->n_open < MAX_OPEN);
	w->open[w->n_open++] = q;
}

static void on_auth(void *owner, uint64_t q, const struct sasl_login *l)
{
	assert(strlen(l->password) == l->password_len && l->login[0] != '\0');
	question(owner, q);
}

static void on_mail(void *owner, uint64_t q, const struct smtp_mail *m)
{
	struct world *w = owner;

	assert(!w->in_mail && m->size <= MAX_SIZE && w->n_open == 0);
	assert(m->envid == NULL || (m->envid_len > 0 && m->envid_len <= SMTP_ENVID_MAX));
	assert(!m->from->utf8 || m->utf8);
	w->in_mail = true;
	w->mail_q = q;
	question(w, q);
}

static void on_rcpt(void *owner, uint64_t q, const struct smtp_rcpt *r)
{
	struct world *w = owner;

	assert(w->in_mail && r->to->len > 0);
	assert(r->orcpt == NULL || (r->orcpt_len > 0 && r->orcpt_len <= SMTP_ORCPT_MAX));
	assert(r->notify <= 15 && (!(r->notify & 1) || r->notify == 1));
	question(w, q);
}

static void check_clean(const char *p, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		assert(p[i] != '\0');
		assert(p[i] != '\n' || (i > 0 && p[i - 1] == '\r'));
		assert(p[i] != '\r' || (i + 1 < n && p[i + 1] == '\n'));
	}
}

static void on_message(void *owner, uint64_t q, struct buf *msg, const struct smtp_content *c)
{
	struct world *w = owner;

	assert(w->in_mail && msg->len >= SMTP_HEADROOM && msg->len <= MAX_SIZE + SMTP_HEADROOM);
	if (!c->damaged)
		check_clean(msg->data + SMTP_HEADROOM, msg->len - SMTP_HEADROOM);
	assert(w->repairs || !c->damaged);
	w->in_mail = false;
	question(w, q);
}

static void on_scram(void *owner, uint64_t q, const struct smtp_scram *m)
{
	struct world *w = owner;

	assert(m->n <= SASL_SCRAM_MAX && m->first == !w->in_scram);
	w->in_scram = true;
	w->scram_q = q;
	question(w, q);
}

static void on_scram_over(void *owner)
{
	struct world *w = owner;

	assert(w->in_scram);
	w->in_scram = false;
}

static void on_xclient(void *owner, const struct smtp_xclient *x)
{
	struct world *w = owner;

	assert(!w->in_mail && w->n_open == 0 && !w->in_scram);
	assert(x->ip_len == 0 || x->ip_len == 4 || x->ip_len == 16);
	for (const char *p = x->helo; *p != '\0'; p++)
		assert(*p > ' ' && *p <= '~');
}

static void on_given_up(void *owner, const char *why)
{
	struct world *w = owner;

	assert(w->in_mail && why != NULL);
	w->in_mail = false;
}

static void on_secure(void *owner)
{
	((struct world *)owner)->tls_asked = true;
}

static const struct smtp_events events = {
	.auth = on_auth, .mail = on_mail, .rcpt = on_rcpt, .scram = on_scram,
	.scram_over = on_scram_over, .xclient = on_xclient,
	.message = on_message, .given_up = on_given_up, .secure = on_secure,
};

static const struct smtp_conf confs[] = {
	{ .hostname = "mx.test", .max_size = MAX_SIZE, .max_rcpt = 100, .max_errors = 10 },
	{ .hostname = "mx.test", .max_size = MAX_SIZE, .max_rcpt = 3, .max_errors = 1000,
	  .max_unknown = 5, .max_commands = 20, .max_messages = 2, .max_line = 512,
	  .repair = true },
};

/* Whole lines that begin with a code. */
static void check_replies(struct world *w)
{
	struct buf *out = smtp_server_out(w->s);
	const char *p = buf_str(out), *end = p + out->len;

	while (p < end) {
		const char *nl = memmem(p, (size_t)(end - p), "\r\n", 2);

		assert(nl != NULL && nl - p >= 4 && nl - p <= 510);
		assert(p[0] >= '2' && p[0] <= '5' && isdigit((unsigned char)p[1]));
		p = nl + 2;
	}
	buf_reset(out);
	(void)smtp_server_drained(w->s);
}

static void answer(struct world *w, uint8_t pick, bool ok)
{
	uint64_t q;

	if (w->n_open == 0)
		return;
	pick = (uint8_t)(pick % w->n_open);
	q = w->open[pick];
	w->open[pick] = w->open[--w->n_open];
	if (q == w->mail_q && !ok)
		w->in_mail = false;
	if (q == w->mail_q)
		w->mail_q = UINT64_MAX;
	if (w->in_scram && q == w->scram_q && ok)
		smtp_server_challenge(w->s, q, "\0\r\n", 3);
	else
		smtp_server_answer(w->s, q, ok, ok ? NULL : "550 5.1.1 no\r\n");
}

static void act(struct world *w, uint8_t op, uint8_t arg)
{
	switch (op % 8) {
	case 0: case 1: case 2:
		answer(w, arg, true);
		break;
	case 3:
		answer(w, arg, false);
		break;
	case 4:
		if (w->tls_asked)
			smtp_server_secured(w->s);
		w->tls_asked = false;
		break;
	case 5:
		if (arg == 0 && w->n_open == 0)
			smtp_server_timeout(w->s);
		break;
	case 6:
		if (arg == 0)
			smtp_server_shutdown(w->s);
		break;
	default:
		/* any number: old, never asked, or open */
		for (unsigned i = 0; i < w->n_open; i++)
			if (w->open[i] == arg)
				w->open[i] = w->open[--w->n_open];
		if (w->mail_q == arg)
			w->mail_q = UINT64_MAX;
		smtp_server_answer(w->s, arg, true, arg % 5 == 0 ? "421 4.7.0 x\r\n" : NULL);
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct smtp_door door = { .auth_offered = true, .plain_ok = true, .tls_offered = true };
	struct world w = { .mail_q = UINT64_MAX, .scram_q = UINT64_MAX };
	const uint8_t *end = p + n;

	if (n > 0) { /* the first byte picks a configuration and what the door allows */
		door.xclient = (*p & 2) != 0;
		door.requiretls = (*p & 4) != 0;
		w.repairs = confs[*p & 1].repair;
	}
	w.s = smtp_server_new(&confs[n > 0 ? *p++ & 1 : 0], &door, &events, &w);
	smtp_server_greet(w.s);
	check_replies(&w);
	while (end - p >= 2) {
		uint8_t op = *p++, arg = *p++;

		if (op < 128) { /* arg bytes of the client */
			size_t len = arg < end - p ? arg : (size_t)(end - p);

			smtp_server_input(w.s, (const char *)p, len);
			p += len;
		} else {
			act(&w, op, arg);
		}
		check_replies(&w);
	}
	smtp_server_free(&w.s);
	return 0;
}
