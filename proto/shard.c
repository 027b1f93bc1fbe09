/* proto/shard.c - rendezvous hashing
 *
 * The name's hash seeds the key's, so that (name, key) needs no joined copy and no two
 * pairs that join alike collide.
 */
#include <assert.h>
#include <string.h>
#include <xxhash.h>
#include "proto/shard.h"

unsigned shard_pick(const char *const *names, unsigned n, const void *key, size_t len)
{
	XXH64_hash_t best = 0;
	unsigned at = 0;

	assert(n >= 1);
	for (unsigned i = 0; i < n && n > 1; i++) {
		XXH64_hash_t h = XXH64(key, len, XXH64(names[i], strlen(names[i]), 0));

		if (i == 0 || h > best) {
			best = h;
			at = i;
		}
	}
	return at;
}
