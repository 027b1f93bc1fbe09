/* ingest/repair.c - one pass from the malformed message into a new buffer
 *
 * Spans without CR, LF and NUL are appended to the line at the tail of the new buffer.
 * When it is full and more of it comes, it is broken there: the search for a place and
 * the move of what stands behind it stay within 998 octets.
 */
#include "ingest/repair.h"
#include <string.h>
#include "ingest/header.h"

#define FULL REPAIR_LINE_MAX

struct repair {
	struct buf out;
	size_t line; /* where the line at the tail begins */
	bool body;   /* the blank line was seen */
};

static bool is_wsp(char c)
{
	return c == ' ' || c == '\t';
}

static size_t wsp_length(const char *p, size_t n)
{
	size_t i = 0;

	while (i < n && is_wsp(p[i]))
		i++;
	return i;
}

/* Put sep, which begins with CRLF, after the first at octets of the line, which is full. */
static void break_at(struct repair *r, size_t at, const char *sep)
{
	size_t len = strlen(sep);
	char *line;

	(void)buf_room(&r->out, len);
	line = r->out.data + r->line;
	memmove(line + at + len, line + at, FULL - at);
	memcpy(line + at, sep, len);
	buf_grew(&r->out, len);
	r->line += at + 2;
}

/* The last place in the full line, before [p, p+n), that is not within a character. */
static size_t hard_place(const struct repair *r, const char *p, size_t n)
{
	const char *end = r->out.data + r->out.len;
	size_t more = n < 3 ? n : 3;

	for (size_t back = 1; back <= 3; back++) {
		char text[6];
		size_t len;

		memcpy(text, end - back, back);
		memcpy(text + back, p, more);
		len = header_utf8_len(text, back + more);
		if (len > back)
			return FULL - back;
	}
	return FULL;
}

/* All white space in front of the full line but its first octet goes. */
static void shorten_lead(struct repair *r, size_t lead)
{
	char *line = r->out.data + r->line;

	memmove(line + 1, line + lead, FULL - lead);
	r->out.len -= lead - 1;
	r->out.data[r->out.len] = '\0';
}

/* The last place for a fold in the full line: at white space that is not in front of the text
 * or the colon; 0 when there is none. */
static size_t soft_place(const char *line, size_t lead)
{
	const char *colon = lead == 0 ? memchr(line, ':', FULL) : NULL;
	size_t least = colon != NULL ? (size_t)(colon - line) : lead;
	size_t at = FULL - 1;

	while (at > least && !is_wsp(line[at]))
		at--;
	return at > least ? at : 0;
}

/* Fold the full line, which goes on with [p, p+n); returns how much of that is left off.  No
 * line becomes white space only: some readers end the header section there.  White
 * space at p is looked at once, however much it is. */
static size_t fold(struct repair *r, const char *p, size_t n)
{
	const char *line = r->out.data + r->line;
	size_t lead = wsp_length(line, FULL), next = wsp_length(p, n);
	size_t at = next == 0 ? soft_place(line, lead) : lead < FULL ? FULL : 0;

	if (next == n)
		return n;
	if (at > 0)
		break_at(r, at, "\r\n");
	else if (lead > 1)
		shorten_lead(r, lead);
	else
		break_at(r, hard_place(r, p, n), "\r\n ");
	return next > 0 && at > 0 ? next - 1 : next;
}

static void add_text(struct repair *r, const char *p, size_t n)
{
	while (n > 0) {
		size_t room = FULL - (r->out.len - r->line);
		size_t some = n < room ? n : room;

		buf_add(&r->out, p, some);
		p += some;
		n -= some;
		if (n == 0)
			break;
		if (r->body) {
			break_at(r, hard_place(r, p, n), "\r\n");
		} else {
			some = fold(r, p, n);
			p += some;
			n -= some;
		}
	}
}

static void end_line(struct repair *r)
{
	r->body |= r->out.len == r->line;
	buf_add(&r->out, "\r\n", 2);
	r->line = r->out.len;
}

/* Take the CR, LF or NUL at p with those that belong to it; returns what is behind. */
static const char *take_line_end(struct repair *r, const char *p, const char *end)
{
	size_t lines = 0;

	for (; p < end && (*p == '\r' || *p == '\0'); p++)
		lines += *p == '\r';
	if (p < end && *p == '\n') {
		lines = 1;
		p++;
	}
	while (lines-- > 0)
		end_line(r);
	return p;
}

void repair_message(struct buf *msg, size_t from)
{
	struct repair r = { .out = BUF_INIT, .line = from };
	const char *p = buf_str(msg) + from, *end = buf_str(msg) + msg->len;

	(void)buf_room(&r.out, msg->len + msg->len / 64 + 64); /* LFs without CR take more */
	buf_add(&r.out, buf_str(msg), from);
	while (p < end) {
		size_t n = strcspn(p, "\r\n"); /* stops at NUL, which is behind the end, too */

		add_text(&r, p, n);
		p = take_line_end(&r, p + n, end);
	}
	buf_free(msg);
	*msg = r.out;
}
