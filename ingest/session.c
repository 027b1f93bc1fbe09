/* ingest/session.c - one connection: bytes to the engine, its questions to those who know
 *
 * Owns the stream, the engine, and the deadline.  Freed in on_closed() and nowhere else; the
 * reason of the end is set once, by end(), and is in the one line that a session logs.
 */
#include "ingest/session.h"

#include <arpa/inet.h>
#include <string.h>
#include "ingest/auth.h"
#include "ingest/txn.h"
#include "lib/clock.h"
#include "lib/mem.h"

/* A client that takes no replies gives no more commands. */
#define UNSENT_MAX (256 * 1024)

struct session {
	TAILQ_ENTRY(session) all, receiving;
	struct ingest *in;
	uint64_t id, txn;
	enum ingest_role role;
	struct stream *stream;   /* NULL once it is closing */
	struct stream *handle;   /* NULL once it is closed */
	struct smtp_server *smtp;
	char account[INGEST_ACCOUNT_MAX + 1];
	uint64_t opened_ms, deadline_ms;
	unsigned messages;
	size_t counted;          /* bytes of its message that are in in->memory */
	bool is_receiving, paused, ending;
	const char *why;
	uint8_t ip[16];
	size_t  ip_len;
	char    ip_text[64];
};

/* Begin the end, with the reason that the log will tell. */
static void end(struct session *s, const char *why)
{
	struct stream *stream = s->stream;

	if (s->ending)
		return;
	s->ending = true;
	if (s->why == NULL)
		s->why = why;
	s->stream = NULL;
	stream_close(stream);
}

static void receiving_set(struct session *s, bool on)
{
	if (s->is_receiving == on)
		return;
	s->is_receiving = on;
	if (on)
		TAILQ_INSERT_TAIL(&s->in->receiving, s, receiving);
	else
		TAILQ_REMOVE(&s->in->receiving, s, receiving);
}

/* May s be read now?  The rule is told at ingest->receiving. */
static bool may_read(const struct session *s)
{
	if (smtp_server_full(s->smtp) || stream_unsent(s->stream) >= UNSENT_MAX)
		return false;
	return !s->is_receiving || s->in->memory < s->in->conf.memory_bytes ||
	       TAILQ_FIRST(&s->in->receiving) == s;
}

static void pace(struct session *s)
{
	bool pause;

	if (s->stream == NULL)
		return;
	pause = !may_read(s);
	if (pause == s->paused)
		return;
	s->paused = pause;
	if (pause)
		stream_pause(s->stream);
	else
		stream_resume(s->stream);
}

void sessions_balance(struct ingest *in)
{
	struct session *s;

	TAILQ_FOREACH(s, &in->receiving, receiving)
		pace(s);
}

static void set_deadline(struct session *s, uint64_t ms)
{
	s->deadline_ms = ms;
	stream_deadline(s->stream, ms);
}

/* After anything that the engine was told: send, count, pace, set the deadline. */
static void settle(struct session *s, bool heard)
{
	struct ingest *in = s->in;
	enum smtp_phase phase = smtp_server_phase(s->smtp);
	struct buf *out = smtp_server_out(s->smtp);
	size_t bytes = smtp_server_message_bytes(s->smtp);
	int64_t change = (int64_t)bytes - (int64_t)s->counted;
	uint64_t wait;

	if (s->stream == NULL) {
		buf_reset(out);
		return;
	}
	/* While a question is open the client has sent the command behind it: it does not
	 * wait for these replies yet, and they leave together. */
	if (out->len > 0 && !smtp_server_asking(s->smtp)) {
		stream_write(s->stream, out->data, out->len);
		buf_reset(out);
	}
	s->counted = bytes;
	receiving_set(s, phase == PH_DATA && !smtp_server_asking(s->smtp));
	if (change != 0)
		ingest_memory(in, change);
	if (phase == PH_ENDED) {
		end(s, "done");
		return;
	}
	pace(s);
	wait = smtp_server_asking(s->smtp) ? 0
	     : phase == PH_DATA ? in->conf.data_timeout : in->conf.command_timeout;
	if (heard || wait != s->deadline_ms)
		set_deadline(s, wait);
}

/* ---- the engine's questions */

static void ask_auth(void *owner, uint64_t q, const struct sasl_login *login)
{
	struct session *s = owner;

	auth_begin(s->in->auth, s->id, q, login);
}

static void ask_mail(void *owner, uint64_t q, const struct smtp_mail *m)
{
	struct session *s = owner;
	struct txn_client c = {
		.session = s->id, .account = s->account, .ip_raw = s->ip, .ip_len = s->ip_len,
	};

	if (s->role == DOOR_INBOUND) {
		smtp_server_answer(s->smtp, q, true, NULL);
		return;
	}
	if (s->stream == NULL) {
		smtp_server_answer(s->smtp, q, false, NULL);
		return;
	}
	c.ip = s->ip_text;
	c.tls = stream_tls_version(s->stream);
	txn_begin(s->in, &c, m, q, &s->txn);
}

