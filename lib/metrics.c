/* lib/metrics.c - series in arrays, rendered as Prometheus text
 *
 * One array of cells a metric, one cell a label value; a histogram's cell is
 * longer by its buckets.  Adding never allocates; a name declared twice is a bug,
 * since its series would have to stand together.
 */
#include "lib/metrics.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include "lib/log.h"
#include "lib/mem.h"

enum { BUCKET_LOW = -14, BUCKET_HIGH = 14, N_BUCKETS = BUCKET_HIGH - BUCKET_LOW + 1 };

struct series {
	double   gauge;
	uint64_t count;              /* counter; histogram: observations */
	double   sum;
	uint64_t bucket[];           /* histogram: N_BUCKETS, not cumulative; what is
	                              * over all of them is in count only */
};

struct metric {
	unsigned n_series;
	size_t   stride;
	char    *cells;
};

struct metric_set {
	TAILQ_ENTRY(metric_set) link;
	const struct metric_def *defs;
	unsigned n;
	struct metric *metric;
};

struct metrics {
	char *stage, *instance;
	TAILQ_HEAD(, metric_set) sets;
};

struct metrics *metrics_new(const char *stage, const char *instance)
{
	struct metrics *m = xcalloc(1, sizeof(*m));

	m->stage = xstrdup(stage);
	m->instance = xstrdup(instance);
	TAILQ_INIT(&m->sets);
	return m;
}

static void set_free(struct metric_set *s)
{
	for (unsigned i = 0; i < s->n; i++)
		xfree(s->metric[i].cells);
	xfree(s->metric);
	xfree(s);
}

void metrics_free(struct metrics **mp)
{
	struct metrics *m = *mp;
	struct metric_set *s;

	if (m == NULL)
		return;
	while ((s = TAILQ_FIRST(&m->sets)) != NULL) {
		TAILQ_REMOVE(&m->sets, s, link);
		set_free(s);
	}
	xfree(m->stage);
	xfree(m->instance);
	xfree(m);
	*mp = NULL;
}

static bool declared(const struct metrics *m, const char *name)
{
	const struct metric_set *s;

	TAILQ_FOREACH(s, &m->sets, link) {
		for (unsigned i = 0; i < s->n; i++) {
			if (strcmp(s->defs[i].name, name) == 0)
				return true;
		}
	}
	return false;
}

static void metric_init(struct metric *me, const struct metric_def *d)
{
	if (d->kind == METRIC_HISTOGRAM && d->label != NULL)
		die_bug("a histogram has no label");
	me->n_series = 1;
	if (d->label != NULL) {
		me->n_series = 0;
		while (d->label_values[me->n_series] != NULL)
			me->n_series++;
	}
	me->stride = sizeof(struct series);
	if (d->kind == METRIC_HISTOGRAM)
		me->stride += N_BUCKETS * sizeof(uint64_t);
	me->cells = xcalloc(me->n_series, me->stride);
}

struct metric_set *metric_set_new(struct metrics *m, const struct metric_def *defs)
{
	struct metric_set *s = xcalloc(1, sizeof(*s));

	s->defs = defs;
	while (defs[s->n].name != NULL)
		s->n++;
	s->metric = xcalloc(s->n, sizeof(*s->metric));
	for (unsigned i = 0; i < s->n; i++) {
		if (declared(m, defs[i].name))
			die_bug("a metric is declared twice");
		metric_init(&s->metric[i], &defs[i]);
	}
	TAILQ_INSERT_TAIL(&m->sets, s, link);
	return s;
}

static struct series *series_at(const struct metric_set *s, unsigned idx, unsigned label)
{
	assert(idx < s->n && label < s->metric[idx].n_series);
	return (struct series *)(s->metric[idx].cells + label * s->metric[idx].stride);
}

void metric_add(struct metric_set *s, unsigned idx, uint64_t n)
{
	metric_add_label(s, idx, 0, n);
}

void metric_add_label(struct metric_set *s, unsigned idx, unsigned label, uint64_t n)
{
	assert(s->defs[idx].kind == METRIC_COUNTER);
	series_at(s, idx, label)->count += n;
}

void metric_gauge(struct metric_set *s, unsigned idx, double v)
{
	metric_gauge_label(s, idx, 0, v);
}

void metric_gauge_label(struct metric_set *s, unsigned idx, unsigned label, double v)
{
	assert(s->defs[idx].kind == METRIC_GAUGE);
	series_at(s, idx, label)->gauge = v;
}

/* The first bucket whose bound 2^(BUCKET_LOW + i) is not under v. */
static unsigned bucket_of(double v)
{
	int exp;
	double frac;

	if (!(v > 0))
		return 0;
	if (isinf(v))
		return N_BUCKETS; /* frexp() leaves exp unset */
	frac = frexp(v, &exp); /* v = frac * 2^exp, frac in [0.5, 1) */
	if (frac == 0.5)
		exp--;
	if (exp <= BUCKET_LOW)
		return 0;
	return exp > BUCKET_HIGH ? N_BUCKETS : (unsigned)(exp - BUCKET_LOW);
}

