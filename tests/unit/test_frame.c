/* tests/unit/test_frame.c - golden frames: the bytes of the wire do not change
 *
 * A row that fails says that a field's number or type was changed.  Change neither:
 * instances of two versions talk to each other.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>
#include "lib/err.h"
#include "proto/bus.h"

static void make_hello(Holdfast__Frame *f)
{
	static Holdfast__Hello m = HOLDFAST__HELLO__INIT;

	m.protocol = 1;
	m.role = HOLDFAST__ROLE__ROLE_INGEST;
	m.instance = pb_str("ingest-1");
	m.epoch = 300;
	f->body_case = HOLDFAST__FRAME__BODY_HELLO;
	f->hello = &m;
}

static void make_welcome(Holdfast__Frame *f)
{
	static Holdfast__Welcome m = HOLDFAST__WELCOME__INIT;

	m.epoch = 1;
	m.credit_messages = 2;
	m.credit_bytes = 3;
	f->body_case = HOLDFAST__FRAME__BODY_WELCOME;
	f->welcome = &m;
}

static void make_refused(Holdfast__Frame *f)
{
	static Holdfast__Refused m = HOLDFAST__REFUSED__INIT;

	m.why = HOLDFAST__REFUSED__WHY__BUSY;
	m.text = pb_str("x");
	f->call = 9;
	f->body_case = HOLDFAST__FRAME__BODY_REFUSED;
	f->refused = &m;
}

static void make_rcpt(Holdfast__Frame *f)
{
	static Holdfast__RcptQuery m = HOLDFAST__RCPT_QUERY__INIT;

	m.account = pb_str("a");
	m.message_id = pb_str("m");
	m.index = 1;
	m.address = pb_str("A@b");
	m.key = pb_str("a@b");
	f->call = 1;
	f->body_case = HOLDFAST__FRAME__BODY_RCPT_QUERY;
	f->rcpt_query = &m;
}

static void make_verdict(Holdfast__Frame *f)
{
	static Holdfast__Verdict m = HOLDFAST__VERDICT__INIT;

	m.class_ = HOLDFAST__VERDICT_CLASS__VERDICT_CANNOT_SEND;
	m.verdict_id = pb_str("v");
	m.soft = true;
	m.cannot = HOLDFAST__CANNOT_SEND__CANNOT_QUOTA_SOON;
	m.reset_ms = 5;
	m.hold = HOLDFAST__HOLD_REASON__HOLD_STAFF;
	m.metered = true;
	f->call = 1;
	f->body_case = HOLDFAST__FRAME__BODY_VERDICT;
	f->verdict = &m;
}

static void make_handoff(Holdfast__Frame *f)
{
	static Holdfast__Recipient r = HOLDFAST__RECIPIENT__INIT;
	static Holdfast__Recipient *rcpt[] = { &r };
	static Holdfast__Envelope e = HOLDFAST__ENVELOPE__INIT;
	static Holdfast__Handoff m = HOLDFAST__HANDOFF__INIT;

	r.index = 2;
	r.address = pb_str("A@b");
	e.message_id = pb_str("m");
	e.part = 2;
	e.account = pb_str("a");
	e.mail_from = pb_str("f");
	e.n_rcpt = 1;
	e.rcpt = rcpt;
	e.received_ms = 6;
	e.size = 7;
	e.eight_bit = true;
	e.counted = true;
	e.hold = HOLDFAST__HOLD_REASON__HOLD_QUOTA;
	e.hold_verdict = pb_str("v");
	e.subject = pb_str("s");
	e.client_ip = pb_str("i");
	e.version = 1;
	m.envelope = &e;
	f->call = 1;
	f->body_case = HOLDFAST__FRAME__BODY_HANDOFF;
	f->handoff = &m;
}

static void make_events(Holdfast__Frame *f)
{
	static Holdfast__Evidence ev = HOLDFAST__EVIDENCE__INIT;
	static Holdfast__Event e = HOLDFAST__EVENT__INIT;
	static Holdfast__Event *event[] = { &e };
	static Holdfast__Events m = HOLDFAST__EVENTS__INIT;

	ev.class_ = HOLDFAST__BOUNCE_CLASS__BOUNCE_SOFT;
	ev.stage = HOLDFAST__SMTP_STAGE__STAGE_RCPT;
	ev.code = 550;
	ev.own_mx = true;
	e.seq = 1;
	e.kind = HOLDFAST__EVENT_KIND__EVENT_BOUNCED;
	e.account = pb_str("a");
	e.evidence = &ev;
	e.n = 1;
	m.source = pb_str("S");
	m.n_event = 1;
	m.event = event;
	f->call = 1;
	f->body_case = HOLDFAST__FRAME__BODY_EVENTS;
	f->events = &m;
}

static struct row {
	const char *name;
	void (*make)(Holdfast__Frame *f);
	const char *hex;
} rows[] = {
	{ "Hello", make_hello, "521108011001" "1a08696e676573742d31" "20ac02" },
	{ "Welcome", make_welcome, "5a06080110021803" },
	{ "Refused", make_refused, "0809" "6205" "0805" "120178" },
	{ "RcptQuery", make_rcpt, "0801" "c20112" "0a0161" "12016d" "1801" "2203414062" "2a03614062" },
	{ "Verdict", make_verdict, "0801" "ca010f" "0804" "120176" "1801" "2003" "2805" "3005" "3801" },
	{ "Handoff", make_handoff,
	  "0801" "c2022b" "0a29" "0a016d" "1002" "1a0161" "220166" "2a07" "0802" "1203414062" "3006"
	  "3807" "4001" "4801" "5004" "5a0176" "620173" "6a0169" "7001" },
	{ "Events", make_events,
	  "0801" "920319" "0a0153" "1214" "0801" "1003" "1a0161" "4a09" "0802" "1007" "18a604" "4801"
	  "5001" },
};

static void packs_to_these_bytes(void **state)
{
	const struct row *r = *state;
	Holdfast__Frame f = HOLDFAST__FRAME__INIT;
	uint8_t packed[256];
	char hex[2 * sizeof(packed) + 1] = "";
	Holdfast__Frame *back;
	size_t len;

	r->make(&f);
	len = holdfast__frame__get_packed_size(&f);
	assert_true(len <= sizeof(packed));
	holdfast__frame__pack(&f, packed);
	for (size_t i = 0; i < len; i++)
		snprintf(hex + 2 * i, 3, "%02x", packed[i]);
	assert_string_equal(hex, r->hex);
	back = holdfast__frame__unpack(NULL, len, packed);
	assert_non_null(back);
	assert_int_equal(back->body_case, f.body_case);
	holdfast__frame__free_unpacked(back, NULL);
}

/* Numbers of the oneof, by group. */
static void bodies_have_these_numbers(void **state)
{
	static const struct { int is, must; } numbers[] = {
		{ HOLDFAST__FRAME__BODY_HELLO, 10 }, { HOLDFAST__FRAME__BODY_CREDIT, 13 },
		{ HOLDFAST__FRAME__BODY_LOGIN_QUERY, 20 }, { HOLDFAST__FRAME__BODY_ABANDON, 26 },
		{ HOLDFAST__FRAME__BODY_HANDOFF, 40 }, { HOLDFAST__FRAME__BODY_CUSTODY, 41 },
		{ HOLDFAST__FRAME__BODY_EVENTS, 50 }, { HOLDFAST__FRAME__BODY_EVENTS_ACK, 51 },
		{ HOLDFAST__FRAME__BODY_BLOCK_QUERY, 60 }, { HOLDFAST__FRAME__BODY_RECHECK_ANSWER, 62 },
		{ HOLDFAST__FRAME__BODY_STATUS_QUERY, 70 }, { HOLDFAST__FRAME__BODY_DONE, 76 },
		{ HOLDFAST__FRAME__BODY_ACCOUNT_PUT, 80 }, { HOLDFAST__FRAME__BODY_LIST_PAGE, 88 },
		{ HOLDFAST__FRAME__BODY_HELD_QUERY, 100 }, { HOLDFAST__FRAME__BODY_HELD_DECIDED, 104 },
	};

	for (size_t i = 0; i < ARRAY_LEN(numbers); i++)
		assert_int_equal(numbers[i].is, numbers[i].must);
}

int main(void)
{
	struct CMUnitTest tests[ARRAY_LEN(rows) + 1] = {
		cmocka_unit_test(bodies_have_these_numbers),
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		tests[i + 1] = (struct CMUnitTest){
			.name = rows[i].name, .test_func = packs_to_these_bytes, .initial_state = &rows[i],
		};
	return cmocka_run_group_tests_name("frame", tests, NULL, NULL);
}
