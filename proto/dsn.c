/* proto/dsn.c - see proto/dsn.h
 *
 * Every value from outside goes through add_value(): control bytes become spaces
 * and long values are cut, so that none can end a field or begin another.
 */
#include "proto/dsn.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

enum { VALUE_MAX = 600, HEADERS_MAX = 32768, FOLD_AT = 72 };

void dsn_date(uint64_t ms, char out[40])
{
	static const char days[] = "SunMonTueWedThuFriSat";
	static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
	time_t s = (time_t)(ms / 1000);
	struct tm tm;

	gmtime_r(&s, &tm);
	snprintf(out, 40, "%.3s, %02d %.3s %04d %02d:%02d:%02d +0000", days + 3 * tm.tm_wday,
	         tm.tm_mday, months + 3 * tm.tm_mon, (tm.tm_year + 1900) % 10000, tm.tm_hour,
	         tm.tm_min, tm.tm_sec);
}

/* ---- values */

static void add_value(struct buf *out, const void *p, size_t len)
{
	const unsigned char *b = p;

	for (size_t i = 0; i < len && i < VALUE_MAX; i++)
		buf_addc(out, b[i] < 32 || b[i] > 126 ? (b[i] == '\n' ? ' ' : '?') : (char)b[i]);
}

static void add_text(struct buf *out, const char *s)
{
	add_value(out, s, strlen(s));
}

/* A field whose value may be long: folded at spaces (RFC 5322, 2.2.3). */
static void add_folded(struct buf *out, const char *name, const struct buf *value)
{
	size_t column = strlen(name) + 2, at = 0;

	buf_addf(out, "%s: ", name);
	while (at < value->len) {
		size_t word = at;

		while (word < value->len && (value->data[word] != ' ' || word == at))
			word++;
		if (column + (word - at) > FOLD_AT && at > 0) {
			buf_adds(out, "\r\n");
			column = 0;
			if (value->data[at] != ' ')
				buf_addc(out, ' ');
		}
		buf_add(out, value->data + at, word - at);
		column += word - at;
		at = word;
	}
	buf_adds(out, "\r\n");
}

static bool said_something(const struct dsn_rcpt *r)
{
	return r->evidence != NULL && r->evidence->code != 0;
}

static void add_reply(struct buf *out, const Holdfast__Evidence *e)
{
	buf_addf(out, "%u ", e->code);
	if (e->enhanced.len > 0) {
		add_value(out, e->enhanced.data, e->enhanced.len);
		buf_addc(out, ' ');
	}
	add_value(out, e->text.data, e->text.len);
}

/* ---- the three parts */

static void add_head(struct buf *out, const struct dsn_facts *f, const char *boundary)
{
	bool delayed = f->n_rcpt > 0 && strcmp(f->rcpt[0].action, "delayed") == 0;
	char date[40];

	dsn_date(f->now_ms, date);
	buf_adds(out, "From: Mail Delivery System <MAILER-DAEMON@");
	add_text(out, f->hostname);
	buf_adds(out, ">\r\nTo: <");
	add_text(out, f->to);
	buf_addf(out, ">\r\nSubject: %s\r\nDate: %s\r\nMessage-ID: <",
	         delayed ? "Delayed mail: still being tried"
	                 : "Undelivered mail: returned to sender",
	         date);
	add_text(out, f->report_id);
	buf_addc(out, '@');
	add_text(out, f->hostname);
	buf_addf(out, ">\r\nAuto-Submitted: auto-replied\r\nMIME-Version: 1.0\r\n"
	         "Content-Type: multipart/report; report-type=delivery-status;\r\n"
	         "\tboundary=\"%s\"\r\n\r\nThis is a MIME-encapsulated message.\r\n", boundary);
}

