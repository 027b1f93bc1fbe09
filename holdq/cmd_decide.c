/* holdq/cmd_decide.c - holdq release, reject, approve
 *
 * A filter is turned into the ids of what it matches first, and exactly those are decided
 * on: what arrives in between is not meant.  --expect is about the number of those.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include "holdq/review.h"
#include "lib/mem.h"
#include "lib/table.h"

#define ARGS_MAX 1000

/* What a result means for the exit code; the highest rank of all results counts. */
static const struct { const char *name; int rank, exit; } results[] = {
	{ "released", 0, EX_OK }, { "partial", 0, EX_OK }, { "rejected", 0, EX_OK },
	{ "already", 0, EX_OK }, { "would-release", 0, EX_OK }, { "would-reject", 0, EX_OK },
	{ "no-such", 1, EX_DATAERR }, { "refused", 2, EX_DATAERR }, { "later", 3, EX_TEMPFAIL },
	{ "failed", 4, EX_SOFTWARE },
};

/* One mail that is meant: on this instance, or on any (-1: given by id). */
struct meant { struct uuid id; int instance; bool told; };

struct deciding {
	struct cli *c;
	const struct review_decision *d;
	struct meant *meant;
	size_t n, room;
	struct table *table;
	int rank, exit;
};

static void add_meant(struct deciding *x, const uint8_t *id, int instance)
{
	struct meant *m;

	if (x->n > 0 && memcmp(x->meant[x->n - 1].id.b, id, UUID_LEN) == 0)
		return; /* another part of the same message */
	if (x->n == x->room) {
		x->room = x->room == 0 ? 64 : x->room * 2;
		x->meant = xrealloc(x->meant, x->room * sizeof(*x->meant));
	}
	m = &x->meant[x->n++];
	memcpy(m->id.b, id, UUID_LEN);
	m->instance = instance;
	m->told = false;
}

static bool on_match(void *arg, unsigned instance, const Holdfast__HeldMail *m)
{
	if (m->message_id.len == UUID_LEN && !pb_is(m->state, "releasing"))
		add_meant(arg, m->message_id.data, (int)instance);
	return true;
}

static struct meant *find_meant(struct deciding *x, size_t from, size_t to,
                                ProtobufCBinaryData id)
{
	for (size_t i = from; i < to && id.len == UUID_LEN; i++)
		if (memcmp(x->meant[i].id.b, id.data, UUID_LEN) == 0)
			return &x->meant[i];
	return NULL;
}

static void tell(struct deciding *x, const struct uuid *id, const char *result, const char *text)
{
	char shown[UUID_CHARS + 1];

	uuid_text(id, shown);
	table_row(x->table);
	table_text(x->table, shown);
	table_text(x->table, result);
	table_text(x->table, text);
	for (size_t i = 0; i < ARRAY_LEN(results); i++) {
		if (strcmp(results[i].name, result) != 0 || results[i].rank <= x->rank)
			continue;
		x->rank = results[i].rank;
		x->exit = results[i].exit;
	}
}

/* "no-such" of one instance is told only when no other knows the mail. */
static void take_results(struct deciding *x, size_t from, size_t to,
                         const Holdfast__HeldDecided *a)
{
	for (size_t i = 0; i < a->n_mail; i++) {
		struct meant *m = find_meant(x, from, to, a->mail[i]->message_id);
		char *result, *text;

		if (m == NULL || pb_is(a->mail[i]->result, "no-such"))
			continue;
		result = review_text(a->mail[i]->result);
		text = review_text(a->mail[i]->text);
		tell(x, &m->id, result, text);
		m->told = true;
		xfree(text);
		xfree(result);
	}
}

