/* lib/table.c - rows as a table (libsmartcols) or as JSON lines (jansson)
 *
 * Rows are gathered until table_print(), since widths depend on all of them; JSON
 * as the text that it becomes.  libsmartcols neutralises control bytes, jansson escapes them.
 */
#include "lib/table.h"

#include <assert.h>
#include <ctype.h>
#include <inttypes.h>
#include <jansson.h>
#include <libsmartcols/libsmartcols.h>
#include <string.h>
#include "lib/buf.h"
#include "lib/mem.h"

struct table {
	const struct table_column *columns;
	unsigned n_columns, next; /* next: cell of the row at hand */
	struct libscols_table *text; /* NULL: JSON */
	struct libscols_line *line;
	json_t *row;
	struct buf json;
};

struct table *table_new(const struct table_column *columns, bool json)
{
	struct table *t = xcalloc(1, sizeof(*t));

	t->columns = columns;
	while (columns[t->n_columns].name != NULL)
		t->n_columns++;
	if (json)
		return t;
	scols_init_debug(0);
	t->text = scols_new_table();
	assert(t->text != NULL);
	for (unsigned i = 0; i < t->n_columns; i++) {
		int right = columns[i].kind == TABLE_NUMBER ? SCOLS_FL_RIGHT : 0;

		(void)scols_table_new_column(t->text, columns[i].name, 0, right);
	}
	return t;
}

/* DEL is the one control byte that jansson leaves as it is. */
static void add_without_delete(struct buf *out, const char *s)
{
	for (; *s != '\0'; s++) {
		if (*s == 0x7f)
			buf_adds(out, "\\u007f");
		else
			buf_addc(out, *s);
	}
}

static void json_row_end(struct table *t)
{
	char *s;

	if (t->row == NULL)
		return;
	s = json_dumps(t->row, JSON_COMPACT | JSON_ENSURE_ASCII);
	assert(s != NULL);
	add_without_delete(&t->json, s);
	buf_addc(&t->json, '\n');
	free(s); /* jansson's own allocation */
	json_decref(t->row);
	t->row = NULL;
}

void table_row(struct table *t)
{
	assert(t->next == 0 || t->next == t->n_columns);
	t->next = 0;
	if (t->text != NULL) {
		t->line = scols_table_new_line(t->text, NULL);
		return;
	}
	json_row_end(t);
	t->row = json_object();
}

/* "OLDEST AGE" is "oldest_age" in JSON. */
static void json_cell(struct table *t, json_t *value)
{
	const char *name = t->columns[t->next++].name;
	char key[64];
	size_t i;

	for (i = 0; name[i] != '\0' && i < sizeof(key) - 1; i++)
		key[i] = name[i] == ' ' ? '_' : (char)tolower((unsigned char)name[i]);
	key[i] = '\0';
	(void)json_object_set_new(t->row, key, value);
}

static void text_cell(struct table *t, const char *s)
{
	(void)scols_line_set_data(t->line, t->next++, s);
}

/* Bytes that are no UTF-8 become '?': JSON has no other way. */
static json_t *json_any(const char *s)
{
	json_t *value = json_string(s);
	char *safe;

	if (value != NULL)
		return value;
	safe = xstrdup(s);
	for (char *p = safe; *p != '\0'; p++) {
		if ((unsigned char)*p > 126)
			*p = '?';
	}
	value = json_string(safe);
	xfree(safe);
	return value;
}

void table_text(struct table *t, const char *s)
{
	assert(t->next < t->n_columns);
	if (t->text != NULL)
		text_cell(t, s == NULL ? "" : s);
	else
		json_cell(t, s == NULL ? json_null() : json_any(s));
}

void table_number(struct table *t, int64_t n)
{
	char digits[24];

	assert(t->next < t->n_columns);
	snprintf(digits, sizeof(digits), "%" PRId64, n);
	if (t->text != NULL)
		text_cell(t, digits);
	else
		json_cell(t, json_integer(n));
}

void table_bool(struct table *t, bool b)
{
	assert(t->next < t->n_columns);
	if (t->text != NULL)
		text_cell(t, b ? "yes" : "no");
	else
		json_cell(t, json_boolean(b));
}

void table_print(struct table **tp, FILE *f)
{
	struct table *t = *tp;

	if (t->text != NULL) {
		(void)scols_table_set_stream(t->text, f);
		(void)scols_print_table(t->text);
		scols_unref_table(t->text);
	} else {
		json_row_end(t);
		fwrite(buf_str(&t->json), 1, t->json.len, f);
	}
	buf_free(&t->json);
	xfree(t);
	*tp = NULL;
}
