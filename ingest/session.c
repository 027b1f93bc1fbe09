/* ingest/session.c - one connection: bytes to the engine, its questions to those who know
 *
 * Owns the stream, the engine, and the deadline.  Freed in on_closed() and nowhere else; the
 * reason of the end is set once, by session_end(), and is in the one line that a session logs.
 */
#include "ingest/session_in.h"

#include <string.h>
#include "ingest/auth.h"
#include "ingest/txn.h"
#include "lib/clock.h"
#include "lib/mem.h"

void session_end(struct session *s, const char *why)
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

static void set_deadline(struct session *s, uint64_t ms)
{
	s->deadline_ms = ms;
	stream_deadline(s->stream, ms);
}

/* A deadline is moved by a whole command, or by bytes of a message; not by bytes of a command, or
 * one octet now and then would keep a session for ever. */
static void deadline_move(struct session *s, bool heard)
{
	const struct ingest_conf *c = &s->in->conf;
	bool receiving = smtp_server_receiving(s->smtp), asking = smtp_server_asking(s->smtp);
	uint64_t commands = smtp_server_commands(s->smtp), now = clock_mono_ms();
	uint64_t wait = asking ? 0 : receiving ? c->data_timeout : c->command_timeout, left;

	if (!receiving)
		s->data_since_ms = 0;
	else if (s->data_since_ms == 0)
		s->data_since_ms = now;
	if (receiving) {
		left = s->data_since_ms + c->data_total_timeout;
		left = left > now ? left - now : 1;
		wait = left < wait ? left : wait;
	}
	if (s->waiting_since_ms != 0) {
		s->commands = commands;
		s->deadline_ms = wait; /* it begins when the session is read again */
		return;
	}
	if (wait != s->deadline_ms || commands != s->commands || (receiving && heard))
		set_deadline(s, wait);
	s->commands = commands;
}

void session_settle(struct session *s, bool heard)
{
	struct ingest *in = s->in;
	struct buf *out = smtp_server_out(s->smtp);
	size_t bytes = smtp_server_message_bytes(s->smtp);
	int64_t change = (int64_t)bytes - (int64_t)s->counted;

	if (s->stream == NULL) {
		buf_reset(out);
		return;
	}
	/* While a question is open the client has sent the command behind it: it does not
	 * wait for these replies yet, and they leave together. */
	if (out->len > 0 && (!smtp_server_asking(s->smtp) ||
	                     smtp_server_phase(s->smtp) == PH_ENDED)) {
		stream_write(s->stream, out->data, out->len);
		buf_reset(out);
	}
	s->counted = bytes;
	session_receiving_set(s, smtp_server_receiving(s->smtp));
	if (change != 0)
		ingest_memory(in, change);
	if (smtp_server_phase(s->smtp) == PH_ENDED) {
		session_end(s, "done");
		return;
	}
	if (s->hung_up && !smtp_server_asking(s->smtp) && !smtp_server_full(s->smtp)) {
		session_end(s, "hung up");
		return;
	}
	session_pace(s);
	deadline_move(s, heard);
}

/* ---- the engine's questions */

static struct auth_client auth_client_of(const struct session *s)
{
	return (struct auth_client){
		.session = s->id, .ip = s->peer.ip, .ip_len = s->peer.ip_len,
		.ip_text = s->peer.text, .stream = s->handle,
	};
}

static void ask_auth(void *owner, uint64_t q, const struct sasl_login *login)
{
	struct session *s = owner;
	struct auth_client c = auth_client_of(s);

	auth_begin(s->in->auth, &c, q, login);
}

static void ask_scram(void *owner, uint64_t q, const struct smtp_scram *m)
{
	struct session *s = owner;
	struct auth_client c = auth_client_of(s);

	auth_scram(s->in->auth, &c, q, m, &s->exchange);
}

static void scram_over(void *owner)
{
	struct session *s = owner;

	if (s->in->auth != NULL)
		auth_scram_over(s->in->auth, &s->exchange);
}

static void ask_mail(void *owner, uint64_t q, const struct smtp_mail *m)
{
	struct session *s = owner;
	struct txn_client c = {
		.session = s->id, .account = s->account, .peer = &s->peer,
		.helo = s->helo ? s->helo : smtp_server_helo(s->smtp),
		.esmtp = smtp_server_esmtp(s->smtp), .authed = smtp_server_authed(s->smtp),
	};

	if (s->role == DOOR_INBOUND) {
		smtp_server_answer(s->smtp, q, true, NULL);
		return;
	}
	if (s->stream == NULL) {
		smtp_server_answer(s->smtp, q, false, NULL);
		return;
	}
	c.tls = s->proxied_tls ? "TLS" : stream_tls_version(s->stream);
	c.cipher = stream_tls_cipher(s->stream);
	txn_begin(s->in, &c, m, q, &s->txn);
}

