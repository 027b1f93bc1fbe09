/* tests/unit/bus_rig.h - what tests of the bus share: a loop, a folder, a configuration
 *
 * Everything is polled with a deadline; nothing sleeps to let something happen.
 */
#ifndef TESTS_UNIT_BUS_RIG_H
#define TESTS_UNIT_BUS_RIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>
#include <uv.h>
#include "lib/clock.h"
#include "lib/mem.h"
#include "lib/metrics.h"
#include "proto/bus.h"

#define RIG_WAIT_MS 20000
#define RIG_INSTANCES 4

struct rig {
	uv_loop_t loop;
	uv_timer_t pulse; /* so that uv_run() returns for a look at the condition */
	char dir[64];
	char endpoint[RIG_INSTANCES][128];
	char name[RIG_INSTANCES][16];
	struct worker_instance row[RIG_INSTANCES];
	struct common_conf common;
};

static void rig_pulse(uv_timer_t *t)
{
}

/* "delivery-1", "policy-1", "policy-2", "holdq-1", with small limits. */
static inline void rig_open(struct rig *r)
{
	static const struct { const char *name; int stage; } rows[RIG_INSTANCES] = {
		{ "delivery-1", 3 }, { "policy-1", 1 }, { "policy-2", 1 }, { "holdq-1", 2 },
	};

	*r = (struct rig){ .dir = "/tmp/hf-bus-XXXXXX" };
	assert_non_null(mkdtemp(r->dir));
	for (int i = 0; i < RIG_INSTANCES; i++) {
		snprintf(r->name[i], sizeof(r->name[i]), "%s", rows[i].name);
		snprintf(r->endpoint[i], sizeof(r->endpoint[i]), "ipc://%s/run/%s.bus", r->dir,
		         rows[i].name);
		r->row[i] = (struct worker_instance){ r->name[i], rows[i].stage, r->endpoint[i], NULL };
	}
	r->common = (struct common_conf){
		.instances = { r->row, RIG_INSTANCES }, .bus_hello_interval_ms = 200,
		.bus_credit_messages = 4, .bus_credit_bytes = 1 << 20, .bus_waiting_asks = 64,
		.bus_frame_bytes = 64 * 1024, .bus_body_bytes = 4 << 20,
	};
	assert_int_equal(uv_loop_init(&r->loop), 0);
	uv_timer_init(&r->loop, &r->pulse);
	uv_timer_start(&r->pulse, rig_pulse, 5, 5);
}

/* The loop must be empty once the test has closed what it opened. */
static inline void rig_close(struct rig *r)
{
	char path[160];

	uv_close((uv_handle_t *)&r->pulse, NULL);
	assert_int_equal(uv_run(&r->loop, UV_RUN_DEFAULT), 0);
	assert_int_equal(uv_loop_close(&r->loop), 0);
	for (int i = 0; i < RIG_INSTANCES; i++)
		unlink(r->endpoint[i] + strlen("ipc://"));
	snprintf(path, sizeof(path), "%s/run", r->dir);
	rmdir(path);
	rmdir(r->dir);
}

/* What is open cannot be closed from here, and the loop would not end without. */
static inline void rig_stuck(const char *file, int line, const char *cond)
{
	fprintf(stderr, "%s:%d: not reached: %s\n", file, line, cond);
	abort();
}

/* Turn the loop until cond holds; fail the test when it does not in time. */
#define RIG_UNTIL(r, cond) \
	do { \
		uint64_t end_ = clock_mono_ms() + RIG_WAIT_MS; \
		while (!(cond)) { \
			if (clock_mono_ms() > end_) \
				rig_stuck(__FILE__, __LINE__, #cond); \
			uv_run(&(r)->loop, UV_RUN_ONCE); \
		} \
	} while (0)

#endif
