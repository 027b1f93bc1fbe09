/* tests/unit/test_stream_tls.c - TLS on streams: both our ends, and OpenSSL's own client
 *
 * The certificate is made here, so that no key lies in the repository.
 */
#include "lib/tls.h"
#include "tests/unit/stream_ends.h"
#include "tests/unit/tls_peer.h"

enum { MIB = 1 << 20 };

static char dir[] = "/tmp/hf-tls-XXXXXX";
static char cert_file[64], key_file[64];
static struct tls_context *server_ctx, *client_ctx;

static int make_contexts(void **state)
{
	struct tls_pair pair = { cert_file, key_file };
	char why[256];

	assert_non_null(mkdtemp(dir));
	snprintf(cert_file, sizeof(cert_file), "%s/cert.pem", dir);
	snprintf(key_file, sizeof(key_file), "%s/key.pem", dir);
	pair_write(&pair, "mx.example", NULL);
	assert_int_equal(tls_server_context(&pair, 1, &server_ctx, why), ERR_OK);
	assert_int_equal(tls_client_context(&client_ctx), ERR_OK);
	return 0;
}

static int free_contexts(void **state)
{
	tls_context_free(&server_ctx);
	tls_context_free(&client_ctx);
	tls_context_free(&client_ctx);
	unlink(cert_file);
	unlink(key_file);
	rmdir(dir);
	return 0;
}

static void bad_files_are_explained(void **state)
{
	const struct tls_pair pairs[] = {
		{ cert_file, key_file }, { "/nonexistent", key_file }, { cert_file, cert_file },
	};
	struct tls_context *ctx = NULL;
	char why[256] = "";

	assert_int_equal(tls_server_context(&pairs[1], 1, &ctx, why), ERR_IO);
	assert_non_null(strstr(why, "/nonexistent"));
	assert_int_equal(tls_server_context(&pairs[2], 1, &ctx, why), ERR_IO);
	assert_non_null(strstr(why, "key"));
	why[0] = '\0';
	assert_int_equal(tls_server_context(pairs, 2, &ctx, why), ERR_IO);
	assert_non_null(strstr(why, "/nonexistent"));
	assert_null(ctx);
}

/* --- our server and our client --- */

static void secure_server(struct end *e)
{
	assert_int_equal(stream_secure_server(e->s, server_ctx), ERR_OK);
	assert_int_equal(stream_secure_server(e->s, server_ctx), ERR_BADSTATE);
	assert_false(stream_is_secure(e->s));
	assert_null(stream_tls_version(e->s));
}

static void secure_client(struct end *e)
{
	assert_int_equal(stream_secure_client(e->s, client_ctx, "mx.example"), ERR_OK);
	assert_int_equal(e->n_secured, 0);
}

/* Written before the handshake is over: it must wait for it, and not leak. */
static void secure_client_and_write(struct end *e)
{
	secure_client(e);
	write_pattern(e->s, MIB);
	e->hook_on = EV_NONE;
}

static void close_at_mib(struct end *e)
{
	if (e->got.len == MIB)
		stream_close(e->s);
}

static void client_hook(struct end *e)
{
	if (e->n_secured == 0)
		secure_client_and_write(e);
}

static void mebibyte_is_echoed_under_tls(void **state)
{
	struct ends *t = *state;

	t->accepted = secure_server;
	t->server.echo = true;
	t->client.hook_on = EV_CONNECTED;
	t->client.hook = client_hook;
	end_connect(t);
	while (t->client.n_secured == 0)
		uv_run(&t->loop, UV_RUN_ONCE);
	assert_int_equal(t->client.secured, ERR_OK);
	assert_string_equal(stream_tls_version(t->client.s), "TLS1.3");
	assert_non_null(stream_tls_cipher(t->client.s));
	assert_true(stream_is_secure(t->client.s));
	t->client.hook_on = EV_DATA;
	t->client.hook = close_at_mib;
	ends_run(t);
	assert_pattern(&t->client.got, MIB);
	assert_int_equal(t->server.secured, ERR_OK);
	assert_int_equal(t->server.n_secured, 1);
	assert_int_equal(t->client.closed, ERR_OK);
	assert_int_equal(t->server.closed, ERR_OK);
}

static int freed_blobs;

static void count_free(void *hint)
{
	freed_blobs++;
}

static void write_blob_and_close(struct end *e)
{
	static char bytes[MIB];
	struct blob *blob = blob_wrap(bytes, MIB, count_free, NULL);

	for (size_t i = 0; i < MIB; i++)
		bytes[i] = (char)pattern(i);
	stream_write(e->s, bytes, 3);
	stream_write_blob(e->s, blob, 3, MIB - 3);
	blob_unref(&blob);
	stream_close(e->s);
}

