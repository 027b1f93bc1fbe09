/* tests/unit/ingest_rig.h - the whole ingest stage between peers that the test plays
 *
 * Real loop, store, bus and TCP; policy, holdq and delivery are tables of what they
 * answer.  "None" is played by not answering; what was not answered stays open
 * until the deadline.  A receipt can be kept back and given later (PLAY_LATE).
 */
#ifndef TESTS_UNIT_INGEST_RIG_H
#define TESTS_UNIT_INGEST_RIG_H

#include "tests/unit/bus_rig.h"

#include <arpa/inet.h>
#include <sys/wait.h>
#include "ingest/abandon.h"
#include "ingest/ingest.h"
#include "ingest/session.h"
#include "ingest/spool.h"
#include "lib/stream_private.h"

#define RIG_TAKEN 256

enum play {
	PLAY_OK, PLAY_SILENT, PLAY_HOLD, PLAY_REFUSE, PLAY_BUSY, PLAY_LATE,
	PLAY_MALFORMED, /* the first that is handed over; the others are taken */
};

struct taken {
	struct uuid id;
	uint32_t part;
	size_t n_rcpt, size;
	Holdfast__Role at;
	Holdfast__Frame *frame; /* the hand-off */
	char *body;
};

struct peer {
	struct irig *r;
	struct bus *bus;
	Holdfast__Role role;
};

struct irig {
	struct rig rig;
	char store[96];
	struct worker w;
	struct worker_instance self;
	struct ingest_conf conf;
	struct listener_conf door;
	char address[32];
	struct stage st;
	struct peer policy, holdq, delivery;
	int port;
	/* what policy, holdq and delivery do */
	enum play mail, rcpt, give, login;
	bool metered;
	Holdfast__VerdictClass refuse_as; /* PLAY_REFUSE; 0: bounce */
	Holdfast__CannotSend cannot;
	Holdfast__Terms *terms;           /* with the verdict on MAIL */
	const struct sasl_keys *keys;     /* of every login */
	struct peer *late;                /* who keeps a receipt back, */
	struct bus_from late_from;        /* and from whom */
	Holdfast__Frame *late_frame;
	unsigned n_login;
	unsigned n_mail, n_rcpt, n_abandon, n_given, n_taken;
	struct taken taken[RIG_TAKEN];
	struct stream *client;
	bool connected, gone;
	struct buf heard;
};

/* ---- what the peers answer */

static void rig_verdict(struct peer *p, const struct bus_from *from, enum play play,
                        Holdfast__Terms *terms)
{
	Holdfast__Frame f = HOLDFAST__FRAME__INIT;
	Holdfast__Verdict v = HOLDFAST__VERDICT__INIT;
	static const uint8_t vid[UUID_LEN] = { 1 };

	if (play == PLAY_SILENT)
		return;
	if (play == PLAY_BUSY) {
		bus_refuse(p->bus, from, HOLDFAST__REFUSED__WHY__BUSY, "busy");
		return;
	}
	v.class_ = play == PLAY_HOLD   ? HOLDFAST__VERDICT_CLASS__VERDICT_HOLD
	         : play == PLAY_REFUSE ? p->r->refuse_as
	                               : HOLDFAST__VERDICT_CLASS__VERDICT_OK;
	v.hold = HOLDFAST__HOLD_REASON__HOLD_NEW_ACCOUNT;
	v.verdict_id = pb_bytes(vid, sizeof(vid));
	v.metered = p->r->metered;
	v.cannot = p->r->cannot;
	v.terms = terms;
	f.body_case = HOLDFAST__FRAME__BODY_VERDICT;
	f.verdict = &v;
	bus_answer(p->bus, from, &f, NULL);
}

static void rig_on_mail(void *state, const struct bus_from *from, const Holdfast__Frame *q,
                        struct blob *body)
{
	struct peer *p = state;

	p->r->n_mail++;
	rig_verdict(p, from, p->r->mail, p->r->terms);
}

static void rig_on_rcpt(void *state, const struct bus_from *from, const Holdfast__Frame *q,
                        struct blob *body)
{
	struct peer *p = state;

	p->r->n_rcpt++;
	rig_verdict(p, from, p->r->rcpt, NULL);
}

