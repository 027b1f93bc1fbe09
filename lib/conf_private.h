/* lib/conf_private.h - what conf.c and conf_value.c share
 *
 * The walk over a parsed document, and how a fault is told.
 */
#ifndef LIB_CONF_PRIVATE_H
#define LIB_CONF_PRIVATE_H

#include <yaml.h>
#include "lib/buf.h"
#include "lib/conf.h"

struct conf_walk {
	const char *path;
	yaml_document_t *doc;
	char *why; /* CONF_ERR_MAX bytes */
};

/* Write "PATH:LINE:COLUMN: ..." of node at into why; returns err. */
enum err conf_fault(const struct conf_walk *w, const yaml_node_t *at, enum err err,
                    const char *fmt, ...) __attribute__((format(printf, 4, 5)));

yaml_node_t *conf_node(const struct conf_walk *w, int id);
const char *conf_key(const yaml_node_t *n); /* a key's text; "" when it is none */
const struct conf_param *conf_find_param(const struct conf_param *params, const char *name);

/* ERR_SYNTAX: a key that is no word, or is given twice; and of the other two,
 * one that is not known. */
enum err conf_check_keys(const struct conf_walk *w, const yaml_node_t *map) MUST_CHECK;
enum err conf_check_table(const struct conf_walk *w, const yaml_node_t *map,
                          const struct conf_param *params) MUST_CHECK;
enum err conf_check_top(const struct conf_walk *w, const yaml_node_t *top,
                        const struct conf_section *sections,
                        const char *const *ignore) MUST_CHECK;

/* The bytes of the file, at most 8 MiB.  ERR_NOENT, ERR_IO, ERR_TOOBIG. */
enum err conf_file_read(const char *path, struct buf *out, char why[CONF_ERR_MAX]) MUST_CHECK;

/* One document without anchors, aliases and tags, else ERR_SYNTAX. */
enum err conf_file_scan(const struct buf *text, const char *path,
                        char why[CONF_ERR_MAX]) MUST_CHECK;
enum err conf_parser_fault(const yaml_parser_t *parser, const char *path,
                           char why[CONF_ERR_MAX]);

/* Written bare as nothing, ~ or null: the key is there, the value is not. */
bool conf_is_null(const yaml_node_t *n);

/* One value (bool to text) into its field.  ERR_SYNTAX, ERR_RANGE: field untouched. */
enum err conf_value_read(const struct conf_walk *w, const yaml_node_t *n,
                         const struct conf_param *p, void *field) MUST_CHECK;

/* The default of a parameter that has one; lists, maps and rows are empty. */
void conf_value_default(const struct conf_param *p, void *field);

#endif
