/* lib/worker.c - options, loop, signals, parts, drain
 *
 * Owns the loop and everything in it that is not a part's: signals, the tick, the
 * log's flush, the metrics server.  The order of a life is main_life(); each
 * function of it can be read by itself.
 */
#include "lib/worker.h"

#include <assert.h>
#include <getopt.h>
#include <malloc.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sysexits.h>
#include <systemd/sd-daemon.h>
#include "lib/clock.h"
#include "lib/http.h"
#include "lib/log.h"
#include "lib/mem.h"
#include "lib/privs.h"
#include "lib/worker_stat.h"

/* LAST_TURNS_MS: a stream sends its last bytes in less (lib/stream.c). */
enum { TICK_MS = 100, N_SIGNALS = 3, LAST_TURNS_MS = 20000 };

struct life {
	struct worker w;            /* what parts see */
	const struct worker_spec *spec;
	const char *conf_path, *instance;
	bool check_only;
	struct common_conf common;
	void *first_conf, *conf;    /* the one parts were opened with lives as long as we do */
	uv_loop_t loop;
	uv_signal_t signals[N_SIGNALS];
	uv_timer_t tick;
	uv_prepare_t flush;
	struct http *http;
	struct metric_set *stat;
	uint64_t watchdog_ms, watchdog_due; /* of the supervisor; 0: it has none */
	unsigned opened;            /* parts that are open */
	uint64_t drain_until;
	int exit_code;
};

static struct life *life_of(struct worker *w)
{
	return (struct life *)w;
}

/* ---- parts ---- */

static bool open_parts(struct life *l)
{
	const struct worker_part *p;

	for (p = l->spec->parts; p->name != NULL; p++) {
		enum err err = p->open == NULL ? ERR_OK : p->open(&l->w, p->arg);

		if (err != ERR_OK) {
			log_error("start_failed", LOGS("part", p->name), LOGE(err));
			if (l->exit_code != EX_OK)
				return false;
			l->exit_code = err == ERR_SYNTAX || err == ERR_RANGE ? EX_CONFIG
			                                                     : EX_UNAVAILABLE;
			return false;
		}
		l->opened++;
	}
	return true;
}

static void close_parts(struct life *l)
{
	while (l->opened > 0) {
		const struct worker_part *p = &l->spec->parts[--l->opened];

		if (p->close != NULL)
			p->close(p->arg);
	}
}

static bool parts_busy(const struct life *l)
{
	for (unsigned i = 0; i < l->opened; i++) {
		const struct worker_part *p = &l->spec->parts[i];

		if (p->busy != NULL && p->busy(p->arg))
			return true;
	}
	return false;
}

/* ---- privileges ---- */

static void start_failed(struct life *l, const char *part, const char *why, int code)
{
	log_error("start_failed", LOGS("part", part), LOGS("reason", why));
	l->exit_code = code;
}

/* Before the first thread, and before the first file. */
static bool become_user(struct life *l)
{
	char why[PRIVS_WHY];
	enum err err = privs_become(l->common.user, why);

	if (err == ERR_OK)
		return true;
	start_failed(l, "user", why, err == ERR_NOENT ? EX_CONFIG
	                             : err == ERR_PERM ? EX_NOPERM : EX_OSERR);
	return false;
}

static bool check_store(struct life *l)
{
	char *dir = xasprintf("%s/%s", l->common.data_dir, l->w.self->name);
	char why[PRIVS_WHY];
	enum err err = privs_check_dir(l->common.data_dir, dir, why);

	xfree(dir);
	if (err != ERR_OK)
		start_failed(l, "store", why, EX_NOPERM);
	return err == ERR_OK;
}

static bool seal(struct life *l)
{
	char why[PRIVS_WHY];
	enum err err = privs_seal(l->common.sandbox, why);

	if (err != ERR_OK)
		start_failed(l, "sandbox", why, EX_OSERR);
	return err == ERR_OK;
}

/* ---- what /metrics, /healthz and /readyz say ---- */

static void source_metrics(void *arg, struct buf *out)
{
	struct life *l = arg;

	for (unsigned i = 0; i < l->opened; i++) {
		const struct worker_part *p = &l->spec->parts[i];

		if (p->collect != NULL)
			p->collect(p->arg);
	}
	worker_stat_collect(l->stat, &l->loop);
	metrics_render(l->w.metrics, out);
}

/* The loop answers, so it turns; a fault would have ended it. */
static bool source_healthy(void *arg)
{
	const struct life *l = arg;

	return l->exit_code == EX_OK;
}