static void rig_on_address(void *state, const struct bus_from *from, const Holdfast__Frame *q,
                           struct blob *body)
{
	struct peer *p = state;
	Holdfast__Frame f = HOLDFAST__FRAME__INIT;
	Holdfast__Principal pr = HOLDFAST__PRINCIPAL__INIT;

	pr.known = true;
	pr.account = pb_str("acct");
	f.body_case = HOLDFAST__FRAME__BODY_PRINCIPAL;
	f.principal = &pr;
	bus_answer(p->bus, from, &f, NULL);
}

static void rig_on_login(void *state, const struct bus_from *from, const Holdfast__Frame *q,
                         struct blob *body)
{
	struct peer *p = state;
	const struct sasl_keys *k = p->r->keys;
	Holdfast__Frame f = HOLDFAST__FRAME__INIT;
	Holdfast__Principal pr = HOLDFAST__PRINCIPAL__INIT;

	p->r->n_login++;
	if (p->r->login == PLAY_SILENT)
		return;
	pr.known = p->r->login != PLAY_REFUSE;
	pr.account = pb_str("acct");
	pr.salt = pb_bytes(k->salt, k->salt_len);
	pr.iterations = k->iterations;
	pr.stored_key = pb_bytes(k->stored_key, SASL_KEY_LEN);
	pr.server_key = pb_bytes(k->server_key, SASL_KEY_LEN);
	f.body_case = HOLDFAST__FRAME__BODY_PRINCIPAL;
	f.principal = &pr;
	bus_answer(p->bus, from, &f, NULL);
}

static void rig_on_abandon(void *state, const struct bus_from *from, const Holdfast__Frame *q,
                           struct blob *body)
{
	struct peer *p = state;

	p->r->n_abandon++;
	bus_done(p->bus, from, HOLDFAST__DONE__RESULT__OK, "");
}

static inline Holdfast__Frame *rig_frame_copy(const Holdfast__Frame *f)
{
	struct buf packed = BUF_INIT;
	Holdfast__Frame *copy;

	buf_grew(&packed, holdfast__frame__pack(f, (uint8_t *)buf_room(
		&packed, holdfast__frame__get_packed_size(f))));
	copy = holdfast__frame__unpack(NULL, packed.len, (const uint8_t *)buf_str(&packed));
	assert_non_null(copy);
	buf_free(&packed);
	return copy;
}

static void rig_note(struct peer *p, const Holdfast__Frame *q, struct blob *body)
{
	const Holdfast__Envelope *e = q->handoff->envelope;
	struct irig *r = p->r;
	struct taken *t = &r->taken[r->n_taken];

	for (unsigned i = 0; i < r->n_taken; i++)
		if (memcmp(r->taken[i].id.b, e->message_id.data, UUID_LEN) == 0 &&
		    r->taken[i].part == e->part)
			return; /* a repeat */
	assert_true(r->n_taken < RIG_TAKEN && body->len == e->size);
	memcpy(t->id.b, e->message_id.data, UUID_LEN);
	t->part = e->part;
	t->n_rcpt = e->n_rcpt;
	t->size = body->len;
	t->at = p->role;
	t->frame = rig_frame_copy(q);
	t->body = xstrndup((const char *)body->data, body->len);
	r->n_taken++;
}

static void rig_receipt(struct peer *p, const struct bus_from *from, const Holdfast__Frame *q)
{
	Holdfast__Frame f = HOLDFAST__FRAME__INIT;
	Holdfast__Custody c = HOLDFAST__CUSTODY__INIT;

	c.message_id = q->handoff->envelope->message_id;
	c.part = q->handoff->envelope->part;
	f.body_case = HOLDFAST__FRAME__BODY_CUSTODY;
	f.custody = &c;
	bus_answer(p->bus, from, &f, NULL);
}

/* The receipt that was kept back goes out. */
static inline void rig_late_receipt(struct irig *r)
{
	assert_non_null(r->late);
	rig_receipt(r->late, &r->late_from, r->late_frame);
	holdfast__frame__free_unpacked(r->late_frame, NULL);
	r->late = NULL;
	r->late_frame = NULL;
}

static void rig_on_handoff(void *state, const struct bus_from *from, const Holdfast__Frame *q,
                           struct blob *body)
{
	struct peer *p = state;

