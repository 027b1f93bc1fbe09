/* lib/stream.c - the life of a TCP connection: accept, connect, read, deadline, close
 *
 * Callbacks are made from the loop's callbacks only, so that an owner is never
 * called from inside its own call.  Whoever is called may close or abort the
 * stream: after each callback the state is looked at again.  The memory goes in
 * libuv's close callback and nowhere else.
 */
#include "lib/stream_private.h"

#include <assert.h>
#include <string.h>
#include <sys/socket.h>
#include "lib/mem.h"

enum {
	SEND_LINGER_MS = 10 * 1000, /* most time to send what waited at a close */
	READ_LINGER_MS = 2 * 1000,  /* then most time for the peer to end its side */
};

static const char legal_next[][4] = {
	[STREAM_CONNECTING] = { [STREAM_OPEN] = 1, [STREAM_CLOSED] = 1 },
	[STREAM_OPEN] = { [STREAM_CLOSING] = 1, [STREAM_CLOSED] = 1 },
	[STREAM_CLOSING] = { [STREAM_CLOSED] = 1 },
	[STREAM_CLOSED] = { 0 },
};

static void set_state(struct stream *s, enum stream_state to)
{
	assert(legal_next[s->state][to]);
	s->state = to;
}

bool stream_is_live(const struct stream *s)
{
	return s->state == STREAM_CONNECTING || s->state == STREAM_OPEN;
}

/* --- the deadline --- */

/* The timer is moved when it fires too early, not at each new deadline. */
static void on_timer(uv_timer_t *timer)
{
	struct stream *s = timer->data;
	uint64_t now = uv_now(timer->loop);

	if (s->deadline == 0)
		return;
	if (now < s->deadline) {
		uv_timer_start(timer, on_timer, s->deadline - now, 0);
		return;
	}
	s->deadline = 0;
	if (s->state == STREAM_CLOSING)
		stream_fail(s, s->sent_all ? s->why : ERR_IO);
	else if (s->ev->expired != NULL)
		s->ev->expired(s->owner);
}

static void set_deadline(struct stream *s, uint64_t ms)
{
	s->deadline = uv_now(s->sl->loop) + ms;
	if (!s->has_timer) {
		uv_timer_init(s->sl->loop, &s->timer);
		s->timer.data = s;
		s->has_timer = true;
		s->handles++;
	}
	if (!uv_is_active((uv_handle_t *)&s->timer) || uv_timer_get_due_in(&s->timer) > ms)
		uv_timer_start(&s->timer, on_timer, ms, 0);
}

void stream_deadline(struct stream *s, uint64_t ms)
{
	if (!stream_is_live(s))
		return;
	if (ms == 0)
		s->deadline = 0;
	else
		set_deadline(s, ms);
}

void stream_linger(struct stream *s)
{
	if (s->deadline == 0)
		set_deadline(s, SEND_LINGER_MS);
}

/* --- reading --- */

static void on_alloc(uv_handle_t *h, size_t suggested, uv_buf_t *buf)
{
	struct stream *s = h->data;

	*buf = uv_buf_init(s->sl->read_buf, sizeof(s->sl->read_buf));
}

void stream_peer_ended(struct stream *s)
{
	s->peer_ended = true;
	if (s->state != STREAM_OPEN || s->ev->ended == NULL) {
		stream_begin_close(s, ERR_OK);
		return;
	}
	uv_read_stop((uv_stream_t *)&s->tcp);
	s->ev->ended(s->owner);
}

static void read_ended(struct stream *s, ssize_t status)
{
	s->peer_ended = true;
	if (s->sent_all) {
		stream_fail(s, s->why);
	} else if (s->state == STREAM_CLOSING && status == UV_EOF) {
		uv_read_stop((uv_stream_t *)&s->tcp);
	} else if (s->tls == TLS_HANDSHAKE) {
		tls_note_error(s, "connection closed during the handshake");
		stream_fail(s, ERR_IO);
	} else if (status == UV_EOF) {
		stream_peer_ended(s);
	} else {
		stream_fail(s, ERR_IO);
	}
}

