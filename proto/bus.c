/* proto/bus.c - the bus: opening, closing, the loop's handles, who is where
 *
 * One prepare, check, idle and timer serve all sockets.  Close order: all libuv
 * handles first, then in the last close callback the sockets and the context, since a
 * socket that closes first leaves a dead descriptor in epoll.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include "lib/clock.h"
#include "lib/log.h"
#include "proto/bus_private.h"
#include "proto/shard.h"

#define IPC_PATH_MAX  107
#define CLOSE_WAIT_MS 100 /* for answers that were given just before the end */
#define HWM_SPARE     1024

static const char *const drop_names[] = { "malformed", "oversize", "unknown", NULL };
/* By Refused.Why. */
static const char *const refused_names[] = {
	"unspecified", "protocol", "no_hello", "role", "malformed", "busy", "failed", "unknown",
	NULL
};

static const struct metric_def bus_metric_defs[] = {
	[BUS_FRAMES_IN] = { "bus_frames_in_total", METRIC_COUNTER, "Messages received" },
	[BUS_FRAMES_OUT] = { "bus_frames_out_total", METRIC_COUNTER, "Messages sent" },
	[BUS_DROPPED] = { "bus_dropped_total", METRIC_COUNTER,
	                  "Messages dropped, or not sent, for their form or size", "why",
	                  drop_names },
	[BUS_REFUSED] = { "bus_refused_total", METRIC_COUNTER, "Questions refused", "why",
	                  refused_names },
	[BUS_ASKS] = { "bus_asks_total", METRIC_COUNTER, "Questions asked" },
	[BUS_RESENT] = { "bus_asks_resent_total", METRIC_COUNTER,
	                 "Questions sent again after the other side restarted" },
	[BUS_TIMEOUTS] = { "bus_ask_timeouts_total", METRIC_COUNTER,
	                   "Questions without an answer at their deadline" },
	[BUS_LATE] = { "bus_answers_late_total", METRIC_COUNTER, "Answers to no open question" },
	[BUS_GONE] = { "bus_peers_gone_total", METRIC_COUNTER, "Answers to a peer that is gone" },
	[BUS_FULL] = { "bus_send_again_total", METRIC_COUNTER, "Sends that found no room" },
	[BUS_OPEN] = { "bus_asks_open", METRIC_GAUGE, "Questions sent and not answered" },
	[BUS_WAITING] = { "bus_asks_waiting", METRIC_GAUGE,
	                  "Questions waiting for a link or for credit" },
	[BUS_LINKS_UP] = { "bus_links_up", METRIC_GAUGE, "Links to other instances that are up" },
	[BUS_PEERS_KNOWN] = { "bus_peers", METRIC_GAUGE, "Peers that said Hello lately" },
	[BUS_ANSWER_TIME] = { "bus_answer_seconds", METRIC_HISTOGRAM,
	                      "Time from question to answer" },
	{ NULL }
};

void bus_count(struct bus *bus, unsigned row)
{
	if (bus->metrics != NULL)
		metric_add(bus->metrics, row, 1);
}

void bus_count_label(struct bus *bus, unsigned row, unsigned label)
{
	if (bus->metrics != NULL)
		metric_add_label(bus->metrics, row, label, 1);
}

static void set_gauges(struct bus *bus)
{
	size_t open = 0, waiting = 0, up = 0;

	if (bus->metrics == NULL)
		return;
	for (unsigned i = 0; i < bus->n_socks; i++) {
		const struct bus_link *link = bus->socks[i]->link;

		if (link == NULL)
			continue;
		open += link->n_open;
		waiting += link->n_wait;
		up += link->state == LINK_UP;
	}
	metric_gauge(bus->metrics, BUS_OPEN, (double)open);
	metric_gauge(bus->metrics, BUS_WAITING, (double)waiting);
	metric_gauge(bus->metrics, BUS_LINKS_UP, (double)up);
	metric_gauge(bus->metrics, BUS_PEERS_KNOWN, (double)HASH_COUNT(bus->peers));
}

/* ---- the loop ---- */

