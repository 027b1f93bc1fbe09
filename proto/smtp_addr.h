/* proto/smtp_addr.h - addresses: RFC 5321 paths, and the key of a suppression list
 *
 * Pure.  Limits: local part 64, domain 255, path 256 octets (RFC 5321, 4.5.3.1).
 */
#ifndef PROTO_SMTP_ADDR_H
#define PROTO_SMTP_ADDR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "lib/buf.h"
#include "lib/err.h"

#define SMTP_ADDR_MAX 254 /* mailbox without <> */

struct smtp_path {
	char   addr[SMTP_ADDR_MAX + 1]; /* as given, without <> and source route; "" for <> */
	size_t len;
	size_t at;                      /* offset of the last @, or len when there is none */
	bool   utf8;                    /* holds bytes over 127 */
};

/* Parse "<path>" at the start of [p, p+n); *used is where the parameters begin.
 * ERR_SYNTAX: no path (5.1.3 / 5.1.7); ERR_TOOBIG: over a limit.  empty_ok: "<>" is allowed
 * (MAIL FROM).  "<postmaster>" is allowed.  Quoted local parts and address
 * literals are; source routes are skipped; control bytes never are. */
enum err smtp_path_parse(const char *p, size_t n, bool empty_ok, struct smtp_path *out,
                         size_t *used) MUST_CHECK;

/* One mailbox without <>: for tools and configuration. */
enum err smtp_addr_parse(const char *p, size_t n, struct smtp_path *out) MUST_CHECK;

/* Is no byte of p over 127?  Then it needs no SMTPUTF8. */
bool smtp_is_ascii(const void *p, size_t len);

/* Read one well-formed UTF-8 character beyond ASCII (RFC 3629): its length in bytes, or 0 when
 * it is malformed, or a control character (C1). */
size_t smtp_utf8_read(const void *p, size_t n, uint32_t *code);

/* Append the list key: domain lower-cased and in A-label form (IDNA2008,
 * non-transitional), local part case-folded, quotes removed where they are not
 * needed; tags and dots are kept.  ERR_SYNTAX when the domain is none. */
enum err smtp_addr_key(const char *addr, size_t len, struct buf *out) MUST_CHECK;

/* The same for a domain entry: "Example.org" or ".Example.org". */
enum err smtp_domain_key(const char *domain, size_t len, struct buf *out) MUST_CHECK;

/* The domain of a key (after its last @), NUL-terminated within it. */
const char *smtp_key_domain(const char *key);

/* ESMTP parameters: step through " NAME[=VALUE]".  False at the end; ERR through *bad. */
struct smtp_param { const char *name; size_t name_len; const char *value; size_t value_len; };
bool smtp_param_next(const char **p, const char *end, struct smtp_param *out, bool *bad);

#endif
