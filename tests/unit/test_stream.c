/* tests/unit/test_stream.c - TCP streams without TLS: sending, pausing, deadlines, every end */
#include "tests/unit/stream_ends.h"

#include <sys/syscall.h>
#include <sys/uio.h>
#include "lib/clock.h"

enum { MIB = 1 << 20 };

/* The system calls by which libuv sends, counted. */
static int n_sends;

ssize_t write(int fd, const void *p, size_t len)
{
	n_sends++;
	return syscall(SYS_write, fd, p, len);
}

ssize_t writev(int fd, const struct iovec *iov, int n)
{
	n_sends++;
	return syscall(SYS_writev, fd, iov, n);
}

static void close_when_complete(struct end *e)
{
	if (e->got.len == MIB)
		stream_close(e->s);
}

static void mebibyte_is_echoed(void **state)
{
	struct ends *t = *state;

	t->server.echo = true;
	t->client.hook_on = EV_DATA;
	t->client.hook = close_when_complete;
	end_connect(t);
	write_pattern(t->client.s, MIB);
	assert_int_equal(stream_unsent(t->client.s), MIB);
	ends_run(t);
	assert_pattern(&t->client.got, MIB);
	assert_int_equal(t->client.closed, ERR_OK);
	assert_int_equal(t->server.closed, ERR_OK);
	assert_int_equal(t->client.n_closed, 1);
	assert_int_equal(t->server.n_closed, 1);
	assert_true(t->client.n_drained >= 1);
}

static void count_free(void *hint)
{
	++*(int *)hint;
}

static void close_while_connecting_drops_what_waits(void **state)
{
	struct ends *t = *state;
	static char bytes[MIB + 10];
	int freed = 0;
	struct blob *blob;

	for (size_t i = 0; i < MIB; i++)
		bytes[i + 5] = (char)pattern(i);
	blob = blob_wrap(bytes, sizeof(bytes), count_free, &freed);
	end_connect(t);
	stream_write_blob(t->client.s, blob, 5, 1000);
	stream_write_blob(t->client.s, blob, 1005, MIB - 1000);
	stream_write_blob(t->client.s, blob, 0, 0);
	stream_close(t->client.s);
	ends_run(t);
	blob_unref(&blob);
	assert_int_equal(freed, 1);
	assert_int_equal(t->server.got.len, 0);
}

static int freed_blobs;

static void write_blob_and_close(struct end *e)
{
	static char bytes[MIB + 5];
	struct blob *blob;

	for (size_t i = 0; i < MIB; i++)
		bytes[i + 5] = (char)pattern(i);
	freed_blobs = 0;
	blob = blob_wrap(bytes, sizeof(bytes), count_free, &freed_blobs);
	stream_write(e->s, bytes + 5, 3);
	stream_write_blob(e->s, blob, 8, MIB - 3);
	blob_unref(&blob);
	assert_int_equal(freed_blobs, 0); /* referenced, not copied */
	stream_close(e->s);
	stream_close(e->s);
	stream_write(e->s, "too late", 8);
}

static void close_sends_what_waits(void **state)
{
	struct ends *t = *state;

	t->client.hook_on = EV_CONNECTED;
	t->client.hook = write_blob_and_close;
	end_connect(t);
	ends_run(t);
	assert_pattern(&t->server.got, MIB);
	assert_int_equal(freed_blobs, 1);
	assert_int_equal(t->client.closed, ERR_OK);
	assert_int_equal(t->server.closed, ERR_OK);
}

/* Our side closes while bytes of the peer lie unread: without care the kernel
 * would answer them with a reset, and the peer would lose our last words. */
static void last_words(struct end *e)
{
	stream_pause(e->s);
	e->paused = true;
	stream_write(e->s, "554 go away\r\n", 13);
	stream_close(e->s);
}

