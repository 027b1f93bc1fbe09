/* tests/fuzz/fuzz_proxy.c - a header byte by byte and at once, and what may come out of it
 *
 * Each start of the input lies in memory of its own size, so a read behind it is found.
 */
#include <assert.h>
#include <stdint.h>
#include <string.h>
#include "lib/mem.h"
#include "proto/proxy.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { STARTS_MAX = 300 }; /* starts that are tried one by one, of inputs that are longer */

static enum proxy_result parse(const uint8_t *data, size_t n, struct proxy_header *h, size_t *used)
{
	uint8_t *p = xmemdup(data, n);
	enum proxy_result r = proxy_parse(p, n, h, used);

	xfree(p);
	return r;
}

static void check_header(const struct proxy_header *h, const uint8_t *data, size_t used)
{
	static const struct proxy_header nobody = { .local = true };

	assert(used >= 15 && used <= PROXY_HEADER_MAX);
	if (data[0] == 'P')
		assert(used <= 107 && memcmp(data + used - 2, "\r\n", 2) == 0 && !h->tls);
	if (h->local)
		assert(memcmp(h, &nobody, sizeof(nobody)) == 0);
	else
		assert((h->src_len == 4 || h->src_len == 16) &&
		       (h->dst_len == 4 || h->dst_len == 16));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct proxy_header all, part;
	size_t used = 0, part_used = 0, from = 0;
	enum proxy_result r, got = PROXY_MORE;

	memset(&all, 0, sizeof(all));
	memset(&part, 0, sizeof(part));
	r = parse(data, size, &all, &used);
	if (size >= PROXY_HEADER_MAX)
		assert(r != PROXY_MORE);
	if (r == PROXY_OK)
		check_header(&all, data, used);
	if (size > 2 * STARTS_MAX)
		from = r == PROXY_OK ? used - 1 : size - STARTS_MAX;
	for (size_t n = 0; n <= size && got == PROXY_MORE; n++) {
		if (n > STARTS_MAX && n < from)
			continue;
		got = parse(data, n, &part, &part_used);
		assert(got != PROXY_OK || n == used);
	}
	assert(got == r && used == part_used && used <= size);
	assert(memcmp(&all, &part, sizeof(all)) == 0);
	return 0;
}
