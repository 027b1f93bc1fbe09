/* holdq/life.c - the stage begins, goes on and ends
 *
 * At start the records are counted and the lanes are found; every 100 ms the outbox, the
 * hand-overs and the waiting decisions get their turn, and marks that are old enough are swept.
 */
#include "holdq/holdq.h"

#include <string.h>
#include "lib/log.h"

#define SWEEP_MAX   1000  /* marks in one go */
#define SWEEP_EVERY 10000 /* ms, when the last go left nothing */

static struct holdq the_holdq;

struct survey { struct holdq *hq; struct kv_batch *left; };

static bool count_one(void *arg, const struct held *h)
{
	struct survey *sv = arg;
	struct holdq *hq = sv->hq;
	int64_t rcpts = 0;

	if (h == NULL) {
		log_error("record-unreadable", LOGS("family", "meta"));
		metric_add(hq->stage->metrics, HM_CORRUPT, 1);
		return true;
	}
	if (h->state == HELD_WAITING)
		rcpts = (int64_t)plan_rcpts(h);
	for (size_t i = 0; h->state != HELD_WAITING && i < h->n_sub; i++)
		if (store_sub_waits(hq->stage->kv, h, i))
			rcpts += h->sub[i].n;
	/* killed between its last receipt and its end */
	if (rcpts == 0 && h->state != HELD_WAITING) {
		store_del(sv->left, h);
		return true;
	}
	count_add(hq->count, h->env->account.data, h->env->account.len, 1, rcpts);
	return true;
}

/* Count what is held, and end what delivery has all of. */
static enum err survey(struct holdq *hq)
{
	struct survey sv = { hq, kv_batch_new() };
	enum err err = store_each(hq->stage->kv, NULL, count_one, &sv);

	if (err != ERR_OK || kv_batch_empty(sv.left))
		kv_batch_free(&sv.left);
	else
		kv_write(hq->stage->kv, &sv.left, NULL, NULL, 0);
	return err;
}

enum err holdq_open(struct stage *s)
{
	struct holdq *hq = &the_holdq;
	enum err err;

	memset(hq, 0, sizeof(*hq));
	hq->stage = s;
	hq->conf = s->worker->conf;
	hq->granted = true;
	hq->count = count_new();
	hq->decide = decide_new(hq);
	hq->handover = handover_new(hq);
	s->state = hq;
	err = audit_open(s->kv, &hq->audit);
	if (err == ERR_CORRUPT)
		log_error("audit-broken", LOGS("what", "the last act does not fit the chain"));
	if (err == ERR_OK)
		err = outbox_open(s->kv, CF_OUTBOX, s->bus, &hq->outbox);
	if (err == ERR_OK)
		err = survey(hq);
	if (err == ERR_OK)
		err = handover_start(hq->handover);
	if (err == ERR_OK)
		log_info("opened", LOGU("held", count_mails(hq->count)),
		         LOGU("recipients", count_rcpts(hq->count)));
	else
		log_error("open-failed", LOGE(err));
	return err;
}

void holdq_drain(struct stage *s)
{
	((struct holdq *)s->state)->draining = true;
}

bool holdq_busy(struct stage *s)
{
	struct holdq *hq = s->state;

	return accept_in_flight(hq) + decide_in_flight(hq->decide) +
	       handover_in_flight(hq->handover) > 0;
}

void holdq_close(struct stage *s)
{
	struct holdq *hq = s->state;

	if (hq == NULL)
		return;
	hq->closed = true;
	accept_close(hq);
	decide_free(&hq->decide);
	handover_free(&hq->handover);
	outbox_close(&hq->outbox);
	audit_close(&hq->audit);
	count_free(&hq->count);
}

static void sweep(struct holdq *hq, uint64_t wall_ms, uint64_t mono_ms)
{
	struct kv_batch *b;
	size_t n;

	if (mono_ms < hq->sweep_due_ms || wall_ms < hq->conf->mark_keep_ms)
		return;
	b = kv_batch_new();
	n = store_mark_sweep(hq->stage->kv, b, wall_ms - hq->conf->mark_keep_ms, SWEEP_MAX,
	                     &hq->swept);
	if (n > 0)
		kv_write_lazy(hq->stage->kv, &b);
	else
		kv_batch_free(&b);
	hq->sweep_due_ms = n == SWEEP_MAX ? mono_ms : mono_ms + SWEEP_EVERY;
}

/* A stalled or full store grants no credit. */
static void grant(struct holdq *hq)
{
	struct kv_stats st;
	bool open;

	kv_stats_get(hq->stage->kv, &st);
	open = !hq->draining && !st.stalled && !st.failed && !kv_full(hq->stage->kv);
	if (open != hq->granted)
		bus_grant(hq->stage->bus, open);
	hq->granted = open;
}

void holdq_tick(struct stage *s, uint64_t wall_ms)
{
	struct holdq *hq = s->state;
	uint64_t mono_ms = clock_mono_ms();

	outbox_tick(hq->outbox);
	grant(hq);
	decide_pump(hq->decide);
	handover_tick(hq->handover, mono_ms);
	sweep(hq, wall_ms, mono_ms);
}

/* The cursor stays where it was while nothing is held: what was deleted is not read again. */
uint64_t holdq_oldest(struct holdq *hq)
{
	uint64_t ms = store_oldest(hq->stage->kv, hq->oldest_from_ms);

	if (ms != 0)
		hq->oldest_from_ms = ms;
	return ms;
}

void holdq_collect(struct stage *s)
{
	struct holdq *hq = s->state;
	uint64_t now = clock_wall_ms();
	uint64_t oldest = holdq_oldest(hq);

	metric_gauge(s->metrics, HM_DEPTH, (double)count_mails(hq->count));
	metric_gauge(s->metrics, HM_RECIPIENTS, (double)count_rcpts(hq->count));
	metric_gauge(s->metrics, HM_OLDEST,
	             oldest == 0 || now < oldest ? 0 : (double)(now - oldest) / 1000);
	metric_gauge(s->metrics, HM_UNSENT, (double)outbox_unsent(hq->outbox));
	metric_gauge(s->metrics, HM_IN_FLIGHT,
	             (double)(accept_in_flight(hq) + decide_in_flight(hq->decide) +
	                      handover_in_flight(hq->handover)));
}

bool holdq_ready(struct stage *s)
{
	return ((struct holdq *)s->state)->granted;
}

enum err holdq_reload(struct stage *s, const void *conf)
{
	((struct holdq *)s->state)->conf = conf;
	return ERR_OK;
}
