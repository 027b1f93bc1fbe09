/* delivery/session.c - see session.h
 *
 * The engine says what to do and session_pump() does it until the engine waits.  A session that
 * could not come up tries the next address with the same object; one that is over leaves
 * its destination at once and lives on until its stream has ended.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include "delivery/finish.h"
#include "delivery/session.h"
#include "lib/clock.h"
#include "lib/log.h"
#include "lib/stream.h"
#include "lib/tls.h"
#include "proto/smtp_data.h"

static const struct stream_events session_events;

static void session_pump(struct session *s);
static void session_connect(struct session *s);

static void session_goto(struct session *s, enum session_state to)
{
	static const uint8_t legal[] = {
		[SN_CONNECTING] = 1u << SN_WORKING | 1u << SN_CLOSING,
		[SN_WORKING] = 1u << SN_IDLE | 1u << SN_CLOSING,
		[SN_IDLE] = 1u << SN_WORKING | 1u << SN_CLOSING,
		[SN_CLOSING] = 0,
	};

	if (!(legal[s->state] & (1u << to)))
		die_bug("a session takes a step that is not legal");
	if (s->state == SN_IDLE) {
		TAILQ_REMOVE(&s->dest->idle, s, dest_idle);
		TAILQ_REMOVE(&s->pool->idle, s, idle);
	}
	if (to == SN_IDLE) {
		s->idle_since_ms = clock_mono_ms();
		TAILQ_INSERT_HEAD(&s->dest->idle, s, dest_idle);
		TAILQ_INSERT_TAIL(&s->pool->idle, s, idle);
	}
	s->state = to;
}

static const struct delivery_conf *conf_of(const struct session *s)
{
	return s->pool->d->conf;
}

static void session_free(struct session *s)
{
	for (unsigned i = 0; i < CLIENT_MAILS; i++)
		xfree(s->mail[i].rcpt);
	client_free(&s->client);
	TAILQ_REMOVE(&s->pool->all, s, all);
	xfree(s);
}

/* ---- the end */

/* Leave the destination and close.  The one place where a session ends. */
static void session_end(struct session *s, const struct outcome *why)
{
	struct dest *dest = s->dest;
	bool was_up = s->state != SN_CONNECTING;

	log_debug("disconnect", LOGS("relay", s->host), LOGS("ip", s->ip),
	          LOGS("why", client_why_text(s->client)), LOGU("mails", s->mails));
	if (client_protocol_error(s->client))
		metric_add(s->pool->d->stage->metrics, DM_PROTOCOL_ERRORS, 1);
	session_goto(s, SN_CLOSING);
	s->dest = NULL;
	if (s->stream != NULL)
		stream_close(s->stream);
	pool_session_over(s->pool, dest, was_up, was_up ? NULL : why);
}

/* Not greeted here: without TLS where that was what failed, then the next address.
 * False: there is none left. */
static bool try_elsewhere(struct session *s)
{
	if (s->tls_failed && !s->plain && !s->dest->strict) {
		s->plain = s->dest->no_tls = true;
		log_info("tls-fallback", LOGS("relay", s->host), LOGS("ip", s->ip));
	} else if (s->tried + 1 < s->dest->n_address) {
		s->tried++;
		s->address = (s->address + 1) % s->dest->n_address;
	} else {
		return false;
	}
	client_free(&s->client);
	session_connect(s);
	return true;
}

/* No host is left.  For good where each was asked and none was fit. */
static void blame_unfit(struct session *s, struct outcome *why)
{
	snprintf(s->unfit_why, sizeof(s->unfit_why), "REQUIRETLS support required: %.*s",
	         (int)why->text_len, why->text);
	why->text = s->unfit_why;
	why->text_len = strlen(s->unfit_why);
	why->stage = HOLDFAST__SMTP_STAGE__STAGE_TLS;
	if (s->others_failed)
		return;
	why->code = 550;
	why->enhanced = "5.7.30";
	why->own_end = true;
}

/* The engine is done with the connection.  Waits for the stream's end before another
 * address is tried, so that one object has one stream. */
