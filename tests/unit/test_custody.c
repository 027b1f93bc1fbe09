/* tests/unit/test_custody.c - the receipt is late, and the spool has no room
 *
 * A part that was sent may be in its receiver's custody: a refusal would double it.
 */
#include "tests/unit/ingest_rig.h"

#define ALL "EHLO me\r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<c@d.test>\r\nDATA\r\nA: x\r\n.\r\n"

static struct irig *rig_without_room(uint64_t custody_wait_ms)
{
	struct irig *r = irig_open();
	struct ingest *in = ingest_of(&r->st);

	in->conf.spool_bytes = 0;
	in->conf.handoff_wait = 50;
	in->conf.custody_wait = custody_wait_ms;
	return r;
}

static void a_part_that_was_sent_is_asked_for_until_its_receipt_comes(void **state)
{
	struct irig *r = rig_without_room(20000);

	delivery_up(r);
	r->give = PLAY_SILENT;
	client_connect(r);
	client_say(r, ALL);
	RIG_UNTIL(&r->rig, r->n_given >= 3);
	assert_false(client_heard(r, "452 "));
	r->give = PLAY_OK;
	RIG_UNTIL(&r->rig, client_heard(r, "250 2.0.0 Queued as "));
	assert_int_equal(r->n_taken, 1); /* the same id each time */
	irig_close(r);
}

static void not_for_ever(void **state)
{
	struct irig *r = rig_without_room(200);

	delivery_up(r);
	r->give = PLAY_SILENT;
	client_connect(r);
	client_say(r, ALL);
	RIG_UNTIL(&r->rig, client_heard(r, "452 4.3.1 "));
	assert_true(r->n_given >= 2);
	irig_close(r);
}

static void what_was_never_sent_is_refused_at_once(void **state)
{
	struct irig *r = rig_without_room(20000);

	client_connect(r); /* nobody is there to take it */
	client_say(r, ALL);
	RIG_UNTIL(&r->rig, client_heard(r, "452 4.3.1 "));
	assert_int_equal(r->n_given, 0);
	irig_close(r);
}

/* It says that it has not taken it: there is no doubt, and asking on would only add to its load. */
static void what_was_refused_for_now_is_not_asked_for_on_and_on(void **state)
{
	struct irig *r = rig_without_room(20000);

	delivery_up(r);
	r->give = PLAY_BUSY;
	client_connect(r);
	client_say(r, ALL);
	RIG_UNTIL(&r->rig, client_heard(r, "452 4.3.1 "));
	assert_int_equal(r->n_given, 1);
	irig_close(r);
}

#define CASE(f) { .name = #f, .test_func = f }

int main(void)
{
	static const struct CMUnitTest tests[] = {
		CASE(a_part_that_was_sent_is_asked_for_until_its_receipt_comes),
		CASE(not_for_ever), CASE(what_was_never_sent_is_refused_at_once),
		CASE(what_was_refused_for_now_is_not_asked_for_on_and_on),
	};

	return cmocka_run_group_tests_name("custody", tests, NULL, NULL);
}
