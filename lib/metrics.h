/* lib/metrics.h - counters, gauges and histograms, served as Prometheus text
 *
 * A module declares its metrics as a table and keeps the set it gets; adding
 * is one array access.  Names get the prefix "holdfast_" and the labels
 * stage="..." and instance="..."; units and _total follow Prometheus' conventions.
 * One thread (the loop's).
 */
#ifndef LIB_METRICS_H
#define LIB_METRICS_H

#include <stddef.h>
#include <stdint.h>
#include "lib/buf.h"

enum metric_kind { METRIC_COUNTER, METRIC_GAUGE, METRIC_HISTOGRAM };

struct metric_def {
	const char *name; /* without prefix; NULL ends a table */
	enum metric_kind kind;
	const char *help;
	const char *label;               /* NULL: one series */
	const char *const *label_values; /* NULL-ended: one series each */
};

struct metrics;
struct metric_set;

struct metrics *metrics_new(const char *stage, const char *instance);
void metrics_free(struct metrics **m); /* frees all its sets */

/* The table is borrowed for the life of m. */
struct metric_set *metric_set_new(struct metrics *m, const struct metric_def *defs);

void metric_add(struct metric_set *s, unsigned idx, uint64_t n);          /* counter */
void metric_add_label(struct metric_set *s, unsigned idx, unsigned label, uint64_t n);
void metric_gauge(struct metric_set *s, unsigned idx, double v);
void metric_gauge_label(struct metric_set *s, unsigned idx, unsigned label, double v);
void metric_observe(struct metric_set *s, unsigned idx, double v); /* histogram; seconds, or a
	count: buckets are powers of two from 2^-14 to 2^14 */

uint64_t metric_value(const struct metric_set *s, unsigned idx); /* sum over labels */

/* Append all series as text exposition 0.0.4. */
void metrics_render(const struct metrics *m, struct buf *out);

#endif
