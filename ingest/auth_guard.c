/* ingest/auth_guard.c - failures of AUTH in four tables of rates
 *
 * Owns the tables.  Addresses are counted by the keys of ingest/peer.h.
 */
#include "ingest/auth_guard.h"

#include <string.h>
#include "ingest/peer.h"
#include "ingest/sasl.h"
#include "lib/mem.h"
#include "lib/rates.h"

#define KEYS_MAX   50000               /* in each table */
#define PROVED_MS  (24 * 3600 * 1000)  /* how long a success is remembered */

struct auth_guard {
	struct rates *by_ip, *by_network, *by_login, *proved;
};

struct key {
	uint8_t b[NET_KEY_MAX + SASL_LOGIN_MAX];
	size_t n;
};

struct auth_guard *auth_guard_new(uint64_t window_ms)
{
	struct auth_guard *g = xcalloc(1, sizeof(*g));

	g->by_ip = rates_new(KEYS_MAX, window_ms);
	g->by_network = rates_new(KEYS_MAX, window_ms);
	g->by_login = rates_new(KEYS_MAX, window_ms);
	g->proved = rates_new(KEYS_MAX, PROVED_MS);
	return g;
}

void auth_guard_free(struct auth_guard **gp)
{
	struct auth_guard *g = *gp;

	if (g == NULL)
		return;
	rates_free(&g->by_ip);
	rates_free(&g->by_network);
	rates_free(&g->by_login);
	rates_free(&g->proved);
	xfree(g);
	*gp = NULL;
}

static struct key key_of(const uint8_t *ip, size_t ip_len, bool network)
{
	struct key k;

	k.n = (network ? peer_network_key : peer_host_key)(ip, ip_len, k.b);
	return k;
}

static struct key key_with(const uint8_t *ip, size_t ip_len, const char *login)
{
	struct key k = key_of(ip, ip_len, false);
	size_t n = strnlen(login, SASL_LOGIN_MAX);

	memcpy(k.b + k.n, login, n);
	k.n += n;
	return k;
}

bool auth_guard_allows(struct auth_guard *g, const struct auth_limits *l, const uint8_t *ip,
                       size_t ip_len, const char *login, uint64_t now_ms)
{
	struct key host = key_of(ip, ip_len, false), network = key_of(ip, ip_len, true);
	struct key both = key_with(ip, ip_len, login);

	if (l->ip > 0 && rates_of(g->by_ip, host.b, host.n, now_ms) >= l->ip)
		return false;
	if (l->network > 0 &&
	    rates_of(g->by_network, network.b, network.n, now_ms) >= l->network)
		return false;
	return l->login == 0 ||
	       rates_of(g->by_login, login, strlen(login), now_ms) < l->login ||
	       rates_of(g->proved, both.b, both.n, now_ms) > 0;
}

void auth_guard_failed(struct auth_guard *g, const uint8_t *ip, size_t ip_len, const char *login,
                       uint64_t now_ms)
{
	struct key host = key_of(ip, ip_len, false), network = key_of(ip, ip_len, true);

	(void)rates_add(g->by_ip, host.b, host.n, now_ms);
	(void)rates_add(g->by_network, network.b, network.n, now_ms);
	(void)rates_add(g->by_login, login, strlen(login), now_ms);
}

void auth_guard_proved(struct auth_guard *g, const uint8_t *ip, size_t ip_len, const char *login,
                       uint64_t now_ms)
{
	struct key both = key_with(ip, ip_len, login);

	(void)rates_add(g->proved, both.b, both.n, now_ms);
}
