/* proto/smtp_addr.c - the grammar of RFC 5321, 4.1.2 with RFC 6531, and list keys
 *
 * A cursor walks over the bytes; each parse_*() takes its rule or leaves the cursor where
 * it was.  Only well-formed UTF-8 without control characters passes.  What is refused is
 * the peer's fault; nothing here can fail otherwise.
 */
#include "proto/smtp_addr.h"
#include <arpa/inet.h>
#include <idn2.h>
#include <stdint.h>
#include <string.h>

#define LOCAL_MAX 64
#define LABEL_MAX 63
#define DOMAIN_MAX 253 /* 255 octets on the wire of DNS */
#define PATH_MAX_OCTETS 256

struct cur {
	const uint8_t *p;
	const uint8_t *end;
	bool utf8;
};

enum { C_ATEXT = 1, C_ALNUM = 2, C_ALPHA = 4 };

static const char atext_marks[] = "!#$%&'*+-/=?^_`{|}~";

static unsigned class_of(uint8_t c)
{
	if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'))
		return C_ATEXT | C_ALNUM | C_ALPHA;
	if (c >= '0' && c <= '9')
		return C_ATEXT | C_ALNUM;
	if (c > 32 && c < 127 && strchr(atext_marks, c) != NULL)
		return C_ATEXT;
	return 0;
}

static bool peek(const struct cur *c, char want)
{
	return c->p < c->end && *c->p == (uint8_t)want;
}

static bool take(struct cur *c, char want)
{
	if (!peek(c, want))
		return false;
	c->p++;
	return true;
}

size_t smtp_utf8_read(const void *from, size_t n, uint32_t *code)
{
	const uint8_t *p = from;
	static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
	size_t len = n == 0 ? 0 : p[0] >= 0xf0 ? 4 : p[0] >= 0xe0 ? 3 : 2;
	uint32_t v;

	if (n == 0 || p[0] < 0xc2 || p[0] > 0xf4 || len > n)
		return 0;
	v = p[0] & (0xffU >> (len + 1));
	for (size_t i = 1; i < len; i++) {
		if ((p[i] & 0xc0) != 0x80)
			return 0;
		v = v << 6 | (p[i] & 0x3f);
	}
	if (v < least[len] || v < 0xa0 || v > 0x10ffff || (v >= 0xd800 && v <= 0xdfff))
		return 0;
	*code = v;
	return len;
}

/* One character of the class, or any UTF-8 beyond ASCII. */
static bool take_class(struct cur *c, unsigned class)
{
	uint32_t code;
	size_t len;

	if (c->p >= c->end)
		return false;
	if (*c->p < 128) {
		if (!(class_of(*c->p) & class))
			return false;
		c->p++;
		return true;
	}
	len = smtp_utf8_read(c->p, (size_t)(c->end - c->p), &code);
	c->p += len;
	c->utf8 |= len > 0;
	return len > 0;
}

static bool parse_dot_string(struct cur *c)
{
	do {
		if (!take_class(c, C_ATEXT))
			return false;
		while (take_class(c, C_ATEXT))
			continue;
	} while (take(c, '.'));
	return true;
}

static bool take_quoted_char(struct cur *c)
{
	if (take(c, '\\')) {
		if (c->p >= c->end || *c->p < 32 || *c->p > 126)
			return false;
		c->p++;
		return true;
	}
	if (c->p < c->end && *c->p >= 32 && *c->p <= 126) {
		c->p++;
		return true;
	}
	return c->p < c->end && *c->p > 127 && take_class(c, 0);
}

static bool parse_quoted(struct cur *c)
{
	if (!take(c, '"'))
		return false;
	while (!peek(c, '"'))
		if (!take_quoted_char(c))
			return false;
	return take(c, '"');
}

static bool parse_local(struct cur *c)
{
	return peek(c, '"') ? parse_quoted(c) : parse_dot_string(c);
}

static bool parse_label(struct cur *c)
{
	const uint8_t *start = c->p;

	if (!take_class(c, C_ALNUM))
		return false;
	while (peek(c, '-') || (c->p < c->end && (class_of(*c->p) & C_ALNUM)) ||
	       (c->p < c->end && *c->p > 127))
		if (!take(c, '-') && !take_class(c, C_ALNUM))
			return false;
	return c->p[-1] != '-' && c->p - start <= LABEL_MAX;
}