static void session_over(struct session *s)
{
	const struct client_result *w = client_why(s->client);
	struct outcome why = {
		.stage = w->stage, .code = w->code, .enhanced = w->enhanced,
		.text = client_why_text(s->client), .text_len = w->text_len,
		.host = s->host, .ip = s->ip, .own_mx = !s->dest->routed,
	};

	if (s->state == SN_CONNECTING) {
		if (s->stream != NULL) {
			stream_abort(s->stream);
			return; /* on_closed() comes back here */
		}
		if (!s->waits_set)
			why.stage = HOLDFAST__SMTP_STAGE__STAGE_CONNECT;
		metric_add(s->pool->d->stage->metrics, DM_CONNECT_FAILURES, 1);
		s->tls_failed = w->stage == HOLDFAST__SMTP_STAGE__STAGE_TLS;
		metric_add(s->pool->d->stage->metrics, DM_REQUIRETLS_PASSED_OVER, s->unfit);
		s->others_failed |= !s->unfit;
		if (!s->pool->d->draining && try_elsewhere(s))
			return;
		if (s->unfit)
			blame_unfit(s, &why);
	}
	session_end(s, &why);
}

/* ---- mails */

static bool ends_in_crlf(const struct blob *b)
{
	return b->len == 0 || (b->len >= 2 && memcmp(b->data + b->len - 2, "\r\n", 2) == 0);
}

static void mail_start(struct session *s, struct job *j)
{
	struct session_mail *m = &s->mail[(s->head + s->n) % CLIENT_MAILS];
	const struct part *p = j->part;

	if (m->cap < j->n) {
		m->rcpt = xrealloc(m->rcpt, j->n * sizeof(*m->rcpt));
		m->cap = j->n;
	}
	for (unsigned i = 0; i < j->n; i++) {
		const struct rcpt *r = &p->rcpt[j->rcpt[i]];

		m->rcpt[i] = (struct client_rcpt){ r->addr, r->notify, r->orcpt };
	}
	m->job = j;
	s->n++;
	s->mails++;
	client_start(s->client, &(struct client_mail){
		.mail_from = p->mail_from, .rcpt = m->rcpt, .n_rcpt = j->n,
		.size = p->body->len, .eight_bit = p->eight_bit, .utf8 = p->utf8,
		.require_tls = s->dest->strict, .utf8_optional = part_is_report(p),
		.ends_in_crlf = ends_in_crlf(p->body), .ret = p->ret, .envid = p->envid });
}

static bool start_mails(struct session *s)
{
	bool any = false;

	while (client_can_start(s->client) && s->mails < conf_of(s)->connection_messages) {
		struct job *j = pool_next(s->pool, s->dest);

		if (j == NULL)
			break;
		mail_start(s, j);
		any = true;
	}
	return any;
}

static void flush(struct session *s)
{
	struct buf *out = client_out(s->client);

	if (out->len > 0 && s->stream != NULL)
		stream_write(s->stream, out->data, out->len);
	buf_reset(out);
}

static void send_body(struct session *s)
{
	struct blob *body = s->mail[s->head].job->part->body;
	const char *p = (const char *)body->data;
	size_t n = body->len;

	flush(s);
	if (client_body_is_raw(s->client) || !smtp_data_needs_stuffing(p, n)) {
		stream_write_blob(s->stream, body, 0, n);
	} else {
		struct buf out = BUF_INIT;
		bool bol = true;

		smtp_data_stuff(&out, p, n, &bol);
		stream_write(s->stream, out.data, out.len);
		buf_free(&out);
	}
	client_body_sent(s->client);
}

/* A connection that had served already was given up by the server before it took anything
 * of this mail: that says nothing about the mail, which goes to another connection.
 * The first mail of a connection never does, so this ends. */
static bool never_begun(const struct session *s, const struct client_result *r, unsigned n)
{
	if (s->mails - s->n == 0 || s->pool->d->draining)
		return false;
	for (unsigned i = 0; i < n; i++)
		if (r[i].stage != HOLDFAST__SMTP_STAGE__STAGE_MAIL ||
		    (r[i].code != 0 && r[i].code != 421))
			return false;
	return true;
}