int bus_sock_events(const struct bus_sock *s)
{
	int events = 0;
	size_t len = sizeof(events);

	if (zmq_getsockopt(s->zmq, ZMQ_EVENTS, &events, &len) != 0)
		die_bug("ZMQ_EVENTS");
	return events;
}

static void on_poll(uv_poll_t *h, int status, int events)
{
	struct bus_sock *s = h->data;

	s->maybe = true; /* it has woken the loop; on_check() does the work */
}

/* Never runs: it is started before the loop polls and stopped right after. */
static void on_idle(uv_idle_t *h)
{
}

static bool sock_has_work(struct bus_sock *s)
{
	int events = bus_sock_events(s);
	bool work = (events & ZMQ_POLLIN) != 0;

	if (s->link != NULL) {
		ask_events(s->link, events);
		work = work || ((s->link->blocked || s->link->hello_due) && (events & ZMQ_POLLOUT));
	}
	s->maybe = work;
	return work;
}

static void on_prepare(uv_prepare_t *h)
{
	struct bus *bus = h->data;
	bool work = false;

	for (unsigned i = 0; i < bus->n_socks; i++)
		if (bus->socks[i]->maybe && sock_has_work(bus->socks[i]))
			work = true;
	if (work)
		uv_idle_start(&bus->idle, on_idle);
}

static void sock_receive(struct bus_sock *s)
{
	struct bus_in in;
	enum err err;

	for (int n = 0; n < BUS_BUDGET && !s->bus->closing; n++) {
		err = frame_recv(s, &in);
		if (err == ERR_AGAIN) {
			s->maybe = false;
			return;
		}
		if (err == ERR_OK && s->link != NULL)
			ask_receive(s->link, &in);
		else if (err == ERR_OK)
			answer_receive(s->bus, &in);
		frame_in_free(&in);
	}
}

static void on_check(uv_check_t *h)
{
	struct bus *bus = h->data;

	uv_idle_stop(&bus->idle);
	for (unsigned i = 0; i < bus->n_socks && !bus->closing; i++) {
		struct bus_sock *s = bus->socks[i];

		if (!s->maybe)
			continue;
		sock_receive(s);
		if (s->link != NULL && !bus->closing)
			ask_flush(s->link);
	}
}

static void on_timer(uv_timer_t *h)
{
	struct bus *bus = h->data;
	uint64_t now = uv_now(bus->loop);

	answer_tick(bus, now);
	set_gauges(bus);
	ask_tick(bus, now);
}

/* ---- opening ---- */

static void set_int(void *zmq, int option, int value)
{
	if (zmq_setsockopt(zmq, option, &value, sizeof(value)) != 0)
		die_bug("zmq_setsockopt");
}

/* High-water marks are above all that we let be open: they never fire before our own
 * bounds do, except at a peer that does not read. */
static void sock_options(const struct bus *bus, void *zmq)
{
	const struct common_conf *c = bus->conf.common;
	int hwm = (int)(c->bus_waiting_asks + c->bus_credit_messages + HWM_SPARE);
	uint64_t most = c->bus_body_bytes > c->bus_frame_bytes ? c->bus_body_bytes
	                                                        : c->bus_frame_bytes;
	int64_t max = (int64_t)(most + 64 * 1024);

	set_int(zmq, ZMQ_LINGER, 0);
	set_int(zmq, ZMQ_SNDHWM, hwm);
	set_int(zmq, ZMQ_RCVHWM, hwm);
	set_int(zmq, ZMQ_HEARTBEAT_IVL, 2000);
	set_int(zmq, ZMQ_HEARTBEAT_TIMEOUT, 6000);
	set_int(zmq, ZMQ_HANDSHAKE_IVL, 3000);
	if (zmq_setsockopt(zmq, ZMQ_MAXMSGSIZE, &max, sizeof(max)) != 0)
		die_bug("ZMQ_MAXMSGSIZE");
}

