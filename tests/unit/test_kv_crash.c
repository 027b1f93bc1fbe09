/* tests/unit/test_kv_crash.c - what is left of a store after kill -9, and after a full disk
 *
 * The store that suffers lives in a child, which is this program started again:
 * RocksDB's threads do not survive a fork.  The child acknowledges on its
 * standard output, and the parent takes that as a promise.
 */
#include "tests/unit/kv_fixture.h"

#include <signal.h>
#include <sys/resource.h>

enum { BODY_BYTES = 8192 };

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
		execl("/proc/self/exe", "test_kv_crash", what, dir, (char *)NULL);
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

static const struct CMUnitTest tests[] = {
	IN_STORE(killed_store_has_all_it_acknowledged),
	IN_STORE(full_disk_fails_the_store_and_loses_nothing),
};

int main(int argc, char **argv)
{
	if (argc == 3)
		return child_main(argv[1], argv[2]);
	return cmocka_run_group_tests_name("kv crash", tests, NULL, NULL);
}
