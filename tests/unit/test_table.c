/* tests/unit/test_table.c - the same rows for people and for programs
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <jansson.h>
#include "lib/mem.h"
#include "lib/table.h"

static const struct table_column columns[] = {
	{ "ID", TABLE_TEXT }, { "OLDEST AGE", TABLE_NUMBER }, { "HELD", TABLE_BOOL },
	{ .name = NULL },
};

static void add(struct table *t, const char *id, int64_t age, bool held)
{
	table_row(t);
	table_text(t, id);
	table_number(t, age);
	table_bool(t, held);
}

static char *printed(struct table *t)
{
	char *text = NULL;
	size_t len = 0;
	FILE *f = open_memstream(&text, &len);

	assert_non_null(f);
	table_print(&t, f);
	assert_null(t);
	fclose(f);
	return text;
}

static void people_get_aligned_columns(void **state)
{
	struct table *t = table_new(columns, false);
	char *text;

	add(t, "a", 7, true);
	add(t, "longer", 12345678901, false);
	text = printed(t);
	assert_string_equal(text, "ID      OLDEST AGE HELD\n"
	                          "a                7 yes\n"
	                          "longer 12345678901 no\n");
	free(text);
}

static void programs_get_one_object_a_line(void **state)
{
	struct table *t = table_new(columns, true);
	char *text;

	add(t, "a", -7, true);
	add(t, NULL, 0, false);
	text = printed(t);
	assert_string_equal(text, "{\"id\":\"a\",\"oldest_age\":-7,\"held\":true}\n"
	                          "{\"id\":null,\"oldest_age\":0,\"held\":false}\n");
	free(text);
}

static void no_rows_are_no_lines_of_json(void **state)
{
	char *text = printed(table_new(columns, true));

	assert_string_equal(text, "");
	free(text);
}

static const char *const evil[] = {
	"\x1b[2J\x1b]0;title\x07", "a\nb", "tab\there", "\xff\xfe", "\xc3", "\xc2\x9b" "31m",
	"\x7f", "back\bspace", "quote\"back\\slash",
};

/* Whatever a cell holds, a table has one line for it and no byte that a terminal obeys. */
static void evil_bytes_cannot_move_a_terminal(void **state)
{
	for (size_t i = 0; i < sizeof(evil) / sizeof(evil[0]); i++) {
		struct table *t = table_new(columns, false);
		char *text;
		int lines = 0;

		add(t, evil[i], 1, true);
		text = printed(t);
		for (const char *p = text; *p != '\0'; p++) {
			lines += *p == '\n';
			assert_true(*p == '\n' || ((unsigned char)*p >= ' ' && *p != 0x7f));
			assert_false((unsigned char)*p == 0xc2 && (unsigned char)p[1] < 0xa0);
			assert_false((unsigned char)*p == 0x9b);
		}
		assert_int_equal(lines, 2);
		free(text);
	}
}

static void evil_bytes_are_valid_json(void **state)
{
	for (size_t i = 0; i < sizeof(evil) / sizeof(evil[0]); i++) {
		struct table *t = table_new(columns, true);
		char *text;
		json_t *j;

		add(t, evil[i], 1, true);
		text = printed(t);
		j = json_loads(text, 0, NULL);
		assert_non_null(j);
		assert_true(json_is_string(json_object_get(j, "id")));
		assert_ptr_equal(strchr(text, '\n'), text + strlen(text) - 1);
		for (const char *p = text; p[1] != '\0'; p++)
			assert_true((unsigned char)*p >= ' ' && *p != 0x7f);
		json_decref(j);
		free(text);
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(people_get_aligned_columns),
		cmocka_unit_test(programs_get_one_object_a_line),
		cmocka_unit_test(no_rows_are_no_lines_of_json),
		cmocka_unit_test(evil_bytes_cannot_move_a_terminal),
		cmocka_unit_test(evil_bytes_are_valid_json),
	};

	return cmocka_run_group_tests_name("table", tests, NULL, NULL);
}
