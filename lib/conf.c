/* lib/conf.c - a YAML file read through tables
 *
 * libyaml parses the file into a tree whose nodes know their line and column;
 * this file walks tree and tables side by side.  The first fault ends it, and
 * everything that was filled is freed.  Scalars are conf_value.c, keys conf_keys.c,
 * the bytes of the file and what of YAML is refused at all conf_file.c.
 */
#include "lib/conf_private.h"

#include <inttypes.h>
#include <stdarg.h>
#include <string.h>
#include "lib/mem.h"

enum err conf_fault(const struct conf_walk *w, const yaml_node_t *at, enum err err,
                    const char *fmt, ...)
{
	va_list ap;
	int n = snprintf(w->why, CONF_ERR_MAX, "%s:%zu:%zu: ", w->path, at->start_mark.line + 1,
	                 at->start_mark.column + 1);

	if (n < 0 || n >= CONF_ERR_MAX)
		return err;
	va_start(ap, fmt);
	vsnprintf(w->why + n, (size_t)(CONF_ERR_MAX - n), fmt, ap);
	va_end(ap);
	return err;
}

/* ---- mappings, lists */

static const yaml_node_t *find(const struct conf_walk *w, const yaml_node_t *map,
                               const char *name)
{
	if (map == NULL)
		return NULL;
	for (yaml_node_pair_t *p = map->data.mapping.pairs.start;
	     p < map->data.mapping.pairs.top; p++) {
		if (strcmp(conf_key(conf_node(w, p->key)), name) == 0)
			return conf_node(w, p->value);
	}
	return NULL;
}

static enum err count_good(const struct conf_walk *w, const yaml_node_t *at,
                           const struct conf_param *p, size_t n)
{
	if (n >= p->min && n <= p->max)
		return ERR_OK;
	return conf_fault(w, at, ERR_RANGE, "%s has %zu entries; want %" PRIu64 " to %" PRIu64,
	                  p->name, n, p->min, p->max);
}

static enum err scalar_text(const struct conf_walk *w, const yaml_node_t *n, const char *name,
                            char **out)
{
	if (n->type != YAML_SCALAR_NODE)
		return conf_fault(w, n, ERR_SYNTAX, "%s wants text", name);
	if (strlen((const char *)n->data.scalar.value) != n->data.scalar.length)
		return conf_fault(w, n, ERR_SYNTAX, "%s holds a NUL", name);
	*out = xstrdup((const char *)n->data.scalar.value);
	return ERR_OK;
}

static enum err read_list(const struct conf_walk *w, const yaml_node_t *n,
                          const struct conf_param *p, struct conf_list *out)
{
	size_t count;
	enum err err;

	if (n->type != YAML_SEQUENCE_NODE)
		return conf_fault(w, n, ERR_SYNTAX, "%s wants a list", p->name);
	count = (size_t)(n->data.sequence.items.top - n->data.sequence.items.start);
	err = count_good(w, n, p, count);
	if (err != ERR_OK)
		return err;
	out->item = xcalloc(count + 1, sizeof(*out->item));
	for (size_t i = 0; i < count; i++) {
		err = scalar_text(w, conf_node(w, n->data.sequence.items.start[i]), p->name,
		                  &out->item[i]);
		if (err != ERR_OK)
			return err;
		out->n = i + 1;
	}
	return ERR_OK;
}

static enum err read_map(const struct conf_walk *w, const yaml_node_t *n,
                         const struct conf_param *p, struct conf_map *out)
{
	yaml_node_pair_t *pair;
	size_t count;
	enum err err;

	if (n->type != YAML_MAPPING_NODE)
		return conf_fault(w, n, ERR_SYNTAX, "%s wants a mapping", p->name);
	pair = n->data.mapping.pairs.start;
	count = (size_t)(n->data.mapping.pairs.top - pair);
	err = count_good(w, n, p, count);
	if (err == ERR_OK)
		err = conf_check_keys(w, n);
	if (err != ERR_OK)
		return err;
	out->key = xcalloc(count + 1, sizeof(*out->key));
	out->value = xcalloc(count + 1, sizeof(*out->value));
	for (size_t i = 0; i < count; i++) {
		out->n = i + 1;
		err = scalar_text(w, conf_node(w, pair[i].key), p->name, &out->key[i]);
		if (err == ERR_OK)
			err = scalar_text(w, conf_node(w, pair[i].value), p->name, &out->value[i]);
		if (err != ERR_OK)
			return err;
	}
	return ERR_OK;
}

