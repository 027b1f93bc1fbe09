/* tests/unit/test_mem.c - memory or exit code 71 with a line, nothing between
 *
 * The sanitizer's allocator is told to return NULL, as the system's does.
 */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>
#include <cmocka.h>
#include "lib/err.h"
#include "lib/mem.h"

const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
	return "allocator_may_return_null=1";
}

/* In variables, so that no compiler knows better. */
static volatile size_t too_much = SIZE_MAX / 4, half = SIZE_MAX / 2;

static void ask_malloc(void)
{
	xfree(xmalloc(too_much));
}

static void ask_realloc(void)
{
	xfree(xrealloc(xmalloc(1), too_much));
}

static void ask_product(void)
{
	xfree(xcalloc(half, 3));
}

static struct row {
	const char *name;
	void (*ask)(void);
} rows[] = {
	{ "more than there is", ask_malloc },
	{ "growth to more than there is", ask_realloc },
	{ "a product over the largest size", ask_product },
};

static void row_exits_with_a_line(void **state)
{
	const struct row *r = *state;
	char text[4096] = "";
	size_t len = 0;
	int fd[2], status;
	ssize_t n;
	pid_t pid;

	assert_int_equal(pipe2(fd, O_CLOEXEC), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		dup2(fd[1], STDERR_FILENO);
		r->ask();
		_exit(0);
	}
	close(fd[1]);
	while (len < sizeof(text) - 1 && (n = read(fd[0], text + len, sizeof(text) - 1 - len)) > 0)
		len += (size_t)n;
	close(fd[0]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), EX_OSERR);
	assert_non_null(strstr(text, " error out-of-memory bytes="));
}

static void small_requests_are_served(void **state)
{
	char *a = xmalloc(0), *b = xcalloc(0, 7), *c = xmemdup("xyz", 3), *d = xmemdup(NULL, 0);
	char *e = xstrdup("text"), *f = xstrndup("text", 2), *g = xstrndup("t", 9);
	char *h = xasprintf("%s-%d", "a", 7);

	assert_true(a != NULL && b != NULL && d != NULL);
	assert_memory_equal(c, "xyz", 3);
	assert_string_equal(e, "text");
	assert_string_equal(f, "te");
	assert_string_equal(g, "t");
	assert_string_equal(h, "a-7");
	a = xrealloc(a, 100);
	memset(a, 1, 100);
	b = xrealloc(b, 0);
	assert_non_null(b);
	xfree(NULL);
	for (size_t i = 0; i < 8; i++)
		xfree(((char *[]){ a, b, c, d, e, f, g, h })[i]);
}

int main(void)
{
	struct CMUnitTest tests[ARRAY_LEN(rows) + 1] = {
		[ARRAY_LEN(rows)] = cmocka_unit_test(small_requests_are_served),
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		tests[i] = (struct CMUnitTest){
			.name = rows[i].name, .test_func = row_exits_with_a_line,
			.initial_state = &rows[i],
		};
	return cmocka_run_group_tests_name("mem", tests, NULL, NULL);
}
