/* tests/unit/test_tls.c - a server's context: its certificates, its sessions, its bindings
 *
 * Each row has OpenSSL's own client meet a stream of ours, so that both sides are
 * asked what they think of the same connection.
 */
#include "lib/tls.h"
#include "tests/unit/stream_ends.h"
#include "tests/unit/tls_peer.h"

enum { PAIRS = 4 };

static char dir[] = "/tmp/hf-tlsctx-XXXXXX";
static char files[PAIRS][2][64];
static struct tls_pair pairs[PAIRS];
static struct tls_context *server_ctx; /* what secure_server() takes */

static const char *const names[PAIRS][2] = { /* CN, SANs */
	{ "default.example", NULL },
	{ "second.example", "DNS:b.example,DNS:c.example" },
	{ "wild.example", "DNS:*.wild.example,DNS:part*.example" },
	{ "exact.example", "DNS:exact.wild.example" },
};

static int write_pairs(void **state)
{
	assert_non_null(mkdtemp(dir));
	for (size_t i = 0; i < PAIRS; i++) {
		snprintf(files[i][0], sizeof(files[i][0]), "%s/%zu.cert", dir, i);
		snprintf(files[i][1], sizeof(files[i][1]), "%s/%zu.key", dir, i);
		pairs[i] = (struct tls_pair){ files[i][0], files[i][1] };
		pair_write(&pairs[i], names[i][0], names[i][1]);
	}
	return 0;
}

static int remove_pairs(void **state)
{
	for (size_t i = 0; i < PAIRS; i++) {
		unlink(files[i][0]);
		unlink(files[i][1]);
	}
	return rmdir(dir);
}

static struct tls_context *new_context(size_t n)
{
	struct tls_context *ctx = NULL;
	char why[256] = "";

	if (tls_server_context(pairs, n, &ctx, why) != ERR_OK)
		fail_msg("%s", why);
	return ctx;
}

/* --- a meeting of the two --- */

struct meeting {
	struct ends *t;
	struct foreign f;
};

static void greet(struct end *e)
{
	e->hook_on = EV_NONE;
	stream_write(e->s, "220 hi\r\n", 8);
}

static void secure_server(struct end *e)
{
	uint8_t out[STREAM_BINDING_MAX];
	size_t len = 0;

	e->hook_on = EV_SECURED;
	e->hook = greet;
	assert_int_equal(stream_secure_server(e->s, server_ctx), ERR_OK);
	assert_false(stream_tls_resumed(e->s));
	assert_null(stream_tls_sni(e->s));
	assert_int_equal(stream_tls_binding(e->s, true, out, sizeof(out), &len), ERR_BADSTATE);
}

static void meet_begin(struct meeting *m, int version, uint64_t options, const char *sni)
{
	void *ts;

	ends_setup(&ts);
	m->t = ts;
	m->t->accepted = secure_server;
	foreign_start(&m->f, raw_connect(m->t), version, options);
	if (sni != NULL)
		assert_int_equal(SSL_set_tlsext_host_name(m->f.ssl, sni), 1);
}

/* The handshake, and the greeting, before which a TLS 1.3 server sends its ticket. */
static void meet(struct meeting *m)
{
	struct buf got = BUF_INIT;

	foreign_connect(m->t, &m->f);
	assert_int_equal(foreign_read(m->t, &m->f, &got, 8), SSL_ERROR_NONE);
	assert_string_equal(buf_str(&got), "220 hi\r\n");
	assert_int_equal(m->t->server.secured, ERR_OK);
	buf_free(&got);
}

/* The session comes from the client's side of an orderly end. */
static SSL_SESSION *part(struct meeting *m)
{
	SSL_SESSION *session = SSL_get1_session(m->f.ssl);
	struct buf got = BUF_INIT;
	void *ts = m->t;

	if (m->t->server.s != NULL)
		stream_close(m->t->server.s);
	assert_int_equal(foreign_read(m->t, &m->f, &got, 0), SSL_ERROR_ZERO_RETURN);
	SSL_shutdown(m->f.ssl);
	foreign_end(&m->f);
	ends_run(m->t);
	ends_teardown(&ts);
	buf_free(&got);
	return session;
}

/* --- SNI --- */

