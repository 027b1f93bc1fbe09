/* tests/unit/test_worker.c - the life of a worker, from options to exit
 *
 * Each test runs worker_main() in a child with two parts that tell what is asked of
 * them, as lines of the log; the parent waits for lines and never for time.
 */
#include <fcntl.h>
#include <getopt.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>
#include <cmocka.h>
#include "lib/log.h"
#include "lib/worker.h"
#include "tests/unit/http_get.h"

enum { WAIT_MS = 20000 };

/* ---- the program under test */

struct conf { char *text; int mode; };

enum { NORMAL, BUSY, SHORT_WORK, NO_PORT, BAD_VALUE, FAILS_LATER };

static const char *const modes[] = {
	"normal", "busy", "short-work", "no-port", "bad-value", "fails-later", NULL,
};
static const struct conf_param params[] = {
	{ "text", CONF_TEXT, offsetof(struct conf, text), "first", 1, 20, "any", NULL, NULL, 0 },
	{ "mode", CONF_WORD, offsetof(struct conf, mode), "normal", 0, 0, "what b does", modes,
	  NULL, 0 },
	{ 0 },
};

/* Part a never looks at a new configuration; part b does. */
struct part {
	const char *name;
	struct worker *w;
	const struct conf *conf;
	int ticks_left;
};

static struct part part_a = { .name = "a" }, part_b = { .name = "b" };

static void tell(const struct part *p, const char *what)
{
	log_info(what, LOGS("part", p->name), LOGS("text", p->conf->text));
}

static enum err part_open(struct worker *w, void *arg)
{
	struct part *p = arg;

	p->w = w;
	p->conf = w->conf;
	tell(p, "open");
	if (p == &part_b && p->conf->mode == NO_PORT)
		return ERR_IO;
	return p == &part_b && p->conf->mode == BAD_VALUE ? ERR_RANGE : ERR_OK;
}

static void part_drain(void *arg)
{
	struct part *p = arg;

	tell(p, p->w->draining ? "drain" : "drain-too-early");
	p->ticks_left = 2;
}

static bool part_busy(void *arg)
{
	const struct part *p = arg;

	return p->conf->mode == BUSY || (p->conf->mode == SHORT_WORK && p->ticks_left > 0);
}

static void part_tick(void *arg, uint64_t wall_ms)
{
	struct part *p = arg;

	if (p->ticks_left > 0 && --p->ticks_left == 0)
		tell(p, "work-done");
	if (p->conf->mode == FAILS_LATER)
		worker_fail(p->w, EX_IOERR, "store");
}

static bool part_ready(void *arg)
{
	return true;
}

static enum err part_reload(void *arg, const void *conf)
{
	struct part *p = arg;

	if (strcmp(((const struct conf *)conf)->text, "not this") == 0)
		return ERR_BADSTATE;
	p->conf = conf;
	tell(p, "reload");
	return ERR_OK;
}

static void part_close(void *arg)
{
	tell(arg, "close");
}

static const struct worker_part parts[] = {
	{ .name = "a", .open = part_open, .drain = part_drain, .close = part_close, .arg = &part_a },
	{ .name = "b", .open = part_open, .drain = part_drain, .busy = part_busy,
	  .close = part_close, .tick = part_tick, .ready = part_ready, .reload = part_reload,
	  .arg = &part_b },
	{ .name = NULL },
};
static const struct worker_spec spec = {
	.stage = "ingest", .description = "a test", .params = params,
	.conf_size = sizeof(struct conf), .parts = parts,
};

/* ---- the parent's end */

static char folder[] = "/tmp/hf-worker-XXXXXX";
static char conf_path[64], notify_path[64];
static unsigned port;

struct run {
	pid_t pid;
	int out;     /* its standard error and output */
	int notify;  /* what it tells the supervisor */
	struct buf text;
};

