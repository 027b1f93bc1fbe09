/* lib/stream.h - a TCP connection on the loop, with TLS when asked, and a deadline
 *
 * Both ends of SMTP use it.  Writes are collected and sent once a turn of the
 * loop, so that many replies make one system call.  Callbacks run on the loop,
 * never from inside a call into this module.  After the closed callback the
 * stream is gone: the owner keeps no pointer.  Ignores SIGPIPE.
 *
 * After connected(error) and secured(error) closed(ERR_IO) follows by itself.
 */
#ifndef LIB_STREAM_H
#define LIB_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>
#include "lib/blob.h"
#include "lib/err.h"

struct stream;
struct tls_context; /* lib/tls.h */

struct stream_events {
	/* Bytes came (plaintext).  They are valid during the call. */
	void (*data)(void *owner, const char *p, size_t len);
	/* Client streams: connected (ERR_OK), ERR_REFUSED, ERR_TIMEOUT, ERR_IO. */
	void (*connected)(void *owner, enum err err);
	/* The TLS handshake is over: ERR_OK, or ERR_PROTO with stream_tls_error(). */
	void (*secured)(void *owner, enum err err);
	/* All that was written has gone to the kernel and less than the low mark waits. */
	void (*drained)(void *owner);
	/* The deadline set with stream_deadline() passed.  The stream is still open. */
	void (*expired)(void *owner);
	/* The peer has ended its side, and may still read: the owner says what is left to say, and
	 * closes.  NULL: the stream closes by itself. */
	void (*ended)(void *owner);
	/* The end, exactly once: ERR_OK closed by us or orderly by the peer, ERR_IO. */
	void (*closed)(void *owner, enum err why);
};

/* Take an accepted connection from listener.  ERR_IO when accept fails. */
enum err stream_accept(uv_stream_t *listener, const struct stream_events *ev, void *owner,
                       struct stream **out) MUST_CHECK;

/* Start connecting to addr, from `source` if it is not NULL.  Completion by connected(). */
enum err stream_connect(uv_loop_t *loop, const struct sockaddr *addr,
                        const struct sockaddr *source, const struct stream_events *ev,
                        void *owner, struct stream **out) MUST_CHECK;

void stream_write(struct stream *s, const void *p, size_t len); /* copied */
void stream_write_blob(struct stream *s, struct blob *b, size_t from, size_t len); /* referenced */
size_t stream_unsent(const struct stream *s); /* bytes that wait in this process */

/* Stop and go on reading (backpressure).  While paused no data() call comes, and
 * as a rule the peer's end is not seen either. */
void stream_pause(struct stream *s);
void stream_resume(struct stream *s);

/* One deadline a stream, wall of the loop in ms from now; 0 removes it. */
void stream_deadline(struct stream *s, uint64_t ms);

/* Begin TLS.  Server: call it after writing the 220; what the peer sent before
 * the handshake is thrown away (RFC 3207, 4.2), except what data() has handed
 * over already.  name: SNI for a client, may be NULL or an address.  What is
 * written meanwhile waits for the handshake.  ERR_BADSTATE: not open, or secured. */
enum err stream_secure_server(struct stream *s, struct tls_context *ctx) MUST_CHECK;
enum err stream_secure_client(struct stream *s, struct tls_context *ctx,
                              const char *name) MUST_CHECK;
/* These bytes, which data() has handed over, are the first of the peer's handshake
 * (they came behind a header of some other protocol).  Right after
 * stream_secure_server(); copied. */
void stream_secure_early(struct stream *s, const void *p, size_t len);
bool        stream_is_secure(const struct stream *s);
const char *stream_tls_version(const struct stream *s); /* "TLS1.3", or NULL */
const char *stream_tls_cipher(const struct stream *s);
const char *stream_tls_error(const struct stream *s);   /* last failure in words, or NULL */
bool        stream_tls_resumed(const struct stream *s); /* secured by an earlier session */
/* The name that was asked for by SNI, or NULL.  The client's bytes, not ours: it may
 * hold anything but NUL.  Valid until the stream's end. */
const char *stream_tls_sni(const struct stream *s);

/* The bytes that bind an authentication to this very connection (RFC 5056): of type
 * tls-exporter (RFC 9266) when `exporter`, else tls-unique (RFC 5929), which TLS 1.3
 * does not have.  len bytes in out.  ERR_BADSTATE: not secured; ERR_NOENT: this session
 * has none of that type that is safe (it needs the extended master secret in TLS 1.2:
 * for tls-exporter always, for tls-unique when resumed); ERR_TOOBIG: more than max. */
enum { STREAM_BINDING_MAX = 64 }; /* always enough */
enum err stream_tls_binding(const struct stream *s, bool exporter, uint8_t *out, size_t max,
                            size_t *len) MUST_CHECK;

/* Addresses as text without port, "127.0.0.1" or "2001:db8::1". */
const char *stream_peer_ip(const struct stream *s);
const struct sockaddr_storage *stream_peer(const struct stream *s);

/* Send what waits, end our side, wait for the peer to end its own (10 s and 2 s at
 * most), then close.  closed() follows and nothing else.  Idempotent. */
void stream_close(struct stream *s);
/* Close now and drop what waits. */
void stream_abort(struct stream *s);

#endif