static void sock_start(struct bus *bus, struct bus_sock *s, struct bus_link *link)
{
	int fd;
	size_t len = sizeof(fd);

	s->bus = bus;
	s->link = link;
	s->maybe = true;
	if (zmq_getsockopt(s->zmq, ZMQ_FD, &fd, &len) != 0 ||
	    uv_poll_init(bus->loop, &s->poll, fd) != 0)
		die_bug("ZMQ_FD");
	s->poll.data = s;
	uv_poll_start(&s->poll, UV_READABLE, on_poll);
	bus->handles++;
	bus->socks = xrealloc(bus->socks, (bus->n_socks + 1) * sizeof(struct bus_sock *));
	bus->socks[bus->n_socks++] = s;
}

static void *sock_new(struct bus *bus, int type)
{
	void *zmq = zmq_socket(bus->ctx, type);

	if (zmq == NULL)
		die_bug("zmq_socket");
	sock_options(bus, zmq);
	return zmq;
}

static void link_open(struct bus *bus, struct bus_link *link, const char *endpoint)
{
	char rid[BUS_RID_MAX];
	int n = snprintf(rid, sizeof(rid), "%s#%016llx", bus->instance,
	                 (unsigned long long)bus->epoch);

	link->sock.zmq = sock_new(bus, ZMQ_DEALER);
	set_int(link->sock.zmq, ZMQ_IMMEDIATE, 1);
	set_int(link->sock.zmq, ZMQ_RECONNECT_IVL, 50);
	set_int(link->sock.zmq, ZMQ_RECONNECT_IVL_MAX, 1000);
	if (zmq_setsockopt(link->sock.zmq, ZMQ_ROUTING_ID, rid, (size_t)n) != 0)
		die_bug("ZMQ_ROUTING_ID");
	if (zmq_connect(link->sock.zmq, endpoint) != 0)
		log_error("bus-connect", LOGS("peer", link->name), LOGS("endpoint", endpoint),
		          LOGS("why", zmq_strerror(errno)));
	link->hello_due = true;
	sock_start(bus, &link->sock, link);
}

static bool ipc_path(const char *endpoint, const char **path)
{
	if (strncmp(endpoint, "ipc://", 6) != 0)
		return false;
	*path = endpoint + 6;
	return true;
}

static enum err ipc_prepare(const char *path)
{
	char *dir;
	char *slash;
	enum err err = ERR_OK;

	if (strlen(path) > IPC_PATH_MAX) {
		log_error("bus-bind", LOGS("path", path),
		          LOGS("why", "the path of a socket may have at most 107 bytes"));
		return ERR_IO;
	}
	dir = xstrdup(path);
	slash = strrchr(dir, '/');
	if (slash != NULL && slash != dir) {
		*slash = '\0';
		if (mkdir(dir, 0700) != 0 && errno != EEXIST) {
			log_error("bus-bind", LOGS("directory", dir), LOGS("why", strerror(errno)));
			err = ERR_IO;
		}
	}
	xfree(dir);
	return err;
}

static enum err router_open(struct bus *bus)
{
	const char *endpoint = bus->conf.bind;
	const char *path = NULL;

	if (ipc_path(endpoint, &path) && ipc_prepare(path) != ERR_OK)
		return ERR_IO;
	bus->router.zmq = sock_new(bus, ZMQ_ROUTER);
	set_int(bus->router.zmq, ZMQ_ROUTER_MANDATORY, 1);
	set_int(bus->router.zmq, ZMQ_ROUTER_HANDOVER, 1);
	if (zmq_bind(bus->router.zmq, endpoint) != 0 ||
	    (path != NULL && chmod(path, 0600) != 0)) {
		log_error("bus-bind", LOGS("endpoint", endpoint), LOGS("why", zmq_strerror(errno)));
		zmq_close(bus->router.zmq);
		bus->router.zmq = NULL;
		return ERR_IO;
	}
	sock_start(bus, &bus->router, NULL);
	return ERR_OK;
}