static void write_conf(const char *rest)
{
	FILE *f = fopen(conf_path, "we");

	assert_non_null(f);
	fprintf(f, "hostname: relay.example\ninstances:\n"
	        "  - {name: ingest-1, stage: ingest, bus: 'ipc:///x', metrics: '127.0.0.1:%u'}\n"
	        "  - {name: policy-1, stage: policy, bus: 'ipc:///y'}\n%s", port, rest);
	assert_int_equal(fclose(f), 0);
}

static void open_notify(struct run *r)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };

	snprintf(a.sun_path, sizeof(a.sun_path), "%s", notify_path);
	unlink(notify_path);
	r->notify = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(r->notify, (struct sockaddr *)&a, sizeof(a)), 0);
}

static void start_args(struct run *r, char **argv)
{
	int fd[2], argc = 0;

	memset(r, 0, sizeof(*r));
	open_notify(r);
	assert_int_equal(pipe2(fd, O_CLOEXEC), 0);
	while (argv[argc] != NULL)
		argc++;
	r->pid = fork();
	assert_true(r->pid >= 0);
	if (r->pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL); /* should a test fail in between */
		dup2(fd[1], STDERR_FILENO);
		dup2(fd[1], STDOUT_FILENO);
		setenv("NOTIFY_SOCKET", notify_path, 1);
		optind = 1;
		exit(worker_main(&spec, argc, argv));
	}
	close(fd[1]);
	r->out = fd[0];
}

#define ARGS(...) ((char *[]){ (char *)"holdfast-ingest", __VA_ARGS__ __VA_OPT__(,) NULL })

static void start(struct run *r, const char *rest)
{
	write_conf(rest);
	start_args(r, ARGS((char *)"-c", conf_path));
}

/* One more piece of its output; false at the end. */
static bool read_more(struct run *r)
{
	struct pollfd p = { .fd = r->out, .events = POLLIN };
	ssize_t n;

	assert_int_equal(poll(&p, 1, WAIT_MS), 1);
	n = read(r->out, buf_room(&r->text, 4096), 4096);
	if (n > 0)
		buf_grew(&r->text, (size_t)n);
	return n > 0;
}

static void await(struct run *r, const char *line)
{
	while (strstr(buf_str(&r->text), line) == NULL)
		assert_true(read_more(r));
}

static void await_count(struct run *r, const char *line, int count)
{
	for (;;) {
		int n = 0;

		for (const char *p = buf_str(&r->text); (p = strstr(p, line)) != NULL; p++)
			n++;
		if (n >= count)
			return;
		assert_true(read_more(r));
	}
}

