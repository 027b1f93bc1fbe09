/* deploy/hfctl_list.c - hfctl list ... and block ...: the three suppression lists
 *
 * "block" is the system-wide list; its entries belong to no account.
 */
#include "deploy/hfctl.h"

#include <stdio.h>
#include <string.h>
#include <sysexits.h>
#include "lib/mem.h"
#include "lib/table.h"
#include "lib/uuid.h"
#include "proto/smtp_addr.h"

/* Which entry, or which list. */
struct target {
	Holdfast__ListName list;
	const char *account;
	struct buf  key; /* empty: the whole list */
};

static bool list_of(struct cli *c, const char *word, Holdfast__ListName *out)
{
	if (strcmp(word, "bounce") == 0)
		*out = HOLDFAST__LIST_NAME__LIST_BOUNCE;
	else if (strcmp(word, "unsubscribe") == 0)
		*out = HOLDFAST__LIST_NAME__LIST_UNSUBSCRIBE;
	else
		return cli_fail(c, false, "no list \"%s\": bounce, unsubscribe", word);
	return true;
}

static bool entry_key(struct cli *c, Holdfast__ListName list, const char *text,
                      struct buf *key)
{
	if (strchr(text, '@') != NULL)
		return hfctl_address_key(c, text, key);
	if (list != HOLDFAST__LIST_NAME__LIST_UNSUBSCRIBE)
		return cli_fail(c, false,
		                "\"%s\" is no address; domains go on the Unsubscribe list",
		                text);
	if (smtp_domain_key(text, strlen(text), key) == ERR_OK)
		return true;
	return cli_fail(c, false, "\"%s\" is neither address nor domain", text);
}

/* args of `list`: LIST ACCOUNT [ENTRY]; of `block`: [ENTRY].  False: told. */
static bool read_target(struct cli *c, const char **args, bool block, struct target *t)
{
	if (block) {
		t->list = HOLDFAST__LIST_NAME__LIST_SYSTEM;
		return args[0] == NULL || entry_key(c, t->list, args[0], &t->key);
	}
	t->account = args[1];
	return list_of(c, args[0], &t->list) && hfctl_account_name(c, args[1]) &&
	       (args[2] == NULL || entry_key(c, t->list, args[2], &t->key));
}

/* The owner of an entry: its account, or for the system-wide list the key. */
static ProtobufCBinaryData shard_key(const struct target *t)
{
	return t->account != NULL ? pb_str(t->account) : pb_bytes(t->key.data, t->key.len);
}

/* ---- add */

static int put_entry(struct cli *c, const struct target *t, const char *origin,
                     const char *note)
{
	Holdfast__ListEntry entry = HOLDFAST__LIST_ENTRY__INIT;
	Holdfast__ListPut put = HOLDFAST__LIST_PUT__INIT;
	Holdfast__Frame frame = HOLDFAST__FRAME__INIT;
	ProtobufCBinaryData shard = shard_key(t);
	int code = hfctl_open(c);

	if (code != EX_OK)
		return code;
	entry.list = t->list;
	entry.account = pb_str(t->account != NULL ? t->account : "");
	entry.key = pb_bytes(t->key.data, t->key.len);
	entry.origin = pb_str(origin);
	entry.by = pb_str(tool_user());
	entry.note = pb_str(note != NULL ? note : "");
	put.entry = &entry;
	put.by = entry.by;
	frame.body_case = HOLDFAST__FRAME__BODY_LIST_PUT;
	frame.list_put = &put;
	return hfctl_act(c, shard.data, shard.len, &frame);
}

static int add(struct cli *c, int argc, char **argv, bool block)
{
	bool owner = false;
	const char *note = NULL, *args[4], *origin = "manual";
	const struct cli_option options[] = {
		{ "note", CLI_TEXT, &note, NULL },
		{ block ? "owner" : NULL, CLI_FLAG, &owner, NULL },
		{ NULL, CLI_FLAG, NULL, NULL },
	};
	int n = block ? 1 : 3, code = EX_DATAERR;
	enum err err = cli_parse(c, options, argc, argv, args, (int[]){ n, n });
	struct target t = { 0 };

	if (err != ERR_OK)
		return cli_parse_exit(err);
	if (block)
		origin = owner ? "owner" : "invalid";
	if (read_target(c, args, block, &t))
		code = put_entry(c, &t, origin, note);
	buf_free(&t.key);
	return code;
}