static void mail_done(struct session *s)
{
	struct session_mail *m = &s->mail[s->head];
	const struct client_result *r = client_results(s->client);
	struct job *j = m->job;
	struct outcome *o = xcalloc(j->n, sizeof(*o));
	bool again = never_begun(s, r, j->n);

	for (unsigned i = 0; i < j->n; i++)
		o[i] = (struct outcome){
			.stage = r[i].stage, .code = r[i].code, .enhanced = r[i].enhanced,
			.text = client_text(s->client, &r[i]), .text_len = r[i].text_len,
			.host = s->host, .ip = s->ip, .own_mx = !s->dest->routed,
			.dsn_passed = client_offers(s->client, CLX_DSN) };
	if (client_unsure(s->client))
		metric_add(s->pool->d->stage->metrics, DM_DUPLICATES, j->n);
	m->job = NULL;
	s->head = (s->head + 1) % CLIENT_MAILS;
	s->n--;
	s->pool->in_flight--;
	s->dest->n_jobs--;
	job_goto(j, JOB_NEW);
	if (again)
		dest_push(s->dest, j);
	else
		finish_job(s->pool->d, j, o);
	client_next(s->client);
	xfree(o);
}

/* ---- the pump: engine's actions until it waits */

static void secure(struct session *s)
{
	const struct delivery *d = s->pool->d;

	flush(s);
	if (s->stream == NULL ||
	    stream_secure_client(s->stream, s->dest->strict ? d->tls_strict : d->tls,
	                         s->host) != ERR_OK)
		client_secured(s->client, false, "TLS could not be started");
}

static void set_deadline(struct session *s)
{
	const struct delivery_conf *c = conf_of(s);
	const uint64_t wait[CLW__COUNT] = {
		[CLW_GREETING] = c->greeting_wait_ms, [CLW_HELLO] = c->command_wait_ms,
		[CLW_TLS] = c->tls_wait_ms, [CLW_IDLE] = 0,
		[CLW_COMMAND] = c->command_wait_ms, [CLW_DATA] = c->data_wait_ms,
		[CLW_BODY] = c->body_wait_ms, [CLW_END] = c->end_wait_ms,
		[CLW_QUIT] = c->quit_wait_ms,
	};
	enum client_wait now = client_waits(s->client);

	/* A reply that came is progress; the same wait begins anew for the next. */
	if (s->stream == NULL || (s->waits_set && s->waits == now && now == CLW_IDLE))
		return;
	s->waits = now;
	s->waits_set = true;
	stream_deadline(s->stream, wait[now]);
}

/* False: nothing is left to do in this turn. */
static bool on_wait(struct session *s)
{
	if (s->state == SN_WORKING) {
		if (start_mails(s))
			return true;
		if (s->n == 0 && (s->pool->d->draining || pool_is_short(s->pool) ||
		                  s->mails >= conf_of(s)->connection_messages))
			client_quit(s->client);
	}
	flush(s);
	set_deadline(s);
	if (s->state == SN_WORKING && s->n == 0 && client_waits(s->client) == CLW_IDLE) {
		if (client_can_start(s->client))
			session_goto(s, SN_IDLE);
		else
			return true; /* QUIT is to be said */
	}
	return false;
}

/* What a strict destination's host lacks; NULL: nothing. */
static const char *lack_of(const struct session *s)
{
	if (!s->dest->strict)
		return NULL;
	if (!client_is_secure(s->client))
		return "the host offers no TLS";
	return client_offers(s->client, CLX_REQUIRETLS) ? NULL
	                                                : "the host does not offer REQUIRETLS";
}

static void on_up(struct session *s)
{
	const char *lack = lack_of(s);

	if (lack != NULL) {
		s->unfit = true;
		client_lost(s->client, lack);
		return;
	}
	session_goto(s, SN_WORKING);
	s->dest->good = s->address;
	metric_add(s->pool->d->stage->metrics, DM_CONNECTIONS, 1);
	pool_session_up(s->pool, s->dest);
}

static void session_pump(struct session *s)
{
	for (;;) {
		switch (client_step(s->client)) {
		case CL_WAIT:
			if (on_wait(s))
				continue;
			return;
		case CL_SECURE:
			secure(s);
			continue;
		case CL_READY:
			on_up(s);
			continue;
		case CL_BODY:
			send_body(s);
			continue;
		case CL_DONE:
			mail_done(s);
			continue;
		case CL_CLOSE:
			flush(s);
			session_over(s);
			return;
		}
	}
}

/* ---- the stream's events */

static void on_connected(void *owner, enum err err)
{
	struct session *s = owner;

	if (s->state == SN_CLOSING)
		return;
	if (err == ERR_OK)
		set_deadline(s);
	else
		client_lost(s->client, err == ERR_REFUSED ? "connection refused"
		            : err == ERR_TIMEOUT ? "connection timed out" : "cannot connect");
}

