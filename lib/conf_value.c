/* lib/conf_value.c - single values: yes/no, numbers, sizes, durations, words, text
 *
 * Also the printing of a table, since it needs the same names of types.
 */
#include "lib/conf_private.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include "lib/log.h"
#include "lib/mem.h"

struct unit {
	const char *name;
	uint64_t    factor;
};

static const struct unit sizes[] = {
	{ "", 1 }, { "B", 1 }, { "KiB", 1024 }, { "MiB", 1024 * 1024 },
	{ "GiB", 1024 * 1024 * 1024 }, { "TiB", 1024ull * 1024 * 1024 * 1024 }, { NULL, 0 },
};

/* A duration always has a unit: "30" could be anything. */
static const struct unit durations[] = {
	{ "ms", 1 }, { "s", 1000 }, { "min", 60000 }, { "h", 3600000 }, { "d", 86400000 },
	{ NULL, 0 },
};

static const struct unit plain[] = { { "", 1 }, { NULL, 0 } };

static const char *const type_names[] = {
	"yes or no", "number", "size", "duration", "word", "text", "list", "mapping",
	"list of mappings",
};

static enum err parse_amount(const char *text, const struct unit *units, uint64_t *out)
{
	char *end;
	unsigned long long n;

	if (text[0] < '0' || text[0] > '9')
		return ERR_SYNTAX;
	errno = 0;
	n = strtoull(text, &end, 10);
	if (errno != 0)
		return ERR_RANGE;
	for (; units->name != NULL; units++) {
		if (strcmp(end, units->name) != 0)
			continue;
		if (n > UINT64_MAX / units->factor)
			return ERR_RANGE;
		*out = n * units->factor;
		return ERR_OK;
	}
	return ERR_SYNTAX;
}

static const struct unit *units_of(enum conf_type type)
{
	return type == CONF_SIZE ? sizes : type == CONF_DURATION ? durations : plain;
}

enum err conf_amount(enum conf_type type, const char *text, uint64_t *out)
{
	return parse_amount(text, units_of(type), out);
}

static enum err parse_bool(const char *text, bool *out)
{
	static const char *const words[] = { "no", "yes", "false", "true" };

	for (size_t i = 0; i < ARRAY_LEN(words); i++) {
		if (strcmp(text, words[i]) == 0) {
			*out = i % 2 != 0;
			return ERR_OK;
		}
	}
	return ERR_SYNTAX;
}

static enum err parse_word(const char *text, const char *const *words, int *out)
{
	for (int i = 0; words[i] != NULL; i++) {
		if (strcmp(text, words[i]) == 0) {
			*out = i;
			return ERR_OK;
		}
	}
	return ERR_SYNTAX;
}

static enum err parse_bounded(const struct conf_param *p, const char *text, uint64_t *out)
{
	uint64_t n;
	enum err err = conf_amount(p->type, text, &n);

	if (err != ERR_OK)
		return err;
	if (n < p->min || n > p->max)
		return ERR_RANGE;
	*out = n;
	return ERR_OK;
}

static enum err parse_text(const struct conf_param *p, const char *text, char **out)
{
	size_t len = strlen(text);

	if (len < p->min || len > p->max)
		return ERR_RANGE;
	*out = xstrdup(text);
	return ERR_OK;
}

static enum err parse_value(const struct conf_param *p, const char *text, void *field)
{
	switch (p->type) {
	case CONF_BOOL:     return parse_bool(text, field);
	case CONF_NUMBER:
	case CONF_SIZE:
	case CONF_DURATION: return parse_bounded(p, text, field);
	case CONF_WORD:     return parse_word(text, p->words, field);
	case CONF_TEXT:     return parse_text(p, text, field);
	default:            die_bug("no single value");
	}
}