static void add_person_part(struct buf *out, const struct dsn_facts *f, const char *boundary)
{
	buf_addf(out, "\r\n--%s\r\nContent-Description: Notification\r\n"
	         "Content-Type: text/plain; charset=us-ascii\r\n\r\n"
	         "This is the mail system at host ", boundary);
	add_text(out, f->hostname);
	buf_adds(out, ".\r\n\r\nYour message (");
	add_text(out, f->message_id);
	buf_adds(out, ") could not be delivered to the recipients below.\r\n"
	         "Its headers are enclosed.\r\n");
	for (size_t i = 0; i < f->n_rcpt; i++) {
		const struct dsn_rcpt *r = &f->rcpt[i];

		buf_adds(out, "\r\n<");
		add_text(out, r->address);
		buf_adds(out, ">:\r\n    ");
		add_text(out, r->why);
		buf_adds(out, "\r\n");
		if (!said_something(r))
			continue;
		buf_adds(out, "    ");
		add_value(out, r->evidence->host.data, r->evidence->host.len);
		buf_adds(out, " said: ");
		add_reply(out, r->evidence);
		buf_adds(out, "\r\n");
	}
}

static void add_rcpt_fields(struct buf *out, const struct dsn_rcpt *r, const char *date)
{
	struct buf v = BUF_INIT;

	buf_adds(out, "\r\nFinal-Recipient: rfc822; ");
	add_text(out, r->address);
	buf_addf(out, "\r\nAction: %s\r\nStatus: ", r->action);
	add_text(out, r->status);
	buf_adds(out, "\r\n");
	if (r->evidence != NULL && r->evidence->host.len > 0) {
		buf_adds(out, "Remote-MTA: dns; ");
		add_value(out, r->evidence->host.data, r->evidence->host.len);
		buf_adds(out, "\r\n");
	}
	if (said_something(r)) {
		buf_adds(&v, "smtp; ");
		add_reply(&v, r->evidence);
	} else {
		buf_adds(&v, "x-holdfast; ");
		add_text(&v, r->why);
	}
	add_folded(out, "Diagnostic-Code", &v);
	buf_addf(out, "Last-Attempt-Date: %s\r\n", date);
	buf_free(&v);
}

static void add_status_part(struct buf *out, const struct dsn_facts *f, const char *boundary)
{
	char now[40], arrived[40];

	dsn_date(f->now_ms, now);
	dsn_date(f->arrived_ms, arrived);
	buf_addf(out, "\r\n--%s\r\nContent-Description: Delivery report\r\n"
	         "Content-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; ", boundary);
	add_text(out, f->hostname);
	buf_adds(out, "\r\nX-Holdfast-Message: ");
	add_text(out, f->message_id);
	buf_addf(out, "\r\nArrival-Date: %s\r\n", arrived);
	for (size_t i = 0; i < f->n_rcpt; i++)
		add_rcpt_fields(out, &f->rcpt[i], now);
}

/* The header section of the original, cut at a line's end when it is very long. */
static size_t header_length(const char *p, size_t len)
{
	const char *end = memmem(p, len, "\r\n\r\n", 4);
	size_t n = end != NULL ? (size_t)(end - p) + 2 : len;

	if (n <= HEADERS_MAX)
		return n;
	for (n = HEADERS_MAX; n > 2 && memcmp(p + n - 2, "\r\n", 2) != 0; n--)
		continue;
	return n;
}

static void add_original_part(struct buf *out, const struct dsn_facts *f, const char *boundary)
{
	size_t n = header_length(f->original, f->original_len);

	buf_addf(out, "\r\n--%s\r\nContent-Description: Headers of the undelivered message\r\n"
	         "Content-Type: text/rfc822-headers\r\n\r\n", boundary);
	buf_add(out, f->original, n);
	buf_addf(out, "\r\n--%s--\r\n", boundary);
}

void dsn_build(struct buf *out, const struct dsn_facts *f)
{
	char boundary[80];

	/* The report's own id is in no original, so its boundary is in none either. */
	snprintf(boundary, sizeof(boundary), "=_holdfast_%.40s", f->report_id);
	add_head(out, f, boundary);
	add_person_part(out, f, boundary);
	add_status_part(out, f, boundary);
	add_original_part(out, f, boundary);
}
