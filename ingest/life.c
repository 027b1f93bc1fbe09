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
	};
}

static enum err tls_open(struct ingest *in)
{
	char why[256];
	enum err err;

	if (in->conf.tls_cert[0] == '\0' || in->conf.tls_key[0] == '\0')
		return ERR_OK;
	err = tls_server_context(&(struct tls_pair){ in->conf.tls_cert, in->conf.tls_key }, 1,
	                         &in->tls, why);
	if (err != ERR_OK)
		log_error("tls", LOGS("cert", in->conf.tls_cert), LOGS("why", why));
	return err;
}

/* The largest message must fit into a body and into the credit of an idle link. */
static enum err sizes_check(const struct ingest *in)
{
	const struct common_conf *c = in->stage->worker->common;
	uint64_t most = in->conf.max_message_size + HEADER_ROOM;

	if (most <= c->bus_body_bytes && most <= c->bus_credit_bytes)
		return ERR_OK;
	log_error("max_message_size", LOGU("bytes", in->conf.max_message_size),
	          LOGS("why", "needs 64 KiB less than bus_body_size and bus_credit_bytes"));
	return ERR_RANGE;
}

enum err ingest_open(struct stage *st)
{
	struct ingest *in = xcalloc(1, sizeof(*in));
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
	in->auth = auth_new(in);
	in->abandon = abandon_new(in);
	st->state = in;
	err = sizes_check(in);
	if (err == ERR_OK)
		err = tls_open(in);
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

/* Limits and deadlines change at once; listeners and certificates at the next start. */
void ingest_reload(struct stage *st, const void *conf)
{
	struct ingest *in = ingest_of(st);

	if (in != NULL)
		conf_take(in, conf);
}

void ingest_peer(void *state, Holdfast__Role role, const char *instance, uint64_t epoch)
{
	struct ingest *in = ingest_of(state);

	if (in != NULL && in->spool != NULL)
		spool_wake(in->spool);
}