static void on_read(uv_stream_t *tcp, ssize_t n, const uv_buf_t *buf)
{
	struct stream *s = tcp->data;

	if (n < 0)
		read_ended(s, n);
	else if (s->state == STREAM_CLOSING)
		return; /* nobody wants it any more */
	else if (n > 0 && s->tls != TLS_NONE)
		tls_input(s, buf->base, (size_t)n);
	else if (n > 0 && s->ev->data != NULL)
		s->ev->data(s->owner, buf->base, (size_t)n);
}

static void start_reading(struct stream *s)
{
	if (s->state == STREAM_CONNECTING || s->state == STREAM_CLOSED)
		return;
	if (s->state == STREAM_OPEN && (s->paused || s->peer_ended))
		return;
	/* It fails only when it reads already. */
	(void)uv_read_start((uv_stream_t *)&s->tcp, on_alloc, on_read);
}

void stream_pause(struct stream *s)
{
	s->paused = true;
	if (s->state == STREAM_OPEN)
		uv_read_stop((uv_stream_t *)&s->tcp);
}

void stream_resume(struct stream *s)
{
	if (!s->paused)
		return;
	s->paused = false;
	start_reading(s);
	if (s->held.len > 0)
		stream_make_ready(s);
}

/* --- the end --- */

static void on_handle_closed(uv_handle_t *h)
{
	struct stream *s = h->data;

	if (--s->handles > 0)
		return;
	if (s->ev != NULL && s->ev->closed != NULL)
		s->ev->closed(s->owner, s->why);
	SSL_free(s->ssl);
	out_clear(&s->wire);
	out_clear(&s->plain);
	buf_free(&s->held);
	xfree(s->tls_error);
	stream_loop_put(s->sl);
	xfree(s);
}

void stream_fail(struct stream *s, enum err why)
{
	if (s->state == STREAM_CLOSED)
		return;
	stream_unready(s);
	set_state(s, STREAM_CLOSED);
	s->why = why;
	uv_close((uv_handle_t *)&s->tcp, on_handle_closed);
	if (s->has_timer)
		uv_close((uv_handle_t *)&s->timer, on_handle_closed);
}

void stream_begin_close(struct stream *s, enum err why)
{
	if (s->state == STREAM_CONNECTING) {
		stream_fail(s, why);
		return;
	}
	if (s->state != STREAM_OPEN)
		return;
	set_state(s, STREAM_CLOSING);
	s->why = why;
	s->deadline = 0;
	if (s->tls == TLS_HANDSHAKE || s->tls == TLS_FAILED)
		out_clear(&s->plain);
	if (s->peer_ended)
		uv_read_stop((uv_stream_t *)&s->tcp);
	else
		start_reading(s);
	if (s->writing)
		stream_linger(s);
	stream_make_ready(s);
}

/* All is sent.  A socket that is closed while bytes of the peer are unread, or
 * still come, makes the kernel send a reset, which can destroy our last words
 * at the peer: so end our side and read on until the peer has ended its own. */
void stream_end_sending(struct stream *s)
{
	uv_os_fd_t fd;

	if (s->peer_ended || uv_fileno((uv_handle_t *)&s->tcp, &fd) != 0 ||
	    shutdown(fd, SHUT_WR) != 0) {
		stream_fail(s, s->why);
		return;
	}
	s->sent_all = true;
	set_deadline(s, READ_LINGER_MS);
}

void stream_close(struct stream *s)
{
	stream_begin_close(s, ERR_OK);
}

void stream_abort(struct stream *s)
{
	stream_fail(s, ERR_OK);
}

/* --- the beginning --- */

static struct stream *new_stream(uv_loop_t *loop, const struct stream_events *ev, void *owner)
{
	struct stream *s = xcalloc(1, sizeof(*s));

	s->ev = ev;
	s->owner = owner;
	s->sl = stream_loop_get(loop);
	s->told_drained = true;
	out_init(&s->wire);
	out_init(&s->plain);
	uv_tcp_init(loop, &s->tcp);
	s->tcp.data = s;
	s->handles = 1;
	return s;
}

