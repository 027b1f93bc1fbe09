/* tests/unit/test_audit.c - the chain of acts: none can be changed, removed or forged unseen */
#include "tests/unit/holdq_rig.h"

static void act(struct rig *r, struct audit *a, const char *by, const char *detail)
{
	struct kv_batch *b = kv_batch_new();
	struct uuid id = rig_id(7);
	struct audit_act x = { .time_ms = 5, .key = held_key_of(id.b, 3), .what = "release",
	                       .by = by, .account = "shop", .detail = detail };

	audit_add(a, b, &x);
	kv_write(r->stage.kv, &b, NULL, NULL, 0);
	rig_settle(r);
}

static void key_of(uint64_t seq, uint8_t key[8])
{
	for (int i = 0; i < 8; i++)
		key[i] = (uint8_t)(seq >> (56 - 8 * i));
}

static void read_record(struct rig *r, uint64_t seq, struct buf *out)
{
	uint8_t key[8];

	key_of(seq, key);
	assert_int_equal(kv_get(r->stage.kv, CF_AUDIT, key, 8, out), ERR_OK);
}

/* Put (or, with p NULL, delete) what stands at seq. */
static void forge(struct rig *r, uint64_t seq, const void *p, size_t len)
{
	struct kv_batch *b = kv_batch_new();
	uint8_t key[8];

	key_of(seq, key);
	if (p != NULL)
		kv_put(b, CF_AUDIT, key, 8, p, len);
	else
		kv_del(b, CF_AUDIT, key, 8);
	kv_write(r->stage.kv, &b, NULL, NULL, 0);
	rig_settle(r);
}

static void three_acts(struct rig *r)
{
	struct audit *a = rig_hq(r)->audit;

	act(r, a, "alice", "one");
	act(r, a, "bob", "two");
	act(r, a, "carol", "three");
}

static void an_empty_chain_is_sound(void **state)
{
	struct rig *r = *state;
	uint64_t n = 9;

	assert_int_equal(audit_verify(r->stage.kv, &n), ERR_OK);
	assert_int_equal(n, 0);
}

static void acts_are_read_back_as_they_were_written(void **state)
{
	struct rig *r = *state;
	struct audit_entry e;
	struct buf rec = BUF_INIT;
	uint64_t n;

	three_acts(r);
	read_record(r, 2, &rec);
	assert_int_equal(audit_decode(rec.data, rec.len, &e), ERR_OK);
	assert_int_equal(e.seq, 2);
	assert_int_equal(e.time_ms, 5);
	assert_string_equal(e.what, "release");
	assert_string_equal(e.by, "bob");
	assert_string_equal(e.account, "shop");
	assert_string_equal(e.detail, "two");
	assert_int_equal(held_key_part(&e.key), 3);
	audit_entry_free(&e);
	for (size_t cut = 0; cut < rec.len; cut++)
		assert_int_equal(audit_decode(rec.data, cut, &e), ERR_CORRUPT);
	buf_free(&rec);
	assert_int_equal(audit_verify(r->stage.kv, &n), ERR_OK);
	assert_int_equal(n, 3);
}

static void the_chain_goes_on_after_a_restart(void **state)
{
	struct rig *r = *state;
	uint64_t n;

	three_acts(r);
	rig_restart(r);
	three_acts(r);
	assert_int_equal(audit_verify(r->stage.kv, &n), ERR_OK);
	assert_int_equal(n, 6);
}

static void a_changed_byte_anywhere_is_found(void **state)
{
	struct rig *r = *state;
	struct buf rec = BUF_INIT;
	uint64_t n;

	three_acts(r);
	read_record(r, 2, &rec);
	for (size_t i = 0; i < rec.len; i += 7) {
		rec.data[i] ^= 1;
		forge(r, 2, rec.data, rec.len);
		assert_int_equal(audit_verify(r->stage.kv, &n), ERR_CORRUPT);
		assert_true(n == 2 || n == 3);
		rec.data[i] ^= 1;
	}
	forge(r, 2, rec.data, rec.len);
	assert_int_equal(audit_verify(r->stage.kv, &n), ERR_OK);
	buf_free(&rec);
}

static void a_removed_act_is_found(void **state)
{
	struct rig *r = *state;
	struct buf rec = BUF_INIT;
	uint64_t n;

	three_acts(r);
	read_record(r, 1, &rec);
	forge(r, 1, NULL, 0);
	assert_int_equal(audit_verify(r->stage.kv, &n), ERR_CORRUPT);
	assert_int_equal(n, 1);
	forge(r, 1, rec.data, rec.len);
	forge(r, 3, NULL, 0); /* the last: only the head knows */
	assert_int_equal(audit_verify(r->stage.kv, &n), ERR_CORRUPT);
	assert_int_equal(n, 3);
	buf_free(&rec);
}

static void a_broken_end_is_found_at_start(void **state)
{
	struct rig *r = *state;
	struct audit *a = NULL;
	struct buf rec = BUF_INIT;

	three_acts(r);
	read_record(r, 3, &rec);
	rec.data[rec.len - 1] ^= 1;
	forge(r, 3, rec.data, rec.len);
	assert_int_equal(audit_open(r->stage.kv, &a), ERR_CORRUPT);
	assert_null(a);
	rec.data[rec.len - 1] ^= 1;
	forge(r, 3, rec.data, rec.len);
	buf_free(&rec);
}

static void long_texts_are_cut(void **state)
{
	struct rig *r = *state;
	struct audit_entry e;
	struct buf rec = BUF_INIT;
	char text[AUDIT_TEXT_MAX * 2];

	memset(text, 'x', sizeof(text));
	text[sizeof(text) - 1] = '\0';
	act(r, rig_hq(r)->audit, "alice", text);
	read_record(r, 1, &rec);
	assert_int_equal(audit_decode(rec.data, rec.len, &e), ERR_OK);
	assert_int_equal(strlen(e.detail), AUDIT_TEXT_MAX);
	audit_entry_free(&e);
	buf_free(&rec);
}

#define T(f) cmocka_unit_test_setup_teardown(f, rig_setup, rig_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(an_empty_chain_is_sound),
		T(acts_are_read_back_as_they_were_written),
		T(the_chain_goes_on_after_a_restart),
		T(a_changed_byte_anywhere_is_found),
		T(a_removed_act_is_found),
		T(a_broken_end_is_found_at_start),
		T(long_texts_are_cut),
	};

	return cmocka_run_group_tests_name("audit", tests, NULL, NULL);
}
