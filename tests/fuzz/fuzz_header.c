/* tests/fuzz/fuzz_header.c - header sections and mended messages against plain definitions
 *
 * Three bytes are written out as long runs first, so that lines reach their limit.
 */
#include <assert.h>
#include <stdint.h>
#include <string.h>
#include <strings.h>
#include "ingest/header.h"
#include "ingest/repair.h"
#include "lib/mem.h"
#include "proto/smtp_addr.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool is_wsp(char c)
{
	return c == ' ' || c == '\t';
}

static bool is_bcc(const char *p, size_t n)
{
	size_t len = 0;

	while (len < n && p[len] != ':' && !is_wsp(p[len]))
		len++;
	return (len == 3 && strncasecmp(p, "bcc", 3) == 0) ||
	       (len == 10 && strncasecmp(p, "resent-bcc", 10) == 0);
}

/* The message without Bcc fields, by their definition: line by line. */
static size_t plain_cut(const char *p, size_t n, size_t body, struct buf *out)
{
	size_t fields = 0, at = 0;
	bool drop = false;

	while (at < body) {
		const char *lf = memchr(p + at, '\n', body - at);
		size_t len = lf != NULL ? (size_t)(lf - p) + 1 - at : body - at;

		if (!is_wsp(p[at])) {
			drop = is_bcc(p + at, len);
			fields += !drop && !(len == 2 && p[at] == '\r');
		}
		if (!drop)
			buf_add(out, p + at, len);
		at += len;
	}
	buf_add(out, p + body, n - body);
	return fields;
}

static void add_domain(void *owner, const char *domain)
{
	struct buf key = BUF_INIT;

	assert(smtp_domain_key(domain, strlen(domain), &key) == ERR_OK);
	assert(*domain != '\0' && strcmp(buf_str(&key), domain) == 0);
	buf_free(&key);
	buf_addf(owner, "%s\n", domain);
}

static void check_header(const char *p, size_t n)
{
	struct buf want = BUF_INIT, before = BUF_INIT, after = BUF_INIT;
	char *msg = xmalloc(n + (n == 0)); /* no byte more, so that none is read */
	struct header h, again;
	size_t cut, fields;
	enum err err;

	memcpy(msg, p, n);
	if (header_scan(msg, n, &h) != ERR_OK) {
		assert(h.reason != NULL && h.bad_line > 0 && h.fields == 0 && h.body == 0);
		xfree(msg);
		return;
	}
	assert(h.reason == NULL && h.body <= n && h.received + h.from + h.bcc <= h.fields);
	err = header_from_domains(msg, n, &h, add_domain, &before);
	fields = plain_cut(p, n, h.body, &want);
	cut = header_cut(msg, n, &h);
	assert(n - cut == want.len && memcmp(msg + cut, buf_str(&want), want.len) == 0);
	assert(header_scan(msg + cut, n - cut, &again) == ERR_OK);
	assert(again.bcc == 0 && again.fields == fields);
	h.eight_bit = again.eight_bit;
	h.utf8 = again.utf8;
	assert(memcmp(&h, &again, sizeof(h)) == 0);
	assert(header_from_domains(msg + cut, n - cut, &h, add_domain, &after) == err);
	assert(before.len == after.len && strcmp(buf_str(&before), buf_str(&after)) == 0);
	buf_free(&want);
	buf_free(&before);
	buf_free(&after);
	xfree(msg);
}

/* NULs out, line ends made CRLF, long lines left long. */
static void plain_mend(const struct buf *in, struct buf *out)
{
	struct buf text = BUF_INIT;

	for (size_t i = 0; i < in->len; i++)
		if (in->data[i] != '\0')
			buf_addc(&text, in->data[i]);
	for (size_t i = 0; i < text.len; i++) {
		size_t crs = strspn(text.data + i, "\r");

		if (text.data[i] != '\r' && text.data[i] != '\n') {
			buf_addc(out, text.data[i]);
			continue;
		}
		if (text.data[i + crs] == '\n') {
			i += crs;
			crs = 1;
		} else {
			i += crs - 1;
		}
		while (crs-- > 0)
			buf_adds(out, "\r\n");
	}
	buf_free(&text);
}

