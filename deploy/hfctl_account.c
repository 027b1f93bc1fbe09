/* deploy/hfctl_account.c - hfctl account ...
 *
 * Asks the policy instance that owns the account; what it may not be is judged there.
 */
#include "deploy/hfctl.h"

#include <stdio.h>
#include <string.h>
#include <sysexits.h>
#include "lib/table.h"

static const char *const states[] = { "", "pending", "review", "active", "disabled" };

/* What the options say, and which of them were given. */
struct wishes {
	const char *state, *bypass, *reason;
	uint64_t quota[4], soft_limit;
	bool given_quota[4], given_soft, given_bypass;
};

static const char *const quota_names[] = {
	"quota_hour", "quota_day", "quota_month", "quota_total",
};

static enum err read_wishes(struct cli *c, int argc, char **argv, struct wishes *w,
                            const char **name)
{
	const struct cli_option options[] = {
		{ "state", CLI_TEXT, &w->state, NULL },
		{ "quota-hour", CLI_NUMBER, &w->quota[0], &w->given_quota[0] },
		{ "quota-day", CLI_NUMBER, &w->quota[1], &w->given_quota[1] },
		{ "quota-month", CLI_NUMBER, &w->quota[2], &w->given_quota[2] },
		{ "quota-total", CLI_NUMBER, &w->quota[3], &w->given_quota[3] },
		{ "soft-limit", CLI_NUMBER, &w->soft_limit, &w->given_soft },
		{ "bypass-unsubscribe", CLI_TEXT, &w->bypass, &w->given_bypass },
		{ "reason", CLI_TEXT, &w->reason, NULL },
		{ NULL, CLI_FLAG, NULL, NULL },
	};
	const char *args[2];
	enum err err = cli_parse(c, options, argc, argv, args, (int[]){ 1, 1 });

	if (err == ERR_OK)
		*name = args[0];
	return err;
}

static Holdfast__AccountState state_of(const char *word)
{
	for (unsigned i = 1; i < ARRAY_LEN(states); i++) {
		if (strcmp(word, states[i]) == 0)
			return (Holdfast__AccountState)i;
	}
	return HOLDFAST__ACCOUNT_STATE__ACCOUNT_NONE;
}

static int check_wishes(struct cli *c, const struct wishes *w, const char *name)
{
	if (!hfctl_account_name(c, name))
		return EX_DATAERR;
	if (w->state != NULL && state_of(w->state) == HOLDFAST__ACCOUNT_STATE__ACCOUNT_NONE)
		return cli_fail(c, EX_DATAERR, "no state \"%s\": pending, review, active, disabled",
		                w->state);
	if (w->given_soft && (w->soft_limit < 1 || w->soft_limit > 9))
		return cli_fail(c, EX_DATAERR, "--soft-limit is 1 to 9");
	if (w->given_bypass && strcmp(w->bypass, "yes") != 0 && strcmp(w->bypass, "no") != 0)
		return cli_fail(c, EX_DATAERR, "--bypass-unsubscribe is yes or no");
	return EX_OK;
}

/* Fill account and the names of the fields that it sets. */
static size_t fill_account(const struct wishes *w, Holdfast__Account *a,
                           ProtobufCBinaryData set[8])
{
	uint64_t *quotas[] = { &a->quota_hour, &a->quota_day, &a->quota_month, &a->quota_total };
	size_t n = 0;

	if (w->state != NULL) {
		a->state = state_of(w->state);
		set[n++] = pb_str("state");
	}
	for (size_t i = 0; i < ARRAY_LEN(quotas); i++) {
		if (!w->given_quota[i])
			continue;
		*quotas[i] = w->quota[i];
		set[n++] = pb_str(quota_names[i]);
	}
	if (w->given_soft) {
		a->soft_limit = (uint32_t)w->soft_limit;
		set[n++] = pb_str("soft_limit");
	}
	if (w->given_bypass) {
		a->bypass_unsubscribe = strcmp(w->bypass, "yes") == 0;
		set[n++] = pb_str("bypass_unsubscribe");
	}
	return n;
}

