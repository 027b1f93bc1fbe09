/* tests/unit/delivery_rig.h - a delivery stage without its main(): loop, store, bus, state
 *
 * The bus binds and connects to a policy that need not be there.  The loop is
 * turned until a condition holds or a deadline passes; nothing sleeps to let something happen.
 */
#ifndef TESTS_UNIT_DELIVERY_RIG_H
#define TESTS_UNIT_DELIVERY_RIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>
#include "delivery/accept.h"
#include "delivery/finish.h"
#include "delivery/life.h"
#include "delivery/pool.h"
#include "delivery/queue.h"
#include "delivery/store.h"
#include "delivery/tally.h"
#include "lib/clock.h"
#include "lib/log.h"

#define RIG_WAIT_MS 20000

struct rig {
	uv_loop_t loop;
	uv_timer_t pulse; /* ticks the stage, and returns from uv_run() for a look */
	char dir[64], bind[128], policy_bind[128];
	char name[2][16], hostname[16]; /* texts of the configuration, which owns its own */
	struct worker_instance row[2];
	struct common_conf common;
	struct delivery_conf conf;
	struct worker worker;
	struct stage stage;
	struct delivery *d;
	bool ticking;
};

/* As in main.c; the tests need the names of none. */
static const char *const rig_labels[] = { "0", "1", "2", "3", "4", "5", "6", NULL };
static struct metric_def rig_metrics[DM_DELAY + 2];

static inline void rig_remove_tree(const char *dir)
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		execl("/bin/rm", "rm", "-rf", dir, (char *)NULL);
		_exit(127);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static inline void rig_pulse(uv_timer_t *t)
{
	struct rig *r = t->data;

	if (r->ticking)
		delivery_tick(&r->stage, clock_wall_ms());
}

static inline struct delivery_conf rig_conf(void)
{
	static char empty[] = "";

	return (struct delivery_conf){
		.resolver = empty, .smtp_port = 25, .allow_private = true,
		.tls_ca = empty, .dnssec_anchor = empty, .report_message_bytes = 65536,
		.delay_notice_ms = 3600000,
		.active_messages = 1000, .active_bytes = 1 << 24, .destination_active = 1000,
		.destination_connections = 4, .total_connections = 16,
		.connection_messages = 100, .connection_idle_ms = 1000,
		.destination_pause_ms = 60000, .transaction_recipients = 100,
		.retry_min_ms = 300000, .retry_factor = 2, .retry_max_ms = 3600000,
		.expire_ms = 86400000, .recheck_age_ms = 30000, .recheck_wait_ms = 2000,
		.recheck_later_ms = 10000, .account_later_ms = 10000, .taken_memory_ms = 3600000,
		.dns_wait_ms = 2000, .connect_wait_ms = 5000, .greeting_wait_ms = 5000,
		.command_wait_ms = 5000, .tls_wait_ms = 5000, .data_wait_ms = 5000,
		.body_wait_ms = 5000, .end_wait_ms = 5000, .quit_wait_ms = 1000,
	};
}

static inline void rig_start(struct rig *r)
{
	static const struct kv_conf kc = { .cache_bytes = 4 << 20,
		.write_buffer_bytes = 8 << 20, .batch_bytes = 1 << 20, .pending_bytes = 64 << 20 };
	struct bus_conf bc = { .common = &r->common, .role = HOLDFAST__ROLE__ROLE_DELIVERY,
		.instance = "delivery-1", .bind = r->bind,
		.asks = BUS_ROLE(HOLDFAST__ROLE__ROLE_POLICY), .state = &r->stage };

	r->stage = (struct stage){ .worker = &r->worker, .started_ms = clock_wall_ms() };
	r->worker.metrics = metrics_new("delivery", "delivery-1");
	r->stage.metrics = metric_set_new(r->worker.metrics, rig_metrics);
	assert_int_equal(kv_open(&r->loop, r->dir, store_cfs, 5, &kc, &r->stage.kv), ERR_OK);
	assert_int_equal(bus_open(&r->loop, &bc, &r->stage.bus), ERR_OK);
	if (delivery_open(&r->stage) != ERR_OK)
		_exit(2); /* nothing that a teardown could take down */
	r->d = r->stage.state;
	r->ticking = true;
}

static inline void rig_stop(struct rig *r)
{
	r->ticking = false;
	delivery_close(&r->stage);
	bus_close(&r->stage.bus);
	kv_close(&r->stage.kv);
	r->d = NULL;
	uv_timer_stop(&r->pulse);
	while (uv_run(&r->loop, UV_RUN_DEFAULT) != 0)
		continue;
	metrics_free(&r->worker.metrics);
	uv_timer_start(&r->pulse, rig_pulse, 20, 20);
}

