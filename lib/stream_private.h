/* lib/stream_private.h - what the files of the stream share
 *
 * stream.c is life: accept, connect, read, deadline, close.  stream_out.c is
 * what waits to be sent.  stream_tls.c stands between the two when the stream
 * is secured.  stream_loop.c is what all streams of one loop share.
 */
#ifndef LIB_STREAM_PRIVATE_H
#define LIB_STREAM_PRIVATE_H

#include <netinet/in.h>
#include <openssl/ssl.h>
#include <sys/queue.h>
#include "lib/buf.h"
#include "lib/stream.h"

/* Bytes that wait: our own, or a part of a blob. */
struct chunk {
	TAILQ_ENTRY(chunk) link;
	struct blob *blob;    /* NULL: the bytes are in own[] */
	const char  *p;
	size_t       len;
	size_t       room;    /* free bytes in own[] behind them */
	char         own[];
};

struct out {
	TAILQ_HEAD(chunks, chunk) chunks;
	size_t bytes;
};

void out_init(struct out *o);
void out_add(struct out *o, const void *p, size_t len);
void out_add_blob(struct out *o, struct blob *b, size_t from, size_t len);
void out_consume(struct out *o, size_t len);
void out_clear(struct out *o);

enum stream_state {
	STREAM_CONNECTING, /* until connected(); what is written waits */
	STREAM_OPEN,
	STREAM_CLOSING,    /* sends what waits; no more callbacks but closed() */
	STREAM_CLOSED,     /* uv_close() was called; waits for libuv */
};

enum tls_state {
	TLS_NONE,
	TLS_HANDSHAKE,
	TLS_OPEN,
	TLS_FAILED,        /* in the handshake or after it; only what is in wire still goes out */
};

TAILQ_HEAD(streams, stream);

/* Shared by the streams of one loop, which hold references. */
struct stream_loop {
	struct stream_loop *next;
	uv_loop_t   *loop;
	unsigned     refs, handles;
	uv_prepare_t prepare;    /* runs what is ready, once a turn, before the poll */
	uv_idle_t    idle;       /* active while somebody is ready: the poll must not wait */
	struct streams ready;
	uint64_t     turn;
	char         read_buf[64 * 1024];  /* bytes of the socket, during one callback */
	char         plain_buf[64 * 1024]; /* decrypted bytes, likewise */
};

struct stream {
	uv_tcp_t   tcp;
	uv_timer_t timer;
	union {
		uv_connect_t connect;
		uv_write_t   write;
	} req;                        /* one at a time: connect comes before every write */
	const struct stream_events *ev; /* NULL: accept failed, nobody knows this stream */
	void       *owner;

	struct stream_loop *sl;
	TAILQ_ENTRY(stream) link;     /* sl->ready, when is_ready */
	uint64_t    ready_turn;
	bool        is_ready;

	enum stream_state state;
	enum err    why;              /* the argument of closed() */
	unsigned    handles;          /* not yet closed by libuv */
	int         connect_status;   /* of a connect that failed at once */
	bool        has_timer;
	bool        paused, writing, told_drained;
	bool        peer_ended;       /* its end of file was seen */
	bool        sent_all;         /* closing: our end of file is sent */
	uint64_t    deadline;         /* time of the loop; 0: none */

	struct out  wire;             /* goes to the socket as it is */
	struct out  plain;            /* waits to be encrypted */
	size_t      writing_bytes;    /* head of wire that libuv has */

	enum tls_state tls;
	SSL        *ssl;
	const char *in;               /* what OpenSSL reads next, during tls_input() */
	size_t      in_len;
	struct buf  held;             /* encrypted bytes that came before a pause */
	char       *tls_error;

	struct sockaddr_storage peer;
	char        ip[INET6_ADDRSTRLEN];
};

/* stream_loop.c */
struct stream_loop *stream_loop_get(uv_loop_t *loop);
void stream_loop_put(struct stream_loop *sl);
/* The end of what the peer sends was seen. */
void stream_peer_ended(struct stream *s);
void stream_make_ready(struct stream *s);   /* stream_run() comes in this turn or the next */
void stream_unready(struct stream *s);

/* stream.c: from the loop's callbacks only */
void stream_run(struct stream *s);
void stream_fail(struct stream *s, enum err why);         /* close now */
void stream_begin_close(struct stream *s, enum err why);  /* send what waits, then close */
void stream_linger(struct stream *s);                     /* bound the sending after a close */
void stream_end_sending(struct stream *s);                /* all is sent that was to be */
bool stream_is_live(const struct stream *s);              /* callbacks may be made */

/* stream_out.c */
void stream_flush(struct stream *s);

/* stream_tls.c */
void tls_input(struct stream *s, const char *p, size_t len);
void tls_encrypt(struct stream *s, size_t most); /* plain to wire, until wire holds `most` */
void tls_run_deferred(struct stream *s);         /* what a call in had to leave for the loop */
void tls_say_goodbye(struct stream *s);          /* close_notify */
void tls_note_error(struct stream *s, const char *fallback);

/* tls.c */
SSL_CTX *tls_context_ssl(const struct tls_context *ctx);

#endif
