/* tests/unit/test_outbox.c - events reach policy in order, through restarts and lost answers */
#include "tests/unit/bus_rig.h"
#include <ftw.h>
#include "lib/kv.h"
#include "proto/outbox.h"

#define MAX_SEEN 4096

/* A policy instance that remembers what it applied, as the real one does. */
struct policy {
	struct bus *bus;
	const char *name;
	unsigned row;            /* in the rig */
	bool deaf;               /* keeps Events without an answer */
	unsigned lose;           /* answers to lose: it applies, and says nothing */
	bool slow;               /* acknowledges one event at a time */
	uint64_t last;
	unsigned frames, repeats, n;
	char account[MAX_SEEN][24];
	uint32_t index[MAX_SEEN];
	uint8_t source[16];
};

static struct rig rig;
static struct policy policies[2];
static struct bus *bus;
static struct kv *kv;
static struct outbox *outbox;
static char store_dir[96];
static uint32_t added;

static void apply(struct policy *p, const Holdfast__Event *e)
{
	if (e->seq <= p->last) {
		p->repeats++;
		return;
	}
	assert_true(p->n < MAX_SEEN);
	p->last = e->seq;
	snprintf(p->account[p->n], sizeof(p->account[0]), "%.*s", (int)e->account.len,
	         (const char *)e->account.data);
	p->index[p->n++] = e->index;
}

static void on_events(void *state, const struct bus_from *from, const Holdfast__Frame *f,
                      struct blob *body)
{
	struct policy *p = state;
	Holdfast__EventsAck ack = HOLDFAST__EVENTS_ACK__INIT;
	Holdfast__Frame out = HOLDFAST__FRAME__INIT;
	uint64_t before = 0;

	p->frames++;
	assert_true(f->events->n_event > 0);
	if (p->deaf)
		return;
	assert_int_equal(f->events->source.len, 16);
	memcpy(p->source, f->events->source.data, 16);
	for (size_t i = 0; i < (p->slow ? 1 : f->events->n_event); i++) {
		assert_true(f->events->event[i]->seq > before);
		before = f->events->event[i]->seq;
		apply(p, f->events->event[i]);
	}
	if (p->lose > 0) {
		p->lose--;
		bus_refuse(p->bus, from, HOLDFAST__REFUSED__WHY__BUSY, "lost");
		return;
	}
	ack.source = f->events->source;
	ack.seq = before;
	out.body_case = HOLDFAST__FRAME__BODY_EVENTS_ACK;
	out.events_ack = &ack;
	bus_answer(p->bus, from, &out, NULL);
}

static const struct bus_handler handlers[] = {
	{ HOLDFAST__FRAME__BODY_EVENTS, BUS_ROLE(HOLDFAST__ROLE__ROLE_DELIVERY), false, on_events },
	{ 0 }
};

static void policy_open(struct policy *p)
{
	const struct bus_conf conf = {
		.common = &rig.common, .role = HOLDFAST__ROLE__ROLE_POLICY, .instance = p->name,
		.bind = rig.endpoint[p->row], .handlers = handlers, .state = p,
	};

	assert_int_equal(bus_open(&rig.loop, &conf, &p->bus), ERR_OK);
}

static void source_open(void)
{
	static const struct kv_cf cfs[] = { { "outbox", KV_QUEUE } };
	const struct kv_conf kvc = {
		.cache_bytes = 1 << 20, .write_buffer_bytes = 4 << 20, .batch_bytes = 1 << 20,
		.pending_bytes = 8 << 20,
	};
	const struct bus_conf conf = {
		.common = &rig.common, .role = HOLDFAST__ROLE__ROLE_DELIVERY, .instance = "delivery-1",
		.asks = BUS_ROLE(HOLDFAST__ROLE__ROLE_POLICY),
	};

	assert_int_equal(bus_open(&rig.loop, &conf, &bus), ERR_OK);
	assert_int_equal(kv_open(&rig.loop, store_dir, cfs, 1, &kvc, &kv), ERR_OK);
	assert_int_equal(outbox_open(kv, 0, bus, &outbox), ERR_OK);
}

