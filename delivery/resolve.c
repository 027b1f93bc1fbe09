/* delivery/resolve.c - see resolve.h
 *
 * A question goes through one or two rounds: MX, then A and AAAA of each host.
 * libunbound holds ids of the idmap, never a pointer to a question.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <unbound.h>
#include <unistd.h>
#include "delivery/resolve.h"
#include "delivery/route.h"
#include "lib/clock.h"
#include "lib/idmap.h"
#include "lib/log.h"
#include "lib/mem.h"
#include "lib/uuid.h"

enum { TYPE_A = 1, TYPE_MX = 15, TYPE_AAAA = 28, CLASS_IN = 1 };
enum { RCODE_NOERROR = 0, RCODE_NXDOMAIN = 3 };

#define TTL_MAX 3600u
#define TTL_FAILED 30u

struct host {
	char     name[256];
	unsigned preference;
	uint32_t random;         /* order among equals */
};

struct question {
	TAILQ_ENTRY(question) by_deadline;
	struct resolver *r;
	uint64_t id, deadline_ms;
	resolve_done_fn *done;
	void    *owner;
	uint64_t owner_id;
	uint16_t port;
	bool     mx;
	bool     implicit;       /* no MX: the domain itself is the host */
	bool     failed;         /* a lookup of this round could not be answered */
	bool     private_seen;
	bool     secure;         /* the answer to MX was validated */
	unsigned waits;          /* lookups without answer */
	uint32_t ttl;
	struct host host[RESOLVE_HOSTS_MAX];
	unsigned n_hosts;
	struct address *v4, *v6; /* [host * PER_HOST] */
	uint8_t  n_v4[RESOLVE_HOSTS_MAX], n_v6[RESOLVE_HOSTS_MAX];
	char     name[256];
};

#define PER_HOST 8

/* One lookup: what libunbound hands back.  Freed by its answer or its cancel. */
struct lookup {
	LIST_ENTRY(lookup) link;
	struct resolver *r;
	uint64_t question;
	unsigned host;
	int      type, async_id;
};

struct resolver {
	struct ub_ctx *ub;
	uv_poll_t *poll;
	uv_loop_t *loop;
	struct idmap *questions;
	TAILQ_HEAD(, question) by_deadline; /* the wait is one for all: in order of arrival */
	LIST_HEAD(, lookup) lookups;
	uint64_t wait_ms;
	bool allow_private;
};

static void question_lookup(struct question *q, unsigned host, int type);

/* ---- addresses */

static bool v4_is_public(uint32_t a)
{
	static const struct { uint32_t net; unsigned bits; } special[] = {
		{ 0x00000000, 8 }, { 0x0a000000, 8 }, { 0x64400000, 10 }, { 0x7f000000, 8 },
		{ 0xa9fe0000, 16 }, { 0xac100000, 12 }, { 0xc0000000, 24 }, { 0xc0000200, 24 },
		{ 0xc0a80000, 16 }, { 0xc6120000, 15 }, { 0xc6336400, 24 }, { 0xcb007100, 24 },
		{ 0xe0000000, 3 },
	};

	for (size_t i = 0; i < ARRAY_LEN(special); i++)
		if (((a ^ special[i].net) >> (32 - special[i].bits)) == 0)
			return false;
	return true;
}

/* Only 2000::/3 is given out; documentation and the ways back into IPv4 are not for mail. */
static bool v6_is_public(const uint8_t *a)
{
	static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };

	if (memcmp(a, mapped, sizeof(mapped)) == 0)
		return v4_is_public((uint32_t)a[12] << 24 | (uint32_t)a[13] << 16 |
		                    (uint32_t)a[14] << 8 | a[15]);
	if ((a[0] & 0xe0) != 0x20)
		return false;
	if (a[0] == 0x20 && a[1] == 0x02)
		return false;
	return !(a[0] == 0x20 && a[1] == 0x01 && ((a[2] == 0x0d && a[3] == 0xb8) ||
	                                          (a[2] == 0 && a[3] == 0)));
}

