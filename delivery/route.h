/* delivery/route.h - domains that do not go by MX
 *
 * `routes:` maps a domain to "host:port", "[v6]:port" or "host": exactly that
 * domain, ".domain" for what lies below it (the longest wins), "*" for all others.
 * Pure.
 */
#ifndef DELIVERY_ROUTE_H
#define DELIVERY_ROUTE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "lib/conf.h"
#include "lib/err.h"

struct route_target {
	char     host[256];  /* name or address, without brackets */
	uint16_t port;
};

/* The value for a domain (any case), NULL where no route applies. */
const char *route_find(const struct conf_map *routes, const char *domain);

/* Read a value.  ERR_SYNTAX: not of the forms above. */
enum err route_parse(const char *value, uint16_t default_port,
                     struct route_target *out) MUST_CHECK;

/* The first value that cannot be read, or NULL: for the start and for -t. */
const char *route_check(const struct conf_map *routes);

#endif