static struct sni_row {
	const char *name, *sni, *cn;
} sni_rows[] = {
	{ "no SNI gets the first certificate", NULL, "default.example" },
	{ "a CN is a name when there are no SANs", "default.example", "default.example" },
	{ "an unknown name gets the first certificate", "who.example", "default.example" },
	{ "a SAN picks its certificate", "b.example", "second.example" },
	{ "so does the next SAN, in any case", "C.Example", "second.example" },
	{ "a CN is no name beside SANs", "second.example", "default.example" },
	{ "a wildcard stands for a label", "x.wild.example", "wild.example" },
	{ "a wildcard does not stand for two", "x.y.wild.example", "default.example" },
	{ "a wildcard does not stand for none", "wild.example", "default.example" },
	{ "a wildcard is a whole label", "party.example", "default.example" },
	{ "an exact name goes before a wildcard", "exact.wild.example", "exact.example" },
};

static void sni_picks(void **state)
{
	const struct sni_row *row = *state;
	static const int versions[] = { TLS1_2_VERSION, TLS1_3_VERSION };
	char cn[64];

	for (size_t i = 0; i < ARRAY_LEN(versions); i++) {
		struct meeting m;
		X509_NAME *subject;

		server_ctx = new_context(PAIRS);
		meet_begin(&m, versions[i], 0, row->sni);
		meet(&m);
		subject = X509_get_subject_name(SSL_get0_peer_certificate(m.f.ssl));
		X509_NAME_get_text_by_NID(subject, NID_commonName, cn, sizeof(cn));
		assert_string_equal(cn, row->cn);
		if (row->sni == NULL)
			assert_null(stream_tls_sni(m.t->server.s));
		else
			assert_string_equal(stream_tls_sni(m.t->server.s), row->sni);
		SSL_SESSION_free(part(&m));
		tls_context_free(&server_ctx);
	}
}

/* --- sessions --- */

enum change { SAME, INHERIT, INHERIT_TWICE, FRESH };

static struct resume_row {
	const char *name;
	int version;
	uint64_t options;
	const char *sni;
	enum change change;
	bool resumed;
} resume_rows[] = {
	{ "TLS 1.3 resumes by ticket", TLS1_3_VERSION, 0, NULL, SAME, true },
	{ "TLS 1.2 resumes by ticket", TLS1_2_VERSION, 0, NULL, SAME, true },
	{ "TLS 1.2 resumes by session id", TLS1_2_VERSION, SSL_OP_NO_TICKET, NULL, SAME, true },
	{ "TLS 1.3 resumes with the second certificate", TLS1_3_VERSION, 0, "b.example", SAME,
	  true },
	{ "TLS 1.2 resumes with the second certificate", TLS1_2_VERSION, 0, "b.example", SAME,
	  true },
	{ "TLS 1.3 resumes across a reload", TLS1_3_VERSION, 0, NULL, INHERIT, true },
	{ "TLS 1.2 resumes across a reload", TLS1_2_VERSION, 0, "b.example", INHERIT, true },
	{ "TLS 1.3 resumes across two reloads", TLS1_3_VERSION, 0, "b.example", INHERIT_TWICE,
	  true },
	{ "a context of its own keys does not know TLS 1.3 tickets", TLS1_3_VERSION, 0, NULL,
	  FRESH, false },
	{ "a context of its own keys does not know TLS 1.2 tickets", TLS1_2_VERSION, 0, NULL,
	  FRESH, false },
};

static void replace_context(bool inherit)
{
	struct tls_context *old = server_ctx;

	server_ctx = new_context(PAIRS);
	if (inherit)
		tls_server_inherit(server_ctx, old);
	tls_context_free(&old);
}

static void session_comes_back(void **state)
{
	const struct resume_row *row = *state;
	SSL_SESSION *session;
	struct meeting m;

	server_ctx = new_context(PAIRS);
	meet_begin(&m, row->version, row->options, row->sni);
	meet(&m);
	assert_false(stream_tls_resumed(m.t->server.s));
	assert_int_equal(SSL_session_reused(m.f.ssl), 0);
	session = part(&m);
	assert_int_equal(SSL_SESSION_has_ticket(session), row->options == 0);
	if (row->change != SAME)
		replace_context(row->change != FRESH);
	if (row->change == INHERIT_TWICE)
		replace_context(true);
	for (int i = 0; i < 2; i++) { /* what resumes can be resumed again */
		meet_begin(&m, row->version, row->options, row->sni);
		SSL_set_session(m.f.ssl, session);
		SSL_SESSION_free(session);
		meet(&m);
		assert_int_equal(stream_tls_resumed(m.t->server.s), row->resumed || i > 0);
		assert_int_equal(SSL_session_reused(m.f.ssl), row->resumed || i > 0);
		if (row->sni != NULL)
			assert_string_equal(stream_tls_sni(m.t->server.s), row->sni);
		session = part(&m);
	}
	SSL_SESSION_free(session);
	tls_context_free(&server_ctx);
}

