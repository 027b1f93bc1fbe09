/* lib/log_escape.c - the two escapings of the log
 *
 * No state, no limits of its own: the log cuts long values before it asks.
 */
#include <stdbool.h>
#include <string.h>
#include "lib/log_escape.h"

static const char hex[] = "0123456789abcdef";

size_t utf8_next(const unsigned char *p, size_t len, unsigned *code)
{
	static const unsigned least[] = { 0, 0, 0x80, 0x800, 0x10000 };
	size_t n = p[0] < 0x80 ? 1
	         : p[0] >> 5 == 0x06 ? 2
	         : p[0] >> 4 == 0x0e ? 3
	         : p[0] >> 3 == 0x1e ? 4 : 0;
	unsigned c;

	if (n == 0 || n > len)
		return 0;
	c = n == 1 ? p[0] : p[0] & (0x7fU >> n);
	for (size_t i = 1; i < n; i++) {
		if (p[i] >> 6 != 2)
			return 0;
		c = c << 6 | (p[i] & 0x3f);
	}
	if (c < least[n] || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff))
		return 0;
	*code = c;
	return n;
}

static bool is_bare(const unsigned char *p, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (p[i] <= ' ' || p[i] >= 0x7f || strchr("\"\\=", p[i]) != NULL)
			return false;
	return len > 0;
}

/* The letter after the backslash, or 0 where there is none. */
static char short_escape(unsigned char c)
{
	switch (c) {
	case '"':  return '"';
	case '\\': return '\\';
	case '\n': return 'n';
	case '\r': return 'r';
	case '\t': return 't';
	default:   return 0;
	}
}

void log_escape_text(struct buf *b, const void *data, size_t len, size_t cut)
{
	const unsigned char *p = data;

	if (cut == 0 && is_bare(p, len)) {
		buf_add(b, p, len);
		return;
	}
	buf_addc(b, '"');
	for (size_t i = 0; i < len; i++) {
		char s = short_escape(p[i]);

		if (s != 0)
			buf_add(b, (char[]){ '\\', s }, 2);
		else if (p[i] >= ' ' && p[i] < 0x7f)
			buf_addc(b, (char)p[i]);
		else
			buf_add(b, (char[]){ '\\', 'x', hex[p[i] >> 4], hex[p[i] & 15] }, 4);
	}
	if (cut > 0)
		buf_addf(b, "...+%zu", cut);
	buf_addc(b, '"');
}

static void add_code(struct buf *b, unsigned c)
{
	char s = c < 0x80 ? short_escape((unsigned char)c) : 0;

	if (s != 0)
		buf_add(b, (char[]){ '\\', s }, 2);
	else if (c >= ' ' && c < 0x7f)
		buf_addc(b, (char)c);
	else if (c < 0x10000)
		buf_addf(b, "\\u%04x", c);
	else
		buf_addf(b, "\\u%04x\\u%04x", 0xd800 + ((c - 0x10000) >> 10),
		         0xdc00 + ((c - 0x10000) & 0x3ff));
}

void log_escape_json(struct buf *b, const void *data, size_t len, size_t cut)
{
	const unsigned char *p = data;
	unsigned code = 0;

	buf_addc(b, '"');
	for (size_t i = 0, n; i < len; i += n) {
		n = utf8_next(p + i, len - i, &code);
		if (n == 0) {
			code = 0xfffd;
			n = 1;
		}
		add_code(b, code);
	}
	if (cut > 0)
		buf_addf(b, "...+%zu", cut);
	buf_addc(b, '"');
}
