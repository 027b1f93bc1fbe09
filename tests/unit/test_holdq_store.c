/* tests/unit/test_holdq_store.c - records, pages, body reads, marks, ledger of the hold store */
#include "tests/unit/holdq_rig.h"

static const char *const two[] = { "ann@a.test", "bob@a.test", NULL };
static const char *const one[] = { "zoe@z.test", NULL };

static struct held *sample(void)
{
	Holdfast__Envelope e = HOLDFAST__ENVELOPE__INIT;
	Holdfast__Recipient rc[3], *ptr[3];
	struct uuid id = rig_id(1);
	struct held *h;
	struct held_sub *s;

	for (unsigned i = 0; i < 3; i++) {
		holdfast__recipient__init(&rc[i]);
		rc[i].index = 4 + i;
		rc[i].address = pb_str("ann@a.test");
		ptr[i] = &rc[i];
	}
	e.message_id = pb_bytes(id.b, UUID_LEN);
	e.part = 4;
	e.account = pb_str("shop");
	e.rcpt = ptr;
	e.n_rcpt = 3;
	h = held_new(&e, HELD_RELEASING, 77);
	s = held_sub_add(h, "delivery-1");
	s->at = xcalloc(2, sizeof(*s->at));
	s->at[1] = 2;
	s->n = 2;
	s = held_sub_add(h, "delivery-2");
	s->at = xcalloc(1, sizeof(*s->at));
	s->at[0] = 1;
	s->n = 1;
	return h;
}

static void a_record_is_read_back_as_it_was(void **state)
{
	struct held *h = sample(), *back = NULL;
	struct buf b = BUF_INIT;
	Holdfast__Envelope e;

	held_encode(h, &b);
	assert_int_equal(held_decode(&h->key, b.data, b.len, &back), ERR_OK);
	assert_int_equal(back->state, HELD_RELEASING);
	assert_int_equal(back->held_ms, 77);
	assert_int_equal(back->env->n_rcpt, 3);
	assert_int_equal(back->n_sub, 2);
	assert_string_equal(back->sub[1].instance, "delivery-2");
	plan_envelope(back, 1, &e);
	assert_int_equal(e.part, 5);
	assert_int_equal(e.n_rcpt, 1);
	assert_true(e.counted);
	xfree(e.rcpt);
	held_free(&back);
	held_free(&h);
	buf_free(&b);
}

static void a_record_that_is_cut_or_bent_is_corrupt_and_nothing_worse(void **state)
{
	struct held *h = sample(), *back = NULL;
	struct buf b = BUF_INIT;

	held_encode(h, &b);
	for (size_t cut = 0; cut < b.len; cut++)
		assert_int_equal(held_decode(&h->key, b.data, cut, &back), ERR_CORRUPT);
	for (size_t i = 0; i < b.len; i++) {
		for (unsigned bit = 0; bit < 8; bit++) {
			b.data[i] ^= (char)(1u << bit);
			if (held_decode(&h->key, b.data, b.len, &back) == ERR_OK)
				held_free(&back); /* a change that no bound forbids */
			b.data[i] ^= (char)(1u << bit);
		}
	}
	b.data[0]++; /* a newer version */
	assert_int_equal(held_decode(&h->key, b.data, b.len, &back), ERR_CORRUPT);
	assert_null(back);
	held_free(&h);
	buf_free(&b);
}

/* ---- pages */

static Holdfast__HeldPage *query(struct rig *r, const char *account, const struct uuid *id,
                                 uint32_t limit, ProtobufCBinaryData after)
{
	struct bus_from from = rig_from(r);
	Holdfast__Frame f = HOLDFAST__FRAME__INIT;
	Holdfast__HeldFilter filter = HOLDFAST__HELD_FILTER__INIT;
	Holdfast__HeldQuery q = HOLDFAST__HELD_QUERY__INIT;
	ProtobufCBinaryData ids = pb_bytes(id, UUID_LEN);

	filter.account = pb_str(account);
	filter.message_id = &ids;
	filter.n_message_id = id != NULL;
	q.filter = &filter;
	q.limit = limit;
	q.after = after;
	f.body_case = HOLDFAST__FRAME__BODY_HELD_QUERY;
	f.held_query = &q;
	page_query(&r->stage, &from, &f, NULL);
	assert_non_null(rig_answer(from.call)->frame);
	return rig_answer(from.call)->frame->held_page;
}

