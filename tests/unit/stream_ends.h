/* tests/unit/stream_ends.h - two ends of a stream on one loop, for the stream tests
 *
 * Each end counts what it is told and keeps what it receives.  A hook runs
 * inside a chosen callback, which is how the tests close, abort and pause from
 * there.  Ends by proving that the loop is empty.
 */
#ifndef TESTS_UNIT_STREAM_ENDS_H
#define TESTS_UNIT_STREAM_ENDS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <errno.h>
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>
#include <uv.h>
#include <cmocka.h>
#include "lib/buf.h"
#include "lib/stream.h"

enum event { EV_NONE, EV_DATA, EV_CONNECTED, EV_SECURED, EV_DRAINED, EV_EXPIRED };

struct end {
	struct stream *s;
	struct buf got;
	int n_data, n_connected, n_secured, n_drained, n_expired, n_closed;
	enum err connected, secured, closed;
	char tls_error[128];
	bool paused, echo;
	enum event hook_on;
	void (*hook)(struct end *e);
	struct ends *all;
};

struct ends {
	uv_loop_t loop;
	uv_tcp_t listener;
	struct sockaddr_in addr;
	struct end server, client;
	void (*accepted)(struct end *server); /* may be NULL */
	bool hung; /* the watchdog ended the run */
};

static inline void end_hook(struct end *e, enum event ev)
{
	if (e->hook != NULL && e->hook_on == ev)
		e->hook(e);
}

static inline void end_data(void *owner, const char *p, size_t len)
{
	struct end *e = owner;

	assert_false(e->paused);
	assert_int_equal(e->n_closed, 0);
	e->n_data++;
	buf_add(&e->got, p, len);
	if (e->echo)
		stream_write(e->s, p, len);
	end_hook(e, EV_DATA);
}

static inline void end_connected(void *owner, enum err err)
{
	struct end *e = owner;

	e->n_connected++;
	e->connected = err;
	end_hook(e, EV_CONNECTED);
}

static inline void end_secured(void *owner, enum err err)
{
	struct end *e = owner;
	const char *text = stream_tls_error(e->s);

	e->n_secured++;
	e->secured = err;
	snprintf(e->tls_error, sizeof(e->tls_error), "%s", text == NULL ? "" : text);
	end_hook(e, EV_SECURED);
}

static inline void end_drained(void *owner)
{
	struct end *e = owner;

	assert_int_equal(stream_unsent(e->s), 0);
	e->n_drained++;
	end_hook(e, EV_DRAINED);
}

static inline void end_expired(void *owner)
{
	struct end *e = owner;

	e->n_expired++;
	end_hook(e, EV_EXPIRED);
}

static inline void end_closed(void *owner, enum err why)
{
	struct end *e = owner;

	e->n_closed++;
	e->closed = why;
	e->s = NULL;
}

static const struct stream_events end_events = {
	.data = end_data,
	.connected = end_connected,
	.secured = end_secured,
	.drained = end_drained,
	.expired = end_expired,
	.closed = end_closed,
};

static inline void ends_on_connection(uv_stream_t *listener, int status)
{
	struct ends *t = listener->data;

	assert_int_equal(status, 0);
	assert_int_equal(stream_accept(listener, &end_events, &t->server, &t->server.s), ERR_OK);
	assert_string_equal(stream_peer_ip(t->server.s), "127.0.0.1");
	uv_close((uv_handle_t *)listener, NULL);
	if (t->accepted != NULL)
		t->accepted(&t->server);
}

static inline int ends_setup(void **state)
{
	struct ends *t = calloc(1, sizeof(*t));
	int len = sizeof(t->addr);

	assert_int_equal(uv_loop_init(&t->loop), 0);
	uv_ip4_addr("127.0.0.1", 0, &t->addr);
	uv_tcp_init(&t->loop, &t->listener);
	t->listener.data = t;
	t->server.all = t->client.all = t;
	assert_int_equal(uv_tcp_bind(&t->listener, (struct sockaddr *)&t->addr, 0), 0);
	assert_int_equal(uv_listen((uv_stream_t *)&t->listener, 8, ends_on_connection), 0);
	assert_int_equal(
		uv_tcp_getsockname(&t->listener, (struct sockaddr *)&t->addr, &len), 0);
	*state = t;
	return 0;
}

static inline void end_connect(struct ends *t)
{
	assert_int_equal(stream_connect(&t->loop, (struct sockaddr *)&t->addr, NULL, &end_events,
	                                &t->client, &t->client.s), ERR_OK);
}

static inline void on_watchdog(uv_timer_t *timer)
{
	struct ends *t = timer->data;

	t->hung = true;
	uv_stop(&t->loop);
}

/* Run until nothing is left to do, which means that both ends are closed. */
static inline void ends_run(struct ends *t)
{
	uv_timer_t *watchdog = calloc(1, sizeof(*watchdog));

	uv_timer_init(&t->loop, watchdog);
	watchdog->data = t;
	uv_timer_start(watchdog, on_watchdog, 20000, 0);
	uv_unref((uv_handle_t *)watchdog);
	uv_run(&t->loop, UV_RUN_DEFAULT);
	uv_close((uv_handle_t *)watchdog, (uv_close_cb)free);
	if (t->hung)
		fail_msg("the loop did not come to its end");
	uv_run(&t->loop, UV_RUN_DEFAULT);
}

static inline int ends_teardown(void **state)
{
	struct ends *t = *state;

	if (!uv_is_closing((uv_handle_t *)&t->listener))
		uv_close((uv_handle_t *)&t->listener, NULL);
	uv_run(&t->loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&t->loop), 0);
	buf_free(&t->server.got);
	buf_free(&t->client.got);
	free(t);
	return 0;
}

/* A peer that is just a socket. */
static inline int raw_connect(struct ends *t)
{
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	assert_true(fd >= 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&t->addr, sizeof(t->addr)), 0);
	return fd;
}

/* Run the loop until the peer's side of fd ends, and close fd; what came is in got. */
static inline void raw_read_to_end(struct ends *t, int fd, struct buf *got)
{
	char tmp[4096];
	ssize_t n;

	while ((n = recv(fd, tmp, sizeof(tmp), MSG_DONTWAIT)) != 0) {
		if (n > 0)
			buf_add(got, tmp, (size_t)n);
		else if (errno == EAGAIN)
			uv_run(&t->loop, UV_RUN_NOWAIT);
		else
			fail_msg("the peer's end came as %s", strerror(errno));
	}
	close(fd);
}

static inline unsigned char pattern(size_t i)
{
	return (unsigned char)((i * 2654435761u) >> 11);
}

/* Write `total` bytes of the pattern in chunks of odd sizes. */
static inline void write_pattern(struct stream *s, size_t total)
{
	static const size_t sizes[] = { 1, 7, 113, 2047, 2049, 16385, 3, 70001 };
	static char chunk[70001];
	size_t at = 0;

	for (size_t i = 0; at < total; i++) {
		size_t n = sizes[i % ARRAY_LEN(sizes)];

		if (n > total - at)
			n = total - at;
		for (size_t k = 0; k < n; k++)
			chunk[k] = (char)pattern(at + k);
		stream_write(s, chunk, n);
		at += n;
	}
}

static inline void assert_pattern(const struct buf *got, size_t total)
{
	assert_int_equal(got->len, total);
	for (size_t i = 0; i < total; i++) {
		if ((unsigned char)got->data[i] != pattern(i))
			fail_msg("byte %zu is wrong", i);
	}
}

#endif
