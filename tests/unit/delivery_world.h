/* tests/unit/delivery_world.h - a delivery stage whose only route leads to a scripted world
 *
 * One of each a test; what left through the outbox is counted where it leaves.
 */
#ifndef TESTS_UNIT_DELIVERY_WORLD_H
#define TESTS_UNIT_DELIVERY_WORLD_H

#include "tests/unit/delivery_rig.h"
#include "tests/unit/smtp_world.h"

#define BODY "Subject: hi\r\n\r\nHello\r\n"

static struct world world;
static char route_key[] = "*", route_value[32];
static char *route_keys[] = { route_key }, *route_values[] = { route_value };

static inline int world_setup(void **state)
{
	struct rig *r;

	rig_setup(state);
	r = *state;
	world_open(&world, &r->loop, 0);
	snprintf(route_value, sizeof(route_value), "127.0.0.1:%u", world.port);
	r->conf.routes = (struct conf_map){ route_keys, route_values, 1 };
	return 0;
}

static inline int world_teardown(void **state)
{
	struct rig *r = *state;

	world_shut(&world);
	if (r->d != NULL)
		rig_stop(r);
	assert_int_equal(world.open, 0);
	return rig_teardown(state);
}

/* ---- what left through the outbox */

struct events {
	unsigned n[16];
	char hard_rule[32];
	Holdfast__BounceClass last_class;
	uint32_t last_code;
};

static inline void count_event(void *arg, const Holdfast__Event *ev)
{
	struct events *e = arg;

	e->n[ev->kind]++;
	if (ev->evidence != NULL) {
		e->last_class = ev->evidence->class_;
		e->last_code = ev->evidence->code;
	}
}

static inline struct events events_of(struct rig *r)
{
	struct events e = { .n = { 0 } };

	assert_int_equal(outbox_each(r->d->outbox, count_event, &e), ERR_OK);
	return e;
}

static inline unsigned event_count(struct rig *r, Holdfast__EventKind kind)
{
	return events_of(r).n[kind];
}

static inline uint64_t counter(struct rig *r, enum delivery_metric m)
{
	return metric_value(r->stage.metrics, m);
}

static inline void hand(struct rig *r, const char *rcpts)
{
	struct letter l;

	letter_make(&l, rcpts, strlen(BODY));
	rig_hand(r, &l, BODY);
}

static inline struct part *load_only(struct rig *r, const struct letter *l)
{
	uint8_t key[PART_KEY];
	struct part *p = NULL;

	part_key(key, l->id.b, 0);
	assert_int_equal(store_load(r->stage.kv, key, &p), ERR_OK);
	return p;
}

#define IN_WORLD(fn) cmocka_unit_test_setup_teardown(fn, world_setup, world_teardown)

#endif
