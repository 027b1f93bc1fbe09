/* policy/answer_operator.c - what operators change: accounts, credentials, networks, lists
 *
 * Each act is one batch; Done follows its sync.
 */
#include "policy/policy.h"

#include "lib/clock.h"

/* Review staff approve accounts; everything else is an operator's. */
static bool only_approves(const Holdfast__AccountPut *put)
{
	return !put->create && put->n_set == 1 && pb_is(put->set[0], "state") &&
	       put->account->state == HOLDFAST__ACCOUNT_STATE__ACCOUNT_ACTIVE;
}

void answer_account_put(void *state, const struct bus_from *from, const Holdfast__Frame *f,
                        struct blob *body)
{
	struct policy *p = policy_of(state);
	const Holdfast__AccountPut *put = f->account_put;
	const char *text = "";
	struct kv_batch *batch;
	Holdfast__Done__Result r;

	if (put->account == NULL) {
		bus_refuse(p->bus, from, HOLDFAST__REFUSED__WHY__MALFORMED, "no account");
		return;
	}
	if (from->role == HOLDFAST__ROLE__ROLE_REVIEWER && !only_approves(put)) {
		bus_refuse(p->bus, from, HOLDFAST__REFUSED__WHY__ROLE, "a reviewer only approves");
		return;
	}
	batch = kv_batch_new();
	r = accounts_put(p, put, clock_wall_ms(), batch, &text);
	later_act(p, from, r, text, &batch);
}

void answer_credential_put(void *state, const struct bus_from *from, const Holdfast__Frame *f,
                           struct blob *body)
{
	struct policy *p = policy_of(state);
	struct kv_batch *batch = kv_batch_new();
	const char *text = "";
	Holdfast__Done__Result r = credential_put(p, f->credential_put, batch, &text);

	later_act(p, from, r, text, &batch);
}

void answer_source_put(void *state, const struct bus_from *from, const Holdfast__Frame *f,
                       struct blob *body)
{
	struct policy *p = policy_of(state);
	struct kv_batch *batch = kv_batch_new();
	const char *text = "";
	Holdfast__Done__Result r = sources_put(p, f->source_put, batch, &text);

	later_act(p, from, r, text, &batch);
}

void answer_list_put(void *state, const struct bus_from *from, const Holdfast__Frame *f,
                     struct blob *body)
{
	struct policy *p = policy_of(state);
	const char *text = "";
	struct kv_batch *batch;
	Holdfast__Done__Result r;

	if (f->list_put->entry == NULL) {
		bus_refuse(p->bus, from, HOLDFAST__REFUSED__WHY__MALFORMED, "no entry");
		return;
	}
	batch = kv_batch_new();
	r = list_put(p, f->list_put, clock_wall_ms(), batch, &text);
	later_act(p, from, r, text, &batch);
}

void answer_list_remove(void *state, const struct bus_from *from, const Holdfast__Frame *f,
                        struct blob *body)
{
	struct policy *p = policy_of(state);
	struct kv_batch *batch = kv_batch_new();
	const char *text = "";
	Holdfast__Done__Result r = list_remove(p, f->list_remove, clock_wall_ms(), batch, &text);

	later_act(p, from, r, text, &batch);
}
