/* ingest/life.c - the stage's birth, drain and end
 *
 * Owns struct ingest.  At close stage->state becomes NULL first, so that no
 * callback of bus, store or pool that comes later finds anything; the struct itself
 * goes when the last session and listener have let go.
 */
#include "ingest/ingest.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include "ingest/abandon.h"
#include "ingest/auth.h"
#include "ingest/session.h"
#include "ingest/spool.h"
#include "ingest/txn.h"
#include "lib/clock.h"
#include "lib/mem.h"

#define HEADER_ROOM (64 << 10) /* far more than our trace header takes */
#define POOL_THREADS "4" /* AUTH is all that the pool does */

void ingest_hold(struct ingest *in)
{
	in->holders++;
}

void ingest_release(struct ingest *in)
{
	assert(in->holders > 0);
	if (--in->holders > 0)
		return;
	tls_context_free(&in->tls);
	idmap_free(&in->sessions);
	limits_free(&in->limits);
	xfree(in->proxies.net);
	xfree(in->xclients.net);
	xfree(in);
}

void ingest_memory(struct ingest *in, int64_t change)
{
	bool was = in->memory >= in->conf.memory_bytes;

	assert(change >= 0 || in->memory >= (uint64_t)-change);
	in->memory += (uint64_t)change;
	if (was || in->memory >= in->conf.memory_bytes)
		sessions_balance(in);
}

static void conf_take(struct ingest *in, const struct ingest_conf *c)
{
	in->conf = *c;
	in->smtp = (struct smtp_conf){
		.hostname = in->stage->worker->common->hostname, .max_size = c->max_message_size,
		.max_rcpt = (unsigned)c->max_recipients, .max_errors = (unsigned)c->max_errors,
		.max_unknown = (unsigned)c->max_unknown,
		.max_commands = (unsigned)c->max_commands,
		.max_messages = (unsigned)c->max_messages, .max_line = (unsigned)c->max_line,
		.repair = c->line_faults == FAULTS_FIX,
	};
	in->limits_conf = (struct limits_conf){
		.ip = c->max_sessions_ip, .network = c->connect_rate,
		.account = c->max_sessions_account,
	};
}

/* What a configuration names outside of itself, read before any of it counts. */
struct outside {
	struct net_list proxies, xclients;
	struct tls_context *tls;
};

static void outside_free(struct outside *o)
{
	tls_context_free(&o->tls);
	xfree(o->proxies.net);
	xfree(o->xclients.net);
}

static enum err nets_read(const struct conf_list *text, const char *name, struct net_list *out)
{
	out->net = xcalloc(text->n + 1, sizeof(*out->net));
	for (out->n = 0; out->n < text->n; out->n++) {
		if (net_parse(text->item[out->n], &out->net[out->n]) == ERR_OK)
			continue;
		log_error(name, LOGS("network", text->item[out->n]),
		          LOGS("why", "is no address or network, or has bits behind its prefix"));
		return ERR_SYNTAX;
	}
	return ERR_OK;
}

static enum err tls_read(const struct ingest_conf *c, struct tls_context **out)
{
	const struct certificate_conf *more = c->certificates.row;
	struct tls_pair *pairs = xcalloc(c->certificates.n + 1, sizeof(*pairs));
	enum err err = ERR_OK;
	char why[256];
	size_t n = 0;

	if (c->tls_cert[0] != '\0' && c->tls_key[0] != '\0')
		pairs[n++] = (struct tls_pair){ c->tls_cert, c->tls_key };
	for (size_t i = 0; i < c->certificates.n; i++)
		pairs[n++] = (struct tls_pair){ more[i].cert, more[i].key };
	if (n > 0)
		err = tls_server_context(pairs, n, out, why);
	if (err != ERR_OK)
		log_error("tls", LOGS("why", why));
	xfree(pairs);
	return err;
}

static enum err outside_read(const struct ingest_conf *c, struct outside *o)
{
	enum err err = nets_read(&c->proxy_networks, "proxy_networks", &o->proxies);

	if (err == ERR_OK)
		err = nets_read(&c->xclient_networks, "xclient_networks", &o->xclients);
	if (err == ERR_OK)
		err = tls_read(c, &o->tls);
	return err;
}

/* Sessions that run keep the certificates that they began with. */
static void outside_take(struct ingest *in, struct outside *o)
{
	struct outside old = { in->proxies, in->xclients, in->tls };

	if (in->tls != NULL && o->tls != NULL)
		tls_server_inherit(o->tls, in->tls);
	in->proxies = o->proxies;
	in->xclients = o->xclients;
	in->tls = o->tls;
	outside_free(&old);
}

