/* tests/unit/test_cli.c - how command lines of the tools are read */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>
#include <cmocka.h>
#include "lib/cli.h"

#define ARGS_MAX 12

/* What the last command that ran was given. */
static struct seen {
	int runs;
	bool flag, given, json;
	const char *text, *conf, *arg[3];
	uint64_t number, ms;
} seen;

static int run(struct cli *c, int argc, char **argv)
{
	struct seen s = { .runs = seen.runs + 1, .conf = c->conf_path };
	const struct cli_option options[] = {
		{ "flag", CLI_FLAG, &s.flag, NULL },
		{ "text", CLI_TEXT, &s.text, NULL },
		{ "number", CLI_NUMBER, &s.number, &s.given },
		{ "time", CLI_DURATION, &s.ms, NULL },
		{ NULL, CLI_FLAG, NULL, NULL },
	};
	enum err err = cli_parse(c, options, argc, argv, s.arg, (int[2]){ 1, 2 });

	if (err != ERR_OK)
		return cli_parse_exit(err);
	s.json = c->json;
	seen = s;
	return 3;
}

static int run_other(struct cli *c, int argc, char **argv)
{
	return 4;
}

static const struct cli_command commands[] = {
	{ "mail show", "ID [SECOND]", "Show it.\nMore of it.", run },
	{ "mail", "", "Another.", run_other },
	{ NULL, NULL, NULL, NULL },
};
static const struct cli_spec spec = { "tool", "does things", commands };

static struct row {
	const char *name;
	const char *argv[ARGS_MAX];
	int want;     /* exit code */
	bool ran;     /* run() got through */
	bool out;     /* something on standard output */
} rows[] = {
	{ "an argument is enough", { "mail", "show", "a" }, 3, true, false },
	{ "two words before one", { "mail" }, 4, false, false },
	{ "an argument too few", { "mail", "show" }, EX_USAGE, false, false },
	{ "an argument too many", { "mail", "show", "a", "b", "c" }, EX_USAGE, false, false },
	{ "no command", { NULL }, EX_USAGE, false, false },
	{ "an unknown command", { "fly" }, EX_USAGE, false, false },
	{ "the start of a word is not the word", { "mai", "show", "a" }, EX_USAGE, false, false },
	{ "an unknown option", { "mail", "show", "a", "--what" }, EX_USAGE, false, false },
	{ "an unknown option before the command", { "--what", "mail" }, EX_USAGE, false, false },
	{ "an option without its value", { "mail", "show", "a", "--text" }, EX_USAGE, false,
	  false },
	{ "a number", { "mail", "show", "a", "--number", "18446744073709551615" }, 3, true, false },
	{ "a number that is too large", { "mail", "show", "a", "--number", "18446744073709551616" },
	  EX_USAGE, false, false },
	{ "a negative number", { "mail", "show", "a", "--number", "-1" }, EX_USAGE, false, false },
	{ "a number with a tail", { "mail", "show", "a", "--number", "1k" }, EX_USAGE, false,
	  false },
	{ "an empty number", { "mail", "show", "a", "--number", "" }, EX_USAGE, false, false },
	{ "a duration without unit", { "mail", "show", "a", "--time", "5" }, EX_USAGE, false,
	  false },
	{ "a duration that overflows", { "mail", "show", "a", "--time", "18446744073709551615d" },
	  EX_USAGE, false, false },
	{ "help of the tool", { "--help" }, EX_OK, false, true },
	{ "help of a command, whatever else is wrong", { "mail", "show", "--help" }, EX_OK, false,
	  true },
	{ "the version", { "-V" }, EX_OK, false, true },
};

