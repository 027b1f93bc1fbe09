/* tests/unit/test_conf.c - what the configuration reader takes, and what it says of the rest
 *
 * Each row is one file.  Rows without `why` must load and give the text of `want`;
 * the others must fail with exactly that place and text, and leave zeroes behind.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>
#include "lib/buf.h"
#include "lib/conf.h"
#include "lib/mem.h"

struct door { char *bind; bool tls; };

struct plain {
	char *name;
	uint64_t number, size, wait;
	int colour;
	struct conf_rows doors;
};

struct section {
	bool on;
	struct conf_list words;
	struct conf_map routes;
	char *note;
};

static const char *const colours[] = { "red", "green", "none", NULL };

static const struct conf_param door_params[] = {
	{ "bind", CONF_TEXT, offsetof(struct door, bind), NULL, 3, 10, "", NULL, NULL, 0 },
	{ "tls", CONF_BOOL, offsetof(struct door, tls), "no", 0, 0, "", NULL, NULL, 0 },
	{ 0 },
};

#define AT(f) offsetof(struct plain, f)
static const struct conf_param plain_params[] = {
	{ "name", CONF_TEXT, AT(name), NULL, 1, 20, "who we are", NULL, NULL, 0 },
	{ "number", CONF_NUMBER, AT(number), "7", 1, 100, "how many", NULL, NULL, 0 },
	{ "size", CONF_SIZE, AT(size), "64KiB", 1024, 1 << 30, "how large", NULL, NULL, 0 },
	{ "wait", CONF_DURATION, AT(wait), "2s", 0, 86400000, "how long", NULL, NULL, 0 },
	{ "colour", CONF_WORD, AT(colour), "green", 0, 0, "which", colours, NULL, 0 },
	{ "doors", CONF_ROWS, AT(doors), "", 0, 2, "where", NULL, door_params,
	  sizeof(struct door) },
	{ 0 },
};
#undef AT
#define AT(f) offsetof(struct section, f)
static const struct conf_param section_params[] = {
	{ "on", CONF_BOOL, AT(on), "yes", 0, 0, "whether", NULL, NULL, 0 },
	{ "words", CONF_LIST, AT(words), "", 1, 3, "", NULL, NULL, 0 },
	{ "routes", CONF_MAP, AT(routes), "", 0, 4, "", NULL, NULL, 0 },
	{ "note", CONF_TEXT, AT(note), "", 3, 8, "", NULL, NULL, 0 },
	{ 0 },
};
#undef AT

static const char *const others[] = { "kitchen", NULL };

#define DEFAULTS "7 65536 2000 green ||on||||"

static struct row {
	const char *name, *text;
	const char *want; /* number size wait colour |doors|on|words|routes|note| */
	enum err err;
	const char *why;  /* after "FILE" */
} rows[] = {
	{ "defaults fill what is absent", "name: x\n", DEFAULTS, ERR_OK, NULL },
	{ "sections of other programs are passed over", "name: x\nkitchen: {a: [1]}\n",
	  DEFAULTS, ERR_OK, NULL },
	{ "a section with nothing in it gets its defaults", "name: x\nhouse:\n",
	  DEFAULTS, ERR_OK, NULL },
	{ "a list and a map with nothing after the key are empty",
	  "name: x\ndoors:\nhouse:\n  routes: ~\n", DEFAULTS, ERR_OK, NULL },
	{ "quoted values are the same values", "name: 'x'\nnumber: \"8\"\nwait: '250ms'\n",
	  "8 65536 250 green ||on||||", ERR_OK, NULL },
	{ "every unit of size and duration", "name: x\nsize: 1GiB\nwait: 1d\n",
	  "7 1073741824 86400000 green ||on||||", ERR_OK, NULL },
	{ "minutes, plain bytes", "name: x\nsize: 4096\nwait: 5min\n",
	  "7 4096 300000 green ||on||||", ERR_OK, NULL },
	{ "hours, mebibytes", "name: x\nsize: 10MiB\nwait: 4h\n",
	  "7 10485760 14400000 green ||on||||", ERR_OK, NULL },
	{ "the ends of the bounds are inside", "name: x\nnumber: 100\nsize: 1KiB\nwait: 0s\n",
	  "100 1024 0 green ||on||||", ERR_OK, NULL },
	{ "a word may be none", "name: x\ncolour: none\n",
	  "7 65536 2000 none ||on||||", ERR_OK, NULL },
	{ "rows, lists and maps keep their order",
	  "name: x\ndoors:\n  - {bind: a:1, tls: true}\n  - bind: b:2\n"
	  "house: {on: no, words: [z, a], routes: {'*': h:1, b: ''}, note: abc}\n",
	  "7 65536 2000 green |a:1+ b:2- |off|z a |*=h:1 b= |abc|", ERR_OK, NULL },

	{ "an empty file", "", NULL, ERR_SYNTAX, ":1:1: wants a mapping of parameters" },
	{ "a list as file", "- a\n", NULL, ERR_SYNTAX, ":1:1: wants a mapping of parameters" },
	{ "what must be given is not", "number: 3\n", NULL, ERR_SYNTAX,
	  ":1:1: name must be given" },
	{ "what must be given in a row is not", "name: x\ndoors:\n  - tls: yes\n", NULL,
	  ERR_SYNTAX, ":3:5: bind must be given" },
	{ "an unknown key near a known one", "name: x\nnumbr: 3\n", NULL, ERR_SYNTAX,
	  ":2:1: unknown key \"numbr\"; did you mean \"number\"?" },
	{ "an unknown key near a section", "name: x\nhuose: {}\n", NULL, ERR_SYNTAX,
	  ":2:1: unknown key \"huose\"; did you mean \"house\"?" },
	{ "an unknown key near another program's section", "name: x\nkichen: {}\n", NULL,
	  ERR_SYNTAX, ":2:1: unknown key \"kichen\"; did you mean \"kitchen\"?" },
	{ "an unknown key near nothing", "name: x\nzzzzzz: 3\n", NULL, ERR_SYNTAX,
	  ":2:1: unknown key \"zzzzzz\"" },
	{ "an unknown key in a section", "name: x\nhouse:\n  word: [a]\n", NULL, ERR_SYNTAX,
	  ":3:3: unknown key \"word\"; did you mean \"words\"?" },
	{ "an unknown key in a row", "name: x\ndoors: [{bind: a:1, tsl: no}]\n", NULL,
	  ERR_SYNTAX, ":2:21: unknown key \"tsl\"; did you mean \"tls\"?" },
	{ "a key twice: the second is told", "name: x\nnumber: 3\nname: y\n", NULL, ERR_SYNTAX,
	  ":3:1: \"name\" is given twice" },
	{ "a section twice", "name: x\nhouse: {}\nhouse: {}\n", NULL, ERR_SYNTAX,
	  ":3:1: \"house\" is given twice" },
	{ "a key of a map twice", "name: x\nhouse: {routes: {a: b, c: d, a: e}}\n", NULL,
	  ERR_SYNTAX, ":2:30: \"a\" is given twice" },
	{ "a list as key", "name: x\n? [a]\n: 1\n", NULL, ERR_SYNTAX,
	  ":2:3: a key must be a plain word" },
	{ "a key with a NUL after a known name", "\"name\\0\": x\n", NULL, ERR_SYNTAX,
	  ":1:1: a key must be a plain word" },
	{ "a text with a NUL", "name: \"a\\0b\"\n", NULL, ERR_SYNTAX, ":1:7: name holds a NUL" },
	{ "a list item with a NUL", "name: x\nhouse: {words: [\"\\0\"]}\n", NULL, ERR_SYNTAX,
	  ":2:17: words holds a NUL" },
	{ "no number", "name: x\nnumber: many\n", NULL, ERR_SYNTAX,
	  ":2:9: number: \"many\" is no number; want 1 to 100" },
	{ "a negative number", "name: x\nnumber: -1\n", NULL, ERR_SYNTAX,
	  ":2:9: number: \"-1\" is no number; want 1 to 100" },
	{ "a number with nothing after the key", "name: x\nnumber:\n", NULL, ERR_SYNTAX,
	  ":2:8: number: \"\" is no number; want 1 to 100" },
	{ "a number under its bounds", "name: x\nnumber: 0\n", NULL, ERR_RANGE,
	  ":2:9: number: \"0\" is no value in bounds: want 1 to 100" },
	{ "a number over its bounds", "name: x\nnumber: 101\n", NULL, ERR_RANGE,
	  ":2:9: number: \"101\" is no value in bounds: want 1 to 100" },
	{ "a number over 64 bits", "name: x\nnumber: 18446744073709551617\n", NULL, ERR_RANGE,
	  ":2:9: number: \"18446744073709551617\" is no value in bounds: want 1 to 100" },
	{ "a size whose unit overflows", "name: x\nsize: 99999999999999TiB\n", NULL, ERR_RANGE,
	  ":2:7: size: \"99999999999999TiB\" is no value in bounds: want 1KiB to 1GiB" },
	{ "a size in a unit of tens", "name: x\nsize: 10KB\n", NULL, ERR_SYNTAX,
	  ":2:7: size: \"10KB\" is no size; want 1KiB to 1GiB" },
	{ "a duration without a unit", "name: x\nwait: 30\n", NULL, ERR_SYNTAX,
	  ":2:7: wait: \"30\" is no duration; want 0ms to 1d" },
	{ "a word that is not listed", "name: x\ncolour: blue\n", NULL, ERR_SYNTAX,
	  ":2:9: colour: \"blue\" is no word; want red, green, none" },
	{ "neither yes nor no", "name: x\nhouse: {on: 1}\n", NULL, ERR_SYNTAX,
	  ":2:13: on: \"1\" is no yes or no; want yes, no, true, false" },
	{ "a text that is too short", "name: ''\n", NULL, ERR_RANGE,
	  ":1:7: name is 0 characters long; want 1 to 20" },
	{ "a mapping where one value is wanted", "name: {a: b}\n", NULL, ERR_SYNTAX,
	  ":1:7: name wants one value" },
	{ "one value where a list is wanted", "name: x\nhouse: {words: a}\n", NULL, ERR_SYNTAX,
	  ":2:16: words wants a list" },
	{ "a list in a list", "name: x\nhouse: {words: [[a]]}\n", NULL, ERR_SYNTAX,
	  ":2:17: words wants text" },
	{ "a list where a mapping is wanted", "name: x\nhouse: {routes: []}\n", NULL,
	  ERR_SYNTAX, ":2:17: routes wants a mapping" },
	{ "a text where rows are wanted", "name: x\ndoors: [a]\n", NULL, ERR_SYNTAX,
	  ":2:9: doors wants mappings" },
	{ "a section that is a text", "name: x\nhouse: a\n", NULL, ERR_SYNTAX,
	  ":2:8: house wants a mapping" },
	{ "too many rows", "name: x\ndoors: [{bind: a:1}, {bind: a:2}, {bind: a:3}]\n", NULL,
	  ERR_RANGE, ":2:8: doors has 3 entries; want 0 to 2" },
	{ "an empty list where one is wanted", "name: x\nhouse: {words: []}\n", NULL, ERR_RANGE,
	  ":2:16: words has 0 entries; want 1 to 3" },
	{ "a late fault frees what came before",
	  "name: x\ndoors: [{bind: a:1}]\nhouse: {words: [a, b], routes: {a: b, c: [d]}}\n", NULL,
	  ERR_SYNTAX, ":3:42: routes wants text" },
	{ "an anchor", "name: &n x\n", NULL, ERR_SYNTAX,
	  ":1:7: anchors and tags are not taken" },
	{ "a mapping that contains itself", "name: x\nhouse: &h {routes: *h}\n", NULL,
	  ERR_SYNTAX, ":2:8: anchors and tags are not taken" },
	{ "an alias of nothing", "name: *x\n", NULL, ERR_SYNTAX, ":1:7: aliases are not taken" },
	{ "a tag", "name: !!str x\n", NULL, ERR_SYNTAX, ":1:7: anchors and tags are not taken" },
	{ "a second document", "name: x\n---\nname: y\n", NULL, ERR_SYNTAX,
	  ":2:1: a second document is not taken" },
	{ "deep nesting, even where it would be passed over",
	  "name: x\nkitchen: [[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]\n", NULL, ERR_SYNTAX,
	  ":2:25: nested too deeply" },
	{ "no YAML", "name: x\n  number: 3\n", NULL, ERR_SYNTAX,
	  ":2:9: mapping values are not allowed in this context" },
	{ "bytes that are no UTF-8", "name: x\nnumber: \xff\n", NULL, ERR_SYNTAX,
	  ": byte 16: invalid leading UTF-8 octet" },
	{ "control bytes do not reach the message", "name: x\n\"a\\e[2Jb\": 1\n", NULL, ERR_SYNTAX,
	  ":2:1: unknown key \"a?[2Jb\"" },
};

