/* ingest/auth_guard.h - how often AUTH may fail, by address, network and login
 *
 * Counts within a sliding window, in bounded memory.  A login's own limit does not hold for an
 * address from which it was proved before.
 */
#ifndef INGEST_AUTH_GUARD_H
#define INGEST_AUTH_GUARD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct auth_guard;

struct auth_limits { /* failures within window_ms; 0: no limit */
	unsigned ip, network, login;
};

struct auth_guard *auth_guard_new(uint64_t window_ms);
void auth_guard_free(struct auth_guard **g);

/* May this address try this login now?  now_ms: monotonic. */
bool auth_guard_allows(struct auth_guard *g, const struct auth_limits *l, const uint8_t *ip,
                       size_t ip_len, const char *login, uint64_t now_ms);
void auth_guard_failed(struct auth_guard *g, const uint8_t *ip, size_t ip_len, const char *login,
                       uint64_t now_ms);
void auth_guard_proved(struct auth_guard *g, const uint8_t *ip, size_t ip_len, const char *login,
                       uint64_t now_ms);

#endif
