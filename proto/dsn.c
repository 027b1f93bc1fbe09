/* proto/dsn.c - write a delivery report
 *
 * Every value from outside goes through clean(): control bytes become spaces, bytes that
 * are no UTF-8 become '?', and long values are cut, so that none can end a field or
 * begin another.  Where an address holds UTF-8 the report is an internationalised
 * one (RFC 6533); otherwise its status part is pure ASCII, as RFC 3464 wants it.
 */
#include "proto/dsn.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include "proto/smtp_addr.h"

enum {
	VALUE_MAX = 2048,
	WORD_MAX = 400,      /* longer ones are broken: a line may not pass LINE_LIMIT */
	FOLD_AT = 76,
	LINE_LIMIT = 998,    /* RFC 5322, 2.1.1 */
	HEADERS_MAX = 32768, /* of the original that are enclosed */
};

void dsn_date(uint64_t ms, char out[40])
{
	static const char days[] = "SunMonTueWedThuFriSat";
	static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
	time_t s = (time_t)(ms / 1000);
	struct tm tm = { .tm_mday = 1 };

	(void)gmtime_r(&s, &tm); /* fails beyond the year 2^31 only: then the date is 1900 */
	snprintf(out, 40, "%.3s, %02d %.3s %04d %02d:%02d:%02d +0000", days + 3 * tm.tm_wday,
	         tm.tm_mday, months + 3 * tm.tm_mon, (tm.tm_year + 1900) % 10000, tm.tm_hour,
	         tm.tm_min, tm.tm_sec);
}

/* ---- values */

static void clean(struct buf *out, const void *p, size_t len, bool utf8)
{
	const unsigned char *b = p;
	size_t most = len < VALUE_MAX ? len : VALUE_MAX;

	for (size_t i = 0; i < most;) {
		uint32_t code;
		size_t n = utf8 && b[i] > 127 ? smtp_utf8_read(b + i, most - i, &code) : 0;

		if (n > 0) {
			buf_add(out, b + i, n);
			i += n;
			continue;
		}
		buf_addc(out, b[i] < 32 ? ' ' : b[i] > 126 ? '?' : (char)b[i]);
		i++;
	}
}

static void clean_text(struct buf *out, const char *s, bool utf8)
{
	clean(out, s, strlen(s), utf8);
}

/* The next word of value from at: its length, never ending inside a character. */
static size_t word_length(const struct buf *value, size_t at)
{
	size_t n = 0;

	while (at + n < value->len && value->data[at + n] != ' ' && n < WORD_MAX)
		n++;
	while (n > WORD_MAX - 4 && at + n < value->len && (value->data[at + n] & 0xc0) == 0x80)
		n--;
	return n;
}

/* Add value in lines that are broken at spaces by fold; column is where the first begins. */
static void add_words(struct buf *out, const struct buf *value, size_t column, const char *fold)
{
	size_t at = 0;
	bool first = true;

	while (at < value->len) {
		size_t n = word_length(value, at);

		if (n == 0) {
			at++;
			continue;
		}
		if (!first && column + 1 + n > FOLD_AT) {
			buf_adds(out, fold);
			column = strlen(fold) - 2;
		} else if (!first) {
			buf_addc(out, ' ');
			column++;
		}
		buf_add(out, value->data + at, n);
		column += n;
		at += n;
		first = false;
	}
	buf_adds(out, "\r\n");
}

static void add_field(struct buf *out, const char *name, const struct buf *value)
{
	buf_addf(out, "%s: ", name);
	add_words(out, value, strlen(name) + 2, "\r\n ");
}

/* "Name: type; value"; type NULL: none. */
static void add_typed(struct buf *out, const char *name, const char *type, const void *p,
                      size_t len)
{
	struct buf v = BUF_INIT;

	if (type != NULL)
		buf_addf(&v, "%s; ", type);
	clean(&v, p, len, type != NULL && strcmp(type, "utf-8") == 0);
	add_field(out, name, &v);
	buf_free(&v);
}

static void add_paragraph(struct buf *out, const struct buf *value)
{
	buf_adds(out, "    ");
	add_words(out, value, 4, "\r\n    ");
}

static void add_date(struct buf *out, const char *name, uint64_t ms)
{
	char date[40];

	dsn_date(ms, date);
	buf_addf(out, "%s: %s\r\n", name, date);
}

/* ---- facts */

/* What the report says as a whole. */
enum kind { KIND_FAILED, KIND_DELAYED, KIND_RELAYED, KIND_MIXED };