/* Names of all stages; links for those that we ask, except to ourselves. */
static void stages_init(struct bus *bus)
{
	const struct worker_instance *rows = bus->conf.common->instances.row;
	size_t n = bus->conf.common->instances.n;

	for (size_t i = 0; i < n; i++) {
		unsigned role = (unsigned)rows[i].stage + 1;
		struct bus_stage *st;

		if (role >= BUS_STAGES)
			die_bug("stage of an instance");
		st = &bus->stage[role];
		st->names = xrealloc(st->names, (st->n + 1) * sizeof(*st->names));
		st->names[st->n++] = rows[i].name;
	}
}

static void link_init(struct bus_link *link, Holdfast__Role stage, const char *name)
{
	link->stage = stage;
	link->name = name;
	TAILQ_INIT(&link->open);
	TAILQ_INIT(&link->wait[0]);
	TAILQ_INIT(&link->wait[1]);
}

static void links_open(struct bus *bus)
{
	const struct worker_instance *rows = bus->conf.common->instances.row;
	unsigned seen[BUS_STAGES] = { 0 };

	for (unsigned role = 1; role < BUS_STAGES; role++)
		if (bus->conf.asks & BUS_ROLE(role) && bus->stage[role].n > 0)
			bus->stage[role].links =
				xcalloc(bus->stage[role].n, sizeof(struct bus_link));
	for (size_t i = 0; i < bus->conf.common->instances.n; i++) {
		unsigned role = (unsigned)rows[i].stage + 1;
		unsigned at = seen[role]++;

		if (bus->stage[role].links == NULL)
			continue;
		link_init(&bus->stage[role].links[at], (Holdfast__Role)role, rows[i].name);
		if (!bus_is_self(bus, (Holdfast__Role)role, at))
			link_open(bus, &bus->stage[role].links[at], rows[i].bus);
	}
}

static void handles_start(struct bus *bus)
{
	uv_prepare_init(bus->loop, &bus->prepare);
	uv_check_init(bus->loop, &bus->check);
	uv_idle_init(bus->loop, &bus->idle);
	uv_timer_init(bus->loop, &bus->timer);
	bus->prepare.data = bus->check.data = bus->idle.data = bus->timer.data = bus;
	bus->handles += 4;
	uv_prepare_start(&bus->prepare, on_prepare);
	uv_check_start(&bus->check, on_check);
	uv_timer_start(&bus->timer, on_timer, BUS_TICK_MS, BUS_TICK_MS);
}

static void handlers_init(struct bus *bus)
{
	const struct bus_handler *h = bus->conf.handlers;

	for (; h != NULL && h->body_case != 0; h++) {
		if ((unsigned)h->body_case >= BUS_BODY_CASES || bus->handler[h->body_case] != NULL)
			die_bug("handler table");
		bus->handler[h->body_case] = h;
	}
}

static uint64_t new_epoch(void)
{
	uint64_t e = 0;

	if (getrandom(&e, sizeof(e), 0) != (ssize_t)sizeof(e))
		e = clock_wall_ms() ^ clock_mono_us() << 20;
	return e != 0 ? e : 1;
}

static void bus_free(struct bus *bus)
{
	for (unsigned i = 0; i < BUS_STAGES; i++) {
		xfree(bus->stage[i].names);
		xfree(bus->stage[i].links);
	}
	ask_free_pool(bus);
	answer_free(bus);
	idmap_free(&bus->asks);
	frame_limits_free(bus);
	xfree(bus->socks);
	xfree(bus);
}

static struct bus *bus_new(uv_loop_t *loop, const struct bus_conf *conf)
{
	struct bus *bus = xcalloc(1, sizeof(*bus));

	bus->loop = loop;
	bus->conf = *conf;
	bus->epoch = new_epoch();
	bus->granting = true;
	snprintf(bus->instance, sizeof(bus->instance), "%s", conf->instance);
	bus->asks = idmap_new();
	bus->tick = uv_now(loop) / BUS_TICK_MS;
	TAILQ_INIT(&bus->pool);
	for (unsigned i = 0; i < BUS_WHEEL; i++)
		TAILQ_INIT(&bus->wheel[i]);
	frame_limits(bus);
	handlers_init(bus);
	stages_init(bus);
	if (conf->metrics != NULL)
		bus->metrics = metric_set_new(conf->metrics, bus_metric_defs);
	return bus;
}

