/* ingest/session_open.c - the birth of a session: PROXY header, limits, TLS, greeting
 *
 * A listener with `proxy` takes connections from the listed proxies only, and each begins with a
 * PROXY header; what a header says is believed of nobody else.  The inbound door holds its
 * greeting back: a client that speaks before it is no mail server (RFC 5321, 4.3.1).
 */
#include "ingest/session_in.h"

#include <string.h>
#include "lib/clock.h"
#include "lib/mem.h"
#include "proto/proxy.h"

#define PROXY_WAIT_MS 5000

bool session_plain_ok(const struct session *s)
{
	int plain = s->in->conf.auth_plaintext;

	return plain == PLAINTEXT_ALWAYS || (plain == PLAINTEXT_LOOPBACK && s->peer.loopback);
}

static struct smtp_door door_of(const struct session *s)
{
	const struct ingest *in = s->in;
	bool secure = s->role == DOOR_SUBMISSIONS || s->proxied_tls;

	return (struct smtp_door){
		.tls_offered = in->tls != NULL && !secure,
		.secure = secure,
		.unbound = s->proxied_tls,
		.auth_offered = s->role != DOOR_INBOUND,
		.plain_ok = session_plain_ok(s),
		.need_auth = s->role == DOOR_SUBMISSION || s->role == DOOR_SUBMISSIONS,
		.requiretls = in->conf.requiretls,
		.xclient = net_has(in->xclients.net, in->xclients.n, s->peer.ip, s->peer.ip_len),
	};
}

/* No dialogue: one reply where it can be read, and the end. */
static void turn_away(struct session *s, const char *reply, const char *why)
{
	metric_add(s->in->stage->metrics, M_SESSIONS_REFUSED, 1);
	if (reply != NULL && (s->role != DOOR_SUBMISSIONS || s->proxied_tls))
		stream_write(s->stream, reply, strlen(reply));
	session_end(s, why);
}

static void greet(struct session *s)
{
	s->birth = BIRTH_DONE;
	smtp_server_greet(s->smtp);
	session_settle(s, true);
}

/* Who the peer is is known: [p, p+n) came behind the PROXY header. */
static void enter(struct session *s, const char *p, size_t n)
{
	struct ingest *in = s->in;
	struct smtp_door door;
	const char *no = limits_enter(in->limits, &in->limits_conf, s->peer.ip, s->peer.ip_len,
	                              &s->place, clock_mono_ms());

	if (no != NULL) {
		turn_away(s, no, "limit");
		return;
	}
	door = door_of(s);
	s->smtp = smtp_server_new(&in->smtp, &door, &session_smtp_events, s);
	if (s->role == DOOR_SUBMISSIONS && !s->proxied_tls) {
		s->birth = BIRTH_TLS;
		stream_deadline(s->stream, in->conf.command_timeout);
		if (stream_secure_server(s->stream, in->tls) != ERR_OK)
			session_end(s, "tls");
		else if (n > 0)
			stream_secure_early(s->stream, p, n);
	} else if (s->role == DOOR_INBOUND && in->conf.greeting_delay > 0) {
		s->birth = BIRTH_DELAY;
		stream_deadline(s->stream, in->conf.greeting_delay);
		if (n > 0)
			session_birth_data(s, p, n);
	} else {
		greet(s);
		if (n > 0 && s->stream != NULL) {
			smtp_server_input(s->smtp, p, n);
			session_settle(s, true);
		}
	}
}

static void proxy_data(struct session *s, const char *p, size_t len)
{
	struct proxy_header h;
	struct buf early;
	size_t used;

	buf_add(&s->early, p, len);
	switch (proxy_parse(s->early.data, s->early.len, &h, &used)) {
	case PROXY_MORE:
		return;
	case PROXY_BAD:
		turn_away(s, NULL, "bad PROXY header");
		return;
	case PROXY_OK:
		break;
	}
	if (!h.local) {
		peer_of_ip(h.src, h.src_len, &s->peer);
		s->proxied_tls = h.tls;
	}
	early = s->early;
	s->early = (struct buf)BUF_INIT;
	enter(s, early.data + used, early.len - used);
	buf_free(&early);
}

void session_birth_data(struct session *s, const char *p, size_t len)
{
	static const char spoke[] = "554 5.5.1 You spoke before the greeting\r\n";

	if (s->birth == BIRTH_PROXY) {
		proxy_data(s, p, len);
	} else if (s->birth == BIRTH_DELAY) {
		metric_add(s->in->stage->metrics, M_EARLY_TALKERS, 1);
		turn_away(s, spoke, "early talker");
	}
}

void session_birth_secured(struct session *s)
{
	greet(s);
}

void session_birth_expired(struct session *s)
{
	if (s->birth == BIRTH_DELAY) {
		greet(s);
		return;
	}
	metric_add(s->in->stage->metrics, M_COMMAND_TIMEOUTS, 1);
	session_end(s, "timeout");
}

void session_accept(struct ingest *in, uv_stream_t *listener, const struct listener_conf *door)
{
	static const char full[] = "421 4.3.2 Too many connections, try again later\r\n";
	struct session *s = xcalloc(1, sizeof(*s));

	s->in = in;
	s->role = (enum ingest_role)door->role;
	s->birth = BIRTH_PROXY;
	if (stream_accept(listener, &session_stream_events, s, &s->stream) != ERR_OK) {
		xfree(s);
		return;
	}
	s->handle = s->stream;
	s->opened_ms = clock_mono_ms();
	peer_of_socket(stream_peer(s->stream), &s->peer);
	s->id = idmap_add(in->sessions, s);
	TAILQ_INSERT_TAIL(&in->all, s, all);
	in->n_sessions++;
	ingest_hold(in);
	metric_add(in->stage->metrics, M_SESSIONS, 1);
	if (in->n_sessions > in->conf.max_sessions || in->draining) {
		turn_away(s, full, "too many");
	} else if (!door->proxy) {
		enter(s, NULL, 0);
	} else if (!net_has(in->proxies.net, in->proxies.n, s->peer.ip, s->peer.ip_len)) {
		turn_away(s, NULL, "no listed proxy");
	} else {
		stream_deadline(s->stream, PROXY_WAIT_MS);
	}
}