static bool parse_domain(struct cur *c)
{
	const uint8_t *start = c->p;

	do {
		if (!parse_label(c))
			return false;
	} while (take(c, '.'));
	return c->p - start <= DOMAIN_MAX;
}

/* "[192.0.2.1]" or "[IPv6:2001:db8::1]". */
static bool parse_literal(struct cur *c)
{
	const uint8_t *close;
	char text[64];
	uint8_t addr[16];
	size_t len;

	if (!take(c, '['))
		return false;
	close = memchr(c->p, ']', (size_t)(c->end - c->p));
	if (close == NULL || (size_t)(close - c->p) >= sizeof(text))
		return false;
	len = (size_t)(close - c->p);
	memcpy(text, c->p, len);
	text[len] = '\0';
	if (strlen(text) != len)
		return false;
	c->p = close + 1;
	if (strncasecmp(text, "IPv6:", 5) == 0)
		return inet_pton(AF_INET6, text + 5, addr) == 1;
	return inet_pton(AF_INET, text, addr) == 1;
}

static bool parse_host(struct cur *c)
{
	return peek(c, '[') ? parse_literal(c) : parse_domain(c);
}

static void fill(struct smtp_path *out, const uint8_t *from, size_t len, size_t at, bool utf8)
{
	if (len > 0)
		memcpy(out->addr, from, len);
	out->addr[len] = '\0';
	out->len = len;
	out->at = at;
	out->utf8 = utf8;
}

static bool is_postmaster(const uint8_t *p, size_t len)
{
	return len == 10 && strncasecmp((const char *)p, "postmaster", 10) == 0;
}

/* Local-part "@" host at c, or the one name that needs no host. */
static enum err parse_mailbox(struct cur *c, bool bare_postmaster, struct smtp_path *out)
{
	const uint8_t *start = c->p;
	size_t local, len;

	c->utf8 = false;
	if (!parse_local(c))
		return ERR_SYNTAX;
	local = (size_t)(c->p - start);
	if (!peek(c, '@')) {
		if (!bare_postmaster || !is_postmaster(start, local))
			return ERR_SYNTAX;
		fill(out, start, local, local, false);
		return ERR_OK;
	}
	c->p++;
	if (!parse_host(c))
		return ERR_SYNTAX;
	len = (size_t)(c->p - start);
	if (local > LOCAL_MAX || len > SMTP_ADDR_MAX)
		return ERR_TOOBIG;
	fill(out, start, len, local, c->utf8);
	return ERR_OK;
}

/* "@a,@b:" before the mailbox: accepted and ignored (RFC 5321, 4.1.1.3). */
static bool skip_route(struct cur *c)
{
	if (!peek(c, '@'))
		return true;
	do {
		if (!take(c, '@') || !parse_domain(c))
			return false;
	} while (take(c, ','));
	return take(c, ':');
}

enum err smtp_path_parse(const char *p, size_t n, bool empty_ok, struct smtp_path *out,
                         size_t *used)
{
	struct cur c = { .p = (const uint8_t *)p, .end = (const uint8_t *)p + n };
	struct smtp_path path;
	enum err err = ERR_OK;

	if (!take(&c, '<'))
		return ERR_SYNTAX;
	if (empty_ok && peek(&c, '>')) {
		fill(&path, NULL, 0, 0, false);
	} else {
		if (!skip_route(&c))
			return ERR_SYNTAX;
		err = parse_mailbox(&c, true, &path);
	}
	if (err != ERR_OK)
		return err;
	if (!take(&c, '>') || (c.p < c.end && *c.p != ' '))
		return ERR_SYNTAX;
	if (c.p - (const uint8_t *)p > PATH_MAX_OCTETS)
		return ERR_TOOBIG;
	*used = (size_t)(c.p - (const uint8_t *)p);
	memcpy(out, &path, sizeof(path));
	return ERR_OK;
}

enum err smtp_addr_parse(const char *p, size_t n, struct smtp_path *out)
{
	struct cur c = { .p = (const uint8_t *)p, .end = (const uint8_t *)p + n };
	struct smtp_path path;
	enum err err;