static int put_account(struct cli *c, const char *name, const struct wishes *w, bool create)
{
	Holdfast__Account account = HOLDFAST__ACCOUNT__INIT;
	Holdfast__AccountPut put = HOLDFAST__ACCOUNT_PUT__INIT;
	Holdfast__Frame frame = HOLDFAST__FRAME__INIT;
	ProtobufCBinaryData set[8];
	int code = check_wishes(c, w, name);

	if (code != EX_OK)
		return code;
	account.name = pb_str(name);
	put.n_set = fill_account(w, &account, set);
	if (put.n_set == 0 && !create)
		return cli_fail(c, EX_USAGE, "nothing to set; see hfctl account set --help");
	put.set = set;
	put.account = &account;
	put.create = create;
	put.by = pb_str(tool_user());
	put.reason = pb_str(w->reason != NULL ? w->reason : "");
	frame.body_case = HOLDFAST__FRAME__BODY_ACCOUNT_PUT;
	frame.account_put = &put;
	code = hfctl_open(c);
	return code != EX_OK ? code : hfctl_act(c, name, strlen(name), &frame);
}

static int put_wishes(struct cli *c, int argc, char **argv, bool create)
{
	struct wishes w = { 0 };
	const char *name = NULL;
	enum err err = read_wishes(c, argc, argv, &w, &name);

	return err != ERR_OK ? cli_parse_exit(err) : put_account(c, name, &w, create);
}

int cmd_account_add(struct cli *c, int argc, char **argv)
{
	return put_wishes(c, argc, argv, true);
}

int cmd_account_set(struct cli *c, int argc, char **argv)
{
	return put_wishes(c, argc, argv, false);
}

static int set_state(struct cli *c, int argc, char **argv, const char *state, bool reason)
{
	struct wishes w = { .state = state };
	const struct cli_option options[] = {
		{ "reason", CLI_TEXT, &w.reason, NULL }, { NULL, CLI_FLAG, NULL, NULL },
	};
	const char *args[2];
	enum err err = cli_parse(c, options, argc, argv, args, (int[]){ 1, 1 });

	if (err != ERR_OK)
		return cli_parse_exit(err);
	if (reason && w.reason == NULL)
		return cli_fail(c, EX_USAGE, "say why: --reason TEXT");
	return put_account(c, args[0], &w, false);
}

int cmd_account_activate(struct cli *c, int argc, char **argv)
{
	return set_state(c, argc, argv, "active", false);
}

int cmd_account_disable(struct cli *c, int argc, char **argv)
{
	return set_state(c, argc, argv, "disabled", true);
}

/* ---- show, list */

static const struct table_column columns[] = {
	{ "ACCOUNT", TABLE_TEXT }, { "STATE", TABLE_TEXT }, { "REASON", TABLE_TEXT },
	{ "QUOTA HOUR", TABLE_NUMBER }, { "QUOTA DAY", TABLE_NUMBER },
	{ "QUOTA MONTH", TABLE_NUMBER }, { "QUOTA TOTAL", TABLE_NUMBER },
	{ "USED HOUR", TABLE_NUMBER }, { "USED DAY", TABLE_NUMBER },
	{ "USED MONTH", TABLE_NUMBER }, { "USED TOTAL", TABLE_NUMBER },
	{ "SOFT LIMIT", TABLE_NUMBER }, { "BYPASS UNSUBSCRIBE", TABLE_BOOL },
	{ "CREATED", TABLE_TEXT }, { "CHANGED", TABLE_TEXT }, { NULL, TABLE_TEXT },
};

