/* tests/unit/test_delivery_dsn.c - what a sender asked to be told, against a scripted world
 *
 * NOTIFY, ORCPT, RET and ENVID are filled in as submission would; reports are mail to the
 * sender, which the same world takes.
 */
#include "tests/unit/delivery_world.h"
#include "delivery/client.h"

#define SENDER "sender@acme.test "
#define LONG_AGO_MS (2 * 3600 * 1000)

/* A letter to one address with NOTIFY=, received so long ago. */
static void letter_notify(struct letter *l, const char *rcpts, unsigned notify, uint64_t age_ms)
{
	letter_make(l, rcpts, strlen(BODY));
	for (size_t i = 0; i < l->env.n_rcpt; i++)
		l->rcpt[i].notify = notify;
	l->env.received_ms -= age_ms;
}

static void hand_notify(struct rig *r, const char *rcpts, unsigned notify, uint64_t age_ms)
{
	struct letter l;

	letter_notify(&l, rcpts, notify, age_ms);
	rig_hand(r, &l, BODY);
}

static bool told(const char *text)
{
	return strstr(buf_str(&world.last), text) != NULL;
}

static bool idle(struct rig *r)
{
	return finish_pending(r->d) == 0 && r->d->queue->n_active == 0;
}

/* ---- who gets a report: rows */

static const struct row {
	const char *name, *offers, *rcpt;
	unsigned    notify;
	const char *action;   /* of the report; NULL: there is none */
	const char *said;     /* in MAIL and RCPT of the message */
} rows[] = {
	{ "a failure is reported where nothing was said", NULL, "hard@x.test", 0, "failed",
	  "RCPT TO:<hard@x.test>\n" },
	{ "NOTIFY=FAILURE gets the report of a failure", NULL, "hard@x.test", CLIENT_FAILURE,
	  "failed", "RCPT TO:<hard@x.test>\n" },
	{ "NOTIFY=NEVER gets none", NULL, "hard@x.test", CLIENT_NEVER, NULL,
	  "RCPT TO:<hard@x.test>\n" },
	{ "NOTIFY=SUCCESS gets none of a failure", NULL, "hard@x.test", CLIENT_SUCCESS, NULL,
	  "RCPT TO:<hard@x.test>\n" },
	{ "NOTIFY=DELAY gets none of a failure", NULL, "hard@x.test", CLIENT_DELAY, NULL,
	  "RCPT TO:<hard@x.test>\n" },
	{ "NOTIFY=SUCCESS is told that a server without DSN took it", NULL, "a@x.test",
	  CLIENT_SUCCESS | CLIENT_FAILURE, "relayed", "RCPT TO:<a@x.test>\n" },
	{ "a success of which nobody asked to hear", NULL, "a@x.test", CLIENT_FAILURE, NULL,
	  "RCPT TO:<a@x.test>\n" },
	{ "NOTIFY=NEVER hears of no success", NULL, "a@x.test", CLIENT_NEVER, NULL,
	  "RCPT TO:<a@x.test>\n" },
	{ "a server with DSN reports the success itself", "250-DSN\r\n", "a@x.test",
	  CLIENT_SUCCESS, NULL,
	  "RCPT TO:<a@x.test> NOTIFY=SUCCESS ORCPT=rfc822;a@x.test\n" },
	{ "NOTIFY=NEVER is passed on", "250-DSN\r\n", "a@x.test", CLIENT_NEVER, NULL,
	  "RCPT TO:<a@x.test> NOTIFY=NEVER ORCPT=rfc822;a@x.test\n" },
	{ "a refusal is ours to report whatever the server offers", "250-DSN\r\n", "hard@x.test",
	  CLIENT_FAILURE | CLIENT_DELAY, "failed",
	  "RCPT TO:<hard@x.test> NOTIFY=FAILURE,DELAY ORCPT=rfc822;hard@x.test\n" },
};

static const struct row *row;

