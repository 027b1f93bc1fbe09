/* tests/unit/test_delivery_tls.c - delivery to servers that offer STARTTLS, well or badly
 *
 * The server here is one lib/stream.h end with a certificate made on the spot.  Badly means:
 * it says 220 and then speaks no TLS; opportunistic TLS then goes on without.
 */
#include "tests/unit/delivery_rig.h"
#include "lib/stream.h"
#include "lib/tls.h"
#include "tests/unit/tls_peer.h"

#define BODY "Subject: hi\r\n\r\nHello\r\n"

enum manner { MN_GOOD, MN_GARBAGE, MN_REFUSES, MN_INJECTS };

struct server {
	uv_tcp_t listener;
	struct tls_context *ctx;
	enum manner manner;
	bool requiretls;       /* is offered, over TLS */
	bool refuses_rcpt;
	unsigned connections, mails, secure_mails, strict_mails, open;
};

struct conn {
	struct server *v;
	struct stream *s;
	struct buf in;
	bool in_data, strict;
};

static struct server server;
static char dir[] = "/tmp/hf-dtl-XXXXXX";
static char route_key[] = "*", route_value[32];
static char *route_keys[] = { route_key }, *route_values[] = { route_value };

/* ---- the server */

static void say(struct conn *c, const char *text)
{
	stream_write(c->s, text, strlen(text));
}

static void starttls(struct conn *c)
{
	switch (c->v->manner) {
	case MN_GOOD:
		say(c, "220 go\r\n");
		assert_int_equal(stream_secure_server(c->s, c->v->ctx), ERR_OK);
		break;
	case MN_GARBAGE:
		say(c, "220 go\r\n");
		break; /* and answers the ClientHello as if it were a command */
	case MN_INJECTS:
		say(c, "220 go\r\n250 ok\r\n");
		break;
	case MN_REFUSES:
		say(c, "454 4.7.0 not now\r\n");
		break;
	}
}

static void command(struct conn *c, const char *line)
{
	if (strncmp(line, "EHLO", 4) == 0) {
		say(c, !stream_is_secure(c->s) ? "250-mx\r\n250 STARTTLS\r\n"
		       : c->v->requiretls ? "250-mx\r\n250 REQUIRETLS\r\n" : "250 mx\r\n");
	} else if (strcmp(line, "STARTTLS") == 0) {
		starttls(c);
	} else if (strcmp(line, "DATA") == 0) {
		c->in_data = true;
		say(c, "354 go\r\n");
	} else if (strcmp(line, "QUIT") == 0) {
		say(c, "221 bye\r\n");
		stream_close(c->s);
	} else if (strncmp(line, "MAIL", 4) == 0 || strncmp(line, "RCPT", 4) == 0 ||
	           strcmp(line, "RSET") == 0) {
		if (*line == 'M')
			c->strict = strstr(line, " REQUIRETLS") != NULL;
		if (line[1] == 'C' && c->v->refuses_rcpt)
			say(c, "550 5.1.1 no such user\r\n");
		else
			say(c, "250 ok\r\n");
	} else {
		say(c, "500 what\r\n");
		stream_close(c->s);
	}
}

static void on_line(struct conn *c, const char *line)
{
	if (!c->in_data) {
		command(c, line);
	} else if (strcmp(line, ".") == 0) {
		c->in_data = false;
		c->v->mails++;
		c->v->secure_mails += stream_is_secure(c->s);
		c->v->strict_mails += c->strict;
		say(c, "250 taken\r\n");
	}
}

static void on_data(void *owner, const char *p, size_t len)
{
	struct conn *c = owner;
	char *end;

	buf_add(&c->in, p, len);
	while ((end = memchr(buf_str(&c->in), '\n', c->in.len)) != NULL) {
		size_t used = (size_t)(end - c->in.data) + 1;

		end[end > c->in.data && end[-1] == '\r' ? -1 : 0] = '\0';
		on_line(c, c->in.data);
		buf_consume(&c->in, used);
	}
	if (c->in.len > 64 && c->v->manner == MN_GARBAGE) {
		say(c, "500 what\r\n");
		buf_reset(&c->in);
	}
}