/* The inbound door takes the addresses of our own return paths, and there are none yet. */
static void ask_rcpt(void *owner, uint64_t q, const struct smtp_rcpt *r)
{
	struct session *s = owner;

	if (s->role == DOOR_INBOUND)
		smtp_server_answer(s->smtp, q, false, "550 5.7.1 Not accepted here\r\n");
	else
		txn_rcpt(s->in, s->txn, q, r);
}

static void take_message(void *owner, uint64_t q, struct buf *msg, const struct smtp_content *c)
{
	struct session *s = owner;

	ingest_memory(s->in, -(int64_t)s->counted); /* the transaction counts it now */
	s->counted = 0;
	txn_message(s->in, s->txn, q, msg, c);
}

static void given_up(void *owner, const char *why)
{
	struct session *s = owner;

	if (smtp_server_phase(s->smtp) & (PH_DATA | PH_CHUNK | PH_BDAT))
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
		session_end(s, "tls");
}

/* Who the session sends for is to be proved anew. */
static void account_forget(struct session *s)
{
	limits_leave_account(s->in->limits, s->account, &s->place);
	s->account[0] = '\0';
}

/* The session is another client's from here on. */
static void take_xclient(void *owner, const struct smtp_xclient *x)
{
	struct session *s = owner;
	const char *no;

	if (x->helo[0] != '\0') {
		xfree(s->helo);
		s->helo = xstrdup(x->helo);
	}
	account_forget(s);
	limits_leave(s->in->limits, &s->place);
	if (x->addr_said && x->ip_len > 0)
		peer_of_ip(x->ip, x->ip_len, &s->peer);
	else if (x->addr_said)
		peer_unknown(&s->peer);
	smtp_server_plain_ok(s->smtp, session_plain_ok(s));
	no = limits_enter(s->in->limits, &s->in->limits_conf, s->peer.ip, s->peer.ip_len,
	                  &s->place, clock_mono_ms());
	if (no != NULL)
		smtp_server_end(s->smtp, 421, "4.7.0", "Too many connections from that address",
		                "limit");
}

const struct smtp_events session_smtp_events = {
	.auth = ask_auth, .scram = ask_scram, .scram_over = scram_over, .mail = ask_mail,
	.rcpt = ask_rcpt, .message = take_message, .given_up = given_up, .secure = begin_tls,
	.xclient = take_xclient,
};

/* ---- the stream's news */

static void on_data(void *owner, const char *p, size_t len)
{
	struct session *s = owner;

	if (s->stream == NULL)
		return;
	if (s->birth != BIRTH_DONE) {
		session_birth_data(s, p, len);
		return;
	}
	smtp_server_input(s->smtp, p, len);
	session_settle(s, true);
}

static void on_secured(void *owner, enum err err)
{
	struct session *s = owner;
	struct metric_set *m = s->in->stage->metrics;

	if (s->stream == NULL)
		return;
	if (err != ERR_OK) {
		metric_add(m, M_TLS_FAILURES, 1);
		log_debug("tls-failed", LOGS("ip", s->peer.text),
		          LOGS("why", stream_tls_error(s->stream)));
		session_end(s, "tls");
		return;
	}
	metric_add_label(m, M_TLS, stream_tls_resumed(s->stream), 1);
	if (s->birth != BIRTH_DONE) {
		session_birth_secured(s);
		return;
	}
	account_forget(s); /* RFC 3207, 4.2 */
	smtp_server_secured(s->smtp);
	session_settle(s, true);
}

/* A client may end its side behind its last command and wait for the replies. */
static void on_ended(void *owner)
{
	struct session *s = owner;

	s->hung_up = true;
	if (s->stream == NULL)
		return;
	if (s->birth == BIRTH_DONE)
		session_settle(s, false);
	else
		session_end(s, "hung up");
}

static void on_drained(void *owner)
{
	struct session *s = owner;

	if (s->stream != NULL && s->smtp != NULL && smtp_server_drained(s->smtp))
		session_settle(s, false);
	else
		session_pace(s);
}