static void row_gives_report(void **state)
{
	struct rig *r = *state;
	char action[40];

	world.offers = row->offers;
	rig_start(r);
	hand_notify(r, row->rcpt, row->notify, 0);
	RIG_UNTIL(r, event_count(r, HOLDFAST__EVENT_KIND__EVENT_DELIVERED) +
	             event_count(r, HOLDFAST__EVENT_KIND__EVENT_BOUNCED) >=
	             (row->action != NULL ? 2u : 1u));
	RIG_UNTIL(r, tally_parts(r->d->tally) == 0);
	assert_non_null(strstr(buf_str(&world.said), row->said));
	assert_int_equal(counter(r, DM_REPORTS), row->action != NULL);
	if (row->action == NULL)
		return;
	snprintf(action, sizeof(action), "Action: %s\r\n", row->action);
	assert_true(told(action));
	assert_non_null(strstr(buf_str(&world.said), "MAIL FROM:<>"));
	assert_non_null(strstr(buf_str(&world.rcpts), SENDER));
}

static int row_setup(void **state)
{
	row = *state;
	return world_setup(state);
}

/* ---- what is in it */

static void envelope_id_and_original_recipient_are_in_the_report(void **state)
{
	struct rig *r = *state;
	struct letter l;

	rig_start(r);
	letter_notify(&l, "hard@x.test", 0, 0);
	l.env.envid = pb_str("QQ+2B314");
	l.rcpt[0].orcpt = pb_str("rfc822;list+2Bone@z.test");
	rig_hand(r, &l, BODY);
	RIG_UNTIL(r, world.mails == 1 && tally_parts(r->d->tally) == 0);
	assert_true(told("Original-Envelope-Id: QQ+314\r\n"));
	assert_true(told("Original-Recipient: rfc822; list+one@z.test\r\n"
	                 "Final-Recipient: rfc822; hard@x.test\r\n"));
}

static void hand_full(struct rig *r, bool require_tls)
{
	struct letter l;

	letter_notify(&l, "hard@x.test", 0, 0);
	l.env.ret = HOLDFAST__DSN_RET__RET_FULL;
	l.env.require_tls = require_tls;
	rig_hand(r, &l, BODY);
}

static void the_whole_message_comes_back_where_it_was_asked_for(void **state)
{
	struct rig *r = *state;

	rig_start(r);
	hand_full(r, false);
	RIG_UNTIL(r, world.mails == 1 && tally_parts(r->d->tally) == 0);
	assert_true(told("Content-Type: message/rfc822\r\n\r\n" BODY));
}

static void a_large_message_comes_back_as_headers(void **state)
{
	struct rig *r = *state;

	r->conf.report_message_bytes = strlen(BODY) - 1;
	rig_start(r);
	hand_full(r, false);
	RIG_UNTIL(r, world.mails == 1 && tally_parts(r->d->tally) == 0);
	assert_true(told("Content-Type: text/rfc822-headers\r\n\r\nSubject: hi\r\n"));
	assert_false(told("Hello"));
}

/* There is no TLS in this world: it bounces, and the report goes the second time. */
static void a_message_with_requiretls_comes_back_as_headers(void **state)
{
	struct rig *r = *state;

	r->conf.retry_min_ms = r->conf.destination_pause_ms = 1;
	rig_start(r);
	hand_full(r, true);
	RIG_UNTIL(r, world.mails == 1 && tally_parts(r->d->tally) == 0);
	assert_true(told("Action: failed\r\nStatus: 5.7.30\r\n"));
	assert_true(told("Content-Type: text/rfc822-headers\r\n\r\nSubject: hi\r\n"));
	assert_false(told("Hello"));
	assert_null(strstr(buf_str(&world.said), "hard@x.test"));
}

static void one_report_tells_of_all_recipients_of_a_transaction(void **state)
{
	struct rig *r = *state;
	struct letter l;

	rig_start(r);
	letter_notify(&l, "a@x.test,hard@x.test,hard2@x.test", 0, 0);
	l.rcpt[0].notify = CLIENT_SUCCESS;
	l.rcpt[2].notify = CLIENT_NEVER;
	rig_hand(r, &l, BODY);
	RIG_UNTIL(r, world.mails == 2 && tally_parts(r->d->tally) == 0);
	assert_int_equal(counter(r, DM_REPORTS), 1);
	assert_int_equal(counter(r, DM_REPORTS_RELAYED), 1);
	assert_true(told("Final-Recipient: rfc822; a@x.test\r\nAction: relayed\r\nStatus: 2."));
	assert_true(told("Final-Recipient: rfc822; hard@x.test\r\nAction: failed\r\n"));
	assert_false(told("hard2@x.test"));
}

