/* ingest/limits.c - three tables: open by address, new by network, open by account
 *
 * Owns the tables; the connection owns its place in them.
 */
#include "ingest/limits.h"

#include <string.h>
#include "ingest/peer.h"
#include "lib/counts.h"
#include "lib/mem.h"
#include "lib/rates.h"

#define NETWORKS_MAX 50000
#define MINUTE_MS    60000

struct limits {
	struct counts *ips, *accounts;
	struct rates *networks;
};

struct limits *limits_new(void)
{
	struct limits *l = xcalloc(1, sizeof(*l));

	l->ips = counts_new();
	l->accounts = counts_new();
	l->networks = rates_new(NETWORKS_MAX, MINUTE_MS);
	return l;
}

void limits_free(struct limits **lp)
{
	struct limits *l = *lp;

	if (l == NULL)
		return;
	counts_free(&l->ips);
	counts_free(&l->accounts);
	rates_free(&l->networks);
	xfree(l);
	*lp = NULL;
}

const char *limits_enter(struct limits *l, const struct limits_conf *c, const uint8_t *ip,
                         size_t ip_len, struct limits_place *p, uint64_t now_ms)
{
	uint8_t network[NET_KEY_MAX];
	size_t n = peer_network_key(ip, ip_len, network);
	unsigned open, lately;

	p->key_len = peer_host_key(ip, ip_len, p->key);
	if (p->key_len == 0)
		return NULL; /* not known */
	open = counts_up(l->ips, p->key, p->key_len);
	lately = rates_add(l->networks, network, n, now_ms);
	if (c->ip > 0 && open > c->ip)
		return "421 4.7.0 Too many connections from your address\r\n";
	if (c->network > 0 && lately > c->network)
		return "421 4.7.0 Too many new connections from your network, try again later\r\n";
	return NULL;
}

const char *limits_enter_account(struct limits *l, const struct limits_conf *c,
                                 const char *account, struct limits_place *p)
{
	p->account = true;
	if (counts_up(l->accounts, account, strlen(account)) <= c->account || c->account == 0)
		return NULL;
	return "421 4.7.0 Too many connections of this account\r\n";
}

void limits_leave(struct limits *l, struct limits_place *p)
{
	if (p->key_len > 0)
		(void)counts_down(l->ips, p->key, p->key_len);
	p->key_len = 0;
}

void limits_leave_account(struct limits *l, const char *account, struct limits_place *p)
{
	if (p->account)
		(void)counts_down(l->accounts, account, strlen(account));
	p->account = false;
}