/* As a stage stops: the stage's own, then the bus, then the store. */
static void source_close(void)
{
	outbox_close(&outbox);
	bus_close(&bus);
	kv_close(&kv);
	for (int i = 0; i < 3; i++)
		uv_run(&rig.loop, UV_RUN_NOWAIT);
}

static void on_durable(enum err err, void *owner, uint64_t id)
{
	assert_int_equal(err, ERR_OK);
	outbox_kick(outbox);
}

static void add(const char *account, const char *key, Holdfast__EventKind kind)
{
	struct kv_batch *b = kv_batch_new();
	Holdfast__Event e = HOLDFAST__EVENT__INIT;

	e.kind = kind;
	e.account = pb_str(account);
	e.key = pb_str(key);
	e.index = added++;
	outbox_add(outbox, b, &e);
	kv_write(kv, &b, on_durable, NULL, 0);
}

static void add_many(unsigned n)
{
	char account[24];

	for (unsigned i = 0; i < n; i++) {
		snprintf(account, sizeof(account), "account-%u", i % 97);
		add(account, "joe@example.org", HOLDFAST__EVENT_KIND__EVENT_DELIVERED);
	}
}

/* The tick is the test's: it turns the loop and ticks at every look. */
static unsigned seen(void)
{
	outbox_tick(outbox);
	return policies[0].n + policies[1].n;
}

static void expect_in_order(const struct policy *p)
{
	for (unsigned i = 1; i < p->n; i++)
		assert_true(p->index[i] > p->index[i - 1]);
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *at)
{
	return remove(path);
}

static int setup(void **state)
{
	rig_open(&rig);
	snprintf(store_dir, sizeof(store_dir), "%s/store", rig.dir);
	memset(policies, 0, sizeof(policies));
	for (unsigned i = 0; i < 2; i++) {
		policies[i].name = rig.name[i + 1];
		policies[i].row = i + 1;
		policy_open(&policies[i]);
	}
	added = 0;
	source_open();
	return 0;
}

