/* proto/smtp_data.c - the end of a message, and its dots
 *
 * Decoding is a walk over line ends by memchr(), copying in the largest spans there are,
 * and one vector pass over the same bytes for what is only counted (NUL, 8-bit, CR).
 * Both passes see the bytes while they are in the cache.
 */
#include "proto/smtp_data.h"
#include <string.h>

enum {
	AT_BOL = 0, /* start of the message, or after CRLF */
	IN_LINE,
	AFTER_CR,   /* the CR is stored */
	AFTER_DOT,  /* a leading dot, not stored */
	AFTER_DOT_CR, /* neither is stored: this may be the end */
	AT_END,
};

/* 16 bytes at a time in GNU vectors: SIMD where the machine has it, correct anywhere. */
typedef uint8_t v16 __attribute__((vector_size(16)));

static v16 load(const uint8_t *p)
{
	v16 v;

	memcpy(&v, p, sizeof(v));
	return v;
}

static bool any(v16 v)
{
	uint64_t half[2];

	memcpy(half, &v, sizeof(v));
	return (half[0] | half[1]) != 0;
}

static size_t sum(v16 v)
{
	size_t total = 0;

	for (size_t i = 0; i < sizeof(v); i++)
		total += v[i];
	return total;
}

/* Note NULs and 8-bit bytes in d; returns the number of CRs. */
static size_t count_bytes(struct smtp_data_in *d, const uint8_t *p, size_t n)
{
	v16 bits = { 0 }, zero = { 0 };
	size_t crs = 0, i = 0;

	while (n - i >= sizeof(v16)) {
		size_t end = n - i > 255 * sizeof(v16) ? i + 255 * sizeof(v16) : n;
		v16 cr = { 0 };

		for (; end - i >= sizeof(v16); i += sizeof(v16)) {
			v16 v = load(p + i);

			bits |= v;
			zero |= (v16)(v == 0);
			cr -= (v16)(v == '\r');
		}
		crs += sum(cr);
	}
	d->nul |= any(zero);
	d->eight_bit |= any(bits & 0x80);
	for (; i < n; i++) {
		d->nul |= p[i] == 0;
		d->eight_bit |= p[i] > 127;
		crs += p[i] == '\r';
	}
	return crs;
}

struct walk {
	struct smtp_data_in *d;
	const char *p;
	size_t n;
	size_t at;    /* next byte to look at */
	size_t span;  /* first byte that is not stored yet */
	size_t crlfs; /* CRs that were followed by LF */
	struct buf *out;
	size_t max;
	bool over;
	bool dots;    /* a leading dot means something */
};

static void store(struct walk *w, const char *p, size_t len)
{
	size_t room = w->out->len < w->max ? w->max - w->out->len : 0;

	if (len > room)
		w->over = true;
	if (len > 0 && room > 0)
		buf_add(w->out, p, len < room ? len : room);
}

/* Store what lies between span and at; the next skip bytes are not stored. */
static void flush(struct walk *w, size_t skip)
{
	store(w, w->p + w->span, w->at - w->span);
	w->at += skip;
	w->span = w->at;
}

static void end_line(struct walk *w)
{
	if (w->d->line > w->d->longest)
		w->d->longest = w->d->line;
	w->d->line = 0;
	w->d->state = AT_BOL;
	w->crlfs++;
}

/* From inside a line to the next LF, or as far as there are bytes. */
static void walk_line(struct walk *w)
{
	const char *from = w->p + w->at;
	const char *lf = memchr(from, '\n', w->n - w->at);
	size_t len = lf != NULL ? (size_t)(lf - from) : w->n - w->at;

	w->d->line += len;
	w->at += len;
	if (lf == NULL) {
		w->d->state = from[len - 1] == '\r' ? AFTER_CR : IN_LINE;
		return;
	}
	w->at++;
	if (len > 0 && lf[-1] == '\r') {
		w->d->line--;
		end_line(w);
	} else {
		w->d->line++;
		w->d->bare_lf = true;
		w->d->state = IN_LINE;
	}
}