static const struct { const char *action, *subject, *text; } kinds[] = {
	[KIND_FAILED] = { "failed", "Undelivered mail: returned to sender",
	                  " could not be delivered to the recipients below.\r\n" },
	[KIND_DELAYED] = { "delayed", "Delayed mail: still being tried",
	                   " could not be delivered yet to the recipients below.\r\n"
	                   "It is kept and tried again: you need not send it again.\r\n" },
	[KIND_RELAYED] = { "relayed", "Relayed mail: no further reports will come",
	                   " was passed on for the recipients below.\r\n" },
	[KIND_MIXED] = { "", "Mail delivery report",
	                 " fared as told below.\r\n" },
};

static enum kind kind_of(const struct dsn_facts *f)
{
	for (enum kind k = KIND_FAILED; k < KIND_MIXED; k++) {
		size_t n = 0;

		while (n < f->n_rcpt && strcmp(f->rcpt[n].action, kinds[k].action) == 0)
			n++;
		if (n == f->n_rcpt)
			return k;
	}
	return KIND_MIXED;
}

bool dsn_wanted(unsigned notify, const char *action)
{
	enum { NEVER = 1, SUCCESS = 2, FAILURE = 4, DELAY = 8 };
	static const unsigned bits[] = {
		[KIND_FAILED] = FAILURE, [KIND_DELAYED] = DELAY, [KIND_RELAYED] = SUCCESS,
	};

	if (notify == 0)
		notify = FAILURE;
	if (notify & NEVER)
		return false;
	for (enum kind k = KIND_FAILED; k < KIND_MIXED; k++)
		if (strcmp(action, kinds[k].action) == 0)
			return (notify & bits[k]) != 0;
	return false;
}

static bool any_failed(const struct dsn_facts *f)
{
	for (size_t i = 0; i < f->n_rcpt; i++)
		if (strcmp(f->rcpt[i].action, kinds[KIND_FAILED].action) == 0)
			return true;
	return false;
}

static bool text_is_ascii(const char *s)
{
	return s == NULL || smtp_is_ascii(s, strlen(s));
}

static bool is_global(const struct dsn_facts *f)
{
	for (size_t i = 0; i < f->n_rcpt; i++)
		if (!text_is_ascii(f->rcpt[i].address) || !text_is_ascii(f->rcpt[i].orcpt))
			return true;
	return f->utf8 || !text_is_ascii(f->to);
}

static bool said_something(const struct dsn_rcpt *r)
{
	return r->evidence != NULL && r->evidence->code != 0;
}

static void add_reply(struct buf *out, const Holdfast__Evidence *e, bool utf8)
{
	buf_addf(out, "%u ", (unsigned)e->code);
	if (e->enhanced.len > 0) {
		clean(out, e->enhanced.data, e->enhanced.len, false);
		buf_addc(out, ' ');
	}
	clean(out, e->text.data, e->text.len, utf8);
}

/* ---- the message's own header, and its three parts */

/* Where only the domain is beyond ASCII its A-label is used: the report can then go through
 * servers that know nothing of SMTPUTF8. */
static void add_to(struct buf *out, const char *to)
{
	const char *at = strrchr(to, '@');
	struct buf domain = BUF_INIT;

	if (at != NULL && !text_is_ascii(at) && smtp_is_ascii(to, (size_t)(at - to)) &&
	    smtp_domain_key(at + 1, strlen(at + 1), &domain) == ERR_OK) {
		clean(out, to, (size_t)(at - to) + 1, false);
		clean(out, domain.data, domain.len, false);
	} else {
		clean_text(out, to, true);
	}
	buf_free(&domain);
}

static void add_head(struct buf *out, const struct dsn_facts *f, const char *boundary)
{
	buf_adds(out, "From: Mail Delivery System <MAILER-DAEMON@");
	clean_text(out, f->hostname, false);
	buf_adds(out, ">\r\nTo: <");
	add_to(out, f->to);
	buf_addf(out, ">\r\nSubject: %s\r\n", kinds[kind_of(f)].subject);
	add_date(out, "Date", f->now_ms);
	buf_adds(out, "Message-ID: <");
	clean_text(out, f->report_id, false);
	buf_addc(out, '@');
	clean_text(out, f->hostname, false);
	buf_addf(out, ">\r\nAuto-Submitted: auto-replied\r\nMIME-Version: 1.0\r\n"
	         "Content-Type: multipart/report; report-type=%sdelivery-status;\r\n"
	         "\tboundary=\"%s\"\r\n\r\nThis is a MIME-encapsulated message.\r\n",
	         is_global(f) ? "global-" : "", boundary);
}

