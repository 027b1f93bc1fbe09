/* holdq/review.c - how the reviewers' tool asks; see review.h
 *
 * Every instance is asked in turn: where an account's mail lies is not the tool's business.
 */
#include "holdq/review.h"

#include <stdio.h>
#include <string.h>
#include <sysexits.h>
#include "lib/mem.h"

#define PAGE_LIMIT 256

bool review_ids(struct cli *c, const char **args, struct review_filter *f)
{
	size_t n = 0;

	while (args[n] != NULL)
		n++;
	f->id = xcalloc(n + 1, sizeof(*f->id));
	for (f->n_id = 0; f->n_id < n; f->n_id++) {
		if (uuid_parse(args[f->n_id], &f->id[f->n_id]) == ERR_OK)
			continue;
		(void)cli_fail(c, 0, "\"%s\" is no id (26 letters and digits)", args[f->n_id]);
		return false;
	}
	return true;
}

bool review_filter_empty(const struct review_filter *f)
{
	return f->account == NULL && f->sender == NULL && f->domain == NULL &&
	       f->subject == NULL && f->older_ms == 0 && f->n_id == 0;
}

bool review_filter_sound(struct cli *c, const struct review_filter *f)
{
	const char *texts[] = { f->account, f->sender, f->domain, f->subject };

	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		if (texts[i] == NULL || texts[i][0] != '\0')
			continue;
		(void)cli_fail(c, 0, "an option of the filter is empty");
		return false;
	}
	return true;
}

void review_filter_free(struct review_filter *f)
{
	xfree(f->id);
	f->id = NULL;
	f->n_id = 0;
}

struct tool *review_tool(struct cli *c)
{
	return ((struct review *)c->state)->tool;
}

int review_open(struct cli *c)
{
	struct review *r = c->state;
	enum err err;

	if (r->tool != NULL)
		return EX_OK;
	err = tool_open(c->conf_path, HOLDFAST__ROLE__ROLE_REVIEWER, &r->tool);
	return err == ERR_OK ? EX_OK : tool_exit_code(err);
}

int review_ask(struct cli *c, struct bus_to to, Holdfast__Frame *q, uint32_t wait_ms,
               Holdfast__Frame__BodyCase want, struct tool_answer *out)
{
	struct tool_answer a = { NULL, NULL };
	enum err err = tool_ask(review_tool(c), to, q, wait_ms, &a);
	const char *name = tool_instance_name(review_tool(c), to.stage, to.instance);
	const char *why = tool_refusal(review_tool(c));

	if (err != ERR_OK)
		return cli_fail(c, tool_exit_code(err), "%s: %s%s%s", name, err_text(err),
		                why != NULL ? ": " : "", why != NULL ? why : "");
	if (a.frame->body_case != want) {
		tool_answer_free(&a);
		return cli_fail(c, EX_PROTOCOL, "%s: answered something else", name);
	}
	*out = a;
	return EX_OK;
}

char *review_text(ProtobufCBinaryData d)
{
	char *s = pb_strdup(d);

	for (char *p = s; *p != '\0'; p++)
		if ((unsigned char)*p < ' ' || *p == 127)
			*p = ' ';
	return s;
}

/* ---- pages */

struct pager {
	struct cli *c;
	Holdfast__HeldFilter filter;
	review_mail_fn *fn;
	void *arg;
	bool on;
	uint8_t after[64];
	size_t after_len;
};

static void set_text(ProtobufCBinaryData *d, const char *s)
{
	if (s != NULL)
		*d = pb_str(s);
}

/* One page; *more says that another follows. */
static int one_page(struct pager *p, unsigned instance, bool *more)
{
	Holdfast__Frame f = HOLDFAST__FRAME__INIT;
	Holdfast__HeldQuery q = HOLDFAST__HELD_QUERY__INIT;
	struct bus_to to = { HOLDFAST__ROLE__ROLE_HOLDQ, instance };
	const Holdfast__HeldPage *page;
	struct tool_answer a;
	int code;

	q.filter = &p->filter;
	q.after = pb_bytes(p->after, p->after_len);
	q.limit = PAGE_LIMIT;
	f.body_case = HOLDFAST__FRAME__BODY_HELD_QUERY;
	f.held_query = &q;
	code = review_ask(p->c, to, &f, REVIEW_WAIT_MS, HOLDFAST__FRAME__BODY_HELD_PAGE, &a);
	if (code != EX_OK)
		return code;
	page = a.frame->held_page;
	for (size_t i = 0; i < page->n_mail && p->on; i++)
		p->on = p->fn(p->arg, instance, page->mail[i]);
	*more = p->on && page->more && page->next.len > 0 && page->next.len <= sizeof(p->after);
	if (*more) {
		memcpy(p->after, page->next.data, page->next.len);
		p->after_len = page->next.len;
	}
	tool_answer_free(&a);
	return EX_OK;
}

static int all_pages(struct pager *p)
{
	unsigned n = tool_instances(review_tool(p->c), HOLDFAST__ROLE__ROLE_HOLDQ);
	int code = EX_OK;

	for (unsigned i = 0; i < n && code == EX_OK && p->on; i++) {
		bool more = true;

		p->after_len = 0;
		while (more && code == EX_OK) {
			more = false;
			code = one_page(p, i, &more);
		}
	}
	return code;
}

int review_each(struct cli *c, const struct review_filter *f, review_mail_fn *fn, void *arg)
{
	struct pager p = { .c = c, .filter = HOLDFAST__HELD_FILTER__INIT, .fn = fn, .arg = arg,
	                   .on = true };

	set_text(&p.filter.account, f->account);
	set_text(&p.filter.sender, f->sender);
	set_text(&p.filter.domain, f->domain);
	set_text(&p.filter.subject, f->subject);
	p.filter.older_than_ms = f->older_ms;
	return all_pages(&p);
}