/* The byte after CR: LF ends the line, anything else is part of it. */
static void walk_after_cr(struct walk *w)
{
	if (w->p[w->at] != '\n') {
		w->d->state = IN_LINE;
		return;
	}
	w->at++;
	w->d->line--;
	end_line(w);
}

static void walk_after_dot_cr(struct walk *w)
{
	if (w->p[w->at] == '\n') {
		flush(w, 1);
		w->crlfs++;
		w->d->state = AT_END;
		return;
	}
	store(w, "\r", 1);
	w->d->line++;
	w->d->state = AFTER_CR;
}

static void walk(struct walk *w)
{
	struct smtp_data_in *d = w->d;
	size_t crs = d->state == AFTER_CR || d->state == AFTER_DOT_CR;

	while (w->at < w->n && d->state != AT_END) {
		if (w->dots && d->state == AT_BOL && w->p[w->at] == '.') {
			flush(w, 1);
			d->state = AFTER_DOT;
		} else if (d->state == AFTER_DOT && w->p[w->at] == '\r') {
			flush(w, 1);
			d->state = AFTER_DOT_CR;
		} else if (d->state == AFTER_DOT_CR) {
			walk_after_dot_cr(w);
		} else if (d->state == AFTER_CR) {
			walk_after_cr(w);
		} else {
			walk_line(w);
		}
	}
	flush(w, 0);
	crs += count_bytes(d, (const uint8_t *)w->p, w->at);
	if (d->state == AFTER_CR || d->state == AFTER_DOT_CR)
		crs--; /* its LF may be on the way */
	d->bare_cr |= crs > w->crlfs;
}

size_t smtp_data_decode(struct smtp_data_in *d, const char *p, size_t n, struct buf *out,
                        size_t max, bool *over, bool *done)
{
	struct walk w = { .d = d, .p = p, .n = n, .out = out, .max = max, .dots = true };

	walk(&w);
	*over |= w.over;
	*done = d->state == AT_END;
	return w.at;
}

void smtp_data_chunk(struct smtp_data_in *d, const char *p, size_t n, struct buf *out,
                     size_t max, bool *over)
{
	struct walk w = { .d = d, .p = p, .n = n, .out = out, .max = max };

	walk(&w);
	*over |= w.over;
}

void smtp_data_chunks_end(struct smtp_data_in *d)
{
	d->bare_cr |= d->state == AFTER_CR;
	if (d->line > d->longest)
		d->longest = d->line;
}

static bool ends_line(uint8_t c)
{
	return c == '\n' || c == '\r';
}

bool smtp_data_needs_stuffing(const void *data, size_t n)
{
	const uint8_t *p = data;
	size_t i = 0;

	if (n == 0)
		return false;
	if (p[0] == '.')
		return true;
	while (n - i > sizeof(v16)) {
		size_t end = n - i > 64 * sizeof(v16) ? i + 64 * sizeof(v16) : n;
		v16 hit = { 0 };

		for (; end - i > sizeof(v16); i += sizeof(v16)) {
			v16 v = load(p + i);
			v16 next = load(p + i + 1);

			hit |= (v16)(((v == '\n') | (v == '\r')) & (next == '.'));
		}
		if (any(hit))
			return true;
	}
	for (; i + 1 < n; i++)
		if (ends_line(p[i]) && p[i + 1] == '.')
			return true;
	return false;
}

void smtp_data_stuff(struct buf *out, const void *data, size_t n, bool *at_bol)
{
	const char *p = data;
	const char *end = p + n;
	const char *span = p;
	const char *dot = p;

	while (dot < end && (dot = memchr(dot, '.', (size_t)(end - dot))) != NULL) {
		bool leads = dot == data ? *at_bol : ends_line((uint8_t)dot[-1]);

		dot++;
		if (!leads)
			continue;
		buf_add(out, span, (size_t)(dot - span));
		span = dot - 1; /* the dot again, before what follows it */
	}
	if (n == 0)
		return;
	buf_add(out, span, (size_t)(end - span));
	*at_bol = ends_line((uint8_t)end[-1]);
}
