/* tests/unit/test_metrics.c - counting, and the text that Prometheus reads
 *
 * The whole exposition is also given to promtool where it is installed.
 */
#include <fcntl.h>
#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>
#include "lib/err.h"
#include "lib/metrics.h"

enum { SENT, DEPTH, WAITED, ODD };

static const char *const ways[] = { "direct", "a\"b\\c\nd", NULL };

static const struct metric_def defs[] = {
	[SENT] = { "sent_total", METRIC_COUNTER, "what went \"out\",\nby \\way", "way", ways },
	[DEPTH] = { "depth", METRIC_GAUGE, "what waits", NULL, NULL },
	[WAITED] = { "waited_seconds", METRIC_HISTOGRAM, "how long", NULL, NULL },
	[ODD] = { "odd", METRIC_GAUGE, "odd values", "way", ways },
	{ .name = NULL },
};

struct fixture {
	struct metrics *m;
	struct metric_set *set;
	struct buf text;
};

static struct fixture f;

static int set_up(void **state)
{
	f.m = metrics_new("ingest", "ingest-1");
	f.set = metric_set_new(f.m, defs);
	return 0;
}

static int tear_down(void **state)
{
	buf_free(&f.text);
	metrics_free(&f.m);
	assert_null(f.m);
	return 0;
}

static const char *rendered(void)
{
	buf_reset(&f.text);
	metrics_render(f.m, &f.text);
	return buf_str(&f.text);
}

#define assert_line(line) assert_non_null(strstr(rendered(), "\n" line "\n"))
#define WHO "stage=\"ingest\",instance=\"ingest-1\""

static void counters_add_up_by_label(void **state)
{
	metric_add_label(f.set, SENT, 0, 2);
	metric_add_label(f.set, SENT, 1, 3);
	metric_add(f.set, SENT, 5);
	assert_int_equal(metric_value(f.set, SENT), 10);
	assert_line("holdfast_sent_total{" WHO ",way=\"direct\"} 7");
	assert_line("holdfast_sent_total{" WHO ",way=\"a\\\"b\\\\c\\nd\"} 3");
	assert_ptr_equal(strstr(rendered(), "# HELP holdfast_sent_total what went \"out\",\\nby "
	                        "\\\\way\n# TYPE holdfast_sent_total counter\n"), rendered());
}

static void large_counters_stay_exact(void **state)
{
	metric_add(f.set, SENT, 9007199254740993ULL); /* no double can hold it */
	assert_line("holdfast_sent_total{" WHO ",way=\"direct\"} 9007199254740993");
}

static void gauges_show_the_last_value(void **state)
{
	metric_gauge(f.set, DEPTH, 7);
	assert_line("holdfast_depth{" WHO "} 7");
	metric_gauge(f.set, DEPTH, 0.1);
	assert_line("holdfast_depth{" WHO "} 0.1");
	metric_gauge(f.set, DEPTH, -1e300);
	assert_line("holdfast_depth{" WHO "} -1e+300");
	assert_int_equal(metric_value(f.set, DEPTH), 0);
	metric_gauge_label(f.set, ODD, 0, NAN);
	metric_gauge_label(f.set, ODD, 1, -INFINITY);
	assert_line("holdfast_odd{" WHO ",way=\"direct\"} NaN");
	assert_line("holdfast_odd{" WHO ",way=\"a\\\"b\\\\c\\nd\"} -Inf");
	assert_int_equal(metric_value(f.set, ODD), 0);
}

static struct row {
	const char *name;
	double v;
	int low; /* exponent of the first bucket that counts it; 15: only +Inf */
} rows[] = {
	{ "zero", 0, -14 },
	{ "negative", -3, -14 },
	{ "under the least bound", 1e-9, -14 },
	{ "the least bound itself", 0x1p-14, -14 },
	{ "just over the least bound", 0x1.0000001p-14, -13 },
	{ "one", 1, 0 },
	{ "just over one", 1.0000001, 1 },
	{ "three", 3, 2 },
	{ "four", 4, 2 },
	{ "the greatest bound itself", 16384, 14 },
	{ "over the greatest bound", 16385, 15 },
	{ "infinite", INFINITY, 15 },
};

static void row_falls_into_its_bucket(void **state)
{
	const struct row *r = *state;
	char line[200];

	set_up(NULL);
	metric_observe(f.set, WAITED, r->v);
	for (int e = -14; e <= 14; e++) {
		snprintf(line, sizeof(line),
		         "\nholdfast_waited_seconds_bucket{" WHO ",le=\"%.10g\"} %d\n",
		         ldexp(1, e), e >= r->low);
		assert_non_null(strstr(rendered(), line));
	}
	assert_line("holdfast_waited_seconds_bucket{" WHO ",le=\"+Inf\"} 1");
	assert_line("holdfast_waited_seconds_count{" WHO "} 1");
	tear_down(NULL);
}

static void a_histogram_has_sum_and_count(void **state)
{
	metric_observe(f.set, WAITED, 0.5);
	metric_observe(f.set, WAITED, 2.25);
	metric_observe(f.set, WAITED, NAN);
	assert_line("holdfast_waited_seconds_sum{" WHO "} 2.75");
	assert_line("holdfast_waited_seconds_count{" WHO "} 2");
	assert_int_equal(metric_value(f.set, WAITED), 2);
	assert_line("# TYPE holdfast_waited_seconds histogram");
}

static int promtool(const char *text, size_t len)
{
	int fd[2], status;
	pid_t pid;

	assert_int_equal(pipe2(fd, O_CLOEXEC), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		dup2(fd[0], STDIN_FILENO);
		execlp("promtool", "promtool", "check", "metrics", (char *)NULL);
		_exit(127);
	}
	close(fd[0]);
	assert_int_equal(write(fd[1], text, len), len);
	close(fd[1]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void promtool_takes_it(void **state)
{
	static const struct metric_def more[] = {
		{ "other_total", METRIC_COUNTER, "of another part", NULL, NULL },
		{ .name = NULL },
	};
	int code;

	metric_add(metric_set_new(f.m, more), 0, 1);
	metric_observe(f.set, WAITED, 0.1);
	metric_add_label(f.set, SENT, 1, 1);
	rendered();
	code = promtool(f.text.data, f.text.len);
	if (code == 127)
		skip();
	assert_int_equal(code, 0);
	/* The same tool must be able to say no. */
	buf_adds(&f.text, "holdfast_depth{ 1\n");
	assert_int_not_equal(promtool(f.text.data, f.text.len), 0);
}

static void a_name_declared_twice_is_a_bug(void **state)
{
	int status;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		close(STDERR_FILENO);
		metric_set_new(f.m, defs);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

int main(void)
{
	static const struct CMUnitTest more[] = {
		cmocka_unit_test_setup_teardown(counters_add_up_by_label, set_up, tear_down),
		cmocka_unit_test_setup_teardown(large_counters_stay_exact, set_up, tear_down),
		cmocka_unit_test_setup_teardown(gauges_show_the_last_value, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_histogram_has_sum_and_count, set_up, tear_down),
		cmocka_unit_test_setup_teardown(promtool_takes_it, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_name_declared_twice_is_a_bug, set_up, tear_down),
	};
	struct CMUnitTest tests[ARRAY_LEN(rows) + ARRAY_LEN(more)];

	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		tests[i] = (struct CMUnitTest){
			.name = rows[i].name, .test_func = row_falls_into_its_bucket,
			.initial_state = &rows[i],
		};
	memcpy(&tests[ARRAY_LEN(rows)], more, sizeof(more));
	return cmocka_run_group_tests_name("metrics", tests, NULL, NULL);
}