static char path[] = "/tmp/hf-conf-XXXXXX";

static void write_file(const char *text, size_t len)
{
	FILE *f = fopen(path, "we");

	assert_non_null(f);
	assert_int_equal(fwrite(text, 1, len, f), len);
	assert_int_equal(fclose(f), 0);
}

static void show(struct buf *out, const struct plain *p, const struct section *s)
{
	const struct door *door = p->doors.row;

	buf_addf(out, "%ju %ju %ju %s |", (uintmax_t)p->number, (uintmax_t)p->size,
	         (uintmax_t)p->wait, colours[p->colour]);
	for (size_t i = 0; i < p->doors.n; i++)
		buf_addf(out, "%s%c ", door[i].bind, door[i].tls ? '+' : '-');
	buf_addf(out, "|%s|", s->on ? "on" : "off");
	for (size_t i = 0; i < s->words.n; i++)
		buf_addf(out, "%s ", s->words.item[i]);
	buf_addc(out, '|');
	for (size_t i = 0; i < s->routes.n; i++)
		buf_addf(out, "%s=%s ", s->routes.key[i], s->routes.value[i]);
	buf_addf(out, "|%s|", s->note);
}

static enum err load(struct plain *p, struct section *s, char why[CONF_ERR_MAX])
{
	const struct conf_section sections[] = {
		{ NULL, plain_params, p }, { "house", section_params, s }, { NULL, NULL, NULL },
	};

