/* tests/fuzz/fuzz_smtp_addr.c - paths, parameters and keys from any bytes */
#include <assert.h>
#include <stdint.h>
#include <string.h>
#include "proto/smtp_addr.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *p = (const char *)data, *end = p + size;
	struct buf key = BUF_INIT, again = BUF_INIT;
	struct smtp_path path;
	struct smtp_param param;
	size_t used = 0;
	bool bad = false;

	if (smtp_path_parse(p, size, true, &path, &used) == ERR_OK) {
		assert(used <= size && strlen(path.addr) == path.len && path.at <= path.len);
		for (p += used; smtp_param_next(&p, end, &param, &bad);)
			assert(param.name_len > 0 && p <= end);
		/* a key is its own key */
		if (path.at < path.len && smtp_addr_key(path.addr, path.len, &key) == ERR_OK) {
			assert(smtp_addr_key(key.data, key.len, &again) == ERR_OK);
			assert(again.len == key.len && memcmp(again.data, key.data, key.len) == 0);
		}
	}
	buf_reset(&key);
	(void)smtp_domain_key((const char *)data, size, &key);
	buf_free(&key);
	buf_free(&again);
	return 0;
}
