/* ingest/spool.c - what is in the spool
 *
 * Writes parts and counts them.  It keeps no list of them in memory.  A failed
 * write comes back as ERR_IO; the stage then ends, the store is the truth.
 */
#include "ingest/spool_in.h"

#include <string.h>
#include "lib/clock.h"
#include "lib/mem.h"

/* Kept from kv_write() to its callback, which also runs when all else is gone. */
struct spool_write {
	struct stage *stage;
	spool_done_fn *done;
	uint64_t id;
	uint64_t parts, recipients, bytes;
	size_t n;
	struct { struct store_dest dest; struct store_id id; } part[];
};

struct lane *lane_find(struct spool *sp, const struct store_dest *d)
{
	struct lane *l;

	TAILQ_FOREACH(l, &sp->lanes, all)
		if (l->dest.stage == d->stage && strcmp(l->dest.name, d->name) == 0)
			return l;
	l = xcalloc(1, sizeof(*l));
	l->dest = *d;
	l->cursor_len = store_lane_prefix(d, l->cursor);
	TAILQ_INSERT_TAIL(&sp->lanes, l, all);
	return l;
}

void lane_added(struct lane *l, const struct store_id *id)
{
	uint8_t key[STORE_LANE_KEY];
	size_t len = store_lane_key(&l->dest, id, key);
	size_t least = len < l->cursor_len ? len : l->cursor_len;

	l->drained = false;
	if (memcmp(key, l->cursor, least) < 0) {
		memcpy(l->cursor, key, len);
		l->cursor_len = len;
	}
}

static void on_written(enum err err, void *owner, uint64_t id)
{
	struct spool_write *w = owner;
	struct ingest *in = ingest_of(w->stage);

	if (in != NULL && in->spool != NULL) {
		in->spool->writing--;
		for (size_t i = 0; err == ERR_OK && i < w->n; i++)
			lane_added(lane_find(in->spool, &w->part[i].dest), &w->part[i].id);
		metric_add(in->stage->metrics, M_SPOOLED, err == ERR_OK ? w->parts : 0);
		w->done(w->stage, w->id, err);
	}
	xfree(w);
}

static void put_part(struct kv_batch *b, const struct spool_part *p, const struct store_id *id)
{
	uint8_t key[STORE_LANE_KEY];
	struct buf rec = BUF_INIT;
	size_t len;

	store_record_add(&rec, &p->dest, p->env);
	store_part_key(id, key);
	kv_put(b, CF_PART, key, STORE_PART_KEY, rec.data, rec.len);
	len = store_lane_key(&p->dest, id, key);
	kv_put(b, CF_LANE, key, len, "", 0);
	buf_free(&rec);
}

enum err spool_put(struct spool *sp, const struct spool_part *parts, size_t n, struct blob *body,
                   spool_done_fn *done, uint64_t id)
{
	struct stage *st = sp->in->stage;
	struct spool_write *w;
	struct kv_batch *b;

	if (sp->stats.bytes + body->len > sp->in->conf.spool_bytes || kv_full(st->kv))
		return ERR_FULL;
	w = xcalloc(1, sizeof(*w) + n * sizeof(w->part[0]));
	w->stage = st;
	w->done = done;
	w->id = id;
	w->n = n;
	b = kv_batch_new();
	for (size_t i = 0; i < n; i++) {
		memcpy(w->part[i].id.message.b, parts[i].env->message_id.data, UUID_LEN);
		w->part[i].id.part = parts[i].env->part;
		w->part[i].dest = parts[i].dest;
		put_part(b, &parts[i], &w->part[i].id);
		w->recipients += parts[i].env->n_rcpt;
	}
	kv_put_blob(b, CF_BODY, w->part[0].id.message.b, UUID_LEN, body);
	w->parts = n;
	sp->stats.parts += n;
	sp->stats.recipients += w->recipients;
	sp->stats.bytes += body->len;
	sp->writing++;
	kv_write(st->kv, &b, on_written, w, 0);
	return ERR_OK;
}

/* Count one record of the part family; *last is the message of the record before. */
static void count_part(struct spool *sp, struct kv_iter *it, struct uuid *last)
{
	size_t klen, vlen;
	const void *k = kv_iter_key(it, &klen), *v = kv_iter_value(it, &vlen);
	struct store_id id;
	struct store_dest dest;
	Holdfast__Envelope *env;

	if (store_part_key_parse(k, klen, &id) != ERR_OK ||
	    store_record_parse(v, vlen, &dest, &env) != ERR_OK) {
		log_error("spool-corrupt", LOGB("key", k, klen));
		metric_add(sp->in->stage->metrics, M_QUARANTINED, 1);
		return;
	}
	sp->stats.parts++;
	sp->stats.recipients += env->n_rcpt;
	if (memcmp(last, &id.message, sizeof(*last)) != 0)
		sp->stats.bytes += env->size;
	*last = id.message;
	lane_find(sp, &dest);
	holdfast__envelope__free_unpacked(env, NULL);
}

enum err spool_open(struct ingest *in, struct spool **out)
{
	struct spool *sp = xcalloc(1, sizeof(*sp));
	struct uuid last = { { 0 } };
	struct kv_iter *it;
	enum err err;

	sp->in = in;
	sp->ids = idmap_new();
	TAILQ_INIT(&sp->lanes);
	TAILQ_INIT(&sp->flights);
	it = kv_iter_new(in->stage->kv, CF_PART, "", 0, NULL, 0);
	while (kv_iter_next(it))
		count_part(sp, it, &last);
	err = kv_iter_free(&it);
	if (err != ERR_OK) {
		spool_close(&sp);
		return err;
	}
	if (sp->stats.parts > 0)
		log_info("spool-found", LOGU("parts", sp->stats.parts),
		         LOGU("bytes", sp->stats.bytes));
	*out = sp;
	return ERR_OK;
}

void spool_close(struct spool **spp)
{
	struct spool *sp = *spp;
	struct lane *l;
	struct flight *f;

	if (sp == NULL)
		return;
	while ((f = TAILQ_FIRST(&sp->flights)) != NULL)
		flight_free(sp, f);
	while ((l = TAILQ_FIRST(&sp->lanes)) != NULL) {
		TAILQ_REMOVE(&sp->lanes, l, all);
		xfree(l);
	}
	idmap_free(&sp->ids);
	xfree(sp);
	*spp = NULL;
}

bool spool_busy(const struct spool *sp)
{
	return sp->writing > 0 || !TAILQ_EMPTY(&sp->flights);
}

struct spool_stats spool_stats(struct spool *sp)
{
	struct spool_stats s = sp->stats;
	struct kv_iter *it;
	struct store_id id;
	const void *k;
	size_t len;

	if (s.parts == 0)
		return s;
	it = kv_iter_new(sp->in->stage->kv, CF_PART, "", 0, NULL, 0);
	if (kv_iter_next(it)) {
		k = kv_iter_key(it, &len);
		if (store_part_key_parse(k, len, &id) == ERR_OK)
			s.oldest_ms = uuid_time_ms(&id.message);
	}
	if (kv_iter_free(&it) != ERR_OK)
		s.oldest_ms = 0;
	return s;
}