/* Begin a part; its content decides on the encoding. */
static void add_part(struct buf *out, const char *boundary, const char *description,
                     const char *type, const struct buf *content)
{
	buf_addf(out, "\r\n--%s\r\nContent-Description: %s\r\n", boundary, description);
	if (!smtp_is_ascii(content->data, content->len))
		buf_adds(out, "Content-Transfer-Encoding: 8bit\r\n");
	buf_addf(out, "Content-Type: %s\r\n\r\n", type);
	if (content->len > 0)
		buf_add(out, content->data, content->len);
}

static void add_person_rcpt(struct buf *out, const struct dsn_rcpt *r)
{
	struct buf v = BUF_INIT;

	buf_adds(out, "\r\n<");
	clean_text(out, r->address, true);
	buf_adds(out, ">:\r\n");
	clean_text(&v, r->why, true);
	add_paragraph(out, &v);
	if (said_something(r)) {
		buf_reset(&v);
		clean(&v, r->evidence->host.data, r->evidence->host.len, true);
		buf_adds(&v, v.len > 0 ? " said: " : "The server said: ");
		add_reply(&v, r->evidence, true);
		add_paragraph(out, &v);
	}
	buf_free(&v);
}

static void add_person_part(struct buf *out, const struct dsn_facts *f)
{
	buf_adds(out, "This is the mail system at host ");
	clean_text(out, f->hostname, true);
	buf_adds(out, ".\r\n\r\nYour message (");
	clean_text(out, f->message_id, true);
	buf_addf(out, ")%s", kinds[kind_of(f)].text);
	buf_adds(out, f->full && any_failed(f) ? "It is enclosed.\r\n"
	                                       : "Its headers are enclosed.\r\n");
	for (size_t i = 0; i < f->n_rcpt; i++)
		add_person_rcpt(out, &f->rcpt[i]);
}

