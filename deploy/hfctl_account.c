/* deploy/hfctl_account.c - hfctl account ...
 *
 * Asks the policy instance that owns the account; what it may not be is judged there.
 */
#include "deploy/hfctl.h"

#include <stdio.h>
#include <string.h>
#include <sysexits.h>
#include "lib/buf.h"
#include "lib/table.h"
#include "proto/smtp_addr.h"

/* Words by their numbers in holdfast.proto. */
static const char *const states[] = { "", "pending", "review", "active", "disabled", NULL };
static const char *const no_yes[] = { "no", "yes", NULL };
static const char *const refusals[] = { "refuse", "accept", NULL };
static const char *const notified[] = { "none", "manager", "from", "both", NULL };

enum { DOMAINS_MAX = 100, SETS_MAX = 16 };
#define RATE_MAX 1000000000ull

/* What the options say, and which of them were given. */
struct wishes {
	const char *state, *bypass, *reason;
	const char *check_from, *on_refusal, *notify; /* NULL: not given */
	const char *from_domain, *manager;
	uint64_t quota[4], soft_limit, rate;
	bool given_quota[4], given_soft, given_bypass, given_rate;
	ProtobufCBinaryData domain[DOMAINS_MAX];      /* of from_domain, within it */
	size_t n_domain;
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
		{ "check-from", CLI_TEXT, &w->check_from, NULL },
		{ "from-domain", CLI_TEXT, &w->from_domain, NULL },
		{ "on-refusal", CLI_TEXT, &w->on_refusal, NULL },
		{ "notify", CLI_TEXT, &w->notify, NULL },
		{ "manager", CLI_TEXT, &w->manager, NULL },
		{ "rate-minute", CLI_NUMBER, &w->rate, &w->given_rate },
		{ "reason", CLI_TEXT, &w->reason, NULL },
		{ NULL, CLI_FLAG, NULL, NULL },
	};
	const char *args[2];
	enum err err = cli_parse(c, options, argc, argv, args, (int[]){ 1, 1 });

	if (err == ERR_OK)
		*name = args[0];
	return err;
}

/* The number of word among words from the least on, or -1. */
static int word_number(const char *const *words, int least, const char *word)
{
	for (int i = least; words[i] != NULL; i++) {
		if (strcmp(word, words[i]) == 0)
			return i;
	}
	return -1;
}

/* Is the word of an option, if it was given, among words?  Else it was told which there are. */
static bool word_good(struct cli *c, const char *option, const char *const *words,
                      const char *word)
{
	struct buf known = BUF_INIT;

	if (word == NULL || word_number(words, 0, word) >= 0)
		return true;
	for (size_t i = 0; words[i] != NULL; i++)
		buf_addf(&known, "%s%s", i == 0 ? "" : words[i + 1] == NULL ? " or " : ", ",
		         words[i]);
	(void)cli_fail(c, EX_DATAERR, "--%s is %s", option, buf_str(&known));
	buf_free(&known);
	return false;
}

static bool domain_good(struct cli *c, const char *domain, size_t len)
{
	struct buf key = BUF_INIT;
	bool good = smtp_domain_key(domain, len, &key) == ERR_OK;

	buf_free(&key);
	if (!good)
		(void)cli_fail(c, EX_DATAERR, "--from-domain: \"%.*s\" is no domain", (int)len,
		               domain);
	return good;
}

