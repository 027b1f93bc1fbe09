/* lib/table.h - what the command-line tools print: a table for people, JSON lines for programs
 *
 * The same rows either way.  Bytes that could move a terminal are neutralised
 * in tables and escaped in JSON.
 */
#ifndef LIB_TABLE_H
#define LIB_TABLE_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

enum table_kind { TABLE_TEXT, TABLE_NUMBER, TABLE_BOOL };

struct table_column {
	const char *name;  /* heading; in JSON lower case with _ for spaces */
	enum table_kind kind;
};

struct table;

/* columns is borrowed; ended by .name == NULL. */
struct table *table_new(const struct table_column *columns, bool json);
void table_row(struct table *t);                       /* begin a row */
void table_text(struct table *t, const char *s);       /* next cell; NULL is empty (JSON null) */
void table_number(struct table *t, int64_t n);
void table_bool(struct table *t, bool b);
/* Print all rows to f and free t.  JSON: one object a line, pure ASCII. */
void table_print(struct table **t, FILE *f);

#endif