static void last_words_survive_unread_input(void **state)
{
	struct ends *t = *state;
	struct buf got = BUF_INIT;
	int fd;

	t->accepted = last_words;
	fd = raw_connect(t);
	assert_int_equal(send(fd, "MAIL FROM:<x@example>\r\n", 23, 0), 23);
	while (t->server.n_closed == 0 &&
	       (t->server.s == NULL || stream_unsent(t->server.s) > 0))
		uv_run(&t->loop, UV_RUN_ONCE);
	assert_int_equal(send(fd, "RCPT TO:<y@example>\r\n", 21, 0), 21);
	raw_read_to_end(t, fd, &got);
	ends_run(t);
	assert_string_equal(buf_str(&got), "554 go away\r\n");
	assert_int_equal(t->server.closed, ERR_OK);
	buf_free(&got);
}

static void peer_that_never_ends_is_left(void **state)
{
	struct ends *t = *state;
	uint64_t began = clock_mono_ms();
	int fd;

	t->accepted = last_words;
	fd = raw_connect(t);
	ends_run(t);
	assert_in_range(clock_mono_ms() - began, 1900, 6000);
	assert_int_equal(t->server.n_closed, 1);
	assert_int_equal(t->server.closed, ERR_OK);
	close(fd);
}

static void resume_later(uv_timer_t *timer)
{
	struct end *e = timer->data;

	e->paused = false;
	if (e->s != NULL) /* the end of a peer may be seen in a pause */
		stream_resume(e->s);
	uv_close((uv_handle_t *)timer, (uv_close_cb)free);
}

/* 5 ms in which nothing may come; every fourth time is enough for a mebibyte. */
static void pause_now_and_then(struct end *e)
{
	uv_timer_t *timer;

	if (e->n_data % 4 != 1)
		return;
	stream_pause(e->s);
	stream_pause(e->s);
	e->paused = true;
	timer = calloc(1, sizeof(*timer));
	uv_timer_init(&e->all->loop, timer);
	timer->data = e;
	uv_timer_start(timer, resume_later, 5, 0);
}

static void nothing_comes_while_paused(void **state)
{
	struct ends *t = *state;

	t->client.hook_on = EV_CONNECTED;
	t->client.hook = write_blob_and_close;
	t->server.hook_on = EV_DATA;
	t->server.hook = pause_now_and_then;
	end_connect(t);
	ends_run(t);
	assert_true(t->server.n_data > 4);
	assert_pattern(&t->server.got, MIB);
}

static void write_many_small(struct end *e)
{
	for (int i = 0; i < 1000; i++)
		stream_write(e->s, "250 2.1.5 Ok\r\n", 14);
}

static void small_writes_of_a_turn_are_one_write(void **state)
{
	struct ends *t = *state;
	static char got[14000];
	int fd = raw_connect(t);

	t->accepted = write_many_small;
	while (t->server.s == NULL)
		uv_run(&t->loop, UV_RUN_ONCE);
	n_sends = 0;
	while (t->server.n_drained == 0)
		uv_run(&t->loop, UV_RUN_ONCE);
	assert_int_equal(n_sends, 1);
	assert_int_equal(t->server.n_drained, 1);
	assert_int_equal(recv(fd, got, sizeof(got), MSG_WAITALL), sizeof(got));
	close(fd);
	ends_run(t);
	assert_int_equal(t->server.closed, ERR_OK);
}

/* --- deadlines --- */

static void abort_it(struct end *e)
{
	stream_abort(e->s);
}

static void set_deadlines(struct end *e)
{
	stream_deadline(e->s, 10000);
	stream_deadline(e->s, 5);
	stream_deadline(e->s, 0);
	stream_deadline(e->s, 20);
	stream_deadline(e->s, 60); /* the last one counts, also when it is later */
}

