/* policy/apply.c - events of the other stages, applied in order, once each
 *
 * What a source has told is remembered by its last seq, in the same batch as what
 * it taught: a repeat finds its seqs applied and changes nothing.
 */
#include "policy/policy.h"

#include <string.h>
#include "lib/clock.h"
#include "lib/log.h"
#include "lib/mem.h"

enum { EVENTS_MAX = 4096, TOUCHED_MAX = 64 };

static bool event_good(const Holdfast__Event *ev)
{
	if (ev->message_id.len != UUID_LEN || ev->account.len > ACCOUNT_NAME_MAX ||
	    ev->address.len > 512 || ev->key.len > 512)
		return false;
	if (ev->kind == HOLDFAST__EVENT_KIND__EVENT_ACCEPTED)
		return ev->n > 0;
	return ev->kind > HOLDFAST__EVENT_KIND__EVENT_NONE &&
	       ev->kind <= HOLDFAST__EVENT_KIND__EVENT_LIST_BLOCK;
}

static bool frame_good(const Holdfast__Events *f)
{
	if (f->source.len != 16 || f->n_event == 0 || f->n_event > EVENTS_MAX)
		return false;
	for (size_t i = 0; i < f->n_event; i++) {
		if (!event_good(f->event[i]) || (i > 0 && f->event[i]->seq <= f->event[i - 1]->seq))
			return false;
	}
	return true;
}

/* ---- sources: few (one a store that ever sent), so all stay in memory */

struct applied {
	uint8_t  source[16];
	uint64_t seq;
	UT_hash_handle hh;
};

static struct applied *applied_of(struct policy *p, const uint8_t source[16])
{
	struct applied *s;

	HASH_FIND(hh, p->applied, source, 16, s);
	if (s != NULL)
		return s;
	s = xcalloc(1, sizeof(*s));
	memcpy(s->source, source, 16);
	s->seq = store_u64_get(p->kv, CF_APPLIED, source, 16);
	HASH_ADD(hh, p->applied, source, 16, s);
	return s;
}

void apply_free(struct policy *p)
{
	struct applied *s, *next;

	HASH_ITER(hh, p->applied, s, next) {
		HASH_DEL(p->applied, s);
		xfree(s);
	}
}

/* ---- one event */

/* Only the recipient domain's own server, speaking of the recipient, can say for everyone that a
 * mailbox does not exist. */
static bool proves_no_mailbox(const Holdfast__Evidence *e)
{
	return e->own_mx && e->stage == HOLDFAST__SMTP_STAGE__STAGE_RCPT && e->code >= 500 &&
	       (pb_is(e->enhanced, "5.1.1") || pb_is(e->enhanced, "5.1.6") ||
	        pb_is(e->rule, "text-no-such-mailbox"));
}

static void tell_system_list(struct policy *p, const Holdfast__Event *ev, struct kv_batch *batch)
{
	Holdfast__Event out = *ev;

	if (list_system_is_here(p, ev->key)) {
		list_block_invalid(p, ev, batch);
		return;
	}
	out.kind = HOLDFAST__EVENT_KIND__EVENT_LIST_BLOCK;
	outbox_add(p->outbox, batch, &out);
}

static void learn(struct policy *p, struct account *a, const Holdfast__Event *ev,
                  struct kv_batch *batch)
{
	const Holdfast__Evidence *e = ev->evidence;

	if (e == NULL || !a->exists || ev->key.len == 0)
		return;
	metric_add_label(p->stage->metrics, PM_BOUNCES, (unsigned)e->class_ & 3, 1);
	if (e->class_ == HOLDFAST__BOUNCE_CLASS__BOUNCE_SOFT) {
		list_soft(p, a, ev, batch);
	} else if (e->class_ == HOLDFAST__BOUNCE_CLASS__BOUNCE_HARD) {
		list_hard(p, a, ev, batch);
		if (proves_no_mailbox(e))
			tell_system_list(p, ev, batch);
	}
}

static void leave_trace(struct policy *p, const Holdfast__Event *ev, struct kv_batch *batch)
{
	struct buf k = BUF_INIT;

	key_trace(&k, ev->message_id.data, ev->time_ms, ++p->serial);
	store_put_message(batch, CF_TRACE, k.data, k.len, &ev->base);
	buf_free(&k);
}

static struct account *apply_one(struct policy *p, const Holdfast__Event *ev,
                                 struct kv_batch *batch)
{
	uint64_t now = clock_wall_ms(); /* the source's clock may be ahead of ours */
	struct account *a;

	metric_add_label(p->stage->metrics, PM_EVENTS, (unsigned)ev->kind, 1);
	if (ev->kind == HOLDFAST__EVENT_KIND__EVENT_LIST_BLOCK) {
		list_block_invalid(p, ev, batch);
		return NULL;
	}
	a = accounts_ledger(p, ev->account);
	leave_trace(p, ev, batch);
	if (ev->kind == HOLDFAST__EVENT_KIND__EVENT_ACCEPTED) {
		a->figures.ends[0] += ev->n;
		quota_count(a->figures.used, ev->time_ms < now ? ev->time_ms : now, ev->n);
		if (a->reserved > 0)
			reserve_give(p, ev->message_id.data, ev->n, batch);
		return a;
	}
	a->figures.ends[ev->kind - HOLDFAST__EVENT_KIND__EVENT_ACCEPTED]++;
	if (ev->kind == HOLDFAST__EVENT_KIND__EVENT_DELIVERED)
		list_delivered(p, a, ev, batch);
	else if (ev->kind == HOLDFAST__EVENT_KIND__EVENT_BOUNCED ||
	         ev->kind == HOLDFAST__EVENT_KIND__EVENT_EXPIRED)
		learn(p, a, ev, batch);
	return a;
}

/* ---- a frame of them */

/* The figures of each account once a batch, though many events may touch it. */
static void put_touched(struct account **touched, size_t n, struct kv_batch *batch)
{
	for (size_t i = 0; i < n; i++) {
		touched[i]->dirty = false;
		store_figures_put(batch, touched[i]->name, &touched[i]->figures);
	}
}

bool apply_events(struct policy *p, const Holdfast__Events *f, struct kv_batch *batch,
                  uint64_t *last)
{
	struct account *touched[TOUCHED_MAX];
	size_t n = 0;
	struct applied *source;

	if (!frame_good(f))
		return false;
	source = applied_of(p, f->source.data);
	for (size_t i = 0; i < f->n_event; i++) {
		struct account *a;

		if (f->event[i]->seq <= source->seq) {
			metric_add(p->stage->metrics, PM_EVENTS_REPEATED, 1);
			continue;
		}
		source->seq = f->event[i]->seq;
		a = apply_one(p, f->event[i], batch);
		if (a == NULL || a->dirty)
			continue;
		if (n == TOUCHED_MAX) {
			put_touched(touched, n, batch);
			n = 0;
		}
		a->dirty = true;
		touched[n++] = a;
	}
	put_touched(touched, n, batch);
	store_u64_put(batch, CF_APPLIED, source->source, 16, source->seq);
	*last = source->seq;
	return true;
}
