/* tests/unit/test_http.c - the metrics server on a loop, asked by a thread
 *
 * The thread asks and stops the loop; only the main thread asserts.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include "lib/http.h"
#include "tests/unit/http_get.h"

#define CLOSE "Host: x\r\nConnection: close\r\n\r\n"

static struct row {
	const char *name, *request;
	bool good; /* what healthy and ready say */
	int status; /* 0: the server closes without an answer */
	const char *type, *body;
} rows[] = {
	{ "metrics", "GET /metrics HTTP/1.1\r\n" CLOSE, true, 200,
	  "text/plain; version=0.0.4; charset=utf-8", "metrics of 7\n" },
	{ "healthy", "GET /healthz HTTP/1.1\r\n" CLOSE, true, 200, "text/plain", "ok\n" },
	{ "not healthy", "GET /healthz HTTP/1.1\r\n" CLOSE, false, 503, "text/plain", "failed\n" },
	{ "ready", "GET /readyz HTTP/1.1\r\n" CLOSE, true, 200, "text/plain", "ready\n" },
	{ "not ready", "GET /readyz HTTP/1.1\r\n" CLOSE, false, 503, "text/plain", "not ready\n" },
	{ "a query is passed over", "GET /readyz?x=1 HTTP/1.1\r\n" CLOSE, true, 200,
	  "text/plain", "ready\n" },
	{ "HTTP/1.0", "GET /readyz HTTP/1.0\r\n\r\n", true, 200, "text/plain", "ready\n" },
	{ "HEAD has no body", "HEAD /metrics HTTP/1.1\r\n" CLOSE, true, 200,
	  "text/plain; version=0.0.4; charset=utf-8", "" },
	{ "any other path", "GET / HTTP/1.1\r\n" CLOSE, true, 404, "text/plain", NULL },
	{ "a longer path", "GET /metrics/x HTTP/1.1\r\n" CLOSE, true, 404, "text/plain", NULL },
	{ "POST", "POST /metrics HTTP/1.1\r\nContent-Length: 2\r\n" CLOSE "ab", true, 405,
	  "text/plain", NULL },
	{ "DELETE", "DELETE /metrics HTTP/1.1\r\n" CLOSE, true, 405, "text/plain", NULL },
};

struct talk {
	uv_loop_t loop;
	uv_async_t done;
	struct http *http;
	unsigned port;
	void (*ask)(struct talk *t);
	const char *request;
	struct buf answer;
	unsigned answered;
};

static bool is_good;

static void add_metrics(void *arg, struct buf *out)
{
	buf_addf(out, "metrics of %d\n", *(int *)arg);
}

static bool say_good(void *arg)
{
	return is_good;
}

static int seven = 7;
static const struct http_source source = { add_metrics, say_good, say_good, &seven };

static void on_done(uv_async_t *a)
{
	struct talk *t = a->data;

	http_close(&t->http);
	assert_null(t->http);
	uv_close((uv_handle_t *)&t->done, NULL);
}

static void *run_client(void *arg)
{
	struct talk *t = arg;

	t->ask(t);
	uv_async_send(&t->done);
	return NULL;
}

static void open_on(struct talk *t)
{
	char address[32];

	t->port = http_free_port();
	assert_true(t->port > 0);
	snprintf(address, sizeof(address), "127.0.0.1:%u", t->port);
	assert_int_equal(http_open(&t->loop, address, &source, &t->http), ERR_OK);
}

/* Serve while ask() runs; ends with an empty loop. */
static void talk(struct talk *t, void (*ask)(struct talk *t))
{
	pthread_t client;

	assert_int_equal(uv_loop_init(&t->loop), 0);
	t->ask = ask;
	t->done.data = t;
	assert_int_equal(uv_async_init(&t->loop, &t->done, on_done), 0);
	open_on(t);
	assert_int_equal(pthread_create(&client, NULL, run_client, t), 0);
	assert_int_equal(uv_run(&t->loop, UV_RUN_DEFAULT), 0);
	assert_int_equal(pthread_join(client, NULL), 0);
	assert_int_equal(uv_loop_close(&t->loop), 0);
}

static void ask_once(struct talk *t)
{
	http_ask(t->port, t->request, &t->answer);
}

static void row_is_answered(void **state)
{
	const struct row *r = *state;
	struct talk t = { .request = r->request };
	const char *body;
	char type[100];
	int status;

	is_good = r->good;
	talk(&t, ask_once);
	assert_int_equal(sscanf(buf_str(&t.answer), "HTTP/1.%*d %d", &status), 1);
	assert_int_equal(status, r->status);
	snprintf(type, sizeof(type), "\r\nContent-Type: %s\r\n", r->type);
	assert_non_null(strstr(buf_str(&t.answer), type));
	body = strstr(buf_str(&t.answer), "\r\n\r\n");
	assert_non_null(body);
	if (r->body != NULL)
		assert_string_equal(body + 4, r->body);
	buf_free(&t.answer);
}

