/* tests/unit/test_delivery_store.c - what delivery writes it reads back, and nothing more */
#include "tests/unit/delivery_rig.h"

static const uint8_t zero_key[PART_KEY];

struct store {
	uv_loop_t loop;
	char dir[64];
	struct kv *kv;
};

static void store_open_at(struct store *s)
{
	static const struct kv_conf kc = { .cache_bytes = 4 << 20,
		.write_buffer_bytes = 8 << 20, .batch_bytes = 1 << 20, .pending_bytes = 64 << 20 };

	assert_int_equal(kv_open(&s->loop, s->dir, store_cfs, 5, &kc, &s->kv), ERR_OK);
}

static int setup(void **state)
{
	struct store *s = xcalloc(1, sizeof(*s));

	strncpy(s->dir, "/tmp/hf-dst-XXXXXX", sizeof(s->dir) - 1);
	assert_non_null(mkdtemp(s->dir));
	assert_int_equal(uv_loop_init(&s->loop), 0);
	store_open_at(s);
	*state = s;
	return 0;
}

static int teardown(void **state)
{
	struct store *s = *state;

	kv_close(&s->kv);
	uv_run(&s->loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&s->loop), 0);
	rig_remove_tree(s->dir);
	xfree(s);
	return 0;
}

static void done(enum err err, void *owner, uint64_t id)
{
	assert_int_equal(err, ERR_OK);
	++*(unsigned *)owner;
}

static void write_now(struct store *s, struct kv_batch *b)
{
	unsigned n = 0;

	kv_write(s->kv, &b, done, &n, 1);
	while (n == 0)
		uv_run(&s->loop, UV_RUN_ONCE);
}

static struct part *put_letter(struct store *s, struct letter *l, uint64_t taken_ms)
{
	struct part *p = part_new(&l->env);
	struct kv_batch *b = kv_batch_new();
	struct blob *body = blob_copy("Hi\r\n", 4);

	p->taken_ms = p->due_ms = taken_ms;
	store_put_part(b, p, &l->env, body);
	write_now(s, b);
	blob_unref(&body);
	return p;
}

static void a_new_part_comes_back_as_it_was(void **state)
{
	struct store *s = *state;
	struct letter l;
	struct part *p, *q = NULL;
	struct blob *body = NULL;

	letter_make(&l, "a@x.test,\"b c\"@Y.test", 4);
	l.env.part = 0x01020304;
	l.env.eight_bit = l.env.utf8 = l.env.require_tls = true;
	l.env.ret = HOLDFAST__DSN_RET__RET_HDRS;
	l.env.envid = pb_str("QQ314159");
	l.rcpt[1].notify = 10;
	l.rcpt[1].orcpt = pb_str("rfc822;b@z.test");
	p = put_letter(s, &l, 5000);
	assert_int_equal(store_load(s->kv, p->key, &q), ERR_OK);
	assert_true(q->utf8 && q->require_tls);
	assert_int_equal(q->ret, HOLDFAST__DSN_RET__RET_HDRS);
	assert_string_equal(q->envid, "QQ314159");
	assert_int_equal(q->rcpt[0].notify, 0);
	assert_string_equal(q->rcpt[0].orcpt, "");
	assert_int_equal(q->rcpt[1].notify, 10);
	assert_string_equal(q->rcpt[1].orcpt, "rfc822;b@z.test");
	assert_memory_equal(q->key, p->key, PART_KEY);
	assert_int_equal(part_number(q), 0x01020304);
	assert_string_equal(q->account, "acme");
	assert_string_equal(q->mail_from, "sender@acme.test");
	assert_int_equal(q->n_rcpt, 2);
	assert_int_equal(q->n_waiting, 2);
	assert_string_equal(q->rcpt[1].addr, "\"b c\"@Y.test");
	assert_string_equal(q->rcpt[1].addr + q->rcpt[1].domain, "Y.test");
	assert_int_equal(q->rcpt[1].index, 1);
	assert_true(q->eight_bit && q->counted);
	assert_int_equal(q->size, 4);
	assert_int_equal(q->taken_ms, 5000);
	assert_int_equal(q->due_ms, 5000);
	assert_int_equal(q->attempts, 0);
	assert_int_equal(store_body(s->kv, p->key, &body), ERR_OK);
	assert_int_equal(body->len, 4);
	blob_unref(&body);
	part_free(&q);
	part_free(&p);
}

