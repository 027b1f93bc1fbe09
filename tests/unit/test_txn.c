/* tests/unit/test_txn.c - the client disappears, policy is silent: at every step
 *
 * Each row cuts the connection after a part of the dialogue, with policy or delivery
 * silent or not.  Whatever the step: nothing stays behind, and the quota of a
 * metered account is given back when a recipient was asked and the message
 * did not come.  Accounts that have refusals accepted are told of them by mail that is in
 * custody before the client hears 250.
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

static void leaves_nothing(const struct row *row, bool reset)
{
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
	if (r->client != NULL && reset)
		client_reset(r);
	else if (r->client != NULL)
		stream_abort(r->client);
	RIG_UNTIL(&r->rig, r->gone);
	r->mail = r->rcpt = r->give = PLAY_OK;
	RIG_UNTIL(&r->rig, at_rest(r) && r->n_abandon >= row->abandons);
	assert_int_equal(r->n_abandon, row->abandons);
	assert_int_equal(r->n_taken, row->taken);
	assert_int_equal(ingest_of(&r->st)->memory, 0);
	irig_close(r);
}

static void row_leaves_nothing(void **state)
{
	leaves_nothing(*state, false);
	leaves_nothing(*state, true);
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

/* ---- refusals that are accepted, and told of by mail */

#define TO_C "RCPT TO:<c@d.test>\r\n"
#define TO_E "RCPT TO:<e@f.test>\r\n"
#define MESSAGE "DATA\r\nA: x\r\n\r\nhello\r\n.\r\n"
#define QUEUED "250 2.0.0 Queued as "

static char manager[] = "boss@acct.test";
static ProtobufCBinaryData own_domains[1];

static struct irig *accepting(Holdfast__Terms *terms)
{
	struct irig *r = irig_open();

	holdfast__terms__init(terms);
	terms->accept_refused = true;
	terms->notify = HOLDFAST__NOTIFY_WHO__NOTIFY_BOTH;
	terms->manager = pb_str(manager);
	terms->from_domain = own_domains;
	terms->n_from_domain = 1;
	own_domains[0] = pb_str("b.test");
	r->terms = terms;
	r->metered = true;
	ingest_of(&r->st)->conf.handoff_wait = RIG_WAIT_MS;
	delivery_up(r);
	client_connect(r);
	return r;
}

static const Holdfast__Envelope *given(const struct irig *r, unsigned i)
{
	assert_true(i < r->n_taken);
	return r->taken[i].frame->handoff->envelope;
}

static bool is_text(ProtobufCBinaryData b, const char *text)
{
	return b.len == strlen(text) && (b.len == 0 || memcmp(b.data, text, b.len) == 0);
}

static void check_notification(const struct irig *r, unsigned i, const char *exception)
{
	const Holdfast__Envelope *e = given(r, i);

	assert_int_equal(r->taken[i].at, HOLDFAST__ROLE__ROLE_DELIVERY);
	assert_int_equal(e->account.len, 0); /* our own */
	assert_int_equal(e->mail_from.len, 0);
	assert_int_equal(e->n_rcpt, 2);
	assert_true(is_text(e->rcpt[0]->address, manager));
	assert_true(is_text(e->rcpt[1]->address, "a@b.test"));
	assert_non_null(strstr(r->taken[i].body, "Subject: Web Service Exception "));
	assert_non_null(strstr(r->taken[i].body, exception));
}

/* Give the loop every chance to do what it must not do. */
static void turn_for_nothing(struct irig *r)
{
	for (int i = 0; i < 40; i++)
		uv_run(&r->rig.loop, UV_RUN_ONCE);
}

/* One is refused and one is not; give as the notification is taken. */
static void refuse_one_of_two(struct irig *r, enum play give)
{
	r->rcpt = PLAY_REFUSE;
	client_say(r, MAIL TO_C);
	RIG_UNTIL(&r->rig, client_heard(r, "250 2.1.5"));
	r->rcpt = PLAY_OK;
	r->give = give;
	client_say(r, TO_E MESSAGE);
}

