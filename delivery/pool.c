/* delivery/pool.c - see pool.h
 *
 * Destinations come and go with their mail; who holds a job of one keeps it (n_refs).  The
 * resolver holds their ids only.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>
#include "delivery/finish.h"
#include "delivery/pool.h"
#include "delivery/queue.h"
#include "delivery/recheck.h"
#include "delivery/session.h"
#include "lib/clock.h"
#include "lib/log.h"
#include "proto/smtp_addr.h"

#define DEFER_SOME 1000        /* jobs of a paused destination put off in one tick */
#define CROWDED_MS 5000
#define STALE_MS 60000         /* old addresses are used on while the name service fails */
#define UNUSED_MS 60000        /* a destination without work is forgotten after */

static void pool_run(struct pool *p, struct dest *dest);

struct pool *pool_new(struct delivery *d)
{
	struct pool *p = xcalloc(1, sizeof(*p));

	p->d = d;
	p->dests = idmap_new();
	TAILQ_INIT(&p->hungry);
	TAILQ_INIT(&p->idle);
	TAILQ_INIT(&p->all);
	return p;
}

static void pool_forget(struct pool *p, struct dest *dest)
{
	HASH_DEL(p->by_key, dest);
	idmap_remove(p->dests, dest->id);
	dest_free(&dest);
}

void pool_free(struct pool **pp)
{
	struct pool *p = *pp;
	struct dest *dest, *next;

	if (p == NULL)
		return;
	HASH_ITER(hh, p->by_key, dest, next)
		pool_forget(p, dest);
	idmap_free(&p->dests);
	xfree(p);
	*pp = NULL;
}

void pool_drain(struct pool *p)
{
	struct session *s;

	while ((s = TAILQ_FIRST(&p->idle)) != NULL)
		session_quit(s);
}

void pool_abort(struct pool *p)
{
	struct session *s, *next;

	for (s = TAILQ_FIRST(&p->all); s != NULL; s = next) {
		next = TAILQ_NEXT(s, all);
		session_abort(s);
	}
}

/* ---- destinations */

static struct dest *find(struct pool *p, const char *key)
{
	size_t len = strlen(key);
	struct dest *dest;

	HASH_FIND(hh, p->by_key, key, len, dest);
	return dest;
}

struct dest *pool_dest_find(struct pool *p, const char *name)
{
	const char *route;
	char key[320];

	dest_key(&p->d->conf->routes, name, key, &route);
	return find(p, key);
}

struct dest *pool_dest(struct pool *p, const char *name)
{
	const char *route;
	struct dest *dest;
	char key[320];

	dest_key(&p->d->conf->routes, name, key, &route);
	dest = find(p, key);
	if (dest != NULL)
		return dest;
	dest = dest_new(key);
	dest->id = idmap_add(p->dests, dest);
	dest->routed = route != NULL;
	dest->strict = *name == PART_DEST_STRICT;
	dest->used_ms = clock_mono_ms();
	if (route != NULL && route_parse(route, (uint16_t)p->d->conf->smtp_port,
	                                 &dest->target) != ERR_OK)
		log_error("route-invalid", LOGS("route", route));
	HASH_ADD_KEYPTR(hh, p->by_key, dest->key, strlen(dest->key), dest);
	return dest;
}

/* ---- out of reach */

static void put_off(struct pool *p, struct dest *dest, unsigned max)
{
	while (dest->n_ready > 0 && max-- > 0) {
		struct job *j = dest_peek(dest);
		struct outcome *o = xmalloc(j->n * sizeof(*o));

		dest_unready(dest, j);
		for (unsigned i = 0; i < j->n; i++)
			o[i] = dest->why;
		finish_job(p->d, j, o);
		xfree(o);
	}
}

/* Nobody there: what is ready is put off now and in the next ticks, and so is what
 * comes until the pause is over. */
static void dest_pause(struct pool *p, struct dest *dest, const struct outcome *why,
                       uint64_t pause_ms)
{
	dest_blame(dest, why);
	dest->paused_until_ms = clock_mono_ms() + pause_ms;
	log_info("destination-paused", LOGS("dest", dest->key),
	         LOGB("why", why->text, why->text_len), LOGU("jobs", dest->n_ready));
	put_off(p, dest, DEFER_SOME);
}

static uint64_t pause_of(const struct pool *p)
{
	const struct delivery_conf *c = p->d->conf;

	return c->destination_pause_ms < c->retry_min_ms ? c->destination_pause_ms
	                                                 : c->retry_min_ms;
}

/* ---- where it is */