static void deadline_passes_once_and_the_last_one_counts(void **state)
{
	struct ends *t = *state;
	uint64_t began = clock_mono_ms();
	int fd;

	t->accepted = set_deadlines;
	t->server.hook_on = EV_EXPIRED;
	t->server.hook = abort_it;
	fd = raw_connect(t);
	ends_run(t);
	assert_true(clock_mono_ms() - began >= 55);
	assert_int_equal(t->server.n_expired, 1);
	assert_int_equal(t->server.closed, ERR_OK);
	close(fd);
}

static void remove_deadline(struct end *e)
{
	stream_deadline(e->s, 5);
	stream_deadline(e->s, 0);
}

static void close_raw(uv_timer_t *timer)
{
	close((int)(intptr_t)timer->data);
	uv_close((uv_handle_t *)timer, NULL);
}

static void deadline_that_was_removed_never_passes(void **state)
{
	struct ends *t = *state;
	uv_timer_t timer;

	t->accepted = remove_deadline;
	uv_timer_init(&t->loop, &timer);
	timer.data = (void *)(intptr_t)raw_connect(t);
	uv_timer_start(&timer, close_raw, 50, 0);
	ends_run(t);
	assert_int_equal(t->server.n_expired, 0);
	assert_int_equal(t->server.closed, ERR_OK);
}

/* --- connecting --- */

static void connect_to_nobody_is_refused(void **state)
{
	struct ends *t = *state;

	uv_close((uv_handle_t *)&t->listener, NULL);
	uv_run(&t->loop, UV_RUN_DEFAULT);
	end_connect(t);
	assert_int_equal(t->client.n_connected, 0);
	ends_run(t);
	assert_int_equal(t->client.n_connected, 1);
	assert_int_equal(t->client.connected, ERR_REFUSED);
	assert_int_equal(t->client.n_closed, 1);
	assert_int_equal(t->client.closed, ERR_IO);
}

static void source_address_is_used(void **state)
{
	struct ends *t = *state;
	struct sockaddr_in source;

	uv_ip4_addr("127.0.0.1", 0, &source);
	assert_int_equal(stream_connect(&t->loop, (struct sockaddr *)&t->addr,
	                                (struct sockaddr *)&source, &end_events, &t->client,
	                                &t->client.s), ERR_OK);
	assert_string_equal(stream_peer_ip(t->client.s), "127.0.0.1");
	assert_int_equal(stream_peer(t->client.s)->ss_family, AF_INET);
	t->client.hook_on = EV_CONNECTED;
	t->client.hook = write_blob_and_close;
	ends_run(t);
	assert_int_equal(t->client.connected, ERR_OK);
}

static void foreign_source_address_fails_later(void **state)
{
	struct ends *t = *state;
	struct sockaddr_in source;

	uv_ip4_addr("192.0.2.1", 0, &source);
	assert_int_equal(stream_connect(&t->loop, (struct sockaddr *)&t->addr,
	                                (struct sockaddr *)&source, &end_events, &t->client,
	                                &t->client.s), ERR_OK);
	uv_close((uv_handle_t *)&t->listener, NULL);
	assert_int_equal(t->client.n_connected, 0); /* never from inside */
	ends_run(t);
	assert_int_equal(t->client.n_connected, 1);
	assert_int_equal(t->client.connected, ERR_IO);
	assert_int_equal(t->client.closed, ERR_IO);
}

static void unknown_address_family_is_refused(void **state)
{
	struct ends *t = *state;
	struct sockaddr none = { .sa_family = AF_UNSPEC };
	struct stream *s = NULL;

	assert_int_equal(stream_connect(&t->loop, &none, NULL, &end_events, NULL, &s), ERR_RANGE);
	assert_null(s);
}

/* --- the peer's end --- */

static void reset_by_peer_is_an_error(void **state)
{
	struct ends *t = *state;
	struct linger now = { .l_onoff = 1, .l_linger = 0 };
	int fd = raw_connect(t);

	while (t->server.s == NULL)
		uv_run(&t->loop, UV_RUN_ONCE);
	setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
	close(fd);
	ends_run(t);
	assert_int_equal(t->server.n_closed, 1);
	assert_int_equal(t->server.closed, ERR_IO);
}