static void check_clean(const struct buf *b)
{
	size_t line = 0;

	for (size_t i = 0; i < b->len; i++) {
		char c = b->data[i];

		assert(c != '\0');
		assert((c == '\r') == (i + 1 < b->len && b->data[i + 1] == '\n'));
		assert(c != '\n' || (i > 0 && b->data[i - 1] == '\r'));
		line = c == '\r' || c == '\n' ? 0 : line + 1;
		assert(line <= REPAIR_LINE_MAX);
	}
}

/* All that mending may add or leave off is white space: the rest is the same, in order. */
static void check_same_text(const struct buf *a, const struct buf *b)
{
	size_t i = 0, j = 0;

	for (;; i++, j++) {
		while (i < a->len && strchr("\r\n \t", a->data[i]) != NULL)
			i++;
		while (j < b->len && strchr("\r\n \t", b->data[j]) != NULL)
			j++;
		assert((i < a->len) == (j < b->len));
		if (i == a->len)
			return;
		assert(a->data[i] == b->data[j]);
	}
}

/* Is the colon of every field so near that no break comes before it? */
static bool has_short_names(const struct buf *b, const struct header *h)
{
	struct header_field f;

	for (size_t at = 0; header_next(b->data, h->body, &at, &f);)
		if ((size_t)(f.value - f.name) > REPAIR_LINE_MAX - 3)
			return false;
	return true;
}

/* Lines of the header section that hold white space only: for some readers its end. */
static size_t white_lines(const struct buf *b, const struct header *h)
{
	size_t n = 0, white;

	for (size_t i = 0; i < h->body; i++) {
		if (i > 0 && b->data[i - 1] != '\n')
			continue;
		white = strspn(b->data + i, " \t");
		n += white > 0 && (i + white == h->body || b->data[i + white] == '\r');
	}
	return n;
}

/* No break makes a field, a blank line or a readable message out of what was none. */
static void check_same_fields(const struct buf *plain, const struct buf *mended)
{
	enum err before, after;
	struct header a, b;

	before = header_scan(buf_str(plain), plain->len, &a);
	after = header_scan(buf_str(mended), mended->len, &b);
	if (before == ERR_OK && has_short_names(plain, &a))
		assert(after == ERR_OK);
	if (after != ERR_OK)
		return;
	assert(before == ERR_OK);
	assert(a.fields == b.fields && a.received == b.received && a.bcc == b.bcc);
	assert(a.from == b.from && a.date == b.date && a.message_id == b.message_id);
	assert(a.eight_bit == b.eight_bit && (a.utf8 == b.utf8 || !a.utf8));
	assert(white_lines(mended, &b) <= white_lines(plain, &a));
}

static void check_repair(struct buf *msg)
{
	struct buf plain = BUF_INIT, once = BUF_INIT;

	plain_mend(msg, &plain);
	repair_message(msg, 0);
	check_clean(msg);
	check_same_text(&plain, msg);
	check_same_fields(&plain, msg);
	buf_add(&once, buf_str(msg), msg->len);
	repair_message(msg, 0);
	assert(msg->len == once.len && memcmp(buf_str(msg), buf_str(&once), once.len) == 0);
	buf_free(&plain);
	buf_free(&once);
}

static void write_out(struct buf *out, uint8_t c)
{
	static const struct { uint8_t c; int times; const char *text; } runs[] = {
		{ 0x1e, 331, "x" }, { 0x1d, 331, " " }, { 0x1c, 111, "\xe2\x82\xac" },
	};

	for (size_t i = 0; i < ARRAY_LEN(runs); i++) {
		if (c != runs[i].c)
			continue;
		for (int n = 0; n < runs[i].times; n++)
			buf_adds(out, runs[i].text);
		return;
	}
	buf_addc(out, (char)c);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct buf msg = BUF_INIT;

	check_header((const char *)data, size);
	for (size_t i = 0; i < size; i++)
		write_out(&msg, data[i]);
	check_repair(&msg);
	check_header(buf_str(&msg), msg.len);
	buf_free(&msg);
	return 0;
}
