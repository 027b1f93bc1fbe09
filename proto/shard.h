/* proto/shard.h - which instance owns a key: rendezvous hashing
 *
 * The owner is the instance whose xxh64(name, key) is highest.  Adding or removing one
 * instance moves only the keys that it gains or had.  Pure.
 */
#ifndef PROTO_SHARD_H
#define PROTO_SHARD_H

#include <stddef.h>

/* Index into names (n >= 1). */
unsigned shard_pick(const char *const *names, unsigned n, const void *key, size_t len);

#endif
