/* lib/keyhash.h - a hash of keys that strangers choose
 *
 * A table whose hash can be computed by the peer can be made a list by him: he sends keys
 * of one bucket.  This is SipHash-2-4 (OpenSSL's) under a key that the process draws at its
 * first use and never shows: a pseudorandom function, so nothing outside tells which keys
 * share a bucket.  A seeded xxHash is quicker and promises no such thing.  Values differ
 * from one process to the next: never store or send one.  One thread only.
 *
 * With uthash, define before <uthash.h>:
 *	#define HASH_FUNCTION(key, len, hash) ((hash) = keyhash(key, len))
 */
#ifndef LIB_KEYHASH_H
#define LIB_KEYHASH_H

#include <stddef.h>

/* Ends the process when OpenSSL or the kernel's generator fails. */
unsigned keyhash(const void *key, size_t len);

#endif