	p->r->n_given++;
	if (p->r->give == PLAY_SILENT)
		return;
	if (p->r->give == PLAY_BUSY) {
		bus_refuse(p->bus, from, HOLDFAST__REFUSED__WHY__BUSY, "busy");
		return;
	}
	if (p->r->give == PLAY_MALFORMED && p->r->n_given == 1) {
		bus_refuse(p->bus, from, HOLDFAST__REFUSED__WHY__MALFORMED, "malformed");
		return;
	}
	rig_note(p, q, body);
	if (p->r->give == PLAY_LATE) {
		assert_null(p->r->late);
		p->r->late = p;
		p->r->late_from = *from;
		p->r->late_frame = rig_frame_copy(q);
		return;
	}
	rig_receipt(p, from, q);
}

static const struct bus_handler rig_policy_table[] = {
	{ HOLDFAST__FRAME__BODY_MAIL_QUERY, BUS_ANY, false, rig_on_mail },
	{ HOLDFAST__FRAME__BODY_RCPT_QUERY, BUS_ANY, false, rig_on_rcpt },
	{ HOLDFAST__FRAME__BODY_ADDRESS_QUERY, BUS_ANY, false, rig_on_address },
	{ HOLDFAST__FRAME__BODY_LOGIN_QUERY, BUS_ANY, false, rig_on_login },
	{ HOLDFAST__FRAME__BODY_ABANDON, BUS_ANY, false, rig_on_abandon },
	{ HOLDFAST__FRAME__BODY__NOT_SET, 0, false, NULL },
};

static const struct bus_handler rig_custody_table[] = {
	{ HOLDFAST__FRAME__BODY_HANDOFF, BUS_ANY, true, rig_on_handoff },
	{ HOLDFAST__FRAME__BODY__NOT_SET, 0, false, NULL },
};

/* ---- peers and the stage come and go */

static inline void peer_up(struct irig *r, struct peer *p, Holdfast__Role role, int row)
{
	const struct bus_conf conf = {
		.common = &r->rig.common, .role = role, .instance = r->rig.name[row],
		.bind = r->rig.endpoint[row], .state = p,
		.handlers = role == HOLDFAST__ROLE__ROLE_POLICY ? rig_policy_table
		                                                : rig_custody_table,
	};

	p->r = r;
	p->role = role;
	assert_int_equal(bus_open(&r->rig.loop, &conf, &p->bus), ERR_OK);
}

static inline void delivery_up(struct irig *r)
{
	peer_up(r, &r->delivery, HOLDFAST__ROLE__ROLE_DELIVERY, 0);
	RIG_UNTIL(&r->rig, bus_link_up(r->st.bus, HOLDFAST__ROLE__ROLE_DELIVERY, 0));
}

static inline void delivery_down(struct irig *r)
{
	bus_close(&r->delivery.bus);
	RIG_UNTIL(&r->rig, !bus_link_up(r->st.bus, HOLDFAST__ROLE__ROLE_DELIVERY, 0));
}

static inline const struct metric_def *rig_metrics(void)
{
	static const char *const words[] = { "0", "1", "2", "3", "4", "5", NULL };
	static char names[M_NOTIFICATIONS + 1][16];
	static struct metric_def defs[M_NOTIFICATIONS + 2];

	for (int i = 0; i <= M_NOTIFICATIONS; i++) {
		bool labelled = i == M_MESSAGES || i == M_MESSAGES_REFUSED || i == M_RCPTS ||
		                i == M_TLS;

		snprintf(names[i], sizeof(names[i]), "m%d", i);
		defs[i] = (struct metric_def){
			names[i], i == M_HANDOFF_SECONDS ? METRIC_HISTOGRAM : METRIC_COUNTER, "x",
			labelled ? "l" : NULL, labelled ? words : NULL,
		};
	}
	return defs;
}

static void rig_peer(void *state, Holdfast__Role role, const char *instance, uint64_t epoch)
{
	ingest_peer(state, role, instance, epoch);
}

