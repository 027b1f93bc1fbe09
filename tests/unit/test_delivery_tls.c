/* tests/unit/test_delivery_tls.c - delivery to servers that offer STARTTLS, well or badly
 *
 * The server here is one lib/stream.h end with a certificate made on the spot.  Badly means:
 * it says 220 and then speaks no TLS; opportunistic TLS then goes on without.
 */
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include "tests/unit/delivery_rig.h"
#include "lib/stream.h"
#include "lib/tls.h"

#define BODY "Subject: hi\r\n\r\nHello\r\n"

enum manner { MN_GOOD, MN_GARBAGE, MN_REFUSES, MN_INJECTS };

struct server {
	uv_tcp_t listener;
	struct tls_context *ctx;
	enum manner manner;
	unsigned connections, mails, secure_mails, open;
};

struct conn {
	struct server *v;
	struct stream *s;
	struct buf in;
	bool in_data;
};

static struct server server;
static char dir[] = "/tmp/hf-dtl-XXXXXX", cert[64], key[64];
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
		say(c, stream_is_secure(c->s) ? "250 mx\r\n" : "250-mx\r\n250 STARTTLS\r\n");
	} else if (strcmp(line, "STARTTLS") == 0) {
		starttls(c);
	} else if (strcmp(line, "DATA") == 0) {
		c->in_data = true;
		say(c, "354 go\r\n");
	} else if (strcmp(line, "QUIT") == 0) {
		say(c, "221 bye\r\n");
		stream_close(c->s);
	} else if (strncmp(line, "MAIL", 4) == 0 || strncmp(line, "RCPT", 4) == 0) {
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

static void on_secured(void *owner, enum err err)
{
	assert_int_equal(err, ERR_OK);
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

static void write_pair(void)
{
	EVP_PKEY *k = EVP_EC_gen("P-256");
	X509 *x = X509_new();
	FILE *f;

	X509_gmtime_adj(X509_getm_notBefore(x), -60);
	X509_gmtime_adj(X509_getm_notAfter(x), 3600);
	X509_set_pubkey(x, k);
	assert_true(X509_sign(x, k, EVP_sha256()) > 0);
	f = fopen(cert, "w");
	assert_non_null(f);
	assert_int_equal(PEM_write_X509(f, x), 1);
	fclose(f);
	f = fopen(key, "w");
	assert_non_null(f);
	assert_int_equal(PEM_write_PrivateKey(f, k, NULL, NULL, 0, NULL, NULL), 1);
	fclose(f);
	X509_free(x);
	EVP_PKEY_free(k);
}

static int group_setup(void **state)
{
	char why[256];

	assert_non_null(mkdtemp(dir));
	snprintf(cert, sizeof(cert), "%s/cert.pem", dir);
	snprintf(key, sizeof(key), "%s/key.pem", dir);
	write_pair();
	assert_int_equal(tls_server_context(&(struct tls_pair){ cert, key }, 1, &server.ctx, why),
	                 ERR_OK);
	return 0;
}

static int group_teardown(void **state)
{
	tls_context_free(&server.ctx);
	rig_remove_tree(dir);
	return 0;
}

static int setup(void **state)
{
	struct rig *r;
	struct sockaddr_in sa;
	int len = sizeof(sa);

	rig_setup(state);
	r = *state;
	server = (struct server){ .ctx = server.ctx };
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
	rig_start(r);
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

#define IN_TLS(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		IN_TLS(mail_goes_over_tls_where_it_is_offered),
		IN_TLS(a_refusal_of_starttls_goes_on_in_the_clear),
		IN_TLS(a_broken_handshake_is_followed_by_a_connection_without_tls),
		IN_TLS(injected_replies_end_that_connection),
	};

	return cmocka_run_group_tests_name("delivery_tls", tests, group_setup, group_teardown);
}
