/* tests/unit/test_spool.c - custody: the next stage, the spool, and nothing lost between
 *
 * The whole stage runs; the test plays client, policy, holdq and delivery.
 */
#include "tests/unit/ingest_rig.h"

#define MESSAGE "EHLO me\r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<c@d.test>\r\nDATA\r\n"
#define BODY "Subject: hi\r\n\r\nhello\r\n.\r\n"

/* Send one message in one go and wait for the reply that must come. */
static void send_one(struct irig *r, const char *reply)
{
	client_connect(r);
	client_say(r, MESSAGE BODY "QUIT\r\n");
	RIG_UNTIL(&r->rig, client_heard(r, reply));
	RIG_UNTIL(&r->rig, r->gone);
}

static void tick(struct irig *r)
{
	ingest_tick(&r->st, clock_wall_ms());
}

static struct spool_stats depth(struct irig *r)
{
	return spool_stats(ingest_of(&r->st)->spool);
}

/* Turn with ticks until the spool is empty. */
static void until_empty(struct irig *r)
{
	RIG_UNTIL(&r->rig, (tick(r), depth(r).parts == 0));
}

static void in_good_times_the_spool_is_not_touched(void **state)
{
	struct irig *r = irig_open();

	delivery_up(r);
	send_one(r, "250 2.0.0 Queued as ");
	assert_int_equal(r->n_taken, 1);
	assert_int_equal(r->taken[0].at, HOLDFAST__ROLE__ROLE_DELIVERY);
	assert_int_equal(r->n_mail, 1);
	assert_int_equal(r->n_rcpt, 1);
	assert_int_equal(depth(r).parts, 0);
	assert_int_equal(ingest_of(&r->st)->memory, 0);
	irig_close(r);
}

static void held_mail_goes_to_holdq_with_the_fifth_answer(void **state)
{
	struct irig *r = irig_open();

	r->mail = r->rcpt = PLAY_HOLD;
	send_one(r, "250 2.0.0 This email message has been placed in a holding area until");
	assert_int_equal(r->n_taken, 1);
	assert_int_equal(r->taken[0].at, HOLDFAST__ROLE__ROLE_HOLDQ);
	irig_close(r);
}

static void a_stage_that_is_down_costs_the_sender_nothing(void **state)
{
	struct irig *r = irig_open();

	for (int i = 0; i < 10; i++)
		send_one(r, "250 2.0.0 Queued as ");
	assert_int_equal(r->n_given, 0);
	assert_int_equal(depth(r).parts, 10);
	assert_int_equal(depth(r).recipients, 10);
	assert_true(depth(r).oldest_ms > 0);
	delivery_up(r);
	until_empty(r);
	assert_int_equal(r->n_taken, 10);
	assert_int_equal(depth(r).bytes, 0);
	assert_int_equal(depth(r).recipients, 0);
	irig_close(r);
}

static void what_was_answered_250_survives_a_restart(void **state)
{
	struct irig *r = irig_open();

	for (int i = 0; i < 5; i++)
		send_one(r, "250 2.0.0 Queued as ");
	stage_down(r);
	stage_up(r);
	assert_int_equal(depth(r).parts, 5);
	assert_true(depth(r).bytes > 5 * strlen("Subject: hi"));
	delivery_up(r);
	until_empty(r);
	assert_int_equal(r->n_taken, 5);
	for (unsigned i = 1; i < r->n_taken; i++) /* oldest first */
		assert_true(memcmp(&r->taken[i - 1].id, &r->taken[i].id, UUID_LEN) < 0);
	stage_down(r);
	stage_up(r);
	assert_int_equal(depth(r).parts, 0);
	irig_close(r);
}

static void a_stage_that_is_silent_or_busy_is_waited_for_and_then_spooled(void **state)
{
	static const enum play plays[] = { PLAY_SILENT, PLAY_BUSY };

	for (size_t i = 0; i < ARRAY_LEN(plays); i++) {
		struct irig *r = irig_open();

		delivery_up(r);
		r->give = plays[i];
		send_one(r, "250 2.0.0 Queued as ");
		assert_true(r->n_given >= 1);
		assert_int_equal(depth(r).parts, 1);
		r->give = PLAY_OK;
		until_empty(r);
		assert_int_equal(r->n_taken, 1);
		irig_close(r);
	}
}

static void a_lane_that_fails_is_tried_again_and_again(void **state)
{
	struct irig *r = irig_open();
	unsigned before;

	send_one(r, "250 2.0.0 Queued as ");
	r->give = PLAY_BUSY;
	delivery_up(r);
	RIG_UNTIL(&r->rig, (tick(r), r->n_given >= 3));
	assert_int_equal(depth(r).parts, 1);
	before = r->n_given;
	r->give = PLAY_OK;
	until_empty(r);
	assert_int_equal(r->n_given, before + 1);
	irig_close(r);
}

