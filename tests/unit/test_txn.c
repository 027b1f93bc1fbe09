/* tests/unit/test_txn.c - the client disappears, policy is silent: at every step
 *
 * Each row cuts the connection after a part of the dialogue, with policy or delivery
 * silent or not.  Whatever the step: nothing stays behind, and the quota of a
 * metered account is given back when a recipient was asked and the message
 * did not come.
 */
#include "tests/unit/ingest_rig.h"

#define MAIL "EHLO me\r\nMAIL FROM:<a@b.test>\r\n"
#define RCPT MAIL "RCPT TO:<c@d.test>\r\n"
#define DATA RCPT "DATA\r\n"
#define ALL DATA "\r\nhello\r\n.\r\n"

static const struct row {
	const char *name, *said;
	enum play mail, rcpt, give;
	unsigned n_mail, n_rcpt, n_given; /* what must have been asked before the cut */
	unsigned abandons;
	unsigned taken;
} rows[] = {
	{ "gone after connecting", "", PLAY_OK, PLAY_OK, PLAY_OK, 0, 0, 0, 0, 0 },
	{ "gone after EHLO", "EHLO me\r\n", PLAY_OK, PLAY_OK, PLAY_OK, 0, 0, 0, 0, 0 },
	{ "gone while MAIL is asked", MAIL, PLAY_SILENT, PLAY_OK, PLAY_OK, 1, 0, 0, 0, 0 },
	{ "gone after MAIL", MAIL, PLAY_OK, PLAY_OK, PLAY_OK, 1, 0, 0, 0, 0 },
	{ "gone while RCPT is asked", RCPT, PLAY_OK, PLAY_SILENT, PLAY_OK, 1, 1, 0, 1, 0 },
	{ "gone after RCPT", RCPT, PLAY_OK, PLAY_OK, PLAY_OK, 1, 1, 0, 1, 0 },
	{ "gone inside the message", DATA "half", PLAY_OK, PLAY_OK, PLAY_OK, 1, 1, 0, 1, 0 },
	{ "gone while the message is handed over: it goes on", ALL, PLAY_OK, PLAY_OK, PLAY_SILENT,
	  1, 1, 1, 0, 1 },
	{ "RSET gives the share back", RCPT "RSET\r\n", PLAY_OK, PLAY_OK, PLAY_OK, 1, 1, 0, 1, 0 },
	{ "QUIT gives the share back", RCPT "QUIT\r\n", PLAY_OK, PLAY_OK, PLAY_OK, 1, 1, 0, 1, 0 },
	{ "a refused message gives the share back", DATA "a\rb\r\n.\r\n", PLAY_OK, PLAY_OK, PLAY_OK,
	  1, 1, 0, 1, 0 },
};

static void tick(struct irig *r)
{
	ingest_tick(&r->st, clock_wall_ms());
}

static bool at_rest(struct irig *r)
{
	struct ingest *in = ingest_of(&r->st);

	tick(r);
	return in->n_sessions == 0 && idmap_count(in->txns) == 0 && idmap_count(in->asks) == 0 &&
	       abandon_open(in->abandon) == 0 && spool_stats(in->spool).parts == 0;
}

static void row_leaves_nothing(void **state)
{
	const struct row *row = *state;
	struct irig *r = irig_open();

	delivery_up(r);
	r->metered = true;
	r->mail = row->mail;
	r->rcpt = row->rcpt;
	r->give = row->give;
	client_connect(r);
	client_say(r, row->said);
	RIG_UNTIL(&r->rig, client_heard(r, "220 ") && r->n_mail == row->n_mail &&
	                       r->n_rcpt == row->n_rcpt && r->n_given == row->n_given);
	if (r->client != NULL)
		stream_abort(r->client);
	RIG_UNTIL(&r->rig, r->gone);
	r->mail = r->rcpt = r->give = PLAY_OK;
	RIG_UNTIL(&r->rig, at_rest(r) && r->n_abandon >= row->abandons);
	assert_int_equal(r->n_abandon, row->abandons);
	assert_int_equal(r->n_taken, row->taken);
	assert_int_equal(ingest_of(&r->st)->memory, 0);
	irig_close(r);
}

/* The stage is closed with everything open: bus, store and loop end clean. */
static void row_closes_clean(void **state)
{
	const struct row *row = *state;
	struct irig *r = irig_open();

	delivery_up(r);
	r->mail = row->mail;
	r->rcpt = row->rcpt;
	r->give = row->give;
	client_connect(r);
	client_say(r, row->said);
	RIG_UNTIL(&r->rig, client_heard(r, "220 ") && r->n_mail == row->n_mail &&
	                       r->n_rcpt == row->n_rcpt && r->n_given == row->n_given);
	irig_close(r);
}

