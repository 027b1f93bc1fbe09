/* holdq/accept.c - takes custody of mail that must be reviewed
 *
 * A part is in custody when record, body, indexes and the event of its acceptance are in
 * a synced batch; only then is Custody answered.  A repeat of a part that was ever
 * taken gets the receipt again; a repeat while the sync is awaited waits with the first.
 */
#include "holdq/holdq.h"

#include <assert.h>
#include <string.h>
#include "lib/log.h"
#include "proto/verdict.h"

#define WAITERS_MAX 8 /* more repeats of one part at once are left to repeat again */

struct accept {
	UT_hash_handle hh;
	struct held_key key;
	struct held *held;
	struct bus_from from[WAITERS_MAX];
	unsigned n_from;
};

static void answer_custody(struct holdq *hq, const struct bus_from *from, struct held_key *k)
{
	Holdfast__Frame f = HOLDFAST__FRAME__INIT;
	Holdfast__Custody c = HOLDFAST__CUSTODY__INIT;

	c.message_id = pb_bytes(k->b, UUID_LEN);
	c.part = held_key_part(k);
	f.body_case = HOLDFAST__FRAME__BODY_CUSTODY;
	f.custody = &c;
	bus_answer(hq->stage->bus, from, &f, NULL);
}

static void forget(struct holdq *hq, struct accept *a)
{
	HASH_DEL(hq->accepts, a);
	held_free(&a->held);
	xfree(a);
}

static struct accept *find(struct holdq *hq, const struct held_key *k)
{
	struct accept *a;

	HASH_FIND(hh, hq->accepts, k, sizeof(*k), a);
	return a;
}

static void tell_held(const struct held *h)
{
	struct uuid id = held_key_id(&h->key);

	log_info("held", LOGID(&id), LOGU("part", h->env->part),
	         LOGB("account", h->env->account.data, h->env->account.len),
	         LOGB("from", h->env->mail_from.data, h->env->mail_from.len),
	         LOGU("rcpts", h->env->n_rcpt), LOGU("size", h->env->size),
	         LOGS("reason", hold_reason_name(h->env->hold)));
}

/* The first hash entry is the oldest, and batches complete in the order of their writing. */
static void on_durable(enum err err, void *owner, uint64_t id)
{
	struct holdq *hq = owner;
	struct accept *a = hq->accepts;

	if (hq->closed)
		return;
	assert(a != NULL && a->held->env->n_rcpt == id);
	if (err == ERR_OK) {
		count_add(hq->count, a->held->env->account.data, a->held->env->account.len, 1,
		          (int64_t)a->held->env->n_rcpt);
		metric_add(hq->stage->metrics, HM_HELD, 1);
		tell_held(a->held);
		outbox_kick(hq->outbox);
	}
	for (unsigned i = 0; i < a->n_from; i++) {
		if (err == ERR_OK)
			answer_custody(hq, &a->from[i], &a->key);
		else
			bus_refuse(hq->stage->bus, &a->from[i], HOLDFAST__REFUSED__WHY__FAILED,
			           "store failed");
	}
	forget(hq, a);
}

static void add_accepted(struct holdq *hq, struct kv_batch *b, const struct held *h)
{
	Holdfast__Event ev = HOLDFAST__EVENT__INIT;

	ev.kind = HOLDFAST__EVENT_KIND__EVENT_ACCEPTED;
	ev.account = h->env->account;
	ev.message_id = h->env->message_id;
	ev.index = h->env->part;
	ev.time_ms = h->held_ms;
	ev.n = (uint32_t)h->env->n_rcpt;
	outbox_add(hq->outbox, b, &ev);
}

static void take(struct holdq *hq, const struct bus_from *from, const Holdfast__Envelope *env,
                 struct blob *body)
{
	struct accept *a = xcalloc(1, sizeof(*a));
	struct kv_batch *b = kv_batch_new();

	a->held = held_new(env, HELD_WAITING, clock_wall_ms());
	a->key = a->held->key;
	a->from[a->n_from++] = *from;
	HASH_ADD(hh, hq->accepts, key, sizeof(a->key), a);
	if (a->held->held_ms < hq->oldest_from_ms)
		hq->oldest_from_ms = a->held->held_ms; /* the clock was set back */
	store_add(b, a->held, body);
	if (!env->counted)
		add_accepted(hq, b, a->held);
	kv_write(hq->stage->kv, &b, on_durable, hq, env->n_rcpt);
}

/* Does the envelope keep what holdfast.proto promises of it? */
static bool envelope_is_sound(const Holdfast__Envelope *e, const struct blob *body)
{
	uint32_t lowest = UINT32_MAX;

	if (e == NULL || body == NULL || e->message_id.len != UUID_LEN || e->n_rcpt == 0)
		return false;
	if (e->account.len == 0 || memchr(e->account.data, 0, e->account.len) != NULL)
		return false;
	for (size_t i = 0; i < e->n_rcpt; i++) {
		if (e->rcpt[i]->address.len == 0)
			return false;
		if (e->rcpt[i]->index < lowest)
			lowest = e->rcpt[i]->index;
	}
	return lowest == e->part;
}

static bool has_room(const struct holdq *hq)
{
	return !hq->draining && !kv_full(hq->stage->kv) &&
	       HASH_COUNT(hq->accepts) < hq->conf->accepts;
}

/* One who repeats a part that is on its way waits with the first. */
static void wait_too(struct accept *a, const struct bus_from *from)
{
	if (a->n_from < WAITERS_MAX)
		a->from[a->n_from++] = *from;
}

void accept_handoff(void *stage, const struct bus_from *from, const Holdfast__Frame *frame,
                    struct blob *body)
{
	struct holdq *hq = holdq_of(stage);
	const Holdfast__Envelope *env = frame->handoff->envelope;
	struct held_key k;
	struct accept *pending;
	bool known;

	if (!envelope_is_sound(env, body)) {
		metric_add(hq->stage->metrics, HM_REFUSED, 1);
		bus_refuse(hq->stage->bus, from, HOLDFAST__REFUSED__WHY__MALFORMED, "envelope");
		return;
	}
	k = held_key_of(env->message_id.data, env->part);
	pending = find(hq, &k);
	if (pending != NULL) {
		metric_add(hq->stage->metrics, HM_REPEATED, 1);
		wait_too(pending, from);
	} else if (store_known(hq->stage->kv, &k, &known) != ERR_OK) {
		bus_refuse(hq->stage->bus, from, HOLDFAST__REFUSED__WHY__FAILED, "store");
	} else if (known) {
		metric_add(hq->stage->metrics, HM_REPEATED, 1);
		answer_custody(hq, from, &k);
	} else if (has_room(hq)) {
		take(hq, from, env, body);
	} else {
		bus_refuse(hq->stage->bus, from, HOLDFAST__REFUSED__WHY__BUSY, "no room");
	}
}

void accept_close(struct holdq *hq)
{
	struct accept *a, *next;

	HASH_ITER(hh, hq->accepts, a, next)
		forget(hq, a);
}

size_t accept_in_flight(const struct holdq *hq)
{
	return HASH_COUNT(hq->accepts);
}
