/* proto/stage.c - the parts that every stage has: store, bus, the stage itself
 *
 * One process has one stage, so its parts find it in `run`.  Watches the store: a stalled or
 * full one is granted no bodies, a failed one ends the process a tick later, when its
 * refusals have gone out.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sysexits.h>
#include "lib/clock.h"
#include "lib/log.h"
#include "lib/mem.h"
#include "proto/stage.h"

enum {
	ST_PENDING, ST_PENDING_BYTES, ST_SYNCS, ST_BATCHES, ST_RECORDS, ST_PER_SYNC, ST_SYNC_TIME,
	ST_STALLED
};

static const struct metric_def kv_metric_defs[] = {
	[ST_PENDING] = { "store_pending_batches", METRIC_GAUGE,
	                 "Batches that wait for the writer" },
	[ST_PENDING_BYTES] = { "store_pending_bytes", METRIC_GAUGE,
	                       "Bytes that wait for the writer" },
	[ST_SYNCS] = { "store_syncs_total", METRIC_COUNTER, "Synced writes" },
	[ST_BATCHES] = { "store_batches_total", METRIC_COUNTER, "Batches written" },
	[ST_RECORDS] = { "store_records_total", METRIC_COUNTER, "Records written" },
	[ST_PER_SYNC] = { "store_records_per_sync", METRIC_HISTOGRAM,
	                  "Records in a synced write, mean of 100 ms" },
	[ST_SYNC_TIME] = { "store_sync_seconds", METRIC_HISTOGRAM,
	                   "Time of a synced write, the last of each 100 ms" },
	[ST_STALLED] = { "store_stalled", METRIC_GAUGE,
	                 "1 while the store slows writes or is full" },
	{ NULL }
};

static struct run {
	struct stage stage;
	const struct stage_spec *spec;
	struct metric_set *kv_metrics;
	struct kv_stats last;
	bool failed;
} run;

/* ---- the store ---- */

static enum err make_dir(const char *path)
{
	if (mkdir(path, 0700) == 0 || errno == EEXIST)
		return ERR_OK;
	log_error("store-directory", LOGS("path", path), LOGS("why", strerror(errno)));
	return ERR_IO;
}

static enum err store_open(struct worker *w, void *arg)
{
	const struct common_conf *c = w->common;
	const struct kv_conf conf = {
		.cache_bytes = c->kv_cache_bytes, .write_buffer_bytes = c->kv_write_buffer_bytes,
		.batch_bytes = c->kv_batch_bytes, .pending_bytes = c->kv_pending_bytes,
	};
	char *dir = xasprintf("%s/%s", c->data_dir, w->self->name);
	size_t n = 0;
	enum err err;

	run.stage.worker = w;
	run.stage.started_ms = clock_wall_ms();
	while (run.spec->cfs[n].name != NULL)
		n++;
	err = make_dir(c->data_dir);
	if (err == ERR_OK)
		err = make_dir(dir);
	if (err == ERR_OK)
		err = kv_open(w->loop, dir, run.spec->cfs, n, &conf, &run.stage.kv);
	if (err == ERR_OK)
		run.kv_metrics = metric_set_new(w->metrics, kv_metric_defs);
	xfree(dir);
	return err;
}

static void count_store(const struct kv_stats *now)
{
	const struct kv_stats *last = &run.last;
	uint64_t syncs = now->syncs - last->syncs;

	metric_add(run.kv_metrics, ST_SYNCS, syncs);
	metric_add(run.kv_metrics, ST_BATCHES, now->batches - last->batches);
	metric_add(run.kv_metrics, ST_RECORDS, now->records - last->records);
	if (syncs > 0) {
		metric_observe(run.kv_metrics, ST_PER_SYNC,
		               (double)(now->records - last->records) / (double)syncs);
		metric_observe(run.kv_metrics, ST_SYNC_TIME, (double)now->last_sync_us / 1e6);
	}
	run.last = *now;
}

