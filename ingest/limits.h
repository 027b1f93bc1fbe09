/* ingest/limits.h - how many connections an address, a network and an account may have
 *
 * Each connection that came in is in the counts until limits_leave(), whatever it was told.
 */
#ifndef INGEST_LIMITS_H
#define INGEST_LIMITS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "lib/net.h"

struct limits;

struct limits_conf { /* 0: no limit */
	uint64_t ip;       /* open connections of an address (IPv6: of a /64) */
	uint64_t network;  /* new connections a minute of a /24 or /48 */
	uint64_t account;  /* open connections that have said who they are */
};

/* What a connection is counted as; zeroed: nothing. */
struct limits_place {
	uint8_t key[NET_KEY_MAX];
	size_t  key_len;
	bool    account;
};

struct limits *limits_new(void);
void limits_free(struct limits **l);

/* Count one from ip, and say whether it may stay: NULL, or the whole 421. */
const char *limits_enter(struct limits *l, const struct limits_conf *c, const uint8_t *ip,
                         size_t ip_len, struct limits_place *p, uint64_t now_ms);
/* The same for its account, until limits_leave_account(). */
const char *limits_enter_account(struct limits *l, const struct limits_conf *c,
                                 const char *account, struct limits_place *p);
/* No longer counted; not having been is fine. */
void limits_leave(struct limits *l, struct limits_place *p);
void limits_leave_account(struct limits *l, const char *account, struct limits_place *p);

#endif