static void on_data(void *owner, const char *p, size_t len)
{
	struct session *s = owner;

	if (s->state == SN_CLOSING)
		return;
	if (s->state == SN_IDLE)
		session_goto(s, SN_WORKING);
	if (!client_feed(s->client, p, len))
		client_lost(s->client, "replies without end");
	session_pump(s);
}

static void on_secured(void *owner, enum err err)
{
	struct session *s = owner;
	const char *why;

	if (s->state == SN_CLOSING)
		return;
	why = err != ERR_OK ? stream_tls_error(s->stream) : NULL;
	s->unfit = err != ERR_OK && s->dest->strict;
	client_secured(s->client, err == ERR_OK, why != NULL ? why : "TLS handshake failed");
	session_pump(s);
}

static void on_expired(void *owner)
{
	struct session *s = owner;

	if (s->state == SN_CLOSING) {
		stream_abort(s->stream);
		return;
	}
	client_lost(s->client, s->waits_set ? "no reply in time" : "connection timed out");
	session_pump(s);
	if (s->stream != NULL)
		stream_abort(s->stream);
}

static void on_closed(void *owner, enum err why)
{
	struct session *s = owner;

	s->stream = NULL;
	if (s->state != SN_CLOSING) {
		client_lost(s->client, "connection lost");
		session_pump(s);
	}
	if (s->state == SN_CLOSING)
		session_free(s);
}

static const struct stream_events session_events = {
	.data = on_data, .connected = on_connected, .secured = on_secured,
	.expired = on_expired, .closed = on_closed,
};

/* ---- the beginning */

static void name_peer(struct session *s, const struct address *a)
{
	const struct sockaddr *sa = (const struct sockaddr *)&a->sa;

	snprintf(s->host, sizeof(s->host), "%s", a->host);
	if (sa->sa_family == AF_INET)
		inet_ntop(AF_INET, &((const struct sockaddr_in *)sa)->sin_addr, s->ip,
		          sizeof(s->ip));
	else
		inet_ntop(AF_INET6, &((const struct sockaddr_in6 *)sa)->sin6_addr, s->ip,
		          sizeof(s->ip));
}

static void session_connect(struct session *s)
{
	const struct address *a;
	struct delivery *d = s->pool->d;

	if (s->address >= s->dest->n_address)
		s->address = 0; /* they were looked up anew meanwhile, and are fewer */
	a = &s->dest->address[s->address];
	name_peer(s, a);
	s->plain |= s->dest->no_tls || d->tls == NULL;
	s->unfit = false;
	s->client = client_new(&(struct client_conf){
		.hostname = d->stage->worker->common->hostname, .starttls = !s->plain,
		.chunking = d->conf->chunking });
	s->tls_failed = s->waits_set = false;
	if (stream_connect(d->stage->worker->loop, (const struct sockaddr *)&a->sa, NULL,
	                   &session_events, s, &s->stream) == ERR_OK) {
		stream_deadline(s->stream, d->conf->connect_wait_ms);
		return;
	}
	client_lost(s->client, "no socket for a connection");
	session_pump(s);
}

void session_open(struct pool *pool, struct dest *dest)
{
	struct session *s = xcalloc(1, sizeof(*s));

	s->pool = pool;
	s->dest = dest;
	s->address = dest->good < dest->n_address ? dest->good : 0;
	TAILQ_INSERT_TAIL(&pool->all, s, all);
	session_connect(s);
	if (s->state == SN_CLOSING && s->stream == NULL)
		session_free(s);
}

void session_wake(struct session *s)
{
	session_goto(s, SN_WORKING);
	session_pump(s);
}

void session_quit(struct session *s)
{
	if (s->state == SN_CLOSING)
		return;
	if (s->state == SN_CONNECTING) {
		client_lost(s->client, "stopping");
		session_pump(s);
		return;
	}
	client_quit(s->client);
	if (s->state == SN_IDLE)
		session_wake(s);
}

void session_abort(struct session *s)
{
	if (s->state != SN_CLOSING) {
		client_lost(s->client, "stopping");
		session_pump(s);
	}
	if (s->stream != NULL)
		stream_abort(s->stream);
}
