/* ingest/header.c - one walk over the header section, and what is taken out of it
 *
 * A field is its name line and the continuations after it.  Its lines are found by
 * memchr(); nothing is looked at twice on the way forward.  The cut walks backwards, so
 * that each byte that stays is moved once, however many fields go.
 */
#include "ingest/header.h"
#include <assert.h>
#include <string.h>
#include <strings.h>
#include "proto/dsn.h"
#include "proto/smtp_addr.h"

enum kind { K_OTHER, K_RECEIVED, K_DATE, K_MESSAGE_ID, K_FROM, K_BCC };

static const struct {
	const char *name;
	size_t      len;
	enum kind   kind;
} known[] = {
	{ "Received", 8, K_RECEIVED },
	{ "Date", 4, K_DATE },
	{ "Message-ID", 10, K_MESSAGE_ID },
	{ "From", 4, K_FROM },
	{ "Bcc", 3, K_BCC },
	{ "Resent-Bcc", 10, K_BCC },
};

static enum kind kind_of(const char *name, size_t len)
{
	for (size_t i = 0; i < ARRAY_LEN(known); i++)
		if (len == known[i].len && strncasecmp(name, known[i].name, len) == 0)
			return known[i].kind;
	return K_OTHER;
}

static bool is_wsp(char c)
{
	return c == ' ' || c == '\t';
}

static bool is_name_char(char c)
{
	return c > 32 && c < 127 && c != ':';
}

static size_t name_length(const char *p, const char *end)
{
	const char *from = p;

	while (p < end && is_name_char(*p))
		p++;
	return (size_t)(p - from);
}

/* Behind the line that holds p, or NULL when something else than CRLF ends a line. */
static const char *line_end(const char *p, const char *end)
{
	const char *lf = memchr(p, '\n', (size_t)(end - p));
	const char *stop = lf != NULL ? lf : end;
	const char *cr = memchr(p, '\r', (size_t)(stop - p));

	if (lf == NULL)
		return cr == NULL ? end : NULL;
	return cr != NULL && cr + 1 == lf ? lf + 1 : NULL;
}

/* Read the field at p.  NULL, or what is wrong with its line number out->lines (from 0). */
static const char *read_field(const char *p, const char *end, struct header_field *out)
{
	const char *at;

	*out = (struct header_field){ .name = p, .name_len = name_length(p, end) };
	if (is_wsp(*p))
		return "a continuation line with no field before it";
	if (out->name_len == 0)
		return "a line that begins with no field name";
	at = p + out->name_len;
	while (at < end && is_wsp(*at))
		at++;
	if (at == end || *at != ':')
		return "a line that is no header field: no colon follows its first word";
	out->value = ++at;
	do {
		at = line_end(at, end);
		if (at == NULL)
			return "a line that is not ended by CR LF";
		out->lines++;
	} while (at < end && is_wsp(*at));
	out->value_len = (size_t)(at - out->value);
	return NULL;
}

static bool at_blank_line(const char *msg, size_t len, size_t at)
{
	return len - at >= 2 && msg[at] == '\r' && msg[at + 1] == '\n';
}

/* Widen [*from, *end) to hold the field [at, stop), the n-th of its kind. */
static void widen(size_t n, size_t at, size_t stop, size_t *from, size_t *end)
{
	if (n == 1)
		*from = at;
	*end = stop;
}

static void note(struct header *h, const struct header_field *f, size_t at, size_t stop)
{
	h->fields++;
	switch (kind_of(f->name, f->name_len)) {
	case K_RECEIVED:
		h->received++;
		break;
	case K_DATE:
		h->date = true;
		break;
	case K_MESSAGE_ID:
		h->message_id = true;
		break;
	case K_FROM:
		widen(++h->from, at, stop, &h->from_at, &h->from_end);
		break;
	case K_BCC:
		widen(++h->bcc, at, stop, &h->bcc_at, &h->bcc_end);
		break;
	case K_OTHER:
		break;
	}
}

