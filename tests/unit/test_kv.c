/* tests/unit/test_kv.c - what the store promises: order, durability, atomicity, bounds
 *
 * Tests that kill or starve a store start this program again as a child, since
 * RocksDB's threads do not survive a fork.
 */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>
#include "lib/clock.h"
#include "lib/kv.h"
#include "lib/mem.h"

enum { CF_RECORDS, CF_BODIES, CF_QUEUE, N_CFS };

static const struct kv_cf cfs[] = {
	[CF_RECORDS] = { "records", KV_RECORDS },
	[CF_BODIES] = { "bodies", KV_BLOBS },
	[CF_QUEUE] = { "queue", KV_QUEUE },
};

static const struct kv_conf small_conf = {
	.cache_bytes = 4 << 20,
	.write_buffer_bytes = 4 << 20,
	.batch_bytes = 1 << 20,
	.pending_bytes = 256 << 10,
};

enum { BODY_BYTES = 8192 };

struct fixture {
	uv_loop_t loop;
	char dir[64];
	struct kv *kv;
};

/* --- what all tests use --- */

static void remove_tree(const char *dir)
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		execl("/bin/rm", "rm", "-rf", dir, (char *)NULL);
		_exit(127);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static void open_store(struct fixture *f)
{
	assert_int_equal(kv_open(&f->loop, f->dir, cfs, N_CFS, &small_conf, &f->kv), ERR_OK);
}

static int setup(void **state)
{
	struct fixture *f = xcalloc(1, sizeof(*f));

	strncpy(f->dir, "/tmp/hf-kv-XXXXXX", sizeof(f->dir) - 1);
	assert_non_null(mkdtemp(f->dir));
	assert_int_equal(uv_loop_init(&f->loop), 0);
	open_store(f);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	kv_close(&f->kv);
	assert_null(f->kv);
	uv_run(&f->loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&f->loop), 0);
	remove_tree(f->dir);
	xfree(f);
	return 0;
}

static void reopen(struct fixture *f)
{
	kv_close(&f->kv);
	open_store(f);
}

/* What came back, in order. */
struct seen {
	uint64_t n, last, failed;
	bool in_order;
};

static void note(enum err err, void *owner, uint64_t id)
{
	struct seen *s = owner;

	if (s->n == 0)
		s->in_order = true;
	else if (id != s->last + 1)
		s->in_order = false;
	s->n++;
	s->last = id;
	s->failed += err != ERR_OK;
}

/* The store keeps the loop running just while writes wait. */
static void settle(struct fixture *f)
{
	struct kv_stats st;

	uv_run(&f->loop, UV_RUN_DEFAULT);
	kv_stats_get(f->kv, &st);
	assert_int_equal(st.pending_batches, 0);
	assert_int_equal(st.pending_bytes, 0);
}

static void put_now(struct fixture *f, unsigned cf, const char *key, const char *val)
{
	struct kv_batch *b = kv_batch_new();
	struct seen s = { 0 };

	kv_put(b, cf, key, strlen(key), val, strlen(val));
	kv_write(f->kv, &b, note, &s, 1);
	assert_null(b);
	assert_int_equal(s.n, 0); /* never from inside */
	settle(f);
	assert_int_equal(s.n, 1);
	assert_int_equal(s.failed, 0);
}

static void assert_value(struct fixture *f, unsigned cf, const char *key, const char *want)
{
	struct buf got = BUF_INIT;
	enum err err = kv_get(f->kv, cf, key, strlen(key), &got);

	if (want == NULL) {
		assert_int_equal(err, ERR_NOENT);
		assert_int_equal(got.len, 0);
	} else {
		assert_int_equal(err, ERR_OK);
		assert_string_equal(buf_str(&got), want);
	}
	buf_free(&got);
}

/* --- one store --- */

