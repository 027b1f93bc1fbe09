/* tests/unit/test_queue.c - the due index: cursor, pull-back, shares and bounds
 *
 * Parts wait behind a destination whose policy question never ends or that is paused,
 * so that what is in memory stands still and can be looked at.
 */
#include "tests/unit/delivery_rig.h"

#define BODY "Hi\r\n"

static struct rig *start(void **state)
{
	struct rig *r = *state;

	r->conf.recheck_age_ms = 0;      /* each part is asked about first, */
	r->conf.recheck_wait_ms = 60000; /* and nobody answers */
	rig_start(r);
	r->ticking = false;              /* scans are called by the test */
	return r;
}

static void done(enum err err, void *owner, uint64_t id)
{
	assert_int_equal(err, ERR_OK);
	++*(unsigned *)owner;
}

/* A part in the store that is due at due_ms, as if it had been deferred. */
static void put_due(struct rig *r, const char *rcpt, uint64_t due_ms, uint8_t key[PART_KEY])
{
	struct letter l;
	struct part *p;
	struct kv_batch *b = kv_batch_new();
	struct blob *body = blob_copy(BODY, strlen(BODY));
	unsigned n = 0;

	letter_make(&l, rcpt, strlen(BODY));
	p = part_new(&l.env);
	p->taken_ms = p->due_ms = due_ms;
	store_put_part(b, p, &l.env, body);
	kv_write(r->stage.kv, &b, done, &n, 1);
	RIG_UNTIL(r, n == 1);
	memcpy(key, p->key, PART_KEY);
	blob_unref(&body);
	part_free(&p);
}

static void what_is_due_is_loaded_and_what_is_not_stays(void **state)
{
	struct rig *r = start(state);
	uint8_t early[PART_KEY], late[PART_KEY];

	put_due(r, "a@x.test", 1000, early);
	put_due(r, "a@x.test", 3000, late);
	queue_scan(r->d->queue, 2000);
	assert_non_null(queue_find(r->d->queue, early));
	assert_null(queue_find(r->d->queue, late));
	queue_scan(r->d->queue, 3000);
	assert_non_null(queue_find(r->d->queue, late));
}

static void a_second_scan_does_not_load_again_what_is_in_memory(void **state)
{
	struct rig *r = start(state);
	uint8_t key[PART_KEY];

	put_due(r, "a@x.test", 1000, key);
	queue_scan(r->d->queue, 2000);
	queue_scan(r->d->queue, 2000);
	assert_int_equal(r->d->queue->n_active, 1);
	assert_int_equal(idmap_count(r->d->jobs), 1);
}

static void the_cursor_passes_over_what_is_active_and_never_goes_back_by_itself(void **state)
{
	struct rig *r = start(state);
	uint8_t key[PART_KEY], before[DUE_KEY];

	put_due(r, "a@x.test", 1000, key);
	put_due(r, "a@x.test", 1500, key);
	queue_scan(r->d->queue, 2000);
	assert_int_equal(due_key_ms(r->d->queue->cursor), 1500);
	memcpy(before, r->d->queue->cursor, DUE_KEY);
	queue_scan(r->d->queue, 2000);
	assert_memory_equal(before, r->d->queue->cursor, DUE_KEY);
}

static void memory_is_bounded_and_the_rest_follows_when_there_is_room(void **state)
{
	struct rig *r = *state;
	uint8_t key[5][PART_KEY];

	r->conf.active_messages = 2;
	r = start(state);
	for (int i = 0; i < 5; i++)
		put_due(r, "a@x.test", 1000 + (uint64_t)i, key[i]);
	queue_scan(r->d->queue, 2000);
	assert_int_equal(r->d->queue->n_active, 2);
	assert_true(r->d->queue->behind);
	assert_non_null(queue_find(r->d->queue, key[0]));
	assert_non_null(queue_find(r->d->queue, key[1]));
	r->conf.active_messages = 4;
	queue_scan(r->d->queue, 2000);
	assert_int_equal(r->d->queue->n_active, 4);
	assert_non_null(queue_find(r->d->queue, key[3]));
	assert_null(queue_find(r->d->queue, key[4]));
	r->conf.active_messages = 100;
	queue_scan(r->d->queue, 2000);
	assert_int_equal(r->d->queue->n_active, 5);
	assert_false(r->d->queue->behind);
}

static void a_due_time_before_the_cursor_pulls_it_back(void **state)
{
	struct rig *r = start(state);
	uint8_t later[PART_KEY], key[PART_KEY];
	struct part *p = NULL;

	put_due(r, "a@x.test", 5000, later);
	queue_scan(r->d->queue, 6000);
	assert_int_equal(due_key_ms(r->d->queue->cursor), 5000);
	put_due(r, "a@x.test", 3000, key);
	queue_scan(r->d->queue, 6000);
	assert_null(queue_find(r->d->queue, key)); /* nobody said so yet */
	assert_int_equal(store_load(r->stage.kv, key, &p), ERR_OK);
	queue_add(r->d->queue, p, NULL);
	queue_forget(r->d->queue, p);
	assert_int_equal(due_key_ms(r->d->queue->cursor), 3000);
	queue_scan(r->d->queue, 6000);
	assert_non_null(queue_find(r->d->queue, key));
}

