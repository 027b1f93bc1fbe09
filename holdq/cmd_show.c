/* holdq/cmd_show.c - holdq show: the header of a mail, or the whole (which is put on record)
 *
 * What is shown came from outside: bytes that could move a terminal become '?'.
 */
#include <stdio.h>
#include <string.h>
#include <sysexits.h>
#include "holdq/review.h"
#include "lib/buf.h"
#include "lib/mem.h"
#include "lib/table.h"
#include "proto/verdict.h"

static const struct table_column columns[] = {
	{ "ID", TABLE_TEXT }, { "ACCOUNT", TABLE_TEXT }, { "FROM", TABLE_TEXT },
	{ "TO", TABLE_TEXT }, { "RECIPIENTS", TABLE_NUMBER }, { "SIZE", TABLE_NUMBER },
	{ "RECEIVED", TABLE_TEXT }, { "REASON", TABLE_TEXT }, { "STATE", TABLE_TEXT },
	{ "MESSAGE", TABLE_TEXT }, { NULL, TABLE_TEXT },
};

/* Lines end in LF; of the control bytes only TAB is kept. */
static void make_safe(const struct blob *body, struct buf *out)
{
	for (size_t i = 0; i < body->len; i++) {
		unsigned char ch = body->data[i];

		if (ch == '\r' && i + 1 < body->len && body->data[i + 1] == '\n')
			continue;
		if ((ch < ' ' && ch != '\n' && ch != '\t') || ch == 127)
			ch = '?';
		/* C1 controls, in one byte or in UTF-8 */
		if (ch == 0xc2 && i + 1 < body->len && body->data[i + 1] < 0xa0) {
			i++;
			ch = '?';
		}
		buf_addc(out, (char)ch);
	}
}

static void all_recipients(const Holdfast__HeldMail *m, struct buf *out)
{
	for (size_t i = 0; i < m->n_rcpt; i++) {
		char *s = review_text(m->rcpt[i]->address);

		buf_addf(out, "%s%s", i > 0 ? ", " : "", s);
		xfree(s);
	}
	if (m->n_rcpt < m->rcpt_count)
		buf_addf(out, ", and %zu more", (size_t)m->rcpt_count - m->n_rcpt);
}

struct shown {
	const char *id, *message;
	char *account, *from, *state;
	const char *to;
	char when[24];
};

static void print_text(const Holdfast__HeldMail *m, const struct shown *s)
{
	printf("id        %s\naccount   %s\nfrom      <%s>\nto        %s\n", s->id, s->account,
	       s->from, s->to);
	printf("size      %llu\nreceived  %s\nreason    %s\nstate     %s\n\n%s",
	       (unsigned long long)m->size, s->when, hold_reason_name(m->reason), s->state,
	       s->message);
}

static void print_json(const Holdfast__HeldMail *m, const struct shown *s)
{
	struct table *t = table_new(columns, true);

	table_row(t);
	table_text(t, s->id);
	table_text(t, s->account);
	table_text(t, s->from);
	table_text(t, s->to);
	table_number(t, m->rcpt_count);
	table_number(t, (int64_t)m->size);
	table_text(t, s->when);
	table_text(t, hold_reason_name(m->reason));
	table_text(t, s->state);
	table_text(t, s->message);
	table_print(&t, stdout);
}

static void print_mail(struct cli *c, const struct tool_answer *a, const char *id)
{
	const Holdfast__HeldMail *m = a->frame->held_page->mail[0];
	struct buf text = BUF_INIT;
	struct buf to = BUF_INIT;
	struct shown s = {
		.id = id, .account = review_text(m->account), .from = review_text(m->mail_from),
		.state = review_text(m->state),
	};

	if (a->body != NULL)
		make_safe(a->body, &text);
	all_recipients(m, &to);
	cli_time(m->received_ms, s.when);
	s.message = buf_str(&text);
	s.to = buf_str(&to);
	if (c->json)
		print_json(m, &s);
	else
		print_text(m, &s);
	xfree(s.account);
	xfree(s.from);
	xfree(s.state);
	buf_free(&to);
	buf_free(&text);
}

/* Ask each instance in turn; the first that has it answers. */
static int find_and_print(struct cli *c, const struct uuid *u, bool whole)
{
	unsigned n = tool_instances(review_tool(c), HOLDFAST__ROLE__ROLE_HOLDQ);
	char id[UUID_CHARS + 1];
	int worst = EX_OK;

	uuid_text(u, id);
	for (unsigned i = 0; i < n; i++) {
		struct bus_to to = { HOLDFAST__ROLE__ROLE_HOLDQ, i };
		Holdfast__Frame f = HOLDFAST__FRAME__INIT;
		Holdfast__HeldBody q = HOLDFAST__HELD_BODY__INIT;
		struct tool_answer a;
		int code;

		q.message_id = pb_bytes(u->b, UUID_LEN);
		q.whole = whole;
		q.by = pb_str(tool_user());
		f.body_case = HOLDFAST__FRAME__BODY_HELD_BODY;
		f.held_body = &q;
		code = review_ask(c, to, &f, REVIEW_WAIT_MS, HOLDFAST__FRAME__BODY_HELD_PAGE, &a);
		if (code != EX_OK) {
			worst = code;
			continue;
		}
		if (a.frame->held_page->n_mail > 0) {
			print_mail(c, &a, id);
			tool_answer_free(&a);
			return EX_OK;
		}
		tool_answer_free(&a);
	}
	return worst != EX_OK ? worst : cli_fail(c, EX_DATAERR, "%s is not held", id);
}

int cmd_show(struct cli *c, int argc, char **argv)
{
	bool whole = false;
	const struct cli_option options[] = {
		{ "body", CLI_FLAG, &whole, NULL }, { NULL, CLI_FLAG, NULL, NULL },
	};
	const char *args[2];
	enum err err = cli_parse(c, options, argc, argv, args, (int[2]){ 1, 1 });
	struct review_filter f = { 0 };
	int code = EX_USAGE;

	if (err != ERR_OK)
		return cli_parse_exit(err);
	if (review_ids(c, args, &f))
		code = review_open(c);
	if (code == EX_OK)
		code = find_and_print(c, &f.id[0], whole);
	review_filter_free(&f);
	return code;
}