static void state_of_an_attempt_comes_back_after_reopening(void **state)
{
	struct store *s = *state;
	struct letter l;
	struct part *p, *q = NULL;
	struct kv_batch *b = kv_batch_new();

	letter_make(&l, "a@x.test,b@x.test,c@x.test", 4);
	p = put_letter(s, &l, 5000);
	p->attempts = 7;
	p->rcpt[0].ended = true;
	p->rcpt[1].delay_told = true;
	p->n_waiting--;
	rcpt_remember(&p->rcpt[2], (const uint8_t *)"evidence", 8);
	store_move_due(b, p, 9000);
	store_put_state(b, p);
	write_now(s, b);
	kv_close(&s->kv);
	store_open_at(s);
	assert_int_equal(store_load(s->kv, p->key, &q), ERR_OK);
	assert_int_equal(q->attempts, 7);
	assert_int_equal(q->due_ms, 9000);
	assert_int_equal(q->n_waiting, 2);
	assert_true(q->rcpt[0].ended && !q->rcpt[1].ended && !q->rcpt[2].ended);
	assert_true(!q->rcpt[0].delay_told && q->rcpt[1].delay_told);
	assert_int_equal(q->rcpt[1].last_len, 0);
	assert_memory_equal(q->rcpt[2].last, "evidence", 8);
	part_free(&q);
	part_free(&p);
}

static void a_state_record_of_the_first_version_is_read(void **state)
{
	struct store *s = *state;
	struct letter l;
	struct part *p, *q = NULL;
	struct kv_batch *b = kv_batch_new();
	struct buf val = BUF_INIT;
	uint8_t key[PART_KEY + 1];

	letter_make(&l, "a@x.test,b@x.test", 4);
	p = put_letter(s, &l, 5000);
	buf_addc(&val, 1);
	buf_add_u32(&val, 3);
	buf_add_u64(&val, 9000);
	buf_add_u32(&val, 2);
	for (int i = 0; i < 2; i++) {
		buf_addc(&val, i == 0);
		buf_add_u32(&val, 0);
	}
	memcpy(key, p->key, PART_KEY);
	key[PART_KEY] = 's';
	kv_put(b, CF_META, key, sizeof(key), val.data, val.len);
	write_now(s, b);
	assert_int_equal(store_load(s->kv, p->key, &q), ERR_OK);
	assert_int_equal(q->attempts, 3);
	assert_true(q->rcpt[0].ended && !q->rcpt[1].ended);
	assert_true(!q->rcpt[0].delay_told && !q->rcpt[1].delay_told);
	buf_free(&val);
	part_free(&q);
	part_free(&p);
}

struct seen {
	unsigned n;
	uint64_t last_ms;
	char domain[64];
};

static bool see_due(void *arg, const uint8_t key[DUE_KEY], const char *domain, size_t len)
{
	struct seen *seen = arg;

	seen->n++;
	seen->last_ms = due_key_ms(key);
	snprintf(seen->domain, sizeof(seen->domain), "%.*s", (int)len, domain);
	return true;
}

static unsigned due_until(struct store *s, uint64_t ms, struct seen *seen)
{
	uint8_t from[DUE_KEY] = { 0 };
	bool more = true;

	*seen = (struct seen){ 0 };
	assert_int_equal(store_each_due(s->kv, &(struct store_span){ from, ms, 100 }, see_due,
	                                seen, &more), ERR_OK);
	assert_false(more);
	return seen->n;
}

static void the_index_has_one_entry_a_part_and_moves(void **state)
{
	struct store *s = *state;
	struct letter l;
	struct seen seen;
	struct kv_batch *b = kv_batch_new();
	struct part *p;

	letter_make(&l, "a@x.test,b@y.test", 4);
	p = put_letter(s, &l, 5000);
	assert_int_equal(due_until(s, 4999, &seen), 0);
	assert_int_equal(due_until(s, 5000, &seen), 1);
	assert_string_equal(seen.domain, "x.test");
	p->rcpt[0].ended = true;
	store_move_due(b, p, 7000);
	write_now(s, b);
	assert_int_equal(due_until(s, 6999, &seen), 0);
	assert_int_equal(due_until(s, 7000, &seen), 1);
	assert_string_equal(seen.domain, "y.test");
	part_free(&p);
}

static void an_ended_part_leaves_its_marker_and_nothing_else(void **state)
{
	struct store *s = *state;
	struct letter l;
	struct seen seen;
	struct kv_batch *b = kv_batch_new();
	struct part *p, *q = NULL;
	struct blob *body = NULL;

	letter_make(&l, "a@x.test", 4);
	p = put_letter(s, &l, 5000);
	assert_int_equal(store_knows(s->kv, p->key), ERR_OK);
	store_put_state(b, p);
	write_now(s, b);
	b = kv_batch_new();
	store_end_part(b, p, 6000);
	write_now(s, b);
	assert_int_equal(store_knows(s->kv, p->key), ERR_OK);
	assert_int_equal(store_load(s->kv, p->key, &q), ERR_NOENT);
	assert_int_equal(store_body(s->kv, p->key, &body), ERR_NOENT);
	assert_int_equal(due_until(s, UINT64_MAX - 1, &seen), 0);
	part_free(&p);
}

static void unknown_is_unknown(void **state)
{
	struct store *s = *state;

	assert_int_equal(store_knows(s->kv, zero_key), ERR_NOENT);
}

