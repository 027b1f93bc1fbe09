/* deploy/hfctl_status.c - hfctl queue and trace: asks that go to every instance
 *
 * An instance that does not answer is a row that says so, never a silence.
 */
#include "deploy/hfctl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include "lib/clock.h"
#include "lib/mem.h"
#include "lib/table.h"
#include "lib/uuid.h"

enum { STATUS_WAIT_MS = 2000 };

static const struct { Holdfast__Role role; const char *name; } stages[] = {
	{ HOLDFAST__ROLE__ROLE_INGEST, "ingest" },
	{ HOLDFAST__ROLE__ROLE_POLICY, "policy" },
	{ HOLDFAST__ROLE__ROLE_HOLDQ, "holdq" },
	{ HOLDFAST__ROLE__ROLE_DELIVERY, "delivery" },
};

/* ---- queue */

static const struct table_column queue_columns[] = {
	{ "STAGE", TABLE_TEXT }, { "INSTANCE", TABLE_TEXT }, { "STATE", TABLE_TEXT },
	{ "DEPTH", TABLE_NUMBER }, { "RECIPIENTS", TABLE_NUMBER }, { "OLDEST", TABLE_TEXT },
	{ "IN FLIGHT", TABLE_NUMBER }, { "UNSENT", TABLE_NUMBER }, { "UP", TABLE_TEXT },
	{ NULL, TABLE_TEXT },
};

/* "3min" for people, seconds for programs, nothing for 0. */
static void add_age(struct cli *c, struct table *t, uint64_t since_ms)
{
	uint64_t now_ms = clock_wall_ms();
	char age[32];

	if (since_ms == 0 || since_ms > now_ms) {
		table_text(t, NULL);
	} else if (c->json) {
		table_number(t, (int64_t)((now_ms - since_ms) / 1000));
	} else {
		cli_age(now_ms - since_ms, age, sizeof(age));
		table_text(t, age);
	}
}

static void status_row(struct cli *c, struct table *t, const char *stage, const char *instance,
                       const Holdfast__StatusAnswer *s)
{
	table_row(t);
	table_text(t, stage);
	table_text(t, instance);
	if (s == NULL) {
		table_text(t, "down");
		for (int i = 3; i < 9; i++)
			table_text(t, NULL);
		return;
	}
	table_text(t, s->stalled ? "stalled" : "up");
	table_number(t, (int64_t)s->depth);
	table_number(t, (int64_t)s->recipients);
	add_age(c, t, s->oldest_ms);
	table_number(t, (int64_t)s->in_flight);
	table_number(t, (int64_t)s->unsent_events);
	add_age(c, t, s->started_ms);
}

/* One row; false when the instance is down. */
static bool show_status(struct cli *c, struct table *t, struct bus_to to, const char *stage)
{
	Holdfast__StatusQuery query = HOLDFAST__STATUS_QUERY__INIT;
	Holdfast__Frame frame = HOLDFAST__FRAME__INIT;
	struct tool_answer a = { NULL, NULL };
	const Holdfast__StatusAnswer *s = NULL;

	frame.body_case = HOLDFAST__FRAME__BODY_STATUS_QUERY;
	frame.status_query = &query;
	if (tool_ask(hfctl_tool(c), to, &frame, STATUS_WAIT_MS, &a) == ERR_OK &&
	    a.frame->body_case == HOLDFAST__FRAME__BODY_STATUS_ANSWER)
		s = a.frame->status_answer;
	status_row(c, t, stage, tool_instance_name(hfctl_tool(c), to.stage, to.instance), s);
	tool_answer_free(&a);
	return s != NULL;
}

int cmd_queue(struct cli *c, int argc, char **argv)
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
	t = table_new(queue_columns, c->json);
	for (size_t s = 0; s < ARRAY_LEN(stages); s++) {
		unsigned n = tool_instances(hfctl_tool(c), stages[s].role);

		for (unsigned i = 0; i < n; i++) {
			if (!show_status(c, t, (struct bus_to){ stages[s].role, i },
			                 stages[s].name))
				code = EX_UNAVAILABLE;
		}
	}
	table_print(&t, stdout);
	return code;
}

