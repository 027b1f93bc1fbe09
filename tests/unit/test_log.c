/* tests/unit/test_log.c - one event is one line, whatever its values hold
 *
 * The log is one for the process and writes to standard error, so each test runs it
 * in a child whose standard error is a pipe.
 */
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>
#include <cmocka.h>
#include <jansson.h>
#include "lib/buf.h"
#include "lib/log.h"
#include "lib/log_escape.h"
#include "lib/mem.h"

static struct row {
	const char *name, *bytes, *text, *json;
	size_t len;
} rows[] = {
#define R(n, b, t, j) { n, b, t, j, sizeof(b) - 1 }
	R("a plain word stays bare", "a@b.example", "a@b.example", "\"a@b.example\""),
	R("nothing is quoted", "", "\"\"", "\"\""),
	R("a space is quoted", "a b", "\"a b\"", "\"a b\""),
	R("an equals sign cannot make a pair", "a=b", "\"a=b\"", "\"a=b\""),
	R("quotes and backslashes", "a\"b\\c", "\"a\\\"b\\\\c\"", "\"a\\\"b\\\\c\""),
	R("a line end cannot make a line", "a\r\nb\tc", "\"a\\r\\nb\\tc\"", "\"a\\r\\nb\\tc\""),
	R("a terminal's escape", "\x1b[2J", "\"\\x1b[2J\"", "\"\\u001b[2J\""),
	R("a NUL inside", "a\0b", "\"a\\x00b\"", "\"a\\u0000b\""),
	R("delete", "\x7f", "\"\\x7f\"", "\"\\u007f\""),
	R("letters beyond ASCII", "\xc3\xa9\xe2\x82\xac", "\"\\xc3\\xa9\\xe2\\x82\\xac\"",
	  "\"\\u00e9\\u20ac\""),
	R("beyond 16 bits", "\xf0\x9f\x93\xa7", "\"\\xf0\\x9f\\x93\\xa7\"",
	  "\"\\ud83d\\udce7\""),
	R("no UTF-8", "\xff\xfe", "\"\\xff\\xfe\"", "\"\\ufffd\\ufffd\""),
	R("overlong UTF-8", "\xc0\xaf", "\"\\xc0\\xaf\"", "\"\\ufffd\\ufffd\""),
	R("a surrogate in UTF-8", "\xed\xa0\x80", "\"\\xed\\xa0\\x80\"",
	  "\"\\ufffd\\ufffd\\ufffd\""),
	R("cut UTF-8", "a\xe2\x82", "\"a\\xe2\\x82\"", "\"a\\ufffd\\ufffd\""),
};

static void row_is_escaped(void **state)
{
	const struct row *r = *state;
	struct buf b = BUF_INIT;

	log_escape_text(&b, r->bytes, r->len, 0);
	assert_string_equal(buf_str(&b), r->text);
	buf_reset(&b);
	log_escape_json(&b, r->bytes, r->len, 0);
	assert_string_equal(buf_str(&b), r->json);
	buf_free(&b);
}