/* The inbound door takes the addresses of our own return paths, and there are none yet. */
static void ask_rcpt(void *owner, uint64_t q, const struct smtp_path *to)
{
	struct session *s = owner;

	if (s->role == DOOR_INBOUND)
		smtp_server_answer(s->smtp, q, false, "550 5.7.1 Not accepted here\r\n");
	else
		txn_rcpt(s->in, s->txn, q, to);
}

static void begin_message(void *owner, struct buf *out)
{
	struct session *s = owner;
	struct received_facts f = {
		.helo = smtp_server_helo(s->smtp),
		.hostname = s->in->stage->worker->common->hostname,
		.esmtp = smtp_server_esmtp(s->smtp), .authed = smtp_server_authed(s->smtp),
		.ip = s->ip_text,
	};

	if (s->stream != NULL) {
		f.tls = stream_tls_version(s->stream);
		f.cipher = stream_tls_cipher(s->stream);
	}
	txn_trace(s->in, s->txn, &f, out);
}

static void take_message(void *owner, uint64_t q, struct buf *msg, bool eight_bit)
{
	struct session *s = owner;

	ingest_memory(s->in, -(int64_t)s->counted); /* the transaction counts it now */
	s->counted = 0;
	txn_message(s->in, s->txn, q, msg, eight_bit);
}

static void given_up(void *owner, const char *why)
{
	struct session *s = owner;

	if (smtp_server_phase(s->smtp) == PH_DATA)
		metric_add_label(s->in->stage->metrics, M_MESSAGES_REFUSED, NO_CONTENT, 1);
	txn_give_up(s->in, s->txn, why);
}

static void begin_tls(void *owner)
{
	struct session *s = owner;
	struct buf *out = smtp_server_out(s->smtp);

	if (s->stream == NULL)
		return;
	stream_write(s->stream, out->data, out->len);
	buf_reset(out);
	if (stream_secure_server(s->stream, s->in->tls) != ERR_OK)
		end(s, "tls");
}

static const struct smtp_events smtp_events = {
	.auth = ask_auth, .mail = ask_mail, .rcpt = ask_rcpt, .begin = begin_message,
	.message = take_message, .given_up = given_up, .secure = begin_tls,
};

/* ---- the stream's news */

static void on_data(void *owner, const char *p, size_t len)
{
	struct session *s = owner;

	if (s->stream == NULL)
		return;
	smtp_server_input(s->smtp, p, len);
	settle(s, true);
}

static void on_secured(void *owner, enum err err)
{
	struct session *s = owner;

	if (s->stream == NULL)
		return;
	if (err != ERR_OK) {
		log_debug("tls-failed", LOGS("ip", s->ip_text),
		          LOGS("why", stream_tls_error(s->stream)));
		end(s, "tls");
		return;
	}
	if (s->role == DOOR_SUBMISSIONS)
		smtp_server_greet(s->smtp);
	else
		smtp_server_secured(s->smtp);
	settle(s, true);
}

static void on_drained(void *owner)
{
	pace(owner);
}

static void on_expired(void *owner)
{
	struct session *s = owner;

	if (s->stream == NULL)
		return;
	metric_add(s->in->stage->metrics, M_COMMAND_TIMEOUTS, 1);
	smtp_server_timeout(s->smtp);
	s->why = "timeout";
	settle(s, false);
}

static void on_closed(void *owner, enum err why)
{
	struct session *s = owner;
	struct ingest *in = s->in;

	s->stream = s->handle = NULL;
	receiving_set(s, false);
	if (!in->closing) {
		ingest_memory(in, -(int64_t)s->counted);
		txn_orphan(in, s->txn);
		if (s->why == NULL)
			s->why = why == ERR_OK ? "hung up" : "broken";
		log_info("session", LOGS("why", s->why),
		         LOGS("account", s->account[0] ? s->account : NULL),
		         LOGS("ip", s->ip_text), LOGU("messages", s->messages),
		         LOGU("ms", clock_mono_ms() - s->opened_ms));
	}
	TAILQ_REMOVE(&in->all, s, all);
	in->n_sessions--;
	idmap_remove(in->sessions, s->id);
	smtp_server_free(&s->smtp);
	xfree(s);
	ingest_release(in);
}

static const struct stream_events stream_events = {
	.data = on_data, .secured = on_secured, .drained = on_drained, .expired = on_expired,
	.closed = on_closed,
};

/* ---- birth */

