/* lib/conf_file.c - the bytes of a configuration file, and what of YAML we take
 *
 * The tree of libyaml no longer tells an alias from what it stands for and ends
 * after the first document.  So its events are looked through first, and what we
 * do not take is refused with its place: anchors, aliases, tags, a second
 * document, more levels than any table has.
 */
#include "lib/conf_private.h"

#include <errno.h>
#include <string.h>

enum { FILE_MAX_BYTES = 8 << 20, DEPTH_MAX = 16 };

static enum err file_fault(const char *path, char why[CONF_ERR_MAX], enum err err,
                           const char *text)
{
	snprintf(why, CONF_ERR_MAX, "%s: %s", path, text);
	return err;
}

static enum err read_all(FILE *f, const char *path, struct buf *out, char why[CONF_ERR_MAX])
{
	size_t n;

	do {
		n = fread(buf_room(out, 65536), 1, 65536, f);
		buf_grew(out, n);
		if (out->len > FILE_MAX_BYTES)
			return file_fault(path, why, ERR_TOOBIG, "larger than 8 MiB");
	} while (n > 0);
	if (ferror(f))
		return file_fault(path, why, ERR_IO, strerror(errno));
	return ERR_OK;
}

enum err conf_file_read(const char *path, struct buf *out, char why[CONF_ERR_MAX])
{
	FILE *f = fopen(path, "re");
	enum err err;

	if (f == NULL)
		return file_fault(path, why, errno == ENOENT ? ERR_NOENT : ERR_IO,
		                  strerror(errno));
	err = read_all(f, path, out, why);
	fclose(f);
	return err;
}

enum err conf_parser_fault(const yaml_parser_t *parser, const char *path,
                           char why[CONF_ERR_MAX])
{
	/* Bytes that are no UTF-8 have an offset but no line. */
	if (parser->error == YAML_READER_ERROR)
		snprintf(why, CONF_ERR_MAX, "%s: byte %zu: %s", path, parser->problem_offset,
		         parser->problem);
	else
		snprintf(why, CONF_ERR_MAX, "%s:%zu:%zu: %s", path,
		         parser->problem_mark.line + 1, parser->problem_mark.column + 1,
		         parser->problem != NULL ? parser->problem : "not YAML");
	return ERR_SYNTAX;
}

struct scan {
	unsigned depth, documents;
};

static bool is_marked(const yaml_event_t *e)
{
	switch (e->type) {
	case YAML_SCALAR_EVENT:
		return e->data.scalar.anchor != NULL || e->data.scalar.tag != NULL;
	case YAML_SEQUENCE_START_EVENT:
		return e->data.sequence_start.anchor != NULL || e->data.sequence_start.tag != NULL;
	case YAML_MAPPING_START_EVENT:
		return e->data.mapping_start.anchor != NULL || e->data.mapping_start.tag != NULL;
	default:
		return false;
	}
}

/* NULL when the event is taken, else why not. */
static const char *judge(struct scan *s, const yaml_event_t *e)
{
	if (is_marked(e))
		return "anchors and tags are not taken";
	switch (e->type) {
	case YAML_ALIAS_EVENT:
		return "aliases are not taken";
	case YAML_DOCUMENT_START_EVENT:
		return s->documents++ > 0 ? "a second document is not taken" : NULL;
	case YAML_SEQUENCE_START_EVENT:
	case YAML_MAPPING_START_EVENT:
		return ++s->depth > DEPTH_MAX ? "nested too deeply" : NULL;
	case YAML_SEQUENCE_END_EVENT:
	case YAML_MAPPING_END_EVENT:
		s->depth--;
		return NULL;
	default:
		return NULL;
	}
}

static enum err scan_events(yaml_parser_t *parser, const char *path, char why[CONF_ERR_MAX])
{
	struct scan s = { 0 };
	yaml_event_t e;
	bool last = false;

	while (!last) {
		const char *fault;

		if (!yaml_parser_parse(parser, &e))
			return conf_parser_fault(parser, path, why);
		fault = judge(&s, &e);
		last = e.type == YAML_STREAM_END_EVENT;
		if (fault != NULL)
			snprintf(why, CONF_ERR_MAX, "%s:%zu:%zu: %s", path, e.start_mark.line + 1,
			         e.start_mark.column + 1, fault);
		yaml_event_delete(&e);
		if (fault != NULL)
			return ERR_SYNTAX;
	}
	return ERR_OK;
}

enum err conf_file_scan(const struct buf *text, const char *path, char why[CONF_ERR_MAX])
{
	yaml_parser_t parser;
	enum err err;

	if (!yaml_parser_initialize(&parser))
		return file_fault(path, why, ERR_IO, "out of memory");
	yaml_parser_set_input_string(&parser, (const unsigned char *)buf_str(text), text->len);
	err = scan_events(&parser, path, why);
	yaml_parser_delete(&parser);
	return err;
}