static void every_byte_gives_valid_json(void **state)
{
	for (int i = 0; i < 65536; i++) {
		char two[2] = { (char)(i >> 8), (char)i };
		struct buf b = BUF_INIT;
		json_t *j;

		log_escape_json(&b, two, 2, 0);
		j = json_loadb(b.data, b.len, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
		assert_non_null(j);
		json_decref(j);
		buf_free(&b);
	}
}

typedef void child_fn(void);

/* What run() logs, and how its process ends. */
static char *logged(child_fn *run, int *status)
{
	struct buf all = BUF_INIT;
	int fd[2];
	ssize_t n;
	pid_t pid;

	assert_int_equal(pipe2(fd, O_CLOEXEC), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		dup2(fd[1], STDERR_FILENO);
		run();
		_exit(0);
	}
	close(fd[1]);
	while ((n = read(fd[0], buf_room(&all, 65536), 65536)) > 0)
		buf_grew(&all, (size_t)n);
	close(fd[0]);
	assert_int_equal(waitpid(pid, status, 0), pid);
	return all.data != NULL ? all.data : xstrdup("");
}

static void run_text(void)
{
	struct uuid id = { { 0 } };

	log_open("ingest-1", LVL_INFO, LOG_TEXT);
	log_info("accepted", LOGID(&id), LOGS("from", "a b"), LOGS("none", NULL),
	         LOGB("raw", "x\0y", 3), LOGU("size", UINT64_MAX), LOGI("delta", -5),
	         LOGE(ERR_TIMEOUT));
	log_debug("not-shown");
	log_set_level(LVL_DEBUG);
	log_debug("shown");
	log_flush();
}

static void a_text_line_has_time_worker_level_event_pairs(void **state)
{
	int status, year, n = 0;
	char *text = logged(run_text, &status), *second;

	assert_int_equal(status, 0);
	assert_int_equal(sscanf(text, "%d-%*2d-%*2dT%*2d:%*2d:%*2d.%*3dZ%n", &year, &n), 1);
	assert_int_equal(n, 24);
	assert_true(year >= 2024);
	second = strchr(text, '\n') + 1;
	assert_string_equal(second + 24, " ingest-1 debug shown\n");
	second[-1] = '\0';
	assert_string_equal(text + n, " ingest-1 info accepted id=00000000000000000000000000 "
	                    "from=\"a b\" none=- raw=\"x\\x00y\" size=18446744073709551615 "
	                    "delta=-5 err=\"timed out\"");
	xfree(text);
}

static void run_json(void)
{
	log_open("a\"b", LVL_INFO, LOG_JSON);
	log_info("ev", LOGS("s", "1\n2"), LOGS("none", NULL), LOGU("n", 7), LOGI("i", -7));
	log_flush();
}

static void a_json_line_is_an_object(void **state)
{
	int status;
	char *text = logged(run_json, &status);
	json_t *j = json_loads(text, 0, NULL);

	assert_int_equal(status, 0);
	assert_ptr_equal(strchr(text, '\n'), text + strlen(text) - 1);
	assert_non_null(j);
	assert_int_equal(json_object_size(j), 8);
	assert_string_equal(json_string_value(json_object_get(j, "worker")), "a\"b");
	assert_string_equal(json_string_value(json_object_get(j, "level")), "info");
	assert_string_equal(json_string_value(json_object_get(j, "event")), "ev");
	assert_string_equal(json_string_value(json_object_get(j, "s")), "1\n2");
	assert_true(json_is_null(json_object_get(j, "none")));
	assert_int_equal(json_integer_value(json_object_get(j, "n")), 7);
	assert_int_equal(json_integer_value(json_object_get(j, "i")), -7);
	assert_int_equal(strlen(json_string_value(json_object_get(j, "time"))), 24);
	json_decref(j);
	xfree(text);
}

static void run_levels(void)
{
	log_open("w", LVL_INFO, LOG_TEXT);
	log_info("waits");
	log_warn("goes at once, with what waits");
	log_info("is lost without a flush");
	_exit(0);
}

static void warnings_do_not_wait(void **state)
{
	int status;
	char *text = logged(run_levels, &status);

	assert_non_null(strstr(text, "info waits\n"));
	assert_non_null(strstr(text, "warn goes at once"));
	assert_null(strstr(text, "lost"));
	xfree(text);
}

static void run_long(void)
{
	char value[5000];

	memset(value, 'v', sizeof(value));
	log_open("w", LVL_INFO, LOG_TEXT);
	log_info("long", LOGB("v", value, sizeof(value)));
	log_flush();
}

static void a_long_value_is_cut_and_says_so(void **state)
{
	int status;
	char *text = logged(run_long, &status);

	assert_true(strlen(text) < 1200);
	assert_non_null(strstr(text, "vvv...+3976\"\n"));
	xfree(text);
}

static void run_fatal(void)
{
	log_open("w", LVL_INFO, LOG_TEXT);
	log_info("before");
	log_fatal(EX_IOERR, "store-failed", LOG_PAIRS(LOGS("what", "sync")));
}

static void fatal_ends_with_its_code_and_all_lines(void **state)
{
	int status;
	char *text = logged(run_fatal, &status);

	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), EX_IOERR);
	assert_non_null(strstr(text, " info before\n"));
	assert_non_null(strstr(text, " error store-failed what=sync\n"));
	xfree(text);
}

