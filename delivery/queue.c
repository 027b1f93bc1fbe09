/* delivery/queue.c - see queue.h
 *
 * The cursors only ever move over entries that are in memory, belong to a lagging
 * destination, or lead nowhere; everything else stops them.
 */
#include <string.h>
#include "delivery/pool.h"
#include "delivery/queue.h"
#include "delivery/recheck.h"
#include "delivery/tally.h"
#include "lib/clock.h"
#include "lib/log.h"

#define SCAN_PASS 4096 /* index entries looked at in one call */
#define SCAN_LOAD 256  /* parts read in one call */

struct queue *queue_new(struct delivery *d)
{
	struct queue *q = xcalloc(1, sizeof(*q));

	q->d = d;
	TAILQ_INIT(&q->lagging);
	return q;
}

static void queue_remove(struct queue *q, struct part *p)
{
	HASH_DEL(q->by_key, p);
	q->n_active--;
	q->active_bytes -= p->held_bytes;
	part_free(&p);
}

void queue_free(struct queue **qp)
{
	struct queue *q = *qp;
	struct part *p, *next;

	if (q == NULL)
		return;
	HASH_ITER(hh, q->by_key, p, next) {
		while (!LIST_EMPTY(&p->jobs)) {
			struct job *j = LIST_FIRST(&p->jobs);

			if (j->state == JOB_READY)
				dest_unready(j->dest, j);
			job_free(&j);
		}
		queue_remove(q, p);
	}
	xfree(q);
	*qp = NULL;
}

static void count_one(void *arg, const struct part *p)
{
	struct queue *q = arg;

	if (p == NULL) {
		metric_add(q->d->stage->metrics, DM_CORRUPT, 1);
		log_error("record-corrupt", LOGS("family", "meta"));
		return;
	}
	tally_part(q->d->tally, p->account, 1, p->n_waiting);
}

enum err queue_count(struct queue *q)
{
	enum err err = store_each_part(q->d->stage->kv, NULL, false, count_one, q);

	q->oldest_ms = store_oldest(q->d->stage->kv, q->oldest);
	return err;
}

struct part *queue_find(struct queue *q, const uint8_t key[PART_KEY])
{
	struct part *p;

	HASH_FIND(hh, q->by_key, key, PART_KEY, p);
	return p;
}

static void hold_body(struct queue *q, struct part *p, struct blob *body)
{
	p->body = body;
	p->held_bytes = body->len;
	q->active_bytes += body->len;
}

void queue_add(struct queue *q, struct part *p, struct blob *body)
{
	HASH_ADD(hh, q->by_key, key, PART_KEY, p);
	q->n_active++;
	if (body != NULL && q->active_bytes + body->len <= q->d->conf->active_bytes)
		hold_body(q, p, blob_ref(body));
}

enum err queue_body(struct queue *q, struct part *p)
{
	struct blob *body;
	enum err err;

	if (p->body != NULL)
		return ERR_OK;
	err = store_body(q->d->stage->kv, p->key, &body);
	if (err != ERR_OK)
		return err;
	metric_add(q->d->stage->metrics, DM_READ_BACK, 1);
	hold_body(q, p, body);
	return ERR_OK;
}

/* ---- into work */

static struct dest *dest_of(struct queue *q, const struct part *p, const struct rcpt *r)
{
	char name[PART_DEST_MAX];

	part_dest(p, r, name);
	return pool_dest(q->d->pool, name);
}

/* Cut the recipients that wait into one job a destination and transaction. */
static void make_jobs(struct queue *q, struct part *p)
{
	unsigned max = (unsigned)q->d->conf->transaction_recipients, n;
	uint16_t *group = xmalloc(max * sizeof(*group));
	struct dest **dest = xcalloc(p->n_rcpt, sizeof(*dest));

	for (uint32_t i = 0; i < p->n_rcpt; i++)
		if (!p->rcpt[i].ended)
			dest[i] = dest_of(q, p, &p->rcpt[i]);
	for (uint32_t i = 0; i < p->n_rcpt; i++) {
		struct dest *d = dest[i];

		n = 0;
		for (uint32_t k = i; d != NULL && k < p->n_rcpt && n < max; k++) {
			if (dest[k] != d)
				continue;
			dest[k] = NULL;
			group[n++] = (uint16_t)k;
		}
		if (n > 0)
			job_new(p, d, group, n);
	}
	xfree(dest);
	xfree(group);
}