static void value_is_there_after_its_write(void **state)
{
	struct fixture *f = *state;

	assert_value(f, CF_RECORDS, "a", NULL);
	put_now(f, CF_RECORDS, "a", "one");
	assert_value(f, CF_RECORDS, "a", "one");
	assert_value(f, CF_QUEUE, "a", NULL);
	put_now(f, CF_RECORDS, "a", "two");
	assert_value(f, CF_RECORDS, "a", "two");
	reopen(f);
	assert_value(f, CF_RECORDS, "a", "two");
}

static void batch_changes_all_families_together(void **state)
{
	struct fixture *f = *state;
	struct kv_batch *b = kv_batch_new();

	put_now(f, CF_QUEUE, "old", "x");
	assert_true(kv_batch_empty(b));
	kv_put(b, CF_RECORDS, "k", 1, "r", 1);
	kv_put(b, CF_BODIES, "k", 1, "", 0);
	kv_del(b, CF_QUEUE, "old", 3);
	assert_false(kv_batch_empty(b));
	assert_value(f, CF_RECORDS, "k", NULL);
	kv_write(f->kv, &b, NULL, NULL, 0);
	settle(f);
	assert_value(f, CF_RECORDS, "k", "r");
	assert_value(f, CF_BODIES, "k", "");
	assert_value(f, CF_QUEUE, "old", NULL);
}

static void later_batch_wins(void **state)
{
	struct fixture *f = *state;
	struct seen s = { 0 };
	char val[16];

	for (uint64_t i = 1; i <= 500; i++) {
		struct kv_batch *b = kv_batch_new();

		snprintf(val, sizeof(val), "%d", (int)i);
		kv_put(b, CF_RECORDS, "k", 1, val, strlen(val));
		if (i % 7 == 0)
			kv_del(b, CF_RECORDS, "k", 1);
		kv_write(f->kv, &b, note, &s, i);
	}
	settle(f);
	assert_int_equal(s.n, 500);
	assert_true(s.in_order);
	assert_value(f, CF_RECORDS, "k", "500");
}

static void many_batches_share_few_syncs(void **state)
{
	struct fixture *f = *state;
	struct kv_stats st;
	struct seen s = { 0 };

	for (uint64_t i = 1; i <= 10000; i++) {
		struct kv_batch *b = kv_batch_new();

		kv_put(b, CF_RECORDS, &i, sizeof(i), "v", 1);
		kv_put(b, CF_QUEUE, &i, sizeof(i), "", 0);
		kv_write(f->kv, &b, note, &s, i);
	}
	settle(f);
	kv_stats_get(f->kv, &st);
	assert_int_equal(s.n, 10000);
	assert_int_equal(s.failed, 0);
	assert_true(s.in_order);
	assert_int_equal(st.batches, 10000);
	assert_int_equal(st.records, 20000);
	assert_in_range(st.syncs, 1, 1000);
	assert_false(st.stalled);
	assert_false(st.failed);
	assert_true(st.last_sync_us > 0);
}

static void lazy_batch_goes_out_within_a_second_unsynced(void **state)
{
	struct fixture *f = *state;
	uint64_t began = clock_mono_ms();
	struct kv_batch *b = kv_batch_new();
	struct kv_stats st;

	kv_put(b, CF_RECORDS, "k", 1, "v", 1);
	kv_write_lazy(f->kv, &b);
	assert_null(b);
	settle(f);
	assert_true(clock_mono_ms() - began < 1500); /* a second, and a busy machine */
	kv_stats_get(f->kv, &st);
	assert_int_equal(st.syncs, 0);
	assert_int_equal(st.batches, 1);
	assert_value(f, CF_RECORDS, "k", "v");
}

static void end_timer(uv_timer_t *timer)
{
	uv_close((uv_handle_t *)timer, NULL);
}

/* The writer sleeps without a time limit only after a second without work. */
static void lazy_batch_wakes_a_writer_that_sleeps(void **state)
{
	struct fixture *f = *state;
	uv_timer_t idle_second;

	uv_timer_init(&f->loop, &idle_second);
	uv_timer_start(&idle_second, end_timer, 1000, 0);
	uv_run(&f->loop, UV_RUN_DEFAULT);
	lazy_batch_goes_out_within_a_second_unsynced(state);
}

