/* delivery/route.c - see route.h
 *
 * The configuration is small and read in order; no index is kept.
 */
#include <string.h>
#include <strings.h>
#include "delivery/route.h"

static const char *lookup(const struct conf_map *routes, const char *key)
{
	for (size_t i = 0; i < routes->n; i++)
		if (strcasecmp(routes->key[i], key) == 0)
			return routes->value[i];
	return NULL;
}

const char *route_find(const struct conf_map *routes, const char *domain)
{
	const char *value;

	if (routes->n == 0)
		return NULL;
	value = *domain != '\0' ? lookup(routes, domain) : NULL;
	for (const char *dot = strchr(domain, '.'); value == NULL && dot != NULL;
	     dot = strchr(dot + 1, '.'))
		value = lookup(routes, dot);
	return value != NULL ? value : lookup(routes, "*");
}

static enum err port_parse(const char *p, uint16_t *out)
{
	unsigned long n = 0;

	if (*p == '\0')
		return ERR_SYNTAX;
	for (; *p >= '0' && *p <= '9' && n <= 65535; p++)
		n = n * 10 + (unsigned)(*p - '0');
	if (*p != '\0' || n == 0 || n > 65535)
		return ERR_SYNTAX;
	*out = (uint16_t)n;
	return ERR_OK;
}

static bool host_char(char c, bool literal)
{
	if ((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'))
		return true;
	return c == '.' || (literal ? c == ':' || c == '%' : c == '-' || c == '_');
}

enum err route_parse(const char *value, uint16_t default_port, struct route_target *out)
{
	bool literal = *value == '[';
	const char *host = value + literal;
	size_t len = strcspn(host, literal ? "]" : ":");
	const char *rest = host + len;
	uint16_t port = default_port;

	if (len == 0 || len >= sizeof(out->host) || (literal && *rest++ != ']'))
		return ERR_SYNTAX;
	for (size_t i = 0; i < len; i++)
		if (!host_char(host[i], literal))
			return ERR_SYNTAX;
	if (*rest != '\0' && (*rest != ':' || port_parse(rest + 1, &port) != ERR_OK))
		return ERR_SYNTAX;
	memcpy(out->host, host, len);
	out->host[len] = '\0';
	out->port = port;
	return ERR_OK;
}

const char *route_check(const struct conf_map *routes)
{
	struct route_target t;

	for (size_t i = 0; i < routes->n; i++)
		if (route_parse(routes->value[i], 25, &t) != ERR_OK)
			return routes->value[i];
	return NULL;
}