static bool source_ready(void *arg)
{
	const struct life *l = arg;

	for (const struct worker_part *p = l->spec->parts; p->name != NULL; p++) {
		if ((unsigned)(p - l->spec->parts) >= l->opened)
			return false;
		if (p->ready != NULL && !p->ready(p->arg))
			return false;
	}
	return !l->w.draining;
}

static bool open_http(struct life *l)
{
	struct http_source src = { source_metrics, source_healthy, source_ready, l };
	const char *address = l->w.self->metrics;
	enum err err;

	if (address[0] == '\0')
		return true;
	err = http_open(&l->loop, address, &src, &l->http);
	if (err == ERR_OK)
		return true;
	log_error("start_failed", LOGS("part", "metrics"), LOGS("address", address),
	          LOGS("reason", err == ERR_SYNTAX ? "not a loopback ADDRESS:PORT"
	                                           : "cannot bind"));
	l->exit_code = err == ERR_SYNTAX ? EX_CONFIG : EX_UNAVAILABLE;
	return false;
}

/* ---- drain ---- */

static void start_drain(struct life *l, const char *why)
{
	if (l->w.draining) {
		log_warn("drain_cut", LOGS("why", why));
		uv_stop(&l->loop);
		return;
	}
	log_info("draining", LOGS("why", why));
	(void)sd_notify(0, "STOPPING=1");
	l->w.draining = true;
	l->drain_until = clock_mono_ms() + l->common.drain_wait_ms;
	for (unsigned i = l->opened; i > 0; i--) {
		const struct worker_part *p = &l->spec->parts[i - 1];

		if (p->drain != NULL)
			p->drain(p->arg);
	}
}

static void check_drained(struct life *l)
{
	if (!l->w.draining)
		return;
	if (!parts_busy(l)) {
		uv_stop(&l->loop);
	} else if (clock_mono_ms() >= l->drain_until) {
		log_warn("drain_cut", LOGS("why", "drain_wait has passed"));
		uv_stop(&l->loop);
	}
}

/* ---- reload ---- */

static enum err load(struct life *l, void *conf, struct common_conf *common,
                     char why[CONF_ERR_MAX])
{
	return worker_conf_load(l->conf_path, l->spec->stage, l->spec->params, conf, common, why);
}

static void tell_reloading(void)
{
	(void)sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%llu",
	                 (unsigned long long)clock_mono_us());
}

/* Give conf to the first n parts; returns how many took it. */
static unsigned give_conf(struct life *l, unsigned n, const void *conf)
{
	for (unsigned i = 0; i < n; i++) {
		const struct worker_part *p = &l->spec->parts[i];

		if (p->reload != NULL && p->reload(p->arg, conf) != ERR_OK)
			return i;
	}
	return n;
}

/* All parts take conf, which is then the worker's, or none does. */
static enum err apply_conf(struct life *l, void *conf)
{
	void *old = l->conf;
	unsigned taken;

	l->conf = l->w.conf = conf;
	taken = give_conf(l, l->opened, conf);
	if (taken < l->opened) {
		l->conf = l->w.conf = old;
		(void)give_conf(l, taken, old); /* they had it before */
		return ERR_BADSTATE;
	}
	if (old == l->first_conf)
		return ERR_OK; /* parts that do not reload still look at it */
	conf_free(l->spec->params, old);
	xfree(old);
	return ERR_OK;
}

static void reload(struct life *l)
{
	char why[CONF_ERR_MAX];
	struct common_conf common = { 0 };
	void *conf = xcalloc(1, l->spec->conf_size);
	enum log_level level = LVL_INFO;
	enum err err;

	tell_reloading();
	err = load(l, conf, &common, why);
	if (err == ERR_OK) {
		level = (enum log_level)common.log_level;
		conf_free(common_params, &common);
		err = apply_conf(l, conf);
		if (err != ERR_OK)
			conf_free(l->spec->params, conf);
		snprintf(why, sizeof(why), "a part does not take it");
	}
	if (err == ERR_OK) {
		log_set_level(level); /* all of the common part that can change while we run */
		log_info("reloaded", LOGS("file", l->conf_path));
	} else {
		log_error("reload_refused", LOGS("reason", why));
		xfree(conf);
	}
	worker_stat_reloaded(l->stat, err == ERR_OK);
	(void)sd_notify(0, "READY=1");
}

/* ---- the loop's own handles ---- */

static void on_signal(uv_signal_t *s, int number)
{
	struct life *l = s->data;

	if (number == SIGHUP && l->w.draining)
		log_warn("reload_refused", LOGS("reason", "draining"));
	else if (number == SIGHUP)
		reload(l);
	else
		start_drain(l, number == SIGTERM ? "SIGTERM" : "SIGINT");
}