static void silence_of_policy_is_451(void **state)
{
	static const struct { enum play mail, rcpt; const char *codes; } rows451[] = {
		{ PLAY_SILENT, PLAY_OK, "451 4.3.0" }, { PLAY_OK, PLAY_SILENT, "451 4.3.0" },
		{ PLAY_BUSY, PLAY_OK, "451 4.3.0" }, { PLAY_OK, PLAY_BUSY, "451 4.3.0" },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows451); i++) {
		struct irig *r = irig_open();

		r->mail = rows451[i].mail;
		r->rcpt = rows451[i].rcpt;
		client_connect(r);
		client_say(r, RCPT "QUIT\r\n");
		RIG_UNTIL(&r->rig, client_heard(r, rows451[i].codes));
		RIG_UNTIL(&r->rig, r->gone && at_rest(r));
		irig_close(r);
	}
}

static void a_refusal_is_told_and_the_others_go(void **state)
{
	struct irig *r = irig_open();

	delivery_up(r);
	client_connect(r);
	client_say(r, RCPT);
	RIG_UNTIL(&r->rig, client_heard(r, "250 2.1.5"));
	r->rcpt = PLAY_REFUSE;
	client_say(r, "RCPT TO:<e@f.test>\r\n");
	RIG_UNTIL(&r->rig, client_heard(r, "Email address is on account's Bounce list."));
	r->rcpt = PLAY_OK;
	client_say(r, "RCPT TO:<C@D.test>\r\nDATA\r\nA: x\r\n.\r\n"); /* the first again */
	RIG_UNTIL(&r->rig, client_heard(r, "250 2.0.0 Queued as "));
	assert_int_equal(r->n_taken, 1);
	assert_int_equal(r->taken[0].n_rcpt, 1);
	irig_close(r);
}

static void drain_lets_the_transaction_end(void **state)
{
	struct irig *r = irig_open();

	delivery_up(r);
	client_connect(r);
	client_say(r, RCPT);
	RIG_UNTIL(&r->rig, client_heard(r, "250 2.1.5"));
	ingest_drain(&r->st);
	assert_true(ingest_busy(&r->st));
	client_say(r, "DATA\r\nA: x\r\n.\r\n");
	RIG_UNTIL(&r->rig, client_heard(r, "421 4.3.2"));
	assert_true(client_heard(r, "250 2.0.0 Queued as "));
	RIG_UNTIL(&r->rig, r->gone && !ingest_busy(&r->st));
	irig_close(r);
}

static void sessions_over_the_limit_get_421(void **state)
{
	struct irig *r = irig_open();

	ingest_of(&r->st)->conf.max_sessions = 0;
	client_connect(r);
	RIG_UNTIL(&r->rig, client_heard(r, "421 4.3.2 Too many connections"));
	RIG_UNTIL(&r->rig, r->gone);
	irig_close(r);
}

static void a_client_that_says_nothing_gets_421(void **state)
{
	struct irig *r = irig_open();

	ingest_of(&r->st)->conf.command_timeout = 50;
	client_connect(r);
	RIG_UNTIL(&r->rig, client_heard(r, "421 4.4.2"));
	RIG_UNTIL(&r->rig, r->gone);
	irig_close(r);
}

/* Memory is used up by others: the first in line is read all the same. */
static void no_deadlock_when_memory_is_used_up(void **state)
{
	struct irig *r = irig_open();
	struct buf body = BUF_INIT;

	delivery_up(r);
	ingest_of(&r->st)->conf.memory_bytes = 1;
	ingest_memory(ingest_of(&r->st), 1000);
	client_connect(r);
	client_say(r, DATA "\r\n");
	for (int i = 0; i < 900; i++)
		buf_adds(&body, "0123456789012345678901234567890123456789\r\n");
	buf_adds(&body, ".\r\n");
	stream_write(r->client, body.data, body.len);
	RIG_UNTIL(&r->rig, client_heard(r, "250 2.0.0 Queued as "));
	assert_int_equal(ingest_of(&r->st)->memory, 1000);
	buf_free(&body);
	irig_close(r);
}

#define CASE(f) { .name = #f, .test_func = f }

int main(void)
{
	static const struct CMUnitTest cases[] = {
		CASE(silence_of_policy_is_451), CASE(a_refusal_is_told_and_the_others_go),
		CASE(drain_lets_the_transaction_end), CASE(sessions_over_the_limit_get_421),
		CASE(a_client_that_says_nothing_gets_421), CASE(no_deadlock_when_memory_is_used_up),
	};
	struct CMUnitTest tests[2 * ARRAY_LEN(rows) + ARRAY_LEN(cases)];
	static char names[ARRAY_LEN(rows)][96];
	size_t n = 0;

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		snprintf(names[i], sizeof(names[i]), "the stage closes: %s", rows[i].name);
		tests[n++] = (struct CMUnitTest){ rows[i].name, row_leaves_nothing, NULL, NULL,
		                                  (void *)&rows[i] };
		tests[n++] = (struct CMUnitTest){ names[i], row_closes_clean, NULL, NULL,
		                                  (void *)&rows[i] };
	}
	memcpy(tests + n, cases, sizeof(cases));
	return cmocka_run_group_tests_name("txn", tests, NULL, NULL);
}