static void hold_many(struct rig *r, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		(void)rig_handoff(r, i, i % 3 == 0 ? "shop" : "shop2", two);
		rig_settle(r);
	}
}

static void pages_show_each_mail_once_in_order(void **state)
{
	static const char *const accounts[] = { "", "shop", "shop2" };
	static const unsigned want[] = { 25, 9, 16 };
	struct rig *r = *state;
	ProtobufCBinaryData none = { 0, NULL };

	hold_many(r, 25);
	for (int a = 0; a < 3; a++) {
		Holdfast__HeldPage *p = query(r, accounts[a], NULL, 4, none);
		uint8_t last[UUID_LEN] = { 0 };
		unsigned seen = 0;

		for (;;) {
			for (size_t i = 0; i < p->n_mail; i++) {
				const uint8_t *id = p->mail[i]->message_id.data;

				assert_true(seen == 0 || memcmp(last, id, UUID_LEN) < 0);
				memcpy(last, id, UUID_LEN);
				seen++;
			}
			if (!p->more)
				break;
			assert_true(p->n_mail <= 4);
			p = query(r, accounts[a], NULL, 4, p->next);
		}
		assert_int_equal(seen, want[a]);
	}
}

static void a_page_of_fat_mail_fits_a_frame(void **state)
{
	static char address[8][201];
	static const char *rcpts[9];
	struct rig *r = *state;
	ProtobufCBinaryData after = { 0, NULL };
	Holdfast__HeldPage *p;
	unsigned seen = 0;

	for (int i = 0; i < 8; i++) {
		memset(address[i], 'a', 60);
		(void)snprintf(address[i] + 60, 140, "@%.*s.test", 120,
		               "dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd."
		               "dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd");
		rcpts[i] = address[i];
	}
	for (unsigned i = 0; i < 60; i++) {
		(void)rig_handoff(r, i, "shop", rcpts);
		rig_settle(r);
	}
	do { /* the fake bus refuses what is larger than a frame */
		p = query(r, "", NULL, 256, after);
		seen += (unsigned)p->n_mail;
		after = p->next;
	} while (p->more);
	assert_int_equal(seen, 60);
}

static void a_mail_is_found_by_its_id(void **state)
{
	struct rig *r = *state;
	ProtobufCBinaryData none = { 0, NULL };
	struct uuid id = rig_id(3);
	Holdfast__HeldPage *p;

	hold_many(r, 5);
	p = query(r, "", &id, 10, none);
	assert_int_equal(p->n_mail, 1);
	assert_int_equal(p->mail[0]->rcpt_count, 2);
	assert_true(pb_is(p->mail[0]->state, "held"));
	id = rig_id(99);
	assert_int_equal(query(r, "", &id, 10, none)->n_mail, 0);
}

static uint64_t read_body(struct rig *r, unsigned n, bool whole)
{
	struct bus_from from = rig_from(r);
	struct uuid id = rig_id(n);
	Holdfast__Frame f = HOLDFAST__FRAME__INIT;
	Holdfast__HeldBody q = HOLDFAST__HELD_BODY__INIT;

	q.message_id = pb_bytes(id.b, UUID_LEN);
	q.whole = whole;
	q.by = pb_str("alice");
	f.body_case = HOLDFAST__FRAME__BODY_HELD_BODY;
	f.held_body = &q;
	page_body(&r->stage, &from, &f, NULL);
	return from.call;
}

