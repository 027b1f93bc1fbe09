/* tests/unit/holdq_rig.h - the whole stage on a real store and a fake bus
 *
 * rig_restart() is a crash between two syncs as the store sees it: what was written is
 * there, what was asked is forgotten.
 */
#ifndef TESTS_UNIT_HOLDQ_RIG_H
#define TESTS_UNIT_HOLDQ_RIG_H

#include "tests/unit/fake_bus.h"

#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>
#include "holdq/holdq.h"
#include "lib/clock.h"
#include "lib/log.h"

static const struct metric_def rig_metrics[HM_CORRUPT + 2] = {
	[HM_HELD] = { "a", METRIC_COUNTER, "", NULL, NULL },
	[HM_REPEATED] = { "b", METRIC_COUNTER, "", NULL, NULL },
	[HM_REFUSED] = { "c", METRIC_COUNTER, "", NULL, NULL },
	[HM_DECIDED] = { "d", METRIC_COUNTER, "", "result", plan_result_names },
	[HM_HANDED_OVER] = { "e", METRIC_COUNTER, "", NULL, NULL },
	[HM_HANDOVER_RETRIES] = { "f", METRIC_COUNTER, "", NULL, NULL },
	[HM_DEPTH] = { "g", METRIC_GAUGE, "", NULL, NULL },
	[HM_RECIPIENTS] = { "h", METRIC_GAUGE, "", NULL, NULL },
	[HM_OLDEST] = { "i", METRIC_GAUGE, "", NULL, NULL },
	[HM_UNSENT] = { "j", METRIC_GAUGE, "", NULL, NULL },
	[HM_IN_FLIGHT] = { "k", METRIC_GAUGE, "", NULL, NULL },
	[HM_CORRUPT] = { "l", METRIC_COUNTER, "", NULL, NULL },
};

struct rig {
	unsigned notify; /* NOTIFY= of what is handed in; with it goes all that DSN knows */
	uv_loop_t loop;
	char dir[64];
	struct common_conf common;
	struct worker_instance self;
	struct worker worker;
	struct holdq_conf conf;
	struct stage stage;
	uint64_t calls;
};

static inline struct holdq *rig_hq(struct rig *r)
{
	return r->stage.state;
}

/* The store keeps the loop running just while writes wait. */
static inline void rig_settle(struct rig *r)
{
	uv_run(&r->loop, UV_RUN_DEFAULT);
}

static inline void rig_open(struct rig *r)
{
	static const struct kv_conf kv = {
		.cache_bytes = 4 << 20, .write_buffer_bytes = 4 << 20, .batch_bytes = 1 << 20,
		.pending_bytes = 1 << 20,
	};
	size_t n = 0;

	while (held_cfs[n].name != NULL)
		n++;
	assert_int_equal(kv_open(&r->loop, r->dir, held_cfs, n, &kv, &r->stage.kv), ERR_OK);
	r->worker.metrics = metrics_new("holdq", "holdq-1");
	r->stage.metrics = metric_set_new(r->worker.metrics, rig_metrics);
	assert_int_equal(holdq_open(&r->stage), ERR_OK);
	rig_settle(r);
}

static inline void rig_close(struct rig *r)
{
	holdq_close(&r->stage);
	fake_close();
	kv_close(&r->stage.kv);
	metrics_free(&r->worker.metrics);
	rig_settle(r);
}

static inline void rig_restart(struct rig *r)
{
	rig_close(r);
	rig_open(r);
}

static inline int rig_setup(void **state)
{
	struct rig *r = xcalloc(1, sizeof(*r));

	log_open("test", LVL_ERROR, LOG_TEXT);
	(void)snprintf(r->dir, sizeof(r->dir), "/tmp/hf-holdq-XXXXXX");
	assert_non_null(mkdtemp(r->dir));
	assert_int_equal(uv_loop_init(&r->loop), 0);
	r->common.hostname = (char *)"relay.test";
	r->self.name = (char *)"holdq-1";
	r->conf = (struct holdq_conf){
		.recheck_wait_ms = 1000, .rechecks = 4, .handover_wait_ms = 1000, .handovers = 4,
		.handover_bytes = 1 << 20, .retry_min_ms = 1, .retry_max_ms = 1, .decisions = 4,
		.accepts = 16, .mark_keep_ms = 60000,
	};
	r->worker = (struct worker){ .loop = &r->loop, .common = &r->common, .self = &r->self,
	                             .conf = &r->conf };
	r->stage = (struct stage){ .worker = &r->worker, .started_ms = 1 };
	rig_open(r);
	*state = r;
	return 0;
}