static void on_unresolved(struct pool *p, struct dest *dest, const struct resolution *r)
{
	static const struct { int code; const char *enhanced; } say[] = {
		[RESOLVE_NO_DOMAIN] = { 550, "5.1.2" }, [RESOLVE_NULL_MX] = { 556, "5.1.10" },
		[RESOLVE_UNUSABLE] = { 450, "4.4.4" }, [RESOLVE_LATER] = { 450, "4.4.3" },
	};
	struct outcome why = {
		.stage = HOLDFAST__SMTP_STAGE__STAGE_DNS, .code = say[r->end].code,
		.enhanced = say[r->end].enhanced, .text = r->text, .text_len = strlen(r->text),
	};
	uint64_t pause = pause_of(p), ttl = r->ttl * UINT64_C(1000);

	dest_pause(p, dest, &why, r->end != RESOLVE_LATER && ttl < pause ? ttl : pause);
}

/* Anybody might have said which hosts these are (RFC 8689, 4.2.1). */
static void on_unproven(struct pool *p, struct dest *dest)
{
	static const char text[] = "REQUIRETLS support required: nothing proves which hosts "
	                           "take mail for the domain (no DNSSEC)";
	struct outcome why = {
		.stage = HOLDFAST__SMTP_STAGE__STAGE_DNS, .code = 550, .enhanced = "5.7.30",
		.text = text, .text_len = sizeof(text) - 1, .own_end = true,
	};

	metric_add(p->d->stage->metrics, DM_REQUIRETLS_PASSED_OVER, 1);
	dest_pause(p, dest, &why, pause_of(p));
}

static void take_addresses(struct dest *dest, const struct address *a, unsigned n, uint32_t ttl)
{
	xfree(dest->address);
	dest->address = xmemdup(a, n * sizeof(*a));
	dest->n_address = n;
	dest->good = 0;
	dest->known_until_ms = clock_mono_ms() + (ttl < 5 ? 5 : ttl) * UINT64_C(1000);
}

static void on_resolved(void *owner, uint64_t id, const struct resolution *r)
{
	struct pool *p = owner;
	struct dest *dest = idmap_get(p->dests, id);

	if (dest == NULL)
		return;
	dest->resolving = false;
	if (r->end == RESOLVE_LATER && dest->address != NULL) {
		/* What was true a moment ago is a better guess than nothing. */
		dest->known_until_ms = clock_mono_ms() + STALE_MS;
		pool_run(p, dest);
		return;
	}
	if (r->end != RESOLVE_OK) {
		on_unresolved(p, dest, r);
		return;
	}
	if (dest->strict && !dest->routed && !r->secure) {
		on_unproven(p, dest);
		return;
	}
	take_addresses(dest, r->address, r->n, r->ttl);
	pool_run(p, dest);
}

static bool literal(const struct route_target *t, struct address *a)
{
	struct sockaddr_in *v4 = (struct sockaddr_in *)&a->sa;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&a->sa;

	memset(a, 0, sizeof(*a));
	memcpy(a->host, t->host, strlen(t->host) + 1);
	if (inet_pton(AF_INET, t->host, &v4->sin_addr) == 1) {
		v4->sin_family = AF_INET;
		v4->sin_port = htons(t->port);
		return true;
	}
	if (inet_pton(AF_INET6, t->host, &v6->sin6_addr) == 1) {
		v6->sin6_family = AF_INET6;
		v6->sin6_port = htons(t->port);
		return true;
	}
	return false;
}

static bool domain_ascii(const char *domain, struct buf *out)
{
	return domain[0] != '\0' && domain[0] != '[' &&
	       smtp_domain_key(domain, strlen(domain), out) == ERR_OK && out->len < 256;
}

/* True: addresses are known now.  Else they are being asked for, or there are none. */
static bool locate(struct pool *p, struct dest *dest)
{
	struct buf name = BUF_INIT;
	struct address a;

	if (dest->address != NULL && clock_mono_ms() < dest->known_until_ms)
		return true;
	if (dest->resolving)
		return false;
	if (dest->routed && literal(&dest->target, &a)) {
		take_addresses(dest, &a, 1, UINT32_MAX);
		return true;
	}
	if (dest->routed && dest->target.host[0] == '\0') {
		on_unresolved(p, dest, &(struct resolution){
			.end = RESOLVE_LATER, .ttl = 60, .text = "its route cannot be read" });
	} else if (!dest->routed && !domain_ascii(dest_domain(dest), &name)) {
		on_unresolved(p, dest, &(struct resolution){
			.end = RESOLVE_NO_DOMAIN, .ttl = 60, .text = "no domain to send to" });
	} else {
		struct resolve_what what = { buf_str(&name), true,
		                             (uint16_t)p->d->conf->smtp_port };

		if (dest->routed)
			what = (struct resolve_what){ dest->target.host, false, dest->target.port };
		dest->resolving = true;
		resolve(p->d->resolver, &what, on_resolved, p, dest->id);
	}
	buf_free(&name);
	return false;
}

/* ---- connections */

static void hunger(struct pool *p, struct dest *dest)
{
	if (dest->hungry)
		return;
	dest->hungry = true;
	TAILQ_INSERT_TAIL(&p->hungry, dest, hungry_link);
}

static struct dest *unhunger(struct pool *p, struct dest *dest)
{
	TAILQ_REMOVE(&p->hungry, dest, hungry_link);
	dest->hungry = false;
	return dest;
}