static int hex_digit(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* xtext (RFC 3461, 4) as the text that it stands for; what is no xtext is left as it is. */
static void decode_xtext(struct buf *out, const char *s)
{
	for (; *s != '\0'; s++) {
		int hi = *s == '+' ? hex_digit(s[1]) : -1;
		int lo = hi >= 0 ? hex_digit(s[2]) : -1;

		buf_addc(out, lo >= 0 ? (char)(hi * 16 + lo) : *s);
		s += lo >= 0 ? 2 : 0;
	}
}

static bool is_type(const char *s, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (s[i] <= ' ' || s[i] > '~' || strchr("()<>@,:;\\\"/[]?=", s[i]) != NULL)
			return false;
	return len > 0 && len <= 40;
}

/* ORCPT= is "type;xtext"; a value of the type utf-8 is no xtext and goes as it is (RFC 6533, 3). */
static void add_original_recipient(struct buf *out, const char *orcpt)
{
	size_t len = strcspn(orcpt, ";");
	struct buf v = BUF_INIT;
	char type[41];

	if (orcpt[len] == '\0' || !is_type(orcpt, len))
		return;
	snprintf(type, sizeof(type), "%.*s", (int)len, orcpt);
	if (strcasecmp(type, "utf-8") == 0) {
		buf_adds(&v, orcpt + len + 1);
		add_typed(out, "Original-Recipient", "utf-8", v.data, v.len);
	} else {
		decode_xtext(&v, orcpt + len + 1);
		add_typed(out, "Original-Recipient", type, v.data, v.len);
	}
	buf_free(&v);
}

static void add_envelope_id(struct buf *out, const char *envid)
{
	struct buf v = BUF_INIT;

	decode_xtext(&v, envid);
	add_typed(out, "Original-Envelope-Id", NULL, v.data, v.len);
	buf_free(&v);
}

static void add_rcpt_fields(struct buf *out, const struct dsn_rcpt *r, const struct dsn_facts *f)
{
	const Holdfast__Evidence *e = r->evidence;
	size_t len = strlen(r->address);
	struct buf v = BUF_INIT;

	buf_adds(out, "\r\n");
	if (r->orcpt != NULL)
		add_original_recipient(out, r->orcpt);
	add_typed(out, "Final-Recipient", smtp_is_ascii(r->address, len) ? "rfc822" : "utf-8",
	          r->address, len);
	add_typed(out, "Action", NULL, r->action, strlen(r->action));
	add_typed(out, "Status", NULL, r->status, strlen(r->status));
	if (e != NULL && e->host.len > 0)
		add_typed(out, "Remote-MTA", "dns", e->host.data, e->host.len);
	if (said_something(r)) {
		buf_adds(&v, "smtp; ");
		add_reply(&v, e, is_global(f));
	} else {
		buf_adds(&v, "x-holdfast; ");
		clean_text(&v, r->why, is_global(f));
	}
	add_field(out, "Diagnostic-Code", &v);
	add_date(out, "Last-Attempt-Date", f->now_ms);
	if (f->retry_until_ms > 0 && strcmp(r->action, kinds[KIND_DELAYED].action) == 0)
		add_date(out, "Will-Retry-Until", f->retry_until_ms);
	buf_free(&v);
}

static void add_status_part(struct buf *out, const struct dsn_facts *f)
{
	if (f->envid != NULL && f->envid[0] != '\0')
		add_envelope_id(out, f->envid);
	add_typed(out, "Reporting-MTA", "dns", f->hostname, strlen(f->hostname));
	add_typed(out, "X-Holdfast-Message", NULL, f->message_id, strlen(f->message_id));
	add_date(out, "Arrival-Date", f->arrived_ms);
	for (size_t i = 0; i < f->n_rcpt; i++)
		add_rcpt_fields(out, &f->rcpt[i], f);
}

/* The header section of the original: all before its first empty line, never a byte of its
 * body, and cut at the end of a line when it is very long. */
static size_t header_length(const char *p, size_t len)
{
	size_t most = len < HEADERS_MAX ? len : HEADERS_MAX;
	size_t line = 0;

	while (line < most) {
		const char *lf = memchr(p + line, '\n', most - line);
		size_t n;

		if (lf == NULL)
			return len <= HEADERS_MAX ? len : line;
		n = (size_t)(lf - p) - line;
		if (n == 0 || (n == 1 && p[line] == '\r'))
			return line;
		line += n + 1;
	}
	return line;
}

/* Every line ended by CRLF and none too long; what might pass for a line end elsewhere goes. */
static void add_original_part(struct buf *out, const char *p, size_t len)
{
	size_t column = 0;

	for (size_t i = 0; i < len; i++) {
		if (p[i] == '\r' && i + 1 < len && p[i + 1] == '\n')
			continue;
		if (p[i] == '\n' || column == LINE_LIMIT) {
			buf_adds(out, p[i] == '\n' ? "\r\n" : "\r\n ");
			column = p[i] != '\n';
		}
		if (p[i] == '\n')
			continue;
		buf_addc(out, p[i] == '\r' || p[i] == '\0' ? ' ' : p[i]);
		column++;
	}
	if (column > 0)
		buf_adds(out, "\r\n");
}

/* The part that encloses the original: its type, and in *what its description. */
static const char *original_type(const struct dsn_facts *f, const struct buf *original,
                                 const char **what)
{
	bool global = is_global(f);

	*what = "Headers of the message";
	if (!f->full || !any_failed(f))
		return global ? "message/global-headers" : "text/rfc822-headers";
	*what = "Undelivered message";
	return global && !smtp_is_ascii(original->data, original->len) ? "message/global"
	                                                          : "message/rfc822";
}

static void add_original(struct buf *out, const struct dsn_facts *f)
{
	size_t len = f->original_len;

	if (len > 0 && !(f->full && any_failed(f)))
		len = header_length(f->original, len);
	if (len > 0)
		add_original_part(out, f->original, len);
}

void dsn_build(struct buf *out, const struct dsn_facts *f)
{
	struct buf person = BUF_INIT, status = BUF_INIT, original = BUF_INIT;
	const char *type, *what;
	char boundary[80];

	/* The report's own id is in no original, so its boundary is in none either. */
	snprintf(boundary, sizeof(boundary), "=_holdfast_%.40s", f->report_id);
	add_person_part(&person, f);
	add_status_part(&status, f);
	add_original(&original, f);
	type = original_type(f, &original, &what);
	add_head(out, f, boundary);
	add_part(out, boundary, "Notification", "text/plain; charset=utf-8", &person);
	add_part(out, boundary, "Delivery report", is_global(f)
	         ? "message/global-delivery-status" : "message/delivery-status", &status);
	add_part(out, boundary, what, type, &original);
	buf_addf(out, "\r\n--%s--\r\n", boundary);
	buf_free(&original);
	buf_free(&status);
	buf_free(&person);
}