static void the_notification_is_in_custody_before_the_message_is(void **state)
{
	Holdfast__Terms terms;
	struct irig *r = accepting(&terms);

	refuse_one_of_two(r, PLAY_LATE);
	RIG_UNTIL(&r->rig, r->late != NULL);
	turn_for_nothing(r);
	assert_false(client_heard(r, QUEUED));
	assert_int_equal(r->n_given, 1);
	check_notification(r, 0, "BouncedEmailAddressException");
	assert_non_null(strstr(r->taken[0].body, "    recipient: <c@d.test>\r\n"));
	rig_late_receipt(r);
	RIG_UNTIL(&r->rig, r->late != NULL); /* now the message */
	assert_int_equal(given(r, 1)->n_rcpt, 1);
	assert_true(is_text(given(r, 1)->rcpt[0]->address, "e@f.test"));
	assert_true(is_text(given(r, 1)->account, "acct"));
	turn_for_nothing(r);
	assert_false(client_heard(r, QUEUED));
	rig_late_receipt(r);
	RIG_UNTIL(&r->rig, client_heard(r, QUEUED));
	assert_int_equal(r->n_taken, 2);
	assert_int_equal(ingest_of(&r->st)->memory, 0);
	assert_int_equal(r->n_abandon, 0);
	irig_close(r);
}

static void when_all_are_refused_nothing_but_the_notification_goes(void **state)
{
	Holdfast__Terms terms;
	struct irig *r = accepting(&terms);

	r->rcpt = PLAY_REFUSE;
	client_say(r, MAIL TO_C TO_E MESSAGE "QUIT\r\n");
	RIG_UNTIL(&r->rig, client_heard(r, QUEUED));
	RIG_UNTIL(&r->rig, r->gone && at_rest(r));
	assert_int_equal(r->n_taken, 1);
	check_notification(r, 0, "BouncedEmailAddressException");
	assert_non_null(strstr(r->taken[0].body, "<c@d.test>"));
	assert_non_null(strstr(r->taken[0].body, "<e@f.test>"));
	assert_int_equal(ingest_of(&r->st)->memory, 0);
	irig_close(r);
}

static void who_is_told_nothing_hears_250_all_the_same(void **state)
{
	Holdfast__Terms terms;
	struct irig *r = accepting(&terms);

	terms.notify = HOLDFAST__NOTIFY_WHO__NOTIFY_NONE;
	r->rcpt = PLAY_REFUSE;
	client_say(r, MAIL TO_C MESSAGE "QUIT\r\n");
	RIG_UNTIL(&r->rig, client_heard(r, QUEUED));
	RIG_UNTIL(&r->rig, r->gone && at_rest(r));
	assert_int_equal(r->n_taken, 0);
	irig_close(r);
}

/* The refusal would be lost: then the message is not taken, and its shares go back. */
static void without_custody_of_the_notification_nothing_is_taken(void **state)
{
	static const enum play gives[] = { PLAY_SILENT, PLAY_BUSY };

	for (size_t i = 0; i < ARRAY_LEN(gives); i++) {
		Holdfast__Terms terms;
		struct irig *r = accepting(&terms);

		ingest_of(&r->st)->conf.handoff_wait = 50;
		ingest_of(&r->st)->conf.spool_bytes = 0;
		refuse_one_of_two(r, gives[i]);
		RIG_UNTIL(&r->rig, client_heard(r, "452 4.3.1 No room for the message now"));
		RIG_UNTIL(&r->rig, r->n_abandon == 1);
		assert_int_equal(r->n_taken, 0);
		assert_int_equal(r->n_given, 1); /* the notification, and the message never */
		assert_false(client_heard(r, QUEUED));
		assert_int_equal(ingest_of(&r->st)->memory, 0);
		assert_int_equal(ingest_of(&r->st)->on_way, 0);
		irig_close(r);
	}
}

static void the_spool_is_custody_of_the_notification(void **state)
{
	Holdfast__Terms terms;
	struct irig *r = accepting(&terms);

	delivery_down(r);
	refuse_one_of_two(r, PLAY_OK);
	RIG_UNTIL(&r->rig, client_heard(r, QUEUED));
	assert_int_equal(spool_stats(ingest_of(&r->st)->spool).parts, 2);
	assert_int_equal(r->n_taken, 0);
	delivery_up(r);
	RIG_UNTIL(&r->rig, (tick(r), r->n_taken == 2));
	irig_close(r);
}

static void a_held_message_is_told_of(void **state)
{
	Holdfast__Terms terms;
	struct irig *r = accepting(&terms);

	r->mail = PLAY_HOLD;
	client_say(r, MAIL TO_C MESSAGE);
	RIG_UNTIL(&r->rig, client_heard(r, "placed in a holding area"));
	assert_int_equal(r->n_taken, 2);
	check_notification(r, 0, "MessageHeldException");
	assert_null(strstr(r->taken[0].body, "recipient:"));
	assert_int_equal(r->taken[1].at, HOLDFAST__ROLE__ROLE_HOLDQ);
	assert_int_equal(given(r, 1)->hold, HOLDFAST__HOLD_REASON__HOLD_NEW_ACCOUNT);
	irig_close(r);
}