static void lazy_batch_keeps_its_place(void **state)
{
	struct fixture *f = *state;
	struct kv_batch *b = kv_batch_new();
	struct kv_stats st;
	struct seen s = { 0 };

	kv_put(b, CF_RECORDS, "k", 1, "1", 1);
	kv_write(f->kv, &b, note, &s, 1);
	b = kv_batch_new();
	kv_del(b, CF_RECORDS, "k", 1);
	kv_write_lazy(f->kv, &b);
	b = kv_batch_new();
	kv_put(b, CF_RECORDS, "l", 1, "2", 1);
	kv_write(f->kv, &b, note, &s, 2);
	settle(f);
	kv_stats_get(f->kv, &st);
	assert_int_equal(s.n, 2);
	assert_int_equal(st.batches, 3);
	assert_value(f, CF_RECORDS, "k", NULL);
	assert_value(f, CF_RECORDS, "l", "2");
}

static void full_when_too_much_waits(void **state)
{
	struct fixture *f = *state;
	static char kib[1024];
	uint64_t n = 0;

	while (!kv_full(f->kv)) {
		struct kv_batch *b = kv_batch_new();

		kv_put(b, CF_RECORDS, &n, sizeof(n), kib, sizeof(kib));
		kv_write(f->kv, &b, NULL, NULL, 0);
		n++;
	}
	assert_in_range(n, 240, 256);
	settle(f);
	assert_false(kv_full(f->kv));
}

static void count_free(void *hint)
{
	__atomic_add_fetch((int *)hint, 1, __ATOMIC_SEQ_CST);
}

static void blob_is_referenced_and_dropped(void **state)
{
	struct fixture *f = *state;
	static const char bytes[] = "bytes that somebody else owns";
	int freed = 0;
	struct blob *blob = blob_wrap(bytes, strlen(bytes), count_free, &freed);
	struct kv_batch *b = kv_batch_new();

	kv_put_blob(b, CF_BODIES, "k", 1, blob);
	kv_put_blob(b, CF_BODIES, "l", 1, blob);
	kv_put(b, CF_RECORDS, "m", 1, "after a blob", 12);
	kv_write(f->kv, &b, NULL, NULL, 0);
	settle(f);
	assert_int_equal(freed, 0);
	blob_unref(&blob);
	assert_int_equal(freed, 1); /* so ours was the last */
	assert_value(f, CF_BODIES, "k", bytes);
	assert_value(f, CF_BODIES, "l", bytes);
	assert_value(f, CF_RECORDS, "m", "after a blob");
}

static void batch_that_is_not_written_drops_its_blobs(void **state)
{
	int freed = 0;
	struct blob *blob = blob_wrap("x", 1, count_free, &freed);
	struct kv_batch *b = kv_batch_new();

	kv_put_blob(b, CF_BODIES, "k", 1, blob);
	blob_unref(&blob);
	assert_int_equal(freed, 0);
	kv_batch_free(&b);
	assert_null(b);
	assert_int_equal(freed, 1);
	kv_batch_free(&b);
}

static void close_finishes_what_waits(void **state)
{
	struct fixture *f = *state;
	struct seen s = { 0 };

	for (uint64_t i = 1; i <= 300; i++) {
		struct kv_batch *b = kv_batch_new();

		kv_put(b, CF_RECORDS, &i, sizeof(i), "v", 1);
		kv_write(f->kv, &b, note, &s, i);
	}
	kv_close(&f->kv);
	assert_int_equal(s.n, 300);
	assert_int_equal(s.failed, 0);
	assert_true(s.in_order);
	open_store(f);
	for (uint64_t i = 1; i <= 300; i++) {
		struct buf got = BUF_INIT;

		assert_int_equal(kv_get(f->kv, CF_RECORDS, &i, sizeof(i), &got), ERR_OK);
		buf_free(&got);
	}
}

/* A done function may write again while the store closes; that write is told
 * that it will never be. */
struct again {
	struct kv *kv;
	struct seen second;
};