	err = parse_mailbox(&c, false, &path);
	if (err != ERR_OK)
		return err;
	if (c.p != c.end)
		return ERR_SYNTAX;
	memcpy(out, &path, sizeof(path));
	return ERR_OK;
}

static char lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
}

static void add_lower(struct buf *out, const char *p, size_t len)
{
	for (size_t i = 0; i < len; i++)
		buf_addc(out, lower(p[i]));
}

/* Simple folding beyond ASCII: one character to one, no normalisation.  Blocks in which
 * every second character is the lower case of the one before it have step 1. */
static const struct fold {
	uint16_t from, to;
	uint8_t  step; /* 1: pairs, even is upper; 2: pairs, odd is upper; else added */
} folds[] = {
	{ 0x00c0, 0x00d6, 32 }, { 0x00d8, 0x00de, 32 }, /* Latin-1 */
	{ 0x0100, 0x012f, 1 },  { 0x0132, 0x0137, 1 },  /* Latin Extended-A */
	{ 0x0139, 0x0148, 2 },  { 0x014a, 0x0177, 1 },
	{ 0x0179, 0x017e, 2 },
	{ 0x0391, 0x03a1, 32 }, { 0x03a3, 0x03ab, 32 }, /* Greek */
	{ 0x0400, 0x040f, 80 }, { 0x0410, 0x042f, 32 }, /* Cyrillic */
	{ 0x0460, 0x0481, 1 },  { 0x048a, 0x04bf, 1 },
	{ 0x04d0, 0x052f, 1 },
	{ 0x1e00, 0x1e95, 1 },  { 0x1ea0, 0x1eff, 1 },  /* Latin Extended Additional */
};

static uint32_t fold_char(uint32_t c)
{
	for (size_t i = 0; i < ARRAY_LEN(folds); i++) {
		if (c < folds[i].from || c > folds[i].to)
			continue;
		if (folds[i].step == 1)
			return c | 1;
		if (folds[i].step == 2)
			return (c & 1) ? c + 1 : c;
		return c + folds[i].step;
	}
	return c;
}

static size_t utf8_write(uint32_t c, char out[4])
{
	size_t len = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
	static const uint8_t lead[] = { 0, 0, 0xc0, 0xe0, 0xf0 };

	for (size_t i = len - 1; i > 0; i--, c >>= 6)
		out[i] = (char)(0x80 | (c & 0x3f));
	out[0] = (char)(lead[len] | c);
	return len;
}

static void add_folded(struct buf *out, const char *p, size_t len)
{
	size_t i = 0;

	while (i < len) {
		uint32_t code;
		size_t n = smtp_utf8_read(p + i, len - i, &code);
		char text[4];

		if (n == 0) {
			buf_addc(out, lower(p[i++]));
			continue;
		}
		buf_add(out, text, utf8_write(fold_char(code), text));
		i += n;
	}
}

/* Take quotes and backslashes off a quoted local part; returns the new length. */
static size_t unquote(const char *p, size_t len, char *out)
{
	size_t n = 0;

	for (size_t i = 1; i + 1 < len; i++) {
		if (p[i] == '\\')
			i++;
		out[n++] = p[i];
	}
	return n;
}

static bool is_dot_string(const char *p, size_t len)
{
	struct cur c = { .p = (const uint8_t *)p, .end = (const uint8_t *)p + len };

	return parse_dot_string(&c) && c.p == c.end;
}

static void add_local(struct buf *out, const char *p, size_t len)
{
	char plain[LOCAL_MAX];
	size_t n;

	if (p[0] != '"') {
		add_folded(out, p, len);
		return;
	}
	n = unquote(p, len, plain);
	if (is_dot_string(plain, n)) {
		add_folded(out, plain, n);
		return;
	}
	buf_addc(out, '"');
	for (size_t i = 0, from = 0; i <= n; i++) {
		if (i < n && plain[i] != '"' && plain[i] != '\\')
			continue;
		add_folded(out, plain + from, i - from);
		if (i < n)
			buf_addc(out, '\\');
		from = i;
		if (i < n) {
			buf_addc(out, plain[i]);
			from = i + 1;
		}
	}
	buf_addc(out, '"');
}

