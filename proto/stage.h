/* proto/stage.h - the main() of a stage: lib/worker.h with a store and the bus
 *
 * Order at start: store, bus, the stage; at stop: the stage drains, bus, store.
 * A failed store ends the process with exit code 74 after its waiting
 * questions were refused.
 */
#ifndef PROTO_STAGE_H
#define PROTO_STAGE_H

#include "lib/conf.h"
#include "lib/kv.h"
#include "lib/metrics.h"
#include "lib/worker.h"
#include "proto/bus.h"

/* What a stage has; the first argument of its functions reaches it. */
struct stage {
	struct worker *worker;
	struct kv     *kv;
	struct bus    *bus;
	struct metric_set *metrics; /* of spec->metrics */
	void          *state;       /* the stage's own, set by its open() */
	uint64_t       started_ms;
};

struct stage_spec {
	const char *name;                    /* "ingest" */
	const char *description;
	Holdfast__Role role;
	unsigned asks;                       /* BUS_ROLE() of the stages that it asks */
	const struct conf_param *params;
	size_t conf_size;
	const struct metric_def *metrics;
	const struct bus_handler *handlers;  /* their state argument is struct stage * */
	const struct kv_cf *cfs;             /* ended by .name == NULL */

	enum err (*open)(struct stage *s);   /* sets s->state; handlers may run from here on */
	void (*drain)(struct stage *s);
	bool (*busy)(struct stage *s);
	void (*close)(struct stage *s);
	void (*tick)(struct stage *s, uint64_t wall_ms); /* every 100 ms */
	void (*collect)(struct stage *s);
	bool (*ready)(struct stage *s);
	enum err (*reload)(struct stage *s, const void *conf); /* as in lib/worker.h */
	bus_peer_fn *peer;                   /* state is struct stage * */
};

int stage_main(const struct stage_spec *spec, int argc, char **argv);

#endif