static enum err read_params(const struct conf_walk *w, const yaml_node_t *map,
                            const yaml_node_t *at, const struct conf_param *params, void *out);

static enum err read_rows(const struct conf_walk *w, const yaml_node_t *n,
                          const struct conf_param *p, struct conf_rows *out)
{
	size_t count;
	enum err err;

	if (n->type != YAML_SEQUENCE_NODE)
		return conf_fault(w, n, ERR_SYNTAX, "%s wants a list of mappings", p->name);
	count = (size_t)(n->data.sequence.items.top - n->data.sequence.items.start);
	err = count_good(w, n, p, count);
	if (err != ERR_OK)
		return err;
	out->row = xcalloc(count + 1, p->row_size);
	for (size_t i = 0; i < count; i++) {
		const yaml_node_t *row = conf_node(w, n->data.sequence.items.start[i]);

		out->n = i + 1;
		if (row->type != YAML_MAPPING_NODE)
			return conf_fault(w, row, ERR_SYNTAX, "%s wants mappings", p->name);
		err = conf_check_table(w, row, p->row);
		if (err == ERR_OK)
			err = read_params(w, row, row, p->row, (char *)out->row + i * p->row_size);
		if (err != ERR_OK)
			return err;
	}
	return ERR_OK;
}

/* ---- parameters */

bool conf_is_null(const yaml_node_t *n)
{
	static const char *const nulls[] = { "", "~", "null", "Null", "NULL" };

	if (n->type != YAML_SCALAR_NODE || n->data.scalar.style != YAML_PLAIN_SCALAR_STYLE)
		return false;
	for (size_t i = 0; i < ARRAY_LEN(nulls); i++) {
		if (strcmp(conf_key(n), nulls[i]) == 0)
			return true;
	}
	return false;
}

static enum err read_param(const struct conf_walk *w, const yaml_node_t *n,
                           const struct conf_param *p, void *field)
{
	/* "routes:" with every line below it commented out. */
	if (p->type >= CONF_LIST && conf_is_null(n))
		return count_good(w, n, p, 0);
	switch (p->type) {
	case CONF_LIST: return read_list(w, n, p, field);
	case CONF_MAP:  return read_map(w, n, p, field);
	case CONF_ROWS: return read_rows(w, n, p, field);
	default: break;
	}
	if (n->type != YAML_SCALAR_NODE)
		return conf_fault(w, n, ERR_SYNTAX, "%s wants one value", p->name);
	return conf_value_read(w, n, p, field);
}

/* Every parameter of the table: from map, else its default.  at: where to point
 * when one that must be given is not. */
static enum err read_params(const struct conf_walk *w, const yaml_node_t *map,
                            const yaml_node_t *at, const struct conf_param *params, void *out)
{
	for (const struct conf_param *p = params; p->name != NULL; p++) {
		const yaml_node_t *n = find(w, map, p->name);
		void *field = (char *)out + p->offset;
		enum err err = ERR_OK;

		if (n != NULL)
			err = read_param(w, n, p, field);
		else if (p->def == NULL)
			err = conf_fault(w, at, ERR_SYNTAX, "%s must be given", p->name);
		else
			conf_value_default(p, field);
		if (err != ERR_OK)
			return err;
	}
	return ERR_OK;
}

/* ---- sections and the file */

static enum err read_section(const struct conf_walk *w, const yaml_node_t *top,
                             const struct conf_section *s)
{
	const yaml_node_t *map = s->name == NULL ? top : find(w, top, s->name);
	enum err err;

	if (map != NULL && s->name != NULL) {
		if (conf_is_null(map))
			return read_params(w, NULL, map, s->params, s->out);
		if (map->type != YAML_MAPPING_NODE)
			return conf_fault(w, map, ERR_SYNTAX, "%s wants a mapping", s->name);
		err = conf_check_table(w, map, s->params);
		if (err != ERR_OK)
			return err;
	}
	return read_params(w, map, map == NULL ? top : map, s->params, s->out);
}

