/* delivery/life.c - see life.h
 *
 * Closing is in two steps, because bus and store are closed after the stage and complete
 * what is open on the way: everything stays until the last session is gone.
 */
#include "delivery/finish.h"
#include "delivery/life.h"
#include "delivery/pool.h"
#include "delivery/queue.h"
#include "delivery/route.h"
#include "delivery/tally.h"
#include "lib/clock.h"
#include "lib/idmap.h"
#include "lib/log.h"
#include "lib/tls.h"

#define SWEEP_MS 1000

static bool routes_ok(const struct delivery_conf *conf)
{
	const char *bad = route_check(&conf->routes);

	if (bad != NULL)
		log_error("route-invalid", LOGS("route", bad));
	return bad == NULL;
}

static enum err open_strict(struct delivery *d)
{
	char why[256];
	enum err err = tls_client_verify_context(d->conf->tls_ca, &d->tls_strict, why);

	if (err != ERR_OK)
		log_error("tls-ca", LOGS("why", why));
	return err;
}

static enum err open_parts(struct delivery *d)
{
	struct resolve_conf rc = { .forwarder = d->conf->resolver,
		.wait_ms = d->conf->dns_wait_ms, .anchor = d->conf->dnssec_anchor,
		.allow_private = d->conf->allow_private };
	enum err err;

	if (!routes_ok(d->conf))
		return ERR_SYNTAX;
	err = resolver_open(d->stage->worker->loop, &rc, &d->resolver);
	if (err == ERR_OK && d->conf->starttls)
		err = tls_client_context(&d->tls);
	if (err == ERR_OK && d->conf->starttls)
		err = open_strict(d);
	if (err == ERR_OK)
		err = outbox_open(d->stage->kv, CF_OUTBOX, d->stage->bus, &d->outbox);
	if (err == ERR_OK)
		err = queue_count(d->queue);
	return err;
}

enum err delivery_open(struct stage *s)
{
	struct delivery *d = xcalloc(1, sizeof(*d));
	enum err err;

	s->state = d;
	d->stage = s;
	d->conf = s->worker->conf;
	d->notes = idmap_new();
	d->takes = idmap_new();
	d->jobs = idmap_new();
	d->tally = tally_new();
	d->pool = pool_new(d);
	d->queue = queue_new(d);
	err = open_parts(d);
	if (err != ERR_OK) {
		log_error("open", LOGE(err));
		delivery_close(s);
		return err;
	}
	log_info("queue", LOGU("parts", tally_parts(d->tally)),
	         LOGU("recipients", tally_recipients(d->tally)));
	return ERR_OK;
}

void delivery_drain(struct stage *s)
{
	struct delivery *d = s->state;

	d->draining = true;
	pool_drain(d->pool);
}

bool delivery_busy(struct stage *s)
{
	const struct delivery *d = s->state;

	return d->pool->in_flight > 0 || finish_pending(d) > 0 || idmap_count(d->takes) > 0;
}

/* Runs when bus and store are closed too: what they completed on the way found us alive. */
static void free_all(uv_handle_t *h)
{
	struct delivery *d = h->data;

	queue_free(&d->queue);
	pool_free(&d->pool);
	tally_free(&d->tally);
	tls_context_free(&d->tls);
	tls_context_free(&d->tls_strict);
	idmap_free(&d->notes);
	idmap_free(&d->takes);
	idmap_free(&d->jobs);
	xfree(d);
}

static void when_sessions_are_gone(uv_prepare_t *h)
{
	struct delivery *d = h->data;

	if (TAILQ_EMPTY(&d->pool->all))
		uv_close((uv_handle_t *)h, free_all);
}

void delivery_close(struct stage *s)
{
	struct delivery *d = s->state;

	d->draining = true;
	pool_abort(d->pool);
	resolver_close(&d->resolver);
	outbox_close(&d->outbox);
	uv_prepare_init(s->worker->loop, &d->last);
	d->last.data = d;
	uv_prepare_start(&d->last, when_sessions_are_gone);
}

void delivery_tick(struct stage *s, uint64_t wall_ms)
{
	struct delivery *d = s->state;
	uint64_t mono_ms = clock_mono_ms();
	struct kv_stats ks;

	kv_stats_get(s->kv, &ks);
	d->stalled = ks.stalled || ks.failed;
	outbox_tick(d->outbox);
	resolver_tick(d->resolver, mono_ms);
	pool_tick(d->pool, mono_ms);
	queue_scan(d->queue, wall_ms);
	if (wall_ms - d->swept_ms >= SWEEP_MS) {
		d->swept_ms = wall_ms;
		queue_sweep(d->queue, wall_ms);
	}
}

void delivery_collect(struct stage *s)
{
	const struct delivery *d = s->state;
	struct metric_set *m = s->metrics;
	uint64_t now = clock_wall_ms(), oldest = d->queue->oldest_ms;

	metric_gauge(m, DM_DEPTH, (double)tally_parts(d->tally));
	metric_gauge(m, DM_RECIPIENTS, (double)tally_recipients(d->tally));
	metric_gauge(m, DM_OLDEST_AGE,
	             oldest > 0 && oldest < now ? (double)(now - oldest) / 1e3 : 0);
	metric_gauge(m, DM_ACTIVE, d->queue->n_active);
	metric_gauge(m, DM_ACTIVE_BYTES, (double)d->queue->active_bytes);
	metric_gauge(m, DM_OPEN_CONNECTIONS, d->pool->n_sessions);
	metric_gauge(m, DM_IN_FLIGHT, d->pool->in_flight);
	metric_gauge(m, DM_UNSENT_EVENTS, (double)outbox_unsent(d->outbox));
}

bool delivery_ready(struct stage *s)
{
	const struct delivery *d = s->state;

	return !d->draining && !d->stalled;
}

enum err delivery_reload(struct stage *s, const void *conf)
{
	struct delivery *d = s->state;

	if (!routes_ok(conf))
		return ERR_SYNTAX;
	d->conf = conf;
	return ERR_OK;
}
