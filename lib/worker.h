/* lib/worker.h - what every long-running program does the same way
 *
 * worker_main() reads the options, loads the configuration, opens the log,
 * becomes the configured user, makes the loop and the metrics server, calls the
 * parts' open functions in order, gives up all privileges (lib/privs.h), says
 * "ready" (sd_notify), runs the loop, and on SIGTERM or SIGINT
 * drains: every part's drain function, then the loop runs on until no part is
 * busy or `drain_wait` has passed, then close functions in reverse order, exit
 * 0.  A second signal cuts the wait short: what is accepted is in custody, so
 * that is safe, and the exit is 0 too.  SIGHUP calls the reload functions: whole
 * or not at all.
 */
#ifndef LIB_WORKER_H
#define LIB_WORKER_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>
#include "lib/conf.h"
#include "lib/err.h"
#include "lib/metrics.h"

/* One row of `instances:` in the configuration. */
struct worker_instance {
	char *name;    /* "ingest-1" */
	int   stage;   /* index into worker_stages */
	char *bus;     /* "ipc:///run/holdfast/ingest-1.bus", "tcp://10.0.0.1:9001" */
	char *metrics; /* "127.0.0.1:9301", or "" for none */
};

/* The part of the configuration that all programs read. */
struct common_conf {
	char    *hostname;          /* name in greetings, EHLO, Received, reports */
	char    *data_dir;          /* each instance's store is data_dir/NAME */
	char    *user;              /* whom to become; "": stay */
	bool     sandbox;           /* load the seccomp filter */
	int      log_level;         /* enum log_level */
	int      log_format;        /* enum log_format */
	uint64_t drain_wait_ms;
	struct conf_rows instances; /* struct worker_instance */
	uint64_t kv_cache_bytes, kv_write_buffer_bytes, kv_batch_bytes, kv_pending_bytes;
	uint64_t bus_hello_interval_ms, bus_credit_messages, bus_credit_bytes;
	uint64_t bus_waiting_asks, bus_frame_bytes, bus_body_bytes;
};

extern const struct conf_param common_params[];
extern const char *const worker_stages[]; /* "ingest", "policy", "holdq", "delivery", NULL */

/* What the program has, given to every part. */
struct worker {
	uv_loop_t *loop;
	const struct common_conf *common;
	const struct worker_instance *self; /* row of this instance */
	void *conf;                         /* the stage's own section, filled; the one that
	                                     * parts are opened with lives to the end */
	struct metrics *metrics;
	bool draining;
};

/* A part of a worker: store, bus, the stage itself.  Unused functions are NULL. */
struct worker_part {
	const char *name;
	enum err (*open)(struct worker *w, void *arg); /* an error ends the start, exit 78 or 69 */
	void (*drain)(void *arg);       /* take no new work */
	bool (*busy)(void *arg);        /* work in flight that drain waits for */
	void (*close)(void *arg);       /* release everything; loop handles are closed with
	                                 * uv_close() and die in the last turns that follow */
	void (*tick)(void *arg, uint64_t wall_ms); /* every 100 ms */
	void (*collect)(void *arg);     /* before /metrics is rendered: set gauges */
	bool (*ready)(void *arg);       /* /readyz: all parts must say true */
	/* The new section, valid until the next that is taken.  An error: it is not taken, and was
	 * told in the log; the parts before get the old one again. */
	enum err (*reload)(void *arg, const void *conf);
	void *arg;
};

struct worker_spec {
	const char *stage;                /* "ingest" */
	const char *description;          /* for --help */
	const struct conf_param *params;  /* the section named like the stage */
	size_t conf_size;                 /* sizeof of its struct */
	const struct worker_part *parts;  /* ended by .name == NULL */
};

#define WORKER_CONF_PATH "/etc/holdfast/holdfast.yaml"

/* Load the common part and, where section is not NULL, that section; sections of
 * other stages are passed over.  For tools, and for worker_main().  common and out are
 * zeroed structs, freed with conf_free(); on error they are zeroed again and why says
 * "FILE:LINE:COLUMN: what".  Errors as conf_load(). */
enum err worker_conf_load(const char *path, const char *section,
                          const struct conf_param *params, void *out,
                          struct common_conf *common, char why[CONF_ERR_MAX]) MUST_CHECK;

/* Options: -c FILE (default /etc/holdfast/holdfast.yaml), -i INSTANCE (default
 * STAGE-1), -t (check the configuration and exit), --help-config, -h, -V.
 * Exit codes: 0, 64 usage, 69 a part could not open, 71 the system refused something,
 * 77 the user may not, 78 configuration. */
int worker_main(const struct worker_spec *spec, int argc, char **argv);

/* A part has met a fault of the environment: log, stop at once (no drain), exit
 * with code of sysexits.h once the stack has unwound. */
void worker_fail(struct worker *w, int code, const char *what);

#endif