static void store_tick(void *arg, uint64_t wall_ms)
{
	struct kv_stats now;

	kv_stats_get(run.stage.kv, &now);
	count_store(&now);
	if (now.failed && run.failed)
		worker_fail(run.stage.worker, EX_IOERR, "the store failed");
	run.failed = now.failed;
	if (run.stage.bus != NULL)
		bus_grant(run.stage.bus, !now.stalled && !now.failed && !kv_full(run.stage.kv));
}

static bool store_busy(void *arg)
{
	struct kv_stats now;

	kv_stats_get(run.stage.kv, &now);
	return now.pending_batches > 0 && !now.failed;
}

static void store_collect(void *arg)
{
	struct kv_stats now;

	kv_stats_get(run.stage.kv, &now);
	count_store(&now);
	metric_gauge(run.kv_metrics, ST_PENDING, (double)now.pending_batches);
	metric_gauge(run.kv_metrics, ST_PENDING_BYTES, (double)now.pending_bytes);
	metric_gauge(run.kv_metrics, ST_STALLED, now.stalled || kv_full(run.stage.kv));
}

static bool store_ready(void *arg)
{
	struct kv_stats now;

	kv_stats_get(run.stage.kv, &now);
	return !now.failed && !now.stalled && !kv_full(run.stage.kv);
}

static void store_close(void *arg)
{
	kv_close(&run.stage.kv);
}

/* ---- the bus ---- */

static enum err part_bus_open(struct worker *w, void *arg)
{
	const struct bus_conf conf = {
		.common = w->common, .role = run.spec->role, .instance = w->self->name,
		.bind = w->self->bus, .asks = run.spec->asks, .handlers = run.spec->handlers,
		.peer = run.spec->peer, .state = &run.stage, .metrics = w->metrics,
	};

	return bus_open(w->loop, &conf, &run.stage.bus);
}

static void part_bus_close(void *arg)
{
	bus_close(&run.stage.bus);
}

/* ---- the stage ---- */

static enum err part_stage_open(struct worker *w, void *arg)
{
	if (run.spec->metrics != NULL)
		run.stage.metrics = metric_set_new(w->metrics, run.spec->metrics);
	return run.spec->open(&run.stage);
}

static void part_stage_drain(void *arg)
{
	if (run.spec->drain != NULL)
		run.spec->drain(&run.stage);
}

static bool part_stage_busy(void *arg)
{
	return run.spec->busy != NULL && run.spec->busy(&run.stage);
}

static void part_stage_close(void *arg)
{
	if (run.spec->close != NULL)
		run.spec->close(&run.stage);
}

static void part_stage_tick(void *arg, uint64_t wall_ms)
{
	if (run.spec->tick != NULL)
		run.spec->tick(&run.stage, wall_ms);
}

static void part_stage_collect(void *arg)
{
	if (run.spec->collect != NULL)
		run.spec->collect(&run.stage);
}

static bool part_stage_ready(void *arg)
{
	return run.spec->ready == NULL || run.spec->ready(&run.stage);
}

static enum err part_stage_reload(void *arg, const void *conf)
{
	return run.spec->reload == NULL ? ERR_OK : run.spec->reload(&run.stage, conf);
}

int stage_main(const struct stage_spec *spec, int argc, char **argv)
{
	static const struct worker_part parts[] = {
		{ .name = "store", .open = store_open, .busy = store_busy, .close = store_close,
		  .tick = store_tick, .collect = store_collect, .ready = store_ready },
		{ .name = "bus", .open = part_bus_open, .close = part_bus_close },
		{ .name = "stage", .open = part_stage_open, .drain = part_stage_drain,
		  .busy = part_stage_busy, .close = part_stage_close, .tick = part_stage_tick,
		  .collect = part_stage_collect, .ready = part_stage_ready,
		  .reload = part_stage_reload },
		{ .name = NULL },
	};
	const struct worker_spec worker = {
		.stage = spec->name, .description = spec->description, .params = spec->params,
		.conf_size = spec->conf_size, .parts = parts,
	};

	run.spec = spec;
	return worker_main(&worker, argc, argv);
}