static void headers_are_free_to_read_and_the_whole_is_put_on_record_first(void **state)
{
	struct rig *r = *state;
	struct fake_answer *a;
	uint64_t call;

	hold_many(r, 1);
	a = rig_answer(read_body(r, 0, false));
	assert_int_equal(a->body->len, strlen("Subject: hi\r\n\r\n"));
	assert_int_equal(audit_count(rig_hq(r)->audit), 0);
	call = read_body(r, 0, true);
	assert_null(rig_answer(call)); /* not before the record is durable */
	rig_settle(r);
	assert_int_equal(rig_answer(call)->body->len, 21);
	assert_int_equal(audit_count(rig_hq(r)->audit), 1);
	a = rig_answer(read_body(r, 9, true));
	assert_int_equal(a->frame->held_page->n_mail, 0);
}

/* ---- marks */

static void marks_are_swept_by_age_and_only_those(void **state)
{
	struct rig *r = *state;
	struct store_cursor cursor = { .len = 0 };
	struct held_mark m = { .by = "alice", .result = 1 };
	struct kv_batch *b = kv_batch_new();
	struct held_key k[10];
	bool known;

	for (unsigned i = 0; i < 10; i++) {
		struct uuid id = rig_id(i);

		k[i] = held_key_of(id.b, 0);
		m.at_ms = 1000 + i;
		store_mark(b, &k[i], &m);
	}
	kv_write(r->stage.kv, &b, NULL, NULL, 0);
	rig_settle(r);
	b = kv_batch_new();
	assert_int_equal(store_mark_sweep(r->stage.kv, b, 1004, 3, &cursor), 3);
	assert_int_equal(store_mark_sweep(r->stage.kv, b, 1004, 3, &cursor), 1 + 1);
	kv_write(r->stage.kv, &b, NULL, NULL, 0);
	rig_settle(r);
	for (unsigned i = 0; i < 10; i++) {
		assert_int_equal(store_known(r->stage.kv, &k[i], &known), ERR_OK);
		assert_int_equal(known, i >= 4);
	}
	assert_int_equal(store_mark_get(r->stage.kv, &k[9], &m), ERR_OK);
	assert_string_equal(m.by, "alice");
	assert_int_equal(m.at_ms, 1009);
}

/* ---- answers to operators */

static void the_ledger_counts_what_is_held_and_what_policy_has_not_heard(void **state)
{
	struct rig *r = *state;
	struct bus_from from = rig_from(r);
	Holdfast__Frame f = HOLDFAST__FRAME__INIT;
	Holdfast__LedgerQuery q = HOLDFAST__LEDGER_QUERY__INIT;
	Holdfast__LedgerAnswer *a;

	hold_many(r, 3);
	(void)rig_handoff(r, 9, "other", one);
	rig_settle(r);
	(void)rig_decide(r, 9, HOLDFAST__DECISION__DECISION_REJECT);
	rig_settle(r);
	f.body_case = HOLDFAST__FRAME__BODY_LEDGER_QUERY;
	f.ledger_query = &q;
	answer_ledger(&r->stage, &from, &f, NULL);
	a = rig_answer(from.call)->frame->ledger_answer;
	assert_int_equal(a->n_row, 3);
	for (size_t i = 0; i < 3; i++)
		assert_int_equal(a->row[i]->accepted,
		                 a->row[i]->held + a->row[i]->rejected);
	assert_true(pb_is(a->row[0]->account, "other"));
	assert_int_equal(a->row[0]->rejected, 1);
	assert_int_equal(a->row[1]->held, 2);
	assert_int_equal(a->row[2]->held, 4);
	q.account = pb_str("shop2");
	from = rig_from(r);
	answer_ledger(&r->stage, &from, &f, NULL);
	a = rig_answer(from.call)->frame->ledger_answer;
	assert_int_equal(a->n_row, 1);
	assert_int_equal(a->row[0]->accepted, 4);
	q.account = pb_str("");
	q.after = pb_str("other");
	from = rig_from(r);
	answer_ledger(&r->stage, &from, &f, NULL);
	assert_int_equal(rig_answer(from.call)->frame->ledger_answer->n_row, 2);
}

