/* proto/smtp_reply.c - read and write SMTP replies
 *
 * The parser is lenient where servers of the world are sloppy (any second digit, a code
 * alone on its line) and strict where two readings differ (another code in a later
 * line, no separator).  What it keeps is bounded by SMTP_REPLY_TEXT_MAX.
 */
#include "proto/smtp_reply.h"
#include <string.h>

#define REPLY_LINE_MAX 512 /* with CRLF: RFC 5321, 4.5.3.1.5 */

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* Digits at p, at most max of them; 0 when there are none or more. */
static size_t digits(const char *p, size_t n, size_t max)
{
	size_t i = 0;

	while (i < n && is_digit(p[i]))
		i++;
	return i <= max ? i : 0;
}

static bool class_fits(char class, int code)
{
	if (code >= 400)
		return class == '4' || class == '5';
	return class == '2';
}

size_t smtp_enhanced_take(int code, const char *text, size_t len, char out[12])
{
	size_t subject, detail, end;

	out[0] = '\0';
	if (len < 5 || !class_fits(text[0], code) || text[1] != '.')
		return 0;
	subject = digits(text + 2, len - 2, 3);
	if (subject == 0 || 2 + subject >= len || text[2 + subject] != '.')
		return 0;
	detail = digits(text + 3 + subject, len - 3 - subject, 3);
	end = 3 + subject + detail;
	if (detail == 0 || (end < len && text[end] != ' '))
		return 0;
	memcpy(out, text, end);
	out[end] = '\0';
	return end < len ? end + 1 : end;
}

/* The code of a reply line, or 0 when it is none. */
static int line_code(const char *line, size_t len)
{
	if (len < 3 || digits(line, 3, 3) != 3 || line[0] < '2' || line[0] > '5')
		return 0;
	if (len > 3 && line[3] != ' ' && line[3] != '-')
		return 0;
	return (line[0] - '0') * 100 + (line[1] - '0') * 10 + (line[2] - '0');
}

static void add_text(struct smtp_reply *r, const char *text, size_t len)
{
	size_t room;

	if (r->lines > 0 && r->text.len < SMTP_REPLY_TEXT_MAX)
		buf_addc(&r->text, '\n');
	room = SMTP_REPLY_TEXT_MAX - r->text.len;
	if (len > 0)
		buf_add(&r->text, text, len < room ? len : room);
}

enum err smtp_reply_line(struct smtp_reply *r, const char *line, size_t len)
{
	int code = line_code(line, len);
	size_t skip = len > 3 ? 4 : 3;
	bool last = len <= 3 || line[3] == ' ';
	char enhanced[12];

	if (code == 0 || r->lines >= SMTP_REPLY_LINES_MAX)
		return ERR_PROTO;
	if (r->lines > 0 && code != r->code)
		return ERR_PROTO;
	r->code = code;
	skip += smtp_enhanced_take(code, line + skip, len - skip, enhanced);
	if (r->enhanced[0] == '\0')
		memcpy(r->enhanced, enhanced, sizeof(enhanced));
	add_text(r, line + skip, len - skip);
	r->lines++;
	return last ? ERR_OK : ERR_AGAIN;
}

void smtp_reply_reset(struct smtp_reply *r)
{
	r->code = 0;
	r->enhanced[0] = '\0';
	r->lines = 0;
	buf_reset(&r->text);
}

void smtp_reply_free(struct smtp_reply *r)
{
	if (r == NULL)
		return;
	smtp_reply_reset(r);
	buf_free(&r->text);
}

/* How much of text, which goes on for len bytes, fits room: cut at a space if there is one. */
static size_t fit(const char *text, size_t len, size_t room)
{
	size_t cut = room;

	if (len <= room)
		return len;
	while (cut > 0 && text[cut] != ' ')
		cut--;
	return cut > 0 ? cut : room;
}

static void add_clean(struct buf *out, const char *text, size_t len)
{
	size_t from = out->len;

	if (len == 0)
		return;
	buf_add(out, text, len);
	for (size_t i = from; i < out->len; i++)
		if ((unsigned char)out->data[i] < 32 || out->data[i] == 127)
			out->data[i] = '?';
}

void smtp_reply_add(struct buf *out, int code, const char *enhanced, const char *text)
{
	bool has = enhanced != NULL && enhanced[0] != '\0';
	size_t prefix = 4 + (has ? strlen(enhanced) + 1 : 0);

	for (;;) {
		size_t line = strcspn(text, "\n");
		size_t n = fit(text, line, REPLY_LINE_MAX - 2 - prefix);
		bool last = text[n] == '\0';

		buf_addf(out, "%03d%c", code, last ? ' ' : '-');
		if (has)
			buf_addf(out, "%s ", enhanced);
		add_clean(out, text, n);
		buf_add(out, "\r\n", 2);
		if (last)
			return;
		text += n + (text[n] == '\n' || text[n] == ' ');
	}
}