static inline int rig_setup(void **state)
{
	struct rig *r = xcalloc(1, sizeof(*r));

	for (unsigned i = 0; i <= DM_DELAY; i++)
		rig_metrics[i] = (struct metric_def){ "m", METRIC_GAUGE, "m", NULL, NULL };
	for (unsigned i = 0; i <= DM_REQUIRETLS_PASSED_OVER; i++)
		rig_metrics[i].kind = METRIC_COUNTER;
	rig_metrics[DM_DELAY].kind = METRIC_HISTOGRAM;
	rig_metrics[DM_OUTCOMES].label = "class";
	rig_metrics[DM_OUTCOMES].label_values = rig_labels;
	strncpy(r->dir, "/tmp/hf-dlv-XXXXXX", sizeof(r->dir) - 1);
	assert_non_null(mkdtemp(r->dir));
	snprintf(r->bind, sizeof(r->bind), "ipc://%s/run/d.bus", r->dir);
	snprintf(r->policy_bind, sizeof(r->policy_bind), "ipc://%s/run/p.bus", r->dir);
	snprintf(r->name[0], sizeof(r->name[0]), "delivery-1");
	snprintf(r->name[1], sizeof(r->name[1]), "policy-1");
	snprintf(r->hostname, sizeof(r->hostname), "relay.test");
	r->row[0] = (struct worker_instance){ r->name[0], 3, r->bind, NULL };
	r->row[1] = (struct worker_instance){ r->name[1], 1, r->policy_bind, NULL };
	r->common = (struct common_conf){ .hostname = r->hostname, .instances = { r->row, 2 },
		.bus_hello_interval_ms = 200, .bus_credit_messages = 64,
		.bus_credit_bytes = 1 << 20, .bus_waiting_asks = 64,
		.bus_frame_bytes = 64 * 1024, .bus_body_bytes = 4 << 20 };
	r->conf = rig_conf();
	r->worker = (struct worker){ .loop = &r->loop, .common = &r->common,
		.self = &r->row[0], .conf = &r->conf };
	assert_int_equal(uv_loop_init(&r->loop), 0);
	uv_timer_init(&r->loop, &r->pulse);
	r->pulse.data = r;
	uv_timer_start(&r->pulse, rig_pulse, 20, 20);
	*state = r;
	return 0;
}

static inline int rig_teardown(void **state)
{
	struct rig *r = *state;

	if (r->d != NULL)
		rig_stop(r);
	uv_close((uv_handle_t *)&r->pulse, NULL);
	assert_int_equal(uv_run(&r->loop, UV_RUN_DEFAULT), 0);
	assert_int_equal(uv_loop_close(&r->loop), 0);
	rig_remove_tree(r->dir);
	xfree(r);
	return 0;
}

/* Turn the loop until cond holds; fail when it does not in time. */
#define RIG_UNTIL(r, cond)                                                    \
	do {                                                                  \
		uint64_t end_ = clock_mono_ms() + RIG_WAIT_MS;                \
		while (!(cond)) {                                             \
			if (clock_mono_ms() > end_)                           \
				fail_msg("not in time: %s", #cond);           \
			uv_run(&(r)->loop, UV_RUN_ONCE);                      \
		}                                                             \
	} while (0)

/* An envelope of account "acme" for comma-separated recipients; borrowed texts. */
struct letter {
	Holdfast__Envelope env;
	Holdfast__Recipient rcpt[8], *list[8];
	char text[512];
	struct uuid id;
};

static inline void letter_make(struct letter *l, const char *rcpts, size_t body_len)
{
	char *save = NULL;
	uint32_t n = 0;

	holdfast__envelope__init(&l->env);
	snprintf(l->text, sizeof(l->text), "%s", rcpts);
	l->id = uuid_new(clock_wall_ms());
	for (char *p = strtok_r(l->text, ",", &save); p != NULL; p = strtok_r(NULL, ",", &save)) {
		holdfast__recipient__init(&l->rcpt[n]);
		l->rcpt[n].index = n;
		l->rcpt[n].address = pb_str(p);
		l->list[n] = &l->rcpt[n];
		n++;
	}
	l->env.message_id = pb_bytes(l->id.b, UUID_LEN);
	l->env.account = pb_str("acme");
	l->env.mail_from = pb_str("sender@acme.test");
	l->env.rcpt = l->list;
	l->env.n_rcpt = n;
	l->env.received_ms = clock_wall_ms();
	l->env.size = body_len;
	l->env.counted = true;
}

/* Hand l over as a giver on the bus would; the answer goes to nobody. */
static inline void rig_hand(struct rig *r, struct letter *l, const char *body)
{
	Holdfast__Frame f = HOLDFAST__FRAME__INIT;
	Holdfast__Handoff h = HOLDFAST__HANDOFF__INIT;
	struct bus_from from = { .rid = "nobody", .rid_len = 6, .call = 1 };
	struct blob *b = blob_copy(body, strlen(body));

	h.envelope = &l->env;
	f.body_case = HOLDFAST__FRAME__BODY_HANDOFF;
	f.handoff = &h;
	accept_handoff(&r->stage, &from, &f, b);
	blob_unref(&b);
}

#define IN_RIG(fn) cmocka_unit_test_setup_teardown(fn, rig_setup, rig_teardown)

#endif