int cmd_list_add(struct cli *c, int argc, char **argv)
{
	return add(c, argc, argv, false);
}

int cmd_block_add(struct cli *c, int argc, char **argv)
{
	return add(c, argc, argv, true);
}

/* ---- remove */

static int remove_entry(struct cli *c, const struct target *t, const char *reason)
{
	Holdfast__ListRemove rm = HOLDFAST__LIST_REMOVE__INIT;
	Holdfast__Frame frame = HOLDFAST__FRAME__INIT;
	ProtobufCBinaryData shard = shard_key(t);
	int code = hfctl_open(c);

	if (code != EX_OK)
		return code;
	rm.list = t->list;
	rm.account = pb_str(t->account != NULL ? t->account : "");
	rm.key = pb_bytes(t->key.data, t->key.len);
	rm.by = pb_str(tool_user());
	rm.reason = pb_str(reason != NULL ? reason : "");
	frame.body_case = HOLDFAST__FRAME__BODY_LIST_REMOVE;
	frame.list_remove = &rm;
	return hfctl_act(c, shard.data, shard.len, &frame);
}

static int take_off(struct cli *c, int argc, char **argv, bool block)
{
	const char *reason = NULL, *args[4];
	const struct cli_option options[] = {
		{ "reason", CLI_TEXT, &reason, NULL }, { NULL, CLI_FLAG, NULL, NULL },
	};
	int n = block ? 1 : 3, code = EX_DATAERR;
	enum err err = cli_parse(c, options, argc, argv, args, (int[]){ n, n });
	struct target t = { 0 };

	if (err != ERR_OK)
		return cli_parse_exit(err);
	if (read_target(c, args, block, &t))
		code = remove_entry(c, &t, reason);
	buf_free(&t.key);
	return code;
}

int cmd_list_remove(struct cli *c, int argc, char **argv)
{
	return take_off(c, argc, argv, false);
}

int cmd_block_remove(struct cli *c, int argc, char **argv)
{
	return take_off(c, argc, argv, true);
}

/* ---- show */

static const struct table_column columns[] = {
	{ "ADDRESS", TABLE_TEXT }, { "ORIGIN", TABLE_TEXT }, { "LISTED", TABLE_BOOL },
	{ "SOFT", TABLE_NUMBER }, { "ADDED", TABLE_TEXT }, { "BY", TABLE_TEXT },
	{ "REMOVED", TABLE_TEXT }, { "REMOVED BY", TABLE_TEXT }, { "MESSAGE", TABLE_TEXT },
	{ "HOST", TABLE_TEXT }, { "REPLY", TABLE_TEXT }, { "RULE", TABLE_TEXT },
	{ "NOTE", TABLE_TEXT }, { NULL, TABLE_TEXT },
};

static void add_reply(struct table *t, const Holdfast__Evidence *e)
{
	char *text;

	if (e == NULL || e->code == 0) {
		table_text(t, e == NULL ? NULL : hfctl_cell(e->text));
		return;
	}
	text = xasprintf("%u %.*s%s%.*s", e->code, (int)e->enhanced.len,
	                 (const char *)e->enhanced.data, e->enhanced.len > 0 ? " " : "",
	                 (int)e->text.len, (const char *)e->text.data);
	table_text(t, text);
	xfree(text);
}