static bool address_take(struct session *s)
{
	const struct sockaddr_storage *ss = stream_peer(s->stream);

	if (ss->ss_family == AF_INET) {
		s->ip_len = 4;
		memcpy(s->ip, &((const struct sockaddr_in *)ss)->sin_addr, 4);
		return s->ip[0] == 127;
	}
	s->ip_len = 16;
	memcpy(s->ip, &((const struct sockaddr_in6 *)ss)->sin6_addr, 16);
	if (IN6_IS_ADDR_V4MAPPED((const struct in6_addr *)s->ip)) {
		memmove(s->ip, s->ip + 12, 4);
		s->ip_len = 4;
		return s->ip[0] == 127;
	}
	return IN6_IS_ADDR_LOOPBACK((const struct in6_addr *)s->ip);
}

static struct smtp_door door_of(const struct session *s, bool loopback)
{
	const struct ingest *in = s->in;
	int plain = in->conf.auth_plaintext;

	return (struct smtp_door){
		.tls_offered = in->tls != NULL && s->role != DOOR_SUBMISSIONS,
		.secure = s->role == DOOR_SUBMISSIONS,
		.auth_offered = s->role != DOOR_INBOUND,
		.plain_ok = plain == PLAINTEXT_ALWAYS || (plain == PLAINTEXT_LOOPBACK && loopback),
		.need_auth = s->role == DOOR_SUBMISSION || s->role == DOOR_SUBMISSIONS,
	};
}

void session_accept(struct ingest *in, uv_stream_t *listener, enum ingest_role role)
{
	static const char full[] = "421 4.3.2 Too many connections, try again later\r\n";
	struct session *s = xcalloc(1, sizeof(*s));
	struct smtp_door door;

	s->in = in;
	s->role = role;
	if (stream_accept(listener, &stream_events, s, &s->stream) != ERR_OK) {
		xfree(s);
		return;
	}
	s->handle = s->stream;
	s->opened_ms = clock_mono_ms();
	memcpy(s->ip_text, stream_peer_ip(s->stream),
	       strnlen(stream_peer_ip(s->stream), sizeof(s->ip_text) - 1));
	s->id = idmap_add(in->sessions, s);
	TAILQ_INSERT_TAIL(&in->all, s, all);
	in->n_sessions++;
	ingest_hold(in);
	metric_add(in->stage->metrics, M_SESSIONS, 1);
	door = door_of(s, address_take(s));
	s->smtp = smtp_server_new(&in->smtp, &door, &smtp_events, s);
	if (in->n_sessions > in->conf.max_sessions || in->draining) {
		metric_add(in->stage->metrics, M_SESSIONS_REFUSED, 1);
		if (role != DOOR_SUBMISSIONS)
			stream_write(s->stream, full, sizeof(full) - 1);
		end(s, "too many");
		return;
	}
	set_deadline(s, in->conf.command_timeout);
	if (role == DOOR_SUBMISSIONS) {
		if (stream_secure_server(s->stream, in->tls) != ERR_OK)
			end(s, "tls");
		return;
	}
	smtp_server_greet(s->smtp);
	settle(s, true);
}

/* ---- answers from transactions and AUTH */

bool session_answer(struct ingest *in, uint64_t id, uint64_t q, bool ok, const char *reply)
{
	struct session *s = id ? idmap_get(in->sessions, id) : NULL;

	if (s == NULL) {
		metric_add(in->stage->metrics, M_LATE_ANSWERS, 1);
		return false;
	}
	smtp_server_answer(s->smtp, q, ok, reply);
	settle(s, false);
	return true;
}

bool session_authed(struct ingest *in, uint64_t id, uint64_t q, bool ok, const char *account,
                    const char *reply)
{
	struct session *s = idmap_get(in->sessions, id);

	if (s != NULL && ok)
		memcpy(s->account, account, strnlen(account, INGEST_ACCOUNT_MAX));
	return session_answer(in, id, q, ok, reply);
}

void session_txn_over(struct ingest *in, uint64_t id, bool accepted)
{
	struct session *s = id ? idmap_get(in->sessions, id) : NULL;

	if (s == NULL)
		return;
	s->txn = 0;
	s->messages += accepted;
}

void sessions_shutdown(struct ingest *in)
{
	struct session *s;

	TAILQ_FOREACH(s, &in->all, all) {
		if (s->stream == NULL)
			continue;
		smtp_server_shutdown(s->smtp);
		settle(s, false);
	}
}

void sessions_abort(struct ingest *in)
{
	struct session *s;

	TAILQ_FOREACH(s, &in->all, all) {
		s->stream = NULL;
		s->ending = true;
		if (s->handle != NULL)
			stream_abort(s->handle);
	}
}