bool address_is_public(const struct sockaddr *sa)
{
	if (sa->sa_family == AF_INET)
		return v4_is_public(ntohl(((const struct sockaddr_in *)sa)->sin_addr.s_addr));
	return v6_is_public(((const struct sockaddr_in6 *)sa)->sin6_addr.s6_addr);
}

static void address_set(struct address *a, const char *host, bool v6, const void *bytes,
                        uint16_t port)
{
	memset(&a->sa, 0, sizeof(a->sa));
	if (v6) {
		struct sockaddr_in6 *s = (struct sockaddr_in6 *)&a->sa;

		s->sin6_family = AF_INET6;
		s->sin6_port = htons(port);
		memcpy(&s->sin6_addr, bytes, 16);
	} else {
		struct sockaddr_in *s = (struct sockaddr_in *)&a->sa;

		s->sin_family = AF_INET;
		s->sin_port = htons(port);
		memcpy(&s->sin_addr, bytes, 4);
	}
	memcpy(a->host, host, strlen(host) + 1);
}

/* ---- the end of a question */

static void question_free(struct question *q)
{
	TAILQ_REMOVE(&q->r->by_deadline, q, by_deadline);
	idmap_remove(q->r->questions, q->id);
	xfree(q->v4);
	xfree(q->v6);
	xfree(q);
}

static void question_end(struct question *q, enum resolve_end end, const struct address *a,
                         unsigned n, const char *text)
{
	struct resolution res = { .end = end, .address = a, .n = n, .text = text,
	                          .secure = q->secure };

	res.ttl = end == RESOLVE_LATER || q->ttl > TTL_MAX ? TTL_FAILED : q->ttl;
	if (end == RESOLVE_OK && q->ttl > TTL_MAX)
		res.ttl = TTL_MAX;
	q->done(q->owner, q->owner_id, &res);
	question_free(q);
}

static unsigned collect(const struct question *q, struct address *out)
{
	unsigned n = 0;

	for (unsigned h = 0; h < q->n_hosts; h++) {
		for (unsigned i = 0; i < q->n_v4[h] && n < RESOLVE_ADDRESSES_MAX; i++)
			out[n++] = q->v4[h * PER_HOST + i];
		for (unsigned i = 0; i < q->n_v6[h] && n < RESOLVE_ADDRESSES_MAX; i++)
			out[n++] = q->v6[h * PER_HOST + i];
	}
	return n;
}

static void question_conclude(struct question *q)
{
	struct address *all = xmalloc(RESOLVE_ADDRESSES_MAX * sizeof(*all));
	unsigned n = collect(q, all);

	if (n > 0)
		question_end(q, RESOLVE_OK, all, n, "");
	else if (q->private_seen)
		question_end(q, RESOLVE_UNUSABLE, NULL, 0,
		             "its addresses are not of the public Internet");
	else if (q->failed)
		question_end(q, RESOLVE_LATER, NULL, 0, "name service failed for its mail host");
	else if (q->implicit)
		question_end(q, RESOLVE_NO_DOMAIN, NULL, 0, "domain has neither MX nor address");
	else
		question_end(q, RESOLVE_LATER, NULL, 0, "none of its mail hosts has an address");
	xfree(all);
}

/* ---- rounds */

static int host_order(const void *a, const void *b)
{
	const struct host *x = a, *y = b;

	if (x->preference != y->preference)
		return x->preference < y->preference ? -1 : 1;
	return (x->random > y->random) - (x->random < y->random);
}

static void ask_addresses(struct question *q)
{
	q->v4 = xcalloc(RESOLVE_HOSTS_MAX * PER_HOST, sizeof(*q->v4));
	q->v6 = xcalloc(RESOLVE_HOSTS_MAX * PER_HOST, sizeof(*q->v6));
	for (unsigned h = 0; h < q->n_hosts; h++) {
		question_lookup(q, h, TYPE_A);
		question_lookup(q, h, TYPE_AAAA);
	}
	if (q->waits == 0)
		question_conclude(q);
}