static Holdfast__StatusAnswer *status(struct rig *r)
{
	struct bus_from from = rig_from(r);
	Holdfast__Frame f = HOLDFAST__FRAME__INIT;
	Holdfast__StatusQuery q = HOLDFAST__STATUS_QUERY__INIT;

	f.body_case = HOLDFAST__FRAME__BODY_STATUS_QUERY;
	f.status_query = &q;
	answer_status(&r->stage, &from, &f, NULL);
	return rig_answer(from.call)->frame->status_answer;
}

static void status_tells_depth_and_the_oldest_also_when_all_had_left(void **state)
{
	struct rig *r = *state;
	Holdfast__StatusAnswer *s = status(r);

	assert_int_equal(s->oldest_ms, 0);
	(void)rig_handoff(r, 1, "shop", one);
	rig_settle(r);
	s = status(r);
	assert_int_equal(s->depth, 1);
	assert_true(s->oldest_ms > 0);
	(void)rig_decide(r, 1, HOLDFAST__DECISION__DECISION_RELEASE);
	rig_recheck(HOLDFAST__VERDICT_CLASS__VERDICT_OK, 0);
	rig_settle(r);
	rig_custody();
	rig_settle(r);
	s = status(r);
	assert_int_equal(s->depth, 0);
	assert_int_equal(s->oldest_ms, 0);
	(void)rig_handoff(r, 2, "shop", one);
	rig_settle(r);
	assert_true(status(r)->oldest_ms > 0);
}

static void a_trace_tells_who_released_a_mail(void **state)
{
	struct rig *r = *state;
	struct bus_from from = rig_from(r);
	struct uuid id = rig_id(1);
	Holdfast__Frame f = HOLDFAST__FRAME__INIT;
	Holdfast__TraceQuery q = HOLDFAST__TRACE_QUERY__INIT;
	Holdfast__TraceAnswer *a;

	(void)rig_handoff(r, 1, "shop", one);
	rig_settle(r);
	(void)rig_decide(r, 1, HOLDFAST__DECISION__DECISION_RELEASE);
	rig_recheck(HOLDFAST__VERDICT_CLASS__VERDICT_OK, 0);
	rig_settle(r);
	q.message_id = pb_bytes(id.b, UUID_LEN);
	f.body_case = HOLDFAST__FRAME__BODY_TRACE_QUERY;
	f.trace_query = &q;
	answer_trace(&r->stage, &from, &f, NULL);
	a = rig_answer(from.call)->frame->trace_answer;
	assert_int_equal(a->n_line, 2);
	assert_true(pb_is(a->line[0]->what, "held"));
	assert_true(pb_is(a->line[1]->what, "released"));
	assert_true(pb_is(a->line[1]->detail, "part 0, by alice"));
}

#define T(f) cmocka_unit_test_setup_teardown(f, rig_setup, rig_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_record_is_read_back_as_it_was),
		cmocka_unit_test(a_record_that_is_cut_or_bent_is_corrupt_and_nothing_worse),
		T(pages_show_each_mail_once_in_order),
		T(a_page_of_fat_mail_fits_a_frame),
		T(a_mail_is_found_by_its_id),
		T(headers_are_free_to_read_and_the_whole_is_put_on_record_first),
		T(marks_are_swept_by_age_and_only_those),
		T(the_ledger_counts_what_is_held_and_what_policy_has_not_heard),
		T(status_tells_depth_and_the_oldest_also_when_all_had_left),
		T(a_trace_tells_who_released_a_mail),
	};

	return cmocka_run_group_tests_name("holdq_store", tests, NULL, NULL);
}