/* The largest message must fit into a body and into the credit of an idle link. */
static enum err sizes_check(const struct ingest *in, const struct ingest_conf *conf)
{
	const struct common_conf *c = in->stage->worker->common;
	uint64_t most = conf->max_message_size + HEADER_ROOM;

	if (most <= c->bus_body_bytes && most <= c->bus_credit_bytes)
		return ERR_OK;
	log_error("max_message_size", LOGU("bytes", conf->max_message_size),
	          LOGS("why", "needs 64 KiB less than bus_body_size and bus_credit_bytes"));
	return ERR_RANGE;
}

enum err ingest_open(struct stage *st)
{
	struct ingest *in = xcalloc(1, sizeof(*in));
	struct outside o = { 0 };
	enum err err;

	setenv("UV_THREADPOOL_SIZE", POOL_THREADS, 0);
	in->stage = st;
	in->holders = 1;
	conf_take(in, st->worker->conf);
	in->sessions = idmap_new();
	in->txns = idmap_new();
	in->asks = idmap_new();
	TAILQ_INIT(&in->all);
	TAILQ_INIT(&in->all_txns);
	TAILQ_INIT(&in->receiving);
	in->limits = limits_new();
	in->auth = auth_new(in);
	in->abandon = abandon_new(in);
	st->state = in;
	err = sizes_check(in, &in->conf);
	if (err == ERR_OK)
		err = outside_read(&in->conf, &o);
	outside_take(in, &o);
	if (err == ERR_OK)
		err = spool_open(in, &in->spool);
	if (err == ERR_OK)
		err = listeners_open(in);
	if (err != ERR_OK)
		ingest_close(st);
	return err;
}

void ingest_drain(struct stage *st)
{
	struct ingest *in = ingest_of(st);

	in->draining = true;
	listeners_close(in);
	sessions_shutdown(in);
}

bool ingest_busy(struct stage *st)
{
	struct ingest *in = ingest_of(st);

	return in != NULL && (in->n_sessions > 0 || idmap_count(in->txns) > 0 ||
	                      abandon_open(in->abandon) > 0 || spool_busy(in->spool));
}

void ingest_close(struct stage *st)
{
	struct ingest *in = ingest_of(st);

	if (in == NULL)
		return;
	in->closing = true;
	listeners_close(in);
	sessions_abort(in);
	txns_free(in);
	idmap_free(&in->txns);
	idmap_free(&in->asks);
	spool_close(&in->spool);
	abandon_free(&in->abandon);
	auth_free(&in->auth);
	st->state = NULL;
	ingest_release(in);
}

void ingest_tick(struct stage *st, uint64_t wall_ms)
{
	struct ingest *in = ingest_of(st);
	uint64_t now = clock_mono_ms();

	if (in == NULL)
		return;
	sessions_turn(in);
	abandon_tick(in->abandon, now);
	spool_run(in->spool, now);
}

void ingest_collect(struct stage *st)
{
	struct ingest *in = ingest_of(st);
	struct spool_stats ss;

	if (in == NULL)
		return;
	ss = spool_stats(in->spool);
	metric_gauge(st->metrics, M_SESSIONS_OPEN, in->n_sessions);
	metric_gauge(st->metrics, M_SPOOL_DEPTH, (double)ss.parts);
	metric_gauge(st->metrics, M_SPOOL_BYTES, (double)ss.bytes);
	metric_gauge(st->metrics, M_MEMORY_BYTES, (double)in->memory);
}

/* Sessions and listeners that offer TLS go on to do so: it can be had anew, and not be taken away,
 * while the process runs. */
static enum err tls_check(const struct ingest *in, const struct outside *o)
{
	if (in->tls == NULL || o->tls != NULL)
		return ERR_OK;
	log_error("tls", LOGS("why", "without tls_cert and tls_key only after a restart"));
	return ERR_BADSTATE;
}

/* Limits, deadlines, certificates and networks change at once, or none of them; listeners at
 * the next start. */
enum err ingest_reload(struct stage *st, const void *conf)
{
	struct ingest *in = ingest_of(st);
	struct outside o = { 0 };
	enum err err;

	if (in == NULL)
		return ERR_OK;
	err = sizes_check(in, conf);
	if (err == ERR_OK)
		err = outside_read(conf, &o);
	if (err == ERR_OK)
		err = tls_check(in, &o);
	if (err != ERR_OK) {
		outside_free(&o);
		return err;
	}
	conf_take(in, conf);
	outside_take(in, &o);
	return ERR_OK;
}

void ingest_peer(void *state, Holdfast__Role role, const char *instance, uint64_t epoch)
{
	struct ingest *in = ingest_of(state);

	if (in != NULL && in->spool != NULL)
		spool_wake(in->spool);
}
