/* ingest/smtp_auth.c - the AUTH command (RFC 4954): mechanisms, lines, cancel
 *
 * PLAIN and LOGIN end in one question with login and password; SCRAM asks with each message of the
 * client.  An exchange lives in memory of its own, which is wiped when it ends.
 */
#include "ingest/smtp_engine.h"

#include <string.h>
#include <strings.h>
#include <openssl/crypto.h>
#include "lib/mem.h"

enum mech { MECH_PLAIN, MECH_LOGIN, MECH_SCRAM, MECH_SCRAM_PLUS, N_MECHS };

static const struct {
	const char *name;
	bool password;     /* the password itself goes over the wire */
	bool tls;          /* needs TLS to bind to */
	const char *begin; /* the challenge where no initial response came */
} mechs[] = {
	[MECH_PLAIN]      = { "PLAIN",              true,  false, "" },
	[MECH_LOGIN]      = { "LOGIN",              true,  false, "VXNlcm5hbWU6" },
	[MECH_SCRAM]      = { "SCRAM-SHA-256",      false, false, "" },
	[MECH_SCRAM_PLUS] = { "SCRAM-SHA-256-PLUS", false, true,  "" },
};

struct smtp_auth {
	enum mech mech;
	bool user_known;   /* LOGIN: the password comes next */
	bool asked;        /* SCRAM: the first message has come */
	struct sasl_login login;
};

static bool mech_allowed(const struct smtp_server *s, enum mech m)
{
	if (mechs[m].tls)
		return s->door.secure && !s->door.unbound;
	return !mechs[m].password || s->door.secure || s->door.plain_ok;
}

bool smtp_auth_allowed(const struct smtp_server *s)
{
	return s->door.auth_offered;
}

void smtp_auth_offer(const struct smtp_server *s, struct buf *out)
{
	buf_adds(out, "250-AUTH");
	for (enum mech m = 0; m < N_MECHS; m++)
		if (mech_allowed(s, m))
			buf_addf(out, " %s", mechs[m].name);
	buf_adds(out, "\r\n");
}

void smtp_auth_end(struct smtp_server *s)
{
	bool scram;

	if (s->auth == NULL)
		return;
	scram = !mechs[s->auth->mech].password && s->auth->asked;
	OPENSSL_cleanse(s->auth, sizeof(*s->auth));
	xfree(s->auth);
	s->auth = NULL;
	if (s->phase == PH_AUTH)
		smtp_goto(s, PH_READY);
	if (scram)
		s->ev->scram_over(s->owner);
}

/* Everything of the exchange is there: ask who this is. */
static void ask_login(struct smtp_server *s)
{
	struct sasl_login login = s->auth->login;
	uint64_t q;

	smtp_auth_end(s);
	q = smtp_question(s, WAIT_AUTH);
	s->ev->auth(s->owner, q, &login);
	sasl_wipe(&login);
}

static void refuse(struct smtp_server *s, enum err err)
{
	smtp_auth_end(s);
	if (err == ERR_PERM)
		smtp_deny(s, 535, "5.7.8", "Authentication credentials invalid");
	else
		smtp_deny(s, 501, "5.5.2", "Response cannot be decoded");
}

static void challenge(struct smtp_server *s, const char *base64)
{
	buf_addf(smtp_reply_to(s), "334 %s\r\n", base64);
}

static enum err plain_line(struct smtp_server *s, const char *line, size_t n)
{
	enum err err = sasl_plain(line, n, &s->auth->login);

	if (err == ERR_OK)
		ask_login(s);
	return err;
}

static enum err login_line(struct smtp_server *s, const char *line, size_t n)
{
	enum err err;

	if (s->auth->user_known) {
		err = sasl_login_pass(line, n, &s->auth->login);
		if (err == ERR_OK)
			ask_login(s);
		return err;
	}
	err = sasl_login_user(line, n, &s->auth->login);
	if (err == ERR_OK) {
		s->auth->user_known = true;
		challenge(s, "UGFzc3dvcmQ6");
	}
	return err;
}

static enum err scram_line(struct smtp_server *s, const char *line, size_t n)
{
	uint8_t raw[SASL_SCRAM_MAX];
	struct smtp_scram m = {
		.first = !s->auth->asked, .plus = s->auth->mech == MECH_SCRAM_PLUS, .p = raw,
	};
	enum err err = sasl_base64(line, n, raw, sizeof(raw), &m.n);

	if (err != ERR_OK)
		return ERR_SYNTAX;
	s->auth->asked = true;
	s->ev->scram(s->owner, smtp_question(s, WAIT_AUTH), &m);
	return ERR_OK;
}

void smtp_auth_line(struct smtp_server *s, const char *line, size_t n)
{
	static enum err (*const take[])(struct smtp_server *, const char *, size_t) = {
		[MECH_PLAIN] = plain_line, [MECH_LOGIN] = login_line,
		[MECH_SCRAM] = scram_line, [MECH_SCRAM_PLUS] = scram_line,
	};
	enum err err;

	if (n == 1 && line[0] == '*') {
		smtp_auth_end(s);
		smtp_deny(s, 501, "5.7.0", "Authentication cancelled");
		return;
	}
	err = take[s->auth->mech](s, line, n);
	if (err != ERR_OK)
		refuse(s, err);
}

static enum mech mech_find(const char *name, size_t n)
{
	enum mech m = 0;

	while (m < N_MECHS &&
	       !(strlen(mechs[m].name) == n && strncasecmp(mechs[m].name, name, n) == 0))
		m++;
	return m;
}

void smtp_auth_begin(struct smtp_server *s, const char *arg, size_t n)
{
	const char *sp = memchr(arg, ' ', n);
	enum mech m = mech_find(arg, sp ? (size_t)(sp - arg) : n);

	if (!smtp_auth_allowed(s)) {
		smtp_deny(s, 502, "5.5.1", "AUTH is not offered here");
	} else if (s->authed) {
		smtp_deny(s, 503, "5.5.1", "Authenticated already");
	} else if (m == N_MECHS) {
		smtp_deny(s, 504, "5.5.4", "Mechanism is not known");
	} else if (!mech_allowed(s, m)) {
		smtp_deny(s, 538, "5.7.11", "Encryption is required: STARTTLS first");
	} else {
		s->auth = xcalloc(1, sizeof(*s->auth));
		s->auth->mech = m;
		smtp_goto(s, PH_AUTH);
		if (sp != NULL)
			smtp_auth_line(s, sp + 1, n - (size_t)(sp + 1 - arg));
		else
			challenge(s, mechs[m].begin);
	}
}