void metric_observe(struct metric_set *s, unsigned idx, double v)
{
	struct series *se = series_at(s, idx, 0);
	unsigned b = bucket_of(v);

	assert(s->defs[idx].kind == METRIC_HISTOGRAM);
	if (isnan(v))
		return; /* one of these would spoil the sum for good */
	se->count++;
	se->sum += v;
	if (b < N_BUCKETS)
		se->bucket[b]++;
}

uint64_t metric_value(const struct metric_set *s, unsigned idx)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < s->metric[idx].n_series; i++) {
		const struct series *se = series_at(s, idx, i);

		if (s->defs[idx].kind != METRIC_GAUGE)
			sum += se->count;
		else if (se->gauge >= 1 && se->gauge < 0x1p63)
			sum += (uint64_t)se->gauge;
	}
	return sum;
}

/* Of HELP texts backslash and newline are escaped, of label values the quote too. */
static void add_escaped(struct buf *out, const char *text, bool label)
{
	for (; *text != '\0'; text++) {
		if (*text == '\n') {
			buf_adds(out, "\\n");
			continue;
		}
		if (*text == '\\' || (label && *text == '"'))
			buf_addc(out, '\\');
		buf_addc(out, *text);
	}
}

/* holdfast_NAME[SUFFIX]{stage="..",instance="..",LABEL=".."[,le="BOUND"]} */
static void add_name(struct buf *out, const struct metrics *m, const struct metric_def *d,
                     unsigned label, const char *suffix)
{
	buf_addf(out, "holdfast_%s%s{stage=\"", d->name, suffix);
	add_escaped(out, m->stage, true);
	buf_adds(out, "\",instance=\"");
	add_escaped(out, m->instance, true);
	if (d->label != NULL) {
		buf_addf(out, "\",%s=\"", d->label);
		add_escaped(out, d->label_values[label], true);
	}
	buf_addc(out, '"');
}

/* The shortest of two ways to write v that reads back as v. */
static void add_double(struct buf *out, double v)
{
	char text[40];

	if (isnan(v) || isinf(v)) {
		buf_adds(out, isnan(v) ? "NaN" : v > 0 ? "+Inf" : "-Inf");
		return;
	}
	snprintf(text, sizeof(text), "%.15g", v);
	if (strtod(text, NULL) != v)
		snprintf(text, sizeof(text), "%.17g", v);
	buf_adds(out, text);
}

static void render_histogram(struct buf *out, const struct metrics *m,
                             const struct metric_def *d, const struct series *se)
{
	uint64_t below = 0;

	for (int i = 0; i < N_BUCKETS; i++) {
		below += se->bucket[i];
		add_name(out, m, d, 0, "_bucket");
		buf_addf(out, ",le=\"%.10g\"} %" PRIu64 "\n", ldexp(1, BUCKET_LOW + i), below);
	}
	add_name(out, m, d, 0, "_bucket");
	buf_addf(out, ",le=\"+Inf\"} %" PRIu64 "\n", se->count);
	add_name(out, m, d, 0, "_sum");
	buf_adds(out, "} ");
	add_double(out, se->sum);
	buf_addc(out, '\n');
	add_name(out, m, d, 0, "_count");
	buf_addf(out, "} %" PRIu64 "\n", se->count);
}

static void render_metric(struct buf *out, const struct metrics *m, const struct metric_set *s,
                          unsigned idx)
{
	static const char *const kinds[] = { "counter", "gauge", "histogram" };
	const struct metric_def *d = &s->defs[idx];

	buf_addf(out, "# HELP holdfast_%s ", d->name);
	add_escaped(out, d->help, false);
	buf_addf(out, "\n# TYPE holdfast_%s %s\n", d->name, kinds[d->kind]);
	for (unsigned i = 0; i < s->metric[idx].n_series; i++) {
		const struct series *se = series_at(s, idx, i);

		if (d->kind == METRIC_HISTOGRAM) {
			render_histogram(out, m, d, se);
			continue;
		}
		add_name(out, m, d, i, "");
		buf_adds(out, "} ");
		if (d->kind == METRIC_GAUGE)
			add_double(out, se->gauge);
		else
			buf_addf(out, "%" PRIu64, se->count);
		buf_addc(out, '\n');
	}
}

void metrics_render(const struct metrics *m, struct buf *out)
{
	const struct metric_set *s;

	TAILQ_FOREACH(s, &m->sets, link) {
		for (unsigned i = 0; i < s->n; i++)
			render_metric(out, m, s, i);
	}
}
