/* lib/tls.h - TLS contexts for both ends (OpenSSL 3)
 *
 * TLS 1.2 and 1.3 only.  A context is shared by all streams of a kind.  It may be
 * freed while streams that were secured with it, or are in its handshake, live on:
 * what they need of it goes with the last of them.  One thread.
 */
#ifndef LIB_TLS_H
#define LIB_TLS_H

#include <stddef.h>
#include "lib/err.h"

struct tls_context;

/* PEM files: a certificate with the chain behind it, and its key. */
struct tls_pair {
	const char *cert, *key;
};

/* A server's context from n >= 1 pairs.  The name that the client asks for (SNI)
 * picks the pair: the first whose certificate has just this name, else the first
 * that has a wildcard for it, else the first of all.  The names of a certificate
 * are its dNSName SANs, without any its CN; "*.example.org" stands for one label.
 * All sessions can be resumed, by ticket or (TLS 1.2) by session id.
 * ERR_IO: a file cannot be read or is no such thing; why names it in one line. */
enum err tls_server_context(const struct tls_pair *pairs, size_t n, struct tls_context **out,
                            char why[256]) MUST_CHECK;
/* Let ctx, which has secured nobody yet, go on with the ticket keys of old, which it
 * replaces: clients resume across a reload of certificates.  Both may be freed in any
 * order.  Not called, a new context begins with keys of its own. */
void tls_server_inherit(struct tls_context *ctx, const struct tls_context *old);

/* A client's context that encrypts without verifying (opportunistic, RFC 7435). */
enum err tls_client_context(struct tls_context **out) MUST_CHECK;
/* A client's context that fails the handshake unless the certificate is good for the name
 * (host name or address) of stream_secure_client(), which must be given.  ca_file: PEM file of
 * the authorities; NULL or "": those of the system.  ERR_IO: why says what, in one line. */
enum err tls_client_verify_context(const char *ca_file, struct tls_context **out,
                                   char why[256]) MUST_CHECK;
void tls_context_free(struct tls_context **ctx); /* NULL is fine */

#endif