/* Decide on meant[from, to) at one instance. */
static int ask_slice(struct deciding *x, unsigned instance, size_t from, size_t to)
{
	struct bus_to dest = { HOLDFAST__ROLE__ROLE_HOLDQ, instance };
	ProtobufCBinaryData id[REVIEW_SLICE];
	Holdfast__Frame f = HOLDFAST__FRAME__INIT;
	Holdfast__HeldFilter filter = HOLDFAST__HELD_FILTER__INIT;
	Holdfast__HeldDecide q = HOLDFAST__HELD_DECIDE__INIT;
	struct tool_answer a;
	int code;

	for (size_t i = from; i < to; i++) {
		const struct meant *m = &x->meant[i];

		if (!m->told && (m->instance < 0 || m->instance == (int)instance))
			id[filter.n_message_id++] = pb_bytes(m->id.b, UUID_LEN);
	}
	if (filter.n_message_id == 0)
		return EX_OK;
	filter.message_id = id;
	q.filter = &filter;
	q.decision = x->d->what;
	q.dry_run = x->d->dry_run;
	q.by = pb_str(tool_user());
	q.reason = pb_str(x->d->reason != NULL ? x->d->reason : "");
	f.body_case = HOLDFAST__FRAME__BODY_HELD_DECIDE;
	f.held_decide = &q;
	code = review_ask(x->c, dest, &f, REVIEW_DECIDE_MS, HOLDFAST__FRAME__BODY_HELD_DECIDED, &a);
	if (code != EX_OK)
		return code;
	take_results(x, from, to, a.frame->held_decided);
	tool_answer_free(&a);
	return EX_OK;
}

static int decide_all(struct deciding *x)
{
	unsigned n = tool_instances(review_tool(x->c), HOLDFAST__ROLE__ROLE_HOLDQ);
	int code = EX_OK;

	for (size_t from = 0; from < x->n && code == EX_OK; from += REVIEW_SLICE) {
		size_t to = x->n - from < REVIEW_SLICE ? x->n : from + REVIEW_SLICE;

		for (unsigned i = 0; i < n && code == EX_OK; i++)
			code = ask_slice(x, i, from, to);
		for (size_t k = from; k < to && code == EX_OK; k++)
			if (!x->meant[k].told)
				tell(x, &x->meant[k].id, "no-such", "");
	}
	return code;
}

int review_decide(struct cli *c, const struct review_filter *f, const struct review_decision *d)
{
	static const struct table_column columns[] = {
		{ "ID", TABLE_TEXT }, { "RESULT", TABLE_TEXT }, { "TEXT", TABLE_TEXT },
		{ NULL, TABLE_TEXT },
	};
	struct deciding x = { .c = c, .d = d, .exit = EX_OK };
	int code = EX_OK;

	for (size_t i = 0; i < f->n_id; i++)
		add_meant(&x, f->id[i].b, -1);
	if (f->n_id == 0)
		code = review_each(c, f, on_match, &x);
	if (code == EX_OK && d->check && x.n != d->expect)
		code = cli_fail(c, EX_DATAERR, "%zu mails are meant, not %" PRIu64
		                "; nothing was changed", x.n, d->expect);
	if (code == EX_OK) {
		x.table = table_new(columns, c->json);
		code = decide_all(&x);
		table_print(&x.table, stdout);
	}
	xfree(x.meant);
	return code != EX_OK ? code : x.exit;
}

static int decide(struct cli *c, int argc, char **argv, Holdfast__Decision what)
{
	bool reject = what == HOLDFAST__DECISION__DECISION_REJECT;
	struct review_filter f = { 0 };
	struct review_decision d = { .what = what };
	const struct cli_option options[] = {
		REVIEW_FILTER_OPTIONS(&f),
		{ "dry-run", CLI_FLAG, &d.dry_run, NULL },
		{ "expect", CLI_NUMBER, &d.expect, &d.check },
		{ reject ? "reason" : NULL, CLI_TEXT, &d.reason, NULL },
		{ NULL, CLI_FLAG, NULL, NULL },
	};
	const char **args = xcalloc(ARGS_MAX + 1, sizeof(*args));
	enum err err = cli_parse(c, options, argc, argv, args, (int[2]){ 0, ARGS_MAX });
	int code = EX_USAGE;
	bool ids;

	if (err != ERR_OK) {
		xfree(args);
		return cli_parse_exit(err);
	}
	ids = args[0] != NULL;
	if (ids != review_filter_empty(&f))
		(void)cli_fail(c, 0, "give ids, or a filter (%s --help)", argv[0]);
	else if (!review_filter_sound(c, &f) || !review_ids(c, args, &f))
		code = EX_USAGE;
	else if ((code = review_open(c)) == EX_OK)
		code = review_decide(c, &f, &d);
	review_filter_free(&f);
	xfree(args);
	return code;
}

int cmd_release(struct cli *c, int argc, char **argv)
{
	return decide(c, argc, argv, HOLDFAST__DECISION__DECISION_RELEASE);
}

int cmd_reject(struct cli *c, int argc, char **argv)
{
	return decide(c, argc, argv, HOLDFAST__DECISION__DECISION_REJECT);
}