static void resume_later(uv_timer_t *timer)
{
	struct end *e = timer->data;

	e->paused = false;
	if (e->s != NULL) /* the end of a peer may be seen in a pause */
		stream_resume(e->s);
	uv_close((uv_handle_t *)timer, (uv_close_cb)free);
}

static void pause_now_and_then(struct end *e)
{
	uv_timer_t *timer;

	if (e->n_data % 4 != 1)
		return;
	stream_pause(e->s);
	e->paused = true;
	timer = calloc(1, sizeof(*timer));
	uv_timer_init(&e->all->loop, timer);
	timer->data = e;
	uv_timer_start(timer, resume_later, 5, 0);
}

static void secured_then_blob(struct end *e)
{
	e->hook_on = EV_SECURED;
	e->hook = write_blob_and_close;
	secure_client(e);
}

static void pauses_under_tls_lose_nothing(void **state)
{
	struct ends *t = *state;

	freed_blobs = 0;
	t->accepted = secure_server;
	t->server.hook_on = EV_DATA;
	t->server.hook = pause_now_and_then;
	t->client.hook_on = EV_CONNECTED;
	t->client.hook = secured_then_blob;
	end_connect(t);
	ends_run(t);
	assert_true(t->server.n_data > 4);
	assert_pattern(&t->server.got, MIB);
	assert_int_equal(freed_blobs, 1);
	assert_int_equal(t->client.closed, ERR_OK);
	assert_int_equal(t->server.closed, ERR_OK);
}

static void abort_it(struct end *e)
{
	stream_abort(e->s);
	stream_close(e->s);
}

static void abort_when_secured(struct end *e)
{
	e->hook_on = EV_SECURED;
	e->hook = abort_it;
	secure_client(e);
}

static void abort_in_secured_is_safe(void **state)
{
	struct ends *t = *state;

	t->accepted = secure_server;
	t->client.hook_on = EV_CONNECTED;
	t->client.hook = abort_when_secured;
	end_connect(t);
	ends_run(t);
	assert_int_equal(t->client.n_secured, 1);
	assert_int_equal(t->client.n_closed, 1);
	assert_int_equal(t->client.closed, ERR_OK);
	assert_int_equal(t->server.n_closed, 1);
}

/* --- peers that do not speak TLS --- */

static void junk_instead_of_hello_is_a_protocol_error(void **state)
{
	struct ends *t = *state;
	struct buf alert = BUF_INIT;
	int fd;

	t->accepted = secure_server;
	fd = raw_connect(t);
	assert_int_equal(send(fd, "EHLO client.example\r\n", 21, 0), 21);
	raw_read_to_end(t, fd, &alert);
	ends_run(t);
	buf_free(&alert);
	assert_int_equal(t->server.n_secured, 1);
	assert_int_equal(t->server.secured, ERR_PROTO);
	assert_true(strlen(t->server.tls_error) > 0);
	assert_int_equal(t->server.n_data, 0);
	assert_int_equal(t->server.n_closed, 1);
	assert_int_equal(t->server.closed, ERR_IO);
}

static void end_in_the_handshake_is_an_error(void **state)
{
	struct ends *t = *state;
	int fd;

	t->accepted = secure_server;
	fd = raw_connect(t);
	assert_int_equal(send(fd, "\x16\x03\x01", 3, 0), 3);
	shutdown(fd, SHUT_WR);
	ends_run(t);
	assert_int_equal(t->server.n_secured, 0);
	assert_int_equal(t->server.n_closed, 1);
	assert_int_equal(t->server.closed, ERR_IO);
	close(fd);
}

/* --- OpenSSL's own client on a raw socket --- */

static int injector; /* the raw client's socket */

/* The line that comes with STARTTLS in one read is the owner's to drop; the one
 * that is injected behind it lies in the kernel and must not reach anybody. */
static void answer_starttls(struct end *e)
{
	e->hook_on = EV_NONE;
	assert_int_equal(send(injector, "EVIL one\r\n", 10, 0), 10);
	stream_write(e->s, "220 go\r\n", 8);
	secure_server(e);
	buf_reset(&e->got);
	e->echo = true;
}

static struct peer {
	const char *name;
	int max_version;
	const char *shown;
} peers[] = {
	{ "STARTTLS with a TLS 1.3 client drops what was injected", TLS1_3_VERSION, "TLS1.3" },
	{ "STARTTLS with a TLS 1.2 client drops what was injected", TLS1_2_VERSION, "TLS1.2" },
};