static void write_again(enum err err, void *owner, uint64_t id)
{
	struct again *a = owner;
	struct kv_batch *b = kv_batch_new();

	kv_put(b, CF_RECORDS, "again", 5, "v", 1);
	kv_write(a->kv, &b, note, &a->second, 1);
}

static void write_during_close_gets_an_error(void **state)
{
	struct fixture *f = *state;
	struct again a = { .kv = f->kv };
	struct kv_batch *b = kv_batch_new();

	kv_put(b, CF_RECORDS, "first", 5, "v", 1);
	kv_write(f->kv, &b, write_again, &a, 1);
	kv_close(&f->kv);
	assert_int_equal(a.second.n, 1);
	assert_int_equal(a.second.failed, 1);
	open_store(f);
	assert_value(f, CF_RECORDS, "first", "v");
	assert_value(f, CF_RECORDS, "again", NULL);
}

/* --- opening --- */

static void id_stays_and_is_unique(void **state)
{
	struct fixture *f = *state, *g;
	uint8_t id[16];
	void *other;

	memcpy(id, kv_store_id(f->kv), sizeof(id));
	reopen(f);
	assert_memory_equal(id, kv_store_id(f->kv), sizeof(id));
	setup(&other);
	g = other;
	assert_memory_not_equal(id, kv_store_id(g->kv), sizeof(id));
	teardown(&other);
}

static void second_opener_is_told(void **state)
{
	struct fixture *f = *state;
	struct kv *kv = NULL;

	assert_int_equal(kv_open(&f->loop, f->dir, cfs, N_CFS, &small_conf, &kv), ERR_EXIST);
	assert_null(kv);
}

static void unknown_family_on_disk_is_refused(void **state)
{
	struct fixture *f = *state;
	struct kv *kv = NULL;

	kv_close(&f->kv);
	assert_int_equal(kv_open(&f->loop, f->dir, cfs, N_CFS - 1, &small_conf, &kv), ERR_IO);
	assert_null(kv);
	open_store(f);
}

static void path_that_is_a_file_is_refused(void **state)
{
	struct fixture *f = *state;
	char path[128];
	struct kv *kv = NULL;

	snprintf(path, sizeof(path), "%s/CURRENT/sub", f->dir);
	assert_int_equal(kv_open(&f->loop, path, cfs, N_CFS, &small_conf, &kv), ERR_IO);
	assert_null(kv);
}

static void missing_folders_are_made(void **state)
{
	struct fixture *f = *state;
	char path[128];
	struct kv *kv = NULL;

	snprintf(path, sizeof(path), "%s/deep/er", f->dir);
	assert_int_equal(kv_open(&f->loop, path, cfs, N_CFS, &small_conf, &kv), ERR_OK);
	kv_close(&kv);
	kv_close(&kv);
}

/* --- ranges --- */

static struct range {
	const char *name;
	const char *from, *to; /* NULL: open */
	const char *want;      /* the keys found, joined */
} ranges[] = {
	{ "range: everything", NULL, NULL, "a b ba c d" },
	{ "range: from is inside", "b", NULL, "b ba c d" },
	{ "range: to is outside", NULL, "c", "a b ba" },
	{ "range: both ends", "b", "c", "b ba" },
	{ "range: from between keys", "aa", "bb", "b ba" },
	{ "range: nothing between", "e", "f", "" },
	{ "range: from equals to", "b", "b", "" },
	{ "range: behind the end", "x", NULL, "" },
};