static void tell_alive(struct life *l)
{
	if (l->watchdog_ms == 0 || uv_now(&l->loop) < l->watchdog_due)
		return;
	l->watchdog_due = uv_now(&l->loop) + l->watchdog_ms / 2;
	(void)sd_notify(0, "WATCHDOG=1");
}

static void on_tick(uv_timer_t *t)
{
	struct life *l = t->data;
	uint64_t now = clock_wall_ms();

	for (unsigned i = 0; i < l->opened; i++) {
		const struct worker_part *p = &l->spec->parts[i];

		if (p->tick != NULL)
			p->tick(p->arg, now);
	}
	tell_alive(l);
}

/* The last thing before the loop waits. */
static void on_prepare(uv_prepare_t *p)
{
	check_drained(p->data);
	log_flush();
}

/* libuv says no only where the system has no descriptor or memory left. */
static void need(int rc, const char *what)
{
	if (rc != 0)
		log_fatal(EX_OSERR, "loop_failed",
		          LOG_PAIRS(LOGS("what", what), LOGS("reason", uv_strerror(rc))));
}

static void open_handles(struct life *l)
{
	static const int numbers[N_SIGNALS] = { SIGTERM, SIGINT, SIGHUP };

	for (int i = 0; i < N_SIGNALS; i++) {
		need(uv_signal_init(&l->loop, &l->signals[i]), "signal");
		l->signals[i].data = l;
		need(uv_signal_start(&l->signals[i], on_signal, numbers[i]), "signal");
	}
	need(uv_timer_init(&l->loop, &l->tick), "timer");
	l->tick.data = l;
	need(uv_timer_start(&l->tick, on_tick, TICK_MS, TICK_MS), "timer");
	need(uv_prepare_init(&l->loop, &l->flush), "prepare");
	l->flush.data = l;
	need(uv_prepare_start(&l->flush, on_prepare), "prepare");
}

static void open_loop(struct life *l)
{
	need(uv_loop_init(&l->loop), "loop");
	need(uv_loop_configure(&l->loop, UV_METRICS_IDLE_TIME), "loop");
	l->w.loop = &l->loop;
	l->w.metrics = metrics_new(l->spec->stage, l->w.self->name);
	l->stat = worker_stat_new(l->w.metrics);
	open_handles(l);
}

static void name_handle(uv_handle_t *h, void *arg)
{
	if (!uv_is_closing(h) && h != arg)
		log_error("handle_left", LOGS("type", uv_handle_type_name(h->type)));
}

static void on_last_turns(uv_timer_t *t)
{
	uv_walk(t->loop, name_handle, t);
	die_bug("handles left in the loop");
}

/* Our own handles last: a part may need the tick no longer, but its handles the turns.
 * The timer holds nobody up; it only fires when the loop does not become empty. */
static void close_loop(struct life *l)
{
	uv_timer_t watch;

	for (int i = 0; i < N_SIGNALS; i++)
		uv_close((uv_handle_t *)&l->signals[i], NULL);
	uv_close((uv_handle_t *)&l->tick, NULL);
	uv_close((uv_handle_t *)&l->flush, NULL);
	http_close(&l->http);
	need(uv_timer_init(&l->loop, &watch), "timer");
	need(uv_timer_start(&watch, on_last_turns, LAST_TURNS_MS, 0), "timer");
	uv_unref((uv_handle_t *)&watch);
	while (uv_run(&l->loop, UV_RUN_DEFAULT) != 0)
		continue;
	uv_close((uv_handle_t *)&watch, NULL);
	uv_run(&l->loop, UV_RUN_DEFAULT);
	if (uv_loop_close(&l->loop) != 0)
		die_bug("handles left in the loop");
	metrics_free(&l->w.metrics);
}

/* ---- a life ---- */

/* A write to a closed socket or over a file limit is an error code, no signal; one
 * process may hold as many sockets as the system lets it. */
static void set_process(void)
{
	struct rlimit files;

	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN);
	/* glibc raises the size over which memory goes back to the system at each large piece
	 * that is freed: after a few large messages their memory would stay. */
	(void)mallopt(M_MMAP_THRESHOLD, 1 << 20);
	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &files);
	}
}

static const struct worker_instance *find_self(const struct life *l)
{
	const struct worker_instance *row = l->common.instances.row;

	for (size_t i = 0; i < l->common.instances.n; i++) {
		if (strcmp(row[i].name, l->instance) == 0)
			return &row[i];
	}
	return NULL;
}

