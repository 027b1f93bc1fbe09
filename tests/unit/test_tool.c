/* tests/unit/test_tool.c - a tool asks a stage in another process */
#include "tests/unit/bus_rig.h"
#include <signal.h>
#include <sys/wait.h>
#include <sysexits.h>
#include "proto/tool.h"

static char dir[64], conf[96];
static pid_t child;
static struct bus *served;

static void on_status(void *state, const struct bus_from *from, const Holdfast__Frame *f,
                      struct blob *body)
{
	Holdfast__StatusAnswer a = HOLDFAST__STATUS_ANSWER__INIT;
	Holdfast__Frame out = HOLDFAST__FRAME__INIT;
	struct blob *b = blob_copy("header", 6);

	a.instance = pb_str("holdq-1");
	a.depth = 7;
	out.body_case = HOLDFAST__FRAME__BODY_STATUS_ANSWER;
	out.status_answer = &a;
	bus_answer(served, from, &out, b);
	blob_unref(&b);
}

static void on_trace(void *state, const struct bus_from *from, const Holdfast__Frame *f,
                     struct blob *body)
{
	bus_refuse(served, from, HOLDFAST__REFUSED__WHY__BUSY, "no room");
}

static const struct bus_handler handlers[] = {
	{ HOLDFAST__FRAME__BODY_STATUS_QUERY, BUS_ANY, false, on_status },
	{ HOLDFAST__FRAME__BODY_TRACE_QUERY, BUS_ANY, false, on_trace },
	{ HOLDFAST__FRAME__BODY_HELD_QUERY, BUS_ROLE(HOLDFAST__ROLE__ROLE_REVIEWER), false,
	  on_trace },
	{ 0 }
};

static void serve(void)
{
	static char endpoint[128];
	static char name[] = "holdq-1";
	static struct worker_instance row = { name, 2, endpoint, NULL };
	static struct common_conf common = {
		.instances = { &row, 1 }, .bus_hello_interval_ms = 1000, .bus_credit_messages = 4,
		.bus_credit_bytes = 1 << 20, .bus_waiting_asks = 64, .bus_frame_bytes = 65536,
		.bus_body_bytes = 1 << 20,
	};
	const struct bus_conf c = { .common = &common, .role = HOLDFAST__ROLE__ROLE_HOLDQ,
	                            .instance = "holdq-1", .bind = endpoint, .handlers = handlers };
	uv_loop_t loop;

	snprintf(endpoint, sizeof(endpoint), "ipc://%s/run/holdq-1.bus", dir);
	alarm(50);
	uv_loop_init(&loop);
	if (bus_open(&loop, &c, &served) == ERR_OK)
		uv_run(&loop, UV_RUN_DEFAULT);
	_exit(1);
}

static int setup(void **state)
{
	FILE *f;

	snprintf(dir, sizeof(dir), "/tmp/hf-tool-XXXXXX");
	assert_non_null(mkdtemp(dir));
	snprintf(conf, sizeof(conf), "%s/holdfast.yaml", dir);
	f = fopen(conf, "w");
	assert_non_null(f);
	fprintf(f, "hostname: relay.example.net\ninstances:\n"
	        "  - {name: holdq-1, stage: holdq, bus: \"ipc://%s/run/holdq-1.bus\", metrics: \"\"}\n"
	        "  - {name: policy-1, stage: policy, bus: \"ipc://%s/run/policy-1.bus\", metrics: \"\"}\n",
	        dir, dir);
	fclose(f);
	child = fork();
	if (child == 0)
		serve();
	return 0;
}

static int teardown(void **state)
{
	char path[128];

	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
	snprintf(path, sizeof(path), "%s/run/holdq-1.bus", dir);
	unlink(path);
	snprintf(path, sizeof(path), "%s/run", dir);
	rmdir(path);
	unlink(conf);
	rmdir(dir);
	return 0;
}

static const struct bus_to holdq = { HOLDFAST__ROLE__ROLE_HOLDQ, 0 };
static const struct bus_to policy = { HOLDFAST__ROLE__ROLE_POLICY, 0 };

