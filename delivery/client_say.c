/* delivery/client_say.c - MAIL and RCPT with their parameters
 *
 * Only what the server offers is said (RFC 5321, 2.2.1).  Addresses and parameters were checked
 * when the mail was taken: none of them can end a command or begin another parameter.
 */
#include <string.h>
#include "delivery/client_private.h"
#include "proto/smtp_addr.h"

static size_t local_length(const char *addr)
{
	const char *at = strrchr(addr, '@');

	return at != NULL ? (size_t)(at - addr) : strlen(addr);
}

/* The address with its domain as an A-label; false: it has none. */
static bool to_ascii(const char *addr, struct buf *out)
{
	size_t local = local_length(addr);

	buf_reset(out);
	if (addr[local] == '\0' || !smtp_is_ascii(addr, local))
		return false;
	buf_add(out, addr, local + 1);
	return smtp_domain_key(addr + local + 1, strlen(addr + local + 1), out) == ERR_OK &&
	       out->len <= SMTP_ADDR_MAX;
}

static bool address_needs_utf8(const char *addr)
{
	struct buf b = BUF_INIT;
	bool needs = !smtp_is_ascii(addr, strlen(addr)) && !to_ascii(addr, &b);

	buf_free(&b);
	return needs;
}

bool say_needs_utf8(const struct client_mail *m)
{
	bool needs = (m->utf8 && !m->utf8_optional) || address_needs_utf8(m->mail_from);

	for (unsigned i = 0; !needs && i < m->n_rcpt; i++)
		needs = address_needs_utf8(m->rcpt[i].addr);
	return needs;
}

static bool mentions_utf8(const struct client_mail *m)
{
	bool any = m->utf8 || !smtp_is_ascii(m->mail_from, strlen(m->mail_from));

	for (unsigned i = 0; !any && i < m->n_rcpt; i++)
		any = !smtp_is_ascii(m->rcpt[i].addr, strlen(m->rcpt[i].addr));
	return any;
}

static void say_path(struct client *c, const char *addr)
{
	struct buf b = BUF_INIT;

	buf_addc(&c->out, '<');
	if (c->utf8 || smtp_is_ascii(addr, strlen(addr)) || !to_ascii(addr, &b))
		buf_adds(&c->out, addr);
	else
		buf_add(&c->out, b.data, b.len);
	buf_addc(&c->out, '>');
	buf_free(&b);
}

void say_mail(struct client *c, const struct client_mail *m)
{
	buf_adds(&c->out, "MAIL FROM:");
	say_path(c, m->mail_from);
	if (c->has_size)
		buf_addf(&c->out, " SIZE=%llu", (unsigned long long)m->size);
	if (c->eight_bit && m->eight_bit)
		buf_adds(&c->out, " BODY=8BITMIME");
	if (c->utf8 && mentions_utf8(m))
		buf_adds(&c->out, " SMTPUTF8");
	if (m->require_tls && c->requiretls)
		buf_adds(&c->out, " REQUIRETLS");
	if (c->dsn && m->ret != HOLDFAST__DSN_RET__RET_NONE)
		buf_addf(&c->out, " RET=%s",
		         m->ret == HOLDFAST__DSN_RET__RET_FULL ? "FULL" : "HDRS");
	if (c->dsn && m->envid != NULL && m->envid[0] != '\0')
		buf_addf(&c->out, " ENVID=%s", m->envid);
	buf_adds(&c->out, "\r\n");
}

/* ---- NOTIFY and ORCPT */

static void say_notify(struct buf *out, unsigned notify)
{
	static const struct { unsigned bit; const char *word; } words[] = {
		{ CLIENT_NEVER, "NEVER" }, { CLIENT_SUCCESS, "SUCCESS" },
		{ CLIENT_FAILURE, "FAILURE" }, { CLIENT_DELAY, "DELAY" },
	};
	const char *before = " NOTIFY=";

	for (size_t i = 0; i < ARRAY_LEN(words); i++) {
		if (!(notify & words[i].bit))
			continue;
		buf_adds(out, before);
		buf_adds(out, words[i].word);
		before = ",";
	}
}

static void add_xtext(struct buf *out, const char *s)
{
	for (; *s != '\0'; s++) {
		if (*s > ' ' && *s <= '~' && *s != '+' && *s != '=')
			buf_addc(out, *s);
		else
			buf_addf(out, "+%02X", (unsigned char)*s);
	}
}

/* Characters beyond ASCII as \x{C4} (RFC 6533, 3), which is right in every dialogue; with all,
 * those that the form sets apart too. */
static void add_embedded(struct buf *out, const char *s, bool all)
{
	size_t len = strlen(s), n;
	uint32_t code;

	for (size_t i = 0; i < len; i += n) {
		unsigned char b = (unsigned char)s[i];

		n = b > 127 ? smtp_utf8_read(s + i, len - i, &code) : 0;
		if (n > 0) {
			buf_addf(out, "\\x{%X}", (unsigned)code);
			continue;
		}
		n = 1;
		if (b > 127)
			buf_addc(out, '?');
		else if (all && (b <= ' ' || b == '\\' || b == '+' || b == '='))
			buf_addf(out, "\\x{%02X}", b);
		else
			buf_addc(out, (char)b);
	}
}

static void say_orcpt(struct buf *out, const struct client_rcpt *r)
{
	buf_adds(out, " ORCPT=");
	if (r->orcpt != NULL && r->orcpt[0] != '\0') {
		add_embedded(out, r->orcpt, false);
	} else if (smtp_is_ascii(r->addr, strlen(r->addr))) {
		buf_adds(out, "rfc822;");
		add_xtext(out, r->addr);
	} else {
		buf_adds(out, "utf-8;");
		add_embedded(out, r->addr, true);
	}
}

void say_rcpt(struct client *c, const struct client_rcpt *r)
{
	bool given = r->orcpt != NULL && r->orcpt[0] != '\0';

	buf_adds(&c->out, "RCPT TO:");
	say_path(c, r->addr);
	if (c->dsn)
		say_notify(&c->out, r->notify);
	if (c->dsn && (given || r->notify != 0))
		say_orcpt(&c->out, r);
	buf_adds(&c->out, "\r\n");
}