static void ask_implicit(struct question *q)
{
	q->implicit = true;
	memcpy(q->host[0].name, q->name, strlen(q->name) + 1);
	q->n_hosts = 1;
	ask_addresses(q);
}

/* A name of the wire format as text; false when it is none, or holds odd bytes. */
static bool name_text(const uint8_t *p, size_t n, char out[256])
{
	size_t at = 0, o = 0;

	while (at < n && p[at] != 0) {
		size_t len = p[at++];

		if (len > 63 || at + len > n || o + len + 1 > 255)
			return false;
		for (size_t i = 0; i < len; i++, at++) {
			if (p[at] <= ' ' || p[at] > 126 || p[at] == '.')
				return false;
			out[o++] = (char)p[at];
		}
		out[o++] = '.';
	}
	out[o > 0 ? o - 1 : 0] = '\0';
	return at < n;
}

/* Keep the best RESOLVE_HOSTS_MAX; what cannot be read is passed over.  True: null MX. */
static bool take_mx(struct question *q, const struct ub_result *res)
{
	struct host h;
	unsigned n = 0;
	bool null_mx = false;

	for (; res->data[n] != NULL; n++) {
		const uint8_t *p = (const uint8_t *)res->data[n];

		if (res->len[n] < 3 || !name_text(p + 2, (size_t)res->len[n] - 2, h.name))
			continue;
		null_mx |= h.name[0] == '\0';
		h.preference = (unsigned)p[0] << 8 | p[1];
		h.random = (uint32_t)uuid_new(0).b[15] << 8 | uuid_new(0).b[14];
		if (h.name[0] == '\0')
			continue;
		if (q->n_hosts < RESOLVE_HOSTS_MAX)
			q->host[q->n_hosts++] = h;
		else if (host_order(&h, &q->host[RESOLVE_HOSTS_MAX - 1]) < 0)
			q->host[RESOLVE_HOSTS_MAX - 1] = h;
		qsort(q->host, q->n_hosts, sizeof(h), host_order);
	}
	return null_mx && q->n_hosts == 0;
}

static void on_mx(struct question *q, const struct ub_result *res)
{
	if (res->rcode == RCODE_NXDOMAIN) {
		question_end(q, RESOLVE_NO_DOMAIN, NULL, 0, "domain does not exist");
	} else if (res->rcode != RCODE_NOERROR) {
		question_end(q, RESOLVE_LATER, NULL, 0, "name service failed");
	} else if (!res->havedata) {
		ask_implicit(q);
	} else if (take_mx(q, res)) {
		question_end(q, RESOLVE_NULL_MX, NULL, 0, "domain does not take mail (null MX)");
	} else if (q->n_hosts == 0) {
		question_end(q, RESOLVE_LATER, NULL, 0, "its MX records cannot be read");
	} else {
		ask_addresses(q);
	}
}

static void on_address(struct question *q, unsigned h, bool v6, const struct ub_result *res)
{
	struct address *list = (v6 ? q->v6 : q->v4) + h * PER_HOST;
	uint8_t *n = (v6 ? q->n_v6 : q->n_v4) + h;

	if (res->rcode != RCODE_NOERROR && res->rcode != RCODE_NXDOMAIN)
		q->failed = true;
	for (unsigned i = 0; res->havedata && res->data[i] != NULL && *n < PER_HOST; i++) {
		struct address *a = &list[*n];

		if (res->len[i] != (v6 ? 16 : 4))
			continue;
		address_set(a, q->host[h].name, v6, res->data[i], q->port);
		if (q->mx && !q->r->allow_private &&
		    !address_is_public((const struct sockaddr *)&a->sa)) {
			q->private_seen = true;
			continue;
		}
		(*n)++;
	}
}

