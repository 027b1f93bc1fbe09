/* ingest/smtp_param.c - the arguments of MAIL and RCPT: paths and ESMTP parameters
 *
 * One row a parameter: SIZE (RFC 1870), BODY (RFC 6152), SMTPUTF8 (RFC 6531), RET, ENVID, NOTIFY
 * and ORCPT (RFC 3461), REQUIRETLS (RFC 8689), AUTH (RFC 4954).  A value is checked, not decoded.
 */
#include "ingest/smtp_engine.h"

#include <string.h>
#include <strings.h>

enum verdict {
	TAKEN,
	UNKNOWN,  /* 555: not a parameter here */
	BROKEN,   /* 501: cannot be read */
};

struct sentence { /* what the parameters of a command add up to */
	struct smtp_server *s;
	struct smtp_mail *mail;
	struct smtp_rcpt *rcpt;
	bool utf8;
	unsigned seen; /* bits by row: each may come once */
};

static bool value_is(const struct smtp_param *p, const char *v)
{
	return p->value_len == strlen(v) && strncasecmp(p->value, v, p->value_len) == 0;
}

/* xtext: printable, "+" only before two upper-case hexadecimal digits (RFC 3461, 4). */
static bool is_xtext(const char *p, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (p[i] <= ' ' || p[i] > '~')
			return false;
		if (p[i] != '+')
			continue;
		if (n - i < 3 || memchr("0123456789ABCDEF", p[i + 1], 16) == NULL ||
		    memchr("0123456789ABCDEF", p[i + 2], 16) == NULL)
			return false;
		i += 2;
	}
	return n > 0;
}

/* At most 20 digits (RFC 1870, 4). */
static enum verdict take_size(struct sentence *t, const struct smtp_param *p)
{
	uint64_t v = 0;

	if (p->value_len == 0 || p->value_len > 20)
		return BROKEN;
	for (size_t i = 0; i < p->value_len; i++) {
		unsigned d = (unsigned)(unsigned char)p->value[i] - '0';

		if (d > 9)
			return BROKEN;
		if (__builtin_mul_overflow(v, 10, &v) || __builtin_add_overflow(v, d, &v))
			v = UINT64_MAX / 10; /* larger than any limit */
	}
	t->mail->size = v;
	return TAKEN;
}

static enum verdict take_body(struct sentence *t, const struct smtp_param *p)
{
	t->mail->eight_bit = value_is(p, "8BITMIME");
	return t->mail->eight_bit || value_is(p, "7BIT") ? TAKEN : UNKNOWN;
}

static enum verdict take_utf8(struct sentence *t, const struct smtp_param *p)
{
	t->mail->utf8 = t->utf8 = true;
	return p->value == NULL ? TAKEN : BROKEN;
}

static enum verdict take_require_tls(struct sentence *t, const struct smtp_param *p)
{
	if (!t->s->door.requiretls || !t->s->door.secure)
		return UNKNOWN;
	t->mail->require_tls = true;
	return p->value == NULL ? TAKEN : BROKEN;
}

/* Who is behind our client (RFC 4954, 5): our client has proved who it is, and that is enough. */
static enum verdict take_auth(struct sentence *t, const struct smtp_param *p)
{
	if (!smtp_auth_allowed(t->s))
		return UNKNOWN;
	return is_xtext(p->value, p->value_len) ? TAKEN : BROKEN;
}

static enum verdict take_ret(struct sentence *t, const struct smtp_param *p)
{
	t->mail->ret = value_is(p, "FULL")   ? HOLDFAST__DSN_RET__RET_FULL
	               : value_is(p, "HDRS") ? HOLDFAST__DSN_RET__RET_HDRS
	                                     : HOLDFAST__DSN_RET__RET_NONE;
	return t->mail->ret != HOLDFAST__DSN_RET__RET_NONE ? TAKEN : BROKEN;
}

static enum verdict take_envid(struct sentence *t, const struct smtp_param *p)
{
	t->mail->envid = p->value;
	t->mail->envid_len = p->value_len;
	return p->value_len <= SMTP_ENVID_MAX && is_xtext(p->value, p->value_len) ? TAKEN : BROKEN;
}

/* NEVER alone, or a list of the others (RFC 3461, 4.1). */
static enum verdict take_notify(struct sentence *t, const struct smtp_param *p)
{
	static const struct { const char *word; unsigned bit; } words[] = {
		{ "NEVER", 1 }, { "SUCCESS", 2 }, { "FAILURE", 4 }, { "DELAY", 8 },
	};
	const char *at = p->value, *end = p->value + p->value_len;
	unsigned bits = 0;

