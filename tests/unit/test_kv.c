/* tests/unit/test_kv.c - what the store promises: order, atomicity, bounds, opening */
#include "tests/unit/kv_fixture.h"

#include <dirent.h>
#include "lib/clock.h"

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

/* --- space --- */

static unsigned count_blob_files(const char *dir)
{
	DIR *d = opendir(dir);
	struct dirent *entry;
	unsigned n = 0;

	assert_non_null(d);
	while ((entry = readdir(d)) != NULL)
		n += strstr(entry->d_name, ".blob") != NULL;
	closedir(d);
	return n;
}

struct watch {
	const char *dir;
	bool want_files;
	uint64_t give_up_ms;
};

static void look(uv_timer_t *timer)
{
	struct watch *w = timer->data;

	if ((count_blob_files(w->dir) > 0) == w->want_files || clock_mono_ms() > w->give_up_ms)
		uv_close((uv_handle_t *)timer, NULL);
}

static void wait_for_blob_files(struct fixture *f, bool want)
{
	struct watch w = { f->dir, want, clock_mono_ms() + 15000 };
	uv_timer_t timer;

	uv_timer_init(&f->loop, &timer);
	timer.data = &w;
	uv_timer_start(&timer, look, 0, 20);
	uv_run(&f->loop, UV_RUN_DEFAULT);
	assert_int_equal(count_blob_files(f->dir) > 0, want);
}

static void change_bodies(struct fixture *f, bool put)
{
	static char body[8192];

	for (uint64_t i = 0; i < 1000; i++) {
		struct kv_batch *b = kv_batch_new();

		if (put)
			kv_put(b, CF_BODIES, &i, sizeof(i), body, sizeof(body));
		else
			kv_del(b, CF_BODIES, &i, sizeof(i));
		kv_write(f->kv, &b, NULL, NULL, 0);
	}
	settle(f);
}

/* Memtables that hold all of a test, and a flush when it is over. */
static void open_roomy(struct fixture *f)
{
	struct kv_conf conf = small_conf;

	kv_close(&f->kv);
	conf.idle_flush_ms = 20;
	conf.write_buffer_bytes = 64 << 20;
	assert_int_equal(kv_open(&f->loop, f->dir, cfs, N_CFS, &conf, &f->kv), ERR_OK);
}

/* Nothing else is written after the deletes, so only the idle store can do it. */
static void idle_store_gives_space_back(void **state)
{
	struct fixture *f = *state;

	open_roomy(f);
	change_bodies(f, true);
	wait_for_blob_files(f, true);
	change_bodies(f, false);
	wait_for_blob_files(f, false);
}

/* A body that is deleted before its memtable is full never becomes a file. */
static void short_lived_bodies_never_reach_a_file(void **state)
{
	struct fixture *f = *state;

	open_roomy(f);
	change_bodies(f, true);
	change_bodies(f, false);
	open_roomy(f); /* recovery flushes what it reads from the log */
	assert_int_equal(count_blob_files(f->dir), 0);
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
	IN_STORE(idle_store_gives_space_back),
	IN_STORE(short_lived_bodies_never_reach_a_file),
	IN_STORE(id_stays_and_is_unique),
	IN_STORE(second_opener_is_told),
	IN_STORE(unknown_family_on_disk_is_refused),
	IN_STORE(path_that_is_a_file_is_refused),
	IN_STORE(missing_folders_are_made),
};

int main(void)
{
	struct CMUnitTest range_tests[ARRAY_LEN(ranges)];
	int failed;

	for (size_t i = 0; i < ARRAY_LEN(ranges); i++)
		range_tests[i] = (struct CMUnitTest){
			.name = ranges[i].name,
			.test_func = range_gives_keys,
			.initial_state = &ranges[i],
		};
	failed = cmocka_run_group_tests_name("kv", store_tests, NULL, NULL);
	return failed + cmocka_run_group_tests_name("kv ranges", range_tests, NULL, NULL);
}
