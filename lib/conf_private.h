/* lib/conf_private.h - what conf.c and conf_value.c share
 *
 * The walk over a parsed document, and how a fault is told.
 */
#ifndef LIB_CONF_PRIVATE_H
#define LIB_CONF_PRIVATE_H

#include <yaml.h>
#include "lib/conf.h"

struct conf_walk {
	const char *path;
	yaml_document_t *doc;
	char *why; /* CONF_ERR_MAX bytes */
};

/* Write "PATH:LINE:COLUMN: ..." of node at into why; returns err. */
enum err conf_fault(const struct conf_walk *w, const yaml_node_t *at, enum err err,
                    const char *fmt, ...) __attribute__((format(printf, 4, 5)));

const struct conf_param *conf_find_param(const struct conf_param *params, const char *name);

/* One value (bool to text) into its field.  ERR_SYNTAX, ERR_RANGE: field untouched. */
enum err conf_value_read(const struct conf_walk *w, const yaml_node_t *n,
                         const struct conf_param *p, void *field) MUST_CHECK;

/* The default of a parameter that has one; lists, maps and rows are empty. */
void conf_value_default(const struct conf_param *p, void *field);

#endif
