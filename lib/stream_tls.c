/* lib/stream_tls.c - the TLS of a stream, by OpenSSL without a socket
 *
 * OpenSSL reads and writes through a BIO of our own: its input is the bytes
 * that the socket gave just now, its output is the stream's wire.  So nothing
 * is stored twice and an idle connection holds no buffers.  Errors of the peer
 * end the stream, never the process.
 */
#include "lib/stream_private.h"

#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <string.h>
#include <sys/socket.h>
#include "lib/log.h"
#include "lib/mem.h"

enum { RECORD_BYTES = 16 * 1024 };

/* --- the BIO --- */

static int bio_read(BIO *bio, char *out, size_t len, size_t *done)
{
	struct stream *s = BIO_get_data(bio);

	BIO_clear_retry_flags(bio);
	if (s->in_len == 0) {
		BIO_set_retry_read(bio);
		return 0;
	}
	if (len > s->in_len)
		len = s->in_len;
	memcpy(out, s->in, len);
	s->in += len;
	s->in_len -= len;
	*done = len;
	return 1;
}

static int bio_write(BIO *bio, const char *p, size_t len, size_t *done)
{
	struct stream *s = BIO_get_data(bio);

	BIO_clear_retry_flags(bio);
	out_add(&s->wire, p, len);
	*done = len;
	return 1;
}

static long bio_ctrl(BIO *bio, int cmd, long num, void *ptr)
{
	return cmd == BIO_CTRL_FLUSH;
}

static int bio_create(BIO *bio)
{
	BIO_set_init(bio, 1);
	return 1;
}

static const BIO_METHOD *bio_method(void)
{
	static BIO_METHOD *m;

	if (m != NULL)
		return m;
	m = BIO_meth_new(BIO_TYPE_SOURCE_SINK | BIO_get_new_index(), "stream");
	if (m == NULL)
		die_bug("no BIO method");
	BIO_meth_set_read_ex(m, bio_read);
	BIO_meth_set_write_ex(m, bio_write);
	BIO_meth_set_ctrl(m, bio_ctrl);
	BIO_meth_set_create(m, bio_create);
	return m;
}

/* --- what the loop drives --- */

void tls_note_error(struct stream *s, const char *fallback)
{
	const char *reason = ERR_reason_error_string(ERR_peek_error());
	long verdict = SSL_get_verify_mode(s->ssl) != SSL_VERIFY_NONE
	               ? SSL_get_verify_result(s->ssl) : X509_V_OK;

	if (verdict != X509_V_OK)
		reason = X509_verify_cert_error_string(verdict);
	xfree(s->tls_error);
	s->tls_error = xstrdup(reason == NULL ? fallback : reason);
	ERR_clear_error();
}

static void handshake_failed(struct stream *s)
{
	s->tls = TLS_FAILED;
	out_clear(&s->plain);
	if (s->ev->secured != NULL)
		s->ev->secured(s->owner, ERR_PROTO);
	if (stream_is_live(s))
		stream_begin_close(s, ERR_IO);
}

/* True when it is over and well. */
static bool shake(struct stream *s)
{
	int rc, code;

	ERR_clear_error();
	rc = SSL_do_handshake(s->ssl);
	stream_make_ready(s);
	if (rc == 1) {
		s->tls = TLS_OPEN;
		if (s->ev->secured != NULL)
			s->ev->secured(s->owner, ERR_OK);
		return stream_is_live(s);
	}
	code = SSL_get_error(s->ssl, rc);
	if (code == SSL_ERROR_WANT_READ)
		return false;
	tls_note_error(s, "handshake failed");
	handshake_failed(s);
	return false;
}

/* Decrypt as much as fits into the shared buffer; code says why it ended. */
static size_t decrypt(struct stream *s, int *code)
{
	char *buf = s->sl->plain_buf;
	size_t len = 0, n;

	*code = SSL_ERROR_NONE;
	ERR_clear_error();
	while (len + RECORD_BYTES <= sizeof(s->sl->plain_buf)) {
		if (SSL_read_ex(s->ssl, buf + len, RECORD_BYTES, &n) != 1) {
			*code = SSL_get_error(s->ssl, 0);
			break;
		}
		len += n;
	}
	return len;
}

static void read_ended(struct stream *s, int code)
{
	if (code == SSL_ERROR_NONE || code == SSL_ERROR_WANT_READ)
		return;
	if (code == SSL_ERROR_ZERO_RETURN) {
		stream_peer_ended(s);
		return;
	}
	s->tls = TLS_FAILED;
	stream_begin_close(s, ERR_IO);
}