/* Jobs are started in the order in which they were made. */
static void start_jobs(struct queue *q, struct part *p)
{
	struct job **job = xmalloc(p->n_jobs * sizeof(*job)), *j;
	unsigned n = 0, total = p->n_jobs;

	LIST_FOREACH(j, &p->jobs, of_part)
		job[total - ++n] = j;
	for (unsigned i = 0; i < total; i++)
		recheck_or_push(q->d, job[i]);
	xfree(job);
}

static void activate(struct queue *q, struct part *p)
{
	p->tried = false;
	p->postpone_ms = UINT64_MAX;
	part_goto(p, PART_ACTIVE);
	if (p->n_rcpt == 1) {
		static const uint16_t first = 0;

		recheck_or_push(q->d, job_new(p, dest_of(q, p, &p->rcpt[0]), &first, 1));
		return;
	}
	make_jobs(q, p);
	start_jobs(q, p);
}

static bool has_share(const struct queue *q, const struct dest *d)
{
	return d == NULL || d->n_jobs < q->d->conf->destination_active;
}

static void pull_back(struct queue *q, const struct part *p)
{
	uint8_t key[DUE_KEY];

	due_key(key, p->due_ms, p->key);
	if (memcmp(key, q->cursor, DUE_KEY) < 0)
		memcpy(q->cursor, key, DUE_KEY);
}

void queue_taken(struct queue *q, struct part *p)
{
	const struct dest *d;
	char name[PART_DEST_MAX];

	part_first_dest(p, name);
	d = pool_dest_find(q->d->pool, name);
	if (memcmp(p->key, q->oldest, PART_KEY) < 0 || q->oldest_ms == 0) {
		memcpy(q->oldest, p->key, PART_KEY);
		q->oldest_ms = p->received_ms;
	}
	if (!q->d->draining && !q->behind && q->n_active <= q->d->conf->active_messages &&
	    has_share(q, d) && (d == NULL || !d->lagging)) {
		activate(q, p);
		return;
	}
	queue_forget(q, p);
}

void queue_forget(struct queue *q, struct part *p)
{
	if (p->n_waiting > 0)
		pull_back(q, p);
	queue_remove(q, p);
}

/* ---- the index */

struct scan {
	struct queue *q;
	struct dest  *only;     /* refill this one and pass over all else */
	uint8_t      *cursor;
	struct kv_batch *stale;
	unsigned      loaded;
	bool          full;
};

static void key_after(uint8_t out[DUE_KEY], const uint8_t key[DUE_KEY])
{
	memcpy(out, key, DUE_KEY);
	for (int i = DUE_KEY - 1; i >= 0 && ++out[i] == 0; i--)
		continue;
}

/* An index entry whose record is gone or another: it can lead nowhere. */
static void drop_stale(struct scan *s, const uint8_t key[DUE_KEY], enum err err)
{
	metric_add(s->q->d->stage->metrics, DM_CORRUPT, 1);
	log_error("record-corrupt", LOGS("family", "due"), LOGE(err));
	if (err != ERR_NOENT)
		return; /* the record may be worth a look: leave both */
	store_drop_due(s->stale, key);
}

static void load(struct scan *s, const uint8_t key[DUE_KEY])
{
	struct part *p = NULL;
	enum err err = store_load(s->q->d->stage->kv, due_key_part(key), &p);

	if (err == ERR_OK && (p->due_ms != due_key_ms(key) || p->n_waiting == 0)) {
		part_free(&p);
		err = ERR_NOENT;
	}
	if (err != ERR_OK) {
		drop_stale(s, key, err);
		return;
	}
	queue_add(s->q, p, NULL);
	activate(s->q, p);
	s->loaded++;
}