static void run_bug(void)
{
	die_bug("two owners");
}

static void a_bug_aborts_with_its_place(void **state)
{
	int status;
	char *text = logged(run_bug, &status);

	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGABRT);
	assert_non_null(strstr(text, " error bug what=\"two owners\" file="));
	assert_non_null(strstr(text, "test_log.c line="));
	xfree(text);
}

enum { THREADS = 4, LINES = 3000 };

static void *write_lines(void *arg)
{
	for (int i = 0; i < LINES; i++)
		log_info("line", LOGS("thread", arg), LOGI("i", i));
	return NULL;
}

static void run_threads(void)
{
	static const char *const names[THREADS] = { "a", "b", "c", "d" };
	pthread_t thread[THREADS];

	log_open("w", LVL_INFO, LOG_TEXT);
	for (int i = 0; i < THREADS; i++)
		pthread_create(&thread[i], NULL, write_lines, (void *)names[i]);
	for (int i = 0; i < THREADS; i++)
		pthread_join(thread[i], NULL);
	log_flush();
}

static void lines_of_threads_stay_whole(void **state)
{
	int status, next[THREADS] = { 0 }, lines = 0;
	char *text = logged(run_threads, &status), *line, *rest = text, thread;
	int i;

	while ((line = strsep(&rest, "\n")) != NULL && *line != '\0') {
		assert_int_equal(sscanf(line + 24, " w info line thread=%c i=%d", &thread, &i), 2);
		assert_in_range(thread, 'a', 'd');
		assert_int_equal(i, next[thread - 'a']++);
		lines++;
	}
	assert_int_equal(lines, THREADS * LINES);
	xfree(text);
}

/* A reader that stopped: the log gives up after its wait and says so later. */
static void a_stuck_reader_does_not_stop_us(void **state)
{
	int fd[2], status;
	char start[65536];
	struct buf all = BUF_INIT;
	ssize_t n;
	pid_t pid;

	assert_int_equal(pipe2(fd, O_CLOEXEC | O_NONBLOCK), 0);
	memset(start, '\n', sizeof(start));
	while (write(fd[1], start, sizeof(start)) > 0)
		continue;
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		dup2(fd[1], STDERR_FILENO);
		log_open("w", LVL_INFO, LOG_TEXT);
		log_warn("dropped");
		while (read(fd[0], start, sizeof(start)) > 0)
			continue;
		log_warn("after");
		_exit(0);
	}
	close(fd[1]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	while ((n = read(fd[0], buf_room(&all, 4096), 4096)) > 0)
		buf_grew(&all, (size_t)n);
	close(fd[0]);
	assert_null(strstr(buf_str(&all), "warn dropped"));
	assert_non_null(strstr(buf_str(&all), " warn log-dropped bytes="));
	assert_non_null(strstr(buf_str(&all), " warn after\n"));
	buf_free(&all);
}

int main(void)
{
	static const struct CMUnitTest more[] = {
		cmocka_unit_test(every_byte_gives_valid_json),
		cmocka_unit_test(a_text_line_has_time_worker_level_event_pairs),
		cmocka_unit_test(a_json_line_is_an_object),
		cmocka_unit_test(warnings_do_not_wait),
		cmocka_unit_test(a_long_value_is_cut_and_says_so),
		cmocka_unit_test(fatal_ends_with_its_code_and_all_lines),
		cmocka_unit_test(a_bug_aborts_with_its_place),
		cmocka_unit_test(lines_of_threads_stay_whole),
		cmocka_unit_test(a_stuck_reader_does_not_stop_us),
	};
	struct CMUnitTest tests[ARRAY_LEN(rows) + ARRAY_LEN(more)];

	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		tests[i] = (struct CMUnitTest){
			.name = rows[i].name, .test_func = row_is_escaped,
			.initial_state = &rows[i],
		};
	memcpy(&tests[ARRAY_LEN(rows)], more, sizeof(more));
	return cmocka_run_group_tests_name("log", tests, NULL, NULL);
}
