/* lib/counts.h - how many of a thing are open now, by key
 *
 * Sessions of an address, of an account, of a network: counts_up() when one opens,
 * counts_down() when it closes.  A key that is at 0 costs nothing, so there are never more
 * keys than open things, and whoever bounds those bounds this.  Keys are bytes of any
 * length (never NULL), copied; strangers may choose them (lib/keyhash.h).  No clock.
 * One thread only.
 *
 * The caller takes the key that he counted up with and counts down the same one: he keeps it
 * with the object, since what it was made from (the peer's address) may change meanwhile.
 */
#ifndef LIB_COUNTS_H
#define LIB_COUNTS_H

#include <stddef.h>

struct counts;

struct counts *counts_new(void);
void           counts_free(struct counts **c); /* whatever is still counted */

/* One more; returns how many there are with this one.  To refuse by a limit: count up, look
 * at the answer, and count down again where the thing is torn down like any other. */
unsigned counts_up(struct counts *c, const void *key, size_t len);

/* One less; returns how many are left.  That there was one is asserted. */
unsigned counts_down(struct counts *c, const void *key, size_t len);

unsigned counts_of(const struct counts *c, const void *key, size_t len);
size_t   counts_keys(const struct counts *c); /* keys that are over 0 */

#endif