static void an_account_that_cannot_send_is_told_by_mail(void **state)
{
	Holdfast__Terms terms;
	struct irig *r = accepting(&terms);

	r->mail = PLAY_REFUSE;
	r->refuse_as = HOLDFAST__VERDICT_CLASS__VERDICT_CANNOT_SEND;
	client_say(r, MAIL TO_C TO_E MESSAGE);
	RIG_UNTIL(&r->rig, client_heard(r, QUEUED));
	assert_int_equal(r->n_rcpt, 0); /* there is nothing to ask */
	assert_int_equal(r->n_taken, 1);
	check_notification(r, 0, "CannotSendException: This account cannot currently send emails.");
	assert_non_null(strstr(r->taken[0].body, "<c@d.test>"));
	assert_non_null(strstr(r->taken[0].body, "<e@f.test>"));
	irig_close(r);
}

/* A refusal must not be a way to write to strangers in the name of an account that cannot. */
static void a_stranger_is_not_told_that_the_account_cannot_send(void **state)
{
	Holdfast__Terms terms;
	struct irig *r = accepting(&terms);

	own_domains[0] = pb_str("other.test");
	r->mail = PLAY_REFUSE;
	r->refuse_as = HOLDFAST__VERDICT_CLASS__VERDICT_CANNOT_SEND;
	client_say(r, MAIL TO_C MESSAGE);
	RIG_UNTIL(&r->rig, client_heard(r, QUEUED));
	assert_int_equal(r->n_taken, 1);
	assert_int_equal(given(r, 0)->n_rcpt, 1);
	assert_true(is_text(given(r, 0)->rcpt[0]->address, manager));
	irig_close(r);
	r = accepting(&terms);
	own_domains[0] = pb_str("other.test");
	terms.notify = HOLDFAST__NOTIFY_WHO__NOTIFY_FROM; /* then nobody would be told */
	r->mail = PLAY_REFUSE;
	r->refuse_as = HOLDFAST__VERDICT_CLASS__VERDICT_CANNOT_SEND;
	client_say(r, MAIL);
	RIG_UNTIL(&r->rig, client_heard(r, "This account cannot currently send emails."));
	assert_false(client_heard(r, "250 2.1.0"));
	irig_close(r);
}

static void a_rate_is_told_on_the_wire(void **state)
{
	Holdfast__Terms terms;
	struct irig *r = accepting(&terms);

	r->mail = PLAY_REFUSE;
	r->refuse_as = HOLDFAST__VERDICT_CLASS__VERDICT_CANNOT_SEND;
	r->cannot = HOLDFAST__CANNOT_SEND__CANNOT_RATE;
	client_say(r, MAIL);
	RIG_UNTIL(&r->rig, client_heard(r, "451-4.7.1 Too many messages from this account now"));
	client_say(r, TO_C "QUIT\r\n");
	RIG_UNTIL(&r->rig, client_heard(r, "503 5.5.1 Say MAIL first"));
	RIG_UNTIL(&r->rig, r->gone && at_rest(r));
	assert_int_equal(r->n_taken, 0);
	irig_close(r);
}

static void a_client_gone_during_the_notification_stops_nothing(void **state)
{
	Holdfast__Terms terms;
	struct irig *r = accepting(&terms);

	refuse_one_of_two(r, PLAY_LATE);
	RIG_UNTIL(&r->rig, r->late != NULL);
	client_reset(r);
	RIG_UNTIL(&r->rig, r->gone && ingest_of(&r->st)->n_sessions == 0);
	r->give = PLAY_OK;
	rig_late_receipt(r);
	RIG_UNTIL(&r->rig, r->n_taken == 2 && at_rest(r));
	assert_int_equal(r->n_abandon, 0);
	assert_int_equal(ingest_of(&r->st)->memory, 0);
	irig_close(r);
}

static void the_stage_closes_during_the_notification(void **state)
{
	Holdfast__Terms terms;
	struct irig *r = accepting(&terms);

	refuse_one_of_two(r, PLAY_LATE);
	RIG_UNTIL(&r->rig, r->late != NULL);
	irig_close(r);
}