static void a_part_that_is_not_taken_does_not_hold_up_the_others(void **state)
{
	struct irig *r = irig_open();

	send_one(r, "250 2.0.0 Queued as ");
	send_one(r, "250 2.0.0 Queued as ");
	assert_int_equal(depth(r).parts, 2);
	r->give = PLAY_MALFORMED;
	ingest_of(&r->st)->conf.spool_window = 1; /* one at a time */
	delivery_up(r);
	RIG_UNTIL(&r->rig, (tick(r), depth(r).parts == 1));
	assert_int_equal(r->n_taken, 1);
	spool_wake(ingest_of(&r->st)->spool);
	until_empty(r);
	assert_int_equal(r->n_taken, 2);
	irig_close(r);
}

static void over_the_limit_the_client_is_told_to_wait(void **state)
{
	struct irig *r = irig_open();

	ingest_of(&r->st)->conf.spool_bytes = 300;
	r->metered = true;
	send_one(r, "250 2.0.0 Queued as ");
	send_one(r, "452 4.3.1 ");
	assert_int_equal(depth(r).parts, 1);
	RIG_UNTIL(&r->rig, r->n_abandon == 1);
	delivery_up(r);
	until_empty(r);
	send_one(r, "250 2.0.0 Queued as ");
	assert_int_equal(r->n_taken, 2);
	irig_close(r);
}

static void a_dead_lane_does_not_hold_up_another(void **state)
{
	struct irig *r = irig_open();

	send_one(r, "250 2.0.0 Queued as ");          /* delivery: down */
	r->mail = r->rcpt = PLAY_HOLD;
	r->give = PLAY_BUSY;
	send_one(r, "250 2.0.0 This email");          /* holdq: has no room now */
	assert_int_equal(depth(r).parts, 2);
	r->give = PLAY_OK;
	RIG_UNTIL(&r->rig, (tick(r), depth(r).parts == 1));
	assert_int_equal(r->taken[0].at, HOLDFAST__ROLE__ROLE_HOLDQ);
	irig_close(r);
}

static void parts_of_one_message_share_its_bytes(void **state)
{
	struct irig *r = irig_open();
	struct buf text = BUF_INIT;
	struct spool_stats d;

	stage_down(r);
	r->rig.common.bus_frame_bytes = 4096;
	stage_up(r);
	client_connect(r);
	buf_adds(&text, "EHLO me\r\nMAIL FROM:<a@b.test>\r\n");
	for (int i = 0; i < 100; i++) /* more than one envelope holds */
		buf_addf(&text, "RCPT TO:<a-rather-long-local-part-of-number-%03d@d.test>\r\n", i);
	buf_adds(&text, "DATA\r\n" BODY "QUIT\r\n");
	stream_write(r->client, text.data, text.len);
	RIG_UNTIL(&r->rig, client_heard(r, "250 2.0.0 Queued as "));
	RIG_UNTIL(&r->rig, r->gone);
	d = depth(r);
	assert_int_equal(d.recipients, 100);
	assert_true(d.parts >= 3);
	assert_true(d.bytes < 500);
	stage_down(r);
	stage_up(r);
	assert_int_equal(depth(r).bytes, d.bytes); /* counted once, too, after a restart */
	delivery_up(r);
	until_empty(r);
	assert_int_equal(r->n_taken, d.parts);
	for (unsigned i = 0; i < r->n_taken; i++)
		assert_true(r->taken[i].size == d.bytes);
	assert_int_equal(depth(r).bytes, 0);
	assert_int_equal(ingest_of(&r->st)->memory, 0);
	buf_free(&text);
	irig_close(r);
}

/* The configuration has changed since: what does not pass any more holds nothing else up. */
static void a_part_that_cannot_pass_does_not_hold_up_its_lane(void **state)
{
	struct irig *r = irig_open();

	client_connect(r);
	client_say(r, MESSAGE "A: x\r\n\r\n");
	for (int i = 0; i < 100; i++)
		client_say(r, "much more than the other one\r\n");
	client_say(r, ".\r\nQUIT\r\n");
	RIG_UNTIL(&r->rig, client_heard(r, "250 2.0.0 Queued as ") && r->gone);
	send_one(r, "250 2.0.0 Queued as ");
	assert_int_equal(depth(r).parts, 2);
	r->rig.common.bus_body_bytes = 2000;
	delivery_up(r);
	RIG_UNTIL(&r->rig, (tick(r), depth(r).parts == 1));
	assert_int_equal(r->n_taken, 1);
	assert_true(r->taken[0].size < 2000);
	irig_close(r);
}

#define CASE(f) { .name = #f, .test_func = f }

int main(void)
{
	static const struct CMUnitTest tests[] = {
		CASE(in_good_times_the_spool_is_not_touched),
		CASE(held_mail_goes_to_holdq_with_the_fifth_answer),
		CASE(a_stage_that_is_down_costs_the_sender_nothing),
		CASE(what_was_answered_250_survives_a_restart),
		CASE(a_stage_that_is_silent_or_busy_is_waited_for_and_then_spooled),
		CASE(a_part_that_is_not_taken_does_not_hold_up_the_others),
		CASE(a_lane_that_fails_is_tried_again_and_again),
		CASE(over_the_limit_the_client_is_told_to_wait),
		CASE(a_dead_lane_does_not_hold_up_another),
		CASE(a_part_that_cannot_pass_does_not_hold_up_its_lane),
		CASE(parts_of_one_message_share_its_bytes),
	};

	return cmocka_run_group_tests_name("spool", tests, NULL, NULL);
}