static void status(Holdfast__Frame *f)
{
	static Holdfast__StatusQuery q = HOLDFAST__STATUS_QUERY__INIT;

	f->body_case = HOLDFAST__FRAME__BODY_STATUS_QUERY;
	f->status_query = &q;
}

static void an_answer_is_the_callers(void **state)
{
	struct tool *t;
	struct tool_answer a;
	Holdfast__Frame f = HOLDFAST__FRAME__INIT;

	status(&f);
	assert_int_equal(tool_open(conf, HOLDFAST__ROLE__ROLE_OPERATOR, &t), ERR_OK);
	assert_int_equal(tool_instances(t, HOLDFAST__ROLE__ROLE_HOLDQ), 1);
	assert_string_equal(tool_instance_name(t, HOLDFAST__ROLE__ROLE_HOLDQ, 0), "holdq-1");
	assert_int_equal(tool_ask(t, holdq, &f, 20000, &a), ERR_OK);
	tool_close(&t);
	assert_int_equal(a.frame->status_answer->depth, 7);
	assert_true(pb_is(a.frame->status_answer->instance, "holdq-1"));
	assert_int_equal(a.body->len, 6);
	tool_answer_free(&a);
	tool_answer_free(&a);
}

static void refusals_and_silence_are_errors(void **state)
{
	struct tool *t;
	struct tool_answer a;
	Holdfast__Frame f = HOLDFAST__FRAME__INIT;
	Holdfast__TraceQuery trace = HOLDFAST__TRACE_QUERY__INIT;
	Holdfast__HeldQuery held = HOLDFAST__HELD_QUERY__INIT;

	assert_int_equal(tool_open(conf, HOLDFAST__ROLE__ROLE_OPERATOR, &t), ERR_OK);
	f.body_case = HOLDFAST__FRAME__BODY_TRACE_QUERY;
	f.trace_query = &trace;
	assert_int_equal(tool_ask(t, holdq, &f, 20000, &a), ERR_AGAIN);
	assert_string_equal(tool_refusal(t), "no room");
	f.body_case = HOLDFAST__FRAME__BODY_HELD_QUERY;
	f.held_query = &held;
	assert_int_equal(tool_ask(t, holdq, &f, 20000, &a), ERR_PERM);
	status(&f);
	assert_int_equal(tool_ask(t, policy, &f, 100, &a), ERR_TIMEOUT);
	assert_null(tool_refusal(t));
	tool_close(&t);
}

static void a_bad_configuration_is_told(void **state)
{
	struct tool *t = NULL;

	assert_int_equal(tool_open("/nowhere.yaml", HOLDFAST__ROLE__ROLE_OPERATOR, &t), ERR_NOENT);
	assert_null(t);
}

static void exit_codes_are_those_of_sysexits(void **state)
{
	assert_int_equal(tool_exit_code(ERR_OK), 0);
	assert_int_equal(tool_exit_code(ERR_TIMEOUT), EX_UNAVAILABLE);
	assert_int_equal(tool_exit_code(ERR_PERM), EX_NOPERM);
	assert_int_equal(tool_exit_code(ERR_NOENT), EX_DATAERR);
	assert_int_equal(tool_exit_code((enum err)999), EX_SOFTWARE);
	for (int e = 1; e < ERR__COUNT; e++)
		assert_int_not_equal(tool_exit_code((enum err)e), 0);
}

static void the_user_behind_sudo_is_named(void **state)
{
	setenv("SUDO_USER", "alice", 1);
	assert_string_equal(tool_user(), "alice");
	unsetenv("SUDO_USER");
	assert_true(strlen(tool_user()) > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_answer_is_the_callers),
		cmocka_unit_test(refusals_and_silence_are_errors),
		cmocka_unit_test(a_bad_configuration_is_told),
		cmocka_unit_test(exit_codes_are_those_of_sysexits),
		cmocka_unit_test(the_user_behind_sudo_is_named),
	};

	return cmocka_run_group_tests_name("tool", tests, setup, teardown);
}