static void starttls_drops_injected_bytes(void **state)
{
	const struct peer *row = *state;
	struct foreign f;
	struct buf got = BUF_INIT;
	struct ends *t;
	char line[8];
	void *ts;

	ends_setup(&ts);
	t = ts;
	t->server.hook_on = EV_DATA;
	t->server.hook = answer_starttls;
	injector = raw_connect(t);
	assert_int_equal(send(injector, "STARTTLS\r\nEVIL\r\n", 16, 0), 16);
	while (t->server.n_drained == 0)
		uv_run(&t->loop, UV_RUN_ONCE);
	assert_int_equal(recv(injector, line, sizeof(line), MSG_WAITALL), 8);
	assert_memory_equal(line, "220 go\r\n", 8);
	foreign_start(&f, injector, row->max_version, 0);
	foreign_connect(t, &f);
	assert_int_equal(SSL_write(f.ssl, "EHLO x\r\n", 8), 8);
	assert_int_equal(foreign_read(t, &f, &got, 8), SSL_ERROR_NONE);
	assert_string_equal(buf_str(&got), "EHLO x\r\n");
	assert_string_equal(stream_tls_version(t->server.s), row->shown);
	assert_string_equal(buf_str(&t->server.got), "EHLO x\r\n");
	stream_close(t->server.s);
	assert_int_equal(foreign_read(t, &f, &got, 0), SSL_ERROR_ZERO_RETURN); /* close_notify */
	foreign_end(&f);
	ends_run(t);
	assert_int_equal(t->server.closed, ERR_OK);
	buf_free(&got);
	ends_teardown(&ts);
}

static void old_protocols_are_refused(void **state)
{
	struct ends *t = *state;
	struct foreign f;
	int fd, rc, code;

	t->accepted = secure_server;
	fd = raw_connect(t);
	foreign_start(&f, fd, TLS1_1_VERSION, 0);
	SSL_CTX_set_security_level(f.ctx, 0);
	SSL_set_security_level(f.ssl, 0);
	SSL_set_cipher_list(f.ssl, "ALL:@SECLEVEL=0");
	do {
		rc = SSL_connect(f.ssl);
		code = SSL_get_error(f.ssl, rc);
		uv_run(&t->loop, UV_RUN_NOWAIT);
	} while (rc != 1 && code == SSL_ERROR_WANT_READ);
	assert_int_not_equal(rc, 1);
	foreign_end(&f);
	ends_run(t);
	assert_int_equal(t->server.secured, ERR_PROTO);
	assert_int_equal(t->server.closed, ERR_IO);
}

/* A peer that breaks a record in mid-session: all before it counts, then the end. */
static void broken_record_ends_the_stream(void **state)
{
	struct ends *t = *state;
	struct buf rest = BUF_INIT;
	struct foreign f;

	t->accepted = secure_server;
	foreign_start(&f, raw_connect(t), TLS1_3_VERSION, 0);
	foreign_connect(t, &f);
	assert_int_equal(SSL_write(f.ssl, "hello", 5), 5);
	assert_int_equal(send(f.fd, "\x17\x03\x03\x00\x20 this is not a record of theirs", 37, 0),
	                 37);
	raw_read_to_end(t, dup(f.fd), &rest);
	foreign_end(&f);
	ends_run(t);
	buf_free(&rest);
	assert_string_equal(buf_str(&t->server.got), "hello");
	assert_int_equal(t->server.n_secured, 1);
	assert_int_equal(t->server.n_closed, 1);
	assert_int_equal(t->server.closed, ERR_IO);
}

static void end_without_goodbye_is_orderly(void **state)
{
	struct ends *t = *state;
	struct foreign f;

	t->accepted = secure_server;
	foreign_start(&f, raw_connect(t), TLS1_3_VERSION, 0);
	foreign_connect(t, &f);
	assert_int_equal(SSL_write(f.ssl, "hello", 5), 5);
	shutdown(f.fd, SHUT_WR);
	ends_run(t);
	assert_string_equal(buf_str(&t->server.got), "hello");
	assert_int_equal(t->server.closed, ERR_OK);
	foreign_end(&f);
}

#define WITH_ENDS(fn) cmocka_unit_test_setup_teardown(fn, ends_setup, ends_teardown)

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(bad_files_are_explained),
	WITH_ENDS(mebibyte_is_echoed_under_tls),
	WITH_ENDS(pauses_under_tls_lose_nothing),
	WITH_ENDS(abort_in_secured_is_safe),
	WITH_ENDS(junk_instead_of_hello_is_a_protocol_error),
	WITH_ENDS(end_in_the_handshake_is_an_error),
	WITH_ENDS(old_protocols_are_refused),
	WITH_ENDS(broken_record_ends_the_stream),
	WITH_ENDS(end_without_goodbye_is_orderly),
};

int main(void)
{
	struct CMUnitTest all[ARRAY_LEN(tests) + ARRAY_LEN(peers)];

	memcpy(all, tests, sizeof(tests));
	for (size_t i = 0; i < ARRAY_LEN(peers); i++)
		all[ARRAY_LEN(tests) + i] = (struct CMUnitTest){
			.name = peers[i].name,
			.test_func = starttls_drops_injected_bytes,
			.initial_state = &peers[i],
		};
	return cmocka_run_group_tests_name("stream under TLS", all, make_contexts, free_contexts);
}
