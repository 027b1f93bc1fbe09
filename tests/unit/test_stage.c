/* tests/unit/test_stage.c - a whole stage in a process of its own: start, answer, drain, end */
#include "tests/unit/bus_rig.h"
#include <ftw.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include "proto/outbox.h"
#include "proto/stage.h"
#include "proto/tool.h"

static char dir[64], conf[96];

static void on_durable(enum err err, void *owner, uint64_t id)
{
	struct stage *s = owner;
	struct bus_from *from = s->state;

	if (err == ERR_OK)
		bus_done(s->bus, from, HOLDFAST__DONE__RESULT__OK, "");
	else
		bus_refuse(s->bus, from, HOLDFAST__REFUSED__WHY__FAILED, "store");
	xfree(from);
	s->state = NULL;
}

/* Writes the reason under the name, and answers when that is durable. */
static void on_put(void *state, const struct bus_from *from, const Holdfast__Frame *f,
                   struct blob *body)
{
	struct stage *s = state;
	struct kv_batch *b = kv_batch_new();
	const Holdfast__AccountPut *p = f->account_put;

	s->state = xmemdup(from, sizeof(*from));
	kv_put(b, 0, "name", 4, p->reason.data, p->reason.len);
	kv_write(s->kv, &b, on_durable, s, 0);
}

static void on_get(void *state, const struct bus_from *from, const Holdfast__Frame *f,
                   struct blob *body)
{
	struct stage *s = state;
	struct buf b = BUF_INIT;
	enum err err = kv_get(s->kv, 0, "name", 4, &b);

	bus_done(s->bus, from, err == ERR_OK ? HOLDFAST__DONE__RESULT__OK
	                                     : HOLDFAST__DONE__RESULT__NO_SUCH, buf_str(&b));
	buf_free(&b);
}

static const struct bus_handler handlers[] = {
	{ HOLDFAST__FRAME__BODY_ACCOUNT_PUT, BUS_ROLE(HOLDFAST__ROLE__ROLE_OPERATOR), false, on_put },
	{ HOLDFAST__FRAME__BODY_ACCOUNT_GET, BUS_ANY, false, on_get },
	{ 0 }
};

static enum err on_open(struct stage *s)
{
	return s->kv != NULL && s->bus != NULL && s->started_ms > 0 ? ERR_OK : ERR_BADSTATE;
}

static bool on_busy(struct stage *s)
{
	return s->state != NULL;
}

static pid_t start(void)
{
	static const struct kv_cf cfs[] = { { "accounts", KV_RECORDS }, { NULL, KV_RECORDS } };
	static const struct metric_def metrics[] = {
		[0] = { "x_total", METRIC_COUNTER, "x" }, [1] = { NULL } };
	static const struct conf_param params[] = { { NULL } };
	static const struct stage_spec spec = {
		.name = "policy", .description = "test", .role = HOLDFAST__ROLE__ROLE_POLICY,
		.params = params, .conf_size = 1, .metrics = metrics, .handlers = handlers, .cfs = cfs,
		.asks = BUS_ROLE(HOLDFAST__ROLE__ROLE_POLICY), .open = on_open, .busy = on_busy,
	};
	static char name[] = "holdfast-policy", c[] = "-c";
	char *argv[] = { name, c, conf, NULL };
	pid_t pid = fork();

	if (pid == 0) {
		alarm(50);
		_exit(stage_main(&spec, 3, argv));
	}
	return pid;
}

static int stop(pid_t pid)
{
	int status = -1;

	kill(pid, SIGTERM);
	waitpid(pid, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1000;
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *at)
{
	return remove(path);
}

static int setup(void **state)
{
	FILE *f;

	snprintf(dir, sizeof(dir), "/tmp/hf-stage-XXXXXX");
	assert_non_null(mkdtemp(dir));
	snprintf(conf, sizeof(conf), "%s/holdfast.yaml", dir);
	f = fopen(conf, "w");
	assert_non_null(f);
	fprintf(f, "hostname: relay.example.net\ndata_dir: %s/data\nlog_level: warn\ninstances:\n"
	        "  - {name: policy-1, stage: policy, bus: \"ipc://%s/run/p.bus\", metrics: \"\"}\n",
	        dir, dir);
	fclose(f);
	return 0;
}

static int teardown(void **state)
{
	nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	return 0;
}

static const struct bus_to policy = { HOLDFAST__ROLE__ROLE_POLICY, 0 };

static void ask(Holdfast__Frame *f, const char *want)
{
	struct tool *t;
	struct tool_answer a;

	assert_int_equal(tool_open(conf, HOLDFAST__ROLE__ROLE_OPERATOR, &t), ERR_OK);
	assert_int_equal(tool_ask(t, policy, f, 20000, &a), ERR_OK);
	assert_int_equal(a.frame->body_case, HOLDFAST__FRAME__BODY_DONE);
	assert_true(pb_is(a.frame->done->text, want));
	tool_answer_free(&a);
	tool_close(&t);
}

static void what_was_answered_is_there_after_a_restart(void **state)
{
	Holdfast__AccountPut put = HOLDFAST__ACCOUNT_PUT__INIT;
	Holdfast__AccountGet get = HOLDFAST__ACCOUNT_GET__INIT;
	Holdfast__Frame f = HOLDFAST__FRAME__INIT;
	struct stat st;
	char path[128];
	int status;
	pid_t pid = start();

	put.reason = pb_str("kept");
	f.body_case = HOLDFAST__FRAME__BODY_ACCOUNT_PUT;
	f.account_put = &put;
	ask(&f, "");
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	pid = start();
	f.body_case = HOLDFAST__FRAME__BODY_ACCOUNT_GET;
	f.account_get = &get;
	ask(&f, "kept");
	snprintf(path, sizeof(path), "%s/data/policy-1", dir);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0700);
	assert_int_equal(stop(pid), 0);
}

static void a_store_in_use_ends_the_second_process_and_not_the_first(void **state)
{
	Holdfast__AccountGet get = HOLDFAST__ACCOUNT_GET__INIT;
	Holdfast__Frame f = HOLDFAST__FRAME__INIT;
	pid_t pid = start(), second;
	int status = 0;

	f.body_case = HOLDFAST__FRAME__BODY_ACCOUNT_GET;
	f.account_get = &get;
	ask(&f, "kept");
	second = start();
	waitpid(second, &status, 0);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) != 0);
	ask(&f, "kept"); /* the socket is still the first one's */
	assert_int_equal(stop(pid), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_was_answered_is_there_after_a_restart),
		cmocka_unit_test(a_store_in_use_ends_the_second_process_and_not_the_first),
	};

	return cmocka_run_group_tests_name("stage", tests, setup, teardown);
}