static void a_null_sender_is_told_of_no_success(void **state)
{
	struct rig *r = *state;
	struct letter l;

	rig_start(r);
	letter_notify(&l, "a@x.test", CLIENT_SUCCESS, 0);
	l.env.mail_from = pb_str("");
	rig_hand(r, &l, BODY);
	RIG_UNTIL(r, world.mails == 1 && tally_parts(r->d->tally) == 0);
	assert_int_equal(counter(r, DM_REPORTS), 0);
}

static void a_report_to_a_utf8_domain_needs_no_smtputf8(void **state)
{
	struct rig *r = *state;
	struct letter l;

	rig_start(r);
	letter_notify(&l, "hard@x.test", 0, 0);
	l.env.mail_from = pb_str("anna@b\xc3\xbc" "cher.test");
	rig_hand(r, &l, BODY);
	RIG_UNTIL(r, world.mails == 1 && tally_parts(r->d->tally) == 0);
	assert_non_null(strstr(buf_str(&world.rcpts), "anna@xn--bcher-kva.test "));
	assert_true(told("To: <anna@xn--bcher-kva.test>\r\n"));
}

static void a_report_to_a_utf8_mailbox_is_sent_with_smtputf8(void **state)
{
	struct rig *r = *state;
	struct letter l;

	world.offers = "250-SMTPUTF8\r\n";
	rig_start(r);
	letter_notify(&l, "hard@x.test", 0, 0);
	l.env.mail_from = pb_str("\xc3\xa4nna@acme.test");
	l.env.utf8 = true;
	rig_hand(r, &l, BODY);
	RIG_UNTIL(r, world.mails == 1 && tally_parts(r->d->tally) == 0);
	assert_non_null(strstr(buf_str(&world.said), "MAIL FROM:<> BODY=8BITMIME SMTPUTF8\n"));
	assert_true(told("report-type=global-delivery-status"));
}

/* ---- delay */

static void who_asked_is_told_of_a_delay_once(void **state)
{
	struct rig *r = *state;
	struct letter l;
	struct part *p;

	r->conf.retry_min_ms = 1; /* tried again and again, and policy is not asked */
	r->conf.retry_max_ms = 50;
	r->conf.recheck_age_ms = UINT64_MAX;
	rig_start(r);
	letter_notify(&l, "soft@x.test,soft2@x.test", CLIENT_DELAY, LONG_AGO_MS);
	l.rcpt[1].notify = CLIENT_FAILURE;
	rig_hand(r, &l, BODY);
	RIG_UNTIL(r, world.mails == 1 && counter(r, DM_ATTEMPTS) >= 5);
	assert_true(told("Action: delayed\r\nStatus: 4.2.1\r\n"));
	assert_true(told("\r\nWill-Retry-Until: "));
	assert_false(told("soft2@x.test"));
	rig_stop(r);
	rig_start(r);
	RIG_UNTIL(r, counter(r, DM_ATTEMPTS) >= 3);
	r->conf.retry_min_ms = r->conf.retry_max_ms = 3600000;
	RIG_UNTIL(r, idle(r));
	assert_int_equal(counter(r, DM_REPORTS), 0);
	assert_int_equal(world.mails, 1);
	p = load_only(r, &l);
	assert_true(p->rcpt[0].delay_told && !p->rcpt[1].delay_told && p->n_waiting == 2);
	part_free(&p);
}

static void nobody_is_told_of_a_delay_unasked_or_too_early(void **state)
{
	struct rig *r = *state;

	rig_start(r);
	hand_notify(r, "soft@x.test", 0, LONG_AGO_MS);
	hand_notify(r, "soft@x.test", CLIENT_NEVER, LONG_AGO_MS);
	hand_notify(r, "soft@x.test", CLIENT_DELAY, 0);
	RIG_UNTIL(r, counter(r, DM_DEFERRALS) == 3 && idle(r));
	assert_int_equal(counter(r, DM_REPORTS), 0);
}

static void delay_notices_can_be_turned_off(void **state)
{
	struct rig *r = *state;

	r->conf.delay_notice_ms = 0;
	rig_start(r);
	hand_notify(r, "soft@x.test", CLIENT_DELAY, LONG_AGO_MS);
	RIG_UNTIL(r, counter(r, DM_DEFERRALS) == 1 && idle(r));
	assert_int_equal(counter(r, DM_REPORTS), 0);
}

