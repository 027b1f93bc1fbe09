/* tests/unit/policy_rig.h - policy's state over a real store, without bus and outbox */
#ifndef TESTS_UNIT_POLICY_RIG_H
#define TESTS_UNIT_POLICY_RIG_H

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
#include "lib/mem.h"
#include "policy/policy.h"

#define RIG_NOW 1795512000000ull /* 2026-11-24 09:20:00 UTC */
#define HOUR_MS 3600000ull

struct policy_rig {
	uv_loop_t loop;
	char dir[64];
	struct metrics *metrics;
	struct stage stage;
	struct policy p;
};

static const char *const rig_labels[] = { "0", "1", "2", "3", "4", "5", "6", "7", "8", NULL };
#define COUNT(m) [m] = { "m" #m, METRIC_COUNTER, "h", NULL, NULL }
#define LABELS(m) [m] = { "m" #m, METRIC_COUNTER, "h", "l", rig_labels }
static const struct metric_def rig_metrics[] = {
	LABELS(PM_VERDICTS), LABELS(PM_EVENTS), COUNT(PM_EVENTS_REPEATED), LABELS(PM_BOUNCES),
	COUNT(PM_LISTED), COUNT(PM_LOGIN_UNKNOWN), COUNT(PM_ACCOUNTS), COUNT(PM_RESERVATIONS),
	COUNT(PM_RESERVATIONS_EXPIRED), COUNT(PM_BLOCK_UNREACHABLE), COUNT(PM_SYSTEM_ENTRIES),
	COUNT(PM_UNSENT), COUNT(PM_IN_FLIGHT), COUNT(PM_RATE_LIMITED), { .name = NULL },
};

/* Open the store and load everything, as policy_open() does. */
static inline void rig_open(struct policy_rig *r)
{
	static const struct kv_conf conf = {
		.cache_bytes = 4 << 20, .write_buffer_bytes = 4 << 20,
		.batch_bytes = 1 << 20, .pending_bytes = 4 << 20,
	};
	size_t n = 0;

	while (policy_cfs[n].name != NULL)
		n++;
	memset(&r->p, 0, sizeof(r->p));
	TAILQ_INIT(&r->p.unsynced_by_batch);
	TAILQ_INIT(&r->p.rated_by_age);
	assert_int_equal(kv_open(&r->loop, r->dir, policy_cfs, n, &conf, &r->p.kv), ERR_OK);
	r->stage.metrics = metric_set_new(r->metrics, rig_metrics);
	r->p.stage = &r->stage;
	r->p.conf = (struct policy_conf){
		.quota_defer_ms = 24 * HOUR_MS, .soft_limit = 3, .reservation_ttl_ms = HOUR_MS,
		.reservations_max = 100, .accounts_max = 10, .sources_max = 3,
	};
	assert_int_equal(credential_open(&r->p), ERR_OK);
	assert_int_equal(accounts_load(&r->p), ERR_OK);
	assert_int_equal(reserve_load(&r->p), ERR_OK);
	assert_int_equal(sources_load(&r->p), ERR_OK);
	r->p.system_entries = store_u64_get(r->p.kv, CF_SYS, "system_entries", 14);
}

static inline void rig_close(struct policy_rig *r)
{
	reserve_free(&r->p);
	rated_free(&r->p);
	sources_free(&r->p);
	apply_free(&r->p);
	unsynced_free(&r->p);
	accounts_free(&r->p);
	kv_close(&r->p.kv);
	uv_run(&r->loop, UV_RUN_DEFAULT);
	metrics_free(&r->metrics);
	r->metrics = metrics_new("policy", "policy-1");
}

/* As after a restart. */
static inline void rig_reopen(struct policy_rig *r)
{
	rig_close(r);
	rig_open(r);
}

static inline int rig_setup(void **state)
{
	struct policy_rig *r = xcalloc(1, sizeof(*r));

	snprintf(r->dir, sizeof(r->dir), "/tmp/hf-policy-XXXXXX");
	assert_non_null(mkdtemp(r->dir));
	assert_int_equal(uv_loop_init(&r->loop), 0);
	r->metrics = metrics_new("policy", "policy-1");
	rig_open(r);
	*state = r;
	return 0;
}

static inline int rig_teardown(void **state)
{
	struct policy_rig *r = *state;
	pid_t pid;

	rig_close(r);
	metrics_free(&r->metrics);
	assert_int_equal(uv_loop_close(&r->loop), 0);
	pid = fork();
	if (pid == 0) {
		execl("/bin/rm", "rm", "-rf", r->dir, (char *)NULL);
		_exit(127);
	}
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	xfree(r);
	return 0;
}

static bool rig_written;

static inline void rig_done(enum err err, void *owner, uint64_t id)
{
	assert_int_equal(err, ERR_OK);
	rig_written = true;
}

/* Write a batch and wait for its sync. */
static inline void rig_write(struct policy_rig *r, struct kv_batch **b)
{
	rig_written = false;
	kv_write(r->p.kv, b, rig_done, r, 0);
	while (!rig_written)
		uv_run(&r->loop, UV_RUN_ONCE);
}

static inline struct account *rig_account(struct policy_rig *r, const char *name,
                                          Holdfast__AccountState state, uint64_t quota_total)
{
	Holdfast__Account a = HOLDFAST__ACCOUNT__INIT;
	Holdfast__AccountPut put = HOLDFAST__ACCOUNT_PUT__INIT;
	ProtobufCBinaryData set[2] = { pb_str("state"), pb_str("quota_total") };
	struct kv_batch *b = kv_batch_new();
	const char *text = "";

	a.name = pb_str(name);
	a.state = state;
	a.quota_total = quota_total;
	put.account = &a;
	put.create = true;
	put.set = set;
	put.n_set = 2;
	put.by = pb_str("test");
	assert_int_equal(accounts_put(&r->p, &put, RIG_NOW, b, &text), HOLDFAST__DONE__RESULT__OK);
	rig_write(r, &b);
	return accounts_find(&r->p, pb_str(name));
}

static inline void rig_id(uint8_t id[UUID_LEN], uint8_t n)
{
	memset(id, 0, UUID_LEN);
	id[UUID_LEN - 1] = n;
}

#endif