static inline void stage_up(struct irig *r)
{
	static const struct kv_cf cfs[] = {
		[CF_PART] = { "part", KV_RECORDS }, [CF_LANE] = { "lane", KV_QUEUE },
		[CF_BODY] = { "body", KV_BLOBS },
	};
	static const struct kv_conf kv = {
		.cache_bytes = 4 << 20, .write_buffer_bytes = 4 << 20, .batch_bytes = 1 << 20,
		.pending_bytes = 4 << 20,
	};
	const struct bus_conf bus = {
		.common = &r->rig.common, .role = HOLDFAST__ROLE__ROLE_INGEST,
		.instance = "ingest-1",
		.asks = BUS_ROLE(HOLDFAST__ROLE__ROLE_POLICY) |
		        BUS_ROLE(HOLDFAST__ROLE__ROLE_HOLDQ) |
		        BUS_ROLE(HOLDFAST__ROLE__ROLE_DELIVERY),
		.state = &r->st, .peer = rig_peer,
	};

	r->w = (struct worker){ .loop = &r->rig.loop, .common = &r->rig.common, .self = &r->self,
	                        .conf = &r->conf, .metrics = metrics_new("ingest", "ingest-1") };
	r->st = (struct stage){ .worker = &r->w };
	r->st.metrics = metric_set_new(r->w.metrics, rig_metrics());
	assert_int_equal(kv_open(&r->rig.loop, r->store, cfs, 3, &kv, &r->st.kv), ERR_OK);
	assert_int_equal(bus_open(&r->rig.loop, &bus, &r->st.bus), ERR_OK);
	assert_int_equal(ingest_open(&r->st), ERR_OK);
	RIG_UNTIL(&r->rig, bus_link_up(r->st.bus, HOLDFAST__ROLE__ROLE_POLICY, 0) &&
	                       bus_link_up(r->st.bus, HOLDFAST__ROLE__ROLE_HOLDQ, 0));
}

/* As stage.c does it: the stage, the bus, the store. */
static inline void stage_down(struct irig *r)
{
	ingest_close(&r->st);
	bus_close(&r->st.bus);
	kv_close(&r->st.kv);
	metrics_free(&r->w.metrics);
}

/* A port that nobody listens on. */
static inline int rig_free_port(void)
{
	struct sockaddr_in sin = { .sin_family = AF_INET,
	                           .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(sin);
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	assert_int_equal(bind(fd, (struct sockaddr *)&sin, len), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&sin, &len), 0);
	close(fd);
	return ntohs(sin.sin_port);
}

/* All but running: a test may change r->conf and r->door before irig_start(). */
static inline struct irig *irig_new(void)
{
	struct irig *r = xcalloc(1, sizeof(*r));
	static char hostname[] = "relay.test", self[] = "ingest-1", none[] = "";

	rig_open(&r->rig);
	r->rig.common.instances.n = 2; /* one delivery, one policy, and below one holdq */
	r->rig.row[2] = r->rig.row[3];
	r->rig.common.instances.n = 3;
	r->rig.common.hostname = hostname;
	snprintf(r->store, sizeof(r->store), "%s/store", r->rig.dir);
	r->port = rig_free_port();
	snprintf(r->address, sizeof(r->address), "127.0.0.1:%d", r->port);
	r->door = (struct listener_conf){ .address = r->address, .role = DOOR_RELAY };
	r->self.name = self;
	r->conf = (struct ingest_conf){
		.listeners = { &r->door, 1 }, .tls_cert = none, .tls_key = none,
		.max_message_size = 100000, .max_recipients = 100, .max_sessions = 100,
		.max_errors = 20, .command_timeout = 20000, .data_timeout = 20000,
		.data_total_timeout = 20000, .max_hops = 50, .auth_fail_window = 60000,
		.policy_wait = 300, .handoff_wait = 300, .spool_bytes = 1 << 20,
		.memory_bytes = 1 << 20, .spool_retry = 10, .spool_window = 4,
		.auth_waiting = 10, .abandon_waiting = 10,
	};
	r->refuse_as = HOLDFAST__VERDICT_CLASS__VERDICT_BOUNCE;
	return r;
}

static inline void irig_start(struct irig *r)
{
	peer_up(r, &r->policy, HOLDFAST__ROLE__ROLE_POLICY, 1);
	peer_up(r, &r->holdq, HOLDFAST__ROLE__ROLE_HOLDQ, 3);
	stage_up(r);
}

static inline struct irig *irig_open(void)
{
	struct irig *r = irig_new();

	irig_start(r);
	return r;
}