static void question_answer(struct question *q, const struct lookup *l,
                            const struct ub_result *res)
{
	q->waits--;
	if (res == NULL) {
		q->failed = true;
		if (l->type == TYPE_MX) {
			question_end(q, RESOLVE_LATER, NULL, 0, "name service failed");
			return;
		}
	} else {
		if (res->ttl >= 0 && (uint32_t)res->ttl < q->ttl)
			q->ttl = (uint32_t)res->ttl;
		if (l->type == TYPE_MX) {
			q->secure = res->secure != 0;
			on_mx(q, res);
			return;
		}
		on_address(q, l->host, l->type == TYPE_AAAA, res);
	}
	if (q->waits == 0)
		question_conclude(q);
}

/* ---- libunbound */

static void on_result(void *arg, int err, struct ub_result *res)
{
	struct lookup *l = arg;
	struct question *q = idmap_get(l->r->questions, l->question);

	LIST_REMOVE(l, link);
	if (q != NULL)
		question_answer(q, l, err == 0 && !res->bogus ? res : NULL);
	xfree(l);
	if (res != NULL)
		ub_resolve_free(res);
}

static void question_lookup(struct question *q, unsigned host, int type)
{
	struct lookup *l = xcalloc(1, sizeof(*l));
	const char *name = type == TYPE_MX ? q->name : q->host[host].name;

	l->r = q->r;
	l->question = q->id;
	l->host = host;
	l->type = type;
	if (ub_resolve_async(q->r->ub, name, type, CLASS_IN, l, on_result, &l->async_id) != 0) {
		q->failed = true;
		xfree(l);
		return;
	}
	LIST_INSERT_HEAD(&q->r->lookups, l, link);
	q->waits++;
}

static void on_readable(uv_poll_t *poll, int status, int events)
{
	struct resolver *r = poll->data;

	ub_process(r->ub);
}

void resolve(struct resolver *r, const struct resolve_what *what, resolve_done_fn *done,
             void *owner, uint64_t id)
{
	struct question *q = xcalloc(1, sizeof(*q));

	q->r = r;
	q->deadline_ms = clock_mono_ms() + r->wait_ms;
	q->done = done;
	q->owner = owner;
	q->owner_id = id;
	q->port = what->port;
	q->mx = what->mx;
	q->ttl = UINT32_MAX;
	q->id = idmap_add(r->questions, q);
	TAILQ_INSERT_TAIL(&r->by_deadline, q, by_deadline);
	strncpy(q->name, what->name, sizeof(q->name) - 1);
	strncpy(q->host[0].name, what->name, sizeof(q->host[0].name) - 1);
	if (what->mx) {
		question_lookup(q, 0, TYPE_MX);
	} else {
		q->n_hosts = 1;
		q->v4 = xcalloc(RESOLVE_HOSTS_MAX * PER_HOST, sizeof(*q->v4));
		q->v6 = xcalloc(RESOLVE_HOSTS_MAX * PER_HOST, sizeof(*q->v6));
		question_lookup(q, 0, TYPE_A);
		question_lookup(q, 0, TYPE_AAAA);
	}
	if (q->waits == 0)
		q->deadline_ms = 0; /* nothing was asked: the next tick ends it */
}

void resolver_tick(struct resolver *r, uint64_t mono_ms)
{
	struct question *q, *next;

	for (q = TAILQ_FIRST(&r->by_deadline); q != NULL; q = next) {
		next = TAILQ_NEXT(q, by_deadline);
		if (q->deadline_ms > mono_ms)
			break;
		question_end(q, RESOLVE_LATER, NULL, 0, "name service did not answer in time");
	}
}

static enum err set_forwarder(struct ub_ctx *ub, const char *forwarder)
{
	struct route_target t;
	char at[300];

