/* lib/rates.h - how often something happened lately, by key, in bounded memory
 *
 * Connections of a network, failed logins of an address.  Each key has two counters, of the
 * window under way and of the one before; the estimate is the first and as much of the
 * second as the window that ends now still covers, rounded up.  A key's first window
 * begins with its first event.  The estimate is exact in that window; later it takes the
 * events of the window before for evenly spread, so a burst fades from the end of its
 * window on, counts for at least one till the next one ends, and for nothing after that.
 *
 * At most max_keys keys: a new one then takes the place of the one that was least recently
 * added to.  Whoever has more addresses than that can make his own count be forgotten, so
 * count networks (net_key()), not single addresses.  Keys whose windows are over are let
 * go a few with each add.  Keys are bytes (never NULL) that strangers may choose
 * (lib/keyhash.h), copied; of a key longer than RATES_KEY_MAX its first RATES_KEY_MAX bytes count.
 *
 * now is the caller's, in milliseconds of a clock that never goes back; a now that does
 * counts as the start of the key's window.  One thread only.
 */
#ifndef LIB_RATES_H
#define LIB_RATES_H

#include <stddef.h>
#include <stdint.h>

#define RATES_KEY_MAX       320
#define RATES_WINDOW_MAX_MS UINT32_MAX /* 49 days */

struct rates;

/* max_keys > 0 and 0 < window_ms <= RATES_WINDOW_MAX_MS: asserted, so the caller checks what
 * comes from configuration. */
struct rates *rates_new(size_t max_keys, uint64_t window_ms);
void          rates_free(struct rates **r);

/* Count one event of key; returns the estimate with it. */
unsigned rates_add(struct rates *r, const void *key, size_t len, uint64_t now_ms);

/* The estimate, without counting and without keeping the key from being let go. */
unsigned rates_of(const struct rates *r, const void *key, size_t len, uint64_t now_ms);

/* In how many ms the estimate will be below limit when nothing more happens: 0 when it is
 * already, UINT64_MAX when never (limit is 0). */
uint64_t rates_clear_ms(const struct rates *r, const void *key, size_t len, unsigned limit,
                        uint64_t now_ms);

/* Nothing happened (a login succeeded after all).  An unknown key is fine. */
void rates_forget(struct rates *r, const void *key, size_t len);

size_t rates_keys(const struct rates *r); /* keys held now: at most max_keys */

#endif