static void put_marker(struct store *s, uint64_t id_ms, uint64_t ended_ms, uint8_t key[PART_KEY])
{
	struct letter l;
	struct part *p;
	struct kv_batch *b = kv_batch_new();

	letter_make(&l, "a@x.test", 4);
	for (int i = 0; i < 6; i++) /* uuid_new() never goes back in time */
		l.id.b[i] = (uint8_t)(id_ms >> (40 - 8 * i));
	p = part_new(&l.env);
	store_end_part(b, p, ended_ms);
	write_now(s, b);
	memcpy(key, p->key, PART_KEY);
	part_free(&p);
}

static void settle_lazy(struct store *s)
{
	write_now(s, kv_batch_new()); /* order is kept: behind the lazy one */
}

static void old_markers_are_swept_and_those_of_held_mail_stay(void **state)
{
	struct store *s = *state;
	uint64_t now = clock_wall_ms();
	uint8_t cursor[PART_KEY] = { 0 }, old[PART_KEY], held[PART_KEY], older[PART_KEY],
	        young[PART_KEY];

	put_marker(s, now - 9000, now - 8000, old);
	put_marker(s, now - 8900, now - 10, held); /* an old id that ended lately */
	put_marker(s, now - 8800, now - 8000, older);
	put_marker(s, now - 20, now - 10, young);
	assert_int_equal(store_sweep_taken(s->kv, cursor, now - 5000, 100), 2);
	settle_lazy(s);
	assert_int_equal(store_knows(s->kv, old), ERR_NOENT);
	assert_int_equal(store_knows(s->kv, older), ERR_NOENT);
	assert_int_equal(store_knows(s->kv, held), ERR_OK);
	assert_int_equal(store_knows(s->kv, young), ERR_OK);
	assert_int_equal(store_sweep_taken(s->kv, cursor, now, 100), 2);
	settle_lazy(s);
	assert_int_equal(store_knows(s->kv, held), ERR_NOENT);
	assert_int_equal(store_knows(s->kv, young), ERR_NOENT);
}

static void count_part(void *arg, const struct part *p)
{
	unsigned *n = arg;

	n[p == NULL]++;
}

static void a_record_that_cannot_be_read_is_told_and_passed_over(void **state)
{
	struct store *s = *state;
	struct letter l;
	struct part *p, *q = NULL;
	struct kv_batch *b = kv_batch_new();
	uint8_t key[PART_KEY + 1];
	unsigned n[2] = { 0 };

	letter_make(&l, "a@x.test", 4);
	p = put_letter(s, &l, 5000);
	memcpy(key, p->key, PART_KEY);
	key[PART_KEY] = 'e';
	kv_put(b, CF_META, key, sizeof(key), "\x01garbage", 8);
	write_now(s, b);
	assert_int_equal(store_load(s->kv, p->key, &q), ERR_CORRUPT);
	part_free(&p);
	letter_make(&l, "a@x.test", 4);
	p = put_letter(s, &l, 5000);
	assert_int_equal(store_each_part(s->kv, NULL, false, count_part, n), ERR_OK);
	assert_int_equal(n[0], 1);
	assert_int_equal(n[1], 1);
	part_free(&p);
}

static void a_state_record_cut_anywhere_is_corrupt_and_no_more(void **state)
{
	struct store *s = *state;
	struct letter l;
	struct part *p, *q = NULL;
	struct kv_batch *b = kv_batch_new();
	struct buf val = BUF_INIT;
	uint8_t key[PART_KEY + 1];

	letter_make(&l, "a@x.test,b@x.test", 4);
	p = put_letter(s, &l, 5000);
	rcpt_remember(&p->rcpt[1], (const uint8_t *)"evidence", 8);
	store_put_state(b, p);
	write_now(s, b);
	memcpy(key, p->key, PART_KEY);
	key[PART_KEY] = 's';
	assert_int_equal(kv_get(s->kv, CF_META, key, sizeof(key), &val), ERR_OK);
	for (size_t n = 0; n < val.len; n++) {
		b = kv_batch_new();
		kv_put(b, CF_META, key, sizeof(key), val.data, n);
		write_now(s, b);
		assert_int_equal(store_load(s->kv, p->key, &q), ERR_CORRUPT);
	}
	buf_free(&val);
	part_free(&p);
}

#define IN_STORE(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		IN_STORE(a_new_part_comes_back_as_it_was),
		IN_STORE(state_of_an_attempt_comes_back_after_reopening),
		IN_STORE(a_state_record_of_the_first_version_is_read),
		IN_STORE(the_index_has_one_entry_a_part_and_moves),
		IN_STORE(an_ended_part_leaves_its_marker_and_nothing_else),
		IN_STORE(unknown_is_unknown),
		IN_STORE(old_markers_are_swept_and_those_of_held_mail_stay),
		IN_STORE(a_record_that_cannot_be_read_is_told_and_passed_over),
		IN_STORE(a_state_record_cut_anywhere_is_corrupt_and_no_more),
	};

	return cmocka_run_group_tests_name("delivery_store", tests, NULL, NULL);
}