	return conf_load(path, sections, others, why);
}

static void free_and_check_zero(struct plain *p, struct section *s)
{
	static const struct plain no_plain;
	static const struct section no_section;

	conf_free(plain_params, p);
	conf_free(section_params, s);
	assert_memory_equal(p, &no_plain, sizeof(*p));
	assert_memory_equal(s, &no_section, sizeof(*s));
}

static void row_is_read(void **state)
{
	const struct row *r = *state;
	struct plain p;
	struct section s;
	struct buf text = BUF_INIT;
	char why[CONF_ERR_MAX] = "";

	memset(&p, 0, sizeof(p));
	memset(&s, 0, sizeof(s));
	write_file(r->text, strlen(r->text));
	assert_int_equal(load(&p, &s, why), r->err);
	if (r->err == ERR_OK) {
		assert_string_equal(p.name, "x");
		show(&text, &p, &s);
		assert_string_equal(buf_str(&text), r->want);
	} else {
		assert_memory_equal(why, path, strlen(path));
		assert_string_equal(why + strlen(path), r->why);
		assert_null(p.name);
		assert_null(p.doors.row);
	}
	free_and_check_zero(&p, &s);
	buf_free(&text);
}

static void a_section_alone_reads_without_plain_keys(void **state)
{
	struct section s = { 0 };
	const struct conf_section sections[] = {
		{ "house", section_params, &s }, { NULL, NULL, NULL },
	};
	char why[CONF_ERR_MAX];

	write_file("nmae: x\n", 8);
	assert_int_equal(conf_load(path, sections, NULL, why), ERR_SYNTAX);
	assert_string_equal(why + strlen(path), ":1:1: unknown key \"nmae\"");
	write_file("house: {note: abcd}\n", 20);
	assert_int_equal(conf_load(path, sections, NULL, why), ERR_OK);
	assert_string_equal(s.note, "abcd");
	conf_free(section_params, &s);
}