static void drive(struct stream *s)
{
	int code = SSL_ERROR_NONE;
	size_t len;

	if (s->tls == TLS_HANDSHAKE && !shake(s))
		return;
	while (code == SSL_ERROR_NONE && s->tls == TLS_OPEN && stream_is_live(s) && !s->paused) {
		len = decrypt(s, &code);
		if (code == SSL_ERROR_SSL || code == SSL_ERROR_SYSCALL)
			tls_note_error(s, "TLS failed"); /* before the owner can add some */
		if (s->wire.bytes > 0)
			stream_make_ready(s);
		if (len > 0 && s->ev->data != NULL)
			s->ev->data(s->owner, s->sl->plain_buf, len);
		if (stream_is_live(s))
			read_ended(s, code);
	}
}

void tls_input(struct stream *s, const char *p, size_t len)
{
	bool from_held = s->held.len > 0;

	if (s->tls == TLS_FAILED)
		return;
	if (from_held) {
		if (len > 0)
			buf_add(&s->held, p, len);
		p = s->held.data;
		len = s->held.len;
	}
	s->in = p;
	s->in_len = len;
	drive(s);
	if (from_held)
		buf_consume(&s->held, len - s->in_len);
	else if (s->in_len > 0 && stream_is_live(s))
		buf_add(&s->held, s->in, s->in_len);
	if (s->held.len == 0)
		buf_free(&s->held);
	s->in = NULL;
	s->in_len = 0;
}

/* A pause is over, or the first step of a handshake failed inside a call. */
void tls_run_deferred(struct stream *s)
{
	if (s->tls == TLS_FAILED)
		handshake_failed(s);
	else if (s->held.len > 0 && !s->paused)
		tls_input(s, NULL, 0);
}

void tls_encrypt(struct stream *s, size_t most)
{
	struct chunk *c;
	size_t n;

	if (s->tls != TLS_OPEN)
		return;
	while (s->plain.bytes > 0 && s->wire.bytes < most) {
		c = TAILQ_FIRST(&s->plain.chunks);
		n = c->len < RECORD_BYTES ? c->len : RECORD_BYTES;
		ERR_clear_error();
		if (SSL_write_ex(s->ssl, c->p, n, &n) != 1) {
			tls_note_error(s, "TLS failed");
			s->tls = TLS_FAILED;
			out_clear(&s->plain);
			stream_begin_close(s, ERR_IO);
			return;
		}
		out_consume(&s->plain, n);
	}
}

void tls_say_goodbye(struct stream *s)
{
	if (s->tls != TLS_OPEN || (SSL_get_shutdown(s->ssl) & SSL_SENT_SHUTDOWN))
		return;
	ERR_clear_error();
	if (SSL_shutdown(s->ssl) < 0)
		ERR_clear_error();
}

/* --- calls of the owner --- */

/* What a peer sent before it could have seen our 220 was not meant for TLS:
 * somebody may have put it there (RFC 3207, 4.2). */
static void discard_early_bytes(struct stream *s)
{
	uv_os_fd_t fd;

	if (s->wire.bytes == 0 || uv_fileno((uv_handle_t *)&s->tcp, &fd) != 0)
		return;
	while (recv(fd, s->sl->plain_buf, sizeof(s->sl->plain_buf), MSG_DONTWAIT) > 0)
		continue;
}

static enum err attach(struct stream *s, struct tls_context *ctx)
{
	BIO *bio;

	if (s->state != STREAM_OPEN || s->tls != TLS_NONE)
		return ERR_BADSTATE;
	s->ssl = SSL_new(tls_context_ssl(ctx));
	bio = BIO_new(bio_method());
	if (s->ssl == NULL || bio == NULL)
		log_fatal(71, "tls_no_memory", LOG_PAIRS(LOGS("peer", s->ip)));
	BIO_set_data(bio, s);
	SSL_set_bio(s->ssl, bio, bio);
	s->tls = TLS_HANDSHAKE;
	return ERR_OK;
}

enum err stream_secure_server(struct stream *s, struct tls_context *ctx)
{
	enum err err = attach(s, ctx);

	if (err != ERR_OK)
		return err;
	discard_early_bytes(s);
	SSL_set_accept_state(s->ssl);
	return ERR_OK;
}

void stream_secure_early(struct stream *s, const void *p, size_t len)
{
	buf_add(&s->held, p, len);
	stream_make_ready(s);
}

static bool is_ip(const char *name)
{
	unsigned char addr[16];

	return inet_pton(AF_INET, name, addr) == 1 || inet_pton(AF_INET6, name, addr) == 1;
}

