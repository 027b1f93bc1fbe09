/* holdq/cmd_list.c - holdq list: held mail of every instance, page by page
 *
 * Only one page of an answer is in memory at a time; the table holds the rows.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>
#include "holdq/review.h"
#include "lib/clock.h"
#include "lib/mem.h"
#include "lib/table.h"
#include "proto/verdict.h"

static const struct table_column columns[] = {
	{ "ID", TABLE_TEXT }, { "ACCOUNT", TABLE_TEXT }, { "FROM", TABLE_TEXT },
	{ "TO", TABLE_TEXT }, { "RECIPIENTS", TABLE_NUMBER }, { "SUBJECT", TABLE_TEXT },
	{ "SIZE", TABLE_NUMBER }, { "AGE", TABLE_TEXT }, { "RECEIVED", TABLE_TEXT },
	{ "REASON", TABLE_TEXT }, { "STATE", TABLE_TEXT }, { NULL, TABLE_TEXT },
};

struct listing {
	struct table *table;
	uint64_t limit, n, now_ms;
};

static void add_text(struct table *t, ProtobufCBinaryData d)
{
	char *s = review_text(d);

	table_text(t, s);
	xfree(s);
}

static bool add_row(void *arg, unsigned instance, const Holdfast__HeldMail *m)
{
	ProtobufCBinaryData none = { 0, NULL };
	struct listing *l = arg;
	char id[UUID_CHARS + 1], age[32], when[24];
	struct uuid u;

	if (m->message_id.len != UUID_LEN)
		return true;
	if (l->n == l->limit)
		return false;
	l->n++;
	memcpy(u.b, m->message_id.data, UUID_LEN);
	uuid_text(&u, id);
	cli_age(l->now_ms > m->received_ms ? l->now_ms - m->received_ms : 0, age, sizeof(age));
	cli_time(m->received_ms, when);
	table_row(l->table);
	table_text(l->table, id);
	add_text(l->table, m->account);
	add_text(l->table, m->mail_from);
	add_text(l->table, m->n_rcpt > 0 ? m->rcpt[0]->address : none);
	table_number(l->table, m->rcpt_count);
	add_text(l->table, m->subject);
	table_number(l->table, (int64_t)m->size);
	table_text(l->table, age);
	table_text(l->table, when);
	table_text(l->table, hold_reason_name(m->reason));
	add_text(l->table, m->state);
	return true;
}

int cmd_list(struct cli *c, int argc, char **argv)
{
	struct listing l = { NULL, UINT64_MAX, 0, clock_wall_ms() };
	struct review_filter f = { 0 };
	const struct cli_option options[] = {
		REVIEW_FILTER_OPTIONS(&f),
		{ "limit", CLI_NUMBER, &l.limit, NULL }, { NULL, CLI_FLAG, NULL, NULL },
	};
	const char *args[1];
	enum err err = cli_parse(c, options, argc, argv, args, (int[2]){ 0, 0 });
	int code;

	if (err != ERR_OK)
		return cli_parse_exit(err);
	if (!review_filter_sound(c, &f))
		return EX_USAGE;
	code = review_open(c);
	if (code != EX_OK)
		return code;
	l.table = table_new(columns, c->json);
	code = review_each(c, &f, add_row, &l);
	table_print(&l.table, stdout);
	return code;
}