static void files_that_cannot_be_read_are_told(void **state)
{
	struct plain p = { 0 };
	const struct conf_section sections[] = {
		{ NULL, plain_params, &p }, { NULL, NULL, NULL },
	};
	char why[CONF_ERR_MAX];

	assert_int_equal(conf_load("/tmp/hf-there-is-no-such-file", sections, NULL, why),
	                 ERR_NOENT);
	assert_string_equal(why, "/tmp/hf-there-is-no-such-file: No such file or directory");
	assert_int_equal(conf_load("/tmp", sections, NULL, why), ERR_IO);
	assert_string_equal(why, "/tmp: Is a directory");
}

/* 100,000 keys: with a check of every pair this would take minutes. */
static void a_long_map_is_read_in_time(void **state)
{
	struct buf text = BUF_INIT;
	struct plain p = { 0 };
	struct section s = { 0 };
	char why[CONF_ERR_MAX];

	buf_adds(&text, "name: x\nhouse:\n  routes:\n");
	for (int i = 0; i < 100000; i++)
		buf_addf(&text, "    d%d.example: h%d\n", i, i);
	write_file(text.data, text.len);
	assert_int_equal(load(&p, &s, why), ERR_RANGE);
	assert_string_equal(why + strlen(path), ":4:5: routes has 100000 entries; want 0 to 4");
	buf_reset(&text);
	buf_adds(&text, "name: x\nkitchen: {}\n");
	for (int i = 0; i < 100000; i++)
		buf_addf(&text, "zz%d: 1\n", i);
	write_file(text.data, text.len);
	assert_int_equal(load(&p, &s, why), ERR_SYNTAX);
	assert_string_equal(why + strlen(path), ":3:1: unknown key \"zz0\"");
	buf_free(&text);
}