/* Remember where the first part was passed over; a common cursor that was pulled back may find
 * an earlier one. */
static void lag(struct queue *q, struct dest *d, const uint8_t key[DUE_KEY])
{
	if (d->lagging) {
		if (memcmp(key, d->lagging_from, DUE_KEY) < 0)
			memcpy(d->lagging_from, key, DUE_KEY);
		return;
	}
	d->lagging = true;
	memcpy(d->lagging_from, key, DUE_KEY);
	TAILQ_INSERT_TAIL(&q->lagging, d, lagging_link);
}

/* False ends the scan with the cursor on this entry. */
static bool due_entry(void *arg, const uint8_t key[DUE_KEY], const char *domain, size_t len)
{
	struct scan *s = arg;
	struct dest *d;
	char name[PART_DEST_MAX];

	if (queue_find(s->q, due_key_part(key)) != NULL || len >= sizeof(name)) {
		key_after(s->cursor, key);
		return true;
	}
	memcpy(name, domain, len);
	name[len] = '\0';
	d = pool_dest_find(s->q->d->pool, name);
	if (s->only != NULL && d != s->only) {
		key_after(s->cursor, key);
		return true;
	}
	s->full = s->q->n_active >= s->q->d->conf->active_messages;
	if (s->full || s->loaded >= SCAN_LOAD || (s->only != NULL && !has_share(s->q, d)))
		return false;
	if (s->only == NULL && d != NULL && (d->lagging || !has_share(s->q, d)))
		lag(s->q, d, key);
	else
		load(s, key);
	key_after(s->cursor, key);
	return true;
}

static bool scan(struct queue *q, struct dest *only, uint8_t *cursor, uint64_t until_ms)
{
	struct scan s = { .q = q, .only = only, .cursor = cursor, .stale = kv_batch_new() };
	uint8_t from[DUE_KEY]; /* the cursor moves while the walk begins at it */
	struct store_span span = { from, until_ms, SCAN_PASS };
	bool more = false;
	enum err err;

	memcpy(from, cursor, DUE_KEY);
	err = store_each_due(q->d->stage->kv, &span, due_entry, &s, &more);

	if (err != ERR_OK)
		log_error("due-index", LOGE(err));
	if (only == NULL)
		q->behind = s.full;
	if (kv_batch_empty(s.stale))
		kv_batch_free(&s.stale);
	else
		kv_write_lazy(q->d->stage->kv, &s.stale);
	return more;
}

/* A destination with room again gets what was passed over, up to where the common
 * cursor stands. */
static void refill(struct queue *q, struct dest *d, uint64_t now_ms)
{
	uint64_t until = due_key_ms(q->cursor) < now_ms ? due_key_ms(q->cursor) : now_ms;

	if (scan(q, d, d->lagging_from, until) &&
	    memcmp(d->lagging_from, q->cursor, DUE_KEY) < 0)
		return;
	d->lagging = false;
	TAILQ_REMOVE(&q->lagging, d, lagging_link);
}

void queue_scan(struct queue *q, uint64_t now_ms)
{
	struct dest *d, *next;

	if (q->d->draining)
		return;
	for (d = TAILQ_FIRST(&q->lagging); d != NULL; d = next) {
		next = TAILQ_NEXT(d, lagging_link);
		if (d->n_jobs <= q->d->conf->destination_active / 2)
			refill(q, d, now_ms);
	}
	scan(q, NULL, q->cursor, now_ms);
}

void queue_sweep(struct queue *q, uint64_t now_ms)
{
	uint64_t memory = q->d->conf->taken_memory_ms;

	q->oldest_ms = store_oldest(q->d->stage->kv, q->oldest);
	if (now_ms > memory)
		store_sweep_taken(q->d->stage->kv, q->swept, now_ms - memory, 20000);
}