/* An amount as one would write it: the largest unit that divides it. */
static void print_amount(char *out, size_t len, uint64_t n, const struct unit *units)
{
	const struct unit *best = units;

	for (const struct unit *u = units; u->name != NULL; u++) {
		if (n != 0 && u->factor >= best->factor && n % u->factor == 0)
			best = u;
	}
	snprintf(out, len, "%" PRIu64 "%s", n / best->factor, best->name);
}

static void print_bounds(char *out, size_t len, const struct conf_param *p)
{
	char low[32], high[32];

	print_amount(low, sizeof(low), p->min, units_of(p->type));
	print_amount(high, sizeof(high), p->max, units_of(p->type));
	snprintf(out, len, "%s to %s", low, high);
}

static void print_words(char *out, size_t len, const struct conf_param *p)
{
	size_t used = 0;

	out[0] = '\0';
	for (int i = 0; p->words[i] != NULL && used < len; i++)
		used += (size_t)snprintf(out + used, len - used, "%s%s", i > 0 ? ", " : "",
		                         p->words[i]);
}

enum err conf_value_read(const struct conf_walk *w, const yaml_node_t *n,
                         const struct conf_param *p, void *field)
{
	const char *text = conf_is_null(n) ? "" : (const char *)n->data.scalar.value;
	char want[256];
	enum err err;

	if (strlen((const char *)n->data.scalar.value) != n->data.scalar.length)
		return conf_fault(w, n, ERR_SYNTAX, "%s holds a NUL", p->name);
	err = parse_value(p, text, field);
	if (err == ERR_OK)
		return ERR_OK;
	if (p->type == CONF_WORD)
		print_words(want, sizeof(want), p);
	else if (p->type == CONF_BOOL)
		snprintf(want, sizeof(want), "yes, no, true, false");
	else
		print_bounds(want, sizeof(want), p);
	if (p->type == CONF_TEXT)
		return conf_fault(w, n, err, "%s is %zu characters long; want %s", p->name,
		                  strlen(text), want);
	return conf_fault(w, n, err, "%s: \"%.60s\" is no %s%s%s", p->name, text,
	                  err == ERR_RANGE ? "value in bounds: want " : type_names[p->type],
	                  err == ERR_RANGE ? "" : "; want ", want);
}

void conf_value_default(const struct conf_param *p, void *field)
{
	if (p->type >= CONF_LIST) {
		if (p->def[0] != '\0')
			die_bug("the default of a list can only be empty");
		return; /* as the zeroed struct is */
	}
	if (p->type == CONF_TEXT)
		*(char **)field = xstrdup(p->def); /* may be shorter than min: "" is "none" */
	else if (parse_value(p, p->def, field) != ERR_OK)
		die_bug("a default is outside its own bounds");
}

static void print_param(FILE *f, const char *indent, const struct conf_param *p)
{
	char bounds[256] = "";

	if (p->type == CONF_WORD)
		print_words(bounds, sizeof(bounds), p);
	else if (p->type == CONF_NUMBER || p->type == CONF_SIZE || p->type == CONF_DURATION)
		print_bounds(bounds, sizeof(bounds), p);
	fprintf(f, "%s%s (%s%s%s", indent, p->name, type_names[p->type],
	        bounds[0] != '\0' ? ": " : "", bounds);
	if (p->def == NULL)
		fprintf(f, ", must be given");
	else if (p->type >= CONF_LIST || p->def[0] == '\0')
		fprintf(f, ", default none");
	else
		fprintf(f, ", default %s", p->def);
	fprintf(f, "): %s\n", p->help);
	for (const struct conf_param *row = p->row; row != NULL && row->name != NULL; row++)
		print_param(f, indent[0] == '\0' ? "    " : "        ", row);
}

void conf_print(FILE *f, const char *section, const struct conf_param *params)
{
	if (section != NULL)
		fprintf(f, "%s:\n", section);
	for (const struct conf_param *p = params; p->name != NULL; p++)
		print_param(f, section != NULL ? "  " : "", p);
}