/* A client that does not trust the certificate says so and goes. */
static void on_secured(void *owner, enum err err)
{
	(void)owner;
	(void)err;
}

static void on_closed(void *owner, enum err why)
{
	struct conn *c = owner;

	c->v->open--;
	buf_free(&c->in);
	xfree(c);
}

static const struct stream_events events = { .data = on_data, .secured = on_secured,
                                             .closed = on_closed };

static void on_connection(uv_stream_t *listener, int status)
{
	struct conn *c = xcalloc(1, sizeof(*c));

	c->v = listener->data;
	assert_int_equal(stream_accept(listener, &events, c, &c->s), ERR_OK);
	c->v->open++;
	c->v->connections++;
	say(c, "220 mx ESMTP\r\n");
}

enum { GOOD, OTHER_NAME, PAIRS };

static struct tls_pair pairs[PAIRS];
static char files[PAIRS][2][64];
static struct tls_context *contexts[PAIRS];

static int group_setup(void **state)
{
	static const char *const sans[PAIRS] = { "IP:127.0.0.1", "DNS:other.test" };
	char why[256];

	assert_non_null(mkdtemp(dir));
	for (unsigned i = 0; i < PAIRS; i++) {
		snprintf(files[i][0], sizeof(files[i][0]), "%s/%u.cert", dir, i);
		snprintf(files[i][1], sizeof(files[i][1]), "%s/%u.key", dir, i);
		pairs[i] = (struct tls_pair){ files[i][0], files[i][1] };
		pair_write(&pairs[i], "mx.test", sans[i]);
		assert_int_equal(tls_server_context(&pairs[i], 1, &contexts[i], why), ERR_OK);
	}
	return 0;
}

static int group_teardown(void **state)
{
	for (unsigned i = 0; i < PAIRS; i++)
		tls_context_free(&contexts[i]);
	rig_remove_tree(dir);
	return 0;
}

static int setup_stopped(void **state)
{
	struct rig *r;
	struct sockaddr_in sa;
	int len = sizeof(sa);

	rig_setup(state);
	r = *state;
	server = (struct server){ .ctx = contexts[GOOD] };
	uv_ip4_addr("127.0.0.1", 0, &sa);
	uv_tcp_init(&r->loop, &server.listener);
	server.listener.data = &server;
	assert_int_equal(uv_tcp_bind(&server.listener, (struct sockaddr *)&sa, 0), 0);
	assert_int_equal(uv_listen((uv_stream_t *)&server.listener, 8, on_connection), 0);
	uv_tcp_getsockname(&server.listener, (struct sockaddr *)&sa, &len);
	snprintf(route_value, sizeof(route_value), "127.0.0.1:%u", ntohs(sa.sin_port));
	r->conf.routes = (struct conf_map){ route_keys, route_values, 1 };
	r->conf.starttls = true;
	r->conf.destination_connections = 1;
	return 0;
}

static int setup(void **state)
{
	setup_stopped(state);
	rig_start(*state);
	return 0;
}

static int teardown(void **state)
{
	struct rig *r = *state;

	uv_close((uv_handle_t *)&server.listener, NULL);
	rig_stop(r);
	assert_int_equal(server.open, 0);
	return rig_teardown(state);
}

static void deliver(struct rig *r, enum manner manner)
{
	struct letter l;

	server.manner = manner;
	letter_make(&l, "a@x.test", strlen(BODY));
	rig_hand(r, &l, BODY);
	RIG_UNTIL(r, server.mails == 1 && tally_parts(r->d->tally) == 0);
	assert_int_equal(metric_value(r->stage.metrics, DM_DEFERRALS), 0);
}

