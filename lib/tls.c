/* lib/tls.c - OpenSSL's contexts as both ends of SMTP want them
 *
 * TLS 1.2 and 1.3, forward secrecy first, no renegotiation, no compression,
 * tickets on.  Buffers of idle connections are released.  A client's context
 * verifies nothing (opportunistic TLS) and is therefore liberal in what it
 * takes: weak encryption is better than none.
 */
#include "lib/tls.h"

#include <openssl/err.h>
#include <stdio.h>
#include "lib/mem.h"
#include "lib/stream_private.h"

struct tls_context {
	SSL_CTX *ssl;
};

#define CIPHERS "ECDHE+AESGCM:ECDHE+CHACHA20:ECDHE+AES:DHE+AESGCM:RSA+AESGCM:RSA+AES" \
                ":!aNULL:!eNULL:!MD5:!DSS:!PSK:!SRP"

static const char server_ciphers[] = CIPHERS;
static const char client_ciphers[] = CIPHERS ":@SECLEVEL=1";

SSL_CTX *tls_context_ssl(const struct tls_context *ctx)
{
	return ctx->ssl;
}

static SSL_CTX *new_ctx(const SSL_METHOD *method, const char *ciphers)
{
	SSL_CTX *ssl = SSL_CTX_new(method);

	if (ssl == NULL)
		return NULL;
	SSL_CTX_set_min_proto_version(ssl, TLS1_2_VERSION);
	SSL_CTX_set_options(ssl, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
	                    SSL_OP_CIPHER_SERVER_PREFERENCE);
	SSL_CTX_set_mode(ssl, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
	                 SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	if (SSL_CTX_set_cipher_list(ssl, ciphers) != 1) {
		SSL_CTX_free(ssl);
		return NULL;
	}
	return ssl;
}

static enum err take(SSL_CTX *ssl, struct tls_context **out)
{
	struct tls_context *ctx = xmalloc(sizeof(*ctx));

	ctx->ssl = ssl;
	*out = ctx;
	return ERR_OK;
}

static void explain(char why[256], const char *what, const char *file)
{
	const char *reason = ERR_reason_error_string(ERR_peek_last_error());

	snprintf(why, 256, "%s%s%s: %s", what, file[0] == '\0' ? "" : " ", file,
	         reason == NULL ? "unknown reason" : reason);
	ERR_clear_error();
}

static enum err load_pair(SSL_CTX *ssl, const char *cert, const char *key, char why[256])
{
	if (SSL_CTX_use_certificate_chain_file(ssl, cert) != 1) {
		explain(why, "cannot use certificate", cert);
		return ERR_IO;
	}
	if (SSL_CTX_use_PrivateKey_file(ssl, key, SSL_FILETYPE_PEM) != 1) {
		explain(why, "cannot use key", key);
		return ERR_IO;
	}
	if (SSL_CTX_check_private_key(ssl) != 1) {
		explain(why, "the key is not of the certificate", key);
		return ERR_IO;
	}
	return ERR_OK;
}

enum err tls_server_context(const char *cert_file, const char *key_file,
                            struct tls_context **out, char why[256])
{
	static const unsigned char session_context[] = "holdfast";
	SSL_CTX *ssl;
	enum err err;

	ERR_clear_error();
	ssl = new_ctx(TLS_server_method(), server_ciphers);
	if (ssl == NULL) {
		explain(why, "cannot make a TLS context", "");
		return ERR_IO;
	}
	err = load_pair(ssl, cert_file, key_file, why);
	if (err != ERR_OK) {
		SSL_CTX_free(ssl);
		return err;
	}
	SSL_CTX_set_session_id_context(ssl, session_context, sizeof(session_context) - 1);
	SSL_CTX_set_session_cache_mode(ssl, SSL_SESS_CACHE_SERVER);
	SSL_CTX_set_num_tickets(ssl, 1);
	return take(ssl, out);
}

enum err tls_client_context(struct tls_context **out)
{
	SSL_CTX *ssl;

	ERR_clear_error();
	ssl = new_ctx(TLS_client_method(), client_ciphers);
	if (ssl == NULL)
		return ERR_IO;
	SSL_CTX_set_verify(ssl, SSL_VERIFY_NONE, NULL);
	return take(ssl, out);
}

void tls_context_free(struct tls_context **ctx)
{
	if (*ctx == NULL)
		return;
	SSL_CTX_free((*ctx)->ssl);
	xfree(*ctx);
	*ctx = NULL;
}
