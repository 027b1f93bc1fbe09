/* lib/tls.c - OpenSSL's contexts as both ends of SMTP want them
 *
 * TLS 1.2 and 1.3, forward secrecy first, no renegotiation, no compression,
 * tickets on.  Buffers of idle connections are released.  A client's context
 * verifies nothing (opportunistic TLS) and is therefore liberal in what it
 * takes: weak encryption is better than none.
 *
 * A server has one SSL_CTX for each pair.  A stream begins with the first, which
 * owns the others; what OpenSSL's callbacks need hangs on the SSL_CTX itself, so
 * that it lives as long as the last stream and not only as long as our struct.
 */
#include "lib/tls.h"

#include <assert.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/params.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>
#include "lib/clock.h"
#include "lib/log.h"
#include "lib/mem.h"
#include "lib/stream_private.h"
#include "lib/tls_tickets.h"

enum { SESSION_IDS = 4096 }; /* TLS 1.2 clients that take no tickets */

/* The pairs behind the first one. */
struct others {
	size_t   n;
	SSL_CTX *ssl[];
};

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

/* --- what hangs on an SSL_CTX --- */

static void others_free(void *parent, void *ptr, CRYPTO_EX_DATA *ad, int idx, long argl,
                        void *argp)
{
	struct others *o = ptr;

	for (size_t i = 0; o != NULL && i < o->n; i++)
		SSL_CTX_free(o->ssl[i]);
	xfree(o);
}

static void tickets_drop(void *parent, void *ptr, CRYPTO_EX_DATA *ad, int idx, long argl,
                         void *argp)
{
	struct tickets *t = ptr;

	tickets_unref(&t);
}

static int need_index(CRYPTO_EX_free *drop)
{
	int index = SSL_CTX_get_ex_new_index(0, NULL, NULL, NULL, drop);

	if (index < 0)
		die_bug("no index in SSL_CTX");
	return index;
}

static int others_index(void)
{
	static int index = -1;

	if (index < 0)
		index = need_index(others_free);
	return index;
}

static int tickets_index(void)
{
	static int index = -1;

	if (index < 0)
		index = need_index(tickets_drop);
	return index;
}

static struct tickets *tickets_of(const SSL_CTX *ssl)
{
	return SSL_CTX_get_ex_data(ssl, tickets_index());
}

static void hang(SSL_CTX *ssl, int index, void *what)
{
	if (SSL_CTX_set_ex_data(ssl, index, what) != 1)
		log_fatal(71, "tls_no_memory", LOG_PAIRS(LOGS("what", "context")));
}

/* Takes the reference t. */
static void set_tickets(SSL_CTX *ssl, struct tickets *t)
{
	struct tickets *old = tickets_of(ssl);

	hang(ssl, tickets_index(), t);
	tickets_unref(&old);
}

/* --- tickets --- */

static bool ticket_mac(EVP_MAC_CTX *mac, const struct ticket_key *k)
{
	OSSL_PARAM params[] = {
		OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, (void *)k->mac,
		                                  sizeof(k->mac)),
		OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, (char *)"SHA256", 0),
		OSSL_PARAM_construct_end(),
	};

	return EVP_MAC_CTX_set_params(mac, params) == 1;
}

/* OpenSSL asks how to seal a ticket or how to open one: 1 so, 2 so and send a new one,
 * 0 do without, -1 fail the handshake, which no ticket is worth. */
static int on_ticket(SSL *s, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher,
                     EVP_MAC_CTX *mac, int seal)
{
	struct tickets *t = tickets_of(SSL_get_SSL_CTX(s));
	const struct ticket_key *k = NULL;
	bool renew = false;

	if (!seal)
		k = tickets_open(t, name, clock_mono_ms(), &renew);
	else if (RAND_bytes(iv, EVP_MAX_IV_LENGTH) != 1 ||
	         tickets_seal(t, clock_mono_ms(), &k) != ERR_OK)
		return 0;
	if (k == NULL)
		return 0;
	if (EVP_CipherInit_ex(cipher, EVP_aes_256_cbc(), NULL, k->cipher, iv, seal) != 1 ||
	    !ticket_mac(mac, k))
		return 0;
	if (seal)
		memcpy(name, k->name, sizeof(k->name));
	return renew ? 2 : 1;
}

/* --- which certificate --- */

static bool has_name(SSL_CTX *ssl, const char *name, unsigned flags)
{
	X509 *x = SSL_CTX_get0_certificate(ssl);

	return x != NULL && X509_check_host(x, name, strlen(name), flags, NULL) == 1;
}