static int teardown(void **state)
{
	char dir[64];

	source_close();
	for (unsigned i = 0; i < 2; i++)
		bus_close(&policies[i].bus);
	nftw(store_dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	memcpy(dir, rig.dir, sizeof(dir));
	rig_close(&rig);
	nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	return 0;
}

static void events_arrive_in_order_at_the_owner_of_their_account(void **state)
{
	add_many(1000);
	RIG_UNTIL(&rig, seen() == 1000);
	for (unsigned i = 0; i < 2; i++) {
		expect_in_order(&policies[i]);
		assert_true(policies[i].n > 0);
		assert_memory_equal(policies[i].source, kv_store_id(kv), 16);
		for (unsigned k = 0; k < policies[i].n; k++)
			assert_int_equal(bus_shard(bus, HOLDFAST__ROLE__ROLE_POLICY, policies[i].account[k],
			                           strlen(policies[i].account[k])), i);
		assert_int_equal(policies[i].repeats, 0);
	}
	RIG_UNTIL(&rig, (outbox_tick(outbox), outbox_unsent(outbox) == 0));
}

static void count_event(void *arg, const Holdfast__Event *e)
{
	unsigned *n = arg;

	++*n;
}

static void what_is_acknowledged_is_counted_no_more(void **state)
{
	unsigned n = 0;

	add_many(300);
	RIG_UNTIL(&rig, (outbox_tick(outbox), outbox_unsent(outbox) == 0));
	assert_int_equal(outbox_each(outbox, count_event, &n), ERR_OK);
	assert_int_equal(n, 0);
}

static void a_block_goes_to_the_owner_of_the_address(void **state)
{
	unsigned at;
	char key[32];

	for (unsigned i = 0; i < 20; i++) {
		snprintf(key, sizeof(key), "joe-%u@example.org", i);
		at = bus_shard(bus, HOLDFAST__ROLE__ROLE_POLICY, key, strlen(key));
		unsigned want = policies[at].n + 1;

		add("acme", key, HOLDFAST__EVENT_KIND__EVENT_LIST_BLOCK);
		RIG_UNTIL(&rig, seen() == i + 1);
		assert_int_equal(policies[at].n, want);
	}
}

static void a_lost_answer_makes_a_repeat_and_no_gap(void **state)
{
	policies[0].lose = policies[1].lose = 3;
	add_many(300);
	RIG_UNTIL(&rig, seen() == 300 && outbox_unsent(outbox) == 0);
	assert_true(policies[0].repeats > 0);
	assert_true(policies[1].repeats > 0);
	expect_in_order(&policies[0]);
	expect_in_order(&policies[1]);
}

static void half_an_acknowledgement_is_taken_as_that(void **state)
{
	policies[0].slow = policies[1].slow = true;
	add_many(8);
	RIG_UNTIL(&rig, seen() == 8 && outbox_unsent(outbox) == 0);
	expect_in_order(&policies[0]);
	expect_in_order(&policies[1]);
}

static void a_dead_instance_does_not_hold_up_the_other(void **state)
{
	unsigned other;

	policies[0].deaf = true;
	add_many(2000);
	for (unsigned i = other = 0; i < 2000; i++) {
		char account[24];

		snprintf(account, sizeof(account), "account-%u", i % 97);
		other += bus_shard(bus, HOLDFAST__ROLE__ROLE_POLICY, account, strlen(account)) == 1;
	}
	RIG_UNTIL(&rig, seen() == other);
	assert_int_equal(policies[0].n, 0);
	RIG_UNTIL(&rig, (outbox_tick(outbox), outbox_unsent(outbox) == 2000 - other));
	assert_true(policies[0].frames <= 2); /* one open, and no storm */
}

static void a_restart_goes_on_where_it_was(void **state)
{
	unsigned n = 0;
	uint64_t last;

	policies[0].deaf = policies[1].deaf = true;
	add_many(500);
	RIG_UNTIL(&rig, (outbox_tick(outbox), policies[0].frames > 0 && policies[1].frames > 0));
	assert_int_equal(outbox_each(outbox, count_event, &n), ERR_OK);
	assert_in_range(n, 1, 500);
	source_close();
	policies[0].deaf = policies[1].deaf = false;
	source_open();
	assert_int_equal(outbox_unsent(outbox), 500);
	n = 0;
	assert_int_equal(outbox_each(outbox, count_event, &n), ERR_OK);
	assert_int_equal(n, 500);
	RIG_UNTIL(&rig, seen() == 500 && outbox_unsent(outbox) == 0);

	/* All is deleted: numbers still go on, or policy would ignore what follows. */
	last = policies[0].last > policies[1].last ? policies[0].last : policies[1].last;
	source_close();
	source_open();
	assert_int_equal(outbox_unsent(outbox), 0);
	add_many(200);
	RIG_UNTIL(&rig, seen() == 700 && outbox_unsent(outbox) == 0);
	assert_true(policies[0].last > last || policies[1].last > last);
	expect_in_order(&policies[0]);
	expect_in_order(&policies[1]);
}

static void a_restarted_policy_gets_what_it_had_not_synced(void **state)
{
	policies[0].deaf = true;
	add_many(100);
	RIG_UNTIL(&rig, (outbox_tick(outbox), policies[0].frames > 0));
	bus_close(&policies[0].bus);
	RIG_UNTIL(&rig, !bus_link_up(bus, HOLDFAST__ROLE__ROLE_POLICY, 0));
	policies[0].deaf = false;
	policy_open(&policies[0]);
	RIG_UNTIL(&rig, seen() == 100 && outbox_unsent(outbox) == 0);
	expect_in_order(&policies[0]);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(events_arrive_in_order_at_the_owner_of_their_account),
		T(what_is_acknowledged_is_counted_no_more),
		T(a_block_goes_to_the_owner_of_the_address),
		T(a_lost_answer_makes_a_repeat_and_no_gap),
		T(half_an_acknowledgement_is_taken_as_that),
		T(a_dead_instance_does_not_hold_up_the_other),
		T(a_restart_goes_on_where_it_was),
		T(a_restarted_policy_gets_what_it_had_not_synced),
	};

	return cmocka_run_group_tests_name("outbox", tests, NULL, NULL);
}