static void without_the_term_refusals_stay_on_the_wire(void **state)
{
	Holdfast__Terms terms;
	struct irig *r = accepting(&terms);

	terms.accept_refused = false;
	r->rcpt = PLAY_REFUSE;
	client_say(r, MAIL TO_C "QUIT\r\n");
	RIG_UNTIL(&r->rig, client_heard(r, "550-5.1.1 Email address is on account's Bounce list."));
	RIG_UNTIL(&r->rig, r->gone && at_rest(r));
	irig_close(r);
}

/* The same recipient again, and policy has changed its mind: it goes, and is no refusal. */
static void a_recipient_allowed_at_last_is_not_told_of(void **state)
{
	Holdfast__Terms terms;
	struct irig *r = accepting(&terms);

	refuse_one_of_two(r, PLAY_OK);
	RIG_UNTIL(&r->rig, client_heard(r, QUEUED));
	buf_reset(&r->heard);
	r->rcpt = PLAY_REFUSE;
	client_say(r, "MAIL FROM:<a@b.test>\r\n" TO_C);
	RIG_UNTIL(&r->rig, client_heard(r, "250 2.1.5"));
	r->rcpt = PLAY_OK;
	client_say(r, TO_C MESSAGE);
	RIG_UNTIL(&r->rig, client_heard(r, QUEUED));
	assert_int_equal(r->n_taken, 3); /* the two of the first message, and this one */
	assert_int_equal(given(r, 2)->n_rcpt, 1);
	assert_true(is_text(given(r, 2)->account, "acct"));
	irig_close(r);
}

/* ---- senders that are checked */

static struct irig *checking(Holdfast__Terms *terms, ProtobufCBinaryData *domain)
{
	static char mine[] = "mine.test";
	struct irig *r = irig_open();

	*domain = pb_str(mine);
	holdfast__terms__init(terms);
	terms->check_from = true;
	terms->from_domain = domain;
	terms->n_from_domain = 1;
	r->terms = terms;
	r->metered = true;
	delivery_up(r);
	client_connect(r);
	return r;
}

static void a_sender_of_somebody_else_is_refused_at_mail(void **state)
{
	ProtobufCBinaryData domain;
	Holdfast__Terms terms;
	struct irig *r = checking(&terms, &domain);

	client_say(r, MAIL TO_C "QUIT\r\n");
	RIG_UNTIL(&r->rig, client_heard(r, "550 5.7.1 Sender's domain is not registered for this "
	                                   "account\r\n"));
	RIG_UNTIL(&r->rig, r->gone && at_rest(r));
	assert_int_equal(r->n_rcpt, 0);
	assert_int_equal(r->n_abandon, 0);
	irig_close(r);
}

static void a_from_of_somebody_else_is_refused_and_shares_go_back(void **state)
{
	ProtobufCBinaryData domain;
	Holdfast__Terms terms;
	struct irig *r = checking(&terms, &domain);

	client_say(r, "EHLO me\r\nMAIL FROM:<a@mine.test>\r\n" TO_C
	              "DATA\r\nFrom: x@other.test\r\n\r\n.\r\n");
	RIG_UNTIL(&r->rig, client_heard(r, "550 5.7.1 From domain other.test is not registered for "
	                                   "this account\r\n"));
	RIG_UNTIL(&r->rig, r->n_abandon == 1);
	assert_int_equal(ingest_of(&r->st)->memory, 0);
	client_say(r, "MAIL FROM:<>\r\n" TO_C "DATA\r\nFrom: x@mine.test\r\n\r\n.\r\n");
	RIG_UNTIL(&r->rig, client_heard(r, QUEUED));
	assert_int_equal(r->n_taken, 1);
	irig_close(r);
}

/* ---- what clients say goes on in the envelope */

/* By a proxy that took TLS for us, so that REQUIRETLS is to be had: PROXY of version 2, TCP over
 * IPv4, PP2_TYPE_SSL of a client that came by TLS. */
static const char by_tls[] =
	"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x14\x7f\0\0\2\x7f\0\0\1\0\1\0\x19\x20\0\5\1\0\0\0\0";

