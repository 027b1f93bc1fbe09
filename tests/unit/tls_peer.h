/* tests/unit/tls_peer.h - certificates made on the spot, and OpenSSL's own client
 *
 * No key lies in the repository.  The client is a raw socket beside the two ends of
 * stream_ends.h; it turns their loop while it waits.
 */
#ifndef TESTS_UNIT_TLS_PEER_H
#define TESTS_UNIT_TLS_PEER_H

#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include "lib/tls.h"
#include "tests/unit/stream_ends.h"

/* A self-signed certificate of cn into the two files; sans: "DNS:a.example,DNS:b", or NULL. */
static inline void pair_write(const struct tls_pair *pair, const char *cn, const char *sans)
{
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *x = X509_new();
	FILE *f;

	X509_set_version(x, 2);
	ASN1_INTEGER_set(X509_get_serialNumber(x), 1);
	X509_gmtime_adj(X509_getm_notBefore(x), -60);
	X509_gmtime_adj(X509_getm_notAfter(x), 3600);
	X509_set_pubkey(x, key);
	X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_ASC,
	                           (const unsigned char *)cn, -1, -1, 0);
	X509_set_issuer_name(x, X509_get_subject_name(x));
	if (sans != NULL) {
		X509_EXTENSION *ext = X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, sans);

		assert_non_null(ext);
		X509_add_ext(x, ext, -1);
		X509_EXTENSION_free(ext);
	}
	assert_true(X509_sign(x, key, EVP_sha256()) > 0);
	f = fopen(pair->cert, "w");
	assert_non_null(f);
	assert_int_equal(PEM_write_X509(f, x), 1);
	fclose(f);
	f = fopen(pair->key, "w");
	assert_non_null(f);
	assert_int_equal(PEM_write_PrivateKey(f, key, NULL, NULL, 0, NULL, NULL), 1);
	fclose(f);
	X509_free(x);
	EVP_PKEY_free(key);
}

struct foreign {
	SSL_CTX *ctx;
	SSL *ssl;
	int fd;
};

static inline void foreign_start(struct foreign *f, int fd, int max_version,
                                 uint64_t options)
{
	f->fd = fd;
	f->ctx = SSL_CTX_new(TLS_client_method());
	SSL_CTX_set_max_proto_version(f->ctx, max_version);
	SSL_CTX_set_options(f->ctx, options);
	f->ssl = SSL_new(f->ctx);
	SSL_set_fd(f->ssl, fd);
	fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
}

static inline void foreign_connect(struct ends *t, struct foreign *f)
{
	int rc;

	while ((rc = SSL_connect(f->ssl)) != 1) {
		int code = SSL_get_error(f->ssl, rc);

		if (code != SSL_ERROR_WANT_READ && code != SSL_ERROR_WANT_WRITE)
			break;
		uv_run(&t->loop, UV_RUN_NOWAIT);
	}
	assert_int_equal(rc, 1);
}

/* Read len bytes, or to the end when len is 0; returns how OpenSSL ended. */
static inline int foreign_read(struct ends *t, struct foreign *f, struct buf *got, size_t len)
{
	char tmp[4096];
	size_t n;
	int code = SSL_ERROR_NONE;

	while (len == 0 || got->len < len) {
		if (SSL_read_ex(f->ssl, tmp, sizeof(tmp), &n) == 1) {
			buf_add(got, tmp, n);
			code = SSL_ERROR_NONE;
			continue;
		}
		code = SSL_get_error(f->ssl, 0);
		if (code != SSL_ERROR_WANT_READ)
			break;
		uv_run(&t->loop, UV_RUN_NOWAIT);
	}
	return code;
}

static inline void foreign_end(struct foreign *f)
{
	SSL_free(f->ssl);
	SSL_CTX_free(f->ctx);
	close(f->fd);
}

#endif