/* Find the domains in the list, "" for none; blanks around them are allowed. */
static bool split_domains(struct cli *c, struct wishes *w)
{
	static const char blanks[] = " \t";
	const char *at = w->from_domain;

	if (at == NULL || at[strspn(at, blanks)] == '\0')
		return true;
	for (;; at++) {
		size_t len;

		at += strspn(at, blanks);
		len = strcspn(at, ",");
		w->domain[w->n_domain] = (ProtobufCBinaryData){ len, (uint8_t *)at };
		at += len;
		while (len > 0 && strchr(blanks, w->domain[w->n_domain].data[len - 1]) != NULL)
			len--;
		w->domain[w->n_domain].len = len;
		if (!domain_good(c, (const char *)w->domain[w->n_domain].data, len))
			return false;
		w->n_domain++;
		if (*at == '\0')
			return true;
		if (w->n_domain == DOMAINS_MAX) {
			(void)cli_fail(c, EX_DATAERR, "--from-domain takes at most %d domains",
			               DOMAINS_MAX);
			return false;
		}
	}
}

static bool manager_good(struct cli *c, const char *manager)
{
	struct smtp_path path;

	if (manager == NULL || manager[0] == '\0')
		return true;
	if (smtp_addr_parse(manager, strlen(manager), &path) == ERR_OK && path.at < path.len &&
	    path.len == strlen(manager))
		return true;
	(void)cli_fail(c, EX_DATAERR, "--manager: \"%s\" is no address", manager);
	return false;
}

static int check_wishes(struct cli *c, struct wishes *w, const char *name)
{
	if (!hfctl_account_name(c, name))
		return EX_DATAERR;
	if (w->state != NULL && word_number(states, 1, w->state) < 0)
		return cli_fail(c, EX_DATAERR, "no state \"%s\": pending, review, active, disabled",
		                w->state);
	if (w->given_soft && (w->soft_limit < 1 || w->soft_limit > 9))
		return cli_fail(c, EX_DATAERR, "--soft-limit is 1 to 9");
	if (w->given_rate && w->rate > RATE_MAX)
		return cli_fail(c, EX_DATAERR, "--rate-minute is at most %llu", RATE_MAX);
	if (!word_good(c, "bypass-unsubscribe", no_yes, w->bypass) ||
	    !word_good(c, "check-from", no_yes, w->check_from) ||
	    !word_good(c, "on-refusal", refusals, w->on_refusal) ||
	    !word_good(c, "notify", notified, w->notify) ||
	    !manager_good(c, w->manager) || !split_domains(c, w))
		return EX_DATAERR;
	return EX_OK;
}

/* The fields of Terms among them; returns how many names are in set with them. */
static size_t fill_terms(struct wishes *w, Holdfast__Account *a, ProtobufCBinaryData *set,
                         size_t n)
{
	if (w->check_from != NULL) {
		a->check_from = word_number(no_yes, 0, w->check_from) == 1;
		set[n++] = pb_str("check_from");
	}
	if (w->from_domain != NULL) {
		a->from_domain = w->domain;
		a->n_from_domain = w->n_domain;
		set[n++] = pb_str("from_domain");
	}
	if (w->on_refusal != NULL) {
		a->accept_refused = word_number(refusals, 0, w->on_refusal) == 1;
		set[n++] = pb_str("accept_refused");
	}
	if (w->notify != NULL) {
		a->notify = (Holdfast__NotifyWho)word_number(notified, 0, w->notify);
		set[n++] = pb_str("notify");
	}
	if (w->manager != NULL) {
		a->manager = pb_str(w->manager);
		set[n++] = pb_str("manager");
	}
	return n;
}

/* Fill account and the names of the fields that it sets. */
static size_t fill_account(struct wishes *w, Holdfast__Account *a,
                           ProtobufCBinaryData set[SETS_MAX])
{
	uint64_t *quotas[] = { &a->quota_hour, &a->quota_day, &a->quota_month, &a->quota_total };
	size_t n = 0;

	if (w->state != NULL) {
		a->state = (Holdfast__AccountState)word_number(states, 1, w->state);
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
		a->bypass_unsubscribe = word_number(no_yes, 0, w->bypass) == 1;
		set[n++] = pb_str("bypass_unsubscribe");
	}
	if (w->given_rate) {
		a->rate_minute = w->rate;
		set[n++] = pb_str("rate_minute");
	}
	return fill_terms(w, a, set, n);
}

