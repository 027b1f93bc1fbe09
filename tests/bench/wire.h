/* Shared by loadgen.c and doors.c: a client's connection, in the clear or under TLS.
 *
 * Sockets are non-blocking; wire_recv() and wire_send() answer like recv() and send()
 * whatever lies below, so that the callers have one way through.  Nothing is verified:
 * the other end is a relay under test with a certificate that it made itself.
 */
#ifndef BENCH_WIRE_H
#define BENCH_WIRE_H

#include "bench.h"
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <sys/socket.h>

enum wire_mode { WIRE_PLAIN, WIRE_STARTTLS, WIRE_TLS };

struct wire {
	int fd;      /* -1: none */
	SSL *ssl;    /* NULL: in the clear */
};

/* 0 when the word is none of plain, starttls, tls. */
static inline int wire_mode_of(const char *word, enum wire_mode *out)
{
	static const char *const words[] = { "plain", "starttls", "tls" };
	for (int i = 0; i < 3; i++)
		if (!strcmp(word, words[i])) {
			*out = (enum wire_mode)i;
			return 1;
		}
	return 0;
}

/* version: TLS1_2_VERSION, TLS1_3_VERSION, 0 for the best that both ends have */
static inline SSL_CTX *wire_context(int version)
{
	SSL_CTX *c = SSL_CTX_new(TLS_client_method());
	if (!c || !SSL_CTX_set_min_proto_version(c, version ? version : TLS1_2_VERSION) ||
	    !SSL_CTX_set_max_proto_version(c, version))
		die("SSL_CTX_new");
	SSL_CTX_set_verify(c, SSL_VERIFY_NONE, NULL);
	SSL_CTX_set_mode(c, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
			    SSL_MODE_RELEASE_BUFFERS);
	return c;
}

/* Begin to connect, from 127.0.0.1 + source when source >= 0.  0: started. */
static inline int wire_connect(struct wire *w, const struct sockaddr_in *to, int source)
{
	int one = 1;
	w->ssl = NULL;
	w->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (w->fd < 0)
		die("socket");
	setsockopt(w->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	if (source >= 0) {
		struct sockaddr_in a = { .sin_family = AF_INET };
		a.sin_addr.s_addr = htonl(0x7f000001u + (uint32_t)source);
		setsockopt(w->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
		if (bind(w->fd, (struct sockaddr *)&a, sizeof a) < 0)
			die("bind");
	}
	return connect(w->fd, (const struct sockaddr *)to, sizeof *to) < 0 && errno != EINPROGRESS;
}

static inline int wire_error(const struct wire *w)
{
	int e = 0;
	socklen_t l = sizeof e;
	getsockopt(w->fd, SOL_SOCKET, SO_ERROR, &e, &l);
	return e;
}

/* session: resume it, or NULL.  OpenSSL spends a TLS 1.3 session with its first use, so
 * each connection gets a copy. */
static inline void wire_secure(struct wire *w, SSL_CTX *ctx, SSL_SESSION *session)
{
	w->ssl = SSL_new(ctx);
	if (!w->ssl || !SSL_set_fd(w->ssl, w->fd))
		die("SSL_new");
	if (session) {
		SSL_SESSION *copy = SSL_SESSION_dup(session);
		SSL_set_session(w->ssl, copy);
		SSL_SESSION_free(copy);
	}
	SSL_set_connect_state(w->ssl);
}

/* The result of an OpenSSL call as recv() and send() would put it. */
static inline ssize_t wire_result(struct wire *w, int ok, size_t n)
{
	int e = ok == 1 ? 0 : SSL_get_error(w->ssl, ok);
	if (ok == 1)
		return (ssize_t)n;
	if (e == SSL_ERROR_ZERO_RETURN)
		return 0;
	errno = e == SSL_ERROR_WANT_READ || e == SSL_ERROR_WANT_WRITE ? EAGAIN :
		e == SSL_ERROR_SYSCALL && errno ? errno : EPROTO;
	return -1;
}

/* 1: the handshake is over; -1 with errno, EAGAIN: it goes on */
static inline ssize_t wire_shake(struct wire *w)
{
	ERR_clear_error();
	return wire_result(w, SSL_do_handshake(w->ssl), 1);
}

static inline ssize_t wire_recv(struct wire *w, void *p, size_t n)
{
	size_t got = 0;
	if (!w->ssl)
		return recv(w->fd, p, n, 0);
	ERR_clear_error();
	int ok = SSL_read_ex(w->ssl, p, n, &got);
	return wire_result(w, ok, got);
}

static inline ssize_t wire_send(struct wire *w, const void *p, size_t n)
{
	size_t sent = 0;
	if (!w->ssl)
		return send(w->fd, p, n, MSG_NOSIGNAL);
	ERR_clear_error();
	int ok = SSL_write_ex(w->ssl, p, n, &sent);
	return wire_result(w, ok, sent);
}

/* Bytes that epoll does not tell of. */
static inline int wire_pending(const struct wire *w)
{
	return w->ssl ? SSL_pending(w->ssl) : 0;
}

static inline void wire_close(struct wire *w)
{
	if (w->ssl) {
		SSL_set_quiet_shutdown(w->ssl, 1); /* else the session may not be resumed */
		SSL_shutdown(w->ssl);
		SSL_free(w->ssl);
	}
	if (w->fd >= 0)
		close(w->fd);
	w->fd = -1;
	w->ssl = NULL;
}

#endif