static void the_notice_of_a_delay_is_not_left_to_the_schedule(void **state)
{
	struct rig *r = *state;
	struct letter asked, not_asked;
	struct part *p;

	r->conf.retry_min_ms = r->conf.retry_max_ms = 4 * r->conf.delay_notice_ms;
	rig_start(r);
	letter_notify(&asked, "soft@x.test", CLIENT_DELAY, 0);
	rig_hand(r, &asked, BODY);
	letter_notify(&not_asked, "soft@x.test", CLIENT_FAILURE, 0);
	rig_hand(r, &not_asked, BODY);
	RIG_UNTIL(r, counter(r, DM_DEFERRALS) == 2 && idle(r));
	p = load_only(r, &asked);
	assert_int_equal(p->due_ms, p->received_ms + r->conf.delay_notice_ms);
	part_free(&p);
	p = load_only(r, &not_asked);
	assert_true(p->due_ms > p->received_ms + 3 * r->conf.delay_notice_ms);
	part_free(&p);
}

/* ---- bounds, and BDAT */

static void parameters_that_could_break_a_command_are_malformed(void **state)
{
	struct rig *r = *state;
	struct letter l;

	rig_start(r);
	letter_notify(&l, "a@x.test", CLIENT_NEVER | CLIENT_DELAY, 0);
	rig_hand(r, &l, BODY);
	letter_notify(&l, "a@x.test", 16, 0);
	rig_hand(r, &l, BODY);
	letter_notify(&l, "a@x.test", 0, 0);
	l.rcpt[0].orcpt = pb_str("rfc822;a NOTIFY=NEVER");
	rig_hand(r, &l, BODY);
	letter_notify(&l, "a@x.test", 0, 0);
	l.env.envid = pb_str("x\r\nRSET");
	rig_hand(r, &l, BODY);
	letter_notify(&l, "a@x.test", 0, 0);
	l.env.envid = pb_str("\xc3\xbc");
	rig_hand(r, &l, BODY);
	assert_int_equal(counter(r, DM_REFUSED), 5);
	assert_int_equal(r->d->queue->n_active, 0);
}

static void a_message_goes_by_bdat_as_it_is(void **state)
{
	struct rig *r = *state;
	static const char body[] = ".\r\n..\r\nno end";
	struct letter l;

	world.offers = "250-CHUNKING\r\n";
	r->conf.chunking = true;
	r->conf.destination_connections = 1;
	rig_start(r);
	letter_make(&l, "later@x.test", strlen(body));
	rig_hand(r, &l, body);
	letter_make(&l, "a@x.test", strlen(body));
	rig_hand(r, &l, body);
	RIG_UNTIL(r, world.mails == 1 && counter(r, DM_DEFERRALS) == 1 && idle(r));
	assert_int_equal(world.bdats, 2);
	assert_string_equal(buf_str(&world.last), ".\r\n..\r\nno end\r\n");
}

int main(void)
{
	static const struct CMUnitTest others[] = {
		IN_WORLD(envelope_id_and_original_recipient_are_in_the_report),
		IN_WORLD(the_whole_message_comes_back_where_it_was_asked_for),
		IN_WORLD(a_large_message_comes_back_as_headers),
		IN_WORLD(a_message_with_requiretls_comes_back_as_headers),
		IN_WORLD(one_report_tells_of_all_recipients_of_a_transaction),
		IN_WORLD(a_null_sender_is_told_of_no_success),
		IN_WORLD(a_report_to_a_utf8_domain_needs_no_smtputf8),
		IN_WORLD(a_report_to_a_utf8_mailbox_is_sent_with_smtputf8),
		IN_WORLD(who_asked_is_told_of_a_delay_once),
		IN_WORLD(nobody_is_told_of_a_delay_unasked_or_too_early),
		IN_WORLD(delay_notices_can_be_turned_off),
		IN_WORLD(the_notice_of_a_delay_is_not_left_to_the_schedule),
		IN_WORLD(parameters_that_could_break_a_command_are_malformed),
		IN_WORLD(a_message_goes_by_bdat_as_it_is),
	};
	struct CMUnitTest tests[ARRAY_LEN(rows) + ARRAY_LEN(others)];
	size_t n = ARRAY_LEN(rows);

	for (size_t i = 0; i < n; i++)
		tests[i] = (struct CMUnitTest){ rows[i].name, row_gives_report, row_setup,
		                                world_teardown, (void *)(uintptr_t)&rows[i] };
	memcpy(tests + n, others, sizeof(others));
	return cmocka_run_group_tests_name("delivery_dsn", tests, NULL, NULL);
}
