/* tests/unit/kv_fixture.h - a store in a folder of its own, for the tests of the store */
#ifndef TESTS_UNIT_KV_FIXTURE_H
#define TESTS_UNIT_KV_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>
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

struct fixture {
	uv_loop_t loop;
	char dir[64];
	struct kv *kv;
};

static inline void remove_tree(const char *dir)
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

static inline void open_store(struct fixture *f)
{
	assert_int_equal(kv_open(&f->loop, f->dir, cfs, N_CFS, &small_conf, &f->kv), ERR_OK);
}

static inline int setup(void **state)
{
	struct fixture *f = xcalloc(1, sizeof(*f));

	strncpy(f->dir, "/tmp/hf-kv-XXXXXX", sizeof(f->dir) - 1);
	assert_non_null(mkdtemp(f->dir));
	assert_int_equal(uv_loop_init(&f->loop), 0);
	open_store(f);
	*state = f;
	return 0;
}

static inline int teardown(void **state)
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

static inline void reopen(struct fixture *f)
{
	kv_close(&f->kv);
	open_store(f);
}

/* What came back, in order. */
struct seen {
	uint64_t n, last, failed;
	bool in_order;
};

static inline void note(enum err err, void *owner, uint64_t id)
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
static inline void settle(struct fixture *f)
{
	struct kv_stats st;

	uv_run(&f->loop, UV_RUN_DEFAULT);
	kv_stats_get(f->kv, &st);
	assert_int_equal(st.pending_batches, 0);
	assert_int_equal(st.pending_bytes, 0);
}

static inline void put_now(struct fixture *f, unsigned cf, const char *key, const char *val)
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

static inline void assert_value(struct fixture *f, unsigned cf, const char *key, const char *want)
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

#define IN_STORE(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

#endif