	if (*forwarder == '\0') {
		if (ub_ctx_resolvconf(ub, NULL) != 0)
			log_warn("resolver", LOGS("why", "no name server in /etc/resolv.conf: "
			                          "asking the root servers"));
		return ERR_OK;
	}
	if (route_parse(forwarder, 53, &t) != ERR_OK)
		return ERR_SYNTAX;
	snprintf(at, sizeof(at), "%s@%u", t.host, t.port);
	return ub_ctx_set_fwd(ub, at) == 0 ? ERR_OK : ERR_SYNTAX;
}

/* libunbound reads the file later, and by then its trouble would be every question's. */
static enum err set_anchor(struct ub_ctx *ub, const char *file)
{
	if (*file == '\0')
		return ERR_OK;
	if (access(file, R_OK) != 0)
		return ERR_IO;
	return ub_ctx_add_ta_file(ub, file) == 0 ? ERR_OK : ERR_IO;
}

static struct ub_ctx *context_new(void)
{
	struct ub_ctx *ub = ub_ctx_create();

	if (ub == NULL)
		return NULL;
	if (ub_ctx_async(ub, 1) != 0) {
		ub_ctx_delete(ub);
		return NULL;
	}
	ub_ctx_set_option(ub, "do-not-query-localhost:", "no");
	ub_ctx_set_option(ub, "outgoing-range:", "1024");
	ub_ctx_set_option(ub, "num-queries-per-thread:", "512");
	return ub;
}

/* libunbound answers some zones by itself, which would hide what a forwarder says.
 * To be called last: it ends the configuration. */
static void unhide_zones(struct ub_ctx *ub)
{
	static const char *const zones[] = { "test.", "invalid.", "localhost.", "onion." };

	for (size_t i = 0; i < ARRAY_LEN(zones); i++)
		ub_ctx_zone_remove(ub, zones[i]);
}

enum err resolver_open(uv_loop_t *loop, const struct resolve_conf *conf, struct resolver **out)
{
	struct ub_ctx *ub = context_new();
	struct resolver *r;
	enum err err = ub != NULL ? set_forwarder(ub, conf->forwarder) : ERR_IO;

	if (err != ERR_OK) {
		log_error("resolver", LOGS("forwarder", conf->forwarder), LOGE(err));
		if (ub != NULL)
			ub_ctx_delete(ub);
		return err;
	}
	err = set_anchor(ub, conf->anchor);
	if (err != ERR_OK) {
		log_error("resolver", LOGS("anchor", conf->anchor), LOGE(err));
		ub_ctx_delete(ub);
		return err;
	}
	unhide_zones(ub);
	r = xcalloc(1, sizeof(*r));
	r->ub = ub;
	r->loop = loop;
	r->wait_ms = conf->wait_ms;
	r->allow_private = conf->allow_private;
	r->questions = idmap_new();
	TAILQ_INIT(&r->by_deadline);
	LIST_INIT(&r->lookups);
	r->poll = xcalloc(1, sizeof(*r->poll));
	r->poll->data = r;
	if (uv_poll_init(loop, r->poll, ub_fd(ub)) != 0)
		die_bug("libunbound's descriptor cannot be polled");
	uv_poll_start(r->poll, UV_READABLE, on_readable);
	*out = r;
	return ERR_OK;
}

static void poll_closed(uv_handle_t *h)
{
	struct resolver *r = h->data;
	struct lookup *l;

	while ((l = LIST_FIRST(&r->lookups)) != NULL) {
		LIST_REMOVE(l, link);
		xfree(l);
	}
	ub_ctx_delete(r->ub);
	idmap_free(&r->questions);
	xfree(h);
	xfree(r);
}

void resolver_close(struct resolver **rp)
{
	struct resolver *r = *rp;
	struct question *q;
	struct lookup *l;

	if (r == NULL)
		return;
	*rp = NULL;
	while ((q = TAILQ_FIRST(&r->by_deadline)) != NULL)
		question_free(q);
	LIST_FOREACH(l, &r->lookups, link)
		ub_cancel(r->ub, l->async_id);
	uv_poll_stop(r->poll);
	uv_close((uv_handle_t *)r->poll, poll_closed);
}