/* Run with standard output and error in files; how many bytes each got. */
static int call(const char *const *args, long *out_len, long *err_len)
{
	char *argv[ARGS_MAX + 2] = { (char *)"tool" };
	int argc = 1, code, keep_out, keep_err;
	FILE *out = tmpfile(), *err = tmpfile();

	assert_true(out != NULL && err != NULL);
	while (args[argc - 1] != NULL) {
		argv[argc] = (char *)args[argc - 1];
		argc++;
	}
	fflush(stdout);
	keep_out = dup(1);
	keep_err = dup(2);
	dup2(fileno(out), 1);
	dup2(fileno(err), 2);
	code = cli_main(&spec, NULL, argc, argv);
	fflush(stdout);
	fflush(stderr);
	dup2(keep_out, 1);
	dup2(keep_err, 2);
	close(keep_out);
	close(keep_err);
	*out_len = lseek(fileno(out), 0, SEEK_END);
	*err_len = lseek(fileno(err), 0, SEEK_END);
	fclose(out);
	fclose(err);
	return code;
}

static void row_is_read(void **state)
{
	const struct row *r = *state;
	long out, err;

	memset(&seen, 0, sizeof(seen));
	assert_int_equal(call(r->argv, &out, &err), r->want);
	assert_int_equal(seen.runs, r->ran);
	assert_int_equal(out > 0, r->out);
	assert_int_equal(err > 0, r->want == EX_USAGE);
}

static void options_may_stand_anywhere_after_the_command(void **state)
{
	static const char *const args[] = { "-c", "x.yaml", "mail", "show", "--time", "90min", "a",
	                                    "--flag", "b", "--number=7", "--json", NULL };
	long out, err;

	memset(&seen, 0, sizeof(seen));
	assert_int_equal(call(args, &out, &err), 3);
	assert_string_equal(seen.conf, "x.yaml");
	assert_string_equal(seen.arg[0], "a");
	assert_string_equal(seen.arg[1], "b");
	assert_null(seen.arg[2]);
	assert_true(seen.flag && seen.given && seen.json);
	assert_int_equal(seen.number, 7);
	assert_int_equal(seen.ms, 90 * 60000);
}

static void the_environment_names_the_configuration_and_c_overrides(void **state)
{
	static const char *const plain[] = { "mail", "show", "a", NULL };
	static const char *const with_c[] = { "-c", "b.yaml", "mail", "show", "a", NULL };
	long out, err;

	assert_int_equal(setenv("HOLDFAST_CONF", "env.yaml", 1), 0);
	assert_int_equal(call(plain, &out, &err), 3);
	assert_string_equal(seen.conf, "env.yaml");
	assert_int_equal(call(with_c, &out, &err), 3);
	assert_string_equal(seen.conf, "b.yaml");
	assert_int_equal(setenv("HOLDFAST_CONF", "", 1), 0);
	assert_int_equal(call(plain, &out, &err), 3);
	assert_string_equal(seen.conf, "/etc/holdfast/holdfast.yaml");
	assert_int_equal(unsetenv("HOLDFAST_CONF"), 0);
}

static void ages_and_times_are_short(void **state)
{
	static const struct { uint64_t ms; const char *want; } ages[] = {
		{ 0, "0s" }, { 59999, "59s" }, { 60000, "1min" }, { 3599999, "59min" },
		{ 3600000, "1h 0min" }, { 86399999, "23h 59min" }, { 86400000, "1d 0h" },
		{ 273600000, "3d 4h" },
	};
	char text[24], age[16];

	for (size_t i = 0; i < ARRAY_LEN(ages); i++) {
		cli_age(ages[i].ms, age, sizeof(age));
		assert_string_equal(age, ages[i].want);
	}
	cli_time(1795509060000, text);
	assert_string_equal(text, "2026-11-24T08:31:00Z");
}

int main(void)
{
	struct CMUnitTest tests[ARRAY_LEN(rows) + 3];
	size_t n = 0;

	for (; n < ARRAY_LEN(rows); n++)
		tests[n] = (struct CMUnitTest){ .name = rows[n].name, .test_func = row_is_read,
		                                .initial_state = &rows[n] };
	tests[n++] = (struct CMUnitTest)cmocka_unit_test(
	        options_may_stand_anywhere_after_the_command);
	tests[n++] = (struct CMUnitTest)cmocka_unit_test(
	        the_environment_names_the_configuration_and_c_overrides);
	tests[n++] = (struct CMUnitTest)cmocka_unit_test(ages_and_times_are_short);
	return cmocka_run_group_tests_name("cli", tests, NULL, NULL);
}