static void range_gives_keys(void **state)
{
	const struct range *r = *state;
	struct fixture *f;
	struct buf got = BUF_INIT;
	struct kv_iter *it;
	const char *key, *val;
	size_t klen, vlen;
	void *fs;

	setup(&fs);
	f = fs;
	for (const char *p = "d b c ba a"; *p != '\0'; p += strcspn(p, " "), p += *p == ' ') {
		char word[4] = { 0 };

		memcpy(word, p, strcspn(p, " "));
		put_now(f, CF_QUEUE, word, word);
	}
	it = kv_iter_new(f->kv, CF_QUEUE, r->from, r->from ? strlen(r->from) : 0, r->to,
	                 r->to ? strlen(r->to) : 0);
	put_now(f, CF_QUEUE, "bbb", "later than the iterator");
	while (kv_iter_next(it)) {
		key = kv_iter_key(it, &klen);
		val = kv_iter_value(it, &vlen);
		assert_int_equal(klen, vlen);
		assert_memory_equal(key, val, klen);
		buf_addf(&got, "%s%.*s", got.len > 0 ? " " : "", (int)klen, key);
	}
	assert_false(kv_iter_next(it)); /* stays at the end */
	assert_string_equal(buf_str(&got), r->want);
	assert_int_equal(kv_iter_free(&it), ERR_OK);
	assert_null(it);
	buf_free(&got);
	teardown(&fs);
}

/* --- the same program as a child --- */

static void body_of(uint64_t id, unsigned char body[BODY_BYTES])
{
	for (size_t i = 0; i < BODY_BYTES; i++)
		body[i] = (unsigned char)((id * 2654435761u + i * 40503u) >> 7);
}

struct child {
	struct kv *kv;
	uint64_t next, failures;
};

static void child_done(enum err err, void *owner, uint64_t id);

static void child_write(struct child *c)
{
	unsigned char body[BODY_BYTES];
	struct kv_batch *b = kv_batch_new();
	uint64_t id = ++c->next;
	struct blob *blob;

	body_of(id, body);
	blob = blob_copy(body, sizeof(body));
	kv_put(b, CF_RECORDS, &id, sizeof(id), &id, sizeof(id));
	kv_put_blob(b, CF_BODIES, &id, sizeof(id), blob);
	kv_put(b, CF_QUEUE, &id, sizeof(id), NULL, 0);
	blob_unref(&blob);
	kv_write(c->kv, &b, child_done, c, id);
}

/* Acknowledge on standard output; the parent takes that as a promise. */
static void child_done(enum err err, void *owner, uint64_t id)
{
	struct child *c = owner;

	if (err != ERR_OK) {
		c->failures++;
		return;
	}
	if (c->failures > 0 || write(STDOUT_FILENO, &id, sizeof(id)) != sizeof(id))
		_exit(9);
	child_write(c);
}

/* load: write for ever.  limit: write until the disk says no, then check that
 * the store says no as well. */
static int child_main(const char *what, const char *dir)
{
	struct rlimit limit = { 3 << 20, 3 << 20 };
	struct child c = { 0 };
	struct kv_stats st;
	uv_loop_t loop;

	signal(SIGXFSZ, SIG_IGN);
	uv_loop_init(&loop);
	if (kv_open(&loop, dir, cfs, N_CFS, &small_conf, &c.kv) != ERR_OK)
		return 2;
	if (strcmp(what, "limit") == 0 && setrlimit(RLIMIT_FSIZE, &limit) != 0)
		return 3;
	for (int i = 0; i < 64; i++)
		child_write(&c);
	uv_run(&loop, UV_RUN_DEFAULT);
	kv_stats_get(c.kv, &st);
	if (!st.failed || c.failures != 64)
		return 4;
	child_write(&c);
	uv_run(&loop, UV_RUN_DEFAULT);
	if (c.failures != 65)
		return 5;
	kv_close(&c.kv);
	uv_run(&loop, UV_RUN_DEFAULT);
	return uv_loop_close(&loop) == 0 ? 0 : 6;
}

static pid_t start_child(const char *what, const char *dir, int *from_child)
{
	int fds[2];
	pid_t pid;

	assert_int_equal(pipe(fds), 0);
	pid = fork();
	if (pid == 0) {
		dup2(fds[1], STDOUT_FILENO);
		close(fds[0]);
		close(fds[1]);
		execl("/proc/self/exe", "test_kv", what, dir, (char *)NULL);
		_exit(127);
	}
	close(fds[1]);
	*from_child = fds[0];
	return pid;
}

/* Read promises until there are `most` or the child is gone; returns their number. */
static uint64_t read_acks(int fd, uint64_t have, uint64_t most)
{
	uint64_t id;

	while (have < most && read(fd, &id, sizeof(id)) == sizeof(id))
		assert_int_equal(id, ++have);
	return have;
}