size_t header_utf8_len(const char *p, size_t n)
{
	const unsigned char *u = (const unsigned char *)p;
	uint32_t code;

	if (n >= 2 && u[0] == 0xc2 && u[1] >= 0x80 && u[1] < 0xa0)
		return 2;
	return smtp_utf8_read(p, n, &code);
}

/* The first byte over 127 at or after at, or n. */
static size_t next_eight_bit(const char *p, size_t at, size_t n)
{
	uint64_t word;

	for (; n - at >= sizeof(word); at += sizeof(word)) {
		memcpy(&word, p + at, sizeof(word));
		if (word & 0x8080808080808080ULL)
			break;
	}
	while (at < n && (unsigned char)p[at] < 128)
		at++;
	return at;
}

static void note_eight_bit(struct header *h, const char *p, size_t n)
{
	size_t len = 1;

	for (size_t i = next_eight_bit(p, 0, n); i < n; i = next_eight_bit(p, i + len, n)) {
		h->eight_bit = true;
		len = header_utf8_len(p + i, n - i);
		if (len == 0)
			return;
	}
	h->utf8 = h->eight_bit;
}

enum err header_scan(const char *msg, size_t len, struct header *out)
{
	struct header h = { 0 };
	struct header_field f;
	size_t at = 0, line = 1;

	while (at < len && !at_blank_line(msg, len, at)) {
		const char *reason = read_field(msg + at, msg + len, &f);
		size_t stop;

		if (reason != NULL) {
			*out = (struct header){ .bad_line = line + f.lines, .reason = reason };
			return ERR_SYNTAX;
		}
		stop = (size_t)(f.value - msg) + f.value_len;
		note(&h, &f, at, stop);
		line += f.lines;
		at = stop;
	}
	h.body = at < len ? at + 2 : len;
	note_eight_bit(&h, msg, h.body);
	*out = h;
	return ERR_OK;
}

bool header_next(const char *msg, size_t end, size_t *at, struct header_field *out)
{
	if (*at >= end || at_blank_line(msg, end, *at) ||
	    read_field(msg + *at, msg + end, out) != NULL)
		return false;
	*at = (size_t)(out->value - msg) + out->value_len;
	return true;
}

/* Where the field begins whose last line ends before pos. */
static size_t field_start(const char *msg, size_t pos)
{
	do {
		pos--;
		while (pos > 0 && msg[pos - 1] != '\n')
			pos--;
	} while (pos > 0 && is_wsp(msg[pos]));
	return pos;
}

size_t header_cut(char *msg, size_t len, struct header *h)
{
	struct header was = *h;
	size_t pos = h->bcc_end; /* end of the field to look at */
	size_t run = pos;        /* end of what stays and is not moved yet */
	size_t to = pos;         /* where that end will be */

	assert(h->body <= len && h->bcc_end <= h->body);
	if (h->bcc == 0)
		return 0;
	while (pos > was.bcc_at) {
		size_t at = field_start(msg, pos);

		if (kind_of(msg + at, name_length(msg + at, msg + pos)) == K_BCC) {
			to -= run - pos;
			memmove(msg + to, msg + pos, run - pos);
			run = at;
			h->from_at -= at < was.from_at ? pos - at : 0;
			h->from_end -= at < was.from_end ? pos - at : 0;
		}
		pos = at;
	}
	to -= run;
	memmove(msg + to, msg, run);
	h->body -= to;
	h->fields -= h->bcc;
	h->bcc = h->bcc_at = h->bcc_end = 0;
	return to;
}

void header_add_missing(struct buf *out, const struct header *h, const char *id,
                        const char *hostname, uint64_t now_ms)
{
	char date[40];

	if (!h->date) {
		dsn_date(now_ms, date);
		buf_addf(out, "Date: %s\r\n", date);
	}
	if (!h->message_id)
		buf_addf(out, "Message-ID: <%s@%s>\r\n", id, hostname);
}