static void a_file_over_the_limit_is_refused(void **state)
{
	struct plain p = { 0 };
	struct section s = { 0 };
	size_t len = 9 << 20;
	char why[CONF_ERR_MAX], *text = xmalloc(len);

	memset(text, '#', len);
	write_file(text, len);
	assert_int_equal(load(&p, &s, why), ERR_TOOBIG);
	assert_string_equal(why + strlen(path), ": larger than 8 MiB");
	xfree(text);
}

static void a_table_prints_type_bounds_and_default(void **state)
{
	char *text = NULL;
	size_t len = 0;
	FILE *f = open_memstream(&text, &len);

	assert_non_null(f);
	conf_print(f, NULL, plain_params);
	conf_print(f, "house", section_params);
	fclose(f);
	assert_non_null(strstr(text, "number (number: 1 to 100, default 7): how many\n"));
	assert_non_null(strstr(text, "size (size: 1KiB to 1GiB, default 64KiB): how large\n"));
	assert_non_null(strstr(text, "colour (word: red, green, none, default green): which\n"));
	assert_non_null(strstr(text, "name (text, must be given): who we are\n"));
	assert_non_null(strstr(text, "\nhouse:\n  on (yes or no, default yes): whether\n"));
	free(text);
}

static int make_file(void **state)
{
	int fd = mkstemp(path);

	return fd < 0 ? -1 : close(fd);
}

static int remove_file(void **state)
{
	return unlink(path);
}

int main(void)
{
	static const struct CMUnitTest more[] = {
		cmocka_unit_test(a_section_alone_reads_without_plain_keys),
		cmocka_unit_test(files_that_cannot_be_read_are_told),
		cmocka_unit_test(a_long_map_is_read_in_time),
		cmocka_unit_test(a_file_over_the_limit_is_refused),
		cmocka_unit_test(a_table_prints_type_bounds_and_default),
	};
	struct CMUnitTest tests[ARRAY_LEN(rows) + ARRAY_LEN(more)];

	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		tests[i] = (struct CMUnitTest){
			.name = rows[i].name, .test_func = row_is_read, .initial_state = &rows[i],
		};
	memcpy(&tests[ARRAY_LEN(rows)], more, sizeof(more));
	return cmocka_run_group_tests_name("conf", tests, make_file, remove_file);
}
