/* holdq/plan.c - what a decision makes of a mail; see plan.h
 *
 * Pure but for memory: the legal changes of state are one table.
 */
#include "holdq/plan.h"

#include <assert.h>
#include <string.h>
#include "lib/log.h"
#include "lib/mem.h"

const char *const plan_result_names[] = {
	[PLAN_GO] = "undecided", [PLAN_RELEASED] = "released", [PLAN_PARTIAL] = "partial",
	[PLAN_REFUSED] = "refused", [PLAN_REJECTED] = "rejected", [PLAN_ALREADY] = "already",
	[PLAN_NO_SUCH] = "no-such", [PLAN_LATER] = "later", [PLAN_FAILED] = "failed",
	[PLAN_WOULD_RELEASE] = "would-release", [PLAN_WOULD_REJECT] = "would-reject",
	[PLAN__COUNT] = NULL,
};

static const struct { enum held_state from, to; } legal[] = {
	{ HELD_WAITING,   HELD_RELEASING }, /* release */
	{ HELD_WAITING,   HELD_GONE },      /* reject; release with no recipient left */
	{ HELD_RELEASING, HELD_GONE },      /* delivery has all of it */
	{ HELD_REPORT,    HELD_GONE },      /* delivery has it */
};

void plan_become(struct held *h, enum held_state to)
{
	for (size_t i = 0; i < ARRAY_LEN(legal); i++) {
		if (legal[i].from != h->state || legal[i].to != to)
			continue;
		log_debug("mail-state", LOGS("from", held_state_name(h->state)),
		          LOGS("to", held_state_name(to)));
		h->state = to;
		return;
	}
	die_bug(held_state_name(h->state));
}

enum plan_result plan_start(enum held_state state, bool marked, Holdfast__Decision what,
                            bool dry_run)
{
	bool release = what == HOLDFAST__DECISION__DECISION_RELEASE;

	switch (state) {
	case HELD_GONE:
		return marked ? PLAN_ALREADY : PLAN_NO_SUCH;
	case HELD_RELEASING:
		return PLAN_ALREADY;
	case HELD_REPORT:
		return PLAN_NO_SUCH; /* our own mail is not reviewed */
	case HELD_WAITING:
		break;
	}
	if (!dry_run)
		return PLAN_GO;
	return release ? PLAN_WOULD_RELEASE : PLAN_WOULD_REJECT;
}

static struct held_sub *sub_of(struct held *h, const char *instance)
{
	for (size_t i = 0; i < h->n_sub; i++)
		if (strcmp(h->sub[i].instance, instance) == 0)
			return &h->sub[i];
	return held_sub_add(h, instance);
}

enum plan_result plan_release(struct held *h, const uint8_t *rcpt_class, plan_route_fn *route,
                              void *arg)
{
	uint64_t kept = 0;

	assert(h->state == HELD_WAITING && h->n_sub == 0);
	for (size_t i = 0; i < h->env->n_rcpt; i++) {
		ProtobufCBinaryData a = h->env->rcpt[i]->address;
		struct held_sub *s;

		if (rcpt_class[i] != HOLDFAST__VERDICT_CLASS__VERDICT_OK)
			continue;
		s = sub_of(h, route(arg, (const char *)a.data, a.len));
		s->at = xrealloc(s->at, (s->n + 1) * sizeof(*s->at));
		s->at[s->n++] = (uint32_t)i;
		kept++;
	}
	plan_become(h, kept > 0 ? HELD_RELEASING : HELD_GONE);
	return kept == h->env->n_rcpt ? PLAN_RELEASED : PLAN_PARTIAL;
}

uint64_t plan_rcpts(const struct held *h)
{
	uint64_t n = 0;

	if (h->state == HELD_WAITING)
		return h->env->n_rcpt;
	for (size_t i = 0; i < h->n_sub; i++)
		n += h->sub[i].n;
	return n;
}

void plan_envelope(const struct held *h, size_t sub, Holdfast__Envelope *out)
{
	const struct held_sub *s = &h->sub[sub];
	ProtobufCBinaryData none = { 0, NULL };

	*out = *h->env;
	out->rcpt = xcalloc(s->n, sizeof(*out->rcpt));
	out->n_rcpt = s->n;
	out->part = UINT32_MAX;
	for (uint32_t i = 0; i < s->n; i++) {
		out->rcpt[i] = h->env->rcpt[s->at[i]];
		if (out->rcpt[i]->index < out->part)
			out->part = out->rcpt[i]->index;
	}
	out->counted = h->state != HELD_REPORT; /* a report is new mail to policy */
	out->hold = HOLDFAST__HOLD_REASON__HOLD_NONE;
	out->hold_verdict = none;
}