static void ask_many_on_one(struct talk *t)
{
	static const char get[] = "GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n";
	int fd = http_connect(t->port);
	char chunk[4096];

	for (int i = 0; i < 200; i++) {
		ssize_t n = send(fd, get, sizeof(get) - 1, MSG_NOSIGNAL);

		if (n > 0)
			n = recv(fd, chunk, sizeof(chunk), 0);
		if (n > 10 && memmem(chunk, (size_t)n, "ready\n", 6) != NULL)
			t->answered++;
	}
	close(fd);
}

static void one_connection_serves_many_questions(void **state)
{
	struct talk t = { 0 };

	is_good = true;
	talk(&t, ask_many_on_one);
	assert_int_equal(t.answered, 200);
}

enum { SILENT = 100 };

/* More silent connections than the limit; when they are gone the server answers. */
static void ask_beside_silent_ones(struct talk *t)
{
	int fd[SILENT];

	for (int i = 0; i < SILENT; i++)
		fd[i] = http_connect(t->port);
	for (int i = 0; i < SILENT; i++)
		close(fd[i]);
	for (int tries = 0; t->answer.len == 0 && tries < 1000; tries++)
		http_get(t->port, "/readyz", &t->answer);
}

static void silent_connections_do_not_end_the_service(void **state)
{
	struct talk t = { 0 };

	is_good = true;
	talk(&t, ask_beside_silent_ones);
	assert_non_null(strstr(buf_str(&t.answer), "ready\n"));
	buf_free(&t.answer);
}

static void ask_too_much(struct talk *t)
{
	struct buf request = BUF_INIT;

	buf_adds(&request, "GET /readyz HTTP/1.1\r\nX: ");
	for (int i = 0; i < 100000; i++)
		buf_addc(&request, 'x');
	buf_adds(&request, "\r\n" CLOSE);
	http_ask(t->port, buf_str(&request), &t->answer);
	buf_free(&request);
}

static void headers_over_the_limit_are_refused(void **state)
{
	struct talk t = { 0 };

	is_good = true;
	talk(&t, ask_too_much);
	assert_null(strstr(buf_str(&t.answer), " 200 "));
	buf_free(&t.answer);
}

/* Closing while connections are open must neither leak nor hang. */
static void leave_open(struct talk *t)
{
	for (int i = 0; i < 5; i++)
		t->answered += http_connect(t->port) >= 0;
}

static void closing_drops_open_connections(void **state)
{
	struct talk t = { 0 };

	talk(&t, leave_open);
	assert_int_equal(t.answered, 5);
}

static void a_taken_port_is_an_error_and_a_closed_one_is_free(void **state)
{
	uv_loop_t loop;
	struct http *one = NULL, *two = NULL;
	char address[32];

	assert_int_equal(uv_loop_init(&loop), 0);
	snprintf(address, sizeof(address), "127.0.0.1:%u", http_free_port());
	assert_int_equal(http_open(&loop, address, &source, &one), ERR_OK);
	assert_int_equal(http_open(&loop, address, &source, &two), ERR_IO);
	assert_null(two);
	http_close(&one);
	assert_int_equal(uv_run(&loop, UV_RUN_DEFAULT), 0);
	assert_int_equal(http_open(&loop, address, &source, &one), ERR_OK);
	http_close(&one);
	http_close(&one);
	assert_int_equal(uv_run(&loop, UV_RUN_DEFAULT), 0);
	assert_int_equal(uv_loop_close(&loop), 0);
}

static void only_loopback_addresses_are_bound(void **state)
{
	static const char *const bad[] = {
		"", ":", ":80", "127.0.0.1", "127.0.0.1:", "127.0.0.1:0", "127.0.0.1:65536",
		"127.0.0.1:80x", "127.0.0.1: 80", "127.0.0.1:+80", "127.0.0.1:-1",
		"127.0.0.1:999999999999", "0.0.0.0:9301", "10.0.0.1:9301", "localhost:9301",
		"[::]:9301", "[::1:9301", "::1:9301", "[127.0.0.1]:9301", "[fe80::1]:9301", "[]:80",
		"[:80", "1111111111111111111111111111111111111111111111111111111111111111111:80",
	};
	struct http *h = NULL;
	uv_loop_t loop;

	assert_int_equal(uv_loop_init(&loop), 0);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		assert_int_equal(http_open(&loop, bad[i], &source, &h), ERR_SYNTAX);
		assert_null(h);
	}
	assert_int_equal(uv_loop_close(&loop), 0);
}

int main(void)
{
	static const struct CMUnitTest more[] = {
		cmocka_unit_test(one_connection_serves_many_questions),
		cmocka_unit_test(silent_connections_do_not_end_the_service),
		cmocka_unit_test(headers_over_the_limit_are_refused),
		cmocka_unit_test(closing_drops_open_connections),
		cmocka_unit_test(a_taken_port_is_an_error_and_a_closed_one_is_free),
		cmocka_unit_test(only_loopback_addresses_are_bound),
	};
	struct CMUnitTest tests[ARRAY_LEN(rows) + ARRAY_LEN(more)];

	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		tests[i] = (struct CMUnitTest){
			.name = rows[i].name, .test_func = row_is_answered,
			.initial_state = &rows[i],
		};
	memcpy(&tests[ARRAY_LEN(rows)], more, sizeof(more));
	return cmocka_run_group_tests_name("http", tests, NULL, NULL);
}
