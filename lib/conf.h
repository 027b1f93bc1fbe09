/* lib/conf.h - one YAML file, read through tables of declared parameters
 *
 * Every parameter is one row: name, type, bounds, default, a line of help.
 * conf_load() fills a struct from a section of the file; unknown keys, wrong
 * types and values outside the bounds are refused as "FILE:LINE:COLUMN: what",
 * the first error only.  Nothing is half-applied: on error out is zeroed again.
 * Of YAML, anchors, aliases, tags and a second document are refused; a key with
 * nothing after it (or null, ~) is empty text, an empty list or an empty section.
 *
 * Values: durations "250ms" "2s" "5min" "4h" "5d" (stored as ms in uint64_t),
 * sizes "64KiB" "10MiB" "1GiB" or plain bytes (uint64_t), numbers (uint64_t),
 * yes/no true/false (bool), one of a list of words (int, its index), text
 * (char *), list of text (struct conf_list), map of text to text (struct
 * conf_map), list of mappings (struct conf_rows, rows of a struct with a table
 * of its own).
 */
#ifndef LIB_CONF_H
#define LIB_CONF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include "lib/err.h"

enum conf_type {
	CONF_BOOL, CONF_NUMBER, CONF_SIZE, CONF_DURATION, CONF_WORD, CONF_TEXT,
	CONF_LIST, CONF_MAP, CONF_ROWS
};

struct conf_list { char **item; size_t n; };
struct conf_map  { char **key; char **value; size_t n; };
struct conf_rows { void *row; size_t n; }; /* row: array of the rows' struct */

struct conf_param {
	const char *name;      /* NULL ends a table */
	enum conf_type type;
	size_t      offset;    /* of the field in the section's struct */
	const char *def;       /* default as written in the file; "" for an empty list, map, rows
	                        * or text (whatever min says); NULL: must be given */
	uint64_t    min, max;  /* numbers, sizes, durations (ms), length of text, count of lists */
	const char *help;      /* one line, for the manual and `--help-config` */
	const char *const *words;       /* CONF_WORD: NULL-ended */
	const struct conf_param *row;   /* CONF_ROWS: the table of a row */
	size_t      row_size;           /* CONF_ROWS: sizeof of a row */
};

/* A section of the file: top level (name NULL) or the mapping under `name`.
 * A section that is absent gets its defaults. */
struct conf_section {
	const char *name;
	const struct conf_param *params;
	void *out;
};

#define CONF_ERR_MAX 512

/* Read path and fill sections (ended by .params == NULL); each out is a zeroed
 * struct.  Top-level keys must be a parameter of the NULL section, one of the
 * sections, or one of `ignore` (NULL-ended: sections of other programs).
 * ERR_NOENT / ERR_IO: file; ERR_SYNTAX, ERR_RANGE: content.  why gets one line. */
enum err conf_load(const char *path, const struct conf_section *sections,
                   const char *const *ignore, char why[CONF_ERR_MAX]) MUST_CHECK;

/* Free what conf_load() put into out and zero it. */
void conf_free(const struct conf_param *params, void *out);

/* Read one CONF_NUMBER, CONF_SIZE or CONF_DURATION as the file writes it, for tools' options.
 * ERR_SYNTAX: not that; ERR_RANGE: over 64 bits. */
enum err conf_amount(enum conf_type type, const char *text, uint64_t *out) MUST_CHECK;

/* Print a table as manual text: "name (type, default): help". */
void conf_print(FILE *f, const char *section, const struct conf_param *params);

#endif
