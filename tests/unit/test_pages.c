/* tests/unit/test_pages.c - lists that are read page by page are read whole, once */
#include "tests/unit/fake_bus.h"
#include "tests/unit/policy_rig.h"

#define UNSUB HOLDFAST__LIST_NAME__LIST_UNSUBSCRIBE

enum { ENTRIES = 100 };

static void add_entries(struct policy_rig *r)
{
	struct kv_batch *b = kv_batch_new();

	for (int i = 0; i < ENTRIES; i++) {
		Holdfast__ListEntry e = HOLDFAST__LIST_ENTRY__INIT;
		Holdfast__ListPut p = HOLDFAST__LIST_PUT__INIT;
		const char *text = "";
		char key[32];

		snprintf(key, sizeof(key), "user%03d@b.test", i);
		e.list = UNSUB;
		e.account = pb_str("shop");
		e.key = pb_str(key);
		e.origin = pb_str("manual");
		p.entry = &e;
		assert_int_equal(list_put(&r->p, &p, RIG_NOW, b, &text),
		                 HOLDFAST__DONE__RESULT__OK);
	}
	rig_write(r, &b);
}

/* Ask for the page behind after; the answer is taken from the bus. */
static Holdfast__Frame *page(struct policy_rig *r, ProtobufCBinaryData after)
{
	Holdfast__Frame frame = HOLDFAST__FRAME__INIT, *answer;
	Holdfast__ListGet get = HOLDFAST__LIST_GET__INIT;
	struct bus_from from = { .call = 1 };

	get.list = UNSUB;
	get.account = pb_str("shop");
	get.limit = 16;
	get.after = after;
	frame.body_case = HOLDFAST__FRAME__BODY_LIST_GET;
	frame.list_get = &get;
	answer_list_get(&r->stage, &from, &frame, NULL);
	assert_int_equal(fake.n_answer, 1);
	answer = fake.answer[0].frame;
	fake.n_answer = 0;
	assert_int_equal(answer->body_case, HOLDFAST__FRAME__BODY_LIST_PAGE);
	return answer;
}

static void every_entry_is_on_one_page_also_where_keys_are_of_one_length(void **state)
{
	struct policy_rig *r = *state;
	Holdfast__Frame *last = NULL;
	int seen = 0;

	rig_account(r, "shop", HOLDFAST__ACCOUNT_STATE__ACCOUNT_ACTIVE, 0);
	r->stage.state = &r->p;
	add_entries(r);
	for (bool more = true; more;) {
		ProtobufCBinaryData after = { 0, NULL };
		Holdfast__Frame *f;

		if (last != NULL)
			after = last->list_page->entry[last->list_page->n_entry - 1]->key;
		f = page(r, after);
		for (size_t i = 0; i < f->list_page->n_entry; i++, seen++) {
			char want[32];

			snprintf(want, sizeof(want), "user%03d@b.test", seen);
			assert_true(pb_is(f->list_page->entry[i]->key, want));
		}
		more = f->list_page->more;
		if (last != NULL)
			holdfast__frame__free_unpacked(last, NULL);
		last = f;
	}
	holdfast__frame__free_unpacked(last, NULL);
	assert_int_equal(seen, ENTRIES);
}

/* One address that was put on the list and taken off many times, between two others. */
static void add_history(struct policy_rig *r)
{
	struct kv_batch *b = kv_batch_new();

	for (int i = 0; i < ENTRIES; i++) {
		Holdfast__ListEntry e = HOLDFAST__LIST_ENTRY__INIT;

		e.list = UNSUB;
		e.account = pb_str("shop");
		e.key = pb_str(i == 0 ? "a@b.test" : i == ENTRIES - 1 ? "z@b.test" : "m@b.test");
		e.removed_ms = RIG_NOW + (uint64_t)i;
		store_history_put(b, &e);
	}
	rig_write(r, &b);
}

static void read_history(struct policy_rig *r, const char *key, unsigned want)
{
	Holdfast__ListGet get = HOLDFAST__LIST_GET__INIT;
	Holdfast__Frame frame = HOLDFAST__FRAME__INIT;
	struct bus_from from = { .call = 1 };
	uint8_t after[32];
	unsigned seen = 0;
	bool more = true;

	get.list = UNSUB;
	get.account = pb_str("shop");
	get.key = pb_str(key);
	get.history = true;
	get.limit = 16;
	frame.body_case = HOLDFAST__FRAME__BODY_LIST_GET;
	frame.list_get = &get;
	while (more) {
		Holdfast__ListEntry *last;
		Holdfast__Frame *f;

		answer_list_get(&r->stage, &from, &frame, NULL);
		f = fake.answer[0].frame;
		fake.n_answer = 0;
		seen += (unsigned)f->list_page->n_entry;
		assert_true(seen <= want && f->list_page->n_entry > 0);
		last = f->list_page->entry[f->list_page->n_entry - 1];
		memcpy(after, last->key.data, last->key.len);
		get.after = pb_bytes(after, last->key.len);
		get.after_removed_ms = last->removed_ms;
		more = f->list_page->more;
		holdfast__frame__free_unpacked(f, NULL);
	}
	assert_int_equal(seen, want);
}

static void a_history_longer_than_a_page_is_read_whole_once(void **state)
{
	struct policy_rig *r = *state;

	rig_account(r, "shop", HOLDFAST__ACCOUNT_STATE__ACCOUNT_ACTIVE, 0);
	r->stage.state = &r->p;
	add_history(r);
	read_history(r, "", ENTRIES);
	read_history(r, "m@b.test", ENTRIES - 2);
}

#define T(f) cmocka_unit_test_setup_teardown(f, rig_setup, rig_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(every_entry_is_on_one_page_also_where_keys_are_of_one_length),
		T(a_history_longer_than_a_page_is_read_whole_once),
	};

	return cmocka_run_group_tests_name("pages", tests, NULL, NULL);
}
