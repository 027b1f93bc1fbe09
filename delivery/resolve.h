/* delivery/resolve.h - where a domain's mail goes: MX, A and AAAA through libunbound
 *
 * libunbound works on a thread of its own and wakes the loop; its cache keeps
 * answers by their TTL.  Every question has a deadline (dns_wait), after which
 * it is a temporary failure.  RFC 5321, 5.1 (implicit MX, order, shuffling), RFC 7505
 * (null MX).  Address literals are no domains: the caller refuses them.  With
 * trust anchors answers are validated (DNSSEC); a bogus one is a temporary failure.
 */
#ifndef DELIVERY_RESOLVE_H
#define DELIVERY_RESOLVE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <uv.h>
#include "lib/err.h"

#define RESOLVE_HOSTS_MAX 8      /* MX hosts that are looked at, best first */
#define RESOLVE_ADDRESSES_MAX 32

struct address {
	struct sockaddr_storage sa;
	char host[256];              /* whose address it is */
};

enum resolve_end {
	RESOLVE_OK,
	RESOLVE_NO_DOMAIN, /* the domain does not exist, or has neither MX nor address */
	RESOLVE_NULL_MX,   /* it says that it takes no mail */
	RESOLVE_UNUSABLE,  /* there are addresses, and none that may be connected to */
	RESOLVE_LATER      /* nobody could say now */
};

struct resolution {
	enum resolve_end end;
	const struct address *address; /* in the order to be tried; valid during the call */
	unsigned n;
	bool secure;                   /* validated: these are the hosts that the domain names */
	uint32_t ttl;                  /* seconds that this holds */
	const char *text;              /* what was the matter */
};

typedef void resolve_done_fn(void *owner, uint64_t id, const struct resolution *r);

struct resolver;

struct resolve_conf {
	const char *forwarder;  /* "host:port"; empty: those of /etc/resolv.conf, or the roots */
	uint64_t wait_ms;
	const char *anchor;     /* file of trust anchors; empty: nothing is validated */
	bool allow_private;     /* MX may point to loopback, private and link-local addresses */
};

/* ERR_SYNTAX: forwarder; ERR_IO: libunbound cannot start, or the anchor cannot be read.  Both are
 * logged. */
enum err resolver_open(uv_loop_t *loop, const struct resolve_conf *conf,
                       struct resolver **out) MUST_CHECK;
/* Open questions end unanswered: their done function does not run. */
void resolver_close(struct resolver **r);

/* A domain's MX, or, where mx is false, a host's addresses, whatever they are: its name came
 * from the configuration.  port is put into the addresses. */
struct resolve_what { const char *name; bool mx; uint16_t port; };

/* Ask; what is copied.  done runs exactly once, never from inside. */
void resolve(struct resolver *r, const struct resolve_what *what, resolve_done_fn *done,
             void *owner, uint64_t id);
/* Ends questions whose deadline has passed; call it every 100 ms. */
void resolver_tick(struct resolver *r, uint64_t mono_ms);

/* Is it an address of the public Internet?  Pure. */
bool address_is_public(const struct sockaddr *sa);

#endif