/* Its exit code, or -signal. */
static int finish(struct run *r)
{
	int status;

	while (read_more(r))
		continue;
	assert_int_equal(waitpid(r->pid, &status, 0), r->pid);
	close(r->out);
	close(r->notify);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

/* The lines stand in the text in this order. */
static void assert_order(const struct run *r, const char *const *lines)
{
	const char *at = buf_str(&r->text);

	for (; *lines != NULL; lines++) {
		at = strstr(at, *lines);
		if (at == NULL)
			print_error("missing or out of order: %s in\n%s\n", *lines,
			            buf_str(&r->text));
		assert_non_null(at);
	}
}

static void assert_notified(const struct run *r, const char *want)
{
	char got[500];
	ssize_t n = recv(r->notify, got, sizeof(got) - 1, MSG_DONTWAIT);

	assert_true(n > 0);
	got[n] = '\0';
	assert_memory_equal(got, want, strlen(want));
}

/* ---- tests */

static void a_life_in_order(void **state)
{
	static const char *const order[] = {
		"ingest-1 info open part=a text=first\n", " open part=b ", " ready ", " draining ",
		" drain part=b ", " drain part=a ", " close part=b ", " close part=a ",
		" stopped exit=0\n", NULL,
	};
	struct run r;

	start(&r, "");
	await(&r, " ready ");
	kill(r.pid, SIGTERM);
	assert_int_equal(waitid(P_PID, (id_t)r.pid, NULL, WEXITED | WNOWAIT), 0);
	assert_notified(&r, "READY=1");
	assert_notified(&r, "STOPPING=1");
	assert_int_equal(finish(&r), 0);
	assert_order(&r, order);
	buf_free(&r.text);
}

static void drain_waits_for_work_in_flight(void **state)
{
	static const char *const order[] = {
		" draining ", " drain part=b ", " work-done part=b ", " close part=b ", NULL,
	};
	struct run r;

	start(&r, "ingest: {mode: short-work}\n");
	await(&r, " ready ");
	kill(r.pid, SIGINT);
	assert_int_equal(finish(&r), 0);
	assert_order(&r, order);
	assert_null(strstr(buf_str(&r.text), "drain_cut"));
	buf_free(&r.text);
}

static void drain_wait_bounds_the_drain(void **state)
{
	static const char *const order[] = {
		" draining why=SIGTERM", " drain_cut why=\"drain_wait has passed\"",
		" close part=b ", " close part=a ", " stopped exit=0", NULL,
	};
	struct run r;

	start(&r, "drain_wait: 200ms\ningest: {mode: busy}\n");
	await(&r, " ready ");
	kill(r.pid, SIGTERM);
	assert_int_equal(finish(&r), 0);
	assert_order(&r, order);
	buf_free(&r.text);
}

static void a_second_signal_cuts_the_drain(void **state)
{
	static const char *const order[] = {
		" drain_cut why=SIGTERM", " close part=b ", " close part=a ", NULL,
	};
	struct run r;

	start(&r, "drain_wait: 1h\ningest: {mode: busy}\n");
	await(&r, " ready ");
	kill(r.pid, SIGTERM);
	await(&r, " drain part=a ");
	kill(r.pid, SIGTERM);
	assert_int_equal(finish(&r), 0);
	assert_order(&r, order);
	buf_free(&r.text);
}

/* Part a looks at the first configuration to the end: under ASan this fails when
 * any reload frees it. */
static void a_reload_applies_whole_or_not_at_all(void **state)
{
	static const char *const order[] = {
		" reload part=b text=second\n", " reloaded ",
		" error reload_refused reason=", " reload part=b text=third\n",
		" reload part=b text=fourth\n", " close part=b text=fourth\n",
		" close part=a text=first\n", NULL,
	};
	struct run r;

	start(&r, "");
	await(&r, " ready ");
	write_conf("log_level: debug\ningest: {text: second}\n");
	kill(r.pid, SIGHUP);
	await(&r, " reloaded ");
	write_conf("ingest: text\n");
	kill(r.pid, SIGHUP);
	await(&r, " reload_refused ");
	write_conf("log_level: error\ningest: {text: not this}\n");
	kill(r.pid, SIGHUP);
	await(&r, " reload_refused reason=\"a part does not take it\"");
	write_conf("ingest: {text: third}\n");
	kill(r.pid, SIGHUP);
	await_count(&r, " reloaded ", 2);
	write_conf("ingest: {text: fourth}\n");
	kill(r.pid, SIGHUP);
	await_count(&r, " reloaded ", 3);
	kill(r.pid, SIGTERM);
	assert_int_equal(waitid(P_PID, (id_t)r.pid, NULL, WEXITED | WNOWAIT), 0);
	assert_notified(&r, "READY=1");
	assert_notified(&r, "RELOADING=1\nMONOTONIC_USEC=");
	assert_notified(&r, "READY=1");
	assert_int_equal(finish(&r), 0);
	assert_order(&r, order);
	assert_non_null(strstr(buf_str(&r.text), "worker.yaml:5:9: ingest wants a mapping"));
	buf_free(&r.text);
}

static void a_part_that_cannot_open_ends_the_start(void **state)
{
	static const char *const order[] = {
		" open part=a ", " open part=b ", " error start_failed part=b ", " close part=a ",
		" stopped exit=", NULL,
	};
	struct run r;

	start(&r, "ingest: {mode: no-port}\n");
	assert_int_equal(finish(&r), EX_UNAVAILABLE);
	assert_order(&r, order);
	assert_null(strstr(buf_str(&r.text), "close part=b"));
	buf_free(&r.text);
	start(&r, "ingest: {mode: bad-value}\n");
	assert_int_equal(finish(&r), EX_CONFIG);
	assert_order(&r, order);
	buf_free(&r.text);
}

static void a_fault_of_the_environment_ends_without_closing(void **state)
{
	static const char *const order[] = {
		" ready ", " error failed what=store exit=74\n", " stopped exit=74\n", NULL,
	};
	struct run r;

	start(&r, "ingest: {mode: fails-later}\n");
	assert_int_equal(finish(&r), EX_IOERR);
	assert_order(&r, order);
	assert_null(strstr(buf_str(&r.text), " close "));
	buf_free(&r.text);
}

static void metrics_and_readiness_are_served(void **state)
{
	struct buf answer = BUF_INIT;
	struct run r;

	start(&r, "ingest: {mode: busy}\n");
	await(&r, " ready ");
	http_get(port, "/readyz", &answer);
	assert_non_null(strstr(buf_str(&answer), " 200 "));
	http_get(port, "/metrics", &answer);
	assert_non_null(strstr(buf_str(&answer), "\nholdfast_worker_open_descriptors{"
	                       "stage=\"ingest\",instance=\"ingest-1\"} "));
	assert_non_null(strstr(buf_str(&answer), "holdfast_worker_resident_bytes{"));
	kill(r.pid, SIGTERM);
	await(&r, " drain part=a ");
	http_get(port, "/readyz", &answer);
	assert_non_null(strstr(buf_str(&answer), " 503 "));
	http_get(port, "/healthz", &answer);
	assert_non_null(strstr(buf_str(&answer), " 200 "));
	kill(r.pid, SIGTERM);
	assert_int_equal(finish(&r), 0);
	buf_free(&answer);
	buf_free(&r.text);
}

static void a_taken_metrics_port_ends_the_start(void **state)
{
	struct sockaddr_in a = http_address(port);
	int on = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct run r;

	(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(listen(fd, 1), 0);
	start(&r, "");
	assert_int_equal(finish(&r), EX_UNAVAILABLE);
	assert_non_null(strstr(buf_str(&r.text), " error start_failed part=metrics "));
	close(fd);
	buf_free(&r.text);
}

static struct row {
	const char *name, *rest; /* of the configuration */
	const char *args[4];
	int code;
	const char *says;
} rows[] = {
	{ "--help", "", { "--help" }, 0, "usage: holdfast-ingest" },
	{ "-V", "", { "-V" }, 0, "holdfast-ingest " },
	{ "--help-config", "", { "--help-config" }, 0,
	  "drain_wait (duration: 0ms to 1h, default 30s)" },
	{ "an option that is none", "", { "-x" }, EX_USAGE, "usage: holdfast-ingest" },
	{ "an argument", "", { "start" }, EX_USAGE, "usage: holdfast-ingest" },
	{ "a good configuration is told to be", "", { "-c", conf_path, "-t" }, 0,
	  "worker.yaml: good\n" },
	{ "a bad one is told with its place", "ingst: {}\n", { "-c", conf_path, "-t" }, EX_CONFIG,
	  "worker.yaml:5:1: unknown key \"ingst\"; did you mean \"ingest\"?\n" },
	{ "a missing file", "", { "-c", "/tmp/hf-there-is-no-such-file" }, EX_CONFIG,
	  "/tmp/hf-there-is-no-such-file: No such file or directory\n" },
	{ "an instance that is not there", "", { "-c", conf_path, "-i", "ingest-9" }, EX_CONFIG,
	  "no ingest named ingest-9\n" },
	{ "an instance of another stage", "", { "-c", conf_path, "-i", "policy-1" }, EX_CONFIG,
	  "no ingest named policy-1\n" },
};

static void row_exits(void **state)
{
	const struct row *row = *state;
	char *argv[6] = { (char *)"holdfast-ingest" };
	struct run r;

	for (int i = 0; i < 4 && row->args[i] != NULL; i++)
		argv[i + 1] = (char *)row->args[i];
	write_conf(row->rest);
	start_args(&r, argv);
	assert_int_equal(finish(&r), row->code);
	assert_non_null(strstr(buf_str(&r.text), row->says));
	buf_free(&r.text);
}

static void load_instances(const char *rows_text, enum err want, const char *says)
{
	struct common_conf common;
	char why[CONF_ERR_MAX] = "";
	FILE *f = fopen(conf_path, "we");

	memset(&common, 0, sizeof(common));
	assert_non_null(f);
	fprintf(f, "hostname: h\ningest: {any: thing}\ninstances: [%s]\n", rows_text);
	assert_int_equal(fclose(f), 0);
	assert_int_equal(worker_conf_load(conf_path, NULL, NULL, NULL, &common, why), want);
	assert_non_null(strstr(why, says));
	assert_int_equal(common.instances.n, want == ERR_OK ? 1 : 0);
	conf_free(common_params, &common);
}

static void instances_have_unique_plain_names_and_a_bus(void **state)
{
#define ROW(name) "{name: " name ", stage: ingest, bus: 'ipc:///x'}"
	load_instances(ROW("ingest-1"), ERR_OK, "");
	load_instances(ROW("a") "," ROW("a"), ERR_SYNTAX, "\"a\"");
	load_instances(ROW("Ingest"), ERR_SYNTAX, "Ingest");
	load_instances(ROW("'a/../b'"), ERR_SYNTAX, "a/../b");
	load_instances(ROW("''"), ERR_RANGE, "name");
	load_instances(ROW("a23456789012345678901234567890123"), ERR_RANGE, "name");
	load_instances("{name: a, stage: ingest}", ERR_SYNTAX, "bus must be given");
	load_instances("{name: a, stage: cellar, bus: 'ipc:///x'}", ERR_SYNTAX, "cellar");
	load_instances("", ERR_RANGE, "instances has 0 entries");
#undef ROW
}

static int make_folder(void **state)
{
	if (mkdtemp(folder) == NULL)
		return -1;
	snprintf(conf_path, sizeof(conf_path), "%s/worker.yaml", folder);
	snprintf(notify_path, sizeof(notify_path), "%s/notify", folder);
	port = http_free_port();
	return port > 0 ? 0 : -1;
}

static int remove_folder(void **state)
{
	unlink(conf_path);
	unlink(notify_path);
	return rmdir(folder);
}

int main(void)
{
	static const struct CMUnitTest more[] = {
		cmocka_unit_test(a_life_in_order),
		cmocka_unit_test(drain_waits_for_work_in_flight),
		cmocka_unit_test(drain_wait_bounds_the_drain),
		cmocka_unit_test(a_second_signal_cuts_the_drain),
		cmocka_unit_test(a_reload_applies_whole_or_not_at_all),
		cmocka_unit_test(a_part_that_cannot_open_ends_the_start),
		cmocka_unit_test(a_fault_of_the_environment_ends_without_closing),
		cmocka_unit_test(metrics_and_readiness_are_served),
		cmocka_unit_test(a_taken_metrics_port_ends_the_start),
		cmocka_unit_test(instances_have_unique_plain_names_and_a_bus),
	};
	struct CMUnitTest tests[ARRAY_LEN(rows) + ARRAY_LEN(more)];

	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		tests[i] = (struct CMUnitTest){
			.name = rows[i].name, .test_func = row_exits, .initial_state = &rows[i],
		};
	memcpy(&tests[ARRAY_LEN(rows)], more, sizeof(more));
	return cmocka_run_group_tests_name("worker", tests, make_folder, remove_folder);
}