static void half_closed_peer_gets_its_answer(void **state)
{
	struct ends *t = *state;
	char reply[8];
	int fd = raw_connect(t);

	t->server.echo = true;
	assert_int_equal(send(fd, "QUIT\r\n", 6, 0), 6);
	shutdown(fd, SHUT_WR);
	ends_run(t);
	assert_int_equal(recv(fd, reply, sizeof(reply), MSG_WAITALL), 6);
	assert_int_equal(t->server.closed, ERR_OK);
	close(fd);
}

/* --- ending from inside every callback --- */

static void close_it(struct end *e)
{
	stream_close(e->s);
}

static void abort_and_more(struct end *e)
{
	stream_abort(e->s);
	stream_abort(e->s);
	stream_close(e->s);
	stream_write(e->s, "x", 1);
	stream_deadline(e->s, 1);
	stream_pause(e->s);
	stream_resume(e->s);
}

static struct ending {
	const char *name;
	enum event at;
	void (*how)(struct end *e);
} endings[] = {
	{ "abort in connected()", EV_CONNECTED, abort_and_more },
	{ "abort in data()", EV_DATA, abort_and_more },
	{ "abort in drained()", EV_DRAINED, abort_and_more },
	{ "abort in expired()", EV_EXPIRED, abort_and_more },
	{ "close in connected()", EV_CONNECTED, close_it },
	{ "close in data()", EV_DATA, close_it },
	{ "close in drained()", EV_DRAINED, close_it },
	{ "close in expired()", EV_EXPIRED, close_it },
};

static void end_inside_a_callback_is_safe(void **state)
{
	const struct ending *row = *state;
	struct ends *t;
	void *ts;

	ends_setup(&ts);
	t = ts;
	t->server.echo = true;
	t->client.hook_on = row->at;
	t->client.hook = row->how;
	end_connect(t);
	stream_deadline(t->client.s, 30);
	stream_write(t->client.s, "hello", 5);
	ends_run(t);
	assert_int_equal(t->client.n_closed, 1);
	assert_int_equal(t->client.closed, ERR_OK);
	assert_int_equal(t->server.n_closed, 1);
	ends_teardown(&ts);
}

#define WITH_ENDS(fn) cmocka_unit_test_setup_teardown(fn, ends_setup, ends_teardown)

static const struct CMUnitTest tests[] = {
	WITH_ENDS(mebibyte_is_echoed),
	WITH_ENDS(close_while_connecting_drops_what_waits),
	WITH_ENDS(close_sends_what_waits),
	WITH_ENDS(last_words_survive_unread_input),
	WITH_ENDS(peer_that_never_ends_is_left),
	WITH_ENDS(nothing_comes_while_paused),
	WITH_ENDS(small_writes_of_a_turn_are_one_write),
	WITH_ENDS(deadline_passes_once_and_the_last_one_counts),
	WITH_ENDS(deadline_that_was_removed_never_passes),
	WITH_ENDS(connect_to_nobody_is_refused),
	WITH_ENDS(source_address_is_used),
	WITH_ENDS(foreign_source_address_fails_later),
	WITH_ENDS(unknown_address_family_is_refused),
	WITH_ENDS(reset_by_peer_is_an_error),
	WITH_ENDS(half_closed_peer_gets_its_answer),
};

int main(void)
{
	struct CMUnitTest end_tests[ARRAY_LEN(endings)];
	int failed;

	for (size_t i = 0; i < ARRAY_LEN(endings); i++)
		end_tests[i] = (struct CMUnitTest){
			.name = endings[i].name,
			.test_func = end_inside_a_callback_is_safe,
			.initial_state = &endings[i],
		};
	failed = cmocka_run_group_tests_name("stream", tests, NULL, NULL);
	return failed + cmocka_run_group_tests_name("stream ends", end_tests, NULL, NULL);
}