static void mail_goes_over_tls_where_it_is_offered(void **state)
{
	deliver(*state, MN_GOOD);
	assert_int_equal(server.secure_mails, 1);
	assert_int_equal(server.connections, 1);
}

static void a_refusal_of_starttls_goes_on_in_the_clear(void **state)
{
	deliver(*state, MN_REFUSES);
	assert_int_equal(server.secure_mails, 0);
	assert_int_equal(server.connections, 1);
}

static void a_broken_handshake_is_followed_by_a_connection_without_tls(void **state)
{
	deliver(*state, MN_GARBAGE);
	assert_int_equal(server.secure_mails, 0);
	assert_int_equal(server.connections, 2);
}

static void injected_replies_end_that_connection(void **state)
{
	deliver(*state, MN_INJECTS);
	assert_int_equal(server.connections, 2);
	assert_int_equal(server.mails, 1);
}

/* ---- REQUIRETLS: rows */

struct ended { Holdfast__EventKind kind; Holdfast__SmtpStage stage; char enhanced[12], text[256]; };

static void take_event(void *arg, const Holdfast__Event *ev)
{
	struct ended *e = arg;

	if (ev->account.len == 0 || ev->kind == HOLDFAST__EVENT_KIND__EVENT_ACCEPTED)
		return;
	e->kind = ev->kind;
	e->stage = ev->evidence->stage;
	snprintf(e->enhanced, sizeof(e->enhanced), "%.*s", (int)ev->evidence->enhanced.len,
	         (const char *)ev->evidence->enhanced.data);
	snprintf(e->text, sizeof(e->text), "%.*s", (int)ev->evidence->text.len,
	         (const char *)ev->evidence->text.data);
}

static struct ended ended(struct rig *r)
{
	struct ended e = { 0 };

	assert_int_equal(outbox_each(r->d->outbox, take_event, &e), ERR_OK);
	return e;
}

static const struct strict_row {
	const char *name;
	unsigned    cert;     /* of the server */
	unsigned    ca;       /* whose certificate is trusted */
	enum manner manner;
	bool        offered;
	const char *why;      /* it bounces; NULL: it is delivered */
} strict_rows[] = {
	{ "REQUIRETLS goes to a host that proves its name and offers it", GOOD, GOOD, MN_GOOD, true,
	  NULL },
	{ "REQUIRETLS bounces where it is not offered", GOOD, GOOD, MN_GOOD, false,
	  "REQUIRETLS support required: the host does not offer REQUIRETLS" },
	{ "REQUIRETLS bounces where the certificate is of nobody we trust", GOOD, OTHER_NAME,
	  MN_GOOD, true, "REQUIRETLS support required: self-signed certificate" },
	{ "REQUIRETLS bounces where the certificate is another's", OTHER_NAME, OTHER_NAME, MN_GOOD,
	  true, "REQUIRETLS support required: IP address mismatch" },
	{ "REQUIRETLS bounces where STARTTLS is refused", GOOD, GOOD, MN_REFUSES, true,
	  "REQUIRETLS support required: the host offers no TLS" },
	{ "REQUIRETLS is never sent in the clear behind a broken handshake", GOOD, GOOD, MN_GARBAGE,
	  true, "REQUIRETLS support required: wrong version number" },
};

static const struct strict_row *row;

static int strict_setup(void **state)
{
	struct rig *r;

	row = *state;
	setup_stopped(state);
	r = *state;
	r->conf.tls_ca = files[row->ca][0];
	rig_start(r);
	server.ctx = contexts[row->cert];
	server.manner = row->manner;
	server.requiretls = row->offered;
	return 0;
}

static void hand_strict(struct rig *r, const char *from)
{
	struct letter l;

	letter_make(&l, "a@x.test", strlen(BODY));
	l.env.mail_from = pb_str(from);
	l.env.require_tls = true;
	rig_hand(r, &l, BODY);
}