static void add_row(struct table *t, const Holdfast__ListEntry *e)
{
	char id[UUID_CHARS + 1] = "";
	struct uuid u;

	if (e->message_id.len == UUID_LEN) {
		memcpy(u.b, e->message_id.data, UUID_LEN);
		uuid_text(&u, id);
	}
	table_row(t);
	table_text(t, hfctl_cell(e->key));
	table_text(t, hfctl_cell(e->origin));
	table_bool(t, e->stands);
	table_number(t, e->soft_count);
	table_text(t, hfctl_when(e->added_ms));
	table_text(t, hfctl_cell(e->by));
	table_text(t, hfctl_when(e->removed_ms));
	table_text(t, hfctl_cell(e->removed_by));
	table_text(t, id[0] != '\0' ? id : NULL);
	table_text(t, e->evidence != NULL ? hfctl_cell(e->evidence->host) : NULL);
	add_reply(t, e->evidence);
	table_text(t, e->evidence != NULL ? hfctl_cell(e->evidence->rule) : NULL);
	table_text(t, hfctl_cell(e->note));
}

/* The entries of one instance, page by page. */
static int show_instance(struct cli *c, const struct target *t, bool history, unsigned instance,
                         struct table *table)
{
	struct bus_to to = { HOLDFAST__ROLE__ROLE_POLICY, instance };
	Holdfast__ListGet get = HOLDFAST__LIST_GET__INIT;
	Holdfast__Frame frame = HOLDFAST__FRAME__INIT;
	struct tool_answer a = { NULL, NULL }, next;
	bool more = true;
	int code = EX_OK;

	get.list = t->list;
	get.account = pb_str(t->account != NULL ? t->account : "");
	get.key = pb_bytes(t->key.data, t->key.len);
	get.history = history;
	get.limit = 256;
	frame.body_case = HOLDFAST__FRAME__BODY_LIST_GET;
	frame.list_get = &get;
	while (more) {
		Holdfast__ListPage *page;

		code = hfctl_ask(c, to, &frame, HOLDFAST__FRAME__BODY_LIST_PAGE, &next);
		tool_answer_free(&a);
		if (code != EX_OK)
			return code;
		a = next;
		page = a.frame->list_page;
		for (size_t i = 0; i < page->n_entry; i++)
			add_row(table, page->entry[i]);
		more = page->more && page->n_entry > 0;
		if (more) {
			get.after = page->entry[page->n_entry - 1]->key;
			get.after_removed_ms = page->entry[page->n_entry - 1]->removed_ms;
		}
	}
	tool_answer_free(&a);
	return code;
}

static int show_target(struct cli *c, const struct target *t, bool history)
{
	ProtobufCBinaryData shard = shard_key(t);
	struct table *table;
	unsigned n, first = 0;
	int code = hfctl_open(c);

	if (code != EX_OK)
		return code;
	n = tool_instances(hfctl_tool(c), HOLDFAST__ROLE__ROLE_POLICY);
	if (shard.len > 0) { /* one owner; the whole system-wide list lies on all */
		first = tool_shard(hfctl_tool(c), HOLDFAST__ROLE__ROLE_POLICY, shard.data,
		                   shard.len);
		n = first + 1;
	}
	table = table_new(columns, c->json);
	for (unsigned i = first; code == EX_OK && i < n; i++)
		code = show_instance(c, t, history, i, table);
	table_print(&table, stdout);
	return code;
}

static int show(struct cli *c, int argc, char **argv, bool block)
{
	bool history = false;
	const struct cli_option options[] = {
		{ "history", CLI_FLAG, &history, NULL }, { NULL, CLI_FLAG, NULL, NULL },
	};
	const char *args[4] = { NULL };
	const int counts[2] = { block ? 0 : 2, block ? 1 : 3 };
	enum err err = cli_parse(c, options, argc, argv, args, counts);
	struct target t = { 0 };
	int code = EX_DATAERR;

	if (err != ERR_OK)
		return cli_parse_exit(err);
	if (read_target(c, args, block, &t))
		code = show_target(c, &t, history);
	buf_free(&t.key);
	return code;
}

int cmd_list_show(struct cli *c, int argc, char **argv)
{
	return show(c, argc, argv, false);
}

int cmd_block_show(struct cli *c, int argc, char **argv)
{
	return show(c, argc, argv, true);
}
