/* delivery/accept.c - see accept.h
 *
 * Nothing is refused for good here but what is malformed: BUSY and FAILED are asked again by
 * the giver.  Answers go out after the sync and never before.
 */
#include <string.h>
#include "delivery/accept.h"
#include "delivery/queue.h"
#include "delivery/tally.h"
#include "lib/clock.h"
#include "lib/idmap.h"
#include "lib/log.h"

/* A hand-off whose answer waits for a batch. */
struct take {
	struct bus_from from;
	uint8_t key[PART_KEY];
	bool    repeat; /* the batch was another's; this one only waits behind it */
};

static void answer_custody(struct delivery *d, const struct bus_from *from,
                           const uint8_t key[PART_KEY])
{
	Holdfast__Frame f = HOLDFAST__FRAME__INIT;
	Holdfast__Custody c = HOLDFAST__CUSTODY__INIT;

	c.message_id = pb_bytes(key, 16);
	c.part = (uint32_t)key[16] << 24 | (uint32_t)key[17] << 16 | (uint32_t)key[18] << 8 |
	         key[19];
	f.body_case = HOLDFAST__FRAME__BODY_CUSTODY;
	f.custody = &c;
	bus_answer(d->stage->bus, from, &f, NULL);
}

static void on_taken(enum err err, void *owner, uint64_t id)
{
	struct delivery *d = owner;
	struct take *t = idmap_remove(d->takes, id);
	struct part *p;

	if (t == NULL)
		return;
	if (d->stage->bus == NULL) {
		xfree(t); /* stopping: the giver asks again */
		return;
	}
	if (err != ERR_OK) {
		bus_refuse(d->stage->bus, &t->from, HOLDFAST__REFUSED__WHY__FAILED, "store failed");
		xfree(t);
		return;
	}
	answer_custody(d, &t->from, t->key);
	p = t->repeat ? NULL : queue_find(d->queue, t->key);
	if (p != NULL) {
		tally_part(d->tally, p->account, 1, p->n_waiting);
		metric_add(d->stage->metrics, DM_TAKEN, 1);
		if (!p->counted && d->outbox != NULL)
			outbox_kick(d->outbox);
		queue_taken(d->queue, p);
	}
	xfree(t);
}

static void wait_for(struct delivery *d, const struct bus_from *from,
                     const uint8_t key[PART_KEY], struct kv_batch *b, bool repeat)
{
	struct take *t = xcalloc(1, sizeof(*t));

	t->from = *from;
	memcpy(t->key, key, PART_KEY);
	t->repeat = repeat;
	kv_write(d->stage->kv, &b, on_taken, d, idmap_add(d->takes, t));
}

static void add_accepted(struct delivery *d, struct kv_batch *b, const Holdfast__Envelope *env,
                         uint64_t now)
{
	Holdfast__Event ev = HOLDFAST__EVENT__INIT;

	ev.kind = HOLDFAST__EVENT_KIND__EVENT_ACCEPTED;
	ev.account = env->account;
	ev.message_id = env->message_id;
	ev.index = env->part;
	ev.time_ms = now;
	ev.n = (uint32_t)env->n_rcpt;
	outbox_add(d->outbox, b, &ev);
}

static void take(struct delivery *d, const struct bus_from *from, Holdfast__Envelope *env,
                 struct blob *body)
{
	struct kv_batch *b = kv_batch_new();
	struct part *p = part_new(env);
	uint64_t now = clock_wall_ms();

	p->taken_ms = p->due_ms = p->checked_ms = now;
	if (p->received_ms == 0 || p->received_ms > now)
		p->received_ms = env->received_ms = now;
	env->version = 1;
	store_put_part(b, p, env, body);
	if (!env->counted)
		add_accepted(d, b, env, now);
	queue_add(d->queue, p, body);
	wait_for(d, from, p->key, b, false);
}

static void refuse(struct delivery *d, const struct bus_from *from, Holdfast__Refused__Why why,
                   const char *text)
{
	metric_add(d->stage->metrics, DM_REFUSED, 1);
	bus_refuse(d->stage->bus, from, why, text);
}

/* True: the part is known, and the answer is given or on its way. */
static bool repeated(struct delivery *d, const struct bus_from *from,
                     const uint8_t key[PART_KEY])
{
	struct part *p = queue_find(d->queue, key);
	enum err err;

	if (p != NULL && p->state == PART_TAKING) {
		/* Batches complete in order: behind the one that takes it. */
		wait_for(d, from, key, kv_batch_new(), true);
		return true;
	}
	err = p != NULL ? ERR_OK : store_knows(d->stage->kv, key);
	if (err == ERR_OK)
		answer_custody(d, from, key);
	else if (err != ERR_NOENT)
		refuse(d, from, HOLDFAST__REFUSED__WHY__FAILED, "store cannot be read");
	return err != ERR_NOENT;
}

void accept_handoff(void *state, const struct bus_from *from, const Holdfast__Frame *frame,
                    struct blob *body)
{
	struct delivery *d = ((struct stage *)state)->state;
	Holdfast__Envelope *env = frame->handoff->envelope;
	const char *wrong = envelope_check(env, body != NULL ? body->len : 0);
	uint8_t key[PART_KEY];

	if (wrong != NULL) {
		refuse(d, from, HOLDFAST__REFUSED__WHY__MALFORMED, wrong);
		return;
	}
	part_key(key, env->message_id.data, env->part);
	if (repeated(d, from, key)) {
		metric_add(d->stage->metrics, DM_REPEATS, 1);
		return;
	}
	if (d->draining || d->stalled || kv_full(d->stage->kv)) {
		refuse(d, from, HOLDFAST__REFUSED__WHY__BUSY, "no room now");
		return;
	}
	take(d, from, env, body);
}