	for (;;) {
		const char *comma = memchr(at, ',', (size_t)(end - at));
		size_t n = (size_t)((comma ? comma : end) - at), i = 0;

		while (i < ARRAY_LEN(words) && !(strlen(words[i].word) == n &&
		                                 strncasecmp(words[i].word, at, n) == 0))
			i++;
		if (i == ARRAY_LEN(words) || (bits & words[i].bit))
			return BROKEN;
		bits |= words[i].bit;
		if (comma == NULL)
			break;
		at = comma + 1;
	}
	t->rcpt->notify = bits;
	return (bits & 1) && bits != 1 ? BROKEN : TAKEN;
}

/* Well-formed UTF-8 without blanks and control characters; not empty. */
static bool is_utf8_text(const char *p, size_t n)
{
	uint32_t code;
	size_t len;

	for (size_t i = 0; i < n; i += len) {
		bool ascii = p[i] > ' ' && p[i] < 127;

		len = ascii ? 1 : smtp_utf8_read(p + i, n - i, &code);
		if (len == 0)
			return false;
	}
	return n > 0;
}

/* "type;address" (RFC 3461, 4.2; utf-8 addresses: RFC 6533, 3). */
static enum verdict take_orcpt(struct sentence *t, const struct smtp_param *p)
{
	const char *semi = p->value ? memchr(p->value, ';', p->value_len) : NULL;
	size_t type = semi ? (size_t)(semi - p->value) : 0;

	if (type == 0 || p->value_len > SMTP_ORCPT_MAX || !is_xtext(p->value, type))
		return BROKEN;
	t->rcpt->orcpt = p->value;
	t->rcpt->orcpt_len = p->value_len;
	if (t->s->utf8 && type == 5 && strncasecmp(p->value, "utf-8", 5) == 0)
		return is_utf8_text(semi + 1, p->value_len - type - 1) ? TAKEN : BROKEN;
	return is_xtext(semi + 1, p->value_len - type - 1) ? TAKEN : BROKEN;
}

static const struct row {
	const char *name;
	bool of_mail, has_value;
	enum verdict (*take)(struct sentence *t, const struct smtp_param *p);
} rows[] = {
	{ "SIZE",       true,  true,  take_size },
	{ "BODY",       true,  true,  take_body },
	{ "SMTPUTF8",   true,  false, take_utf8 },
	{ "REQUIRETLS", true,  false, take_require_tls },
	{ "AUTH",       true,  true,  take_auth },
	{ "RET",        true,  true,  take_ret },
	{ "ENVID",      true,  true,  take_envid },
	{ "NOTIFY",     false, true,  take_notify },
	{ "ORCPT",      false, true,  take_orcpt },
};

static enum verdict take(struct sentence *t, const struct smtp_param *p)
{
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		if (rows[i].of_mail != (t->mail != NULL) || strlen(rows[i].name) != p->name_len ||
		    strncasecmp(rows[i].name, p->name, p->name_len) != 0)
			continue;
		if ((t->seen & (1u << i)) || rows[i].has_value != (p->value != NULL))
			return BROKEN;
		t->seen |= 1u << i;
		return rows[i].take(t, p);
	}
	return UNKNOWN;
}

static bool take_all(struct sentence *t, const char *p, const char *end)
{
	struct smtp_param par;
	bool bad = false;

	while (smtp_param_next(&p, end, &par, &bad)) {
		enum verdict v = take(t, &par);

		if (v == UNKNOWN) {
			smtp_deny(t->s, 555, "5.5.4", "Parameter is not known");
			return false;
		}
		bad = v == BROKEN;
		if (bad)
			break;
	}
	if (bad)
		smtp_deny(t->s, 501, "5.5.4", "Parameter cannot be read");
	return !bad;
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
	*rest = p + len + used;
	return true;
}

static bool utf8_fits(struct smtp_server *s, const struct smtp_path *path, bool said)
{
	if (path->utf8 && !said)
		smtp_deny(s, 553, "5.6.7", "Address needs SMTPUTF8: say it at MAIL");
	return said || !path->utf8;
}

bool smtp_mail_read(struct smtp_server *s, const char *arg, size_t n, struct smtp_path *from,
                    struct smtp_mail *m)
{
	struct sentence t = { .s = s, .mail = m };
	const char *rest;

	m->from = from;
	if (!path_take(s, arg, n, "FROM:", from, &rest) || !take_all(&t, rest, arg + n) ||
	    !utf8_fits(s, from, m->utf8))
		return false;
	if (m->size <= s->conf->max_size)
		return true;
	smtp_deny(s, 552, "5.3.4", "Message is larger than this server takes");
	return false;
}

bool smtp_rcpt_read(struct smtp_server *s, const char *arg, size_t n, struct smtp_path *to,
                    struct smtp_rcpt *r)
{
	struct sentence t = { .s = s, .rcpt = r };
	const char *rest;

	r->to = to;
	return path_take(s, arg, n, "TO:", to, &rest) && take_all(&t, rest, arg + n) &&
	       utf8_fits(s, to, s->utf8);
}