static void an_entry_that_leads_nowhere_is_removed(void **state)
{
	struct rig *r = start(state);
	struct kv_batch *b = kv_batch_new();
	uint8_t key[DUE_KEY] = { 0 }, good[PART_KEY];
	struct buf val = BUF_INIT;
	unsigned n = 0;

	key[7] = 1;
	key[12] = 9;
	kv_put(b, CF_DUE, key, sizeof(key), "x.test", 6);
	kv_write(r->stage.kv, &b, done, &n, 1);
	RIG_UNTIL(r, n == 1);
	put_due(r, "a@x.test", 1000, good);
	queue_scan(r->d->queue, 2000);
	assert_non_null(queue_find(r->d->queue, good));
	b = kv_batch_new();
	kv_write(r->stage.kv, &b, done, &n, 1);
	RIG_UNTIL(r, n == 2);
	assert_int_equal(kv_get(r->stage.kv, CF_DUE, key, sizeof(key), &val), ERR_NOENT);
	buf_free(&val);
}

/* A destination with its share full, as far as the queue can see. */
static struct dest *fill(struct rig *r, const char *domain, unsigned jobs)
{
	struct dest *d = pool_dest(r->d->pool, domain);

	d->n_jobs = jobs;
	return d;
}

static void a_destination_with_its_share_does_not_hold_up_another(void **state)
{
	struct rig *r = *state;
	uint8_t slow[PART_KEY], fast[PART_KEY];
	struct dest *d;

	r->conf.destination_active = 4;
	r = start(state);
	d = fill(r, "slow.test", 4);
	put_due(r, "a@slow.test", 1000, slow);
	put_due(r, "a@fast.test", 1001, fast);
	queue_scan(r->d->queue, 2000);
	assert_null(queue_find(r->d->queue, slow));
	assert_non_null(queue_find(r->d->queue, fast));
	assert_true(d->lagging);
	assert_false(r->d->queue->behind);
	fill(r, "slow.test", 2);
	queue_scan(r->d->queue, 2000);
	assert_non_null(queue_find(r->d->queue, slow));
	assert_false(d->lagging);
	fill(r, "slow.test", 0);
}

static void a_lagging_destination_takes_its_mail_in_order(void **state)
{
	struct rig *r = *state;
	uint8_t first[PART_KEY], second[PART_KEY];

	r->conf.destination_active = 4;
	r = start(state);
	fill(r, "slow.test", 4);
	put_due(r, "a@slow.test", 1000, first);
	queue_scan(r->d->queue, 2000);
	fill(r, "slow.test", 3); /* room, but less than half: still lagging */
	put_due(r, "a@slow.test", 1500, second);
	queue_scan(r->d->queue, 2000);
	assert_null(queue_find(r->d->queue, second));
	fill(r, "slow.test", 0);
	queue_scan(r->d->queue, 2000);
	assert_non_null(queue_find(r->d->queue, first));
	assert_non_null(queue_find(r->d->queue, second));
}

static void a_cursor_that_is_pulled_back_pulls_the_lagging_one_with_it(void **state)
{
	struct rig *r = *state;
	uint8_t late[PART_KEY], early[PART_KEY];
	struct dest *d;

	r->conf.destination_active = 4;
	r = start(state);
	d = fill(r, "slow.test", 4);
	put_due(r, "a@slow.test", 1500, late);
	queue_scan(r->d->queue, 2000);
	assert_int_equal(due_key_ms(d->lagging_from), 1500);
	put_due(r, "a@slow.test", 1000, early);
	memset(r->d->queue->cursor, 0, DUE_KEY);
	queue_scan(r->d->queue, 2000);
	assert_int_equal(due_key_ms(d->lagging_from), 1000);
	fill(r, "slow.test", 0);
	queue_scan(r->d->queue, 2000);
	assert_non_null(queue_find(r->d->queue, early));
	assert_non_null(queue_find(r->d->queue, late));
}

static void a_restart_begins_at_the_head(void **state)
{
	struct rig *r = start(state);
	uint8_t key[PART_KEY];

	put_due(r, "a@x.test", 1000, key);
	queue_scan(r->d->queue, 2000);
	rig_stop(r);
	rig_start(r);
	r->ticking = false;
	assert_int_equal(tally_recipients(r->d->tally), 1);
	queue_scan(r->d->queue, 2000);
	assert_non_null(queue_find(r->d->queue, key));
}

static void the_oldest_is_known_and_moves_on(void **state)
{
	struct rig *r = start(state);
	uint8_t key[PART_KEY];

	queue_sweep(r->d->queue, clock_wall_ms());
	assert_int_equal(r->d->queue->oldest_ms, 0);
	put_due(r, "a@x.test", 1000, key);
	queue_sweep(r->d->queue, clock_wall_ms());
	assert_true(r->d->queue->oldest_ms > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		IN_RIG(what_is_due_is_loaded_and_what_is_not_stays),
		IN_RIG(a_second_scan_does_not_load_again_what_is_in_memory),
		IN_RIG(the_cursor_passes_over_what_is_active_and_never_goes_back_by_itself),
		IN_RIG(memory_is_bounded_and_the_rest_follows_when_there_is_room),
		IN_RIG(a_due_time_before_the_cursor_pulls_it_back),
		IN_RIG(an_entry_that_leads_nowhere_is_removed),
		IN_RIG(a_destination_with_its_share_does_not_hold_up_another),
		IN_RIG(a_lagging_destination_takes_its_mail_in_order),
		IN_RIG(a_cursor_that_is_pulled_back_pulls_the_lagging_one_with_it),
		IN_RIG(a_restart_begins_at_the_head),
		IN_RIG(the_oldest_is_known_and_moves_on),
	};

	return cmocka_run_group_tests_name("queue", tests, NULL, NULL);
}
