/* ingest/smtp_xclient.c - XCLIENT: a proxy says for whom it speaks (Postfix XCLIENT_README)
 *
 * Of the attributes ADDR, NAME, PORT, PROTO and HELO are known; ADDR and HELO change the session,
 * the others change nothing here.  LOGIN is passed over: who sends is proved by AUTH.  Once a
 * session: what comes later may be the words of the client itself.
 */
#include "ingest/smtp_engine.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define VALUE_MAX 255

/* xtext (RFC 3461, 4) into text; false: it is none, too long, or holds what no value may. */
static bool xtext_read(const char *p, size_t n, char out[VALUE_MAX + 1])
{
	size_t len = 0;

	for (size_t i = 0; i < n; i++) {
		unsigned c = (unsigned char)p[i];
		char hex[3] = "";

		if (c == '+') {
			if (n - i < 3 || !strchr("0123456789ABCDEF", p[i + 1]) ||
			    !strchr("0123456789ABCDEF", p[i + 2]))
				return false;
			memcpy(hex, p + i + 1, 2);
			c = (unsigned)strtoul(hex, NULL, 16);
			i += 2;
		}
		if (len == VALUE_MAX || c <= ' ' || c > '~')
			return false;
		out[len++] = (char)c;
	}
	out[len] = '\0';
	return true;
}

static bool unavailable(const char *v)
{
	return strcasecmp(v, "[UNAVAILABLE]") == 0 || strcasecmp(v, "[TEMPUNAVAIL]") == 0;
}

static bool addr_take(const char *v, struct smtp_xclient *x)
{
	bool v6 = strncasecmp(v, "IPV6:", 5) == 0;

	x->addr_said = true;
	if (unavailable(v))
		return true;
	if (inet_pton(v6 ? AF_INET6 : AF_INET, v6 ? v + 5 : v, x->ip) != 1)
		return false;
	x->ip_len = v6 ? 16 : 4;
	return true;
}

static bool helo_take(const char *v, struct smtp_xclient *x)
{
	x->helo[0] = '\0';
	if (unavailable(v))
		return true;
	if (!smtp_helo_fits(v, strlen(v)))
		return false;
	memcpy(x->helo, v, strlen(v) + 1);
	return true;
}

static bool passed_over(const char *v, struct smtp_xclient *x)
{
	return true;
}

static const struct {
	const char *name;
	bool (*take)(const char *value, struct smtp_xclient *x);
} attributes[] = {
	{ "NAME", passed_over }, { "ADDR", addr_take },  { "PORT", passed_over },
	{ "PROTO", passed_over }, { "HELO", helo_take },  { "LOGIN", passed_over },
};

static bool attribute_take(const struct smtp_param *p, struct smtp_xclient *x)
{
	char value[VALUE_MAX + 1];

	if (p->value == NULL || !xtext_read(p->value, p->value_len, value))
		return false;
	for (size_t i = 0; i < ARRAY_LEN(attributes); i++)
		if (strlen(attributes[i].name) == p->name_len &&
		    strncasecmp(attributes[i].name, p->name, p->name_len) == 0)
			return attributes[i].take(value, x);
	return false;
}

void smtp_xclient(struct smtp_server *s, const char *arg, size_t n)
{
	struct smtp_xclient x = { 0 };
	struct smtp_param p;
	const char *at = arg - 1; /* the blank in front */
	bool bad = false, fine = true;

	if (!s->door.xclient) {
		smtp_deny(s, 550, "5.7.0", "XCLIENT is not for you");
		return;
	}
	while (fine && smtp_param_next(&at, arg + n, &p, &bad))
		fine = attribute_take(&p, &x);
	if (bad || !fine) {
		smtp_deny(s, 501, "5.5.4", "Attribute cannot be read");
		return;
	}
	smtp_restart(s);
	s->door.xclient = false;
	s->ev->xclient(s->owner, &x);
	if (s->phase != PH_ENDED)
		smtp_server_greet(s);
}