static enum err read_tree(const struct conf_walk *w, const struct conf_section *sections,
                          const char *const *ignore)
{
	const yaml_node_t *top = yaml_document_get_root_node(w->doc);
	enum err err;

	if (top == NULL || top->type != YAML_MAPPING_NODE) {
		snprintf(w->why, CONF_ERR_MAX, "%s:1:1: wants a mapping of parameters", w->path);
		return ERR_SYNTAX;
	}
	err = conf_check_top(w, top, sections, ignore);
	for (const struct conf_section *s = sections; err == ERR_OK && s->params != NULL; s++)
		err = read_section(w, top, s);
	if (err == ERR_OK)
		return ERR_OK;
	for (const struct conf_section *s = sections; s->params != NULL; s++)
		conf_free(s->params, s->out);
	return err;
}

static enum err read_text(const struct buf *text, struct conf_walk *w,
                          const struct conf_section *sections, const char *const *ignore)
{
	yaml_parser_t parser;
	yaml_document_t doc;
	enum err err;

	if (!yaml_parser_initialize(&parser)) {
		snprintf(w->why, CONF_ERR_MAX, "%s: out of memory", w->path);
		return ERR_IO;
	}
	yaml_parser_set_input_string(&parser, (const unsigned char *)buf_str(text), text->len);
	if (yaml_parser_load(&parser, &doc)) {
		w->doc = &doc;
		err = read_tree(w, sections, ignore);
		yaml_document_delete(&doc);
	} else {
		err = conf_parser_fault(&parser, w->path, w->why);
	}
	yaml_parser_delete(&parser);
	return err;
}

/* Names and texts of the file stand in why: it must stay one printable line. */
static void make_printable(char *why)
{
	for (; *why != '\0'; why++) {
		if ((unsigned char)*why < ' ' || *why == 0x7f)
			*why = '?';
	}
}

enum err conf_load(const char *path, const struct conf_section *sections,
                   const char *const *ignore, char why[CONF_ERR_MAX])
{
	struct conf_walk w = { .path = path, .why = why };
	struct buf text = BUF_INIT;
	enum err err = conf_file_read(path, &text, why);

	if (err == ERR_OK)
		err = conf_file_scan(&text, path, why);
	if (err == ERR_OK)
		err = read_text(&text, &w, sections, ignore);
	if (err != ERR_OK)
		make_printable(why);
	buf_free(&text);
	return err;
}

static void free_rows(const struct conf_param *p, struct conf_rows *rows)
{
	for (size_t i = 0; i < rows->n; i++)
		conf_free(p->row, (char *)rows->row + i * p->row_size);
	xfree(rows->row);
	*rows = (struct conf_rows){ 0 };
}

static void free_texts(char ***texts, size_t n)
{
	for (size_t i = 0; i < n; i++)
		xfree((*texts)[i]);
	xfree(*texts);
	*texts = NULL;
}

void conf_free(const struct conf_param *params, void *out)
{
	for (const struct conf_param *p = params; p->name != NULL; p++) {
		void *field = (char *)out + p->offset;
		struct conf_list *list = field;
		struct conf_map *map = field;

		switch (p->type) {
		case CONF_TEXT:
			xfree(*(char **)field);
			*(char **)field = NULL;
			break;
		case CONF_LIST:
			free_texts(&list->item, list->n);
			list->n = 0;
			break;
		case CONF_MAP:
			free_texts(&map->key, map->n);
			free_texts(&map->value, map->n);
			map->n = 0;
			break;
		case CONF_ROWS:
			free_rows(p, field);
			break;
		case CONF_BOOL:
			*(bool *)field = false;
			break;
		case CONF_WORD:
			*(int *)field = 0;
			break;
		case CONF_NUMBER:
		case CONF_SIZE:
		case CONF_DURATION:
			*(uint64_t *)field = 0;
			break;
		}
	}
}
