/* tests/fuzz/fuzz_bdat.c - chunks of BDAT: any split is as good as one, and as good as DATA
 *
 * The first byte says how much may be stored, the second how many sizes of chunks follow; the rest
 * is the message.
 */
#include <assert.h>
#include <stdint.h>
#include <string.h>
#include "proto/smtp_data.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { ALL = 1 << 20, SIZES_MAX = 16 };

struct taken {
	struct smtp_data_in in;
	struct buf out;
	bool over;
};

static void take(struct taken *t, const char *p, size_t n, size_t max)
{
	smtp_data_chunk(&t->in, p, n, &t->out, max, &t->over);
}

static void take_split(struct taken *t, const char *p, size_t n, size_t max,
                       const uint8_t *sizes, size_t n_sizes)
{
	for (size_t at = 0, i = 0; at < n; i++) {
		size_t len = n_sizes > 0 ? sizes[i % n_sizes] : n;

		if (len == 0)
			take(t, p + at, 0, max); /* a chunk may be empty */
		len = len == 0 ? 1 : len;
		len = len < n - at ? len : n - at;
		take(t, p + at, len, max);
		at += len;
	}
	smtp_data_chunks_end(&t->in);
}

/* The faults by their definition, looking at each byte alone. */
static void check_faults(const struct smtp_data_in *in, const char *p, size_t n)
{
	bool cr = false, lf = false, nul = false, eight = false;
	size_t line = 0, longest = 0;

	for (size_t i = 0; i < n; i++) {
		bool crlf = p[i] == '\r' && i + 1 < n && p[i + 1] == '\n';

		cr |= p[i] == '\r' && !crlf;
		lf |= p[i] == '\n' && (i == 0 || p[i - 1] != '\r');
		nul |= p[i] == '\0';
		eight |= (unsigned char)p[i] > 127;
		line = crlf ? 0 : line + 1;
		if (crlf)
			i++;
		longest = line > longest ? line : longest;
	}
	assert(in->bare_cr == cr && in->bare_lf == lf && in->nul == nul && in->eight_bit == eight);
	assert(in->longest == longest);
}

static void check_stored(const struct taken *t, const char *p, size_t n, size_t max)
{
	size_t want = n < max ? n : max;

	assert(t->over == (n > max) && t->out.len == want);
	assert(want == 0 || memcmp(t->out.data, p, want) == 0);
}

/* The same message over DATA, its dots doubled by the letter of RFC 5321, 4.5.2. */
static void check_against_data(const struct smtp_data_in *want, const char *p, size_t n)
{
	struct smtp_data_in in = { 0 };
	struct buf wire = BUF_INIT, out = BUF_INIT;
	bool over = false, done = false, whole;

	for (size_t i = 0; i < n; i++) {
		bool bol = i == 0 || (i >= 2 && p[i - 2] == '\r' && p[i - 1] == '\n');

		if (bol && p[i] == '.')
			buf_addc(&wire, '.');
		buf_addc(&wire, p[i]);
	}
	whole = n == 0 || (n >= 2 && memcmp(p + n - 2, "\r\n", 2) == 0);
	buf_adds(&wire, whole ? ".\r\n" : "\r\n.\r\n");
	assert(smtp_data_decode(&in, wire.data, wire.len, &out, ALL, &over, &done) == wire.len);
	assert(done && !over && out.len == n + (whole ? 0 : 2));
	assert(n == 0 || memcmp(out.data, p, n) == 0);
	assert(in.bare_cr == want->bare_cr && in.bare_lf == want->bare_lf);
	assert(in.nul == want->nul && in.eight_bit == want->eight_bit);
	assert(in.longest == want->longest);
	buf_free(&wire);
	buf_free(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct taken one = { .out = BUF_INIT }, many = { .out = BUF_INIT };
	size_t max, n_sizes, n;
	const char *p;

	if (size < 2)
		return 0;
	max = data[0] == 255 ? ALL : data[0];
	n_sizes = data[1] % SIZES_MAX;
	n_sizes = n_sizes < size - 2 ? n_sizes : size - 2;
	p = (const char *)data + 2 + n_sizes;
	n = size - 2 - n_sizes;
	take_split(&one, p, n, max, NULL, 0);
	take_split(&many, p, n, max, data + 2, n_sizes);
	check_stored(&one, p, n, max);
	check_stored(&many, p, n, max);
	check_faults(&one.in, p, n);
	check_faults(&many.in, p, n);
	check_against_data(&many.in, p, n);
	buf_free(&one.out);
	buf_free(&many.out);
	return 0;
}