static int put_account(struct cli *c, const char *name, struct wishes *w, bool create)
{
	Holdfast__Account account = HOLDFAST__ACCOUNT__INIT;
	Holdfast__AccountPut put = HOLDFAST__ACCOUNT_PUT__INIT;
	Holdfast__Frame frame = HOLDFAST__FRAME__INIT;
	ProtobufCBinaryData set[SETS_MAX];
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

#define COLUMNS \
	{ "ACCOUNT", TABLE_TEXT }, { "STATE", TABLE_TEXT }, { "REASON", TABLE_TEXT }, \
	{ "QUOTA HOUR", TABLE_NUMBER }, { "QUOTA DAY", TABLE_NUMBER }, \
	{ "QUOTA MONTH", TABLE_NUMBER }, { "QUOTA TOTAL", TABLE_NUMBER }, \
	{ "USED HOUR", TABLE_NUMBER }, { "USED DAY", TABLE_NUMBER }, \
	{ "USED MONTH", TABLE_NUMBER }, { "USED TOTAL", TABLE_NUMBER }, \
	{ "SOFT LIMIT", TABLE_NUMBER }, { "BYPASS UNSUBSCRIBE", TABLE_BOOL }, \
	{ "CREATED", TABLE_TEXT }, { "CHANGED", TABLE_TEXT }

static const struct table_column list_columns[] = { COLUMNS, { NULL, TABLE_TEXT } };
/* Of one account, and for programs of all. */
static const struct table_column columns[] = {
	COLUMNS, { "RATE MINUTE", TABLE_NUMBER }, { "CHECK FROM", TABLE_BOOL },
	{ "FROM DOMAINS", TABLE_TEXT }, { "ON REFUSAL", TABLE_TEXT }, { "NOTIFY", TABLE_TEXT },
	{ "MANAGER", TABLE_TEXT }, { NULL, TABLE_TEXT },
};

static void add_row(struct table *t, const Holdfast__Account *a)
{
	const uint64_t numbers[] = {
		a->quota_hour, a->quota_day, a->quota_month, a->quota_total,
		a->used_hour, a->used_day, a->used_month, a->used_total, a->soft_limit,
	};

	table_row(t);
	table_text(t, hfctl_cell(a->name));
	table_text(t, (unsigned)a->state < ARRAY_LEN(states) - 1 ? states[a->state] : "?");
	table_text(t, hfctl_cell(a->reason));
	for (size_t i = 0; i < ARRAY_LEN(numbers); i++)
		table_number(t, (int64_t)numbers[i]);
	table_bool(t, a->bypass_unsubscribe);
	table_text(t, hfctl_when(a->created_ms));
	table_text(t, hfctl_when(a->changed_ms));
}

static void add_full_row(struct table *t, const Holdfast__Account *a)
{
	bool known = (unsigned)a->notify < ARRAY_LEN(notified) - 1;
	struct buf domains = BUF_INIT;

	for (size_t i = 0; i < a->n_from_domain; i++)
		buf_addf(&domains, "%s%s", i == 0 ? "" : ",", hfctl_cell(a->from_domain[i]));
	add_row(t, a);
	table_number(t, (int64_t)a->rate_minute);
	table_bool(t, a->check_from);
	table_text(t, domains.len > 0 ? buf_str(&domains) : NULL);
	table_text(t, refusals[a->accept_refused]);
	table_text(t, known ? notified[a->notify] : "?");
	table_text(t, hfctl_cell(a->manager));
	buf_free(&domains);
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
			(c->json ? add_full_row : add_row)(t, page->account[i]);
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
	t = table_new(c->json ? columns : list_columns, c->json);
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
		add_full_row(t, a.frame->account_page->account[0]);
		table_print(&t, stdout);
	} else {
		code = cli_fail(c, EX_NOUSER, "no account %s", args[0]);
	}
	tool_answer_free(&a);
	return code;
}