static bool is_there(struct fixture *f, unsigned cf, uint64_t id, const void *want, size_t len)
{
	struct buf got = BUF_INIT;
	enum err err = kv_get(f->kv, cf, &id, sizeof(id), &got);

	if (err == ERR_OK) {
		assert_int_equal(got.len, len);
		if (len > 0)
			assert_memory_equal(got.data, want, len);
	} else {
		assert_int_equal(err, ERR_NOENT);
	}
	buf_free(&got);
	return err == ERR_OK;
}

/* All that was acknowledged is there, and every batch whole or not at all. */
static void check_promises(struct fixture *f, uint64_t acked)
{
	unsigned char body[BODY_BYTES];

	for (uint64_t id = 1; id < acked + 1000; id++) {
		bool record = is_there(f, CF_RECORDS, id, &id, sizeof(id));

		body_of(id, body);
		assert_int_equal(is_there(f, CF_BODIES, id, body, sizeof(body)), record);
		assert_int_equal(is_there(f, CF_QUEUE, id, NULL, 0), record);
		assert_true(record || id > acked);
	}
}

static void killed_store_has_all_it_acknowledged(void **state)
{
	struct fixture *f = *state;
	uint64_t acked;
	int fd, status;
	pid_t pid;

	kv_close(&f->kv);
	pid = start_child("load", f->dir, &fd);
	acked = read_acks(fd, 0, 2000);
	assert_int_equal(acked, 2000);
	kill(pid, SIGKILL);
	acked = read_acks(fd, acked, UINT64_MAX);
	close(fd);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	open_store(f);
	check_promises(f, acked);
}

static void full_disk_fails_the_store_and_loses_nothing(void **state)
{
	struct fixture *f = *state;
	uint64_t acked;
	int fd, status;
	pid_t pid;

	kv_close(&f->kv);
	pid = start_child("limit", f->dir, &fd);
	acked = read_acks(fd, 0, UINT64_MAX);
	close(fd);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	assert_true(acked >= 64);
	open_store(f);
	check_promises(f, acked);
	put_now(f, CF_RECORDS, "after", "works again");
}

#define IN_STORE(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

static const struct CMUnitTest store_tests[] = {
	IN_STORE(value_is_there_after_its_write),
	IN_STORE(batch_changes_all_families_together),
	IN_STORE(later_batch_wins),
	IN_STORE(many_batches_share_few_syncs),
	IN_STORE(lazy_batch_goes_out_within_a_second_unsynced),
	IN_STORE(lazy_batch_wakes_a_writer_that_sleeps),
	IN_STORE(lazy_batch_keeps_its_place),
	IN_STORE(full_when_too_much_waits),
	IN_STORE(blob_is_referenced_and_dropped),
	IN_STORE(batch_that_is_not_written_drops_its_blobs),
	IN_STORE(close_finishes_what_waits),
	IN_STORE(write_during_close_gets_an_error),
	IN_STORE(id_stays_and_is_unique),
	IN_STORE(second_opener_is_told),
	IN_STORE(unknown_family_on_disk_is_refused),
	IN_STORE(path_that_is_a_file_is_refused),
	IN_STORE(missing_folders_are_made),
	IN_STORE(killed_store_has_all_it_acknowledged),
	IN_STORE(full_disk_fails_the_store_and_loses_nothing),
};

int main(int argc, char **argv)
{
	struct CMUnitTest range_tests[ARRAY_LEN(ranges)];
	int failed;

	if (argc == 3)
		return child_main(argv[1], argv[2]);
	for (size_t i = 0; i < ARRAY_LEN(ranges); i++)
		range_tests[i] = (struct CMUnitTest){
			.name = ranges[i].name,
			.test_func = range_gives_keys,
			.initial_state = &ranges[i],
		};
	failed = cmocka_run_group_tests_name("kv", store_tests, NULL, NULL);
	return failed + cmocka_run_group_tests_name("kv ranges", range_tests, NULL, NULL);
}