/* The A-label form of a domain that has passed parse_domain(). */
static enum err add_idn(struct buf *out, const char *domain, size_t len)
{
	int flags = IDN2_NONTRANSITIONAL | IDN2_USE_STD3_ASCII_RULES | IDN2_NFC_INPUT;
	uint8_t text[SMTP_ADDR_MAX + 1];
	uint8_t *ascii = NULL;
	struct cur c;
	bool fine;

	memcpy(text, domain, len);
	text[len] = '\0';
	if (idn2_to_ascii_8z((char *)text, (char **)&ascii, flags) != IDN2_OK)
		return ERR_SYNTAX;
	c = (struct cur){ .p = ascii, .end = ascii + strlen((char *)ascii) };
	fine = parse_domain(&c) && c.p == c.end && !c.utf8;
	if (fine)
		add_lower(out, (char *)ascii, strlen((char *)ascii));
	idn2_free(ascii);
	return fine ? ERR_OK : ERR_SYNTAX;
}

bool smtp_is_ascii(const void *p, size_t len)
{
	const unsigned char *b = p;

	for (size_t i = 0; i < len; i++)
		if (b[i] > 127)
			return false;
	return true;
}

static enum err add_domain(struct buf *out, const char *domain, size_t len)
{
	if (!smtp_is_ascii(domain, len))
		return add_idn(out, domain, len);
	add_lower(out, domain, len);
	return ERR_OK;
}

static bool is_folded(const char *p, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if ((unsigned char)p[i] > 127 || p[i] == '"' || lower(p[i]) != p[i])
			return false;
	return true;
}

enum err smtp_addr_key(const char *addr, size_t len, struct buf *out)
{
	struct buf key = BUF_INIT;
	struct smtp_path path;
	enum err err;

	err = smtp_addr_parse(addr, len, &path);
	if (err != ERR_OK)
		return ERR_SYNTAX;
	if (is_folded(path.addr, path.len)) {
		buf_add(out, path.addr, path.len);
		return ERR_OK;
	}
	add_local(&key, path.addr, path.at);
	buf_addc(&key, '@');
	err = add_domain(&key, path.addr + path.at + 1, path.len - path.at - 1);
	if (err == ERR_OK && key.len > SMTP_ADDR_MAX) /* A-labels are longer than U-labels */
		err = ERR_SYNTAX;
	if (err == ERR_OK)
		buf_add(out, key.data, key.len);
	buf_free(&key);
	return err;
}

enum err smtp_domain_key(const char *domain, size_t len, struct buf *out)
{
	size_t dot = len > 0 && domain[0] == '.';
	struct buf key = BUF_INIT;
	struct cur c;
	enum err err;

	c = (struct cur){
		.p = (const uint8_t *)domain + dot, .end = (const uint8_t *)domain + len,
	};
	if (!parse_domain(&c) || c.p != c.end)
		return ERR_SYNTAX;
	if (dot)
		buf_addc(&key, '.');
	err = add_domain(&key, domain + dot, len - dot);
	if (err == ERR_OK)
		buf_add(out, key.data, key.len);
	buf_free(&key);
	return err;
}

const char *smtp_key_domain(const char *key)
{
	const char *at = strrchr(key, '@');

	return at != NULL ? at + 1 : key;
}

static bool value_char(uint8_t c)
{
	return c > 32 && c != '=' && c != 127;
}

bool smtp_param_next(const char **p, const char *end, struct smtp_param *out, bool *bad)
{
	const char *s = *p;

	*bad = s < end && *s != ' ';
	while (s < end && *s == ' ') /* trailing space is tolerated: RFC 5321, 4.1.1 */
		s++;
	if (*bad || s == end) {
		*p = s;
		return false;
	}
	out->name = s;
	while (s < end && ((class_of((uint8_t)*s) & C_ALNUM) || (*s == '-' && s > out->name)))
		s++;
	out->name_len = (size_t)(s - out->name);
	out->value = NULL;
	out->value_len = 0;
	if (out->name_len > 0 && s < end && *s == '=') {
		out->value = ++s;
		while (s < end && value_char((uint8_t)*s))
			s++;
		out->value_len = (size_t)(s - out->value);
		*bad = out->value_len == 0;
	}
	*bad |= out->name_len == 0 || (s < end && *s != ' ');
	*p = s;
	return !*bad;
}
