/* lib/worker_stat.h - what a worker tells of its own process
 *
 * Private to the worker: memory, descriptors, processor time, idle time of the
 * loop, reloads.  Read when /metrics is asked for, never in between.
 */
#ifndef LIB_WORKER_STAT_H
#define LIB_WORKER_STAT_H

#include <stdbool.h>
#include <uv.h>
#include "lib/metrics.h"

struct metric_set *worker_stat_new(struct metrics *m);

/* Set the gauges; loop was configured with UV_METRICS_IDLE_TIME. */
void worker_stat_collect(struct metric_set *s, uv_loop_t *loop);

void worker_stat_reloaded(struct metric_set *s, bool good);

#endif