static inline int rig_teardown(void **state)
{
	struct rig *r = *state;
	int status;
	pid_t pid;

	rig_close(r);
	assert_int_equal(uv_loop_close(&r->loop), 0);
	pid = fork();
	if (pid == 0) {
		execl("/bin/rm", "rm", "-rf", r->dir, (char *)NULL);
		_exit(127);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	xfree(r);
	return 0;
}

/* ---- questions */

static inline struct bus_from rig_from(struct rig *r)
{
	return (struct bus_from){ .call = ++r->calls };
}

/* An id that stands for n. */
static inline struct uuid rig_id(unsigned n)
{
	struct uuid u = { { 1, 2, 3, (uint8_t)(n >> 8), (uint8_t)n } };

	return u;
}

/* Hand off mail n of account to the addresses (NULL-ended, at most 8); the call's number. */
static inline uint64_t rig_handoff(struct rig *r, unsigned n, const char *account,
                                   const char *const *rcpts)
{
	struct bus_from from = rig_from(r);
	struct uuid id = rig_id(n);
	Holdfast__Frame f = HOLDFAST__FRAME__INIT;
	Holdfast__Handoff ho = HOLDFAST__HANDOFF__INIT;
	Holdfast__Envelope e = HOLDFAST__ENVELOPE__INIT;
	Holdfast__Recipient rc[8], *ptr[8];
	struct blob *body = blob_copy("Subject: hi\r\n\r\ntext\r\n", 21);

	for (; rcpts[e.n_rcpt] != NULL; e.n_rcpt++) {
		holdfast__recipient__init(&rc[e.n_rcpt]);
		rc[e.n_rcpt].index = (uint32_t)e.n_rcpt;
		rc[e.n_rcpt].address = pb_str(rcpts[e.n_rcpt]);
		rc[e.n_rcpt].notify = r->notify;
		rc[e.n_rcpt].orcpt = pb_str(r->notify != 0 ? "rfc822;o@z.test" : "");
		ptr[e.n_rcpt] = &rc[e.n_rcpt];
	}
	e.envid = pb_str(r->notify != 0 ? "QQ1" : "");
	e.ret = r->notify != 0 ? HOLDFAST__DSN_RET__RET_FULL : HOLDFAST__DSN_RET__RET_NONE;
	e.utf8 = e.require_tls = r->notify != 0;
	e.message_id = pb_bytes(id.b, UUID_LEN);
	e.account = pb_str(account);
	e.mail_from = pb_str("boss@shop.test");
	e.subject = pb_str("Autumn offer");
	e.rcpt = ptr;
	e.size = body->len;
	e.hold = HOLDFAST__HOLD_REASON__HOLD_NEW_ACCOUNT;
	ho.envelope = &e;
	f.body_case = HOLDFAST__FRAME__BODY_HANDOFF;
	f.handoff = &ho;
	accept_handoff(&r->stage, &from, &f, body);
	blob_unref(&body);
	return from.call;
}

static inline uint64_t rig_decide(struct rig *r, unsigned n, Holdfast__Decision what)
{
	struct bus_from from = rig_from(r);
	struct uuid id = rig_id(n);
	ProtobufCBinaryData ids = pb_bytes(id.b, UUID_LEN);
	Holdfast__Frame f = HOLDFAST__FRAME__INIT;
	Holdfast__HeldFilter filter = HOLDFAST__HELD_FILTER__INIT;
	Holdfast__HeldDecide q = HOLDFAST__HELD_DECIDE__INIT;

	filter.message_id = &ids;
	filter.n_message_id = 1;
	q.decision = what;
	q.filter = &filter;
	q.by = pb_str("alice");
	q.reason = pb_str("looks bad");
	f.body_case = HOLDFAST__FRAME__BODY_HELD_DECIDE;
	f.held_decide = &q;
	decide_ask(&r->stage, &from, &f, NULL);
	return from.call;
}

/* ---- answers of others */

/* Answer the oldest recheck: the account's class, and OK for each recipient but those of
 * the mask. */
static inline void rig_recheck(Holdfast__VerdictClass account, unsigned listed_mask)
{
	struct fake_ask *a = fake_open(HOLDFAST__FRAME__BODY_RECHECK_QUERY);
	Holdfast__Frame f = HOLDFAST__FRAME__INIT;
	Holdfast__RecheckAnswer m = HOLDFAST__RECHECK_ANSWER__INIT;
	Holdfast__Verdict acc = HOLDFAST__VERDICT__INIT, v[8], *ptr[8];

	assert_non_null(a);
	acc.class_ = account;
	acc.cannot = HOLDFAST__CANNOT_SEND__CANNOT_DISABLED;
	m.account = &acc;
	for (; m.n_rcpt < a->frame->recheck_query->n_key; m.n_rcpt++) {
		holdfast__verdict__init(&v[m.n_rcpt]);
		if (listed_mask & 1u << m.n_rcpt)
			v[m.n_rcpt].class_ = HOLDFAST__VERDICT_CLASS__VERDICT_UNSUBSCRIBE;
		ptr[m.n_rcpt] = &v[m.n_rcpt];
	}
	m.rcpt = ptr;
	f.body_case = HOLDFAST__FRAME__BODY_RECHECK_ANSWER;
	f.recheck_answer = &m;
	fake_reply(a, ERR_OK, &f);
}

/* Give the receipt for the oldest hand-over. */
static inline void rig_custody(void)
{
	struct fake_ask *a = fake_open(HOLDFAST__FRAME__BODY_HANDOFF);
	Holdfast__Frame f = HOLDFAST__FRAME__INIT;
	Holdfast__Custody c = HOLDFAST__CUSTODY__INIT;

	assert_non_null(a);
	c.message_id = a->frame->handoff->envelope->message_id;
	c.part = a->frame->handoff->envelope->part;
	f.body_case = HOLDFAST__FRAME__BODY_CUSTODY;
	f.custody = &c;
	fake_reply(a, ERR_OK, &f);
}

static inline struct fake_answer *rig_answer(uint64_t call)
{
	for (size_t i = 0; i < fake.n_answer; i++)
		if (fake.answer[i].call == call)
			return &fake.answer[i];
	return NULL;
}

/* The result of the one mail of a decision; NULL: not answered yet. */
static inline const char *rig_result(uint64_t call)
{
	static char text[32];
	struct fake_answer *a = rig_answer(call);
	ProtobufCBinaryData d;

	if (a == NULL || a->frame == NULL)
		return NULL;
	assert_int_equal(a->frame->held_decided->n_mail, 1);
	d = a->frame->held_decided->mail[0]->result;
	(void)snprintf(text, sizeof(text), "%.*s", (int)d.len, (const char *)d.data);
	return text;
}

#endif