/* The configuration, and this instance's row in it. */
static bool read_conf(struct life *l)
{
	char why[CONF_ERR_MAX];
	const struct worker_instance *self;

	l->first_conf = l->conf = xcalloc(1, l->spec->conf_size);
	if (load(l, l->conf, &l->common, why) != ERR_OK) {
		fprintf(stderr, "%s\n", why);
		return false;
	}
	if (l->check_only) {
		printf("%s: good\n", l->conf_path);
		return true;
	}
	self = find_self(l);
	if (self == NULL || strcmp(worker_stages[self->stage], l->spec->stage) != 0) {
		fprintf(stderr, "%s: instances: no %s named %s\n", l->conf_path, l->spec->stage,
		        l->instance);
		return false;
	}
	l->w.self = self;
	l->w.common = &l->common;
	l->w.conf = l->conf;
	return true;
}

static void free_conf(struct life *l)
{
	if (l->conf != l->first_conf) {
		conf_free(l->spec->params, l->first_conf);
		xfree(l->first_conf);
	}
	conf_free(l->spec->params, l->conf);
	xfree(l->conf);
	conf_free(common_params, &l->common);
}

/* A failed store or socket may never answer again: no part is asked to close. */
static void leave_failed(struct life *l)
{
	log_info("stopped", LOGI("exit", l->exit_code));
	log_flush();
	_exit(l->exit_code);
}

static void say_ready(struct life *l)
{
	uint64_t usec;

	if (sd_watchdog_enabled(0, &usec) > 0)
		l->watchdog_ms = usec / 1000;
	log_info("ready", LOGS("version", HF_VERSION));
	(void)sd_notify(0, "READY=1");
}

static void run(struct life *l)
{
	bool opened;

	open_loop(l);
	opened = check_store(l) && open_http(l) && open_parts(l);
	if (!seal(l)) /* closing again needs no privileges either */
		leave_failed(l);
	if (opened) {
		say_ready(l);
		uv_run(&l->loop, UV_RUN_DEFAULT);
		if (l->exit_code != EX_OK)
			leave_failed(l);
	}
	l->w.draining = true;
	close_parts(l);
	close_loop(l);
	log_info("stopped", LOGI("exit", l->exit_code));
	log_flush();
}

static void usage(FILE *f, const struct worker_spec *spec)
{
	fprintf(f, "holdfast-%s - %s\n"
	        "usage: holdfast-%s [-c FILE] [-i INSTANCE]\n"
	        "  -c FILE        configuration (/etc/holdfast/holdfast.yaml)\n"
	        "  -i INSTANCE    which row of `instances` this is (%s-1)\n"
	        "  -t             check the configuration and exit\n"
	        "  --help-config  print every parameter with its default\n"
	        "  -h, --help     this text\n"
	        "  -V, --version  the version\n",
	        spec->stage, spec->description, spec->stage, spec->stage);
}

/* True when the program should go on; else exit_code is set. */
static bool read_options(struct life *l, int argc, char **argv)
{
	static const struct option longs[] = {
		{ "help", no_argument, NULL, 'h' }, { "version", no_argument, NULL, 'V' },
		{ "help-config", no_argument, NULL, 'C' }, { NULL, 0, NULL, 0 },
	};
	int c;

	while ((c = getopt_long(argc, argv, "c:i:thV", longs, NULL)) != -1) {
		switch (c) {
		case 'c': l->conf_path = optarg; break;
		case 'i': l->instance = optarg; break;
		case 't': l->check_only = true; break;
		case 'h': usage(stdout, l->spec); return false;
		case 'V': printf("holdfast-%s %s\n", l->spec->stage, HF_VERSION); return false;
		case 'C':
			conf_print(stdout, NULL, common_params);
			conf_print(stdout, l->spec->stage, l->spec->params);
			return false;
		default:
			usage(stderr, l->spec);
			l->exit_code = EX_USAGE;
			return false;
		}
	}
	if (optind == argc)
		return true;
	usage(stderr, l->spec);
	l->exit_code = EX_USAGE;
	return false;
}

int worker_main(const struct worker_spec *spec, int argc, char **argv)
{
	char *first = xasprintf("%s-1", spec->stage);
	struct life l = {
		.spec = spec, .conf_path = WORKER_CONF_PATH, .instance = first,
	};

	if (read_options(&l, argc, argv)) {
		if (!read_conf(&l)) {
			l.exit_code = EX_CONFIG;
		} else if (!l.check_only) {
			set_process();
			log_open(l.w.self->name, (enum log_level)l.common.log_level,
			         (enum log_format)l.common.log_format);
			if (become_user(&l))
				run(&l);
		}
		free_conf(&l);
	}
	xfree(first);
	return l.exit_code;
}

void worker_fail(struct worker *w, int code, const char *what)
{
	struct life *l = life_of(w);

	if (l->exit_code != EX_OK)
		return;
	log_error("failed", LOGS("what", what), LOGI("exit", code));
	l->exit_code = code;
	uv_stop(&l->loop);
}