/* ---- trace */

static const struct table_column trace_columns[] = {
	{ "TIME", TABLE_TEXT }, { "INSTANCE", TABLE_TEXT }, { "WHAT", TABLE_TEXT },
	{ "RECIPIENT", TABLE_TEXT }, { "DETAIL", TABLE_TEXT }, { NULL, TABLE_TEXT },
};

struct line {
	uint64_t time_ms;
	size_t   order; /* as they came: equal times keep it */
	const char *instance;
	char *what, *recipient, *detail;
};

struct lines {
	struct line *line;
	size_t n;
};

static void add_lines(struct lines *all, const char *instance, const Holdfast__TraceAnswer *a)
{
	all->line = xrealloc(all->line, (all->n + a->n_line + 1) * sizeof(*all->line));
	for (size_t i = 0; i < a->n_line; i++) {
		const Holdfast__TraceLine *l = a->line[i];

		all->line[all->n] = (struct line){
			l->time_ms, all->n, instance, pb_strdup(l->what),
			pb_strdup(l->recipient), pb_strdup(l->detail),
		};
		all->n++;
	}
}

static int by_time(const void *a, const void *b)
{
	const struct line *x = a, *y = b;

	if (x->time_ms != y->time_ms)
		return x->time_ms < y->time_ms ? -1 : 1;
	return x->order < y->order ? -1 : 1;
}

static void print_lines(struct cli *c, struct lines *all)
{
	struct table *t = table_new(trace_columns, c->json);

	if (all->n > 1)
		qsort(all->line, all->n, sizeof(*all->line), by_time);
	for (size_t i = 0; i < all->n; i++) {
		struct line *l = &all->line[i];

		table_row(t);
		table_text(t, hfctl_when(l->time_ms));
		table_text(t, l->instance);
		table_text(t, l->what);
		table_text(t, l->recipient);
		table_text(t, l->detail);
		xfree(l->what);
		xfree(l->recipient);
		xfree(l->detail);
	}
	xfree(all->line);
	table_print(&t, stdout);
}

static int ask_trace(struct cli *c, struct bus_to to, const struct uuid *id, struct lines *all)
{
	Holdfast__TraceQuery query = HOLDFAST__TRACE_QUERY__INIT;
	Holdfast__Frame frame = HOLDFAST__FRAME__INIT;
	struct tool_answer a;
	int code;

	query.message_id = pb_bytes(id->b, UUID_LEN);
	frame.body_case = HOLDFAST__FRAME__BODY_TRACE_QUERY;
	frame.trace_query = &query;
	code = hfctl_ask(c, to, &frame, HOLDFAST__FRAME__BODY_TRACE_ANSWER, &a);
	if (code != EX_OK)
		return code;
	add_lines(all, tool_instance_name(hfctl_tool(c), to.stage, to.instance),
	          a.frame->trace_answer);
	tool_answer_free(&a);
	return EX_OK;
}

int cmd_trace(struct cli *c, int argc, char **argv)
{
	struct lines all = { NULL, 0 };
	struct uuid id;
	const char *args[2];
	enum err err = cli_parse(c, NULL, argc, argv, args, (int[]){ 1, 1 });
	int code;

	if (err != ERR_OK)
		return cli_parse_exit(err);
	if (uuid_parse(args[0], &id) != ERR_OK)
		return cli_fail(c, EX_DATAERR, "\"%s\" is no message id (26 characters)", args[0]);
	code = hfctl_open(c);
	if (code != EX_OK)
		return code;
	for (size_t s = 0; s < ARRAY_LEN(stages); s++) {
		unsigned n = tool_instances(hfctl_tool(c), stages[s].role);

		for (unsigned i = 0; i < n; i++) {
			int one = ask_trace(c, (struct bus_to){ stages[s].role, i }, &id, &all);

			code = code == EX_OK ? one : code;
		}
	}
	if (all.n == 0 && code == EX_OK)
		code = cli_fail(c, EX_NOUSER, "nothing is known of %s", args[0]);
	print_lines(c, &all);
	return code;
}