static void parameters_are_in_the_envelope(void **state)
{
	static char *proxies[] = { (char *)"127.0.0.0/8" };
	struct irig *r = irig_new();
	const Holdfast__Envelope *e;

	r->door.proxy = true;
	r->conf.proxy_networks = (struct conf_list){ proxies, 1 };
	r->conf.requiretls = true;
	irig_start(r);
	delivery_up(r);
	client_connect(r);
	stream_write(r->client, by_tls, sizeof(by_tls) - 1);
	client_say(r, "EHLO me\r\nMAIL FROM:<\303\251@b.test> SMTPUTF8 REQUIRETLS RET=HDRS "
	              "ENVID=a+2Bb BODY=8BITMIME\r\n"
	              "RCPT TO:<c@d.test> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;o@d.test\r\n"
	              "RCPT TO:<g@d.test> NOTIFY=NEVER\r\nRCPT TO:<h@d.test>\r\n" MESSAGE);
	RIG_UNTIL(&r->rig, client_heard(r, QUEUED));
	assert_true(client_heard(r, "250-REQUIRETLS\r\n"));
	assert_int_equal(r->n_taken, 1);
	e = given(r, 0);
	assert_true(e->utf8 && e->require_tls && e->eight_bit);
	assert_int_equal(e->ret, HOLDFAST__DSN_RET__RET_HDRS);
	assert_true(is_text(e->envid, "a+2Bb"));
	assert_true(is_text(e->client_ip, "127.0.0.2"));
	assert_non_null(strstr(r->taken[0].body, " with UTF8SMTPS id "));
	assert_true(is_text(e->mail_from, "\303\251@b.test"));
	assert_int_equal(e->n_rcpt, 3);
	assert_int_equal(e->rcpt[0]->notify, 2 | 8);
	assert_true(is_text(e->rcpt[0]->orcpt, "rfc822;o@d.test"));
	assert_int_equal(e->rcpt[1]->notify, 1);
	assert_int_equal(e->rcpt[1]->orcpt.len, 0);
	assert_int_equal(e->rcpt[2]->notify, 0);
	irig_close(r);
}

/* SMTPUTF8 that was said and is not needed closes no server's door. */
static void utf8_that_nothing_needs_is_forgotten(void **state)
{
	static const struct { const char *said; bool utf8; } says[] = {
		{ "MAIL FROM:<a@b.test> SMTPUTF8\r\n" TO_C "DATA\r\nA: x\r\n\r\n\303\251\r\n.\r\n",
		  false },
		{ "MAIL FROM:<a@b.test> SMTPUTF8\r\n" TO_C "DATA\r\nA: \303\251\r\n\r\n.\r\n", true },
		{ "MAIL FROM:<a@b.test> SMTPUTF8\r\nRCPT TO:<\303\251@d.test>\r\n" MESSAGE, true },
		{ "MAIL FROM:<a@b.test>\r\n" TO_C "DATA\r\nA: \303\251\r\n\r\n.\r\n", false },
	};
	struct irig *r = irig_open();

	delivery_up(r);
	client_connect(r);
	client_say(r, "EHLO me\r\n");
	for (unsigned i = 0; i < ARRAY_LEN(says); i++) {
		client_say(r, says[i].said);
		RIG_UNTIL(&r->rig, r->n_taken == i + 1);
		assert_int_equal(given(r, i)->utf8, says[i].utf8);
	}
	irig_close(r);
}

#define CASE(f) { .name = #f, .test_func = f }

int main(void)
{
	static const struct CMUnitTest cases[] = {
		CASE(silence_of_policy_is_451), CASE(a_refusal_is_told_and_the_others_go),
		CASE(drain_lets_the_transaction_end), CASE(sessions_over_the_limit_get_421),
		CASE(a_client_that_says_nothing_gets_421), CASE(no_deadlock_when_memory_is_used_up),
		CASE(the_notification_is_in_custody_before_the_message_is),
		CASE(when_all_are_refused_nothing_but_the_notification_goes),
		CASE(who_is_told_nothing_hears_250_all_the_same),
		CASE(without_custody_of_the_notification_nothing_is_taken),
		CASE(the_spool_is_custody_of_the_notification), CASE(a_held_message_is_told_of),
		CASE(an_account_that_cannot_send_is_told_by_mail),
		CASE(a_stranger_is_not_told_that_the_account_cannot_send), CASE(a_rate_is_told_on_the_wire),
		CASE(a_client_gone_during_the_notification_stops_nothing),
		CASE(the_stage_closes_during_the_notification),
		CASE(without_the_term_refusals_stay_on_the_wire),
		CASE(a_recipient_allowed_at_last_is_not_told_of),
		CASE(a_sender_of_somebody_else_is_refused_at_mail),
		CASE(a_from_of_somebody_else_is_refused_and_shares_go_back),
		CASE(parameters_are_in_the_envelope), CASE(utf8_that_nothing_needs_is_forgotten),
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