/* --- channel bindings --- */

static struct bind_row {
	const char *name;
	int version;
	uint64_t options;
	bool again; /* look at a session that is resumed */
	enum err exporter, unique;
} bind_rows[] = {
	{ "TLS 1.3 has tls-exporter only", TLS1_3_VERSION, 0, false, ERR_OK, ERR_NOENT },
	{ "TLS 1.3 resumed has tls-exporter only", TLS1_3_VERSION, 0, true, ERR_OK, ERR_NOENT },
	{ "TLS 1.2 has both", TLS1_2_VERSION, 0, false, ERR_OK, ERR_OK },
	{ "TLS 1.2 resumed by ticket has both", TLS1_2_VERSION, 0, true, ERR_OK, ERR_OK },
	{ "TLS 1.2 resumed by id has both", TLS1_2_VERSION, SSL_OP_NO_TICKET, true, ERR_OK,
	  ERR_OK },
	{ "without extended master secret there is no tls-exporter", TLS1_2_VERSION,
	  SSL_OP_NO_EXTENDED_MASTER_SECRET, false, ERR_NOENT, ERR_OK },
	{ "without it and resumed there is none", TLS1_2_VERSION,
	  SSL_OP_NO_EXTENDED_MASTER_SECRET, true, ERR_NOENT, ERR_NOENT },
};

static void exporter_agrees(const struct meeting *m, enum err want)
{
	uint8_t ours[STREAM_BINDING_MAX], theirs[32];
	size_t len = 0;

	assert_int_equal(stream_tls_binding(m->t->server.s, true, ours, sizeof(ours), &len), want);
	if (want != ERR_OK) {
		assert_int_equal(len, 0);
		return;
	}
	assert_int_equal(SSL_export_keying_material(m->f.ssl, theirs, sizeof(theirs),
	                                            "EXPORTER-Channel-Binding", 24,
	                                            (const uint8_t *)"", 0, 1), 1);
	assert_int_equal(len, sizeof(theirs));
	assert_memory_equal(ours, theirs, len);
	assert_int_equal(stream_tls_binding(m->t->server.s, true, ours, 31, &len), ERR_TOOBIG);
}

static void unique_agrees(const struct meeting *m, enum err want)
{
	uint8_t ours[STREAM_BINDING_MAX], theirs[STREAM_BINDING_MAX];
	size_t len = 0, n;

	assert_int_equal(stream_tls_binding(m->t->server.s, false, ours, sizeof(ours), &len),
	                 want);
	if (want != ERR_OK) {
		assert_int_equal(len, 0);
		return;
	}
	n = SSL_session_reused(m->f.ssl) ? SSL_get_peer_finished(m->f.ssl, theirs, sizeof(theirs))
	                                 : SSL_get_finished(m->f.ssl, theirs, sizeof(theirs));
	assert_int_equal(len, 12);
	assert_int_equal(n, len);
	assert_memory_equal(ours, theirs, len);
	assert_int_equal(stream_tls_binding(m->t->server.s, false, ours, 11, &len), ERR_TOOBIG);
}

static void binding_is_of_both_sides(void **state)
{
	const struct bind_row *row = *state;
	struct meeting m;

	server_ctx = new_context(1);
	meet_begin(&m, row->version, row->options, NULL);
	meet(&m);
	if (row->again) {
		SSL_SESSION *session = part(&m);

		meet_begin(&m, row->version, row->options, NULL);
		SSL_set_session(m.f.ssl, session);
		SSL_SESSION_free(session);
		meet(&m);
		assert_true(stream_tls_resumed(m.t->server.s));
	}
	exporter_agrees(&m, row->exporter);
	unique_agrees(&m, row->unique);
	SSL_SESSION_free(part(&m));
	tls_context_free(&server_ctx);
}

static struct tls_context *client_ctx;

static void secure_our_client(struct end *e)
{
	assert_int_equal(stream_secure_client(e->s, client_ctx, "b.example"), ERR_OK);
	assert_null(stream_tls_sni(e->s));
}

