/* tests/fuzz/fuzz_smtp_data.c - the decoder against a plain one, and stuffing there and back
 *
 * The first byte says where the input is split.
 */
#include <assert.h>
#include <stdint.h>
#include <string.h>
#include "proto/smtp_data.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The end by its definition: CR LF . CR LF, or . CR LF at the start; dots at line starts go. */
static bool plain_decode(const char *p, size_t n, struct buf *out, size_t *used)
{
	bool bol = true;

	for (size_t i = 0; i < n; i++) {
		if (bol && n - i >= 3 && memcmp(p + i, ".\r\n", 3) == 0) {
			*used = i + 3;
			return true;
		}
		if (bol && p[i] == '.' && i + 1 == n)
			return false;
		if (!(bol && p[i] == '.'))
			buf_addc(out, p[i]);
		bol = p[i] == '\n' && i > 0 && p[i - 1] == '\r';
	}
	return false;
}

/* What the decoder should have noted of [p, p+n), by looking at each byte alone. */
static void check_notes(const struct smtp_data_in *in, const char *p, size_t n)
{
	bool cr = false, lf = false, nul = false, eight = false;

	for (size_t i = 0; i < n; i++) {
		cr |= p[i] == '\r' && i + 1 < n && p[i + 1] != '\n';
		lf |= p[i] == '\n' && (i == 0 || p[i - 1] != '\r');
		nul |= p[i] == '\0';
		eight |= (unsigned char)p[i] > 127;
	}
	assert(in->bare_cr == cr && in->bare_lf == lf && in->nul == nul && in->eight_bit == eight);
}

static size_t decode(struct smtp_data_in *in, const char *p, size_t n, size_t split,
                     struct buf *out, bool *done)
{
	bool over = false;
	size_t used = smtp_data_decode(in, p, split, out, 1 << 20, &over, done);

	if (!*done)
		used += smtp_data_decode(in, p + split, n - split, out, 1 << 20, &over, done);
	assert(!over);
	return used;
}

static bool ends_line(char c)
{
	return c == '\r' || c == '\n';
}

/* A receiver that ends lines at CR, at LF or at both finds no end in what we send. */
static void check_no_lax_end(const struct buf *wire)
{
	for (size_t i = 0; i < wire->len; i++) {
		bool starts = i == 0 || ends_line(wire->data[i - 1]);
		bool ends = i + 1 == wire->len || ends_line(wire->data[i + 1]);

		assert(!(wire->data[i] == '.' && starts && ends));
	}
}

static void check_there_and_back(const char *p, size_t n, size_t split)
{
	struct buf wire = BUF_INIT, back = BUF_INIT;
	struct smtp_data_in in = { 0 };
	bool bol = true, done = false, whole;

	smtp_data_stuff(&wire, p, split, &bol);
	smtp_data_stuff(&wire, p + split, n - split, &bol);
	assert(smtp_data_needs_stuffing(p, n) == (wire.len != n));
	check_no_lax_end(&wire);
	whole = n == 0 || (n >= 2 && memcmp(p + n - 2, "\r\n", 2) == 0);
	buf_adds(&wire, whole ? ".\r\n" : "\r\n.\r\n");
	assert(decode(&in, wire.data, wire.len, split, &back, &done) == wire.len && done);
	if (!in.bare_cr && !in.bare_lf)
		assert(back.len == n + (whole ? 0 : 2) && (n == 0 || memcmp(back.data, p, n) == 0));
	buf_free(&wire);
	buf_free(&back);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct smtp_data_in in = { 0 };
	struct buf got = BUF_INIT, want = BUF_INIT;
	const char *p = (const char *)data + 1;
	size_t split, used, want_used = 0;
	bool done = false;

	if (size < 1)
		return 0;
	size--;
	split = data[0] < size ? data[0] : size;
	used = decode(&in, p, size, split, &got, &done);
	assert(done == plain_decode(p, size, &want, &want_used));
	if (done) {
		assert(used == want_used && got.len == want.len);
		assert(memcmp(buf_str(&got), buf_str(&want), got.len) == 0);
	}
	check_notes(&in, p, used);
	check_there_and_back(p, size, split);
	buf_free(&got);
	buf_free(&want);
	return 0;
}