static inline void irig_close(struct irig *r)
{
	int status;
	pid_t pid;

	if (r->client != NULL)
		stream_abort(r->client);
	stage_down(r);
	bus_close(&r->delivery.bus);
	bus_close(&r->policy.bus);
	bus_close(&r->holdq.bus);
	buf_free(&r->heard);
	for (unsigned i = 0; i < r->n_taken; i++) {
		holdfast__frame__free_unpacked(r->taken[i].frame, NULL);
		xfree(r->taken[i].body);
	}
	if (r->late_frame != NULL)
		holdfast__frame__free_unpacked(r->late_frame, NULL);
	pid = fork();
	if (pid == 0) {
		execl("/bin/rm", "rm", "-rf", r->store, (char *)NULL);
		_exit(127);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	rig_close(&r->rig); /* the loop must be empty */
	xfree(r);
}

/* ---- the client */

static void client_data(void *owner, const char *p, size_t n)
{
	buf_add(&((struct irig *)owner)->heard, p, n);
}

static void client_connected(void *owner, enum err err)
{
	assert_int_equal(err, ERR_OK);
	((struct irig *)owner)->connected = true;
}

static void client_closed(void *owner, enum err why)
{
	struct irig *r = owner;

	r->client = NULL;
	r->gone = true;
}

static void client_nothing(void *owner)
{
}

static const struct stream_events client_events = {
	.data = client_data, .connected = client_connected, .drained = client_nothing,
	.expired = client_nothing, .closed = client_closed,
};

static inline void client_connect(struct irig *r)
{
	struct sockaddr_in sin;

	r->connected = r->gone = false;
	buf_reset(&r->heard);
	uv_ip4_addr("127.0.0.1", r->port, &sin);
	assert_int_equal(stream_connect(&r->rig.loop, (struct sockaddr *)&sin, NULL,
	                                &client_events, r, &r->client), ERR_OK);
	RIG_UNTIL(&r->rig, r->connected);
}

static inline void client_say(struct irig *r, const char *text)
{
	stream_write(r->client, text, strlen(text));
}

/* More clients at once, each with an end of its own. */
struct rig_client {
	struct stream *stream; /* NULL: closed */
	bool connected;
	struct buf heard;
};

static void other_data(void *owner, const char *p, size_t n)
{
	buf_add(&((struct rig_client *)owner)->heard, p, n);
}

static void other_connected(void *owner, enum err err)
{
	assert_int_equal(err, ERR_OK);
	((struct rig_client *)owner)->connected = true;
}

static void other_closed(void *owner, enum err why)
{
	((struct rig_client *)owner)->stream = NULL;
}

static const struct stream_events other_events = {
	.data = other_data, .connected = other_connected, .drained = client_nothing,
	.expired = client_nothing, .closed = other_closed,
};

static inline void other_connect(struct irig *r, struct rig_client *c)
{
	struct sockaddr_in sin;

	*c = (struct rig_client){ .heard = BUF_INIT };
	uv_ip4_addr("127.0.0.1", r->port, &sin);
	assert_int_equal(stream_connect(&r->rig.loop, (struct sockaddr *)&sin, NULL,
	                                &other_events, c, &c->stream), ERR_OK);
	RIG_UNTIL(&r->rig, c->connected);
}

static inline void other_say(struct rig_client *c, const char *text)
{
	stream_write(c->stream, text, strlen(text));
}

static inline bool other_heard(const struct rig_client *c, const char *text)
{
	return strstr(buf_str(&c->heard), text) != NULL;
}

static inline void other_close(struct irig *r, struct rig_client *c)
{
	if (c->stream != NULL)
		stream_abort(c->stream);
	RIG_UNTIL(&r->rig, c->stream == NULL);
	buf_free(&c->heard);
}

/* Gone without a word: what is said to it now meets nobody. */
static inline void client_reset(struct irig *r)
{
	const struct linger now = { .l_onoff = 1 };
	uv_os_fd_t fd;

	assert_int_equal(uv_fileno((uv_handle_t *)&r->client->tcp, &fd), 0);
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now)), 0);
	stream_abort(r->client);
}

static inline bool client_heard(const struct irig *r, const char *text)
{
	return strstr(buf_str(&r->heard), text) != NULL;
}

#endif