static void our_client_binds_alike(void **state)
{
	uint8_t a[STREAM_BINDING_MAX], b[STREAM_BINDING_MAX];
	struct ends *t = *state;
	size_t n, m;

	server_ctx = new_context(PAIRS);
	assert_int_equal(tls_client_context(&client_ctx), ERR_OK);
	t->accepted = secure_server;
	t->client.hook_on = EV_CONNECTED;
	t->client.hook = secure_our_client;
	end_connect(t);
	while (t->client.n_data == 0)
		uv_run(&t->loop, UV_RUN_ONCE);
	assert_int_equal(stream_tls_binding(t->client.s, true, a, sizeof(a), &n), ERR_OK);
	assert_int_equal(stream_tls_binding(t->server.s, true, b, sizeof(b), &m), ERR_OK);
	assert_int_equal(n, m);
	assert_memory_equal(a, b, n);
	assert_string_equal(stream_tls_sni(t->client.s), "b.example");
	assert_false(stream_tls_resumed(t->client.s));
	stream_close(t->client.s);
	ends_run(t);
	tls_context_free(&server_ctx);
	tls_context_free(&client_ctx);
}

/* --- a context that goes before its streams --- */

static void stream_outlives_its_context(void **state)
{
	struct buf got = BUF_INIT;
	struct meeting m;

	server_ctx = new_context(PAIRS);
	meet_begin(&m, TLS1_3_VERSION, 0, "b.example");
	meet(&m);
	tls_context_free(&server_ctx);
	m.t->server.echo = true;
	assert_int_equal(SSL_write(m.f.ssl, "NOOP\r\n", 6), 6);
	assert_int_equal(foreign_read(m.t, &m.f, &got, 6), SSL_ERROR_NONE);
	assert_string_equal(buf_str(&got), "NOOP\r\n");
	buf_free(&got);
	SSL_SESSION_free(part(&m));
}

static void secure_and_free(struct end *e)
{
	secure_server(e);
	tls_context_free(&server_ctx);
}

/* The handshake goes on with the certificates of then, the ticket keys are the ring's. */
static void handshake_outlives_its_context(void **state)
{
	struct tls_context *next = new_context(1);
	SSL_SESSION *session;
	struct meeting m;
	char cn[64];

	server_ctx = new_context(PAIRS);
	tls_server_inherit(next, server_ctx);
	meet_begin(&m, TLS1_3_VERSION, 0, "b.example");
	m.t->accepted = secure_and_free;
	meet(&m);
	assert_null(server_ctx);
	X509_NAME_get_text_by_NID(X509_get_subject_name(SSL_get0_peer_certificate(m.f.ssl)),
	                          NID_commonName, cn, sizeof(cn));
	assert_string_equal(cn, "second.example");
	session = part(&m);
	server_ctx = next;
	meet_begin(&m, TLS1_3_VERSION, 0, "b.example");
	SSL_set_session(m.f.ssl, session);
	SSL_SESSION_free(session);
	meet(&m);
	assert_true(stream_tls_resumed(m.t->server.s));
	SSL_SESSION_free(part(&m));
	tls_context_free(&server_ctx);
}

/* --- all --- */

static const struct CMUnitTest tests[] = {
	cmocka_unit_test_setup_teardown(our_client_binds_alike, ends_setup, ends_teardown),
	cmocka_unit_test(stream_outlives_its_context),
	cmocka_unit_test(handshake_outlives_its_context),
};

#define ADD_ROWS(rows, fn)                                                       \
	do {                                                                     \
		for (size_t i = 0; i < ARRAY_LEN(rows); i++)                     \
			all[n++] = (struct CMUnitTest){ .name = (rows)[i].name,  \
			                                .test_func = (fn),       \
			                                .initial_state = &(rows)[i] }; \
	} while (0)

int main(void)
{
	struct CMUnitTest all[ARRAY_LEN(tests) + ARRAY_LEN(sni_rows) + ARRAY_LEN(resume_rows) +
	                      ARRAY_LEN(bind_rows)];
	size_t n = ARRAY_LEN(tests);

	memcpy(all, tests, sizeof(tests));
	ADD_ROWS(sni_rows, sni_picks);
	ADD_ROWS(resume_rows, session_comes_back);
	ADD_ROWS(bind_rows, binding_is_of_both_sides);
	return cmocka_run_group_tests_name("tls", all, write_pairs, remove_pairs);
}