bool pool_is_short(struct pool *p)
{
	struct dest *dest;

	while ((dest = TAILQ_FIRST(&p->hungry)) != NULL && dest->n_ready == 0)
		unhunger(p, dest);
	return dest != NULL && p->n_sessions >= p->d->conf->total_connections;
}

/* One more connection, at the price of the longest idle one of somebody else. */
static void connect_one(struct pool *p, struct dest *dest)
{
	if (p->n_sessions >= p->d->conf->total_connections) {
		hunger(p, dest);
		if (!TAILQ_EMPTY(&p->idle))
			session_quit(TAILQ_FIRST(&p->idle));
		return;
	}
	dest->n_sessions++;
	dest->n_connecting++;
	p->n_sessions++;
	session_open(p, dest);
}

static bool wants_connection(const struct pool *p, const struct dest *dest)
{
	if (dest->n_sessions > 0 && clock_mono_ms() < dest->crowded_until_ms)
		return false;
	return dest->n_ready > dest->n_connecting && !dest->hungry &&
	       dest->n_sessions < p->d->conf->destination_connections;
}

/* Give the ready jobs of a destination what they need: an idle connection, or a new one. */
static void pool_run(struct pool *p, struct dest *dest)
{
	if (p->d->draining)
		return;
	if (clock_mono_ms() < dest->paused_until_ms) {
		put_off(p, dest, DEFER_SOME);
		return;
	}
	while (dest->n_ready > 0 && !TAILQ_EMPTY(&dest->idle))
		session_wake(TAILQ_FIRST(&dest->idle));
	while (wants_connection(p, dest) && locate(p, dest))
		connect_one(p, dest);
}

void pool_push(struct pool *p, struct job *j)
{
	struct dest *dest = j->dest;

	dest_push(dest, j);
	dest->used_ms = clock_mono_ms();
	pool_run(p, dest);
}

struct job *pool_next(struct pool *p, struct dest *dest)
{
	struct job *j;

	while (!p->d->draining && (j = dest_peek(dest)) != NULL) {
		enum err err;

		if (recheck_is_due(p->d, j)) {
			dest_unready(dest, j);
			recheck_or_push(p->d, j);
			continue;
		}
		err = queue_body(p->d->queue, j->part);
		if (err != ERR_OK) {
			log_error("body-missing", LOGB("part", j->part->key, PART_KEY), LOGE(err));
			metric_add(p->d->stage->metrics, DM_CORRUPT, 1);
			dest_unready(dest, j);
			finish_postponed(p->d, j, p->d->conf->account_later_ms);
			continue;
		}
		p->in_flight++;
		return dest_pop(dest);
	}
	return NULL;
}

void pool_session_up(struct pool *p, struct dest *dest)
{
	dest->n_connecting--;
	dest->n_up++;
}

/* Those that wait for a connection take turns: one that still wants more goes to the end. */
static void feed_hungry(struct pool *p)
{
	struct dest *dest, *last = TAILQ_LAST(&p->hungry, dest_list);

	while (p->n_sessions < p->d->conf->total_connections &&
	       (dest = TAILQ_FIRST(&p->hungry)) != NULL) {
		pool_run(p, unhunger(p, dest));
		if (dest == last)
			break;
	}
}

void pool_session_over(struct pool *p, struct dest *dest, bool was_up, const struct outcome *why)
{
	p->n_sessions--;
	dest->n_sessions--;
	if (was_up)
		dest->n_up--;
	else
		dest->n_connecting--;
	if (why != NULL && dest->n_up == 0 && !p->d->draining)
		dest_pause(p, dest, why, pause_of(p));
	else if (why != NULL)
		dest->crowded_until_ms = clock_mono_ms() + CROWDED_MS;
	else if (was_up)
		pool_run(p, dest);
	feed_hungry(p);
}

/* ---- time */

static void close_idle(struct pool *p, uint64_t mono_ms)
{
	struct session *s;

	while ((s = TAILQ_FIRST(&p->idle)) != NULL &&
	       mono_ms - s->idle_since_ms >= p->d->conf->connection_idle_ms)
		session_quit(s);
}

static bool dest_unused(const struct dest *dest, uint64_t mono_ms)
{
	return dest->n_refs == 0 && dest->n_sessions == 0 && !dest->resolving &&
	       !dest->hungry && !dest->lagging && mono_ms >= dest->paused_until_ms &&
	       mono_ms - dest->used_ms > UNUSED_MS;
}

void pool_tick(struct pool *p, uint64_t mono_ms)
{
	struct dest *dest, *next;

	close_idle(p, mono_ms);
	feed_hungry(p);
	if (pool_is_short(p) && !TAILQ_EMPTY(&p->idle))
		session_quit(TAILQ_FIRST(&p->idle));
	HASH_ITER(hh, p->by_key, dest, next) {
		if (dest->n_ready > 0)
			pool_run(p, dest);
		else if (dest_unused(dest, mono_ms))
			pool_forget(p, dest);
	}
}
