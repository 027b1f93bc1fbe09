/* lib/tls.h - TLS contexts for both ends (OpenSSL 3)
 *
 * TLS 1.2 and 1.3 only.  Contexts are shared by all streams of a kind and
 * outlive them.  One thread.
 */
#ifndef LIB_TLS_H
#define LIB_TLS_H

#include "lib/err.h"

struct tls_context;

/* A server's context from PEM files.  why gets a line on error (256 bytes). */
enum err tls_server_context(const char *cert_file, const char *key_file,
                            struct tls_context **out, char why[256]) MUST_CHECK;
/* A client's context that encrypts without verifying (opportunistic, RFC 7435). */
enum err tls_client_context(struct tls_context **out) MUST_CHECK;
void tls_context_free(struct tls_context **ctx); /* NULL is fine */

#endif