static void strict_row_ends(void **state)
{
	struct rig *r = *state;
	struct ended e;

	hand_strict(r, "sender@acme.test");
	RIG_UNTIL(r, (e = ended(r)).kind != HOLDFAST__EVENT_KIND__EVENT_NONE);
	if (row->why == NULL) {
		assert_int_equal(e.kind, HOLDFAST__EVENT_KIND__EVENT_DELIVERED);
		assert_int_equal(server.secure_mails, 1);
		assert_int_equal(server.strict_mails, 1);
		return;
	}
	assert_int_equal(e.kind, HOLDFAST__EVENT_KIND__EVENT_BOUNCED);
	assert_string_equal(e.enhanced, "5.7.30");
	assert_string_equal(e.text, row->why);
	assert_int_equal(e.stage, HOLDFAST__SMTP_STAGE__STAGE_TLS);
	assert_int_equal(server.mails, 0);
	assert_true(metric_value(r->stage.metrics, DM_REQUIRETLS_PASSED_OVER) > 0);
	assert_int_equal(metric_value(r->stage.metrics, DM_REPORTS), 1);
}

/* ---- REQUIRETLS: the rest */

static void start_strict(struct rig *r, bool offered)
{
	r->conf.tls_ca = files[GOOD][0];
	r->conf.recheck_age_ms = UINT64_MAX;
	server.requiretls = offered;
	rig_start(r);
}

static void a_host_that_cannot_be_asked_is_a_reason_to_wait(void **state)
{
	struct rig *r = *state;

	snprintf(route_value, sizeof(route_value), "127.0.0.1:1");
	start_strict(r, true);
	hand_strict(r, "sender@acme.test");
	RIG_UNTIL(r, metric_value(r->stage.metrics, DM_DEFERRALS) == 1);
	assert_int_equal(ended(r).kind, HOLDFAST__EVENT_KIND__EVENT_NONE);
	assert_int_equal(metric_value(r->stage.metrics, DM_REQUIRETLS_PASSED_OVER), 0);
}

static void a_report_goes_strictly_first_and_then_anyhow(void **state)
{
	struct rig *r = *state;

	r->conf.retry_min_ms = r->conf.destination_pause_ms = 1;
	start_strict(r, false);
	hand_strict(r, "");
	RIG_UNTIL(r, server.mails == 1 && tally_parts(r->d->tally) == 0);
	assert_int_equal(server.strict_mails, 0);
	assert_int_equal(ended(r).kind, HOLDFAST__EVENT_KIND__EVENT_DELIVERED);
	assert_int_equal(metric_value(r->stage.metrics, DM_REQUIRETLS_PASSED_OVER), 1);
}

static void the_report_on_a_strict_mail_asks_for_tls_too(void **state)
{
	struct rig *r = *state;

	start_strict(r, true);
	server.refuses_rcpt = true;
	hand_strict(r, "sender@acme.test");
	RIG_UNTIL(r, ended(r).kind == HOLDFAST__EVENT_KIND__EVENT_BOUNCED);
	server.refuses_rcpt = false;
	RIG_UNTIL(r, server.mails == 1);
	assert_int_equal(server.strict_mails, 1);
}

static void strict_and_other_mail_share_no_connection(void **state)
{
	struct rig *r = *state;

	start_strict(r, true);
	for (int i = 0; i < 10; i++) {
		struct letter l;

		letter_make(&l, "a@x.test", strlen(BODY));
		rig_hand(r, &l, BODY);
		hand_strict(r, "sender@acme.test");
	}
	RIG_UNTIL(r, server.mails == 20 && tally_parts(r->d->tally) == 0);
	assert_int_equal(server.strict_mails, 10);
	assert_int_equal(server.connections, 2);
}