static void on_expired(void *owner)
{
	struct session *s = owner;

	if (s->stream == NULL)
		return;
	if (s->birth != BIRTH_DONE) {
		session_birth_expired(s);
		return;
	}
	metric_add(s->in->stage->metrics, M_COMMAND_TIMEOUTS, 1);
	smtp_server_timeout(s->smtp);
	s->why = "timeout";
	session_settle(s, false);
}

static void log_session(const struct session *s, const char *tls)
{
	const char *helo = s->smtp ? smtp_server_helo(s->smtp) : "";

	log_info("session", LOGS("why", s->why),
	         LOGS("account", s->account[0] ? s->account : NULL), LOGS("ip", s->peer.text),
	         LOGS("helo", helo[0] ? helo : NULL), LOGS("tls", tls),
	         LOGU("commands", s->smtp ? smtp_server_commands(s->smtp) : 0),
	         LOGU("messages", s->messages), LOGU("bytes", s->bytes),
	         LOGU("ms", clock_mono_ms() - s->opened_ms));
}

static void on_closed(void *owner, enum err why)
{
	struct session *s = owner;
	struct ingest *in = s->in;
	const char *tls;

	tls = s->handle ? stream_tls_version(s->handle) : NULL;
	s->stream = s->handle = NULL;
	session_receiving_set(s, false);
	if (!in->closing) {
		ingest_memory(in, -(int64_t)s->counted);
		txn_orphan(in, s->txn);
		if (s->why == NULL)
			s->why = why == ERR_OK ? "hung up" : "broken";
		log_session(s, tls);
	}
	account_forget(s);
	limits_leave(in->limits, &s->place);
	TAILQ_REMOVE(&in->all, s, all);
	in->n_sessions--;
	idmap_remove(in->sessions, s->id);
	smtp_server_free(&s->smtp);
	buf_free(&s->early);
	xfree(s->helo);
	xfree(s);
	ingest_release(in);
}

const struct stream_events session_stream_events = {
	.data = on_data, .secured = on_secured, .drained = on_drained, .expired = on_expired,
	.ended = on_ended, .closed = on_closed,
};

/* ---- answers from transactions and AUTH */

bool session_answer(struct ingest *in, uint64_t id, uint64_t q, bool ok, const char *reply)
{
	struct session *s = id ? idmap_get(in->sessions, id) : NULL;

	if (s == NULL) {
		metric_add(in->stage->metrics, M_LATE_ANSWERS, 1);
		return false;
	}
	smtp_server_answer(s->smtp, q, ok, reply);
	session_settle(s, false);
	return true;
}

void session_challenge(struct ingest *in, uint64_t id, uint64_t q, const void *p, size_t n)
{
	struct session *s = id ? idmap_get(in->sessions, id) : NULL;

	if (s == NULL)
		return;
	smtp_server_challenge(s->smtp, q, p, n);
	session_settle(s, false);
}

static const char *account_set(struct session *s, const char *account)
{
	account_forget(s);
	memset(s->account, 0, sizeof(s->account));
	memcpy(s->account, account, strnlen(account, INGEST_ACCOUNT_MAX));
	return limits_enter_account(s->in->limits, &s->in->limits_conf, s->account, &s->place);
}

bool session_authed(struct ingest *in, uint64_t id, uint64_t q, bool ok, const char *account,
                    const char *reply)
{
	struct session *s = idmap_get(in->sessions, id);
	const char *no = s != NULL && ok ? account_set(s, account) : NULL;

	if (no != NULL) {
		account_forget(s);
		metric_add(in->stage->metrics, M_SESSIONS_REFUSED, 1);
		return session_answer(in, id, q, false, no);
	}
	return session_answer(in, id, q, ok, reply);
}

const char *session_account(struct ingest *in, uint64_t id, const char *account)
{
	struct session *s = id ? idmap_get(in->sessions, id) : NULL;

	if (s == NULL || s->account[0] != '\0')
		return NULL;
	return account_set(s, account);
}

void session_txn_over(struct ingest *in, uint64_t id, bool accepted, uint64_t bytes)
{
	struct session *s = id ? idmap_get(in->sessions, id) : NULL;

	if (s == NULL)
		return;
	s->txn = 0;
	s->messages += accepted;
	s->bytes += accepted ? bytes : 0;
}

void sessions_shutdown(struct ingest *in)
{
	struct session *s;

	TAILQ_FOREACH(s, &in->all, all) {
		if (s->stream == NULL)
			continue;
		if (s->birth != BIRTH_DONE) {
			session_end(s, "shutdown");
			continue;
		}
		smtp_server_shutdown(s->smtp);
		session_settle(s, false);
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