static SSL_CTX *pick(SSL_CTX *first, const struct others *o, const char *name, unsigned flags)
{
	if (has_name(first, name, flags))
		return first;
	for (size_t i = 0; i < o->n; i++) {
		if (has_name(o->ssl[i], name, flags))
			return o->ssl[i];
	}
	return NULL;
}

static int on_name(SSL *s, int *alert, void *arg)
{
	SSL_CTX *first = arg, *to;
	const struct others *o = SSL_CTX_get_ex_data(first, others_index());
	const char *name = SSL_get_servername(s, TLSEXT_NAMETYPE_host_name);

	if (name == NULL || name[0] == '\0')
		return SSL_TLSEXT_ERR_NOACK;
	to = pick(first, o, name, X509_CHECK_FLAG_NO_WILDCARDS);
	if (to == NULL)
		to = pick(first, o, name, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
	ERR_clear_error();
	if (to == NULL)
		return SSL_TLSEXT_ERR_NOACK;
	SSL_set_SSL_CTX(s, to);
	return SSL_TLSEXT_ERR_OK;
}

/* --- a server --- */

static SSL_CTX *server_ctx(const struct tls_pair *pair, char why[256])
{
	static const unsigned char session_context[] = "holdfast";
	SSL_CTX *ssl;

	ERR_clear_error();
	ssl = new_ctx(TLS_server_method(), server_ciphers);
	if (ssl == NULL) {
		explain(why, "cannot make a TLS context", "");
		return NULL;
	}
	if (load_pair(ssl, pair->cert, pair->key, why) != ERR_OK) {
		SSL_CTX_free(ssl);
		return NULL;
	}
	SSL_CTX_set_session_id_context(ssl, session_context, sizeof(session_context) - 1);
	SSL_CTX_set_session_cache_mode(ssl, SSL_SESS_CACHE_SERVER);
	SSL_CTX_sess_set_cache_size(ssl, SESSION_IDS);
	SSL_CTX_set_timeout(ssl, TICKET_LIFE_MS / 1000);
	SSL_CTX_set_num_tickets(ssl, 1);
	SSL_CTX_set_tlsext_ticket_key_evp_cb(ssl, on_ticket);
	return ssl;
}

enum err tls_server_context(const struct tls_pair *pairs, size_t n, struct tls_context **out,
                            char why[256])
{
	SSL_CTX *first = server_ctx(&pairs[0], why);
	struct others *o;
	struct tickets *t;

	assert(n >= 1);
	if (first == NULL)
		return ERR_IO;
	o = xcalloc(1, sizeof(*o) + n * sizeof(o->ssl[0]));
	hang(first, others_index(), o);
	SSL_CTX_set_tlsext_servername_callback(first, on_name);
	SSL_CTX_set_tlsext_servername_arg(first, first);
	for (; o->n + 1 < n; o->n++) {
		o->ssl[o->n] = server_ctx(&pairs[o->n + 1], why);
		if (o->ssl[o->n] == NULL) {
			SSL_CTX_free(first);
			return ERR_IO;
		}
	}
	t = tickets_new();
	for (size_t i = 0; i < o->n; i++)
		set_tickets(o->ssl[i], tickets_ref(t));
	set_tickets(first, t);
	return take(first, out);
}

void tls_server_inherit(struct tls_context *ctx, const struct tls_context *old)
{
	const struct others *o = SSL_CTX_get_ex_data(ctx->ssl, others_index());
	struct tickets *t = tickets_of(old->ssl);

	for (size_t i = 0; i < o->n; i++)
		set_tickets(o->ssl[i], tickets_ref(t));
	set_tickets(ctx->ssl, tickets_ref(t));
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

enum err tls_client_verify_context(const char *ca_file, struct tls_context **out, char why[256])
{
	bool own = ca_file != NULL && *ca_file != '\0';
	SSL_CTX *ssl;

	ERR_clear_error();
	ssl = new_ctx(TLS_client_method(), server_ciphers);
	if (ssl == NULL) {
		explain(why, "cannot make a TLS context", "");
		return ERR_IO;
	}
	if ((own ? SSL_CTX_load_verify_file(ssl, ca_file)
	         : SSL_CTX_set_default_verify_paths(ssl)) != 1) {
		explain(why, "cannot use authorities", own ? ca_file : "");
		SSL_CTX_free(ssl);
		return ERR_IO;
	}
	SSL_CTX_set_verify(ssl, SSL_VERIFY_PEER, NULL);
	return take(ssl, out);
}
