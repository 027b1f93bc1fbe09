/* deploy/hfctl_ledger.c - hfctl ledger: does all that was accepted stand somewhere?
 *
 * Rows of all stages are summed by account.  The stages are asked one after the
 * other while mail flows, so a sum may catch a recipient twice or not at all: it
 * is taken again until it balances or the wait is over.
 */
#include "deploy/hfctl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <time.h>
#include "lib/clock.h"
#include "lib/mem.h"
#include "lib/table.h"

enum { N_FIGURES = 10, PAUSE_MS = 100, NOT_BALANCED = 1 };
enum { ACCEPTED, DELIVERED, BOUNCED, EXPIRED, SUPPRESSED, REJECTED, CANCELLED, HELD, QUEUED,
       SPOOLED };

struct row {
	char *account;
	uint64_t figure[N_FIGURES];
};

struct sums {
	struct row *row; /* by account, in the order they came */
	size_t n, cap;
};

static const struct table_column columns[] = {
	{ "ACCOUNT", TABLE_TEXT }, { "ACCEPTED", TABLE_NUMBER }, { "DELIVERED", TABLE_NUMBER },
	{ "BOUNCED", TABLE_NUMBER }, { "EXPIRED", TABLE_NUMBER }, { "SUPPRESSED", TABLE_NUMBER },
	{ "REJECTED", TABLE_NUMBER }, { "CANCELLED", TABLE_NUMBER }, { "HELD", TABLE_NUMBER },
	{ "QUEUED", TABLE_NUMBER }, { "SPOOLED", TABLE_NUMBER }, { "BALANCE", TABLE_NUMBER },
	{ NULL, TABLE_TEXT },
};

/* 0 when all that was accepted stands somewhere; what is spooled counts nowhere yet. */
static int64_t balance(const struct row *r)
{
	int64_t left = (int64_t)r->figure[ACCEPTED];

	for (int i = DELIVERED; i <= QUEUED; i++)
		left -= (int64_t)r->figure[i];
	return left;
}

static struct row *row_of(struct sums *s, ProtobufCBinaryData account)
{
	for (size_t i = 0; i < s->n; i++) {
		if (pb_is(account, s->row[i].account))
			return &s->row[i];
	}
	if (s->n == s->cap) {
		s->cap = s->cap == 0 ? 64 : s->cap * 2;
		s->row = xrealloc(s->row, s->cap * sizeof(*s->row));
	}
	s->row[s->n] = (struct row){ .account = pb_strdup(account) };
	return &s->row[s->n++];
}

static void add_row(struct sums *s, const Holdfast__LedgerRow *l)
{
	const uint64_t figures[N_FIGURES] = {
		l->accepted, l->delivered, l->bounced, l->expired, l->suppressed, l->rejected,
		l->cancelled, l->held, l->queued, l->spooled,
	};
	struct row *r = row_of(s, l->account);

	for (int i = 0; i < N_FIGURES; i++)
		r->figure[i] += figures[i];
}

static void sums_free(struct sums *s)
{
	for (size_t i = 0; i < s->n; i++)
		xfree(s->row[i].account);
	xfree(s->row);
	*s = (struct sums){ NULL, 0, 0 };
}

static int ask_instance(struct cli *c, struct bus_to to, const char *account, struct sums *s)
{
	Holdfast__LedgerQuery query = HOLDFAST__LEDGER_QUERY__INIT;
	Holdfast__Frame frame = HOLDFAST__FRAME__INIT;
	struct tool_answer a = { NULL, NULL }, next;
	bool more = true;
	int code = EX_OK;

	query.account = pb_str(account != NULL ? account : "");
	frame.body_case = HOLDFAST__FRAME__BODY_LEDGER_QUERY;
	frame.ledger_query = &query;
	while (more) {
		Holdfast__LedgerAnswer *l;

		code = hfctl_ask(c, to, &frame, HOLDFAST__FRAME__BODY_LEDGER_ANSWER, &next);
		tool_answer_free(&a);
		if (code != EX_OK)
			return code;
		a = next;
		l = a.frame->ledger_answer;
		for (size_t i = 0; i < l->n_row; i++)
			add_row(s, l->row[i]);
		more = l->more && l->n_row > 0;
		if (more)
			query.after = l->row[l->n_row - 1]->account;
	}
	tool_answer_free(&a);
	return code;
}

static int ask_all(struct cli *c, const char *account, struct sums *s)
{
	static const Holdfast__Role stages[] = {
		HOLDFAST__ROLE__ROLE_INGEST, HOLDFAST__ROLE__ROLE_HOLDQ,
		HOLDFAST__ROLE__ROLE_DELIVERY, HOLDFAST__ROLE__ROLE_POLICY,
	};

	for (size_t k = 0; k < ARRAY_LEN(stages); k++) {
		unsigned n = tool_instances(hfctl_tool(c), stages[k]);

		for (unsigned i = 0; i < n; i++) {
			int code = ask_instance(c, (struct bus_to){ stages[k], i }, account, s);

			if (code != EX_OK)
				return code;
		}
	}
	return EX_OK;
}

static bool balanced(const struct sums *s)
{
	for (size_t i = 0; i < s->n; i++) {
		if (balance(&s->row[i]) != 0)
			return false;
	}
	return true;
}

static void print_row(struct table *t, const char *account, const struct row *r)
{
	table_row(t);
	table_text(t, account);
	for (int i = 0; i < N_FIGURES; i++)
		table_number(t, (int64_t)r->figure[i]);
	table_number(t, balance(r));
}

static int by_account(const void *a, const void *b)
{
	return strcmp(((const struct row *)a)->account, ((const struct row *)b)->account);
}

static void print_sums(struct cli *c, struct sums *s, bool total_too)
{
	struct table *t = table_new(columns, c->json);
	struct row total = { 0 };

	if (s->n > 1)
		qsort(s->row, s->n, sizeof(*s->row), by_account);
	for (size_t i = 0; i < s->n; i++) {
		/* our own reports belong to nobody's account */
		print_row(t, s->row[i].account[0] != '\0' ? s->row[i].account : "(reports)",
		          &s->row[i]);
		for (int k = 0; k < N_FIGURES; k++)
			total.figure[k] += s->row[i].figure[k];
	}
	if (total_too)
		print_row(t, "total", &total);
	table_print(&t, stdout);
}

int cmd_ledger(struct cli *c, int argc, char **argv)
{
	uint64_t wait_ms = 10000, until;
	const struct cli_option options[] = {
		{ "wait", CLI_DURATION, &wait_ms, NULL }, { NULL, CLI_FLAG, NULL, NULL },
	};
	const struct timespec pause = { 0, PAUSE_MS * 1000000L };
	struct sums sums = { NULL, 0, 0 };
	const char *args[2] = { NULL };
	enum err err = cli_parse(c, options, argc, argv, args, (int[]){ 0, 1 });
	int code;

	if (err != ERR_OK)
		return cli_parse_exit(err);
	if (args[0] != NULL && !hfctl_account_name(c, args[0]))
		return EX_DATAERR;
	code = hfctl_open(c);
	until = clock_mono_ms() + wait_ms;
	for (;;) {
		if (code == EX_OK)
			code = ask_all(c, args[0], &sums);
		if (code != EX_OK || balanced(&sums) || clock_mono_ms() >= until)
			break;
		sums_free(&sums);
		nanosleep(&pause, NULL);
	}
	if (code == EX_OK) {
		print_sums(c, &sums, args[0] == NULL);
		if (!balanced(&sums))
			code = cli_fail(c, NOT_BALANCED, "the ledger does not balance");
	}
	sums_free(&sums);
	return code;
}