/* Where the context verifies, the certificate must be this name's; partial wildcards are none. */
static bool expect_name(SSL *ssl, const char *name)
{
	if (SSL_get_verify_mode(ssl) == SSL_VERIFY_NONE)
		return true;
	if (name == NULL)
		return false;
	SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
	return is_ip(name) ? X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), name) == 1
	                   : SSL_set1_host(ssl, name) == 1;
}

enum err stream_secure_client(struct stream *s, struct tls_context *ctx, const char *name)
{
	enum err err = attach(s, ctx);
	int rc;

	if (err != ERR_OK)
		return err;
	SSL_set_connect_state(s->ssl);
	if (!expect_name(s->ssl, name))
		die_bug("a certificate is to be verified for no name");
	if (name != NULL && !is_ip(name))
		SSL_set_tlsext_host_name(s->ssl, name);
	ERR_clear_error();
	rc = SSL_do_handshake(s->ssl);
	if (SSL_get_error(s->ssl, rc) != SSL_ERROR_WANT_READ) {
		tls_note_error(s, "handshake failed");
		s->tls = TLS_FAILED;
	}
	stream_make_ready(s);
	return ERR_OK;
}

bool stream_is_secure(const struct stream *s)
{
	return s->tls == TLS_OPEN;
}

const char *stream_tls_version(const struct stream *s)
{
	if (s->tls != TLS_OPEN)
		return NULL;
	return SSL_version(s->ssl) == TLS1_3_VERSION ? "TLS1.3" : "TLS1.2";
}

const char *stream_tls_cipher(const struct stream *s)
{
	return s->tls == TLS_OPEN ? SSL_get_cipher_name(s->ssl) : NULL;
}

const char *stream_tls_error(const struct stream *s)
{
	return s->tls_error;
}

bool stream_tls_resumed(const struct stream *s)
{
	return s->tls == TLS_OPEN && SSL_session_reused(s->ssl);
}

const char *stream_tls_sni(const struct stream *s)
{
	return s->tls == TLS_OPEN ? SSL_get_servername(s->ssl, TLSEXT_NAMETYPE_host_name) : NULL;
}

/* --- channel binding --- */

/* Extended master secret; without it another connection can have the same bytes
 * (RFC 7627, 1).  TLS 1.3 has it by construction. */
static bool is_bound(const struct stream *s)
{
	return SSL_version(s->ssl) == TLS1_3_VERSION || SSL_get_extms_support(s->ssl) == 1;
}

static enum err exporter_bytes(const struct stream *s, uint8_t *out, size_t max, size_t *len)
{
	static const char label[] = "EXPORTER-Channel-Binding";
	static const unsigned char no_context[1];
	enum { EXPORTER_BYTES = 32 };

	if (!is_bound(s))
		return ERR_NOENT;
	if (max < EXPORTER_BYTES)
		return ERR_TOOBIG;
	ERR_clear_error();
	if (SSL_export_keying_material(s->ssl, out, EXPORTER_BYTES, label, sizeof(label) - 1,
	                               no_context, 0, 1) != 1) {
		ERR_clear_error();
		return ERR_NOENT;
	}
	*len = EXPORTER_BYTES;
	return ERR_OK;
}

/* The first Finished of the handshake is the client's, but the server's when a session
 * is resumed. */
static enum err unique_bytes(const struct stream *s, uint8_t *out, size_t max, size_t *len)
{
	bool resumed = SSL_session_reused(s->ssl);
	uint8_t bytes[STREAM_BINDING_MAX];
	size_t n;

	if (SSL_version(s->ssl) != TLS1_2_VERSION || (resumed && !is_bound(s)))
		return ERR_NOENT;
	if (resumed == (bool)SSL_is_server(s->ssl))
		n = SSL_get_finished(s->ssl, bytes, sizeof(bytes));
	else
		n = SSL_get_peer_finished(s->ssl, bytes, sizeof(bytes));
	if (n == 0 || n > sizeof(bytes))
		return ERR_NOENT;
	if (n > max)
		return ERR_TOOBIG;
	memcpy(out, bytes, n);
	*len = n;
	return ERR_OK;
}

enum err stream_tls_binding(const struct stream *s, bool exporter, uint8_t *out, size_t max,
                            size_t *len)
{
	if (s->tls != TLS_OPEN)
		return ERR_BADSTATE;
	return exporter ? exporter_bytes(s, out, max, len) : unique_bytes(s, out, max, len);
}
