/* lib/conf_keys.c - the keys of a configuration: plain, given once, known
 *
 * Looks at keys only and never at their values.  For a name that is not known it
 * looks for the one that was meant.
 */
#include "lib/conf_private.h"

#include <stdlib.h>
#include <string.h>
#include "lib/mem.h"

yaml_node_t *conf_node(const struct conf_walk *w, int id)
{
	return yaml_document_get_node(w->doc, id);
}

const char *conf_key(const yaml_node_t *n)
{
	return n->type == YAML_SCALAR_NODE ? (const char *)n->data.scalar.value : "";
}

const struct conf_param *conf_find_param(const struct conf_param *params, const char *name)
{
	for (const struct conf_param *p = params; p != NULL && p->name != NULL; p++) {
		if (strcmp(p->name, name) == 0)
			return p;
	}
	return NULL;
}

/* Levenshtein distance, for names of at most 63 bytes. */
static unsigned distance(const char *a, const char *b)
{
	unsigned row[64];
	size_t n = strlen(b);

	if (strlen(a) > 63 || n > 63)
		return 64;
	for (size_t j = 0; j <= n; j++)
		row[j] = (unsigned)j;
	for (size_t i = 1; a[i - 1] != '\0'; i++) {
		unsigned corner = row[0];

		row[0] = (unsigned)i;
		for (size_t j = 1; j <= n; j++) {
			unsigned best = corner + (a[i - 1] != b[j - 1]);

			if (row[j] + 1 < best)
				best = row[j] + 1;
			if (row[j - 1] + 1 < best)
				best = row[j - 1] + 1;
			corner = row[j];
			row[j] = best;
		}
	}
	return row[n];
}

/* The name that was meant, as far as one can tell: most letters must agree. */
struct guess {
	const char *typed, *near;
	unsigned best;
};

static void guess_name(struct guess *g, const char *name)
{
	unsigned d = distance(g->typed, name);

	if (d >= g->best)
		return;
	g->best = d;
	g->near = name;
}

static void guess_param(struct guess *g, const struct conf_param *params)
{
	for (const struct conf_param *p = params; p != NULL && p->name != NULL; p++)
		guess_name(g, p->name);
}

static struct guess guess_start(const yaml_node_t *key)
{
	const char *typed = conf_key(key);

	return (struct guess){ .typed = typed, .best = (unsigned)(strlen(typed) / 3) + 2 };
}

static enum err unknown_key(const struct conf_walk *w, const yaml_node_t *key,
                            const struct guess *g)
{
	if (g->near != NULL)
		return conf_fault(w, key, ERR_SYNTAX,
		                  "unknown key \"%.60s\"; did you mean \"%s\"?", g->typed, g->near);
	return conf_fault(w, key, ERR_SYNTAX, "unknown key \"%.60s\"", g->typed);
}

static int by_text_then_place(const void *va, const void *vb)
{
	const yaml_node_t *a = *(const yaml_node_t *const *)va;
	const yaml_node_t *b = *(const yaml_node_t *const *)vb;
	int order = strcmp(conf_key(a), conf_key(b));

	if (order != 0)
		return order;
	return (a->start_mark.index > b->start_mark.index)
	     - (a->start_mark.index < b->start_mark.index);
}

/* Sorted, so that a long map costs no more than reading it. */
static enum err check_twice(const struct conf_walk *w, const yaml_node_t **keys, size_t n)
{
	qsort(keys, n, sizeof(*keys), by_text_then_place);
	for (size_t i = 1; i < n; i++) {
		if (strcmp(conf_key(keys[i - 1]), conf_key(keys[i])) == 0)
			return conf_fault(w, keys[i], ERR_SYNTAX, "\"%.60s\" is given twice",
			                  conf_key(keys[i]));
	}
	return ERR_OK;
}

enum err conf_check_keys(const struct conf_walk *w, const yaml_node_t *map)
{
	const yaml_node_pair_t *pair = map->data.mapping.pairs.start;
	size_t n = (size_t)(map->data.mapping.pairs.top - pair);
	const yaml_node_t **keys = xcalloc(n, sizeof(*keys));
	enum err err = ERR_OK;

	for (size_t i = 0; err == ERR_OK && i < n; i++) {
		keys[i] = conf_node(w, pair[i].key);
		if (keys[i]->type != YAML_SCALAR_NODE
		    || strlen(conf_key(keys[i])) != keys[i]->data.scalar.length)
			err = conf_fault(w, keys[i], ERR_SYNTAX, "a key must be a plain word");
	}
	if (err == ERR_OK)
		err = check_twice(w, keys, n);
	xfree(keys);
	return err;
}

/* Keys are plain, given once, and of the table. */
enum err conf_check_table(const struct conf_walk *w, const yaml_node_t *map,
                            const struct conf_param *params)
{
	enum err err = conf_check_keys(w, map);

	for (const yaml_node_pair_t *p = map->data.mapping.pairs.start;
	     err == ERR_OK && p < map->data.mapping.pairs.top; p++) {
		const yaml_node_t *key = conf_node(w, p->key);
		struct guess g = guess_start(key);

		if (conf_find_param(params, g.typed) != NULL)
			continue;
		guess_param(&g, params);
		err = unknown_key(w, key, &g);
	}
	return err;
}

static bool listed(const char *const *names, const char *name)
{
	for (size_t i = 0; names != NULL && names[i] != NULL; i++) {
		if (strcmp(names[i], name) == 0)
			return true;
	}
	return false;
}

static const struct conf_param *plain_params(const struct conf_section *sections)
{
	for (const struct conf_section *s = sections; s->params != NULL; s++) {
		if (s->name == NULL)
			return s->params;
	}
	return NULL;
}

static bool is_section(const struct conf_section *sections, const char *name)
{
	for (const struct conf_section *s = sections; s->params != NULL; s++) {
		if (s->name != NULL && strcmp(s->name, name) == 0)
			return true;
	}
	return false;
}

enum err conf_check_top(const struct conf_walk *w, const yaml_node_t *top,
                          const struct conf_section *sections, const char *const *ignore)
{
	const struct conf_param *plain = plain_params(sections);
	enum err err = conf_check_keys(w, top);

	for (const yaml_node_pair_t *p = top->data.mapping.pairs.start;
	     err == ERR_OK && p < top->data.mapping.pairs.top; p++) {
		const yaml_node_t *key = conf_node(w, p->key);
		struct guess g = guess_start(key);

		if (conf_find_param(plain, g.typed) != NULL || listed(ignore, g.typed)
		    || is_section(sections, g.typed))
			continue;
		guess_param(&g, plain);
		for (const struct conf_section *s = sections; s->params != NULL; s++)
			guess_name(&g, s->name != NULL ? s->name : "");
		for (size_t i = 0; ignore != NULL && ignore[i] != NULL; i++)
			guess_name(&g, ignore[i]);
		err = unknown_key(w, key, &g);
	}
	return err;
}