/* An IPv4 peer of a dual-stack listener is shown, and compared, as what it is. */
static void set_peer(struct stream *s, const struct sockaddr *addr)
{
	const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)addr;
	struct sockaddr_in *in = (struct sockaddr_in *)&s->peer;

	if (addr->sa_family == AF_INET) {
		memcpy(&s->peer, addr, sizeof(*in));
	} else if (IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr)) {
		in->sin_family = AF_INET;
		in->sin_port = in6->sin6_port;
		memcpy(&in->sin_addr, &in6->sin6_addr.s6_addr[12], sizeof(in->sin_addr));
	} else {
		memcpy(&s->peer, addr, sizeof(*in6));
	}
	uv_ip_name((const struct sockaddr *)&s->peer, s->ip, sizeof(s->ip));
}

static int accept_on(uv_stream_t *listener, struct stream *s)
{
	struct sockaddr_storage peer;
	int len = sizeof(peer);
	int rc = uv_accept(listener, (uv_stream_t *)&s->tcp);

	if (rc == 0)
		rc = uv_tcp_getpeername(&s->tcp, (struct sockaddr *)&peer, &len);
	if (rc == 0 && peer.ss_family != AF_INET && peer.ss_family != AF_INET6)
		rc = UV_EAFNOSUPPORT;
	if (rc == 0)
		set_peer(s, (const struct sockaddr *)&peer);
	return rc;
}

enum err stream_accept(uv_stream_t *listener, const struct stream_events *ev, void *owner,
                       struct stream **out)
{
	struct stream *s = new_stream(listener->loop, ev, owner);

	set_state(s, STREAM_OPEN);
	if (accept_on(listener, s) != 0) {
		s->ev = NULL;
		stream_fail(s, ERR_IO);
		return ERR_IO;
	}
	uv_tcp_nodelay(&s->tcp, 1);
	start_reading(s);
	*out = s;
	return ERR_OK;
}

static enum err connect_error(int status)
{
	switch (status) {
	case UV_ECONNREFUSED:
		return ERR_REFUSED;
	case UV_ETIMEDOUT:
		return ERR_TIMEOUT;
	default:
		return ERR_IO;
	}
}

static void connect_ended(struct stream *s, int status)
{
	if (status == 0) {
		set_state(s, STREAM_OPEN);
		uv_tcp_nodelay(&s->tcp, 1);
		start_reading(s);
		if (s->wire.bytes > 0)
			stream_make_ready(s);
		if (s->ev->connected != NULL)
			s->ev->connected(s->owner, ERR_OK);
		return;
	}
	if (s->ev->connected != NULL)
		s->ev->connected(s->owner, connect_error(status));
	stream_fail(s, ERR_IO);
}

static void on_connect(uv_connect_t *req, int status)
{
	struct stream *s = req->data;

	if (s->state == STREAM_CONNECTING)
		connect_ended(s, status);
}

enum err stream_connect(uv_loop_t *loop, const struct sockaddr *addr,
                        const struct sockaddr *source, const struct stream_events *ev,
                        void *owner, struct stream **out)
{
	struct stream *s;
	int rc = 0;

	if (addr->sa_family != AF_INET && addr->sa_family != AF_INET6)
		return ERR_RANGE;
	s = new_stream(loop, ev, owner);
	set_peer(s, addr);
	s->req.connect.data = s;
	if (source != NULL)
		rc = uv_tcp_bind(&s->tcp, source, 0);
	if (rc == 0)
		rc = uv_tcp_connect(&s->req.connect, &s->tcp, addr, on_connect);
	if (rc != 0) {
		s->connect_status = rc;
		stream_make_ready(s);
	}
	*out = s;
	return ERR_OK;
}

/* What a call of the owner left for the loop. */
void stream_run(struct stream *s)
{
	if (s->state == STREAM_CONNECTING && s->connect_status != 0)
		connect_ended(s, s->connect_status);
	else if (s->state == STREAM_OPEN)
		tls_run_deferred(s);
	stream_flush(s);
}

const char *stream_peer_ip(const struct stream *s)
{
	return s->ip;
}

const struct sockaddr_storage *stream_peer(const struct stream *s)
{
	return &s->peer;
}
