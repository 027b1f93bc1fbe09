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

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct smtp_data_in in = { 0 };
	struct buf got = BUF_INIT, want = BUF_INIT, wire = BUF_INIT;
	bool over = false, done = false, bol = true;
	size_t split, used, want_used = 0;

	if (size < 1)
		return 0;
	split = data[0] < size - 1 ? data[0] : size - 1;
	data++;
	size--;
	used = smtp_data_decode(&in, (const char *)data, split, &got, 1 << 20, &over, &done);
	if (!done)
		used += smtp_data_decode(&in, (const char *)data + split, size - split, &got, 1 << 20,
		                         &over, &done);
	assert(done == plain_decode((const char *)data, size, &want, &want_used));
	if (done) {
		assert(used == want_used && got.len == want.len);
		assert(memcmp(buf_str(&got), buf_str(&want), got.len) == 0);
	}
	smtp_data_stuff(&wire, data, size, &bol);
	assert(wire.len >= size);
	assert(smtp_data_needs_stuffing(data, size) || wire.len == size);
	buf_free(&got);
	buf_free(&want);
	buf_free(&wire);
	return 0;
}