enum err bus_open(uv_loop_t *loop, const struct bus_conf *conf, struct bus **out)
{
	struct bus *bus = bus_new(loop, conf);
	enum err err;

	bus->ctx = zmq_ctx_new();
	if (bus->ctx == NULL)
		die_bug("zmq_ctx_new");
	if (conf->bind != NULL) {
		err = router_open(bus);
		if (err != ERR_OK) {
			zmq_ctx_term(bus->ctx);
			bus_free(bus);
			return err;
		}
	}
	links_open(bus);
	handles_start(bus);
	*out = bus;
	return ERR_OK;
}

/* ---- closing ---- */

static void on_closed(uv_handle_t *h)
{
	struct bus *bus = h->data;

	if (--bus->handles > 0)
		return;
	for (unsigned i = 0; i < bus->n_socks; i++) {
		if (bus->socks[i]->link == NULL)
			set_int(bus->socks[i]->zmq, ZMQ_LINGER, CLOSE_WAIT_MS);
		zmq_close(bus->socks[i]->zmq);
	}
	zmq_ctx_term(bus->ctx);
	bus_free(bus);
}

static void on_poll_closed(uv_handle_t *h)
{
	struct bus_sock *s = h->data;

	h->data = s->bus;
	on_closed(h);
}

void bus_close(struct bus **pbus)
{
	struct bus *bus = *pbus;

	if (bus == NULL)
		return;
	*pbus = NULL;
	bus->closing = true;
	ask_close_all(bus);
	for (unsigned i = 0; i < bus->n_socks; i++)
		uv_close((uv_handle_t *)&bus->socks[i]->poll, on_poll_closed);
	uv_close((uv_handle_t *)&bus->prepare, on_closed);
	uv_close((uv_handle_t *)&bus->check, on_closed);
	uv_close((uv_handle_t *)&bus->idle, on_closed);
	uv_close((uv_handle_t *)&bus->timer, on_closed);
}

/* ---- who is where ---- */

unsigned bus_instances(const struct bus *bus, Holdfast__Role stage)
{
	return stage < BUS_STAGES ? bus->stage[stage].n : 0;
}

const char *bus_instance_name(const struct bus *bus, Holdfast__Role stage, unsigned i)
{
	return i < bus_instances(bus, stage) ? bus->stage[stage].names[i] : NULL;
}

unsigned bus_shard(const struct bus *bus, Holdfast__Role stage, const void *key, size_t len)
{
	if (bus_instances(bus, stage) == 0)
		return 0; /* bus_ask() says ERR_NOENT */
	return shard_pick(bus->stage[stage].names, bus->stage[stage].n, key, len);
}

bool bus_is_self(const struct bus *bus, Holdfast__Role stage, unsigned i)
{
	const char *name = bus_instance_name(bus, stage, i);

	return stage == bus->conf.role && name != NULL && strcmp(name, bus->instance) == 0;
}

bool bus_link_up(const struct bus *bus, Holdfast__Role stage, unsigned i)
{
	return i < bus_instances(bus, stage) && bus->stage[stage].links != NULL &&
	       bus->stage[stage].links[i].state == LINK_UP;
}

size_t bus_frame_limit(const struct bus *bus)
{
	return bus->conf.common->bus_frame_bytes;
}

/* ---- bytes in messages ---- */

ProtobufCBinaryData pb_bytes(const void *p, size_t len)
{
	return (ProtobufCBinaryData){ .len = len, .data = (uint8_t *)(uintptr_t)p };
}

ProtobufCBinaryData pb_str(const char *s)
{
	return pb_bytes(s, strlen(s));
}

bool pb_is(ProtobufCBinaryData d, const char *s)
{
	return strlen(s) == d.len && (d.len == 0 || memcmp(d.data, s, d.len) == 0);
}

char *pb_strdup(ProtobufCBinaryData d)
{
	char *s = xmalloc(d.len + 1);

	for (size_t i = 0; i < d.len; i++)
		s[i] = d.data[i] != '\0' ? (char)d.data[i] : '?';
	s[d.len] = '\0';
	return s;
}