/* Two hosts, as MX would have named them: the server, and a port where nobody is. */
static void know_two_hosts(struct rig *r)
{
	struct dest *d = pool_dest(r->d->pool, "\1x.test");
	unsigned port = 0;

	assert_int_equal(sscanf(route_value, "127.0.0.1:%u", &port), 1);
	d->address = xcalloc(2, sizeof(*d->address));
	d->n_address = 2;
	d->known_until_ms = UINT64_MAX;
	for (unsigned i = 0; i < 2; i++) {
		uv_ip4_addr("127.0.0.1", i == 0 ? (int)port : 1,
		            (struct sockaddr_in *)&d->address[i].sa);
		snprintf(d->address[i].host, sizeof(d->address[i].host), "127.0.0.1");
	}
}

static void one_host_unfit_and_another_down_is_a_reason_to_wait(void **state)
{
	struct rig *r = *state;

	start_strict(r, false);
	know_two_hosts(r);
	hand_strict(r, "sender@acme.test");
	RIG_UNTIL(r, metric_value(r->stage.metrics, DM_DEFERRALS) == 1);
	assert_int_equal(metric_value(r->stage.metrics, DM_REQUIRETLS_PASSED_OVER), 1);
	assert_int_equal(ended(r).kind, HOLDFAST__EVENT_KIND__EVENT_NONE);
	assert_int_equal(metric_value(r->stage.metrics, DM_REPORTS), 0);
}

static void strict_mail_beyond_a_share_of_memory_stays_strict(void **state)
{
	struct rig *r = *state;

	r->conf.destination_active = 2;
	r->conf.active_bytes = 0;
	start_strict(r, true);
	for (int i = 0; i < 30; i++)
		hand_strict(r, "sender@acme.test");
	RIG_UNTIL(r, server.mails == 30 && tally_parts(r->d->tally) == 0);
	assert_int_equal(server.strict_mails, 30);
	assert_int_equal(server.secure_mails, 30);
}

static void an_authority_that_cannot_be_read_stops_the_start(void **state)
{
	struct tls_context *ctx = NULL;
	char why[256] = "";

	(void)state;
	assert_int_equal(tls_client_verify_context("/nonexistent/ca", &ctx, why), ERR_IO);
	assert_null(ctx);
	assert_non_null(strstr(why, "/nonexistent/ca"));
}

#define IN_TLS(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
#define IN_STRICT(fn) cmocka_unit_test_setup_teardown(fn, setup_stopped, teardown)

int main(void)
{
	static const struct CMUnitTest others[] = {
		IN_TLS(mail_goes_over_tls_where_it_is_offered),
		IN_TLS(a_refusal_of_starttls_goes_on_in_the_clear),
		IN_TLS(a_broken_handshake_is_followed_by_a_connection_without_tls),
		IN_TLS(injected_replies_end_that_connection),
		IN_STRICT(a_host_that_cannot_be_asked_is_a_reason_to_wait),
		IN_STRICT(one_host_unfit_and_another_down_is_a_reason_to_wait),
		IN_STRICT(strict_mail_beyond_a_share_of_memory_stays_strict),
		IN_STRICT(a_report_goes_strictly_first_and_then_anyhow),
		IN_STRICT(the_report_on_a_strict_mail_asks_for_tls_too),
		IN_STRICT(strict_and_other_mail_share_no_connection),
		cmocka_unit_test(an_authority_that_cannot_be_read_stops_the_start),
	};
	struct CMUnitTest tests[ARRAY_LEN(strict_rows) + ARRAY_LEN(others)];
	size_t n = ARRAY_LEN(strict_rows);

	for (size_t i = 0; i < n; i++)
		tests[i] = (struct CMUnitTest){ strict_rows[i].name, strict_row_ends, strict_setup,
		                                teardown, (void *)(uintptr_t)&strict_rows[i] };
	memcpy(tests + n, others, sizeof(others));
	return cmocka_run_group_tests_name("delivery_tls", tests, group_setup, group_teardown);
}
