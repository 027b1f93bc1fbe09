/* ingest/header_from.c - who a message says it is from (RFC 5322, 3.4)
 *
 * A cursor walks over the value of a From field.  The reader is stricter than the grammar
 * where readers of mail differ: what is taken has one meaning only, and
 * everything else is ERR_SYNTAX.  No recursion; what is tried twice is tried twice only.
 */
#include <assert.h>
#include <string.h>
#include <strings.h>
#include "ingest/header.h"
#include "proto/smtp_addr.h"

struct cur {
	const char *p;
	const char *end;
	size_t mailboxes; /* over all From fields */
	header_domain_fn *each;
	void *owner;
};

enum parsed { P_BAD, P_MAILBOX, P_GROUP /* its name and the colon */ };

static bool peek(const struct cur *c, char want)
{
	return c->p < c->end && *c->p == want;
}

static bool take(struct cur *c, char want)
{
	if (!peek(c, want))
		return false;
	c->p++;
	return true;
}

/* atext, any byte beyond ASCII, and the dot, which display names hold unquoted as well. */
static bool is_text(char c)
{
	if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9'))
		return true;
	return (unsigned char)c > 127 || (c > 32 && strchr("!#$%&'*+-/=?^_`{|}~.", c) != NULL);
}

static bool take_text(struct cur *c)
{
	const char *from = c->p;

	while (c->p < c->end && is_text(*c->p))
		c->p++;
	return c->p > from;
}

/* Behind a backslash: the character that it quotes, never a line end. */
static bool take_quoted_pair(struct cur *c)
{
	if (c->p == c->end || *c->p == '\r' || *c->p == '\n')
		return false;
	c->p++;
	return true;
}

static bool take_quoted(struct cur *c)
{
	if (!take(c, '"'))
		return false;
	while (c->p < c->end && *c->p != '"')
		if (*c->p++ == '\\' && !take_quoted_pair(c))
			return false;
	return take(c, '"');
}

static bool take_comment(struct cur *c)
{
	unsigned depth = 0;

	while (c->p < c->end) {
		char ch = *c->p++;

		if (ch == '\\' && !take_quoted_pair(c))
			return false;
		if (ch == '(' && ++depth > HEADER_COMMENT_DEPTH)
			return false;
		if (ch == ')' && --depth == 0)
			return true;
	}
	return false;
}

/* White space, line folds and comments; false when a comment is not closed. */
static bool skip_cfws(struct cur *c)
{
	for (;;) {
		while (c->p < c->end && strchr(" \t\r\n", *c->p) != NULL)
			c->p++;
		if (!peek(c, '('))
			return true;
		if (!take_comment(c))
			return false;
	}
}

static bool tell_domain(struct cur *c, const char *domain, size_t len)
{
	struct buf key = BUF_INIT;
	enum err err = ERR_SYNTAX;

	if (++c->mailboxes <= HEADER_FROM_MAX && *domain != '.')
		err = smtp_domain_key(domain, len, &key);
	if (err == ERR_OK)
		c->each(c->owner, buf_str(&key));
	buf_free(&key);
	return err == ERR_OK;
}

/* Local-part "@" domain in one piece.  *is_one: the "@" was there, there is no way back.  An
 * encoded word is none within an address (RFC 2047, 5), but readers there are that decode
 * it and find another "@". */
static bool parse_addr_spec(struct cur *c, bool *is_one)
{
	const char *local = c->p, *domain;

	*is_one = (peek(c, '"') ? take_quoted(c) : take_text(c)) && take(c, '@');
	domain = c->p;
	if (!*is_one || memmem(local, (size_t)(domain - local), "=?", 2) != NULL)
		return false;
	return take_text(c) && tell_domain(c, domain, (size_t)(c->p - domain));
}

/* "@a,@b:" in front of an address (RFC 5322, 4.4): where it went once, not who wrote it. */
static bool skip_route(struct cur *c)
{
	if (!peek(c, '@'))
		return true;
	do {
		if (!take(c, '@') || !take_text(c))
			return false;
	} while (take(c, ','));
	return take(c, ':');
}

static bool parse_angle(struct cur *c)
{
	bool is_one;

	return take(c, '<') && skip_cfws(c) && skip_route(c) && parse_addr_spec(c, &is_one) &&
	       skip_cfws(c) && take(c, '>');
}

/* The words before "<" or ":"; their number may be 0. */
static bool skip_phrase(struct cur *c)
{
	while (c->p < c->end && (*c->p == '"' || is_text(*c->p))) {
		if (!(peek(c, '"') ? take_quoted(c) : take_text(c)) || !skip_cfws(c))
			return false;
	}
	return true;
}

static enum parsed parse_address(struct cur *c)
{
	const char *from = c->p;
	bool is_one;

	if (parse_addr_spec(c, &is_one))
		return P_MAILBOX;
	if (is_one)
		return P_BAD;
	c->p = from;
	if (peek(c, '.') || !skip_phrase(c))
		return P_BAD;
	if (c->p > from && take(c, ':'))
		return P_GROUP;
	return parse_angle(c) ? P_MAILBOX : P_BAD;
}

static bool parse_list(struct cur *c)
{
	bool in_group = false, complete = false; /* complete: only a separator may follow */

	while (skip_cfws(c)) {
		enum parsed what;

		if (c->p == c->end)
			return !in_group;
		if (take(c, ',')) {
			complete = false;
			continue;
		}
		if (in_group && take(c, ';')) {
			in_group = false;
			complete = true;
			continue;
		}
		what = complete ? P_BAD : parse_address(c);
		if (what == P_BAD || (what == P_GROUP && in_group))
			return false;
		in_group |= what == P_GROUP;
		complete = what == P_MAILBOX;
	}
	return false;
}

/* Control characters switch the character set or hide text.  A backslash in a set in which
 * it may be the second half of a character (Shift-JIS, Big5, GBK) quotes for one
 * reader what it does not quote for another. */
static bool is_plain(const char *p, size_t n)
{
	bool eight_bit = false, utf8 = true;

	for (size_t i = 0; i < n; i++) {
		size_t len;

		if ((p[i] >= 0 && p[i] < 32 && strchr("\t\r\n", p[i]) == NULL) ||
		    p[i] == '\0' || p[i] == 127)
			return false;
		if ((unsigned char)p[i] < 128)
			continue;
		eight_bit = true;
		len = header_utf8_len(p + i, n - i);
		utf8 &= len > 0;
		i += len > 0 ? len - 1 : 0;
	}
	return !eight_bit || utf8 || memchr(p, '\\', n) == NULL;
}

enum err header_from_domains(const char *msg, size_t len, const struct header *h,
                             header_domain_fn *each, void *owner)
{
	struct cur c = { .each = each, .owner = owner };
	struct header_field f;
	size_t at = h->from_at;

	assert(h->from_end <= len);
	while (header_next(msg, h->from_end, &at, &f)) {
		if (f.name_len != 4 || strncasecmp(f.name, "From", 4) != 0)
			continue;
		c.p = f.value;
		c.end = f.value + f.value_len;
		if (!is_plain(c.p, f.value_len) || !parse_list(&c))
			return ERR_SYNTAX;
	}
	return c.mailboxes > 0 ? ERR_OK : ERR_NOENT;
}