static void add_row(struct table *t, const Holdfast__Account *a)
{
	const uint64_t numbers[] = {
		a->quota_hour, a->quota_day, a->quota_month, a->quota_total,
		a->used_hour, a->used_day, a->used_month, a->used_total, a->soft_limit,
	};

	table_row(t);
	table_text(t, hfctl_cell(a->name));
	table_text(t, (unsigned)a->state < ARRAY_LEN(states) ? states[a->state] : "?");
	table_text(t, hfctl_cell(a->reason));
	for (size_t i = 0; i < ARRAY_LEN(numbers); i++)
		table_number(t, (int64_t)numbers[i]);
	table_bool(t, a->bypass_unsubscribe);
	table_text(t, hfctl_when(a->created_ms));
	table_text(t, hfctl_when(a->changed_ms));
}

static int get_accounts(struct cli *c, struct bus_to to, const char *name,
                        ProtobufCBinaryData after, struct tool_answer *out)
{
	Holdfast__AccountGet get = HOLDFAST__ACCOUNT_GET__INIT;
	Holdfast__Frame frame = HOLDFAST__FRAME__INIT;

	get.name = pb_str(name);
	get.after = after;
	get.limit = 256;
	frame.body_case = HOLDFAST__FRAME__BODY_ACCOUNT_GET;
	frame.account_get = &get;
	return hfctl_ask(c, to, &frame, HOLDFAST__FRAME__BODY_ACCOUNT_PAGE, out);
}

/* All accounts of one instance, page by page. */
static int list_instance(struct cli *c, struct table *t, unsigned instance)
{
	struct bus_to to = { HOLDFAST__ROLE__ROLE_POLICY, instance };
	struct tool_answer a = { NULL, NULL }, next;
	ProtobufCBinaryData after = { 0, NULL };
	bool more = true;
	int code = EX_OK;

	while (more && code == EX_OK) {
		Holdfast__AccountPage *page;

		code = get_accounts(c, to, "", after, &next);
		tool_answer_free(&a);
		if (code != EX_OK)
			break;
		a = next;
		page = a.frame->account_page;
		for (size_t i = 0; i < page->n_account; i++)
			add_row(t, page->account[i]);
		more = page->more && page->n_account > 0;
		if (more)
			after = page->account[page->n_account - 1]->name;
	}
	tool_answer_free(&a);
	return code;
}

int cmd_account_list(struct cli *c, int argc, char **argv)
{
	const char *args[1];
	enum err err = cli_parse(c, NULL, argc, argv, args, (int[]){ 0, 0 });
	struct table *t;
	int code;

	if (err != ERR_OK)
		return cli_parse_exit(err);
	code = hfctl_open(c);
	if (code != EX_OK)
		return code;
	t = table_new(columns, c->json);
	for (unsigned i = 0; code == EX_OK && i < tool_instances(hfctl_tool(c),
	     HOLDFAST__ROLE__ROLE_POLICY); i++)
		code = list_instance(c, t, i);
	table_print(&t, stdout);
	return code;
}

int cmd_account_show(struct cli *c, int argc, char **argv)
{
	struct bus_to to = { HOLDFAST__ROLE__ROLE_POLICY, 0 };
	ProtobufCBinaryData none = { 0, NULL };
	struct tool_answer a;
	const char *args[2];
	enum err err = cli_parse(c, NULL, argc, argv, args, (int[]){ 1, 1 });
	struct table *t;
	int code;

	if (err != ERR_OK)
		return cli_parse_exit(err);
	if (!hfctl_account_name(c, args[0]))
		return EX_DATAERR;
	code = hfctl_open(c);
	if (code != EX_OK)
		return code;
	to.instance = tool_shard(hfctl_tool(c), to.stage, args[0], strlen(args[0]));
	code = get_accounts(c, to, args[0], none, &a);
	if (code != EX_OK)
		return code;
	if (a.frame->account_page->n_account == 1) {
		t = table_new(columns, c->json);
		add_row(t, a.frame->account_page->account[0]);
		table_print(&t, stdout);
	} else {
		code = cli_fail(c, EX_NOUSER, "no account %s", args[0]);
	}
	tool_answer_free(&a);
	return code;
}
